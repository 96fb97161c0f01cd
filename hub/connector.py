"""What a connector gets (the outbox) and the process around it: wait for Kafka, serve, stop in order.

A connector is an object with `start` and `stop` (`Source`); `run` does the rest. What it must keep to (design, decisions 5 and 8):
each message is handed to the outbox exactly once, by `publish`, `dead_letter`, `empty` or `refused`; the sender is told yes only when
the fate is one of `KEPT`, and `answered` is called when the answer went out.
"""

import asyncio
import contextlib
import time
from collections import Counter, deque
from collections.abc import Callable, Collection, Mapping, Sequence
from enum import StrEnum
from typing import Any, Protocol

from hub.core.errors import Reason, Rejected, Unavailable
from hub.core.events import Alert, DeadLetter, LifeSign, Reading
from hub.core.registry import Device, Registry
from hub.kafka_log import Full, Publisher
from hub.lang import Text, progress
from hub.registry import Follower
from hub.running import announced, on_stop
from hub.settings import HostPort, Settings
from hub.telemetry import FeedRecorder, FeedTelemetry, log_to, serve_wsgi, telemetry_app
from hub.wire import Record, Wire, headers

DEAD_LETTERS = "dead-letters"
LIFE_SIGNS = "life-signs"
LIFE_SIGN_EVERY_S = 60.0
KAFKA_TRY_S = 5.0
KAFKA_LOOK_S = 1.0
SOURCE_STOP_S = 5.0
PUBLISHER_CLOSE_S = 0.5


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
    """A message whose fate is open."""

    __slots__ = ("deadline", "device", "fate", "future", "letter", "make_letter")

    def __init__(
        self,
        device: str,
        deadline: float,
        future: asyncio.Future[Fate],
        letter: DeadLetter | None,
        make_letter: Callable[[Rejected], DeadLetter] | None,
    ) -> None:
        self.device = device
        self.deadline = deadline
        self.future = future
        self.letter = letter  # what is being kept in the dead letters; None while its record is being published
        self.make_letter = make_letter  # what to keep when the record turns out not to fit
        self.fate: Fate | None = None


class Outbox:
    """Where a connector puts each message; belongs to one asyncio loop, to be called on it only.

    The fate is counted here and not where it is awaited: a connection that ends while its message is under way changes no balance.
    """

    def __init__(self, feed: str, log: Log, wire: Wire, telemetry: FeedTelemetry, budget_s: float) -> None:
        """`budget_s`: how long Kafka has to acknowledge before a message is refused."""
        self._feed = feed
        self._log = log
        self._wire = wire
        self._telemetry = telemetry
        self._budget_s = budget_s
        self._loop = asyncio.get_running_loop()
        self._fates: Counter[Fate] = Counter()
        self._received = 0
        self._heard: dict[str, float] = {}  # when each device's last life sign was written
        # In order of deadline, since all have the same budget. Those settled leave when they come to the front.
        self._pending: deque[_Pending] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._results: deque[tuple[_Pending, Exception | None]] = deque()
        self._wake_up_sent = False
        self._idle = asyncio.Event()
        self._idle.set()

    def publish(self, topic: str, event: Reading | Alert, raw: bytes, *, answered: bool = True) -> asyncio.Future[Fate]:
        """Hands a record to Kafka, synchronously and in call order; the future gives its one first fate, never an exception.

        PUBLISHED: acknowledged by all in-sync replicas within the budget. DEAD_LETTERED: the record does not fit its schema or is
        too large, and `raw` (the message as it came) is acknowledged on the dead letters. REFUSED: neither in time, or too much
        already waits: do not answer yes. `answered`: whether the sender is told when the message is kept; a dead letter says so.
        """

        def letter(rejected: Rejected) -> DeadLetter:
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

        try:
            value = self._wire.encode(event)
        except Rejected as rejected:
            return self.dead_letter(letter(rejected))
        pending = self._take(event.device, None, letter)
        self._hand_over(pending, topic, event.town, value, event)
        return pending.future

    def dead_letter(self, letter: DeadLetter) -> asyncio.Future[Fate]:
        """Keeps what cannot be read: DEAD_LETTERED or REFUSED, else as `publish`."""
        pending = self._take(letter.device, letter, None)
        self._keep_letter(pending, letter)
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
            heard_at=time.time_ns() // 1_000_000,
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

    def _take(
        self, device: str, letter: DeadLetter | None, make_letter: Callable[[Rejected], DeadLetter] | None
    ) -> _Pending:
        self._receive()
        self._idle.clear()
        deadline = self._loop.time() + self._budget_s
        pending = _Pending(device, deadline, self._loop.create_future(), letter, make_letter)
        self._pending.append(pending)
        if self._timer is None:
            self._timer = self._loop.call_at(deadline, self._expire)
        return pending

    def _keep_letter(self, pending: _Pending, letter: DeadLetter) -> None:
        try:
            value = self._wire.encode(letter)
        except Rejected as rejected:
            self._settle(pending, rejected)
        else:
            self._hand_over(pending, DEAD_LETTERS, self._feed, value, letter)

    def _hand_over(self, pending: _Pending, topic: str, key: str, value: bytes, record: Record) -> None:
        try:
            self._log.publish(topic, key, value, headers(record), lambda error: self._result(pending, error))
        except (Rejected, Unavailable) as error:
            self._settle(pending, error)

    def _result(self, pending: _Pending, error: Exception | None) -> None:
        """Runs on the publisher's thread. One wake-up of the loop serves all results that come before it runs."""
        self._results.append((pending, error))
        if self._wake_up_sent:
            return
        self._wake_up_sent = True
        with contextlib.suppress(RuntimeError):  # the loop has ended, and nobody waits for the fate any more
            self._loop.call_soon_threadsafe(self._settle_results)

    def _settle_results(self) -> None:
        self._wake_up_sent = False
        while self._results:
            self._settle(*self._results.popleft())

    def _settle(self, pending: _Pending, error: Exception | None) -> None:
        if pending.fate is not None:
            return  # too late: the message has its fate, and if its sender sends it again, the second record is known as such
        if error is None:
            self._decide(pending, Fate.DEAD_LETTERED if pending.letter else Fate.PUBLISHED)
        elif isinstance(error, Rejected) and pending.make_letter:
            pending.letter, pending.make_letter = pending.make_letter(error), None
            self._keep_letter(pending, pending.letter)
        elif isinstance(error, Rejected):
            self._decide(pending, Fate.REFUSED, error.reason)
        else:
            self._decide(pending, Fate.REFUSED, Reason.BUSY if isinstance(error, Full) else Reason.UNAVAILABLE)

    def _decide(self, pending: _Pending, fate: Fate, reason: Reason | None = None) -> None:
        pending.fate = fate
        if pending.letter and fate is Fate.DEAD_LETTERED:
            reason = Reason(pending.letter.reason)
        self._count(fate, reason, pending.device)
        # It may stand behind an older one for as long as the budget; what it holds need not.
        pending.letter = pending.make_letter = None
        if not pending.future.done():  # it is done when whoever awaited it was cancelled
            pending.future.set_result(fate)
        while self._pending and self._pending[0].fate is not None:
            self._pending.popleft()

    def _count(self, fate: Fate, reason: Reason | None, device: str) -> None:
        self._fates[fate] += 1
        if self.pending == 0:
            self._idle.set()
        match fate, reason:
            case Fate.PUBLISHED, _:
                self._telemetry.published()
            case Fate.EMPTY, _:
                self._telemetry.empty()
            case Fate.DEAD_LETTERED, Reason():
                self._telemetry.dead_lettered(reason, device)
            case Fate.REFUSED, Reason():
                self._telemetry.refused(reason, device)
            case _:
                raise AssertionError(f"{fate} {reason}")

    def _expire(self) -> None:
        """The budget of those at the front is used up. One timer serves all."""
        now = self._loop.time()
        while self._pending and self._pending[0].deadline <= now:
            self._decide(self._pending[0], Fate.REFUSED, Reason.UNAVAILABLE)
        self._timer = self._loop.call_at(self._pending[0].deadline, self._expire) if self._pending else None


def _encodable(text: str) -> str:
    """Without the halves of characters that JSON may hold: they are why the record does not fit, and the letter must."""
    return text.encode("utf-8", "replace").decode()


class Source(Protocol):
    """What a connector is to the process around it."""

    async def start(
        self, outbox: Outbox, telemetry: FeedTelemetry, registry: Callable[[], Registry]
    ) -> Mapping[str, int]:
        """Begins to serve and returns at once, with the ports by name ({"hj212": 9212}). `registry`: the version in force, to be asked for each
        message. Raises Misconfigured (a taken port).
        """

    async def stop(self) -> None:
        """Takes nothing new, and returns when the work under way has been answered or given up; cancelled after 5 s."""


def run(
    feed: str,
    settings: Settings,
    source: Source,
    *,
    topics: Collection[str],
    budget_s: float,
    metrics: HostPort,
    answers: Collection[str] = (),
) -> None:
    """Serves `source` until SIGTERM or SIGINT, then ends in order within 10 s.

    feed: `air`; also the process' name in `DATA/run/air.json`. topics: what it publishes to; dead letters and life signs are added.
    budget_s: seconds Kafka has to acknowledge. metrics: where /metrics, /live, /ready are, unless `[telemetry] listen` says else.
    answers: which answers the feed gives, for their metric. Waits for Kafka and a registry for as long as it takes, serving nothing but
    /metrics, /live and /ready. Raises Misconfigured; any other exception is a defect.
    """
    log_to(form=settings.telemetry.format)
    telemetry = FeedRecorder(feed, answers=answers)
    process = _Process(feed, settings, telemetry)
    asyncio.run(process.run(source, topics, budget_s, settings.telemetry.listen or metrics))


class _Process:
    """The life of a connector's process."""

    def __init__(self, feed: str, settings: Settings, telemetry: FeedRecorder) -> None:
        self._feed = feed
        self._settings = settings
        self._telemetry = telemetry
        self._stop = asyncio.Event()
        self._publisher: Publisher | None = None
        self._follower = Follower(settings, f"gridhub-{feed}", telemetry.registered)
        self._serving = False
        self._defect: BaseException | None = None

    async def run(self, source: Source, topics: Collection[str], budget_s: float, metrics: HostPort) -> None:
        loop = asyncio.get_running_loop()
        loop.set_exception_handler(self._unhandled)

        def stop() -> None:
            with contextlib.suppress(RuntimeError):  # the loop has ended already
                loop.call_soon_threadsafe(self._stop.set)

        on_stop(stop)
        self._telemetry.starting()
        server, _ = serve_wsgi(telemetry_app(self._telemetry.registry, self._reasons), metrics.host, metrics.port)
        try:
            self._publisher = await self._connected((*topics, DEAD_LETTERS, LIFE_SIGNS))
            if self._publisher is None:
                return
            if not await self._registered():
                return
            outbox = Outbox(self._feed, self._publisher, Wire.load(), self._telemetry, budget_s)
            served = await source.start(outbox, self._telemetry, lambda: self._follower.registry)
            await self._serve(source, outbox, {**served, "metrics": server.server_port}, budget_s)
        finally:
            await asyncio.to_thread(self._follower.stop)
            if self._publisher:
                await asyncio.to_thread(self._publisher.close, PUBLISHER_CLOSE_S)
            server.stop()
        if self._defect:
            raise self._defect

    async def _connected(self, topics: Collection[str]) -> Publisher | None:
        """Waits for Kafka; None when the process was told to stop meanwhile."""
        bootstrap = self._settings.kafka.bootstrap

        def connect() -> Publisher | None:
            try:
                return Publisher(bootstrap, topics, client_id=f"gridhub-{self._feed}", wait_s=KAFKA_TRY_S)
            except Unavailable:
                return None  # not there yet: the next try waits for itself

        with progress(f"waiting for Kafka at {bootstrap}", f"等待 {bootstrap} 上的 Kafka"):
            while not self._stop.is_set():
                if publisher := await asyncio.to_thread(connect):
                    return publisher
        return None

    async def _registered(self) -> bool:
        """Waits for a registry; False when the process was told to stop meanwhile."""
        self._follower.start()
        with progress("waiting for a registry (gridhub registry import)", "等待登记表（gridhub registry import）"):
            while not self._stop.is_set():
                if await asyncio.to_thread(self._follower.wait, KAFKA_LOOK_S):
                    return True
        return False

    async def _serve(self, source: Source, outbox: Outbox, ports: Mapping[str, int], budget_s: float) -> None:
        looking = asyncio.create_task(self._look_at_kafka())
        try:
            with announced(self._settings.data, self._feed, ports):
                self._serving = True
                self._telemetry.serving(ports)
                await self._stop.wait()
        finally:
            self._serving = False
            self._telemetry.stopping()
            looking.cancel()
            try:
                async with asyncio.timeout(SOURCE_STOP_S):
                    await source.stop()
            except TimeoutError:
                pass  # its connections are broken with the process; what was not answered is sent again
            drained = await outbox.drained(budget_s)
            # Before the balance is told, which is the last word.
            await asyncio.to_thread(self._follower.stop)
            self._telemetry.stopped(outbox.balance(), drained=drained)

    async def _look_at_kafka(self) -> None:
        """Tells when Kafka goes and comes."""
        away = False
        while self._publisher:
            why = self._publisher.trouble()
            if why and not away:
                self._telemetry.kafka_away(why)
            if away and not why:
                self._telemetry.kafka_back()
            away = bool(why)
            await asyncio.sleep(KAFKA_LOOK_S)

    def _reasons(self) -> list[str]:
        """Why the process is not ready; asked on the server's thread."""
        if self._publisher is None:
            return [str(Text("waiting for Kafka", "正在等待 Kafka"))]
        if not self._follower.wait(0):
            return [str(Text("waiting for a registry", "正在等待登记表"))]
        if not self._serving:
            return [str(Text("not serving", "未在服务"))]
        return list(filter(None, [self._publisher.trouble()]))

    def _unhandled(self, _loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        """A task of the connector ended with an exception nobody took: a defect, and the process ends in order.

        The system's own refusals (too many open files at accept) are told, and the loop itself tries again.
        """
        error = context.get("exception")
        if error is None or isinstance(error, OSError):
            self._telemetry.defect(error or RuntimeError(context["message"]))
            return
        self._telemetry.defect(error)
        self._defect = error
        self._stop.set()
