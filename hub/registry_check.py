"""What a registry is held to before it counts: its pieces fit each other. `gridhub check`, and every import."""

import json
from collections import defaultdict
from collections.abc import Iterable, Sequence
from math import cos, radians
from pathlib import Path

import shapely
from shapely.errors import ShapelyError
from shapely.geometry import Point, shape
from shapely.geometry.base import BaseGeometry

from hub import classes
from hub.core.errors import Misconfigured
from hub.core.grid import METRES_PER_DEGREE, flat
from hub.core.registry import Area, Registry, Role
from hub.lang import Text
from hub.registry_files import DEVICES, MAP, MOST_LAT, MOST_LON, ROSTER, RULES, VENDORS, Files, Findings, key_of, read

# Two areas may share so much, which is the noise of drawn borders: about the page of a newspaper.
OVERLAP_M2 = 1.0
# A village may have so much of its area in no cell: slivers between drawn borders.
GAP_SHARE = 0.001
DEVICE_OUTSIDE_M = 1000.0


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


class _Check:
    def __init__(self, files: Files, findings: Findings) -> None:
        self._registry = files.registry
        self._lines = files.lines
        self._findings = findings

    def run(self) -> None:
        self._references()
        self._devices()
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
                    f"{device.mn} stands there twice, as {other} and {device.id}",
                    f"{device.mn} 出现两次：{other} 和 {device.id}",
                )
            if device.vendor not in vendors:
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
            if towns and device.town not in towns:
                self._findings.error(
                    DEVICES,
                    line,
                    f"{device.id}: the town {device.town} is not on the map",
                    f"{device.id}：地图上没有 {device.town} 这个乡镇",
                )
        keys: dict[str, str] = {}
        for vendor in known.vendors:
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
            there = villages if person.role is Role.SECOND_HEAD else grids.keys()
            if person.area not in there:
                self._findings.error(
                    ROSTER,
                    line,
                    f"{person.id}: the area {person.area} is not on the map",
                    f"{person.id}：地图上没有区域 {person.area}",
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
            if classes.name(rule.class_standard, classes.MATTER, rule.class_code) is None and (
                classes.name(rule.class_standard, classes.COMPONENT_FAULT, rule.class_code) is None
            ):
                self._findings.error(
                    RULES,
                    self._lines.get(("rule", rule.kind), 0),
                    f"{rule.kind}: {rule.class_standard} has no class {rule.class_code}",
                    f"{rule.kind}：{rule.class_standard} 中没有类别 {rule.class_code}",
                )

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
        self._gaps(villages, cells)
        for device in known.devices:
            home = towns.get(device.town)
            if home is None or device.lon is None or device.lat is None:
                continue
            origin = device.lon, device.lat
            if (away := flat(home, origin).distance(Point(0, 0))) > DEVICE_OUTSIDE_M:
                self._findings.warn(
                    DEVICES,
                    self._line("device", device),
                    f"{device.id} stands {away / 1000:.1f} km outside its town {device.town}",
                    f"{device.id} 位于所属乡镇 {device.town} 之外 {away / 1000:.1f} 公里",
                )

    def _shapes(self, kind: str, areas: Iterable[Area]) -> dict[str, BaseGeometry]:
        shapes = {}
        for area in areas:
            try:
                geometry = shape(json.loads(area.geometry))
                right = geometry.is_valid and not geometry.is_empty
                why = shapely.is_valid_reason(geometry) if not right else ""
                if right and not shapely.box(-MOST_LON, -MOST_LAT, MOST_LON, MOST_LAT).covers(geometry):
                    right, why = False, str(Text("not degrees, longitude first", "坐标不是“经度在前”的度数"))
            except (ShapelyError, ValueError, TypeError, IndexError, AttributeError) as error:
                right, why = False, str(error)
            if right:
                shapes[area.id] = geometry
            else:
                self._findings.error(
                    MAP,
                    self._line(kind, area),
                    f"{area.id}: the polygon is not right: {why}",
                    f"{area.id}：多边形有误：{why}",
                )
        return shapes

    def _inside(
        self, kind: str, areas: Iterable[Area], shapes: dict[str, BaseGeometry], parents: dict[str, BaseGeometry]
    ) -> None:
        for area in areas:
            if area.id in shapes and area.parent in parents:
                outside = _m2(shapes[area.id].difference(parents[area.parent]))
                if outside > max(OVERLAP_M2, GAP_SHARE * _m2(shapes[area.id])):
                    self._findings.error(
                        MAP,
                        self._line(kind, area),
                        f"{area.id}: {outside:.0f} m2 lie outside {area.parent}",
                        f"{area.id}：有 {outside:.0f} 平方米在 {area.parent} 之外",
                    )

    def _overlaps(self, kind: str, areas: Sequence[Area], shapes: dict[str, BaseGeometry]) -> None:
        there = [area for area in areas if area.id in shapes]
        drawn = [shapes[area.id] for area in there]
        if not drawn:
            return
        tree = shapely.STRtree(drawn)
        for one, other in sorted(zip(*tree.query(drawn, predicate="intersects"), strict=True)):
            if one < other and (common := _m2(drawn[one].intersection(drawn[other]))) > OVERLAP_M2:
                self._findings.error(
                    MAP,
                    self._line(kind, there[other]),
                    f"{there[other].id} and {there[one].id} overlap by {common:.0f} m2",
                    f"{there[other].id} 与 {there[one].id} 重叠 {common:.0f} 平方米",
                )

    def _gaps(self, villages: dict[str, BaseGeometry], cells: dict[str, BaseGeometry]) -> None:
        by_village: dict[str, list[BaseGeometry]] = defaultdict(list)
        for cell in self._registry.cells:
            if cell.id in cells:
                by_village[cell.parent].append(cells[cell.id])
        for village in self._registry.villages:
            drawn = by_village.get(village.id)
            if not drawn or village.id not in villages:
                continue
            whole = _m2(villages[village.id])
            gap = _m2(villages[village.id].difference(shapely.union_all(drawn)))
            if gap > max(OVERLAP_M2, GAP_SHARE * whole):
                self._findings.error(
                    MAP,
                    self._line("village", village),
                    f"{village.id}: {gap:.0f} m2 lie in no cell",
                    f"{village.id}：有 {gap:.0f} 平方米不属于任何单元网格",
                )


def _m2(geometry: BaseGeometry) -> float:
    if geometry.is_empty:
        return 0.0
    _, south, _, north = geometry.bounds
    area: float = geometry.area * METRES_PER_DEGREE**2 * cos(radians((south + north) / 2))
    return area
