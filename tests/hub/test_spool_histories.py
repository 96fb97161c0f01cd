"""Outbox and spool under any history: what is promised of them, judged by what was told, what Kafka has and what the disk has.

A history is a list of acts: messages come, Kafka takes, acknowledges, fails, rejects or is away, the disk works, is slow or fails, time passes,
the process is killed or ends in order. All of it happens on one thread, with a clock that jumps to what is due next and a disk that does its
work when the history says so; so a history that breaks a promise breaks it each time. The judge shares no code with what it judges.
"""

import asyncio
import json
import shutil
import sqlite3
import tempfile
from collections import Counter, defaultdict, deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from functools import partial
from heapq import heappop
from pathlib import Path
from typing import Any
from unittest.mock import patch

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from hub.core.errors import Full, Reason, Rejected, Unavailable
from hub.core.events import DeadLetter, Reading
from hub.outbox import Fate, Outbox
from hub.spool import Spool
from hub.wire import Wire, headers
from tests.doubles import RememberingTelemetry

WIRE = Wire.load()
BUDGET_S = 2.0
ACKNOWLEDGES_AFTER_S = 0.01
TOPICS = ("readings", "alerts.air", "dead-letters")
YES = frozenset({Fate.PUBLISHED, Fate.DEAD_LETTERED, Fate.SPOOLED})
BEGAN = 1772352000000

Act = tuple[Any, ...]
Done = Callable[[Exception | None], None]


class Clock(asyncio.SelectorEventLoop):
    """A loop whose time is what the history says: when nothing is to be done now, it is the time of what is due next."""

    def __init__(self) -> None:
        super().__init__()
        self._now = 0.0

    def time(self) -> float:
        return self._now

    def _run_once(self) -> None:
        due: list[Any] = self._scheduled  # type: ignore[attr-defined]
        while due and due[0]._cancelled:
            self._timer_cancelled_count -= 1  # type: ignore[attr-defined]
            heappop(due)._scheduled = False
        if not self._ready:  # type: ignore[attr-defined]
            assert due, "nothing will ever happen again"
            self._now = max(self._now, due[0]._when)
        super()._run_once()  # type: ignore[misc]


class Disk:
    """Stands for the spool's thread: does its work at once, when the history says, or not at all."""

    def __init__(self) -> None:
        self.mode = "works"
        self.stopped = False
        self._todo: deque[tuple[Future[Any], Any, tuple[Any, ...]]] = deque()
        self._untold: deque[Callable[[], None]] = deque()

    def submit(self, work: Any, *arguments: Any) -> "Future[Any]":
        assert not self.stopped, "the thread has ended"
        future: Future[Any] = Future()
        self._todo.append((future, work, arguments))
        if self.mode != "held":
            asyncio.get_running_loop().call_soon(self.go_on)
        return future

    def shutdown(self, *, wait: bool) -> None:
        assert not wait, "it may hang"
        self.stopped = True

    def turn(self, mode: str) -> None:
        self.mode = mode
        if mode != "held":
            self.go_on()

    def do(self) -> None:
        """One piece of work, of which nobody is told yet."""
        if not self._todo:
            return
        future, work, arguments = self._todo.popleft()
        writes = getattr(work, "func", work).__name__ in ("change", "shrink")
        if writes and self.mode == "full":
            self._untold.append(lambda: future.set_exception(Unavailable("the spool: database or disk is full")))
            return
        try:
            result = work(*arguments)
        except Unavailable as error:
            told = error
            self._untold.append(lambda: future.set_exception(told))
        else:
            self._untold.append(lambda: future.set_result(result))

    def tell(self) -> None:
        if self._untold:
            self._untold.popleft()()

    def die(self) -> None:
        self._todo.clear()
        self._untold.clear()

    def go_on(self) -> None:
        while self._todo or self._untold:
            self.do()
            self.tell()


@dataclass(eq=False)
class Handed:
    """A record that Kafka's producer was handed. `there`: the broker has appended it."""

    topic: str
    key: str
    value: bytes
    headers: tuple[tuple[str, bytes], ...]
    done: Done
    there: bool = False

    @property
    def id(self) -> str:
        return dict(self.headers)["ce_id"].decode()


class Kafka:
    """As hub.kafka_log.Publisher promises: per topic what was handed over first is appended first; a delivery that fails ends the producer with all
    it holds, of which the broker may have the beginning; the next producer takes what comes then, if the broker is not away.
    """

    def __init__(self) -> None:
        self.mode = "takes"
        self.acknowledges = False
        self.there: dict[str, list[Handed]] = defaultdict(list)
        self.acknowledged: set[str] = set()
        self.known: set[str] = set()  # of which the hub was told so, and has heard it
        self.rejected: set[str] = set()
        self.wrong: list[str] = []
        self._under_way: dict[str, deque[Handed]] = defaultdict(deque)

    def publish(
        self, topic: str, key: str, value: bytes, headers: Sequence[tuple[str, bytes]], done: Done, town: str = ""
    ) -> None:
        assert not town
        one = Handed(topic, key, value, tuple(headers), done)
        if "large" in one.id and topic != "dead-letters":
            raise Rejected(Reason.TOO_LARGE, "too large")
        if self.mode == "away":
            raise Unavailable("away")
        if self.mode == "full":
            raise Full("full")
        if one.id in self.known:
            self.wrong.append(f"{one.id} was acknowledged and is handed over again")
        if any(other.id == one.id and other.topic == topic for other in self._under_way[topic]):
            self.wrong.append(f"{one.id} is under way and is handed over again")
        self._under_way[topic].append(one)
        if self.acknowledges:
            asyncio.get_running_loop().call_later(ACKNOWLEDGES_AFTER_S, self.acknowledge, topic, 1)

    def append(self, topic: str, count: int) -> None:
        for one in list(self._under_way[topic])[:count]:
            if self._rejects(one):
                return
            if not one.there:
                one.there = True
                self.there[topic].append(one)

    def acknowledge(self, topic: str, count: int) -> None:
        for _ in range(min(count, len(self._under_way[topic]))):
            one = self._under_way[topic][0]
            self.append(topic, 1)
            self._under_way[topic].popleft()
            if self._rejects(one):
                self.rejected.add(one.id)
                one.done(Rejected(Reason.TOO_LARGE, "the broker takes less"))
            else:
                self.acknowledged.add(one.id)
                one.done(None)
                asyncio.get_running_loop().call_soon(self.known.add, one.id)

    def fail(self, appended: int) -> None:
        for topic in TOPICS:
            self.append(topic, appended)
        given_up = [self._under_way.pop(topic) for topic in list(self._under_way)]
        for each in given_up:
            for one in each:
                one.done(Unavailable("given up"))

    def end(self, appended: int) -> None:
        """With its process: nobody is told."""
        for topic in TOPICS:
            self.append(topic, appended)
        self._under_way.clear()

    @staticmethod
    def _rejects(one: Handed) -> bool:
        return "poison" in one.id and (one.topic != "dead-letters" or "deadly" in one.id)


class Connection:
    """One life's way to Kafka: what a process that was killed still tries in this one reaches nobody."""

    def __init__(self, kafka: Kafka) -> None:
        self.cut = False
        self._kafka = kafka

    def publish(self, *record: Any) -> None:
        if not self.cut:
            self._kafka.publish(*record)


@dataclass
class Message:
    number: int
    device: str
    topic: str
    record: Reading | DeadLetter
    raw: bytes
    called: float
    fate: Fate | None = None
    acknowledged: bool = False  # when the fate was told
    there: bool = False


@dataclass
class Life:
    """One life of the process. The one before it, and its disk, are dead."""

    box: Outbox
    spool: Spool
    disk: Disk
    telemetry: RememberingTelemetry
    path: Path
    kafka: Connection
    messages: list[Message] = field(default_factory=list)
    dead: bool = False


class History:
    def __init__(self, folder: Path, most_bytes: int) -> None:
        self.kafka = Kafka()
        self.messages: list[Message] = []
        self.defects: list[dict[str, Any]] = []
        self._folder = folder
        self._most_bytes = most_bytes
        self._lives = 0
        self.life = self._live(folder / "0.db")

    async def act(self, name: str, *of: Any) -> None:
        acts: dict[str, Callable[..., None]] = {
            "message": self.message,
            "append": self.kafka.append,
            "acknowledge": self.kafka.acknowledge,
            "acknowledges": partial(setattr, self.kafka, "acknowledges"),
            "kafka": partial(setattr, self.kafka, "mode"),
            "fail": self.kafka.fail,
            "disk": self.life.disk.turn,
            "do": self.life.disk.do,
            "tell": self.life.disk.tell,
            "kill": self.kill,
        }
        if name in acts:
            acts[name](*of)
        elif name == "wait":
            await asyncio.sleep(of[0])
        elif name == "restart":
            await self.restart()
        self.look()

    def message(self, device: str, topic: str, kind: str) -> None:
        number = len(self.messages)
        identity = f"{device}/{number}/{kind}"
        raw = f"##{number}".encode() * (40 if kind == "wide" else 1)
        at = BEGAN + number
        record: Reading | DeadLetter
        if topic == "dead-letters":
            record = DeadLetter(
                id=identity,
                feed="air",
                vendor="demo",
                device=device,
                reason=Reason.CRC,
                detail="",
                raw=raw,
                evidence_sha256=None,
                accepted_at=at,
                answered=True,
            )
        else:
            record = Reading(
                id=identity,
                town="410122103",
                device=device,
                vendor="demo",
                kind="air.reading",
                occurred_at=BEGAN,
                accepted_at=at,
                event_at=BEGAN,
                time_mark="device",
                lon=float("nan") if kind == "unfit" else None,
                lat=None,
                datum="",
                message_code="2011",
                period_s=0,
                backfilled=False,
                incomplete=False,
                values=(),
            )
        loop, life = asyncio.get_running_loop(), self.life
        one = Message(number, device, topic, record, raw, loop.time())
        self.messages.append(one)
        life.messages.append(one)
        future = (
            life.box.dead_letter(record) if isinstance(record, DeadLetter) else life.box.publish(topic, record, raw)
        )

        def told(future: "asyncio.Future[Fate]") -> None:
            if life.dead or future.cancelled():
                return
            one.fate = future.result()
            one.acknowledged = identity in self.kafka.acknowledged
            late = loop.time() - one.called
            assert late <= BUDGET_S + 1e-6, f"{identity} had its fate after {late} s"

        if future.done():
            told(future)
        else:
            future.add_done_callback(told)

    def kill(self, appended: int) -> None:
        """Nothing of the process is run any more; what the disk has is what its files hold now."""
        life = self.life
        life.dead = life.kafka.cut = True
        self.kafka.end(appended)
        assert life.spool._task
        life.spool._task.cancel()
        life.disk.die()
        self._lives += 1
        path = self._folder / f"{self._lives}.db"
        for end in ("", "-wal"):
            if life.path.with_name(life.path.name + end).exists():
                shutil.copyfile(life.path.with_name(life.path.name + end), path.with_name(path.name + end))
        life.spool._store.close()
        self.on_disk(path)
        self.life = self._live(path)

    async def restart(self) -> None:
        """In order, as a connector ends: Kafka's producer gives up, then the spool is closed. Its disk, if it was slow, works again meanwhile; a full
        one stays full, and what it has may be handed over once more.
        """
        loop, life, kafka = asyncio.get_running_loop(), self.life, self.kafka
        before, kafka.mode = kafka.mode, "away"
        kafka.fail(0)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        full = life.disk.mode == "full"
        if not full:
            loop.call_later(0.1, self._works)
        began = loop.time()
        await life.spool.close()
        assert loop.time() - began < 3, "the end takes too long"
        await asyncio.sleep(0)
        assert all(one.fate for one in life.messages), "what had come was not written at the end"
        life.dead = life.kafka.cut = True
        left = self.on_disk(life.path)
        assert full or not left & kafka.known, "what Kafka has was left in the spool"
        kafka.mode = before
        self.life = self._live(life.path)

    def _works(self) -> None:
        self.life.disk.turn("works")

    def look(self) -> None:
        assert not self.defects, self.defects
        assert not self.kafka.wrong, self.kafka.wrong
        for one in self.messages:
            if one.fate in (Fate.PUBLISHED, Fate.DEAD_LETTERED):
                assert one.acknowledged, f"{one.record.id} {one.fate} before Kafka had it"
        counts = self.life.box.balance()
        told = Counter(one.fate for one in self.life.messages)
        assert counts.pop("received") == len(self.life.messages) == sum(counts.values())
        for fate in YES | {Fate.REFUSED}:
            assert (
                counts[fate.value] >= told[fate]
            )  # what was decided a moment ago is told in the next turn of the loop

    def on_disk(self, path: Path) -> set[str]:
        """What a process that starts now would find; all that was told `spooled` is there, or in Kafka."""
        copy = path.with_name("copy.db")
        for end in ("", "-wal"):
            copy.with_name(copy.name + end).unlink(missing_ok=True)
            if path.with_name(path.name + end).exists():
                shutil.copyfile(path.with_name(path.name + end), copy.with_name(copy.name + end))
        connection = sqlite3.connect(copy)
        rows = connection.execute("SELECT headers, length(value) + length(raw) FROM entries").fetchall()
        connection.close()
        assert sum(size for _, size in rows) <= self._most_bytes
        found = {str(dict(json.loads(text))["ce_id"]) for text, _ in rows}
        in_kafka = {one.id for each in self.kafka.there.values() for one in each}
        for one in self.messages:
            if one.fate is Fate.SPOOLED:
                assert one.record.id in found | in_kafka, f"{one.record.id} was told spooled and is nowhere"
        return found

    async def end(self) -> None:
        """All is well again, for long enough: then everything that was told yes is in Kafka, and each device goes there directly."""
        self.kafka.mode, self.kafka.acknowledges = "takes", True
        self._works()
        for topic in TOPICS:
            self.kafka.acknowledge(topic, 1000)
        assert await self.life.box.drained(BUDGET_S + 1e-6)
        await asyncio.sleep(60)
        self.look()
        aside = len(self.life.telemetry.named("spool_set_aside"))
        assert self.life.spool.messages == aside
        assert self.life.spool.trouble() == ""
        counts = self.life.box.balance()
        assert {fate: counts[fate.value] for fate in Fate} == {
            fate: sum(one.fate is fate for one in self.life.messages) for fate in Fate
        }
        left = self.on_disk(self.life.path)
        assert len(left) == aside
        before = len(self.messages)
        for device in ("a", "b", "c"):
            self.message(device, "readings", "")
        await asyncio.sleep(1)
        assert [one.fate for one in self.messages[before:]] == [Fate.PUBLISHED] * 3, "a device is held up for good"
        await self.life.spool.close()
        self.judge(left)

    def judge(self, left: set[str]) -> None:
        """The promises, over all lives."""
        first: dict[tuple[str, str], int] = {}
        for topic, records in self.kafka.there.items():
            for place, handed in enumerate(records):
                first.setdefault((handed.id, topic), place)
                self.unaltered(handed)
        where = defaultdict(list)
        for one in self.messages:
            identity = one.record.id
            if one.fate not in YES:
                continue
            places = {topic: first[identity, topic] for topic in TOPICS if (identity, topic) in first}
            assert len(places) <= 1, f"{identity} lies on {places}"
            if identity in left:
                assert "deadly" in identity, f"{identity} stays in the spool"
                continue
            assert places, f"{identity} was told {one.fate} and is not in Kafka"
            [(topic, place)] = places.items()
            letter = topic == "dead-letters"
            assert letter == (
                one.topic == "dead-letters" or identity.endswith(("poison", "deadly", "large", "unfit"))
            ), identity
            if identity not in self.kafka.rejected:
                where[one.device, topic].append((place, identity))
        for of, places_and_ids in where.items():
            assert places_and_ids == sorted(places_and_ids), f"order of {of}: {places_and_ids}"

    def unaltered(self, one: Handed) -> None:
        [message] = [each for each in self.messages if each.record.id == one.id]
        expected: Reading | DeadLetter = message.record
        key = "air" if one.topic == "dead-letters" else "410122103"
        found = WIRE.decode(one.value)
        if one.topic == "dead-letters" and isinstance(expected, Reading):
            assert isinstance(found, DeadLetter)
            assert found.reason in ("too_large", "schema")
            expected = DeadLetter(
                id=expected.id,
                feed="air",
                vendor="demo",
                device=expected.device,
                reason=found.reason,
                detail=found.detail,
                raw=message.raw,
                evidence_sha256=None,
                accepted_at=expected.accepted_at,
                answered=True,
            )
        assert (one.key, found, one.headers) == (key, expected, tuple(headers(expected)))

    def _live(self, path: Path) -> Life:
        disk, telemetry, kafka = Disk(), RememberingTelemetry(), Connection(self.kafka)
        with patch("hub.spool.ThreadPoolExecutor", lambda *_: disk):
            spool = Spool(path, self._most_bytes, telemetry)
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(lambda _, context: self.defects.append(context))
        self.kafka.known = set()
        return Life(Outbox("air", kafka, WIRE, telemetry, BUDGET_S, spool), spool, disk, telemetry, path, kafka)


KINDS = ("", "", "", "", "wide", "large", "poison", "poison-deadly", "unfit")
MESSAGES: st.SearchStrategy[Act] = st.one_of(
    st.tuples(st.just("message"), st.sampled_from("aabc"), st.just("readings"), st.sampled_from(KINDS)),
    st.tuples(st.just("message"), st.sampled_from("aabc"), st.just("readings"), st.just("")),
    st.tuples(st.just("message"), st.sampled_from("aabc"), st.just("alerts.air"), st.sampled_from(KINDS)),
    st.tuples(st.just("message"), st.sampled_from("aabc"), st.just("dead-letters"), st.sampled_from(KINDS[:-1])),
)
HAPPENINGS: st.SearchStrategy[Act] = st.one_of(
    st.tuples(st.just("wait"), st.sampled_from([0.0, 0.02, 0.3, 0.6, 1.6, 6.0])),
    st.tuples(st.just("wait"), st.sampled_from([0.0, 0.02, 0.3])),
    st.tuples(st.just("append"), st.sampled_from(TOPICS), st.integers(1, 4)),
    st.tuples(st.just("acknowledge"), st.sampled_from(TOPICS), st.integers(1, 4)),
    st.tuples(st.just("acknowledges"), st.booleans()),
    st.tuples(st.just("fail"), st.integers(0, 3)),
    st.tuples(st.just("kafka"), st.sampled_from(["takes", "takes", "away", "full"])),
    st.tuples(st.just("disk"), st.sampled_from(["works", "held", "full"])),
    st.sampled_from([("do",), ("tell",)]),
    st.one_of(st.tuples(st.just("kill"), st.integers(0, 3)), st.just(("restart",))),
)


def passes(acts: Sequence[Act], most_bytes: int = 1 << 30) -> None:
    async def history() -> None:
        with tempfile.TemporaryDirectory() as folder:
            one = History(Path(folder), most_bytes)
            for act in acts:
                await one.act(*act)
            await one.end()

    with patch.multiple("hub.spool", MOST_AT_A_TIME=2, MOST_FLYING=5), asyncio.Runner(loop_factory=Clock) as runner:
        runner.run(history())


@settings(max_examples=600, deadline=None, suppress_health_check=list(HealthCheck))
@given(st.lists(st.one_of(MESSAGES, HAPPENINGS), min_size=25, max_size=100), st.sampled_from([1 << 30, 1 << 30, 5000]))
def test_any_history(acts: list[Act], most_bytes: int) -> None:
    passes(acts, most_bytes)
