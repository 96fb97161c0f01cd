"""Cameras and patrols push while broker and connectors are killed: what was answered is kept, and the sums come out.

Senders that hear nothing, or 503, send again; what they sent and heard stands in their own log. The checker shares no code with the hub.
"""

import json
import time
from collections import Counter, defaultdict
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import pytest

from tests.brokers import Broker, until
from tests.faults.checker import Contract, Topics
from tests.faults.processes import READY_WITHIN_S, ROOT, Connector, now_ms, prepare, simulated

pytestmark = [pytest.mark.kafka, pytest.mark.slow, pytest.mark.timeout(400)]

FEEDS = {"camera": "alerts.camera", "patrol": "alerts.patrol"}
MESSAGES = {"camera": 5000, "patrol": 1500}
INTERVALS = {"camera": 0.12, "patrol": 0.15}
ALL_WITHIN_S = 240.0
# What the answer of each fate promises to be on which topic; an empty one promises nothing.
KEPT_ON = {"published": set(FEEDS.values()), "dead-lettered": {"dead-letters", *FEEDS.values()}}


def lines(log: Path) -> list[dict[str, Any]]:
    """A sender's log; a line that a kill has torn is none."""
    found = []
    for line in log.read_text(encoding="utf-8").splitlines():
        try:
            found.append(json.loads(line))
        except ValueError:
            continue
    return found


def answered(log: Path) -> int:
    return (
        sum(line["what"] == "answered" and line["status"] in (200, 400) for line in lines(log)) if log.exists() else 0
    )


def test_what_was_answered_is_kept_through_kills_of_broker_and_connectors() -> None:
    with TemporaryDirectory(prefix="gridhub-faults-") as folder, ExitStack() as running:
        data = Path(folder)
        broker = Broker(data / "kafka")
        running.callback(broker.stop)
        broker.start()
        prepare(broker)
        connectors = {feed: Connector(data, broker.bootstrap, feed) for feed in FEEDS}
        logs = {feed: data / f"{feed}-sent.jsonl" for feed in FEEDS}
        senders = {}
        for feed, connector in connectors.items():
            running.callback(connector.kill)
            connector.start()
            options = {"messages": MESSAGES[feed], "interval": INTERVALS[feed], "seed": 5}
            senders[feed] = running.enter_context(simulated(connector.address, logs[feed], feed, **options))
        began = now_ms()
        kills = kill_by_turns(broker, connectors, logs)
        for feed, sender in senders.items():
            assert sender.wait(ALL_WITHIN_S) == 0, feed
        balances = {feed: connector.balance() for feed, connector in connectors.items()}
        topics = Topics.read(broker.bootstrap, within_s=60, topics=[*FEEDS.values(), "dead-letters"])
        told = {feed: lines(log) for feed, log in logs.items()}
        took_s = (now_ms() - began) / 1000
        pictures = {path.parent.name + path.name for path in (data / "evidence").rglob("*") if path.is_file()}

    contract = Contract(ROOT / "schemas")
    kept: dict[str, set[str]] = defaultdict(set)
    first_at: dict[str, tuple[int, int]] = {}
    evidence: set[str] = set()
    for record in topics.records:
        assert record.value is not None
        name, fields = contract.decode(record.value)
        kept[record.topic].add(str(fields["id"]))
        first_at.setdefault(str(fields["id"]), (record.partition, record.offset))
        if name == "CameraAlert":
            evidence |= {one["sha256"] for one in fields["evidence"]}
    assert evidence <= pictures, "what an alert names is in the store"
    for feed, said in told.items():
        heard = [line for line in said if line["what"] == "answered" and line["status"] in (200, 400)]
        lost = [
            line
            for line in heard
            if line["fate"] in KEPT_ON and not any(line["id"] in kept[topic] for topic in KEPT_ON[line["fate"]])
        ]
        assert not lost, f"{feed}: answered and nowhere: {lost[:3]}"
        sent = {(line["device"], line["n"]) for line in said if line["what"] == "sent"}
        assert sent == {(line["device"], line["n"]) for line in heard}, "everyone was answered in the end"
        assert len(sent) == MESSAGES[feed]
        assert_in_order(feed, heard, first_at)
        fates = balances[feed].fates
        assert balances[feed].received == sum(fates.values())
        resent = sum(line["what"] == "sent" for line in said) - len(heard)
        print(f"{feed}: {len(sent)} messages, {resent} sendings without a yes, last life {dict(fates)}")
    statuses = Counter(line["status"] for said in told.values() for line in said if line["what"] == "answered")
    print(f"kills {kills}, answers {dict(statuses)}, {len(pictures)} pictures, {took_s:.0f} s")
    assert len(kills) == len(PLAN)
    assert sum(line["what"] == "sent" and line["attempt"] > 1 for said in told.values() for line in said) > 0


# Whom, once so many of the cameras' messages were answered.
PLAN = (("broker", 800), ("camera", 1800), ("patrol", 2300), ("broker", 3200))


def kill_by_turns(broker: Broker, connectors: dict[str, Connector], logs: dict[str, Path]) -> list[str]:
    kills = []
    for whom, after in PLAN:
        until(lambda after=after: answered(logs["camera"]) >= after, ALL_WITHIN_S)  # type: ignore[misc]
        victim: Broker | Connector = broker if whom == "broker" else connectors[whom]
        victim.kill()
        time.sleep(3)  # longer than the budget: what is sent meanwhile is refused
        victim.start()
        if whom == "broker":
            for connector in connectors.values():
                until(connector.is_ready, READY_WITHIN_S)
        kills.append(whom)
    return kills


def assert_in_order(feed: str, heard: list[dict[str, Any]], first_at: dict[str, tuple[int, int]]) -> None:
    """A device sends one message after the other: within a partition the first records of its alerts stand in that order."""
    last: dict[tuple[str, int], int] = {}
    seen: set[str] = set()
    for line in sorted(heard, key=lambda line: (line["device"], line["n"])):
        if line["fate"] != "published" or line["id"] in seen:
            continue
        seen.add(line["id"])
        partition, offset = first_at[line["id"]]
        place = line["device"], partition
        assert last.get(place, -1) < offset, f"{feed}: {line['id']} stands before what was sent earlier"
        last[place] = offset
