"""What is made of measurements: percentiles, slopes, claims that hold or do not, and the report as Markdown and as JSON. Pure."""

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field

from hub.lang import Text

MIB = 1024 * 1024
HOUR_S = 3600.0
Cell = str | int | float | None


def percentile(values: Iterable[float], share: float) -> float | None:
    """The least value that at least `share` (above 0, at most 1) of all do not exceed (nearest rank); None of nothing."""
    ordered = sorted(values)
    return ordered[math.ceil(share * len(ordered)) - 1] if ordered else None


def slope(points: Sequence[tuple[float, float]]) -> float:
    """By how much the second number rises for each 1 of the first, by least squares; 0.0 where the first does not differ."""
    if not points:
        return 0.0
    mean_x = sum(x for x, _ in points) / len(points)
    mean_y = sum(y for _, y in points) / len(points)
    spread = sum((x - mean_x) ** 2 for x, _ in points)
    return sum((x - mean_x) * (y - mean_y) for x, y in points) / spread if spread else 0.0


@dataclass(frozen=True, slots=True)
class Latency:
    """Of `count` times, seconds; None where there are none."""

    count: int
    p50: float | None
    p99: float | None
    most: float | None

    @classmethod
    def of(cls, seconds: Iterable[float]) -> "Latency":
        """Of these."""
        some = list(seconds)
        return cls(len(some), percentile(some, 0.5), percentile(some, 0.99), max(some, default=None))

    @property
    def cells(self) -> list[Cell]:
        """As a table shows it, milliseconds."""
        return [self.count, *(None if one is None else round(one * 1000) for one in (self.p50, self.p99, self.most))]


@dataclass(frozen=True, slots=True)
class Growth:
    """What the samples of one quantity do after the warm-up: `rise` is the fitted line's, over `span_s` seconds; `allowed`: what it may be."""

    level: float
    rise: float
    span_s: float
    allowed: float

    @classmethod
    def of(cls, samples: Sequence[tuple[float, float]], warm_up: float, allowed: float) -> "Growth":
        """`samples`: moment (s) and value, of which the first share `warm_up` is left out."""
        kept = samples[math.ceil(len(samples) * warm_up) :]
        if not kept:
            return cls(0.0, 0.0, 0.0, allowed)
        span_s = kept[-1][0] - kept[0][0]
        return cls(sum(value for _, value in kept) / len(kept), slope(kept) * span_s, span_s, allowed)

    @property
    def per_hour(self) -> float:
        """The rise in an hour, if it went on so."""
        return self.rise * HOUR_S / self.span_s if self.span_s else 0.0

    @property
    def grows(self) -> bool:
        """More than it may."""
        return self.rise > self.allowed


@dataclass(frozen=True, slots=True)
class Claim:
    """What is promised, whether it held, and by what that was seen."""

    what: str
    holds: bool
    seen: str


@dataclass(frozen=True, slots=True)
class Table:
    """Rows under a heading."""

    title: str
    head: Sequence[str]
    rows: Sequence[Sequence[Cell]]

    def markdown(self) -> str:
        """With a bar between cells; what is not known is a dash."""
        lines = [list(self.head), ["---"] * len(self.head), *([_cell(one) for one in row] for row in self.rows)]
        return "\n".join([f"## {self.title}", "", *(f"| {' | '.join(line)} |" for line in lines)])


@dataclass(slots=True)
class Report:
    """What a command has measured. `figures`: the same and more, for programs."""

    command: str
    title: str
    about: str
    tables: list[Table] = field(default_factory=list)
    claims: list[Claim] = field(default_factory=list)
    figures: dict[str, object] = field(default_factory=dict)

    @property
    def holds(self) -> bool:
        """Whether every claim does."""
        return all(claim.holds for claim in self.claims)

    def claim(self, what: Text, seen: str, *, holds: bool) -> None:
        """One more."""
        self.claims.append(Claim(str(what), holds, seen))

    def markdown(self) -> str:
        """For people."""
        parts = [f"# {self.title}", self.about, *(table.markdown() for table in self.tables)]
        if self.claims:
            words = {True: str(Text("pass", "通过")), False: str(Text("FAIL", "未通过"))}
            lines = [f"- **{words[claim.holds]}**: {claim.what} ({claim.seen})" for claim in self.claims]
            parts.append("\n".join([f"## {Text('Verdict', '结论')}", "", *lines]))
        return "\n\n".join(parts) + "\n"

    def json(self) -> str:
        """For programs."""
        whole: Mapping[str, object] = {
            "command": self.command,
            "holds": self.holds,
            "claims": [asdict(claim) for claim in self.claims],
            "figures": self.figures,
        }
        return json.dumps(whole, ensure_ascii=False, indent=1) + "\n"


def _cell(value: Cell) -> str:
    if value is None:
        return "-"
    return f"{value:.1f}" if isinstance(value, float) else str(value)
