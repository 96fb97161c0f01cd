"""What a registry may say of stations and their alerts: `gridhub check` asks before a version counts."""

from connectors.air.factors import factor_of, units_by_code
from connectors.air.translate import ALARM_KIND
from hub.core.errors import Misconfigured
from hub.core.registry import Device
from hub.core.rules import Rule
from hub.lang import Text


def wrong_with(device: Device) -> Text | None:
    """Factors and units that the tables do not have: its values would be kept, and judged by nobody."""
    try:
        units_by_code(device.units)
    except Misconfigured as error:
        return Text(f"factor_units: {error}", f"factor_units：{error}")
    for name in device.limits:
        factor = factor_of(name)
        if factor is None or factor.code != name:
            en, zh = ("", "") if factor is None else (f"; write {factor.code}", f"；请写 {factor.code}")
            return Text(f"limits: no factor has the code {name}{en}", f"limits：没有代码为 {name} 的因子{zh}")
    return None


def knows(rule: Rule) -> bool:
    """A rule watches a factor of the table, or takes the alarms of stations."""
    factor = factor_of(rule.factor)
    return rule.kind == ALARM_KIND if not rule.factor else factor is not None and factor.code == rule.factor


def odd_in(_rule: Rule) -> Text | None:
    """Nothing."""
    return None
