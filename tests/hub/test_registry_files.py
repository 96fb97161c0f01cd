"""The files of a registry: read whole or refused, with all that is wrong and where."""

from decimal import Decimal
from pathlib import Path

import pytest

from hub.core.errors import Misconfigured
from hub.core.registry import Device, SentUnit
from hub.registry_check import check, load

HEAD = "device,mn,vendor,feed,town,lon,lat,factor_units\n"
ROW = "ZA-A01,MN1,vendor,air,410122105,113.85,34.72,a34004=ug/m3;a34002=mg/m3*2\n"


def devices(folder: Path, text: str, encoding: str = "utf-8") -> dict[str, Device]:
    """What a folder with these devices and nothing else gives."""
    (folder / "devices.csv").write_text(text, encoding=encoding, newline="")
    return load(folder).by_mn("air")


def test_a_row_becomes_a_device(tmp_path: Path) -> None:
    device = devices(tmp_path, HEAD + ROW)["MN1"]
    assert (device.id, device.town, device.lon, device.lat) == ("ZA-A01", "410122105", 113.85, 34.72)
    assert device.units["a34002"].unit == "mg/m3"
    assert device.units["a34002"].scale == Decimal(2)


def test_blanks_around_units_do_not_matter(tmp_path: Path) -> None:
    device = devices(tmp_path, HEAD + ROW.replace("a34002=mg/m3*2", "a34002 = mg/m3 * 2 "))["MN1"]
    assert device.units["a34002"] == SentUnit("mg/m3", Decimal(2))


def test_the_period_of_minute_data_may_be_told(tmp_path: Path) -> None:
    head = HEAD.replace("\n", ",minute_period_s\n")
    rows = ROW.replace("\n", ",60\n") + ROW.replace("1,", "2,").replace("\n", ",\n")
    told = devices(tmp_path, head + rows).values()
    assert [device.minute_period_s for device in told] == [60, None]


def test_other_feeds_are_left_out(tmp_path: Path) -> None:
    assert devices(tmp_path, HEAD + ROW.replace(",air,", ",camera,")) == {}


def test_a_place_may_be_unknown(tmp_path: Path) -> None:
    device = devices(tmp_path, HEAD + ROW.replace("113.85,34.72", ","))["MN1"]
    assert (device.lon, device.lat) == (None, None)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("device,mn\n", "devices.csv:1: the first line"),
        (HEAD + ROW + ROW, "devices.csv:3: ZA-A01 stands there twice, first in line 2"),
        (
            HEAD + ROW + ROW.replace("ZA-A01", "ZA-A02"),
            "devices.csv:3: mn MN1 stands there twice, as ZA-A01 and ZA-A02",
        ),
        (HEAD + ROW.replace("410122105", "41012210"), "devices.csv:2: town.*9-digit"),
        (HEAD + ROW.replace("410122105", "４１0122105"), "devices.csv:2: town: .*full-width"),
        (HEAD + ROW.replace("113.85", "213.85"), "devices.csv:2: lon.*outside -180 to 180"),
        (HEAD + ROW.replace("113.85", "nan"), "devices.csv:2: lon.*not a number"),
        (HEAD + ROW.replace("113.85", "11_3.85"), "devices.csv:2: lon.*not a number"),
        (HEAD + ROW.replace("113.85,34.72", "34.72,113.85"), "devices.csv:2: lat: .*swapped"),
        (HEAD + ROW.replace("34.72", "north"), "devices.csv:2: lat.*not a number"),
        (HEAD + ROW.replace("MN1", ""), "devices.csv:2: mn is empty"),
        (HEAD + ROW.replace("*2", "*0"), "devices.csv:2: factor_units.*above zero"),
        (HEAD + ROW.replace("=ug/m3", ""), "devices.csv:2: factor_units.*CODE=UNIT"),
        (HEAD + ROW.replace("a34002=", "a34004="), "devices.csv:2: factor_units: a34004 stands there twice"),
        (HEAD + ROW.replace("ug/m3", "x" * 140_000), "devices.csv:2: .*field larger than field limit"),
        (HEAD + ROW.replace(",34.72", ","), "devices.csv:2: lon and lat belong together"),
        (HEAD + ROW.replace("MN1", "4.10E+14"), "devices.csv:2: mn: 4.10E.14: a spreadsheet"),
        (HEAD.replace("\n", ",bearing_deg\n") + ROW.replace("\n", ",90\n"), "devices.csv:2: bearing_deg, distance_m"),
        (HEAD + ROW.replace("MN1", "#NAME?"), "devices.csv:2: mn: #NAME.: .*formula"),
        (HEAD + ROW.replace("ZA-A01", "1月2日"), "devices.csv:2: device: 1月2日: .*a day"),
        (HEAD + ROW.replace("ZA-A01", "ZA　A01"), r"devices.csv:2: device: .* holds '\\u3000'"),
        (HEAD + ROW.replace("MN1", "MN1\u200b"), r"devices.csv:2: mn: .* holds '\\u200b'"),
        (HEAD + ROW.replace("MN1", "'0041"), "devices.csv:2: mn: .*quotation marks"),
        (HEAD + ROW.replace("MN1", '"MN\n1"'), "devices.csv:2: mn: holds a line break"),
        (HEAD + ROW.replace("MN1", '"MN1') + ROW, "devices.csv:2: cannot be read from here on: .*quotation mark"),
        (HEAD + ROW.replace(";", "；"), "devices.csv:2: factor_units: ； is full-width: write ;"),
        (HEAD + ROW.replace("a34004", "a340O4"), "devices.csv:2: ZA-A01: factor_units: no factor is called a340O4"),
        (HEAD + ROW.replace("=ug/m3", "=ugm3"), "devices.csv:2: ZA-A01: factor_units: a34004=ugm3 cannot"),
        (HEAD.replace("\n", ",limits\n") + ROW.replace("\n", ",PM10=80\n"), "ZA-A01: limits: .*PM10; write a34002"),
        (HEAD + "a,b,c\n", "devices.csv:2: feed is empty"),
        (HEAD + ROW.replace("\n", ",more\n"), "devices.csv:2: column 9 is too many .'more'."),
        (HEAD.replace("\n", ",,\n") + ROW.replace("\n", ",,x\n"), "devices.csv:2: column 10 is too many .'x'."),
        (HEAD.replace("\n", ",mean\n"), "devices.csv:1: the first line: mean: not known"),
        (HEAD.replace("\n", ",name,name\n"), "devices.csv:1: the first line: name: there twice"),
        (HEAD.replace(",town,", ","), "devices.csv:1: the first line: town: missing"),
        (
            HEAD.replace("\n", ",minute_period_s\n") + ROW.replace("\n", ",90\n"),
            "devices.csv:2: minute_period_s.*none of 60",
        ),
    ],
)
def test_a_mistake_is_named_with_its_place(tmp_path: Path, text: str, named: str) -> None:
    with pytest.raises(Misconfigured, match=named):
        devices(tmp_path, text)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gbk", "utf-16"])
@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("line", ["\n", "\r\n"])
def test_what_a_spreadsheet_saves_is_read(tmp_path: Path, encoding: str, separator: str, line: str) -> None:
    head = HEAD.replace("\n", ",name\n")
    row = ROW.replace("a34004=ug/m3;a34002=mg/m3*2", "a34004=ug/m3").replace("\n", ",东李庄\n")
    text = (head + row).replace(",", separator).replace("\n", line)
    assert devices(tmp_path, text, encoding)["MN1"].name == "东李庄"


def test_what_excel_leaves_at_the_ends_does_not_matter(tmp_path: Path) -> None:
    """Empty columns and rows beyond the table, and, where the last columns of some rows are empty, no separators for them."""
    head = HEAD.replace("\n", ",limits,name,,\r\n")
    rows = ROW.replace("\n", ",,,,\r\n") + ROW.replace("1,", "2,").replace("\n", "\r\n") + ",,,,,,,,,,,\r\n\r\n"
    assert list(devices(tmp_path, head + rows, "gbk")) == ["MN1", "MN2"]
    [told] = check(tmp_path)[1]
    assert (told.level, str(told)) == (
        "warning",
        "devices.csv:3: 1 rows are shorter than the first line: what is missing at their ends counts as empty",
    )


def test_columns_may_stand_in_any_order(tmp_path: Path) -> None:
    turned = "\n".join(",".join(reversed(line.split(","))) for line in (HEAD + ROW).splitlines())
    assert devices(tmp_path, turned) == devices(tmp_path, HEAD + ROW)


def test_text_with_a_broken_character_is_not_taken_for_another_encoding(tmp_path: Path) -> None:
    """As GB 18030 it could be read: the names would be others."""
    rows = "".join(ROW.replace("1,", f"{number},").replace("\n", ",东李庄\n") for number in range(4))
    text = (HEAD.replace("\n", ",name\n") + rows).encode()
    (tmp_path / "devices.csv").write_bytes(text.replace("庄".encode(), "庄".encode()[:-1], 2))
    with pytest.raises(Misconfigured, match=r"devices.csv:2: cannot be read as UTF-8 or GB 18030"):
        load(tmp_path)


def test_digits_that_a_spreadsheet_cannot_hold_are_told(tmp_path: Path) -> None:
    devices(tmp_path, HEAD + ROW.replace("MN1", "410122100000001000000000"))
    assert [str(one) for one in check(tmp_path)[1]] == [
        "devices.csv:2: mn 410122100000001000000000: has a spreadsheet put zeros for the last digits? Compare it with the device"
    ]


@pytest.mark.parametrize("named", ["roster.xlsx", "Roster.csv", "roster (1).csv", "roster.csv.txt"])
def test_a_file_that_is_called_otherwise_is_not_left_out_in_silence(tmp_path: Path, named: str) -> None:
    (tmp_path / "devices.csv").write_text(HEAD + ROW, encoding="utf-8")
    (tmp_path / named).touch()
    with pytest.raises(Misconfigured) as told:
        load(tmp_path)
    assert str(told.value).endswith(f"roster.csv: is not there, but {named} is: save it as roster.csv")


def test_a_feed_that_nobody_reads_is_told(tmp_path: Path) -> None:
    devices(tmp_path, HEAD + ROW.replace(",air,", ",airs,"))
    assert [str(one) for one in check(tmp_path)[1]] == [
        "devices.csv:2: ZA-A01: nobody reads the feed airs: no connector is called so"
    ]


def test_a_missing_or_unreadable_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match=r"devices\.csv: cannot be read"):
        load(tmp_path)
    (tmp_path / "devices.csv").write_bytes(HEAD.encode() + b"\xff\xff\xfa")
    with pytest.raises(Misconfigured, match=r"devices\.csv:2: cannot be read as UTF-8 or GB 18030"):
        load(tmp_path)
