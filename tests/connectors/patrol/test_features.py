"""Every form in which patrols push, and every trouble of their fields and places, from body to alert."""

import json
import time
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.patrol.features import read
from connectors.patrol.translate import Town, translate
from hub.core import datum as datums
from hub.core.errors import Reason, Rejected
from hub.core.events import PatrolAlert
from hub.core.registry import Device, Registry, Vendor
from hub.registry_check import load
from hub.shipped import shipped

ACCEPTED = 1_772_330_400_000  # 2026-03-01T10:00:00+08:00
TOWN = "410122106"
LON, LAT = 113.92, 34.69
VENDOR = Vendor(id="xunjian", name="巡检", feeds=frozenset({"patrol"}), datum="CGCS2000")
SHIPPED = load(shipped("deploy/town"))
PLACES = Town(
    replace(
        SHIPPED,
        devices=(
            Device(id="uav-1", mn="UAV-1", vendor="xunjian", feed="patrol", town=TOWN),
            Device(id="uav-2", mn="UAV-2", vendor="someone", feed="patrol", town=TOWN),
        ),
    )
)
RING = [[113.92, 34.69], [113.9203, 34.69], [113.9203, 34.6902], [113.92, 34.6902], [113.92, 34.69]]
SQUARE = {"type": "Polygon", "coordinates": [RING]}
SPOT: dict[str, Any] = {
    "type": "Feature",
    "id": "410122-202603-0017",
    "geometry": SQUARE,
    "properties": {
        "JCBH": "410122-202603-0017",
        "TBLX": "20",
        "TZ": "新增钢结构厂房",
        "QSX": "20260105",
        "HSX": "20260301",
        "MJ": 612.0,
        "confidence": 0.87,
        "images": ["https://img.example/1.jpg"],
        "SFYN": "是",
        "当事人": "张三",
        "联系电话": "13800000000",
    },
}
FLAT: dict[str, Any] = {
    "code": "WJ20260301001",
    "issueType": "ILLEGAL_BUILD",
    "longitude": 113.92,
    "latitude": 34.69,
    "coordType": "wgs84",
    "address": "东李庄",
    "deviceSn": "UAV-1",
    "source": "AI",
    "description": "屋顶加盖",
    "imagesJson": '["https://img.example/1.jpg","ftp://no"]',
    "foundAt": "2026-03-01T09:30:00",
    "floors": "2",
}


def body(content: Any) -> bytes:
    return content if isinstance(content, bytes) else json.dumps(content, ensure_ascii=False).encode()


def alerts(content: Any, vendor: Vendor = VENDOR, **more: Any) -> list[PatrolAlert]:
    return [translate(one, vendor, PLACES, ACCEPTED, **more) for one in read(body(content))]


def alert(content: Any, vendor: Vendor = VENDOR, **more: Any) -> PatrolAlert:
    [one] = alerts(content, vendor, **more)
    return one


def collection(*features: Any, **more: Any) -> dict[str, Any]:
    return {"type": "FeatureCollection", "features": list(features), **more}


def test_a_satellite_spot_is_an_alert_with_its_area_and_place() -> None:
    one = alert(collection(SPOT, crs={"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::4490"}}))
    assert (one.id, one.town, one.vendor, one.kind) == (
        "xunjian/410122-202603-0017/20260301",
        TOWN,
        "xunjian",
        "patrol.illegal_building",
    )
    assert one.area_m2 == pytest.approx(610, rel=0.01)
    assert (one.stated_area_m2, one.building_class, one.building_type, one.signal) == (612.0, "new", "20", "begins")
    assert (one.image_before, one.image_after, one.confidence, one.farmland, one.redline) == (
        "20260105",
        "20260301",
        0.87,
        True,
        None,
    )
    assert one.lon == pytest.approx(113.92015, abs=1e-4)
    assert (one.datum, one.given_x, one.given_geometry) == ("CGCS2000", None, "")
    assert json.loads(one.geometry)["type"] == "Polygon"
    assert one.photos == ("https://img.example/1.jpg",)
    assert one.description == "新增钢结构厂房"


def test_who_is_accused_is_not_taken_over() -> None:
    told = repr(alert(SPOT))
    assert "张三" not in told
    assert "13800000000" not in told


def test_a_patrol_apps_flat_json_is_one_too() -> None:
    one = alert(FLAT)
    assert (one.id, one.device, one.spot_no, one.origin) == (one.id, "uav-1", "WJ20260301001", "camera")
    assert (one.lon, one.lat, one.datum, one.area_m2, one.geometry) == (LON, LAT, "WGS84", None, "")
    assert one.occurred_at == ACCEPTED - 30 * 60_000
    assert (one.floors, one.building_class, one.photos) == (2, "added_storey", ("https://img.example/1.jpg",))


@pytest.mark.parametrize(
    ("content", "count"),
    [
        (SPOT, 1),
        ([SPOT, FLAT], 2),
        (collection(SPOT, SPOT), 2),
        (
            {
                "features": [
                    {"geometry": SQUARE, "area_m2": 85.3, "confidence": 0.87, "change_type": "NEW_CONSTRUCTION"}
                ],
                "image_size": [9, 9],
            },
            1,
        ),
        (SQUARE, 1),
        (b"\xef\xbb\xbf" + body(FLAT), 1),
        (json.dumps(FLAT, ensure_ascii=False).encode("gb18030"), 1),
        ({**FLAT, "geometry": json.dumps(SQUARE)}, 1),
        ({name.upper(): value for name, value in FLAT.items()}, 1),
        ({"图斑编号": "7", "经度": "113.92", "纬度": "34.69", "面积(亩)": "0.9"}, 1),
    ],
)
def test_every_form_is_read(content: Any, count: int) -> None:
    found = alerts(content)
    assert len(found) == count
    assert all(one.town == TOWN for one in found)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"", Reason.SYNTAX),
        (b"{", Reason.SYNTAX),
        (b"[]", Reason.SYNTAX),
        (b'{"longitude": NaN}', Reason.SYNTAX),
        (b"\xff\xff\xff", Reason.SYNTAX),
        (b"[" * 100_000, Reason.TOO_LARGE),
        (b'{"a":' * 60 + b"1" + b"}" * 60, Reason.TOO_LARGE),
        (b"[" + b"{}," * 1000 + b"{}]", Reason.TOO_LARGE),
        (b"[[" + b"0," * 500_000 + b"0]]", Reason.TOO_LARGE),
    ],
    ids=lambda value: repr(value[:16]),
)
def test_a_body_that_is_nothing_is_refused_whole_and_soon(content: bytes, reason: Reason) -> None:
    began = time.process_time()
    with pytest.raises(Rejected) as refused:
        read(content)
    assert refused.value.reason is reason
    assert time.process_time() - began < 2.0


def with_geometry(geometry: Any, **more: Any) -> dict[str, Any]:
    return {**SPOT, "geometry": geometry, **more}


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (7, Reason.SYNTAX),
        (with_geometry({"type": "Circle", "coordinates": [1, 2]}), Reason.SYNTAX),
        (with_geometry({"type": "Polygon"}), Reason.SYNTAX),
        (with_geometry({"type": "Polygon", "coordinates": []}), Reason.SYNTAX),
        (with_geometry({"type": "Polygon", "coordinates": [[[1, 2]]]}), Reason.SYNTAX),
        (with_geometry({"type": "Polygon", "coordinates": [["a", "b"]]}), Reason.SYNTAX),
        (with_geometry({"type": "Polygon", "coordinates": [RING[:2] + RING[:1]]}), Reason.SYNTAX),
        (with_geometry({"type": "Point", "coordinates": [500, 600]}), Reason.DATUM),
        (
            with_geometry(
                {"type": "Polygon", "coordinates": [[[113.92 + i * 1e-6, 34.69 + i % 2 * 1e-3] for i in range(5000)]]}
            ),
            Reason.TOO_LARGE,
        ),
        ({**FLAT, "longitude": "here"}, Reason.SYNTAX),
        ({**FLAT, "coordType": "xian80"}, Reason.DATUM),
        ({**FLAT, "coordType": "EPSG:4214"}, Reason.DATUM),
        ({**FLAT, "longitude": 121.47, "latitude": 31.23}, Reason.OUTSIDE_AREA),
        ({**FLAT, "deviceSn": "UAV-2"}, Reason.NOT_YOURS),
    ],
    ids=lambda value: str(value)[:60],
)
def test_a_broken_feature_is_refused_by_itself(content: Any, reason: Reason) -> None:
    good, bad = read(body([SPOT, content]))
    assert translate(good, VENDOR, PLACES, ACCEPTED).town == TOWN
    with pytest.raises(Rejected) as refused:
        translate(bad, VENDOR, PLACES, ACCEPTED)
    assert refused.value.reason is reason
    assert "121.47" not in refused.value.detail


@pytest.mark.parametrize(
    "geometry",
    [
        {"type": "Polygon", "coordinates": [RING[:-1]]},
        {"type": "Polygon", "coordinates": [RING[::-1]]},
        {"type": "Polygon", "coordinates": [[[x, y, 88.0] for x, y in RING]]},
        {"type": "Polygon", "coordinates": [[[y, x] for x, y in RING]]},
        {"type": "MultiPolygon", "coordinates": [[RING]]},
    ],
    ids=["open", "clockwise", "heights", "swapped", "multi"],
)
def test_rings_are_taken_as_vendors_draw_them(geometry: dict[str, Any]) -> None:
    one = alert(with_geometry(geometry))
    assert one.area_m2 == pytest.approx(610, rel=0.01)
    assert one.lon == pytest.approx(113.92015, abs=2e-4)


def test_a_ring_that_crosses_itself_is_what_it_covers() -> None:
    one = alert(with_geometry({"type": "Polygon", "coordinates": [[RING[0], RING[2], RING[1], RING[3], RING[0]]]}))
    assert one.area_m2 == pytest.approx(305, rel=0.05)
    assert json.loads(one.geometry)["type"] == "MultiPolygon"


@pytest.mark.parametrize(
    ("kind", "coordinates"), [("Point", RING[0]), ("LineString", RING[:2]), ("MultiPoint", RING[:2])]
)
def test_points_and_lines_have_a_place_and_no_area(kind: str, coordinates: Any) -> None:
    one = alert(with_geometry({"type": kind, "coordinates": coordinates}))
    assert one.area_m2 is None
    assert one.lon == pytest.approx(113.92, abs=2e-4)


def test_a_hole_is_not_in_the_area_and_the_place_not_in_the_hole() -> None:
    hole = [
        [113.92005, 34.69005],
        [113.92025, 34.69005],
        [113.92025, 34.69015],
        [113.92005, 34.69015],
        [113.92005, 34.69005],
    ]
    one = alert(with_geometry({"type": "Polygon", "coordinates": [RING, hole]}))
    assert one.area_m2 == pytest.approx(610 - 203, rel=0.02)
    assert not (113.92005 < (one.lon or 0) < 113.92025 and 34.69005 < (one.lat or 0) < 34.69015)


# ---- datums


def test_gcj02_stays_as_it_came_unless_the_customer_has_decided_otherwise() -> None:
    x, y = (round(number, 7) for number in datums.to_gcj02(LON, LAT))
    told = {**FLAT, "longitude": x, "latitude": y, "coordType": "gcj02"}
    kept = alert(told)
    assert (kept.lon, kept.lat, kept.datum, kept.given_x, kept.given_y) == (None, None, "GCJ02", x, y)
    assert kept.town == TOWN, "it is looked for on the map in that datum"
    back = alert(told, replace(VENDOR, gcj02_inverse=True))
    assert back.lon == pytest.approx(LON, abs=1e-6)
    assert back.lat == pytest.approx(LAT, abs=1e-6)
    assert (back.datum, back.given_x, back.given_y) == ("GCJ02", x, y)


def test_a_datum_in_the_message_goes_before_the_vendors() -> None:
    assert alert({**FLAT, "coordType": ""}, replace(VENDOR, datum="GCJ02")).datum == "GCJ02"
    assert alert({**FLAT, "coordType": "CGCS2000"}, replace(VENDOR, datum="GCJ02")).datum == "CGCS2000"


def test_a_feature_alone_is_where_it_was_in_its_collection() -> None:
    """As a dead letter keeps it, and a replay reads it."""
    x, y = (round(number, 7) for number in datums.to_gcj02(LON, LAT))
    point = {"type": "Feature", "geometry": {"type": "Point", "coordinates": [x, y]}, "properties": {}}
    [told] = read(body(collection(point, crs={"type": "name", "properties": {"name": "GCJ02"}})))
    [again] = read(told.raw)
    assert again.crs == told.crs == "GCJ02"
    assert translate(again, VENDOR, PLACES, ACCEPTED) == translate(told, VENDOR, PLACES, ACCEPTED)


@pytest.mark.parametrize(
    ("named", "numbers"),
    [
        ("EPSG:4547", (492_678.0, 3_840_258.0)),
        ("EPSG:4547", (3_840_258.0, 492_678.0)),
        ("EPSG:4526", (38_492_678.0, 3_840_258.0)),
    ],
)
def test_planes_of_cgcs2000_become_degrees(named: str, numbers: tuple[float, float]) -> None:
    one = alert({**FLAT, "coordType": named, "longitude": numbers[0], "latitude": numbers[1]})
    assert one.lon == pytest.approx(113.92, abs=2e-3)
    assert one.lat == pytest.approx(34.69, abs=2e-3)
    assert one.datum == named
    assert one.town == TOWN


def test_degrees_minutes_and_seconds_are_degrees() -> None:
    one = alert({**FLAT, "longitude": "113°55'12\"", "latitude": "34°41′24″N"})
    assert one.lon == pytest.approx(113.92, abs=1e-6)
    assert one.lat == pytest.approx(34.69, abs=1e-6)


def test_without_a_place_the_devices_town_counts_and_without_both_nobodys() -> None:
    nowhere = {key: value for key, value in FLAT.items() if key not in ("longitude", "latitude")}
    assert alert(nowhere).town == TOWN
    assert alert({**nowhere, "deviceSn": ""}).town == "000000000"
    assert alert({**FLAT, "longitude": 0, "latitude": 0}).lon is None


# ---- identity and time


def test_the_id_is_the_first_of_number_event_key_and_content() -> None:
    other_image = {**SPOT, "properties": {**SPOT["properties"], "HSX": "20260401"}}
    assert alert(SPOT).id == alert(SPOT).id != alert(other_image).id
    event = {key: value for key, value in FLAT.items() if key != "code"}
    assert alert({**event, "event_id": "E1", "status": "PENDING"}).id == "xunjian/E1/PENDING"
    assert alert(event, key="K1", index=2).id == "xunjian/K1/2"
    assert alert(event).id == alert(event).id != alert({**event, "address": "x"}).id


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-03-01T09:30:00", ACCEPTED - 1_800_000),
        ("2026-03-01T09:30:00+08:00", ACCEPTED - 1_800_000),
        ("2026-03-01T01:30:00Z", ACCEPTED - 1_800_000),
        ("2026-03-01 09:30", ACCEPTED - 1_800_000),
        ("2026/3/1 9:30", ACCEPTED - 1_800_000),
        ("20260301093000", ACCEPTED - 1_800_000),
        ("20260301", ACCEPTED - 36_000_000),
        ("2026年3月1日", ACCEPTED - 36_000_000),
        (ACCEPTED - 1_800_000, ACCEPTED - 1_800_000),
        ((ACCEPTED - 1_800_000) // 1000, ACCEPTED - 1_800_000),
        ("1970-01-01 08:00:00", None),
        ("2026-03-03", None),
        ("20261301", None),
        ("soon", None),
        (1e300, None),
    ],
)
def test_times_as_vendors_write_them(text: Any, expected: int | None) -> None:
    one = alert({**FLAT, "foundAt": text})
    assert one.occurred_at == expected
    assert (one.time_mark == "missing") == (expected is None)


@pytest.mark.parametrize(
    ("status", "signal"),
    [
        ("", "begins"),
        ("PENDING", "begins"),
        ("INSPECTING", "goes_on"),
        ("CONFIRMED", "goes_on"),
        ("EXCLUDED", "ends"),
        ("已拆除", "ends"),
        ("整改中", "goes_on"),
        ("whatever", "begins"),
    ],
)
def test_a_vendors_status_says_what_becomes_of_the_case(status: str, signal: str) -> None:
    one = alert({**FLAT, "status": status})
    assert (one.signal, one.vendor_status) == (signal, status)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=12),
    lambda inner: (
        st.lists(inner, max_size=4)
        | st.dictionaries(
            st.sampled_from([*FLAT, "geometry", "coordinates", "type", "features", "properties", "crs"]),
            inner,
            max_size=5,
        )
    ),
    max_leaves=20,
)


@settings(deadline=None, max_examples=300)
@given(
    JSON
    | st.dictionaries(st.sampled_from([*FLAT, *SPOT["properties"], "geometry"]), JSON).map(lambda odd: {**FLAT, **odd})
)
def test_any_json_is_alerts_or_refused(content: Any) -> None:
    try:
        features = read(body(content))
    except Rejected:
        return
    for one in features:
        try:
            translate(one, VENDOR, PLACES, ACCEPTED)
        except Rejected:
            continue


def test_a_registry_without_a_map_knows_no_town() -> None:
    [one] = read(body(FLAT))
    assert translate(one, VENDOR, Town(Registry()), ACCEPTED).town == "000000000"
