"""The whole of a town: what the router remembers of it, and `decide`, a function of town, event and time.

A town is a set of entries, each with a kind and an id. `decide` gives a new town, which shares what stays and lists what changed
(`Town.changes`): these are the records of the changelog, and nothing is undone when a transaction fails; the old town is simply kept.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from hashlib import sha256
from urllib.parse import quote

from hub.core import tickets, watch
from hub.core.cases import Case, same
from hub.core.events import (
    AirAlert,
    Alert,
    CameraAlert,
    Decision,
    Outcome,
    PatrolAlert,
    Reading,
    Signal,
    Ticket,
    TicketEvent,
    TimeMark,
    Value,
)
from hub.core.grid import Place, PlaceMark, polygon
from hub.core.in_force import InForce, elsewhere, place_of
from hub.core.rules import Rule
from hub.core.tickets import Subject
from hub.core.watch import Applied, Episode, Sample, Verdict

DAY_MS = 24 * 3_600_000
# How long a case is known again without a word of it: by the vendor's number for more than a year, by its place alone for a month.
CASE_MS, NAMELESS_CASE_MS = 400 * DAY_MS, 30 * DAY_MS
REMEMBERED_MS = 72 * 3_600_000
REMEMBERED_LEAST = 256
UNIT = "ug/m3"
# More than the air itself weighs: not measured, and too large to add up.
MOST = 1e9
AREA_TOLERANCE = 0.1
DIGITS = 16
MAY_DECIDE = frozenset({"N", ""})
RECORD, WATCH = "record", "watch"
NOTHING = Episode()
# Marks of a place that need no word.
PLAIN = frozenset({PlaceMark.INSIDE, PlaceMark.UNKNOWN})


@dataclass(frozen=True, slots=True)
class Clock:
    """The town's last `now` and `seq`, when time alone will next have an effect, and when ids are next forgotten (ms UTC; None: never)."""

    now: int = 0
    seq: int = 0
    due: int | None = None
    forget_at: int | None = None


@dataclass(frozen=True, slots=True)
class Seen:
    """An alert's id that was decided: when, of which device, and the ticket it belongs to."""

    now: int
    device: str
    ticket: str


Entry = Clock | Episode | Ticket | Seen | Case
KINDS: Mapping[str, type[Entry]] = {"town": Clock, "episode": Episode, "ticket": Ticket, "seen": Seen, "case": Case}
Key = tuple[str, str]  # kind, id


class Town:
    """What the router remembers of one town. Never changes, but for `settle`."""

    __slots__ = ("_entries", "changes", "code")

    def __init__(
        self, code: str, entries: dict[str, dict[str, Entry]], changes: Mapping[Key, Entry | None] | None = None
    ) -> None:
        """`entries`: by kind and id; taken over, not copied. `changes`: what differs from them, None for what is gone."""
        self.code = code
        self._entries = entries
        self.changes = changes or {}

    def get(self, kind: str, name: str) -> Entry | None:
        """The entry, None where there is none."""
        key = kind, name
        return self.changes[key] if key in self.changes else self._entries.get(kind, {}).get(name)

    def all(self, kind: str) -> Iterator[tuple[str, Entry]]:
        """The entries of a kind, in no order that may be relied on."""
        for name, entry in self._entries.get(kind, {}).items():
            if (kind, name) not in self.changes:
                yield name, entry
        for (changed, name), now in self.changes.items():
            if changed == kind and now is not None:
                yield name, now

    @property
    def clock(self) -> Clock:
        """The town's time and numbers."""
        clock = self.get("town", "")
        return clock if isinstance(clock, Clock) else Clock()

    def with_(self, changes: Mapping[Key, Entry | None]) -> "Town":
        """The town after `changes`."""
        return Town(self.code, self._entries, {**self.changes, **changes})

    def settle(self) -> "Town":
        """The same town with its changes no longer told apart: they are kept for good. Towns it came from must not be used after it."""
        for (kind, name), entry in self.changes.items():
            if entry is None:
                self._entries.get(kind, {}).pop(name, None)
            else:
                self._entries.setdefault(kind, {})[name] = entry
        return Town(self.code, self._entries)


@dataclass(frozen=True, slots=True, kw_only=True)
class Input:
    """One event: a record and where it lay, or time that passed (`record` None, `topic` empty, `offset` -1). `handed`: another town has found that
    its place is here.
    """

    record: Reading | Alert | None
    topic: str
    partition: int
    offset: int
    handed: bool = False


def tick(partition: int) -> Input:
    """Time that passed for a town of this partition."""
    return Input(record=None, topic="", partition=partition, offset=-1)


@dataclass(frozen=True, slots=True)
class Counted:
    """A reading was applied, or not: counted, not written."""

    result: Applied


@dataclass(frozen=True, slots=True)
class HandOver:
    """The event belongs to `town`: its record goes there."""

    town: str


Output = Decision | Ticket | TicketEvent | Counted | HandOver


def decide(town: Town, event: Input, now: int, force: InForce) -> tuple[Town, tuple[Output, ...]]:
    """What becomes of an event, and the town after it. Pure: the same arguments give the same.

    `now`: the record's broker time, or the owner's clock for a tick, ms UTC; the town's clock never goes back. A tick without effect
    gives the town unchanged. Raises nothing that a valid record could cause; whatever it raises is a defect.
    """
    step = _Step(town, event, max(now, town.clock.now), force)
    step.pass_time()
    if isinstance(event.record, Reading):
        step.read(event.record)
    elif event.record is not None:
        step.alert(event.record)
    return step.end(max(now, town.clock.now))


def adopt(town: Town, partition: int, now: int, force: InForce) -> tuple[Town, tuple[Output, ...]]:
    """The town under a new version of the registry: open tickets whose owner is another by it move, what is due is due by its rules.

    `now`: the owner's clock, ms UTC: who is on duty then. It does not put the town's clock forward, for records from before may still wait to be
    read. A town without anything that changes is given back as it was.
    """
    step = _Step(town, tick(partition), max(now, town.clock.now), force)
    step.adopt()
    return step.end(town.clock.now)


class _Step:
    """One call of `decide`: changes and outputs as they come about."""

    def __init__(self, town: Town, event: Input, now: int, force: InForce) -> None:
        self._town = town
        self._event = event
        self._cause = event
        self._now = now
        self._force = force
        self._rules = force.rules
        self._clock = town.clock
        self._changes: dict[Key, Entry | None] = {}
        self._outputs: list[Output] = []

    def end(self, clock: int) -> tuple[Town, tuple[Output, ...]]:
        """The town whose clock stands there now, and what came of it."""
        if not self._changes and self._event.record is None and self._clock == self._town.clock:
            return self._town, ()
        self._changes["town", ""] = replace(self._clock, now=clock)
        return self._town.with_(self._changes), tuple(self._outputs)

    # ---- time

    def pass_time(self) -> None:
        """What time alone brings about by now: periods that can be decided, ids that are forgotten."""
        if self._clock.due is None or self._clock.due > self._now:
            return
        self._cause = tick(self._event.partition)
        ready = []
        for name, entry in self._town.all("episode"):
            rule = self._rules.of(name.partition("|")[0])
            if isinstance(entry, Episode) and rule and (at := watch.due(entry, rule)) is not None and at <= self._now:
                ready.append((at, name, entry, rule))
        for _, name, episode, rule in sorted(ready, key=lambda one: one[:2]):
            if rule.factor:
                self._judge(name, episode, rule)
            else:
                self._quiet(name, episode, rule)
        if self._clock.forget_at is not None and self._clock.forget_at <= self._now:
            self._forget()
        self._clock = replace(self._clock, due=self._next_due())
        self._cause = self._event

    def _next_due(self) -> int | None:
        moments = [] if self._clock.forget_at is None else [self._clock.forget_at]
        for name, entry in self._town.with_(self._changes).all("episode"):
            rule = self._rules.of(name.partition("|")[0])
            if isinstance(entry, Episode) and rule and (at := watch.due(entry, rule)) is not None:
                moments.append(at)
        return min(moments, default=None)

    def _due_by(self, moment: int | None) -> None:
        if moment is not None and (self._clock.due is None or moment < self._clock.due):
            self._clock = replace(self._clock, due=moment)

    def adopt(self) -> None:
        """A new version of the registry."""
        reason = f"registry {self._force.version}"
        # A ticket's polygon is kept with its case. Where others saw the same case is not where the ticket lies.
        outlines = {(case.ticket, _point(case)): _case_place(case) for _, case in sorted(self._cases(), reverse=True)}
        for name, ticket in sorted(self._town.all("ticket")):
            assert isinstance(ticket, Ticket)
            place = outlines.get((name, _point(ticket))) or _ticket_place(ticket)
            assigned = self._force.assign(place, self._town.code, self._now)
            if (assigned.role, assigned.person) != (ticket.owner_role, ticket.owner):
                moved = tickets.reassigned(ticket, assigned, self._now)
                self._changes["ticket", name] = moved
                self._outputs += [moved, tickets.step(moved, tickets.REASSIGNED, "", reason)]
        for name, episode in sorted(self._town.all("episode")):
            rule = self._rules.of(name.partition("|")[0])
            watched = rule is not None and rule.factor == _factor_and_device(name)[0]
            if isinstance(episode, Episode) and episode.periods and not watched:
                # Nobody will judge them; a ticket stays, for people.
                self._keep(name, Episode(ticket=episode.ticket))
        self._clock = replace(self._clock, due=self._next_due())

    def _forget(self) -> None:
        """Ids older than 72 h, but for the last 256 of a device; cases that nobody has spoken of for long and that have no open ticket."""
        by_device: dict[str, list[tuple[int, str]]] = {}
        for name, seen in self._town.all("seen"):
            assert isinstance(seen, Seen)
            by_device.setdefault(seen.device, []).append((seen.now, name))
        kept = []
        for _, ids in sorted(by_device.items()):
            for at, name in sorted(ids, reverse=True)[REMEMBERED_LEAST:]:
                if at <= self._now - REMEMBERED_MS:
                    self._changes["seen", name] = None
                else:
                    kept.append(at + REMEMBERED_MS)
        for name, case in self._cases():
            if (at := self._case_ends(case)) <= self._now:
                self._changes["case", name] = None
            else:
                kept.append(at)
        self._clock = replace(self._clock, forget_at=min(kept, default=None))

    def _forget_by(self, moment: int) -> None:
        if self._clock.forget_at is None or moment < self._clock.forget_at:
            self._clock = replace(self._clock, forget_at=moment)
            self._due_by(moment)

    # ---- readings

    def read(self, reading: Reading) -> None:
        """Applies each value that a rule watches; the reading counts as what became of the best of them."""
        results = [
            self._watch(reading, value, rule) for value in reading.values for rule in self._rules.watching(value.factor)
        ]
        self._outputs.append(Counted(min(results, key=list(Applied).index, default=Applied.UNUSED)))

    def _watch(self, reading: Reading, value: Value, rule: Rule) -> Applied:
        realtime = reading.period_s == 0
        start = reading.event_at if realtime else reading.occurred_at
        old = reading.backfilled or reading.time_mark == TimeMark.TOO_OLD
        if (
            value.value is None
            or start is None
            or value.statistic != ("Rtd" if realtime else "Avg")
            or value.mark not in MAY_DECIDE
            or value.unit != UNIT
            or abs(value.value) > MOST
            # What a period was, only a believable clock can say.
            or (not realtime and reading.time_mark not in (TimeMark.DEVICE, TimeMark.TOO_OLD))
        ):
            return Applied.UNUSED
        lasts = int(rule.realtime_s * 1000) if realtime else reading.period_s * 1000
        name = _episode(rule, value.factor, reading.device)
        before = self._episode(name)
        limit = self._rules.limit(rule, reading.device)
        if old and (reading.period_s != rule.period_s or not before.ticket or value.value > limit):
            return Applied.UNUSED  # what was sent late may end an episode, but opens none
        message = "" if start == reading.occurred_at else sha256(reading.id.encode()).hexdigest()[:DIGITS]
        sample = Sample(start, lasts, value.value, message)
        after, result = watch.take(before, rule, sample, realtime=realtime, now=self._now)
        if result is Applied.APPLIED:
            self._settle(name, after, rule)
        return result

    def _settle(self, name: str, episode: Episode, rule: Rule) -> None:
        """Decides the periods of an episode that can be decided now, and sees when time will next have an effect."""
        self._rescheduled(name, watch.due(self._judge(name, episode, rule), rule), rule)

    def _rescheduled(self, name: str, after: int | None, rule: Rule) -> None:
        """Time has its next effect on this episode at another moment than before."""
        before = self._town.get("episode", name)
        waited = watch.due(before, rule) if isinstance(before, Episode) else None
        if waited is not None and waited == self._clock.due and after != waited:
            self._clock = replace(self._clock, due=self._next_due())  # it was the first one
        else:
            self._due_by(after)

    def _judge(self, name: str, episode: Episode, rule: Rule) -> Episode:
        """Decides the periods of an episode that can be decided now, and gives what is kept of it."""
        factor, device = _factor_and_device(name)
        limit = self._rules.limit(rule, device)
        episode, verdicts = watch.settle(episode, rule, self._now)
        for verdict in verdicts:
            if verdict.mean > limit:
                episode = self._over(replace(episode, clean=0), rule, factor, device, verdict, limit)
            elif episode.ticket:
                episode = self._clean(replace(episode, clean=episode.clean + 1), rule, factor, device, verdict, limit)
        self._keep(name, episode)
        return episode

    def _over(self, episode: Episode, rule: Rule, factor: str, device: str, verdict: Verdict, limit: float) -> Episode:
        alert = _alert_id(rule, factor, device, verdict)
        registered = self._force.device(device)
        subject = Subject(
            device=device,
            vendor=registered.vendor if registered else "",
            part=factor,
            place=self._force.place_of(device),
        )
        reasons = _reasons(rule, verdict, limit)
        if self._force.on_trial(subject.vendor):
            self._decided(Outcome.TRIAL, alert, WATCH, (*reasons, _would(rule)), "", rule.kind)
            return episode
        return self._open(episode, rule, subject, alert, WATCH, reasons)

    def _clean(self, episode: Episode, rule: Rule, factor: str, device: str, verdict: Verdict, limit: float) -> Episode:
        if episode.clean < rule.clear_after:
            return episode
        alert = _alert_id(rule, factor, device, verdict)
        return self._clear(episode, rule, alert, WATCH, _reasons(rule, verdict, limit))

    # ---- alerts of devices and patrols

    def alert(self, alert: Alert) -> None:
        """One decision, whatever becomes of it."""
        if isinstance(seen := self._town.get("seen", alert.id), Seen):
            self._decided(Outcome.REPEATED, alert.id, RECORD, (), seen.ticket, "")
            return
        ticket = self._new(alert)
        self._changes["seen", alert.id] = Seen(self._now, alert.device, ticket)
        self._forget_by(self._now + REMEMBERED_MS)

    def _new(self, alert: Alert) -> str:
        """One that was not decided before; gives the ticket it belongs to."""
        rule = self._rules.of(alert.kind)
        if (town := self._away(alert)) is not None:
            self._outputs.append(HandOver(town))
            self._decided(Outcome.HANDED_OVER, alert.id, RECORD, (f"town {town}",), "", "")
        elif rule is None or rule.factor:
            self._decided(Outcome.NO_RULE, alert.id, RECORD, (), "", "")
        elif self._force.on_trial(alert.vendor):
            self._decided(Outcome.TRIAL, alert.id, RECORD, (f"signal {alert.signal}", _would(rule)), "", rule.kind)
        elif isinstance(alert, PatrolAlert):
            return self._case(alert, rule)
        else:
            return self._alarm(alert, rule)
        return ""

    def _away(self, alert: Alert) -> str | None:
        """The other town that its place lies in. A station stands where it is registered."""
        if self._event.handed or isinstance(alert, AirAlert):
            return None
        found = self._force.town_of(place_of(alert))
        return found if elsewhere(found, self._town.code) else None

    def _alarm(self, alert: AirAlert | CameraAlert, rule: Rule) -> str:
        """Opens, updates or clears, and gives the ticket's id."""
        if isinstance(alert, AirAlert):
            part = "+".join(sorted({value.factor for value in alert.values}))
            told, place, old = f"factor {part}", Place(lon=alert.lon, lat=alert.lat, datum=alert.datum), True
        else:
            part = f"{alert.channel}/{alert.message_type.lower()}/{alert.region}"
            # A camera's clock may be days behind and the fire real: late is only what the camera itself calls old.
            told, place, old = f"type {alert.message_type}", place_of(alert), alert.retransmitted
        name = _episode(rule, part, alert.device)
        episode = self._episode(name)
        if alert.signal == Signal.ENDS:
            if not episode.ticket:
                self._decided(Outcome.EXPIRED, alert.id, RECORD, ("nothing_open",), "", rule.kind)
                return ""
            after = self._clear(episode, rule, alert.id, RECORD, (f"signal {alert.signal}",))
            self._keep(name, after)
            self._rescheduled(name, watch.due(after, rule), rule)
            return episode.ticket
        if old and alert.time_mark == TimeMark.TOO_OLD:
            self._decided(Outcome.LATE, alert.id, RECORD, (alert.time_mark,), "", rule.kind)
            return ""
        subject = Subject(device=alert.device, vendor=alert.vendor, part=part, place=place)
        after = self._open(episode, rule, subject, alert.id, RECORD, (f"signal {alert.signal}", told))
        # Also under a rule without a quiet time, which a later one may have.
        after = replace(after, heard=self._now)
        self._keep(name, after)
        self._rescheduled(name, watch.due(after, rule), rule)
        return after.ticket

    def _quiet(self, name: str, episode: Episode, rule: Rule) -> None:
        """An alarm of which nothing has been heard for so long that it has ended: many devices never say so."""
        part, device = _factor_and_device(name)
        alert = f"{device}/{rule.kind}/{part}/{_utc(episode.heard)}/quiet"
        self._keep(name, self._clear(episode, rule, alert, WATCH, (f"nothing heard for {rule.quiet_s} s",)))

    def _case(self, alert: PatrolAlert, rule: Rule) -> str:
        """Opens, updates or clears the ticket of a case, which may be known by its number or by its place."""
        name, known = self._known_case(alert)
        ticket = self._ticket(known.ticket) if known else None
        if alert.signal == Signal.ENDS:
            if known is None or ticket is None or known.vendor != alert.vendor:
                # What one vendor takes back, another may still stand by.
                self._decided(Outcome.EXPIRED, alert.id, RECORD, ("nothing_open",), "", rule.kind)
                return ""
            self._clear(Episode(ticket=ticket.id), rule, alert.id, RECORD, (f"status {alert.vendor_status}",))
            self._changes["case", name] = replace(known, last_at=self._now)
            return ticket.id
        case_no = alert.spot_no or alert.event_no
        place = place_of(alert)
        subject = Subject(device=alert.device, vendor=alert.vendor, part=case_no, place=place, case_no=case_no)
        reasons = [f"signal {alert.signal}"]
        if known:
            reasons.append(f"case {known.vendor}/{known.spot_no}" if known.spot_no else "same place")
        reasons += _doubtful_area(alert)
        episode = self._open(
            Episode(ticket=ticket.id if ticket else ""), rule, subject, alert.id, RECORD, tuple(reasons)
        )
        stored = self._town.get("case", name)
        if isinstance(stored, Case) and (ticket or (stored.vendor, stored.spot_no) != (alert.vendor, alert.spot_no)):
            # It stays whose it is, and where its ticket was opened.
            case = replace(stored, last_at=self._now, ticket=episode.ticket)
        else:
            geometry = alert.geometry or alert.given_geometry
            case = Case(
                vendor=alert.vendor,
                spot_no=alert.spot_no,
                lon=alert.lon,
                lat=alert.lat,
                datum=alert.datum,
                given_x=alert.given_x,
                given_y=alert.given_y,
                geometry=geometry if polygon(geometry) else "",
                last_at=self._now,
                ticket=episode.ticket,
            )
        self._changes["case", name] = case
        self._forget_by(self._case_ends(case))
        return episode.ticket

    def _known_case(self, alert: PatrolAlert) -> tuple[str, Case | None]:
        """Under which name this vendor's case is kept, and the case that it is: the same number, else the same place (of several the one
        spoken of last).
        """
        own = alert.spot_no or alert.event_no
        number = f"{alert.vendor}|{own}" if own else f"{alert.vendor}||{alert.id}"
        if isinstance(known := self._town.get("case", number), Case):
            return number, known
        found = [(case.last_at, name, case) for name, case in self._cases() if same(case, alert, self._now)]
        if not found:
            return number, None
        _, name, case = max(found, key=lambda one: one[:2])
        # A spot's own number is kept beside it; what has none goes on under the name that is there: a detector gives a new one each time.
        return (number if alert.spot_no else name), case

    def _cases(self) -> Iterator[tuple[str, Case]]:
        for name, entry in self._town.all("case"):
            if isinstance(entry, Case):
                yield name, entry

    def _case_ends(self, case: Case) -> int:
        """When it is forgotten; an open ticket keeps it."""
        end = case.last_at + (CASE_MS if case.spot_no else NAMELESS_CASE_MS)
        return max(end, self._now + DAY_MS) if self._ticket(case.ticket) else end

    # ---- tickets

    def _open(
        self, episode: Episode, rule: Rule, subject: Subject, alert: str, origin: str, reasons: tuple[str, ...]
    ) -> Episode:
        """A ticket for this alert: the open one of the episode, or a new one."""
        seq = self._clock.seq + 1
        ticket = self._ticket(episode.ticket)
        if ticket is None:
            outcome = Outcome.OPENED
            assigned = self._force.assign(subject.place, self._town.code, self._now)
            ticket = tickets.opened(rule, self._town.code, subject, assigned, alert, self._now, seq)
            if assigned.mark not in PLAIN:
                reasons = (*reasons, f"place {assigned.mark}", *(f"also {grid}" for grid in assigned.also))
        else:
            outcome = Outcome.UPDATED
            ticket = tickets.updated(ticket, self._now, seq)
        self._stepped(ticket, outcome, alert)
        self._decided(outcome, alert, origin, reasons, ticket.id, rule.kind)
        return replace(episode, ticket=ticket.id)

    def _clear(self, episode: Episode, rule: Rule, alert: str, origin: str, reasons: tuple[str, ...]) -> Episode:
        ticket = self._ticket(episode.ticket)
        assert ticket is not None, "an episode names the open ticket"
        self._stepped(tickets.cleared(ticket, self._now, self._clock.seq + 1), Outcome.CLEARED, alert)
        self._decided(Outcome.CLEARED, alert, origin, reasons, ticket.id, rule.kind)
        return replace(episode, ticket="", clean=0, heard=0)

    def _stepped(self, ticket: Ticket, outcome: Outcome, alert: str) -> None:
        # A cleared one has no next step: the topic keeps it.
        self._changes["ticket", ticket.id] = None if outcome is Outcome.CLEARED else ticket
        self._outputs += [ticket, tickets.step(ticket, outcome, alert)]

    def _decided(
        self, outcome: Outcome, alert: str, origin: str, reasons: tuple[str, ...], ticket: str, rule: str
    ) -> None:
        self._clock = replace(self._clock, seq=self._clock.seq + 1)
        decision = Decision(
            id=alert,
            town=self._town.code,
            seq=self._clock.seq,
            origin=origin,
            topic=self._cause.topic,
            partition=self._cause.partition,
            offset=self._cause.offset,
            now=self._now,
            outcome=outcome,
            reasons=reasons,
            ticket_id=ticket,
            rule=rule,
            versions=self._force.versions,
        )
        self._outputs.append(decision)

    def _keep(self, name: str, episode: Episode) -> None:
        self._changes["episode", name] = None if episode == NOTHING else episode

    def _episode(self, name: str) -> Episode:
        key = "episode", name
        entry = self._changes[key] if key in self._changes else self._town.get(*key)
        return entry if isinstance(entry, Episode) else NOTHING

    def _ticket(self, name: str) -> Ticket | None:
        key = "ticket", name
        entry = self._changes[key] if key in self._changes else self._town.get(*key)
        return entry if isinstance(entry, Ticket) else None


def _ticket_place(ticket: Ticket) -> Place:
    return Place(lon=ticket.lon, lat=ticket.lat, datum=ticket.datum, given_x=ticket.given_x, given_y=ticket.given_y)


def _point(one: Ticket | Case) -> tuple[float | None, ...]:
    return one.lon, one.lat, one.given_x, one.given_y


def _case_place(case: Case) -> Place:
    own = case.lon is not None
    return Place(
        lon=case.lon,
        lat=case.lat,
        datum=case.datum,
        given_x=case.given_x,
        given_y=case.given_y,
        geometry=case.geometry if own else "",
        given_geometry="" if own else case.geometry,
    )


def _would(rule: Rule) -> str:
    return f"class {rule.class_code}, {rule.urgency}"


def _episode(rule: Rule, part: str, device: str) -> str:
    """An episode's name: rule and part (factors, or what of a picture) hold no bar, a device may."""
    return f"{rule.kind}|{quote(part, safe='+/')}|{device}"


def _factor_and_device(name: str) -> tuple[str, str]:
    _, factor, device = name.split("|", 2)
    return factor, device


def _alert_id(rule: Rule, factor: str, device: str, verdict: Verdict) -> str:
    return f"{device}/{rule.kind}/{factor}/{_utc(verdict.start)}"


def _doubtful_area(alert: PatrolAlert) -> tuple[str, ...]:
    """What of a case's area is said otherwise by its vendor than its own outline shows: often mu, or square degrees, taken for square metres."""
    drawn, stated = alert.area_m2, alert.stated_area_m2
    if not drawn or stated is None or abs(stated - drawn) <= AREA_TOLERANCE * drawn:
        return ()
    return (f"area {drawn:.0f} m2, stated {stated:.0f} m2",)


def _reasons(rule: Rule, verdict: Verdict, limit: float) -> tuple[str, ...]:
    return (
        f"mean {verdict.mean:.6g}, limit {limit:.6g} {UNIT}",
        verdict.source,
        f"period {_utc(verdict.start)}/PT{rule.period_s}S",
    )


def _utc(at: int) -> str:
    moment = datetime.fromtimestamp(at // 1000, UTC)
    return moment.strftime("%Y%m%dT%H%M%SZ")
