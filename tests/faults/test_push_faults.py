"""Cameras and patrols push, and a router decides, while broker, connectors and router are killed: both balances come out.

Senders that hear nothing, or 503, send again; what they sent and heard stands in their own log. `push_checker` judges, and shares no code with the hub.
Nobody is killed before a message is under way; the connectors' last lives see the broker die once more.
"""

import gc
import logging
import random
import time
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from subprocess import Popen
from tempfile import TemporaryDirectory

import pytest

from tests.brokers import Broker, until
from tests.faults import offsets_checker, personal_checker
from tests.faults.checker import Contract, Topics
from tests.faults.duties import Duties
from tests.faults.evidence_checker import store
from tests.faults.offsets_checker import JOURNAL, OFFSETS
from tests.faults.processes import (
    READY_WITHIN_S,
    ROOT,
    Connector,
    Follower,
    Router,
    Routers,
    Tail,
    Transactions,
    all_read,
    now_ms,
    prepare,
    simulated,
    spoken,
)
from tests.faults.push_checker import RECORD_OF_TOPIC, Feed, Judgement, PushRun, pushes
from tests.faults.pushing import ACCUSED, Heard, log_of, registry, senders_of
from tests.faults.ticket_checker import DECISIONS, EVENTS, HANDED_OVER, TICKETS

pytestmark = [pytest.mark.kafka, pytest.mark.slow, pytest.mark.timeout(400)]

SEED = 5
MESSAGES = 5000
# 16 cameras, and 4 drones and a satellite service: each feed's messages in about 80 s.
INTERVALS = {"camera": 0.2, "patrol": 0.05}
FEEDS = tuple(INTERVALS)
INPUTS = [*(f"alerts.{feed}" for feed in FEEDS), HANDED_OVER]
# More than the shipped vendors' 50, which would make the run longer, and less than is pushed when all come back after an outage.
PER_S = 80
PLAN = (
    ("broker, then patrol", 1200),
    ("camera", 2600),
    ("router", 3800),
    ("patrol", 5000),
    ("broker", 6600),
    ("router", 8200),
)
"""Whom, once so many messages of all feeds were answered. What patrols were told while Kafka was away, their connector's death must not take along."""
SESSION_TIMEOUT_MS = 6_000
NOTICED_WITHIN_S, KILLED_WITHIN_S, SENT_WITHIN_S, READ_WITHIN_S = 15.0, 40.0, 240.0, 60.0


@dataclass
class Kill:
    """One kill: whom, by when it was dead and when it served again (ms UTC), and how many messages were pending."""

    whom: str
    at: int
    over: int = 0
    pending: int = 0


@dataclass(frozen=True, slots=True)
class Stage:
    """All who take part, running."""

    broker: Broker
    connectors: Mapping[str, Connector]
    routers: Routers
    senders: Mapping[str, Popen[bytes]]
    heard: Mapping[str, Heard]
    follower: Follower

    @classmethod
    def set(cls, data: Path, running: ExitStack) -> "Stage":
        """Starts everyone; `running` ends them."""
        broker = Broker(data / "kafka")
        running.callback(broker.stop)
        broker.start()
        prepare(broker, registry(data, PER_S))
        follower = Follower(broker.bootstrap, RECORD_OF_TOPIC)
        running.callback(follower.close)
        routers = Routers([Router(0, data, broker.bootstrap, SESSION_TIMEOUT_MS)])
        running.callback(routers.kill)
        routers.start()
        connectors = {feed: Connector(data, broker.bootstrap, feed) for feed in FEEDS}
        for connector in connectors.values():
            running.callback(connector.kill)
            connector.start()
        senders, heard = {}, {}
        for feed, connector in connectors.items():
            log = log_of(data, feed)
            options = {"messages": MESSAGES, "interval": INTERVALS[feed], "seed": SEED}
            senders[feed] = running.enter_context(simulated(connector.address, log, feed, **options))
            until(log.exists, READY_WITHIN_S)
            heard[feed] = Heard(Tail(log))
            running.callback(heard[feed].tail.close)
        return cls(broker, connectors, routers, senders, heard, follower)

    def all_heard(self) -> list[Heard]:
        """Of each feed, by now."""
        return [one.look() for one in self.heard.values()]

    def wait_for(self, look: Callable[[], bool], within_s: float) -> None:
        """Looks until it is so. No sender may end with an error meanwhile."""

        def is_so() -> bool:
            assert not any(sender.poll() for sender in self.senders.values())
            return look()

        self.routers.wait_for(is_so, within_s)

    def are_ready(self) -> bool:
        """What all of the hub say of themselves."""
        return all(connector.is_ready() for connector in self.connectors.values()) and self.routers.are_ready()


def test_both_balances_come_out_through_kills_of_broker_connectors_and_router(caplog: pytest.LogCaptureFixture) -> None:
    began = time.monotonic()
    with TemporaryDirectory(prefix="gridhub-faults-") as folder, ExitStack() as running:
        data = Path(folder)
        # What the client says of a broker that is killed would keep its connections until the test is over.
        with caplog.at_level(logging.CRITICAL, logger="kafka"):
            stage = Stage.set(data, running)
            kills = kill_by_turns(stage)
            stage.wait_for(lambda: all(sender.poll() == 0 for sender in stage.senders.values()), SENT_WITHIN_S)
            sent_s = time.monotonic() - began
            # Only once nothing is in a spool, all that was answered is on its topic.
            balances = {feed: connector.balance() for feed, connector in stage.connectors.items()}
            stage.wait_for(lambda: all_read(stage.broker.bootstrap, INPUTS), READ_WITHIN_S)
            texts = spoken([*stage.connectors.values(), *stage.routers.routers])
            # Time decides, too: with a router nothing would stand still between one look and the next.
            code = stage.routers.stop()
            topics = Topics.read(stage.broker.bootstrap, within_s=READ_WITHIN_S, topics=RECORD_OF_TOPIC)
            again = stage.follower.seen(topics, READ_WITHIN_S)
            everything = Topics.read(stage.broker.bootstrap, within_s=READ_WITHIN_S, topics=personal_checker.TOPICS)
            offsets = Topics.read(stage.broker.bootstrap, within_s=READ_WITHIN_S, topics=[OFFSETS]).records
        feeds = tuple(Feed(feed, pushes(log_of(data, feed)), senders_of(feed), balances[feed]) for feed in FEEDS)
        told = Counter(
            str(line["event"])
            for process in (*stage.connectors.values(), *stage.routers.routers)
            for line in process.told()
        )
        evidence, duties = store(data / "evidence"), Duties.read(data / "registry")
    gc.collect()  # what the client has dropped, while the warning above is ignored

    run = PushRun(feeds, topics, Contract(ROOT / "schemas"), again=again, evidence=evidence, duties=duties)
    judgement = Judgement(run)
    known = personal_checker.names(ROOT / "deploy/town") | {ACCUSED}
    found = judgement.found + personal_checker.findings(run.contract, everything.records, texts, known)
    journal = (each for each in everything.records if each.topic == JOURNAL)
    found += offsets_checker.findings(run.contract, offsets, journal)
    for kill in kills:
        kill.pending = sum(push.pending(kill.at) for feed in feeds for push in feed.pushes)
    print(report(feeds, judgement, kills, stage.routers.ended))
    print(f"{'seconds':28} {sent_s:.0f} until all were answered, with everything {time.monotonic() - began:.0f}")
    for finding in found[:50]:
        print(*finding)
    assert Counter(finding.wrong for finding in found) == {}
    assert told["defect"] == 0
    assert code == [0]
    assert [len(feed.pushes) for feed in feeds] == [MESSAGES] * len(FEEDS)
    assert [kill.whom for kill in kills] == [whom for whom, _ in PLAN]
    assert all(kill.pending for kill in kills if kill.whom != "router")
    assert all(any(len(push.sent) > len(push.yes) for push in feed.pushes) for feed in feeds)
    # Of each there must be some, else what is said of them is said of nothing.
    decided = Counter(each.fields["outcome"] for each in judgement.records[DECISIONS])
    assert {"opened", "updated", "cleared", "repeated", "expired"} <= decided.keys()
    assert any(each.fields["evidence"] for each in judgement.records["alerts.camera"])
    tickets = [each.fields for each in judgement.records[TICKETS]]
    assert {"worker", "centre"} <= {ticket["owner_role"] for ticket in tickets}
    assert "inside" in {ticket["place_mark"] for ticket in tickets}
    assert run.unjudged == set()


def kill_by_turns(stage: Stage) -> list[Kill]:
    """All of `PLAN`, each while messages are under way."""
    chance = random.Random(SEED)
    transactions = Transactions(stage.broker.bootstrap)
    kills: list[Kill] = []
    try:
        for whom, after in PLAN:
            stage.wait_for(lambda after=after: sum(one.answered for one in stage.all_heard()) >= after, SENT_WITHIN_S)  # type: ignore[misc]
            match whom:
                case "broker":
                    kills.append(kill_broker(stage, None))
                case "broker, then patrol":
                    kills.append(kill_broker(stage, stage.connectors["patrol"]))
                case "router":
                    kills.append(kill_router(stage, transactions, chance))
                case _:
                    kills.append(kill_connector(stage, whom))
            kills[-1].over = now_ms()
    finally:
        transactions.close()
    return kills


def kill_broker(stage: Stage, then: Connector | None) -> Kill:
    """It comes back once the senders of each feed have been told 503 or that their message lies in the spool; and before it does, `then` dies, too."""
    stage.broker.kill()
    kill = Kill("broker" if then is None else f"broker, then {then.name}", now_ms())
    before = {feed: heard.look().without_kafka for feed, heard in stage.heard.items()}
    stage.wait_for(
        lambda: all(heard.look().without_kafka > before[feed] for feed, heard in stage.heard.items()), NOTICED_WITHIN_S
    )
    if then:
        then.kill()
    stage.broker.start()
    if then:
        then.start()
    stage.wait_for(stage.are_ready, READY_WITHIN_S)
    return kill


def kill_connector(stage: Stage, feed: str) -> Kill:
    """It dies with messages that are sent and not answered, and comes back once one of them was sent again."""
    connector, heard = stage.connectors[feed], stage.heard[feed]

    def is_killed() -> bool:
        with connector.frozen():
            if heard.look().waiting:
                connector.kill()
                return True
        return False

    stage.wait_for(is_killed, KILLED_WITHIN_S)
    kill = Kill(feed, now_ms())
    before = heard.look().again
    stage.wait_for(lambda: heard.look().again > before, NOTICED_WITHIN_S)
    connector.start()
    return kill


def kill_router(stage: Stage, transactions: Transactions, chance: random.Random) -> Kill:
    """It dies inside a transaction."""
    kills: list[Kill] = []

    def is_killed() -> bool:
        killed = stage.routers.killed_in_transaction(chance, transactions)
        if killed is None:
            time.sleep(chance.uniform(0, 0.05))  # not always at the same point of its round
            return False
        router, at = killed
        router.begin()
        kills.append(Kill("router", at))
        return True

    stage.wait_for(is_killed, KILLED_WITHIN_S)
    stage.wait_for(stage.are_ready, READY_WITHIN_S)
    return kills[0]


def report(feeds: Sequence[Feed], judgement: Judgement, kills: Sequence[Kill], ended: Sequence[int]) -> str:
    """The run in numbers."""
    decisions = [each.fields for each in judgement.records[DECISIONS]]
    figures: dict[str, object] = {
        "kills": ", ".join(f"{kill.whom} ({kill.pending} pending, {kill.over - kill.at} ms)" for kill in kills),
        "routers ended by themselves": list(ended),
    }
    for feed in feeds:
        heard = Counter(str(answer.status) for push in feed.pushes for answer in push.heard)
        fates = Counter(fate for push in feed.pushes for answer in push.yes for _, fate in answer.parts)
        sent = sum(len(push.sent) for push in feed.pushes)
        figures |= {
            f"{feed.name}: messages": f"{len(feed.pushes)}, sent {sent} times, heard {dict(heard)}, {dict(fates)}",
            f"{feed.name}: last life": f"{feed.balance.received} received, {dict(feed.balance.fates)}",
            f"{feed.name}: decisions": dict(Counter(d["outcome"] for d in decisions if d["topic"] == feed.topic)),
        }
    return "\n".join(
        f"{name:28} {value}"
        for name, value in (
            figures
            | {
                "records": {topic: len(records) for topic, records in judgement.records.items()},
                "decided by time": sum(each["origin"] == "watch" for each in decisions),
                "tickets opened": sum(each.fields["step"] == "opened" for each in judgement.records[EVENTS]),
                "states, by whose": dict(Counter(each.fields["owner_role"] for each in judgement.records[TICKETS])),
                "states, by place": dict(Counter(each.fields["place_mark"] for each in judgement.records[TICKETS])),
            }
        ).items()
    )
