"""What a running process owes to those around it: the file that says where it serves, an orderly end, no orphans."""

import json
import os
import resource
import signal
import socket
import threading
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

from hub.core.errors import Misconfigured
from hub.lang import Text


def run_file(data: Path, process: str) -> Path:
    """Where a process says what it serves: {pid, ports}."""
    return data / "run" / f"{process}.json"


@contextmanager
def announced(data: Path, process: str, ports: Mapping[str, int]) -> Iterator[None]:
    """Writes the run file, whole or not at all, while the body runs; removes it at the end.

    Raises Misconfigured where it cannot be written.
    """
    path = run_file(data, process)
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        draft.write_text(json.dumps({"pid": os.getpid(), "ports": dict(ports)}), encoding="utf-8")
        draft.replace(path)
    except OSError as error:
        raise Misconfigured(
            str(Text(f"data: {path} cannot be written: {error.strerror}", f"data：无法写入 {path}：{error.strerror}"))
        ) from None
    try:
        yield
    finally:
        path.unlink(missing_ok=True)


def on_stop(stop: Callable[[], object]) -> None:
    """Calls `stop` at SIGTERM and SIGINT; another one more than a second later, from someone who will not wait, ends at once.

    `stop` is called on a thread of its own: a handler in Python runs on the main thread only, which a signal that another thread has taken (after
    SIGSTOP and SIGCONT it mostly has) does not wake from a wait for a lock. One Ctrl-C can arrive twice, from the terminal and from a program in
    between that passes it on. A part of `gridhub up` stops with it too, however it ends: GRIDHUB_END_WITH_PARENT is its pid.
    """
    heard, told = socket.socketpair()
    told.setblocking(False)
    signal.set_wakeup_fd(told.fileno(), warn_on_full_buffer=False)

    def listen(_told: socket.socket) -> None:
        first = 0.0
        while True:
            for number in heard.recv(64):
                if number not in {signal.SIGTERM, signal.SIGINT}:
                    continue
                if not first:
                    first = time.monotonic()
                    try:
                        stop()
                    except Exception:  # noqa: BLE001 - a defect, and told; a second signal still ends the process
                        traceback.print_exc()
                elif time.monotonic() - first > 1.0:
                    os._exit(128 + number)

    threading.Thread(target=listen, args=(told,), name="signals", daemon=True).start()
    for number in (signal.SIGTERM, signal.SIGINT):
        # Not SIG_IGN: what is ignored is told to nobody.
        signal.signal(number, lambda *_: None)
    if parent := os.environ.get("GRIDHUB_END_WITH_PARENT"):
        end_with_parent(stop, int(parent))


def allow_open_files(count: int) -> None:
    """Raises this process' soft limit of open files to `count`; Misconfigured where the hard limit is lower.

    Without it the first connection too many makes every later accept fail, also that of /live.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < count:
        raise Misconfigured(
            str(
                Text(
                    f"{count} open files are needed for so many connections, and this process may have {hard}: raise its limit"
                    " (ulimit -n, LimitNOFILE) or lower max_connections",
                    f"这么多连接需要打开 {count} 个文件，而本进程的上限是 {hard}：请提高上限（ulimit -n、LimitNOFILE）或降低 max_connections",
                )
            )
        )
    if soft != resource.RLIM_INFINITY and soft < count:
        resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))


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
