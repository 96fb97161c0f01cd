"""`deploy/audit.py`: a vulnerability is named, and what nobody looked at is never told as sound."""

import json
import re
from pathlib import Path

import pytest

from deploy import audit
from deploy.audit import Report, judge, locked, tell

KNOWN = {"name": "PyYAML", "version": "5.3", "vulns": [{"id": "PYSEC-2020-176"}]}
SOUND = {"name": "aiohttp", "version": "3.14.5", "vulns": []}
BROKEN = {"name": "jinja2", "version": "3.1.6", "vulns": [{"id": "PYSEC-1"}, {"id": "GHSA-2"}]}
SKIPPED = {"name": "yarl", "skip_reason": "not found: yarl"}


def answered(*dependencies: object) -> Report:
    return judge(json.dumps({"dependencies": dependencies, "fixes": []}), "")


def said(report: Report, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    return tell(report), capsys.readouterr().err


def test_all_was_checked(capsys: pytest.CaptureFixture[str]) -> None:
    assert said(answered(KNOWN, SOUND), capsys) == (0, "1 packages were checked for known vulnerabilities.\n")


def test_a_vulnerability_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    code, words = said(answered(KNOWN, SOUND, BROKEN), capsys)
    assert code == 1
    assert "known vulnerability: jinja2 3.1.6: GHSA-2, PYSEC-1\n" in words


def test_an_accepted_one_does_not_count(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(audit, "ACCEPTED", {"PYSEC-1": "of a function that is not called"})
    assert answered(KNOWN, BROKEN).vulnerable == {"jinja2 3.1.6": ["GHSA-2"]}


@pytest.mark.parametrize(
    "report",
    [
        pytest.param(answered(KNOWN, SOUND, SKIPPED), id="a package that the service does not have"),
        pytest.param(answered(SOUND), id="nothing about the known one"),
        pytest.param(answered({**KNOWN, "vulns": []}, SOUND), id="a service without vulnerabilities"),
        pytest.param(answered({"name": "pyyaml", "skip_reason": "not found"}, SOUND), id="the known one not found"),
        pytest.param(judge("", "ConnectionError: no route"), id="no service"),
        pytest.param(judge("{}", "half an answer"), id="half an answer"),
    ],
)
def test_what_was_not_checked_is_told_so(report: Report, capsys: pytest.CaptureFixture[str]) -> None:
    code, words = said(report, capsys)
    assert code == 3
    assert words.startswith("NOT CHECKED for known vulnerabilities: ")
    assert "were checked" not in words


def test_a_vulnerability_counts_also_where_others_were_not_checked(capsys: pytest.CaptureFixture[str]) -> None:
    code, words = said(answered(BROKEN, SKIPPED), capsys)
    assert code == 1
    assert "known vulnerability: jinja2" in words
    assert "NOT CHECKED" in words


@pytest.mark.parametrize("lock", audit.LOCKS, ids=lambda lock: lock.name)
def test_every_locked_package_is_asked_about(lock: Path) -> None:
    text = lock.read_text(encoding="utf-8")
    found = [one.partition(" ;")[0] for one in locked(lock)]
    assert len(found) == text.count("==") - len(re.findall(r"[<>=]='|== '", text))
    assert len(set(found)) == len(found)
    assert audit.KNOWN_NAME not in {one.partition("==")[0] for one in found}
