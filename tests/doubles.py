"""Stand-ins that tests share; what they stand for is tested itself elsewhere."""

import contextlib
import socket
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from hub.core.errors import Reason
from hub.telemetry import FeedTelemetry

Done = Callable[[Exception | None], None]


class RememberingTelemetry(FeedTelemetry):
    """Remembers what happened, as (name, arguments), in order."""

    def __init__(self) -> None:
        self.happened: list[tuple[object, ...]] = []

    def named(self, name: str) -> list[tuple[object, ...]]:
        """The arguments of every happening of that name."""
        return [what[1:] for what in self.happened if what[0] == name]

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
        self.raises: Exception | None = None
        self.keeps = keeps

    def publish(self, topic: str, key: str, value: bytes, headers: Sequence[tuple[str, bytes]], done: Done) -> None:
        """Raises what `raises` holds; acknowledges at once where `keeps` is set."""
        if self.raises:
            raise self.raises
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
