"""All who take part in one run: brokers behind a network that can be bad, connectors, routers, senders."""

import json
import random
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Sequence
from contextlib import ExitStack, suppress
from dataclasses import dataclass, field
from pathlib import Path
from subprocess import Popen
from typing import Any, TypeVar

import psutil
from kafka import KafkaAdminClient
from kafka.admin import MemberToRemove
from kafka.errors import KafkaError

from tests.brokers import Broker, until
from tests.faults.processes import (
    ASKED_WITHIN_MS,
    GROUP,
    READY_WITHIN_S,
    UNKNOWN_COMMIT,
    Connector,
    Follower,
    Router,
    Routers,
    Served,
    Tail,
    Transactions,
    Watch,
    prepare,
    simulated,
)
from tests.faults.proxy import Proxy
from tests.faults.push_checker import RECORD_OF_TOPIC
from tests.faults.pushing import Heard, log_of, registry
from tests.faults.ticket_checker import WRITTEN
from tests.proof.plan import STATIONS, Kind, Plan

Told = TypeVar("Told")

SESSION_TIMEOUT_MS, TRANSACTION_TIMEOUT_MS = 6_000, 5_000
"""The shortest session that Kafka allows, so that what waits for a router that is away waits no longer than needed."""
DELIVERY_TIMEOUT_MS = 4_000
"""So that outages are met in which what was handed to Kafka is given up, and handed over again."""
UNAVAILABLE = 3
CLOCK = Path(__file__).parent / "clock"
WHOLE_WITHIN_S, ENDED_WITHIN_S = 60.0, 10.0
NOT_ENDED = -1
PER_S = 80
MESSAGES = {"air": 1_600, "camera": 1_200, "patrol": 1_200}
INTERVAL_S = {"air": 0.5, "camera": 0.25, "patrol": 0.06}
PERIOD_S, WAIT_S = 5, 8
WATCHING: dict[str, Any] = {"period": PERIOD_S, "wait": WAIT_S, "realtime": 2, "clear_after": 2}
RULES: list[dict[str, Any]] = [
    {"kind": "air.pm10.over_limit", "class": "08004", "factor": "a34002", "limit": 150, **WATCHING},
    {"kind": "air.pm25.over_limit", "class": "08004", "factor": "a34004", "limit": 75, **WATCHING},
    {"kind": "air.device_alarm", "class": "08004"},
]


class Cluster:
    """Brokers, each behind a network of its own, as which it is advertised. Nodes are counted from 0."""

    def __init__(self, data: Path, nodes: int, running: ExitStack) -> None:
        first = _free_ports(nodes)
        self.nodes, self._first = nodes, first
        self.proxies = [Proxy(first + node) for node in range(nodes)]
        for proxy in self.proxies:
            running.callback(proxy.close)
        self.broker = Broker(data / "kafka", nodes, first, [f"127.0.0.1:{proxy.port}" for proxy in self.proxies])
        running.callback(self.broker.stop)
        self.broker.start()

    @property
    def bootstrap(self) -> str:
        return self.broker.bootstrap

    def java(self, node: int) -> psutil.Process:
        """The Java process of a node. It may have to be waited for, where one that has ended is started again."""

        def found() -> psutil.Process | None:
            with suppress(ValueError, psutil.Error):
                return self.broker.java_of(node + 1) if self.nodes > 1 else psutil.Process(self.broker.java_pid)
            return None

        return until(found, READY_WITHIN_S)

    def leader(self, whom: int) -> int:
        """The node that leads a partition of a topic that routers write; any, where nobody answers which."""

        def leads(admin: KafkaAdminClient) -> int:
            [topic] = admin.describe_topics(["ticket-events"])
            partitions = topic["partitions"]
            return max(0, int(partitions[whom % len(partitions)]["leader_id"]) - 1)

        found = self._told(leads)
        return whom % self.nodes if found is None else found

    def is_whole(self) -> bool:
        """Whether each node serves, each partition has a leader, and all its copies are in sync; not, where nobody answers.

        Of one that has just been killed the others know only when its session is over, or when it is back.
        """

        def whole(admin: KafkaAdminClient) -> bool:
            partitions = [one for topic in admin.describe_topics() for one in topic["partitions"]]
            return all(
                len(one["isr_nodes"]) == len(one["replica_nodes"]) and one["leader_id"] > 0 for one in partitions
            )

        return self.serves() and bool(self._told(whole))

    def serves(self) -> bool:
        """Whether each node does, whatever the network before it does."""
        return all(map(self._serves, range(self.nodes)))

    def _serves(self, node: int) -> bool:
        with suppress(OSError), socket.create_connection(("127.0.0.1", self._first + node), ASKED_WITHIN_MS / 1000):
            return True
        return False

    def put_out(self, router: Router) -> None:
        """Takes the membership in the routers' group from one that may not know it yet. It joins again by itself."""

        def does(admin: KafkaAdminClient) -> None:
            members = admin.describe_groups([GROUP])[GROUP]["members"]
            those = [
                MemberToRemove(member_id=one["member_id"])
                for one in members
                if one["client_id"] == router.transactional_id
            ]
            if those:
                admin.remove_group_members(GROUP, those)

        self._told(does)

    def _told(self, ask: Callable[[KafkaAdminClient], Told]) -> Told | None:
        """What the cluster answers; None where nobody does."""
        try:
            admin = KafkaAdminClient(
                bootstrap_servers=self.bootstrap,
                request_timeout_ms=ASKED_WITHIN_MS,
                bootstrap_timeout_ms=ASKED_WITHIN_MS,
            )
        except (KafkaError, OSError):
            return None
        try:
            return ask(admin)
        except (KafkaError, OSError):
            return None
        finally:
            admin.close()


def _free_ports(nodes: int) -> int:
    """The first of as many in a row; `gridhub kafka` takes those 10 above, too."""
    while True:
        first = random.randrange(20_000, 30_000)
        with ExitStack() as taken, suppress(OSError):
            for place in (*range(nodes), *range(10, 10 + nodes)):
                taken.enter_context(socket.create_server(("127.0.0.1", first + place)))
            return first


class Senders:
    """The devices of a feed, and how many of their messages wait for an answer."""

    def __init__(self, feed: str, log: Path, process: Popen[bytes]) -> None:
        self.process = process
        self._stations = Watch(log) if feed in STATIONS else None
        self._pushing = None if feed in STATIONS else Heard(Tail(log))

    def pending(self) -> int:
        """By now."""
        if self._stations:
            return self._stations.look()[1]
        assert self._pushing
        return len(self._pushing.look().waiting)

    def close(self) -> None:
        if self._stations:
            self._stations.close()
        if self._pushing:
            self._pushing.tail.close()


@dataclass
class Stage:
    """All who take part, running. `away`: who is to stay dead for the time being. `ended`: who was asked to end, and with which code it did."""

    plan: Plan
    data: Path
    cluster: Cluster
    connectors: dict[str, Connector]
    routers: Routers
    follower: Follower
    transactions: Transactions
    environment: dict[str, str]
    senders: dict[str, Senders] = field(default_factory=dict)
    more: list[Router] = field(default_factory=list)
    away: set[Served] = field(default_factory=set)
    ended: list[tuple[str, int]] = field(default_factory=list)

    @classmethod
    def set(cls, plan: Plan, data: Path, running: ExitStack) -> "Stage":
        """Starts everyone; `running` ends them."""
        cluster = Cluster(data, plan.nodes, running)
        environment = {
            "GRIDHUB__KAFKA__REPLICATION": str(plan.nodes),
            "GRIDHUB__KAFKA__DELIVERY_TIMEOUT_MS": str(DELIVERY_TIMEOUT_MS),
            "GRIDHUB__ROUTER__TRANSACTION_TIMEOUT_MS": str(TRANSACTION_TIMEOUT_MS),
        }
        prepare(cluster.broker, registry(data, PER_S), **environment)
        stage = cls(
            plan=plan,
            data=data,
            cluster=cluster,
            connectors={feed: Connector(data, cluster.bootstrap, feed) for feed in plan.feeds},
            routers=Routers([], may_end=frozenset({UNKNOWN_COMMIT, UNAVAILABLE})),
            follower=Follower(cluster.bootstrap, WRITTEN if plan.feeds == STATIONS else RECORD_OF_TOPIC),
            transactions=Transactions(cluster.bootstrap),
            environment=environment,
        )
        running.callback(stage.follower.close)
        running.callback(stage.transactions.close)
        running.callback(stage.kill)
        stage.routers.routers = [stage.router(slot, data) for slot in range(plan.slots)]
        for connector in stage.connectors.values():
            connector.environment |= environment
        kinds = {fault.kind for fault in plan.faults}
        of_routers = stage.routers.routers if Kind.CLOCK_JUMPS in kinds else ()
        of_connectors = stage.connectors.values() if Kind.CONNECTOR_CLOCK_JUMPS in kinds else ()
        for one in (*of_routers, *of_connectors):
            stage.set_clock(one, 0)
            one.environment |= {"PYTHONPATH": str(CLOCK), "PROOF_CLOCK": str(stage.clock_of(one))}
        for served in stage.all_served():
            served.begin()
        # Who ends now breaks the run off with its last words: nothing has befallen it.
        until(lambda: all(served.is_ready() for served in stage.all_served()), WHOLE_WITHIN_S)
        for feed in plan.feeds:
            stage.send(feed, running)
        return stage

    def send(self, feed: str, running: ExitStack) -> None:
        """Lets the devices of a feed begin."""
        options: dict[str, object] = {
            "messages": MESSAGES[feed],
            "interval": INTERVAL_S[feed],
            "seed": self.plan.seed,
            "troubles": self.plan.troubles,
        }
        if feed in STATIONS:
            options |= {"repeat": self.plan.repeat, "timeout": 3, "period": PERIOD_S}
        log = log_of(self.data, feed)
        process = running.enter_context(simulated(self.connectors[feed].address, log, feed, **options))
        until(log.exists, READY_WITHIN_S)
        self.senders[feed] = Senders(feed, log, process)
        running.callback(self.senders[feed].close)

    @property
    def command_environment(self) -> dict[str, str]:
        """What a command of the hub finds in its environment, as the routers do."""
        rules = {"GRIDHUB__RULES": json.dumps(RULES)} if self.plan.feeds == STATIONS else {}
        evidence = {"GRIDHUB__DATA": str(self.data)}
        return {"GRIDHUB__KAFKA__BOOTSTRAP": self.cluster.bootstrap, **rules, **evidence, **self.environment}

    def router(self, slot: int, data: Path) -> Router:
        """One that is not started yet."""
        data.mkdir(exist_ok=True)
        rules = RULES if self.plan.feeds == STATIONS else []
        router = Router(slot, data, self.cluster.bootstrap, SESSION_TIMEOUT_MS, json.dumps(rules) if rules else "")
        router.environment |= self.environment
        return router

    def clock_of(self, served: Served) -> Path:
        """The file that says how far its wall clock is off."""
        return self.data / f"clock-{served.name}"

    def set_clock(self, served: Served, ahead_s: int) -> None:
        """Lets its wall clock jump; a clock that never jumps goes on."""
        draft = self.data / "clock-draft"
        draft.write_text(f"{ahead_s}", encoding="ascii")
        draft.replace(self.clock_of(served))

    def kill(self) -> None:
        """SIGKILL for all of the hub."""
        for served in (*self.all_served(), *self.more):
            if hasattr(served, "process"):
                served.kill()

    def end(self, *served: Served) -> None:
        """Asks them to end (SIGTERM), also where they stand still, and waits. `ended` tells how they did."""
        for each in served:
            each.process.terminate()
            each.process.send_signal(signal.SIGCONT)
        deadline = time.monotonic() + ENDED_WITHIN_S
        for each in served:
            try:
                code = each.process.wait(max(0.0, deadline - time.monotonic()))
            except subprocess.TimeoutExpired:
                # Told of by its code; its keeper would go on so.
                code = NOT_ENDED
                each.kill()
            if code == -signal.SIGTERM and not each.hears():
                code = 0  # asked while it had hardly begun
            self.ended.append((each.name, code))

    # ---- looking

    def all_served(self) -> Sequence[Served]:
        """Those of the hub who are there from the beginning."""
        return (*self.connectors.values(), *self.routers.routers)

    def are_ready(self) -> bool:
        """What they say of themselves; not, where one has ended a moment ago: whether it may, `tend` sees."""
        return all(served.process.poll() is None and served.is_ready() for served in self.all_served())

    def are_sent(self) -> bool:
        """Whether every message has been sent and heard a yes. Fails the run where senders have ended otherwise."""
        codes = {feed: senders.process.poll() for feed, senders in self.senders.items()}
        assert not any(codes.values()), f"senders ended: {codes}"
        return all(code == 0 for code in codes.values())

    def in_quarantine(self, router: Router, partition: int) -> int | None:
        """How many towns of a partition, by the router that has it; None where this one has not, or does not answer."""
        name = f'gridhub_towns_quarantined{{partition="{partition}"}} '
        try:
            told = [line for line in router.get("/metrics").splitlines() if line.startswith(name)]
        except (OSError, AssertionError):
            return None  # it may have ended a moment ago: whether it may, `tend` sees
        return int(float(told[0].removeprefix(name))) if told else None

    def owners(self, partition: int, towns: int) -> list[Router]:
        """The routers that say of a partition that so many of its towns are in quarantine."""
        return [one for one in self.routers.routers if self.in_quarantine(one, partition) == towns]

    def pending(self) -> int:
        """How many messages wait for an answer."""
        return sum(senders.pending() for senders in self.senders.values())

    def tend(self) -> None:
        """Starts routers again that may end by themselves, and have. A connector may not."""
        self.routers.tend()
        for connector in set(self.connectors.values()) - self.away:
            connector.ports()

    def wait_for(self, look: Callable[[], bool], within_s: float) -> None:
        """Looks until it is so, and tends them meanwhile."""

        def is_so() -> bool:
            self.tend()
            return look()

        until(is_so, within_s)
