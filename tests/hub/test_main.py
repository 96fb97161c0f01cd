"""The command line itself: where options may stand, and what a person hears of a mistake, in which language."""

import shlex
from pathlib import Path

import pytest

from hub.__main__ import _EXAMPLES, _parser, main


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


@pytest.mark.parametrize("words", [["--lang=zh"], ["--lang", "zh"], ["schemas", "--lang=zh"]])
def test_the_language_is_chosen_before_anything_is_said(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([*words, "--help"])
    assert ended.value.code == 0
    help_text = capsys.readouterr().out
    assert "用法：gridhub" in help_text
    assert "界面语言" in help_text


def test_every_example_of_the_help_is_a_command() -> None:
    parser = _parser()
    for words, some in _EXAMPLES.items():
        for rest in some:
            assert parser.parse_args(shlex.split(f"{words} {rest}")).run


@pytest.mark.parametrize(
    ("words", "sentence"),
    [
        (["--lang", "zh"], "gridhub：错误：缺少参数：COMMAND"),
        (["--lang=zh", "schemas", "check", "more"], "gridhub：错误：无法识别的参数：more"),
        (["--lang=zh", "kafka", "--port", "x"], "gridhub kafka：错误：参数 --port：'x' 不是有效的值（int）"),
        (["--lang=zh", "kafka", "--nodes", "2"], "gridhub kafka：错误：参数 --nodes：不能是 2（可选：1, 3）"),
        (["up", "--lang=zh", "--data"], "gridhub up：错误：参数 --data：需要一个值"),
        (["--lang"], "argument --lang: expected one argument"),
    ],
)
def test_a_mistake_on_the_command_line_is_told_in_the_language(
    words: list[str], sentence: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(words)
    assert ended.value.code == 2
    assert sentence in capsys.readouterr().err
