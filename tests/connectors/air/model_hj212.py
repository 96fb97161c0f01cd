"""HJ 212 framing a second time: slow, literal, and sharing no line with the connector.

One byte is looked at, the rules are read from the top, and whatever a rule drops comes back byte by byte as if it had just
arrived. So no cutting of a stream can matter, and no state is kept that the rules do not name. The layout, the CRC and the
encrypted form are those of HJ 212-2017 clause 6.3, its annex A and HJ 212-2025; what to do with broken frames is the hub's own.
"""

import re
from collections import deque
from collections.abc import Iterator
from dataclasses import dataclass, field

HEADER = re.compile(rb"##[0-9]{4}[A-Za-z;]")
ENCRYPTED = b"CP=&&{0x"
MOST_WAITING = 64 * 1024
MOST_FAULTY = 64 * 1024


def crc(segment: bytes) -> int:
    """CRC of HJ 212-2017 annex A, bit by bit."""
    register = 0xFFFF
    for byte in segment:
        register = (register >> 8) ^ byte
        for _ in range(8):
            low = register & 1
            register >>= 1
            if low:
                register ^= 0xA001
    return register


def built(segment: bytes) -> bytes:
    """The frame a device sends for `segment`."""
    return b"##%04d%b%04X\r\n" % (len(segment), segment, crc(segment))


@dataclass(frozen=True, slots=True)
class Heading:
    """The named fields before `CP`; None where the device gave none."""

    qn: str | None
    st: str | None
    cn: str
    pw: str | None
    mn: str
    flag: int | None
    pnum: int | None
    pno: int | None
    extra: tuple[tuple[str, str], ...]


@dataclass(frozen=True, slots=True)
class Outcome:
    """A frame (`reason` empty) or a fault, with the bytes of the stream it stands for.

    `heading` of a `syntax` fault is not part of the model: how much of a broken frame is still believed is left to the codec.
    """

    reason: str
    raw: bytes
    heading: Heading | None = None
    items: tuple[tuple[str, str | None], ...] = ()
    oversize: bool = False


class Unreadable(Exception):
    """A segment with a good CRC that is not HJ 212."""


@dataclass(slots=True)
class ModelFramer:
    """What one connection's bytes become. `line_ends` counts CR and LF between frames, which are neither noise nor fault."""

    waiting: bytearray = field(default_factory=bytearray)
    outcomes: list[Outcome] = field(default_factory=list)
    noise: int = 0
    line_ends: int = 0
    encrypted: bool = False
    fault_reason: str | None = None
    fault_bytes: bytes = b""

    def feed(self, chunk: bytes) -> list[Outcome]:
        """What these bytes complete, in order."""
        coming = deque(chunk)
        while coming:
            self.waiting.append(coming.popleft())
            coming.extendleft(reversed(self._look()))
        return self._given_out()

    @property
    def pending(self) -> int:
        """Bytes that have ended nowhere yet."""
        return len(self.waiting) + len(self.fault_bytes)

    def expire(self) -> list[Outcome]:
        """60 s have passed since the oldest pending byte: a frame that began is a fault from now on, a fault that began is given out."""
        if self.waiting.startswith(b"##"):
            self._begin_fault("timeout", self._take(len(self.waiting)))
        else:
            for byte in self._take(len(self.waiting)):
                self._outside(byte)
            self._end_fault()
        return self._given_out()

    def close(self) -> list[Outcome]:
        """The stream ends, and with it whatever began."""
        return self.expire() + self.expire()

    def _look(self) -> bytes:
        """Reads the rules once for the newest byte; the bytes to be looked at again, if a rule dropped some."""
        if self.waiting == b"#":
            return b""
        if self.waiting.startswith(b"##"):
            self._end_fault()
            return self._look_frame()
        self._outside(self.waiting[0])
        return self._again(1)

    def _look_frame(self) -> bytes:
        waiting = self.waiting
        if waiting.startswith(b"###"):
            self._outside(waiting[0])
            return self._again(1)
        if len(waiting) < 6:
            return b""
        if not all(0x30 <= digit <= 0x39 for digit in waiting[2:6]):
            return self._length_fault(2)
        length = int(waiting[2:6])
        if ENCRYPTED in waiting[6 : 6 + length]:
            self.encrypted = True
        if self.encrypted:
            return self._look_encrypted()
        header = HEADER.search(waiting[6 : length + 10])
        if header:
            return self._length_fault(6 + header.start())
        return self._look_whole(length) if len(waiting) == length + 10 else b""

    def _look_encrypted(self) -> bytes:
        if self.waiting.endswith(b"\r\n"):
            raw = self._take(len(self.waiting) - 2)
            self._take(2)
            self.line_ends += 2
            self.outcomes.append(Outcome("encrypted", raw, _heading_or_none(raw[6:])))
        elif len(self.waiting) > MOST_WAITING:
            return self._length_fault(2)
        return b""

    def _look_whole(self, length: int) -> bytes:
        checksum = bytes(self.waiting[-4:])
        if not re.fullmatch(rb"[0-9A-Fa-f]{4}", checksum):
            return self._length_fault(2)
        raw = self._take(len(self.waiting))
        segment = raw[6:-4]
        if int(checksum, 16) != crc(segment):
            self.outcomes.append(Outcome("crc", raw))
            return b""
        try:
            heading, items = read(segment)
        except Unreadable:
            self.outcomes.append(Outcome("syntax", raw))
        else:
            self.outcomes.append(Outcome("", raw, heading, items, oversize=length > 1024))
        return b""

    def _take(self, count: int) -> bytes:
        taken = bytes(self.waiting[:count])
        del self.waiting[:count]
        self.encrypted = False
        return taken

    def _again(self, dropped: int) -> bytes:
        self._take(dropped)
        return self._take(len(self.waiting))

    def _length_fault(self, dropped: int) -> bytes:
        self._begin_fault("length", self._take(dropped))
        return self._take(len(self.waiting))

    def _outside(self, byte: int) -> None:
        if self.fault_reason is not None:
            self.fault_bytes += bytes([byte])
            if len(self.fault_bytes) >= MOST_FAULTY:
                self._end_fault()
        elif byte in b"\r\n":
            self.line_ends += 1
        else:
            self.noise += 1

    def _begin_fault(self, reason: str, raw: bytes) -> None:
        self.fault_reason, self.fault_bytes = reason, raw

    def _end_fault(self) -> None:
        if self.fault_reason is not None:
            self.outcomes.append(Outcome(self.fault_reason, self.fault_bytes))
        self.fault_reason, self.fault_bytes = None, b""

    def _given_out(self) -> list[Outcome]:
        given, self.outcomes = self.outcomes, []
        return given


def read(segment: bytes) -> tuple[Heading, tuple[tuple[str, str | None], ...]]:
    """Header and items of a segment; raises Unreadable."""
    text = _text(segment)
    before, found, after = text.partition("CP=&&")
    if not found or not after.endswith("&&"):
        raise Unreadable
    return _heading(before), tuple(_items(after[:-2]))


def _text(data: bytes) -> str:
    for encoding in ("utf-8", "gb18030"):
        try:
            return data.decode(encoding)
        except UnicodeDecodeError:
            continue
    raise Unreadable


def _heading_or_none(segment: bytes) -> Heading | None:
    """The heading of a frame whose body is not read; bytes that are no text stand for themselves, so that it can be answered."""
    head = segment.partition(b"CP=&&")[0]
    try:
        text = _text(head)
    except Unreadable:
        text = head.decode("latin-1")
    try:
        return _heading(text)
    except Unreadable:
        return None


def _heading(text: str) -> Heading:
    given: dict[str, str] = {}
    for piece in text.split(";"):
        if not piece.strip():
            continue
        name, equals, value = piece.strip().partition("=")
        if not equals:
            raise Unreadable
        given.setdefault(name, value)
    flag, pnum, pno = (_integer(given.pop(name, None)) for name in ("Flag", "PNUM", "PNO"))
    mn, cn = given.pop("MN", ""), given.pop("CN", "")
    if not mn or not cn or (flag is not None and not 0 <= flag <= 255):
        raise Unreadable
    qn, st, pw = (given.pop(name, None) for name in ("QN", "ST", "PW"))
    return Heading(qn, st, cn, pw, mn, flag, pnum, pno, tuple(given.items()))


def _integer(text: str | None) -> int | None:
    if text is None:
        return None
    try:
        return int(text)
    except ValueError:
        raise Unreadable from None


def _items(body: str) -> Iterator[tuple[str, str | None]]:
    for piece in _pieces(body):
        if piece.strip():
            name, equals, value = piece.strip().partition("=")
            yield name, value if equals else None


def _pieces(body: str) -> Iterator[str]:
    """`body` cut at `;` and `,`, but not between `//` and the next `//`."""
    piece, at, inside = "", 0, False
    while at < len(body):
        if body.startswith("//", at) and (inside or "//" in body[at + 2 :]):
            inside = not inside
            piece += "//"
            at += 2
            continue
        if body[at] in ";," and not inside:
            yield piece
            piece = ""
        else:
            piece += body[at]
        at += 1
    yield piece
