"""The spool: what was accepted while Kafka did not take it, on the local disk (hub.spool_file), until Kafka has it.

One fsync serves all that has come meanwhile, and each lane (a device) goes to Kafka in its order, several at a time.
"""

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import ParamSpec, TypeVar

from hub.core.errors import Full, Rejected, SpoolFull, Unavailable
from hub.lang import Text
from hub.points import reached
from hub.spool_file import Entry, Outgoing, Store
from hub.telemetry import FeedTelemetry

MOST_UNWRITTEN_BYTES = 32 * 1024 * 1024
"""What may wait in memory for a disk that does not keep up."""
MOST_FLYING, MOST_FLYING_BYTES = 1000, 4 * 1024 * 1024
"""What of the spool may be under way to Kafka: a small part of what may wait there, the rest is for what comes live."""
MOST_AT_A_TIME = 100
PAUSE_S = (0.5, 10.0)
"""After a failure a lane waits so long, and twice as long after each further one, up to the second."""
DISK_WITHIN_S = 5.0
"""A disk that has not answered for so long is one that fails."""
ROOM_AGAIN = 0.9
"""A spool that was full is so no more when so much of it, or less, is taken."""
CLOSE_WITHIN_S = 2.0

P = ParamSpec("P")
T = TypeVar("T")
Done = Callable[[Exception | None], None]


@dataclass(slots=True)
class _Lane:
    """What the spool has of a lane, which exists as long as that is anything: `left` of numbers from `first` on, of which `read` was handed on last."""

    name: str
    first: int
    read: int
    left: int = 0
    originals: int = 0  # handed to Kafka before they came here, and not known of yet
    flying: int = 0
    failed: bool = False
    pause_s: float = 0.0
    again_at: float = 0.0

    def may_go(self, now: float) -> bool:
        """Whether its next entries may be handed to Kafka: none may pass one that has not come through."""
        waits = self.originals or (self.failed and self.flying) or now < self.again_at
        return self.left > self.flying and not waits


@dataclass(slots=True, eq=False)
class Kept:
    """A record that the spool was given. `flying`: it is with Kafka since before."""

    entry: Entry
    lane: _Lane
    done: Done
    flying: bool
    gone: bool = False  # in Kafka, or not on the disk either


class Spool:
    """The queue of one connector. All but the beginning and the end is to be called on one asyncio loop."""

    def __init__(self, path: Path, max_bytes: int, telemetry: FeedTelemetry) -> None:
        """Opens the file `path`. `max_bytes`: what its entries may take. Raises Misconfigured, as `Store`."""
        self._store = Store(path)
        self._max_bytes = max_bytes
        self._telemetry = telemetry
        self._disk = ThreadPoolExecutor(1, "spool")
        found = self._store.found
        self._lanes = {one.lane: _Lane(one.lane, one.first, one.first - 1, one.count) for one in found}
        self._last = max((one.last for one in found), default=0)
        self._messages = sum(one.count for one in found)
        self._bytes = sum(one.cost for one in found)
        self._adding: list[Kept] = []
        self._writing: list[Kept] = []
        self._adding_bytes = 0
        self._removing: set[int] = set()
        self._aside: dict[int, str] = {}
        self._flying = self._flying_bytes = 0
        self._paused = self._full = self._loose = False
        self._disk_trouble = ""
        self._disk_hangs = False
        self._disk_again_at = 0.0
        self._wake = asyncio.Event()
        self._closing = False
        self._task: asyncio.Task[None] | None = None
        if self._store.damaged:
            telemetry.spool_damaged(str(self._store.damaged), self._messages)
        if self._messages:
            telemetry.spooling(self._messages)
        self._tell()
        reached("spool.opened")

    def serve(
        self,
        send: Callable[[Outgoing, Done], None],
        letter: Callable[[Outgoing, Rejected], Outgoing],
        tell: Callable[[], None] = lambda: None,
    ) -> None:
        """Begins to write and to drain. `send` hands a record to Kafka, as hub.kafka_log.Publisher does, but is told what became of it on the loop.
        `letter` makes the dead letter of a record that Kafka does not take; raises Rejected. `tell` tells at once what is known of those sent.
        """
        self._send, self._letter, self._learn = send, letter, tell
        self._loop = asyncio.get_running_loop()
        self._task = self._loop.create_task(self._work(), name="spool")
        self._task.add_done_callback(self._ended)
        self._wake.set()

    @property
    def messages(self) -> int:
        """How many it has that Kafka has not."""
        return self._messages

    def holds(self, lane: str) -> bool:
        """Whether it has, or is getting, anything of a lane: then what comes next of it goes here too."""
        return lane in self._lanes

    def keep(self, record: Outgoing, done: Done, *, flying: bool = False) -> Kept:
        """Keeps a record behind all there is of its lane; `done` is called on the loop once it is on the disk, or with why it is not.

        flying: it was handed to Kafka already; it is not handed over again before `landed` was called. Raises SpoolFull, Full (too much waits for
        the disk) or Unavailable (it does not answer): then nothing is kept.
        """
        if self._disk_hangs:
            raise Unavailable(self._disk_trouble)
        if self._bytes + record.cost > self._max_bytes:
            if not self._full:
                self._telemetry.spool_full(self._messages)
            self._full = True
            raise SpoolFull(f"{self._bytes} bytes are in the spool")
        if self._adding_bytes + record.cost > MOST_UNWRITTEN_BYTES:
            raise Full(f"{self._adding_bytes} bytes wait for the disk already")
        self._full = False
        self._last += 1
        lane = self._lanes.setdefault(record.lane, _Lane(record.lane, self._last, self._last - 1))
        lane.left += 1
        lane.originals += flying
        kept = Kept(Entry(self._last, record), lane, done, flying)
        self._adding.append(kept)
        self._adding_bytes += record.cost
        self._messages += 1
        self._bytes += record.cost
        if self._messages == 1:
            self._telemetry.spooling(1)
        self._tell()
        self._wake.set()
        return kept

    def landed(self, kept: Kept, error: Exception | None) -> None:
        """What became of a record that was `flying`: None, and it is in Kafka; else it goes there again."""
        kept.flying = False
        kept.lane.originals -= 1
        if error is None and not kept.gone:
            kept.gone = True
            self._leave(kept.lane, kept.entry)
        self._wake.set()

    def trouble(self) -> str:
        """Why it keeps nothing more, in a sentence for people; empty while it does."""
        if self._disk_trouble:
            why = self._disk_trouble
            return str(Text(f"the spool cannot be written: {why}", f"无法写入本地缓存：{why}"))
        if self._full:
            return str(
                Text(
                    f"the spool is full ({self._messages} messages, {self._bytes} bytes)",
                    f"本地缓存已满（{self._messages} 条，{self._bytes} 字节）",
                )
            )
        return ""

    async def close(self) -> None:
        """Drains no more, writes what has come, and leaves the file to the next process, within about 2 s."""
        self._closing = True
        self._wake.set()
        if self._task:
            await asyncio.wait([self._task], timeout=CLOSE_WITHIN_S / 2)
        closed = asyncio.get_running_loop().run_in_executor(self._disk, self._store.close)
        await asyncio.wait([closed], timeout=CLOSE_WITHIN_S / 2)
        self._disk.shutdown(wait=False)

    # ---- the disk

    async def _work(self) -> None:
        """Writes what has come; then hands on what may go."""
        while True:
            await self._wake.wait()
            self._wake.clear()
            await self._write()
            if self._closing:
                if self._wake.is_set():
                    continue  # more came while that was written
                return
            await self._drain()
            if self._loose and not (self._messages or self._adding):
                await self._shrink()

    async def _write(self) -> None:
        adding, self._adding, self._adding_bytes = self._adding, [], 0
        removing, aside = set(self._removing), dict(self._aside)
        if self._disk_trouble and not (adding or self._closing):
            # The entries that Kafka has taken go on waiting to be removed; nobody waits for that.
            if self._loop.time() < self._disk_again_at:
                return
        elif not (adding or removing or aside):
            return
        # What Kafka has taken meanwhile need not be written at all.
        entries = [kept.entry for kept in adding if not kept.gone]
        self._writing = adding
        try:
            await self._on_disk(self._store.change, entries, removing, aside)
        except Unavailable as error:
            self._disk_fails(str(error))
            self._not_kept(error)
            return
        self._disk_trouble = ""
        self._removing -= removing
        self._loose |= bool(removing)
        for seq in aside:
            del self._aside[seq]
        written, self._writing = self._writing, []
        for kept in written:
            kept.done(None)

    def _not_kept(self, error: Unavailable) -> None:
        """What is being written is not, or is of no use by now."""
        those, self._writing = self._writing, []
        for kept in those:
            if not kept.gone:
                kept.gone = True
                self._forget(kept.lane, kept.entry)
            kept.done(error)

    async def _shrink(self) -> None:
        try:
            self._loose = await self._on_disk(self._store.shrink)
        except Unavailable as error:
            self._telemetry.spool_fails(str(error))
        else:
            if self._loose:
                self._wake.set()

    async def _on_disk(self, work: Callable[P, T], *arguments: P.args, **more: P.kwargs) -> T:
        alarm = self._loop.call_later(DISK_WITHIN_S, self._hangs)
        try:
            return await self._loop.run_in_executor(self._disk, partial(work, *arguments, **more))
        finally:
            alarm.cancel()
            self._disk_hangs = False

    def _hangs(self) -> None:
        """The disk does not answer: what waits for it is not kept, so that its devices are free to go to Kafka, and nothing more is until it does."""
        self._disk_hangs = True
        error = Unavailable("the spool: the disk does not answer")
        self._disk_fails(str(error))
        # What is being written may come to be there after all.
        self._removing.update(kept.entry.seq for kept in self._writing)
        self._writing += self._adding
        self._adding, self._adding_bytes = [], 0
        self._not_kept(error)

    def _disk_fails(self, why: str) -> None:
        self._disk_trouble = why
        self._telemetry.spool_fails(why)
        self._disk_again_at = self._loop.time() + PAUSE_S[0]
        self._loop.call_at(self._disk_again_at, self._wake.set)

    def _pause(self) -> None:
        """Kafka takes nothing: it is asked again after a while."""
        self._paused = True
        self._loop.call_later(PAUSE_S[0], self._go_on)

    def _go_on(self) -> None:
        self._paused = False
        self._wake.set()

    # ---- to Kafka

    async def _drain(self) -> None:
        """Hands on what may go, a lane after the other, until enough is under way or something is to be written."""
        for lane in list(self._lanes.values()):
            most = min(MOST_AT_A_TIME, MOST_FLYING - self._flying)
            if self._closing or self._paused or self._adding or most <= 0 or self._flying_bytes >= MOST_FLYING_BYTES:
                return
            if not lane.may_go(self._loop.time()):
                continue
            if lane.failed:
                lane.failed, lane.read = False, lane.first - 1
            # The next turn begins with the others.
            self._lanes[lane.name] = self._lanes.pop(lane.name)
            # After a failure one goes ahead.
            await self._hand_on(lane, 1 if lane.pause_s else most)

    async def _hand_on(self, lane: _Lane, most: int) -> None:
        try:
            entries, damaged = await self._on_disk(self._store.read, lane.name, lane.read, most)
        except Unavailable as error:
            self._telemetry.spool_fails(str(error))
            self._failed(lane)
            return
        assert entries or damaged or self._adding, "the spool has less than was counted"
        self._learn()
        if lane.failed:
            return  # while it was read: what failed goes first
        for seq in damaged:
            self._set_aside(lane, seq, "damaged")
        for entry in entries:
            if (
                entry.seq not in self._removing
                and entry.seq not in self._aside
                and not self._fly(lane, entry, entry.record)
            ):
                return
            lane.read = entry.seq
        self._wake.set()

    def _fly(self, lane: _Lane, entry: Entry, record: Outgoing) -> bool:
        """Hands an entry to Kafka, as what it is or as a dead letter; False when Kafka takes nothing now."""
        try:
            self._send(record, partial(self._came_back, lane, entry, record))
        except Rejected as rejected:
            return self._rejected(lane, entry, record, rejected)
        except Unavailable:
            self._pause()
            return False
        reached("spool.handed_on")
        lane.flying += 1
        self._flying += 1
        self._flying_bytes += entry.record.cost
        return True

    def _came_back(self, lane: _Lane, entry: Entry, record: Outgoing, error: Exception | None) -> None:
        lane.flying -= 1
        self._flying -= 1
        self._flying_bytes -= entry.record.cost
        if error is None:
            lane.pause_s = 0.0
            reached("spool.acknowledged")
            self._leave(lane, entry)
        elif not isinstance(error, Rejected):
            self._failed(lane)
        elif not self._rejected(lane, entry, record, error):
            lane.failed = True
        self._wake.set()

    def _failed(self, lane: _Lane) -> None:
        if lane.failed:
            return  # one failure of many that flew together
        lane.failed = True
        lane.pause_s = min(max(2 * lane.pause_s, PAUSE_S[0]), PAUSE_S[1])
        lane.again_at = self._loop.time() + lane.pause_s
        self._loop.call_at(lane.again_at, self._wake.set)

    def _rejected(self, lane: _Lane, entry: Entry, record: Outgoing, rejected: Rejected) -> bool:
        try:
            letter = self._letter(record, rejected)
        except Rejected as error:
            self._set_aside(lane, entry.seq, str(error))
            return True
        return self._fly(lane, entry, letter)

    def _set_aside(self, lane: _Lane, seq: int, why: str) -> None:
        """Neither Kafka nor the dead letters will ever take it: it stays in the file, for people, and is tried again at the next start."""
        if seq in self._aside:
            return  # it was read once more before that was written
        self._telemetry.spool_set_aside(seq, why)
        self._aside[seq] = why
        self._less(lane)
        self._wake.set()

    def _leave(self, lane: _Lane, entry: Entry) -> None:
        """Kafka has it."""
        self._removing.add(entry.seq)
        self._telemetry.unspooled()
        self._forget(lane, entry)
        if not self._messages:
            self._telemetry.spool_drained()

    def _forget(self, lane: _Lane, entry: Entry) -> None:
        self._messages -= 1
        self._bytes -= entry.record.cost
        if self._bytes <= ROOM_AGAIN * self._max_bytes:
            self._full = False
        self._less(lane)
        self._tell()

    def _less(self, lane: _Lane) -> None:
        lane.left -= 1
        if not lane.left and self._lanes.get(lane.name) is lane:
            del self._lanes[lane.name]

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled() and (defect := task.exception()):
            self._loop.call_exception_handler({"message": "the spool has ended", "exception": defect})

    def _tell(self) -> None:
        self._telemetry.spool_holds(self._messages, self._bytes)
