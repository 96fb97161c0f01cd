"""One fate per message, whatever Kafka does: and the balance comes out."""

import asyncio
import contextlib
import random
import threading
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from dataclasses import replace
from pathlib import Path

import pytest

from hub.clock import Clock
from hub.core.errors import Full, Reason, Rejected, Unavailable
from hub.core.events import DeadLetter, LifeSign, Reading
from hub.core.registry import Device
from hub.outbox import KEPT, Fate, Outbox
from hub.spool import Spool
from hub.spool_file import Store
from hub.wire import Wire, headers
from tests.doubles import FakeLog, RememberingTelemetry, Sent, comes

WIRE = Wire.load()
BUDGET_S = 0.05
LONG_S = 60.0

READING = Reading(
    id="ZA-1/2011/20260301080000000",
    town="410122103",
    device="ZA-1",
    vendor="demo",
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
LETTER = DeadLetter(
    id="air/1",
    feed="air",
    vendor="",
    device="",
    reason=Reason.CRC,
    detail="",
    raw=b"##junk",
    evidence_sha256=None,
    accepted_at=1772352001000,
    answered=False,
)
UNFIT = replace(READING, lon=float("nan"))


def run(test: Coroutine[None, None, None]) -> None:
    asyncio.run(asyncio.wait_for(test, 20))


def outbox(log: FakeLog, telemetry: RememberingTelemetry | None = None, budget_s: float = LONG_S) -> Outbox:
    return Outbox("air", log, WIRE, telemetry or RememberingTelemetry(), budget_s)


def test_published_only_once_the_broker_has_it() -> None:
    async def test() -> None:
        log, telemetry = FakeLog(), RememberingTelemetry()
        box = outbox(log, telemetry)
        fate = box.publish("readings", READING, b"##")
        (sent,) = log.sent
        assert (sent.topic, sent.key, WIRE.decode(sent.value)) == ("readings", READING.town, READING)
        assert ("ce_id", READING.id.encode()) in sent.headers
        assert not fate.done()
        assert box.balance()["pending"] == 1
        threading.Thread(target=sent.done, args=(None,)).start()
        assert await fate is Fate.PUBLISHED
        assert telemetry.happened == [("received",), ("published",)]

    run(test())


def test_what_is_published_first_stands_first() -> None:
    async def test() -> None:
        log = FakeLog()
        box = outbox(log)
        for number in range(50):
            box.publish("readings", replace(READING, id=str(number)), b"")
        records = [WIRE.decode(sent.value) for sent in log.sent]
        assert [record.id for record in records if isinstance(record, Reading)] == [str(number) for number in range(50)]

    run(test())


def test_dead_letters_are_keyed_by_feed() -> None:
    async def test() -> None:
        log, telemetry = FakeLog(keeps=True), RememberingTelemetry()
        assert await outbox(log, telemetry).dead_letter(LETTER) is Fate.DEAD_LETTERED
        (sent,) = log.sent
        assert (sent.topic, sent.key, WIRE.decode(sent.value)) == ("dead-letters", "air", LETTER)
        assert telemetry.named("dead_lettered") == [(Reason.CRC, "")]

    run(test())


def test_a_record_that_does_not_fit_is_kept_whole_in_the_dead_letters() -> None:
    async def test() -> None:
        log, telemetry = FakeLog(keeps=True), RememberingTelemetry()
        box = outbox(log, telemetry)
        assert await box.publish("readings", UNFIT, b"##0123") is Fate.DEAD_LETTERED
        (sent,) = log.sent
        letter = WIRE.decode(sent.value)
        assert isinstance(letter, DeadLetter)
        assert (sent.topic, letter.reason, letter.raw, letter.device) == ("dead-letters", "schema", b"##0123", "ZA-1")
        assert telemetry.happened == [("received",), ("dead_lettered", Reason.SCHEMA, "ZA-1")]
        assert box.balance()["received"] == 1

    run(test())


def test_a_record_too_large_for_the_broker_is_kept_whole_in_the_dead_letters() -> None:
    async def test() -> None:
        log, telemetry = FakeLog(), RememberingTelemetry()
        fate = outbox(log, telemetry).publish("readings", READING, b"##0123")
        log.keeps = True
        log.sent[0].done(Rejected(Reason.TOO_LARGE))
        assert await fate is Fate.DEAD_LETTERED
        assert log.sent[1].topic == "dead-letters"
        assert telemetry.named("dead_lettered") == [(Reason.TOO_LARGE, "ZA-1")]

    run(test())


@pytest.mark.parametrize("answered", [True, False])
def test_a_dead_letter_says_whether_its_sender_is_told(answered: bool) -> None:
    async def test() -> None:
        log = FakeLog()
        fate = outbox(log).publish("readings", READING, b"##0123", answered=answered)
        log.keeps = True
        log.sent[0].done(Rejected(Reason.TOO_LARGE))
        await fate
        letter = WIRE.decode(log.sent[1].value)
        assert isinstance(letter, DeadLetter)
        assert letter.answered is answered

    run(test())


def test_half_a_character_in_an_id_is_kept_whole_too() -> None:
    """JSON may hold it, Avro may not, and whoever sent it would send it again for ever."""

    async def test() -> None:
        log = FakeLog(keeps=True)
        broken = replace(READING, id="a/\ud800", device="\ud800")
        assert await outbox(log).publish("readings", broken, b"##0123") is Fate.DEAD_LETTERED
        letter = WIRE.decode(log.sent[0].value)
        assert isinstance(letter, DeadLetter)
        assert (letter.id, letter.reason, letter.raw) == ("a/?", "schema", b"##0123")

    run(test())


def test_a_dead_letter_that_fits_nowhere_is_refused() -> None:
    async def test() -> None:
        telemetry = RememberingTelemetry()
        huge = replace(LETTER, raw=bytes(2 << 20))
        assert await outbox(FakeLog(), telemetry).dead_letter(huge) is Fate.REFUSED
        assert telemetry.named("refused") == [(Reason.TOO_LARGE, "")]

    run(test())


@pytest.mark.parametrize(("error", "reason"), [(Unavailable(), Reason.UNAVAILABLE), (Full(), Reason.BUSY)])
def test_what_cannot_be_enqueued_is_refused_at_once(error: Exception, reason: Reason) -> None:
    async def test() -> None:
        log, telemetry = FakeLog(), RememberingTelemetry()
        log.raises = error
        fate = outbox(log, telemetry).publish("readings", READING, b"")
        assert fate.done()
        assert fate.result() not in KEPT
        assert telemetry.named("refused") == [(reason, "ZA-1")]

    run(test())


def test_a_failed_delivery_is_refused() -> None:
    async def test() -> None:
        log = FakeLog()
        fate = outbox(log).publish("readings", READING, b"")
        log.sent[0].done(Unavailable())
        assert await fate is Fate.REFUSED

    run(test())


def test_a_late_acknowledgement_changes_nothing() -> None:
    async def test() -> None:
        log, telemetry = FakeLog(), RememberingTelemetry()
        box = outbox(log, telemetry, BUDGET_S)
        assert await box.publish("readings", READING, b"") is Fate.REFUSED
        before = box.balance(), list(telemetry.happened)
        log.sent[0].done(None)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        assert (box.balance(), telemetry.happened) == before
        assert before[0] == {
            "received": 1,
            "published": 0,
            "dead-lettered": 0,
            "spooled": 0,
            "empty": 0,
            "refused": 1,
            "pending": 0,
        }

    run(test())


def test_the_budget_of_each_begins_with_itself() -> None:
    async def test() -> None:
        log = FakeLog()
        box = outbox(log, budget_s=0.2)
        loop = asyncio.get_running_loop()
        first = box.publish("readings", READING, b"")
        await asyncio.sleep(0.1)
        began = loop.time()
        second = box.publish("readings", READING, b"")
        assert await first is Fate.REFUSED
        assert not second.done()
        assert await second is Fate.REFUSED
        assert loop.time() - began >= 0.19

    run(test())


def test_a_connection_that_ends_early_changes_no_balance() -> None:
    async def test() -> None:
        log = FakeLog()
        box = outbox(log)
        fate = box.publish("readings", READING, b"")
        fate.cancel()
        log.sent[0].done(None)
        assert await box.drained(5)
        assert box.balance()["published"] == 1

    run(test())


def test_drained_says_whether_it_is() -> None:
    async def test() -> None:
        log = FakeLog()
        box = outbox(log)
        assert await box.drained(0)
        box.publish("readings", READING, b"")
        assert not await box.drained(0.01)
        log.sent[0].done(None)
        assert await box.drained(5)

    run(test())


@pytest.mark.parametrize("seed", range(5))
def test_the_balance_comes_out_under_any_mixture(seed: int) -> None:
    """Random messages; results of any kind, in any order, from another thread, half of them only after the budget."""

    async def test() -> None:
        chance = random.Random(seed)
        log, telemetry = FakeLog(), RememberingTelemetry()
        box = outbox(log, telemetry, budget_s=0.3)
        fates = []
        for _ in range(300):
            log.raises = Unavailable() if chance.random() < 0.1 else None
            fates.append(_anything(box, chance))
        log.raises, log.keeps = None, True
        results = [(sent, chance.choice([None, None, Unavailable(), Rejected(Reason.TOO_LARGE)])) for sent in log.sent]
        chance.shuffle(results)
        acknowledging = threading.Thread(target=_acknowledge, args=(results[:100],))
        acknowledging.start()
        given = Counter(await asyncio.gather(*fates))
        acknowledging.join(5)
        balance = box.balance()
        _acknowledge(results[100:])
        assert await box.drained(5)
        assert box.balance() == balance
        assert balance == {"received": 300, **{fate.value: given[fate] for fate in Fate}, "pending": 0}
        assert len(given) == 4, "the mixture is too poor"
        assert given.total() == 300 == len(telemetry.named("received"))
        for fate in (Fate.PUBLISHED, Fate.DEAD_LETTERED, Fate.EMPTY, Fate.REFUSED):
            assert len(telemetry.named(fate.value.replace("-", "_"))) == given[fate]

    run(test())


async def _fate(fate: Fate) -> Fate:
    return fate


def _anything(box: Outbox, chance: random.Random) -> Awaitable[Fate]:
    doings: list[Callable[[], Awaitable[Fate]]] = [
        lambda: box.publish("readings", READING, b"raw"),
        lambda: box.publish("readings", UNFIT, b"raw"),
        lambda: box.dead_letter(LETTER),
        lambda: _fate(box.empty()),
        lambda: _fate(box.refused(Reason.TOO_LARGE)),
    ]
    return chance.choice(doings)()


def _acknowledge(results: Sequence[tuple[Sent, Exception | None]]) -> None:
    for sent, error in results:
        sent.done(error)


def test_a_device_that_is_heard_gives_a_life_sign_a_minute_on_its_towns_partition() -> None:
    async def test() -> None:
        log, now = FakeLog(keeps=True), 1_772_352_000_000
        box = Outbox("air", log, WIRE, RememberingTelemetry(), LONG_S, clock=Clock(lambda: now * 1_000_000))
        first, second = (Device(id=name, mn=name, vendor="demo", feed="air", town="410122103") for name in ("a", "b"))
        for _ in range(3):
            box.alive(first, "data")
        box.alive(second, "heartbeat")
        assert [(key, town) for key, town, _ in log.life_signs] == [("a", "410122103"), ("b", "410122103")]
        sign = WIRE.decode(log.life_signs[1][2])
        assert isinstance(sign, LifeSign)
        assert (sign.device, sign.vendor, sign.feed, sign.said) == ("b", "demo", "air", "heartbeat")
        assert sign.heard_at == now
        loop = asyncio.get_running_loop()
        box._heard["a"] = loop.time() - 61
        box.alive(first, "fault")
        assert len(log.life_signs) == 3
        assert box.balance()["received"] == 0, "a life sign is no message"
        log.raises = Unavailable("away")
        box.alive(Device(id="c", mn="c", vendor="demo", feed="air", town="410122103"), "data")

    run(test())


# ---- with a spool


@contextlib.asynccontextmanager
async def spooling(
    path: Path, log: FakeLog, telemetry: RememberingTelemetry, *, budget_s: float = LONG_S, most: int = 1 << 30
) -> AsyncIterator[tuple[Outbox, Spool]]:
    spool = Spool(path / "air.db", most, telemetry)
    box = Outbox("air", log, WIRE, telemetry, budget_s, spool)
    yield box, spool
    assert await box.drained(10)
    balance = box.balance()
    assert balance["received"] == sum(balance[fate] for fate in Fate)
    await spool.close()


def of(device: str, number: int) -> Reading:
    return replace(READING, id=f"{device}/{number}", device=device, accepted_at=READING.accepted_at + number)


def told(log: FakeLog, device: str) -> list[int]:
    records = [WIRE.decode(sent.value) for sent in log.sent]
    return [int(one.id.split("/")[1]) for one in records if isinstance(one, Reading) and one.device == device]


def test_without_kafka_a_message_is_spooled_at_once_and_comes_to_kafka_as_it_was(tmp_path: Path) -> None:
    async def test() -> None:
        log, telemetry = FakeLog(keeps=True), RememberingTelemetry()
        log.raises = Unavailable("away")
        async with spooling(tmp_path, log, telemetry) as (box, spool):
            fates = [box.publish("readings", of("a", number), b"##") for number in range(50)]
            fates.append(box.dead_letter(LETTER))
            assert set(await asyncio.gather(*fates)) == {Fate.SPOOLED}
            assert box.balance()["spooled"] == 51 == len(telemetry.named("spooled"))
            assert telemetry.named("spooled")[-1] == (Reason.CRC, ""), "an operator sees why, as of any dead letter"
            log.raises = None
            await comes(lambda: not spool.messages)
        assert told(log, "a") == list(range(50))
        assert WIRE.decode(log.sent[7].value) == of("a", 7), "the moment of acceptance too"
        assert list(log.sent[7].headers) == headers(of("a", 7))
        assert (log.sent[-1].topic, WIRE.decode(log.sent[-1].value)) == ("dead-letters", LETTER)
        assert box.balance()["published"] == 0, "one first fate each"

    run(test())


def test_a_silent_kafka_has_three_quarters_of_the_budget(tmp_path: Path) -> None:
    async def test() -> None:
        log, telemetry = FakeLog(), RememberingTelemetry()
        loop = asyncio.get_running_loop()
        async with spooling(tmp_path, log, telemetry, budget_s=0.8) as (box, _):
            began = loop.time()
            first = box.publish("readings", of("a", 0), b"")
            assert await first is Fate.SPOOLED
            assert 0.6 <= loop.time() - began < 0.8
            began = loop.time()
            assert await box.publish("readings", of("a", 1), b"") is Fate.SPOOLED
            assert loop.time() - began < 0.6, "the next of the device does not wait for Kafka again"
            other = box.publish("readings", of("b", 0), b"")
            log.sent[-1].done(None)
            assert await other is Fate.PUBLISHED, "another device does not wait for the first"

    run(test())


def test_all_that_kafka_has_not_acknowledged_of_a_device_goes_to_the_spool_in_order(tmp_path: Path) -> None:
    async def test() -> None:
        log, telemetry = FakeLog(), RememberingTelemetry()
        async with spooling(tmp_path, log, telemetry) as (box, spool):
            fates = [box.publish("readings", of("a", number), b"") for number in range(4)]
            log.sent[0].done(None)
            assert await fates[0] is Fate.PUBLISHED
            log.sent[2].done(Unavailable("given up"))
            await comes(lambda: spool.holds("a"))
            fates.append(box.publish("readings", of("a", 4), b""))
            assert await asyncio.gather(*fates[1:]) == [Fate.SPOOLED] * 4
            log.keeps = True
            for sent in (log.sent[1], log.sent[3]):
                sent.done(Unavailable("given up"))
            await comes(lambda: not spool.messages)
            assert told(log, "a") == [0, 1, 2, 3, 1, 2, 3, 4]
            assert await box.publish("readings", of("a", 5), b"") is Fate.PUBLISHED

    run(test())


def test_what_failed_a_moment_ago_stands_before_what_comes_now(tmp_path: Path) -> None:
    """The publisher has another producer already, and the loop has not heard of the failure yet."""

    async def test() -> None:
        log, telemetry = FakeLog(), RememberingTelemetry()
        async with spooling(tmp_path, log, telemetry) as (box, spool):
            fates = [box.publish("readings", of("a", 0), b"")]
            log.sent.pop().done(Unavailable("given up"))
            log.keeps = True
            fates += [box.publish("readings", of("a", 1), b""), box.dead_letter(replace(LETTER, device="a"))]
            assert set(await asyncio.gather(*fates)) == {Fate.SPOOLED}
            await comes(lambda: not spool.messages)
        assert told(log, "a") == [0, 1]
        assert [sent.topic for sent in log.sent] == ["readings", "readings", "dead-letters"]

    run(test())


def test_a_late_acknowledgement_takes_the_message_out_of_the_spool(tmp_path: Path) -> None:
    async def test() -> None:
        log, telemetry = FakeLog(), RememberingTelemetry()
        async with spooling(tmp_path, log, telemetry, budget_s=0.2) as (box, spool):
            assert await box.publish("readings", of("a", 0), b"") is Fate.SPOOLED
            log.keeps = True
            log.sent[0].done(None)
            await comes(lambda: not spool.messages)
            assert box.balance()["published"] == 0
        assert told(log, "a") == [0], "Kafka has it once"

    run(test())


def test_a_spooled_record_that_is_too_large_for_the_broker_becomes_a_dead_letter(tmp_path: Path) -> None:
    async def test() -> None:
        log, telemetry = FakeLog(), RememberingTelemetry()
        async with spooling(tmp_path, log, telemetry, budget_s=0.2) as (box, spool):
            assert await box.publish("readings", of("a", 0), b"##0123") is Fate.SPOOLED
            log.sent[0].done(Unavailable("given up"))
            await comes(lambda: len(log.sent) == 2)
            log.keeps = True
            log.sent[1].done(Rejected(Reason.TOO_LARGE, "too large"))
            await comes(lambda: not spool.messages)
        letter = WIRE.decode(log.sent[-1].value)
        assert isinstance(letter, DeadLetter)
        assert (log.sent[-1].topic, letter.id, letter.raw, letter.reason) == (
            "dead-letters",
            "a/0",
            b"##0123",
            "too_large",
        )
        assert (letter.accepted_at, letter.answered) == (READING.accepted_at, True)

    run(test())


def test_a_full_spool_refuses(tmp_path: Path) -> None:
    async def test() -> None:
        log, telemetry = FakeLog(keeps=True), RememberingTelemetry()
        log.raises = Unavailable("away")
        async with spooling(tmp_path, log, telemetry, most=5000) as (box, spool):
            fates = await asyncio.gather(*(box.publish("readings", of("a", number), b"") for number in range(50)))
            kept = fates.count(Fate.SPOOLED)
            assert 0 < kept < 50
            assert fates == [Fate.SPOOLED] * kept + [Fate.REFUSED] * (50 - kept)
            assert telemetry.named("refused") == [(Reason.FULL, "a")] * (50 - kept)
            log.raises = None
            await comes(lambda: not spool.messages)
            assert told(log, "a") == list(range(kept))
            assert await box.publish("readings", of("a", 50), b"") is Fate.PUBLISHED

    run(test())


def test_a_disk_that_does_not_answer_does_not_hold_the_sender_up(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test() -> None:
        log, telemetry = FakeLog(), RememberingTelemetry()
        log.raises = Unavailable("away")
        answers = threading.Event()
        change = Store.change
        monkeypatch.setattr(Store, "change", lambda *those: (answers.wait(), change(*those))[1])
        loop = asyncio.get_running_loop()
        async with spooling(tmp_path, log, telemetry, budget_s=0.4) as (box, spool):
            began = loop.time()
            assert await box.publish("readings", of("a", 0), b"") is Fate.REFUSED
            assert 0.1 <= loop.time() - began < 0.4
            assert telemetry.named("refused") == [(Reason.UNAVAILABLE, "a")]
            answers.set()
            log.raises, log.keeps = None, True
            await comes(lambda: not spool.messages)
            assert told(log, "a") == [0], "it was written after all; its sender's next is known by its id"

    run(test())


def test_a_disk_that_hangs_is_told_and_holds_no_device_up_while_kafka_is_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async def test() -> None:
        log, telemetry = FakeLog(), RememberingTelemetry()
        log.raises = Unavailable("away")
        answers, change = threading.Event(), Store.change
        monkeypatch.setattr("hub.spool.DISK_WITHIN_S", 0.5)
        monkeypatch.setattr(Store, "change", lambda *those: (answers.wait(), change(*those))[1])
        async with spooling(tmp_path, log, telemetry, budget_s=0.4) as (box, spool):
            fates = [box.publish("readings", of("a", 0), b"")]
            await asyncio.sleep(0)
            fates.append(box.publish("readings", of("a", 1), b""))
            assert await asyncio.gather(*fates) == [Fate.REFUSED] * 2
            await comes(lambda: bool(spool.trouble()))
            assert "does not answer" in spool.trouble()
            assert telemetry.named("spool_fails")
            assert (spool.messages, spool.holds("a")) == (0, False)
            refused = box.publish("readings", of("a", 2), b"")
            assert refused.done(), "at once"
            assert await refused is Fate.REFUSED
            log.raises, log.keeps = None, True
            assert await box.publish("readings", of("a", 3), b"") is Fate.PUBLISHED
            answers.set()
            await comes(lambda: not spool.trouble())
            log.raises = Unavailable("away")
            assert await box.publish("readings", of("a", 4), b"") is Fate.SPOOLED
            log.raises = None
            await comes(lambda: not spool.messages)
            assert told(log, "a") == [3, 4], "nobody was told yes of the others"
        store = Store(tmp_path / "air.db")
        store.close()
        assert store.found == []

    run(test())


def test_a_disk_that_hangs_does_not_hold_the_end_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def test() -> None:
        log = FakeLog()
        log.raises = Unavailable("away")
        answers = threading.Event()
        monkeypatch.setattr(Store, "change", lambda *_: answers.wait())
        spool = Spool(tmp_path / "air.db", 1 << 30, RememberingTelemetry())
        box = Outbox("air", log, WIRE, RememberingTelemetry(), 0.4, spool)
        box.publish("readings", of("a", 0), b"")
        loop = asyncio.get_running_loop()
        began = loop.time()
        assert await box.drained(0.4)
        assert box.balance()["refused"] == 1
        await spool.close()
        assert loop.time() - began < 3
        answers.set()

    run(test())
