"""What must hold for every history of a town: repeats, late and future times, invalid hours, alarms, and time that passes.

Expected tickets come from the slow model beside this file. Restarts, batches and aborts are compared with a town that had none.
"""

import random
import re
from collections.abc import Sequence
from copy import deepcopy
from dataclasses import dataclass, replace
from functools import cached_property

from hypothesis import HealthCheck, event, given, settings
from hypothesis import strategies as st

from hub.core import memory
from hub.core.events import AirAlert, Decision, Reading, Ticket, TicketEvent
from hub.core.in_force import InForce
from hub.core.registry import Registry
from hub.core.rules import Rule, Rules
from hub.core.times import place_in_time
from hub.core.town import Counted, Entry, Input, Output, Town, decide, tick
from tests.hub.core.model_town import ModelTown, Step
from tests.hub.core.one_town import (
    DEVICE_ALARM,
    PARTITION,
    PM10,
    PM10_OVER,
    PM25,
    PM25_OVER,
    SECOND,
    TOWN,
    OneTown,
    alarm,
    at,
    entries,
    reading,
    value,
)

thorough = settings(
    max_examples=120,
    deadline=None,
    database=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large],
)
quick = settings(thorough, max_examples=50)

OTHER_TOWN = "330100002"
DEVICES = ("ZA-01", "ZA|02")
BEGIN = at("10:00")

# ---- histories


@dataclass(frozen=True, slots=True)
class Form:
    """The same rules for an hour and for ten seconds. `part_s`: what a minute value covers there; four make it over 45 minutes of 60."""

    period_s: int
    wait_s: float
    part_s: int
    realtime_s: float

    @property
    def rules(self) -> Rules:
        def scaled(rule: Rule, **changes: object) -> Rule:
            terms = {"period_s": self.period_s, "wait_s": self.wait_s, "realtime_s": self.realtime_s, **changes}
            return replace(rule, **terms)  # type: ignore[arg-type]

        stricter = scaled(PM10_OVER, kind="air.pm10.far_over_limit", limit=300, clear_after=1)
        own = {DEVICES[1]: {PM10: 120.0}}
        return Rules((scaled(PM10_OVER), scaled(PM25_OVER), stricter, DEVICE_ALARM), own)


FORMS = (Form(3600, 600, 900, 900), Form(10, 1.5, 2, 2.5))


@dataclass(frozen=True, slots=True)
class Happening:
    """A record, or time that passes (None), and the broker's or owner's time of it."""

    town: str
    now: int
    record: Reading | AirAlert | None

    def input(self, offset: int) -> Input:
        if self.record is None:
            return tick(PARTITION)
        topic = "readings" if isinstance(self.record, Reading) else "alerts.air"
        return Input(record=self.record, topic=topic, partition=PARTITION, offset=offset)


@dataclass(frozen=True)
class History:
    rules: Rules
    happenings: tuple[Happening, ...]

    @cached_property
    def force(self) -> InForce:
        return InForce(Registry(rules=self.rules))

    @property
    def inputs(self) -> list[tuple[str, int, Input]]:
        return [(each.town, each.now, each.input(offset)) for offset, each in enumerate(self.happenings)]


LEVELS = st.sampled_from((200.0, 10.0, 60.5, 10.0, 75.0, 119.5, 120.0, 150.0, 150.5, 400.0))
MARKS = st.sampled_from(("N",) * 20 + ("", "", "D", "range"))
UNITS = st.sampled_from(("ug/m3",) * 30 + ("", "mg/m3"))
FACTORS = st.sampled_from((PM10,) * 6 + (PM25, PM25, "a01001"))
LATENESS = st.sampled_from((0, 0, 0, 0, 0, 1, 2, 5))
SORTS = st.sampled_from(("own", "own", "own", "minutes", "minutes", "realtime", "both", "silence"))


@st.composite
def told(draw: st.DrawFn, form: Form, town: str, device: str, factor: str, start: int, ahead: int) -> list[Happening]:
    """What one station, whose clock is that much ahead, says of one period."""
    length, happenings = form.period_s * SECOND, []
    level, sort = draw(LEVELS), draw(SORTS)

    def says(code: str, statistic: str, since: int, period_s: int, *, may_be_late: bool) -> None:
        ends = since + period_s * SECOND - ahead
        delay = draw(st.integers(0, 400)) * length // 10_000
        lateness = draw(LATENESS) if may_be_late else 0
        # The station sends it late, or only its way to the broker is long.
        accepted = ends + delay + draw(st.sampled_from((0, lateness))) * length
        told_at: int | None = since
        odd = draw(st.integers(0, 40))
        if odd == 0:
            told_at = None
        elif odd == 1:
            told_at = since + draw(st.sampled_from((1, 7, 400))) * length
        elif odd == 2:
            told_at = since - draw(st.sampled_from((1, 7, 400))) * length
        record = reading(
            value(level, factor=factor, statistic=statistic, unit=draw(UNITS), mark=draw(MARKS)),
            code=code,
            occurred_at=told_at,
            period_s=period_s,
            accepted_at=accepted,
            device=device,
            town=town,
            backfilled=draw(st.integers(0, 12 if code == "2061" else 30)) == 0,
        )
        happenings.append(Happening(town, max(accepted, ends + delay + lateness * length), record))

    parts = form.period_s // form.part_s
    missing = draw(st.sampled_from((0, 0, 0, 1, 2)))
    for index in range(parts - missing):
        if sort in ("minutes", "both"):
            since = start + index * form.part_s * SECOND
            says("2051", "Avg", since, form.part_s, may_be_late=draw(st.integers(0, 9)) == 0)
        if sort in ("realtime", "both") and index < 4:
            since = start + index * int(form.realtime_s * SECOND)
            says("2011", "Rtd", since, 0, may_be_late=False)
    if sort == "own" or (sort != "silence" and draw(st.booleans())):
        level = draw(st.sampled_from((level, level, 10.0, 200.0)))
        says("2061", "Avg", start, form.period_s, may_be_late=True)
    return happenings


@st.composite
def alarms(draw: st.DrawFn, form: Form, towns: Sequence[str], periods: int) -> Happening:
    length = form.period_s * SECOND
    town = draw(st.sampled_from(towns))
    now = BEGIN + draw(st.integers(0, periods * 10)) * length // 10
    occurred_at = draw(st.sampled_from((now, now, now, now - 60 * SECOND, now - 7_200_001, now + 120_001, None)))
    record = alarm(
        f"alarm {draw(st.integers(0, 12))}",
        draw(st.sampled_from(("begins", "goes_on", "ends", "ends", "moment"))),
        occurred_at=occurred_at,
        accepted_at=now,
        device=draw(st.sampled_from(DEVICES)),
        factors=draw(st.sampled_from(((PM10,), (PM25,), (PM10, PM25), (PM25, PM10), ("颗|粒",)))),
        kind=draw(st.sampled_from(("air.device_alarm",) * 6 + ("air.unheard_of", "air.pm10.over_limit"))),
        town=town,
    )
    return Happening(town, now, record)


def sent_again(one: Happening, later: int, *, answered: bool) -> Happening:
    """The same record on the broker once more; or, not answered in time, the same message accepted anew."""
    record = one.record
    if answered or record is None or (isinstance(record, Reading) and record.time_mark != "device"):
        return replace(one, now=one.now + later)
    period_s = record.period_s if isinstance(record, Reading) else 0
    accepted_at = record.accepted_at + later
    event_at, time_mark = place_in_time(record.occurred_at, accepted_at, period_s)
    anew = replace(record, accepted_at=accepted_at, event_at=event_at, time_mark=time_mark)
    return replace(one, now=one.now + later, record=anew)


@st.composite
def histories(draw: st.DrawFn, towns: Sequence[str] = (TOWN,)) -> History:
    form = draw(st.sampled_from(FORMS))
    length = form.period_s * SECOND
    periods = draw(st.integers(2, 8))
    happenings: list[Happening] = []
    for town in towns:
        for device in DEVICES[: draw(st.sampled_from((1, 1, 2)))]:
            factor = draw(FACTORS)
            ahead = draw(st.sampled_from((0, 0, 0, 25, 110))) * SECOND
            for index in range(periods):
                happenings += draw(told(form, town, device, factor, BEGIN + index * length, ahead))
    happenings += draw(st.lists(alarms(form, towns, periods + 2), max_size=8))
    for _ in range(draw(st.integers(0, 6))):
        edge = BEGIN + draw(st.integers(1, periods + 3)) * length + int(form.wait_s * SECOND)
        now = edge + draw(st.sampled_from((-length // 10, -1, 0, 0, 1)))
        happenings.append(Happening(draw(st.sampled_from(towns)), now, None))
    for again in draw(st.lists(st.integers(0, 1000), max_size=8)):
        if happenings:
            later = draw(st.sampled_from((1, 400, length // 8, length, 3 * length)))
            happenings.append(sent_again(happenings[again % len(happenings)], later, answered=draw(st.booleans())))
    happenings.sort(key=lambda each: each.now)
    # A broker's clock that is set back, or records that waited: order is what counts.
    for place in draw(st.lists(st.integers(0, 1000), max_size=min(3, len(happenings)))):
        moved = happenings.pop(place % len(happenings))
        happenings.insert(draw(st.integers(0, len(happenings))), moved)
    # A broker's clock stands still for a while.
    since = BEGIN + draw(st.integers(0, periods)) * length
    until = since + draw(st.sampled_from((0, 0, 0, 0, 2, 3, 9))) * length
    happenings = [replace(each, now=since) if since < each.now < until else each for each in happenings]
    if draw(st.booleans()):
        happenings += [Happening(town, BEGIN + (periods + 9) * length, None) for town in towns]
    return History(form.rules, tuple(happenings))


# ---- what came out


def played(history: History) -> dict[str, OneTown]:
    """Each town after the whole history, with all that came out; what holds always is checked at each step."""
    towns: dict[str, OneTown] = {}
    for code, now, given_in in history.inputs:
        towns.setdefault(code, OneTown(history.rules, code)).takes(given_in, now)
    return towns


def steps(outputs: Sequence[Output]) -> list[Step]:
    """Each step of each ticket as the model tells it."""
    told_of = {(each.id, each.version): each for each in outputs if isinstance(each, Ticket)}
    decisions = {each.seq: each for each in outputs if isinstance(each, Decision)}
    factors: dict[str, str] = {}
    found = []
    for step in outputs:
        if not isinstance(step, TicketEvent):
            continue
        ticket = told_of[step.ticket_id, step.version]
        decision = decisions[step.decision_seq]
        if step.version == 1:
            watched = decision.origin == "watch"
            factors[ticket.id] = decision.id.split("/")[2] if watched else decision.reasons[1].removeprefix("factor ")
        found.append(Step(step.step, ticket.rule, factors[ticket.id], ticket.device, step.at))
    return found


def in_order(found: Sequence[Step]) -> dict[tuple[str, str, str], list[tuple[str, int]]]:
    """Steps by rule, factor and device: between two of these no order is promised here."""
    by_series: dict[tuple[str, str, str], list[tuple[str, int]]] = {}
    for step in found:
        by_series.setdefault((step.rule, step.factor, step.device), []).append((step.what, step.now))
    return by_series


# ---- properties

EPISODES = re.compile(r"(opened( updated)* cleared( |$))*(opened( updated)*)?")


@thorough
@given(histories())
def test_tickets_are_those_of_the_model(history: History) -> None:
    model = ModelTown(history.rules)
    for each in history.happenings:
        model.takes(each.record, each.now)
    town = played(history).get(TOWN, OneTown(history.rules))
    assert in_order(steps(town.outputs)) == in_order(model.steps)
    assert [(each.id, each.outcome) for each in town.decisions if each.origin == "record"] == model.alerts
    assert [each.result for each in town.outputs if isinstance(each, Counted)] == model.counted
    assert town.clock.now == model.now
    assert len(list(town.town.all("ticket"))) == len(model.cleans)
    for what in ("opened", "updated", "cleared"):
        event(f"{what}: {min(3, sum(step.what == what for step in model.steps))}")


@thorough
@given(histories())
def test_what_holds_of_every_ticket(history: History) -> None:
    for town in played(history).values():
        opened = [each.id for each in town.opened]
        assert len(set(opened)) == len(opened), "no two tickets of one id"
        assert {each.id for each in town.tickets} == set(opened)
        cleared = [each.id for each in town.tickets if each.state == "cleared"]
        assert len(set(cleared)) == len(cleared), "a ticket clears once, and after that no step of it comes"
        last = {each.id: each for each in town.tickets}
        assert all(last[name].state == "cleared" for name in cleared)
        assert {name for name, each in last.items() if each.state == "open"} == {
            name for name, _ in town.town.all("ticket")
        }
        for story in in_order(steps(town.outputs)).values():
            told_of = " ".join(what for what, _ in story)
            assert EPISODES.fullmatch(told_of), "one ticket at a time, from its opening to its end"
        firsts = [each.id for each in town.decisions if each.origin == "record" and each.outcome != "repeated"]
        assert len(set(firsts)) == len(firsts), "an alert is decided once"
        watched = [each.id for each in town.decisions if each.origin == "watch"]
        assert len(set(watched)) == len(watched), "an hour is decided once"


def restarted(town: Town, order: random.Random) -> Town:
    """The town as the next start rebuilds it from the changelog, which gives its entries in any order."""
    lines = [
        (kind, name, memory.to_text(entry)) for kind, named in entries(town).items() for name, entry in named.items()
    ]
    order.shuffle(lines)
    read: dict[str, dict[str, Entry]] = {}
    for kind, name, text in lines:
        read.setdefault(kind, {})[name] = memory.from_text(kind, text)
    return Town(town.code, read)


@quick
@given(histories(), st.integers(0, 1000))
def test_a_restart_at_every_prefix_changes_nothing(history: History, seed: int) -> None:
    """One town is never restarted, one after every event, and one just before each."""
    order = random.Random(seed)
    never, always = Town(TOWN, {}), Town(TOWN, {})
    for _, now, given_in in history.inputs:
        just_now = restarted(never, order)
        assert entries(just_now) == entries(never)
        never, expected = decide(never, given_in, now, history.force)
        for other in (just_now, always):
            after, outputs = decide(other, given_in, now, history.force)
            assert outputs == expected
            assert entries(after) == entries(never)
        always = restarted(after, order)


@quick
@given(histories(), st.data())
def test_a_changelog_rebuilds_the_town_at_every_prefix(history: History, data: st.DataObject) -> None:
    """Only what changed is written, at the end of each batch; the last of each entry is the town."""
    town = Town(TOWN, {})
    kept: dict[tuple[str, str], str | None] = {}
    for _, now, given_in in history.inputs:
        town, _ = decide(town, given_in, now, history.force)
        if data.draw(st.integers(0, 2)) == 0:
            kept |= {key: memory.to_text(entry) if entry else None for key, entry in town.changes.items()}
            town = town.settle()
            read: dict[str, dict[str, Entry]] = {kind: {} for kind in entries(town)}
            for (kind, name), text in kept.items():
                if text is not None:
                    read[kind][name] = memory.from_text(kind, text)
            assert read == entries(town)


@quick
@given(histories(), st.lists(st.booleans(), min_size=1, max_size=40), st.lists(st.booleans(), min_size=1, max_size=40))
def test_no_split_into_batches_changes_anything(history: History, one: list[bool], other: list[bool]) -> None:
    results = []
    for ends in ([False], [True], one, other):
        town = Town(TOWN, {})
        outputs: list[Output] = []
        for index, (_, now, given_in) in enumerate(history.inputs):
            town, more = decide(town, given_in, now, history.force)
            outputs += more
            if ends[index % len(ends)]:
                town = town.settle()
        results.append((outputs, entries(town), entries(town.settle())))
    assert all(each == results[0] for each in results)


@quick
@given(histories(), st.integers(1, 5))
def test_an_abort_leaves_the_town_as_it_was(history: History, size: int) -> None:
    """A batch is decided, thrown away, decided again alone and in full: the same comes out, and the old town is untouched."""
    town = Town(TOWN, {})
    inputs = history.inputs
    for first in range(0, len(inputs), size):
        batch = inputs[first : first + size]
        before, asked, rules = deepcopy(entries(town)), deepcopy(batch), deepcopy(history.rules)
        tried = []
        for _ in range(2):
            after = town
            outputs: list[Output] = []
            for _, now, given_in in batch:
                after, more = decide(after, given_in, now, history.force)
                outputs += more
            tried.append((outputs, entries(after)))
            assert (entries(town), batch, history.rules) == (before, asked, rules)
        assert tried[0] == tried[1]
        decide(town, batch[0][2], batch[0][1], history.force)
        assert entries(town) == before
        town = after.settle()


@quick
@given(histories(), st.integers(1, 3))
def test_ticks_without_effect_can_be_left_out(history: History, often: int) -> None:
    """One town has a tick before each event and between, the other only those of them that had an effect."""
    town = Town(TOWN, {})
    outputs: list[Output] = []
    journal: list[tuple[int, Input]] = []
    last = BEGIN
    for _, now, given_in in history.inputs:
        gap = max(0, now - last) // often
        ticks = [(last + index * gap, tick(PARTITION)) for index in range(1, often + 1)]
        for moment, happens in (*ticks, (now, given_in)):
            after, more = decide(town, happens, moment, history.force)
            if happens.record is None and after is town:
                assert more == ()
                continue
            journal.append((moment, happens))
            town, outputs = after, outputs + list(more)
        last = max(last, now)
    again = Town(TOWN, {})
    replayed: list[Output] = []
    for moment, happens in journal:
        again, more = decide(again, happens, moment, history.force)
        replayed += more
    assert replayed == outputs
    assert entries(again) == entries(town)


@quick
@given(histories((TOWN, OTHER_TOWN)))
def test_towns_do_not_hear_of_each_other(history: History) -> None:
    together = played(history)
    for code, town in together.items():
        alone = OneTown(history.rules, code)
        for other, now, given_in in history.inputs:
            if other == code:
                alone.takes(given_in, now)
        assert alone.outputs == town.outputs
        assert entries(alone.town) == entries(town.town)
        assert all(each.id.startswith(f"{code}-") for each in town.tickets)
        assert {each.town for each in town.decisions} <= {code}


@quick
@given(histories())
def test_every_alert_has_one_decision_that_is_no_repeat(history: History) -> None:
    town = played(history).get(TOWN, OneTown())
    said = [each.record.id for each in history.happenings if isinstance(each.record, AirAlert)]
    told_of = [each for each in town.decisions if each.origin == "record"]
    assert [each.id for each in told_of] == said
    assert sorted(each.id for each in told_of if each.outcome != "repeated") == sorted(set(said))


@quick
@given(histories())
def test_a_batch_sent_twice_opens_nothing_more(history: History) -> None:
    """Each record comes a second time at once: tickets are the same, steps and times too."""
    twice = History(
        history.rules,
        tuple(each for one in history.happenings for each in ((one, one) if one.record else (one,))),
    )
    once, again = played(history).get(TOWN, OneTown()), played(twice).get(TOWN, OneTown())
    assert steps(again.outputs) == steps(once.outputs)
