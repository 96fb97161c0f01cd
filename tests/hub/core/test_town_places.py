"""A town that has a map and a roster: cameras and patrols, whose work it is, what another town must do, what a new version moves."""

from dataclasses import replace

import pytest

from hub.core.events import UNKNOWN_TOWN, Decision, Outcome, TicketEvent
from hub.core.registry import Person, Role
from hub.core.town import CASE_MS, DAY_MS, HandOver
from hub.core.watch import Applied
from tests.hub.core.one_town import HOUR, MINUTE, PM10_OVER, PM25, SECOND, TOWN, OneTown, at, camera, patrol
from tests.hub.core.small_map import EAST, HEAD, LI, SMOKE, VILLAGE, WANG, duty, registry, square


@pytest.fixture
def town() -> OneTown:
    return OneTown(registry=registry(WANG, LI, HEAD))


# ---- whose


def test_a_camera_that_sees_smoke_is_a_ticket_of_the_worker_of_its_cell(town: OneTown) -> None:
    decision = town.decides(camera("c1", "begins", at("10:00"), lon=113.905, lat=34.705))
    [ticket] = town.opened
    assert (decision.outcome, decision.ticket_id) == (Outcome.OPENED, ticket.id)
    assert (ticket.cell, ticket.grid, ticket.place_mark) == (f"{VILLAGE}001", "G1", "inside")
    assert (ticket.owner_role, ticket.owner) == ("worker", "wang")
    assert (ticket.lon, ticket.lat, ticket.datum, ticket.urgency) == (113.905, 34.705, "WGS84", "urgent")
    assert (ticket.class_code, ticket.vendor, ticket.device) == ("06020", "maker", "ZA-CAM-1")


def test_a_station_over_its_limit_belongs_where_it_stands(town: OneTown) -> None:
    town.hour("10:00", 200)
    assert [(each.owner, each.cell) for each in town.opened] == [("wang", f"{VILLAGE}001")]


@pytest.mark.parametrize(
    ("people", "owner"),
    [
        ((WANG, HEAD), ("worker", "wang")),
        ((HEAD, duty("sun", Role.SECOND_HEAD, VILLAGE)), ("head", "zhao")),
        ((duty("sun", Role.SECOND_HEAD, VILLAGE), LI), ("second_head", "sun")),
        ((LI,), ("centre", "")),
        ((), ("centre", "")),
    ],
)
def test_a_ticket_never_belongs_to_nobody(people: tuple[Person, ...], owner: tuple[str, str]) -> None:
    town = OneTown(registry=registry(*people))
    town.decides(camera("c1", "begins", at("10:00"), lon=113.905, lat=34.705))
    assert [(each.owner_role, each.owner) for each in town.opened] == [owner]


def test_a_place_on_a_border_is_the_smaller_cells_and_the_decision_says_so(town: OneTown) -> None:
    decision = town.decides(camera("c1", "begins", at("10:00"), lon=113.91, lat=34.705))
    assert [(each.cell, each.place_mark) for each in town.opened] == [(f"{VILLAGE}001", "border")]
    assert "place border" in decision.reasons


def test_a_place_in_no_cell_and_no_place_at_all_are_the_centres(town: OneTown) -> None:
    town.decides(camera("c1", "begins", at("10:00"), lon=113.905, lat=34.72))
    town.decides(camera("c2", "begins", at("10:00"), device="ZA-CAM-2"))
    marks = [(each.owner_role, each.cell, each.place_mark) for each in town.opened]
    assert marks == [("centre", "", "none"), ("centre", "", "unknown")]


def test_a_camera_whose_place_cannot_be_right_is_the_centres_all_the_same(town: OneTown) -> None:
    """The register says whose it is: a fire is not lost to what a camera believes of itself."""
    town.decides(camera("c1", "begins", at("10:00"), lon=121.47, lat=31.23))
    assert [(each.owner_role, each.town, each.place_mark) for each in town.opened] == [("centre", TOWN, "none")]


def test_what_lies_between_the_towns_is_a_ticket_of_the_centre() -> None:
    nowhere = OneTown(code=UNKNOWN_TOWN, registry=registry(WANG, LI, HEAD))
    found = replace(patrol("p1", at("10:00"), spot_no="S1", lon=113.905, lat=34.76), town=UNKNOWN_TOWN)
    assert nowhere.decides(found).outcome == "opened"
    assert [(each.owner_role, each.owner, each.town) for each in nowhere.opened] == [("centre", "", UNKNOWN_TOWN)]


def test_an_uncertain_place_names_the_other_grid(town: OneTown) -> None:
    decision = town.decides(camera("c1", "begins", at("10:00"), lon=113.9095, lat=34.705, accuracy_m=200))
    assert [(each.owner, each.place_mark) for each in town.opened] == [("wang", "uncertain")]
    assert "also G2" in decision.reasons


# ---- running alarms of cameras


def test_what_goes_on_is_one_ticket_and_its_end_clears_it(town: OneTown) -> None:
    outcomes = [
        town.decides(camera(f"c{index}", signal, at("10:00") + index * 10 * SECOND)).outcome
        for index, signal in enumerate(("begins", "begins", "goes_on", "ends", "ends"))
    ]
    assert outcomes == ["opened", "updated", "updated", "cleared", "expired"]
    assert town.steps == ["opened", "updated", "updated", "cleared"]


def test_another_channel_region_or_camera_is_another_alarm(town: OneTown) -> None:
    for index, differs in enumerate(({}, {"channel": "2"}, {"region": "2"}, {"device": "ZA-CAM-2"})):
        town.decides(camera(f"c{index}", "begins", at("10:00"), **differs))  # type: ignore[arg-type]
    assert len({each.id for each in town.opened}) == 4


def test_an_alarm_of_which_nothing_is_heard_has_ended(town: OneTown) -> None:
    town.decides(camera("c1", "begins", at("10:00")))
    town.decides(camera("c2", "begins", at("10:00:50")))
    assert town.waits("10:01:49") == ()
    town.waits("10:01:50")
    assert town.steps == ["opened", "updated", "cleared"]
    last = town.decisions[-1]
    assert (last.outcome, last.origin, last.reasons) == ("cleared", "watch", ("nothing heard for 60 s",))
    assert town.decides(camera("c3", "begins", at("10:05"))).outcome == "opened"


def test_a_camera_whose_clock_is_days_behind_is_believed_unless_it_says_itself_that_it_is_old(town: OneTown) -> None:
    old = at("10:00") - 72 * HOUR
    assert town.decides(camera("c1", "begins", at("10:00"), occurred_at=old)).outcome == "opened"
    again = camera("c2", "begins", at("10:00"), occurred_at=old, retransmitted=True, device="ZA-CAM-2")
    assert town.decides(again).outcome == "late"


def test_a_vendor_on_trial_opens_nothing_and_reads_what_would_be(town: OneTown) -> None:
    decision = town.decides(camera("c1", "begins", at("10:00"), vendor="newcomer"))
    assert (decision.outcome, decision.ticket_id, decision.rule) == ("trial", "", "camera.smoke")
    assert decision.reasons == ("signal begins", "class 06020, urgent")
    assert not town.tickets
    assert town.decides(camera("c1", "begins", at("10:00"), vendor="newcomer")).outcome == "repeated"


# ---- cases of patrols


def test_a_case_is_known_by_the_vendors_number_for_months(town: OneTown) -> None:
    outcomes = [
        town.decides(patrol("p1", at("10:00"), spot_no="S1", lon=113.905, lat=34.705)).outcome,
        town.decides(patrol("p2", at("10:00", 90), spot_no="S1", lon=113.905, lat=34.705)).outcome,
        town.decides(patrol("p3", at("10:00", 180), spot_no="S1", signal="ends")).outcome,
        town.decides(patrol("p4", at("11:00", 180), spot_no="S1", signal="ends")).outcome,
    ]
    assert outcomes == ["opened", "updated", "cleared", "expired"]
    assert {each.case_no for each in town.tickets} == {"S1"}


@pytest.mark.parametrize(
    ("stated", "told"),
    [
        (None, []),
        (612.0, []),
        (551.0, []),
        (550.0, ["area 612 m2, stated 550 m2"]),
        (0.918, ["area 612 m2, stated 1 m2"]),
        (float("nan"), ["area 612 m2, stated nan m2"]),
    ],
)
def test_an_area_that_its_outline_does_not_have_is_told(town: OneTown, stated: float | None, told: list[str]) -> None:
    alert = replace(
        patrol("p1", at("10:00"), spot_no="S1", lon=113.905, lat=34.705), area_m2=612.03, stated_area_m2=stated
    )
    reasons = town.decides(alert).reasons
    assert [one for one in reasons if one.startswith("area ")] == told


def test_a_case_without_a_spot_number_is_known_by_its_events(town: OneTown) -> None:
    """A vendor's word of how a case stands need not say once more where it lies."""
    found = replace(patrol("p1", at("10:00"), lon=113.905, lat=34.705), event_no="E1")
    other = replace(patrol("p2", at("11:00"), signal="ends"), event_no="E2")
    ended = replace(patrol("p3", at("11:00"), signal="ends"), event_no="E1")
    assert [town.decides(one).outcome for one in (found, other, ended)] == ["opened", "expired", "cleared"]


def test_another_vendors_point_within_30_metres_and_days_is_the_same_case(town: OneTown) -> None:
    town.decides(patrol("p1", at("10:00"), spot_no="S1", lon=113.905, lat=34.705))
    near = town.decides(patrol("p2", at("10:00", 20), vendor="drones", spot_no="D7", lon=113.9052, lat=34.705))
    assert (near.outcome, near.reasons[1]) == ("updated", "case surveyor/S1")
    far = town.decides(patrol("p3", at("10:00", 20), vendor="drones", spot_no="D8", lon=113.9058, lat=34.705))
    assert far.outcome == "opened"
    # From now on its own number is known too, wherever the place.
    assert (
        town.decides(patrol("p4", at("10:00", 60), vendor="drones", spot_no="D7", lon=113.908, lat=34.705)).outcome
        == "updated"
    )


def test_what_one_vendor_takes_back_another_still_stands_by(town: OneTown) -> None:
    town.decides(patrol("p1", at("10:00"), spot_no="S1", lon=113.905, lat=34.705))
    ends = patrol("p2", at("11:00"), vendor="drones", spot_no="D7", signal="ends", lon=113.905, lat=34.705)
    assert town.decides(ends).outcome == "expired"


def test_a_case_is_forgotten_when_nobody_speaks_of_it_and_nothing_is_open(town: OneTown) -> None:
    town.decides(patrol("p1", at("10:00"), spot_no="S1", lon=113.905, lat=34.705))
    town.waits(at("10:00") + CASE_MS + 2 * DAY_MS)
    assert [name for name, _ in town.town.all("case")] == ["surveyor|S1"], "its ticket is open"
    now = town.town.clock.now
    town.decides(patrol("p2", now, spot_no="S1", signal="ends"))
    town.waits(now + CASE_MS)
    assert not list(town.town.all("case"))


# ---- another town


def test_what_lies_in_another_town_is_handed_over_once(town: OneTown) -> None:
    alert = patrol("p1", at("10:00"), spot_no="S1", lon=113.925, lat=34.705)
    outputs = town.hears(alert)
    assert HandOver(EAST) in outputs
    [decision] = [each for each in outputs if isinstance(each, Decision)]
    assert (decision.outcome, decision.reasons, decision.ticket_id) == ("handed-over", (f"town {EAST}",), "")
    assert town.decides(alert, at("10:01")).outcome == "repeated"
    there = OneTown(registry=registry(), code=EAST)
    assert there.decides(alert, handed=True).outcome == "opened"
    # Where the maps differ, it stays: there is no second hop.
    here = OneTown(registry=registry())
    assert here.decides(alert, handed=True).outcome == "opened"


# ---- a new version of the registry


def test_only_tickets_whose_owner_changes_move_with_a_step_that_names_the_version(town: OneTown) -> None:
    town.decides(camera("c1", "begins", at("10:00"), lon=113.905, lat=34.705))
    town.decides(camera("c2", "begins", at("10:00"), lon=113.915, lat=34.705, device="ZA-CAM-2"))
    first, second = town.opened
    town.adopts(registry(HEAD, LI, version=2), at("10:00:30"))
    [moved] = [each for each in town.tickets if each.version == 2]
    assert (moved.id, moved.owner_role, moved.owner, moved.decision_seq) == (
        first.id,
        "head",
        "zhao",
        first.decision_seq,
    )
    assert [
        (each.step, each.reason) for each in town.outputs if isinstance(each, TicketEvent) and each.version == 2
    ] == [("reassigned", "registry 2")]
    assert town.adopts(registry(HEAD, LI, version=3), at("10:00:31")) == ()
    # And it goes on as the ticket that it was.
    assert (
        town.decides(camera("c3", "ends", at("10:00:40"), lon=113.915, lat=34.705, device="ZA-CAM-2")).ticket_id
        == second.id
    )


def test_a_town_that_nothing_changes_in_is_the_very_same(town: OneTown) -> None:
    town.decides(camera("c1", "begins", at("10:00"), lon=113.905, lat=34.705))
    before = town.town
    town.adopts(registry(WANG, LI, HEAD, version=2), at("10:00:30"))
    assert town.town is before


def test_a_rule_that_is_gone_judges_no_more_and_its_ticket_stays_for_people(town: OneTown) -> None:
    town.hour("10:00", 200)
    town.minutes("11:00", 30, 10)
    town.adopts(registry(WANG, version=2, rules=(SMOKE,)), at("11:40"))
    town.waits("23:00")
    assert town.steps == ["opened"]
    assert town.town.clock.due is None
    assert [each.version for each in town.tickets] == [1]


def test_a_shorter_quiet_time_counts_at_once(town: OneTown) -> None:
    town.decides(camera("c1", "begins", at("10:00"), lon=113.905, lat=34.705))
    quick = registry(WANG, LI, HEAD, version=2, rules=(replace(SMOKE, quiet_s=5),))
    town.adopts(quick, at("10:00:01"))
    town.waits(at("10:00:05"))
    assert town.steps == ["opened", "cleared"]
    assert MINUTE > 5 * SECOND


def test_a_new_version_does_not_put_the_towns_clock_forward() -> None:
    """What waited while no router ran is about times before the owner's; an owner's clock may be wrong, too."""
    town = OneTown(registry=registry(WANG, LI, HEAD))
    town.hour("09:00", 200, now=at("10:01"))
    town.minute("10:00", 10)
    before = town.town.clock.now
    assert town.adopts(registry(HEAD, LI, version=2), at("18:00")), "a ticket moves"
    assert town.town.clock.now == before
    assert town.minute("10:01", 10) is Applied.APPLIED


def test_a_quiet_time_that_comes_with_a_new_version_counts_from_what_was_heard() -> None:
    loud = replace(SMOKE, quiet_s=0)
    town = OneTown(registry=registry(WANG, LI, HEAD, rules=(loud,)))
    town.decides(camera("c1", "begins", at("10:00"), lon=113.905, lat=34.705))
    town.adopts(registry(WANG, LI, HEAD, version=2), at("10:00:10"))
    town.waits("10:00:59")
    assert town.steps == ["opened"]
    town.waits("10:01")
    assert town.steps == ["opened", "cleared"]


def test_periods_of_another_factor_are_not_judged_by_a_rule_that_watches_a_new_one() -> None:
    town = OneTown(registry=registry(WANG))
    town.minutes("10:00", 50, 120)
    fine = replace(PM10_OVER, factor=PM25, limit=75)
    town.adopts(registry(WANG, version=2, rules=(SMOKE, fine)), at("10:51"))
    town.waits("12:00")
    assert not town.steps


def test_a_station_of_a_vendor_on_trial_opens_nothing() -> None:
    tried = registry(WANG)
    tried = replace(tried, devices=(replace(tried.devices[0], vendor="newcomer"),))
    town = OneTown(registry=tried)
    town.hour("10:00", 200)
    assert not town.tickets
    [decision] = town.decisions
    assert (decision.outcome, decision.origin, decision.rule) == ("trial", "watch", "air.pm10.over_limit")
    assert decision.reasons[-1] == "class 08004, normal"


# ---- whose case it is


def test_a_message_without_a_number_does_not_take_a_case_from_the_vendor_that_numbers_it(town: OneTown) -> None:
    town.decides(patrol("p1", at("10:00"), spot_no="S1", lon=113.905, lat=34.705))
    assert town.decides(patrol("p2", at("10:01"), vendor="drones", lon=113.905, lat=34.705)).outcome == "updated"
    assert town.decides(patrol("p3", at("10:02"), spot_no="S1", signal="ends")).outcome == "cleared"
    assert [name for name, _ in town.town.all("case")] == ["surveyor|S1"]


def test_a_case_that_others_see_beside_it_does_not_move_its_ticket(town: OneTown) -> None:
    """A new version moves what it gives to another owner: the map and the duties are as they were."""
    town.decides(patrol("p1", at("10:00"), spot_no="S1", lon=113.9099, lat=34.705))
    town.decides(patrol("p2", at("10:01"), vendor="drones", spot_no="D1", lon=113.9101, lat=34.705))
    town.decides(patrol("p3", at("10:02"), spot_no="S1", lon=113.9101, lat=34.705))
    assert [each.owner for each in town.opened] == ["wang"]
    assert town.adopts(registry(WANG, LI, HEAD, version=2), at("10:05")) == ()


# ---- what nobody should send

HOSTILE = {
    "no JSON": "{",
    "deep": "[" * 100_000,
    "no geometry": "[]",
    "a number": "7",
    "no coordinates": '{"type":"Polygon"}',
    "unknown": '{"type":"Circle","coordinates":[1,2]}',
    "empty": '{"type":"Polygon","coordinates":[]}',
    "words": '{"type":"Polygon","coordinates":[[["a","b"],["c","d"],["e","f"],["a","b"]]]}',
    "two points": '{"type":"Polygon","coordinates":[[[113.9,34.7],[113.91,34.7]]]}',
    "not a number": '{"type":"Polygon","coordinates":[[[113.9,34.7],[NaN,34.7],[113.91,34.71],[113.9,34.7]]]}',
    "infinite": '{"type":"Polygon","coordinates":[[[113.9,34.7],[1e999,34.7],[113.91,34.71],[113.9,34.7]]]}',
    "huge": '{"type":"Polygon","coordinates":[[[1e308,-1e308],[-1e308,34.7],[113.91,1e308],[1e308,-1e308]]]}',
    "ragged": '{"type":"Polygon","coordinates":[[[113.9,34.7],[113.91],[113.91,34.71,3],[113.9,34.7]]]}',
    "crossed": '{"type":"Polygon","coordinates":[[[113.9,34.7],[113.91,34.71],[113.91,34.7],[113.9,34.71],[113.9,34.7]]]}',
    "collection": '{"type":"GeometryCollection","geometries":[{"type":"Point","coordinates":[1,2]}]}',
}
RIGHT = square(113.90, 34.70)


@pytest.mark.parametrize("geometry", HOSTILE.values(), ids=HOSTILE)
@pytest.mark.parametrize("datum", ["WGS84", "GCJ02", "EPSG:4547"])
def test_whatever_a_patrol_calls_a_geometry_it_is_decided_and_so_is_what_follows(geometry: str, datum: str) -> None:
    town = OneTown(registry=registry(WANG, LI, HEAD))

    def sends(name: str, when: str, form: str, **more: str) -> str:
        place = {"lon": 113.905, "lat": 34.705} if datum == "WGS84" else {"given": (113.911, 34.704), "datum": datum}
        record = patrol(name, at(when), geometry=form if datum == "WGS84" else "", **place, **more)  # type: ignore[arg-type]
        return town.decides(record if datum == "WGS84" else replace(record, given_geometry=form)).outcome

    assert sends("p1", "10:00", geometry) == "opened"
    assert sends("p2", "10:01", RIGHT, spot_no="S1") == "updated"
    assert sends("p3", "10:02", geometry, spot_no="S1") == "updated"
    assert sends("p4", "10:03", geometry, vendor="drones", spot_no="D1") == "updated"
    town.adopts(registry(HEAD, version=2), at("10:05"))


@pytest.mark.parametrize("number", [1e308, -1e308, 91.0, -400.0, 0.0])
@pytest.mark.parametrize("accuracy_m", [None, -1.0, 1e308])
def test_a_place_may_be_any_two_numbers(town: OneTown, number: float, accuracy_m: float | None) -> None:
    for index, (lon, lat) in enumerate(((number, 34.7), (113.9, number), (number, number))):
        one = camera(f"c{index}", "begins", at("10:00"), lon=lon, lat=lat, accuracy_m=accuracy_m, region=str(index))
        town.decides(one)
        both = {"given_x": lon, "given_y": lat, "lon": None, "lat": None, "datum": "BD09"}
        town.decides(replace(one, id=f"d{index}", channel="2", **both))  # type: ignore[arg-type]
    town.adopts(registry(HEAD, version=2), at("10:05"))
