"""What of the changelog (`router-state`) can be read, and the way out for a town of which something cannot.

Such a town is in quarantine: nothing is decided for it, and what it is sent is kept in the dead letters, until a person has mended its memory. There
are two ways. The journal and the inputs still have all that the town was made of: `gridhub replay --export` makes its memory once more, and
that is written over what cannot be read. Where they no longer reach back so far, what cannot be read is forgotten.
"""

import re
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from hub import __version__
from hub.core.errors import Misconfigured, Reason, Rejected, Unavailable
from hub.core.events import Journal, RouterState
from hub.lang import Text, harmless
from hub.partition import JOURNAL, OWN, ROUTER_STATE, TOWN_CODE, Outgoing, Partition, Restoring, key_of
from hub.replay import MENDED, exported
from hub.settings import Settings
from hub.transactions import Aborted, Fenced, Transactions, Watchdog, Whole, partition_of
from hub.wire import Record, Wire

CLIENT = "gridhub-quarantine"
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


# ---- for people


@dataclass(frozen=True, slots=True)
class Held:
    """A town in quarantine; without `keys`, the program failed on memory that it can read. Or keys of no town, which are passed over. `stands`: its
    router has said so; until then it may remember what cannot be read.
    """

    town: str
    partition: int
    why: tuple[str, ...]
    keys: tuple[bytes, ...] = ()
    stands: bool = True

    def __str__(self) -> str:
        town = self.town or str(Text("no town", "不属于任何乡镇"))
        return harmless(f"{town}  {ROUTER_STATE}/{self.partition}  {'; '.join(self.why)}")


def held(settings: Settings) -> list[Held]:
    """All that is in quarantine, or passed over, by the changelog as it is now. Raises Unavailable."""
    wire, home, found = Wire.load(), partition_of(settings), list[Held]()
    for number, last in sorted(_changelog(settings).items()):
        looked = look(number, last, wire, home)
        partition = looked.restoring.partition()
        failed = partition.quarantined - looked.unreadable.keys()
        found += [
            Held(town, number, tuple(why.values()), tuple(why), town in partition.quarantined)
            for town, why in looked.unreadable.items()
        ]
        found += [Held(town, number, (str(_READ),)) for town in sorted(failed)]
        found += [Held("", number, (f"{key}: {why}",)) for key, why in looked.strange.items()]
        if looked.own:
            found.append(Held("", number, (f"|{OWN}|{number}: {looked.own}",)))
    return found


def mend(settings: Settings, town: str, folder: Path | None) -> int:
    """Writes the town's memory as it stands in `folder`, which a replay has exported, or (None) puts away what cannot be read of it; returns how many
    entries were written. Routers see it at their next start. Raises Misconfigured, Unavailable.
    """
    home = partition_of(settings)
    held_town = next((one for one in held(settings) if one.town and one.town == town), None)
    if held_town is None:
        raise Misconfigured(str(Text(f"{town} is not in quarantine", f"{town} 未被隔离")))
    if folder is None:
        if not held_town.keys:
            raise Misconfigured(f"{town}: {_READ}")
        if not held_town.stands:
            # It goes on with what it remembers, and would have forgotten it at its next start, an open ticket perhaps.
            raise Misconfigured(str(_not_yet(town)))
        return _write(settings, town, dict.fromkeys(held_town.keys))
    partition, wire = exported(folder, home(town)), Wire.load()
    # Made before it came into quarantine, the last time: what was decided since would be forgotten.
    if town not in partition.quarantined or _was_out(settings, wire, town, partition.journal):
        raise Misconfigured(str(_too_old(folder, town)))
    entries = {key_of(one).encode(): wire.encode(one) for one in partition.entries() if one.town == town}
    there = _changelog(settings).get(home(town), {})
    gone = [key for key in there if key is not None and key.startswith(f"{town}|".encode()) and key not in entries]
    return _write(settings, town, {**dict.fromkeys(gone), **entries})


def _was_out(settings: Settings, wire: Wire, town: str, since: int) -> bool:
    """Whether the town was out of quarantine in the meantime, by the journal after the number `since`."""
    for arrived in Whole(settings, [JOURNAL], CLIENT, [partition_of(settings)(town)]).all():
        try:
            record: Record | None = wire.decode(arrived.value or b"")
        except Rejected:
            record = None
        # What cannot be read tells nothing: the replay that made the state has found it, too.
        if isinstance(record, Journal) and record.number > since and town not in record.quarantined:
            return True
    return False


def _changelog(settings: Settings) -> dict[int, dict[bytes | None, bytes]]:
    found: dict[int, dict[bytes | None, bytes]] = {}
    for arrived in Whole(settings, [ROUTER_STATE], CLIENT).all():
        last = found.setdefault(arrived.partition, {})
        if arrived.value is None:
            last.pop(arrived.key, None)
        else:
            last[arrived.key] = arrived.value
    return found


def _write(settings: Settings, town: str, entries: Mapping[bytes, bytes | None]) -> int:
    """All of them or none, on the partition of the town. Raises Unavailable."""
    number, at = partition_of(settings)(town), time.time_ns() // 1_000_000
    transactions = Transactions(settings, 0, Watchdog(), name=CLIENT)
    try:
        transactions.renew()
        by_hand = ((MENDED, b"1"),)
        outgoing = [Outgoing(ROUTER_STATE, number, key, value, by_hand, at) for key, value in entries.items()]
        transactions.commit(outgoing, {}, None)
    except (Aborted, Fenced) as error:
        raise Unavailable(str(error)) from error
    finally:
        transactions.close()
    return len(entries)


_READ = Text(
    "all of its memory can be read: it is mended, or the program failed on it; its router tries it at the next start",
    "其内存状态均可读取：已修复，或程序处理时曾出错；路由进程下次启动时重试",
)


def _not_yet(town: str) -> Text:
    return Text(
        f"no router has put {town} in quarantine yet: restart the one that has it first",
        f"尚无路由进程将 {town} 隔离：请先重启负责它的路由进程",
    )


def _too_old(folder: Path, town: str) -> Text:
    return Text(
        f"{folder} is older than the quarantine of {town}: run gridhub replay --export once more",
        f"{folder} 早于 {town} 本次被隔离的时间：请重新运行 gridhub replay --export",
    )


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
