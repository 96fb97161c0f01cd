"""The commands about the registry, on a broker; and a reader that goes on with its copy when Kafka is away."""

import json
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from hub.registry import Follower, Versions, current, pieces, write
from hub.registry_export import export
from hub.settings import KafkaSettings, Settings
from tests.brokers import Broker, emptied, until
from tests.hub.test_registry import FULL

pytestmark = pytest.mark.kafka


@pytest.fixture
def empty(broker: Broker) -> str:
    emptied(broker.bootstrap)
    return broker.bootstrap


def gridhub(bootstrap: str, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-m", "hub", "registry", *words],
        env=os.environ | {"GRIDHUB__KAFKA__BOOTSTRAP": bootstrap},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )


def test_an_import_says_what_it_changes_and_a_second_one_changes_nothing(empty: str, tmp_path: Path) -> None:
    files = tmp_path / "files"
    export(FULL, files)
    differing = gridhub(empty, "diff", str(files))
    assert differing.returncode == 1
    assert "+ cell 330100001001001" in differing.stdout
    first = gridhub(empty, "import", str(files), "--note", "the first of this town")
    assert (first.returncode, first.stdout) == (0, "version 2 is in force\n"), first.stderr
    assert gridhub(empty, "diff", str(files)).returncode == 0
    again = gridhub(empty, "import", str(files), "--json")
    assert json.loads(again.stdout) == {"version": 2, "differences": []}
    exported = tmp_path / "exported"
    assert gridhub(empty, "export", str(exported)).returncode == 0
    assert gridhub(empty, "diff", str(exported)).returncode == 0
    assert gridhub(empty, "export", str(tmp_path / "old"), "--version", "1").returncode == 0
    missing = gridhub(empty, "export", str(tmp_path / "none"), "--version", "9")
    assert (missing.returncode, "there are 1, 2" in missing.stderr) == (2, True)


def test_files_with_a_mistake_are_refused_and_nothing_is_written(empty: str, tmp_path: Path) -> None:
    export(FULL, tmp_path)
    path = tmp_path / "roster.csv"
    path.write_text(path.read_text(encoding="utf-8").replace("wang,worker,G1", "wang,worker,G9"), encoding="utf-8")
    refused = gridhub(empty, "import", str(tmp_path))
    assert refused.returncode == 2
    assert "roster.csv:3: wang: the area G9 is no grid on the map" in refused.stderr
    assert current(Settings(kafka=KafkaSettings(bootstrap=empty)))[1] == 2


KILLED = """
import os, signal, sys
from hub import registry
from hub.settings import KafkaSettings, Settings
from tests.hub.test_registry import FULL

publish, calls = registry._publish, []

def dies(*arguments):
    if len(calls) == 2:  # its number and its pieces are there
        os.kill(os.getpid(), signal.SIGKILL)
    calls.append(1)
    publish(*arguments)

registry._publish = dies
registry.write(Settings(kafka=KafkaSettings(bootstrap=sys.argv[1])), FULL, 2)
"""


def test_an_import_that_is_killed_leaves_nothing_that_counts(empty: str) -> None:
    """Between its pieces and the record that would make them a version."""
    ran = subprocess.run([sys.executable, "-c", KILLED, empty], timeout=60, check=False)
    assert ran.returncode == -signal.SIGKILL
    settings = Settings(kafka=KafkaSettings(bootstrap=empty))
    newest, number = current(settings)
    assert newest is not None
    assert (newest.version, number) == (1, 3)
    write(settings, FULL, number)
    assert sorted(Versions(settings, "test").all()) == [1, 3]


def test_a_follower_adopts_at_once_and_begins_with_its_copy_when_kafka_is_away(empty: str, tmp_path: Path) -> None:
    settings = Settings(data=tmp_path, kafka=KafkaSettings(bootstrap=empty))
    follower = Follower(settings, "test")
    follower.start()
    assert follower.wait(20)
    write(settings, FULL, 2)
    until(lambda: follower.registry.version == 2, 20)
    assert pieces(follower.registry) == pieces(FULL)
    follower.stop()
    away = settings.model_copy(update={"kafka": KafkaSettings(bootstrap="127.0.0.1:9")})
    seen: list[int] = []
    alone = Follower(away, "test", lambda registry: seen.append(registry.version))
    alone.start()
    try:
        assert alone.wait(20)
        assert (alone.registry.version, seen) == (2, [2])
        assert alone.registry == replace(follower.registry)
        assert alone.trouble
    finally:
        alone.stop()
