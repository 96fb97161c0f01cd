"""What is wrong with a run beside what the checkers find."""

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from tests.faults.checker import Finding, Stored, Wrong, partition_of
from tests.faults.poison_checker import Poison, Sick
from tests.proof.befall import Fallen
from tests.proof.judge import DEFECT, ENDED, _chance, _of_processes, _Seen
from tests.proof.plan import Fault, Kind
from tests.proof.stage import NOT_ENDED, Stage


def test_a_process_that_does_not_end_in_order_and_one_that_tells_of_a_defect_are_found(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.touch()
    sound = [{"event": "starting"}]
    wrong = [*sound, {"event": "defect", "error": "KeyError"}, {"event": "town quarantined", "town": "410122106"}]
    served = [SimpleNamespace(name=f"router-{n}", log=log, told=lambda n=n: (sound, wrong)[n]) for n in (0, 1)]
    unborn = SimpleNamespace(name="router-2", log=tmp_path / "none")
    ended = [("router-0", 0), ("router-1", 75), ("router-1", NOT_ENDED), ("air", 1)]
    stage = SimpleNamespace(ended=ended, all_served=lambda: served, more=[unborn])
    found = _of_processes(cast("Stage", stage), Poison())
    assert [each[:2] for each in found] == [(ENDED, "router-1"), (ENDED, "air"), *[(DEFECT, "router-1")] * 2]


def test_of_what_was_put_into_the_registry_each_process_tells_and_of_nothing_else(tmp_path: Path) -> None:
    log = tmp_path / "log"
    log.touch()
    refused: list[dict[str, object]] = [
        {"event": "registry version refused", "version": number} for number in (1_000, 1_001, 7)
    ]
    told = [refused[:2], refused[1:], refused[:1]]
    served = [SimpleNamespace(name=f"router-{n}", log=log, told=lambda n=n: told[n]) for n in range(len(told))]
    stage = SimpleNamespace(ended=[], all_served=lambda: served, more=[])
    found = _of_processes(cast("Stage", stage), Poison(versions=frozenset({1_000, 1_001})))
    assert [(name, "7" in detail, "not told" in detail) for _, name, detail in found] == [
        ("router-1", True, False),
        ("router-2", False, True),
    ]


def test_a_quarantine_is_found_unless_it_is_that_of_the_town_whose_memory_was_spoilt_and_after_it(
    tmp_path: Path,
) -> None:
    log = tmp_path / "log"
    log.touch()
    sick, other = "410122106", "410122108"
    began = datetime(2026, 3, 2, 4, tzinfo=UTC)
    since = int(began.timestamp() * 1000)

    def said(event: str, after_s: int, **more: object) -> dict[str, object]:
        return {"event": event, "timestamp": (began + timedelta(seconds=after_s)).isoformat(), **more}

    right = [
        said("town quarantined", 3, town=sick),
        said("entries of no town passed over", 3, partition=partition_of(sick.encode())),
        said("entries of no town passed over", 60, partition=partition_of(sick.encode())),
    ]
    wrong = [
        said("town quarantined", 3, town=other),
        said("town quarantined", -1, town=sick),
        said("town quarantined", 11, town=sick),
        said("entries of no town passed over", 3, partition=partition_of(other.encode())),
    ]
    served = [SimpleNamespace(name="router-0", log=log, told=lambda: [*right, *wrong])]
    stage = SimpleNamespace(ended=[], all_served=lambda: served, more=[])
    poison = Poison(sick=(Sick(sick, since, since + 10_000, since + 20_000),))
    found = _of_processes(cast("Stage", stage), poison)
    assert [json.loads(detail) for _, _, detail in found] == wrong
    assert len(_of_processes(cast("Stage", stage), Poison())) == len(right) + len(wrong)


@pytest.mark.parametrize(
    ("wrong", "kind", "late"),
    [
        (Wrong.OVERTAKEN, Kind.BROKER_KILLED, [7, 8]),
        (Wrong.OVERTAKEN, Kind.ROUTER_KILLED, [7, 8]),
        # What is there already has not come late for the fault; and no router keeps anything from the inputs.
        (Wrong.TOO_SLOW, Kind.BROKER_KILLED, [7]),
        (Wrong.TOO_SLOW, Kind.ROUTER_KILLED, []),
        (Wrong.TOO_SLOW, Kind.CHANGELOG_POISONED, [8]),
        (Wrong.LOST, Kind.BROKER_KILLED, []),
    ],
)
def test_what_a_fault_does_to_a_reading_around_it_is_counted_and_everything_else_is_wrong(
    wrong: Wrong, kind: Kind, late: list[int]
) -> None:
    fallen = [Fallen(Fault(kind, 1.0, 2.0, 0, 0.0), at=100_000, over=103_000)]
    moments = {7: 104_000, 8: 99_000, 9: 90_000, 10: 114_000}
    readings = [Stored("readings", 1, offset, at, b"%d" % offset, (), b"") for offset, at in moments.items()]
    # Of all of them only one town's are sent again.
    poison = Poison(sick=(Sick("8", 90_000, 98_000, 99_500),) if kind is Kind.CHANGELOG_POISONED else ())
    seen = _Seen()
    seen.judged([Finding(wrong, reading.place, "") for reading in readings], _chance(fallen, readings, poison))
    assert seen.late == len(late)
    assert [where for _, where, _ in seen.found] == [f"readings/1/{one}" for one in moments if one not in late]
