"""What the page knows: open tickets and those cleared lately, their stories, signs of life, the registry.

Records of different topics come in any order, and some more than once; of a ticket only a higher version counts. All belongs to one thread. What
is kept is bounded: every open ticket, cleared ones for a day, of each its opening and its last steps; of what names no ticket that is kept only the
last few.
"""

from collections import OrderedDict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TypeVar

from hub.core.events import (
    AirAlert,
    Alert,
    CameraAlert,
    Decision,
    Evidence,
    LifeSign,
    Outcome,
    PatrolAlert,
    State,
    Ticket,
    TicketEvent,
)
from hub.core.registry import Registry

CLEARED_MS = 24 * 3600 * 1000
MOST_CLEARED = 5000
MOST_STEPS = 100
MOST_SPARE = 20_000

Value = TypeVar("Value")


@dataclass(frozen=True, slots=True)
class Said:
    """What an alert of a ticket said, as far as the page shows it. Times ms UTC."""

    alert: str
    kind: str
    signal: str
    device: str
    vendor: str
    occurred_at: int | None
    accepted_at: int
    text: str
    evidence: tuple[Evidence, ...] = ()


@dataclass(slots=True)
class Story:
    """What is known of one ticket beside itself: its steps by version, its decisions by number, its alerts by id."""

    steps: dict[int, TicketEvent] = field(default_factory=dict)
    decisions: dict[int, Decision] = field(default_factory=dict)
    alerts: dict[str, Said] = field(default_factory=dict)

    def trim(self) -> None:
        """Keeps the opening and the last of each."""
        for kept in (self.steps, self.decisions):
            for number in sorted(kept)[1 : len(kept) - MOST_STEPS + 1]:
                del kept[number]
        for name in list(self.alerts)[1 : len(self.alerts) - MOST_STEPS + 1]:
            del self.alerts[name]

    @property
    def opening(self) -> Decision | None:
        """The decision that opened it, as far as it is known."""
        opened = [one for one in self.decisions.values() if one.outcome == Outcome.OPENED]
        return min(opened, key=lambda one: one.seq, default=None)


class _Spare(OrderedDict[str, Value]):
    """The last ones of what belongs to nothing that is shown, or not yet."""

    def keep(self, name: str, value: Value) -> None:
        self[name] = value
        self.move_to_end(name)
        while len(self) > MOST_SPARE:
            self.popitem(last=False)


class Model:
    """The read model of the page. `revision` rises with each record that changed something, and so does the town's own."""

    def __init__(self, registry: Registry | None = None) -> None:
        self.registry = registry or Registry()
        self.revision = 0
        self.signs: dict[str, LifeSign] = {}
        self._open: dict[str, Ticket] = {}
        self._cleared: OrderedDict[str, Ticket] = OrderedDict()
        self._stories: dict[str, Story] = {}
        self._spare: _Spare[Story] = _Spare()
        self._spare_alerts: _Spare[Said] = _Spare()
        self._wanted: dict[str, str] = {}
        self._revisions: dict[str, int] = {}

    # ---- what it is asked

    def open(self, town: str = "") -> Iterator[Ticket]:
        """The open tickets, of one town or all."""
        return (one for one in self._open.values() if town in ("", one.town))

    def cleared(self, town: str = "") -> Iterator[Ticket]:
        """Those cleared lately."""
        return (one for one in self._cleared.values() if town in ("", one.town))

    def ticket(self, name: str) -> Ticket | None:
        """One that is open, or was cleared lately."""
        return self._open.get(name) or self._cleared.get(name)

    def story(self, name: str) -> Story:
        """What is known of it; empty where that is nothing."""
        return self._stories.get(name) or Story()

    def town_revision(self, town: str) -> int:
        """Rises with whatever concerns this town."""
        return self._revisions.get(town, 0) + self._revisions.get("", 0)

    def shows_evidence(self, sha256: str) -> Evidence | None:
        """The picture of this hash, if an alert of a ticket that is kept names it."""
        for story in self._stories.values():
            for said in story.alerts.values():
                for evidence in said.evidence:
                    if evidence.sha256 == sha256:
                        return evidence
        return None

    # ---- what it is told

    def adopt(self, registry: Registry) -> None:
        """Another version of the registry counts from now on."""
        self.registry = registry
        self._changed("")

    def take(self, records: Iterable[object], now: int) -> None:
        """Applies records, ms UTC; one of a type that the page does not show is passed over."""
        for record in records:
            match record:
                case Ticket():
                    self._take_ticket(record, now)
                case TicketEvent():
                    self._take_step(record)
                case Decision() if record.ticket_id:
                    story = self._story_of(record.ticket_id)
                    if record.seq not in story.decisions:
                        story.decisions[record.seq] = record
                        self._trim(record.ticket_id, story)
                        self._changed(record.town)
                case LifeSign():
                    known = self.signs.get(record.device)
                    if known is None or known.heard_at < record.heard_at:
                        self.signs[record.device] = record
                        self._changed(record.town)
                case AirAlert() | CameraAlert() | PatrolAlert():
                    self._take_alert(record)
                case _:
                    pass

    def prune(self, now: int) -> None:
        """Forgets what was cleared too long ago, ms UTC."""
        # They come in the order of time, but for a start that reads partition after partition: so all are looked at.
        for name, ticket in list(self._cleared.items()):
            if (ticket.cleared_at or ticket.updated_at) < now - CLEARED_MS:
                self._forget(name)
        while len(self._cleared) > MOST_CLEARED:
            self._forget(next(iter(self._cleared)))

    # ---- how

    def _take_ticket(self, ticket: Ticket, now: int) -> None:
        known = self.ticket(ticket.id)
        if known is not None and known.version >= ticket.version:
            return
        ended = ticket.state != State.OPEN
        if ended and (ticket.cleared_at or ticket.updated_at) < now - CLEARED_MS:
            if known:
                self._forget(ticket.id)
                self._changed(ticket.town)
            return
        if ended:
            self._open.pop(ticket.id, None)
            self._cleared[ticket.id] = ticket
            if len(self._cleared) > MOST_CLEARED:
                self._forget(next(iter(self._cleared)))
        else:
            self._cleared.pop(ticket.id, None)
            self._open[ticket.id] = ticket
        if ticket.id not in self._stories:
            self._stories[ticket.id] = self._spare.pop(ticket.id, Story())
            for step in self._stories[ticket.id].steps.values():
                self._want(step)
        self._changed(ticket.town)

    def _take_step(self, step: TicketEvent) -> None:
        story = self._story_of(step.ticket_id)
        if step.version in story.steps:
            return
        story.steps[step.version] = step
        if step.ticket_id in self._stories:
            self._want(step)
        self._trim(step.ticket_id, story)
        self._changed(step.town)

    def _take_alert(self, alert: Alert) -> None:
        said = Said(
            alert=alert.id,
            kind=alert.kind,
            signal=alert.signal,
            device=alert.device,
            vendor=alert.vendor,
            occurred_at=alert.occurred_at,
            accepted_at=alert.accepted_at,
            text=_text(alert),
            evidence=() if isinstance(alert, AirAlert) else alert.evidence,
        )
        owner = self._wanted.pop(alert.id, None)
        if owner is None or owner not in self._stories:
            self._spare_alerts.keep(alert.id, said)
            return
        self._stories[owner].alerts[alert.id] = said
        self._trim(owner, self._stories[owner])
        self._changed(alert.town)

    def _want(self, step: TicketEvent) -> None:
        """The alert behind a step belongs to its ticket, whichever comes first."""
        if not step.alert:
            return
        said = self._spare_alerts.pop(step.alert, None)
        if said:
            self._stories[step.ticket_id].alerts[step.alert] = said
        elif step.alert not in self._stories[step.ticket_id].alerts:
            self._wanted[step.alert] = step.ticket_id

    def _story_of(self, ticket: str) -> Story:
        story = self._stories.get(ticket) or self._spare.get(ticket)
        if story is None:
            story = Story()
            self._spare.keep(ticket, story)
        return story

    def _trim(self, ticket: str, story: Story) -> None:
        if max(len(story.steps), len(story.decisions), len(story.alerts)) <= 2 * MOST_STEPS:
            return
        before = {step.alert for step in story.steps.values()}
        story.trim()
        for alert in before - {step.alert for step in story.steps.values()}:
            if self._wanted.get(alert) == ticket:
                del self._wanted[alert]

    def _forget(self, ticket: str) -> None:
        self._open.pop(ticket, None)
        gone = self._cleared.pop(ticket, None)
        story = self._stories.pop(ticket, Story())
        for step in story.steps.values():
            self._wanted.pop(step.alert, None)
        if gone:
            self._changed(gone.town)

    def _changed(self, town: str) -> None:
        self.revision += 1
        self._revisions[town] = self._revisions.get(town, 0) + 1


def _text(alert: Alert) -> str:
    """What it said in its own words."""
    words: tuple[str, ...]
    match alert:
        case CameraAlert():
            words = (alert.channel_name or alert.channel, alert.region, alert.target, alert.description)
        case PatrolAlert():
            words = (alert.spot_no or alert.event_no, alert.address, alert.building_type, alert.description)
        case _:
            words = tuple(
                f"{one.factor} {one.value if one.value is not None else '-'} {one.unit}" for one in alert.values
            )
    return " · ".join(filter(None, words))
