"""Stand-ins that tests share; what they stand for is tested itself elsewhere."""

import asyncio
import contextlib
import socket
import struct
import threading
from collections import deque
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from kafka.protocol.api_header import RequestHeader, ResponseClassRegistry
from kafka.protocol.api_message import ApiMessage

from hub.core.errors import AbortReason, Reason
from hub.core.events import Decision
from hub.core.registry import Registry
from hub.outbox import LIFE_SIGNS
from hub.telemetry import FeedTelemetry, RouterTelemetry

Done = Callable[[Exception | None], None]


async def comes(true: Callable[[], bool]) -> None:
    """Waits for what belongs to the spool, whose disk and pauses tell no event."""
    while not true():  # noqa: ASYNC110 - as said
        await asyncio.sleep(0.002)


class RememberingTelemetry(FeedTelemetry):
    """Remembers what happened, as (name, arguments), in order."""

    def __init__(self) -> None:
        self.happened: list[tuple[object, ...]] = []

    def named(self, name: str) -> list[tuple[object, ...]]:
        """The arguments of every happening of that name."""
        return [what[1:] for what in self.happened if what[0] == name]

    def registered(self, registry: Registry) -> None:
        self.happened.append(("registered", registry.version))

    def misregistered(self, device: str, why: str) -> None:
        self.happened.append(("misregistered", device, why))

    def serving(self, ports: Mapping[str, int]) -> None:
        self.happened.append(("serving", dict(ports)))

    def kafka_away(self, why: str) -> None:
        self.happened.append(("kafka_away", why))

    def kafka_back(self) -> None:
        self.happened.append(("kafka_back",))

    def stopping(self) -> None:
        self.happened.append(("stopping",))

    def stopped(self, balance: Mapping[str, int], *, drained: bool) -> None:
        self.happened.append(("stopped", dict(balance), drained))

    def defect(self, error: BaseException) -> None:
        self.happened.append(("defect", error))

    def received(self) -> None:
        self.happened.append(("received",))

    def published(self) -> None:
        self.happened.append(("published",))

    def dead_lettered(self, reason: Reason, device: str) -> None:
        self.happened.append(("dead_lettered", reason, device))

    def empty(self) -> None:
        self.happened.append(("empty",))

    def spooled(self, letter: Reason | None, device: str) -> None:
        self.happened.append(("spooled", letter, device))

    def clock_off(self, ahead_s: float) -> None:
        self.happened.append(("clock_off", ahead_s))

    def clock_right(self, ahead_s: float) -> None:
        self.happened.append(("clock_right", ahead_s))

    def spooling(self, messages: int) -> None:
        self.happened.append(("spooling", messages))

    def spool_holds(self, messages: int, size: int) -> None:
        self.happened.append(("spool_holds", messages, size))

    def unspooled(self) -> None:
        self.happened.append(("unspooled",))

    def spool_drained(self) -> None:
        self.happened.append(("spool_drained",))

    def spool_full(self, messages: int) -> None:
        self.happened.append(("spool_full", messages))

    def spool_fails(self, why: str) -> None:
        self.happened.append(("spool_fails", why))

    def spool_damaged(self, path: str, rescued: int) -> None:
        self.happened.append(("spool_damaged", path, rescued))

    def spool_set_aside(self, number: int, why: str) -> None:
        self.happened.append(("spool_set_aside", number, why))

    def refused(self, reason: Reason, device: str) -> None:
        self.happened.append(("refused", reason, device))

    def answered(self, answer: str) -> None:
        self.happened.append(("answered", answer))

    def connected(self, peer: str) -> None:
        self.happened.append(("connected", peer))

    def disconnected(self, peer: str, why: str) -> None:
        self.happened.append(("disconnected", peer, why))

    def turned_away(self, peer: str, why: str) -> None:
        self.happened.append(("turned_away", peer, why))

    def noise(self, size: int) -> None:
        self.happened.append(("noise", size))

    def oversize(self) -> None:
        self.happened.append(("oversize",))

    def http_refused(self, status: int, peer: str, why: str) -> None:
        self.happened.append(("http_refused", status, peer, why))


@dataclass(frozen=True, slots=True)
class Sent:
    """One record handed to a `FakeLog`; the test acknowledges it by calling `done`."""

    topic: str
    key: str
    value: bytes
    headers: Sequence[tuple[str, bytes]]
    done: Done = field(repr=False)


class FakeLog:
    """Stands for hub.kafka_log.Publisher: keeps what is published until the test says what became of it."""

    def __init__(self, *, keeps: bool = False) -> None:
        self.sent: list[Sent] = []
        self.life_signs: list[tuple[str, str, bytes]] = []
        self.raises: Exception | None = None
        self.keeps = keeps

    def publish(
        self,
        topic: str,
        key: str,
        value: bytes,
        headers: Sequence[tuple[str, bytes]],
        done: Done,
        town: str = "",
    ) -> None:
        """Raises what `raises` holds; acknowledges at once where `keeps` is set. Life signs, which nobody waits for, go to `life_signs`."""
        if self.raises:
            raise self.raises
        if topic == LIFE_SIGNS:
            self.life_signs.append((key, town, value))
            return
        self.sent.append(Sent(topic, key, value, headers, done))
        if self.keeps:
            done(None)


class CuttableProxy:
    """An HTTP CONNECT proxy on loopback that can be cut: a network that a test can pull out and put back.

    kafka-python sends every connection through its `proxy_url`, so that the addresses a broker advertises do not matter.
    """

    def __init__(self) -> None:
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        self._open: set[socket.socket] = set()
        self._lock = threading.Lock()
        self._cut = False
        self._flowing = threading.Event()
        self._flowing.set()
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        """Breaks all connections; new ones are refused."""
        with self._lock:
            self._cut = True
            for end in self._open:
                _break(end)

    def mend(self) -> None:
        """New connections work again, and held bytes flow."""
        self._cut = False
        self._flowing.set()

    def hold(self) -> None:
        """Connections stay, but nothing is carried, as with a host that has stopped answering."""
        self._flowing.clear()

    def close(self) -> None:
        self._flowing.set()
        self.cut()
        _break(self._listener)
        self._listener.close()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):  # closed: the end of the proxy
            while True:
                client, _ = self._listener.accept()
                threading.Thread(target=self._carry, args=(client,), daemon=True).start()

    def _carry(self, client: socket.socket) -> None:
        with client, contextlib.suppress(OSError):  # a broken end breaks the other: that is the proxy's whole work
            head = b""
            while not head.endswith(b"\r\n\r\n"):
                byte = client.recv(1)
                if not byte:
                    return
                head += byte
            host, _, port = head.split()[1].decode().rpartition(":")
            with socket.create_connection((host, int(port)), timeout=5) as server:
                server.settimeout(None)
                with self._lock:
                    if self._cut:
                        client.sendall(b"HTTP/1.1 503 Service Unavailable\r\n\r\n")
                        return
                    self._open |= {client, server}
                try:
                    client.sendall(b"HTTP/1.1 200 OK\r\n\r\n")
                    back = threading.Thread(target=self._pump, args=(server, client), daemon=True)
                    back.start()
                    self._pump(client, server)
                    back.join()
                finally:
                    with self._lock:
                        self._open -= {client, server}

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                self._flowing.wait()
                if self._cut:
                    break
                sink.sendall(data)
        for end in (source, sink):
            _break(end)


def _break(end: socket.socket) -> None:
    with contextlib.suppress(OSError):  # broken already
        end.shutdown(socket.SHUT_RDWR)


@dataclass(frozen=True, slots=True)
class Asked:
    """A request of a Kafka client as it passed a `ScriptedBroker`."""

    api: int
    version: int
    client: str
    frame: bytes = field(repr=False)

    @property
    def request(self) -> Any:
        """As kafka-python's own class."""
        [kind] = {each[None] for each in ApiMessage.__subclasses__() if self.api == each.API_KEY and each.is_request()}
        return kind[self.version].decode(self.frame, header=True)

    def again(self, request: Any) -> bytes:
        """The frame of a changed request, which keeps its number."""
        _, correlation, client = _head(self.frame)
        request.with_header(correlation, client)
        return bytes(request.encode(version=self.version, header=True))

    def answer(self, **fields: Any) -> bytes:
        """The frame of an answer to it; fields as in kafka-python's class of the answer."""
        kind = ResponseClassRegistry.get_response_class(
            RequestHeader(request_api_key=self.api, request_api_version=self.version, correlation_id=0, client_id="")
        )
        answer: Any = kind(**fields)
        answer.with_header(_head(self.frame)[1])
        return bytes(answer.encode(header=True))

    def decoded(self, answer: bytes) -> Any:
        """An answer to it, as kafka-python's class."""
        kind = ResponseClassRegistry.get_response_class(
            RequestHeader(request_api_key=self.api, request_api_version=self.version, correlation_id=0, client_id="")
        )
        return kind.decode(answer, header=True)


@dataclass(frozen=True, slots=True)
class Instead:
    """The frame that the client gets at once; the broker hears nothing of the request."""

    answer: bytes


class ScriptedBroker(CuttableProxy):
    """A proxy that understands the frames of Kafka, and can be told what becomes of requests of a kind.

    `on_request[api](asked)` says what the broker gets: the frame (`asked.frame`, or another), or `Instead`, or None: nothing, and the client
    waits. `on_answer[api](asked, answer)` says what the client gets: the frame, or None. It may wait: what follows on the same
    connection waits behind it. Answers keep the order of their requests.
    """

    PRODUCE, FETCH, LIST_OFFSETS, JOIN_GROUP, HEARTBEAT, SYNC_GROUP, INIT_PRODUCER_ID = 0, 1, 2, 11, 12, 14, 22
    ADD_PARTITIONS, ADD_OFFSETS, END_TXN, TXN_OFFSET_COMMIT = 24, 25, 26, 28

    def __init__(self) -> None:
        self.asked: list[Asked] = []
        self.on_request: dict[int, Callable[[Asked], bytes | Instead | None]] = {}
        self.on_answer: dict[int, Callable[[Asked, bytes], bytes | None]] = {}
        self.mistakes: list[Exception] = []
        """What the script itself raised; a test must find none."""
        self._talks: dict[frozenset[int], _Talk] = {}
        super().__init__()

    def count(self, api: int) -> int:
        """How many requests of the kind have come."""
        return sum(asked.api == api for asked in self.asked)

    def _pump(self, source: socket.socket, sink: socket.socket) -> None:
        from_client = source.getsockname() == self._listener.getsockname()
        with self._lock:
            talk = self._talks.setdefault(frozenset((id(source), id(sink))), _Talk())
        try:
            with contextlib.suppress(OSError, struct.error):
                while frame := _frame(source):
                    self._flowing.wait()
                    if self._cut:
                        break
                    if from_client:
                        self._ask(talk, frame, source, sink)
                    else:
                        self._answer(talk, frame, sink)
        except Exception as mistake:  # noqa: BLE001 - of the script; it must not look like a lost line
            self.mistakes.append(mistake)
        with self._lock:
            self._talks.pop(frozenset((id(source), id(sink))), None)
        for end in (source, sink):
            _break(end)

    def _ask(self, talk: "_Talk", frame: bytes, client: socket.socket, server: socket.socket) -> None:
        (api, version), _, name = _head(frame)
        asked = Asked(api, version, name, frame)
        self.asked.append(asked)
        script = self.on_request.get(api)
        becomes = script(asked) if script else frame
        if becomes is None:
            return
        with talk.lock:
            talk.expected.append((asked, becomes.answer if isinstance(becomes, Instead) else None))
            talk.give(client)
        if not isinstance(becomes, Instead):
            server.sendall(struct.pack(">i", len(becomes)) + becomes)

    def _answer(self, talk: "_Talk", frame: bytes, client: socket.socket) -> None:
        with talk.lock:
            asked, _ = talk.expected[0]
        script = self.on_answer.get(asked.api)
        becomes = script(asked, frame) if script else frame
        with talk.lock:
            talk.expected.popleft()
            if becomes is not None:
                client.sendall(struct.pack(">i", len(becomes)) + becomes)
            talk.give(client)


class _Talk:
    """One connection: requests that wait for their answers, each with the answer that is known already."""

    def __init__(self) -> None:
        self.lock = threading.Lock()
        self.expected: deque[tuple[Asked, bytes | None]] = deque()

    def give(self, client: socket.socket) -> None:
        while self.expected and (known := self.expected[0][1]) is not None:
            self.expected.popleft()
            client.sendall(struct.pack(">i", len(known)) + known)


def _head(frame: bytes) -> tuple[tuple[int, int], int, str]:
    api, version, correlation, length = struct.unpack_from(">hhih", frame)
    return (api, version), correlation, frame[10 : 10 + max(0, length)].decode()


def _frame(source: socket.socket) -> bytes:
    """The next whole frame without its length; empty at the end."""
    (size,) = struct.unpack(">i", _exactly(source, 4))
    return _exactly(source, size)


def _exactly(source: socket.socket, size: int) -> bytes:
    got = bytearray()
    while len(got) < size and (some := source.recv(size - len(got))):
        got += some
    return bytes(got)


class RememberingRouterTelemetry(RouterTelemetry):
    """Remembers what happened in a router, as (name, arguments), in order."""

    def __init__(self) -> None:
        self.happened: list[tuple[object, ...]] = []

    def named(self, name: str) -> list[tuple[object, ...]]:
        """The arguments of every happening of that name."""
        return [what[1:] for what in self.happened if what[0] == name]

    def assigned(self, partitions: Collection[int], generation: int) -> None:
        self.happened.append(("assigned", frozenset(partitions), generation))

    def rebuilt(self, partitions: Collection[int], entries: int, seconds: float) -> None:
        self.happened.append(("rebuilt", frozenset(partitions), entries, seconds))

    def adopted(self, partition: int, versions: Mapping[str, str]) -> None:
        self.happened.append(("adopted", partition, dict(versions)))

    def registry_away(self, why: str) -> None:
        self.happened.append(("registry_away", why))

    def committed(self) -> None:
        self.happened.append(("committed",))

    def decided(self, decision: Decision, waited_s: float | None) -> None:
        self.happened.append(("decided", decision, waited_s))

    def dead_lettered(self, reason: Reason, partition: int) -> None:
        self.happened.append(("dead_lettered", reason, partition))

    def quarantined(self, partition: int, town: str, why: str) -> None:
        self.happened.append(("quarantined", partition, town, why))

    def in_quarantine(self, partition: int, towns: int) -> None:
        self.happened.append(("in_quarantine", partition, towns))

    def registry_refused(self, version: int) -> None:
        self.happened.append(("registry_refused", version))

    def passed_over(self, partition: int, entries: int) -> None:
        self.happened.append(("passed_over", partition, entries))

    def aborted(self, reason: AbortReason, why: str) -> None:
        self.happened.append(("aborted", reason, why))

    def lag(self, topic: str, partition: int, records: int, age_s: float) -> None:
        self.happened.append(("lag", topic, partition, records, age_s))

    def clock_off(self, ahead_s: float) -> None:
        self.happened.append(("clock_off", ahead_s))

    def clock_right(self, ahead_s: float) -> None:
        self.happened.append(("clock_right", ahead_s))

    def kafka_away(self, why: str) -> None:
        self.happened.append(("kafka_away", why))

    def kafka_back(self) -> None:
        self.happened.append(("kafka_back",))
