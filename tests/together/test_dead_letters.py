"""The commands `dead-letters` and `tap` on a broker: a letter is looked at, mended by an import, replayed, and seen on its topic."""

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from hub.core.registry import Device
from hub.kafka_log import Publisher
from hub.registry_check import load
from hub.settings import Settings
from hub.wire import Wire, headers
from tests.brokers import Broker, committed, emptied, register, until
from tests.hub.test_dead_letters import RAW, letter

pytestmark = pytest.mark.kafka
WIRE = Wire.load()
STATION = Device(id="za-air-77", mn="MN-1", vendor="acme", feed="air", town="410122105")


@pytest.fixture
def empty(broker: Broker) -> str:
    emptied(broker.bootstrap)
    return broker.bootstrap


def command(bootstrap: str, *words: str) -> tuple[list[str], dict[str, str]]:
    return [sys.executable, "-m", "hub", *words], os.environ | {"GRIDHUB__KAFKA__BOOTSTRAP": bootstrap}


def gridhub(bootstrap: str, *words: str) -> subprocess.CompletedProcess[str]:
    arguments, environment = command(bootstrap, *words)
    return subprocess.run(
        arguments, env=environment, capture_output=True, text=True, timeout=60, check=False, stdin=subprocess.DEVNULL
    )


def write(bootstrap: str, records: Sequence[tuple[str, str, bytes]]) -> None:
    publisher = Publisher(bootstrap, {topic for topic, _, _ in records}, client_id="test")
    left = threading.Semaphore(0)
    for topic, key, value in records:
        publisher.publish(topic, key, value, (), lambda _: left.release())
    for _ in records:
        assert left.acquire(timeout=20)
    publisher.close(5)


def test_a_letter_is_looked_at_mended_and_replayed(empty: str, tmp_path: Path) -> None:
    unknown = letter("air/20260302093000123/a")
    junk = letter("air/1/b", reason="length", detail="four digits", raw=b"##x\x00", device="", answered=False)
    write(empty, [("dead-letters", "air", WIRE.encode(one)) for one in (unknown, junk, unknown)])

    listed = json.loads(gridhub(empty, "dead-letters", "list", "--json").stdout)
    assert [(one["id"], one["state"], one["times"]) for one in listed] == [
        (junk.id, "open", 1),
        (unknown.id, "open", 2),
    ]
    assert gridhub(empty, "dead-letters", "list", "--reason", "length").stdout.count("\n") == 1
    shown = gridhub(empty, "dead-letters", "show", junk.id, "--raw", str(tmp_path / "raw"))
    assert "000000  23 23 78 00" in shown.stdout
    assert (tmp_path / "raw").read_bytes() == junk.raw
    assert gridhub(empty, "dead-letters", "show", "nobody").returncode == 2

    early = gridhub(empty, "dead-letters", "replay", unknown.id)
    assert (early.returncode, early.stdout) == (1, f"{unknown.id}  open  unknown_device: MN MN-1\n")
    assert gridhub(empty, "dead-letters", "replay", "--all").returncode == 2, "nobody can be asked"

    shipped = load(Settings().registry_dir)
    register(empty, replace(shipped, devices=(*shipped.devices, STATION)))
    late = gridhub(empty, "dead-letters", "replay", "--all", "--yes", "--json")
    assert late.returncode == 1, late.stderr
    assert {one["id"]: one["state"] for one in json.loads(late.stdout)} == {unknown.id: "replayed", junk.id: "open"}
    [reading] = committed(empty, "readings")
    assert reading.key == b"410122105"
    assert dict(reading.headers) == dict(headers(WIRE.decode(reading.value)))

    assert gridhub(empty, "dead-letters", "drop", junk.id).returncode == 0
    listed = json.loads(gridhub(empty, "dead-letters", "list", "--json").stdout)
    assert {one["id"]: one["state"] for one in listed} == {unknown.id: "replayed", junk.id: "dropped"}
    assert gridhub(empty, "dead-letters", "replay", "--all", "--yes").stdout == "", "nothing is open any more"

    story = gridhub(empty, "explain", unknown.id).stdout
    record = dict(reading.headers)["ce_id"].decode()
    assert f"the dead letter was replayed: became {record}" in story

    tapped = gridhub(
        empty, "tap", "dead-letters", "--from", "earliest", "--no-follow", "--json", "--where", "mark=replayed"
    )
    [line] = [json.loads(one) for one in tapped.stdout.splitlines()]
    assert line["record"]["detail"] == f"became {record}"
    raw = gridhub(empty, "tap", "dead-letters", "--from", "1-last", "--no-follow", "--unmasked")
    assert "mark=dropped" in raw.stdout
    again = gridhub(empty, "tap", "dead-letters", "--from", "earliest", "--limit", "1").stdout
    assert f"raw=***({len(RAW)})" in again


def test_tap_follows_and_ends_in_order(empty: str) -> None:
    arguments, environment = command(empty, "tap", "dead-letters", "--where", "feed=air")
    pipe = subprocess.PIPE
    with subprocess.Popen(arguments, env=environment, stdout=pipe, stderr=pipe, text=True) as tap:
        assert tap.stdout
        assert tap.stderr
        said: list[str] = []
        one_came = threading.Event()

        def read() -> None:
            for line in tap.stdout or ():
                said.append(line)
                one_came.set()

        reading = threading.Thread(target=read, daemon=True)
        reading.start()
        value = WIRE.encode(letter())

        def seen() -> bool:
            # It follows from where the topic ended when it came: what is written before is not seen.
            write(
                empty,
                [("dead-letters", "camera", WIRE.encode(letter("c/1", feed="camera"))), ("dead-letters", "air", value)],
            )
            return one_came.wait(0.2)

        until(seen, 30)
        write(empty, [("dead-letters", "air", b"not avro")])
        tap.send_signal(signal.SIGINT)
        assert tap.wait(10) == 0
        reading.join(5)
        assert tap.stderr.read() == ""
    assert all("reason=unknown_device" in line for line in said)
    assert not [line for line in said if "feed=camera" in line]


def test_a_reader_who_leaves_ends_it_like_any_command(empty: str) -> None:
    write(empty, [("dead-letters", "air", WIRE.encode(letter(f"air/{number}"))) for number in range(3000)])
    arguments, environment = command(empty, "tap", "dead-letters", "--from", "earliest")
    with subprocess.Popen(arguments, env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as tap:
        assert tap.stdout
        assert tap.stderr
        assert b"air/0" in tap.stdout.readline()
        tap.stdout.close()
        assert tap.stderr.read() == b""
        assert tap.wait(20) == 141


def test_without_kafka_it_is_one_sentence() -> None:
    for words in (("tap", "tickets"), ("dead-letters", "list")):
        ran = gridhub("127.0.0.1:9", *words)
        assert ran.returncode == 3
        assert "no broker answers at 127.0.0.1:9" in ran.stderr.splitlines()[-1]
