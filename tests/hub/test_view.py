"""A line a record: it fits the terminal, its columns stand below each other, and nothing is hidden without a word."""

from collections.abc import Iterator
from dataclasses import replace

import pytest

from hub import lang
from hub.core.events import AirAlert, AlarmValue, DeadLetter, Reading, Value
from hub.view import line

AT = 1_784_246_596_000  # 2026-07-17 08:03:16 in Beijing


@pytest.fixture(autouse=True)
def english() -> Iterator[None]:
    before = lang.chosen()
    lang.choose("en")
    yield
    lang.choose(before)


def values(**by_factor: float | None) -> tuple[Value, ...]:
    return tuple(
        Value(factor=factor, statistic="Rtd", value=value, unit="ug/m3", mark="N")
        for factor, value in by_factor.items()
    )


AIR = Reading(
    id="1",
    town="410122104",
    device="wantan-air-1",
    vendor="qinghe",
    kind="air",
    occurred_at=AT,
    accepted_at=AT,
    event_at=AT,
    time_mark="device",
    lon=None,
    lat=None,
    datum="WGS84",
    message_code="2011",
    period_s=0,
    backfilled=False,
    incomplete=False,
    values=values(a34002=118.62, a34004=58.2, a21026=12.0, a21004=46.1, a05024=51.5, a21005=1.0515, a01001=21.0),
)
ALERT = AirAlert(
    id="2",
    town="410122104",
    device="wantan-air-1",
    vendor="qinghe",
    kind="air.pm10.over_limit",
    occurred_at=AT,
    accepted_at=AT,
    event_at=AT,
    time_mark="device",
    lon=None,
    lat=None,
    datum="WGS84",
    message_code="2072",
    signal="begins",
    values=(AlarmValue(factor="a34002", value=141.5, unit="ug/m3", alarm_type="1"),),
)
LETTER = DeadLetter(
    id="3",
    feed="air",
    vendor="",
    device="",
    reason="crc",
    detail="the frame says 802A, its segment gives 2A80",
    raw=b"",
    evidence_sha256=None,
    accepted_at=AT,
    answered=False,
)


def test_a_wide_terminal_shows_all_factors_and_counts_the_rest() -> None:
    assert line(AIR, 120) == (
        "08:03:16 410122104 wantan-air-1        2011  PM10  119  PM2.5 58.2  SO2 12.0  NO2 46.1  O3 51.5  CO 1.05  +1"
    )


def test_a_narrow_terminal_shows_what_fits_and_counts_the_rest() -> None:
    assert line(AIR, 80) == "08:03:16 410122104 wantan-air-1        2011  PM10  119  PM2.5 58.2  SO2 12.0  +4"


@pytest.mark.parametrize("columns", range(10, 140))
@pytest.mark.parametrize("record", [AIR, ALERT, LETTER], ids=["reading", "alert", "letter"])
def test_no_line_is_wider_than_the_terminal(record: Reading | AirAlert | DeadLetter, columns: int) -> None:
    assert len(line(record, columns)) <= columns


def test_columns_stand_below_each_other_whatever_the_value() -> None:
    small = replace(AIR, device="x", values=values(a34002=7.0, a34004=9.999))
    large = replace(AIR, values=values(a34002=1234.5, a34004=99.96))
    assert line(small, 120).index("PM2.5") == line(large, 120).index("PM2.5") == line(AIR, 120).index("PM2.5")


def test_a_chinese_name_takes_two_columns_a_character() -> None:
    chinese = replace(AIR, device="万滩空气站")
    assert line(chinese, 120).index("2011") == line(AIR, 120).index("2011") - len("万滩空气站")


def test_a_chinese_line_is_cut_by_columns_not_by_characters() -> None:
    assert line(replace(LETTER, detail="汉" * 50), 40) == "08:03:16 dead letter  crc  汉汉汉汉汉汉…"


def test_marks_missing_values_and_unknown_units_are_seen() -> None:
    odd = replace(
        AIR,
        values=(
            Value(factor="a34002", statistic="Rtd", value=118.6, unit="", mark="D"),
            Value(factor="a34004", statistic="Rtd", value=None, unit="", mark="missing"),
        ),
    )
    assert line(odd, 120).endswith("PM10  119?(D)  PM2.5    -(missing)")


def test_an_alert_and_a_dead_letter_say_what_happened() -> None:
    assert line(ALERT, 120) == "08:03:16 410122104 wantan-air-1        ALERT begins  PM10 142"
    assert line(LETTER, 120) == "08:03:16 dead letter  crc  the frame says 802A, its segment gives 2A80"


def test_what_a_terminal_would_take_for_a_command_is_shown_as_a_replacement() -> None:
    hostile = replace(AIR, device="ZA\x1b[2J\x07\x9b1m\u202e1")
    assert "ZA\N{REPLACEMENT CHARACTER}[2J" in line(hostile, 200)
    assert not set("\x1b\x07\x9b\u202e") & set(line(hostile, 200))


def test_in_chinese() -> None:
    lang.choose("zh")
    assert line(ALERT, 120) == "08:03:16 410122104 wantan-air-1        预警 开始  PM10 142"
    assert line(LETTER, 120).startswith("08:03:16 死信  crc  ")
