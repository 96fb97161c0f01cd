"""One vendor floods a connector; what that costs it, and what it costs the others.

The flood goes to the cameras' connector over HTTP. There a sender can be told no (429, 503), in a way that can be counted on both sides, and all vendors
share one process; HJ 212 knows no refusal (a station that is too fast is read more slowly), and each station has a connection of its own.

First the rate is sought that connector and router keep up with: all answered yes, 99 of 100 within 0.5 s, and decided within 2 s after the last. A quarter of that is what the flooding
vendor may send by its registration (`--limit` for another; the share that a vendor has of a connector's memory, too). Then it sends ten times the rate,
on many connections with several messages under way on each, while another vendor pushes to the same connector for another town, and patrols to another connector for a third, each
town on a partition of its own. Afterwards nobody helps.
"""

import argparse
import contextlib
import time
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from contextlib import ExitStack
from dataclasses import asdict, dataclass
from typing import Any

from hub.http_in import VENDOR_SHARE, HttpSettings
from hub.kafka_log import MAX_BYTES
from hub.lang import Text
from tests.brokers import until
from tests.faults.processes import all_read
from tests.load.figures import MIB, Cell, Latency, Report, Table
from tests.load.stage import FLOOD, MODEST, PATROL, Sending, Stage, Town, metrics, progress, surroundings, wait_for
from tests.load.watching import Follower, Sample, Watcher
from tests.planted import searched

DECISIONS, INPUTS = "decisions", ("alerts.camera", "alerts.patrol", "handed-over")
FIRST_RATE, MOST_RATE, HALVINGS = 100.0, 6400.0, 2
ANSWERED_WITHIN_S, DECIDED_WITHIN_S = 0.5, 2.0
MODEST_RATE, MODEST_CONNECTIONS = 5.0, 4
SEARCH_CONNECTIONS, DEEP = 32, 8
OTHERS_ANSWERED_S, OTHERS_TICKET_S = HttpSettings.model_fields["budget_s"].default, 5.0
"""What 99 of 100 messages of the others must keep to during the flood: the feed's own budget for an answer, and this for a ticket."""
CONNECTOR_BYTES = HttpSettings.model_fields["max_pending_bytes"].default + MAX_BYTES
"""What a connector may take up more: all bodies that may be in memory, and all that may be under way to Kafka."""
ROUTER_BYTES, ALERT_BYTES = 64 * MIB, 1024
"""What a router may take up more: what it reads ahead, and for each alert its id, which it remembers for 72 h."""
KAFKA_BYTES = (512 + 384) * MIB
"""The broker's heap (-Xmx512m), and beside it code, threads and buffers."""
MOMENTS = 15
RECOVERED = ("ready", "spool empty", "all decided")


@dataclass(frozen=True, slots=True)
class Tried:
    """One rate of the search."""

    rate: float
    answered: Latency
    refused: int
    decided_s: float | None
    holds: bool


@dataclass(frozen=True, slots=True)
class Others:
    """How one of the others fared in one phase."""

    who: str
    phase: str
    sent: int
    kept: int
    undecided: int
    answer: Latency
    ticket: Latency


@dataclass(frozen=True, slots=True)
class Phase:
    """A time of the run, s since 1970."""

    name: str
    begins: float
    ends: float


def add_options(parser: argparse.ArgumentParser) -> None:
    """Those of this command."""
    add = parser.add_argument
    add("--seconds", type=float, default=300.0, help=str(Text("how long the flood lasts", "洪峰持续秒数")))
    add(
        "--before",
        type=float,
        default=15.0,
        help=str(Text("seconds without it, before and after", "洪峰前后各观察的秒数")),
    )
    add(
        "--rate", type=float, default=0.0, help=str(Text("the rate to go by (0: sought)", "基准速率（0 表示自动寻找）"))
    )
    add("--times", type=float, default=10.0, help=str(Text("how many times that rate", "为基准速率的多少倍")))
    add(
        "--step", type=float, default=5.0, help=str(Text("seconds for each rate of the search", "寻找时每档速率的秒数"))
    )
    add(
        "--limit",
        type=float,
        default=0.0,
        help=str(Text("its registered rate (0: a quarter)", "登记的速率上限（0 表示四分之一）")),
    )
    add("--connections", type=int, default=64, help=str(Text("of the flood", "洪峰的连接数")))
    add("--within", type=float, default=60.0, help=str(Text("seconds to recover in", "恢复时限（秒）")))


def measure(options: argparse.Namespace) -> Report:
    """The whole run."""
    with searched("gridhub-load-") as folder, ExitStack() as running:
        stage = running.enter_context(Stage(folder, Town()))
        stage.connect("camera")
        stage.connect("patrol")
        stage.route(0)
        return _Run(stage, options, running).report()


class _Run:
    """Everyone is up."""

    def __init__(self, stage: Stage, options: argparse.Namespace, running: ExitStack) -> None:
        self._stage = stage
        self._options = options
        town = stage.town
        home = {vendor: town.partition(town.town_of(vendor)) for vendor in (FLOOD, MODEST, PATROL)}
        bootstrap = stage.broker.bootstrap
        self._flooded = running.enter_context(Follower(bootstrap, DECISIONS, [home[FLOOD]]))
        self._others = running.enter_context(Follower(bootstrap, DECISIONS, [home[MODEST], home[PATROL]]))
        self._watcher = running.enter_context(Watcher(stage.processes))
        self._flooding: list[Sending] = []
        self._accepted = 0

    def report(self) -> Report:
        """Runs it and says what was seen."""
        options, stage = self._options, self._stage
        tried: list[Tried] = []
        rate = options.rate or self._sought(tried)
        limit = options.limit or rate / VENDOR_SHARE
        stage.register(Town(flood_per_s=limit))
        wait_for(stage.adopted, time.monotonic() + options.within, f"a limit of {limit:g}/s", f"限速 {limit:g} 条/秒")
        modest = {
            MODEST: stage.send("modest", "camera", stage.town.pushes(MODEST), MODEST_RATE, MODEST_CONNECTIONS),
            PATROL: stage.send("patrol-walks", "patrol", stage.town.walks(), MODEST_RATE, MODEST_CONNECTIONS),
        }
        before = self._phase("before", options.before)
        progress(f"flood: {rate * options.times:g}/s", f"洪峰：{rate * options.times:g} 条/秒")
        flood = self._flood("flood", rate * options.times, options.connections, patient=False, deep=DEEP)
        during = self._phase("during", options.seconds)
        flood.stop()
        self._accepted += flood.heard()["200"]
        recovered = self._recovered(time.time())
        after = self._phase("after", options.before)
        for sending in modest.values():
            sending.stop()
        self._settle()
        phases = (before, during, after)
        others = [self._fared(who, sending, phase) for who, sending in modest.items() for phase in phases]
        report = Report(
            "overload",
            str(Text("One vendor sends ten times too much", "一个厂商发送十倍于承受能力的数据")),
            f"{surroundings()}; {rate:g}/s are kept up with, {rate * options.times:g}/s are sent for {options.seconds:g} s over {options.connections} connections; registered limit {limit:g}/s.",
        )
        self._tell_time(report, flood, during)
        self._tell_refusals(report, flood, [*self._flooding, modest[MODEST]])
        self._tell_others(report, others)
        self._tell_memory(report, before, during, after)
        self._tell_recovery(report, recovered)
        report.figures |= {
            "rate": rate,
            "limit": limit,
            "search": [asdict(one) for one in tried],
            "flood": flood.end,
            "others": [asdict(one) for one in others],
            "recovery_s": recovered,
            "cpu_cores": self._cpu(during),
        }
        return report

    # ---- what happens

    def _sought(self, tried: list[Tried]) -> float:
        """The highest rate that is kept up with: doubled until it is not, then halved in between."""
        low, rate = 0.0, FIRST_RATE
        while rate <= MOST_RATE and self._try(rate, tried):
            low, rate = rate, 2 * rate
        high = rate
        for _ in range(HALVINGS):
            middle = (low + high) / 2
            if self._try(middle, tried):
                low = middle
            else:
                high = middle
        assert low, "not even the first rate is kept up with"
        return low

    def _try(self, rate: float, tried: list[Tried]) -> bool:
        sending = self._flood(f"search-{rate:g}", rate, SEARCH_CONNECTIONS, messages=int(rate * self._options.step))
        sending.done(self._options.within)
        ended = time.monotonic()
        heard = sending.heard()
        self._accepted += heard["200"]
        until(lambda: len(self._flooded.when) >= self._accepted, self._options.within)
        decided_s = time.monotonic() - ended
        answered = Latency.of(line["heard"] - line["due"] for line in sending.lines("answer"))
        assert answered.p99 is not None
        refused = heard.total() - heard["200"]
        holds = not refused and answered.p99 <= ANSWERED_WITHIN_S and decided_s <= DECIDED_WITHIN_S
        tried.append(Tried(rate, answered, refused, decided_s, holds))
        progress(
            f"{rate:g}/s: p99 {answered.p99 * 1000:.0f} ms, decided after {decided_s:.1f} s",
            f"{rate:g} 条/秒：p99 {answered.p99 * 1000:.0f} 毫秒，{decided_s:.1f} 秒后全部裁定",
        )
        return holds

    def _flood(self, name: str, rate: float, connections: int, **more: Any) -> Sending:
        first = 10_000_000 * len(self._flooding)
        keeps = more.get("patient", True)
        requests = self._stage.town.pushes(FLOOD)
        sending = self._stage.send(name, "camera", requests, rate, connections, first=first, keeps=keeps, **more)
        self._flooding.append(sending)
        return sending

    def _phase(self, name: str, seconds: float) -> Phase:
        progress(f"{name}: {seconds:g} s", f"{name}：{seconds:g} 秒")
        begins = time.time()
        time.sleep(seconds)  # the phase itself
        return Phase(name, begins, time.time())

    def _recovered(self, since: float) -> dict[str, float]:
        """Seconds until each is as it was."""
        looks: dict[str, Callable[[], bool]] = dict(
            zip(
                RECOVERED,
                (
                    self._stage.is_ready,
                    lambda: self._stage.spooled() == 0,
                    lambda: len(self._flooded.when) >= self._accepted,
                ),
                strict=True,
            )
        )
        found: dict[str, float] = {}

        def all_found() -> bool:
            for name, look in looks.items():
                if name not in found and look():
                    found[name] = time.time() - since
            return len(found) == len(looks)

        progress("recovery", "等待恢复")
        with contextlib.suppress(AssertionError):  # what is missing by then, the claim says
            until(all_found, self._options.within)
        return found

    def _settle(self) -> None:
        """Nothing is under way any more."""
        wait_for(
            lambda: all_read(self._stage.broker.bootstrap, INPUTS),
            time.monotonic() + self._options.within,
            "nothing left to read",
            "等待全部读完",
        )

    # ---- what is said of it

    def _fared(self, who: str, sending: Sending, phase: Phase) -> Others:
        lines = [line for line in sending.lines("answer") if phase.begins <= line["due"] < phase.ends]
        kept = [line for line in lines if line["status"] == 200]
        when = self._others.when
        return Others(
            who,
            phase.name,
            len(lines),
            len(kept),
            sum(line["id"] not in when for line in kept),
            Latency.of(line["heard"] - line["due"] for line in lines),
            Latency.of(when[line["id"]] - line["due"] for line in kept if line["id"] in when),
        )

    def _tell_time(self, report: Report, flood: Sending, during: Phase) -> None:
        names = self._watcher.names()
        head = ["s", *(f"{name} MiB" for name in names), *(f"{what}/s" for what in ("due", "sent", "held back"))]
        seconds = flood.lines("second")
        statuses = sorted({status for one in seconds for status in one["heard"]})
        rows: list[list[Cell]] = []
        moments = max(1, min(MOMENTS, int(during.ends - during.begins)))
        step = (during.ends - during.begins) / moments
        for moment in range(moments):
            begins = during.begins + moment * step
            some = [one for one in seconds if begins <= one["at"] < begins + step]
            rows.append(
                [
                    round((moment + 1) * step),
                    *(_mib(self._watcher.of(name, begins, begins + step)) for name in names),
                    *(
                        round(sum(one[what] for one in some) / max(1, len(some)))
                        for what in ("due", "sent", "held_back")
                    ),
                    *(
                        round(sum(one["heard"].get(status, 0) for one in some) / max(1, len(some)))
                        for status in statuses
                    ),
                ]
            )
        report.tables.append(Table(str(Text("The flood", "洪峰")), [*head, *(f"{one}/s" for one in statuses)], rows))

    def _tell_refusals(self, report: Report, flood: Sending, senders: Sequence[Sending]) -> None:
        """By what all senders of the feed heard, and what its connector counted."""
        heard = sum((one.heard() for one in senders), Counter[str]())
        unheard = sum(one.end["unheard"] for one in senders)
        counted = metrics(self._stage.connectors["camera"])
        answers = {
            name: int(counted[f'gridhub_answers_total{{answer="{name}",feed="camera"}}']) for name in sorted(heard)
        }
        fates = {
            name: int(counted[f'gridhub_messages_total{{fate="{name}",feed="camera"}}'])
            for name in ("published", "spooled", "dead-lettered", "empty", "refused")
        }
        received = int(counted['gridhub_messages_received_total{feed="camera"}'])
        refused = heard["429"] + heard["503"]
        kept = fates["published"] + fates["spooled"]
        rows: list[list[Cell]] = [[name, heard[name], answers[name]] for name in answers]
        rows += [[name, None, count] for name, count in fates.items()]
        head = [
            str(Text(en, zh))
            for en, zh in (("answer, fate", "应答、结果"), ("heard", "发送方收到"), ("counted", "接入程序计数"))
        ]
        report.tables.append(
            Table(str(Text("What became of all messages of the feed", "该数据源全部报文的结果")), head, rows)
        )
        report.figures |= {
            "heard": dict(heard),
            "unheard": unheard,
            "answers": answers,
            "fates": fates,
            "received": received,
        }
        report.claim(
            Text("the flood was one: some of it was refused or held back", "洪峰确实存在：部分被拒绝或受阻"),
            f"{refused} refused, {flood.end['held_back']} held back",
            holds=flood.heard()["429"] + flood.heard()["503"] + int(flood.end["held_back"]) > 0,
        )
        report.claim(
            Text("as many refusals were counted as senders heard", "拒绝计数与发送方收到的一致"),
            f"heard {refused}, counted {fates['refused']}, without an answer {unheard}",
            holds=refused <= fates["refused"] <= refused + unheard
            and all(heard[one] <= answers[one] <= heard[one] + unheard for one in answers),
        )
        report.claim(
            Text("each refusal says when to come again (Retry-After)", "每次拒绝都说明何时重试（Retry-After）"),
            f"{sum(one.end['bare'] for one in senders)} do not",
            holds=not any(one.end["bare"] for one in senders),
        )
        report.claim(
            Text("the balance of messages comes out", "报文收支相符"),
            f"received {received}, by fate {sum(fates.values())}, answered yes {heard['200']}, kept {kept}",
            holds=received == sum(fates.values()) and heard["200"] <= kept <= heard["200"] + unheard,
        )
        decided = len(self._flooded.when)
        report.claim(
            Text("what the flood was answered yes for was decided", "洪峰中应答为接受的报文均已裁定"),
            f"{self._accepted} answered, {decided} decided",
            holds=self._accepted <= decided <= self._accepted + unheard,
        )

    def _tell_others(self, report: Report, others: Sequence[Others]) -> None:
        head = [
            *(
                str(Text("who", "谁")),
                str(Text("when", "阶段")),
                str(Text("messages", "报文")),
                str(Text("kept", "已接受")),
            ),
            *(f"{Text('answer', '应答')} {one}" for one in ("p50 ms", "p99 ms", "max ms")),
            *(f"{Text('ticket', '工单')} {one}" for one in ("p50 ms", "p99 ms", "max ms")),
        ]
        rows = [
            [one.who, one.phase, one.sent, one.kept, *one.answer.cells[1:], *one.ticket.cells[1:]] for one in others
        ]
        report.tables.append(Table(str(Text("The others", "其他发送方")), head, rows))
        for one in others:
            if one.phase != "during":
                continue
            answer, ticket = one.answer.p99 or 0.0, one.ticket.p99 or 0.0
            report.claim(
                Text(f"{one.who}: all of it was kept and decided", f"{one.who}：全部接受并裁定"),
                f"{one.sent} sent, {one.kept} kept, {one.undecided} not decided",
                holds=one.sent > 0 and one.kept == one.sent and not one.undecided,
            )
            report.claim(
                Text(
                    f"{one.who}: 99 of 100 answers within {OTHERS_ANSWERED_S:g} s, tickets within {OTHERS_TICKET_S:g} s",
                    f"{one.who}：99% 的应答在 {OTHERS_ANSWERED_S:g} 秒内，工单在 {OTHERS_TICKET_S:g} 秒内",
                ),
                f"{answer:.2f} s, {ticket:.2f} s",
                holds=answer <= OTHERS_ANSWERED_S and ticket <= OTHERS_TICKET_S,
            )

    def _tell_memory(self, report: Report, before: Phase, during: Phase, after: Phase) -> None:
        rows: list[list[Cell]] = []
        alerts = len(self._flooded.when)
        for name in self._watcher.names():
            level = _most(self._watcher.of(name, before.begins, before.ends))
            most = _most(self._watcher.of(name, during.begins, after.ends))
            if name == "kafka":
                bound = KAFKA_BYTES
            elif name.startswith("router"):
                bound = level + ROUTER_BYTES + ALERT_BYTES * alerts
            else:
                bound = level + CONNECTOR_BYTES
            rows.append([name, *(round(one / MIB) for one in (level, most, bound))])
            report.claim(
                Text(f"memory of {name} is bounded", f"{name} 的内存有界"),
                f"{most / MIB:.0f} of {bound / MIB:.0f} MiB",
                holds=0 < most <= bound,
            )
        head = [
            str(Text("process", "进程")),
            *(
                str(one)
                for one in (Text("before MiB", "此前 MiB"), Text("most MiB", "最高 MiB"), Text("bound MiB", "上限 MiB"))
            ),
        ]
        report.tables.append(Table(str(Text("Memory", "内存")), head, rows))
        report.figures["memory_mib"] = {str(row[0]): row[1:] for row in rows}

    def _tell_recovery(self, report: Report, recovered: dict[str, float]) -> None:
        seen = ", ".join(f"{name} {seconds:.1f} s" for name, seconds in recovered.items())
        report.claim(
            Text(
                f"afterwards, without help: ready, nothing in the spool, all decided within {self._options.within:g} s",
                f"此后无需干预：{self._options.within:g} 秒内就绪、暂存清空、全部裁定",
            ),
            seen or "-",
            holds=recovered.keys() == {*RECOVERED},
        )

    def _cpu(self, phase: Phase) -> dict[str, float]:
        """How many cores each process took, and the whole machine, senders and strangers included."""
        some = {name: self._watcher.of(name, phase.begins, phase.ends) for name in self._watcher.names()}
        return {
            name: round((each[-1].cpu_s - each[0].cpu_s) / max(each[-1].at - each[0].at, 1), 2)
            for name, each in some.items()
            if each
        } | {"machine": self._watcher.busy(phase.begins, phase.ends)}


def _most(samples: Iterable[Sample]) -> int:
    return max((one.rss for one in samples), default=0)


def _mib(samples: Iterable[Sample]) -> Cell:
    most = _most(samples)
    return round(most / MIB) if most else None
