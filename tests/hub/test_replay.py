"""What a replay finds, on topics that stand in this file."""

from collections.abc import Collection, Iterator
from unittest import mock

import pytest

from hub.core.events import AirAlert, AlarmValue
from hub.core.in_force import InForce
from hub.core.registry import Registry
from hub.core.rules import Rules
from hub.partition import INPUTS, Arrived, Outgoing, Partition, Surroundings
from hub.replay import replay
from hub.rulebook import rules_of
from hub.settings import DEFAULT_RULES, Settings
from hub.transactions import partition_of
from hub.wire import Wire, headers

WIRE = Wire.load()
SETTINGS = Settings()
RULES = Rules(rules_of(DEFAULT_RULES), {})
TOWN = "410122106"
HERE = partition_of(SETTINGS)(TOWN)
AT = 1_772_416_800_000


def alarm(number: int) -> Arrived:
    record = AirAlert(
        id=f"a{number}",
        town=TOWN,
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
    return Arrived("alerts.air", HERE, number, AT + number, TOWN.encode(), value, also)


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
    return alarms + [
        Arrived(one.topic, one.partition, offset, one.at, one.key, one.value, one.headers)
        for offset, one in enumerate(written)
    ]


def findings(topics: Collection[Arrived], settings: Settings = SETTINGS) -> list[str]:
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

    with mock.patch("hub.replay.Whole", There), mock.patch("hub.replay.Versions", Adopted):
        return replay(settings).findings


def test_what_was_decided_is_decided_again(topics: list[Arrived]) -> None:
    assert findings(topics) == []


def test_what_is_missing_is_found(topics: list[Arrived]) -> None:
    (first, *_) = [one for one in topics if one.topic == "decisions"]
    assert findings([one for one in topics if one is not first])


def test_other_rules_are_called_so(topics: list[Arrived]) -> None:
    """As after `gridhub up`, whose hour lasts ten seconds: nothing is broken, and the configuration is another."""
    first, *others = DEFAULT_RULES
    told, *_ = findings(
        topics, SETTINGS.model_copy(update={"rules": (first.model_copy(update={"limit": 151}), *others)})
    )
    assert told.startswith(f"journal/{HERE}, 1: decided under other rules")
