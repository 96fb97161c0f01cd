"""Ports that tests keep for themselves."""

import socket


def reserved_port() -> int:
    """A port of the loopback that nobody is given who asks the kernel for any, until this process ends; who names it can listen on it, again and again.

    A socket that is bound and does not listen keeps it so. A port that was merely free a moment ago becomes another's in the end: it is one of those
    that the kernel deals out.
    """
    keeper = socket.socket()
    # As who listens does, or it could not be listened on.
    keeper.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    keeper.bind(("127.0.0.1", 0))
    port = int(keeper.getsockname()[1])
    keeper.detach()  # nothing closes it
    return port
