"""The search for planted values at the end of a run."""

import json
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.planted import MOBILE, PERSON, PLANTED, SENT_ELSEWHERE, leaks, searched

# Not in pytest's own folder, where the end of the run would find it.


@pytest.mark.parametrize("name", ["air.log", "data/log/router.log", "said"])
def test_what_a_log_holds_is_found_with_its_place(name: str) -> None:
    with TemporaryDirectory() as folder:
        path = Path(folder) / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"\xff" + json.dumps({"event": PERSON}).encode() + f"\n{MOBILE}".encode())
        assert leaks(Path(folder)) == [f"{name}: {MOBILE}", f"{name}: {PERSON}"]


@pytest.mark.parametrize("name", ["air.db", "00000000000000000000.log", "00000000000000001042.log"])
def test_what_is_no_log_may_hold_it(name: str) -> None:
    """As the spool, and what Kafka keeps of a partition, whatever it is called."""
    with TemporaryDirectory() as folder:
        (Path(folder) / name).write_text(MOBILE, encoding="utf-8")
        (Path(folder) / "air.log").write_text("{}", encoding="utf-8")
        assert leaks(Path(folder)) == []


def test_a_folder_outside_is_searched_before_it_goes() -> None:
    with pytest.raises(AssertionError, match=f"air.log: {MOBILE}"), searched("gridhub-test-") as folder:
        (folder / "air.log").write_text(MOBILE, encoding="utf-8")
    assert not folder.exists()


def test_values_are_told_apart() -> None:
    values = PLANTED + SENT_ELSEWHERE
    assert not [(one, other) for one in values for other in values if one is not other and one in other]
