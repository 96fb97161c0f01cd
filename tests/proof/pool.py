"""Several runs at once, each in a process of its own, of a program that may be another than this."""

import json
import subprocess
import sys
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ThreadPoolExecutor, wait
from contextlib import contextmanager
from pathlib import Path
from typing import TypeVar

from tests.proof.judge import Result
from tests.proof.plan import NODES, plan

What = TypeVar("What")
Came = TypeVar("Came")


class Brokers:
    """How many brokers may run at once. Who wants more than are free waits, and nobody passes who came later."""

    def __init__(self, most: int = NODES) -> None:
        self._free = most
        self._changed = threading.Condition()
        self._waiting: deque[object] = deque()

    @contextmanager
    def held(self, count: int) -> Iterator[None]:
        """So many, for the body."""
        me = object()
        with self._changed:
            self._waiting.append(me)
            self._changed.wait_for(lambda: self._waiting[0] is me and self._free >= count)
            self._waiting.popleft()
            self._free -= count
            self._changed.notify_all()
        try:
            yield
        finally:
            with self._changed:
                self._free += count
                self._changed.notify_all()


def carried_out(seed: int, root: Path, brokers: Brokers) -> Result:
    """The run under a seed, of the program in a folder. Raises RuntimeError where the run itself has failed, which says nothing of the program."""
    with brokers.held(plan(seed).nodes):
        command = [sys.executable, "-m", "tests.proof", "one", str(seed)]
        done = subprocess.run(command, cwd=root, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"the run under seed {seed} ended with {done.returncode}:\n{done.stderr[-3000:]}")
    return Result.of(json.loads(done.stdout.splitlines()[-1]))


def side_by_side(what: Iterable[What], does: Callable[[What], Came], jobs: int) -> Iterator[Came]:
    """What comes of each, as it comes, so many at once. What comes next is asked for only when there is room, so `what` may end by what has come.

    Raises what `does` raises, once those under way have ended.
    """
    todo, pending = iter(what), set[Future[Came]]()
    with ThreadPoolExecutor(jobs) as pool:
        while True:
            while len(pending) < jobs and (one := next(todo, None)) is not None:
                pending.add(pool.submit(does, one))
            if not pending:
                return
            done, pending = wait(pending, return_when=FIRST_COMPLETED)
            for future in done:
                yield future.result()
