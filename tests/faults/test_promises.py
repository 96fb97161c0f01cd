"""Whatever the witnesses can find, they have found in a doctored history: the tables of README.md name it, and the tests named there are made to show it."""

import ast
import importlib
import re
from inspect import signature
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from tests.faults import checker, offsets_checker, personal_checker, poison_checker, push_checker, ticket_checker
from tests.faults.checker import Finding, Wrong

HERE = Path(__file__).parent
WITNESSES: dict[str, ModuleType] = {
    "stations": checker,
    "pushes": push_checker,
    "router": ticket_checker,
    "offsets": offsets_checker,
    "poison": poison_checker,
    "persons": personal_checker,
}
"""By the column of the table in which their tests stand."""


class Shown(Exception):
    """The finding that was looked for."""


def rows() -> list[tuple[Wrong, str, str]]:
    """Each test that the table names: what it shows, and in which column it stands."""
    text = (HERE / "README.md").read_text(encoding="utf-8").partition("## What is found, and where that is shown")[2]
    head, _, *lines = re.findall(r"^\|(.+)\|$", text.partition("\n## ")[0], re.MULTILINE)
    columns = [name.strip() for name in head.split("|")]
    found = []
    for line in lines:
        cells = dict(zip(columns, (cell.strip() for cell in line.split("|")), strict=True))
        [kind] = re.findall(r"`(\w+)`", cells["finding"])
        found += [(Wrong(kind), name, test) for name in WITNESSES for test in re.findall(r"`(\w+)`", cells[name])]
    return found


def doctoring(witness: str) -> ModuleType:
    """The module of its tests."""
    return importlib.import_module(f"tests.faults.test_{WITNESSES[witness].__name__.rpartition('.')[2]}")


def test_each_kind_of_finding_is_shown() -> None:
    assert {wrong for wrong, _, _ in rows()} == set(Wrong)


@pytest.mark.parametrize("witness", WITNESSES)
def test_what_a_witness_says_by_itself_is_shown_by_its_own_tests(witness: str) -> None:
    """Each kind that its module speaks of; what it shares with others may be shown elsewhere."""
    tree = ast.parse(Path(WITNESSES[witness].__file__ or "").read_text(encoding="utf-8"))
    own = {
        Wrong[node.attr]
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name) and node.value.id == "Wrong"
    }
    assert own
    assert own <= {wrong for wrong, name, _ in rows() if name == witness}


@pytest.mark.parametrize(("wrong", "witness", "test"), rows(), ids=str)
def test_a_doctored_history_shows_it(wrong: Wrong, witness: str, test: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """The test that is named goes on until the witness finds it."""
    findings = WITNESSES[witness].findings

    def shown(*history: Any, **more: Any) -> list[Finding]:
        found: list[Finding] = findings(*history, **more)
        if any(one.wrong is wrong for one in found):
            raise Shown
        return found

    monkeypatch.setattr(WITNESSES[witness], "findings", shown)
    function = getattr(doctoring(witness), test)
    given: dict[str, Any] = {}
    for mark in getattr(function, "pytestmark", ()):
        names, values = mark.args
        given[names] = values[-1]
    assert given.keys() == signature(function).parameters.keys()
    with pytest.raises(Shown):
        function(**given)
