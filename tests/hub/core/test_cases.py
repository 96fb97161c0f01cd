"""When two messages of patrols are about one case."""

import json

import pytest

from hub.core import datum as datums
from hub.core.cases import Case, same
from hub.core.town import DAY_MS
from tests.hub.core.one_town import at, patrol

NOW = at("10:00", 10)
X, Y = 113.9, 34.7
METRE = 1 / 110_950


def rectangle(west_m: float, east_m: float, north_m: float = 20) -> str:
    """A rectangle beside the place, in metres from it."""
    x = METRE / 0.8221  # the cosine of its latitude
    corners = [(west_m, 0), (east_m, 0), (east_m, north_m), (west_m, north_m), (west_m, 0)]
    ring = [[X + east * x, Y + north * METRE] for east, north in corners]
    return json.dumps({"type": "Polygon", "coordinates": [ring]})


def case(geometry: str = "", *, spot_no: str = "S1", last_at: int = NOW, **odd: object) -> Case:
    fields = {"lon": X, "lat": Y, "datum": "WGS84", "given_x": None, "given_y": None} | odd
    return Case(vendor="surveyor", spot_no=spot_no, geometry=geometry, last_at=last_at, ticket="t", **fields)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("other", "is_same"),
    [
        ((0, 20), True),
        ((6, 26), True),  # 14 of 26 metres
        ((10, 30), True),  # a third
        ((11, 31), False),  # 9 of 31
        ((20, 40), False),  # side by side
        ((0, 70), False),  # within, and too small a part of it
    ],
)
def test_polygons_are_one_case_from_a_common_share_of_three_tenths(other: tuple[float, float], is_same: bool) -> None:
    alert = patrol("p", NOW, vendor="drones", lon=X, lat=Y, geometry=rectangle(*other))
    assert same(case(rectangle(0, 20)), alert, NOW) is is_same


@pytest.mark.parametrize(("metres", "days", "is_same"), [(29, 30, True), (31, 0, False), (0, 31, False), (0, 0, True)])
def test_points_are_one_case_within_thirty_metres_and_thirty_days(metres: float, days: int, is_same: bool) -> None:
    alert = patrol("p", NOW, vendor="drones", lon=X, lat=Y + metres * METRE)
    assert same(case(last_at=NOW - days * DAY_MS), alert, NOW) is is_same


def test_a_point_beside_a_polygon_is_judged_as_points() -> None:
    assert same(case(rectangle(0, 20)), patrol("p", NOW, vendor="drones", lon=X, lat=Y + 10 * METRE), NOW)


def test_two_numbers_of_one_vendor_are_two_cases() -> None:
    assert not same(case(), patrol("p", NOW, vendor="surveyor", spot_no="S2", lon=X, lat=Y), NOW)
    assert same(case(), patrol("p", NOW, vendor="surveyor", lon=X, lat=Y), NOW)
    assert same(case(spot_no=""), patrol("p", NOW, vendor="surveyor", spot_no="S2", lon=X, lat=Y), NOW)


def test_places_in_two_shifted_datums_are_not_compared() -> None:
    gcj = case(lon=None, lat=None, datum="GCJ02", given_x=X, given_y=Y)
    assert not same(gcj, patrol("p", NOW, vendor="drones", lon=X, lat=Y), NOW), (
        "the same numbers are half a kilometre apart"
    )
    assert same(gcj, patrol("p", NOW, vendor="drones", given=(X, Y), datum="GCJ02"), NOW)
    assert not same(gcj, patrol("p", NOW, vendor="drones", given=(X, Y), datum="BD09"), NOW)
    assert not same(gcj, patrol("p", NOW, vendor="drones"), NOW)


@pytest.mark.parametrize("datum", sorted(datums.FORWARD))
@pytest.mark.parametrize(("metres", "is_same"), [(0, True), (29, True), (31, False)])
def test_a_place_in_wgs84_is_compared_where_it_lies_in_a_shifted_datum(
    datum: str, metres: float, is_same: bool
) -> None:
    x, y = datums.FORWARD[datum](X, Y)
    beside = Y + metres * METRE
    there = case(lon=None, lat=None, datum=datum, given_x=x, given_y=y)
    assert same(there, patrol("p", NOW, vendor="drones", lon=X, lat=beside), NOW) is is_same
    given = patrol("p", NOW, vendor="drones", given=datums.FORWARD[datum](X, beside), datum=datum)
    assert same(case(), given, NOW) is is_same


@pytest.mark.parametrize("datum", sorted(datums.FORWARD))
@pytest.mark.parametrize(("other", "is_same"), [((9, 29), True), ((12, 32), False)])
def test_so_are_polygons(datum: str, other: tuple[float, float], is_same: bool) -> None:
    x, y = datums.FORWARD[datum](X, Y)
    [ring] = json.loads(rectangle(0, 20))["coordinates"]
    drawn = json.dumps({"type": "Polygon", "coordinates": [[datums.FORWARD[datum](*corner) for corner in ring]]})
    there = case(drawn, lon=None, lat=None, datum=datum, given_x=x, given_y=y)
    assert same(there, patrol("p", NOW, vendor="drones", lon=X, lat=Y, geometry=rectangle(*other)), NOW) is is_same
