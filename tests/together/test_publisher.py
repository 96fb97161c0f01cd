"""The publisher and the outbox on a real broker, over a network that can be pulled out."""

import asyncio
import gc
import queue
import threading
import time
import uuid
from collections.abc import Coroutine, Iterator
from dataclasses import replace

import pytest
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.admin import NewTopic

from hub.core.errors import Full, Misconfigured, Reason, Rejected, Unavailable
from hub.core.events import Reading
from hub.kafka_log import Publisher, Tail
from hub.outbox import Fate, Outbox
from hub.wire import Wire
from tests.brokers import Broker, until
from tests.doubles import CuttableProxy, RememberingTelemetry
from tests.ports import reserved_port

pytestmark = pytest.mark.kafka

PARTITIONS = 12
TOWNS = [f"4101221{number:02}" for number in range(24)]
WIRE = Wire.load()
DELIVERY_S = 3.0

Result = tuple[int, Exception | None]


@pytest.fixture
def topic(broker: Broker) -> Iterator[str]:
    name = f"publisher-{uuid.uuid4().hex[:12]}"
    admin = KafkaAdminClient(bootstrap_servers=broker.bootstrap)
    admin.create_topics([NewTopic(name, PARTITIONS, 1)])
    yield name
    admin.delete_topics([name])
    admin.close()


@pytest.fixture
def proxy(monkeypatch: pytest.MonkeyPatch) -> Iterator[CuttableProxy]:
    """All that producers of kafka-python say goes through it; the test's own consumer and admin client do not."""
    before = set(threading.enumerate())
    proxy = CuttableProxy()
    monkeypatch.setitem(KafkaProducer.DEFAULT_CONFIG, "proxy_url", proxy.url)
    yield proxy
    proxy.close()
    _join(set(threading.enumerate()) - before)
    gc.collect()  # here, where the warning about those sockets is expected, and not in another test


def _join(threads: set[threading.Thread]) -> None:
    for thread in threads:
        thread.join(10)
        assert not thread.is_alive(), thread.name


class Sender:
    """Publishes numbered records and collects what became of them."""

    def __init__(self, publisher: Publisher, topic: str) -> None:
        self.publisher = publisher
        self.topic = topic
        self.results: queue.Queue[Result] = queue.Queue()

    def send(self, number: int, size: int = 0) -> None:
        value = str(number).encode().ljust(size, b" ")
        town = TOWNS[number % len(TOWNS)]
        self.publisher.publish(self.topic, town, value, [], lambda error: self.results.put((number, error)))

    def take(self, count: int, within_s: float = 30.0) -> list[Result]:
        deadline = time.monotonic() + within_s
        return [self.results.get(timeout=max(0.0, deadline - time.monotonic())) for _ in range(count)]

    def send_when_taken(self, number: int, within_s: float = 30.0) -> None:
        """As a station does: again, until it is taken."""

        def is_taken() -> bool:
            try:
                self.send(number)
            except Unavailable:
                return False
            return True

        until(is_taken, within_s)


def on_topic(broker: Broker, topic: str) -> list[tuple[int, str, bytes]]:
    """All that lies on the topic: partition, key, value; in the order of each partition."""
    consumer = KafkaConsumer(bootstrap_servers=broker.bootstrap, auto_offset_reset="earliest", enable_auto_commit=False)
    partitions = [TopicPartition(topic, number) for number in range(PARTITIONS)]
    consumer.assign(partitions)
    ends = consumer.end_offsets(partitions)
    found: list[tuple[int, str, bytes]] = []
    deadline = time.monotonic() + 30
    while any(consumer.position(partition) < ends[partition] for partition in partitions):
        assert time.monotonic() < deadline, "the topic cannot be read to its end"
        for records in consumer.poll(timeout_ms=200).values():
            found += [(record.partition, record.key.decode(), record.value) for record in records]
    consumer.close()
    return found


def written(broker: Broker, topic: str) -> list[tuple[int, str, int]]:
    """The same, of a `Sender`: partition, key, number."""
    return [(partition, key, int(value)) for partition, key, value in on_topic(broker, topic)]


def assert_order(found: list[tuple[int, str, int]]) -> None:
    for town in TOWNS:
        numbers = [number for _, key, number in found if key == town]
        assert numbers == sorted(numbers), town
        assert len({partition for partition, key, _ in found if key == town}) <= 1


def test_acknowledged_means_it_is_on_the_topic_in_order_and_once(broker: Broker, topic: str) -> None:
    publisher = Publisher(broker.bootstrap, [topic], client_id="test")
    sender = Sender(publisher, topic)
    for number in range(5000):
        sender.send(number)
    results = sender.take(5000)
    publisher.close(5)
    assert all(error is None for _, error in results)
    found = written(broker, topic)
    assert sorted(number for *_, number in found) == list(range(5000))
    assert_order(found)
    assert publisher.waiting == publisher.waiting_bytes == 0


def test_nobody_listens_is_unavailable_within_its_time() -> None:
    began = time.monotonic()
    with pytest.raises(Unavailable):
        Publisher(f"127.0.0.1:{reserved_port()}", ["readings"], client_id="test", wait_s=1)
    assert time.monotonic() - began < 5
    gc.collect()


def test_a_broker_that_goes_while_it_is_asked_for_topics_is_unavailable(
    broker: Broker, topic: str, proxy: CuttableProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask = KafkaProducer._wait_on_metadata

    def ask_nobody(producer: KafkaProducer, *arguments: object) -> object:
        proxy.cut()
        producer._metadata._partitions.clear()
        return ask(producer, *arguments)

    monkeypatch.setattr(KafkaProducer, "_wait_on_metadata", ask_nobody)
    with pytest.raises(Unavailable, match="has gone"):
        Publisher(broker.bootstrap, [topic], client_id="test", wait_s=1)


def test_a_broker_that_goes_before_its_topics_are_followed_is_unavailable(
    broker: Broker, topic: str, proxy: CuttableProxy, monkeypatch: pytest.MonkeyPatch
) -> None:
    ask = KafkaConsumer.partitions_for_topic

    def ask_nobody(consumer: KafkaConsumer, name: str) -> object:
        proxy.cut()
        return ask(consumer, name)

    monkeypatch.setitem(KafkaConsumer.DEFAULT_CONFIG, "proxy_url", proxy.url)
    monkeypatch.setattr(KafkaConsumer, "partitions_for_topic", ask_nobody)
    with pytest.raises(Unavailable, match="no broker answers"):
        Tail(broker.bootstrap, {topic: None}).read()


def test_a_missing_topic_needs_a_person(broker: Broker) -> None:
    with pytest.raises(Misconfigured, match="never-made"):
        Publisher(broker.bootstrap, ["never-made"], client_id="test", wait_s=1)


def test_a_record_over_the_limit_is_rejected_and_the_next_is_not(broker: Broker, topic: str) -> None:
    publisher = Publisher(broker.bootstrap, [topic], client_id="test")
    sender = Sender(publisher, topic)
    with pytest.raises(Rejected) as caught:
        sender.send(1, size=2 << 20)
    assert caught.value.reason is Reason.TOO_LARGE
    sender.send(2)
    assert sender.take(1) == [(2, None)]
    publisher.close(5)
    assert publisher.waiting_bytes == 0


def test_what_waits_is_bounded_and_comes_through_when_the_network_is_back(
    broker: Broker, topic: str, proxy: CuttableProxy
) -> None:
    most = 1 << 20
    publisher = Publisher(broker.bootstrap, [topic], client_id="test", max_bytes=most)
    sender = Sender(publisher, topic)
    proxy.cut()
    taken = most
    for number in range(most // 1000):
        try:
            sender.send(number, size=1000)
        except Full:
            taken = number
            break
    assert 100 < taken < most // 1000
    assert publisher.waiting == taken
    assert publisher.waiting_bytes <= most
    proxy.mend()
    assert {error for _, error in sender.take(taken)} == {None}
    publisher.close(5)
    found = written(broker, topic)
    assert sorted(number for *_, number in found) == list(range(taken))
    assert_order(found)


def test_publishing_never_blocks_while_the_network_is_away(broker: Broker, topic: str, proxy: CuttableProxy) -> None:
    """Long enough for metadata to expire several times and for deliveries to be given up."""
    publisher = Publisher(broker.bootstrap, [topic], client_id="test", delivery_timeout_ms=int(DELIVERY_S * 1000))
    sender = Sender(publisher, topic)
    proxy.hold()
    slowest = 0.0
    given_up = threading.Event()
    until = time.monotonic() + 3 * DELIVERY_S
    number = 0
    while time.monotonic() < until:
        began = time.monotonic()
        try:
            sender.send(number)
            number += 1
        except Unavailable:
            given_up.set()
        slowest = max(slowest, time.monotonic() - began)
        time.sleep(0.01)
    assert given_up.is_set()
    assert slowest < 0.5
    assert publisher.trouble()
    assert all(isinstance(error, Unavailable) for _, error in sender.take(number))
    publisher.close(0)


@pytest.mark.parametrize("way", ["hold", "cut"])
def test_after_a_delivery_was_given_up_all_works_again_and_order_holds(
    broker: Broker, topic: str, proxy: CuttableProxy, way: str
) -> None:
    """kafka-python 3.0.12 would send nothing any more: see the top of hub/kafka_log.py."""
    publisher = Publisher(broker.bootstrap, [topic], client_id="test", delivery_timeout_ms=int(DELIVERY_S * 1000))
    sender = Sender(publisher, topic)
    for number in range(100):
        sender.send(number)
    before = sender.take(100)
    getattr(proxy, way)()
    for number in range(100, 200):
        sender.send(number)
    lost = sender.take(100)
    proxy.cut()
    proxy.mend()
    sender.send_when_taken(200)
    for number in range(201, 300):
        sender.send(number)
    after = sender.take(100)
    publisher.close(5)
    assert {error for _, error in before + after} == {None}
    assert all(isinstance(error, Unavailable) for _, error in lost)
    found = written(broker, topic)
    acknowledged = {number for number, error in before + after if error is None}
    assert acknowledged <= {number for *_, number in found}
    assert_order([one for one in found if one[2] in acknowledged])


def test_a_short_break_loses_doubles_and_reorders_nothing(broker: Broker, topic: str, proxy: CuttableProxy) -> None:
    publisher = Publisher(broker.bootstrap, [topic], client_id="test")
    sender = Sender(publisher, topic)
    for number in range(3000):
        sender.send(number)
        if number % 700 == 600:
            proxy.cut()
            proxy.mend()
    assert {error for _, error in sender.take(3000)} == {None}
    publisher.close(5)
    found = written(broker, topic)
    assert sorted(number for *_, number in found) == list(range(3000))
    assert_order(found)


def test_closing_never_hangs_and_leaves_nothing_open(broker: Broker, topic: str, proxy: CuttableProxy) -> None:
    publisher = Publisher(broker.bootstrap, [topic], client_id="test")
    sender = Sender(publisher, topic)
    proxy.hold()
    for number in range(10):
        sender.send(number)
    began = time.monotonic()
    publisher.close(0.5)
    assert time.monotonic() - began < 4
    assert all(isinstance(error, Unavailable) for _, error in sender.take(10, within_s=1))
    with pytest.raises(Unavailable):
        sender.send(11)


READING = Reading(
    id="",
    town="",
    device="ZA-1",
    vendor="demo",
    kind="air.reading",
    occurred_at=1772352000000,
    accepted_at=1772352001000,
    event_at=1772352000000,
    time_mark="device",
    lon=None,
    lat=None,
    datum="",
    message_code="2011",
    period_s=0,
    backfilled=False,
    incomplete=False,
    values=(),
)


def run(test: Coroutine[None, None, None]) -> None:
    asyncio.run(asyncio.wait_for(test, 60))


def test_the_outbox_says_published_when_it_is(broker: Broker, topic: str) -> None:
    async def test() -> None:
        publisher = Publisher(broker.bootstrap, [topic], client_id="test")
        box = Outbox("air", publisher, WIRE, RememberingTelemetry(), 10.0)
        fates = [
            box.publish(topic, replace(READING, id=str(number), town=TOWNS[number % 24]), b"") for number in range(500)
        ]
        assert set(await asyncio.gather(*fates)) == {Fate.PUBLISHED}
        assert box.balance()["published"] == 500
        publisher.close(5)

    run(test())
    found = [WIRE.decode(value) for *_, value in on_topic(broker, topic)]
    assert sorted(int(record.id) for record in found if isinstance(record, Reading)) == list(range(500))


def test_without_kafka_nothing_is_kept_and_a_late_acknowledgement_changes_nothing(
    broker: Broker, topic: str, proxy: CuttableProxy
) -> None:
    async def test() -> None:
        publisher = Publisher(broker.bootstrap, [topic], client_id="test")
        telemetry = RememberingTelemetry()
        box = Outbox("air", publisher, WIRE, telemetry, 0.5)
        proxy.cut()
        fates = [box.publish(topic, replace(READING, id=str(number), town=TOWNS[number]), b"") for number in range(20)]
        assert set(await asyncio.gather(*fates)) == {Fate.REFUSED}
        assert telemetry.named("refused") == [(Reason.UNAVAILABLE, "ZA-1")] * 20
        before = box.balance()
        proxy.mend()
        await asyncio.to_thread(publisher.close, 30)
        await asyncio.sleep(0)  # lets what the publisher's thread has handed over be seen
        assert box.balance() == before

    run(test())
    assert len(on_topic(broker, topic)) == 20
