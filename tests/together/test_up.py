"""Everything with one command: tickets open and clear, it ends cleanly, goes on where it was, and leaves nobody behind."""

import json
import os
import pty
import re
import select
import signal
import socket
import subprocess
import sys
import termios
import urllib.request
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
    "GRIDHUB__PAGE__LISTEN": "127.0.0.1:0",
    "GRIDHUB__PATROL__LISTEN": "127.0.0.1:0",
    "GRIDHUB__CAMERA__LISTEN": "127.0.0.1:0",
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


def tickets_on_the_page(data: Path, titles: str) -> list[tuple[str, str, str]]:
    """Title, place and owner of each ticket of Zheng'an in the list of the page that is called so."""
    port = json.loads(run_file(data, "page").read_text())["ports"]["http"]
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/?town=410122106", timeout=10) as answer:
        page = answer.read().decode()
    cells = (
        re.findall(rf'<span class="row-{cell}">(.*?)</span>', page, re.DOTALL) for cell in ("title", "place", "owner")
    )
    rows = zip(*([" ".join(re.sub("<.*?>", " ", one).split()) for one in found] for found in cells), strict=True)
    return [row for row in rows if re.match(titles, row[0])]


def gone(processes: list[psutil.Process], within_s: float) -> None:
    _, alive = psutil.wait_procs(processes, timeout=within_s)
    assert not alive


def test_the_start_script_shows_tickets_ends_cleanly_and_goes_on(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with running(SCRIPT, data) as up:
        up.says("opened  PM10   mean ")
        assert "Demo: an hour of the rules lasts 10 s." in up.said()
        family = up.family()
        assert {"java"} <= {process.name() for process in family}
        # All three platforms, on the page too: each ticket with a person, or whoever is next in the chain, and most with a place.
        until(
            lambda: tickets_on_the_page(data, "疑似违建") and tickets_on_the_page(data, "火点|烟雾|裸土未覆盖|扬尘"), 60
        )
        shown = tickets_on_the_page(data, ".*")
        assert all(re.match("网格员|网格长|二级网格长|网格中心", owner) for _, _, owner in shown), shown
        assert any("网格" in place for _, place, _ in shown), shown
        first = until(lambda: readings(data), 30)
        up.process.send_signal(signal.SIGINT)
        assert up.process.wait(30) == 0
        assert f"Ended; the data stays in {data}.\nTickets: " in up.said()
        gone(family, 2)
    assert not list((data / "run").iterdir())
    still_open = int(re.findall(r"(\d+) still open", up.said())[0])
    assert still_open

    with running(GRIDHUB, data, "--no-view") as up:
        up.says("Everything runs")
        until(lambda: readings(data) > first, 30)
        # What the first run left open ends in this one: clean periods follow, and the end itself is one.
        counts = until(lambda: re.search(r"tickets: (\d+) opened, (\d+) cleared, (\d+) open", up.said()), 30)
        opened, cleared, now_open = map(int, counts.groups())
        assert now_open == still_open + opened - cleared
        until(lambda: sum(map(int, re.findall(r"(\d+) cleared", up.said()))) > 0, 120)
        assert "PM10" not in up.said()


def test_it_ends_by_itself_once_so_many_tickets_were_opened(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with running(GRIDHUB, data, "--until-tickets", "3", "--within", "120") as up:
        assert up.process.wait(150) == 0
    last = up.said().splitlines()[-1]
    numbers = [
        int(number)
        for number in re.fullmatch(
            r"Tickets: (\d+) opened, (\d+) cleared, (\d+) still open\."
            r" Messages: (\d+) received, (\d+) answered, (\d+) dead letters?\. (\d+) s\.",
            last,
        ).groups()  # type: ignore[union-attr]
    ]
    opened, cleared, still_open, received, answered, _, seconds = numbers
    assert opened >= 3
    assert opened - cleared == still_open
    assert received >= answered > 0
    assert seconds <= 120
    assert len(re.findall(" opened  ", up.said())) == opened
    assert not list((data / "run").iterdir())


def test_it_gives_up_waiting_for_tickets_in_time(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with running(GRIDHUB, data, "--within", "1", "--until-tickets", "99") as up:
        assert up.process.wait(30) == 4
    assert up.said().rstrip().endswith("gridhub: 0 of 99 tickets were opened within 1 s (--within)")
    assert not list(data.glob("run/*"))


def test_on_a_terminal_it_fills_the_screen_and_leaves_it_as_it_was(tmp_path: Path) -> None:
    ours, theirs = pty.openpty()
    termios.tcsetwinsize(theirs, (24, 80))
    before = termios.tcgetattr(theirs)
    process = subprocess.Popen(
        [*GRIDHUB, "--data", str(tmp_path / "data"), "--lang", "zh"],
        cwd=tmp_path,
        env=os.environ | FREE_PORTS | {"TERM": "xterm-256color"},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
        start_new_session=True,
    )
    shown = bytearray()

    def shows(words: str) -> bool:
        if select.select([ours], [], [], 0.5)[0]:
            shown.extend(os.read(ours, 65536))
        return words in shown.decode(errors="replace")

    try:
        until(lambda: shows("演示：1 小时 = 10 秒"), 120)
        until(lambda: shows("就绪"), 30)
        os.write(ours, b"q")
        until(lambda: shows("工单：新开"), 30)
        assert process.wait(30) == 0
    finally:
        process.terminate()
        process.wait(30)
    enter, leave = b"\x1b[?1049h", b"\x1b[?1049l"
    assert shown.count(enter) == shown.count(leave) == 1
    assert shown.rindex(b"\x1b[?25h") > shown.rindex(b"\x1b[?25l")  # the cursor is seen again
    assert termios.tcgetattr(theirs) == before
    os.close(ours)
    os.close(theirs)


def test_a_kill_9_of_the_starter_leaves_nobody(tmp_path: Path) -> None:
    data = tmp_path / "data"
    with running(GRIDHUB, data) as up:
        up.says("Everything runs")
        family = up.family()
        up.process.kill()
        gone([process for process in family if process.name() == "java"], 5)
        gone(family, 30)  # what the router asks of a Kafka that is gone has limits, one after the other


@pytest.mark.parametrize("part", ["air", "router-0"])
def test_a_part_that_is_killed_ends_all_with_a_sentence(tmp_path: Path, part: str) -> None:
    data = tmp_path / "data"
    with running(GRIDHUB, data) as up:
        up.says("Everything runs")
        family = up.family()
        psutil.Process(json.loads(run_file(data, part).read_text())["pid"]).kill()
        assert up.process.wait(30) == 3
        assert f"gridhub: {part} was killed by SIGKILL" in up.said()
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
        # As `| head -n 2` does.
        lines = [process.stdout.readline() for _ in range(2)]
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
