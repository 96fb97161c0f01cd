"""The command line itself: where options may stand, and what a person hears of a folder that cannot be."""

from pathlib import Path

import pytest

from hub.__main__ import main


@pytest.mark.parametrize("before", [True, False])
def test_the_configuration_may_be_named_before_or_after_the_command(
    before: bool, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    missing = ["--config", str(tmp_path / "none.toml")]
    command = ["schemas", "check"]
    assert main([*missing, *command] if before else [*command, *missing]) == 2
    assert "none.toml does not exist" in capsys.readouterr().err


@pytest.mark.parametrize(
    "words", [["--json", "schemas", "check"], ["schemas", "check", "--json"], ["schemas", "--json", "check"]]
)
def test_json_may_stand_anywhere(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert main(words) == 0
    assert capsys.readouterr().out == '{"findings": []}\n'


@pytest.mark.parametrize("command", ["up", "kafka"])
def test_a_folder_that_cannot_be_made_is_one_sentence(
    command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").write_text("")
    assert main([command, "--data", str(tmp_path / "file" / "data")]) == 2
    assert "cannot be made: Not a directory" in capsys.readouterr().err
