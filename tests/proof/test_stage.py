"""What is seen of those who take part."""

import subprocess
import sys
from pathlib import Path
from typing import cast

from tests.faults.processes import UNKNOWN_COMMIT, Router
from tests.proof.stage import SESSION_TIMEOUT_MS, Stage


def test_a_router_that_has_just_ended_says_nothing_of_quarantine(tmp_path: Path) -> None:
    """It may, and is started again: no reason for a run to break off."""
    router = Router(0, tmp_path, "127.0.0.1:1", SESSION_TIMEOUT_MS, "")
    router.log.touch()
    router.process = subprocess.Popen([sys.executable, "-c", f"raise SystemExit({UNKNOWN_COMMIT})"])
    assert router.process.wait(10) == UNKNOWN_COMMIT
    assert Stage.in_quarantine(cast("Stage", None), router, 0) is None
