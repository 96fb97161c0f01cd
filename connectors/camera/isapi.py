"""Hikvision ISAPI event push: a request's body -> events and pictures. Pure.

Whatever the layout (XML or JSON alone, or multipart with pictures), what comes out is the same. Fields are looked for by name, whatever the
namespace or prefix; those of the header only among the direct children of the root.
"""

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone, tzinfo

from connectors.camera.multipart import Part, parameters, split
from connectors.camera.tree import Node, decoded, from_json, from_xml
from hub.core.errors import Reason, Rejected

XML, JSON, JPEG, PNG, OTHER = "xml", "json", "image/jpeg", "image/png", ""
DURATION = "duration"
LEAST_UUID = 9
MOST_TEXT = 1000
_ENDED = frozenset({"inactive", "stop", "end", "false", "0"})


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture that came along."""

    media_type: str
    name: str
    content: bytes = field(repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """What one EventNotificationAlert says.

    `devices`: what the device calls itself, the surest first (MAC address in lower case with colons, serial number, ids); `type`: its eventType,
    of `duration` the event that goes on; `active`: whether it begins or goes on, or has ended; `raw_time`: the time as it stands;
    `temperature_c`: the highest one, degrees Celsius.
    """

    devices: tuple[str, ...]
    channel: str
    channel_name: str
    type: str
    goes_on: bool
    active: bool
    description: str
    raw_time: str
    uuid: str
    region: str
    target: str
    temperature_c: float | None
    retransmitted: bool


@dataclass(frozen=True, slots=True)
class Pushed:
    """One push: the events in it, usually one, and its pictures."""

    events: tuple[Event, ...]
    pictures: tuple[Picture, ...]


def read(body: bytes, content_type: str) -> Pushed:
    """A body of `POST /in/isapi/...`. Raises Rejected: syntax (nothing in it is an event), too_large (parts, depth, elements)."""
    if content_type.lstrip().lower().startswith("multipart/"):
        parts = split(body, content_type)
    elif kind_of(body) == OTHER and body.lstrip(b"\r\n").startswith(b"--"):
        parts = split(body, "")  # multipart that its header does not call so
    else:
        parts = [Part({"content-type": content_type}, body)]
    events: list[Event] = []
    pictures = []
    for part in parts:
        match kind_of(part.body, part.content_type):
            case "xml" | "json" as kind:
                text = decoded(part.body, parameters(part.content_type).get("charset", ""))
                events += map(_event, from_xml(text) if kind == XML else from_json(text))
            case "":
                continue  # a part that holds nothing we know: the event counts
            case media_type:
                pictures.append(Picture(media_type, part.name, part.body))
    if not events:
        raise Rejected(Reason.SYNTAX, "no event in it")
    return Pushed(tuple(events), tuple(pictures))


def kind_of(content: bytes, content_type: str = "") -> str:
    """What a part is: by its content first, since many call everything application/octet-stream."""
    head = content[:64].lstrip(b"\xef\xbb\xbf \t\r\n")
    if content.startswith((b"\xff\xfe<", b"\xfe\xff\x00<")) or head.startswith(b"<"):
        return XML
    if head.startswith((b"{", b"[")):
        return JSON
    if content.startswith(b"\xff\xd8\xff"):
        return JPEG
    if content.startswith(b"\x89PNG"):
        return PNG
    media_type = content_type.partition(";")[0].strip().lower()
    for ending, kind in (("/xml", XML), ("/json", JSON)):
        if media_type.endswith(ending):
            return kind
    return media_type if media_type.startswith("image/") and content else OTHER


def _event(root: Node) -> Event:
    kind = root.said("eventType")
    if not kind:
        raise Rejected(Reason.SYNTAX, "no eventType")
    goes_on = kind.lower() == DURATION
    if goes_on:
        kind = root.said("DurationList", "Duration", "relationEvent") or kind
    entries = [*_entries(root)]
    return Event(
        devices=tuple(_devices(root)),
        channel=root.said("channelID") or root.said("dynChannelID"),
        channel_name=root.said("channelName")[:MOST_TEXT],
        type=kind[:64],
        goes_on=goes_on,
        active=root.said("eventState").lower() not in _ENDED,
        description=(_rule(root) or root.said("eventDescription"))[:MOST_TEXT],
        raw_time=root.said("dateTime")[:64],
        uuid=uuid if len(uuid := root.said("UUID") or root.said("uuid")) >= LEAST_UUID else "",
        region="+".join(dict.fromkeys(filter(None, (entry.said("regionID") for entry in entries))))[:64],
        target=_target(root, entries)[:64],
        temperature_c=_temperature(root, entries),
        retransmitted=root.said("isDataRetransmission").lower() in ("true", "1"),
    )


def _entries(root: Node) -> list[Node]:
    regions = root.child("DetectionRegionList")
    return list(regions.all("DetectionRegionEntry")) if regions else []


def _devices(root: Node) -> list[str]:
    mac = re.sub(r"[^0-9a-f]", "", root.said("macAddress").lower())
    found = [":".join(mac[i : i + 2] for i in range(0, 12, 2))] if len(mac) == 12 else []  # noqa: PLR2004 - hexadecimal digits
    named = (root.said("Extensions", "serialNumber"), root.said("serialNumber"), root.said("deviceUUID"))
    found += ["".join(name.split()) for name in (*named, root.said("deviceID"), root.said("devIndex"))]
    return list(dict.fromkeys(filter(None, found)))


def _rule(root: Node) -> str:
    """What the rule of an AI platform is called: the only place where its events say what they mean."""
    for path in (("ruleName",), ("AIOPVideo", "ruleName"), ("AIOP", "ruleName"), ("taskName",), ("modelName",)):
        if said := root.said(*path):
            return said
    return ""


def _target(root: Node, entries: list[Node]) -> str:
    for node in (*entries, root):
        if said := node.said("detectionTarget") or node.said("targetType"):
            return said
    return ""


def _temperature(root: Node, entries: list[Node]) -> float | None:
    fires = [fire for entry in (*entries, root) for fire in entry.all("FireDetection")]
    blocks = [block for name in ("TMA", "TMPA", "TDA") for block in root.all(name)]
    told = [(fire.said("fireMaxTemperature"), fire.said("temperatureUnit")) for fire in fires]
    told += [(block.said("currTemperature"), block.said("thermometryUnit")) for block in blocks]
    return max((one for one in (_celsius(*each) for each in told) if one is not None), default=None)


def _celsius(number: str, unit: str) -> float | None:
    try:
        value = float(number)
    except ValueError:
        return None
    match unit.lower()[:1]:
        case "f":
            value = (value - 32) / 1.8
        case "k":
            value -= 273.15
    return round(value, 2) if -273.15 <= value <= 5000 else None  # noqa: PLR2004 - what a thermometer can say


_TIME = re.compile(
    r"(\d{4})-(\d{1,2})-(\d{1,2})[T ]\s*(\d{1,2}):(\d{1,2}):(\d{2})(?:\.(\d{1,9}))?\s*(Z|[+-]?\s?\d{1,2}:?\d{2}(?::\d{2})?)?",
    re.IGNORECASE,
)


def time_of(text: str, zone: tzinfo) -> datetime | None:
    """The device's time; in `zone` where it has no offset or one that cannot be (`11:46:31 00:00`, without sign: none). None for what is no time."""
    found = _TIME.match(text.strip())
    if found is None:
        return None
    year, month, day, hour, minute, second = map(int, found.groups()[:6])
    millisecond = int((found[7] or "0")[:3].ljust(3, "0"))
    try:
        local = datetime(year, month, day, hour, minute, min(second, 59), millisecond * 1000)  # noqa: DTZ001 - its zone follows
    except ValueError:
        return None
    return local.replace(tzinfo=_offset(found[8] or "") or zone)


def _offset(text: str) -> tzinfo | None:
    text = text.replace(" ", "")
    if text.upper() == "Z":
        return UTC
    if not text or text[0] not in "+-":
        return None
    hours, minutes = int(text[1:].partition(":")[0][:2]), int(text.replace(":", "")[-2:])
    ahead = timedelta(hours=hours, minutes=minutes)
    if ahead > timedelta(hours=14):
        return None
    return timezone(-ahead if text[0] == "-" else ahead)
