"""The air: what would be measured, and the text in which a device says it."""

import math
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from random import Random
from typing import Protocol

from hub.core.registry import Device, SentUnit


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

# What the mean of a period must not be above (ug/m3: the 24 h means of GB 3095-2012, grade 2, and the hub's rules for dust).
LIMITS = {"a34002": 150.0, "a34004": 75.0}
DUSTY, SMOKY = frozenset({"a34002"}), frozenset(LIMITS)
# Shares of the limit: usual, and in every fourth second. Single values lie on the other side, so that only a mean tells.
OVER, CLEAN = (2.2, 0.8), (0.35, 1.2)
# In so many periods each town has one episode, and so many clean ones after it.
ROUND, CLEAN_AFTER = 12, 3
EPISODE_PERIODS = (2, 4)


class Weather(Protocol):
    """What an event makes of a factor's usual level at a time, so many seconds after the start."""

    def level(self, town: str, code: str, usual: float, at: datetime, elapsed_s: float) -> float: ...


@dataclass(frozen=True, slots=True)
class WholePeriods:
    """Episodes for a rule whose mean covers `period_s`: some whole periods of a town are over the limit, the rest clearly under it.

    Periods are those of the rule, multiples of `period_s` since 1970 UTC, and `first` is the number of the first whole one. Each town has
    its own course, a round of 12 periods after the other: an episode of 2 to 4 periods, dusty (PM10) or smoky (PM2.5 and PM10), and at
    least 3 clean ones behind it. The first town is over from the start until two whole periods have passed; every other begins with at
    least 3 clean periods. After one episode in four the first clean period lies exactly at the limit, which is not over it. No other mean
    is near a limit, whichever quarter of the period's seconds is missing.
    """

    seed: int
    towns: tuple[str, ...]
    period_s: int
    first: int

    @classmethod
    def among(cls, seed: int, devices: Iterable[Device], period_s: int, start: datetime) -> "WholePeriods":
        """Towns in falling order of their number of stations."""
        return cls(seed, _by_stations(devices), period_s, -int(-start.timestamp() // period_s))

    def level(self, town: str, code: str, usual: float, at: datetime, elapsed_s: float) -> float:
        """`usual` for factors without a limit, and for times before the start."""
        del elapsed_s
        limit = LIMITS.get(code)
        period = int(at.timestamp() // self.period_s) - self.first
        if limit is None or period < -1:
            return usual
        is_over, at_limit = self._course(town, code, max(period, 0))
        if at_limit:
            return limit
        # The small part of `usual` keeps stations and messages apart.
        often, seldom = OVER if is_over else CLEAN
        return limit * (seldom if int(at.timestamp()) % 4 == 0 else often) + usual / COURSES[code].base

    def _course(self, town: str, code: str, period: int) -> tuple[bool, bool]:
        """Whether the period is over, and whether it is to lie at the limit."""
        number, within = divmod(period, ROUND)
        chance = Random(f"{self.seed}/{town}/round/{number}")
        lasts = chance.randint(*EPISODE_PERIODS)
        begins = chance.randint(0 if number else CLEAN_AFTER, ROUND - CLEAN_AFTER - EPISODE_PERIODS[1])
        concerned = chance.choice((DUSTY, SMOKY))
        at_limit = chance.random() < 1 / 4
        if number == 0 and town == self.towns[0]:
            begins, lasts, concerned = 0, EPISODE_PERIODS[0], SMOKY
        after = within - begins - lasts
        return code in concerned and -lasts <= after < 0, code in concerned and at_limit and after == 0


@dataclass(frozen=True, slots=True)
class Episodes:
    """One town after the other has its straw burnt or its roads dusty; the first is the town with the most stations."""

    seed: int
    towns: tuple[str, ...]

    @classmethod
    def among(cls, seed: int, devices: Iterable[Device]) -> "Episodes":
        """Towns in falling order of their number of stations."""
        return cls(seed, _by_stations(devices))

    def level(self, town: str, code: str, usual: float, at: datetime, elapsed_s: float) -> float:
        """The usual level, raised where something happens."""
        del at
        return usual * self.gain(town, code, elapsed_s)

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


def _by_stations(devices: Iterable[Device]) -> tuple[str, ...]:
    return tuple(town for town, _ in Counter(device.town for device in devices).most_common())


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
