"""How values become the mean of an hour, and which of them come too late."""

from collections.abc import Iterable
from dataclasses import replace

import pytest

from hub.core import memory
from hub.core.rules import Rule
from hub.core.watch import MOST_WAIT, Applied, Episode, Period, Sample, Verdict, due, settle, take
from tests.hub.core.one_town import HOUR, MINUTE, PM10_IN_10_S, PM10_OVER, SECOND, at

TEN = at("10:00")
APPLIED, LATE, REPEATED, UNUSED = Applied.APPLIED, Applied.LATE, Applied.REPEATED, Applied.UNUSED


def own(start: int, mean: float, period_s: int = 3600) -> Sample:
    return Sample(start, period_s * SECOND, mean)


def taken(samples: Iterable[Sample], *, realtime: bool = False, rule: Rule = PM10_OVER, now: int = TEN) -> Episode:
    """An episode that has taken them all."""
    episode = Episode()
    for sample in samples:
        episode, applied = take(episode, rule, sample, realtime=realtime, now=now)
        assert applied is APPLIED
    return episode


def minutes(count: int, number: float = 151, start: int = TEN, lasts: int = MINUTE) -> list[Sample]:
    return [Sample(start + index * lasts, lasts, number) for index in range(count)]


def verdicts(episode: Episode, now: int, rule: Rule = PM10_OVER) -> list[Verdict]:
    return settle(episode, rule, now)[1]


def means(episode: Episode, now: int, rule: Rule = PM10_OVER) -> list[tuple[int, float]]:
    return [(each.start, each.mean) for each in verdicts(episode, now, rule)]


# ---- when


def test_nothing_known_is_nothing_due() -> None:
    assert due(Episode(), PM10_OVER) is None
    assert verdicts(Episode(), at("23:00")) == []


@pytest.mark.parametrize(
    ("now", "expected"),
    [("10:59:59", 0), ("11:00", 0), ("11:00:01", 0), ("11:09:59", 0), ("11:10", 1), ("11:10:01", 1), ("15:00", 1)],
)
def test_minute_values_decide_ten_minutes_after_the_hours_end(now: str, expected: int) -> None:
    episode = taken(minutes(60))
    assert due(episode, PM10_OVER) == at("11:10")
    assert len(verdicts(episode, at(now))) == expected


@pytest.mark.parametrize("now", ["11:00", "11:00:20", "11:09", "11:11", "20:00"])
def test_the_stations_own_mean_decides_at_once(now: str) -> None:
    episode, applied = take(Episode(), PM10_OVER, own(TEN, 151), realtime=False, now=at(now))
    assert applied is APPLIED
    assert means(episode, at(now)) == [(TEN, 151)]


def test_the_own_mean_waits_while_the_hour_before_may_still_be_decided() -> None:
    episode = taken(minutes(60, 200))
    episode, _ = take(episode, PM10_OVER, own(at("11:00"), 100), realtime=False, now=at("11:09"))
    assert means(episode, at("11:09:59")) == []
    assert means(episode, at("11:10")) == [(TEN, 200), (at("11:00"), 100)]


def test_hours_are_those_of_the_clock() -> None:
    episode = taken([*minutes(45, 151, at("10:15")), *minutes(45, 100, at("11:00"))])
    assert [period.start for period in episode.periods] == [TEN, at("11:00")]
    assert means(episode, at("12:10")) == [(TEN, 151), (at("11:00"), 100)]


def test_hours_are_decided_in_their_order_however_they_came() -> None:
    episode = taken([*minutes(50, 100, at("12:00")), *minutes(50, 90, at("10:00")), *minutes(50, 80, at("11:00"))])
    assert means(episode, at("13:10")) == [(TEN, 90), (at("11:00"), 80), (at("12:00"), 100)]
    assert means(episode, at("12:10")) == [(TEN, 90), (at("11:00"), 80)]


def test_what_is_decided_is_no_longer_there() -> None:
    episode = taken([*minutes(50), *minutes(50, start=at("11:00"))])
    first, _ = settle(episode, PM10_OVER, at("11:10"))
    assert (first.decided, [period.start for period in first.periods]) == (TEN, [at("11:00")])
    second, _ = settle(first, PM10_OVER, at("12:10"))
    assert (second.decided, second.periods) == (at("11:00"), ())
    assert (second.ticket, second.clean) == (episode.ticket, episode.clean)


# ---- what covers an hour


@pytest.mark.parametrize(
    ("samples", "expected"),
    [
        (minutes(60), 151),
        (minutes(45), 151),
        (minutes(44), None),
        (minutes(1), None),
        (minutes(9, lasts=5 * MINUTE), 151),
        (minutes(8, lasts=5 * MINUTE), None),
        (minutes(2, lasts=30 * MINUTE), 151),
        (minutes(1, lasts=30 * MINUTE), None),
        # 22 + 23 and 22 + 22 minutes with a gap between
        ([*minutes(22), *minutes(23, start=at("10:37"))], 151),
        ([*minutes(22), *minutes(22, start=at("10:38"))], None),
        # what overlaps covers once
        ([*minutes(40), *(Sample(each.start + 30 * SECOND, MINUTE, 151) for each in minutes(40))], None),
        ([*minutes(45), *(Sample(each.start + 30 * SECOND, MINUTE, 151) for each in minutes(45))], 151),
        # in any order
        (minutes(45)[::-1], 151),
        # two levels
        ([*minutes(30, 100), *minutes(30, 200, at("10:30"))], 150),
        ([*minutes(30, 100), *minutes(15, 205, at("10:30"))], 135),
        ([*minutes(24, 0.0), *minutes(24, 300.5, at("10:30"))], 150.25),
    ],
)
def test_the_mean_of_minute_values_that_cover_45_minutes(samples: list[Sample], expected: float | None) -> None:
    assert means(taken(samples), at("11:10")) == ([] if expected is None else [(TEN, expected)])


def test_the_mean_of_many_tenths_is_their_tenth() -> None:
    """What binary numbers add up to must not be over a limit that no value is over."""
    assert means(taken(minutes(60, 0.1)), at("11:10")) == [(TEN, 0.1)]


@pytest.mark.parametrize(("count", "expected"), [(60, True), (45, True), (44, False)])
def test_realtime_values_decide_where_there_are_no_minute_values(count: int, expected: bool) -> None:
    assert means(taken(minutes(count), realtime=True), at("11:10")) == ([(TEN, 151)] if expected else [])


def test_realtime_values_twice_a_minute_cover_it_once() -> None:
    half_minutes = [Sample(TEN + index * 30 * SECOND, MINUTE, 151) for index in range(89)]
    assert means(taken(half_minutes, realtime=True), at("11:10")) == [(TEN, 151)]
    assert means(taken(half_minutes[:88], realtime=True), at("11:10")) == []


def test_a_station_that_sends_minute_values_is_judged_by_them() -> None:
    episode = taken(minutes(60, 200), realtime=True)
    for sample in minutes(50, 100):
        episode, _ = take(episode, PM10_OVER, sample, realtime=False, now=TEN)
    assert means(episode, at("11:10")) == [(TEN, 100)]


def test_the_own_mean_goes_before_all_others_that_have_not_decided() -> None:
    episode = taken(minutes(60, 200))
    episode, applied = take(episode, PM10_OVER, own(TEN, 100), realtime=False, now=at("11:05"))
    assert applied is APPLIED
    assert means(episode, at("11:05")) == [(TEN, 100)]


def test_a_verdict_tells_people_where_it_came_from() -> None:
    (by_minutes,) = verdicts(taken(minutes(48)), at("11:10"))
    (by_realtime,) = verdicts(taken(minutes(48), realtime=True), at("11:10"))
    (by_station,) = verdicts(taken([own(TEN, 151)]), at("11:10"))
    assert by_minutes
    assert by_realtime
    assert by_station
    assert by_minutes.source == "mean of 48 minute values that cover 48 min"
    assert by_realtime.source == "mean of 48 realtime values that cover 48 min"
    assert by_station.source == "the station's own mean"


# ---- what comes too late or again


def test_what_was_taken_before_is_repeated() -> None:
    episode = taken(minutes(3))
    assert take(episode, PM10_OVER, minutes(3)[1], realtime=False, now=TEN) == (episode, REPEATED)
    # another number with the same time is the same message sent again
    assert take(episode, PM10_OVER, Sample(TEN, MINUTE, 99), realtime=False, now=TEN) == (episode, REPEATED)
    # the same time of another message code is not
    assert take(episode, PM10_OVER, Sample(TEN, MINUTE, 99), realtime=True, now=TEN)[1] is APPLIED


def test_an_own_mean_that_waits_is_not_replaced() -> None:
    episode = taken([own(TEN, 200)])
    assert take(episode, PM10_OVER, own(TEN, 100), realtime=False, now=at("10:05")) == (episode, REPEATED)


@pytest.mark.parametrize(
    ("sample", "realtime", "now", "expected"),
    [
        # decided is decided
        (own(TEN, 100), False, "11:20", LATE),
        (Sample(TEN, MINUTE, 100), False, "11:05", LATE),
        (Sample(at("10:59"), MINUTE, 100), True, "11:05", LATE),
        # and so is what was before it
        (own(at("09:00"), 100), False, "11:20", LATE),
        (Sample(at("09:59"), MINUTE, 100), False, "10:05", LATE),
        # what comes after is not
        (own(at("11:00"), 100), False, "12:00", APPLIED),
        (Sample(at("11:00"), MINUTE, 100), False, "11:05", APPLIED),
        (Sample(at("11:59:59"), MINUTE, 100), True, "12:09:59", APPLIED),
        # no longer waited for
        (Sample(at("11:59"), MINUTE, 100), False, "12:09:59", APPLIED),
        (Sample(at("11:59"), MINUTE, 100), False, "12:10", LATE),
        (Sample(at("11:59"), MINUTE, 100), True, "12:10", LATE),
        # the station's own is always good, as long as nothing later has decided
        (own(at("11:00"), 100), False, "23:00", APPLIED),
    ],
)
def test_after_ten_has_been_decided(sample: Sample, realtime: bool, now: str, expected: Applied) -> None:
    episode, _ = settle(taken([own(TEN, 151)]), PM10_OVER, at("11:00"))
    after, applied = take(episode, PM10_OVER, sample, realtime=realtime, now=at(now))
    assert applied is expected
    if applied is not APPLIED:
        assert after == episode


def test_an_hour_without_a_valid_mean_is_open_to_the_stations_own() -> None:
    episode, decided = settle(taken(minutes(44)), PM10_OVER, at("11:10"))
    assert not decided
    assert take(episode, PM10_OVER, Sample(at("10:50"), MINUTE, 1), realtime=False, now=at("11:11"))[1] is LATE
    episode, applied = take(episode, PM10_OVER, own(TEN, 151), realtime=False, now=at("11:30"))
    assert applied is APPLIED
    assert means(episode, at("11:30")) == [(TEN, 151)]


@pytest.mark.parametrize(
    "sample",
    [
        Sample(TEN, 24 * HOUR, 151),  # of a day
        Sample(TEN, HOUR + SECOND, 151),
        Sample(at("10:30"), HOUR, 151),  # of no hour of the clock
        Sample(TEN + 1, HOUR, 151),
    ],
)
def test_the_mean_of_another_period_is_of_no_use(sample: Sample) -> None:
    assert take(Episode(), PM10_OVER, sample, realtime=False, now=at("11:30")) == (Episode(), UNUSED)


def test_a_realtime_value_that_stands_for_an_hour_is_no_mean() -> None:
    episode, applied = take(
        Episode(), replace(PM10_OVER, realtime_s=3600), Sample(at("10:07"), HOUR, 151), realtime=True, now=at("10:07")
    )
    assert applied is APPLIED
    assert episode.periods[0].mean is None
    assert due(episode, PM10_OVER) == at("11:10")


# ---- other periods


def test_ten_seconds_are_as_good_as_an_hour() -> None:
    rule = PM10_IN_10_S
    seconds = [Sample(TEN + index * SECOND, SECOND, 151) for index in range(8)]
    episode = taken(seconds, rule=rule)
    assert due(episode, rule) == TEN + 11_500
    assert means(episode, TEN + 11_499, rule) == []
    assert means(episode, TEN + 11_500, rule) == [(TEN, 151)]
    assert means(taken(seconds[:7], rule=rule), TEN + 11_500, rule) == []
    own_mean = taken([own(TEN, 151, 10)], rule=rule)
    assert means(own_mean, TEN + 10_000, rule) == [(TEN, 151)]


def test_a_wait_of_no_whole_milliseconds_has_one_end() -> None:
    """What is decided without a value does not take it at the same moment."""
    rule = replace(PM10_OVER, period_s=10, wait_s=5 / 3)
    episode = taken([Sample(TEN, 5 * SECOND, 151)], rule=rule)
    end = due(episode, rule)
    assert end is not None
    episode, decided = settle(episode, rule, end)
    assert not decided
    assert take(episode, rule, Sample(TEN + 5 * SECOND, 5 * SECOND, 151), realtime=False, now=end)[1] is LATE


# ---- too many


def full(start: int) -> Episode:
    """Of one hour as many values as may wait, each as long as it can get."""
    values = (
        Sample(start + index, 300_000, -1.2345678901234567e-100, f"{index:016x}") for index in range(MOST_WAIT - 1)
    )
    return Episode(periods=(Period(start, realtime=tuple(values)),))


def test_values_without_end_wait_only_up_to_a_bound() -> None:
    """Otherwise one station that sends without pause makes a record of the changelog that is too large to be written."""
    episode = full(TEN)
    assert len(memory.to_text(episode).encode()) < 900 * 1024
    more = Sample(TEN + HOUR - 1, 300_000, 151.0)
    assert take(episode, PM10_OVER, more, realtime=True, now=TEN) == (episode, UNUSED)
    assert take(episode, PM10_OVER, replace(more, start=TEN + HOUR), realtime=True, now=TEN) == (episode, UNUSED)
    decided, result = take(episode, PM10_OVER, own(TEN, 151), realtime=False, now=TEN + HOUR)
    assert result is APPLIED
    assert means(decided, TEN + HOUR) == [(TEN, 151)]


def test_values_of_a_clock_that_was_wrong_do_not_keep_out_those_of_now() -> None:
    after, result = take(full(TEN + 1000 * HOUR), PM10_OVER, Sample(TEN, MINUTE, 151.0), realtime=True, now=TEN)
    assert result is APPLIED
    assert [period.start for period in after.periods] == [TEN]
