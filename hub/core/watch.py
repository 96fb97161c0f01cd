"""What needs more than one message: means of a period, and the episode they tell of.

An episode belongs to one device, factor and rule. Its periods are aligned to the clock (multiples of `Rule.period_s` since 1970 UTC, so
an hour is the hour of Beijing too). A period's mean is the station's own (a value whose period is the rule's: HJ 212, CN 2061), else, once
`wait_s` have passed since its end, the mean of its minute values, else of its realtime values, if they cover enough of it; the first that
decides stands. Periods are decided in their order, so the station's own mean waits while the period before may still be decided.
"""

from dataclasses import dataclass, replace
from enum import StrEnum
from math import fsum

from hub.core.rules import Rule

LONG_AGO = -1
# An episode is one record of the changelog, of at most 1 MiB: so many values and periods of it wait, about 70 bytes each. Twice what a value
# a second brings until its hour is decided.
MOST_WAIT = 8000


class Applied(StrEnum):
    """What became of a value, and so of a reading."""

    APPLIED = "applied"
    REPEATED = "repeated"  # the same device, message code, time and factor was applied before
    LATE = "late"  # its period is decided, or no longer waited for
    UNUSED = "unused"  # no rule watches it, or it may not decide: mark, unit or time; or too many wait already


@dataclass(frozen=True, slots=True)
class Sample:
    """One value: from when (ms UTC), for how long (ms), how much. `message`: which one brought it, where its time cannot be believed."""

    start: int
    lasts: int
    value: float
    message: str = ""

    @property
    def identity(self) -> int | str:
        """What tells that it was sent again."""
        return self.message or self.start


@dataclass(frozen=True, slots=True)
class Period:
    """What is known of a period that is not decided yet. `mean`: the station's own."""

    start: int
    mean: float | None = None
    minutes: tuple[Sample, ...] = ()
    realtime: tuple[Sample, ...] = ()


@dataclass(frozen=True, slots=True)
class Episode:
    """`decided`: the start of the last period that has been (ms UTC). `ticket`: the open one's id. `clean`: clean periods since the last over. `heard`:
    when a device last spoke of its own running alarm, by the town's clock (ms UTC).
    """

    decided: int = LONG_AGO
    periods: tuple[Period, ...] = ()
    ticket: str = ""
    clean: int = 0
    heard: int = 0


@dataclass(frozen=True, slots=True)
class Verdict:
    """A period's mean, and where it came from in words for people."""

    start: int
    mean: float
    source: str


def take(episode: Episode, rule: Rule, sample: Sample, *, realtime: bool, now: int) -> tuple[Episode, Applied]:
    """Adds a value. `sample.lasts` is the period of the value; for a realtime one how long it stands for."""
    start = sample.start - sample.start % rule.period_ms
    own_mean = not realtime and sample.lasts == rule.period_ms
    if not realtime and (sample.lasts > rule.period_ms or (own_mean and sample.start != start)):
        return episode, Applied.UNUSED
    if start <= episode.decided or (not own_mean and now >= start + rule.period_ms + rule.wait_ms):
        return episode, Applied.LATE
    known = next((period for period in episode.periods if period.start == start), Period(start))
    if own_mean:
        if known.mean is not None:
            return episode, Applied.REPEATED
        changed = replace(known, mean=sample.value)
    else:
        pending = (period.realtime if realtime else period.minutes for period in episode.periods)
        if any(other.identity == sample.identity for samples in pending for other in samples):
            return episode, Applied.REPEATED
        samples = (*(known.realtime if realtime else known.minutes), sample)
        changed = replace(known, realtime=samples) if realtime else replace(known, minutes=samples)
    others = [period for period in episode.periods if period.start != start]
    periods = tuple(sorted((*others, changed), key=lambda period: period.start))
    if sum(1 + len(period.minutes) + len(period.realtime) for period in periods) > MOST_WAIT:
        # What lies furthest ahead goes first: a clock that was wrong must not keep out what is right.
        if periods[-1].start == start:
            return episode, Applied.UNUSED
        periods = periods[:-1]
    return replace(episode, periods=periods), Applied.APPLIED


def due(episode: Episode, rule: Rule) -> int | None:
    """When the oldest undecided period can be decided, or a device's alarm has been quiet for long enough, ms UTC; None where time has no effect."""
    if not rule.factor:
        return episode.heard + rule.quiet_s * 1000 if episode.ticket and rule.quiet_s else None
    if not episode.periods:
        return None
    oldest = episode.periods[0]
    # The station's own mean need not be waited for, but the period before it.
    return oldest.start + rule.wait_ms + (0 if oldest.mean is not None else rule.period_ms)


def settle(episode: Episode, rule: Rule, now: int) -> tuple[Episode, list[Verdict]]:
    """Takes the periods out that can be decided at `now`; the means of those that have a valid one, in order."""
    verdicts: list[Verdict] = []
    if not rule.factor:
        return episode, verdicts
    while (at := due(episode, rule)) is not None and at <= now:
        period, periods = episode.periods[0], episode.periods[1:]
        verdict = _verdict(period, rule)
        if verdict is not None:
            verdicts.append(verdict)
        decided = episode.decided if verdict is None else period.start
        episode = replace(episode, decided=decided, periods=periods)
    return episode, verdicts


def _verdict(period: Period, rule: Rule) -> Verdict | None:
    if period.mean is not None:
        return Verdict(period.start, period.mean, "the station's own mean")
    # A station that sends minute values is judged by them.
    samples = period.minutes or period.realtime
    covered_ms = _covered(samples)
    if covered_ms < rule.covered * rule.period_ms:
        return None
    mean = fsum(sample.value for sample in samples) / len(samples)
    name = "minute" if period.minutes else "realtime"
    return Verdict(period.start, mean, f"mean of {len(samples)} {name} values that cover {covered_ms / 60_000:.4g} min")


def _covered(samples: tuple[Sample, ...]) -> int:
    """How many ms the values cover together; the last may reach beyond the period, as the first may begin after the period did."""
    covered, end = 0, LONG_AGO
    for start, stop in sorted((sample.start, sample.start + sample.lasts) for sample in samples):
        covered += max(0, stop - max(start, end))
        end = max(end, stop)
    return covered
