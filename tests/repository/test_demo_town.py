"""The demo town is what its README says: counts, borders without overlaps and gaps, stations in their towns, gaps of the roster on purpose."""

import json
import re
from datetime import datetime, timedelta, timezone
from hashlib import sha256
from itertools import pairwise
from pathlib import Path

import pytest
import shapely
from shapely.geometry import Point, Polygon
from shapely.geometry.base import BaseGeometry

from hub.core import datum as datums
from hub.core.grid import METRES_PER_DEGREE, Map, Place, flat
from hub.core.registry import Area, Registry
from hub.core.roster import Chain
from hub.registry_check import check

TOWN_FILES = Path(__file__).parents[2] / "deploy/town"
ZHENGAN = "410122106"
REGISTRY, FINDINGS = check(TOWN_FILES)
DEVICES = {device.id: device for device in REGISTRY.devices}


def shapes(areas: tuple[Area, ...]) -> dict[str, Polygon]:
    return {area.id: Polygon(json.loads(area.geometry)["coordinates"][0]) for area in areas}


TOWNS, VILLAGES, CELLS = map(shapes, (REGISTRY.towns, REGISTRY.villages, REGISTRY.cells))


def m2(geometry: BaseGeometry) -> float:
    area: float = flat(geometry, (113.92, 34.69)).area
    return area


def test_nothing_is_wrong_but_the_gaps_on_purpose() -> None:
    assert [str(one) for one in FINDINGS] == [
        "roster.csv: 410122106206Z01 has neither worker nor head: its tickets go to the grid centre",
        "roster.csv: 410122106208G02 has neither worker nor head: its tickets go to the second head",
    ]


def test_there_is_as_much_of_everything_as_the_readme_says() -> None:
    def share(registry: Registry, kind: str) -> int:
        return sum(site.kind == kind for site in registry.sites)

    villages = [village.id.removeprefix(ZHENGAN) for village in REGISTRY.villages]
    assert [code for code in villages if code < "200"] == ["001", "002"]
    assert [code for code in villages if code > "200"] == [str(code) for code in range(201, 209)]
    assert (share(REGISTRY, "unit"), share(REGISTRY, "enterprise")) == (13, 52)
    feeds = [device.feed for device in REGISTRY.devices]
    assert (feeds.count("air"), feeds.count("camera"), feeds.count("patrol")) == (40, 16, 4)
    assert len(feeds) == 60
    assert (len(REGISTRY.towns), len(REGISTRY.cells), len(REGISTRY.grids)) == (24, 151, 20)
    assert [grid.kind for grid in REGISTRY.grids].count("special") == 4
    assert (len({one.id for one in REGISTRY.people}), len(REGISTRY.people)) == (39, 47)
    assert (len(REGISTRY.vendors), len(REGISTRY.rules.all)) == (7, 11)
    assert REGISTRY.rules.of("camera.intrusion") is None


# ---- borders


@pytest.mark.parametrize("village", VILLAGES)
def test_cells_fill_a_village_without_gap_or_overlap(village: str) -> None:
    cells = [CELLS[cell.id] for cell in REGISTRY.cells if cell.parent == village]
    whole = shapely.union_all(cells)
    assert m2(VILLAGES[village].symmetric_difference(whole)) < 1
    assert abs(sum(map(m2, cells)) - m2(whole)) < 1


@pytest.mark.parametrize("areas", [TOWNS, VILLAGES], ids=["towns", "villages"])
def test_neighbours_do_not_overlap(areas: dict[str, Polygon]) -> None:
    assert abs(sum(map(m2, areas.values())) - m2(shapely.union_all(list(areas.values())))) < 1


def test_villages_fill_the_town_and_neighbours_touch_it() -> None:
    assert m2(TOWNS[ZHENGAN].symmetric_difference(shapely.union_all(list(VILLAGES.values())))) < 1
    common = {code: TOWNS[ZHENGAN].boundary.intersection(other.boundary).length for code, other in TOWNS.items()}
    beside = {code for code, degrees in common.items() if degrees * METRES_PER_DEGREE > 100} - {ZHENGAN}
    assert beside == {"410122001", "410122002", "410122003", "410171111"}


def test_corners_are_shared_exactly() -> None:
    """A corner on a neighbour's border is a corner of the neighbour: so no rounding opens a gap."""
    areas = {**TOWNS, **VILLAGES, **CELLS}
    drawn = list(areas.values())
    corners = [set(one.exterior.coords) for one in drawn]
    tree = shapely.STRtree([one.boundary for one in drawn])
    for one in drawn:
        for corner in one.exterior.coords:
            assert corner == tuple(round(number, 6) for number in corner)
            for other in tree.query(Point(corner), predicate="dwithin", distance=6e-7):
                assert corner in corners[other]


def test_cells_are_numbered_in_rows_from_north_to_south_and_west_to_east() -> None:
    for village in VILLAGES:
        mine = [cell.id for cell in REGISTRY.cells if cell.parent == village]
        assert mine == [f"{village}{number:03}" for number in range(1, len(mine) + 1)]
        middles = [CELLS[name].centroid for name in mine]
        assert middles[0].y > middles[-1].y
        rows = 1 + sum(after.x < before.x for before, after in pairwise(middles))
        assert 2 <= rows <= len(mine) / 2, "each row goes east"


# ---- places


def test_everything_stands_in_its_town() -> None:
    there = Map(REGISTRY)
    for device in REGISTRY.devices:
        if device.feed != "patrol":
            assert there.town(Place(lon=device.lon, lat=device.lat)) == device.town, device.id
    for site in REGISTRY.sites:
        assert there.locate(Place(lon=site.lon, lat=site.lat), site.town).mark == "inside", site.id


def sees(name: str) -> Place:
    device = DEVICES[name]
    assert device.lon is not None
    assert device.lat is not None
    assert device.bearing_deg is not None
    assert device.distance_m is not None
    lon, lat = datums.target(device.lon, device.lat, device.bearing_deg, device.distance_m)
    return Place(lon=lon, lat=lat, accuracy_m=device.accuracy_m)


def test_cameras_that_look_far() -> None:
    there = Map(REGISTRY)
    for name, others in (("zhengan-cam-1", ("410122106002G01",)), ("zhengan-cam-2", ("410122106206Z01",))):
        found = there.locate(sees(name), ZHENGAN)
        assert (found.mark, found.also) == ("uncertain", others)
    assert there.town(sees("zhengan-cam-4")) == "410122003"


# ---- people and keys


def at(year: int, month: int, day: int) -> int:
    return int(datetime(year, month, day, 12, tzinfo=timezone(timedelta(hours=8))).timestamp() * 1000)


@pytest.mark.parametrize(
    ("grid", "day", "role", "person"),
    [
        ("001G01", (2026, 7, 31), "worker", "za-w01"),
        ("001G01", (2026, 8, 1), "worker", "za-v01"),
        ("001G01", (2026, 8, 31), "worker", "za-v01"),
        ("001G01", (2026, 9, 1), "worker", "za-w01"),
        ("203G01", (2026, 6, 30), "worker", "za-w10"),
        ("203G01", (2026, 7, 1), "worker", "za-w11"),
        ("002Z01", (2026, 9, 1), "worker", "za-w06"),
        ("202G02", (2026, 9, 1), "head", "za-h04"),
        ("208G02", (2026, 9, 1), "second_head", "za-s10"),
        ("206Z01", (2026, 9, 1), "centre", ""),
    ],
)
def test_whose_it_is(grid: str, day: tuple[int, int, int], role: str, person: str) -> None:
    owner = Chain(REGISTRY).owner(f"{ZHENGAN}{grid}", at(*day))
    assert (owner.role, owner.person) == (role, person)


def test_no_telephone_number_stands_anywhere() -> None:
    for name in ("map.geojson", "roster.csv"):
        text = (TOWN_FILES / name).read_text(encoding="utf-8")
        assert not re.search(r"(?<!\d)1[3-9]\d{9}(?!\d)", text)


def test_the_keys_are_those_that_the_readme_gives_away() -> None:
    text = (TOWN_FILES / "README.md").read_text(encoding="utf-8")
    given = {sha256(key.encode()).hexdigest() for key in re.findall(r"`(demo-\w+-key)`", text)}
    assert given == {key.sha256 for vendor in REGISTRY.vendors for key in vendor.keys}
    assert [vendor.id for vendor in REGISTRY.vendors if vendor.trial] == ["lantian"]
    assert [vendor.id for vendor in REGISTRY.vendors if vendor.gcj02_inverse] == ["xunjian"]
