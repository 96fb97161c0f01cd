"""From a camera's events to alerts. Pure: registry, vendor and the moment of acceptance are arguments. No message makes it raise but Rejected."""

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo

from connectors.camera import kinds
from connectors.camera.isapi import Event, time_of
from hub.core.datum import WGS84, target
from hub.core.errors import Reason, Rejected
from hub.core.events import CameraAlert, Evidence, Signal, TimeMark
from hub.core.registry import Device, Registry, Vendor
from hub.core.times import place_in_time

FEED = "camera"
# A device's time beyond these is none: its clock was never set, or has run away.
EARLIEST = datetime(2010, 1, 1, tzinfo=UTC)
AHEAD_AT_MOST = timedelta(hours=24)
DIGITS = 16


@dataclass(frozen=True, slots=True)
class Alive:
    """A message that says nothing but that its device lives; `device` None: of one that is in no register."""

    device: Device | None


class Cameras:
    """The cameras of one registry, by what they call themselves."""

    def __init__(self, registry: Registry) -> None:
        self._by_name = {_name(mn): device for mn, device in registry.by_mn(FEED).items()}
        self._by_id = {device.id: device for device in self._by_name.values()}

    def of(self, name: str) -> Device | None:
        """The camera of this id."""
        return self._by_id.get(name)

    def find(self, event: Event, vendor: Vendor) -> Device:
        """The camera of the event: that of its channel before the recorder. Raises Rejected: unknown_device; not_yours, when another vendor has it."""
        foreign = None
        for name in event.devices:
            for one in (f"{_name(name)}/{event.channel}", _name(name)):
                device = self._by_name.get(one)
                if device is None:
                    continue
                if device.vendor == vendor.id:
                    return device
                foreign = device
        if foreign:
            raise Rejected(Reason.NOT_YOURS, f"{foreign.id} belongs to another vendor")
        raise Rejected(Reason.UNKNOWN_DEVICE, f"channel {event.channel[:16]} of a device that is not registered")


def translate(
    event: Event,
    vendor: Vendor,
    cameras: Cameras,
    accepted_at: int,
    evidence: tuple[Evidence, ...] = (),
    texts: tuple[tuple[str, str], ...] = (),
) -> CameraAlert | Alive:
    """The alert of an event, or that its device lives: a heartbeat (videoloss, inactive), what is about persons. Raises Rejected."""
    kind = kinds.kind_of(event.type, event.description, texts)
    heartbeat = event.type.lower() == kinds.VIDEO_LOSS and not event.active
    if heartbeat or kinds.is_ignored(event.type):
        try:
            return Alive(cameras.find(event, vendor))
        except Rejected:
            return Alive(None)  # a life sign of nobody is nothing to keep
    device = cameras.find(event, vendor)
    occurred_at = _occurred_at(event, _zone(vendor), accepted_at)
    event_at, mark = place_in_time(occurred_at, accepted_at)
    lon, lat = _where(device)
    return CameraAlert(
        id=_id(event, device, occurred_at, accepted_at, mark),
        town=device.town,
        device=device.id,
        vendor=vendor.id,
        kind=kind.kind,
        occurred_at=occurred_at,
        accepted_at=accepted_at,
        event_at=event_at,
        time_mark=mark,
        lon=lon,
        lat=lat,
        datum=WGS84 if lon is not None else "",
        given_x=None,
        given_y=None,
        accuracy_m=device.accuracy_m,
        signal=_signal(event, kind),
        message_type=event.type,
        channel=event.channel[:32],
        channel_name=event.channel_name,
        region=event.region,
        target=event.target,
        description=event.description,
        temperature_c=event.temperature_c,
        retransmitted=event.retransmitted,
        raw_time=event.raw_time,
        evidence=evidence,
    )


def _signal(event: Event, kind: kinds.Kind) -> Signal:
    if kind.over or not event.active:
        return Signal.ENDS
    return Signal.GOES_ON if event.goes_on else Signal.BEGINS


def _name(name: str) -> str:
    """As names are compared: no case, no blanks; a MAC address as it is registered, with colons."""
    return name.strip().lower()


def _zone(vendor: Vendor) -> tzinfo:
    return ZoneInfo(vendor.zone)


def _occurred_at(event: Event, zone: tzinfo, accepted_at: int) -> int | None:
    moment = time_of(event.raw_time, zone)
    if moment is None:
        return None
    at = int(moment.timestamp() * 1000)
    latest = accepted_at + int(AHEAD_AT_MOST.total_seconds() * 1000)
    return at if int(EARLIEST.timestamp() * 1000) <= at <= latest else None


def _where(device: Device) -> tuple[float | None, float | None]:
    """Where it looks, which for a far-looking camera is not where it stands."""
    if device.lon is None or device.lat is None:
        return None, None
    if device.bearing_deg is None or device.distance_m is None:
        return device.lon, device.lat
    return target(device.lon, device.lat, device.bearing_deg, device.distance_m)


def _id(event: Event, device: Device, occurred_at: int | None, accepted_at: int, mark: TimeMark) -> str:
    """The message's own identity; where its time is not one, the minute of acceptance takes its place."""
    state = "active" if event.active else "inactive"
    if event.uuid:
        return f"{device.id}/{event.uuid}/{state}"
    believable = occurred_at is not None and mark in (TimeMark.DEVICE, TimeMark.TOO_OLD)
    what = (event.channel[:32], event.type.lower(), event.region, state)
    if believable:
        return "/".join((device.id, *what[:3], event.raw_time.replace("/", "-"), state))
    digest = hashlib.sha256("\n".join((*what, event.description, event.target)).encode()).hexdigest()[:DIGITS]
    return f"{device.id}/{accepted_at // 60_000}/{digest}"
