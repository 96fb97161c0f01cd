"""What must be there after cameras and patrols have pushed, told from the senders' logs alone.

A third witness from outside: it reads the topics, what the senders wrote of what they sent and what they heard, and the published schemas. It
takes an id as the sender was told it, and an alert's place, device and times from its record; what a record must say of the bytes that were pushed is
not judged here. Times are milliseconds since 1970-01-01 UTC, and all have one machine's clock.

It holds whether a connector that finds Kafka away refuses, or answers yes and keeps the message in its spool: a message may then come to its topic
later and more than once, with the moment of acceptance that it had when its sender was told.
"""

import json
from bisect import bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import pairwise
from pathlib import Path
from typing import Any

from tests.faults.checker import (
    DEAD_LETTERS,
    Aside,
    Balance,
    Contract,
    Fields,
    Finding,
    Place,
    Stored,
    Topics,
    Unreadable,
    Wrong,
    place_of,
    positions,
)
from tests.faults.duties import Duties
from tests.faults.evidence_checker import Store
from tests.faults.evidence_checker import findings as evidence_findings
from tests.faults.ticket_checker import (
    DECISIONS,
    EVENTS,
    HANDED_OVER,
    NO_CHANGE,
    REASSIGNED,
    TICKETS,
    Written,
    histories,
    latest,
    ownerless,
    records_balance,
    sequences,
    undecidable,
    views,
)

RECORD_OF_TOPIC = {
    "alerts.camera": "CameraAlert",
    "alerts.patrol": "PatrolAlert",
    DEAD_LETTERS: "DeadLetter",
    HANDED_OVER: "HandedOver",
    DECISIONS: "Decision",
    EVENTS: "TicketEvent",
    TICKETS: "Ticket",
}
YES = frozenset({200, 400})
"""Statuses after which a sender does not send again: 400 is for a body of which nothing can be read, and which is kept all the same."""
AGAIN = frozenset({429, 503})
PUBLISHED, DEAD_LETTERED, SPOOLED, EMPTY = "published", "dead-lettered", "spooled", "empty"
KEPT = frozenset({PUBLISHED, DEAD_LETTERED, SPOOLED, EMPTY})
SLACK_MS = 1_000


# ---- what the senders say


@dataclass(frozen=True, slots=True)
class Answer:
    """What a sender heard, and when; `parts`: id and fate of each message that the push held."""

    at: int
    status: int
    parts: tuple[tuple[str, str], ...]


@dataclass
class Push:
    """What a sender had to say, sent once or more: when each sending began, and what was heard. `wanted`: how many of them are to hear a yes."""

    sender: str
    n: int
    expect: str
    sent: list[int] = field(default_factory=list)
    heard: list[Answer] = field(default_factory=list)
    wanted: int = 1

    @property
    def name(self) -> str:
        return f"{self.sender} message {self.n}"

    @property
    def yes(self) -> list[Answer]:
        """Those after which it may be forgotten."""
        return [answer for answer in self.heard if answer.status in YES]

    def pending(self, at: int) -> bool:
        """Whether it had been sent by then and had heard nothing to that."""
        sent = max((one for one in self.sent if one <= at), default=-1)
        return sent > max((one.at for one in self.heard if one.at <= at), default=-1)

    def accepts(self, at: int) -> bool:
        """Whether it can have been accepted then: between the first sending and the last yes."""
        return bool(self.yes) and self.sent[0] - SLACK_MS <= at <= self.yes[-1].at + SLACK_MS


def pushes(log: Path) -> tuple[Push, ...]:
    """From the simulator's JSON lines; raises ValueError where a line is torn or tells what cannot be."""
    with log.open(encoding="utf-8") as file:
        return told(map(json.loads, file))


def told(lines: Iterable[Mapping[str, Any]]) -> tuple[Push, ...]:
    """What such lines tell."""
    found: dict[tuple[str, int], Push] = {}
    for line in lines:
        name = line["device"], line["n"]
        match line["what"]:
            case "sent":
                push = found.setdefault(name, Push(*name, line["expect"]))
                push.sent.append(line["at"])
                push.wanted = max(push.wanted, line["sending"] + 1)
            case "answered":
                parts = [(one["id"], one["fate"]) for one in line["messages"]] or [(line["id"], line["fate"])]
                found[name].heard.append(Answer(line["at"], line["status"], tuple(parts)))
            case other:
                raise ValueError(f"{other!r} is no happening")
    return tuple(found.values())


# ---- the judgement


@dataclass(frozen=True, slots=True)
class Feed:
    """What one connector was sent, and what it counted in its last life. `senders`: who pushes for a device, where that is not its name."""

    name: str
    pushes: tuple[Push, ...]
    senders: Mapping[str, str]
    balance: Balance

    @property
    def topic(self) -> str:
        return f"alerts.{self.name}"


@dataclass(frozen=True, slots=True)
class PushRun:
    """All there is to judge by, once the spools are empty and the router has nothing left to read. `topics`: all of `RECORD_OF_TOPIC`.

    `again`: the same topics, as a reader saw them that was there all the time. `evidence`: what the store holds, by `evidence_checker.store`. `duties`: whose a place is, by the registry that was in force all the time.
    What is None is not judged, and `unjudged` says so.
    """

    feeds: tuple[Feed, ...]
    topics: Topics
    contract: Contract
    again: Topics | None = None
    evidence: Store | None = None
    duties: Duties | None = None
    aside: Aside = field(default_factory=Aside)

    @property
    def unjudged(self) -> frozenset[str]:
        """What nothing was given for."""
        return frozenset(name for name in ("again", "evidence", "duties") if getattr(self, name) is None)


@dataclass(frozen=True, slots=True)
class Kept:
    """A record of a sender's message. `device`: by the name of who pushes for it, empty where none is named. `told_of`: the messages that were
    told its id; `sender`: empty where neither that nor the device tells. `is_replayed`: whether it came out of the dead letters.
    """

    stored: Stored
    id: str
    accepted_at: int
    device: str
    sender: str
    told_of: tuple[Push, ...] = ()
    is_replayed: bool = False

    @property
    def place(self) -> str:
        return self.stored.place


def findings(run: PushRun) -> list[Finding]:
    """All that is wrong with the run."""
    return Judgement(run).found


class Judgement:
    """The findings, and what they were found in."""

    def __init__(self, run: PushRun) -> None:
        self.found: list[Finding] = []
        self.records: dict[str, list[Written]] = {topic: [] for topic in RECORD_OF_TOPIC}
        self._contract = run.contract
        aside = run.aside
        for stored in run.topics.records:
            if place_of(stored) in aside.poison:
                continue
            if (fields := self._decoded(stored.topic, stored.value, stored.place)) is not None:
                self.records[stored.topic].append(Written(stored, fields))
        by_connectors = {DEAD_LETTERS, *(feed.topic for feed in run.feeds)}
        self.found += positions(Topics(tuple(one for one in run.topics.records if one.topic in by_connectors)), aside)
        feeds = {feed.name for feed in run.feeds}
        for letter in self.records[DEAD_LETTERS]:
            if letter.fields["feed"] not in feeds and place_of(letter.stored) not in aside.letters:
                detail = f"a dead letter of {letter.fields['feed']}: {letter.fields['detail']}"
                self.found.append(Finding(Wrong.UNEXPECTED, letter.place, detail))
        accepted: dict[Place, Kept] = {}
        for feed in run.feeds:
            of_id = _told(feed.pushes)
            letters = [each for each in self.records[DEAD_LETTERS] if each.fields["feed"] == feed.name]
            alerts = [
                replace(_kept(each, feed, of_id), is_replayed=place_of(each.stored) in aside.again)
                for each in self.records[feed.topic]
            ]
            sent = [each for each in alerts if not each.is_replayed]
            self.found += _messages(feed, of_id, sent, [_kept(each, feed, of_id) for each in letters])
            accepted |= {place_of(each.stored): each for each in alerts}
        accepted |= self._handed_over(accepted)
        decisions = self.records[DECISIONS]
        ids = {place: each.id for place, each in accepted.items()} | undecidable(aside)
        self.found += records_balance(ids, decisions, self.records[EVENTS])
        self.found += _decided_in_order(accepted, decisions, aside)
        self.found += sequences(decisions)
        steps, states = self.records[EVENTS], self.records[TICKETS]
        self.found += histories(decisions, steps, states)
        self.found += latest((stored for stored in run.topics.records if stored.topic == TICKETS), steps, states)
        self.found += ownerless((*steps, *states))
        if run.again is not None:
            self.found += views(run.topics, run.again)
        if run.duties is not None:
            self.found += _owners(steps, states, run.duties)
        if run.evidence is not None:
            written = (each for feed in run.feeds for each in self.records[feed.topic])
            named = [(each.place, each.fields) for each in (*written, *self.records[DEAD_LETTERS])]
            self.found += evidence_findings(named, run.evidence)

    def _decoded(self, topic: str, value: bytes | None, place: str) -> Fields | None:
        try:
            name, fields = self._contract.decode(value or b"")
        except Unreadable as error:
            self.found.append(Finding(Wrong.UNREADABLE, place, str(error)))
            return None
        if name != RECORD_OF_TOPIC.get(topic):
            self.found.append(Finding(Wrong.TOPIC, place, f"a {name}"))
            return None
        return fields

    def _handed_over(self, accepted: Mapping[Place, Kept]) -> dict[Place, Kept]:
        """Alerts that lie in envelopes: each is decided where it was sent to, too."""
        inside = {}
        for each in self.records[HANDED_OVER]:
            fields = each.fields
            original = accepted.get((fields["topic"], fields["partition"], fields["offset"]))
            if original is None or fields["value"] != original.stored.value:
                self.found.append(Finding(Wrong.UNEXPECTED, each.place, "an envelope, and not of what lies there"))
            else:
                inside[place_of(each.stored)] = replace(original, stored=each.stored)
        return inside


def _told(pushed: Iterable[Push]) -> dict[str, tuple[Push, ...]]:
    """The messages of each id that a sender was told, in the order in which they were first sent."""
    of_id: dict[str, list[Push]] = defaultdict(list)
    for push in sorted(pushed, key=lambda one: one.sent[0]):
        for name in {name for answer in push.yes for name, _ in answer.parts if name}:
            of_id[name].append(push)
    return {name: tuple(each) for name, each in of_id.items()}


def _kept(each: Written, feed: Feed, of_id: Mapping[str, tuple[Push, ...]]) -> Kept:
    name, device = each.fields["id"], each.fields["device"]
    told_of = of_id.get(name, ())
    # A dead letter may name what its sender called itself.
    known = "" if each.stored.topic == DEAD_LETTERS else feed.senders.get(device, device)
    sender = told_of[0].sender if told_of else known
    return Kept(each.stored, name, each.fields["accepted_at"], known, sender, told_of)


# ---- messages


def _messages(
    feed: Feed, of_id: Mapping[str, Sequence[Push]], alerts: Sequence[Kept], letters: Sequence[Kept]
) -> Iterator[Finding]:
    unheard = [push for push in feed.pushes if len(push.sent) > len(push.yes)]
    for push in feed.pushes:
        yield from _answers(push)
    for record in (*alerts, *letters):
        yield from _accepted(record, unheard)
    yield from _promised(feed, of_id, alerts, letters)
    moments: dict[str, set[int]] = defaultdict(set)
    for record in (*alerts, *letters):
        moments[record.id].add(record.accepted_at)
    for name, told_of in of_id.items():
        sendings = sum(len(push.sent) for push in told_of)
        if len(moments[name]) > sendings:
            yield Finding(Wrong.TOO_MANY, name, f"accepted at {len(moments[name])} moments, sent {sendings} times")
    yield from _heard_in_order(alerts)
    yield from _messages_balance(feed, alerts, letters)


def _answers(push: Push) -> Iterator[Finding]:
    """In the end each sending has heard a yes, and yes is said of what is kept only."""
    for answer in push.heard:
        fates = {fate for _, fate in answer.parts}
        if answer.status in YES and not fates <= KEPT:
            yield Finding(Wrong.ANSWER, push.name, f"{answer.status}, and it is not kept: {', '.join(sorted(fates))}")
        if answer.status not in YES | AGAIN:
            yield Finding(Wrong.ANSWER, push.name, f"{answer.status} for what was sent properly")
    if len(push.yes) != push.wanted:
        detail = f"heard a yes {len(push.yes)} times, not {push.wanted}; sent {len(push.sent)} times"
        yield Finding(Wrong.UNANSWERED, push.name, detail)


def _accepted(record: Kept, unheard: Sequence[Push]) -> Iterator[Finding]:
    """A record comes of a message, and was accepted while that was being sent. `unheard`: messages of which a sending heard no yes."""
    if record.stored.timestamp < record.accepted_at:
        late = record.accepted_at - record.stored.timestamp
        yield Finding(Wrong.TIME, record.place, f"{record.id} was appended {late} ms before it was accepted")
    if not record.told_of:
        # A sending that heard nothing may have been kept under an id that holds the minute: the next one has another.
        own = [push for push in unheard if record.sender in {"", push.sender}]
        if not any(push.accepts(record.accepted_at) for push in own):
            yield Finding(Wrong.MADE_UP, record.place, f"nobody sent {record.id}")
        return
    if record.device and record.device != record.sender:
        yield Finding(
            Wrong.FIELD, record.place, f"{record.id} is of {record.device}, and {record.told_of[0].name} was told it"
        )
    if not any(push.accepts(record.accepted_at) for push in record.told_of):
        begun = [push for push in record.told_of if push.sent[0] - SLACK_MS <= record.accepted_at]
        push = begun[-1] if begun else record.told_of[0]
        bound, side = (
            (push.yes[-1].at, "after it had heard its yes") if begun else (push.sent[0], "before it was first sent")
        )
        away = abs(record.accepted_at - bound)
        yield Finding(Wrong.TIME, record.place, f"{record.id}: accepted {away} ms {side} ({push.name})")


def _promised(
    feed: Feed, of_id: Mapping[str, Sequence[Push]], alerts: Sequence[Kept], letters: Sequence[Kept]
) -> Iterator[Finding]:
    """Each yes has a record of its own where its fate says; by the time of the answer, unless that lay in the spool."""
    lies = {
        PUBLISHED: _appended(alerts),
        DEAD_LETTERED: _appended(letters),
        SPOOLED: _appended((*alerts, *letters)),
    }
    for name, told_of in of_id.items():
        answers = sorted(
            (answer.at, fate) for push in told_of for answer in push.yes for id_, fate in answer.parts if id_ == name
        )
        counted: Counter[str] = Counter()
        is_lost = False
        for at, fate in answers:
            if fate not in lies:
                continue
            counted[fate] += 1
            there = lies[fate].get(name, [])
            if len(there) < counted[fate]:
                is_lost = True
            elif fate != SPOOLED and bisect_right(there, at) < counted[fate]:
                yield Finding(Wrong.TIME, name, f"{told_of[0].name} heard {fate} before the record was appended")
        records = len(lies[SPOOLED].get(name, []))
        if is_lost or records < counted.total():
            said = ", ".join(f"{count} times {fate}" for fate, count in sorted(counted.items()))
            detail = f"{told_of[0].name} of {feed.name} heard {said}, and there are {records} records"
            yield Finding(Wrong.LOST, name, detail)


def _appended(records: Iterable[Kept]) -> dict[str, list[int]]:
    """When the records of each id were appended."""
    moments: dict[str, list[int]] = defaultdict(list)
    for record in records:
        moments[record.id].append(record.stored.timestamp)
    return {name: sorted(each) for name, each in moments.items()}


def _heard_in_order(alerts: Sequence[Kept]) -> Iterator[Finding]:
    """Within a partition a device's alerts stand in the order in which they were accepted, and in which they were sent: of several records of
    one alert the first counts. So do those that a sender pushes without naming a device.
    """
    lanes: dict[tuple[str, str, int], dict[str, Kept]] = defaultdict(dict)
    for record in alerts:
        if record.sender:
            lanes[record.sender, record.device, record.stored.partition].setdefault(record.id, record)
    for firsts in lanes.values():
        for before, record in pairwise(firsts.values()):
            if record.accepted_at < before.accepted_at:
                earlier = before.accepted_at - record.accepted_at
                detail = f"{record.id} was accepted {earlier} ms before {before.id}, and stands behind it"
                yield Finding(Wrong.ORDER, record.place, detail)
        for before, record in pairwise(one for one in firsts.values() if one.told_of):
            n, m = before.told_of[0].n, record.told_of[0].n
            if m < n:
                detail = f"{record.id} is message {m} of {record.sender}, and stands behind {before.id}, message {n}"
                yield Finding(Wrong.ORDER, record.place, detail)


def _messages_balance(feed: Feed, alerts: Sequence[Kept], letters: Sequence[Kept]) -> Iterator[Finding]:
    """The first balance, of the connector's last life: received = the sum of the fates, and each yes that was heard is among the kept."""
    balance, fates = feed.balance, Counter(feed.balance.fates)
    where = f"connector {feed.name}"
    if balance.received != fates.total():
        yield Finding(Wrong.BALANCE, where, f"{balance.received} received, fates {dict(fates)}")
    heard = Counter(
        fate for push in feed.pushes for answer in push.yes if answer.at >= balance.since for _, fate in answer.parts
    )
    for fate, count in sorted(heard.items()):
        if count > fates[fate]:
            yield Finding(Wrong.BALANCE, where, f"senders heard {fate} {count} times, and it counted {fates[fate]}")
    there = Counter({PUBLISHED: _since(alerts, balance.since), DEAD_LETTERED: _since(letters, balance.since)})
    for fate, count in there.items():
        if count < fates[fate]:
            yield Finding(Wrong.BALANCE, where, f"{fates[fate]} {fate}, and {count} records")
    kept = fates[PUBLISHED] + fates[DEAD_LETTERED] + fates[SPOOLED]
    # What was refused, because Kafka did not confirm in time, may be there all the same.
    if not kept <= there.total() <= kept + fates["refused"]:
        detail = f"{kept} published, dead-lettered or spooled and {fates['refused']} refused, {there.total()} records"
        yield Finding(Wrong.BALANCE, where, detail)


def _since(records: Iterable[Kept], since: int) -> int:
    """How many messages were accepted since then; what lies there twice with one moment is one that came out of the spool again."""
    return len({(record.id, record.accepted_at) for record in records if record.accepted_at >= since})


# ---- decisions


def _decided_in_order(accepted: Mapping[Place, Kept], decisions: Iterable[Written], aside: Aside) -> Iterator[Finding]:
    """Within a town a device's alerts are decided in the order in which they were accepted; a repetition is one of something.

    What a quarantine had kept aside, and was replayed, comes behind what was sent later, also in a town that it is handed over to: among itself it has
    the same order.
    """
    latest: dict[tuple[str, str, str, bool], Kept] = {}
    decided: set[tuple[str, str]] = set()
    for each in decisions:
        fields = each.fields
        place = fields["topic"], fields["partition"], fields["offset"]
        record = accepted.get(place)
        if record is None or fields["outcome"] == "forwarded" or place in aside.invalid:
            continue  # said already, or not seen by the town
        town = fields["town"]
        if fields["outcome"] == "repeated" and (town, record.id) not in decided:
            yield Finding(Wrong.ORDER, each.place, f"{record.id} is said to be repeated, and was not decided before")
        decided.add((town, record.id))
        if fields["outcome"] in NO_CHANGE or not record.sender:
            continue
        lane = record.sender, record.device, town, record.is_replayed
        before = latest.setdefault(lane, record)
        if record.accepted_at < before.accepted_at:
            earlier = before.accepted_at - record.accepted_at
            detail = f"{record.id} was accepted {earlier} ms before {before.id}, and decided after it"
            yield Finding(Wrong.ORDER, each.place, detail)
        latest[lane] = max(before, record, key=lambda one: one.accepted_at)


# ---- tickets


def _owners(steps: Iterable[Written], states: Iterable[Written], duties: Duties) -> Iterator[Finding]:
    """A ticket is the work of whoever answered for its cell when it was opened or, by a new registry, given to another.

    Which cell it is, only a point tells that lies inside one; of areas, and of places that are not known exactly, the ticket's word is taken.
    """
    moved = [each.fields for each in steps if each.fields["step"] == REASSIGNED]
    for each in states:
        fields = each.fields
        moments = [
            one["at"] for one in moved if one["ticket_id"] == fields["id"] and one["version"] <= fields["version"]
        ]
        told = fields["grid"], fields["owner_role"], fields["owner"]
        due = duties.of_cell(fields["cell"], max([fields["opened_at"], *moments]))
        if told != due:
            yield Finding(Wrong.OWNER, each.place, f"{fields['cell'] or 'no cell'}: {told}, not {due}")
        if fields["place_mark"] == "inside" and fields["lon"] is not None:
            cell = duties.cell(fields["town"], fields["lon"], fields["lat"])
            if fields["cell"] != cell:
                yield Finding(Wrong.OWNER, each.place, f"lies in {cell or 'no cell'}, and {fields['cell']} is said")
