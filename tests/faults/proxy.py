"""What a network does between a client and a broker: it is slow, it is narrow, it goes silent in one direction, it breaks."""

import asyncio
import socket
import struct
import threading
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, TypeVar

CHUNK = 16 * 1024
TO_BROKER, TO_CLIENT = "to broker", "to client"

Result = TypeVar("Result")


@dataclass(slots=True)
class Weather:
    """How the network is now. `delay_s`: for each piece, either way. `bytes_per_s`: of each connection, either way; 0 is no limit.

    `silent`: the directions in which nothing goes on, while nobody is told. `closed`: whoever comes anew is turned away.
    """

    delay_s: float = 0.0
    bytes_per_s: int = 0
    silent: frozenset[str] = frozenset()
    closed: bool = False


class Proxy:
    """Stands before one address of the loopback network, on a port of its own, in a thread of its own. To be used from other threads."""

    def __init__(self, target_port: int) -> None:
        """Listens at once; the target need not be there yet."""
        self._target_port = target_port
        self._weather = Weather()
        self._changed = asyncio.Event()
        self._ends: set[asyncio.StreamWriter] = set()
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name=f"proxy before {target_port}", daemon=True)
        self._thread.start()
        self._server = self._do(self._listen)
        self.port: int = self._server.sockets[0].getsockname()[1]

    def turn(self, weather: Weather) -> None:
        """The network is so from now on, for the connections that are there, too."""

        async def change() -> None:
            self._weather = weather
            self._changed.set()
            self._changed = asyncio.Event()

        self._do(change)

    def reset(self) -> int:
        """Breaks all connections (RST, both ways); how many."""

        async def broken() -> int:
            ends = list(self._ends)
            for end in ends:
                _break(end)
            return len(ends) // 2

        return self._do(broken)

    def close(self) -> None:
        """Breaks what is left, and is gone."""

        async def ended() -> None:
            self._server.close()
            for end in list(self._ends):
                _break(end)
            for task in self._tasks:
                task.cancel()
            await asyncio.gather(*self._tasks, return_exceptions=True)

        self._do(ended)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    def _do(self, work: Callable[[], Coroutine[Any, Any, Result]]) -> Result:
        return asyncio.run_coroutine_threadsafe(work(), self._loop).result(10)

    async def _listen(self) -> asyncio.Server:
        return await asyncio.start_server(self._arrived, "127.0.0.1", 0)

    async def _arrived(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if self._weather.closed:
            _break(writer)
            return
        try:
            there, back = await asyncio.open_connection("127.0.0.1", self._target_port)
        except OSError:
            _break(writer)
            return
        self._ends |= {writer, back}
        ways = [self._carry(reader, back, TO_BROKER), self._carry(there, writer, TO_CLIENT)]
        tasks = [self._loop.create_task(way) for way in ways]
        self._tasks.update(tasks)
        try:
            # An end in one direction is an end of both: Kafka's clients know no half-closed connection.
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            self._tasks.difference_update(tasks)
            for end in (writer, back):
                end.close()
                self._ends.discard(end)

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, way: str) -> None:
        try:
            while piece := await reader.read(CHUNK):
                await self._weathered(len(piece), way)
                writer.write(piece)
                await writer.drain()
        except OSError:
            return  # one of the ends is gone: so is the other, then

    async def _weathered(self, size: int, way: str) -> None:
        """Waits as long as a piece is under way now."""
        while way in self._weather.silent:
            await self._changed.wait()
        weather = self._weather
        if wait_s := weather.delay_s + (size / weather.bytes_per_s if weather.bytes_per_s else 0):
            await asyncio.sleep(wait_s)


def _break(end: asyncio.StreamWriter) -> None:
    """Ends a connection as one ends whose machine has failed: what is under way is lost."""
    carrier: socket.socket | None = end.get_extra_info("socket")
    if carrier is not None and carrier.fileno() != -1:
        carrier.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    end.transport.abort()
