"""Datums and planes of Chinese places: WGS 84 (CGCS2000 is equal for this purpose), GCJ-02, BD-09, and Gauss-Krueger zones of CGCS2000.

Degrees are decimal, longitude first; planes are metres, easting first. GCJ-02 and BD-09 have no official text: the public formula, on which
independent programs agree to 1e-6 degrees. The way back is by iteration, since one step of it is wrong by up to 2 m.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache
from math import atan2, cos, isfinite, pi, sin, sqrt
from typing import Any

from pyproj import CRS, Geod, Transformer

WGS84, CGCS2000, GCJ02, BD09 = "WGS84", "CGCS2000", "GCJ02", "BD09"
# GCJ-02 is defined on the ellipsoid of Krassovsky.
KRASSOVSKY_A, KRASSOVSKY_EE = 6378245.0, 0.00669342162296594323
SHIFTED_LON, SHIFTED_LAT = (72.004, 137.8347), (0.8293, 55.8271)
BD09_TURN = pi * 3000 / 180
EXACT_DEGREES = 1e-9
MOST_ROUNDS = 30
# CGCS2000 3-degree zones, without and with the zone's number before the easting.
ZONES_PLAIN, ZONES_NUMBERED = range(4534, 4555), range(4513, 4534)
FIRST_ZONE, ZONE_METRES = 25, 1_000_000
# Where China's numbers lie; an easting counts from 500 km west of its meridian, and a zone is not 300 km wide.
CHINA_LON, CHINA_LAT = (73.0, 136.0), (3.0, 54.0)
EASTING, CHINA_NORTHING = (300_000.0, 700_000.0), (330_000.0, 6_000_000.0)
ELLIPSOID = Geod(ellps="GRS80")

Point = tuple[float, float]


def to_gcj02(lon: float, lat: float) -> Point:
    """WGS 84 to GCJ-02; outside a crude box around China nothing is shifted."""
    if not (SHIFTED_LON[0] <= lon <= SHIFTED_LON[1] and SHIFTED_LAT[0] <= lat <= SHIFTED_LAT[1]):
        return lon, lat
    x, y = lon - 105.0, lat - 35.0
    both = (20 * sin(6 * pi * x) + 20 * sin(2 * pi * x)) * 2 / 3
    north = -100 + 2 * x + 3 * y + 0.2 * y * y + 0.1 * x * y + 0.2 * sqrt(abs(x)) + both
    north += (20 * sin(pi * y) + 40 * sin(pi * y / 3)) * 2 / 3
    north += (160 * sin(pi * y / 12) + 320 * sin(pi * y / 30)) * 2 / 3
    east = 300 + x + 2 * y + 0.1 * x * x + 0.1 * x * y + 0.1 * sqrt(abs(x)) + both
    east += (20 * sin(pi * x) + 40 * sin(pi * x / 3)) * 2 / 3
    east += (150 * sin(pi * x / 12) + 300 * sin(pi * x / 30)) * 2 / 3
    radians = lat * pi / 180
    m = 1 - KRASSOVSKY_EE * sin(radians) ** 2
    metres_north = KRASSOVSKY_A * (1 - KRASSOVSKY_EE) / (m * sqrt(m)) * pi / 180
    metres_east = KRASSOVSKY_A / sqrt(m) * cos(radians) * pi / 180
    return lon + east / metres_east, lat + north / metres_north


def from_gcj02(lon: float, lat: float) -> Point:
    """GCJ-02 to WGS 84, right to 1e-9 degrees."""
    return _back(to_gcj02, lon, lat)


def to_bd09(lon: float, lat: float) -> Point:
    """WGS 84 to BD-09."""
    return _bd09_of_gcj02(*to_gcj02(lon, lat))


def from_bd09(lon: float, lat: float) -> Point:
    """BD-09 to WGS 84, right to 1e-9 degrees."""
    return from_gcj02(*_back(_bd09_of_gcj02, lon, lat))


def _bd09_of_gcj02(x: float, y: float) -> Point:
    length = sqrt(x * x + y * y) + 0.00002 * sin(y * BD09_TURN)
    angle = atan2(y, x) + 0.000003 * cos(x * BD09_TURN)
    return length * cos(angle) + 0.0065, length * sin(angle) + 0.006


def _back(forward: Callable[[float, float], Point], lon: float, lat: float) -> Point:
    x, y = lon, lat
    for _ in range(MOST_ROUNDS):
        shifted_x, shifted_y = forward(x, y)
        x, y = x - (shifted_x - lon), y - (shifted_y - lat)
        if max(abs(shifted_x - lon), abs(shifted_y - lat)) < EXACT_DEGREES:
            break
    return x, y


FORWARD: dict[str, Callable[[float, float], Point]] = {GCJ02: to_gcj02, BD09: to_bd09}
"""The shifted datums: from WGS 84 to them."""
BACK: dict[str, Callable[[float, float], Point]] = {GCJ02: from_gcj02, BD09: from_bd09}

_NAMES = {
    WGS84: ("wgs84", "wgs1984", "crs84", "gps"),
    CGCS2000: ("cgcs2000", "国家2000", "国家大地2000", "2000国家大地"),
    GCJ02: ("gcj02", "gcj02ll", "mars", "amap", "gaode", "tencent", "火星", "高德", "腾讯", "国测局"),
    BD09: ("bd09", "bd09ll", "baidu", "百度"),
}
_BY_NAME = {name: datum for datum, names in _NAMES.items() for name in names}
_BY_NUMBER = {4326: WGS84, 4490: CGCS2000} | {number: f"EPSG:{number}" for number in (*ZONES_PLAIN, *ZONES_NUMBERED)}
# EPSG:4490, EPSG::4490, urn:ogc:def:crs:EPSG:6.9:4490, http://www.opengis.net/def/crs/EPSG/0/4490, 4490
_EPSG = re.compile(r"(?:(?:.*[:/])?epsg[:/ ]*(?:[0-9.]+[:/])?)?([0-9]{4})")
_CRS84 = re.compile(r"(?:.*[:/])?ogc[:/](?:1\.3)?[:/]?crs84")


def named(text: str) -> str | None:
    """The datum that a sender's word means (`urn:ogc:def:crs:EPSG::4490`, `gcj-02`, `EPSG:4547`); None for one that is not known or not to be used."""
    said = text.strip().lower()
    if number := _EPSG.fullmatch(said):
        return _BY_NUMBER.get(int(number[1]))
    if _CRS84.fullmatch(said):
        return WGS84
    return _BY_NAME.get(re.sub(r"[\W_]|坐标系?$", "", said))


def planar(datum: str) -> bool:
    """Whether it is a plane in metres."""
    return datum.startswith("EPSG:")


@lru_cache(maxsize=64)
def _from_plane(datum: str) -> Transformer:
    return Transformer.from_crs(CRS(datum), CRS("EPSG:4490"), always_xy=True)


def from_plane(datum: str, easting: float, northing: float) -> Point:
    """Longitude and latitude of a place in a Gauss-Krueger zone (`EPSG:4513` to `EPSG:4554`). Raises ValueError for what lies outside its plane."""
    lon, lat = _from_plane(datum).transform(easting, northing)
    if not (isfinite(lon) and isfinite(lat)):
        raise ValueError(f"not a place of {datum}")
    return lon, lat


def in_order(datum: str, first: float, second: float) -> tuple[str, float, float] | None:
    """Two numbers as this datum has them in China: the datum, longitude or easting, latitude or northing. None where no order of them makes sense.

    Official forms and EPSG's own definitions put north first, most programs east: which, the numbers say themselves, since no longitude of
    China is a latitude of it. A number of a zone before the easting counts, whichever of the two kinds of planes was told; it makes a
    plane even of CGCS2000 in degrees. Between WGS 84, GCJ-02 and BD-09 numbers tell nothing.
    """
    for x, y in ((first, second), (second, first)):
        if not planar(datum) and CHINA_LON[0] <= x <= CHINA_LON[1] and CHINA_LAT[0] <= y <= CHINA_LAT[1]:
            return datum, x, y
        if (planar(datum) or datum == CGCS2000) and CHINA_NORTHING[0] <= y <= CHINA_NORTHING[1]:
            zone, easting = divmod(x, ZONE_METRES)
            plane = _plane(datum, int(zone)) if isfinite(zone) else None
            if plane and EASTING[0] <= easting <= EASTING[1]:
                return plane, x, y
    return None


def _plane(datum: str, zone: int) -> str | None:
    """The plane of a zone's number before an easting; 0, none, leaves the zone that was told."""
    if zone:
        return f"EPSG:{ZONES_NUMBERED[zone - FIRST_ZONE]}" if zone - FIRST_ZONE in range(len(ZONES_NUMBERED)) else None
    if not planar(datum):
        return None
    number = int(datum.removeprefix("EPSG:"))
    return f"EPSG:{ZONES_PLAIN[ZONES_NUMBERED.index(number)]}" if number in ZONES_NUMBERED else datum


def area_m2(geometry: Mapping[str, Any]) -> float:
    """The area of a GeoJSON Polygon or MultiPolygon, in degrees, on the ellipsoid GRS 80, less its holes; 0 for other geometries. Rings may go
    either way round, be open, and have heights.
    """
    polygons = {"Polygon": [geometry["coordinates"]], "MultiPolygon": geometry["coordinates"]}.get(geometry["type"], [])
    return sum((_ring_m2(outer) - sum(map(_ring_m2, holes)) for outer, *holes in polygons), 0.0)


def _ring_m2(ring: Sequence[Sequence[float]]) -> float:
    area, _ = ELLIPSOID.polygon_area_perimeter([point[0] for point in ring], [point[1] for point in ring])
    return abs(area)


def target(lon: float, lat: float, bearing_deg: float, distance_m: float) -> Point:
    """What lies in this direction (clockwise from north) and distance."""
    x, y, _ = ELLIPSOID.fwd(lon, lat, bearing_deg, distance_m)
    return x, y
