"""The router's process, as far as it needs no Kafka."""

import threading
import time
from collections.abc import Iterable
from types import SimpleNamespace
from unittest import mock

import pytest

from hub.core.errors import Misconfigured, Unavailable
from hub.core.events import RouterState
from hub.core.in_force import InForce
from hub.core.town import Town
from hub.partition import Arrived, Partition, Surroundings
from hub.registry import Versions
from hub.router import REGISTRY_AWAY_S, Router, _Rebuild
from hub.settings import Settings
from hub.transactions import Member, Polled, Transactions, Watchdog, Whole
from hub.wire import Wire
from tests.doubles import RememberingRouterTelemetry
from tests.hub.core.one_town import TOWN
from tests.hub.core.small_map import registry

WIRE = Wire.load()
HERE = 3
OFFSETS = {"readings": 7, "alerts.air": 0, "handed-over": 0}


def rebuild(*entries: bytes, offsets: dict[str, int] = OFFSETS) -> _Rebuild:
    """One that has read the changelog of one partition; `offsets`: what the group has committed of it."""
    member, whole = mock.Mock(spec=Member), mock.Mock(spec=Whole)
    member.committed.return_value = offsets
    whole.complete.side_effect = [False, True]
    whole.read.return_value = [
        Arrived("router-state", HERE, offset, 0, str(offset).encode(), value) for offset, value in enumerate(entries)
    ]
    made = _Rebuild([HERE])
    with mock.patch("hub.router.Whole", return_value=whole):
        assert made.go_on(Settings(), member, "a test")
    return made


@pytest.mark.parametrize(
    "entry",
    [
        b"no record",
        WIRE.encode(RouterState(town="410122106", kind="of a later version", id="", body="{}")),
        WIRE.encode(RouterState(town="410122106", kind="town", id="", body='{"now":1,"later":2}')),
        WIRE.encode(RouterState(town="", kind="partition", id="3", body='{"number":1}')),
        WIRE.encode(RouterState(town="", kind="partition", id="3", body="[]")),
    ],
    ids=["no record", "another kind", "another field", "no journal number", "no object"],
)
def test_memory_that_this_version_cannot_read_ends_the_process(entry: bytes) -> None:
    """As something that may be there later it would be tried again without end, with a new producer each time."""
    with pytest.raises(Misconfigured, match="router-state/3 cannot be read by this version"):
        list(rebuild(entry).partitions(WIRE))


def test_offsets_that_the_group_has_forgotten_are_remembered() -> None:
    """Kafka forgets them where no member came for a week; from the beginning, every alert would open its ticket once more."""
    own = RouterState(town="", kind="partition", id="3", body='{"journal":5,"next":{"alerts.air":9,"readings":3}}')
    forgotten = dict.fromkeys(OFFSETS, 0)
    (partition,) = rebuild(WIRE.encode(own), offsets=forgotten).partitions(WIRE)
    assert (partition.journal, partition.next) == (5, {"readings": 3, "alerts.air": 9, "handed-over": 0})
    (partition,) = rebuild(WIRE.encode(own), offsets=OFFSETS).partitions(WIRE)
    assert partition.next == {"readings": 7, "alerts.air": 9, "handed-over": 0}


def test_memory_without_offsets_goes_on_at_those_of_the_group() -> None:
    own = RouterState(town="", kind="partition", id="3", body='{"journal": 5}')
    (partition,) = rebuild(WIRE.encode(own)).partitions(WIRE)
    assert (partition.journal, partition.next) == (5, OFFSETS)


@pytest.mark.parametrize(
    ("ends", "positions", "lags"),
    [
        ([5, 5, 5], [5, 5, 5], [(0, 0), (0, 0), (0, 0)]),
        ([5, 5, 5], [2, 2, 5], [(3, 0), (3, 5), (0, 0)]),
        # Always something new, and all of it read by the next look.
        ([5, 9, 13], [4, 8, 12], [(1, 0), (1, 0), (1, 0)]),
        ([5, 9, 13], [2, 4, 12], [(3, 0), (5, 5), (1, 0)]),
    ],
)
def test_lag_tells_how_long_something_has_waited(
    monkeypatch: pytest.MonkeyPatch, ends: list[int], positions: list[int], lags: list[tuple[int, float]]
) -> None:
    assert [told[2:] for told in told_lags(monkeypatch, ends, positions)] == lags


def test_what_was_read_and_waits_for_another_input_is_not_done(monkeypatch: pytest.MonkeyPatch) -> None:
    held = [Arrived("readings", HERE, offset, 0, None, None) for offset in (3, 4)]
    told = told_lags(monkeypatch, [5, 5], [5, 5], held)
    assert told == [("readings", HERE, 2, 0), ("readings", HERE, 2, 5)]


def told_lags(
    monkeypatch: pytest.MonkeyPatch, ends: Iterable[int], positions: Iterable[int], held: Iterable[Arrived] = ()
) -> list[tuple[object, ...]]:
    """What a router tells of one input, asked every five seconds."""
    telemetry, member, now = RememberingRouterTelemetry(), mock.Mock(spec=Member), 0.0
    router = Router(Settings(), 0, None, telemetry, threading.Event(), Watchdog())
    router._partitions[HERE] = Partition(HERE)
    router._waiting[HERE].add(held)
    monkeypatch.setattr("hub.router.time", SimpleNamespace(monotonic=lambda: now))
    for end, position in zip(ends, positions, strict=True):
        member.ends.return_value, member.position.return_value = {HERE: {"readings": end}}, position
        router._tell_lag(member)
        now += 5.0
    return telemetry.named("lag")


def test_a_transaction_takes_no_more_than_it_should_and_the_partitions_take_turns() -> None:
    """All that one input had held up in twelve partitions was one transaction of twelve times as many."""
    settings = Settings.model_validate({"router": {"max_records": 10}})
    router = Router(settings, 0, None, RememberingRouterTelemetry(), threading.Event(), Watchdog())
    member = mock.Mock(spec=Member)
    member.behind.return_value = set[str]()
    for number in range(3):
        router._waiting[number].add(Arrived("readings", number, offset, 0, None, None) for offset in range(9))
    turns = [{number: len(some) for number, some in router._ready(member).items()} for _ in range(4)]
    assert turns == [{0: 9, 1: 1}, {2: 9, 1: 1}, {1: 7}, {}]


@pytest.fixture
def under_old() -> Router:
    """A router of three partitions, each with a town under version 1; what is committed is only remembered."""
    router = Router(Settings(), 0, None, RememberingRouterTelemetry(), threading.Event(), Watchdog())
    old = InForce(registry(version=1))
    router._around = Surroundings(old, WIRE, {TOWN: HERE}.__getitem__, 0, 1)
    router._partitions = {
        number: Partition(number, 1, {TOWN: Town(TOWN, {})}, {"readings": 9}, old.versions) for number in range(3)
    }
    router._transactions = mock.Mock(spec=Transactions)
    router._registry = mock.Mock(spec=Versions)
    return router


def test_a_new_version_is_adopted_by_one_partition_a_turn_and_its_records_wait_for_that(under_old: Router) -> None:
    """Every ticket of every partition in one transaction may be more than its time allows, each time again."""
    router, member = under_old, mock.Mock(spec=Member)
    member.behind.return_value = set[str]()
    router._registry.newest.return_value = registry(version=2)  # type: ignore[union-attr]
    polled = Polled({}, None, moved=False)
    turns = []
    for _ in range(4):
        router._look_at_registry(polled, 0.0)
        for number in range(3):
            router._waiting[number].add([Arrived("readings", number, 9, 0, None, b"")])
        turns.append(sorted(router._ready(member)))
    assert turns == [[0], [0, 1], [0, 1, 2], [0, 1, 2]]
    assert isinstance(router._telemetry, RememberingRouterTelemetry)
    assert [number for number, _ in router._telemetry.named("adopted")] == [0, 1, 2]


def test_a_registry_that_cannot_be_read_holds_up_nothing_and_is_told_once(under_old: Router) -> None:
    router, now = under_old, time.monotonic()
    router._registry.newest.side_effect = Unavailable("no leader")  # type: ignore[union-attr]
    polled = Polled({}, None, moved=False)
    for later in (0, 1, 2, 3 * REGISTRY_AWAY_S):
        router._look_at_registry(polled, now + later)
    assert router._registry.newest.call_count == 2, "asked again, but not each second"  # type: ignore[union-attr]
    assert isinstance(router._telemetry, RememberingRouterTelemetry)
    assert router._telemetry.happened == [("registry_away", "no leader")]
    assert router._around.force.version == 1
    router._registry.newest.side_effect = None  # type: ignore[union-attr]
    router._registry.newest.return_value = registry(version=2)  # type: ignore[union-attr]
    router._look_at_registry(polled, now + 6 * REGISTRY_AWAY_S)
    assert router._around.force.version == 2
