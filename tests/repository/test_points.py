"""The points of `hub/points.py` and their calls are the same list; the pure core has none."""

import ast
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from signal import SIGKILL

import pytest

from hub.points import POINTS, VARIABLE

ROOT = Path(__file__).parents[2]


def calls(source: str) -> Iterator[str]:
    """The point of each call of `reached`; how it is written, where that is no name of a point."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name) and node.func.id == "reached":
            yield ast.literal_eval(node.args[0]) if isinstance(node.args[0], ast.Constant) else ast.unparse(node)


def test_every_point_is_one_call_and_every_call_a_point() -> None:
    files = [*ROOT.glob("hub/**/*.py"), *ROOT.glob("connectors/**/*.py")]
    found = sorted(point for path in files for point in calls(path.read_text(encoding="utf-8")))
    assert found == sorted(POINTS)


def test_a_call_that_names_no_point_is_seen() -> None:
    assert list(calls("reached('b.c')\nif x:\n    reached(name)")) == ["b.c", "reached(name)"]


def ran(program: str, told: str | None) -> subprocess.CompletedProcess[str]:
    """A program, with the variable set or without."""
    environment = {name: value for name, value in os.environ.items() if name != VARIABLE}
    environment |= {} if told is None else {VARIABLE: told}
    return subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
    )


@pytest.mark.parametrize(
    ("told", "code", "times"),
    [
        (None, 0, 3),
        ("evidence.written", -SIGKILL, 0),
        ("evidence.written:3", -SIGKILL, 2),
        ("evidence.written:4", 0, 3),
        ("evidence.renamed", 0, 3),
        ("evidence.unknown", 1, 0),
        ("evidence.written:soon", 1, 0),
    ],
)
def test_a_process_ends_at_a_point_when_it_is_told_so(told: str | None, code: int, times: int) -> None:
    program = "from hub.points import reached\nfor _ in range(3): reached('evidence.written'); print('on', flush=True)"
    process = ran(program, told)
    assert (process.returncode, process.stdout.count("on")) == (code, times)
    assert ('"point": "evidence.written"' in process.stderr) == (code == -SIGKILL)
