"""The way out of quarantine, as far as it needs no Kafka; on a broker: tests/together/test_router.py."""

from collections.abc import Collection, Iterable, Iterator
from dataclasses import replace
from pathlib import Path
from unittest import mock

import pytest

from hub.core.errors import AbortReason, Misconfigured, Unavailable
from hub.core.events import Journal, RouterState
from hub.core.town import Clock, Seen, Town
from hub.partition import Arrived, Outgoing, Partition, key_of
from hub.quarantine import held, mend
from hub.replay import MENDED, _write_state
from hub.settings import Settings
from hub.transactions import Aborted, Transactions, partition_of
from hub.wire import Wire

WIRE = Wire.load()
SETTINGS = Settings()
TOWN, NEIGHBOUR = "410122106", "410122107"
HERE = partition_of(SETTINGS)(TOWN)
WHOLE = Town(TOWN, {"town": {"": Clock(1, 4)}, "seen": {"a1": Seen(1, "d", ""), "a2": Seen(2, "d", "")}})

JOURNAL = Journal(
    partition=HERE, number=5, router=0, generation=1, at=0, program="0.1.0", versions=(), ranges=(), ticks=()
)

Lying = dict[bytes, bytes | None]


def entries(partition: Partition) -> Lying:
    return {key_of(one).encode(): WIRE.encode(one) for one in partition.entries()}


def sound(*quarantined: str) -> Partition:
    return Partition(HERE, 5, {TOWN: WHOLE}, quarantined=quarantined)


class Changelog:
    """Stands for the topic. `refuses`: why it takes nothing."""

    def __init__(self, *parts: Lying) -> None:
        self.records = [one for part in parts for one in part.items()]
        self.journal: list[tuple[str, ...]] = []
        """The towns in quarantine by each record from number 5 on, the state's own."""
        self.written: list[Outgoing] = []
        self.refuses: Exception | None = None

    def all(self) -> Iterator[Arrived]:
        for offset, (key, value) in enumerate(self.records):
            yield Arrived("router-state", HERE, offset, 0, key, value)

    def whole(self, _settings: Settings, topics: Collection[str], *_: object) -> mock.Mock:
        told = (
            replace(JOURNAL, number=number, quarantined=towns) for number, towns in enumerate(self.journal, start=5)
        )
        journal = [Arrived("journal", HERE, one.number, 0, b"", WIRE.encode(one)) for one in told]
        return mock.Mock(**{"all.side_effect": self.all if "router-state" in topics else lambda: iter(journal)})

    def commit(self, outgoing: Collection[Outgoing], offsets: object, group: object) -> None:
        assert (offsets, group) == ({}, None)
        if self.refuses:
            raise self.refuses
        self.written += outgoing
        self.records += [(one.key, one.value) for one in outgoing]


@pytest.fixture
def changelog() -> Iterator[Changelog]:
    """Of a town with an entry that cannot be read, one that the router has never written, and one that is gone by now."""
    poison: Lying = {f"{TOWN}|seen|a1".encode(): b"poison", f"{TOWN}|seen|a9".encode(): b"\xff"}
    gone: Lying = {f"{TOWN}|seen|a0".encode(): None}
    lying = Changelog(entries(sound(TOWN)), poison, gone)
    transactions = mock.Mock(spec=Transactions, commit=lying.commit)
    with (
        mock.patch("hub.quarantine.Whole", lying.whole),
        mock.patch("hub.quarantine.Transactions", return_value=transactions),
    ):
        yield lying
    assert transactions.close.called or not lying.written


def keys(some: Iterable[Outgoing]) -> dict[str, bool]:
    """Of each key whether it is gone."""
    return {one.key.decode(): one.value is None for one in some}


def test_each_town_is_told_with_what_cannot_be_read(changelog: Changelog) -> None:
    (one,) = held(SETTINGS)
    assert (one.town, one.partition, len(one.why)) == (TOWN, HERE, 2)
    assert str(one).startswith(f"{TOWN}  router-state/{HERE}  schema: ")
    changelog.records += [(b"guest", b"?"), (f"|partition|{HERE}".encode(), b"?")]
    assert [one.town for one in held(SETTINGS)] == [TOWN, "", ""]


def test_a_town_that_the_program_has_failed_on_is_told_too(changelog: Changelog) -> None:
    changelog.records = list(entries(sound(TOWN)).items())
    (one,) = held(SETTINGS)
    assert "all of its memory can be read" in str(one)
    with pytest.raises(Misconfigured, match="all of its memory can be read"):
        mend(SETTINGS, TOWN, None)


def test_what_is_forgotten_is_only_what_cannot_be_read(changelog: Changelog) -> None:
    assert mend(SETTINGS, TOWN, None) == 2
    assert keys(changelog.written) == {f"{TOWN}|seen|a1": True, f"{TOWN}|seen|a9": True}
    assert {one.partition for one in changelog.written} == {HERE}
    assert "all of its memory can be read" in str(held(SETTINGS)[0]), "until its router starts again"


def test_nothing_is_forgotten_of_a_town_whose_router_still_goes_on_with_it(changelog: Changelog) -> None:
    """What came to lie there while it runs, it has not read: it remembers all that is to be forgotten."""
    changelog.records += entries(sound()).items()
    changelog.records.append((f"{TOWN}|seen|a1".encode(), b"poison"))
    with pytest.raises(Misconfigured, match="no router has put 410122106 in quarantine yet"):
        mend(SETTINGS, TOWN, None)
    assert not changelog.written


def test_a_town_comes_back_as_it_was_and_with_nothing_else(changelog: Changelog, tmp_path: Path) -> None:
    _write_state(tmp_path, sound(TOWN))
    assert mend(SETTINGS, TOWN, tmp_path) == 4
    assert keys(changelog.written) == {
        f"{TOWN}|town|": False,
        f"{TOWN}|seen|a1": False,
        f"{TOWN}|seen|a2": False,
        f"{TOWN}|seen|a9": True,
    }
    assert {one.headers for one in changelog.written} == {((MENDED, b"1"),)}
    there = {key: value for key, value in dict(changelog.records).items() if value is not None}
    read = [WIRE.decode(value) for value in there.values()]
    restored = Partition.restored(HERE, [one for one in read if isinstance(one, RouterState)])
    assert list(restored.towns[TOWN].all("seen")) == list(WHOLE.all("seen"))


def test_a_state_from_before_is_refused(changelog: Changelog, tmp_path: Path) -> None:
    """What was decided between it and the quarantine would be forgotten."""
    _write_state(tmp_path, sound())
    with pytest.raises(Misconfigured, match="run gridhub replay --export once more"):
        mend(SETTINGS, TOWN, tmp_path)
    with pytest.raises(Misconfigured, match="is no exported state"):
        mend(SETTINGS, TOWN, tmp_path / "nowhere")
    assert not changelog.written


def test_a_state_from_an_earlier_quarantine_is_refused(changelog: Changelog, tmp_path: Path) -> None:
    """What was decided between the two would be forgotten."""
    _write_state(tmp_path, sound(TOWN))
    changelog.journal = [(TOWN,), (NEIGHBOUR,), (TOWN,)]
    with pytest.raises(Misconfigured, match="is older than the quarantine"):
        mend(SETTINGS, TOWN, tmp_path)
    assert not changelog.written
    changelog.journal = [(), (TOWN,), (NEIGHBOUR, TOWN)]
    assert mend(SETTINGS, TOWN, tmp_path) == 4


@pytest.mark.parametrize("town", [NEIGHBOUR, ""])
def test_a_town_that_is_not_in_quarantine_is_left_alone(changelog: Changelog, town: str) -> None:
    changelog.records.append((b"guest", b"?"))
    with pytest.raises(Misconfigured, match="is not in quarantine"):
        mend(SETTINGS, town, None)


def test_without_kafka_nothing_is_mended(changelog: Changelog) -> None:
    changelog.refuses = Aborted(AbortReason.UNAVAILABLE, "no leader")
    with pytest.raises(Unavailable, match="no leader"):
        mend(SETTINGS, TOWN, None)
