"""From a patrol's feature to an alert. Pure: vendor, registry and the moment of acceptance are arguments. What raises is Rejected."""

import hashlib
import json
import math
import re
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any
from zoneinfo import ZoneInfo

from connectors.patrol.features import Feature
from connectors.patrol.fields import (
    CLASSES,
    CODES,
    M2_PER_MU,
    NO,
    ORIGINS,
    OTHER,
    STAGES,
    YES,
    signal_of,
    word_of,
)
from connectors.patrol.geometry import NOWHERE, Placed, place
from hub.core import datum as datums
from hub.core.errors import Reason, Rejected
from hub.core.events import UNKNOWN_TOWN, PatrolAlert
from hub.core.grid import Map, Place
from hub.core.registry import Device, Registry, Vendor
from hub.core.times import place_in_time

FEED = "patrol"
KIND = "patrol.illegal_building"
MOST_TEXT, MOST_NAME, MOST_LINK, MOST_PHOTOS = 1000, 100, 500, 20
DIGITS = 16
MILLISECONDS_FROM = 1e11
EPOCH_DIGITS = (10, 13)
EARLIEST, AHEAD_AT_MOST = datetime(2000, 1, 1, tzinfo=UTC), timedelta(hours=24)
_COMPACT = re.compile(r"(\d{4})(\d{2})(\d{2})(?:(\d{2})(\d{2})(\d{2})?)?")
_PLAIN = re.compile(
    r"(\d{4})[-/年.](\d{1,2})[-/月.](\d{1,2})日?(?:(?:[T ]|(?<=日))\s*(\d{1,2})[:时](\d{1,2})(?:[:分](\d{1,2})秒?)?分?(?:\.\d+)?)?"
)
_DEGREES = re.compile(
    r"[NE北东]?\s*(\d+(?:\.\d+)?)\s*[°度]\s*(?:(\d+(?:\.\d+)?)\s*['′’分])?\s*(?:(\d+(?:\.\d+)?)\s*(?:[\"″”秒]|''|′′))?\s*[NE北东]?"
)
_AREA = re.compile(r"(\d+(?:,\d{3})*(?:\.\d+)?)\s*(亩|㎡|m2|m²|平方米|平米)?")
_LINK = re.compile(r"https?://\S+", re.IGNORECASE)


class Town:
    """What of one registry translating needs: its map, and its patrol devices by what they call themselves."""

    def __init__(self, registry: Registry) -> None:
        self.devices: Mapping[str, Device] = registry.by_mn(FEED)
        self.by_id: Mapping[str, Device] = {device.id: device for device in self.devices.values()}
        self._map = Map(registry) if registry.towns else None

    def of(self, placed: Placed) -> str:
        """The town that contains the place. Raises Rejected (outside_area) where it is more than 5 km from every town."""
        if self._map is None or placed is NOWHERE:
            return UNKNOWN_TOWN
        where = Place(
            lon=placed.lon, lat=placed.lat, datum=placed.datum, given_x=placed.given_x, given_y=placed.given_y
        )
        if (town := self._map.town(where)) is None:
            raise Rejected(
                Reason.OUTSIDE_AREA,
                f"more than 5 km from every town, in {placed.datum}: a wrong datum or order of axes?",
            )
        return town


def translate(
    feature: Feature, vendor: Vendor, town: Town, accepted_at: int, *, key: str = "", index: int = 0
) -> PatrolAlert:
    """The alert. `key`: the push's Idempotency-Key, `index`: which of its features it is. Raises Rejected: syntax, datum, outside_area, not_yours,
    too_large.
    """
    if feature.fault:
        raise Rejected(Reason.SYNTAX, feature.fault)
    said = feature.said
    placed = _placed(feature, vendor)
    device = _device(said, vendor, town)
    found_at = _found_at(said, ZoneInfo(vendor.zone), accepted_at)
    event_at, mark = place_in_time(found_at, accepted_at)
    status = _words(said, "vendor_status", MOST_NAME)
    spot_no, event_no = _words(said, "spot_no", MOST_NAME), _words(said, "event_no", MOST_NAME)
    kind = _words(said, "building_type", MOST_NAME)
    told = (kind, _words(said, "feature_text"), _words(said, "description"))
    home = town.of(placed)
    if placed is NOWHERE and device is not None:
        home = device.town
    image_after = _words(said, "image_after", MOST_NAME)
    content = json.dumps([said, feature.geometry, feature.crs], sort_keys=True, ensure_ascii=False)
    identity = _id(
        vendor,
        (spot_no, "/".join(filter(None, (image_after, status)))),
        (event_no, status),
        key and f"{key}/{index}",
        content,
        found_at,
    )
    return PatrolAlert(
        id=identity,
        town=home,
        device=device.id if device else "",
        vendor=vendor.id,
        kind=KIND,
        occurred_at=found_at,
        accepted_at=accepted_at,
        event_at=event_at,
        time_mark=mark,
        lon=placed.lon,
        lat=placed.lat,
        datum=placed.datum,
        given_x=placed.given_x,
        given_y=placed.given_y,
        accuracy_m=_number(said, "accuracy_m"),
        signal=signal_of(status),
        spot_no=spot_no,
        event_no=event_no,
        origin=word_of(ORIGINS, _words(said, "origin")),
        building_type=kind,
        building_class=CODES.get(kind.lower()) or next(filter(None, (word_of(CLASSES, text) for text in told)), OTHER),
        stage=word_of(STAGES, _words(said, "stage")),
        area_m2=placed.area_m2,
        stated_area_m2=_stated_area(said),
        floors=_whole(said, "floors"),
        structure=_words(said, "structure", MOST_NAME),
        address=_words(said, "address", MOST_LINK),
        description=(_words(said, "description") or _words(said, "feature_text"))[:MOST_TEXT],
        image_before=_words(said, "image_before", MOST_NAME),
        image_after=image_after,
        confidence=_share(said),
        farmland=_flag(said, "farmland"),
        redline=_flag(said, "redline"),
        vendor_status=status,
        geometry=placed.geometry,
        given_geometry=placed.given_geometry,
        photos=_photos(said.get("photos")),
        evidence=(),
    )


def _placed(feature: Feature, vendor: Vendor) -> Placed:
    words = [word for word in (feature.crs, _words(feature.said, "datum", MOST_NAME)) if word]
    named = [datum for word in words if (datum := datums.named(word))]
    if len(named) < len(words):
        raise Rejected(Reason.DATUM, "a coordinate system that is not known or needs parameters of its own")
    if len({datums.WGS84 if datum == datums.CGCS2000 else datum for datum in named}) > 1:
        raise Rejected(Reason.DATUM, f"two coordinate systems: {' and '.join(named)}")
    datum = named[0] if named else vendor.datum
    point = None
    if feature.geometry is None and "lon" in feature.said and "lat" in feature.said:
        x, y = _degrees(feature.said["lon"]), _degrees(feature.said["lat"])
        if x is None or y is None:
            raise Rejected(Reason.SYNTAX, "longitude or latitude is no number")
        if x or y:  # 0, 0 is how some write nothing
            point = (x, y)
    return place(feature.geometry, point, datum, inverse=vendor.gcj02_inverse)


def _device(said: Mapping[str, Any], vendor: Vendor, town: Town) -> Device | None:
    name = _words(said, "device", MOST_NAME)
    device = town.devices.get(name) if name else None
    if device is not None and device.vendor != vendor.id:
        raise Rejected(Reason.NOT_YOURS, f"{device.id} belongs to another vendor")
    return device


def _id(
    vendor: Vendor, spot: tuple[str, str], event: tuple[str, str], key: str, content: str, found_at: int | None
) -> str:
    """The sender's own identity of the message: what comes first of spot with image period and status, event and status, key of the push, content."""
    # JSON may hold half a character, which no record takes: that is told when the record is made.
    digest = hashlib.sha256(content.encode("utf-8", "surrogatepass")).hexdigest()[:DIGITS]
    if spot[0]:
        return f"{vendor.id}/{spot[0]}/{spot[1] or digest}"
    if event[0]:
        return f"{vendor.id}/{event[0]}/{event[1]}"
    return f"{vendor.id}/{key}" if key else f"{vendor.id}/{found_at or 0}/{digest}"


# ---- values


def _words(said: Mapping[str, Any], field: str, most: int = MOST_TEXT) -> str:
    value = said.get(field)
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return str(value).strip()[:most] if isinstance(value, str | int | float) and not isinstance(value, bool) else ""


def _number(said: Mapping[str, Any], field: str) -> float | None:
    value = said.get(field)
    try:
        number = float(value) if isinstance(value, str | int | float) and not isinstance(value, bool) else math.nan
    except (ValueError, OverflowError):
        return None
    return number if math.isfinite(number) and number >= 0 else None


def _stated_area(said: Mapping[str, Any]) -> float | None:
    """In square metres, whatever unit it names."""
    area_mu = _number(said, "area_mu")
    if area_mu is not None:
        return area_mu * M2_PER_MU
    found = _AREA.fullmatch(_words(said, "area_m2", MOST_NAME).lower())
    if found is None:
        return _number(said, "area_m2")
    area = float(found[1].replace(",", ""))
    return area * M2_PER_MU if found[2] == "亩" else area


def _whole(said: Mapping[str, Any], field: str) -> int | None:
    number = _number(said, field)
    return int(number) if number is not None and number < 1000 else None  # noqa: PLR2004 - higher than any house


def _share(said: Mapping[str, Any]) -> float | None:
    number = _number(said, "confidence")
    if number is not None and 1 < number <= 100:  # noqa: PLR2004 - per cent
        number /= 100
    return number if number is not None and number <= 1 else None


def _flag(said: Mapping[str, Any], field: str) -> bool | None:
    value = said.get(field)
    if isinstance(value, bool):
        return value
    text = str(value).strip().lower()
    return True if text in YES else False if text in NO else None


def _degrees(value: Any) -> float | None:
    """A number, text or not, or 113°44'25.8"."""
    if isinstance(value, bool):
        return None
    try:
        number = float(value)
    except (TypeError, ValueError, OverflowError):
        found = _DEGREES.fullmatch(str(value).strip()[:MOST_NAME])
        if found is None:
            return None
        degrees, minutes, seconds = (float(part or 0) for part in found.groups())
        return degrees + minutes / 60 + seconds / 3600 if max(minutes, seconds) < 60 else None  # noqa: PLR2004 - of a clock
    return number if math.isfinite(number) else None


def _photos(value: Any) -> tuple[str, ...]:
    """Links, from a list, from objects with `url`, or from a list inside a text."""
    value = [value] if isinstance(value, dict) else value
    if isinstance(value, str):
        try:
            value = json.loads(value) if value.lstrip().startswith("[") else value.split(",")
        except (ValueError, RecursionError):
            return ()
    links = []
    for one in value if isinstance(value, list) else ():
        link = one.get("url") if isinstance(one, dict) else one
        if isinstance(link, str) and _LINK.fullmatch(link.strip()) and len(link) <= MOST_LINK:
            links.append(link.strip())
    return tuple(links[:MOST_PHOTOS])


def _found_at(said: Mapping[str, Any], zone: tzinfo, accepted_at: int) -> int | None:
    """When it was found, else the day of the later image; None for what is no time, before 2000 or more than a day ahead."""
    for field in ("found_at", "image_after"):
        moment = _moment(said.get(field), zone)
        if moment is not None:
            at = int(moment.timestamp() * 1000)
            latest = accepted_at + int(AHEAD_AT_MOST.total_seconds() * 1000)
            return at if int(EARLIEST.timestamp() * 1000) <= at <= latest else None
    return None


def _moment(value: Any, zone: tzinfo) -> datetime | None:
    text = _words({"t": value}, "t", MOST_NAME)
    compact = _COMPACT.fullmatch(text)
    if (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and value >= MILLISECONDS_FROM / 100
        and not compact
    ):
        seconds = value / 1000 if value >= MILLISECONDS_FROM else value
        try:
            return datetime.fromtimestamp(seconds, UTC)
        except (OverflowError, OSError, ValueError):
            return None
    if text.isascii() and text.isdigit() and len(text) in EPOCH_DIGITS:
        return _moment(int(text), zone)
    if compact:
        return _local(compact.groups(), zone)
    try:
        moment = datetime.fromisoformat(text)
    except ValueError:
        found = _PLAIN.fullmatch(text)
        return _local(found.groups(), zone) if found else None
    return moment if moment.tzinfo else moment.replace(tzinfo=zone)


def _local(parts: tuple[str | None, ...], zone: tzinfo) -> datetime | None:
    year, month, day, hour, minute, second = (int(part or 0) for part in parts)
    try:
        return datetime(year, month, day, hour, minute, second, tzinfo=zone)
    except ValueError:
        return None
