"""How far this machine's clock is from the broker's, told by answers that come seldom."""

import asyncio
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from kafka.future import Future

from hub import connector
from hub.clock import Clock
from hub.kafka_log import Publisher
from hub.settings import Settings
from hub.telemetry import FeedRecorder
from hub.transactions import BrokerClock

BEGAN_S, DAY_S, WITHIN_S = 1_772_416_800, 86_400, 5.0


class Probe:
    """A producer, and the future of its one record: answered when the test says so."""

    def __init__(self) -> None:
        self.heard: Callable[[object], None] = lambda _: None

    def send(self, _topic: str, **_record: object) -> "Probe":
        return self

    def add_callback(self, heard: Callable[[object], None]) -> None:
        self.heard = heard


def test_a_clock_that_jumps_after_the_answer_is_seen_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A tick in between would put every town's clock a day ahead, for good."""
    wall, steady = 1_772_416_800, 50
    probe = Probe()
    clock = BrokerClock(Settings(), 0, Clock(lambda: wall * 10**9, lambda: steady * 10**9))
    monkeypatch.setattr(clock, "_producer", probe)
    clock.ask()
    assert clock.ahead_s is None
    wall, steady = wall + 2, steady + 2
    probe.heard(SimpleNamespace(timestamp=(wall - 1 - 30) * 1000))
    ahead_s = clock.ahead_s or 0
    assert ahead_s == pytest.approx(30, abs=1.01)
    wall, steady = wall + 20, steady + 20
    assert clock.ahead_s == ahead_s
    wall += 86_400
    assert clock.ahead_s == pytest.approx(ahead_s + 86_400)


class Taking:
    """A producer that takes records, and keeps the future and the time of each."""

    def __init__(self) -> None:
        self.taken: list[tuple[int, Future]] = []

    def send(self, _topic: str, *, timestamp_ms: int = 0, **_record: object) -> Future:
        self.taken.append((timestamp_ms, Future()))
        return self.taken[-1][1]


def test_the_records_own_time_tells_nothing_of_the_broker(monkeypatch: pytest.MonkeyPatch) -> None:
    """It comes back from a topic of CreateTime, and of a batch that the broker had already. Believed, it would make any wrong clock a right one."""
    wall_s, taking, told = BEGAN_S + DAY_S, Taking(), list[Exception | None]()
    monkeypatch.setattr(Publisher, "_connect", lambda *_: taking)
    clock = Clock(lambda: wall_s * 10**9, lambda: 50 * 10**9)
    publisher = Publisher("nowhere:1", [], client_id="test", clock=clock)

    def acknowledged(at: int | None = None) -> None:
        publisher.publish("readings", "k", b"v", (), told.append)
        created, future = taking.taken[-1]
        future.success(SimpleNamespace(timestamp=created if at is None else at))

    acknowledged()
    assert clock.ahead_s is None
    acknowledged(BEGAN_S * 1000)
    acknowledged()
    assert clock.ahead_s == pytest.approx(DAY_S, abs=0.01)
    assert clock.now() == pytest.approx(BEGAN_S * 1000, abs=10)
    assert told == [None] * 3


def test_a_connector_asks_as_soon_as_the_clocks_differ(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A virtual machine that was halted, and set right: the clock that never jumps has not gone on, and only the broker's answer tells."""
    wall_s = BEGAN_S
    monkeypatch.setattr(connector, "CLOCK_LOOK_S", 0.01)

    async def looked() -> None:
        nonlocal wall_s
        asked = asyncio.Event()
        process = connector._Process("air", Settings(data=tmp_path), FeedRecorder("air"))
        process._clock = Clock(lambda: wall_s * 10**9, lambda: 50 * 10**9)
        process._clock.appended(50 * 10**9, BEGAN_S * 1000)
        process._publisher = cast("Any", SimpleNamespace(publish=lambda *_: asked.set()))
        looking = asyncio.create_task(process._look_at_clock())
        wall_s += DAY_S
        async with asyncio.timeout(WITHIN_S):
            await asked.wait()
        looking.cancel()

    asyncio.run(looked())
