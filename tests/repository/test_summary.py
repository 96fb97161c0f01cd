"""The last line of the test command."""

from pathlib import Path

import pytest

from tests.summary import main


def report(tmp_path: Path, *cases: str) -> Path:
    path = tmp_path / "report.xml"
    path.write_text(f"<testsuites><testsuite>{''.join(cases)}</testsuite></testsuites>", encoding="utf-8")
    return path


PASSED = '<testcase classname="a" name="one"/>'
FAILED = '<testcase classname="a" name="two"><failure message="no"/></testcase>'
BROKEN = '<testcase classname="a" name="three"><error message="no"/></testcase>'
SKIPPED = '<testcase classname="a" name="four"><skipped message="needs mosquitto"/></testcase>'


def test_all_passed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(report(tmp_path, PASSED)) == 0
    assert capsys.readouterr().out == "1 passed, 0 failed\n"


def test_failures_errors_and_skips_with_reasons(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(report(tmp_path, PASSED, FAILED, BROKEN, SKIPPED)) == 0
    assert capsys.readouterr().out == "did not run: 1 (needs mosquitto)\n1 passed, 2 failed, 1 skipped\n"


def test_no_report_is_an_error(tmp_path: Path) -> None:
    assert main(tmp_path / "none.xml") == 1
