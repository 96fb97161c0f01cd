"""The clock that is wrong."""

import os
import subprocess
import sys
import time
from pathlib import Path

from tests.proof.stage import CLOCK

PROGRAM = """
import sys, time
for _line in sys.stdin:
    began = time.monotonic()
    time.sleep(0.01)
    print(time.time(), time.time_ns() / 1e9, time.monotonic() - began, flush=True)
"""


def test_it_jumps_while_a_program_runs_and_nothing_else_does(tmp_path: Path) -> None:
    said = tmp_path / "clock"
    said.write_text("0", encoding="ascii")
    environment = os.environ | {"PYTHONPATH": str(CLOCK), "PROOF_CLOCK": str(said)}
    with subprocess.Popen(
        [sys.executable, "-c", PROGRAM], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as program:
        assert program.stdin
        assert program.stdout
        for ahead_s in (0, 3_600, -86_400, 0):
            said.write_text(str(ahead_s), encoding="ascii")
            program.stdin.write("now\n")
            program.stdin.flush()
            wall, wall_ns, slept = map(float, program.stdout.readline().split())
            assert abs(wall - time.time() - ahead_s) < 5
            assert abs(wall_ns - time.time() - ahead_s) < 5
            assert 0.01 <= slept < 5
        program.stdin.close()
