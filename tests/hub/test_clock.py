"""What time it is while this machine's clock jumps, told by acknowledgements that come soon, late or not at all."""

import random

import pytest

from hub.clock import CLOCKS_DIFFER_S, Clock

MS, S = 1_000_000, 1_000_000_000
BEGAN = 1_772_416_800 * S
HOUR_S, DAY_S = 3_600, 86_400
JUMPS_S = (HOUR_S, -HOUR_S, DAY_S, -DAY_S)


class Machine:
    """A machine and its broker: time passes for both, and the machine's clock is off by `off` ns."""

    def __init__(self, off_s: float = 0) -> None:
        self.off = int(off_s * S)
        self._steady = 50 * S
        self.clock = Clock(lambda: self.broker + self.off, lambda: self._steady)

    @property
    def broker(self) -> int:
        return BEGAN + self._steady

    def passes(self, seconds: float) -> None:
        self._steady += int(seconds * S)

    def acknowledged(self, on_the_way_s: float = 0.003, on_the_way_back_s: float = 0.003) -> None:
        """One record is sent, appended, and its acknowledgement heard."""
        sent = self.clock.steady()
        self.passes(on_the_way_s)
        at = self.broker // MS
        self.passes(on_the_way_back_s)
        self.clock.appended(sent, at)

    def wrong_ms(self) -> int:
        """How far it is from the broker's time."""
        return self.clock.now() - self.broker // MS


@pytest.mark.parametrize("jump_s", JUMPS_S)
def test_a_jump_after_an_acknowledgement_has_no_effect(jump_s: int) -> None:
    machine = Machine()
    machine.acknowledged()
    machine.off += jump_s * S
    assert machine.wrong_ms() == 0
    assert machine.clock.ahead_s == pytest.approx(jump_s)
    machine.passes(20)
    assert machine.wrong_ms() == 0
    machine.off = 0
    assert machine.wrong_ms() == 0
    assert machine.clock.ahead_s == pytest.approx(0)


@pytest.mark.parametrize("jump_s", JUMPS_S)
def test_until_an_acknowledgement_it_is_the_machines_time(jump_s: int) -> None:
    machine = Machine()
    machine.off += jump_s * S
    assert machine.clock.ahead_s is None
    assert machine.wrong_ms() == jump_s * 1000
    machine.acknowledged()
    assert abs(machine.wrong_ms()) <= 6
    assert machine.clock.ahead_s == pytest.approx(jump_s, abs=0.01)


@pytest.mark.parametrize("late_s", [30, 600])
@pytest.mark.parametrize(("before_s", "after_s"), [(1, 0), (0, 1)], ids=["sent late", "heard late"])
def test_a_late_acknowledgement_takes_no_clock_for_a_wrong_one(late_s: int, before_s: int, after_s: int) -> None:
    machine = Machine(off_s=5)
    machine.acknowledged(late_s * before_s, late_s * after_s)
    assert machine.wrong_ms() == 5_000, "the first one"
    assert abs(machine.clock.ahead_s or 0) < CLOCKS_DIFFER_S
    machine.acknowledged()
    machine.acknowledged(late_s * before_s, late_s * after_s)
    assert machine.clock.ahead_s == pytest.approx(5, abs=0.01), "and what is known stays"


def test_a_late_acknowledgement_of_a_wrong_clock_is_made_good_by_the_next() -> None:
    machine = Machine(off_s=DAY_S)
    machine.acknowledged(1, 30)
    assert abs(machine.wrong_ms()) <= 31_001
    machine.acknowledged()
    assert abs(machine.wrong_ms()) <= 7


def test_a_clock_that_is_a_little_off_counts_and_is_told() -> None:
    machine = Machine(off_s=-(CLOCKS_DIFFER_S - 1))
    machine.acknowledged()
    assert machine.wrong_ms() == -59_000
    machine.off -= 2 * S
    assert machine.wrong_ms() == -61_000, "no jump"
    machine.off -= int(CLOCKS_DIFFER_S) * S
    assert abs(machine.wrong_ms()) <= 7


def test_where_both_have_agreed_and_only_the_brokers_clock_jumps_this_machines_counts() -> None:
    """Also that of one broker of several, which acknowledges between the others."""
    machine = Machine()
    machine.acknowledged()
    for jump_s in (DAY_S, 0, -DAY_S, HOUR_S):
        sent = machine.clock.steady()
        machine.passes(0.006)
        machine.clock.appended(sent, (machine.broker + jump_s * S) // MS)
        assert machine.wrong_ms() == 0
        assert round(machine.clock.ahead_s or 0) == -jump_s, "it is told all the same"


def test_at_the_limit_nothing_goes_back_and_forth() -> None:
    machine = Machine(off_s=CLOCKS_DIFFER_S - 0.01)
    for on_the_way_s in (0.02, 0.001, 0.03, 0.001):
        machine.acknowledged(on_the_way_s, 0.04 - on_the_way_s)
        assert machine.wrong_ms() in (59_989, 59_990)


def test_who_never_agreed_goes_by_the_broker_and_who_agrees_again_by_its_own() -> None:
    machine = Machine(off_s=DAY_S)
    machine.acknowledged()
    assert abs(machine.wrong_ms()) <= 7
    machine.off = 3 * S
    machine.acknowledged()
    assert machine.wrong_ms() == 3_000


@pytest.mark.parametrize("seed", range(50))
def test_whatever_comes_after_the_first_acknowledgement_it_is_never_off(seed: int) -> None:
    chance = random.Random(seed)
    machine = Machine(off_s=chance.choice([0, *JUMPS_S]))
    machine.acknowledged()
    for _ in range(100):
        match chance.randrange(3):
            case 0:
                machine.off = int(chance.choice([0, 0.5, *JUMPS_S]) * S)
            case 1:
                machine.passes(chance.expovariate(1 / 60))
            case _:
                machine.acknowledged(*(chance.choice([0.002, 30]) * chance.random() for _ in range(2)))
        assert abs(machine.wrong_ms()) <= 510
