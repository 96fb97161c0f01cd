"""From a camera's events to alerts. Pure: registry, vendor and the moment of acceptance are arguments. No message makes it raise but Rejected."""

import hashlib
import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from zoneinfo import ZoneInfo

from connectors.camera import kinds
from connectors.camera.isapi import Event, time_of
from hub.core.datum import WGS84, target
from hub.core.errors import Reason, Rejected
from hub.core.events import CameraAlert, Signal, TimeMark
from hub.core.registry import Device, Registry, Vendor
from hub.core.times import place_in_time

FEED = "camera"
# A device's time beyond these is none: its clock was never set, or has run away.
EARLIEST = datetime(2010, 1, 1, tzinfo=UTC)
AHEAD_AT_MOST = timedelta(hours=24)
# So long routers know an id: what is older and no retransmission comes from a clock that was never set, and shows the same times again.
REMEMBERED = timedelta(hours=72)
DIGITS = 16
LONGEST_NAME = 64


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
        channel = f"channel {event.channel} of " if event.channel.isdecimal() and len(event.channel) < DIGITS else ""
        names = ", ".join(name[:LONGEST_NAME] for name in event.devices) or "none"
        raise Rejected(Reason.UNKNOWN_DEVICE, f"{channel}a device that calls itself {names}")


def translate(
    event: Event,
    vendor: Vendor,
    cameras: Cameras,
    accepted_at: int,
    words: tuple[tuple[str, str], ...] = (),
) -> CameraAlert | Alive:
    """The alert of an event, still without its pictures, or that its device lives: a heartbeat (videoloss, inactive), what is about persons.
    Raises Rejected. `words`: further ones for `kinds.kind_of`.
    """
    kind = kinds.kind_of(event.type, event.texts, words)
    heartbeat = event.type.lower() == kinds.VIDEO_LOSS and not event.active
    if heartbeat or kinds.is_ignored(event.type):
        try:
            return Alive(cameras.find(event, vendor))
        except Rejected:
            return Alive(None)  # a life sign of nobody is nothing to keep
    device = cameras.find(event, vendor)
    occurred_at = _occurred_at(event, _zone(vendor), accepted_at)
    event_at, mark = place_in_time(occurred_at, accepted_at)
    lon, lat = _where(device, event)
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
        message_type=kind.ends or event.type,
        channel=event.channel[:32],
        channel_name=event.channel_name,
        region=event.region,
        target=event.target,
        description="" if kinds.shows_plates(kind.kind) else next(iter(event.texts), ""),
        temperature_c=event.temperature_c,
        retransmitted=event.retransmitted,
        raw_time=event.raw_time,
        evidence=(),
    )


def _signal(event: Event, kind: kinds.Kind) -> Signal:
    if kind.ends or not event.active:
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


def _where(device: Device, event: Event) -> tuple[float | None, float | None]:
    """Where it looks, which for a far-looking camera is not where it stands. What it says itself counts where the register does not know."""
    if device.lon is None or device.lat is None:
        return event.place or (None, None)
    if device.bearing_deg is None or device.distance_m is None:
        return device.lon, device.lat
    return target(device.lon, device.lat, device.bearing_deg, device.distance_m)


def _id(event: Event, device: Device, occurred_at: int | None, accepted_at: int, mark: TimeMark) -> str:
    """The message's own identity; where its time is not to be believed, the minute of acceptance stands with it."""
    state = "active" if event.active else "inactive"
    if event.uuid:
        return f"{device.id}/{_plain(event.uuid)}/{state}"
    what = tuple(map(_plain, (event.channel, event.type.lower(), event.region)))
    if occurred_at is not None and _believable(event, occurred_at, accepted_at, mark):
        # The moment and not its text: a retransmission may write it otherwise.
        moment = datetime.fromtimestamp(occurred_at / 1000, UTC).isoformat(timespec="milliseconds")
        return "/".join((device.id, *what, moment.replace("+00:00", "Z"), state))
    content = "\n".join((*what, state, event.raw_time, *event.texts, event.target))
    digest = hashlib.sha256(content.encode()).hexdigest()[:DIGITS]
    return f"{device.id}/{accepted_at // 60_000}/{digest}"


def _believable(event: Event, occurred_at: int, accepted_at: int, mark: TimeMark) -> bool:
    """Whether its time tells it from others of its device."""
    recent = accepted_at - occurred_at <= REMEMBERED.total_seconds() * 1000
    return mark == TimeMark.DEVICE or (mark == TimeMark.TOO_OLD and (recent or event.retransmitted))


def _plain(text: str) -> str:
    """As part of an id: letters, digits and a few signs as they are, else the beginning of its SHA-256."""
    if re.fullmatch(r"[\w.:{}+-]{0,64}", text, re.ASCII):
        return text
    return hashlib.sha256(text.encode()).hexdigest()[:DIGITS]
