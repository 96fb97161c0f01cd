"""Every form in which patrols push, and every trouble of their fields and places, from body to alert."""

import json
import random
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
        ({**FLAT, "latitude": "34°75'"}, Reason.SYNTAX),
        ({"hello": "world"}, Reason.SYNTAX),
        ({}, Reason.SYNTAX),
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


def test_parts_that_overlap_count_once() -> None:
    moved = [[x + 0.00015, y] for x, y in RING]
    one = alert(with_geometry({"type": "MultiPolygon", "coordinates": [[RING], [moved]]}))
    assert one.area_m2 == pytest.approx(610 * 1.5, rel=0.01)


@pytest.mark.parametrize("count", [120, 500, 3000])
def test_a_ring_that_crosses_itself_everywhere_is_refused_soon(count: int) -> None:
    """Each crossing more costs ever more to mend, and other senders wait."""
    chance = random.Random(1)
    ring = [[round(113.91 + chance.random() * 0.02, 4), round(34.68 + chance.random() * 0.02, 4)] for _ in range(count)]
    began = time.process_time()
    with pytest.raises(Rejected) as refused:
        alert(with_geometry({"type": "Polygon", "coordinates": [ring]}))
    assert refused.value.reason is Reason.TOO_LARGE
    assert time.process_time() - began < 2.0


def test_a_geometry_in_a_text_is_no_deeper_than_one_outside() -> None:
    deep = '{"type":"Polygon","coordinates":' + "[" * 900 + "]" * 900 + "}"
    good, bad = read(body([SPOT, with_geometry(deep)]))
    assert translate(good, VENDOR, PLACES, ACCEPTED).town == TOWN
    with pytest.raises(Rejected):
        translate(bad, VENDOR, PLACES, ACCEPTED)


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


def named_crs(name: str) -> dict[str, Any]:
    return {"type": "name", "properties": {"name": name}}


SHIFTED = {"type": "Point", "coordinates": [round(number, 7) for number in datums.to_gcj02(LON, LAT)]}


@pytest.mark.parametrize(
    "content",
    [
        {"type": "Feature", "geometry": SHIFTED, "properties": {"crs": "GCJ02"}},
        {"type": "Feature", "geometry": SHIFTED, "properties": {"coordType": "gcj02"}},
        {"type": "Feature", "geometry": {**SHIFTED, "crs": named_crs("GCJ02")}, "properties": {}},
        {"type": "Feature", "geometry": SHIFTED, "properties": {}, "CRS": named_crs("GCJ02")},
        {**SHIFTED, "crs": "gcj-02"},
        collection(
            {"type": "Feature", "geometry": SHIFTED, "properties": {}, "crs": "gcj02"}, crs=named_crs("EPSG:4490")
        ),
    ],
    ids=["properties", "coordType", "geometry", "capitals", "bare", "before the collection's"],
)
def test_a_datum_is_heard_wherever_it_is_named(content: Any) -> None:
    """Nothing else tells a place from one 500 m away."""
    [told] = read(body(content))
    one = translate(told, VENDOR, PLACES, ACCEPTED)
    assert (one.datum, one.lon, one.given_x) == ("GCJ02", None, SHIFTED["coordinates"][0])
    assert translate(read(told.raw)[0], VENDOR, PLACES, ACCEPTED) == one


@pytest.mark.parametrize(
    "crs",
    [
        4610,
        {"type": "EPSG", "properties": {"code": 4610}},
        {"type": "link", "properties": {"href": "http://crs.example/4610"}},
        {"type": "name"},
        ["EPSG:4490"],
        True,
    ],
    ids=str,
)
def test_a_datum_that_cannot_be_read_is_not_taken_for_the_vendors(crs: Any) -> None:
    for content in ({**SPOT, "crs": crs}, collection(SPOT, crs=crs), {**FLAT, "coordType": "", "crs": crs}):
        with pytest.raises(Rejected) as refused:
            alert(content)
        assert refused.value.reason is Reason.DATUM


@pytest.mark.parametrize("crs", [None, "", {}, 4490, {"type": "EPSG", "properties": {"code": 4490}}], ids=str)
def test_no_datum_and_one_as_a_number(crs: Any) -> None:
    assert alert({**SPOT, "crs": crs}).datum == "CGCS2000"


def test_what_is_kept_of_a_feature_has_the_datum_as_it_came() -> None:
    link = {"type": "link", "properties": {"href": "http://crs.example/4610"}}
    [told] = read(body(collection({**SPOT, "CRS": ""}, crs=link)))
    assert json.loads(told.raw) == {**SPOT, "CRS": "", "crs": link}
    with pytest.raises(Rejected):
        translate(read(told.raw)[0], VENDOR, PLACES, ACCEPTED)


def test_of_two_datums_that_differ_none_is_chosen() -> None:
    with pytest.raises(Rejected) as refused:
        alert({**FLAT, "coordType": "gcj02", "crs": "EPSG:4490"})
    assert refused.value.reason is Reason.DATUM
    assert alert({**FLAT, "coordType": "wgs84", "crs": "EPSG:4490"}).lon == LON


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


@pytest.mark.parametrize(
    ("lon", "lat"), [("113°55'12\"", "34°41′24″N"), ("E113°55'12''", "N 34°41'24.0''"), ("113度55分12秒", "北34°41.4'")]
)
def test_degrees_minutes_and_seconds_are_degrees(lon: str, lat: str) -> None:
    one = alert({**FLAT, "longitude": lon, "latitude": lat})
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


def test_a_further_status_of_a_spot_is_a_further_message() -> None:
    """The image stays the same while a case goes its way: its end must not be taken for its beginning, sent again."""
    said = [
        alert({**SPOT, "properties": {**SPOT["properties"], "status": status}})
        for status in ("PENDING", "CONFIRMED", "EXCLUDED")
    ]
    assert [one.signal for one in said] == ["begins", "goes_on", "ends"]
    assert len({one.id for one in said}) == len(said)


def test_two_places_without_a_number_are_two_findings() -> None:
    """What has the id of another is taken for the same message, sent again."""
    points = [
        {"type": "Feature", "geometry": {"type": "Point", "coordinates": [LON + move, LAT]}, "properties": {}}
        for move in (0, 0.001)
    ]
    one, other = alerts(points)
    assert one.id != other.id
    assert [one.id, other.id] == [again.id for again in alerts(collection(*points))]


@pytest.mark.parametrize("number", [0, "0", 12345])
def test_the_row_of_a_feature_in_its_push_is_no_number_of_its_sender(number: int | str) -> None:
    """Programs that write GeoJSON count features from 0, in every push anew."""
    point = {"type": "Point", "coordinates": [LON, LAT]}
    today, tomorrow = (
        alert({"type": "Feature", "id": number, "geometry": point, "properties": {"foundAt": day}})
        for day in ("2026-02-27", "2026-02-28")
    )
    assert today.id != tomorrow.id
    assert today.event_no == ""
    assert alert({**FLAT, "code": "", "id": number}).event_no == str(number), "a patrol app's own"


def test_of_a_name_that_comes_twice_the_last_counts() -> None:
    assert alert(b'{"code":"A","code":"B","longitude":113.92,"latitude":34.69}').spot_no == "B"


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
        (str(ACCEPTED - 1_800_000), ACCEPTED - 1_800_000),
        (str((ACCEPTED - 1_800_000) // 1000), ACCEPTED - 1_800_000),
        (20260301093000, ACCEPTED - 1_800_000),
        (20260301, ACCEPTED - 36_000_000),
        ("2026年3月1日 9时30分", ACCEPTED - 1_800_000),
        ("9" * 10, None),
        ("2026-03-01 9:305", None),
        ("2026年3月1日9时30分0秒", ACCEPTED - 1_800_000),
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
        ("待核查", "begins"),
        ("已归档", "ends"),
        ("结案", "ends"),
        ("不属实", "ends"),
        ("NOT_ARCHIVED", "goes_on"),
        ("UNARCHIVED", "goes_on"),
        ("未销号", "goes_on"),
        ("待归档", "goes_on"),
        ("不予排除", "goes_on"),
        ("部分已拆除", "goes_on"),
        ("销号审核中", "goes_on"),
        ("归档申请", "goes_on"),
        ("已拆除，待复核", "goes_on"),
        ("未销号，后已归档", "ends"),
    ],
)
def test_a_vendors_status_says_what_becomes_of_the_case(status: str, signal: str) -> None:
    one = alert({**FLAT, "status": status})
    assert (one.signal, one.vendor_status) == (signal, status)


@pytest.mark.parametrize(
    ("stated", "m2"),
    [
        (612, 612.0),
        ("612.0", 612.0),
        ("612㎡", 612.0),
        ("612 平方米", 612.0),
        ("612 m2", 612.0),
        ("0.918亩", 612.0),
        ("1,612.5", 1612.5),
        ("亩", None),
        ("-5", None),
        ({"value": 612}, None),
    ],
)
def test_a_stated_area_is_in_square_metres(stated: Any, m2: float | None) -> None:
    one = alert({**SPOT, "properties": {**SPOT["properties"], "MJ": stated}})
    assert one.stated_area_m2 == (m2 and pytest.approx(m2, abs=0.01))
    assert one.area_m2 == pytest.approx(610, rel=0.01)


@pytest.mark.parametrize(
    ("field", "said", "origin", "stage"),
    [
        ("source", "AI", "camera", ""),
        ("source", "AI识别", "camera", ""),
        ("source", "EMAIL", "", ""),
        ("source", "UAV-2", "drone", ""),
        ("source", "12345热线APP", "hotline", ""),
        ("source", "巡查APP", "manual", ""),
        ("stage", "未建成", "camera", "under_construction"),
        ("stage", "NOT_BUILT", "camera", ""),
        ("stage", "已建成", "camera", "built"),
        ("stage", "under_construction", "camera", "under_construction"),
    ],
)
def test_a_short_word_counts_only_as_a_word(field: str, said: str, origin: str, stage: str) -> None:
    one = alert({**FLAT, field: said})
    assert (one.origin, one.stage) == (origin, stage)


def test_what_it_is_called_goes_before_what_is_said_of_it() -> None:
    assert alert({**FLAT, "issueType": "围墙", "description": "旁边是耕地"}).building_class == "wall"


@pytest.mark.parametrize(
    ("images", "photos"),
    [
        ("HTTP://img.example/1.jpg", ("HTTP://img.example/1.jpg",)),
        ({"url": "https://img.example/1"}, ("https://img.example/1",)),
        (
            ["https://img.example/1", {"url": " https://img.example/2 "}],
            ("https://img.example/1", "https://img.example/2"),
        ),
        (["http://img.example/\nX-Header: 1", "javascript:1", "https://a b", 7, None], ()),
        (["https://img.example/" + "x" * 600], ()),
    ],
    ids=lambda value: str(value)[:40],
)
def test_photos_are_links_on_one_line(images: Any, photos: tuple[str, ...]) -> None:
    assert alert({**FLAT, "imagesJson": images}).photos == photos


def test_no_more_photos_than_people_look_at() -> None:
    assert len(alert({**FLAT, "imagesJson": [f"https://img.example/{n}" for n in range(50)]}).photos) == 20


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
    st.binary(max_size=60)
    | JSON
    | JSON.map(lambda odd: {**SPOT, "geometry": json.dumps(odd)})
    | st.dictionaries(st.sampled_from([*FLAT, *SPOT["properties"], "geometry"]), JSON).map(lambda odd: {**FLAT, **odd})
)
def test_any_bytes_and_any_json_are_alerts_or_refused(content: Any) -> None:
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
