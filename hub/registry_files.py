"""The files of a registry, as clerks edit them: map.geojson, roster.csv, devices.csv, vendors.toml, rules.toml. Read whole or refused, with all that is wrong.

| file | what is in it |
|---|---|
| map.geojson | a FeatureCollection in WGS 84; each feature's `level` is town, village, cell, grid or site. town: `id` (9 digits), `name`; village (or community): `id` (12), `name`; cell: `id` (15), `grid`; grid (a duty grid, geometry null): `id`, `name`, `kind` base or special, `village`; site (a Point): `id`, `name`, `kind` enterprise or unit, `town` |
| roster.csv | person, name, role (worker, head, second_head), area (a grid's id; for a second head a village's), from, to: days in Beijing time, both count, empty means open. A person may have several rows |
| devices.csv | device, mn, vendor, feed, town, lon, lat, factor_units, and where wanted minute_period_s, limits, name, bearing_deg, distance_m, accuracy_m |
| vendors.toml | `[[vendors]]` with id, name, feeds, datum, zone, trial, gcj02_inverse, per_s, and `[[vendors.keys]]` with id, sha256, from, to |
| rules.toml | `[[rules]]`, as in the settings |

A CSV may be UTF-8, with or without BOM, UTF-16 with BOM, or GB 18030, its separator a comma, semicolon or tab, its columns in any order, and what is
missing at a row's end counts as empty: what Excel writes. `factor_units` says in which unit
a device really sends each factor, `a34004=ug/m3;a34002=mg/m3;a34001=ug/m3*10`: code, unit and, where the device is scaled wrongly, a factor to multiply
with. `minute_period_s` is the period of its minute data (HJ 212, CN 2051), which the messages do not say. `limits` are the device's own,
`a34002=120;a34004=60`, in the factor's canonical unit; the rules' limits count for the rest. Only devices.csv must be there.
"""

import csv
import io
import json
import re
import tomllib
from codecs import BOM_UTF8, BOM_UTF16_BE, BOM_UTF16_LE
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta, timezone
from decimal import Decimal, InvalidOperation
from pathlib import Path
from typing import Any, Literal
from zoneinfo import ZoneInfo

from pydantic import TypeAdapter, ValidationError

from hub.core import datum as datums
from hub.core.personal import without_numbers
from hub.core.registry import Area, Device, Grid, Person, Registry, Role, SentUnit, Site, Vendor, VendorKey
from hub.core.rules import Rules
from hub.lang import Text
from hub.rulebook import rules_of
from hub.settings import DEFAULT_RULES, RuleTables, told

MAP, ROSTER, DEVICES, VENDORS, RULES = "map.geojson", "roster.csv", "devices.csv", "vendors.toml", "rules.toml"
COLUMNS = ("device", "mn", "vendor", "feed", "town", "lon", "lat", "factor_units")
MAY_FOLLOW = ("minute_period_s", "limits", "name", "bearing_deg", "distance_m", "accuracy_m")
ROSTER_COLUMNS = ("person", "name", "role", "area", "from", "to")
TOWN_DIGITS, VILLAGE_DIGITS, CELL_DIGITS = 9, 12, 15
# What MinInterval may be (HJ 212-2017, table of the fields of CP): divisors of the hour from 1 to 30 minutes.
MINUTE_PERIODS_S = tuple(60 * minutes for minutes in (1, 2, 3, 4, 5, 6, 10, 12, 15, 20, 30))
BEIJING = timezone(timedelta(hours=8))
MOST_LON, MOST_LAT = 180, 90
MOST_PER_S = 1_000_000
# A long id that Excel has made a number of: its last digits are gone.
SPOILT = re.compile(r"\d+([.,]\d+)?[eE]\+\d+")
# Excel keeps 15 digits of a number; those after them it writes as zeros.
EXACT_DIGITS = 15
ZEROED = re.compile(rf"[1-9]\d{{{EXACT_DIGITS - 1}}}0+")
# What Excel shows where a formula fails: a cell that begins with = or -.
FAILED = re.compile(r"#(NAME\?|N/A|REF!|VALUE!|DIV/0!|NUM!|NULL!|#+)")
# Ids are compared character by character: blanks, what cannot be seen, full-width letters and digits, the ' or = that tells Excel "text".
ODD_IN_ID = re.compile(r"^['=]|[\s\x00-\x1f\x7f\u00ad\u200b-\u200f\u202a-\u202e\u2060-\u2069\ufeff\uff01-\uff5e]")
DATE_FOR_ID = re.compile(r"\d{1,2}月\d{1,2}日|\d{1,2}-[A-Z][a-z]{2}|[A-Z][a-z]{2}-\d{2}")
# ASCII as Chinese input methods write it, and how far it lies from ASCII.
FULL_WIDTH, WIDER = re.compile(r"[\uff01-\uff5e]"), 0xFEE0
LISTS = frozenset(("factor_units", "limits"))
IDS = frozenset(("device", "mn", "vendor", "feed", "town", "person", "role", "area"))
# How a clerk's program may have called a file that is missing.
ALSO_CALLED = {
    ".csv": (".csv", ".xlsx", ".xls", ".et", ".txt"),
    ".geojson": (".geojson", ".json", ".txt"),
    ".toml": (".toml", ".txt"),
}
FIRST_YEAR = 1900
LEAST_CORNERS = 4  # of a closed ring: a triangle
ZIP = b"PK\x03\x04"


@dataclass(frozen=True, slots=True)
class Finding:
    """What is wrong with a file, and where: an error refuses the version, a warning is told."""

    level: Literal["error", "warning"]
    file: str
    line: int
    said: Text

    @property
    def mark(self) -> str:
        """Its level in a word."""
        return str(Text("error:", "错误：") if self.level == "error" else Text("warning:", "警告："))

    def __str__(self) -> str:
        where = f"{self.file}:{self.line}" if self.line else self.file
        return f"{where}: {self.said}"


def _harmless(en: str, zh: str) -> Text:
    """What a cell holds is quoted, but for what may be a person's: it came into the wrong column, and findings are passed on."""
    return Text(without_numbers(en), without_numbers(zh))


class Findings(list[Finding]):
    """Collected while files are read."""

    def error(self, file: str, line: int, en: str, zh: str) -> None:
        """One more that refuses the version."""
        self.append(Finding("error", file, line, _harmless(en, zh)))

    def warn(self, file: str, line: int, en: str, zh: str) -> None:
        """One more that is only told."""
        self.append(Finding("warning", file, line, _harmless(en, zh)))

    @property
    def errors(self) -> list[Finding]:
        """Those that refuse the version."""
        return [one for one in self if one.level == "error"]


@dataclass(frozen=True, slots=True)
class Files:
    """What was read. `lines`: where each piece stands, by kind and id. `unread`: the files of which nothing or not all could be read."""

    registry: Registry
    lines: Mapping[tuple[str, str], int]
    unread: frozenset[str]


def read(folder: Path, findings: Findings) -> Files:
    """What the files say, each by itself; what cannot be read is left out and told."""
    reader = _Files(folder, findings)
    return reader.read()


class Wrong(Exception):
    """A cell, a field or a feature is not as it must be; becomes a finding with its line."""

    def __init__(self, en: str, zh: str) -> None:
        super().__init__(en)
        self.en, self.zh = en, zh


class _Files:
    def __init__(self, folder: Path, findings: Findings) -> None:
        self._folder = folder
        self._findings = findings
        self._lines: dict[tuple[str, str], int] = {}
        self._known = len(findings)

    def read(self) -> Files:
        devices = tuple(self._rows(DEVICES, COLUMNS, MAY_FOLLOW, "device", _device))
        vendors = self._vendors()
        if vendors is None:
            # An installation that has devices only: whoever has a device is a vendor of its feed.
            feeds: dict[str, set[str]] = {}
            for device in devices:
                feeds.setdefault(device.vendor, set()).add(device.feed)
            vendors = tuple(Vendor(id=name, name=name, feeds=frozenset(some)) for name, some in sorted(feeds.items()))
        areas = self._map()
        limits = {device.id: device.limits for device in devices if device.limits}
        registry = Registry(
            towns=tuple(areas["town"]),
            villages=tuple(areas["village"]),
            grids=tuple(areas["grid"]),
            cells=tuple(areas["cell"]),
            sites=tuple(areas["site"]),
            people=tuple(self._rows(ROSTER, ROSTER_COLUMNS, (), "person", _person)) if self._there(ROSTER) else (),
            devices=devices,
            vendors=vendors,
            rules=Rules(self._rules(), limits),
        )
        unread = frozenset(one.file for one in self._findings[self._known :] if one.level == "error")
        return Files(registry, self._lines, unread)

    # ---- text

    def _there(self, name: str) -> bool:
        """Whether to read it: one that a program has called otherwise is, and told to be missing."""
        return (self._folder / name).exists() or bool(self._called_otherwise(name))

    def _called_otherwise(self, name: str) -> str:
        stem, suffixes = Path(name).stem, ALSO_CALLED[Path(name).suffix]
        there = sorted(one.name for one in self._folder.glob("*") if one.is_file()) if self._folder.is_dir() else []
        return next((one for one in there if one.lower().startswith(stem) and one.lower().endswith(suffixes)), "")

    def _bytes(self, name: str) -> bytes:
        try:
            return (self._folder / name).read_bytes()
        except OSError as error:
            if other := self._called_otherwise(name):
                en, zh = f"is not there, but {other} is: save it as {name}", f"不存在，但有 {other}：请另存为 {name}"
            else:
                en, zh = f"cannot be read: {error.strerror}", f"无法读取：{error.strerror}"
            self._findings.error(name, 0, en, zh)
            return b""

    def _text(self, name: str, *, sheet: bool = False) -> str:
        raw = self._bytes(name)
        try:
            return raw.decode("utf-16" if sheet and raw.startswith((BOM_UTF16_LE, BOM_UTF16_BE)) else "utf-8-sig")
        except UnicodeDecodeError as error:
            line = raw[: error.start].count(b"\n") + 1
        if sheet and not _is_broken_utf8(raw):
            try:
                return raw.decode("gb18030")
            except UnicodeDecodeError as error:
                line = raw[: error.start].count(b"\n") + 1
        if raw.startswith(ZIP):
            self._findings.error(
                name, 0, 'is a workbook: save it as "CSV UTF-8"', "是工作簿文件：请另存为“CSV UTF-8（逗号分隔）”"
            )
        elif sheet:
            self._findings.error(
                name,
                line,
                'cannot be read as UTF-8 or GB 18030: save it as "CSV UTF-8", and look at this line',
                "不是完好的 UTF-8 或 GB 18030 文本：请另存为“CSV UTF-8（逗号分隔）”，并检查此行",
            )
        else:
            self._findings.error(
                name, line, "is not UTF-8: save it with this encoding", "不是 UTF-8 编码：保存时请选择 UTF-8"
            )
        return ""

    # ---- CSV

    def _rows(
        self,
        name: str,
        columns: Sequence[str],
        may_follow: Sequence[str],
        kind: str,
        made: Callable[[Mapping[str, str]], Any],
    ) -> Iterator[Any]:
        known = len(self._findings)
        text = self._text(name, sheet=True)
        if len(self._findings) > known:
            return
        first = text.partition("\n")[0]
        separator = max(",;\t", key=first.count)
        rows = csv.reader(io.StringIO(text, newline=""), delimiter=separator, strict=True)
        line, short = 1, []
        try:
            named = self._header(name, next(rows, []), columns, may_follow)
            line = rows.line_num + 1
            for row in rows if named else ():
                if any(cell.strip() for cell in row):
                    short += [line] if len(row) < len(named) else []
                    yield from self._row(name, line, named, row, kind, made)
                line = rows.line_num + 1
        except csv.Error as error:
            self._findings.error(
                name,
                line,
                f"cannot be read from here on: {error}; is a quotation mark not closed?",
                f"从此行起无法读取（{error}）：是否有引号没有成对？",
            )
        if short:
            self._findings.warn(
                name,
                short[0],
                f"{len(short)} rows are shorter than the first line: what is missing at their ends counts as empty",
                f"有 {len(short)} 行比首行短：行尾缺少的列按空白处理",
            )

    def _header(
        self, name: str, row: Sequence[str], columns: Sequence[str], may_follow: Sequence[str]
    ) -> Sequence[str]:
        """The names of the columns, as they stand; none where they are not right."""
        known = len(self._findings)
        named = [cell.strip().lower() for cell in row]
        may = f"，还可有 {','.join(may_follow)}" if may_follow else ""
        may_en = f", and may be {','.join(may_follow)}" if may_follow else ""
        said = f"the columns are {','.join(columns)}{may_en}", f"应有的列为 {','.join(columns)}{may}"
        strange = [one for one in named if one and one not in columns and one not in may_follow]
        twice = sorted({one for one in named if one and named.count(one) > 1})
        missing = [one for one in columns if one not in named]
        for wrong, en, zh in (
            (strange, "not known", "不认识的列"),
            (twice, "there twice", "重复的列"),
            (missing, "missing", "缺少的列"),
        ):
            if wrong:
                these = ",".join(wrong)
                self._findings.error(
                    name, 1, f"the first line: {these}: {en}; {said[0]}", f"首行：{zh} {these}；{said[1]}"
                )
        return named if len(self._findings) == known else ()

    def _row(
        self, name: str, line: int, named: Sequence[str], row: Sequence[str], kind: str, made: Callable[..., Any]
    ) -> Iterator[Any]:
        try:
            one = made(_cells(named, row))
        except Wrong as wrong:
            self._findings.error(name, line, wrong.en, wrong.zh)
            return
        first = self._lines.setdefault((kind, key_of(kind, one)), line)
        if first != line:
            self._twice(name, line, one.id, first)
            return
        if kind == "device" and ZEROED.fullmatch(one.mn):
            self._findings.warn(
                name,
                line,
                f"mn {one.mn}: has a spreadsheet put zeros for the last digits? Compare it with the device",
                f"mn {one.mn}：末尾的数字是否被电子表格改成了零？请与设备核对",
            )
        yield one

    def _twice(self, name: str, line: int, what: str, first: int) -> None:
        self._findings.error(
            name, line, f"{what} stands there twice, first in line {first}", f"{what} 出现两次，首次在第 {first} 行"
        )

    # ---- TOML

    def _toml(self, name: str) -> tuple[Mapping[str, Any], str] | None:
        if not self._there(name):
            return None
        text = self._text(name)
        try:
            return tomllib.loads(text), text
        except tomllib.TOMLDecodeError as error:
            found = re.search(r"line (\d+)", str(error))
            line = int(found[1]) if found else 0
            self._findings.error(
                name,
                line,
                f"is not TOML: {error}; quotation marks, equals signs and brackets must be those of English",
                f"不是 TOML：{error}；引号、等号和括号必须是英文半角",
            )
        except RecursionError:
            self._findings.error(name, 0, "is nested too deep", "嵌套过深")
        return {}, text

    def _vendors(self) -> tuple[Vendor, ...] | None:
        if (read := self._toml(VENDORS)) is None:
            return None
        content, text = read
        vendors = []
        lines = _lines_of(text, r"^\s*\[\[\s*vendors\s*\]\]")
        tables = content.get("vendors", [])
        if not _tables(tables):
            line = next(iter(_lines_of(text, r"^\s*(\[\s*vendors\s*\]|vendors\s*=)")), 0)
            self._findings.error(VENDORS, line, "each vendor begins with [[vendors]]", "每个厂商以 [[vendors]] 开头")
            tables = []
        for index, table in enumerate(tables):
            line = lines[index] if index < len(lines) else 0
            try:
                vendor = vendor_of(table)
            except Wrong as wrong:
                self._findings.error(VENDORS, line, wrong.en, wrong.zh)
                continue
            if ("vendor", vendor.id) in self._lines:
                self._twice(VENDORS, line, vendor.id, self._lines["vendor", vendor.id])
                continue
            self._lines["vendor", vendor.id] = line
            vendors.append(vendor)
        for key in content.keys() - {"vendors"}:
            self._findings.error(VENDORS, _line_of_key(text, key), f"{key} is not known", f"没有 {key} 这一项")
        return tuple(sorted(vendors, key=lambda one: one.id))

    def _rules(self) -> tuple[Any, ...]:
        if (read := self._toml(RULES)) is None:
            return rules_of(DEFAULT_RULES)
        content, text = read
        lines = _lines_of(text, r"^\s*\[\[\s*rules\s*\]\]")
        try:
            tables = TypeAdapter(RuleTables).validate_python(content.get("rules", ()))
        except ValidationError as error:
            for fault in error.errors(include_input=False):
                index = next((part for part in fault["loc"] if isinstance(part, int)), _second_of_its_kind(content))
                line = lines[index] if index is not None and index < len(lines) else 0
                where = ".".join(str(part) for part in fault["loc"] if not isinstance(part, int))
                said = f"{where}: {told(fault)}" if where else told(fault)
                self._findings.error(RULES, line, said, said)
            return ()
        for key in content.keys() - {"rules"}:
            self._findings.error(RULES, _line_of_key(text, key), f"{key} is not known", f"没有 {key} 这一项")
        for table, line in zip(tables, lines, strict=False):
            self._lines["rule", table.kind] = line
        return rules_of(tables)

    # ---- GeoJSON

    def _map(self) -> dict[str, list[Any]]:
        found: dict[str, list[Any]] = {level: [] for level in _FEATURES}
        if not self._there(MAP):
            return found
        text = self._text(MAP)
        try:
            content = json.loads(text or "{}")
            features = content["features"] if text else []
        except json.JSONDecodeError as error:
            at = f"{error.msg} (line {error.lineno}, column {error.colno})"
            self._findings.error(MAP, error.lineno, f"is not JSON: {at}", f"不是 JSON：{at}")
            return found
        except RecursionError:
            self._findings.error(MAP, 0, "is nested too deep", "嵌套过深")
            return found
        except (KeyError, TypeError):
            features = None
        if not isinstance(features, list):
            self._findings.error(MAP, 1, "is not a FeatureCollection", "不是 FeatureCollection")
            return found
        if content.get("crs"):
            self._findings.error(MAP, 1, "has a crs: a GeoJSON map is WGS 84", "含有 crs：GeoJSON 地图必须是 WGS 84")
        lines = _lines_of_features(text)
        for index, feature in enumerate(features):
            own = feature.get("properties") if isinstance(feature, dict) else None
            own = own if isinstance(own, dict) else {}
            level = str(own.get("level"))
            line = lines[index] if index < len(lines) else 0
            try:
                one = _feature(index, level)(own, feature.get("geometry"))
            except Wrong as wrong:
                self._findings.error(MAP, line, wrong.en, wrong.zh)
                continue
            if (level, one.id) in self._lines:
                self._twice(MAP, line, one.id, self._lines[level, one.id])
                continue
            self._lines[level, one.id] = line
            found[level].append(one)
        return {level: sorted(some, key=lambda one: one.id) for level, some in found.items()}


def key_of(kind: str, one: Any) -> str:
    """What tells a piece of the registry from the others of its kind: its id, and for a duty the rest of it."""
    if kind == "person":
        return f"{one.id}|{one.role}|{one.area}|{'' if one.begins is None else one.begins}"
    return str(one.kind if kind == "rule" else one.id)


def _lines_of(text: str, pattern: str) -> list[int]:
    return [number for number, line in enumerate(text.splitlines(), 1) if re.match(pattern, line)]


def _second_of_its_kind(content: Mapping[str, Any]) -> int | None:
    tables: Any = content.get("rules")
    kinds = [table.get("kind") for table in tables] if _tables(tables) else []
    return next((index for index, kind in enumerate(kinds) if kind in kinds[:index]), None)


def _lines_of_features(text: str) -> list[int]:
    """Where each feature begins. Features without an id have a line, too, and two with the same one."""
    decoder = json.JSONDecoder()
    begin = re.search(r'"features"\s*:\s*\[', text)
    lines, at, line, counted = [], begin.end() if begin else len(text), 1, 0
    while (found := re.compile(r"[\s,]*(?=[^\s,\]])").match(text, at)) is not None:
        line += text.count("\n", counted, found.end())
        counted = found.end()
        lines.append(line)
        at = decoder.raw_decode(text, counted)[1]
    return lines


def _line_of_key(text: str, key: str) -> int:
    return next(iter(_lines_of(text, rf"^\s*\[*\s*{re.escape(key)}\b")), 0)


def _tables(some: object) -> bool:
    return isinstance(some, list) and all(isinstance(one, dict) for one in some)


def _is_broken_utf8(raw: bytes) -> bool:
    """Whether bytes that are not UTF-8 were meant to be: most characters beyond ASCII are whole. As GB 18030 they would be others."""
    if raw.startswith(BOM_UTF8):
        return True
    text = raw.decode("utf-8", "replace")
    return sum(not one.isascii() for one in text) > 2 * text.count("\N{REPLACEMENT CHARACTER}")


def _cells(named: Sequence[str], row: Sequence[str]) -> Mapping[str, str]:
    """A row's cells by their columns. Raises Wrong for what a spreadsheet has spoilt."""
    cells = [cell.strip() for cell in row]
    for number, cell in enumerate(cells, 1):
        if number > len(named) or (cell and not named[number - 1]):
            raise Wrong(
                f"column {number} is too many ({cell!r}): the first line has no name for it; is a separator inside a cell?",
                f"第 {number} 列（{cell!r}）多余：首行没有该列的名称；是否有单元格内含分隔符？",
            )
    padded = cells + [""] * (len(named) - len(cells))
    return {column: _unspoilt(column, cell) for column, cell in zip(named, padded, strict=True) if column}


def _unspoilt(column: str, cell: str) -> str:
    if SPOILT.fullmatch(cell):
        raise Wrong(
            f"{column}: {cell}: a spreadsheet has made a number of a code; format the column as text, and write the code anew",
            f"{column}：{cell}：电子表格把编码变成了数字，请把该列设为文本格式后重新填写编码",
        )
    if FAILED.fullmatch(cell):
        raise Wrong(
            f"{column}: {cell}: a spreadsheet took it for a formula; format the column as text, and write it anew",
            f"{column}：{cell}：电子表格把内容当成了公式，请把该列设为文本格式后重新填写",
        )
    if "\n" in cell or "\r" in cell:
        raise Wrong(f"{column}: holds a line break: write it in one line", f"{column}：单元格内有换行，请写成一行")
    if column in IDS:
        _exact(column, cell)
    if column in LISTS and (found := FULL_WIDTH.search(cell)):
        raise Wrong(
            f"{column}: {found[0]} is full-width: write {chr(ord(found[0]) - WIDER)}",
            f"{column}：{found[0]} 是全角字符，请写成半角 {chr(ord(found[0]) - WIDER)}",
        )
    return cell


def _exact(column: str, text: str) -> None:
    """Raises Wrong for an id that no other would equal."""
    if found := ODD_IN_ID.search(text):
        raise Wrong(
            f"{column}: {text!r} holds {found[0]!r}: no blanks, quotation marks or full-width characters",
            f"{column}：{text!r} 含有 {found[0]!r}：不能有空格、引号、不可见字符或全角字符",
        )
    if DATE_FOR_ID.fullmatch(text):
        raise Wrong(
            f"{column}: {text}: a spreadsheet has made a day of it; format the column as text, and write it anew",
            f"{column}：{text}：电子表格把它变成了日期，请把该列设为文本格式后重新填写",
        )


# ---- features


def _code(own: Mapping[str, Any], digits: int) -> str:
    code = own.get("id")
    if not isinstance(code, str) or len(code) != digits or not (code.isascii() and code.isdecimal()):
        raise Wrong(
            f'id {code!r} is not {digits} digits in quotation marks, like "{"4" * digits}"',
            f'id {code!r} 不是写在引号中的 {digits} 位数字，例如 "{"4" * digits}"',
        )
    return code


def _said(own: Mapping[str, Any], key: str, *, may_lack: bool = False) -> str:
    text = own.get(key, "")
    if not isinstance(text, str) or not (text.strip() or may_lack):
        raise Wrong(f"{own.get('id')}: {key} is empty", f"{own.get('id')}：{key} 为空")
    return text.strip()


def _polygon(own: Mapping[str, Any], geometry: Any) -> str:
    kind = geometry.get("type") if isinstance(geometry, dict) else None
    if kind not in ("Polygon", "MultiPolygon"):
        raise Wrong(
            f"{own.get('id')}: has no Polygon or MultiPolygon", f"{own.get('id')}：没有 Polygon 或 MultiPolygon"
        )
    coordinates = geometry.get("coordinates")
    for ring in _rings(coordinates if kind == "MultiPolygon" else [coordinates]):
        if not isinstance(ring, list) or not all(map(_is_point, ring)):
            why = Text("its corners are not [longitude, latitude] in numbers", "顶点不是 [经度, 纬度] 形式的数字")
        elif len(ring) < LEAST_CORNERS:
            why = Text("it has too few corners", "顶点太少")
        elif ring[0] != ring[-1]:
            why = Text(
                f"the ring is not closed: its last corner must be the first one again, {ring[0]}",
                f"边界没有闭合：最后一个顶点必须与第一个相同，即 {ring[0]}",
            )
        else:
            continue
        raise Wrong(f"{own.get('id')}: the polygon is not right: {why.en}", f"{own.get('id')}：多边形有误：{why.zh}")
    return json.dumps({"type": kind, "coordinates": coordinates}, separators=(",", ":"))


def _rings(polygons: Any) -> list[Any]:
    """The rings of polygons; what is none where one should be."""
    if not isinstance(polygons, list) or not all(isinstance(rings, list) and rings for rings in polygons):
        return [None]
    return [ring for rings in polygons for ring in rings] or [None]


def _is_point(corner: object) -> bool:
    return (
        isinstance(corner, list)
        and len(corner) >= len(("lon", "lat"))
        and all(type(one) in (int, float) for one in corner)
    )


def _town(own: Mapping[str, Any], geometry: Any) -> Area:
    return Area(
        id=_code(own, TOWN_DIGITS), name=_said(own, "name"), parent="", grid="", geometry=_polygon(own, geometry)
    )


def _village(own: Mapping[str, Any], geometry: Any) -> Area:
    code = _code(own, VILLAGE_DIGITS)
    name = _said(own, "name")
    return Area(id=code, name=name, parent=code[:TOWN_DIGITS], grid="", geometry=_polygon(own, geometry))


def _cell(own: Mapping[str, Any], geometry: Any) -> Area:
    code = _code(own, CELL_DIGITS)
    return Area(
        id=code,
        name=_said(own, "name", may_lack=True),
        parent=code[:VILLAGE_DIGITS],
        grid=_said(own, "grid"),
        geometry=_polygon(own, geometry),
    )


def _grid(own: Mapping[str, Any], geometry: Any) -> Grid:
    if geometry is not None:
        raise Wrong(
            f"{own.get('id')}: a grid has no geometry of its own, but that of the cells that name it",
            f"{own.get('id')}：责任网格没有自己的几何图形，由引用它的单元网格组成",
        )
    if own.get("kind") not in ("base", "special"):
        raise Wrong(
            f"{own.get('id')}: kind is neither base nor special", f"{own.get('id')}：kind 必须是 base 或 special"
        )
    return Grid(id=_said(own, "id"), name=_said(own, "name"), kind=own["kind"], village=_said(own, "village"))


def _site(own: Mapping[str, Any], geometry: Any) -> Site:
    if own.get("kind") not in ("enterprise", "unit"):
        raise Wrong(
            f"{own.get('id')}: kind is neither enterprise nor unit", f"{own.get('id')}：kind 必须是 enterprise 或 unit"
        )
    try:
        kind, (lon, lat) = geometry["type"], map(float, geometry["coordinates"][:2])
    except (KeyError, TypeError, ValueError):
        kind = None
    if kind != "Point":
        raise Wrong(f"{own.get('id')}: is no Point", f"{own.get('id')}：不是 Point")
    if not (abs(lon) <= MOST_LON and abs(lat) <= MOST_LAT):
        raise Wrong(f"{own.get('id')}: not degrees, longitude first", f"{own.get('id')}：坐标不是“经度在前”的度数")
    return Site(
        id=_said(own, "id"), name=_said(own, "name"), kind=own["kind"], town=_said(own, "town"), lon=lon, lat=lat
    )


_FEATURES: Mapping[str, Callable[[Mapping[str, Any], Any], Any]] = {
    "town": _town,
    "village": _village,
    "grid": _grid,
    "cell": _cell,
    "site": _site,
}


def _feature(index: int, level: str) -> Callable[[Mapping[str, Any], Any], Any]:
    if level not in _FEATURES:
        levels = ", ".join(_FEATURES)
        raise Wrong(
            f"feature {index + 1}: level {level!r} is none of {levels}",
            f"第 {index + 1} 个要素：level {level!r} 不在 {levels} 之中",
        )
    return _FEATURES[level]


# ---- vendors

_VENDOR_KEYS = {"id", "name", "feeds", "datum", "zone", "trial", "gcj02_inverse", "per_s", "keys"}


def vendor_of(table: Mapping[str, Any]) -> Vendor:
    """A table of vendors.toml. Raises Wrong."""
    name = table.get("id")
    if not isinstance(name, str) or not name:
        raise Wrong("a vendor has no id", "有厂商没有 id")
    if unknown := table.keys() - _VENDOR_KEYS:
        raise Wrong(f"{name}: {min(unknown)} is not known", f"{name}：没有 {min(unknown)} 这一项")
    feeds = table.get("feeds")
    if not isinstance(feeds, list) or not all(isinstance(feed, str) for feed in feeds):
        raise Wrong(f"{name}: feeds is not a list of names", f"{name}：feeds 不是名称列表")
    datum = datums.named(str(table.get("datum", datums.WGS84)))
    if datum is None:
        raise Wrong(
            f"{name}: datum is none of WGS84, CGCS2000, GCJ02, BD09, EPSG:4513 to EPSG:4554",
            f"{name}：datum 必须是 WGS84、CGCS2000、GCJ02、BD09 或 EPSG:4513 至 EPSG:4554",
        )
    per_s = table.get("per_s", 50)
    if isinstance(per_s, bool) or not isinstance(per_s, int | float) or not 0 < per_s <= MOST_PER_S:
        raise Wrong(f"{name}: per_s is not a number above zero", f"{name}：per_s 必须是大于零的数")
    for flag in ("trial", "gcj02_inverse"):
        if not isinstance(table.get(flag, False), bool):
            raise Wrong(f"{name}: {flag} is neither true nor false", f"{name}：{flag} 必须是 true 或 false")
    keys = table.get("keys", [])
    if not _tables(keys):
        raise Wrong(f"{name}: each key begins with [[vendors.keys]]", f"{name}：每个密钥以 [[vendors.keys]] 开头")
    return Vendor(
        id=name,
        name=_said({"name": name, **table}, "name"),
        feeds=frozenset(feeds),
        datum=datum,
        zone=_zone(name, table.get("zone", "Asia/Shanghai")),
        trial=table.get("trial", False),
        gcj02_inverse=table.get("gcj02_inverse", False),
        per_s=float(per_s),
        keys=_vendor_keys(name, keys),
    )


def _zone(vendor: str, zone: object) -> str:
    try:
        ZoneInfo(str(zone))
    except (ValueError, OSError, KeyError):
        raise Wrong(f"{vendor}: {zone!r} is not a time zone", f"{vendor}：{zone!r} 不是时区") from None
    return str(zone)


def _vendor_keys(vendor: str, tables: Sequence[Mapping[str, Any]]) -> tuple[VendorKey, ...]:
    keys = tuple(_key(vendor, table) for table in tables)
    ids = [key.id for key in keys]
    if twice := next((one for one in ids if ids.count(one) > 1), None):
        raise Wrong(f"{vendor}: two keys are called {twice}", f"{vendor}：有两个密钥名为 {twice}")
    return keys


def _key(vendor: str, table: Mapping[str, Any]) -> VendorKey:
    name, digest = table.get("id"), table.get("sha256")
    if not isinstance(name, str) or not isinstance(digest, str) or not re.fullmatch(r"[0-9a-f]{64}", digest):
        raise Wrong(
            f"{vendor}: a key needs an id and the SHA-256 of the key, 64 hexadecimal digits",
            f"{vendor}：密钥需要 id 和密钥的 SHA-256（64 位十六进制数）",
        )
    moments = []
    for key in ("from", "to"):
        moment = table.get(key)
        if moment is not None and (not isinstance(moment, datetime) or moment.tzinfo is None):
            raise Wrong(
                f"{vendor}, key {name}: {key} is not a date and time with offset",
                f"{vendor}，密钥 {name}：{key} 不是带时区的日期时间",
            )
        moments.append(None if moment is None else int(moment.timestamp() * 1000))
    return VendorKey(id=name, sha256=digest, begins=moments[0], ends=moments[1])


# ---- rows


def _person(cell: Mapping[str, str]) -> Person:
    for column in ("person", "name", "role", "area"):
        if not cell[column]:
            raise Wrong(f"{column} is empty", f"{column} 为空")
    if cell["role"] not in set(Role):
        roles = ", ".join(Role)
        raise Wrong(
            f"role {cell['role']!r} is none of {roles}",
            f"role {cell['role']!r} 必须是 worker（网格员）、head（网格长）或 second_head（二级网格长）",
        )
    begins, ends = _day(cell["from"], "from"), _day(cell["to"], "to")
    if begins is not None and ends is not None and ends < begins:
        raise Wrong("to lies before from", "to 早于 from")
    return Person(
        id=cell["person"],
        name=cell["name"],
        role=Role(cell["role"]),
        area=cell["area"],
        # 0001-01-01 and 9999-12-31 are how many programs write "open": no day comes before the one or after the other.
        begins=None if begins is None or begins.date() == date.min else int(begins.timestamp() * 1000),
        ends=None if ends is None or ends.date() == date.max else int((ends + timedelta(days=1)).timestamp() * 1000),
    )


_DAY = re.compile(r"(\d{4})(?:[-/.](\d{1,2})[-/.](\d{1,2})|年(\d{1,2})月(\d{1,2})日)(?: 0?0:00(?::00)?)?")


def _day(text: str, column: str) -> datetime | None:
    """The beginning of a day in Beijing; spreadsheets write 2026/3/1 and 2026年3月1日 as well."""
    if not text:
        return None
    found = _DAY.fullmatch(text)
    year, month, day = (int(one) for one in found.groups() if one) if found else (0, 0, 0)
    try:
        moment = datetime(year, month, day, tzinfo=BEIJING)
    except ValueError:
        moment = None
    if moment is None or (moment.year < FIRST_YEAR and moment.date() != date.min):
        raise Wrong(f"{column} {text!r} is not a day like 2026-03-01", f"{column} {text!r} 不是 2026-03-01 这样的日期")
    return moment


def _device(cell: Mapping[str, str]) -> Device:
    for column in ("device", "mn", "vendor", "feed", "town"):
        if not cell[column]:
            raise Wrong(f"{column} is empty", f"{column} 为空")
    town = cell["town"]
    if len(town) != TOWN_DIGITS or not (town.isascii() and town.isdecimal()):
        raise Wrong(f"town {town!r} is not a 9-digit code (GB/T 10114)", f"town {town!r} 不是 9 位代码（GB/T 10114）")
    lon, lat = _number(cell["lon"], "lon", -180, 180), _number(cell["lat"], "lat", -180, 180)
    if lat is not None and abs(lat) > MOST_LAT:
        raise Wrong(
            f"lat: {cell['lat']} lies outside -90 to 90: are lon and lat swapped?",
            f"lat：{cell['lat']} 超出 -90 至 90：经度（lon）与纬度（lat）是否写反？",
        )
    if (lon is None) != (lat is None):
        raise Wrong("lon and lat belong together", "lon 与 lat 必须同时给出")
    bearing = _number(cell.get("bearing_deg", ""), "bearing_deg", 0, 360)
    distance = _number(cell.get("distance_m", ""), "distance_m", 0, 50_000)
    if (bearing is None) != (distance is None) or (bearing is not None and lon is None):
        raise Wrong(
            "bearing_deg, distance_m and the place belong together", "bearing_deg、distance_m 与坐标必须同时给出"
        )
    return Device(
        id=cell["device"],
        mn=cell["mn"],
        vendor=cell["vendor"],
        feed=cell["feed"],
        town=town,
        name=cell.get("name", ""),
        lon=lon,
        lat=lat,
        units=_units(cell["factor_units"]),
        minute_period_s=_period(cell.get("minute_period_s", "")),
        limits=_limits(cell.get("limits", "")),
        bearing_deg=bearing,
        distance_m=distance,
        accuracy_m=_number(cell.get("accuracy_m", ""), "accuracy_m", 0, 50_000),
    )


def _number(text: str, column: str, least: float, most: float) -> float | None:
    if not text:
        return None
    if not re.fullmatch(r"[+-]?\d+(\.\d+)?", text):
        raise Wrong(f"{column}: {text!r} is not a number like 113.85", f"{column}：{text!r} 不是 113.85 这样的数字")
    number = float(text)
    if not least <= number <= most:
        raise Wrong(f"{column}: {text} lies outside {least} to {most}", f"{column}：{text} 超出 {least} 至 {most}")
    return number


def _period(text: str) -> int | None:
    if not text:
        return None
    if text not in map(str, MINUTE_PERIODS_S):
        allowed = ", ".join(map(str, MINUTE_PERIODS_S))
        raise Wrong(f"minute_period_s: {text!r} is none of {allowed}", f"minute_period_s：{text!r} 不在 {allowed} 之中")
    return int(text)


def _units(text: str) -> Mapping[str, SentUnit]:
    units: dict[str, SentUnit] = {}
    for piece in filter(None, (piece.strip() for piece in text.split(";"))):
        code, equals, sent = (part.strip() for part in piece.partition("="))
        unit, star, scale = (part.strip() for part in sent.partition("*"))
        if not (code and equals and unit):
            raise Wrong(
                f"factor_units: {piece!r} is not CODE=UNIT or CODE=UNIT*SCALE",
                f"factor_units：{piece!r} 不是 CODE=UNIT 或 CODE=UNIT*SCALE",
            )
        try:
            multiplier = Decimal(scale) if star else Decimal(1)
        except InvalidOperation:
            raise Wrong(
                f"factor_units: the scale of {piece!r} is not a number", f"factor_units：{piece!r} 的倍率不是数字"
            ) from None
        if not multiplier.is_finite() or multiplier <= 0:
            raise Wrong(
                f"factor_units: the scale of {piece!r} must be above zero", f"factor_units：{piece!r} 的倍率必须大于零"
            )
        if code in units:
            raise Wrong(f"factor_units: {code} stands there twice", f"factor_units：{code} 出现两次")
        units[code] = SentUnit(unit, multiplier)
    return units


def _limits(text: str) -> Mapping[str, float]:
    limits: dict[str, float] = {}
    for piece in filter(None, (piece.strip() for piece in text.split(";"))):
        code, _, number = (part.strip() for part in piece.partition("="))
        try:
            limit = float(number)
        except ValueError:
            limit = 0.0
        if not code or not 0 < limit < float("inf"):
            raise Wrong(f"limits: {piece!r} is not CODE=NUMBER above zero", f"limits：{piece!r} 不是 CODE=大于零的数")
        if code in limits:
            raise Wrong(f"limits: {code} stands there twice", f"limits：{code} 出现两次")
        limits[code] = limit
    return limits
