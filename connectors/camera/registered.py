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
