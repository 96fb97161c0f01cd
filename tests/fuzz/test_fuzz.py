"""Every input that fuzzing begins with, or has found, is survived; and a short run that is led by coverage finds no further one."""

import re
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from tests.fuzz.seeds import SEEDS
from tests.fuzz.targets import TARGETS

ROOT = Path(__file__).parents[2]
SECONDS = 10
FOUND = Path(__file__).parent / "found"


@pytest.mark.parametrize("target", TARGETS)
def test_what_it_begins_with_is_survived(target: str) -> None:
    seeds = list(SEEDS[target]())
    assert len(seeds) >= 10
    assert sum(TARGETS[target](seed) for seed in seeds) >= 10, "not only what is refused"


@pytest.mark.parametrize("target", TARGETS)
def test_what_was_found_is_survived(target: str) -> None:
    for path in sorted((FOUND / target).glob("*")):
        TARGETS[target](path.read_bytes())


@pytest.mark.skipif(find_spec("atheris") is None, reason="atheris has no wheel for this Python or machine")
@pytest.mark.parametrize("target", TARGETS)
@pytest.mark.timeout(90)
def test_nothing_is_found_in_a_while(target: str) -> None:
    run = subprocess.run(
        [sys.executable, "-m", "tests.fuzz", target, "--seconds", str(SECONDS)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        errors="replace",
        timeout=80,
        check=False,
    )
    assert run.returncode == 0, run.stderr[-4000:]
    # It was really led by what the input reaches.
    covered = [int(found) for found in re.findall(r"cov: (\d+)", run.stderr)]
    assert covered[-1] > 50, run.stderr[-1000:]
