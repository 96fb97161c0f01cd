"""Everything runs for a long time at a steady, modest rate: what does each process take, and does it grow?

A broker, a router, the connectors of stations, cameras and patrols, and the page. Simulated stations report by HJ 212; cameras and patrols push over HTTP, by a clock, and
of each of their messages it is known when it was due, answered and decided. A camera's region is heard of again only when its ticket has been cleared for
being quiet, so that tickets open and clear all the time and their number stays.

Growth is the rise of a straight line through the samples after the warm-up (the first third), over the time from there to the end. A process may rise by a
little for what its memory allocator does; the router and the page, which remember alerts on purpose, by so many bytes more for each. The broker's Java
fills its heap when it likes: it is held to a bound.
"""

import argparse
import math
import time
from collections.abc import Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass, field

from hub.lang import Text
from tests.brokers import until
from tests.faults.processes import Tail, simulated
from tests.load.figures import MIB, Cell, Growth, Latency, Report, Table
from tests.load.overload import ALERT_BYTES, DECISIONS, KAFKA_BYTES
from tests.load.stage import CAMERAS, MODEST, Sending, Stage, Town, metrics, progress, surroundings
from tests.load.watching import Follower, Sample, Watcher
from tests.planted import searched

WARM_UP = 1 / 3
RISE_BYTES, RISE_SHARE = 8 * MIB, 0.05
"""What any process may rise by: so much, or this share of its level where that is more."""
RISE_HANDLES, RISE_THREADS = 4.0, 2.0
REGION_AGAIN_S = 90
"""After so long a camera's region is heard of again: longer than the 60 s after which its ticket is cleared."""
DECIDED_WITHIN_S = 30.0
ROWS = 30
REMEMBERS = {"router-0": (ALERT_BYTES, math.inf), "page": (6 * 1024, 25_000)}
"""What an alert adds for a long time, and for how many: its id for 72 h; on the page its ticket, step, decision and words, until 5,000 cleared tickets and
20,000 of what belongs to no ticket are kept.
"""


@dataclass(frozen=True, slots=True)
class Interval:
    """What was seen since the last look. at: s since 1970. tickets: from the moment a message was due to its decision, by feed."""

    at: float
    spool_bytes: int
    tickets: dict[str, Latency]


@dataclass(slots=True)
class Sent:
    """A feed's messages, as its sender tells of them."""

    sending: Sending
    tail: Tail
    waiting: dict[str, float] = field(default_factory=dict)
    messages: int = 0
    kept: int = 0

    def look(self, decided: Follower) -> Latency:
        """Of those that were decided since the last look."""
        for line in self.tail.more():
            if line["what"] == "answer":
                self.messages += 1
                if line["status"] == 200:
                    self.kept += 1
                    self.waiting[line["id"]] = line["due"]
        when = decided.when
        found = [name for name in self.waiting if name in when]
        return Latency.of(when[name] - self.waiting.pop(name) for name in found)


def add_options(parser: argparse.ArgumentParser) -> None:
    """Those of this command."""
    add = parser.add_argument
    add("--minutes", type=float, required=True, help=str(Text("how long", "运行分钟数")))
    add("--every", type=float, default=10.0, help=str(Text("seconds from one look to the next", "两次采样的间隔秒数")))
    add(
        "--rate",
        type=float,
        default=4.0,
        help=str(Text("messages a second of cameras, and of patrols", "摄像头与巡查各自每秒报文数")),
    )
    add(
        "--interval",
        type=float,
        default=5.0,
        help=str(Text("seconds between a station's messages", "站点两条报文的间隔秒数")),
    )


def measure(options: argparse.Namespace) -> Report:
    """The whole run."""
    with searched("gridhub-load-") as folder, ExitStack() as running:
        stage = running.enter_context(Stage(folder, Town()))
        for feed in ("air", "camera", "patrol"):
            stage.connect(feed)
        stage.route(0)
        stage.show()
        decided = running.enter_context(Follower(stage.broker.bootstrap, DECISIONS))
        watcher = running.enter_context(Watcher(stage.processes, options.every))
        air = stage.connectors["air"].address
        running.enter_context(simulated(air, folder / "stations.jsonl", "air", interval=options.interval))
        regions = max(1, round(REGION_AGAIN_S * options.rate / CAMERAS))
        pushes = stage.town.pushes(MODEST)
        sent = {
            "camera": _sent(running, stage.send("cameras", "camera", pushes, options.rate, 4, regions=regions)),
            "patrol": _sent(running, stage.send("walks", "patrol", stage.town.walks(), options.rate, 4)),
        }
        intervals = _watched(stage, sent, decided, options)
        ended = time.time()
        for one in sent.values():
            one.sending.stop()
            one.look(decided)
        missing = _missing(sent, decided)
        return _report(options, stage, watcher, sent, intervals, missing, ended)


def _sent(running: ExitStack, sending: Sending) -> Sent:
    until(sending.log.exists, 30)
    tail = Tail(sending.log)
    running.callback(tail.close)
    return Sent(sending, tail)


def _watched(stage: Stage, sent: dict[str, Sent], decided: Follower, options: argparse.Namespace) -> list[Interval]:
    """Until the time is over."""
    intervals: list[Interval] = []
    ends = time.monotonic() + 60 * options.minutes
    while (left := ends - time.monotonic()) > 0:
        time.sleep(min(options.every, left))  # from one look to the next
        looks = {feed: one.look(decided) for feed, one in sent.items()}
        intervals.append(Interval(time.time(), stage.spool_bytes(), looks))
        told = ", ".join(f"{feed} p99 {(look.p99 or 0) * 1000:.0f} ms" for feed, look in looks.items())
        left = max(0.0, ends - time.monotonic()) / 60
        progress(f"{left:.1f} min left; {told}", f"剩余 {left:.1f} 分钟；{told}")
    return intervals


def _missing(sent: dict[str, Sent], decided: Follower) -> int:
    """How many that were kept are not decided in the end."""

    def missing() -> int:
        for one in sent.values():
            one.look(decided)
        return sum(len(one.waiting) for one in sent.values())

    ends = time.monotonic() + DECIDED_WITHIN_S
    while (left := missing()) and time.monotonic() < ends:
        time.sleep(0.1)  # the reader is behind by as much
    return left


def _report(
    options: argparse.Namespace,
    stage: Stage,
    watcher: Watcher,
    sent: dict[str, Sent],
    intervals: Sequence[Interval],
    missing: int,
    ended: float,
) -> Report:
    report = Report(
        "soak",
        str(Text("A long time at a steady rate", "长时间稳定运行")),
        f"{surroundings()}; {options.minutes:g} min, {options.rate:g}/s of cameras and of patrols, stations every {options.interval:g} s.",
    )
    report.tables.append(_over_time(watcher, intervals))
    rows = [_tell(report, name, watcher.of(name, before=ended), sent) for name in watcher.names()]
    head = (
        *(
            str(Text("process", "进程")),
            str(Text("memory MiB", "内存 MiB")),
            "MiB/h",
            str(Text("may rise MiB", "允许上升 MiB")),
        ),
        *(str(Text("rose MiB", "上升 MiB")), str(Text("handles", "句柄")), str(Text("handles/h", "句柄/时"))),
        *(str(Text("threads", "线程")), str(Text("cores", "CPU 核"))),
    )
    report.tables.append(Table(str(Text("After the warm-up", "预热之后")), head, rows))
    messages, kept = (sum(getattr(one, what) for one in sent.values()) for what in ("messages", "kept"))
    unheard = sum(int(one.sending.end["unheard"]) for one in sent.values())
    report.claim(
        Text("all messages were kept, and decided", "全部报文均已接受并裁定"),
        f"{messages} sent, {kept} kept, {missing} not decided, {unheard} not answered",
        holds=messages > 0 and kept == messages and not missing and not unheard,
    )
    spooled = stage.spooled()
    report.claim(Text("nothing is in a spool at the end", "结束时暂存为空"), f"{spooled}", holds=not spooled)
    readings = sum(
        value for name, value in metrics(stage.routers[0]).items() if name.startswith("gridhub_readings_applied_total{")
    )
    report.claim(Text("stations were heard, too", "站点数据也已处理"), f"{readings:.0f} readings", holds=readings > 0)
    report.figures |= {
        "minutes": options.minutes,
        "messages": {feed: one.messages for feed, one in sent.items()},
        "readings": int(readings),
        "intervals": [asdict(one) for one in intervals],
        "samples": [asdict(one) for one in watcher.samples],
        "after_warm_up": {str(row[0]): row[1:] for row in rows},
    }
    return report


def _over_time(watcher: Watcher, intervals: Sequence[Interval]) -> Table:
    names = watcher.names()
    feeds = [*intervals[0].tickets] if intervals else []
    began = min((one.at for one in watcher.samples), default=0.0)
    rows: list[list[Cell]] = []
    step = -(-len(intervals) // ROWS) or 1
    since = 0.0
    for one in intervals[step - 1 :: step]:
        rows.append(
            [
                (one.at - began) / 60,
                *(round(some[-1].rss / MIB) if (some := watcher.of(name, since, one.at)) else None for name in names),
                round(one.spool_bytes / 1024),
                *(cell for feed in feeds for cell in one.tickets[feed].cells[1:]),
            ]
        )
        since = one.at
    head = [
        *("min", *(f"{name} MiB" for name in names), str(Text("spool KiB", "暂存 KiB"))),
        *(f"{feed} {what} ms" for feed in feeds for what in ("p50", "p99", "max")),
    ]
    return Table(str(Text("Over time", "随时间")), head, rows)


def remembered(name: str, alerts: float) -> float:
    """How many bytes a process may take up for so many alerts; without end only where it remembers without one."""
    each, most = REMEMBERS.get(name, (0, 0))
    return each * min(alerts, most)


def _tell(report: Report, name: str, samples: Sequence[Sample], sent: dict[str, Sent]) -> list[Cell]:
    """What one process did, and whether it may."""
    began = samples[0].at
    alerts = sum(one.kept for one in sent.values())
    level = sum(one.rss for one in samples) / len(samples)
    allowed = max(RISE_BYTES, RISE_SHARE * level) + remembered(name, alerts * (1 - WARM_UP))
    memory = Growth.of([(one.at - began, one.rss) for one in samples], WARM_UP, allowed)
    handles = Growth.of([(one.at - began, one.handles) for one in samples], WARM_UP, RISE_HANDLES)
    threads = Growth.of([(one.at - began, one.threads) for one in samples], WARM_UP, RISE_THREADS)
    is_kafka = name == "kafka"
    if is_kafka:
        most = max(one.rss for one in samples)
        report.claim(
            Text("memory of kafka is bounded", "kafka 的内存有界"),
            f"{most / MIB:.0f} of {KAFKA_BYTES / MIB:.0f} MiB",
            holds=most <= KAFKA_BYTES,
        )
    grows = [
        what
        for what, growth in (("memory", memory), ("handles", handles), ("threads", threads))
        if growth.grows and not (is_kafka and what == "memory")
    ]
    report.claim(
        Text(f"{name} does not grow", f"{name} 无持续增长"),
        ", ".join(grows) or f"{memory.rise / MIB:+.1f} MiB",
        holds=not grows,
    )
    span_s = max(samples[-1].at - began, 1.0)
    return [
        *(name, memory.level / MIB, memory.per_hour / MIB, allowed / MIB, memory.rise / MIB),
        *(round(handles.level), handles.per_hour, round(threads.level)),
        f"{(samples[-1].cpu_s - samples[0].cpu_s) / span_s:.2f}",
    ]
