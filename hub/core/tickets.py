"""The life of one ticket: opened by an alert, updated by each further one, cleared when what caused it has ended."""

from dataclasses import replace
from hashlib import sha256

from hub.core.events import Outcome, State, Ticket, TicketEvent
from hub.core.rules import Rule

ID_DIGITS = 16
# Whoever no roster names: the grid centre's queue, so that a ticket never belongs to nobody.
NOBODYS = "centre"


def opened(rule: Rule, town: str, device: str, factor: str, alert: str, now: int, seq: int) -> Ticket:
    """A new ticket; its id follows from what opened it and when, so a replay gives the same."""
    digest = sha256(f"{rule.kind}\n{factor}\n{device}\n{alert}\n{now}".encode()).hexdigest()[:ID_DIGITS]
    return Ticket(
        id=f"{town}-{digest}",
        version=1,
        town=town,
        state=State.OPEN,
        class_code=rule.class_code,
        class_standard=rule.class_standard,
        kind=rule.kind,
        device=device,
        cell="",
        urgency=rule.urgency,
        owner_role=NOBODYS,
        owner="",
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


def cleared(ticket: Ticket, now: int, seq: int) -> Ticket:
    """What caused it has ended."""
    return replace(
        ticket, version=ticket.version + 1, state=State.CLEARED, updated_at=now, cleared_at=now, decision_seq=seq
    )


def step(ticket: Ticket, outcome: Outcome, alert: str) -> TicketEvent:
    """The step that led to this version of the ticket."""
    return TicketEvent(
        id=f"{ticket.id}/{ticket.version}",
        ticket_id=ticket.id,
        town=ticket.town,
        version=ticket.version,
        step=outcome,
        state=ticket.state,
        at=ticket.updated_at,
        alert=alert,
        decision_seq=ticket.decision_seq,
        owner_role=ticket.owner_role,
        owner=ticket.owner,
        cell=ticket.cell,
    )
