"""ISAPI push over HTTP for the contract of connectors."""

from dataclasses import replace
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

from connectors.camera.serve import CameraSource
from connectors.camera.settings import CameraSettings
from hub.connector import Source
from hub.core.registry import Device, Registry, Vendor
from hub.evidence import Evidence
from hub.reasons import BEIJING
from hub.settings import HostPort
from tests.connectors.camera.layouts import JPEG, MAC, PICTURE, PLAIN, TEXT, multipart, xml
from tests.connectors.contract import http
from tests.connectors.contract.cases import Case, Contract

KEY, OLD_KEY, OTHER_KEY = "a-key-of-the-test", "a-key-of-the-past", "a-key-of-another"
PATH = f"/in/isapi/{KEY}"
XML = "application/xml"
TOPIC = "alerts.camera"
MOST = 256 * 1024
VENDOR = Vendor(
    id="tianwei",
    name="天卫",
    feeds=frozenset({"camera"}),
    per_s=10_000,
    keys=(http.key(KEY), http.key(OLD_KEY, ends=1)),
)
ELSEWHERE = Vendor(id="elsewhere", name="E", feeds=frozenset({"patrol"}), keys=(http.key(OTHER_KEY),))
CAMERA = Device(id="cam-1", mn=MAC, vendor="tianwei", feed="camera", town="410122106", lon=113.9, lat=34.7)
OTHERS = replace(CAMERA, id="other", mn="00:00:00:00:00:01", vendor="someone")
STRANGER = "00:00:00:00:00:09"
REGISTRY = Registry(version=1, devices=(CAMERA, OTHERS), vendors=(VENDOR, ELSEWHERE))
# Not long ago, as a camera's clock that goes right: of one that is wrong by days, the id of a message has the minute in which it came.
SENT_AT = datetime.now(BEIJING) - timedelta(minutes=10)


def alarm(*of: str, time: str = f"{SENT_AT:%Y-%m-%dT%H:%M:%S+08:00}", **says: Any) -> str:
    """As `xml`, said then."""
    return xml(*of, time=time, **says)


def source(folder: Path, hasty: bool) -> Source:
    """On any free port, with an evidence store in the folder."""
    times = {"header_timeout_s": 0.3, "body_timeout_s": 0.3} if hasty else {}
    settings = CameraSettings.model_validate(
        {"listen": HostPort(host="127.0.0.1", port=0), "max_body": MOST, "max_pending_bytes": 8 * MOST, **times}
    )
    return CameraSource(settings, Evidence(folder))


def pushed(body: bytes | str, content_type: str = XML) -> bytes:
    return http.request(PATH, body.encode() if isinstance(body, str) else body, content_type)


def kept(name: str, body: bytes | str, reason: str, content_type: str = XML) -> Case:
    """What cannot be used is answered too: a camera would not send again."""
    return Case(name=name, sent=pushed(body, content_type), letters=(reason,), answers=("200",))


def unauthorized(name: str, path: str, answer: str = "401") -> Case:
    """What has no valid key is no message."""
    return Case(name=name, sent=http.request(path, alarm().encode(), XML), unheard=True, answers=(answer,))


ENTITIES = '<!DOCTYPE a [<!ENTITY b "bbbbbbbbbb">' + "".join(
    f'<!ENTITY {one} "{f"&{before};" * 10}">' for before, one in zip("bcdefghi", "cdefghij", strict=True)
)
EXTERNAL = '<!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]>'
ATTRIBUTES = " ".join(f'a{number}=""' for number in range(20_000))
HALF = f'{{"macAddress": "{MAC}", "channelName": "\\ud800", "eventType": "fireDetection"}}'
SECOND = alarm(time=f"{SENT_AT + timedelta(seconds=49):%Y-%m-%dT%H:%M:%S+08:00}")

CONTRACT = Contract(
    feed="camera",
    source=source,
    port="http",
    registry=REGISTRY,
    registry_later=replace(REGISTRY, version=2, devices=(*REGISTRY.devices, replace(CAMERA, id="cam-9", mn=STRANGER))),
    answers=http.statuses,
    accept=(
        Case(name="an alarm in XML", sent=pushed(alarm()), records=(TOPIC,), answers=("200",)),
        Case(name="its next", sent=pushed(SECOND), records=(TOPIC,), answers=("200",)),
        Case(
            name="with a picture",
            sent=pushed(multipart((TEXT, alarm(channel="3").encode()), (PICTURE, JPEG)), PLAIN),
            records=(TOPIC,),
            answers=("200",),
        ),
        Case(name="half a character", sent=pushed(HALF, "application/json"), records=(TOPIC,), answers=("200",)),
    ),
    empty=Case(name="heartbeat", sent=pushed(alarm("videoloss", "inactive")), empty=1, answers=("200",)),
    refuse=(
        kept("XML that breaks off", "<EventNotificationAlert>", "syntax"),
        kept("no event in it", " ", "syntax"),
        kept("no event type", alarm(without=("eventType",)), "syntax"),
        kept("multipart without a boundary", b"nothing of the kind", "syntax", PLAIN),
        kept("a camera of another vendor", alarm(mac=OTHERS.mn), "not_yours"),
        kept("too deep", "<a>" * 10_000, "too_large"),
        kept("too many parts", multipart(*[(TEXT, b"<a/>")] * 40), "too_large", PLAIN),
        Case(name="a media type that none of ours", sent=pushed("x", "video/mp4"), refused=1, answers=("415",)),
        Case(
            name="a body that breaks off",
            sent=http.request(PATH, b"<a", XML, {"Content-Length": "100"}),
            refused=1,
        ),
    ),
    wrong_key=(
        unauthorized("a key that nobody has", "/in/isapi/wrong"),
        unauthorized("no key", "/in/isapi/", "404"),
        unauthorized("a key for another feed", f"/in/isapi/{OTHER_KEY}"),
        unauthorized("a key that has ended", f"/in/isapi/{OLD_KEY}"),
    ),
    several=Case(
        name="two alarms in one part",
        sent=pushed(f"{alarm()}{alarm(channel='4', declaration='')}"),
        records=(TOPIC, TOPIC),
        answers=("200",),
    ),
    stranger=kept("not registered yet", alarm(mac=STRANGER), "unknown_device"),
    too_large=Case(name="a body above max_body", sent=pushed(b"x" * (MOST + 1)), refused=1, answers=("413",)),
    slow=Case(
        name="half a body, and silence",
        sent=pushed(alarm())[:-200],
        refused=1,
        answers=("408",),
    ),
    hostile=(
        *http.HOSTILE,
        ("entities of entities", pushed(f"{ENTITIES}]><a>&j;</a>")),
        ("a file as an entity", pushed(f"{EXTERNAL}<a>&b;</a>")),
        ("deep", pushed("<a>" * 60_000)),
        ("deep JSON", pushed("[" * 200_000, "application/json")),
        ("an element that is its own end", pushed("<a/>")),
        ("many attributes", pushed(f"<a {ATTRIBUTES}/>")),
        ("a number as long as a body", pushed(f'{{"a": {"9" * 200_000}}}', "application/json")),
        ("parts without end", pushed(b"--boundary\r\n\r\n" * 10_000, PLAIN)),
        ("a boundary of nothing", pushed(b"--\r\n" * 50_000, "multipart/form-data; boundary=")),
        ("half of UTF-16", pushed(b"\xff\xfe<\x00\x00\xd8" * 1_000)),
        (
            "no length, chunks that lie",
            b"POST " + PATH.encode() + b" HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\nffffffff\r\nx",
        ),
    ),
    away=("503",),
)
