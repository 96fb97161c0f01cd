"""What is fuzzed: each takes any bytes at all, and raises only where the program has a defect.

A codec may refuse what it is given; it says so with Rejected, or as a fault. Whatever it does not refuse must become a record that goes through Kafka
unchanged, or be refused by the schema. Each returns how many did.
"""

from collections.abc import Callable, Mapping
from dataclasses import replace

from connectors.air import translate as air
from connectors.air.hj212 import Fault, Framer, Message, frame
from connectors.camera import isapi
from connectors.camera import translate as camera
from connectors.patrol import features
from connectors.patrol import translate as patrol
from hub.core.errors import Rejected
from hub.core.registry import Device, Registry, Vendor
from hub.registry_check import load
from hub.shipped import shipped
from hub.wire import Record, Wire, headers

ACCEPTED_AT = 1_772_415_000_000
WIRE = Wire.load()
REGISTRY: Registry = load(shipped("deploy/town"))
STATION = Device(id="za-air-1", mn="STATION", vendor="acme", feed="air", town="410122105")
CAMERAS = camera.Cameras(REGISTRY)
ANY_CAMERA = next(device for device in REGISTRY.devices if device.feed == "camera")
TOWN = patrol.Town(REGISTRY)
FRAMED, MOST_IN_A_FRAME = 128, 9_999
DATUMS = ("WGS84", "GCJ02", "BD09", "EPSG:4547")


def hj212(data: bytes) -> int:
    """The first byte says how the rest is cut, and what comes out must not depend on it; from 128 on the rest is text that is framed here, since no chance
    finds a right checksum.
    """
    if not data:
        return 0
    stream, size = data[1:], 1 + data[0] % FRAMED
    if data[0] >= FRAMED:
        stream = b"".join(frame(text) for text in stream.split(b"\n") if len(text) <= MOST_IN_A_FRAME)
    whole = _fed([stream])
    assert whole == _fed([stream[start : start + size] for start in range(0, len(stream), size)])
    messages = [one for one in whole if isinstance(one, Message)]
    records = [air.translate(one, STATION, ACCEPTED_AT, air.PartTimes(), 600) for one in messages]
    return sum(_goes_through(record) for record in records if record is not None)


def isapi_push(data: bytes) -> int:
    """Up to the first line end: the Content-Type. Whatever a device calls itself, it is one that the registry knows."""
    content_type, _, body = data.partition(b"\n")
    try:
        pushed = isapi.read(body, content_type.decode("latin-1"))
    except Rejected:
        return 0
    through = 0
    for event in pushed.events:
        for known in (event, replace(event, devices=(ANY_CAMERA.mn,))):
            try:
                one = camera.translate(known, _vendor(ANY_CAMERA.vendor), CAMERAS, ACCEPTED_AT)
            except Rejected:
                continue
            if not isinstance(one, camera.Alive):
                through += _goes_through(one)
    return through


def patrol_push(data: bytes) -> int:
    """The first byte says in which datum its vendor measures."""
    if not data:
        return 0
    vendor = replace(_vendor("xunjian"), datum=DATUMS[data[0] % len(DATUMS)])
    try:
        found = features.read(data[1:])
    except Rejected:
        return 0
    through = 0
    for index, feature in enumerate(found):
        try:
            alert = patrol.translate(feature, vendor, TOWN, ACCEPTED_AT, key="k", index=index)
        except Rejected:
            continue
        through += _goes_through(alert)
    return through


def wire(data: bytes) -> int:
    """A value of Kafka. What can be read is written again, and read as the same."""
    try:
        record = WIRE.decode(data)
    except Rejected:
        return 0
    # What an older form says, the newest may not let a program say.
    return _goes_through(record)


def _fed(chunks: list[bytes]) -> list[Message | Fault]:
    framer = Framer()
    return [one for chunk in chunks for one in framer.feed(chunk)] + framer.close()


def _goes_through(record: Record) -> bool:
    try:
        value = WIRE.encode(record)
    except Rejected:
        return False
    headers(record)
    # By bytes: a number that is none is not equal to itself.
    assert WIRE.encode(WIRE.decode(value)) == value
    return True


def _vendor(name: str) -> Vendor:
    return next(vendor for vendor in REGISTRY.vendors if vendor.id == name)


TARGETS: Mapping[str, Callable[[bytes], int]] = {
    "hj212": hj212,
    "isapi": isapi_push,
    "patrol": patrol_push,
    "wire": wire,
}
