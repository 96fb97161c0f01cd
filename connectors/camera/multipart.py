"""Splits what cameras call multipart into its parts: tolerant, since the usual parsers fail on what devices really send. Bytes in, parts out.

What is tolerated (and seen): a boundary that the header quotes, leaves empty, or ends with a semicolon; lines that end with LF; an empty line
before a part's headers, or none behind them; headers folded over lines; no closing boundary, and no line end before one; a Content-Length that is
missing or wrong. The boundary decides, where it fills its line, so that a picture which happens to hold its letters is not cut; the length is
believed only where exactly behind it a boundary stands.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from hub.core.errors import Reason, Rejected

MOST_PARTS = 16
MOST_HEADER_BYTES = 8192
# Boundaries with nothing between them count too: so many, and the body is no camera's.
MOST_BOUNDARIES = 4 * MOST_PARTS
# A boundary of so many letters stands in no picture by chance, and need not begin a line.
SURE_LETTERS = 6
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
    told = parameters(content_type).get("boundary", "").encode("latin-1", "replace")
    boundary = _Boundary(told)
    if not told or not boundary.begins_a_line(body):
        boundary = _Boundary(_first_boundary(body))
    parts: list[Part] = []
    for part in _parts(body, boundary):
        if len(parts) == MOST_PARTS:
            raise Rejected(Reason.TOO_LARGE, f"more than {MOST_PARTS} parts")
        parts.append(part)
    return parts


class _Boundary:
    """The lines that part a body. All searches take time in proportion to what they go through."""

    def __init__(self, letters: bytes) -> None:
        line = re.escape(b"--" + letters) + rb"(?:(--)[ \t;]*(?=[\r\n]|\Z)|[ \t;]*(?=\r?\n|\Z))"
        self._sure = len(letters) >= SURE_LETTERS
        self._here = re.compile(line)
        self._on_a_line = re.compile(b"\n" + line)

    def here(self, body: bytes, place: int) -> re.Match[bytes] | None:
        """The one that begins exactly there."""
        return self._here.match(body, place)

    def begins_a_line(self, body: bytes) -> bool:
        return bool(self.here(body, 0) or self._on_a_line.search(body))

    def first(self, body: bytes) -> tuple[int, re.Match[bytes]] | None:
        """Where the first one begins, and it."""
        if found := self.here(body, 0):
            return 0, found
        found = self._on_a_line.search(body)
        return (found.start() + 1, found) if found else None

    def next(self, body: bytes, place: int) -> tuple[int, re.Match[bytes]] | None:
        """Where the next one behind the beginning of a content begins, and it."""
        if self._sure:
            found = self._here.search(body, place)
            return (found.start(), found) if found else None
        found = self._on_a_line.search(body, place - 1)
        return (found.start() + 1, found) if found else None


def _first_boundary(body: bytes) -> bytes:
    """What follows the dashes of the first line that begins as a boundary does."""
    place = 0 if body.startswith(b"--") else body.find(b"\n--") + 1
    if not place and not body.startswith(b"--"):
        raise Rejected(Reason.SYNTAX, "multipart without a boundary")
    return body[place : place + 256].partition(b"\n")[0].rstrip(b"\r \t;")[2:]


def _parts(body: bytes, boundary: _Boundary) -> Iterator[Part]:
    found, count = boundary.first(body), 0
    while found and not found[1][1]:
        count += 1
        if count > MOST_BOUNDARIES:
            raise Rejected(Reason.TOO_LARGE, f"more than {MOST_BOUNDARIES} boundaries")
        line_end = body.find(b"\n", found[1].end())
        if line_end < 0:
            return
        headers, begins = _headers(body, line_end + 1)
        found = _end(body, begins, headers, boundary)
        content = body[begins : _without_line_end(body, begins, found[0]) if found else len(body)]
        if headers or content.strip(_LINE_ENDS):
            yield Part(headers, content)


def _headers(body: bytes, place: int) -> tuple[dict[str, str], int]:
    """The headers that begin here, and where the content does. An empty line before them does not end them."""
    headers: dict[str, str] = {}
    start, name = place, ""
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
        said, colon, value = line.partition(b":")
        if name and line[:1] in b" \t":
            headers[name] += " " + line.strip().decode("utf-8", "replace")
        elif colon and re.fullmatch(rb"[\w-]+", said.strip()):
            name = said.strip().decode("ascii", "replace").lower()
            headers[name] = value.strip().decode("utf-8", "replace")
        else:
            return headers, place  # no empty line stands between headers and content
        place = end + 1
    raise Rejected(Reason.SYNTAX, f"headers of a part above {MOST_HEADER_BYTES} bytes")


def _end(body: bytes, begins: int, headers: dict[str, str], boundary: _Boundary) -> tuple[int, re.Match[bytes]] | None:
    """The boundary that ends the content; None: there is none."""
    told = headers.get("content-length", "")
    if told.isascii() and told.isdecimal() and len(told) < 10:  # noqa: PLR2004 - no longer than any body
        ends = begins + int(told)
        ends += 2 if body.startswith(b"\r\n", ends) else body.startswith(b"\n", ends)
        if found := boundary.here(body, ends):
            return ends, found
    return boundary.next(body, begins)


def _without_line_end(body: bytes, begins: int, ends: int) -> int:
    """Where a content ends whose boundary begins at `ends`: before the line end that belongs to the boundary."""
    for letter in (b"\n", b"\r"):
        if ends > begins and body[ends - 1 : ends] == letter:
            ends -= 1
        else:
            break
    return max(begins, ends)
