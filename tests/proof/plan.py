"""What befalls the hub in one run, drawn from a seed: the same seed, the same faults at the same times.

When a fault meets the hub is chance all the same, since processes are; what it met is in the run's record.
"""

import random
from collections.abc import Sequence
from dataclasses import dataclass
from enum import StrEnum

BEGINS_S, ENDS_S = 2.0, 18.0
"""From when to when of the senders' time faults begin."""
BETWEEN_S = 1.0
NODES, OTHERWISE_THREE = 3, 0.2
"""Brokers of a cluster, and the share of runs that have one although their first fault needs none."""


class Family(StrEnum):
    """Whom a fault befalls. Of one family one thing happens after the other; of several at the same time."""

    ROUTER = "router"
    CONNECTOR = "connector"
    BROKER = "broker"
    NETWORK = "network"
    CLOCK = "clock"
    SENDERS = "senders"
    POISON = "poison"


class Kind(StrEnum):
    """What happens."""

    ROUTER_KILLED = "router killed"
    ROUTER_ENDED = "router ended"
    ROUTER_STOPPED = "router stopped"
    ROUTER_TWICE = "router's slot taken"
    ROUTER_MORE = "one router more"
    ROUTER_PUT_OUT = "routers put out of their group"
    CONNECTOR_KILLED = "connector killed"
    CONNECTOR_ENDED = "connector ended"
    CONNECTOR_STOPPED = "connector stopped"
    DRAINING_KILLED = "connector killed while its spool drains"
    DISK_FULL = "disk full"
    CONNECTOR_CLOCK_JUMPS = "connector's clock jumps"
    BROKER_KILLED = "broker killed"
    BROKER_ENDED = "broker ended"
    BROKER_STOPPED = "broker stopped"
    LEADER_KILLED = "leader killed"
    TWO_ENDED = "two of three brokers ended"
    TWO_STOPPED = "two of three brokers stopped"
    ROLLING = "rolling restart"
    SLOW = "network slow"
    NARROW = "network narrow"
    DEAF = "nothing goes to the broker"
    MUTE = "nothing comes from the broker"
    RESET = "connections reset"
    CLOSED = "connections refused"
    CLOCK_JUMPS = "router's clock jumps"
    SENDERS_STALL = "senders stall"
    INPUT_POISONED = "poison in the inputs"
    REGISTRY_POISONED = "poison in the registry"
    CHANGELOG_POISONED = "poison in a router's memory"


@dataclass(frozen=True, slots=True)
class Manner:
    """How a kind of fault is. `lasts_s`: at least and at most. `of_three`: of a cluster of three; else of a single broker, or None, of either."""

    family: Family
    lasts_s: tuple[float, float]
    of_three: bool | None = None


MANNERS = {
    Kind.ROUTER_KILLED: Manner(Family.ROUTER, (0.0, 2.0)),
    Kind.ROUTER_ENDED: Manner(Family.ROUTER, (0.0, 2.0)),
    # Longer than a session and a transaction may last: it comes back to partitions that are another's, and to a transaction that is over.
    Kind.ROUTER_STOPPED: Manner(Family.ROUTER, (2.0, 10.0)),
    Kind.ROUTER_TWICE: Manner(Family.ROUTER, (2.0, 5.0)),
    Kind.ROUTER_MORE: Manner(Family.ROUTER, (3.0, 6.0)),
    Kind.ROUTER_PUT_OUT: Manner(Family.ROUTER, (0.0, 0.0)),
    Kind.CONNECTOR_KILLED: Manner(Family.CONNECTOR, (0.0, 2.0)),
    Kind.CONNECTOR_ENDED: Manner(Family.CONNECTOR, (0.0, 2.0)),
    Kind.CONNECTOR_STOPPED: Manner(Family.CONNECTOR, (0.5, 5.0)),
    # Brokers and network are in it: so long they stand still for the spool to fill.
    Kind.DRAINING_KILLED: Manner(Family.CONNECTOR, (2.5, 5.5)),
    Kind.DISK_FULL: Manner(Family.CONNECTOR, (2.0, 4.0)),
    # Not while it is away: one that starts while its clock is wrong and Kafka says nothing cannot know better, and goes by that clock.
    Kind.CONNECTOR_CLOCK_JUMPS: Manner(Family.CONNECTOR, (2.0, 8.0)),
    Kind.BROKER_KILLED: Manner(Family.BROKER, (0.0, 4.0)),
    Kind.BROKER_ENDED: Manner(Family.BROKER, (0.0, 4.0), of_three=False),
    Kind.BROKER_STOPPED: Manner(Family.BROKER, (2.0, 8.0)),
    Kind.LEADER_KILLED: Manner(Family.BROKER, (0.0, 0.0), of_three=True),
    Kind.TWO_ENDED: Manner(Family.BROKER, (0.0, 0.0), of_three=True),
    Kind.TWO_STOPPED: Manner(Family.BROKER, (3.0, 8.0), of_three=True),
    Kind.ROLLING: Manner(Family.BROKER, (0.0, 0.0), of_three=True),
    Kind.SLOW: Manner(Family.NETWORK, (2.0, 6.0)),
    Kind.NARROW: Manner(Family.NETWORK, (2.0, 6.0)),
    Kind.DEAF: Manner(Family.NETWORK, (1.0, 8.0)),
    Kind.MUTE: Manner(Family.NETWORK, (1.0, 8.0)),
    Kind.RESET: Manner(Family.NETWORK, (0.0, 0.0)),
    Kind.CLOSED: Manner(Family.NETWORK, (1.0, 6.0)),
    Kind.CLOCK_JUMPS: Manner(Family.CLOCK, (2.0, 8.0)),
    Kind.SENDERS_STALL: Manner(Family.SENDERS, (1.0, 6.0)),
    Kind.INPUT_POISONED: Manner(Family.POISON, (0.0, 0.0)),
    Kind.REGISTRY_POISONED: Manner(Family.POISON, (0.0, 0.0)),
    # Memory is read when it is rebuilt: the router that has it dies.
    Kind.CHANGELOG_POISONED: Manner(Family.ROUTER, (2.0, 5.0)),
}


@dataclass(frozen=True, slots=True)
class Fault:
    """One thing that happens. `at_s`: after the senders have begun. `lasts_s`: until it is mended. `whom` chooses among those it may befall.

    `amount`, from 0 to 1: how bad it is, where there is a more and less.
    """

    kind: Kind
    at_s: float
    lasts_s: float
    whom: int
    amount: float

    @property
    def family(self) -> Family:
        return MANNERS[self.kind].family

    def __str__(self) -> str:
        return f"{self.at_s:.1f} s: {self.kind}" + (f", {self.lasts_s:.1f} s" if self.lasts_s else "")


@dataclass(frozen=True, slots=True)
class Plan:
    """One run. `feeds`: whose devices send. `nodes`: brokers; `slots`: routers."""

    seed: int
    feeds: tuple[str, ...]
    nodes: int
    slots: int
    repeat: float
    troubles: float
    faults: tuple[Fault, ...]

    def lane(self, fault: Fault) -> Family:
        """Of which nothing else happens at the same time."""
        return _lane(fault.family, self.nodes == NODES)

    def __str__(self) -> str:
        many = f"{self.nodes} broker{'s' * (self.nodes > 1)}, {self.slots} router{'s' * (self.slots > 1)}"
        return f"seed {self.seed}: {' and '.join(self.feeds)}, {many}; " + "; ".join(map(str, self.faults))


STATIONS, PUSHERS = ("air",), ("camera", "patrol")


def plan(seed: int) -> Plan:
    """What happens under a seed. Each kind of fault is the first of every so many seeds; a third of the runs have no other."""
    chance = random.Random(seed)
    kinds = list(Kind)
    first = kinds[seed % len(kinds)]
    of_three = MANNERS[first].of_three
    is_three = chance.random() < OTHERWISE_THREE if of_three is None else of_three
    possible = [kind for kind in kinds if MANNERS[kind].of_three in {None, is_three}]
    more = 0 if chance.random() < 1 / 3 else chance.randint(2, 5)
    chosen = [first, *chance.choices(possible, k=more)]
    # A town in quarantine takes a person, who does it once.
    chosen = [kind for i, kind in enumerate(chosen) if kind is not Kind.CHANGELOG_POISONED or kind not in chosen[:i]]
    chance.shuffle(chosen)
    return Plan(
        seed=seed,
        # By the round of kinds, so that each meets either.
        feeds=(STATIONS, PUSHERS)[(seed % len(kinds) + seed // len(kinds)) % 2],
        nodes=NODES if is_three else 1,
        slots=chance.choice([1, 2, 2, 3, 5]),
        repeat=chance.choice([0.0, 0.3]),
        troubles=chance.choice([0.0, 0.03, 0.1]),
        faults=_in_time(chosen, is_three, chance),
    )


def _in_time(kinds: Sequence[Kind], is_three: bool, chance: random.Random) -> tuple[Fault, ...]:
    """At times by chance; of one family, one after the other. A disk that is full matters while Kafka takes nothing, and so does what drains after it."""
    faults: list[Fault] = []
    free = dict.fromkeys(Family, 0.0)
    for kind, at in zip(kinds, sorted(chance.uniform(BEGINS_S, ENDS_S) for _ in kinds), strict=True):
        own = _lane(MANNERS[kind].family, is_three)
        begins = max(at, free[own])
        lasts = chance.uniform(*MANNERS[kind].lasts_s)
        if kind is Kind.DISK_FULL:
            begins = max(begins, free[Family.BROKER])
            faults.append(Fault(Kind.BROKER_STOPPED, begins, lasts + 1, 0, 1.0))
            free[Family.BROKER] = begins + lasts + 1 + BETWEEN_S
            begins += 0.5
        if kind is Kind.DRAINING_KILLED:
            begins = max(begins, free[Family.BROKER], free[Family.NETWORK])
            free[Family.BROKER] = free[Family.NETWORK] = begins + lasts + BETWEEN_S
        faults.append(Fault(kind, begins, lasts, chance.randrange(100), chance.random()))
        free[own] = begins + lasts + BETWEEN_S
    return tuple(sorted(faults, key=lambda fault: fault.at_s))


def _lane(family: Family, is_three: bool) -> Family:
    # A single broker cannot be started where no client reaches it.
    return Family.BROKER if family is Family.NETWORK and not is_three else family
