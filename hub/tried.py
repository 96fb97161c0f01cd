"""`gridhub vendor try FILE`: what the hub would make of a recording, without Kafka: nothing is kept, nothing is sent.

The bytes take the real path, the connector's own codec, tables and registry, up to the records; what a router would make of each record is asked of a town
in which nothing has happened yet.
"""

import asyncio
import re
import tempfile
import time
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from hub import classes
from hub.core.errors import Misconfigured, Rejected
from hub.core.events import Alert, DeadLetter, Decision, Outcome, Reading, Ticket
from hub.core.in_force import InForce
from hub.core.personal import without_numbers
from hub.core.registry import Registry
from hub.core.town import Input, Town, decide
from hub.dead_letters import way_of
from hub.explain import OUTCOMES, ROLES
from hub.lang import Text
from hub.outbox import Fate, Outbox
from hub.reasons import BEIJING, MARKS, REFUSALS, SIGNALS, TIMES, reason
from hub.rulebook import own_rules
from hub.settings import EvidenceSettings, Settings
from hub.telemetry import FeedTelemetry
from hub.wire import Wire

BUDGET_S = 60.0
HTTP_HEAD = re.compile(rb"(?:POST|PUT) \S+ HTTP/1\.[01]\r?\n(?:[^\r\n]+\r?\n)*\r?\n")


@dataclass(frozen=True, slots=True)
class Found:
    """What one message becomes: `fate` published, dead-lettered or empty; `lines`: it in words, the first one what it is."""

    fate: str
    lines: tuple[str, ...]


def tried(
    settings: Settings, registry: Registry, raw: bytes, vendor: str, feed: str, at: int | None = None
) -> list[Found]:
    """What the messages in a recording become, as if they came at `at` (ms UTC), else now. The head of an HTTP request may stand before a body.

    Raises Misconfigured: the vendor or the feed is not there, or the vendor has not this feed.
    """
    known = next((one for one in registry.vendors if one.id == vendor), None)
    if known is None or feed not in known.feeds:
        names = ", ".join(one.id for one in registry.vendors if feed in one.feeds) or "-"
        raise Misconfigured(
            str(
                Text(
                    f"no vendor {vendor} with the feed {feed} is registered; those with it: {names}",
                    f"没有登记具有 {feed} 数据源的厂商 {vendor}；具有该数据源的厂商：{names}",
                )
            )
        )
    way = way_of(feed)
    now = time.time_ns() // 1_000_000 if at is None else at
    if head := HTTP_HEAD.match(raw):
        raw = raw[head.end() :]
    letter = DeadLetter(
        id="try",
        feed=feed,
        vendor=vendor,
        device="",
        reason="",
        detail="",
        raw=raw,
        evidence_sha256=None,
        accepted_at=now,
        answered=False,
    )
    return asyncio.run(_tried(settings, registry, letter, way))


async def _tried(settings: Settings, registry: Registry, letter: DeadLetter, way: Callable[..., object]) -> list[Found]:
    outbox = _Outbox(letter.feed, registry, InForce(registry, own_rules(settings)), letter.accepted_at)
    with tempfile.TemporaryDirectory() as folder:
        away = settings.model_copy(update={"evidence": EvidenceSettings(dir=Path(folder))})
        given = way(letter, away, registry, outbox)
        fates = await given if isinstance(given, Awaitable) else given
        assert isinstance(fates, Sequence)
        for fate in fates:
            if not isinstance(fate, Fate):
                await fate
    return outbox.found


class _Nowhere:
    """A log that has everything at once and keeps nothing."""

    def publish(self, *_record: object, **_more: object) -> None:
        raise AssertionError("the outbox keeps what it is given")


class _Outbox(Outbox):
    """Remembers what it is given, in words."""

    def __init__(self, feed: str, registry: Registry, force: InForce, now: int) -> None:
        super().__init__(feed, _Nowhere(), Wire.load(), FeedTelemetry(), BUDGET_S)
        self.found: list[Found] = []
        self._registry = registry
        self._force = force
        self._now = now

    def publish(
        self, topic: str, event: Reading | Alert, raw: bytes, *, answered: bool = True
    ) -> "asyncio.Future[Fate]":
        """What the record says, and what a router would decide."""
        try:
            Wire.load().encode(event)
        except Rejected as rejected:
            return self.dead_letter(self._letter(event, raw, answered, rejected))
        lines = [str(_what(event)), str(_when(event))]
        if isinstance(event, Reading):
            lines += [
                f"  {one.factor} {one.statistic} {one.value} {one.unit} {one.mark}".rstrip() for one in event.values
            ]
        else:
            lines += self._decided(topic, event)
        return self._gave(Fate.PUBLISHED, lines)

    def dead_letter(self, letter: DeadLetter) -> "asyncio.Future[Fate]":
        """Why it would be kept aside."""
        said = Text("cannot be used and would be kept in the dead letters", "无法使用，将存入死信")
        why = REFUSALS.get(letter.reason, Text(letter.reason, letter.reason))
        return self._gave(
            Fate.DEAD_LETTERED,
            [
                str(Text(f"{said.en}: {letter.reason}, {why.en}", f"{said.zh}：{letter.reason}，{why.zh}")),
                f"  {without_numbers(letter.detail)}",
            ],
        )

    def empty(self) -> Fate:
        """Nothing in it."""
        said = Text(
            "nothing in it to keep: a heartbeat, or what this hub does not take",
            "没有可保存的内容：心跳，或本系统不接收的内容",
        )
        self.found.append(Found(Fate.EMPTY, (str(said),)))
        return Fate.EMPTY

    def alive(self, device: object, said: str) -> None:
        """Nobody is told."""

    def _gave(self, fate: Fate, lines: Sequence[str]) -> "asyncio.Future[Fate]":
        self.found.append(Found(fate, tuple(lines)))
        given: asyncio.Future[Fate] = asyncio.get_running_loop().create_future()
        given.set_result(fate)
        return given

    def _decided(self, topic: str, alert: Alert) -> list[str]:
        """By a town in which nothing has happened yet."""
        town = Town(alert.town, {})
        event = Input(record=alert, topic=topic, partition=0, offset=0)
        _, outputs = decide(town, event, self._now, self._force)
        lines = [f"  {said}" for one in outputs if isinstance(one, Decision) for said in _decision(one)]
        return lines + [f"  {self._ticket(one)}" for one in outputs if isinstance(one, Ticket)]

    def _ticket(self, ticket: Ticket) -> Text:
        people = {person.id: person.name for person in self._registry.people}
        role, mark = ROLES.get(ticket.owner_role, Text("", "")), MARKS[ticket.place_mark]
        title = classes.title(ticket.class_standard, ticket.class_code)
        name = people.get(ticket.owner, ticket.owner)
        where = " ".join(filter(None, (ticket.cell, ticket.grid)))
        return Text(
            f"ticket: {ticket.class_code} {title}, {ticket.urgency}; {where} ({mark.en}); {role.en} {name}".rstrip(),
            f"工单：{ticket.class_code} {title}，{'紧急' if ticket.urgency == 'urgent' else '一般'}；{where}（{mark.zh}）；{role.zh}{name}",
        )


def _what(event: Reading | Alert) -> Text:
    who = event.device or event.vendor
    if isinstance(event, Reading):
        return Text(f"{who} reads: CN {event.message_code}", f"{who} 读数：CN {event.message_code}")
    signal = SIGNALS.get(event.signal, Text(event.signal, event.signal))
    return Text(f"{who} reports {event.kind}: {signal.en}", f"{who} 上报 {event.kind}：{signal.zh}")


def _when(event: Reading | Alert) -> Text:
    place = "" if event.lon is None else f", {event.lon:.6f} {event.lat:.6f}"
    mark = TIMES.get(event.time_mark, Text(event.time_mark, event.time_mark))
    moment = f"{datetime.fromtimestamp(event.event_at / 1000, BEIJING):%Y-%m-%d %H:%M:%S}"
    return Text(
        f"  id {event.id}; town {event.town}; time {moment} ({mark.en}){place} {event.datum}".rstrip(),
        f"  编号 {event.id}；乡镇 {event.town}；时间 {moment}（{mark.zh}）{place} {event.datum}".rstrip(),
    )


def _decision(decision: Decision) -> list[str]:
    said = OUTCOMES[decision.outcome]
    if decision.outcome == Outcome.OPENED:
        return []
    why = [reason(one) for one in decision.reasons]
    en, zh = "; ".join(one.en for one in why), "；".join(one.zh for one in why)
    lines = [
        str(
            Text(
                f"{decision.outcome}: {said.en}" + f" ({en})" * bool(why),
                f"{decision.outcome}：{said.zh}" + f"（{zh}）" * bool(why),
            )
        )
    ]
    if decision.outcome == Outcome.LATE:
        lines.append(
            str(Text("an old recording? --at takes it as if it came then", "录制较早？用 --at 可按当时接收处理"))
        )
    return lines
