"""Personal data where nobody needs it: numbers and names of people, and number plates, in records, keys, headers, logs and metrics.

A witness from outside: it knows the numbers by their form, and which fields may hold a sender's own words by the published schemas. What hashes and
numbers of machines are made of, could be a person's number by chance: digits in a run of 16 and more hexadecimal ones, of which one is a letter,
tell nothing. Nor do those behind a decimal point.
"""

import csv
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from pathlib import Path
from typing import Any
from urllib.parse import unquote

from tests.faults.checker import Contract, Finding, Stored, Unreadable, Wrong

WORDS: Mapping[str, frozenset[str]] = {
    "alerts.camera": frozenset({"channel_name", "region", "target", "description", "raw_time", "evidence"}),
    "alerts.patrol": frozenset({"spot_no", "event_no", "building_type", "structure", "address", "description"})
    | {"image_before", "image_after", "vendor_status", "geometry", "given_geometry", "photos", "evidence"},
    # For people who look what came; `device` is what a sender calls itself.
    "dead-letters": frozenset({"device", "raw"}),
    # A record of another topic, which is judged there.
    "handed-over": frozenset({"key", "value", "headers"}),
}
"""Fields that hold what a sender wrote, and of which the schemas do not say that it is nothing of a person's. All others hold nothing of the kind."""
TOPICS = (
    *("readings", "alerts.air", "alerts.camera", "alerts.patrol", "handed-over", "dead-letters", "life-signs"),
    *("tickets", "ticket-events", "decisions", "journal"),
)
"""What is read; the registry holds the roster, and the router's memory is read by routers only."""
VEHICLE = "camera.vehicle"
"""A kind of alert of which neither plate, nor description, nor picture is kept."""

_MACHINES = re.compile(r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}|(?=[0-9]*[a-f])[0-9a-f]{16,}", re.IGNORECASE)
_NUMBERS: Mapping[str, re.Pattern[str]] = {
    "a telephone number": re.compile(
        r"(?<![0-9])(?<![0-9]\.)(?:\+?86[- ]?)?1[3-9][0-9](?:[0-9]{8}|([- ])[0-9]{4}\1[0-9]{4})(?![0-9]|\.[0-9])"
        r"|(?<![0-9])0[1-9][0-9]{1,2}-[0-9]{7,8}(?![0-9])"
    ),
    # Region, day of birth, serial number, check digit. Who has written it need not have counted right.
    "an identity card": re.compile(
        r"(?<![0-9])(?<![0-9]\.)[1-8][0-9]{5}(?:18|19|20)[0-9]{2}(?:0[1-9]|1[0-2])(?:0[1-9]|[12][0-9]|3[01])[0-9]{3}[0-9X](?![0-9X])",
        re.IGNORECASE,
    ),
    # Province, office, five letters and digits or six of a new-energy car; a word of letters alone is none.
    "a number plate": re.compile(
        r"[京津沪渝冀豫云辽黑湘皖鲁新苏浙赣鄂桂甘晋蒙陕吉闽贵粤青藏川宁琼使领][A-Z][·. -]?(?=[A-Z]*[0-9])[A-Z0-9]{4,5}[A-Z0-9挂学警港澳]",
        re.IGNORECASE,
    ),
}


def names(folder: Path) -> frozenset[str]:
    """The people on a registry's roster."""
    with (folder / "roster.csv").open(encoding="utf-8-sig", newline="") as file:
        return frozenset(row["name"] for row in csv.DictReader(file))


def findings(
    contract: Contract, records: Iterable[Stored], texts: Mapping[str, str] | None = None, known: Iterable[str] = ()
) -> list[Finding]:
    """All that was found, of which no more than its beginning is told. `texts`: logs and metrics by what has written them. `known`: names that
    tell of a person.
    """
    people = tuple(known)
    found: list[Finding] = []
    for stored in records:
        found += _of_record(contract, stored, people)
    for name, text in (texts or {}).items():
        for number, line in enumerate(text.splitlines(), start=1):
            found += (Finding(Wrong.PERSONAL, f"{name} line {number}", told) for told in personal(line, people))
    return found


@lru_cache(maxsize=100_000)
def personal(text: str, known: tuple[str, ...] = ()) -> tuple[str, ...]:
    """What of a person stands in a text, also where JSON, Python or a URL has written it another way."""
    plain = unquote(re.sub(r"\\u([0-9a-fA-F]{4})", lambda code: chr(int(code[1], 16)), text))
    plain = re.sub(r"(?:\\x[0-9a-fA-F]{2})+", lambda run: _decoded(run[0]), plain)
    told = [f"a name: {name[:1]}***" for name in known if name in plain]
    plain = _MACHINES.sub(" ", plain)
    told += [f"{what}: {one[0][:3]}***" for what, form in _NUMBERS.items() for one in form.finditer(plain)]
    return tuple(told)


def _decoded(escaped: str) -> str:
    """Of bytes that are UTF-8, or of a character."""
    there = bytes.fromhex(escaped.replace("\\x", ""))
    try:
        return there.decode()
    except UnicodeDecodeError:
        return there.decode("latin-1")  # every byte is one


def _of_record(contract: Contract, stored: Stored, known: tuple[str, ...]) -> Iterator[Finding]:
    beside = [("key", stored.key or b""), *((f"header {name}", value) for name, value in stored.headers)]
    said = [(name, value.decode(errors="replace")) for name, value in beside]
    if stored.value is not None:
        try:
            _, fields = contract.decode(stored.value)
        except Unreadable as error:
            yield Finding(Wrong.UNREADABLE, stored.place, str(error))
        else:
            words = WORDS.get(stored.topic, frozenset())
            said += [(name, one) for name, value in fields.items() if name not in words for one in _texts(value)]
            if fields.get("kind") == VEHICLE:
                yield from _of_vehicle(stored, fields)
    for name, text in said:
        for told in personal(text, known):
            yield Finding(Wrong.PERSONAL, stored.place, f"{name} holds {told}")


def _of_vehicle(stored: Stored, fields: Mapping[str, Any]) -> Iterator[Finding]:
    """A camera that reads number plates."""
    for name in ("description", "evidence"):
        if fields.get(name):
            yield Finding(Wrong.PERSONAL, stored.place, f"{name} of a vehicle is kept")
    words = [text for name in WORDS["alerts.camera"] for text in _texts(fields.get(name))]
    for told in (told for text in words for told in personal(text)):
        yield Finding(Wrong.PERSONAL, stored.place, f"an alert of a vehicle holds {told}")


def _texts(value: Any) -> Iterator[str]:
    """Every text in a field."""
    match value:
        case str():
            yield value
        case bytes():
            yield value.decode(errors="replace")
        case dict():
            for one in value.values():
                yield from _texts(one)
        case list():
            for one in value:
                yield from _texts(one)
