"""The air: what would be measured, and the text in which a device says it."""

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from random import Random

from hub.registry import Device, SentUnit


@dataclass(frozen=True, slots=True)
class Course:
    """How a factor runs through a day: `base` in `unit`, the rest as shares of it at rush hours, on still nights, at noon."""

    base: float
    unit: str
    rush: float = 0.0
    night: float = 0.0
    noon: float = 0.0


PRESSURE, WIND_DIRECTION = "a01006", "a01008"
COURSES = {
    "a34004": Course(46, "ug/m3", rush=0.35, night=0.45),  # PM2.5
    "a34002": Course(92, "ug/m3", rush=0.45, night=0.40),  # PM10
    "a34001": Course(165, "ug/m3", rush=0.50, night=0.20, noon=0.30),  # total suspended particles
    "a21026": Course(11, "ug/m3", rush=0.20, night=0.20),  # sulfur dioxide
    "a21004": Course(34, "ug/m3", rush=0.60, night=0.35, noon=-0.30),  # nitrogen dioxide
    "a21005": Course(0.8, "mg/m3", rush=0.40, night=0.40),  # carbon monoxide
    "a05024": Course(70, "ug/m3", rush=-0.20, night=-0.50, noon=0.90),  # ozone
    "a01001": Course(15, "degC", night=-0.30, noon=0.50),  # temperature
    "a01002": Course(55, "%", night=0.25, noon=-0.30),  # relative humidity
    PRESSURE: Course(101.2, "kPa"),
    "a01007": Course(2.2, "m/s", night=-0.40, noon=0.30),  # wind speed
    WIND_DIRECTION: Course(160, "degree"),
    "LA": Course(58, "dB", rush=0.12, night=-0.15),  # sound level
}
PARTICLES_AND_GASES = frozenset({"a34004", "a34002", "a34001", "a21026", "a21004", "a21005", "a05024"})

# How a unit relates to the first of its kind. Written a second time, since a mistake shared with the hub would cancel itself out.
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
