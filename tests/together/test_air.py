"""The connector as stations and Kafka see it: real process, real sockets, real broker."""

import json
import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path
from typing import Any

import pytest
from kafka import KafkaConsumer, TopicPartition

from connectors.air.hj212 import frame
from hub.core.events import AirAlert, DeadLetter, Reading, TimeMark
from hub.registry_check import load
from hub.running import run_file
from hub.settings import Settings
from hub.topics import Topic
from hub.wire import Wire
from tests.brokers import Broker, register, until
from tests.faults.checker import BEIJING
from tests.ports import reserved_port
from tests.proof.stage import CLOCK

pytestmark = pytest.mark.kafka

DEVICE = next(iter(load(Settings().registry_dir).by_mn("air").values()))
WIRE = Wire.load()
BUDGET_S = 2


class Connector:
    """`python -m connectors air` as a process."""

    def __init__(self, data: Path, bootstrap: str, more: Mapping[str, str] | None = None, **overrides: str) -> None:
        self.data = data
        self.log = data / "air.log"
        data.mkdir(parents=True, exist_ok=True)
        environment = {
            "GRIDHUB__DATA": str(data),
            "GRIDHUB__KAFKA__BOOTSTRAP": bootstrap,
            "GRIDHUB__AIR__LISTEN": "127.0.0.1:0",
            "GRIDHUB__TELEMETRY__LISTEN": "127.0.0.1:0",
            **{f"GRIDHUB__AIR__{key.upper()}": value for key, value in overrides.items()},
            **(more or {}),
        }
        with self.log.open("wb") as log:
            self.process = subprocess.Popen(
                [sys.executable, "-m", "connectors", "air"], env=os.environ | environment, stderr=log
            )
        try:
            self.ports: dict[str, int] = until(self._ports, 60)
        except BaseException:
            self.process.kill()
            self.process.wait(10)
            raise

    def _ports(self) -> dict[str, int] | None:
        assert self.process.poll() is None, self.log.read_text()
        path = run_file(self.data, "air")
        told: dict[str, Any] = json.loads(path.read_text()) if path.exists() else {"pid": 0}
        return told["ports"] if told["pid"] == self.process.pid else None  # a killed one leaves its file

    def connect(self) -> socket.socket:
        return socket.create_connection(("127.0.0.1", self.ports["hj212"]), timeout=10)

    def get(self, path: str) -> tuple[int, str]:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{self.ports['metrics']}{path}", timeout=10) as answer:
                return answer.status, answer.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()

    def metric(self, name: str, **labels: str) -> float:
        """The value of one series of the feed."""
        wanted = ",".join(f'{key}="{value}"' for key, value in sorted({"feed": "air", **labels}.items()))
        _, text = self.get("/metrics")
        (value,) = (line.split()[-1] for line in text.splitlines() if line.startswith(f"{name}{{{wanted}}}"))
        return float(value)

    def happenings(self) -> list[dict[str, object]]:
        return [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]

    def happened(self, what: str) -> bool:
        return any(one["event"] == what for one in self.happenings())

    def stop(self) -> None:
        self.process.terminate()
        try:
            assert self.process.wait(15) == 0, self.log.read_text()
        finally:
            self.process.kill()


class Ends:
    """Where the topics end now, and what comes after."""

    TOPICS = ("readings", "alerts.air", "dead-letters")

    def __init__(self, bootstrap: str) -> None:
        self._consumer = KafkaConsumer(
            bootstrap_servers=bootstrap, group_id=None, enable_auto_commit=False, isolation_level="read_committed"
        )
        partitions = [
            TopicPartition(name, n) for name in self.TOPICS for n in self._consumer.partitions_for_topic(name)
        ]
        self._consumer.assign(partitions)
        for partition, end in self._consumer.end_offsets(partitions).items():
            self._consumer.seek(partition, end)

    def next(self) -> tuple[str, str, Reading | AirAlert | DeadLetter]:
        """The next record: topic, key, content."""
        batch = until(lambda: self._consumer.poll(timeout_ms=200, max_records=1), 20)
        ((record,),) = batch.values()
        value = WIRE.decode(record.value)
        assert isinstance(value, Reading | AirAlert | DeadLetter)
        return record.topic, record.key.decode(), value

    def close(self) -> None:
        self._consumer.close()


@pytest.fixture(scope="module")
def connector(
    broker: Broker, topics: dict[str, Topic], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Connector]:
    assert topics
    register(broker.bootstrap)  # whoever was here before may have left another one in force
    running = Connector(tmp_path_factory.mktemp("air"), broker.bootstrap)
    yield running
    running.stop()


@pytest.fixture
def ends(broker: Broker, connector: Connector) -> Iterator[Ends]:
    assert connector.ports
    now = Ends(broker.bootstrap)
    yield now
    now.close()


def segment(cn: str, body: str, *, flag: int = 5, mn: str = DEVICE.mn, qn: str = "20261124080000123") -> bytes:
    return f"QN={qn};ST=22;CN={cn};PW=123456;MN={mn};Flag={flag};CP=&&{body}&&".encode()


def answer_in(station: socket.socket) -> str:
    """The segment of the next answer."""

    def exactly(size: int) -> bytes:
        received = b""
        while len(received) < size:
            chunk = station.recv(size - len(received))
            assert chunk, f"closed after {received!r}"
            received += chunk
        return received

    head = exactly(6)
    return exactly(int(head[2:]) + 6)[:-6].decode()


DATA = "DataTime=20261124080000;a34004-Rtd=35.5,a34004-Flag=N;a34002-Rtd=86,a34002-Flag=N"


def test_a_reading_is_on_kafka_before_it_is_answered(connector: Connector, ends: Ends) -> None:
    with connector.connect() as station:
        station.sendall(frame(segment("2011", DATA)))
        assert answer_in(station) == f"QN=20261124080000123;ST=91;CN=9014;PW=123456;MN={DEVICE.mn};Flag=4;CP=&&&&"
    topic, key, record = ends.next()
    assert (topic, key) == ("readings", DEVICE.town)
    assert isinstance(record, Reading)
    assert record.id == f"{DEVICE.id}/2011/20261124080000123"
    assert [value.factor for value in record.values] == ["a34004", "a34002"]


def test_an_alarm_of_2005(connector: Connector, ends: Ends) -> None:
    with connector.connect() as station:
        station.sendall(frame(segment("2072", "AlarmTime=20261124080000;a34002-Ala=186,AlarmType=1", flag=1)))
        assert "CN=9014" in answer_in(station)
    topic, key, record = ends.next()
    assert (topic, key) == ("alerts.air", DEVICE.town)
    assert isinstance(record, AirAlert)
    assert record.signal == "begins"


@pytest.mark.parametrize(
    ("bytes_sent", "reason", "answered"),
    [
        (frame(segment("2011", DATA, mn="NOBODY")), "unknown_device", "9014"),
        (frame(segment("2011", "{0xE4,0x3E,0x01}rest")), "encrypted", "9014"),
        (frame(segment("2011", DATA).replace(b";CP", b";nothing;CP")), "syntax", "9014"),
        (frame(segment("2011", DATA))[:-6] + b"0000\r\n", "crc", ""),
        (frame(b"no header at all"), "syntax", ""),
        (b"##12x4nothing to read here##", "length", ""),
        (frame(segment("9015", "")[:-2]), "syntax", "9013"),
        (frame(segment("2011", DATA, mn="NOBODY", flag=4)), "unknown_device", ""),
        (frame(segment("9014", "", mn="NOBODY")), "unknown_device", ""),
    ],
    ids=[
        "unknown_device",
        "encrypted",
        "syntax",
        "crc",
        "syntax without a header",
        "length",
        "a heartbeat with syntax",
        "unknown_device that wants no answer",
        "unknown_device that answers",
    ],
)
def test_what_cannot_be_read_is_kept_whole(
    connector: Connector, ends: Ends, bytes_sent: bytes, reason: str, answered: str
) -> None:
    with connector.connect() as station:
        station.sendall(bytes_sent)
        if answered:
            assert f"CN={answered}" in answer_in(station)
        topic, key, record = ends.next()
        assert (topic, key) == ("dead-letters", "air")
        assert isinstance(record, DeadLetter)
        assert record.reason == reason
        assert record.raw == bytes_sent.removesuffix(b"\r\n").removesuffix(b"##")
        assert record.answered == bool(answered)
        if not answered:
            # The next good message is answered, and nothing before it was.
            station.sendall(frame(segment("9015", "", qn="20261124080001000")))
            assert "QN=20261124080001000;" in answer_in(station)


@pytest.mark.parametrize(
    ("cn", "body", "answer"),
    [
        ("9015", "", "9013"),
        ("1013", "PolId=w01018", "9013"),
        ("2011", "DataTime=20261124080000;zz-Rtd=1", "9014"),
        ("2081", "DataTime=20261124080000;RestartTime=20261124075900", "9014"),
    ],
)
def test_nothing_to_keep(connector: Connector, cn: str, body: str, answer: str) -> None:
    before = connector.metric("gridhub_messages_total", fate="empty")
    with connector.connect() as station:
        station.sendall(frame(segment(cn, body)))
        assert f"CN={answer}" in answer_in(station)
    assert connector.metric("gridhub_messages_total", fate="empty") == before + 1


@pytest.mark.parametrize(
    "sent", [segment("2011", DATA, flag=4), segment("2011", DATA).removeprefix(b"QN=20261124080000123;")]
)
def test_no_answer_where_none_is_wanted_or_possible(connector: Connector, ends: Ends, sent: bytes) -> None:
    with connector.connect() as station:
        station.sendall(frame(sent) + frame(segment("9015", "", qn="20261124080002000")))
        assert "QN=20261124080002000;" in answer_in(station)
    assert ends.next()[0] == "readings"


def test_order_of_one_connection_is_kept(connector: Connector, ends: Ends) -> None:
    numbers = [f"202611240900{n:05d}" for n in range(200)]
    with connector.connect() as station:
        station.sendall(b"".join(frame(segment("2011", DATA, qn=number)) for number in numbers))
        received = b""
        while received.count(b"CN=9014") < len(numbers):
            received += station.recv(65536)
    assert [part[:17].decode() for part in received.split(b"QN=")[1:]] == numbers
    assert [ends.next()[2].id.split("/")[2] for _ in numbers] == numbers


def test_the_balance_comes_out_and_the_process_ends_in_order(
    broker: Broker, topics: dict[str, Topic], tmp_path: Path
) -> None:
    assert topics
    connector = Connector(tmp_path, broker.bootstrap)
    with connector.connect() as station:
        for n in range(5):
            station.sendall(frame(segment("2011", DATA, qn=f"2026112410000000{n}")))
        station.sendall(frame(segment("9015", "")) + frame(segment("2011", DATA, mn="NOBODY")))
        for _ in range(7):
            answer_in(station)
        assert connector.get("/live")[0] == 200
        assert connector.get("/ready") == (200, '{"ready": true, "reasons": []}')
        assert connector.metric("gridhub_messages_received_total") == 7
        assert connector.metric("gridhub_messages_total", fate="published") == 5
        assert connector.metric("gridhub_messages_total", fate="dead-lettered") == 1
        assert connector.metric("gridhub_answers_total", answer="9014") == 6
        connector.stop()
        assert station.recv(1) == b""
    last = connector.happenings()[-1]
    assert (last["event"], last["received"], last["published"], last["dead-lettered"], last["empty"], last["refused"]) == (
        "stopped", 7, 5, 1, 1, 0,
    )  # fmt: skip
    assert not run_file(tmp_path, "air").exists()


def test_limits(broker: Broker, topics: dict[str, Topic], tmp_path: Path) -> None:
    """Too many connections, a silent one, and bytes that never become a frame."""
    assert topics
    connector = Connector(tmp_path, broker.bootstrap, max_connections="1", idle_timeout_s="2", pending_timeout_s="0.5")
    now = Ends(broker.bootstrap)
    try:
        with connector.connect() as first:
            until(lambda: connector.metric("gridhub_connections") == 1, 5)
            with connector.connect() as second:
                assert second.recv(1) == b""
            assert connector.metric("gridhub_connections_refused_total") == 1
            first.sendall(b"##0100QN=2026")
            topic, _, record = now.next()
            assert topic == "dead-letters"
            assert isinstance(record, DeadLetter)
            assert (record.reason, record.raw) == ("timeout", b"##0100QN=2026")
            assert first.recv(1) == b"", "closed after being idle"
    finally:
        now.close()
        connector.stop()


def test_while_kafka_says_nothing_the_spool_answers(broker: Broker, topics: dict[str, Topic], tmp_path: Path) -> None:
    """SIGSTOP makes a broker that neither answers nor refuses; the connector goes on, within its budget."""
    assert topics
    connector = Connector(tmp_path, broker.bootstrap)
    now = Ends(broker.bootstrap)
    numbers = [f"2026112411000000{number}" for number in range(5)]
    try:
        with connector.connect() as station:
            os.kill(broker.java_pid, signal.SIGSTOP)
            try:
                for qn in numbers:
                    began = time.monotonic()
                    station.sendall(frame(segment("2011", DATA, qn=qn)))
                    assert f"QN={qn};" in answer_in(station)
                    assert time.monotonic() - began < BUDGET_S
                assert connector.metric("gridhub_messages_total", fate="spooled") == len(numbers)
                assert connector.metric("gridhub_spool_messages") == len(numbers)
                until(lambda: connector.happened("kafka away"), 20)
                assert connector.get("/ready")[0] == 200, "messages are kept"
            finally:
                os.kill(broker.java_pid, signal.SIGCONT)
            until(lambda: connector.metric("gridhub_spool_messages") == 0, 20)
            station.sendall(frame(segment("2011", DATA, qn="20261124110000009")))
            assert "QN=20261124110000009;" in answer_in(station)
        came = [now.next()[2].id.split("/")[2] for _ in range(len(numbers) + 1)]
        assert came == [*numbers, "20261124110000009"], (
            "each once: what Kafka acknowledged late was taken out of the spool"
        )
    finally:
        now.close()
        connector.stop()


def test_a_full_spool_and_no_kafka_is_no_answer(broker: Broker, topics: dict[str, Topic], tmp_path: Path) -> None:
    assert topics
    connector = Connector(tmp_path, broker.bootstrap, {"GRIDHUB__SPOOL__MAX_BYTES": "1"}, budget_s="0.5")
    try:
        with connector.connect() as station:
            os.kill(broker.java_pid, signal.SIGSTOP)
            try:
                station.sendall(frame(segment("2011", DATA, qn="20261124110000000")))
                until(lambda: connector.metric("gridhub_messages_refused_total", reason="full") == 1, 10)
                until(lambda: connector.get("/ready")[0] == 503, 20)
            finally:
                os.kill(broker.java_pid, signal.SIGCONT)
            until(lambda: connector.get("/ready")[0] == 200, 20)
            station.sendall(frame(segment("2011", DATA, qn="20261124110000001")))
            assert "QN=20261124110000001;" in answer_in(station), "the first was never answered"
    finally:
        connector.stop()


def test_a_start_without_kafka_serves_by_the_copy_of_the_registry_and_the_next_process_brings_it_to_kafka(
    broker: Broker, topics: dict[str, Topic], tmp_path: Path
) -> None:
    assert topics
    Connector(tmp_path, broker.bootstrap).stop()  # has left a copy of the registry
    connector = Connector(tmp_path, f"127.0.0.1:{reserved_port()}")
    began = time.time_ns() // 1_000_000
    try:
        assert connector.get("/ready")[0] == 200
        with connector.connect() as station:
            for number in range(3):
                station.sendall(frame(segment("2011", DATA, qn=f"2026112412000000{number}")))
                assert f"QN=2026112412000000{number};" in answer_in(station)
        connector.process.kill()
        connector.process.wait(10)
    finally:
        connector.process.kill()
    ended = time.time_ns() // 1_000_000
    now = Ends(broker.bootstrap)
    connector = Connector(tmp_path, broker.bootstrap)
    try:
        came = [now.next()[2] for _ in range(3)]
        assert [one.id.split("/")[2] for one in came] == [f"2026112412000000{number}" for number in range(3)]
        assert all(began <= one.accepted_at <= ended for one in came), (
            "when the station was answered, not when it drained"
        )
        until(lambda: connector.metric("gridhub_spool_messages") == 0, 10)
    finally:
        now.close()
        connector.stop()


class Moved:
    """A connector whose wall clock a test moves, and what it makes of messages of this moment."""

    def __init__(self, broker: Broker, folder: Path, ahead_s: int) -> None:
        self._file = folder / "clock"
        self.jump(ahead_s)
        self.connector = Connector(folder, broker.bootstrap, {"PYTHONPATH": str(CLOCK), "PROOF_CLOCK": str(self._file)})
        self._ends = Ends(broker.bootstrap)

    def jump(self, ahead_s: int) -> None:
        draft = self._file.with_suffix(".draft")
        draft.write_text(f"{ahead_s}", encoding="ascii")
        draft.replace(self._file)

    def marks_rightly(self) -> None:
        """A reading and an alarm of now are accepted now, and their device's time counts."""
        now = f"{datetime.now(BEIJING):%Y%m%d%H%M%S}"
        data = f"DataTime={now};a34002-Rtd=86,a34002-Flag=N"
        alarm = f"AlarmTime={now};a34002-Ala=186,AlarmType=1"
        with self.connector.connect() as station:
            for cn, body, kind in (("2011", data, Reading), ("2072", alarm, AirAlert)):
                began = time.time_ns() // 1_000_000
                station.sendall(frame(segment(cn, body, qn=f"{now}000")))
                assert "CN=9014" in answer_in(station)
                ended = time.time_ns() // 1_000_000
                _, _, record = self._ends.next()
                assert isinstance(record, kind)
                # Measured once, it is known to the time that a record takes.
                assert began - 1_000 <= record.accepted_at <= ended + 1_000
                assert record.time_mark == TimeMark.DEVICE

    def told(self, what: str) -> list[object]:
        """How far ahead it was, each time that it told this."""
        return [one["ahead_s"] for one in self.connector.happenings() if one["event"] == what]

    def stop(self) -> None:
        self._ends.close()
        self.connector.stop()


@pytest.mark.parametrize("ahead_s", [-86_400, 86_400])
def test_a_clock_that_jumps_marks_nothing_wrong_and_is_told_once(
    broker: Broker, topics: dict[str, Topic], tmp_path: Path, ahead_s: int
) -> None:
    assert topics
    moved = Moved(broker, tmp_path, 0)
    try:
        moved.marks_rightly()
        moved.jump(ahead_s)
        moved.marks_rightly()
        until(lambda: moved.told("clock off"), 10)
        until(lambda: moved.connector.metric("gridhub_clock_ahead_seconds") == pytest.approx(ahead_s, abs=2), 10)
        assert moved.connector.get("/ready")[0] == 200, "it goes on as before"
        moved.marks_rightly()
        moved.jump(0)
        moved.marks_rightly()
        until(lambda: moved.told("clock right"), 10)
    finally:
        moved.stop()
    assert moved.told("clock off") == [pytest.approx(ahead_s, abs=2)]
    assert moved.told("clock right") == [pytest.approx(0, abs=2)]


def test_a_clock_that_is_wrong_from_the_start_marks_nothing_wrong(
    broker: Broker, topics: dict[str, Topic], tmp_path: Path
) -> None:
    assert topics
    moved = Moved(broker, tmp_path, 86_400)
    try:
        moved.marks_rightly()
        until(lambda: moved.told("clock off"), 10)
    finally:
        moved.stop()


def test_a_taken_port_is_one_sentence(
    broker: Broker, topics: dict[str, Topic], connector: Connector, tmp_path: Path
) -> None:
    assert topics
    environment = {
        "GRIDHUB__DATA": str(tmp_path),
        "GRIDHUB__KAFKA__BOOTSTRAP": broker.bootstrap,
        "GRIDHUB__AIR__LISTEN": f"127.0.0.1:{connector.ports['hj212']}",
        "GRIDHUB__TELEMETRY__LISTEN": "127.0.0.1:0",
    }
    ran = subprocess.run(
        [sys.executable, "-m", "connectors", "air"],
        env=os.environ | environment,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert ran.returncode == 2
    assert f"127.0.0.1:{connector.ports['hj212']} cannot be used" in ran.stderr.splitlines()[-1]
