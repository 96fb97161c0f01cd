"""The ticket checker finds nothing wrong with a sound run, and everything that is done to one.

The run is made up here by hand: two towns, and after each record or tick what a router must have decided, written down and not worked
out. Times are seconds after `BEGIN`, a multiple of the period.
"""

import json
import random
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest
from kafka.partitioner.default import murmur2

from tests.faults import checker, ticket_checker
from tests.faults.checker import Aside, Balance, Contract, Finding, Log, Run, Stored, Topics, Wrong, place_of
from tests.faults.encoding import SCHEMAS, encoder
from tests.faults.ticket_checker import RouterRun, Rule

BEGIN = 1_772_424_000_000  # 2026-03-02 12:00:00 in Beijing
TRANSIT_MS = 120
REBALANCED = BEGIN + 28_000

REGISTER = """\
device,mn,vendor,feed,town,lon,lat,factor_units
plain,010000A8900016F000169DC0,north,air,410122106,113.9141,34.6960,a34002=ug/m3;a34004=ug/m3
milli,41012200000002,south,air,410122106,113.9145,34.7039,a34002=mg/m3;a34004=mg/m3
scaled,41012200000003,south,air,410222101,114.3419,34.569,a34002=mg/m3*10
"""
ROWS = {row.split(",")[0]: row.split(",") for row in REGISTER.splitlines()}
VERSIONS = [{"name": "rules", "version": "d98445693f52cd17"}]
WATCHING = {"period": 10, "wait": 5, "realtime": 5}
RULES = (
    Rule.of({"kind": "air.pm10.over_limit", "class": "08004", "factor": "a34002", "limit": 150, **WATCHING}),
    Rule.of({"kind": "air.pm25.over_limit", "class": "08004", "factor": "a34004", "limit": 75, **WATCHING}),
    Rule.of({"kind": "air.device_alarm", "class": "08004"}),
)
PM10, PM25, ALARM = (rule.kind for rule in RULES)

Fields = dict[str, Any]


ENCODERS = {
    "readings": encoder("reading"),
    "alerts.air": encoder("air_alert"),
    "handed-over": encoder("handed_over"),
    "tickets": encoder("ticket", 2),
    "ticket-events": encoder("ticket_event", 2),
    "decisions": encoder("decision"),
    "journal": encoder("journal", 2),
}
CONTRACT = Contract(SCHEMAS)


def home(town: str) -> int:
    return int(murmur2(town.encode()) & 0x7FFFFFFF) % 12


def beijing(at: int) -> str:
    return f"{datetime.fromtimestamp(at / 1000, UTC) + timedelta(hours=8):%Y%m%d%H%M%S}"


def rfc3339(at: int) -> bytes:
    return datetime.fromtimestamp(at / 1000, UTC).isoformat(timespec="milliseconds")[:-6].encode() + b"Z"


def headers(identity: str, kind: str, source: str, at: int, trace: str = "") -> tuple[tuple[str, bytes], ...]:
    digest = sha256((trace or identity).encode()).hexdigest()
    return (
        ("ce_specversion", b"1.0"),
        ("ce_id", identity.encode()),
        ("ce_source", source.encode()),
        ("ce_type", kind.encode()),
        ("ce_time", rfc3339(at)),
        ("content-type", b"application/avro"),
        ("traceparent", f"00-{digest[:32]}-{digest[32:48]}-00".encode()),
    )


@dataclass
class Open:
    """What the writer knows of a ticket."""

    id: str
    device: str
    rule: str
    opened_at: int
    version: int = 0
    alerts: int = 0


@dataclass
class Writer:
    """Writes what stations, connector and router would have."""

    lines: list[Fields] = field(default_factory=list)
    records: dict[tuple[str, int], list[Stored]] = field(default_factory=dict)
    tickets: dict[str, Open] = field(default_factory=dict)
    seqs: dict[str, int] = field(default_factory=dict)
    numbers: dict[int, int] = field(default_factory=dict)
    nows: dict[str, int] = field(default_factory=dict)
    read: dict[int, list[Stored]] = field(default_factory=dict)
    ticks: dict[int, list[Fields]] = field(default_factory=dict)
    event: tuple[str, int, int] = ("", 0, -1)
    registry: int = 0
    quarantined: list[str] = field(default_factory=list)
    aside: dict[Stored, str] = field(default_factory=dict)

    @property
    def versions(self) -> list[Fields]:
        """What is in force; without a registry, where the run has none."""
        return [*VERSIONS, *([{"name": "registry", "version": str(self.registry)}] if self.registry else [])]

    def append(self, topic: str, partition: int, key: str, value: bytes, named: Iterable[Any], at: int) -> Stored:
        lane = self.records.setdefault((topic, partition), [])
        # A transaction ends with a marker, which takes an offset, too: here each record of the router is alone in one.
        step = 1 if topic in checker.RECORD_OF_TOPIC else 2
        stored = Stored(topic, partition, len(lane) * step, at, key.encode(), tuple(named), value)
        lane.append(stored)
        return stored

    # stations and connector

    def sent(
        self, device: str, second: float, body: str, cn: str, more: Fields, *, again: int, partition: int
    ) -> Stored:
        """The last of its records, of which there are `again` more."""
        at = BEGIN + int(second * 1000)
        qn = f"{beijing(at)}{at % 1000:03d}"
        head = f"QN={qn};ST=22;CN={cn};PW=123456;MN={ROWS[device][1]};Flag=5;"
        segment = f"{head}CP=&&{body}&&".encode()
        raw = b"##%04d%s%04X\r\n" % (len(segment), segment, 0x1C80)
        numbers = [line["n"] for line in self.lines if line["what"] == "sent" and line["device"] == device]
        n = max(numbers, default=0) + 1
        if n == 1:
            self.lines.append({"what": "connected", "at": at, "device": device})
        town = ROWS[device][4]
        expect, topic = ("alert", "alerts.air") if cn == "2072" else ("reading", "readings")
        fields: Fields = {
            "id": f"{device}/{cn}/{qn}",
            "town": town,
            "device": device,
            "vendor": ROWS[device][2],
            "kind": "air.device_alarm" if cn == "2072" else "air.reading",
            "occurred_at": at // 1000 * 1000,
            "event_at": at // 1000 * 1000,
            "time_mark": "device",
            "lon": float(ROWS[device][5]),
            "lat": float(ROWS[device][6]),
            "datum": "WGS84",
            "message_code": cn,
        } | more
        for attempt in range(1, again + 2):
            told = {"device": device, "n": n, "attempt": attempt, "qn": qn}
            self.lines.append(told | {"what": "sent", "at": at, "raw": raw.hex(), "expect": expect, "trouble": ""})
            value = ENCODERS[topic](fields | {"accepted_at": at + attempt})
            source = f"/{ROWS[device][2]}/{device}"
            named = headers(fields["id"], fields["kind"], source, fields["occurred_at"])
            stored = self.append(topic, partition, town, value, named, at + TRANSIT_MS)
            self.lines.append(told | {"what": "answered", "at": at + TRANSIT_MS, "answer": "9014"})
        return stored

    def reading(self, device: str, second: float, again: int = 0, **texts: str) -> Stored:
        """`texts`: the factor's number as it is sent; the register says in what."""
        body, values = [f"DataTime={beijing(BEGIN + int(second * 1000))}"], []
        for code, text in texts.items():
            body.append(f"{code}-Rtd={text},{code}-Flag=N")
            size = {"plain": 1, "milli": 1000, "scaled": 10_000}[device]
            values.append(
                {
                    "factor": code,
                    "statistic": "Rtd",
                    "value": round(float(text) * size, 6),
                    "unit": "ug/m3",
                    "mark": "N",
                }
            )
        more = {"period_s": 0, "backfilled": False, "incomplete": False, "values": values}
        partition = home(ROWS[device][4])
        return self.sent(device, second, ";".join(body), "2011", more, again=again, partition=partition)

    def alarm(self, second: float, alarm_type: str, again: int = 0, partition: int | None = None) -> Stored:
        """Of `scaled`: 200 ug/m3."""
        body = f"AlarmTime={beijing(BEGIN + int(second * 1000))};PM10-Ala=0.0200,AlarmType={alarm_type}"
        value = {"factor": "a34002", "value": 200.0, "unit": "ug/m3", "alarm_type": alarm_type}
        more = {"signal": {"1": "begins", "0": "ends"}[alarm_type], "values": [value]}
        there = home(ROWS["scaled"][4]) if partition is None else partition
        return self.sent("scaled", second, body, "2072", more, again=again, partition=there)

    # the router

    def takes(self, stored: Stored, town: str) -> None:
        """A record is applied; what is decided next follows from it."""
        self.read.setdefault(stored.partition, []).append(stored)
        self.event = stored.topic, stored.partition, stored.offset
        if home(town) == stored.partition:
            self.nows[town] = max(self.nows.get(town, 0), stored.timestamp)

    def keeps_aside(self, stored: Stored, reason: str) -> None:
        """A record is applied that touches no town; of an alert a decision says so."""
        self.read.setdefault(stored.partition, []).append(stored)
        self.aside[stored] = reason
        if stored.topic == "readings":
            return
        fields: Fields = {
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
            "ticket_id": "",
            "rule": "",
            "versions": self.versions,
        }
        named = headers(stored.place, "gridhub.decision", "/router", stored.timestamp)
        self.append("decisions", home(NO_TOWN), NO_TOWN, ENCODERS["decisions"](fields), named, stored.timestamp)

    def tick(self, town: str, second: float) -> None:
        now = max(self.nows[town], BEGIN + int(second * 1000))
        self.nows[town] = now
        self.event = "", home(town), -1
        self.ticks.setdefault(home(town), []).append({"town": town, "now": now})

    def decides(
        self, town: str, outcome: str, alert: str, *, origin: str, reasons: Iterable[str] = (), rule: str = "",
        ticket: str = "", now: int | None = None,
    ) -> int:  # fmt: skip
        seq = self.seqs[town] = self.seqs.get(town, 0) + 1 if outcome != "forwarded" else 0
        # What is concluded from readings is concluded because time has passed.
        topic, partition, offset = self.event if origin == "record" else ("", self.event[1], -1)
        fields: Fields = {
            "id": alert,
            "town": town,
            "seq": seq,
            "origin": origin,
            "topic": topic,
            "partition": partition,
            "offset": offset,
            "now": self.nows[town] if now is None else now,
            "outcome": outcome,
            "reasons": [*reasons],
            "ticket_id": ticket,
            "rule": rule,
            "versions": self.versions,
        }
        named = headers(alert, "gridhub.decision", "/router", fields["now"])
        self.append("decisions", home(town), town, ENCODERS["decisions"](fields), named, fields["now"])
        return seq

    def steps(self, device: str, outcome: str, rule: str, alert: str, *, origin: str, reasons: Iterable[str]) -> str:
        """A decision that takes a step of a ticket: the ticket's id."""
        town = ROWS[device][4]
        now = self.nows[town]
        name = f"{device}/{rule}"
        if outcome == "opened":
            ticket = Open(f"{town}-{sha256(alert.encode()).hexdigest()[:16]}", device, rule, now)
            self.tickets[name] = ticket
        ticket = self.tickets[name]
        ticket.version += 1
        ticket.alerts += outcome != "cleared"
        seq = self.decides(town, outcome, alert, origin=origin, reasons=reasons, rule=rule, ticket=ticket.id)
        state = "cleared" if outcome == "cleared" else "open"
        fields: Fields = {
            "id": ticket.id,
            "version": ticket.version,
            "town": town,
            "state": state,
            "class_code": "08004",
            "class_standard": "GB/T 47678.5-2026",
            "kind": rule,
            "device": device,
            "cell": "",
            "grid": "",
            "lon": float(ROWS[device][5]),
            "lat": float(ROWS[device][6]),
            "datum": "WGS84",
            "given_x": None,
            "given_y": None,
            "place_mark": "none",
            "urgency": "normal",
            "vendor": ROWS[device][2],
            "case_no": "",
            "owner_role": "centre",
            "owner": "",
            "opened_at": ticket.opened_at,
            "updated_at": now,
            "cleared_at": now if outcome == "cleared" else None,
            "due_at": None,
            "alerts": ticket.alerts,
            "rule": rule,
            "decision_seq": seq,
        }
        event: Fields = {
            "id": f"{ticket.id}/{ticket.version}",
            "ticket_id": ticket.id,
            "town": town,
            "version": ticket.version,
            "step": outcome,
            "state": state,
            "at": now,
            "alert": alert,
            "decision_seq": seq,
            "cell": "",
            "owner_role": "centre",
            "owner": "",
            "reason": "",
        }
        named = headers(event["id"], "gridhub.ticket", "/router", now)
        self.append("tickets", home(town), ticket.id, ENCODERS["tickets"](fields), named, now)
        named = headers(event["id"], "gridhub.ticket_event", "/router", now, alert)
        self.append("ticket-events", home(town), town, ENCODERS["ticket-events"](event), named, now)
        return ticket.id

    def concludes(self, device: str, outcome: str, rule: str, period: int, mean: str, values: int) -> None:
        """From a mean: what `outcome` says."""
        start = datetime.fromtimestamp(BEGIN // 1000 + 10 * period, UTC).strftime("%Y%m%dT%H%M%SZ")
        factor, limit = {PM10: ("a34002", 150), PM25: ("a34004", 75)}[rule]
        reasons = (
            f"mean {mean}, limit {limit} ug/m3",
            f"mean of {values} realtime values that cover 0.1667 min",
            f"period {start}/PT10S",
        )
        self.steps(device, outcome, rule, f"{device}/{rule}/{factor}/{start}", origin="watch", reasons=reasons)

    def commits(self, town: str, *, partition: int | None = None, at: int = 0) -> None:
        """All that was read or passed since the last time. `at`: when, where that was nothing."""
        number = home(town) if partition is None else partition
        self.numbers[number] = self.numbers.get(number, 0) + 1
        read, ticks = self.read.pop(number, []), self.ticks.pop(number, [])
        at = max([each["now"] for each in ticks] or [each.timestamp + 3 for each in read] or [at])
        slot, generation = (0, 3) if at < REBALANCED else (2, 5)
        ranges = []
        for topic in sorted({each.topic for each in read}):
            offsets = [each.offset for each in read if each.topic == topic]
            ranges.append({"topic": topic, "first": min(offsets), "last": max(offsets)})
        fields: Fields = {
            "partition": number,
            "number": self.numbers[number],
            "router": slot,
            "generation": generation,
            "at": at,
            "program": "0.2.0",
            "versions": self.versions,
            "ranges": ranges,
            "ticks": ticks,
            "quarantined": self.quarantined,
        }
        named = headers(f"{number}/{fields['number']}", "gridhub.journal", f"/router/{slot}", at)
        self.append("journal", number, str(number), ENCODERS["journal"](fields), named, at)

    def run(self) -> RouterRun:
        def topics(names: Iterable[str]) -> Topics:
            return Topics(
                tuple(one for place in sorted(self.records) if place[0] in names for one in self.records[place])
            )

        written = topics(ticket_checker.WRITTEN)
        return RouterRun(
            run=Run(
                log=Log.of(self.lines),
                topics=topics(checker.RECORD_OF_TOPIC),
                register=checker.register(REGISTER),
                contract=CONTRACT,
                minute_period_s=600,
                balance=Balance(0, 0, {}),
            ),
            written=written,
            again=written,
            rules=RULES,
            until=BEGIN + 68_000,
        )


NO_TOWN = "000000000"
ZHENGAN, SHUGANG = ROWS["plain"][4], ROWS["scaled"][4]


def story(registry: int = 0) -> Writer:
    w = Writer(registry=registry)
    means(w)
    alarms(w)
    astray(w)
    return w


def means(w: Writer) -> None:
    """Two devices of one town, two episodes of the one and one of the other."""
    # Period 0: plain is over (180), milli is not (55.1). What is sent twice counts once.
    w.takes(w.reading("plain", 0, a34002="200.0", a34004="60.0"), ZHENGAN)
    w.takes(w.reading("milli", 0, a34004="0.0352"), ZHENGAN)
    w.commits(ZHENGAN)
    second = w.reading("plain", 5, again=1, a34002="160.0", a34004="60.0")
    w.takes(replace(second, offset=second.offset - 1), ZHENGAN)
    w.takes(second, ZHENGAN)
    w.takes(w.reading("milli", 5, a34004="0.0750"), ZHENGAN)
    w.commits(ZHENGAN)
    # Period 1: both are over; the first record after period 0 is no longer waited for decides it.
    w.takes(w.reading("plain", 10, a34002="170.0"), ZHENGAN)
    w.takes(w.reading("milli", 10, a34004="0.0760"), ZHENGAN)
    w.takes(w.reading("plain", 15, a34002="171.1"), ZHENGAN)
    w.concludes("plain", "opened", PM10, 0, "180", 2)
    w.takes(w.reading("milli", 15, a34004="0.0751"), ZHENGAN)
    w.commits(ZHENGAN)
    # Nobody says anything for a while: time alone decides, for both.
    w.takes(w.reading("plain", 20, a34002="500.0"), ZHENGAN)
    w.commits(ZHENGAN)
    w.tick(ZHENGAN, 25.5)
    w.concludes("plain", "updated", PM10, 1, "170.55", 2)
    w.concludes("milli", "opened", PM25, 1, "75.55", 2)
    w.commits(ZHENGAN)
    # Period 2 has one value: neither over nor clean. Period 3 lies at the limit, which is clean; another router goes on.
    w.takes(w.reading("plain", 30, a34002="150.0"), ZHENGAN)
    w.takes(w.reading("plain", 35, a34002="150.0"), ZHENGAN)
    w.commits(ZHENGAN)
    # Period 4 is clean: two are enough.
    w.takes(w.reading("plain", 40, a34002="20.0"), ZHENGAN)
    w.takes(w.reading("plain", 45, a34002="30.0"), ZHENGAN)
    w.commits(ZHENGAN)
    w.takes(w.reading("plain", 50, a34002="900.0"), ZHENGAN)
    w.commits(ZHENGAN)
    w.tick(ZHENGAN, 55.05)
    w.concludes("plain", "cleared", PM10, 4, "25", 2)
    w.commits(ZHENGAN)
    # Period 5 is a new episode, still open at the end.
    w.takes(w.reading("plain", 55, a34002="901.0"), ZHENGAN)
    w.commits(ZHENGAN)
    w.takes(w.reading("plain", 66, a34002="30.0"), ZHENGAN)
    w.concludes("plain", "opened", PM10, 5, "900.5", 2)
    w.commits(ZHENGAN)


def alarms(w: Writer) -> None:
    """A device's own alarm: it begins, is sent again, ends, ends again."""

    def alarm(stored: Stored, outcome: str, *, ticket: str = "", rule: str = ALARM) -> str:
        w.takes(stored, SHUGANG)
        alert = dict(stored.headers)["ce_id"].decode()
        if outcome in {"opened", "cleared"}:
            return w.steps("scaled", outcome, ALARM, alert, origin="record", reasons=("signal",))
        reasons = ("nothing_open",) if outcome == "expired" else ()
        w.decides(SHUGANG, outcome, alert, origin="record", reasons=reasons, rule=rule, ticket=ticket)
        return ""

    w.takes(w.reading("scaled", 2, a34002="0.0010"), SHUGANG)
    again = w.alarm(3, "1", again=1)
    ticket = alarm(replace(again, offset=again.offset - 1), "opened")
    alarm(again, "repeated", ticket=ticket, rule="")
    w.commits(SHUGANG)
    w.tick(SHUGANG, 16)
    w.commits(SHUGANG)
    alarm(w.alarm(20, "0"), "cleared")
    w.commits(SHUGANG)
    alarm(w.alarm(21, "0"), "expired")
    w.commits(SHUGANG)


def astray(w: Writer) -> None:
    """An alarm that another client put on a wrong partition."""
    elsewhere = next(number for number in range(12) if number not in {home(ZHENGAN), home(SHUGANG)})
    there = w.alarm(30, "1", partition=elsewhere)
    w.takes(there, SHUGANG)
    alert = dict(there.headers)["ce_id"].decode()
    seq = w.seqs[SHUGANG]
    w.decides(SHUGANG, "forwarded", alert, origin="record", now=there.timestamp)
    w.seqs[SHUGANG] = seq
    envelope = {
        "topic": there.topic,
        "partition": there.partition,
        "offset": there.offset,
        "key": there.key,
        "value": there.value,
        "headers": [{"name": name, "value": value} for name, value in there.headers],
    }
    named = (*there.headers, ("x-forwarded-from", there.place.encode()))
    value = ENCODERS["handed-over"](envelope)
    handed = w.append("handed-over", home(SHUGANG), SHUGANG, value, named, there.timestamp + 40)
    w.commits(SHUGANG, partition=elsewhere)
    w.takes(handed, SHUGANG)
    w.steps("scaled", "opened", ALARM, alert, origin="record", reasons=("signal",))
    w.commits(SHUGANG)


def wrongs(found: Iterable[Finding]) -> set[Wrong]:
    return {finding.wrong for finding in found}


def judged(run: RouterRun, records: Iterable[Stored]) -> list[Finding]:
    """The findings when both readers see `records` of the router."""
    written = Topics(tuple(sorted(records, key=lambda one: (one.topic, one.partition, one.offset))))
    return ticket_checker.findings(replace(run, written=written, again=written))


def each_record() -> Iterator[tuple[RouterRun, Stored, list[Stored]]]:
    """Each record of the router, and all others."""
    run = story().run()
    for record in run.written.records:
        yield run, record, [each for each in run.written.records if each is not record]


def decoded(record: Stored) -> Fields:
    assert record.value is not None
    return CONTRACT.decode(record.value)[1]


# ---- a sound run


def test_nothing_is_found_in_a_sound_run() -> None:
    run = story().run()
    assert ticket_checker.findings(run) == []
    assert {record.topic for record in run.written.records} == set(ticket_checker.WRITTEN)


def test_the_sound_run_is_one_of_the_connectors_too() -> None:
    """But for the record that another client put on a wrong partition, and the connector's own sums."""
    found = checker.findings(story().run().run)
    assert wrongs(found) <= {Wrong.PARTITION, Wrong.BALANCE}


def test_it_tells_what_the_run_came_to() -> None:
    tally = ticket_checker.Judgement(story().run()).tally
    assert (tally.tickets, tally.cleared, tally.ticks) == (5, 2, 3)
    assert tally.steps == {"opened": 5, "updated": 1, "cleared": 2}
    assert tally.decisions["record repeated"] == tally.decisions["record forwarded"] == 1
    assert (tally.worst_delay_ms, tally.worst_behind_ms) == (TRANSIT_MS, 0)


# ---- one record removed, doubled, moved, altered: each record of the router in turn


def test_a_record_removed_is_found() -> None:
    """By what it was for; of a ticket's last record also by what readers end up with."""
    lacks = {
        "decisions": {Wrong.UNDECIDED},
        "ticket-events": {Wrong.NO_STEP},
        "tickets": {Wrong.NO_STEP},
        "journal": {Wrong.NUMBER, Wrong.RANGE},
        "handed-over": {Wrong.PARTITION},
    }
    for run, record, others in each_record():
        found = wrongs(judged(run, others))
        assert found & lacks[record.topic], record
        name = {"ticket-events": "ticket_id", "tickets": "id"}.get(record.topic)
        if name:
            rest = [decoded(each) for each in others if each.topic == record.topic]
            fields = decoded(record)
            is_last = all(each["version"] < fields["version"] for each in rest if each[name] == fields[name])
            assert (Wrong.LATEST in found) == is_last


def test_a_record_doubled_is_found() -> None:
    for run, record, others in each_record():
        lane = [each for each in others if (each.topic, each.partition) == (record.topic, record.partition)]
        for offset in {record.offset + 1, max((each.offset for each in lane), default=0) + 3}:
            assert Wrong.DOUBLE in wrongs(judged(run, [*others, record, replace(record, offset=offset)]))


def test_a_record_on_another_partition_is_found() -> None:
    for run, record, others in each_record():
        for partition in (number for number in range(12) if number != record.partition):
            moved = replace(record, partition=partition, offset=1001)
            assert Wrong.PARTITION in wrongs(judged(run, [*others, moved]))


def test_a_record_on_another_topic_is_found() -> None:
    for run, record, others in each_record():
        for topic in ticket_checker.WRITTEN.keys() - {record.topic}:
            moved = replace(record, topic=topic, offset=1001)
            assert Wrong.TOPIC in wrongs(judged(run, [*others, moved]))


def test_a_record_past_another_that_must_come_first_is_found() -> None:
    """Decisions of a town, steps and states of a ticket, the journal of a partition."""
    moved = 0
    for run, record, others in each_record():
        whose = {"decisions": "town", "tickets": "id", "ticket-events": "ticket_id", "journal": "partition"}.get(
            record.topic
        )
        if whose is None:
            continue
        behind = [
            each
            for each in others
            if (each.topic, each.partition) == (record.topic, record.partition)
            and each.offset > record.offset
            and decoded(each)[whose] == decoded(record)[whose]
            and "forwarded" not in {decoded(each).get("outcome"), decoded(record).get("outcome")}
        ]
        for other in behind:
            found = wrongs(judged(run, [*others, replace(record, offset=other.offset + 1)]))
            expected = {"decisions": Wrong.SEQ, "journal": Wrong.NUMBER}.get(record.topic, Wrong.ORDER)
            assert expected in found, (record, other)
            moved += 1
    assert moved > 40


def others_than(value: Any) -> list[Any]:
    """Other values of the same type."""
    match value:
        case None:
            return [BEGIN]
        case int():
            return [value + 1, value - 1, value + 10, 0 if value else 7]
        case float():
            return [value + 0.001, 0.0]
        case str():
            return [f"{value}x", value[1:] or "x", ""] if value else ["x"]
        case bytes():
            return [value[:-1], value + b"x"]
        case list():
            altered = [
                [*value[:at], one | {name: other}, *value[at + 1 :]]
                for at, one in enumerate(value)
                if isinstance(one, dict)
                for name in one
                for other in others_than(one[name])
            ]
            return [*altered, value[:-1], [*value, *value[:1]]] if value else []
    raise AssertionError(value)


def test_a_field_altered_is_found() -> None:
    """Also when the headers and the time of the record are those of the altered one.

    What is said to people is not fixed. When and by whom a transaction was written, only the records around it can tell.
    """
    altered = 0
    for run, record, others in each_record():
        fields = decoded(record)
        for name in fields.keys() - {"reasons", "at" if record.topic == "journal" else "", "router", "generation"}:
            for value in others_than(fields[name]):
                to = fields | {name: value}
                form = ticket_checker.FORMS[record.topic](to, None)
                other = replace(record, value=ENCODERS[record.topic](to))
                if record.topic != "handed-over":
                    other = replace(other, headers=tuple(form.headers), timestamp=form.at or record.timestamp)
                if other.value == record.value:
                    continue
                assert judged(run, [*others, other]), f"{record.topic} {name}: {value!r} for {fields[name]!r}"
                altered += 1
    assert altered > 1000


def test_a_mean_a_limit_or_a_period_altered_in_the_reasons_is_found() -> None:
    altered = 0
    for run, record, others in each_record():
        if record.topic != "decisions" or decoded(record)["origin"] != "watch":
            continue
        fields = decoded(record)
        for what, to in {"mean 1": "mean 2", "mean ": "mean 3", "limit ": "limit 1", "period 2026": "period 2025", " 2 ": " 3 "}.items():  # fmt: skip
            reasons = [each.replace(what, to) for each in fields["reasons"]]
            if reasons == fields["reasons"]:
                continue
            other = replace(record, value=ENCODERS["decisions"](fields | {"reasons": reasons}))
            assert Wrong.FIELD in wrongs(judged(run, [*others, other])), (what, fields["reasons"])
            altered += 1
    assert altered > 20


def test_a_byte_altered_is_found() -> None:
    chance = random.Random(1)
    for run, record, others in each_record():
        assert record.value is not None
        for at in chance.sample(range(len(record.value)), 12):
            byte = bytes([record.value[at] ^ chance.randrange(1, 256)])
            other = replace(record, value=record.value[:at] + byte + record.value[at + 1 :])
            if not judged(run, [*others, other]):
                before, after = decoded(record), decoded(other)
                assert {name for name in before if before[name] != after[name]} == {"reasons"}


def test_a_key_a_header_or_a_time_altered_is_found() -> None:
    chance = random.Random(1)
    for run, record, others in each_record():
        for key in (None, b"", b"000000000", b"x" + (record.key or b"")):
            assert Wrong.KEY in wrongs(judged(run, [*others, replace(record, key=key)]))
        if record.topic != "handed-over":
            other = replace(record, timestamp=record.timestamp + chance.choice((-1, 1)))
            assert Wrong.TIME in wrongs(judged(run, [*others, other]))
        for name, text in record.headers:
            rest = tuple(each for each in record.headers if each[0] != name)
            for named in (rest, (*record.headers, (name, text)), (*rest, (name, text + b"x"))):
                assert Wrong.HEADER in wrongs(judged(run, [*others, replace(record, headers=named)]))


def test_a_record_that_is_none_is_found() -> None:
    for run, record, others in each_record():
        for value in (None, b"", b"{}", (record.value or b"")[:-1]):
            assert Wrong.UNREADABLE in wrongs(judged(run, [*others, replace(record, value=value)]))


def test_a_record_that_only_one_reader_was_shown_is_found() -> None:
    for run, record, others in each_record():
        less, more = Topics(tuple(others)), Topics((*others, record))
        for one, other in ((less, more), (more, less)):
            assert Wrong.VIEW in wrongs(ticket_checker.findings(replace(run, written=one, again=other)))
        other_value = Topics((*others, replace(record, timestamp=record.timestamp + 1)))
        assert Wrong.VIEW in wrongs(ticket_checker.findings(replace(run, again=other_value)))


# ---- more than one record


def test_a_decision_with_all_that_follows_from_it_removed_is_found() -> None:
    """As by a transaction that was half committed: decision, step and state are gone, and the numbers of the town close up."""
    run = story().run()
    for record in run.written.records:
        if record.topic == "decisions":
            gone = decoded(record)
            follows = gone["town"], gone["seq"]
            left = []
            for each in run.written.records:
                fields = decoded(each)
                seq = fields.get("seq", fields.get("decision_seq"))
                if (fields.get("town"), seq) != follows:
                    left.append(each)
            assert wrongs(judged(run, left)) & {Wrong.UNDECIDED, Wrong.BALANCE}


def test_a_transaction_applied_twice_is_found() -> None:
    """Two routers that both believe in owning a partition: a journal record of the same ranges, with the next number."""
    run = story().run()
    for record in run.written.records:
        if record.topic == "journal" and decoded(record)["ranges"]:
            lane = [
                each for each in run.written.records if (each.topic, each.partition) == ("journal", record.partition)
            ]
            fields = decoded(record) | {"number": len(lane) + 1, "generation": 9, "router": 1}
            form = ticket_checker.FORMS["journal"](fields, None)
            again = replace(
                record,
                value=ENCODERS["journal"](fields),
                headers=tuple(form.headers),
                offset=lane[-1].offset + 2,
            )
            assert wrongs(judged(run, [*run.written.records, again])) >= {Wrong.RANGE}


def test_an_alert_that_opens_two_tickets_is_found() -> None:
    """A step with another ticket; what is said of the alert, both readers and both topics agree on."""
    opened = 0
    for run, record, others in each_record():
        fields = decoded(record)
        if record.topic != "ticket-events" or fields["step"] != "opened":
            continue
        ticket = f"{fields['town']}-{'0' * 16}"
        second = fields | {"id": f"{ticket}/1", "ticket_id": ticket}
        other = replace(record, offset=1001, value=ENCODERS["ticket-events"](second))
        found = [one for one in judged(run, [*others, record, other]) if one.wrong is Wrong.OPENED_TWICE]
        assert [one.where for one in found] == [fields["alert"]]
        assert ticket in found[0].detail
        opened += 1
    assert opened == 5


def test_a_decision_of_another_record_than_it_names_is_found() -> None:
    """The outcomes of an alert and of its repetition, exchanged: each alert has its one, and each record its own."""
    run = story().run()
    alarms = [
        each for each in run.written.records if each.topic == "decisions" and decoded(each)["topic"] == "alerts.air"
    ]
    one, other = alarms[0], alarms[-1]
    places = [{name: decoded(each)[name] for name in ("topic", "partition", "offset")} for each in (one, other)]
    swapped = [
        replace(each, value=ENCODERS["decisions"](decoded(each) | place))
        for each, place in zip((one, other), places[::-1], strict=True)
    ]
    others = [each for each in run.written.records if each not in (one, other)]
    found = {(each.where, each.wrong) for each in judged(run, [*others, *swapped])}
    assert found >= {(one.place, Wrong.FIELD), (other.place, Wrong.FIELD)}


def test_a_ticket_that_is_nobodys_is_found() -> None:
    """No role, a role that there is not, and no person where the role is a person's."""
    for run, record, others in each_record():
        if record.topic not in {"tickets", "ticket-events"}:
            continue
        for to in ({"owner_role": ""}, {"owner_role": "nobody"}, {"owner_role": "head", "owner": ""}):
            other = replace(record, value=ENCODERS[record.topic](decoded(record) | to))
            found = {(one.where, one.wrong) for one in judged(run, [*others, other])}
            assert (record.place, Wrong.OWNERLESS) in found


def test_another_outcome_or_number_of_a_decision_is_found() -> None:
    for run, record, others in each_record():
        if record.topic != "decisions":
            continue
        fields = decoded(record)
        changes: list[tuple[Fields, Wrong]] = [({"seq": fields["seq"] + 1}, Wrong.SEQ)]
        outcomes = {"opened", "updated", "cleared", "no_rule", "expired"} - {fields["outcome"]}
        for to, wrong in (*changes, *(({"outcome": outcome}, Wrong.OUTCOME) for outcome in sorted(outcomes))):
            other = replace(record, value=ENCODERS["decisions"](fields | to))
            assert (record.place, wrong) in {(one.where, one.wrong) for one in judged(run, [*others, other])}


def test_a_ticket_whose_id_is_not_made_as_promised_is_found() -> None:
    """All that is said of it says so; and a second ticket that has the id of the first."""
    run = story().run()
    tickets = sorted({decoded(each)["id"] for each in run.written.records if each.topic == "tickets"})
    for name in (f"{ZHENGAN}-1", f"{ZHENGAN}-{'G' * 16}", f"999999999-{'0' * 16}", tickets[0]):
        altered = []
        for record in run.written.records:
            fields = decoded(record)
            for holds in ("id", "ticket_id"):
                if str(fields.get(holds)).startswith(tickets[-1]):
                    fields[holds] = fields[holds].replace(tickets[-1], name)
            altered.append(replace(record, value=ENCODERS[record.topic](fields)))
        assert Wrong.ID in wrongs(judged(run, altered))


def test_a_generation_that_goes_back_or_has_two_owners_is_found() -> None:
    run = story().run()
    journal = [r for r in run.written.records if (r.topic, r.partition) == ("journal", home(ZHENGAN))]
    other_partition = next(r for r in run.written.records if (r.topic, r.partition) == ("journal", home(SHUGANG)))
    changes: list[tuple[Stored, Fields]] = [
        (journal[-1], {"generation": 4}),
        (journal[1], {"router": 1}),
        (journal[0], {"router": 3}),
        (other_partition, {"generation": 6}),
    ]
    for record, change in changes:
        fields = decoded(record) | change
        form = ticket_checker.FORMS["journal"](fields, None)
        other = replace(record, value=ENCODERS["journal"](fields), headers=tuple(form.headers))
        others = [each for each in run.written.records if each is not record]
        assert Wrong.GENERATION in wrongs(judged(run, [*others, other]))


def adopted() -> RouterRun:
    """A run in which another registry came, and all partitions have adopted it, when nothing else was left to do."""
    w = story(registry=1)
    w.registry = 2
    for number in sorted(w.numbers):
        w.commits("", partition=number, at=BEGIN + 67_500)
    return replace(w.run(), registries=2)


def with_registry(record: Stored, version: int) -> Stored:
    """A journal record that names another."""
    versions = [*VERSIONS, {"name": "registry", "version": str(version)}]
    return replace(record, value=ENCODERS["journal"](decoded(record) | {"versions": versions}))


def registry_of(record: Stored) -> int:
    return int(decoded(record)["versions"][-1]["version"])


def test_a_registry_that_is_adopted_while_nothing_else_happens_is_no_fault() -> None:
    run = adopted()
    assert len([one for one in run.written.records if one.topic == "journal" and registry_of(one) == 2]) == 3
    assert ticket_checker.findings(run) == []


def test_a_registry_that_a_partition_has_not_adopted_is_found() -> None:
    """Its last record is missing, or names the one before, and then it has applied nothing."""
    run = adopted()
    for record in run.written.records:
        if record.topic == "journal" and registry_of(record) == 2:
            others = [each for each in run.written.records if each is not record]
            assert wrongs(judged(run, others)) == {Wrong.OVERDUE}
            found = wrongs(judged(run, [*others, with_registry(record, 1)]))
            assert found == {Wrong.OVERDUE, Wrong.UNEXPECTED}


def test_a_registry_that_is_adopted_twice_or_after_a_newer_one_is_found() -> None:
    run = adopted()
    journal = [one for one in run.written.records if one.topic == "journal"]
    for before, record in pairwise(journal):
        if before.partition != record.partition:
            continue
        others = [each for each in run.written.records if each is not before]
        found = judged(run, [*others, with_registry(before, 2)])
        if registry_of(record) == 1:
            assert (record.place, Wrong.BACKWARDS) in {(one.where, one.wrong) for one in found}
        else:
            assert (record.place, Wrong.UNEXPECTED) in {(one.where, one.wrong) for one in found}


def test_a_registry_that_nobody_brought_is_found() -> None:
    """Two of them where one came, and a number that is not there yet."""
    run = adopted()
    assert Wrong.FIELD in wrongs(ticket_checker.findings(replace(run, registries=1)))
    assert wrongs(ticket_checker.findings(replace(run, registries=3))) == {Wrong.OVERDUE}


@pytest.mark.parametrize(
    "change",
    [
        {"limit": 149.9},
        {"limit": 180},
        {"period": 20},
        {"wait": 0.1},
        {"wait": 5.2},
        {"covered": 1.1},
        {"covered": 0.5},
        {"realtime": 2},
        {"clear_after": 1},
        {"clear_after": 3},
        {"class_code": "08005"},
        {"class_standard": "GB/T 1"},
        {"kind": "air.pm10.over"},
        {"factor": "a34004"},
    ],
    ids=repr,
)
def test_another_rule_value_is_found(change: Fields) -> None:
    run = story().run()
    rules = (replace(RULES[0], **change), *RULES[1:])
    assert ticket_checker.findings(replace(run, rules=rules))


def test_an_input_record_that_the_router_has_not_seen_is_found() -> None:
    w = story()
    w.reading("plain", 67, a34002="30.0")
    assert wrongs(ticket_checker.findings(w.run())) == {Wrong.RANGE}


def test_a_reading_that_comes_too_late_for_its_period_is_found() -> None:
    w = story()
    late = w.reading("plain", 59, a34002="902.0")
    late = w.records["readings", home(ZHENGAN)][-1] = replace(late, timestamp=BEGIN + 67_000)
    w.takes(late, ZHENGAN)
    w.commits(ZHENGAN)
    assert wrongs(ticket_checker.findings(w.run())) == {Wrong.TOO_SLOW}


def test_a_reading_that_came_in_time_and_was_overtaken_by_time_is_found() -> None:
    """As when a tick is made, or another topic is read, before what lies there has been read."""
    w = story()
    w.tick(ZHENGAN, 80)
    w.commits(ZHENGAN)
    overtaken = w.reading("plain", 67, a34002="30.0")
    w.takes(overtaken, ZHENGAN)
    w.commits(ZHENGAN)
    found = ticket_checker.findings(w.run())
    assert wrongs(found) == {Wrong.OVERTAKEN}
    assert "a tick in journal/" in found[0].detail


def test_a_reading_repeated_too_late_is_none_that_came_too_late() -> None:
    w = story()
    lane = w.records["readings", home(ZHENGAN)]
    first = next(each for each in lane if CONTRACT.decode(each.value or b"")[1]["id"].startswith("plain/2011"))
    repeated = replace(first, offset=len(lane), timestamp=BEGIN + 67_000)
    lane.append(repeated)
    w.takes(repeated, ZHENGAN)
    w.commits(ZHENGAN)
    assert ticket_checker.findings(w.run()) == []


def test_time_that_nobody_notices_is_found() -> None:
    run = story().run()
    # It is time for the period of second 66 at 75.
    assert ticket_checker.findings(replace(run, until=BEGIN + 75_000)) == []
    found = ticket_checker.findings(replace(run, until=BEGIN + 75_000 + ticket_checker.NOTICED_MS))
    assert wrongs(found) == {Wrong.OVERDUE}


# ---- what is kept aside


def set_aside() -> RouterRun:
    """On each input lies what nobody sent; then a town is in quarantine while two stations and an alarm of it come, and comes out of it."""
    w = story()
    for topic in ("readings", "alerts.air", "handed-over"):
        w.keeps_aside(w.append(topic, home(SHUGANG), SHUGANG, b"\xff", (), BEGIN + 67_000), "schema")
    poison = frozenset(map(place_of, w.aside))
    w.commits(SHUGANG)
    w.quarantined = [SHUGANG]
    w.commits(SHUGANG, at=BEGIN + 67_100)
    for stored in (w.alarm(67.2, "1"), w.reading("scaled", 67.4, a34002="0.0200"), w.alarm(67.5, "0")):
        w.keeps_aside(stored, "quarantined")
    w.commits(SHUGANG)
    w.quarantined = []
    w.commits(SHUGANG, at=BEGIN + 67_900)
    run = w.run()
    aside = Aside(invalid={place_of(one): why for one, why in w.aside.items()}, poison=poison)
    return replace(run, run=replace(run.run, aside=aside))


def with_aside(run: RouterRun, **change: Any) -> set[Wrong]:
    return wrongs(ticket_checker.findings(replace(run, run=replace(run.run, aside=replace(run.run.aside, **change)))))


def test_what_is_kept_aside_is_judged_like_anything_else() -> None:
    run = set_aside()
    assert ticket_checker.findings(run) == []
    records = run.written.records
    decisions = [one for one in records if one.topic == "decisions" and decoded(one)["outcome"] == "invalid"]
    assert len(decisions) == 4
    for decision in decisions:
        others = [one for one in records if one is not decision]
        assert Wrong.UNDECIDED in wrongs(judged(run, others))
        assert Wrong.DECIDED_TWICE in wrongs(judged(run, [*others, decision, replace(decision, offset=99)]))
        for change in ({"outcome": "late"}, {"town": SHUGANG}, {"reasons": ["poison"]}):
            other = replace(decision, value=ENCODERS["decisions"]({**decoded(decision), **change}))
            assert wrongs(judged(run, [*others, other])) & {Wrong.OUTCOME, Wrong.FIELD}
    quarantines = [one for one in records if one.topic == "journal" and decoded(one)["quarantined"]]
    for journal in quarantines:
        others = [one for one in records if one is not journal]
        assert wrongs(judged(run, others)) >= {Wrong.NUMBER}


def test_what_is_kept_aside_without_a_cause_is_found() -> None:
    """The exemption is of these places: with one fewer, or one more, something is wrong."""
    run = set_aside()
    places = run.run.aside.invalid
    for place in places:
        fewer = {one: why for one, why in places.items() if one != place}
        assert with_aside(run, invalid=fewer, poison=run.run.aside.poison - {place})
    sent = next(one for one in run.run.topics.records if place_of(one) not in places and one.topic == "alerts.air")
    assert Wrong.UNEXPECTED in with_aside(run, invalid={**places, place_of(sent): "quarantined"})


def test_a_record_of_a_town_in_quarantine_that_no_letter_keeps_is_found() -> None:
    run = set_aside()
    kept = [place for place, why in run.run.aside.invalid.items() if why == "quarantined"]
    assert len(kept) == 3
    for place in kept:
        fewer = {one: why for one, why in run.run.aside.invalid.items() if one != place}
        assert Wrong.OUTCOME in with_aside(run, invalid=fewer)


def test_what_is_put_in_and_never_read_is_found() -> None:
    run = set_aside()
    [place] = [one for one in run.run.aside.poison if one[0] == "handed-over"]
    beyond = (place[0], place[1], place[2] + 50)
    stored = next(one for one in run.written.records if place_of(one) == place)
    later = replace(stored, offset=beyond[2])
    also = replace(run, run=replace(run.run, aside=replace(run.run.aside, poison=run.run.aside.poison | {beyond})))
    assert Wrong.RANGE in wrongs(judged(also, [*run.written.records, later]))


def test_a_tick_of_a_town_in_quarantine_is_found() -> None:
    run = set_aside()
    records = run.written.records
    journal = next(one for one in records if one.topic == "journal" and decoded(one)["quarantined"])
    tick = {"town": SHUGANG, "now": decoded(journal)["at"]}
    other = replace(journal, value=ENCODERS["journal"]({**decoded(journal), "ticks": [tick]}))
    found = judged(run, [*(one for one in records if one is not journal), other])
    assert any(one.wrong is Wrong.UNEXPECTED and "quarantine" in one.detail for one in found)


def test_two_runs_of_stations_are_one_log(tmp_path: Path) -> None:
    w = story()
    half = len(w.lines) // 2
    first = [line for line in w.lines if line["device"] != "scaled"]
    second = [line for line in w.lines if line["device"] == "scaled"]
    assert half
    for name, lines in (("first", first), ("second", second)):
        (tmp_path / name).write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    log = Log.read(tmp_path / "first", tmp_path / "second")
    most = max(message.n for message in log.messages if message.device != "scaled")
    assert [m.n for m in log.messages if m.device == "scaled"] == [most + n for n in range(1, 6)]
    run = w.run()
    assert ticket_checker.findings(replace(run, run=replace(run.run, log=log))) == []
