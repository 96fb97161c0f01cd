"""What flows through the hub: frozen, already validated, one class per Avro record of `schemas/`.

Field names, order and meaning are those of the `.avsc` files, which also carry units and sources. Times are integers:
milliseconds since 1970-01-01 UTC. Places are WGS 84 in degrees. `None` stands only where the schema has a null.
"""

from dataclasses import dataclass
from enum import StrEnum

UNKNOWN_TOWN = "000000000"


class TimeMark(StrEnum):
    """How `event_at` came about; see `hub.core.times.place_in_time`."""

    DEVICE = "device"  # the device's own time, plausible
    TOO_OLD = "too_old"  # the device's time lies more than 2 h before acceptance: acceptance is used
    TOO_NEW = "too_new"  # more than 2 min after acceptance: acceptance is used
    MISSING = "missing"  # none given, or not readable: acceptance is used


class Signal(StrEnum):
    """What an alert says of its episode."""

    BEGINS = "begins"
    GOES_ON = "goes_on"
    ENDS = "ends"
    MOMENT = "moment"


@dataclass(frozen=True, slots=True, kw_only=True)
class Event:
    """The common block: who saw it, where, when."""

    id: str
    town: str
    device: str
    vendor: str
    kind: str
    occurred_at: int | None
    accepted_at: int
    event_at: int
    time_mark: str
    lon: float | None
    lat: float | None
    datum: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Value:
    """One measured value of one factor, in the canonical unit of the factor where the register names the sent one."""

    factor: str
    statistic: str
    value: float | None
    unit: str
    mark: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Reading(Event):
    """What a device measures; one record per message."""

    message_code: str
    period_s: int
    backfilled: bool
    incomplete: bool
    values: tuple[Value, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class AlarmValue:
    """One factor of a device's own alarm (HJ/T 212-2005, CN 2072)."""

    factor: str
    value: float | None
    unit: str
    alarm_type: str


@dataclass(frozen=True, slots=True, kw_only=True)
class AirAlert(Event):
    """What a device, not the hub, concludes about the air."""

    message_code: str
    signal: str
    values: tuple[AlarmValue, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """A picture in the evidence store; `sha256` empty where it is not kept."""

    sha256: str
    media_type: str
    bytes: int
    name: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PlacedAlert(Event):
    """An alert that brings its own place: `given_x`, `given_y` where it came in another datum, and how right it is (metres)."""

    given_x: float | None
    given_y: float | None
    accuracy_m: float | None
    signal: str


@dataclass(frozen=True, slots=True, kw_only=True)
class PatrolAlert(PlacedAlert):
    """What a patrol of buildings reports."""

    spot_no: str
    event_no: str
    origin: str
    building_type: str
    building_class: str
    stage: str
    area_m2: float | None
    stated_area_m2: float | None
    floors: int | None
    structure: str
    address: str
    description: str
    image_before: str
    image_after: str
    confidence: float | None
    farmland: bool | None
    redline: bool | None
    vendor_status: str
    geometry: str
    given_geometry: str
    photos: tuple[str, ...]
    evidence: tuple[Evidence, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CameraAlert(PlacedAlert):
    """What a camera, or the box behind it, concludes from its picture."""

    message_type: str
    channel: str
    channel_name: str
    region: str
    target: str
    description: str
    temperature_c: float | None
    retransmitted: bool
    raw_time: str
    evidence: tuple[Evidence, ...]


Alert = AirAlert | PatrolAlert | CameraAlert


@dataclass(frozen=True, slots=True, kw_only=True)
class LifeSign:
    """That something was heard of a device."""

    device: str
    town: str
    vendor: str
    feed: str
    heard_at: int
    said: str


@dataclass(frozen=True, slots=True, kw_only=True)
class RegistryEntry:
    """A piece of one version of the registry; `body` is JSON."""

    version: int
    kind: str
    id: str
    body: str


class LetterMark(StrEnum):
    """What a person has made of a dead letter."""

    REPLAYED = "replayed"
    DROPPED = "dropped"


@dataclass(frozen=True, slots=True, kw_only=True)
class DeadLetter:
    """What could not be read, kept whole; with a `mark`: what a person has made of the letter of that id."""

    id: str
    feed: str
    vendor: str
    device: str
    reason: str
    detail: str
    raw: bytes
    evidence_sha256: str | None
    accepted_at: int
    answered: bool
    mark: str = ""


class Outcome(StrEnum):
    """What became of an alert, a closed list for this program; readers take an unknown one for "something else"."""

    OPENED = "opened"
    UPDATED = "updated"
    CLEARED = "cleared"
    NO_RULE = "no_rule"
    REPEATED = "repeated"
    LATE = "late"  # about a time too long ago to open anything
    EXPIRED = "expired"  # the end of something that is not open
    FORWARDED = "forwarded"
    HANDED_OVER = "handed-over"  # its place lies in another town, which decides it
    TRIAL = "trial"  # its vendor is being tried: what it would have become stands in the reasons
    INVALID = "invalid"


class State(StrEnum):
    """What a ticket waits for."""

    OPEN = "open"
    CLEARED = "cleared"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ticket:
    """Work in the grid, as it stands after its last step."""

    id: str
    version: int
    town: str
    state: str
    class_code: str
    class_standard: str
    kind: str
    device: str
    cell: str
    grid: str = ""
    lon: float | None = None
    lat: float | None = None
    datum: str = ""
    given_x: float | None = None
    given_y: float | None = None
    place_mark: str = "unknown"
    urgency: str = "normal"
    vendor: str = ""
    case_no: str = ""
    owner_role: str
    owner: str
    opened_at: int
    updated_at: int
    cleared_at: int | None
    due_at: int | None
    alerts: int
    rule: str
    decision_seq: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TicketEvent:
    """One step of a ticket."""

    id: str
    ticket_id: str
    town: str
    version: int
    step: str
    state: str
    at: int
    alert: str
    decision_seq: int
    owner_role: str = ""
    owner: str = ""
    cell: str = ""
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Version:
    """What was in force, and which version of it."""

    name: str
    version: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Decision:
    """What became of one alert."""

    id: str
    town: str
    seq: int
    origin: str
    topic: str
    partition: int
    offset: int
    now: int
    outcome: str
    reasons: tuple[str, ...]
    ticket_id: str
    rule: str
    versions: tuple[Version, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Range:
    """Records of one input topic: both offsets belong to it."""

    topic: str
    first: int
    last: int


@dataclass(frozen=True, slots=True, kw_only=True)
class TownTick:
    """Time that passed for one town, and had an effect."""

    town: str
    now: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Journal:
    """What one transaction applied to one partition."""

    partition: int
    number: int
    router: int
    generation: int
    at: int
    program: str
    versions: tuple[Version, ...]
    ranges: tuple[Range, ...]
    ticks: tuple[TownTick, ...]
    quarantined: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """A header of a Kafka record."""

    name: str
    value: bytes


@dataclass(frozen=True, slots=True, kw_only=True)
class HandedOver:
    """A record of another partition, as it was."""

    topic: str
    partition: int
    offset: int
    key: bytes | None
    value: bytes
    headers: tuple[Header, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class RouterState:
    """One entry of what the router remembers; `body` is JSON."""

    town: str
    kind: str
    id: str
    body: str
