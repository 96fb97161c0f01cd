"""Several runs at once."""

import threading
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests.proof.pool import Brokers, carried_out, side_by_side

SOON_S = 10.0


def test_no_more_brokers_run_than_may_and_nobody_passes_who_came_later() -> None:
    brokers, came, threads = Brokers(3), list[str](), list[threading.Thread]()
    waits = threading.Event()

    def wants(name: str, count: int) -> None:
        with brokers.held(count):
            came.append(name)

    with ExitStack() as running:
        running.enter_context(brokers.held(1))
        # Three are not free, one would be: it does not pass.
        for name, count in (("three", 3), ("one", 1)):
            threads.append(threading.Thread(target=wants, args=(name, count)))
            threads[-1].start()
            while len(brokers._waiting) < len(threads):
                waits.wait(0.01)
        assert came == []
    for thread in threads:
        thread.join(SOON_S)
    assert came == ["three", "one"]
    with brokers.held(3):
        pass


def test_what_comes_next_is_asked_for_when_there_is_room_and_may_depend_on_what_came() -> None:
    seen: list[int] = []

    def todo() -> Iterator[int]:
        number = 0
        while len(seen) < 5:
            number += 1
            yield number

    seen += (square for square in side_by_side(todo(), lambda number: number * number, 2))
    assert sorted(seen) in ([1, 4, 9, 16, 25], [1, 4, 9, 16, 25, 36])


def test_what_goes_wrong_is_raised() -> None:
    def fails(number: int) -> int:
        raise ValueError(str(number))

    with pytest.raises(ValueError, match="7"):
        list(side_by_side([7], fails, 2))


def test_a_run_that_itself_fails_says_nothing_of_the_program(tmp_path: Path) -> None:
    (tmp_path / "tests").mkdir()
    (tmp_path / "tests" / "proof.py").write_text("raise SystemExit('out of memory')", encoding="utf-8")
    with pytest.raises(RuntimeError, match=r"seed 2 ended with 1:\nout of memory"):
        carried_out(2, tmp_path, Brokers())
