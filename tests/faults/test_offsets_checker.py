"""Offsets that are not what the journal says are found, and those of others are nobody's concern here."""

import struct
from collections.abc import Sequence

from tests.faults import offsets_checker
from tests.faults.checker import Contract, Finding, Stored, Wrong
from tests.faults.encoding import SCHEMAS, encoder
from tests.faults.offsets_checker import GROUP, JOURNAL, OFFSETS

CONTRACT = Contract(SCHEMAS)
ENCODE = encoder("journal", 2)
READINGS, ALERTS = "readings", "alerts.air"


def stored(topic: str, number: int, key: bytes, value: bytes | None, partition: int = 0) -> Stored:
    return Stored(topic, partition, number, 0, key, (), value)


def journal(*ranges: tuple[int, str, int, int]) -> list[Stored]:
    """One record of each: partition, topic, first and last offset."""
    return [
        stored(
            JOURNAL, i, b"", ENCODE({"ranges": [{"topic": topic, "first": first, "last": last}]}), partition=partition
        )
        for i, (partition, topic, first, last) in enumerate(ranges)
    ]


def text(value: str) -> bytes:
    return struct.pack(">h", len(value)) + value.encode()


def offsets(*committed: tuple[str, int, int], group: str = GROUP) -> list[Stored]:
    """Topic, partition, offset of each, as Kafka 3 writes them (OffsetCommitKey version 1, OffsetCommitValue version 3)."""
    return [
        stored(
            OFFSETS,
            i,
            struct.pack(">h", 1) + text(group) + text(topic) + struct.pack(">i", partition),
            struct.pack(">hqi", 3, offset, -1) + text("") + struct.pack(">q", 0),
        )
        for i, (topic, partition, offset) in enumerate(committed)
    ]


JOURNALED = journal(
    (0, READINGS, 0, 4), (1, READINGS, 2, 6), (0, ALERTS, 0, 0), (0, READINGS, 5, 5), (0, READINGS, 7, 9)
)
"""Offset 6 of partition 0 holds no record: a transaction's end."""
COMMITTED = [(READINGS, 0, 0), (READINGS, 0, 5), (READINGS, 1, 7), (ALERTS, 0, 1), (READINGS, 0, 6), (READINGS, 0, 10)]


def found(committed: Sequence[tuple[str, int, int]]) -> list[Finding]:
    return offsets_checker.findings(CONTRACT, offsets(*committed), JOURNALED)


def test_offsets_that_follow_the_journal_are_found_right() -> None:
    # A tick alone commits them once more.
    assert found([*COMMITTED, COMMITTED[-1]]) == []


def test_an_offset_that_goes_back_is_found() -> None:
    # It is put right by the next one.
    [one] = found([*COMMITTED, (READINGS, 0, 6), COMMITTED[-1]])
    assert one == Finding(Wrong.OFFSET, f"{OFFSETS}/0/6", "readings/0: 6 after 10")


def test_an_offset_that_nothing_was_applied_to_is_found() -> None:
    [one] = found([*COMMITTED[:4], (READINGS, 0, 8), *COMMITTED[5:]])
    assert one == Finding(Wrong.OFFSET, f"{OFFSETS}/0/4", "readings/0: 8 is the end of nothing that was applied")


def test_an_offset_that_stayed_behind_is_found() -> None:
    [one] = found(COMMITTED[:-1])
    assert one == Finding(Wrong.OFFSET, "readings/0", "6 in the end, applied to 10")
    [one] = found([each for each in COMMITTED if each[1] == 0])
    assert one == Finding(Wrong.OFFSET, "readings/1", "0 in the end, applied to 7")


def test_an_offset_that_kafka_has_forgotten_is_found() -> None:
    [forgotten] = offsets((READINGS, 1, 7))
    given = [*offsets(*COMMITTED), stored(OFFSETS, 9, forgotten.key or b"", None)]
    [one] = offsets_checker.findings(CONTRACT, given, JOURNALED)
    assert one == Finding(Wrong.OFFSET, f"{OFFSETS}/0/9", "readings/1: forgotten")


def test_what_other_groups_commit_and_what_is_no_offset_is_passed_over() -> None:
    others = offsets((READINGS, 0, 3), group="somebody")
    members = stored(OFFSETS, 10, struct.pack(">h", 2) + text(GROUP), b"")
    given = [*offsets(*COMMITTED), *others, members]
    assert offsets_checker.findings(CONTRACT, given, JOURNALED) == []


def test_a_journal_that_is_none_is_found() -> None:
    spoilt = [*JOURNALED, stored(JOURNAL, 9, b"", b"spoilt")]
    [one] = offsets_checker.findings(CONTRACT, offsets(*COMMITTED), spoilt)
    assert (one.wrong, one.where) == (Wrong.UNREADABLE, f"{JOURNAL}/0/9")
