"""Cameras that push real bytes, in the layouts of real firmwares and with their troubles: `python -m connectors.camera.simulate`."""

import argparse
import hashlib
import re
import sys
from base64 import b64decode
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta, timezone
from random import Random

from connectors.camera.translate import FEED
from hub.core.registry import Device, Registry
from hub.lang import Text
from hub.simulation import Message, Sender, main

PORT = 8102
DEMO_KEY = "demo-{vendor}-key"
BEIJING = timezone(timedelta(hours=8))
# The least that is a picture: a grey square of 8 by 8.
JPEG = b64decode(
    "/9j/4AAQSkZJRgABAQAAAQABAAD/2wBDAFA3PEY8MlBGQUZaVVBfeMiCeG5uePWvuZHI////////////////////////////////////////////////////wAALCAAIAA"
    "gBAREA/8QAHwAAAQUBAQEBAQEAAAAAAAAAAAECAwQFBgcICQoL/8QAtRAAAgEDAwIEAwUFBAQAAAF9AQIDAAQRBRIhMUEGE1FhByJxFDKBkaEII0KxwRVS0fAkM2JyggkK"
    "FhcYGRolJicoKSo0NTY3ODk6Q0RFRkdISUpTVFVWV1hZWmNkZWZnaGlqc3R1dnd4eXqDhIWGh4iJipKTlJWWl5iZmqKjpKWmp6ipqrKztLW2t7i5usLDxMXGx8jJytLT1N"
    "XW19jZ2uHi4+Tl5ufo6erx8vP09fb3+Pn6/9oACAEBAAA/ACv/2Q=="
)
EVENTS = ("smokeDetection", "fireDetection", "AIOP_Video")
# An episode is so many messages, then its end or silence.
EPISODE = range(3, 8)
ENDS_SILENTLY, EPISODE_SHARE = 0.4, 0.05
FIRST_EPISODE_WITHIN = 4


@dataclass(frozen=True, slots=True)
class Said:
    """What one message says, before it is bytes."""

    device: Device
    type: str
    active: bool
    at: datetime
    rule: str = ""
    more: str = ""


def _names(device: Device) -> tuple[str, str]:
    """MAC (or serial number) and channel."""
    name, _, channel = device.mn.partition("/")
    return name, channel or "1"


def as_xml(said: Said, *, namespace: str = "http://www.isapi.org/ver20/XMLSchema", time: str | None = None) -> str:
    """An EventNotificationAlert."""
    name, channel = _names(said.device)
    key = "macAddress" if re.fullmatch(r"(?:[0-9a-f]{2}:){5}[0-9a-f]{2}", name) else "deviceID"
    moment = said.at.isoformat(timespec="seconds") if time is None else time
    rule = f"<ruleName>{said.rule}</ruleName>" if said.rule else ""
    return (
        f'<?xml version="1.0" encoding="UTF-8"?>\n<EventNotificationAlert version="2.0" xmlns="{namespace}"><ipAddress>192.168.1.64</ipAddress>'
        f"<{key}>{name}</{key}><channelID>{channel}</channelID><dateTime>{moment}</dateTime><activePostCount>1</activePostCount>"
        f"<eventType>{said.type}</eventType><eventState>{'active' if said.active else 'inactive'}</eventState>"
        f"<channelName>{said.device.name or said.device.id}</channelName>{rule}{said.more}</EventNotificationAlert>"
    )


def as_json(said: Said) -> str:
    """The same, flat."""
    pairs = re.findall(r"<(\w+)>([^<]*)</\1>", as_xml(said))
    inner = ",".join(f'"{name}":"{value}"' for name, value in pairs)
    return f'{{"EventNotificationAlert":{{{inner}}}}}'


def multipart(
    text: str, *, end: str = "\r\n", boundary: str = "boundary", closing: bool = True, blank: bool = False
) -> bytes:
    """The text and a picture."""
    gap = end if blank else ""
    head = f'--{boundary}{end}{gap}Content-Disposition: form-data; name="event"{end}Content-Type: application/xml{end}{end}{text}{end}'
    picture = (
        f'--{boundary}{end}{gap}Content-Disposition: form-data; name="detectionPicture"; filename="detectionPicture.jpg"{end}'
        f"Content-Type: image/jpeg{end}Content-Length: {len(JPEG)}{end}{end}"
    )
    last = f"{end}--{boundary}--{end}" if closing else end
    return head.encode() + picture.encode() + JPEG + last.encode()


Firmware = Callable[[Said], tuple[bytes, str]]
FORM = "multipart/form-data; boundary=boundary"
FIRMWARES: Sequence[Firmware] = (
    lambda said: (as_xml(said).encode(), 'application/xml; charset="UTF-8"'),
    lambda said: (as_json(said).encode(), "application/json"),
    lambda said: (multipart(as_xml(said)), FORM),
    lambda said: (
        multipart(as_xml(said, namespace="http://www.hikvision.com/ver20/XMLSchema"), end="\n"),
        'multipart/form-data; boundary="boundary"',
    ),
    lambda said: (multipart(as_xml(said), closing=False, blank=True), FORM + ";"),
    lambda said: (multipart(as_xml(said), boundary="hikboundary"), "multipart/form-data; boundary="),
)
"""How different firmwares write the same."""

Trouble = Callable[[Said, Firmware], Message]


def _sent(said: Said, body: bytes, content_type: str, trouble: str, expect: str = "", sendings: int = 1) -> Message:
    vendor = said.device.vendor
    heartbeat = said.type == "videoloss" and not said.active
    return Message(
        path=f"/in/isapi/{DEMO_KEY.format(vendor=vendor)}",
        body=body,
        content_type=content_type,
        expect=expect or ("empty" if heartbeat else "alert"),
        trouble=trouble,
        sendings=sendings,
    )


def _with_time(text: str) -> Trouble:
    return lambda said, _: _sent(said, as_xml(said, time=text).encode(), "application/xml", f"time {text!r}")


def _in_gbk(said: Said, _: Firmware) -> Message:
    text = as_xml(said).replace("UTF-8", "GB2312")
    return _sent(said, text.encode("gb18030"), "application/xml", "gbk")


def _cut(said: Said, _: Firmware) -> Message:
    return _sent(said, as_xml(said).encode()[:-40], "application/xml", "cut", "dead-letter")


def _stranger(said: Said, _: Firmware) -> Message:
    other = replace(said, device=replace(said.device, mn="00:00:5e:00:53:ff"))
    expect = "empty" if said.type == "videoloss" and not said.active else "dead-letter"
    return _sent(said, as_xml(other).encode(), "application/xml", "stranger", expect)


def _again(said: Said, firmware: Firmware) -> Message:
    return _sent(said, *firmware(said), "sent again", sendings=2)


def _retransmitted(said: Said, _: Firmware) -> Message:
    digest = hashlib.sha256(f"{said.device.id}{said.at}".encode()).hexdigest()[:20]
    more = f"<isDataRetransmission>true</isDataRetransmission><UUID>{digest}</UUID>"
    old = replace(said, more=more, at=said.at - timedelta(minutes=10))
    return _sent(old, as_xml(old).encode(), "text/xml", "retransmitted")


def _wrong_length(said: Said, _: Firmware) -> Message:
    body = multipart(as_xml(said)).replace(f"Content-Length: {len(JPEG)}".encode(), b"Content-Length: 99999")
    return _sent(said, body, FORM, "wrong length")


TROUBLES: Mapping[str, Trouble] = {
    "no_offset": lambda said, _: _sent(
        said, as_xml(said, time=f"{said.at:%Y-%m-%dT%H:%M:%S}").encode(), "application/xml", "no offset"
    ),
    "bad_offset": lambda said, _: _sent(
        said, as_xml(said, time=f"{said.at:%Y-%m-%dT%H:%M:%S}00:00").encode(), "application/xml", "bad offset"
    ),
    "year_1970": _with_time("1970-01-01T08:00:11+08:00"),
    "no_time": _with_time(""),
    "gbk": _in_gbk,
    "cut": _cut,
    "stranger": _stranger,
    "again": _again,
    "retransmitted": _retransmitted,
    "wrong_length": _wrong_length,
}


def messages(
    device: Device, seed: int, interval_s: float, troubles: float, now: Callable[[], datetime]
) -> Iterator[tuple[float, Message]]:
    """What one camera pushes: heartbeats, and now and then an episode that ends with a word or in silence."""
    chance = Random(f"{seed}/{device.id}")
    firmware = FIRMWARES[chance.randrange(len(FIRMWARES))]
    left, kind, ends = 0, "", False
    begins_at = chance.randrange(1, FIRST_EPISODE_WITHIN) if chance.random() < 0.5 else 0  # noqa: PLR2004 - every other camera sees something soon
    number = 0
    while True:
        number += 1
        wait_s = interval_s * chance.uniform(0.5, 1.5) if number > 1 else chance.uniform(0, interval_s)
        if not left and not ends and (number == begins_at or chance.random() < EPISODE_SHARE):
            left, kind = chance.choice(EPISODE), chance.choice(EVENTS)
            ends = chance.random() > ENDS_SILENTLY
        if left:
            left -= 1
            said = Said(device, kind, active=True, at=now(), rule="裸土未覆盖" if kind == "AIOP_Video" else "")
        elif ends:
            ends = False
            said = Said(device, kind, active=False, at=now(), rule="裸土未覆盖" if kind == "AIOP_Video" else "")
        else:
            said = Said(device, "videoloss", active=False, at=now())
        if chance.random() < troubles:
            yield wait_s, TROUBLES[chance.choice(sorted(TROUBLES))](said, firmware)
        else:
            yield wait_s, _sent(said, *firmware(said), "")


def senders(registry: Registry, options: argparse.Namespace) -> list[Sender]:
    """The registered cameras of vendors that have keys."""
    cameras = [device for device in registry.devices if device.feed == FEED][: options.devices]

    def now() -> datetime:
        return datetime.now(UTC).astimezone(BEIJING)

    made = []
    for device in cameras:
        own = messages(device, options.seed, options.interval, options.troubles, now)
        if options.key:
            path = f"/in/isapi/{options.key}"
            own = ((wait_s, replace(message, path=path)) for wait_s, message in own)
        made.append(Sender(device.id, own))
    return made


if __name__ == "__main__":
    about = Text("Simulated cameras that push ISAPI events.", "模拟摄像头，按 ISAPI 推送事件。")
    sys.exit(main(FEED, PORT, about, senders, sys.argv[1:]))
