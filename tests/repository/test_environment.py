"""The set-up of `deploy/start` and `tests/run`: each thing that can be missing is one clear sentence, an end leaves nobody."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

ROOT = Path(__file__).parents[2]
TOOLS = ("sh", "dirname", "mkdir", "cat", "cksum", "rm", "sleep", "grep", "tail")


def script(tmp_path: Path) -> list[str]:
    """`deploy/start` in a copy that holds no environment yet."""
    copy = tmp_path / "checkout"
    shutil.copytree(ROOT / "deploy", copy / "deploy")
    shutil.copy(ROOT / "pyproject.toml", copy)
    return ["sh", str(copy / "deploy/start")]


def start(tmp_path: Path, environment: dict[str, str], *options: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*script(tmp_path), *options],
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


@pytest.mark.parametrize("options", [["--lang", "zh"], ["--lang=zh"]])
def test_the_language_is_that_of_the_option(tmp_path: Path, options: list[str]) -> None:
    ran = start(tmp_path, {"PATH": tools(tmp_path, "exit 1"), "LANG": "en_GB.UTF-8"}, *options)
    assert "需要 Python 3.11 或更高版本" in ran.stderr


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


def of_the_terminal(shell: psutil.Popen) -> None:
    """Ctrl-C: every process in the foreground hears it."""
    os.killpg(shell.pid, signal.SIGINT)


def of_a_supervisor(shell: psutil.Popen) -> None:
    shell.terminate()


def of_a_lost_line(shell: psutil.Popen) -> None:
    os.killpg(shell.pid, signal.SIGHUP)


@pytest.mark.slow
@pytest.mark.parametrize("end", [of_the_terminal, of_a_supervisor, of_a_lost_line])
def test_an_end_during_the_set_up_leaves_nobody(tmp_path: Path, end: Callable[[psutil.Popen], None]) -> None:
    # A package registry that takes connections and never answers.
    with contextlib.ExitStack() as running:
        silent = running.enter_context(socket.create_server(("127.0.0.1", 0)))
        said = running.enter_context((tmp_path / "said").open("wb"))
        address = f"http://127.0.0.1:{silent.getsockname()[1]}/simple"
        shell = psutil.Popen(
            script(tmp_path),
            env={"HOME": str(tmp_path), "PATH": os.environ["PATH"], "PIP_INDEX_URL": address},
            stdout=said,
            stderr=said,
            start_new_session=True,
            # Whoever runs the tests under nohup, or in the background, hands on signals that no shell can trap.
            preexec_fn=lambda: [signal.signal(one, signal.SIG_DFL) for one in (signal.SIGINT, signal.SIGHUP)],
        )
        family: list[psutil.Process] = []
        try:
            silent.settimeout(60)
            connection, _ = silent.accept()  # pip is at work
            running.callback(connection.close)
            family = shell.children(recursive=True)
            assert any("pip" in process.cmdline() for process in family)
            end(shell)
            assert shell.wait(10) == 130
            assert not psutil.wait_procs(family, timeout=5)[1]
        finally:
            for process in [shell, *family]:
                with contextlib.suppress(psutil.NoSuchProcess):
                    process.kill()
