"""What time it is, also where this machine's clock or the broker's is wrong: of two that agreed, the one that jumped.

What a wrong time has marked stays marked: a message accepted "tomorrow" is too old, and its alert too late for a ticket.
"""

import time
from collections.abc import Callable

CLOCKS_DIFFER_S = 60.0
"""A machine's clock and the broker's that differ by more do not agree."""
PROBE_S, FIRST_PROBES_S = 60.0, 2.0
"""How often the broker is asked, and how often until its first answer."""

_DIFFER_NS = int(CLOCKS_DIFFER_S * 1e9)
# Where there is one that goes on while the machine sleeps, that: after a night's sleep the other one would be a night late.
_STEADY = getattr(time, "CLOCK_BOOTTIME", None)


def steady_ns() -> int:
    """Nanoseconds by a clock that nobody sets."""
    return time.monotonic_ns() if _STEADY is None else time.clock_gettime_ns(_STEADY)


class Clock:
    """A machine's clock, held to the broker's by the records that the broker has given their time (LogAppendTime).

    Between two of them the broker's time is reckoned by a clock that never jumps: a jump of this machine's has no effect, not even on what comes
    in the moment after it. Where both have agreed and this machine's has not jumped since, it is the broker's that has: this machine's counts. Of the
    brokers of a cluster one whose clock is wrong thus does no harm. May be asked on any thread.
    """

    def __init__(self, wall: Callable[[], int] = time.time_ns, steady: Callable[[], int] = steady_ns) -> None:
        """`wall`: this machine's clock, ns since 1970 UTC. `steady`: ns since whenever, never set."""
        self._wall = wall
        self.steady = steady
        self._lead: int | None = None  # the broker's time less `steady`
        self._agreed: int | None = None  # this machine's, when they agreed last

    def now(self) -> int:
        """The time in ms since 1970 UTC: by this machine's clock as long as it agrees with the broker's, or has not jumped since they agreed, or nothing is known of
        that yet; else by the broker's.
        """
        wall, steady = self._wall(), self.steady()
        leads = [lead for lead in (self._agreed, self._lead) if lead is not None]
        if leads and all(abs(wall - steady - lead) > _DIFFER_NS for lead in leads):
            wall = steady + leads[-1]
        return wall // 1_000_000

    @property
    def ahead_s(self) -> float | None:
        """Seconds this machine's clock is ahead of the broker's; None before the first record."""
        lead = self._lead
        return None if lead is None else (self._wall() - self.steady() - lead) / 1e9

    def appended(self, sent: int, at: int) -> None:
        """The broker has a record that was sent at `sent` (by `steady`), and gave it the time `at` (ms since 1970 UTC).

        It did so between then and now. What is known moves only as far as that demands: what was acknowledged late says little, and moves nothing.
        Before the first one, what is known is this machine's clock.
        """
        heard = self.steady()
        least, most = at * 1_000_000 - heard, (at + 1) * 1_000_000 - sent
        own = self._wall() - heard
        self._lead = min(max(own if self._lead is None else self._lead, least), most)
        if max(abs(own - least), abs(own - most)) <= _DIFFER_NS:
            self._agreed = own
