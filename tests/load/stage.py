"""Who takes part: a broker, connectors and routers as processes of their own, a registry with vendors for the purpose, and senders."""

import json
import os
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import replace
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from types import TracebackType
from typing import Any, Self, TypeVar

import shapely

from connectors.camera.simulate import Said, as_xml
from hub import topics as hub_topics
from hub.core.registry import Area, Device, Registry, Vendor, VendorKey
from hub.core.rules import Rules
from hub.lang import say
from hub.registry_check import load
from hub.settings import KafkaSettings, Settings
from hub.transactions import partition_of
from tests.brokers import Broker, register, until
from tests.faults.processes import ROOT, Connector, Router, Routers, Served
from tests.load.figures import MIB
from tests.load.sender import NUMBER, REGION, TIME, Plan, Request

FLOOD, MODEST, PATROL, PROBE = "flood", "modest", "walkers", "probe"
"""Vendors: who floods; who sends beside it to the same connector, for another town; who sends to another connector, for a third; who sends one."""
VENDORS: Mapping[str, str] = {FLOOD: "camera", MODEST: "camera", PATROL: "patrol", PROBE: "camera"}
FREELY = 1_000_000.0
CAMERAS = 20
TRY_S = 0.5

Seen = TypeVar("Seen")


def key_of(vendor: str) -> str:
    """What it shows."""
    return f"load-{vendor}-key"


def progress(en: str, zh: str) -> None:
    """Where it is, with the time of day."""
    say(f"{datetime.now(UTC):%H:%M:%S} {en}", f"{datetime.now(UTC):%H:%M:%S} {zh}")


def wait_for(look: Callable[[], Seen | None], until_s: float, en: str, zh: str) -> Seen:
    """Looks until there is something to see, by this moment (time.monotonic)."""
    progress(en, zh)
    return until(look, max(0.1, until_s - time.monotonic()))


class Town:
    """The registry of a run: towns of the shipped map, each of another partition, with cameras of the vendors above."""

    def __init__(self, *, flood_per_s: float = FREELY, quiet_s: int | None = None) -> None:
        """`quiet_s`: after so long without a word a camera's ticket is cleared; None: as shipped."""
        shipped = load(ROOT / "deploy/town")
        self._home = partition_of(Settings())
        by_partition = {self._home(town.id): town for town in reversed(shipped.towns)}
        self.towns: Sequence[Area] = [town for _, town in sorted(by_partition.items())]
        """One of each partition that has any."""
        owners = {FLOOD: self.towns[:1], MODEST: self.towns[1:2], PROBE: self.towns}
        self.cameras: Mapping[str, Sequence[Device]] = {
            vendor: [_camera(vendor, towns[number % len(towns)], number) for number in range(CAMERAS)]
            for vendor, towns in owners.items()
        }
        rules = shipped.rules.all
        if quiet_s is not None:
            rules = tuple(replace(rule, quiet_s=quiet_s) if rule.quiet_s else rule for rule in rules)
        vendors = [
            Vendor(
                id=vendor,
                name=vendor,
                feeds=frozenset({feed}),
                per_s=flood_per_s if vendor == FLOOD else FREELY,
                keys=(VendorKey(id="load", sha256=sha256(key_of(vendor).encode()).hexdigest()),),
            )
            for vendor, feed in VENDORS.items()
        ]
        self.registry: Registry = replace(
            shipped,
            devices=(*shipped.devices, *(one for some in self.cameras.values() for one in some)),
            vendors=(*shipped.vendors, *vendors),
            rules=Rules(rules, shipped.rules.limits),
        )

    def partition(self, town: str) -> int:
        """Where its records lie."""
        return self._home(town)

    def town_of(self, vendor: str) -> str:
        """Whose records the vendor's first device makes; patrols have the third."""
        return self.towns[2].id if vendor == PATROL else self.cameras[vendor][0].town

    def pushes(self, vendor: str, devices: Sequence[Device] = ()) -> list[Request]:
        """What each of the vendor's cameras sends: smoke, in a region of its picture. `devices`: of these cameras."""
        more = (
            f"<UUID>{vendor}-{NUMBER}-{TIME}</UUID><DetectionRegionList><DetectionRegionEntry><regionID>{REGION}</regionID>"
            "</DetectionRegionEntry></DetectionRegionList>"
        )
        head = f"POST /in/isapi/{key_of(vendor)} HTTP/1.1\r\nContent-Type: application/xml\r\n"
        at = datetime.now(UTC)
        return [
            Request(head, as_xml(Said(camera, "smokeDetection", active=True, at=at, more=more), time=TIME))
            for camera in devices or self.cameras[vendor]
        ]

    def walks(self) -> list[Request]:
        """What patrols send: of each of some spots, again and again, that it is there."""
        x, y = _middle(self.towns[2])
        head = (
            f"POST /in/patrol HTTP/1.1\r\nContent-Type: application/json\r\nAuthorization: Bearer {key_of(PATROL)}\r\n"
        )
        spots = [
            {
                "spot_no": f"load-{number}",
                "longitude": x + number * 0.001,
                "latitude": y,
                "description": f"{NUMBER} {TIME}",
            }
            for number in range(5)
        ]
        return [Request(head, json.dumps(spot)) for spot in spots]


def _middle(town: Area) -> tuple[float, float]:
    point = shapely.from_geojson(town.geometry).representative_point()
    return round(point.x, 6), round(point.y, 6)


def _camera(vendor: str, town: Area, number: int) -> Device:
    lon, lat = _middle(town)
    digest = sha256(vendor.encode()).hexdigest()
    mn = f"02:00:{digest[:2]}:{digest[2:4]}:00:{number:02x}"
    return Device(
        id=f"{vendor}-{number}", mn=mn, vendor=vendor, feed="camera", town=town.id, lon=lon, lat=lat, accuracy_m=10.0
    )


class Sending:
    """A sender's process, and what it has told."""

    def __init__(self, name: str, folder: Path, plan: Plan) -> None:
        """Starts it. `name`: another one for each."""
        self.name = name
        self.log = Path(plan.log)
        path = folder / f"{name}.plan.json"
        plan.write(path)
        self.began = time.time()
        self.process = subprocess.Popen([sys.executable, "-m", "tests.load.sender", str(path)], cwd=ROOT)

    def stop(self) -> "Sending":
        """In order, with all that is under way."""
        self.process.terminate()
        return self.done(30)

    def done(self, within_s: float) -> "Sending":
        """Waits for its end by itself."""
        assert self.process.wait(within_s) == 0, self.name
        return self

    def kill(self) -> None:
        """Where the run has failed."""
        self.process.kill()
        self.process.wait(10)

    def lines(self, what: str) -> list[dict[str, Any]]:
        """What stands in its log by now."""
        if not self.log.exists():
            return []
        with self.log.open("rb") as log:
            found = [json.loads(line) for line in log if line.endswith(b"\n")]
        return [line for line in found if line["what"] == what]

    @property
    def end(self) -> dict[str, Any]:
        """The sums."""
        [line] = self.lines("end")
        return line

    def heard(self) -> Counter[str]:
        """How many of each answer."""
        return Counter({str(status): int(count) for status, count in self.end["heard"].items()})


class Stage:
    """Everyone, on a folder; ends them when it is left."""

    def __init__(self, data: Path, town: Town, *, session_timeout_ms: int = 10_000) -> None:
        """Starts nothing yet but the broker, with topics and the registry."""
        self.data = data
        self.town = town
        self._session_timeout_ms = session_timeout_ms
        self._running = ExitStack()
        self.broker = Broker(data / "kafka")
        self.connectors: dict[str, Connector] = {}
        self.routers: dict[int, Router] = {}
        self.more: dict[str, Served] = {}

    def __enter__(self) -> Self:
        try:
            self._running.callback(self.broker.stop)
            self.broker.start()
            hub_topics.create(KafkaSettings(bootstrap=self.broker.bootstrap))
            self.register(self.town)
        except BaseException:
            self._running.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._running.close()

    def register(self, town: Town) -> None:
        """A registry in force."""
        self.town = town
        self.registry = register(self.broker.bootstrap, town.registry)

    def adopted(self) -> bool:
        """Whether every connector has the registry in force."""
        version = self.registry.version
        return all(
            any(line.get("event") == "registry adopted" and line.get("version") == version for line in one.told())
            for one in self.connectors.values()
        )

    def connect(self, feed: str) -> Connector:
        """Starts a connector."""
        connector = self.connectors[feed] = self._serve(Connector(self.data, self.broker.bootstrap, feed))
        return connector

    def route(self, slot: int) -> Router:
        """Starts a router, and returns when it is ready."""
        router = Router(slot, self.data, self.broker.bootstrap, self._session_timeout_ms)
        self._running.callback(lambda: end(router))
        Routers([router]).start()
        self.routers[slot] = router
        return router

    def show(self) -> Served:
        """Starts the page."""
        environment = {
            "GRIDHUB__KAFKA__BOOTSTRAP": self.broker.bootstrap,
            "GRIDHUB__PAGE__LISTEN": "127.0.0.1:0",
            "GRIDHUB__TELEMETRY__LISTEN": "127.0.0.1:0",
        }
        page = self.more["page"] = self._serve(Served("page", ["hub", "page"], self.data, environment))
        return page

    def _serve(self, one: "Process") -> "Process":
        self._running.callback(lambda: end(one))
        one.start()
        return one

    def send(
        self, name: str, feed: str, requests: list[Request], rate: float, connections: int, **more: Any
    ) -> Sending:
        """A sender, ended with the rest if it still runs."""
        host, _, port = self.connectors[feed].address.rpartition(":")
        plan = Plan(
            host=host,
            port=int(port),
            log=str(self.data / f"{name}.jsonl"),
            requests=requests,
            rate=rate,
            connections=connections,
            **more,
        )
        sending = Sending(name, self.data, plan)
        self._running.callback(sending.kill)
        return sending

    def processes(self) -> Iterator[tuple[str, int]]:
        """Name and pid of everyone who is started."""
        yield "kafka", self.broker.java_pid
        for one in (*self.connectors.values(), *self.routers.values(), *self.more.values()):
            yield one.name, one.process.pid

    def is_ready(self) -> bool:
        """What all of the hub say of themselves."""
        return all(one.is_ready() for one in (*self.connectors.values(), *self.routers.values()))

    def spooled(self) -> int:
        """How many messages wait in spools."""
        return sum(int(metric(one, f'gridhub_spool_messages{{feed="{one.feed}"}}')) for one in self.connectors.values())

    def spool_bytes(self) -> int:
        """What the spools' files take."""
        return sum(path.stat().st_size for path in (self.data / "spool").glob("*"))


Process = TypeVar("Process", bound=Served)


def end(one: Served) -> None:
    """SIGKILL, where it runs."""
    if hasattr(one, "process") and one.process.poll() is None:
        one.kill()


def metrics(one: Served) -> dict[str, float]:
    """All samples of a process, by their names with labels as they are written."""
    lines = one.get("/metrics").splitlines()
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines if line[:1] != "#")}


def metric(one: Served, name: str) -> float:
    """A sample of a process; 0 where it is not there."""
    return metrics(one).get(name, 0.0)


def surroundings() -> str:
    """On what it was measured."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") // MIB
    return f"{datetime.now(UTC):%Y-%m-%d %H:%M} UTC, {os.cpu_count()} cores, {memory} MiB, {sys.platform}"
