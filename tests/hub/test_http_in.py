"""What a vendor is told over HTTP, whatever it sends: the right status, after the truth, and a balance that comes out."""

import asyncio
import contextlib
import hashlib
import io
import json
import logging
import random
import socket
import tracemalloc
from collections.abc import AsyncIterator, Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

import pytest
from prometheus_client import generate_latest
from pydantic import ValidationError

from hub import http_in
from hub.clock import Clock
from hub.core.errors import Misconfigured, Reason, Unavailable
from hub.core.events import DeadLetter, Reading
from hub.core.registry import Registry, Vendor, VendorKey
from hub.http_in import ANSWERS, HttpSettings, HttpSource, Problem, Push, Route, Taken, dead_letter
from hub.lang import Text
from hub.outbox import Fate, Outbox
from hub.settings import HostPort
from hub.telemetry import FeedRecorder, FeedTelemetry, log_to
from hub.wire import Wire
from tests.doubles import FakeLog, RememberingTelemetry

WIRE = Wire.load()
FREE = HostPort(host="127.0.0.1", port=0)
ROUTES = (Route("/in/patrol", frozenset({"application/json", "application/geo+json"})), Route("/in/isapi/{token}"))
KEY, OTHER_KEY = "gh_key-of-a-0123456789", "gh_key-of-b-0123456789"
FAST = 1e6
"""So many messages a second that nobody reaches it."""

READING = Reading(
    id="ZA-1/2011/20260301080000000",
    town="410122103",
    device="ZA-1",
    vendor="a",
    kind="air.reading",
    occurred_at=1772352000000,
    accepted_at=1772352001000,
    event_at=1772352000000,
    time_mark="device",
    lon=None,
    lat=None,
    datum="",
    message_code="2011",
    period_s=0,
    backfilled=False,
    incomplete=False,
    values=(),
)


def key(text: str, name: str = "k1", **times: int) -> VendorKey:
    return VendorKey(id=name, sha256=hashlib.sha256(text.encode()).hexdigest(), **times)


def vendor(name: str, *keys: VendorKey, feed: str = "patrol", per_s: float = FAST) -> Vendor:
    return Vendor(id=name, name=name, feeds=frozenset({feed}), per_s=per_s, keys=keys)


TWO = Registry(vendors=(vendor("a", key(KEY)), vendor("b", key(OTHER_KEY))))


@dataclass
class Served:
    """A source under test, and what came of it."""

    source: HttpSource
    port: int
    outbox: Outbox
    log: FakeLog
    telemetry: FeedTelemetry
    pushed: list[Push] = field(default_factory=list)

    @property
    def fates(self) -> dict[str, int]:
        """What the balance counts, without zeros."""
        return {name: count for name, count in self.outbox.balance().items() if count}

    def named(self, name: str) -> list[tuple[object, ...]]:
        assert isinstance(self.telemetry, RememberingTelemetry)
        return self.telemetry.named(name)


async def until(so: Callable[[], bool]) -> None:
    """Lets the loop turn until it is so; the test's own time limit ends it."""
    while not so():  # noqa: ASYNC110 - what is waited for lies in code that tells nobody
        await asyncio.sleep(0.001)


@dataclass
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes

    @property
    def said(self) -> dict[str, Any]:
        return dict(json.loads(self.body))


class Sender:
    """A client that sends bytes as they are."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self.writer = writer

    def send(self, *raw: bytes) -> None:
        self.writer.write(b"".join(raw))

    async def answer(self) -> Answer:
        head = (await self._reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
        headers = dict(line.lower().split(": ", 1) for line in head[1:] if line)
        body = await self._reader.readexactly(int(headers.get("content-length", "0")))
        return Answer(int(head[0].split()[1]), headers, body)

    async def ended(self) -> bytes:
        """All that comes until the other side closes."""
        rest = b""
        with contextlib.suppress(ConnectionError):
            while some := await self._reader.read(65536):
                rest += some
        return rest


@contextlib.asynccontextmanager
async def sender(port: int) -> AsyncIterator[Sender]:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        yield Sender(reader, writer)
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()


def taking(served: Callable[[], Served]) -> http_in.Take:
    def take(push: Push, outbox: Outbox) -> Taken:
        served().pushed.append(push)
        return Taken(f"id-{len(served().pushed)}", [outbox.publish("readings", READING, push.body)])

    return take


@contextlib.asynccontextmanager
async def serving(
    take: http_in.Take | None = None,
    *,
    registry: Callable[[], Registry] = lambda: TWO,
    telemetry: FeedTelemetry | None = None,
    log: FakeLog | None = None,
    keep_large: Callable[[bytes], str | None] | None = None,
    clock: Clock | None = None,
    **settings: Any,
) -> AsyncIterator[Served]:
    """Serves the feed `patrol`; at the end nothing may have been left over, nor ended unseen."""
    unseen: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: unseen.append(context))
    log, telemetry = log or FakeLog(keeps=True), telemetry or RememberingTelemetry()
    outbox = Outbox("patrol", log, WIRE, telemetry, 60, clock=clock)
    source = HttpSource(
        "patrol",
        HttpSettings.model_validate({"listen": FREE, "max_peer_connections": 1000} | settings),
        ROUTES,
        take or taking(lambda: served),
        keep_large=keep_large,
    )
    ports = await source.start(outbox, telemetry, registry)
    served = Served(source, ports["http"], outbox, log, telemetry)
    try:
        yield served
    finally:
        await source.stop()
    assert not unseen
    assert source.bytes_in_memory == 0
    balance = outbox.balance()
    assert balance.pop("received") == sum(balance.values())


def run(test: Coroutine[None, None, None]) -> None:
    asyncio.run(asyncio.wait_for(test, 30))


def request(
    body: bytes = b"{}",
    *more: str,
    path: str = "/in/patrol",
    presented: str | None = KEY,
    media_type: str | None = "application/json",
    method: str = "POST",
    length: int | None = None,
) -> bytes:
    lines = [f"{method} {path} HTTP/1.1", "Host: hub", *more]
    if presented:
        lines.append(f"Authorization: Bearer {presented}")
    if media_type:
        lines.append(f"Content-Type: {media_type}")
    if length is None and not any(line.startswith("Transfer-Encoding") for line in more):
        length = len(body)
    if length is not None:
        lines.append(f"Content-Length: {length}")
    return "\r\n".join([*lines, "", ""]).encode() + body


def chunked(*chunks: bytes) -> bytes:
    return b"".join(b"%x\r\n%s\r\n" % (len(chunk), chunk) for chunk in (*chunks, b""))


CHUNKED = "Transfer-Encoding: chunked"


def test_yes_only_after_kafka_has_it() -> None:
    async def test() -> None:
        async with serving(log=FakeLog()) as served, sender(served.port) as vendor_a:
            vendor_a.send(request(b'{"a":1}', 'Idempotency-Key: "7f-1"'))
            answering = asyncio.create_task(vendor_a.answer())
            await until(lambda: bool(served.log.sent))
            assert not answering.done()
            assert served.fates == {"received": 1, "pending": 1}
            served.log.sent[0].done(None)
            answer = await answering
            assert (answer.status, answer.said) == (200, {"id": "id-1", "fate": "published"})
            assert answer.headers["content-type"] == "application/json"
            (push,) = served.pushed
            assert (push.vendor.id, push.key_id, push.body) == ("a", "k1", b'{"a":1}')
            assert (push.content_type, push.idempotency_key) == ("application/json", "7f-1")
            assert "authorization" not in push.headers
            assert served.named("answered") == [("200",)]

    run(test())


def test_of_several_messages_each_is_told_with_its_reason() -> None:
    async def test() -> None:
        taken = Taken("a", [Fate.PUBLISHED, Fate.DEAD_LETTERED], parts=[("a", ""), ("b", "syntax")])
        async with serving(lambda _push, _outbox: taken) as served, sender(served.port) as vendor_a:
            vendor_a.send(request())
            answer = await vendor_a.answer()
            assert (answer.status, answer.said) == (
                200,
                {
                    "id": "a",
                    "fate": "dead-lettered",
                    "messages": [
                        {"id": "a", "fate": "published"},
                        {"id": "b", "fate": "dead-lettered", "reason": "syntax"},
                    ],
                },
            )

    run(test())


@pytest.mark.parametrize(
    ("fates", "told"),
    [
        ([], "empty"),
        ([Fate.EMPTY], "empty"),
        ([Fate.PUBLISHED, Fate.EMPTY], "published"),
        ([Fate.PUBLISHED, Fate.SPOOLED], "spooled"),
        ([Fate.PUBLISHED, Fate.DEAD_LETTERED, Fate.SPOOLED], "dead-lettered"),
        ([Fate.PUBLISHED, Fate.REFUSED], ""),
    ],
)
def test_of_several_fates_the_gravest_is_told(fates: list[Fate], told: str) -> None:
    async def test() -> None:
        async with serving(lambda _push, _outbox: Taken("id", fates)) as served, sender(served.port) as vendor_a:
            vendor_a.send(request())
            answer = await vendor_a.answer()
            if told:
                assert (answer.status, answer.said) == (200, {"id": "id", "fate": told})
            else:
                assert (answer.status, answer.headers["retry-after"]) == (503, "5")
                assert answer.headers["content-type"] == "application/problem+json"

    run(test())


def test_what_kafka_does_not_take_is_sent_again() -> None:
    async def test() -> None:
        log = FakeLog(keeps=True)
        log.raises = Unavailable("away")
        async with serving(log=log) as served, sender(served.port) as vendor_a:
            vendor_a.send(request())
            answer = await vendor_a.answer()
            assert (answer.status, answer.headers["retry-after"]) == (503, "5")
            assert "connection" not in answer.headers  # the same connection will do
            log.raises = None
            vendor_a.send(request())
            assert (await vendor_a.answer()).status == 200
            assert served.fates == {"received": 2, "refused": 1, "published": 1}
            assert served.named("refused") == [(Reason.UNAVAILABLE, "ZA-1")]

    run(test())


@pytest.mark.parametrize(
    ("accepted", "language"),
    [
        ("", "en"),
        ("zh-CN,zh;q=0.9,en;q=0.8", "zh"),
        ("en-GB, zh;q=0.5", "en"),
        ("fr, zh;q=0.1", "zh"),
        ("zh;q=rubbish", "en"),
        ("*", "en"),
    ],
)
def test_a_problem_is_told_in_the_senders_language_after_it_is_kept(accepted: str, language: str) -> None:
    said = {"en": ("Unknown device", "uavId is not registered."), "zh": ("设备未登记", "uavId 未登记。")}

    def take(push: Push, outbox: Outbox) -> Taken:
        letter = dead_letter("patrol", push, Reason.UNKNOWN_DEVICE, "uavId")
        title, detail = (Text(*both) for both in zip(said["en"], said["zh"], strict=True))
        problem = Problem("unknown_device", title, detail)
        return Taken(letter.id, [outbox.dead_letter(letter)], problem)

    async def test() -> None:
        async with serving(take) as served, sender(served.port) as vendor_a:
            vendor_a.send(request(b"{}", f"Accept-Language: {accepted}"))
            answer = await vendor_a.answer()
            assert answer.status == 400
            assert answer.headers["content-type"] == "application/problem+json"
            assert answer.headers["content-language"] == language
            letter = WIRE.decode(served.log.sent[0].value)
            assert isinstance(letter, DeadLetter)
            assert answer.said == {
                "type": "urn:gridhub:problem:unknown_device",
                "title": said[language][0],
                "status": 400,
                "detail": said[language][1],
                "id": letter.id,
                "fate": "dead-lettered",
            }
            assert (letter.raw, letter.vendor, letter.answered) == (b"{}", "a", True)

    run(test())


LIMIT = 1000


@pytest.mark.parametrize(
    ("raw", "status", "headers", "reason", "closes"),
    [
        # No messages: they are counted beside the balance.
        pytest.param(request(path="/in/camera"), 404, {}, None, False, id="no such address"),
        pytest.param(request(path="/in/isapi/a/b"), 404, {}, None, False, id="a token is one part of the path"),
        pytest.param(request(path="/"), 404, {}, None, False, id="root"),
        pytest.param(request(b"", method="GET"), 405, {"allow": "post"}, None, False, id="get"),
        pytest.param(request(method="PUT"), 405, {"allow": "post"}, None, False, id="put"),
        pytest.param(request(presented=None), 401, {"www-authenticate": "bearer"}, None, False, id="no key"),
        pytest.param(request(presented="wrong"), 401, {"www-authenticate": "bearer"}, None, False, id="wrong key"),
        pytest.param(
            request(presented=None, path="/in/isapi/wrong"),
            401,
            {"www-authenticate": "bearer"},
            None,
            False,
            id="wrong token",
        ),
        pytest.param(
            request(b"{}", "Authorization: Basic YTpi", presented=None),
            401,
            {"www-authenticate": "bearer"},
            None,
            False,
            id="basic",
        ),
        pytest.param(
            request(b"", presented="wrong", length=999),
            401,
            {"connection": "close"},
            None,
            True,
            id="a body nobody wants",
        ),
        pytest.param(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03\r\n\r\n", 400, {}, None, True, id="TLS"),
        pytest.param(b"##0101QN=20160801085857223;ST=32;CN=1062\r\n", 400, {}, None, True, id="HJ 212"),
        pytest.param(b"POST /in/patrol HTTP/1.1\r\n\r\n", 400, {}, None, True, id="HTTP/1.1 without Host"),
        pytest.param(b"POST /in/patrol HTTP/9.1\r\nHost: a\r\n\r\n", 400, {}, None, True, id="HTTP/9"),
        pytest.param(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 400, {}, None, True, id="HTTP/2"),
        pytest.param(request(b"{}", "A: " + "b" * 5000), 400, {}, None, True, id="a long header"),
        pytest.param(request(path="/in/" + "a" * 5000), 400, {}, None, True, id="a long path"),
        pytest.param(request(b"{}", *["A: b"] * 100), 400, {}, None, True, id="many headers"),
        pytest.param(request(b"{}", "Content-Length: 2", CHUNKED), 400, {}, None, True, id="two lengths"),
        pytest.param(request(b"{}", "Content-Length: -1", length=2), 400, {}, None, True, id="a negative length"),
        pytest.param(request(b"{}", "A\x00B: c"), 400, {}, None, True, id="a NUL in a header"),
        pytest.param(request(b"{}", ": c"), 400, {}, None, True, id="a header without a name"),
        pytest.param(request(b"{}", CHUNKED), 400, {}, None, True, id="no chunk where one should be"),
        # Messages that are not taken: received, and refused.
        pytest.param(request(media_type="text/html"), 415, {}, Reason.SYNTAX, False, id="media type"),
        pytest.param(request(media_type=None), 415, {}, Reason.SYNTAX, False, id="no media type"),
        pytest.param(request(b"{}", "Content-Encoding: gzip"), 415, {}, Reason.SYNTAX, False, id="gzip"),
        pytest.param(
            request(b"{}", f"Idempotency-Key: {'k' * 300}"), 400, {}, Reason.SYNTAX, False, id="a long idempotency key"
        ),
        pytest.param(
            request(b"{}", length=LIMIT + 1),
            413,
            {"connection": "close"},
            Reason.TOO_LARGE,
            True,
            id="too large, it says",
        ),
        pytest.param(request(b"x" * (LIMIT + 1)), 413, {}, Reason.TOO_LARGE, False, id="too large, all here"),
        pytest.param(
            request(chunked(*[b"x" * 500] * 3)[:-5], CHUNKED),
            413,
            {"connection": "close"},
            Reason.TOO_LARGE,
            True,
            id="too large, in chunks",
        ),
    ],
)
def test_what_senders_do_wrong(
    raw: bytes, status: int, headers: dict[str, str], reason: Reason | None, closes: bool
) -> None:
    async def test() -> None:
        async with serving(max_body=LIMIT) as served, sender(served.port) as vendor_a:
            vendor_a.send(raw)
            answer = await vendor_a.answer()
            assert answer.status == status
            assert answer.headers["content-type"] == "application/problem+json"
            assert answer.headers["server"] == "gridhub"
            assert answer.said["status"] == status
            for name, value in headers.items():
                assert answer.headers[name].startswith(value)
            assert not served.pushed
            assert not served.named("defect")
            if reason:
                assert served.named("refused") == [(reason, "")]
                assert served.fates == {"received": 1, "refused": 1}
                assert not served.named("http_refused")
            else:
                assert [what[0] for what in served.named("http_refused")] == [status]
                assert served.fates == {}
            if closes:
                vendor_a.writer.write_eof()
                assert await vendor_a.ended() == b""
            else:
                vendor_a.send(request())
                assert (await vendor_a.answer()).status == 200
            assert served.named("answered")[0] == (str(status),)

    run(test())


def test_http_1_0_without_host_and_a_token_in_the_path() -> None:
    async def test() -> None:
        async with serving() as served:
            for target in (
                f"/in/isapi/{KEY}",
                f"/in/isapi/{KEY}/",
                f"/in/isapi/{KEY}?channel=1",
                f"http://hub/in/isapi/{KEY}",
            ):
                async with sender(served.port) as camera:
                    camera.send(f"POST {target} HTTP/1.0\r\nContent-Length: 5\r\n\r\n<xml>".encode())
                    answer = await camera.answer()
                    assert answer.status == 200
                    assert await camera.ended() == b""
            async with sender(served.port) as camera:
                camera.send(request(b"<xml>", path="/in/isapi/anything", media_type=None))
                assert (await camera.answer()).status == 200
            assert [push.vendor.id for push in served.pushed] == ["a"] * 5
            assert served.pushed[0].content_type == ""

    run(test())


NOW = 1_800_000_000_000


@pytest.mark.parametrize(
    ("known", "status", "why"),
    [
        (vendor("a", key(KEY, begins=NOW - 1, ends=NOW + 1)), 200, ""),
        (vendor("a", key(KEY, begins=NOW)), 200, ""),
        (vendor("a", key(KEY, begins=NOW + 1)), 401, "key k1 of a does not count yet"),
        (vendor("a", key(KEY, ends=NOW)), 401, "key k1 of a has ended"),
        (vendor("a", key("another", ends=NOW), key(KEY, "k2")), 200, ""),
        (vendor("a", key(KEY), feed="camera"), 401, "key k1 of a is not for this feed"),
        (vendor("a"), 401, "unknown key"),
    ],
)
def test_a_key_counts_in_its_time_and_for_its_feeds(known: Vendor, status: int, why: str) -> None:
    clock = Clock(lambda: NOW * 1_000_000)

    async def test() -> None:
        async with (
            serving(registry=lambda: Registry(vendors=(known,)), clock=clock) as served,
            sender(served.port) as vendor_a,
        ):
            vendor_a.send(request())
            assert (await vendor_a.answer()).status == status
            assert [push.accepted_at for push in served.pushed] == [NOW] * (status == 200)
            assert served.named("http_refused") == ([(401, "127.0.0.1", why)] if why else [])

    run(test())


def test_a_new_version_of_the_registry_counts_at_once() -> None:
    async def test() -> None:
        versions = [TWO]
        async with serving(registry=lambda: versions[-1]) as served, sender(served.port) as vendor_a:
            vendor_a.send(request())
            assert (await vendor_a.answer()).status == 200
            versions.append(Registry(version=2, vendors=(vendor("a", key(OTHER_KEY)),)))
            vendor_a.send(request())
            assert (await vendor_a.answer()).status == 401
            vendor_a.send(request(presented=OTHER_KEY))
            assert (await vendor_a.answer()).status == 200
            assert [push.vendor.id for push in served.pushed] == ["a", "a"]

    run(test())


def test_no_key_or_token_in_logs_and_metrics(caplog: pytest.LogCaptureFixture) -> None:
    written = io.StringIO()
    log_to(written, form="json")
    caplog.set_level(logging.DEBUG)
    secret = "gh_secret-0123456789"  # noqa: S105 - planted
    recorder = FeedRecorder("patrol", answers=ANSWERS)

    def take(_push: Push, _outbox: Outbox) -> Taken:
        raise ValueError("a defect")

    async def test() -> None:
        registry = Registry(vendors=(vendor("a", key(secret)),))
        async with serving(take, registry=lambda: registry, telemetry=recorder) as served:
            for raw, status in (
                (request(presented=secret), 200),
                (request(presented=None, path=f"/in/isapi/{secret}"), 200),
                (request(presented=f"{secret}x"), 401),
                (request(presented=None, path=f"/in/isapi/{secret}x"), 401),
                (request(presented=None, path=f"/in/{secret}"), 404),
                (request(method="GET", presented=None, path=f"/in/isapi/{secret}"), 405),
                (request(b"", "A: " + "b" * 5000, presented=None, path=f"/in/isapi/{secret}"), 400),
                (f"POST /in/isapi/{secret} HTTP/7\r\n\r\n".encode(), 400),
                (f"POST {secret} HTTP/1.1\r\n\r\n".encode(), 400),
                (request(b"zz\r\n", CHUNKED, presented=secret), 400),
            ):
                async with sender(served.port) as anyone:
                    anyone.send(raw)
                    assert (await anyone.answer()).status == status

    run(test())
    metrics = generate_latest(recorder.registry).decode()
    said = written.getvalue() + caplog.text + metrics
    assert "a defect" in said
    assert 'gridhub_http_refused_total{feed="patrol",status="401"} 2.0' in metrics
    assert 'gridhub_http_refused_total{feed="patrol",status="408"} 0.0' in metrics
    assert "secret" not in said


def test_a_sender_that_asks_first_is_told_before_it_sends() -> None:
    expect = "Expect: 100-continue"

    async def test() -> None:
        async with serving(max_body=LIMIT) as served:
            async with sender(served.port) as vendor_a:
                vendor_a.send(request(b"", expect, length=4))
                assert (await vendor_a.answer()).status == 100
                vendor_a.send(b"body")
                assert (await vendor_a.answer()).status == 200
                vendor_a.send(request())
                assert (await vendor_a.answer()).status == 200
            for raw, status in (
                (request(b"", expect, presented="wrong", length=4), 401),
                (request(b"", expect, length=LIMIT + 1), 413),
                (request(b"", expect, media_type="text/html", length=4), 415),
            ):
                async with sender(served.port) as vendor_a:
                    vendor_a.send(raw)
                    answer = await vendor_a.answer()
                    assert (answer.status, answer.headers["connection"]) == (status, "close")
            assert [push.body for push in served.pushed] == [b"body", b"{}"]

    run(test())


@pytest.mark.parametrize("size", [0, 1, LIMIT])
@pytest.mark.parametrize("cut", [1, 7, 100_000])
def test_bodies_arrive_whole_however_they_are_cut(size: int, cut: int) -> None:
    body = random.Random(size).randbytes(size)

    async def test() -> None:
        async with serving(max_body=LIMIT) as served, sender(served.port) as vendor_a:
            pieces = [body[at : at + cut] for at in range(0, len(body), cut)]
            for raw in (request(body), request(chunked(*pieces), CHUNKED)):
                for at in range(0, len(raw), cut):
                    vendor_a.send(raw[at : at + cut])
                    await asyncio.sleep(0)
                assert (await vendor_a.answer()).status == 200
            assert [push.body for push in served.pushed] == [body, body]

    run(test())


def test_slow_headers_are_given_up() -> None:
    async def test() -> None:
        async with serving(header_timeout_s=0.05) as served, sender(served.port) as slow:
            slow.send(request()[:30])
            assert (await slow.answer()).status == 408
            assert await slow.ended() == b""
            assert [what[0] for what in served.named("http_refused")] == [408]
            async with sender(served.port) as vendor_a:
                vendor_a.send(request())
                assert (await vendor_a.answer()).status == 200
                await until(lambda: len(served.named("answered")) == 2)
                vendor_a.send(request()[:30])  # the second request of a connection, too
                assert (await vendor_a.answer()).status == 408
                assert await vendor_a.ended() == b""
            assert served.fates == {"received": 1, "published": 1}

    run(test())


def test_bytes_that_drip_do_not_prolong_the_headers() -> None:
    async def test() -> None:
        async with serving(header_timeout_s=0.1) as served, sender(served.port) as slow:
            answering = asyncio.create_task(slow.answer())
            with contextlib.suppress(ConnectionError):
                for byte in request() * 10:
                    slow.send(bytes([byte]))
                    await asyncio.wait([answering], timeout=0.01)
                    if answering.done():
                        break
            assert (await answering).status == 408

    run(test())


@pytest.mark.parametrize("raw", [request(b"{", length=2), request(b"2\r\n{", CHUNKED)])
def test_a_slow_body_is_given_up(raw: bytes) -> None:
    async def test() -> None:
        async with serving(body_timeout_s=0.05) as served, sender(served.port) as slow:
            slow.send(raw)
            answer = await slow.answer()
            assert (answer.status, answer.headers["connection"]) == (408, "close")
            assert served.named("refused") == [(Reason.TIMEOUT, "")]
            slow.writer.write_eof()
            assert await slow.ended() == b""

    run(test())


def test_an_idle_connection_is_closed() -> None:
    async def test() -> None:
        async with serving(idle_timeout_s=0.1) as served:
            async with sender(served.port) as silent:
                assert await silent.ended() == b""
            async with sender(served.port) as vendor_a:
                vendor_a.send(request())
                assert (await vendor_a.answer()).status == 200
                assert await vendor_a.ended() == b""

    run(test())


def test_a_body_that_breaks_off_or_is_cut_wrongly_is_refused() -> None:
    async def test() -> None:
        refused = asyncio.Event()

        class Telling(RememberingTelemetry):
            def refused(self, reason: Reason, device: str) -> None:
                super().refused(reason, device)
                refused.set()

        async with serving(telemetry=Telling()) as served:
            async with sender(served.port) as vendor_a:
                vendor_a.send(request(b"", "Expect: 100-continue", CHUNKED))
                assert (await vendor_a.answer()).status == 100
                vendor_a.send(b"no length\r\n")
                answer = await vendor_a.answer()
                assert (answer.status, answer.headers["connection"]) == (400, "close")
            for aborts in (True, False):
                refused.clear()
                async with sender(served.port) as vendor_a:
                    vendor_a.send(request(b"", "Expect: 100-continue", length=4))
                    assert (await vendor_a.answer()).status == 100
                    vendor_a.send(b"bo")
                    await vendor_a.writer.drain()
                    if aborts:
                        vendor_a.writer.transport.abort()
                    else:
                        vendor_a.writer.write_eof()
                    await refused.wait()
            assert [what[0] for what in served.named("refused")] == [Reason.SYNTAX, Reason.LENGTH, Reason.LENGTH]
            assert not served.pushed
            assert not served.named("defect")

    run(test())


def test_a_device_that_closes_its_side_still_gets_its_answers() -> None:
    async def test() -> None:
        async with serving() as served, sender(served.port) as device:
            device.send(request(b"1"), request(b"2"))
            device.writer.write_eof()
            assert (await device.answer()).said["id"] == "id-1"
            answer = await device.answer()
            assert (answer.said["id"], answer.headers["connection"]) == ("id-2", "close")
            assert await device.ended() == b""
            assert [push.body for push in served.pushed] == [b"1", b"2"]

    run(test())


def test_a_device_that_closes_its_side_at_once_gets_its_answer() -> None:
    """The end comes with the last bytes, before anything has begun to look at them."""

    async def test() -> None:
        async with serving() as served:
            loop = asyncio.get_running_loop()
            with socket.socket() as device:
                device.setblocking(False)
                await loop.sock_connect(device, ("127.0.0.1", served.port))
                device.send(request(b"1"))
                device.shutdown(socket.SHUT_WR)
                heard = b""
                while some := await loop.sock_recv(device, 65536):
                    heard += some
            assert heard.startswith(b"HTTP/1.1 200 ")
            assert [push.body for push in served.pushed] == [b"1"]

    run(test())


def test_requests_of_a_connection_are_taken_and_answered_in_order() -> None:
    async def test() -> None:
        async with serving() as served, sender(served.port) as vendor_a:
            bodies = [str(number).encode() for number in range(200)]
            vendor_a.send(*map(request, bodies))
            for number in range(1, 201):
                assert (await vendor_a.answer()).said["id"] == f"id-{number}"
            assert [push.body for push in served.pushed] == bodies

    run(test())


def test_a_defect_keeps_the_body_for_people() -> None:
    def take(push: Push, _outbox: Outbox) -> Taken:
        raise ValueError(push.body)

    async def later(push: Push, outbox: Outbox) -> Taken:
        await asyncio.sleep(0)
        return take(push, outbox)

    async def test(taking: http_in.Take) -> None:
        stored: list[bytes] = []

        def keep_large(body: bytes) -> str | None:
            stored.append(body)
            if body.startswith(b"!"):
                raise OSError("disk full")
            return hashlib.sha256(body).hexdigest()

        async with serving(taking, keep_large=keep_large) as served, sender(served.port) as vendor_a:
            large = b"x" * (512 * 1024 + 1)
            for body in (b"{small", large, b"!" + large):
                vendor_a.send(request(body))
                answer = await vendor_a.answer()
                assert (answer.status, answer.said["fate"]) == (200, "dead-lettered")
            letters = [WIRE.decode(sent.value) for sent in served.log.sent]
            assert [(letter.raw, letter.evidence_sha256) for letter in letters if isinstance(letter, DeadLetter)] == [
                (b"{small", None),
                (b"", hashlib.sha256(large).hexdigest()),
                (b"!" + large, None),
            ]
            assert {letter.reason for letter in letters if isinstance(letter, DeadLetter)} == {"poison"}
            assert len(served.named("defect")) == 4  # the store's own, too
            assert len(stored) == 2
            assert served.fates == {"received": 3, "dead-lettered": 3}

    run(test(take))
    run(test(later))


def test_a_vendor_above_its_rate_is_told_when_to_come_again() -> None:
    async def test() -> None:
        slow = Registry(vendors=(vendor("a", key(KEY), per_s=0.25), vendor("b", key(OTHER_KEY))))
        async with (
            serving(registry=lambda: slow) as served,
            sender(served.port) as vendor_a,
            sender(served.port) as vendor_b,
        ):
            vendor_a.send(request(), request())
            assert (await vendor_a.answer()).status == 200
            answer = await vendor_a.answer()
            assert (answer.status, answer.headers["retry-after"]) == (429, "4")
            vendor_b.send(request(presented=OTHER_KEY))
            assert (await vendor_b.answer()).status == 200
            assert served.named("refused") == [(Reason.BUSY, "")]

    run(test())


def test_the_rate_holds_over_any_time_and_the_burst_is_two_seconds() -> None:
    rates, known = http_in._Rates(), vendor("a", per_s=10)
    at_once = sum(not rates.take(known, 100.0) for _ in range(1000))
    assert at_once == 20
    assert rates.take(known, 100.0) == pytest.approx(0.1)
    over_a_minute = sum(not rates.take(known, 100 + millis / 1000) for millis in range(60_000))
    assert 599 <= over_a_minute <= 601
    assert rates.take(known, 1e6) == 0.0
    assert sum(not rates.take(known, 1e6) for _ in range(1000)) == 19


def test_one_vendors_flood_does_not_starve_another() -> None:
    """A sends 20 times its rate on 20 connections; B, in its rate, is always answered 200, and soon."""

    async def test() -> None:
        limited = Registry(vendors=(vendor("a", key(KEY), per_s=20), vendor("b", key(OTHER_KEY), per_s=1000)))
        async with serving(registry=lambda: limited) as served:
            statuses: list[int] = []
            flooding = True

            async def flood() -> None:
                async with sender(served.port) as vendor_a:
                    while flooding:
                        vendor_a.send(request(b"x" * 1000))
                        statuses.append((await vendor_a.answer()).status)

            floods = [asyncio.create_task(flood()) for _ in range(20)]
            clock = asyncio.get_running_loop().time
            waited: list[float] = []
            async with sender(served.port) as vendor_b:
                while len(statuses) < 1500:
                    began = clock()
                    vendor_b.send(request(presented=OTHER_KEY))
                    assert (await vendor_b.answer()).status == 200
                    waited.append(clock() - began)
            flooding = False
            await asyncio.gather(*floods)
            assert len(waited) >= 20
            assert max(waited) < 1.0
            assert set(statuses) == {200, 429}
            assert statuses.count(429) > 1000

    run(test())


def test_bodies_in_memory_are_bounded_per_vendor_and_together() -> None:
    body = 1_000_000
    share = body + http_in.REQUEST_COST_BYTES
    keys = [f"key-{number}" for number in range(5)]
    five = Registry(vendors=tuple(vendor(f"v{number}", key(text)) for number, text in enumerate(keys)))

    async def test() -> None:
        async with (
            serving(registry=lambda: five, max_body=body, max_pending_bytes=4 * share) as served,
            contextlib.AsyncExitStack() as open_ones,
        ):

            async def held(presented: str) -> Sender:
                """A sender whose body does not end: it holds its room."""
                one = await open_ones.enter_async_context(sender(served.port))
                one.send(request(b"", "Expect: 100-continue", length=body, presented=presented))
                assert (await one.answer()).status == 100
                return one

            async def refused(presented: str, *more: str, raw: bytes = b"x") -> Answer:
                one = await open_ones.enter_async_context(sender(served.port))
                one.send(request(raw, *more, presented=presented))
                return await one.answer()

            holding = await held(keys[0])
            answer = await refused(keys[0])
            assert (answer.status, answer.headers["retry-after"]) == (429, "1")
            growing = await open_ones.enter_async_context(sender(served.port))
            growing.send(request(b"", "Expect: 100-continue", CHUNKED, presented=keys[1]))
            assert (await growing.answer()).status == 100
            for presented in keys[2:4]:
                await held(presented)
            growing.send(b"%x\r\n" % body, b"x" * body)
            await until(lambda: served.source.bytes_in_memory == 4 * share)
            answer = await refused(keys[4])
            assert (answer.status, answer.headers["retry-after"]) == (503, "5")
            answer = await refused(keys[4], CHUNKED, raw=chunked(b"x"))
            assert answer.status == 503
            assert served.source.bytes_in_memory == 4 * share
            assert [what[0] for what in served.named("refused")] == [Reason.BUSY] * 3
            holding.send(b"x" * body)
            assert (await holding.answer()).status == 200
            assert (await refused(keys[4])).status == 200
            assert (await refused(keys[0])).status == 200

    run(test())


SENDERS = 30


def test_a_flood_of_large_bodies_takes_no_more_memory_than_its_share() -> None:
    body = 2 * 1024 * 1024
    most = 4 * 2 * (body + http_in.REQUEST_COST_BYTES)

    async def test() -> None:
        async with serving(
            lambda _push, outbox: Taken("id", [outbox.empty()]), max_body=body, max_pending_bytes=most
        ) as served:
            large = request(b"x" * body)
            statuses: list[int] = []

            loop = asyncio.get_running_loop()

            async def push() -> None:
                """Sends from the one copy there is, so that what the process holds is what was received."""
                with socket.socket() as one:
                    one.setblocking(False)
                    await loop.sock_connect(one, ("127.0.0.1", served.port))
                    with contextlib.suppress(ConnectionError):  # refused while it was still sending
                        await loop.sock_sendall(one, large)
                    with contextlib.suppress(ConnectionError):
                        statuses.append(int((await loop.sock_recv(one, 4096)).split()[1]))

            tracemalloc.start()
            before = tracemalloc.get_traced_memory()[0]
            await asyncio.gather(*(push() for _ in range(SENDERS)))
            peak = tracemalloc.get_traced_memory()[1] - before
            tracemalloc.stop()
            assert set(statuses) == {200, 429}
            assert statuses.count(200) >= 2
            # Its share, one body as it is put together, and for each connection what aiohttp and asyncio read ahead.
            assert peak < most // 4 + body + SENDERS * (2 * http_in.READ_BUFFER_BYTES + 256 * 1024)

    run(test())


def test_connections_are_bounded_for_each_peer_and_together() -> None:
    async def open_and_count(**settings: Any) -> list[str]:
        async with serving(**settings) as served:
            async with contextlib.AsyncExitStack() as open_ones:
                ones = [await open_ones.enter_async_context(sender(served.port)) for _ in range(4)]
                assert await ones[3].ended() == b""
                ones[0].send(request())
                assert (await ones[0].answer()).status == 200
            async with sender(served.port) as later:
                await until(lambda: len(served.named("disconnected")) == 3)
                later.send(request())
                assert (await later.answer()).status == 200
            return [str(what[1]) for what in served.named("turned_away")]

    async def test() -> None:
        assert await open_and_count(max_connections=3) == ["too many connections"]
        assert await open_and_count(max_peer_connections=3) == ["too many connections of one peer"]

    run(test())


def test_a_thousand_connections() -> None:
    async def test() -> None:
        async with serving(max_connections=1000) as served, contextlib.AsyncExitStack() as open_ones:
            ones = [await open_ones.enter_async_context(sender(served.port)) for _ in range(1000)]
            for _ in range(3):
                for one in ones:
                    one.send(request())
                answers = await asyncio.gather(*(one.answer() for one in ones))
                assert {answer.status for answer in answers} == {200}
            assert served.fates == {"received": 3000, "published": 3000}
            assert not served.named("turned_away")

    run(test())


def test_stopping_answers_what_is_under_way_and_takes_nothing_new(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_in, "STOP_READING_S", 0.1)

    async def test() -> None:
        async with serving(log=FakeLog()) as served, contextlib.AsyncExitStack() as open_ones:
            async with sender(served.port):
                pass  # one that was there before must not count as the end of all
            await until(lambda: len(served.named("disconnected")) == 1)
            idle, waiting, sending, half = [await open_ones.enter_async_context(sender(served.port)) for _ in range(4)]
            waiting.send(request(), request())
            for one in (sending, half):
                one.send(request(b"", "Expect: 100-continue", length=4))
                assert (await one.answer()).status == 100
            half.send(b"bo")
            await until(lambda: bool(served.log.sent))
            clock = asyncio.get_running_loop().time
            began = clock()
            stopping = asyncio.create_task(served.source.stop())
            assert await idle.ended() == b""
            with pytest.raises(ConnectionError):
                await asyncio.open_connection("127.0.0.1", served.port)
            sending.send(b"body")
            answer = await half.answer()
            assert (answer.status, answer.headers["retry-after"]) == (503, "5")
            await until(lambda: len(served.log.sent) == 2)
            for sent in served.log.sent:
                sent.done(None)
            for one in (waiting, sending):
                answer = await one.answer()
                assert (answer.status, answer.headers["connection"]) == (200, "close")
                assert await one.ended() == b""
            half.writer.write_eof()
            await stopping
            assert clock() - began < 5
            assert served.fates == {"received": 3, "published": 2, "refused": 1}
            assert served.named("refused") == [(Reason.UNAVAILABLE, "")]

    run(test())


def test_stopping_does_not_wait_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_in, "STOP_ANSWERING_S", 0.1)

    async def test() -> None:
        async with serving(log=FakeLog()) as served, sender(served.port) as waiting:
            waiting.send(request())
            await until(lambda: bool(served.log.sent))
            await served.source.stop()
            assert await waiting.ended() == b""
            assert served.fates == {"received": 1, "pending": 1}

    run(test())


def test_a_sender_that_reads_no_answers_is_cut_off(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(http_in, "ANSWER_TIMEOUT_S", 0.1)

    async def test() -> None:
        gone = asyncio.Event()

        class Telling(RememberingTelemetry):
            def disconnected(self, peer: str, why: str) -> None:
                super().disconnected(peer, why)
                gone.set()

        async with serving(telemetry=Telling()) as served:
            _, writer = await asyncio.open_connection("127.0.0.1", served.port, limit=1)
            many = b"".join(request() for _ in range(1000))
            with contextlib.suppress(ConnectionError):
                while not gone.is_set():
                    writer.write(many)
                    await asyncio.wait(
                        [asyncio.create_task(writer.drain()), asyncio.create_task(gone.wait())],
                        return_when="FIRST_COMPLETED",
                    )
            writer.transport.abort()
            answered, taken = len(served.named("answered")), len(served.pushed)
            assert 0 < answered <= taken

    run(test())


@pytest.mark.parametrize("seed", range(4))
def test_no_bytes_are_a_defect(seed: int) -> None:
    """Requests with bytes changed, cut, doubled: each connection ends or is answered, and the next one works."""
    chance = random.Random(seed)
    pieces = [
        request(b"12345"),
        request(chunked(b"123", b"45"), CHUNKED),
        request(b"<x/>", presented=None, path=f"/in/isapi/{KEY}"),
        request(b"{}", "Connection: Upgrade", "Upgrade: websocket"),
        request(b"", method="CONNECT", path="hub:80"),
        request(b"", method="OPTIONS", path="*"),
        request(b"", path="//[::1"),
        request(b"", path="http://[::1/in/patrol"),
        request(b"", path="/in/isapi/%ff%00%zz"),
        request(b"", path="/in/isapi/\udcff".encode(errors="surrogateescape").decode("latin-1")),
    ]

    async def test() -> None:
        async with serving(header_timeout_s=0.05, body_timeout_s=0.05) as served:

            async def once() -> None:
                raw = bytearray(b"".join(chance.choices(pieces, k=chance.randint(1, 3))))
                for _ in range(chance.randint(0, 5)):
                    at = chance.randrange(len(raw))
                    match chance.randrange(3):
                        case 0:
                            raw[at] = chance.randrange(256)
                        case 1:
                            del raw[at : at + chance.randrange(20)]
                        case _:
                            raw[at:at] = chance.choice([b"\r\n", b"\x00", b"\xff\xfe", b": ", b"%", raw[at : at + 30]])
                    raw = raw or bytearray(b"x")
                async with sender(served.port) as anyone:
                    with contextlib.suppress(ConnectionError):
                        anyone.send(bytes(raw))
                        anyone.writer.write_eof()
                    rest = await anyone.ended()
                    assert b" 500 " not in rest

            for _ in range(20):
                await asyncio.gather(*(once() for _ in range(10)))
            async with sender(served.port) as vendor_a:
                vendor_a.send(request())
                assert (await vendor_a.answer()).status == 200
            assert not served.named("defect")

    run(test())


def test_an_address_that_is_taken_is_named() -> None:
    async def test() -> None:
        async with serving() as served:
            taken = HostPort(host="127.0.0.1", port=served.port)
            source = HttpSource("patrol", HttpSettings(listen=taken), ROUTES, taking(lambda: served))
            with pytest.raises(Misconfigured, match=rf"patrol\.listen: 127\.0\.0\.1:{served.port} cannot be used"):
                await source.start(served.outbox, served.telemetry, lambda: TWO)
            await source.stop()

    run(test())


def test_a_body_must_fit_into_a_vendors_share() -> None:
    with pytest.raises(ValidationError, match="max_pending_bytes must be at least"):
        HttpSettings(listen=FREE, max_body=1000, max_pending_bytes=4000)
