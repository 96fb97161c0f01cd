"""Takes what vendors push over HTTP: who may, how much, how fast; and tells the sender only what is so.

A feed over HTTP is `HttpSource` with its routes and a function `take`, which reads one body and hands its messages to the outbox. All else
is here. In this order, and before a byte of the body is read: the path (404), the method (405), the key (401), the rate (429), the media type
(415), the length (413), room in memory (429, 503). Then the body, in time (408); then `take`; then the fates of all that it handed over:

- all kept: 200 and `{"id", "fate"}`, with `messages` where each of several is told apart, or, where `take` has something to tell its sender, 400 as problem+json (RFC 9457);
- one refused: 503 with Retry-After. The sender sends all of it again, and what was kept is recognised by its id.

What has no valid key is no message: 400, 401, 404, 405 and headers that never end are counted in `gridhub_http_refused_total`. From the key on it
is one, and each has its fate: what is refused here is received and refused in the outbox's balance, too.

A key is in the header or in the path; neither is ever logged, and `take` sees neither.
"""

import asyncio
import contextlib
import hashlib
import inspect
import json
import math
import os
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from http import HTTPStatus
from typing import Any

from aiohttp import StreamReader, web
from aiohttp.http import HttpVersion11
from aiohttp.web_protocol import RequestPayloadError
from pydantic import BaseModel, PositiveFloat, PositiveInt, model_validator

from hub.core.errors import Misconfigured, Reason, Rejected, Unavailable
from hub.core.events import DeadLetter
from hub.core.registry import Registry, Vendor, VendorKey
from hub.evidence import Evidence
from hub.lang import Text
from hub.outbox import KEPT, Fate, Outbox
from hub.running import allow_open_files
from hub.settings import Listen
from hub.telemetry import FeedTelemetry

ANSWERS = ("200", "400", "401", "404", "405", "408", "413", "415", "429", "503")
"""Every status that is answered, for `hub.connector.run`."""

LARGE_BYTES = 512 * 1024
"""A body longer than this does not go into the dead letters, but by its hash into the evidence store."""

VENDOR_SHARE = 4
"""A vendor's bodies may take 1/4 of the room that there is for all: so many vendors must flood before another finds none."""

REQUEST_COST_BYTES = 4096
"""What a request takes up besides its body."""

BURST_S = 2.0
RETRY_AFTER_S = 5
ANSWER_TIMEOUT_S = 10.0
STOP_READING_S = 2.0
STOP_ANSWERING_S = 4.0
LINGER_S = 5.0
READ_BUFFER_BYTES = 64 * 1024
MAX_LINE_BYTES = 4096
MAX_HEADERS = 64
MAX_IDEMPOTENCY_KEY = 255
BACKLOG = 256
# Files and sockets that are no senders': Kafka, metrics, libraries read late, connections being turned away.
OWN_FILES = 128 + 4 * BACKLOG


class HttpSettings(BaseModel, frozen=True, extra="forbid"):
    """What every feed over HTTP lets be set; its own section adds to it, `listen` at least. See `deploy/hub.example.toml` for each key.

    max_body: bytes. max_pending_bytes: what the bodies in memory may take together, one vendor's a quarter of it. header_timeout_s: from a
    request's first byte to the end of its headers; where that byte came in the instant of the answer before, `idle_timeout_s` bounds it.
    body_timeout_s: for the whole body. idle_timeout_s: from one answer to the next request's headers.
    """

    listen: Listen
    max_body: PositiveInt = 4 * 1024 * 1024
    budget_s: PositiveFloat = 2
    max_connections: PositiveInt = 1000
    max_peer_connections: PositiveInt = 200
    max_pending_bytes: PositiveInt = 128 * 1024 * 1024
    header_timeout_s: PositiveFloat = 10
    body_timeout_s: PositiveFloat = 60
    idle_timeout_s: PositiveFloat = 75

    @model_validator(mode="after")
    def _a_body_fits(self) -> "HttpSettings":
        least = VENDOR_SHARE * (self.max_body + REQUEST_COST_BYTES)
        if self.max_pending_bytes < least:
            raise ValueError(
                Text(
                    f"max_pending_bytes must be at least {least}: one vendor has a quarter of it, and max_body must fit",
                    f"max_pending_bytes 不能小于 {least}：每个厂商占其四分之一，须容得下 max_body",
                )
            )
        return self


@dataclass(frozen=True, slots=True)
class Route:
    """`path` is `/in/patrol`, or `/in/isapi/{token}` where the key may be the path's last part. `types`: the media types it takes, in lower
    case and without parameters, `""` where a sender may leave it out; None: any.
    """

    path: str
    types: frozenset[str] | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Push:
    """One request whose sender is known, whole. `headers`: names in lower case, without Authorization. `content_type` as it came, with its
    parameters. `key_id`: which of the vendor's keys it was, not the key. `accepted_at`: ms UTC, when the last byte was here.
    """

    vendor: Vendor
    body: bytes = field(repr=False)
    content_type: str
    headers: Mapping[str, str] = field(repr=False)
    idempotency_key: str
    accepted_at: int
    key_id: str = ""


@dataclass(frozen=True, slots=True)
class Problem:
    """What a sender is told of a push that was kept and could not be used. `code`: a word from `Reason`, or the connector's own; it becomes
    the last part of `type`. Sentences quote nothing of the body but names of fields, codes and numbers.
    """

    code: str
    title: Text
    detail: Text


@dataclass(frozen=True, slots=True)
class Taken:
    """What became of a push: the id its sender is told, and what is waited for before the answer. `parts`: where a push holds several messages, for
    each of `fates` the message's id, and the reason (a word from `Reason`) why it could not be used, or nothing.
    """

    id: str
    fates: Sequence[asyncio.Future[Fate] | Fate]
    problem: Problem | None = None
    parts: Sequence[tuple[str, str]] = ()


Take = Callable[[Push, Outbox], Taken | Awaitable[Taken]]
"""A connector's part: parses, translates, hands each message to the outbox exactly once. An exception out of it is a defect."""


def dead_letter(
    feed: str, push: Push, reason: Reason, detail: str, *, device: str = "", evidence: str | None = None
) -> DeadLetter:
    """A push kept whole, its id the same when it is sent again within the minute. `evidence`: SHA-256 under which the evidence store has the
    body; the letter then holds no bytes.
    """
    digest = hashlib.sha256(push.body).hexdigest()
    return DeadLetter(
        id=f"{feed}/{push.vendor.id}/{push.idempotency_key or push.accepted_at // 60_000}/{digest[:16]}",
        feed=feed,
        vendor=push.vendor.id,
        device=device,
        reason=reason,
        detail=detail,
        raw=b"" if evidence else push.body,
        evidence_sha256=evidence,
        accepted_at=push.accepted_at,
        answered=True,
    )


def push_again(letter: DeadLetter, registry: Registry) -> Push:
    """The push of a dead letter: body, vendor and moment of acceptance as they were; its headers are not kept. Raises Rejected (not_yours) where
    the vendor is in the registry no more.
    """
    for vendor in registry.vendors:
        if vendor.id == letter.vendor:
            return Push(
                vendor=vendor,
                body=letter.raw,
                content_type="",
                headers={},
                idempotency_key="",
                accepted_at=letter.accepted_at,
            )
    raise Rejected(Reason.NOT_YOURS, f"there is no vendor {letter.vendor!r}")


class _Refused(Exception):
    """A request is answered with `status` and goes no further. `reason`: its fate in the balance; None where it is no message."""

    def __init__(
        self,
        status: int,
        reason: Reason | None,
        title: Text,
        detail: Text,
        headers: Mapping[str, str] | None = None,
        why: str = "",
    ) -> None:
        super().__init__(why)
        self.status = status
        self.reason = reason
        self.title = title
        self.detail = detail
        self.headers = headers or {}
        self.why = why


def _retry(seconds: float) -> dict[str, str]:
    return {"Retry-After": str(max(1, math.ceil(seconds)))}


class _Rates:
    """How fast each vendor may send: a bucket of tokens each, two seconds deep."""

    def __init__(self) -> None:
        self._buckets: dict[str, tuple[float, float]] = {}

    def take(self, vendor: Vendor, now: float) -> float:
        """0.0: go on. Else how many seconds until there is a token again."""
        depth = max(1.0, vendor.per_s * BURST_S)
        tokens, at = self._buckets.get(vendor.id, (depth, now))
        tokens = min(depth, tokens + (now - at) * vendor.per_s)
        taken = tokens >= 1
        self._buckets[vendor.id] = (tokens - 1 if taken else tokens, now)
        return 0.0 if taken else (1 - tokens) / vendor.per_s


class _Room:
    """How many bytes the bodies in memory take up, of each vendor and together."""

    def __init__(self, most: int) -> None:
        self._most = most
        self._share = most // VENDOR_SHARE
        self._of: Counter[str] = Counter()
        self.taken = 0

    @contextlib.contextmanager
    def kept_for(self, vendor: str, size: int) -> Iterator[Callable[[int], None]]:
        """Room for `size` bytes while the body runs; what it gives asks for more. Raises _Refused where there is none."""
        held = 0

        def more(size: int) -> None:
            nonlocal held
            if self._of[vendor] + size > self._share:
                raise _Refused(429, Reason.BUSY, _TOO_MUCH, _TOO_MUCH_IN_MEMORY, _retry(1), "vendor's share of memory")
            if self.taken + size > self._most:
                raise _Refused(503, Reason.BUSY, _BUSY, _NO_ROOM, _retry(RETRY_AFTER_S), "memory")
            self._of[vendor] += size
            self.taken += size
            held += size

        more(REQUEST_COST_BYTES + size)
        try:
            yield more
        finally:
            self.taken -= held
            self._of[vendor] -= held
            if not self._of[vendor]:
                del self._of[vendor]


class HttpSource:
    """The source of a feed over HTTP (see hub.connector.Source)."""

    def __init__(
        self,
        feed: str,
        settings: HttpSettings,
        routes: Sequence[Route],
        take: Take,
        *,
        keep_large: Callable[[bytes], str | None] | None = None,
    ) -> None:
        """`keep_large`: puts a body into the evidence store and gives its SHA-256, or None where it could not; called on a thread of its own."""
        self._feed = feed
        self._settings = settings
        self._routes = routes
        self._take = take
        self._keep_large = keep_large
        self._rates = _Rates()
        self._room = _Room(settings.max_pending_bytes)
        self._indexed: Registry | None = None
        self._keys: dict[str, tuple[Vendor, VendorKey]] = {}
        self._stopping = False
        self._listener: asyncio.Server | None = None

    async def start(
        self, outbox: Outbox, telemetry: FeedTelemetry, registry: Callable[[], Registry]
    ) -> Mapping[str, int]:
        """Listens; `registry` is asked at each request. Raises Misconfigured when the address cannot be had, or not so many open files."""
        self._outbox = outbox
        self._registry = registry
        self._telemetry = telemetry
        listen = self._settings.listen
        allow_open_files(self._settings.max_connections + OWN_FILES)
        self._server = _Server(self._answer, self._settings, outbox, telemetry)
        loop = asyncio.get_running_loop()
        try:
            self._listener = await loop.create_server(self._server, listen.host, listen.port, backlog=BACKLOG)
        except OSError as error:
            why = os.strerror(error.errno) if error.errno and error.errno > 0 else error.strerror
            raise Misconfigured(
                str(
                    Text(
                        f"{self._feed}.listen: {listen} cannot be used: {why}",
                        f"{self._feed}.listen：无法使用 {listen}：{why}",
                    )
                )
            ) from None
        return {"http": self._listener.sockets[0].getsockname()[1]}

    async def stop(self) -> None:
        """Takes no new request, answers those under way, closes; within 5 s."""
        self._stopping = True
        if self._listener is None:
            return
        self._listener.close()
        await self._server.finish()

    @property
    def bytes_in_memory(self) -> int:
        """What the bodies under way take up."""
        return self._room.taken

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        zh = _wants_chinese(request.headers.get("Accept-Language", ""))
        try:
            response = await self._push(request, zh=zh)
        except _Refused as refused:
            if refused.reason:
                self._outbox.refused(refused.reason)
            else:
                self._telemetry.http_refused(refused.status, request.remote or "", refused.why)
            response = _problem(refused.status, "", refused.title, refused.detail, zh=zh)
            response.headers.update(refused.headers)
        except Exception as defect:  # noqa: BLE001 - ours, not the sender's: told, and the feed goes on
            self._telemetry.defect(defect)
            response = _problem(503, "", _BUSY, _DEFECT, zh=zh)
            response.headers.update(_retry(RETRY_AFTER_S))
        # Where what follows on the connection is a body that nobody reads, nothing else can follow.
        if self._stopping or not request.content.is_eof():
            response.force_close()
        return response

    async def _push(self, request: web.BaseRequest, *, zh: bool) -> web.Response:
        route, token = self._route(request.path)
        if request.method != "POST":
            raise _Refused(405, None, _NOT_ALLOWED, _ONLY_POST, {"Allow": "POST"}, "method")
        vendor, key = self._authenticate(request, token)
        if self._stopping:
            raise _Refused(503, Reason.UNAVAILABLE, _BUSY, _ENDING, _retry(RETRY_AFTER_S))
        if wait_s := self._rates.take(vendor, asyncio.get_running_loop().time()):
            raise _Refused(429, Reason.BUSY, _TOO_MUCH, _TOO_FAST, _retry(wait_s))
        content_type = _clean(request.headers.get("Content-Type", ""))
        self._check_type(route, content_type, request.headers.get("Content-Encoding", ""))
        idempotency_key = _clean(request.headers.get("Idempotency-Key", "")).strip().strip('"')
        if len(idempotency_key) > MAX_IDEMPOTENCY_KEY:
            raise _Refused(400, Reason.SYNTAX, _BAD_REQUEST, _LONG_IDEMPOTENCY_KEY)
        length = request.content_length
        if length is not None and length > self._settings.max_body:
            raise self._too_large()
        with self._room.kept_for(vendor.id, length or 0) as more:
            body = await self._read(request, more, length or 0)
            push = Push(
                vendor=vendor,
                body=body,
                content_type=content_type,
                headers=_headers(request),
                idempotency_key=idempotency_key,
                accepted_at=self._outbox.clock.now(),
                key_id=key.id,
            )
            taken = await self._taken(push)
            fates = [one if isinstance(one, Fate) else await one for one in taken.fates]
        if not KEPT.issuperset(fates):
            response = _problem(503, "", _BUSY, _NOT_KEPT, zh=zh)
            response.headers.update(_retry(RETRY_AFTER_S))
            return response
        fate = next((one for one in _TOLD if one in fates), Fate.EMPTY)
        if taken.problem:
            problem = taken.problem
            return _problem(400, problem.code, problem.title, problem.detail, zh=zh, id=taken.id, fate=fate.value)
        return _json(200, {"id": taken.id, "fate": fate.value, **_parts(taken, fates)})

    def _route(self, path: str) -> tuple[Route, str]:
        """The route, and the token in the path or nothing."""
        path = path.rstrip("/")
        for route in self._routes:
            head, token, _ = route.path.partition("{token}")
            if path == route.path if not token else path.startswith(head) and "/" not in path[len(head) :]:
                return route, path[len(head) :]
        raise _Refused(404, None, _NOT_FOUND, _NO_SUCH_PATH, why="path")

    def _authenticate(self, request: web.BaseRequest, token: str) -> tuple[Vendor, VendorKey]:
        scheme, _, bearer = request.headers.get("Authorization", "").partition(" ")
        presented = [bearer.strip()] if scheme.lower() == "bearer" else []
        presented += [token] if token else []
        why = "no key"
        for key in presented:
            found = self._vendors().get(hashlib.sha256(key.encode(errors="surrogateescape")).hexdigest())
            why = self._unfit(*found) if found else "unknown key"
            if found and not why:
                return found
        raise _Refused(401, None, _UNAUTHORIZED, _NO_VALID_KEY, {"WWW-Authenticate": 'Bearer realm="gridhub"'}, why)

    def _unfit(self, vendor: Vendor, key: VendorKey) -> str:
        """Why a known key does not count for this feed now; empty where it does. For the log."""
        now = self._outbox.clock.now()
        if key.begins is not None and now < key.begins:
            return f"key {key.id} of {vendor.id} does not count yet"
        if key.ends is not None and now >= key.ends:
            return f"key {key.id} of {vendor.id} has ended"
        return "" if self._feed in vendor.feeds else f"key {key.id} of {vendor.id} is not for this feed"

    def _vendors(self) -> Mapping[str, tuple[Vendor, VendorKey]]:
        registry = self._registry()
        if registry is not self._indexed:
            self._keys = {key.sha256.lower(): (vendor, key) for vendor in registry.vendors for key in vendor.keys}
            self._indexed = registry
        return self._keys

    def _check_type(self, route: Route, content_type: str, encoding: str) -> None:
        media_type = content_type.partition(";")[0].strip().lower()
        if route.types is not None and media_type not in route.types:
            takes = ", ".join(sorted(filter(None, route.types)))
            raise _Refused(
                415,
                Reason.SYNTAX,
                _UNSUPPORTED,
                Text(f"Content-Type must be one of: {takes}.", f"Content-Type 只能是：{takes}。"),
            )
        if encoding.strip().lower() not in {"", "identity"}:
            raise _Refused(415, Reason.SYNTAX, _UNSUPPORTED, _NO_COMPRESSION, {"Accept-Encoding": "identity"})

    def _too_large(self) -> _Refused:
        most = self._settings.max_body
        said = Text(f"A body may have {most} bytes.", f"请求体最多 {most} 字节。")
        return _Refused(413, Reason.TOO_LARGE, _TOO_LARGE, said)

    async def _read(self, request: web.BaseRequest, more: Callable[[int], None], kept: int) -> bytes:
        """The whole body; raises _Refused where it is too long, too slow or broken. `kept`: bytes that there is room for already."""
        connection = request.protocol
        assert isinstance(connection, _Connection)
        chunks: list[bytes] = []
        size = 0
        try:
            async with connection.reading(request.content):
                if request.version == HttpVersion11 and request.headers.get("Expect", "").lower() == "100-continue":
                    await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
                    request.writer.output_size = 0  # the answer itself has not begun
                while chunk := await request.content.readany():
                    size += len(chunk)
                    if size > self._settings.max_body:
                        raise self._too_large()
                    if size > kept:
                        more(size - kept)
                        kept = size
                    chunks.append(chunk)
        except TimeoutError:
            if self._stopping:
                raise _Refused(503, Reason.UNAVAILABLE, _BUSY, _ENDING, _retry(RETRY_AFTER_S)) from None
            raise _Refused(408, Reason.TIMEOUT, _TIMEOUT, _TOO_SLOW) from None
        except RequestPayloadError:
            raise _Refused(400, Reason.SYNTAX, _BAD_REQUEST, _BAD_FRAMING) from None
        except (OSError, RuntimeError) as error:
            # aiohttp raises a bare RuntimeError where it would wait on a connection that has ended.
            if isinstance(error, RuntimeError) and request.transport is not None:
                raise
            raise _Refused(400, Reason.LENGTH, _BAD_REQUEST, _BROKEN_OFF) from None
        return b"".join(chunks)

    async def _taken(self, push: Push) -> Taken:
        try:
            taken = self._take(push, self._outbox)
            return await taken if inspect.isawaitable(taken) else taken
        except Exception as defect:  # noqa: BLE001 - ours, not the sender's: kept whole for people, and the feed goes on
            self._telemetry.defect(defect)
            evidence = await self._evidence(push.body)
            letter = dead_letter(self._feed, push, Reason.POISON, type(defect).__name__, evidence=evidence)
            return Taken(letter.id, [self._outbox.dead_letter(letter)])

    async def _evidence(self, body: bytes) -> str | None:
        """The SHA-256 under which the evidence store has a body too long for a letter; None: it does not, and the letter tries."""
        if len(body) <= LARGE_BYTES or not self._keep_large:
            return None
        try:
            return await asyncio.to_thread(self._keep_large, body)
        except Exception as defect:  # noqa: BLE001 - the second one in a row must not cost the message its fate
            self._telemetry.defect(defect)
            return None


class PushSource:
    """The source of a feed that takes pushes and keeps evidence (see hub.connector.Source); a connector adds `take`, and what it makes of a registry."""

    def __init__(
        self,
        feed: str,
        settings: HttpSettings,
        routes: Sequence[Route],
        evidence: Evidence,
        registry: Callable[[], Registry] = Registry,
    ) -> None:
        """`registry`: the one in force, as long as `start` gives no other."""
        self.evidence = evidence
        self.registry = registry
        self._feed = feed
        self._http = HttpSource(feed, settings, routes, self.take, keep_large=self._keep_large)

    async def start(
        self, outbox: Outbox, telemetry: FeedTelemetry, registry: Callable[[], Registry]
    ) -> Mapping[str, int]:
        """Listens; raises Misconfigured when the address cannot be had."""
        self.registry = registry
        return await self._http.start(outbox, telemetry, registry)

    async def stop(self) -> None:
        """Takes no new request, answers those under way."""
        await self._http.stop()

    async def take(self, push: Push, outbox: Outbox) -> Taken:
        """Hands what is in a push to the outbox, each message once, its evidence kept before."""
        raise NotImplementedError

    async def keep_whole(self, push: Push, outbox: Outbox, rejected: Rejected) -> Taken:
        """What cannot be used, in the dead letters or, where it is long, in the evidence store."""
        stored = None
        if len(push.body) > LARGE_BYTES:
            stored = await asyncio.to_thread(self._keep_large, push.body)
            if stored is None:
                return Taken("", [outbox.refused(Reason.UNAVAILABLE)])
        letter = dead_letter(self._feed, push, rejected.reason, rejected.detail, evidence=stored)
        return Taken(letter.id, [outbox.dead_letter(letter)])

    def _keep_large(self, body: bytes) -> str | None:
        try:
            return self.evidence.keep(body, most=len(body))
        except Unavailable:
            return None


class _Server(web.Server):
    """Counts connections and ends them in order."""

    def __init__(
        self,
        answer: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]],
        settings: HttpSettings,
        outbox: Outbox,
        telemetry: FeedTelemetry,
    ) -> None:
        super().__init__(answer)
        self.settings = settings
        self.outbox = outbox
        self.telemetry = telemetry
        self.open: set[_Connection] = set()
        self.peers: Counter[str] = Counter()
        self._empty = asyncio.Event()

    def __call__(self) -> "_Connection":
        return _Connection(self)

    def full(self, host: str) -> str:
        """Why a connection from `host` is not taken; empty where it is."""
        if len(self.open) >= self.settings.max_connections:
            return "too many connections"
        return "too many connections of one peer" if self.peers[host] >= self.settings.max_peer_connections else ""

    def opened(self, connection: "_Connection", host: str) -> None:
        self.open.add(connection)
        self.peers[host] += 1

    def closed(self, connection: "_Connection", host: str) -> None:
        self.open.discard(connection)
        self.peers[host] -= 1
        if not self.peers[host]:
            del self.peers[host]
        if not self.open:
            self._empty.set()

    async def finish(self) -> None:
        """Closes what is idle at once, the others when they are answered, what still reads after 2 s, all after 4 s."""
        self._empty.clear()
        for connection in list(self.open):
            connection.finish()
        if self.open:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(STOP_ANSWERING_S):
                    await self._empty.wait()
        await self.shutdown(0.1)


class _Connection(web.RequestHandler):
    """One sender's connection: aiohttp's, with the limits that it lacks, and without its log, which quotes what was sent."""

    def __init__(self, server: _Server) -> None:
        super().__init__(
            server,
            loop=asyncio.get_running_loop(),
            keepalive_timeout=server.settings.idle_timeout_s,
            access_log=None,  # type: ignore[arg-type] # its constructor asks whether there is one
            max_line_size=MAX_LINE_BYTES,
            max_field_size=MAX_LINE_BYTES,
            max_headers=MAX_HEADERS,
            lingering_time=LINGER_S,
            read_bufsize=READ_BUFFER_BYTES,
            auto_decompress=False,
        )
        self._server = server
        self._telemetry = server.telemetry
        self._peer: tuple[str, int] | None = None
        # Requests whose headers are whole and that have no answer yet. aiohttp has taken the first of them from its own list some turns of the
        # loop before it begins to handle it.
        self._open = 0
        self._newest: StreamReader | None = None
        self._half_closed = False
        self._last = False
        self._headers_due: asyncio.TimerHandle | None = None
        self._body: StreamReader | None = None
        self._body_due: asyncio.Timeout | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        host, port, *_ = transport.get_extra_info("peername")
        assert isinstance(transport, asyncio.Transport)
        if why := self._server.full(host):
            self._telemetry.turned_away(f"{host}:{port}", why)
            transport.abort()
            return
        self._peer = (host, port)
        self._server.opened(self, host)
        self._telemetry.connected(f"{host}:{port}")
        # An answer has gone out when the system has it; see ANSWER_TIMEOUT_S for who does not read it.
        transport.set_write_buffer_limits(high=0)
        super().connection_made(transport)

    def connection_lost(self, exc: BaseException | None) -> None:
        if self._peer is None:
            return
        host, port = self._peer
        self._expect_headers(due=False)
        self._server.closed(self, host)
        self._telemetry.disconnected(f"{host}:{port}", type(exc).__name__ if exc else "closed")
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        if self._peer is None:
            return
        before = len(self._messages)
        try:
            super().data_received(data)
        except Exception:  # noqa: BLE001 - what the parser itself stumbles over is no HTTP
            # No message has come of these bytes: they are told as refused, and the connection ends.
            self._give_up(400)
            return
        if came := len(self._messages) - before:
            self._open += came
            self._newest = self._messages[-1][1]
        if data and not self._open and not self._last:
            self._expect_headers(due=True)
        # Nothing can be behind a body that has not ended but the parser's complaint about it; aiohttp leaves the body waiting for ever.
        if self._body is not None and self._messages and not self._body.is_eof():
            self._body.set_exception(RequestPayloadError("the body's framing is broken"))

    def eof_received(self) -> bool:  # type: ignore[override] # asyncio's own allows it: True keeps the connection open for the answer
        """Some devices close their side as soon as they have sent, and still wait for the answer."""
        self._half_closed = self._open > 0 and self._newest is not None and self._newest.is_eof()
        return self._half_closed

    async def _handle_request(self, request: web.BaseRequest, *rest: Any) -> tuple[web.StreamResponse, bool]:
        self._expect_headers(due=False)
        try:
            return await super()._handle_request(request, *rest)
        finally:
            self._open -= 1
            if self._half_closed and not self._messages:
                self.close()  # nothing can come any more

    async def finish_response(
        self, request: web.BaseRequest, resp: web.StreamResponse, start_time: float | None
    ) -> tuple[web.StreamResponse, bool]:
        if self._half_closed and not self._messages:
            resp.force_close()
        try:
            async with asyncio.timeout(ANSWER_TIMEOUT_S):
                resp, gone = await super().finish_response(request, resp, start_time)
        except TimeoutError:
            if self.transport:
                self.transport.abort()
            return resp, True
        # What still comes of a body after the last answer is read and forgotten by aiohttp for LINGER_S, so that the answer is not lost with it.
        self._last = not resp.keep_alive
        if not gone:
            self._server.outbox.answered(str(resp.status))
        return resp, gone

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,  # noqa: ARG002 - it quotes the request
    ) -> web.StreamResponse:
        """What the parser refused; it is no message yet."""
        if status == HTTPStatus.BAD_REQUEST:
            self._telemetry.http_refused(status, request.remote or "", "not HTTP")
            response = _problem(status, "", _BAD_REQUEST, _NOT_HTTP, zh=False)
        else:
            self._telemetry.defect(exc or RuntimeError(f"status {status}"))
            response = _problem(503, "", _BUSY, _DEFECT, zh=False)
        response.force_close()
        return response

    def log_exception(self, *_args: Any, **about: Any) -> None:
        error = about.get("exc_info")
        # A sender may leave, or cut its body wrongly, also while what it sends after the last answer is read and forgotten.
        theirs = self.transport is None or isinstance(error, RequestPayloadError | ConnectionError)
        if isinstance(error, BaseException) and not theirs:
            self._telemetry.defect(error)

    @contextlib.asynccontextmanager
    async def reading(self, body: StreamReader) -> AsyncIterator[None]:
        """The time that a body has; raises TimeoutError after it."""
        try:
            async with asyncio.timeout(self._server.settings.body_timeout_s) as due:
                self._body, self._body_due = body, due
                yield
        finally:
            self._body = self._body_due = None

    def finish(self) -> None:
        """Ends at once where nothing is under way; else after the answer, which is given at last when the body does not come."""
        if not self._open:
            self.force_close()
        elif self._body_due and not self._body_due.expired():
            soon = self._loop.time() + STOP_READING_S
            self._body_due.reschedule(min(self._body_due.when() or soon, soon))

    def _expect_headers(self, *, due: bool) -> None:
        if due and self._headers_due is None:
            self._headers_due = self._loop.call_later(self._server.settings.header_timeout_s, self._give_up, 408)
        elif not due and self._headers_due is not None:
            self._headers_due.cancel()
            self._headers_due = None

    def _give_up(self, status: int) -> None:
        """Answers and closes where no request has come about."""
        transport = self.transport
        if transport is None or self._peer is None:
            return
        self._telemetry.http_refused(status, self._peer[0], "headers")
        phrase = HTTPStatus(status).phrase
        transport.write(f"HTTP/1.1 {status} {phrase}\r\nContent-Length: 0\r\nConnection: close\r\n\r\n".encode())
        self._server.outbox.answered(str(status))
        self.force_close()


def _problem(status: int, code: str, title: Text, detail: Text, *, zh: bool, **more: str) -> web.Response:
    """RFC 9457, in one language."""
    body = {
        "type": f"urn:gridhub:problem:{code}" if code else "about:blank",
        "title": title.zh if zh else title.en,
        "status": status,
        "detail": detail.zh if zh else detail.en,
        **more,
    }
    response = _json(status, body, "application/problem+json")
    response.headers["Content-Language"] = "zh" if zh else "en"
    return response


def _json(status: int, body: Mapping[str, Any], content_type: str = "application/json") -> web.Response:
    # Without a name of our own, aiohttp tells its version and Python's.
    headers = {"Content-Type": content_type, "Server": "gridhub"}
    return web.Response(
        status=status, body=json.dumps(body, ensure_ascii=False).encode("utf-8", "replace"), headers=headers
    )


def _parts(taken: Taken, fates: Sequence[Fate]) -> dict[str, Any]:
    if not taken.parts:
        return {}
    told = zip(taken.parts, fates, strict=True)
    return {
        "messages": [
            {"id": name, "fate": fate.value, **({"reason": reason} if reason else {})} for (name, reason), fate in told
        ]
    }


def _wants_chinese(accepted: str) -> bool:
    """Whether Accept-Language puts Chinese before English."""
    weights = {"zh": 0.0, "en": 0.0}
    for one in accepted.split(","):
        name, _, parameters = one.strip().lower().partition(";")
        language = name.strip().partition("-")[0]
        if language in weights:
            with contextlib.suppress(ValueError):
                weight = float(parameters.strip().removeprefix("q=") or 1)
                weights[language] = max(weights[language], weight)
    return weights["zh"] > weights["en"]


def _clean(value: str) -> str:
    """A header's value as text that can be encoded: what was not UTF-8 becomes U+FFFD."""
    return value.encode(errors="surrogateescape").decode(errors="replace")


def _headers(request: web.BaseRequest) -> dict[str, str]:
    headers: dict[str, str] = {}
    for name, value in request.headers.items():
        key = _clean(name).lower()
        if key not in {"authorization", "proxy-authorization", "cookie"}:
            headers[key] = f"{headers[key]}, {_clean(value)}" if key in headers else _clean(value)
    return headers


# Of several fates the first of these is told.
_TOLD = (Fate.DEAD_LETTERED, Fate.SPOOLED, Fate.PUBLISHED)

_BAD_REQUEST = Text("Bad request", "请求有误")
_UNAUTHORIZED = Text("Unauthorized", "未授权")
_NOT_FOUND = Text("Not found", "地址不存在")
_NOT_ALLOWED = Text("Method not allowed", "不支持该方法")
_TIMEOUT = Text("Request timeout", "请求超时")
_TOO_LARGE = Text("Content too large", "内容过大")
_UNSUPPORTED = Text("Unsupported media type", "不支持的媒体类型")
_TOO_MUCH = Text("Too many requests", "请求过多")
_BUSY = Text("Service unavailable", "服务暂不可用")

_NOT_HTTP = Text(
    "This is not a request of HTTP/1.0 or 1.1, or its headers are too long.",
    "不是有效的 HTTP/1.0 或 1.1 请求，或请求头过长。",
)
_NO_VALID_KEY = Text("A valid key of a vendor with this feed is needed.", "需要具有该数据源权限的厂商的有效密钥。")
_NO_SUCH_PATH = Text("Nothing is taken at this address.", "该地址不接收数据。")
_ONLY_POST = Text("Only POST is taken here.", "此处只接受 POST。")
_LONG_IDEMPOTENCY_KEY = Text("Idempotency-Key may have 255 characters.", "Idempotency-Key 最多 255 个字符。")
_TOO_SLOW = Text("The body did not come in time.", "请求体未在规定时间内传完。")
_BAD_FRAMING = Text("The body's framing (chunks) is broken.", "请求体的分块格式有误。")
_BROKEN_OFF = Text("The body broke off.", "请求体中途中断。")
_NO_COMPRESSION = Text(
    "Content-Encoding is not taken: send the body as it is.", "不接受 Content-Encoding：请直接发送原始内容。"
)
_TOO_FAST = Text("More than your rate allows; send it again later.", "超过了允许的速率，请稍后重发。")
_TOO_MUCH_IN_MEMORY = Text("Too much of yours is under way; send it again later.", "正在处理的数据过多，请稍后重发。")
_NO_ROOM = Text("Too much is under way; send it again later.", "系统繁忙，请稍后重发。")
_ENDING = Text("This process is ending; send it again.", "本进程正在停止，请重发。")
_NOT_KEPT = Text("It could not be kept in time; send all of it again.", "未能及时保存，请整体重发。")
_DEFECT = Text("A defect of the hub; send it again later.", "系统内部错误，请稍后重发。")
