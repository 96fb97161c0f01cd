"""Routers as processes on a real broker: who owns what, what becomes of records, and what they say of themselves."""

import gc
import json
import os
import subprocess
import sys
import threading
import time
import zlib
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import psutil
import pytest
from kafka import KafkaConsumer, KafkaProducer
from kafka.partitioner import Partitioner

from hub.core import memory
from hub.core.events import (
    AirAlert,
    AlarmValue,
    Alert,
    DeadLetter,
    Decision,
    HandedOver,
    Journal,
    Outcome,
    Reading,
    RegistryEntry,
    RouterState,
    Signal,
    State,
    Ticket,
    TicketEvent,
    Value,
)
from hub.core.town import Clock
from hub.core.watch import Episode
from hub.partition import CARRIES, INPUTS, key_of
from hub.replay import replay
from hub.settings import KafkaSettings, Settings
from hub.transactions import partition_of
from hub.wire import Record, Wire
from tests.brokers import Broker, RouterProcess, RouterThread, committed, emptied, register, until
from tests.doubles import CuttableProxy
from tests.hub.core.one_town import TOWN as PLACED
from tests.hub.core.one_town import camera, patrol
from tests.hub.core.small_map import BUILDING, EAST, HEAD, LI, SMOKE, WANG, registry
from tests.ports import reserved_port

pytestmark = pytest.mark.kafka

WIRE = Wire.load()
PARTITIONS = 12
HOME = partition_of(Settings(kafka=KafkaSettings(partitions=PARTITIONS)))
TOWNS = [f"4101221{number:02}" for number in range(24)]
TOWN = TOWNS[0]
SESSION_MS = 6000  # the least that the broker takes
PERIOD_S = 2
QUICK_RULES = [
    {
        "kind": "air.pm10.over_limit",
        "class": "08004",
        "factor": "a34002",
        "limit": 150,
        "period": PERIOD_S,
        "wait": 0.5,
    },
    {"kind": "air.device_alarm", "class": "08004"},
]

Start = Callable[..., RouterProcess]


@pytest.fixture
def empty(broker: Broker) -> str:
    """A broker whose topics hold nothing, and nothing is remembered of a group."""
    emptied(broker.bootstrap)
    return broker.bootstrap


@pytest.fixture
def make(broker: Broker, tmp_path: Path) -> Iterator[Start]:
    """Makes routers; those that still run are ended. `tag`: for another one in the same slot."""
    made: list[RouterProcess] = []

    def one(slot: int = 0, tag: str = "", bootstrap: str = "", **environment: str) -> RouterProcess:
        router = RouterProcess(
            tmp_path / f"data{tag}",
            bootstrap or broker.bootstrap,
            slot,
            **{"ROUTER__SESSION_TIMEOUT_MS": str(SESSION_MS), "RULES": json.dumps(QUICK_RULES), **environment},
        )
        made.append(router)
        return router

    yield one
    for router in made:
        if router.process and router.process.poll() is None:
            router.process.terminate()
    for router in made:
        if router.process:
            try:
                router.ended(15)
            finally:
                router.process.kill()


@pytest.fixture
def start(make: Start) -> Start:
    """The same, and starts them."""

    def one(*arguments: Any, **environment: Any) -> RouterProcess:
        router = make(*arguments, **environment)
        router.start()
        return router

    return one


class Senders:
    """What connectors would send; keeps the places of all."""

    def __init__(self, bootstrap: str, **settings: Any) -> None:
        self._producer = KafkaProducer(bootstrap_servers=bootstrap, linger_ms=5, **settings)
        self.places: list[Any] = []

    def send(self, topic: str, key: str, value: bytes, partition: int | None = None) -> None:
        self.places.append(self._producer.send(topic, value, key.encode(), partition=partition))

    def alert(self, alert: Alert) -> None:
        [topic] = [name for name, carried in CARRIES.items() if isinstance(alert, carried)]
        self.send(topic, alert.town, WIRE.encode(alert))

    def close(self) -> list[str]:
        """All are there: topic/partition/offset of each."""
        places = [future.get(30) for future in self.places]
        self._producer.close()
        return [f"{one.topic}/{one.partition}/{one.offset}" for one in places]


def alarm(name: str, town: str = TOWN, signal: str = Signal.BEGINS) -> AirAlert:
    """A device's own alert; a device has one episode."""
    now = int(time.time() * 1000)
    return AirAlert(
        id=f"{name}/2072/1",
        town=town,
        device=name,
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
        signal=signal,
        values=(AlarmValue(factor="a34002", value=412.0, unit="ug/m3", alarm_type="1"),),
    )


def mean(name: str, town: str = TOWN, value: float = 180.0, period_s: int = PERIOD_S) -> Reading:
    """A station's own mean of a period that has just ended."""
    now = int(time.time() * 1000)
    begun = now - now % (period_s * 1000) - period_s * 1000
    return Reading(
        id=f"{name}/2061/{begun}",
        town=town,
        device=name,
        vendor="test",
        kind="air.reading",
        occurred_at=begun,
        accepted_at=now,
        event_at=begun,
        time_mark="device",
        lon=None,
        lat=None,
        datum="",
        message_code="2061",
        period_s=period_s,
        backfilled=False,
        incomplete=False,
        values=(Value(factor="a34002", statistic="Avg", value=value, unit="ug/m3", mark="N"),),
    )


def records(bootstrap: str, topic: str) -> list[Record]:
    return [WIRE.decode(one.value) for one in committed(bootstrap, topic)]


def decisions(bootstrap: str, count: int = 0, within_s: float = 30.0) -> list[Decision]:
    """All of them, once there are `count`."""

    def look() -> list[Record] | None:
        found = records(bootstrap, "decisions")
        return found if len(found) >= count else None

    found = (look() or []) if not count else until(look, within_s)
    return [one for one in found if isinstance(one, Decision)]


def assert_journal(bootstrap: str) -> dict[int, list[Journal]]:
    """Of each partition: numbers without a gap, none twice, generations that never go back; and up to the last range of an input each of
    its records lies in exactly one.
    """
    found: dict[int, list[Journal]] = defaultdict(list)
    for raw in committed(bootstrap, "journal"):
        one = WIRE.decode(raw.value)
        assert isinstance(one, Journal)
        assert raw.partition == one.partition
        found[one.partition].append(one)
    lying: dict[tuple[str, int], list[int]] = defaultdict(list)
    for topic in INPUTS:
        for raw in committed(bootstrap, topic):
            lying[topic, raw.partition].append(raw.offset)
    for number, entries in found.items():
        assert [one.number for one in entries] == list(range(1, len(entries) + 1))
        generations = [one.generation for one in entries]
        assert generations == sorted(generations)
        for topic in INPUTS:
            ranges = [(each.first, each.last) for one in entries for each in one.ranges if each.topic == topic]
            passed = max((last for _, last in ranges), default=-1)
            counts = [sum(first <= offset <= last for first, last in ranges) for offset in lying[topic, number]]
            assert counts == [int(offset <= passed) for offset in lying[topic, number]], f"{topic}/{number}: {ranges}"
            assert ranges == sorted(ranges)
    return found


def test_each_partition_has_one_owner_while_routers_come_and_go(empty: str, make: Start, start: Start) -> None:
    """Start, an orderly end, a kill, more routers and fewer, while alerts and readings keep coming."""
    end = threading.Event()
    sent: list[str] = []

    def keep_sending() -> None:
        senders = Senders(empty)
        number = 0
        while not end.wait(0.02):
            town = TOWNS[number % len(TOWNS)]
            alert = alarm(f"station-{number}", town)
            senders.alert(alert)
            senders.send("readings", town, WIRE.encode(mean(f"station-{number % 48}", town)))
            sent.append(alert.id)
            number += 1
        senders.close()

    thread = threading.Thread(target=keep_sending)
    thread.start()
    try:
        one, two, three = start(0), make(1), make(2)
        one.until_ready()
        two.start()
        three.start()
        two.until_ready()
        three.until_ready()
        assert one.stop() == 0
        two.until_ready()
        one.start()
        one.until_ready()
        two.kill()
        two.start()
        two.until_ready()
        three.kill()
        assert one.stop() == 0
        two.until_ready()
        one.start()
        one.until_ready()
    finally:
        end.set()
        thread.join()
    until(lambda: sum(one.origin == "record" for one in decisions(empty)) >= len(sent), 60)
    found = decisions(empty)
    assert sorted(one.id for one in found if one.origin == "record") == sorted(sent)
    assert {one.outcome for one in found if one.origin == "record"} == {Outcome.OPENED}
    by_town: dict[str, list[int]] = defaultdict(list)
    for decision in found:
        by_town[decision.town].append(decision.seq)
    assert all(numbers == list(range(1, len(numbers) + 1)) for numbers in by_town.values())
    journals = [one for entries in assert_journal(empty).values() for one in entries]
    assert {one.router for one in journals} == {0, 1, 2}
    assert len({one.generation for one in journals}) >= 4


def test_a_town_waits_for_little_of_another_partitions_backlog(empty: str, start: Start) -> None:
    """The client hands out one fetch after the other: all that was fetched of the storm, up to a mebibyte, was decided before anything else."""
    quiet = next(town for town in TOWNS if HOME(town) != HOME(TOWN))
    storm = Senders(empty, compression_type="lz4", batch_size=131072)
    for number in range(15_000):
        storm.alert(alarm(f"storm-{number}"))
    storm.close()
    router = start()
    until(lambda: router.metric('gridhub_decisions_total{outcome="opened"}') >= 500, 30)
    late = Senders(empty)
    late.alert(alarm("late", quiet))
    late.close()

    def journal() -> list[Journal] | None:
        found = [
            one
            for one in map(WIRE.decode, (raw.value for raw in committed(empty, "journal")))
            if isinstance(one, Journal)
        ]
        return found if any(one.partition == HOME(quiet) and one.ranges for one in found) else None

    found = until(journal, 60)
    [own] = [one for one in found if one.partition == HOME(quiet) and one.ranges]
    [lies] = committed(empty, "alerts.air", [HOME(quiet)])
    meanwhile = sum(
        each.last - each.first + 1
        for one in found
        if one.partition == HOME(TOWN) and lies.timestamp <= one.at < own.at
        for each in one.ranges
    )
    # Of what is fetched of a partition no more than a few transactions, of 500 each.
    assert meanwhile <= 2_000


class Crc32(Partitioner):  # type: ignore[misc]
    """As librdkafka's default partitioner."""

    def partition(self, topic: str, _key: Any, key: bytes, _value: Any, _bytes: Any, cluster: Any) -> int:
        return zlib.crc32(key) % len(cluster.partitions_for_topic(topic))


def test_what_a_foreign_partitioner_misplaced_is_forwarded_and_decided_once(empty: str, start: Start) -> None:
    misplaced = [town for town in TOWNS if zlib.crc32(town.encode()) % PARTITIONS != HOME(town)][:4]
    senders = Senders(empty, partitioner=Crc32())
    for number, town in enumerate(misplaced):
        senders.alert(alarm(f"station-{number}", town))
    senders.send("readings", misplaced[0], WIRE.encode(mean("station-9", misplaced[0])))
    places = senders.close()
    router = start()
    found = decisions(empty, 9)
    handed = committed(empty, "handed-over")
    assert sorted(dict(one.headers)["x-forwarded-from"].decode() for one in handed) == sorted(places)
    for raw in handed:
        envelope = WIRE.decode(raw.value)
        assert isinstance(envelope, HandedOver)
        inner = WIRE.decode(envelope.value)
        assert isinstance(inner, AirAlert | Reading)
        assert raw.partition == HOME(inner.town)
        assert f"{envelope.topic}/{envelope.partition}/{envelope.offset}" in places
    forwarded = [one for one in found if one.outcome == Outcome.FORWARDED]
    assert sorted((one.town, one.seq) for one in forwarded) == sorted((town, 0) for town in misplaced)
    opened = [one for one in found if one.outcome == Outcome.OPENED]
    assert sorted(one.town for one in opened) == sorted([*misplaced, misplaced[0]])
    assert {one.topic for one in opened} == {"handed-over"}
    assert router.stop() == 0
    assert router.process
    assert len(found) == 9
    assert len(committed(empty, "handed-over")) == 5
    assert_journal(empty)


def test_what_was_handed_over_to_a_wrong_partition_is_not_handed_on(empty: str, start: Start) -> None:
    alert = alarm("station-1")
    envelope = HandedOver(
        topic="alerts.air", partition=0, offset=7, key=TOWN.encode(), value=WIRE.encode(alert), headers=()
    )
    wrong = next(town for town in TOWNS if HOME(town) != HOME(TOWN))
    senders = Senders(empty)
    senders.send("handed-over", TOWN, WIRE.encode(envelope), HOME(wrong))
    [place] = senders.close()
    senders = Senders(empty)
    senders.alert(alarm("station-2", wrong))
    senders.close()
    router = start()
    found = decisions(empty, 2)
    assert [(one.id, one.reasons) for one in found if one.outcome == Outcome.INVALID] == [(place, ("schema",))]
    assert [one.id for one in found if one.outcome == Outcome.OPENED] == ["station-2/2072/1"]
    assert router.stop() == 0
    assert len(committed(empty, "handed-over")) == 1


def test_a_new_map_moves_only_what_changes_its_owner_and_a_replay_follows(empty: str, start: Start) -> None:
    """Two cells, two workers, a ticket in each; one of the workers leaves. Then what lies in another town goes there."""
    now = int(time.time() * 1000)
    rules = (replace(SMOKE, quiet_s=0), BUILDING)
    register(empty, registry(WANG, LI, HEAD, rules=rules))
    senders = Senders(empty)
    for name, lon in (("cam-1", 113.905), ("cam-2", 113.915)):
        senders.alert(camera(name, "begins", now, device=name, lon=lon, lat=34.705, town=PLACED))
    senders.close()
    router = start(RULES=None)

    def reassigned() -> list[TicketEvent]:
        steps = [one for one in records(empty, "ticket-events") if isinstance(one, TicketEvent)]
        return [one for one in steps if one.step == "reassigned"]

    opened = {one.id: one for one in decisions(empty, 2)}
    assert [one.versions[0].version for one in opened.values()] == ["2", "2"]
    register(empty, registry(LI, HEAD, rules=rules))
    moved = until(reassigned, 30)
    assert [(one.ticket_id, one.version, one.owner_role, one.owner, one.reason) for one in moved] == [
        (opened["cam-1"].ticket_id, 2, "head", "zhao", "registry 3")
    ]
    senders = Senders(empty)
    senders.alert(patrol("spot-1", now, spot_no="S1", lon=113.925, lat=34.705, town=PLACED))
    senders.alert(camera("cam-1-ends", "ends", now, device="cam-1", town=PLACED))
    senders.close()
    found = decisions(empty, 5)
    there = {(one.id, one.town): one.outcome for one in found}
    assert there["spot-1", PLACED] == Outcome.HANDED_OVER
    assert there["spot-1", EAST] == Outcome.OPENED
    assert there["cam-1-ends", PLACED] == Outcome.CLEARED
    assert router.stop() == 0
    assert len(reassigned()) == 1
    settings = Settings(kafka=KafkaSettings(bootstrap=empty))
    result = replay(settings)
    assert (result.findings, result.journal > 0) == ([], True)
    # A router that starts again under the same version moves nothing.
    again = start(RULES=None)
    again.until_ready()
    assert again.stop() == 0
    assert replay(settings).findings == []


def test_what_cannot_be_read_is_kept_and_the_next_record_decided(empty: str, start: Start) -> None:
    garbage = [b"no avro", b"", b"\x00" + bytes(40), WIRE.encode(alarm("station-1"))[:-3]]
    senders = Senders(empty)
    for raw in garbage:
        senders.send("alerts.air", TOWN, raw)
        senders.send("readings", TOWN, raw)
    unread = senders.close()
    senders = Senders(empty)
    senders.alert(alarm("station-2"))
    senders.send("readings", TOWN, WIRE.encode(mean("station-3")))
    senders.close()
    router = start()
    found = decisions(empty, len(garbage) + 2)
    letters = [WIRE.decode(one.value) for one in committed(empty, "dead-letters")]
    assert all(isinstance(one, DeadLetter) for one in letters)
    assert sorted((one.id, one.feed, one.reason, one.raw) for one in letters if isinstance(one, DeadLetter)) == sorted(
        (place, "router", "schema", garbage[number // 2]) for number, place in enumerate(unread)
    )
    invalid = [one for one in found if one.outcome == Outcome.INVALID]
    assert sorted(one.id for one in invalid) == sorted(place for place in unread if place.startswith("alerts.air"))
    assert {one.origin for one in found if one.outcome == Outcome.OPENED} == {"record", "watch"}
    assert router.metric('gridhub_dead_letters_total{feed="router",reason="schema"}') == 2 * len(garbage)
    assert router.stop() == 0
    assert_journal(empty)


def test_a_repeated_alert_is_one_ticket_also_for_the_next_life(empty: str, start: Start) -> None:
    alert = alarm("station-1")
    senders = Senders(empty)
    senders.alert(alert)
    senders.alert(replace(alert, accepted_at=alert.accepted_at + 5))
    senders.close()
    router = start()
    decisions(empty, 2)
    assert router.stop() == 0
    router.start()
    router.until_ready()
    senders = Senders(empty)
    senders.alert(alert)
    senders.close()
    found = decisions(empty, 3)
    assert [(one.outcome, one.seq) for one in found] == [
        (Outcome.OPENED, 1),
        (Outcome.REPEATED, 2),
        (Outcome.REPEATED, 3),
    ]
    assert len({one.ticket_id for one in found}) == 1
    assert [(one.version, one.alerts) for one in records(empty, "tickets") if isinstance(one, Ticket)] == [(1, 1)]


def test_time_passes_for_a_quiet_town_while_others_never_rest(empty: str, start: Start) -> None:
    """A period without the station's own mean is decided by time alone."""
    end = threading.Event()

    def keep_sending() -> None:
        senders = Senders(empty)
        number = 0
        while not end.wait(0.02):
            senders.send("readings", TOWNS[1], WIRE.encode(mean(f"station-{number}", TOWNS[1], 10.0)))
            number += 1
        senders.close()

    router = start()
    router.until_ready()
    thread = threading.Thread(target=keep_sending)
    thread.start()
    try:
        until(lambda: router.metric('gridhub_readings_applied_total{result="applied"}') > 20, 20)
        senders = Senders(empty)
        over = mean("quiet", value=400.0)
        minutes = (Value(factor="a34002", statistic="Avg", value=400.0, unit="ug/m3", mark="N"),)
        begun = int(time.time() // PERIOD_S * PERIOD_S) * 1000
        for second in range(PERIOD_S):
            at = begun + second * 1000
            part = replace(
                over,
                id=f"quiet/2051/{at}",
                message_code="2051",
                period_s=1,
                occurred_at=at,
                event_at=at,
                values=minutes,
            )
            senders.send("readings", TOWN, WIRE.encode(part))
        senders.close()
        [one] = decisions(empty, 1, 10)
        assert (one.town, one.outcome, one.topic, one.offset) == (TOWN, Outcome.OPENED, "", -1)
    finally:
        end.set()
        thread.join()


# ---- Kafka that is away, and what /ready says


def test_it_waits_for_kafka_and_ends_in_time_without_it(make: Start) -> None:
    router = make(bootstrap=f"127.0.0.1:{reserved_port()}")
    router.start()
    assert "not in the group yet" in until(router.ready, 20)
    until(lambda: any(one.startswith("Kafka: ") for one in router.ready() or []), 30)
    began = time.monotonic()
    assert router.stop() == 0
    assert time.monotonic() - began < 10


def test_a_broker_that_is_killed_and_comes_back_costs_nothing(broker: Broker, empty: str, start: Start) -> None:
    router = start()
    router.until_ready()
    senders = Senders(empty)
    senders.alert(alarm("station-1"))
    senders.close()
    decisions(empty, 1)
    broker.kill()
    until(lambda: (reasons := router.ready()) and any(one.startswith("Kafka: ") for one in reasons), 30)
    broker.start()
    router.until_ready(40)
    senders = Senders(empty)
    senders.alert(alarm("station-2"))
    senders.alert(alarm("station-1"))
    senders.close()
    assert [one.outcome for one in decisions(empty, 3)] == [Outcome.OPENED, Outcome.OPENED, Outcome.REPEATED]
    assert router.stop() == 0
    assert_journal(empty)


@pytest.mark.parametrize("way", ["cut", "hold"])
def test_it_ends_in_time_when_kafka_does_not_answer(
    empty: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, way: str
) -> None:
    proxy = CuttableProxy()
    for client in (KafkaConsumer, KafkaProducer):
        monkeypatch.setitem(client.DEFAULT_CONFIG, "proxy_url", proxy.url)
    router = RouterThread(empty, tmp_path, session_timeout_ms=SESSION_MS)
    router.start()
    router.until_ready()
    getattr(proxy, way)()
    until(lambda: any(one.startswith("Kafka: ") for one in router.router.reasons()), 40)
    began = time.monotonic()
    router.stop()
    took = time.monotonic() - began
    proxy.close()
    gc.collect()
    assert took < 10


@pytest.mark.usefixtures("empty")
def test_it_is_ready_when_it_works_and_says_what_it_waits_for(make: Start) -> None:
    seen: list[str] = []
    router = make()
    router.start()

    def ready() -> bool:
        reasons = router.ready()
        seen.extend(one for one in reasons or [] if one not in seen)
        return reasons == []

    until(ready, 30)
    assert "not in the group yet" in seen
    assert router.metric("gridhub_rebuild_seconds") > 0
    began = time.monotonic()
    assert router.stop() == 0
    assert time.monotonic() - began < 10
    said = [json.loads(line)["event"] for line in router.said().splitlines() if line.startswith("{")]
    assert said[0] == "starting"
    assert said[-1] == "stopped"
    assert said.index("serving") < said.index("rebuilt") < said.index("stopping")
    assert not (router.data / "run" / "router-0.json").exists()


def test_the_later_of_two_in_a_slot_stays(empty: str, start: Start) -> None:
    first = start()
    first.until_ready()
    second = start(tag="-second")
    second.until_ready()
    senders = Senders(empty)
    for number, town in enumerate(TOWNS):
        senders.alert(alarm(f"station-{number}", town))
    senders.close()
    assert first.ended(30) == 3
    found = decisions(empty, len(TOWNS))
    second.until_ready()
    assert second.stop() == 0
    # None has taken the slot back.
    assert "ProducerFenced" not in second.said()
    assert '"reason": "other"' not in first.said()
    assert sorted(one.id for one in found) == sorted(f"station-{number}/2072/1" for number in range(len(TOWNS)))
    assert_journal(empty)


# ---- the clock


def test_a_clock_that_differs_stops_time_and_says_so(
    empty: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It jumps back by an hour, and later is right again."""
    monkeypatch.setattr("hub.router.PROBE_S", 0.2)
    ahead_s = 0.0
    router = RouterThread(empty, tmp_path, clock=lambda: time.time() + ahead_s)
    router.start()
    router.until_ready()
    ahead_s = -3600.0
    until(lambda: "the clock differs from the broker's" in router.router.reasons(), 20)
    [(told,)] = router.telemetry.named("clock_off")
    assert told == pytest.approx(-3600, abs=5)
    ahead_s = 0.0
    router.until_ready(20)
    assert len(router.telemetry.named("clock_right")) == 1
    ahead_s = 3600.0
    until(router.router.reasons, 20)
    assert len(router.telemetry.named("clock_off")) == 2
    router.stop()


# ---- what is remembered


def remembered(count: int) -> Iterator[RouterState]:
    """Open episodes and their tickets, the towns' clocks, and what each of their partitions knows of itself."""
    now = int(time.time() * 1000)
    for number in sorted(set(map(HOME, TOWNS))):
        yield RouterState(town="", kind="partition", id=str(number), body='{"journal":1}')
    for town in TOWNS:
        yield RouterState(town=town, kind="town", id="", body=memory.to_text(Clock(now=now, seq=count)))
    for number in range(count):
        town = TOWNS[number % len(TOWNS)]
        ticket = Ticket(
            id=f"{town}-{number:016x}",
            version=1,
            town=town,
            state=State.OPEN,
            class_code="08004",
            class_standard="GB/T 47678.5-2026",
            kind="air.pm10.over_limit",
            device=f"station-{number}",
            cell="",
            owner_role="centre",
            owner="",
            opened_at=now,
            updated_at=now,
            cleared_at=None,
            due_at=None,
            alerts=1,
            rule="air.pm10.over_limit",
            decision_seq=number,
        )
        episode = Episode(decided=now - now % 3_600_000, ticket=ticket.id)
        name = f"air.pm10.over_limit|a34002|station-{number}"
        yield RouterState(town=town, kind="episode", id=name, body=memory.to_text(episode))
        yield RouterState(town=town, kind="ticket", id=ticket.id, body=memory.to_text(ticket))


def put(bootstrap: str, topic: str, partition: int, *records: tuple[bytes, bytes | None]) -> None:
    """As a defect or a stranger might: keys and values that nobody has looked at."""
    producer = KafkaProducer(bootstrap_servers=bootstrap)
    places = [producer.send(topic, value, key, partition=partition) for key, value in records]
    for place in places:
        place.get(30)
    producer.close()


def gridhub(bootstrap: str, *words: str) -> subprocess.CompletedProcess[str]:
    environment = {"GRIDHUB__KAFKA__BOOTSTRAP": bootstrap, "GRIDHUB__RULES": json.dumps(QUICK_RULES)}
    return subprocess.run(
        [sys.executable, "-m", "hub", *words],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def poison(empty: str, sick: str, neighbour: str, lost: str, ticket: str) -> None:
    """On the changelog for `sick`, and for what the partition of `lost` knows of itself; on each input, and on the registry."""
    put(
        empty,
        "router-state",
        HOME(sick),
        (f"{sick}|ticket|{ticket}".encode(), b"poison"),
        (f"{sick}|town|".encode(), WIRE.encode(RouterState(town=sick, kind="town", id="", body='{"now":"x"}'))),
        (b"a stranger", b"poison"),
        (f"{lost}|town|".encode(), b"of another partition"),
    )
    put(empty, "router-state", HOME(lost), (f"|partition|{HOME(lost)}".encode(), b"poison"))
    stray = WIRE.encode(alarm("stray", neighbour))
    for topic in ("alerts.air", "readings", "handed-over"):
        put(empty, topic, HOME(sick), (neighbour.encode(), b"poison"))
    put(empty, "alerts.air", HOME(sick), (sick.encode(), stray))
    bad = Senders(empty)
    for kind, name, body in (("device", "d", "{}"), ("version", "", '{"count":1,"sha256":"x"}')):
        bad.send("registry", f"9|{kind}|{name}", WIRE.encode(RegistryEntry(version=9, kind=kind, id=name, body=body)))
    bad.send("registry", "9|device|e", b"poison")
    bad.close()


def test_poison_on_every_topic_stops_one_town_and_loses_nothing(empty: str, start: Start, tmp_path: Path) -> None:
    """While tickets are open, in all that a router reads: inputs, its changelog, the registry. Then the one town is mended, and what it was sent
    meanwhile is replayed.
    """
    sick = TOWNS[0]
    neighbour = next(town for town in TOWNS[1:] if HOME(town) == HOME(sick))
    lost = next(town for town in TOWNS if HOME(town) != HOME(sick))
    towns = (sick, neighbour, lost)
    senders = Senders(empty)
    for town in towns:
        senders.alert(alarm(f"{town}-old", town))
    senders.close()
    router = start()
    opened = {one.town: one.ticket_id for one in decisions(empty, 3)}
    assert router.stop() == 0

    poison(empty, sick, neighbour, lost, opened[sick])
    router.start()
    router.until_ready()
    assert router.metric(f'gridhub_towns_quarantined{{partition="{HOME(sick)}"}}') == 1
    until(lambda: len(router.notes()) == 2, 20)
    assert router.notes() == [
        f"town {sick} is in quarantine: gridhub quarantine list",
        "version 9 of the registry cannot be read here",
    ]
    senders = Senders(empty)
    for town in towns:
        senders.alert(alarm(f"{town}-new", town))
        senders.alert(replace(alarm(f"{town}-old", town, Signal.ENDS), id=f"{town}-old/ends"))
        senders.send("readings", town, WIRE.encode(mean(f"{town}-mean", town)))
    senders.close()

    def record_decisions() -> dict[str, str]:
        return {one.id: one.outcome for one in decisions(empty) if one.origin == "record"}

    # 3 of before, 3 of poison, 6 now
    until(lambda: len(record_decisions()) >= 12, 30)
    until(lambda: sum(one.origin == "watch" for one in decisions(empty)) == 2, 30)
    found = record_decisions()
    for town in (neighbour, lost):
        assert (found[f"{town}-new/2072/1"], found[f"{town}-old/ends"]) == (Outcome.OPENED, Outcome.CLEARED)
    letters = [WIRE.decode(one.value) for one in committed(empty, "dead-letters")]
    kept = Counter(one.reason for one in letters if isinstance(one, DeadLetter))
    assert kept == {"schema": 4, "quarantined": 3}
    assert {one.versions[0].version for one in decisions(empty)} == {"1"}
    assert_journal(empty)

    mend(empty, router, sick, neighbour, tmp_path)
    until(lambda: f"{sick}-old/ends" in record_decisions(), 30)
    found = record_decisions()
    assert (found[f"{sick}-new/2072/1"], found[f"{sick}-old/ends"]) == (Outcome.OPENED, Outcome.CLEARED)
    cleared = [one.ticket_id for one in decisions(empty) if one.id == f"{sick}-old/ends"]
    assert cleared == [opened[sick]], "what it remembered is what it was"
    assert router.stop() == 0
    assert_journal(empty)
    assert_replayed(gridhub(empty, "replay"))


def mend(empty: str, router: RouterProcess, sick: str, neighbour: str, folder: Path) -> None:
    """As the runbook says it, with the mistakes that can be made."""
    listed = gridhub(empty, "quarantine", "list", "--json")
    assert listed.returncode == 1, listed.stderr
    assert [(one["town"], len(one["why"])) for one in json.loads(listed.stdout) if one["town"]] == [(sick, 2)]
    assert gridhub(empty, "quarantine", "end", neighbour, "--forget").returncode == 2, "nothing to mend"
    assert gridhub(empty, "replay", "--until", "1", "--export", str(folder / "early")).returncode == 0
    early = gridhub(empty, "quarantine", "end", sick, "--from", str(folder / "early"))
    assert (early.returncode, "run gridhub replay --export once more" in early.stderr) == (2, True)
    assert_replayed(gridhub(empty, "replay", "--export", str(folder / "state")))
    assert gridhub(empty, "quarantine", "end", sick, "--from", str(folder / "state")).returncode == 0
    assert router.stop() == 0
    router.start()
    router.until_ready()
    assert router.metric(f'gridhub_towns_quarantined{{partition="{HOME(sick)}"}}') == 0
    again = gridhub(empty, "dead-letters", "replay", "--all", "--reason", "quarantined", "--yes")
    assert (again.returncode, again.stdout.count("replayed")) == (0, 3), again.stdout + again.stderr


def assert_replayed(ran: subprocess.CompletedProcess[str]) -> None:
    """All that was decided is decided so again; what a stranger has written where routers write is found."""
    assert {line.partition("/")[0] for line in ran.stdout.splitlines()} == {"router-state", "handed-over"}, ran.stdout


@pytest.mark.slow
def test_a_hundred_thousand_open_episodes_are_there_again_in_time(empty: str, make: Start) -> None:
    producer = KafkaProducer(bootstrap_servers=empty, linger_ms=50, batch_size=1 << 20, compression_type="lz4")
    count = 100_000
    for state in remembered(count):
        partition = HOME(state.town) if state.town else int(state.id)
        producer.send("router-state", WIRE.encode(state), key_of(state).encode(), partition=partition)
    producer.flush()
    producer.close()
    senders = Senders(empty)
    senders.send("readings", TOWN, WIRE.encode(mean("station-0", TOWN)))
    senders.close()
    router = make()
    began = time.monotonic()
    router.start()
    router.until_ready(60)
    took = time.monotonic() - began
    assert router.process
    resident = psutil.Process(router.process.pid).memory_info().rss
    entries = sum(
        json.loads(line)["entries"] for line in router.said().splitlines() if '"rebuilt"' in line and line[0] == "{"
    )
    rebuild_s = router.metric("gridhub_rebuild_seconds")
    for name, figure in (("ready_s", took), ("rebuild_s", rebuild_s), ("mebibytes", resident / 2**20)):
        print(f"{count} open episodes: {name} {figure:.1f}")
    assert entries == 2 * count + len(TOWNS) + len(set(map(HOME, TOWNS)))
    assert took < 45
    assert resident < 1 << 30
    # The episode and its ticket are known: an hour over the limit opens no other.
    [decision] = decisions(empty, 1)
    assert (decision.outcome, decision.seq, decision.ticket_id) == (Outcome.UPDATED, count + 1, f"{TOWN}-{0:016x}")
