"""The embedded broker's processes, as far as they need no Kafka; on a broker: tests/together/test_embedded_kafka.py."""

import subprocess
from unittest import mock

from hub.embedded_kafka import _close, _end_in_order, _Life

GONE, ASKED = "exit 0", 'read -r word; test "$word" = stop'


def shell(script: str) -> "subprocess.Popen[bytes]":
    return subprocess.Popen(["sh", "-c", script], stdin=subprocess.PIPE)


def test_a_node_that_is_gone_keeps_no_other_from_an_orderly_end() -> None:
    gone, other = processes = shell(GONE), shell(ASKED)
    gone.wait()
    _end_in_order([mock.Mock(spec=_Life, process=one) for one in processes])
    assert other.returncode == 0
    for one in processes:
        _close(one)
