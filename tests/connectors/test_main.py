"""The command `python -m connectors`: whose language it speaks, and how it ends."""

import pytest

from connectors.__main__ import main
from connectors.air import serve


def fails_with(error: BaseException, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(*_: object) -> None:
        raise error

    monkeypatch.setattr(serve, "main", fail)


def test_a_defect_is_a_traceback_and_its_own_exit_code(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    fails_with(ZeroDivisionError("a defect"), monkeypatch)
    assert main(["air"]) == 70
    assert "ZeroDivisionError: a defect" in capsys.readouterr().err


def test_an_interrupt_is_no_defect(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    fails_with(KeyboardInterrupt(), monkeypatch)
    assert main(["air"]) == 130
    assert not capsys.readouterr().err


def test_a_connector_that_is_not_there_is_told_in_the_language(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--lang=zh", "water"])
    assert ended.value.code == 2
    assert "错误：没有名为 'water' 的接入程序" in capsys.readouterr().err
