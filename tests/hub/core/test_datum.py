"""Datums, planes, areas: against vectors on which independent programs agree, and as properties."""

import json
from math import inf, nan

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.core import datum as datums

# WGS 84, GCJ-02, BD-09 of one place: three programs agree on them to 1e-6 degrees.
VECTORS = {
    "Beijing": ((116.391349, 39.907375), (116.397590, 39.908776), (116.403963, 39.915120)),
    "Zhengzhou": ((113.625368, 34.746600), (113.631415, 34.745417), (113.637815, 34.751723)),
    "town": ((113.740500, 34.395600), (113.746650, 34.394310), (113.753058, 34.400567)),
    "Urumqi": ((87.616848, 43.825592), (87.619698, 43.826797), (87.626148, 43.832941)),
    "Haikou": ((110.198293, 20.044002), (110.202588, 20.041891), (110.209127, 20.047688)),
    "Shanghai": ((121.473701, 31.230416), (121.478224, 31.228474), (121.484782, 31.234327)),
}
ZHENGZHOU, TOWN = VECTORS["Zhengzhou"][0], VECTORS["town"][0]
EXACT, MILLIMETRES = 1e-9, 2e-8
RING = [(113.7405, 34.3956), (113.7408, 34.3956), (113.7408, 34.3958), (113.7405, 34.3958), (113.7405, 34.3956)]

# Not at the very edge of the box, where a place and its shifted place lie on two sides of it.
lons = st.floats(73, 136)
lats = st.floats(3, 54)


def near(one: tuple[float, float], other: tuple[float, float], degrees: float) -> bool:
    return max(abs(one[0] - other[0]), abs(one[1] - other[1])) <= degrees


@pytest.mark.parametrize("place", VECTORS)
def test_vectors(place: str) -> None:
    wgs84, gcj02, bd09 = VECTORS[place]
    assert near(datums.to_gcj02(*wgs84), gcj02, 1e-6)
    assert near(datums.to_bd09(*wgs84), bd09, 1e-6)
    assert near(datums.from_gcj02(*gcj02), wgs84, 1.5e-6)
    assert near(datums.from_bd09(*bd09), wgs84, 1.5e-6)


@given(lons, lats)
def test_there_and_back_is_the_same_place(lon: float, lat: float) -> None:
    assert near(datums.from_gcj02(*datums.to_gcj02(lon, lat)), (lon, lat), EXACT)
    assert near(datums.from_bd09(*datums.to_bd09(lon, lat)), (lon, lat), 2 * EXACT)
    assert near(datums.to_gcj02(*datums.from_gcj02(lon, lat)), (lon, lat), EXACT)


@given(lons, lats)
def test_a_shift_is_seen_but_never_as_far_as_two_kilometres(lon: float, lat: float) -> None:
    assert not near(datums.to_gcj02(lon, lat), (lon, lat), 1e-5)
    assert near(datums.to_gcj02(lon, lat), (lon, lat), 0.02)


@pytest.mark.parametrize("place", [(2.35, 48.86), (139.69, 35.69), (100.5, 0.5), (60.0, 40.0)])
def test_outside_china_nothing_is_shifted(place: tuple[float, float]) -> None:
    assert datums.to_gcj02(*place) == datums.from_gcj02(*place) == place


@given(st.floats(), st.floats())
def test_any_numbers_come_to_an_end(lon: float, lat: float) -> None:
    datums.from_gcj02(lon, lat)


# ---- planes


@pytest.mark.parametrize(
    ("datum", "easting", "northing", "place"),
    [
        ("EPSG:4547", 465695.348, 3846545.068, ZHENGZHOU),
        ("EPSG:4526", 38465695.348, 3846545.068, ZHENGZHOU),
        ("EPSG:4547", 476137.825, 3807574.280, TOWN),
    ],
)
def test_a_zone_of_gauss_krueger(datum: str, easting: float, northing: float, place: tuple[float, float]) -> None:
    assert near(datums.from_plane(datum, easting, northing), place, MILLIMETRES)


@pytest.mark.parametrize("zone", range(25, 46))
def test_every_zone_has_its_meridian_at_500_km(zone: int) -> None:
    plain, numbered = f"EPSG:{4534 + zone - 25}", f"EPSG:{4513 + zone - 25}"
    assert datums.named(plain) == plain
    assert datums.named(numbered) == numbered
    there = datums.from_plane(plain, 500_000, 3_800_000)
    assert there[0] == pytest.approx(3 * zone)
    assert near(datums.from_plane(numbered, zone * 1_000_000 + 500_000, 3_800_000), there, EXACT)


def test_what_lies_outside_a_plane_is_told() -> None:
    with pytest.raises(ValueError, match="not a place of EPSG:4547"):
        datums.from_plane("EPSG:4547", 1e30, 1e30)


# ---- names


@pytest.mark.parametrize(
    ("said", "datum"),
    [
        ("WGS84", "WGS84"),
        ("wgs-84", "WGS84"),
        ("WGS 84", "WGS84"),
        ("EPSG:4326", "WGS84"),
        ("CRS84", "WGS84"),
        ("OGC:CRS84", "WGS84"),
        ("urn:ogc:def:crs:OGC:1.3:CRS84", "WGS84"),
        ("urn:ogc:def:crs:OGC::CRS84", "WGS84"),
        ("http://www.opengis.net/def/crs/OGC/1.3/CRS84", "WGS84"),
        ("urn:ogc:def:crs:EPSG:6.9:4326", "WGS84"),
        ("gps", "WGS84"),
        ("CGCS2000", "CGCS2000"),
        ("cgcs_2000", "CGCS2000"),
        ("国家2000坐标系", "CGCS2000"),
        ("2000国家大地坐标系", "CGCS2000"),
        ("EPSG:4490", "CGCS2000"),
        ("epsg4490", "CGCS2000"),
        ("4490", "CGCS2000"),
        ("urn:ogc:def:crs:EPSG::4490", "CGCS2000"),
        ("http://www.opengis.net/def/crs/EPSG/0/4490", "CGCS2000"),
        ("gcj02", "GCJ02"),
        ("GCJ-02", "GCJ02"),
        ("火星坐标系", "GCJ02"),
        ("高德", "GCJ02"),
        ("bd09ll", "BD09"),
        ("BD-09", "BD09"),
        ("百度坐标", "BD09"),
        ("EPSG:4547", "EPSG:4547"),
        ("urn:ogc:def:crs:EPSG::4526", "EPSG:4526"),
        (" 4547 ", "EPSG:4547"),
        ("EPSG:4512", None),
        ("EPSG:4555", None),
        ("EPSG:94490", None),
        ("EPSG:4610", None),
        ("EPSG:3857", None),
        ("Xian80", None),
        ("Beijing 54", None),
        ("bd09mc", None),
        ("坐标系", None),
        ("", None),
    ],
)
def test_what_senders_call_a_datum(said: str, datum: str | None) -> None:
    assert datums.named(said) == datum


@given(st.text())
def test_any_text_is_a_datum_or_none(said: str) -> None:
    known = datums.named(said)
    assert known is None or datums.named(known) == known


# ---- the order of axes


@pytest.mark.parametrize(
    ("datum", "first", "second", "ordered"),
    [
        ("WGS84", 113.7, 34.4, ("WGS84", 113.7, 34.4)),
        ("WGS84", 34.4, 113.7, ("WGS84", 113.7, 34.4)),
        ("GCJ02", 34.4, 113.7, ("GCJ02", 113.7, 34.4)),
        ("CGCS2000", 53.9, 73.1, ("CGCS2000", 73.1, 53.9)),
        ("WGS84", 0.0, 0.0, None),
        ("WGS84", 2.35, 48.86, None),
        ("WGS84", nan, 34.4, None),
        ("EPSG:4547", 476137.8, 3807574.3, ("EPSG:4547", 476137.8, 3807574.3)),
        ("EPSG:4547", 3807574.3, 476137.8, ("EPSG:4547", 476137.8, 3807574.3)),
        ("EPSG:4547", 3807574.3, 38476137.8, ("EPSG:4526", 38476137.8, 3807574.3)),
        ("EPSG:4526", 38476137.8, 3807574.3, ("EPSG:4526", 38476137.8, 3807574.3)),
        ("EPSG:4526", 476137.8, 3807574.3, ("EPSG:4547", 476137.8, 3807574.3)),
        ("EPSG:4547", 39476137.8, 3807574.3, ("EPSG:4527", 39476137.8, 3807574.3)),
        ("EPSG:4547", 46476137.8, 3807574.3, None),
        ("EPSG:4547", 24476137.8, 3807574.3, None),
        ("EPSG:4547", 113.7, 34.4, None),
        ("EPSG:4547", inf, 3807574.3, None),
        ("EPSG:4547", 3807574.3, -inf, None),
        ("CGCS2000", 3807574.3, 38476137.8, ("EPSG:4526", 38476137.8, 3807574.3)),
        ("CGCS2000", 476137.8, 3807574.3, None),
        ("GCJ02", 38476137.8, 3807574.3, None),
    ],
)
def test_order_of_axes(datum: str, first: float, second: float, ordered: tuple[str, float, float] | None) -> None:
    assert datums.in_order(datum, first, second) == ordered


@given(lons, lats, st.sampled_from(["WGS84", "CGCS2000", "GCJ02", "BD09"]))
def test_swapped_degrees_are_always_seen(lon: float, lat: float, datum: str) -> None:
    assert datums.in_order(datum, lon, lat) == datums.in_order(datum, lat, lon) == (datum, lon, lat)


# ---- areas and targets


def polygon(*rings: list[tuple[float, float]]) -> dict[str, object]:
    return {"type": "Polygon", "coordinates": rings}


def test_area() -> None:
    whole = datums.area_m2(polygon(RING))
    assert whole == pytest.approx(612.03, abs=0.005)
    assert datums.area_m2(polygon(RING[::-1])) == pytest.approx(whole)
    assert datums.area_m2(polygon(RING[:-1])) == pytest.approx(whole)
    half = [(113.7405, 34.3956), (113.74065, 34.3956), (113.74065, 34.3958), (113.7405, 34.3958), (113.7405, 34.3956)]
    assert datums.area_m2(polygon(RING, half)) == pytest.approx(whole / 2, abs=0.01)
    assert datums.area_m2(polygon(RING, half[::-1])) == pytest.approx(whole / 2, abs=0.01)
    both = {"type": "MultiPolygon", "coordinates": [[RING, half], [half]]}
    assert datums.area_m2(both) == pytest.approx(whole, abs=0.01)


def test_area_of_what_has_heights_or_no_area() -> None:
    raised = json.loads(json.dumps(polygon([(*point, 90.5) for point in RING])))  # type: ignore[misc]
    assert datums.area_m2(raised) == datums.area_m2(polygon(RING))
    assert datums.area_m2({"type": "Point", "coordinates": [113.7, 34.4]}) == 0
    assert datums.area_m2({"type": "LineString", "coordinates": RING}) == 0


@pytest.mark.parametrize(
    ("bearing", "moved"), [(0, (0, 0.009_01)), (90, (0.010_9, 0)), (180, (0, -0.009_01)), (270, (-0.010_9, 0))]
)
def test_a_kilometre_ahead(bearing: float, moved: tuple[float, float]) -> None:
    lon, lat = datums.target(113.9, 34.7, bearing, 1000)
    assert near((lon - 113.9, lat - 34.7), moved, 5e-5)
    _, _, metres = datums.ELLIPSOID.inv(113.9, 34.7, lon, lat)
    assert metres == pytest.approx(1000)
