"""What can be done to the hub on one machine, under seeds, and what becomes of its promises.

    python -m tests.proof all                all that follows; goes on where it was broken off
    python -m tests.proof run --count 150    as many runs as it takes until so many count
    python -m tests.proof run --seeds 7-9    these
    python -m tests.proof planted            bugs that are put in must be found
    python -m tests.proof recovery           how long a router's death is felt, how fast spool and backlog drain (tests.load)
    python -m tests.proof table --write      the last results, into README.md

A run counts when one of its faults met an answer that a sender waited for, or an open transaction. `--jobs N`: so many runs at once (2), of no more than
three brokers together.
"""

import argparse
import itertools
import json
import logging
import re
import shutil
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from tests.faults.processes import ROOT
from tests.proof import record
from tests.proof.judge import Result, proved
from tests.proof.planted import BUGS, Bug
from tests.proof.pool import Brokers, carried_out, side_by_side

FOLDER, RESULTS = ROOT / ".gridhub/proof", ROOT / record.RESULTS
RUNS, PLANTED, RECOVERY = RESULTS / "runs.jsonl", RESULTS / "planted.jsonl", RESULTS / "recovery.jsonl"
FOUND_WITHIN, COUNTED, JOBS = 20, 150, 2


def main(words: list[str] | None = None) -> int:
    """0: nothing is wrong; 1: a promise was broken, or a planted bug was not found; 2: it could not be tried."""
    parser = argparse.ArgumentParser(
        prog="python -m tests.proof", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    under = parser.add_subparsers(dest="command", required=True)
    run = under.add_parser("run")
    run.add_argument("--seeds", type=_seeds, help="a seed, or the first and the last: 1-150")
    run.add_argument("--count", type=int, help="end when so many runs count")
    one = under.add_parser("one")
    one.add_argument("seed", type=int)
    under.add_parser("all")
    under.add_parser("recovery")
    plant = under.add_parser("planted")
    plant.add_argument("names", nargs="*", metavar="NAME", help=f"of {', '.join(BUGS)}")
    under.add_parser("table").add_argument("--write", action="store_true", help="into README.md")
    for command in (run, plant):
        command.add_argument("--jobs", type=int, default=JOBS, help=f"so many runs at once ({JOBS})")
    options = parser.parse_args(words)
    logging.getLogger("kafka").setLevel(logging.CRITICAL)
    try:
        if options.command != "all":
            does = {"run": _run, "one": _one, "planted": _planted, "recovery": _recovery, "table": _table}
            return does[options.command](options)
        codes = [main(words) for words in (["run", "--count", str(COUNTED)], ["planted"], ["recovery"])]
        return max(*codes, main(["table", "--write"]))
    except (ValueError, RuntimeError) as error:
        print(error, file=sys.stderr)
        return 2


def _seeds(text: str) -> Iterable[int]:
    first, _, last = text.partition("-")
    return range(int(first), int(last or first) + 1)


def _one(options: argparse.Namespace) -> int:
    """Prints the result as a JSON line; what is wrong stands there."""
    print(proved(options.seed, FOLDER).as_json())
    return 0


def _run(options: argparse.Namespace) -> int:
    kept, brokers = record.Record(RUNS, record.Header.of(ROOT), FOLDER), Brokers()

    def todo() -> Iterator[int]:
        for seed in options.seeds or itertools.count(1):
            if options.count and sum(result.counts for result in kept.results) >= options.count:
                return
            if seed not in {result.seed for result in kept.results}:
                yield seed

    for result in side_by_side(todo(), lambda seed: carried_out(seed, ROOT, brokers), options.jobs):
        kept.add(result)
        print(_line(result, kept.results), flush=True)
    return 1 if any(result.findings for result in kept.results) else 0


def _line(result: Result, results: Iterable[Result]) -> str:
    wrong = "; ".join(f"{name}: {where}: {detail}"[:300] for name, where, detail in result.findings[:3])
    counts = sum(each.counts for each in results)
    return f"{result.plan}\n    {result.seconds:.0f} s, {wrong or 'nothing wrong'}; {counts} runs count"


def _planted(options: argparse.Namespace) -> int:
    """Each bug in a copy, under seed after seed until it is found."""
    commit = record.commit_of(ROOT)
    unknown = set(options.names) - BUGS.keys()
    if unknown:
        raise ValueError(f"no such bug: {', '.join(sorted(unknown))}")
    told = {one["name"]: one for one in _told(PLANTED) if one["commit"] == commit}
    names = options.names or [name for name in BUGS if name not in told]
    brokers = Brokers()

    def found(name: str) -> dict[str, Any]:
        return {"commit": commit, "name": name, "says": BUGS[name].says, **_found(BUGS[name], brokers)}

    for one in side_by_side(names, found, options.jobs):
        told[one["name"]] = one
        print(json.dumps(one, ensure_ascii=False), flush=True)
        RESULTS.mkdir(parents=True, exist_ok=True)
        lines = (json.dumps(told[name], ensure_ascii=False) + "\n" for name in BUGS if name in told)
        PLANTED.write_text("".join(lines), encoding="utf-8")
    return 0 if all(one["seed"] for one in told.values()) else 1


def _told(path: Path) -> Iterator[dict[str, Any]]:
    if path.exists():
        yield from map(json.loads, path.read_text(encoding="utf-8").splitlines())


def _found(bug: Bug, brokers: Brokers) -> dict[str, Any]:
    """Under which seed, and what was said; no seed where it was not."""
    with TemporaryDirectory(prefix="gridhub-planted-") as folder:
        copy = Path(folder) / "gridhub"
        shutil.copytree(ROOT, copy, ignore=shutil.ignore_patterns(".git", ".gridhub", "node_modules", "__pycache__"))
        bug.plant(copy)
        for seed in range(1, FOUND_WITHIN + 1):
            if findings := carried_out(seed, copy, brokers).findings:
                return {"seed": seed, "finding": _brief(": ".join(findings[0]))}
    return {"seed": 0, "finding": ""}


def _brief(finding: str) -> str:
    """The first line and the last one. Of a process that has ended it is the last that says why; what is between, a traceback, is of this machine."""
    first, *more = finding.splitlines()
    return f"{first[:200]} ... {more[-1][-200:]}" if more else first[:400]


def _recovery(_options: argparse.Namespace) -> int:
    """Once for a commit."""
    commit = record.commit_of(ROOT)
    if any(one["commit"] == commit for one in _told(RECOVERY)):
        return 0
    command = [sys.executable, "-m", "tests.load", "recovery"]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True, check=False)
    print(done.stdout)
    if done.returncode == 0:
        RESULTS.mkdir(parents=True, exist_ok=True)
        RECOVERY.write_text(json.dumps({"commit": commit, "told": done.stdout}) + "\n", encoding="utf-8")
    return done.returncode


def _table(options: argparse.Namespace) -> int:
    kept = record.read(RUNS)
    if kept is None:
        raise ValueError(f"{RUNS.relative_to(ROOT)} holds no results yet")
    header, results = kept
    planted = [one for one in _told(PLANTED) if one["commit"] == header.commit]
    # Below the heading that they come to stand under.
    recovery = [
        re.sub("^#", "###", one["told"].strip(), flags=re.MULTILINE)
        for one in _told(RECOVERY)
        if one["commit"] == header.commit
    ]
    told = "\n\n".join([record.table(header, results, planted), *recovery])
    if options.write:
        readme = ROOT / "README.md"
        readme.write_text(record.written(readme.read_text(encoding="utf-8"), told), encoding="utf-8")
    else:
        print(told)
    return 0


if __name__ == "__main__":
    sys.exit(main())
