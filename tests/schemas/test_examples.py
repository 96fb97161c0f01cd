"""Every example is read by the code that reads Kafka, and every schema has one."""

import dataclasses
import json
from collections.abc import Iterator, Mapping
from io import BytesIO, StringIO
from pathlib import Path
from typing import Any

import pytest
from fastavro import json_reader, parse_schema, schemaless_writer

from hub.core.errors import Reason
from hub.core.events import DeadLetter, Decision, Event, LetterMark, Outcome, Reading, Signal, State, TimeMark
from hub.core.grid import PlaceMark
from hub.core.times import place_in_time
from hub.core.town import KINDS
from hub.partition import OWN
from hub.schemas import Schema, Schemas
from hub.shipped import shipped
from hub.wire import Wire, headers

SCHEMAS = Schemas.load()
WIRE = Wire(SCHEMAS)
COMMON = [field.name for field in dataclasses.fields(Event)]
EXAMPLES = sorted(shipped("schemas/examples").glob("*/*.json"))


@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_an_example_is_a_record(path: Path) -> None:
    """Written with the schema file as it stands and fastavro alone, read with the hub's own code."""
    [schema] = [each for each in SCHEMAS if each.name == path.parent.name]
    avro = parse_schema(dict(schema.definition), named_schemas={})
    text = path.read_text(encoding="utf-8")
    [plain] = json_reader(StringIO(json.dumps(json.loads(text))), avro)
    body = BytesIO()
    schemaless_writer(body, avro, plain)
    record = WIRE.decode(b"\x00" + schema.id.to_bytes(4) + body.getvalue())
    assert WIRE.decode(WIRE.encode(record)) == record
    if isinstance(record, Event | DeadLetter | Decision):
        assert dict(headers(record))["ce_id"].decode() == json.loads(text)["id"]
    if isinstance(record, Reading):
        at, mark = place_in_time(record.occurred_at, record.accepted_at, record.period_s)
        assert (record.event_at, record.time_mark) == (at, mark.value)


def test_every_schema_has_an_example() -> None:
    assert {path.parent.name for path in EXAMPLES} == {schema.name for schema in SCHEMAS}


@pytest.mark.parametrize(
    ("record", "field", "codes"),
    [
        ("dead_letter", "reason", set(Reason) - {Reason.UNAVAILABLE, Reason.BUSY, Reason.FULL}),
        ("dead_letter", "mark", set(LetterMark)),
        ("reading", "time_mark", set(TimeMark)),
        ("air_alert", "signal", set(Signal)),
        ("patrol_alert", "signal", set(Signal)),
        ("ticket", "place_mark", set(PlaceMark)),
        ("decision", "outcome", set(Outcome)),
        ("ticket", "state", set(State)),
        ("ticket_event", "state", set(State)),
        ("router_state", "kind", {*KINDS, OWN}),
    ],
)
def test_the_doc_lists_every_code(record: str, field: str, codes: set[str]) -> None:
    [doc] = [each["doc"] for each in SCHEMAS.records[record][-1].definition["fields"] if each["name"] == field]
    assert not [str(code) for code in codes if str(code) not in doc]


def test_the_common_block_is_the_same_in_all() -> None:
    def block(record: str) -> list[tuple[object, ...]]:
        fields = SCHEMAS.records[record][-1].definition["fields"][: len(COMMON)]
        return [(field["name"], field["type"], field["default"]) for field in fields]

    assert [name for name, *_ in block("reading")] == COMMON
    for record in ("air_alert", "patrol_alert", "camera_alert"):
        assert block(record) == block("reading"), record


@pytest.mark.parametrize("schema", list(SCHEMAS), ids=lambda schema: schema.name)
def test_every_field_names_the_source_of_its_value(schema: Schema) -> None:
    def docs(definition: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        for field in definition["fields"]:
            yield field["name"], field["doc"]
            match field["type"]:
                case {"items": {"fields": _} as items}:
                    yield from docs(items)

    assert not [name for name, doc in docs(schema.definition) if "Source: " not in doc]


def test_the_ids_are_what_was_released() -> None:
    """A change here breaks every reader that keeps schemas by id: a changed schema is a new version."""
    assert {schema.name: schema.id for schema in SCHEMAS} == {
        "air_alert.v1": 1942659490,
        "camera_alert.v1": 1685150107,
        "dead_letter.v1": 1967897712,
        "dead_letter.v2": 1839474506,
        "decision.v1": 2010769056,
        "handed_over.v1": 1088528095,
        "journal.v1": 1797835809,
        "journal.v2": 1710265778,
        "life_sign.v1": 1782313053,
        "patrol_alert.v1": 1142956649,
        "reading.v1": 1501195806,
        "registry_entry.v1": 1567170215,
        "router_state.v1": 1755234939,
        "ticket.v1": 1544699275,
        "ticket.v2": 1516346316,
        "ticket_event.v1": 2091702193,
        "ticket_event.v2": 1281549475,
    }
