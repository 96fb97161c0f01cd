"""HJ 212 over TCP for the contract of connectors."""

import re
from pathlib import Path

from connectors.air.hj212 import frame
from connectors.air.serve import Stations
from connectors.air.settings import AirSettings
from hub.connector import Source
from hub.core.registry import Device, Registry
from hub.settings import HostPort
from tests.connectors.contract.cases import Case, Contract

HERE = HostPort(host="127.0.0.1", port=0)
STATION = Device(id="za-air-1", mn="STATION", vendor="acme", feed="air", town="410122105")
OTHERS = Device(id="za-cam-1", mn="CAMERA", vendor="acme", feed="camera", town="410122105")
LATER = Device(id="za-air-2", mn="STRANGER", vendor="acme", feed="air", town="410122105")


def segment(qn: int, mn: str = "STATION", cn: str = "2011", body: str = "a34004-Rtd=35.0,a34004-Flag=N") -> bytes:
    """What stands between LEN and CRC."""
    time = "DataTime=20260302093000;" if body else ""
    return f"QN={qn};ST=22;CN={cn};PW=1;MN={mn};Flag=5;CP=&&{time}{body}&&".encode()


def broken(whole: bytes, old: bytes, new: bytes) -> bytes:
    """A frame after damage on the line."""
    assert old in whole
    return whole.replace(old, new)


GOOD = frame(segment(1))
LOST_TAIL = frame(segment(4))[:-30]
SLOW = GOOD[: len(GOOD) // 2]


def source(_folder: Path, hasty: bool) -> Source:
    """On any free port."""
    return Stations(AirSettings(listen=HERE, pending_timeout_s=0.3) if hasty else AirSettings(listen=HERE))


def answers(received: bytes) -> list[str]:
    """Which CN each answer has."""
    return [found.decode() for found in re.findall(rb"CN=(\d{4})", received)]


CONTRACT = Contract(
    feed="air",
    source=source,
    port="hj212",
    registry=Registry(version=1, devices=(STATION, OTHERS)),
    registry_later=Registry(version=2, devices=(STATION, OTHERS, LATER)),
    answers=answers,
    accept=(
        Case(name="realtime data", sent=GOOD, records=("readings",), answers=("9014",)),
        Case(
            name="an hour's means",
            sent=frame(segment(2, cn="2061", body="a34004-Avg=35.0,a34004-Flag=N")),
            records=("readings",),
            answers=("9014",),
        ),
        Case(
            name="a device's own alarm",
            sent=frame(segment(3, cn="2072", body="a34004-Ala=160.0,AlarmType=1")),
            records=("alerts.air",),
            answers=("9014",),
        ),
    ),
    empty=Case(name="heartbeat", sent=frame(segment(5, cn="9015", body="")), empty=1, answers=("9013",)),
    refuse=(
        Case(name="a damaged byte", sent=broken(frame(segment(10)), b"35.0", b"36.0"), letters=("crc",)),
        Case(name="no length", sent=b"##00x1" + segment(11) + b"\r\n", letters=("length",)),
        Case(
            name="a lost tail, another frame behind",
            sent=LOST_TAIL + GOOD,
            letters=("length",),
            records=("readings",),
            answers=("9014",),
        ),
        Case(name="a frame without end", sent=LOST_TAIL, letters=("timeout",)),
        Case(
            name="no body",
            sent=frame(b"QN=12;ST=22;CN=2011;PW=1;MN=STATION;Flag=5"),
            letters=("syntax",),
            answers=("9014",),
        ),
        Case(name="no header", sent=frame(b"CP=&&a34004-Rtd=1&&"), letters=("syntax",)),
        Case(
            name="encrypted",
            sent=frame(b"QN=13;ST=22;CN=2011;PW=1;MN=STATION;Flag=9;CP=&&{0x0123456789abcdef}&&"),
            letters=("encrypted",),
            answers=("9014",),
        ),
    ),
    wrong_key=(
        Case(
            name="an MN that nobody knows",
            sent=frame(segment(20, mn="NOBODY")),
            letters=("unknown_device",),
            answers=("9014",),
        ),
        Case(
            name="an MN of another feed",
            sent=frame(segment(22, mn="CAMERA")),
            letters=("unknown_device",),
            answers=("9014",),
        ),
    ),
    several=None,
    stranger=Case(
        name="not registered yet",
        sent=frame(segment(21, mn="STRANGER")),
        letters=("unknown_device",),
        answers=("9014",),
    ),
    too_large=Case(
        name="an encrypted frame of more than 64 KiB",
        sent=b"##9999QN=14;ST=22;CN=2011;PW=1;MN=STATION;Flag=9;CP=&&{0x" + b"0" * 80_000 + b"\r\n",
        letters=("length",),
    ),
    slow=Case(name="half a frame, and silence", sent=SLOW, letters=("timeout",)),
    hostile=(
        ("nothing but beginnings", b"##" * 50_000),
        ("beginnings with a length", b"##9999" * 20_000),
        ("headers within headers", b"##9999QN=" * 10_000),
        ("a web browser", b"GET / HTTP/1.1\r\nHost: hub\r\n\r\n" * 100),
        ("zeros", bytes(200_000)),
        ("every byte", bytes(range(256)) * 500),
        ("a body of semicolons", frame(b"QN=15;CN=2011;MN=STATION;Flag=5;CP=&&" + b";" * 9_000 + b"&&")),
        ("a number as long as a frame", frame(segment(16, body=f"a34004-Rtd={'9' * 9_000}"))),
        ("a name as long as a frame", frame(segment(17, body=f"{'a' * 9_000}-Rtd=1"))),
        ("control characters", frame(segment(18, mn="\x1b[2J\x07"))),
    ),
    away=(),
    dispensable=2,  # CR LF
)
