"""What a registry may say of patrols and their alerts: `gridhub check` asks before a version counts."""

from connectors.patrol.translate import KIND
from hub.core.registry import Device
from hub.core.rules import Rule
from hub.lang import Text


def wrong_with(_device: Device) -> Text | None:
    """Nothing that other devices may have and these may not."""
    return None


def knows(rule: Rule) -> bool:
    """There is one kind."""
    return rule.kind == KIND


def odd_in(_rule: Rule) -> Text | None:
    """Nothing."""
    return None
