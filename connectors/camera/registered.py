"""What a registry may say of cameras and their alerts: `gridhub check` asks before a version counts."""

from connectors.camera.kinds import KINDS
from hub.core.registry import Device
from hub.core.rules import Rule
from hub.lang import Text


def wrong_with(_device: Device) -> Text | None:
    """Nothing that other devices may have and these may not."""
    return None


def knows(rule: Rule) -> bool:
    """A kind of the table. Those that only [camera] texts name are not known here."""
    return rule.kind in KINDS


def odd_in(rule: Rule) -> Text | None:
    """Most cameras never say that an alarm has ended."""
    if rule.quiet_s:
        return None
    return Text(
        "has no quiet: its ticket stays open where a camera does not tell the end of an alarm, as most do not; quiet = 60 is usual",
        "没有 quiet：多数摄像头不上报报警结束，工单将一直未结；一般设 quiet = 60",
    )
