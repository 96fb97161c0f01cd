"""The sender against a server that does to it whatever a hub may do: each message is accounted for."""

import asyncio
import json
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.load.sender import NUMBER, REGION, Plan, Request
from tests.load.stage import Sending

REQUEST = Request("POST / HTTP/1.1\r\n", f"{NUMBER} {REGION}")


class Hub:
    """Answers the first message of each number by the number; what is sent again it takes."""

    def __init__(self, *, refuses: bool = False, closes: bool = False, delay_s: float = 0.0) -> None:
        self.port = 0
        self.bodies: list[str] = []
        self.answered: Counter[str] = Counter()
        self._refuses, self._closes, self._delay_s = refuses, closes, delay_s

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        while True:
            try:
                head = await reader.readuntil(b"\r\n\r\n")
            except (asyncio.IncompleteReadError, ConnectionError):
                break
            size = int(head.lower().partition(b"content-length: ")[2].split(b"\r")[0])
            body = (await reader.readexactly(size)).decode()
            number = int(body.split()[0])
            first = body not in self.bodies
            self.bodies.append(body)
            await asyncio.sleep(self._delay_s)
            if first and self._closes and number % 5 == 4:
                break
            refused = first and self._refuses and number % 3 == 2
            told = json.dumps({"id": f"id-{number}"}).encode()
            more = "Retry-After: 1\r\n" if refused and number % 2 else ""
            status = "429 Too Many Requests" if refused else "200 OK"
            self.answered[status[:3]] += 1
            writer.write(f"HTTP/1.1 {status}\r\nContent-Length: {len(told)}\r\n{more}\r\n".encode() + told)
        writer.close()


@contextmanager
def serving(hub: Hub) -> Iterator[Hub]:
    """On a thread of its own."""
    started, ended = threading.Event(), threading.Event()

    async def run() -> None:
        server = await asyncio.start_server(hub.serve, "127.0.0.1", 0)
        hub.port = server.sockets[0].getsockname()[1]
        started.set()
        await asyncio.to_thread(ended.wait)
        server.close()

    thread = threading.Thread(target=lambda: asyncio.run(run()), daemon=True)
    thread.start()
    assert started.wait(10)
    try:
        yield hub
    finally:
        ended.set()
        thread.join(10)


def sent(hub: Hub, folder: Path, **more: Any) -> Sending:
    """All of a plan, from its beginning to its end."""
    wish: dict[str, Any] = {"rate": 200.0, "connections": 2, "messages": 60} | more
    plan = Plan(host="127.0.0.1", port=hub.port, log=str(folder / "log"), requests=[REQUEST], **wish)
    sending = Sending("sender", folder, plan)
    try:
        return sending.done(30)
    finally:
        sending.kill()


@pytest.mark.parametrize("deep", [1, 4])
def test_each_message_is_sent_and_its_answer_is_told(tmp_path: Path, deep: int) -> None:
    with serving(Hub(refuses=True)) as hub:
        sending = sent(hub, tmp_path, deep=deep, regions=3)
    end = sending.end
    assert sorted(hub.bodies, key=lambda body: int(body.split()[0])) == [f"{n} {n % 3}" for n in range(60)]
    assert sending.heard() == hub.answered == {"200": 40, "429": 20}
    assert end["bare"] == 10
    assert (end["due"], end["sent"], end["held_back"], end["unheard"], end["waiting"]) == (60, 60, 0, 0, 0)
    answers = sending.lines("answer")
    assert {line["n"]: line["id"] for line in answers} == {n: f"id-{n}" for n in range(60)}
    assert all(0 <= line["heard"] - line["due"] < 5 for line in answers)
    assert answers[-1]["due"] - answers[0]["due"] == pytest.approx(59 / 200, abs=0.02)


def test_what_was_refused_or_lost_is_sent_again_until_it_is_kept(tmp_path: Path) -> None:
    with serving(Hub(refuses=True, closes=True)) as hub:
        sending = sent(hub, tmp_path, again=True)
    assert sending.heard()["200"] == 60
    assert {line["n"] for line in sending.lines("answer")} == set(range(60))
    assert sending.end["unheard"] == 12
    assert sending.end["sent"] == sum(sending.heard().values()) + 12


def test_a_flood_is_held_back_and_waits_for_nobody(tmp_path: Path) -> None:
    with serving(Hub(delay_s=0.1)) as hub:
        sending = sent(hub, tmp_path, patient=False, keeps=False, rate=500.0, messages=250)
    end = sending.end
    assert end["due"] == 250 == end["sent"] + end["held_back"]
    assert end["held_back"] > 200
    assert sending.heard()["200"] == end["sent"] == len(hub.bodies)
    assert sum(one["due"] for one in sending.lines("second")) == 250
    assert not sending.lines("answer")
