"""Where a place lies and whose it is: place -> town, cell, duty grid -> owner. Pure; geometry by shapely (GEOS).

Placeholder of the interface.
"""

from dataclasses import dataclass
from enum import StrEnum


class PlaceMark(StrEnum):
    """How a cell came about; see the doc of `place_mark` in the schema of the ticket."""

    INSIDE = "inside"
    BORDER = "border"
    OVERLAP = "overlap"
    NEAREST = "nearest"
    UNCERTAIN = "uncertain"
    NONE = "none"
    UNKNOWN = "unknown"


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """A place as an event has it. `lon`, `lat` in WGS 84, None where it may not be converted: then `given_x`, `given_y` hold it in `datum`.

    `geometry`, `given_geometry`: GeoJSON text or empty, likewise. `accuracy_m`: radius within which it is right, None: taken as exact.
    """

    lon: float | None = None
    lat: float | None = None
    datum: str = ""
    given_x: float | None = None
    given_y: float | None = None
    accuracy_m: float | None = None
    geometry: str = ""
    given_geometry: str = ""
