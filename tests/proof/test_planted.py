"""Planted bugs are such that the program begins with them; that they are found, `python -m tests.proof planted` shows."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from tests.faults.processes import ROOT
from tests.proof.__main__ import _found
from tests.proof.planted import BUGS, Bug, Change


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


@pytest.mark.parametrize(
    ("code", "findings", "seed"), [(0, [], 0), (1, [["lost", "station 7", "gone"]], 3), (1, [], None)]
)
def test_a_copy_that_could_not_be_tried_is_no_bug_that_was_not_found(
    monkeypatch: pytest.MonkeyPatch, code: int, findings: list[list[str]], seed: int | None
) -> None:
    """`seed`: what is told; None: nothing can be."""
    done = subprocess.CompletedProcess([], code, stdout=json.dumps({"seed": 3, "findings": findings}))
    monkeypatch.setattr("tests.proof.__main__.shutil.copytree", lambda *_, **__: None)
    monkeypatch.setattr("tests.proof.__main__.subprocess.run", lambda *_, **__: done)
    if seed is None:
        with pytest.raises(ValueError, match="could not be tried"):
            _found(Bug("says", []))
    else:
        assert _found(Bug("says", []))["seed"] == seed
