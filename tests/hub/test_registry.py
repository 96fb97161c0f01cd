"""A registry as pieces, on disk, compared; and which versions on the topic count."""

import json
from collections.abc import Callable, Iterator
from dataclasses import replace
from decimal import Decimal
from pathlib import Path
from unittest import mock

import pytest

from hub.core.events import RegistryEntry
from hub.core.registry import Device, Registry, SentUnit, Vendor, VendorKey
from hub.core.rules import Rules
from hub.kafka_log import Arrived
from hub.registry import (
    VERSION,
    Follower,
    Versions,
    differences,
    digest,
    from_pieces,
    pieces,
    read_copy,
    write,
    write_copy,
)
from hub.registry_check import load
from hub.registry_export import export
from hub.rulebook import rules_of
from hub.settings import RuleSettings, Settings
from hub.shipped import shipped
from hub.wire import Wire
from tests.brokers import until
from tests.hub.core.one_town import TOWN
from tests.hub.core.small_map import HEAD, LI, WANG, registry

WIRE = Wire.load()
RULES = rules_of(
    RuleSettings.model_validate(table)
    for table in (
        {"kind": "air.pm10.over_limit", "class": "08004", "factor": "a34002", "limit": 150, "period": 600, "wait": 30},
        {"kind": "camera.smoke", "class": "06020", "urgency": "urgent", "quiet": 60},
        {"kind": "patrol.illegal_building", "class": "06001", "period": 60, "covered": 0.5},
    )
)
FULL = replace(
    registry(LI, WANG, replace(HEAD, begins=1_767_196_800_000, ends=1_798_732_800_000), version=0, rules=RULES),
    devices=(
        Device(
            id="zz-1",
            mn="A1",
            vendor="maker",
            feed="air",
            town=TOWN,
            name="东李庄",
            lon=113.9051,
            lat=34.7,
            units={"a34002": SentUnit("mg/m3", Decimal("0.1"))},
            minute_period_s=60,
            limits={"a34002": 120.5},
            bearing_deg=90.0,
            distance_m=1500.0,
            accuracy_m=200.0,
        ),
    ),
    vendors=(
        Vendor(
            id="maker",
            name="制造",
            feeds=frozenset({"camera", "air"}),
            datum="GCJ02",
            gcj02_inverse=True,
            per_s=12.5,
            keys=(VendorKey(id="k1", sha256="ab" * 32, begins=1_767_196_800_000, ends=None),),
        ),
    ),
)


def test_a_registry_comes_back_from_its_pieces() -> None:
    back = from_pieces(3, pieces(FULL))
    assert pieces(back) == pieces(FULL)
    assert (back.version, back.sha256) == (3, digest(pieces(FULL)))
    assert replace(back, version=0, sha256="", rules=FULL.rules) == FULL
    assert back.rules == Rules(RULES, {"zz-1": {"a34002": 120.5}})


@pytest.mark.parametrize("whole", [FULL, load(shipped("deploy/town"))], ids=["full", "shipped"])
def test_what_is_exported_and_read_again_is_the_same(whole: Registry, tmp_path: Path) -> None:
    export(whole, tmp_path)
    again = load(tmp_path)
    assert differences(whole, again) == []
    assert pieces(again) == pieces(whole)


def test_differences_name_what_is_added_removed_and_changed_and_in_which_fields() -> None:
    other = replace(FULL, people=(LI, replace(WANG, name="王")), sites=FULL.sites, grids=FULL.grids[:1])
    assert [str(one) for one in differences(FULL, other)] == [
        "- grid G2",
        "~ person wang|worker|G1| (name)",
        "- person zhao|head|G1|1767196800000",
    ]
    assert differences(FULL, FULL) == []
    assert {one.how for one in differences(None, FULL)} == {"added"}


def test_a_copy_is_whole_or_none(tmp_path: Path) -> None:
    path = tmp_path / "registry" / "last.json"
    assert read_copy(path) is None
    kept = from_pieces(7, pieces(FULL))
    write_copy(path, kept)
    assert read_copy(path) == kept
    text = path.read_text(encoding="utf-8")
    content = json.loads(text)
    odd = [
        {key: value for key, value in content.items() if key != "sha256"},
        *(
            content | {"pieces": some}
            for some in (None, [1], [["device", "d", "{}"]], [["device", "d", '{"units":[]}']])
        ),
        content | {"version": None},
        content | {"version": "7.5"},
    ]
    for damaged in (text[:-2], text.replace("wang", "wong", 1), "[]", "", "[" * 100_000, *map(json.dumps, odd)):
        path.write_text(damaged, encoding="utf-8")
        assert read_copy(path) is None


# ---- the topic


class Topic:
    """A topic as a reader finds it; more may come between two questions."""

    def __init__(self) -> None:
        self.records: list[bytes] = []
        self.read_so_far = 0

    def writes(self, number: int, whole: Registry, *, without_last: int = 0, count: int | None = None) -> None:
        some = pieces(whole)
        for kind, name, body in some[: len(some) - without_last]:
            self.puts(RegistryEntry(version=number, kind=kind, id=name, body=body))
        told = {"count": len(some) if count is None else count, "sha256": digest(some), "imported_at": 0, "note": ""}
        self.puts(RegistryEntry(version=number, kind=VERSION, id="", body=json.dumps(told)))

    def puts(self, entry: RegistryEntry) -> None:
        self.records.append(WIRE.encode(entry))

    # what a Tail does

    def complete(self) -> bool:
        return self.read_so_far == len(self.records)

    def read(self, _wait_s: float) -> Iterator[Arrived]:
        while not self.complete():
            self.read_so_far += 1
            yield Arrived("registry", self.records[self.read_so_far - 1], new=False)

    def close(self) -> None:
        self.read_so_far = 0


@pytest.fixture
def topic() -> Iterator[Topic]:
    topic = Topic()
    with mock.patch("hub.registry.Tail", return_value=topic):
        yield topic


@pytest.fixture
def versions(topic: Topic) -> Versions:
    del topic
    return Versions(Settings(), "test")


def test_the_newest_whole_version_counts_and_news_is_seen(topic: Topic, versions: Versions) -> None:
    assert versions.newest() is None
    topic.writes(1, FULL)
    first = versions.newest()
    assert first is not None
    assert (first.version, pieces(first)) == (1, pieces(FULL))
    topic.writes(2, replace(FULL, people=(LI,)))
    second = versions.newest()
    assert second is not None
    assert (second.version, [one.id for one in second.people]) == (2, ["li"])
    assert versions.newest() is second
    assert sorted(versions.all()) == [1, 2]


def test_a_version_that_is_not_whole_never_counts_and_its_number_is_not_used_again(
    topic: Topic, versions: Versions
) -> None:
    topic.writes(1, FULL)
    for kind, name, body in pieces(FULL)[:3]:  # an import that was killed
        topic.puts(RegistryEntry(version=2, kind=kind, id=name, body=body))
    topic.writes(3, FULL, without_last=1)
    topic.writes(4, FULL, count=1)
    topic.records.append(b"\x00 not a record")
    newest = versions.newest()
    assert newest is not None
    assert newest.version == 1
    assert versions.next_number == 5


def test_a_piece_that_this_program_does_not_know_keeps_its_version_out(topic: Topic, versions: Versions) -> None:
    topic.writes(1, FULL)
    some = [*pieces(FULL), ("weather", "w1", "{}")]
    for kind, name, body in some:
        topic.puts(RegistryEntry(version=2, kind=kind, id=name, body=body))
    told = {"count": len(some), "sha256": digest(sorted(some)), "imported_at": 0, "note": ""}
    topic.puts(RegistryEntry(version=2, kind=VERSION, id="", body=json.dumps(told)))
    newest = versions.newest()
    assert newest is not None
    assert newest.version == 1


def test_of_a_number_that_two_have_written_the_first_stands(topic: Topic, versions: Versions) -> None:
    """Who has adopted it would not see the other, and a journal could not say which it was."""
    topic.writes(1, FULL)
    topic.writes(1, replace(FULL, people=(LI,)))
    newest = versions.newest()
    assert newest is not None
    assert pieces(newest) == pieces(FULL)
    assert pieces(versions.all()[1]) == pieces(FULL)


def test_pieces_that_are_no_registry_do_not_end_who_follows(topic: Topic, versions: Versions) -> None:
    topic.writes(1, FULL)
    device = {
        **json.loads(next(body for kind, _, body in pieces(FULL) if kind == "device")),
        "units": {"a": ["mg/m3", "x"]},
    }
    for number, body in enumerate(("[]", "7", '{"units":[]}', json.dumps(device), "[" * 100_000), 2):
        some = [("device", "d", body)]
        topic.puts(RegistryEntry(version=number, kind="device", id="d", body=body))
        told = {"count": 1, "sha256": digest(some), "imported_at": 0, "note": ""}
        topic.puts(RegistryEntry(version=number, kind=VERSION, id="", body=json.dumps(told)))
    newest = versions.newest()
    assert newest is not None
    assert newest.version == 1


def test_a_version_that_cannot_be_taken_is_told_until_a_newer_one_is_there(topic: Topic, versions: Versions) -> None:
    topic.writes(1, FULL)
    versions.newest()
    assert versions.refused == 0
    topic.writes(2, FULL, without_last=1)
    topic.records.append(b"no record")
    newest = versions.newest()
    assert (newest and newest.version, versions.refused) == (1, 2)
    topic.writes(3, FULL)
    newest = versions.newest()
    assert (newest and newest.version, versions.refused) == (3, 0)


def test_who_follows_tells_once_of_a_version_that_cannot_be_taken(
    topic: Topic, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("hub.registry.LOOK_EVERY_S", 0.001)
    refused, adopted = list[int](), list[int]()
    follower = Follower(
        Settings(data=tmp_path), "test", lambda registry: adopted.append(registry.version), refused.append
    )
    topic.writes(1, FULL)
    topic.writes(2, FULL, count=7)
    follower.start()
    until(lambda: refused and adopted, 5)
    topic.writes(3, FULL)
    until(lambda: len(adopted) == 2, 5)
    follower.stop()
    assert (refused, adopted) == ([2], [1, 3])


def test_who_follows_holds_one_version(topic: Topic, versions: Versions) -> None:
    for number in range(1, 6):
        topic.writes(number, FULL)
        versions.newest()
    assert list(versions._whole) == [5]
    assert sorted(versions.all()) == [1, 2, 3, 4, 5]


class Writing:
    """Stands for a publisher: what is written lies on the topic, right behind what `rival` wrote before the first of it."""

    def __init__(self, topic: Topic, rival: Callable[[], None]) -> None:
        self._topic, self._rival = topic, rival

    def publish(self, _topic: str, _key: str, value: bytes, _headers: object, done: Callable[[None], None]) -> None:
        self._rival()
        self._topic.records.append(value)
        done(None)

    def close(self, _within_s: float) -> None:
        pass


def test_of_two_imports_at_once_each_has_a_number_of_its_own(topic: Topic, versions: Versions) -> None:
    """Both have seen that the next is 2."""
    topic.writes(1, FULL)
    other = replace(FULL, people=(LI,))
    begun: list[str] = []

    def rival() -> None:
        if not begun:
            begun.append("")
            assert write(Settings(), other, 2).version == 2

    with mock.patch("hub.registry.Publisher", side_effect=lambda *_, **__: Writing(topic, rival)):
        assert write(Settings(), FULL, 2).version == 3
    assert {number: pieces(whole) for number, whole in versions.all().items()} == {
        1: pieces(FULL),
        2: pieces(other),
        3: pieces(FULL),
    }
