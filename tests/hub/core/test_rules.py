"""Which rule speaks for what, and whose limit counts."""

from dataclasses import replace

import pytest

from hub.core.rules import Rules
from tests.hub.core.one_town import DEVICE_ALARM, PM10, PM10_OVER, PM25, PM25_OVER, RULES

STRICTER = replace(PM10_OVER, kind="air.pm10.far_over_limit", limit=300)


def test_a_factor_is_watched_by_each_rule_that_names_it_in_their_order() -> None:
    rules = Rules((PM10_OVER, PM25_OVER, STRICTER, DEVICE_ALARM), {})
    assert list(rules.watching(PM10)) == [PM10_OVER, STRICTER]
    assert list(rules.watching(PM25)) == [PM25_OVER]


@pytest.mark.parametrize("factor", ["", "a01001", "A34002", "a34002 "])
def test_other_factors_are_watched_by_none(factor: str) -> None:
    assert list(RULES.watching(factor)) == []


@pytest.mark.parametrize(
    ("kind", "rule"),
    [
        ("air.pm10.over_limit", PM10_OVER),
        ("air.pm25.over_limit", PM25_OVER),
        ("air.device_alarm", DEVICE_ALARM),
        ("air.device_alarm.x", None),
        ("air", None),
        ("", None),
    ],
)
def test_a_kind_of_alert_has_one_rule_or_none(kind: str, rule: object) -> None:
    assert RULES.of(kind) == rule


@pytest.mark.parametrize(
    ("device", "factor_limits", "limit"),
    [
        ("ZA-01", {"ZA-01": {PM10: 120.0}}, 120),
        ("ZA-01", {"ZA-01": {PM10: 0.0}}, 0),
        ("ZA-01", {"ZA-01": {PM25: 60.0}}, 150),
        ("ZA-01", {"ZA-02": {PM10: 120.0}}, 150),
        ("ZA-01", {"ZA-01": {}}, 150),
        ("", {}, 150),
    ],
)
def test_a_devices_own_limit_goes_before_the_rules(
    device: str, factor_limits: dict[str, dict[str, float]], limit: float
) -> None:
    assert Rules(RULES.all, factor_limits).limit(PM10_OVER, device) == limit


def test_without_rules_nothing_is_watched() -> None:
    none = Rules((), {})
    assert (list(none.watching(PM10)), none.of("air.device_alarm")) == ([], None)
    assert len(none.versions) == 1


@pytest.mark.parametrize(
    "other",
    [
        Rules(RULES.all[:2], {}),
        Rules(RULES.all, {"ZA-01": {PM10: 120.0}}),
        *(
            Rules((replace(PM10_OVER, **change), *RULES.all[1:]), {})
            for change in (
                {"kind": "air.pm10.far_over_limit"},
                {"class_code": "08008"},
                {"class_standard": "other"},
                {"factor": PM25},
                {"limit": 151},
                {"period_s": 10},
                {"wait_s": 601},
                {"covered": 0.8},
                {"realtime_s": 61},
                {"clear_after": 3},
            )
        ),
    ],
)
def test_whatever_decides_otherwise_has_another_version(other: Rules) -> None:
    assert other.versions != RULES.versions


def test_the_same_rules_have_the_same_version_however_they_were_read() -> None:
    one = Rules(RULES.all, {"ZA-01": {PM10: 120.0, PM25: 60.0}, "ZA-02": {PM10: 100.0}})
    same = Rules(tuple(map(replace, RULES.all)), {"ZA-02": {PM10: 100.0}, "ZA-01": {PM25: 60.0, PM10: 120.0}})
    assert one.versions == same.versions
    (version,) = one.versions
    assert version.name == "rules"
    assert len(version.version) == 16
    assert int(version.version, 16) >= 0
