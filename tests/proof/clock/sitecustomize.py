"""A wall clock that is wrong, for a process that finds this folder in PYTHONPATH: it is ahead by as many seconds as the file PROOF_CLOCK says now.

Python imports it before the program. `time.monotonic` and what waits go on as they were, as with a real clock that is set. (libfaketime 0.9.10 cannot
leave them alone: Python's `time.sleep` fails under it, since `clock_nanosleep` on the monotonic clock does.)
"""

import os
import time
from pathlib import Path

_file = Path(os.environ["PROOF_CLOCK"])
_time, _time_ns = time.time, time.time_ns


def _ahead_s() -> int:
    return int(_file.read_text(encoding="ascii"))


time.time = lambda: _time() + _ahead_s()
time.time_ns = lambda: _time_ns() + _ahead_s() * 1_000_000_000
