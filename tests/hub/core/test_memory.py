"""What the changelog says of an entry is what the entry was."""

import json
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hub.core import memory, tickets
from hub.core.cases import Case
from hub.core.town import KINDS, Clock, Entry, Seen
from hub.core.watch import Episode, Period, Sample
from tests.hub.core.one_town import PM10, PM10_OVER, TOWN, at, opens

HOUR = Period(
    at("10:00"),
    None,
    (Sample(at("10:00"), 60_000, 150.1), Sample(at("10:01"), 60_000, 1e-9)),
    (Sample(at("10:00:30"), 60_000, 0.1 + 0.2),),
)
OPEN = opens(PM10_OVER, TOWN, "站点|1", PM10, "an alert", at("11:00"), 7)
CASES: list[tuple[str, Entry]] = [
    ("town", Clock()),
    ("town", Clock(at("10:00"), 12, at("11:10"), at("12:00"))),
    ("episode", Episode()),
    ("episode", Episode(at("09:00"), (HOUR, Period(at("11:00"), 151.0)), OPEN.id, 1)),
    ("ticket", OPEN),
    ("ticket", tickets.cleared(tickets.updated(OPEN, at("12:00"), 8), at("13:00"), 9)),
    ("seen", Seen(at("10:00"), "站点|1", "")),
    ("case", Case("xunjian", "WJ1", None, None, "GCJ02", 113.92, 34.69, "", at("10:00"), OPEN.id)),
]


@pytest.mark.parametrize(("kind", "entry"), CASES)
def test_an_entry_comes_back_as_it_was(kind: str, entry: Entry) -> None:
    back = memory.from_text(kind, memory.to_text(entry))
    assert back == entry
    assert type(back) is type(entry)
    assert memory.to_text(back) == memory.to_text(entry)
    hash(back)  # as unchangeable as before: tuples, no lists


@pytest.mark.parametrize(("kind", "entry"), CASES)
def test_the_text_is_sorted_json_without_blanks(kind: str, entry: Entry) -> None:
    del kind
    text = memory.to_text(entry)
    assert text == json.dumps(json.loads(text), sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def test_each_kind_is_tried() -> None:
    assert {kind for kind, _ in CASES} == set(KINDS)


def test_equal_entries_are_equal_bytes() -> None:
    read = memory.from_text("ticket", memory.to_text(OPEN))
    assert memory.to_text(read) == memory.to_text(OPEN) == memory.to_text(replace(OPEN))


times = st.integers(-(10**12), 10**14)
samples = st.builds(Sample, times, st.integers(0, 10**8), st.floats(allow_nan=False, allow_infinity=False))
periods = st.builds(
    Period,
    times,
    st.none() | st.floats(allow_nan=False, allow_infinity=False),
    st.lists(samples, max_size=4).map(tuple),
    st.lists(samples, max_size=4).map(tuple),
)
texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
remembered: st.SearchStrategy[tuple[str, Entry]] = st.one_of(
    st.tuples(
        st.just("episode"),
        st.builds(Episode, times, st.lists(periods, max_size=3).map(tuple), texts, st.integers(0, 99)),
    ),
    st.tuples(st.just("seen"), st.builds(Seen, times, texts, texts)),
    st.tuples(st.just("town"), st.builds(Clock, times, st.integers(0, 10**14), st.none() | times, st.none() | times)),
)


@settings(deadline=None, database=None, derandomize=True, max_examples=150)
@given(remembered)
def test_any_entry_comes_back_as_it_was(case: tuple[str, Entry]) -> None:
    kind, entry = case
    text = memory.to_text(entry)
    assert memory.from_text(kind, text) == entry
    assert memory.to_text(memory.from_text(kind, text)) == text
    assert text.encode().decode() == text


@pytest.mark.parametrize("kind", ["", "Town", "partition", "episodes"])
def test_a_kind_that_is_none_is_a_key_error(kind: str) -> None:
    with pytest.raises(KeyError):
        memory.from_text(kind, "{}")


@pytest.mark.parametrize(
    ("kind", "text"),
    [
        ("town", ""),
        ("town", "{"),
        ("town", "null"),
        ("town", "7"),
        ("town", '{"hour":1}'),
        ("seen", "{}"),
        ("seen", "[]"),
        ("ticket", "{}"),
        ("ticket", '{"id":"x"}'),
        ("episode", "null"),
        ("episode", "[]"),
        ("episode", "{}"),
        ("episode", '{"periods":[{"start":1}]}'),
        ("episode", '{"periods":[{"minutes":[{"start":1}],"realtime":[],"start":1}]}'),
        ("episode", '{"periods":7}'),
        ("town", '{"now":"1","seq":0,"due":null,"forget_at":null}'),
        ("town", '{"now":1,"seq":true,"due":null,"forget_at":null}'),
        ("town", '{"now":1,"seq":0,"due":1.5,"forget_at":null}'),
        ("seen", '{"now":1,"device":null,"ticket":""}'),
        ("episode", '{"decided":1,"periods":[[1,"151",[],[]]],"ticket":"","clean":0,"heard":0}'),
        ("episode", '{"decided":1,"periods":[[1,NaN,[],[]]],"ticket":"","clean":0,"heard":0}'),
        ("episode", '{"decided":1,"periods":[[1,null,[[1,2,"x",""]],[]]],"ticket":"","clean":0,"heard":0}'),
        ("town", '{"now":253402300800000,"seq":0,"due":null,"forget_at":null}'),
        ("town", '{"now":-253402300800000,"seq":0,"due":null,"forget_at":null}'),
        ("episode", '{"decided":1,"periods":[[1,1e999,[],[]]],"ticket":"","clean":0,"heard":0}'),
        ("ticket", memory.to_text(OPEN).replace('"alerts":1', '"alerts":"1"')),
    ],
)
def test_a_text_that_is_none_is_a_type_or_value_error(kind: str, text: str) -> None:
    with pytest.raises((TypeError, ValueError)):
        memory.from_text(kind, text)
