"""The checker finds nothing wrong with a sound run, and everything that is done to one.

The run is made up here, with an encoder of its own, and holds every kind of message and every course an exchange can take. Within an
exchange the clock stands still: between sending and acceptance another `accepted_at` could be told by nobody.
"""

import ast
import json
import random
import sys
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from itertools import combinations
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from kafka.partitioner.default import murmur2

from tests.faults import (
    checker,
    duties,
    evidence_checker,
    personal_checker,
    poison_checker,
    push_checker,
    ticket_checker,
)
from tests.faults.checker import Balance, Contract, Finding, Kept, Log, Run, Stored, Topics, Wrong
from tests.faults.encoding import SCHEMAS, Fields, encoder

SEEDS = range(4)
BEGIN = 1_772_424_000_000  # 2026-03-02 12:00:00 in Beijing

REGISTER = """\
device,mn,vendor,feed,town,lon,lat,factor_units
plain,010000A8900016F000169DC0,north,air,410122106,113.9141,34.6960,a34004=ug/m3;a01006=kPa
milli,41012200000002,south,air,410122106,113.9145,34.7039,a34004=mg/m3;a01006=hPa
nano,bh-aq_221760,west,air,410122001,114.0,34.5,a34004=ng/m3;a01006=hPa
scaled,0200C2C3A93F15DFEA6F3F93,north,air,410222101,114.3419,34.569,a34004=mg/m3*10;a01006=kPa
camera,X1,north,camera,410222101,114.3419,34.569,
"""
# By device: texts sent of PM2.5 and pressure with what they are in ug/m3 and kPa.
SENT: dict[str, dict[str, list[tuple[str, float]]]] = {
    "plain": {"a34004": [("35.2", 35.2), ("0.0", 0.0)], "a01006": [("101.32", 101.32)]},
    "milli": {"a34004": [("0.0352", 35.2), ("0.0750", 75.0)], "a01006": [("1013.2", 101.32)]},
    "nano": {"a34004": [("35200", 35.2)], "a01006": [("1013.2", 101.32)]},
    "scaled": {"a34004": [("0.0352", 352.0)], "a01006": [("99.10", 99.1)]},
}
UNIT = {"a34004": "ug/m3", "a01006": "kPa"}
TOWN = {"plain": "410122106", "milli": "410122106", "nano": "410122001", "scaled": "410222101"}
ROWS = {row.split(",")[0]: row.split(",") for row in REGISTER.splitlines()}

FAULTY = {
    "modbus_crc": "crc",
    "length_of_three_digits": "length",
    "broken_off": "length",
    "empty_mn": "syntax",
    "unfinished_body": "syntax",
    "foreign_mn": "unknown_device",
    "encrypted": "encrypted",
}
KINDS = (
    "realtime",
    "hour",
    "split",
    "backfill",
    "no_qn",
    "no_qn_old",
    "off",
    "marked",
    "alarm",
    "empty",
    "noise",
    "no_flag",
    *FAULTY,
)
COURSES = ("answered", "answered", "repeated", "twice", "lost_first", "late_first")


ENCODERS = {"readings": encoder("reading"), "alerts.air": encoder("air_alert"), "dead-letters": encoder("dead_letter")}
CONTRACT = Contract(SCHEMAS)
REGISTERED = checker.register(REGISTER)


def beijing(at: int) -> str:
    return f"{datetime.fromtimestamp(at / 1000, UTC) + timedelta(hours=8):%Y%m%d%H%M%S}"


@dataclass
class Sent:
    """A message and the record it becomes; `fields` lacks what is known at acceptance only."""

    device: str
    expect: str
    raw: bytes
    answer: str
    trouble: str = ""
    qn: str | None = None
    fields: Fields = field(default_factory=dict)


@dataclass
class Story:
    """Writes a sound run: stations take turns, each exchange takes one of its courses."""

    seed: int
    now: int = BEGIN
    lines: list[dict[str, Any]] = field(default_factory=list)
    records: dict[tuple[str, int], list[Stored]] = field(default_factory=dict)
    numbers: dict[str, int] = field(default_factory=dict)
    fates: dict[str, int] = field(
        default_factory=lambda: {"published": 0, "dead-lettered": 0, "empty": 0, "refused": 0}
    )

    def run(self) -> Run:
        chance = random.Random(self.seed)
        for device in SENT:
            self.write("connected", device)
        kinds = [*KINDS, *chance.choices(KINDS, k=len(KINDS))]
        chance.shuffle(kinds)
        for kind in kinds:
            device = chance.choice([*SENT])
            if kind == "split":
                both = [self.data(device, kind, chance, part=part) for part in (1, 2)]
                self.exchange(both, chance.choice(COURSES))
            else:
                self.exchange([self.message(device, kind, chance)], chance.choice(COURSES))
        return Run(
            log=Log.of(self.lines),
            topics=Topics(tuple(one for place in sorted(self.records) for one in self.records[place])),
            register=REGISTERED,
            contract=CONTRACT,
            minute_period_s=600,
            balance=Balance(BEGIN, sum(self.fates.values()), self.fates),
        )

    def write(self, what: str, device: str, **more: object) -> None:
        self.lines.append({"what": what, "at": self.now, "device": device, **more})

    def exchange(self, messages: list[Sent], course: str) -> None:
        """All of `messages` in one go; a device that wants no answer sends once, and it is kept."""
        first = self.numbers.get(messages[0].device, 0) + 1
        self.numbers[messages[0].device] = first + len(messages) - 1
        numbered = list(enumerate(messages, start=first))
        self.now += 1007
        if not messages[0].answer:
            self.attempt(numbered, 1, kept=True, answered=False)
            return
        plan = {  # kept, answered: of each attempt
            "answered": [(True, True)],
            "repeated": [(True, True), (True, True)],
            "twice": [(True, True), (True, True), (True, True)],
            "lost_first": [(False, False), (True, True)],
            "late_first": [(True, False), (True, True), (True, True)],
        }
        before = True
        for number, (kept, answered) in enumerate(plan[course], start=1):
            self.now += 7 if before and number > 1 else 0
            before = kept
            self.attempt(numbered, number, kept=kept, answered=answered)

    def attempt(self, messages: list[tuple[int, Sent]], number: int, *, kept: bool, answered: bool) -> None:
        for n, one in messages:
            self.write(
                "sent",
                one.device,
                n=n,
                attempt=number,
                raw=one.raw.hex(),
                expect=one.expect,
                trouble=one.trouble,
                qn=one.qn,
            )
        for _, one in messages if kept else ():
            self.keep(one)
        for n, one in messages if answered else ():
            self.write("answered", one.device, n=n, attempt=number, answer=one.answer, qn=one.qn)

    def keep(self, one: Sent) -> None:
        if one.expect == "nothing":
            return
        if one.expect == "empty":
            self.fates["empty"] += 1
            return
        identity = one.fields["id"].replace("MINUTE", beijing(self.now)[:12]).replace("EPOCH", str(self.now // 60_000))
        fields = one.fields | {"id": identity, "accepted_at": self.now}
        if one.expect == "dead-letter":
            topic, key, partition = "dead-letters", b"air", 0
            source, kind, at = "/air", "gridhub.dead_letter", self.now
        else:
            topic, key = ("readings" if one.expect == "reading" else "alerts.air"), fields["town"].encode()
            partition = (murmur2(key) & 0x7FFFFFFF) % 12
            fields["event_at"] = fields["event_at"] or self.now
            source, kind, at = f"/{fields['vendor']}/{fields['device']}", fields["kind"], fields["occurred_at"]
        trace = sha256(fields["id"].encode()).hexdigest()
        headers = (
            ("ce_specversion", b"1.0"),
            ("ce_id", fields["id"].encode()),
            ("ce_source", source.encode()),
            ("ce_type", kind.encode()),
            ("ce_time", datetime.fromtimestamp(at / 1000, UTC).isoformat(timespec="milliseconds")[:-6].encode() + b"Z"),
            ("content-type", b"application/avro"),
            ("traceparent", f"00-{trace[:32]}-{trace[32:48]}-00".encode()),
        )
        records = self.records.setdefault((topic, partition), [])
        records.append(Stored(topic, partition, len(records), self.now, key, headers, ENCODERS[topic](fields)))
        self.fates["dead-lettered" if topic == "dead-letters" else "published"] += 1

    def message(self, device: str, kind: str, chance: random.Random) -> Sent:
        match kind:
            case "empty":
                return Sent(device, "empty", *self.framed(device, "9015", ""), answer="9013", qn=self.qn)
            case "noise":
                return Sent(device, "nothing", b"ping", "", trouble="ping")
            case "alarm":
                return self.alarm(device, chance)
            case _ if kind in FAULTY:
                return self.faulty(device, kind, chance)
        return self.data(device, kind, chance)

    @property
    def qn(self) -> str:
        """Of the message that is sent next."""
        return f"{beijing(self.now)}{self.now % 1000:03d}"

    def framed(self, device: str, cn: str, body: str, **more: str | None) -> tuple[bytes]:
        fields = {"QN": self.qn, "ST": "22", "CN": cn, "PW": "123456", "MN": ROWS[device][1], "Flag": "5"} | more
        head = "".join(f"{name}={value};" for name, value in fields.items() if value is not None)
        segment = f"{head}CP=&&{body}&&".encode()
        return (b"##%04d%s%04X\r\n" % (len(segment), segment, 0x1C80),)

    def data(self, device: str, kind: str, chance: random.Random, part: int | None = None) -> Sent:
        self.now += 1  # each part has a QN of its own
        cn = "2061" if kind == "hour" else "2011"
        occurred_at = self.now // 1000 * 1000 - (3_600_000 if kind == "hour" else 0)
        if kind in {"off", "no_qn_old"}:
            occurred_at += 86_400_000 * chance.choice((-1, 1))
        mark = "" if chance.random() < 0.5 else chance.choice("NDF")
        statistic = "Avg" if kind == "hour" else "Rtd"
        items, values = [f"DataTime={beijing(occurred_at)}"], []
        for code, samples in SENT[device].items():
            text, number = chance.choice(samples)
            measured: float | None = number
            own = ""
            if kind == "marked" and code == "a34004":
                text, measured, own = "-99", None, "missing"
            items.append(f"{code}-{statistic}={text}" + (f",{code}-Flag={mark}" if mark else ""))
            marked = own if own and mark in {"", "N"} else mark
            values.append(
                {"factor": code, "statistic": statistic, "value": measured, "unit": UNIT[code], "mark": marked}
            )
        body = ";".join(items)
        more: dict[str, str | None] = {"RF": "1"} if kind == "backfill" else {}
        if part:
            more |= {"Flag": "7", "PNUM": "2", "PNO": str(part)}
        if kind in {"no_qn", "no_qn_old"}:
            more["QN"] = None
        if kind == "no_flag":
            more["Flag"] = None
        off = kind in {"off", "no_qn_old"}
        time = "MINUTE" if off else beijing(occurred_at)
        tail = (
            f"{time}/{sha256(body.encode()).hexdigest()[:16]}"
            if "QN" in more
            else self.qn + (f"/{part}" if part else "")
        )
        fields = self.common(device, cn, "air.reading", tail, occurred_at, off=off) | {
            "period_s": 3600 if kind == "hour" else 0,
            "backfilled": kind == "backfill",
            "incomplete": False,
            "values": values,
        }
        answer = "" if more.get("QN", "") is None or more.get("Flag", "") is None else "9014"
        qn = None if "QN" in more else self.qn
        return Sent(device, "reading", *self.framed(device, cn, body, **more), answer=answer, qn=qn, fields=fields)

    def alarm(self, device: str, chance: random.Random) -> Sent:
        text, number = chance.choice(SENT[device]["a34004"])
        type_, signal = chance.choice((("1", "begins"), ("0", "ends")))
        occurred_at = self.now // 1000 * 1000
        body = f"AlarmTime={beijing(occurred_at)};PM25-Ala={text},AlarmType={type_}"
        fields = self.common(device, "2072", "air.device_alarm", self.qn, occurred_at, off=False) | {
            "signal": signal,
            "values": [{"factor": "a34004", "value": number, "unit": "ug/m3", "alarm_type": type_}],
        }
        return Sent(device, "alert", *self.framed(device, "2072", body), answer="9014", qn=self.qn, fields=fields)

    def common(self, device: str, cn: str, kind: str, tail: str, occurred_at: int, *, off: bool) -> Fields:
        mark = "device" if not off else "too_new" if occurred_at > self.now else "too_old"
        return {
            "id": f"{device}/{cn}/{tail}",
            "town": TOWN[device],
            "device": device,
            "vendor": ROWS[device][2],
            "kind": kind,
            "occurred_at": occurred_at,
            "event_at": None if off else occurred_at,
            "time_mark": mark,
            "lon": float(ROWS[device][5]),
            "lat": float(ROWS[device][6]),
            "datum": "WGS84",
            "message_code": cn,
        }

    def faulty(self, device: str, trouble: str, chance: random.Random) -> Sent:
        mns = {"empty_mn": "", "foreign_mn": "FFFF0123"}
        body = f"DataTime={beijing(self.now)};a34004-Rtd={chance.randint(1, 99)}"
        if trouble == "encrypted":
            body = "{0xE4,0x3E}"
        [raw] = self.framed(device, "2011", body, MN=mns.get(trouble, ROWS[device][1]))
        kept = raw[:-2]
        if trouble == "broken_off":
            raw = kept = raw[:60]
        readable = trouble in {"unfinished_body", "foreign_mn", "encrypted"}
        known = trouble in {"unfinished_body", "encrypted"}
        letter = {
            "id": f"air/{self.qn if readable else 'EPOCH'}/{sha256(kept).hexdigest()[:16]}",
            "feed": "air",
            "vendor": ROWS[device][2] if known else "",
            "device": device if known else mns.get(trouble, ""),
            "reason": FAULTY[trouble],
            "detail": "said to people",
            "raw": kept,
            "evidence_sha256": None,
            "answered": readable,
        }
        return Sent(device, "dead-letter", raw, "9014" if readable else "", trouble, self.qn, letter)


# ---- a sound run


@pytest.mark.parametrize("seed", SEEDS)
def test_nothing_is_found_in_a_sound_run(seed: int) -> None:
    run = Story(seed).run()
    assert len(run.topics.records) > 25
    assert checker.findings(run) == []


@pytest.mark.parametrize("name", ["reading", "air_alert", "dead_letter"])
def test_a_schemas_number_is_of_all_but_its_words(name: str) -> None:
    def undocumented(schema: Any) -> Any:
        if isinstance(schema, dict):
            return {key: undocumented(value) for key, value in schema.items() if key != "doc"}
        return [undocumented(each) for each in schema] if isinstance(schema, list) else schema

    definition = json.loads((SCHEMAS / f"{name}.v1.avsc").read_text(encoding="utf-8"))
    digest = sha256(json.dumps(undocumented(definition), sort_keys=True, separators=(",", ":")).encode()).digest()
    assert checker.schema_id(definition) == (int.from_bytes(digest[:4], "big") & (1 << 30) - 1) + (1 << 30)


def test_partitions_are_kafkas() -> None:
    chance = random.Random(1)
    for length in range(64):
        key = chance.randbytes(length)
        assert checker.partition_of(key) == (murmur2(key) & 0x7FFFFFFF) % 12


@pytest.mark.parametrize(
    ("witness", "allowed"),
    [
        (checker, {"fastavro", "kafka"}),
        (duties, set()),
        (ticket_checker, {"fastavro", "kafka", "tests.faults.checker", "tests.faults.duties"}),
        (evidence_checker, {"tests.faults.checker"}),
        (personal_checker, {"tests.faults.checker"}),
        (poison_checker, {"tests.faults.checker"}),
        (
            push_checker,
            {f"tests.faults.{name}" for name in ("checker", "duties", "evidence_checker", "ticket_checker")},
        ),
    ],
)
def test_it_shares_no_code_with_what_it_checks(witness: ModuleType, allowed: set[str]) -> None:
    tree = ast.parse(Path(witness.__file__ or "").read_text(encoding="utf-8"))
    named = {
        name
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for name in ([node.module or ""] if isinstance(node, ast.ImportFrom) else [each.name for each in node.names])
    }
    assert {name for name in named if name.partition(".")[0] not in sys.stdlib_module_names} <= allowed


# ---- one record removed, doubled, moved, altered: each record of each run in turn


def each_record(seed: int) -> Iterator[tuple[Run, Stored, random.Random]]:
    run = Story(seed).run()
    chance = random.Random(seed)
    for record in run.topics.records:
        yield run, record, chance


def rewritten(run: Run, change: Callable[[list[Stored]], Iterable[Stored]]) -> list[Finding]:
    """The findings when the topics hold something else; each partition's offsets count again from 0."""
    partitions: dict[tuple[str, int], list[Stored]] = {}
    for record in change(list(run.topics.records)):
        lane = partitions.setdefault((record.topic, record.partition), [])
        lane.append(replace(record, offset=len(lane)))
    topics = Topics(tuple(record for lane in partitions.values() for record in lane))
    return checker.findings(replace(run, topics=topics))


def without(identity: bytes) -> Callable[[list[Stored]], list[Stored]]:
    """Takes every record of a message away."""
    return lambda records: [each for each in records if dict(each.headers)["ce_id"] != identity]


def instead(record: Stored, *others: Stored) -> Callable[[list[Stored]], list[Stored]]:
    """Takes one record away and puts others at the end."""
    return lambda records: [*(each for each in records if each is not record), *others]


def changed(run: Run, record: Stored, **to: Any) -> list[Finding]:
    """The findings when one record is another."""
    records = tuple(replace(record, **to) if each is record else each for each in run.topics.records)
    return checker.findings(replace(run, topics=Topics(records)))


def wrongs(findings: Iterable[Finding]) -> set[Wrong]:
    return {finding.wrong for finding in findings}


@pytest.mark.parametrize("seed", SEEDS)
def test_a_record_removed_is_found(seed: int) -> None:
    for run, record, _ in each_record(seed):
        left = Topics(tuple(each for each in run.topics.records if each is not record))
        is_last = not any(
            (each.topic, each.partition) == (record.topic, record.partition) and each.offset > record.offset
            for each in left.records
        )
        found = wrongs(checker.findings(replace(run, topics=left)))
        assert Wrong.BALANCE in found
        assert is_last or Wrong.GAP in found


@pytest.mark.parametrize("seed", SEEDS)
def test_a_record_that_never_came_is_found(seed: int) -> None:
    """Without the gap that a removed record leaves: only the senders and the connector know of it."""
    for run, record, _ in each_record(seed):
        found = wrongs(rewritten(run, instead(record)))
        assert Wrong.BALANCE in found
        assert Wrong.GAP not in found


@pytest.mark.parametrize("seed", SEEDS)
def test_a_lost_message_is_found_by_the_senders_log_alone(seed: int) -> None:
    for run, record, _ in each_record(seed):
        blind = replace(run, balance=Balance(sys.maxsize, 0, {}))
        found = rewritten(blind, without(dict(record.headers)["ce_id"]))
        assert wrongs(found) & {Wrong.LOST, Wrong.GONE}


@pytest.mark.parametrize("where", ["directly behind", "at the end"])
@pytest.mark.parametrize("seed", SEEDS)
def test_a_record_doubled_is_found(seed: int, where: str) -> None:
    for run, record, _ in each_record(seed):
        late = replace(record, timestamp=max(each.timestamp for each in run.topics.records))

        def double(records: list[Stored], copied: Stored = record, late: Stored = late) -> list[Stored]:
            if where == "at the end":
                return [*records, late]
            return [each for one in records for each in ((one, one) if one is copied else (one,))]

        # Where one of several sendings on a connection came to nothing, only the sum tells.
        assert wrongs(rewritten(run, double)) & {Wrong.DOUBLE, Wrong.BALANCE}


@pytest.mark.parametrize("seed", SEEDS)
def test_a_record_on_another_partition_is_found(seed: int) -> None:
    for run, record, chance in each_record(seed):
        other = replace(
            record,
            partition=chance.choice([number for number in range(12) if number != record.partition]),
            timestamp=max(each.timestamp for each in run.topics.records),
        )
        found = rewritten(run, instead(record, other))
        assert Wrong.PARTITION in wrongs(found)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_record_on_another_topic_is_found(seed: int) -> None:
    for run, record, chance in each_record(seed):
        other = replace(
            record,
            topic=chance.choice([topic for topic in ENCODERS if topic != record.topic]),
            timestamp=max(each.timestamp for each in run.topics.records),
        )
        found = rewritten(run, instead(record, other))
        assert Wrong.TOPIC in wrongs(found)


@pytest.mark.parametrize("seed", SEEDS)
def test_a_record_past_another_of_its_device_is_found(seed: int) -> None:
    """The broker's times stay in their places: nothing but the order is wrong."""
    moved = 0
    for run, record, chance in each_record(seed):
        senders = checker.Senders(run.log)

        def sender(of: Stored, run: Run = run, senders: checker.Senders = senders) -> tuple[str, str]:
            kept = checker.judged(of, run, senders)
            assert isinstance(kept, checker.Kept)
            return kept.message.device, kept.fields["device"]

        lane = [r for r in run.topics.records if (r.topic, r.partition) == (record.topic, record.partition)]
        behind = [r for r in lane if r.offset > record.offset and sender(r) == sender(record)]
        if not behind:
            continue
        goal = chance.choice(behind)
        order = [r for r in lane if r is not record]
        order.insert(order.index(goal) + 1, record)
        lane = [replace(r, offset=at.offset, timestamp=at.timestamp) for r, at in zip(order, lane, strict=True)]
        rest = [r for r in run.topics.records if (r.topic, r.partition) != (record.topic, record.partition)]
        assert Wrong.ORDER in wrongs(checker.findings(replace(run, topics=Topics((*rest, *lane)))))
        moved += 1
    assert moved > 5


def test_what_names_no_device_has_an_order_of_its_own() -> None:
    """Nobody but its sender knows whose such a dead letter is: in an outage it does not wait behind what lies in the spool of its device."""
    story = Story(1)
    run = story.run()
    senders = checker.Senders(run.log)
    letters = [each for each in run.topics.records if each.topic == "dead-letters"]
    kept = [one for one in (checker.judged(each, run, senders) for each in letters) if isinstance(one, Kept)]
    swapped: Counter[bool] = Counter()
    for one, other in combinations(kept, 2):
        if one.message.device != other.message.device or one.message is other.message:
            continue
        to = {id(one.stored): other.stored, id(other.stored): one.stored}
        records = [replace(to.get(id(each), each), offset=each.offset, timestamp=each.timestamp) for each in letters]
        topics = Topics((*(each for each in run.topics.records if each.topic != "dead-letters"), *records))
        found = [each for each in checker.findings(replace(run, topics=topics)) if each.wrong is Wrong.ORDER]
        between = [each for each in kept if one.stored.offset < each.stored.offset < other.stored.offset]
        is_alike = one.fields["device"] == other.fields["device"]
        if is_alike or not any(each.message.device == one.message.device for each in between):
            assert bool(found) == is_alike, found
            swapped[is_alike] += 1
    assert swapped.keys() == {False, True}


def other_than(value: Any, chance: random.Random) -> Any:
    """Another value of the same type."""
    candidates: list[Any]
    match value:
        case None:
            candidates = [1, BEGIN]
        case bool():
            candidates = [not value]
        case int():
            candidates = [value + 1, value - 1, value + 1000, value - 60_000]
        case float():
            candidates = [value + 0.1, -value, value * 1000]
        case str():
            candidates = [f"{value}x", value[1:], value.swapcase()]
        case bytes():
            candidates = [value[:-1]]
        case _:
            at = chance.randrange(len(value))
            name = chance.choice([*value[at]])
            other = value[at] | {name: 1.0 if value[at][name] is None else other_than(value[at][name], chance)}
            candidates = [value[:-1], [*value, value[0]], value[::-1], [*value[:at], other, *value[at + 1 :]]]
    return chance.choice([each for each in candidates if repr(each) != repr(value)])


@pytest.mark.parametrize("seed", SEEDS)
def test_a_field_altered_is_found(seed: int) -> None:
    for run, record, chance in each_record(seed):
        assert record.value is not None
        fields = CONTRACT.decode(record.value)[1]
        for name in fields.keys() - {"detail"}:  # what is said to people is not fixed
            value: Any = "a" * 64 if name == "evidence_sha256" else other_than(fields[name], chance)
            found = changed(run, record, value=ENCODERS[record.topic](fields | {name: value}))
            assert found, f"{name}: {value!r} for {fields[name]!r}"


@pytest.mark.parametrize("seed", SEEDS)
def test_a_byte_altered_is_found(seed: int) -> None:
    for run, record, chance in each_record(seed):
        assert record.value is not None
        before = CONTRACT.decode(record.value)[1]
        for at in chance.sample(range(len(record.value)), 8):
            byte = bytes([record.value[at] ^ chance.randrange(1, 256)])
            value = record.value[:at] + byte + record.value[at + 1 :]
            if not changed(run, record, value=value):
                after = CONTRACT.decode(value)[1]
                assert {name for name in before if before[name] != after[name]} == {"detail"}


@pytest.mark.parametrize("seed", SEEDS)
def test_a_key_altered_is_found(seed: int) -> None:
    for run, record, _ in each_record(seed):
        for key in (None, b"", b"000000000", b"410122107", b"air2"):
            assert Wrong.KEY in wrongs(changed(run, record, key=key))


@pytest.mark.parametrize("seed", SEEDS)
def test_a_header_altered_is_found(seed: int) -> None:
    for run, record, chance in each_record(seed):
        for name, text in record.headers:
            others = tuple(each for each in record.headers if each[0] != name)
            at = chance.randrange(len(text))
            byte = bytes([text[at] ^ chance.randrange(1, 256)])
            headers = chance.choice(
                [
                    others,
                    (*record.headers, (name, text)),
                    (*others, (name, text[:at] + byte + text[at + 1 :])),
                    (*others, (name.upper(), text)),
                ]
            )
            assert Wrong.HEADER in wrongs(changed(run, record, headers=headers))


@pytest.mark.parametrize("seed", SEEDS)
def test_a_record_that_nobody_sent_is_found(seed: int) -> None:
    foreign = Story(seed + 1000, now=BEGIN + 3_600_000).run()
    for run, record, chance in each_record(seed):
        made_up = chance.choice([each for each in foreign.topics.records if each.topic == record.topic])
        assert wrongs(changed(run, record, value=made_up.value)) & {Wrong.MADE_UP}


@pytest.mark.parametrize("seed", SEEDS)
def test_more_records_than_a_message_was_sent_are_found(seed: int) -> None:
    """Each of them accepted at a moment of its own."""
    for run, record, _ in each_record(seed):
        fields = CONTRACT.decode(record.value or b"")[1]
        late = max(each.timestamp for each in run.topics.records)
        more = [
            replace(record, timestamp=late, value=ENCODERS[record.topic](fields | {"accepted_at": late - number}))
            for number in reversed(range(3))
        ]
        found = rewritten(run, lambda records, more=more: [*records, *more])  # type: ignore[misc]
        # What holds no QN has another id in another minute, and is not known by it.
        assert wrongs(found) & {Wrong.TOO_MANY, Wrong.MADE_UP}


@pytest.mark.parametrize("seed", SEEDS)
def test_what_is_no_record_is_found(seed: int) -> None:
    for run, record, _ in each_record(seed):
        for value in (None, b"", b"{}", (record.value or b"")[:-1]):
            assert Wrong.UNREADABLE in wrongs(changed(run, record, value=value))


@pytest.mark.parametrize("seed", SEEDS)
def test_a_time_of_the_broker_that_goes_back_or_is_before_the_acceptance_is_found(seed: int) -> None:
    for run, record, _ in each_record(seed):
        found = wrongs(changed(run, record, timestamp=BEGIN - 1))
        assert Wrong.TIME in found
        assert (Wrong.BACKWARDS in found) == (record.offset > 0)


def test_a_record_that_was_accepted_before_it_was_sent_is_found() -> None:
    for run, record, _ in each_record(1):
        fields = CONTRACT.decode(record.value or b"")[1]
        value = ENCODERS[record.topic](fields | {"accepted_at": BEGIN - 1})
        assert wrongs(changed(run, record, value=value)) & {Wrong.TIME, Wrong.MADE_UP}


@pytest.mark.parametrize("ahead_s", [3_600, -3_600, 86_400, -86_400])
def test_a_time_by_a_connectors_wrong_clock_is_found(ahead_s: int) -> None:
    """Of one record: all others around it have the right time."""
    for run, record, _ in each_record(1):
        fields = CONTRACT.decode(record.value or b"")[1]
        value = ENCODERS[record.topic](fields | {"accepted_at": fields["accepted_at"] + ahead_s * 1000})
        assert wrongs(changed(run, record, value=value)) & {Wrong.TIME, Wrong.MADE_UP}


def test_a_dead_letter_with_another_reason_is_found() -> None:
    altered = 0
    for run, record, _ in each_record(1):
        if record.topic == "dead-letters":
            fields = CONTRACT.decode(record.value or b"")[1]
            for reason in ("", "poison", "crc" if fields["reason"] != "crc" else "length"):
                value = ENCODERS["dead-letters"](fields | {"reason": reason})
                assert Wrong.REASON in wrongs(changed(run, record, value=value))
                altered += 1
    assert altered > 9


def test_two_messages_with_one_identity_are_found() -> None:
    """Of which nobody could tell which one a record comes of."""

    def twice(line: dict[str, Any]) -> list[dict[str, Any]]:
        is_one = line["what"] == "sent" and line["expect"] in {"reading", "alert"} and line["attempt"] == 1
        return [line, line | {"n": line["n"] + 1000}] if is_one else [line]

    assert Wrong.AMBIGUOUS in wrongs(tampered(1, twice))


def test_a_fate_that_is_missing_in_the_connectors_sum_is_found() -> None:
    run = Story(1).run()
    for fate in run.balance.fates:
        fates = {**run.balance.fates, fate: run.balance.fates[fate] + 1}
        assert Wrong.BALANCE in wrongs(checker.findings(replace(run, balance=replace(run.balance, fates=fates))))


def test_of_one_millisecond_only_what_is_sent_again_may_stand_behind_what_was_sent_later() -> None:
    run = Story(1).run()
    senders = checker.Senders(run.log)
    kept = [one for one in (checker.judged(each, run, senders) for each in run.topics.records) if isinstance(one, Kept)]
    first, second = next(
        (one, other)
        for one in kept
        for other in kept
        if one.message.n < other.message.n and one.message.device == other.message.device
    )
    late = replace(first.message.attempts[-1], line=second.message.attempts[-1].line + 1)
    again = replace(first, message=replace(first.message, attempts=[*first.message.attempts, late]))

    def order(*accepted: tuple[Kept, int]) -> list[Finding]:
        return list(
            checker._order(
                [
                    replace(one, fields=one.fields | {"accepted_at": at}, stored=replace(first.stored, offset=offset))
                    for offset, (one, at) in enumerate(accepted)
                ]
            )
        )

    assert order((again, 9), (second, 10), (again, 10)) == []
    assert order((again, 9), (second, 10), (again, 9))
    assert order((first, 9), (second, 10), (first, 10))


def test_what_was_spooled_comes_to_a_topic_too() -> None:
    run = Story(1).run()
    fates = {**run.balance.fates, "spooled": 3, "published": run.balance.fates["published"] - 3}
    assert checker.findings(replace(run, balance=replace(run.balance, fates=fates))) == []
    more = replace(run.balance, received=run.balance.received + 1, fates={**fates, "spooled": 4})
    assert wrongs(checker.findings(replace(run, balance=more))) == {Wrong.BALANCE}


def test_what_a_connector_hands_over_once_more_in_an_outage_counts_once() -> None:
    for run, record, _ in each_record(1):
        copy = replace(record, timestamp=max(each.timestamp for each in run.topics.records) + 1)

        def found(*outages: tuple[int, int], run: Run = run, copy: Stored = copy) -> set[Wrong]:
            return wrongs(rewritten(replace(run, outages=outages), lambda records: [*records, copy]))

        assert not found((copy.timestamp, copy.timestamp))
        assert found((copy.timestamp - 9, copy.timestamp - 1)) & {Wrong.DOUBLE, Wrong.BALANCE}


def test_of_equal_records_in_an_outage_each_may_be_of_a_sending_of_its_own() -> None:
    """Two sendings that waited together, while the connector stood still, are accepted in one millisecond, and both are counted."""
    for run, record, _ in each_record(1):
        copy = replace(record, timestamp=max(each.timestamp for each in run.topics.records) + 1)
        fate = "dead-lettered" if record.topic == "dead-letters" else "published"
        fates = {**run.balance.fates, fate: run.balance.fates[fate] + 1}
        balance = replace(run.balance, received=run.balance.received + 1, fates=fates)
        counted = replace(run, outages=((copy.timestamp, copy.timestamp),), balance=balance)

        def with_copy(records: Iterable[Stored], copy: Stored = copy) -> list[Stored]:
            return [*records, copy]

        assert not wrongs(rewritten(counted, with_copy))
        assert wrongs(checker.findings(counted)) == {Wrong.BALANCE}


def test_what_was_sent_while_something_was_broken_may_be_missing_unless_it_was_answered() -> None:
    for run, record, _ in each_record(1):
        broken = replace(run, outages=((BEGIN, BEGIN * 2),), balance=Balance(sys.maxsize, 0, {}))
        identity = dict(record.headers)["ce_id"]
        answered = any(
            message.answers
            for message in run.log.messages
            if message.header.get("QN", "-").encode() in identity.split(b"/")
        )
        found = rewritten(broken, without(identity))
        assert wrongs(found) <= {Wrong.LOST, Wrong.BALANCE}
        assert (Wrong.LOST in wrongs(found)) == answered


# ---- the senders' log


def tampered(seed: int, change: Callable[[dict[str, Any]], Iterable[Mapping[str, Any]]]) -> list[Finding]:
    story = Story(seed)
    run = story.run()
    return checker.findings(replace(run, log=Log.of(line for each in story.lines for line in change(each))))


def test_a_message_that_is_never_answered_is_found() -> None:
    assert Wrong.UNANSWERED in wrongs(tampered(1, lambda line: [] if line["what"] == "answered" else [line]))


def test_another_answer_is_found() -> None:
    assert Wrong.ANSWER in wrongs(tampered(1, lambda line: [line | {"answer": "9011"}] if "answer" in line else [line]))


def test_an_answer_before_kafka_has_it_is_found() -> None:
    assert Wrong.TIME in wrongs(
        tampered(1, lambda line: [line | {"at": line["at"] - 1}] if "answer" in line else [line])
    )


def test_what_was_answered_in_an_outage_is_in_kafka_by_its_end_and_else_at_once() -> None:
    story = Story(1)
    run = story.run()
    late = 0
    for place, line in enumerate(story.lines):
        if line["what"] != "answered":
            continue
        at = line["at"] - 1  # a moment before Kafka had it
        log = Log.of([*story.lines[:place], line | {"at": at}, *story.lines[place + 1 :]])

        def is_late(*outages: tuple[int, int], log: Log = log) -> bool:
            return Wrong.TIME in wrongs(checker.findings(replace(run, log=log, outages=outages)))

        late += is_late()
        assert not is_late((at, at + 1))
        assert not is_late((at, at + 1), (at - 5, at))
        assert is_late() == is_late((at - 5, at)) == is_late((at + 1, at + 5))
    assert late


def test_a_torn_log_is_refused() -> None:
    with pytest.raises(ValueError, match="no happening"):
        Log.of([{"what": "slept", "device": "plain", "at": 1}])
