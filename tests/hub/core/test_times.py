"""Whose time counts."""

import pytest

from hub.core.events import TimeMark
from hub.core.times import place_in_time

NOW = 1_780_000_000_000
MINUTE = 60_000
HOUR = 60 * MINUTE


@pytest.mark.parametrize(
    ("occurred_at", "period_s", "expected"),
    [
        (NOW, 0, (NOW, TimeMark.DEVICE)),
        (NOW - 2 * HOUR, 0, (NOW - 2 * HOUR, TimeMark.DEVICE)),
        (NOW - 2 * HOUR - 1, 0, (NOW, TimeMark.TOO_OLD)),
        (NOW + 2 * MINUTE, 0, (NOW + 2 * MINUTE, TimeMark.DEVICE)),
        (NOW + 2 * MINUTE + 1, 0, (NOW, TimeMark.TOO_NEW)),
        (None, 0, (NOW, TimeMark.MISSING)),
        (0, 0, (NOW, TimeMark.TOO_OLD)),
        # An hour that began three hours ago ended two hours ago: its end is compared, its start is kept.
        (NOW - 3 * HOUR, 3600, (NOW - 3 * HOUR, TimeMark.DEVICE)),
        (NOW - 3 * HOUR - 1, 3600, (NOW, TimeMark.TOO_OLD)),
        (NOW - HOUR + 2 * MINUTE + 1, 3600, (NOW, TimeMark.TOO_NEW)),
    ],
)
def test_event_at(occurred_at: int | None, period_s: int, expected: tuple[int, TimeMark]) -> None:
    assert place_in_time(occurred_at, NOW, period_s) == expected
