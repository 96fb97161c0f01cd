"""The search for planted values at the end of a run."""

import json
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.planted import MOBILE, PERSON, PLANTED, SENT_ELSEWHERE, leaks

# Not in pytest's own folder, where the end of the run would find it.


@pytest.mark.parametrize("name", ["air.log", "data/log/router.log", "said"])
def test_what_a_log_holds_is_found_with_its_place(name: str) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"\xff" + json.dumps({"event": PERSON}).encode() + f"\n{MOBILE}".encode())
        assert leaks(Path(folder)) == [f"{name}: {MOBILE}", f"{name}: {PERSON}"]


def test_what_is_no_log_may_hold_it() -> None:
    with TemporaryDirectory() as folder:
        (Path(folder) / "air.db").write_text(MOBILE, encoding="utf-8")
        (Path(folder) / "air.log").write_text("{}", encoding="utf-8")
        assert leaks(Path(folder)) == []


def test_values_are_told_apart() -> None:
    values = PLANTED + SENT_ELSEWHERE
    assert not [(one, other) for one in values for other in values if one is not other and one in other]
