"""Which alert becomes which class of ticket: rules, and the limits of single devices. Pure values; where they are read is `hub.rulebook`."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from functools import cached_property
from hashlib import sha256

from hub.core.events import Version

DIGITS = 16


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One rule. With a `factor` it watches means of readings, without one it takes alerts of its `kind` from devices.

    `limit`: in the factor's canonical unit; a mean above it is over. `period_s`: what one mean covers. `wait_s`: how long after the end of
    a period the station's own mean is waited for before the hub takes one of what it has. `covered`: the share of the period that these
    values must cover (GB 3095-2012, table 4: 45 of 60 minutes). `realtime_s`: how long one realtime value stands for. `clear_after`: clean
    means after which the matter has ended. `quiet_s`: after so many seconds without a word of it an alarm that a device raised has ended, 0: only its
    own end ends it. `urgency`: normal or urgent.
    """

    kind: str
    class_code: str
    class_standard: str
    factor: str
    limit: float
    period_s: int
    wait_s: float
    covered: float
    realtime_s: float
    clear_after: int
    quiet_s: int = 0
    urgency: str = "normal"

    @property
    def period_ms(self) -> int:
        """What one mean covers, ms."""
        return self.period_s * 1000

    @property
    def wait_ms(self) -> int:
        """How long after a period's end it is waited, whole ms."""
        return int(self.wait_s * 1000)


@dataclass(frozen=True)
class Rules:
    """All rules in force, and `limits` of single devices by factor, which go before a rule's own."""

    all: tuple[Rule, ...]
    limits: Mapping[str, Mapping[str, float]]

    @cached_property
    def _by_factor(self) -> Mapping[str, Sequence[Rule]]:
        factors = {rule.factor for rule in self.all if rule.factor}
        return {factor: [rule for rule in self.all if rule.factor == factor] for factor in factors}

    @cached_property
    def _by_kind(self) -> Mapping[str, Rule]:
        return {rule.kind: rule for rule in self.all}

    @cached_property
    def versions(self) -> tuple[Version, ...]:
        """What a journal says of them: two with the same version decide the same."""
        content = [[asdict(rule) for rule in self.all], {device: dict(own) for device, own in self.limits.items()}]
        text = json.dumps(content, sort_keys=True, separators=(",", ":"))
        return (Version(name="rules", version=sha256(text.encode()).hexdigest()[:DIGITS]),)

    def watching(self, factor: str) -> Sequence[Rule]:
        """The rules that watch means of this factor."""
        return self._by_factor.get(factor, ())

    def of(self, kind: str) -> Rule | None:
        """The rule of this kind of alert."""
        return self._by_kind.get(kind)

    def limit(self, rule: Rule, device: str) -> float:
        """What a mean of this device must not be above, in the factor's unit."""
        return self.limits.get(device, {}).get(rule.factor, rule.limit)
