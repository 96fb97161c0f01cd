"""What the router must have made of what the stations sent: which tickets, and each record that leads to one.

A second witness from outside. It takes the router's journal as the order in which it worked, and nothing else from it: what was read,
it knows from the senders' logs and the register, and what follows it works out by itself, with its own means, limits and clock. Each
decision, each step and each state of a ticket must be the one that follows, no record more and none less.

Periods are those of rules shorter than what a station averages itself: only realtime values tell of them.
"""

import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from fractions import Fraction
from functools import cached_property
from hashlib import sha256
from itertools import pairwise
from typing import Any, NamedTuple

from tests.faults.checker import (
    ALERTS,
    PARTITIONS,
    READINGS,
    Aside,
    Expected,
    Fields,
    Finding,
    Kept,
    Place,
    Run,
    Senders,
    Stored,
    Topics,
    Unreadable,
    Wrong,
    judged,
    partition_of,
    place_of,
    rfc3339,
)
from tests.faults.duties import Duties

HANDED_OVER, TICKETS, EVENTS, DECISIONS, JOURNAL = "handed-over", "tickets", "ticket-events", "decisions", "journal"
WRITTEN = {
    HANDED_OVER: "HandedOver",
    TICKETS: "Ticket",
    EVENTS: "TicketEvent",
    DECISIONS: "Decision",
    JOURNAL: "Journal",
}
INPUTS = (READINGS, ALERTS, HANDED_OVER)
UNIT = "ug/m3"
USUAL_MARKS = ("", "N")
STANDARD = "GB/T 47678.5-2026"
# So long after it is time, at the latest, an idle router has noticed.
NOTICED_MS = 5_000
STEPS = frozenset({"opened", "updated", "cleared"})
"""Outcomes that take a step of a ticket, which is called the same."""
REASSIGNED = "reassigned"
"""The step that no decision takes: a new map or roster gives a ticket to another."""
AFTER_A_STEP = {
    "version": "version",
    "state": "state",
    "updated_at": "at",
    "decision_seq": "decision_seq",
    "cell": "cell",
    "owner_role": "owner_role",
    "owner": "owner",
}
"""What a ticket says after a step, and how the step calls it."""
OWNERS = frozenset({"worker", "head", "second_head", "centre"})
"""Whose work a ticket can be; of the centre's queue no person needs to be named."""
CHANGES = frozenset({*AFTER_A_STEP, "grid", "place_mark", "cleared_at", "alerts"})
"""What may be another after a step. All else of a ticket stays as it was opened."""
NO_TOWN = "000000000"
# What says nothing new of an alert: it was decided before, or is decided elsewhere.
NO_CHANGE = frozenset({"repeated", "forwarded", "handed-over"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """A rule in force, as the setting says it; times in seconds. With a factor it watches means, else it takes alerts of its kind."""

    kind: str
    class_code: str
    class_standard: str = STANDARD
    factor: str = ""
    limit: float = 0
    period: int = 3600
    wait: float = 600
    covered: float = 0.75
    realtime: float = 60
    clear_after: int = 2

    @classmethod
    def of(cls, table: Mapping[str, Any]) -> "Rule":
        """From a table of the setting `rules`."""
        return cls(class_code=table["class"], **{name: value for name, value in table.items() if name != "class"})


@dataclass(frozen=True, slots=True)
class RouterRun:
    """All there is to judge by.

    `run`: what the connector was sent and what it wrote. `written` and `again`: all of `WRITTEN`, as two readers saw it that know
    nothing of each other. `until`: when the routers had nothing left to read, and the reading began (ms UTC). `duties`: whose a place is; without
    any, everything is the centre's. `registries`: how many versions of it came, 1, 2, 3 ..., all alike. `one_clock`: whether the routers' wall clocks
    were right all the time.
    """

    run: Run
    written: Topics
    again: Topics
    rules: tuple[Rule, ...]
    until: int
    slots: int = 3
    duties: Duties = field(default_factory=Duties)
    registries: int = 1
    one_clock: bool = True


@dataclass(frozen=True, slots=True)
class Written:
    """A record of the router that could be read."""

    stored: Stored
    fields: Fields

    @property
    def place(self) -> str:
        return self.stored.place


# ---- what follows from what was read


@dataclass
class Episode:
    """What one ticket is about. `steps`: the decisions that took them."""

    town: str
    device: str
    rule: Rule
    steps: list["Due"] = field(default_factory=list)


@dataclass(eq=False)
class Due:
    """A decision that must be there; `event` numbers the events of the partition. `says`: what its reasons must hold."""

    event: int
    alert: str
    town: str
    device: str
    origin: str
    topic: str
    partition: int
    offset: int
    now: int
    outcome: str
    rule: str = ""
    episode: Episode | None = None
    says: tuple[str, ...] = ()
    mean: Fraction | None = None

    @property
    def key(self) -> tuple[object, ...]:
        return _key(self.origin, self.topic, self.partition, self.offset, self.alert)


def _registry(journal: Written) -> int:
    """The version of the registry that a journal record names; 0 where it names none."""
    return next((int(one["version"]) for one in journal.fields["versions"] if one["name"] == "registry"), 0)


def _key(origin: str, topic: str, partition: int, offset: int, alert: str) -> tuple[object, ...]:
    """What makes decisions the same one: the record, or what the hub concluded."""
    return (topic, partition, offset) if origin == "record" else (alert,)


@dataclass
class Matter:
    """Means of one device under one rule. `samples`: by period and time; `told`: what each applied value is known by."""

    town: str
    device: str
    rule: Rule
    samples: dict[int, dict[int, Fraction]] = field(default_factory=dict)
    told: set[int | str] = field(default_factory=set)
    decided: int = -1
    clean: int = 0
    episode: Episode | None = None

    def ends(self, start: int) -> int:
        """Until when a period is waited for."""
        return start + int((self.rule.period + self.rule.wait) * 1000)

    def due(self, now: int) -> list[int]:
        """The periods that can be decided."""
        return sorted(start for start in self.samples if self.ends(start) <= now)

    def mean(self, start: int) -> tuple[Fraction | None, int]:
        """The period's mean, None where too little of it is covered, and how many values there are."""
        samples = self.samples.pop(start)
        lasts = int(self.rule.realtime * 1000)
        begins = sorted(samples)
        covered = sum(min(lasts, after - begin) for begin, after in pairwise(begins)) + lasts
        enough = covered >= Fraction(str(self.rule.covered)) * self.rule.period * 1000
        return (sum(samples.values(), Fraction()) / len(samples) if enough else None), len(samples)


@dataclass(frozen=True, slots=True)
class Came:
    """An input record: what lies there, and what its sender said. `envelope`: it was handed over."""

    stored: Stored
    sender: Kept
    fields: Fields
    envelope: bool = False

    @property
    def town(self) -> str:
        return str(self.fields["town"])

    @property
    def is_home(self) -> bool:
        return self.stored.partition == partition_of(self.town.encode())


class Partition:
    """Works out what must have become of one partition's records, in the order of its journal."""

    def __init__(self, number: int, rules: Sequence[Rule]) -> None:
        self.due: list[Due] = []
        self.found: list[Finding] = []
        self.episodes: list[Episode] = []
        self._number = number
        self._rules = rules
        self._matters: dict[tuple[str, str], Matter] = {}
        self._alarms: dict[tuple[str, str], Episode] = {}
        self._seen: dict[str, Episode | None] = {}
        self._now: dict[str, int] = defaultdict(int)
        self._now_by: dict[str, str] = {}
        self._newest = 0
        self.behind_ms = 0
        self._event = 0

    def record(self, came: Came) -> None:
        """A record of an input topic."""
        self._event += 1
        stored, town = came.stored, came.town
        self._newest = max(self._newest, stored.timestamp)
        self.behind_ms = max(self.behind_ms, self._newest - stored.timestamp)
        if not came.is_home:
            if stored.topic == ALERTS:
                self._decide(came, stored.timestamp, "forwarded")
            return
        now = self._passes(town, stored.timestamp, stored.place)
        self._settle(town, now)
        if came.sender.name == "Reading":
            self._read(came, now)
        else:
            self._alarm(came, now)

    def invalid(self, stored: Stored, reason: str) -> None:
        """A record of an input topic that touches no town: it lies in the dead letters."""
        self._event += 1
        if stored.topic == READINGS:
            return
        due = Due(
            event=self._event,
            alert=stored.place,
            town=NO_TOWN,
            device="",
            origin="record",
            topic=stored.topic,
            partition=stored.partition,
            offset=stored.offset,
            now=stored.timestamp,
            outcome="invalid",
            says=(reason,),
        )
        self.due.append(due)

    def tick(self, town: str, now: int, at: int, place: str) -> None:
        """Time that passed until `at`, the owner's clock. It must have had an effect, else it is in no journal."""
        self._event += 1
        at = self._passes(town, at, f"a tick in {place}")
        if now != at:
            self.found.append(Finding(Wrong.TIME, place, f"a tick of {town} at {now}, not at {at}"))
        if not self._settle(town, now):
            self.found.append(Finding(Wrong.UNEXPECTED, place, f"a tick of {town} without effect"))

    def end(self, until: int) -> None:
        """Whatever was due long enough ago must have been decided."""
        for matter in self._matters.values():
            for start in matter.due(until - NOTICED_MS):
                self.found.append(
                    Finding(Wrong.OVERDUE, f"{matter.device} {matter.rule.kind}", f"the period of {utc(start)}")
                )

    def _passes(self, town: str, at: int, by: str) -> int:
        """The town's clock, which never goes back."""
        if at > self._now[town]:
            self._now[town], self._now_by[town] = at, by
        return self._now[town]

    # ---- means

    def _read(self, came: Came, now: int) -> None:
        fields = came.fields
        if fields["period_s"] or fields["backfilled"] or fields["time_mark"] == "too_old":
            return
        at: int = fields["event_at"]
        for value in fields["values"]:
            if (
                value["value"] is None
                or value["statistic"] != "Rtd"
                or value["mark"] not in USUAL_MARKS
                or value["unit"] != UNIT
            ):
                continue
            for rule in self._rules:
                if rule.factor == value["factor"]:
                    self._take(came, rule, at, Fraction(repr(value["value"])), now)

    def _take(self, came: Came, rule: Rule, at: int, value: Fraction, now: int) -> None:
        device = came.sender.message.device
        matter = self._matters.setdefault((device, rule.kind), Matter(came.town, device, rule))
        start = at - at % (rule.period * 1000)
        # A time that was put in the device's place tells nothing of what was sent again: its message does.
        name = at if came.fields["time_mark"] == "device" else came.fields["id"]
        if name in matter.told:
            return  # the first one stands
        if start <= matter.decided or now >= matter.ends(start):
            self.found.append(self._late(came, matter.ends(start), start))
            return
        matter.told.add(name)
        matter.samples.setdefault(start, {})[at] = value

    def _late(self, came: Came, ends: int, start: int) -> Finding:
        stored, name = came.stored, came.sender.message.name
        after = stored.timestamp - ends
        if after >= 0:
            return Finding(
                Wrong.TOO_SLOW, stored.place, f"{name}: {after} ms after the period of {utc(start)} was over"
            )
        detail = (
            f"{-after} ms before the period of {utc(start)} was over, and {self._now_by[came.town]} had been before it"
        )
        return Finding(Wrong.OVERTAKEN, stored.place, f"{name}: there {detail}")

    def _settle(self, town: str, now: int) -> bool:
        """Whether a period of the town was decided, or given up."""
        is_any = False
        for matter in (one for one in self._matters.values() if one.town == town):
            for start in matter.due(now):
                is_any = True
                mean, count = matter.mean(start)
                if mean is not None:
                    matter.decided = start
                    self._judge(matter, start, mean, count, now)
        return is_any

    def _judge(self, matter: Matter, start: int, mean: Fraction, count: int, now: int) -> None:
        rule = matter.rule
        if mean > Fraction(str(rule.limit)):
            matter.clean = 0
            outcome = "updated" if matter.episode else "opened"
            matter.episode = matter.episode or self._begun(Episode(matter.town, matter.device, rule))
        elif matter.episode and matter.clean + 1 == rule.clear_after:
            matter.clean, outcome = 0, "cleared"
        else:
            matter.clean += 1 if matter.episode else 0
            return
        due = Due(
            event=self._event,
            alert=f"{matter.device}/{rule.kind}/{rule.factor}/{utc(start)}",
            town=matter.town,
            device=matter.device,
            origin="watch",
            # Time has passed, whatever record came by.
            topic="",
            partition=self._number,
            offset=-1,
            now=now,
            outcome=outcome,
            rule=rule.kind,
            episode=matter.episode,
            says=(f"limit {rule.limit:g} {UNIT}", f"{count} realtime values", f"period {utc(start)}/PT{rule.period}S"),
            mean=mean,
        )
        self.due.append(due)
        matter.episode.steps.append(due)
        if outcome == "cleared":
            matter.episode = None

    # ---- alerts of devices

    def _alarm(self, came: Came, now: int) -> None:
        fields = came.fields
        if fields["id"] in self._seen:
            self._decide(came, now, "repeated", episode=self._seen[fields["id"]])
            return
        episode = None
        rule = next((one for one in self._rules if one.kind == fields["kind"] and not one.factor), None)
        key = str(fields["device"]), "+".join(sorted({value["factor"] for value in fields["values"]}))
        if rule is None:
            self._decide(came, now, "no_rule")
        elif fields["signal"] == "ends":
            if episode := self._alarms.pop(key, None):
                episode.steps.append(self._decide(came, now, "cleared", rule.kind, episode))
            else:
                self._decide(came, now, "expired", rule.kind, says=("nothing_open",))
        elif fields["time_mark"] == "too_old":
            self._decide(came, now, "late", rule.kind, says=("too_old",))
        else:
            outcome = "updated" if key in self._alarms else "opened"
            episode = self._alarms.get(key) or self._begun(Episode(came.town, key[0], rule))
            self._alarms[key] = episode
            episode.steps.append(self._decide(came, now, outcome, rule.kind, episode))
        self._seen[fields["id"]] = episode

    def _decide(  # the fields of a decision
        self,
        came: Came,
        now: int,
        outcome: str,
        rule: str = "",
        episode: Episode | None = None,
        says: tuple[str, ...] = (),
    ) -> Due:
        stored = came.stored
        due = Due(
            event=self._event,
            alert=came.fields["id"],
            town=came.town,
            device=came.fields["device"],
            origin="record",
            topic=stored.topic,
            partition=stored.partition,
            offset=stored.offset,
            now=now,
            outcome=outcome,
            rule=rule,
            episode=episode,
            says=says,
        )
        self.due.append(due)
        return due

    def _begun(self, episode: Episode) -> Episode:
        self.episodes.append(episode)
        return episode


def utc(at: int) -> str:
    """A period's start, as ids of alerts have it."""
    return datetime.fromtimestamp(at // 1000, UTC).strftime("%Y%m%dT%H%M%SZ")


# ---- the judgement


class Tally(NamedTuple):
    """What a run came to, for a report. `worst_behind_ms`: how much newer a record was that was applied before another of its partition."""

    tickets: int
    cleared: int
    steps: Counter[str]
    decisions: Counter[str]
    journal: int
    ticks: int
    worst_delay_ms: int
    worst_behind_ms: int


def findings(run: RouterRun) -> list[Finding]:
    """All that is wrong with what the router wrote. What the connector wrote is judged by `checker.findings`."""
    return Judgement(run).found


class Judgement:
    """The findings, and what they were found in."""

    def __init__(self, run: RouterRun) -> None:
        self.found: list[Finding] = []
        self._run = run
        self._aside = run.run.aside
        self._written = self._read_all()
        self._inputs = self._came()
        self._lying = {place: came.stored for place, came in self._inputs.items()} | {
            place: stored
            for stored in (*run.run.topics.records, *run.written.records)
            if (place := place_of(stored)) in self._aside.poison
        }
        self.partitions = [Partition(number, run.rules) for number in range(PARTITIONS)]
        self.found += views(run.written, run.again)
        self._forms()
        self._versions()
        self._journal()
        self._due = [due for partition in self.partitions for due in partition.due]
        self.episodes = [episode for partition in self.partitions for episode in partition.episodes]
        for partition in self.partitions:
            partition.end(run.until)
            self.found += partition.found
        self._decisions()
        self._numbered()
        self._balance()
        self._tickets()
        states = (stored for stored in run.written.records if stored.topic == TICKETS)
        self.found += latest(states, self._written[EVENTS], self._written[TICKETS])

    @cached_property
    def tally(self) -> Tally:
        """What it came to."""
        delays = [
            came.stored.timestamp - came.fields["event_at"]
            for came in self._inputs.values()
            if came.stored.topic == READINGS and came.fields["time_mark"] == "device" and not came.fields["period_s"]
            and not came.fields["backfilled"] and came.sender.accepted_at == self._first_acceptance[came.fields["id"]]
        ]  # fmt: skip
        return Tally(
            len(self.episodes),
            sum(episode.steps[-1].outcome == "cleared" for episode in self.episodes),
            Counter(each.fields["step"] for each in self._written[EVENTS]),
            Counter(f"{each.fields['origin']} {each.fields['outcome']}" for each in self._written[DECISIONS]),
            len(self._written[JOURNAL]),
            sum(len(each.fields["ticks"]) for each in self._written[JOURNAL]),
            max(delays, default=0),
            max(partition.behind_ms for partition in self.partitions),
        )

    @cached_property
    def _first_acceptance(self) -> dict[str, int]:
        first: dict[str, int] = {}
        for came in self._inputs.values():
            first[came.fields["id"]] = min(
                came.sender.accepted_at, first.get(came.fields["id"], came.sender.accepted_at)
            )
        return first

    def _wrong(self, wrong: Wrong, where: str, detail: str) -> None:
        self.found.append(Finding(wrong, where, detail))

    # ---- what lies there

    def _read_all(self) -> dict[str, list[Written]]:
        written: dict[str, list[Written]] = {topic: [] for topic in WRITTEN}
        for stored in self._run.written.records:
            if place_of(stored) in self._aside.poison:
                continue
            try:
                name, fields = self._run.run.contract.decode(stored.value or b"")
            except Unreadable as error:
                self._wrong(Wrong.UNREADABLE, stored.place, str(error))
                continue
            if name == WRITTEN[stored.topic]:
                written[stored.topic].append(Written(stored, fields))
            else:
                self._wrong(Wrong.TOPIC, stored.place, f"a {name}")
        return written

    def _came(self) -> dict[Place, Came]:
        """By place: every input record that comes of a sender's message."""
        run = self._run.run
        senders = Senders(run.log)
        inputs: dict[Place, Came] = {}
        for stored in run.topics.records:
            if stored.topic in INPUTS and isinstance(kept := judged(stored, run, senders), Kept):
                device = run.register[kept.message.device]
                fields = Expected(device, run.minute_period_s).record(kept.message, kept.accepted_at)
                inputs[place_of(stored)] = Came(stored, kept, fields)
        envelopes: Counter[Place] = Counter()
        for each in self._written[HANDED_OVER]:
            origin = each.fields["topic"], each.fields["partition"], each.fields["offset"]
            came = inputs.get(origin)
            envelopes[origin] += 1
            if came is None or came.is_home:
                self._wrong(Wrong.UNEXPECTED, each.place, f"there is nothing to hand over at {origin}")
                continue
            whole = came.stored.key, came.stored.value, [{"name": n, "value": v} for n, v in came.stored.headers]
            if (each.fields["key"], each.fields["value"], each.fields["headers"]) != whole:
                self._wrong(Wrong.FIELD, each.place, f"not what lies at {came.stored.place}")
            inputs[place_of(each.stored)] = Came(each.stored, came.sender, came.fields, envelope=True)
        for origin, came in inputs.items():
            if not came.envelope and not came.is_home and envelopes[origin] != 1:
                self._wrong(Wrong.PARTITION, came.stored.place, f"handed over {envelopes[origin]} times, not once")
        return inputs

    def _forms(self) -> None:
        """Key, partition, time and headers of each record; no two are equal."""
        seen: dict[tuple[str, bytes | None], Stored] = {}
        for topic, each in ((topic, each) for topic, written in self._written.items() for each in written):
            stored, form = each.stored, FORMS[topic](each.fields, self._inputs.get(_origin(each.fields)))
            if stored.key != form.key.encode():
                self._wrong(Wrong.KEY, each.place, f"{stored.key!r}, not {form.key!r}")
            if stored.partition != form.partition:
                self._wrong(Wrong.PARTITION, each.place, f"not {form.partition}")
            if form.at is not None and stored.timestamp != form.at:
                self._wrong(Wrong.TIME, each.place, f"{stored.timestamp}, not {form.at}")
            if sorted(stored.headers) != sorted(form.headers):
                differing = sorted(set(stored.headers) ^ set(form.headers)) or "one stands there twice"
                self._wrong(Wrong.HEADER, each.place, f"{differing}")
            first = seen.setdefault((topic, stored.value), stored)
            if first is not stored:
                self._wrong(Wrong.DOUBLE, each.place, f"byte for byte as {first.place}")

    def _versions(self) -> None:
        """One program and one set of rules in the whole run; and one registry, where not several came."""
        several = self._run.registries > 1

        def told(each: Written, name: str) -> str:
            value = each.fields[name]
            return repr(
                [one for one in value if one["name"] != "registry"] if name == "versions" and several else value
            )

        for name, topics in {"versions": (DECISIONS, JOURNAL), "program": (JOURNAL,)}.items():
            records = [each for topic in topics for each in self._written[topic]]
            usual = Counter(told(each, name) for each in records).most_common(1)
            for each in records:
                if told(each, name) != usual[0][0]:
                    self._wrong(Wrong.FIELD, each.place, f"{name} is {each.fields[name]}, elsewhere {usual[0][0]}")
        for journal in filter(None, self._by_partition(JOURNAL)):
            self._adopted(journal)

    def _adopted(self, journal: Sequence[Written]) -> None:
        """A record of a partition's journal applies something: other records, time, a town's quarantine, or a newer registry, of which the last one comes to
        all.
        """
        newest = _registry(journal[0])
        were_in_quarantine: list[str] = []
        for each in journal:
            registry = _registry(each)
            if registry < newest:
                self._wrong(Wrong.BACKWARDS, each.place, f"registry {registry} after {newest}")
            in_quarantine = each.fields.get("quarantined", [])
            is_moved = registry > newest or in_quarantine != were_in_quarantine
            if not (each.fields["ranges"] or each.fields["ticks"] or is_moved):
                self._wrong(Wrong.UNEXPECTED, each.place, "nothing was applied")
            newest, were_in_quarantine = registry, in_quarantine
        if self._run.registries > 1 and newest != self._run.registries:
            self._wrong(Wrong.OVERDUE, journal[-1].place, f"registry {newest}, and {self._run.registries} is there")

    # ---- the journal

    def _journal(self) -> None:
        """Numbers, generations and ranges; and through them, in their order, what follows from each record."""
        covered: dict[Place, str] = {}
        for partition, records in enumerate(self._by_partition(JOURNAL)):
            generation, owner = 0, -1
            last: dict[str, int] = defaultdict(lambda: -1)
            for number, each in enumerate(records, start=1):
                fields = each.fields
                if fields["number"] != number:
                    self._wrong(Wrong.NUMBER, each.place, f"{fields['number']}, not {number}")
                if fields["generation"] < generation or not 0 <= fields["router"] < self._run.slots:
                    detail = f"router {fields['router']} in {fields['generation']} after {generation}"
                    self._wrong(Wrong.GENERATION, each.place, detail)
                if fields["generation"] == generation and fields["router"] != owner:
                    self._wrong(Wrong.GENERATION, each.place, f"{owner} and {fields['router']} in {generation}")
                generation, owner = fields["generation"], fields["router"]
                self._apply(self.partitions[partition], each, last, covered)
        # Who has not heard of the next generation commits nothing any more, and all have one clock.
        by_time = sorted(self._written[JOURNAL], key=lambda one: int(one.fields["at"]))
        for before, each in pairwise(by_time if self._run.one_clock else []):
            if each.fields["at"] > before.fields["at"] and each.fields["generation"] < before.fields["generation"]:
                detail = f"{each.fields['generation']} after {before.fields['generation']} at {before.place}"
                self._wrong(Wrong.GENERATION, each.place, detail)
        for place, stored in self._lying.items():
            if place not in covered:
                self._wrong(Wrong.RANGE, stored.place, "in no range of the journal")

    def _apply(self, partition: Partition, journal: Written, last: dict[str, int], covered: dict[Place, str]) -> None:
        fields, number = journal.fields, journal.stored.partition
        events: list[Stored] = []
        for topic, first, end in ((each["topic"], each["first"], each["last"]) for each in fields["ranges"]):
            ends = [(topic, number, offset) for offset in (first, end)]
            if first > end or first <= last[topic] or not all(each in self._lying for each in ends):
                self._wrong(Wrong.RANGE, journal.place, f"{topic} {first} to {end} after {last[topic]}")
            last[topic] = max(last[topic], end)
            places = ((topic, number, offset) for offset in range(first, min(end, first + len(self._lying)) + 1))
            for place in (each for each in places if each in self._lying):
                if before := covered.get(place):
                    self._wrong(Wrong.RANGE, journal.place, f"{place} stands in {before}, too")
                    continue
                covered[place] = journal.place
                events.append(self._lying[place])
        in_quarantine = fields.get("quarantined", [])
        for stored in sorted(events, key=lambda one: (one.timestamp, one.topic, one.offset)):
            self._applied(partition, stored, in_quarantine)
        for each in fields["ticks"]:
            if partition_of(each["town"].encode()) != number:
                self._wrong(Wrong.PARTITION, journal.place, f"a tick of {each['town']}")
            if each["town"] in in_quarantine:
                self._wrong(Wrong.UNEXPECTED, journal.place, f"a tick of {each['town']}, which is in quarantine")
            partition.tick(each["town"], each["now"], fields["at"], journal.place)

    def _applied(self, partition: Partition, stored: Stored, in_quarantine: Sequence[str]) -> None:
        """A record by itself, or kept aside: what nobody sent, and what is of a town in quarantine, and nothing else."""
        came = self._inputs.get(place_of(stored))
        reason = self._aside.invalid.get(place_of(stored))
        if came is None:
            partition.invalid(stored, reason or "")
            return
        is_kept = came.is_home and came.town in in_quarantine
        if is_kept and reason is None:
            self._wrong(Wrong.OUTCOME, stored.place, f"{came.town} is in quarantine, and no dead letter keeps it")
        if reason is not None and not is_kept:
            self._wrong(Wrong.UNEXPECTED, stored.place, f"kept aside: {reason}, and {came.town} is not in quarantine")
        if is_kept:
            partition.invalid(stored, reason or "")
        else:
            partition.record(came)

    def _by_partition(self, topic: str) -> Iterator[list[Written]]:
        for number in range(PARTITIONS):
            yield [each for each in self._written[topic] if each.stored.partition == number]

    # ---- decisions

    def _decisions(self) -> None:
        """Each one that follows stands there once, and says what follows."""
        decided: dict[tuple[object, ...], list[Written]] = defaultdict(list)
        for each in self._written[DECISIONS]:
            fields = each.fields
            place = fields["topic"], fields["partition"], fields["offset"]
            decided[_key(fields["origin"], *place, fields["id"])].append(each)
        self._decision_of: dict[Due, Written] = {}
        for due in self._due:
            records = decided.pop(due.key, [])
            where = f"{due.town} {due.alert}"
            if not records:
                self._wrong(Wrong.UNDECIDED, where, f"{due.outcome} at {due.topic}/{due.partition}/{due.offset}")
                continue
            if len(records) > 1:
                self._wrong(Wrong.DECIDED_TWICE, where, " ".join(each.place for each in records))
            self._decision_of[due] = records[0]
        for each in (each for records in decided.values() for each in records):
            self._wrong(Wrong.UNEXPECTED, each.place, f"{each.fields['outcome']} {each.fields['id']}")
        for due, each in self._decision_of.items():
            self._as_due(due, each)

    def _as_due(self, due: Due, each: Written) -> None:
        fields = each.fields
        if fields["outcome"] != due.outcome:
            self._wrong(Wrong.OUTCOME, each.place, f"{fields['outcome']}, not {due.outcome}: {due.alert}")
        expected = {
            "id": due.alert,
            "town": due.town,
            "origin": due.origin,
            "topic": due.topic,
            "partition": due.partition,
            "offset": due.offset,
            "now": due.now,
            "rule": due.rule,
            "ticket_id": self._ticket_id(due.episode) if due.episode else "",
        }
        self._compare(each, expected)
        reasons = "; ".join(fields["reasons"])
        for said in due.says:
            if said not in reasons:
                self._wrong(Wrong.FIELD, each.place, f"reasons do not say {said!r}: {reasons}")
        if due.mean is not None:
            mean = re.search(r"mean ([-\d.e+]+)", reasons)
            # Written with six digits.
            if mean is None or abs(float(mean[1]) - due.mean) > due.mean / 100_000:
                self._wrong(Wrong.FIELD, each.place, f"mean {float(due.mean)}: {reasons}")

    def _ticket_id(self, episode: Episode) -> str | None:
        """As the decision that opened it says; None where there is none."""
        opened = self._decision_of.get(episode.steps[0])
        return opened.fields["ticket_id"] if opened else None

    def _compare(self, each: Written, expected: Mapping[str, Any]) -> None:
        for name, value in expected.items():
            if repr(each.fields[name]) != repr(value):
                self._wrong(Wrong.FIELD, each.place, f"{name} is {each.fields[name]!r}, not {value!r}")

    def _numbered(self) -> None:
        """A town's decisions are numbered in their order, and follow the partition's; a device's alerts follow their offsets."""
        self.found += sequences(self._written[DECISIONS])
        events = {id(each): due.event for due, each in self._decision_of.items()}
        for records in self._by_partition(DECISIONS):
            latest: dict[str, int] = defaultdict(int)
            offsets: dict[str, int] = defaultdict(lambda: -1)
            for each in records:
                fields = each.fields
                town = fields["town"]
                if fields["outcome"] == "forwarded" or town == NO_TOWN:
                    continue
                event = events.get(id(each), latest[town])
                if event < latest[town]:
                    self._wrong(Wrong.ORDER, each.place, f"{fields['id']} was due before the decision before it")
                latest[town] = max(latest[town], event)
                if fields["topic"] == ALERTS and fields["origin"] == "record":
                    device = fields["id"].split("/")[0]
                    if fields["offset"] <= offsets[device]:
                        self._wrong(Wrong.ORDER, each.place, f"{device}: {fields['offset']} after {offsets[device]}")
                    offsets[device] = fields["offset"]

    def _balance(self) -> None:
        """Sums that must come out even where no single record can be blamed."""
        alerts = {place: came.fields["id"] for place, came in self._inputs.items() if came.sender.name == "AirAlert"}
        alerts |= undecidable(self._aside)
        self.found += records_balance(alerts, self._written[DECISIONS], self._written[EVENTS])

    # ---- tickets

    def _tickets(self) -> None:
        """The steps of each episode and the states after them, each once and in their order."""
        named = self._named()
        for topic, name, which in ((EVENTS, "ticket_id", 0), (TICKETS, "id", 1)):
            there = _grouped(self._written[topic], name, "version")
            for ticket, episode in named.items():
                for version, told in enumerate(self._told(ticket, episode), start=1):
                    self._once(topic, there.pop((ticket, version), []), told[which])
            for each in (each for records in there.values() for each in records):
                self._wrong(Wrong.UNEXPECTED, each.place, f"{each.fields['id']} version {each.fields['version']}")
            self.found += rising(self._written[topic], name)
        self.found += ownerless((*self._written[EVENTS], *self._written[TICKETS]))

    def _named(self) -> dict[str, Episode]:
        """Episodes by their ticket."""
        named: dict[str, Episode] = {}
        for episode in self.episodes:
            ticket = self._ticket_id(episode)
            if ticket is None:
                continue  # said already
            if not re.fullmatch(rf"{episode.town}-[0-9a-f]{{16}}", ticket) or ticket in named:
                self._wrong(Wrong.ID, f"{episode.device} {episode.rule.kind}", f"{ticket!r}")
            named[ticket] = episode
        return named

    def _once(self, topic: str, records: Sequence[Written], expected: Fields) -> None:
        if len(records) != 1:
            wrong = Wrong.DOUBLE if records else Wrong.NO_STEP
            self._wrong(wrong, f"{topic} {expected['id']}", f"{len(records)} records of version {expected['version']}")
        for each in records:
            self._compare(each, expected)

    def _told(self, ticket: str, episode: Episode) -> Iterator[tuple[Fields, Fields]]:
        """The step and the state after it, for each step."""
        opened_at = episode.steps[0].now
        device = self._run.run.register[episode.device]
        cell, grid, role, person = self._run.duties.of(episode.town, device.lon, device.lat, opened_at)
        whose = {"cell": cell, "owner_role": role, "owner": person}
        where = {
            "grid": grid,
            "lon": device.lon,
            "lat": device.lat,
            "datum": "WGS84",
            "given_x": None,
            "given_y": None,
            "place_mark": "inside" if cell else "none",
            "vendor": device.vendor,
            "case_no": "",
            "urgency": "normal",
        }
        alerts = 0
        for version, due in enumerate(episode.steps, start=1):
            is_cleared = due.outcome == "cleared"
            alerts += not is_cleared
            state = "cleared" if is_cleared else "open"
            decision = self._decision_of.get(due)
            seq = decision.fields["seq"] if decision else None
            event = {
                "id": f"{ticket}/{version}",
                "ticket_id": ticket,
                "town": episode.town,
                "version": version,
                "step": due.outcome,
                "state": state,
                "at": due.now,
                "alert": due.alert,
                "decision_seq": seq,
                "reason": "",
                **whose,
            }
            rule = episode.rule
            yield (
                event,
                {
                    "id": ticket,
                    "version": version,
                    "town": episode.town,
                    "state": state,
                    "class_code": rule.class_code,
                    "class_standard": rule.class_standard,
                    "kind": rule.kind,
                    "device": episode.device,
                    **whose,
                    **where,
                    "opened_at": opened_at,
                    "updated_at": due.now,
                    "cleared_at": due.now if is_cleared else None,
                    "due_at": None,
                    "alerts": alerts,
                    "rule": rule.kind,
                    "decision_seq": seq,
                },
            )


def undecidable(aside: Aside) -> dict[Place, str]:
    """What the decisions of records speak of that came to the dead letters: the place itself. Readings have none."""
    return {place: "/".join(map(str, place)) for place in aside.invalid if place[0] != READINGS}


def records_balance(
    alerts: Mapping[Place, str], decisions: Iterable[Written], steps: Iterable[Written]
) -> Iterator[Finding]:
    """The second balance: one decision for each record of an alert, one record of each alert that is more than a repetition, and no alert
    that opens two tickets. `alerts`: ids by place, what was handed over included.
    """
    by_place: dict[Place, list[Written]] = defaultdict(list)
    for each in decisions:
        if each.fields["origin"] == "record":
            by_place[_origin(each.fields)].append(each)
    for place in sorted(alerts.keys() | by_place.keys()):
        yield from _decided_once(place, alerts.get(place), by_place[place])
    changing: dict[str, list[str]] = {alert: [] for alert in alerts.values()}
    for place, alert in alerts.items():
        for each in by_place[place]:
            if each.fields["outcome"] not in NO_CHANGE:
                changing[alert].append(f"{each.fields['outcome']} at {each.place}")
    for alert, told in changing.items():
        if len(told) != 1:
            detail = f"{len(told)} of its records are more than a repetition: {', '.join(told) or 'none'}"
            yield Finding(Wrong.BALANCE, alert, detail)
    yield from _opened_once(steps)


def _decided_once(place: Place, alert: str | None, decided: Sequence[Written]) -> Iterator[Finding]:
    there = "/".join(map(str, place))
    if alert is None:
        for each in decided:
            detail = f"{each.fields['outcome']} {each.fields['id']}, and no alert lies at {there}"
            yield Finding(Wrong.UNEXPECTED, each.place, detail)
        return
    if not decided:
        yield Finding(Wrong.UNDECIDED, there, f"no decision speaks of {alert}")
    if len(decided) > 1:
        yield Finding(Wrong.DECIDED_TWICE, there, f"{alert} at {' and '.join(each.place for each in decided)}")
    for each in decided:
        if each.fields["id"] != alert:
            yield Finding(Wrong.FIELD, each.place, f"id is {each.fields['id']!r}, and {alert!r} lies at {there}")


def _opened_once(steps: Iterable[Written]) -> Iterator[Finding]:
    opened: dict[str, list[Written]] = defaultdict(list)
    for each in steps:
        if each.fields["step"] == "opened":
            opened[each.fields["alert"]].append(each)
    for alert, told in opened.items():
        if len({each.fields["ticket_id"] for each in told}) > 1:
            detail = " and ".join(f"{each.fields['ticket_id']} at {each.place}" for each in told)
            yield Finding(Wrong.OPENED_TWICE, alert, f"has opened {detail}")


def sequences(decisions: Iterable[Written]) -> Iterator[Finding]:
    """A town's decisions are numbered 1, 2, 3 ... as they lie there; 0 stands for what does not touch the town."""
    seqs: Counter[str] = Counter()
    for each in decisions:
        fields, town = each.fields, each.fields["town"]
        if fields["outcome"] == "forwarded" or (fields["outcome"], town) == ("invalid", NO_TOWN):
            if fields["seq"]:
                yield Finding(Wrong.SEQ, each.place, f"{fields['seq']} for what its town has not seen")
            continue
        seqs[town] += 1
        if fields["seq"] != seqs[town]:
            yield Finding(Wrong.SEQ, each.place, f"{town}: {fields['seq']}, not {seqs[town]}")


def views(one: Topics, again: Topics) -> Iterator[Finding]:
    """Two readers of committed records, of whom one was there all the time, have seen the same: nothing of work that came to nothing."""
    seen, other = ({place_of(each): each for each in view.records} for view in (one, again))
    for place in sorted(seen.keys() | other.keys()):
        if seen.get(place) != other.get(place):
            missing = "one" if place not in seen else "the other" if place not in other else ""
            detail = f"not seen by {missing} of two readers" if missing else "two readers saw different records"
            yield Finding(Wrong.VIEW, "/".join(map(str, place)), detail)


# ---- what the ticket topics and the decisions say of each other


def histories(decisions: Iterable[Written], steps: Sequence[Written], states: Sequence[Written]) -> Iterator[Finding]:
    """Where it is not known what must follow: that tickets are stepped as decided, each version once on either topic, and both topics say the
    same.
    """
    yield from _stepped(decisions, steps)
    step_of, state_of = _grouped(steps, "ticket_id", "version"), _grouped(states, "id", "version")
    versions: dict[str, set[int]] = defaultdict(set)
    for ticket, version in (*step_of, *state_of):
        versions[ticket].add(version)
    for ticket, there in versions.items():
        for version in range(1, len(there) + 1):
            for topic, of in ((EVENTS, step_of), (TICKETS, state_of)):
                if (count := len(of.get((ticket, version), ()))) != 1:
                    wrong = Wrong.DOUBLE if count else Wrong.NO_STEP
                    yield Finding(wrong, f"{topic} {ticket}", f"{count} records of version {version}")
        for version in sorted(there - {*range(1, len(there) + 1)}):
            yield Finding(Wrong.UNEXPECTED, ticket, f"version {version}, and {len(there)} versions in all")
    for records, name in ((steps, "ticket_id"), (states, "id")):
        yield from rising(records, name)
    states_of = _grouped(states, "id")
    for ticket, history in _grouped(steps, "ticket_id").items():
        yield from _history(history, states_of.get(ticket, []))


def _stepped(decisions: Iterable[Written], steps: Iterable[Written]) -> Iterator[Finding]:
    """A decision that takes a step has one, and a step has its decision, but for those that a new registry takes."""
    due = _grouped((each for each in decisions if each.fields["outcome"] in STEPS), "town", "seq")
    taken = _grouped((each for each in steps if each.fields["step"] != REASSIGNED), "town", "decision_seq")
    for each in (each for of, records in taken.items() if of not in due for each in records):
        yield Finding(
            Wrong.UNEXPECTED, each.place, f"{each.fields['step']} {each.fields['id']}, and nothing decided it"
        )
    for of, records in due.items():
        for decision in records:
            if len(taken.get(of, ())) != 1:
                wrong = Wrong.DOUBLE if of in taken else Wrong.NO_STEP
                detail = (
                    f"{len(taken.get(of, ()))} steps of {decision.fields['ticket_id']}: {decision.fields['outcome']}"
                )
                yield Finding(wrong, decision.place, detail)
            for each in taken.get(of, ()):
                same = {"ticket_id": "ticket_id", "step": "outcome", "alert": "id", "at": "now", "town": "town"}
                yield from _same(each, decision, same, Wrong.FIELD)


def _history(steps: Sequence[Written], states: Sequence[Written]) -> Iterator[Finding]:
    """A ticket is opened first and once, nothing follows when it is cleared, and each state is the one after its step."""
    alerts, is_over = 0, False
    by_version = sorted(steps, key=lambda one: int(one.fields["version"]))
    stays = {name: value for one in states[:1] for name, value in one.fields.items() if name not in CHANGES}
    for each in by_version:
        fields, is_first = each.fields, each is by_version[0]
        if (fields["step"] == "opened") != is_first or is_over:
            yield Finding(Wrong.UNEXPECTED, each.place, f"{fields['step']} as version {fields['version']}")
        alerts += fields["step"] in {"opened", "updated"}
        is_over = fields["step"] == "cleared"
        expected = {
            **stays,
            "town": fields["town"],
            "opened_at": by_version[0].fields["at"],
            "cleared_at": fields["at"] if is_over else None,
            "alerts": alerts,
        }
        if fields["state"] != ("cleared" if is_over else "open"):
            yield Finding(Wrong.FIELD, each.place, f"{fields['state']} after {fields['step']}")
        for state in (one for one in states if one.fields["version"] == fields["version"]):
            yield from _same(state, each, AFTER_A_STEP, Wrong.FIELD)
            for name, value in expected.items():
                if state.fields[name] != value:
                    yield Finding(Wrong.FIELD, state.place, f"{name} is {state.fields[name]!r}, not {value!r}")


def _same(one: Written, other: Written, names: Mapping[str, str], wrong: Wrong) -> Iterator[Finding]:
    """Where the one says something else than the other, by the names that a field has in them."""
    for name, told in names.items():
        if one.fields[name] != other.fields[told]:
            detail = f"{name} is {one.fields[name]!r}, {other.fields[told]!r} at {other.place}"
            yield Finding(wrong, one.place, detail)


def ownerless(records: Iterable[Written]) -> Iterator[Finding]:
    """Steps and states after which the ticket is nobody's work."""
    for each in records:
        role, person = each.fields["owner_role"], each.fields["owner"]
        if role not in OWNERS or (role != "centre" and not person):
            yield Finding(Wrong.OWNERLESS, each.place, f"owner_role is {role!r}, owner {person!r}")


def rising(records: Iterable[Written], name: str) -> Iterator[Finding]:
    """Each ticket's versions stand in their order. `name`: the field that holds the ticket's id."""
    for history in _grouped(records, name).values():
        for before, each in pairwise(history):
            if each.fields["version"] <= before.fields["version"]:
                yield Finding(Wrong.ORDER, each.place, f"version {each.fields['version']} behind {before.place}")


def latest(stored: Iterable[Stored], steps: Iterable[Written], states: Iterable[Written]) -> Iterator[Finding]:
    """What a reader of the compacted topic ends up with is what the steps say; seen from the two topics alone. `stored`: all that lies on
    `tickets`, `states`: what of it can be read.
    """
    last_step = {ticket: records[-1] for (ticket,), records in _grouped(steps, "ticket_id").items()}
    last = {record.key: record for record in stored}
    state_of = {each.stored.key: each for each in states if last[each.stored.key] is each.stored}
    for key in {*state_of, *(ticket.encode() for ticket in last_step)}:
        step, state = last_step.get(key.decode(errors="replace") if key else ""), state_of.get(key)
        if step is None or state is None:
            yield Finding(Wrong.LATEST, f"{key!r}", "on one of the two topics only")
        else:
            yield from _same(state, step, AFTER_A_STEP, Wrong.LATEST)


def _grouped(records: Iterable[Written], *names: str) -> dict[tuple[Any, ...], list[Written]]:
    groups: dict[tuple[Any, ...], list[Written]] = defaultdict(list)
    for each in records:
        groups[tuple(each.fields[name] for name in names)].append(each)
    return groups


def _origin(fields: Fields) -> Place:
    return fields.get("topic", ""), fields.get("partition", -1), fields.get("offset", -1)


# ---- how a record lies on its topic


class Form(NamedTuple):
    """Key, partition, time (None: the broker's) and headers."""

    key: str
    partition: int
    at: int | None
    headers: Sequence[tuple[str, bytes]]


def _form(fields: Fields, key: str, identity: str, kind: str, at: int, trace: str = "") -> Form:
    return Form(key, partition_of(fields["town"].encode()), at, _headers(identity, kind, "/router", at, trace))


def _headers(identity: str, kind: str, source: str, at: int, trace: str = "") -> list[tuple[str, bytes]]:
    digest = sha256((trace or identity).encode()).hexdigest()
    texts = {
        "ce_specversion": "1.0",
        "ce_id": identity,
        "ce_source": source,
        "ce_type": kind,
        "ce_time": rfc3339(at),
        "content-type": "application/avro",
        "traceparent": f"00-{digest[:32]}-{digest[32:48]}-00",
    }
    return [(name, text.encode()) for name, text in texts.items()]


def _decision(fields: Fields, _: Came | None) -> Form:
    return _form(fields, fields["town"], fields["id"], "gridhub.decision", fields["now"])


def _ticket(fields: Fields, _: Came | None) -> Form:
    return _form(fields, fields["id"], f"{fields['id']}/{fields['version']}", "gridhub.ticket", fields["updated_at"])


def _event(fields: Fields, _: Came | None) -> Form:
    return _form(fields, fields["town"], fields["id"], "gridhub.ticket_event", fields["at"], fields["alert"])


def _journal(fields: Fields, _: Came | None) -> Form:
    number, source = f"{fields['partition']}/{fields['number']}", f"/router/{fields['router']}"
    headers = _headers(number, "gridhub.journal", source, fields["at"])
    return Form(str(fields["partition"]), fields["partition"], fields["at"], headers)


def _handed_over(_: Fields, came: Came | None) -> Form:
    if came is None:
        return Form("", -1, None, ())
    stored = came.stored
    return Form(
        came.town,
        partition_of(came.town.encode()),
        None,
        (*stored.headers, ("x-forwarded-from", stored.place.encode())),
    )


FORMS: Mapping[str, Callable[[Fields, Came | None], Form]] = {
    DECISIONS: _decision,
    TICKETS: _ticket,
    EVENTS: _event,
    JOURNAL: _journal,
    HANDED_OVER: _handed_over,
}
