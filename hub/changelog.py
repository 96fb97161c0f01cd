"""What of the changelog (`router-state`) can be read. A town of which an entry cannot is in quarantine (`hub.quarantine`)."""

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from hub import __version__
from hub.core.errors import Misconfigured, Reason, Rejected
from hub.core.events import Journal, RouterState
from hub.lang import Text
from hub.partition import JOURNAL, OWN, ROUTER_STATE, TOWN_CODE, Partition, Restoring, key_of
from hub.settings import Settings
from hub.transactions import Whole
from hub.wire import Record, Wire

CLIENT = "gridhub-changelog"
# One of so many offsets is a committed journal record: aborted ones and Kafka's own lie between.
LAST_JOURNALS = 2000

Last = Mapping[bytes | None, bytes]
"""The last value of each key of a partition of the changelog; without those that are gone."""


@dataclass(slots=True)
class Found:
    """What the changelog has of a partition.

    unreadable: of each town in quarantine, the keys that cannot be read and why. strange: keys that no router writes there: passed over.
    own: why the partition's own entry cannot be read; empty where it can.
    """

    restoring: Restoring
    unreadable: dict[str, dict[bytes, str]] = field(default_factory=dict)
    strange: dict[str, str] = field(default_factory=dict)
    own: str = ""

    def partition(self, offsets: Mapping[str, int]) -> Partition:
        """As it goes on at the group's `offsets`. A town that the program failed on before is tried once more."""
        partition = self.restoring.partition(self.unreadable)
        partition.quarantine(self.unreadable)
        partition.goes_on_at(offsets)
        return partition


def look(number: int, last: Last, wire: Wire, home: Callable[[str], int]) -> Found:
    """Reads each entry by itself. `home`: where a town's records belong."""
    found = Found(Restoring(number))
    own = f"|{OWN}|{number}".encode()
    for key, value in last.items():
        name = (key or b"").decode(errors="replace")
        town = name.partition("|")[0]
        if key != own and (not TOWN_CODE.fullmatch(town) or home(town) != number):
            found.strange[name] = f"the key of no town of partition {number}"
            continue
        try:
            found.restoring.take(_entry(wire, key, value))
        except (Rejected, ValueError) as error:
            # Nothing of the town counts any more; the others do not depend on it.
            if key == own:
                found.own = str(error)
            else:
                found.unreadable.setdefault(town, {})[key or b""] = str(error)
    # Each transaction writes it: where anything of a town is, it was there.
    if own not in last and (found.restoring.is_any or found.unreadable):
        found.own = "it is not there"
    return found


def _entry(wire: Wire, key: bytes | None, value: bytes) -> RouterState:
    entry = wire.decode(value)
    if not isinstance(entry, RouterState) or key_of(entry).encode() != key:
        raise Rejected(Reason.SCHEMA, f"{type(entry).__name__} is not the entry of this key")
    return entry


def sound(found: Found, number: int, settings: Settings, wire: Wire, offsets: Mapping[str, int]) -> None:
    """Raises Misconfigured where quarantine would be wrong: a newer program has written this, and will read it; or nothing tells where the journal
    ends. Raises Unavailable.
    """
    if found.own:
        journal = _last_journal(settings, wire, number)
        if journal is None or not any(offsets.values()):
            raise Misconfigured(str(_no_own(number, found.own)))
        found.restoring.follow(journal)
    if (found.unreadable or found.own) and _release(found.restoring.program) > _release(__version__):
        raise Misconfigured(str(_newer(number, found.restoring.program)))


def _last_journal(settings: Settings, wire: Wire, number: int) -> Journal | None:
    last = None
    for arrived in Whole(settings, [JOURNAL], CLIENT, [number], last=LAST_JOURNALS).all():
        try:
            record: Record | None = wire.decode(arrived.value or b"")
        except Rejected:
            record = None
        # The one before it tells a number too low, which would be given twice.
        last = record if isinstance(record, Journal) else None
    return last


def _release(program: str) -> tuple[int, ...]:
    return tuple(map(int, re.findall(r"\d+", program)))


def _newer(number: int, program: str) -> Text:
    return Text(
        f"{ROUTER_STATE}/{number} cannot be read by this version of the program: {program} has written it",
        f"此版本的程序无法读取 {ROUTER_STATE}/{number}：由版本 {program} 写入",
    )


def _no_own(number: int, why: str) -> Text:
    return Text(
        f"|{OWN}|{number} of {ROUTER_STATE}/{number} cannot be read ({why}), and neither the journal nor the group tells what it was",
        f"无法读取 {ROUTER_STATE}/{number} 中的 |{OWN}|{number}（{why}），日志和消费组也没有相应信息",
    )
