"""A real broker for tests: `gridhub kafka` as a process, on a folder of its own; routers as processes, and what lies on topics."""

import json
import os
import re
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import psutil
import pytest
from kafka import KafkaAdminClient, KafkaConsumer, TopicPartition
from kafka.errors import CoordinatorNotAvailableError

from hub import topics as hub_topics
from hub.core.registry import Registry
from hub.registry import current, write
from hub.registry_check import load
from hub.router import Router
from hub.rulebook import own_rules
from hub.running import run_file
from hub.settings import KafkaSettings, RouterSettings, RuleTables, Settings
from hub.transactions import Member, Watchdog
from tests.doubles import RememberingRouterTelemetry

READY_WITHIN_S = 90.0
ENDED_WITHIN_S = 15.0

Seen = TypeVar("Seen")


class Broker:
    """`gridhub kafka` on `data`. Its ports are chosen at the first start and stay, so `bootstrap` holds for good.

    `advertised`: where clients are told each node is, if not where it listens; then `port` is the first it listens on.
    """

    def __init__(self, data: Path, nodes: int = 1, port: int = 0, advertised: Sequence[str] = ()) -> None:
        self.data = data
        self.nodes = nodes
        self._port = port
        self._advertised = advertised
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def bootstrap(self) -> str:
        """Where clients find it."""
        return ",".join(self._advertised or [f"127.0.0.1:{self._port + index}" for index in range(self.nodes)])

    @property
    def pid(self) -> int:
        """The process `gridhub kafka`."""
        assert self._process is not None
        return self._process.pid

    @property
    def java_pid(self) -> int:
        """The Java process under it."""
        [java] = java_under(self.pid)
        return java.pid

    def java_of(self, node: int) -> psutil.Process:
        """The Java process of one of several nodes, the number counting from 1."""
        [java] = [one for one in java_under(self.pid) if Path(one.cwd()).name == f"node-{node}"]
        return java

    def start(self) -> None:
        """Starts it, or starts it again on the same data and port; returns when a client can produce."""
        command = [sys.executable, "-m", "hub", "kafka", "--data", str(self.data), "--port", str(self._port)]
        command += ["--nodes", str(self.nodes)]
        if self._advertised:
            command += ["--advertise", self.bootstrap]
        self._process = subprocess.Popen(command)
        self._port = serving_port(self.data, self._process)

    def kill(self) -> None:
        """SIGKILL for Java; returns when `gridhub kafka` has ended too."""
        psutil.Process(self.java_pid).kill()
        self._ended()

    def stop(self) -> None:
        """SIGTERM; returns when it has ended."""
        assert self._process is not None
        self._process.terminate()
        self._ended()

    def _ended(self) -> None:
        assert self._process is not None
        try:
            self._process.wait(ENDED_WITHIN_S)
        finally:
            self._process.kill()


class BorrowedBroker(Broker):
    """A broker that someone else runs (GRIDHUB_TEST_BOOTSTRAP): good for all that does not kill it."""

    def __init__(self, bootstrap: str) -> None:
        self._bootstrap = bootstrap

    @property
    def bootstrap(self) -> str:
        """Where it serves."""
        return self._bootstrap

    @property
    def pid(self) -> int:
        """Not ours to know."""
        pytest.skip("needs a broker of its own: GRIDHUB_TEST_BOOTSTRAP is set")

    def start(self) -> None:
        """It runs."""

    def stop(self) -> None:
        """It goes on running."""


def serving_port(data: Path, process: subprocess.Popen[bytes]) -> int:
    """The port that `gridhub kafka` says it serves at, once it does; fails the test if `process` ends before."""

    def said() -> int | None:
        assert process.poll() is None, f"gridhub kafka ended with {process.returncode}"
        try:
            told = json.loads(run_file(data, "kafka").read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        # A killed process leaves its file behind: only one of a living process counts.
        return int(told["ports"]["kafka"]) if psutil.pid_exists(told["pid"]) else None

    return until(said, READY_WITHIN_S)


def java_under(pid: int) -> list[psutil.Process]:
    """The Java processes among the descendants of `pid`."""
    return [child for child in psutil.Process(pid).children(recursive=True) if child.name() == "java"]


def until(look: Callable[[], Seen | None], within_s: float) -> Seen:
    """Looks until there is something to see, and returns it; fails the test after `within_s`."""
    deadline = time.monotonic() + within_s
    while not (seen := look()):
        assert time.monotonic() < deadline, f"nothing after {within_s} s"
        time.sleep(0.02)
    return seen


class RouterProcess:
    """`gridhub router` on a slot, with settings by the environment. `program`: Python text to run instead of `-m hub`."""

    def __init__(self, data: Path, bootstrap: str, slot: int = 0, program: str = "", **environment: str | None) -> None:
        self.data = data
        self.slot = slot
        self.log = data / f"router-{slot}.log"
        self._command = [sys.executable, *(("-c", program) if program else ("-m", "hub")), "router", f"--slot={slot}"]
        self._environment = {
            "GRIDHUB__DATA": str(data),
            "GRIDHUB__KAFKA__BOOTSTRAP": bootstrap,
            "GRIDHUB__TELEMETRY__LISTEN": "127.0.0.1:0",
            "GRIDHUB__TELEMETRY__FORMAT": "json",
            **{f"GRIDHUB__{name}": value for name, value in environment.items() if value is not None},
        }
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Returns at once."""
        assert self.process is None or self.process.poll() is not None
        self.data.mkdir(parents=True, exist_ok=True)
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(self._command, env=os.environ | self._environment, stderr=log)

    def ready(self) -> list[str] | None:
        """Why it is not ready, as it says itself; none when it is; None while it does not say."""
        answer = self._get("ready")
        return None if answer is None else list(json.loads(answer)["reasons"])

    def notes(self) -> list[str]:
        """What it says beside being ready."""
        return list(json.loads(self._get("ready") or b"{}").get("notes", ()))

    def until_ready(self, within_s: float = 30.0) -> float:
        """Returns how long it took."""
        began = time.monotonic()
        while self._alive() and (reasons := self.ready()) != []:
            assert time.monotonic() - began < within_s, f"not ready: {reasons}\n{self.said()[-3000:]}"
            time.sleep(0.02)
        return time.monotonic() - began

    def metric(self, name: str) -> float:
        """A sample, by its name with labels as it is written; 0 where it is not there."""
        text = self._get("metrics") or b""
        found = re.search(rf"^{re.escape(name)} (\S+)$", text.decode(), re.MULTILINE)
        return float(found[1]) if found else 0.0

    def kill(self) -> None:
        """SIGKILL."""
        assert self.process
        self.process.kill()
        self.process.wait(10)

    def stop(self) -> int:
        """SIGTERM; returns the exit code."""
        assert self.process
        self.process.terminate()
        return self.process.wait(30)

    def ended(self, within_s: float = 30.0) -> int:
        """Waits for it to end by itself; returns the exit code."""
        assert self.process
        return self.process.wait(within_s)

    def said(self) -> str:
        """All it has written to stderr."""
        return self.log.read_text(encoding="utf-8")

    def _alive(self) -> bool:
        assert self.process
        assert self.process.poll() is None, f"ended with {self.process.returncode}: {self.said()[-3000:]}"
        return True

    def _get(self, path: str) -> bytes | None:
        assert self.process
        try:
            told = json.loads(run_file(self.data, f"router-{self.slot}").read_text(encoding="utf-8"))
            if told["pid"] != self.process.pid:
                return None
            with urllib.request.urlopen(f"http://127.0.0.1:{told['ports']['metrics']}/{path}", timeout=5) as answer:
                return bytes(answer.read())
        except urllib.error.HTTPError as error:
            with error:
                return error.read()
        except OSError:
            return None  # it has not begun, or is ending


def emptied(bootstrap: str, kafka: Mapping[str, Any] | None = None) -> None:
    """All topics of the hub made anew, and no group of routers: a killed one leaves it with its session only, and owns as long."""
    settings = KafkaSettings(bootstrap=bootstrap, **(kafka or {}))
    admin = KafkaAdminClient(bootstrap_servers=bootstrap)

    def no_group() -> bool:
        try:
            return set(admin.delete_groups([Member.GROUP]).values()) <= {"OK", "GroupIdNotFoundError"}
        except CoordinatorNotAvailableError:
            return False  # a broker that has just started

    until(no_group, 30.0)
    names = set(hub_topics.load_topics())
    if there := names & set(admin.list_topics()):
        admin.delete_topics(list(there))
        until(lambda: not names & set(admin.list_topics()), 30.0)
    admin.close()
    hub_topics.create(settings)
    register(bootstrap)


def register(bootstrap: str, registry: Registry | None = None) -> Registry:
    """Makes a registry the version in force: the shipped one, or another."""
    settings = Settings(kafka=KafkaSettings(bootstrap=bootstrap))
    _, number = current(settings)
    return write(settings, registry or load(settings.registry_dir), number)


def committed(
    bootstrap: str, topic: str, partitions: Collection[int] | None = None, within_s: float = 30.0
) -> list[Any]:
    """All committed records of a topic, in the order of each partition. Fails the test where an open transaction holds the reader up."""
    consumer = _reader(bootstrap, isolation_level="read_committed")
    try:
        places = _places(consumer, topic, partitions)
        raw = _reader(bootstrap)
        ends = raw.end_offsets(places)
        raw.close()
        consumer.assign(places)
        consumer.seek_to_beginning(*places)
        found: list[Any] = []
        deadline = time.monotonic() + within_s
        while any(consumer.position(place) < ends[place] for place in places):
            assert time.monotonic() < deadline, f"{topic} cannot be read to its end"
            for records in consumer.poll(timeout_ms=100).values():
                found += records
        return sorted(found, key=lambda record: (record.partition, record.offset))
    finally:
        consumer.close()


def _reader(bootstrap: str, **settings: Any) -> Any:
    # Never through the proxy that a test may have put before its clients.
    return KafkaConsumer(bootstrap_servers=bootstrap, enable_auto_commit=False, proxy_url=None, **settings)


def _places(consumer: Any, topic: str, partitions: Collection[int] | None) -> list[TopicPartition]:
    if partitions is None:
        partitions = until(lambda: consumer.partitions_for_topic(topic), 10.0)
    return [TopicPartition(topic, number) for number in partitions]


class RouterThread:
    """A router on a thread of this process, for tests that look inside or stand between it and Kafka."""

    def __init__(
        self,
        bootstrap: str,
        data: Path,
        slot: int = 0,
        *,
        clock: Callable[[], float] = time.time,
        rules: RuleTables | None = None,
        **router: float,
    ) -> None:
        chosen: dict[str, Any] = {} if rules is None else {"rules": rules}
        settings = Settings(
            data=data, kafka=KafkaSettings(bootstrap=bootstrap), router=RouterSettings.model_validate(router), **chosen
        )
        self.telemetry = RememberingRouterTelemetry()
        self.stopping = threading.Event()
        self.watchdog_said: list[tuple[int, str]] = []
        watchdog = Watchdog(lambda code, sentence: self.watchdog_said.append((code, sentence)))
        self.router = Router(settings, slot, own_rules(settings), self.telemetry, self.stopping, watchdog, clock=clock)
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._live, name=f"router {slot}", daemon=True)

    def start(self) -> None:
        """Returns at once."""
        self._thread.start()

    def until_ready(self, within_s: float = 30.0) -> None:
        """Fails the test where it ends before."""

        def ready() -> bool:
            assert self.error is None, self.error
            return not self.router.reasons()

        until(ready, within_s)

    def ended(self, within_s: float = 30.0) -> BaseException | None:
        """Waits for it to end by itself; what ended it."""
        self._thread.join(within_s)
        assert not self._thread.is_alive(), "the router goes on"
        return self.error

    def stop(self) -> None:
        """An orderly end; raises what has ended it before."""
        self.stopping.set()
        if error := self.ended():
            raise error

    def _live(self) -> None:
        try:
            self.router.connect()
            self.router.run()
        except BaseException as error:  # noqa: BLE001 - the test's to judge
            self.error = error
        finally:
            self.router.close()
