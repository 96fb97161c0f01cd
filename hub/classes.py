"""Classes of matters and components, as versioned tables: the standard's own, older lists beside it, local extensions (`classes.csv`).

A code counts only together with its standard and its kind: 01001 is a manhole cover among the components and its fault among their faults, and
a bare `0102` means one thing in a list of 2007 and another in one of 2013. Never guessed: the rule or the source names its standard.
"""

import csv
from collections.abc import Mapping
from functools import cache
from pathlib import Path

MATTER, COMPONENT, COMPONENT_FAULT = "matter", "component", "component_fault"


@cache
def _table() -> Mapping[tuple[str, str, str], str]:
    text = (Path(__file__).parent / "classes.csv").read_text(encoding="utf-8")
    return {(row["standard"], row["kind"], row["code"]): row["name"] for row in csv.DictReader(text.splitlines())}


def name(standard: str, kind: str, code: str) -> str | None:
    """The Chinese name of a class (`GB/T 47678.5-2026`, `matter`, `08004`: 工地扬尘); None for one that the table does not have."""
    return _table().get((standard, kind, code))


def title(standard: str, code: str) -> str:
    """The name of a ticket's class: a matter, or the fault of a component; the code itself where the table has neither."""
    return name(standard, MATTER, code) or name(standard, COMPONENT_FAULT, code) or code
