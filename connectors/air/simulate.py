"""Air stations and dust sites that send real HJ 212 bytes over real sockets: for a demo, for load, for a vendor's first look.

    python -m connectors.air.simulate --to 127.0.0.1:9212 --devices 40 --seed 1 --log sent.jsonl

Every station of the register has a connection of its own and speaks one generation of the standard. A message that wants an answer is
sent again, with the same bytes, until it is answered; one that cannot be answered is sent once. What a station does is a function of the
seed, its name and the message's number; what it measures depends on the clock as well.

The log has one JSON object per line. `sent` stands there before the bytes leave, `answered` once the answer was read. In it `n` numbers
the messages of a device from 1, a resend has the same `n` and a higher `attempt`, `raw` is in hexadecimal, and `values` are the texts
sent, under the factor's HJ 212-2017 code and statistic (`a34004-Rtd`; the factor's mark is `a34004-Flag`).
"""

import argparse
import asyncio
import json
import math
import re
import sys
import time
from collections import Counter, deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from pathlib import Path
from random import Random
from types import MappingProxyType
from typing import TextIO

from connectors.air.hj212 import crc16, frame
from hub.core.errors import Misconfigured
from hub.lang import Text, choose, say
from hub.registry import Device, SentUnit, load_devices
from hub.running import on_stop
from hub.settings import HostPort
from hub.shipped import shipped

BEIJING = timezone(timedelta(hours=8))
PASSWORD = "123456"  # noqa: S105 - what nearly every station in the field has; not a secret
PROGRESS_S = 10.0
BACK_OFF_S = (0.2, 2.0)
PIECE_GAP_S = 0.02
EXIT_DONE, EXIT_USAGE = 0, 2

Clock = Callable[[], datetime]


# ---------------------------------------------------------------------------------------------------------------------------------
# The air: what would be measured


@dataclass(frozen=True, slots=True)
class Course:
    """How a factor runs through a day: `base` in `unit`, the rest as shares of it at rush hours, on still nights, at noon."""

    base: float
    unit: str
    rush: float = 0.0
    night: float = 0.0
    noon: float = 0.0


COURSES = {
    "a34004": Course(46, "ug/m3", rush=0.35, night=0.45),
    "a34002": Course(92, "ug/m3", rush=0.45, night=0.40),
    "a34001": Course(165, "ug/m3", rush=0.50, night=0.20, noon=0.30),
    "a21026": Course(11, "ug/m3", rush=0.20, night=0.20),
    "a21004": Course(34, "ug/m3", rush=0.60, night=0.35, noon=-0.30),
    "a21005": Course(0.8, "mg/m3", rush=0.40, night=0.40),
    "a05024": Course(70, "ug/m3", rush=-0.20, night=-0.50, noon=0.90),
    "a01001": Course(15, "degC", night=-0.30, noon=0.50),
    "a01002": Course(55, "%", night=0.25, noon=-0.30),
    "a01006": Course(101.2, "kPa"),
    "a01007": Course(2.2, "m/s", night=-0.40, noon=0.30),
    "a01008": Course(160, "degree"),
    "LA": Course(58, "dB", rush=0.12, night=-0.15),
}
PARTICLES_AND_GASES = frozenset({"a34004", "a34002", "a34001", "a21026", "a21004", "a21005", "a05024"})
# How a unit relates to the first of its kind; units of different kinds are never converted into each other.
SIZES = {"ug/m3": 1.0, "mg/m3": 1e3, "ng/m3": 1e-3, "kPa": 1.0, "hPa": 0.1, "Pa": 1e-3}
DECIMALS = {"mg/m3": 4, "kPa": 2, "ng/m3": 0, "Pa": 0}

# What an event in a town multiplies its factors with at its height.
BURNING = {"a34004": 2.8, "a34002": 1.9, "a21005": 2.2}
DUST = {"a34001": 3.0, "a34002": 2.6, "a34004": 1.4}
EPISODE_EVERY_S, EPISODE_LASTS_S = 240.0, 150.0


@dataclass(frozen=True, slots=True)
class Episodes:
    """One town after the other has its straw burnt or its roads dusty; the first is the town with the most stations."""

    seed: int
    towns: tuple[str, ...]

    @classmethod
    def among(cls, seed: int, devices: Iterable[Device]) -> "Episodes":
        """Towns in falling order of their number of stations."""
        return cls(seed, tuple(town for town, _ in Counter(device.town for device in devices).most_common()))

    def gain(self, town: str, code: str, elapsed_s: float) -> float:
        """What the factor is multiplied with so many seconds after the start: 1 where nothing happens."""
        number, within_s = divmod(elapsed_s, EPISODE_EVERY_S)
        chance = Random(f"{self.seed}/episode/{number:.0f}")
        struck = self.towns[0] if number == 0 else chance.choice(self.towns)
        kind = chance.choice((BURNING, DUST))
        begins_s = chance.uniform(30, EPISODE_EVERY_S - EPISODE_LASTS_S)
        share = (within_s - begins_s) / EPISODE_LASTS_S
        if town != struck or not 0 < share < 1:
            return 1.0
        return 1 + (kind.get(code, 1.0) - 1) * math.sin(math.pi * share)


def typical(course: Course, at: datetime) -> float:
    """The level of a factor at this time of the day, in the course's unit."""
    hour = at.hour + at.minute / 60

    def near(peak: float, width: float) -> float:
        away = abs(hour - peak)
        return math.exp(-((min(away, 24 - away) / width) ** 2))

    shares = course.rush * max(near(8, 1.5), near(18.5, 2)) + course.night * near(2, 4) + course.noon * near(14, 3)
    return course.base * (1 + shares)


def as_sent(code: str, level: float, sent: SentUnit) -> str:
    """The text a device sends for a level (in the course's unit), whatever unit and wrong scale the register knows of it."""
    unit = COURSES[code].unit if code in COURSES else sent.unit
    converted = level * (SIZES[unit] / SIZES[sent.unit] if unit in SIZES and sent.unit in SIZES else 1.0)
    return f"{converted / float(sent.scale):.{DECIMALS.get(sent.unit, 1)}f}"


# ---------------------------------------------------------------------------------------------------------------------------------
# Messages


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """One message of a station, and what should become of it: `reading`, `alert`, `dead-letter`, `empty` or `nothing`."""

    header: tuple[tuple[str, str], ...] = ()
    body: str = ""
    expect: str
    n: int = 0
    trouble: str = ""
    data_time: str | None = None
    values: Mapping[str, str] = field(default_factory=lambda: MappingProxyType({}))
    encoding: str = "utf-8"
    spoilt: bytes | None = None  # the bytes sent, where they are not the segment's proper frame
    answerable: bool = True
    pieces: tuple[int, ...] = ()  # where the bytes are cut into several writes

    def get(self, name: str) -> str | None:
        """A header field."""
        return dict(self.header).get(name)

    def with_header(self, **fields: str | None) -> "Upload":
        """Other values for header fields; None takes a field away."""
        changed = ((name, fields.get(name, value)) for name, value in self.header)
        return replace(self, header=tuple((name, value) for name, value in changed if value is not None))

    @property
    def segment(self) -> bytes:
        head = "".join(f"{name}={value};" for name, value in self.header)
        return f"{head}CP=&&{self.body}&&".encode(self.encoding)

    @property
    def raw(self) -> bytes:
        return frame(self.segment) if self.spoilt is None else self.spoilt

    @property
    def wants_answer(self) -> bool:
        """Bit 0 of Flag is set, there is a QN to answer to, and the bytes can be read so far."""
        return self.answerable and bool(self.get("QN")) and bool(int(self.get("Flag") or 0) & 1)


@dataclass(frozen=True, slots=True)
class Generation:
    """What one edition of the standard makes of a message. `version` stands in the upper bits of Flag."""

    version: int
    marks: bool
    kinds: Mapping[str, int]  # how often which kind of message is sent


USUAL = {"realtime": 70, "minute": 12, "hour": 3, "day": 1, "heartbeat": 4, "clock_notice": 1}
HJT_212_2005 = Generation(0, marks=False, kinds=USUAL | {"alarm": 5})
HJ_212_2017 = Generation(1, marks=True, kinds=USUAL | {"split": 5})
HJ_212_2025 = Generation(2, marks=True, kinds=USUAL | {"split": 5, "backfill": 5})
# What boxes of 2005 call the factors.
MNEMONICS = {"a34004": "PM25", "a34002": "PM10", "a34001": "TSP", "a01001": "TEM", "a01002": "RH"}

# What a device measures of which the register names no factors.
UNREGISTERED = {code: SentUnit("ug/m3", Decimal(1)) for code in ("a34004", "a34002")}

PM10_ALARM = 150.0
UNUSUAL_MARKS = "FMDCTB"
UNUSUAL_MARK_SHARE = 0.004
PERIODS = {"minute": ("2051", 600), "hour": ("2061", 3600), "day": ("2031", 86400)}


def generation_of(device: Device) -> Generation:
    """14 digits are an MN of 2005; 24 hexadecimal digits came in 2017 and stayed; vendors' own names are met with 2017."""
    if re.fullmatch(r"\d{14}", device.mn):
        return HJT_212_2005
    if re.fullmatch(r"[0-9A-F]{24}", device.mn):
        return Random(device.mn).choice((HJ_212_2017, HJ_212_2025))
    return HJ_212_2017


def stamp(at: datetime) -> str:
    """YYYYMMDDhhmmss."""
    return f"{at:%Y%m%d%H%M%S}"


class Station:
    """What one station says, message by message: no sockets, no sleep. The same seed and clock give the same bytes."""

    def __init__(self, device: Device, seed: int, troubles: float, episodes: Episodes, clock: Clock) -> None:
        self.device = device
        self._seed = seed
        self._troubles = troubles
        self._episodes = episodes
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
            uploads: Iterable[Upload] = (self._message("9021", "", expect="empty", st="91"),)
        elif chance.random() < self._troubles:
            uploads = self._troubled(chance)
        else:
            kinds = self._generation.kinds
            kind = chance.choices(list(kinds), list(kinds.values()))[0]
            uploads = self._untroubled(kind, chance)
        numbered = tuple(replace(one, n=self._n + i) for i, one in enumerate(tuple(uploads)[:most], start=1))
        self._n += len(numbered)
        if any(len(one.get("QN") or "") == len(stamp(self._last_qn)) for one in numbered):
            self._last_qn = self._last_qn.replace(microsecond=999_000)  # a QN without milliseconds uses its second up
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

    def _untroubled(self, kind: str, chance: Random) -> Iterator[Upload]:
        at = self._clock()
        match kind:
            case "realtime":
                yield self._realtime(at, self._levels(at, chance), chance)
            case "split":
                levels = self._levels(at, chance)
                codes = list(levels)
                for pno, half in enumerate((codes[: len(codes) // 2], codes[len(codes) // 2 :]), start=1):
                    yield self._realtime(at, {code: levels[code] for code in half}, chance, part=(2, pno))
            case "backfill":
                then = at - timedelta(minutes=chance.randint(20, 300))
                yield self._realtime(then, self._levels(then, chance), chance, backfilled=True)
            case "heartbeat":
                yield self._message("9015", "", expect="empty", st="91")
            case "clock_notice":
                yield self._message("1013", "PolId=a01001", expect="empty", st="91")
            case "alarm":
                yield self._alarm(at, chance)
            case _:
                yield self._period(*PERIODS[kind], at, chance)

    def _levels(self, at: datetime, chance: Random) -> dict[str, float]:
        """What is measured now, by factor, in the courses' units. Particles and gases rise and fall together."""
        weather = self._bias * math.exp(chance.gauss(0, 0.06))
        elapsed_s = (at - self._started).total_seconds()
        levels: dict[str, float] = {}
        for code, sent in self._units.items():
            level = typical(COURSES.get(code, Course(10, sent.unit)), at)
            if code == "a01008":
                levels[code] = (level + chance.gauss(0, 25)) % 360
            elif code == "a01006":
                levels[code] = level + chance.gauss(0, 0.05)
            elif code in PARTICLES_AND_GASES:
                gain = self._episodes.gain(self.device.town, code, elapsed_s)
                levels[code] = level * weather * gain * math.exp(chance.gauss(0, 0.03))
            else:
                levels[code] = min(level * math.exp(chance.gauss(0, 0.02)), 98.0)
        return levels

    def _realtime(
        self,
        at: datetime,
        levels: Mapping[str, float],
        chance: Random,
        *,
        part: tuple[int, int] | None = None,
        backfilled: bool = False,
    ) -> Upload:
        fields = [(code, {"Rtd": as_sent(code, level, self._units[code])}) for code, level in levels.items()]
        return self._data("2011", stamp(at), fields, chance, part=part, backfilled=backfilled)

    def _period(self, cn: str, period_s: int, at: datetime, chance: Random) -> Upload:
        """Data of the last whole period; DataTime is its start (HJ 212-2017 clause 6)."""
        midnight = at.replace(hour=0, minute=0, second=0, microsecond=0)
        whole = (at - midnight) // timedelta(seconds=period_s)
        begins = midnight + (whole - 1) * timedelta(seconds=period_s)
        fields = []
        for code, level in self._levels(begins, chance).items():
            sent = self._units[code]
            low, high = chance.uniform(0.9, 0.97), chance.uniform(1.01, 1.02)
            shares = {"Avg": 1.0, "Min": low, "Max": high}
            fields.append((code, {name: as_sent(code, level * share, sent) for name, share in shares.items()}))
        return self._data(cn, stamp(begins), fields, chance)

    def _data(
        self,
        cn: str,
        data_time: str,
        fields: Sequence[tuple[str, dict[str, str]]],
        chance: Random,
        *,
        part: tuple[int, int] | None = None,
        backfilled: bool = False,
    ) -> Upload:
        items = [f"DataTime={data_time}"]
        values: dict[str, str] = {}
        for code, statistics in fields:
            marked = dict(statistics)
            if self._generation.marks:
                marked["Flag"] = chance.choice(UNUSUAL_MARKS) if chance.random() < UNUSUAL_MARK_SHARE else "N"
            items.append(",".join(f"{self._name(code)}-{name}={text}" for name, text in marked.items()))
            values |= {f"{code}-{name}": text for name, text in marked.items()}
        message = self._message(cn, ";".join(items), expect="reading", st=self._st, part=part, backfilled=backfilled)
        return replace(message, data_time=data_time, values=MappingProxyType(values))

    def _alarm(self, at: datetime, chance: Random) -> Upload:
        """CN 2072 of HJ/T 212-2005: the station's own conclusion about its PM10; AlarmType 1 over the limit, 0 under it."""
        levels = self._levels(at, chance)
        code = "a34002" if "a34002" in levels else next(iter(levels))
        text = as_sent(code, levels[code], self._units[code])
        alarm_type = "1" if levels[code] > PM10_ALARM else "0"
        body = f"AlarmTime={stamp(at)};{self._name(code)}-Ala={text},AlarmType={alarm_type}"
        message = self._message("2072", body, expect="alert", st=self._st)
        values = MappingProxyType({f"{code}-Ala": text, "AlarmType": alarm_type})
        return replace(message, data_time=stamp(at), values=values)

    def _message(
        self,
        cn: str,
        body: str,
        *,
        expect: str,
        st: str,
        part: tuple[int, int] | None = None,
        backfilled: bool = False,
    ) -> Upload:
        flag = self._generation.version << 2 | (2 if part else 0) | 1
        header = [
            ("QN", self._qn()),
            ("ST", st),
            ("CN", cn),
            ("PW", PASSWORD),
            ("MN", self.device.mn),
            ("Flag", str(flag)),
        ]
        if part:
            header += [("PNUM", str(part[0])), ("PNO", str(part[1]))]
        if backfilled:
            header.append(("RF", "1"))
        return Upload(header=tuple(header), body=body, expect=expect)

    def _qn(self) -> str:
        """The time in milliseconds, later than any before: it identifies the exchange."""
        now = self._clock()
        now = now.replace(microsecond=now.microsecond // 1000 * 1000)
        self._last_qn = max(now, self._last_qn + timedelta(milliseconds=1))
        return f"{stamp(self._last_qn)}{self._last_qn.microsecond // 1000:03d}"

    def _name(self, code: str) -> str:
        return MNEMONICS.get(code, code) if self._generation is HJT_212_2005 else code


# ---------------------------------------------------------------------------------------------------------------------------------
# What goes wrong in the field. A trouble befalls a realtime message (CN 2011) and says what should become of it.

Trouble = Callable[[Upload, Random], Upload]

REMARK = "Remark=//郑庵镇;断电恢复//"
PINGS = (b"\xfe\xfe", b"ping", b"+CSQ: 21,99\r\n", b"861234050012345", b"www.usr.cn\r\n")
MODBUS_RTU = (bytes.fromhex("010300000002c40b"), bytes.fromhex("0103040bb8006459e4"))
MISSING_VALUES = ("-99", "9999", "65535")


def _lost(upload: Upload, spoilt: bytes) -> Upload:
    """These bytes are kept as a dead letter, and nobody can be told so."""
    return replace(upload, spoilt=spoilt, expect="dead-letter", answerable=False)


def _ignored(noise: bytes) -> Upload:
    """Bytes that belong to no frame go on the wire in place of a message."""
    return Upload(expect="nothing", spoilt=noise, answerable=False)


def _framed(length: int | str, segment: bytes, crc: int | str) -> bytes:
    lead = f"##{length:04d}" if isinstance(length, int) else f"##{length}"
    tail = f"{crc:04X}" if isinstance(crc, int) else crc
    return lead.encode() + segment + tail.encode() + b"\r\n"


def _with_wrong_crc(upload: Upload, crc: int) -> Upload:
    segment = upload.segment
    # The wrong value may happen to be the right one: 1 in 256 do.
    return _lost(upload, _framed(len(segment), segment, crc if crc != crc16(segment) else crc ^ 0xFFFF))


def _with_length(upload: Upload, length: int | str) -> Upload:
    segment = upload.segment
    return _lost(upload, _framed(length, segment, crc16(segment)))


def lower_case_crc(upload: Upload, _: Random) -> Upload:
    segment = upload.segment
    return replace(upload, spoilt=_framed(len(segment), segment, f"{crc16(segment):04x}"))


def swapped_crc(upload: Upload, _: Random) -> Upload:
    crc = crc16(upload.segment)
    return _with_wrong_crc(upload, (crc & 0xFF) << 8 | crc >> 8)


def modbus_crc(upload: Upload, _: Random) -> Upload:
    register = 0xFFFF
    for byte in upload.segment:
        register ^= byte
        for _bit in range(8):
            register = register >> 1 ^ (0xA001 if register & 1 else 0)
    return _with_wrong_crc(upload, register)


def length_of_three_digits(upload: Upload, _: Random) -> Upload:
    return _with_length(upload, f"{len(upload.segment) % 1000:03d}")


def length_too_small(upload: Upload, _: Random) -> Upload:
    return _with_length(upload, len(upload.segment) - 2)


def length_counts_crc(upload: Upload, _: Random) -> Upload:
    return _with_length(upload, len(upload.segment) + 4)


def length_placeholder(upload: Upload, _: Random) -> Upload:
    """A round number well above the truth, so that the next frame's header lies inside what it claims."""
    return _with_length(upload, (len(upload.segment) // 100 + 2) * 100)


def broken_off(upload: Upload, chance: Random) -> Upload:
    whole = upload.raw
    return _lost(upload, whole[: chance.randint(len(whole) // 4, len(whole) // 2)])


def no_tail(upload: Upload, _: Random) -> Upload:
    return replace(upload, spoilt=upload.raw.removesuffix(b"\r\n"))


def cut_anywhere(upload: Upload, chance: Random) -> Upload:
    return replace(upload, pieces=tuple(sorted(chance.sample(range(1, len(upload.raw)), 3))))


def as_it_is(upload: Upload, _: Random) -> Upload:
    """Nothing wrong with the message itself: see Station._troubled."""
    return upload


def ping(_: Upload, chance: Random) -> Upload:
    return _ignored(chance.choice(PINGS))


def modbus_frame(_: Upload, chance: Random) -> Upload:
    return _ignored(chance.choice(MODBUS_RTU))


def hexadecimal_text(upload: Upload, _: Random) -> Upload:
    return _ignored(upload.raw.hex(" ").upper().encode() + b"\r\n")


def no_qn(upload: Upload, _: Random) -> Upload:
    return upload.with_header(QN=None)


def qn_of_14_digits(upload: Upload, _: Random) -> Upload:
    return upload.with_header(QN=(upload.get("QN") or "")[:14])


def qn_of_18_digits(upload: Upload, _: Random) -> Upload:
    return upload.with_header(QN=f"{upload.get('QN')}0")


def no_flag(upload: Upload, _: Random) -> Upload:
    return upload.with_header(Flag=None)


def empty_pw(upload: Upload, _: Random) -> Upload:
    return upload.with_header(PW="")


def empty_mn(upload: Upload, _: Random) -> Upload:
    return replace(upload.with_header(MN=""), expect="dead-letter", answerable=False)


def foreign_mn(upload: Upload, chance: Random) -> Upload:
    return replace(upload.with_header(MN=f"FFFF{chance.getrandbits(80):020X}"), expect="dead-letter")


def data_time_of_17_digits(upload: Upload, _: Random) -> Upload:
    return replace(upload, body=upload.body.replace(f"DataTime={upload.data_time}", f"DataTime={upload.data_time}000"))


def parts_unnamed(upload: Upload, _: Random) -> Upload:
    """Flag says there is PNUM and PNO; there is not."""
    return upload.with_header(Flag=str(int(upload.get("Flag") or 0) | 2))


def pno_before_pnum(upload: Upload, _: Random) -> Upload:
    split = parts_unnamed(upload, _)
    return replace(split, header=(*split.header, ("PNO", "1"), ("PNUM", "1")))


def _first_renamed(upload: Upload, statistic: str) -> Upload:
    first, *others = upload.values
    renamed = {f"{first.removesuffix('-Rtd')}-{statistic}": upload.values[first]} | {
        name: upload.values[name] for name in others
    }
    body = upload.body.replace("-Rtd=", f"-{statistic}=", 1)
    return replace(upload, body=body, values=MappingProxyType(renamed))


def statistic_misspelt(upload: Upload, _: Random) -> Upload:
    return _first_renamed(upload, "td")


def statistic_doubled(upload: Upload, _: Random) -> Upload:
    return _first_renamed(upload, "Rtd-Rtd")


def factor_many_times(upload: Upload, _: Random) -> Upload:
    first = upload.body.split(";")[1]
    return replace(upload, body=f"{upload.body};{first};{first}")


def lone_flag(upload: Upload, _: Random) -> Upload:
    return replace(upload, body=f"{upload.body};Flag=N")


def trailing_semicolon(upload: Upload, _: Random) -> Upload:
    return replace(upload, body=f"{upload.body};")


def commas_only(upload: Upload, _: Random) -> Upload:
    return replace(upload, body=upload.body.replace(";", ","))


def space_before_semicolon(upload: Upload, _: Random) -> Upload:
    return replace(upload.with_header(ST=f"{upload.get('ST')} "), body=upload.body.replace(";", " ;"))


def oversize(upload: Upload, chance: Random) -> Upload:
    """A segment of 1025 or 1623 bytes, both met in the field; 1024 are allowed."""
    padded = replace(upload, body=f"{upload.body};Remark=")
    missing = chance.choice((1025, 1623)) - len(padded.segment)
    return replace(padded, body=padded.body + "-" * missing)


def _at_time(upload: Upload, then: datetime) -> Upload:
    body = upload.body.replace(f"DataTime={upload.data_time}", f"DataTime={stamp(then)}")
    return replace(upload, body=body, data_time=stamp(then))


def clock_of_1970(upload: Upload, chance: Random) -> Upload:
    return _at_time(upload, datetime(1970, 1, 1, 8, tzinfo=BEIJING) + timedelta(seconds=chance.randrange(86400)))


def clock_of_2000(upload: Upload, chance: Random) -> Upload:
    return _at_time(upload, datetime(2000, 1, 1, tzinfo=BEIJING) + timedelta(seconds=chance.randrange(86400)))


def clock_a_day_off(upload: Upload, chance: Random) -> Upload:
    right = datetime.strptime(upload.data_time or "", "%Y%m%d%H%M%S").replace(tzinfo=BEIJING)
    return _at_time(upload, right + chance.choice((-1, 1)) * timedelta(days=1))


def missing_value(upload: Upload, chance: Random) -> Upload:
    text = chance.choice(MISSING_VALUES)
    first = next(iter(upload.values))
    body = re.sub(r"-Rtd=[^,;]*", f"-Rtd={text}", upload.body, count=1)
    return replace(upload, body=body, values=MappingProxyType({**upload.values, first: text}))


def text_in_utf8(upload: Upload, _: Random) -> Upload:
    return replace(upload, body=f"{upload.body};{REMARK}")


def text_in_gbk(upload: Upload, _: Random) -> Upload:
    return replace(upload, body=f"{upload.body};{REMARK}", encoding="gbk")


def unknown_factors(upload: Upload, _: Random) -> Upload:
    body = f"DataTime={upload.data_time};zz9901-Rtd=1.0;zz9902-Rtd=2.0"
    return replace(upload, body=body, values=MappingProxyType({}), expect="empty")


def unfinished_body(upload: Upload, _: Random) -> Upload:
    segment = upload.segment.removesuffix(b"&&")
    return replace(upload, spoilt=frame(segment), expect="dead-letter")


def encrypted(upload: Upload, chance: Random) -> Upload:
    """The body as HJ 212-2025 sends SM4 groups: CRC of the plain segment, LEN of the plain or of the sent one; the content is chance."""
    plain = upload.segment
    body = upload.body.encode(upload.encoding)
    groups, rest = divmod(len(body), 16)
    cipher = ",".join(f"0x{byte:02X}" for byte in chance.randbytes(groups * 16))
    sent = plain[: -len(body) - 2] + f"{{{cipher}}}".encode() + body[len(body) - rest :] + b"&&"
    length = chance.choice((len(plain), min(len(sent), 9999)))
    return replace(upload, spoilt=_framed(length, sent, crc16(plain)), expect="dead-letter")


TROUBLES: Mapping[str, Trouble] = {
    "lower_case_crc": lower_case_crc,
    "swapped_crc": swapped_crc,
    "modbus_crc": modbus_crc,
    "length_of_three_digits": length_of_three_digits,
    "length_too_small": length_too_small,
    "length_counts_crc": length_counts_crc,
    "length_placeholder": length_placeholder,
    "broken_off": broken_off,
    "no_tail": no_tail,
    "cut_anywhere": cut_anywhere,
    "two_in_one_go": as_it_is,
    "three_in_one_go": as_it_is,
    "ping": ping,
    "modbus_frame": modbus_frame,
    "hexadecimal_text": hexadecimal_text,
    "no_qn": no_qn,
    "qn_of_14_digits": qn_of_14_digits,
    "qn_of_18_digits": qn_of_18_digits,
    "no_flag": no_flag,
    "empty_pw": empty_pw,
    "empty_mn": empty_mn,
    "foreign_mn": foreign_mn,
    "data_time_of_17_digits": data_time_of_17_digits,
    "parts_unnamed": parts_unnamed,
    "pno_before_pnum": pno_before_pnum,
    "statistic_misspelt": statistic_misspelt,
    "statistic_doubled": statistic_doubled,
    "factor_many_times": factor_many_times,
    "lone_flag": lone_flag,
    "trailing_semicolon": trailing_semicolon,
    "commas_only": commas_only,
    "space_before_semicolon": space_before_semicolon,
    "oversize": oversize,
    "clock_of_1970": clock_of_1970,
    "clock_of_2000": clock_of_2000,
    "clock_a_day_off": clock_a_day_off,
    "stuck_values": as_it_is,
    "missing_value": missing_value,
    "text_in_utf8": text_in_utf8,
    "text_in_gbk": text_in_gbk,
    "unknown_factors": unknown_factors,
    "unfinished_body": unfinished_body,
    "encrypted": encrypted,
}
GLUED = {"two_in_one_go": 1, "three_in_one_go": 2}
ONLY_2025 = frozenset({"encrypted"})


# ---------------------------------------------------------------------------------------------------------------------------------
# The wire


@dataclass(slots=True)
class Tally:
    """What the progress line says."""

    connected: int = 0
    sent: int = 0
    answered: int = 0
    waiting: int = 0
    refusal_told: bool = False


class Log:
    """The senders' side of the story; every line reaches the operating system at once."""

    def __init__(self, file: TextIO | None) -> None:
        self._file = file

    def write(self, what: str, device: Device, **more: object) -> None:
        if self._file:
            line = {"what": what, "at": time.time_ns() // 1_000_000, "device": device.id} | more
            self._file.write(json.dumps(line, ensure_ascii=False) + "\n")
            self._file.flush()


@dataclass(frozen=True, slots=True, kw_only=True)
class Manners:
    """How patient and how forgetful every station is; times in seconds."""

    interval_s: float = 5.0
    timeout_s: float = 10.0
    resends: int = 3
    repeat: float = 0.0


class Line:
    """A station's connection: it comes back after every loss, and a message that wants an answer is never given up."""

    def __init__(self, station: Station, to: HostPort, manners: Manners, log: Log, tally: Tally) -> None:
        self._station = station
        self._to = to
        self._manners = manners
        self._log = log
        self._tally = tally
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None
        self._pause_s = 0.0  # before the next connection; grows until an answer is heard
        self._attempts: Counter[int] = Counter()
        # Attempts on this connection that have no answer yet, by QN: answers come in the order of what they answer.
        self._open: dict[str, deque[tuple[int, int]]] = {}

    async def run(self, messages: int | None, chance: Random) -> None:
        """Sends so many messages and returns when each that wants an answer has it; without a number, until cancelled."""
        left = messages
        try:
            await asyncio.sleep(chance.uniform(0, self._manners.interval_s))
            while left is None or left > 0:
                uploads = self._station.next(left)
                await self._deliver(uploads)
                again = tuple(one for one in uploads if one.wants_answer and chance.random() < self._manners.repeat)
                if again:
                    await self._deliver(again)
                self._attempts.clear()
                left = None if left is None else left - len(uploads)
                await asyncio.sleep(self._manners.interval_s if left != 0 else 0)
        finally:
            self._hang_up()

    async def _deliver(self, uploads: Sequence[Upload]) -> None:
        waiting = {one.n: one for one in uploads}
        while waiting:
            reader, writer = self._streams or await self._connect()
            try:
                for _ in range(1 + self._manners.resends):
                    sending = tuple(waiting.values())
                    waiting = {one.n: one for one in sending if one.wants_answer}  # the others are sent once
                    self._tally.waiting += len(waiting)
                    try:
                        await self._send(writer, sending)
                        await self._hear(reader, waiting)
                    finally:
                        self._tally.waiting -= len(waiting)
                    if not waiting:
                        return
            except (OSError, EOFError, asyncio.LimitOverrunError):
                pass  # the connection is lost; what has no answer goes again over the next
            self._hang_up()

    async def _send(self, writer: asyncio.StreamWriter, uploads: Sequence[Upload]) -> None:
        for one in uploads:
            self._attempts[one.n] += 1
            attempt = self._attempts[one.n]
            self._log_sent(one, attempt)
            self._tally.sent += 1
            if one.wants_answer:
                self._open.setdefault(one.get("QN") or "", deque()).append((one.n, attempt))
        pieces = uploads[0].pieces if len(uploads) == 1 else ()
        whole = b"".join(one.raw for one in uploads)
        for begin, end in zip((0, *pieces), (*pieces, len(whole)), strict=True):
            if begin:
                await asyncio.sleep(PIECE_GAP_S)  # so that the pieces travel by themselves
            writer.write(whole[begin:end])
            await writer.drain()

    async def _hear(self, reader: asyncio.StreamReader, waiting: dict[int, Upload]) -> None:
        """Takes answers until none is waited for or the time is over."""
        try:
            async with asyncio.timeout(self._manners.timeout_s):
                while waiting:
                    answer = dict(re.findall(rb"(QN|CN)=([^;]*)", await reader.readuntil(b"\r\n")))
                    qn, cn = (answer.get(name, b"").decode("latin-1").strip() for name in (b"QN", b"CN"))
                    attempts = self._open.get(qn)
                    if not attempts:
                        continue  # not an answer to anything asked on this connection
                    n, attempt = attempts.popleft()
                    if not attempts:
                        del self._open[qn]
                    self._pause_s = BACK_OFF_S[0]
                    self._log.write("answered", self._station.device, n=n, attempt=attempt, answer=cn, qn=qn)
                    if waiting.pop(n, None):
                        self._tally.answered += 1
                        self._tally.waiting -= 1
        except TimeoutError:
            pass  # the caller sends again

    async def _connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        shortest_s, longest_s = BACK_OFF_S
        while True:
            await asyncio.sleep(self._pause_s)
            self._pause_s = min(max(2 * self._pause_s, shortest_s), longest_s)
            try:
                async with asyncio.timeout(self._manners.timeout_s):
                    self._streams = await asyncio.open_connection(self._to.host, self._to.port)
            except OSError as error:
                if not self._tally.refusal_told:
                    self._tally.refusal_told = True
                    why = error.strerror or type(error).__name__
                    say(f"{self._to} cannot be reached ({why}); trying on", f"无法连接 {self._to}（{why}），继续重试")
                continue
            self._tally.connected += 1
            self._tally.refusal_told = False
            self._log.write("connected", self._station.device)
            return self._streams

    def _hang_up(self) -> None:
        if self._streams:
            self._streams[1].close()
            self._streams = None
            self._open.clear()
            self._tally.connected -= 1
            self._log.write("closed", self._station.device)

    def _log_sent(self, upload: Upload, attempt: int) -> None:
        mn, pno = upload.get("MN"), upload.get("PNO")
        self._log.write(
            "sent",
            self._station.device,
            mn=self._station.device.mn if mn is None else mn,
            town=self._station.device.town,
            n=upload.n,
            attempt=attempt,
            raw=upload.raw.hex(),
            expect=upload.expect,
            trouble=upload.trouble,
            cn=upload.get("CN") or "",
            qn=upload.get("QN"),
            pno=int(pno) if pno else None,
            data_time=upload.data_time,
            values=dict(upload.values),
        )


def beijing_now() -> datetime:
    return datetime.now(BEIJING)


async def simulate(
    devices: Sequence[Device],
    to: HostPort,
    *,
    seed: int,
    troubles: float,
    messages: int | None,
    manners: Manners,
    log: Log,
    clock: Clock = beijing_now,
) -> Tally:
    """Runs every station until `messages` are done between them; without a number, until cancelled."""
    tally = Tally()
    episodes = Episodes.among(seed, devices)
    async with asyncio.TaskGroup() as stations:
        progress = stations.create_task(_tell(tally, len(devices)))
        lines = [
            stations.create_task(
                Line(Station(device, seed, troubles, episodes, clock), to, manners, log, tally).run(
                    None if messages is None else (messages + i) // len(devices),
                    Random(f"{seed}/{device.id}/line"),
                )
            )
            for i, device in enumerate(devices)
        ]
        await asyncio.wait(lines)
        progress.cancel()
    return tally


async def _tell(tally: Tally, stations: int) -> None:
    while True:
        await asyncio.sleep(PROGRESS_S)
        say(
            f"stations: {tally.connected} of {stations} connected, {tally.sent} sent, {tally.answered} answered, "
            f"{tally.waiting} waiting",
            f"站点：{stations} 个中 {tally.connected} 个已连接，已发送 {tally.sent} 条，已应答 {tally.answered} 条，"
            f"等待应答 {tally.waiting} 条",
        )


# ---------------------------------------------------------------------------------------------------------------------------------
# The command


def _address(text: str) -> HostPort:
    return HostPort.model_validate(HostPort.parse(text))


def _share(text: str) -> float:
    share = float(text)
    if not 0 <= share <= 1:
        raise ValueError(text)
    return share


def _parser() -> argparse.ArgumentParser:
    def told(en: str, zh: str) -> str:
        return str(Text(en, zh))

    parser = argparse.ArgumentParser(
        prog="python -m connectors.air.simulate",
        description=told("Simulated stations that speak HJ 212.", "模拟站点，按 HJ 212 协议发送数据。"),
    )
    add = parser.add_argument
    add(
        "--to",
        type=_address,
        default=_address("127.0.0.1:9212"),
        help=told("HOST:PORT to send to", "目标地址 HOST:PORT"),
    )
    add("--devices", type=int, help=told("how many of the register's stations", "使用登记表中的站点数量"))
    add("--registry", type=Path, help=told("another devices.csv", "另一份 devices.csv"))
    add("--seed", type=int, default=1, help=told("the same seed, the same content", "相同的种子产生相同的内容"))
    add("--log", type=Path, help=told("JSON lines of what was sent and answered", "收发记录（JSON 行）"))
    add("--messages", type=int, help=told("end after so many in all", "总共发送多少条后结束"))
    add(
        "--interval", type=float, default=5, help=told("seconds between a station's messages", "站点两条报文的间隔秒数")
    )
    add("--troubles", type=_share, default=0.05, help=told("share of faulty messages, 0 to 1", "异常报文比例，0 到 1"))
    add("--timeout", type=float, default=10, help=told("seconds to wait for an answer", "等待应答的秒数"))
    add("--resends", type=int, default=3, help=told("resends before reconnecting", "重连前的重发次数"))
    add("--repeat", type=_share, default=0, help=told("share sent again though answered", "已应答仍重复发送的比例"))
    add("--lang", choices=("zh", "en"), help=told("language of messages", "提示语言"))
    return parser


async def _run(options: argparse.Namespace, devices: Sequence[Device], log: Log) -> None:
    manners = Manners(
        interval_s=options.interval, timeout_s=options.timeout, resends=options.resends, repeat=options.repeat
    )
    work = asyncio.ensure_future(
        simulate(
            devices,
            options.to,
            seed=options.seed,
            troubles=options.troubles,
            messages=options.messages,
            manners=manners,
            log=log,
        )
    )
    loop = asyncio.get_running_loop()
    on_stop(lambda: loop.call_soon_threadsafe(work.cancel))
    try:
        tally = await work
    except asyncio.CancelledError:
        return  # a signal: every station has hung up
    say(f"{tally.sent} sent, {tally.answered} answered", f"已发送 {tally.sent} 条，已应答 {tally.answered} 条")


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    choose()
    options = _parser().parse_args(arguments)
    choose(options.lang)
    try:
        devices = list(load_devices(options.registry or shipped("deploy/town") / "devices.csv", "air").values())
    except Misconfigured as error:
        say(str(error), str(error))
        return EXIT_USAGE
    wanted = len(devices) if options.devices is None else options.devices
    if not 0 < wanted <= len(devices):
        say(
            f"--devices: 1 to {len(devices)} stations are registered",
            f"--devices：登记表中有 1 到 {len(devices)} 个站点",
        )
        return EXIT_USAGE
    if options.log is None:
        asyncio.run(_run(options, devices[:wanted], Log(None)))
    else:
        with options.log.open("w", encoding="utf-8") as file:
            asyncio.run(_run(options, devices[:wanted], Log(file)))
    return EXIT_DONE


if __name__ == "__main__":
    sys.exit(main())
