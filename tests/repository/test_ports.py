"""What the tests' own means promise."""

import errno
import socket
import struct

import pytest

from tests.ports import reserved_port

IP_LOCAL_PORT_RANGE = 51  # linux/in.h


def test_who_names_a_reserved_port_listens_on_it_again_and_again() -> None:
    port = reserved_port()
    for _ in range(2):
        with socket.create_server(("127.0.0.1", port)) as server, socket.create_connection(server.getsockname()):
            server.accept()[0].close()


def test_a_reserved_port_is_given_to_nobody_who_asks_for_any() -> None:
    port = reserved_port()
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket() as listener, socket.socket() as client:
        listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        for each in (listener, client):
            try:
                each.setsockopt(socket.IPPROTO_IP, IP_LOCAL_PORT_RANGE, struct.pack("=I", port << 16 | port))
            except OSError as error:
                if error.errno != errno.ENOPROTOOPT:
                    raise
                pytest.skip("the kernel cannot be asked for this port alone (Linux 6.3)")
        with pytest.raises(OSError, match="Address already in use"):
            listener.bind(("127.0.0.1", 0))
        with pytest.raises(OSError, match="Cannot assign requested address"):
            client.connect(server.getsockname())
