"""The map of a town as lines of an SVG: drawn from the registry's own geometry, in a plane of 1000 units. Pure.

Without tiles the plane is one of metres around the town, and the datum is GCJ-02, to which every place can be brought: from WGS 84 by converting
it forward, and what came in GCJ-02 (and may not be converted back) lies on it as it came. With tiles it is their projection, Web Mercator, and
their datum.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from math import asinh, cos, floor, log2, pi, radians, sin, tan

from hub.core import datum as datums
from hub.core.events import Ticket
from hub.core.registry import Area, Device, Registry, Site

WIDTH = 1000.0
MARGIN = 0.04
LEAST_M = 2000.0
METRES_PER_DEGREE = 110_950.0
MOST_RATIO = 1.3
TILE_ZOOMS = range(3, 19)
TILES_ACROSS = 4

Point = tuple[float, float]
Ring = Sequence[Point]


@dataclass(frozen=True, slots=True)
class Tiles:
    """A tile server: its address with {z}, {x}, {y}, and the datum its tiles are in."""

    address: str
    datum: str


@dataclass(frozen=True, slots=True)
class Label:
    """A name at a place of the plane."""

    x: float
    y: float
    name: str


@dataclass(frozen=True, slots=True)
class Tile:
    """One picture behind the map: where it comes from, and where it lies on the plane."""

    address: str
    x: float
    y: float
    side: float


@dataclass(frozen=True, slots=True)
class Drawing:
    """What does not change with the tickets: outlines as SVG paths, names, sites; and how a place comes onto the plane.

    `metres`: how many a unit of the plane stands for. `world`: for tiles, where the plane's corner lies on a world of side 1, and how much of it a
    unit is.
    """

    height: float
    towns: str
    villages: str
    cells: str
    names: tuple[Label, ...]
    sites: tuple[tuple[Site, Label], ...]
    tiles: tuple[Tile, ...]
    metres: float
    world: tuple[float, float, float] | None
    _place: Callable[[float, float], Point]
    _datum: str
    _middles: "Middles"

    def ticket(self, ticket: Ticket) -> tuple[Point, bool] | None:
        """Where a ticket lies, and whether that is its own place or the middle of its cell; None: nobody knows."""
        own: Point | None = None
        if ticket.lon is not None and ticket.lat is not None:
            own = self.place(ticket.lon, ticket.lat)
        elif ticket.given_x is not None and ticket.given_y is not None and ticket.datum == self._datum:
            own = self._place(ticket.given_x, ticket.given_y)
        if own:
            return own, True
        middle = self._middles.of(ticket.cell)
        return (self.place(*middle), False) if middle else None

    def device(self, device: Device) -> Point | None:
        """Where a device stands."""
        return None if device.lon is None or device.lat is None else self.place(device.lon, device.lat)

    def place(self, lon: float, lat: float) -> Point:
        """A place of WGS 84 on the plane."""
        forward = datums.FORWARD.get(self._datum)
        return self._place(*(forward(lon, lat) if forward else (lon, lat)))


class Middles:
    """The middle of each cell, WGS 84, worked out when it is asked for."""

    def __init__(self, cells: Iterable[Area]) -> None:
        self._cells = {cell.id: cell for cell in cells}

    def of(self, cell: str) -> Point | None:
        """None for a cell that the map does not have."""
        area = self._cells.get(cell)
        return middle(max(_rings(area.geometry), key=lambda ring: abs(_area(ring)))) if area else None


def draw(registry: Registry, town: str, others: Iterable[Point] = (), tiles: Tiles | None = None) -> Drawing | None:
    """The map of one town. `others`: places (WGS 84) that must be on it where the town has no outline; None: there is nothing to draw."""
    towns = [area for area in registry.towns if area.id == town]
    villages = [area for area in registry.villages if area.id.startswith(town)]
    cells = [area for area in registry.cells if area.id.startswith(town)]
    sites = [site for site in registry.sites if site.town == town]
    rings = [ring for area in towns or villages or cells for ring in _rings(area.geometry)]
    shown = [point for ring in rings for point in ring] or list(others)
    if not shown:
        return None
    datum = tiles.datum if tiles else datums.GCJ02
    forward = datums.FORWARD.get(datum)
    drawn = [forward(*point) for point in shown] if forward else shown
    plane = _mercator if tiles else _flat(sum(y for _, y in drawn) / len(drawn))
    flat = [plane(*point) for point in drawn]
    west, east = min(x for x, _ in flat), max(x for x, _ in flat)
    north, south = min(y for _, y in flat), max(y for _, y in flat)
    middle_lat = sum(y for _, y in drawn) / len(drawn)
    metre = 1 / (40_075_017 * cos(radians(middle_lat))) if tiles else 1.0
    wide, high = max(east - west, LEAST_M * metre), max(south - north, LEAST_M * metre)
    # A town that is much longer than wide would fill the page: it has sea on both sides instead.
    wide = max(wide, high / MOST_RATIO) * (1 + 2 * MARGIN)
    high *= 1 + 2 * MARGIN
    unit = wide / WIDTH
    left, top = (west + east - wide) / 2, (north + south - high) / 2

    def place(x: float, y: float) -> Point:
        across, down = plane(x, y)
        return round((across - left) / unit, 1), round((down - top) / unit, 1)

    def on_plane(lon: float, lat: float) -> Point:
        return place(*(forward(lon, lat) if forward else (lon, lat)))

    world = (left, top, unit) if tiles else None
    return Drawing(
        height=round(high / unit, 1),
        towns=_path(towns, on_plane),
        villages=_path(villages, on_plane),
        cells=_path(cells, on_plane),
        names=tuple(_label(area, on_plane) for area in villages),
        sites=tuple((site, Label(*on_plane(site.lon, site.lat), site.name)) for site in sites),
        tiles=tuple(_tiles(tiles, world, high / unit)) if tiles and world else (),
        metres=unit / metre,
        world=world,
        _place=place,
        _datum=datum,
        _middles=Middles(cells),
    )


def _flat(lat: float) -> Callable[[float, float], Point]:
    scale = METRES_PER_DEGREE * cos(radians(lat))
    return lambda x, y: (x * scale, -y * METRES_PER_DEGREE)


def _mercator(lon: float, lat: float) -> Point:
    """The world as a square of side 1, north up."""
    return (lon + 180) / 360, (1 - asinh(tan(radians(lat))) / pi) / 2


def _tiles(tiles: Tiles, world: tuple[float, float, float], height: float) -> Iterator[Tile]:
    left, top, unit = world
    zoom = min(max(round(log2(TILES_ACROSS / (WIDTH * unit))), TILE_ZOOMS[0]), TILE_ZOOMS[-1])
    count = 2**zoom
    for column in range(floor(left * count), floor((left + WIDTH * unit) * count) + 1):
        for row in range(floor(top * count), floor((top + height * unit) * count) + 1):
            address = tiles.address.format(z=zoom, x=column, y=row)
            side = 1 / count / unit
            yield Tile(address, round((column / count - left) / unit, 2), round((row / count - top) / unit, 2), side)


def _rings(geometry: str) -> list[Ring]:
    """All rings of a GeoJSON Polygon or MultiPolygon."""
    shape = json.loads(geometry)
    polygons = shape["coordinates"] if shape["type"] == "MultiPolygon" else [shape["coordinates"]]
    return [[(point[0], point[1]) for point in ring] for polygon in polygons for ring in polygon]


def _path(areas: Iterable[Area], place: Callable[[float, float], Point]) -> str:
    parts = []
    for area in areas:
        for ring in _rings(area.geometry):
            points = [place(*point) for point in ring[:-1]]
            kept = [point for index, point in enumerate(points) if point != points[index - 1]] or points[:1]
            parts.append("M" + "L".join(f"{x:g} {y:g}" for x, y in kept) + "Z")
    return "".join(parts)


def _label(area: Area, place: Callable[[float, float], Point]) -> Label:
    largest = max(_rings(area.geometry), key=lambda ring: abs(_area(ring)))
    return Label(*place(*middle(largest)), area.name or area.id)


def _area(ring: Ring) -> float:
    return sum(x1 * y2 - x2 * y1 for (x1, y1), (x2, y2) in pairwise(ring)) / 2


def middle(ring: Ring) -> Point:
    """The centroid of a closed ring."""
    x0, y0 = ring[0]
    # Around its first point: degrees of a small cell, multiplied, would lose too many digits.
    moved = [(x - x0, y - y0) for x, y in ring]
    area = _area(moved)
    if not area:
        return x0, y0
    pairs = [(one, other, one[0] * other[1] - other[0] * one[1]) for one, other in pairwise(moved)]
    x = sum((one[0] + other[0]) * cross for one, other, cross in pairs) / (6 * area)
    y = sum((one[1] + other[1]) * cross for one, other, cross in pairs) / (6 * area)
    return x0 + x, y0 + y


class Atlas:
    """Drawings, made once for each version of the registry and town; the last few are kept."""

    KEPT = 32

    def __init__(self, tiles: Tiles | None) -> None:
        self.tiles = tiles
        self._drawings: dict[tuple[str, str], Drawing | None] = {}
        self._registry: Registry | None = None

    def of(self, registry: Registry, town: str) -> Drawing | None:
        """The map of this town."""
        if registry is not self._registry:
            self._registry = registry
            self._drawings.clear()
        key = (registry.sha256, town)
        if key not in self._drawings:
            if len(self._drawings) >= self.KEPT:
                del self._drawings[next(iter(self._drawings))]
            devices = [one for one in registry.devices if one.town == town]
            places = [(one.lon, one.lat) for one in devices if one.lon is not None and one.lat is not None]
            self._drawings[key] = draw(registry, town, places, self.tiles)
        return self._drawings[key]


@dataclass(frozen=True)
class Spread:
    """Marks at one place, side by side: which of the spiral's places is taken next. Steps are of the size of a mark."""

    step: float = 15.0

    @cached_property
    def _taken(self) -> dict[Point, int]:
        return {}

    def beside(self, place: Point) -> Point:
        """How far beside its place the next mark stands, so that those before it stay visible; the first stands on it."""
        near = (round(place[0] / 4), round(place[1] / 4))
        number = self._taken.get(near, 0)
        self._taken[near] = number + 1
        if not number:
            return 0.0, 0.0
        # Rings of six, twelve, eighteen.
        ring = 1
        left = number - 1
        while left >= 6 * ring:
            left -= 6 * ring
            ring += 1
        turn = 2 * pi * left / (6 * ring)
        return round(ring * self.step * cos(turn), 1), round(ring * self.step * sin(turn), 1)
