"""A town as its tests speak of it: stations report, devices alarm, time passes, tickets open and clear.

Whatever is said to it is also checked against what holds always: numbers without gaps, steps that fit their tickets, the old town as it was.
"""

from collections import Counter
from copy import deepcopy
from dataclasses import replace
from datetime import UTC, datetime, timedelta

from hub.core import tickets
from hub.core.events import (
    AirAlert,
    AlarmValue,
    Alert,
    CameraAlert,
    Decision,
    PatrolAlert,
    Reading,
    Ticket,
    TicketEvent,
    TimeMark,
    Value,
)
from hub.core.grid import Place
from hub.core.in_force import Assigned, InForce
from hub.core.registry import Registry
from hub.core.rules import Rule, Rules
from hub.core.tickets import Subject
from hub.core.times import place_in_time
from hub.core.town import KINDS, Clock, Counted, Entry, Input, Output, Town, adopt, decide, tick
from hub.core.watch import Applied
from hub.partition import CARRIES

TOWN = "330100001"
STATION = "ZA-01"
PM10, PM25 = "a34002", "a34004"
UNIT = "ug/m3"
SECOND, MINUTE, HOUR = 1000, 60_000, 3_600_000
PARTITION = 3

MIDNIGHT = datetime(2026, 6, 1, tzinfo=UTC)


def at(text: str, days: int = 0) -> int:
    """A time of the first day, `10:05` or `10:05:30`, or of one `days` later, in ms UTC."""
    hours, minutes, *seconds = map(int, text.split(":"))
    moment = MIDNIGHT + timedelta(days=days, hours=hours, minutes=minutes, seconds=sum(seconds))
    return round(moment.timestamp()) * 1000


PM10_OVER = Rule(
    kind="air.pm10.over_limit",
    class_code="08004",
    class_standard="GB/T 47678.5-2026",
    factor=PM10,
    limit=150,
    period_s=3600,
    wait_s=600,
    covered=0.75,
    realtime_s=60,
    clear_after=2,
)
PM25_OVER = replace(PM10_OVER, kind="air.pm25.over_limit", factor=PM25, limit=75)
DEVICE_ALARM = replace(PM10_OVER, kind="air.device_alarm", class_code="06020", factor="", limit=0)
RULES = Rules((PM10_OVER, PM25_OVER, DEVICE_ALARM), {})
FORCE = InForce(Registry(rules=RULES))
# The same at ten seconds: what is an hour there takes ten seconds here.
PM10_IN_10_S = replace(PM10_OVER, period_s=10, wait_s=1.5, realtime_s=2.5)
RULES_IN_10_S = Rules((PM10_IN_10_S, replace(PM10_IN_10_S, kind="air.pm25.over_limit", factor=PM25, limit=75)), {})


NOBODY = Assigned(cell="", grid="", mark="unknown", also=(), role="centre", person="")


def opens(rule: Rule, town: str, device: str, part: str, alert: str, now: int, seq: int) -> Ticket:
    """A ticket of a device that nobody has registered."""
    subject = Subject(device=device, vendor="", part=part, place=Place())
    return tickets.opened(rule, town, subject, NOBODY, alert, now, seq)


def value(
    number: float | None, *, factor: str = PM10, statistic: str = "Avg", unit: str = UNIT, mark: str = "N"
) -> Value:
    return Value(factor=factor, statistic=statistic, value=number, unit=unit, mark=mark)


def reading(
    *values: Value,
    code: str,
    occurred_at: int | None,
    period_s: int,
    accepted_at: int,
    device: str = STATION,
    backfilled: bool = False,
    town: str = TOWN,
) -> Reading:
    """As a connector makes it of a station's message."""
    event_at, time_mark = place_in_time(occurred_at, accepted_at, period_s)
    return Reading(
        # As connectors name it: in the place of a time that cannot be believed stands the minute of acceptance.
        id=f"{device}/{code}/{occurred_at if time_mark == TimeMark.DEVICE else accepted_at // MINUTE}/{values!r}",
        town=town,
        device=device,
        vendor="maker",
        kind="air.reading",
        occurred_at=occurred_at,
        accepted_at=accepted_at,
        event_at=event_at,
        time_mark=time_mark,
        lon=None,
        lat=None,
        datum="",
        message_code=code,
        period_s=period_s,
        backfilled=backfilled,
        incomplete=False,
        values=values,
    )


def alarm(
    name: str,
    signal: str,
    *,
    occurred_at: int | None,
    accepted_at: int,
    device: str = STATION,
    factors: tuple[str, ...] = (PM10,),
    kind: str = "air.device_alarm",
    town: str = TOWN,
) -> AirAlert:
    """As a connector makes it of a device's own alarm."""
    event_at, time_mark = place_in_time(occurred_at, accepted_at)
    return AirAlert(
        id=name,
        town=town,
        device=device,
        vendor="maker",
        kind=kind,
        occurred_at=occurred_at,
        accepted_at=accepted_at,
        event_at=event_at,
        time_mark=time_mark,
        lon=None,
        lat=None,
        datum="",
        message_code="2072",
        signal=signal,
        values=tuple(AlarmValue(factor=factor, value=1.0, unit="", alarm_type="") for factor in factors),
    )


def camera(
    name: str,
    signal: str,
    when: int,
    *,
    device: str = "ZA-CAM-1",
    kind: str = "camera.smoke",
    lon: float | None = None,
    lat: float | None = None,
    channel: str = "1",
    region: str = "1",
    occurred_at: int | None = None,
    retransmitted: bool = False,
    accuracy_m: float | None = None,
    vendor: str = "maker",
    town: str = TOWN,
) -> CameraAlert:
    """As a connector makes it of a camera's message, accepted at `when`; it happened then, unless `occurred_at` says otherwise."""
    happened = when if occurred_at is None else occurred_at
    event_at, time_mark = place_in_time(happened, when)
    return CameraAlert(
        id=name,
        town=town,
        device=device,
        vendor=vendor,
        kind=kind,
        occurred_at=happened,
        accepted_at=when,
        event_at=event_at,
        time_mark=time_mark,
        lon=lon,
        lat=lat,
        datum="" if lon is None else "WGS84",
        given_x=None,
        given_y=None,
        accuracy_m=accuracy_m,
        signal=signal,
        message_type="smokeDetection",
        channel=channel,
        channel_name="",
        region=region,
        target="",
        description="",
        temperature_c=None,
        retransmitted=retransmitted,
        raw_time="",
        evidence=(),
    )


def patrol(
    name: str,
    when: int,
    *,
    signal: str = "begins",
    spot_no: str = "",
    lon: float | None = None,
    lat: float | None = None,
    given: tuple[float, float] | None = None,
    datum: str = "WGS84",
    geometry: str = "",
    vendor: str = "surveyor",
    image_after: str = "",
    town: str = TOWN,
) -> PatrolAlert:
    """As a connector makes it of a patrol's message, accepted at `when`."""
    return PatrolAlert(
        id=name,
        town=town,
        device="",
        vendor=vendor,
        kind="patrol.illegal_building",
        occurred_at=when - 30 * 24 * HOUR,
        accepted_at=when,
        event_at=when,
        time_mark="too_old",
        lon=lon,
        lat=lat,
        datum=datum,
        given_x=given[0] if given else None,
        given_y=given[1] if given else None,
        accuracy_m=None,
        signal=signal,
        spot_no=spot_no,
        event_no="",
        origin="satellite",
        building_type="",
        building_class="other",
        stage="",
        area_m2=None,
        stated_area_m2=None,
        floors=None,
        structure="",
        address="",
        description="",
        image_before="",
        image_after=image_after,
        confidence=None,
        farmland=None,
        redline=None,
        vendor_status="",
        geometry=geometry,
        given_geometry="",
        photos=(),
        evidence=(),
    )


def entries(town: Town) -> dict[str, dict[str, Entry]]:
    """All the town remembers, by kind and id."""
    return {kind: dict(town.all(kind)) for kind in KINDS}


class OneTown:
    """A town and all that came out of it so far."""

    def __init__(
        self, rules: Rules = RULES, code: str = TOWN, town: Town | None = None, *, registry: Registry | None = None
    ) -> None:
        """`registry`: what is in force, with its rules, instead of `rules` alone."""
        self.force = InForce(registry or Registry(rules=rules))
        self.town = town or Town(code, {})
        self.outputs: list[Output] = []
        self._offset = 0
        self._seq = self.town.clock.seq
        self._versions: Counter[str] = Counter()

    # ---- what is said to it

    def hears(self, record: Reading | Alert, now: int | None = None, *, handed: bool = False) -> tuple[Output, ...]:
        """A record; the broker has it at once when it was accepted, unless `now` says otherwise. `handed`: by another town."""
        [topic] = [name for name, carried in CARRIES.items() if isinstance(record, carried)]
        self._offset += 1
        event = Input(record=record, topic=topic, partition=PARTITION, offset=self._offset, handed=handed)
        return self.takes(event, now=now)

    def waits(self, until: str | int, days: int = 0) -> tuple[Output, ...]:
        """Time passes."""
        return self.takes(tick(PARTITION), now=at(until, days) if isinstance(until, str) else until)

    def takes(self, event: Input, now: int | None = None) -> tuple[Output, ...]:
        """Decides, and checks what must hold whatever was decided."""
        if now is None:
            assert event.record is not None
            now = event.record.accepted_at
        old, before, asked = self.town, deepcopy(entries(self.town)), deepcopy(event)
        new, outputs = decide(old, event, now, self.force)
        assert (entries(old), event) == (before, asked), "the old town and the arguments are as they were"
        self._check(old, new, event, now, outputs)
        self.town = new
        self.outputs += outputs
        return outputs

    def reports(
        self,
        *values: Value,
        code: str,
        since: str | int | None,
        period_s: int,
        now: int | None = None,
        accepted_at: int | None = None,
        device: str = STATION,
        backfilled: bool = False,
    ) -> Applied:
        """A reading of any kind. It is accepted 20 s after what it tells has ended, and on the broker at once."""
        occurred_at = at(since) if isinstance(since, str) else since
        if accepted_at is None:
            accepted_at = now if now is not None else (occurred_at or 0) + period_s * SECOND + 20 * SECOND
        record = reading(
            *values,
            code=code,
            occurred_at=occurred_at,
            period_s=period_s,
            accepted_at=accepted_at,
            device=device,
            backfilled=backfilled,
        )
        (counted,) = (each for each in self.hears(record, now) if isinstance(each, Counted))
        return counted.result

    def hour(
        self,
        since: str | int,
        number: float | None,
        *,
        factor: str = PM10,
        mark: str = "N",
        unit: str = UNIT,
        statistic: str = "Avg",
        period_s: int = 3600,
        now: int | None = None,
        accepted_at: int | None = None,
        device: str = STATION,
        backfilled: bool = False,
    ) -> Applied:
        """The station's own mean."""
        return self.reports(
            value(number, factor=factor, mark=mark, unit=unit, statistic=statistic),
            code="2061",
            since=since,
            period_s=period_s,
            now=now,
            accepted_at=accepted_at,
            device=device,
            backfilled=backfilled,
        )

    def minute(
        self, since: str | int, number: float, *, lasts_s: int = 60, mark: str = "N", now: int | None = None
    ) -> Applied:
        """The mean of a minute, or of several."""
        return self.reports(value(number, mark=mark), code="2051", since=since, period_s=lasts_s, now=now)

    def minutes(self, since: str, count: int, number: float, **odd: str) -> None:
        """That many minute means, one after the other."""
        for index in range(count):
            self.minute(at(since) + index * MINUTE, number, **odd)  # type: ignore[arg-type]

    def realtime(self, when: str | int, number: float, *, now: int | None = None) -> Applied:
        """A value of this moment."""
        return self.reports(value(number, statistic="Rtd"), code="2011", since=when, period_s=0, now=now)

    def alarms(
        self,
        name: str,
        signal: str,
        when: str | int,
        *,
        now: int | None = None,
        device: str = STATION,
        factors: tuple[str, ...] = (PM10,),
        kind: str = "air.device_alarm",
    ) -> Decision:
        """A device's own alarm, of `when`, accepted at once unless `now` says otherwise; and the one decision of it."""
        moment = at(when) if isinstance(when, str) else when
        record = alarm(
            name,
            signal,
            occurred_at=moment,
            accepted_at=moment if now is None else now,
            device=device,
            factors=factors,
            kind=kind,
        )
        (decision,) = (each for each in self.hears(record) if isinstance(each, Decision) and each.origin == "record")
        return decision

    def decides(self, record: Alert, now: int | None = None, *, handed: bool = False) -> Decision:
        """An alert, and the one decision of it."""
        outputs = self.hears(record, now, handed=handed)
        (decision,) = (each for each in outputs if isinstance(each, Decision) and each.origin == "record")
        return decision

    def adopts(self, registry: Registry, now: int) -> tuple[Output, ...]:
        """A new version of the registry."""
        self.force = InForce(registry)
        old, before = self.town, deepcopy(entries(self.town))
        new, outputs = adopt(old, PARTITION, now, self.force)
        assert entries(old) == before, "the old town is as it was"
        assert not [each for each in outputs if isinstance(each, Decision)], "no alert led to it"
        for ticket, step in zip(outputs[::2], outputs[1::2], strict=True):
            assert isinstance(ticket, Ticket)
            assert isinstance(step, TicketEvent)
            self._versions[ticket.id] += 1
            assert ticket.version == step.version == self._versions[ticket.id], "versions have no gaps"
            assert (step.owner_role, step.owner, step.cell) == (ticket.owner_role, ticket.owner, ticket.cell)
        self.town = new
        self.outputs += outputs
        return outputs

    # ---- what came of it

    @property
    def decisions(self) -> list[Decision]:
        return [each for each in self.outputs if isinstance(each, Decision)]

    @property
    def tickets(self) -> list[Ticket]:
        """Each version of each ticket."""
        return [each for each in self.outputs if isinstance(each, Ticket)]

    @property
    def steps(self) -> list[str]:
        """What was done to tickets, in order."""
        return [each.step for each in self.outputs if isinstance(each, TicketEvent)]

    @property
    def opened(self) -> list[Ticket]:
        return [each for each in self.tickets if each.version == 1]

    # ---- what holds always

    def _check(self, old: Town, new: Town, event: Input, now: int, outputs: tuple[Output, ...]) -> None:
        assert new.code == old.code
        if event.record is None and new is old:
            assert outputs == ()
            return
        clock = max(now, old.clock.now)
        assert new.clock.now == clock, "the town's clock is the later of its last now and this one"
        decisions = [each for each in outputs if isinstance(each, Decision)]
        for decision in decisions:
            self._seq += 1
            assert decision.seq == self._seq, "seq has no gaps"
            assert (decision.town, decision.now, decision.versions) == (new.code, clock, self.force.versions)
            place = decision.topic, decision.partition, decision.offset
            of_time = ("", event.partition, -1)
            assert place == (event.topic, event.partition, event.offset) or (
                decision.origin == "watch" and place == of_time
            )
            assert decision.origin in ("record", "watch")
        assert new.clock.seq == self._seq
        told = [each for each in decisions if each.origin == "record"]
        assert [each.id for each in told] == ([event.record.id] if isinstance(event.record, Alert) else [])
        assert sum(isinstance(each, Counted) for each in outputs) == isinstance(event.record, Reading)
        self._check_steps(new, clock, outputs)

    def _check_steps(self, new: Town, clock: int, outputs: tuple[Output, ...]) -> None:
        tickets = [each for each in outputs if isinstance(each, Ticket)]
        steps = [each for each in outputs if isinstance(each, TicketEvent)]
        by_seq = {each.seq: each for each in outputs if isinstance(each, Decision)}
        for ticket, step in zip(tickets, steps, strict=True):
            self._versions[ticket.id] += 1
            assert ticket.version == self._versions[ticket.id], "versions have no gaps"
            assert ticket.id.startswith(f"{new.code}-")
            assert (ticket.town, ticket.updated_at) == (new.code, clock)
            assert ticket.owner_role, "a ticket never belongs to nobody"
            decision = by_seq[ticket.decision_seq]
            assert (decision.ticket_id, decision.outcome, decision.rule) == (ticket.id, step.step, ticket.rule)
            assert step == TicketEvent(
                id=f"{ticket.id}/{ticket.version}",
                ticket_id=ticket.id,
                town=new.code,
                version=ticket.version,
                step=decision.outcome,
                state=ticket.state,
                at=clock,
                alert=decision.id,
                decision_seq=decision.seq,
                owner_role=ticket.owner_role,
                owner=ticket.owner,
                cell=ticket.cell,
            )
        remembered = {each.id for _, each in new.all("ticket") if isinstance(each, Ticket)}
        for ticket in {each.id: each for each in tickets}.values():
            assert (ticket.id in remembered) == (ticket.state == "open")

    @property
    def clock(self) -> Clock:
        return self.town.clock
