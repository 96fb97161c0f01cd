"""The map: places come where they belong, whatever datum; marks of one place stand side by side."""

from dataclasses import replace
from math import dist

import pytest

from hub.core import datum
from hub.core.events import Ticket
from hub.page.drawing import Atlas, Spread, Tiles, draw, middle
from tests.hub.page.crowd import TOWN, opening, own_devices, registry

KNOWN = registry()
TICKET = next(one for one in opening(KNOWN, 1) if isinstance(one, Ticket))
TILES = Tiles("https://tiles.example/{z}/{x}/{y}.png", "GCJ02")


@pytest.mark.parametrize("tiles", [None, TILES, replace(TILES, datum="WGS84")], ids=["plain", "gcj02", "wgs84"])
def test_every_device_lies_on_the_plane_and_distances_are_right(tiles: Tiles | None) -> None:
    drawing = draw(KNOWN, TOWN, (), tiles)
    assert drawing is not None
    places = [place for one in own_devices(KNOWN) if (place := drawing.device(one))]
    assert len(places) == sum(one.lon is not None for one in own_devices(KNOWN)) > 50
    assert all(0 <= x <= 1000 and 0 <= y <= drawing.height for x, y in places)
    north = dist(drawing.place(113.91, 34.70), drawing.place(113.91, 34.71)) * drawing.metres
    assert north == pytest.approx(1109.5, rel=0.005)
    east = dist(drawing.place(113.91, 34.70), drawing.place(113.92, 34.70)) * drawing.metres
    assert east == pytest.approx(915, rel=0.01)


def test_a_place_that_came_in_gcj02_lies_where_the_same_place_in_wgs84_does() -> None:
    """It may not be converted back: the map is converted forward."""
    drawing = draw(KNOWN, TOWN)
    assert drawing is not None
    assert TICKET.lon is not None
    assert TICKET.lat is not None
    x, y = datum.to_gcj02(TICKET.lon, TICKET.lat)
    given = replace(TICKET, lon=None, lat=None, given_x=x, given_y=y, datum="GCJ02")
    assert drawing.ticket(given) == drawing.ticket(TICKET)


@pytest.mark.parametrize(("cell", "known"), [(TICKET.cell, True), ("", False), ("no such", False)])
def test_without_a_place_of_its_own_it_is_shown_in_the_middle_of_its_cell(cell: str, known: bool) -> None:
    drawing = draw(KNOWN, TOWN)
    assert drawing is not None
    found = drawing.ticket(replace(TICKET, lon=None, lat=None, cell=cell))
    assert (found is not None) == known
    assert found is None or found[1] is False


def test_tiles_cover_the_plane() -> None:
    drawing = draw(KNOWN, TOWN, (), TILES)
    assert drawing is not None
    assert drawing.world
    assert min(tile.x for tile in drawing.tiles) <= 0
    assert max(tile.x + tile.side for tile in drawing.tiles) >= 1000
    assert max(tile.y + tile.side for tile in drawing.tiles) >= drawing.height
    assert len(drawing.tiles) <= 60


def test_a_town_without_a_map_is_drawn_around_its_devices_or_not_at_all() -> None:
    bare = replace(KNOWN, towns=(), villages=(), cells=())
    assert Atlas(None).of(bare, TOWN) is not None
    assert Atlas(None).of(bare, "110101001") is None


def test_the_middle_of_a_ring() -> None:
    assert middle([(0, 0), (4, 0), (4, 2), (0, 2), (0, 0)]) == pytest.approx((2, 1))
    assert middle([(1, 1), (1, 1), (1, 1)]) == (1, 1)


def test_marks_of_one_place_stand_beside_one_another() -> None:
    spread = Spread()
    places = [spread.beside((10, 10)) for _ in range(40)]
    assert places[0] == (0, 0)
    assert min(dist(a, b) for n, a in enumerate(places) for b in places[:n]) > 14
