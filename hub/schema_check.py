"""What a change of the schemas is held to: `gridhub schemas check`, without a server."""

import json
from collections.abc import Iterable, Iterator, Mapping
from io import BytesIO, StringIO
from pathlib import Path
from typing import get_type_hints

from fastavro import json_reader, json_writer, schemaless_reader, schemaless_writer
from fastavro.schema import SchemaParseException, UnknownType

from hub.core import events
from hub.core.events import Event
from hub.schemas import NAMESPACE, Avro, Schema, Schemas, parsed, parsed_for_json


def check(against: Path | None = None, folder: Path | None = None) -> list[str]:
    """What is wrong with the schemas, one sentence each: the form, the examples, and whether versions can live side by side.

    `against` is an earlier state of the folder: what was released must still be there unchanged, and be FULL_TRANSITIVE with
    what there is now. Compatibility is judged by the resolution rules of the Avro specification, both ways, for each pair.
    Raises Misconfigured where a file cannot be read at all.
    """
    schemas = Schemas.load(folder)
    released = Schemas.load(against) if against else None
    findings: list[str] = []
    for schema in schemas:
        findings += _form(schema)
    for record, versions in schemas.records.items():
        numbers = [schema.version for schema in versions]
        if numbers != list(range(1, len(numbers) + 1)):
            findings.append(f"{record}: the versions are {numbers}, they must count from 1 without gaps")
        older = released.records.get(record, ()) if released else ()
        findings += _compatibility((*versions, *older))
    if released:
        findings += _kept(schemas, released)
    ids: dict[int, str] = {}
    for schema in schemas:
        if (other := ids.setdefault(schema.id, schema.name)) != schema.name:
            findings.append(f"{schema.name} has the same id as {other}")
    findings += _topics(schemas)
    findings += _examples(schemas)
    return findings


def _topics(schemas: Schemas) -> Iterator[str]:
    for topic, file in schemas.files.items():
        record = schemas.topics[topic]
        if record not in schemas.records:
            yield f"topics.toml: {topic} names the schema {record!r}, which does not exist"
        elif file != (newest := f"{schemas.records[record][-1].name}.avsc"):
            yield f"topics.toml: {topic} names {file}, the newest is {newest}"


def _form(schema: Schema) -> list[str]:
    """The rules for one schema: names, docs, defaults, and only those types that every reader of every version can take."""
    definition = schema.definition
    findings = []
    class_name = "".join(part.capitalize() for part in schema.record.split("_"))
    if (definition.get("name"), definition.get("namespace")) != (class_name, NAMESPACE):
        findings.append(f"{schema.name}: the record must be called {NAMESPACE}.{class_name}")
    findings += [f"{schema.name}: {fault}" for fault in _faults(definition, class_name)]
    if class_name in _EVENTS:
        findings += [f"{schema.name}: {fault}" for fault in _common_faults(definition, class_name)]
    if findings:
        return findings
    try:
        # Avro itself judges the defaults: a record of nothing but defaults must be writable.
        schemaless_writer(BytesIO(), parsed(schema), {})
    except (SchemaParseException, UnknownType, ValueError, TypeError, OverflowError) as error:
        findings.append(f"{schema.name}: {error}")
    return findings


_PLAIN = frozenset({"boolean", "int", "long", "double", "string", "bytes"})
_TIME = {"type": "long", "logicalType": "timestamp-millis"}
# The common block as the class has it; its whole numbers are times.
_TYPES: Mapping[object, Avro] = {
    str: "string",
    int: _TIME,
    int | None: ["null", _TIME],
    float | None: ["null", "double"],
}
_COMMON = [(name, _TYPES[kind]) for name, kind in get_type_hints(Event).items()]
_EVENTS = frozenset(name for name, one in vars(events).items() if isinstance(one, type) and issubclass(one, Event))
# What a field and a record may say. Aliases are not among it: clients differ in what they make of them.
_FIELD = frozenset({"name", "type", "default", "doc"})
_RECORD = frozenset({"type", "name", "namespace", "doc", "fields"})


def _common_faults(definition: Avro, where: str) -> Iterator[str]:
    """Every event begins with the same fields: whoever reads one of them reads all."""
    fields = [(field.get("name"), field.get("type")) for field in definition["fields"][: len(_COMMON)]]
    for place, (name, kind) in enumerate(_COMMON):
        if place >= len(fields) or fields[place] != (name, kind):
            yield f"{where}: field {place + 1} must be {name}, {json.dumps(kind)}: the common block"


def _faults(type_: Avro, where: str) -> Iterator[str]:
    match type_:
        case str() if type_ in _PLAIN:
            pass
        case ["null", (str() | dict()) as other]:
            yield from _faults(other, where)
        case list():
            yield f"{where}: a union must be null and one other type, null first"
        case {"type": "array", "items": items}:
            yield from _faults(items, where)
        case {"type": "record", "fields": list() as fields}:
            if not type_.get("doc"):
                yield f"{where}: the record has no doc"
            for key in sorted(set(type_) - _RECORD):
                yield f"{where}: a record has no {key}"
            for field in fields:
                yield from _field_faults(field, f"{where}.{field.get('name')}")
        case {"type": "long", "logicalType": "timestamp-millis"}:
            pass
        case _:
            yield f"{where}: {json.dumps(type_)} is not among the types in use (no enums, maps, fixed or other logical types)"


def _field_faults(field: Mapping[str, Avro], where: str) -> Iterator[str]:
    if not field.get("doc"):
        yield f"{where}: the field has no doc"
    for key in sorted(set(field) - _FIELD):
        yield f"{where}: a field has no {key}"
    if "default" not in field:
        yield f"{where}: the field has no default"
    yield from _faults(field.get("type"), where)


def _compatibility(versions: Iterable[Schema]) -> Iterator[str]:
    """FULL_TRANSITIVE: each version reads what each other one wrote."""
    versions = list(versions)
    for writer in versions:
        for reader in versions:
            if writer.id != reader.id:
                for fault in unreadable(writer.definition, reader.definition, reader.definition["name"]):
                    yield f"{reader.name} cannot read what {writer.name} wrote: {fault}"


_PROMOTED = frozenset({("int", "long"), ("int", "double"), ("long", "double")})


def unreadable(writer: Avro, reader: Avro, where: str) -> Iterator[str]:
    """Why data of `writer` cannot be resolved to `reader` (Avro specification, Schema Resolution); nothing if they can.

    Stricter than Avro in two points: a changed logical type changes the meaning of the number, and bytes are no text, so they count as faults.
    """
    match writer, reader:
        case (list(), _) | (_, list()):
            yield from _unreadable_union(_branches(writer), _branches(reader), where)
        case {"type": "array", "items": written}, {"type": "array", "items": read}:
            yield from unreadable(written, read, f"{where}[]")
        case {"type": "record"}, {"type": "record"}:
            yield from _unreadable_record(writer, reader, where)
        case _:
            if _logical(writer) != _logical(reader):
                yield f"{where}: the logical type was {_logical(writer)}, now {_logical(reader)}"
            kinds = _called(writer), _called(reader)
            if kinds[0] != kinds[1] and kinds not in _PROMOTED:
                yield f"{where}: {kinds[0]} cannot be read as {kinds[1]}"


def _unreadable_union(written: list[Avro], read: list[Avro], where: str) -> Iterator[str]:
    for branch in written:
        if all(any(unreadable(branch, other, where)) for other in read):
            yield f"{where}: {_called(branch)} is not among {', '.join(map(_called, read))}"


def _unreadable_record(writer: Avro, reader: Avro, where: str) -> Iterator[str]:
    if writer["name"] != reader["name"]:
        yield f"{where}: the record was called {writer['name']}, now {reader['name']}"
    types = {field["name"]: field["type"] for field in writer["fields"]}
    for field in reader["fields"]:
        inner = f"{where}.{field['name']}"
        if field["name"] in types:
            yield from unreadable(types[field["name"]], field["type"], inner)
        elif "default" not in field:
            yield f"{inner}: was not written and has no default"


def _branches(type_: Avro) -> list[Avro]:
    return type_ if isinstance(type_, list) else [type_]


def _called(type_: Avro) -> str:
    return str(type_["type"]) if isinstance(type_, dict) else str(type_)


def _logical(type_: Avro) -> str | None:
    return type_.get("logicalType") if isinstance(type_, dict) else None


def _kept(schemas: Schemas, released: Schemas) -> Iterator[str]:
    now = {schema.name: schema.id for schema in schemas}
    for schema in released:
        if schema.name not in now:
            yield f"{schema.name} was released and is gone"
        elif now[schema.name] != schema.id:
            yield f"{schema.name} was released and has changed: a change needs a new version"


def _examples(schemas: Schemas) -> Iterator[str]:
    """Each example, in Avro's JSON encoding, must survive the way through the binary one; each schema needs one."""
    folder = schemas.folder / "examples"
    by_name = {schema.name: schema for schema in schemas}
    for path in sorted(folder.glob("*")):
        if path.name not in by_name:
            yield f"examples/{path.name}: there is no such schema"
    for name, schema in by_name.items():
        paths = sorted((folder / name).glob("*.json"))
        if not paths:
            yield f"{name}: there is no example in examples/{name}"
        for path in paths:
            try:
                original = path.read_text(encoding="utf-8")
                again = _through_binary(original, schema)
                same = json.loads(again) == json.loads(original)
            # An example that cannot be read is a finding like any other, whatever fastavro calls it; the rest is still looked at.
            except (OSError, ValueError, TypeError, LookupError, AttributeError, OverflowError) as error:
                yield f"examples/{name}/{path.name}: {type(error).__name__}: {error}"
            else:
                if not same:
                    yield f"examples/{name}/{path.name}: comes out as {again}"


def _through_binary(text: str, schema: Schema) -> str:
    in_json, in_binary = parsed_for_json(schema), parsed(schema)
    one_line = json.dumps(json.loads(text))  # fastavro takes a line for a record
    [record] = json_reader(StringIO(one_line), in_json)
    binary = BytesIO()
    schemaless_writer(binary, in_binary, record, strict=True)
    binary.seek(0)
    out = StringIO()
    json_writer(out, in_json, [schemaless_reader(binary, in_binary, None)])
    return out.getvalue()
