"""What one station says, message by message: no sockets, no sleep."""

import math
import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from decimal import Decimal
from random import Random

from connectors.air.simulate.troubles import GLUED, ONLY_2025, TROUBLES
from connectors.air.simulate.upload import ANSWER, BEIJING, Upload, stamp
from connectors.air.simulate.weather import (
    COURSES,
    PARTICLES_AND_GASES,
    PRESSURE,
    WIND_DIRECTION,
    Course,
    Weather,
    as_sent,
    typical,
)
from hub.core.registry import Device, SentUnit

Clock = Callable[[], datetime]

PASSWORD = "123456"  # noqa: S105 - what nearly every station in the field has; not a secret


@dataclass(frozen=True, slots=True)
class Generation:
    """What one edition of the standard makes of a message. `version` stands in the upper bits of Flag."""

    version: int
    kinds: Mapping[str, int]  # how often which kind of message is sent
    marks: bool = True
    names: Mapping[str, str] = field(default_factory=dict)  # of factors, where they are not the codes of 2017


USUAL = {"realtime": 70, "minute": 12, "hour": 3, "day": 1, "heartbeat": 4, "clock_notice": 1}
MNEMONICS = {"a34004": "PM25", "a34002": "PM10", "a34001": "TSP", "a01001": "TEM", "a01002": "RH"}
HJT_212_2005 = Generation(0, USUAL | {"alarm": 5}, marks=False, names=MNEMONICS)
HJ_212_2017 = Generation(1, USUAL | {"split": 5})
HJ_212_2025 = Generation(2, USUAL | {"split": 5, "backfill": 5})

# What a device measures of which the register names no factors.
UNREGISTERED = {code: SentUnit("ug/m3", Decimal(1)) for code in ("a34004", "a34002")}

PM10_ALARM_UG_M3 = 150.0
UNUSUAL_MARKS = "FMDCTB"
UNUSUAL_MARK_SHARE = 0.004
PERIODS = {
    "minute": ("2051", timedelta(minutes=10)),
    "hour": ("2061", timedelta(hours=1)),
    "day": ("2031", timedelta(days=1)),
}


def generation_of(device: Device) -> Generation:
    """14 digits are an MN of 2005; 24 hexadecimal digits came in 2017 and stayed; vendors' own names are met with 2017."""
    if re.fullmatch(r"\d{14}", device.mn):
        return HJT_212_2005
    if re.fullmatch(r"[0-9A-F]{24}", device.mn):
        return Random(device.mn).choice((HJ_212_2017, HJ_212_2025))
    return HJ_212_2017


class Station:
    """One device of the register. The same seed and clock give the same bytes."""

    def __init__(self, device: Device, seed: int, troubles: float, weather: Weather, clock: Clock) -> None:
        """`troubles` is the share of faulty messages, 0 to 1; `clock` gives Beijing time."""
        self.device = device
        self._seed = seed
        self._troubles = troubles
        self._weather = weather
        self._clock = clock
        self._started = clock()
        self._generation = generation_of(device)
        self._units = device.units or UNREGISTERED
        self._st = "39" if "a34001" in device.units else "22"
        self._bias = math.exp(self._chance("bias").gauss(0, 0.12))
        self._last_qn = datetime.min.replace(tzinfo=BEIJING)
        self._n = 0

    def next(self, most: int | None = None) -> tuple[Upload, ...]:
        """The next messages, at least one and not more than `most`, which are sent in one go."""
        chance = self._chance(str(self._n + 1))
        if self._n == 0 and self._generation is HJ_212_2017:
            uploads: Iterable[Upload] = (self._message("9021"),)
        elif chance.random() < self._troubles:
            uploads = self._troubled(chance)
        else:
            kinds = self._generation.kinds
            kind = chance.choices(list(kinds), list(kinds.values()))[0]
            uploads = self._untroubled(kind, chance)
        numbered = tuple(replace(one, n=self._n + i) for i, one in enumerate(tuple(uploads)[:most], start=1))
        self._n += len(numbered)
        return numbered

    def _chance(self, what: str) -> Random:
        return Random(f"{self._seed}/{self.device.id}/{what}")

    def _troubled(self, chance: Random) -> Iterator[Upload]:
        names = [name for name in TROUBLES if name not in ONLY_2025 or self._generation is HJ_212_2025]
        name = chance.choice(names)
        at = self._clock()
        stuck = name == "stuck_values"
        levels = self._levels(self._started, self._chance("stuck")) if stuck else self._levels(at, chance)
        yield replace(TROUBLES[name](self._realtime(at, levels, chance), chance), trouble=name)
        for _ in range(GLUED.get(name, 0)):
            yield replace(self._realtime(at, self._levels(at, chance), chance), trouble=name)
        if name == "qn_of_14_digits":
            self._last_qn = self._last_qn.replace(
                microsecond=999_000
            )  # no other QN of this second: it would be the same

    def _untroubled(self, kind: str, chance: Random) -> Iterator[Upload]:
        at = self._clock()
        match kind:
            case "realtime":
                yield self._realtime(at, self._levels(at, chance), chance)
            case "split":
                levels = list(self._levels(at, chance).items())
                half = len(levels) // 2
                for pno, part in enumerate((levels[:half], levels[half:]), start=1):
                    yield self._realtime(at, dict(part), chance).as_part(PNUM="2", PNO=str(pno))
            case "backfill":
                then = at - timedelta(minutes=chance.randint(20, 300))
                yield self._realtime(then, self._levels(then, chance), chance).with_header(RF="1")
            case "heartbeat":
                yield self._message("9015")
            case "clock_notice":
                yield self._message("1013", "PolId=a01001")
            case "alarm":
                yield self._alarm(at, chance)
            case _:
                yield self._period(*PERIODS[kind], at, chance)

    def _levels(self, at: datetime, chance: Random) -> dict[str, float]:
        """What is measured at a time, by factor, in the courses' units. Particles and gases rise and fall together."""
        together = self._bias * math.exp(chance.gauss(0, 0.06))
        elapsed_s = (at - self._started).total_seconds()
        levels: dict[str, float] = {}
        for code, sent in self._units.items():
            level = typical(COURSES.get(code, Course(10, sent.unit)), at)
            if code == WIND_DIRECTION:
                levels[code] = (level + chance.gauss(0, 25)) % 360
            elif code == PRESSURE:
                levels[code] = level + chance.gauss(0, 0.05)
            elif code in PARTICLES_AND_GASES:
                usual = level * together * math.exp(chance.gauss(0, 0.03))
                levels[code] = self._weather.level(self.device.town, code, usual, at, elapsed_s)
            else:
                levels[code] = min(level * math.exp(chance.gauss(0, 0.02)), 98.0)
        return levels

    def _realtime(self, at: datetime, levels: Mapping[str, float], chance: Random) -> Upload:
        fields = [(code, {"Rtd": as_sent(code, level, self._units[code])}) for code, level in levels.items()]
        return self._data("2011", at, fields, chance)

    def _period(self, cn: str, period: timedelta, at: datetime, chance: Random) -> Upload:
        """Data of the last whole period; DataTime is its start (HJ 212-2017 clause 6)."""
        midnight = at.replace(hour=0, minute=0, second=0, microsecond=0)
        begins = midnight + ((at - midnight) // period - 1) * period
        fields = []
        for code, level in self._levels(begins, chance).items():
            shares = {"Avg": 1.0, "Min": chance.uniform(0.9, 0.97), "Max": chance.uniform(1.01, 1.02)}
            texts = {name: as_sent(code, level * share, self._units[code]) for name, share in shares.items()}
            fields.append((code, texts))
        return self._data(cn, begins, fields, chance)

    def _data(
        self, cn: str, data_time: datetime, fields: Sequence[tuple[str, Mapping[str, str]]], chance: Random
    ) -> Upload:
        items = [f"DataTime={stamp(data_time)}"]
        values: dict[str, str] = {}
        for code, statistics in fields:
            marked = dict(statistics)
            if self._generation.marks:
                marked["Flag"] = chance.choice(UNUSUAL_MARKS) if chance.random() < UNUSUAL_MARK_SHARE else "N"
            items.append(",".join(f"{self._name(code)}-{name}={text}" for name, text in marked.items()))
            values |= {f"{code}-{name}": text for name, text in marked.items()}
        message = self._message(cn, ";".join(items), expect="reading", st=self._st)
        return replace(message, data_time=stamp(data_time), values=values)

    def _alarm(self, at: datetime, chance: Random) -> Upload:
        """CN 2072 of HJ/T 212-2005: the station's own conclusion about its PM10; AlarmType 1 over the limit, 0 under it."""
        levels = self._levels(at, chance)
        code = "a34002" if "a34002" in levels else next(iter(levels))
        text = as_sent(code, levels[code], self._units[code])
        alarm_type = "1" if levels[code] > PM10_ALARM_UG_M3 else "0"
        body = f"AlarmTime={stamp(at)};{self._name(code)}-Ala={text},AlarmType={alarm_type}"
        message = self._message("2072", body, expect="alert", st=self._st)
        return replace(message, data_time=stamp(at), values={f"{code}-Ala": text, "AlarmType": alarm_type})

    def _message(self, cn: str, body: str = "", *, expect: str = "empty", st: str = "91") -> Upload:
        """ST 91, the exchange between the two ends itself, unless it is about what a station measures."""
        header = {
            "QN": self._qn(),
            "ST": st,
            "CN": cn,
            "PW": PASSWORD,
            "MN": self.device.mn,
            "Flag": str(self._generation.version << 2 | ANSWER),
        }
        return Upload(header=header, body=body, expect=expect)

    def _qn(self) -> str:
        """The time in milliseconds, later than any before: it identifies the exchange."""
        now = self._clock()
        now = now.replace(microsecond=now.microsecond // 1000 * 1000)
        self._last_qn = max(now, self._last_qn + timedelta(milliseconds=1))
        return f"{stamp(self._last_qn)}{self._last_qn.microsecond // 1000:03d}"

    def _name(self, code: str) -> str:
        return self._generation.names.get(code, code)
