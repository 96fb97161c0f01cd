"""A push of a patrol platform -> its features: GeoJSON, a detector's answer, or the flat JSON of a patrol app. Pure.

One body may hold many; each is looked at by itself, so that a broken one costs the others nothing.
"""

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn

from connectors.patrol.fields import FIELD_OF, plain
from hub.core.errors import Reason, Rejected

MOST_FEATURES = 1000
MOST_DEPTH = 40
MOST_NODES = 400_000
UNREADABLE = "?"
"""A datum that is named, in no way that we know."""
_ROW = re.compile(r"[0-9]{1,5}")
GEOMETRIES = frozenset({"Point", "MultiPoint", "LineString", "MultiLineString", "Polygon", "MultiPolygon"})


@dataclass(frozen=True, slots=True)
class Feature:
    """One of them. `said`: what it says, by the names of `connectors.patrol.fields`; `geometry`: GeoJSON or None; `crs`: the datum's name as it came, empty
    where none did; `raw`: it alone, and its datum, as JSON; `fault`: why it is none, in words.
    """

    said: Mapping[str, Any]
    geometry: Mapping[str, Any] | None
    crs: str
    raw: bytes = field(repr=False)
    fault: str = ""


def read(body: bytes) -> list[Feature]:
    """The features in their order, one with a `fault` in the place of each that is none. Raises Rejected (syntax, too_large) where the body is nothing of all."""
    try:
        told = json.loads(_text(body), parse_constant=_no_number)
    except json.JSONDecodeError as error:
        raise Rejected(Reason.SYNTAX, f"not JSON at character {error.pos}") from None
    except RecursionError:
        raise Rejected(Reason.TOO_LARGE, f"JSON deeper than {MOST_DEPTH}") from None
    except ValueError:
        raise Rejected(Reason.SYNTAX, "a number that JSON does not have") from None
    _measure(told)
    datum: dict[str, Any] = {}
    if isinstance(told, dict) and isinstance(told.get("features"), list):
        datum = {name: value for name, value in told.items() if plain(name) == "crs" and value}
        told = told["features"]
    features = told if isinstance(told, list) else [told]
    if not features:
        raise Rejected(Reason.SYNTAX, "no feature in it")
    if len(features) > MOST_FEATURES:
        raise Rejected(Reason.TOO_LARGE, f"more than {MOST_FEATURES} features")
    return [_feature(one, datum) for one in features]


def _text(body: bytes) -> str:
    for encoding in ("utf-8-sig", "gb18030"):
        try:
            return body.decode(encoding)
        except UnicodeDecodeError:
            continue
    raise Rejected(Reason.SYNTAX, "neither UTF-8 nor GB 18030")


def _no_number(name: str) -> NoReturn:
    raise ValueError(name)


def _measure(told: Any) -> None:
    """Bounds depth and size without recursion."""
    level: Sequence[Any] = [told]
    nodes = 0
    for _ in range(MOST_DEPTH):
        nodes += len(level)
        if nodes > MOST_NODES:
            break
        level = [
            inner
            for one in level
            for inner in (one.values() if isinstance(one, dict) else one if isinstance(one, list) else ())
        ]
        if not level:
            return
    raise Rejected(Reason.TOO_LARGE, f"JSON deeper than {MOST_DEPTH} or of more than {MOST_NODES} members")


def _crs(told: Mapping[str, Any]) -> str:
    """What a `crs` member names (GeoJSON 2008, still written): a text, a number, an object with either; empty where nothing is said, UNREADABLE
    where something is that is none of these: it must not be taken for nothing.
    """
    crs = next((value for name, value in told.items() if plain(name) == "crs" and value), None)
    if isinstance(crs, dict) and crs:
        properties = crs.get("properties")
        crs = properties.get("name", properties.get("code", UNREADABLE)) if isinstance(properties, dict) else UNREADABLE
    if not crs:
        return ""
    return str(crs) if isinstance(crs, str | int) and not isinstance(crs, bool) else UNREADABLE


def _feature(one: Any, datum: Mapping[str, Any]) -> Feature:
    # The datum of the collection goes along, as it came: the feature alone would lie somewhere else.
    alone = {**one, **datum} if isinstance(one, dict) and not _crs(one) else one
    raw = json.dumps(alone, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "replace")
    if not isinstance(one, dict):
        return Feature({}, None, "", raw, "a feature that is no object")
    geometry = one if _drawn(one) else one.get("geometry")
    if isinstance(geometry, str):
        geometry = _inner(geometry)
    if geometry is not None and not _drawn(geometry):
        return Feature({}, None, "", raw, "a geometry that is none of GeoJSON's")
    own = one.get("properties")
    members = {**one, **own} if isinstance(own, dict) else one
    # The nearest counts.
    crs = next(
        filter(None, (_crs(part) for part in (geometry, own, one, datum) if isinstance(part, dict))),
        "",
    )
    said: dict[str, Any] = {}
    for name, value in members.items():
        known = FIELD_OF.get(plain(name))
        # What is a GeoJSON word at the top is a field among the properties only.
        if known is None or (
            name == "type" and (not isinstance(own, dict) or name not in own) and value in (*GEOMETRIES, "Feature")
        ):
            continue
        if value is not None and (known not in said or said[known] in ("", None)):
            said[known] = value
    drone = members.get("drone")
    if isinstance(drone, dict) and "sn" in drone:
        said.setdefault("device", drone["sn"])
    if not said.get("event_no") and (identity := _identity(one)):
        said["event_no"] = identity
    if not said and geometry is None:
        return Feature({}, None, "", raw, "a feature of which nothing is known")
    return Feature(said, geometry, crs, raw)


def _identity(one: Mapping[str, Any]) -> str:
    """The sender's own; a feature that is called by its row in this push has none: in the next push another one is called so."""
    identity = one.get("id")
    if not isinstance(identity, str | int) or isinstance(identity, bool):
        return ""
    row = one.get("type") == "Feature" and _ROW.fullmatch(str(identity))
    return "" if row else str(identity)


def _drawn(one: Any) -> bool:
    """Whether it is a geometry of GeoJSON."""
    return isinstance(one, dict) and isinstance(one.get("type"), str) and one["type"] in GEOMETRIES


def _inner(text: str) -> Any:
    """JSON inside a text, as some send it; the text, where it is none, or none that would be taken outside."""
    try:
        told = json.loads(text, parse_constant=_no_number)
        _measure(told)
    except (ValueError, RecursionError, Rejected):
        return text
    return told
