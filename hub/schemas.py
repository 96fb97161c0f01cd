"""The record schemas of `schemas/`: loaded, checked, and served to ordinary Confluent clients.

One file per record and version, `reading.v1.avsc`; ids come from the content, so that no server is needed to give them out.
"""

import json
import re
import threading
import tomllib
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from io import BytesIO, StringIO
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastavro import json_reader, json_writer, parse_schema, schemaless_reader, schemaless_writer
from fastavro.schema import SchemaParseException, UnknownType

from hub.core.errors import Misconfigured
from hub.lang import say
from hub.running import announced, on_stop
from hub.settings import HostPort, Settings
from hub.shipped import shipped

if TYPE_CHECKING:
    from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

NAMESPACE = "gridhub"
LOWEST_LOCAL_ID = 1 << 30
CONTENT_TYPE = "application/vnd.schemaregistry.v1+json"
MAX_REQUEST_BYTES = 1 << 20

_FILE_NAME = re.compile(r"(?P<record>[a-z][a-z0-9_]*)\.v(?P<version>[1-9][0-9]*)\.avsc")

Avro = Any  # a type as Avro's JSON has it: a name, an object or a list


@dataclass(frozen=True, slots=True)
class Schema:
    """One version of one record's schema, as its file has it."""

    record: str
    version: int
    definition: Mapping[str, Avro]

    @property
    def name(self) -> str:
        """`reading.v1`, as file and examples are called."""
        return f"{self.record}.v{self.version}"

    @property
    def id(self) -> int:
        return local_id(self.definition)

    @property
    def text(self) -> str:
        """What a registry answers: the whole definition, docs included, in one line."""
        return json.dumps(self.definition, ensure_ascii=False, separators=(",", ":"))


def local_id(definition: Avro) -> int:
    """The id in the wire format's header: 2^30 + 30 bits of the SHA-256 of the definition without `doc`, keys sorted, no blanks.

    It lies above all ids that registries give out, and defaults and logical types count, which Avro's own canonical form drops.
    """
    text = json.dumps(_without_doc(definition), ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    digest = sha256(text.encode()).digest()
    return LOWEST_LOCAL_ID + (int.from_bytes(digest[:4]) & (LOWEST_LOCAL_ID - 1))


@dataclass(frozen=True, slots=True)
class Schemas:
    """All versions of all records, and which topic carries which record."""

    folder: Path
    records: Mapping[str, tuple[Schema, ...]]  # by record, oldest first
    topics: Mapping[str, str]  # topic -> record; topics whose record comes later are not here

    @classmethod
    def load(cls, folder: Path | None = None) -> "Schemas":
        """Reads `*.avsc` and `topics.toml`; raises Misconfigured with the file and what is wrong with it."""
        folder = folder or shipped("schemas")
        found = sorted(
            (_read(path) for path in folder.glob("*.avsc")), key=lambda schema: (schema.record, schema.version)
        )
        if not found:
            raise Misconfigured(f"there are no schemas in {folder}")
        records: dict[str, tuple[Schema, ...]] = {}
        for schema in found:
            records[schema.record] = (*records.get(schema.record, ()), schema)
        return cls(folder, records, _topics(folder / "topics.toml"))

    def __iter__(self) -> Iterator[Schema]:
        for versions in self.records.values():
            yield from versions

    @property
    def subjects(self) -> dict[str, tuple[Schema, ...]]:
        """The versions by the name a registry knows them under: TopicNameStrategy, `<topic>-value`."""
        return {
            f"{topic}-value": self.records[record] for topic, record in self.topics.items() if record in self.records
        }


def parsed(schema: Schema) -> Avro:
    """The definition for fastavro's binary side: parsed once, with names of its own, and times left as the integers they are."""
    return _with_byte_defaults(_parsed_for_json(schema))


def _parsed_for_json(schema: Schema) -> Avro:
    return parse_schema(_without(schema.definition, "logicalType"), named_schemas={})


def _with_byte_defaults(definition: Avro) -> Avro:
    # Avro writes the default of bytes as text, a character for a byte. fastavro's parser and its JSON side want it so; its binary
    # side would hand that text out as it is.
    match definition:
        case {"type": "bytes", "default": str() as text}:
            return {**definition, "default": text.encode("latin-1")}
        case dict():
            return {name: _with_byte_defaults(value) for name, value in definition.items()}
        case list():
            return [_with_byte_defaults(value) for value in definition]
    return definition


# ---- what CI holds a change to


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
    findings += [
        f"topics.toml: {topic} names the schema {record!r}, which does not exist"
        for topic, record in schemas.topics.items()
        if record not in schemas.records
    ]
    findings += _examples(schemas)
    return findings


def _form(schema: Schema) -> list[str]:
    """The rules for one schema: names, docs, defaults, and only those types that every reader of every version can take."""
    definition = schema.definition
    findings = []
    class_name = "".join(part.capitalize() for part in schema.record.split("_"))
    if (definition.get("name"), definition.get("namespace")) != (class_name, NAMESPACE):
        findings.append(f"{schema.name}: the record must be called {NAMESPACE}.{class_name}")
    findings += [f"{schema.name}: {fault}" for fault in _faults(definition, class_name)]
    if findings:
        return findings
    try:
        # Avro itself judges the defaults: a record of nothing but defaults must be writable.
        schemaless_writer(BytesIO(), parsed(schema), {})
    except (SchemaParseException, UnknownType, ValueError, TypeError, OverflowError) as error:
        findings.append(f"{schema.name}: {error}")
    return findings


_PLAIN = frozenset({"boolean", "int", "long", "double", "string", "bytes"})


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
            for field in fields:
                yield from _field_faults(field, f"{where}.{field.get('name')}")
        case {"type": "long", "logicalType": "timestamp-millis"}:
            pass
        case _:
            yield f"{where}: {json.dumps(type_)} is not among the types in use (no enums, maps, fixed or other logical types)"


def _field_faults(field: Mapping[str, Avro], where: str) -> Iterator[str]:
    if not field.get("doc"):
        yield f"{where}: the field has no doc"
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


_PROMOTED = frozenset(
    {("int", "long"), ("int", "double"), ("long", "double"), ("string", "bytes"), ("bytes", "string")}
)


def unreadable(writer: Avro, reader: Avro, where: str) -> Iterator[str]:
    """Why data of `writer` cannot be resolved to `reader` (Avro specification, Schema Resolution); nothing if they can.

    Stricter than Avro in one point: a changed logical type changes the meaning of the number, so it counts as a fault.
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
    in_json, in_binary = _parsed_for_json(schema), parsed(schema)
    one_line = json.dumps(json.loads(text))  # fastavro takes a line for a record
    [record] = json_reader(StringIO(one_line), in_json)
    binary = BytesIO()
    schemaless_writer(binary, in_binary, record, strict=True)
    binary.seek(0)
    out = StringIO()
    json_writer(out, in_json, [schemaless_reader(binary, in_binary, None)])
    return out.getvalue()


# ---- the registry's routes


def serve(settings: Settings, listen: HostPort, folder: Path | None = None) -> int:
    """Answers the registry's read-only routes until SIGTERM or SIGINT; 0 then. Raises Misconfigured for a taken port."""
    from hub.telemetry import serve_wsgi

    stop = threading.Event()
    on_stop(stop.set)
    server, thread = serve_wsgi(registry_app(Schemas.load(folder)), listen.host, listen.port)
    port = server.server_port
    with announced(settings.data, "schemas", {"http": port}):
        say(f"schemas are served at http://{listen.host}:{port}", f"模式服务地址：http://{listen.host}:{port}")
        stop.wait()
    server.stop()
    thread.join()
    return 0


class _Refused(Exception):
    def __init__(self, status: str, code: int, message: str) -> None:
        super().__init__(message)
        self.status = status
        self.answer = {"error_code": code, "message": message}


def _not_found(code: int, message: str) -> _Refused:
    return _Refused("404 Not Found", code, message)


def registry_app(schemas: Schemas) -> "WSGIApplication":
    """The Confluent Schema Registry's read-only routes, with its codes and words (its API reference, "Errors").

    Registration of a schema that is known answers its id, so that serializers which register at their start work; any other write
    is 405.
    """
    registry = _Registry(schemas)

    def app(environ: "WSGIEnvironment", start_response: "StartResponse") -> Iterable[bytes]:
        status, headers = "200 OK", [("Content-Type", CONTENT_TYPE)]
        try:
            answer = registry.answer(environ)
        except _Refused as refused:
            status, answer = refused.status, refused.answer
            if status.startswith("405"):
                headers.append(("Allow", "GET, POST"))
        body = json.dumps(answer, ensure_ascii=False).encode()
        start_response(status, [*headers, ("Content-Length", str(len(body)))])
        return [body]

    return app


class _Registry:
    def __init__(self, schemas: Schemas) -> None:
        self._subjects = schemas.subjects
        self._by_id = {schema.id: schema for schema in schemas}

    def answer(self, environ: "WSGIEnvironment") -> object:
        """What the route answers; raises _Refused."""
        method, path = environ["REQUEST_METHOD"], environ.get("PATH_INFO", "").strip("/").split("/")
        match method, path:
            case "GET", _:
                return self._get(path)
            case "POST", ["subjects", subject]:
                return _described(subject, self._known(subject, _posted(environ)))
            case "POST", ["subjects", subject, "versions"]:
                return self._register(subject, _posted(environ))
        raise _not_allowed("HTTP 405 Method Not Allowed")

    def _get(self, path: list[str]) -> object:
        match path:
            case ["schemas", "types"]:
                return ["AVRO"]
            case ["schemas", "ids", number]:
                return {"schema": self._schema(number).text}
            case ["subjects"]:
                return sorted(self._subjects)
            case ["subjects", subject, "versions"]:
                return [schema.version for schema in self._versions(subject)]
            case ["subjects", subject, "versions", version]:
                return _described(subject, self._version(subject, version))
        raise _not_found(404, "HTTP 404 Not Found")

    def _register(self, subject: str, definition: Avro) -> object:
        try:
            return {"id": self._known(subject, definition).id}
        except _Refused:
            raise _not_allowed("schemas are changed in the hub's own files, not here") from None

    def _schema(self, number: str) -> Schema:
        schema = self._by_id.get(int(number)) if _is_number(number) else None
        if schema is None:
            raise _not_found(40403, f"Schema {number} not found")
        return schema

    def _versions(self, subject: str) -> tuple[Schema, ...]:
        if subject not in self._subjects:
            raise _not_found(40401, f"Subject '{subject}' not found.")
        return self._subjects[subject]

    def _version(self, subject: str, version: str) -> Schema:
        versions = self._versions(subject)
        if version in ("latest", "-1"):
            return versions[-1]
        if not _is_number(version) or int(version) == 0:
            message = f"The specified version '{version}' is not a valid version id."
            raise _Refused("422 Unprocessable Entity", 42202, message)
        for schema in versions:
            if schema.version == int(version):
                return schema
        raise _not_found(40402, f"Version {version} not found.")

    def _known(self, subject: str, definition: Avro) -> Schema:
        wanted = local_id(definition)
        for schema in self._versions(subject):
            if schema.id == wanted:
                return schema
        raise _not_found(40403, "Schema not found")


def _is_number(text: str) -> bool:
    # The length keeps a number out of int() that no id and no version can be.
    return text.isascii() and text.isdecimal() and len(text) <= len(str(1 << 31))


def _not_allowed(message: str) -> _Refused:
    return _Refused("405 Method Not Allowed", 405, message)


def _described(subject: str, schema: Schema) -> dict[str, object]:
    return {"subject": subject, "version": schema.version, "id": schema.id, "schema": schema.text}


def _posted(environ: "WSGIEnvironment") -> Avro:
    """The definition in a request's body, `{"schema": "<text>"}`."""
    try:
        size = int(environ.get("CONTENT_LENGTH") or 0)
        if not 0 <= size <= MAX_REQUEST_BYTES:
            raise _Refused("413 Content Too Large", 413, f"more than {MAX_REQUEST_BYTES} bytes")
        body = json.loads(environ["wsgi.input"].read(size))
        return json.loads(body["schema"])
    except (ValueError, TypeError, LookupError, RecursionError):
        raise _Refused("422 Unprocessable Entity", 42201, "Invalid schema") from None


# ---- files


def _read(path: Path) -> Schema:
    named = _FILE_NAME.fullmatch(path.name)
    if named is None:
        raise Misconfigured(f"{path}: a schema file is called RECORD.vN.avsc")
    try:
        definition = json.loads(path.read_text(encoding="utf-8"))
        schema = Schema(named["record"], int(named["version"]), definition)
        parsed(schema)
    except (OSError, ValueError, TypeError, LookupError, AttributeError, SchemaParseException, UnknownType) as error:
        raise Misconfigured(f"{path} is not an Avro schema: {type(error).__name__}: {error}") from None
    if not isinstance(definition, dict) or definition.get("type") != "record":
        raise Misconfigured(f"{path} is not the schema of a record")
    return schema


def _topics(path: Path) -> dict[str, str]:
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError) as error:
        raise Misconfigured(f"{path}: {error}") from None
    # A topic names the file of a version; it carries all versions of that record.
    return {
        topic: str(table["schema"]).partition(".")[0]
        for topic, table in tables.items()
        if isinstance(table, dict) and "schema" in table
    }


def _without(definition: Avro, key: str) -> Avro:
    match definition:
        case dict():
            return {name: _without(value, key) for name, value in definition.items() if name != key}
        case list():
            return [_without(value, key) for value in definition]
    return definition


def _without_doc(definition: Avro) -> Avro:
    return _without(definition, "doc")
