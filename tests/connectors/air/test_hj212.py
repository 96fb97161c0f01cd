"""The HJ 212 codec, case by case; see test_hj212_properties.py for what holds of any bytes."""

from collections.abc import Iterable

import pytest

from connectors.air.hj212 import Fault, Framer, Message, answer, crc16, frame
from hub.core.errors import Reason

HEAD = b"QN=20240601085857223;ST=22;CN=2011;PW=123456;MN=A1;Flag=5;"
SEGMENT = HEAD + b"CP=&&DataTime=20240601085800;a34004-Rtd=35.2,a34004-Flag=N&&"
GOOD = frame(SEGMENT)
BARE = GOOD[:-2]

VECTORS = [
    (b"QN=20160801085857223;ST=32;CN=1062;PW=100000;MN=010000A8900016F000169DC0;Flag=5;CP=&&RtdInterval=30&&", 0x1C80),
    (b"QN=20240601085857223;ST=32;CN=1011;PW=123456;MN=010000A8900016F000169DC0;Flag=9;CP=&&&&", 0x2200),
    (b"QN=20231008125115215;ST=22;CN=9011;PW=123456;MN=010000A8900016F000169DC0;Flag=4;CP=&&QnRtn=1&&", 0xCC01),
    (b"QN=20190415224851543;ST=91;CN=9021;PW=123456;MN=23040281003022;Flag=5;CP=&&Data=0BBE&&", 0x71C0),
    (
        (
            b"QN=20231008130452757;ST=22;CN=2081;PW=123456;MN=010000A8900016F000169DC0;Flag=5;"
            b"CP=&&DataTime=20231008130452;RestartTime=20231007130452&&"
        ),
        0x3AC0,
    ),
    (
        (
            b"ST=32;CN=2011;PW=123456;MN=NJGDKYYC202101q0001w0001;"
            b"CP=&&DataTime=20210305003817000;ele01-Rtd=1;ele02-Rtd=0&&"
        ),
        0x8C41,
    ),
    (b"123456789", 0x2F80),
    (b"", 0xFFFF),
    (b"\x00", 0x4040),
    (b"\x41", 0x7080),
]


@pytest.mark.parametrize(("segment", "expected"), VECTORS)
def test_crc_of_published_frames(segment: bytes, expected: int) -> None:
    assert crc16(segment) == expected


def test_crc_is_the_bitwise_rule_of_annex_a() -> None:
    def annex_a(data: bytes) -> int:
        register = 0xFFFF
        for byte in data:
            register = (register >> 8) ^ byte
            for _ in range(8):
                register = (register >> 1) ^ (0xA001 if register & 1 else 0)
        return register

    for first in range(256):
        data = bytes([first, 255 - first, first ^ 0x5A])
        assert [crc16(data[:size]) for size in (1, 2, 3)] == [annex_a(data[:size]) for size in (1, 2, 3)]


def test_a_frame_is_built_as_published() -> None:
    assert frame(VECTORS[0][0]) == b"##0101" + VECTORS[0][0] + b"1C80\r\n"
    with pytest.raises(ValueError, match="LEN"):
        frame(b"x" * 10000)


def test_a_good_frame_keeps_all_it_says() -> None:
    message = only(feed(GOOD))
    header = message.header
    assert (header.qn, header.st, header.cn, header.pw, header.mn) == (
        "20240601085857223",
        "22",
        "2011",
        "123456",
        "A1",
    )
    assert (header.flag, header.pnum, header.pno, header.extra) == (5, None, None, ())
    assert message.items == (("DataTime", "20240601085800"), ("a34004-Rtd", "35.2"), ("a34004-Flag", "N"))
    assert message.raw == BARE
    assert not message.oversize


@pytest.mark.parametrize(
    ("stream", "expected"),
    [
        pytest.param(GOOD * 3, "m m m", id="glued"),
        pytest.param(BARE * 3, "m m m", id="no CR LF"),
        pytest.param(b"\r\n\n" + GOOD + b"\r\n\r\n" + GOOD, "m m", id="empty lines"),
        pytest.param(BARE[:-4] + BARE[-4:].lower(), "m", id="CRC in lower case"),
        pytest.param(BARE[:-4] + BARE[-2:] + BARE[-4:-2], "crc", id="CRC swapped"),
        pytest.param(b"##0101" + VECTORS[0][0] + b"0759\r\n" + GOOD, "crc m", id="CRC of MODBUS"),
        pytest.param(b"##299" + GOOD[6:] + GOOD, "length m", id="LEN of three digits"),
        pytest.param(b"##0400" + GOOD[6:] + GOOD, "length m", id="LEN a placeholder"),
        pytest.param(b"##%04d" % (len(SEGMENT) + 4) + GOOD[6:] + GOOD, "length m", id="LEN counts the CRC"),
        pytest.param(b"##%04d" % (len(SEGMENT) - 1) + GOOD[6:] + GOOD, "length m", id="LEN one short"),
        pytest.param(GOOD[:40] + GOOD, "length m", id="cut off"),
        pytest.param(frame(BARE + BARE), "length m m", id="two frames in one segment"),
        pytest.param(b"##0003##0001AFFFF", "length crc", id="another header up to the end of the CRC"),
        pytest.param(b"##FFFF" + GOOD, "length m", id="LEN of letters"),
        pytest.param(b"###" + GOOD, "m", id="too many #"),
        pytest.param(b"a#b" + GOOD, "m", id="a single #"),
        pytest.param(b"##0000FFFF" + GOOD, "syntax m", id="nothing in it"),
        pytest.param(frame(b"CN=2011;MN=A;CP=&&&&"), "m", id="no QN, no Flag, no items"),
        pytest.param(frame(b"CN=2011;MN=A;CP=&&"), "syntax", id="CP not closed"),
        pytest.param(frame(b"CN=2011;MN=A;DataTime=1"), "syntax", id="no CP"),
        pytest.param(frame(b"CN=2011;MN=;CP=&&&&"), "syntax", id="empty MN"),
        pytest.param(frame(b"MN=A;CP=&&&&"), "syntax", id="no CN"),
        pytest.param(frame(b"CN=2011;MN=A;Flag=256;CP=&&&&"), "syntax", id="Flag too large"),
        pytest.param(frame(b"CN=2011;MN=A;PNO=x;CP=&&&&"), "syntax", id="PNO no number"),
        pytest.param(frame(b"CN=2011;MN=A;what;CP=&&&&"), "syntax", id="header piece without ="),
        pytest.param(frame(b"CN=2011;MN=A;\xff\xff;CP=&&&&"), "syntax", id="neither UTF-8 nor GB18030"),
        pytest.param(frame(b" CN=2011 ;MN=A ;; PW= ;Flag=7 ;CP=&&&&"), "m", id="blanks, empty PW, Flag=7 without PNUM"),
        pytest.param(frame(b"PNO=1;PNUM=02;CN=2011;MN=A;CP=&&&&"), "m", id="PNO before PNUM, padded"),
    ],
)
def test_what_stations_get_wrong(stream: bytes, expected: str) -> None:
    whole = feed(stream)
    assert kinds(whole) == expected
    assert feed(*singles(stream)) == whole


@pytest.mark.parametrize("noise", [b"\xfe\xfe", b"867223020000001", b"ping", b"\x01\x03\x02\x00\x10\xb9\x88", b"#"])
def test_what_lies_between_frames_is_counted_not_kept(noise: bytes) -> None:
    framer = Framer()
    arrived = framer.feed(noise + GOOD + noise + b"\r\n" + GOOD)
    assert kinds(arrived) == "m m"
    assert framer.noise == 2 * len(noise)
    assert framer.pending == 0


@pytest.mark.parametrize(
    ("cp", "items"),
    [
        (b"a-Rtd=1,a-Flag=N,b-Rtd=2", [("a-Rtd", "1"), ("a-Flag", "N"), ("b-Rtd", "2")]),
        (b"LA-td=1;LA-Rtd-Rtd=2;Flag=N;", [("LA-td", "1"), ("LA-Rtd-Rtd", "2"), ("Flag", "N")]),
        (b"a-Rtd=1 ;; ,a-Rtd=2;x", [("a-Rtd", "1"), ("a-Rtd", "2"), ("x", None)]),
        (b"i-Info=//a;b,c=d//;e=1", [("i-Info", "//a;b,c=d//"), ("e", "1")]),
        (b"i-Info=//a;e=1", [("i-Info", "//a"), ("e", "1")]),
        (b"a=b=c;=d", [("a", "b=c"), ("", "d")]),
    ],
)
def test_items_of_cp(cp: bytes, items: list[tuple[str, str | None]]) -> None:
    assert list(only(feed(frame(HEAD + b"CP=&&" + cp + b"&&"))).items) == items


@pytest.mark.parametrize("encoding", ["utf-8", "gb18030"])
def test_chinese_text_of_both_generations(encoding: str) -> None:
    message = only(feed(frame(HEAD + b"CP=&&i-Info=" + "//停电;恢复//".encode(encoding) + b"&&")))
    assert message.items == (("i-Info", "//停电;恢复//"),)


def test_the_header_is_free_in_order_and_the_first_of_two_counts() -> None:
    header = only(feed(frame(b"PNO=2;PNUM=003;MN=A;MN=B;X=y;RF=1;Flag=11;CN=2051;CP=&&&&"))).header
    assert (header.mn, header.cn, header.flag, header.pnum, header.pno) == ("A", "2051", 11, 3, 2)
    assert header.extra == (("X", "y"), ("RF", "1"))


@pytest.mark.parametrize(("size", "oversize"), [(1024, False), (1025, True), (1623, True), (9999, True)])
def test_long_segments_are_read_and_told(size: int, oversize: bool) -> None:
    head, tail = b"CN=2011;MN=A;CP=&&x=", b"&&"
    message = only(feed(frame(head + b"1" * (size - len(head) - len(tail)) + tail)))
    assert message.oversize is oversize


@pytest.mark.parametrize("length", [295, 9999, None])
def test_an_encrypted_frame_ends_at_its_line_whatever_its_length(length: int | None) -> None:
    segment = HEAD.replace(b"Flag=5", b"Flag=9") + b"CP=&&{0xE4,0x3E,0x77}rest&&"
    sealed = b"##%04d" % (len(segment) if length is None else length) + segment + b"1C80"
    stream = sealed + b"\r\n" + GOOD
    whole = feed(stream)
    assert kinds(whole) == "encrypted m"
    assert whole[0].raw == sealed
    assert whole[0].header is not None
    assert whole[0].header.qn == "20240601085857223"
    assert feed(*singles(stream)) == whole


@pytest.mark.parametrize(
    ("stream", "expected"),
    [
        (b"##0500CN=1;##0080CN=1;MN=A;CP=&&{0x00}&&FFFF\r\n", "length encrypted"),
        (b"##0500CN=1;MN=A;CP=&&{0x00}##0010CN=1&&FFFF\r\n", "encrypted"),
        (b"##0008CP=&&{0xFFFF\r\n", "encrypted"),
        (b"##0007CP=&&{0xFFF\r\n", "length"),
    ],
)
def test_the_header_of_another_frame_and_the_sign_of_encryption_race(stream: bytes, expected: str) -> None:
    whole = feed(stream)
    assert kinds(whole) == expected
    assert feed(*singles(stream)) == whole


def test_an_encrypted_frame_waits_for_its_line_no_longer_than_64_kib() -> None:
    sealed = b"##0100CN=2011;MN=A;CP=&&{0x"
    for size, expected in ((65536, "encrypted m"), (65537, "length m")):
        stream = sealed.ljust(size - 1, b"0") + b"\r\n" + GOOD
        assert kinds(feed(stream)) == expected
        assert kinds(feed(*pieces(stream, 1460))) == expected


def test_a_fault_owns_what_follows_up_to_the_next_frame() -> None:
    fault, message = feed(b"##04x0lost#1\r\n" + GOOD)
    assert (fault.raw, message.raw) == (b"##04x0lost#1\r\n", BARE)
    assert kinds([fault]) == "length"


def test_a_fault_is_given_out_at_64_kib_and_the_rest_is_noise() -> None:
    framer = Framer()
    faults = framer.feed(b"##ABCD".ljust(65536 + 10, b"x"))
    assert [len(fault.raw) for fault in faults] == [65536]
    assert (framer.noise, framer.pending) == (10, 0)


def test_what_waits_too_long_becomes_a_fault() -> None:
    framer = Framer()
    assert framer.feed(BARE[:30]) == []
    assert framer.pending == 30
    assert framer.expire() == []
    assert kinds(framer.feed(b"late" + GOOD)) == "timeout m"

    assert framer.feed(BARE[:30]) == []
    assert framer.expire() == []
    (fault,) = framer.expire()
    assert (fault.reason, fault.raw, framer.pending) == (Reason.TIMEOUT, BARE[:30], 0)

    assert framer.feed(b"#") == []
    assert framer.expire() == []
    assert (framer.noise, framer.pending) == (1, 0)


@pytest.mark.parametrize(
    ("rest", "expected"),
    [
        (b"", ""),
        (b"#", ""),
        (b"##", "timeout"),
        (BARE[:-1], "timeout"),
        (b"##abcd", "length"),
        (b"##abcd##1", "length timeout"),
    ],
)
def test_the_end_of_the_stream_leaves_nothing_behind(rest: bytes, expected: str) -> None:
    framer = Framer()
    ended: list[Message | Fault] = [*framer.feed(GOOD + rest), *framer.close()]
    assert kinds(ended) == f"m {expected}".strip()
    assert framer.pending == 0


@pytest.mark.parametrize(
    ("segment", "reason", "qn"),
    [
        (b"QN=1;CN=2011;MN=A;Flag=5", Reason.SYNTAX, "1"),
        (b"QN=1;CN=2011;MN=A;Flag=5;CP=&&x", Reason.SYNTAX, "1"),
        (b"QN=1;CN=2011;MN=A;Flag=900;CP=&&&&", Reason.SYNTAX, "1"),
        (b"QN=1;CN=2011;MN=A;Flag=5;CP=&&\xff&&", Reason.SYNTAX, "1"),
        (b"QN=1;CN=2011;CP=&&&&", Reason.SYNTAX, None),
    ],
)
def test_a_fault_says_what_could_be_read(segment: bytes, reason: Reason, qn: str | None) -> None:
    (fault,) = feed(frame(segment))
    assert isinstance(fault, Fault)
    assert fault.reason is reason
    assert fault.detail
    assert (fault.header.qn if fault.header else None) == qn


def test_a_frame_with_a_wrong_crc_is_not_believed() -> None:
    (fault,) = feed(BARE[:-4] + b"0000")
    assert isinstance(fault, Fault)
    assert (fault.reason, fault.header) == (Reason.CRC, None)


@pytest.mark.parametrize(("flag", "answered"), [(1, 0), (5, 4), (7, 4), (9, 8), (11, 8)])
def test_an_answer_names_the_message_and_the_generation(flag: int, answered: int) -> None:
    message = only(feed(frame(b"QN=123;ST=22;CN=2011;PW=pw;MN=A1;Flag=%d;CP=&&&&" % flag)))
    expected = b"QN=123;ST=91;CN=9014;PW=pw;MN=A1;Flag=%d;CP=&&&&" % answered
    assert answer(message.header, "9014") == frame(expected)


def test_a_request_is_answered_with_its_result() -> None:
    assert b";CN=9011;" in answer(only(feed(GOOD)).header, "9011")
    assert b";CP=&&QnRtn=1&&" in answer(only(feed(GOOD)).header, "9011")


def test_an_answer_repeats_the_bytes_that_came() -> None:
    for name in ("郑庵".encode(), "郑庵".encode("gb18030")):
        message = only(feed(frame(b"QN=1;CN=2011;MN=" + name + b";Flag=1;CP=&&&&")))
        assert b";MN=" + name + b";Flag=0;" in answer(message.header, "9014")
    (fault,) = feed(frame(b"QN=1;CN=2011;MN=\xff\xfe;Flag=1;CP=&&&&"))
    assert isinstance(fault, Fault)
    assert fault.header is not None
    assert b";MN=\xff\xfe;" in answer(fault.header, "9014")


def test_without_qn_there_is_no_answer() -> None:
    with pytest.raises(ValueError, match="QN"):
        answer(only(feed(frame(b"CN=2011;MN=A;Flag=1;CP=&&&&"))).header, "9014")


def feed(*chunks: bytes) -> list[Message | Fault]:
    framer = Framer()
    arrived = [one for chunk in chunks for one in framer.feed(chunk)]
    return [*arrived, *framer.close()]


def only(arrived: list[Message | Fault]) -> Message:
    (message,) = arrived
    assert isinstance(message, Message), message
    return message


def kinds(arrived: Iterable[Message | Fault]) -> str:
    return " ".join("m" if isinstance(one, Message) else one.reason.value for one in arrived)


def singles(stream: bytes) -> list[bytes]:
    return pieces(stream, 1)


def pieces(stream: bytes, size: int) -> list[bytes]:
    return [stream[at : at + size] for at in range(0, len(stream), size)]
