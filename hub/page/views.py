"""From the read model to what a template shows: pure, in one language at a time. Times are ms UTC until they become text (Beijing)."""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from urllib.parse import urlencode

from hub import classes
from hub.core.events import UNKNOWN_TOWN, Evidence, Outcome, State, Ticket, TicketEvent
from hub.core.registry import CENTRE, Device, Grid, Person, Registry, Role, Site
from hub.explain import ROLES, STEPS
from hub.lang import Text, harmless
from hub.page.drawing import Drawing, Spread
from hub.page.model import Model, Said, Story
from hub.page.words import FEEDS, HEALTH, KINDS, LAMPS, SAID, SORTS, STATES, Health, Lamp
from hub.reasons import BEIJING, MARKS, SIGNALS, reason

PER_PAGE = 50
MOST_PAGES = 1_000_000
MOST_SEARCHED = 100
ALERTS_SHOWN = 10
USED_SHARE = 0.8
MINUTE_MS, HOUR_MS, DAY_MS = 60_000, 3_600_000, 86_400_000
EXPECTED_MS: Mapping[str, int] = {"air": 10 * MINUTE_MS, "camera": 10 * MINUTE_MS}
"""How long a device of a feed may be silent; one that is not here speaks only when there is something."""
LAMP_ORDER = {lamp: place for place, lamp in enumerate(Lamp)}
HEALTH_ORDER = {health: place for place, health in enumerate(Health)}


class Voice:
    """One language, and what is said in it."""

    def __init__(self, lang: str) -> None:
        """`lang`: zh or en."""
        self.lang = lang

    def __call__(self, name: str) -> str:
        """A text of the page by its name."""
        return self.of(SAID[name])

    def of(self, text: Text) -> str:
        """In this language."""
        return text.zh if self.lang == "zh" else text.en

    def named(self, table: Mapping[str, Text], name: str) -> str:
        """A name's text in a table; one that it does not have as it is."""
        found = table.get(name)
        return self.of(found) if found else harmless(name)

    def age(self, lasted_ms: int) -> str:
        """How long something has lasted, in two units at most."""
        minutes = max(0, lasted_ms) // MINUTE_MS
        hours, days = minutes // 60, minutes // 1440
        if days:
            rest = hours % 24
            said = Text(f"{days} d {rest} h" if rest else f"{days} d", f"{days}天{rest}小时" if rest else f"{days}天")
        elif hours:
            rest = minutes % 60
            said = Text(
                f"{hours} h {rest} min" if rest else f"{hours} h", f"{hours}小时{rest}分" if rest else f"{hours}小时"
            )
        else:
            said = Text(f"{minutes} min", f"{minutes}分钟")
        return self.of(said)


def clock(at: int | None) -> str:
    """yyyy-MM-dd HH:mm in Beijing; empty for none."""
    if at is None:
        return ""
    return datetime.fromtimestamp(at / 1000, UTC).astimezone(BEIJING).strftime("%Y-%m-%d %H:%M")


def machine_clock(at: int | None) -> str:
    """The same for machines, ISO 8601."""
    return "" if at is None else datetime.fromtimestamp(at / 1000, UTC).astimezone(BEIJING).isoformat("T", "seconds")


# ---- what is asked


@dataclass(frozen=True, slots=True, kw_only=True)
class Query:
    """What a reader has asked for, as it stands in the address; what does not count there is empty."""

    town: str = ""
    q: str = ""
    lamp: str = ""
    kind: str = ""
    state: str = ""
    owner: str = ""
    village: str = ""
    sort: str = ""
    page: int = 1

    @classmethod
    def parse(cls, given: Mapping[str, str]) -> "Query":
        """From an address; what it cannot be is as if it were not there."""

        def one_of(name: str, allowed: Iterable[str]) -> str:
            said = given.get(name, "")
            return said if said in allowed else ""

        page = given.get("page", "")
        number = int(page) if page.isascii() and page.isdecimal() and len(page) <= len(str(MOST_PAGES)) else 1
        return cls(
            town=given.get("town", "")[:MOST_SEARCHED],
            q=given.get("q", "").strip()[:MOST_SEARCHED],
            lamp=one_of("lamp", LAMPS),
            kind=given.get("kind", "")[:MOST_SEARCHED],
            state=one_of("state", ("cleared", "all")),
            owner=given.get("owner", "")[:MOST_SEARCHED],
            village=given.get("village", "")[:MOST_SEARCHED],
            sort=one_of("sort", SORTS),
            page=max(1, number),
        )

    def text(self, **changes: object) -> str:
        """The same as the query of an address, with changes; a change of anything but the page begins at the first page."""
        changed = replace(self, **({"page": 1} | changes))  # type: ignore[arg-type]
        pairs = [(name, getattr(changed, name)) for name in self.__slots__]
        kept = [(name, value) for name, value in pairs if value and not (name == "page" and value == 1)]
        return urlencode(kept)

    def href(self, **changes: object) -> str:
        """The address of the list."""
        return f"/?{self.text(**changes)}"

    @property
    def filtered(self) -> bool:
        """Whether anything is left out."""
        return bool(self.q or self.lamp or self.kind or self.owner or self.village or self.state)


# ---- names of one registry


class Names:
    """What the things of one version of the registry are called, and where they belong."""

    def __init__(self, registry: Registry) -> None:
        self.registry = registry
        self.towns = {area.id: area.name or area.id for area in registry.towns}
        self.villages = {area.id: area.name or area.id for area in registry.villages}
        self.grids: dict[str, Grid] = {grid.id: grid for grid in registry.grids}
        self.devices: dict[str, Device] = {device.id: device for device in registry.devices}
        self.vendors = {vendor.id: vendor.name or vendor.id for vendor in registry.vendors}
        self.people: dict[str, str] = {}
        self.duties: dict[tuple[Role, str], list[Person]] = {}
        for person in sorted(registry.people, key=lambda one: one.id):
            self.people.setdefault(person.id, person.name or person.id)
            self.duties.setdefault((person.role, person.area), []).append(person)
        self._village_of_cell = {cell.id: cell.parent for cell in registry.cells}

    def village(self, cell: str, grid: str) -> str:
        """The id of the village or community of a cell, else of a duty grid; empty where neither says it."""
        if cell in self._village_of_cell:
            return self._village_of_cell[cell]
        return self.grids[grid].village if grid in self.grids else ""

    def person(self, name: str) -> str:
        """What a person is called."""
        return self.people.get(name, name)

    def device(self, name: str) -> str:
        """What a device is called: its name, else its id."""
        device = self.devices.get(name)
        return (device.name if device else "") or name

    def on_duty(self, role: Role, area: str, now: int) -> list[str]:
        """Names of those who have this duty at `now`."""
        return [
            person.name or person.id
            for person in self.duties.get((role, area), ())
            if (person.begins is None or person.begins <= now) and (person.ends is None or now < person.ends)
        ]


# ---- tickets


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """A ticket in a list."""

    id: str
    lamp: Lamp
    lamp_word: str
    title: str
    class_name: str
    village: str
    place: str
    role: str
    owner: str
    opened: str
    opened_machine: str
    age: str
    alerts: int
    href: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Mark:
    """A ticket on the map: where, how far beside its place (marks of one place stand side by side), and what it is."""

    id: str
    x: float
    y: float
    dx: float
    dy: float
    lamp: Lamp
    title: str
    href: str
    exact: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """A device, with where it stands on the map if it does."""

    id: str
    name: str
    feed: str
    feed_word: str
    vendor: str
    health: Health
    health_word: str
    heard: str
    heard_machine: str
    ago: str
    at: tuple[float, float] | None


@dataclass(frozen=True, slots=True)
class Choice:
    """One value of a filter: how many tickets it would show, and whether it is chosen."""

    value: str
    name: str
    count: int | None
    chosen: bool
    href: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Figures:
    """The numbers of a town."""

    open: int = 0
    urgent: int = 0
    opened_today: int = 0
    cleared: int = 0
    devices: int = 0
    heard: int = 0
    silent: int = 0


def lamp(ticket: Ticket, now: int) -> Lamp:
    """The lamp of a ticket at `now`."""
    if ticket.state != State.OPEN:
        return Lamp.CLEARED
    if ticket.due_at is not None and now >= ticket.due_at:
        return Lamp.OVERDUE
    if ticket.urgency == "urgent":
        return Lamp.URGENT
    if ticket.due_at is not None and now - ticket.opened_at >= USED_SHARE * (ticket.due_at - ticket.opened_at):
        return Lamp.SOON
    return Lamp.NORMAL


def health(device: Device, model: Model, now: int) -> Health:
    """How a device is at `now`."""
    sign = model.signs.get(device.id)
    expected = EXPECTED_MS.get(device.feed)
    if sign is None:
        return Health.NEVER if expected else Health.ON_CALL
    if expected and now - sign.heard_at > expected:
        return Health.SILENT
    if sign.said == "fault":
        return Health.FAULT
    return Health.HEARD if expected else Health.ON_CALL


@dataclass(kw_only=True)
class View:
    """One look at the model in one language. `now`: when; while Kafka is away, when it was last heard, so that nothing seems to age."""

    model: Model
    names: Names
    voice: Voice
    query: Query
    now: int
    _searched: dict[str, str] = field(default_factory=dict)

    # -- the town

    def towns(self) -> list[tuple[str, str, Figures]]:
        """Every town that is known: code, name, figures; the most pressing first."""
        known = {area.id for area in self.names.registry.towns}
        known |= {device.town for device in self.names.registry.devices}
        known |= {ticket.town for ticket in self.model.open()}
        devices: dict[str, list[Device]] = {}
        for device in self.names.registry.devices:
            devices.setdefault(device.town, []).append(device)
        tickets: dict[str, list[Ticket]] = {}
        for ticket in self.model.open():
            tickets.setdefault(ticket.town, []).append(ticket)
        cleared: dict[str, list[Ticket]] = {}
        for ticket in self.model.cleared():
            cleared.setdefault(ticket.town, []).append(ticket)
        found = [
            (
                town,
                self.town_name(town),
                self._figures(tickets.get(town, ()), devices.get(town, ()), cleared.get(town, ())),
            )
            for town in known
        ]
        return sorted(found, key=lambda one: (-one[2].urgent, -one[2].open, one[0]))

    def town_name(self, town: str) -> str:
        """What a town is called; its code where the map does not have it."""
        return self.voice("unknown_town") if town == UNKNOWN_TOWN else self.names.towns.get(town, town)

    def figures(self) -> Figures:
        """Those of the town that was asked for."""
        town = self.query.town
        devices = [device for device in self.names.registry.devices if device.town == town]
        return self._figures(list(self.model.open(town)), devices, list(self.model.cleared(town)))

    def _figures(self, tickets: Sequence[Ticket], devices: Sequence[Device], cleared: Sequence[Ticket]) -> Figures:
        midnight = self.now - (self.now + 8 * HOUR_MS) % DAY_MS
        pressing = (Lamp.OVERDUE, Lamp.URGENT)
        how = Counter(health(device, self.model, self.now) for device in devices)
        return Figures(
            open=len(tickets),
            urgent=sum(lamp(ticket, self.now) in pressing for ticket in tickets),
            opened_today=sum(ticket.opened_at >= midnight for ticket in (*tickets, *cleared)),
            cleared=len(cleared),
            devices=len(devices),
            heard=how[Health.HEARD] + how[Health.ON_CALL],
            silent=how[Health.SILENT],
        )

    # -- the list

    def candidates(self) -> list[Ticket]:
        """The tickets of the town in the state that was asked for."""
        town, state = self.query.town, self.query.state
        found = [] if state == "cleared" else list(self.model.open(town))
        return found + (list(self.model.cleared(town)) if state else [])

    def found(self, but: str = "") -> list[Ticket]:
        """Those that all filters let through, sorted. `but`: a filter that is left out."""
        query = replace(self.query, **{but: ""}) if but else self.query  # type: ignore[arg-type]
        words = query.q.casefold().split()
        found = [
            ticket
            for ticket in self.candidates()
            if (not query.lamp or lamp(ticket, self.now) == query.lamp)
            and (not query.kind or ticket.kind == query.kind)
            and (not query.owner or query.owner == (ticket.owner or ticket.owner_role))
            and (not query.village or self.names.village(ticket.cell, ticket.grid) == query.village)
            and all(word in self._text(ticket) for word in words)
        ]
        return sorted(found, key=self._order())

    def _order(self) -> Callable[[Ticket], tuple[object, ...]]:
        match self.query.sort:
            case "newest":
                return lambda one: (-one.opened_at, one.id)
            case "oldest":
                return lambda one: (one.opened_at, one.id)
            case "updated":
                return lambda one: (-one.updated_at, one.id)
            case "alerts":
                return lambda one: (-one.alerts, -one.opened_at, one.id)
            case _:
                return lambda one: (LAMP_ORDER[lamp(one, self.now)], -one.opened_at, one.id)

    def _text(self, ticket: Ticket) -> str:
        """All that a search finds it by."""
        if ticket.id not in self._searched:
            kind = KINDS.get(ticket.kind, Text(ticket.kind, ticket.kind))
            grid = self.names.grids.get(ticket.grid)
            words = (
                *(ticket.id, ticket.kind, ticket.case_no, ticket.cell, ticket.grid, ticket.device, ticket.class_code),
                *(kind.en, kind.zh, self.class_name(ticket), self.names.device(ticket.device)),
                *(self.village_name(ticket), grid.name if grid else "", self.names.person(ticket.owner)),
            )
            self._searched[ticket.id] = " ".join(words).casefold()
        return self._searched[ticket.id]

    def rows(self, tickets: Sequence[Ticket]) -> list[Row]:
        """Tickets as they stand in the list."""
        return [self.row(ticket) for ticket in tickets]

    def row(self, ticket: Ticket) -> Row:
        """One of them."""
        shown = lamp(ticket, self.now)
        grid = self.names.grids.get(ticket.grid)
        return Row(
            id=ticket.id,
            lamp=shown,
            lamp_word=self.voice.of(LAMPS[shown]),
            title=self.kind_name(ticket.kind),
            class_name=self.class_name(ticket),
            village=self.village_name(ticket),
            place=(grid.name or grid.id) if grid else self.names.device(ticket.device),
            role=self.role_name(ticket.owner_role),
            owner=self.names.person(ticket.owner),
            opened=clock(ticket.opened_at),
            opened_machine=machine_clock(ticket.opened_at),
            age=self.voice.age((ticket.cleared_at or self.now) - ticket.opened_at),
            alerts=ticket.alerts,
            href=self.ticket_href(ticket.id),
        )

    def ticket_href(self, name: str) -> str:
        """The address of a ticket's page, from which there is a way back to the same list."""
        return f"/ticket/{name}?{self.query.text(page=self.query.page)}"

    def kind_name(self, kind: str) -> str:
        """What it is about."""
        return self.voice.named(KINDS, kind)

    def class_name(self, ticket: Ticket) -> str:
        """Its class, by the standard's own name."""
        return classes.title(ticket.class_standard, ticket.class_code)

    def village_name(self, ticket: Ticket) -> str:
        """The village or community it lies in."""
        village = self.names.village(ticket.cell, ticket.grid)
        return self.names.villages.get(village, village)

    def role_name(self, role: str) -> str:
        """A role in words."""
        return self.voice.named(ROLES, role)

    def lamps(self) -> list[Choice]:
        """How many tickets each lamp shows, under the other filters."""
        count = Counter(lamp(ticket, self.now) for ticket in self.found(but="lamp"))
        every = Choice("", self.voice("all"), sum(count.values()), not self.query.lamp, self.query.href(lamp=""))
        return [every] + [
            Choice(one, self.voice.of(LAMPS[one]), count[one], self.query.lamp == one, self.query.href(lamp=one))
            for one in Lamp
            if count[one] or self.query.lamp == one
        ]

    def kinds(self) -> list[Choice]:
        """The kinds that occur."""
        count = Counter(ticket.kind for ticket in self.candidates())
        return self._choices(count, self.query.kind, self.kind_name)

    def villages(self) -> list[Choice]:
        """The villages that occur."""
        count = Counter(self.names.village(ticket.cell, ticket.grid) for ticket in self.candidates())
        count.pop("", None)
        return self._choices(count, self.query.village, lambda name: self.names.villages.get(name, name))

    def owners(self) -> list[Choice]:
        """Whose tickets there are."""
        count = Counter(ticket.owner or ticket.owner_role for ticket in self.candidates())
        return self._choices(
            count, self.query.owner, lambda name: self.names.people.get(name) or self.voice.named(ROLES, name)
        )

    def _choices(self, count: Counter[str], chosen: str, name: Callable[[str], str]) -> list[Choice]:
        if chosen and chosen not in count:
            count[chosen] = 0
        found = [Choice(value, name(value), number, value == chosen) for value, number in count.items()]
        return sorted(found, key=lambda one: (-(one.count or 0), one.name))

    def states(self) -> list[Choice]:
        """Open, cleared, both."""
        town = self.query.town
        count_open, count_cleared = sum(1 for _ in self.model.open(town)), sum(1 for _ in self.model.cleared(town))
        said = (
            ("", self.voice.of(STATES["open"]), count_open),
            ("cleared", self.voice.of(STATES["cleared"]), count_cleared),
        )
        every = ("all", self.voice("all"), count_open + count_cleared)
        return [Choice(value, name, count, self.query.state == value) for value, name, count in (*said, every)]

    # -- the map

    def marks(self, tickets: Sequence[Ticket], drawing: Drawing) -> list[Mark]:
        """Those of the tickets that have a place, the most pressing on top. Their places are given from the oldest on: a new one moves none."""
        spread = Spread()
        marks = [
            self._mark(ticket, *place, spread.beside(place[0]))
            for ticket in sorted(tickets, key=lambda one: (one.opened_at, one.id))
            if (place := drawing.ticket(ticket)) is not None
        ]
        # What is drawn last lies on top.
        return sorted(marks, key=lambda mark: -LAMP_ORDER[mark.lamp])

    def _mark(self, ticket: Ticket, place: tuple[float, float], exact: bool, beside: tuple[float, float]) -> Mark:
        shown = lamp(ticket, self.now)
        words = (self.voice.of(LAMPS[shown]), self.kind_name(ticket.kind), self.village_name(ticket))
        return Mark(
            id=ticket.id,
            x=place[0],
            y=place[1],
            dx=beside[0],
            dy=beside[1],
            lamp=shown,
            title=" · ".join(filter(None, words)),
            href=self.ticket_href(ticket.id),
            exact=exact,
        )

    def seen(self, drawing: Drawing | None) -> list[Seen]:
        """The devices of the town, the ones in trouble first."""
        devices = [device for device in self.names.registry.devices if device.town == self.query.town]
        found = [self._seen(device, drawing) for device in devices]
        return sorted(found, key=lambda one: (HEALTH_ORDER[one.health], one.feed, one.id))

    def _seen(self, device: Device, drawing: Drawing | None) -> Seen:
        how = health(device, self.model, self.now)
        sign = self.model.signs.get(device.id)
        return Seen(
            id=device.id,
            name=device.name or device.id,
            feed=device.feed,
            feed_word=self.voice.named(FEEDS, device.feed),
            vendor=self.names.vendors.get(device.vendor, device.vendor),
            health=how,
            health_word=self.voice.of(HEALTH[how]),
            heard=clock(sign.heard_at if sign else None),
            heard_machine=machine_clock(sign.heard_at if sign else None),
            ago=self.voice.age(self.now - sign.heard_at) if sign else "",
            at=drawing.device(device) if drawing else None,
        )

    def site_kind(self, site: Site) -> str:
        """What a site is."""
        return self.voice("site_unit" if site.kind == "unit" else "site_enterprise")

    # -- one ticket

    def detail(self, ticket: Ticket, drawing: Drawing | None) -> "Detail":
        """All that the page of a ticket shows."""
        story = self.model.story(ticket.id)
        grid = self.names.grids.get(ticket.grid)
        device = self.names.devices.get(ticket.device)
        place = drawing.ticket(ticket) if drawing else None
        return Detail(
            row=self.row(ticket),
            ticket=ticket,
            state=self.voice.named(STATES, ticket.state),
            opened=clock(ticket.opened_at),
            updated=clock(ticket.updated_at),
            cleared=clock(ticket.cleared_at),
            due=clock(ticket.due_at),
            mark=self.voice.named(MARKS, ticket.place_mark),
            place=self._place(ticket),
            exact=place is None or place[1],
            spot=self._mark(ticket, *place, (0.0, 0.0)) if place else None,
            grid_name=(grid.name or grid.id) if grid else ticket.grid,
            grid_special=bool(grid) and grid is not None and grid.kind == "special",
            chain=self._chain(ticket, grid),
            reasons=[self._reason(one, ticket) for one in story.opening.reasons] if story.opening else [],
            why_known=story.opening is not None,
            rule=self._rule(ticket),
            steps=self._steps(story),
            reports=self._reports(story),
            pictures=[one for said in reversed(story.alerts.values()) for one in said.evidence if one.sha256],
            device=self._seen(device, drawing) if device else None,
            vendor=self.names.vendors.get(ticket.vendor, ticket.vendor),
        )

    def _reason(self, text: str, ticket: Ticket) -> str:
        said = self.voice.of(reason(text))
        if not text.startswith("signal "):
            return said
        who, what = self.names.device(ticket.device) or ticket.vendor, self.kind_name(ticket.kind)
        return self.voice.of(Text(f"{who} reports: {what}, {said}", f"{who}上报：{what}，{said}"))

    def _place(self, ticket: Ticket) -> str:
        if ticket.lon is not None and ticket.lat is not None:
            said = self.voice.of(_numbers(ticket.lon, ticket.lat))
            return f"{said} ({self.voice('converted')} {ticket.datum})" if ticket.given_x is not None else said
        if ticket.given_x is not None and ticket.given_y is not None:
            return f"{self.voice.of(_numbers(ticket.given_x, ticket.given_y))} ({ticket.datum})"
        return ""

    def _chain(self, ticket: Ticket, grid: Grid | None) -> list["Link"]:
        """Worker, head, second head, centre: who has each duty, and which of them it is with."""
        village = grid.village if grid else self.names.village(ticket.cell, ticket.grid)
        areas = ((Role.WORKER, ticket.grid), (Role.HEAD, ticket.grid), (Role.SECOND_HEAD, village))
        links = [
            Link(self.role_name(role), self.names.on_duty(role, area, self.now), ticket.owner_role == role)
            for role, area in areas
        ]
        return [*links, Link(self.role_name(CENTRE), [], ticket.owner_role == CENTRE)]

    def _rule(self, ticket: Ticket) -> str:
        rule = self.names.registry.rules.of(ticket.rule)
        if rule is None:
            return ""
        if rule.factor:
            limit = self.names.registry.rules.limit(rule, ticket.device)
            mean = f"{rule.period_s // 60} {self.voice('mean_of')}"
            ends = f"{rule.clear_after} {self.voice('rule_clear')}"
            return f"{self.voice('rule_limit')} {limit:g} μg/m³ ({mean}){self.voice('semicolon')}{ends}"
        ends = f"{self.voice('semicolon')}{rule.quiet_s // 60} {self.voice('rule_quiet')}" if rule.quiet_s >= 60 else ""  # noqa: PLR2004 - seconds of a minute
        return f"{self.voice('rule_alarm')}{ends}"

    def _steps(self, story: Story) -> list["Step"]:
        """The newest first; updates that follow one another are one line."""
        steps: list[Step] = []
        before: TicketEvent | None = None
        for number in sorted(story.steps):
            one = story.steps[number]
            decision = story.decisions.get(one.decision_seq)
            moved = before is None or (before.owner_role, before.owner) != (one.owner_role, one.owner)
            made = Step(
                what=one.step,
                word=self.voice.named(STEPS, one.step),
                at=clock(one.at),
                machine=machine_clock(one.at),
                owner=self._owner(one) if moved and one.owner_role else "",
                why=self._why(one, decision.reasons if decision else ()),
            )
            if steps and one.step == Outcome.UPDATED == steps[-1].what and not moved:
                made = replace(made, count=steps[-1].count + 1, since=steps[-1].since or steps[-1].at)
                steps[-1] = made
            else:
                steps.append(made)
            before = one
        return steps[::-1]

    def _owner(self, step: TicketEvent) -> str:
        return f"{self.role_name(step.owner_role)} {self.names.person(step.owner)}".strip()

    def _why(self, step: TicketEvent, reasons: Sequence[str]) -> str:
        said = [step.reason] if step.reason else list(reasons[:1])
        return self.voice("semicolon").join(self.voice.of(reason(one)) for one in said)

    def _reports(self, story: Story) -> list["Report"]:
        last = sorted(story.alerts.values(), key=lambda one: one.accepted_at, reverse=True)[:ALERTS_SHOWN]
        return [self._report(said) for said in last]

    def _report(self, said: Said) -> "Report":
        return Report(
            at=clock(said.occurred_at if said.occurred_at is not None else said.accepted_at),
            device=self.names.device(said.device),
            kind=self.kind_name(said.kind),
            signal=self.voice.named(SIGNALS, said.signal),
            text=said.text,
        )


def _numbers(x: float, y: float) -> Text:
    """A place in numbers, each with its name: people write them in either order."""
    if abs(x) <= 180 and abs(y) <= 90:  # noqa: PLR2004 - degrees
        return Text(f"longitude {x:.5f}, latitude {y:.5f}", f"经度 {x:.5f}，纬度 {y:.5f}")
    return Text(f"x {x:.1f}, y {y:.1f}", f"x {x:.1f}，y {y:.1f}")


@dataclass(frozen=True, slots=True)
class Link:
    """A duty in the chain: who has it now, and whether the ticket is with it."""

    role: str
    people: list[str]
    owns: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Step:
    """A step of a ticket, or so many updates, the first of them `since`."""

    what: str
    word: str
    at: str
    machine: str
    owner: str
    why: str
    count: int = 1
    since: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    """What a device or a patrol reported."""

    at: str
    device: str
    kind: str
    signal: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Detail:
    """A ticket's page."""

    row: Row
    ticket: Ticket
    state: str
    opened: str
    updated: str
    cleared: str
    due: str
    mark: str
    place: str
    exact: bool
    spot: Mark | None
    grid_name: str
    grid_special: bool
    chain: list[Link]
    reasons: list[str]
    why_known: bool
    rule: str
    steps: list[Step]
    reports: list[Report]
    pictures: list[Evidence]
    device: Seen | None
    vendor: str


def home(view: View) -> str:
    """The town that the first page shows: the only one whose villages are on the map, else the only one; empty: a reader must choose."""
    mapped = {area.parent for area in view.names.registry.villages}
    known = list(mapped) if len(mapped) == 1 else [town for town, _, _ in view.towns()]
    return known[0] if len(known) == 1 else ""


def tiles_world(drawing: Drawing) -> str:
    """What the script needs to ask for finer tiles, as JSON; empty without tiles."""
    return json.dumps(drawing.world) if drawing.world else ""
