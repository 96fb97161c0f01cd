"""The chain of duty: worker, head, second head, centre; never nobody."""

from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hub.core.registry import Grid, Person, Registry, Role
from hub.core.roster import Chain, Owner

GRIDS = (
    Grid(id="G1", name="", kind="base", village="V1"),
    Grid(id="G2", name="", kind="base", village="V1"),
    Grid(id="G3", name="", kind="special", village="V2"),
)


def at(day: int) -> int:
    return int(datetime(2026, 3, day, tzinfo=UTC).timestamp() * 1000)


def duty(person: str, role: Role, area: str, begins: int | None = None, ends: int | None = None) -> Person:
    return Person(
        id=person,
        name=person,
        role=role,
        area=area,
        begins=None if begins is None else at(begins),
        ends=None if ends is None else at(ends),
    )


PEOPLE = (
    duty("w3", Role.WORKER, "G1"),
    duty("w2", Role.WORKER, "G1", begins=10, ends=20),
    duty("w1", Role.WORKER, "G1", begins=15, ends=16),
    duty("w9", Role.WORKER, "G2", ends=5),
    duty("h1", Role.HEAD, "G2", begins=3, ends=10),
    duty("s1", Role.SECOND_HEAD, "V1", ends=25),
    duty("w4", Role.WORKER, "G9"),
)
CHAIN = Chain(Registry(grids=GRIDS, people=PEOPLE))


@pytest.mark.parametrize(
    ("grid", "day", "owner"),
    [
        ("G1", 1, Owner("worker", "w3")),
        ("G1", 10, Owner("worker", "w2")),
        ("G1", 15, Owner("worker", "w1")),
        ("G1", 16, Owner("worker", "w2")),
        ("G1", 20, Owner("worker", "w3")),
        ("G2", 4, Owner("worker", "w9")),
        # `ends` is where the duty no longer counts.
        ("G2", 5, Owner("head", "h1")),
        ("G2", 10, Owner("second_head", "s1")),
        ("G2", 24, Owner("second_head", "s1")),
        ("G2", 25, Owner("centre", "")),
        ("G3", 1, Owner("centre", "")),
        ("G7", 1, Owner("centre", "")),
        ("", 1, Owner("centre", "")),
    ],
)
def test_who_answers(grid: str, day: int, owner: Owner) -> None:
    assert CHAIN.owner(grid, at(day)) == owner


def test_nobody_answers_for_everything_by_accident() -> None:
    """A duty whose area is empty is no duty of every grid without a village."""
    chain = Chain(Registry(people=(duty("s1", Role.SECOND_HEAD, "V1"),)))
    assert chain.owner("G1", at(1)) == Owner("centre", "")
    assert Chain(Registry()).owner("G1", at(1)) == Owner("centre", "")


def test_the_moment_decides_to_the_millisecond() -> None:
    assert CHAIN.owner("G2", at(5) - 1).person == "w9"
    assert CHAIN.owner("G2", at(3) - 1).person == "w9"
    assert CHAIN.owner("G1", at(10) - 1).person == "w3"


@given(st.permutations(PEOPLE), st.permutations(GRIDS), st.sampled_from(["G1", "G2", "G3"]), st.integers(1, 30))
def test_the_order_of_the_roster_does_not_matter(people: list[Person], grids: list[Grid], grid: str, day: int) -> None:
    assert Chain(Registry(grids=tuple(grids), people=tuple(people))).owner(grid, at(day)) == CHAIN.owner(grid, at(day))
