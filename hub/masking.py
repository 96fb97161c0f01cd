"""What of a record is shown to whoever has not asked for all of it: the one table of fields that may hold personal data.

Every field that holds text or bytes stands in `OPEN` or in `MASKS`, by its name or as `Record.field`; what stands in neither is not shown, so that
a new field stays closed until somebody has thought about it. Numbers, times and places of matters are open. What people write freely is
told by its length alone: no pattern finds all names in it.
"""

import dataclasses
import json
import re
from collections.abc import Callable, Mapping
from typing import Any
from urllib.parse import urlsplit

from hub.core.errors import Rejected
from hub.core.events import HandedOver, RegistryEntry
from hub.core.personal import without_numbers
from hub.wire import Record, Wire

Mask = Callable[[str], str]

_DIGITS = re.compile(r"\d+")
_START = 8


def name(text: str) -> str:
    """Of a person's name the first character."""
    return f"{text[:1]}**" if text else ""


def address(text: str) -> str:
    """Which street, not which door."""
    return _DIGITS.sub("*", without_numbers(text))


def free_text(text: str) -> str:
    """What a person wrote: only how much."""
    return f"***({len(text)})" if text else ""


def secret(text: str) -> str:
    """A hash: its beginning, enough to see whether two are the same."""
    return f"{text[:_START]}***" if text else ""


def link(text: str) -> str:
    """Where it leads to, not what opens it."""
    try:
        parts = urlsplit(text)
    except ValueError:
        return free_text(text)
    return f"{parts.scheme}://{parts.hostname}/***" if parts.scheme and parts.hostname else free_text(text)


MASKS: Mapping[str, Mask] = {
    "address": address,
    "description": free_text,
    "channel_name": without_numbers,
    "region": without_numbers,
    "target": without_numbers,
    "raw_time": without_numbers,
    "vendor_status": without_numbers,
    "Evidence.name": free_text,
    "sha256": secret,
    "evidence_sha256": secret,
    "photos": link,
    "image_before": free_text,
    "image_after": free_text,
    "detail": without_numbers,
    "reason": without_numbers,
    "reasons": without_numbers,
    "raw": free_text,
    "RouterState.body": free_text,
    # Of a registry's entries only; see _ENTRIES.
    "Person.name": name,
    "note": free_text,
}
_OPEN = """
alarm_type alert building_class building_type case_no cell channel class_code class_standard datum device event_no factor feed geometry
given_geometry grid id kind mark media_type message_code message_type origin outcome owner owner_role place_mark program rule said signal
spot_no stage state statistic step structure ticket_id time_mark topic town unit urgency vendor version
Journal.quarantined Version.name
"""
OPEN = frozenset(_OPEN.split())
# Entries of the registry are JSON: which of their fields are masked, by the entry's kind. Of other kinds none is.
_ENTRIES: Mapping[str, Mapping[str, Mask]] = {
    "person": {"name": MASKS["Person.name"]},
    "vendor": {"sha256": MASKS["sha256"]},
    "version": {"note": MASKS["note"]},
}
_OPEN_ENTRIES = frozenset({"town", "village", "grid", "cell", "site", "device", "rule"})


def plain(record: Record, wire: Wire, *, masked: bool) -> dict[str, Any]:
    """The record's fields for JSON, in their order; bytes as hexadecimal digits, what an envelope or an entry holds as an object."""
    match record:
        case HandedOver():
            return {
                "topic": record.topic,
                "partition": record.partition,
                "offset": record.offset,
                "key": (record.key or b"").decode(errors="replace"),
                "value": _inner(record, wire, masked=masked),
            }
        case RegistryEntry():
            fields: dict[str, Any] = {"version": record.version, "kind": record.kind, "id": record.id}
            return {**fields, "body": _entry(record, masked=masked)}
    return _fields(record, masked=masked)


def _inner(envelope: HandedOver, wire: Wire, *, masked: bool) -> Any:
    try:
        return plain(wire.decode(envelope.value), wire, masked=masked)
    except Rejected as rejected:
        return str(rejected)


def _entry(entry: RegistryEntry, *, masked: bool) -> Any:
    try:
        body = json.loads(entry.body)
    except ValueError:
        body = entry.body
    if not masked:
        return body
    known = _ENTRIES.get(entry.kind)
    if not isinstance(body, dict) or (known is None and entry.kind not in _OPEN_ENTRIES):
        return free_text(entry.body)
    return _masked(body, known or {})


def _masked(value: Any, masks: Mapping[str, Mask]) -> Any:
    match value:
        case dict():
            return {
                key: masks[key](one) if key in masks and isinstance(one, str) else _masked(one, masks)
                for key, one in value.items()
            }
        case list():
            return [_masked(one, masks) for one in value]
    return value


def _fields(record: Any, *, masked: bool) -> dict[str, Any]:
    of = type(record).__name__
    return {
        field.name: _value(getattr(record, field.name), _mask(of, field.name), masked=masked)
        for field in dataclasses.fields(record)
    }


def _mask(of: str, field: str) -> Mask | None:
    """None: the field is open."""
    own = f"{of}.{field}"
    if own in OPEN or (field in OPEN and own not in MASKS):
        return None
    return MASKS.get(own) or MASKS.get(field) or free_text


def _value(value: Any, mask: Mask | None, *, masked: bool) -> Any:
    match value:
        case tuple():
            return [_value(one, mask, masked=masked) for one in value]
        case bytes():
            return f"***({len(value)})" if masked and mask else value.hex()
        case str():
            return mask(value) if masked and mask else value
        case bool() | int() | float() | None:
            return value
    return _fields(value, masked=masked)
