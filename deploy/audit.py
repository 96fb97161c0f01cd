"""Asks whether anything that is locked has a known vulnerability: `.gridhub/test/bin/python deploy/audit.py`.

0: all was checked, nothing is known. 1: something is known, told by package. 3: not checked, or not all of it, and why. pip-audit itself ends
with 0 where its service knows none of the packages, so each must have been looked at, and one that is known to be vulnerable found.
"""

import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hub.command import DONE, FINDING, UNAVAILABLE, choose_language
from hub.lang import say

LOCKS = tuple(Path(__file__).parent / "lock" / name for name in ("run.txt", "test.txt"))
# Not locked, and with a vulnerability that every service has known since 2020 (CVE-2020-1747).
KNOWN_NAME, KNOWN_VERSION = "pyyaml", "5.3"
# By id, why it does not concern this program.
ACCEPTED: Mapping[str, str] = {}
WITHIN_S = 300
# With the system's certificates, as pip has them: a proxy's may be among them.
PIP_AUDIT = "import truststore; truststore.inject_into_ssl(); from pip_audit._cli import audit; audit()"


@dataclass(frozen=True, slots=True)
class Report:
    """What was found. `vulnerable`: ids by package. `unchecked`: why a package, or all of it, could not be looked at."""

    checked: int
    vulnerable: Mapping[str, Sequence[str]]
    unchecked: Sequence[str]


def locked(lock: Path) -> list[str]:
    """name==version [; marker] of each requirement."""
    return re.findall(r"^([\w.-]+==[^\\\n]+?) *\\?$", lock.read_text(encoding="utf-8"), re.MULTILINE)


def ask(requirements: Sequence[str]) -> tuple[str, str]:
    """pip-audit's answer as JSON, or nothing; and what it complained of."""
    with tempfile.TemporaryDirectory() as folder:
        wanted = Path(folder) / "requirements.txt"
        wanted.write_text("\n".join(requirements) + "\n", encoding="utf-8")
        known = Path(folder) / "known.txt"
        known.write_text(f"{KNOWN_NAME}=={KNOWN_VERSION}\n", encoding="utf-8")
        options = ["--disable-pip", "--no-deps", "--format=json", "--desc=off", "--progress-spinner=off"]
        try:
            ran = subprocess.run(  # noqa: S603 - this Python with words of ours
                [sys.executable, "-c", PIP_AUDIT, *options, "-r", str(wanted), "-r", str(known)],
                capture_output=True,
                text=True,
                timeout=WITHIN_S,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return "", f"no answer within {WITHIN_S} s"
    complaints = [line for line in ran.stderr.splitlines() if line.strip()]
    return ran.stdout, complaints[-1] if complaints else f"pip-audit ended with {ran.returncode}"


def judge(answer: str, complaint: str) -> Report:
    """What an answer says, and what it does not."""
    try:
        found: list[dict[str, Any]] = json.loads(answer)["dependencies"]
    except (ValueError, KeyError):
        return Report(0, {}, [complaint])
    vulnerable: dict[str, list[str]] = {}
    unchecked: list[str] = []
    checked = 0
    knows = False
    for one in found:
        ids = sorted({str(each["id"]) for each in one.get("vulns", [])} - ACCEPTED.keys())
        if one["name"].lower() == KNOWN_NAME:
            knows = bool(ids)
        elif "skip_reason" in one:
            unchecked.append(str(one["skip_reason"]))
        else:
            checked += 1
            if ids:
                vulnerable[f"{one['name']} {one['version']}"] = ids
    if not knows:
        unchecked.append(f"the service does not know what is wrong with {KNOWN_NAME} {KNOWN_VERSION}")
    return Report(checked, vulnerable, unchecked)


def tell(report: Report) -> int:
    """In words; the exit code."""
    for package, ids in report.vulnerable.items():
        say(f"known vulnerability: {package}: {', '.join(ids)}", f"已知漏洞：{package}：{', '.join(ids)}")
    if report.unchecked:
        count = len(report.unchecked)
        say(
            f"NOT CHECKED for known vulnerabilities: {report.unchecked[0]}"
            + (f" (and {count - 1} more)" if count > 1 else ""),
            f"未检查已知漏洞：{report.unchecked[0]}" + (f"（另有 {count - 1} 项）" if count > 1 else ""),
        )
    else:
        say(f"{report.checked} packages were checked for known vulnerabilities.", f"已检查 {report.checked} 个软件包。")
    if report.vulnerable:
        return FINDING
    return UNAVAILABLE if report.unchecked else DONE


def main() -> int:
    choose_language(sys.argv[1:])
    # A version for another Python is looked at too; twice with one name is a mistake to pip-audit, so each has its turn.
    rounds: list[dict[str, str]] = []
    for requirement in dict.fromkeys(one.partition(" ;")[0] for lock in LOCKS for one in locked(lock)):
        name = requirement.partition("==")[0]
        free = next((one for one in rounds if name not in one), None)
        if free is None:
            rounds.append(free := {})
        free[name] = requirement
    reports = [judge(*ask(list(one.values()))) for one in rounds]
    return tell(
        Report(
            sum(one.checked for one in reports),
            {package: ids for one in reports for package, ids in one.vulnerable.items()},
            list(dict.fromkeys(why for one in reports for why in one.unchecked)),
        )
    )


if __name__ == "__main__":
    sys.exit(main())
