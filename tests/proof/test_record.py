"""The record of a long run, and what is told of it."""

import subprocess
from dataclasses import replace
from pathlib import Path

import pytest

from tests.proof import record
from tests.proof.judge import NOT_READY, STUCK, Result
from tests.proof.record import BEGIN, END, Header, Record

HEADER = Header("0123456789ab", "2 cores", "2026-11-25")
MET = Result(
    seed=7,
    plan="seed 7: air, 1 broker, 1 router; 7.9 s: router killed",
    faults=(("router killed", 0, 1, 900), ("connections reset", 3, 0, 10)),
    messages=1600,
    records=1512,
    decisions=88,
    late=0,
    ended=(75,),
    seconds=60.0,
    findings=(),
)
IDLE = replace(MET, seed=8, faults=(("router killed", 0, 0, 900),))
WRONG = replace(MET, seed=9, findings=(("lost", "a | b", "answered once, 0 records"),))
UNBEGUN = replace(MET, seed=10, faults=(), findings=((STUCK, NOT_READY, "air: 127.0.0.1:1 cannot be used"),))


def test_it_goes_on_where_it_was_broken_off(tmp_path: Path) -> None:
    path = tmp_path / "runs" / "runs.jsonl"
    begun = Record(path, HEADER, tmp_path)
    begun.add(MET)
    begun.add(WRONG)
    with path.open("a", encoding="utf-8") as file:
        file.write(IDLE.as_json()[:40])
    again = Record(path, replace(HEADER, began="2026-11-26"), tmp_path)
    assert again.header == HEADER
    assert again.results == [MET, WRONG]
    again.add(IDLE)
    assert record.read(path) == (HEADER, [MET, WRONG, IDLE])


def test_a_record_is_of_one_commit(tmp_path: Path) -> None:
    path, aside = tmp_path / "runs.jsonl", tmp_path / "aside"
    Record(path, HEADER, aside).add(MET)
    other = replace(HEADER, commit="other")
    assert Record(path, other, aside).results == []
    assert record.read(path) == (other, [])
    assert record.read(aside / "0123456789ab-runs.jsonl") == (HEADER, [MET])


def git(folder: Path, *words: str) -> None:
    subprocess.run(["git", "-c", "user.name=x", "-c", "user.email=x@y", *words], cwd=folder, check=True)


def commit(root: Path, name: str, text: str) -> str:
    """What is tried, after a file is committed."""
    (root / name).parent.mkdir(parents=True, exist_ok=True)
    (root / name).write_text(text, encoding="utf-8")
    git(root, "add", name)
    git(root, "commit", "-q", "-m", name)
    return record.commit_of(root)


def test_what_no_commit_has_is_not_recorded(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="no commit"):
        record.commit_of(tmp_path)
    git(tmp_path, "init", "-q")
    with pytest.raises(ValueError, match="no commit"):
        record.commit_of(tmp_path)
    assert len(commit(tmp_path, "program.py", "1")) == 12
    (tmp_path / "new").touch()
    with pytest.raises(ValueError, match="changes"):
        record.commit_of(tmp_path)


def test_what_results_are_written_into_is_not_what_is_tried(tmp_path: Path) -> None:
    git(tmp_path, "init", "-q")
    tried = commit(tmp_path, "program.py", "1")
    assert commit(tmp_path, "README.md", "the table") == tried
    assert commit(tmp_path, f"{record.RESULTS}/runs.jsonl", "a run") == tried
    (tmp_path / record.RESULTS / "runs.jsonl").write_text("two runs", encoding="utf-8")
    assert record.commit_of(tmp_path) == tried
    assert commit(tmp_path, "program.py", "2") != tried


def test_a_run_counts_when_a_fault_met_something() -> None:
    assert MET.counts
    assert not IDLE.counts


def test_the_table_tells_what_happened_and_what_it_met() -> None:
    told = record.table(HEADER, [MET, IDLE, WRONG])
    assert (
        "2 runs that count, of 3. 4,800 messages, 4,536 records, 264 decisions, 5 faults, 3 minutes. Violations: 1 lost."
        in told
    )
    assert "| connections reset | 2 | 2 | 0 | 0 |" in told
    assert "| router killed | 3 | 0 | 2 | 1 |" in told
    assert "Violations: none." in record.table(HEADER, [MET])


def test_a_run_that_did_not_begin_has_broken_no_promise_and_is_told_of() -> None:
    told = record.table(HEADER, [MET, UNBEGUN])
    assert "1 runs that count, of 2." in told
    assert "Violations: none." in told
    assert (
        "Runs that did not begin, since not all of the hub was ready before anything befell it: 1 (seeds: 10)." in told
    )
    assert "did not begin" not in record.table(HEADER, [MET, WRONG])


def test_the_table_tells_which_planted_bug_was_found_under_which_seed() -> None:
    found = {"name": "sticky", "says": "It sticks.", "seed": 2, "finding": "stuck: a | b\nc"}
    told = record.table(HEADER, [MET], [found, {**found, "says": "It hides.", "seed": 0, "finding": ""}])
    assert "| It sticks. | 2 | stuck: a \\| b c |" in told
    assert "| It hides. | not found |  |" in told


def test_it_is_written_between_its_marks() -> None:
    text = f"before\n{BEGIN}\nold\n{END}\nafter\n"
    assert record.written(text, "new") == f"before\n{BEGIN}\nnew\n{END}\nafter\n"
    with pytest.raises(ValueError, match="no marks"):
        record.written("nothing here", "new")
