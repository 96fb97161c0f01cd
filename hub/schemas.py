"""The record schemas of `schemas/`, and which topic carries which.

One file per record and version, `reading.v1.avsc`; ids come from the content, so that no server is needed to give them out.
"""

import json
import re
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from fastavro import parse_schema
from fastavro.schema import SchemaParseException, UnknownType

from hub.core.errors import Misconfigured
from hub.shipped import shipped

NAMESPACE = "gridhub"
LOWEST_LOCAL_ID = 1 << 30

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
    files: Mapping[str, str]  # topic -> the file it names; topics whose record comes later are not here

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
    def topics(self) -> dict[str, str]:
        """Topic -> record: it names the file of a version, and carries all versions of that record."""
        return {topic: file.partition(".")[0] for topic, file in self.files.items()}

    @property
    def subjects(self) -> dict[str, tuple[Schema, ...]]:
        """The versions by the name a registry knows them under: TopicNameStrategy, `<topic>-value`."""
        return {
            f"{topic}-value": self.records[record] for topic, record in self.topics.items() if record in self.records
        }


def parsed(schema: Schema) -> Avro:
    """The definition for fastavro's binary side: parsed once, with names of its own, and times left as the integers they are."""
    return _with_byte_defaults(parsed_for_json(schema))


def parsed_for_json(schema: Schema) -> Avro:
    """The definition for fastavro's JSON side."""
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
    return {
        topic: str(table["schema"]) for topic, table in tables.items() if isinstance(table, dict) and "schema" in table
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
