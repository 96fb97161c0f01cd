"""The way out for a town of which something of the changelog (`router-state`) cannot be read.

It is in quarantine: nothing is decided for it, and what it is sent is kept in the dead letters, until a person has mended its memory. There
are two ways. The journal and the inputs still have all that the town was made of: `gridhub replay --export` makes its memory once more, and
that is written over what cannot be read. Where they no longer reach back so far, what cannot be read is forgotten.
"""

import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from hub.changelog import look
from hub.core.errors import Misconfigured, Rejected, Unavailable
from hub.core.events import Journal
from hub.lang import Text, harmless
from hub.partition import JOURNAL, OWN, ROUTER_STATE, Outgoing, key_of
from hub.replay import MENDED, exported
from hub.settings import Settings
from hub.transactions import Aborted, Fenced, Transactions, Watchdog, Whole, partition_of
from hub.wire import Record, Wire

CLIENT = "gridhub-quarantine"


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
