"""The witnesses of the fault tests share no code with what they judge."""

from pathlib import Path

import pytest

from tests.repository.test_imports import ROOT, imports

WITNESSES = sorted(
    path.stem for path in (ROOT / "tests/faults").glob("*checker.py") if not path.stem.startswith("test")
)
PROGRAM = {"hub", "connectors"}


def reached(module: str) -> set[str]:
    """Every module that one imports, also by way of the tests' own."""
    found: set[str] = set()
    waiting = [module]
    while waiting:
        path = ROOT / Path(*waiting.pop().split(".")).with_suffix(".py")
        new = set(imports(path)) - found if path.exists() else set()
        found |= new
        waiting += (name for name in new if name.startswith("tests."))
    return found


@pytest.mark.parametrize("name", WITNESSES)
def test_a_witness_knows_nothing_of_the_program(name: str) -> None:
    found = reached(f"tests.faults.{name}")
    assert "tests.faults.checker" in found or name == "checker"
    assert not {one for one in found if one.partition(".")[0] in PROGRAM}


def test_what_is_imported_by_another_is_seen() -> None:
    assert not any(one.startswith("hub") for one in imports(ROOT / "tests/faults/processes.py"))
    assert "hub.router" in reached("tests.faults.processes")
