"""The router's side of Kafka: its place in the consumer group, its transactions, and the reading of whole partitions.

The rules it keeps, each for a fault of kafka-python 3.0.12 that was seen (letters as in `tests/faults/test_transactions.py`):

- A: a transaction commits although a batch of it was given up. Flush and look at every future before offsets and commit.
- B: a commit is called done although the broker has aborted. With nothing in flight at the commit, the guard of A sees it.
- C: offsets of an aborted transaction go along with the next one. After any failure the producer is thrown away with what it remembers.
- D: commit, abort and sending offsets wait without limit. A watchdog ends the process; abort is never called.
- F: closing leaves the transaction open. `init_transactions` of a new producer aborts it: at once after a failure, at the next start
  after a kill.
- J: a rebalance goes on behind a poll that has returned, and a membership is lost behind one that waits. The group's state is taken
  together with the records, both are dropped when anything has changed meanwhile, and nothing is ours until a join has come to its end.
- O: offsets or a commit that a coordinator is to be told is forgotten where it cannot be connected to. `Clients` makes a client that does not
  raise there; else each broker that dies would cost what D has as its limit, and a commit that others could still have made whole.

Whatever fails before `commit_transaction()` is called has not happened. Whatever fails in it is not known to have: the process ends, and
the next one begins from what Kafka has (KIP-98, KIP-447).
"""

import contextlib
import os
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from kafka import ConsumerRebalanceListener, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import MemberToRemove
from kafka.coordinator.assignors.range import RangePartitionAssignor
from kafka.errors import (
    CommitFailedError,
    KafkaError,
    KafkaTimeoutError,
    MessageSizeTooLargeError,
    ProducerFencedError,
    RecordListTooLargeError,
    RetriableError,
)
from kafka.structs import OffsetAndMetadata

from hub.clock import Clock
from hub.command import UNAVAILABLE, UNKNOWN_OUTCOME
from hub.core.errors import AbortReason, HubError, Unavailable, UnknownOutcome
from hub.kafka_log import Clients, discard, home, position, told
from hub.lang import Text
from hub.partition import HANDED_OVER, Arrived, Outgoing
from hub.points import reached
from hub.settings import Settings
from hub.topics import asked

MAX_RECORD_BYTES = 2 * 1024 * 1024
FLUSH_WITHIN_S = 15.0
# An orderly end may have to wait for one of each: together with what is closed then, within 10 s.
REACH_WITHIN_S = 3.0
ASK_WITHIN_S, ASK_WITHIN_MS, ASK_ENDS_EVERY_S = 4.0, 4000, 0.5
FETCH_WAIT_MS = 100
FETCH_BYTES = 64 * 1024
"""What one fetch brings of a partition. The library hands out one fetch after the other: a town waits for what was fetched of another partition before
it, and of the library's own mebibyte, compressed, that was 11,000 alerts and 6 s.
"""
STABLE_WITHIN_MS = 500
READ_S = 0.5
LIFE_SIGNS = "life-signs"
NO_GENERATION = -1

Records = Mapping[int, list[Arrived]]


class Aborted(HubError):
    """The transaction has not happened; a new one may."""

    def __init__(self, reason: AbortReason, detail: object) -> None:
        super().__init__(f"{reason}: {detail}")
        self.reason = reason


class Fenced(HubError):
    """Another router works in this slot: the process ends."""


class Torn(HubError):
    """The assignment is not the same partitions of every input: the process ends."""


class Watchdog:
    """Ends the process when a call that has no limit of its own takes too long, or its end does."""

    def __init__(self, end: Callable[[int, str], None] | None = None) -> None:
        """`end`: what to do with the exit code and the sentence; by default both are said and the process is gone at once."""
        self._end = end or _end_process
        self._changed = threading.Condition()
        self._deadlines: dict[bool, tuple[float, int, str]] = {}
        """Of the call, and of all there is (`True`)."""
        threading.Thread(target=self._watch, name="watchdog", daemon=True).start()

    @contextmanager
    def within(self, limit_s: float, code: int, what: str) -> Iterator[None]:
        """The body gets so many seconds; then the process ends with this code."""
        self._set(False, limit_s, code, what)
        try:
            yield
        finally:
            with self._changed:
                self._deadlines.pop(False, None)

    def all_within(self, limit_s: float, code: int, what: str) -> None:
        """The process gets so many seconds, whatever it does; then it ends with this code."""
        self._set(True, limit_s, code, what)

    def _set(self, is_all: bool, limit_s: float, code: int, what: str) -> None:
        sentence = f"{what} has not come to an end within {limit_s:g} s"
        deadline = time.monotonic() + limit_s, code, sentence
        with self._changed:
            # The end of all has one already where it was asked for, and comes no later for another reason.
            self._deadlines[is_all] = min(deadline, self._deadlines.get(is_all, deadline)) if is_all else deadline
            self._changed.notify()

    def _watch(self) -> None:
        with self._changed:
            while True:
                first = min(self._deadlines.items(), key=lambda each: each[1], default=None)
                left_s = first and first[1][0] - time.monotonic()
                if first and left_s is not None and left_s <= 0:
                    _, code, sentence = self._deadlines.pop(first[0])
                    self._end(code, sentence)
                else:
                    self._changed.wait(left_s)


def _end_process(code: int, sentence: str) -> None:
    print(f'{{"event": "watchdog", "level": "critical", "why": "{sentence}"}}', file=sys.stderr, flush=True)
    os._exit(code)


class Transactions:
    """One transaction after the other, by one transactional id; the object of one slot, fenced by the next of the same slot."""

    def __init__(
        self, settings: Settings, slot: int, watchdog: Watchdog, *, limit_s: float = 20.0, name: str = ""
    ) -> None:
        """Does not connect yet: `renew` does. `limit_s`: for each call of the library that has no limit of its own. `name`: of who is no router."""
        self._settings = settings
        self._id = name or f"gridhub-router-{slot}"
        self._watchdog = watchdog
        self._limit_s = limit_s
        self._producer: Any = None

    def renew(self) -> None:
        """A new producer, which ends whatever its predecessors left open. Raises Unavailable, Fenced."""
        if self._producer is not None:
            discard(self._producer)
            self._producer = None
        timeout_ms = self._settings.router.transaction_timeout_ms
        clients = Clients()
        try:
            producer = KafkaProducer(
                kafka_client=clients.make,
                bootstrap_servers=self._settings.kafka.bootstrap,
                client_id=self._id,
                transactional_id=self._id,
                transaction_timeout_ms=timeout_ms,
                acks="all",
                compression_type="lz4",
                linger_ms=0,
                batch_size=131072,
                max_request_size=MAX_RECORD_BYTES,
                # The broker gives a transaction up before the client gives a batch up.
                delivery_timeout_ms=2 * timeout_ms,
                request_timeout_ms=min(10_000, timeout_ms),
                # The pause before the coordinator is asked again right after a commit: 100 ms of the default would be most of the latency.
                retry_backoff_ms=10,
                reconnect_backoff_max_ms=1000,
                bootstrap_timeout_ms=int(REACH_WITHIN_S * 1000),
                max_block_ms=int(ASK_WITHIN_S * 1000),
                allow_auto_create_topics=False,
            )
        except KafkaError as error:
            clients.close()
            raise Unavailable(f"no broker answers at {self._settings.kafka.bootstrap}: {error}") from None
        try:
            producer.init_transactions()
        except ProducerFencedError as error:
            discard(producer)
            raise Fenced(str(error)) from None
        except KafkaError as error:
            discard(producer)
            raise Unavailable(f"no transactions at {self._settings.kafka.bootstrap}: {error}") from None
        self._producer = producer

    def commit(self, outgoing: Sequence[Outgoing], offsets: Mapping[tuple[str, int], int], group: object) -> None:
        """Writes all of it and the offsets (the next ones to read) or nothing.

        `group`: what `Member.poll` gave with the records; None: of no group, there are no offsets. Raises Aborted and Fenced, after which nothing has happened and `renew` must be
        called, and UnknownOutcome.
        """
        producer = self._producer
        futures: list[Any] = []
        try:
            producer.begin_transaction()
            reached("router.begun")
            for one in outgoing:
                headers = list(one.headers)
                futures.append(
                    producer.send(one.topic, one.value, one.key, headers, partition=one.partition, timestamp_ms=one.at)
                )
                reached("router.sent")
            producer.flush(FLUSH_WITHIN_S)
            _delivered(futures)
            reached("router.flushed")
            if group is not None:
                with self._watchdog.within(self._limit_s, UNAVAILABLE, "sending offsets"):
                    producer.send_offsets_to_transaction(
                        {TopicPartition(*key): OffsetAndMetadata(offset, "", -1) for key, offset in offsets.items()},
                        group,
                    )
        except (KafkaError, ValueError) as error:
            # Not aborted here, where it would wait without limit for a broker that is away: the next `init_transactions` does it.
            raise _why([error, *(future.exception for future in futures if future.is_done)]) from error
        reached("router.offsets")
        try:
            with self._watchdog.within(self._limit_s, UNKNOWN_OUTCOME, "the commit"):
                producer.commit_transaction()
        except KafkaError as error:
            raise UnknownOutcome(
                str(Text(f"did the last commit happen? ({error})", f"无法确定最后一次提交是否完成（{error}）"))
            ) from error
        reached("router.committed")

    def close(self) -> None:
        """Gives the producer up. No transaction is open then: `commit` leaves none."""
        if self._producer is not None:
            discard(self._producer)
            self._producer = None


def _delivered(futures: Collection[Any]) -> None:
    for future in futures:
        if not future.succeeded():
            raise future.exception or KafkaError("not delivered")


def _why(errors: Sequence[Exception | None]) -> HubError:
    """The first of `errors` is the one that was raised. A record that was too large makes what follows it fail in other words."""
    for one in errors:
        # What is called after the producer was fenced fails with a plain error that only holds the reason. A new producer would fence the
        # other router in turn.
        if any(isinstance(cause, ProducerFencedError) for cause in (one, *getattr(one, "args", ()))):
            return Fenced(str(one))
    error = next(
        (one for one in errors if isinstance(one, MessageSizeTooLargeError | RecordListTooLargeError)), errors[0]
    )
    match error:
        case MessageSizeTooLargeError() | RecordListTooLargeError():
            return Aborted(AbortReason.REFUSED, error)
        case CommitFailedError():
            return Aborted(AbortReason.REBALANCED, error)
        case RetriableError():
            return Aborted(AbortReason.UNAVAILABLE, f"{type(error).__name__} {error}")
    return Aborted(AbortReason.OTHER, f"{type(error).__name__} {error}")


@dataclass(frozen=True, slots=True)
class Polled:
    """What a poll gave. `group`: the membership the records were read under. `moved`: partitions came or went; no records then."""

    records: Records
    group: Any
    moved: bool


@dataclass(frozen=True, slots=True)
class Assignment:
    """Which partitions are ours, and since which generation; `lost`: the membership was lost since the last one."""

    partitions: frozenset[int]
    generation: int
    lost: bool


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc]
    """Counts; runs on the library's own thread, which must never wait."""

    def __init__(self) -> None:
        self.changes = 0
        self.losses = 0
        self.joined = False
        """The last join has come to its end, and no other has begun."""

    def on_partitions_revoked(self, _revoked: object) -> None:
        self.joined = False
        self.changes += 1

    def on_partitions_assigned(self, _assigned: object) -> None:
        self.joined = True
        self.changes += 1

    def on_partitions_lost(self, _lost: object) -> None:
        self.joined = False
        self.losses += 1
        self.changes += 1


def put_out_former_lives(settings: Settings, client_id: str) -> int:
    """Puts those out of the group who bear a client's name, and returns how many: lives of a slot before this one, which can commit nothing any more
    once `Transactions.renew` has fenced them. The group would wait for one that was killed until its session is over. Raises Unavailable.
    """
    with asked(settings.kafka, ASK_WITHIN_S, client_id) as admin:
        members = admin.describe_groups([Member.GROUP])[Member.GROUP]["members"]
        former = [MemberToRemove(member_id=one["member_id"]) for one in members if one["client_id"] == client_id]
        if former:
            admin.remove_group_members(Member.GROUP, former)
    return len(former)


def undecided(settings: Settings, topics: Collection[str], partition: int, client_id: str) -> bool:
    """Whether a transaction on the group's offsets of a partition is not decided, as a client is told that is new. Raises Unavailable."""
    consumer = _of_the_group(settings, client_id)
    try:
        return _offsets(consumer, topics, partition, ASK_WITHIN_MS // len(topics)) is None
    finally:
        with contextlib.suppress(KafkaError):
            consumer.close(autocommit=False)


class Member:
    """The router's membership in the group `gridhub-router`, and what it reads as one."""

    GROUP = "gridhub-router"

    def __init__(self, settings: Settings, topics: Collection[str], client_id: str) -> None:
        """Connects; the first polls join. Raises Unavailable."""
        self._topics = tuple(topics)
        self._listener = _Listener()
        self._seen_changes = self._seen_losses = 0
        self._generation = NO_GENERATION
        self._asked_ends: Mapping[TopicPartition, int] = {}
        self._ask_ends_at = 0.0
        self._consumer = _of_the_group(settings, client_id)
        try:
            for topic in topics:
                # A member that joins before it knows the partitions is given none, and a second round follows.
                self._consumer.partitions_for_topic(topic)
        except KafkaError as error:
            self.close()
            raise Unavailable(f"the partitions of the inputs: {error}") from error
        self._consumer.subscribe(list(topics), listener=self._listener)

    def poll(self, wait_s: float) -> Polled:
        """Records by partition, and the membership they were read under. Raises Unavailable."""
        if not self._listener.joined:
            # The leader joins again when the topics' partitions are told anew. Its own assignment, made on the library's thread behind a poll
            # that has returned, takes that reason away; nobody would take the join's result: no partitions, no heartbeats, for good.
            self._consumer._coordinator.request_rejoin()  # noqa: SLF001 - what the library has no other word for
        try:
            batches = self._consumer.poll(timeout_ms=int(wait_s * 1000))
            group = self._consumer.group_metadata()
        except KafkaError as error:
            raise Unavailable(str(error)) from error
        # A heartbeat that says the membership is lost takes the generation at once and tells the listener later. Without a generation the
        # broker takes offsets from anyone.
        if self._listener.changes != self._seen_changes or group.generation_id != self._generation:
            return Polled({}, group, moved=True)
        records: dict[int, list[Arrived]] = {}
        for one in batches.values():
            for record in one:
                records.setdefault(record.partition, []).append(_arrived(record))
        return Polled(records, group, moved=False)

    def assignment(self) -> Assignment | None:
        """What is ours now; None while the group is being rebalanced. Raises Torn."""
        changes, losses = self._listener.changes, self._listener.losses
        owned = self._consumer.assignment()
        generation = self._consumer.group_metadata().generation_id
        numbers = {topic: frozenset(one.partition for one in owned if one.topic == topic) for topic in self._topics}
        # While a join is under way, what we had is still told beside a generation that may be the new one.
        if not self._listener.joined or changes != self._listener.changes or generation == NO_GENERATION:
            return None
        if len(set(numbers.values())) > 1:
            raise Torn(f"the partitions of the inputs differ: { {topic: sorted(n) for topic, n in numbers.items()} }")
        lost, self._seen_losses = losses != self._seen_losses, losses
        self._seen_changes, self._generation = changes, generation
        self._ask_ends_at = 0.0
        return Assignment(next(iter(numbers.values())), generation, lost)

    def committed(self, partition: int) -> dict[str, int] | None:
        """The group's stable offsets, the next ones to read (0: none yet); None while a transaction on them is not decided."""
        return _offsets(self._consumer, self._topics, partition, STABLE_WITHIN_MS)

    def go_to(self, partition: int, offsets: Mapping[str, int]) -> None:
        """The next poll begins there."""
        for topic, offset in offsets.items():
            # ValueError: taken away meanwhile, and the next poll says so.
            with contextlib.suppress(KafkaError, ValueError):
                self._consumer.seek(TopicPartition(topic, partition), offset)

    def pause_only(self, places: Collection[tuple[str, int]]) -> None:
        """Nothing is given out of these inputs (topic, partition), and of all others again."""
        paused, owned = self._consumer.paused(), self._consumer.assignment()
        wanted = {place for place in (TopicPartition(*one) for one in places) if place in owned}
        if wanted - paused:
            self._consumer.pause(*wanted - paused)
        if paused - wanted:
            self._consumer.resume(*paused - wanted)

    def behind(self, partition: int) -> set[str]:
        """The inputs that are not read to their end, as far as the broker has told; `handed-over` never is.

        What is handed over comes late in any case, and its open transactions would hold up all the others.
        """
        found = set()
        for topic in self._topics:
            place = TopicPartition(topic, partition)
            try:
                end = self._consumer.highwater(place)
                if end is None:
                    end = self._asked_end(place)
                at_end = end is not None and position(self._consumer, place, 1) >= end
            except (KafkaError, AssertionError):
                at_end = False  # taken away meanwhile: the next poll says so
            if not at_end and topic != HANDED_OVER:
                found.add(topic)
        return found

    def _asked_end(self, place: TopicPartition) -> int | None:
        """Where an input ends of which no answer to a fetch has told that; all such are asked for at once, now and then. None where nobody answers.

        The library drops an answer that comes while its partition is paused or has been sought, and with it where that ends. Within a fetch
        session (KIP-227) the broker tells it once and then only what is new: of an input in which nothing happens, never.
        """
        if time.monotonic() >= self._ask_ends_at:
            self._asked_ends = {}
            unknown = [each for each in self._consumer.assignment() if self._consumer.highwater(each) is None]
            try:
                self._asked_ends = told(self._consumer.end_offsets, unknown, ASK_WITHIN_MS)
            finally:
                # From the answer on: one that does not come takes longer than the pause, and is not waited for once for each input.
                self._ask_ends_at = time.monotonic() + ASK_ENDS_EVERY_S
        return self._asked_ends.get(place)

    def ends(self, partitions: Collection[int]) -> dict[int, dict[str, int]]:
        """Where the inputs end now, as far as it is committed; asks the broker. Raises Unavailable."""
        places = self._places(partitions)
        try:
            ends = told(self._consumer.end_offsets, places, ASK_WITHIN_MS)
        except KafkaError as error:
            raise Unavailable(f"the ends of the inputs: {error}") from error
        found: dict[int, dict[str, int]] = {number: {} for number in partitions}
        for place, end in ends.items():
            found[place.partition][place.topic] = end
        return found

    def position(self, topic: str, partition: int) -> int:
        """The next offset that a poll will give."""
        try:
            return position(self._consumer, TopicPartition(topic, partition), int(ASK_WITHIN_S * 1000))
        except KafkaError as error:
            raise Unavailable(str(error)) from error

    def close(self) -> None:
        """Leaves the group at once."""
        with contextlib.suppress(KafkaError):
            self._consumer.close(autocommit=False, timeout_ms=2000)

    def _places(self, partitions: Collection[int]) -> list[TopicPartition]:
        owned = self._consumer.assignment()
        wanted = (TopicPartition(topic, number) for topic in self._topics for number in partitions)
        return [place for place in wanted if place in owned]


class Whole:
    """Reads topics from their beginning to where they end now, committed records only.

    `begins`: the first offset of each topic and partition that is still there.
    """

    def __init__(
        self,
        settings: Settings,
        topics: Collection[str],
        client_id: str,
        partitions: Collection[int] | None = None,
        *,
        last: int | None = None,
    ) -> None:
        """Connects and asks where they end, counting what is not committed yet: nothing older comes later. `partitions`: else all. `last`: only so
        many offsets before the end of each.

        Raises Unavailable.
        """
        self._settings, self._client_id, self._topics = settings, client_id, tuple(topics)
        with self._asking(isolation_level="read_uncommitted") as raw:
            places = [
                TopicPartition(topic, number)
                for topic in topics
                for number in (partitions if partitions is not None else sorted(raw.partitions_for_topic(topic) or ()))
            ]
            raw.assign(places)
            self._ends = told(raw.end_offsets, places, ASK_WITHIN_MS)
            begins = told(raw.beginning_offsets, places, ASK_WITHIN_MS)
        self.begins = {(place.topic, place.partition): offset for place, offset in begins.items()}
        self._consumer = _consumer(settings, group_id=None, client_id=client_id, max_poll_records=5000)
        self._consumer.assign(places)
        self._consumer.seek_to_beginning(*places)
        for place in places if last is not None else ():
            self._consumer.seek(place, max(begins[place], self._ends[place] - (last or 0)))

    def all(self) -> Iterator[Arrived]:
        """Every record, each partition's in order; then it is closed. Raises Unavailable."""
        try:
            while not self.complete():
                yield from self.read(READ_S)
        finally:
            self.close()

    def read(self, wait_s: float) -> Iterator[Arrived]:
        """Some more of them. Raises Unavailable."""
        try:
            batches = self._consumer.poll(timeout_ms=int(wait_s * 1000))
        except KafkaError as error:
            raise Unavailable(str(error)) from error
        for records in batches.values():
            yield from map(_arrived, records)

    def complete(self) -> bool:
        """Whether the ends are reached."""
        try:
            return all(
                position(self._consumer, place, int(ASK_WITHIN_S * 1000)) >= end for place, end in self._ends.items()
            )
        except KafkaError as error:
            raise Unavailable(str(error)) from error

    def held_up(self) -> bool:
        """Whether a transaction that is not decided lies before an end, as a client is told that is new. Raises Unavailable."""
        places, found = list(self._ends), []
        for isolation in ("read_committed", "read_uncommitted"):
            with self._asking(isolation_level=isolation) as other:
                other.assign(places)
                found.append(told(other.end_offsets, places, ASK_WITHIN_MS))
        stable, lying = found
        # A log that was cut since then never comes up to where it ended.
        return any(stable[place] < min(end, lying[place]) for place, end in self._ends.items())

    @contextlib.contextmanager
    def _asking(self, **special: Any) -> Iterator[Any]:
        """A client of its own for a question. Raises Unavailable."""
        consumer = _consumer(self._settings, group_id=None, client_id=self._client_id, **special)
        try:
            yield consumer
        except KafkaError as error:
            raise Unavailable(f"the ends of {', '.join(self._topics)}: {error}") from error
        finally:
            with contextlib.suppress(KafkaError):
                consumer.close(autocommit=False)

    def close(self) -> None:
        """Ends reading."""
        with contextlib.suppress(KafkaError):
            self._consumer.close(autocommit=False)


def _offsets(consumer: Any, topics: Collection[str], partition: int, within_ms: int) -> dict[str, int] | None:
    """The stable offsets of a consumer's group; None where they are not told in time, each. Raises Unavailable."""
    offsets = {}
    for topic in topics:
        try:
            offset = consumer.committed(TopicPartition(topic, partition), timeout_ms=within_ms)
        except KafkaTimeoutError:
            return None
        except KafkaError as error:
            raise Unavailable(f"the group's offsets: {error}") from error
        offsets[topic] = offset or 0
    return offsets


def partition_of(settings: Settings) -> Callable[[str], int]:
    """Where a town's records belong."""
    count = settings.kafka.partitions
    return lambda town: home(town, count)


class BrokerClock:
    """How far this machine's clock is from the broker's: a record on `life-signs`, whose time the broker gives."""

    def __init__(self, settings: Settings, slot: int, clock: Clock) -> None:
        """`clock`: this machine's, which hears the answers."""
        self._settings = settings
        self._slot = slot
        self._clock = clock
        self._producer: Any = None

    @property
    def ahead_s(self) -> float | None:
        """Seconds this machine's clock is ahead of the broker's now, however it jumps; None before the first answer."""
        return self._clock.ahead_s

    def ask(self) -> None:
        """Sends a probe; the answer comes later. Raises nothing: a broker that is away gives no answer."""
        clients = Clients()
        try:
            if self._producer is None:
                self._producer = KafkaProducer(
                    kafka_client=clients.make,
                    bootstrap_servers=self._settings.kafka.bootstrap,
                    client_id=f"gridhub-router-{self._slot}-clock",
                    acks=1,
                    enable_idempotence=False,
                    bootstrap_timeout_ms=2000,
                    max_block_ms=2000,
                    delivery_timeout_ms=10_000,
                    request_timeout_ms=5_000,
                    allow_auto_create_topics=False,
                )
            sent = self._clock.steady()
            future = self._producer.send(LIFE_SIGNS, key=f"router-{self._slot}".encode(), value=None)
        except (KafkaError, ValueError):
            if self._producer is None:
                clients.close()
            return

        future.add_callback(lambda metadata: self._clock.appended(sent, metadata.timestamp))

    def close(self) -> None:
        """Ends asking."""
        if self._producer is not None:
            discard(self._producer)


def _of_the_group(settings: Settings, client_id: str) -> Any:
    """A consumer that may ask for the group's offsets; what it joins with, should it subscribe. Raises Unavailable."""
    session_ms = settings.router.session_timeout_ms
    return _consumer(
        settings,
        group_id=Member.GROUP,
        client_id=client_id,
        # Any other assignor gives a town's topics to different members.
        partition_assignment_strategy=[RangePartitionAssignor],
        session_timeout_ms=session_ms,
        heartbeat_interval_ms=max(1, session_ms // 4),
        max_poll_interval_ms=max(60_000, session_ms),
        max_poll_records=settings.router.max_records,
        max_partition_fetch_bytes=FETCH_BYTES,
    )


def _consumer(settings: Settings, **special: Any) -> Any:
    common = {
        "bootstrap_servers": settings.kafka.bootstrap,
        "isolation_level": "read_committed",
        "enable_auto_commit": False,
        "auto_offset_reset": "earliest",
        "fetch_max_wait_ms": FETCH_WAIT_MS,
        "allow_auto_create_topics": False,
        "bootstrap_timeout_ms": int(REACH_WITHIN_S * 1000),
        "reconnect_backoff_max_ms": 1000,
    }
    clients = Clients()
    try:
        return KafkaConsumer(**{**common, **special, "kafka_client": clients.make})
    except KafkaError as error:
        clients.close()
        raise Unavailable(f"no broker answers at {settings.kafka.bootstrap}: {error}") from None


def _arrived(record: Any) -> Arrived:
    return Arrived(
        record.topic,
        record.partition,
        record.offset,
        record.timestamp,
        record.key,
        record.value,
        # Kafka lets a header be null, the envelope of a record that is forwarded does not.
        tuple((name, value or b"") for name, value in record.headers),
    )
