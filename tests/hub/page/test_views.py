"""What a page shows: lamps, health, filters, the answers to why and whose, in both languages."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest

from hub.core.events import LifeSign, Outcome, State, Ticket
from hub.core.registry import CENTRE
from hub.page.drawing import Atlas
from hub.page.model import Model
from hub.page.views import MINUTE_MS, Names, Query, View, Voice, clock, health, home, lamp
from hub.page.words import KINDS, SAID, Health, Lamp
from tests.hub.page.crowd import NOW, TOWN, everything, opening, own_devices, registry, step

KNOWN = registry()
TICKET = next(one for one in opening(KNOWN, 1) if isinstance(one, Ticket))


def view(model: Model | None = None, lang: str = "en", **asked: str) -> View:
    if model is None:
        model = Model(KNOWN)
        model.take(everything(KNOWN), NOW)
    query = Query.parse({"town": TOWN} | asked)
    return View(model=model, names=Names(model.registry), voice=Voice(lang), query=query, now=NOW)


@pytest.mark.parametrize(
    ("changes", "shown"),
    [
        ({}, Lamp.NORMAL),
        ({"urgency": "urgent"}, Lamp.URGENT),
        ({"due_at": NOW}, Lamp.OVERDUE),
        ({"due_at": NOW, "urgency": "urgent"}, Lamp.OVERDUE),
        ({"due_at": NOW + 1, "urgency": "urgent"}, Lamp.URGENT),
        ({"opened_at": NOW - 80, "due_at": NOW + 20}, Lamp.SOON),
        ({"opened_at": NOW - 79, "due_at": NOW + 21}, Lamp.NORMAL),
        ({"state": State.CLEARED, "due_at": NOW - 1, "urgency": "urgent"}, Lamp.CLEARED),
    ],
)
def test_the_lamp_is_that_of_state_urgency_and_deadline(changes: dict[str, Any], shown: Lamp) -> None:
    assert lamp(replace(TICKET, **({"urgency": "normal"} | changes)), NOW) == shown


@pytest.mark.parametrize(
    ("feed", "ago_ms", "said", "shown"),
    [
        ("air", 10 * MINUTE_MS, "data", Health.HEARD),
        ("air", 10 * MINUTE_MS + 1, "data", Health.SILENT),
        ("camera", 1, "fault", Health.FAULT),
        ("camera", None, "", Health.NEVER),
        ("patrol", None, "", Health.ON_CALL),
        ("patrol", 10_000 * MINUTE_MS, "data", Health.ON_CALL),
    ],
)
def test_a_device_is_silent_when_its_feed_expects_more(feed: str, ago_ms: int | None, said: str, shown: Health) -> None:
    device = next(one for one in own_devices(KNOWN) if one.feed == feed)
    model = Model(KNOWN)
    if ago_ms is not None:
        sign = LifeSign(device=device.id, town=TOWN, vendor="v", feed=feed, heard_at=NOW - ago_ms, said=said)
        model.take([sign], NOW)
    assert health(device, model, NOW) == shown


def owner_of(ticket: Ticket) -> str:
    return ticket.owner or ticket.owner_role


@pytest.mark.parametrize(
    ("asked", "fits"),
    [
        ({"lamp": "urgent"}, lambda one: one.urgency == "urgent"),
        ({"kind": "camera.smoke"}, lambda one: one.kind == "camera.smoke"),
        ({"owner": "centre"}, lambda one: owner_of(one) == CENTRE),
        ({"q": TICKET.id[-6:]}, lambda one: TICKET.id[-6:] in one.id),
        ({"q": "SMOKE"}, lambda one: one.kind == "camera.smoke"),
        ({"q": "违建 wj2026"}, lambda one: one.kind == "patrol.illegal_building"),
        ({"village": f"{TOWN}201"}, lambda one: one.cell.startswith(f"{TOWN}201")),
        ({"lamp": "no such", "state": "none", "sort": "x"}, lambda _: True),
    ],
)
def test_each_filter_lets_through_what_it_names(asked: dict[str, str], fits: Callable[[Ticket], bool]) -> None:
    seen = view(None, "en", **asked)
    expected = {one.id for one in seen.model.open(TOWN) if fits(one)}
    assert expected
    assert {one.id for one in seen.found()} == expected


@pytest.mark.parametrize(
    ("sort", "key"),
    [
        ("newest", lambda one: -one.opened_at),
        ("oldest", lambda one: one.opened_at),
        ("updated", lambda one: -one.updated_at),
        ("alerts", lambda one: -one.alerts),
        ("lamp", lambda one: (one.urgency != "urgent", -one.opened_at)),
    ],
)
def test_the_list_is_sorted_as_asked(sort: str, key: Callable[[Ticket], Any]) -> None:
    found = view(sort=sort).found()
    assert found == sorted(found, key=key)


def test_a_search_by_a_persons_name_finds_that_persons_tickets() -> None:
    seen = view()
    name = seen.names.person(TICKET.owner)
    assert {owner_of(one) for one in view(q=name).found()} == {
        person.id
        for person in KNOWN.people
        if person.name == name and any(person.id == owner_of(one) for one in seen.found())
    }


def test_a_query_is_the_same_after_a_round_trip_and_a_filter_begins_at_the_first_page() -> None:
    query = Query.parse({"town": TOWN, "q": "a&b", "lamp": "urgent", "page": "3", "more": "x"})
    assert query.text(page=3) == f"town={TOWN}&q=a%26b&lamp=urgent&page=3"
    assert query.text(lamp="") == f"town={TOWN}&q=a%26b"
    assert [Query.parse({"page": page}).page for page in ("0", "-1", "x", "٣", "9" * 30)] == [1, 1, 1, 1, 1]


def test_the_counts_of_the_lamps_are_those_of_the_list() -> None:
    seen = view(lamp="urgent", kind="camera.smoke")
    every, urgent = seen.lamps()
    assert (every.count, urgent.count, urgent.chosen) == (len(seen.found()), len(seen.found()), True)


def test_the_detail_says_whose_and_why() -> None:
    model = Model(KNOWN)
    model.take(opening(KNOWN, 1), NOW)
    ticket = next(model.open())
    drawing = Atlas(None).of(KNOWN, TOWN)
    detail = view(model, "zh").detail(ticket, drawing)
    assert [link.role for link in detail.chain] == ["网格员", "网格长", "二级网格长", "网格中心待派"]
    assert [link.owns for link in detail.chain].count(True) == 1
    assert detail.why_known
    assert detail.reasons
    assert detail.row.owner
    assert detail.spot
    assert detail.steps[-1].word == "开立"


def test_a_ticket_whose_opening_is_not_known_says_so() -> None:
    model = Model(KNOWN)
    model.take([TICKET], NOW)
    detail = view(model).detail(TICKET, None)
    assert (detail.why_known, detail.reasons, detail.steps) == (False, [], [])


def test_updates_that_follow_one_another_are_one_line_and_a_new_owner_is_named() -> None:
    model = Model(KNOWN)
    steps = [Outcome.OPENED, Outcome.UPDATED, Outcome.UPDATED, "reassigned", Outcome.UPDATED]
    for number, name in enumerate(steps, 1):
        one = step(replace(TICKET, version=number, updated_at=NOW + number * MINUTE_MS), Outcome.UPDATED)
        role, person = (CENTRE, "") if number >= 4 else (one.owner_role, one.owner)
        model.take([replace(one, step=name, owner_role=role, owner=person)], NOW)
    model.take([TICKET], NOW)
    shown = [(one.what, one.count, bool(one.owner)) for one in view(model).detail(TICKET, None).steps]
    assert shown == [("updated", 1, False), ("reassigned", 1, True), ("updated", 2, False), ("opened", 1, True)]


def test_the_numbers_of_a_town_sum_to_the_whole() -> None:
    seen = view()
    figures = seen.figures()
    assert (figures.open, figures.devices, figures.silent) == (300, 60, 3)
    overview = {town: numbers for town, _, numbers in seen.towns()}
    assert overview[TOWN] == figures
    assert next(iter(seen.towns()))[0] == TOWN


def test_the_first_page_is_the_town_whose_villages_are_mapped() -> None:
    assert home(view(town="")) == TOWN
    assert home(view(Model(replace(KNOWN, villages=())), town="")) == ""


@pytest.mark.parametrize(
    ("minutes", "en", "zh"), [(0, "0 min", "0分钟"), (125, "2 h 5 min", "2小时5分"), (2880, "2 d", "2天")]
)
def test_an_age_has_two_units_at_most(minutes: int, en: str, zh: str) -> None:
    assert (Voice("en").age(minutes * MINUTE_MS), Voice("zh").age(minutes * MINUTE_MS)) == (en, zh)


def test_times_are_those_of_beijing() -> None:
    assert (clock(NOW), clock(None)) == ("2026-03-02 12:00", "")


def test_every_text_is_there_in_both_languages() -> None:
    assert [name for name, text in SAID.items() if not text.en or not text.zh] == []


@pytest.mark.parametrize(
    ("place", "said"),
    [
        ({"lon": 113.912346, "lat": 34.712346}, "经度 113.91235，纬度 34.71235"),
        (
            {"lon": None, "lat": None, "given_x": 113.912346, "given_y": 34.712346, "datum": "GCJ02"},
            "经度 113.91235，纬度 34.71235 (GCJ02)",
        ),
        (
            {"lon": None, "lat": None, "given_x": 38583123.46, "given_y": 3843210.2, "datum": "EPSG:4526"},
            "x 38583123.5，y 3843210.2 (EPSG:4526)",
        ),
    ],
)
def test_a_place_is_told_with_the_names_of_its_numbers_and_none_of_them_is_lost(
    place: dict[str, object], said: str
) -> None:
    assert view(Model(KNOWN), lang="zh")._place(replace(TICKET, **place)) == said  # type: ignore[arg-type]


def test_every_kind_of_the_shipped_rules_has_words() -> None:
    assert {rule.kind for rule in KNOWN.rules.all} <= KINDS.keys()
