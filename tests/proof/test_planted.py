"""Planted bugs are such that the program begins with them; that they are found, `python -m tests.proof planted` shows."""

import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from tests.faults.processes import ROOT
from tests.proof import __main__ as proof
from tests.proof.planted import BUGS, Bug, Change
from tests.proof.pool import Brokers


@pytest.mark.parametrize("name", BUGS)
def test_the_program_with_a_planted_bug_is_a_program(name: str, tmp_path: Path) -> None:
    shutil.copytree(ROOT / "hub", tmp_path / "hub")
    BUGS[name].plant(tmp_path)
    changed = sorted({change.path for change in BUGS[name].changes})
    assert all((tmp_path / path).read_bytes() != (ROOT / path).read_bytes() for path in changed)
    modules = ", ".join(path.removesuffix(".py").replace("/", ".") for path in changed)
    done = subprocess.run(
        [sys.executable, "-c", f"import {modules}"], cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr


def test_a_bug_that_no_longer_fits_the_program_is_refused(tmp_path: Path) -> None:
    (tmp_path / "twice.py").write_text("same\nsame\n", encoding="utf-8")
    for old in ("same\n", "never\n"):
        with pytest.raises(ValueError, match="not once"):
            Bug("says", [Change("twice.py", old, "other\n")]).plant(tmp_path)
    assert (tmp_path / "twice.py").read_text(encoding="utf-8") == "same\nsame\n"


@pytest.mark.parametrize(("tells", "seed"), [(3, 3), (21, 0)])
def test_it_is_found_under_the_first_seed_that_tells(monkeypatch: pytest.MonkeyPatch, tells: int, seed: int) -> None:
    wrong = ("stuck", "not ready: router-1", "router-1: 70\nTraceback:\n  File '/home/me/router.py'\nKeyError: 7")

    def told(under: int, root: Path, _brokers: Brokers) -> SimpleNamespace:
        assert "if False:" in (root / "hub/outbox.py").read_text(encoding="utf-8")
        return SimpleNamespace(findings=(wrong,) if under == tells else ())

    monkeypatch.setattr(proof, "carried_out", told)
    found = proof._found(BUGS["past-the-spool"], Brokers())
    assert found == {
        "seed": seed,
        "finding": "stuck: not ready: router-1: router-1: 70 ... KeyError: 7" if seed else "",
    }
