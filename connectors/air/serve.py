"""Listens to stations: reads their bytes, hands messages to the outbox in order, answers once they are kept.

Each connection is two tasks. One reads, cuts the stream into messages and hands each to the outbox at once, so that records keep the
order in which a station sent them. The other waits for their fates in the same order and answers. Between them stands a queue of
limited length and bytes: a station that sends faster than Kafka keeps is read more slowly, and TCP tells it so.
"""

import asyncio
import hashlib
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from connectors.air.factors import units_by_code
from connectors.air.hj212 import Fault, Framer, Header, Message, answer
from connectors.air.settings import AirSettings
from connectors.air.translate import PartTimes, translate
from hub.connector import run
from hub.core.errors import Misconfigured, Reason
from hub.core.events import DeadLetter, Reading
from hub.core.registry import Device, Registry
from hub.kafka_log import RECORD_COST_BYTES
from hub.lang import Text
from hub.outbox import KEPT, Fate, Outbox
from hub.running import allow_open_files
from hub.settings import HostPort, Settings, section
from hub.telemetry import FeedTelemetry

FEED = "air"
TOPIC_OF_READINGS = "readings"
TOPIC_OF_ALERTS = "alerts.air"
TOPICS = (TOPIC_OF_READINGS, TOPIC_OF_ALERTS)

CHUNK_BYTES = 65536
# How many connections the loop takes in one turn. One too many is open for a few turns before it is closed again: 3 as measured.
ACCEPTED_AT_ONCE = 100
TURNS_TO_TURN_AWAY = 4
# Files and sockets that are no stations': Kafka, metrics, libraries read late, connections being turned away.
OWN_FILES = 128 + ACCEPTED_AT_ONCE * TURNS_TO_TURN_AWAY
ANSWER_WANTED = 0b01  # of Flag
DATA_ANSWER = "9014"
NOTICE_ANSWER = "9013"
# A heartbeat (HJ 212-2025; before that regional) and the notice of a clock that wants setting: nothing in them to keep.
NOTICES = frozenset({"9015", "1013"})
# Answers to requests, which this hub never makes; answering an answer would go on for ever.
ANSWERS = frozenset({"9011", "9012", "9013", "9014"})


@dataclass(frozen=True, slots=True)
class Reply:
    """What a station is told with `cn` once a message has been kept; nothing where `frame` is empty."""

    fate: asyncio.Future[Fate]
    cn: str
    frame: bytes


class Stations:
    """The source of the feed `air`: every station's connection (see hub.connector.Source)."""

    def __init__(self, settings: AirSettings) -> None:
        self._settings = settings
        self._server: asyncio.Server | None = None
        self._connections: dict[asyncio.Task[None], Connection] = {}
        self._stopping = False

    async def start(
        self, outbox: Outbox, telemetry: FeedTelemetry, registry: Callable[[], Registry]
    ) -> Mapping[str, int]:
        """Listens. Raises Misconfigured when the address cannot be had."""
        self._outbox = outbox
        self._devices = Registered(registry, telemetry)
        self._devices.by_mn()  # what is wrong is told at once
        self._telemetry = telemetry
        listen = self._settings.listen
        try:
            self._server = await asyncio.start_server(
                self._connected, listen.host, listen.port, limit=CHUNK_BYTES, backlog=ACCEPTED_AT_ONCE
            )
        except OSError as error:
            # asyncio's own words name the address a second time; of a name that is not found (below 0) there are no others.
            why = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror
            raise Misconfigured(
                str(
                    Text(
                        f"air.listen: {listen} cannot be used: {why}",
                        f"air.listen：无法使用 {listen}：{why}",
                    )
                )
            ) from None
        return {"hj212": self._server.sockets[0].getsockname()[1]}

    async def stop(self) -> None:
        """Reads nothing more, answers what has been read, closes."""
        if self._server:
            self._server.close()
        self._stopping = True
        for connection in self._connections.values():
            connection.stop()
        if self._connections:
            await asyncio.wait(self._connections)

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        host, port, *_ = writer.get_extra_info("peername")
        peer = f"{host}:{port}"
        if self._stopping:
            writer.close()
            return
        if len(self._connections) >= self._settings.max_connections:
            self._telemetry.turned_away(peer, "too many connections")
            writer.close()
            return
        task = asyncio.current_task()
        assert task is not None
        connection = Connection(self._settings, self._devices, self._outbox, self._telemetry)
        self._connections[task] = connection
        self._telemetry.connected(peer)
        try:
            self._telemetry.disconnected(peer, await connection.serve(reader, writer))
        finally:
            del self._connections[task]
            writer.close()


class Registered:
    """The stations of the registry in force, their units by the codes of the table."""

    def __init__(self, registry: Callable[[], Registry], telemetry: FeedTelemetry) -> None:
        self._registry = registry
        self._telemetry = telemetry
        self._of: Registry | None = None
        self._by_mn: dict[str, Device] = {}

    def by_mn(self) -> Mapping[str, Device]:
        """By MN. A device whose units are not right goes without them, so that its values are kept and judged by nobody."""
        registry = self._registry()
        if registry is not self._of:
            self._of, self._by_mn = registry, {}
            for mn, device in registry.by_mn(FEED).items():
                try:
                    units = units_by_code(device.units)
                except Misconfigured as error:
                    self._telemetry.misregistered(device.id, f"factor_units: {error}")
                    units = {}
                self._by_mn[mn] = replace(device, units=units)
        return self._by_mn


class Connection:
    """One station's connection; what it remembers ends with it."""

    def __init__(self, settings: AirSettings, devices: "Registered", outbox: Outbox, telemetry: FeedTelemetry) -> None:
        self._settings = settings
        self._devices = devices
        self._outbox = outbox
        self._telemetry = telemetry
        self._framer = Framer()
        self._parts = PartTimes()
        self._noise = 0
        self._replies: asyncio.Queue[tuple[Reply, int] | None] = asyncio.Queue(settings.max_pending_messages)
        self._waiting_bytes = 0
        self._room = asyncio.Event()
        self._stopping = False
        self._listening: asyncio.Timeout | None = None

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> str:
        """Until either side ends; returns why. What was read by then is kept, and answered while the station takes answers."""
        # An answer has gone out when the system has it. What waited here instead would keep the socket open after the connection's end,
        # beyond every limit, for as long as the station reads nothing.
        writer.transport.set_write_buffer_limits(high=0)
        answering = asyncio.create_task(self._answer(writer))
        reading = asyncio.create_task(self._read_to_the_end(reader))
        try:
            refused, why = await asyncio.gather(answering, reading)
            return refused or why
        finally:
            answering.cancel()
            reading.cancel()

    def stop(self) -> None:
        """Reads nothing more. What has been read is not interrupted: `serve` returns when it is kept and answered."""
        self._stopping = True
        if self._listening and not self._listening.expired():
            self._listening.reschedule(0)

    async def _read_to_the_end(self, reader: asyncio.StreamReader) -> str:
        """Reads until either side ends, hands over what is left, and lets the answers come to their end."""
        why = await self._read(reader)
        await self._take(self._framer.close())
        await self._replies.put(None)
        return why

    async def _read(self, reader: asyncio.StreamReader) -> str:
        clock = asyncio.get_running_loop().time
        idle_s, pending_s = self._settings.idle_timeout_s, self._settings.pending_timeout_s
        heard = oldest_pending = clock()
        while not self._stopping:
            deadline = heard + idle_s
            if self._framer.pending:
                deadline = min(deadline, oldest_pending + pending_s)
            try:
                async with asyncio.timeout_at(deadline) as timer:
                    self._listening = timer
                    chunk = await reader.read(CHUNK_BYTES)
            except OSError as error:
                # The timer's TimeoutError is one, and so is the network's (ETIMEDOUT), which ends the connection.
                if not timer.expired():
                    return type(error).__name__
                if self._stopping:
                    break
                if clock() >= heard + idle_s:
                    return "idle"
                await self._take(self._framer.expire())
                oldest_pending = clock()
                continue
            finally:
                self._listening = None
            if not chunk:
                return "closed"
            heard = clock()
            await self._take(self._framer.feed(chunk))
            if self._framer.pending <= len(chunk):
                oldest_pending = heard  # all that waits came just now
        return "stopping"

    async def _take(self, arrived: Sequence[Message | Fault]) -> None:
        for one in arrived:
            size = len(one.raw) + RECORD_COST_BYTES
            # Alone, the largest finds room too.
            while self._waiting_bytes and self._waiting_bytes + size > self._settings.max_pending_bytes:
                self._room.clear()
                await self._room.wait()
            self._waiting_bytes += size
            await self._replies.put((self.keep(one, self._outbox.clock.now()), size))
        if self._framer.noise > self._noise:
            self._telemetry.noise(self._framer.noise - self._noise)
            self._noise = self._framer.noise

    def keep(self, one: Message | Fault, accepted_at: int) -> Reply:
        """Hands it to the outbox, as accepted at that moment (ms UTC)."""
        if isinstance(one, Fault):
            return self._keep_unread(one, one.reason, one.detail, accepted_at)
        try:
            return self._keep_message(one, accepted_at)
        except Exception as defect:  # noqa: BLE001 - ours, not the station's: kept whole for people, and the feed goes on
            self._telemetry.defect(defect)
            return self._keep_unread(one, Reason.POISON, type(defect).__name__, accepted_at)

    def _keep_message(self, message: Message, accepted_at: int) -> Reply:
        header = message.header
        if message.oversize:
            self._telemetry.oversize()
        device = self._devices.by_mn().get(header.mn)
        if device:
            self._outbox.alive(device, "heartbeat" if header.cn in NOTICES else "data")
        if header.cn in NOTICES:
            return self._empty(header)
        if device is None:
            return self._keep_unread(message, Reason.UNKNOWN_DEVICE, f"MN {header.mn}", accepted_at)
        record = translate(message, device, accepted_at, self._parts, self._settings.minute_period_s)
        if record is None:
            return self._empty(header)
        topic = TOPIC_OF_READINGS if isinstance(record, Reading) else TOPIC_OF_ALERTS
        cn, told = _told(header)
        return Reply(self._outbox.publish(topic, record, message.raw, answered=bool(told)), cn, told)

    def _keep_unread(self, one: Message | Fault, reason: Reason, detail: str, accepted_at: int) -> Reply:
        header = one.header
        device = self._devices.by_mn().get(header.mn) if header else None
        if device:
            self._outbox.alive(device, "fault")
        # A resend has the same QN; without one the minute tells two equal faults apart.
        when = header.qn if header and header.qn else f"{accepted_at // 60_000}"
        cn, told = _told(header)
        letter = DeadLetter(
            id=f"{FEED}/{when}/{hashlib.sha256(one.raw).hexdigest()[:16]}",
            feed=FEED,
            vendor=device.vendor if device else "",
            device=device.id if device else header.mn if header else "",
            reason=reason,
            detail=detail,
            raw=one.raw,
            evidence_sha256=None,
            accepted_at=accepted_at,
            answered=bool(told),
        )
        return Reply(self._outbox.dead_letter(letter), cn, told)

    def _empty(self, header: Header) -> Reply:
        fate: asyncio.Future[Fate] = asyncio.get_running_loop().create_future()
        fate.set_result(self._outbox.empty())
        return Reply(fate, *_told(header))

    async def _answer(self, writer: asyncio.StreamWriter) -> str:
        """Answers to the end of the queue; returns why not, if the station took no more."""
        refused = ""
        while (waiting := await self._replies.get()) is not None:
            reply, size = waiting
            fate = await reply.fate
            self._waiting_bytes -= size
            self._room.set()
            if fate not in KEPT or not reply.frame or refused:
                continue
            try:
                writer.write(reply.frame)
                async with asyncio.timeout(self._settings.idle_timeout_s):
                    await writer.drain()
            except OSError:
                # The message is kept; the station, not having heard so, sends it again. This ends the reading, too, and what has been
                # read is kept: it may want no answer.
                writer.transport.abort()
                refused = "the station takes no answers"
            else:
                self._outbox.answered(reply.cn)
        return refused


def _told(header: Header | None) -> tuple[str, bytes]:
    """What a message of this header is answered: the answer's CN, and its frame.

    The frame is empty where the station wants none (bit 0 of Flag), where the message is itself an answer, where it gave no QN to answer
    to, or so long a QN, PW and MN that they do not fit into a frame again.
    """
    if header is None or header.cn in ANSWERS or not header.qn or not header.flag or not header.flag & ANSWER_WANTED:
        return "", b""
    cn = NOTICE_ANSWER if header.cn in NOTICES else DATA_ANSWER
    try:
        return cn, answer(header, cn)
    except ValueError:
        return "", b""


def main(settings: Settings) -> None:
    """The connector as a process."""
    air = section(settings, FEED, AirSettings)
    allow_open_files(air.max_connections + OWN_FILES)
    run(
        FEED,
        settings,
        Stations(air),
        topics=TOPICS,
        budget_s=air.budget_s,
        metrics=HostPort(host="127.0.0.1", port=9401),
        answers=(DATA_ANSWER, NOTICE_ANSWER),
    )
