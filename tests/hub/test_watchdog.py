"""The watchdog's limits: of a call, and of all there is."""

import time
from threading import Event

from hub.transactions import Watchdog

LONG_S, SHORT_S, SOON_S = 60.0, 0.05, 10.0


class Ends:
    """What it would have ended the process with."""

    def __init__(self) -> None:
        self.said: list[tuple[int, str]] = []
        self.one = Event()

    def __call__(self, code: int, sentence: str) -> None:
        self.said.append((code, sentence))
        self.one.set()


def test_a_call_that_takes_too_long_ends_the_process() -> None:
    ends = Ends()
    with Watchdog(ends).within(SHORT_S, 75, "the commit"):
        assert ends.one.wait(SOON_S)
    assert ends.said == [(75, "the commit has not come to an end within 0.05 s")]


def test_so_does_an_end_that_takes_too_long_whatever_may_take_longer() -> None:
    ends = Ends()
    watchdog = Watchdog(ends)
    with watchdog.within(LONG_S, 3, "sending offsets"):
        watchdog.all_within(SHORT_S, 75, "the end")
        assert ends.one.wait(SOON_S)
    assert ends.said == [(75, "the end has not come to an end within 0.05 s")]


def test_who_is_ending_already_gets_no_more_time_for_another_reason() -> None:
    ends = Ends()
    watchdog = Watchdog(ends)
    watchdog.all_within(SHORT_S, 75, "the end")
    watchdog.all_within(LONG_S, 3, "another end")
    assert ends.one.wait(SOON_S)
    assert ends.said == [(75, "the end has not come to an end within 0.05 s")]


def test_what_comes_to_its_end_in_time_ends_nothing() -> None:
    ends = Ends()
    watchdog = Watchdog(ends)
    watchdog.all_within(SHORT_S * 3, 75, "the end")
    began = time.monotonic()
    with watchdog.within(SHORT_S, 3, "a call"):
        pass
    assert ends.one.wait(SOON_S)
    assert time.monotonic() - began >= SHORT_S
    assert [code for code, _ in ends.said] == [75], "the limit of the call is gone with it"
