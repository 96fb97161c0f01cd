"""Where a place lies: each rule by itself, then 100,000 places against a search that knows no index and no geometry library.

The maps' corners are whole multiples of 2**-12 degrees (27 m) and so are the places searched for, so that borders and corners are hit often and exactly.
"""

import json
from collections.abc import Iterable, Sequence
from dataclasses import replace
from math import inf, nan
from random import Random

import numpy as np
import numpy.typing as npt
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.core import datum as datums
from hub.core.events import UNKNOWN_TOWN
from hub.core.grid import METRES_PER_DEGREE, NEAREST_M, NOWHERE, Located, Map, Place, PlaceMark
from hub.core.registry import Area, Registry

STEP = 2.0**-12
WEST, SOUTH = 113.875, 34.625
TOWN, EAST = "330100001", "330100002"
VILLAGE = f"{TOWN}001"

Ring = Sequence[tuple[float, float]]
Whole = npt.NDArray[np.int64]


def area(name: str, *rings: Ring, grid: str = "", more: Sequence[Sequence[Ring]] = ()) -> Area:
    """An area whose corners are told in steps east and north of the map's corner."""
    polygons = [
        [[(WEST + x * STEP, SOUTH + y * STEP) for x, y in (*ring, ring[0])] for ring in rings]
        for rings in (rings, *more)
    ]
    kind, coordinates = ("MultiPolygon", polygons) if more else ("Polygon", polygons[0])
    geometry = json.dumps({"type": kind, "coordinates": coordinates})
    return Area(id=name, name="", parent="", grid=grid, geometry=geometry)


def square(x: float, y: float, side: float) -> Ring:
    return [(x, y), (x + side, y), (x + side, y + side), (x, y + side)]


def at(x: float, y: float, **more: object) -> Place:
    """A place so many steps east and north."""
    return replace(Place(lon=WEST + x * STEP, lat=SOUTH + y * STEP, datum="WGS84"), **more)  # type: ignore[arg-type]


def cell(number: int) -> str:
    return f"{VILLAGE}{number:03}"


# Four cells around (20, 20), the last with a hole; two towns side by side.
REGISTRY = Registry(
    towns=(area(EAST, square(40, 0, 40)), area(TOWN, square(0, 0, 40), square(30, 30, 6))),
    cells=(
        area(cell(4), square(20, 20, 20), square(30, 30, 6), grid="G2"),
        area(cell(2), square(20, 0, 20), grid="G1"),
        area(cell(3), square(0, 20, 20), grid="G2"),
        area(cell(1), square(0, 0, 20), grid="G1"),
        area(f"{EAST}001001", square(40, 0, 20), grid="G9"),
    ),
)
MAP = Map(REGISTRY)


def located(number: int, mark: PlaceMark, *also: str) -> Located:
    return Located(cell(number), "G1" if number < 3 else "G2", mark, also)


# ---- cells


@pytest.mark.parametrize(
    ("place", "found"),
    [
        (at(5, 5), located(1, PlaceMark.INSIDE)),
        (at(20, 5), located(1, PlaceMark.BORDER)),
        (at(20, 20), located(1, PlaceMark.BORDER)),
        (at(30, 20), located(2, PlaceMark.BORDER)),
        (at(20, 30), located(3, PlaceMark.BORDER)),
        # On the border of one alone: it is the one.
        (at(0, 5), located(1, PlaceMark.INSIDE)),
        (at(30, 31), located(4, PlaceMark.INSIDE)),
        # In the hole, 67 m from its border, and 22 m.
        (at(33, 33), Located("", "", PlaceMark.NONE, ())),
        (at(31, 32), located(4, PlaceMark.NEAREST)),
        (at(-1, 5), located(1, PlaceMark.NEAREST)),
        (at(-3, 5), Located("", "", PlaceMark.NONE, ())),
        # As near to two: the smaller id.
        (at(20, -1), located(1, PlaceMark.NEAREST)),
        # Another town's cells are not this town's.
        (at(45, 5), Located("", "", PlaceMark.NONE, ())),
        (at(41, 5), located(2, PlaceMark.NEAREST)),
    ],
)
def test_a_point_finds_its_cell(place: Place, found: Located) -> None:
    assert MAP.locate(place, TOWN) == found


def test_fifty_metres_are_metres() -> None:
    """Both ways, though a degree of longitude is shorter."""
    lon, lat = WEST, SOUTH + 5 * STEP
    for bearing, corner in ((270, (lon, lat)), (180, (WEST + 5 * STEP, SOUTH))):
        for metres, mark in ((49.5, PlaceMark.NEAREST), (50.5, PlaceMark.NONE)):
            x, y = datums.target(*corner, bearing, metres)
            assert MAP.locate(Place(lon=x, lat=y), TOWN).mark == mark


@pytest.mark.parametrize(
    ("ring", "place", "found"),
    [
        (square(15, 5, 8), at(19, 9), located(1, PlaceMark.OVERLAP)),
        (square(18, 5, 8), at(19, 9), located(2, PlaceMark.OVERLAP)),
        # As much of one as of the other, whichever the point lies in.
        (square(16, 5, 8), at(22, 9), located(1, PlaceMark.OVERLAP)),
        (square(16, 16, 8), at(23, 23), located(1, PlaceMark.OVERLAP)),
        (square(16, 26, 8), at(22, 27), located(3, PlaceMark.OVERLAP)),
        (square(24, 25, 10), at(26, 26), located(4, PlaceMark.OVERLAP)),
        # It lies in a hole, or outside: then as the point does.
        (square(30, 30, 6), at(31, 33), located(4, PlaceMark.NEAREST)),
        (square(-8, 0, 8), at(-4, 4), Located("", "", PlaceMark.NONE, ())),
        # A bow tie: most of it lies in the second cell.
        ([(18, 5), (26, 11), (26, 5), (18, 11)], at(19, 8), located(2, PlaceMark.OVERLAP)),
    ],
)
def test_a_polygon_is_where_most_of_it_is(ring: Ring, place: Place, found: Located) -> None:
    assert MAP.locate(replace(place, geometry=area("", ring).geometry), TOWN) == found


@pytest.mark.parametrize("numbers", [(1, 2), (2, 1)])
def test_equal_is_equal_though_coordinates_have_noise(numbers: tuple[int, int]) -> None:
    """Two cells alike, east and west of a place that lies between them, at places where sums of decimals are not exact."""
    chance = Random(7)
    for _ in range(200):
        x, y = chance.uniform(0, 50), chance.uniform(0, 50)
        west, east = square(x - 10.3, y, 10), square(x + 0.3, y, 10)
        cells = (area(cell(numbers[0]), west, grid="G1"), area(cell(numbers[1]), east, grid="G1"))
        between = at(x, y + 5)
        asked = Map(Registry(cells=cells))
        assert asked.locate(between, TOWN) == located(1, PlaceMark.NEAREST)
        both = area("", square(x - 4.1, y + 1, 8.2)).geometry
        assert asked.locate(replace(between, geometry=both), TOWN).cell == cell(1)


@pytest.mark.parametrize("kind", ["Point", "LineString", "MultiPoint"])
def test_what_has_no_area_is_where_its_point_is(kind: str) -> None:
    coordinates = [WEST + STEP, SOUTH] if kind == "Point" else [[WEST + STEP, SOUTH], [WEST + 2 * STEP, SOUTH]]
    geometry = json.dumps({"type": kind, "coordinates": coordinates})
    assert MAP.locate(at(5, 5, geometry=geometry), TOWN) == located(1, PlaceMark.INSIDE)


def test_of_several_parts_the_largest_sum_counts() -> None:
    two = area("", square(15, 5, 4), more=[[square(21, 5, 3)], [square(21, 10, 3)]])
    assert MAP.locate(at(16, 6, geometry=two.geometry), TOWN) == located(2, PlaceMark.OVERLAP)


@pytest.mark.parametrize(
    ("place", "found"),
    [
        # 10 steps are 271 m from north to south, 223 m from east to west.
        (at(10, 10, accuracy_m=260), located(1, PlaceMark.INSIDE)),
        (at(10, 10, accuracy_m=290), located(1, PlaceMark.UNCERTAIN, "G2")),
        (at(30, 18, accuracy_m=60), located(2, PlaceMark.UNCERTAIN, "G2")),
        (at(20, 5, accuracy_m=100), located(1, PlaceMark.BORDER)),
        (at(20, 19, accuracy_m=100), located(1, PlaceMark.UNCERTAIN, "G2")),
        (at(5, 5, accuracy_m=0), located(1, PlaceMark.INSIDE)),
        (at(-1, 19, accuracy_m=60), located(1, PlaceMark.UNCERTAIN, "G2")),
        (at(-9, 19, accuracy_m=400), Located("", "", PlaceMark.NONE, ())),
        # Another town's duty grids count for nothing.
        (at(39, 5, accuracy_m=100), located(2, PlaceMark.INSIDE)),
    ],
)
def test_a_place_that_may_be_in_another_duty_grid_says_so(place: Place, found: Located) -> None:
    assert MAP.locate(place, TOWN) == found


def test_a_long_reach_names_all_others_in_order() -> None:
    cells = [area(cell(index), square(index * 4, 0, 4), grid=f"G{9 - index}") for index in range(6)]
    chessboard = Map(Registry(cells=tuple(cells)))
    found = chessboard.locate(at(9, 2, accuracy_m=400), TOWN)
    assert found == Located(cell(2), "G7", PlaceMark.UNCERTAIN, ("G4", "G5", "G6", "G8", "G9"))


# ---- no place


@pytest.mark.parametrize(
    "place",
    [
        Place(),
        Place(lon=113.9),
        Place(lon=nan, lat=34.7),
        Place(lon=113.9, lat=inf),
        Place(datum="GCJ02", given_x=-inf, given_y=34.7),
        Place(datum="EPSG:4547", given_x=476137.8, given_y=3807574.3),
    ],
)
def test_what_is_no_place_is_nowhere(place: Place) -> None:
    assert MAP.locate(place, TOWN) == NOWHERE
    assert MAP.town(place) == UNKNOWN_TOWN


@given(st.floats(), st.floats(), st.floats(), st.sampled_from(["GCJ02", "BD09"]))
def test_any_numbers_lie_somewhere(x: float, y: float, accuracy_m: float, datum: str) -> None:
    for place in (
        Place(lon=x, lat=y, accuracy_m=accuracy_m),
        Place(datum=datum, given_x=x, given_y=y, accuracy_m=accuracy_m),
    ):
        MAP.town(place)
        MAP.locate(place, TOWN)


@pytest.mark.parametrize("town", ["", UNKNOWN_TOWN, "999999999"])
def test_a_town_without_cells_has_none(town: str) -> None:
    fresh = Map(REGISTRY)
    assert fresh.locate(at(5, 5), town) == Located("", "", PlaceMark.NONE, ())
    assert fresh.town(at(5, 5)) == TOWN
    assert fresh.locate(at(5, 5), town) == Located("", "", PlaceMark.NONE, ())


def test_an_empty_map_is_far_from_everything() -> None:
    assert Map(Registry()).town(at(5, 5)) is None
    assert Map(Registry()).locate(at(5, 5), TOWN) == Located("", "", PlaceMark.NONE, ())


# ---- towns


def test_the_town_that_contains_it() -> None:
    assert [MAP.town(at(*place)) for place in ((5, 5), (45, 5), (40, 5), (0, 0))] == [TOWN, EAST, TOWN, TOWN]
    # A hole is outside, though near.
    assert MAP.town(at(33, 33)) == UNKNOWN_TOWN


@pytest.mark.parametrize(("metres", "town"), [(4950, UNKNOWN_TOWN), (5050, None)])
@pytest.mark.parametrize(("corner", "bearing"), [((0, 5), 270), ((5, 0), 180), ((80, 5), 90)])
def test_five_kilometres_around_a_town(
    metres: float, town: str | None, corner: tuple[float, float], bearing: float
) -> None:
    lon, lat = datums.target(WEST + corner[0] * STEP, SOUTH + corner[1] * STEP, bearing, metres)
    assert MAP.town(Place(lon=lon, lat=lat)) == town


# ---- places that may not be converted back


@pytest.mark.parametrize("datum", ["GCJ02", "BD09"])
def test_a_place_in_a_shifted_datum_is_found_on_the_map_in_that_datum(datum: str) -> None:
    forward = datums.FORWARD[datum]
    chance = Random(5)
    differ = 0
    for _ in range(2000):
        place = at(chance.uniform(-5, 85), chance.uniform(-5, 45))
        assert place.lon is not None
        assert place.lat is not None
        x, y = forward(place.lon, place.lat)
        given_there = Place(datum=datum, given_x=x, given_y=y)
        assert MAP.town(given_there) == MAP.town(place)
        # 50 m are 50 m there too, within the half per cent that both are right to.
        differ += MAP.locate(given_there, TOWN) != MAP.locate(place, TOWN)
    assert differ <= 4
    unshifted = Place(datum=datum, given_x=WEST + STEP, given_y=SOUTH + STEP)
    assert MAP.locate(unshifted, TOWN).cell == "", "read as WGS 84 it would lie in a cell"


def test_a_polygon_in_a_shifted_datum() -> None:
    ring = [datums.to_gcj02(WEST + x * STEP, SOUTH + y * STEP) for x, y in square(18, 5, 8)]
    geometry = json.dumps({"type": "Polygon", "coordinates": [[*ring, ring[0]]]})
    place = Place(datum="GCJ02", given_x=ring[0][0], given_y=ring[0][1], given_geometry=geometry)
    assert MAP.locate(place, TOWN) == located(2, PlaceMark.OVERLAP)


def test_a_long_straight_border_is_curved_in_a_shifted_datum() -> None:
    """By metres in the middle of 20 km, if only its ends were converted."""
    long = Map(Registry(towns=(area(TOWN, [(0, 0), (800, 0), (800, 800), (0, 800)]),)))
    for steps in (100.3, 250.7, 400.1, 610.9):
        lon, lat = WEST + steps * STEP, SOUTH
        for north, town in ((1e-6, TOWN), (-1e-6, UNKNOWN_TOWN)):
            x, y = datums.to_gcj02(lon, lat + north)
            assert long.town(Place(datum="GCJ02", given_x=x, given_y=y)) == town


# ---- 100,000 places


class Search:
    """Looks at every cell for every place. All in whole numbers, so that a border is met exactly: crossings of a ray to the east, and a
    corner or edge that has the place on it. Distances to every edge, in metres around the place.
    """

    def __init__(self, cells: Iterable[tuple[str, str, list[list[tuple[int, int]]]]]) -> None:
        self._cells = sorted(cells)

    def find(self, places: Whole) -> list[Located]:
        x, y = places[:, 0], places[:, 1]
        touching = np.zeros(len(places), dtype=np.int64)
        first, nearest = np.full(len(places), -1), np.full(len(places), -1)
        away = np.empty((len(self._cells), len(places)), dtype=np.float32)
        for index, (_, _, rings) in enumerate(self._cells):
            inside, on_border, away[index] = self._one(rings, x, y)
            touching += inside | on_border
            first[(inside | on_border) & (first < 0)] = index
        least = away.min(axis=0)
        for index in range(len(self._cells)):
            nearest[(nearest < 0) & (away[index] - least < 0.001)] = index
        columns = (column.tolist() for column in (touching, first, nearest, least))
        return [self._told(*found) for found in zip(*columns, strict=True)]

    def _told(self, touching: int, first: int, nearest: int, distance: float) -> Located:
        if touching:
            name, grid, _ = self._cells[first]
            return Located(name, grid, PlaceMark.BORDER if touching > 1 else PlaceMark.INSIDE, ())
        if distance <= NEAREST_M:
            name, grid, _ = self._cells[nearest]
            return Located(name, grid, PlaceMark.NEAREST, ())
        return Located("", "", PlaceMark.NONE, ())

    @staticmethod
    def _one(
        rings: list[list[tuple[int, int]]], x: Whole, y: Whole
    ) -> tuple[npt.NDArray[np.bool_], npt.NDArray[np.bool_], npt.NDArray[np.float64]]:
        inside, on_border = np.zeros(len(x), dtype=bool), np.zeros(len(x), dtype=bool)
        away = np.full(len(x), np.inf)
        metres_north = METRES_PER_DEGREE * STEP
        metres_east = metres_north * np.cos(np.radians(SOUTH + y * STEP))
        for ring in rings:
            for (ax, ay), (bx, by) in zip(ring, [*ring[1:], ring[0]], strict=True):
                side = (bx - ax) * (y - ay) - (by - ay) * (x - ax)
                between = (np.minimum(ax, bx) <= x) & (x <= np.maximum(ax, bx))
                between &= (np.minimum(ay, by) <= y) & (y <= np.maximum(ay, by))
                on_border |= (side == 0) & between
                crosses = (ay > y) != (by > y)
                inside ^= crosses & ((side > 0) == (by > ay))
                px, py = (x - ax) * metres_east, (y - ay) * metres_north
                ex, ey = (bx - ax) * metres_east, (by - ay) * metres_north
                along = np.clip((px * ex + py * ey) / (ex * ex + ey * ey), 0, 1)
                away = np.minimum(away, np.hypot(px - along * ex, py - along * ey))
        return inside, on_border, away


def wild_map(columns: int, rows: int, chance: Random) -> list[tuple[str, str, list[list[tuple[int, int]]]]]:
    """Cells with crooked common borders; some have a hole, of which some hold another cell; some are missing."""
    corners = {
        (i, j): (i * 8 + chance.randint(-2, 2), j * 8 + chance.randint(-2, 2))
        for i in range(columns + 1)
        for j in range(rows + 1)
    }
    cells = []
    numbers = list(range(1, 2 * columns * rows + 1))
    chance.shuffle(numbers)
    for i in range(columns):
        for j in range(rows):
            ring = [corners[i, j], corners[i + 1, j], corners[i + 1, j + 1], corners[i, j + 1]]
            draw = chance.random()
            if draw < 0.1:
                continue
            hole = [(i * 8 + 3, j * 8 + 3), (i * 8 + 5, j * 8 + 3), (i * 8 + 4, j * 8 + 5)]
            cells.append((cell(numbers.pop()), f"G{chance.randint(1, 9)}", [ring, hole] if draw < 0.4 else [ring]))
            if draw < 0.25:
                cells.append((cell(numbers.pop()), f"G{chance.randint(1, 9)}", [hole]))
    return cells


def test_a_hundred_thousand_places_lie_where_a_search_of_every_cell_finds_them() -> None:
    chance = Random(20260301)
    cells = wild_map(16, 12, chance)
    areas = [area(name, *rings, grid=grid) for name, grid, rings in cells]
    chance.shuffle(areas)
    places = np.array([(chance.randint(-12, 140), chance.randint(-12, 108)) for _ in range(100_000)])
    asked = Map(Registry(cells=tuple(areas)))
    found = [asked.locate(at(int(x), int(y)), TOWN) for x, y in places]
    assert found == Search(cells).find(places)
    marks = [one.mark for one in found]
    for mark in (PlaceMark.INSIDE, PlaceMark.BORDER, PlaceMark.NEAREST, PlaceMark.NONE):
        assert marks.count(mark) > 1000


@given(st.permutations(REGISTRY.cells), st.permutations(REGISTRY.towns), st.integers(-5, 85), st.integers(-5, 45))
def test_the_order_of_the_registry_does_not_matter(cells: list[Area], towns: list[Area], x: int, y: int) -> None:
    shuffled = Map(Registry(cells=tuple(cells), towns=tuple(towns)))
    place = at(x, y, accuracy_m=60)
    assert shuffled.locate(place, TOWN) == MAP.locate(place, TOWN)
    assert shuffled.town(place) == MAP.town(place)
