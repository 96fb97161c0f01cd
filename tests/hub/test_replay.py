"""What a replay finds, on topics that stand in this file."""

from collections.abc import Callable, Collection, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest import mock

import pytest

from hub.core.events import AirAlert, AlarmValue, Journal
from hub.core.in_force import InForce
from hub.core.registry import Registry
from hub.core.rules import Rules
from hub.partition import INPUTS, Arrived, Outgoing, Partition, Surroundings, key_of
from hub.replay import MENDED, exported, replay
from hub.rulebook import rules_of
from hub.settings import DEFAULT_RULES, Settings
from hub.transactions import partition_of
from hub.wire import Wire, headers

WIRE = Wire.load()
SETTINGS = Settings()
RULES = Rules(rules_of(DEFAULT_RULES), {})
TOWN, NEIGHBOUR = "410122106", "410122107"
HERE = partition_of(SETTINGS)(TOWN)
AT = 1_772_416_800_000


def alarm(number: int, town: str = TOWN) -> Arrived:
    record = AirAlert(
        id=f"a{number}",
        town=town,
        device="ZA-1",
        vendor="acme",
        kind="air.device_alarm",
        occurred_at=AT + number,
        accepted_at=AT + number,
        event_at=AT + number,
        time_mark="device",
        lon=None,
        lat=None,
        datum="",
        message_code="2072",
        signal="ends" if number % 2 else "begins",
        values=(AlarmValue(factor="a34002", value=412.0, unit="ug/m3", alarm_type="1"),),
    )
    value, also = WIRE.encode(record), tuple(headers(record))
    return Arrived("alerts.air", HERE, number, AT + number, town.encode(), value, also)


def lying(written: Iterable[Outgoing]) -> list[Arrived]:
    """What a router has written, as it lies on the topics."""
    return [
        Arrived(one.topic, one.partition, offset, one.at, one.key, one.value, one.headers)
        for offset, one in enumerate(written)
    ]


@pytest.fixture
def topics() -> list[Arrived]:
    """Four alarms, and what a router made of them one by one."""
    around = Surroundings(InForce(Registry(rules=RULES)), WIRE, partition_of(SETTINGS), 0, 1)
    partition, written = Partition(HERE), list[Outgoing]()
    alarms = [alarm(number) for number in range(4)]
    for one in alarms:
        step = partition.apply([one], one.at, around)
        partition.adopt(step)
        written += step.outgoing
    return alarms + lying(written)


@pytest.fixture
def quarantined() -> list[Arrived]:
    """Of six alarms for a town and its neighbour two came while its memory could not be read. It was mended then, by what a replay gives."""
    around = Surroundings(InForce(Registry(rules=RULES)), WIRE, lambda _: HERE, 0, 1)
    partition, written = Partition(HERE), list[Outgoing]()
    alarms = [alarm(number, TOWN if number % 3 else NEIGHBOUR) for number in range(6)]
    for number, one in enumerate(alarms):
        if number in (2, 4):
            partition.quarantine({TOWN} if number == 2 else ())
            first = partition.apply([], one.at - 1, around)
            assert first.adopted
            partition.adopt(first)
            written += first.outgoing
        if number == 4:
            # By a router that starts again, which knows the town as it was.
            written += [replace(each, headers=((MENDED, b"1"),)) for each in memory(partition)]
        step = partition.apply([one], one.at, around)
        partition.adopt(step)
        written += step.outgoing
    return alarms + lying(written)


def memory(partition: Partition) -> Iterator[Outgoing]:
    for entry in partition.entries():
        if entry.town == TOWN:
            yield Outgoing("router-state", HERE, key_of(entry).encode(), WIRE.encode(entry), (), AT - 7)


def findings(
    topics: Collection[Arrived], settings: Settings = SETTINGS, home: Callable[[str], int] | None = None, **how: Any
) -> list[str]:
    class There:
        def __init__(
            self, _settings: Settings, names: Collection[str], _client: str, numbers: Collection[int] | None = None
        ) -> None:
            self._records = [
                one for one in topics if one.topic in names and (numbers is None or one.partition in numbers)
            ]
            self.begins = {(topic, HERE): 0 for topic in (*INPUTS, *names)}

        def all(self) -> Iterator[Arrived]:
            return iter(self._records)

    class Adopted:
        def __init__(self, _settings: Settings, _client: str) -> None: ...

        def all(self) -> dict[int, Registry]:
            return {0: Registry(rules=RULES)}

    with (
        mock.patch("hub.replay.Whole", There),
        mock.patch("hub.replay.Versions", Adopted),
        mock.patch("hub.replay.partition_of", return_value=home or partition_of(settings)),
    ):
        return replay(settings, **how).findings


def test_what_was_decided_is_decided_again(topics: list[Arrived]) -> None:
    assert findings(topics) == []


def test_what_is_missing_is_found(topics: list[Arrived]) -> None:
    (first, *_) = [one for one in topics if one.topic == "decisions"]
    assert findings([one for one in topics if one is not first])


def test_a_quarantine_is_replayed_by_the_journals_word(quarantined: list[Arrived]) -> None:
    assert findings(quarantined, home=everyone_here) == []
    (journal, *_) = [one for one in quarantined if one.topic == "journal" and told(one).quarantined]
    silent = replace(journal, value=WIRE.encode(replace(told(journal), quarantined=())))
    assert findings([silent if one is journal else one for one in quarantined], home=everyone_here)
    (mended, *_) = [one for one in quarantined if (MENDED, b"1") in one.headers]
    last = max((one for one in quarantined if one.key == mended.key), key=lambda one: one.offset)
    assert findings([replace(one, value=b"x") if one is last else one for one in quarantined], home=everyone_here)


def test_what_is_exported_in_a_quarantine_is_what_the_town_was_before(
    quarantined: list[Arrived], tmp_path: Path
) -> None:
    numbers = [told(one).number for one in quarantined if one.topic == "journal" and told(one).quarantined]
    assert findings(quarantined, until=numbers[0] - 1, export=tmp_path / "before", home=everyone_here) == []
    assert findings(quarantined, until=numbers[-1], export=tmp_path / "within", home=everyone_here) == []
    before, within = exported(tmp_path / "before", HERE), exported(tmp_path / "within", HERE)
    assert list(memory(within)) == list(memory(before))
    assert list(memory(within))
    assert not before.quarantined
    assert within.quarantined == {TOWN}
    assert findings(quarantined, start=tmp_path / "within", home=everyone_here) == []


def everyone_here(_town: str) -> int:
    return HERE


@pytest.mark.parametrize("number", [1, 2, 3])
def test_from_a_state_in_the_middle_the_rest_is_equal_and_what_differs_is_found(
    topics: list[Arrived], tmp_path: Path, number: int
) -> None:
    state = tmp_path / "state"
    assert findings(topics, until=number, export=state) == []
    assert exported(state, HERE).journal == number
    assert findings(topics, start=state) == []
    later = [one for one in topics if one.topic == "decisions"][number]
    altered = replace(later, value=(later.value or b"")[:-1] + b"\x01")
    assert findings([altered if one is later else one for one in topics], start=state)
    assert findings([one for one in topics if one is not later], start=state)
    text = (state / f"{HERE}.jsonl").read_text(encoding="utf-8")
    (state / f"{HERE}.jsonl").write_text(text.replace(f'\\"seq\\":{number}', '\\"seq\\":7'), encoding="utf-8")
    assert findings(topics, start=state)


def told(arrived: Arrived) -> Journal:
    journal = WIRE.decode(arrived.value or b"")
    assert isinstance(journal, Journal)
    return journal


def test_other_rules_are_called_so(topics: list[Arrived]) -> None:
    """As after `gridhub up`, whose hour lasts ten seconds: nothing is broken, and the configuration is another."""
    first, *others = DEFAULT_RULES
    told, *_ = findings(
        topics, SETTINGS.model_copy(update={"rules": (first.model_copy(update={"limit": 151}), *others)})
    )
    assert told.startswith(f"journal/{HERE}, 1: decided under other rules")
