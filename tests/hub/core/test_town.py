"""What a town makes of what its stations say: cases in the town's words."""

from dataclasses import replace

import pytest

from hub.core import watch
from hub.core.events import Ticket, Version
from hub.core.in_force import InForce
from hub.core.registry import Registry
from hub.core.rules import Rule, Rules
from hub.core.town import Clock, Counted, Entry, Input, Town, decide, tick
from hub.core.watch import Applied, Episode, Period, Sample
from tests.hub.core.one_town import (
    DEVICE_ALARM,
    FORCE,
    HOUR,
    MINUTE,
    PARTITION,
    PM10,
    PM10_OVER,
    PM25,
    RULES,
    RULES_IN_10_S,
    SECOND,
    STATION,
    TOWN,
    OneTown,
    alarm,
    at,
    entries,
    reading,
    value,
)

APPLIED, LATE, REPEATED, UNUSED = Applied.APPLIED, Applied.LATE, Applied.REPEATED, Applied.UNUSED


# ---- an hour over the limit


@pytest.mark.parametrize(
    ("factor", "number", "kind"),
    [
        (PM10, 150.5, "air.pm10.over_limit"),
        (PM10, 2000, "air.pm10.over_limit"),
        (PM10, 150, None),
        (PM10, 0, None),
        (PM25, 75.1, "air.pm25.over_limit"),
        (PM25, 75, None),
        ("a21026", 2000, None),
    ],
)
def test_an_hour_over_the_limit_opens_one_ticket(factor: str, number: float, kind: str | None) -> None:
    town = OneTown()
    town.hour("10:00", number, factor=factor)
    assert [(each.kind, each.rule, each.class_code) for each in town.tickets] == (
        [(kind, kind, "08004")] if kind else []
    )
    assert town.steps == (["opened"] if kind else [])


def test_the_ticket_of_an_hour_tells_its_story() -> None:
    town = OneTown()
    town.hour("10:00", 180.25, now=at("11:00:30"))
    (ticket,), (decision,) = town.tickets, town.decisions
    assert (ticket.device, ticket.opened_at, ticket.state, ticket.alerts) == (STATION, at("11:00:30"), "open", 1)
    assert decision.id == "ZA-01/air.pm10.over_limit/a34002/20260601T100000Z"
    assert (decision.origin, decision.outcome, decision.ticket_id) == ("watch", "opened", ticket.id)
    told = " ".join(decision.reasons)
    for word in ("180.25", "150", "ug/m3", "own mean", "20260601T100000Z"):
        assert word in told


def test_without_the_stations_own_mean_ten_minutes_later_the_minutes_decide() -> None:
    town = OneTown()
    town.minutes("10:00", 45, 151)
    town.waits("11:09:59")
    assert town.steps == []
    town.waits("11:10")
    assert town.steps == ["opened"]
    assert town.tickets[0].opened_at == at("11:10")
    assert (town.decisions[0].topic, town.decisions[0].offset) == ("", -1)


def test_any_record_of_the_town_lets_time_pass() -> None:
    town = OneTown()
    town.minutes("10:00", 45, 151)
    town.hour("10:00", 20, device="ZA-02", now=at("11:10"))
    assert [each.device for each in town.opened] == [STATION]


def test_44_minutes_are_no_hour() -> None:
    town = OneTown()
    town.minutes("10:00", 44, 500)
    town.waits("12:00")
    assert town.steps == []


def test_realtime_values_decide_where_no_minutes_come() -> None:
    town = OneTown()
    for minute in range(45):
        assert town.realtime(at("10:00") + minute * MINUTE, 151) is APPLIED
    town.waits("11:10")
    assert town.steps == ["opened"]


def test_minutes_go_before_realtime() -> None:
    town = OneTown()
    for minute in range(60):
        town.realtime(at("10:00") + minute * MINUTE, 500)
        town.minute(at("10:00") + minute * MINUTE, 100)
    town.waits("11:10")
    assert town.steps == []


def test_the_first_that_decides_stands() -> None:
    """The station's own mean at 11:05 says clean, what would have been over is late; and the other way round."""
    town = OneTown()
    town.minutes("10:00", 60, 200)
    assert town.hour("10:00", 100, now=at("11:05")) is APPLIED
    town.waits("11:10")
    assert town.steps == []
    assert town.minute("10:30", 200, now=at("11:06")) is LATE

    other = OneTown()
    other.minutes("10:00", 60, 200)
    other.waits("11:10")
    assert other.hour("10:00", 100, now=at("11:11")) is LATE
    assert other.steps == ["opened"]


def test_an_over_hour_of_long_ago_is_late_once_a_later_one_is_decided() -> None:
    town = OneTown()
    town.hour("11:00", 100)
    assert town.hour("10:00", 500, now=at("12:01")) is LATE
    assert town.steps == []


def test_each_device_and_each_factor_has_an_episode_of_its_own() -> None:
    town = OneTown()
    both = value(200), value(100, factor=PM25)
    assert town.reports(*both, code="2061", since="10:00", period_s=3600) is APPLIED
    town.hour("10:00", 200, device="ZA-02")
    assert [(each.device, each.kind) for each in town.opened] == [
        (STATION, "air.pm10.over_limit"),
        (STATION, "air.pm25.over_limit"),
        ("ZA-02", "air.pm10.over_limit"),
    ]
    assert len({each.id for each in town.opened}) == 3


def test_two_rules_of_one_factor_open_a_ticket_each() -> None:
    far_over = replace(PM10_OVER, kind="air.pm10.far_over_limit", limit=300, class_code="08999")
    town = OneTown(Rules((PM10_OVER, far_over), {}))
    town.hour("10:00", 200)
    town.hour("11:00", 400)
    assert [(each.kind, each.class_code) for each in town.opened] == [
        ("air.pm10.over_limit", "08004"),
        ("air.pm10.far_over_limit", "08999"),
    ]
    assert town.steps == ["opened", "updated", "opened"]


# ---- the episode


def hours(town: OneTown, *numbers: float | None, since: int = 10) -> None:
    """An own mean each hour; None: nothing comes."""
    for index, number in enumerate(numbers):
        if number is not None:
            town.hour(f"{since + index:02}:00", number)


@pytest.mark.parametrize(
    ("numbers", "steps"),
    [
        ((200, 100), ["opened"]),
        ((200, 100, 100), ["opened", "cleared"]),
        ((200, 150, 150), ["opened", "cleared"]),
        ((200, 100, 100, 100, 100), ["opened", "cleared"]),
        ((200, 200, 200), ["opened", "updated", "updated"]),
        ((200, 100, 200, 100), ["opened", "updated"]),
        ((200, 100, 200, 100, 100), ["opened", "updated", "cleared"]),
        # an hour of which nothing is known is neither over nor clean
        ((200, 100, None, 100), ["opened", "cleared"]),
        ((200, None, None, 100), ["opened"]),
        ((200, None, 200), ["opened", "updated"]),
        # clean hours before are no clean hours of this episode
        ((100, 100, 200, 100), ["opened"]),
        # the next over hour is a new matter
        ((200, 100, 100, 200), ["opened", "cleared", "opened"]),
        ((200, 100, 100, 200, 100), ["opened", "cleared", "opened"]),
        ((200, 100, 100, 100, 200, 100, 100), ["opened", "cleared", "opened", "cleared"]),
    ],
)
def test_a_ticket_clears_after_two_clean_hours(numbers: tuple[float | None, ...], steps: list[str]) -> None:
    town = OneTown()
    hours(town, *numbers)
    assert town.steps == steps
    assert len({each.id for each in town.opened}) == steps.count("opened")


def test_a_cleared_ticket_knows_when() -> None:
    town = OneTown()
    hours(town, 200, 200, 100, 100)
    last = town.tickets[-1]
    assert (last.state, last.version, last.alerts) == ("cleared", 3, 2)
    assert (last.opened_at, last.cleared_at) == (at("11:00:20"), at("14:00:20"))
    assert not list(town.town.all("ticket"))


def test_the_rule_says_after_how_many_clean_hours() -> None:
    town = OneTown(Rules((replace(PM10_OVER, clear_after=1),), {}))
    hours(town, 200, 100)
    assert town.steps == ["opened", "cleared"]


def test_an_hour_with_too_few_values_is_neither() -> None:
    town = OneTown()
    hours(town, 200, 100)
    town.minutes("12:00", 44, 10)
    town.waits("13:10")
    assert town.steps == ["opened"]
    town.minutes("13:00", 44, 900)
    town.waits("14:10")
    hours(town, 100, since=14)
    assert town.steps == ["opened", "cleared"]


def test_hours_that_are_due_together_are_told_in_their_order() -> None:
    """Three hours of minutes came in time, but nothing let time pass until the evening."""
    town = OneTown()
    for hour, number in (("10:00", 200), ("11:00", 100), ("12:00", 100), ("13:00", 300)):
        for minute in range(60):
            start = at(hour) + minute * MINUTE
            town.hears(
                reading(value(number), code="2051", occurred_at=start, period_s=60, accepted_at=start + MINUTE), 0
            )
    assert town.steps == []
    town.waits("18:00")
    assert town.steps == ["opened", "cleared", "opened"]
    assert {each.now for each in town.decisions} == {at("18:00")}
    assert town.opened[0].id != town.opened[1].id


def test_a_ticket_found_after_an_outage_belongs_to_its_episode() -> None:
    """From 11:02 until 13:00 nothing came and no time passed; of the second hour there is one minute."""
    town = OneTown()
    town.minutes("10:00", 60, 200)
    town.minute("11:00", 100, now=at("11:01"))
    town.waits("13:00")
    assert town.steps == ["opened"]
    hours(town, 200, 100, 100, since=12)
    assert town.steps == ["opened", "updated", "cleared"]


# ---- what may not decide


@pytest.mark.parametrize("mark", ["F", "M", "S", "D", "C", "T", "B", "n", "N ", "missing", "range", "unreadable"])
def test_marks_other_than_normal_never_decide(mark: str) -> None:
    town = OneTown()
    assert town.hour("10:00", 500, mark=mark) is UNUSED
    town.minutes("11:00", 60, 500, mark=mark)
    town.waits("12:10")
    assert town.steps == []
    hours(town, 200, since=13)
    assert town.hour("14:00", 10, mark=mark) is UNUSED
    assert town.hour("15:00", 10, mark=mark) is UNUSED
    assert town.steps == ["opened"]


@pytest.mark.parametrize("mark", ["N", ""])
def test_normal_or_unmarked_values_decide(mark: str) -> None:
    town = OneTown()
    assert town.hour("10:00", 500, mark=mark) is APPLIED
    assert town.steps == ["opened"]


@pytest.mark.parametrize("unit", ["", "mg/m3", "ng/m3", "ppb", "UG/M3", "µg/m³"])
def test_other_units_never_decide(unit: str) -> None:
    town = OneTown()
    assert town.hour("10:00", 500, unit=unit) is UNUSED
    assert town.steps == []


@pytest.mark.parametrize("statistic", ["", "Max", "Min", "Cou", "ZsAvg", "Rtd", "avg"])
def test_only_a_mean_is_a_mean(statistic: str) -> None:
    town = OneTown()
    assert town.hour("10:00", 500, statistic=statistic) is UNUSED
    assert town.steps == []


def test_a_value_that_is_not_there_never_decides() -> None:
    town = OneTown()
    assert town.hour("10:00", None) is UNUSED
    assert town.steps == []


def test_the_mean_of_a_day_is_no_hour() -> None:
    town = OneTown()
    assert town.hour("00:00", 500, period_s=86400) is UNUSED
    assert town.steps == []


def test_a_bad_value_does_not_take_the_place_of_a_good_one() -> None:
    town = OneTown()
    assert town.hour("10:00", 100, mark="D") is UNUSED
    assert town.hour("10:00", 200) is APPLIED
    assert town.steps == ["opened"]


def test_a_reading_counts_as_the_best_of_its_values() -> None:
    town = OneTown()
    temperature = value(20, factor="a01001", unit="Cel")
    assert town.reports(temperature, code="2061", since="10:00", period_s=3600) is UNUSED
    assert town.reports(code="2061", since="10:00", period_s=3600) is UNUSED
    assert town.reports(temperature, value(100), code="2061", since="10:00", period_s=3600) is APPLIED
    later = value(100), value(50, factor=PM25)
    assert town.reports(*later, code="2061", since="10:00", period_s=3600, now=at("11:02")) is APPLIED


# ---- times


@pytest.mark.parametrize(
    ("accepted", "days", "steps"),
    [
        ("10:57:59", 0, []),  # its end is more than 2 min away
        ("10:58", 0, ["opened"]),
        ("11:00", 0, ["opened"]),
        ("13:00", 0, ["opened"]),  # its end is 2 h ago
        ("13:00:01", 0, []),
        ("11:00", 1, []),
    ],
)
def test_an_hours_mean_opens_only_near_its_end(accepted: str, days: int, steps: list[str]) -> None:
    town = OneTown()
    town.hour("10:00", 500, accepted_at=at(accepted, days), now=at(accepted, days))
    town.waits("23:00", days)
    assert town.steps == steps


def test_a_mean_without_a_time_never_decides() -> None:
    town = OneTown()
    assert town.hour(None, 500, accepted_at=at("11:00")) is UNUSED  # type: ignore[arg-type]


@pytest.mark.parametrize("accepted", ["10:00", "10:27:59"])
def test_minutes_of_the_future_never_decide(accepted: str) -> None:
    town = OneTown()
    assert town.minute("10:29", 500, now=at(accepted)) is UNUSED
    assert town.minute("10:29", 500, now=at("10:28")) is APPLIED


def test_minutes_of_long_ago_never_decide() -> None:
    town = OneTown()
    assert town.minute("10:00", 500, now=at("12:01:01")) is UNUSED
    hours(town, 500, since=8)
    assert town.minute("10:00", 10, now=at("12:01:01")) is UNUSED


def test_realtime_of_a_clock_that_cannot_be_believed_counts_when_it_was_accepted() -> None:
    for wrong in (None, 0, at("10:00", days=300)):
        town = OneTown()
        for minute in range(45):
            number = value(151, statistic="Rtd")
            result = town.reports(
                number, code="2011", since=wrong, period_s=0, accepted_at=at("10:00") + minute * MINUTE
            )
            assert result is (UNUSED if wrong == 0 else APPLIED)
        town.waits("11:10")
        assert town.steps == ([] if wrong == 0 else ["opened"])


def test_what_waited_in_the_spool_decides_by_the_time_it_was_accepted() -> None:
    town = OneTown()
    assert town.hour("10:00", 500, accepted_at=at("11:00:20"), now=at("20:00")) is APPLIED
    assert town.opened[0].opened_at == at("20:00")
    assert town.minute("19:00", 500, now=at("20:20")) is LATE


# ---- back-filled


def test_back_filled_hours_never_open() -> None:
    town = OneTown()
    assert town.hour("10:00", 500, backfilled=True) is UNUSED
    assert town.hour("08:00", 500, now=at("11:01")) is UNUSED
    for minute in range(60):
        town.reports(value(500), code="2051", since=at("11:00") + minute * MINUTE, period_s=60, backfilled=True)
    town.waits("12:10")
    assert town.steps == []


def test_a_back_filled_hour_that_cannot_open_leaves_the_hour_open() -> None:
    for number in (500, 10):
        town = OneTown()
        town.hour("10:00", number, backfilled=True)
        assert town.hour("10:00", 200, now=at("11:02")) is APPLIED
        assert town.steps == ["opened"]


def test_back_filled_hours_may_clear() -> None:
    town = OneTown()
    hours(town, 200)
    assert town.hour("11:00", 100, backfilled=True, now=at("12:30")) is APPLIED
    assert town.hour("12:00", 100, backfilled=True, now=at("13:30")) is APPLIED
    assert town.steps == ["opened", "cleared"]


def test_clean_hours_sent_hours_later_may_clear() -> None:
    town = OneTown()
    hours(town, 200)
    assert town.hour("11:00", 100, now=at("20:00")) is APPLIED
    assert town.hour("12:00", 100, now=at("20:00:01")) is APPLIED
    assert town.steps == ["opened", "cleared"]


def test_back_filled_over_hours_do_not_speak_for_an_open_ticket() -> None:
    town = OneTown()
    hours(town, 200)
    assert town.hour("11:00", 300, backfilled=True) is UNUSED
    assert town.steps == ["opened"]


def test_back_filled_hours_before_the_episode_do_not_clear_it() -> None:
    town = OneTown()
    hours(town, 200)
    assert town.hour("08:00", 10, backfilled=True, now=at("11:30")) is LATE
    assert town.hour("09:00", 10, backfilled=True, now=at("11:30")) is LATE
    assert town.steps == ["opened"]


@pytest.mark.parametrize("since", ["12:00", "15:00"])
def test_a_back_filled_hour_of_the_future_never_decides(since: str) -> None:
    """Whoever fills back cannot know an hour that is not over: neither does it clear, nor is the real one late after it."""
    town = OneTown()
    hours(town, 200)
    assert town.hour(since, 10, backfilled=True, now=at("12:30")) is UNUSED
    assert town.hour(since, 300) is APPLIED
    assert town.steps == ["opened", "updated"]


# ---- limits of single devices


@pytest.mark.parametrize(
    ("limits", "number", "opens"),
    [
        ({STATION: {PM10: 120.0}}, 121, True),
        ({STATION: {PM10: 120.0}}, 120, False),
        ({STATION: {PM10: 300.0}}, 299, False),
        ({STATION: {PM25: 60.0}}, 121, False),
        ({"ZA-02": {PM10: 120.0}}, 121, False),
    ],
)
def test_the_limit_of_the_devices_row_goes_first(
    limits: dict[str, dict[str, float]], number: float, opens: bool
) -> None:
    town = OneTown(Rules(RULES.all, limits))
    town.hour("10:00", number)
    assert town.steps == (["opened"] if opens else [])
    minutes = OneTown(Rules(RULES.all, limits))
    minutes.minutes("10:00", 45, number)
    minutes.waits("11:10")
    assert minutes.steps == town.steps


def test_the_limit_of_the_devices_row_also_says_what_is_clean() -> None:
    town = OneTown(Rules(RULES.all, {STATION: {PM10: 120.0}}))
    hours(town, 200, 130, 110, 130, 110, 110)
    assert town.steps == ["opened", "updated", "updated", "cleared"]


# ---- repeats


def test_a_minute_sent_again_counts_once() -> None:
    town = OneTown()
    for minute in range(44):
        assert town.minute(at("10:00") + minute * MINUTE, 151) is APPLIED
    for _ in range(3):
        assert town.minute("10:43", 151, now=at("10:45")) is REPEATED
    town.waits("11:10")
    assert town.steps == []


def test_the_mean_is_not_drawn_by_what_is_sent_again() -> None:
    town = OneTown()
    town.minutes("10:00", 30, 100)
    for minute in range(30, 60):
        town.minute(at("10:00") + minute * MINUTE, 200)
        town.minute(at("10:00") + minute * MINUTE, 200)
    town.waits("11:10")
    assert town.steps == []


def test_a_repeat_is_told_by_device_message_code_time_and_factor() -> None:
    town = OneTown()
    one = value(100)
    assert town.reports(one, code="2051", since="10:00", period_s=60) is APPLIED
    assert town.reports(one, code="2051", since="10:00", period_s=60) is REPEATED
    assert town.reports(one, code="2051", since="10:00", period_s=60, device="ZA-02") is APPLIED
    assert town.reports(one, code="2051", since="10:01", period_s=60) is APPLIED
    assert town.reports(value(50, factor=PM25), code="2051", since="10:00", period_s=60) is APPLIED
    assert town.reports(value(100, statistic="Rtd"), code="2011", since="10:00", period_s=0) is APPLIED
    assert town.reports(value(100, statistic="Rtd"), code="2011", since="10:00", period_s=0) is REPEATED


def test_a_realtime_value_of_a_wrong_clock_sent_again_counts_once() -> None:
    """The station's clock is five minutes ahead; it did not hear the answer and sends the same message again."""
    town = OneTown()
    number = value(500, statistic="Rtd")
    assert town.reports(number, code="2011", since="10:05", period_s=0, accepted_at=at("10:00")) is APPLIED
    assert town.reports(number, code="2011", since="10:05", period_s=0, accepted_at=at("10:00:03")) is REPEATED


def test_an_over_hour_sent_again_changes_nothing() -> None:
    town = OneTown()
    town.hour("10:00", 200)
    remembered = entries(town.town)
    for later in range(1, 4):
        assert town.hour("10:00", 200, now=at("11:00:20") + later) in (REPEATED, LATE)
    assert town.steps == ["opened"]
    assert {**entries(town.town), "town": None} == {**remembered, "town": None}


# ---- alarms of devices


def test_a_device_alarm_begins_goes_on_and_ends() -> None:
    town = OneTown()
    begins = town.alarms("a1", "begins", "10:00")
    goes_on = town.alarms("a2", "goes_on", "10:10")
    ends = town.alarms("a3", "ends", "10:20")
    assert [each.outcome for each in (begins, goes_on, ends)] == ["opened", "updated", "cleared"]
    assert {each.ticket_id for each in (begins, goes_on, ends)} == {town.opened[0].id}
    (first, _, last) = town.tickets
    assert (first.kind, first.class_code, first.device) == ("air.device_alarm", DEVICE_ALARM.class_code, STATION)
    assert (last.version, last.alerts, last.cleared_at) == (3, 2, at("10:20"))
    assert [each.origin for each in town.decisions] == ["record"] * 3


@pytest.mark.parametrize(
    ("said", "outcomes"),
    [
        (["moment"], ["opened"]),
        (["moment", "moment"], ["opened", "updated"]),
        (["moment", "ends"], ["opened", "cleared"]),
        (["begins", "begins"], ["opened", "updated"]),
        (["begins", "moment", "ends"], ["opened", "updated", "cleared"]),
        (["goes_on", "ends"], ["opened", "cleared"]),
        (["ends"], ["expired"]),
        (["begins", "ends", "ends"], ["opened", "cleared", "expired"]),
        (["begins", "ends", "begins"], ["opened", "cleared", "opened"]),
        (["ends", "begins"], ["expired", "opened"]),
    ],
)
def test_what_alarms_lead_to(said: list[str], outcomes: list[str]) -> None:
    town = OneTown()
    for index, signal in enumerate(said):
        town.alarms(f"a{index}", signal, at("10:00") + index * MINUTE)
    assert [each.outcome for each in town.decisions] == outcomes
    assert len({each.id for each in town.opened}) == outcomes.count("opened")
    assert town.steps == [each for each in outcomes if each != "expired"]


def test_alarms_of_other_devices_and_factors_are_other_matters() -> None:
    town = OneTown()
    town.alarms("a1", "begins", "10:00")
    town.alarms("a2", "begins", "10:01", device="ZA-02")
    town.alarms("a3", "begins", "10:02", factors=(PM25,))
    assert town.alarms("a4", "begins", "10:03", factors=(PM25, PM10)).outcome == "opened"
    assert town.alarms("a5", "ends", "10:04", factors=(PM10, PM25)).outcome == "cleared"
    assert town.alarms("a6", "ends", "10:05", factors=("x|y",)).outcome == "expired"
    assert len(list(town.town.all("ticket"))) == 3


def test_an_alarm_and_a_mean_are_two_matters() -> None:
    town = OneTown()
    town.alarms("a1", "begins", "10:30")
    town.hour("10:00", 200)
    town.alarms("a2", "ends", "11:30")
    assert town.steps == ["opened", "opened", "cleared"]
    assert [each.kind for _, each in town.town.all("ticket") if isinstance(each, Ticket)] == ["air.pm10.over_limit"]


@pytest.mark.parametrize(("kind"), ["air.unheard_of", "", "air.pm10.over_limit"])
def test_an_alarm_that_no_rule_takes(kind: str) -> None:
    town = OneTown()
    decision = town.alarms("a1", "begins", "10:00", kind=kind)
    assert (decision.outcome, decision.ticket_id, decision.rule) == ("no_rule", "", "")
    assert town.alarms("a1", "begins", "10:00", kind=kind, now=at("10:01")).outcome == "repeated"
    assert town.steps == []


@pytest.mark.parametrize(
    ("signal", "accepted", "outcome"),
    [
        ("begins", "12:00", "opened"),
        ("begins", "12:00:01", "late"),
        ("moment", "12:00:01", "late"),
        ("ends", "12:00:01", "expired"),
        ("begins", "09:58", "opened"),
        ("begins", "09:57:59", "opened"),  # from tomorrow: accepted now
    ],
)
def test_an_alarm_of_long_ago_opens_nothing(signal: str, accepted: str, outcome: str) -> None:
    town = OneTown()
    assert town.alarms("a1", signal, "10:00", now=at(accepted)).outcome == outcome
    assert town.steps == (["opened"] if outcome == "opened" else [])


def test_a_late_end_still_ends() -> None:
    town = OneTown()
    town.alarms("a1", "begins", "10:00")
    assert town.alarms("a2", "ends", "10:30", now=at("20:00")).outcome == "cleared"


def test_an_alarm_without_a_time_is_of_now() -> None:
    town = OneTown()
    town.hears(alarm("a1", "begins", occurred_at=None, accepted_at=at("10:00")))
    assert town.steps == ["opened"]


# ---- ids that are remembered


def test_the_same_alarm_again_is_repeated_and_names_its_ticket() -> None:
    town = OneTown()
    first = town.alarms("a1", "begins", "10:00")
    again = town.alarms("a1", "begins", "10:00", now=at("10:00:03"))
    town.alarms("a2", "ends", "10:20")
    after = town.alarms("a1", "begins", "10:00", now=at("10:21"))
    assert [each.outcome for each in town.decisions] == ["opened", "repeated", "cleared", "repeated"]
    assert again.ticket_id == after.ticket_id == first.ticket_id
    assert town.alarms("a2", "ends", "10:20", now=at("10:22")).ticket_id == first.ticket_id


@pytest.mark.parametrize("outcome", ["expired", "late", "no_rule"])
def test_what_led_to_nothing_is_repeated_too(outcome: str) -> None:
    town = OneTown()
    signal = "ends" if outcome == "expired" else "begins"
    kind = "air.unheard_of" if outcome == "no_rule" else "air.device_alarm"
    now = at("20:00") if outcome == "late" else at("10:00")
    assert town.alarms("a1", signal, "10:00", now=now, kind=kind).outcome == outcome
    again = town.alarms("a1", signal, "10:00", now=now + 5, kind=kind)
    assert (again.outcome, again.ticket_id) == ("repeated", "")


@pytest.mark.parametrize("others", [1, 255, 300])
@pytest.mark.parametrize("minutes_before", [1, 0])
def test_an_id_is_remembered_for_72_hours_however_many_follow(others: int, minutes_before: int) -> None:
    town = OneTown()
    town.alarms("first", "begins", "10:00")
    for index in range(others):
        town.alarms(f"a{index}", "goes_on", at("10:01") + index * 10 * SECOND)
        if index % 100 == 0:
            town.waits(at("13:00", days=1))
    town.waits(at("10:00", days=3) - minutes_before * MINUTE - 1)
    again = town.alarms("first", "begins", at("10:00", days=3) - minutes_before * MINUTE)
    assert again.outcome == "repeated"


def test_the_last_256_of_a_device_are_remembered_however_long_ago() -> None:
    town = OneTown()
    for index in range(256):
        town.alarms(f"a{index}", "moment", at("10:00") + index * SECOND)
    town.alarms("other", "moment", "11:00", device="ZA-02")
    for day in range(10, 20):
        town.waits("10:00", days=day)
    for index in (0, 100, 255):
        assert town.alarms(f"a{index}", "moment", at("10:01", days=30)).outcome == "repeated"
    assert town.alarms("other", "moment", at("10:02", days=30), device="ZA-02").outcome == "repeated"


def test_what_is_neither_young_nor_among_the_last_256_is_forgotten() -> None:
    town = OneTown()
    for index in range(300):
        town.alarms(f"a{index:03}", "moment", at("10:00") + index * SECOND)
    town.waits("09:59", days=3)
    assert len(list(town.town.all("seen"))) == 300
    town.waits("12:00", days=3)
    assert sorted(name for name, _ in town.town.all("seen")) == [f"a{index:03}" for index in range(44, 300)]
    assert town.alarms("a000", "moment", at("12:01", days=3)).outcome != "repeated"
    assert town.alarms("a044", "moment", at("12:02", days=3)).outcome == "repeated"


def test_the_young_of_one_device_do_not_push_out_those_of_another() -> None:
    town = OneTown()
    town.alarms("quiet", "moment", "10:00", device="ZA-02")
    for index in range(300):
        town.alarms(f"a{index}", "moment", at("10:00") + index * SECOND)
    town.waits("12:00", days=4)
    assert town.alarms("quiet", "moment", at("12:01", days=4), device="ZA-02").outcome == "repeated"


# ---- the town's clock


def test_a_tick_without_effect_gives_the_very_same_town() -> None:
    town = Town(TOWN, {})
    after, outputs = decide(town, tick(PARTITION), at("10:00"), FORCE)
    assert after is town
    assert outputs == ()
    assert town.clock == Clock()

    busy = OneTown()
    busy.minutes("10:00", 30, 100)
    busy.alarms("a1", "begins", "10:31")
    before = busy.town
    for now in (at("09:00"), at("10:31"), at("11:09:59"), 0, -1):
        assert decide(before, tick(PARTITION), now, FORCE) == (before, ())
        assert decide(before, tick(PARTITION), now, FORCE)[0] is before


def test_a_tick_with_an_effect_is_the_towns_time() -> None:
    town = OneTown()
    town.minutes("10:00", 30, 100)
    town.waits("11:10")
    assert town.clock.now == at("11:10")


def test_ticks_after_all_is_decided_have_no_effect() -> None:
    """The hour's own mean has decided; that its minutes were once waited for is nothing."""
    town = OneTown()
    town.minutes("10:00", 30, 100)
    town.hour("10:00", 100)
    before = town.town
    town.waits("11:10")
    assert town.town is before
    town.alarms("a1", "begins", "11:20")
    before = town.town
    town.waits("20:00")
    assert town.town is before


def test_the_clock_never_goes_back() -> None:
    town = OneTown()
    town.hour("10:00", 200, now=at("11:05"))
    town.alarms("a1", "begins", "11:04")
    assert town.clock.now == at("11:05")
    assert [each.now for each in town.decisions] == [at("11:05")] * 2
    assert town.opened[1].opened_at == at("11:05")


def test_an_older_time_does_not_open_a_closed_window_again() -> None:
    town = OneTown()
    town.minutes("10:00", 44, 500)
    town.waits("11:10")
    assert town.minute("10:50", 500, now=at("11:09")) is LATE


def test_a_record_of_no_use_still_is_the_towns_time() -> None:
    town = OneTown()
    town.hour("10:00", 500, mark="D", now=at("11:05"))
    assert town.clock.now == at("11:05")
    assert town.clock.seq == 0


def test_numbers_go_on_from_one_matter_to_the_next() -> None:
    town = OneTown()
    town.alarms("a1", "begins", "10:00")
    town.alarms("a1", "begins", "10:00", now=at("10:01"))
    town.hour("10:00", 200)
    town.alarms("a2", "ends", "11:30", kind="air.unheard_of")
    assert [each.seq for each in town.decisions] == [1, 2, 3, 4]


def test_towns_do_not_share_ids() -> None:
    one, other = OneTown(code="330100001"), OneTown(code="330100002")
    for town in (one, other):
        town.hour("10:00", 200)
    assert one.opened[0].id != other.opened[0].id
    assert one.opened[0].id.startswith("330100001-")
    assert other.opened[0].id.startswith("330100002-")


def test_the_same_story_told_again_gives_the_same_ids() -> None:
    stories = []
    for _ in range(2):
        town = OneTown()
        town.minutes("10:00", 45, 151)
        town.waits("11:10")
        town.alarms("a1", "begins", "11:20")
        hours(town, 100, 100, 200, since=11)
        stories.append(town.outputs)
    assert stories[0] == stories[1]


# ---- ten seconds instead of an hour


def ten(town: OneTown, index: int, number: float, *, now: int | None = None) -> Applied:
    """The mean of ten seconds as the station sends it: a 2051 of that period."""
    start = at("10:00") + index * 10 * SECOND
    return town.reports(
        value(number),
        code="2051",
        since=start,
        period_s=10,
        accepted_at=start + 10 * SECOND + 100 if now is None else now,
    )


def test_ten_seconds_open_clear_and_open_again() -> None:
    town = OneTown(RULES_IN_10_S)
    for index, number in enumerate((200, 200, 100, 100, 200)):
        assert ten(town, index, number) is APPLIED
    assert town.steps == ["opened", "updated", "cleared", "opened"]
    assert [each.opened_at for each in town.opened] == [at("10:00") + 10_100, at("10:00") + 50_100]
    assert len({each.id for each in town.opened}) == 2


def test_ten_seconds_of_realtime_values() -> None:
    town = OneTown(RULES_IN_10_S)
    for index in range(3):
        assert town.realtime(at("10:00") + index * 2500, 200, now=at("10:00") + index * 2500) is APPLIED
    town.waits(at("10:00") + 11_499)
    assert town.steps == []
    town.waits(at("10:00") + 11_500)
    assert town.steps == ["opened"]


def test_ten_seconds_of_the_near_future_are_not_decided_before_they_are_over() -> None:
    """Two minutes ahead is believed; but what is not over yet has no mean, and hides none."""
    town = OneTown(RULES_IN_10_S)
    assert ten(town, 5, 200, now=at("10:00")) is APPLIED
    assert town.steps == []
    assert ten(town, 1, 300) is APPLIED
    assert town.steps == ["opened"]
    town.waits(at("10:02"))
    assert town.steps == ["opened", "updated"]


@pytest.mark.parametrize(("count", "steps"), [(1, ["opened"]), (2, ["opened", "cleared"]), (5, ["opened", "cleared"])])
@pytest.mark.parametrize("clean_before", [0, 1])
def test_clean_means_that_are_due_together_clear_once(count: int, steps: list[str], clean_before: int) -> None:
    """The station's clock is ahead, so they all came before their time."""
    town = OneTown(RULES_IN_10_S)
    ten(town, 0, 200)
    for index in range(1, clean_before + 1):
        ten(town, index, 100)
    for index in range(clean_before + 1, count + 1):
        ten(town, index, 100, now=at("10:00:21"))
    town.waits("10:05")
    assert town.steps == steps


def test_the_hours_mean_is_of_no_use_for_ten_seconds() -> None:
    town = OneTown(RULES_IN_10_S)
    assert town.hour("10:00", 500) is UNUSED


# ---- entries


def test_what_a_town_did_not_change_it_shares_and_what_it_did_it_lists() -> None:
    town = OneTown()
    hours(town, 200)
    kept = town.town.settle()
    assert not kept.changes
    after, _ = decide(kept, tick(PARTITION), at("23:00"), FORCE)
    assert after is kept
    one = reading(value(100), code="2061", occurred_at=at("11:00"), period_s=3600, accepted_at=at("12:00"))
    after, outputs = decide(
        kept, Input(record=one, topic="readings", partition=PARTITION, offset=9), at("12:00"), FORCE
    )
    assert [type(each) for each in outputs] == [Counted]
    assert set(after.changes) == {("town", ""), ("episode", "air.pm10.over_limit|a34002|ZA-01")}
    assert not kept.changes


def test_a_cleared_ticket_is_gone_from_the_entries() -> None:
    town = OneTown()
    hours(town, 200)
    ticket = town.opened[0].id
    town.town = town.town.settle()
    hours(town, 100, 100, since=11)
    assert town.town.changes["ticket", ticket] is None
    assert town.town.get("ticket", ticket) is None
    assert town.town.settle().get("ticket", ticket) is None


def test_decisions_name_the_rules_in_force() -> None:
    town = OneTown()
    town.hour("10:00", 200)
    town.force = InForce(Registry(version=8, rules=Rules(RULES.all, {STATION: {PM10: 120.0}})))
    town.hour("11:00", 200)
    first, second = town.decisions
    assert first.versions == (Version(name="registry", version="0"), *RULES.versions)
    assert second.versions == (Version(name="registry", version="8"), *town.force.rules.versions)
    assert second.versions[1] != first.versions[1]


def test_what_is_due_together_takes_time_in_proportion(monkeypatch: pytest.MonkeyPatch) -> None:
    """When the next time was looked for after each of them, ten times as many took a hundred times as long."""
    asked = 0

    def due(episode: Episode, rule: Rule) -> int | None:
        nonlocal asked
        asked += 1
        return watch_due(episode, rule)

    watch_due = watch.due
    monkeypatch.setattr(watch, "due", due)
    hour = at("10:00")
    waiting = Episode(periods=(Period(hour, minutes=(Sample(hour, HOUR, 200.0),)),))
    episodes: dict[str, Entry] = {f"air.pm10.over_limit|{PM10}|ZA-{number:03}": waiting for number in range(100)}
    town = Town(TOWN, {"episode": episodes, "town": {"": Clock(now=hour, due=at("11:10"))}})
    after, outputs = decide(town, tick(PARTITION), at("11:10"), FORCE)
    assert sum(isinstance(each, Ticket) for each in outputs) == 100
    assert after.clock.due is None
    assert asked < 5 * 100
