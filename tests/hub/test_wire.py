"""The wire format: what goes in comes out, and what is not exactly a record is rejected, whatever it is."""

import dataclasses
import json
import math
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.core.errors import Misconfigured, Reason, Rejected
from hub.core.events import AirAlert, AlarmValue, DeadLetter, Reading, Value
from hub.schemas import LOWEST_LOCAL_ID, Schemas
from hub.shipped import shipped
from hub.wire import MAX_BYTES, Record, Wire, headers

WIRE = Wire.load()

READING = Reading(
    id="ZZ001/2011/20260302091502857",
    town="410122102",
    device="ZZ001",
    vendor="qingyuan",
    kind="air.reading",
    occurred_at=1772414100000,
    accepted_at=1772414103217,
    event_at=1772414100000,
    time_mark="device",
    lon=114.07613,
    lat=34.70211,
    datum="WGS84",
    message_code="2011",
    period_s=0,
    backfilled=False,
    incomplete=False,
    values=(
        Value(factor="a34004", statistic="Rtd", value=35.2, unit="ug/m3", mark="N"),
        Value(factor="噪声", statistic="Rtd", value=None, unit="", mark="missing"),
    ),
)
DEAD_LETTER = DeadLetter(
    id="air/crc/9b1c",
    feed="air",
    vendor="",
    device="",
    reason="crc",
    detail="",
    raw=b"##0101\xff\x00",
    evidence_sha256=None,
    accepted_at=1772424000500,
    answered=False,
)

texts = st.text(max_size=20)
numbers = st.floats(allow_nan=False, allow_infinity=False)
times = st.integers(-62135596800000, 253402300799999)
common: dict[str, st.SearchStrategy[Any]] = {
    **dict.fromkeys(("id", "town", "device", "vendor", "kind", "time_mark", "datum", "message_code"), texts),
    "occurred_at": st.none() | times,
    "accepted_at": times,
    "event_at": times,
    "lon": st.none() | numbers,
    "lat": st.none() | numbers,
}
values = st.builds(Value, factor=texts, statistic=texts, value=st.none() | numbers, unit=texts, mark=texts)
alarm_values = st.builds(AlarmValue, factor=texts, value=st.none() | numbers, unit=texts, alarm_type=texts)
records: st.SearchStrategy[Record] = st.one_of(
    st.builds(
        Reading,
        **common,
        period_s=st.integers(-(2**31), 2**31 - 1),
        backfilled=st.booleans(),
        incomplete=st.booleans(),
        values=st.lists(values, max_size=5).map(tuple),
    ),
    st.builds(AirAlert, **common, signal=texts, values=st.lists(alarm_values, max_size=5).map(tuple)),
    st.builds(
        DeadLetter,
        **dict.fromkeys(("id", "feed", "vendor", "device", "reason", "detail"), texts),
        raw=st.binary(max_size=200),
        evidence_sha256=st.none() | texts,
        accepted_at=times,
        answered=st.booleans(),
    ),
)


@given(records)
def test_what_goes_in_comes_out(record: Record) -> None:
    assert WIRE.decode(WIRE.encode(record)) == record


def test_the_frame_is_confluents() -> None:
    data = WIRE.encode(READING)
    [schema] = Schemas.load().records["reading"]
    assert data[0] == 0
    assert int.from_bytes(data[1:5]) == schema.id >= LOWEST_LOCAL_ID
    assert data[5:].startswith(b"\x38" + READING.id.encode())  # a string: its length, zigzag, then UTF-8


def test_an_int_may_stand_for_a_double() -> None:
    decoded = WIRE.decode(WIRE.encode(dataclasses.replace(READING, lon=114)))
    assert isinstance(decoded, Reading)
    assert decoded.lon == 114.0


@pytest.mark.parametrize(
    "change",
    [
        {"lon": math.nan},
        {"lon": math.inf},
        {"lat": -math.inf},
        {"lat": True},
        {"lat": "34.7"},
        {"lat": 10**400},
        {"id": None},
        {"id": b"ZZ001"},
        {"id": "\ud800"},
        {"accepted_at": None},
        {"accepted_at": 1772414103217.0},
        {"accepted_at": 2**63},
        {"occurred_at": 253402300800000},
        {"occurred_at": True},
        {"period_s": 2**31},
        {"period_s": False},
        {"backfilled": 1},
        {"values": None},
        {"values": list(READING.values)},
        {"values": (None,)},
        {"values": ({"factor": "a34004"},)},
        {"values": (dataclasses.replace(READING.values[0], value=math.nan),)},
        {"values": (dataclasses.replace(READING.values[0], unit=None),)},  # type: ignore[arg-type]
    ],
    ids=repr,
)
def test_what_does_not_fit_is_not_written(change: dict[str, Any]) -> None:
    with pytest.raises(Rejected) as rejected:
        WIRE.encode(dataclasses.replace(READING, **change))
    assert rejected.value.reason is Reason.SCHEMA
    assert next(iter(change)) in rejected.value.detail or "surrogates" in rejected.value.detail


def test_a_rejection_names_the_field_and_keeps_its_content_to_itself() -> None:
    record = dataclasses.replace(READING, values=(dataclasses.replace(READING.values[0], mark=b"13800000000"),))  # type: ignore[arg-type]
    with pytest.raises(Rejected) as rejected:
        WIRE.encode(record)
    assert rejected.value.detail == "Reading: values: mark: bytes is not str"


def test_too_large_is_told_apart() -> None:
    WIRE.encode(dataclasses.replace(DEAD_LETTER, raw=bytes(MAX_BYTES - 100)))
    with pytest.raises(Rejected) as rejected:
        WIRE.encode(dataclasses.replace(DEAD_LETTER, raw=bytes(MAX_BYTES)))
    assert rejected.value.reason is Reason.TOO_LARGE


def rejected_detail(data: bytes) -> str:
    with pytest.raises(Rejected) as rejected:
        WIRE.decode(data)
    assert rejected.value.reason is Reason.SCHEMA
    return rejected.value.detail


@pytest.mark.parametrize("record", [READING, DEAD_LETTER], ids=["reading", "dead_letter"])
def test_every_truncation_is_rejected(record: Record) -> None:
    data = WIRE.encode(record)
    for length in range(len(data)):
        rejected_detail(data[:length])


def test_trailing_bytes_are_rejected() -> None:
    assert rejected_detail(WIRE.encode(READING) + b"\x00") == "1 bytes follow the record"


def test_an_unknown_id_is_rejected() -> None:
    assert "id 7 is not known" in rejected_detail(b"\x00\x00\x00\x00\x07" + WIRE.encode(READING)[5:])


def test_another_magic_byte_is_rejected() -> None:
    assert "header" in rejected_detail(b"\x01" + WIRE.encode(READING)[1:])


def test_a_record_under_the_id_of_another_is_rejected() -> None:
    rejected_detail(WIRE.encode(DEAD_LETTER)[:5] + WIRE.encode(READING)[5:])


def test_above_the_cap_nothing_is_looked_at() -> None:
    assert "above" in rejected_detail(WIRE.encode(READING)[:5] + bytes(MAX_BYTES))


def with_double(value: bytes) -> bytes:
    """The reading with the bytes of its longitude replaced."""
    data = WIRE.encode(READING)
    lon = struct.pack("<d", READING.lon)
    assert data.count(lon) == 1
    return data.replace(lon, value)


@pytest.mark.parametrize(
    "value", [b"\x00\x00\x00\x00\x00\x00\xf8\x7f", b"\x00\x00\x00\x00\x00\x00\xf0\x7f"], ids=["nan", "inf"]
)
def test_a_number_that_is_none_is_rejected(value: bytes) -> None:
    assert "finite" in rejected_detail(with_double(value))


@given(st.sampled_from([READING, DEAD_LETTER]), st.binary(max_size=300))
def test_any_bytes_give_a_record_or_a_rejection(record: Record, body: bytes) -> None:
    data = WIRE.encode(record)[:5] + body
    try:
        decoded = WIRE.decode(data)
    except Rejected:
        return
    assert WIRE.decode(WIRE.encode(decoded)) == decoded


@given(st.data())
def test_a_changed_byte_gives_a_record_or_a_rejection(data: st.DataObject) -> None:
    whole = bytearray(WIRE.encode(READING))
    whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    try:
        decoded = WIRE.decode(bytes(whole))
    except Rejected:
        return
    assert WIRE.decode(WIRE.encode(decoded)) == decoded


# ---- headers


def test_the_headers_are_cloudevents_and_trace_context() -> None:
    assert headers(READING) == [
        ("ce_specversion", b"1.0"),
        ("ce_id", b"ZZ001/2011/20260302091502857"),
        ("ce_source", b"/qingyuan/ZZ001"),
        ("ce_type", b"air.reading"),
        ("ce_time", b"2026-03-02T01:15:00.000Z"),
        ("content-type", b"application/avro"),
        # echo -n ZZ001/2011/20260302091502857 | sha256sum
        ("traceparent", b"00-ca57c40cae8e36163dcb740ee3e0a933-3cd85ea297b3d753-00"),
    ]


def test_without_the_devices_time_acceptance_stands_in() -> None:
    assert dict(headers(dataclasses.replace(READING, occurred_at=None)))["ce_time"] == b"2026-03-02T01:15:03.217Z"


def test_a_dead_letter_comes_from_its_feed() -> None:
    found = dict(headers(DEAD_LETTER))
    assert found["ce_source"] == b"/air"
    assert found["ce_type"] == b"gridhub.dead_letter"
    assert found["ce_time"] == b"2026-03-02T04:00:00.500Z"


def test_a_source_is_a_uri_reference() -> None:
    record = dataclasses.replace(READING, vendor="清源", device="A/1 ?")
    assert dict(headers(record))["ce_source"] == b"/%E6%B8%85%E6%BA%90/A%2F1%20%3F"


@given(records)
def test_headers_follow_from_the_record_alone(record: Record) -> None:
    assert headers(record) == headers(dataclasses.replace(record))


@pytest.mark.parametrize("change", [{"occurred_at": 2**62}, {"id": "\ud800"}], ids=repr)
def test_what_no_header_can_say_is_rejected(change: dict[str, Any]) -> None:
    with pytest.raises(Rejected):
        headers(dataclasses.replace(READING, **change))


# ---- versions

Edit = Callable[[dict[str, Any]], None]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for path in shipped("schemas").glob("*.avsc"):
        (tmp_path / path.name).write_text(path.read_text(encoding="utf-8"), encoding="utf-8")
    return tmp_path


def edited(folder: Path, source: str, target: str, edit: Edit) -> None:
    definition = json.loads((folder / source).read_text(encoding="utf-8"))
    edit(definition)
    (folder / target).write_text(json.dumps(definition), encoding="utf-8")


def field(definition: dict[str, Any], name: str) -> Any:
    [found] = [each for each in definition["fields"] if each["name"] == name]
    return found


def test_data_of_an_older_version_becomes_the_newest_record(folder: Path) -> None:
    """An older version of the dead letter: no `answered`, no `raw`, no `mark`, and an `attempts` that is gone since."""

    def older(definition: dict[str, Any]) -> None:
        definition["fields"] = [
            each for each in definition["fields"] if each["name"] not in ("answered", "raw", "mark")
        ]
        definition["fields"].insert(1, {"name": "attempts", "type": "int", "default": 0})

    edited(folder, "dead_letter.v2.avsc", "dead_letter.v1.avsc", older)
    schemas = Schemas.load(folder)
    old, new = schemas.records["dead_letter"]
    # id, attempts, feed, vendor, device, reason, detail, no evidence, accepted_at
    body = b"\x02a" + b"\x06" + b"\x06air" + b"\x00" + b"\x00" + b"\x06crc" + b"\x00" + b"\x00" + b"\x02"
    expected = dataclasses.replace(DEAD_LETTER, id="a", raw=b"", accepted_at=1)
    wire = Wire(schemas)
    assert wire.decode(b"\x00" + old.id.to_bytes(4) + body) == expected
    assert int.from_bytes(wire.encode(expected)[1:5]) == new.id


@pytest.mark.parametrize(
    "edit",
    [
        lambda definition: definition["fields"].pop(),
        lambda definition: definition["fields"].reverse(),
        lambda definition: definition.update(name="Unheard"),
        lambda definition: field(definition, "raw").update(type="fixed_later"),
        lambda definition: field(definition, "answered").update(type="float", default=0.0),
    ],
    ids=["missing", "order", "name", "type", "unused_type"],
)
def test_a_schema_that_is_not_the_class_is_misconfigured(folder: Path, edit: Edit) -> None:
    edited(folder, "dead_letter.v2.avsc", "dead_letter.v2.avsc", edit)
    with pytest.raises(Misconfigured):
        Wire.load(folder)
