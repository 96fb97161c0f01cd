"""What a seed draws."""

from collections import Counter, defaultdict
from itertools import pairwise

import pytest

from tests.proof.plan import MANNERS, NODES, PUSHERS, STATIONS, Family, Kind, plan

SEEDS = range(1, 151)
PLANS = [plan(seed) for seed in SEEDS]


def test_a_seed_repeats_its_faults() -> None:
    assert [plan(seed) for seed in SEEDS] == PLANS
    assert len({str(one.faults) for one in PLANS}) == len(PLANS)


@pytest.mark.parametrize("kind", Kind)
def test_each_kind_of_fault_befalls_all_who_send(kind: Kind) -> None:
    feeds = Counter(one.feeds for one in PLANS if kind in {fault.kind for fault in one.faults})
    assert feeds.keys() == {STATIONS, PUSHERS}


def test_faults_come_alone_and_together() -> None:
    many = Counter(len({fault.family for fault in one.faults}) for one in PLANS)
    alone = [one for one in PLANS if len(one.faults) == 1]
    assert len({one.faults[0].kind for one in alone}) > len(Kind) / 2
    assert many.keys() >= set(range(1, len(Family)))


def test_what_only_a_cluster_has_befalls_a_cluster() -> None:
    assert {one.nodes for one in PLANS} == {1, NODES}
    assert {one.slots for one in PLANS} == {1, 2, 3, 5}
    for one in PLANS:
        for fault in one.faults:
            assert MANNERS[fault.kind].of_three in {None, one.nodes == NODES}, one


def test_of_a_family_one_fault_follows_the_other() -> None:
    for one in PLANS:
        lanes = defaultdict(list)
        for fault in one.faults:
            lanes[one.lane(fault)].append(fault)
        assert not (one.nodes == 1 and Family.NETWORK in lanes), "a single broker is started where clients reach it"
        for faults in lanes.values():
            assert all(after.at_s > before.at_s + before.lasts_s for before, after in pairwise(faults)), one


def test_a_full_disk_meets_a_broker_that_takes_nothing() -> None:
    for one in PLANS:
        for full in (fault for fault in one.faults if fault.kind is Kind.DISK_FULL):
            stopped = [fault for fault in one.faults if fault.kind is Kind.BROKER_STOPPED]
            assert any(
                each.at_s < full.at_s and full.at_s + full.lasts_s <= each.at_s + each.lasts_s for each in stopped
            )
