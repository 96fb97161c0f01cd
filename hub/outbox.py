"""The outbox: where a connector puts each message, and what becomes of it.

A message goes to Kafka; where Kafka has not acknowledged it within its part of the budget, or takes nothing, it goes to the spool on the local
disk, and from there to Kafka (design, decisions 5 and 8). Order per device: while the spool has anything of a device, what comes next of it
joins it there, and when one message of a device goes there, all of it that Kafka has not acknowledged goes there too.
"""

import asyncio
import contextlib
from collections import Counter, deque
from collections.abc import Callable, Mapping, Sequence
from enum import StrEnum
from functools import partial
from typing import Protocol

from hub.clock import Clock
from hub.core.errors import Full, Reason, Rejected, SpoolFull, Unavailable
from hub.core.events import Alert, DeadLetter, LifeSign, Reading
from hub.core.registry import Device
from hub.points import reached
from hub.spool import Kept, Spool
from hub.spool_file import Outgoing
from hub.telemetry import FeedTelemetry
from hub.wire import Wire, headers

DEAD_LETTERS = "dead-letters"
LIFE_SIGNS = "life-signs"
LIFE_SIGN_EVERY_S = 60.0
SPOOL_SHARE = 0.25
"""So much of the budget is the disk's."""
LATE = Unavailable("not in time")
REASONS: Mapping[type[Exception], Reason] = {Full: Reason.BUSY, SpoolFull: Reason.FULL}


class Fate(StrEnum):
    """What became of a message first; exactly one each."""

    PUBLISHED = "published"
    DEAD_LETTERED = "dead-lettered"
    SPOOLED = "spooled"
    EMPTY = "empty"
    REFUSED = "refused"


KEPT = frozenset({Fate.PUBLISHED, Fate.DEAD_LETTERED, Fate.SPOOLED, Fate.EMPTY})
"""Fates after which the sender may be told yes."""


class Log(Protocol):
    """Where records go: hub.kafka_log.Publisher, which says what is promised."""

    def publish(
        self,
        topic: str,
        key: str,
        value: bytes,
        headers: Sequence[tuple[str, bytes]],
        done: Callable[[Exception | None], None],
        town: str = "",
    ) -> None: ...


class _Pending:
    """A message whose fate is open. `record`: what is being kept of it; `letter`: that, where it is a dead letter; `make_letter`: what to keep when
    the record turns out not to fit; `flying`: it is with Kafka; `kept`: it is with the spool.
    """

    __slots__ = ("deadline", "device", "fate", "flying", "future", "kept", "lane", "letter", "make_letter", "record")

    def __init__(self, lane: str, device: str, future: asyncio.Future[Fate]) -> None:
        self.lane = lane
        self.device = device
        self.future = future
        self.deadline = 0.0
        self.letter: DeadLetter | None = None
        self.make_letter: Callable[[Rejected], DeadLetter] | None = None
        self.record: Outgoing | None = None
        self.flying = False
        self.kept: Kept | None = None
        self.fate: Fate | None = None


class _Deadlines:
    """Those that wait for one thing, all for as long: in order of deadline. One timer serves all; those that wait no more leave at the front."""

    def __init__(self, after_s: float, waits: Callable[[_Pending], bool], over: Callable[[_Pending], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self._after_s = after_s
        self._waits = waits
        self._over = over
        self._queue: deque[_Pending] = deque()
        self._timer: asyncio.TimerHandle | None = None

    def add(self, pending: _Pending) -> None:
        pending.deadline = self._loop.time() + self._after_s
        self._queue.append(pending)
        if self._timer is None:
            self._timer = self._loop.call_at(pending.deadline, self._look)

    def tidy(self) -> None:
        while self._queue and not self._waits(self._queue[0]):
            self._queue.popleft()

    def _look(self) -> None:
        now = self._loop.time()
        self.tidy()
        while self._queue and self._queue[0].deadline <= now:
            self._over(self._queue.popleft())
            self.tidy()
        self._timer = self._loop.call_at(self._queue[0].deadline, self._look) if self._queue else None


class Outbox:
    """Where a connector puts each message; belongs to one asyncio loop, to be called on it only.

    The fate is counted here and not where it is awaited: a connection that ends while its message is under way changes no balance.
    """

    def __init__(
        self,
        feed: str,
        log: Log,
        wire: Wire,
        telemetry: FeedTelemetry,
        budget_s: float,
        spool: Spool | None = None,
        *,
        clock: Clock | None = None,
    ) -> None:
        """`budget_s`: seconds until each message has its fate; the last quarter of it is the disk's, if there is a spool. `clock`: whose time counts
        for all that the feed hears, by default this machine's.
        """
        self.clock = clock or Clock()
        self._feed = feed
        self._log = log
        self._wire = wire
        self._telemetry = telemetry
        self._spool = spool
        self._loop = asyncio.get_running_loop()
        self._fates: Counter[Fate] = Counter()
        self._received = 0
        self._heard: dict[str, float] = {}  # when each device's last life sign was written
        self._lanes: dict[
            str, dict[_Pending, None]
        ] = {}  # what of each device only Kafka has, in the order of acceptance
        disk_s = SPOOL_SHARE * budget_s if spool else 0.0
        self._by_kafka = _Deadlines(
            budget_s - disk_s, lambda one: one.fate is None and one.kept is None, lambda one: self._fall_back(one, LATE)
        )
        self._by_disk = _Deadlines(disk_s, lambda one: one.fate is None, lambda one: self._refuse(one, LATE))
        self._results: deque[Callable[[], None]] = deque()
        self._wake_up_sent = False
        self._idle = asyncio.Event()
        self._idle.set()
        if spool:
            spool.serve(self._send, self._letter_of, self._take_results)

    def publish(self, topic: str, event: Reading | Alert, raw: bytes, *, answered: bool = True) -> asyncio.Future[Fate]:
        """Hands a record to Kafka, synchronously and in call order; the future gives its one first fate, never an exception.

        PUBLISHED: acknowledged by all in-sync replicas within the budget. SPOOLED: it is on the local disk, and goes to Kafka from there.
        DEAD_LETTERED: the record does not fit its schema or is too large, and `raw` (the message as it came) is acknowledged on the dead letters.
        REFUSED: none of these in time, too much already waits, or the spool is full: do not answer yes. `answered`: whether the sender is told
        when the message is kept; a dead letter says so.
        """
        self._take_results()  # what failed a moment ago goes before it
        lane = _encodable(event.device or event.town)
        try:
            value = self._wire.encode(event)
        except Rejected as rejected:
            return self.dead_letter(self._letter(event, raw, answered, rejected))
        pending = self._take(lane, event.device)
        pending.make_letter = lambda rejected: self._letter(event, raw, answered, rejected)
        self._hand_over(pending, Outgoing(lane, topic, event.town, tuple(headers(event)), value, raw, answered))
        return pending.future

    def dead_letter(self, letter: DeadLetter) -> asyncio.Future[Fate]:
        """Keeps what cannot be read: DEAD_LETTERED, SPOOLED or REFUSED, else as `publish`."""
        self._take_results()
        pending = self._take(_encodable(letter.device or self._feed), letter.device)
        self._hand_over_letter(pending, letter)
        return pending.future

    def empty(self) -> Fate:
        """Counts a message with nothing in it to keep (a heartbeat): EMPTY."""
        self._receive()
        self._count(Fate.EMPTY, None, "")
        return Fate.EMPTY

    def refused(self, reason: Reason, device: str = "") -> Fate:
        """Counts a message that the connector itself does not take: REFUSED."""
        self._receive()
        self._count(Fate.REFUSED, reason, device)
        return Fate.REFUSED

    def alive(self, device: Device, said: str) -> None:
        """Something was heard of a device (`data`, `heartbeat`, `fault`): a life sign, at most once a minute each, on its town's partition. It is no
        message of the balance, and where Kafka does not take it, the next minute's will do.
        """
        now = self._loop.time()
        if now - self._heard.get(device.id, -LIFE_SIGN_EVERY_S) < LIFE_SIGN_EVERY_S:
            return
        self._heard[device.id] = now
        sign = LifeSign(
            device=device.id,
            town=device.town,
            vendor=device.vendor,
            feed=self._feed,
            heard_at=self.clock.now(),
            said=said,
        )
        # What cannot be encoded was registered so: the device's records tell of it.
        with contextlib.suppress(Rejected, Unavailable):
            value = self._wire.encode(sign)
            self._log.publish(LIFE_SIGNS, device.id, value, headers(sign), lambda _error: None, device.town)

    def answered(self, answer: str) -> None:
        """Counts an answer that went out to the sender (`9014`, `9013`, `200`)."""
        self._telemetry.answered(answer)

    @property
    def pending(self) -> int:
        """How many messages have no fate yet."""
        return self._received - self._fates.total()

    def balance(self) -> dict[str, int]:
        """received, each fate, and pending: received = the sum of the others."""
        fates = {fate.value: self._fates[fate] for fate in Fate}
        return {"received": self._received, **fates, "pending": self.pending}

    async def drained(self, timeout_s: float) -> bool:
        """Waits until no message is pending; False when some still were after `timeout_s` seconds."""
        try:
            async with asyncio.timeout(timeout_s):
                await self._idle.wait()
        except TimeoutError:
            return False
        return True

    def _receive(self) -> None:
        self._received += 1
        self._telemetry.received()

    def _take(self, lane: str, device: str) -> _Pending:
        self._receive()
        self._idle.clear()
        pending = _Pending(lane, device, self._loop.create_future())
        self._lanes.setdefault(lane, {})[pending] = None
        self._by_kafka.add(pending)
        return pending

    def _hand_over_letter(self, pending: _Pending, letter: DeadLetter) -> None:
        pending.letter, pending.make_letter = letter, None
        try:
            record = self._as_record(pending.lane, letter)
        except Rejected as rejected:
            self._settle(pending, rejected)
        else:
            self._hand_over(pending, record)

    def _hand_over(self, pending: _Pending, record: Outgoing) -> None:
        pending.record = record
        reached("outbox.accepted")
        if self._spool and self._spool.holds(pending.lane):
            self._keep(pending)
            return
        pending.flying = True
        try:
            self._send(record, partial(self._settle, pending))
        except (Rejected, Unavailable) as error:
            self._settle(pending, error)

    def _send(self, record: Outgoing, done: Callable[[Exception | None], None]) -> None:
        """Hands a record to Kafka; `done` is called on the loop. Raises as the log does."""
        self._log.publish(
            record.topic,
            record.key,
            record.value,
            record.headers,
            lambda error: self._on_the_loop(partial(done, error)),
        )

    def _on_the_loop(self, result: Callable[[], None]) -> None:
        """Runs on the publisher's thread. One wake-up of the loop serves all results that come before it runs."""
        self._results.append(result)
        if self._wake_up_sent:
            return
        self._wake_up_sent = True
        with contextlib.suppress(RuntimeError):  # the loop has ended, and nobody waits for the fate any more
            self._loop.call_soon_threadsafe(self._take_results)

    def _take_results(self) -> None:
        self._wake_up_sent = False
        while self._results:
            self._results.popleft()()

    def _settle(self, pending: _Pending, error: Exception | None) -> None:
        """What Kafka made of a message."""
        pending.flying = False
        if self._spool and pending.kept:
            self._spool.landed(pending.kept, error)
        if pending.fate is not None:
            return  # too late: the message has its fate, and if its sender sends it again, the second record is known as such
        if error is None:
            reached("outbox.acknowledged")
            self._decide(pending, Fate.DEAD_LETTERED if pending.letter else Fate.PUBLISHED)
        elif pending.kept:
            pass  # the spool has it, and takes it from here
        elif isinstance(error, Rejected) and pending.make_letter:
            self._hand_over_letter(pending, pending.make_letter(error))
        elif isinstance(error, Rejected):
            self._decide(pending, Fate.REFUSED, error.reason)
        else:
            self._fall_back(pending, error)

    def _fall_back(self, pending: _Pending, error: Exception) -> None:
        """Kafka has not taken a message: it goes to the spool with all that came of its device since and is not acknowledged, in this order."""
        if self._spool is None:
            self._refuse(pending, error)
            return
        for each in list(self._lanes[pending.lane]):
            self._keep(each)
        reached("outbox.fallen_back")

    def _keep(self, pending: _Pending) -> None:
        assert self._spool
        assert pending.record
        self._leave_lane(pending)
        try:
            pending.kept = self._spool.keep(pending.record, partial(self._on_disk, pending), flying=pending.flying)
        except Unavailable as error:
            self._refuse(pending, error)
        else:
            self._by_disk.add(pending)

    def _on_disk(self, pending: _Pending, error: Exception | None) -> None:
        if pending.fate is not None:
            return
        if error is None:
            reached("outbox.spooled")
            self._decide(pending, Fate.SPOOLED)
        else:
            self._refuse(pending, error)

    def _refuse(self, pending: _Pending, error: Exception) -> None:
        self._decide(pending, Fate.REFUSED, REASONS.get(type(error), Reason.UNAVAILABLE))

    def _decide(self, pending: _Pending, fate: Fate, reason: Reason | None = None) -> None:
        pending.fate = fate
        if pending.letter and fate in (Fate.DEAD_LETTERED, Fate.SPOOLED):
            reason = Reason(pending.letter.reason)
        self._count(fate, reason, pending.device)
        # It may stand behind an older one for as long as the budget; what it holds need not.
        pending.letter = pending.make_letter = pending.record = None
        if not pending.future.done():  # it is done when whoever awaited it was cancelled
            pending.future.set_result(fate)
        self._leave_lane(pending)
        self._by_kafka.tidy()
        self._by_disk.tidy()

    def _leave_lane(self, pending: _Pending) -> None:
        if lane := self._lanes.get(pending.lane):
            lane.pop(pending, None)
            if not lane:
                del self._lanes[pending.lane]

    def _letter(self, event: Reading | Alert, raw: bytes, answered: bool, rejected: Rejected) -> DeadLetter:
        return DeadLetter(
            id=_encodable(event.id),
            feed=self._feed,
            vendor=_encodable(event.vendor),
            device=_encodable(event.device),
            reason=rejected.reason,
            detail=rejected.detail,
            raw=raw,
            evidence_sha256=None,
            accepted_at=event.accepted_at,
            answered=answered,
        )

    def _as_record(self, lane: str, letter: DeadLetter) -> Outgoing:
        """Raises Rejected: it does not fit its own schema."""
        value = self._wire.encode(letter)
        return Outgoing(lane, DEAD_LETTERS, self._feed, tuple(headers(letter)), value, b"", letter.answered)

    def _letter_of(self, record: Outgoing, rejected: Rejected) -> Outgoing:
        """The dead letter of a spooled record that Kafka does not take. Raises Rejected: it is one already."""
        event = self._wire.decode(record.value)
        if not isinstance(event, Reading | Alert):
            raise rejected
        return self._as_record(record.lane, self._letter(event, record.raw, record.answered, rejected))

    def _count(self, fate: Fate, reason: Reason | None, device: str) -> None:
        self._fates[fate] += 1
        if self.pending == 0:
            self._idle.set()
        match fate, reason:
            case Fate.PUBLISHED, _:
                self._telemetry.published()
            case Fate.EMPTY, _:
                self._telemetry.empty()
            case Fate.SPOOLED, _:
                self._telemetry.spooled(reason, device)
            case Fate.DEAD_LETTERED, Reason():
                self._telemetry.dead_lettered(reason, device)
            case Fate.REFUSED, Reason():
                self._telemetry.refused(reason, device)
            case _:
                raise AssertionError(f"{fate} {reason}")


def _encodable(text: str) -> str:
    """Without the halves of characters that JSON may hold: they are why the record does not fit, and the letter must."""
    return text.encode("utf-8", "replace").decode()
