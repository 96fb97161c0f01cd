"""Cameras push over real sockets: pictures first, then the record, then the answer; and whatever is wrong is kept."""

import asyncio
import hashlib
from collections.abc import Awaitable, Callable
from dataclasses import replace
from io import BytesIO
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from connectors.camera.serve import CameraSource
from connectors.camera.settings import CameraSettings
from connectors.camera.simulate import TROUBLES, senders
from hub.core.events import CameraAlert, DeadLetter
from hub.core.registry import Registry, VendorKey
from hub.evidence import MOST_BYTES, Evidence
from hub.outbox import Fate, Outbox
from hub.settings import HostPort
from hub.wire import Wire
from tests.connectors.camera.layouts import JPEG, LAYOUTS, PICTURE, PLAIN, TEXT, multipart, xml
from tests.connectors.camera.test_translate import REGISTRY as CAMERAS
from tests.connectors.camera.test_translate import VENDOR
from tests.doubles import FakeLog, RememberingTelemetry

KEY = "demo-tianwei-key"
WIRE = Wire.load()
REGISTRY = replace(
    CAMERAS,
    vendors=(
        replace(VENDOR, keys=(VendorKey(id="k", sha256=hashlib.sha256(KEY.encode()).hexdigest()),), per_s=10_000),
    ),
)


class Served:
    """The source on a port of its own, with what it published and how it answers."""

    def __init__(self, folder: Path) -> None:
        self.log, self.telemetry = FakeLog(keeps=True), RememberingTelemetry()
        self.evidence = Evidence(folder)
        settings = CameraSettings(listen=HostPort(host="127.0.0.1", port=0))
        self.source = CameraSource(settings, self.evidence)
        self.outbox: Outbox
        self.url = ""

    async def push(self, body: bytes, content_type: str, key: str = KEY) -> tuple[int, Any]:
        async with aiohttp.ClientSession() as session:
            url = f"{self.url}/in/isapi/{key}"
            async with session.post(url, data=BytesIO(body), headers={"Content-Type": content_type}) as answer:
                return answer.status, await answer.json(content_type=None)

    def records(self) -> list[Any]:
        return [WIRE.decode(sent.value) for sent in self.log.sent]


def served(folder: Path, test: Callable[[Served], Awaitable[None]]) -> None:
    async def scenario() -> None:
        one = Served(folder)
        one.outbox = Outbox("camera", one.log, WIRE, one.telemetry, 5)
        ports = await one.source.start(one.outbox, one.telemetry, lambda: REGISTRY)
        one.url = f"http://127.0.0.1:{ports['http']}"
        try:
            async with asyncio.timeout(30):
                await test(one)
        finally:
            await one.source.stop()
        balance = one.outbox.balance()
        assert balance["received"] == sum(count for name, count in balance.items() if name != "received")
        assert balance["pending"] == 0

    asyncio.run(scenario())


def test_pictures_are_there_before_the_alert_that_names_them(tmp_path: Path) -> None:
    async def test(camera: Served) -> None:
        body = multipart((TEXT, xml().encode()), (PICTURE, JPEG))
        status, told = await camera.push(body, PLAIN)
        assert (status, told["fate"]) == (200, "published")
        [alert] = camera.records()
        assert isinstance(alert, CameraAlert)
        assert told["id"] == alert.id
        [kept] = alert.evidence
        assert (kept.sha256, kept.media_type, kept.bytes) == (hashlib.sha256(JPEG).hexdigest(), "image/jpeg", len(JPEG))
        assert camera.evidence.path(kept.sha256).read_bytes() == JPEG
        assert [key for key, _, _ in camera.log.life_signs] == ["cam-1"]
        assert [sent.topic for sent in camera.log.sent] == ["alerts.camera"]

    served(tmp_path, test)


@pytest.mark.parametrize("event_type", ["ANPR", "vehicledetection", "faceCapture", "PeopleCounting"])
def test_pictures_of_plates_and_persons_are_nowhere(tmp_path: Path, event_type: str) -> None:
    async def test(camera: Served) -> None:
        plate = "<ANPR><licensePlate>豫A12345</licensePlate></ANPR>"
        named = PICTURE.replace("fireDetection.jpg", "豫A12345.jpg")
        status, _ = await camera.push(multipart((TEXT, xml(event_type, more=plate).encode()), (named, JPEG)), PLAIN)
        assert status == 200
        assert all(one.evidence == () and "12345" not in repr(one) for one in camera.records())

    served(tmp_path, test)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_what_waits_for_kafka_on_the_disk_holds_no_picture_a_second_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test(camera: Served) -> None:
        given, real = list[bytes](), camera.outbox.publish

        def publish(topic: str, event: Any, raw: bytes) -> "asyncio.Future[Fate]":
            given.append(raw)
            return real(topic, event, raw)

        monkeypatch.setattr(camera.outbox, "publish", publish)
        text = xml().encode()
        await camera.push(multipart((TEXT, text), (PICTURE, JPEG)), PLAIN)
        assert given == [text]

    served(tmp_path, test)


def test_a_fire_beside_a_number_plate_keeps_its_pictures(tmp_path: Path) -> None:
    async def test(camera: Served) -> None:
        both = (xml("ANPR") + xml(declaration="")).encode()
        status, told = await camera.push(multipart((TEXT, both), (PICTURE, JPEG)), PLAIN)
        assert (status, [one["fate"] for one in told["messages"]]) == (200, ["published", "published"])
        assert [(one.kind, len(one.evidence)) for one in camera.records()] == [
            ("camera.vehicle", 0),
            ("camera.fire", 1),
        ]

    served(tmp_path, test)


def test_a_picture_above_the_limit_costs_nothing_of_what_was_answered(tmp_path: Path) -> None:
    """The alarm goes on with the pictures that may be kept, and the whole push lies in the evidence store."""

    async def test(camera: Served) -> None:
        large = JPEG + bytes(MOST_BYTES)
        body = multipart((TEXT, xml().encode()), (PICTURE, large), (PICTURE, JPEG))
        status, told = await camera.push(body, PLAIN)
        assert (status, [one.get("reason", "") for one in told["messages"]]) == (200, ["", "too_large"])
        alert, letter = camera.records()
        assert [one.sha256 for one in alert.evidence] == [hashlib.sha256(JPEG).hexdigest()]
        assert camera.evidence.path(letter.evidence_sha256).read_bytes() == body
        await camera.push(multipart((TEXT, xml("ANPR").encode()), (PICTURE, large)), PLAIN)
        assert [one.kind for one in camera.records()[2:]] == ["camera.vehicle"], "of plates nothing is kept"

    served(tmp_path, test)


def test_of_an_unknown_device_the_pictures_are_kept_once(tmp_path: Path) -> None:
    async def test(camera: Served) -> None:
        body = multipart((TEXT, xml(mac="00:00:00:00:00:09").encode()), (PICTURE, JPEG))
        await camera.push(body, PLAIN)
        [letter] = camera.records()
        assert letter.raw == body

    served(tmp_path, test)
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


def test_what_is_broken_beside_an_alarm_is_kept_whole_and_the_alarm_goes_on(tmp_path: Path) -> None:
    async def test(camera: Served) -> None:
        parts = [(TEXT, b"<a>"), (TEXT, xml().encode()), (TEXT, xml(mac="00:00:00:00:00:09").encode()), (PICTURE, JPEG)]
        body = multipart(*parts)
        status, told = await camera.push(body, PLAIN)
        alert, letter = camera.records()
        assert (alert.kind, len(alert.evidence)) == ("camera.fire", 1)
        assert (letter.reason, letter.raw) == ("syntax", body)
        assert (status, told["id"]) == (200, alert.id)
        assert told["messages"] == [
            {"id": alert.id, "fate": "published"},
            {"id": letter.id, "fate": "dead-lettered", "reason": "syntax"},
        ]

    served(tmp_path, test)


def test_without_a_disk_for_pictures_nothing_is_answered_yes(tmp_path: Path) -> None:
    async def test(camera: Served) -> None:
        (tmp_path / "file").write_text("no folder")
        camera.source.evidence = Evidence(tmp_path / "file")
        status, _ = await camera.push(multipart((TEXT, xml().encode()), (PICTURE, JPEG)), PLAIN)
        assert status == 503
        assert not camera.log.sent

    served(tmp_path, test)


def test_every_layout_is_answered_and_kept(tmp_path: Path) -> None:
    async def test(camera: Served) -> None:
        for layout in LAYOUTS:
            status, told = await camera.push(layout.body, layout.content_type or "application/octet-stream")
            assert status == 200, (layout.name, told)
            assert told["fate"] in {"published", "dead-lettered", "empty"}, layout.name

    served(tmp_path, test)


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"<EventNotificationAlert>", "syntax"),
        (xml(mac="00:00:00:00:00:09").encode(), "unknown_device"),
        (xml(mac="00:00:00:00:00:01").encode(), "not_yours"),
        (b"<a>" * 10_000, "too_large"),
    ],
)
def test_what_cannot_be_used_is_kept_whole_and_answered(tmp_path: Path, body: bytes, reason: str) -> None:
    async def test(camera: Served) -> None:
        status, told = await camera.push(body, "application/xml")
        assert (status, told["fate"]) == (200, "dead-lettered")
        [letter] = camera.records()
        assert isinstance(letter, DeadLetter)
        assert (letter.reason, letter.raw, letter.vendor, letter.answered) == (reason, body, "tianwei", True)

    served(tmp_path, test)


def test_what_is_long_and_cannot_be_used_lies_in_the_evidence_store(tmp_path: Path) -> None:
    async def test(camera: Served) -> None:
        body = b"\x00" * (600 * 1024)
        status, _ = await camera.push(body, "application/octet-stream")
        assert status == 200
        [letter] = camera.records()
        assert isinstance(letter, DeadLetter)
        assert (letter.raw, letter.evidence_sha256) == (b"", hashlib.sha256(body).hexdigest())
        assert camera.evidence.path(letter.evidence_sha256 or "").read_bytes() == body

    served(tmp_path, test)


def test_a_wrong_key_is_told_so_and_nothing_is_kept(tmp_path: Path) -> None:
    async def test(camera: Served) -> None:
        status, _ = await camera.push(xml().encode(), "application/xml", key="wrong")
        assert status == 401
        assert not camera.log.sent

    served(tmp_path, test)


def test_simulated_cameras_get_what_they_expect(tmp_path: Path) -> None:
    """Every firmware and every trouble: what the simulator says should become of a message becomes of it."""

    async def test(camera: Served) -> None:
        class Options:
            devices, seed, interval, troubles, key = None, 7, 1.0, 0.6, ""

        registry = Registry(devices=tuple(one for one in REGISTRY.devices if one.vendor == "tianwei"))
        fates = {"alert": "published", "dead-letter": "dead-lettered", "empty": "empty"}
        seen = set()
        for sender in senders(registry, Options):  # type: ignore[arg-type]
            for _ in range(60):
                _, message = next(sender.messages)
                seen.add(message.trouble)
                status, told = await camera.push(message.body, message.content_type, message.path.rpartition("/")[2])
                assert (status, told["fate"]) == (200, fates[message.expect]), message
        assert len(seen) >= len(TROUBLES)

    served(tmp_path, test)
