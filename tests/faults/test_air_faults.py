"""The fault run: 20,000 messages of 40 stations, while connector and broker are killed by turns and started again.

Kills go by how far the stations have come, and wait for a message that has been sent and not yet answered. What the topics hold
afterwards is judged by `checker`.
"""

import subprocess
import time
from collections import Counter
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.brokers import Broker, until
from tests.faults import personal_checker
from tests.faults.checker import (
    TOPIC_OF_CLASS,
    Attempt,
    Contract,
    Log,
    Message,
    Run,
    Topics,
    findings,
    register,
)
from tests.faults.processes import READY_WITHIN_S, ROOT, Connector, Watch, now_ms, prepare, simulated, spoken

STATIONS, MESSAGES = 40, 20_000
MANNERS = {
    "seed": 3,
    "devices": STATIONS,
    "messages": MESSAGES,
    "interval": 0.15,
    "repeat": 0.3,
    "troubles": 0.03,
    "timeout": 3,
}
KILLS = 8
KILLS_WHILE_PENDING = 6
# What is sent this long before a kill may be under way, and Kafka may be away this long after all serve again (the producer's back-off
# of 1 s and what it has to catch up with).
UNDER_WAY_MS, CATCHING_UP_MS = 2_000, 5_000
STATIONS_WITHIN_S, READ_WITHIN_S = 180.0, 30.0

pytestmark = [pytest.mark.kafka, pytest.mark.timeout(240)]


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
        prepare(broker)
        connector = Connector(data, broker.bootstrap)
        running.callback(connector.kill)
        connector.start()
        sent = data / "sent.jsonl"
        stations = running.enter_context(simulated(connector.address, sent, **MANNERS))
        kills = kill_by_turns(stations, sent, broker, connector)
        assert stations.wait(STATIONS_WITHIN_S) == 0
        stations_s = time.monotonic() - started
        balance = connector.balance()
        log, topics = Log.read(sent), Topics.read(broker.bootstrap, within_s=READ_WITHIN_S)
        told = [line["event"] for line in connector.told()]
        texts = spoken([connector])

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
    found += personal_checker.findings(
        run.contract, topics.records, texts, personal_checker.names(ROOT / "deploy/town")
    )
    for kill in kills:
        kill.pending = pending_at(kill.at, log)
    print(report(run, kills, stations_s, time.monotonic() - started))
    for finding in found[:50]:
        print(*finding)
    assert Counter(finding.wrong for finding in found) == {}
    assert "defect" not in told
    assert "spooling" in told, "someone was answered while Kafka was away"
    assert told.count("serving") == 1 + KILLS // 2
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
