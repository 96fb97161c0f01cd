"""The files of a registry: read whole or refused, with all that is wrong and where."""

from decimal import Decimal
from pathlib import Path

import pytest

from hub.core.errors import Misconfigured
from hub.core.registry import Device, SentUnit
from hub.registry_check import load

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
        (HEAD + ROW + ROW, "devices.csv:3.*ZA-A01.*twice"),
        (HEAD + ROW + ROW.replace("ZA-A01", "ZA-A02"), "devices.csv:3: MN1 stands there twice, as ZA-A01 and ZA-A02"),
        (HEAD + ROW.replace("410122105", "41012210"), "devices.csv:2: town.*9-digit"),
        (HEAD + ROW.replace("410122105", "４１0122105"), "devices.csv:2: town.*9-digit"),
        (HEAD + ROW.replace("113.85", "213.85"), "devices.csv:2: lon.*outside -180 to 180"),
        (HEAD + ROW.replace("113.85", "nan"), "devices.csv:2: lon.*outside -180 to 180"),
        (HEAD + ROW.replace("34.72", "north"), "devices.csv:2: lat.*not a number"),
        (HEAD + ROW.replace("MN1", ""), "devices.csv:2: mn is empty"),
        (HEAD + ROW.replace("*2", "*0"), "devices.csv:2: factor_units.*above zero"),
        (HEAD + ROW.replace("=ug/m3", ""), "devices.csv:2: factor_units.*CODE=UNIT"),
        (HEAD + ROW.replace("a34002=", "a34004="), "devices.csv:2: factor_units: a34004 stands there twice"),
        (HEAD + ROW.replace("ug/m3", "x" * 140_000), "devices.csv:2: field larger than field limit"),
        (HEAD + ROW.replace(",34.72", ","), "devices.csv:2: lon and lat belong together"),
        (HEAD + ROW.replace("MN1", "4.10E+14"), "devices.csv:2: 4.10E.14: a spreadsheet"),
        (HEAD.replace("\n", ",bearing_deg\n") + ROW.replace("\n", ",90\n"), "devices.csv:2: bearing_deg, distance_m"),
        (HEAD + "a,b,c\n", "devices.csv:2: 8 columns"),
        (HEAD + ROW.replace("\n", ",more\n"), "devices.csv:2: 8 columns"),
        (HEAD.replace("\n", ",mean\n"), "devices.csv:1: the first line"),
        (HEAD.replace("\n", ",minute_period_s,minute_period_s\n"), "devices.csv:1: the first line"),
        (HEAD.replace("\n", ",minute_period_s\n") + ROW, "devices.csv:2: 9 columns"),
        (
            HEAD.replace("\n", ",minute_period_s\n") + ROW.replace("\n", ",90\n"),
            "devices.csv:2: minute_period_s.*none of 60",
        ),
    ],
)
def test_a_mistake_is_named_with_its_place(tmp_path: Path, text: str, named: str) -> None:
    with pytest.raises(Misconfigured, match=named):
        devices(tmp_path, text)


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "gbk"])
@pytest.mark.parametrize("separator", [",", ";", "\t"])
@pytest.mark.parametrize("line", ["\n", "\r\n"])
def test_what_a_spreadsheet_saves_is_read(tmp_path: Path, encoding: str, separator: str, line: str) -> None:
    head = HEAD.replace("\n", ",name\n")
    row = ROW.replace("a34004=ug/m3;a34002=mg/m3*2", "a34004=ug/m3").replace("\n", ",东李庄\n")
    text = (head + row).replace(",", separator).replace("\n", line)
    assert devices(tmp_path, text, encoding)["MN1"].name == "东李庄"


def test_a_missing_or_unreadable_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match=r"devices\.csv: cannot be read"):
        load(tmp_path)
    (tmp_path / "devices.csv").write_bytes(HEAD.encode() + b"\xff\xff\xfa")
    with pytest.raises(Misconfigured, match=r"devices\.csv:2: is neither UTF-8 nor GB 18030"):
        load(tmp_path)
