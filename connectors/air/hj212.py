"""HJ 212 codec: bytes <-> messages, for all three generations (HJ/T 212-2005, HJ 212-2017, HJ 212-2025). No socket, no clock.

A frame is `##`, LEN (4 decimal digits, the bytes of the segment), the segment, its CRC (4 hexadecimal digits), CR LF. Stations get each
of these wrong, so the rules of recovery matter as much as the layout. They are stated as if bytes came one at a time, which is why no
cutting of a stream changes what comes out:

1. What precedes `##` is noise: counted, not kept. CR and LF there are not even counted. Of more than two `#` in a row the last two count.
2. No four digits after `##`: a `length` fault, and the search goes on two bytes further.
3. Within what LEN promises, whichever is complete first decides: the header of another frame (`##`, four digits, a letter or `;`) makes
   what precedes it a `length` fault; `CP=&&{0x` inside the segment is an encrypted frame of 2025, which ends at CR LF, since its LEN may
   be the plain text's. More than 64 KiB without CR LF: a `length` fault, on from two bytes further.
4. No CRC where LEN says: a `length` fault, on from two bytes further.
5. A `length` or `timeout` fault also owns the bytes (CR and LF too) up to the next `##`, and is given out there, or at 64 KiB: what comes
   after that is noise.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

from hub.core.errors import Reason

START = b"##"
TAIL = b"\r\n"
BODY = "CP=&&"
BODY_END = "&&"
LEN_AT = 2
SEGMENT_AT = 6
CRC_BYTES = 4
USUAL_SEGMENT_BYTES = 1024
MOST_PENDING_BYTES = 64 * 1024
VERSION_BITS = 0b1111_1100
MOST_FLAG = 255

_HASH = START[0]
_HASHES = re.compile(b"#*")
_HEX = re.compile(b"[0-9A-Fa-f]{4}")
_COUNT = re.compile("[0-9]{1,9}")
_PIECE = re.compile("(?://.*?//|[^;,/]+|/)+", re.DOTALL)


def _crc_table() -> tuple[int, ...]:
    table = []
    for register in range(256):
        for _ in range(8):
            register = register >> 1 ^ (0xA001 if register & 1 else 0)  # noqa: PLW2901 - the register is what is shifted
        table.append(register)
    return tuple(table)


_CRC = _crc_table()
_CRC_HIGH = bytes(register >> 8 for register in _CRC)


def crc16(segment: bytes) -> int:
    """The CRC of HJ 212-2017, Annex A: not CRC-16/MODBUS, since each step throws the register's low byte away.

    So only the high byte is carried from byte to byte, and only 256 different values exist.
    """
    if not segment:
        return 0xFFFF
    high = 0xFF
    for byte in segment[:-1]:
        high = _CRC_HIGH[high ^ byte]
    return _CRC[high ^ segment[-1]]


def frame(segment: bytes) -> bytes:
    """`##LEN`, the segment, its CRC, CR LF. Raises ValueError above 9999 bytes: LEN has four digits."""
    if len(segment) > 9999:  # noqa: PLR2004 - four digits
        raise ValueError(f"a segment of {len(segment)} bytes has no LEN")
    return b"%s%04d%s%04X%s" % (START, len(segment), segment, crc16(segment), TAIL)


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """The fields before `CP` (HJ 212-2017 clause 6.3), as sent; None where absent.

    `flag`: bit 0 asks for an answer, bit 1 says that PNUM and PNO are there, bits 2 to 7 are the generation (0 is 2005, 1 is 2017, 2 is
    2025). `pnum`, `pno`: number of parts of a split message, and which one this is, from 1. `extra`: names the standard does not give, and
    RF. `encoding`: what turns the texts back into the bytes that came.
    """

    qn: str | None
    st: str | None
    cn: str
    pw: str | None
    mn: str
    flag: int | None
    pnum: int | None
    pno: int | None
    extra: tuple[tuple[str, str], ...] = ()
    encoding: str = "utf-8"


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """A good frame. `items`: the pairs of CP in their order, duplicates kept, None where there was no `=`.

    `raw`: from `##` to the CRC, without CR LF. `oversize`: a segment longer than the 1024 bytes of the standard.
    """

    header: Header
    items: tuple[tuple[str, str | None], ...]
    raw: bytes
    oversize: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Fault:
    """Bytes that are no good frame.

    `header`: what could be read of it, in `syntax` and `encrypted` faults only: there the sender may forget the message once it is kept,
    since the header says whose it is and sending again would change nothing. `detail` quotes nothing of the message: it may name a person.
    """

    reason: Reason
    detail: str
    raw: bytes
    header: Header | None = None


def answer(header: Header, cn: str) -> bytes:
    """The frame that answers `header` with CN 9014 (data), 9013 (notice) or 9011 (request; it carries QnRtn=1, "ready").

    QN, PW and MN are the bytes that came; Flag repeats the generation of the peer and asks for nothing. Raises ValueError if there is no QN
    (HJ 212-2017 clause 6.5: the QN is what ties an answer to its question).
    """
    if not header.qn:
        raise ValueError("without QN there is nothing to answer")
    generation = (header.flag or 0) & VERSION_BITS
    fields = f"QN={header.qn};ST=91;CN={cn};PW={header.pw or ''};MN={header.mn};Flag={generation}"
    body = "QnRtn=1" if cn == "9011" else ""
    return frame(f"{fields};{BODY}{body}{BODY_END}".encode(header.encoding))


class _Sight:
    """Finds a pattern of fixed width in a growing buffer. Questions must move forward: then each byte is looked at once."""

    def __init__(self, pattern: bytes, width: int) -> None:
        self.width = width
        self._pattern = re.compile(pattern)
        self._found = -1
        self._seen = 0

    def first(self, buffer: bytearray, at: int) -> int | None:
        """Where the first one from `at` on begins; None: not in what is here."""
        if self._found >= at:
            return self._found
        begin = max(self._seen, at)
        match = self._pattern.search(buffer, begin)
        if match is None:
            self._seen = max(begin, len(buffer) - self.width + 1)
            return None
        self._found = match.start()
        self._seen = self._found + 1
        return self._found

    def shift(self, count: int) -> None:
        """The first `count` bytes have left the buffer."""
        self._found = max(self._found - count, -1)
        self._seen = max(self._seen - count, 0)


@dataclass(slots=True)
class _Begun:
    """A fault that still collects the bytes up to the next `##`."""

    reason: Reason
    detail: str
    raw: bytearray


class Framer:
    """Cuts what a connection delivers into messages and faults; any cutting of the same stream gives the same.

    Raises nothing whatever the bytes. Holds at most 64 KiB between calls (and twice that while a fault is begun); time is linear in the
    bytes fed. `noise` counts bytes that belong to nothing.
    """

    def __init__(self) -> None:
        self.noise = 0
        self._buffer = bytearray()
        self._start = 0
        self._begun: _Begun | None = None
        self._headers = _Sight(rb"##[0-9]{4}[A-Za-z;]", 7)
        self._ciphers = _Sight(rb"CP=&&\{0x", 8)
        self._tails = _Sight(rb"\r\n", 2)

    @property
    def pending(self) -> int:
        """Bytes that wait: of an unfinished frame, or of a fault not yet given out."""
        return len(self._buffer) + (len(self._begun.raw) if self._begun else 0)

    def feed(self, chunk: bytes) -> list[Message | Fault]:
        """What the stream so far completes, in its order."""
        self._buffer += chunk
        done: list[Message | Fault] = []
        while self._seek(done) and self._decide(done):
            pass
        self._forget()
        return done

    def expire(self) -> list[Fault]:
        """The oldest pending byte has waited too long (60 s by default: the caller has the clock).

        A frame that began becomes a `timeout` fault, which still collects what follows up to the next `##`; a fault that already did so is
        given out. So bytes wait at most for two calls.
        """
        done: list[Message | Fault] = []
        if self._begun is None and self._buffer.startswith(START):
            self._begin(Reason.TIMEOUT, "the frame did not become complete in time", len(START))
            self._skip(len(self._buffer), done)
        else:
            self._skip(len(self._buffer), done)
            self._give_out(done)
        self._forget()
        return [fault for fault in done if isinstance(fault, Fault)]

    def close(self) -> list[Fault]:
        """The stream has ended: whatever is pending comes out, an unfinished frame as a `timeout` fault."""
        faults = self.expire()
        return faults + self.expire() if self.pending else faults

    def _seek(self, done: list[Message | Fault]) -> bool:
        """Goes to the next `##`; False: it has not come."""
        found = self._buffer.find(START, self._start)
        if found < 0:
            self._skip(len(self._buffer) - self._buffer.endswith(b"#", self._start), done)
            return False
        self._skip(found, done)
        self._give_out(done)
        return True

    def _decide(self, done: list[Message | Fault]) -> bool:
        """Settles what begins at `##`; False: that takes more bytes."""
        buffer, start = self._buffer, self._start
        here = len(buffer) - start
        if here > LEN_AT and buffer[start + LEN_AT] == _HASH:
            self._skip(_after_hashes(buffer, start) - len(START), done)
            return True
        if here < SEGMENT_AT:
            return False
        digits = buffer[start + LEN_AT : start + SEGMENT_AT]
        if not digits.isdigit():
            self._begin(Reason.LENGTH, "no four digits after ##", len(START))
            return True
        return self._decide_framed(start + SEGMENT_AT + int(digits), done)

    def _decide_framed(self, end: int, done: list[Message | Fault]) -> bool:
        """Settles a frame whose segment should end at `end`."""
        buffer, start = self._buffer, self._start
        segment = start + SEGMENT_AT
        header = self._within(self._headers, segment, end + CRC_BYTES)
        cipher = self._within(self._ciphers, segment, end)
        if cipher is not None and (header is None or cipher < header):
            return self._decide_encrypted(cipher, done)
        if header is not None:
            self._begin(Reason.LENGTH, "another frame begins before the length is reached", header - start)
            return True
        if len(buffer) < end + CRC_BYTES:
            return False
        if not _HEX.match(buffer, end):
            self._begin(Reason.LENGTH, "no CRC where the length says", len(START))
            return True
        done.append(_read(bytes(buffer[start : end + CRC_BYTES])))
        self._start = end + CRC_BYTES
        return True

    def _decide_encrypted(self, cipher: int, done: list[Message | Fault]) -> bool:
        buffer, start = self._buffer, self._start
        tail = self._tails.first(buffer, cipher + self._ciphers.width)
        # One at a time, the byte before the last of CR LF was already too many.
        held = (len(buffer) if tail is None else tail + 1) - start
        if held > MOST_PENDING_BYTES:
            self._begin(Reason.LENGTH, "an encrypted frame without CR LF", len(START))
            return True
        if tail is None:
            return False
        before, _, _ = bytes(buffer[start + SEGMENT_AT : cipher]).partition(BODY.encode())
        header, _ = _read_header(*_decode(before))
        raw = bytes(buffer[start:tail])
        done.append(Fault(reason=Reason.ENCRYPTED, detail="the key is not known here", raw=raw, header=header))
        self._start = tail
        return True

    def _within(self, sight: _Sight, begin: int, end: int) -> int | None:
        found = sight.first(self._buffer, begin)
        return found if found is not None and found + sight.width <= end else None

    def _begin(self, reason: Reason, detail: str, size: int) -> None:
        after = self._start + size
        self._begun = _Begun(reason, detail, self._buffer[self._start : after])
        self._start = after

    def _skip(self, end: int, done: list[Message | Fault]) -> None:
        """The bytes up to `end` belong to the fault that has begun, as far as it may grow, else to nothing."""
        if self._begun is not None:
            taken = min(end, self._start + MOST_PENDING_BYTES - len(self._begun.raw))
            self._begun.raw += self._buffer[self._start : taken]
            self._start = taken
            if len(self._begun.raw) == MOST_PENDING_BYTES:
                self._give_out(done)
        line_ends = sum(self._buffer.count(byte, self._start, end) for byte in TAIL)
        self.noise += end - self._start - line_ends
        self._start = end

    def _give_out(self, done: list[Message | Fault]) -> None:
        if self._begun is not None:
            done.append(Fault(reason=self._begun.reason, detail=self._begun.detail, raw=bytes(self._begun.raw)))
            self._begun = None

    def _forget(self) -> None:
        if self._start:
            del self._buffer[: self._start]
            for sight in (self._headers, self._ciphers, self._tails):
                sight.shift(self._start)
            self._start = 0


def _after_hashes(buffer: bytearray, start: int) -> int:
    match = _HASHES.match(buffer, start)
    return match.end() if match else start


def _read(raw: bytes) -> Message | Fault:
    segment = raw[SEGMENT_AT:-CRC_BYTES]
    given, computed = int(raw[-CRC_BYTES:], 16), crc16(segment)
    if given != computed:
        return Fault(reason=Reason.CRC, detail=f"the frame says {given:04X}, its segment gives {computed:04X}", raw=raw)
    text, encoding = _decode(segment)
    before, body_start, after = text.partition(BODY)
    if encoding == _UNDECODED:
        complaint = "neither UTF-8 nor GB18030"
    elif not body_start:
        before, complaint = text.partition("CP=")[0], f"no {BODY}"
    elif not after.endswith(BODY_END):
        complaint = f"no {BODY_END} at the end"
    else:
        complaint = ""
    header, header_complaint = _read_header(before, encoding)
    complaint = complaint or header_complaint
    if header is None or complaint:
        return Fault(reason=Reason.SYNTAX, detail=complaint, raw=raw, header=header)
    items = tuple(_items(after[: -len(BODY_END)]))
    return Message(header=header, items=items, raw=raw, oversize=len(segment) > USUAL_SEGMENT_BYTES)


_UNDECODED = "latin-1"


def _decode(segment: bytes) -> tuple[str, str]:
    """The text and its encoding: UTF-8 (2017), else GB18030 (boxes of 2005), else byte for byte."""
    for encoding in ("utf-8", "gb18030"):
        try:
            return segment.decode(encoding), encoding
        except UnicodeDecodeError:
            continue  # the next encoding reads the same bytes; the last one reads anything
    return segment.decode(_UNDECODED), _UNDECODED


def _read_header(text: str, encoding: str) -> tuple[Header | None, str]:
    """What can be read of a header, None without MN or CN, and the first complaint ("" if it is clean)."""
    fields: dict[str, str] = {}
    complaints = []
    for number, piece in enumerate(filter(None, map(str.strip, text.split(";"))), 1):
        name, equals, value = piece.partition("=")
        if equals:
            fields.setdefault(name, value)
        else:
            complaints.append(f"piece {number} of the header has no =")
    known = {name: fields.pop(name, None) for name in ("QN", "ST", "CN", "PW", "MN", "Flag", "PNUM", "PNO")}
    counts = {name: _count(known[name]) for name in ("Flag", "PNUM", "PNO")}
    flag = counts["Flag"]
    if flag is not None and flag > MOST_FLAG:
        counts["Flag"] = flag = None
    complaints += [
        f"{name} is not a number in its range" for name in counts if known[name] is not None and counts[name] is None
    ]
    complaints += [f"no {name}" for name in ("MN", "CN") if not known[name]]
    complaint = complaints[0] if complaints else ""
    cn, mn = known["CN"], known["MN"]
    if not cn or not mn:
        return None, complaint
    header = Header(
        qn=known["QN"],
        st=known["ST"],
        cn=cn,
        pw=known["PW"],
        mn=mn,
        flag=flag,
        pnum=counts["PNUM"],
        pno=counts["PNO"],
        extra=tuple(fields.items()),
        encoding=encoding,
    )
    return header, complaint


def _count(text: str | None) -> int | None:
    return int(text) if text is not None and _COUNT.fullmatch(text) else None


def _items(body: str) -> Iterator[tuple[str, str | None]]:
    """The pairs of a CP body; `;` and `,` inside a log text `//...//` (HJ 212-2017 Annex C) do not part."""
    pieces = _PIECE.findall(body) if "//" in body else body.replace(",", ";").split(";")
    for piece in filter(None, map(str.strip, pieces)):
        name, equals, value = piece.partition("=")
        yield name, value if equals else None
