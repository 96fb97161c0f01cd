"""One fate per message, whatever Kafka does: and the balance comes out."""

import asyncio
import random
import threading
from collections import Counter
from collections.abc import Awaitable, Callable, Coroutine, Sequence
from dataclasses import replace

import pytest

from hub.core.errors import Full, Reason, Rejected, Unavailable
from hub.core.events import DeadLetter, LifeSign, Reading
from hub.core.registry import Device
from hub.outbox import KEPT, Fate, Outbox
from hub.wire import Wire
from tests.doubles import FakeLog, RememberingTelemetry, Sent

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
        log = FakeLog(keeps=True)
        box = outbox(log)
        first, second = (Device(id=name, mn=name, vendor="demo", feed="air", town="410122103") for name in ("a", "b"))
        for _ in range(3):
            box.alive(first, "data")
        box.alive(second, "heartbeat")
        assert [(key, town) for key, town, _ in log.life_signs] == [("a", "410122103"), ("b", "410122103")]
        sign = WIRE.decode(log.life_signs[1][2])
        assert isinstance(sign, LifeSign)
        assert (sign.device, sign.vendor, sign.feed, sign.said) == ("b", "demo", "air", "heartbeat")
        loop = asyncio.get_running_loop()
        box._heard["a"] = loop.time() - 61
        box.alive(first, "fault")
        assert len(log.life_signs) == 3
        assert box.balance()["received"] == 0, "a life sign is no message"
        log.raises = Unavailable("away")
        box.alive(Device(id="c", mn="c", vendor="demo", feed="air", town="410122103"), "data")

    run(test())
