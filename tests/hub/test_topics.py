"""The table of topics, and what is made of it on a real cluster."""

import os
import re
import socket
import subprocess
import sys
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest
from kafka import KafkaAdminClient, KafkaProducer

from hub.core.errors import Misconfigured
from hub.settings import KafkaSettings
from hub.shipped import shipped
from hub.topics import Topic, check, create, load_topics
from tests.brokers import Broker

INPUTS = {
    *("readings", "alerts.air", "alerts.patrol", "alerts.camera", "orders"),
    *("handed-over", "ticket-commands", "life-signs", "registry", "dead-letters"),
}
OUTPUTS = {"tickets", "ticket-events", "decisions", "journal", "notifications", "order-status", "router-state"}


def test_the_table_holds_every_topic_of_the_hub() -> None:
    topics = load_topics()
    assert {name for name, topic in topics.items() if topic.timestamp == "LogAppendTime"} == INPUTS
    assert {name for name, topic in topics.items() if topic.timestamp == "CreateTime"} == OUTPUTS
    assert {name for name, topic in topics.items() if topic.partitions} == {"dead-letters", "registry"}
    assert {name for name, topic in topics.items() if topic.eager} == {"router-state"}


def test_every_schema_named_in_the_table_is_there() -> None:
    named = [topic.schema_file for topic in load_topics().values() if topic.schema_file]
    assert named
    assert [name for name in named if not (shipped("schemas") / name).is_file()] == []


GOOD = """
[readings]
key = "town"
cleanup = "delete"
retention_days = 30
timestamp = "LogAppendTime"
writers = ["connectors.air"]
readers = ["router"]
"""


@pytest.mark.parametrize(
    ("written", "instead", "named"),
    [
        ("retention_days = 30", "", "retention_days"),
        ('cleanup = "delete"', 'cleanup = "compact"', "retention_days"),
        ('cleanup = "delete"', 'cleanup = "keep"', "cleanup"),
        ('key = "town"', 'key = "town"\neager = true', "eager"),
        ('timestamp = "LogAppendTime"', "", "timestamp"),
        ('key = "town"', 'key = "town"\npartition = 3', "partition"),
        ("[readings]", "[readings", "topics.toml"),
    ],
)
def test_a_mistake_in_the_table_is_named(tmp_path: Path, written: str, instead: str, named: str) -> None:
    path = tmp_path / "topics.toml"
    path.write_text(GOOD, encoding="utf-8")
    assert list(load_topics(path)) == ["readings"]
    path.write_text(GOOD.replace(written, instead), encoding="utf-8")
    with pytest.raises(Misconfigured, match=named):
        load_topics(path)


def test_all_but_one_copy_of_a_record_may_be_required() -> None:
    topic = load_topics()["readings"]
    required = {
        copies: topic.broker_config(KafkaSettings(replication=copies))["min.insync.replicas"] for copies in (1, 2, 3)
    }
    assert required == {1: "1", 2: "1", 3: "2"}


ASK_IN_VAIN = """
import sys, threading
from hub import topics
from hub.core.errors import Unavailable
from hub.settings import KafkaSettings

try:
    getattr(topics, sys.argv[1])(KafkaSettings(bootstrap=sys.argv[2]), within_s=0.5)
except Unavailable as error:
    print(error)
for thread in threading.enumerate():
    thread is threading.main_thread() or thread.join(5)
print(threading.active_count(), "thread")
"""


@pytest.mark.parametrize("asked", ["check", "create"])
def test_without_a_cluster_it_says_where_none_answered(asked: str) -> None:
    with socket.socket() as unserved:
        unserved.bind(("127.0.0.1", 0))
        bootstrap = f"127.0.0.1:{unserved.getsockname()[1]}"
        # In a process of its own, in which nothing else may have left a thread.
        command = [sys.executable, "-c", ASK_IN_VAIN, asked, bootstrap]
        answer = subprocess.run(command, stdout=subprocess.PIPE, text=True, timeout=20, check=True)
    assert answer.stdout == f"Kafka at {bootstrap} did not answer within 0.5 s\n1 thread\n"


@pytest.fixture
def admin(broker: Broker) -> Iterator[KafkaAdminClient]:
    with KafkaAdminClient(bootstrap_servers=broker.bootstrap) as client:
        yield client


@pytest.fixture
def own(admin: KafkaAdminClient) -> Iterator[dict[str, Topic]]:
    """The whole table under names that no other test uses; what was made of it is deleted."""
    prefix = uuid.uuid4().hex[:8]
    topics = {
        f"{prefix}.{name}": topic.model_copy(update={"name": f"{prefix}.{name}"})
        for name, topic in load_topics().items()
    }
    yield topics
    if made := [name for name in admin.list_topics() if name in topics]:
        admin.delete_topics(made)


@pytest.mark.kafka
def test_what_is_missing_is_made_once_and_then_as_wanted(broker: Broker, own: dict[str, Topic]) -> None:
    kafka = KafkaSettings(bootstrap=broker.bootstrap, partitions=3)
    some = dict(list(own.items())[:5])
    assert create(kafka, some) == list(some)
    assert create(kafka, own) == list(own)[5:]
    assert create(kafka, own) == []
    assert check(kafka, own) == []


@pytest.mark.kafka
def test_a_broker_that_has_not_heard_of_a_new_topic_yet_is_asked_again(
    broker: Broker, own: dict[str, Topic], monkeypatch: pytest.MonkeyPatch
) -> None:
    told = iter([["topic new: wanted, but not there"] * 2, ["topic new: wanted, but not there"], []])
    monkeypatch.setattr("hub.topics._findings", lambda *_: next(told))
    assert create(KafkaSettings(bootstrap=broker.bootstrap), own) == list(own)
    assert next(told, None) is None


@pytest.mark.kafka
def test_a_topic_that_is_not_there_is_a_finding(broker: Broker, own: dict[str, Topic]) -> None:
    kafka = KafkaSettings(bootstrap=broker.bootstrap, partitions=1)
    *made, absent = own
    create(kafka, {name: own[name] for name in made})
    [finding] = check(kafka, own)
    assert absent in finding


@pytest.mark.kafka
@pytest.mark.parametrize(
    ("key", "found"),
    [
        ("cleanup.policy", "compact"),
        ("compression.type", "producer"),
        ("max.message.bytes", "1000"),
        ("message.timestamp.type", "CreateTime"),
        ("min.insync.replicas", "2"),
        ("retention.bytes", "100000"),
        ("retention.ms", "1000"),
        ("unclean.leader.election.enable", "true"),
        ("partitions", "5"),
    ],
)
def test_each_difference_is_found_and_refused(
    broker: Broker, admin: KafkaAdminClient, own: dict[str, Topic], key: str, found: str
) -> None:
    kafka = KafkaSettings(bootstrap=broker.bootstrap, partitions=3)
    name, topic = next(iter(own.items()))
    config = topic.broker_config(kafka)
    count = int(found) if key == "partitions" else 3
    wanted = {"partitions": "3", **config}[key]
    admin.create_topics(
        {
            name: {
                "num_partitions": count,
                "replication_factor": 1,
                "configs": config if key == "partitions" else config | {key: found},
            }
        },
        wait_for_metadata=True,
    )
    assert check(kafka, {name: topic}) == [f"topic {name}: {key} should be {wanted} and is {found}"]
    with pytest.raises(Misconfigured, match=re.escape(f"{key} should be {wanted} and is {found}")):
        create(kafka, {name: topic})


@pytest.mark.kafka
def test_more_copies_than_brokers_are_refused_with_the_setting_to_change(broker: Broker, own: dict[str, Topic]) -> None:
    with pytest.raises(Misconfigured, match=r"kafka\.replication = 3"):
        create(KafkaSettings(bootstrap=broker.bootstrap, replication=3), own)


@pytest.mark.kafka
def test_dead_letters_take_a_record_of_a_mebibyte(broker: Broker, own: dict[str, Topic]) -> None:
    name, topic = next((name, topic) for name, topic in own.items() if name.endswith(".dead-letters"))
    create(KafkaSettings(bootstrap=broker.bootstrap), {name: topic})
    producer = KafkaProducer(
        bootstrap_servers=broker.bootstrap, acks="all", max_request_size=topic.max_message_bytes, compression_type="lz4"
    )
    try:
        # Chance does not compress: the worst case.
        assert producer.send(name, os.urandom(1024 * 1024)).get(20).offset == 0
    finally:
        producer.close()
