"""The topics of the hub: read from `schemas/topics.toml`, made on a cluster, compared with it.

Every value is set on the broker explicitly, so that no default of a cluster can change what the hub promises, and a
cluster that differs is refused rather than mended: what a changed partition count or retention has done to records cannot be undone.
"""

import time
import tomllib
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Literal

from kafka import KafkaAdminClient
from kafka.admin import ConfigResource, ConfigResourceType
from kafka.errors import InvalidReplicationFactorError, KafkaError, TopicAlreadyExistsError
from pydantic import BaseModel, PositiveInt, ValidationError, model_validator

from hub.core.errors import Misconfigured, Unavailable
from hub.kafka_log import Clients
from hub.lang import Text
from hub.settings import KafkaSettings
from hub.shipped import shipped

ANSWER_WITHIN_S = 10.0
HEARD_AGAIN_S = 0.1
_DAY_MS = 24 * 3600 * 1000
_FOR_EVER = "-1"


class Topic(BaseModel, frozen=True, extra="forbid"):
    """One table of `schemas/topics.toml`; the comments there say what the fields mean."""

    name: str
    key: str
    schema_file: str | None = None
    cleanup: Literal["delete", "compact"]
    eager: bool = False
    retention_days: PositiveInt | None = None
    partitions: PositiveInt | None = None
    timestamp: Literal["LogAppendTime", "CreateTime"]
    max_message_bytes: PositiveInt = 1_048_576
    compression: Literal["lz4"] = "lz4"
    writers: tuple[str, ...]
    readers: tuple[str, ...]

    @model_validator(mode="after")
    def _retention_fits_cleanup(self) -> "Topic":
        if (self.cleanup == "delete") != (self.retention_days is not None):
            raise ValueError("retention_days belongs to cleanup = delete, and only there")
        if self.eager and self.cleanup != "compact":
            raise ValueError("eager belongs to cleanup = compact")
        return self

    def partition_count(self, kafka: KafkaSettings) -> int:
        """The topic's own number, else the setting's: topics keyed by town must all have the same."""
        return self.partitions or kafka.partitions

    def broker_config(self, kafka: KafkaSettings) -> dict[str, str]:
        """What the topic is set to on the broker, under Kafka's names of topic configurations."""
        config = {
            "cleanup.policy": self.cleanup,
            "compression.type": self.compression,
            "max.message.bytes": str(self.max_message_bytes),
            "message.timestamp.type": self.timestamp,
            # One less than the copies, so that a broker may be away; with acks=all two of three have a record.
            "min.insync.replicas": str(max(1, kafka.replication - 1)),
            "retention.bytes": _FOR_EVER,
            "retention.ms": str(self.retention_days * _DAY_MS) if self.retention_days else _FOR_EVER,
            "unclean.leader.election.enable": "false",
        }
        if self.cleanup == "compact":
            # A segment that is still written to is never compacted: an eager topic closes its segments sooner.
            config["segment.ms"] = str(10 * 60 * 1000 if self.eager else _DAY_MS)
            config["min.cleanable.dirty.ratio"] = "0.05" if self.eager else "0.5"
            config["delete.retention.ms"] = str(_DAY_MS)
        return config


def load_topics(path: Path | None = None) -> dict[str, Topic]:
    """Reads the shipped `schemas/topics.toml`, or `path`; raises Misconfigured with the topic and what is wrong with it."""
    path = path or shipped("schemas/topics.toml")
    try:
        with path.open("rb") as file:
            tables = tomllib.load(file)
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise Misconfigured(f"{path}: {error}") from None
    topics = {}
    for name, table in tables.items():
        try:
            # `schema` is a name that pydantic's models keep for themselves.
            fields = {"schema_file" if key == "schema" else key: value for key, value in table.items()}
            topics[name] = Topic(name=name, **fields)
        except ValidationError as error:
            faults = "; ".join(
                f"{'.'.join(map(str, fault['loc'])) or 'topic'}: {fault['msg']}" for fault in error.errors()
            )
            raise Misconfigured(f"{path}: [{name}] {faults}") from None
    return topics


def create(
    kafka: KafkaSettings, topics: dict[str, Topic] | None = None, *, within_s: float = ANSWER_WITHIN_S
) -> list[str]:
    """Makes those of `topics` (else of the shipped table) that are missing, waits until each partition has a leader, and returns their names.

    Raises Misconfigured when a topic, new or old, is not as wanted; Unavailable when the cluster does not answer in time.
    A second call after any failure goes on where the first one ended.
    """
    topics = topics or load_topics()
    with asked(kafka, within_s) as admin:
        there = set(admin.list_topics())
        missing = {
            topic.name: {
                "num_partitions": topic.partition_count(kafka),
                "replication_factor": kafka.replication,
                "configs": topic.broker_config(kafka),
            }
            for topic in topics.values()
            if topic.name not in there
        }
        if missing:
            try:
                admin.create_topics(missing)
            except TopicAlreadyExistsError:
                # Someone else makes them at the same time: whoever made a topic, it is compared below.
                pass
            except InvalidReplicationFactorError:
                raise Misconfigured(str(_too_few_brokers(kafka))) from None
            admin.wait_for_topics(list(topics), timeout_ms=within_s * 1000)
        deadline = time.monotonic() + (within_s if missing else 0)
        while findings := _findings(admin, topics, kafka):
            # Of a cluster each broker hears by itself of what was made, and any of them may be asked.
            if time.monotonic() >= deadline:
                raise Misconfigured("; ".join(findings))
            time.sleep(HEARD_AGAIN_S)
    return list(missing)


def check(
    kafka: KafkaSettings, topics: dict[str, Topic] | None = None, *, within_s: float = ANSWER_WITHIN_S
) -> list[str]:
    """Compares the cluster with `topics`, else the shipped table: one sentence for each difference, none when all is as wanted.

    Raises Unavailable when the cluster does not answer in time.
    """
    with asked(kafka, within_s) as admin:
        return _findings(admin, topics or load_topics(), kafka)


def answers(bootstrap: str, *, within_s: float = 2.0) -> bool:
    """Whether a cluster at `bootstrap` answers and knows a broker that can lead partitions."""
    try:
        with asked(KafkaSettings(bootstrap=bootstrap), within_s) as admin:
            return bool(admin.describe_cluster()["brokers"])
    except Unavailable:
        return False


def led_by(bootstrap: str, node: int, *, within_s: float) -> int:
    """How many partitions a node leads, by the word of those at `bootstrap`. Raises Unavailable."""
    with asked(KafkaSettings(bootstrap=bootstrap), within_s) as admin:
        return sum(one["leader_id"] == node for topic in admin.describe_topics() for one in topic["partitions"])


def _findings(admin: Any, topics: dict[str, Topic], kafka: KafkaSettings) -> list[str]:
    there = set(admin.list_topics())
    findings = [str(_absent(name)) for name in topics if name not in there]
    present = {name: topic for name, topic in topics.items() if name in there}
    if not present:
        return findings
    shapes = {shape["name"]: shape["partitions"] for shape in admin.describe_topics(list(present))}
    configs = admin.describe_configs(
        [ConfigResource(ConfigResourceType.TOPIC, name) for name in present], config_filter="all"
    )["topic"]
    for name, topic in present.items():
        wanted = {
            "partitions": str(topic.partition_count(kafka)),
            "replication": str(kafka.replication),
            **topic.broker_config(kafka),
        }
        found = {
            "partitions": str(len(shapes[name])),
            "replication": ", ".join(sorted({str(len(partition["replica_nodes"])) for partition in shapes[name]})),
            **{key: str(entry["value"]) for key, entry in configs[name].items()},
        }
        findings += [
            str(_different(name, key, value, found.get(key, "-")))
            for key, value in wanted.items()
            if found.get(key) != value
        ]
    return findings


@contextmanager
def asked(kafka: KafkaSettings, within_s: float, client_id: str = "gridhub-topics") -> Iterator[Any]:
    """A client of the cluster for a few questions; whatever Kafka raises while it is used becomes Unavailable. `within_s`: to find a broker, to connect to
    one that is to be asked, to hear its answer.
    """
    within_ms = int(within_s * 1000)
    clients = Clients(socket_connection_setup_timeout_ms=within_ms)
    try:
        admin = KafkaAdminClient(
            kafka_client=clients.make,
            bootstrap_servers=kafka.bootstrap,
            client_id=client_id,
            bootstrap_timeout_ms=within_ms,
            request_timeout_ms=within_ms,
        )
    except KafkaError:
        clients.close()
        raise Unavailable(str(_no_answer(kafka, within_s))) from None
    try:
        yield admin
    except KafkaError as error:
        raise Unavailable(f"{_no_answer(kafka, within_s)} ({type(error).__name__})") from error
    finally:
        # What it was asked has its answer, or the reason why not.
        with suppress(KafkaError):
            admin.close()


def _no_answer(kafka: KafkaSettings, within_s: float) -> Text:
    return Text(
        f"Kafka at {kafka.bootstrap} did not answer within {within_s:g} s",
        f"位于 {kafka.bootstrap} 的 Kafka 在 {within_s:g} 秒内没有应答",
    )


def _too_few_brokers(kafka: KafkaSettings) -> Text:
    return Text(
        f"kafka.replication = {kafka.replication} is more than the cluster at {kafka.bootstrap} has brokers",
        f"kafka.replication = {kafka.replication} 超过了 {kafka.bootstrap} 集群的节点数",
    )


def _absent(name: str) -> Text:
    return Text(f"topic {name}: wanted, but not there", f"主题 {name}：应有而不存在")


def _different(name: str, key: str, wanted: str, found: str) -> Text:
    return Text(
        f"topic {name}: {key} should be {wanted} and is {found}",
        f"主题 {name}：{key} 应为 {wanted}，实为 {found}",
    )
