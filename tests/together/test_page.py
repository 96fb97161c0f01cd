"""`gridhub page` as a process on a broker: waits for Kafka, shows what is decided, says when Kafka is away, ends in order."""

import json
import os
import signal
import socket
import subprocess
import sys
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest

from hub.core.events import State, Ticket
from hub.kafka_log import Publisher
from hub.running import run_file
from hub.wire import Record, Wire
from tests.brokers import Broker, emptied, until
from tests.hub.page.crowd import TOWN, opening, registry

pytestmark = pytest.mark.kafka
TOPICS = {"Ticket": "tickets", "TicketEvent": "ticket-events", "Decision": "decisions", "CameraAlert": "alerts.camera"}


@contextmanager
def page(data: Path, bootstrap: str, *words: str) -> Iterator[subprocess.Popen[str]]:
    environment = {
        "GRIDHUB__DATA": str(data),
        "GRIDHUB__KAFKA__BOOTSTRAP": bootstrap,
        "GRIDHUB__TELEMETRY__LISTEN": "127.0.0.1:0",
        "GRIDHUB__TELEMETRY__FORMAT": "json",
    }
    process = subprocess.Popen(
        [sys.executable, "-m", "hub", "page", "--listen", "127.0.0.1:0", *words],
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | environment,
    )
    try:
        yield process
    finally:
        process.kill()
        process.communicate(timeout=10)


def ports(data: Path) -> dict[str, int]:
    def said() -> dict[str, int] | None:
        try:
            found: dict[str, int] = json.loads(run_file(data, "page").read_text())["ports"]
        except FileNotFoundError:
            return None
        return found

    return until(said, 30)


def get(port: int, path: str) -> tuple[int, str]:
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def publish(bootstrap: str, *records: Record) -> None:
    wire = Wire.load()
    publisher = Publisher(bootstrap, set(TOPICS.values()), client_id="test")
    failed: list[Exception | None] = []
    for record in records:
        publisher.publish(TOPICS[type(record).__name__], TOWN, wire.encode(record), (), failed.append)
    until(lambda: len(failed) == len(records), 20)
    publisher.close(5)
    assert not any(failed)


def test_it_shows_what_is_decided_and_ends_in_order(broker: Broker, tmp_path: Path) -> None:
    emptied(broker.bootstrap)
    first = opening(registry(), 1)
    ticket = next(record for record in first if isinstance(record, Ticket))
    publish(broker.bootstrap, *first)
    with page(tmp_path, broker.bootstrap) as process:
        serving = ports(tmp_path)
        until(lambda: get(serving["metrics"], "/ready")[0] == 200, 30)
        assert get(serving["metrics"], "/live")[0] == 200
        until(lambda: "郑庵镇" in get(serving["http"], f"/?town={TOWN}&lang=zh")[1], 20)
        status, text = get(serving["http"], f"/ticket/{ticket.id}?lang=zh")
        assert status == 200
        assert "为什么" in text
        cleared = replace(ticket, version=50, state=State.CLEARED, cleared_at=ticket.opened_at)
        second = opening(registry(), 2)
        publish(broker.bootstrap, cleared, *second)
        other = next(record for record in second if isinstance(record, Ticket))
        until(lambda: get(serving["http"], f"/ticket/{other.id}")[0] == 200, 5)
        # It was opened in March and so cleared long ago.
        assert get(serving["http"], f"/ticket/{ticket.id}")[0] == 404
        process.send_signal(signal.SIGTERM)
        _, said = process.communicate(timeout=10)
        assert process.returncode == 0, said
        events = [json.loads(line)["event"] for line in said.splitlines() if line.startswith("{")]
        assert (events[0], events[-1]) == ("starting", "stopped")
    assert not run_file(tmp_path, "page").exists()


def test_without_kafka_it_serves_and_says_so(tmp_path: Path) -> None:
    with page(tmp_path, "127.0.0.1:9") as process:
        serving = ports(tmp_path)
        assert "正在等待 Kafka" in get(serving["http"], "/towns?lang=zh")[1]
        status, text = get(serving["metrics"], "/ready")
        assert (status, json.loads(text)["ready"]) == (503, False)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=10)
        assert process.returncode == 0


def test_a_taken_port_is_told_with_its_name(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with page(tmp_path, "127.0.0.1:9", "--listen", address) as process:
            _, said = process.communicate(timeout=30)
    assert process.returncode == 2
    assert f"{address} cannot be used" in said
