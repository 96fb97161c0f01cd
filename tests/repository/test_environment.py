"""The set-up of `deploy/start` and `tests/run`: each thing that can be missing is one clear sentence."""

import os
import shutil
import subprocess
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
TOOLS = ("sh", "dirname", "mkdir", "cat", "cksum", "rm", "sleep", "grep", "tail")


def start(tmp_path: Path, environment: dict[str, str]) -> subprocess.CompletedProcess[str]:
    """Runs `deploy/start` in a copy that holds no environment yet."""
    copy = tmp_path / "checkout"
    shutil.copytree(ROOT / "deploy", copy / "deploy")
    shutil.copy(ROOT / "pyproject.toml", copy)
    return subprocess.run(
        ["sh", str(copy / "deploy/start")],
        env={"HOME": str(tmp_path), **environment},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


def tools(tmp_path: Path, python: str) -> str:
    """A PATH with the ordinary tools and a `python3` of our making."""
    folder = tmp_path / "bin"
    folder.mkdir()
    for tool in TOOLS:
        found = shutil.which(tool)
        assert found, tool
        (folder / tool).symlink_to(found)
    (folder / "python3").write_text(f"#!/bin/sh\n{python}\n")
    (folder / "python3").chmod(0o755)
    return str(folder)


@pytest.mark.parametrize(
    ("language", "sentence"),
    [
        ("en_GB.UTF-8", "Python 3.11 or later is needed; found: Python 3.8.1."),
        ("zh_CN.UTF-8", "需要 Python 3.11 或更高版本；现有：Python 3.8.1。"),
    ],
)
def test_too_old_a_python(tmp_path: Path, language: str, sentence: str) -> None:
    path = tools(tmp_path, '[ "$1" = --version ] && echo Python 3.8.1 && exit 0; exit 1')
    ran = start(tmp_path, {"PATH": path, "LANG": language})
    assert (ran.returncode, ran.stderr.strip()) == (2, sentence)


def test_a_python_without_venv(tmp_path: Path) -> None:
    path = tools(tmp_path, 'case "$2" in *ensurepip*) exit 1;; esac; exit 0')
    ran = start(tmp_path, {"PATH": path})
    assert ran.returncode == 2
    assert "apt install python3-venv" in ran.stderr


def test_no_network(tmp_path: Path) -> None:
    # Port 9 (discard) of the loopback address refuses: what a machine without a network does with every address.
    nowhere = {"PIP_INDEX_URL": "http://127.0.0.1:9/simple", "PIP_RETRIES": "0", "PIP_CONFIG_FILE": os.devnull}
    ran = start(tmp_path, {"PATH": os.environ["PATH"], **nowhere})
    assert ran.returncode == 3
    assert "The Python package registry cannot be reached" in ran.stderr.splitlines()[-1]
