"""A real broker for tests: `gridhub kafka` as a process, on a folder of its own."""

import json
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import psutil
import pytest

from hub.running import run_file

READY_WITHIN_S = 90.0
ENDED_WITHIN_S = 15.0

Seen = TypeVar("Seen")


class Broker:
    """`gridhub kafka` on `data`. Its port is chosen at the first start and stays, so `bootstrap` holds for good."""

    def __init__(self, data: Path) -> None:
        self.data = data
        self._port = 0
        self._process: subprocess.Popen[bytes] | None = None

    @property
    def bootstrap(self) -> str:
        """Where it serves."""
        return f"127.0.0.1:{self._port}"

    @property
    def pid(self) -> int:
        """The process `gridhub kafka`."""
        assert self._process is not None
        return self._process.pid

    @property
    def java_pid(self) -> int:
        """The Java process under it."""
        [java] = java_under(self.pid)
        return java.pid

    def start(self) -> None:
        """Starts it, or starts it again on the same data and port; returns when a client can produce."""
        command = [sys.executable, "-m", "hub", "kafka", "--data", str(self.data), "--port", str(self._port)]
        self._process = subprocess.Popen(command)
        self._port = serving_port(self.data, self._process)

    def kill(self) -> None:
        """SIGKILL for Java; returns when `gridhub kafka` has ended too."""
        psutil.Process(self.java_pid).kill()
        self._ended()

    def stop(self) -> None:
        """SIGTERM; returns when it has ended."""
        assert self._process is not None
        self._process.terminate()
        self._ended()

    def _ended(self) -> None:
        assert self._process is not None
        try:
            self._process.wait(ENDED_WITHIN_S)
        finally:
            self._process.kill()


class BorrowedBroker(Broker):
    """A broker that someone else runs (GRIDHUB_TEST_BOOTSTRAP): good for all that does not kill it."""

    def __init__(self, bootstrap: str) -> None:
        self._bootstrap = bootstrap

    @property
    def bootstrap(self) -> str:
        """Where it serves."""
        return self._bootstrap

    @property
    def pid(self) -> int:
        """Not ours to know."""
        pytest.skip("needs a broker of its own: GRIDHUB_TEST_BOOTSTRAP is set")

    def start(self) -> None:
        """It runs."""

    def stop(self) -> None:
        """It goes on running."""


def serving_port(data: Path, process: subprocess.Popen[bytes]) -> int:
    """The port that `gridhub kafka` says it serves at, once it does; fails the test if `process` ends before."""

    def said() -> int | None:
        assert process.poll() is None, f"gridhub kafka ended with {process.returncode}"
        try:
            told = json.loads(run_file(data, "kafka").read_text(encoding="utf-8"))
        except FileNotFoundError:
            return None
        # A killed process leaves its file behind: only one of a living process counts.
        return int(told["ports"]["kafka"]) if psutil.pid_exists(told["pid"]) else None

    return until(said, READY_WITHIN_S)


def java_under(pid: int) -> list[psutil.Process]:
    """The Java processes among the descendants of `pid`."""
    return [child for child in psutil.Process(pid).children(recursive=True) if child.name() == "java"]


def until(look: Callable[[], Seen | None], within_s: float) -> Seen:
    """Looks until there is something to see, and returns it; fails the test after `within_s`."""
    deadline = time.monotonic() + within_s
    while not (seen := look()):
        assert time.monotonic() < deadline, f"nothing after {within_s} s"
        time.sleep(0.02)
    return seen
