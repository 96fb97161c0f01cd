"""The router's fault run: 20,000 messages of 40 stations in 24 towns, while routers, connector and broker are killed and started again.

Most routers die inside an open transaction: one is stopped, the broker says that its transaction is open, and then it is killed. The
stations come twice; between their two runs all routers end with tickets open, which their next life clears. What the topics hold
afterwards is judged by `checker` and `ticket_checker`.

Rules are those of an hour, with a period of 10 s. `wait` bridges the outages: a reading is made before an outage and comes to its topic
after it, when broker, connector and the station's connection are back; it must do so while its period is still waited for. How long it
took at worst is in the report; `ticket_checker` calls the run too slow when that was not enough.
"""

import gc
import json
import logging
import random
import time
from collections import Counter
from collections.abc import Sequence
from contextlib import AbstractContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path
from subprocess import Popen
from tempfile import TemporaryDirectory
from typing import Any

import pytest
from kafka import KafkaConsumer

from hub.settings import Settings
from tests.brokers import Broker
from tests.faults import checker, offsets_checker, personal_checker, replays
from tests.faults.checker import PARTITIONS, Contract, Log, Run, Stored, Topics, register
from tests.faults.duties import Duties
from tests.faults.offsets_checker import OFFSETS
from tests.faults.processes import (
    ROOT,
    Connector,
    Follower,
    Router,
    Routers,
    Transactions,
    all_read,
    now_ms,
    partitions_of,
    prepare,
    simulated,
    spoken,
)
from tests.faults.ticket_checker import INPUTS, JOURNAL, NOTICED_MS, TICKETS, WRITTEN, Judgement, RouterRun, Rule

SEED = 4
STATIONS, TOWNS, SLOTS = 40, 24, 3
MESSAGES, AFTERWARDS = 16_000, 4_000
MANNERS = {"seed": SEED, "devices": STATIONS, "repeat": 0.3, "troubles": 0.02, "timeout": 3, "period": 10}
INTERVAL_S, INTERVAL_AFTERWARDS_S = 0.25, 0.3
KILLS = ["router"] * 8 + ["broker", "connector"] * 2
BETWEEN_KILLS_S = (0.5, 2.0)
WAIT_S = 20
WATCHING: dict[str, Any] = {"period": 10, "wait": WAIT_S, "realtime": 1, "clear_after": 2}
RULES: list[dict[str, Any]] = [
    {"kind": "air.pm10.over_limit", "class": "08004", "factor": "a34002", "limit": 150, **WATCHING},
    {"kind": "air.pm25.over_limit", "class": "08004", "factor": "a34004", "limit": 75, **WATCHING},
    {"kind": "air.device_alarm", "class": "08004"},
]
# The shortest that Kafka allows: so long a partition waits for a router that does not come back by itself.
SESSION_TIMEOUT_MS = 6_000
# What is sent this long before a kill may be under way, and Kafka may be away this long after all serve again.
UNDER_WAY_MS, CATCHING_UP_MS = 2_000, 5_000
KILLED_WITHIN_S, STATIONS_WITHIN_S, READ_WITHIN_S = 40.0, 180.0, 30.0

pytestmark = [
    pytest.mark.kafka,
    pytest.mark.slow,
    pytest.mark.timeout(600),
]


@dataclass
class Kill:
    """One kill: whose, when (ms UTC), when it served again, and whether the broker had a transaction of its open."""

    whom: str
    at: int
    over: int
    in_transaction: bool = False


@dataclass(frozen=True, slots=True)
class Stage:
    """All who take part, running."""

    data: Path
    broker: Broker
    connector: Connector
    routers: Routers
    follower: Follower

    @classmethod
    def set(cls, data: Path, running: ExitStack) -> "Stage":
        """Starts everyone but the stations; `running` ends them."""
        broker = Broker(data / "kafka")
        running.callback(broker.stop)
        broker.start()
        prepare(broker)
        connector = Connector(data, broker.bootstrap)
        running.callback(connector.kill)
        connector.start()
        rules = json.dumps(RULES)
        routers = Routers([Router(slot, data, broker.bootstrap, SESSION_TIMEOUT_MS, rules) for slot in range(SLOTS)])
        running.callback(routers.kill)
        routers.start()
        follower = Follower(broker.bootstrap, WRITTEN)
        running.callback(follower.close)
        return cls(data, broker, connector, routers, follower)

    def log(self, number: int) -> Path:
        """What the stations of a run say of themselves."""
        return self.data / f"stations-{number}.jsonl"

    def is_read(self) -> bool:
        """Whether the routers have committed all there is to read."""
        return all_read(self.broker.bootstrap, INPUTS)

    def stations(self, number: int, messages: int, interval_s: float) -> AbstractContextManager[Popen[bytes]]:
        """All stations, until they have sent so many messages."""
        return simulated(self.connector.address, self.log(number), messages=messages, interval=interval_s, **MANNERS)

    def until_all_is_sent_and_read(self, stations: Popen[bytes]) -> None:
        self.routers.wait_for(lambda: stations.poll() is not None, STATIONS_WITHIN_S)
        assert stations.returncode == 0
        self.routers.wait_for(self.is_read, READ_WITHIN_S)

    def evidence(self, log: Log, kills: Sequence[Kill]) -> RouterRun:
        """What is there to judge by, once nothing is left to do."""
        balance, now = self.connector.balance(), now_ms()
        topics = Topics.read(self.broker.bootstrap, within_s=READ_WITHIN_S)
        written = Topics.read(self.broker.bootstrap, within_s=READ_WITHIN_S, topics=WRITTEN)
        run = Run(
            log=log,
            topics=topics,
            register=register((ROOT / "deploy/town/devices.csv").read_text(encoding="utf-8")),
            contract=Contract(ROOT / "schemas"),
            minute_period_s=600,
            balance=balance,
            outages=tuple((kill.at - UNDER_WAY_MS, kill.over + CATCHING_UP_MS) for kill in kills),
        )
        again = self.follower.seen(written, READ_WITHIN_S)
        rules = tuple(Rule.of(table) for table in RULES)
        duties = Duties.read(ROOT / "deploy/town")
        return RouterRun(run=run, written=written, again=again, rules=rules, until=now, slots=SLOTS, duties=duties)


@dataclass(frozen=True, slots=True)
class Carried:
    """What a run came to. `codes`: of the routers at both their ends; `aborted`: records that no reader of committed ones was shown.

    `equal`: which replays found nothing.
    """

    run: RouterRun
    kills: list[Kill]
    ended: list[int]
    codes: list[int]
    left_open: set[str]
    aborted: int
    told: dict[str, Counter[str]]
    offsets: Sequence[Stored]
    texts: dict[str, str]
    equal: dict[str, bool]


def test_one_ticket_for_one_episode_through_kills_of_routers_connector_and_broker(
    caplog: pytest.LogCaptureFixture,
) -> None:
    started = time.monotonic()
    # What the client says of a broker that is killed would keep its connections until the test is over.
    with caplog.at_level(logging.CRITICAL, logger="kafka"):
        carried = carried_out()
    gc.collect()  # what the client has dropped, while the warning above is ignored
    run = carried.run
    judgement = Judgement(run)
    records = run.run.topics.records + run.written.records
    names = personal_checker.names(ROOT / "deploy/town")
    found = checker.findings(run.run) + judgement.found
    found += personal_checker.findings(run.run.contract, records, carried.texts, names)
    journal = (each for each in records if each.topic == JOURNAL)
    found += offsets_checker.findings(run.run.contract, carried.offsets, journal)
    cleared = carried.left_open & tickets_in("cleared", run.written)
    print(report(carried, judgement, cleared, time.monotonic() - started))
    for finding in found[:60]:
        print(*finding)
    assert Counter(finding.wrong for finding in found) == {}
    assert sum(counts["defect"] for counts in carried.told.values()) == 0
    log = run.run.log
    assert len(log.messages) == MESSAGES + AFTERWARDS
    devices = [run.run.register[name] for name in {message.device for message in log.messages}]
    assert len(devices) == STATIONS
    assert len({device.town for device in devices}) == TOWNS
    assert {record.partition for record in run.written.records if record.topic == JOURNAL} == set(range(PARTITIONS))
    assert sorted(kill.whom for kill in carried.kills) == sorted(KILLS)
    assert sum(kill.in_transaction for kill in carried.kills) == KILLS.count("router")
    assert carried.aborted > 0
    assert carried.codes == [0] * 2 * SLOTS
    assert [name for name, equal in carried.equal.items() if equal] == ["to the middle", "from the middle", "as it is"]
    # The second run's weather begins with an episode in the town of the most stations: a ticket of it may go on.
    struck, _ = Counter(device.town for device in devices).most_common(1)[0]
    assert cleared
    assert {ticket for ticket in carried.left_open - cleared if not ticket.startswith(struck)} == set()


def carried_out() -> Carried:
    """The whole run. Nothing of it is left behind."""
    with TemporaryDirectory(prefix="gridhub-faults-") as folder, ExitStack() as running:
        stage = Stage.set(Path(folder), running)
        with stage.stations(1, MESSAGES, INTERVAL_S) as stations:
            kills = kill_by_chance(stations, stage)
            stage.until_all_is_sent_and_read(stations)
        codes = stage.routers.stop()
        left_open = tickets_in("open", Topics.read(stage.broker.bootstrap, within_s=READ_WITHIN_S, topics=WRITTEN))
        stage.routers.start()
        with stage.stations(2, AFTERWARDS, INTERVAL_AFTERWARDS_S) as stations:
            stage.until_all_is_sent_and_read(stations)
        log = Log.read(stage.log(1), stage.log(2))
        decided = max(message.attempts[-1].at for message in log.messages) + (10 + WAIT_S) * 1000 + NOTICED_MS + 1_000
        stage.routers.wait_for(lambda: now_ms() > decided and stage.is_read(), READ_WITHIN_S + WAIT_S)
        run = stage.evidence(log, kills)
        aborted = in_all(stage.broker.bootstrap) - len(run.written.records)
        texts = spoken([stage.connector, *stage.routers.routers])
        codes += stage.routers.stop()
        offsets = Topics.read(stage.broker.bootstrap, within_s=READ_WITHIN_S, topics=[OFFSETS]).records
        told = {each.name: Counter(str(line["event"]) for line in each.told()) for each in stage.routers.routers}
        journal = [each for each in run.written.records if each.topic == JOURNAL]
        count = sum(each.topic == "decisions" for each in run.written.records)
        equal = replayed(stage.broker.bootstrap, journal, count)
        return Carried(run, kills, stage.routers.ended, codes, left_open, aborted, told, offsets, texts, equal)


def kill_by_chance(stations: Popen[bytes], stage: Stage) -> list[Kill]:
    """All of `KILLS`, in an order by chance, but a connector last of what is not a router: all of its last life has a broker."""
    chance = random.Random(SEED)
    order = chance.sample(KILLS, len(KILLS))
    others = [place for place, whom in enumerate(order) if whom != "router"]
    for place, whom in zip(others, ["broker", "connector"] * 2, strict=True):
        order[place] = whom
    transactions = Transactions(stage.broker.bootstrap)
    kills: list[Kill] = []
    try:
        for whom in order:
            pause(chance.uniform(*BETWEEN_KILLS_S), stage.routers)
            if stations.poll() is not None:
                break  # too early: the list tells
            if whom == "router":
                kills.append(kill_in_transaction(stage.routers, transactions, chance))
            else:
                at = now_ms()
                victim: Broker | Connector = stage.broker if whom == "broker" else stage.connector
                victim.kill()
                victim.start()
                kills.append(Kill(whom, at, now_ms()))
    finally:
        transactions.close()
    return kills


def pause(seconds: float, routers: Routers) -> None:
    end = time.monotonic() + seconds
    routers.wait_for(lambda: time.monotonic() > end, seconds + 10)


def kill_in_transaction(routers: Routers, transactions: Transactions, chance: random.Random) -> Kill:
    """Kills a router that the broker says is inside a transaction, while it stands still."""
    kills: list[Kill] = []

    def is_killed() -> bool:
        killed = routers.killed_in_transaction(chance, transactions)
        if killed is None:
            time.sleep(chance.uniform(0, 0.05))  # not always at the same point of its round
            return False
        router, at = killed
        router.start()
        kills.append(Kill("router", at, now_ms(), in_transaction=True))
        return True

    routers.wait_for(is_killed, KILLED_WITHIN_S)
    return kills[0]


def tickets_in(state: str, written: Topics) -> set[str]:
    """Tickets of which the last record says so."""
    contract = Contract(ROOT / "schemas")
    last: dict[bytes | None, Stored] = {each.key: each for each in written.records if each.topic == TICKETS}
    tickets = (contract.decode(each.value or b"")[1] for each in last.values())
    return {ticket["id"] for ticket in tickets if ticket["state"] == state}


def in_all(bootstrap: str) -> int:
    """How many records of the router a reader sees that does not care whether a transaction was committed."""
    consumer = KafkaConsumer(
        bootstrap_servers=bootstrap, enable_auto_commit=False, auto_offset_reset="earliest", max_poll_records=5000
    )
    try:
        partitions = partitions_of(consumer, WRITTEN)
        consumer.assign(partitions)
        consumer.seek_to_beginning(*partitions)
        count = 0
        while batch := consumer.poll(timeout_ms=1000):
            count += sum(map(len, batch.values()))
        return count
    finally:
        consumer.close(autocommit=False)


def replayed(bootstrap: str, journal: Sequence[Stored], decisions: int) -> dict[str, bool]:
    """Whether a replay finds nothing: on the topics as they are, in one go and in two, and with one thing altered each. `decisions`: how many lie there."""
    rules = {"rules": json.dumps(RULES), "kafka": {"bootstrap": bootstrap}}
    settings = Settings.model_validate(rules)
    middle = journal[len(journal) // 2]
    number = number_of(middle)
    with TemporaryDirectory(prefix="gridhub-state-") as folder:
        halves = replayed_in_halves(settings, journal, decisions, Path(folder) / "middle")
    return halves | {
        "as it is": not replays.findings(settings),
        "one byte of a decision": not replays.findings(settings, replays.one_byte("decisions", 40)),
        "one byte of a ticket": not replays.findings(settings, replays.one_byte("tickets", 7)),
        "one range of the journal": not replays.findings(settings, replays.one_range(middle.partition, number)),
        "one limit of the rules": not replays.findings(replays.with_another_limit(settings)),
    }


def replayed_in_halves(settings: Settings, journal: Sequence[Stored], decisions: int, state: Path) -> dict[str, bool]:
    """The same to a number in the middle, where the state is exported, and from there to the end. The last decision that is read lies at one."""
    last = {each.partition: number_of(each) for each in journal}
    half = min(last.values()) // 2
    assert half > 1
    to_it = replays.findings(settings, until=half, export=state)
    assert len(list(state.iterdir())) == PARTITIONS
    return {
        "to the middle": not to_it,
        "from the middle": not replays.findings(settings, start=state),
        "from the middle, one byte behind it": not replays.findings(
            settings, replays.one_byte("decisions", decisions), start=state
        ),
        "from another state": not replays.findings(settings, start=replays.with_another_number(state)),
    }


def number_of(journal: Stored) -> int:
    return int(next(value for name, value in journal.headers if name == "ce_id").decode().partition("/")[2])


def report(carried: Carried, judgement: Judgement, cleared: set[str], seconds: float) -> str:
    """The run in numbers."""
    tally, kills = judgement.tally, carried.kills
    own_words = ("starting", "assigned", "rebuilt", "transaction aborted", "kafka away", "stopped", "defect")
    figures = {
        "kills": ", ".join(f"{k.whom} ({'in a transaction, ' * k.in_transaction}{k.over - k.at} ms)" for k in kills),
        "ended by themselves": carried.ended,
        "tickets": f"{tally.tickets}, cleared {tally.cleared}",
        "steps": dict(tally.steps),
        "decisions": dict(tally.decisions),
        "journal": f"{tally.journal} records, {tally.ticks} ticks",
        "worst delay of a reading": f"{tally.worst_delay_ms} ms, waited for {WAIT_S} s",
        "applied behind something newer": f"at worst {tally.worst_behind_ms} ms",
        "left open, then cleared": f"{len(carried.left_open)}, {len(cleared)}",
        "records of aborted transactions": carried.aborted,
        "told": {name: {word: counts[word] for word in own_words} for name, counts in carried.told.items()},
        "replays that are equal": [name for name, equal in carried.equal.items() if equal],
        "seconds": f"{seconds:.0f}",
    }
    return "\n".join(f"{name:32} {value}" for name, value in figures.items())
