"""Prints, from pytest's report, why tests did not run and, as the last line, how many passed, failed and were skipped."""

import sys
from collections import Counter
from pathlib import Path
from xml.etree import ElementTree as ET


def main(report: Path) -> int:
    """Reads a JUnit file; an error while setting a test up or taking it down counts as failed. 1 without a readable report."""
    try:
        cases = list(ET.parse(report).iter("testcase"))  # noqa: S314 - pytest wrote it
    except (OSError, ET.ParseError) as error:
        print(f"no test report: {error}")
        return 1
    failed: set[tuple[str | None, str | None]] = set()
    skipped: Counter[str] = Counter()
    for case in cases:
        if case.find("failure") is not None or case.find("error") is not None:
            failed.add((case.get("classname"), case.get("name")))
        elif (skip := case.find("skipped")) is not None:
            skipped[skip.get("message") or "no reason given"] += 1
    names = {(case.get("classname"), case.get("name")) for case in cases}
    for reason, count in sorted(skipped.items()):
        print(f"did not run: {count} ({reason})")
    counts = f"{len(names) - len(failed) - skipped.total()} passed, {len(failed)} failed"
    print(f"{counts}, {skipped.total()} skipped" if skipped else counts)
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
