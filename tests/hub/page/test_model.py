"""The read model: records in either order, the higher version counts, and what is kept is bounded."""

import itertools
from dataclasses import replace

import pytest

from hub.core.events import LifeSign, Outcome, State, Ticket, TicketEvent
from hub.page import model as models
from hub.page.model import CLEARED_MS, Model
from tests.hub.page.crowd import NOW, PICTURE, TOWN, camera_alert, opening, own_devices, registry, step

KNOWN = registry()
SMOKE = next(
    records
    for number in range(1, 100)
    if (records := opening(KNOWN, number)) and len(records) == 4 and isinstance(records[0], Ticket)
)
TICKET = next(one for one in SMOKE if isinstance(one, Ticket))
CLEARED = replace(
    TICKET, version=2, state=State.CLEARED, cleared_at=NOW, updated_at=NOW, decision_seq=TICKET.decision_seq + 1
)


@pytest.mark.parametrize("order", list(itertools.permutations(range(4))))
def test_the_records_of_a_ticket_may_come_in_any_order(order: tuple[int, ...]) -> None:
    model = Model(KNOWN)
    model.take([SMOKE[place] for place in order], NOW)
    story = model.story(TICKET.id)
    assert [ticket.id for ticket in model.open(TOWN)] == [TICKET.id]
    assert story.opening is not None
    assert (list(story.steps), [said.device for said in story.alerts.values()]) == ([1], [TICKET.device])
    assert model.shows_evidence(PICTURE)


@pytest.mark.parametrize("records", [(TICKET, CLEARED), (CLEARED, TICKET), (TICKET, CLEARED, CLEARED, TICKET)])
def test_only_a_higher_version_counts(records: tuple[Ticket, ...]) -> None:
    model = Model(KNOWN)
    model.take(records, NOW)
    assert (list(model.open()), [one.version for one in model.cleared()]) == ([], [2])


def test_a_record_that_changes_nothing_is_no_news() -> None:
    model = Model(KNOWN)
    model.take(SMOKE, NOW)
    before = model.revision, model.town_revision(TOWN)
    model.take([*SMOKE, KNOWN], NOW)
    assert (model.revision, model.town_revision(TOWN)) == before
    model.adopt(KNOWN)
    assert model.town_revision(TOWN) > before[1]


def test_what_was_cleared_a_day_ago_is_forgotten_with_its_story_and_its_picture() -> None:
    model = Model(KNOWN)
    model.take([*SMOKE, CLEARED], NOW)
    model.prune(NOW + CLEARED_MS)
    assert model.ticket(TICKET.id) == CLEARED
    model.prune(NOW + CLEARED_MS + 1)
    assert model.ticket(TICKET.id) is None
    assert model.shows_evidence(PICTURE) is None
    model.take([CLEARED], NOW + CLEARED_MS + 1)
    assert list(model.cleared()) == []


def test_an_open_ticket_that_was_cleared_long_ago_is_gone_at_once() -> None:
    model = Model(KNOWN)
    model.take(SMOKE, NOW)
    model.take([CLEARED], NOW + CLEARED_MS + 1)
    assert model.ticket(TICKET.id) is None


def test_of_cleared_tickets_only_so_many_are_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "MOST_CLEARED", 3)
    model = Model(KNOWN)
    model.take([replace(CLEARED, id=f"{TOWN}-{number}") for number in range(5)], NOW)
    assert [one.id for one in model.cleared()] == [f"{TOWN}-{number}" for number in (2, 3, 4)]


def test_of_a_long_story_the_opening_and_the_last_steps_are_kept() -> None:
    model = Model(KNOWN)
    model.take(SMOKE, NOW)
    for number in range(2, 1000):
        model.take([step(replace(TICKET, version=number), Outcome.UPDATED, f"a{number}")], NOW)
    kept = list(model.story(TICKET.id).steps)
    assert len(kept) <= 2 * models.MOST_STEPS
    assert (kept[0], kept[-1]) == (1, 999)
    assert model.story(TICKET.id).opening is not None


def test_what_names_no_ticket_that_is_shown_is_kept_in_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(models, "MOST_SPARE", 10)
    model = Model(KNOWN)
    camera = next(one for one in own_devices(KNOWN) if one.feed == "camera")
    for number in range(100):
        other = replace(TICKET, id=f"{TOWN}-{number}")
        model.take([step(other, Outcome.OPENED, f"a{number}"), camera_alert(f"a{number}", camera, NOW)], NOW)
    assert (len(model._spare), len(model._spare_alerts)) == (10, 10)
    assert model.shows_evidence(PICTURE) is None


def test_of_signs_of_life_the_latest_counts() -> None:
    model = Model(KNOWN)
    sign = LifeSign(device="d", town=TOWN, vendor="v", feed="air", heard_at=NOW, said="data")
    model.take([sign, replace(sign, heard_at=NOW - 1, said="fault")], NOW)
    assert model.signs["d"] == sign


def test_a_step_is_told_once() -> None:
    model = Model(KNOWN)
    one = next(record for record in SMOKE if isinstance(record, TicketEvent))
    model.take([*SMOKE, one, one], NOW)
    assert len(model.story(TICKET.id).steps) == 1
