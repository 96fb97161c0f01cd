"""The contract of connectors: one suite for every folder of connectors/, found by listing it.

Each test sends real bytes over a real socket to the connector's own source, with a real outbox. For each case it must be seen that the case
occurred: the answers that the sender heard, the records and dead letters that came of it, and a balance that says the same.
"""

import ast
import asyncio
import contextlib
import socket
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import contextmanager
from importlib import import_module
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self

import pytest

from hub.clock import CLOCKS_DIFFER_S, Clock
from hub.core.errors import Reason, Unavailable
from hub.core.events import DeadLetter, Event
from hub.core.registry import Registry
from hub.dead_letters import Again, way_of
from hub.kafka_log import Publisher
from hub.outbox import DEAD_LETTERS, Fate, Outbox
from hub.settings import Settings
from hub.spool import Spool
from hub.topics import load_topics
from hub.wire import Wire, headers
from tests.brokers import Broker, committed
from tests.connectors.contract.cases import Case, Contract
from tests.doubles import FakeLog, RememberingTelemetry, Sent

if TYPE_CHECKING:
    from hub.connector import Source

ROOT = Path(__file__).parents[2]
CONNECTORS = sorted(path.parent.name for path in (ROOT / "connectors").glob("*/serve.py"))
FOLDERS = [name for name in CONNECTORS if (ROOT / f"tests/connectors/{name}/contract.py").exists()]
WIRE = Wire.load()
TOPICS = load_topics()
WITHIN_S = 15.0
BUDGET_S = 5.0
FEEDS_BUDGET_S = 2.0
SHORT_BUDGET_S = 0.3
PLENTY, NO_ROOM = 1 << 30, 1
"""Bytes of a spool."""
MOST_CUTS = 40
TURNS = 4
"""So many turns of the loop after bytes were sent, the source has read them: both ends are on the same loop."""
# Reasons that no bytes lead to: Kafka or the disk is away, too much waits, or the program itself is wrong.
NOT_BY_BYTES = {Reason.UNAVAILABLE, Reason.BUSY, Reason.FULL, Reason.POISON}


def contract(folder: str) -> Contract:
    """What the folder says of itself."""
    found = import_module(f"tests.connectors.{folder}.contract").CONTRACT
    assert isinstance(found, Contract)
    return found


def cases(which: Callable[[Contract], list[Case]]) -> list[Any]:
    """A parameter for each folder and case."""
    found = [(folder, case) for folder in FOLDERS for case in which(contract(folder))]
    return [pytest.param(folder, case, id=f"{folder}-{case.name}") for folder, case in found]


class Served:
    """A source that serves, with all that came of what it was sent."""

    def __init__(self, of: Contract, folder: Path, hasty: bool, budget_s: float, spool_bytes: int) -> None:
        self.contract = of
        self.log, self.telemetry = FakeLog(keeps=True), RememberingTelemetry()
        self.spool = Spool(folder / "spool.db", spool_bytes, self.telemetry)
        # The broker's, which this machine's is behind so far that it does not count, and what devices say still does.
        self.clock = Clock()
        self.clock.appended(self.clock.steady(), time.time_ns() // 1_000_000 + int(1.5 * CLOCKS_DIFFER_S * 1000))
        self.outbox = Outbox(of.feed, self.log, WIRE, self.telemetry, budget_s, self.spool, clock=self.clock)
        self.source: Source = of.source(folder, hasty)
        self.port = 0
        self.began = self.clock.now()

    async def start(self) -> None:
        ports = await self.source.start(self.outbox, self.telemetry, lambda: self.contract.registry)
        self.port = ports[self.contract.port]

    def sender(self) -> "Sender":
        return Sender(self.port, self.contract.answers)

    def acknowledge(self) -> None:
        """Kafka is back, and has what was sent to it."""
        self.log.keeps = True
        for one in self.log.sent:
            one.done(None)

    def records(self) -> list[tuple[str, Any]]:
        """Topic and record of all that was published."""
        return [(sent.topic, WIRE.decode(sent.value)) for sent in self.log.sent]

    def shown(self) -> tuple[tuple[str, ...], tuple[str, ...]]:
        """The topics of the records and the reasons of the letters."""
        found = self.records()
        return (
            tuple(topic for topic, _ in found if topic != DEAD_LETTERS),
            tuple(one.reason for _, one in found if isinstance(one, DeadLetter)),
        )


class Sender:
    """A connection of a device, without anything that is polite about it."""

    def __init__(self, port: int, answers: Callable[[bytes], list[str]]) -> None:
        self._socket = socket.socket()
        self._socket.setblocking(False)
        self._port = port
        self._answers = answers
        self._heard = b""

    async def __aenter__(self) -> Self:
        await asyncio.get_running_loop().sock_connect(self._socket, ("127.0.0.1", self._port))
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return self

    async def __aexit__(self, *_: object) -> None:
        self._socket.close()

    async def send(self, data: bytes) -> None:
        await asyncio.get_running_loop().sock_sendall(self._socket, data)

    async def to_the_end(self) -> list[str]:
        """Closes its own side, and hears answers until the hub closes the other."""
        with contextlib.suppress(OSError):
            self._socket.shutdown(socket.SHUT_WR)
        with contextlib.suppress(ConnectionError):
            while await self.more():
                pass
        return self._answers(self._heard)

    async def heard(self, count: int) -> list[str]:
        """Hears until there are so many answers, its own side open."""
        while len(self._answers(self._heard)) < count and await self.more():
            pass
        return self._answers(self._heard)

    async def more(self) -> bool:
        """Hears something; False at the end."""
        some = await asyncio.get_running_loop().sock_recv(self._socket, 65536)
        self._heard += some
        return bool(some)


Test = Callable[[Served], Awaitable[None]]


def served(
    folder: str,
    path: Path,
    test: Test,
    *,
    hasty: bool = False,
    budget_s: float = BUDGET_S,
    spool_bytes: int = PLENTY,
    stop: bool = True,
) -> None:
    """Runs a test beside a serving source, ends it in order, and looks at the balance."""

    async def scenario() -> None:
        one = Served(contract(folder), path, hasty, budget_s, spool_bytes)
        await one.start()
        async with asyncio.timeout(WITHIN_S):
            try:
                await test(one)
            finally:
                if stop:
                    await one.source.stop()
                await one.spool.close()
        balance = one.outbox.balance()
        assert balance["pending"] == 0
        assert balance["received"] == sum(balance[fate] for fate in Fate), balance
        assert not one.telemetry.named("defect")

    asyncio.run(scenario())


async def comes(true: Callable[[], bool]) -> None:
    async with asyncio.timeout(WITHIN_S):
        while not true():  # noqa: ASYNC110 - what is looked at belongs to the connector, which tells no event
            await asyncio.sleep(0.005)


def check(case: Case, one: Served, answers: list[str]) -> None:
    """That the case occurred, and nothing else."""
    assert (tuple(answers), *one.shown()) == (case.answers, case.records, case.letters)
    balance = one.outbox.balance()
    fates = (Fate.PUBLISHED, Fate.DEAD_LETTERED, Fate.EMPTY, Fate.REFUSED)
    expected = (len(case.records), len(case.letters), case.empty, case.refused)
    assert tuple(balance[fate] for fate in fates) == expected
    assert balance["received"] == case.received
    assert len(one.telemetry.named("answered")) == len(case.answers)
    if case.unheard:
        assert one.telemetry.named("http_refused"), "operators hear of it"
    for sent, (topic, record) in zip(one.log.sent, one.records(), strict=True):
        looked_at(one.contract, case, sent, topic, record)
        assert one.began <= record.accepted_at <= one.clock.now()


def looked_at(of: Contract, case: Case, sent: Sent, topic: str, record: Any) -> None:
    """What every record and every letter of every feed must be."""
    assert list(sent.headers) == headers(record)
    if isinstance(record, DeadLetter):
        assert (sent.key, record.feed, record.id != "", record.detail != "") == (of.feed, of.feed, True, True)
        assert record.raw, "it is kept whole"
        assert record.raw in case.sent
        # Of a frame that is damaged the sender may not think that it came.
        assert record.answered is bool(case.answers) or case.records
        return
    assert isinstance(record, Event)
    assert sent.key == record.town
    if record.device:
        device = next(one for one in of.registry.devices if one.id == record.device)
        assert (record.town, record.vendor) == (device.town, device.vendor)
    assert f"connectors.{of.feed}" in TOPICS[topic].writers


# ---- that nothing is left out


@pytest.mark.parametrize("folder", CONNECTORS)
def test_every_folder_has_its_contract(folder: str) -> None:
    assert folder in FOLDERS, f"tests/connectors/{folder}/contract.py is missing"
    found = contract(folder)
    assert found.feed == folder
    assert len(found.accept) >= 2
    assert all(len(case.records) == 1 and case.answers for case in found.accept), (
        "a good message is one record, and answered"
    )
    assert len(found.refuse) >= 5
    assert len(found.hostile) >= 8
    assert found.wrong_key
    for case in (*found.wrong_key, found.too_large):
        assert not case.records
    assert len(found.stranger.letters) == 1
    names = [case.name for case in found.cases]
    assert len(set(names)) == len(names)


def reasons_in(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "Reason":
            yield Reason[node.attr].value


@pytest.mark.parametrize("folder", FOLDERS)
def test_every_reason_that_a_folder_names_has_its_case(folder: str) -> None:
    named = {reason for path in (ROOT / "connectors" / folder).glob("*.py") for reason in reasons_in(path)}
    assert named, "a connector that refuses nothing?"
    shown = {letter for case in contract(folder).cases for letter in case.letters}
    assert not named - shown - {reason.value for reason in NOT_BY_BYTES}


# ---- accept and refuse


@pytest.mark.parametrize(("folder", "case"), cases(lambda of: of.cases))
def test_what_comes_of_it(folder: str, case: Case, tmp_path: Path) -> None:
    async def test(one: Served) -> None:
        async with one.sender() as sender:
            await sender.send(case.sent)
            check(case, one, await sender.to_the_end())

    served(folder, tmp_path, test)


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_slow_sender(folder: str, tmp_path: Path) -> None:
    async def test(one: Served) -> None:
        case = one.contract.slow
        async with one.sender() as sender:
            await sender.send(case.sent)
            await comes(lambda: one.outbox.balance()["received"] == case.received and not one.outbox.pending)
            answers = await sender.heard(len(case.answers))
            check(case, one, answers)
        good = one.contract.accept[1]
        async with one.sender() as sender:
            await sender.send(good.sent)
            assert await sender.to_the_end() == list(good.answers)

    served(folder, tmp_path, test, hasty=True)


def hostile() -> list[Any]:
    return [
        pytest.param(folder, sent, id=f"{folder}-{name}")
        for folder in FOLDERS
        for name, sent in contract(folder).hostile
    ]


@pytest.mark.parametrize(("folder", "sent"), hostile())
def test_hostile_bytes_harm_nobody_else(folder: str, sent: bytes, tmp_path: Path) -> None:
    async def test(one: Served) -> None:
        loop = asyncio.get_running_loop()
        async with one.sender() as other, one.sender() as enemy:
            began = loop.time()
            with contextlib.suppress(ConnectionError):
                await enemy.send(sent)
            await enemy.to_the_end()
            noticed = [
                *one.telemetry.named("received"),
                *one.telemetry.named("noise"),
                *one.telemetry.named("http_refused"),
            ]
            assert noticed, "it is counted, whatever it was"
            good = one.contract.accept[0]
            before = len(one.log.sent)
            await other.send(good.sent)
            assert await other.to_the_end() == list(good.answers)
            assert tuple(topic for topic, _ in one.records()[before:]) == good.records
            assert loop.time() - began < WITHIN_S / 3

    served(folder, tmp_path, test, hasty=True)


# ---- split, together, repeat


@pytest.mark.parametrize("folder", FOLDERS)
def test_two_messages_cut_anywhere(folder: str, tmp_path: Path) -> None:
    async def test(one: Served) -> None:
        first, second = one.contract.accept[:2]
        whole = first.sent + second.sent
        seen = 0
        for cut in sorted({1, len(first.sent), len(whole) - 1, *range(2, len(whole), max(1, len(whole) // MOST_CUTS))}):
            one.log.sent.clear()
            async with one.sender() as sender:
                await sender.send(whole[:cut])
                there = sum(cut + one.contract.dispensable >= end for end in (len(first.sent), len(whole)))
                await comes(lambda: len(one.log.sent) == there)  # noqa: B023 - awaited in the same turn
                for _ in range(TURNS):
                    await asyncio.sleep(0)
                assert len(one.log.sent) == there, "what is not whole is no message"
                await sender.send(whole[cut:])
                assert await sender.to_the_end() == [*first.answers, *second.answers], cut
            assert [topic for topic, _ in one.records()] == [*first.records, *second.records], cut
            seen += 1
        assert one.outbox.balance()[Fate.PUBLISHED] == 2 * seen
        assert seen > MOST_CUTS / 2

    served(folder, tmp_path, test)


@pytest.mark.parametrize("folder", FOLDERS)
def test_many_messages_in_one_sending_keep_their_order(folder: str, tmp_path: Path) -> None:
    async def test(one: Served) -> None:
        some = one.contract.accept
        async with one.sender() as sender:
            await sender.send(b"".join(case.sent for case in some))
            assert await sender.to_the_end() == [answer for case in some for answer in case.answers]
        assert [topic for topic, _ in one.records()] == [topic for case in some for topic in case.records]
        ids = [record.id for _, record in one.records()]
        assert len(set(ids)) == len(ids)

    served(folder, tmp_path, test)


@pytest.mark.parametrize(("folder", "case"), cases(lambda of: [*of.accept, of.stranger]))
def test_the_same_message_again_has_the_same_id(folder: str, case: Case, tmp_path: Path) -> None:
    async def test(one: Served) -> None:
        for _ in range(2):
            async with one.sender() as sender:
                await sender.send(case.sent)
                assert await sender.to_the_end() == list(case.answers)
        (_, first), (_, again) = one.records()
        assert first.id == again.id
        assert first.accepted_at <= again.accepted_at

    served(folder, tmp_path, test)


# ---- Kafka away, stop, replay


@contextmanager
def away(one: Served, how: str) -> Iterator[None]:
    """Kafka takes nothing, or takes it and never says so."""
    one.log.keeps = False
    one.log.raises = Unavailable("no broker answers") if how == "refuses" else None
    yield
    one.log.keeps, one.log.raises = True, None


@pytest.mark.parametrize("how", ["refuses", "is silent"])
@pytest.mark.parametrize("folder", FOLDERS)
def test_kafka_away_and_back(folder: str, how: str, tmp_path: Path) -> None:
    """Every sender is answered within the budget, and what it sent comes to Kafka from the spool, in order per device, as it was accepted."""

    async def test(one: Served) -> None:
        some = one.contract.accept
        loop = asyncio.get_running_loop()
        with away(one, how):
            for case in some:
                began = loop.time()
                async with one.sender() as sender:
                    await sender.send(case.sent)
                    assert await sender.to_the_end() == list(case.answers)
                assert loop.time() - began < FEEDS_BUDGET_S
            answered_at = one.clock.now()
            assert one.outbox.balance()[Fate.SPOOLED] == len(some) == one.spool.messages
            assert not one.telemetry.named("refused")
        under_way = list(one.log.sent)
        assert bool(under_way) is (how == "is silent")
        one.log.sent.clear()
        for sent in under_way:
            sent.done(Unavailable("given up"))
        await comes(lambda: not one.spool.messages)
        topics = [topic for case in some for topic in case.records]
        assert sorted(topic for topic, _ in one.records()) == sorted(topics)
        for sent, (topic, record) in zip(one.log.sent, one.records(), strict=True):
            looked_at(one.contract, some[0], sent, topic, record)
            assert one.began <= record.accepted_at <= answered_at
        devices = {record.device or record.town for _, record in one.records()}
        for device in devices:
            times = [record.accepted_at for _, record in one.records() if (record.device or record.town) == device]
            assert times == sorted(times)
        async with one.sender() as sender:
            await sender.send(some[0].sent)
            assert await sender.to_the_end() == list(some[0].answers)
        assert one.outbox.balance()[Fate.PUBLISHED] == 1
        assert one.records()[-1][1].id in {record.id for _, record in one.records()[:-1]}, "known by its id"

    served(folder, tmp_path, test, budget_s=FEEDS_BUDGET_S)


@pytest.mark.parametrize("how", ["refuses", "is silent"])
@pytest.mark.parametrize("folder", FOLDERS)
def test_a_full_spool(folder: str, how: str, tmp_path: Path) -> None:
    async def test(one: Served) -> None:
        case = one.contract.accept[0]
        with away(one, how):
            async with one.sender() as sender:
                await sender.send(case.sent)
                assert tuple(await sender.to_the_end()) == one.contract.away
            assert one.outbox.balance()[Fate.REFUSED] == 1
            assert one.telemetry.named("refused")[0][0] is Reason.FULL
            assert one.telemetry.named("spool_full"), "operators hear of it"
        before = len(one.log.sent)
        async with one.sender() as sender:
            await sender.send(case.sent)
            assert await sender.to_the_end() == list(case.answers)
        assert one.outbox.balance()[Fate.PUBLISHED] == 1
        if before:
            assert len({record.id for _, record in one.records()}) == 1, "what came late after all is known by its id"

    served(folder, tmp_path, test, budget_s=SHORT_BUDGET_S, spool_bytes=NO_ROOM)


@pytest.mark.parametrize("folder", [name for name in FOLDERS if contract(name).several])
def test_one_answer_for_several_is_a_yes_to_all_of_them(folder: str, tmp_path: Path) -> None:
    async def test(one: Served) -> None:
        case = one.contract.several
        assert case
        one.log.keeps = False
        async with one.sender() as sender:
            await sender.send(case.sent)
            await comes(lambda: len(one.log.sent) == len(case.records))
            for sent in one.log.sent[:-1]:
                sent.done(None)
            assert tuple(await sender.to_the_end()) == one.contract.away
        balance = one.outbox.balance()
        assert (balance[Fate.PUBLISHED], balance[Fate.REFUSED]) == (len(case.records) - 1, 1)
        one.log.keeps = True
        one.log.sent.clear()
        async with one.sender() as sender:
            await sender.send(case.sent)
            assert await sender.to_the_end() == list(case.answers)
        assert one.shown()[0] == case.records

    served(folder, tmp_path, test, budget_s=SHORT_BUDGET_S, spool_bytes=NO_ROOM)


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_stop_in_the_middle_answers_what_was_read(folder: str, tmp_path: Path) -> None:
    async def test(one: Served) -> None:
        whole, half = one.contract.accept[:2]
        one.log.keeps = False
        async with one.sender() as sender, one.sender() as other:
            await sender.send(whole.sent)
            await comes(lambda: len(one.log.sent) == 1)
            await other.send(half.sent[:-5])
            for _ in range(TURNS):
                await asyncio.sleep(0)
            stopping = asyncio.create_task(one.source.stop())
            for _ in range(TURNS):
                await asyncio.sleep(0)
            assert not stopping.done(), "there is a message without an answer"
            one.acknowledge()
            async with asyncio.timeout(BUDGET_S):
                assert await sender.to_the_end() == list(whole.answers)
                assert not set(await other.to_the_end()) & set(half.answers), "half a message is no message"
                await stopping
        topics = [topic for topic, _ in one.records() if topic != DEAD_LETTERS]
        assert topics == list(whole.records)
        assert one.outbox.balance()[Fate.PUBLISHED] == 1
        with pytest.raises(OSError, match=r"refused|Connect call failed"):
            async with one.sender():
                pass

    served(folder, tmp_path, test, stop=False)


@pytest.mark.parametrize("folder", FOLDERS)
def test_a_letter_is_replayed_as_if_its_sender_were_there(folder: str, tmp_path: Path) -> None:
    """The device of a dead letter was registered since: what the sender would get published now is published, as accepted then."""
    letters: list[DeadLetter] = []

    async def test(one: Served) -> None:
        async with one.sender() as sender:
            await sender.send(one.contract.stranger.sent)
            await sender.to_the_end()
        letters.extend(record for _, record in one.records())

    async def again(registry: Registry) -> tuple[Again, FakeLog]:
        log = FakeLog(keeps=True)
        outbox = Again(folder, log, WIRE)
        given = way_of(folder)(letters[0], Settings(data=tmp_path), registry, outbox)
        fates = await given if isinstance(given, Awaitable) else given
        for one in fates:
            if not isinstance(one, Fate):
                await one
        return outbox, log

    served(folder, tmp_path, test)
    of = contract(folder)
    outbox, log = asyncio.run(again(of.registry))
    assert (log.sent, [one.reason for one in outbox.rejected]) == ([], list(of.stranger.letters))
    outbox, log = asyncio.run(again(of.registry_later))
    [sent] = log.sent
    record = WIRE.decode(sent.value)
    assert isinstance(record, Event)
    assert (outbox.became, outbox.rejected) == ([record.id], [])
    assert record.accepted_at == letters[0].accepted_at
    assert not log.life_signs, "it was not heard of now"


# ---- on a broker


@pytest.mark.kafka
@pytest.mark.usefixtures("topics")
@pytest.mark.parametrize("folder", FOLDERS)
def test_on_a_broker(folder: str, broker: Broker, tmp_path: Path) -> None:
    of = contract(folder)
    written = {topic for case in of.cases for topic in case.records} | {DEAD_LETTERS, "life-signs"}
    before = {topic: len(committed(broker.bootstrap, topic)) for topic in written}

    async def scenario() -> None:
        publisher = await asyncio.to_thread(Publisher, broker.bootstrap, written, client_id="contract")
        telemetry = RememberingTelemetry()
        outbox = Outbox(of.feed, publisher, WIRE, telemetry, 20)
        source = of.source(tmp_path, False)
        port = (await source.start(outbox, telemetry, lambda: of.registry))[of.port]
        async with asyncio.timeout(60):
            for case in of.cases:
                async with Sender(port, of.answers) as sender:
                    await sender.send(case.sent)
                    assert tuple(await sender.to_the_end()) == case.answers, case.name
            await source.stop()
        assert await outbox.drained(5)
        balance = outbox.balance()
        assert balance["received"] == sum(case.received for case in of.cases)
        await asyncio.to_thread(publisher.close, 5.0)

    asyncio.run(scenario())
    for topic in sorted(written - {"life-signs"}):
        came = len(committed(broker.bootstrap, topic)) - before[topic]
        letters = sum(len(case.letters) for case in of.cases)
        assert came == (letters if topic == DEAD_LETTERS else sum(case.records.count(topic) for case in of.cases)), (
            topic
        )
