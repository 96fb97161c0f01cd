"""Records of made-up runs, by the published schemas."""

import json
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import fastavro

from tests.faults import checker

SCHEMAS = Path(__file__).parents[2] / "schemas"
Fields = dict[str, Any]


def encoder(name: str, version: int = 1) -> Callable[[Fields], bytes]:
    """Of a version of a schema; a field that is left out has its default where the schema lets it."""
    definition = json.loads((SCHEMAS / f"{name}.v{version}.avsc").read_text(encoding="utf-8"))
    number = checker.schema_id(definition)
    schema = fastavro.parse_schema(definition)

    def encode(fields: Fields) -> bytes:
        out = BytesIO(b"\0" + number.to_bytes(4, "big"))
        out.seek(5)
        fastavro.schemaless_writer(out, schema, fields, strict_allow_default=True)
        return out.getvalue()

    return encode
