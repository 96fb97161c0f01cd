"""Connections that end badly, on real sockets; where Kafka acknowledges is chosen by the test."""

import asyncio
import contextlib
import errno
import io
import socket
import struct
import subprocess
import sys
from collections.abc import Callable
from decimal import Decimal
from pathlib import Path
from typing import cast

import pytest

from connectors.air.hj212 import frame
from connectors.air.serve import Connection, Registered, Stations
from connectors.air.settings import AirSettings
from hub.core.errors import Misconfigured
from hub.core.registry import Device, Registry, SentUnit
from hub.outbox import Outbox
from hub.settings import HostPort
from hub.telemetry import FeedRecorder, log_to
from hub.wire import Wire
from tests.doubles import FakeLog, RememberingTelemetry, Sent

HERE = HostPort(host="127.0.0.1", port=0)
ROOT = Path(__file__).parents[3]
RESET_AT_CLOSE = struct.pack("ii", 1, 0)


def from_nobody(qn: int, flag: int = 5) -> bytes:
    """A message that becomes a dead letter and is answered, where Flag wants it."""
    return frame(b"QN=%d;ST=22;CN=2011;PW=1;MN=NOBODY;Flag=%d;CP=&&a34004-Rtd=1&&" % (qn, flag))


async def comes(true: Callable[[], bool], within_s: float = 5) -> None:
    async with asyncio.timeout(within_s):
        while not true():  # noqa: ASYNC110 - what is looked at belongs to the connector, which tells no event
            await asyncio.sleep(0.01)


def test_a_station_that_goes_while_its_answers_wait_leaves_nothing_behind() -> None:
    async def scenario() -> None:
        telemetry, log = RememberingTelemetry(), FakeLog()
        stations = Stations(AirSettings(listen=HERE, max_pending_bytes=1 << 20))
        port = (await stations.start(Outbox("air", log, Wire.load(), telemetry, 5), telemetry, Registry))["hj212"]
        station = await asyncio.to_thread(socket.create_connection, ("127.0.0.1", port))
        station.sendall(b"".join(from_nobody(qn) for qn in range(65)))
        await comes(lambda: len(log.sent) == 65)
        station.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_AT_CLOSE)
        station.close()
        for record in log.sent:
            record.done(None)
        await comes(lambda: len(telemetry.named("disconnected")) == 1)
        async with asyncio.timeout(2):
            await stations.stop()

    asyncio.run(scenario())


def test_a_peer_full_of_faults_leaves_room_for_the_others() -> None:
    fault = b"##0000" + b"x" * 20_000

    async def scenario() -> None:
        telemetry, log = RememberingTelemetry(), FakeLog()
        stations = Stations(AirSettings(listen=HERE))
        port = (await stations.start(Outbox("air", log, Wire.load(), telemetry, 60), telemetry, Registry))["hj212"]
        _, peer = await asyncio.open_connection("127.0.0.1", port)
        _, station = await asyncio.open_connection("127.0.0.1", port)
        peer.write(fault * 30)

        def faults() -> list[Sent]:
            return [record for record in log.sent if len(record.value) > len(fault)]

        for number in range(20):
            await comes(lambda: len(faults()) >= number + 2)  # noqa: B023 - awaited in the same turn
            station.write(from_nobody(number))
            await comes(lambda: len(log.sent) - len(faults()) == number + 1)  # noqa: B023 - awaited in the same turn
            assert len(faults()) == number + 2, "three of them are more than 64 KiB"
            faults()[number].done(None)
        for end in (peer, station):
            end.close()
        log.keeps = True
        for record in log.sent:
            record.done(None)
        await stations.stop()

    asyncio.run(scenario())


def test_an_orderly_stop_keeps_and_answers_all_that_was_read() -> None:
    async def scenario() -> None:
        telemetry, log = RememberingTelemetry(), FakeLog()
        stations = Stations(AirSettings(listen=HERE, max_pending_messages=4))
        port = (await stations.start(Outbox("air", log, Wire.load(), telemetry, 60), telemetry, Registry))["hj212"]
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(b"".join(from_nobody(qn) for qn in range(20)) + b"##nothing that is a frame")
        await comes(lambda: len(log.sent) >= 5)
        stopping = asyncio.create_task(stations.stop())
        for number in range(21):
            await comes(lambda: len(log.sent) > number)  # noqa: B023 - awaited in the same turn
            log.sent[number].done(None)
        async with asyncio.timeout(5):
            await stopping
            answers = await reader.read()
        assert answers.count(b"CN=9014") == 20
        assert b"##nothing that is a frame" in log.sent[20].value
        writer.close()

    asyncio.run(scenario())


def test_a_station_that_takes_no_answers_is_cut_off() -> None:
    async def scenario() -> None:
        telemetry = RememberingTelemetry()
        stations = Stations(AirSettings(listen=HERE, idle_timeout_s=0.5))
        port = (
            await stations.start(Outbox("air", FakeLog(keeps=True), Wire.load(), telemetry, 5), telemetry, Registry)
        )["hj212"]
        heartbeat = frame(b"QN=1;ST=22;CN=9015;PW=1;MN=" + b"X" * 600 + b";Flag=5;CP=&&&&")
        with socket.socket() as station:
            station.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
            station.setblocking(False)
            loop = asyncio.get_running_loop()
            await loop.sock_connect(station, ("127.0.0.1", port))

            async def send_for_ever() -> None:
                while True:
                    await loop.sock_sendall(station, heartbeat * 100)

            async with asyncio.timeout(20):
                with contextlib.suppress(ConnectionError):  # reset, not left open with unwritten answers
                    await send_for_ever()
        await comes(lambda: len(telemetry.named("disconnected")) == 1)
        await stations.stop()

    asyncio.run(scenario())


def test_what_was_read_is_kept_though_its_station_hears_no_answer() -> None:
    async def scenario() -> None:
        telemetry, log = RememberingTelemetry(), FakeLog()
        stations = Stations(AirSettings(listen=HERE, max_pending_messages=4))
        port = (await stations.start(Outbox("air", log, Wire.load(), telemetry, 60), telemetry, Registry))["hj212"]
        station = await asyncio.to_thread(socket.create_connection, ("127.0.0.1", port))
        station.sendall(b"".join(from_nobody(qn, flag=5 if qn < 3 else 4) for qn in range(100)))
        await comes(lambda: len(log.sent) >= 5)
        station.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET_AT_CLOSE)
        station.close()
        for number in range(100):
            await comes(lambda: len(log.sent) > number)  # noqa: B023 - awaited in the same turn
            log.sent[number].done(None)
        await comes(lambda: len(telemetry.named("disconnected")) == 1)
        await stations.stop()

    asyncio.run(scenario())


def test_answers_that_nobody_reads_hold_no_socket_open() -> None:
    heartbeat = frame(b"QN=1;ST=22;CN=9015;PW=1;MN=" + b"X" * 600 + b";Flag=5;CP=&&&&")

    async def scenario() -> None:
        telemetry = RememberingTelemetry()
        outbox = Outbox("air", FakeLog(keeps=True), Wire.load(), telemetry, 5)
        unsent: asyncio.Queue[int] = asyncio.Queue()

        async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 4096)
            await Connection(AirSettings(idle_timeout_s=0.5), Registered(Registry, telemetry), outbox, telemetry).serve(
                reader, writer
            )
            unsent.put_nowait(writer.transport.get_write_buffer_size())
            writer.close()

        async with await asyncio.start_server(connected, "127.0.0.1", 0) as server:
            with socket.socket() as station:
                station.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 2048)
                station.connect(server.sockets[0].getsockname())
                station.sendall(heartbeat * 60)  # less than what asyncio would let wait, more than the system does
                async with asyncio.timeout(10):
                    assert await unsent.get() == 0
        assert 0 < len(telemetry.named("answered")) < 60

    asyncio.run(scenario())


FLOODED = """
import asyncio, contextlib, os, resource, socket

from connectors.air.serve import OWN_FILES, Stations
from connectors.air.settings import AirSettings
from hub.outbox import Outbox
from hub.core.registry import Registry
from hub.settings import HostPort
from hub.wire import Wire
from tests.doubles import FakeLog, RememberingTelemetry

MOST = 20


async def main():
    telemetry, refused = RememberingTelemetry(), []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: refused.append(context))
    stations = Stations(AirSettings(listen=HostPort(host="127.0.0.1", port=0), max_connections=MOST))
    port = (await stations.start(Outbox("air", FakeLog(), Wire.load(), telemetry, 5), telemetry, Registry))["hj212"]
    read, write = os.pipe()
    if not os.fork():
        os.close(write)  # so that it ends with the other, whatever comes of that
        os.read(read, 1)
        knocking = []
        for _ in range(600):
            one = socket.socket()
            one.setblocking(False)
            with contextlib.suppress(BlockingIOError):
                one.connect(("127.0.0.1", port))
            knocking.append(one)
        os._exit(os.read(read, 1) != b"2")
    resource.setrlimit(resource.RLIMIT_NOFILE, (MOST + OWN_FILES, resource.getrlimit(resource.RLIMIT_NOFILE)[1]))
    os.write(write, b"1")
    async with asyncio.timeout(120):  # what finds no room in the queue comes again after 1, 3, 7, 15 s
        while len(telemetry.named("turned_away")) < 300 and not refused:
            await asyncio.sleep(0.01)
    os.write(write, b"2")
    os.wait()
    await stations.stop()
    print(len(telemetry.named("connected")), refused)


asyncio.run(main())
"""


def test_a_flood_of_connections_uses_up_no_more_files_than_were_asked_for() -> None:
    ran = subprocess.run([sys.executable, "-c", FLOODED], cwd=ROOT, capture_output=True, text=True, check=False)
    assert (ran.stdout, ran.stderr) == ("20 []\n", "")


def test_a_taken_port_is_named_once() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        listen = HostPort(host="127.0.0.1", port=taken.getsockname()[1])
        with pytest.raises(Misconfigured, match=f"^air.listen: {listen} cannot be used: Address already in use$"):
            asyncio.run(
                Stations(AirSettings(listen=listen)).start(cast("Outbox", None), RememberingTelemetry(), Registry)
            )


def test_a_unit_nobody_knows_is_told_and_its_device_is_heard_without_units() -> None:
    telemetry = RememberingTelemetry()

    def device(name: str, unit: str) -> Device:
        units = {"PM25": SentUnit("mg/m3", Decimal(1)), "a34002": SentUnit(unit, Decimal(1))}
        return Device(id=name, mn=f"MN-{name}", vendor="acme", feed="air", town="410122105", units=units)

    versions = [
        Registry(version=1, devices=(device("ZA-1", "ug/m3"),)),
        Registry(version=2, devices=(device("ZA-1", "ppb"),)),
    ]
    registered = Registered(lambda: versions[0], telemetry)
    assert registered.by_mn()["MN-ZA-1"].units["a34004"].unit == "mg/m3"
    versions.pop(0)
    assert registered.by_mn()["MN-ZA-1"].units == {}
    [(told, why)] = telemetry.named("misregistered")
    assert told == "ZA-1"
    assert "a34002=ppb" in str(why)


def test_a_network_that_times_out_ends_the_connection() -> None:
    async def scenario() -> str:
        telemetry = RememberingTelemetry()
        outbox = Outbox("air", FakeLog(), Wire.load(), telemetry, 5)
        reader = asyncio.StreamReader()
        reader.set_exception(TimeoutError(errno.ETIMEDOUT, "Connection timed out"))
        async with asyncio.timeout(2):
            return await Connection(AirSettings(), Registered(Registry, telemetry), outbox, telemetry)._read(reader)

    assert asyncio.run(scenario()) == "TimeoutError"


def test_a_full_disk_under_the_log_costs_no_answer() -> None:
    class FullDisk(io.StringIO):
        def write(self, _text: str) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    async def scenario() -> bytes:
        log_to(FullDisk(), "json")
        telemetry = FeedRecorder("air")
        stations = Stations(AirSettings(listen=HERE))
        port = (
            await stations.start(Outbox("air", FakeLog(keeps=True), Wire.load(), telemetry, 5), telemetry, Registry)
        )["hj212"]
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(from_nobody(7))
        async with asyncio.timeout(5):
            answer = await reader.readline()
        writer.close()
        await stations.stop()
        return answer

    try:
        assert b"QN=7;ST=91;CN=9014" in asyncio.run(scenario())
    finally:
        log_to()
