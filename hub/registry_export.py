"""Writes a registry as the files that clerks edit: what was imported, exported and imported again is the same."""

import csv
import io
import json
from collections.abc import Iterable, Sequence
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import tomlkit

from hub.core.registry import Registry, Vendor
from hub.core.rules import Rule
from hub.registry_files import BEIJING, COLUMNS, DEVICES, MAP, MAY_FOLLOW, ROSTER, ROSTER_COLUMNS, RULES, VENDORS
from hub.rulebook import rules_of
from hub.settings import RuleSettings


def export(registry: Registry, folder: Path) -> list[str]:
    """Writes the five files; returns their names. Raises OSError."""
    folder.mkdir(parents=True, exist_ok=True)
    files = {
        MAP: _map(registry),
        ROSTER: _csv(ROSTER_COLUMNS, map(_person, registry.people)),
        DEVICES: _csv((*COLUMNS, *MAY_FOLLOW), map(_device, registry.devices)),
        VENDORS: tomlkit.dumps({"vendors": [_vendor(vendor) for vendor in registry.vendors]}),
        RULES: tomlkit.dumps({"rules": [_rule(rule) for rule in registry.rules.all]}),
    }
    for name, text in files.items():
        # With a BOM, spreadsheets show Chinese.
        (folder / name).write_text(text, encoding="utf-8-sig" if name.endswith(".csv") else "utf-8", newline="")
    return list(files)


def _map(registry: Registry) -> str:
    features = [
        *(_feature("town", one, json.loads(one.geometry), "name") for one in registry.towns),
        *(_feature("village", one, json.loads(one.geometry), "name") for one in registry.villages),
        *(_feature("grid", one, None, "name", "kind", "village") for one in registry.grids),
        *(_feature("cell", one, json.loads(one.geometry), "name", "grid") for one in registry.cells),
        *(
            _feature("site", one, {"type": "Point", "coordinates": [one.lon, one.lat]}, "name", "kind", "town")
            for one in registry.sites
        ),
    ]
    lines = ",\n".join(json.dumps(feature, ensure_ascii=False, separators=(",", ":")) for feature in features)
    return f'{{"type":"FeatureCollection","features":[\n{lines}\n]}}\n'


def _feature(level: str, one: Any, geometry: Any, *fields: str) -> dict[str, Any]:
    properties = {"level": level, "id": one.id, **{field: getattr(one, field) for field in fields}}
    return {"type": "Feature", "properties": properties, "geometry": geometry}


def _csv(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\r\n")
    writer.writerow(columns)
    writer.writerows(rows)
    return out.getvalue()


def _person(person: Any) -> list[str]:
    begins = "" if person.begins is None else _day(person.begins)
    # `ends` is where the day after the last begins.
    ends = "" if person.ends is None else _day(person.ends - int(timedelta(days=1).total_seconds() * 1000))
    return [person.id, person.name, person.role, person.area, begins, ends]


def _day(at: int) -> str:
    return datetime.fromtimestamp(at / 1000, BEIJING).strftime("%Y-%m-%d")


def _device(device: Any) -> list[str]:
    units = ";".join(
        f"{code}={sent.unit}" + (f"*{sent.scale}" if sent.scale != 1 else "") for code, sent in device.units.items()
    )
    limits = ";".join(f"{code}={limit!r}" for code, limit in device.limits.items())
    told = [device.id, device.mn, device.vendor, device.feed, device.town, device.lon, device.lat, units]
    told += [device.minute_period_s, limits, device.name, device.bearing_deg, device.distance_m, device.accuracy_m]
    return ["" if one is None else str(one) for one in told]


def _vendor(vendor: Vendor) -> dict[str, Any]:
    keys = []
    for key in vendor.keys:
        moments = {"from": key.begins, "to": key.ends}
        dated = {name: datetime.fromtimestamp(at / 1000, UTC) for name, at in moments.items() if at is not None}
        keys.append({"id": key.id, "sha256": key.sha256, **dated})
    told = {**asdict(vendor), "feeds": sorted(vendor.feeds)}
    del told["keys"]
    return {**told, **({"keys": keys} if keys else {})}


def _rule(rule: Rule) -> dict[str, Any]:
    """As the settings name it; what stands at its default is left out."""
    least = {"kind": rule.kind, "class": rule.class_code}
    (usual,) = rules_of([RuleSettings.model_validate({**least, "period": rule.period_s})])
    default = {**_keys(usual), "period": RuleSettings.model_validate(least).period}
    return {
        key: value
        for key, value in _keys(rule).items()
        if value is not None and (key in least or value != default[key])
    }


def _keys(rule: Rule) -> dict[str, Any]:
    return {
        "kind": rule.kind,
        "class": rule.class_code,
        "class_standard": rule.class_standard,
        "factor": rule.factor,
        "limit": rule.limit or None,
        "period": rule.period_s,
        "wait": rule.wait_s,
        "covered": rule.covered,
        "realtime": rule.realtime_s,
        "clear_after": rule.clear_after,
        "quiet": rule.quiet_s,
        "urgency": rule.urgency,
    }
