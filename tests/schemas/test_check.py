"""`gridhub schemas check` finds each thing it promises to find, and nothing where nothing is."""

import copy
import json
import shutil
from collections.abc import Callable
from io import BytesIO
from pathlib import Path
from typing import Any

import pytest
from fastavro import parse_schema, schemaless_reader, schemaless_writer
from fastavro.utils import generate_one
from hypothesis import given
from hypothesis import strategies as st

from hub.core.errors import Misconfigured
from hub.schema_check import check, unreadable
from hub.schemas import LOWEST_LOCAL_ID, Schemas, local_id
from hub.shipped import shipped

Avro = Any
Edit = Callable[[Avro], object]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    shutil.copytree(shipped("schemas"), tmp_path / "schemas")
    return tmp_path / "schemas"


def edit(path: Path, change: Edit, target: Path | None = None) -> None:
    definition = json.loads(path.read_text(encoding="utf-8"))
    change(definition)
    (target or path).write_text(json.dumps(definition), encoding="utf-8")


def field(definition: Avro, name: str) -> Avro:
    [found] = [each for each in definition["fields"] if each["name"] == name]
    return found


def value_field(definition: Avro, name: str) -> Avro:
    return field(field(definition, "values")["type"]["items"], name)


def new_field(**more: Avro) -> Avro:
    return {"name": "more", "type": "string", "default": "", "doc": "More.", **more}


def test_the_shipped_schemas_are_clean() -> None:
    assert check() == []
    assert check(shipped("schemas")) == []


@pytest.mark.parametrize(
    ("change", "finding"),
    [
        (lambda d: field(d, "kind").pop("doc"), "reading.v1: Reading.kind: the field has no doc"),
        (lambda d: field(d, "kind").pop("default"), "reading.v1: Reading.kind: the field has no default"),
        (lambda d: value_field(d, "unit").update(doc=""), "reading.v1: Reading.values.unit: the field has no doc"),
        (lambda d: d.pop("doc"), "reading.v1: Reading: the record has no doc"),
        (lambda d: d.update(name="Measurement"), "reading.v1: the record must be called gridhub.Reading"),
        (lambda d: d.update(namespace="town"), "reading.v1: the record must be called gridhub.Reading"),
        (
            lambda d: d["fields"].append(new_field(type={"type": "enum", "name": "E", "symbols": ["a"]}, default="a")),
            "Reading.more: {",
        ),
        (
            lambda d: d["fields"].append(new_field(type=["string", "null"])),
            "Reading.more: a union must be null and one",
        ),
        (lambda d: d["fields"].append(new_field(type=["null", "int", "long"], default=None)), "Reading.more: a union"),
        (lambda d: d["fields"].append(new_field(type="float", default=0.0)), 'Reading.more: "float" is not among'),
        (
            lambda d: d["fields"].append(new_field(type={"type": "int", "logicalType": "date"}, default=0)),
            "Reading.more: {",
        ),
        (
            lambda d: d["fields"].append(new_field(type={"type": "map", "values": "string"}, default={})),
            "Reading.more: {",
        ),
        (
            lambda d: d["fields"].append(new_field(type={"type": "fixed", "name": "F", "size": 1}, default="a")),
            "Reading.more: {",
        ),
        (
            lambda d: d["fields"].append(
                new_field(type={"type": "bytes", "logicalType": "decimal", "precision": 4}, default="")
            ),
            "Reading.more: {",
        ),
        (lambda d: d["fields"].append(new_field(aliases=["town"])), "Reading.more: a field has no aliases"),
        (lambda d: d["fields"].append(new_field(order="ignore")), "Reading.more: a field has no order"),
        (lambda d: d.update(aliases=["Measurement"]), "Reading: a record has no aliases"),
        (lambda d: value_field(d, "unit").pop("default"), "Reading.values.unit: the field has no default"),
        (
            lambda d: d["fields"].insert(0, d["fields"].pop(1)),
            'reading.v1: Reading: field 1 must be id, "string": the common block',
        ),
        (lambda d: d["fields"].remove(field(d, "datum")), "Reading: field 12 must be datum"),
        (lambda d: field(d, "town").update(name="city"), "Reading: field 2 must be town"),
        (lambda d: field(d, "occurred_at").update(type="long", default=0), "Reading: field 6 must be occurred_at"),
        (
            lambda d: field(d, "vendor").update(type=["null", "string"], default=None),
            "Reading: field 4 must be vendor",
        ),
        (lambda d: d.update(fields=d["fields"][:5]), "Reading: field 12 must be datum"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_a_fault_of_form_is_found(folder: Path, change: Edit, finding: str) -> None:
    edit(folder / "reading.v1.avsc", change)
    assert [each for each in check(folder=folder) if finding in each]


@pytest.mark.parametrize("default", [3, None])
def test_a_default_of_another_type_is_misconfigured(folder: Path, default: object) -> None:
    edit(folder / "reading.v1.avsc", lambda d: field(d, "kind").update(default=default))
    with pytest.raises(Misconfigured, match=r"reading\.v1\.avsc.*must match"):
        check(folder=folder)


@pytest.mark.parametrize("text", ["", "{", "[]", "3", '"string"', "{}", '{"type": "record"}'])
def test_a_file_that_is_no_schema_is_misconfigured(folder: Path, text: str) -> None:
    (folder / "reading.v1.avsc").write_text(text)
    with pytest.raises(Misconfigured, match=r"reading\.v1\.avsc"):
        check(folder=folder)


def test_a_file_with_another_name_is_misconfigured(folder: Path) -> None:
    (folder / "reading.v1.avsc").rename(folder / "reading.avsc")
    with pytest.raises(Misconfigured, match="RECORD"):
        check(folder=folder)


def test_an_empty_folder_is_misconfigured(tmp_path: Path) -> None:
    with pytest.raises(Misconfigured, match="no schemas"):
        Schemas.load(tmp_path)


def test_a_gap_between_versions_is_found(folder: Path) -> None:
    shutil.copy(folder / "reading.v1.avsc", folder / "reading.v3.avsc")
    assert "reading: the versions are [1, 3], they must count from 1 without gaps" in check(folder=folder)


def test_a_version_that_changes_nothing_is_found(folder: Path) -> None:
    edit(folder / "reading.v1.avsc", lambda d: d.update(doc="Said better."), folder / "reading.v2.avsc")
    assert "reading.v2 has the same id as reading.v1" in check(folder=folder)


def test_a_topic_without_its_schema_is_found(folder: Path) -> None:
    (folder / "topics.toml").write_text('[orders]\nschema = "order.v1.avsc"\n')
    assert "topics.toml: orders names the schema 'order', which does not exist" in check(folder=folder)


def test_every_event_has_the_common_block(folder: Path) -> None:
    events = [name for name in Schemas.load().records if name == "reading" or name.endswith("_alert")]
    assert len(events) == 4
    for name in events:
        edit(folder / f"{name}.v1.avsc", lambda d: d["fields"].pop(0))
    found = {each.partition(":")[0] for each in check(folder=folder) if "the common block" in each}
    assert found == {f"{name}.v1" for name in events}


@pytest.mark.parametrize(
    ("file", "finding"),
    [
        ("ticket.v1.avsc", "topics.toml: tickets names ticket.v1.avsc, the newest is ticket.v2.avsc"),
        ("ticket.v9.avsc", "topics.toml: tickets names ticket.v9.avsc, the newest is ticket.v2.avsc"),
    ],
)
def test_a_topic_with_another_version_than_is_written_is_found(folder: Path, file: str, finding: str) -> None:
    path = folder / "topics.toml"
    path.write_text(path.read_text(encoding="utf-8").replace("ticket.v2.avsc", file), encoding="utf-8")
    assert check(folder=folder) == [finding]


# ---- examples


def test_a_schema_without_an_example_is_found(folder: Path) -> None:
    shutil.rmtree(folder / "examples" / "reading.v1")
    assert check(folder=folder) == ["reading.v1: there is no example in examples/reading.v1"]


def test_an_example_without_a_schema_is_found(folder: Path) -> None:
    (folder / "examples" / "reading.v9").mkdir()
    assert check(folder=folder) == ["examples/reading.v9: there is no such schema"]


@pytest.mark.parametrize(
    "change",
    [
        lambda record: record.update(more=1),
        lambda record: record.pop("town"),
        lambda record: record.update(lon=114.0),
        lambda record: record.update(period_s="0"),
        lambda record: record["values"][0].update(value={"double": "35"}),
        lambda record: record["values"][0].pop("unit"),
    ],
    ids=["extra", "missing", "no_branch", "type", "inner_type", "inner_missing"],
)
def test_an_example_that_does_not_fit_is_found(folder: Path, change: Edit) -> None:
    edit(folder / "examples" / "reading.v1" / "realtime_dust.json", change)
    [finding] = check(folder=folder)
    assert finding.startswith("examples/reading.v1/realtime_dust.json: ")


def test_an_example_that_is_no_json_is_found(folder: Path) -> None:
    (folder / "examples" / "reading.v1" / "realtime_dust.json").write_text("{")
    [finding] = check(folder=folder)
    assert "JSONDecodeError" in finding


# ---- versions side by side

COMPATIBLE: dict[str, Edit] = {
    "a field more": lambda d: d["fields"].append(new_field()),
    "a field less": lambda d: d["fields"].remove(field(d, "message_code")),
    "another order": lambda d: d["fields"].reverse(),
    "an optional field more": lambda d: d["fields"].append(
        new_field(name="other", type=["null", "double"], default=None)
    ),
    "another default": lambda d: field(d, "kind").update(default="air.reading"),
    "an inner field more": lambda d: field(d, "values")["type"]["items"]["fields"].append(new_field()),
}
INCOMPATIBLE: dict[str, tuple[Edit, str]] = {
    "renamed record": (lambda d: d.update(name="Measurement"), "was called Reading, now Measurement"),
    "another type": (lambda d: field(d, "town").update(type="long", default=0), "string cannot be read as long"),
    "a wider number": (lambda d: field(d, "period_s").update(type="long"), "long cannot be read as int"),
    "optional where it was not": (
        lambda d: field(d, "town").update(type=["null", "string"], default=None),
        "null is not among string",
    ),
    "no longer optional": (lambda d: field(d, "lon").update(type="double", default=0.0), "null is not among double"),
    "another optional type": (
        lambda d: field(d, "lon").update(type=["null", "string"], default=None),
        "double is not among null, string",
    ),
    "another inner type": (
        lambda d: value_field(d, "unit").update(type="int", default=0),
        "string cannot be read as int",
    ),
    "text as bytes": (
        lambda d: field(d, "kind").update(type="bytes", default=""),
        "string cannot be read as bytes",
    ),
    "a list of others": (
        lambda d: field(d, "values")["type"].update(items="string"),
        "record cannot be read as string",
    ),
    "a list of lists": (
        lambda d: field(d, "values")["type"].update(
            items={"type": "array", "items": field(d, "values")["type"]["items"]}
        ),
        "record cannot be read as array",
    ),
    "renamed inner record": (
        lambda d: field(d, "values")["type"]["items"].update(name="Measured"),
        "was called Value, now Measured",
    ),
    "optional where it was not, inside": (
        lambda d: value_field(d, "unit").update(type=["null", "string"], default=None),
        "null is not among string",
    ),
    "an inner field without default": (
        lambda d: field(d, "values")["type"]["items"]["fields"].append(
            {"name": "more", "type": "string", "doc": "More."}
        ),
        "Reading.values[].more: was not written and has no default",
    ),
    "a time where there was none": (
        lambda d: field(d, "period_s").update(type={"type": "long", "logicalType": "timestamp-millis"}),
        "the logical type was None",
    ),
    "a time of another unit": (
        lambda d: field(d, "accepted_at").update(type={"type": "long", "logicalType": "timestamp-micros"}),
        "the logical type was timestamp-millis",
    ),
    "another order of the union": (
        lambda d: field(d, "lon").update(type=["string", "null"], default=""),
        "double is not among string, null",
    ),
    "a list no more": (
        lambda d: field(d, "values").update(type="string", default=""),
        "array cannot be read as string",
    ),
    "a time no more": (lambda d: field(d, "accepted_at").update(type="long"), "the logical type was timestamp-millis"),
    "a field without default": (
        lambda d: d["fields"].append({"name": "more", "type": "string", "doc": "More."}),
        "Reading.more: was not written and has no default",
    ),
}


def reading() -> Avro:
    return copy.deepcopy(dict(Schemas.load().records["reading"][-1].definition))


def both_ways(old: Avro, new: Avro) -> list[str]:
    return [*unreadable(old, new, "Reading"), *unreadable(new, old, "Reading")]


@pytest.mark.parametrize("change", COMPATIBLE.values(), ids=COMPATIBLE)
def test_what_may_change(folder: Path, change: Edit) -> None:
    edit(folder / "reading.v1.avsc", change, folder / "reading.v2.avsc")
    shutil.copytree(folder / "examples" / "reading.v1", folder / "examples" / "reading.v2")
    assert not [each for each in check(folder=folder) if "cannot read" in each]


@pytest.mark.parametrize(("change", "finding"), INCOMPATIBLE.values(), ids=INCOMPATIBLE)
def test_what_may_not_change(folder: Path, change: Edit, finding: str) -> None:
    edit(folder / "reading.v1.avsc", change, folder / "reading.v2.avsc")
    findings = check(folder=folder)
    assert [each for each in findings if "cannot read what reading.v" in each and finding in each], findings


@given(
    st.lists(st.sampled_from(sorted(COMPATIBLE)), max_size=4, unique=True),
    st.none() | st.sampled_from(sorted(INCOMPATIBLE)),
)
def test_data_agrees_with_the_rules(changes: list[str], fault: str | None) -> None:
    """What the rules call compatible is really read both ways, with data made for the schema."""
    old, new = reading(), reading()
    for name in changes:
        COMPATIBLE[name](new)
    if fault:
        INCOMPATIBLE[fault][0](new)
    if both_ways(old, new):
        assert fault
        return
    assert not fault
    for writer, reader in ((old, new), (new, old)):
        written, read = (parse_schema(each, named_schemas={}) for each in (writer, reader))
        body = BytesIO()
        record = generate_one(written)
        schemaless_writer(body, written, record)
        body.seek(0)
        result = schemaless_reader(body, written, read)
        assert isinstance(result, dict)
        assert set(result) == {each["name"] for each in reader["fields"]}
        assert body.read() == b""


def test_all_pairs_are_compared(folder: Path) -> None:
    """1 and 2, 2 and 3 fit; 1 and 3 do not: the field comes back with another type."""
    edit(folder / "reading.v1.avsc", lambda d: d["fields"].append(new_field()))
    edit(folder / "reading.v1.avsc", lambda d: d["fields"].pop(), folder / "reading.v2.avsc")
    edit(
        folder / "reading.v1.avsc",
        lambda d: field(d, "more").update(type="long", default=0),
        folder / "reading.v3.avsc",
    )
    pairs = {each.partition(":")[0] for each in check(folder=folder) if "cannot read" in each}
    assert pairs == {"reading.v3 cannot read what reading.v1 wrote", "reading.v1 cannot read what reading.v3 wrote"}


def test_what_was_released_is_kept(folder: Path, tmp_path: Path) -> None:
    released = tmp_path / "released"
    shutil.copytree(folder, released)
    edit(folder / "reading.v1.avsc", lambda d: d["fields"].append(new_field()))
    (folder / "air_alert.v1.avsc").unlink()
    findings = check(released, folder)
    assert "reading.v1 was released and has changed: a change needs a new version" in findings
    assert "air_alert.v1 was released and is gone" in findings


def test_what_was_released_and_is_gone_must_still_be_readable(folder: Path, tmp_path: Path) -> None:
    released = tmp_path / "released"
    shutil.copytree(folder, released)
    edit(folder / "reading.v1.avsc", lambda d: field(d, "town").update(type="long", default=0))
    assert [each for each in check(released, folder) if "cannot read what reading.v1 wrote" in each]


def test_a_renamed_field_is_one_less_and_one_more(folder: Path) -> None:
    """Nothing can tell them apart, so what was written is lost on the reader: the README says so, and the common block may not lose any."""
    edit(folder / "reading.v1.avsc", lambda d: field(d, "period_s").update(name="period"), folder / "reading.v2.avsc")
    findings = check(folder=folder)
    assert not [each for each in findings if "cannot read" in each or "common block" in each]


def test_a_version_that_was_released_and_is_gone_is_compared_too(folder: Path, tmp_path: Path) -> None:
    """v1 and v3 are not neighbours, and v2 was released and is gone: all of them must live side by side."""
    released = tmp_path / "released"
    edit(folder / "reading.v1.avsc", lambda d: d["fields"].append(new_field()), folder / "reading.v2.avsc")
    shutil.copytree(folder, released)
    edit(
        folder / "reading.v1.avsc",
        lambda d: d["fields"].append(new_field(type="long", default=0)),
        folder / "reading.v3.avsc",
    )
    (folder / "reading.v2.avsc").unlink()
    findings = check(released, folder)
    assert "reading.v2 was released and is gone" in findings
    assert [each for each in findings if each.startswith("reading.v3 cannot read what reading.v2 wrote")]


# ---- ids


def test_an_id_follows_from_what_matters() -> None:
    definition = reading()
    same = {key: definition[key] for key in reversed(definition)}
    same["doc"] = "Other words."
    value_field(same, "unit")["doc"] = "Other words."
    assert local_id(same) == local_id(definition)
    changes: list[Edit] = [
        lambda d: field(d, "kind").update(default="x"),
        lambda d: field(d, "accepted_at").update(type="long"),
        lambda d: d["fields"].reverse(),
    ]
    for change in changes:
        other = reading()
        change(other)
        assert local_id(other) != local_id(definition)


def test_an_id_is_the_published_formula() -> None:
    # printf '{"fields":[],"name":"A","type":"record"}' | sha256sum
    expected = (1 << 30) + (0x533BF2AE & 0x3FFFFFFF)
    assert local_id({"type": "record", "doc": "x", "name": "A", "fields": []}) == expected
    assert expected >= LOWEST_LOCAL_ID
