"""Hikvision ISAPI event push: a request's body -> events and pictures. Pure.

Whatever the layout (XML or JSON alone, or multipart with pictures), what comes out is the same. Fields are looked for by name, whatever the
namespace or prefix; those of the header only among the direct children of the root. What is broken beside a good event costs that event nothing.
"""

import re
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone, tzinfo

from connectors.camera.multipart import Part, parameters, split
from connectors.camera.tree import MOST_BYTES, Node, decoded, from_json, from_xml
from hub.core.errors import Reason, Rejected

XML, JSON, JPEG, PNG, OTHER = "xml", "json", "image/jpeg", "image/png", ""
ALERT, DURATION = "eventnotificationalert", "duration"
LEAST_UUID = 9
MOST_TEXT = 1000
MOST_TEXTS = 8
MOST_EVENTS = 32
MOST_WRAPPERS = 3
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
    of `duration` the event that goes on; `active`: whether it begins or goes on, or has ended; `texts`: what names its rule, its targets, its
    model, the surest first; `raw_time`: the time as it stands; `region`: of several the least, none for fire points, which are no rules, so that
    what a running alarm is known by stays the same; `temperature_c`: the highest one, degrees Celsius; `place`: where the device says it is,
    degrees east and north; `raw`: the part it came in, without the pictures.
    """

    devices: tuple[str, ...]
    channel: str
    channel_name: str
    type: str
    goes_on: bool
    active: bool
    texts: tuple[str, ...]
    raw_time: str
    uuid: str
    region: str
    target: str
    temperature_c: float | None
    place: tuple[float, float] | None
    retransmitted: bool
    raw: bytes = field(repr=False)


@dataclass(frozen=True, slots=True)
class Pushed:
    """One push: the events in it, usually one, its pictures, and why something else in it cannot be read, if so."""

    events: tuple[Event, ...]
    pictures: tuple[Picture, ...]
    broken: Rejected | None = None


def read(body: bytes, content_type: str) -> Pushed:
    """A body of `POST /in/isapi/...`. Raises Rejected: syntax (nothing in it is an event), too_large (parts, depth, elements)."""
    events: list[Event] = []
    pictures: list[Picture] = []
    broken: Rejected | None = None
    texts = 0
    for part in _parts(body, content_type):
        kind = kind_of(part.body, part.content_type)
        if kind in (XML, JSON):
            texts += len(part.body)
            try:
                found, wrong = _events(part, kind, texts)
            except Rejected as rejected:
                found, wrong = [], rejected
            events += found
            broken = broken or wrong
        elif kind:
            pictures.append(Picture(kind, part.name, part.body))
        # else: a part that holds nothing we know
    if len(events) > MOST_EVENTS:
        raise Rejected(Reason.TOO_LARGE, f"more than {MOST_EVENTS} events")
    if not events:
        raise broken or Rejected(Reason.SYNTAX, "no event in it")
    return Pushed(tuple(events), tuple(pictures), broken)


def _parts(body: bytes, content_type: str) -> list[Part]:
    """What it is, its content tells first."""
    if kind_of(body) == OTHER:
        if content_type.lstrip().lower().startswith("multipart/"):
            return split(body, content_type)
        if body.lstrip(b"\r\n").startswith(b"--") or (not content_type and b"\n--" in body):
            return split(body, "")  # multipart that its header does not call so, or that has none any more
    return [Part({"content-type": content_type}, body)]


def _events(part: Part, kind: str, texts: int) -> tuple[list[Event], Rejected | None]:
    """The events in a text, and why there are no more. `texts`: how long it and those before it are, since what reading may cost is a body's."""
    if texts > MOST_BYTES:
        raise Rejected(Reason.TOO_LARGE, f"texts above {MOST_BYTES} bytes")
    text = decoded(part.body, parameters(part.content_type).get("charset", ""))
    roots, broken = from_xml(text) if kind == XML else from_json(text)
    events: list[Event] = []
    for root in roots:
        alerts = _alerts(root)
        events += [_event(alert, part.body) for alert in alerts]
        if not alerts and root.name.lower() in ("", ALERT):
            broken = broken or Rejected(Reason.SYNTAX, "no eventType")
    return events, broken


def _alerts(root: Node) -> list[Node]:
    """The root, or what it is wrapped around, once or more."""
    level = [root]
    for _ in range(MOST_WRAPPERS):
        if found := [node for node in level if node.said("eventType")]:
            return found
        level = [child for node in level for child in node.children]
    return []


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


def _event(root: Node, raw: bytes) -> Event:
    kind = root.said("eventType")
    goes_on = kind.lower() == DURATION
    if goes_on:
        kind = root.said("DurationList", "Duration", "relationEvent") or kind
    entries, names = _entries(root), _names(root)
    rule = names["ruleName"][0] if names["ruleName"] else ""
    return Event(
        devices=tuple(_devices(root)),
        channel=next(filter(lambda one: one not in ("", "0"), map(root.said, ("channelID", "dynChannelID"))), ""),
        channel_name=root.said("channelName")[:MOST_TEXT],
        type=kind[:64],
        goes_on=goes_on,
        active=root.said("eventState").lower() not in _ENDED,
        texts=tuple(dict.fromkeys(text for texts in names.values() for text in texts))[:MOST_TEXTS],
        raw_time=root.said("dateTime")[:64],
        uuid=uuid if len(uuid := root.said("UUID")) >= LEAST_UUID else "",
        region=(_region(entries) or root.said("inputIOPortID") or rule)[:64],
        target=_target(root, entries)[:64],
        temperature_c=_temperature(root, entries),
        place=_place(root),
        retransmitted=root.said("isDataRetransmission").lower() in ("true", "1"),
        raw=raw,
    )


def _entries(root: Node) -> list[Node]:
    """The regions, in whatever lists of lists."""
    found = []
    for regions in root.all("DetectionRegionList"):
        found += regions.all("DetectionRegionEntry") or [regions]
    return found


def _region(entries: list[Node]) -> str:
    named = [name for entry in entries if not entry.child("FireDetection") and (name := entry.said("regionID"))]
    return min(named, key=lambda name: (len(name), name), default="")


def _devices(root: Node) -> list[str]:
    mac = re.sub(r"[^0-9a-f]", "", root.said("macAddress").lower())
    found = [":".join(mac[i : i + 2] for i in range(0, 12, 2))] if len(mac) == 12 else []  # noqa: PLR2004 - hexadecimal digits
    named = (root.said("Extensions", "serialNumber"), root.said("serialNumber"), root.said("deviceUUID"))
    found += ["".join(name.split()) for name in (*named, root.said("deviceID"), root.said("devIndex"))]
    return list(dict.fromkeys(filter(None, found)))


# What an AI platform's event is about stands in no other field than the names that people gave: rule, target, task, model. Where that is differs:
# at the top, or in AIOPData/events/alertInfo/ruleInfo.
_NAMES = ("ruleName", "targetName", "taskName", "modelName", "MPName", "eventDescription")


def _names(root: Node) -> dict[str, list[str]]:
    """Wherever they stand, the surest first."""
    found: dict[str, list[str]] = {name: [] for name in _NAMES}
    lists = {name.lower(): texts for name, texts in found.items()}
    left = [root]
    while left:
        node = left.pop()
        if node.text and (texts := lists.get(node.name.lower())) is not None:
            texts.append(node.text[:MOST_TEXT])
        left += reversed(node.children)
    return found


def _target(root: Node, entries: list[Node]) -> str:
    for node in (*entries, root):
        if said := node.said("detectionTarget") or node.said("targetType"):
            return said
    return ""


def _temperature(root: Node, entries: list[Node]) -> float | None:
    fires = [fire for entry in (*entries, root) for fire in entry.all("FireDetection")]
    # Of TDA there is a difference of temperatures.
    blocks = [block for name in ("TMA", "TMPA") for node in (*entries, root) for block in node.all(name)]
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


def _place(root: Node) -> tuple[float, float] | None:
    """Where the device says it is; None: nowhere, or where the equator crosses Greenwich, which means nowhere."""
    for gps in (*root.all("DeviceGPSInfo"), *root.all("deviceLocation")):
        lon, lat = _degrees(gps, "Longitude", "W", 180), _degrees(gps, "Latitude", "S", 90)
        if lon is not None and lat is not None and (lon, lat) != (0.0, 0.0):
            return lon, lat
    return None


def _degrees(gps: Node, name: str, negative: str, most: int) -> float | None:
    try:
        degree, minute, second = (float(gps.said(name, part) or 0) for part in ("degree", "minute", "sec"))
    except ValueError:
        return None
    if not (0 <= degree <= most and 0 <= minute < 60 and 0 <= second < 60):  # noqa: PLR2004 - the parts of a degree
        return None
    value = degree + minute / 60 + second / 3600
    return round(-value if gps.said(f"{name}Type").upper() == negative else value, 7) if value <= most else None


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
