"""Patrols push over real sockets: each feature by itself, and what is wrong is told."""

import asyncio
import hashlib
import json
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import aiohttp

from connectors.patrol.serve import PatrolSource
from connectors.patrol.settings import PatrolSettings
from connectors.patrol.simulate import senders
from hub.core.events import DeadLetter, PatrolAlert
from hub.core.registry import VendorKey
from hub.evidence import Evidence
from hub.http_in import Push
from hub.outbox import Fate, Outbox
from hub.settings import HostPort
from hub.wire import Wire
from tests.connectors.patrol.test_features import FLAT, SHIPPED, SPOT, SQUARE, body, collection
from tests.doubles import FakeLog, RememberingTelemetry

KEY = "demo-xunjian-key"
WIRE = Wire.load()
REGISTRY = replace(
    SHIPPED,
    vendors=tuple(
        replace(one, per_s=10_000, keys=(VendorKey(id="k", sha256=hashlib.sha256(KEY.encode()).hexdigest()),))
        if one.id == "xunjian"
        else one
        for one in SHIPPED.vendors
    ),
)


class Served:
    def __init__(self, folder: Path) -> None:
        self.log, self.telemetry = FakeLog(keeps=True), RememberingTelemetry()
        settings = PatrolSettings(listen=HostPort(host="127.0.0.1", port=0))
        self.source = PatrolSource(settings, Evidence(folder))
        self.outbox: Outbox
        self.url = ""

    async def push(self, content: Any, key: str = KEY, **headers: str) -> tuple[int, Any]:
        async with aiohttp.ClientSession() as session:
            told = {"Authorization": f"Bearer {key}", "Content-Type": "application/json", **headers}
            async with session.post(f"{self.url}/in/patrol", data=body(content), headers=told) as answer:
                return answer.status, await answer.json(content_type=None)

    def records(self) -> list[Any]:
        return [WIRE.decode(sent.value) for sent in self.log.sent]


def served(folder: Path, test: Callable[[Served], Awaitable[None]]) -> None:
    async def scenario() -> None:
        one = Served(folder)
        one.outbox = Outbox("patrol", one.log, WIRE, one.telemetry, 5)
        ports = await one.source.start(one.outbox, one.telemetry, lambda: REGISTRY)
        one.url = f"http://127.0.0.1:{ports['http']}"
        try:
            async with asyncio.timeout(60):
                await test(one)
        finally:
            await one.source.stop()
        balance = one.outbox.balance()
        assert balance["received"] == sum(count for name, count in balance.items() if name != "received")

    asyncio.run(scenario())


def test_each_feature_is_a_message_and_a_broken_one_costs_the_others_nothing(tmp_path: Path) -> None:
    async def test(patrol: Served) -> None:
        broken = {**SPOT, "geometry": {"type": "Polygon", "coordinates": [[[1, 2]]]}}
        status, told = await patrol.push(collection(SPOT, broken, FLAT))
        assert (status, told["id"], told["fate"]) == (200, "xunjian/410122-202603-0017/20260301", "dead-lettered")
        assert [(one["fate"], one.get("reason")) for one in told["messages"]] == [
            ("published", None),
            ("dead-lettered", "syntax"),
            ("published", None),
        ]
        assert [one["id"] for one in told["messages"]] == [one.id for one in patrol.records()]
        first, second, third = patrol.records()
        assert isinstance(first, PatrolAlert)
        assert isinstance(second, DeadLetter)
        assert isinstance(third, PatrolAlert)
        assert (second.reason, second.vendor, json.loads(second.raw)) == ("syntax", "xunjian", broken)
        assert second.detail.startswith("feature 2: ")
        assert patrol.outbox.balance()["received"] == 3

    served(tmp_path, test)


def test_others_are_heard_between_the_features_of_a_large_push(tmp_path: Path) -> None:
    async def test(patrol: Served) -> None:
        many = [{**FLAT, "code": f"WJ{number}"} for number in range(100)]
        turns = 0

        async def others() -> None:
            nonlocal turns
            while True:
                turns += 1
                await asyncio.sleep(0)

        [vendor] = [one for one in REGISTRY.vendors if one.id == "xunjian"]
        push = Push(
            vendor=vendor,
            body=body(many),
            content_type="",
            headers={},
            idempotency_key="",
            accepted_at=1_772_330_400_000,
        )
        beside = asyncio.create_task(others())
        taken = await patrol.source.take(push, patrol.outbox)
        beside.cancel()
        assert len(taken.parts) == 100
        assert turns >= 100
        await asyncio.gather(*(one for one in taken.fates if not isinstance(one, Fate)))

    served(tmp_path, test)


def test_a_body_that_is_nothing_is_kept_and_its_sender_told(tmp_path: Path) -> None:
    async def test(patrol: Served) -> None:
        status, told = await patrol.push(b'{"features": [')
        assert (status, told["status"], told["fate"]) == (400, 400, "dead-lettered")
        [letter] = patrol.records()
        assert isinstance(letter, DeadLetter)
        assert (letter.raw, letter.reason, letter.id) == (b'{"features": [', "syntax", told["id"])
        status, told = await patrol.push(b"{", **{"Accept-Language": "zh-CN"})
        assert "已存为" in told["detail"]

    served(tmp_path, test)


def test_what_is_long_and_broken_lies_in_the_evidence_store(tmp_path: Path) -> None:
    async def test(patrol: Served) -> None:
        content = {**FLAT, "longitude": "x", "note": "y" * 600_000}
        status, _ = await patrol.push(content)
        [letter] = patrol.records()
        assert isinstance(letter, DeadLetter)
        assert (status, letter.raw) == (200, b"")
        assert json.loads(Evidence(tmp_path).path(letter.evidence_sha256 or "").read_bytes()) == content

    served(tmp_path, test)


def test_keys_and_repeats(tmp_path: Path) -> None:
    async def test(patrol: Served) -> None:
        assert (await patrol.push(FLAT, key="wrong"))[0] == 401
        first, again = await patrol.push(SPOT), await patrol.push(SPOT)
        assert first == again
        bare = await patrol.push(SQUARE, **{"Idempotency-Key": "abc"})
        assert bare[1]["id"] == "xunjian/abc/0"

    served(tmp_path, test)


def test_simulated_patrols_get_what_they_expect(tmp_path: Path) -> None:
    async def test(patrol: Served) -> None:
        class Options:
            devices, seed, interval, troubles, key = None, 3, 1.0, 0.6, ""

        fates = {"alert": (200, "published"), "dead-letter": (200, "dead-lettered"), "problem": (400, "dead-lettered")}
        seen = set()
        for sender in senders(REGISTRY, Options):  # type: ignore[arg-type]
            for _ in range(50):
                _, message = next(sender.messages)
                seen.add(message.trouble)
                status, told = await patrol.push(message.body, message.key)
                assert (status, told["fate"]) == fates[message.expect], (message, patrol.records()[-1])
        assert len(seen) == 11
        towns = {one.town for one in patrol.records() if isinstance(one, PatrolAlert)}
        assert "410122106" in towns

    served(tmp_path, test)
