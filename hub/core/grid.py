"""Where a place lies: place -> town, cell, duty grid. Pure; geometry by shapely (GEOS), on planes of metres around each town.

A place in a datum that may not be converted back is looked for on the map in that datum: the map is converted forward.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from enum import StrEnum
from functools import cached_property, lru_cache
from math import cos, isfinite, radians

import numpy as np
import shapely
from shapely.errors import ShapelyError
from shapely.geometry import Point, shape
from shapely.geometry.base import BaseGeometry

from hub.core import datum as datums
from hub.core.events import UNKNOWN_TOWN
from hub.core.registry import Area, Registry

NEAREST_M = 50.0
NEAR_TOWN_M = 5000.0
# A degree of latitude on GRS 80 at 34 degrees north, within half a per cent from 18 to 54.
METRES_PER_DEGREE = 110_950.0
# Of a polygon, a share of a cell below this is the noise of coordinates.
NOISE_M2 = 0.01
# Two distances, of a point to two cells, are equal to the noise of coordinates.
NOISE_M = 0.001
# A drawing of more text than this is not of one building or field, and would hold up a town: its point counts.
MOST_GEOMETRY = 50_000
# No coordinate of any datum is as large, and areas of such still are numbers.
MOST_COORDINATE = 1e9
# So many are remembered as shapes: about the cases of a county.
MOST_REMEMBERED = 16_384
# A straight border is curved in a shifted datum: in pieces no longer than this it is right to 2 cm.
STRAIGHT_DEGREES = 0.005


class PlaceMark(StrEnum):
    """How a cell came about; see the doc of `place_mark` in the schema of the ticket."""

    INSIDE = "inside"
    BORDER = "border"
    OVERLAP = "overlap"
    NEAREST = "nearest"
    UNCERTAIN = "uncertain"
    NONE = "none"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A place as an event has it. `lon`, `lat` in WGS 84, None where it may not be converted: then `given_x`, `given_y` hold it in `datum`.

    `geometry`, `given_geometry`: GeoJSON text or empty, likewise. `accuracy_m`: radius within which it is right, None: taken as exact.
    """

    lon: float | None = None
    lat: float | None = None
    datum: str = ""
    given_x: float | None = None
    given_y: float | None = None
    accuracy_m: float | None = None
    geometry: str = ""
    given_geometry: str = ""


@dataclass(frozen=True, slots=True)
class Located:
    """The cell and its duty grid, empty where there is none; `also`: other duty grids that it may lie in."""

    cell: str
    grid: str
    mark: PlaceMark
    also: tuple[str, ...]


NOWHERE = Located("", "", PlaceMark.UNKNOWN, ())


@dataclass(frozen=True, slots=True)
class _Spot:
    """A place in one datum: a point, and the geometry where one came."""

    datum: str
    point: tuple[float, float]
    geometry: str
    accuracy_m: float


class Map:
    """One version of the map. Trees are built when they are first asked for, one set for each datum."""

    def __init__(self, registry: Registry) -> None:
        self._towns = tuple(sorted(registry.towns, key=lambda area: area.id))
        by_town: dict[str, list[Area]] = {}
        for cell in sorted(registry.cells, key=lambda area: area.id):
            by_town.setdefault(cell.id[: len(UNKNOWN_TOWN)], []).append(cell)
        self._cells = by_town
        self._layers: dict[tuple[str | None, str], _Layer] = {}

    def town(self, place: Place) -> str | None:
        """The town that contains the place (of several, on a border, the smaller code), 000000000 within 5 km of one, None farther from all."""
        if (spot := _spot(place)) is None:
            return UNKNOWN_TOWN
        layer = self._layer(None, self._towns, spot.datum)
        if inside := layer.touching(spot.point):
            return inside[0]
        return UNKNOWN_TOWN if layer.nearest(spot.point, NEAR_TOWN_M) else None

    def locate(self, place: Place, town: str) -> Located:
        """Its cell within this town."""
        if (spot := _spot(place)) is None:
            return NOWHERE
        layer = self._layer(town, self._cells.get(town, ()), spot.datum)
        mark, cell = layer.find(spot)
        grid = layer.grid_of(cell)
        if not cell or not spot.accuracy_m:
            return Located(cell, grid, mark, ())
        within = {layer.grid_of(other) for other in layer.within(spot.point, spot.accuracy_m)}
        also = tuple(sorted(within - {grid, ""}))
        return Located(cell, grid, PlaceMark.UNCERTAIN if also else mark, also)

    def _layer(self, town: str | None, areas: Sequence[Area], datum: str) -> "_Layer":
        """The cells of a town, or for None all towns."""
        key = town, datum
        if key not in self._layers:
            self._layers[key] = _Layer(areas, datum)
        return self._layers[key]


def _spot(place: Place) -> _Spot | None:
    """None for what is no place: nothing, not a number, or given in a datum that the map cannot be converted to."""
    accuracy = place.accuracy_m or 0.0
    if place.lon is not None and place.lat is not None:
        spot = _Spot(datums.WGS84, (place.lon, place.lat), place.geometry, accuracy)
    elif place.given_x is not None and place.given_y is not None and place.datum in datums.FORWARD:
        spot = _Spot(place.datum, (place.given_x, place.given_y), place.given_geometry, accuracy)
    else:
        return None
    return spot if all(map(isfinite, spot.point)) else None


@dataclass
class _Layer:
    """Areas, sorted by id, in one datum. Indices of a tree are indices of areas, so the smaller is the smaller id."""

    areas: Sequence[Area]
    datum: str
    _index: dict[str, int] = field(init=False)

    def __post_init__(self) -> None:
        self._index = {area.id: index for index, area in enumerate(self.areas)}

    @cached_property
    def _shapes(self) -> "np.ndarray[tuple[int], np.dtype[np.object_]]":
        shapes = np.array([shape(json.loads(area.geometry)) for area in self.areas], dtype=object)
        if forward := datums.FORWARD.get(self.datum):
            shapes = shapely.transform(shapely.segmentize(shapes, STRAIGHT_DEGREES), _each(forward))
        return shapes

    @cached_property
    def _tree(self) -> shapely.STRtree:
        return shapely.STRtree(self._shapes)

    def touching(self, point: tuple[float, float]) -> list[str]:
        """The areas that contain the point or have it on their border, by id."""
        found = self._tree.query(Point(point), predicate="intersects")
        return [self.areas[index].id for index in sorted(found)]

    def within(self, point: tuple[float, float], metres: float) -> list[str]:
        """The areas that are no farther from the point than so many metres, by id."""
        degrees_lat = metres / METRES_PER_DEGREE
        degrees_lon = degrees_lat / max(cos(radians(point[1])), 0.01)
        x, y = point
        box = shapely.box(x - degrees_lon, y - degrees_lat, x + degrees_lon, y + degrees_lat)
        near = sorted(self._tree.query(box, predicate="intersects"))
        here = Point(0.0, 0.0)
        return [self.areas[i].id for i in near if flat(self._shapes[i], point).distance(here) <= metres]

    def nearest(self, point: tuple[float, float], metres: float) -> str:
        """The nearest area within so many metres, of several the smaller id; empty where there is none."""
        here = Point(0.0, 0.0)
        names = self.within(point, metres)
        away = [flat(self._shapes[self._index[name]], point).distance(here) for name in names]
        return next((name for name, each in zip(names, away, strict=True) if each - min(away) < NOISE_M), "")

    def find(self, spot: _Spot) -> tuple[PlaceMark, str]:
        """The one area, and how it came about."""
        if spot.geometry and (name := self._largest(spot)):
            return PlaceMark.OVERLAP, name
        inside = self.touching(spot.point)
        if inside:
            return (PlaceMark.INSIDE if len(inside) == 1 else PlaceMark.BORDER), inside[0]
        if name := self.nearest(spot.point, NEAREST_M):
            return PlaceMark.NEAREST, name
        return PlaceMark.NONE, ""

    def _largest(self, spot: _Spot) -> str:
        """The area that has the largest share of a polygon; empty where none has any, or it is no polygon."""
        given = polygon(spot.geometry)
        if given is None:
            return ""
        west, south, east, north = given.bounds
        origin = (west + east) / 2, (south + north) / 2
        geometry = flat(given, origin)
        near = sorted(self._tree.query(given, predicate="intersects"))
        shares = [(flat(self._shapes[index], origin).intersection(geometry).area, index) for index in near]
        best = max((share for share, _ in shares), default=0.0)
        # Equal shares differ by the noise of their coordinates.
        return next(
            (self.areas[index].id for share, index in shares if best > NOISE_M2 and best - share < NOISE_M2), ""
        )

    def grid_of(self, name: str) -> str:
        """The duty grid of a cell."""
        return self.areas[self._index[name]].grid if name else ""


@lru_cache(maxsize=MOST_REMEMBERED)
def polygon(geometry: str) -> BaseGeometry | None:
    """What a sender's GeoJSON text draws, valid also where its ring crosses itself; None for whatever is no polygon with an area, or too large.
    Raises nothing: a town must outlive what is sent to it.
    """
    if not geometry or len(geometry) > MOST_GEOMETRY:
        return None
    try:
        with np.errstate(all="ignore"):
            given = shape(json.loads(geometry))
        if given.geom_type not in ("Polygon", "MultiPolygon"):
            return None
        points = shapely.get_coordinates(given)
        if not (np.abs(points) <= MOST_COORDINATE).all():  # also for what is no number
            return None
        valid: BaseGeometry = shapely.make_valid(given, method="structure", keep_collapsed=False)
    except (ShapelyError, ValueError, TypeError, LookupError, AttributeError, OverflowError, RecursionError):
        return None
    return valid if valid.area else None


def shifted(geometry: BaseGeometry, datum: str) -> BaseGeometry | None:
    """A polygon in WGS 84 as it is drawn in GCJ-02 or BD-09; None where nothing of it is left."""
    moved = shapely.transform(geometry, _each(datums.FORWARD[datum]))
    valid: BaseGeometry = shapely.make_valid(moved, method="structure", keep_collapsed=False)
    return valid if valid.area else None


def _each(forward: Callable[[float, float], tuple[float, float]]) -> "Callable[[np.ndarray], np.ndarray]":
    return lambda points: np.array([forward(x, y) for x, y in points]).reshape(-1, 2)


def flat(geometry: BaseGeometry, origin: tuple[float, float]) -> BaseGeometry:
    """The geometry in metres east and north of `origin`: right to a per mille over a few kilometres."""
    x, y = origin
    scale = np.array([METRES_PER_DEGREE * cos(radians(y)), METRES_PER_DEGREE])
    moved: BaseGeometry = shapely.transform(geometry, lambda points: (points - np.array([x, y])) * scale)
    return moved
