"""The command `python -m connectors`: whose language it speaks, and how it ends."""

import sys
from importlib import import_module
from pathlib import Path

import pytest

import connectors
from connectors.__main__ import main
from connectors.air import serve
from hub.dead_letters import way_of


def fails_with(error: BaseException, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(serve, "main", fail)


def test_a_defect_is_a_traceback_and_its_own_exit_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fails_with(ZeroDivisionError("a defect"), monkeypatch)
    assert main(["air"]) == 70
    said = capsys.readouterr().err
    assert said.splitlines()[-1] == "ZeroDivisionError"
    assert "in fail" in said


def test_an_interrupt_is_no_defect(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    fails_with(KeyboardInterrupt(), monkeypatch)
    assert main(["air"]) == 130
    assert not capsys.readouterr().err


def test_a_new_folder_is_all_it_takes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The command, the settings and the replay of its letters find it; nothing has it on a list."""
    folder = tmp_path / "water"
    folder.mkdir()
    for name, text in {
        "__init__": "",
        "settings": "from pydantic import BaseModel\n\n\nclass WaterSettings(BaseModel):\n    depth: int = 1\n",
        "serve": (
            "from connectors.water.settings import WaterSettings\n"
            "from hub.settings import section\n\n"
            "heard = []\n\n\n"
            "def main(settings):\n    heard.append(section(settings, 'water', WaterSettings).depth)\n"
        ),
        "replay": "def replay(letter, settings, registry, outbox):\n    return []\n",
    }.items():
        (folder / f"{name}.py").write_text(text)
    (tmp_path / "hub.toml").write_text("[water]\ndepth = 7\n")
    monkeypatch.setattr(connectors, "__path__", [*connectors.__path__, str(tmp_path)])
    assert main(["water", "--config", str(tmp_path / "hub.toml")]) == 0
    assert import_module("connectors.water.serve").heard == [7]
    assert way_of("water") is import_module("connectors.water.replay").replay
    for name in [one for one in sys.modules if one.startswith("connectors.water")]:
        del sys.modules[name]


def test_a_connector_that_is_not_there_is_told_in_the_language(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--lang=zh", "water"])
    assert ended.value.code == 2
    assert "错误：没有名为 'water' 的接入程序" in capsys.readouterr().err
