"""Which devices there are: one row each of `devices.csv`, edited by clerks.

Columns: device, mn, vendor, feed, town, lon, lat, factor_units, and after them, where wanted, minute_period_s and limits. `factor_units` says in which
unit the device really sends each factor, `a34004=ug/m3;a34002=mg/m3;a34001=ug/m3*10`: code, unit and, where the device is scaled wrongly, a
factor to multiply with. `minute_period_s` is the period of its minute data (HJ 212, CN 2051), which the messages do not say. `limits`
are the device's own, `a34002=120;a34004=60`, in the factor's canonical unit; the rules' limits count for the rest.
"""

import csv
from collections.abc import Iterator, Mapping
from decimal import Decimal, InvalidOperation
from pathlib import Path
from types import MappingProxyType

from hub.core.errors import Misconfigured
from hub.core.registry import Device, SentUnit
from hub.lang import Text

COLUMNS = ("device", "mn", "vendor", "feed", "town", "lon", "lat", "factor_units")
MAY_FOLLOW = ("minute_period_s", "limits")
TOWN_DIGITS = 9
# What MinInterval may be (HJ 212-2017, table of the fields of CP): divisors of the hour from 1 to 30 minutes.
MINUTE_PERIODS_S = tuple(60 * minutes for minutes in (1, 2, 3, 4, 5, 6, 10, 12, 15, 20, 30))


def load_devices(path: Path, feed: str) -> dict[str, Device]:
    """The devices of one feed by their MN (what they call themselves on the wire).

    Raises Misconfigured, naming file, line and column, on anything that is not as the module says: a connector serves only with a
    complete register.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise _wrong(path, f"cannot be read: {error.strerror}", f"无法读取：{error.strerror}") from None
    except UnicodeDecodeError:
        raise _wrong(path, "is not UTF-8", "不是 UTF-8 编码") from None
    rows = csv.DictReader(text.splitlines())
    named = tuple(rows.fieldnames or ())
    also = named[len(COLUMNS) :]
    if named[: len(COLUMNS)] != COLUMNS or not set(also) <= set(MAY_FOLLOW) or len(set(also)) < len(also):
        wanted, more = ",".join(COLUMNS), ",".join(MAY_FOLLOW)
        raise _wrong(
            path,
            f"the first line must be {wanted}, after which may follow {more}",
            f"首行必须是 {wanted}，其后可有 {more}",
        )
    devices: dict[str, Device] = {}
    names: set[str] = set()
    for row in _rows(rows, path):
        line = rows.line_num
        device = _device(row, len(named), f"{path}, {Text(f'line {line}', f'第 {line} 行')}")
        if device.id in names:
            raise _wrong(path, f"line {line}: {device.id} stands there twice", f"第 {line} 行：{device.id} 出现两次")
        names.add(device.id)
        if device.feed != feed:
            continue
        if device.mn in devices:
            raise _wrong(path, f"line {line}: {device.mn} stands there twice", f"第 {line} 行：{device.mn} 出现两次")
        devices[device.mn] = device
    return devices


def _wrong(where: object, en: str, zh: str) -> Misconfigured:
    return Misconfigured(f"{where}: {Text(en, zh)}")


def _rows(rows: "csv.DictReader[str]", path: Path) -> Iterator[Mapping[str, str | None]]:
    try:
        yield from rows
    except csv.Error as error:
        line = rows.line_num
        raise _wrong(path, f"line {line}: {error}", f"第 {line} 行：{error}") from None


def _device(row: Mapping[str, str | None], columns: int, where: str) -> Device:
    if None in row.values() or None in row:
        raise _wrong(where, f"{columns} columns are needed", f"需要 {columns} 列")
    cell = {key: (value or "").strip() for key, value in row.items()}
    for column in ("device", "mn", "vendor", "feed", "town"):
        if not cell[column]:
            raise _wrong(where, f"{column} is empty", f"{column} 为空")
    town = cell["town"]
    if len(town) != TOWN_DIGITS or not (town.isascii() and town.isdecimal()):
        raise _wrong(
            where, f"town {town!r} is not a 9-digit code (GB/T 10114)", f"town {town!r} 不是 9 位代码（GB/T 10114）"
        )
    return Device(
        id=cell["device"],
        mn=cell["mn"],
        vendor=cell["vendor"],
        feed=cell["feed"],
        town=town,
        lon=_degrees(cell["lon"], 180, f"{where}: lon"),
        lat=_degrees(cell["lat"], 90, f"{where}: lat"),
        units=_units(cell["factor_units"], f"{where}: factor_units"),
        minute_period_s=_period(cell.get("minute_period_s", ""), f"{where}: minute_period_s"),
        limits=_limits(cell.get("limits", ""), f"{where}: limits"),
    )


def _degrees(text: str, most: int, where: str) -> float | None:
    if not text:
        return None
    try:
        degrees = float(text)
    except ValueError:
        raise _wrong(where, f"{text!r} is not a number", f"{text!r} 不是数字") from None
    if not -most <= degrees <= most:
        raise _wrong(where, f"{text} lies outside +-{most} degrees", f"{text} 超出 ±{most} 度")
    return degrees


def _period(text: str, where: str) -> int | None:
    if not text:
        return None
    if text not in map(str, MINUTE_PERIODS_S):
        allowed = ", ".join(map(str, MINUTE_PERIODS_S))
        raise _wrong(where, f"{text!r} is none of {allowed}", f"{text!r} 不在 {allowed} 之中")
    return int(text)


def _units(text: str, where: str) -> Mapping[str, SentUnit]:
    units: dict[str, SentUnit] = {}
    for piece in filter(None, (piece.strip() for piece in text.split(";"))):
        code, equals, sent = (part.strip() for part in piece.partition("="))
        unit, star, scale = (part.strip() for part in sent.partition("*"))
        if not (code and equals and unit):
            raise _wrong(
                where, f"{piece!r} is not CODE=UNIT or CODE=UNIT*SCALE", f"{piece!r} 不是 CODE=UNIT 或 CODE=UNIT*SCALE"
            )
        try:
            multiplier = Decimal(scale) if star else Decimal(1)
        except InvalidOperation:
            raise _wrong(where, f"the scale of {piece!r} is not a number", f"{piece!r} 的倍率不是数字") from None
        if not multiplier.is_finite() or multiplier <= 0:
            raise _wrong(where, f"the scale of {piece!r} must be above zero", f"{piece!r} 的倍率必须大于零")
        if code in units:
            raise _wrong(where, f"{code} stands there twice", f"{code} 出现两次")
        units[code] = SentUnit(unit, multiplier)
    return MappingProxyType(units)


def _limits(text: str, where: str) -> Mapping[str, float]:
    limits: dict[str, float] = {}
    for piece in filter(None, (piece.strip() for piece in text.split(";"))):
        code, _, number = (part.strip() for part in piece.partition("="))
        try:
            limit = float(number)
        except ValueError:
            limit = 0.0
        if not code or not 0 < limit < float("inf"):
            raise _wrong(where, f"{piece!r} is not CODE=NUMBER above zero", f"{piece!r} 不是 CODE=大于零的数")
        if code in limits:
            raise _wrong(where, f"{code} stands there twice", f"{code} 出现两次")
        limits[code] = limit
    return MappingProxyType(limits)
