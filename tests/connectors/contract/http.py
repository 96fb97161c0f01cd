"""Requests of HTTP/1.1 as bytes, the status of each answer, and keys."""

import hashlib
import re
from collections.abc import Mapping

from hub.core.registry import VendorKey


def key(text: str, *, ends: int | None = None) -> VendorKey:
    """As the registry has it."""
    return VendorKey(id=text, sha256=hashlib.sha256(text.encode()).hexdigest(), ends=ends)


def request(path: str, body: bytes, content_type: str = "", headers: Mapping[str, str] | None = None) -> bytes:
    """A whole POST, its length told."""
    lines = {"Host": "hub", **({"Content-Type": content_type} if content_type else {}), **(headers or {})}
    lines.setdefault("Content-Length", str(len(body)))
    head = "".join(f"{name}: {value}\r\n" for name, value in lines.items())
    return f"POST {path} HTTP/1.1\r\n{head}\r\n".encode() + body


def statuses(received: bytes) -> list[str]:
    """The status of each answer, the interim 100 left out."""
    return [found.decode() for found in re.findall(rb"HTTP/1\.1 ([2-5]\d\d) ", received)]


HOSTILE = (
    ("no HTTP", b"\x00\xff\x16\x03\x01 GET / \r\n\r\n"),
    ("a line without end", b"POST /" + b"a" * 20_000),
    ("headers without end", b"POST / HTTP/1.1\r\n" + b"X: y\r\n" * 5_000),
    ("two lengths", b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab"),
    ("a length that is none", b"POST / HTTP/1.1\r\nHost: h\r\nContent-Length: -1\r\n\r\n"),
    ("another protocol behind", b"POST / HTTP/1.1\r\nHost: h\r\nUpgrade: h2c\r\nConnection: Upgrade\r\n\r\n\x00\x00"),
    ("a path out of the house", b"POST /in/../../etc/passwd HTTP/1.1\r\nHost: h\r\nContent-Length: 0\r\n\r\n"),
)
"""What may come to any port that speaks HTTP, before anyone has shown a key."""
