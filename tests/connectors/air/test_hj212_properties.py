"""What must hold for every stream of bytes a station, a broken station or no station at all can send.

The framer is compared with the slow model beside this file; time and memory are measured against streams made to hurt.
"""

import gc
import math
import time
import tracemalloc
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from decimal import Decimal
from itertools import pairwise

import pytest
from hypothesis import HealthCheck, assume, event, given, settings
from hypothesis import strategies as st

from connectors.air.hj212 import Fault, Framer, Header, Message, answer, crc16, frame
from connectors.air.translate import PartTimes, translate
from hub.core.errors import Reason
from hub.core.registry import Device, SentUnit
from hub.wire import Wire
from tests.connectors.air.model_hj212 import Heading, ModelFramer, Outcome, built, crc

thorough = settings(max_examples=150, deadline=None, database=None, suppress_health_check=[HealthCheck.too_slow])
quick = settings(thorough, max_examples=60)

# ---- streams ----

DIGITS = "0123456789"
CHINESE = "颗粒物浓度超标设备故障通讯中断联通站点扬尘"
VALUE_TEXT = st.text("0123456789.-+eENaAfFTMDBC /:{}" + CHINESE, max_size=12)
# Within its marks a log text may be anything but such a mark.
LOG_TEXT = VALUE_TEXT.map(lambda text: text.replace("/", "")).map(lambda text: f"//log;{text},of={text}//")
FACTORS = ("a34004-Rtd", "a34002-Avg", "LA-td", "LA-Rtd-Rtd", "a01007-Rtd", "SB1-RS", "Flag", "DataTime", "i11001-Info")


def digits(size: int) -> st.SearchStrategy[str]:
    return st.text(DIGITS, min_size=size, max_size=size)


@dataclass(frozen=True, slots=True)
class Sent:
    """What a device meant to say, field by field in the order it says it."""

    fields: tuple[tuple[str, str], ...]
    items: tuple[tuple[str, str | None], ...]
    separators: tuple[str, ...]
    encoding: str

    @property
    def body(self) -> str:
        said = [name if value is None else f"{name}={value}" for name, value in self.items]
        return "".join(f"{item}{separator}" for item, separator in zip(said, self.separators, strict=True))

    @property
    def segment(self) -> bytes:
        head = "".join(f"{name}={value};" for name, value in self.fields)
        return f"{head}CP=&&{self.body}&&".encode(self.encoding)


@st.composite
def sent(draw: st.DrawFn) -> Sent:
    """Good messages of the three generations (HJ/T 212-2005, HJ 212-2017, HJ 212-2025), with what the field gets away with."""
    version = draw(st.sampled_from((0, 1, 2)))
    split = draw(st.booleans())
    fields = {
        "QN": draw(st.sampled_from((14, 17, 18)).flatmap(digits)),
        "ST": draw(st.sampled_from(("22", "39", "27", "101"))),
        "CN": draw(st.sampled_from(("2011", "2051", "2061", "2031", "2072", "9015"))),
        "PW": draw(st.sampled_from(("123456", ""))),
        "MN": draw(st.text("0123456789ABCDEFabcdef-_" + CHINESE, min_size=1, max_size=24)),
        "Flag": str(version << 2 | split << 1 | draw(st.integers(0, 1))),
    }
    if split:
        total = draw(st.integers(1, 99))
        fields |= {"PNUM": str(total), "PNO": str(draw(st.integers(1, total))).zfill(draw(st.integers(1, 4)))}
    if version == 2 and draw(st.booleans()):
        fields["RF"] = "1"
    for absent in draw(st.sets(st.sampled_from(("QN", "ST", "PW", "Flag", "PNUM", "PNO")))):
        fields.pop(absent, None)
    order = draw(st.permutations(list(fields.items())))
    value = st.none() | VALUE_TEXT.map(lambda text: text.replace("//", "/0").strip()) | LOG_TEXT
    items = draw(st.lists(st.tuples(st.sampled_from(FACTORS), value), max_size=12))
    separator = st.sampled_from((";", ",", ";;", " ;", "; "))
    between = [draw(separator) for _ in items[1:]] + ([draw(st.sampled_from(("", ";")))] if items else [])
    return Sent(tuple(order), tuple(items), tuple(between), draw(st.sampled_from(("utf-8", "gb18030"))))


GOOD = sent().map(lambda said: built(said.segment))

TOKENS = (
    b"#",
    b"##",
    b"###",
    b"##0",
    b"##00",
    b"##0010",
    b"##0012A",
    b"##0018;",
    b"##0030QN",
    b"##0400QN=",
    b"##9999",
    b"0000",
    b"FFFF",
    b"7080",
    b"CP=&&",
    b"CP=&&{0xE4,",
    b"&&",
    b"&",
    b"{0x",
    b"0x",
    b"\r\n",
    b"\r",
    b"\n",
    b"QN=1;",
    b"CN=2011;",
    b"MN=X;",
    b"Flag=5;",
    b"Flag=256;",
    b"Flag=x;",
    b"PNO=2;",
    b"PNUM=two;",
    b"=;",
    b";",
    b",",
    b"//",
    b" ",
    b"a=1",
    b"\xfe\xfe",
    b"\x00",
    b"\xff",
    "颗".encode("gb18030"),
    "颗".encode(),
    b"\xe9\xa2",
)
SPLINTERS = st.lists(st.sampled_from(TOKENS), max_size=14).map(b"".join)
ANYTHING = st.binary(max_size=60)
FIELDS = (
    "MN=X",
    "MN=",
    "MN",
    " MN=Y ",
    "CN=2011",
    "CN=",
    "cn=1",
    "Flag=255",
    "Flag=256",
    "Flag=-1",
    "Flag=",
    "Flag=a",
    "PNO=x",
)
ODD_SEGMENTS = st.builds(
    lambda fields, body: f"{';'.join(fields)};{body}".encode(),
    st.lists(st.sampled_from((*FIELDS, "MN=X", "CN=2011", "PNUM=02", "a=b=c", " ", "Q;", "=")), max_size=6),
    st.sampled_from(("CP=&&&&", "CP=&&&", "CP=&&", "CP=&&a&& ", "CP=&&a,b;c=//;,//&&", "CP=&&CP=&&&&", "")),
)
DATA_SEGMENT = sent().map(lambda said: said.segment)


def encrypted(segment: bytes, *, plain_length: bool) -> bytes:
    """HJ 212-2025: the CRC of the plain segment, the body as text of its ciphered bytes, the length plain or real."""
    head, _, body = segment.partition(b"CP=&&")
    secret = b"CP=&&{%b}&&" % b",".join(b"0x%02X" % (byte ^ 0x5A) for byte in body[:-2][:64].ljust(16, b"."))
    sent_length = len(segment) if plain_length else len(head + secret)
    return b"##%04d%b%04X\r\n" % (sent_length, head + secret, crc(segment))


def with_length(whole: bytes, length: bytes) -> bytes:
    return b"##" + length + whole[6:]


SPOILS: dict[str, Callable[[bytes], bytes]] = {
    "lower-case crc": lambda whole: whole[:-6] + whole[-6:].lower(),
    "crc swapped": lambda whole: whole[:-6] + whole[-4:-2] + whole[-6:-4] + b"\r\n",
    "crc wrong": lambda whole: whole[:-6] + b"%04X\r\n" % (int(whole[-6:-2], 16) ^ 0x0140),
    "crc not hex": lambda whole: whole[:-6] + b"&&XY\r\n",
    "three digits": lambda whole: with_length(whole, b"%03d" % (int(whole[2:6]) % 1000)),
    "length counts crc": lambda whole: with_length(whole, b"%04d" % (int(whole[2:6]) + 4)),
    "length short": lambda whole: with_length(whole, b"%04d" % (int(whole[2:6]) // 2)),
    "placeholder": lambda whole: with_length(whole, b"0400"),
    "longest": lambda whole: with_length(whole, b"9999"),
    "no tail": lambda whole: whole[:-2],
    "no cr": lambda whole: whole[:-2] + b"\n",
    "half": lambda whole: whole[: len(whole) // 2],
    "in itself": lambda whole: whole[: len(whole) // 2] + whole + whole[len(whole) // 2 :],
    "as hex text": lambda whole: whole.hex(" ").encode(),
    "after a third #": lambda whole: b"#" + whole,
    "no header": lambda whole: whole[2:],
}
SPOILT = st.builds(lambda whole, spoil: SPOILS[spoil](whole), GOOD, st.sampled_from(sorted(SPOILS)))
TRUNCATED = GOOD.flatmap(lambda whole: st.integers(0, len(whole)).map(lambda size: whole[:size]))
NOISE = st.sampled_from(
    (b"\xfe\xfe", b"866104021234567", b"ping\r\n", b"\r\n\r\n", b"\x01\x03\x02\x00\x1e\x38\x4c", b"#", b"\xff#")
)
FLOOD = st.integers(1, 40).map(lambda size: b"#" * size)
OVERSIZE = st.integers(940, 1700).map(
    lambda size: built(b"QN=20260101000000000;CN=2011;MN=X;CP=&&" + b"a34004-Rtd=1;" * (size // 13) + b"&&")
)
PIECES = st.one_of(
    GOOD,
    SPOILT,
    TRUNCATED,
    NOISE,
    FLOOD,
    SPLINTERS,
    SPLINTERS.map(built),
    ODD_SEGMENTS.map(built),
    ANYTHING,
    ANYTHING.map(built),
    st.builds(lambda inner, outer: built(outer[:10] + inner + outer[10:]), GOOD, DATA_SEGMENT),
    st.builds(lambda segment, plain: encrypted(segment, plain_length=plain), DATA_SEGMENT, st.booleans()),
    OVERSIZE,
)
STREAMS = st.lists(PIECES, max_size=7).map(b"".join)


def cut(stream: bytes, places: Iterable[int]) -> list[bytes]:
    edges = [0, *sorted(place % (len(stream) + 1) for place in places), len(stream)]
    return [stream[start:end] for start, end in pairwise(edges)]


CUTS = st.lists(st.integers(0, 10_000), max_size=12)

# ---- what came out ----


def heading(header: Header) -> Heading:
    return Heading(
        header.qn,
        header.st,
        header.cn,
        header.pw,
        header.mn,
        header.flag,
        header.pnum,
        header.pno,
        tuple(header.extra),
    )


def outcome(given_out: Message | Fault) -> Outcome:
    """A message or fault in the model's words."""
    if isinstance(given_out, Message):
        return Outcome("", given_out.raw, heading(given_out.header), given_out.items, given_out.oversize)
    believed = given_out.header if given_out.reason is not Reason.SYNTAX else None
    return Outcome(given_out.reason.value, given_out.raw, heading(believed) if believed else None)


@dataclass(frozen=True, slots=True)
class Result:
    """Everything a connection says of itself: the same for every cutting."""

    outcomes: tuple[Message | Fault, ...]
    noise: int
    pending: int


def fed(chunks: Sequence[bytes], *, closed: bool = False) -> Result:
    framer = Framer()
    outcomes = [each for chunk in chunks for each in framer.feed(chunk)]
    if closed:
        outcomes += framer.close()
    return Result(tuple(outcomes), framer.noise, framer.pending)


def modelled(stream: bytes, *, closed: bool = False) -> tuple[ModelFramer, list[Outcome]]:
    model = ModelFramer()
    outcomes = model.feed(stream)
    if closed:
        outcomes += model.close()
    return model, outcomes


# ---- framing ----


@thorough
@given(STREAMS, CUTS, st.booleans())
def test_no_cutting_of_a_stream_changes_what_comes_out(stream: bytes, places: list[int], closed: bool) -> None:
    at_once = fed([stream], closed=closed)
    assert fed(cut(stream, places), closed=closed) == at_once
    assert fed([bytes([byte]) for byte in stream], closed=closed) == at_once


@thorough
@given(STREAMS, st.booleans())
def test_the_framer_is_the_model(stream: bytes, closed: bool) -> None:
    model, expected = modelled(stream, closed=closed)
    result = fed([stream], closed=closed)
    for each in expected:
        event(each.reason or "message")
    assert [outcome(each) for each in result.outcomes] == expected
    assert (result.noise, result.pending) == (model.noise, model.pending)


@quick
@given(st.lists(st.none() | STREAMS, max_size=6))
def test_expiry_between_any_two_chunks_is_the_model_too(steps: list[bytes | None]) -> None:
    framer, model = Framer(), ModelFramer()
    for chunk in steps:
        got = framer.expire() if chunk is None else framer.feed(chunk)
        expected = model.expire() if chunk is None else model.feed(chunk)
        assert [outcome(each) for each in got] == expected
        assert (framer.noise, framer.pending) == (model.noise, model.pending)
    assert [outcome(each) for each in framer.close()] == model.close()
    assert framer.pending == 0


@thorough
@given(STREAMS, CUTS)
def test_every_byte_ends_in_exactly_one_place(stream: bytes, places: list[int]) -> None:
    framer, model = Framer(), ModelFramer()
    outcomes: list[Message | Fault] = []
    given = 0
    for chunk in cut(stream, places):
        outcomes += framer.feed(chunk)
        model.feed(chunk)
        given += len(chunk)
        assert sum(len(each.raw) for each in outcomes) + framer.noise + framer.pending + model.line_ends == given
    outcomes += framer.close()
    model.close()
    at = between = 0
    for each in outcomes:
        found = stream.find(each.raw, at)
        assert found >= at, "raw bytes stand in the stream, in its order, and never overlap"
        between += found - at
        at = found + len(each.raw)
    between += len(stream) - at
    assert framer.pending == 0
    assert framer.noise == between - model.line_ends, "between frames there is nothing but noise, CR and LF"


@thorough
@given(st.binary(max_size=400), CUTS)
def test_no_bytes_at_all_raise_anything(stream: bytes, places: list[int]) -> None:
    framer = Framer()
    given_out: list[Message | Fault] = []
    for number, chunk in enumerate(cut(stream, places)):
        given_out += framer.feed(chunk)
        if number % 3 == 2:
            given_out += framer.expire()
    given_out += framer.close()
    parse_failures = {Reason.LENGTH, Reason.CRC, Reason.SYNTAX, Reason.TIMEOUT, Reason.ENCRYPTED}
    for each in given_out:
        assert isinstance(each, Message) or each.reason in parse_failures


@pytest.mark.parametrize("size", [65_536, 65_537])
@pytest.mark.parametrize("tail", [b"", b"\r\n##", b"\n##0000FFFF", b"\r\n##0099CP=&&{0x"])
def test_an_encrypted_frame_without_end_is_a_length_fault_after_64_kib(size: int, tail: bytes) -> None:
    inner = b"##0100CN=2011;MN=X;CP=&&{0xE4,"
    stream = inner + b"#" + inner + b"0" * (size - 1 - 2 * len(inner)) + tail
    model, expected = modelled(stream)
    for chunk in (1, 1460, len(stream)):
        framer = Framer()
        got = [each for start in range(0, len(stream), chunk) for each in framer.feed(stream[start : start + chunk])]
        assert [outcome(each) for each in got] == expected
        assert (framer.noise, framer.pending) == (model.noise, model.pending)
    assert [outcome(each) for each in framer.close()] == model.close()


def test_an_encrypted_frame_is_named_even_by_bytes_that_are_no_text() -> None:
    stream = b"##9999CN=2011;MN=X\xff;CP=&&{0xE4}\r\n"
    assert [outcome(each) for each in fed([stream]).outcomes] == modelled(stream)[1]


def test_the_header_of_an_encrypted_frame_ends_where_the_first_body_begins() -> None:
    stream = b"##9999CN=2011;MN=X;CP=&&&&EDC1\r\nQN=2;CP=&&{0xE4}\r\n"
    (fault,) = fed([stream]).outcomes
    assert isinstance(fault, Fault)
    assert fault.reason is Reason.ENCRYPTED
    assert fault.header is not None
    assert (fault.header.qn, fault.header.extra) == (None, ())


# ---- there and back ----


@thorough
@given(sent(), st.booleans())
def test_what_a_device_says_is_what_is_heard(said: Sent, lower: bool) -> None:
    try:
        mistaken = said.encoding == "gb18030" and said.segment.decode() != said.segment.decode("gb18030")
    except UnicodeDecodeError:
        mistaken = False
    assume(not mistaken)
    whole = built(said.segment)
    (heard,) = fed([whole[:-6] + whole[-6:].lower() if lower else whole]).outcomes
    assert isinstance(heard, Message)
    given = dict(said.fields)
    assert heard.header.mn == given["MN"]
    assert heard.header.cn == given["CN"]
    assert (heard.header.qn, heard.header.st, heard.header.pw) == (given.get("QN"), given.get("ST"), given.get("PW"))
    for number, name in ((heard.header.flag, "Flag"), (heard.header.pnum, "PNUM"), (heard.header.pno, "PNO")):
        assert number == (int(given[name]) if name in given else None)
    assert dict(heard.header.extra) == ({"RF": "1"} if "RF" in given else {})
    assert heard.items == said.items
    assert heard.oversize == (len(said.segment) > 1024)


@pytest.mark.parametrize("size", [1024, 1025, 9999])
def test_oversize_begins_after_the_1024_bytes_of_the_standard(size: int) -> None:
    start = b"CN=2011;MN=X;CP=&&"
    (heard,) = fed([frame(start + b"a" * (size - len(start) - 2) + b"&&")]).outcomes
    assert isinstance(heard, Message)
    assert heard.oversize == (size > 1024)


@thorough
@given(ODD_SEGMENTS)
def test_a_segment_is_read_as_the_model_reads_it(segment: bytes) -> None:
    assert [outcome(each) for each in fed([built(segment)]).outcomes] == modelled(built(segment))[1]


@thorough
@given(st.binary(max_size=300))
def test_the_crc_is_that_of_the_standard_bit_by_bit(segment: bytes) -> None:
    assert crc16(segment) == crc(segment)
    assert frame(segment) == built(segment)


@thorough
@given(sent(), st.sampled_from(("9014", "9013", "9011")))
def test_an_answer_is_a_frame_that_names_what_it_answers(said: Sent, cn: str) -> None:
    (heard,) = fed([built(said.segment)]).outcomes
    assert isinstance(heard, Message)
    given = dict(said.fields)
    assume({"QN", "PW"} <= given.keys())
    flag = {0: 0, 1: 4, 2: 8}[(heard.header.flag or 0) >> 2]
    said_back = "QnRtn=1" if cn == "9011" else ""
    expected = f"QN={given['QN']};ST=91;CN={cn};PW={given['PW']};MN={given['MN']};Flag={flag};CP=&&{said_back}&&"
    assert answer(heard.header, cn) == built(expected.encode(said.encoding))


# ---- time and memory ----

FRAME = built(b"QN=20260101000000000;ST=22;CN=2011;PW=123456;MN=X;Flag=5;CP=&&a34004-Rtd=1.0,a34004-Flag=N&&")
WAITING = {
    "good frames": FRAME,
    "noise": b"\xfe\xfe\x00ping\r\n",
    "# and noise": b"#a",
    "header, almost": b"##9999#",
    "longest, never hex": b"##9999" + b"z" * 11_003,
    "longest, full of #": b"##9999" + b"##99" * 2600,
    "encrypted without end": b"##9999CN=1;MN=1;CP=&&{0x",
    "encrypted, only CR": b"##0100CP=&&{0x\r\r\r",
    "encrypted, nearly": b"##9999CP=&&{0CP=&&{0",
    "noise after a fault": b"##00x" + b"a" * 500_000,
    "# after a fault": b"##00x" + b"#a" * 250_000,
    "line ends after a fault": b"##00x" + b"\r\n" * 250_000,
}
FRAMING = WAITING | {
    "line ends": b"\r\n",
    "#": b"#",
    "## and noise": b"##a",
    "not digits": b"##00a",
    "header after header": b"##9999Q",
    "empty frames": b"##0000FFFF",
    "empty frames, no crc": b"##0000FFFG",
    "crc never hex": b"##0400" + b"z" * 61,
    "truncated": FRAME[:-9],
    "encrypted": b"##0100CN=1;MN=1;CP=&&{0x00,}\r\n",
    "marks": b"CP=&&{0x",
}
CONTENT = {
    "items": built(b"CN=1;MN=1;CP=&&" + b"a,;" * 3000 + b"&&"),
    "log text": built(b"CN=1;MN=1;CP=&&" + b"//a//b" * 1600 + b"&&"),
    "open log text": built(b"CN=1;MN=1;CP=&&" + b"//" + b"/;" * 4900 + b"&&"),
    "fields": built(b"CN=1;MN=1;" + b"=;" * 4900 + b"CP=&&&&"),
    "one number": built(b"CN=1;MN=1;PNO=" + b"9" * 9900 + b";CP=&&&&"),
    "blanks": built(b"CN=1;MN=1;CP=&&" + b" " * 9900 + b";&&"),
    "marks of a body": built(b"CN=1;MN=1;" + b"CP=&&" * 1900 + b"&&"),
    "bytes of no text": built(b"CP=&&" + b"\x81" * 9900 + b"&&"),
}
WORST = FRAMING | CONTENT


def filled(kind: str, size: int) -> bytes:
    return (WORST[kind] * (size // len(WORST[kind]) + 1))[:size]


def seconds(kind: str, chunk: int, *stretches: slice) -> list[float]:
    """Processor time for stretches of one stream, fed in order; outcomes are let go at once, as a connection does."""
    framer, stream, taken = Framer(), filled(kind, stretches[-1].stop), []
    gc.collect()
    gc.disable()
    at = 0
    for stretch in stretches:
        before = [stream[start : start + chunk] for start in range(at, stretch.start, chunk)]
        timed = [stream[start : start + chunk] for start in range(stretch.start, stretch.stop, chunk)]
        for each in before:
            framer.feed(each)
        started = time.process_time()
        for each in timed:
            framer.feed(each)
        taken.append(time.process_time() - started)
        at = stretch.stop
    gc.enable()
    return taken


def least(measure: Callable[[], list[float]], fits: Callable[[list[float]], bool]) -> list[float]:
    """The least of up to eight measurements, each for itself: a busy machine only ever adds, so the first that fits is proof."""
    best = measure()
    for _ in range(7):
        if fits(best):
            break
        best = [min(pair) for pair in zip(best, measure(), strict=True)]
    return best


WINDOW = 72 * 1024  # a little more than may ever wait


@pytest.mark.parametrize(
    ("kind", "chunk"),
    [(kind, chunk) for kind in WAITING for chunk in (1, 7)]
    + [(kind, chunk) for kind in FRAMING for chunk in (1460, 65536)],
)
def test_a_byte_costs_the_same_wherever_it_stands(kind: str, chunk: int) -> None:
    """Nearly four times further on, bytes take as long; 2.2 times is allowed, rescans of all that came before would take 3.8."""
    unit = max(WINDOW, 2 * chunk)
    early, late = slice(unit, unit + unit // 2), slice(unit * 9 // 2, unit * 5)
    taken = least(lambda: seconds(kind, chunk, early, late), lambda pair: pair[1] <= pair[0] * 2.2)
    assert taken[1] <= taken[0] * 2.2


@pytest.mark.parametrize("kind", sorted(WORST))
def test_no_stream_costs_much_more_than_good_frames(kind: str) -> None:
    """Rescans of the bytes that wait would be linear in the stream, and ruinous all the same."""
    whole = slice(0, 2 * WINDOW)
    taken = least(
        lambda: seconds(kind, 7, whole) + seconds("good frames", 7, whole), lambda pair: pair[0] <= pair[1] * 15
    )
    assert taken[0] <= taken[1] * 15


@pytest.mark.parametrize(
    "kind",
    ["good frames", "noise", "not digits", "longest, never hex", "encrypted without end", "# after a fault", "fields"],
)
def test_memory_does_not_grow_with_the_stream(kind: str) -> None:
    """What is held after 432 KiB is what was held after 144 KiB; outcomes are let go at once, as a connection does."""
    stream, framer, peaks = filled(kind, 6 * WINDOW), Framer(), []
    gc.collect()
    tracemalloc.start()
    try:
        for start in range(0, len(stream), 1024):
            framer.feed(stream[start : start + 1024])
            if start + 1024 in (2 * WINDOW, 6 * WINDOW):
                peaks.append(tracemalloc.get_traced_memory()[1])
                tracemalloc.reset_peak()
    finally:
        tracemalloc.stop()
    before, after = peaks
    assert after - before < WINDOW


# ---- translation ----

NUMBERS = st.sampled_from(
    (
        "1e400",
        "-1e400",
        "1e-400",
        "1e999999",
        "9e999999",
        "1e-999999",
        "1e99999999999999999999",
        "NaN",
        "-nan",
        "sNaN12",
        "Infinity",
        "-inf",
        "9" * 5000,
        "0." + "3" * 5000,
        "-99",
        "9999",
        "65535",
        "1_000",
        "０１２",
        "²",
        "+5",
        "--5",
        "1,5",
        "0x10",
        "",
        " 7 ",
        "35.2",
    )
) | st.floats().map(str)
TIMES = st.sampled_from(
    (
        "20260230000000",
        "20261301000000",
        "20260101246060",
        "20260101235960",
        "00000101000000",
        "00010101000000",
        "99991231235959",
        "99991231235959999",
        "19700101000000",
        "2026",
        "",
        "-0260101000000",
        "２０２６０１０１００００００",
        "2026 1 1 0 0 0",
        "20260101080000",
        "20260101080000123",
    )
) | digits(14)
ITEMS = st.one_of(
    st.tuples(st.sampled_from(("DataTime", "AlarmTime", "BeginTime", "a34004-SampleTime")), TIMES | st.none()),
    st.tuples(
        st.sampled_from(("AlarmType", "101-AlarmType", "Flag", "a34004-Flag", "a01001-EFlag")), VALUE_TEXT | st.none()
    ),
    st.tuples(
        st.builds(
            lambda factor, suffix: factor + suffix,
            st.sampled_from(
                ("a34004", "A34004", "a05024", "LA", "101", "01", "PM25", "a01006", "zz", "", "颗", "\x00")
            ),
            st.sampled_from(("-Rtd", "-Avg", "-ZsAvg", "-td", "-Rtd-Rtd", "-Ala", "-Cou", "-", "", "-rtd")),
        ),
        NUMBERS | VALUE_TEXT | st.none(),
    ),
)
DEVICES = st.builds(
    lambda place, units: Device(
        id="air-01", mn="X", vendor="maker", feed="air", town="330100001", lon=place[0], lat=place[1], units=units
    ),
    st.sampled_from(((None, None), (120.1, 30.2))),
    st.dictionaries(
        st.sampled_from(("a34004", "a05024", "LA", "a01006", "01", "zz")),
        st.builds(
            SentUnit,
            st.sampled_from(("ug/m3", "ng/m3", "mg/m3", "Pa", "hPa", "dB", "furlong")),
            st.sampled_from((Decimal(1), Decimal(10), Decimal("1e-9"), Decimal("1e999999"))),
        ),
    ),
)
MOMENTS = st.integers(946_684_800_000, 4_102_444_800_000)


@st.composite
def odd_messages(draw: st.DrawFn) -> Message:
    """Good frames with hostile contents: all that `translate` can ever be given."""
    code = draw(st.sampled_from(("2011", "2011", "2051", "2061", "2031", "2072", "2072", "9015", "3020", "二")))
    number = draw(st.none() | st.sampled_from(("20260101080000123", "x", "")) | digits(17))
    head = f"QN={number};" if number is not None else ""
    parts = draw(st.sampled_from(("", "PNUM=2;PNO=1;", "PNO=2;PNUM=2;", "PNUM=2;", "PNUM=0;PNO=0;", "PNO=9999;")))
    head += (
        f"ST=22;CN={code};MN=X;Flag={draw(st.integers(0, 11))};{parts}{draw(st.sampled_from(('', 'RF=1;', 'RF=0;')))}"
    )
    body = ";".join(name if value is None else f"{name}={value}" for name, value in draw(st.lists(ITEMS, max_size=10)))
    (message,) = fed([built(f"{head}CP=&&{body[:8000]}&&".encode())]).outcomes
    assert isinstance(message, Message)
    return message


@thorough
@given(st.lists(odd_messages(), min_size=1, max_size=3), DEVICES, MOMENTS, st.sampled_from((60, 300, 1800)))
def test_whatever_a_message_says_it_is_translated_or_left(
    messages: list[Message], device: Device, accepted_at: int, period_s: int
) -> None:
    parts, wire = PartTimes(), Wire.load()
    for message in messages:
        record = translate(message, device, accepted_at, parts, period_s)
        event(type(record).__name__)
        if record is None:
            continue
        assert record.accepted_at == accepted_at
        assert all(value.value is None or math.isfinite(value.value) for value in record.values)
        assert wire.decode(wire.encode(record)) == record


@thorough
@given(odd_messages(), odd_messages(), DEVICES, MOMENTS, st.integers(0, 30_000))
def test_a_message_with_qn_has_one_id_whenever_and_wherever_it_comes(
    message: Message, before: Message, device: Device, accepted_at: int, later: int
) -> None:
    assume(message.header.qn)
    first = translate(message, device, accepted_at, PartTimes(), 60)
    elsewhere = PartTimes()
    translate(before, device, accepted_at, elsewhere, 60)
    again = translate(message, device, accepted_at + later, elsewhere, 60)
    assert (first and first.id) == (again and again.id)


@thorough
@given(st.lists(ITEMS, max_size=5), DEVICES, st.integers(0, 3_600_000))
def test_without_qn_the_id_is_of_the_content_and_its_time(
    items: list[tuple[str, str | None]], device: Device, later: int
) -> None:
    taken_at = 1_767_225_600_000  # 2026-01-01T08:00:00+08:00
    body = ";".join(name if value is None else f"{name}={value}" for name, value in items if name != "DataTime")
    whole = built(f"CN=2011;MN=X;CP=&&DataTime=20260101080000;a34004-Rtd=1;{body[:8000]}&&".encode())
    other = built(f"CN=2011;MN=X;CP=&&DataTime=20260101080000;a34004-Rtd=2;{body[:8000]}&&".encode())
    ids = []
    for sent_bytes, accepted_at in ((whole, taken_at), (whole, taken_at + later), (other, taken_at)):
        (message,) = fed([sent_bytes]).outcomes
        assert isinstance(message, Message)
        record = translate(message, device, accepted_at, PartTimes(), 60)
        assert record is not None
        ids.append(record.id)
    assert ids[0] == ids[1] != ids[2]
