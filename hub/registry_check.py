"""What a registry is held to before it counts: its pieces fit each other. `gridhub check`, and every import."""

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from importlib import import_module
from importlib.util import find_spec
from math import cos, radians
from pathlib import Path
from typing import NamedTuple, Protocol

import shapely
from shapely.errors import ShapelyError
from shapely.geometry import Point, shape
from shapely.geometry.base import BaseGeometry

from hub import classes
from hub.core.errors import Misconfigured
from hub.core.grid import METRES_PER_DEGREE, flat
from hub.core.registry import Area, Device, Registry, Role
from hub.core.rules import Rule
from hub.lang import Text
from hub.registry_files import DEVICES, MAP, MOST_LAT, MOST_LON, ROSTER, RULES, VENDORS, Files, Findings, key_of, read
from hub.settings import is_connector

# Two areas may share so much, which is the noise of drawn borders: about the page of a newspaper.
OVERLAP_M2 = 1.0
# A village may have so much of its area in no cell, a town in no village: slivers between drawn borders.
GAP_SHARE = 0.001
OUTSIDE_M = 1000.0


def load(folder: Path) -> Registry:
    """The registry in a folder. Raises Misconfigured with all that is wrong with its files, a sentence a line: `file:line: what`."""
    registry, findings = check(folder)
    if errors := findings.errors:
        raise Misconfigured("\n".join(str(folder / str(one)) for one in errors))
    return registry


def check(folder: Path) -> tuple[Registry, Findings]:
    """The registry and all that is wrong with it: errors refuse it, warnings are told."""
    findings = Findings()
    files = read(folder, findings)
    _Check(files, findings).run()
    findings.sort(key=lambda one: (one.level, one.file, one.line))
    return files.registry, findings


class Registered(Protocol):
    """`connectors.<feed>.registered`, which a connector may have: what only it knows of its devices and its kinds of alert."""

    def wrong_with(self, device: Device) -> Text | None:
        """What is wrong with its row."""
        ...

    def knows(self, rule: Rule) -> bool:
        """Whether something may come of a rule for this feed."""
        ...

    def odd_in(self, rule: Rule) -> Text | None:
        """What of a rule that it knows is hardly meant."""
        ...


def registered(feed: str) -> Registered | None:
    """A feed's own knowledge; None where it has none, or there is no such connector."""
    name = f"connectors.{feed}.registered"
    if not is_connector(feed) or find_spec(name) is None:
        return None
    own: Registered = import_module(name)
    return own


class _Parts(NamedTuple):
    """What areas of a larger kind are made of."""

    name: Text
    areas: Sequence[Area]
    shapes: dict[str, BaseGeometry]


class _Check:
    def __init__(self, files: Files, findings: Findings) -> None:
        self._registry = files.registry
        self._lines = files.lines
        # What is missing in these files is no news: to tell of each that names it would hide why.
        self._unread = files.unread
        self._findings = findings

    def run(self) -> None:
        if MAP not in self._unread:
            self._references()
        self._devices()
        self._keys()
        self._roster()
        self._rules()
        self._geometry()

    def _line(self, kind: str, one: object) -> int:
        return self._lines.get((kind, key_of(kind, one)), 0)

    # ---- what names what

    def _references(self) -> None:
        known = self._registry
        towns, villages = {one.id for one in known.towns}, {one.id for one in known.villages}
        grids = {one.id for one in known.grids}
        named = [
            *(("village", one, one.parent, towns) for one in known.villages),
            *(("cell", one, one.parent, villages) for one in known.cells),
            *(("cell", one, one.grid, grids) for one in known.cells),
            *(("grid", one, one.village, villages) for one in known.grids),
            *(("site", one, one.town, towns) for one in known.sites),
        ]
        for kind, one, name, there in named:
            if name not in there:
                self._unknown(kind, one, name)
        self._grids()

    def _grids(self) -> None:
        known = self._registry
        used = {cell.grid for cell in known.cells}
        villages_of = {grid.id: grid.village for grid in known.grids}
        for cell in known.cells:
            if villages_of.get(cell.grid, cell.parent) != cell.parent:
                self._findings.error(
                    MAP,
                    self._line("cell", cell),
                    f"{cell.id} lies in another village than its grid {cell.grid}",
                    f"{cell.id} 与其责任网格 {cell.grid} 不在同一个村（社区）",
                )
        for grid in known.grids:
            if grid.id not in used:
                self._findings.warn(
                    MAP, self._line("grid", grid), f"no cell names the grid {grid.id}", f"没有单元网格属于 {grid.id}"
                )

    def _unknown(self, kind: str, one: object, named: str) -> None:
        name = key_of(kind, one)
        self._findings.error(
            MAP, self._line(kind, one), f"{name}: {named} is not on the map", f"{name}：地图上没有 {named}"
        )

    def _devices(self) -> None:
        known = self._registry
        vendors = {vendor.id: vendor for vendor in known.vendors}
        towns = {one.id for one in known.towns}
        wired: dict[tuple[str, str], str] = {}
        for device in known.devices:
            line = self._line("device", device)
            if (other := wired.setdefault((device.feed, device.mn.lower()), device.id)) != device.id:
                self._findings.error(
                    DEVICES,
                    line,
                    f"mn {device.mn} stands there twice, as {other} and {device.id}",
                    f"mn {device.mn} 出现两次：{other} 和 {device.id}",
                )
            if VENDORS in self._unread:
                pass
            elif device.vendor not in vendors:
                self._findings.error(
                    DEVICES,
                    line,
                    f"{device.id}: the vendor {device.vendor} is not in {VENDORS}",
                    f"{device.id}：{VENDORS} 中没有厂商 {device.vendor}",
                )
            elif device.feed not in vendors[device.vendor].feeds:
                self._findings.error(
                    DEVICES,
                    line,
                    f"{device.id}: {device.vendor} has no feed {device.feed} in {VENDORS}",
                    f"{device.id}：{VENDORS} 中 {device.vendor} 没有 {device.feed} 数据源",
                )
            if towns and MAP not in self._unread and device.town not in towns:
                self._findings.error(
                    DEVICES,
                    line,
                    f"{device.id}: the town {device.town} is not on the map",
                    f"{device.id}：地图上没有 {device.town} 这个乡镇",
                )
            self._feed(device, line)

    def _feed(self, device: Device, line: int) -> None:
        """What only its connector can tell of a device."""
        if not is_connector(device.feed):
            self._findings.warn(
                DEVICES,
                line,
                f"{device.id}: nobody reads the feed {device.feed}: no connector is called so",
                f"{device.id}：没有名为 {device.feed} 的接入程序，该数据源不会被接收",
            )
        elif (own := registered(device.feed)) and (said := own.wrong_with(device)):
            self._findings.error(DEVICES, line, f"{device.id}: {said.en}", f"{device.id}：{said.zh}")

    def _keys(self) -> None:
        keys: dict[str, str] = {}
        for vendor in self._registry.vendors:
            for key in vendor.keys:
                if (other := keys.setdefault(key.sha256, vendor.id)) != vendor.id:
                    self._findings.error(
                        VENDORS,
                        self._line("vendor", vendor),
                        f"{vendor.id} and {other} have the same key",
                        f"{vendor.id} 与 {other} 使用同一个密钥",
                    )

    def _roster(self) -> None:
        known = self._registry
        grids, villages = {one.id: one for one in known.grids}, {one.id for one in known.villages}
        names: dict[str, str] = {}
        served: dict[str, set[Role]] = defaultdict(set)
        for person in known.people:
            line = self._line("person", person)
            second = person.role is Role.SECOND_HEAD
            if MAP not in self._unread and person.area not in (villages if second else grids):
                what_en, what_zh = ("village", "村（社区）") if second else ("grid", "责任网格")
                self._findings.error(
                    ROSTER,
                    line,
                    f"{person.id}: the area {person.area} is no {what_en} on the map",
                    f"{person.id}：地图上没有编号为 {person.area} 的{what_zh}（area 列）",
                )
            if (other := names.setdefault(person.id, person.name)) != person.name:
                self._findings.error(
                    ROSTER,
                    line,
                    f"{person.id} has two names, {other} before",
                    f"{person.id} 有两个姓名，之前为 {other}",
                )
            served[person.area].add(person.role)
        for grid in known.grids if known.people else ():
            if not served[grid.id] & {Role.WORKER, Role.HEAD}:
                last = Role.SECOND_HEAD in served[grid.village]
                to_en, to_zh = ("the second head", "二级网格长") if last else ("the grid centre", "网格中心")
                self._findings.warn(
                    ROSTER,
                    0,
                    f"{grid.id} has neither worker nor head: its tickets go to {to_en}",
                    f"{grid.id} 没有网格员和网格长：其工单将转给{to_zh}",
                )

    def _rules(self) -> None:
        for rule in self._registry.rules.all:
            line = self._lines.get(("rule", rule.kind), 0)
            if classes.name(rule.class_standard, classes.MATTER, rule.class_code) is None and (
                classes.name(rule.class_standard, classes.COMPONENT_FAULT, rule.class_code) is None
            ):
                self._findings.error(
                    RULES,
                    line,
                    f"{rule.kind}: {rule.class_standard} has no class {rule.class_code}",
                    f"{rule.kind}：{rule.class_standard} 中没有类别 {rule.class_code}",
                )
            feed = rule.kind.partition(".")[0]
            own = registered(feed)
            if not is_connector(feed) or (own and not own.knows(rule)):
                self._findings.warn(
                    RULES,
                    line,
                    f"{rule.kind}: no connector tells of this kind, or of the factor {rule.factor!r}: the rule will open nothing",
                    f"{rule.kind}：没有接入程序产生这种预警（或因子 {rule.factor!r}），该规则不会开出工单",
                )
            elif own and (odd := own.odd_in(rule)):
                self._findings.warn(RULES, line, f"{rule.kind}: {odd.en}", f"{rule.kind}：{odd.zh}")

    # ---- geometry

    def _geometry(self) -> None:
        known = self._registry
        towns = self._shapes("town", known.towns)
        villages = self._shapes("village", known.villages)
        cells = self._shapes("cell", known.cells)
        self._inside("village", known.villages, villages, towns)
        self._inside("cell", known.cells, cells, villages)
        for kind, areas, shapes in (
            ("town", known.towns, towns),
            ("village", known.villages, villages),
            ("cell", known.cells, cells),
        ):
            self._overlaps(kind, areas, shapes)
        if MAP not in self._unread:
            self._gaps("town", known.towns, towns, _Parts(Text("village", "村（社区）"), known.villages, villages))
            self._gaps("village", known.villages, villages, _Parts(Text("cell", "单元网格"), known.cells, cells))
        for kind, file, placed in (("device", DEVICES, known.devices), ("site", MAP, known.sites)):
            for one in placed:
                home = towns.get(one.town)
                if home is None or one.lon is None or one.lat is None:
                    continue
                if (away := flat(home, (one.lon, one.lat)).distance(Point(0, 0))) > OUTSIDE_M:
                    self._findings.warn(
                        file,
                        self._line(kind, one),
                        f"{one.id} stands {away / 1000:.1f} km outside its town {one.town}",
                        f"{one.id} 位于所属乡镇 {one.town} 之外 {away / 1000:.1f} 公里",
                    )

    def _shapes(self, kind: str, areas: Iterable[Area]) -> dict[str, BaseGeometry]:
        shapes = {}
        for area in areas:
            try:
                geometry = shape(json.loads(area.geometry))
                why = _why(geometry)
            except (ShapelyError, ValueError, TypeError, IndexError, AttributeError) as error:
                why = Text(str(error), str(error))
            if why is None:
                shapes[area.id] = geometry
            else:
                self._findings.error(
                    MAP,
                    self._line(kind, area),
                    f"{area.id}: the polygon is not right: {why.en}",
                    f"{area.id}：多边形有误：{why.zh}",
                )
        return shapes

    def _inside(
        self, kind: str, areas: Iterable[Area], shapes: dict[str, BaseGeometry], parents: dict[str, BaseGeometry]
    ) -> None:
        for area in areas:
            if area.id in shapes and area.parent in parents:
                beyond = shapes[area.id].difference(parents[area.parent])
                if (outside := _m2(beyond)) > max(OVERLAP_M2, GAP_SHARE * _m2(shapes[area.id])):
                    self._findings.error(
                        MAP,
                        self._line(kind, area),
                        f"{area.id}: {outside:.0f} m2 lie outside {area.parent}, at {_at(beyond)}",
                        f"{area.id}：有 {outside:.0f} 平方米在 {area.parent} 之外，位于 {_at(beyond)}",
                    )

    def _overlaps(self, kind: str, areas: Sequence[Area], shapes: dict[str, BaseGeometry]) -> None:
        there = [area for area in areas if area.id in shapes]
        drawn = [shapes[area.id] for area in there]
        if not drawn:
            return
        tree = shapely.STRtree(drawn)
        for one, other in sorted(zip(*tree.query(drawn, predicate="intersects"), strict=True)):
            if one >= other:
                continue
            both = drawn[one].intersection(drawn[other])
            if (common := _m2(both)) > OVERLAP_M2:
                self._findings.error(
                    MAP,
                    self._line(kind, there[other]),
                    f"{there[other].id} and {there[one].id} overlap by {common:.0f} m2, at {_at(both)}",
                    f"{there[other].id} 与 {there[one].id} 重叠 {common:.0f} 平方米，位于 {_at(both)}",
                )

    def _gaps(self, kind: str, areas: Sequence[Area], shapes: dict[str, BaseGeometry], within: _Parts) -> None:
        """What of each area lies in none of its parts; one of which no part is drawn has none on purpose."""
        by_parent: dict[str, list[BaseGeometry]] = defaultdict(list)
        for part in within.areas:
            if part.id in within.shapes:
                by_parent[part.parent].append(within.shapes[part.id])
        for area in areas:
            drawn = by_parent.get(area.id)
            if not drawn or area.id not in shapes:
                continue
            bare = shapes[area.id].difference(shapely.union_all(drawn))
            if (gap := _m2(bare)) > max(OVERLAP_M2, GAP_SHARE * _m2(shapes[area.id])):
                self._findings.error(
                    MAP,
                    self._line(kind, area),
                    f"{area.id}: {gap:.0f} m2 lie in no {within.name.en}, at {_at(bare)}",
                    f"{area.id}：有 {gap:.0f} 平方米不属于任何{within.name.zh}，位于 {_at(bare)}",
                )


# What GEOS says of a polygon that is not one, and where.
_REASONS = {
    "Self-intersection": "边界自相交",
    "Ring Self-intersection": "边界自相接",
    "Hole lies outside shell": "内环在外环之外",
    "Holes are nested": "内环互相嵌套",
    "Nested shells": "多个多边形互相嵌套",
    "Interior is disconnected": "内部不连通",
    "Duplicate Rings": "边界重复",
    "Too few points in geometry component": "顶点太少",
    "Invalid Coordinate": "坐标无效",
}


def _why(geometry: BaseGeometry) -> Text | None:
    """What is wrong with a polygon."""
    if geometry.is_empty:
        return Text("it is empty", "是空的")
    if not geometry.is_valid:
        said = shapely.is_valid_reason(geometry)
        reason, bracket, place = said.partition("[")
        return Text(said, _REASONS.get(reason, reason) + bracket + place)
    if not shapely.box(-MOST_LON, -MOST_LAT, MOST_LON, MOST_LAT).covers(geometry):
        return Text("not degrees, longitude first", "坐标不是“经度在前”的度数")
    return None


def _at(geometry: BaseGeometry) -> str:
    """A point of it, for a person to look at: the largest piece's."""
    largest = max(getattr(geometry, "geoms", [geometry]), key=lambda one: one.area)
    inside = largest.representative_point()
    return f"{inside.x:.6f},{inside.y:.6f}"


def _m2(geometry: BaseGeometry) -> float:
    if geometry.is_empty:
        return 0.0
    _, south, _, north = geometry.bounds
    area: float = geometry.area * METRES_PER_DEGREE**2 * cos(radians((south + north) / 2))
    return area
