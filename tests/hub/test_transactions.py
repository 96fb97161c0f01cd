"""The router's clients, as far as they need no Kafka: what they are told, and what becomes of each error they can raise."""

from collections.abc import Iterator
from inspect import signature
from typing import Any
from unittest import mock

import pytest
from kafka import TopicPartition, errors
from kafka.coordinator.assignors.range import RangePartitionAssignor
from kafka.errors import KafkaError, KafkaTimeoutError

from hub.core.errors import HubError, Unavailable, UnknownOutcome
from hub.partition import HANDED_OVER, INPUTS, Outgoing
from hub.settings import RouterSettings, Settings
from hub.transactions import (
    ASK_ENDS_EVERY_S,
    FLUSH_WITHIN_S,
    Aborted,
    Fenced,
    Member,
    Transactions,
    Watchdog,
    Whole,
)

SETTINGS = Settings()
OUTGOING = [Outgoing("decisions", 3, b"k", b"v", (), 0)]
EVERY = sorted(
    (one for one in vars(errors).values() if isinstance(one, type) and issubclass(one, KafkaError)),
    key=lambda one: one.__name__,
)
BEFORE = ("begin_transaction", "send", "flush", "send_offsets_to_transaction")


@pytest.fixture
def client() -> Iterator[mock.Mock]:
    """Stands for the library's producer."""
    with mock.patch("hub.transactions.KafkaProducer") as made:
        made.return_value.send.return_value = mock.Mock(
            is_done=True, exception=None, **{"succeeded.return_value": True}
        )
        yield made


@pytest.fixture
def slot(client: mock.Mock) -> Transactions:
    del client
    made = Transactions(SETTINGS, 4, Watchdog(lambda *_: None))
    made.renew()
    return made


def raised(slot: Transactions) -> HubError | None:
    try:
        slot.commit(OUTGOING, {("readings", 3): 7}, object())
    except HubError as error:
        return error
    return None


@pytest.mark.parametrize("step", BEFORE)
def test_whatever_fails_before_the_commit_has_not_happened_whichever_error_it_is(
    slot: Transactions, client: mock.Mock, step: str
) -> None:
    """4.5. And nothing else is asked of that producer, which remembers what it should not (C)."""
    assert len(EVERY) > 80
    told = {}
    for kind in (*EVERY, ValueError):
        getattr(client.return_value, step).side_effect = kind("a test")
        told[kind.__name__] = type(raised(slot))
        assert not client.return_value.commit_transaction.called, kind
        assert not client.return_value.abort_transaction.called, kind
    assert {name for name, one in told.items() if one is Fenced} == {"ProducerFencedError"}
    assert {one for name, one in told.items() if name != "ProducerFencedError"} == {Aborted}
    first = client.return_value
    with mock.patch("hub.transactions.discard") as discarded:
        slot.renew()
    discarded.assert_called_once_with(first)
    assert client.call_count == 2


def test_whatever_fails_in_the_commit_may_have_happened_whichever_error_it_is(
    slot: Transactions, client: mock.Mock
) -> None:
    """4.5."""
    for kind in EVERY:
        client.return_value.commit_transaction.side_effect = kind("a test")
        assert type(raised(slot)) is UnknownOutcome, kind


def test_a_record_that_was_not_delivered_is_seen_before_the_offsets(slot: Transactions, client: mock.Mock) -> None:
    """A, B. The library's flush is content with it."""
    client.return_value.send.return_value = mock.Mock(
        is_done=True, exception=KafkaTimeoutError("given up"), **{"succeeded.return_value": False}
    )
    assert isinstance(raised(slot), Aborted)
    assert not client.return_value.send_offsets_to_transaction.called


def test_what_is_of_no_group_has_no_offsets(slot: Transactions, client: mock.Mock) -> None:
    slot.commit(OUTGOING, {}, None)
    assert not client.return_value.send_offsets_to_transaction.called
    assert client.return_value.commit_transaction.called


def told(made: mock.Mock) -> dict[str, Any]:
    return dict(made.call_args.kwargs)


@pytest.mark.usefixtures("slot")
def test_a_producer_is_told_what_the_rules_ask_for(client: mock.Mock) -> None:
    given = told(client)
    # 4.1: the same from start to start.
    assert given["transactional_id"] == "gridhub-router-4"
    assert (given["acks"], given["allow_auto_create_topics"]) == ("all", False)
    # A: the broker gives the transaction up before the client gives a batch up; F: and within 10 to 20 s.
    assert given["delivery_timeout_ms"] > given["transaction_timeout_ms"]
    assert 10_000 <= given["transaction_timeout_ms"] <= 20_000
    assert given["retry_backoff_ms"] <= 20


def test_a_member_is_told_what_the_rules_ask_for() -> None:
    with mock.patch("hub.transactions.KafkaConsumer") as made:
        Member(SETTINGS, ["readings"], "a test")
    given = told(made)
    assert given["partition_assignment_strategy"] == [RangePartitionAssignor]
    assert (given["enable_auto_commit"], given["auto_offset_reset"]) == (False, "earliest")
    assert (given["isolation_level"], given["allow_auto_create_topics"]) == ("read_committed", False)
    assert given["max_poll_records"] <= 500
    # L: between two polls lies one transaction at most, and all that may hold it up has its limit.
    limit_s = signature(Transactions).parameters["limit_s"].default
    assert FLUSH_WITHIN_S + 2 * limit_s < given["max_poll_interval_ms"] / 1000
    assert 3 * given["heartbeat_interval_ms"] < given["session_timeout_ms"] <= RouterSettings().session_timeout_ms


def test_an_end_that_nobody_tells_is_waited_for_once_and_not_for_each_input(monkeypatch: pytest.MonkeyPatch) -> None:
    """The router's loop waits, and with it all other partitions and its place in the group."""
    now = 0.0

    def silent(*_: object, timeout_ms: int) -> object:
        nonlocal now
        now += timeout_ms / 1000
        raise KafkaTimeoutError("no answer")

    monkeypatch.setattr("hub.transactions.time", mock.Mock(monotonic=lambda: now))
    with mock.patch("hub.transactions.KafkaConsumer") as made:
        member = Member(SETTINGS, INPUTS, "a test")
        made.return_value.highwater.return_value = None
        made.return_value.assignment.return_value = {TopicPartition(topic, 3) for topic in INPUTS}
        made.return_value.end_offsets.side_effect = silent
        assert member.behind(3) == {*INPUTS} - {HANDED_OVER}
        assert made.return_value.end_offsets.call_count == 1
        now += ASK_ENDS_EVERY_S
        member.behind(3)
        assert made.return_value.end_offsets.call_count == 2, "asked again later"


def test_reading_the_whole_commits_nothing_and_ends_however_the_client_does() -> None:
    """E. What a client raises when it is closed would take the place of why it is closed, or end the router."""
    with mock.patch("hub.transactions.KafkaConsumer") as made:
        made.return_value.close.side_effect = KafkaError("gone")
        made.return_value.end_offsets.side_effect = KafkaTimeoutError("no answer")
        with pytest.raises(Unavailable, match="no answer"):
            Whole(SETTINGS, ["router-state"], "a test", [3])
        made.return_value.end_offsets.side_effect = None
        Whole(SETTINGS, ["router-state"], "a test", [3]).close()
    assert {call.kwargs["group_id"] for call in made.call_args_list} == {None}
    assert {call.kwargs["enable_auto_commit"] for call in made.call_args_list} == {False}
    assert all(call.kwargs == {"autocommit": False} for call in made.return_value.close.call_args_list)


@pytest.mark.parametrize(
    ("stable", "lying", "held_up"), [(9, 9, False), (5, 9, True), (5, 12, True), (12, 12, False), (5, 5, False)]
)
def test_a_transaction_that_is_not_decided_holds_a_reader_up_and_a_log_that_was_cut_does_not(
    stable: int, lying: int, held_up: bool
) -> None:
    """It ended at 9 when it was asked first."""
    place = TopicPartition("router-state", 3)
    with mock.patch("hub.transactions.KafkaConsumer") as made:
        made.return_value.end_offsets.side_effect = [{place: 9}, {place: stable}, {place: lying}]
        made.return_value.beginning_offsets.return_value = {place: 0}
        assert Whole(SETTINGS, ["router-state"], "a test", [3]).held_up() is held_up
    asked = [each.kwargs["isolation_level"] for each in made.call_args_list]
    assert asked == ["read_uncommitted", "read_committed", "read_committed", "read_uncommitted"]
