"""What a running process owes to those around it: the file that says where it serves, an orderly end, no orphans."""

import json
import os
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path


def run_file(data: Path, process: str) -> Path:
    """Where a process says what it serves: {pid, ports}."""
    return data / "run" / f"{process}.json"


@contextmanager
def announced(data: Path, process: str, ports: Mapping[str, int]) -> Iterator[None]:
    """Writes the run file, whole or not at all, while the body runs; removes it at the end."""
    path = run_file(data, process)
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    draft.write_text(json.dumps({"pid": os.getpid(), "ports": dict(ports)}), encoding="utf-8")
    draft.replace(path)
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def on_stop(stop: Callable[[], object]) -> None:
    """Calls `stop` at SIGTERM and SIGINT; another one more than a second later, from someone who will not wait, ends at once.

    One Ctrl-C can arrive twice, from the terminal and from a program in between that passes it on. A part of `gridhub up` stops with it
    too, however it ends: GRIDHUB_END_WITH_PARENT is its pid.
    """
    first: list[float] = []

    def handle(number: int, _frame: object) -> None:
        if not first:
            first.append(time.monotonic())
            stop()
        elif time.monotonic() - first[0] > 1.0:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)

    signal.signal(signal.SIGTERM, handle)
    signal.signal(signal.SIGINT, handle)
    if parent := os.environ.get("GRIDHUB_END_WITH_PARENT"):
        end_with_parent(stop, int(parent))


def end_with_parent(stop: Callable[[], object], parent: int | None = None, *, check_s: float = 0.5) -> None:
    """Calls `stop` once the process that started this one is gone, however it went.

    A process adopted by another parent has lost the one that would have ended it. `parent`: the pid of the starter, for one that may
    be gone before this is called; else whoever is the parent now, unless that is init, which has no end.
    """
    starter = parent or os.getppid()
    if starter == 1:
        return

    def watch() -> None:
        while os.getppid() == starter:
            time.sleep(check_s)
        stop()

    threading.Thread(target=watch, name="parent", daemon=True).start()
