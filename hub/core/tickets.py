"""The life of one ticket: opened by an alert, updated by each further one, moved to another owner by a new map or roster, cleared when what
caused it has ended.
"""

from dataclasses import dataclass, replace
from hashlib import sha256

from hub.core.events import Outcome, State, Ticket, TicketEvent
from hub.core.grid import Place
from hub.core.in_force import Assigned
from hub.core.rules import Rule

ID_DIGITS = 16
REASSIGNED = "reassigned"


@dataclass(frozen=True, slots=True, kw_only=True)
class Subject:
    """What a ticket is about: who saw it, of which factor or part of a picture, where, and the vendor's number of it."""

    device: str
    vendor: str
    part: str
    place: Place
    case_no: str = ""


def opened(rule: Rule, town: str, subject: Subject, assigned: Assigned, alert: str, now: int, seq: int) -> Ticket:
    """A new ticket; its id follows from what opened it and when, so a replay gives the same."""
    content = f"{rule.kind}\n{subject.part}\n{subject.device}\n{alert}\n{now}"
    place = subject.place
    return Ticket(
        id=f"{town}-{sha256(content.encode()).hexdigest()[:ID_DIGITS]}",
        version=1,
        town=town,
        state=State.OPEN,
        class_code=rule.class_code,
        class_standard=rule.class_standard,
        kind=rule.kind,
        device=subject.device,
        cell=assigned.cell,
        grid=assigned.grid,
        lon=place.lon,
        lat=place.lat,
        datum=place.datum,
        given_x=place.given_x,
        given_y=place.given_y,
        place_mark=assigned.mark,
        urgency=rule.urgency,
        vendor=subject.vendor,
        case_no=subject.case_no,
        owner_role=assigned.role,
        owner=assigned.person,
        opened_at=now,
        updated_at=now,
        cleared_at=None,
        due_at=None,
        alerts=1,
        rule=rule.kind,
        decision_seq=seq,
    )


def updated(ticket: Ticket, now: int, seq: int) -> Ticket:
    """Another alert speaks for it."""
    return replace(ticket, version=ticket.version + 1, updated_at=now, alerts=ticket.alerts + 1, decision_seq=seq)


def reassigned(ticket: Ticket, assigned: Assigned, now: int) -> Ticket:
    """A new map or roster gives it to another owner. No alert led to it, so the last decision stays."""
    return replace(
        ticket,
        version=ticket.version + 1,
        updated_at=now,
        cell=assigned.cell,
        grid=assigned.grid,
        place_mark=assigned.mark,
        owner_role=assigned.role,
        owner=assigned.person,
    )


def cleared(ticket: Ticket, now: int, seq: int) -> Ticket:
    """What caused it has ended."""
    return replace(
        ticket, version=ticket.version + 1, state=State.CLEARED, updated_at=now, cleared_at=now, decision_seq=seq
    )


def step(ticket: Ticket, taken: Outcome | str, alert: str, reason: str = "") -> TicketEvent:
    """The step that led to this version of the ticket."""
    return TicketEvent(
        id=f"{ticket.id}/{ticket.version}",
        ticket_id=ticket.id,
        town=ticket.town,
        version=ticket.version,
        step=taken,
        state=ticket.state,
        at=ticket.updated_at,
        alert=alert,
        decision_seq=ticket.decision_seq,
        owner_role=ticket.owner_role,
        owner=ticket.owner,
        cell=ticket.cell,
        reason=reason,
    )
