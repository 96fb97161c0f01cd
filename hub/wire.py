"""Records of `hub.core.events` as Kafka carries them: Confluent-framed Avro, and the headers beside it.

A value is a zero byte, the schema's id (4 bytes, big-endian) and Avro binary. Each known version is read, always into the newest
form of its record. What was decoded is as valid as what may be encoded: finite numbers, times that a calendar has.
"""

import math
from collections.abc import Callable, Mapping
from dataclasses import fields
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from io import BytesIO
from pathlib import Path
from struct import Struct
from typing import Any, NamedTuple
from urllib.parse import quote

from fastavro import schemaless_reader, schemaless_writer
from fastavro.read import SchemaResolutionError

from hub.core.errors import Misconfigured, Reason, Rejected
from hub.core.events import (
    AirAlert,
    AlarmValue,
    CameraAlert,
    DeadLetter,
    Decision,
    Event,
    Evidence,
    HandedOver,
    Header,
    Journal,
    LifeSign,
    PatrolAlert,
    Range,
    Reading,
    RegistryEntry,
    RouterState,
    Ticket,
    TicketEvent,
    TownTick,
    Value,
    Version,
)
from hub.schemas import Avro, Schemas, parsed

Record = (
    Reading
    | AirAlert
    | PatrolAlert
    | CameraAlert
    | LifeSign
    | DeadLetter
    | Ticket
    | TicketEvent
    | Decision
    | Journal
    | HandedOver
    | RouterState
    | RegistryEntry
)

MAX_BYTES = 1 << 20

_CLASSES = {
    each.__name__: each
    for each in (
        *(
            Reading,
            Value,
            AirAlert,
            AlarmValue,
            PatrolAlert,
            CameraAlert,
            Evidence,
            LifeSign,
            DeadLetter,
            RegistryEntry,
        ),
        *(Ticket, TicketEvent, Decision, Version, Journal, Range, TownTick, HandedOver, Header, RouterState),
    )
}
_HEADER = Struct(">BI")
_MAGIC = 0
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EARLIEST_MS = (datetime.min.replace(tzinfo=UTC) - _EPOCH) // timedelta(milliseconds=1)
_LATEST_MS = (datetime.max.replace(tzinfo=UTC) - _EPOCH) // timedelta(milliseconds=1)

Convert = Callable[[Any], Any]  # raises _Unfit


class _Unfit(Exception):
    """Becomes Rejected, with the path of the field, at the edge of this module."""


class _Writer(NamedTuple):
    id: int
    schema: Avro
    pack: Convert


class _Reader(NamedTuple):
    written: Avro
    newest: Avro
    unpack: Convert


class Wire:
    """Encodes and decodes by the tables in `schemas/`."""

    def __init__(self, schemas: Schemas) -> None:
        """Raises Misconfigured where the newest schema of a record and its class differ."""
        self._writers: dict[type, _Writer] = {}
        self._readers: dict[int, _Reader] = {}
        for versions in schemas.records.values():
            newest = versions[-1]
            schema = parsed(newest)
            record = _class(newest.definition)
            self._writers[record] = _Writer(newest.id, schema, _packer(newest.definition))
            for version in versions:
                self._readers[version.id] = _Reader(parsed(version), schema, _unpacker(newest.definition))

    @classmethod
    def load(cls, folder: Path | None = None) -> "Wire":
        """From a folder of schemas, else the shipped one; raises Misconfigured."""
        return cls(Schemas.load(folder))

    def encode(self, record: Record) -> bytes:
        """The value for Kafka, in the newest version; raises Rejected (schema; too_large above MAX_BYTES)."""
        writer = self._writers[type(record)]
        out = BytesIO()
        out.write(_HEADER.pack(_MAGIC, writer.id))
        try:
            schemaless_writer(out, writer.schema, writer.pack(record), strict=True)
        except (_Unfit, UnicodeEncodeError) as error:
            raise Rejected(Reason.SCHEMA, f"{type(record).__name__}: {error}") from None
        if out.tell() > MAX_BYTES:
            raise Rejected(Reason.TOO_LARGE, f"{out.tell()} bytes are above {MAX_BYTES}")
        return out.getvalue()

    def decode(self, data: bytes) -> Record:
        """The record in a value from Kafka; raises Rejected (schema) for whatever is not exactly one valid record."""
        if len(data) > MAX_BYTES:
            raise Rejected(Reason.SCHEMA, f"{len(data)} bytes are above {MAX_BYTES}")
        if len(data) < _HEADER.size or data[0] != _MAGIC:
            raise Rejected(Reason.SCHEMA, "the 5-byte header is missing")
        _, number = _HEADER.unpack_from(data)
        reader = self._readers.get(number)
        if reader is None:
            raise Rejected(Reason.SCHEMA, f"the schema id {number} is not known")
        body = BytesIO(data)
        body.seek(_HEADER.size)
        try:
            record: Record = reader.unpack(schemaless_reader(body, reader.written, reader.newest))
        # fastavro has no error of its own for broken data: these are what its reader lets out.
        except (_Unfit, SchemaResolutionError, EOFError, LookupError, ValueError, ArithmeticError, TypeError) as error:
            raise Rejected(Reason.SCHEMA, f"{type(error).__name__}: {error}") from None
        if body.tell() != len(data):
            raise Rejected(Reason.SCHEMA, f"{len(data) - body.tell()} bytes follow the record")
        return record


def headers(record: Record) -> list[tuple[str, bytes]]:
    """The record's headers: CloudEvents 1.0 (Kafka protocol binding, binary mode) and W3C Trace Context, level 1.

    All derived from the record, so that a replay gives the same; what follows from an alert carries the alert's trace. None for what the
    router writes to itself (its memory), and for an envelope, whose content has its own. Raises Rejected (schema) for a time no calendar has.
    """
    told = _told(record)
    if told is None:
        return []
    texts = {
        "ce_specversion": "1.0",
        "ce_id": told.id,
        "ce_source": "".join(f"/{quote(part, safe='')}" for part in told.source),
        "ce_type": told.type,
        "ce_time": _rfc3339(told.at),
        "content-type": "application/avro",
        "traceparent": _traceparent(told.trace or told.id),
    }
    try:
        return [(name, text.encode()) for name, text in texts.items()]
    except UnicodeEncodeError as error:
        raise Rejected(Reason.SCHEMA, f"{type(record).__name__}: {error}") from None


class _Told(NamedTuple):
    """What the headers say. `trace`: the alert's id, where it is not the record's own."""

    id: str
    type: str
    source: tuple[str, ...]
    at: int
    trace: str = ""


def _told(record: Record) -> _Told | None:
    told = None
    match record:
        case Event():
            at = record.accepted_at if record.occurred_at is None else record.occurred_at
            told = _Told(record.id, record.kind, (record.vendor, record.device), at)
        case LifeSign():
            told = _Told(
                f"{record.device}/{record.heard_at}",
                "gridhub.life_sign",
                (record.vendor, record.device),
                record.heard_at,
            )
        case DeadLetter():
            told = _Told(record.id, "gridhub.dead_letter", (record.feed,), record.accepted_at)
        case Decision():
            told = _Told(record.id, "gridhub.decision", ("router",), record.now)
        case Ticket():
            told = _Told(f"{record.id}/{record.version}", "gridhub.ticket", ("router",), record.updated_at)
        case TicketEvent():
            told = _Told(record.id, "gridhub.ticket_event", ("router",), record.at, record.alert)
        case Journal():
            number = f"{record.partition}/{record.number}"
            told = _Told(number, "gridhub.journal", ("router", str(record.router)), record.at)
    return told


def _rfc3339(at: int) -> str:
    try:
        moment = _EPOCH + timedelta(milliseconds=_time(at))
    except _Unfit as error:
        raise Rejected(Reason.SCHEMA, str(error)) from None
    return moment.isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _traceparent(record_id: str) -> str:
    digest = sha256(record_id.encode(errors="surrogatepass")).hexdigest()
    # Flags 00: nothing about it has been recorded elsewhere yet.
    return f"00-{digest[:32]}-{digest[32:48]}-00"


# ---- between dataclasses and what fastavro takes and gives: one small function per type, built once


def _packer(type_: Avro) -> Convert:
    match type_:
        case ["null", other]:
            return _optional(_packer(other))
        case {"type": "array", "items": items}:
            return _pack_array(_packer(items))
        case {"type": "record"}:
            return _pack_record(type_)
    return _leaf(type_)


def _unpacker(type_: Avro) -> Convert:
    match type_:
        case ["null", other]:
            return _optional(_unpacker(other))
        case {"type": "array", "items": items}:
            item = _unpacker(items)
            return lambda values: tuple(map(item, values))
        case {"type": "record"}:
            return _unpack_record(type_)
    return _leaf(type_)


def _optional(convert: Convert) -> Convert:
    return lambda value: None if value is None else convert(value)


def _pack_array(item: Convert) -> Convert:
    def pack(values: object) -> list[Any]:
        if not isinstance(values, tuple):
            raise _Unfit(f"{type(values).__name__} is not a tuple")
        return [item(value) for value in values]

    return pack


def _pack_record(type_: Mapping[str, Any]) -> Convert:
    record = _class(type_)
    packers = [(field["name"], _packer(field["type"])) for field in type_["fields"]]

    def pack(value: object) -> dict[str, Any]:
        if type(value) is not record:
            raise _Unfit(f"{type(value).__name__} is not {record.__name__}")
        out: dict[str, Any] = {}
        for name, convert in packers:
            try:
                out[name] = convert(getattr(value, name))
            except _Unfit as error:
                raise _Unfit(f"{name}: {error}") from None
        return out

    return pack


def _unpack_record(type_: Mapping[str, Any]) -> Convert:
    record = _class(type_)
    unpackers = [(field["name"], _unpacker(field["type"])) for field in type_["fields"]]

    def unpack(value: Mapping[str, Any]) -> object:
        return record(**{name: convert(value[name]) for name, convert in unpackers})

    return unpack


def _class(type_: Mapping[str, Any]) -> type:
    record = _CLASSES.get(type_["name"])
    if record is None or [each.name for each in fields(record)] != [field["name"] for field in type_["fields"]]:
        raise Misconfigured(f"the schema {type_['name']} and hub/core/events.py do not have the same fields")
    return record


def _exactly(wanted: type) -> Convert:
    def check(value: object) -> object:
        if not isinstance(value, wanted):
            raise _Unfit(f"{type(value).__name__} is not {wanted.__name__}")
        return value

    return check


def _integer(bits: int) -> Convert:
    low, high = -(1 << bits), (1 << bits) - 1

    def check(value: object) -> int:
        if not isinstance(value, int) or isinstance(value, bool) or not low <= value <= high:
            raise _Unfit(f"not a whole number of {bits + 1} bits")
        return value

    return check


def _number(value: object) -> float:
    if type(value) is float and math.isfinite(value):
        return value
    if type(value) is int and abs(value) <= 1 << 53:  # exact as a double; type checkers let an int stand for a float
        return float(value)
    raise _Unfit("not a finite number")


def _time(value: object) -> int:
    if not isinstance(value, int) or isinstance(value, bool) or not _EARLIEST_MS <= value <= _LATEST_MS:
        raise _Unfit("not milliseconds since 1970-01-01 UTC within the years 1 to 9999")
    return value


_PRIMITIVES = {
    "int": _integer(31),
    "long": _integer(63),
    "double": _number,
    "string": _exactly(str),
    "bytes": _exactly(bytes),
    "boolean": _exactly(bool),
}


def _leaf(type_: Avro) -> Convert:
    match type_:
        case {"type": "long", "logicalType": "timestamp-millis"}:
            return _time
        case str() if type_ in _PRIMITIVES:
            return _PRIMITIVES[type_]
    raise Misconfigured(f"the type {type_} is not among those in use")
