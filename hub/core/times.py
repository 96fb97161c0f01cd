"""When a thing happened, as far as a device's clock can be believed."""

from hub.core.events import TimeMark

OLDEST_MS = 2 * 3600 * 1000
NEWEST_MS = 2 * 60 * 1000


def place_in_time(occurred_at: int | None, accepted_at: int, period_s: int = 0) -> tuple[int, TimeMark]:
    """`event_at` and how it came about, from the device's time and the moment of acceptance (both ms UTC).

    The device's time counts if it lies within [acceptance - 2 h, acceptance + 2 min]; for data of a period (whose
    `occurred_at` is the period's start, HJ 212-2017 clause 6) the period's end is compared. Otherwise acceptance counts.
    """
    if occurred_at is None:
        return accepted_at, TimeMark.MISSING
    compared = occurred_at + period_s * 1000
    if compared < accepted_at - OLDEST_MS:
        return accepted_at, TimeMark.TOO_OLD
    if compared > accepted_at + NEWEST_MS:
        return accepted_at, TimeMark.TOO_NEW
    return occurred_at, TimeMark.DEVICE
