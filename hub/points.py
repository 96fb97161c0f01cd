"""Points where a crash could break a promise: a hook for tests, which no deployment sets.

`GRIDHUB_KILL_AT=evidence.renamed:2` ends a process with SIGKILL when it reaches this point for the second time (without a number: the first), after one
line on stderr that says so. Nothing is flushed, closed or told by then, as nothing would be. Without the variable a point is a call that does nothing.
"""

import itertools
import json
import os
import signal
from collections.abc import Callable, Mapping

VARIABLE = "GRIDHUB_KILL_AT"
POINTS: Mapping[str, str] = {
    "router.polled": "Records were read, and nothing is decided.",
    "router.decided": "What follows from them is decided, and no transaction is open.",
    "router.begun": "A transaction is open, and nothing is in it.",
    "router.sent": "One more record is handed to it, and others are not.",
    "router.flushed": "All records are in it, and no offsets.",
    "router.offsets": "The offsets are in it, too, and it is not committed.",
    "router.committed": "It is committed, and the memory is as before.",
    "router.adopted": "The memory is as committed.",
    "router.version.seen": "A newer registry is there, and no partition is under it.",
    "router.version.adopted": "One more partition is under it, and others are not.",
    "rebuild.offsets": "The group's offsets are known, and nothing is remembered.",
    "rebuild.reading": "One more entry of the changelog is read.",
    "rebuild.done": "All is remembered, and nothing is worked on.",
    "outbox.accepted": "A message is accepted, and neither Kafka nor the spool has heard of it.",
    "outbox.acknowledged": "Kafka has a message, and its sender is not told.",
    "outbox.fallen_back": "Kafka has not taken a message in time, and the spool has it in memory only.",
    "outbox.spooled": "A message is in the spool, and its sender is not told.",
    "spool.opened": "The file is open and what it holds is counted; nothing of it is on the way.",
    "spool.writing": "What comes and what goes is in a transaction of the file that is not committed.",
    "spool.written": "That is committed, and nobody knows.",
    "spool.handed_on": "An entry is on its way to Kafka.",
    "spool.acknowledged": "Kafka has an entry, which is still in the file.",
    "spool.rescuing": "What can be read of a damaged file is in a transaction of its successor that is not committed.",
    "spool.rescued": "That is committed, and nobody knows that the successor is complete.",
    "spool.moving": "A part of the damaged file is set aside, and its successor has not its place.",
    "import.claimed": "A number is this import's alone, and none of its pieces is there.",
    "import.piece": "One more piece is handed to Kafka.",
    "import.pieces": "All pieces are there, and the version is not.",
    "import.version": "The version is there, and nobody was told.",
    "evidence.written": "A picture is in a draft, which no fsync has confirmed.",
    "evidence.flushed": "The draft is on the disk, and nothing has the picture's name.",
    "evidence.renamed": "The draft has the picture's name, which no fsync has confirmed.",
    "evidence.kept": "The picture and its name are on the disk, and whoever gave it does not know.",
}
"""Every point and what is so there. Each is one call of `reached`, and has a test (`tests/faults/test_points.py`)."""


def _nowhere(_point: str) -> None:
    """No point ends the process."""


def _ends_at(told: str) -> Callable[[str], None]:
    """What ends the process at a point, `told` as `<name>:<n>`. Raises KeyError or ValueError for one that is none."""
    name, _, number = told.partition(":")
    line = json.dumps({"event": "killed at a point", "point": name, "so": POINTS[name]}).encode() + b"\n"
    last, times = int(number or 1), itertools.count(1)

    def ends(point: str) -> None:
        if point == name and next(times) == last:
            os.write(2, line)
            os.kill(os.getpid(), signal.SIGKILL)

    return ends


reached: Callable[[str], None] = _ends_at(os.environ[VARIABLE]) if VARIABLE in os.environ else _nowhere
"""Says that a point of `POINTS` is reached; any thread may."""
