"""Which event of a camera is which kind of alert: a table. Compared without case (Hikvision ISAPI, EventNotificationAlert/eventType)."""

import re
from collections.abc import Mapping, Sequence
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
KINDS = frozenset((FIRE, SMOKE, TEMPERATURE, TEMPERATURE_NOTE, DUST, BARE_SOIL, MUCK_TRUCK, HELMET, VEST)) | frozenset(
    (INTRUSION, MOTION, VEHICLE, TROUBLE, WIRED, OTHER)
)
VIDEO_LOSS = "videoloss"


@dataclass(frozen=True, slots=True)
class Kind:
    """What an eventType is. `ends`: the eventType that a message of its own says has ended; empty where it is no such message."""

    kind: str
    ends: str = ""


_TYPES: Mapping[str, tuple[str, ...]] = {
    # fireEscapeDetection is none of these: something stands in a fire lane.
    FIRE: ("fireDetection", "fireSmartFireDetect", "smokeAndFireDetection"),
    SMOKE: ("smokeDetection", "smokeAlarm"),
    TEMPERATURE: ("TMA", "temperatureAlarm", "temperatureUp", "thermometry"),
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
_OVER = {
    "FirePointAlarmRecovery": Kind(FIRE, ends="fireSmartFireDetect"),
    "SmokeAlarmRecovery": Kind(SMOKE, ends="smokeAlarm"),
}
_BY_TYPE = {name.lower(): Kind(kind) for kind, names in _TYPES.items() for name in names} | {
    name.lower(): kind for name, kind in _OVER.items()
}
# Statistics and persons, however a firmware goes on behind these: nothing that this hub should have.
_IGNORED = (
    *("peoplecounting", "framespeoplecounting", "regionalpeoplecounting", "persondensity", "personqueue", "heatmap"),
    *("face", "humanattribute", "humanrecognition", "personarming", "accesscontroller"),
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
# Smoke and fire that are none: of cigarettes and kitchens, and what stands ready against it.
_HARMLESS = re.compile("吸烟|抽烟|烟头|油烟|烟感|灭火|防火|动火")


def is_ignored(event_type: str) -> bool:
    """Whether it is about persons or numbers of them."""
    return event_type.lower().startswith(_IGNORED)


def kind_of(event_type: str, texts: Sequence[str], words: Sequence[tuple[str, str]] = ()) -> Kind:
    """The kind of an event; camera.other for one that the table does not know. `texts`: what it says it is about, the surest first; `words`: further
    ones, which go before the table's.
    """
    known = _BY_TYPE.get(event_type.lower())
    if known:
        return known
    if event_type.lower().startswith(_AI_PLATFORM) or not event_type.isascii():
        for text in (*texts, event_type):
            left = _HARMLESS.sub(" ", text)
            for said, table in ((text, words), (left, TEXTS)):
                for word, kind in table:
                    if word in said:
                        return Kind(kind)
    return Kind(OTHER)


def shows_plates(kind: str) -> bool:
    """Whether it is about number plates, of which and of whose pictures nothing is kept."""
    return kind == VEHICLE
