"""Those who take part in a fault run, as processes that are killed and started again, and what can be seen of them from outside."""

import contextlib
import json
import os
import random
import re
import signal
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from kafka import KafkaAdminClient, KafkaConsumer, TopicPartition
from kafka.admin import TransactionState
from kafka.errors import KafkaError

from tests.brokers import Broker, until
from tests.faults.checker import Balance, Message, Stored, Topics
from tests.planted import PLANTED, SENT_ELSEWHERE, planted_in
from tests.ports import reserved_port

ROOT = Path(__file__).parents[2]
READY_WITHIN_S, JOINED_WITHIN_S, COMMANDED_WITHIN_S = 30.0, 45.0, 180.0
GROUP = "gridhub-router"
UNKNOWN_COMMIT = 75
ASKED_WITHIN_MS = 3_000


class Served:
    """A process of the hub, with what it says in one log for all of its lives."""

    def __init__(self, name: str, command: list[str], data: Path, environment: Mapping[str, str]) -> None:
        self.name = name
        self.log = data / f"{name}.log"
        self.lives = self._said_before = 0
        self.process: subprocess.Popen[bytes]
        self._command = [sys.executable, "-m", *command]
        self._run_file = data / "run" / f"{name}.json"
        self.environment = {"GRIDHUB__DATA": str(data), "GRIDHUB__TELEMETRY__FORMAT": "json", **environment}

    def start(self, **more: str) -> None:
        """Returns when it serves. `more`: as `begin`."""
        self.begin(**more)
        until(lambda: self.ports() is not None, READY_WITHIN_S)

    def begin(self, **more: str) -> None:
        """Starts it, and does not wait. `more`: what this life finds in its environment besides."""
        self.begun = now_ms()
        self.lives += 1
        with self.log.open("ab") as log:
            self._said_before = log.tell()
            environment = os.environ | self.environment | more
            self.process = subprocess.Popen(self._command, cwd=ROOT, env=environment, stderr=log)

    def hears(self) -> bool:
        """Whether this life has said that it is starting: from then on it ends in order when it is asked to."""
        with self.log.open("rb") as log:
            log.seek(self._said_before)
            return b'"event": "starting"' in log.read()

    def kill(self) -> None:
        """SIGKILL."""
        self.process.kill()
        self.process.wait(10)

    def stop(self, within_s: float = 10) -> int:
        """SIGTERM; its exit code."""
        self.process.terminate()
        return self.process.wait(within_s)

    @contextmanager
    def frozen(self) -> Iterator[None]:
        """SIGSTOP for the body, then SIGCONT, unless it was killed meanwhile."""
        self.process.send_signal(signal.SIGSTOP)
        try:
            yield
        finally:
            self.process.send_signal(signal.SIGCONT)

    def ports(self) -> dict[str, int] | None:
        """Where this life serves; None while it does not. Fails the test if it has ended."""
        assert self.process.poll() is None, self.log.read_text(encoding="utf-8")[-2000:]
        try:
            told = json.loads(self._run_file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None  # not yet
        # A killed process leaves its file behind.
        return dict(told["ports"]) if told["pid"] == self.process.pid else None

    def get(self, path: str) -> str:
        """The body of an answer of its metrics port; raises OSError, also for a status that is no success."""
        ports = self.ports()
        if ports is None:
            raise ConnectionError("serves nothing yet")
        with urllib.request.urlopen(f"http://127.0.0.1:{ports['metrics']}{path}", timeout=5) as answer:
            return str(answer.read().decode())

    def is_ready(self) -> bool:
        """What `/ready` says."""
        try:
            self.get("/ready")
        except (OSError, urllib.error.HTTPError):
            return False
        return True

    def told(self) -> list[dict[str, object]]:
        """What it has logged, over all its lives. A line that a kill has torn is none."""
        lines = []
        for line in self.log.read_text(encoding="utf-8", errors="replace").splitlines():
            with contextlib.suppress(ValueError):
                lines.append(json.loads(line))
        return [line for line in lines if isinstance(line, dict)]


def spoken(processes: Iterable[Served]) -> dict[str, str]:
    """What each has logged over all its lives, and what the metrics of its present life say, if it has one; no secret that was sent or put in."""
    texts = {}
    for each in processes:
        # Not by the name: two may have the same, where one takes the other's slot.
        texts[str(each.log)] = each.log.read_text(encoding="utf-8", errors="replace")
        if each.process.poll() is None:
            texts[f"metrics of {each.log}"] = each.get("/metrics")
    secrets = {name: found for name, text in texts.items() if (found := planted_in(text, PLANTED + SENT_ELSEWHERE))}
    assert not secrets, secrets
    return texts


class Connector(Served):
    """`python -m connectors <feed>` on a port that stays the same from life to life."""

    def __init__(self, data: Path, bootstrap: str, feed: str = "air") -> None:
        self.feed = feed
        self.address = f"127.0.0.1:{reserved_port()}"
        environment = {
            "GRIDHUB__KAFKA__BOOTSTRAP": bootstrap,
            f"GRIDHUB__{feed.upper()}__LISTEN": self.address,
            "GRIDHUB__TELEMETRY__LISTEN": "127.0.0.1:0",
        }
        super().__init__(feed, ["connectors", feed], data, environment)

    def knows_the_time(self) -> bool:
        """Whether this life has heard of the broker's time, as far as it can be asked."""
        with contextlib.suppress(OSError):
            return f'gridhub_clock_ahead_seconds{{feed="{self.feed}"}} NaN' not in self.get("/metrics")
        return False

    def balance(self) -> Balance:
        """What the present life has counted, once every sender has hung up and nothing is pending or in the spool."""
        return until(self._balance, READY_WITHIN_S)

    def _balance(self) -> Balance | None:
        numbers = dict(re.findall(r"^(gridhub_\w+(?:\{.*?\})?) (\S+)$", self.get("/metrics"), re.MULTILINE))
        received = int(float(numbers[f'gridhub_messages_received_total{{feed="{self.feed}"}}']))
        fates = {
            fate: int(float(numbers[f'gridhub_messages_total{{fate="{fate}",feed="{self.feed}"}}']))
            for fate in ("published", "dead-lettered", "spooled", "empty", "refused")
        }
        hung_up = float(numbers[f'gridhub_connections{{feed="{self.feed}"}}']) == 0
        # What was answered out of the spool comes to its topic later, also what an earlier life has left there.
        spooled = float(numbers.get(f'gridhub_spool_messages{{feed="{self.feed}"}}', 0))
        is_settled = hung_up and not spooled and received == sum(fates.values())
        return Balance(self.begun, received, fates) if is_settled else None


class Router(Served):
    """`gridhub router` on one slot. `rules`: instead of the registry's."""

    def __init__(self, slot: int, data: Path, bootstrap: str, session_timeout_ms: int, rules: str = "") -> None:
        self.slot = slot
        self.transactional_id = f"gridhub-router-{slot}"
        environment = {
            "GRIDHUB__KAFKA__BOOTSTRAP": bootstrap,
            "GRIDHUB__ROUTER__SESSION_TIMEOUT_MS": str(session_timeout_ms),
            "GRIDHUB__TELEMETRY__LISTEN": "127.0.0.1:0",
            **({"GRIDHUB__RULES": rules} if rules else {}),
        }
        super().__init__(f"router-{slot}", ["hub", "router", "--slot", str(slot)], data, environment)


@dataclass
class Routers:
    """All slots. One that ends because only Kafka knows what became of its transaction is started again, as its keeper would do.

    `may_end`: with which codes one may end by itself. `down`: those that are to stay away for the time being.
    """

    routers: Sequence[Router]
    ended: list[int] = field(default_factory=list)
    may_end: frozenset[int] = frozenset({UNKNOWN_COMMIT})
    down: set[Router] = field(default_factory=set)

    def start(self) -> None:
        """Returns when all are ready."""
        for router in self.routers:
            router.begin()
        until(self.are_ready, JOINED_WITHIN_S)

    def are_ready(self) -> bool:
        """What `/ready` says of each."""
        return all(router.is_ready() for router in self.routers)

    def stop(self) -> list[int]:
        """In order; the exit codes."""
        for router in self.routers:
            router.process.terminate()
        return [router.process.wait(15) for router in self.routers]

    def kill(self) -> None:
        """SIGKILL for all that were started."""
        for router in self.routers:
            if hasattr(router, "process"):
                router.kill()

    def tend(self) -> None:
        """Starts those again that have ended by themselves."""
        for router in self.routers:
            code = router.process.poll()
            if code is not None and router not in self.down:
                self.ended.append(code)
                assert code in self.may_end, f"{router.name}: {code}\n" + router.log.read_text("utf-8")[-2000:]
                router.begin()

    def wait_for(self, look: Callable[[], bool], within_s: float) -> None:
        """Looks until it is so, and tends them meanwhile."""

        def is_so() -> bool:
            self.tend()
            return look()

        until(is_so, within_s)

    def killed_in_transaction(self, chance: random.Random, transactions: "Transactions") -> tuple[Router, int] | None:
        """Kills one by chance, if the broker says that it is inside a transaction while it stands still; which, and when (ms UTC)."""
        router = chance.choice(self.routers)
        with router.frozen():
            if router.process.poll() is None and transactions.is_in_one(router):
                at = now_ms()
                router.kill()
                return router, at
        return None


class Transactions:
    """What the broker knows of transactions."""

    def __init__(self, bootstrap: str) -> None:
        self._bootstrap = bootstrap
        self._admin: KafkaAdminClient | None = None

    def is_in_one(self, router: Router) -> bool:
        """Whether this life of the router is inside one, as far as the broker can be asked: an earlier life may have left one open."""
        try:
            self._admin = self._admin or KafkaAdminClient(
                bootstrap_servers=self._bootstrap,
                request_timeout_ms=ASKED_WITHIN_MS,
                bootstrap_timeout_ms=ASKED_WITHIN_MS,
            )
            found = self._admin.describe_transactions([router.transactional_id])[router.transactional_id]
        except (KafkaError, OSError):
            self.close()  # the broker was killed: the next question goes over a new connection
            return False
        return bool(found.state is TransactionState.ONGOING and found.transaction_start_time_ms > router.begun)

    def close(self) -> None:
        if self._admin:
            self._admin.close()
        self._admin = None


class Follower:
    """A reader of committed records that is there from the beginning, through kills of the broker."""

    def __init__(self, bootstrap: str, topics: Iterable[str]) -> None:
        self._consumer = committed_reader(bootstrap)
        self._partitions = partitions_of(self._consumer, topics)
        self._consumer.assign(self._partitions)
        self._consumer.seek_to_beginning(*self._partitions)
        self._records: list[Stored] = []
        self._enough = threading.Event()
        self._failed: BaseException | None = None
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._thread.start()

    def close(self) -> None:
        self._enough.set()
        self._thread.join(10)
        self._consumer.close(autocommit=False)

    def seen(self, as_far_as: Topics, within_s: float) -> Topics:
        """All that was seen, once it goes at least as far as the last records of another reader's view."""
        last = {(each.topic, each.partition): each.offset for each in as_far_as.records}

        def is_as_far() -> bool:
            if self._failed:
                raise AssertionError("the follower ended") from self._failed
            mine = {(each.topic, each.partition): each.offset for each in [*self._records]}
            return all(mine.get(lane, -1) >= offset for lane, offset in last.items())

        until(is_as_far, within_s)
        return Topics(tuple(sorted([*self._records], key=lambda r: (r.topic, r.partition, r.offset))))

    def _follow(self) -> None:
        try:
            while not self._enough.is_set():
                for batch in self._consumer.poll(timeout_ms=200).values():
                    self._records += map(stored, batch)
        except BaseException as error:  # noqa: BLE001 - said by whoever asks what was seen
            self._failed = error


def stored(r: object) -> Stored:
    """A consumer's record."""
    return Stored(r.topic, r.partition, r.offset, r.timestamp, r.key, tuple(r.headers), r.value)  # type: ignore[attr-defined]


def committed_reader(bootstrap: str, **more: object) -> KafkaConsumer:
    """A consumer of committed records that belongs to nobody."""
    settings = {
        "isolation_level": "read_committed",
        "enable_auto_commit": False,
        "allow_auto_create_topics": False,
        "auto_offset_reset": "earliest",
        "max_poll_records": 5000,
    }
    return KafkaConsumer(bootstrap_servers=bootstrap, **settings | more)


def partitions_of(consumer: KafkaConsumer, topics: Iterable[str]) -> list[TopicPartition]:
    """Every partition of the topics."""
    return [
        TopicPartition(topic, number) for topic in topics for number in sorted(consumer.partitions_for_topic(topic))
    ]


def all_read(bootstrap: str, topics: Iterable[str]) -> bool:
    """Whether the routers have committed all there is. Asked twice: where the topics end is asked first, and what is read meanwhile may be handed over."""
    return all(_unread(bootstrap, topics) == 0 for _ in range(2))


def _unread(bootstrap: str, topics: Iterable[str]) -> int:
    """How many records the routers have not committed. Where a transaction ended, an offset holds no record: so they are read."""
    consumer = committed_reader(bootstrap, group_id=GROUP)
    try:
        partitions = partitions_of(consumer, topics)
        ends = consumer.end_offsets(partitions)
        consumer.assign(partitions)
        for each in partitions:
            consumer.seek(each, consumer.committed(each) or 0)
        count = 0
        while any(consumer.position(each) < ends[each] for each in partitions):
            count += sum(map(len, consumer.poll(timeout_ms=500).values()))
        return count
    finally:
        consumer.close(autocommit=False)


class Tail:
    """The JSON lines of a log that is still being written."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb")
        self._torn = b""

    def close(self) -> None:
        self._file.close()

    def more(self) -> list[dict[str, Any]]:
        """The lines that have come since the last look."""
        *lines, self._torn = (self._torn + self._file.read()).split(b"\n")
        return list(map(json.loads, lines))


class Watch:
    """Follows the stations' log while it is written."""

    def __init__(self, path: Path) -> None:
        self._tail = Tail(path)
        self._messages: dict[tuple[str, int], Message] = {}
        self._waiting: set[tuple[str, int]] = set()

    def close(self) -> None:
        self._tail.close()

    def look(self) -> tuple[int, int]:
        """How many messages have been sent for the first time, and how many wait for an answer now."""
        for line in self._tail.more():
            name = line["device"], line.get("n", 0)
            if line["what"] == "sent":
                raw = bytes.fromhex(line["raw"])
                message = self._messages.setdefault(name, Message(*name, line["expect"], line["trouble"], raw))
                if message.owed_answer:
                    self._waiting.add(name)
            elif line["what"] == "answered":
                self._waiting.discard(name)
        return len(self._messages), len(self._waiting)


@contextmanager
def simulated(address: str, log: Path, feed: str = "air", /, **options: object) -> Iterator[subprocess.Popen[bytes]]:
    """The devices of a feed, as a process that does not outlive the context."""
    command = [sys.executable, "-m", f"connectors.{feed}.simulate", "--to", address, "--log", str(log)]
    words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    process = subprocess.Popen([*command, *words], cwd=ROOT)
    try:
        yield process
    finally:
        process.kill()
        process.wait(10)


def prepare(broker: Broker, registry: Path = ROOT / "deploy/town", **more: str) -> None:
    """`gridhub topics create`, and a registry in force: the shipped one, or another. `more`: what both find in their environment besides."""
    environment = {"GRIDHUB__KAFKA__BOOTSTRAP": broker.bootstrap, "GRIDHUB__REGISTRY__DIR": str(registry), **more}
    for words in (["topics", "create"], ["registry", "import"]):
        subprocess.run(
            [sys.executable, "-m", "hub", *words],
            cwd=ROOT,
            env=os.environ | environment,
            stdout=subprocess.DEVNULL,
            timeout=READY_WITHIN_S,
            check=True,
        )


def gridhub(environment: Mapping[str, str], *words: str) -> subprocess.CompletedProcess[str]:
    """A command of the hub; what came of it. To replay a thousand letters takes it a minute on a machine that is busy."""
    return subprocess.run(
        [sys.executable, "-m", "hub", *words],
        cwd=ROOT,
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=COMMANDED_WITHIN_S,
        check=False,
    )


def now_ms() -> int:
    return time.time_ns() // 1_000_000
