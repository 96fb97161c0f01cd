"""Faults of the program itself, small ones as people make them: each applied to a copy, of which the runs must find that it breaks a promise."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True, slots=True)
class Change:
    """In a file of the project, a text that is there once, and what stands in its place."""

    path: str
    old: str
    new: str


@dataclass(frozen=True, slots=True)
class Bug:
    """What it does wrong, and the changes that do."""

    says: str
    changes: Sequence[Change]

    def plant(self, root: Path) -> None:
        """Applies it. Raises ValueError where the text to change is not there once."""
        for change in self.changes:
            path = root / change.path
            text = path.read_text(encoding="utf-8")
            if (count := text.count(change.old)) != 1:
                raise ValueError(f"{change.path} has this {count} times, not once:\n{change.old}")
            path.write_text(text.replace(change.old, change.new), encoding="utf-8")


BUGS: Mapping[str, Bug] = {
    "answered-early": Bug(
        "A sender is answered before Kafka has what it sent.",
        [
            Change(
                "hub/outbox.py",
                "        except (Rejected, Unavailable) as error:\n            self._settle(pending, error)\n\n    def _send(",
                "        except (Rejected, Unavailable) as error:\n            self._settle(pending, error)\n        else:\n"
                "            self._decide(pending, Fate.DEAD_LETTERED if pending.letter else Fate.PUBLISHED)\n\n    def _send(",
            )
        ],
    ),
    "clock-believed": Bug(
        "A connector goes by its machine's clock, however wrong that is.",
        [Change("hub/clock.py", "        if leads and all(", "        if False and all(")],
    ),
    "offsets-outside": Bug(
        "Offsets are committed behind the transaction, not in it.",
        [
            Change(
                "hub/transactions.py",
                """\
                    producer.send_offsets_to_transaction(
                        {TopicPartition(*key): OffsetAndMetadata(offset, "", -1) for key, offset in offsets.items()},
                        group,
                    )
""",
                "                    pass\n",
            ),
            Change(
                "hub/router.py",
                "        self._transactions.commit(outgoing, offsets, polled.group)\n",
                """\
        self._transactions.commit(outgoing, offsets, polled.group)
        from contextlib import suppress

        from kafka import TopicPartition
        from kafka.errors import KafkaError
        from kafka.structs import OffsetAndMetadata

        with suppress(KafkaError):  # the next commit says it again
            self._member._consumer.commit(
                {TopicPartition(*key): OffsetAndMetadata(offset, "", -1) for key, offset in offsets.items()},
                timeout_ms=3_000,
            )
""",
            ),
        ],
    ),
    "adopted-early": Bug(
        "A state is taken for true before its transaction is committed.",
        [
            Change(
                "hub/router.py",
                "        self._transactions.commit(outgoing, offsets, polled.group)\n",
                """\
        for partition, step in steps:
            partition.adopt(step)
        self._transactions.commit(outgoing, offsets, polled.group)
""",
            ),
            Change("hub/router.py", "            partition.adopt(step)\n            reached", "            reached"),
        ],
    ),
    "producer-kept": Bug(
        "After a transaction that failed and could be aborted the same producer goes on.",
        [
            Change(
                "hub/transactions.py",
                """\
        if self._producer is not None:
            discard(self._producer)
            self._producer = None
        timeout_ms""",
                """\
        if self._producer is not None:
            with contextlib.suppress(KafkaError):
                self._producer.abort_transaction()
                return
            discard(self._producer)
            self._producer = None
        timeout_ms""",
            )
        ],
    ),
    "sticky": Bug(
        "Partitions are given out by the sticky assignor, which knows nothing of towns.",
        [
            Change(
                "hub/transactions.py",
                "        partition_assignment_strategy=[RangePartitionAssignor],\n",
                "        partition_assignment_strategy=[StickyPartitionAssignor],\n",
            ),
            Change(
                "hub/transactions.py",
                "class Aborted(HubError):",
                "from kafka.coordinator.assignors.sticky.sticky_assignor import StickyPartitionAssignor\n\n\nclass Aborted(HubError):",
            ),
        ],
    ),
    "rebuilt-in-part": Bug(
        "What a tenth of a second has read of the changelog is taken for all of it.",
        [
            Change(
                "hub/router.py",
                "            if time.monotonic() >= until:\n                return False\n        return True\n",
                "            if time.monotonic() >= until:\n                return True\n        return True\n",
            )
        ],
    ),
    "past-the-spool": Bug(
        "What a device sends now passes what the spool has of it.",
        [Change("hub/outbox.py", "if self._spool and self._spool.holds(pending.lane):", "if False:")],
    ),
    "spool-forgets": Bug(
        "The spool removes what it has handed to Kafka, not what Kafka has confirmed.",
        [
            Change(
                "hub/spool.py",
                "        self._flying_bytes += entry.record.cost\n        return True\n",
                "        self._flying_bytes += entry.record.cost\n        self._leave(lane, entry)\n        return True\n",
            ),
            Change(
                "hub/spool.py",
                '            reached("spool.acknowledged")\n            self._leave(lane, entry)\n',
                '            reached("spool.acknowledged")\n',
            ),
        ],
    ),
    "memory-lost": Bug(
        "Whoever takes a partition over does not know which alerts were decided.",
        [
            Change(
                "hub/partition.py",
                "        self._towns.setdefault(entry.town, {}).setdefault(entry.kind, {})[entry.id] = kept\n",
                """\
        if entry.kind != "seen":
            self._towns.setdefault(entry.town, {}).setdefault(entry.kind, {})[entry.id] = kept
""",
            )
        ],
    ),
    "no-generation": Bug(
        "Offsets are sent under the group's name alone, and an owner of the past is not found out.",
        [
            Change(
                "hub/transactions.py",
                "offset in offsets.items()},\n                        group,\n",
                "offset in offsets.items()},\n                        Member.GROUP,\n",
            )
        ],
    ),
}
