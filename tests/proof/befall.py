"""How each kind of fault is done, what it met, and how it is mended."""

import random
import re
import resource
import signal
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

from tests.faults.checker import Topics, partition_of
from tests.faults.poison_checker import Poison, Sick
from tests.faults.processes import Connector, Router, Served, gridhub, now_ms
from tests.faults.proxy import TO_BROKER, TO_CLIENT, Proxy, Weather
from tests.proof import poisoning
from tests.proof.plan import Family, Fault, Kind
from tests.proof.stage import WHOLE_WITHIN_S, Stage

# Half of what befalls routers does so wherever they are: also between a commit and what follows from it, where no transaction is open.
ANYWHERE = 0.5
IN_TRANSACTION_WITHIN_S, PENDING_WITHIN_S, DRAINING_WITHIN_S = 3.0, 2.0, 10.0
SLOW_S = 0.2
HOUR_S, DAY_S = 3_600, 86_400
MOST_PUT_OUT = 6
# After a rebalance a router may still say for a moment that it has what another has by now.
NOTICED_WITHIN_S = 20.0
# Whoever could not ask for the registry asks again after 30 s.
TOLD_WITHIN_S = 45.0
# A spool that has had a few messages is larger: what is open may grow no further.
FULL_AT_BYTES = 40_000
REFUSED = "registry version refused"
# No import of a run takes this number of the registry, or one after it.
UNWHOLE = 1_000

# What is done over Kafka waits for it, at its beginning and its end: nothing else is mended meanwhile.
TO_KAFKA = frozenset(
    {Kind.INPUT_POISONED, Kind.REGISTRY_POISONED, Kind.CHANGELOG_POISONED, Kind.ROUTER_PUT_OUT, Kind.DRAINING_KILLED}
)

Mend = Callable[[], object]


@dataclass
class Fallen:
    """A fault that happened: when, and until when (ms UTC); and what it met: answers that senders waited for, transactions that were open."""

    fault: Fault
    at: int = 0
    over: int = 0
    answers: int = 0
    transactions: int = 0


class Befalling:
    """Lets the faults of a plan happen."""

    def __init__(self, stage: Stage) -> None:
        self.fallen: list[Fallen] = []
        self.poison = Poison(one_clock=all(fault.family is not Family.CLOCK for fault in stage.plan.faults))
        self._stage = stage
        self._chance = random.Random(stage.plan.seed)
        self._lasting: list[tuple[float, Fallen, Mend]] = []

    def run(self) -> None:
        """All of them, each mended when its time is over. What would happen when all is sent does not."""
        stage, began = self._stage, time.monotonic()
        for fault in stage.plan.faults:
            self._pass_until(lambda fault=fault: self._may_begin(fault, began + fault.at_s))  # type: ignore[misc]
            if stage.are_sent():
                break
            self._begin(fault)
        self._pass_until(lambda: not self._lasting)
        stage.wait_for(stage.cluster.is_whole, WHOLE_WITHIN_S)
        stage.wait_for(stage.are_ready, WHOLE_WITHIN_S)
        self._look_for(lambda: all(map(self._has_told, stage.all_served())), TOLD_WITHIN_S)

    def _has_told(self, served: Served) -> bool:
        """Of the last version of the registry that cannot be taken, if there is one."""
        versions = self.poison.versions
        return not versions or max(versions) in refused(served.told())

    def _may_begin(self, fault: Fault, at: float) -> bool:
        """Its time has come; what was to be over by then is, also where mending took longer than planned; and who it needs is there."""
        lane = self._stage.plan.lane(fault)
        is_free = all(
            self._stage.plan.lane(each.fault) is not lane
            # Brokers and network are in it.
            and not (each.fault.kind is Kind.DRAINING_KILLED and fault.family in {Family.BROKER, Family.NETWORK})
            for _, each, _ in self._lasting
        )
        return time.monotonic() >= at and is_free and self._has_all(fault)

    def _has_all(self, fault: Fault) -> bool:
        if fault.kind in TO_KAFKA:
            return not self._is_kafka_away()
        if fault.family is Family.BROKER:
            return self._stage.cluster.serves()  # else most may be gone at once (decision 11)
        # One that has not heard of the broker's time since its start goes by its own clock, as it must.
        return fault.kind is not Kind.CONNECTOR_CLOCK_JUMPS or self._connector_of(fault).knows_the_time()

    def _pass_until(self, is_so: Callable[[], bool]) -> None:
        """Time passes, and what is over is mended."""
        while not is_so():
            self._stage.tend()
            for entry in sorted(self._lasting, key=lambda each: each[0]):
                ends, fallen, mend = entry
                if ends <= time.monotonic() and not (fallen.fault.kind in TO_KAFKA and self._is_kafka_away()):
                    self._lasting.remove(entry)
                    mend()
                    fallen.over = now_ms()
            time.sleep(0.02)

    def _begin(self, fault: Fault) -> None:
        fallen = Fallen(fault, now_ms())
        befall = {
            Family.ROUTER: self._router,
            Family.CONNECTOR: self._connector,
            Family.BROKER: self._broker,
            Family.NETWORK: self._network,
            Family.CLOCK: self._clock,
            Family.SENDERS: self._senders,
            Family.POISON: self._poison,
        }[fault.family]
        mend = befall(fault, fallen)
        self.fallen.append(fallen)
        self._lasting.append((time.monotonic() + fault.lasts_s, fallen, mend))

    # ---- routers

    def _router(self, fault: Fault, fallen: Fallen) -> Mend:
        stage = self._stage
        router = stage.routers.routers[fault.whom % stage.plan.slots]
        match fault.kind:
            case Kind.CHANGELOG_POISONED:
                return self._spoilt(fault, fallen)
            case Kind.ROUTER_TWICE | Kind.ROUTER_MORE:
                fallen.transactions = self._open_transactions()
                # As on another machine: with a folder of its own.
                is_twin = fault.kind is Kind.ROUTER_TWICE
                other = stage.router(
                    router.slot if is_twin else stage.plan.slots, stage.data / f"more-{len(stage.more)}"
                )
                stage.more.append(other)
                other.begin()
                return other.kill if is_twin else lambda: self._stage.end(other)
            case Kind.ROUTER_PUT_OUT:
                self._put_out(fault, fallen)
                return lambda: None
        self._catch(router, fault, fallen)
        match fault.kind:
            case Kind.ROUTER_STOPPED:
                return lambda: router.process.send_signal(signal.SIGCONT)
            case Kind.ROUTER_KILLED:
                router.kill()
            case Kind.ROUTER_ENDED:
                self._stage.end(router)
        stage.routers.down.add(router)

        def again() -> None:
            stage.routers.down.discard(router)
            router.begin()

        return again

    def _put_out(self, fault: Fault, fallen: Fallen) -> None:
        """One after the other, in a transaction, and some of them again before all have come back: offsets that are sent then belong to nobody."""
        stage = self._stage
        for turn in range(1 + int(fault.amount * MOST_PUT_OUT)):
            router = stage.routers.routers[(fault.whom + turn) % stage.plan.slots]
            stage.wait_for(lambda router=router: router.process.poll() is None, WHOLE_WITHIN_S)  # type: ignore[misc]
            met = self._caught_in_transaction(router)
            if not self._is_kafka_away():
                stage.cluster.put_out(router)
            fallen.transactions += met
            router.process.send_signal(signal.SIGCONT)

    def _catch(self, router: Router, fault: Fault, fallen: Fallen) -> None:
        """Stops it (SIGSTOP), wherever it is or inside a transaction."""
        if fault.amount < ANYWHERE:
            router.process.send_signal(signal.SIGSTOP)
            fallen.transactions = 0 if self._is_kafka_away() else int(self._stage.transactions.is_in_one(router))
        else:
            fallen.transactions = self._caught_in_transaction(router)
        fallen.at = now_ms()

    def _caught_in_transaction(self, router: Router) -> int:
        """Stops it (SIGSTOP), inside a transaction if one can be met; whether one was."""
        deadline = time.monotonic() + IN_TRANSACTION_WITHIN_S
        while True:
            router.process.send_signal(signal.SIGSTOP)
            if self._is_kafka_away() or time.monotonic() > deadline:
                return 0
            if self._stage.transactions.is_in_one(router):
                return 1
            router.process.send_signal(signal.SIGCONT)
            time.sleep(self._chance.uniform(0, 0.05))  # not always at the same point of its round

    def _open_transactions(self) -> int:
        if self._is_kafka_away():
            return 0  # nobody can be asked
        return sum(self._stage.transactions.is_in_one(router) for router in self._stage.routers.routers)

    def _is_kafka_away(self) -> bool:
        return any(fallen.fault.family in {Family.BROKER, Family.NETWORK} for _, fallen, _ in self._lasting)

    # ---- connectors

    def _connector(self, fault: Fault, fallen: Fallen) -> Mend:
        stage, connector = self._stage, self._connector_of(fault)
        if fault.kind is Kind.DRAINING_KILLED:
            self._caught_draining(connector, fault.lasts_s)
            fallen.answers = stage.senders[connector.feed].pending()
        else:
            fallen.answers = self._caught_pending(connector)
            fallen.at = now_ms()
        match fault.kind:
            case Kind.CONNECTOR_CLOCK_JUMPS:
                stage.set_clock(connector, _jump_s(fault))
                connector.process.send_signal(signal.SIGCONT)
                return lambda: stage.set_clock(connector, 0)
            case Kind.CONNECTOR_STOPPED:
                return lambda: connector.process.send_signal(signal.SIGCONT)
            case Kind.DISK_FULL:
                connector.process.send_signal(signal.SIGCONT)
                return _full_disk(connector, fallen)
            case Kind.CONNECTOR_KILLED | Kind.DRAINING_KILLED:
                connector.kill()
            case Kind.CONNECTOR_ENDED:
                self._stage.end(connector)
        stage.away.add(connector)

        def again() -> None:
            if fault.kind is Kind.DRAINING_KILLED:
                self._clear(stage.cluster.proxies)
            connector.begin()
            stage.away.discard(connector)

        return again

    def _connector_of(self, fault: Fault) -> Connector:
        feeds = self._stage.plan.feeds
        return self._stage.connectors[feeds[fault.whom % len(feeds)]]

    def _caught_draining(self, connector: Connector, outage_s: float) -> None:
        """Kafka stands still, and comes back over a slow network; until the spool has some of what it has on the way there, if it ever does."""
        cluster = self._stage.cluster
        stopped = [cluster.java(node) for node in range(cluster.nodes)]
        for java in stopped:
            java.suspend()
        self._look_for(lambda: False, outage_s)
        for proxy in cluster.proxies:
            proxy.turn(Weather(delay_s=SLOW_S))
        for java in stopped:
            java.resume()
        most = 0.0

        def is_draining() -> bool:
            nonlocal most
            now = _spooled(connector)
            if now is None:
                return False
            most = max(most, now)
            # The first to leave is what Kafka had before the outage.
            return 0 < most >= 2 * now

        self._look_for(is_draining, DRAINING_WITHIN_S)
        # What is on the way is lost with the connections.
        connector.process.send_signal(signal.SIGSTOP)
        for proxy in cluster.proxies:
            proxy.reset()

    def _look_for(self, is_so: Callable[[], bool], within_s: float) -> None:
        """Tends them until it is so, or the time is over."""
        deadline = time.monotonic() + within_s
        while time.monotonic() < deadline and not is_so():
            self._stage.tend()
            time.sleep(0.01)

    def _caught_pending(self, connector: Connector) -> int:
        """Stops it (SIGSTOP), while messages wait for its answer if that can be met; how many."""
        deadline = time.monotonic() + PENDING_WITHIN_S
        while True:
            connector.process.send_signal(signal.SIGSTOP)
            waiting = self._stage.senders[connector.feed].pending()
            if waiting or time.monotonic() > deadline:
                return waiting
            connector.process.send_signal(signal.SIGCONT)
            time.sleep(self._chance.uniform(0, 0.02))

    # ---- brokers and what lies before them

    def _broker(self, fault: Fault, fallen: Fallen) -> Mend:
        cluster = self._stage.cluster
        fallen.transactions = self._open_transactions()
        fallen.answers, fallen.at = self._stage.pending(), now_ms()
        node, is_single = fault.whom % cluster.nodes, cluster.nodes == 1
        two = [node, (node + 1) % cluster.nodes]
        match fault.kind:
            case Kind.BROKER_KILLED if is_single:
                cluster.broker.kill()
                return cluster.broker.start
            case Kind.BROKER_ENDED:
                cluster.broker.stop()
                return cluster.broker.start
            case Kind.BROKER_STOPPED:
                return self._suspended([node])
            case Kind.TWO_STOPPED:
                return self._suspended(two)
            case Kind.ROLLING:
                self._restarted_in_turn()
            case _:
                if fault.kind is Kind.LEADER_KILLED:
                    node = cluster.leader(fault.whom)
                gone = [cluster.java(each) for each in (two if fault.kind is Kind.TWO_ENDED else [node])]
                for java in gone:
                    # Most of a cluster that is killed at once may leave half a transaction, which is Kafka's own doing (decision 11).
                    java.terminate() if fault.kind is Kind.TWO_ENDED else java.kill()
                self._stage.wait_for(lambda: not any(java.is_running() for java in gone), WHOLE_WITHIN_S)
        return self._whole

    def _restarted_in_turn(self) -> None:
        for node in range(self._stage.cluster.nodes):
            java = self._stage.cluster.java(node)
            java.terminate()
            self._stage.wait_for(lambda java=java: not java.is_running(), WHOLE_WITHIN_S)  # type: ignore[misc]
            self._whole()

    def _suspended(self, nodes: list[int]) -> Mend:
        stopped = [self._stage.cluster.java(node) for node in nodes]
        for java in stopped:
            java.suspend()

        def go_on() -> None:
            for java in stopped:
                java.resume()
            self._whole()

        return go_on

    def _whole(self) -> None:
        """Until the cluster is, unless something else keeps it from that."""
        if not self._is_kafka_away():
            self._stage.wait_for(self._stage.cluster.is_whole, WHOLE_WITHIN_S)

    def _network(self, fault: Fault, fallen: Fallen) -> Mend:
        proxies = self._stage.cluster.proxies
        fallen.transactions = self._open_transactions()
        fallen.answers, fallen.at = self._stage.pending(), now_ms()
        if fault.kind is Kind.RESET:
            for proxy in proxies:
                proxy.reset()
            return lambda: None
        weather = {
            Kind.SLOW: Weather(delay_s=0.02 + 0.3 * fault.amount),
            Kind.NARROW: Weather(bytes_per_s=int(20_000 + 200_000 * fault.amount)),
            Kind.DEAF: Weather(silent=frozenset({TO_BROKER})),
            Kind.MUTE: Weather(silent=frozenset({TO_CLIENT})),
            Kind.CLOSED: Weather(closed=True),
        }[fault.kind]
        # That of one node, or of all.
        chosen = proxies if fault.whom % 2 else [proxies[fault.whom % len(proxies)]]
        for proxy in chosen:
            proxy.turn(weather)
        if fault.kind is Kind.CLOSED:
            for proxy in chosen:
                proxy.reset()

        return lambda: self._clear(chosen)

    def _clear(self, proxies: Sequence[Proxy]) -> None:
        for proxy in proxies:
            proxy.turn(Weather())
        self._whole()

    def _senders(self, fault: Fault, fallen: Fallen) -> Mend:
        """They hear no answers, and their connections stay."""
        senders = self._stage.senders[self._stage.plan.feeds[fault.whom % len(self._stage.plan.feeds)]]
        senders.process.send_signal(signal.SIGSTOP)
        fallen.answers, fallen.at = senders.pending(), now_ms()
        return lambda: senders.process.send_signal(signal.SIGCONT)

    def _clock(self, fault: Fault, fallen: Fallen) -> Mend:
        stage = self._stage
        router = stage.routers.routers[fault.whom % stage.plan.slots]
        fallen.transactions = self._open_transactions()
        fallen.at = now_ms()
        stage.set_clock(router, _jump_s(fault))
        return lambda: stage.set_clock(router, 0)

    # ---- what nobody writes

    def _spoilt(self, fault: Fault, fallen: Fallen) -> Mend:
        """The memory of a town, while the router that has it is dead: else it would write much of it anew. Whoever has it next finds it so."""
        stage, bootstrap = self._stage, self._stage.cluster.bootstrap
        keys: list[bytes] = []
        towns: list[str] = []

        def is_remembered() -> bool:
            changelog = Topics.read(bootstrap, within_s=WHOLE_WITHIN_S, topics=[poisoning.ROUTER_STATE])
            last = {record.key: record.value for record in changelog.records}
            keys[:] = [key for key, value in last.items() if key and value]
            named = {key.partition(b"|")[0].decode() for key in keys}
            towns[:] = sorted(name for name in named if name.isdigit())  # else a router's own, or put in before
            return bool(towns)

        stage.wait_for(is_remembered, WHOLE_WITHIN_S)  # right at the beginning there may be no town yet
        town = towns[fault.whom % len(towns)]
        owners: list[Router] = []

        def is_owned() -> bool:
            owners[:] = stage.owners(partition_of(town.encode()), 0)
            return len(owners) == 1

        stage.wait_for(is_owned, WHOLE_WITHIN_S)  # a rebalance may be under way
        router = owners[0]
        self._catch(router, fault, fallen)
        router.kill()
        stage.routers.down.add(router)
        since = now_ms()
        poisoning.put(bootstrap, poisoning.memory(keys, town, self._chance))
        router.begin()
        stage.routers.down.discard(router)
        return lambda: self._healed(town, since)

    def _healed(self, town: str, since: int) -> None:
        """As the runbook says it: what the town was made of is replayed, that is written in the place of its memory, its router starts again, and what
        was kept for it is replayed.
        """
        stage, number = self._stage, partition_of(town.encode())
        noticed = time.monotonic() + NOTICED_WITHIN_S

        def is_sick() -> bool:
            nonlocal noticed
            if time.monotonic() > noticed:
                # It was another that died: the owner has read its memory before.
                noticed += NOTICED_WITHIN_S
                self._restart(stage.owners(number, 0))
            return bool(stage.owners(number, 1))

        stage.wait_for(is_sick, WHOLE_WITHIN_S)
        folder = stage.data / f"state-{len(self.poison.sick)}"
        replayed = gridhub(stage.command_environment, "replay", "--export", str(folder))
        # What was put in is found; else all that was decided is decided so again.
        found = {line.partition("/")[0] for line in replayed.stdout.splitlines()}
        strange = {poisoning.ROUTER_STATE, *({"handed-over"} if self.poison.inputs else ())}
        assert replayed.returncode in (0, 1), replayed.stderr
        assert found <= strange, replayed.stdout
        ended = gridhub(stage.command_environment, "quarantine", "end", town, "--from", str(folder))
        assert ended.returncode == 0, ended.stderr

        def is_sound() -> bool:
            self._restart(stage.owners(number, 1))
            return bool(stage.owners(number, 0))

        stage.wait_for(is_sound, WHOLE_WITHIN_S)
        replaying = now_ms()
        words = ("dead-letters", "replay", "--all", "--reason", "quarantined", "--yes")
        again = gridhub(stage.command_environment, *words)
        assert again.returncode == 0, again.stdout + again.stderr
        sick = Sick(town, since, replaying, now_ms())
        self.poison = replace(self.poison, sick=(*self.poison.sick, sick))

    def _restart(self, routers: Iterable[Router]) -> None:
        for router in routers:
            self._stage.routers.down.add(router)
            self._stage.end(router)
            router.begin()
            self._stage.routers.down.discard(router)

    def _poison(self, fault: Fault, fallen: Fallen) -> Mend:
        stage = self._stage
        fallen.transactions = self._open_transactions()
        fallen.answers, fallen.at = stage.pending(), now_ms()
        if fault.kind is Kind.INPUT_POISONED:
            records = poisoning.inputs(stage.plan.feeds, self._chance)
            put = poisoning.put(stage.cluster.bootstrap, records)
            self.poison = replace(self.poison, inputs={**self.poison.inputs, **put})
        else:
            number = UNWHOLE + len(self.poison.versions)
            poisoning.put(stage.cluster.bootstrap, poisoning.versions(number))
            self.poison = replace(self.poison, versions=self.poison.versions | {number})
        return lambda: None


def refused(told: Iterable[Mapping[str, object]]) -> set[object]:
    """The versions of the registry of which a process has told that it cannot take them."""
    return {line["version"] for line in told if line["event"] == REFUSED}


def _spooled(connector: Connector) -> float | None:
    """How many messages it says its spool has; None where it says nothing."""
    try:
        told = connector.get("/metrics")
    except OSError:
        return None
    return max(map(float, re.findall(r"^gridhub_spool_messages\{.*\} (\S+)$", told, re.MULTILINE)), default=0.0)


def _jump_s(fault: Fault) -> int:
    """By how much a clock is ahead from now on."""
    return (HOUR_S, -HOUR_S, DAY_S, -DAY_S)[int(fault.amount * 4)]


def _full_disk(connector: Connector, fallen: Fallen) -> Mend:
    """No file of the process may grow beyond what a small one has. Where it has not felt that by the end, nothing was met."""
    pid, felt = connector.process.pid, _times_unwritten(connector)
    before = resource.prlimit(pid, resource.RLIMIT_FSIZE)
    resource.prlimit(pid, resource.RLIMIT_FSIZE, (FULL_AT_BYTES, before[1]))

    def free() -> None:
        resource.prlimit(pid, resource.RLIMIT_FSIZE, before)
        if _times_unwritten(connector) == felt:
            fallen.answers = 0

    return free


def _times_unwritten(connector: Connector) -> int:
    """How often it has told that it cannot write its spool."""
    return sum(line["event"] == "spool cannot be used" for line in connector.told())
