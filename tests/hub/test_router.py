"""The router's process, as far as it needs no Kafka."""

import threading
import time
from collections.abc import Iterable
from dataclasses import replace
from types import SimpleNamespace
from unittest import mock

import pytest

from hub.changelog import _last_journal
from hub.core.errors import Misconfigured, Unavailable
from hub.core.events import Journal, RouterState, Version
from hub.core.in_force import InForce
from hub.core.town import Town
from hub.partition import Arrived, Partition, Surroundings
from hub.registry import Versions
from hub.router import REGISTRY_AWAY_S, REGISTRY_S, Router, Silent, _Rebuild
from hub.settings import Settings
from hub.transactions import BrokerClock, Member, Polled, Transactions, Watchdog, Whole
from hub.wire import Wire
from tests.doubles import RememberingRouterTelemetry
from tests.hub.core.one_town import TOWN
from tests.hub.core.small_map import registry

WIRE = Wire.load()
HERE = 3
OFFSETS = {"readings": 7, "alerts.air": 0, "handed-over": 0}


KEY = b"|partition|3"
JOURNAL = Journal(
    partition=HERE,
    number=8,
    router=0,
    generation=1,
    at=0,
    program="0.1.0",
    versions=(Version(name="registry", version="2"),),
    ranges=(),
    ticks=(),
    quarantined=("410122109",),
)


def rebuild(
    *entries: tuple[bytes, bytes], offsets: dict[str, int] = OFFSETS, journal: Iterable[Journal] = ()
) -> tuple[Partition, RememberingRouterTelemetry]:
    """What comes back of a partition from the changelog (keys and values); `offsets`: what the group has committed of it."""
    member, telemetry = mock.Mock(spec=Member), RememberingRouterTelemetry()
    member.committed.return_value = offsets

    def whole(_settings: Settings, topics: list[str], *_: object, **_last: object) -> mock.Mock:
        lying = [*entries] if topics == ["router-state"] else [(b"3", WIRE.encode(one)) for one in journal]
        found = [Arrived(topics[0], HERE, offset, 0, *one) for offset, one in enumerate(lying)]
        made = mock.Mock(spec=Whole)
        made.complete.side_effect = [False, True]
        made.read.return_value = made.all.return_value = found
        return made

    made = _Rebuild([HERE])
    around = Surroundings(InForce(registry()), WIRE, lambda _: HERE, 0, 0)
    with mock.patch("hub.router.Whole", whole), mock.patch("hub.changelog.Whole", whole):
        assert made.go_on(Settings(), member, "a test")
        (partition,) = made.partitions(Settings(), around, telemetry)
    assert made.entries == len(entries)
    return partition, telemetry


def own(body: str) -> tuple[bytes, bytes]:
    return KEY, WIRE.encode(RouterState(town="", kind="partition", id="3", body=body))


def clock(town: str, body: str = '{"now":1,"seq":4,"due":null,"forget_at":null}') -> tuple[bytes, bytes]:
    return f"{town}|town|".encode(), WIRE.encode(RouterState(town=town, kind="town", id="", body=body))


@pytest.mark.parametrize(
    "unreadable",
    [
        (b"410122106|seen|a1", b"no record"),
        (b"410122106|seen|\xff", b"no record"),
        (b"410122106|later|", WIRE.encode(RouterState(town="410122106", kind="later", id="", body="{}"))),
        clock("410122106", '{"now":1,"later":2}'),
        clock("410122106", '{"now":"1","seq":4,"due":null,"forget_at":null}'),
        (b"410122106|town|", clock("410122107")[1]),
    ],
    ids=["no record", "a broken key", "another kind", "another field", "a text for a number", "another town's"],
)
def test_a_town_whose_memory_cannot_be_read_is_in_quarantine_and_no_other(unreadable: tuple[bytes, bytes]) -> None:
    readable = own('{"journal":5,"program":"0.1.0"}'), clock("410122107"), (b"410122106|seen|", clock("x")[1])
    partition, telemetry = rebuild(*readable, unreadable)
    assert partition.quarantined == {"410122106"}
    assert (partition.journal, partition.towns["410122107"].clock.seq) == (5, 4)
    assert "410122106" not in partition.towns
    [(number, town, why)] = telemetry.named("quarantined")
    assert (number, town) == (HERE, "410122106")
    assert why
    assert telemetry.named("in_quarantine") == [(HERE, 1)]
    assert not partition.settled(()), "the journal must name it before anything is decided"


def test_what_no_router_has_written_there_is_passed_over() -> None:
    partition, telemetry = rebuild(own('{"journal":5}'), clock("410122107"), (b"a guest", b"?"), (b"1234|town|", b"?"))
    assert list(partition.towns) == ["410122107"]
    assert not partition.quarantined
    assert telemetry.named("passed_over") == [(HERE, 2)]


@pytest.mark.parametrize(
    "body", ['{"number":1}', "[]", '{"journal":"five"}', '{"journal":1e999}', '{"journal":5,"next":7}']
)
def test_a_partition_that_does_not_know_where_it_stood_takes_it_from_the_journal(body: str) -> None:
    partition, _ = rebuild(own(body), clock("410122107"), journal=[replace(JOURNAL, number=7), JOURNAL])
    assert (partition.journal, partition.versions, partition.next) == (8, JOURNAL.versions, OFFSETS)
    assert partition.released == {"410122109"}


def test_a_partition_whose_own_entry_is_gone_takes_it_from_the_journal_too() -> None:
    """Its journal would begin anew, with numbers that were given already."""
    partition, _ = rebuild(clock("410122107"), journal=[JOURNAL])
    assert (partition.journal, partition.next) == (8, OFFSETS)
    with pytest.raises(Misconfigured, match="it is not there"):
        rebuild(clock("410122107"))
    partition, _ = rebuild((b"a guest", b"?"))
    assert partition.journal == 0, "nothing was ever decided here"


def test_where_nothing_tells_where_a_partition_stood_the_process_ends() -> None:
    """Numbers of the journal would begin anew; or every record would be applied once more."""
    with pytest.raises(Misconfigured, match=r"\|partition\|3 of router-state/3 cannot be read"):
        rebuild(own("[]"))
    with pytest.raises(Misconfigured, match=r"\|partition\|3 of router-state/3 cannot be read"):
        rebuild(own("[]"), offsets=dict.fromkeys(OFFSETS, 0), journal=[JOURNAL])


def test_a_last_journal_record_that_cannot_be_read_tells_nothing() -> None:
    """The one before it has a number that was given already."""
    readable, unreadable = (Arrived("journal", HERE, 0, 0, b"3", value) for value in (WIRE.encode(JOURNAL), b"?"))
    of_another_kind = replace(unreadable, value=clock("410122106")[1])
    for last, number in (
        ([readable, unreadable], None),
        ([readable, of_another_kind], None),
        ([unreadable, readable], 8),
    ):
        with mock.patch("hub.changelog.Whole") as whole:
            whole.return_value.all.return_value = last
            journal = _last_journal(Settings(), WIRE, HERE)
        assert (journal and journal.number) == number


def test_memory_of_a_newer_program_ends_the_process() -> None:
    """It can be read, but not here: in quarantine all that comes meanwhile would be dead letters. As something that may be there later it would be
    tried again without end, with a new producer each time.
    """
    later = clock("410122106", '{"now":1,"later":2}')
    with pytest.raises(Misconfigured, match=r"router-state/3 cannot be read by this version of the program: 0\.10\.0"):
        rebuild(own('{"journal":5,"program":"0.10.0"}'), later)
    partition, _ = rebuild(own('{"journal":5,"program":"0.0.9"}'), later)
    assert partition.quarantined == {"410122106"}


def test_offsets_that_the_group_has_forgotten_are_remembered() -> None:
    """Kafka forgets them where no member came for a week; from the beginning, every alert would open its ticket once more."""
    one = own('{"journal":5,"next":{"alerts.air":9,"readings":3}}')
    partition, _ = rebuild(one, offsets=dict.fromkeys(OFFSETS, 0))
    assert (partition.journal, partition.next) == (5, {"readings": 3, "alerts.air": 9, "handed-over": 0})
    partition, _ = rebuild(one)
    assert partition.next == {"readings": 7, "alerts.air": 9, "handed-over": 0}


def test_memory_without_offsets_goes_on_at_those_of_the_group() -> None:
    partition, _ = rebuild(own('{"journal": 5}'))
    assert (partition.journal, partition.next) == (5, OFFSETS)


def test_a_town_in_quarantine_is_told_beside_being_ready() -> None:
    router = Router(Settings(), 0, None, RememberingRouterTelemetry(), threading.Event(), Watchdog())
    router._partitions = {HERE: Partition(HERE, quarantined=["410122106"]), 4: Partition(4)}
    assert router.notes() == ["town 410122106 is in quarantine: gridhub quarantine list"]


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


@pytest.mark.parametrize(
    ("positions", "looks", "silent"),
    [
        ([3] * 25, 0, True),
        ([3] * 24, 0, False),
        ([3] * 20 + [4] * 20, 0, False),
        # Kafka has no more; it has been away meanwhile.
        ([9] * 40, 0, False),
        ([3] * 40, 20, False),
    ],
)
def test_an_input_of_which_nothing_comes_though_kafka_has_more_ends_the_process(
    monkeypatch: pytest.MonkeyPatch, positions: list[int], looks: int, silent: bool
) -> None:
    """Seen every five seconds. `looks`: after so many, and each so many, Kafka was away."""
    router, member = silent_router()
    monkeypatch.setattr(router._transactions, "renew", lambda: None)
    router._member = member

    def all_looks() -> None:
        for number, position in enumerate(positions):
            if looks and number % looks == 0:
                router._recover(Unavailable("away"))
            member.position.return_value = position
            router._tell_lag(member)

    if silent:
        with pytest.raises(Silent, match="nothing has come of readings/3 for 120 s"):
            all_looks()
    else:
        all_looks()


def test_what_is_held_back_is_not_silent() -> None:
    router, member = silent_router()
    member.position.return_value = 3
    router._held_back = {("readings", HERE)}
    for _ in range(40):
        router._tell_lag(member)


def silent_router() -> tuple[Router, mock.Mock]:
    """One of one partition, of which nothing waits in memory; `readings` ends at 9."""
    router = Router(Settings(), 0, None, RememberingRouterTelemetry(), threading.Event(), Watchdog())
    router._partitions[HERE] = Partition(HERE)
    member = mock.Mock(spec=Member)
    member.ends.return_value = {HERE: {"readings": 9}}
    return router, member


class Waiting:
    """A router that rebuilds two partitions, on a clock that is moved. `told`: what another client would hear; `brings`: what the next read does."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.now = 1000.0
        self.told = self.brings = False
        self.whole = mock.Mock(spec=Whole)
        monkeypatch.setattr("hub.router.time", SimpleNamespace(monotonic=lambda: self.now))
        monkeypatch.setattr("hub.router.undecided", lambda *_: not self.told)
        monkeypatch.setattr("hub.router.Whole", lambda *_, **__: self.whole)
        self.whole.complete.return_value = False
        self.whole.held_up.side_effect = lambda: not self.told
        self.whole.read.side_effect = self._read
        self.member = mock.Mock(spec=Member)
        self.member.committed.side_effect = lambda number: OFFSETS if number == HERE else None
        self.router = Router(Settings(), 0, None, RememberingRouterTelemetry(), threading.Event(), Watchdog())
        self.router._member, self.router._rebuild = self.member, _Rebuild([HERE, 4])

    def _read(self, _wait_s: float) -> list[Arrived]:
        self.now += 0.1
        return [Arrived("router-state", HERE, 0, 0, b"key", b"value")] if self.brings else []

    def turn(self, after_s: float) -> None:
        self.now += after_s
        assert self.router._rebuild
        self.router._go_on_rebuilding(self.member, self.router._rebuild)


@pytest.fixture
def waiting(monkeypatch: pytest.MonkeyPatch) -> Waiting:
    return Waiting(monkeypatch)


def test_a_rebuild_of_which_others_are_told_ends_the_process_and_says_what_it_has_waited_for(waiting: Waiting) -> None:
    """15 s of a transaction and 30 s more."""
    waiting.turn(40)
    assert "rebuilding its memory: gridhub-router/4" in waiting.router.reasons()
    waiting.told = True
    waiting.turn(44)  # the offsets of one partition have come meanwhile
    waiting.turn(2)
    waiting.turn(4)
    with pytest.raises(Silent, match="nothing has come of gridhub-router/4 for over 45 s"):
        waiting.turn(2)


def test_whatever_comes_of_a_rebuild_is_no_silence(waiting: Waiting) -> None:
    waiting.told = True
    waiting.turn(0)
    waiting.member.committed.side_effect = lambda _: OFFSETS
    waiting.turn(40)
    assert "rebuilding its memory: router-state/3, 4" in waiting.router.reasons()
    waiting.brings = True
    waiting.turn(40)
    waiting.brings = False
    waiting.turn(44)
    waiting.turn(2)
    waiting.brings = True  # others were told meanwhile, and then it comes
    waiting.turn(4)
    waiting.brings = False
    waiting.turn(46)
    with pytest.raises(Silent, match="nothing has come of router-state/3, 4 for over 45 s"):
        waiting.turn(6)


@pytest.mark.parametrize("offsets", [None, OFFSETS])
def test_what_kafka_has_undecided_is_waited_for_and_nobody_is_put_out_by_that(
    waiting: Waiting, offsets: dict[str, int] | None
) -> None:
    """A transaction without end: whoever was given the partition would end as well, one after the other."""
    waiting.member.committed.side_effect = lambda _: offsets
    for _ in range(10):
        waiting.turn(46)


def test_a_kafka_that_is_away_is_waited_for(waiting: Waiting, monkeypatch: pytest.MonkeyPatch) -> None:
    """The router owns nothing else that would notice it. When Kafka is back, others are told before its own client has come that far."""

    def away(*_: object) -> bool:
        raise Unavailable("away")

    waiting.turn(0)
    with monkeypatch.context() as during:
        during.setattr("hub.router.undecided", away)
        with pytest.raises(Unavailable):
            waiting.turn(46)
    waiting.told = True
    waiting.turn(60)  # so long it took until a producer was to be had
    waiting.turn(4)
    waiting.member.committed.side_effect = lambda _: OFFSETS
    waiting.turn(2)
    waiting.turn(44)


def test_what_comes_at_last_is_taken_before_others_are_asked(waiting: Waiting) -> None:
    """A process that stood still has asked nobody meanwhile."""
    waiting.told = True
    waiting.turn(0)
    waiting.member.committed.side_effect = lambda _: OFFSETS
    waiting.turn(600)


def test_a_rebuild_that_fails_again_and_again_though_kafka_answers_is_silent(
    waiting: Waiting, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One client is never told where it stands. A new producer is to be had at once, each time."""
    waiting.told = True
    monkeypatch.setattr(waiting.router._transactions, "renew", lambda: None)
    waiting.member.committed.side_effect = lambda _: OFFSETS
    waiting.whole.complete.side_effect = Unavailable("nobody tells")
    for _ in range(5):
        with pytest.raises(Unavailable):
            waiting.turn(11)
        waiting.router._recover(Unavailable("nobody tells"))
    with pytest.raises(Unavailable):
        waiting.turn(11)
    with pytest.raises(Silent):
        waiting.turn(11)


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
    router._registry = mock.Mock(spec=Versions, refused=0)
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


def test_no_version_is_taken_by_a_clock_that_is_wrong(under_old: Router) -> None:
    """Tickets would go to whoever is on duty tomorrow, and say so."""
    router, polled, now = under_old, Polled({}, None, moved=False), time.monotonic()
    router._registry.newest.return_value = registry(version=2)  # type: ignore[union-attr]
    router._broker_clock = mock.Mock(spec=BrokerClock, ahead_s=86_400.0)
    router._look_at_registry(polled, now)
    assert (router._around.force.version, [one.journal for one in router._partitions.values()]) == (1, [1, 1, 1])
    router._broker_clock.ahead_s = 0.0
    router._look_at_registry(polled, now + REGISTRY_S)
    assert router._around.force.version == 2


def test_a_tick_that_only_fails_is_committed_too(under_old: Router, monkeypatch: pytest.MonkeyPatch) -> None:
    """Else it would fail each second, in no quarantine and told by nobody."""
    router, due = under_old, replace(Town(TOWN, {}).clock, due=1)
    versions = router._around.force.versions
    router._partitions = {HERE: Partition(HERE, 1, {TOWN: Town(TOWN, {"town": {"": due}})}, {"readings": 9}, versions)}
    monkeypatch.setattr("hub.partition.decide", mock.Mock(side_effect=AssertionError("no open ticket")))
    router._transact(Polled({}, None, moved=False), {HERE: []}, tick_at={HERE: 2})
    assert router._partitions[HERE].quarantined == {TOWN}
    assert isinstance(router._telemetry, RememberingRouterTelemetry)
    assert [town for _, town, _ in router._telemetry.named("quarantined")] == [TOWN]
    assert not router._partitions[HERE].due(2)
