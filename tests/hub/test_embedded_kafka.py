"""The embedded broker's processes, as far as they need no Kafka; on a broker: tests/together/test_embedded_kafka.py."""

import subprocess
import time
from unittest import mock

import pytest

from hub.embedded_kafka import _close, _end_in_order, _Life

GONE, ASKED = "exit 0", 'read -r word; test "$word" = stop'


def shell(script: str) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(["sh", "-c", script], stdin=subprocess.PIPE)


@pytest.mark.parametrize("is_noticed", [False, True])
def test_a_node_that_is_gone_keeps_no_other_from_an_orderly_end(*, is_noticed: bool) -> None:
    gone, other = processes = shell(GONE), shell(ASKED)
    gone.wait()
    if is_noticed:
        _close(gone)
    times = time.monotonic() if is_noticed else None, None
    _end_in_order([mock.Mock(spec=_Life, process=one, ended_at=at) for one, at in zip(processes, times, strict=True)])
    assert other.returncode == 0
    for one in processes:
        _close(one)
