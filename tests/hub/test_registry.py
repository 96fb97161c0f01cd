"""The register of devices: read whole or refused with file, line and column."""

from decimal import Decimal
from pathlib import Path

import pytest

from hub.core.errors import Misconfigured
from hub.core.registry import SentUnit
from hub.registry import load_devices

HEAD = "device,mn,vendor,feed,town,lon,lat,factor_units\n"
ROW = "ZA-A01,MN1,vendor,air,410122105,113.85,34.72,a34004=ug/m3;a34002=mg/m3*2\n"


def register(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "devices.csv"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_row_becomes_a_device(tmp_path: Path) -> None:
    devices = load_devices(register(tmp_path, HEAD + ROW), "air")
    device = devices["MN1"]
    assert (device.id, device.town, device.lon, device.lat) == ("ZA-A01", "410122105", 113.85, 34.72)
    assert device.units["a34002"].unit == "mg/m3"
    assert device.units["a34002"].scale == Decimal(2)


def test_blanks_around_units_do_not_matter(tmp_path: Path) -> None:
    device = load_devices(register(tmp_path, HEAD + ROW.replace("a34002=mg/m3*2", "a34002 = mg/m3 * 2 ")), "air")["MN1"]
    assert device.units["a34002"] == SentUnit("mg/m3", Decimal(2))


def test_the_period_of_minute_data_may_be_told(tmp_path: Path) -> None:
    head = HEAD.replace("\n", ",minute_period_s\n")
    rows = ROW.replace("\n", ",60\n") + ROW.replace("1,", "2,").replace("\n", ",\n")
    devices = load_devices(register(tmp_path, head + rows), "air")
    assert [device.minute_period_s for device in devices.values()] == [60, None]


def test_other_feeds_are_left_out(tmp_path: Path) -> None:
    assert load_devices(register(tmp_path, HEAD + ROW.replace(",air,", ",camera,")), "air") == {}


def test_a_place_may_be_unknown(tmp_path: Path) -> None:
    device = load_devices(register(tmp_path, HEAD + ROW.replace("113.85,34.72", ",")), "air")["MN1"]
    assert (device.lon, device.lat) == (None, None)


@pytest.mark.parametrize(
    ("text", "named"),
    [
        ("device,mn\n", "first line"),
        (HEAD + ROW + ROW, "line 3.*ZA-A01.*twice"),
        (HEAD + ROW + ROW.replace("ZA-A01", "ZA-A02"), "line 3.*MN1.*twice"),
        (HEAD + ROW.replace("410122105", "41012210"), "line 2.*9-digit"),
        (HEAD + ROW.replace("410122105", "４１0122105"), "line 2.*9-digit"),
        (HEAD + ROW.replace("113.85", "213.85"), "line 2: lon.*180"),
        (HEAD + ROW.replace("113.85", "nan"), "line 2: lon.*180"),
        (HEAD + ROW.replace("34.72", "north"), "line 2: lat.*not a number"),
        (HEAD + ROW.replace("MN1", ""), "line 2: mn is empty"),
        (HEAD + ROW.replace("*2", "*0"), "line 2: factor_units.*above zero"),
        (HEAD + ROW.replace("=ug/m3", ""), "line 2: factor_units.*CODE=UNIT"),
        (HEAD + ROW.replace("a34002=", "a34004="), "line 2: factor_units: a34004 stands there twice"),
        (HEAD + ROW.replace("ug/m3", "x" * 140_000), "field larger than field limit"),
        (HEAD + "a,b,c\n", "line 2: 8 columns"),
        (HEAD + ROW.replace("\n", ",more\n"), "line 2: 8 columns"),
        (HEAD.replace("\n", ",mean\n"), "first line"),
        (HEAD.replace("\n", ",minute_period_s,minute_period_s\n"), "first line"),
        (HEAD.replace("\n", ",minute_period_s\n") + ROW, "line 2: 9 columns"),
        (HEAD.replace("\n", ",minute_period_s\n") + ROW.replace("\n", ",90\n"), "line 2: minute_period_s.*none of 60"),
    ],
)
def test_a_mistake_is_named_with_its_place(tmp_path: Path, text: str, named: str) -> None:
    with pytest.raises(Misconfigured, match=named):
        load_devices(register(tmp_path, text), "air")


def test_a_missing_or_unreadable_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="cannot be read"):
        load_devices(tmp_path / "none.csv", "air")
    (tmp_path / "devices.csv").write_bytes(b"\xff\xfe\xfa")
    with pytest.raises(Misconfigured, match="not UTF-8"):
        load_devices(tmp_path / "devices.csv", "air")
