"""Personal data is found wherever it is planted, and what only looks like it is not."""

from collections.abc import Iterator
from dataclasses import replace
from hashlib import sha256
from pathlib import Path
from random import Random
from typing import Any
from urllib.parse import quote
from uuid import UUID

import pytest

from tests.faults import personal_checker
from tests.faults.checker import Contract, Finding, Stored, Wrong
from tests.faults.encoding import SCHEMAS, Fields, encoder
from tests.faults.personal_checker import TOPICS, VEHICLE, WORDS, personal
from tests.planted import IDENTITY_CARD, MOBILE, PERSON, PLATE

CONTRACT = Contract(SCHEMAS)
ENCODERS = {
    "readings": encoder("reading"),
    "alerts.air": encoder("air_alert"),
    "alerts.camera": encoder("camera_alert"),
    "alerts.patrol": encoder("patrol_alert"),
    "handed-over": encoder("handed_over"),
    "dead-letters": encoder("dead_letter", 2),
    "life-signs": encoder("life_sign"),
    "tickets": encoder("ticket", 2),
    "ticket-events": encoder("ticket_event", 2),
    "decisions": encoder("decision"),
    "journal": encoder("journal"),
}
GIVEN: dict[str, Fields] = {
    "handed-over": {"value": b"x"},
    "dead-letters": {"raw": b"", "evidence_sha256": sha256(b"x").hexdigest()},
}
"""Where a default says nothing."""
NUMBERS = (
    *(MOBILE, "19912345678", "+8613987650142", "139-8765-0142", "139 8765 0142", "0371-65901234"),
    *(
        IDENTITY_CARD,
        "410122197902283517",
        PLATE,
        "京A12345",
        "粤B·D12345",
        "沪ad12345",
        "豫A 12345",
        "京AD12345",
        "川A1234警",
    ),
)
HARMLESS = (
    "1772424000123",  # milliseconds
    "1772424000123456789",
    "20260302120000123",
    "plain/2011/20260302120000123/1",
    "113.13987650142",
    "1.3987650142e+10",
    "13987650142.5",
    "410122106001001",
    "41012200000002",
    "34020000001320000001",
    "0100031C05318848BA78BA04",
    "410122-202603-10001",
    "WJ2026030210001",
    "zhengan-cam-2/2/fireDetection/1/20260302T010000Z/active",
    "2026-03-02T13:59:59.876+08:00",
    "period 20260302T040000Z/PT10S",
    "mean 180.139876, limit 150 ug/m3",
    "京东A座",
    "云ROUTER",
    "新版本ABCDEF",
    "12345",
)


def records() -> Iterator[tuple[Stored, Fields]]:
    """One of each topic, and what it says; each has all fields, and a list where a list may be."""
    picture = {"sha256": sha256(b"x").hexdigest(), "media_type": "image/jpeg", "bytes": 1, "name": "1.jpg"}
    lists: dict[str, list[Any]] = {
        "evidence": [picture],
        "photos": ["https://img.example/1.jpg"],
        "reasons": ["signal"],
        "versions": [{"name": "rules", "version": "d98445693f52cd17"}],
        "ranges": [{"topic": "readings", "first": 0, "last": 1}],
        "ticks": [{"town": "410122106", "now": 1_772_424_000_123}],
        "headers": [{"name": "ce_id", "value": b"x"}],
    }
    for topic in TOPICS:
        fields = CONTRACT.decode(ENCODERS[topic](GIVEN.get(topic, {})))[1]
        value = {"factor": "a34002", "unit": "ug/m3"} | ({"mark": "N"} if topic == "readings" else {"alarm_type": "1"})
        fields |= {name: one for name, one in lists.items() if name in fields}
        fields |= {"values": [value | {"value": 200.0}]} if "values" in fields else {}
        headers = (("ce_id", f"410122106-{'1398765014200abc'}".encode()), ("ce_source", quote("/郑庵").encode()))
        yield Stored(topic, 3, 7, 1_772_424_000_123, b"410122106", headers, ENCODERS[topic](fields)), fields


def found_in(*stored: Stored, known: tuple[str, ...] = ()) -> list[Finding]:
    return personal_checker.findings(CONTRACT, stored, known=known)


def planted(value: Any, text: str) -> Iterator[Any]:
    """The value with the text in each of its texts in turn."""
    match value:
        case str():
            yield text
            yield f"{value} {text}"
        case list():
            for at, one in enumerate(value):
                for other in planted(one, text):
                    yield [*value[:at], other, *value[at + 1 :]]
        case dict():
            for name in value:
                for other in planted(value[name], text):
                    yield value | {name: other}


@pytest.mark.parametrize("text", NUMBERS)
def test_a_number_is_known_by_its_form(text: str) -> None:
    for said in (text, f"电话{text}，", f"tel:{text}", f'{{"x": "{text}"}}', f"x/{text}/y"):
        assert personal(said), said
        assert personal(said.encode("unicode_escape").decode())
        assert personal(repr(said.encode()))
        assert personal(quote(said))


@pytest.mark.parametrize("text", HARMLESS)
def test_what_only_looks_like_one_is_none(text: str) -> None:
    assert personal(text) == ()


def test_hashes_and_numbers_of_machines_are_none() -> None:
    """By chance each of some thousand holds what would be a telephone number."""
    chance = Random(1)
    for number in range(50_000):
        digest = sha256(str(number).encode()).hexdigest()
        for text in (digest, f"410122106-{digest[:16]}", f"00-{digest[:32]}-{digest[32:48]}-00", digest[:24].upper()):
            assert personal(text) == (), text
        assert personal(str(UUID(int=chance.getrandbits(128), version=4))) == ()
    assert personal("ab1398765014200c") == ()


def test_nothing_is_found_where_nothing_is() -> None:
    assert {stored.topic for stored, _ in records()} == set(ENCODERS) == set(TOPICS)
    for stored, _ in records():
        assert found_in(stored, known=(PERSON,)) == []


def test_it_is_found_in_each_field_that_needs_none() -> None:
    """And nowhere else: a sender's own words may hold what a person wrote."""
    altered = 0
    for stored, fields in records():
        for name, value in fields.items():
            for text in (MOBILE, IDENTITY_CARD, PLATE, PERSON):
                for other in planted(value, text):
                    one = replace(stored, value=ENCODERS[stored.topic](fields | {name: other}))
                    found = {(one.where, one.wrong) for one in found_in(one, known=(PERSON,))}
                    is_open = name in WORDS.get(stored.topic, ())
                    assert found == (set() if is_open else {(stored.place, Wrong.PERSONAL)}), (stored.topic, name, text)
                    altered += not is_open
    assert altered > 500


def test_the_fields_that_may_hold_some_are_those_of_the_schemas() -> None:
    """A field that is new, or is gone, is judged until someone has thought of it."""
    for stored, fields in records():
        assert WORDS.get(stored.topic, frozenset()) <= fields.keys()


def test_it_is_found_in_keys_and_headers_of_every_topic() -> None:
    for stored, _ in records():
        for text in (MOBILE, IDENTITY_CARD, PLATE, PERSON):
            others = [replace(stored, key=text.encode())]
            others += [replace(stored, headers=(*stored.headers, ("x", said.encode()))) for said in (text, quote(text))]
            for one in others:
                assert {(one.where, one.wrong) for one in found_in(one, known=(PERSON,))} == {
                    (stored.place, Wrong.PERSONAL)
                }
                assert text not in str(found_in(one, known=(PERSON,)))


def test_an_alert_of_a_vehicle_holds_neither_plate_nor_words_nor_picture() -> None:
    stored, fields = next((stored, fields) for stored, fields in records() if stored.topic == "alerts.camera")
    sound = fields | {"kind": VEHICLE, "evidence": [], "description": ""}
    for to, is_wrong in (
        ({}, False),
        ({"evidence": fields["evidence"]}, True),
        ({"description": "a car"}, True),
        ({"target": PLATE}, True),
        ({"region": PLATE}, True),
    ):
        found = found_in(replace(stored, value=ENCODERS["alerts.camera"](sound | to)))
        assert {one.wrong for one in found} == ({Wrong.PERSONAL} if is_wrong else set()), to


def test_it_is_found_in_logs_and_metrics() -> None:
    """Each line that holds some."""
    for text in (MOBILE, IDENTITY_CARD, PLATE, PERSON):
        texts = {
            "camera.log": f'{{"event": "serving"}}\n{{"event": "refused", "why": "{text.encode("unicode_escape").decode()}"}}\n',
            "metrics": f'gridhub_messages_total{{feed="air"}} 13987650142.0\ngridhub_x{{device="{text}"}} 1.0\n',
        }
        found = personal_checker.findings(CONTRACT, [], texts, (PERSON,))
        assert [(one.where, one.wrong) for one in found] == [
            ("camera.log line 2", Wrong.PERSONAL),
            ("metrics line 2", Wrong.PERSONAL),
        ]


def test_what_is_no_record_is_found_and_a_deleted_one_is_none() -> None:
    stored, _ = next(records())
    assert [one.wrong for one in found_in(replace(stored, value=b"\0"))] == [Wrong.UNREADABLE]
    assert found_in(replace(stored, value=None)) == []


def test_the_roster_tells_the_names(tmp_path: Path) -> None:
    (tmp_path / "roster.csv").write_text("person,name,role\nw01,欧阳植入,worker\nw02,王五,head\n", encoding="utf-8-sig")
    assert personal_checker.names(tmp_path) == {PERSON, "王五"}
