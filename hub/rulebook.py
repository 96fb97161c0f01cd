"""Rules as a file or the settings have them, turned into those the core knows."""

from collections.abc import Iterable

from hub.core.rules import Rule
from hub.settings import RuleSettings, Settings

# GB 3095-2012, table 4, counts an hour of which 45 minutes are there; the station's own mean is waited for ten minutes of an hour; a realtime
# value stands for five.
WAIT_SHARE, REALTIME_SHARE = 6, 12


def own_rules(settings: Settings) -> tuple[Rule, ...] | None:
    """The rules of the settings, which take the place of the registry's; None where there are none."""
    return None if settings.rules is None else rules_of(settings.rules)


def rules_of(tables: Iterable[RuleSettings]) -> tuple[Rule, ...]:
    """As the core knows them, by kind."""
    return tuple(sorted(map(_rule, tables), key=lambda rule: rule.kind))


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
