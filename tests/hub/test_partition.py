"""One partition: what a batch of records makes of it, in which order, and that nothing is true before it is committed."""

import math
from dataclasses import replace
from typing import Any
from unittest.mock import patch

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.core.errors import Reason
from hub.core.events import (
    AirAlert,
    AlarmValue,
    DeadLetter,
    Decision,
    HandedOver,
    Journal,
    Outcome,
    RouterState,
    Ticket,
)
from hub.core.in_force import InForce
from hub.core.registry import Registry
from hub.core.rules import Rules
from hub.core.town import Seen, Town, adopt, decide
from hub.core.watch import Episode, Period
from hub.partition import (
    FORWARDED_FROM,
    HANDED_OVER,
    Arrived,
    Outgoing,
    Partition,
    Poison,
    Step,
    Surroundings,
    Waiting,
    key_of,
    merged,
)
from hub.rulebook import rules_of
from hub.settings import DEFAULT_RULES
from hub.wire import Wire, headers
from tests.hub.core.one_town import reading, value

WIRE = Wire.load()
RULES = Rules(rules_of(DEFAULT_RULES), {})
FORCE = InForce(Registry(rules=RULES))
HERE, ELSEWHERE = 3, 7
TOWN, STRANGER = "410122106", "410122107"
AT = 1_772_416_800_000
AROUND = Surroundings(
    FORCE, WIRE, {TOWN: HERE, STRANGER: ELSEWHERE, "000000000": 5}.__getitem__, router=1, generation=4
)


def alarm(name: str, town: str = TOWN, signal: str = "begins") -> AirAlert:
    return AirAlert(
        id=name,
        town=town,
        device="ZA-1",
        vendor="acme",
        kind="air.device_alarm",
        occurred_at=AT,
        accepted_at=AT,
        event_at=AT,
        time_mark="device",
        lon=None,
        lat=None,
        datum="",
        message_code="2072",
        signal=signal,
        values=(AlarmValue(factor="a34002", value=412.0, unit="ug/m3", alarm_type="1"),),
    )


def arrived(
    record: AirAlert | bytes, offset: int, *, topic: str = "alerts.air", at: int = AT, town: str = TOWN
) -> Arrived:
    if isinstance(record, bytes):
        return Arrived(topic, HERE, offset, at, town.encode(), record)
    return Arrived(topic, HERE, offset, at, record.town.encode(), WIRE.encode(record), tuple(headers(record)))


def written(step: Step, topic: str) -> list[object]:
    return [WIRE.decode(one.value) for one in step.outgoing if one.topic == topic and one.value is not None]


def test_an_alarm_becomes_a_ticket_a_step_a_decision_memory_and_a_journal_record() -> None:
    step = Partition(HERE).apply([arrived(alarm("a1"), 5)], AT + 9, AROUND)
    assert [one.topic for one in step.outgoing] == [
        *("tickets", "ticket-events", "decisions"),
        *["router-state"] * 5,  # ticket, episode, id, the town's clock, the partition's own
        "journal",
    ]
    (ticket,) = written(step, "tickets")
    (journal,) = written(step, "journal")
    assert isinstance(ticket, Ticket)
    assert isinstance(journal, Journal)
    assert {one.partition for one in step.outgoing} == {HERE}
    assert [one.key for one in step.outgoing if one.topic == "tickets"] == [ticket.id.encode()]
    assert (journal.number, journal.router, journal.generation, journal.at) == (1, 1, 4, AT + 9)
    assert [(some.topic, some.first, some.last) for some in journal.ranges] == [("alerts.air", 5, 5)]
    assert step.next == {"alerts.air": 6}


def test_nothing_is_true_before_it_is_adopted() -> None:
    partition = Partition(HERE)
    batch = [arrived(alarm("a1"), 5)]
    first, again = partition.apply(batch, AT, AROUND), partition.apply(batch, AT, AROUND)
    assert first.outgoing == again.outgoing
    partition.adopt(first)
    (decision,) = written(partition.apply([arrived(alarm("a1"), 6)], AT, AROUND), "decisions")
    assert isinstance(decision, Decision)
    assert (decision.outcome, decision.seq) == (Outcome.REPEATED, 2)


def test_what_the_changelog_holds_is_the_partition_again() -> None:
    partition = Partition(HERE)
    changelog: dict[bytes, bytes | None] = {}
    for offset, signal in enumerate(("begins", "goes_on", "ends", "begins")):
        step = partition.apply([arrived(alarm(f"a{offset}", signal=signal), offset)], AT + offset, AROUND)
        changelog |= {one.key: one.value for one in step.outgoing if one.topic == "router-state"}
        partition.adopt(step)
    entries = [WIRE.decode(value) for value in changelog.values() if value is not None]
    states = [entry for entry in entries if isinstance(entry, RouterState)]
    assert {key_of(state) for state in states} == {key.decode() for key, value in changelog.items() if value}
    restored = Partition.restored(HERE, reversed(states))
    assert list(restored.entries()) == list(partition.entries())
    assert restored.next == partition.next == {"alerts.air": 4}
    restored.goes_on_at({"alerts.air": 4, "readings": 0})  # as of a group that has never read the other
    batch = [arrived(alarm("a9", signal="ends"), 9)]
    assert restored.apply(batch, AT, AROUND).outgoing == partition.apply(batch, AT, AROUND).outgoing


def test_a_record_of_another_partition_is_copied_there_once_with_its_headers() -> None:
    stray = arrived(alarm("a1", STRANGER), 5)
    step = Partition(HERE).apply([stray], AT, AROUND)
    (copy,) = [one for one in step.outgoing if one.topic == "handed-over"]
    envelope = WIRE.decode(copy.value or b"")
    assert isinstance(envelope, HandedOver)
    assert (copy.partition, copy.key) == (ELSEWHERE, STRANGER.encode())
    assert (envelope.topic, envelope.partition, envelope.offset, envelope.key) == (
        "alerts.air",
        HERE,
        5,
        STRANGER.encode(),
    )
    assert envelope.value == stray.value
    assert copy.headers == (*stray.headers, (FORWARDED_FROM, b"alerts.air/3/5"))
    (decision,) = written(step, "decisions")
    assert isinstance(decision, Decision)
    assert (decision.outcome, decision.seq) == (Outcome.FORWARDED, 0)
    assert [one.partition for one in step.outgoing if one.topic == "decisions"] == [ELSEWHERE]
    assert not step.towns


def test_a_handed_over_record_is_decided_and_never_handed_over_again() -> None:
    def envelope(town: str) -> bytes:
        stray = arrived(alarm("a1", town), 5)
        return WIRE.encode(
            HandedOver(topic="alerts.air", partition=1, offset=5, key=None, value=stray.value or b"", headers=())
        )

    step = Partition(HERE).apply([arrived(envelope(TOWN), 0, topic="handed-over")], AT, AROUND)
    assert [one.outcome for one in written(step, "decisions") if isinstance(one, Decision)] == [Outcome.OPENED]
    wrong = Partition(HERE).apply([arrived(envelope(STRANGER), 0, topic="handed-over", town=STRANGER)], AT, AROUND)
    assert not [one for one in wrong.outgoing if one.topic == "handed-over"]
    assert wrong.letters == [Reason.SCHEMA]


@pytest.mark.parametrize("topic", ["alerts.air", "readings"])
def test_what_cannot_be_read_is_kept_and_the_next_is_decided(topic: str) -> None:
    batch = [arrived(b"\x00garbage", 5, topic=topic), arrived(alarm("a1"), 6)]
    step = Partition(HERE).apply(batch, AT, AROUND)
    (letter,) = written(step, "dead-letters")
    assert isinstance(letter, DeadLetter)
    assert (letter.feed, letter.reason, letter.raw) == ("router", "schema", b"\x00garbage")
    outcomes = [one.outcome for one in written(step, "decisions") if isinstance(one, Decision)]
    assert outcomes == ([Outcome.INVALID] if topic == "alerts.air" else []) + [Outcome.OPENED]
    assert step.applied == ([Outcome.INVALID] if topic == "readings" else [])


def test_a_record_under_the_key_of_another_town_is_kept_and_one_without_a_key_decided() -> None:
    """What the key says orders it, what the record says decides it: where they differ, one of both is wrong. No key says nothing wrong."""
    falsely = replace(arrived(alarm("a1"), 5), key=STRANGER.encode())
    without = replace(arrived(alarm("a2"), 6), key=None)
    step = Partition(HERE).apply([falsely, without], AT, AROUND)
    (letter,) = written(step, "dead-letters")
    assert isinstance(letter, DeadLetter)
    assert (letter.id, letter.reason, letter.raw) == (falsely.place, "schema", falsely.value)
    assert letter.detail == f"{falsely.place}: the key is not the town {TOWN}, which the record names"
    outcomes = [one.outcome for one in written(step, "decisions") if isinstance(one, Decision)]
    assert outcomes == [Outcome.INVALID, Outcome.OPENED]


@pytest.mark.parametrize("town", ["", "41012210", "4101221060", "41012210x", "410122106|seen", "４１０１２２１０６"])
def test_a_town_that_is_no_code_is_nobodys(town: str) -> None:
    """It would be remembered under a key that says no town, or another one."""
    everywhere = replace(AROUND, partition_of=lambda _: HERE)
    envelope = HandedOver(
        topic="alerts.air", partition=1, offset=5, key=None, value=WIRE.encode(alarm("a2")), headers=()
    )
    handed = arrived(WIRE.encode(envelope), 6, topic="handed-over")
    step = Partition(HERE).apply([arrived(alarm("a1", town), 5), replace(handed, key=town.encode())], AT, everywhere)
    assert step.letters == [Reason.SCHEMA] * 2
    assert not step.towns


def test_a_record_too_large_for_a_letter_is_told_by_hash_and_place() -> None:
    (letter,) = written(Partition(HERE).apply([arrived(b"x" * 600_000, 5)], AT, AROUND), "dead-letters")
    assert isinstance(letter, DeadLetter)
    assert (letter.raw, letter.id) == (b"", "alerts.air/3/5")
    assert letter.evidence_sha256


def test_a_record_that_makes_decide_fail_is_named_and_alone_it_is_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    def decide(*arguments: object) -> object:
        event = arguments[1]
        assert getattr(event, "offset", None) != 6, "a defect"
        return town_decide(*arguments)  # type: ignore[arg-type]

    from hub.core.town import decide as town_decide

    monkeypatch.setattr("hub.partition.decide", decide)
    batch = [arrived(alarm(f"a{offset}"), offset) for offset in (5, 6, 7)]
    with pytest.raises(Poison) as failed:
        Partition(HERE).apply(batch, AT, AROUND)
    assert failed.value.arrived.offset == 6
    step = Partition(HERE).apply(batch[1:2], AT, AROUND, poisoned=True)
    assert step.letters == [Reason.POISON]
    (decision,) = written(step, "decisions")
    assert isinstance(decision, Decision)
    assert (decision.outcome, decision.reasons) == (Outcome.INVALID, ("poison",))


def test_ticks_that_have_an_effect_are_written_down_and_a_replay_takes_them() -> None:
    rules = Rules(RULES.all, {})
    town = Town(TOWN, {"town": {"": replace(Town(TOWN, {}).clock, due=AT, forget_at=AT, now=AT - 5)}})
    around = replace(AROUND, force=InForce(Registry(rules=rules)))
    live = Partition(HERE, towns={TOWN: town})
    step = live.apply([], AT + 1, around, ticks=None)
    (journal,) = written(step, "journal")
    assert isinstance(journal, Journal)
    assert [(one.town, one.now) for one in journal.ticks] == [(TOWN, AT + 1)]
    again = Partition(HERE, towns={TOWN: town}).apply([], AT + 1, around, ticks=journal.ticks)
    assert again.outgoing == step.outgoing
    live.adopt(step)
    assert not live.apply([], AT + 2, around, ticks=None).ticks


# ---- quarantine

NEIGHBOUR = "410122108"
BOTH = replace(AROUND, partition_of={TOWN: HERE, NEIGHBOUR: HERE, "000000000": 5}.__getitem__)


@pytest.mark.parametrize("topic", ["alerts.air", "handed-over"])
def test_what_a_town_in_quarantine_is_sent_is_kept_and_its_neighbour_decided(topic: str) -> None:
    partition = Partition(HERE)
    partition.quarantine({TOWN})
    sent = arrived(alarm("a1"), 5, at=AT - 1)
    if topic == HANDED_OVER:
        envelope = HandedOver(topic="alerts.air", partition=1, offset=5, key=None, value=sent.value or b"", headers=())
        sent = arrived(WIRE.encode(envelope), 5, topic=HANDED_OVER, at=AT - 1)
    step = partition.apply([sent, arrived(alarm("b1", NEIGHBOUR), 6)], AT, BOTH)
    (letter,) = written(step, "dead-letters")
    assert isinstance(letter, DeadLetter)
    assert (letter.id, letter.reason, letter.raw) == (sent.place, "quarantined", sent.value)
    decisions = [one for one in written(step, "decisions") if isinstance(one, Decision)]
    assert [(one.id, one.outcome, one.reasons) for one in decisions] == [
        (sent.place, Outcome.INVALID, ("quarantined",)),
        ("b1", Outcome.OPENED, decisions[1].reasons),
    ], "one decision for each record; the alert itself has none yet"
    assert set(step.towns) == {NEIGHBOUR}
    (journal,) = written(step, "journal")
    assert isinstance(journal, Journal)
    assert journal.quarantined == (TOWN,)


def test_a_reading_for_a_town_in_quarantine_is_kept_and_counted() -> None:
    partition = Partition(HERE)
    partition.quarantine({TOWN})
    one = reading(value(1.0), code="2061", occurred_at=AT, period_s=3600, accepted_at=AT, town=TOWN)
    step = partition.apply([arrived(WIRE.encode(one), 5, topic="readings")], AT, BOTH)
    assert (step.letters, step.applied) == ([Reason.QUARANTINED], [Outcome.INVALID])
    assert not written(step, "decisions")


def test_time_does_not_pass_in_quarantine() -> None:
    town = Town(TOWN, {"town": {"": replace(Town(TOWN, {}).clock, due=AT)}})
    partition = Partition(HERE, towns={TOWN: town}, versions=FORCE.versions)
    assert partition.due(AT)
    partition.quarantine({TOWN})
    assert not partition.due(AT)
    assert not partition.apply([], AT + 1, AROUND, ticks=None).ticks


def test_a_town_that_comes_out_of_quarantine_is_brought_under_what_is_in_force_by_itself() -> None:
    """A registry may have come meanwhile; of the others nothing is looked at again."""
    partition = Partition(HERE)
    partition.adopt(partition.apply([arrived(alarm("a1"), 1), arrived(alarm("b1", NEIGHBOUR), 2)], AT, BOTH))
    assert partition.settled(FORCE.versions)
    partition.quarantine({TOWN})
    assert not partition.settled(FORCE.versions)
    other = InForce(Registry(version=2, rules=RULES))
    partition.adopt(partition.apply([], AT, replace(BOTH, force=other)))
    assert partition.settled(other.versions)
    partition.quarantine(())
    assert not partition.settled(other.versions)
    with patch("hub.partition.adopt", side_effect=adopt) as adopting:
        step = partition.apply([], AT, replace(BOTH, force=other))
    assert [call.args[0].code for call in adopting.call_args_list] == [TOWN]
    assert step.adopted
    partition.adopt(step)
    assert partition.settled(other.versions)


@pytest.mark.parametrize("what", ["decide", "adopt"])
def test_a_town_on_which_the_program_fails_without_a_record_is_in_quarantine(
    monkeypatch: pytest.MonkeyPatch, what: str
) -> None:
    """What else would it be, at each start? A replay does the same from the journal's word, also where it does not fail any more."""
    due = replace(Town(TOWN, {}).clock, due=AT, forget_at=AT)
    towns = {code: Town(code, {"town": {"": due}}) for code in (TOWN, NEIGHBOUR)}
    versions = FORCE.versions if what == "decide" else ()
    live, again = (Partition(HERE, 4, towns, versions=versions) for _ in range(2))
    right: Any = {"decide": decide, "adopt": adopt}[what]

    def wrong(town: Town, *rest: Any) -> object:
        assert town.code != TOWN, "no open ticket"
        return right(town, *rest)

    with monkeypatch.context() as patched:
        patched.setattr(f"hub.partition.{what}", wrong)
        step = live.apply([], AT + 1, BOTH, ticks=None)
    assert set(step.failed) == {TOWN}
    assert "AssertionError" in step.failed[TOWN]
    assert set(step.towns) == {NEIGHBOUR}
    (journal,) = written(step, "journal")
    assert isinstance(journal, Journal)
    assert (journal.quarantined, [one.town for one in journal.ticks]) == ((TOWN,), [NEIGHBOUR])
    again.quarantine(journal.quarantined)
    assert again.apply([], AT + 1, BOTH, ticks=journal.ticks).outgoing == step.outgoing
    live.adopt(step)
    assert live.settled(FORCE.versions)
    # The next start tries it once more.
    entries = [WIRE.decode(one.value) for one in step.outgoing if one.topic == "router-state" and one.value]
    restored = Partition.restored(HERE, [one for one in entries if isinstance(one, RouterState)])
    restored.quarantine(())
    assert restored.released == {TOWN}


def test_what_cannot_be_written_of_a_town_is_not_written_at_all(monkeypatch: pytest.MonkeyPatch) -> None:
    """Time alone brings about something that fits into no record, behind something that does."""
    due = replace(Town(TOWN, {}).clock, due=AT)
    opened = Partition(HERE).apply([arrived(alarm("a1"), 5)], AT, AROUND)
    ticket = written(opened, "tickets")[0]
    assert isinstance(ticket, Ticket)

    def outputs(town: Town, *_: object) -> object:
        return town.with_({("town", ""): replace(due, due=None)}), (ticket, replace(ticket, device="x" * 2_000_000))

    monkeypatch.setattr("hub.partition.decide", outputs)
    partition = Partition(HERE, towns={TOWN: Town(TOWN, {"town": {"": due}})}, versions=FORCE.versions)
    step = partition.apply([], AT, AROUND, ticks=None)
    assert [one.topic for one in step.outgoing] == ["router-state", "journal"]
    assert (set(step.failed), step.towns, step.ticks) == ({TOWN}, {}, [])


@pytest.mark.parametrize("name", ["x" * 2_000_000, "\ud800"], ids=["too large", "no text"])
def test_a_town_whose_memory_could_not_be_written_is_in_quarantine_as_it_was(
    monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    """Without a record there is nothing to take apart: the process would end, at each start."""
    due = replace(Town(TOWN, {}).clock, due=AT)
    towns = {code: Town(code, {"town": {"": due}}) for code in (TOWN, NEIGHBOUR)}

    def changed(town: Town, *rest: Any) -> object:
        if town.code == TOWN:
            return town.with_({("seen", "a1"): Seen(1, name, "")}), ()
        return decide(town, *rest)

    monkeypatch.setattr("hub.partition.decide", changed)
    step = Partition(HERE, 4, towns, versions=FORCE.versions).apply([], AT + 1, BOTH, ticks=None)
    assert (set(step.failed), set(step.towns)) == ({TOWN}, {NEIGHBOUR})
    assert [one.town for one in step.ticks] == [NEIGHBOUR]


def test_a_record_whose_memory_could_not_be_written_is_poison_whatever_the_reason(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A mean without end is no JSON, and no defect of any other record."""

    def endless(town: Town, *_: object) -> object:
        return town.with_({("episode", "a1"): Episode(periods=(Period(AT, math.inf),))}), ()

    monkeypatch.setattr("hub.partition.decide", endless)
    partition, one = Partition(HERE), arrived(alarm("a1"), 5)
    with pytest.raises(Poison) as poison:
        partition.apply([one], AT, AROUND)
    assert poison.value.arrived == one
    assert partition.apply([one], AT, AROUND, poisoned=True).letters == [Reason.POISON]


# ---- the order of inputs


def at(topic: str, offset: int, time: int) -> Arrived:
    return Arrived(topic, HERE, offset, time, None, b"")


def test_records_are_merged_by_broker_time_topic_and_offset() -> None:
    batch = [at("readings", 1, 10), at("readings", 2, 20), at("alerts.air", 8, 10), at("alerts.air", 9, 15)]
    assert [(one.topic, one.offset) for one in merged(reversed(batch))] == [
        ("alerts.air", 8), ("readings", 1), ("alerts.air", 9), ("readings", 2),
    ]  # fmt: skip


def test_a_brokers_clock_that_goes_back_changes_no_order_within_a_topic() -> None:
    batch = [at("readings", 1, 100), at("readings", 2, 50), at("alerts.air", 1, 60)]
    assert [(one.topic, one.offset) for one in merged(batch)] == [("alerts.air", 1), ("readings", 1), ("readings", 2)]


def test_nothing_overtakes_what_another_input_still_holds() -> None:
    waiting = Waiting()
    waiting.add([at("alerts.air", 1, 100), at("alerts.air", 2, 900)])
    assert waiting.take({"readings"}, 10) == []
    waiting.add([at("readings", 1, 50), at("readings", 2, 300)])
    assert [one.at for one in waiting.take({"readings"}, 10)] == [50, 100, 300]
    assert waiting.ahead({"readings"}) == {"alerts.air"}
    assert waiting.take({"readings"}, 10) == []
    assert [one.at for one in waiting.take(set(), 10)] == [900]
    assert not waiting


RECORDS = st.lists(st.tuples(st.sampled_from(["readings", "alerts.air"]), st.integers(0, 50)), max_size=30)


@given(RECORDS, st.data())
def test_however_polls_cut_the_inputs_they_are_applied_in_one_order(
    times: list[tuple[str, int]], data: st.DataObject
) -> None:
    inputs: dict[str, list[Arrived]] = {"readings": [], "alerts.air": []}
    for topic, time in sorted(times, key=lambda one: one[1]):
        inputs[topic].append(at(topic, len(inputs[topic]), time))
    waiting, applied = Waiting(), []
    left = {topic: list(some) for topic, some in inputs.items()}
    while any(left.values()) or waiting:
        topic = data.draw(st.sampled_from([topic for topic, some in left.items() if some] or ["readings"]))
        count = data.draw(st.integers(1, 3))
        waiting.add(left[topic][:count])
        left[topic] = left[topic][count:]
        applied += waiting.take({topic for topic, some in left.items() if some}, data.draw(st.integers(1, 5)))
    assert [one.at for one in applied] == sorted(one.at for one in applied)
    for topic, some in inputs.items():
        assert [one for one in applied if one.topic == topic] == some


def test_outgoing_tombstones_have_no_value() -> None:
    partition = Partition(HERE)
    partition.adopt(partition.apply([arrived(alarm("a1"), 1)], AT, AROUND))
    step = partition.apply([arrived(alarm("a2", signal="ends"), 2)], AT, AROUND)
    gone: list[Outgoing] = [one for one in step.outgoing if one.value is None]
    assert {one.key.decode().split("|")[1] for one in gone} == {"ticket", "episode"}


def test_a_record_whose_memory_would_be_too_large_is_found_and_alone_it_is_kept() -> None:
    """An entry can be larger than the record was. A changelog that cannot be written must not end the router each time it comes back."""
    large = arrived(replace(alarm("a" * 500_000), device='"' * 300_000), 6)
    batch = [arrived(alarm("a1"), 5), large, arrived(alarm("a3"), 7)]
    while len(batch) > 1:  # as the router takes a batch apart
        with pytest.raises(Poison) as poison:
            Partition(HERE).apply(batch, AT, AROUND)
        place = batch.index(poison.value.arrived)
        parts = [batch[:place], batch[place : place + 1], batch[place + 1 :]]
        [batch] = [some for some in parts if large in some]
    with pytest.raises(Poison):
        Partition(HERE).apply(batch, AT, AROUND)
    step = Partition(HERE).apply(batch, AT, AROUND, poisoned=True)
    assert step.letters == [Reason.POISON]
    assert not step.towns
