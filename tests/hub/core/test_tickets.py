"""The life of one ticket, step by step."""

from dataclasses import replace

import pytest

from hub.core import tickets
from hub.core.events import Outcome, State, Ticket, TicketEvent
from tests.hub.core.one_town import PM10, PM10_OVER, PM25, STATION, TOWN, at, opens

ALERT = "ZA-01/air.pm10.over_limit/a34002/20260601T100000Z"


def opened() -> Ticket:
    return opens(PM10_OVER, TOWN, STATION, PM10, ALERT, at("11:00"), 7)


def test_an_opened_ticket_says_what_where_and_since_when() -> None:
    ticket = opened()
    assert ticket == Ticket(
        id=ticket.id,
        version=1,
        town=TOWN,
        state="open",
        class_code="08004",
        class_standard="GB/T 47678.5-2026",
        kind="air.pm10.over_limit",
        device=STATION,
        cell="",
        owner_role="centre",
        owner="",
        opened_at=at("11:00"),
        updated_at=at("11:00"),
        cleared_at=None,
        due_at=None,
        alerts=1,
        rule="air.pm10.over_limit",
        decision_seq=7,
    )


def test_its_id_begins_with_the_town_and_has_sixteen_hex_digits() -> None:
    town, dash, digest = opened().id.partition("-")
    assert (town, dash, len(digest)) == (TOWN, "-", 16)
    assert digest == f"{int(digest, 16):016x}"


def test_its_id_follows_from_what_opened_it_and_from_nothing_else() -> None:
    other_limit = opens(replace(PM10_OVER, limit=1), TOWN, STATION, PM10, ALERT, at("11:00"), 9)
    assert other_limit.id == opened().id


def test_an_alert_whose_id_was_forgotten_is_another_ticket() -> None:
    assert opens(PM10_OVER, TOWN, STATION, PM10, ALERT, at("12:00"), 7).id != opened().id


def test_another_alert_device_factor_rule_or_town_is_another_ticket() -> None:
    others = [
        opens(PM10_OVER, "330100002", STATION, PM10, ALERT, 0, 1),
        opens(PM10_OVER, TOWN, "ZA-02", PM10, ALERT, 0, 1),
        opens(PM10_OVER, TOWN, STATION, PM25, ALERT, 0, 1),
        opens(PM10_OVER, TOWN, STATION, PM10, ALERT + "x", 0, 1),
        opens(replace(PM10_OVER, kind="air.pm10.far_over_limit"), TOWN, STATION, PM10, ALERT, 0, 1),
        opened(),
    ]
    assert len({each.id for each in others}) == len(others)


def test_another_alert_makes_a_version_and_is_counted() -> None:
    later = tickets.updated(opened(), at("12:00"), 9)
    assert later == replace(opened(), version=2, updated_at=at("12:00"), alerts=2, decision_seq=9)


def test_what_has_ended_is_cleared_and_keeps_its_story() -> None:
    ended = tickets.cleared(tickets.updated(opened(), at("12:00"), 9), at("14:00"), 11)
    assert ended == replace(
        opened(),
        version=3,
        state="cleared",
        updated_at=at("14:00"),
        cleared_at=at("14:00"),
        alerts=2,
        decision_seq=11,
    )


@pytest.mark.parametrize(
    ("ticket", "outcome", "state"),
    [
        (opened(), Outcome.OPENED, State.OPEN),
        (tickets.updated(opened(), at("12:00"), 9), Outcome.UPDATED, State.OPEN),
        (tickets.cleared(opened(), at("13:00"), 10), Outcome.CLEARED, State.CLEARED),
    ],
)
def test_a_step_names_the_version_it_led_to(ticket: Ticket, outcome: Outcome, state: State) -> None:
    assert tickets.step(ticket, outcome, "an alert") == TicketEvent(
        id=f"{ticket.id}/{ticket.version}",
        ticket_id=ticket.id,
        town=TOWN,
        version=ticket.version,
        step=outcome,
        state=state,
        at=ticket.updated_at,
        alert="an alert",
        decision_seq=ticket.decision_seq,
        owner_role="centre",
    )
