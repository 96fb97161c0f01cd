"""Everything with one command: it shows what arrives, ends cleanly, goes on where it was, and leaves nobody behind."""

import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import psutil
import pytest
from kafka import KafkaConsumer, TopicPartition

from hub.running import run_file
from tests.brokers import until

pytestmark = [pytest.mark.kafka, pytest.mark.slow, pytest.mark.timeout(400)]

ROOT = Path(__file__).parents[2]
GRIDHUB = (sys.executable, "-m", "hub", "up")
SCRIPT = ("sh", str(ROOT / "deploy/start"))
# Only what the other processes of this machine cannot be in the way of.
FREE_PORTS = {
    "GRIDHUB__KAFKA__BOOTSTRAP": "127.0.0.1:0",
    "GRIDHUB__AIR__LISTEN": "127.0.0.1:0",
    "GRIDHUB__SCHEMAS__LISTEN": "127.0.0.1:0",
    "GRIDHUB__TELEMETRY__LISTEN": "127.0.0.1:0",
}


class Up:
    """A running `gridhub up` and what it has said."""

    def __init__(self, process: subprocess.Popen[bytes], output: Path) -> None:
        self.process = process
        self.output = output

    def said(self) -> str:
        return self.output.read_text(encoding="utf-8", errors="replace")

    def says(self, words: str, within_s: float = 240) -> None:
        def look() -> bool:
            assert self.process.poll() is None, self.said()
            return words in self.said()

        until(look, within_s)

    def family(self) -> list[psutil.Process]:
        return psutil.Process(self.process.pid).children(recursive=True)


@contextmanager
def running(command: Sequence[str], data: Path, *options: str) -> Iterator[Up]:
    data.mkdir(exist_ok=True)
    output = data / "said"
    with output.open("wb") as file:
        process = subprocess.Popen(
            [*command, "--data", str(data), "--lang", "en", *options],
            cwd=data,
            env=os.environ | FREE_PORTS,
            stdout=file,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
    up = Up(process, output)
    try:
        yield up
    finally:
        if process.poll() is None:
            process.terminate()
        process.wait(30)


def readings(data: Path) -> int:
    """How many records are on `readings`."""
    port = json.loads(run_file(data, "kafka").read_text())["ports"]["kafka"]
    consumer = KafkaConsumer(bootstrap_servers=f"127.0.0.1:{port}", enable_auto_commit=False)
    try:
        partitions = [TopicPartition("readings", number) for number in consumer.partitions_for_topic("readings")]
        return sum(consumer.end_offsets(partitions).values())
    finally:
        consumer.close()


def gone(processes: list[psutil.Process], within_s: float) -> None:
    _, alive = psutil.wait_procs(processes, timeout=within_s)
    assert not alive


def test_the_start_script_shows_what_arrives_ends_cleanly_and_goes_on(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with running(SCRIPT, data) as up:
        up.says("PM10")
        family = up.family()
        assert {"java"} <= {process.name() for process in family}
        first = until(lambda: readings(data), 30)
        up.process.send_signal(signal.SIGINT)
        assert up.process.wait(30) == 0
        assert up.said().rstrip().endswith(f"Ended; the data stays in {data}.")
        gone(family, 2)
    assert not list((data / "run").iterdir())

    with running(GRIDHUB, data, "--no-view") as up:
        up.says("Everything runs")
        until(lambda: readings(data) > first, 30)
        up.says(" readings, ")
        assert "PM10" not in up.said()


def test_a_kill_9_of_the_starter_leaves_nobody(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with running(GRIDHUB, data) as up:
        up.says("Everything runs")
        family = up.family()
        up.process.kill()
        gone([process for process in family if process.name() == "java"], 5)
        gone(family, 15)


def test_a_part_that_ends_by_itself_ends_all_with_a_sentence(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with running(GRIDHUB, data) as up:
        up.says("Everything runs")
        family = up.family()
        psutil.Process(json.loads(run_file(data, "air").read_text())["pid"]).kill()
        assert up.process.wait(30) == 3
        assert "gridhub: air was killed by SIGKILL" in up.said()
        gone(family, 2)


def test_a_reader_who_leaves_ends_all_in_order(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with (tmp_path / "said").open("wb") as file:
        process = subprocess.Popen(
            [*SCRIPT, "--data", str(data)],
            cwd=tmp_path,
            env=os.environ | FREE_PORTS,
            stdout=subprocess.PIPE,
            stderr=file,
            start_new_session=True,
        )
    up = Up(process, tmp_path / "said")
    assert process.stdout
    try:
        # As `| head -n 3` does.
        lines = [process.stdout.readline() for _ in range(3)]
        family = up.family()
        process.stdout.close()
        assert process.wait(30) == 141
    finally:
        process.terminate()
        process.wait(30)
    assert all(lines)
    assert "Traceback" not in up.said()
    assert "Error" not in up.said()
    gone(family, 2)
    assert not list((data / "run").iterdir())


def test_a_taken_port_is_told_with_what_to_change(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        ran = subprocess.run(
            GRIDHUB,
            cwd=tmp_path,
            env=os.environ | {"GRIDHUB__KAFKA__BOOTSTRAP": address},
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )
    assert ran.returncode == 2
    assert f"{address} / " in ran.stderr
    assert "GRIDHUB__KAFKA__BOOTSTRAP=127.0.0.1:N" in ran.stderr


def test_tickets_cannot_be_waited_for_yet(tmp_path: Path) -> None:
    ran = subprocess.run(
        [*GRIDHUB, "--until-tickets", "1"], cwd=tmp_path, capture_output=True, text=True, timeout=30, check=False
    )
    assert ran.returncode == 2
    assert "--until-tickets needs the router" in ran.stderr
