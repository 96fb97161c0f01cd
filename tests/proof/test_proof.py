"""The first runs of the proof: what `python -m tests.proof run` goes on with."""

import logging
from collections.abc import Iterator

import pytest

from tests.faults.processes import ROOT
from tests.proof.judge import Result, proved

pytestmark = [pytest.mark.kafka, pytest.mark.slow, pytest.mark.timeout(400)]


@pytest.fixture(scope="module")
def results() -> Iterator[list[Result]]:
    # Whether a fault meets anything is chance, so a run may not count; that none of several does is a flaw of the faults or of what looks at them.
    results: list[Result] = []
    yield results
    assert len(results) < 3 or any(result.counts for result in results)


@pytest.mark.parametrize("seed", range(1, 7))
def test_no_promise_is_broken(seed: int, results: list[Result], caplog: pytest.LogCaptureFixture) -> None:
    # What the client says of brokers that are killed would keep its connections until the test is over.
    with caplog.at_level(logging.CRITICAL, logger="kafka"):
        result = proved(seed, ROOT / ".gridhub/proof")
    print(result.as_json())
    results.append(result)
    assert result.findings == ()
    assert result.faults
