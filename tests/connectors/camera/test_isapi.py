"""Every layout of a push and every trouble of its fields comes out as what it says; what is hostile costs little."""

import contextlib
import time
import tracemalloc
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from connectors.camera.isapi import read, time_of
from connectors.camera.multipart import split
from connectors.camera.tree import decoded, from_xml
from hub.core.errors import Reason, Rejected
from tests.connectors.camera.layouts import JPEG, LAYOUTS, PICTURE, PLAIN, TEXT, Layout, multipart, xml

BEIJING = timezone(timedelta(hours=8))


@pytest.mark.parametrize("with_headers", [True, False])
@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: layout.name)
def test_a_layout_comes_out_as_what_it_says(layout: Layout, *, with_headers: bool) -> None:
    """Also from a dead letter or a recording, which have no headers."""
    pushed = read(layout.body, layout.content_type if with_headers else "")
    assert len(pushed.events) == len(layout.events)
    for event, says in zip(pushed.events, layout.events, strict=True):
        assert {name: getattr(event, name) for name in says} == says
    assert [(one.media_type, one.name, len(one.content)) for one in pushed.pictures] == list(layout.pictures)


def test_an_element_that_is_its_own_end_takes_nothing_of_the_next() -> None:
    roots, broken = from_xml("<a/><b>1</b> <c><d/></c><e />")
    assert broken is None
    names = [node.name for node in roots]
    assert names == ["a", "b", "c", "e"]


@pytest.mark.parametrize(
    "rest",
    [
        "<EventNotificationAlert><eventType>fire",
        "<EventNotificationAlert/>",
        '<!DOCTYPE a [<!ENTITY b "c">]><a/>',
        "<a>" * 100,
        "<a/>" * 100,
    ],
)
def test_what_is_broken_behind_an_event_costs_it_nothing_and_is_told(rest: str) -> None:
    pushed = read((xml() + rest).encode(), "application/xml")
    assert [event.type for event in pushed.events] == ["fireDetection"]
    assert pushed.broken is not None


@pytest.mark.parametrize("rest", ["{", "{}" * 100, '{"macAddress":"a4d5c2010203"}'])
def test_what_is_broken_behind_an_object_costs_it_nothing_and_is_told(rest: str) -> None:
    pushed = read(('{"eventType":"VMD"}' + rest).encode(), "application/json")
    assert [event.type for event in pushed.events] == ["VMD"]
    assert pushed.broken is not None


def test_a_broken_part_costs_the_others_nothing_and_is_told() -> None:
    pushed = read(multipart((TEXT, b"<a>"), (TEXT, xml().encode()), (PICTURE, JPEG)), PLAIN)
    assert ([event.type for event in pushed.events], len(pushed.pictures)) == (["fireDetection"], 1)
    assert pushed.broken is not None


def test_text_in_gb18030_is_not_taken_for_utf_8_with_a_cut_name() -> None:
    """Names of four common characters: hardly any is read as something else."""
    common = [bytes((row, place)).decode("gb2312") for row in range(0xB0, 0xD7) for place in range(0xA1, 0xFF)]
    names = ["".join(letters) for letters in zip(common, common[7:], common[1001:], common[2003:], strict=False)]
    right = sum(decoded(name.encode("gb18030")) == name for name in names)
    assert right / len(names) > 0.99
    assert all(decoded(name.encode() + "街".encode()[:2]) == f"{name}\ufffd" for name in names)


def test_no_plate_of_a_car_is_in_what_comes_out() -> None:
    [anpr] = [one for one in LAYOUTS if one.name == "number_plate_is_not_kept"]
    assert "12345" not in repr(read(anpr.body, anpr.content_type))


BOMB = '<!DOCTYPE a [<!ENTITY a "ha"><!ENTITY b "&a;&a;&a;&a;&a;&a;&a;&a;">]><EventNotificationAlert><eventType>&b;</eventType></EventNotificationAlert>'
EXTERNAL = (
    '<!DOCTYPE a SYSTEM "file:///etc/passwd"><EventNotificationAlert><eventType>x</eventType></EventNotificationAlert>'
)


@pytest.mark.parametrize(
    ("body", "content_type", "reason"),
    [
        (BOMB.encode(), "application/xml", Reason.SYNTAX),
        (EXTERNAL.encode(), "application/xml", Reason.SYNTAX),
        (b"<a>" * 100_000, "application/xml", Reason.TOO_LARGE),
        (b"<a>" + b"<b/>" * 300_000 + b"</a>", "application/xml", Reason.TOO_LARGE),
        (b"<a>" + b"x" * (20 << 20) + b"</a>", "application/xml", Reason.TOO_LARGE),
        (b'<a b="' + b"x" * (2 << 20) + b'"/>', "application/xml", Reason.TOO_LARGE),
        (b"<a/>" * 1000, "application/xml", Reason.TOO_LARGE),
        (b"[" * 200_000, "application/json", Reason.TOO_LARGE),
        (b'{"a":' * 100_000, "application/json", Reason.TOO_LARGE),
        (b'{"a":[' + b"{}," * 100_000 + b"{}]}", "application/json", Reason.TOO_LARGE),
        (multipart(*[("Content-Type: image/jpeg", JPEG)] * 17), PLAIN, Reason.TOO_LARGE),
        (b"--boundary\r\n" + b"A: b\r\n" * 100_000, PLAIN, Reason.SYNTAX),
        (b"\n-- x" * (4 << 20), "multipart/form-data; boundary=", Reason.TOO_LARGE),
        (b"--\r\n" + b"\n--x-" * (4 << 20), "multipart/form-data; boundary=", Reason.SYNTAX),
        (b"--boundary\r\n" + (b"--boundary" + b" " * 1000 + b"x") * 20_000, PLAIN, Reason.SYNTAX),
        (b"<a>" + b"b" * 200_000 + b"-" + b"c" * 200_000, "application/xml; charset=punycode", Reason.SYNTAX),
        (b"<a>" + b"&" * 1_000_000, "application/xml", Reason.SYNTAX),
        (multipart(*[(TEXT, b"<a>" + b"<b/>" * 15_000 + b"</a>")] * 16, (TEXT, b"")), PLAIN, Reason.TOO_LARGE),
        (
            multipart(
                *[(TEXT, b"<EventNotificationAlert><eventType>a</eventType></EventNotificationAlert>" * 30)] * 16
            ),
            PLAIN,
            Reason.TOO_LARGE,
        ),
        (b'{"a":1}' + b" " * 1_000_000, "application/json", Reason.SYNTAX),
        (b'{"a":1}' + b"{" * 1_000_000, "application/json", Reason.SYNTAX),
        (b'{"a":' + b"9" * 1_000_000 + b"}", "application/json", Reason.SYNTAX),
        (b"--boundary\r\n" * 100_000, PLAIN, Reason.TOO_LARGE),
        (b"--" * 1_000_000, "multipart/form-data; boundary=", Reason.SYNTAX),
        (multipart(("Content-Type: image/jpeg", JPEG)), PLAIN, Reason.SYNTAX),
        (b"", "application/xml", Reason.SYNTAX),
        (b"hello", "multipart/form-data; boundary=x", Reason.SYNTAX),
        (b"<EventNotificationAlert><eventType>fire</eventTy", "application/xml", Reason.SYNTAX),
        (xml(without=("eventType",)).encode(), "application/xml", Reason.SYNTAX),
        (b"[]", "application/json", Reason.SYNTAX),
        (b'{"EventNotificationAlert":7}', "application/json", Reason.SYNTAX),
        (b'{"a":1,}', "application/json", Reason.SYNTAX),
    ],
    ids=lambda value: repr(value[:24]) if isinstance(value, bytes) else str(value),
)
def test_what_is_hostile_or_broken_is_refused_soon_and_small(body: bytes, content_type: str, reason: Reason) -> None:
    tracemalloc.start()
    began = time.process_time()
    try:
        with pytest.raises(Rejected) as refused:
            read(body, content_type)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert refused.value.reason is reason
    assert time.process_time() - began < 2.0
    assert peak < 4 * len(body) + (24 << 20)


CODECS = (
    "idna",
    "punycode",
    "undefined",
    "unicode_escape",
    "utf-7",
    "utf-32",
    "hex",
    "zlib",
    "a\0b",
    "mbcs",
    "x" * 500,
)


@settings(deadline=None, max_examples=300)
@given(
    st.binary(max_size=400) | st.sampled_from([layout.body for layout in LAYOUTS]),
    st.sampled_from(("", "application/xml", "application/json", PLAIN, "multipart/mixed; boundary="))
    | (st.sampled_from(CODECS) | st.text(max_size=12)).map("application/xml; charset={}".format),
)
def test_any_bytes_are_an_event_or_refused(body: bytes, content_type: str) -> None:
    with contextlib.suppress(Rejected):
        assert read(body, content_type).events


@settings(deadline=None, max_examples=150)
@given(st.data())
def test_a_layout_that_is_cut_or_spoilt_is_an_event_or_refused(data: st.DataObject) -> None:
    layout = data.draw(st.sampled_from(LAYOUTS))
    body = bytearray(layout.body)
    for _ in range(data.draw(st.integers(0, 4))):
        body[data.draw(st.integers(0, len(body) - 1))] = data.draw(st.integers(0, 255))
    with contextlib.suppress(Rejected):
        assert read(bytes(body[: data.draw(st.integers(0, len(body)))]), layout.content_type).events


@given(st.lists(st.binary(min_size=1, max_size=60), min_size=1, max_size=16), st.booleans())
def test_parts_come_out_as_they_went_in(contents: list[bytes], crlf: bool) -> None:
    boundary = "a-boundary-that-chance-does-not-hit"
    parts = [("Content-Type: image/jpeg", b"\xff\xd8\xff" + content + b"\xff\xd9") for content in contents]
    body = multipart(*parts, boundary=boundary, end=b"\r\n" if crlf else b"\n")
    assert [one.body for one in split(body, f"multipart/mixed; boundary={boundary}")] == [
        content for _, content in parts
    ]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2026-06-02T03:10:11+08:00", "2026-06-01T19:10:11"),
        ("2026-06-02T03:10:11.250+08:00", "2026-06-01T19:10:11.250"),
        ("2026-06-02T03:10:11Z", "2026-06-02T03:10:11"),
        ("2026-06-02T03:10:11+0800", "2026-06-01T19:10:11"),
        ("2026-06-02T03:10:11-05:00", "2026-06-02T08:10:11"),
        ("2026-06-02T03:10:11", "2026-06-01T19:10:11"),
        ("2026-06-02 03:10:11", "2026-06-01T19:10:11"),
        ("2026-06-02T 15:53:01", "2026-06-02T07:53:01"),
        ("2026-06-02T11:46:3100:00", "2026-06-02T03:46:31"),
        ("2026-6-2T3:10:11+08:00", "2026-06-01T19:10:11"),
        ("2026-06-02T03:10:11+99:00", "2026-06-01T19:10:11"),
        ("2026-13-02T03:10:11", None),
        ("yesterday", None),
        ("", None),
    ],
)
def test_times_as_devices_write_them(text: str, expected: str | None) -> None:
    moment = time_of(text, BEIJING)
    assert moment == (None if expected is None else datetime.fromisoformat(expected).replace(tzinfo=UTC))
