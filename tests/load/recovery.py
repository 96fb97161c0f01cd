"""From the kill of a router to the next ticket, for so many open tickets; and how fast a spool and a backlog drain.

Up to `--real-up-to` tickets the way to them is the real one, and each stretch of it is measured: cameras push while Kafka is stopped, so that all of it
lies in the connector's spool; Kafka comes back, and the spool drains; a router starts, finds the inputs full, and drains them. Above that the alerts
are made by the camera connector's own translation and written to `alerts.camera`; what the router would make of them is computed here, by
`hub.partition` with the registry in force, from the offsets and times that the broker gave them, in the batches of a router (500), and written
to `router-state` and `tickets`, encoded by `hub.wire`. The other outputs (decisions, steps, journal), which no rebuild reads, are left out, as are the
group's offsets: a router that finds none goes on where its memory says.

Then the router is killed (SIGKILL) and started again at once; one alert is pushed by a camera, and its ticket is waited for by a reader of committed
records. And once more with another router in the group, which takes over when the broker gives the dead one up.
"""

import argparse
import json
import time
import urllib.request
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from kafka import KafkaProducer

from connectors.camera.isapi import read
from connectors.camera.translate import Alive, Cameras, translate
from hub.core.events import CameraAlert, Ticket
from hub.core.in_force import InForce
from hub.lang import Text
from hub.partition import ROUTER_STATE, TICKETS, Arrived, Outgoing, Partition, Surroundings
from hub.settings import RouterSettings, Settings
from hub.transactions import partition_of
from hub.wire import Record, Wire, headers
from tests.brokers import until
from tests.faults.processes import Router, Served
from tests.load.figures import Report, Table
from tests.load.stage import CAMERAS, PROBE, Stage, Town, metric, progress, surroundings, wait_for
from tests.load.watching import Follower
from tests.planted import searched

INPUT, DECISIONS = "alerts.camera", "decisions"
BATCH = RouterSettings().max_records
QUIET_S = 24 * 3600
SPOOL_RATE, SPOOL_CONNECTIONS = 2000.0, 40
LOOK_S = 0.02
WIRE = Wire.load()


@dataclass(frozen=True, slots=True)
class Drained:
    """So many, in so many seconds: from the first that was seen to go to the last."""

    count: int
    seconds: float

    @property
    def per_s(self) -> float:
        """A second."""
        return self.count / max(self.seconds, LOOK_S)


@dataclass(frozen=True, slots=True)
class Recovered:
    """One kill. Seconds from it: `ready_s` until `/ready` of the router that takes over said yes, its memory rebuilt, `ticket_s` until the ticket
    of the new alert was read. `rebuild_s`, `entries`: what it says of its own rebuild.
    """

    how: str
    ready_s: float
    ticket_s: float
    rebuild_s: float
    entries: int


@dataclass(slots=True)
class Size:
    """What was measured with so many open tickets."""

    tickets: int
    made: str
    spool: Drained | None = None
    backlog: Drained | None = None
    kills: list[Recovered] | None = None


def add_options(parser: argparse.ArgumentParser) -> None:
    """Those of this command."""
    add = parser.add_argument
    add(
        "--tickets",
        default="1000,10000,100000",
        help=str(Text("how many are open, one run each", "未结工单数，逐个测量")),
    )
    add(
        "--real-up-to",
        type=int,
        default=10_000,
        help=str(Text("more are computed, not sent", "超过此数则直接计算生成，不经发送")),
    )
    add("--within", type=float, default=150.0, help=str(Text("seconds for each stretch", "每一段的时限（秒）")))
    add(
        "--session-ms",
        type=int,
        default=10_000,
        help=str(Text("the router's session timeout", "路由器会话超时（毫秒）")),
    )


def measure(options: argparse.Namespace) -> Report:
    """All sizes."""
    sizes = [_size(int(count), options) for count in str(options.tickets).split(",")]
    report = Report(
        "recovery",
        str(Text("From a router's death to the next ticket", "路由器故障后到下一张工单")),
        f"{surroundings()}; session timeout {options.session_ms / 1000:g} s.",
        figures={"session_timeout_ms": options.session_ms, "sizes": [asdict(size) for size in sizes]},
    )
    report.tables.append(_kills(sizes))
    report.tables.append(_drains(sizes))
    for size in sizes:
        for kill in size.kills or ():
            bound = (options.session_ms / 1000) + kill.rebuild_s + 10
            what = Text(
                f"{size.tickets} open tickets, {kill.how}: a ticket within session timeout, rebuild and 10 s",
                f"{size.tickets} 张未结工单，{kill.how}：会话超时、重建加 10 秒之内出工单",
            )
            report.claim(what, f"{kill.ticket_s:.1f} s of {bound:.1f} s", holds=kill.ticket_s <= bound)
    return report


def _kills(sizes: list[Size]) -> Table:
    head = (
        *(str(Text("open tickets", "未结工单")), str(Text("after the kill", "故障之后"))),
        *(str(Text("ticket s", "工单 秒")), str(Text("ready s", "就绪 秒"))),
        *(str(Text("rebuild s", "重建 秒")), str(Text("entries", "条目"))),
    )
    rows = [
        (size.tickets, kill.how, kill.ticket_s, kill.ready_s, f"{kill.rebuild_s:.2f}", kill.entries)
        for size in sizes
        for kill in size.kills or ()
    ]
    return Table(str(Text("Kill to first ticket", "从故障到第一张工单")), head, rows)


def _drains(sizes: list[Size]) -> Table:
    head = [
        str(Text("what", "内容")),
        str(Text("count", "数量")),
        str(Text("seconds", "秒")),
        str(Text("a second", "每秒")),
    ]
    rows = [
        (what, drained.count, drained.seconds, round(drained.per_s))
        for size in sizes
        for what, drained in (
            (str(Text("spool, messages", "暂存，报文")), size.spool),
            (str(Text("backlog, records", "积压，记录")), size.backlog),
        )
        if drained
    ]
    return Table(str(Text("Drain rates", "消化速度")), head, rows)


def _size(tickets: int, options: argparse.Namespace) -> Size:
    is_real = tickets <= options.real_up_to
    size = Size(tickets, "sent" if is_real else "computed")
    town = Town(quiet_s=QUIET_S)
    with (
        searched("gridhub-load-") as folder,
        Stage(folder, town, session_timeout_ms=options.session_ms) as stage,
    ):
        progress(f"{tickets} tickets: {size.made}", f"{tickets} 张工单：{size.made}")
        stage.connect("camera")
        if is_real:
            size.spool = _spool(stage, tickets, options.within)
            size.backlog = _backlog(stage, tickets, options.within)
        else:
            _remember(stage, tickets)
            stage.route(0)
        size.kills = [_restarted(stage, options.within), _taken_over(stage, options.within)]
    return size


def _spool(stage: Stage, count: int, within_s: float) -> Drained:
    """Fills the connector's spool while Kafka is stopped, and lets it drain."""
    connector = stage.connectors["camera"]
    stage.broker.stop()
    regions = -(-count // CAMERAS)
    requests = stage.town.pushes(PROBE)
    sending = stage.send(
        "spool", "camera", requests, SPOOL_RATE, SPOOL_CONNECTIONS, regions=regions, messages=count, again=True
    )
    wait_for(
        lambda: sending.process.poll() is not None,
        time.monotonic() + within_s,
        f"{count} messages for the spool",
        f"{count} 条报文写入暂存",
    )
    sending.done(1)
    assert sending.heard()["200"] == count
    spooled = stage.spooled()
    assert spooled > 0.9 * count, f"{spooled} of {count} are in the spool"
    stage.broker.start()
    drained = f'gridhub_spool_drained_total{{feed="{connector.feed}"}}'
    before = metric(connector, drained)
    wait_for(
        lambda: metric(connector, drained) > before,
        time.monotonic() + within_s,
        f"Kafka is back, {spooled} drain",
        f"Kafka 已恢复，正在转发 {spooled} 条",
    )
    first, began = metric(connector, drained), time.monotonic()
    until(lambda: stage.spooled() == 0, within_s)
    return Drained(int(metric(connector, drained) - first), time.monotonic() - began)


def _backlog(stage: Stage, count: int, within_s: float) -> Drained:
    """Starts a router on inputs that hold so many records."""
    with Follower(stage.broker.bootstrap, DECISIONS) as decided:
        stage.route(0)
        wait_for(
            lambda: len(decided.when) >= count,
            time.monotonic() + within_s,
            f"{count} records for the router",
            f"路由器处理 {count} 条记录",
        )
        # The first that are seen were decided before the time that is measured.
        times = [*decided.when.values()]
        began = min(times)
        return Drained(len(times) - times.count(began), max(times) - began)


def _remember(stage: Stage, count: int) -> None:
    """Writes inputs, memory and tickets as a router would have left them."""
    settings = Settings()
    home = partition_of(settings)
    force = InForce(stage.registry, None)
    around = Surroundings(force, WIRE, home, 0, 0)
    cameras = Cameras(stage.registry)
    [vendor] = [one for one in stage.registry.vendors if one.id == PROBE]
    now = int(time.time() * 1000)
    patterns: list[CameraAlert] = []
    for request in stage.town.pushes(PROBE):
        body = request.bytes(0, 0, f"{time.strftime('%Y-%m-%dT%H:%M:%S+00:00', time.gmtime())}").partition(b"\r\n\r\n")[
            2
        ]
        [event] = read(body, "application/xml").events
        alert = translate(event, vendor, cameras, now)
        assert not isinstance(alert, Alive)
        patterns.append(alert)
    progress(f"{count} alerts", f"写入 {count} 条预警")
    producer = KafkaProducer(bootstrap_servers=stage.broker.bootstrap, linger_ms=20, batch_size=131072, acks="all")
    arrived: dict[int, list[Arrived]] = defaultdict(list)
    try:
        some: list[tuple[CameraAlert, bytes, Any]] = []
        for number in range(count):
            pattern = patterns[number % len(patterns)]
            region = str(number // len(patterns))
            alert = replace(pattern, id=f"{pattern.id}/{region}", region=region)
            value = WIRE.encode(alert)
            key, partition = alert.town.encode(), home(alert.town)
            some.append((alert, value, producer.send(INPUT, value, key, headers(alert), partition=partition)))
        for alert, value, future in some:
            lies = future.get(30)
            arrived[lies.partition].append(
                Arrived(INPUT, lies.partition, lies.offset, lies.timestamp, alert.town.encode(), value)
            )
        progress("what the router makes of them", "计算路由器的结果")
        for records in arrived.values():
            for one in remembered(records, around):
                producer.send(
                    one.topic, one.value, one.key, list(one.headers), partition=one.partition, timestamp_ms=one.at
                )
        producer.flush(60)
    finally:
        producer.close(10)


def remembered(records: Sequence[Arrived], around: Surroundings) -> Iterator[Outgoing]:
    """What a router writes to its memory and to `tickets` when it finds these records on a partition that was empty."""
    partition = Partition(records[0].partition)
    for begin in range(0, len(records), BATCH):
        batch = records[begin : begin + BATCH]
        step = partition.apply(batch, max(one.at for one in batch), around)
        yield from (one for one in step.outgoing if one.topic in (ROUTER_STATE, TICKETS))
        partition.adopt(step)


def _restarted(stage: Stage, within_s: float) -> Recovered:
    """The router dies and is started again at once."""
    router = stage.routers[0]
    how = str(Text("started again", "立即重启"))
    progress("kill, and start again", "强制结束并重启")
    with Follower(stage.broker.bootstrap, TICKETS, keeps=True) as tickets:
        router.kill()
        killed = _Killed(how, router, time.time(), router.log.stat().st_size)
        router.begin()
        _push(stage, camera=0, name="restart")
        return killed.recovered(tickets, stage.town.cameras[PROBE][0].id, within_s)


def _taken_over(stage: Stage, within_s: float) -> Recovered:
    """The router dies, and another that is in the group takes over what it had."""
    first, second = stage.routers[0], stage.route(1)
    how = str(Text("another takes over", "另一路由器接管"))
    wait_for(
        lambda: first.is_ready() and second.is_ready() and owned(first) and owned(second),
        time.monotonic() + within_s,
        "two routers share",
        "两台路由器分担",
    )
    mine = owned(first)
    camera = next(n for n, one in enumerate(stage.town.cameras[PROBE]) if stage.town.partition(one.town) in mine)
    progress("kill, and another takes over", "强制结束，由另一台接管")
    with Follower(stage.broker.bootstrap, TICKETS, keeps=True) as tickets:
        first.kill()
        killed = _Killed(how, second, time.time(), second.log.stat().st_size)
        _push(stage, camera=camera, name="takeover")
        return killed.recovered(tickets, stage.town.cameras[PROBE][camera].id, within_s)


def owned(router: Router) -> set[int]:
    """The partitions that it said last it was given."""
    given = said(router, "assigned")
    last = given[-1]["partitions"] if given else []
    return set(last)


def said(one: Served, event: str, since: int = 0) -> list[dict[str, Any]]:
    """What it has logged of this, from a byte of its log on: the whole of a long log would take the time that is measured."""
    with one.log.open("rb") as log:
        log.seek(since)
        lines = [json.loads(line) for line in log if line.endswith(b"\n") and event.encode() in line]
    return [line for line in lines if line.get("event") == event]


def _push(stage: Stage, camera: int, name: str) -> None:
    """One alert of a region that was quiet until now, by HTTP, answered with yes."""
    request = stage.town.pushes(PROBE, [stage.town.cameras[PROBE][camera]])[0]
    whole = request.bytes(0, 0, time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime()))
    head, _, body = whole.partition(b"\r\n\r\n")
    path = head.split()[1].decode()
    body = body.replace(b"<regionID>0<", f"<regionID>{name}<".encode()).replace(b"<UUID>", f"<UUID>{name}-".encode())
    url = f"http://{stage.connectors['camera'].address}{path}"
    asked = urllib.request.Request(url, body, {"Content-Type": "application/xml"})
    with urllib.request.urlopen(asked, timeout=10) as answer:  # noqa: S310 - the run's own connector
        assert json.loads(answer.read())["fate"] == "published"


@dataclass(slots=True)
class _Killed:
    """What a kill leaves to wait for: `router` takes over, and has said so many bytes until then."""

    how: str
    router: Router
    at: float
    since: int

    def recovered(self, tickets: Follower, device: str, within_s: float) -> Recovered:
        """Waits for readiness and the ticket of `device`."""
        ready: list[float] = []
        opened: list[float] = []

        def both() -> bool:
            if not ready and said(self.router, "rebuilt", self.since) and self.router.is_ready():
                ready.append(time.time())
            if not opened:
                opened.extend(seen for seen, one in tickets.records(WIRE) if _is_new(one, device))
            return bool(ready and opened)

        until(both, within_s)
        rebuilt = said(self.router, "rebuilt", self.since)[-1]
        return Recovered(self.how, ready[0] - self.at, opened[0] - self.at, rebuilt["seconds"], rebuilt["entries"])


def _is_new(record: Record, device: str) -> bool:
    return isinstance(record, Ticket) and record.device == device and record.version == 1
