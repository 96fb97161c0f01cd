"""The tables of factors and units agree with themselves, and convert exactly."""

from decimal import Decimal

import pytest

from connectors.air.factors import FACTORS, convert, factor_of, units_by_code
from hub.core.errors import Misconfigured
from hub.core.registry import SentUnit


def test_no_name_means_two_factors() -> None:
    names = [name.casefold() for factor in FACTORS for name in {factor.code, *factor.aliases}]
    assert len(names) == len(set(names))
    assert len({factor.name for factor in FACTORS}) == len({factor.name_zh for factor in FACTORS}) == len(FACTORS)


def test_every_factor_has_a_unit_that_converts_and_a_range() -> None:
    for factor in FACTORS:
        assert convert(Decimal(1), factor.unit, factor.unit) == 1
        assert factor.low < factor.high


@pytest.mark.parametrize(
    ("sent", "code"),
    [
        ("a34004", "a34004"), ("A34004", "a34004"), ("PM25", "a34004"), ("pm2.5", "a34004"), ("PM100", "a34001"),
        ("02", "a21026"), ("o31104", "a05024"), ("temp", "a01001"), ("NOIS", "LA"), ("B03", "LA"), ("LEQ", "Leq"),
    ],
)  # fmt: skip
def test_what_stations_call_a_factor(sent: str, code: str) -> None:
    factor = factor_of(sent)
    assert factor is not None
    assert factor.code == code


@pytest.mark.parametrize("sent", ["", "a34999", "DataTime", "Flag", "S01", "2", "1"])
def test_what_the_table_does_not_know(sent: str) -> None:
    assert factor_of(sent) is None


@pytest.mark.parametrize(
    ("number", "unit", "wanted", "expected"),
    [
        ("0.075", "mg/m3", "ug/m3", "75"),
        ("75600", "ng/m3", "ug/m3", "75.6"),
        ("35.2", "µg/m³", "ug/m3", "35.2"),
        ("35.2", "μg/m^3", "ug/m3", "35.2"),
        ("1200", "ug/m3", "mg/m3", "1.2"),
        ("1013.2", "hPa", "kPa", "101.32"),
        ("101325", "Pa", "kPa", "101.325"),
        ("21.5", "degC", "Cel", "21.5"),
        ("21.5", "℃", "Cel", "21.5"),
        ("270", "degree", "deg", "270"),
        ("55", "dB(A)", "dB", "55"),
    ],
)
def test_units_convert_exactly(number: str, unit: str, wanted: str, expected: str) -> None:
    assert convert(Decimal(number), unit, wanted) == Decimal(expected)


@pytest.mark.parametrize(("unit", "wanted"), [("ppb", "ug/m3"), ("kPa", "ug/m3"), ("", "Cel"), ("K", "Cel")])
def test_what_does_not_measure_the_same_does_not_convert(unit: str, wanted: str) -> None:
    assert convert(Decimal(1), unit, wanted) is None


def test_a_scale_too_large_becomes_infinite_and_raises_nothing() -> None:
    converted = convert(Decimal("1e300"), "mg/m3", "ug/m3", Decimal("1e999999"))
    assert converted is not None
    assert converted.is_infinite()


def test_a_register_may_call_a_factor_as_the_station_does() -> None:
    sent = SentUnit("mg/m3", Decimal(1))
    assert units_by_code({"PM25": sent, "a34002": sent}) == {"a34004": sent, "a34002": sent}


@pytest.mark.parametrize(
    ("units", "named"),
    [
        ({"a34994": "ug/m3"}, "no factor is called a34994"),
        ({"a34004": "ugm3"}, "a34004=ugm3 cannot be converted to ug/m3"),
        ({"a21026": "ppb"}, "a21026=ppb cannot be converted"),
        ({"PM25": "ug/m3", "a34004": "ug/m3"}, "a34004: a34004 stands there twice"),
    ],
)
def test_a_register_that_nobody_could_judge_by_is_refused(units: dict[str, str], named: str) -> None:
    with pytest.raises(Misconfigured, match=named):
        units_by_code({name: SentUnit(unit, Decimal(1)) for name, unit in units.items()})
