"""Whether a patrol's message is about a case that is known already, for as long as months. Pure; geometry by shapely (GEOS)."""

from dataclasses import dataclass
from functools import lru_cache
from math import cos, hypot, radians

from shapely.geometry.base import BaseGeometry

from hub.core import datum as datums
from hub.core.events import PatrolAlert
from hub.core.grid import METRES_PER_DEGREE, MOST_REMEMBERED, polygon, shifted

SAME_SHARE = 0.3
SAME_POINT_M = 30.0
SAME_POINT_MS = 30 * 24 * 3_600_000

_Point = tuple[str, float, float]
"""A datum, and a place in it."""


@dataclass(frozen=True, slots=True)
class Case:
    """What is remembered of a case: which vendor calls it what, where it lies, when it was last spoken of (ms UTC), its ticket.

    `geometry`: GeoJSON polygon or empty, in WGS 84, or in `datum` where `lon` is None: then `given_x`, `given_y` hold the place.
    """

    vendor: str
    spot_no: str
    lon: float | None
    lat: float | None
    datum: str
    given_x: float | None
    given_y: float | None
    geometry: str
    last_at: int
    ticket: str


def same(case: Case, alert: PatrolAlert, now: int) -> bool:
    """Whether the place says that it is the same case: polygons of which the common part is 30 % of both together, or points within 30 m and
    30 days. Two numbers of one vendor are two cases. Of a place in WGS 84 and one in a shifted datum the former is converted; never back.
    """
    if case.spot_no and alert.spot_no and case.vendor == alert.vendor:
        return False
    here, there = _point(case), _point(alert)
    datum = _common_datum(here[0], there[0]) if here and there else None
    if here is None or there is None or datum is None:
        return False
    (x, y), (other_x, other_y) = _moved(here, datum), _moved(there, datum)
    geometry = alert.geometry if alert.lon is not None else alert.given_geometry
    one, other = _drawn(case.geometry, here[0], datum), _drawn(geometry, there[0], datum)
    if one is not None and other is not None:
        return _common_share(one, other) >= SAME_SHARE
    east, north = (x - other_x) * METRES_PER_DEGREE * cos(radians(y)), (y - other_y) * METRES_PER_DEGREE
    return hypot(east, north) <= SAME_POINT_M and now - case.last_at <= SAME_POINT_MS


def _common_datum(one: str, other: str) -> str | None:
    """The datum in which places of both are compared; None where one would have to be converted back."""
    if one == other:
        return one
    own, others = sorted((one, other), key=lambda datum: datum != datums.WGS84)
    return others if own == datums.WGS84 and others in datums.FORWARD else None


def _moved(point: _Point, datum: str) -> tuple[float, float]:
    named, x, y = point
    return (x, y) if named == datum else datums.FORWARD[datum](x, y)


@lru_cache(maxsize=MOST_REMEMBERED)
def _drawn(geometry: str, named: str, datum: str) -> BaseGeometry | None:
    drawn = polygon(geometry)
    return drawn if drawn is None or named == datum else shifted(drawn, datum)


def _point(one: Case | PatrolAlert) -> _Point | None:
    if one.lon is not None and one.lat is not None:
        return datums.WGS84, one.lon, one.lat
    if one.given_x is not None and one.given_y is not None:
        return one.datum, one.given_x, one.given_y
    return None


def _common_share(one: BaseGeometry, other: BaseGeometry) -> float:
    """Intersection over union. Degrees do: both are stretched alike."""
    west, south, east, north = one.bounds
    other_west, other_south, other_east, other_north = other.bounds
    if east <= other_west or other_east <= west or north <= other_south or other_north <= south:
        return 0.0
    return one.intersection(other).area / one.union(other).area
