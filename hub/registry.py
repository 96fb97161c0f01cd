"""Which devices there are: one row each of `devices.csv`, edited by clerks.

Columns: device, mn, vendor, feed, town, lon, lat, factor_units. `factor_units` says in which unit the device really sends each
factor, `a34004=ug/m3;a34002=mg/m3;a34001=ug/m3*10`: code, unit and, where the device is scaled wrongly, a factor to multiply with.
"""

import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from decimal import Decimal, InvalidOperation
from pathlib import Path
from types import MappingProxyType

from hub.core.errors import Misconfigured

COLUMNS = ("device", "mn", "vendor", "feed", "town", "lon", "lat", "factor_units")
TOWN_DIGITS = 9


@dataclass(frozen=True, slots=True)
class SentUnit:
    """The unit a device sends a factor in, and what its values must be multiplied with first."""

    unit: str
    scale: Decimal


@dataclass(frozen=True, slots=True)
class Device:
    """One registered device. `lon`, `lat`: WGS 84, degrees, None where the place is not known."""

    id: str
    mn: str
    vendor: str
    feed: str
    town: str
    lon: float | None
    lat: float | None
    units: Mapping[str, SentUnit]


def load_devices(path: Path, feed: str) -> dict[str, Device]:
    """The devices of one feed by their MN (what they call themselves on the wire).

    Raises Misconfigured, naming file, line and column, on anything that is not as the module says: a connector serves only with a
    complete register.
    """
    try:
        text = path.read_text(encoding="utf-8-sig")
    except OSError as error:
        raise Misconfigured(f"the register of devices {path} cannot be read: {error.strerror}") from None
    except UnicodeDecodeError:
        raise Misconfigured(f"the register of devices {path} is not UTF-8") from None
    rows = csv.DictReader(text.splitlines())
    if tuple(rows.fieldnames or ()) != COLUMNS:
        raise Misconfigured(f"{path}: the first line must be {','.join(COLUMNS)}")
    devices: dict[str, Device] = {}
    names: set[str] = set()
    for row in _rows(rows, path):
        where = f"{path}, line {rows.line_num}"
        device = _device(row, where)
        if device.id in names:
            raise Misconfigured(f"{where}: the device {device.id} stands there twice")
        names.add(device.id)
        if device.feed != feed:
            continue
        if device.mn in devices:
            raise Misconfigured(f"{where}: the MN {device.mn} stands there twice")
        devices[device.mn] = device
    return devices


def _rows(rows: "csv.DictReader[str]", path: Path) -> Iterator[Mapping[str, str | None]]:
    try:
        yield from rows
    except csv.Error as error:
        raise Misconfigured(f"{path}, line {rows.line_num}: {error}") from None


def _device(row: Mapping[str, str | None], where: str) -> Device:
    if None in row.values() or None in row:
        raise Misconfigured(f"{where}: {len(COLUMNS)} columns are needed")
    cell = {key: (value or "").strip() for key, value in row.items()}
    for column in ("device", "mn", "vendor", "feed", "town"):
        if not cell[column]:
            raise Misconfigured(f"{where}: {column} is empty")
    if len(cell["town"]) != TOWN_DIGITS or not (cell["town"].isascii() and cell["town"].isdecimal()):
        raise Misconfigured(f"{where}: town {cell['town']!r} is not a 9-digit code (GB/T 10114)")
    return Device(
        id=cell["device"],
        mn=cell["mn"],
        vendor=cell["vendor"],
        feed=cell["feed"],
        town=cell["town"],
        lon=_degrees(cell["lon"], 180, f"{where}: lon"),
        lat=_degrees(cell["lat"], 90, f"{where}: lat"),
        units=_units(cell["factor_units"], f"{where}: factor_units"),
    )


def _degrees(text: str, most: int, where: str) -> float | None:
    if not text:
        return None
    try:
        degrees = float(text)
    except ValueError:
        raise Misconfigured(f"{where} {text!r} is not a number") from None
    if not -most <= degrees <= most:
        raise Misconfigured(f"{where} {text} lies outside +-{most} degrees")
    return degrees


def _units(text: str, where: str) -> Mapping[str, SentUnit]:
    units: dict[str, SentUnit] = {}
    for piece in filter(None, (piece.strip() for piece in text.split(";"))):
        code, equals, sent = (part.strip() for part in piece.partition("="))
        unit, star, scale = (part.strip() for part in sent.partition("*"))
        if not (code and equals and unit):
            raise Misconfigured(f"{where}: {piece!r} is not CODE=UNIT or CODE=UNIT*SCALE")
        try:
            multiplier = Decimal(scale) if star else Decimal(1)
        except InvalidOperation:
            raise Misconfigured(f"{where}: the scale of {piece!r} is not a number") from None
        if not multiplier.is_finite() or multiplier <= 0:
            raise Misconfigured(f"{where}: the scale of {piece!r} must be above zero")
        if code in units:
            raise Misconfigured(f"{where}: {code} stands there twice")
        units[code] = SentUnit(unit, multiplier)
    return MappingProxyType(units)
