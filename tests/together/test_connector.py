"""A connector as a process: ready when it is, stopped in order, honest about Kafka."""

import json
import os
import signal
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.brokers import Broker, until
from tests.ports import reserved_port

PROGRAM = """
import asyncio, sys
from pathlib import Path
from hub.connector import run
from hub.settings import HostPort, KafkaSettings, Settings

class Quiet:
    async def start(self, outbox, telemetry, registry):
        outbox.empty()
        if "--defect" in sys.argv:
            asyncio.get_running_loop().call_soon(lambda: 1 / 0)
        return {"hj212": 1}

    async def stop(self):
        if "--stuck" in sys.argv:
            await asyncio.Event().wait()

settings = Settings(data=Path(sys.argv[1]), kafka=KafkaSettings(bootstrap=sys.argv[2]))
run("air", settings, Quiet(), topics=[], budget_s=2, metrics=HostPort(host="127.0.0.1", port=int(sys.argv[3])))
"""


@contextmanager
def connector(
    data: Path, bootstrap: str, *words: str, port: int = 0, environment: Mapping[str, str] | None = None
) -> Iterator[subprocess.Popen[str]]:
    process = subprocess.Popen(
        [sys.executable, "-c", PROGRAM, str(data), bootstrap, str(port), *words],
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, **(environment or {})},
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate(timeout=10)


def ports(data: Path, process: subprocess.Popen[str]) -> dict[str, int]:
    def said() -> dict[str, int] | None:
        assert process.poll() is None, "the connector does not serve"
        try:
            told: dict[str, Any] = json.loads((data / "run/air.json").read_text())
        except FileNotFoundError:
            return None
        assert told["pid"] == process.pid
        return dict(told["ports"])

    return until(said, 30)


def ready(port: int, within_s: float = 10) -> tuple[int, dict[str, Any]]:
    def answered() -> tuple[int, dict[str, Any]] | None:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/ready", timeout=5) as answer:
                return answer.status, json.load(answer)
        except urllib.error.HTTPError as error:
            with error:
                return error.code, json.load(error)
        except urllib.error.URLError:
            return None

    return until(answered, within_s)


def events(said: str) -> dict[str, dict[str, Any]]:
    """The last line of each event; lines for people are left out."""
    lines = [json.loads(line) for line in said.splitlines() if line.startswith("{")]
    return {line["event"]: line for line in lines}


@pytest.mark.kafka
@pytest.mark.usefixtures("topics")
@pytest.mark.parametrize("words", [[], ["--stuck"]])
def test_an_orderly_end_tells_the_balance(broker: Broker, tmp_path: Path, words: list[str]) -> None:
    with connector(tmp_path, broker.bootstrap, *words) as process:
        serving = ports(tmp_path, process)
        assert serving["hj212"] == 1
        assert ready(serving["metrics"]) == (200, {"ready": True, "reasons": []})
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=10)
    assert process.returncode == 0
    stopped = events(said)["stopped"]
    assert (stopped["received"], stopped["empty"], stopped["pending"], stopped["drained"]) == (1, 1, 0, True)
    assert not (tmp_path / "run/air.json").exists()


@pytest.mark.kafka
@pytest.mark.usefixtures("topics")
def test_a_defect_ends_the_process_in_order_and_by_name(broker: Broker, tmp_path: Path) -> None:
    with connector(tmp_path, broker.bootstrap, "--defect") as process:
        _, said = process.communicate(timeout=30)
    assert process.returncode != 0
    assert events(said)["defect"]["error"] == "ZeroDivisionError"
    assert "stopped" in events(said)


def test_without_kafka_it_waits_says_so_and_can_be_stopped(tmp_path: Path) -> None:
    port = reserved_port()
    with connector(tmp_path, f"127.0.0.1:{reserved_port()}", port=port) as process:
        status, body = ready(port)
        assert (status, body["ready"]) == (503, False)
        assert "Kafka" in body["reasons"][0]
        assert not (tmp_path / "run/air.json").exists()
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=10)
    assert process.returncode == 0


def test_it_ends_with_its_parent_when_told_to(tmp_path: Path) -> None:
    """A shell starts it and goes; the pipe of its stderr closes when the orphan has ended too."""
    command = [sys.executable, "-c", PROGRAM, str(tmp_path), f"127.0.0.1:{reserved_port()}", "0"]
    launcher = (
        "import os, subprocess, sys, time\n"
        "subprocess.Popen(sys.argv[1:], env={**os.environ, 'GRIDHUB_END_WITH_PARENT': str(os.getpid())})\n"
        "time.sleep(2)"
    )
    shell = subprocess.Popen([sys.executable, "-c", launcher, *command], stderr=subprocess.PIPE)
    _, said = shell.communicate(timeout=25)
    assert b"starting" in said
