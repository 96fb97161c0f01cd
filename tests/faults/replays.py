"""`gridhub replay` on the topics of a run: as they are, and with one thing altered on the way from them."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from shutil import copytree
from typing import Any
from unittest import mock

from hub.core.events import Journal
from hub.partition import Arrived
from hub.replay import replay
from hub.settings import RuleSettings, Settings
from hub.transactions import Whole
from hub.wire import Wire

Alter = Callable[[Arrived], Arrived]
WIRE = Wire.load()


def findings(settings: Settings, alter: Alter | None = None, **part: Any) -> list[str]:
    """What a replay finds; each record that it reads has gone through `alter`. `part`: from which state, until which number, exported where."""

    class Altered(Whole):
        def all(self) -> Iterator[Arrived]:
            return map(alter, super().all()) if alter else super().all()

    with mock.patch("hub.replay.Whole", Altered):
        return replay(settings, **part).findings


def with_another_number(folder: Path) -> Path:
    """An exported state in which one town has taken one decision more, beside the one in `folder`."""
    other = folder.with_name(f"{folder.name}-altered")
    copytree(folder, other)
    path = max(other.iterdir(), key=lambda one: one.stat().st_size)
    lines = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines()]
    clocks = [line for line in lines if line["kind"] == "town"]
    changed = max(clocks, key=lambda line: int(json.loads(line["body"])["seq"]))
    clock = json.loads(changed["body"])
    changed["body"] = json.dumps({**clock, "seq": clock["seq"] + 1})
    path.write_text("".join(f"{json.dumps(line)}\n" for line in lines), encoding="utf-8")
    return other


def with_another_limit(settings: Settings) -> Settings:
    """The first rule that has a limit has another."""

    def other(rule: RuleSettings) -> RuleSettings:
        return rule.model_copy(update={"limit": rule.limit and rule.limit + 1})

    assert settings.rules
    first, *others = settings.rules
    return settings.model_copy(update={"rules": (other(first), *others)})


def one_byte(topic: str, number: int) -> Alter:
    """The last byte of the record with this number of those on the topic differs."""
    seen = 0

    def alter(arrived: Arrived) -> Arrived:
        nonlocal seen
        if arrived.topic != topic or not arrived.value:
            return arrived
        seen += 1
        last = arrived.value[-1] ^ 1
        return replace(arrived, value=arrived.value[:-1] + bytes([last])) if seen == number else arrived

    return alter


def one_range(partition: int, number: int) -> Alter:
    """The first range of this journal record ends one offset earlier or, where that leaves nothing, begins one earlier."""

    def alter(arrived: Arrived) -> Arrived:
        if (arrived.topic, arrived.partition) != ("journal", partition):
            return arrived
        journal = WIRE.decode(arrived.value or b"")
        assert isinstance(journal, Journal)
        if journal.number != number or not journal.ranges:
            return arrived
        first, *others = journal.ranges
        shorter = (
            replace(first, last=first.last - 1) if first.last > first.first else replace(first, first=first.first - 1)
        )
        return replace(arrived, value=WIRE.encode(replace(journal, ranges=(shorter, *others))))

    return alter
