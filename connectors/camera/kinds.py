"""Which event of a camera is which kind of alert: a table. Compared without case (Hikvision ISAPI, EventNotificationAlert/eventType)."""

from collections.abc import Mapping
from dataclasses import dataclass

FIRE, SMOKE, TEMPERATURE, TEMPERATURE_NOTE = (
    "camera.fire",
    "camera.smoke",
    "camera.temperature",
    "camera.temperature_note",
)
DUST, BARE_SOIL, MUCK_TRUCK = "camera.dust", "camera.bare_soil", "camera.muck_truck"
HELMET, VEST = "camera.helmet", "camera.vest"
INTRUSION, MOTION, VEHICLE, TROUBLE, WIRED, OTHER = (
    "camera.intrusion",
    "camera.motion",
    "camera.vehicle",
    "camera.trouble",
    "camera.io",
    "camera.other",
)
VIDEO_LOSS = "videoloss"


@dataclass(frozen=True, slots=True)
class Kind:
    """What an eventType is. `over`: a message of its own that says the event has ended."""

    kind: str
    over: bool = False


_TYPES: Mapping[str, tuple[str, ...]] = {
    FIRE: ("fireDetection", "fireSmartFireDetect", "smokeAndFireDetection", "fireEscapeDetection"),
    SMOKE: ("smokeDetection",),
    TEMPERATURE: ("TMA", "temperatureAlarm", "thermometry"),
    TEMPERATURE_NOTE: ("TMPA", "TDA", "temperaturePreAlarm", "temperatureDifference"),
    INTRUSION: ("fielddetection", "linedetection", "regionEntrance", "regionExiting", "loitering"),
    MOTION: ("VMD", "VMDHumanVehicle", "PIR"),
    VEHICLE: ("ANPR", "vehicledetection"),
    TROUBLE: (
        *("tamperdetection", "shelteralarm", "defocus", "scenechangedetection", VIDEO_LOSS),
        *("diskfull", "diskerror", "nicbroken", "ipconflict", "illaccess"),
    ),
    WIRED: ("IO",),
    HELMET: ("safetyHelmetDetection",),
}
_OVER = {FIRE: ("FirePointAlarmRecovery",), SMOKE: ("SmokeAlarmRecovery",)}
_BY_TYPE = {name.lower(): Kind(kind) for kind, names in _TYPES.items() for name in names} | {
    name.lower(): Kind(kind, over=True) for kind, names in _OVER.items() for name in names
}
# Statistics and persons: nothing that this hub should have.
_IGNORED = frozenset(
    name.lower()
    for name in (
        "PeopleCounting",
        "faceCapture",
        "faceSnap",
        "facedetection",
        "AccessControllerEvent",
        "heatmap",
        "framesPeopleCounting",
    )
)
_AI_PLATFORM = "aiop"

TEXTS: tuple[tuple[str, str], ...] = (
    ("烟", SMOKE),
    ("火", FIRE),
    ("焚烧", FIRE),
    ("裸土", BARE_SOIL),
    ("未覆盖", BARE_SOIL),
    ("扬尘", DUST),
    ("渣土", MUCK_TRUCK),
    ("安全帽", HELMET),
    ("反光衣", VEST),
)
"""What the rules of an AI platform are about, by a word in their name: the first that occurs counts. Its events say it nowhere else."""


def is_ignored(event_type: str) -> bool:
    """Whether it is about persons or numbers of them."""
    return event_type.lower() in _IGNORED


def kind_of(event_type: str, description: str, texts: tuple[tuple[str, str], ...] = ()) -> Kind:
    """The kind of an event; camera.other for one that the table does not know. `texts`: further words, which go before the table's."""
    known = _BY_TYPE.get(event_type.lower())
    if known:
        return known
    if event_type.lower().startswith(_AI_PLATFORM) or not event_type.isascii():
        for word, kind in (*texts, *TEXTS):
            if word in description or word in event_type:
                return Kind(kind)
    return Kind(OTHER)
