"""What `gridhub tap` shows of records, in which order, and when it ends; what it does on a broker is in tests/together."""

import json
import re
import threading
from collections.abc import Mapping, Sequence
from dataclasses import replace
from unittest import mock

import pytest

from hub import lang
from hub.core.errors import Misconfigured, Unavailable
from hub.kafka_log import Arrived
from hub.settings import Settings
from hub.tap import Condition, Wish, last_of, shower, tap
from hub.wire import Wire
from tests.hub.core.one_town import camera, patrol

WIRE = Wire.load()
TOPIC = "alerts.camera"


def arrived(offset: int, *, partition: int = 0, at: int = 0, new: bool = False, value: bytes | None = None) -> Arrived:
    alert = WIRE.encode(camera(f"c{partition}-{offset}", "begins", 0))
    return Arrived(TOPIC, alert if value is None else value, new, partition, offset, at, b"410122105")


class Scripted:
    """Stands for a Tail: gives batches one after the other; the first `there` of them lay there at the beginning."""

    def __init__(self, *batches: Sequence[Arrived], there: int) -> None:
        self.batches = [list(batch) for batch in batches]
        self.there = there
        self.read_so_far = 0
        self.closed = False
        self.asked: Mapping[str, int | None] = {}
        self.away = False

    def __call__(self, _bootstrap: str, asked: Mapping[str, int | None], *, deleted: bool) -> "Scripted":
        assert deleted
        self.asked = asked
        return self

    def read(self, _wait_s: float) -> list[Arrived]:
        self.read_so_far += 1
        return self.batches.pop(0) if self.batches else []

    def complete(self) -> bool:
        return self.read_so_far >= self.there

    def ask(self) -> None:
        raise Unavailable("no broker answers")

    def close(self) -> None:
        self.closed = True


def tapped(topic: Scripted, capsys: pytest.CaptureFixture[str], wish: Wish) -> list[str]:
    with mock.patch("hub.tap.Tail", topic):
        assert tap(Settings(), wish, threading.Event()) == 0
    assert topic.closed
    return capsys.readouterr().out.splitlines()


def ids(lines: Sequence[str]) -> list[str]:
    return [json.loads(line)["record"]["id"] for line in lines]


def test_of_the_last_of_each_partition_the_last_of_the_topic_are_shown_in_the_order_of_time(
    capsys: pytest.CaptureFixture[str],
) -> None:
    topic = Scripted(
        [arrived(0, at=10), arrived(1, at=40)],
        [arrived(0, partition=1, at=20), arrived(1, partition=1, at=30), arrived(2, at=50, new=True)],
        there=2,
    )
    wish = Wish(TOPIC, last=2, follow=False, as_json=True)
    assert ids(tapped(topic, capsys, wish)) == ["c1-1", "c0-1"]
    assert topic.asked == {TOPIC: 2}


def test_what_comes_is_shown_until_the_limit(capsys: pytest.CaptureFixture[str]) -> None:
    topic = Scripted([], [arrived(3, new=True)], [arrived(4, new=True), arrived(5, new=True)], there=1)
    assert ids(tapped(topic, capsys, Wish(TOPIC, limit=2, as_json=True))) == ["c0-3", "c0-4"]


def test_from_the_earliest_all_is_shown(capsys: pytest.CaptureFixture[str]) -> None:
    topic = Scripted([arrived(0)], [], [arrived(1)], there=3)
    assert ids(tapped(topic, capsys, Wish(TOPIC, last=None, follow=False, as_json=True))) == ["c0-0", "c0-1"]
    assert topic.asked == {TOPIC: None}


def test_a_stop_ends_it(capsys: pytest.CaptureFixture[str]) -> None:
    stop = threading.Event()

    class Stopping(Scripted):
        def read(self, wait_s: float) -> list[Arrived]:
            stop.set()
            return super().read(wait_s)

    topic = Stopping([arrived(0, new=True)], there=1)
    with mock.patch("hub.tap.Tail", topic):
        assert tap(Settings(), Wish(TOPIC), stop) == 0
    assert topic.closed
    assert len(capsys.readouterr().out.splitlines()) == 1


def test_a_broker_that_goes_ends_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hub.tap.ASK_EVERY_S", 0.0)
    topic = Scripted(there=1)
    with mock.patch("hub.tap.Tail", topic), pytest.raises(Unavailable):
        tap(Settings(), Wish(TOPIC), threading.Event())
    assert topic.closed


def test_a_topic_that_is_none_of_ours_is_named() -> None:
    with pytest.raises(Misconfigured, match=r"there is no topic alerts; the hub has readings, alerts\.air"):
        tap(Settings(), Wish("alerts"), threading.Event())


def test_a_field_that_no_record_has_is_named() -> None:
    with pytest.raises(Misconfigured, match=r"--where devise: a record of alerts\.camera has .* description, device, "):
        tap(Settings(), Wish(TOPIC, where=[Condition.parse("devise=x")]), threading.Event())


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("id=c1", True),
        ("id=c", False),
        ("id^=c", True),
        ("id^=1", False),
        ("kind*=smo", True),
        ("kind*=fire", False),
        ("evidence.media_type=image/jpeg", False),
        ("lon=", True),
        ("retransmitted=false", True),
        ("key=410122105", True),
        ("partition=0", True),
        ("offset=9", False),
        ("id.id=c1", False),
        ("evidence=", False),
    ],
)
def test_conditions(text: str, holds: bool) -> None:
    value = WIRE.encode(camera("c1", "begins", 0))
    line = shower(WIRE, masked=True)(Arrived(TOPIC, value, new=True, key=b"410122105"))
    assert Condition.parse(text).holds(line) is holds


def test_what_is_masked_cannot_be_searched_for() -> None:
    value = WIRE.encode(replace(patrol("p1", 0), description="王五家的厨房"))
    record = Arrived("alerts.patrol", value, new=True)
    condition = Condition.parse("description*=王五")
    assert not condition.holds(shower(WIRE, masked=True)(record))
    assert condition.holds(shower(WIRE, masked=False)(record))


@pytest.mark.parametrize("text", ["?", "id", "=x", "id>x"])
def test_what_is_no_condition(text: str) -> None:
    with pytest.raises(ValueError, match=re.escape(text)):
        Condition.parse(text)


def test_where_to_begin() -> None:
    assert [last_of(text) for text in ("earliest", "latest", "20", "20-last")] == [None, 0, 20, 20]
    with pytest.raises(ValueError, match="yesterday"):
        last_of("yesterday")


def test_a_line_for_people_says_when_where_and_what_matters() -> None:
    show = shower(WIRE, masked=True)
    line = str(show(arrived(7, at=1_772_415_000_123)))
    assert line.startswith("03-02 09:30:00.123  alerts.camera/0/7  410122105  id=c0-7  device=ZA-CAM-1")
    assert "lon=" not in line, "an empty field is left out"
    assert "event_at" not in line
    assert str(show(Arrived(TOPIC, b"", new=True, key=b"k", deleted=True))).endswith("  k  deleted")


def test_what_cannot_be_decoded_is_shown_as_such(monkeypatch: pytest.MonkeyPatch) -> None:
    line = shower(WIRE, masked=True)(arrived(0, value=b"\x01not avro"))
    assert str(line).endswith("cannot be decoded (the 5-byte header is missing): 9 bytes, 01 6e 6f 74 20 61 76 72 6f")
    told = json.loads(line.json())
    assert (told["fault"], told["size"], told["beginning"]) == (
        "the 5-byte header is missing",
        9,
        "01 6e 6f 74 20 61 76 72 6f",
    )
    monkeypatch.setattr(lang, "_chosen", "zh")
    assert "无法解码" in str(line)


def test_a_key_may_be_shown_as_it_is() -> None:
    record = Arrived(TOPIC, b"", new=True, key=b"\xff\n", deleted=True)
    assert shower(WIRE, masked=True, raw_key=True)(record).key == "ff0a"
    assert "\n" not in str(shower(WIRE, masked=True)(record)), "and never as a terminal would take it"
