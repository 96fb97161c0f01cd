"""What the spool has said is on the disk goes to Kafka, in order per lane, whatever Kafka and the disk do meanwhile."""

import asyncio
import itertools
import sqlite3
import subprocess
import sys
import threading
from collections.abc import Callable, Coroutine, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from hub import spool_file
from hub.core.errors import Misconfigured, Reason, Rejected, SpoolFull, Unavailable
from hub.spool import Kept, Spool
from hub.spool_file import ENTRY_COST_BYTES, Entry, Outgoing, Store
from hub.telemetry import FeedTelemetry
from tests.doubles import RememberingTelemetry, comes

PLENTY = 1 << 30
WITHIN_S = 20


def record(lane: str, number: int) -> Outgoing:
    headers = (("ce_id", f"{lane}/{number}".encode()), ("x", b"\xff\x00"))
    return Outgoing(lane, "readings", "410122103", headers, str(number).encode(), b"##raw", True)


class Kafka:
    """Where the spool sends: takes everything, nothing, or keeps what was sent until the test says what became of it."""

    def __init__(self) -> None:
        self.there: list[Outgoing] = []
        self.under_way: list[tuple[Outgoing, Callable[[Exception | None], None]]] = []
        self.raises: Exception | None = None
        self.holds = False
        self.rejects: set[bytes] = set()

    def send(self, one: Outgoing, done: Callable[[Exception | None], None]) -> None:
        if self.raises:
            raise self.raises
        if one.value in self.rejects:
            asyncio.get_running_loop().call_soon(done, Rejected(Reason.TOO_LARGE, "too large"))
        elif self.holds:
            self.under_way.append((one, done))
        else:
            self.there.append(one)
            asyncio.get_running_loop().call_soon(done, None)

    def letter(self, one: Outgoing, rejected: Rejected) -> Outgoing:
        if one.topic == "dead-letters":
            raise rejected
        return replace(one, topic="dead-letters", value=b"letter of " + one.value, raw=b"")

    def fail(self) -> None:
        under_way, self.under_way = self.under_way, []
        for _, done in under_way:
            done(Unavailable("given up"))

    def numbers(self, lane: str) -> list[int]:
        return [int(one.value) for one in self.there if one.lane == lane]


def run(test: Coroutine[None, None, None]) -> None:
    asyncio.run(asyncio.wait_for(test, WITHIN_S))


async def kept(spool: Spool, *records: Outgoing) -> list[Exception | None]:
    """Keeps them, and waits until the disk has them."""
    loop = asyncio.get_running_loop()
    futures: list[asyncio.Future[Exception | None]] = [loop.create_future() for _ in records]
    for one, future in zip(records, futures, strict=True):
        spool.keep(one, future.set_result)
    return await asyncio.gather(*futures)


def read(path: object) -> bytes:
    return Path(str(path)).read_bytes()


def opened(path: Path, kafka: Kafka | None, telemetry: FeedTelemetry | None = None, most: int = PLENTY) -> Spool:
    spool = Spool(path / "spool" / "air.db", most, telemetry or FeedTelemetry())
    if kafka:
        spool.serve(kafka.send, kafka.letter)
    return spool


def left(path: Path) -> int:
    """How many the next process would find."""
    store = Store(path / "spool/air.db")
    store.close()
    return sum(one.count for one in store.found)


def test_what_is_on_the_disk_goes_to_kafka_when_it_is_back(tmp_path: Path) -> None:
    async def test() -> None:
        kafka, telemetry = Kafka(), RememberingTelemetry()
        kafka.raises = Unavailable("away")
        spool = opened(tmp_path, kafka, telemetry)
        records = [record(f"ZA-{number % 3}", number) for number in range(300)]
        assert set(await kept(spool, *records)) == {None}
        assert spool.messages == 300
        assert spool.holds("ZA-1")
        kafka.raises = None
        await comes(lambda: not spool.messages)
        assert sorted(map(repr, kafka.there)) == sorted(map(repr, records)), "each once, unaltered"
        for lane in range(3):
            assert kafka.numbers(f"ZA-{lane}") == list(range(lane, 300, 3))
        assert not spool.holds("ZA-1")
        assert telemetry.named("spooling") == [(1,)]
        assert telemetry.named("spool_drained") == [()]
        assert len(telemetry.named("unspooled")) == 300
        assert telemetry.named("spool_holds")[-1] == (0, 0)
        await spool.close()

    run(test())


def test_the_next_process_goes_on_with_it(tmp_path: Path) -> None:
    async def test() -> None:
        kafka = Kafka()
        kafka.holds = True
        spool = opened(tmp_path, kafka)
        await kept(spool, *(record("a", number) for number in range(250)))
        await comes(lambda: len(kafka.under_way) == 250)
        for one, done in kafka.under_way[:10]:
            kafka.there.append(one)
            done(None)
        await spool.close()

        kafka.holds = False
        spool = opened(tmp_path, None, telemetry := RememberingTelemetry())
        assert spool.messages == 240
        assert telemetry.named("spooling") == [(240,)]
        spool.serve(kafka.send, kafka.letter)
        await kept(spool, record("a", 250))
        await comes(lambda: not spool.messages)
        assert kafka.numbers("a") == list(range(251))
        await spool.close()

    run(test())


def test_the_end_writes_what_came_during_the_last_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def test() -> None:
        kafka = Kafka()
        kafka.raises = Unavailable("away")
        spool = opened(tmp_path, kafka)
        loop, writing, go_on, change = asyncio.get_running_loop(), asyncio.Event(), threading.Event(), Store.change

        def slowly(*those: Any) -> None:
            loop.call_soon_threadsafe(writing.set)
            go_on.wait()
            change(*those)

        monkeypatch.setattr(Store, "change", slowly)
        first = asyncio.create_task(kept(spool, record("a", 0)))
        await writing.wait()
        second = asyncio.create_task(kept(spool, record("a", 1)))
        await asyncio.sleep(0)
        closing = asyncio.create_task(spool.close())
        await asyncio.sleep(0)
        go_on.set()
        await closing
        assert (first.done(), second.done()) == (True, True)
        assert (await first, await second) == ([None], [None])
        assert left(tmp_path) == 2

    run(test())


def test_the_end_drains_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def test() -> None:
        kafka = Kafka()
        kafka.raises = Unavailable("away")
        spool = opened(tmp_path, kafka)
        await kept(spool, *(record(f"{number}", number) for number in range(900)))
        loop, reading, read = asyncio.get_running_loop(), asyncio.Event(), Store.read

        def reads(*those: Any) -> object:
            loop.call_soon_threadsafe(reading.set)
            return read(*those)

        monkeypatch.setattr(Store, "read", reads)
        kafka.raises = None
        await reading.wait()
        await spool.close()
        assert len(kafka.there) < 100
        assert left(tmp_path) == 900 - len(kafka.there), "what Kafka has by then has left the spool"

    run(test())


def test_after_a_failure_a_lane_begins_where_it_has_not_come_through(tmp_path: Path) -> None:
    async def test() -> None:
        kafka = Kafka()
        kafka.holds = True
        spool = opened(tmp_path, kafka)
        await kept(spool, *(record("a", number) for number in range(5)))
        await comes(lambda: len(kafka.under_way) == 5)
        other = kept(spool, record("b", 0))
        await other
        await comes(lambda: len(kafka.under_way) == 6)
        (*_, third, fourth, _), ends = kafka.under_way[:5], kafka.under_way[5]
        for one, done in [*kafka.under_way[:2], third, ends]:
            kafka.there.append(one)
            done(None)
        kafka.under_way = kafka.under_way[3:5]
        kafka.holds = False
        assert fourth in kafka.under_way
        kafka.under_way[0][1](Unavailable("given up"))
        await kept(spool, record("a", 5))
        await asyncio.sleep(0)
        assert kafka.numbers("a") == [0, 1, 2], "nothing passes what is still under way"
        kafka.under_way[1][1](Unavailable("given up"))
        await comes(lambda: not spool.messages)
        assert kafka.numbers("a") == [0, 1, 2, 3, 4, 5]
        assert kafka.numbers("b") == [0]
        await spool.close()

    run(test())


def test_what_fails_while_the_next_are_read_goes_before_them(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def test() -> None:
        kafka = Kafka()
        kafka.raises = Unavailable("away")
        spool = opened(tmp_path, kafka)
        await kept(spool, *(record("a", number) for number in range(150)))
        kafka.raises, kafka.holds = None, True
        loop, reading, read = asyncio.get_running_loop(), asyncio.Event(), Store.read
        go_on = threading.Event()

        def slowly(store: Store, lane: str, after: int, *of: int) -> object:
            if after >= 100:
                loop.call_soon_threadsafe(reading.set)
                go_on.wait()
            return read(store, lane, after, *of)

        monkeypatch.setattr(Store, "read", slowly)
        await reading.wait()
        kafka.holds = False
        kafka.fail()
        go_on.set()
        await comes(lambda: not spool.messages)
        assert kafka.numbers("a") == list(range(150))
        await spool.close()

    run(test())


def test_what_was_with_kafka_before_does_not_go_there_again_until_it_is_known_of(tmp_path: Path) -> None:
    async def test() -> None:
        kafka = Kafka()
        spool = opened(tmp_path, kafka)
        loop = asyncio.get_running_loop()
        told: list[asyncio.Future[Exception | None]] = [loop.create_future() for _ in range(3)]
        handed: list[Kept] = [
            spool.keep(record("a", number), told[number].set_result, flying=number < 2) for number in range(3)
        ]
        assert await asyncio.gather(*told) == [None] * 3
        await kept(spool, record("b", 0))
        await comes(lambda: kafka.numbers("b") == [0])
        assert kafka.numbers("a") == []
        spool.landed(handed[0], None)
        spool.landed(handed[1], Unavailable("given up"))
        await comes(lambda: not spool.messages)
        assert kafka.numbers("a") == [1, 2], "the first is in Kafka by itself"
        await spool.close()

    run(test())


def test_a_full_spool_takes_nothing_until_there_is_room(tmp_path: Path) -> None:
    async def test() -> None:
        kafka, telemetry = Kafka(), RememberingTelemetry()
        kafka.raises = Unavailable("away")
        size = record("a", 0).cost
        assert size > ENTRY_COST_BYTES
        spool = opened(tmp_path, kafka, telemetry, most=3 * size)
        await kept(spool, *(record("a", number) for number in range(3)))
        for _ in range(2):
            with pytest.raises(SpoolFull):
                spool.keep(record("b", 0), lambda _error: None)
        assert telemetry.named("spool_full") == [(3,)], "told once"
        assert "full" in spool.trouble()
        assert not spool.holds("b")
        kafka.raises = None
        await comes(lambda: not spool.messages)
        assert await kept(spool, record("b", 0)) == [None]
        assert spool.trouble() == ""
        await spool.close()

    run(test())


def test_what_kafka_finds_too_large_becomes_a_dead_letter_and_holds_nobody_up(tmp_path: Path) -> None:
    async def test() -> None:
        kafka = Kafka()
        kafka.rejects = {b"1"}
        spool = opened(tmp_path, kafka)
        await kept(spool, *(record("a", number) for number in range(4)))
        await comes(lambda: not spool.messages)
        assert sorted(one.value for one in kafka.there) == [b"0", b"2", b"3", b"letter of 1"]
        await spool.close()

    run(test())


def test_what_nobody_takes_stays_in_the_file_and_is_tried_at_the_next_start(tmp_path: Path) -> None:
    async def test() -> None:
        kafka, telemetry = Kafka(), RememberingTelemetry()
        kafka.rejects = {b"1", b"letter of 1"}
        spool = opened(tmp_path, kafka, telemetry)
        await kept(spool, *(record("a", number) for number in range(4)))
        await comes(lambda: spool.messages == 1)
        assert kafka.numbers("a") == [0, 2, 3]
        assert telemetry.named("spool_set_aside") == [(2, "too_large: too large")]
        assert not spool.holds("a"), "its device goes on"
        await kept(spool, record("a", 4))
        await comes(lambda: kafka.numbers("a") == [0, 2, 3, 4])
        await spool.close()
        kafka.rejects = set()
        spool = opened(tmp_path, kafka)
        await comes(lambda: not spool.messages)
        assert kafka.numbers("a") == [0, 2, 3, 4, 1]
        await spool.close()

    run(test())


@contextmanager
def bytes_changed(path: Path, find: bytes) -> Iterator[None]:
    content = path.read_bytes()
    assert content.count(find) == 1
    path.write_bytes(content.replace(find, find[:-1] + bytes([find[-1] ^ 1])))
    yield


def test_an_entry_that_is_not_what_was_written_is_set_aside(tmp_path: Path) -> None:
    async def test() -> None:
        kafka, telemetry = Kafka(), RememberingTelemetry()
        spool = opened(tmp_path, kafka)
        kafka.raises = Unavailable("away")
        await kept(spool, *(replace(record("a", number), raw=f"<{number}>".encode() * 9) for number in range(3)))
        await spool.close()
        with bytes_changed(tmp_path / "spool/air.db", b"<1>" * 9):
            kafka.raises = None
            spool = opened(tmp_path, kafka, telemetry)
            await comes(lambda: spool.messages == 1)
        assert kafka.numbers("a") == [0, 2]
        assert telemetry.named("spool_set_aside") == [(2, "damaged")]
        await spool.close()

    run(test())


def test_a_damaged_file_is_set_aside_and_what_can_be_read_of_it_goes_on(tmp_path: Path) -> None:
    async def test() -> None:
        kafka, telemetry = Kafka(), RememberingTelemetry()
        spool = opened(tmp_path, kafka)
        kafka.raises = Unavailable("away")
        await kept(spool, *(replace(record("a", number), raw=bytes(3000)) for number in range(100)))
        await spool.close()
        path = tmp_path / "spool/air.db"
        content = bytearray(path.read_bytes())
        middle = len(content) // 2 // 4096 * 4096
        content[middle : middle + 8 * 4096] = b"\xff" * 8 * 4096
        path.write_bytes(content)
        kafka.raises = None
        spool = opened(tmp_path, kafka, telemetry)
        ((aside, rescued),) = telemetry.named("spool_damaged")
        assert read(aside)[100:] == content[100:], "but for its counters"
        assert isinstance(rescued, int)
        assert 80 <= rescued < 100
        await comes(lambda: not spool.messages)
        numbers = kafka.numbers("a")
        assert numbers == sorted(numbers)
        assert len(numbers) == rescued
        await spool.close()

    run(test())


def test_the_names_of_a_rescue_are_on_the_disk_in_their_order(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Against a loss of power: the successor's name before the damaged file is moved, that before the successor takes its place, and that before it
    is worked with.
    """
    path = tmp_path / "camera.sqlite"
    path.write_bytes(b"no database at all, but long enough to be taken for one" * 100)
    steps, rename = list[str](), Path.replace

    def renamed(one: Path, target: Path) -> Path:
        steps.append("placed" if target == path else "moved" if spool_file.DAMAGED in target.name else "rescued")
        return rename(one, target)

    def settled(folder: Path) -> None:
        assert folder == tmp_path
        steps.append("settled")

    with monkeypatch.context() as patched:
        patched.setattr(Path, "replace", renamed)
        patched.setattr(spool_file, "settle_names", settled)
        spool_file.Store(path).close()
    assert [step for step, _ in itertools.groupby(steps)] == [
        "rescued",
        "settled",
        "moved",
        "settled",
        "placed",
        "settled",
    ]


@pytest.mark.parametrize("at", range(6))
def test_a_rescue_that_was_broken_off_is_made_again_or_ended(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, at: int
) -> None:
    """While it reads, or before one of its renamings: that of the successor, those of the damaged file and what lies beside it, and the last."""

    async def test() -> None:
        kafka, telemetry = Kafka(), RememberingTelemetry()
        spool = opened(tmp_path, kafka)
        kafka.raises = Unavailable("away")
        await kept(spool, *(record("a", number) for number in range(9)))
        await spool.close()
        path = tmp_path / "spool/air.db"
        with sqlite3.connect(path) as file:
            file.execute("PRAGMA writable_schema = ON")
            table = "SELECT rootpage FROM sqlite_master WHERE name = 'entries'"
            file.execute(f"UPDATE sqlite_master SET rootpage = ({table}) WHERE name = 'lanes'")  # noqa: S608 - names of tables, the test's
        file.close()
        renamings, rename, readable = itertools.count(1), Path.replace, spool_file._readable

        def renamed(one: Path, target: Path) -> Path:
            if next(renamings) == at:
                raise InterruptedError(None, "killed")
            return rename(one, target)

        def read_on(connection: sqlite3.Connection) -> Iterator[Entry]:
            yield from itertools.islice(readable(connection), 3)
            raise InterruptedError(None, "killed")

        with monkeypatch.context() as patched:
            patched.setattr(Path, "replace", renamed)
            if at == 0:
                patched.setattr(spool_file, "_readable", read_on)
            with pytest.raises(Misconfigured, match="killed"):
                opened(tmp_path, None)
        spool = opened(tmp_path, kafka, telemetry)
        ((aside, rescued),) = telemetry.named("spool_damaged")
        assert rescued == spool.messages == 9
        assert read(aside)
        assert not list(path.parent.glob("*.rescu*"))
        kafka.raises = None
        await comes(lambda: not spool.messages)
        assert kafka.numbers("a") == list(range(9))
        await spool.close()

    run(test())


def test_no_file_at_all_is_set_aside_too(tmp_path: Path) -> None:
    async def test() -> None:
        (tmp_path / "spool").mkdir()
        (tmp_path / "spool/air.db").write_bytes(b"no database, " * 1000)
        kafka, telemetry = Kafka(), RememberingTelemetry()
        spool = opened(tmp_path, kafka, telemetry)
        assert [rescued for _, rescued in telemetry.named("spool_damaged")] == [0]
        assert await kept(spool, record("a", 0)) == [None]
        await spool.close()

    run(test())


HOLDER = """
import sys
from pathlib import Path
from hub.spool_file import Store
store = Store(Path(sys.argv[1]))
print("open", flush=True)
sys.stdin.read()
"""


def test_two_processes_cannot_have_one_spool(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hub.spool_file.LOCK_WITHIN_S", 0.1)
    path = tmp_path / "air.db"
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as other:
        assert other.stdout
        assert other.stdout.readline() == b"open\n"
        with pytest.raises(Misconfigured, match="another process"):
            Store(path)
        other.kill()
    Store(path).close()


def test_one_of_a_newer_program_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "air.db"
    Store(path).close()
    with sqlite3.connect(path) as connection:
        connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(Misconfigured, match="newer"):
        Store(path)
    assert [each.name for each in tmp_path.iterdir()] == ["air.db"]


def test_nobody_else_may_read_it_and_a_place_that_cannot_be_written_is_named(tmp_path: Path) -> None:
    Store(tmp_path / "air.db").close()
    assert (tmp_path / "air.db").stat().st_mode & 0o077 == 0
    (tmp_path / "file").touch()
    with pytest.raises(Misconfigured, match="file"):
        Store(tmp_path / "file" / "air.db")


def test_a_disk_that_takes_nothing_is_told_and_nothing_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def test() -> None:
        kafka, telemetry = Kafka(), RememberingTelemetry()
        kafka.raises = Unavailable("away")
        spool = opened(tmp_path, kafka, telemetry)

        def full(*_: object) -> None:
            raise Unavailable("the spool: database or disk is full")

        with monkeypatch.context() as patch:
            patch.setattr(spool._store, "change", full)
            (error,) = await kept(spool, record("a", 0))
            assert isinstance(error, Unavailable)
            assert "disk is full" in spool.trouble()
            assert telemetry.named("spool_fails")
            assert (spool.messages, spool.holds("a")) == (0, False)
        assert await kept(spool, record("a", 1)) == [None]
        assert spool.trouble() == ""
        kafka.raises = None
        await comes(lambda: not spool.messages)
        assert kafka.numbers("a") == [1]
        await spool.close()

    run(test())


def test_trouble_that_is_over_is_told_no_more(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Also when nothing more is to be kept: else a connector would call itself not ready when Kafka goes the next time."""

    async def test() -> None:
        kafka = Kafka()
        kafka.raises = Unavailable("away")
        spool = opened(tmp_path, kafka, most=3 * record("a", 0).cost)
        await kept(spool, *(record("a", number) for number in range(3)))
        with pytest.raises(SpoolFull):
            spool.keep(record("a", 3), lambda _error: None)
        kafka.raises = None
        await comes(lambda: not spool.messages)
        assert spool.trouble() == ""

        with monkeypatch.context() as patch:
            patch.setattr(Store, "change", fails)
            assert await kept(spool, record("a", 4)) != [None]
            assert spool.trouble()
        await comes(lambda: not spool.trouble())
        await spool.close()

    run(test())


def fails(*_: object) -> None:
    raise Unavailable("the spool: database or disk is full")


def test_a_disk_that_takes_nothing_more_still_gives_what_it_has(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Else the devices of which it has something would be refused until it does, though Kafka is there."""

    async def test() -> None:
        kafka = Kafka()
        kafka.raises = Unavailable("away")
        spool = opened(tmp_path, kafka)
        await kept(spool, *(record(f"{number % 3}", number) for number in range(900)))
        with monkeypatch.context() as patch:
            patch.setattr(Store, "change", fails)
            kafka.raises = None
            await comes(lambda: not spool.messages)
            assert not any(spool.holds(str(lane)) for lane in range(3))
            assert kafka.numbers("1") == list(range(1, 900, 3))
            assert spool.trouble()
        await comes(lambda: not spool.trouble())
        await spool.close()
        assert left(tmp_path) == 0

    run(test())


def test_a_device_whose_entries_cannot_be_read_holds_up_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test() -> None:
        kafka, telemetry, read = Kafka(), RememberingTelemetry(), Store.read
        kafka.raises = Unavailable("away")
        spool = opened(tmp_path, kafka, telemetry)
        await kept(spool, *(record(f"{number % 3}", number) for number in range(900)))

        def reads(store: Store, lane: str, *of: int) -> object:
            if lane == "1":
                raise Unavailable("the spool: database disk image is malformed")
            return read(store, lane, *of)

        monkeypatch.setattr(Store, "read", reads)
        kafka.raises = None
        began = asyncio.get_running_loop().time()
        await comes(lambda: spool.messages == 300)
        assert asyncio.get_running_loop().time() - began < 1.5, "it took a pause for each hundred"
        assert telemetry.named("spool_fails")
        assert spool.trouble() == "", "it keeps what comes"
        await spool.close()

    run(test())


def test_the_disk_is_given_back(tmp_path: Path) -> None:
    async def test() -> None:
        kafka = Kafka()
        kafka.raises = Unavailable("away")
        spool = opened(tmp_path, kafka)
        await kept(spool, *(replace(record("a", number), raw=bytes(10_000)) for number in range(2000)))
        path = tmp_path / "spool/air.db"
        assert path.stat().st_size > 15_000_000
        kafka.raises = None
        await comes(lambda: path.stat().st_size < 100_000)
        await spool.close()

    run(test())
