"""The router's process: reads what stations say, decides, and writes each decision once.

One loop on one thread: poll, decide, one transaction with outputs, journal, memory and offsets, adopt. Partitions that have just come are
paused and rebuilt from the changelog between polls, never in a listener of the library. Time passes in ticks, which the owner of a partition
makes when it has read it to its end, and while its clock and the broker's agree.
"""

import threading
import time
from collections import defaultdict
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

from hub import topics
from hub.changelog import look, sound
from hub.clock import CLOCKS_DIFFER_S, FIRST_PROBES_S, PROBE_S, Clock
from hub.command import UNAVAILABLE, UNKNOWN_OUTCOME
from hub.core.errors import AbortReason, HubError, Misconfigured, Unavailable
from hub.core.in_force import InForce
from hub.core.rules import Rule
from hub.lang import Text, progress
from hub.partition import INPUTS, ROUTER_STATE, Arrived, Partition, Poison, Step, Surroundings, Waiting, merged
from hub.points import reached
from hub.registry import Versions
from hub.rulebook import own_rules
from hub.running import announced, on_stop
from hub.settings import HostPort, Settings
from hub.telemetry import RouterRecorder, RouterTelemetry, log_to, serve_wsgi, telemetry_app
from hub.transactions import (
    REACH_WITHIN_S,
    Aborted,
    Assignment,
    BrokerClock,
    Fenced,
    Member,
    Polled,
    Torn,
    Transactions,
    Watchdog,
    Whole,
    partition_of,
    put_out_former_lives,
    undecided,
)
from hub.wire import Wire

METRICS_PORT = 9410
POLL_S = 0.1
BRIEF_POLL_S = 0.01
MOST_WAITING = 5000
NO_TICKS: Mapping[int, int] = MappingProxyType({})
BACK_OFF_S = (0.1, 2.0)
REGISTRY_S = 1.0
# A question that is not answered takes seconds, in which nothing is decided.
REGISTRY_AWAY_S = 30.0
LAG_S = 5.0
SILENT_S = 120.0
"""Of what nothing has come for so long, while Kafka answers and has more, nothing comes any more. The turns of all other inputs take a few seconds."""
REBUILD_SILENT_S = 30.0
"""After so long, and the time of a transaction of the last owner, somebody else asks for what a rebuild waits for: its towns are served by nobody
meanwhile. So long the library waits for one answer.
"""
OTHERS_AGAIN_S = 5.0
"""After so long they are asked again: Kafka may have come back, or decided, while they asked, and the rebuild's own client is still on its way to it."""
REBUILD_PART_S = 0.1
ABORTS_IN_A_ROW = 20
STOP_WITHIN_S = 9.0


def run(settings: Settings, slot: int) -> int:
    """Serves until SIGTERM or SIGINT, then ends in order, and returns 0; with exit code 75 where Kafka does not let it within 9 s.

    Waits for Kafka for as long as it takes. Raises Misconfigured, also for memory that this version cannot read; Unavailable when another
    router has taken the slot, or transactions fail or nothing comes though Kafka answers; UnknownOutcome when only Kafka knows whether a transaction
    was committed; any other exception is a defect.
    """
    log_to(form=settings.telemetry.format)
    telemetry = RouterRecorder(slot, INPUTS)
    rules = own_rules(settings)
    stop, watchdog = threading.Event(), Watchdog()

    def told_to_stop() -> None:
        # What Kafka does not answer would take longer; only Kafka knows then what became of the last transaction, and the next start asks.
        watchdog.all_within(STOP_WITHIN_S, UNKNOWN_OUTCOME, "the orderly end")
        stop.set()

    on_stop(told_to_stop)
    telemetry.starting()
    listen = settings.telemetry.listen or HostPort(host="127.0.0.1", port=METRICS_PORT + slot)
    router = Router(settings, slot, rules, telemetry, stop, watchdog)
    app = telemetry_app(telemetry.registry, router.reasons, router.notes)
    server, _ = serve_wsgi(app, listen.host, listen.port)
    try:
        with announced(settings.data, f"router-{slot}", {"metrics": server.server_port}):
            router.connect()
            telemetry.serving({"metrics": server.server_port})
            router.run()
    except Silent as error:
        telemetry.silent(str(error))
        watchdog.all_within(STOP_WITHIN_S, UNAVAILABLE, "the end of a client that brings nothing")
        raise Unavailable(str(error)) from error
    except (Fenced, Torn) as error:
        raise Unavailable(str(error)) from error
    finally:
        telemetry.stopping()
        router.close()
        server.stop()
    telemetry.stopped({}, drained=True)
    return 0


class Silent(HubError):
    """The client is alive and brings nothing: the process ends, for its keeper to start it again."""


class Router:
    """One slot of the group. Everything but `reasons` and `notes` belongs to one thread."""

    def __init__(
        self,
        settings: Settings,
        slot: int,
        rules: tuple[Rule, ...] | None,
        telemetry: RouterTelemetry,
        stop: threading.Event,
        watchdog: Watchdog,
        *,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """`rules`: those of the settings, which take the place of the registry's. `clock`: seconds since 1970 by this machine."""
        self._settings = settings
        self._telemetry = telemetry
        self._stop = stop
        self._clock = clock
        self._slot = slot
        self._rules = rules
        self._client_id = f"gridhub-router-{slot}"
        self._transactions = Transactions(settings, slot, watchdog)
        self._broker_clock = BrokerClock(settings, slot, Clock(lambda: int(clock() * 1e9)))
        self._member: Member | None = None
        self._around: Surroundings
        self._registry: Versions | None = None
        self._partitions: dict[int, Partition] = {}
        self._waiting: dict[int, Waiting] = defaultdict(Waiting)
        self._asked: dict[int, tuple[int, dict[str, int]]] = {}
        self._rebuild: _Rebuild | None = None
        self._joined = False
        self._more = False
        self._away = ""
        self._clock_off = self._registry_away = False
        self._refused = 0
        self._aborts = 0
        self._next_tick = self._next_probe = self._next_lag = self._next_registry = 0.0
        self._behind_since: dict[tuple[str, int], tuple[int, float]] = {}
        """Where an input ended when it was seen to be behind, and when that was (monotonic)."""
        self._held_back: set[tuple[str, int]] = set()
        self._stood: dict[tuple[str, int], tuple[int, int]] = {}
        """Where an input stands of which Kafka has more, and how many looks in a row, `LAG_S` apart, have found it there."""

    # ---- what others see

    def reasons(self) -> list[str]:
        """Why the process is not ready; asked on the server's thread."""
        rebuild = self._rebuild
        reads = rebuild.reads if rebuild else ""
        why = [
            (bool(self._away), Text(f"Kafka: {self._away}", f"Kafka：{self._away}")),
            (not self._joined, Text("not in the group yet", "尚未加入消费组")),
            (rebuild is not None, Text(f"rebuilding its memory: {reads}", f"正在重建内存状态：{reads}")),
            (self._clock_off, Text("the clock differs from the broker's", "本机时钟与 Kafka 相差过大")),
            (self._stop.is_set(), Text("ending", "正在结束")),
        ]
        return [str(text) for true, text in why if true]

    def notes(self) -> list[str]:
        """What a person must look at though the process is ready: all other towns are served. Asked on the server's thread."""
        towns = sorted(code for one in list(self._partitions.values()) for code in one.quarantined)
        said = [
            Text(
                f"town {code} is in quarantine: gridhub quarantine list", f"乡镇 {code} 已隔离：gridhub quarantine list"
            )
            for code in towns
        ]
        if version := self._refused:
            said.append(
                Text(f"version {version} of the registry cannot be read here", f"此处无法读取登记表第 {version} 版")
            )
        return list(map(str, said))

    # ---- life

    def connect(self) -> None:
        """Waits for Kafka; ends what an earlier life of the slot has left open, and its membership, before the group is joined."""
        bootstrap = self._settings.kafka.bootstrap
        with progress(f"waiting for Kafka at {bootstrap}", f"等待 {bootstrap} 上的 Kafka"):
            while not self._stop.is_set():
                try:
                    if differences := topics.check(self._settings.kafka, within_s=REACH_WITHIN_S):
                        raise Misconfigured("; ".join(differences))
                    self._transactions.renew()
                    if (force := self._first_version()) is None:
                        return
                    put_out_former_lives(self._settings, self._client_id)
                    self._member = Member(self._settings, INPUTS, self._client_id)
                    self._around = Surroundings(force, Wire.load(), partition_of(self._settings), self._slot, 0)
                except Unavailable as error:
                    self._kafka(str(error))
                    self._stop.wait(BACK_OFF_S[1])
                else:
                    self._kafka("")
                    return

    def _first_version(self) -> InForce | None:
        """Waits for a registry: without one a router knows no rule and no person. None when the process was told to stop meanwhile."""
        if self._registry is None:
            self._registry = Versions(self._settings, self._client_id)
        with progress("waiting for a registry (gridhub registry import)", "等待登记表（gridhub registry import）"):
            while not self._stop.is_set():
                if newest := self._registry.newest():
                    return InForce(newest, self._rules)
                self._kafka("")
                self._stop.wait(REGISTRY_S)
        return None

    def run(self) -> None:
        """Works until `stop` is set. Raises UnknownOutcome, Fenced, Torn, Silent, Misconfigured (memory that this version cannot read),
        Unavailable (it cannot go on, though Kafka answers).
        """
        while not self._stop.is_set():
            try:
                self._turn()
            except (Aborted, Unavailable) as error:
                self._recover(error)

    def close(self) -> None:
        """Leaves the group and gives everything up; nothing is under way."""
        if self._rebuild:
            self._rebuild.close()
        if self._member:
            self._member.close()
        if self._registry:
            self._registry.close()
        self._broker_clock.close()
        self._transactions.close()

    def _turn(self) -> None:
        member = self._member
        assert member is not None
        # Never 0: a join makes no progress in polls that give it no time.
        polled = member.poll(BRIEF_POLL_S if (self._rebuild and self._joined) or self._more else POLL_S)
        if polled.moved:
            assignment = member.assignment()
            self._joined = assignment is not None
            if assignment is not None:
                self._assigned(member, assignment)
            return
        for number, records in polled.records.items():
            if number in self._partitions:  # else it is being rebuilt, and read again then
                self._waiting[number].add(records)
        if ready := self._ready(member):
            reached("router.polled")
            self._work(polled, ready)
        self._hold_back(member)
        if self._rebuild:
            self._go_on_rebuilding(member, self._rebuild)
        # By a clock that never jumps: it must be seen that the other one does.
        now = time.monotonic()
        if now >= self._next_probe:
            # Until the first answer no time passes.
            self._next_probe = now + (PROBE_S if self._broker_clock.ahead_s is not None else FIRST_PROBES_S)
            self._broker_clock.ask()
        self._look_at_registry(polled, now)
        if now >= self._next_lag:
            self._next_lag = now + LAG_S
            self._tell_lag(member)
        if now >= self._next_tick:
            self._next_tick = now + self._settings.router.tick_s
            self._ask_ends(member)
        self._pass_time(member, polled)

    def _recover(self, error: Aborted | Unavailable) -> None:
        """Nothing has happened: a new producer, every owned partition back to where it stands, the same again."""
        reason = error.reason if isinstance(error, Aborted) else AbortReason.UNAVAILABLE
        self._telemetry.aborted(reason, str(error))
        if reason is AbortReason.UNAVAILABLE:
            self._kafka(str(error))
        else:
            self._aborts += 1
            if self._aborts > ABORTS_IN_A_ROW:
                raise Unavailable(f"{self._aborts} transactions in a row came to nothing: {error}") from error
        wait_s = BACK_OFF_S[0]
        if self._stop.wait(wait_s) and isinstance(error, Unavailable):
            return  # no transaction was open
        # Once at least, also when the process is ending: it aborts what is open, which would hold up every reader.
        while not self._renewed():
            wait_s = min(2 * wait_s, BACK_OFF_S[1])
            if self._stop.wait(wait_s):
                return
        assert self._member is not None
        self._waiting.clear()
        self._asked.clear()
        self._stood.clear()  # where an input stands from here on says nothing of what it has brought
        for partition in self._partitions.values():
            self._member.go_to(partition.number, partition.next)

    def _renewed(self) -> bool:
        try:
            self._transactions.renew()
        except Unavailable as error:
            self._kafka(str(error))
            return False
        self._kafka("")
        return True

    def _kafka(self, away: str) -> None:
        if away and not self._away:
            self._telemetry.kafka_away(away)
        if self._away and not away:
            self._telemetry.kafka_back()
        self._away = away

    # ---- ownership

    def _assigned(self, member: Member, assignment: Assignment) -> None:
        """Keeps what nobody else can have had meanwhile, and rebuilds the rest."""
        self._telemetry.assigned(assignment.partitions, assignment.generation)
        if self._rebuild:
            self._rebuild.close()
            self._rebuild = None
        generation = self._around.generation
        # A member of both generations, with none between them, was the only owner of what it has in both.
        mine = {} if assignment.lost or assignment.generation != generation + 1 else self._partitions
        self._telemetry.given_away(self._partitions.keys() - assignment.partitions)
        self._behind_since.clear()  # others may have read on since
        self._stood.clear()
        self._around = replace(self._around, generation=assignment.generation)
        self._partitions = {number: one for number, one in mine.items() if number in assignment.partitions}
        self._waiting.clear()
        self._asked.clear()
        for partition in self._partitions.values():
            member.go_to(partition.number, partition.next)
        if new := assignment.partitions - self._partitions.keys():
            self._rebuild = _Rebuild(new)
        self._hold_back(member)

    def _go_on_rebuilding(self, member: Member, rebuild: "_Rebuild") -> None:
        try:
            complete = rebuild.go_on(self._settings, member, self._client_id)
        except Unavailable:
            self._listen_to(rebuild)
            raise
        if not complete:
            self._listen_to(rebuild)
            return
        for partition in rebuild.partitions(self._settings, self._around, self._telemetry):
            self._partitions[partition.number] = partition
            member.go_to(partition.number, partition.next)
        self._telemetry.rebuilt(rebuild.numbers, rebuild.entries, rebuild.seconds)
        rebuild.close()
        self._rebuild = None
        reached("rebuild.done")

    def _listen_to(self, rebuild: "_Rebuild") -> None:
        """Raises Silent where nothing has come of a rebuild for too long and other clients are told; Unavailable where they cannot ask."""
        limit_s = REBUILD_SILENT_S + self._settings.router.transaction_timeout_ms / 1000
        if not self._stop.is_set() and rebuild.is_silent(limit_s, self._settings, self._client_id):
            raise Silent(
                str(
                    Text(
                        f"nothing has come of {rebuild.reads} for over {limit_s:g} s, and other clients are told at once",
                        f"{rebuild.reads} 已有 {limit_s:g} 秒以上没有读到数据，而其他客户端可立即读到",
                    )
                )
            )

    # ---- work

    def _ready(self, member: Member) -> dict[int, list[Arrived]]:
        """What may be applied now, as much as one transaction takes; the partitions take turns."""
        left = self._settings.router.max_records
        found: dict[int, list[Arrived]] = {}
        for number, waiting in list(self._waiting.items()):
            if left and waiting and self._adopted(number) and (records := waiting.take(member.behind(number), left)):
                found[number] = records
                left -= len(records)
                self._waiting[number] = self._waiting.pop(number)  # next time the others go first
        self._more = not left
        return found

    def _hold_back(self, member: Member) -> None:
        """Reads no more of what waits for other inputs than memory should hold, and nothing of what is being rebuilt."""
        rebuilt = self._rebuild.numbers if self._rebuild else ()
        paused = {(topic, number) for topic in INPUTS for number in rebuilt}
        for number, waiting in self._waiting.items():
            if len(waiting) > MOST_WAITING:
                paused |= {(topic, number) for topic in waiting.ahead(member.behind(number))}
        member.pause_only(paused)
        self._held_back = paused

    def _work(self, polled: Polled, records: Mapping[int, Sequence[Arrived]]) -> None:
        """All of it in one transaction; where one record makes that impossible, in as many as it takes to find it."""
        try:
            self._transact(polled, records)
        except Poison as poison:
            self._apart(polled, records, poison.arrived)
        except Aborted as error:
            # The broker refuses a record and does not say which.
            if error.reason is not AbortReason.REFUSED:
                raise
            self._telemetry.aborted(error.reason, str(error))
            self._transactions.renew()
            every = _in_order(records)
            self._apart(polled, records, every[len(every) // 2])

    def _apart(self, polled: Polled, records: Mapping[int, Sequence[Arrived]], one: Arrived) -> None:
        """What precedes the record, the record, what follows it. Alone, it is kept in the dead letters."""
        every = _in_order(records)
        if len(every) == 1:
            self._transact(polled, records, poisoned=True)
            return
        place = every.index(one)
        # A refused batch is halved; a record that fails by itself is alone at once.
        for some in (every[:place], every[place : place + 1], every[place + 1 :]):
            if some:
                self._work(polled, _by_partition(some))

    def _transact(
        self,
        polled: Polled,
        records: Mapping[int, Sequence[Arrived]],
        *,
        poisoned: bool = False,
        tick_at: Mapping[int, int] = NO_TICKS,
    ) -> None:
        """One transaction. `tick_at`: at which time a partition's towns get their tick. Raises Poison, Aborted, Fenced, UnknownOutcome."""
        now = int(self._clock() * 1000)
        steps = []
        for number, some in records.items():
            partition = self._partitions[number]
            at, ticks = tick_at.get(number, now), None if number in tick_at else ()
            step = partition.apply(some, at, self._around, poisoned=poisoned, ticks=ticks)
            if some or step.ticks or step.adopted or step.failed:
                steps.append((partition, step))
        if not steps:
            return
        outgoing = [one for _, step in steps for one in step.outgoing]
        offsets = {(topic, step.partition): offset for _, step in steps for topic, offset in step.next.items()}
        if not offsets:
            # Only time has passed, or a new registry has come. The offsets are committed all the same: with them the broker checks that the partitions are still ours.
            offsets = {
                (topic, number): offset for number in records for topic, offset in self._partitions[number].next.items()
            }
        reached("router.decided")
        self._transactions.commit(outgoing, offsets, polled.group)
        self._aborts = 0
        self._kafka("")
        self._telemetry.committed()
        for partition, step in steps:
            partition.adopt(step)
            reached("router.adopted")
            self._tell(step)
            for town, trace in step.failed.items():
                self._telemetry.quarantined(step.partition, town, trace)
            self._telemetry.in_quarantine(step.partition, len(partition.quarantined))

    def _tell(self, step: Step) -> None:
        now = self._clock()
        for result in step.applied:
            self._telemetry.applied(result)
        for topic in step.forwarded:
            self._telemetry.forwarded(topic)
        for reason in step.letters:
            self._telemetry.dead_lettered(reason, step.partition)
        for decision, accepted_at in step.decisions:
            self._telemetry.decided(decision, None if accepted_at is None else now - accepted_at / 1000)

    # ---- the registry

    def _look_at_registry(self, polled: Polled, now: float) -> None:
        """Takes a newer version, if there is one, for whatever is decided from now on.

        One partition a turn is brought under it, alone, and what has come for it waits until then: every open ticket of it may move, and those of
        all partitions at once would be more than a transaction has time for.
        """
        assert self._registry is not None
        if now >= self._next_registry:
            self._next_registry = now + REGISTRY_S
            self._clocks_agree()
            # Who is on duty is asked by this machine's clock: while it is wrong, the version in force stays.
            if not self._clock_off:
                self._look_for_version(self._registry)
        versions = self._around.force.versions
        for number in self._partitions:
            if not self._adopted(number):
                self._transact(polled, {number: []})
                reached("router.version.adopted")
                self._telemetry.adopted(number, {one.name: one.version for one in versions})
                return

    def _look_for_version(self, registry: Versions) -> None:
        """While nobody can say whether there is a newer one, the one in force stays; nothing that was read is given back for it."""
        try:
            newest = registry.newest()
        except Unavailable as error:
            if not self._registry_away:
                self._telemetry.registry_away(str(error))
            self._registry_away = True
            self._next_registry = time.monotonic() + REGISTRY_AWAY_S
            return
        self._registry_away = False
        if registry.refused != self._refused:
            self._refused = registry.refused
            if self._refused:
                self._telemetry.registry_refused(self._refused)
        if newest is not None and newest.version != self._around.force.version:
            self._around = replace(self._around, force=InForce(newest, self._rules))
            reached("router.version.seen")

    def _adopted(self, number: int) -> bool:
        """Whether a partition's towns are under what is in force, and its journal tells which are in quarantine."""
        partition = self._partitions.get(number)
        return partition is None or partition.settled(self._around.force.versions)

    # ---- time

    def _ask_ends(self, member: Member) -> None:
        """Where the inputs end now, for each partition that has something due: its tick comes when it has been read up to there."""
        if not self._clocks_agree():
            return
        now = int(self._clock() * 1000)
        due = [number for number, one in self._partitions.items() if one.due(now) and number not in self._asked]
        if due:
            self._asked |= {number: (now, ends) for number, ends in member.ends(due).items()}

    def _pass_time(self, member: Member, polled: Polled) -> None:
        """A tick for every partition that has been read to where it ended when it was asked, at that moment's time."""
        read = {
            number: at
            for number, (at, ends) in self._asked.items()
            if ends.keys() == set(INPUTS)
            and self._adopted(number)
            and all(member.position(topic, number) >= end for topic, end in ends.items())
            and ((oldest := self._waiting[number].oldest) is None or oldest > at)
        }
        if read:
            self._transact(polled, {number: [] for number in read}, tick_at=read)
            for number in read:
                del self._asked[number]

    def _clocks_agree(self) -> bool:
        ahead_s = self._broker_clock.ahead_s
        if ahead_s is None:
            return False  # not asked yet: it is soon
        off = abs(ahead_s) > CLOCKS_DIFFER_S
        if off and not self._clock_off:
            self._telemetry.clock_off(ahead_s)
            self._next_probe = 0.0  # a machine that slept has a right clock, and the answer says so
        if self._clock_off and not off:
            self._telemetry.clock_right(ahead_s)
        self._clock_off = off
        return not off

    def _tell_lag(self, member: Member) -> None:
        now = time.monotonic()
        found = member.ends(self._partitions.keys())
        self._kafka("")
        for number, ends in found.items():
            for topic, end in ends.items():
                waiting = self._waiting[number].count(topic)
                position = member.position(topic, number)
                behind = max(0, end - position) + waiting
                then, since = self._behind_since.pop((topic, number), (end, now))
                # What waited then is done: under steady traffic something always waits, but never long.
                if position - waiting >= then:
                    then, since = end, now
                if behind:
                    self._behind_since[topic, number] = then, since
                self._telemetry.lag(topic, number, behind, now - since)
                self._listen(topic, number, position, end)

    def _listen(self, topic: str, number: int, position: int, end: int) -> None:
        """Raises Silent where nothing has come of an input for too long."""
        stood, looks = self._stood.pop((topic, number), (-1, 0))
        if position >= end or (topic, number) in self._held_back:
            return
        looks = looks + 1 if stood == position else 0
        if looks * LAG_S >= SILENT_S:
            raise Silent(
                str(
                    Text(
                        f"nothing has come of {topic}/{number} for {looks * LAG_S:g} s, though Kafka has more and answers",
                        f"{topic}/{number} 已有 {looks * LAG_S:g} 秒没有读到数据，而 Kafka 有应答且仍有未读记录",
                    )
                )
            )
        self._stood[topic, number] = position, looks


def _in_order(records: Mapping[int, Sequence[Arrived]]) -> list[Arrived]:
    return [arrived for some in records.values() for arrived in merged(some)]


def _by_partition(records: Collection[Arrived]) -> dict[int, list[Arrived]]:
    found: dict[int, list[Arrived]] = {}
    for arrived in records:
        found.setdefault(arrived.partition, []).append(arrived)
    return found


class _Rebuild:
    """What is remembered of partitions, read from the changelog piece by piece.

    First the group's offsets, once no transaction is open on them; then where the changelog ends, open transactions included; then the
    committed records up to there. In this order nothing that the offsets leave behind can be missing.
    """

    def __init__(self, numbers: Collection[int]) -> None:
        self.numbers = frozenset(numbers)
        self._since = self._began = time.monotonic()
        """When it came on last, or others were asked."""
        self._suspected = False
        """Others were told, and nothing has come since."""
        self.reads: str = Member.GROUP
        """The topic or the group, and of which partitions."""
        self._offsets: dict[int, dict[str, int]] = {}
        self._whole: Whole | None = None
        self._last: dict[int, dict[bytes | None, bytes]] = {number: {} for number in self.numbers}

    @property
    def entries(self) -> int:
        """How many are remembered."""
        return sum(map(len, self._last.values()))

    @property
    def seconds(self) -> float:
        """Since it began."""
        return time.monotonic() - self._began

    def go_on(self, settings: Settings, member: Member, client_id: str) -> bool:
        """Reads for about 100 ms; True when it is complete. Raises Unavailable."""
        for number in sorted(self.numbers - self._offsets.keys()):
            offsets = member.committed(number)
            if offsets is None:
                self.reads = f"{Member.GROUP}/{number}"
                return False  # a transaction of the last owner is not decided yet
            self._offsets[number] = offsets
            self._comes_on()
        if self._whole is None:
            reached("rebuild.offsets")
            self.reads = f"{ROUTER_STATE}/{', '.join(map(str, sorted(self.numbers)))}"
            self._whole = Whole(settings, [ROUTER_STATE], client_id, self.numbers)
        until = time.monotonic() + REBUILD_PART_S
        while not self._whole.complete():
            for arrived in self._whole.read(REBUILD_PART_S):
                self._comes_on()
                last = self._last[arrived.partition]
                if arrived.value is None:
                    last.pop(arrived.key, None)
                else:
                    last[arrived.key] = arrived.value
                reached("rebuild.reading")
            if time.monotonic() >= until:
                return False
        return True

    def _comes_on(self) -> None:
        self._since, self._suspected = time.monotonic(), False

    def is_silent(self, limit_s: float, settings: Settings, client_id: str) -> bool:
        """Whether nothing has come for so long and other clients are told what this one waits for, twice. Raises Unavailable where they cannot ask.

        Whatever the answer is: Kafka that is away, or has it undecided, is waited for, and others ask again after as long.
        """
        if time.monotonic() - self._since <= limit_s:
            return False
        self._since = time.monotonic()
        if not self._others_are_told(settings, client_id):
            self._suspected = False
            return False
        if not self._suspected:
            self._suspected = True
            self._since = time.monotonic() - limit_s + OTHERS_AGAIN_S
            return False
        return True

    def _others_are_told(self, settings: Settings, client_id: str) -> bool:
        """Whether Kafka tells a new client what this rebuild waits for. Raises Unavailable."""
        if waits := self.numbers - self._offsets.keys():
            return not undecided(settings, INPUTS, min(waits), client_id)
        # Where it was never made, each try has been a new client.
        return self._whole is not None and not self._whole.held_up()

    def partitions(self, settings: Settings, around: Surroundings, telemetry: RouterTelemetry) -> list[Partition]:
        """What was there; a town of which an entry cannot be read is in quarantine. Raises Misconfigured where another program can read it, and
        Unavailable.
        """
        made = []
        for number, last in self._last.items():
            found = look(number, last, around.wire, around.partition_of)
            # Misconfigured, not Unavailable, after which the same would be tried again and again: it takes another program, so a person.
            sound(found, number, settings, around.wire, self._offsets[number])
            for town, why in found.unreadable.items():
                telemetry.quarantined(number, town, "; ".join(why.values()))
            if found.strange:
                telemetry.passed_over(number, len(found.strange))
            telemetry.in_quarantine(number, len(found.unreadable))
            made.append(found.partition(self._offsets[number]))
        return made

    def close(self) -> None:
        """Ends reading."""
        if self._whole:
            self._whole.close()
