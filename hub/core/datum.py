"""Datums and planes of Chinese places: WGS 84 (CGCS2000 is equal for this purpose), GCJ-02, BD-09, and Gauss-Krueger zones of CGCS2000.

Degrees are decimal, longitude first; planes are metres, easting first. GCJ-02 and BD-09 have no official text: the public formula, on which
independent programs agree to 1e-6 degrees. The way back is by iteration, since one step of it is wrong by up to 2 m.
"""

import re
from collections.abc import Callable
from functools import lru_cache
from math import atan2, cos, isfinite, pi, sin, sqrt

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
    WGS84: ("wgs84", "crs84", "4326", "gps", "ogccrs84", "urnogcdefcrsogc13crs84", "urnogcdefcrsogccrs84"),
    CGCS2000: ("cgcs2000", "4490", "epsg4490"),
    GCJ02: ("gcj02", "gcj02ll", "mars", "amap", "gaode", "tencent"),
    BD09: ("bd09", "bd09ll", "baidu"),
}
_BY_NAME = {name: datum for datum, names in _NAMES.items() for name in names}


def named(text: str) -> str | None:
    """The datum that a sender's word means (`urn:ogc:def:crs:EPSG::4490`, `gcj-02`, `EPSG:4547`); None for one that is not known or not to be used."""
    plain = re.sub(r"[^a-z0-9]", "", text.lower())
    if plain in _BY_NAME:
        return _BY_NAME[plain]
    if found := re.fullmatch(r"(?:urnogcdefcrs)?epsg(?:\d(?:\d\d)?(?=\d{4}$))?(\d{4})", plain):
        number = int(found[1])
        if number in ZONES_PLAIN or number in ZONES_NUMBERED:
            return f"EPSG:{number}"
        return {4326: WGS84, 4490: CGCS2000}.get(number)
    return None


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


def target(lon: float, lat: float, bearing_deg: float, distance_m: float) -> Point:
    """What lies in this direction (clockwise from north) and distance."""
    x, y, _ = ELLIPSOID.fwd(lon, lat, bearing_deg, distance_m)
    return x, y
