"""`gridhub page`: the process around the page. One thread reads topics, another follows the registry; what they find is applied on the event loop."""

import asyncio
import contextlib
import threading
import time
from collections.abc import Iterable, Mapping
from typing import Any
from urllib.parse import urlsplit

from aiohttp import web

from hub.core.errors import HubError, Misconfigured, Rejected
from hub.core.registry import Registry
from hub.evidence import Evidence
from hub.kafka_log import Tail
from hub.lang import Text, progress
from hub.page.drawing import Tiles
from hub.page.model import Model
from hub.page.server import Kafka, Page
from hub.registry import Follower
from hub.running import announced, on_stop
from hub.settings import HostPort, PageSettings, Settings
from hub.telemetry import PageRecorder, log_to, serve_wsgi, telemetry_app
from hub.wire import Record, Wire

METRICS = HostPort(host="127.0.0.1", port=9400)
CURRENT: Mapping[str, int | None] = {"tickets": None, "life-signs": None}
"""What stands: all of it."""
TOLD = ("ticket-events", "decisions", "alerts.air", "alerts.camera", "alerts.patrol")
"""Why it came so: the last ones. A province has more than a page can hold."""
LAST = 60_000
MOST_OF_A_PARTITION = 5000
READ_S = 0.1
AT_ONCE = 2000
RETRY_S = 2.0
ASK_S = 5.0
PRUNE_S = 60.0
STOP_S = 5.0


def run(settings: Settings, listen: HostPort | None = None) -> int:
    """Serves until SIGTERM or SIGINT, then ends in order; returns 0.

    Serves from the start, also while Kafka is away, and says so. Raises Misconfigured (a taken port, a tile address that is none); any other
    exception is a defect.
    """
    log_to(form=settings.telemetry.format)
    asyncio.run(_Process(settings, listen or settings.page.listen).run())
    return 0


def tiles_of(settings: PageSettings) -> Tiles | None:
    """The tile server of the settings; raises Misconfigured for an address that cannot be one."""
    if not settings.tiles:
        return None
    parts = urlsplit(settings.tiles)
    try:
        settings.tiles.format(z=0, x=0, y=0)
        fits = all(f"{{{name}}}" in settings.tiles for name in "zxy")
    except (LookupError, ValueError):
        fits = False
    # The host goes into a header, where blanks and semicolons would end it.
    plain = parts.netloc.isascii() and parts.netloc.replace(".", "").replace(":", "").replace("-", "").isalnum()
    if parts.scheme not in ("http", "https") or not plain or not fits:
        said = Text(
            "page.tiles: an address like https://tiles.example/{z}/{x}/{y}.png is needed",
            "page.tiles：应为形如 https://tiles.example/{z}/{x}/{y}.png 的地址",
        )
        raise Misconfigured(str(said))
    return Tiles(settings.tiles, settings.tiles_datum)


class _Process:
    """The life of the process."""

    def __init__(self, settings: Settings, listen: HostPort) -> None:
        self._settings = settings
        self._listen = listen
        self._telemetry = PageRecorder()
        self._model = Model()
        self._kafka = Kafka()
        self._page = Page(
            self._model,
            self._kafka,
            Evidence(settings.evidence_dir),
            tiles_of(settings.page),
            defect=self._telemetry.defect,
        )
        self._wire = Wire.load()
        self._stop = asyncio.Event()
        self._stopping = threading.Event()
        self._loop: asyncio.AbstractEventLoop
        self._defect: BaseException | None = None
        self._away = ""
        self._follower = Follower(settings, "gridhub-page", self._registered, self._telemetry.registry_refused)

    async def run(self) -> None:
        self._loop = asyncio.get_running_loop()

        def stop() -> None:
            with contextlib.suppress(RuntimeError):  # the loop has ended already
                self._loop.call_soon_threadsafe(self._stop.set)

        on_stop(stop)
        self._telemetry.starting()
        metrics = self._settings.telemetry.listen or METRICS
        server, _ = serve_wsgi(telemetry_app(self._telemetry.registry, self._reasons), metrics.host, metrics.port)
        runner = web.AppRunner(self._page.application(), access_log=None, shutdown_timeout=1.0)
        reader = threading.Thread(target=self._read, name="page topics", daemon=True)
        try:
            await runner.setup()
            port = await _listen(runner, self._listen)
            ports = {"http": port, "metrics": server.server_port}
            with announced(self._settings.data, "page", ports):
                self._follower.start()
                reader.start()
                self._telemetry.serving(ports)
                await self._stop.wait()
        finally:
            self._telemetry.stopping()
            self._stopping.set()
            self._page.end()
            await runner.cleanup()
            if reader.is_alive():
                await asyncio.to_thread(reader.join, STOP_S)
            await asyncio.to_thread(self._follower.stop)
            server.stop()
        if self._defect:
            raise self._defect
        self._telemetry.stopped({}, drained=True)

    def _reasons(self) -> list[str]:
        """Why the process is not ready; asked on the server's thread."""
        if self._kafka.trouble == "reading":
            return [str(Text("reading what is there", "正在读取已有记录"))]
        if self._kafka.trouble:
            return [self._away or str(Text("waiting for Kafka", "正在等待 Kafka"))]
        return []

    # ---- on the reader's thread

    def _read(self) -> None:
        try:
            bootstrap = self._settings.kafka.bootstrap
            with contextlib.ExitStack() as open_tails:
                with progress(f"waiting for Kafka at {bootstrap}", f"等待 {bootstrap} 上的 Kafka"):
                    current = self._opened(CURRENT, open_tails)
                # What stands comes first, so that of what is told later only what belongs to it is kept.
                if current and self._to_its_end(current):
                    told = self._opened(_last_of(TOLD, self._settings.kafka.partitions), open_tails)
                    if told and self._to_its_end(told):
                        self._follow(current, told)
        except Exception as error:  # noqa: BLE001 - the process ends with it
            self._telemetry.defect(error)
            self._defect = error
            self._loop.call_soon_threadsafe(self._stop.set)

    def _opened(self, topics: Mapping[str, int | None], open_tails: contextlib.ExitStack) -> Tail | None:
        """Waits for Kafka; None when the process was told to stop meanwhile."""
        while not self._stopping.is_set():
            try:
                tail = Tail(self._settings.kafka.bootstrap, topics)
            except HubError as error:
                self._lost(str(error))
                self._stopping.wait(RETRY_S)
            else:
                open_tails.callback(tail.close)
                return tail
        return None

    def _to_its_end(self, tail: Tail) -> bool:
        """Reads what is there; False where the process was told to stop meanwhile."""
        while not self._stopping.is_set():
            try:
                self._apply(tail.read(READ_S))
                if tail.complete():
                    return True
                self._say("reading")
            except HubError as error:
                self._lost(str(error))
                self._stopping.wait(RETRY_S)
        return False

    def _follow(self, current: Tail, told: Tail) -> None:
        """Reads both until the process stops. While Kafka is away the client keeps its place, and goes on from it."""
        asked = pruned = time.monotonic()
        quiet = True
        while not self._stopping.is_set():
            try:
                if quiet and time.monotonic() - asked > ASK_S:
                    current.ask()
                    asked = time.monotonic()
                quiet = True
                for tail in (current, told):
                    batch = tail.read(READ_S)
                    self._apply(batch)
                    quiet = quiet and not batch
            except HubError as error:
                self._lost(str(error))
                asked, quiet = 0.0, True
                self._stopping.wait(RETRY_S)
                continue
            self._say("")
            if time.monotonic() - pruned > PRUNE_S:
                pruned = time.monotonic()
                self._on_loop(lambda: self._model.prune(_now()))

    def _apply(self, batch: Iterable[Any]) -> None:
        records: list[Record] = []
        for arrived in batch:
            try:
                records.append(self._wire.decode(arrived.value))
            except Rejected:
                continue  # of a newer program, or somebody else's: nothing that this page can show
        for first in range(0, len(records), AT_ONCE):
            some = records[first : first + AT_ONCE]
            self._on_loop(lambda some=some: self._take(some))

    def _say(self, trouble: str) -> None:
        self._on_loop(lambda: self._stands(trouble, ""))

    def _lost(self, why: str) -> None:
        self._on_loop(lambda: self._stands("away" if self._kafka.read_at else "waiting", why))

    def _on_loop(self, work: Any) -> None:
        """Does it on the event loop, and waits for it: no more is read than can be applied."""
        done = threading.Event()

        def do() -> None:
            try:
                work()
            finally:
                done.set()

        with contextlib.suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(do)
            while not done.wait(0.5) and not self._stopping.is_set():
                pass

    def _registered(self, registry: Registry) -> None:
        """On the follower's thread."""
        self._telemetry.registered(registry)

        def adopt() -> None:
            self._model.adopt(registry)
            self._page.changed()

        with contextlib.suppress(RuntimeError):
            self._loop.call_soon_threadsafe(adopt)

    # ---- on the loop

    def _take(self, records: list[Record]) -> None:
        before = self._model.revision
        self._model.take(records, _now())
        if self._model.revision != before:
            self._page.changed()

    def _stands(self, trouble: str, why: str) -> None:
        if not trouble:
            self._kafka.read_at = _now()
        if why and not self._away:
            self._telemetry.kafka_away(why)
        if self._away and not trouble:
            self._telemetry.kafka_back()
        self._away = why
        if self._kafka.trouble != trouble:
            self._kafka.trouble = trouble
            self._page.changed()


async def _listen(runner: web.AppRunner, at: HostPort) -> int:
    """Serves, and returns the port; raises Misconfigured where the address cannot be had."""
    site = web.TCPSite(runner, at.host, at.port)
    try:
        await site.start()
    except OSError as error:
        said = Text(f"{at} cannot be used: {error.strerror}", f"无法使用 {at}：{error.strerror}")
        raise Misconfigured(str(said)) from None
    return int(runner.addresses[0][1])


def _last_of(topics: Iterable[str], partitions: int) -> dict[str, int | None]:
    return dict.fromkeys(topics, max(1, min(MOST_OF_A_PARTITION, LAST // partitions)))


def _now() -> int:
    return int(time.time() * 1000)
