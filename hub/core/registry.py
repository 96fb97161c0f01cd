"""The registry: map, roster, devices, vendors and rules of one version. Pure values; files and topic are `hub.registry`.

A version is adopted whole or not at all. Places are WGS 84 in degrees, times ms UTC.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from decimal import Decimal
from enum import StrEnum

from hub.core.rules import Rules

CENTRE = "centre"


class Role(StrEnum):
    """Who answers for an area, from the nearest on (reference: the levels of a Henan town)."""

    WORKER = "worker"  # 网格员, of a duty grid
    HEAD = "head"  # 网格长, of a duty grid
    SECOND_HEAD = "second_head"  # 二级网格长, of a village or community


@dataclass(frozen=True, slots=True)
class SentUnit:
    """The unit a device sends a factor in, and what its values must be multiplied with first."""

    unit: str
    scale: Decimal


@dataclass(frozen=True, slots=True, kw_only=True)
class Device:
    """One registered device. `mn`: what it calls itself on the wire, for HJ 212 its MN, for a camera its MAC address or serial number, with
    `/33` behind it for channel 33 of a recorder.

    `lon`, `lat`: where it stands, None where that is not known. `bearing_deg` (clockwise from north), `distance_m`: where a far-looking camera
    looks. `accuracy_m`: radius within which that is right. `minute_period_s`: the period of its minute data (HJ 212, CN 2051).
    """

    id: str
    mn: str
    vendor: str
    feed: str
    town: str
    name: str = ""
    lon: float | None = None
    lat: float | None = None
    units: Mapping[str, SentUnit] = field(default_factory=dict)
    minute_period_s: int | None = None
    limits: Mapping[str, float] = field(default_factory=dict)
    bearing_deg: float | None = None
    distance_m: float | None = None
    accuracy_m: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class VendorKey:
    """A key as the registry keeps it: SHA-256 of it (it is 256 bits of chance, so nothing slower is needed), and when it counts (ms UTC; None: open)."""

    id: str
    sha256: str
    begins: int | None = None
    ends: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Vendor:
    """Who answers for devices. `feeds`: what its keys are good for; `datum`: which one its places come in; `gcj02_inverse`: whether places in GCJ-02
    and BD-09 may be converted back, which its customer has decided; `zone`: IANA time zone of times without offset; `trial`: takes the real
    path and opens no ticket; `per_s`: messages a second it may send for long.
    """

    id: str
    name: str
    feeds: frozenset[str]
    datum: str = "WGS84"
    zone: str = "Asia/Shanghai"
    trial: bool = False
    gcj02_inverse: bool = False
    per_s: float = 50.0
    keys: tuple[VendorKey, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Area:
    """A town (9 digits), village or community (12) or grid cell (15). `parent`: the code of what it lies in, empty for a town. `grid`: the duty grid of
    a cell, else empty. `geometry`: GeoJSON Polygon or MultiPolygon as text, WGS 84.
    """

    id: str
    name: str
    parent: str
    grid: str
    geometry: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Grid:
    """A duty grid (责任网格): the cells that name it. `kind`: base, or special (专属网格: a school, a firm, a market). `village`: where it belongs."""

    id: str
    name: str
    kind: str
    village: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Site:
    """A place with a name: `kind` enterprise or unit (驻镇单位)."""

    id: str
    name: str
    kind: str
    town: str
    lon: float
    lat: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Person:
    """One duty of one person: `area` is the duty grid, or for a second head the village; it counts from `begins` until before `ends` (ms UTC; None: open)."""

    id: str
    name: str
    role: Role
    area: str
    begins: int | None = None
    ends: int | None = None


@dataclass(frozen=True, kw_only=True)
class Registry:
    """One version of all of it. `version` 0: not numbered, as files are until they are imported; `sha256`: of its content."""

    version: int = 0
    sha256: str = ""
    towns: tuple[Area, ...] = ()
    villages: tuple[Area, ...] = ()
    grids: tuple[Grid, ...] = ()
    cells: tuple[Area, ...] = ()
    sites: tuple[Site, ...] = ()
    people: tuple[Person, ...] = ()
    devices: tuple[Device, ...] = ()
    vendors: tuple[Vendor, ...] = ()
    rules: Rules = field(default_factory=lambda: Rules((), {}))

    def by_mn(self, feed: str) -> dict[str, Device]:
        """The devices of a feed by what they call themselves on the wire."""
        return {device.mn: device for device in self.devices if device.feed == feed}
