"""Sends over HTTP as fast as it is told, whatever becomes of it: `python -m tests.load.sender PLAN`, a process of its own, and a cheap one.

Messages are due by the clock, not by the answers before them (an open loop), so that a hub that slows down is not asked for less. A connection has so
many messages under way at a time (HTTP pipelining where that is more than one). A patient sender keeps what finds no room, and its waiting counts
from the moment it was due; another drops it and counts it as held back: what a hub does to a flood that it reads more slowly than it comes.
SIGTERM ends it once what is under way has been answered.

It writes JSON lines: `{what: second, at, due, sent, held_back, heard: {status: n}, took_s: [p50, p99, most]}`, for a sender that keeps them
`{what: answer, n, due, heard, status, id}` for each message (seconds since 1970), and at last `{what: end, ...}` with the sums.
"""

import asyncio
import contextlib
import json
import signal
import sys
import time
from collections import Counter, deque
from collections.abc import Iterable
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TextIO

from tests.load.figures import Latency

TICK_S = 0.005
ANSWERED_WITHIN_S = 15.0
AGAIN_AFTER_S = 0.5
NUMBER, REGION, TIME = "@N@", "@REGION@", "@TIME@"


UnderWay = tuple[int, float, float]
"""A message's number, when it was due and when it was sent (s since 1970)."""


@dataclass(frozen=True, slots=True)
class Request:
    """What one device sends, as text; in `body` stand the message's number, its region and the time in the words above."""

    head: str
    body: str

    def bytes(self, number: int, region: int, moment: str) -> bytes:
        """One message."""
        body = self.body.replace(NUMBER, str(number)).replace(REGION, str(region)).replace(TIME, moment).encode()
        return f"{self.head}Host: hub\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """`requests` by turns, and with each round the next of `regions`. rate: a second. deep: how many may be under way on a connection. messages: end
    after so many; 0: go on. again: what was refused or not answered is sent again, until it is kept.
    """

    host: str
    port: int
    log: str
    requests: list[Request]
    rate: float
    connections: int
    deep: int = 1
    regions: int = 1
    messages: int = 0
    first: int = 0
    patient: bool = True
    again: bool = False
    keeps: bool = True

    def write(self, path: Path) -> None:
        """For the process."""
        path.write_text(json.dumps(asdict(self), ensure_ascii=False), encoding="utf-8")

    @classmethod
    def read(cls, path: Path) -> "Plan":
        """As `write` has written it."""
        plain = json.loads(path.read_text(encoding="utf-8"))
        return cls(**{**plain, "requests": [Request(**one) for one in plain["requests"]]})


@dataclass(slots=True)
class Count:
    """Of a second, or of all. `bare`: refused without a word of when to come again; `unheard`: sent, and the connection ended before an answer."""

    due: int = 0
    sent: int = 0
    held_back: int = 0
    bare: int = 0
    unheard: int = 0
    heard: Counter[str] = field(default_factory=Counter)
    took_s: list[float] = field(default_factory=list)

    def plain(self) -> dict[str, object]:
        """For the log."""
        latency = Latency.of(self.took_s)
        told = {name: getattr(self, name) for name in ("due", "sent", "held_back", "bare", "unheard")}
        return {**told, "heard": dict(self.heard), "took_s": [latency.p50, latency.p99, latency.most]}


class Line(asyncio.Protocol):
    """One connection; it is free as often as it can take another message."""

    def __init__(self, sender: "Sender") -> None:
        self._sender = sender
        self._transport: asyncio.Transport | None = None
        self._buffer = b""
        self._under_way: deque[UnderWay] = deque()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        self._sender.free(self, self._sender.plan.deep)

    def send(self, number: int, due: float) -> bool:
        """False where the connection has ended."""
        if self._transport is None or self._transport.is_closing():
            return False
        self._under_way.append((number, due, time.time()))
        self._transport.write(self._sender.request(number))
        return True

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while True:
            head, end, rest = self._buffer.partition(b"\r\n\r\n")
            names = head.lower()
            _, _, length = names.partition(b"content-length: ")
            if not end or len(rest) < (size := int(length.split(b"\r", 1)[0])):
                return
            self._buffer = rest[size:]
            self._sender.answered(
                self._under_way.popleft(), int(head[9:12]), rest[:size], retry=b"retry-after: " in names
            )
            if b"connection: close" not in names:
                self._sender.free(self)
            elif self._transport:
                self._transport.close()

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 - whatever ended it
        self._transport = None
        self._sender.lost(self._under_way)


class Sender:
    """One plan, carried out."""

    def __init__(self, plan: Plan, log: TextIO) -> None:
        self.plan = plan
        self._log = log
        self._loop = asyncio.get_running_loop()
        self._free: deque[Line] = deque()
        self._waiting: deque[tuple[int, float]] = deque()
        self._next = plan.first
        self._under_way = self._again = 0
        self._second, self._all = Count(), Count()
        self._moment = ""
        self._stop = asyncio.Event()
        self._connecting: set[asyncio.Task[None]] = set()

    def stop(self) -> None:
        """Nothing new is sent from now on."""
        self._stop.set()

    async def run(self) -> None:
        """Until it was stopped or all are sent; then what is under way has some time."""
        for _ in range(self.plan.connections):
            self._connect()
        began = time.time()
        told = began
        while not (self._stop.is_set() or (self._is_all_due and not self._left)):
            now = time.time()
            self._moment = time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime(now))
            self._take_due(began, now)
            self._dispatch()
            if now - told >= 1:
                told += 1
                self._tell(now)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(TICK_S):
                    await self._stop.wait()
        self._stop.set()
        until = time.time() + ANSWERED_WITHIN_S
        while self._under_way and time.time() < until:  # noqa: ASYNC110 - as in the loop above
            await asyncio.sleep(TICK_S)
        self._tell(time.time())
        self._all.unheard += self._under_way
        self._write("end", **self._all.plain(), waiting=len(self._waiting) + self._again)

    @property
    def _is_all_due(self) -> bool:
        return bool(self.plan.messages) and self._next - self.plan.first >= self.plan.messages

    @property
    def _left(self) -> int:
        return len(self._waiting) + self._under_way + self._again

    def _take_due(self, began: float, now: float) -> None:
        place = self._next - self.plan.first
        until = int((now - began) * self.plan.rate) + 1
        count = max(0, min(until, self.plan.messages or until) - place)
        room = count if self.plan.patient else min(count, max(0, len(self._free) - len(self._waiting)))
        self._waiting.extend((self._next + i, began + (place + i) / self.plan.rate) for i in range(room))
        self._next += count
        self._second.due += count
        self._second.held_back += count - room

    def _dispatch(self) -> None:
        while self._waiting and self._free:
            if self._free.popleft().send(*self._waiting[0]):
                self._waiting.popleft()
                self._under_way += 1
                self._second.sent += 1

    def request(self, number: int) -> bytes:
        """The bytes of a message."""
        requests = self.plan.requests
        region = number // len(requests) % self.plan.regions
        return requests[number % len(requests)].bytes(number, region, self._moment)

    def free(self, line: Line, times: int = 1) -> None:
        """A connection can take the next."""
        self._free.extend([line] * times)
        if not self._stop.is_set():
            self._dispatch()

    def answered(self, under_way: UnderWay, status: int, body: bytes, *, retry: bool) -> None:
        """An answer has come."""
        number, due, sent = under_way
        now = time.time()
        self._under_way -= 1
        self._second.heard[str(status)] += 1
        self._second.took_s.append(now - (due if self.plan.patient else sent))
        refused = status in (429, 503)
        self._second.bare += refused and not retry
        if refused and self.plan.again:
            self._once_more(number, due)
        elif self.plan.keeps:
            told = json.loads(body)
            self._write("answer", n=number, due=due, heard=now, status=status, id=told.get("id", ""))

    def lost(self, under_way: Iterable[UnderWay]) -> None:
        """A connection has ended, maybe with messages under way: another takes its place."""
        for number, due, _ in under_way:
            self._under_way -= 1
            self._second.unheard += 1
            if self.plan.again:
                self._once_more(number, due)
        if not self._stop.is_set():
            self._connect()

    def _once_more(self, number: int, due: float) -> None:
        self._again += 1

        def now() -> None:
            self._again -= 1
            self._waiting.append((number, due))
            self._dispatch()

        self._loop.call_later(AGAIN_AFTER_S, now)

    def _connect(self) -> None:
        task = self._loop.create_task(self._connected())
        self._connecting.add(task)
        task.add_done_callback(self._connecting.discard)

    async def _connected(self) -> None:
        while not self._stop.is_set():
            try:
                await self._loop.create_connection(lambda: Line(self), self.plan.host, self.plan.port)
            except OSError:
                await asyncio.sleep(AGAIN_AFTER_S)  # nobody listens: nothing was under way
            else:
                return

    def _tell(self, now: float) -> None:
        one, everything = self._second, self._all
        self._second = Count()
        for name in ("due", "sent", "held_back", "bare", "unheard"):
            setattr(everything, name, getattr(everything, name) + getattr(one, name))
        everything.heard += one.heard
        everything.took_s += one.took_s
        self._write("second", at=now, **one.plain())

    def _write(self, what: str, **more: object) -> None:
        self._log.write(json.dumps({"what": what, **more}) + "\n")
        if what != "answer":
            self._log.flush()


async def _main(plan: Plan, log: TextIO) -> None:
    sender = Sender(plan, log)
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, sender.stop)
    await sender.run()


if __name__ == "__main__":
    wanted = Plan.read(Path(sys.argv[1]))
    with Path(wanted.log).open("w", encoding="utf-8") as told:
        asyncio.run(_main(wanted, told))
