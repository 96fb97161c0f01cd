"""The proxy of the fault runs, on real sockets: it carries, and does each of the things that it is there for."""

import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing

import pytest

from tests.faults.proxy import TO_BROKER, TO_CLIENT, Proxy, Weather


@pytest.fixture
def echo() -> Iterator[int]:
    """A server that says what it hears; its port."""
    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                threading.Thread(target=answer, args=(connection,), daemon=True).start()

        def answer(connection: socket.socket) -> None:
            with connection:
                try:
                    while heard := connection.recv(65536):
                        connection.sendall(heard)
                except OSError:
                    return

        thread = threading.Thread(target=serve, daemon=True)
        thread.start()
        yield server.getsockname()[1]
        server.shutdown(socket.SHUT_RDWR)
    thread.join(5)


@pytest.fixture
def proxy(echo: int) -> Iterator[Proxy]:
    with closing(Proxy(echo)) as one:
        yield one


def connected(proxy: Proxy) -> socket.socket:
    return socket.create_connection(("127.0.0.1", proxy.port), timeout=5)


def asked(client: socket.socket, words: bytes) -> bytes:
    client.sendall(words)
    heard = b""
    while len(heard) < len(words):
        heard += client.recv(65536)
    return heard


def test_it_carries_both_ways(proxy: Proxy) -> None:
    words = bytes(range(256)) * 4096
    with connected(proxy) as client, connected(proxy) as other:
        assert asked(client, words) == words
        assert asked(other, b"other") == b"other"


def test_it_delays(proxy: Proxy) -> None:
    with connected(proxy) as client:
        asked(client, b"now")
        proxy.turn(Weather(delay_s=0.2))
        began = time.monotonic()
        asked(client, b"later")
        assert time.monotonic() - began >= 0.4
        proxy.turn(Weather())
        began = time.monotonic()
        asked(client, b"now")
        assert time.monotonic() - began < 0.2


def test_it_is_narrow(proxy: Proxy) -> None:
    with connected(proxy) as client:
        proxy.turn(Weather(bytes_per_s=100_000))
        began = time.monotonic()
        asked(client, bytes(50_000))
        assert time.monotonic() - began >= 0.5


@pytest.mark.parametrize("way", [TO_BROKER, TO_CLIENT])
def test_it_goes_silent_in_one_direction_and_tells_nobody(proxy: Proxy, way: str) -> None:
    with connected(proxy) as client:
        asked(client, b"now")
        proxy.turn(Weather(silent=frozenset({way})))
        client.sendall(b"held up")
        client.settimeout(0.3)
        with pytest.raises(TimeoutError):
            client.recv(1)
        proxy.turn(Weather())
        client.settimeout(5)
        assert client.recv(100) == b"held up"


def test_it_breaks_connections_and_takes_new_ones(proxy: Proxy) -> None:
    with connected(proxy) as client, connected(proxy) as other:
        asked(client, b"now")
        asked(other, b"now")
        assert proxy.reset() == 2
        with pytest.raises(ConnectionResetError):
            client.recv(1)
    with connected(proxy) as client:
        assert asked(client, b"again") == b"again"


def test_it_turns_new_ones_away_while_the_old_go_on(proxy: Proxy) -> None:
    with connected(proxy) as client:
        asked(client, b"now")
        proxy.turn(Weather(closed=True))
        # Where the break is faster than the caller, connecting fails already.
        with pytest.raises(ConnectionResetError), connected(proxy) as other:
            other.recv(1)
        assert asked(client, b"still") == b"still"


def test_an_end_of_one_side_is_one_of_the_other(proxy: Proxy) -> None:
    with connected(proxy) as client:
        asked(client, b"now")
        client.shutdown(socket.SHUT_WR)
        assert client.recv(1) == b""
