"""The checker of what was put in finds nothing wrong where each such record came to the dead letters, and everything that is done to that.

The run is made up by hand: on two inputs a record that nobody sent, a town whose memory was spoilt, and an alert, a reading and an envelope that came for it
meanwhile.
"""

from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

import pytest

from tests.faults import poison_checker
from tests.faults.checker import Contract, Finding, Stored, Topics, Wrong, expected_headers, partition_of, place_of
from tests.faults.encoding import SCHEMAS, Fields, encoder
from tests.faults.poison_checker import Judgement, Poison, Sick

BEGIN = 1_772_424_000_000
SICK, OTHER, NO_TOWN = "410122106", "410122108", "000000000"
SPOILT, MENDED, DONE = BEGIN + 1_000, BEGIN + 5_000, BEGIN + 8_000
CONTRACT = Contract(SCHEMAS)
ENCODERS = {
    "readings": encoder("reading"),
    "alerts.air": encoder("air_alert"),
    "handed-over": encoder("handed_over"),
    "dead-letters": encoder("dead_letter", 2),
    "decisions": encoder("decision"),
    "journal": encoder("journal", 2),
}
HEADERS = (("ce_id", b"a"),)


@dataclass
class Story:
    """Writes what others have put in, and what a router makes of it."""

    records: list[Stored] = field(default_factory=list)

    def append(
        self, topic: str, at: int, key: str, value: bytes | Fields | None, headers: Iterable[tuple[str, bytes]] = ()
    ) -> Stored:
        partition = {"dead-letters": 0, "journal": partition_of(SICK.encode())}.get(topic, partition_of(key.encode()))
        written = ENCODERS[topic](value) if isinstance(value, dict) else value
        offset = sum((one.topic, one.partition) == (topic, partition) for one in self.records)
        stored = Stored(topic, partition, offset, at, key.encode(), tuple(headers), written)
        self.records.append(stored)
        return stored

    def kept(self, stored: Stored, reason: str) -> None:
        """A letter and, but for readings, a decision."""
        fields: Fields = {
            "id": stored.place,
            "feed": "router",
            "vendor": "",
            "device": "",
            "reason": reason,
            "detail": f"{stored.place}: cannot be read",
            "raw": stored.value or b"",
            "evidence_sha256": None,
            "accepted_at": stored.timestamp,
            "answered": True,
            "mark": "",
        }
        self.letter(fields, stored.timestamp + 5)
        if stored.topic != "readings":
            decision = {
                "id": stored.place,
                "town": NO_TOWN,
                "seq": 0,
                "origin": "record",
                "topic": stored.topic,
                "partition": stored.partition,
                "offset": stored.offset,
                "now": stored.timestamp,
                "outcome": "invalid",
                "reasons": [reason],
            }
            self.append("decisions", stored.timestamp, NO_TOWN, decision)

    def letter(self, fields: Fields, at: int) -> None:
        headers = ((name, text.encode()) for name, text in expected_headers("DeadLetter", fields).items())
        self.append("dead-letters", at, "router", fields, headers)

    def replayed(self, stored: Stored, topic: str, value: bytes | Fields | None, at: int) -> None:
        """Its letter comes to a topic once more, and is marked."""
        self.append(topic, at, SICK, value, stored.headers if stored.topic == topic else HEADERS)
        mark = {"id": stored.place, "feed": "router", "raw": b"", "reason": "quarantined", "mark": "replayed"}
        self.append("dead-letters", at + 5, "router", mark)

    def journal(self, at: int, *quarantined: str, registry: str = "1") -> None:
        versions = [{"name": "registry", "version": registry}]
        self.append("journal", at, "", {"at": at, "versions": versions, "quarantined": list(quarantined)})


def story() -> tuple[Poison, list[Stored]]:
    s = Story()
    put = [s.append("readings", BEGIN + 100, SICK, b"\xff"), s.append("alerts.air", BEGIN + 200, OTHER, None)]
    s.journal(BEGIN + 300)
    for stored in put:
        s.kept(stored, "schema")
    s.journal(SPOILT + 100, SICK)
    inside = ENCODERS["alerts.air"]({"id": "b", "town": OTHER})
    envelope = {"topic": "alerts.air", "value": inside, "headers": [{"name": n, "value": v} for n, v in HEADERS]}
    came = [
        s.append("alerts.air", SPOILT + 200, SICK, {"id": "a", "town": SICK}, HEADERS),
        s.append("alerts.air", SPOILT + 210, SICK, {"id": "a2", "town": SICK}, HEADERS),
        s.append("readings", SPOILT + 300, SICK, {"id": "r", "town": SICK}),
        s.append("handed-over", SPOILT + 400, SICK, envelope),
    ]
    for stored in came:
        s.kept(stored, "quarantined")
    s.journal(MENDED - 100)
    for number, stored in enumerate(came):
        again = stored.value if stored.topic != "handed-over" else {"id": "b", "town": SICK}
        topic = stored.topic if stored.topic != "handed-over" else "alerts.air"
        s.replayed(stored, topic, again, MENDED + 100 * (number + 1))
    s.journal(DONE + 100)
    sick = Sick(SICK, since=SPOILT, replaying=MENDED, until=DONE)
    return Poison({place_of(one): one.value for one in put}, (sick,), frozenset({1_000})), s.records


def found(poison: Poison, records: Iterable[Stored]) -> list[Finding]:
    in_order = sorted(records, key=lambda one: (one.topic, one.partition, one.offset))
    return poison_checker.findings(poison, Topics(tuple(in_order)), CONTRACT)


def wrongs(findings: Iterable[Finding]) -> set[Wrong]:
    return {one.wrong for one in findings}


def altered(stored: Stored, **fields: object) -> Stored:
    _, there = CONTRACT.decode(stored.value or b"")
    return replace(stored, value=ENCODERS[stored.topic]({**there, **fields}))


def fields_of(stored: Stored) -> Fields:
    return CONTRACT.decode(stored.value or b"")[1]


def each_letter() -> list[tuple[Stored, list[Stored]]]:
    _, records = story()
    letters = [one for one in records if one.topic == "dead-letters" and not fields_of(one)["mark"]]
    return [(one, [other for other in records if other is not one]) for one in letters]


def test_nothing_is_found_where_each_is_kept_once() -> None:
    poison, records = story()
    judged = Judgement(poison, Topics(tuple(records)), CONTRACT)
    assert judged.found == []
    reasons = [judged.aside.invalid[place] for place in judged.aside.invalid]
    assert reasons == ["schema"] * 2 + ["quarantined"] * 4
    assert (judged.aside.poison, len(judged.aside.letters)) == (frozenset(poison.inputs), 10)
    assert sorted(topic for topic, *_ in judged.aside.again) == ["alerts.air"] * 3 + ["readings"]


def test_a_letter_that_is_missing_is_found() -> None:
    """Of what was put in, at once; of what came to a sick town, by its mark, which is then one of nothing."""
    poison, _ = story()
    for letter, others in each_letter():
        expected = Wrong.LOST if fields_of(letter)["reason"] == "schema" else Wrong.UNEXPECTED
        assert expected in wrongs(found(poison, others))


def test_a_letter_that_is_there_twice_is_found() -> None:
    poison, _ = story()
    for letter, others in each_letter():
        assert Wrong.DOUBLE in wrongs(found(poison, [letter, replace(letter, offset=99), *others]))


def test_a_letter_altered_is_found() -> None:
    poison, _ = story()
    changes: list[tuple[Wrong, Fields]] = [
        (Wrong.FIELD, {"raw": b"x"}),
        (Wrong.FIELD, {"accepted_at": 1}),
        (Wrong.FIELD, {"answered": False}),
        (Wrong.FIELD, {"detail": "somewhere"}),
        (Wrong.FIELD, {"evidence_sha256": "x"}),
    ]
    for letter, others in each_letter():
        for wrong, change in changes:
            assert wrong in wrongs(found(poison, [altered(letter, **change), *others]))
        other = "poison" if fields_of(letter)["reason"] == "schema" else "schema"
        assert wrongs(found(poison, [altered(letter, reason=other), *others])) & {Wrong.REASON, Wrong.UNEXPECTED}
        assert Wrong.KEY in wrongs(found(poison, [replace(letter, key=b"air"), *others]))
        assert Wrong.HEADER in wrongs(found(poison, [replace(letter, headers=()), *others]))


def test_a_letter_of_what_nobody_put_in_is_found() -> None:
    """The exemption is of these places, and of this town."""
    poison, records = story()
    for place in poison.inputs:
        fewer = {one: value for one, value in poison.inputs.items() if one != place}
        assert Wrong.UNEXPECTED in wrongs(found(replace(poison, inputs=fewer), records))
    assert Wrong.UNEXPECTED in wrongs(found(replace(poison, sick=()), records))


def test_what_does_not_lie_where_it_was_put_is_found() -> None:
    poison, records = story()
    for place in poison.inputs:
        assert Wrong.LOST in wrongs(found(poison, [one for one in records if place_of(one) != place]))
        others = [replace(one, value=b"x") if place_of(one) == place else one for one in records]
        assert Wrong.LOST in wrongs(found(poison, others))


@pytest.mark.parametrize("since", [SPOILT + 250, SPOILT + 10_000])
def test_a_town_kept_aside_while_it_was_sound_is_found(since: int) -> None:
    poison, records = story()
    [sick] = poison.sick
    before = replace(poison, sick=(replace(sick, since=since, replaying=since + 1, until=DONE + since),))
    assert wrongs(found(before, records)) >= {Wrong.TIME, Wrong.UNEXPECTED}


def test_a_letter_that_is_not_replayed_is_found() -> None:
    poison, records = story()
    marks = [one for one in records if one.topic == "dead-letters" and fields_of(one)["mark"]]
    assert len(marks) == 4
    for mark in marks:
        others = [one for one in records if one is not mark]
        assert Wrong.LOST in wrongs(found(poison, others))
        assert Wrong.LOST in wrongs(found(poison, [*others, altered(mark, mark="dropped")]))
    again = Judgement(poison, Topics(tuple(records)), CONTRACT).aside.again
    for place in again:
        others = [one for one in records if place_of(one) != place]
        assert Wrong.LOST in wrongs(found(poison, others))
        [one] = [one for one in records if place_of(one) == place]
        for other in (altered(one, device="another"), replace(one, headers=(("x", b"y"),))):
            assert Wrong.LOST in wrongs(found(poison, [*others, other]))


def test_letters_replayed_in_another_order_are_found() -> None:
    poison, records = story()
    again = [one for one in records if one.topic == "alerts.air" and one.timestamp > MENDED]
    first, second = again[:2]
    others = [one for one in records if one not in (first, second)]
    swapped = [replace(first, offset=second.offset), replace(second, offset=first.offset)]
    assert Wrong.ORDER in wrongs(found(poison, [*others, *swapped]))


def each_decision() -> list[tuple[Stored, list[Stored]]]:
    _, records = story()
    decisions = [one for one in records if one.topic == "decisions"]
    return [(one, [other for other in records if other is not one]) for one in decisions]


def test_a_record_kept_without_a_decision_or_with_two_is_found() -> None:
    poison, _ = story()
    assert len(each_decision()) == 4
    for decision, others in each_decision():
        assert Wrong.UNDECIDED in wrongs(found(poison, others))
        assert Wrong.DECIDED_TWICE in wrongs(found(poison, [decision, replace(decision, offset=99), *others]))
        for change in ({"id": "x"}, {"town": SICK}, {"seq": 1}, {"outcome": "opened"}, {"reasons": ["poison"]}):
            assert Wrong.FIELD in wrongs(found(poison, [altered(decision, **change), *others]))


def journals(change: Callable[[int, Stored], Stored]) -> list[Stored]:
    """The records, with each of the journal's after a change."""
    _, records = story()
    journal = [one for one in records if one.topic == "journal"]
    return [change(journal.index(one), one) if one in journal else one for one in records]


@pytest.mark.parametrize(("number", "town"), [(0, SICK), (1, OTHER)])
def test_a_sound_town_in_quarantine_is_found(number: int, town: str) -> None:
    poison, _ = story()
    there = journals(lambda n, one: altered(one, quarantined=[town]) if n == number else one)
    assert Wrong.UNEXPECTED in wrongs(found(poison, there))


def test_a_quarantine_that_does_not_end_is_found() -> None:
    poison, _ = story()
    there = journals(lambda n, one: altered(one, quarantined=[SICK]) if n == 3 else one)
    assert Wrong.OVERDUE in wrongs(found(poison, there))


def test_a_registry_that_nobody_imported_in_force_is_found() -> None:
    poison, _ = story()
    other = [{"name": "registry", "version": "1000"}]
    there = journals(lambda n, one: altered(one, versions=other) if n == 2 else one)
    assert Wrong.FIELD in wrongs(found(poison, there))
