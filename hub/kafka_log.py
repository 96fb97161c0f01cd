"""Records to Kafka: the one module that talks to kafka-python for reading and writing.

What it relies on was read and tried in kafka-python 3.0.12 (pinned), where the producer

- has no bound of its own on what waits (3.0 removed `buffer_memory`): counted here;
- blocks in `send()` whenever a metadata answer lacks the topic, as in the first moments of a broker: `max_block_ms` is 0 once the topics
  are known, so that it raises instead;
- is dead for good once a batch that was sent before reaches its delivery timeout: `reset_producer_id()` takes the id away, and
  `init_producer_id()` fetches a new one only in a state that is never entered again. Fatal errors end it likewise. Therefore: after any
  failed delivery the producer is given up with all it holds, and another takes its place;
- cannot be closed while something is undeliverable (`close()` raises out of its flush and leaves the thread running): its sender thread
  is told to give up, as `close()` itself would after an empty flush.
"""

import contextlib
import itertools
import threading
import time
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from kafka import KafkaConsumer, KafkaProducer, TopicPartition
from kafka.errors import (
    KafkaConnectionError,
    KafkaError,
    KafkaTimeoutError,
    LeaderNotAvailableError,
    MessageSizeTooLargeError,
    RecordListTooLargeError,
)
from kafka.net.compat import KafkaNetClient
from kafka.partitioner.default import murmur2

from hub.clock import Clock
from hub.core.errors import Full, HubError, Misconfigured, Reason, Rejected, Unavailable
from hub.lang import Text

MAX_BYTES = 32 * 1024 * 1024
MAX_RECORD_BYTES = 1024 * 1024
RECORD_COST_BYTES = 2048
"""What a waiting record costs beside its content (futures, callbacks, the outbox' own entry)."""
METADATA_EVERY_S = 5.0
SILENCE_S = 15.0
REPLACE_WAIT_S = 5.0
SENDER_END_S = 2.0
ASK_WITHIN_MS = 5000
NOT_READY_S = 0.05

Done = Callable[[Exception | None], None]


class Publisher:
    """Hands records to Kafka: acks=all, idempotent, in call order per partition, bounded in memory, never blocking.

    Order holds for all that is acknowledged: a record of which delivery failed may be on the topic or not, but never behind one that
    was published after it and acknowledged before it was given up.
    """

    def __init__(
        self,
        bootstrap: str,
        topics: Collection[str],
        *,
        client_id: str,
        max_bytes: int = MAX_BYTES,
        delivery_timeout_ms: int = 30_000,
        wait_s: float = 30.0,
        patient: bool = False,
        clock: Clock | None = None,
    ) -> None:
        """Connects, blocking up to about `wait_s`. Raises Unavailable (no broker answers) or Misconfigured (a topic is missing).

        patient: where no broker answers it does not raise, but goes on trying, and takes nothing until one does. clock: hears of each record when
        the broker has appended it.
        """
        self._bootstrap = bootstrap
        self._topics = tuple(topics)
        self._client_id = client_id
        self._max_bytes = max_bytes
        self._delivery_timeout_ms = delivery_timeout_ms
        self._clock = clock or Clock()
        self._changed = threading.Condition()
        self._waiting: dict[int, tuple[float, int]] = {}  # when it was published (monotonic), bytes; oldest first
        self._waiting_bytes = 0
        self._numbers = itertools.count()
        self._heard = time.monotonic()
        self._closed = False
        self._untaken = ""
        self._producer: Any = None
        try:
            self._producer = self._connect(wait_s)
        except Unavailable:
            if not patient:
                raise
            self._look_for_another(None)

    def publish(
        self,
        topic: str,
        key: str,
        value: bytes | None,
        headers: Sequence[tuple[str, bytes]],
        done: Done,
        town: str = "",
    ) -> None:
        """Enqueues one record and returns at once; later `done` is called exactly once, on another thread. `value`: None deletes. `town`: on whose
        partition it goes, where that is not the key's.

        `done(None)`: all in-sync replicas have it. `done(Unavailable)`: given up, it may be there or not. `done(Rejected)`: the broker
        finds it too large. Raises, and then `done` is never called: Unavailable (no broker, or `max_bytes` wait already: `Full`),
        Rejected with reason `too_large` (over 1 MiB).
        """
        encoded_key = key.encode()
        size = len(encoded_key) + len(value or b"") + sum(len(name) + len(text) for name, text in headers)
        if size > MAX_RECORD_BYTES:
            raise Rejected(Reason.TOO_LARGE, f"{size} bytes")  # whether a broker is there or not
        producer = self._producer
        if producer is None:
            raise Unavailable(self._untaken or f"no broker answers at {self._bootstrap}")
        size += RECORD_COST_BYTES
        with self._changed:
            if self._waiting_bytes + size > self._max_bytes:
                raise Full(f"{self._waiting_bytes} bytes wait for Kafka already")
            number = next(self._numbers)
            self._waiting[number] = (time.monotonic(), size)
            self._waiting_bytes += size
        sent, created = self._clock.steady(), self._clock.now()
        try:
            partition = self._partition(producer, topic, town) if town else None
            future = producer.send(
                topic, value=value, key=encoded_key, headers=list(headers), partition=partition, timestamp_ms=created
            )
        except MessageSizeTooLargeError:
            self._forget(number)
            raise Rejected(Reason.TOO_LARGE, f"{size} bytes") from None
        except (KafkaError, ValueError) as error:
            # The topic is missing from the last metadata answer (ValueError: from one that came during the call), or the producer was
            # given up a moment ago. Nothing has been enqueued.
            self._forget(number)
            raise Unavailable(f"Kafka takes nothing on {topic}: {error}") from None

        def settle(result: Any) -> None:
            self._forget(number)
            if not isinstance(result, Exception):
                self._heard = time.monotonic()
                # The record's own time comes back where the broker gave it none: on a topic of CreateTime, or of a batch it had already.
                if result.timestamp != created:
                    self._clock.appended(sent, result.timestamp)
                done(None)
                return
            self._give_up(producer)
            done(_failure(result))

        future.add_both(settle)

    @property
    def waiting(self) -> int:
        """How many records wait to be acknowledged."""
        return len(self._waiting)

    @property
    def waiting_bytes(self) -> int:
        """What they take, with their overhead."""
        return self._waiting_bytes

    @property
    def oldest_s(self) -> float:
        """How long the oldest unacknowledged record has waited; 0 when none does."""
        with self._changed:
            since = next(iter(self._waiting.values()), None)
        return time.monotonic() - since[0] if since else 0.0

    def trouble(self, max_age_s: float = 5.0) -> str:
        """Why Kafka must be called away, in a sentence for people; empty when it is there."""
        if self._producer is None and self._untaken:
            return self._untaken
        if self._producer is None:
            return str(Text(f"no broker answers at {self._bootstrap}", f"{self._bootstrap} 无 Kafka 响应"))
        if (oldest := self.oldest_s) > max_age_s:
            return str(Text(f"Kafka has not acknowledged for {oldest:.0f} s", f"Kafka 已 {oldest:.0f} 秒未确认"))
        if (silence := time.monotonic() - self._heard) > SILENCE_S:
            return str(Text(f"nothing heard from Kafka for {silence:.0f} s", f"已 {silence:.0f} 秒未收到 Kafka 的响应"))
        return ""

    def close(self, timeout_s: float) -> None:
        """Waits up to `timeout_s` for what is under way, then gives up the rest (`done(Unavailable)`); at most 2 s more."""
        with self._changed:
            self._closed = True
            self._changed.wait_for(lambda: not self._waiting, timeout_s)
            producer, self._producer = self._producer, None
        if producer is not None:
            discard(producer)

    def _partition(self, producer: Any, topic: str, town: str) -> int:
        """Where the records of a town lie. Raises ValueError while the topic is not known."""
        count = len(producer.partitions_for(topic))
        if not count:
            raise ValueError(f"{topic} is not known")
        return home(town, count)

    def _forget(self, number: int) -> None:
        with self._changed:
            self._waiting_bytes -= self._waiting.pop(number)[1]
            if not self._waiting:
                self._changed.notify_all()

    def _give_up(self, producer: Any) -> None:
        """A delivery failed, so nothing that `producer` holds can be trusted to come through: another one takes over."""
        with self._changed:
            if self._closed or self._producer is not producer:
                return
            self._producer = None
        self._look_for_another(producer)

    def _look_for_another(self, producer: Any) -> None:
        threading.Thread(target=self._replace, args=(producer,), name="kafka replace", daemon=True).start()

    def _replace(self, producer: Any) -> None:
        if producer is not None:
            discard(producer)
        while not self._closed:
            try:
                successor = self._connect(REPLACE_WAIT_S)
            except HubError as error:
                # /ready says so meanwhile; each try waits for itself.
                self._untaken = str(error) if isinstance(error, Misconfigured) else ""
                continue
            self._untaken = ""
            with self._changed:
                if not self._closed:
                    self._producer = successor
                    return
            discard(successor)

    def _connect(self, wait_s: float) -> Any:
        wait_ms = int(wait_s * 1000)
        clients = Clients()
        try:
            producer = KafkaProducer(
                kafka_client=clients.make,
                bootstrap_servers=self._bootstrap,
                client_id=self._client_id,
                enable_idempotence=True,
                acks="all",
                compression_type="lz4",
                linger_ms=5,
                batch_size=131072,
                max_request_size=MAX_RECORD_BYTES,
                delivery_timeout_ms=self._delivery_timeout_ms,
                request_timeout_ms=min(10_000, self._delivery_timeout_ms // 3),
                reconnect_backoff_max_ms=1000,
                metadata_max_age_ms=int(METADATA_EVERY_S * 1000),
                bootstrap_timeout_ms=wait_ms,
                max_block_ms=wait_ms,
                allow_auto_create_topics=False,
            )
        except KafkaError as error:
            clients.close()
            raise Unavailable(f"no broker answers at {self._bootstrap}: {error}") from None
        producer._metadata.add_listener(self._answered)  # noqa: SLF001 - the only sign of life while nothing is published
        for topic in self._topics:
            asked = time.monotonic()
            try:
                producer.partitions_for(topic)
            except KafkaError as error:
                discard(producer)
                # Only a broker that has answered since can have left the topic out.
                if self._heard < asked:
                    raise Unavailable(f"the broker at {self._bootstrap} has gone: {error}") from None
                raise Misconfigured(str(_missing(topic, self._bootstrap))) from None
        producer.config["max_block_ms"] = 0
        self._heard = time.monotonic()
        return producer

    def _answered(self, _metadata: object) -> None:
        self._heard = time.monotonic()


@dataclass(frozen=True, slots=True)
class Arrived:
    """A record as it lies on a topic. `new`: it was not there yet when the reading began. `at`: its timestamp, ms UTC. `deleted`: it is a tombstone,
    and its value is empty.
    """

    topic: str
    value: bytes
    new: bool
    partition: int = 0
    offset: int = 0
    at: int = 0
    key: bytes | None = None
    deleted: bool = False


class Tail:
    """What lies on topics and what arrives there, committed records only, in no group."""

    def __init__(self, bootstrap: str, topics: Mapping[str, int | None], *, deleted: bool = False) -> None:
        """Connects, and fixes where each topic ends now. `topics`: how many of the last records of each partition come first; None: all.
        `deleted`: tombstones come too.

        Raises Unavailable (no broker answers) or Misconfigured (a topic is missing).
        """
        self._bootstrap = bootstrap
        self._deleted = deleted
        clients = Clients()
        try:
            self._consumer: Any = KafkaConsumer(
                kafka_client=clients.make,
                bootstrap_servers=bootstrap,
                group_id=None,
                enable_auto_commit=False,
                auto_offset_reset="earliest",
                isolation_level="read_committed",
                allow_auto_create_topics=False,
                bootstrap_timeout_ms=ASK_WITHIN_MS,
                reconnect_backoff_max_ms=1000,
            )
        except KafkaError as error:
            clients.close()
            raise Unavailable(_no_answer(bootstrap, error)) from None
        try:
            self._assign(topics)
        except KafkaError as error:
            self.close()
            raise Unavailable(_no_answer(bootstrap, error)) from None
        except Misconfigured:
            self.close()
            raise

    def read(self, wait_s: float = 0.5) -> list[Arrived]:
        """What has come, in order per partition; empty when nothing did for `wait_s`. Raises Unavailable, and may be called again."""
        try:
            batches = self._consumer.poll(timeout_ms=int(wait_s * 1000))
        except KafkaError as error:
            raise Unavailable(str(error)) from None
        return [
            Arrived(
                place.topic,
                record.value or b"",
                record.offset >= self._ends[place],
                place.partition,
                record.offset,
                record.timestamp,
                record.key,
                record.value is None,
            )
            for place, records in batches.items()
            for record in records
            if record.value is not None or self._deleted
        ]

    def complete(self) -> bool:
        """Whether all that was there at the beginning has been read. Raises Unavailable."""
        try:
            return all(position(self._consumer, place, ASK_WITHIN_MS) >= end for place, end in self._ends.items())
        except KafkaError as error:
            raise Unavailable(str(error)) from None

    def ask(self) -> None:
        """Raises Unavailable when no broker answers: reading does not tell."""
        place = next(iter(self._ends))
        try:
            told(self._consumer.end_offsets, [place], ASK_WITHIN_MS)
        except KafkaError as error:
            raise Unavailable(_no_answer(self._bootstrap, error)) from None

    def close(self) -> None:
        """Ends reading."""
        with contextlib.suppress(KafkaError):
            self._consumer.close(autocommit=False)

    def _assign(self, topics: Mapping[str, int | None]) -> None:
        places = []
        for topic in topics:
            numbers = self._consumer.partitions_for_topic(topic)
            if not numbers:
                raise Misconfigured(str(_missing(topic, self._bootstrap)))
            places += [TopicPartition(topic, number) for number in sorted(numbers)]
        self._consumer.assign(places)
        self._ends = told(self._consumer.end_offsets, places, ASK_WITHIN_MS)
        begins = told(self._consumer.beginning_offsets, places, ASK_WITHIN_MS)
        for place in places:
            last = topics[place.topic]
            first = begins[place] if last is None else max(begins[place], self._ends[place] - last)
            self._consumer.seek(place, first)


def position(consumer: Any, place: TopicPartition, timeout_ms: int) -> int:
    """The next offset that a poll gives. Raises KafkaError, also where nobody has told in time: the library gives None then."""
    found = consumer.position(place, timeout_ms=timeout_ms)
    if found is None:
        raise KafkaTimeoutError(f"nobody tells where {place.topic}/{place.partition} is read")
    return int(found)


def told(
    ask: Callable[..., dict[TopicPartition, int]], places: Collection[TopicPartition], timeout_ms: int
) -> dict[TopicPartition, int]:
    """What a consumer's `end_offsets` or `beginning_offsets` tells. Raises KafkaError, also where a partition has no leader: the library leaves it out
    of what it asks, and raises KeyError.
    """
    try:
        return ask(places, timeout_ms=timeout_ms) if places else {}
    except KeyError as error:
        raise LeaderNotAvailableError(f"nobody leads {error}") from error


class _Client(KafkaNetClient):  # type: ignore[misc]
    """The library's network client, as the library's own sender takes it to be."""

    def await_ready(self, node_id: object, timeout_ms: float = 30_000) -> bool:
        """Whether a node can be sent to. The library's raises where it cannot; a request for a coordinator (offsets, the commit) is forgotten then, and
        waited for without end. Upon a no it is sent again, to whoever is the coordinator by then.
        """
        try:
            return bool(super().await_ready(node_id, timeout_ms))
        except KafkaConnectionError:
            time.sleep(NOT_READY_S)  # asked again at once
            return False


class Clients:
    """The library's network clients of one constructor: one that fails leaves its sockets open, and each try would leave more."""

    def __init__(self, **more: Any) -> None:
        """`more`: settings of the client that the constructor does not pass on."""
        self._made: list[Any] = []
        self._more = more

    def make(self, **settings: Any) -> Any:
        self._made.append(_Client(**settings, **self._more))
        return self._made[-1]

    def close(self) -> None:
        for client in self._made:
            client.close()


def _no_answer(bootstrap: str, error: KafkaError) -> str:
    return str(
        Text(
            f"no broker answers at {bootstrap} ({type(error).__name__})",
            f"{bootstrap} 无 Kafka 响应（{type(error).__name__}）",
        )
    )


def _missing(topic: str, bootstrap: str) -> Text:
    return Text(
        f"the topic {topic} does not exist at {bootstrap}: run gridhub topics create",
        f"{bootstrap} 上没有主题 {topic}：请运行 gridhub topics create",
    )


def home(town: str, count: int) -> int:
    """The partition of a town's records, of so many: the Java client's default, part of the contract."""
    return (int(murmur2(town.encode())) & 0x7FFFFFFF) % count


def _failure(error: Exception) -> HubError:
    if isinstance(error, MessageSizeTooLargeError | RecordListTooLargeError):
        return Rejected(Reason.TOO_LARGE, str(error))
    return Unavailable(f"Kafka has not acknowledged: {error}")


def discard(producer: Any) -> None:
    """Gives a producer up with all that it holds, without waiting for any of it."""
    sender = producer._sender  # noqa: SLF001 - see the top of the file
    sender.force_close()
    sender.join(SENDER_END_S)
    with contextlib.suppress(
        KafkaError
    ):  # a sender that has not ended by now is a daemon thread, and its records are given up
        producer.close(timeout=0)
