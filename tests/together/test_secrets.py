"""No secret and nothing of a person comes out where it does not belong: real connectors, real sockets, no Kafka.

Each connector starts by its copy of the registry, keeps in the spool what it takes until that is full, and is sent planted values
(tests/planted.py) in good, unusable, broken and refused messages.
"""

import json
import socket
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from urllib.parse import quote

import pytest

from connectors.air.hj212 import frame
from connectors.patrol.settings import PatrolSettings
from hub.__main__ import main
from hub.core.registry import Device, Vendor
from hub.registry import from_pieces, pieces, write_copy
from tests.brokers import until
from tests.connectors.camera.layouts import JPEG, MAC, PICTURE, PLAIN, TEXT, multipart, xml
from tests.connectors.contract import http
from tests.connectors.patrol.test_features import FLAT, RING, SHIPPED, SPOT, TOWN, body
from tests.faults.processes import Connector, Served
from tests.planted import (
    ALL_OF_A_PERSON,
    BEARER,
    IDENTITY_CARD,
    MOBILE,
    PERSON,
    PLATE,
    STATION_PASSWORD,
    STRANGE_KEY,
    VENDOR_KEY,
    planted_in,
)

FEEDS = ("air", "camera", "patrol")
NOWHERE = "127.0.0.1:9"
SPOOL_BYTES = 100_000
ROOM = 400
"""So many messages are more than the spool takes."""
TOO_MANY = PatrolSettings().max_body // len(MOBILE) + 1
REGISTRY = replace(
    SHIPPED,
    devices=(
        Device(id="za-air-1", mn="STATION", vendor="acme", feed="air", town=TOWN),
        Device(id="cam-1", mn=MAC, vendor="tianwei", feed="camera", town=TOWN, lon=113.9, lat=34.7),
        Device(id="uav-1", mn="UAV-1", vendor="tianwei", feed="patrol", town=TOWN),
        Device(id="uav-2", mn="UAV-2", vendor="someone", feed="patrol", town=TOWN),
    ),
    vendors=(
        Vendor(
            id="tianwei",
            name="天卫",
            feeds=frozenset({"camera", "patrol"}),
            per_s=10_000,
            keys=(replace(http.key(VENDOR_KEY), id="k1"), replace(http.key(BEARER, ends=1), id="k2")),
        ),
    ),
)


@dataclass
class Sent:
    """What a connector was sent and answered, and what it showed of itself."""

    connector: Connector
    answers: list[bytes] = field(default_factory=list)
    pages: str = ""

    @property
    def log(self) -> str:
        return self.connector.log.read_text(encoding="utf-8")

    @property
    def events(self) -> set[str]:
        return {str(line["event"]) for line in self.connector.told()}

    def send(self, *messages: bytes) -> None:
        """Each over a connection of its own, heard to the end."""
        host, port = self.connector.address.split(":")
        for message in messages:
            with socket.create_connection((host, int(port)), timeout=10) as sender:
                sender.sendall(message)
                sender.shutdown(socket.SHUT_WR)
                heard = b""
                while some := sender.recv(65536):
                    heard += some
            self.answers.append(heard)

    def look(self) -> None:
        """What the metrics port says, also where it is not well."""
        ports = self.connector.ports()
        assert ports
        for path in ("metrics", "live", "ready", f"nowhere?key={VENDOR_KEY}"):
            try:
                with urllib.request.urlopen(f"http://127.0.0.1:{ports['metrics']}/{path}", timeout=5) as answer:
                    self.pages += answer.read().decode()
            except urllib.error.HTTPError as error:
                with error:
                    self.pages += error.read().decode()


def station(qn: int, mn: str = "STATION", flag: int = 5, data: str = f"Contact={MOBILE}") -> bytes:
    time_and_value = "DataTime=20260302093000;a34004-Rtd=35.0,a34004-Flag=N;"
    return f"QN={qn};ST=22;CN=2011;PW={STATION_PASSWORD};MN={mn};Flag={flag};CP=&&{time_and_value}{data}&&".encode()


PERSONAL = f"Contact={MOBILE},Card={IDENTITY_CARD},Plate={PLATE}"
GOOD_STATION = frame(station(1, data=PERSONAL))
AIR = (
    GOOD_STATION,
    GOOD_STATION.replace(b"35.0", b"36.0"),
    GOOD_STATION[:-40],
    GOOD_STATION[:-40] + GOOD_STATION,
    b"##00x1" + station(2, data=PERSONAL) + b"\r\n",
    frame(station(3, mn="NOBODY", data=PERSONAL)),
    frame(station(4, mn=MOBILE)),
    frame(station(5, mn=IDENTITY_CARD)),
    frame(station(6, mn=PLATE)),
    frame(station(7, flag=9, data="").replace(b"CP=&&", b"CP=&&{0x0123}" + MOBILE.encode())),
    frame(f"QN=8;CN=2011;PW={STATION_PASSWORD};{PERSONAL}".encode()),
    frame(f"QN=9;ST=22;CN=2011;PW={STATION_PASSWORD};MN=STATION;Flag={MOBILE};CP=&&{PERSONAL}&&".encode()),
    frame(f"QN=10;ST=22;CN=2011;PW={STATION_PASSWORD};MN=STATION;Flag=5;CP=&&DataTime={MOBILE};{PERSONAL}&&".encode()),
    f"GET /{VENDOR_KEY}?phone={MOBILE} HTTP/1.1\r\nAuthorization: Bearer {BEARER}\r\n\r\n".encode(),
)
HEADERS = {"Cookie": f"session={BEARER}", "X-Contact": MOBILE, "Proxy-Authorization": f"Basic {BEARER}"}


def shown(content: bytes | str, content_type: str = "application/xml", path: str = f"/in/isapi/{VENDOR_KEY}") -> bytes:
    raw = content.encode() if isinstance(content, str) else content
    return http.request(path, raw, content_type, {**HEADERS, "Connection": "close"})


ANPR = f"<ANPR><licensePlate>{PLATE}</licensePlate><ownerName>{ALL_OF_A_PERSON}</ownerName></ANPR>"
WITH_PICTURE = PICTURE.replace("fireDetection.jpg", f"{PLATE}_{MOBILE}.jpg")
GOOD_ALARM = shown(xml(name=ALL_OF_A_PERSON, more=ANPR))
CAMERA = (
    GOOD_ALARM,
    shown(multipart((TEXT, xml(channel="3", more=ANPR).encode()), (WITH_PICTURE, JPEG)), PLAIN),
    shown(xml("ANPR", more=ANPR)),
    shown(xml(mac=MOBILE)),
    shown(xml(mac=PLATE, name=ALL_OF_A_PERSON)),
    shown(xml(without=("macAddress", "ipAddress"), name=ALL_OF_A_PERSON)),
    shown(xml(f"type-{MOBILE}", more=ANPR)),
    shown(xml(time=MOBILE, more=ANPR)),
    shown(xml(more=ANPR)[:-30]),
    shown(f"<{PERSON}>{MOBILE}</{PLATE}>"),
    shown(f'{{"licensePlate": "{PLATE}", "phone": {MOBILE}, ', "application/json"),
    shown(f'{{"macAddress": {MOBILE}, "eventType": ["{PLATE}"]}}', "application/json"),
    shown(multipart((WITH_PICTURE, MOBILE.encode())), PLAIN),
    shown(xml(), f"text/{MOBILE}"),
    shown(xml(), f"multipart/form-data; boundary={MOBILE}"),
    shown(xml(), path=f"/in/isapi/{STRANGE_KEY}"),
    shown(xml(), path=f"/in/isapi/{BEARER}"),
    shown(xml(), path=f"/in/{VENDOR_KEY}?phone={MOBILE}"),
    shown(xml(), path=f"/in/isapi/{VENDOR_KEY}/{MOBILE}"),
    shown(b"x" * 100).replace(b"POST", b"GET"),
    shown(xml()).replace(b"HTTP/1.1", f"HTTP/{MOBILE}".encode()),
    shown(xml()).replace(b"Content-Length: ", f"Content-Length: {MOBILE}x".encode()),
    shown(xml(more=ANPR)).replace(b"Content-Length: ", b"Content-Length: 9"),
    shown(f"{MOBILE}\r\n").replace(b"Content-Length: 13", b"Transfer-Encoding: chunked"),
    f"{MOBILE} {VENDOR_KEY}\r\n\r\n".encode(),
)


def pushed(content: object, content_type: str = "application/json", key: str = VENDOR_KEY, **more: str) -> bytes:
    headers = {**HEADERS, "Authorization": f"Bearer {key}", "Connection": "close", **more}
    return http.request("/in/patrol", body(content), content_type, headers)


def spot(**changed: object) -> dict[str, object]:
    own = {**SPOT["properties"], "当事人": PERSON, "联系电话": MOBILE, "TZ": ALL_OF_A_PERSON, "身份证": IDENTITY_CARD}
    return {**SPOT, "properties": {**own, **changed.pop("properties", {})}, **changed}  # type: ignore[dict-item]


FLAT_OF_A_PERSON = {**FLAT, "description": ALL_OF_A_PERSON, "address": f"{MOBILE}号", PERSON: MOBILE}
GOOD_SPOT = pushed(FLAT_OF_A_PERSON)
PATROL = (
    GOOD_SPOT,
    pushed(spot()),
    pushed({"type": "FeatureCollection", "features": [spot(), MOBILE, {PERSON: MOBILE}, spot(geometry=MOBILE)]}),
    pushed({**FLAT_OF_A_PERSON, "coordType": ALL_OF_A_PERSON}),
    pushed({**FLAT_OF_A_PERSON, "longitude": MOBILE, "latitude": PLATE}),
    pushed({**FLAT_OF_A_PERSON, "longitude": 13.98765, "latitude": 1.42}),
    pushed({**FLAT_OF_A_PERSON, "deviceSn": "UAV-2"}),
    pushed({**FLAT_OF_A_PERSON, "deviceSn": MOBILE, "foundAt": MOBILE, "floors": MOBILE}),
    pushed({**FLAT_OF_A_PERSON, "imagesJson": f'["https://user:{BEARER}@img.example/{PLATE}.jpg?t={BEARER}"]'}),
    pushed(json.dumps({**FLAT_OF_A_PERSON, "description": f"\ud800{ALL_OF_A_PERSON}"}).encode()),
    pushed(spot(geometry={"type": "Polygon", "coordinates": [[*RING[:2], [float(MOBILE), 1.0], RING[0]]]})),
    pushed(f'{{"phone": {MOBILE}, "name": "{PERSON}'.encode()),
    pushed(f'{{"phone": {MOBILE}, "name": NaN}}'.encode()),
    pushed(f"{ALL_OF_A_PERSON}".encode("utf-16")),
    pushed(MOBILE.encode() * TOO_MANY),
    pushed([]),
    pushed(MOBILE),
    pushed("[" * 100 + MOBILE + "]" * 100),
    pushed(FLAT_OF_A_PERSON, f"text/{MOBILE}"),
    pushed(FLAT_OF_A_PERSON, **{"Content-Encoding": MOBILE}),
    pushed(FLAT_OF_A_PERSON, key=STRANGE_KEY),
    pushed(FLAT_OF_A_PERSON, key=BEARER),
    pushed(FLAT_OF_A_PERSON, Authorization=f"Basic {BEARER}"),
    pushed(FLAT_OF_A_PERSON, Authorization=BEARER),
    pushed(FLAT_OF_A_PERSON, **{"Accept-Language": MOBILE}),
    pushed(FLAT_OF_A_PERSON, **{"Idempotency-Key": MOBILE * 30}),
    pushed(FLAT_OF_A_PERSON).replace(b"/in/patrol", f"/in/patrol/{VENDOR_KEY}".encode()),
    pushed(FLAT_OF_A_PERSON).replace(b"Content-Length: ", b"Content-Length: 9"),
)
MESSAGES: Mapping[str, tuple[bytes, ...]] = {"air": AIR, "camera": CAMERA, "patrol": PATROL}
MORE: Mapping[str, Callable[[int], bytes]] = {
    "air": lambda number: frame(station(100 + number, data=PERSONAL)),
    "camera": lambda number: shown(xml(channel=str(number), name=ALL_OF_A_PERSON)),
    "patrol": lambda number: pushed({**FLAT_OF_A_PERSON, "code": f"WJ{number}"}),
}
OK = {"air": b"CN=9014", "camera": b"HTTP/1.1 200 ", "patrol": b"HTTP/1.1 200 "}


@pytest.fixture(scope="module")
def sent(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Mapping[str, Sent]]:
    """All connectors, each with all of its messages behind it, and ended."""
    data = tmp_path_factory.mktemp("secrets")
    write_copy(data / "registry/last.json", from_pieces(1, pieces(REGISTRY)))
    connectors = {feed: Connector(data, NOWHERE, feed) for feed in FEEDS}
    for connector in connectors.values():
        connector.environment["GRIDHUB__SPOOL__MAX_BYTES"] = str(SPOOL_BYTES)
        connector.begin()
    try:
        found = {}
        for feed, connector in connectors.items():
            until(lambda: connector.ports() is not None, 30)  # noqa: B023 - looked at in the same turn
            one = found[feed] = Sent(connector)
            one.send(*MESSAGES[feed])
            one.look()
            for number in range(ROOM):
                one.send(MORE[feed](number))
                if OK[feed] not in one.answers[-1]:
                    break
            one.look()
        codes = {connector.stop() for connector in connectors.values()}
        assert codes == {0}
        yield found
    finally:
        for connector in connectors.values():
            if connector.process.poll() is None:
                connector.kill()


@pytest.mark.slow
@pytest.mark.parametrize("feed", FEEDS)
def test_nothing_planted_comes_out(sent: Mapping[str, Sent], feed: str) -> None:
    one = sent[feed]
    assert not planted_in(one.log)
    assert not planted_in(one.pages)
    # A station is answered with its own PW and MN, as the standard wants.
    failed = [answer for answer in one.answers if OK[feed] not in answer]
    assert not [answer for answer in failed if planted_in(answer.decode(errors="replace"))]


@pytest.mark.slow
@pytest.mark.parametrize("feed", FEEDS)
def test_good_unusable_broken_and_refused_messages_were_sent(sent: Mapping[str, Sent], feed: str) -> None:
    one = sent[feed]
    assert {"serving", "dead letter", "spool full", "stopped"} <= one.events
    assert f'gridhub_messages_total{{fate="spooled",feed="{feed}"}} 0.0' not in one.pages
    assert one.connector.told()[-1]["refused"]
    assert OK[feed] in one.answers[0]
    if feed != "air":
        assert "request refused" in one.events
        seen = {answer.split()[1] for answer in one.answers if answer}
        wanted = {b"200", b"400", b"401", b"404", b"415", b"503"}
        assert wanted | {b"405" if feed == "camera" else b"413"} <= seen


SEEN_PATHS = (
    f"/?town={MOBILE}&{quote(PLATE)}=%ff",
    f"/tickets/{IDENTITY_CARD}?key={VENDOR_KEY}",
    f"/in/isapi/{VENDOR_KEY}",
    f"/schemas/ids/{MOBILE}",
    f"/subjects/{MOBILE}/versions/{VENDOR_KEY}",
    "/metrics",
    "/ready",
)


@pytest.mark.slow
@pytest.mark.parametrize("command", [["page"], ["schemas", "serve"]], ids=" ".join)
def test_nothing_that_is_asked_for_is_logged_or_counted(command: list[str], tmp_path: Path) -> None:
    """What is read is answered with its own address; that goes no further."""
    environment = {
        f"GRIDHUB__{name}": NOWHERE if name == "KAFKA__BOOTSTRAP" else "127.0.0.1:0"
        for name in ("KAFKA__BOOTSTRAP", "PAGE__LISTEN", "SCHEMAS__LISTEN", "TELEMETRY__LISTEN")
    }
    process = Served(command[0], ["hub", *command], tmp_path, environment)
    process.start()
    try:
        ports = process.ports()
        assert ports
        for port in ports.values():
            for method in ("GET", "POST", "BREW"):
                for path in SEEN_PATHS:
                    head = f"{method} {path} HTTP/1.1\r\nHost: hub\r\nAuthorization: Bearer {BEARER}\r\nConnection: close\r\n\r\n"
                    with socket.create_connection(("127.0.0.1", port), timeout=10) as reader:
                        reader.sendall(head.encode())
                        assert reader.recv(65536).startswith(b"HTTP/1.")
        # Where there is one port, it tells its metrics, too.
        *_, metrics = ports.values()
        with urllib.request.urlopen(f"http://127.0.0.1:{metrics}/metrics", timeout=5) as answer:
            counted = answer.read().decode()
        assert "gridhub_" in counted
        assert not planted_in(counted)
        assert process.stop() == 0
    finally:
        process.kill()
    assert not planted_in(process.log.read_text(encoding="utf-8"))


VENDORS = {"air": "qinghe", "camera": "tianwei", "patrol": "xunjian"}


@pytest.mark.parametrize("feed", FEEDS)
def test_a_recording_that_is_tried_says_nothing_of_a_person(
    feed: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """A vendor's engineer shows what comes of it to others."""
    path = tmp_path / "recording"
    codes = set()
    for message in MESSAGES[feed]:
        path.write_bytes(message)
        codes.add(main(["vendor", "try", str(path), "--vendor", VENDORS[feed], "--feed", feed]))
    assert 1 in codes
    said = capsys.readouterr()
    assert not planted_in(said.out + said.err)
