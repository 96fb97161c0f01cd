"""The entries of a town as text, for the changelog: JSON with sorted keys and no blanks, so that equal entries are equal bytes."""

import json
from collections.abc import Iterable
from dataclasses import asdict, astuple, fields
from typing import Any

from hub.core.town import KINDS, Entry
from hub.core.watch import Episode, Period, Sample


def to_text(entry: Entry) -> str:
    """The entry as JSON, the values of an episode as lists. Its kind is not in it."""
    written = asdict(entry)
    if isinstance(entry, Episode):
        written["periods"] = [
            [period.start, period.mean, *(list(map(astuple, some)) for some in (period.minutes, period.realtime))]
            for period in entry.periods
        ]
    return json.dumps(written, ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False)


def from_text(kind: str, text: str) -> Entry:
    """The entry that `to_text` wrote. Raises KeyError for a kind, TypeError or ValueError for a text that is none of it."""
    entry = KINDS[kind]
    written: Any = json.loads(text)
    if not isinstance(written, dict) or written.keys() != {field.name for field in fields(entry)}:
        raise ValueError(f"not the fields of {entry.__name__}")
    if entry is Episode:
        written["periods"] = tuple(_period(*period) for period in written["periods"])
    return entry(**written)


def _period(start: int, mean: float | None, minutes: Iterable[Any], realtime: Iterable[Any]) -> Period:
    return Period(start, mean, tuple(Sample(*one) for one in minutes), tuple(Sample(*one) for one in realtime))
