"""What the routers' group has committed, against what the journal says was applied: both were one transaction.

An offset that goes back has its records applied twice by whoever takes the partition over, one that is ahead leaves some out. A busy partition's next
transaction puts either right, so that neither need ever be seen on the topics; it is looked for where Kafka keeps the offsets.
"""

import struct
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping

from tests.faults.checker import Contract, Finding, Stored, Unreadable, Wrong

OFFSETS, GROUP = "__consumer_offsets", "gridhub-router"
JOURNAL = "journal"

Input = tuple[str, int]
"""A topic and a partition."""


def findings(contract: Contract, offsets: Iterable[Stored], journal: Iterable[Stored]) -> list[Finding]:
    """`offsets`, `journal`: what is committed on either topic."""
    found: list[Finding] = []
    ends = _ends(contract, journal, found)
    found += _committed(offsets, ends)
    return found


def _ends(contract: Contract, journal: Iterable[Stored], found: list[Finding]) -> dict[Input, set[int]]:
    """Where each range that was applied ends: the next offset. What is no journal record is found."""
    ends: dict[Input, set[int]] = defaultdict(set)
    for stored in journal:
        try:
            _, fields = contract.decode(stored.value or b"")
        except Unreadable as error:
            found.append(Finding(Wrong.UNREADABLE, stored.place, str(error)))
            continue
        for each in fields["ranges"]:
            ends[each["topic"], stored.partition].add(each["last"] + 1)
    return ends


def _committed(offsets: Iterable[Stored], ends: Mapping[Input, set[int]]) -> Iterator[Finding]:
    at: dict[Input, int] = {}
    for stored in offsets:
        key = _key(stored.key or b"")
        if key is None:
            continue
        name = "/".join(map(str, key))
        if stored.value is None:
            yield Finding(Wrong.OFFSET, stored.place, f"{name}: forgotten")
            continue
        _, offset = struct.unpack_from(">hq", stored.value)
        if offset < at.get(key, 0):
            yield Finding(Wrong.OFFSET, stored.place, f"{name}: {offset} after {at[key]}")
        elif offset and offset not in ends.get(key, ()):
            yield Finding(Wrong.OFFSET, stored.place, f"{name}: {offset} is the end of nothing that was applied")
        at[key] = offset
    for key, reached in ends.items():
        if at.get(key, 0) != max(reached):
            yield Finding(
                Wrong.OFFSET, "/".join(map(str, key)), f"{at.get(key, 0)} in the end, applied to {max(reached)}"
            )


def _key(key: bytes) -> Input | None:
    """Whose offset a record is (kafka.coordinator.group.OffsetKey: version 0 or 1, group, topic, partition); None: of another group, or no offset."""
    [version] = struct.unpack_from(">h", key)
    if version > 1:
        return None
    group, after = _text(key, 2)
    topic, after = _text(key, after)
    [partition] = struct.unpack_from(">i", key, after)
    return (topic, partition) if group == GROUP else None


def _text(key: bytes, at: int) -> tuple[str, int]:
    """A string with its length before it, and what comes after it."""
    [length] = struct.unpack_from(">h", key, at)
    return key[at + 2 : at + 2 + length].decode(), at + 2 + length
