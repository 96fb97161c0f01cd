"""Connections that end badly, on real sockets; where Kafka acknowledges is chosen by the test."""

import asyncio
import contextlib
import errno
import io
import socket
import struct
from collections.abc import Callable

from connectors.air.hj212 import frame
from connectors.air.serve import Connection, Stations
from connectors.air.settings import AirSettings
from hub.connector import Outbox
from hub.settings import HostPort
from hub.telemetry import FeedRecorder, log_to
from hub.wire import Wire
from tests.doubles import FakeLog, RememberingTelemetry

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
        stations = Stations(AirSettings(listen=HERE), {})
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
