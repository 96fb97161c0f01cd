"""Each command in a small form, on real processes: the figures are there, and all messages are accounted for."""

import json
import re
import time
from collections import defaultdict
from pathlib import Path
from typing import Any

import pytest

from hub.core.in_force import InForce
from hub.partition import ROUTER_STATE, Arrived, Surroundings
from hub.settings import Settings
from hub.transactions import partition_of
from tests.brokers import committed, until
from tests.faults.processes import all_read
from tests.load import recovery
from tests.load.__main__ import main
from tests.load.stage import PROBE, Stage, Town

pytestmark = [pytest.mark.kafka, pytest.mark.slow]


def measured(folder: Path, capsys: pytest.CaptureFixture[str], *words: str) -> tuple[str, dict[str, Any]]:
    """A command's report and its JSON; all of its claims hold."""
    file = folder / "report.json"
    code = main([*words, "--json", str(file)])
    text = capsys.readouterr().out
    assert code == 0, text
    told: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
    assert told["holds"]
    assert told["claims"]
    assert text.count("**pass**") == len(told["claims"])
    return text, told["figures"]


def test_recovery(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    text, figures = measured(tmp_path, capsys, "recovery", "--tickets", "600", "--session-ms", "6000")
    [size] = figures["sizes"]
    assert size["made"] == "sent"
    assert 0 < size["spool"]["count"] <= 600
    assert 0 < size["backlog"]["count"] <= 600
    again, other = size["kills"]
    for kill in (again, other):
        assert 0 < kill["rebuild_s"] < kill["ticket_s"]
        assert kill["ready_s"] > kill["rebuild_s"]
    # A ticket, an episode and an id of each, and some of the towns and partitions.
    assert 1800 < again["entries"] < 1900
    assert 0 < other["entries"] < again["entries"]
    assert len(re.findall(r"^\| 600 \| ", text, re.MULTILINE)) == 2


def test_the_memory_that_is_computed_is_the_one_that_a_router_writes(tmp_path: Path) -> None:
    town = Town(quiet_s=recovery.QUIET_S)
    with Stage(tmp_path, town) as stage:
        bootstrap = stage.broker.bootstrap
        stage.connect("camera")
        stage.route(0)
        sending = stage.send("some", "camera", town.pushes(PROBE), 400.0, 8, regions=30, messages=600)
        assert sending.done(30).heard() == {"200": 600}
        until(lambda: all_read(bootstrap, [recovery.INPUT]), 30)
        stage.routers[0].stop()
        arrived = defaultdict(list)
        for one in committed(bootstrap, recovery.INPUT):
            place = (one.topic, one.partition, one.offset, one.timestamp)
            arrived[one.partition].append(Arrived(*place, one.key, one.value))
        written = {one.key: one.value for one in committed(bootstrap, ROUTER_STATE)}
        around = Surroundings(InForce(stage.registry, None), recovery.WIRE, partition_of(Settings()), 0, 0)
    computed = {
        one.key: one.value
        for records in arrived.values()
        for one in recovery.remembered(records, around)
        if one.topic == ROUTER_STATE
    }
    assert len(computed) > 1800
    assert computed.keys() == written.keys()
    # How many transactions there were is a matter of time, and the number of the last one stands in what is kept of a partition.
    different = {key for key in computed if computed[key] != written[key]}
    assert all(key.startswith(b"|partition|") for key in different)


def test_overload(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--seconds", "4", "--before", "2", "--rate", "100", "--times", "20", "--connections", "8"]
    text, figures = measured(tmp_path, capsys, "overload", *words)
    flood = figures["flood"]
    assert flood["due"] == flood["sent"] + flood["held_back"]
    assert flood["sent"] == sum(flood["heard"].values()) + flood["unheard"]
    assert flood["heard"]["429"] > 100
    assert figures["heard"]["429"] + figures["heard"].get("503", 0) == figures["fates"]["refused"]
    assert figures["received"] == sum(figures["fates"].values())
    # A quarter of 100 a second, and as much as two seconds of it at once.
    assert 25 * 3 < flood["heard"]["200"] < 25 * 10
    during = {one["who"]: one for one in figures["others"] if one["phase"] == "during"}
    assert during.keys() == {"modest", "walkers"}
    assert all(one["kept"] == one["sent"] == one["ticket"]["count"] >= 15 for one in during.values())
    assert {"kafka", "camera", "patrol", "router-0"} == figures["memory_mib"].keys()
    assert "## The flood" in text


def test_soak(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    began = time.time()
    text, figures = measured(tmp_path, capsys, "soak", "--minutes", "0.25", "--every", "1", "--interval", "1")
    assert len(figures["intervals"]) >= 10
    assert sum(one["tickets"]["camera"]["count"] for one in figures["intervals"]) > 20
    assert figures["messages"]["camera"] > 30
    assert figures["readings"] > 100
    names = {"kafka", "air", "camera", "patrol", "router-0", "page"}
    assert figures["after_warm_up"].keys() == names
    for name in names:
        samples = [one for one in figures["samples"] if one["name"] == name]
        assert len(samples) >= 10
        assert all(one["rss"] > 0 and one["threads"] > 0 and one["handles"] > 0 for one in samples)
        assert all(began < one["at"] < time.time() for one in samples)
        assert f"| {name} | " in text
