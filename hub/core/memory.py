"""The entries of a town as text, for the changelog: JSON with sorted keys and no blanks, so that equal entries are equal bytes."""

import json
from collections.abc import Iterable
from dataclasses import asdict, astuple, fields
from functools import cache
from math import isfinite
from typing import Any, get_args, get_origin, get_type_hints

from hub.core.town import KINDS, Entry
from hub.core.watch import Episode, Period, Sample

# The last millisecond of the year 9999 UTC. Nothing that is counted comes near it.
LATEST_MS = 253_402_300_799_999


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
    """The entry that `to_text` wrote. Raises KeyError for a kind, TypeError, ValueError or RecursionError for a text that is none of it."""
    entry = KINDS[kind]
    written: Any = json.loads(text, parse_constant=_no_number)
    if not isinstance(written, dict) or written.keys() != {field.name for field in fields(entry)}:
        raise ValueError(f"not the fields of {entry.__name__}")
    if entry is Episode:
        written["periods"] = tuple(_period(*period) for period in written["periods"])
    made = entry(**written)
    _check(made)
    return made


def _period(start: int, mean: float | None, minutes: Iterable[Any], realtime: Iterable[Any]) -> Period:
    period = Period(start, mean, tuple(Sample(*one) for one in minutes), tuple(Sample(*one) for one in realtime))
    for one in (period, *period.minutes, *period.realtime):
        _check(one)
    return period


def _check(made: Any) -> None:
    """That each value is of its type, and a number one that may stand in a record: else it would fail later, in whatever is decided then. Raises
    TypeError, ValueError.
    """
    made_as: Any = type(made)
    for name, types in _types(made_as):
        value = getattr(made, name)
        if type(value) not in types:
            raise TypeError(f"{made_as.__name__}.{name} is a {type(value).__name__}")
        if (type(value) is int and abs(value) > LATEST_MS) or (type(value) is float and not isfinite(value)):
            raise ValueError(f"{made_as.__name__}.{name} is out of range")


@cache
def _types(made: Any) -> tuple[tuple[str, frozenset[type]], ...]:
    """Which types the value of each field may have; JSON writes 1.0 as 1.0, but others need not."""
    found = []
    for name, hint in get_type_hints(made).items():
        types = {get_origin(hint)} if get_origin(hint) is tuple else set(get_args(hint)) or {hint}
        found.append((name, frozenset(types | ({int} if float in types else set()))))
    return tuple(found)


def _no_number(name: str) -> float:
    raise ValueError(f"{name} is no number")
