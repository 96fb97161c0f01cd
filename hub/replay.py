"""`gridhub replay`: does it all again from the journal and the inputs, and compares what comes out with what lies on the topics.

From nothing, or from a state that an earlier replay wrote. Equal means byte for byte: key, value, headers, time, partition and order; on
compacted topics each record that is still there, and the last of each key. Records that another version of the program wrote are compared
as tickets only.
"""

import json
from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from collections.abc import Set as AbstractSet
from dataclasses import asdict, dataclass, field
from hashlib import sha256
from itertools import dropwhile
from pathlib import Path
from typing import NamedTuple

from hub import __version__
from hub.core.errors import Misconfigured, Rejected, Unavailable
from hub.core.events import DeadLetter, Decision, HandedOver, Journal, Range, RouterState, TicketEvent, Version
from hub.core.in_force import InForce
from hub.core.registry import Registry
from hub.lang import Text, progress
from hub.partition import (
    DEAD_LETTERS,
    FEED,
    HANDED_OVER,
    INPUTS,
    JOURNAL,
    OUTPUTS,
    ROUTER_STATE,
    TICKETS,
    Arrived,
    Outgoing,
    Partition,
    Poison,
    Surroundings,
)
from hub.registry import Versions
from hub.rulebook import own_rules
from hub.settings import Settings
from hub.transactions import Whole, partition_of
from hub.wire import Record, Wire

CLIENT = "gridhub-replay"
COMPACTED = frozenset({TICKETS, ROUTER_STATE})
# Their time is the broker's.
BROKER_TIMED = frozenset({HANDED_OVER, DEAD_LETTERS})
# Of an entry of the changelog that a person has put in the place of one that could not be read.
MENDED = "x-mended"


class Stream(NamedTuple):
    """Outputs that have one order: what one input partition (`source`) wrote to one partition of one topic."""

    topic: str
    partition: int
    source: int

    def __str__(self) -> str:
        own = (
            "" if self.source == self.partition else str(Text(f" (from {self.source})", f"（来自分区 {self.source}）"))
        )
        return f"{self.topic}/{self.partition}{own}"


class Seen(NamedTuple):
    """A record: what it is, for which key, whether it is a tombstone, where it lies; whether a person wrote it, then by its value alone."""

    digest: bytes
    key: bytes
    gone: bool
    place: str
    value: bytes = b""
    mended: bool = False


@dataclass(slots=True)
class Expected:
    """What a replay gave for one stream. `least`: so many of them must be there; those after it came while the topics were read."""

    records: list[Seen] = field(default_factory=list)
    least: int = 0


@dataclass(slots=True)
class Result:
    """`findings`: sentences, none when all is equal. `records`, `journal`: how many outputs and journal records were compared."""

    findings: list[str] = field(default_factory=list)
    records: int = 0
    journal: int = 0

    def add(self, en: str, zh: str) -> None:
        """One more finding."""
        self.findings.append(str(Text(en, zh)))


def replay(
    settings: Settings, *, start: Path | None = None, until: int | None = None, export: Path | None = None
) -> Result:
    """Replays every partition and compares. A router may be at work meanwhile.

    start: a folder that `export` of an earlier replay has filled. until: the journal number to stop after, in each partition; what was
    written later is not compared. export: where to write the state that was reached. Raises Unavailable (Kafka; an input that is no longer
    kept) and Misconfigured (the folder).
    """
    return _Replay(settings, start, until, export).run()


class _Replay:
    """One run. What is read comes in this order: journal, outputs, journal again, inputs; so everything that the first journal tells of must
    be among the outputs, and nothing can be that the second one does not tell of.
    """

    def __init__(self, settings: Settings, start: Path | None, until: int | None, export: Path | None) -> None:
        self._settings = settings
        self._start = start
        self._until = until
        self._export = export
        self._wire = Wire.load()
        self._rules = own_rules(settings)
        self._forces: dict[tuple[Version, ...], InForce] = {}
        self._registry: dict[int, Registry] = {}
        self._partition_of = partition_of(settings)
        self._expected: dict[Stream, Expected] = defaultdict(Expected)
        self._there: dict[Stream, list[Seen]] = defaultdict(list)
        self._begins: dict[tuple[str, int], int] = {}
        self._loose: frozenset[int] = frozenset()
        self._result = Result()

    def run(self) -> Result:
        with progress("Reading the registry", "正在读取登记表"):
            self._registry = Versions(self._settings, CLIENT).all()
        with progress("Reading the journal", "正在读取日志"):
            first = self._journals(Whole(self._settings, [JOURNAL], CLIENT).all())
        self._loose = frozenset(
            number for number, some in first.items() if any(one.program != __version__ for one in some)
        )
        with progress("Reading what was written", "正在读取输出记录"):
            self._read_outputs([topic for topic in OUTPUTS if topic != JOURNAL])
            journals = self._journals(self._read_outputs([JOURNAL]))
        for number, journal in sorted(journals.items()):
            with progress(f"Replaying partition {number}", f"正在重放分区 {number}"):
                self._one(number, journal, must=len(first.get(number, ())))
        for stream in sorted(self._expected.keys() | self._there.keys()):
            self._compare(stream, self._expected[stream], self._there[stream])
        return self._result

    # ---- what is there

    def _journals(self, records: Iterable[Arrived]) -> dict[int, list[Journal]]:
        found: dict[int, list[Journal]] = defaultdict(list)
        for record in records:
            journal = self._decoded(record)
            if isinstance(journal, Journal) and (self._until is None or journal.number <= self._until):
                found[record.partition].append(journal)
        return found

    def _read_outputs(self, topics: Sequence[str]) -> list[Arrived]:
        whole = Whole(self._settings, topics, CLIENT)
        self._begins |= whole.begins
        records = []
        for record in whole.all():
            if (source := self._source(record)) is not None:
                self._there[Stream(record.topic, record.partition, source)] += self._seen(record, source)
            if record.topic == JOURNAL:
                records.append(record)
        return records

    def _source(self, record: Arrived | Outgoing) -> int | None:
        """The partition whose work it is; None: not the router's."""
        match record.topic:
            case "decisions" | "handed-over":
                decoded = self._decoded(record)
                return decoded.partition if isinstance(decoded, Decision | HandedOver) else record.partition
            case "dead-letters":
                letter = self._decoded(record)
                if not isinstance(letter, DeadLetter) or letter.feed != FEED or letter.mark:
                    return None
                return int(letter.id.split("/")[-2])
        return record.partition

    def _decoded(self, record: Arrived | Outgoing) -> Record | None:
        """None for what this program cannot read; it differs from everything that it writes."""
        try:
            return None if record.value is None else self._wire.decode(record.value)
        except Rejected:
            return None

    def _seen(self, record: Arrived | Outgoing, source: int) -> list[Seen]:
        place = record.place if isinstance(record, Arrived) else ""
        mended = record.topic == ROUTER_STATE and any(name == MENDED for name, _ in record.headers)
        if source in self._loose:
            event = self._decoded(record)
            if not isinstance(event, TicketEvent):
                return []  # bytes of another version: only what became of the tickets is compared
            content: tuple[object, ...] = (event.ticket_id, event.version, event.step, event.state, event.at)
        else:
            at = 0 if record.topic in BROKER_TIMED else record.at
            content = (record.key, record.value, record.headers, at)
        digest, value = sha256(repr(content).encode()).digest(), sha256(record.value or b"").digest()
        return [Seen(digest, record.key or b"", record.value is None, place, value, mended)]

    # ---- what should be there

    def _one(self, number: int, journal: Sequence[Journal], *, must: int) -> None:
        partition = Partition(number) if self._start is None else exported(self._start, number)
        after = partition.journal
        inputs = Whole(self._settings, INPUTS, CLIENT, [number])
        records: dict[str, dict[int, Arrived]] = {topic: {} for topic in INPUTS}
        for record in inputs.all():
            records[record.topic][record.offset] = record
        applied: dict[str, int] = dict.fromkeys(INPUTS, -1) if self._start is None else {}
        for index, one in enumerate(journal):
            if one.number <= after:
                applied |= {some.topic: some.last for some in one.ranges}
                continue
            if one.number != partition.journal + 1:
                self._result.add(
                    f"journal/{number}: {one.number} follows {partition.journal}",
                    f"journal/{number}：{partition.journal} 之后是 {one.number}",
                )
                return
            batch = []
            for some in one.ranges:
                self._range(number, one, some, applied, records[some.topic], inputs.begins[some.topic, number])
                batch += [records[some.topic][o] for o in range(some.first, some.last + 1) if o in records[some.topic]]
                applied[some.topic] = some.last
            force = self._force(number, one)
            partition.quarantine(one.quarantined)
            around = Surroundings(force, self._wire, self._partition_of, one.router, one.generation)
            try:
                step = partition.apply(batch, one.at, around, ticks=one.ticks)
            except Poison:
                step = partition.apply(batch, one.at, around, poisoned=True, ticks=one.ticks)
            for outgoing in step.outgoing:
                stream = Stream(outgoing.topic, outgoing.partition, number)
                expected = self._expected[stream]
                expected.records += self._seen(outgoing, number)
                if index < must:
                    expected.least = len(expected.records)
            partition.adopt(step)
            self._result.journal += 1
        if self._export is not None:
            _write_state(self._export, partition)

    def _force(self, number: int, journal: Journal) -> InForce:
        """What was in force, by the journal. Under other rules nothing can be equal: said once, for the differences alone would not tell why."""
        if journal.versions not in self._forces:
            version = next((int(one.version) for one in journal.versions if one.name == "registry"), 0)
            registry = self._registry.get(version)
            if registry is None:
                self._result.add(
                    f"journal/{number}, {journal.number}: version {version} of the registry is no longer there",
                    f"journal/{number}，{journal.number}：登记表第 {version} 版已不存在",
                )
            force = InForce(registry or Registry(version=version), self._rules)
            if registry is not None and force.versions != journal.versions:
                self._result.add(
                    f"journal/{number}, {journal.number}: decided under other rules than those of this configuration",
                    f"journal/{number}，{journal.number}：当时的规则与当前配置不同",
                )
            self._forces[journal.versions] = force
        return self._forces[journal.versions]

    def _range(
        self,
        number: int,
        journal: Journal,
        some: Range,
        applied: Mapping[str, int],
        records: Mapping[int, Arrived],
        begins: int,
    ) -> None:
        """Each record is applied once: the range follows the one before, and nothing lies between them."""
        if some.first < begins:
            raise Unavailable(
                str(
                    Text(
                        f"{some.topic}/{number} begins at {begins}, and journal {journal.number} needs {some.first}: replay --from a later state",
                        f"{some.topic}/{number} 从 {begins} 开始，而日志 {journal.number} 需要 {some.first}：请用 --from 指定较新的状态",
                    )
                )
            )
        last = applied.get(some.topic, some.first - 1)
        skipped = [offset for offset in range(max(last + 1, begins), some.first) if offset in records]
        if some.first <= last or some.last < some.first or skipped:
            self._result.add(
                f"journal/{number}, {journal.number}: {some.topic} {some.first}-{some.last} does not follow {last}",
                f"journal/{number}，{journal.number}：{some.topic} {some.first}-{some.last} 与 {last} 不衔接",
            )

    # ---- the comparison

    def _compare(self, stream: Stream, expected: Expected, there: Sequence[Seen]) -> None:
        self._result.records += len(expected.records)
        if stream.topic in COMPACTED and stream.source not in self._loose:
            self._compare_compacted(stream, expected, there)
            return
        wanted = expected.records
        skip_there = skip_wanted = 0
        if self._start is not None:
            # What was written before the state is not replayed.
            skip_there = _index(there, wanted[0]) if wanted else len(there)
        elif self._begins.get((stream.topic, stream.partition), 0) > 0 and there:
            skip_wanted = _index(wanted, there[0])  # what is older is no longer kept
        there, wanted, least = there[skip_there:], wanted[skip_wanted:], expected.least - skip_wanted
        for one, other in zip(wanted, there, strict=False):
            if one.digest != other.digest:
                self._result.add(f"{other.place}: the replay writes another", f"{other.place}：重放结果不同")
                return
        if len(there) < least:
            self._result.add(
                f"{stream}: {least - len(there)} records are missing", f"{stream}：缺少 {least - len(there)} 条记录"
            )
        elif len(there) > len(wanted) and self._until is None:
            self._result.add(
                f"{there[len(wanted)].place}: the replay writes nothing here",
                f"{there[len(wanted)].place}：重放没有这条记录",
            )

    def _compare_compacted(self, stream: Stream, expected: Expected, there: Sequence[Seen]) -> None:
        """Each record that is left is one of the replay's, in its order, and the last of each key is the replay's last."""
        known = {one.digest for one in expected.records}
        if self._start is not None:
            there = list(dropwhile(lambda one: one.digest not in known, there))
        at = 0
        last_there: dict[bytes, Seen] = {}
        for one in there:
            last_there[one.key] = one
            if one.mended:
                continue
            while at < len(expected.records) and expected.records[at].digest != one.digest:
                at += 1
            if at < len(expected.records):
                at += 1
            elif one.digest in known or self._until is None:
                self._result.add(f"{one.place}: the replay writes another", f"{one.place}：重放结果不同")
                return
        last_wanted: dict[bytes, Seen] = {}
        for one in expected.records[: expected.least]:
            last_wanted[one.key] = one
        later = {one.digest for one in expected.records[expected.least :]}
        for key, one in last_wanted.items():
            if not _is_last(last_there.get(key), one, later) and self._until is None:
                name = key.decode(errors="replace")
                self._result.add(f"{stream}: the last of {name} differs", f"{stream}：{name} 的最后一条不同")
                return


def _is_last(found: Seen | None, wanted: Seen, later: AbstractSet[bytes]) -> bool:
    """Whether what is left of a key is what the replay wrote last, or later; what a person has put there, by its value."""
    if found is None:
        return wanted.gone
    if found.mended:
        return (found.gone, found.value) == (wanted.gone, wanted.value)
    return found.digest == wanted.digest or found.digest in later


def _index(records: Sequence[Seen], wanted: Seen) -> int:
    return next((index for index, one in enumerate(records) if one.digest == wanted.digest), 0)


def exported(folder: Path, number: int) -> Partition:
    """What an earlier replay has exported of a partition. Raises Misconfigured."""
    path = folder / f"{number}.jsonl"
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
        return Partition.restored(number, [RouterState(**json.loads(line)) for line in lines])
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise Misconfigured(
            str(Text(f"{path} is no exported state: {error}", f"{path} 不是导出的状态：{error}"))
        ) from None


def _write_state(folder: Path, partition: Partition) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    lines = [json.dumps(asdict(entry), ensure_ascii=False) for entry in partition.entries()]
    (folder / f"{partition.number}.jsonl").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
