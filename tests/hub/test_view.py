"""The screen fits every terminal, its columns stand below each other, and nothing from outside commands it."""

import io
import re
from collections.abc import Sequence
from dataclasses import replace

import pytest
from rich.cells import cell_len
from rich.console import Console

from hub import lang
from hub.reasons import reason
from hub.view import Column, Feed, Happening, Matter, Picture, Router, Screen, line, screen, summary, table

AT = 1_784_246_596_000  # 2026-07-17 08:03:16 in Beijing
MEAN = "mean 182.438, limit 150 ug/m3"


def matter(device: str, *, ago_s: int = 40, lasted_s: int | None = None) -> Matter:
    opened = AT - ago_s * 1000
    return Matter(
        id=f"410122106-{device}",
        town="410122106",
        device=device,
        kind="air.pm10.over_limit",
        reason=MEAN,
        opened_at=opened,
        cleared_at=None if lasted_s is None else opened + lasted_s * 1000,
    )


OPENED = Happening(
    at=AT, what="opened", town="410122106", device="zhengan-air-1", kind="air.pm10.over_limit", detail=MEAN
)
CLEARED = replace(OPENED, what="cleared", detail="mean 88.5, limit 150 ug/m3", open_s=125.0)
LETTER = Happening(at=AT, what="dead letter", detail="air  crc  the frame says 802A, its segment gives 2A80")
PICTURE = Picture(
    at=AT,
    title="demo: 1 h = 10 s",
    data=".gridhub/data",
    feeds=(
        Feed(
            name="air",
            received=12_345,
            per_s=8.04,
            fates={"published": 12_000, "dead-lettered": 45, "empty": 300, "refused": 0},
            answered=12_300,
            answered_per_s=8.0,
            dead_letters={"crc": 40, "length": 5, "syntax": 0},
            connections=40,
        ),
    ),
    routers=(
        Router(
            slot="0",
            partitions=(0, 1, 2, 3, 7),
            lag=12,
            behind_s=3.2,
            transactions=99,
            per_s=6.01,
            aborts={"unavailable": 2, "other": 0},
            p50_s=0.025,
            p99_s=1.25,
            rebuild_s=0.255,
        ),
    ),
    open_count=3,
    cleared_count=1_200,
    open=tuple(matter(f"zhengan-air-{number}") for number in range(1, 4)),
    cleared=tuple(matter(f"baisha-dust-{number}", ago_s=4000, lasted_s=3700) for number in range(1, 30)),
    happenings=(OPENED, CLEARED, LETTER) * 20,
)


def lines(picture: Picture, columns: int, rows: int) -> list[str]:
    return [one.plain for one in screen(picture, columns, rows)]


def with_word(shown: Sequence[str], word: str) -> str:
    return next(one for one in shown if word in one)


def cells(shown: Sequence[str], word: str) -> str:
    return re.sub(" {2,}", "|", with_word(shown, word))


def test_a_wide_screen_shows_everything() -> None:
    shown = lines(PICTURE, 130, 40)
    assert shown[0].startswith("gridhub 08:03:16  demo: 1 h = 10 s  ")
    assert shown[0].endswith("  q: quit")
    assert cells(shown, "12,345") == "air|ready|12,345|8.0|12,000|300|0|45|12,300|8.0|40|crc 40|length 5"
    assert cells(shown, "0-3, 7") == "0|ready|0-3, 7 (5)|12|3 s|6.0|unavailable 2|25 ms|1.2 s|255 ms"
    assert "TICKETS  3 open, 1,200 cleared" in shown
    assert (
        cells(shown, "zhengan-air-1") == "open|08:02:36|410122106|zhengan-air-1|40 s|PM10|mean 182.4, limit 150 ug/m3"
    )
    assert "  1 h 1 min  " in with_word(shown, "baisha-dust-1 ")
    assert "08:03:16 dead letter air  crc  the frame says 802A, its segment gives 2A80" in shown


def test_a_narrow_screen_keeps_what_matters_most() -> None:
    shown = lines(PICTURE, 50, 15)
    assert cells(shown, "12,345") == "air|ready|12,345|45|12,300|40"
    assert cells(shown, "zhengan-air-1") == "open|08:02:36|zhengan-air-1|40 s|PM10"
    assert "q: quit" in shown[0]


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize("rows", [1, 2, 3, 5, 8, 15, 24, 29, 30, 31, 60, 200])
@pytest.mark.parametrize("columns", [1, 7, 20, 50, 79, 80, 120, 300])
def test_no_screen_is_larger_than_the_terminal(columns: int, rows: int, language: str) -> None:
    lang.choose(language)
    odd = replace(
        PICTURE,
        kafka="no broker answers at 127.0.0.1:9092",
        open=(matter("郑庵镇一号空气站"), *PICTURE.open),
        routers=(*PICTURE.routers, Router(slot="1", trouble=("not in the group yet", "ending"))),
    )
    for picture in (PICTURE, odd, Picture(at=AT)):
        shown = lines(picture, columns, rows)
        assert len(shown) <= rows
        assert max(map(cell_len, shown)) <= columns


def test_a_full_screen_leaves_no_row_empty() -> None:
    assert all(len(lines(PICTURE, 80, rows)) == rows for rows in (15, 24, 29, 30, 50))


def test_what_is_printed_is_what_was_made() -> None:
    out = io.StringIO()
    Console(file=out, width=80, height=24, force_terminal=True, color_system=None).print(
        Screen(PICTURE), height=24, end=""
    )
    assert [one.rstrip() for one in out.getvalue().splitlines()] == [one.rstrip() for one in lines(PICTURE, 80, 24)]


def test_columns_stand_below_each_other_whatever_the_script() -> None:
    rows = table([Column("名", ["万滩空气站", "x"]), Column("n", ["1", "22"], right=True)], 40)
    assert [one.plain for one in rows] == ["名           n", "万滩空气站   1", "x           22"]


def test_columns_go_in_their_order_where_room_is_short_and_the_last_may_be_cut() -> None:
    columns = [
        Column("a", ["1" * 10]),
        Column("b", ["2" * 10], 2),
        Column("c", ["3" * 10], 1),
        Column("d", ["4" * 30], 3, least=5, cut=True),
    ]
    assert [one.plain for one in table(columns, 41)][1] == f"{'1' * 10}  {'2' * 10}  {'3' * 10}  {'4' * 30}"
    assert [one.plain for one in table(columns, 40)][1] == f"{'1' * 10}  {'2' * 10}  {'3' * 10}"
    assert [one.plain for one in table(columns, 33)][1] == f"{'1' * 10}  {'3' * 10}"
    assert [one.plain for one in table(columns, 11)][1] == "1" * 10


def test_a_process_in_trouble_says_why_on_a_line_of_its_own() -> None:
    dead = replace(PICTURE, feeds=(Feed(name="air", trouble=("Kafka has not acknowledged for 7 s",)),))
    shown = lines(dead, 80, 24)
    assert with_word(shown, "not ready").startswith("air     not ready")
    assert "  air: Kafka has not acknowledged for 7 s" in shown


def test_a_kafka_that_is_away_and_a_hub_that_does_not_run_are_told() -> None:
    shown = lines(Picture(at=AT, kafka="no broker answers", data="/srv/data"), 80, 24)
    assert shown[1:3] == ["Kafka: no broker answers", "No process of the hub runs on /srv/data."]


def test_each_happening_is_a_line() -> None:
    assert line(OPENED) == "08:03:16 410122106 zhengan-air-1      opened  PM10   mean 182.4, limit 150 ug/m3"
    assert line(CLEARED) == (
        "08:03:16 410122106 zhengan-air-1      cleared PM10   mean 88.5, limit 150 ug/m3; was open for 2 min"
    )
    assert line(LETTER) == "08:03:16 dead letter air  crc  the frame says 802A, its segment gives 2A80"
    alarm = replace(OPENED, kind="air.device_alarm", detail="signal begins")
    assert line(alarm).endswith("opened  alarm  begins")


def test_updates_of_open_tickets_are_no_news_for_a_screen() -> None:
    updates = replace(PICTURE, happenings=(OPENED, *(replace(OPENED, what="updated", town="999999999"),) * 50))
    assert not [one for one in lines(updates, 120, 40) if "999999999" in one]


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("mean 182.438, limit 150 ug/m3", "mean 182.4, limit 150 ug/m3"),
        ("mean 150.04, limit 150 ug/m3", "mean 150.04, limit 150 ug/m3"),  # not as if it were at the limit
        ("mean strange, limit 150 ug/m3", "mean strange, limit 150 ug/m3"),
        ("nothing_open", "nothing is open"),
        ("signal moment", "moment"),
        ("area 612 m2, stated 918 m2", "its outline has 612 m2, the vendor states 918 m2"),
        ("something new", "something new"),
    ],
)
def test_reasons_are_for_people(text: str, shown: str) -> None:
    assert str(reason(text)) == shown


def test_what_a_terminal_would_take_for_a_command_is_shown_as_a_replacement() -> None:
    hostile = "ZA\x1b[2J\x07\x9b1m\u202e1\n"
    picture = Picture(
        at=AT,
        kafka=hostile,
        feeds=(Feed(name=hostile, trouble=(hostile,), dead_letters={hostile: 1}),),
        routers=(Router(slot=hostile, trouble=(hostile,), aborts={hostile: 1}),),
        open=(replace(matter(hostile), town=hostile, kind=hostile, reason=hostile),),
        happenings=(Happening(at=AT, what=hostile, town=hostile, device=hostile, kind=hostile, detail=hostile),),
    )
    shown = "".join([*lines(picture, 500, 60), line(picture.happenings[0]), summary(picture, picture)])
    assert "ZA\N{REPLACEMENT CHARACTER}[2J" in shown
    assert not set("\x1b\x07\x9b\u202e\n") & set(shown)


def test_a_summary_tells_the_difference_and_what_stands() -> None:
    later = replace(
        PICTURE,
        at=AT + 10_000,
        feeds=(replace(PICTURE.feeds[0], received=12_346, answered=12_310, dead_letters={"crc": 42}),),
        opened_now=5,
        cleared_now=2,
    )
    assert summary(PICTURE, later) == (
        "-- 10 s: 1 message, 10 answered, -3 dead letters; tickets: 5 opened, 2 cleared, 3 open"
    )
    away = replace(PICTURE, kafka="no broker", routers=(Router(slot="0", trouble=("ending",)),))
    assert summary(PICTURE, away).endswith("; Kafka: no broker; router 0: ending")


def test_in_chinese() -> None:
    lang.choose("zh")
    shown = lines(PICTURE, 120, 40)
    assert shown[0].endswith("  q 退出")
    assert cells(shown, "12,345").startswith("air|就绪|12,345|")
    assert "工单  未解除 3，已解除 1,200" in shown
    assert with_word(shown, "zhengan-air-1").endswith("PM10  均值 182.4，限值 150 ug/m3")
    assert line(CLEARED) == (
        "08:03:16 410122106 zhengan-air-1      解除    PM10   均值 88.5，限值 150 ug/m3；历时 2 min"
    )
    assert str(reason("nothing_open")) == "没有未解除的工单"


def test_a_spool_is_shown_where_there_is_something_in_it() -> None:
    (feed,) = PICTURE.feeds
    shown = lines(replace(PICTURE, feeds=(replace(feed, spooled=1234),)), 120, 30)
    (at,) = (number for number, line in enumerate(shown) if line.startswith("FEED"))
    assert "spool" in shown[at]
    assert "1,234" in shown[at + 1]
    assert not any("spool" in line for line in lines(PICTURE, 120, 30))
