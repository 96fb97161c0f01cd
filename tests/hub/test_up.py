"""How `gridhub up` waits for its parts, tells of one that ended or starts it again, and shortens rules; without a broker."""

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
from hub.core.rules import Rules
from hub.rulebook import rules_of
from hub.running import run_file
from hub.settings import DEFAULT_RULES, RuleSettings
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


def test_a_part_that_was_asked_to_end_twice_is_not_explained_by_what_it_said_before(
    running: contextlib.ExitStack, tmp_path: Path
) -> None:
    air = begun(running, tmp_path, "air", SAYS_AND_ENDS.replace("3", "143"))
    assert air.process.wait(10) == 128 + signal.SIGTERM
    with pytest.raises(Unavailable, match=r"^air was killed by SIGTERM$"):
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


@pytest.mark.parametrize("code", [3, 75])
def test_a_router_that_asks_for_it_is_started_again_a_few_times(
    running: contextlib.ExitStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    monkeypatch.setattr(up, "AGAIN_AFTER_S", 0.0)
    router = up._begin(
        running, tmp_path, "router-0", [sys.executable, "-c", ENDS.format(code)], {}, again_after=up.AGAIN_AFTER
    )
    for _ in range(up.AGAIN_AT_MOST):
        router.process.wait(10)
        (said,) = up._check([router])
        assert said.en == f"router-0 ended with code {code}; it is started again"
        assert not up._check([router])  # done now
    router.process.wait(10)
    with pytest.raises(Unavailable, match=rf"^router-0 ended with code {code}$"):
        up._check([router])


def test_a_router_that_has_worked_for_a_while_begins_a_new_row(
    running: contextlib.ExitStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(up, "STEADY_S", 0.0)
    router = up._begin(
        running, tmp_path, "router-0", [sys.executable, "-c", ENDS.format(75)], {}, again_after=up.AGAIN_AFTER
    )
    router.again = up.AGAIN_AT_MOST
    router.process.wait(10)
    assert up._check([router])
    assert router.again == 1


def test_a_killed_router_ends_all(running: contextlib.ExitStack, tmp_path: Path) -> None:
    router = up._begin(
        running, tmp_path, "router-0", [sys.executable, "-c", SAYS_AND_WAITS], {}, again_after=up.AGAIN_AFTER
    )
    router.process.kill()
    router.process.wait(10)
    with pytest.raises(Unavailable, match="router-0 was killed by SIGKILL"):
        up._check([router])


def test_kafka_is_heard_while_it_starts(
    running: contextlib.ExitStack, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    code = "import sys; print('Fetching', 'Kafka', file=sys.stderr, flush=True)"
    serves = SERVES_LATE.format(data=str(tmp_path), name="kafka")
    up._ports(tmp_path, begun(running, tmp_path, "kafka", f"{code}\n{serves}"), threading.Event())
    assert capsys.readouterr().err.endswith("Fetching Kafka\n")


def test_hours_are_short_in_a_demo() -> None:
    own = RuleSettings.model_validate(
        {"kind": "own", "class": "08004", "factor": "a34001", "limit": 300, "period": 600, "clear_after": 3}
    )
    short = up.demo_rules(Rules(rules_of((*DEFAULT_RULES, own)), {"ZA-1": {"a34002": 120.0}}))
    assert [(rule.kind, rule.period_s, rule.wait_s, rule.realtime_s) for rule in short.all] == [
        ("air.device_alarm", 3600, 600.0, 300.0),
        ("air.pm10.over_limit", 10, 3.0, 5.0),
        ("air.pm25.over_limit", 10, 3.0, 5.0),
        ("own", 600, 100.0, 50.0),
    ]
    assert short.limits == {"ZA-1": {"a34002": 120.0}}


@pytest.mark.parametrize("words", [["--until-tickets", "0"], ["--until-tickets", "x"], ["--until-tickets", "-1"]])
def test_so_many_tickets_are_at_least_one(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["up", *words])
    assert ended.value.code == 2
    assert "--until-tickets" in capsys.readouterr().err


@pytest.mark.parametrize("bootstrap", ["127.0.0.1:1,127.0.0.1:2", "10.0.0.5:9092"])
def test_a_cluster_of_ones_own_is_not_for_up(
    bootstrap: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("GRIDHUB__KAFKA__BOOTSTRAP", bootstrap)
    assert main(["up", "--data", str(tmp_path)]) == 2
    assert f"kafka.bootstrap = {bootstrap}: gridhub up runs a broker of its own" in capsys.readouterr().err
