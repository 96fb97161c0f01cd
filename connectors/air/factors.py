"""The tables of what stations measure: codes, names, canonical units, what is physically sensible, and how units convert.

Codes: HJ 212-2017 tables B.2 and B.3, HJ 524-2009 (a05024); aliases: numeric codes of HJ/T 212-2005 and what boxes really send. The
canonical unit is the one GB 3095 states limits in, which is not always the unit of HJ 212 (there PM2.5 is in ng/m3).
"""

from collections.abc import Mapping
from dataclasses import dataclass
from decimal import Context, Decimal

from hub.core.errors import Misconfigured
from hub.core.registry import SentUnit
from hub.lang import Text


@dataclass(frozen=True, slots=True)
class Factor:
    """One measured quantity. `low` and `high`, in `unit`, bound what can be true anywhere, not what is allowed."""

    code: str
    name: str
    name_zh: str
    unit: str
    low: int
    high: int
    aliases: tuple[str, ...] = ()


FACTORS = (
    Factor("a34004", "PM2.5", "细颗粒物", "ug/m3", 0, 3000, ("PM25", "PM2.5")),
    Factor("a34002", "PM10", "可吸入颗粒物", "ug/m3", 0, 5000, ("PM10",)),
    Factor("a34001", "total suspended particles", "总悬浮颗粒物", "ug/m3", 0, 10000, ("TSP", "PM100")),
    Factor("a34005", "PM1", "亚微米颗粒物", "ug/m3", 0, 3000, ("PM1",)),
    Factor("a34013", "smoke dust", "烟尘", "mg/m3", 0, 10000, ("01",)),
    Factor("a21026", "sulfur dioxide", "二氧化硫", "ug/m3", 0, 5000, ("02", "SO2")),
    Factor("a21004", "nitrogen dioxide", "二氧化氮", "ug/m3", 0, 5000, ("NO2",)),
    Factor("a21003", "nitric oxide", "一氧化氮", "ug/m3", 0, 5000, ("NO",)),
    Factor("a21002", "nitrogen oxides", "氮氧化物", "ug/m3", 0, 10000, ("03", "NOX")),
    Factor("a21005", "carbon monoxide", "一氧化碳", "mg/m3", 0, 200, ("04", "CO")),
    Factor("a05024", "ozone", "臭氧", "ug/m3", 0, 2000, ("O3", "o31104")),
    Factor("a24088", "non-methane hydrocarbons", "非甲烷总烃", "mg/m3", 0, 1000, ("NMHC",)),
    Factor("a99054", "total volatile organic compounds", "总挥发性有机物", "mg/m3", 0, 1000, ("TVOC", "VOC")),
    Factor("a21001", "ammonia", "氨", "ug/m3", 0, 50000, ("NH3",)),
    Factor("a21028", "hydrogen sulfide", "硫化氢", "ug/m3", 0, 50000, ("H2S",)),
    Factor("a01001", "temperature", "温度", "Cel", -60, 70, ("TEM", "TEMP")),
    Factor("a01002", "relative humidity", "湿度", "%", 0, 100, ("RH", "HUMI")),
    Factor("a01006", "pressure", "气压", "kPa", 40, 110),
    Factor("a01007", "wind speed", "风速", "m/s", 0, 90, ("WS",)),
    Factor("a01008", "wind direction", "风向", "deg", 0, 360, ("WD",)),
    Factor("LA", "sound level", "A声级", "dB", 0, 150, ("a50001", "B03", "NOIS")),
    Factor("Leq", "equivalent sound level", "等效声级", "dB", 0, 150),
    Factor("L5", "sound level exceeded 5 % of the time", "累积百分声级L5", "dB", 0, 150),
    Factor("L10", "sound level exceeded 10 % of the time", "累积百分声级L10", "dB", 0, 150),
    Factor("L50", "sound level exceeded 50 % of the time", "累积百分声级L50", "dB", 0, 150),
    Factor("L90", "sound level exceeded 90 % of the time", "累积百分声级L90", "dB", 0, 150),
    Factor("L95", "sound level exceeded 95 % of the time", "累积百分声级L95", "dB", 0, 150),
    Factor("Ldn", "day-night sound level", "昼夜等效声级", "dB", 0, 150),
    Factor("Ld", "sound level by day", "昼间等效声级", "dB", 0, 150),
    Factor("Ln", "sound level by night", "夜间等效声级", "dB", 0, 150),
    Factor("LMx", "greatest sound level", "最大声级", "dB", 0, 150),
    Factor("LMn", "least sound level", "最小声级", "dB", 0, 150),
)

_BY_NAME = {name.casefold(): factor for factor in FACTORS for name in (factor.code, *factor.aliases)}


def factor_of(name: str) -> Factor | None:
    """The factor a station means by `name`, whatever its case; None where the table does not know it."""
    return _BY_NAME.get(name.casefold())


# What one of each unit is in the first unit of its row. ppb and ppm are missing on purpose: without temperature and pressure of the
# sample they are no mass concentration.
_UNITS = (
    {"ug/m3": "1", "ng/m3": "0.001", "mg/m3": "1000", "g/m3": "1000000"},
    {"kPa": "1", "hPa": "0.1", "mbar": "0.1", "Pa": "0.001", "mmHg": "0.133322387415"},
    {"Cel": "1", "degC": "1", "℃": "1", "°C": "1", "C": "1"},
    {"%": "1", "%RH": "1"},
    {"m/s": "1", "km/h": f"{Decimal(1) / Decimal('3.6')}"},
    {"deg": "1", "degree": "1", "°": "1"},
    {"dB": "1", "dB(A)": "1", "dBA": "1"},
)
_SIZES = {unit: (row, Decimal(size)) for row, units in enumerate(_UNITS) for unit, size in units.items()}

# Traps nothing: a number too large becomes infinite, which the caller sees.
_ARITHMETIC = Context(prec=28, traps=[])


def convert(number: Decimal, unit: str, wanted: str, scale: Decimal = Decimal(1)) -> Decimal | None:
    """`number` * `scale`, from `unit` into `wanted`; None where the two do not measure the same. Raises nothing; may be infinite.

    Decimal, so that 0.075 mg/m3 is 75 ug/m3 and not 75.00000000000001.
    """
    scaled = _ARITHMETIC.multiply(number, scale)
    if unit == wanted:
        return scaled
    given, target = _SIZES.get(_plain(unit)), _SIZES.get(wanted)
    if given is None or target is None or given[0] != target[0]:
        return None
    return _ARITHMETIC.divide(_ARITHMETIC.multiply(scaled, given[1]), target[1])


def units_by_code(units: Mapping[str, SentUnit]) -> dict[str, SentUnit]:
    """A device's units by the codes of the table, whatever its row calls the factors.

    Raises Misconfigured for a factor or a unit the tables do not have, or two names of one factor: such a row would be read over in
    silence, and the device's values judged by nobody.
    """
    by_code: dict[str, SentUnit] = {}
    for name, sent in units.items():
        factor = factor_of(name)
        if factor is None:
            raise Misconfigured(str(Text(f"no factor is called {name}", f"没有名为 {name} 的因子")))
        if convert(Decimal(), sent.unit, factor.unit) is None:
            raise Misconfigured(
                str(
                    Text(
                        f"{name}={sent.unit} cannot be converted to {factor.unit}",
                        f"{name}={sent.unit} 无法换算为 {factor.unit}",
                    )
                )
            )
        if factor.code in by_code:
            raise Misconfigured(
                str(Text(f"{name}: {factor.code} stands there twice", f"{name}：{factor.code} 出现两次"))
            )
        by_code[factor.code] = sent
    return by_code


def _plain(unit: str) -> str:
    """The many ways to write a micro sign and a cubic metre, as one."""
    for written, plain in (("µ", "u"), ("μ", "u"), ("³", "3"), ("^3", "3")):
        unit = unit.replace(written, plain)
    return unit
