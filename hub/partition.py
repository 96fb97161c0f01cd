"""One partition of the router's inputs: its towns, and what a batch of records makes of them.

Pure, but for the tables of `schemas/`: what the router writes and what a replay compares come from the same lines. A batch gives a
`Step`; the partition itself changes only with `adopt`, once the step is committed.
"""

import json
import re
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from hashlib import sha256
from typing import Any

from hub import __version__
from hub.core import memory
from hub.core.errors import Reason, Rejected, places
from hub.core.events import (
    UNKNOWN_TOWN,
    AirAlert,
    Alert,
    CameraAlert,
    DeadLetter,
    Decision,
    HandedOver,
    Header,
    Journal,
    Outcome,
    PatrolAlert,
    Range,
    Reading,
    RouterState,
    Ticket,
    TicketEvent,
    TownTick,
    Version,
)
from hub.core.in_force import InForce, place_of
from hub.core.town import KINDS, RECORD, Counted, Entry, HandOver, Input, Output, Town, adopt, decide, tick
from hub.wire import Record, Wire, headers

FEED = "router"
HANDED_OVER = "handed-over"
READINGS = "readings"
CARRIES: Mapping[str, type[Reading | Alert]] = {
    READINGS: Reading,
    "alerts.air": AirAlert,
    "alerts.patrol": PatrolAlert,
    "alerts.camera": CameraAlert,
}
"""What may lie on each input."""
INPUTS = (*CARRIES, HANDED_OVER)
OUTPUTS = ("decisions", "tickets", "ticket-events", "journal", "router-state", HANDED_OVER, "dead-letters")
DECISIONS, TICKETS, TICKET_EVENTS, JOURNAL, ROUTER_STATE, _, DEAD_LETTERS = OUTPUTS
# A dead letter keeps so many bytes; a larger record still lies where it was read, and the letter says where.
MOST_RAW_BYTES = 512 * 1024
FORWARDED_FROM = "x-forwarded-from"
# GB/T 10114; keys of the changelog begin with it.
TOWN_CODE = re.compile(r"[0-9]{9}")
OWN = "partition"
UNREADABLE = (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError)
"""What comes of a text that is no entry of the changelog: damaged, or of another program."""


@dataclass(frozen=True, slots=True)
class Arrived:
    """A record as it lies on a topic; `at`: the broker's time, ms UTC."""

    topic: str
    partition: int
    offset: int
    at: int
    key: bytes | None
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...] = ()

    @property
    def place(self) -> str:
        """`topic/partition/offset`."""
        return f"{self.topic}/{self.partition}/{self.offset}"


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A record to write; `at` is its timestamp, ms UTC. `value` None is a tombstone."""

    topic: str
    partition: int
    key: bytes
    value: bytes | None
    headers: tuple[tuple[str, bytes], ...]
    at: int


class Poison(Exception):
    """A record that makes the program fail each time, whatever it is: it goes to the dead letters."""

    def __init__(self, arrived: Arrived) -> None:
        super().__init__(arrived.place)
        self.arrived = arrived


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a partition's work needs to know besides itself. `partition_of`: where a town's records belong."""

    force: InForce
    wire: Wire
    partition_of: Callable[[str], int]
    router: int
    generation: int


@dataclass(slots=True)
class Step:
    """What a batch makes of a partition: records to write, in their order, and what becomes true once they are committed."""

    partition: int
    at: int
    number: int
    outgoing: list[Outgoing] = field(default_factory=list)
    towns: dict[str, Town] = field(default_factory=dict)
    next: dict[str, int] = field(default_factory=dict)
    decisions: list[tuple[Decision, int | None]] = field(default_factory=list)
    """With the moment the alert's sender was answered, where a record led to it."""
    applied: list[str] = field(default_factory=list)
    forwarded: list[str] = field(default_factory=list)
    letters: list[Reason] = field(default_factory=list)
    ticks: list[TownTick] = field(default_factory=list)
    versions: tuple[Version, ...] = ()
    adopted: bool = False
    """Whether it brings towns under another version of what is in force, or into quarantine or out of it."""
    failed: dict[str, str] = field(default_factory=dict)
    """Towns on which the program failed without a record, each with where: they are in quarantine from this step on."""
    quarantined: frozenset[str] = frozenset()


class Partition:
    """What is remembered of a partition: its towns, the number of its last journal record, the next offset of each input, and which versions of
    what is in force it was last worked on with.

    A town whose memory is not sound is in quarantine: nothing is decided for it, time does not pass for it, what it is sent is kept in the dead
    letters. Each journal record names the towns that are.
    """

    def __init__(
        self,
        number: int,
        journal: int = 0,
        towns: Mapping[str, Town] | None = None,
        offsets: Mapping[str, int] | None = None,
        versions: tuple[Version, ...] = (),
        quarantined: Iterable[str] = (),
    ) -> None:
        self.number = number
        self.journal = journal
        self.versions = versions
        self.quarantined = self._told = frozenset(quarantined)
        self.towns = dict(towns or {})
        self.next = dict(offsets or {})

    @classmethod
    def restored(cls, number: int, entries: Iterable[RouterState]) -> "Partition":
        """From the last record of each key of the changelog. Raises ValueError for one that is no entry."""
        restoring = Restoring(number)
        for entry in entries:
            restoring.take(entry)
        return restoring.partition()

    def entries(self) -> Iterator[RouterState]:
        """All of it, as `restored` takes it."""
        for code, town in sorted(self.towns.items()):
            for kind in KINDS:
                for name, entry in sorted(town.all(kind)):
                    yield RouterState(town=code, kind=kind, id=name, body=memory.to_text(entry))
        yield _own(self.number, self.journal, self.next, self.versions, self.quarantined)

    def quarantine(self, codes: Iterable[str]) -> None:
        """These towns are in quarantine from now on, and no others."""
        self.quarantined = frozenset(codes)

    def settled(self, versions: tuple[Version, ...]) -> bool:
        """Whether its towns are under what is in force, and the journal names those in quarantine; else a step without records comes first."""
        return (not self.towns or self.versions == versions) and self.quarantined == self._told

    @property
    def released(self) -> frozenset[str]:
        """Towns that are no longer in quarantine since the last step: a registry may have come and gone meanwhile."""
        return self._told - self.quarantined

    def due(self, now: int) -> bool:
        """Whether time alone has an effect on one of its towns."""
        return any(_due(town, now) for code, town in self.towns.items() if code not in self.quarantined)

    def apply(
        self,
        records: Sequence[Arrived],
        at: int,
        around: Surroundings,
        *,
        poisoned: bool = False,
        ticks: Iterable[TownTick] | None = (),
    ) -> Step:
        """What `records`, merged by broker time, topic and offset, and after them `ticks`, make of it.

        `at`: the owner's clock, ms UTC. `ticks`: those of a journal that is replayed; None: each town for which it is time by `at`.
        `poisoned`: the one record fails each time, and is not decided but kept. Raises Poison.
        """
        return _Work(self, at, around).run(records, ticks, poisoned=poisoned)

    def goes_on_at(self, committed: Mapping[str, int]) -> None:
        """The group's offsets. They are forgotten where no router ran for a week, or by hand; what was applied is not applied again."""
        self.next |= {topic: max(offset, self.next.get(topic, 0)) for topic, offset in committed.items()}

    def adopt(self, step: Step) -> None:
        """The step is committed."""
        self.journal = step.number
        self.versions = step.versions
        self.quarantined = self._told = step.quarantined
        self.next |= step.next
        self.towns |= {code: town.settle() for code, town in step.towns.items()}


class Restoring:
    """A partition that comes back, entry by entry, in any order."""

    def __init__(self, number: int) -> None:
        self._number = number
        self._towns: dict[str, dict[str, dict[str, Entry]]] = {}
        self.journal = 0
        self.program = ""
        """Of the partition's own entry: the version that wrote it."""
        self._offsets: dict[str, int] = {}
        self._versions: tuple[Version, ...] = ()
        self._quarantined: tuple[str, ...] = ()

    def take(self, entry: RouterState) -> None:
        """Raises ValueError for what is no entry."""
        try:
            if entry.kind == OWN:
                own = json.loads(entry.body)
                self.journal, self.program = int(own["journal"]), str(own.get("program", ""))
                self._offsets = {str(topic): int(offset) for topic, offset in own.get("next", {}).items()}
                self._versions = tuple(Version(name=str(a), version=str(b)) for a, b in own.get("versions", ()))
                self._quarantined = tuple(map(str, own.get("quarantined", ())))
                return
            kept = memory.from_text(entry.kind, entry.body)
        except UNREADABLE as error:
            raise ValueError(f"{key_of(entry)}: {error}") from error
        self._towns.setdefault(entry.town, {}).setdefault(entry.kind, {})[entry.id] = kept

    @property
    def is_any(self) -> bool:
        """Whether anything of a town was taken."""
        return bool(self._towns)

    def follow(self, journal: Journal) -> None:
        """Its own entry cannot be read: what the last journal record says of it. The offsets are the group's."""
        self.journal, self.program = journal.number, journal.program
        self._versions, self._quarantined = journal.versions, journal.quarantined

    def partition(self, unreadable: Collection[str] = ()) -> Partition:
        """All that was taken; the `unreadable` towns are in quarantine, whatever was taken of them."""
        towns = {code: Town(code, kinds) for code, kinds in self._towns.items() if code not in unreadable}
        return Partition(self._number, self.journal, towns, self._offsets, self._versions, self._quarantined)


def merged(records: Iterable[Arrived]) -> list[Arrived]:
    """A partition's records in the order they are applied: by broker time, topic and offset; within a topic always by offset.

    A broker's clock may have gone back: then the later record counts as no earlier than the one before it.
    """
    return [arrived for _, arrived in _timed(records)]


def _timed(records: Iterable[Arrived]) -> list[tuple[int, Arrived]]:
    keys = []
    latest: dict[str, int] = {}
    for arrived in sorted(records, key=lambda one: (one.topic, one.offset)):
        latest[arrived.topic] = max(latest.get(arrived.topic, arrived.at), arrived.at)
        keys.append((latest[arrived.topic], arrived.topic, arrived.offset, arrived))
    return [(at, arrived) for at, *_, arrived in sorted(keys, key=lambda key: key[:3])]


class Waiting:
    """Records of a partition that have been read, until every input has been read as far.

    Kafka hands out one input after the other. A record that is applied puts its town's clock forward, and what another input still holds
    from before would come too late: so nothing newer than the newest record of an input that is behind is applied.
    """

    def __init__(self) -> None:
        self._records: list[Arrived] = []
        self._newest: dict[str, int] = {}

    def __len__(self) -> int:
        return len(self._records)

    def add(self, records: Iterable[Arrived]) -> None:
        """Read just now."""
        for arrived in records:
            self._records.append(arrived)
            self._newest[arrived.topic] = max(self._newest.get(arrived.topic, arrived.at), arrived.at)

    @property
    def oldest(self) -> int | None:
        """The earliest broker time of what waits, ms UTC."""
        return min((arrived.at for arrived in self._records), default=None)

    def count(self, topic: str) -> int:
        """How many there are of an input."""
        return sum(arrived.topic == topic for arrived in self._records)

    def ahead(self, behind: Collection[str]) -> set[str]:
        """The inputs whose newest record must wait for another input."""
        horizon = self._horizon(behind)
        return {topic for topic, newest in self._newest.items() if horizon is not None and newest > horizon}

    def _horizon(self, behind: Collection[str]) -> int | None:
        return min((self._newest.get(topic, -1) for topic in behind), default=None)

    def take(self, behind: Collection[str], most: int) -> list[Arrived]:
        """What may be applied now, `most` at a time: `behind` names the inputs that are not read to their end."""
        horizon = self._horizon(behind)
        ready = [arrived for at, arrived in _timed(self._records) if horizon is None or at <= horizon][:most]
        taken = {(arrived.topic, arrived.offset) for arrived in ready}
        self._records = [arrived for arrived in self._records if (arrived.topic, arrived.offset) not in taken]
        return ready


def _envelope(arrived: Arrived) -> HandedOver:
    assert arrived.value is not None, "it was read"
    return HandedOver(
        topic=arrived.topic,
        partition=arrived.partition,
        offset=arrived.offset,
        key=arrived.key,
        value=arrived.value,
        headers=tuple(Header(name=name, value=value) for name, value in arrived.headers),
    )


def key_of(entry: RouterState) -> str:
    """The key of an entry of the changelog."""
    return f"{entry.town}|{entry.kind}|{entry.id}"


def _own(
    partition: int,
    journal: int,
    offsets: Mapping[str, int],
    versions: Iterable[Version],
    quarantined: Collection[str],
) -> RouterState:
    own = {
        "journal": journal,
        "next": {topic: offset for topic, offset in offsets.items() if offset},
        "program": __version__,
        "quarantined": sorted(quarantined),
        "versions": [(one.name, one.version) for one in versions],
    }
    return RouterState(
        town="", kind=OWN, id=str(partition), body=json.dumps(own, sort_keys=True, separators=(",", ":"))
    )


def _due(town: Town, now: int) -> bool:
    due = town.clock.due
    return due is not None and due <= now


class _Work:
    """One call of `Partition.apply`."""

    def __init__(self, partition: Partition, at: int, around: Surroundings) -> None:
        self._partition = partition
        self._around = around
        self._step = Step(
            partition.number,
            at,
            partition.journal + 1,
            versions=around.force.versions,
            quarantined=partition.quarantined,
        )

    def run(self, records: Sequence[Arrived], ticks: Iterable[TownTick] | None, *, poisoned: bool) -> Step:
        step = self._step
        self._adopt()
        ranges: dict[str, Range] = {}
        for arrived in merged(records):
            known = ranges.get(arrived.topic)
            first, last = (known.first, known.last) if known else (arrived.offset, arrived.offset)
            ranges[arrived.topic] = Range(
                topic=arrived.topic, first=min(first, arrived.offset), last=max(last, arrived.offset)
            )
            try:
                if poisoned:
                    self._invalid(arrived, Rejected(Reason.POISON))
                else:
                    self._record(arrived)
            except Exception as error:
                # Whatever it is, it is this record's: the caller drops the step and treats the record alone.
                raise Poison(arrived) from error
        step.next = {topic: one.last + 1 for topic, one in ranges.items()}
        self._ticks(ticks)
        try:
            self._changelog()
        except Exception as error:
            # An entry may fit into no record though what led to it did, and does not say whose it is: the caller takes the batch apart.
            if not records or poisoned:
                raise
            raise Poison(merged(records)[len(records) // 2]) from error
        journal = Journal(
            partition=step.partition,
            number=step.number,
            router=self._around.router,
            generation=self._around.generation,
            at=step.at,
            program=__version__,
            versions=self._around.force.versions,
            ranges=tuple(ranges[topic] for topic in sorted(ranges)),
            ticks=tuple(step.ticks),
            quarantined=tuple(sorted(step.quarantined)),
        )
        self._write(JOURNAL, step.partition, str(step.partition), journal, step.at)
        return step

    def _adopt(self) -> None:
        """Brings the towns under what is in force, where that is another version than the last; else those that come out of quarantine."""
        step, force, partition = self._step, self._around.force, self._partition
        step.adopted = not partition.settled(force.versions)
        codes = partition.released if partition.versions == force.versions else partition.towns.keys()
        for code in sorted(codes & partition.towns.keys() - partition.quarantined):
            self._alone(code, partial(adopt, self._town(code), step.partition, step.at, force))

    # ---- records

    def _record(self, arrived: Arrived) -> None:
        try:
            record, envelope, town = self._read(arrived)
            if self._around.partition_of(town) != self._step.partition:
                self._forward(arrived, record)
                return
        except Rejected as rejected:
            self._invalid(arrived, rejected)
            return
        if town in self._step.quarantined:
            self._invalid(arrived, Rejected(Reason.QUARANTINED, f"town {town}"))
            return
        event = Input(
            record=record,
            topic=arrived.topic,
            partition=arrived.partition,
            offset=arrived.offset,
            handed=town != record.town,
        )
        for output in self._decide(town, event, arrived.at, record.accepted_at):
            if isinstance(output, HandOver):
                self._send_on(arrived, envelope or _envelope(arrived), output.town)

    def _read(self, arrived: Arrived) -> tuple[Reading | Alert, HandedOver | None, str]:
        """The record, the envelope it came in, and the town that is to decide it: its own, or the one it was handed over to."""
        if arrived.value is None:
            raise Rejected(Reason.SCHEMA, "a record without a value")
        topic, record, envelope = arrived.topic, self._around.wire.decode(arrived.value), None
        if topic == HANDED_OVER and isinstance(record, HandedOver):
            envelope, topic = record, record.topic
            record = self._around.wire.decode(envelope.value)
        if topic not in CARRIES or not isinstance(record, CARRIES[topic]):
            raise Rejected(Reason.SCHEMA, f"{type(record).__name__} does not belong here")
        if isinstance(record, PatrolAlert) and self._around.force.town_of(place_of(record)) is None:
            raise Rejected(Reason.OUTSIDE_AREA, "more than 5 km from every town")
        town = record.town if envelope is None else (arrived.key or b"").decode("ascii", errors="replace")
        if not TOWN_CODE.fullmatch(town):
            raise Rejected(Reason.SCHEMA, "its town is no code of 9 digits")
        if envelope is None and arrived.key is not None and arrived.key != town.encode():
            raise Rejected(Reason.SCHEMA, f"the key is not the town {record.town}, which the record names")
        return record, envelope, town

    def _forward(self, arrived: Arrived, record: Reading | Alert) -> None:
        """Copies it to where it belongs. One that came that way cannot be wrong again: its partition follows from its town."""
        if arrived.topic == HANDED_OVER:
            raise Rejected(Reason.SCHEMA, f"{record.town} does not belong to this partition")
        self._send_on(arrived, _envelope(arrived), record.town)
        if not isinstance(record, Reading):
            self._decided(self._untouched(arrived, record.id, record.town, Outcome.FORWARDED, ()), None)

    def _send_on(self, arrived: Arrived, envelope: HandedOver, town: str) -> None:
        """To the partition of this town, whole, with the headers it came with."""
        headers = [(header.name, header.value) for header in envelope.headers]
        place = f"{envelope.topic}/{envelope.partition}/{envelope.offset}"
        also = (*headers, (FORWARDED_FROM, place.encode()))
        value, home = self._around.wire.encode(envelope), self._around.partition_of(town)
        self._step.outgoing.append(Outgoing(HANDED_OVER, home, town.encode(), value, also, arrived.at))
        self._step.forwarded.append(envelope.topic)

    def _invalid(self, arrived: Arrived, rejected: Rejected) -> None:
        """Keeps what cannot be read, and says so of an alert."""
        raw = arrived.value or b""
        large = len(raw) > MOST_RAW_BYTES
        letter = DeadLetter(
            id=arrived.place,
            feed=FEED,
            vendor="",
            device="",
            reason=rejected.reason,
            detail=f"{arrived.place}: {rejected.detail}",
            raw=b"" if large else raw,
            evidence_sha256=sha256(raw).hexdigest() if large else None,
            accepted_at=arrived.at,
            answered=True,
        )
        self._write(DEAD_LETTERS, 0, FEED, letter, arrived.at)
        self._step.letters.append(rejected.reason)
        if arrived.topic == READINGS:
            self._step.applied.append(Outcome.INVALID)
        else:
            invalid = self._untouched(arrived, arrived.place, UNKNOWN_TOWN, Outcome.INVALID, (rejected.reason,))
            self._decided(invalid, None)

    def _untouched(
        self, arrived: Arrived, alert: str, town: str, outcome: Outcome, reasons: tuple[str, ...]
    ) -> Decision:
        """A decision that no town took."""
        return Decision(
            id=alert,
            town=town,
            seq=0,
            origin=RECORD,
            topic=arrived.topic,
            partition=arrived.partition,
            offset=arrived.offset,
            now=arrived.at,
            outcome=outcome,
            reasons=reasons,
            ticket_id="",
            rule="",
            versions=self._around.force.versions,
        )

    # ---- towns

    def _town(self, code: str) -> Town:
        return self._step.towns.get(code) or self._partition.towns.get(code) or Town(code, {})

    def _decide(self, code: str, event: Input, now: int, accepted_at: int | None) -> tuple[Output, ...]:
        """What came of it."""
        return self._become(code, decide(self._town(code), event, now, self._around.force), accepted_at)

    def _become(self, code: str, new: tuple[Town, tuple[Output, ...]], accepted_at: int | None) -> tuple[Output, ...]:
        after, outputs = new
        for output in outputs:
            self._put(output, accepted_at)
        if after is not self._town(code):
            self._step.towns[code] = after
        return outputs

    def _put(self, output: Output, accepted_at: int | None) -> None:
        match output:
            case Counted():
                self._step.applied.append(output.result)
            case Decision():
                self._decided(output, accepted_at if output.origin == RECORD else None)
            case Ticket():
                self._write(TICKETS, self._step.partition, output.id, output, output.updated_at)
            case TicketEvent():
                self._write(TICKET_EVENTS, self._step.partition, output.town, output, output.at)

    def _decided(self, decision: Decision, accepted_at: int | None) -> None:
        self._write(DECISIONS, self._around.partition_of(decision.town), decision.town, decision, decision.now)
        self._step.decisions.append((decision, accepted_at))

    def _ticks(self, ticks: Iterable[TownTick] | None) -> None:
        step = self._step
        if ticks is None:
            codes = sorted((self._partition.towns.keys() | step.towns.keys()) - step.quarantined)
            due = [code for code in codes if _due(self._town(code), step.at)]
            ticks = [TownTick(town=code, now=max(step.at, self._town(code).clock.now)) for code in due]
        for one in ticks:
            before = self._town(one.town)
            self._alone(one.town, partial(decide, before, tick(step.partition), one.now, self._around.force))
            if self._town(one.town) is not before:
                step.ticks.append(one)

    def _alone(self, code: str, do: Callable[[], tuple[Town, tuple[Output, ...]]]) -> None:
        """What `do` makes of a town without a record. A program that fails then would fail at each start: the town's memory is at fault, or what reads
        it, and the others go on.
        """
        step = self._step
        written: tuple[list[Any], ...] = (step.outgoing, step.decisions, step.applied)
        before, was = [len(some) for some in written], step.towns.get(code)
        try:
            self._become(code, do(), None)
            for entry in self._changed(code):
                self._value(entry)  # what fits into no record is found here, where it is known whose it is
        except Exception as error:  # noqa: BLE001 - whatever it is, it is this town's: it stays as it was, in quarantine
            for some, count in zip(written, before, strict=True):
                del some[count:]
            step.towns.pop(code, None)
            if was:
                step.towns[code] = was
            step.failed[code] = places(error)
            step.quarantined |= {code}

    # ---- what is written

    def _changelog(self) -> None:
        step = self._step
        for code in sorted(step.towns):
            for entry in self._changed(code):
                self._remember(entry)
        offsets = self._partition.next | step.next
        self._remember(_own(step.partition, step.number, offsets, step.versions, step.quarantined))

    def _changed(self, code: str) -> Iterator[RouterState]:
        """What is another than before of a town; of what is gone the body is empty."""
        for (kind, name), entry in self._town(code).changes.items():
            yield RouterState(town=code, kind=kind, id=name, body="" if entry is None else memory.to_text(entry))

    def _value(self, entry: RouterState) -> bytes | None:
        return self._around.wire.encode(entry) if entry.body else None

    def _remember(self, entry: RouterState) -> None:
        step = self._step
        step.outgoing.append(
            Outgoing(ROUTER_STATE, step.partition, key_of(entry).encode(), self._value(entry), (), step.at)
        )

    def _write(self, topic: str, partition: int, key: str, record: Record, at: int) -> None:
        value = self._around.wire.encode(record)
        self._step.outgoing.append(Outgoing(topic, partition, key.encode(), value, tuple(headers(record)), at))
