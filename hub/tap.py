"""`gridhub tap TOPIC`: what lies on a topic and what arrives there, decoded, one line each.

Personal data is masked (`hub.masking`), also where it is searched for, unless all of it is asked for. Reading leaves no trace on Kafka: no group, no
offsets.
"""

import json
import re
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from hub import topics
from hub.command import DONE
from hub.core.errors import Misconfigured, Rejected
from hub.core.personal import without_numbers
from hub.kafka_log import Arrived, Tail
from hub.lang import Text, harmless, progress
from hub.masking import plain
from hub.reasons import BEIJING
from hub.schemas import Schemas
from hub.settings import Settings
from hub.wire import Wire

EARLIEST, LATEST = "earliest", "latest"
READ_S = 0.5
ASK_EVERY_S = 5.0
"""So long nothing may come before Kafka is asked whether it is there: reading does not tell."""
HEX_BYTES = 32
LONGEST_VALUE = 60
# Fields that say when, whose and where in every record, or that the line says already; --json has them.
_LEFT_OUT = frozenset({"town", "event_at", "time_mark", "datum", "geometry", "given_geometry", "versions"})
_OWN = frozenset({"key", "partition", "offset", "at"})
_TIMES = re.compile(r"(?:at|now|.*_at)")


@dataclass(frozen=True, slots=True)
class Condition:
    """What a record must fulfil: `field` is dotted (`values.factor`) or key, partition, offset, at; `how` is `=`, `^=` (begins with) or `*=` (contains)."""

    field: str
    how: str
    value: str

    @classmethod
    def parse(cls, text: str) -> "Condition":
        """FIELD=VALUE, FIELD^=VALUE or FIELD*=VALUE. Raises ValueError."""
        found = re.fullmatch(r"([A-Za-z0-9_.]+)([\^*]?=)(.*)", text, re.DOTALL)
        if not found:
            raise ValueError(text)
        return cls(*found.groups())

    def holds(self, line: "Line") -> bool:
        """Whether it does; of a list one that does is enough."""
        own: dict[str, Any] = {"key": line.key, "partition": line.partition, "offset": line.offset, "at": line.at}
        fields = {**(line.record or {}), **own}
        return any(self._fits(_text(one)) for one in _found(fields, self.field.split(".")))

    def _fits(self, text: str) -> bool:
        match self.how:
            case "^=":
                return text.startswith(self.value)
            case "*=":
                return self.value in text
        return text == self.value


@dataclass(frozen=True, slots=True)
class Wish:
    """What is asked for. `last`: so many of the last records first, None: all there are. `limit`: so many at most, 0: no end. `raw_key`: keys as
    hexadecimal digits.
    """

    topic: str
    last: int | None = 0
    where: Sequence[Condition] = ()
    limit: int = 0
    follow: bool = True
    raw_key: bool = False
    masked: bool = True
    as_json: bool = False


@dataclass(frozen=True, slots=True)
class Line:
    """A record as it is shown. `record`: its fields, None where it cannot be decoded (`fault` says why, `beginning` its first bytes) or is a tombstone."""

    at: int
    topic: str
    partition: int
    offset: int
    key: str | None
    type: str = ""
    record: Mapping[str, Any] | None = None
    fault: str = ""
    beginning: str = ""
    size: int = 0

    def __str__(self) -> str:
        key = "-" if self.key is None else self.key
        moment = f"{_moment(self.at):%m-%d %H:%M:%S}.{self.at % 1000:03d}"
        return harmless(f"{moment}  {self.topic}/{self.partition}/{self.offset}  {key}  {self._said()}")

    def _said(self) -> str:
        if self.fault:
            return str(
                Text(
                    f"cannot be decoded ({self.fault}): {self.size} bytes, {self.beginning}",
                    f"无法解码（{self.fault}）：{self.size} 字节，{self.beginning}",
                )
            )
        if self.record is None:
            return str(Text("deleted", "已删除"))
        return "  ".join(
            f"{field}={_short(field, value)}"
            for field, value in self.record.items()
            if field not in _LEFT_OUT and value not in ("", None, [], False)
        )

    def json(self) -> str:
        """One line of JSON."""
        about: dict[str, Any] = {
            "at": self.at,
            "topic": self.topic,
            "partition": self.partition,
            "offset": self.offset,
            "key": self.key,
        }
        if self.fault:
            about |= {"fault": self.fault, "size": self.size, "beginning": self.beginning}
        else:
            about |= {"type": self.type, "record": self.record}
        return json.dumps(about, ensure_ascii=False)


def last_of(text: str) -> int | None:
    """How many of the last records `earliest` (None), `latest` (0), `20` or `20-last` stand for. Raises ValueError."""
    if text == EARLIEST:
        return None
    return 0 if text == LATEST else int(text.removesuffix("-last"))


def tap(settings: Settings, wish: Wish, stop: threading.Event) -> int:
    """Prints until there is no more, the limit is reached or `stop` is set. Raises Misconfigured (no such topic), Unavailable."""
    names = topics.load_topics()
    if wish.topic not in names:
        there = ", ".join(names)
        raise Misconfigured(
            str(
                Text(
                    f"there is no topic {wish.topic}; the hub has {there}",
                    f"没有主题 {wish.topic}；系统的主题有：{there}",
                )
            )
        )
    _check_fields(wish)
    with progress(
        f"Waiting for Kafka at {settings.kafka.bootstrap}", f"正在等待 {settings.kafka.bootstrap} 上的 Kafka"
    ):
        tail = Tail(settings.kafka.bootstrap, {wish.topic: wish.last}, deleted=True)
    shown = 0
    try:
        for line in _wanted(_arrived(tail, wish, stop), wish):
            print(line.json() if wish.as_json else line)
            sys.stdout.flush()
            shown += 1
            if shown == wish.limit:
                break
    finally:
        tail.close()
    return DONE


def _check_fields(wish: Wish) -> None:
    """A word that no record of the topic has would wait for ever."""
    schemas = Schemas.load()
    record = schemas.topics.get(wish.topic)
    fields = {field["name"] for field in schemas.records[record][-1].definition["fields"]} if record else set()
    for condition in wish.where:
        first = condition.field.partition(".")[0]
        if first not in _OWN | fields:
            there = ", ".join(sorted(_OWN | fields))
            raise Misconfigured(
                str(
                    Text(
                        f"--where {condition.field}: a record of {wish.topic} has {there}",
                        f"--where {condition.field}：{wish.topic} 的记录有以下字段：{there}",
                    )
                )
            )


def _wanted(records: Iterable[Arrived], wish: Wish) -> Iterator[Line]:
    show = shower(Wire.load(), masked=wish.masked, raw_key=wish.raw_key)
    for arrived in records:
        line = show(arrived)
        if all(condition.holds(line) for condition in wish.where):
            yield line


def _arrived(tail: Tail, wish: Wish, stop: threading.Event) -> Iterator[Arrived]:
    """What was there, then what comes. Of the last N of each partition the last N of the topic."""
    asked = time.monotonic()
    there: list[Arrived] = []
    complete = False
    while not stop.is_set():
        came = tail.read(READ_S)
        if not complete:
            complete = tail.complete()
            if wish.last is None:
                yield from came
            else:
                there = sorted([*there, *came], key=lambda one: (one.at, one.partition, one.offset))
            if not complete:
                continue
            old = [one for one in there if not one.new]
            yield from old[len(old) - min(wish.last or 0, len(old)) :]
            came = [one for one in there if one.new]
            there = []
        if not wish.follow:
            return
        yield from came
        if came:
            asked = time.monotonic()
        elif time.monotonic() - asked > ASK_EVERY_S:
            tail.ask()
            asked = time.monotonic()


def shower(wire: Wire, *, masked: bool, raw_key: bool = False) -> Callable[[Arrived], Line]:
    """What makes a line of a record."""

    def show(arrived: Arrived) -> Line:
        about = (arrived.at, arrived.topic, arrived.partition, arrived.offset, _key(arrived.key, raw=raw_key))
        if arrived.deleted:
            return Line(*about)
        try:
            record = wire.decode(arrived.value)
        except Rejected as rejected:
            beginning = arrived.value[:HEX_BYTES].hex(" ")
            # The detail may quote what stood in the record.
            fault = without_numbers(rejected.detail)
            return Line(*about, fault=fault, beginning=beginning, size=len(arrived.value))
        return Line(*about, type=type(record).__name__, record=plain(record, wire, masked=masked))

    return show


def _key(key: bytes | None, *, raw: bool) -> str | None:
    if key is None:
        return None
    return key.hex() if raw else key.decode(errors="backslashreplace")


def _found(value: Any, path: Sequence[str]) -> Iterator[Any]:
    match value:
        case list():
            for one in value:
                yield from _found(one, path)
        case dict() if path and path[0] in value:
            yield from _found(value[path[0]], path[1:])
        case _ if not path:
            yield value


def _text(value: Any) -> str:
    if value is None:
        return ""
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _short(field: str, value: Any) -> str:
    if isinstance(value, int) and not isinstance(value, bool) and _TIMES.fullmatch(field):
        return f"{_moment(value):%H:%M:%S}"
    text = _text(value)
    return text if len(text) <= LONGEST_VALUE else f"{text[:LONGEST_VALUE]}…"


def _moment(at: int) -> datetime:
    return datetime.fromtimestamp(at / 1000, UTC).astimezone(BEIJING)
