"""A busy day in the shipped town, made up: 60 devices of three kinds and 300 open tickets."""

from dataclasses import replace
from functools import cache
from random import Random

import shapely
from shapely.geometry import Point

from hub.core.events import CameraAlert, Decision, Evidence, LifeSign, Outcome, State, Ticket, TicketEvent
from hub.core.registry import CENTRE, Device, Registry
from hub.core.roster import Chain
from hub.registry_check import load
from hub.shipped import shipped
from hub.wire import Record

TOWN = "410122106"
NOW = 1_772_424_000_000  # 2026-03-02 12:00 in Beijing
KINDS = (
    ("air.pm10.over_limit", "08004", "normal", "air"),
    ("air.pm25.over_limit", "08004", "normal", "air"),
    ("camera.smoke", "06020", "urgent", "camera"),
    ("patrol.illegal_building", "06001", "normal", "patrol"),
)
MORE = {"air": 16, "camera": 15, "patrol": 2}
PICTURE = "ab" * 32


@cache
def registry() -> Registry:
    """The shipped one, version 1, with as many devices more in its town as make 60."""
    shipped_one = load(shipped("deploy/town"))
    own = [device for device in shipped_one.devices if device.town == TOWN]
    area = shapely.from_geojson(next(town.geometry for town in shipped_one.towns if town.id == TOWN))
    west, south, east, north = area.bounds
    chance = Random(7)
    more: list[Device] = []
    for feed, count in MORE.items():
        pattern = next(device for device in own if device.feed == feed)
        while sum(device.feed == feed for device in more) < count:
            number = 100 + len(more)
            lon, lat = round(chance.uniform(west, east), 5), round(chance.uniform(south, north), 5)
            if area.contains(Point(lon, lat)):
                name, mn = f"{pattern.name} {number}", f"{pattern.mn}{number}"
                more.append(replace(pattern, id=f"{TOWN}-{feed}-{number}", mn=mn, name=name, lon=lon, lat=lat))
    return replace(shipped_one, version=1, sha256="busy", devices=(*shipped_one.devices, *more))


@cache
def chain() -> Chain:
    """Whose each grid is."""
    return Chain(registry())


def own_devices(known: Registry) -> list[Device]:
    """Those of the town."""
    return [device for device in known.devices if device.town == TOWN]


def opening(known: Registry, number: int, now: int = NOW) -> list[Record]:
    """The records of the number-th ticket: itself, its steps, the decision that opened it, and a camera's alert."""
    chance = Random(number)
    kind, code, urgency, feed = chance.choices(KINDS, (3, 2, 4, 11))[0]
    device = chance.choice([one for one in own_devices(known) if one.feed == feed])
    cell = chance.choice(known.cells)
    inside = shapely.from_geojson(cell.geometry).representative_point()
    lon, lat = inside.x, inside.y
    if feed == "air" and device.lon and device.lat:
        lon, lat = device.lon, device.lat
        cell = next((one for one in known.cells if shapely.from_geojson(one.geometry).contains(Point(lon, lat))), cell)
    owner = chain().owner(cell.grid, now)
    opened_at = now - int(chance.expovariate(1 / 14_400_000)) - 30_000
    nowhere = number % 97 == 5
    ticket = Ticket(
        id=f"{TOWN}-{number:016x}",
        version=1,
        town=TOWN,
        state=State.OPEN,
        class_code=code,
        class_standard="GB/T 47678.5-2026",
        kind=kind,
        device=device.id,
        cell="" if nowhere else cell.id,
        grid="" if nowhere else cell.grid,
        lon=None if nowhere else round(lon, 5),
        lat=None if nowhere else round(lat, 5),
        datum="" if nowhere else "WGS84",
        place_mark="unknown" if nowhere else chance.choice(("inside",) * 8 + ("border", "nearest", "uncertain")),
        urgency=urgency,
        vendor=device.vendor,
        case_no=f"WJ2026{number:05}" if feed == "patrol" else "",
        owner_role=CENTRE if nowhere else owner.role,
        owner="" if nowhere else owner.person,
        opened_at=opened_at,
        updated_at=opened_at,
        cleared_at=None,
        due_at=None,
        alerts=1,
        rule=kind,
        decision_seq=number * 10,
    )
    why = {
        "air.pm10.over_limit": (
            "mean 182.4, limit 150 ug/m3",
            "the station's own mean",
            "period 20260302T020000Z/PT3600S",
        ),
        "air.pm25.over_limit": (
            "mean 96.31, limit 75 ug/m3",
            "mean of 52 minute values that cover 52 min",
            "period 20260302T020000Z/PT3600S",
        ),
        "camera.smoke": ("signal begins",),
        "patrol.illegal_building": ("signal moment",),
    }[kind]
    if ticket.place_mark not in ("inside", "unknown"):
        why = (*why, f"place {ticket.place_mark}")
    alert = f"{device.id}/{number}"
    records: list[Record] = [
        ticket,
        step(ticket, Outcome.OPENED, alert),
        Decision(
            id=alert,
            town=TOWN,
            seq=ticket.decision_seq,
            origin="record",
            topic="alerts.camera",
            partition=0,
            offset=number,
            now=opened_at,
            outcome=Outcome.OPENED,
            reasons=why,
            ticket_id=ticket.id,
            rule=kind,
            versions=(),
        ),
    ]
    if feed == "camera":
        records.append(camera_alert(alert, device, opened_at))
    for again in range(chance.choice((0, 0, 1, 2, 5))):
        ticket = replace(
            ticket,
            version=again + 2,
            alerts=again + 2,
            updated_at=min(now, opened_at + (again + 1) * 600_000),
            decision_seq=number * 10 + again + 1,
        )
        records += [ticket, step(ticket, Outcome.UPDATED, f"{alert}/{again}")]
    return records


def step(ticket: Ticket, outcome: Outcome, alert: str = "") -> TicketEvent:
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


def camera_alert(name: str, device: Device, at: int, sha256: str = PICTURE) -> CameraAlert:
    """What the camera sent, with a picture."""
    return CameraAlert(
        id=name,
        town=TOWN,
        device=device.id,
        vendor=device.vendor,
        kind="camera.smoke",
        occurred_at=at - 2000,
        accepted_at=at - 500,
        event_at=at - 2000,
        time_mark="device",
        lon=device.lon,
        lat=device.lat,
        datum="WGS84",
        given_x=None,
        given_y=None,
        accuracy_m=None,
        signal="begins",
        message_type="fireEscapeDetection",
        channel="1",
        channel_name="东南方向",
        region="",
        target="smoke",
        description="",
        temperature_c=None,
        retransmitted=False,
        raw_time="",
        evidence=(Evidence(sha256=sha256, media_type="image/png", bytes=70, name="scene.png"),),
    )


def signs(known: Registry, now: int = NOW) -> list[Record]:
    """Every device was heard a moment ago, but for three that are silent, one that nobody understands, and one never heard."""
    found: list[Record] = []
    for number, device in enumerate(own_devices(known)):
        if device.feed == "patrol" or number == 30:
            continue
        heard_at = now - (7_200_000 if number in (3, 17, 40) else 20_000 + number * 500)
        said = "fault" if number == 45 else "heartbeat"
        found.append(
            LifeSign(device=device.id, town=TOWN, vendor=device.vendor, feed=device.feed, heard_at=heard_at, said=said)
        )
    return found


def everything(known: Registry, tickets: int = 300, now: int = NOW) -> list[Record]:
    """All of it, in the order of nothing in particular."""
    records = [record for number in range(1, tickets + 1) for record in opening(known, number, now)]
    return [*signs(known, now), *records]
