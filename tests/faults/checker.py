"""What the topics must hold after a run, told from the senders' logs alone.

A witness from outside: it reads the topics as any consumer would, the log that the simulated stations wrote of what they sent and
what they were answered, the register of devices and the published schemas. It shares no code with the hub; what both must agree on
(framing of values, partitions, Beijing time, units, headers) stands here a second time, from the same texts.

`findings` gives all that is wrong with a run: nothing, when the run kept every promise. Times are milliseconds since 1970-01-01 UTC.
Stations, connector and broker share one machine's clock, or the connector's jumps and it goes by the broker's, so each message that was kept and
answered tells its story in order: sent <= accepted_at <= appended by the broker <= answered.
"""

import csv
import json
import re
import struct
import time
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone
from decimal import Decimal, InvalidOperation
from enum import StrEnum
from functools import cached_property
from hashlib import sha256
from io import BytesIO
from itertools import groupby, pairwise
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import quote

import fastavro
from kafka import KafkaConsumer, TopicPartition

READINGS, ALERTS, DEAD_LETTERS = "readings", "alerts.air", "dead-letters"
RECORD_OF_TOPIC = {READINGS: "Reading", ALERTS: "AirAlert", DEAD_LETTERS: "DeadLetter"}
TOPIC_OF_CLASS = {"reading": READINGS, "alert": ALERTS, "dead-letter": DEAD_LETTERS}
FATES_OF_TOPICS = {"published": (READINGS, ALERTS), "dead-lettered": (DEAD_LETTERS,)}
FEED = "air"
PARTITIONS = 12
BEIJING = timezone(timedelta(hours=8))

Fields = dict[str, Any]


class Wrong(StrEnum):
    """What can be wrong with a run."""

    LOST = "lost"  # answered, but neither on its topic nor in the dead letters
    GONE = "gone"  # sent while nothing was broken, wants no answer, and was not kept
    MADE_UP = "made_up"  # nobody sent this
    TOO_MANY = "too_many"  # more records than times it was sent
    DOUBLE = "double"  # the same record byte for byte
    GAP = "gap"  # an offset is missing
    BACKWARDS = "backwards"  # offsets or broker times go back
    ORDER = "order"  # a device's records are not in the order in which it was heard
    TIME = "time"  # accepted before sent, appended before accepted, answered before appended
    UNREADABLE = "unreadable"  # no record of a published schema
    TOPIC = "topic"  # a record of another topic, or a message of which there should be none
    KEY = "key"
    PARTITION = "partition"
    FIELD = "field"
    HEADER = "header"
    REASON = "reason"  # a dead letter's reason does not fit what was wrong with the message
    UNANSWERED = "unanswered"  # the message wanted an answer, and none came by the end
    ANSWER = "answer"  # an answer nobody was owed, or the wrong one
    AMBIGUOUS = "ambiguous"  # two messages have one identity
    BALANCE = "balance"  # sums do not come out
    # What `ticket_checker` finds.
    UNDECIDED = "undecided"  # a record, or the mean of a period, that no decision speaks of
    DECIDED_TWICE = "decided_twice"
    OPENED_TWICE = "opened_twice"  # an alert has opened more than one ticket
    UNEXPECTED = "unexpected"  # a decision, step, ticket or tick that follows from nothing
    OUTCOME = "outcome"  # decided another way than it should be
    SEQ = "seq"  # a town's decisions are not numbered 1, 2, 3 ...
    NO_STEP = "no_step"  # a decision took a step that the ticket topics lack
    LATEST = "latest"  # the last record of a ticket is not what its last step says
    ID = "id"  # a ticket's id is not made as promised, or two tickets have one
    RANGE = "range"  # an input record that no journal record covers, or more than one, or a range that is none
    NUMBER = "number"  # a partition's journal is not numbered 1, 2, 3 ...
    GENERATION = "generation"  # goes back, or has two owners of one partition
    VIEW = "view"  # two readers were shown different records
    OVERDUE = "overdue"  # time has passed, and nobody noticed
    OVERTAKEN = "overtaken"  # a reading was on its topic in time, and its town's clock had been put past it before it was applied
    TOO_SLOW = "too_slow"  # the run was too slow: a reading came to its topic when its period was no longer waited for
    OWNERLESS = "ownerless"  # a ticket that is nobody's work
    OWNER = "owner"  # it is somebody's, but not whose it is by map and roster
    # What `offsets_checker` finds.
    OFFSET = "offset"  # what the routers' group has committed goes back, or is not what the journal says was applied
    # What `evidence_checker` finds.
    EVIDENCE_MISSING = "evidence_missing"  # a record names a content that is not in the store
    EVIDENCE_ALTERED = "evidence_altered"  # it is there, and has other bytes or another length than the record says
    EVIDENCE_TORN = "evidence_torn"  # a file under a final name is not what its name says: half written, or spoilt
    # What `personal_checker` finds.
    PERSONAL = "personal"  # a person's number or name, or a number plate, where nobody needs it


class Finding(NamedTuple):
    """One thing that is wrong, and where."""

    wrong: Wrong
    where: str
    detail: str


# ---- what the senders say


@dataclass(frozen=True, slots=True)
class Attempt:
    """A message went out: when, on which line of the log, and on which of the device's connections."""

    at: int
    line: int
    connection: int = 0


@dataclass
class Message:
    """A logical message of a device, sent once or more, always with the same bytes."""

    device: str
    n: int
    expect: str
    trouble: str
    raw: bytes
    attempts: list[Attempt] = field(default_factory=list)
    answers: list[Attempt] = field(default_factory=list)
    wrong_answers: list[str] = field(default_factory=list)

    @property
    def name(self) -> str:
        return f"{self.device} message {self.n}" + (f" ({self.trouble})" if self.trouble else "")

    @cached_property
    def header(self) -> dict[str, str]:
        """The fields before CP; the first of equal names counts."""
        before = self.raw.partition(b"CP=")[0].rpartition(b"##")[2][4:]
        fields: dict[str, str] = {}
        for piece in before.decode("latin-1").split(";"):
            name, _, value = piece.strip().partition("=")
            fields.setdefault(name, value)
        return fields

    @cached_property
    def body(self) -> bytes:
        """What stands between `CP=&&` and the last `&&`."""
        return self.raw.partition(b"CP=&&")[2].rpartition(b"&&")[0]

    @cached_property
    def items(self) -> list[tuple[str, str]]:
        """The pairs of the body in their order; separators inside a text `//...//` do not part."""
        try:
            text = self.body.decode("utf-8")
        except UnicodeDecodeError:
            text = self.body.decode("gb18030")  # what boxes of 2005 send
        pieces = (piece.strip() for piece in re.findall(r"(?://.*?//|[^;,])+", text))
        return [(name, value) for name, _, value in (piece.partition("=") for piece in pieces if piece)]

    @property
    def owed_answer(self) -> str:
        """The CN of the answer the message wants and can be given; empty where there is none."""
        if self.expect == "nothing":
            return ""
        if self.expect == "dead-letter" and not (
            FORGIVEN & TROUBLES.get(self.trouble, set()) and self.header.get("MN")
        ):
            return ""
        if not self.header.get("QN") or not int(self.header.get("Flag") or 0) & 1:
            return ""
        return "9013" if self.header["CN"] in {"9015", "1013"} else "9014"


@dataclass(frozen=True)
class Log:
    """What stations sent and heard, in the order in which it happened."""

    messages: tuple[Message, ...]
    streams: Mapping[str, tuple[bytes, ...]]
    """By device: the bytes of each of its connections."""

    @classmethod
    def read(cls, *paths: Path) -> "Log":
        """The simulator's JSON lines, of one run after the other; raises ValueError where a line is torn or tells what cannot be."""
        lines: list[dict[str, Any]] = []
        for path in paths:
            # Each run counts a device's messages from 1.
            before = max((line["n"] for line in lines if "n" in line), default=0)
            with path.open(encoding="utf-8") as file:
                told = map(json.loads, file)
                lines += (line | {"n": line["n"] + before} if "n" in line else line for line in told)
        return cls.of(lines)

    @classmethod
    def of(cls, lines: Iterable[Mapping[str, Any]]) -> "Log":
        messages: dict[tuple[str, int], Message] = {}
        streams: dict[str, list[bytearray]] = defaultdict(list)
        for number, line in enumerate(lines):
            device = line["device"]
            at = Attempt(line["at"], number, len(streams[device]))
            match line["what"]:
                case "connected":
                    streams[device].append(bytearray())
                case "sent":
                    raw = bytes.fromhex(line["raw"])
                    message = messages.setdefault(
                        (device, line["n"]), Message(device, line["n"], line["expect"], line["trouble"], raw)
                    )
                    message.attempts.append(at)
                    if (raw, line["attempt"]) != (message.raw, len(message.attempts)):
                        raise ValueError(f"line {number + 1}: {message.name} was not sent again as it was")
                    streams[device][-1] += raw
                case "answered":
                    message = messages[device, line["n"]]
                    message.answers.append(at)
                    if (line["answer"], line["qn"]) != (message.owed_answer, message.header.get("QN")):
                        message.wrong_answers.append(f"{line['answer']} to QN {line['qn']}")
                case "closed":
                    pass
                case other:
                    raise ValueError(f"line {number + 1}: {other!r} is no happening")
        return cls(tuple(messages.values()), {name: tuple(map(bytes, each)) for name, each in streams.items()})


# ---- what the topics hold


@dataclass(frozen=True, slots=True)
class Stored:
    """A record as a consumer gets it. `timestamp`: the broker's (LogAppendTime)."""

    topic: str
    partition: int
    offset: int
    timestamp: int
    key: bytes | None
    headers: tuple[tuple[str, bytes], ...]
    value: bytes | None

    @property
    def place(self) -> str:
        return f"{self.topic}/{self.partition}/{self.offset}"


@dataclass(frozen=True, slots=True)
class Topics:
    """All records, in the order of each partition."""

    records: tuple[Stored, ...]

    @classmethod
    def read(cls, bootstrap: str, *, within_s: float, topics: Iterable[str] = RECORD_OF_TOPIC) -> "Topics":
        """Everything committed up to the present ends of all partitions; raises TimeoutError."""
        deadline = time.monotonic() + within_s
        consumer = KafkaConsumer(
            bootstrap_servers=bootstrap,
            isolation_level="read_committed",
            enable_auto_commit=False,
            allow_auto_create_topics=False,
            auto_offset_reset="earliest",
            max_poll_records=5000,
        )
        try:
            partitions = [
                TopicPartition(topic, number)
                for topic in topics
                for number in sorted(consumer.partitions_for_topic(topic))
            ]
            consumer.assign(partitions)
            consumer.seek_to_beginning(*partitions)
            ends = consumer.end_offsets(partitions)
            records: list[Stored] = []
            while any(consumer.position(each) < ends[each] for each in partitions):
                if time.monotonic() > deadline:
                    raise TimeoutError(f"{len(records)} records read within {within_s} s, and there are more")
                for batch in consumer.poll(timeout_ms=500).values():
                    records += (
                        Stored(r.topic, r.partition, r.offset, r.timestamp, r.key, tuple(r.headers), r.value)
                        for r in batch
                    )
        finally:
            consumer.close(autocommit=False)
        return cls(tuple(sorted(records, key=lambda r: (r.topic, r.partition, r.offset))))

    def by_partition(self) -> Iterator[tuple[Stored, ...]]:
        partitions: dict[tuple[str, int], list[Stored]] = defaultdict(list)
        for record in self.records:
            partitions[record.topic, record.partition].append(record)
        yield from map(tuple, partitions.values())


def murmur2(data: bytes) -> int:
    """Kafka's 32-bit murmur2 (org.apache.kafka.common.utils.Utils), as an unsigned number."""
    mask, m = 0xFFFFFFFF, 0x5BD1E995
    h = 0x9747B28C ^ len(data)
    whole = len(data) & ~3
    for (k,) in struct.iter_unpack("<I", data[:whole]):
        mixed = k * m & mask
        mixed = (mixed ^ mixed >> 24) * m & mask
        h = h * m & mask ^ mixed
    if rest := data[whole:]:
        h = (h ^ int.from_bytes(rest, "little")) * m & mask
    h = (h ^ h >> 13) * m & mask
    return h ^ h >> 15


def partition_of(key: bytes, partitions: int = PARTITIONS) -> int:
    """Where a key belongs."""
    return (murmur2(key) & 0x7FFFFFFF) % partitions


class Unreadable(Exception):
    """These bytes are no record of a published schema."""


class Contract:
    """The published schemas, by the ids that stand before values."""

    def __init__(self, folder: Path) -> None:
        definitions = [json.loads(path.read_text(encoding="utf-8")) for path in sorted(folder.glob("*.avsc"))]
        # Without logical types, fastavro gives times as the numbers that are written.
        self._schemas = {
            schema_id(each): (each["name"], fastavro.parse_schema(_without(each, "logicalType"), {}))
            for each in definitions
        }

    def decode(self, value: bytes) -> tuple[str, Fields]:
        """The record's name and fields; raises Unreadable, also for bytes that no encoder writes."""
        number = int.from_bytes(value[1:5], "big")
        if value[:1] != b"\0" or number not in self._schemas:
            raise Unreadable(f"starts with {value[:5].hex()}")
        name, schema = self._schemas[number]
        again = BytesIO()
        try:
            fields: Any = fastavro.schemaless_reader(BytesIO(value[5:]), schema, None)
            fastavro.schemaless_writer(again, schema, fields)
        # What fastavro lets out of broken data; the record is reported with what it said.
        except (EOFError, LookupError, ValueError, ArithmeticError, TypeError, MemoryError) as error:
            raise Unreadable(f"{type(error).__name__}: {error}") from None
        if again.getvalue() != value[5:]:
            raise Unreadable("written another way than Avro writes it")
        return name, fields


def schema_id(definition: Mapping[str, Any]) -> int:
    """2^30 + 30 bits of the SHA-256 of the schema with keys sorted, without blanks and docs."""
    text = json.dumps(_without(definition, "doc"), sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    return 2**30 + (int.from_bytes(sha256(text.encode()).digest()[:4], "big") & 0x3FFFFFFF)


def _without(schema: Any, name: str) -> Any:
    match schema:
        case dict():
            return {key: _without(value, name) for key, value in schema.items() if key != name}
        case list():
            return [_without(value, name) for value in schema]
    return schema


# ---- what a record must say


@dataclass(frozen=True, slots=True)
class Device:
    """A row of the register. `units`: by factor, the unit sent and what the value must be multiplied with."""

    id: str
    mn: str
    vendor: str
    town: str
    lon: float
    lat: float
    units: Mapping[str, tuple[str, Decimal]]


def register(text: str) -> dict[str, Device]:
    """The feed's devices by id, from the text of `devices.csv`."""
    rows = [row for row in csv.DictReader(text.splitlines()) if row["feed"] == FEED]
    return {
        row["device"]: Device(
            row["device"],
            row["mn"],
            row["vendor"],
            row["town"],
            float(row["lon"]),
            float(row["lat"]),
            {
                code: (unit, Decimal(scale or 1))
                for code, unit, scale in re.findall(r"([^;=]+)=([^;*]+)(?:\*([^;]+))?", row["factor_units"])
            },
        )
        for row in rows
    }


class Factor(NamedTuple):
    """Canonical unit and bounds of a factor."""

    unit: str
    low: int
    high: int


FACTORS = {
    "a34004": Factor("ug/m3", 0, 3000),
    "a34002": Factor("ug/m3", 0, 5000),
    "a34001": Factor("ug/m3", 0, 10000),
    "a21026": Factor("ug/m3", 0, 5000),
    "a21004": Factor("ug/m3", 0, 5000),
    "a21005": Factor("mg/m3", 0, 200),
    "a05024": Factor("ug/m3", 0, 2000),
    "a01001": Factor("Cel", -60, 70),
    "a01002": Factor("%", 0, 100),
    "a01006": Factor("kPa", 40, 110),
    "a01007": Factor("m/s", 0, 90),
    "a01008": Factor("deg", 0, 360),
    "LA": Factor("dB", 0, 150),
}
MNEMONICS = {"PM25": "a34004", "PM10": "a34002", "TSP": "a34001", "TEM": "a01001", "RH": "a01002"}
SENT_UNITS = {"ng/m3": "0.001", "ug/m3": "1", "mg/m3": "1000", "hPa": "0.1", "kPa": "1"}
NO_VALUE = {"-99", "9999", "65535"}
PERIODS_S = {"2011": 0, "2061": 3600, "2031": 86400}
OLDEST_MS, NEWEST_MS = 2 * 3600 * 1000, 2 * 60 * 1000

# Why a message with this trouble lies in the dead letters. What claims to be longer than it is ends with the next frame or, at the
# end of a connection, with the time.
ENDLESS = {"length", "timeout"}
TROUBLES: Mapping[str, set[str]] = {
    "swapped_crc": {"crc"},
    "modbus_crc": {"crc"},
    "length_of_three_digits": {"length"},
    "length_too_small": {"length"},
    "length_counts_crc": ENDLESS,
    "length_placeholder": ENDLESS,
    "broken_off": ENDLESS,
    "empty_mn": {"syntax"},
    "unfinished_body": {"syntax"},
    "foreign_mn": {"unknown_device"},
    "encrypted": {"encrypted"},
}
FORGIVEN = {"syntax", "encrypted", "unknown_device"}


def instant(text: str) -> int | None:
    """`YYYYMMDDhhmmss` or with three digits more, Beijing time, as milliseconds UTC; None where it is no time."""
    if not re.fullmatch(r"\d{14}(\d{3})?", text):
        return None
    try:
        second = datetime.strptime(text[:14], "%Y%m%d%H%M%S").replace(tzinfo=BEIJING)
    except ValueError:
        return None  # such as the 30th of February: the record must say that it has no time
    return int(second.timestamp()) * 1000 + int(text[14:] or 0)


def rfc3339(at: int) -> str:
    """With milliseconds and Z."""
    moment = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(milliseconds=at)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{at % 1000:03d}Z"


@dataclass(frozen=True, slots=True)
class Expected:
    """Makes the one record that fits a message of a device, given when it was accepted."""

    device: Device
    minute_period_s: int

    def record(self, message: Message, accepted_at: int) -> Fields:
        cn = message.header["CN"]
        is_alert = message.expect == "alert"
        period_s = self.minute_period_s if cn == "2051" else PERIODS_S.get(cn, 0)
        written = dict(reversed(message.items)).get("AlarmTime" if is_alert else "DataTime", "").strip()
        occurred_at = instant(written)
        event_at, time_mark = self._in_time(occurred_at, accepted_at, period_s)
        common = {
            "id": self._id(message, accepted_at, written if time_mark == "device" else None),
            "town": self.device.town,
            "device": self.device.id,
            "vendor": self.device.vendor,
            "kind": "air.device_alarm" if is_alert else "air.reading",
            "occurred_at": occurred_at,
            "accepted_at": accepted_at,
            "event_at": event_at,
            "time_mark": time_mark,
            "lon": self.device.lon,
            "lat": self.device.lat,
            "datum": "WGS84",
            "message_code": cn,
        }
        if is_alert:
            return common | self._alarm(message)
        return common | {
            "period_s": period_s,
            "backfilled": message.header.get("RF") == "1",
            "incomplete": False,  # stations repeat DataTime in every part
            "values": self._values(message),
        }

    def _id(self, message: Message, accepted_at: int, when: str | None) -> str:
        header = message.header
        if qn := header.get("QN"):
            part = f"/{int(header['PNO'])}" if "PNO" in header else ""
            return f"{self.device.id}/{header['CN']}/{qn}{part}"
        when = when or datetime.fromtimestamp(accepted_at // 1000, BEIJING).strftime("%Y%m%d%H%M")
        return f"{self.device.id}/{header['CN']}/{when}/{sha256(message.body).hexdigest()[:16]}"

    @staticmethod
    def _in_time(occurred_at: int | None, accepted_at: int, period_s: int) -> tuple[int, str]:
        if occurred_at is None:
            return accepted_at, "missing"
        late = accepted_at - (occurred_at + period_s * 1000)
        if late > OLDEST_MS:
            return accepted_at, "too_old"
        if late < -NEWEST_MS:
            return accepted_at, "too_new"
        return occurred_at, "device"

    def _values(self, message: Message) -> list[Fields]:
        values: list[Fields] = []
        unmarked: list[tuple[str, Fields]] = []
        for name, text in message.items:
            sent, dash, statistic = name.partition("-")
            code = MNEMONICS.get(sent, sent)
            if not dash or code not in FACTORS:
                continue
            if statistic == "Flag":
                for value in (value for whose, value in unmarked if whose == sent):
                    value["mark"] = value["mark"] if text == "N" and value["mark"] else text
                unmarked = [each for each in unmarked if each[0] != sent]
                continue
            number, unit, mark = self._number(code, text)
            values.append({"factor": code, "statistic": statistic, "value": number, "unit": unit, "mark": mark})
            unmarked.append((sent, values[-1]))
        return values

    def _alarm(self, message: Message) -> Fields:
        [alarm_type] = [text for name, text in message.items if name == "AlarmType"]
        values = []
        for name, text in message.items:
            sent, _, statistic = name.partition("-")
            if statistic == "Ala":
                number, unit, _ = self._number(code := MNEMONICS.get(sent, sent), text)
                values.append({"factor": code, "value": number, "unit": unit, "alarm_type": alarm_type})
        return {"signal": {"1": "begins", "0": "ends"}.get(alarm_type, "moment"), "values": values}

    def _number(self, code: str, text: str) -> tuple[float | None, str, str]:
        factor = FACTORS[code]
        sent_unit, scale = self.device.units.get(code, ("", Decimal(1)))
        unit = factor.unit if sent_unit else ""
        try:
            number = Decimal(text)
        except InvalidOperation:
            return None, unit, "unreadable"
        if text in NO_VALUE:
            return None, unit, "missing"
        number *= scale
        if sent_unit in SENT_UNITS and factor.unit in SENT_UNITS:
            number *= Decimal(SENT_UNITS[sent_unit]) / Decimal(SENT_UNITS[factor.unit])
        out_of_range = unit and not factor.low <= number <= factor.high
        return float(number), unit, "range" if out_of_range else ""


def expected_letter(message: Message, fields: Fields, register: Mapping[str, Device]) -> Fields:
    """All of a dead letter that the message decides; `detail` is for people."""
    readable = bool(FORGIVEN & {fields["reason"]}) and bool(message.header.get("MN")) and bool(message.header.get("CN"))
    mn = message.header.get("MN", "")
    device = next((each for each in register.values() if each.mn == mn), None) if readable else None
    when = (message.header.get("QN") if readable else None) or f"{fields['accepted_at'] // 60_000}"
    return fields | {
        "id": f"{FEED}/{when}/{sha256(fields['raw']).hexdigest()[:16]}",
        "feed": FEED,
        "vendor": device.vendor if device else "",
        "device": device.id if device else mn if readable else "",
        "evidence_sha256": None,
        "answered": bool(message.owed_answer),
    }


def expected_headers(name: str, fields: Fields) -> dict[str, str]:
    """CloudEvents 1.0 in binary mode, and a trace that a replay gives again."""
    if name == "DeadLetter":
        source, kind, at = f"/{quote(fields['feed'], safe='')}", "gridhub.dead_letter", fields["accepted_at"]
    else:
        source = f"/{quote(fields['vendor'], safe='')}/{quote(fields['device'], safe='')}"
        kind, at = fields["kind"], fields["occurred_at"]
        at = fields["accepted_at"] if at is None else at
    trace = sha256(fields["id"].encode()).hexdigest()
    return {
        "ce_specversion": "1.0",
        "ce_id": fields["id"],
        "ce_source": source,
        "ce_type": kind,
        "ce_time": rfc3339(at),
        "content-type": "application/avro",
        "traceparent": f"00-{trace[:32]}-{trace[32:48]}-00",
    }


# ---- the judgement

Place = tuple[str, int, int]
"""Topic, partition, offset."""


@dataclass(frozen=True, slots=True)
class Aside:
    """Records that a checker of what was sent leaves out, each by its place: `poison_checker` has judged them.

    invalid: why an input record came to the dead letters, of what nobody sent and of what was sent to a town in quarantine. poison: those of them that
    nobody sent. letters: what the router wrote among the dead letters. again: records that were made of letters when they were replayed.
    """

    invalid: Mapping[Place, str] = field(default_factory=dict)
    poison: frozenset[Place] = frozenset()
    letters: frozenset[Place] = frozenset()
    again: frozenset[Place] = frozenset()


def place_of(stored: Stored) -> Place:
    """Where it lies."""
    return stored.topic, stored.partition, stored.offset


@dataclass(frozen=True, slots=True)
class Balance:
    """What the connector's last life counted, when it had nothing pending: that life's beginning, messages received, and their fates."""

    since: int
    received: int
    fates: Mapping[str, int]


@dataclass(frozen=True, slots=True)
class Run:
    """All there is to judge by. `outages`: from and until when something was broken, or may still have been."""

    log: Log
    topics: Topics
    register: Mapping[str, Device]
    contract: Contract
    minute_period_s: int
    balance: Balance
    outages: tuple[tuple[int, int], ...] = ()
    aside: Aside = field(default_factory=Aside)


@dataclass(frozen=True, slots=True)
class Kept:
    """A record that could be read, with the message it came from."""

    stored: Stored
    name: str
    fields: Fields
    message: Message

    @property
    def accepted_at(self) -> int:
        return int(self.fields["accepted_at"])


def findings(run: Run) -> list[Finding]:
    """All that is wrong with the run."""
    found: list[Finding] = []
    senders = Senders(run.log)
    found += senders.ambiguous
    kept: list[Kept] = []
    apart = run.aside.poison | run.aside.letters | run.aside.again
    for stored in run.topics.records:
        if place_of(stored) in apart:
            continue
        match judged(stored, run, senders):
            case Kept() as record:
                kept.append(record)
            case Finding() as finding:
                found.append(finding)
    for record in kept:
        found += _as_it_should_be(record, run)
    found += positions(run.topics, run.aside)
    accepted = list(_accepted(kept, run.outages))
    records, acceptances = _by_message(kept), _by_message(accepted)
    for message in run.log.messages:
        found += _answers(message)
        found += _too_many(message, acceptances[id(message)])
        found += _answered_for(message, records[id(message)], run.outages)
        found += _doubles(message, acceptances[id(message)])
        found += _gone(message, records[id(message)], run.outages)
    found += _order(accepted)
    found += _balance(run, kept, accepted)
    return found


def _by_message(kept: Iterable[Kept]) -> dict[int, list[Kept]]:
    records: dict[int, list[Kept]] = defaultdict(list)
    for record in kept:
        records[id(record.message)].append(record)
    return records


class Senders:
    """Finds the message that a record came from."""

    def __init__(self, log: Log) -> None:
        self.ambiguous: list[Finding] = []
        self._log = log
        self._by_identity: dict[tuple[str, ...], Message] = {}
        self._faulty_by_qn: dict[bytes, list[Message]] = defaultdict(list)
        self._faulty: list[Message] = []
        for message in log.messages:
            if message.expect in {"reading", "alert", "empty"}:
                identity = self._identity(message)
                other = self._by_identity.setdefault(identity, message)
                if other is not message:
                    self.ambiguous.append(Finding(Wrong.AMBIGUOUS, message.name, f"{other.name} has its identity"))
            elif message.expect == "dead-letter":
                self._faulty.append(message)
                self._faulty_by_qn[_qn(message.raw)].append(message)

    def of_record(self, identity: str) -> Message | None:
        """By the id of a reading or alert; without QN it holds a time that only the connector knew."""
        parts = tuple(identity.split("/"))
        return self._by_identity.get(parts) or self._by_identity.get((*parts[:2], "", *parts[3:]))

    def of_letter(self, raw: bytes) -> Message | None:
        """By the bytes kept: those of the message, and after an open end what came behind it on the connection."""
        for message in self._faulty_by_qn[_qn(raw)]:
            if raw.startswith(message.raw.rstrip(b"\r\n")) and any(
                raw in each for each in self._log.streams[message.device]
            ):
                return message
        return None

    @staticmethod
    def _identity(message: Message) -> tuple[str, ...]:
        header = message.header
        if qn := header.get("QN"):
            part = (str(int(header["PNO"])),) if "PNO" in header else ()
            return message.device, header["CN"], qn, *part
        return message.device, header["CN"], "", sha256(message.body).hexdigest()[:16]


def _qn(raw: bytes) -> bytes:
    found = re.search(rb"QN=(\d*)", raw)
    return found[1] if found else b""


def judged(stored: Stored, run: Run, senders: Senders) -> Kept | Finding:
    """What a record is, or why it is none."""
    if stored.value is None:
        return Finding(Wrong.UNREADABLE, stored.place, "no value")
    try:
        name, fields = run.contract.decode(stored.value)
    except Unreadable as error:
        return Finding(Wrong.UNREADABLE, stored.place, str(error))
    if name != RECORD_OF_TOPIC[stored.topic]:
        return Finding(Wrong.TOPIC, stored.place, f"a {name}")
    message = senders.of_letter(fields["raw"]) if name == "DeadLetter" else senders.of_record(fields["id"])
    if message is None:
        return Finding(Wrong.MADE_UP, stored.place, f"nobody sent {fields['id']}")
    if TOPIC_OF_CLASS.get(message.expect) != stored.topic:
        return Finding(Wrong.TOPIC, stored.place, f"{message.name} should have become: {message.expect}")
    return Kept(stored, name, fields, message)


def _as_it_should_be(record: Kept, run: Run) -> Iterator[Finding]:
    stored, fields, message = record.stored, record.fields, record.message
    if record.name == "DeadLetter":
        key, partition = FEED.encode(), 0
        expected = expected_letter(message, fields, run.register)
        if fields["reason"] not in TROUBLES.get(message.trouble, set()):
            yield Finding(Wrong.REASON, stored.place, f"{fields['reason']} for {message.name}")
    else:
        device = run.register[message.device]
        key, partition = device.town.encode(), partition_of(device.town.encode())
        expected = Expected(device, run.minute_period_s).record(message, record.accepted_at)
    for name in fields:
        if repr(fields[name]) != repr(expected[name]):  # so that 0.0 is not -0.0 and 1 is not True
            yield Finding(Wrong.FIELD, stored.place, f"{name} is {fields[name]!r}, not {expected[name]!r}")
    if stored.key != key:
        yield Finding(Wrong.KEY, stored.place, f"{stored.key!r}, not {key!r}")
    if stored.partition != partition:
        yield Finding(Wrong.PARTITION, stored.place, f"not {partition}")
    headers = sorted((name, text.encode()) for name, text in expected_headers(record.name, expected).items())
    if sorted(stored.headers) != headers:
        differing = sorted(set(stored.headers) ^ set(headers)) or "one stands there twice"
        yield Finding(Wrong.HEADER, stored.place, f"{differing}")


def positions(topics: Topics, aside: Aside = Aside()) -> Iterator[Finding]:
    """Offsets count from 0 without a gap: nothing here is compacted, expired or part of a transaction, unless a router has written there. Broker times
    never go back.
    """
    for records in topics.by_partition():
        in_transactions = any(place_of(record) in aside.letters for record in records)
        for expected, record in enumerate(() if in_transactions else records):
            if record.offset != expected:
                yield Finding(Wrong.GAP, record.place, f"expected offset {expected}")
                break
        for before, record in pairwise(records):
            if record.offset <= before.offset or record.timestamp < before.timestamp:
                yield Finding(
                    Wrong.BACKWARDS, record.place, f"after {before.place}, {before.timestamp - record.timestamp} ms"
                )


def _accepted(kept: Iterable[Kept], outages: Sequence[tuple[int, int]]) -> Iterator[Kept]:
    """What a message was accepted for, without what its connector has made of that.

    In an outage it cannot know whether Kafka has what it was handed, and hands it over once more as it was: of records that are equal byte for
    byte the first counts, and with it their order. Who reads them knows them by their id.
    """
    seen: set[tuple[str, int, bytes | None]] = set()
    for record in sorted(kept, key=lambda one: (one.stored.topic, one.stored.partition, one.stored.offset)):
        same = record.stored.topic, record.stored.partition, record.stored.value
        if same not in seen or not any(begin <= record.stored.timestamp <= end for begin, end in outages):
            yield record
        seen.add(same)


def _doubles(message: Message, records: Sequence[Kept]) -> Iterator[Finding]:
    """A message sent again was accepted again, mostly at another time.

    Equal bytes come of a sender only where several sendings waited together on one connection, as with a connector that has not read for a
    while: each record took one of those that had been sent by then.
    """
    by_bytes: dict[bytes | None, list[Kept]] = defaultdict(list)
    for record in records:
        by_bytes[record.stored.value].append(record)
    for same in by_bytes.values():
        at = same[0].accepted_at
        sent = Counter(attempt.connection for attempt in message.attempts if attempt.at <= at)
        together = sent.pop(max(sent, default=0), 0)
        before = sum(record.accepted_at < at for record in records)
        for record in same[max(1, together - max(0, before - sent.total())) :]:
            yield Finding(Wrong.DOUBLE, record.stored.place, f"byte for byte as {same[0].stored.place}")


def _answers(message: Message) -> Iterator[Finding]:
    for wrong in message.wrong_answers:
        yield Finding(Wrong.ANSWER, message.name, f"{wrong}, owed is {message.owed_answer or 'nothing'}")
    if message.owed_answer and not message.answers:
        yield Finding(Wrong.UNANSWERED, message.name, f"sent {len(message.attempts)} times")


def _behind(message: Message, appended: Iterable[int], outages: Sequence[tuple[int, int]] = ()) -> Iterator[bool]:
    """For each answer, whether Kafka had fewer records of the message then; in an outage, by its end."""
    by_time = sorted(appended)
    for number, answer in enumerate(message.answers, start=1):
        by = answer.at
        for begin, end in sorted(outages):
            if begin <= by <= end:
                by = end
        yield bisect_right(by_time, by) < number


def _too_many(message: Message, records: Sequence[Kept]) -> Iterator[Finding]:
    """How often and when: kept <= sent, at each moment."""
    if message.expect not in TOPIC_OF_CLASS:
        return
    if len(records) > len(message.attempts):
        yield Finding(Wrong.TOO_MANY, message.name, f"{len(records)} records, sent {len(message.attempts)} times")
    by_acceptance = sorted(records, key=lambda record: record.accepted_at)
    # Attempts may have come to nothing, so the k-th record comes of the k-th attempt or a later one.
    for record, attempt in zip(by_acceptance, message.attempts, strict=False):
        if record.accepted_at < attempt.at:
            yield Finding(
                Wrong.TIME, record.stored.place, f"accepted {attempt.at - record.accepted_at} ms before it was sent"
            )


def _answered_for(message: Message, records: Sequence[Kept], outages: Sequence[tuple[int, int]]) -> Iterator[Finding]:
    """How often and when: answered <= kept, at each moment; what was answered in an outage is in Kafka by its end."""
    if message.expect not in TOPIC_OF_CLASS:
        return
    for record in records:
        if record.stored.timestamp < record.accepted_at:
            yield Finding(Wrong.TIME, record.stored.place, "appended before it was accepted")
    if len(records) < len(message.answers):
        yield Finding(Wrong.LOST, message.name, f"answered {len(message.answers)} times, {len(records)} records")
    elif any(_behind(message, (record.stored.timestamp for record in records), outages)):
        yield Finding(Wrong.TIME, message.name, "answered before it was appended")


def _gone(message: Message, records: Sequence[Kept], outages: Sequence[tuple[int, int]]) -> Iterator[Finding]:
    """Who wants no answer sends once: only what was sent while something was broken may be missing."""
    quiet = [one for one in message.attempts if not any(begin <= one.at <= end for begin, end in outages)]
    if message.expect in TOPIC_OF_CLASS and quiet and not records:
        yield Finding(Wrong.GONE, message.name, f"sent {len(quiet)} times while nothing was broken, never kept")


def _order(kept: Sequence[Kept]) -> Iterator[Finding]:
    """Of each device. What came of it and does not name it, as a dead letter may, only its sender knows to be of that device: that has an order of
    its own, and does not wait where the device has something in a spool.
    """

    def lane(record: Kept) -> tuple[str, int, str, str]:
        return record.stored.topic, record.stored.partition, record.message.device, record.fields["device"]

    def place(record: Kept) -> tuple[str, int, str, str, int]:
        return *lane(record), record.stored.offset

    for _, group in groupby(sorted(kept, key=place), key=lane):
        records = list(group)
        seen: Counter[int] = Counter()
        to_come = Counter(id(record.message) for record in records)
        for before, record in pairwise(records):
            seen[id(before.message)] += 1
            to_come[id(before.message)] -= 1
            # Messages sent in one go may be accepted in the same millisecond, and with them one that is sent again, as soon as it was answered.
            is_back = record.accepted_at < before.accepted_at
            is_past = record.accepted_at == before.accepted_at and record.message.n < before.message.n
            # The k-th record comes of the k-th attempt or a later one, which leaves one for each that is to come.
            earliest = before.message.attempts[: seen[id(before.message)]][-1].line
            latest = record.message.attempts[-to_come[id(record.message)] :][0].line
            is_again = id(record.message) in seen and latest > earliest
            if is_back or (is_past and not is_again):
                told = (
                    f"{one.message.name} of {one.accepted_at} (appended {one.stored.timestamp})"
                    for one in (record, before)
                )
                yield Finding(Wrong.ORDER, record.stored.place, " after ".join(told))
        yield from _answered_first(records)


def _answered_first(records: Sequence[Kept]) -> Iterator[Finding]:
    """If A was answered before B was first sent, A's first record stands before B's first record."""
    first: dict[int, tuple[int, Message]] = {}
    for position, record in enumerate(records):
        first.setdefault(id(record.message), (position, record.message))
    answered = iter(sorted((m.answers[0].line, position, m) for position, m in first.values() if m.answers))
    latest, waiting = (-1, records[0].message), next(answered, None)
    for position, message in sorted(first.values(), key=lambda each: each[1].attempts[0].line):
        while waiting and waiting[0] < message.attempts[0].line:
            latest = max(latest, waiting[1:], key=lambda each: each[0])
            waiting = next(answered, None)
        if latest[0] > position:
            yield Finding(
                Wrong.ORDER,
                records[position].stored.place,
                f"{latest[1].name} was answered before {message.name} was sent, and stands behind it",
            )


def _balance(run: Run, kept: Sequence[Kept], accepted: Sequence[Kept]) -> Iterator[Finding]:
    """Sums that must come out even where no single message can be blamed."""
    for expect, topic in TOPIC_OF_CLASS.items():
        messages = [message for message in run.log.messages if message.expect == expect]
        answered = sum(len(message.answers) for message in messages)
        sent = sum(len(message.attempts) for message in messages)
        stored = sum(record.stored.topic == topic for record in kept)
        once = sum(record.stored.topic == topic for record in accepted)
        if not (answered <= stored and once <= sent):
            yield Finding(
                Wrong.BALANCE, topic, f"{answered} answered, {stored} records, {once} of them once, {sent} sent"
            )
    balance = run.balance
    if balance.received != sum(balance.fates.values()):
        yield Finding(Wrong.BALANCE, "connector", f"{balance.received} received, fates {dict(balance.fates)}")
    refused, spooled = balance.fates.get("refused", 0), balance.fates.get("spooled", 0)
    in_last_life, all_in_last_life = (
        Counter(record.stored.topic for record in records if record.accepted_at >= balance.since)
        for records in (accepted, kept)
    )
    # What was refused, because nothing confirmed it in time, may be there all the same; what was in the spool is on either topic. Of records that are
    # equal, in an outage, each may be one that was accepted, or all but the first the connector's repetitions.
    for fate, topics in FATES_OF_TOPICS.items():
        counted = balance.fates.get(fate, 0)
        there, all_there = (sum(each[topic] for topic in topics) for each in (in_last_life, all_in_last_life))
        if counted > all_there or there > counted + spooled + refused:
            detail = (
                f"{counted} counted, {spooled} spooled, {refused} refused, {there} records, {all_there} with equal ones"
            )
            yield Finding(Wrong.BALANCE, fate, detail)
    counted = spooled + sum(balance.fates.get(fate, 0) for fate in FATES_OF_TOPICS)
    there, all_there = in_last_life.total(), all_in_last_life.total()
    if counted > all_there or there > counted + refused:
        detail = f"{counted} counted, {refused} refused, {there} records, {all_there} with equal ones"
        yield Finding(Wrong.BALANCE, "kept", detail)
