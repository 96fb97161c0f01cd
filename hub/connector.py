"""The process around a connector: wait for a registry, serve, stop in order.

A connector is an object with `start` and `stop` (`Source`); `run` does the rest. What it must keep to (design, decisions 5 and 8):
each message is handed to the outbox exactly once, by `publish`, `dead_letter`, `empty` or `refused`; the sender is told yes only when
the fate is one of `hub.outbox.KEPT`, and `answered` is called when the answer went out.
"""

import asyncio
import contextlib
from collections.abc import Callable, Collection, Mapping
from typing import Any, Protocol

from hub.clock import CLOCKS_DIFFER_S, FIRST_PROBES_S, PROBE_S, Clock
from hub.core.errors import Unavailable
from hub.core.registry import Registry
from hub.kafka_log import Publisher
from hub.lang import Text, progress
from hub.outbox import DEAD_LETTERS, LIFE_SIGNS, Outbox
from hub.registry import Follower
from hub.running import announced, on_stop
from hub.settings import HostPort, Settings
from hub.spool import Spool
from hub.telemetry import FeedRecorder, FeedTelemetry, log_to, serve_wsgi, telemetry_app
from hub.wire import Wire

KAFKA_TRY_S = 5.0
KAFKA_LOOK_S = 1.0
CLOCK_LOOK_S = 1.0
SOURCE_STOP_S = 5.0
PUBLISHER_CLOSE_S = 0.5


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
    budget_s: seconds until each message has its fate. metrics: where /metrics, /live, /ready are, unless `[telemetry] listen` says else.
    answers: which answers the feed gives, for their metric. Waits for a registry for as long as it takes, from Kafka or of the last time from the
    disk, serving nothing but /metrics, /live and /ready; without Kafka it serves all the same, and keeps messages in the spool. Raises
    Misconfigured; any other exception is a defect.
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
        self._clock = Clock()
        self._publisher: Publisher | None = None
        self._spool: Spool | None = None
        self._follower = Follower(settings, f"gridhub-{feed}", telemetry.registered, telemetry.registry_refused)
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
            settings = self._settings
            self._spool = Spool(settings.spool_dir / f"{self._feed}.db", settings.spool.max_bytes, self._telemetry)
            self._publisher = await self._connected((*topics, DEAD_LETTERS, LIFE_SIGNS))
            if not await self._registered():
                return
            await self._timed()
            outbox = Outbox(
                self._feed, self._publisher, Wire.load(), self._telemetry, budget_s, self._spool, clock=self._clock
            )
            served = await source.start(outbox, self._telemetry, lambda: self._follower.registry)
            await self._serve(source, outbox, {**served, "metrics": server.server_port}, budget_s)
        finally:
            await asyncio.to_thread(self._follower.stop)
            if self._publisher:
                await asyncio.to_thread(self._publisher.close, PUBLISHER_CLOSE_S)
            if self._spool:
                await self._spool.close()
            server.stop()
        if self._defect:
            raise self._defect

    async def _connected(self, topics: Collection[str]) -> Publisher:
        """With Kafka, if it is there; else that goes on trying. Raises Misconfigured: it is there, and lacks a topic."""
        kafka = self._settings.kafka
        with progress(f"waiting for Kafka at {kafka.bootstrap}", f"等待 {kafka.bootstrap} 上的 Kafka"):
            return await asyncio.to_thread(
                Publisher,
                kafka.bootstrap,
                topics,
                client_id=f"gridhub-{self._feed}",
                delivery_timeout_ms=kafka.delivery_timeout_ms,
                wait_s=KAFKA_TRY_S,
                patient=True,
                clock=self._clock,
            )

    async def _registered(self) -> bool:
        """Waits for a registry; False when the process was told to stop meanwhile."""
        self._follower.start()
        with progress("waiting for a registry (gridhub registry import)", "等待登记表（gridhub registry import）"):
            while not self._stop.is_set():
                if await asyncio.to_thread(self._follower.wait, KAFKA_LOOK_S):
                    return True
        return False

    async def _timed(self) -> None:
        """Asks for the broker's time, and waits for it as long as Kafka takes records: what is accepted before is marked by this machine's clock."""
        told = asyncio.Event()
        loop = asyncio.get_running_loop()

        def done(_error: Exception | None) -> None:
            with contextlib.suppress(RuntimeError):  # the loop has ended already
                loop.call_soon_threadsafe(told.set)

        if not self._ask_time(done):
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(KAFKA_TRY_S):
                await told.wait()

    def _ask_time(self, done: Callable[[Exception | None], None]) -> bool:
        """Sends a record of which nothing remains; its acknowledgement tells the broker's time. False where Kafka takes nothing: then `done` is not
        called.
        """
        assert self._publisher
        try:
            self._publisher.publish(LIFE_SIGNS, f"connector-{self._feed}", None, (), done)
        except Unavailable:
            return False
        return True

    async def _serve(self, source: Source, outbox: Outbox, ports: Mapping[str, int], budget_s: float) -> None:
        looking = [asyncio.create_task(self._look_at_kafka()), asyncio.create_task(self._look_at_clock())]
        try:
            with announced(self._settings.data, self._feed, ports):
                self._serving = True
                self._telemetry.serving(ports)
                await self._stop.wait()
        finally:
            self._serving = False
            self._telemetry.stopping()
            for each in looking:
                each.cancel()
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

    async def _look_at_clock(self) -> None:
        """Tells when this machine's clock and the broker's begin to differ and agree again. Where no device sends, nothing else asks for the time."""
        off, loop = False, asyncio.get_running_loop()
        next_probe = loop.time() + PROBE_S if self._clock.ahead_s is not None else 0.0
        while True:
            ahead_s = self._clock.ahead_s
            if loop.time() >= next_probe:
                next_probe = loop.time() + (FIRST_PROBES_S if ahead_s is None else PROBE_S)
                self._ask_time(lambda _: None)
            if ahead_s is not None:
                self._telemetry.clock_ahead(ahead_s)
                was_off, off = off, abs(ahead_s) > CLOCKS_DIFFER_S
                if off and not was_off:
                    self._telemetry.clock_off(ahead_s)
                    next_probe = 0.0  # a machine that was halted has a right clock again, and the answer says so
                if was_off and not off:
                    self._telemetry.clock_right(ahead_s)
            await asyncio.sleep(CLOCK_LOOK_S)

    def _reasons(self) -> list[str]:
        """Why the process is not ready; asked on the server's thread. While the spool takes what Kafka does not, it is."""
        if self._publisher is None or self._spool is None:
            return [str(Text("waiting for Kafka", "正在等待 Kafka"))]
        kafka = self._publisher.trouble()
        if not self._follower.wait(0):
            return [str(Text("waiting for a registry", "正在等待登记表")), *filter(None, [kafka])]
        if not self._serving:
            return [str(Text("not serving", "未在服务"))]
        spool = self._spool.trouble()
        return [kafka, spool] if kafka and spool else []

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
