"""The rules in force: those of the settings, and the limits of single devices from the register."""

from hub.core.rules import Rule, Rules
from hub.registry import load_devices
from hub.settings import RuleSettings, Settings

FEED = "air"
# GB 3095-2012, table 4, counts an hour of which 45 minutes are there; the station's own mean is waited for ten minutes of an hour; a realtime
# value stands for five.
WAIT_SHARE, REALTIME_SHARE = 6, 12


def load_rules(settings: Settings) -> Rules:
    """Reads the register for the limits; raises Misconfigured."""
    devices = load_devices(settings.devices_csv, FEED).values()
    return Rules(tuple(map(_rule, settings.rules)), {device.id: device.limits for device in devices if device.limits})


def _rule(table: RuleSettings) -> Rule:
    return Rule(
        kind=table.kind,
        class_code=table.class_code,
        class_standard=table.class_standard,
        factor=table.factor,
        limit=table.limit or 0.0,
        period_s=table.period,
        wait_s=table.period / WAIT_SHARE if table.wait is None else table.wait,
        covered=table.covered,
        realtime_s=table.period / REALTIME_SHARE if table.realtime is None else table.realtime,
        clear_after=table.clear_after,
        quiet_s=table.quiet,
        urgency=table.urgency,
    )
