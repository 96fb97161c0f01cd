"""Percentiles, slopes, growth and the report, by numbers that can be worked out by hand."""

import json
import statistics

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.lang import Text
from tests.load.figures import MIB, Growth, Latency, Report, Table, percentile, slope
from tests.load.soak import remembered

NUMBERS = st.lists(st.floats(-1e6, 1e6), min_size=1, max_size=200)


def test_percentiles_are_values_that_were_there() -> None:
    hundred = range(1, 101)
    assert percentile(hundred, 0.5) == 50
    assert percentile(hundred, 0.99) == 99
    assert percentile(hundred, 1) == 100
    assert percentile([7.0], 0.5) == percentile([7.0], 0.99) == 7.0
    assert percentile([], 0.5) is None


@given(NUMBERS, st.floats(0.01, 1))
def test_so_many_do_not_exceed_a_percentile(values: list[float], share: float) -> None:
    found = percentile(values, share)
    assert found is not None
    assert sum(value <= found for value in values) >= share * len(values) - 1e-9
    assert sum(value < found for value in values) < share * len(values) + 1e-9


def test_a_slope_is_that_of_the_line() -> None:
    assert slope([(x, 3 * x + 5) for x in range(10)]) == pytest.approx(3)
    assert slope([(0, 0), (1, 1), (2, 0), (3, 1)]) == pytest.approx(0.2)
    assert slope([]) == slope([(1, 5)]) == slope([(1, 5), (1, 9)]) == 0


@given(
    st.lists(st.tuples(st.floats(0, 1e4), st.floats(-1e4, 1e4)), min_size=3, max_size=50, unique_by=lambda one: one[0])
)
def test_a_slope_is_that_of_the_library(points: list[tuple[float, float]]) -> None:
    xs, ys = zip(*points, strict=True)
    if max(xs) - min(xs) > 1:
        assert slope(points) == pytest.approx(statistics.linear_regression(xs, ys).slope, abs=1e-6, rel=1e-6)


def test_latency_of_nothing_is_not_known() -> None:
    assert Latency.of([]).cells == [0, None, None, None]
    assert Latency.of(one / 1000 for one in range(1, 101)).cells == [100, 50, 99, 100]


def test_what_rises_after_the_warm_up_grows() -> None:
    warming = [(x, 100 * MIB * min(1, x / 20)) for x in range(20)]
    steady = [*warming, *((x, 100 * MIB) for x in range(20, 60))]
    leaking = [*warming, *((x, 100 * MIB + (x - 20) * MIB) for x in range(20, 60))]
    assert not Growth.of(steady, 1 / 3, 8 * MIB).grows
    leak = Growth.of(leaking, 1 / 3, 8 * MIB)
    assert leak.grows
    assert leak.rise == pytest.approx(39 * MIB)
    assert leak.per_hour == pytest.approx(3600 * MIB)
    assert not Growth.of(leaking, 1 / 3, 40 * MIB).grows
    assert Growth.of([], 1 / 3, 1.0).per_hour == 0


def test_a_report_says_the_same_to_people_and_programs() -> None:
    report = Report("soak", "A title", "Measured now.", figures={"rate": 4.5})
    report.tables.append(Table("Rows", ["a", "b", "c"], [[1, 2.25, None], ["x", 0, "y"]]))
    report.claim(Text("it holds", "成立"), "3 of 3", holds=True)
    assert report.holds
    report.claim(Text("it does not", "不成立"), "0 of 3", holds=False)
    assert not report.holds
    text = report.markdown()
    assert (
        "# A title\n\nMeasured now.\n\n## Rows\n\n| a | b | c |\n| --- | --- | --- |\n| 1 | 2.2 | - |\n| x | 0 | y |\n"
        in text
    )
    assert "- **pass**: it holds (3 of 3)\n- **FAIL**: it does not (0 of 3)\n" in text
    told = json.loads(report.json())
    assert told["command"] == "soak"
    assert told["figures"] == {"rate": 4.5}
    assert told["holds"] is False
    assert [one["holds"] for one in told["claims"]] == [True, False]


def test_only_what_remembers_without_end_may_rise_without_end() -> None:
    """A page that keeps what it should forget would be told from one that fills up only in the first hours."""
    for name, is_endless in (("router-0", True), ("page", False), ("camera", False)):
        assert (remembered(name, 2_000_000) > remembered(name, 1_000_000)) == is_endless
    assert remembered("page", 1_000) == 1_000 * remembered("page", 1) > 0
    assert remembered("camera", 1_000) == 0
