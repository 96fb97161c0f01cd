"""Connections that end badly, on real sockets; where Kafka acknowledges is chosen by the test."""

import asyncio
import contextlib
import errno
import io
import socket
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from connectors.air.hj212 import frame
from connectors.air.serve import Connection, Stations, registered
from connectors.air.settings import AirSettings
from hub.connector import Outbox
from hub.core.errors import Misconfigured
from hub.settings import HostPort
from hub.telemetry import FeedRecorder, log_to
from hub.wire import Wire
from tests.doubles import FakeLog, RememberingTelemetry, Sent

HERE = HostPort(host="127.0.0.1", port=0)
RESET_AT_CLOSE = struct.pack("ii", 1, 0)


def from_nobody(qn: int) -> bytes:
    """A message that becomes a dead letter and is answered."""
    return frame(b"QN=%d;ST=22;CN=2011;PW=1;MN=NOBODY;Flag=5;CP=&&a34004-Rtd=1&&" % qn)


async def comes(true: Callable[[], bool], within_s: float = 5) -> None:
    async with asyncio.timeout(within_s):
        while not true():  # noqa: ASYNC110 - what is looked at belongs to the connector, which tells no event
            await asyncio.sleep(0.01)


def test_a_station_that_goes_while_its_answers_wait_leaves_nothing_behind() -> None:
    async def scenario() -> None:
        telemetry, log = RememberingTelemetry(), FakeLog()
        stations = Stations(AirSettings(listen=HERE, max_pending_bytes=1 << 20), {})
        port = (await stations.start(Outbox("air", log, Wire.load(), telemetry, 5), telemetry))["hj212"]
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
        stations = Stations(AirSettings(listen=HERE), {})
        port = (await stations.start(Outbox("air", log, Wire.load(), telemetry, 60), telemetry))["hj212"]
        _, peer = await asyncio.open_connection("127.0.0.1", port)
        _, station = await asyncio.open_connection("127.0.0.1", port)
        peer.write(fault * 30)

        def faults() -> list[Sent]:
            return [record for record in log.sent if len(record.value) > len(fault)]

        for number in range(20):
            await comes(lambda: len(faults()) >= number + 2)  # noqa: B023 - awaited in the same turn
            station.write(from_nobody(number))
            await comes(lambda: len(log.sent) - len(faults()) == number + 1)  # noqa: B023
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
        stations = Stations(AirSettings(listen=HERE, max_pending_messages=4), {})
        port = (await stations.start(Outbox("air", log, Wire.load(), telemetry, 60), telemetry))["hj212"]
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
        stations = Stations(AirSettings(listen=HERE, idle_timeout_s=0.5), {})
        port = (await stations.start(Outbox("air", FakeLog(keeps=True), Wire.load(), telemetry, 5), telemetry))["hj212"]
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


def test_a_unit_nobody_knows_is_refused_at_the_start_and_names_its_device(tmp_path: Path) -> None:
    row = "ZA-1,MN1,acme,air,410122105,113.85,34.72,PM25=mg/m3;a34002={}\n"
    path = tmp_path / "devices.csv"
    head = "device,mn,vendor,feed,town,lon,lat,factor_units\n"
    path.write_text(head + row.format("ug/m3"), encoding="utf-8")
    assert registered(path)["MN1"].units["a34004"].unit == "mg/m3"
    path.write_text(head + row.format("ppb"), encoding="utf-8")
    with pytest.raises(Misconfigured, match="ZA-1: factor_units: a34002=ppb"):
        registered(path)


def test_a_network_that_times_out_ends_the_connection() -> None:
    async def scenario() -> str:
        telemetry = RememberingTelemetry()
        outbox = Outbox("air", FakeLog(), Wire.load(), telemetry, 5)
        reader = asyncio.StreamReader()
        reader.set_exception(TimeoutError(errno.ETIMEDOUT, "Connection timed out"))
        async with asyncio.timeout(2):
            return await Connection(AirSettings(), {}, outbox, telemetry)._read(reader)

    assert asyncio.run(scenario()) == "TimeoutError"


def test_a_full_disk_under_the_log_costs_no_answer() -> None:
    class FullDisk(io.StringIO):
        def write(self, _text: str) -> int:
            raise OSError(errno.ENOSPC, "No space left on device")

    async def scenario() -> bytes:
        log_to(FullDisk(), "json")
        telemetry = FeedRecorder("air")
        stations = Stations(AirSettings(listen=HERE), {})
        port = (await stations.start(Outbox("air", FakeLog(keeps=True), Wire.load(), telemetry, 5), telemetry))["hj212"]
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
