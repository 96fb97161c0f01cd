"""What is seen of those who take part."""

import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from typing import cast

import pytest

from tests.brokers import until
from tests.faults.processes import UNKNOWN_COMMIT, Router
from tests.proof.stage import SESSION_TIMEOUT_MS, WHOLE_WITHIN_S, Cluster, Stage


def test_a_router_that_has_just_ended_says_nothing_of_quarantine(tmp_path: Path) -> None:
    """It may, and is started again: no reason for a run to break off."""
    router = Router(0, tmp_path, "127.0.0.1:1", SESSION_TIMEOUT_MS, "")
    router.log.touch()
    router.process = subprocess.Popen([sys.executable, "-c", f"raise SystemExit({UNKNOWN_COMMIT})"])
    assert router.process.wait(10) == UNKNOWN_COMMIT
    assert Stage.in_quarantine(cast("Stage", None), router, 0) is None


@pytest.mark.kafka
@pytest.mark.slow
def test_a_cluster_is_not_whole_while_a_node_is_away(tmp_path: Path) -> None:
    """Although the other nodes name it among those in sync until its session is over."""
    with ExitStack() as running:
        cluster = Cluster(tmp_path, 3, running)
        until(lambda: cluster.is_whole() or None, WHOLE_WITHIN_S)
        java = cluster.java(1)
        java.kill()
        java.wait(WHOLE_WITHIN_S)
        # Each node answers for itself, and not all say the same; the one that is started again takes longer than this.
        assert not any(cluster.is_whole() for _ in range(20))
        until(lambda: cluster.is_whole() or None, WHOLE_WITHIN_S)
        assert cluster.java(1).is_running()
