"""How far this machine's clock is from the broker's, told by answers that come seldom."""

from collections.abc import Callable
from types import SimpleNamespace

import pytest

from hub.clock import Clock
from hub.settings import Settings
from hub.transactions import BrokerClock


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
