"""The embedded broker on the real thing: what a kill may cost (nothing), what it may leave behind (nothing), what it says."""

import contextlib
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from hashlib import sha256
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import psutil
import pytest
from kafka import KafkaAdminClient, KafkaConsumer, KafkaProducer, TopicPartition
from kafka.errors import KafkaError

from hub import embedded_kafka
from hub.core.errors import Misconfigured, Unavailable
from hub.embedded_kafka import Jar, fetch, locked_jars, run
from hub.kafka_log import discard
from tests.brokers import Broker, java_under, serving_port, until

NO_JAVA_AFTER_S = 5.0
STOPPED_AFTER_S = 10.0


@pytest.fixture
def own_broker(tmp_path: Path) -> Iterator[Broker]:
    """A broker that the test may kill."""
    own = Broker(tmp_path)
    own.start()
    yield own
    own.stop()


def kafka_command(data: Path, port: int = 0, *options: str) -> list[str]:
    return [sys.executable, "-m", "hub", *options, "kafka", "--data", str(data), "--port", str(port)]


def made_topic(bootstrap: str) -> str:
    name = uuid.uuid4().hex
    with KafkaAdminClient(bootstrap_servers=bootstrap) as admin:
        admin.create_topics({name: {"num_partitions": 3, "replication_factor": 1}}, wait_for_metadata=True)
    return name


# In a process of its own, which ends at the first failure: kafka-python leaves threads and sockets behind when a broker goes.
STREAM = """
import os
import sys
from kafka import KafkaProducer
from kafka.errors import KafkaError

bootstrap, topic = sys.argv[1:]
producer = KafkaProducer(
    bootstrap_servers=bootstrap, acks="all", enable_idempotence=True, linger_ms=1, delivery_timeout_ms=3000,
    request_timeout_ms=2000, max_block_ms=2000,
)
number = 0
try:
    while True:
        batch = [(n, producer.send(topic, b"%d" % n, partition=n % 3)) for n in range(number, number + 50)]
        number += len(batch)
        for n, future in batch:
            future.get(5)
            print(n, flush=True)
except KafkaError:
    os._exit(0)  # the broker is gone: what it has not acknowledged is nobody's promise
"""


def records(bootstrap: str, topic: str, **more: str) -> list[bytes]:
    partitions = [TopicPartition(topic, number) for number in range(3)]
    settings = {"enable_auto_commit": False, "auto_offset_reset": "earliest", **more}
    consumer = KafkaConsumer(bootstrap_servers=bootstrap, **settings)
    try:
        consumer.assign(partitions)
        ends = consumer.end_offsets(partitions)
        read: list[bytes] = []
        deadline = time.monotonic() + 30
        while any(consumer.position(partition) < end for partition, end in ends.items()):
            assert time.monotonic() < deadline
            read += [record.value for batch in consumer.poll(200).values() for record in batch]
        return read
    finally:
        consumer.close()


@pytest.mark.kafka
@pytest.mark.slow
def test_a_killed_broker_loses_nothing_acknowledged(own_broker: Broker) -> None:
    for _ in range(2):
        topic = made_topic(own_broker.bootstrap)
        command = [sys.executable, "-c", STREAM, own_broker.bootstrap, topic]
        with subprocess.Popen(command, stdout=subprocess.PIPE) as stream:
            assert stream.stdout is not None
            acknowledged = {stream.stdout.readline().strip() for _ in range(1000)}
            own_broker.kill()
            acknowledged |= {line.strip() for line in stream.stdout}
        own_broker.start()
        assert len(acknowledged) >= 1000
        assert acknowledged <= set(records(own_broker.bootstrap, topic))


@pytest.mark.kafka
@pytest.mark.slow
def test_a_second_start_goes_on_with_the_data_on_another_port(tmp_path: Path) -> None:
    first, second = Broker(tmp_path), Broker(tmp_path)
    first.start()
    try:
        topic = made_topic(first.bootstrap)
        producer = KafkaProducer(bootstrap_servers=first.bootstrap, acks="all")
        producer.send(topic, b"first life", partition=0).get(10)
        producer.close()
    finally:
        first.stop()
    second.start()
    try:
        assert second.bootstrap != first.bootstrap
        assert records(second.bootstrap, topic) == [b"first life"]
    finally:
        second.stop()


def guard_of(java: psutil.Process) -> psutil.Process:
    """The shell that started Java."""
    shell = java.parent()
    assert shell is not None
    return shell


@pytest.mark.kafka
@pytest.mark.slow
@pytest.mark.parametrize(
    "killed", ["broker", "broker and shell", "starter", "starter and grand-starter", "all at once"]
)
def test_a_kill_leaves_no_java_behind(tmp_path: Path, killed: str) -> None:
    # A shell that has another command to follow does not give its process away to the last one.
    command = ["sh", "-c", 'sh -c \'"$@"; exit\' starter "$@"; exit', "grand-starter", *kafka_command(tmp_path)]
    grand_starter = subprocess.Popen(command)
    try:
        serving_port(tmp_path, grand_starter)
        [java] = java_under(grand_starter.pid)
        [starter] = psutil.Process(grand_starter.pid).children()
        [broker] = starter.children()
        victims = {
            "broker": [broker],
            "broker and shell": [broker, guard_of(java)],
            "starter": [starter],
            "starter and grand-starter": [psutil.Process(grand_starter.pid), starter],
            "all at once": [psutil.Process(grand_starter.pid), starter, broker, guard_of(java)],
        }[killed]
        for victim in victims:
            victim.kill()
        java.wait(NO_JAVA_AFTER_S)
        broker.wait(NO_JAVA_AFTER_S)
    finally:
        grand_starter.kill()
        grand_starter.wait()


@pytest.mark.kafka
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_ends_in_order_also_when_a_terminal_signals_the_whole_group(tmp_path: Path, number: signal.Signals) -> None:
    broker = subprocess.Popen(kafka_command(tmp_path), start_new_session=True)
    serving_port(tmp_path, broker)
    [java] = java_under(broker.pid)
    os.killpg(broker.pid, number)
    assert broker.wait(STOPPED_AFTER_S) == 0
    assert not java.is_running()
    # Kafka's own mark of an orderly end; and nothing says any more that something serves.
    assert (tmp_path / "kafka" / "log" / ".kafka_cleanshutdown").exists()
    assert list((tmp_path / "run").iterdir()) == []


@pytest.mark.kafka
def test_it_says_why_it_cannot_go_on(own_broker: Broker, tmp_path: Path) -> None:
    def said(command: list[str]) -> tuple[int, str]:
        ended = subprocess.run(command, stderr=subprocess.PIPE, timeout=30, check=False, text=True)
        return ended.returncode, ended.stderr.strip()

    port = int(own_broker.bootstrap.rpartition(":")[2])
    code, sentence = said(kafka_command(tmp_path / "other", port))
    assert (code, sentence.count("\n")) == (2, 0)
    assert f"127.0.0.1:{port}" in sentence
    code, sentence = said(kafka_command(tmp_path / "other", port, "--lang", "zh"))
    assert f"127.0.0.1:{port}" in sentence
    assert "端口" in sentence
    code, sentence = said(kafka_command(own_broker.data))
    assert (code, sentence) == (3, f"gridhub: another broker runs on the data in {own_broker.data / 'kafka'}")


@pytest.mark.kafka
def test_a_broker_that_dies_takes_its_process_with_it_and_gives_its_last_words(tmp_path: Path) -> None:
    broker = subprocess.Popen(kafka_command(tmp_path), stderr=subprocess.PIPE)
    try:
        serving_port(tmp_path, broker)
        [java] = java_under(broker.pid)
        java.kill()
        _, said = broker.communicate(timeout=10)
    finally:
        broker.kill()
    assert broker.returncode == 3
    assert said.splitlines()[-1].startswith(b"gridhub: Kafka ended by itself (exit code 137); its last words")


@pytest.mark.kafka
def test_too_little_memory_is_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(embedded_kafka, "NEEDED_BYTES", 1 << 60)
    with pytest.raises(Unavailable, match=r"Kafka needs \d+ MiB of free memory"):
        run(tmp_path, 0, stop=threading.Event())


@pytest.mark.kafka
@pytest.mark.slow
def test_what_a_killed_broker_alone_had_of_a_commit_decides_nothing_when_it_is_back(tmp_path: Path) -> None:
    """Decision 11. The one that decides is killed when it has written the commit of a transaction and no other has it; the producer dies, too."""
    cluster = Broker(tmp_path, nodes=3)
    cluster.start()
    try:
        with KafkaAdminClient(bootstrap_servers=cluster.bootstrap) as admin:
            topic = uuid.uuid4().hex
            shape = {"num_partitions": 3, "replication_factor": 3, "configs": {"min.insync.replicas": "2"}}
            admin.create_topics({topic: shape}, wait_for_metadata=True)
            producer = transactional(cluster.bootstrap)
            producer.begin_transaction()
            for number in range(3):
                producer.send(topic, b"half", partition=number)
            producer.flush(30)
            decides = admin.describe_transactions(["a test"])["a test"].coordinator_id
            log = list(tmp_path.glob(f"kafka/node-{decides}/log/__transaction_state-*/*.log"))
            java = cluster.java_of(decides)
            others = [cluster.java_of(number) for number in (1, 2, 3) if number != decides]
            try:
                for other in others:
                    other.suspend()
                time.sleep(0.8)  # a fetch that waits at the leader is answered after 500 ms, and told nothing then
                size = sum(path.stat().st_size for path in log)
                # Nobody may ever tell it how it ended.
                threading.Thread(target=given_up, args=(producer,), daemon=True).start()
                until(lambda: sum(path.stat().st_size for path in log) > size, 20)
                java.kill()
            finally:
                for other in others:
                    other.resume()
                discard(producer)

            def is_whole() -> bool:
                with contextlib.suppress(KafkaError, ValueError, psutil.Error):  # ValueError: no Java, or two
                    found = [one for each in admin.describe_topics() for one in each["partitions"]]
                    return cluster.java_of(decides) != java and all(len(one["isr_nodes"]) == 3 for one in found)
                return False

            until(is_whole, 60)
        discard(transactional(cluster.bootstrap))
        assert records(cluster.bootstrap, topic, isolation_level="read_committed") == []
    finally:
        cluster.stop()


def transactional(bootstrap: str) -> KafkaProducer:
    """What another of the same id has left is ended by then."""
    producer = KafkaProducer(bootstrap_servers=bootstrap, transactional_id="a test", acks="all")
    producer.init_transactions()
    return producer


def given_up(producer: KafkaProducer) -> None:
    with contextlib.suppress(KafkaError):
        producer.commit_transaction()


@pytest.mark.kafka
@pytest.mark.slow
def test_of_three_nodes_one_may_be_killed_and_comes_back(tmp_path: Path) -> None:
    cluster = Broker(tmp_path, nodes=3)
    cluster.start()
    family = psutil.Process(cluster.pid).children(recursive=True)
    try:
        topic = uuid.uuid4().hex
        with KafkaAdminClient(bootstrap_servers=cluster.bootstrap) as admin:
            shape = {"num_partitions": 3, "replication_factor": 3, "configs": {"min.insync.replicas": "2"}}
            admin.create_topics({topic: shape}, wait_for_metadata=True)

            def in_sync() -> list[int]:
                [found] = admin.describe_topics([topic])
                return [len(partition["isr_nodes"]) for partition in found["partitions"]]

            producer = KafkaProducer(
                bootstrap_servers=cluster.bootstrap, acks="all", enable_idempotence=True, delivery_timeout_ms=60_000
            )
            for victim in (1, 3):
                for future in [producer.send(topic, b"%d" % n, partition=n % 3) for n in range(300)]:
                    future.get(60)
                cluster.java_of(victim).kill()
                # What was led by it is led by another one, before it is back.
                for future in [producer.send(topic, b"%d" % n, partition=n % 3) for n in range(300)]:
                    future.get(60)
                until(lambda: in_sync() == [3, 3, 3], 60)
            producer.close()
        assert len(records(cluster.bootstrap, topic)) == 1200
    finally:
        family += psutil.Process(cluster.pid).children(recursive=True)
        began = time.monotonic()
        cluster.stop()
    assert time.monotonic() - began < STOPPED_AFTER_S
    assert not psutil.wait_procs(family, timeout=NO_JAVA_AFTER_S)[1]


def test_data_of_another_number_of_nodes_is_not_taken(tmp_path: Path) -> None:
    for there, nodes in (("log", 3), ("node-1", 1)):
        (tmp_path / there / "kafka" / there).mkdir(parents=True)
        with pytest.raises(Misconfigured, match="another number of nodes"):
            run(tmp_path / there, 0, nodes, stop=threading.Event())


@pytest.mark.parametrize(
    ("advertise", "nodes"), [("here", 1), ("a:1,b:2,c:3", 1), ("a:99999", 1), ("a:1", 3), ("a:1,b:2,c", 3)]
)
def test_addresses_to_advertise_are_a_host_and_port_for_each_node(tmp_path: Path, advertise: str, nodes: int) -> None:
    with pytest.raises(Misconfigured, match="--advertise"):
        run(tmp_path, 0, nodes, advertise, stop=threading.Event())


def test_the_neighbour_of_the_port_must_be_free_too(tmp_path: Path) -> None:
    with socket.socket() as controllers:
        controllers.bind(("127.0.0.1", 0))
        taken = controllers.getsockname()[1]
        with pytest.raises(Misconfigured, match=f"127.0.0.1:{taken} are not free"):
            run(tmp_path, taken - 10, 1, None, stop=threading.Event())


JAR_BYTES = b"not really a jar" * 1000
JAR = Jar("town.example:some-jar:1.0", sha256(JAR_BYTES).hexdigest())
JAR_PATH = "/town/example/some-jar/1.0/some-jar-1.0.jar"


@contextlib.contextmanager
def repository(
    files: Mapping[str, bytes], *, broken_first: bool = False
) -> Iterator[tuple[Mapping[str, str], list[str]]]:
    """A Maven repository on this machine, and the paths it was asked for. `broken_first` breaks the first answer off."""
    asked: list[str] = []

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            content = files.get(self.path)
            self.send_response(200 if content is not None else 404)
            self.send_header("Content-Length", str(len(content or b"")))
            self.end_headers()
            self.wfile.write((content or b"")[: 100 if broken_first and len(asked) == 1 else None])

        def log_message(self, *_: object) -> None:
            """Says nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Answer) as server:
        serving = threading.Thread(target=server.serve_forever, args=(0.01,))
        serving.start()
        try:
            yield {"here": f"http://127.0.0.1:{server.server_port}"}, asked
        finally:
            server.shutdown()
            serving.join()


def files_in(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


@pytest.mark.parametrize("broken_first", [False, True])
def test_a_jar_is_fetched_once(tmp_path: Path, broken_first: bool) -> None:
    with repository({JAR_PATH: JAR_BYTES}, broken_first=broken_first) as (repositories, asked):
        for _ in range(2):
            fetch([JAR], tmp_path, repositories=repositories, stop=threading.Event())
            assert files_in(tmp_path) == {"some-jar-1.0.jar": JAR_BYTES}
    assert asked.count(JAR_PATH) == (2 if broken_first else 1)


def test_a_damaged_jar_is_fetched_again(tmp_path: Path) -> None:
    (tmp_path / JAR.file).write_bytes(JAR_BYTES[:-1])
    with repository({JAR_PATH: JAR_BYTES}) as (repositories, _):
        fetch([JAR], tmp_path, repositories=repositories, stop=threading.Event())
    assert files_in(tmp_path) == {"some-jar-1.0.jar": JAR_BYTES}


def test_another_file_than_the_locked_one_is_refused_and_not_kept(tmp_path: Path) -> None:
    with (
        repository({JAR_PATH: JAR_BYTES + b"!"}) as (repositories, _),
        pytest.raises(Misconfigured, match=JAR.coordinate),
    ):
        fetch([JAR], tmp_path, repositories=repositories, stop=threading.Event())
    assert files_in(tmp_path) == {}


def test_without_a_network_it_says_so(tmp_path: Path) -> None:
    with socket.socket() as unserved:
        unserved.bind(("127.0.0.1", 0))
        nowhere = {"nowhere": f"http://127.0.0.1:{unserved.getsockname()[1]}"}
        with pytest.raises(Unavailable, match="is there a network"):
            fetch([JAR], tmp_path, repositories=nowhere, stop=threading.Event())
    assert files_in(tmp_path) == {}


def test_the_lock_pins_each_jar_and_each_has_a_name_of_its_own() -> None:
    jars = locked_jars()
    assert any(jar.coordinate.startswith("org.apache.kafka:kafka_2.13:") for jar in jars)
    assert len({jar.file for jar in jars}) == len(jars)
    assert all(len(bytes.fromhex(jar.sha256)) == 32 for jar in jars)
