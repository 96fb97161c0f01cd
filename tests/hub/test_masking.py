"""Every field is open or masked on purpose, and what a mask leaves is no one's name, number or plate."""

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest

from hub.core.events import HandedOver, Header, RegistryEntry
from hub.masking import MASKS, OPEN, address, link, name, plain
from hub.schemas import Schemas
from hub.wire import Wire
from tests.hub.core.one_town import camera, patrol

WIRE = Wire.load()


def texts(definition: Any) -> Iterator[tuple[str, str]]:
    """Every field of text or bytes, by its record and name."""
    for field in definition["fields"]:
        kind = field["type"]
        kind = kind[1] if isinstance(kind, list) else kind
        kind = kind["items"] if isinstance(kind, dict) and kind["type"] == "array" else kind
        if isinstance(kind, dict) and kind["type"] == "record":
            yield from texts(kind)
        elif kind in ("string", "bytes"):
            yield definition["name"], field["name"]


# Not shown as fields: what an envelope and an entry of the registry hold is shown by its own rules.
ELSEWHERE = {"HandedOver.key", "HandedOver.value", "Header.name", "Header.value", "RegistryEntry.body"}


def test_every_text_of_every_schema_was_thought_about() -> None:
    found = {each for schema in Schemas.load() for each in texts(schema.definition)}
    unknown = {
        f"{of}.{field}"
        for of, field in found
        if not {f"{of}.{field}", field} & (OPEN | set(MASKS)) and f"{of}.{field}" not in ELSEWHERE
    }
    assert not unknown
    assert not OPEN & set(MASKS)


def test_names_streets_and_links() -> None:
    assert (name("张三"), name("")) == ("张**", "")
    assert address("郑庵村3组12号院") == "郑庵村*组*号院"
    assert link("https://v.example/a.jpg?token=secret") == "https://v.example/***"
    assert link("secret") == "***(6)"


def test_what_people_write_is_told_by_its_length() -> None:
    alert = replace(patrol("p1", 0), description="王五家的厨房", address="郑庵村3号")
    shown = plain(alert, WIRE, masked=True)
    assert (shown["description"], shown["address"], shown["id"]) == ("***(6)", "郑庵村*号", "p1")
    assert plain(alert, WIRE, masked=False)["description"] == "王五家的厨房"


def test_a_field_that_nobody_thought_about_is_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hub.masking.OPEN", OPEN - {"device"})
    assert plain(camera("c1", "begins", 0), WIRE, masked=True)["device"] == "***(8)"


def test_an_envelope_shows_what_is_in_it_masked() -> None:
    alert = replace(patrol("p1", 0), description="王五家的厨房")
    envelope = HandedOver(
        topic="alerts.patrol",
        partition=3,
        offset=7,
        key=b"410122105",
        value=WIRE.encode(alert),
        headers=(Header(name="ce_id", value=b"p1"),),
    )
    assert plain(envelope, WIRE, masked=True)["value"]["description"] == "***(6)"


@pytest.mark.parametrize(
    ("kind", "body", "shown"),
    [
        ("person", {"id": "w1", "name": "王五"}, {"id": "w1", "name": "王**"}),
        (
            "vendor",
            {"name": "ACME", "keys": [{"sha256": "0123456789"}]},
            {"name": "ACME", "keys": [{"sha256": "01234567***"}]},
        ),
        ("grid", {"name": "G1"}, {"name": "G1"}),
        ("something new", {"name": "王五"}, "***(14)"),
    ],
)
def test_an_entry_of_the_registry(kind: str, body: dict[str, Any], shown: object) -> None:
    entry = RegistryEntry(version=1, kind=kind, id="x", body=json.dumps(body, ensure_ascii=False))
    assert plain(entry, WIRE, masked=True)["body"] == shown
    assert plain(entry, WIRE, masked=False)["body"] == body
