"""The first runs of the proof: what `python -m tests.proof run` goes on with."""

import logging

import pytest

from tests.faults.processes import ROOT
from tests.proof.judge import proved

pytestmark = [pytest.mark.kafka, pytest.mark.slow, pytest.mark.timeout(400)]


@pytest.mark.parametrize("seed", range(1, 7))
def test_no_promise_is_broken(seed: int, caplog: pytest.LogCaptureFixture) -> None:
    # What the client says of brokers that are killed would keep its connections until the test is over.
    with caplog.at_level(logging.CRITICAL, logger="kafka"):
        result = proved(seed, ROOT / ".gridhub/proof")
    print(result.as_json())
    assert result.findings == ()
    assert result.faults
    assert result.counts
