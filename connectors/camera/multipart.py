"""Splits what cameras call multipart into its parts: tolerant, since the usual parsers fail on what devices really send. Bytes in, parts out.

What is tolerated (and seen): a boundary that the header quotes, leaves empty, or ends with a semicolon; lines that end with LF; an empty line
before a part's headers; no closing boundary and no line end before it; a Content-Length that is missing or wrong. The boundary decides; the
length is believed only where exactly behind it a boundary stands, so that a picture which happens to hold one is not cut.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from hub.core.errors import Reason, Rejected

MOST_PARTS = 16
MOST_HEADER_BYTES = 8192
_LINE_ENDS = b"\r\n"
_PARAMETER = re.compile(r';\s*([\w-]+)\s*=\s*("(?:[^"\\]|\\.)*"|[^;]*)')


@dataclass(frozen=True, slots=True)
class Part:
    """One part. `headers`: names in lower case, the last one of a name counts; `name` and `filename` of Content-Disposition, empty where there is none."""

    headers: dict[str, str]
    body: bytes = field(repr=False)

    @property
    def content_type(self) -> str:
        """The media type with its parameters, as it stands."""
        return self.headers.get("content-type", "")

    @property
    def name(self) -> str:
        """What the sender calls it: the file name, else the part's name."""
        told = parameters(self.headers.get("content-disposition", ""))
        return told.get("filename") or told.get("name", "")


def parameters(header: str) -> dict[str, str]:
    """The parameters of a header (`multipart/form-data; boundary="x"`), names in lower case, without quotes."""
    return {name.lower(): value.strip().strip('"') for name, value in _PARAMETER.findall(header)}


def split(body: bytes, content_type: str) -> list[Part]:
    """The parts in their order. Raises Rejected: syntax (no boundary is to be found), too_large (more than 16 parts)."""
    boundary = parameters(content_type).get("boundary", "").encode("latin-1", "replace")
    delimiter = b"--" + boundary
    if not boundary or not _begins_a_line(body, delimiter):
        delimiter = _first_delimiter(body)
    parts: list[Part] = []
    for part in _parts(body, delimiter):
        if len(parts) == MOST_PARTS:
            raise Rejected(Reason.TOO_LARGE, f"more than {MOST_PARTS} parts")
        parts.append(part)
    return parts


def _begins_a_line(body: bytes, delimiter: bytes) -> bool:
    return body.startswith(delimiter) or b"\n" + delimiter in body


def _first_delimiter(body: bytes) -> bytes:
    """The first line that begins as a boundary does."""
    place = 0 if body.startswith(b"--") else body.find(b"\n--") + 1
    if not place and not body.startswith(b"--"):
        raise Rejected(Reason.SYNTAX, "multipart without a boundary")
    line = body[place : place + 256].partition(b"\n")[0].rstrip(b"\r \t")
    if len(line) <= 2:  # noqa: PLR2004 - the two dashes: an empty boundary
        return b"--"
    return line


def _parts(body: bytes, delimiter: bytes) -> Iterator[Part]:
    place = 0 if body.startswith(delimiter) else body.find(b"\n" + delimiter) + 1
    while True:
        place += len(delimiter)
        rest = body[place : place + 2]
        if rest.startswith(b"--") and delimiter != b"--":
            return
        line_end = body.find(b"\n", place)
        if line_end < 0:
            return
        headers, begins = _headers(body, line_end + 1)
        ends, place = _end(body, begins, headers, delimiter)
        content = body[begins:ends]
        if content.strip(_LINE_ENDS) or headers:
            yield Part(headers, content)
        if place < 0:
            return


def _headers(body: bytes, place: int) -> tuple[dict[str, str], int]:
    """The headers that begin here, and where the content does. An empty line before them does not end them."""
    headers: dict[str, str] = {}
    start = place
    while place - start <= MOST_HEADER_BYTES:
        end = body.find(b"\n", place)
        if end < 0:
            return headers, place
        line = body[place:end].rstrip(b"\r")
        if not line:
            place = end + 1
            if headers or body[place : place + 1] in (b"<", b"{", b"[", b"\xff", b"\x89", b""):
                return headers, place
            continue
        name, colon, value = line.partition(b":")
        if not colon or not re.fullmatch(rb"[\w-]+", name.strip()):
            return headers, place  # no empty line stands between headers and content
        headers[name.strip().decode("ascii", "replace").lower()] = value.strip().decode("utf-8", "replace")
        place = end + 1
    raise Rejected(Reason.SYNTAX, f"headers of a part above {MOST_HEADER_BYTES} bytes")


def _end(body: bytes, begins: int, headers: dict[str, str], delimiter: bytes) -> tuple[int, int]:
    """Where the content ends, and where the next delimiter begins (-1: there is none)."""
    told = headers.get("content-length", "")
    if told.isascii() and told.isdecimal() and len(told) < 10:  # noqa: PLR2004 - no longer than any body
        ends = begins + int(told)
        following = body[ends : ends + len(delimiter) + 2].lstrip(_LINE_ENDS)
        if following.startswith(delimiter):
            return ends, body.index(delimiter, ends)
    found = body.find(b"\n" + delimiter, begins - 1)
    if found < 0:
        return len(body), -1
    ends = max(begins, found - 1 if body[found - 1 : found] == b"\r" else found)
    return ends, found + 1
