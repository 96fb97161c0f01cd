"""What a running process owes to those around it."""

import signal
import subprocess
import sys
from pathlib import Path

import pytest

from hub.core.errors import Misconfigured
from hub.running import announced

ALLOW = """
import resource
from hub.core.errors import Misconfigured
from hub.running import allow_open_files
try:
    allow_open_files(300)
except Misconfigured as error:
    print(error)
print(resource.getrlimit(resource.RLIMIT_NOFILE)[0])
"""

WAITS = """
import signal, sys, threading, time
from hub.running import on_stop
lock = threading.Lock()
on_stop(lambda: (print("heard", flush=True), lock.release()))
lock.acquire()
def takes(number):
    time.sleep(0.3)  # nothing tells that the main thread waits by now
    signal.pthread_kill(threading.get_ident(), number)
threading.Thread(target=takes, args=(getattr(signal, sys.argv[1]),)).start()
lock.acquire()
"""
WILL_NOT_END = """
import threading
from hub.running import on_stop
on_stop(lambda: print("heard", flush=True))
print("runs", flush=True)
threading.Event().wait()
"""


@pytest.mark.parametrize("number", ["SIGTERM", "SIGINT"])
def test_a_signal_is_heard_that_another_thread_has_taken_while_the_main_one_waits_for_a_lock(number: str) -> None:
    ran = subprocess.run([sys.executable, "-c", WAITS, number], capture_output=True, text=True, check=True, timeout=20)
    assert ran.stdout == "heard\n"


def test_who_does_not_end_is_ended_by_a_second_signal_and_one_that_comes_at_once_is_the_first_again() -> None:
    with subprocess.Popen([sys.executable, "-c", WILL_NOT_END], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        try:
            assert process.stdout.readline() == "runs\n"
            process.terminate()
            assert process.stdout.readline() == "heard\n"
            process.terminate()
            with pytest.raises(subprocess.TimeoutExpired):
                process.wait(1.2)
            process.terminate()
            assert process.wait(20) == 128 + signal.SIGTERM
        finally:
            process.kill()


@pytest.mark.parametrize(
    ("limits", "soft"), [("ulimit -Hn 300; ulimit -Sn 100", 300), ("ulimit -n 200", 200), ("ulimit -n 400", 400)]
)
def test_open_files_are_allowed_or_the_limit_is_named(limits: str, soft: int) -> None:
    ran = subprocess.run(
        ["sh", "-c", f'{limits}; exec "$@"', "sh", sys.executable, "-c", ALLOW],
        capture_output=True,
        text=True,
        check=True,
    )
    *told, now = ran.stdout.splitlines()
    assert int(now) == soft
    assert bool(told) == (soft < 300), told
    assert all("this process may have 200" in sentence for sentence in told)


def test_a_run_file_that_cannot_be_written_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("no folder", encoding="utf-8")
    with (
        pytest.raises(Misconfigured, match=r"^data: .*/run/air\.json cannot be written: File exists$"),
        announced(tmp_path, "air", {}),
    ):
        pass
