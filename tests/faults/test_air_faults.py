"""The fault run: 20,000 messages of 40 stations, while connector and broker are killed by turns and started again.

Kills go by how far the stations have come, and wait for a message that has been sent and not yet answered. What the topics hold
afterwards is judged by `checker`.
"""

import json
import os
import re
import socket
import subprocess
import sys
import time
import urllib.request
from collections import Counter
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.brokers import Broker, until
from tests.faults.checker import (
    TOPIC_OF_CLASS,
    Attempt,
    Balance,
    Contract,
    Log,
    Message,
    Run,
    Topics,
    findings,
    register,
)

ROOT = Path(__file__).parents[2]
SEED = 3
STATIONS, MESSAGES = 40, 20_000
KILLS = 8
KILLS_WHILE_PENDING = 6
# What is sent this long before a kill may be under way, and Kafka may be away this long after all serve again (the producer's back-off
# of 1 s and what it has to catch up with).
UNDER_WAY_MS, CATCHING_UP_MS = 2_000, 5_000
READY_WITHIN_S, STATIONS_WITHIN_S, READ_WITHIN_S = 30.0, 180.0, 30.0

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(240)]


class Connector:
    """`python -m connectors air` on ports that stay the same from life to life."""

    def __init__(self, data: Path, bootstrap: str) -> None:
        self.address = f"127.0.0.1:{free_port()}"
        self.log = data / "air.log"
        self.lives = 0
        self._metrics = f"127.0.0.1:{free_port()}"
        self._run_file = data / "run" / "air.json"
        self._environment = {
            "GRIDHUB__DATA": str(data),
            "GRIDHUB__KAFKA__BOOTSTRAP": bootstrap,
            "GRIDHUB__AIR__LISTEN": self.address,
            "GRIDHUB__TELEMETRY__LISTEN": self._metrics,
            "GRIDHUB__TELEMETRY__FORMAT": "json",
        }

    def start(self) -> None:
        """Returns when it serves."""
        self.begun = now_ms()
        self.lives += 1
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "connectors", "air"],
                cwd=ROOT,
                env=os.environ | self._environment,
                stderr=log,
            )
        until(self._serves, READY_WITHIN_S)

    def kill(self) -> None:
        """SIGKILL."""
        self.process.kill()
        self.process.wait(10)

    def balance(self) -> Balance:
        """What the present life has counted, once every station has hung up and nothing is pending."""
        return until(self._balance, READY_WITHIN_S)

    def _serves(self) -> bool:
        assert self.process.poll() is None, self.log.read_text(encoding="utf-8")[-2000:]
        try:
            return bool(json.loads(self._run_file.read_text(encoding="utf-8"))["pid"] == self.process.pid)
        except FileNotFoundError:
            return False  # not yet

    def _balance(self) -> Balance | None:
        with urllib.request.urlopen(f"http://{self._metrics}/metrics", timeout=5) as answer:
            text = answer.read().decode()
        numbers = dict(re.findall(r"^(gridhub_\w+(?:\{.*?\})?) (\S+)$", text, re.MULTILINE))
        received = int(float(numbers['gridhub_messages_received_total{feed="air"}']))
        fates = {
            fate: int(float(numbers[f'gridhub_messages_total{{fate="{fate}",feed="air"}}']))
            for fate in ("published", "dead-lettered", "spooled", "empty", "refused")
        }
        hung_up = float(numbers['gridhub_connections{feed="air"}']) == 0
        return Balance(self.begun, received, fates) if hung_up and received == sum(fates.values()) else None


class Watch:
    """Follows the stations' log while it is written."""

    def __init__(self, path: Path) -> None:
        self._file = path.open("rb")
        self._torn = b""
        self._messages: dict[tuple[str, int], Message] = {}
        self._waiting: set[tuple[str, int]] = set()

    def close(self) -> None:
        self._file.close()

    def look(self) -> tuple[int, int]:
        """How many messages have been sent for the first time, and how many wait for an answer now."""
        *lines, self._torn = (self._torn + self._file.read()).split(b"\n")
        for line in map(json.loads, lines):
            name = line["device"], line.get("n", 0)
            if line["what"] == "sent":
                raw = bytes.fromhex(line["raw"])
                message = self._messages.setdefault(name, Message(*name, line["expect"], line["trouble"], raw))
                if message.owed_answer:
                    self._waiting.add(name)
            elif line["what"] == "answered":
                self._waiting.discard(name)
        return len(self._messages), len(self._waiting)


@dataclass
class Kill:
    """One kill: whose, when (ms UTC), and when all served again."""

    whom: str
    at: int
    over: int
    pending: list[Message] = field(default_factory=list)


def test_what_was_answered_is_kept_once_and_in_order_through_kills_of_connector_and_broker() -> None:
    started = time.monotonic()
    with TemporaryDirectory(prefix="gridhub-faults-") as folder, ExitStack() as running:
        data = Path(folder)
        broker = Broker(data / "kafka")
        running.callback(broker.stop)
        broker.start()
        subprocess.run(
            [sys.executable, "-m", "hub", "topics", "create"],
            cwd=ROOT,
            env=os.environ | {"GRIDHUB__KAFKA__BOOTSTRAP": broker.bootstrap},
            stdout=subprocess.DEVNULL,
            timeout=READY_WITHIN_S,
            check=True,
        )
        connector = Connector(data, broker.bootstrap)
        running.callback(connector.kill)
        connector.start()
        sent = data / "sent.jsonl"
        stations = running.enter_context(simulated(connector.address, sent))
        kills = kill_by_turns(stations, sent, broker, connector)
        assert stations.wait(STATIONS_WITHIN_S) == 0
        stations_s = time.monotonic() - started
        balance = connector.balance()
        log, topics = Log.read(sent), Topics.read(broker.bootstrap, within_s=READ_WITHIN_S)
        told = [line for line in connector.log.read_text(encoding="utf-8").splitlines() if line.startswith("{")]

    run = Run(
        log=log,
        topics=topics,
        register=register((ROOT / "deploy/town/devices.csv").read_text(encoding="utf-8")),
        contract=Contract(ROOT / "schemas"),
        minute_period_s=600,
        balance=balance,
        outages=tuple((kill.at - UNDER_WAY_MS, kill.over + CATCHING_UP_MS) for kill in kills),
    )
    found = findings(run)
    for kill in kills:
        kill.pending = pending_at(kill.at, log)
    print(report(run, kills, stations_s, time.monotonic() - started))
    for finding in found[:50]:
        print(*finding)
    assert Counter(finding.wrong for finding in found) == {}
    assert [line for line in told if json.loads(line)["event"] == "defect"] == []
    assert sum(json.loads(line)["event"] == "serving" for line in told) == 1 + KILLS // 2
    assert len(log.messages) == MESSAGES
    assert len({message.device for message in log.messages}) == STATIONS
    assert [kill.whom for kill in kills] == ["broker", "connector"] * (KILLS // 2)
    assert sum(bool(kill.pending) for kill in kills) >= KILLS_WHILE_PENDING
    assert all(message.answers[-1].at > kill.at for kill in kills for message in kill.pending)


def kill_by_turns(stations: subprocess.Popen[bytes], sent: Path, broker: Broker, connector: Connector) -> list[Kill]:
    """The last one killed is the connector, so that all of its last life had a broker."""
    until(sent.exists, READY_WITHIN_S)
    watch = Watch(sent)
    kills = []
    try:
        for number in range(1, KILLS + 1):

            def due(after: int = number * MESSAGES // (KILLS + 1)) -> bool:
                done, waiting = watch.look()
                return stations.poll() is not None or (done >= after and waiting > 0)

            until(due, STATIONS_WITHIN_S)
            if stations.poll() is not None:
                break  # too early: the topics tell what they believed
            at = now_ms()
            whom = "broker" if number % 2 else "connector"
            victim: Broker | Connector = broker if number % 2 else connector
            victim.kill()
            victim.start()
            kills.append(Kill(whom, at, now_ms()))
    finally:
        watch.close()
    return kills


def pending_at(at: int, log: Log) -> list[Message]:
    """Messages that had been sent before `at` and had no answer to that by the end of this millisecond, by the log's own times."""
    return [
        message
        for message in log.messages
        if message.owed_answer and last_line(message.attempts, at - 1) > last_line(message.answers, at)
    ]


def last_line(happenings: list[Attempt], by: int) -> int:
    return max((one.line for one in happenings if one.at <= by), default=-1)


def report(run: Run, kills: list[Kill], stations_s: float, whole_s: float) -> str:
    """The run in numbers."""
    messages = run.log.messages
    unanswerable = [one for one in messages if one.expect in TOPIC_OF_CLASS and not one.owed_answer]
    resent = [one for kill in kills for one in kill.pending if any(attempt.at > kill.at for attempt in one.attempts)]
    figures = {
        "messages": f"{len(messages)} of {len({one.device for one in messages})} stations",
        "sent": f"{sum(len(one.attempts) for one in messages)} times",
        "answered": f"{sum(len(one.answers) for one in messages)} times",
        "repeated though answered": sum(len(one.answers) > 1 for one in messages),
        "to be kept, wanting no answer": len(unanswerable),
        "kills": ", ".join(f"{kill.whom} ({len(kill.pending)} pending, {kill.over - kill.at} ms)" for kill in kills),
        "pending at a kill, sent again": len(resent),
        "records": dict(Counter(record.topic for record in run.topics.records)),
        "connector's last life": f"{run.balance.received} received, {dict(run.balance.fates)}",
        "until all were answered": f"{stations_s:.0f} s, with everything {whole_s:.0f} s",
    }
    return "\n".join(f"{name:30} {value}" for name, value in figures.items())


@contextmanager
def simulated(address: str, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """The stations, as a process that does not outlive the context."""
    command = [sys.executable, "-m", "connectors.air.simulate", "--to", address, "--log", str(log), "--seed", str(SEED)]
    options = {"devices": STATIONS, "messages": MESSAGES, "interval": 0, "repeat": 0.3, "troubles": 0.03, "timeout": 3}
    words = [word for name, value in options.items() for word in (f"--{name}", str(value))]
    process = subprocess.Popen([*command, *words], cwd=ROOT)
    try:
        yield process
    finally:
        process.kill()
        process.wait(10)


def free_port() -> int:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        return int(taken.getsockname()[1])


def now_ms() -> int:
    return time.time_ns() // 1_000_000
