"""What the runs came to, in a file that a long run goes on with after a break, and as a table for people."""

import json
import platform
import shutil
import subprocess
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import psutil

from tests.proof.judge import Result

RESULTS = "tests/proof/results"
TRIED = (":/", ":(exclude,top)README.md", f":(exclude,top){RESULTS}")
BEGIN, END = "<!-- what the proof shows, written by python -m tests.proof table -->", "<!-- end of the proof -->"


@dataclass(frozen=True, slots=True)
class Header:
    """The first line of a record: what was tried, where, and when it began."""

    commit: str
    machine: str
    began: str

    @classmethod
    def of(cls, root: Path) -> "Header":
        """Raises ValueError where the folder has changes that no commit has."""
        return cls(commit_of(root), machine(), datetime.now(UTC).strftime("%Y-%m-%d"))


def commit_of(root: Path) -> str:
    """The last one that changed what is tried: all but what results are written into. Raises ValueError where there is none, or what is there is
    something else.
    """

    def git(*words: str) -> str:
        done = subprocess.run(["git", *words], cwd=root, capture_output=True, text=True, check=False)
        if done.returncode:
            raise ValueError(f"what is here is no commit: git {' '.join(words)} says {done.stderr.strip()}")
        return done.stdout.strip()

    if git("status", "--porcelain", "--", *TRIED):
        raise ValueError("there are changes that no commit has: a record is of one commit")
    if commit := git("log", "-1", "--format=%h", "--abbrev=12", "--", *TRIED):
        return commit
    raise ValueError("what is here is no commit")


def machine() -> str:
    """In a few words."""
    gib = psutil.virtual_memory().total / 2**30
    return f"{psutil.cpu_count()} cores, {gib:.0f} GiB, {platform.system()}, Python {platform.python_version()}"


class Record:
    """JSON lines: a header, then one line for each run. A line that a kill has torn is none, and its run is made again."""

    def __init__(self, path: Path, header: Header, aside: Path) -> None:
        """Goes on with what is there; where that is of another commit, it is put into the folder `aside`, and a new one begun."""
        self._path = path
        self.header, self.results = read(path) or (header, [])
        if self.header.commit != header.commit:
            aside.mkdir(parents=True, exist_ok=True)
            shutil.move(path, aside / f"{self.header.commit}-{path.name}")
            self.header, self.results = header, []
        lines = (asdict(self.header), *map(asdict, self.results))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text("".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines), encoding="utf-8")

    def add(self, result: Result) -> None:
        """Kept when it returns, but for a loss of power."""
        self.results.append(result)
        with self._path.open("a", encoding="utf-8") as file:
            file.write(result.as_json() + "\n")


def read(path: Path) -> tuple[Header, list[Result]] | None:
    """What a record holds; None where there is none yet."""
    *lines, _torn = path.read_text(encoding="utf-8").split("\n") if path.exists() else [""]
    if not lines:
        return None
    header, *results = map(json.loads, lines)
    return Header(**header), list(map(Result.of, results))


# ---- for people


def table(header: Header, results: Sequence[Result], planted: Sequence[Mapping[str, Any]] = ()) -> str:
    """Markdown. `planted`: name, what it says, seed and finding of each planted bug (no seed: it was not found)."""
    counting = [result for result in results if result.counts]
    wrong = Counter(finding[0] for result in results if result.has_begun for finding in result.findings)
    unbegun = [result.seed for result in results if not result.has_begun]
    many = {
        "messages": sum(result.messages for result in results),
        "records": sum(result.records for result in results),
        "decisions": sum(result.decisions for result in results),
        "faults": sum(len(result.faults) for result in results),
        "minutes": round(sum(result.seconds for result in results) / 60),
    }
    said = (
        f"{header.began}, commit `{header.commit}`, {header.machine}: {len(counting)} runs that count, of {len(results)}."
        f" {', '.join(f'{count:,} {name}' for name, count in many.items())}."
        f" Violations: {', '.join(f'{count} {name}' for name, count in wrong.most_common()) or 'none'}."
        f" Routers that ended because Kafka's client brought nothing: {sum(result.silent for result in results)}."
    )
    if unbegun:
        seeds = ", ".join(map(str, unbegun))
        said += f" Runs that did not begin, since not all of the hub was ready before anything befell it: {len(unbegun)} (seeds: {seeds})."
    lines = [
        said,
        "",
        "| fault | happened | met answers that were waited for | met an open transaction | met neither |",
        "|---|---:|---:|---:|---:|",
        *_of_faults(results),
    ]
    if planted:
        lines += ["", "| planted bug | found under seed | as |", "|---|---:|---|"]
        lines += [f"| {one['says']} | {one['seed'] or 'not found'} | {_cell(one['finding'])} |" for one in planted]
    return "\n".join(lines)


def _of_faults(results: Iterable[Result]) -> Iterable[str]:
    happened: dict[str, list[tuple[bool, bool]]] = {}
    for result in results:
        for kind, answers, transactions, _ in result.faults:
            happened.setdefault(kind, []).append((answers > 0, transactions > 0))
    for kind, met in sorted(happened.items()):
        columns = (
            len(met),
            sum(one for one, _ in met),
            sum(one for _, one in met),
            sum(one == (False, False) for one in met),
        )
        yield f"| {kind} | " + " | ".join(map(str, columns)) + " |"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")


def written(text: str, told: str) -> str:
    """A document with the table between its marks. Raises ValueError where it has none."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise ValueError(f"no marks to write between: {BEGIN} and {END}")
    return f"{before}{BEGIN}\n{told}\n{END}{after}"
