"""A town a second time: slow, literal, and sharing no line with the router.

It keeps every usable value it ever heard and every mean it ever had, drops nothing, and asks the same questions anew at each event: which
hours are there, which of them may be judged now, what do the values say that came in time. Means are fractions, coverage is counted in
milliseconds of the clock face. It knows nothing of ids, texts and entries: only which tickets open, go on and clear, for whom and when.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction

from hub.core.events import AirAlert, Reading, Value
from hub.core.rules import Rule, Rules

Series = tuple[str, str, str]  # rule, factor or factors, device


@dataclass(frozen=True, slots=True)
class Step:
    """A ticket was opened, updated or cleared."""

    what: str
    rule: str
    factor: str
    device: str
    now: int


@dataclass(frozen=True, slots=True)
class Heard:
    """A value that may decide. `sort`: own, minute or realtime. `name`: what it is known by when it is sent again."""

    sort: str
    start: int
    lasts: int
    number: Fraction
    name: int | str


@dataclass(slots=True)
class Hour:
    """A period of a series: what was heard of it in time, and what became of it."""

    heard: list[Heard] = field(default_factory=list)
    given_up: bool = False
    judged: bool = False

    def of(self, sort: str) -> list[Heard]:
        return [each for each in self.heard if each.sort == sort]

    @property
    def waits(self) -> bool:
        """There is something that time will judge or give up."""
        return not self.judged and (bool(self.of("own")) or (bool(self.heard) and not self.given_up))


def covered_ms(values: Iterable[Heard]) -> int:
    """How many milliseconds at least one value speaks for: edges are swept, the open values between two of them counted."""
    edges = sorted(edge for each in values for edge in ((each.start, 1), (each.start + each.lasts, -1)))
    total, speaking, since = 0, 0, 0
    for moment, change in edges:
        total += moment - since if speaking else 0
        speaking, since = speaking + change, moment
    return total


@dataclass(slots=True)
class ModelTown:
    """What must become of a history."""

    rules: Rules
    now: int = 0
    steps: list[Step] = field(default_factory=list)
    alerts: list[tuple[str, str]] = field(default_factory=list)  # id and outcome
    counted: list[str] = field(default_factory=list)
    hours: dict[Series, dict[int, Hour]] = field(default_factory=lambda: defaultdict(dict))
    cleans: dict[Series, int] = field(default_factory=dict)  # of open tickets

    def takes(self, record: Reading | AirAlert | None, now: int) -> None:
        """An event. A tick that finds nothing to do did not happen."""
        moment = max(now, self.now)
        if record is None and not any(self._ready(rule, series, moment) for rule, series in self._watched()):
            return
        self.now = moment
        for rule, series in self._watched():
            self._judge(rule, series)
        if isinstance(record, AirAlert):
            self._alarm(record)
        elif record is not None:
            self._reading(record)

    # ---- hours

    def _watched(self) -> Iterator[tuple[Rule, Series]]:
        for rule in self.rules.all:
            yield from ((rule, series) for series in sorted(self.hours) if series[0] == rule.kind)

    def _ready(self, rule: Rule, series: Series, now: int) -> list[int]:
        """The starts of periods about which something is to be said at `now`."""
        length = rule.period_s * 1000
        last = max((start for start, hour in self.hours.get(series, {}).items() if hour.judged), default=-1)
        return [
            start
            for start, hour in sorted(self.hours.get(series, {}).items())
            if start > last
            and hour.waits
            # Its end and the wait; or with the station's own mean the same of the period before.
            and now >= start + (0 if hour.of("own") else length) + int(rule.wait_s * 1000)
        ]

    def _judge(self, rule: Rule, series: Series) -> None:
        for start in self._ready(rule, series, self.now):
            hour = self.hours[series][start]
            mean = self._mean(rule, hour)
            if mean is None:
                hour.given_up = True
                continue
            hour.judged = True
            _, factor, device = series
            if mean > self._limit(rule, factor, device):
                self._step("updated" if series in self.cleans else "opened", series)
                self.cleans[series] = 0
            elif series in self.cleans:
                self.cleans[series] += 1
                if self.cleans[series] == rule.clear_after:
                    self._step("cleared", series)
                    del self.cleans[series]

    def _limit(self, rule: Rule, factor: str, device: str) -> Fraction:
        """The row of the device, where there is one, else the rule."""
        rows = [row[factor] for name, row in self.rules.limits.items() if name == device and factor in row]
        return Fraction(rows[0] if rows else rule.limit)

    def _mean(self, rule: Rule, hour: Hour) -> Fraction | None:
        for sort in ("own", "minute", "realtime"):
            values = hour.of(sort)
            if values and (sort == "own" or covered_ms(values) >= Fraction(rule.covered) * rule.period_s * 1000):
                return sum((each.number for each in values), Fraction()) / len(values)
            if values:
                return None
        return None

    # ---- readings

    def _reading(self, reading: Reading) -> None:
        asked = [(value, rule) for value in reading.values for rule in self.rules.all if rule.factor == value.factor]
        results = {self._value(reading, value, rule) for value, rule in asked if rule.factor}
        best_first = ("applied", "repeated", "late", "unused")
        self.counted.append(next((each for each in best_first if each in results), "unused"))

    def _value(self, reading: Reading, value: Value, rule: Rule) -> str:
        series = rule.kind, value.factor, reading.device
        heard = self._usable(reading, value, rule)
        if heard is None:
            return "unused"
        return self._hears(rule, series, heard)

    def _hears(self, rule: Rule, series: Series, heard: Heard) -> str:
        length = rule.period_s * 1000
        start = heard.start // length * length
        hours = self.hours[series]
        if any(other >= start and hour.judged for other, hour in hours.items()):
            return "late"
        if heard.sort != "own" and self.now >= start + length + int(rule.wait_s * 1000):
            return "late"
        hour = hours.setdefault(start, Hour())
        waited_for = [
            other
            for since, one in hours.items()
            if since == start or not (one.judged or self.now >= since + length + int(rule.wait_s * 1000))
            for other in one.heard
        ]
        if any((other.sort, other.name) == (heard.sort, heard.name) for other in waited_for):
            return "repeated"
        hour.heard.append(heard)
        self._judge(rule, series)
        return "applied"

    def _usable(self, reading: Reading, value: Value, rule: Rule) -> Heard | None:
        """What the value may say, None where it may say nothing."""
        if value.value is None or value.unit != "ug/m3" or value.mark not in ("", "N"):
            return None
        number, length, start = Fraction(value.value), reading.period_s, reading.occurred_at
        sent_late = reading.backfilled or reading.time_mark == "too_old"
        if value.statistic != ("Avg" if length else "Rtd"):
            return None
        if length == 0:
            # A time that was put in the device's place tells nothing of what was sent again: its message does.
            name = reading.event_at if reading.event_at == start else reading.id
            lasts = round(rule.realtime_s * 1000)
            return None if sent_late else Heard("realtime", reading.event_at, lasts, number, name)
        if start is None or reading.time_mark in ("too_new", "missing"):
            return None
        sort = "own" if length == rule.period_s else "minute"
        if length > rule.period_s or (sort == "own" and start % (rule.period_s * 1000)):
            return None
        clean = number <= self._limit(rule, value.factor, reading.device)
        may_clear = sort == "own" and clean and (rule.kind, value.factor, reading.device) in self.cleans
        return Heard(sort, start, length * 1000, number, start) if may_clear or not sent_late else None

    # ---- alarms

    def _alarm(self, alert: AirAlert) -> None:
        self.alerts.append((alert.id, self._outcome(alert)))

    def _outcome(self, alert: AirAlert) -> str:
        if alert.id in {name for name, _ in self.alerts}:
            return "repeated"
        rule = {rule.kind: rule for rule in self.rules.all if not rule.factor}.get(alert.kind)
        if rule is None:
            return "no_rule"
        series = rule.kind, "+".join(sorted({each.factor for each in alert.values})), alert.device
        if alert.signal == "ends":
            if series not in self.cleans:
                return "expired"
            del self.cleans[series]
            return self._step("cleared", series)
        if alert.time_mark == "too_old":
            return "late"
        what = "updated" if series in self.cleans else "opened"
        self.cleans[series] = 0
        return self._step(what, series)

    def _step(self, what: str, series: Series) -> str:
        self.steps.append(Step(what, *series, self.now))
        return what
