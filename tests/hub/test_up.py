"""How `gridhub up` waits for its parts and tells of one that ended, without a broker."""

import contextlib
import os
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from hub import up
from hub.__main__ import main
from hub.core.errors import Misconfigured, Unavailable
from hub.running import run_file
from hub.up import Child
from tests.brokers import until

SERVES_LATE = """
import pathlib, time
from hub.running import announced

time.sleep(0.5)
with announced(pathlib.Path({data!r}), {name!r}, {{"port": 7}}):
    time.sleep(60)
"""
SAYS_AND_WAITS = "import time; print('all is well', flush=True); time.sleep(60)"
SAYS_AND_ENDS = "import sys; print('no room'); sys.exit(3)"
ENDS = "import sys; sys.exit({})"


@pytest.fixture
def running() -> Iterator[contextlib.ExitStack]:
    with contextlib.ExitStack() as stack:
        yield stack


def begun(running: contextlib.ExitStack, data: Path, name: str, code: str) -> Child:
    return up._begin(running, data, name, [sys.executable, "-c", code], {})


def test_kafka_may_take_its_time_for_it_has_limits_of_its_own(
    running: contextlib.ExitStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(up, "START_LIMIT_S", 0.1)
    kafka = begun(running, tmp_path, "kafka", SERVES_LATE.format(data=str(tmp_path), name="kafka"))
    assert up._ports(tmp_path, kafka, threading.Event()) == {"port": 7}


def test_another_part_may_not(running: contextlib.ExitStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(up, "START_LIMIT_S", 0.1)
    air = begun(running, tmp_path, "air", SERVES_LATE.format(data=str(tmp_path), name="air"))
    with pytest.raises(Unavailable, match="air does not serve after 0 s"):
        up._ports(tmp_path, air, threading.Event())


def test_a_part_that_was_killed_is_not_explained_by_what_it_said_before(
    running: contextlib.ExitStack, tmp_path: Path
) -> None:
    air = begun(running, tmp_path, "air", SAYS_AND_WAITS)
    until(lambda: air.log.read_text() == "all is well\n", 10)
    air.process.send_signal(signal.SIGKILL)
    air.process.wait(10)
    with pytest.raises(Unavailable, match=r"^air was killed by SIGKILL$"):
        up._check([air])


def test_a_part_that_ended_by_itself_is_explained_by_its_last_words(
    running: contextlib.ExitStack, tmp_path: Path
) -> None:
    air = begun(running, tmp_path, "air", SAYS_AND_ENDS)
    air.process.wait(10)
    with pytest.raises(Unavailable, match=r"^air ended with code 3: no room$"):
        up._check([air])


def test_a_part_is_not_explained_by_an_earlier_run(running: contextlib.ExitStack, tmp_path: Path) -> None:
    (tmp_path / "log").mkdir()
    (tmp_path / "log" / "air.log").write_text("a port was taken\n", encoding="utf-8")
    air = begun(running, tmp_path, "air", ENDS.format(3))
    air.process.wait(10)
    with pytest.raises(Unavailable, match=r"^air ended with code 3$"):
        up._check([air])
    assert air.log.read_text() == "a port was taken\n"


def test_a_part_that_is_misconfigured_makes_all_of_it_so(running: contextlib.ExitStack, tmp_path: Path) -> None:
    air = begun(running, tmp_path, "air", ENDS.format(2))
    air.process.wait(10)
    with pytest.raises(Misconfigured, match=r"^air ended with code 2$"):
        up._check([air])


def test_the_run_file_of_another_start_stays(tmp_path: Path) -> None:
    path = run_file(tmp_path, "air")
    path.parent.mkdir()
    path.write_text(f'{{"pid": {os.getpid()}, "ports": {{"hj212": 7}}}}', encoding="utf-8")
    with contextlib.ExitStack() as running:
        begun(running, tmp_path, "air", ENDS.format(2)).process.wait(10)
    assert path.exists()


def test_a_run_file_cut_off_with_the_power_is_waited_over(running: contextlib.ExitStack, tmp_path: Path) -> None:
    path = run_file(tmp_path, "air")
    path.parent.mkdir()
    path.touch()
    air = begun(running, tmp_path, "air", SERVES_LATE.format(data=str(tmp_path), name="air"))
    assert up._ports(tmp_path, air, threading.Event()) == {"port": 7}


@pytest.mark.parametrize("bootstrap", ["127.0.0.1:1,127.0.0.1:2", "10.0.0.5:9092"])
def test_a_cluster_of_ones_own_is_not_for_up(
    bootstrap: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GRIDHUB__KAFKA__BOOTSTRAP", bootstrap)
    assert main(["up", "--data", str(tmp_path)]) == 2
    assert f"kafka.bootstrap = {bootstrap}: gridhub up runs a broker of its own" in capsys.readouterr().err
