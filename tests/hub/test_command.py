"""How a program ends: a sentence and a code for what has a name, nothing for a reader who has seen enough."""

import subprocess
import sys

import pytest

from tests.planted import MOBILE, planted_in

TALKS = """
import sys
from hub.command import exit_code

def work():
    while True:
        print("a line", file=sys.{stream}, flush=True)

sys.exit(exit_code("program", work))
"""
FAILS = """
import sys
from hub.command import exit_code

def work():
    raise BrokenPipeError("of somebody else")

sys.exit(exit_code("program", work))
"""
SHORT = """
import sys
from hub.command import exit_code

def work():
    sys.stdin.read()
    print("a line")
    return 0

sys.exit(exit_code("program", work))
"""


SILENT = """
import sys
from hub.command import exit_code

sys.exit(exit_code("program", lambda: 0))
"""


def test_a_closed_output_is_no_defect() -> None:
    closed = ["sh", "-c", 'exec "$@" >&-', "sh", sys.executable, "-c", SILENT]
    ran = subprocess.run(closed, stderr=subprocess.PIPE, check=False)
    assert (ran.returncode, ran.stderr) == (0, b"")


@pytest.mark.parametrize("stream", ["stdout", "stderr"])
def test_a_reader_who_leaves_ends_the_program_without_a_word(stream: str) -> None:
    command = [sys.executable, "-c", TALKS.format(stream=stream)]
    pipe = subprocess.PIPE
    with subprocess.Popen(command, stdout=pipe, stderr=pipe) as program:
        assert program.stdout
        assert program.stderr
        read, other = (program.stdout, program.stderr) if stream == "stdout" else (program.stderr, program.stdout)
        assert read.readline() == b"a line\n"
        read.close()
        assert other.read() == b""
        assert program.wait(10) == 141


def test_a_result_that_nobody_waited_for_is_no_complaint_at_the_exit() -> None:
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", SHORT], stdin=pipe, stdout=pipe, stderr=pipe) as program:
        assert program.stdin
        assert program.stdout
        assert program.stderr
        program.stdout.close()
        program.stdin.close()
        assert program.stderr.read() == b""
        assert program.wait(10) == 141


def test_another_broken_pipe_is_a_defect() -> None:
    ran = subprocess.run([sys.executable, "-c", FAILS], capture_output=True, text=True, timeout=10, check=False)
    assert ran.returncode == 70
    assert "BrokenPipeError" in ran.stderr


DEFECT_IN_A_THREAD = """
import sys, threading
from hub.command import exit_code
from hub.telemetry import log_to

def fail():
    try:
        {}["%(words)s"]
    except KeyError as error:
        raise ValueError("%(words)s") from error

def work():
    log_to(form="%(form)s")
    thread = threading.Thread(target=fail)
    thread.start()
    thread.join()
    fail()

sys.exit(exit_code("program", work))
"""


@pytest.mark.parametrize("form", ["json", "text"])
def test_a_defect_tells_its_places_and_not_its_words(form: str) -> None:
    program = DEFECT_IN_A_THREAD % {"words": MOBILE, "form": form}
    ran = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=10, check=False)
    assert ran.returncode == 70
    assert ran.stderr.count("in fail") == 4, "of the thread and of the program, each with its cause"
    assert ran.stderr.count("KeyError") == 2
    assert ran.stderr.endswith("ValueError\n")
    assert not planted_in(ran.stderr)
