"""`gridhub dead-letters`: what could not be read, looked at, mended, taken once more, or put aside.

The topic is only ever added to. What a person has made of a letter is a further record of the same id with a `mark`; the last record of an id says how
it stands, so a message that comes again after its letter was dropped is open again.

To replay is to give the bytes to the feed once more, in this process, as if they came now from the same sender, with the moment of acceptance that
they had: `connectors.<feed>.replay`, or for the router's own letters the topic where the record lay. What still cannot be read is told and
stays as it is; what can is on its topic before the mark is written. A replay that breaks off in between is done again: ids come
from content, so the second record of a message is a repeat.
"""

import asyncio
import re
from collections.abc import Awaitable, Callable, Collection, Coroutine, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from hub import topics
from hub.core.errors import Misconfigured, Reason, Rejected, Unavailable
from hub.core.events import Alert, CameraAlert, DeadLetter, HandedOver, LetterMark, PatrolAlert, Reading
from hub.core.in_force import InForce, elsewhere, place_of
from hub.core.registry import Device, Registry
from hub.evidence import Evidence
from hub.explain import LETTER_MARKS
from hub.kafka_log import Arrived, Publisher, Tail
from hub.lang import Text, harmless
from hub.outbox import DEAD_LETTERS, KEPT, Fate, Log, Outbox
from hub.partition import CARRIES, FEED
from hub.reasons import BEIJING
from hub.registry import Versions
from hub.settings import Settings
from hub.telemetry import FeedTelemetry
from hub.transactions import Whole
from hub.wire import Wire

CLIENT = "gridhub-dead-letters"
OPEN = "open"
READ_S = 0.5
ACKNOWLEDGED_WITHIN_S = 30.0
MOST_SHOWN = 4096
MOST_IDS = 5
HEX_BYTES = 16

Fates = Sequence["asyncio.Future[Fate] | Fate"]
Given = Fates | Awaitable[Fates]
Replay = Callable[[DeadLetter, Settings, Registry, Outbox], Given]
"""`connectors.<feed>.replay.replay`: gives `letter.raw` to the feed as if it came now, but with the letter's `accepted_at`."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A letter as it stands. `times`: how often it came. `state`: open, or a mark. `told`: what came of it. `offset`: where its bytes lie."""

    id: str
    feed: str
    vendor: str
    device: str
    reason: str
    detail: str
    accepted_at: int
    answered: bool
    size: int
    evidence_sha256: str | None
    times: int
    state: str
    told: str
    marked_at: int | None
    offset: int

    def __str__(self) -> str:
        who = " ".join(filter(None, (self.vendor, self.device))) or "-"
        state = STATES.get(self.state, Text(self.state, self.state))
        again = f" x{self.times}" if self.times > 1 else ""
        size = str(Text(f"{self.size} bytes", f"{self.size} 字节"))
        return harmless(
            f"{_moment(self.accepted_at)}  {self.feed}  {self.reason}  {who}  {self.detail}  {size}{again}  {state}  {self.id}"
        )


STATES: Mapping[str, Text] = {OPEN: Text("open", "待处理"), **LETTER_MARKS}


@dataclass(frozen=True, slots=True)
class Which:
    """Which letters are meant: those of `ids`, else all that fit."""

    ids: tuple[str, ...] = ()
    feed: str = ""
    reason: str = ""
    since: int = 0

    def fits(self, entry: Entry) -> bool:
        """Whether it is one of them."""
        if self.ids:
            return entry.id in self.ids
        return self.feed in {"", entry.feed} and self.reason in {"", entry.reason} and entry.accepted_at >= self.since


@dataclass(frozen=True, slots=True)
class Done:
    """What came of a letter. `state`: its new one, or `open` where it stays; `told`: the records it became, or why none."""

    id: str
    state: str
    told: str

    def __str__(self) -> str:
        state = STATES.get(self.state, Text(self.state, self.state))
        return harmless(f"{self.id}  {state}  {self.told}".rstrip())


def since(text: str, now: datetime) -> int:
    """A moment, ms UTC: `90m`, `2h`, `3d` before now, or a day or moment of Beijing's, `2026-03-02` or `2026-03-02T09:30`. Raises ValueError."""
    if found := re.fullmatch(r"([0-9]{1,6})([mhd])", text):
        unit = {"m": timedelta(minutes=1), "h": timedelta(hours=1), "d": timedelta(days=1)}[found[2]]
        return int((now - int(found[1]) * unit).timestamp() * 1000)
    moment = datetime.fromisoformat(text)
    return int((moment if moment.tzinfo else moment.replace(tzinfo=BEIJING)).timestamp() * 1000)


# ---- reading


def entries(settings: Settings, which: Which | None = None) -> list[Entry]:
    """How they stand, in the order in which they came last. Raises Unavailable, Misconfigured."""
    return [entry for entry in standing(_all(settings)) if which is None or which.fits(entry)]


def standing(records: Iterable[tuple[Arrived, DeadLetter]]) -> list[Entry]:
    """One entry of each letter; a mark whose letter is gone, its time being over, tells nothing."""
    found: dict[str, Entry] = {}
    for arrived, record in records:
        before = found.get(record.id)
        if record.mark:
            if before:
                found[record.id] = replace(before, state=record.mark, told=record.detail, marked_at=arrived.at)
            continue
        found.pop(record.id, None)
        found[record.id] = Entry(
            id=record.id,
            feed=record.feed,
            vendor=record.vendor,
            device=record.device,
            reason=record.reason,
            detail=record.detail,
            accepted_at=record.accepted_at,
            answered=record.answered,
            size=len(record.raw),
            evidence_sha256=record.evidence_sha256,
            times=before.times + 1 if before else 1,
            state=OPEN,
            told="",
            marked_at=None,
            offset=arrived.offset,
        )
    return list(found.values())


def letters(settings: Settings, chosen: Collection[Entry]) -> Iterator[DeadLetter]:
    """The letters of these entries, whole, one at a time: all of a bad day may be more than memory holds."""
    offsets = {entry.offset for entry in chosen}
    for arrived, letter in _all(settings):
        if arrived.offset in offsets:
            yield with_bytes(settings, letter)
            offsets.remove(arrived.offset)
        if not offsets:
            return


def with_bytes(settings: Settings, letter: DeadLetter) -> DeadLetter:
    """The letter with its bytes, from wherever they lie. Raises Unavailable, Misconfigured (they are nowhere any more)."""
    if letter.raw or letter.evidence_sha256 is None:
        return letter
    try:
        return replace(letter, raw=Evidence(settings.evidence_dir).path(letter.evidence_sha256).read_bytes())
    except OSError:
        pass  # of the router, or its time is over
    if letter.feed == FEED:
        topic, partition, offset = _place(letter)
        for arrived in Whole(settings, (topic,), CLIENT, [partition]).all():
            if arrived.offset == offset and arrived.value is not None:
                return replace(letter, raw=arrived.value)
    raise Misconfigured(
        str(
            Text(
                f"{letter.id}: its bytes are not to be had any more (SHA-256 {letter.evidence_sha256})",
                f"{letter.id}：其原始数据已无法取得（SHA-256 {letter.evidence_sha256}）",
            )
        )
    )


def _all(settings: Settings) -> Iterator[tuple[Arrived, DeadLetter]]:
    wire = Wire.load()
    tail = Tail(settings.kafka.bootstrap, {DEAD_LETTERS: None})
    try:
        while not tail.complete():
            for arrived in tail.read(READ_S):
                try:
                    record = wire.decode(arrived.value)
                except Rejected:
                    continue  # of a newer program, or not ours
                if isinstance(record, DeadLetter):
                    yield arrived, record
    finally:
        tail.close()


def told(entry: Entry, letter: DeadLetter) -> list[str]:
    """Everything about a letter for people, a line each, and its bytes: as text where they are text, else as hexadecimal digits."""
    lines = [
        f"{name}: {value}"
        for name, value in (
            (Text("id", "编号"), entry.id),
            (Text("accepted", "接收时间"), _moment(entry.accepted_at)),
            (Text("feed", "数据源"), entry.feed),
            (Text("vendor", "厂商"), entry.vendor or "-"),
            (Text("device", "设备"), entry.device or "-"),
            (Text("reason", "原因"), entry.reason),
            (Text("detail", "说明"), entry.detail),
            (Text("answered yes", "已应答"), Text("yes", "是") if entry.answered else Text("no", "否")),
            (Text("came", "次数"), entry.times),
            (Text("state", "状态"), STATES.get(entry.state, entry.state)),
            (Text("what came of it", "处理结果"), entry.told or "-"),
            (Text("bytes", "字节数"), len(letter.raw)),
        )
    ]
    shown = letter.raw[:MOST_SHOWN]
    more = len(letter.raw) - len(shown)
    lines += _as_text(shown) or [
        f"{at:06x}  {shown[at : at + HEX_BYTES].hex(' ')}" for at in range(0, len(shown), HEX_BYTES)
    ]
    if more:
        lines.append(str(Text(f"... {more} more bytes: --raw FILE", f"……还有 {more} 字节：--raw FILE")))
    return [harmless(line) for line in lines]


def _as_text(raw: bytes) -> list[str]:
    for encoding in ("utf-8", "gb18030"):
        try:
            text = raw.decode(encoding)
        except UnicodeDecodeError:
            continue
        if all(one.isprintable() or one.isspace() for one in text):
            return text.splitlines()
    return []


# ---- what is made of them


class Again(Outbox):
    """The outbox of a replay: what still cannot be read is remembered, not kept a second time."""

    def __init__(self, feed: str, log: Log, wire: Wire) -> None:
        super().__init__(feed, log, wire, FeedTelemetry(), ACKNOWLEDGED_WITHIN_S)
        self.became: list[str] = []
        self.rejected: list[DeadLetter] = []

    def publish(
        self, topic: str, event: Reading | Alert, raw: bytes, *, answered: bool = True
    ) -> "asyncio.Future[Fate]":
        """As any outbox, and remembers what it is."""
        self.became.append(event.id)
        return super().publish(topic, event, raw, answered=answered)

    def dead_letter(self, letter: DeadLetter) -> "asyncio.Future[Fate]":
        """Keeps nothing."""
        self.rejected.append(letter)
        fate: asyncio.Future[Fate] = asyncio.get_running_loop().create_future()
        fate.set_result(self.refused(Reason(letter.reason)))
        return fate

    def alive(self, device: Device, said: str) -> None:
        """Nothing was heard of it now."""

    async def mark(self, entry: Entry, mark: LetterMark, came_of_it: str) -> Done:
        """Writes what was made of a letter. Raises Unavailable."""
        marked = DeadLetter(
            id=entry.id,
            feed=entry.feed,
            vendor=entry.vendor,
            device=entry.device,
            reason=entry.reason,
            detail=came_of_it,
            raw=b"",
            evidence_sha256=None,
            accepted_at=entry.accepted_at,
            answered=entry.answered,
            mark=mark,
        )
        if await super().dead_letter(marked) is not Fate.DEAD_LETTERED:
            raise Unavailable(
                str(Text(f"Kafka has not taken the mark of {entry.id}", f"Kafka 未接受 {entry.id} 的处理标记"))
            )
        return Done(entry.id, mark, came_of_it)


def replay(
    settings: Settings,
    chosen: Sequence[Entry],
    tell: Callable[[Done], object],
    mended: Mapping[str, bytes] | None = None,
) -> None:
    """Gives letters to their feeds once more, one after the other, and tells of each. `mended`: bytes instead of a letter's own, by its id.

    Raises Unavailable where Kafka does not take them, Misconfigured.
    """
    ways = {feed: way_of(feed) for feed in {entry.feed for entry in chosen}}
    versions = Versions(settings, CLIENT)
    try:
        registry = versions.newest()
    finally:
        versions.close()
    if registry is None:
        said = Text("there is no registry: run gridhub registry import", "没有登记表：请运行 gridhub registry import")
        raise Misconfigured(str(said))
    by_id = {entry.id: entry for entry in chosen}

    async def all_of_them(publisher: Publisher) -> None:
        wire = Wire.load()
        for letter in letters(settings, chosen):
            letter = replace(letter, raw=(mended or {}).get(letter.id, letter.raw))  # noqa: PLW2901 - as it is to be read
            outbox = Again(letter.feed, publisher, wire)
            way = ways[letter.feed]
            tell(await _again(by_id[letter.id], outbox, lambda: way(letter, settings, registry, outbox)))  # noqa: B023 - called before the next letter

    _with_kafka(settings, all_of_them)


def drop(settings: Settings, chosen: Sequence[Entry], tell: Callable[[Done], object]) -> None:
    """Marks letters as seen and put aside; their bytes stay until their time is over. Raises Unavailable."""

    async def all_of_them(publisher: Publisher) -> None:
        wire = Wire.load()
        for entry in chosen:
            tell(await Again(entry.feed, publisher, wire).mark(entry, LetterMark.DROPPED, ""))

    _with_kafka(settings, all_of_them)


def _with_kafka(settings: Settings, work: Callable[[Publisher], Coroutine[None, None, None]]) -> None:
    written = [name for name, topic in topics.load_topics().items() if _by_connectors(topic)]
    publisher = Publisher(settings.kafka.bootstrap, written, client_id=CLIENT)
    try:
        asyncio.run(work(publisher))
    finally:
        publisher.close(0.0)


def way_of(feed: str) -> Replay:
    """How letters of a feed are replayed. Raises Misconfigured where nobody knows."""
    if feed == FEED:
        return _record_again
    name = f"connectors.{feed}.replay"
    if not feed.isidentifier() or find_spec(f"connectors.{feed}") is None or find_spec(name) is None:
        raise Misconfigured(
            str(Text(f"letters of the feed {feed!r} cannot be replayed", f"数据源 {feed!r} 的死信无法重放"))
        )
    way: Replay = import_module(name).replay
    return way


async def _again(entry: Entry, outbox: Again, give: Callable[[], Given]) -> Done:
    try:
        given = give()
        given = await given if isinstance(given, Awaitable) else given
        fates = {one if isinstance(one, Fate) else await one for one in given}
    except Rejected as rejected:
        return Done(entry.id, OPEN, str(rejected))
    if outbox.rejected:
        return Done(entry.id, OPEN, "; ".join(f"{one.reason}: {one.detail}" for one in outbox.rejected))
    if Fate.DEAD_LETTERED in fates:
        return Done(entry.id, OPEN, "what it became does not fit, and is a dead letter of its own")
    if not KEPT.issuperset(fates):
        raise Unavailable(str(Text(f"Kafka has not taken {entry.id}", f"Kafka 未接受 {entry.id}")))
    more = f", and {len(outbox.became) - MOST_IDS} more" if len(outbox.became) > MOST_IDS else ""
    became = f"became {', '.join(outbox.became[:MOST_IDS])}{more}" if outbox.became else "nothing in it to keep"
    return await outbox.mark(entry, LetterMark.REPLAYED, became)


def _record_again(
    letter: DeadLetter, _settings: Settings, registry: Registry, outbox: Outbox
) -> "list[asyncio.Future[Fate] | Fate]":
    """A record that the router could not take: to its topic once more, under the town it names; handed over, under the town its place lies in. Raises
    Rejected where it still cannot be read.
    """
    wire = Wire.load()
    topic, _, _ = _place(letter)
    record = wire.decode(letter.raw)
    if isinstance(record, HandedOver):
        topic, record = record.topic, wire.decode(record.value)
        if isinstance(record, CameraAlert | PatrolAlert):
            found = InForce(registry).town_of(place_of(record))
            # The town that it names has handed it over, and would find it repeated.
            record = replace(record, town=found) if found and elsewhere(found, record.town) else record
    carried = CARRIES.get(topic)
    if carried is None or not isinstance(record, carried):
        raise Rejected(Reason.SCHEMA, f"{type(record).__name__} does not belong on {topic}")
    return [outbox.publish(topic, record, letter.raw)]


def _place(letter: DeadLetter) -> tuple[str, int, int]:
    topic, partition, offset = letter.id.rsplit("/", 2)
    return topic, int(partition), int(offset)


def _by_connectors(topic: topics.Topic) -> bool:
    return any(writer.startswith("connectors") for writer in topic.writers)


def _moment(at: int) -> str:
    return f"{datetime.fromtimestamp(at / 1000, UTC).astimezone(BEIJING):%Y-%m-%d %H:%M:%S}"


def written_to(path: Path, raw: bytes) -> None:
    """The bytes as a file. Raises Misconfigured."""
    try:
        path.write_bytes(raw)
    except OSError as error:
        raise Misconfigured(
            str(Text(f"{path} cannot be written: {error.strerror}", f"无法写入 {path}：{error.strerror}"))
        ) from None


def read_from(path: Path) -> bytes:
    """A file's bytes. Raises Misconfigured."""
    try:
        return path.read_bytes()
    except OSError as error:
        raise Misconfigured(
            str(Text(f"{path} cannot be read: {error.strerror}", f"无法读取 {path}：{error.strerror}"))
        ) from None
