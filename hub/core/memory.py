"""The entries of a town as text, for the changelog: JSON with sorted keys and no blanks, so that equal entries are equal bytes."""

import json
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

from hub.core.town import KINDS, Entry
from hub.core.watch import Episode, Period, Sample


def to_text(entry: Entry) -> str:
    """The entry as JSON. Its kind is not in it."""
    return json.dumps(asdict(entry), ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False)


def from_text(kind: str, text: str) -> Entry:
    """The entry that `to_text` wrote. Raises KeyError for a kind, TypeError or ValueError for a text that is none of it."""
    fields: dict[str, Any] = json.loads(text)
    if KINDS[kind] is Episode:
        fields["periods"] = tuple(map(_period, fields["periods"]))
    return KINDS[kind](**fields)


def _period(fields: Mapping[str, Any]) -> Period:
    samples = {name: tuple(Sample(**sample) for sample in fields[name]) for name in ("minutes", "realtime")}
    return Period(**{**fields, **samples})
