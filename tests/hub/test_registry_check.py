"""What a registry is refused for, each mistake by itself, with file and line."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hub.core.errors import Misconfigured
from hub.registry_check import check, load
from hub.registry_export import export
from hub.shipped import shipped
from tests.hub.test_registry import FULL
from tests.planted import IDENTITY_CARD, MOBILE, PLATE, VENDOR_KEY, planted_in

Change = Callable[[Path], None]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder without a mistake."""
    export(FULL, tmp_path)
    assert [one for one in check(tmp_path)[1] if one.level == "error"] == []
    return tmp_path


def in_file(name: str, old: str, new: str) -> Change:
    def change(folder: Path) -> None:
        text = (folder / name).read_text(encoding="utf-8")
        assert old in text, f"{old} is not in {name}"
        (folder / name).write_text(text.replace(old, new, 1), encoding="utf-8", newline="")

    return change


def in_map(name: str, **changes: Any) -> Change:
    """A feature of the map with other properties, or another geometry."""

    def change(folder: Path) -> None:
        path = folder / "map.geojson"
        content = json.loads(path.read_text(encoding="utf-8"))
        [feature] = [one for one in content["features"] if one["properties"]["id"] == name]
        if "geometry" in changes:
            feature["geometry"] = changes["geometry"]
        feature["properties"] |= {key: value for key, value in changes.items() if key != "geometry"}
        lines = ",\n".join(json.dumps(one, ensure_ascii=False, separators=(",", ":")) for one in content["features"])
        path.write_text(f'{{"type":"FeatureCollection","features":[\n{lines}\n]}}\n', encoding="utf-8")

    return change


def whole(name: str, text: str) -> Change:
    def change(folder: Path) -> None:
        (folder / name).write_text(text, encoding="utf-8")

    return change


def turned(becomes: Callable[[float, float], list[float]]) -> Change:
    """Every polygon of the map with other coordinates."""

    def change(folder: Path) -> None:
        path = folder / "map.geojson"
        content = json.loads(path.read_text(encoding="utf-8"))
        for geometry in (one["geometry"] for one in content["features"] if one["geometry"]):
            geometry["coordinates"] = [[becomes(*point) for point in ring] for ring in geometry["coordinates"]]
        path.write_text(json.dumps(content), encoding="utf-8")

    return change


def site(lon: float, lat: float, geometry: str = "Point") -> Change:
    """One more site on the map."""

    def change(folder: Path) -> None:
        path = folder / "map.geojson"
        content = json.loads(path.read_text(encoding="utf-8"))
        own = {"level": "site", "id": "S1", "name": "firm", "kind": "enterprise", "town": "330100001"}
        point = {"type": geometry, "coordinates": [lon, lat]}
        content["features"].append({"type": "Feature", "properties": own, "geometry": point})
        path.write_text(json.dumps(content), encoding="utf-8")

    return change


def box(west: float, south: float, east: float, north: float) -> dict[str, Any]:
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    return {"type": "Polygon", "coordinates": [ring]}


BOW_TIE = {
    "type": "Polygon",
    "coordinates": [[[113.9, 34.7], [113.91, 34.71], [113.91, 34.7], [113.9, 34.71], [113.9, 34.7]]],
}
OPEN = {"type": "Polygon", "coordinates": [[[113.9, 34.7], [113.91, 34.7], [113.91, 34.71], [113.9, 34.71]]]}
TEXTS = {
    "type": "Polygon",
    "coordinates": [[["113.9", "34.7"], ["113.91", "34.7"], ["113.91", "34.71"], ["113.9", "34.7"]]],
}
CELL, OTHER_CELL, VILLAGE = "330100001001001", "330100001001002", "330100001001"


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (
            in_map(CELL, geometry=box(113.90, 34.70, 113.911, 34.71)),
            r"map.geojson:\d+: 330100001001002 and 330100001001001 overlap",
        ),
        (
            in_map(CELL, geometry=box(113.90, 34.70, 113.909, 34.71)),
            r"map.geojson:\d+: 330100001001: \d+ m2 lie in no cell",
        ),
        (
            in_map("330100001", geometry=box(113.899, 34.70, 113.92, 34.71)),
            r"map.geojson:\d+: 330100001: \d+ m2 lie in no village, at 113\.899",
        ),
        (
            in_map(CELL, geometry=box(113.899, 34.70, 113.91, 34.71)),
            r"map.geojson:\d+: 330100001001001: \d+ m2 lie outside 330100001001",
        ),
        (
            in_map(CELL, geometry=BOW_TIE),
            r"map.geojson:\d+: 330100001001001: the polygon is not right: Self-intersection",
        ),
        (in_map(CELL, geometry=None), r"map.geojson:\d+: 330100001001001: has no Polygon"),
        (
            in_map(CELL, geometry={"type": "Polygon", "coordinates": [[[1, 2]]]}),
            r"map.geojson:\d+: 330100001001001: the polygon is not right",
        ),
        (in_map(CELL, id=OTHER_CELL), r"map.geojson:8: 330100001001002 stands there twice, first in line 7"),
        (in_map(CELL, id="33010000100100"), r"map.geojson:7: id '33010000100100' is not 15 digits"),
        (in_map(CELL, id=330100001001001), r"map.geojson:7: id 330100001001001 is not 15 digits in quotation marks"),
        (in_map(CELL, geometry=OPEN), r"map.geojson:7: 330100001001001: .* the ring is not closed: .*\[113.9, 34.7\]"),
        (in_map(CELL, geometry=TEXTS), r"map.geojson:7: 330100001001001: .* not \[longitude, latitude\] in numbers"),
        (in_map(CELL, id="330100001009001"), r"map.geojson:\d+: 330100001009001: 330100001009 is not on the map"),
        (in_map(CELL, grid="G9"), r"map.geojson:\d+: 330100001001001: G9 is not on the map"),
        (
            in_map(CELL, level="cel"),
            r"map.geojson:\d+: feature \d+: level 'cel' is none of town, village, grid, cell, site",
        ),
        (in_map("G1", village="330100001002"), r"map.geojson:\d+: G1: 330100001002 is not on the map"),
        (in_map("G1", kind="big"), r"map.geojson:\d+: G1: kind is neither base nor special"),
        (in_file("map.geojson", '"features"', '"feature"'), r"map.geojson:1: is not a FeatureCollection"),
        (in_file("map.geojson", '"features":[', '"features":[,'), r"map.geojson:1: is not JSON"),
        (
            in_file("map.geojson", '{"type":"FeatureCollection"', '{"crs":{"type":"name"},"type":"FeatureCollection"'),
            r"map.geojson:1: has a crs",
        ),
        (
            in_file("roster.csv", "wang,wang,worker,G1", "wang,wang,worker,G9"),
            r"roster.csv:3: wang: the area G9 is no grid on the map",
        ),
        (
            in_file("roster.csv", "wang,wang,worker", "wang,wang,boss"),
            r"roster.csv:3: role 'boss' is none of worker, head, second_head",
        ),
        (
            in_file("roster.csv", "wang,wang,worker,G1,,", "wang,wang,worker,G1,2026-02-30,"),
            r"roster.csv:3: from '2026-02-30' is not a day",
        ),
        (
            in_file("roster.csv", "wang,wang,worker,G1,,", "wang,wang,worker,G1,26/3/1,"),
            r"roster.csv:3: from '26/3/1' is not a day",
        ),
        (
            in_file("roster.csv", "wang,wang,worker,G1,,", "wang,wang,worker,G1,2026-03-02,2026-03-01"),
            r"roster.csv:3: to lies before from",
        ),
        (in_file("roster.csv", "li,li,worker,G2", "wang,other,worker,G2"), r"roster.csv:3: wang has two names"),
        (
            in_file("devices.csv", ",maker,air,", ",nobody,air,"),
            r"devices.csv:2: zz-1: the vendor nobody is not in vendors.toml",
        ),
        (in_file("devices.csv", ",maker,air,", ",maker,patrol,"), r"devices.csv:2: zz-1: maker has no feed patrol"),
        (
            in_file("devices.csv", ",330100001,", ",330100003,"),
            r"devices.csv:2: zz-1: the town 330100003 is not on the map",
        ),
        (
            in_file("vendors.toml", 'datum = "GCJ02"', 'datum = "Xian80"'),
            r"vendors.toml:1: maker: datum is none of WGS84",
        ),
        (
            in_file("vendors.toml", "Asia/Shanghai", "Asia/Zhengzhou"),
            r"vendors.toml:1: maker: 'Asia/Zhengzhou' is not a time zone",
        ),
        (
            in_file("vendors.toml", "per_s = 12.5", "per_s = 0"),
            r"vendors.toml:1: maker: per_s is not a number above zero",
        ),
        (in_file("vendors.toml", "per_s", "per_second"), r"vendors.toml:1: maker: per_second is not known"),
        (
            in_file(
                "vendors.toml",
                "[[vendors.keys]]",
                "[[vendors.keys]]\nid='k1'\nsha256='" + "a" * 64 + "'\n[[vendors.keys]]",
            ),
            r"vendors.toml:1: maker: two keys are called k1",
        ),
        (in_file("vendors.toml", "abab", "xyz"), r"vendors.toml:1: maker: a key needs an id and the SHA-256"),
        (in_file("vendors.toml", "[[vendors]]", "[[vendors"), r"vendors.toml:1: is not TOML"),
        (
            in_file("vendors.toml", "[[vendors]]", "[vendors]"),
            r"vendors.toml:1: each vendor begins with \[\[vendors\]\]",
        ),
        (whole("vendors.toml", "\nvendors = 3\n"), r"vendors.toml:2: each vendor begins with"),
        (in_file("vendors.toml", "[[vendors.keys]]", "[vendors.keys]"), r"vendors.toml:1: maker: each key begins with"),
        (in_file("vendors.toml", "per_s = 12.5", f"per_s = 1{'0' * 400}"), r"vendors.toml:1: maker: per_s is not"),
        (whole("rules.toml", "rules = " + "[" * 9000), r"rules.toml: is nested too deep"),
        (whole("map.geojson", '{"features":' + "[" * 100_000), r"map.geojson: is nested too deep"),
        (
            turned(lambda lon, lat: [lat, lon]),
            r"map.geojson:\d+: 330100001: the polygon is not right: not degrees, longitude",
        ),
        (
            turned(lambda lon, lat: [lon * 1e5, lat * 1e5]),
            r"map.geojson:\d+: 330100001: the polygon is not right: not degrees",
        ),
        (site(113.9, 34.7, "MultiPoint"), r"map.geojson:\d+: S1: is no Point"),
        (site(113.905, float("nan")), r"map.geojson:\d+: S1: not degrees, longitude first"),
        (site(34.705, 113.905), r"map.geojson:\d+: S1: not degrees, longitude first"),
        (
            in_file("rules.toml", '"06020"', '"06099"'),
            r"rules.toml:\d+: camera.smoke: GB/T 47678.5-2026 has no class 06099",
        ),
        (in_file("rules.toml", '"06020"', '"6020"'), r"rules.toml:\d+: class: String should match pattern"),
        (
            in_file("rules.toml", "camera.smoke", "air.pm10.over_limit"),
            r"rules.toml:\d+: two rules are called air.pm10",
        ),
        (in_file("rules.toml", "quiet", "silent"), r"rules.toml:\d+: silent: Extra inputs are not permitted"),
    ],
)
def test_a_mistake_is_refused_with_file_and_line(folder: Path, change: Change, named: str) -> None:
    change(folder)
    with pytest.raises(Misconfigured, match=named):
        load(folder)


def test_all_mistakes_are_told_at_once(folder: Path) -> None:
    in_file("roster.csv", "wang,wang,worker,G1", "wang,wang,worker,G9")(folder)
    in_file("devices.csv", ",maker,air,", ",nobody,air,")(folder)
    with pytest.raises(Misconfigured) as told:
        load(folder)
    assert [line.rpartition("/")[2].partition(": ")[0] for line in str(told.value).splitlines()] == [
        "devices.csv:2",
        "roster.csv:3",
    ]


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (whole("vendors.toml", "id = “maker”"), "vendors.toml:1: is not TOML"),
        (whole("map.geojson", "{"), "map.geojson:1: is not JSON"),
        (in_map(CELL, geometry=OPEN), "map.geojson:7: "),
    ],
)
def test_what_a_broken_file_does_not_say_is_not_told_as_well(folder: Path, change: Change, named: str) -> None:
    """Fifty devices whose vendor is not there would hide why."""
    change(folder)
    [told] = check(folder)[1].errors
    assert str(told).startswith(named)


def test_where_it_is_bare_is_told(folder: Path) -> None:
    in_map(CELL, geometry=box(113.90, 34.70, 113.909, 34.71))(folder)
    [told] = check(folder)[1].errors
    assert re.search(r"lie in no cell, at 113\.909\d+,34\.70", str(told))


@pytest.mark.parametrize("day", ["2026-03-01", "2026/3/1", "2026/3/1 0:00", "2026年3月1日", "２０２６/３/１"])
def test_days_as_spreadsheets_write_them_are_the_same(folder: Path, day: str) -> None:
    in_file("roster.csv", "wang,wang,worker,G1,,", f"wang,wang,worker,G1,{day},")(folder)
    assert next(one.begins for one in load(folder).people if one.id == "wang") == 1_772_294_400_000


def test_a_rule_for_a_kind_that_nobody_tells_of_is_told(folder: Path) -> None:
    in_file("rules.toml", "camera.smoke", "camera.smoek")(folder)
    in_file("rules.toml", "a34002", "a340O2")(folder)
    assert [re.split(": ", str(one))[:2] for one in check(folder)[1] if one.file == "rules.toml"] == [
        ["rules.toml:1", "air.pm10.over_limit"],
        ["rules.toml:9", "camera.smoek"],
    ]


def test_what_is_only_odd_is_told_and_taken(folder: Path) -> None:
    in_file("roster.csv", "zhao,zhao,head,G1", "zhao,zhao,head,G2")(folder)
    in_file("roster.csv", "wang,wang,worker,G1", "wang,wang,worker,G2")(folder)
    in_file("devices.csv", "113.9051,34.7,", "113.9051,34.8,")(folder)
    registry, findings = check(folder)
    assert [str(one) for one in findings] == [
        "devices.csv:2: zz-1 stands 10.0 km outside its town 330100001",
        "roster.csv: G1 has neither worker nor head: its tickets go to the grid centre",
    ]
    assert load(folder) == registry


def test_a_rule_for_cameras_without_a_quiet_time_is_odd(folder: Path) -> None:
    in_file("rules.toml", "quiet = 60", "quiet = 0")(folder)
    [finding] = check(folder)[1]
    assert str(finding).startswith("rules.toml:")
    assert "camera.smoke: has no quiet" in str(finding)


def test_the_shipped_registry_has_no_mistake() -> None:
    assert check(shipped("deploy/town"))[1].errors == []


def test_a_duty_from_the_first_day_there_is_until_the_last_is_open(folder: Path) -> None:
    in_file("roster.csv", "2026-01-01,2026-12-31", "0001-01-01,9999-12-31")(folder)
    assert [(person.begins, person.ends) for person in load(folder).people] == [(None, None)] * 3


@pytest.mark.parametrize(
    ("file", "line"),
    [
        ("roster.csv", "{0},worker,{1},330100001001G01,{0},{1}"),
        ("roster.csv", "p9,name,{0},{1},{2},,{0}"),
        ("roster.csv", "p9,name,worker,{1},2026-01-01,{2}"),
        ("devices.csv", "d9,mn9,{0},{1},{2},{0},{0},{0}"),
        ("devices.csv", "d9,mn9,acme,air,330100001,113,34,{2}={1}"),
    ],
)
def test_a_finding_quotes_no_number_of_a_person_or_vehicle(folder: Path, file: str, line: str) -> None:
    path = folder / file
    path.write_text(
        path.read_text(encoding="utf-8") + line.format(MOBILE, IDENTITY_CARD, PLATE) + "\n", encoding="utf-8"
    )
    _, findings = check(folder)
    assert any(one.line for one in findings.errors)
    assert not [one for one in findings if planted_in(f"{one} {one.said.zh}")]


@pytest.mark.parametrize(
    "text",
    [
        '[[vendors]]\nid = "x"\nname = "x"\nfeeds = ["air"]\n[[vendors.keys]]\nid = "k1"\nsha256 = "{0}"\n',
        '[[vendors]]\nid = "x"\nkey = "{0}"\n',
        '[[vendors]]\nid = "x"\nkey = "{0}\n',
        '[[vendors]]\nid = "x"\nkey = {0}\n',
        '[[vendors]]\nid = "x"\nname = "x"\nfeeds = ["air"]\nkeys = ["{0}"]\n',
    ],
)
def test_a_finding_quotes_no_key(folder: Path, text: str) -> None:
    (folder / "vendors.toml").write_text(text.format(VENDOR_KEY), encoding="utf-8")
    _, findings = check(folder)
    assert findings.errors
    assert not [one for one in findings if planted_in(f"{one} {one.said.zh}")]
