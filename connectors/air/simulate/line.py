"""How a station sends what it says: over one connection, which comes back after every loss."""

import asyncio
import re
from collections import Counter, deque
from collections.abc import Sequence
from dataclasses import dataclass
from random import Random

from connectors.air.simulate.log import Log
from connectors.air.simulate.station import Station
from connectors.air.simulate.upload import Upload
from hub.lang import say
from hub.settings import HostPort

BACK_OFF_S = (0.2, 2.0)
PIECE_GAP_S = 0.02

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@dataclass(frozen=True, slots=True, kw_only=True)
class Manners:
    """How patient and how forgetful every station is; times in seconds."""

    interval_s: float = 5.0
    timeout_s: float = 10.0
    resends: int = 3
    repeat: float = 0.0  # share of all messages that is sent again though answered; what has no answer cannot be


class Platform:
    """The address that all stations call. That it is away is said once, not by each of them."""

    def __init__(self, address: HostPort) -> None:
        self._address = address
        self._told = False

    async def connect(self, within_s: float) -> Streams | None:
        """None where it cannot be reached now."""
        try:
            async with asyncio.timeout(within_s):
                streams = await asyncio.open_connection(self._address.host, self._address.port)
        except OSError as error:
            if not self._told:
                self._told = True
                why = error.strerror or type(error).__name__
                say(
                    f"{self._address} cannot be reached ({why}); trying on",
                    f"无法连接 {self._address}（{why}），继续重试",
                )
            return None
        self._told = False
        return streams


class Line:
    """A station's connection. A message that wants an answer is never given up, any other is sent once."""

    def __init__(self, station: Station, platform: Platform, manners: Manners, log: Log) -> None:
        self.sent = 0
        self.answered = 0
        self.waiting: dict[int, Upload] = {}  # messages that have no answer yet, by number
        self._station = station
        self._device = station.device
        self._platform = platform
        self._manners = manners
        self._log = log
        self._streams: Streams | None = None
        self._pause_s = 0.0  # before the next connection; grows until an answer is heard
        self._attempts: Counter[int] = Counter()
        # Attempts on this connection that have no answer yet, by QN: answers come in the order of what they answer.
        self._open: dict[str, deque[tuple[int, int]]] = {}

    @property
    def connected(self) -> bool:
        return self._streams is not None

    async def run(self, messages: int | None, chance: Random) -> None:
        """Sends so many messages and returns when each that wants an answer has it; without a number, until cancelled."""
        left = messages
        # Repeats that are owed. Stations begin with different fractions, so that many with few messages come to the share, too.
        due = chance.random()
        try:
            await asyncio.sleep(chance.uniform(0, self._manners.interval_s))
            while left is None or left > 0:
                uploads = self._station.next(left)
                await self._deliver(uploads)
                due += self._manners.repeat * len(uploads)
                again = [one for one in uploads if one.wants_answer][: int(due)]
                due -= len(again)
                await self._deliver(again)
                self._attempts.clear()
                left = None if left is None else left - len(uploads)
                await asyncio.sleep(self._manners.interval_s if left != 0 else 0)
        finally:
            self._hang_up()

    async def _deliver(self, uploads: Sequence[Upload]) -> None:
        """Sends them in one go, and those that want an answer until they have it."""
        self.waiting = {one.n: one for one in uploads}
        while self.waiting:
            reader, writer = self._streams or await self._connect()
            try:
                for _ in range(1 + self._manners.resends):
                    sending = tuple(self.waiting.values())
                    self.waiting = {one.n: one for one in sending if one.wants_answer}
                    await self._send(writer, sending)
                    await self._hear(reader)
                    if not self.waiting:
                        return
            except (OSError, EOFError, asyncio.LimitOverrunError):
                pass  # the connection is lost; what has no answer goes again over the next
            self._hang_up()

    async def _send(self, writer: asyncio.StreamWriter, uploads: Sequence[Upload]) -> None:
        for one in uploads:
            self._attempts[one.n] += 1
            attempt = self._attempts[one.n]
            self._log.sent(self._device, one, attempt)
            self.sent += 1
            if one.wants_answer:
                self._open.setdefault(one.header["QN"], deque()).append((one.n, attempt))
        pieces = uploads[0].pieces if len(uploads) == 1 else ()
        whole = b"".join(one.raw for one in uploads)
        for begin, end in zip((0, *pieces), (*pieces, len(whole)), strict=True):
            if begin:
                await asyncio.sleep(PIECE_GAP_S)  # so that the pieces travel by themselves
            writer.write(whole[begin:end])
            await writer.drain()

    async def _hear(self, reader: asyncio.StreamReader) -> None:
        """Takes answers until none is waited for or the time is over."""
        try:
            async with asyncio.timeout(self._manners.timeout_s):
                while self.waiting:
                    self._heard(await reader.readuntil(b"\r\n"))
        except TimeoutError:
            pass  # the caller sends again

    def _heard(self, answer: bytes) -> None:
        fields = dict(re.findall(r"(QN|CN)=([^;]*)", answer.decode("latin-1")))
        qn = fields.get("QN", "").strip()
        attempts = self._open.get(qn)
        if not attempts:
            return  # not an answer to anything asked on this connection
        n, attempt = attempts.popleft()
        if not attempts:
            del self._open[qn]
        self._pause_s = BACK_OFF_S[0]
        self._log.answered(self._device, n, attempt, fields.get("CN", "").strip(), qn)
        if self.waiting.pop(n, None):
            self.answered += 1

    async def _connect(self) -> Streams:
        shortest_s, longest_s = BACK_OFF_S
        while self._streams is None:
            await asyncio.sleep(self._pause_s)
            self._pause_s = min(max(2 * self._pause_s, shortest_s), longest_s)
            self._streams = await self._platform.connect(self._manners.timeout_s)
        self._log.connected(self._device)
        return self._streams

    def _hang_up(self) -> None:
        if self._streams:
            self._streams[1].close()
            self._streams = None
            self._open.clear()
            self._log.closed(self._device)
