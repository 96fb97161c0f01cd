"""Where a patrol's finding lies: whatever datum and order of axes it came in. Pure; geometry by shapely (GEOS)."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite
from typing import Any

import numpy as np
import shapely
from shapely.errors import ShapelyError
from shapely.geometry import Point, mapping, shape
from shapely.geometry.base import BaseGeometry

from hub.core import datum as datums
from hub.core.errors import Reason, Rejected

MOST_TEXT = 64 * 1024
# No point of a drawing is shorter than [1,2], with its comma.
MOST_POINTS = MOST_TEXT // 6
# A drawing slipped here and there; the time to mend one grows with the square of them.
MOST_CROSSINGS = 500
SEGMENTS_AT_ONCE = 100
DIGITS = 7
PLANE_DIGITS = 3
POLYGONS = ("Polygon", "MultiPolygon")


@dataclass(frozen=True, slots=True, kw_only=True)
class Placed:
    """As the alert carries it: see the schema of patrol_alert."""

    lon: float | None
    lat: float | None
    datum: str
    given_x: float | None
    given_y: float | None
    geometry: str
    given_geometry: str
    area_m2: float | None


NOWHERE = Placed(lon=None, lat=None, datum="", given_x=None, given_y=None, geometry="", given_geometry="", area_m2=None)


def place(
    geometry: Mapping[str, Any] | None, point: tuple[float, float] | None, datum: str, *, inverse: bool
) -> Placed:
    """A geometry, else a point (x, y), in this datum. `inverse`: whether GCJ-02 and BD-09 may be converted back.

    Raises Rejected: syntax (it is no geometry, or has no area), datum (its numbers are none of the datum's), too_large.
    """
    if geometry is not None:
        drawn = _shape(geometry)
    elif point is not None:
        drawn = Point(*point)
    else:
        return NOWHERE
    datum, drawn = _in_order(datum, drawn)
    if not drawn.is_valid:
        drawn = _mended(drawn)
    inside = (
        drawn.representative_point()
        if drawn.area
        else drawn.interpolate(0.5, normalized=True)
        if drawn.length
        else drawn.centroid
    )
    area = None
    text = ""
    if datum in (datums.WGS84, datums.CGCS2000):
        x, y = _rounded(inside)
        if drawn.length:
            text = _text(drawn, DIGITS)
            area = _area(drawn)
        return Placed(
            lon=x, lat=y, datum=datum, given_x=None, given_y=None, geometry=text, given_geometry="", area_m2=area
        )
    given = _text(drawn, PLANE_DIGITS if datums.planar(datum) else DIGITS) if drawn.length else ""
    back = _back(datum, inverse=inverse)
    if back is None:
        x, y = _rounded(inside)
        return Placed(
            lon=None,
            lat=None,
            datum=datum,
            given_x=x,
            given_y=y,
            geometry="",
            given_geometry=given,
            area_m2=_area(drawn),
        )
    moved = _each(drawn, back)
    if drawn.length:
        text, area = _text(moved, DIGITS), _area(moved)
    x, y = _rounded(_each(inside, back))
    given_x, given_y = _rounded(inside)
    return Placed(
        lon=x, lat=y, datum=datum, given_x=given_x, given_y=given_y, geometry=text, given_geometry=given, area_m2=area
    )


def _shape(geometry: Mapping[str, Any]) -> BaseGeometry:
    try:
        closed = {"type": geometry["type"], "coordinates": _closed(geometry["type"], geometry["coordinates"])}
        drawn: BaseGeometry = shapely.force_2d(shape(closed))
    except (ShapelyError, KeyError, TypeError, ValueError, IndexError, AttributeError, OverflowError):
        raise Rejected(Reason.SYNTAX, "a geometry that cannot be read") from None
    if drawn.is_empty or not all(map(isfinite, drawn.bounds)):
        raise Rejected(Reason.SYNTAX, "a geometry without a place")
    if shapely.get_num_coordinates(drawn) > MOST_POINTS:
        raise Rejected(Reason.TOO_LARGE, f"a geometry of more than {MOST_POINTS} points")
    return drawn


def _closed(kind: str, coordinates: Any) -> Any:
    """Rings end where they begin, which vendors forget."""
    if kind == "Polygon":
        return [ring if ring[0] == ring[-1] else [*ring, ring[0]] for ring in coordinates]
    if kind == "MultiPolygon":
        return [_closed("Polygon", polygon) for polygon in coordinates]
    return coordinates


def _in_order(datum: str, drawn: BaseGeometry) -> tuple[str, BaseGeometry]:
    """East before north, and the plane that its numbers tell. All its points must be of one kind."""
    points = shapely.get_coordinates(drawn)
    found = datums.in_order(datum, *map(float, points[0]))
    if found is None:
        raise Rejected(Reason.DATUM, f"numbers that are no place in {datum}")
    named, x, y = found
    swapped = (x, y) != (points[0][0], points[0][1])
    offset = points[0][1 if swapped else 0] - x

    def move(some: "np.ndarray[Any, Any]") -> "np.ndarray[Any, Any]":
        ordered = some[:, ::-1] if swapped else some
        return np.asarray(ordered - np.array([offset, 0.0]))

    return named, shapely.transform(drawn, move)


def _mended(drawn: BaseGeometry) -> BaseGeometry:
    """A self-crossing polygon as what it covers; raises Rejected where that is nothing, or would take long to tell."""
    if drawn.geom_type not in POLYGONS:
        return drawn
    if _crossings(drawn) > MOST_CROSSINGS:
        raise Rejected(Reason.TOO_LARGE, f"a polygon that crosses itself more than {MOST_CROSSINGS} times")
    whole: BaseGeometry = shapely.make_valid(drawn, method="structure", keep_collapsed=False)
    if not whole.area:
        raise Rejected(Reason.SYNTAX, "a polygon without an area")
    return whole


def _crossings(drawn: BaseGeometry) -> float:
    """How often its edges meet, but for neighbours; no more exactly than that it is too often."""
    points, ring = shapely.get_coordinates(shapely.get_rings(shapely.get_parts(drawn)), return_index=True)
    edges = shapely.linestrings(np.stack([points[:-1], points[1:]], axis=1)[ring[:-1] == ring[1:]])
    tree = shapely.STRtree(edges)
    met = 0
    for first in range(0, len(edges), SEGMENTS_AT_ONCE):
        some = edges[first : first + SEGMENTS_AT_ONCE]
        # Each meets itself, the one before and the one behind; and each meeting is seen from both.
        met += tree.query(some, predicate="intersects").shape[1] - 3 * len(some)
        if met / 2 > MOST_CROSSINGS:
            break
    return met / 2


def _back(datum: str, *, inverse: bool) -> Any:
    if datums.planar(datum):
        return lambda x, y: datums.from_plane(datum, x, y)
    return datums.BACK[datum] if inverse else None


def _each(drawn: BaseGeometry, convert: Any) -> BaseGeometry:
    def move(points: "np.ndarray[Any, Any]") -> "np.ndarray[Any, Any]":
        return np.array([convert(float(x), float(y)) for x, y in points]).reshape(-1, 2)

    try:
        moved: BaseGeometry = shapely.transform(drawn, move)
    except ValueError:
        raise Rejected(Reason.DATUM, "numbers that are no place in their datum") from None
    return moved


def _area(drawn: BaseGeometry) -> float | None:
    """On the ellipsoid; degrees of GCJ-02 and BD-09 are as long as others."""
    return round(datums.area_m2(mapping(drawn)), 2) if drawn.geom_type in POLYGONS else None


def _rounded(point: BaseGeometry) -> tuple[float, float]:
    [[x, y]] = shapely.get_coordinates(point)
    return round(float(x), DIGITS), round(float(y), DIGITS)


def _text(drawn: BaseGeometry, digits: int) -> str:
    told = mapping(drawn)
    text = json.dumps({"type": told["type"], "coordinates": _fewer(told["coordinates"], digits)}, separators=(",", ":"))
    if len(text) > MOST_TEXT:
        raise Rejected(Reason.TOO_LARGE, f"a geometry above {MOST_TEXT} characters")
    return text


def _fewer(coordinates: Any, digits: int) -> Any:
    if isinstance(coordinates, float | int):
        return round(float(coordinates), digits)
    return [_fewer(one, digits) for one in coordinates]
