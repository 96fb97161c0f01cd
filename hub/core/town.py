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
from hub.core.events import AirAlert, Decision, Outcome, Reading, Signal, Ticket, TicketEvent, TimeMark, Value
from hub.core.rules import Rule, Rules
from hub.core.watch import Applied, Episode, Sample, Verdict

REMEMBERED_MS = 72 * 3_600_000
REMEMBERED_LEAST = 256
UNIT = "ug/m3"
# More than the air itself weighs: not measured, and too large to add up.
MOST = 1e9
DIGITS = 16
MAY_DECIDE = frozenset({"N", ""})
RECORD, WATCH = "record", "watch"
NOTHING = Episode()


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


Entry = Clock | Episode | Ticket | Seen
KINDS: Mapping[str, type[Entry]] = {"town": Clock, "episode": Episode, "ticket": Ticket, "seen": Seen}
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
    """One event: a record and where it lay, or time that passed (`record` None, `topic` empty, `offset` -1)."""

    record: Reading | AirAlert | None
    topic: str
    partition: int
    offset: int


def tick(partition: int) -> Input:
    """Time that passed for a town of this partition."""
    return Input(record=None, topic="", partition=partition, offset=-1)


@dataclass(frozen=True, slots=True)
class Counted:
    """A reading was applied, or not: counted, not written."""

    result: Applied


Output = Decision | Ticket | TicketEvent | Counted


def decide(town: Town, event: Input, now: int, rules: Rules) -> tuple[Town, tuple[Output, ...]]:
    """What becomes of an event, and the town after it. Pure: the same arguments give the same.

    `now`: the record's broker time, or the owner's clock for a tick, ms UTC; the town's clock never goes back. A tick without effect
    gives the town unchanged. Raises nothing that a valid record could cause; whatever it raises is a defect.
    """
    step = _Step(town, event, max(now, town.clock.now), rules)
    step.pass_time()
    match event.record:
        case Reading() as reading:
            step.read(reading)
        case AirAlert() as alert:
            step.alert(alert)
    return step.end()


class _Step:
    """One call of `decide`: changes and outputs as they come about."""

    def __init__(self, town: Town, event: Input, now: int, rules: Rules) -> None:
        self._town = town
        self._event = event
        self._cause = event
        self._now = now
        self._rules = rules
        self._clock = town.clock
        self._changes: dict[Key, Entry | None] = {}
        self._outputs: list[Output] = []

    def end(self) -> tuple[Town, tuple[Output, ...]]:
        if not self._changes and self._event.record is None and self._clock == self._town.clock:
            return self._town, ()
        self._changes["town", ""] = replace(self._clock, now=self._now)
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
            self._judge(name, episode, rule)
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

    def _forget(self) -> None:
        """Ids older than 72 h, but for the last 256 of a device."""
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
        self._clock = replace(self._clock, forget_at=min(kept, default=None))

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
        after = watch.due(self._judge(name, episode, rule), rule)
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
        return self._open(episode, rule, factor, device, alert, WATCH, _reasons(rule, verdict, limit))

    def _clean(self, episode: Episode, rule: Rule, factor: str, device: str, verdict: Verdict, limit: float) -> Episode:
        if episode.clean < rule.clear_after:
            return episode
        alert = _alert_id(rule, factor, device, verdict)
        return self._clear(episode, rule, alert, WATCH, _reasons(rule, verdict, limit))

    # ---- alerts of devices

    def alert(self, alert: AirAlert) -> None:
        """One decision, whatever becomes of it."""
        if isinstance(seen := self._town.get("seen", alert.id), Seen):
            self._decided(Outcome.REPEATED, alert.id, RECORD, (), seen.ticket, "")
            return
        rule = self._rules.of(alert.kind)
        if rule is None or rule.factor:
            ticket = ""
            self._decided(Outcome.NO_RULE, alert.id, RECORD, (), ticket, "")
        else:
            ticket = self._alarm(alert, rule)
        self._changes["seen", alert.id] = Seen(self._now, alert.device, ticket)
        if self._clock.forget_at is None:
            self._clock = replace(self._clock, forget_at=self._now + REMEMBERED_MS)
            self._due_by(self._clock.forget_at)

    def _alarm(self, alert: AirAlert, rule: Rule) -> str:
        """Opens, updates or clears, and gives the ticket's id."""
        factor = "+".join(sorted({value.factor for value in alert.values}))
        name = _episode(rule, factor, alert.device)
        episode = self._episode(name)
        if alert.signal == Signal.ENDS:
            if not episode.ticket:
                self._decided(Outcome.EXPIRED, alert.id, RECORD, ("nothing_open",), "", rule.kind)
                return ""
            self._keep(name, self._clear(episode, rule, alert.id, RECORD, (f"signal {alert.signal}",)))
            return episode.ticket
        if alert.time_mark == TimeMark.TOO_OLD:
            self._decided(Outcome.LATE, alert.id, RECORD, (alert.time_mark,), "", rule.kind)
            return ""
        after = self._open(
            episode, rule, factor, alert.device, alert.id, RECORD, (f"signal {alert.signal}", f"factor {factor}")
        )
        self._keep(name, after)
        return after.ticket

    # ---- tickets

    def _open(
        self,
        episode: Episode,
        rule: Rule,
        factor: str,
        device: str,
        alert: str,
        origin: str,
        reasons: tuple[str, ...],
    ) -> Episode:
        """A ticket for this alert: the open one of the episode, or a new one."""
        seq = self._clock.seq + 1
        ticket = self._ticket(episode.ticket)
        if ticket is None:
            outcome = Outcome.OPENED
            ticket = tickets.opened(rule, self._town.code, device, factor, alert, self._now, seq)
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
        return replace(episode, ticket="", clean=0)

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
            versions=self._rules.versions,
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


def _episode(rule: Rule, factor: str, device: str) -> str:
    """An episode's name: rule and factor hold no bar, a device may."""
    return f"{rule.kind}|{quote(factor, safe='+')}|{device}"


def _factor_and_device(name: str) -> tuple[str, str]:
    _, factor, device = name.split("|", 2)
    return factor, device


def _alert_id(rule: Rule, factor: str, device: str, verdict: Verdict) -> str:
    return f"{device}/{rule.kind}/{factor}/{_utc(verdict.start)}"


def _reasons(rule: Rule, verdict: Verdict, limit: float) -> tuple[str, ...]:
    return (
        f"mean {verdict.mean:.6g}, limit {limit:.6g} {UNIT}",
        verdict.source,
        f"period {_utc(verdict.start)}/PT{rule.period_s}S",
    )


def _utc(at: int) -> str:
    moment = datetime.fromtimestamp(at // 1000, UTC)
    return moment.strftime("%Y%m%dT%H%M%SZ")
