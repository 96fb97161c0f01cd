"""Whose a place is, read from the registry's files by itself: cells by ray casting, then the chain of duty. Shares no code with the hub."""

import csv
import json
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

Ring = Sequence[Sequence[float]]


@dataclass(frozen=True)
class Duties:
    """Cells (id, duty grid, polygons of rings), the village of each grid, and rows of the roster (role, area, person, from, to)."""

    cells: tuple[tuple[str, str, tuple[tuple[Ring, ...], ...]], ...] = ()
    village: dict[str, str] | None = None
    roster: tuple[tuple[str, str, str, str, str], ...] = ()

    @classmethod
    def read(cls, folder: Path) -> "Duties":
        """From map.geojson and roster.csv."""
        features = json.loads((folder / "map.geojson").read_text(encoding="utf-8"))["features"]
        cells, village = [], {}
        for feature in features:
            about, drawn = feature["properties"], feature["geometry"]
            if about["level"] == "cell":
                polygons = drawn["coordinates"] if drawn["type"] == "MultiPolygon" else [drawn["coordinates"]]
                cells.append((about["id"], about["grid"], tuple(tuple(rings) for rings in polygons)))
            elif about["level"] == "grid":
                village[about["id"]] = about["village"]
        with (folder / "roster.csv").open(encoding="utf-8-sig", newline="") as file:
            rows = tuple(
                (row["role"], row["area"], row["person"], row["from"], row["to"]) for row in csv.DictReader(file)
            )
        return cls(tuple(cells), village, rows)

    def of(self, town: str, lon: float, lat: float, at: int) -> tuple[str, str, str, str]:
        """Cell, duty grid, role and person of a place of this town at a moment (ms UTC); the centre where nobody else answers."""
        cell = self.cell(town, lon, lat)
        return (cell, *self.of_cell(cell, at))

    def cell(self, town: str, lon: float, lat: float) -> str:
        """The cell of this town that holds the place; empty where none does."""
        for cell, _, polygons in self.cells:
            if cell.startswith(town) and any(_inside(rings, lon, lat) for rings in polygons):
                return cell
        return ""

    def of_cell(self, name: str, at: int) -> tuple[str, str, str]:
        """Duty grid, role and person of a cell at a moment (ms UTC); the centre where the map has no such cell, and where nobody else answers."""
        for cell, grid, _ in self.cells:
            if cell == name:
                return (grid, *self._owner(grid, at))
        return "", "centre", ""

    def _owner(self, grid: str, at: int) -> tuple[str, str]:
        today = (datetime.fromtimestamp(at / 1000, UTC) + timedelta(hours=8)).date()
        for role, area in (("worker", grid), ("head", grid), ("second_head", (self.village or {}).get(grid, ""))):
            on_duty = [
                person
                for one, where, person, begins, ends in self.roster
                if (one, where) == (role, area) and _day(begins, date.min) <= today <= _day(ends, date.max)
            ]
            if on_duty:
                return role, min(on_duty)
        return "centre", ""


def _day(text: str, other: date) -> date:
    return date.fromisoformat(text) if text else other


def _inside(rings: Sequence[Ring], x: float, y: float) -> bool:
    """Whether a ray to the east crosses the rings an odd number of times; holes count by themselves."""
    crossed = 0
    for ring in rings:
        for (ax, ay, *_), (bx, by, *_) in zip(ring, [*ring[1:], ring[0]], strict=True):
            if (ay > y) != (by > y) and x < (bx - ax) * (y - ay) / (by - ay) + ax:
                crossed += 1
    return crossed % 2 == 1
