"""The rules at the top of hub/transactions.py and those of the loop around them, each by a fault that does harm without it.

A real broker; between it and the clients stands a `ScriptedBroker`, which answers a few requests otherwise than the broker would, or never.
"""

import gc
import json
import random
import string
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaConsumer, KafkaProducer
from kafka.errors import (
    CoordinatorNotAvailableError,
    IllegalGenerationError,
    InvalidProducerEpochError,
    InvalidTxnStateError,
    NotLeaderForPartitionError,
    UnknownMemberIdError,
)

from hub import transactions
from hub.core.errors import AbortReason, Unavailable
from hub.core.events import AirAlert, AlarmValue, DeadLetter, Decision, Journal, Outcome, Signal
from hub.core.town import Input, Output, Town, decide
from hub.partition import Outgoing
from hub.router import Silent
from hub.settings import KafkaSettings, RouterSettings, Settings
from hub.topics import Topic as HubTopic
from hub.topics import create
from hub.transactions import Aborted, Member, Polled, Transactions, Watchdog, Whole, undecided
from hub.wire import Wire
from tests.brokers import Broker, RouterProcess, RouterThread, committed, emptied, until
from tests.doubles import Asked, Instead, ScriptedBroker

pytestmark = pytest.mark.kafka

WIRE = Wire.load()
TOWN, OTHER_TOWN = "410122106", "410122107"
SESSION_MS = 6000  # the least that the broker takes
LONG_MS = 60_000  # the broker gives no transaction up within a test
PROXIED = """
import sys
from kafka import KafkaConsumer, KafkaProducer
for client in KafkaConsumer, KafkaProducer:
    client.DEFAULT_CONFIG["proxy_url"] = "{url}"
from hub.transactions import Transactions
Transactions.__init__.__kwdefaults__["limit_s"] = {limit_s}
from hub.__main__ import main
sys.exit(main())
"""


@pytest.fixture
def between() -> Iterator[ScriptedBroker]:
    """Stands between the broker and those clients that are led through it."""
    scripted = ScriptedBroker()
    yield scripted
    scripted.close()
    assert not scripted.mistakes
    gc.collect()  # here, where the warning about those sockets is expected, and not in another test


@pytest.fixture
def scripted(between: ScriptedBroker, monkeypatch: pytest.MonkeyPatch) -> ScriptedBroker:
    """All that consumers and producers of this process say goes through it."""
    for client in (KafkaConsumer, KafkaProducer):
        monkeypatch.setitem(client.DEFAULT_CONFIG, "proxy_url", between.url)
    return between


def no_answer(_asked: Asked) -> None:
    """The request never arrives."""


def offsets_refused(asked: Asked, error: type[Any]) -> Instead:
    """As the broker answers offsets that it does not take."""
    topics = [
        (topic.name, [(one.partition_index, error.errno) for one in topic.partitions]) for topic in asked.request.topics
    ]
    return Instead(asked.answer(throttle_time_ms=0, topics=topics))


def once(becomes: Callable[[Asked], Instead]) -> Callable[[Asked], bytes | Instead]:
    """For the first request only."""
    met: list[Asked] = []

    def first(asked: Asked) -> bytes | Instead:
        met.append(asked)
        return becomes(asked) if len(met) == 1 else asked.frame

    return first


# ---- one producer and the transactions it makes


@pytest.fixture
def topic(broker: Broker) -> str:
    """Two partitions for one test."""
    name = f"transactions-{uuid.uuid4().hex[:12]}"
    table = HubTopic(
        name=name,
        key="any",
        cleanup="delete",
        retention_days=1,
        partitions=2,
        timestamp="CreateTime",
        writers=("test",),
        readers=("test",),
    )
    create(KafkaSettings(bootstrap=broker.bootstrap), {name: table})
    return name


@pytest.fixture
def settings(broker: Broker) -> Settings:
    return Settings(
        kafka=KafkaSettings(bootstrap=broker.bootstrap),
        router=RouterSettings(session_timeout_ms=SESSION_MS, transaction_timeout_ms=LONG_MS),
    )


@pytest.fixture
def members(settings: Settings, topic: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[], Member]]:
    """Makes members of a group of the test's own that read its topic."""
    monkeypatch.setattr(Member, "GROUP", f"group-of-{topic}")
    made: list[Member] = []

    def another() -> Member:
        made.append(Member(settings, [topic], f"member-{len(made)}"))
        return made[-1]

    yield another
    for member in made:
        member.close()


@pytest.fixture
def slot(settings: Settings, topic: str) -> Iterator[Transactions]:
    """Transactions under an id of the test's own."""
    made = Transactions(settings, 0, Watchdog(lambda *_: None))
    made._id = f"slot-of-{topic}"
    yield made
    made.close()


def record(topic: str, partition: int, value: bytes) -> Outgoing:
    return Outgoing(topic, partition, b"key", value, (), int(time.time() * 1000))


def values(broker: Broker, topic: str) -> list[bytes]:
    return [one.value for one in committed(broker.bootstrap, topic)]


def fill(broker: Broker, topic: str) -> None:
    """Two records in each of its partitions."""
    producer = KafkaProducer(bootstrap_servers=broker.bootstrap)
    for number in (0, 0, 1, 1):
        producer.send(topic, b"value", partition=number)
    producer.close()


def settled(member: Member, within_s: float = 30.0) -> tuple[Polled, frozenset[int]]:
    """A poll of a member that has got something, and what is its own. What it did not know of the topics in its first join makes it join again."""
    found: list[tuple[Polled, frozenset[int]]] = []
    assignment = member.assignment()
    owned = assignment.partitions if assignment else None

    def look() -> bool:
        nonlocal owned
        polled = member.poll(0.1)
        if polled.moved:
            assignment = member.assignment()
            owned = None if assignment is None else assignment.partitions
        elif owned and not member._consumer._coordinator.need_rejoin():
            found.append((polled, owned))
        return bool(found)

    until(look, within_s)
    return found[0]


def test_a_batch_that_was_given_up_commits_nothing(
    broker: Broker,
    topic: str,
    scripted: ScriptedBroker,
    slot: Transactions,
    members: Callable[[], Member],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """A. One partition has no leader for longer than a batch is kept; the other has taken its record."""

    def impatient(**settings: Any) -> Any:
        return KafkaProducer(**{**settings, "delivery_timeout_ms": 1500, "request_timeout_ms": 1000})

    monkeypatch.setattr(transactions, "KafkaProducer", impatient)
    polled, _ = settled(members())
    slot.renew()

    def without_the_second(asked: Asked) -> bytes | Instead:
        request = asked.request
        [data] = [one for one in request.topic_data if one.name == topic]
        data.partition_data = [one for one in data.partition_data if one.index == 0]
        if data.partition_data:
            return asked.again(request)
        return Instead(with_the_second(asked, asked.answer(responses=[], throttle_time_ms=0)))

    def with_the_second(asked: Asked, frame: bytes) -> bytes:
        answer = asked.decoded(frame)
        if any(one.index == 1 for data in asked.request.topic_data for one in data.partition_data):
            first = [one for data in answer.responses for one in data.partition_responses]
            second: tuple[Any, ...] = (1, NotLeaderForPartitionError.errno, -1, -1, -1, [], None)
            parts: list[tuple[Any, ...]] = [
                (one.index, one.error_code, one.base_offset, -1, 0, [], None) for one in first
            ]
            return asked.answer(responses=[(topic, [*parts, second])], throttle_time_ms=0)
        return frame

    scripted.on_request[scripted.PRODUCE] = without_the_second
    scripted.on_answer[scripted.PRODUCE] = with_the_second
    with pytest.raises(Aborted) as caught:
        slot.commit([record(topic, 0, b"taken"), record(topic, 1, b"given up")], {(topic, 0): 1}, polled.group)
    assert caught.value.reason is AbortReason.UNAVAILABLE
    assert not scripted.count(scripted.END_TXN)
    scripted.on_request.clear()
    scripted.on_answer.clear()
    slot.renew()
    slot.commit([record(topic, 0, b"again"), record(topic, 1, b"again")], {(topic, 0): 1}, polled.group)
    assert values(broker, topic) == [b"again", b"again"]


def test_a_commit_is_not_done_where_the_broker_has_aborted(
    broker: Broker, topic: str, scripted: ScriptedBroker, slot: Transactions, members: Callable[[], Member]
) -> None:
    """B. The epoch is over, as after a transaction timeout; the producer hears of it when the commit is under way, if it can."""
    member = members()
    polled, _ = settled(member)
    slot.renew()
    committing = threading.Event()
    commit = slot._producer.commit_transaction

    def tell_and_commit() -> None:
        committing.set()
        commit()

    slot._producer.commit_transaction = tell_and_commit

    def epoch_is_over(asked: Asked) -> Instead:
        committing.wait(0.5)
        parts: list[tuple[Any, ...]] = [
            (
                data.name,
                [(one.index, InvalidProducerEpochError.errno, -1, -1, -1, [], None) for one in data.partition_data],
            )
            for data in asked.request.topic_data
        ]
        return Instead(asked.answer(responses=parts, throttle_time_ms=0))

    scripted.on_request[scripted.PRODUCE] = epoch_is_over
    with pytest.raises(Aborted):
        slot.commit([record(topic, 0, b"lost")], {(topic, 0): 1}, polled.group)
    assert not committing.is_set()
    scripted.on_request.clear()
    slot.renew()
    assert values(broker, topic) == []
    assert member.committed(0) == {topic: 0}


@pytest.mark.parametrize("point", ["router.flushed", "router.offsets"])
def test_what_the_coordinator_is_to_be_told_is_told_when_it_is_back(
    broker: Broker,
    topic: str,
    scripted: ScriptedBroker,
    slot: Transactions,
    members: Callable[[], Member],
    monkeypatch: pytest.MonkeyPatch,
    point: str,
) -> None:
    """O. Nobody can be reached for a second, when offsets or the commit are to be sent."""
    polled, _ = settled(members())
    slot.renew()
    back = threading.Timer(1.0, scripted.mend)

    def cut_there(reached: str) -> None:
        if reached == point:
            scripted.cut()
            back.start()

    monkeypatch.setattr(transactions, "reached", cut_there)
    committing = threading.Thread(
        target=slot.commit, args=([record(topic, 0, b"told")], {(topic, 0): 1}, polled.group), daemon=True
    )
    committing.start()
    committing.join(15)
    assert not committing.is_alive()
    assert values(broker, topic) == [b"told"]
    back.join()


def test_what_is_not_decided_is_so_for_another_client_too(
    scripted: ScriptedBroker, settings: Settings, topic: str, slot: Transactions, members: Callable[[], Member]
) -> None:
    """Who waits for the end of a transaction waits for Kafka: that its own client is silent shows in another one that is told."""
    at_the_end, go_on = threading.Event(), threading.Event()

    def held(asked: Asked) -> bytes:
        at_the_end.set()
        go_on.wait(30)
        return asked.frame

    polled, _ = settled(members())
    slot.renew()
    assert not undecided(settings, [topic], 0, "another")
    scripted.on_request[scripted.END_TXN] = held
    outgoing, offsets = [record(topic, 0, b"value")], {(topic, 0): 1}
    committing = threading.Thread(target=slot.commit, args=(outgoing, offsets, polled.group))
    committing.start()
    try:
        assert at_the_end.wait(30)
        whole = Whole(settings, [topic], "a test")
        assert whole.held_up()
        assert undecided(settings, [topic], 0, "another")
    finally:
        go_on.set()
        committing.join(30)
    # The answer to a commit comes before its markers are everywhere.
    until(lambda: not whole.held_up(), 10)
    until(lambda: not undecided(settings, [topic], 0, "another"), 10)
    assert [one.value for one in whole.all()] == [b"value"]


def test_offsets_of_a_failed_transaction_are_forgotten(
    broker: Broker, topic: str, slot: Transactions, members: Callable[[], Member]
) -> None:
    """C. What was never decided must not count as read because another transaction is committed."""
    member = members()
    polled, _ = settled(member)
    before = polled.group._replace(generation_id=polled.group.generation_id - 1)
    slot.renew()
    with pytest.raises(Aborted) as caught:
        slot.commit([record(topic, 0, b"old")], {(topic, 0): 10}, before)
    assert caught.value.reason is AbortReason.REBALANCED
    slot.renew()
    slot.commit([record(topic, 1, b"new")], {(topic, 1): 99}, polled.group)
    assert [until(lambda number=number: member.committed(number), 10) for number in (0, 1)] == [{topic: 0}, {topic: 99}]  # type: ignore[misc]
    assert values(broker, topic) == [b"new"]


def test_a_refused_record_is_the_reason_also_where_others_fail_with_it(
    broker: Broker, topic: str, slot: Transactions, members: Callable[[], Member]
) -> None:
    """4.6. Batches that had not been sent fail for a reason that says less, and may stand before it."""
    polled, _ = settled(members())
    slot.renew()
    chance = random.Random(1)
    outgoing = [record(topic, 0, chance.randbytes(130_000)) for _ in range(3)]
    with pytest.raises(Aborted) as caught:
        slot.commit([*outgoing, record(topic, 1, chance.randbytes(1_500_000))], {(topic, 0): 1}, polled.group)
    assert caught.value.reason is AbortReason.REFUSED
    slot.renew()
    assert values(broker, topic) == []


def test_records_of_a_membership_that_was_lost_meanwhile_are_dropped(
    broker: Broker, topic: str, scripted: ScriptedBroker, members: Callable[[], Member]
) -> None:
    """J. The group has put the member out while it waited for records. Its state then fences nothing: the broker takes offsets
    without a generation from anyone.
    """
    producer = KafkaProducer(bootstrap_servers=broker.bootstrap, proxy_url=None)
    producer.partitions_for(topic)
    member = members()
    settled(member)
    out = threading.Event()

    def unknown(asked: Asked) -> Instead:
        producer.send(topic, b"a record of its last owner", partition=0).get(10)
        out.wait(5)  # it is on its way, and waited for
        return Instead(asked.answer(throttle_time_ms=0, error_code=UnknownMemberIdError.errno))

    def after_the_heartbeat(_asked: Asked, frame: bytes) -> bytes:
        if b"a record of its last owner" in frame:
            out.set()
            until(lambda: member._consumer.group_metadata().generation_id < 0, 10)
        return frame

    scripted.on_request[scripted.HEARTBEAT] = unknown
    scripted.on_answer[scripted.FETCH] = after_the_heartbeat
    polled = until(lambda: (one := member.poll(5)) and (one if out.is_set() else None), 20)
    scripted.on_request.clear()
    producer.close()
    assert (polled.moved, polled.records) == (True, {})


def test_an_idle_input_is_read_to_its_end_though_no_answer_to_a_fetch_has_told_that(
    topic: str, members: Callable[[], Member]
) -> None:
    """After a join the library knows no ends, and drops answers that come too early; within a fetch session the broker tells an end again only where
    something has happened. What waits for such an input would wait for good.
    """
    member = members()
    settled(member)
    until(lambda: member.poll(0.1) and not (member.behind(0) or member.behind(1)), 10)
    states = member._consumer._subscription.assignment
    for place, state in list(states.items()):
        states[place] = type(state)()
        member.go_to(place.partition, {topic: 0})
    until(lambda: member.poll(0.1) and not (member.behind(0) or member.behind(1)), 10)


def test_what_is_held_back_in_a_rebalance_passes_nothing_over_and_repeats_nothing(
    broker: Broker, topic: str, members: Callable[[], Member]
) -> None:
    """What a member pauses may go to another and come back: who reads it begins where it is told, and who holds it back gets none of it."""
    owned: dict[Member, frozenset[int]] = {}
    begins = {0: 0, 1: 0}
    both = frozenset({0, 1})
    first, second = members(), members()
    held_back = {first: [(topic, 0), (topic, 1)], second: []}
    read: dict[Member, list[tuple[int, int]]] = {first: [], second: []}
    end = threading.Event()

    def turn(member: Member) -> None:
        polled = member.poll(0.1)
        if polled.moved and (assignment := member.assignment()) is not None:
            owned[member] = assignment.partitions
            for number in assignment.partitions:
                member.go_to(number, {topic: begins[number]})
            member.pause_only(held_back[member])
        for number, records in polled.records.items():
            read[member] += [(number, one.offset) for one in records]
            begins[number] = records[-1].offset + 1

    def first_turns_until(what: Callable[[], bool]) -> None:
        def look() -> bool:
            turn(first)
            return what()

        until(look, 30)

    def work() -> None:
        while not end.is_set():
            turn(second)
        second.close()

    first_turns_until(lambda: owned.get(first) == both)
    fill(broker, topic)
    first_turns_until(lambda: first.ends(both) == {0: {topic: 2}, 1: {topic: 2}})
    # Each by a thread of its own: a join that ends between two polls is thrown away, and begun anew.
    worker = threading.Thread(target=work)
    worker.start()
    try:
        first_turns_until(lambda: len(read[second]) >= 2 and owned[first] == both - owned[second])
        assert read[second] == [(number, offset) for number in owned[second] for offset in (0, 1)]
    finally:
        end.set()
    first_turns_until(lambda: not worker.is_alive() and owned[first] == both)
    for _ in range(10):
        turn(first)
    assert read[first] == []
    held_back[first] = []
    first.pause_only([])
    first_turns_until(lambda: len(read[first]) >= 2)
    assert sorted(read[first] + read[second]) == [(0, 0), (0, 1), (1, 0), (1, 1)]


def test_where_a_reader_stands_is_unavailable_while_nobody_tells(
    scripted: ScriptedBroker, settings: Settings, topic: str, members: Callable[[], Member]
) -> None:
    """N. The library gives None then, which is no offset: a router that rebuilt while Kafka fell silent ended as defective."""
    whole, member = Whole(settings, [topic], "a test"), members()
    settled(member)
    scripted.on_request[scripted.LIST_OFFSETS] = no_answer
    try:
        with pytest.raises(Unavailable, match="nobody tells"):
            whole.complete()
        states = member._consumer._subscription.assignment
        for place, state in list(states.items()):
            states[place] = type(state)()
        assert member.behind(0) == {topic}
        with pytest.raises(Unavailable, match="nobody tells"):
            member.position(topic, 0)
    finally:
        whole.close()


def test_who_goes_to_what_was_taken_away_is_told_by_the_next_poll(topic: str, members: Callable[[], Member]) -> None:
    member = members()
    settled(member)
    member._consumer.unsubscribe()
    member.go_to(0, {topic: 0})


def test_nothing_is_ours_until_a_join_has_come_to_its_end(
    scripted: ScriptedBroker, members: Callable[[], Member], monkeypatch: pytest.MonkeyPatch
) -> None:
    """J. The answer that says what is ours is late. The generation is the new one already, and the others work."""
    member = members()
    settled(member)
    for client in (KafkaConsumer, KafkaProducer):
        monkeypatch.setitem(client.DEFAULT_CONFIG, "proxy_url", None)
    other = members()
    theirs: list[frozenset[int]] = []
    end, go_on = threading.Event(), threading.Event()

    def work() -> None:
        while not end.is_set():
            if other.poll(0.1).moved and (assignment := other.assignment()):
                theirs.append(assignment.partitions)

    def late(_asked: Asked, frame: bytes) -> bytes:
        go_on.wait(30)
        return frame

    thread = threading.Thread(target=work)
    thread.start()
    try:
        until(lambda: len(settled(member)[1]) == 1 and theirs, 20)
        before, known = member._consumer.group_metadata().generation_id, len(theirs)
        scripted.on_answer[scripted.SYNC_GROUP] = late
        member._consumer._coordinator.request_rejoin()  # it leads the group, so all join anew
        until(lambda: member.poll(0.1).moved and (member.assignment() or True) and len(theirs) > known, 20)
        until(lambda: member._consumer.group_metadata().generation_id > before, 10)
        for _ in range(3):
            polled = member.poll(0.1)
            assert (polled.moved, polled.records, member.assignment()) == (True, {}, None)
        go_on.set()
        owned = settled(member)[1]
        assert until(lambda: owned | theirs[-1] == {0, 1}, 10)
        assert len(owned) == 1
    finally:
        go_on.set()
        end.set()
        thread.join()


def test_a_join_that_is_no_longer_wanted_comes_to_its_end_all_the_same(
    scripted: ScriptedBroker, members: Callable[[], Member]
) -> None:
    """J. Topics are told otherwise for a moment. kafka-python forgets the join that it has begun, and with it its heartbeats."""
    member = members()
    settled(member)
    go_on = threading.Event()

    def late(_asked: Asked, frame: bytes) -> bytes:
        go_on.wait(30)
        return frame

    scripted.on_answer[scripted.JOIN_GROUP] = late
    coordinator = member._consumer._coordinator
    told, coordinator._metadata_snapshot = coordinator._metadata_snapshot, {"another": {0}}
    until(lambda: member.poll(0.1).moved, 10)
    coordinator._metadata_snapshot = told
    go_on.set()
    assert settled(member, 10)[1] == {0, 1}


# ---- the router around them


@pytest.fixture
def empty(broker: Broker) -> str:
    """A broker whose topics hold nothing, and nothing is remembered of a group."""
    emptied(broker.bootstrap)
    return broker.bootstrap


@pytest.fixture
def start(empty: str, tmp_path: Path) -> Iterator[Callable[..., RouterThread]]:
    """Starts routers in this process."""
    started: list[RouterThread] = []

    def one(slot: int = 0) -> RouterThread:
        router = RouterThread(empty, tmp_path, slot, session_timeout_ms=SESSION_MS, transaction_timeout_ms=LONG_MS)
        started.append(router)
        router.start()
        return router

    yield one
    for router in started:
        router.stopping.set()
    for router in started:
        router.ended()


@pytest.fixture
def process(
    empty: str, between: ScriptedBroker, tmp_path: Path, request: pytest.FixtureRequest
) -> Iterator[RouterProcess]:
    """A router's process; what it says to the broker can be scripted, and calls without a limit get one second, or what the test says."""
    router = RouterProcess(
        tmp_path,
        empty,
        program=PROXIED.format(url=between.url, limit_s=getattr(request, "param", 1.0)),
        ROUTER__SESSION_TIMEOUT_MS=str(SESSION_MS),
        ROUTER__TRANSACTION_TIMEOUT_MS=str(LONG_MS),
    )
    yield router
    if router.process and router.process.poll() is None:
        router.kill()


def alarm(number: int, town: str = TOWN, *, padding: str = "") -> AirAlert:
    """An alert of a device that a rule takes; each number is a device of its own."""
    now = int(time.time() * 1000)
    return AirAlert(
        id=f"station-{number}/2072/{number}{padding}",
        town=town,
        device=f"station-{number}",
        vendor="test",
        kind="air.device_alarm",
        occurred_at=now,
        accepted_at=now,
        event_at=now,
        time_mark="device",
        lon=None,
        lat=None,
        datum="",
        message_code="2072",
        signal=Signal.BEGINS,
        values=(AlarmValue(factor="a34002", value=412.0, unit="ug/m3", alarm_type="1"),),
    )


def send(bootstrap: str, *alerts: AirAlert) -> list[Any]:
    """Where they lie, once they do."""
    producer = KafkaProducer(bootstrap_servers=bootstrap, proxy_url=None, linger_ms=50)
    sent = [producer.send("alerts.air", WIRE.encode(one), one.town.encode()) for one in alerts]
    places = [future.get(20) for future in sent]
    producer.close()
    return places


def decisions(bootstrap: str) -> list[Decision]:
    found = [WIRE.decode(one.value) for one in committed(bootstrap, "decisions")]
    assert all(isinstance(one, Decision) for one in found)
    return found  # type: ignore[return-value]


def journal(bootstrap: str) -> list[Journal]:
    """All of it, which must be without gap or repeat in each partition, in its numbers and in the offsets of its ranges."""
    found = [WIRE.decode(one.value) for one in committed(bootstrap, "journal")]
    numbers: dict[int, int] = {}
    offsets: dict[tuple[str, int], int] = {}
    for one in found:
        assert isinstance(one, Journal)
        assert one.number == numbers.get(one.partition, 0) + 1
        numbers[one.partition] = one.number
        for each in one.ranges:
            assert each.first == offsets.get((each.topic, one.partition), 0)
            offsets[each.topic, one.partition] = each.last + 1
    return found  # type: ignore[return-value]


def decided(bootstrap: str, count: int, within_s: float = 30.0) -> list[Decision]:
    """The decisions, once there are so many."""
    return until(lambda: (found := decisions(bootstrap)) and (found if len(found) >= count else None), within_s)


@pytest.mark.parametrize(
    ("api", "code"),
    [(ScriptedBroker.END_TXN, 75), (ScriptedBroker.TXN_OFFSET_COMMIT, 3)],
)
def test_a_call_without_end_ends_the_process(
    between: ScriptedBroker, process: RouterProcess, empty: str, api: int, code: int
) -> None:
    """D. The coordinator is not available, for ever. What was under way is decided by the next life, once."""

    def away(asked: Asked) -> Instead:
        if asked.api == ScriptedBroker.TXN_OFFSET_COMMIT:
            return offsets_refused(asked, CoordinatorNotAvailableError)
        return Instead(asked.answer(throttle_time_ms=0, error_code=CoordinatorNotAvailableError.errno))

    between.on_request[api] = away
    process.start()
    process.until_ready()
    send(empty, alarm(1))
    assert process.ended() == code
    [said] = [line for line in process.said().splitlines() if '"watchdog"' in line]
    assert json.loads(said)["level"] == "critical"
    between.on_request.clear()
    process.start()
    assert [one.outcome for one in decided(empty, 1)] == [Outcome.OPENED]
    assert process.stop() == 0
    assert len(journal(empty)) == len(decisions(empty)) == 1


@pytest.mark.parametrize("happened", [True, False])
def test_a_commit_of_unknown_outcome_ends_the_process_and_is_looked_up(
    between: ScriptedBroker, process: RouterProcess, empty: str, happened: bool
) -> None:
    """4.5. The commit fails, after the broker has made it or before. Going back and deciding again would decide twice, or not at all."""

    def answer(asked: Asked, _frame: bytes = b"") -> bytes:
        return asked.answer(throttle_time_ms=0, error_code=InvalidTxnStateError.errno)

    if happened:
        between.on_answer[between.END_TXN] = answer
    else:
        between.on_request[between.END_TXN] = lambda asked: Instead(answer(asked))
    process.start()
    process.until_ready()
    send(empty, alarm(1))
    assert process.ended() == 75
    between.on_answer.clear()
    between.on_request.clear()
    process.start()
    process.until_ready()
    send(empty, alarm(2))
    assert [(one.outcome, one.seq) for one in decided(empty, 2)] == [(Outcome.OPENED, 1), (Outcome.OPENED, 2)]
    assert process.stop() == 0
    assert len(decisions(empty)) == 2
    journal(empty)


def test_what_a_killed_router_left_open_ends_before_the_next_joins(
    between: ScriptedBroker, process: RouterProcess, empty: str
) -> None:
    """F, 4.2. Killed with the commit on its way. The transaction would stay open for a minute: readers of all topics wait for it, and
    so does the rebuild, for the group's offsets.
    """
    between.on_request[between.END_TXN] = no_answer
    process.start()
    process.until_ready()
    send(empty, alarm(1))
    until(lambda: between.count(between.END_TXN), 20)
    process.kill()
    with pytest.raises(AssertionError, match="cannot be read to its end"):
        committed(empty, "decisions", within_s=0.5)
    between.on_request.clear()
    before = len(between.asked)
    process.start()

    def asked_since() -> list[int] | None:
        apis = [asked.api for asked in between.asked[before:]]
        return apis if between.JOIN_GROUP in apis else None

    life = until(asked_since, 20)
    assert life.index(between.INIT_PRODUCER_ID) < life.index(between.JOIN_GROUP)
    process.until_ready(SESSION_MS / 1000 + 10)
    assert [(one.outcome, one.seq) for one in decided(empty, 1, 5)] == [(Outcome.OPENED, 1)]
    assert process.stop() == 0
    journal(empty)


@pytest.mark.parametrize("process", [20.0], indirect=True)
def test_who_is_told_to_end_while_kafka_does_not_answer_ends_in_time(
    between: ScriptedBroker, process: RouterProcess, empty: str
) -> None:
    """D. The end of a transaction is on its way, and may be for longer than the ten seconds that an end may take."""
    between.on_request[between.END_TXN] = no_answer
    process.start()
    process.until_ready()
    send(empty, alarm(1))
    until(lambda: between.count(between.END_TXN), 20)
    began = time.monotonic()
    assert process.stop() == 75
    assert time.monotonic() - began < 10
    assert "the orderly end has not come to an end within 9 s" in process.said()
    between.on_request.clear()
    process.start()
    process.until_ready(SESSION_MS / 1000 + 10)
    assert [(one.outcome, one.seq) for one in decided(empty, 1, 5)] == [(Outcome.OPENED, 1)]
    assert process.stop() == 0


def test_who_is_started_again_after_a_kill_does_not_wait_for_the_session_of_the_dead(
    empty: str, tmp_path: Path
) -> None:
    """4.2. The first thing that a new life does makes the former one unable to commit: nobody needs to wait until the group has noticed its death."""
    router = RouterProcess(tmp_path, empty, ROUTER__SESSION_TIMEOUT_MS=str(LONG_MS))
    router.start()
    router.until_ready()
    send(empty, alarm(1))
    assert [(one.outcome, one.seq) for one in decided(empty, 1)] == [(Outcome.OPENED, 1)]
    router.kill()
    router.start()
    router.until_ready(LONG_MS / 1000 / 3)
    send(empty, alarm(1))
    assert [(one.outcome, one.seq) for one in decided(empty, 2)] == [(Outcome.OPENED, 1), (Outcome.REPEATED, 2)]
    assert router.stop() == 0


def test_an_orderly_end_leaves_nothing_open(
    scripted: ScriptedBroker, empty: str, start: Callable[..., RouterThread]
) -> None:
    """F. It is told to end while a transaction fails. Readers must not wait for one that nobody will end."""
    router = start()
    router.until_ready()

    def refused(asked: Asked) -> Instead:
        router.stopping.set()
        return offsets_refused(asked, IllegalGenerationError)

    scripted.on_request[scripted.TXN_OFFSET_COMMIT] = refused
    send(empty, alarm(1))
    assert router.ended() is None
    assert [len(committed(empty, topic, within_s=2)) for topic in ("decisions", "journal", "router-state")] == [0, 0, 0]
    scripted.on_request.clear()
    start()
    assert [one.outcome for one in decided(empty, 1)] == [Outcome.OPENED]


def test_what_failed_before_the_commit_has_not_happened(
    scripted: ScriptedBroker, empty: str, start: Callable[..., RouterThread]
) -> None:
    """4.3, 4.4, 4.5. The same records again, from the first of each partition, on memory that knows nothing of the failure."""
    scripted.on_request[scripted.TXN_OFFSET_COMMIT] = once(lambda asked: offsets_refused(asked, IllegalGenerationError))
    alerts = [alarm(1), alarm(2, OTHER_TOWN), alarm(3)]
    send(empty, *alerts, alerts[0])
    router = start()
    decided(empty, 4)
    router.stop()
    assert [reason for reason, _ in router.telemetry.named("aborted")] == [AbortReason.REBALANCED]
    found = {(one.id, one.outcome, one.seq) for one in decisions(empty)}
    assert found == {
        (alerts[0].id, Outcome.OPENED, 1),
        (alerts[2].id, Outcome.OPENED, 2),
        (alerts[0].id, Outcome.REPEATED, 3),
        (alerts[1].id, Outcome.OPENED, 1),
    }
    assert len(decisions(empty)) == 4
    assert journal(empty)


def test_transactions_that_come_to_nothing_again_and_again_end_the_process(
    scripted: ScriptedBroker, empty: str, start: Callable[..., RouterThread], monkeypatch: pytest.MonkeyPatch
) -> None:
    """4.5. Kafka answers, so nothing is gained by going on; the next life decides once."""
    monkeypatch.setattr("hub.router.ABORTS_IN_A_ROW", 3)
    scripted.on_request[scripted.TXN_OFFSET_COMMIT] = lambda asked: offsets_refused(asked, IllegalGenerationError)
    send(empty, alarm(1))
    router = start()
    error = router.ended()
    assert isinstance(error, Unavailable)
    assert str(error).startswith("4 transactions in a row came to nothing")
    scripted.on_request.clear()
    router = start()
    assert [one.outcome for one in decided(empty, 1)] == [Outcome.OPENED]
    router.stop()
    assert len(journal(empty)) == len(decisions(empty)) == 1


def test_an_input_that_falls_silent_though_kafka_has_more_ends_the_process(
    scripted: ScriptedBroker, empty: str, start: Callable[..., RouterThread], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The client is alive, its group has it, and fetches bring nothing: an alert would wait for good. The next life decides it."""
    monkeypatch.setattr("hub.router.LAG_S", 0.1)
    monkeypatch.setattr("hub.router.SILENT_S", 2.0)

    met: list[Asked] = []

    def nothing(asked: Asked) -> Instead:
        met.append(asked)
        time.sleep(0.1)  # as long as the broker waits for something new
        request = asked.request
        return Instead(asked.answer(throttle_time_ms=0, error_code=0, session_id=request.session_id, responses=[]))

    router = start()
    router.until_ready()
    scripted.on_request[scripted.FETCH] = nothing
    until(lambda: len(met) >= 5, 10)  # one that was at the broker before is answered by then
    send(empty, alarm(1))
    error = router.ended()
    assert isinstance(error, Silent)
    assert str(error).startswith("nothing has come of alerts.air/")
    assert decisions(empty) == []
    scripted.on_request.clear()
    router = start()
    assert [one.outcome for one in decided(empty, 1)] == [Outcome.OPENED]
    router.stop()


def test_a_router_that_others_have_replaced_commits_nothing(
    scripted: ScriptedBroker,
    empty: str,
    start: Callable[..., RouterThread],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """4.3, J. In the middle of its work the group gives it up, and another decides. The membership of its records is what it commits with:
    the present one is none, which the broker takes from anyone.
    """

    def patient(**settings: Any) -> Any:
        return KafkaProducer(**{**settings, "request_timeout_ms": 50_000})

    monkeypatch.setattr(transactions, "KafkaProducer", patient)
    monkeypatch.setattr(transactions, "FLUSH_WITHIN_S", 50.0)
    working, replaced = threading.Event(), threading.Event()

    def held(asked: Asked) -> bytes:
        if asked.client == "gridhub-router-0":
            scripted.on_request[scripted.HEARTBEAT] = unheard
            working.set()
            replaced.wait(45)
            member = router.router._member
            assert member
            until(lambda: member._consumer.group_metadata().generation_id < 0, 10)
        return asked.frame

    def unheard(asked: Asked) -> Instead:
        """The broker hears nothing of it. Once it is replaced, it is told."""
        error = UnknownMemberIdError.errno if replaced.is_set() else 0
        return Instead(asked.answer(throttle_time_ms=0, error_code=error))

    router = start()
    router.until_ready()
    send(empty, alarm(1))
    until(lambda: router.telemetry.named("decided"), 20)  # and the producer knows all topics
    scripted.on_request[scripted.PRODUCE] = held
    send(empty, alarm(2))
    assert working.wait(20)
    other = RouterProcess(tmp_path, empty, 1, ROUTER__SESSION_TIMEOUT_MS=str(SESSION_MS))
    other.start()
    try:
        until(lambda: other.metric('gridhub_decisions_total{outcome="opened"}') == 1, 40)
        replaced.set()
        until(lambda: router.telemetry.named("aborted") or len(router.telemetry.named("decided")) > 1, 20)
        scripted.on_request.clear()
        router.until_ready()
        router.stop()
        assert other.stop() == 0
    finally:
        replaced.set()
        other.kill()
    assert [(one.outcome, one.seq) for one in decisions(empty)] == [(Outcome.OPENED, 1), (Outcome.OPENED, 2)]
    journal(empty)


def assert_kept_apart(empty: str, bad: int, alerts: Sequence[AirAlert], places: Sequence[Any]) -> None:
    """The bad one lies in the dead letters, by itself, and all others are decided."""
    place = f"alerts.air/{places[bad].partition}/{places[bad].offset}"
    found = decided(empty, len(alerts))
    assert sorted((one.id, one.outcome) for one in found) == sorted(
        (place, Outcome.INVALID) if number == bad else (one.id, Outcome.OPENED) for number, one in enumerate(alerts)
    )
    [invalid] = [one for one in found if one.outcome == Outcome.INVALID]
    assert (invalid.reasons, invalid.seq) == (("poison",), 0)
    [letter] = [WIRE.decode(one.value) for one in committed(empty, "dead-letters")]
    assert isinstance(letter, DeadLetter)
    assert (letter.id, letter.feed, letter.reason) == (place, "router", "poison")
    [alone] = [
        one
        for one in journal(empty)
        if one.partition == places[bad].partition
        and any(each.first <= places[bad].offset <= each.last for each in one.ranges)
    ]
    assert [(each.first, each.last) for each in alone.ranges] == [(places[bad].offset, places[bad].offset)]


def test_a_record_that_makes_the_program_fail_is_kept_and_those_around_it_decided(
    empty: str, start: Callable[..., RouterThread], monkeypatch: pytest.MonkeyPatch
) -> None:
    """4.6."""
    alerts = [alarm(number, town) for number, town in enumerate((TOWN, OTHER_TOWN, TOWN, TOWN, OTHER_TOWN, TOWN))]

    def fails_for_one(town: Town, event: Input, *others: Any) -> tuple[Town, tuple[Output, ...]]:
        if isinstance(event.record, AirAlert) and event.record.id == alerts[3].id:
            raise ZeroDivisionError
        return decide(town, event, *others)

    monkeypatch.setattr("hub.partition.decide", fails_for_one)
    places = send(empty, *alerts)
    router = start()
    assert_kept_apart(empty, 3, alerts, places)
    router.stop()


def test_a_record_whose_outputs_the_broker_refuses_is_found_by_halving(
    empty: str, start: Callable[..., RouterThread]
) -> None:
    """4.6. What follows from one record is larger than a topic takes; the broker does not say which it was."""
    towns = (TOWN, OTHER_TOWN, TOWN, TOWN, OTHER_TOWN, TOWN, TOWN)
    long = "".join(random.Random(1).choices(string.ascii_letters, k=700_000))
    alerts = [alarm(number, town, padding=long if number == 3 else "") for number, town in enumerate(towns)]
    places = send(empty, *alerts)
    router = start()
    assert_kept_apart(empty, 3, alerts, places)
    router.stop()
    assert AbortReason.REFUSED in {reason for reason, _ in router.telemetry.named("aborted")}
