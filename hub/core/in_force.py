"""What decides: one version of the registry, with its map and its chain of duty. Pure."""

from dataclasses import dataclass
from functools import cached_property

from hub.core.events import UNKNOWN_TOWN, CameraAlert, PatrolAlert, Version
from hub.core.grid import Located, Map, Place, PlaceMark
from hub.core.registry import CENTRE, Device, Registry
from hub.core.roster import Chain
from hub.core.rules import Rule, Rules


@dataclass(frozen=True, slots=True)
class Assigned:
    """Where a place lies, and whose it is: never nobody."""

    cell: str
    grid: str
    mark: str
    also: tuple[str, ...]
    role: str
    person: str


class InForce:
    """One version of the registry, ready to be asked. `rules`: what takes the place of its rules, for an installation that has them in its settings."""

    def __init__(self, registry: Registry, rules: tuple[Rule, ...] | None = None) -> None:
        self.registry = registry
        self.rules = registry.rules if rules is None else Rules(rules, registry.rules.limits)
        self._trial = frozenset(vendor.id for vendor in registry.vendors if vendor.trial)
        self._devices = {device.id: device for device in registry.devices}

    @property
    def version(self) -> int:
        """The registry's version, 0 where it has none."""
        return self.registry.version

    @cached_property
    def versions(self) -> tuple[Version, ...]:
        """What a journal says of it: two with the same versions decide the same."""
        return (Version(name="registry", version=str(self.version)), *self.rules.versions)

    @cached_property
    def _map(self) -> Map:
        return Map(self.registry)

    @cached_property
    def _chain(self) -> Chain:
        return Chain(self.registry)

    def device(self, name: str) -> Device | None:
        """The registered device of this id."""
        return self._devices.get(name)

    def place_of(self, device: str) -> Place:
        """Where a registered device stands; an empty place where nobody knows."""
        known = self._devices.get(device)
        if known is None or known.lon is None or known.lat is None:
            return Place()
        return Place(lon=known.lon, lat=known.lat, datum="WGS84")

    def on_trial(self, vendor: str) -> bool:
        """Whether this vendor is being tried: it opens no ticket."""
        return vendor in self._trial

    def town_of(self, place: Place) -> str | None:
        """The town that contains the place, 000000000 within 5 km of one; empty where no map or no place says it; None: farther from all."""
        if not self.registry.towns or place == Place():
            return ""
        return self._map.town(place)

    def assign(self, place: Place, town: str, now: int) -> Assigned:
        """Cell, duty grid and owner of a place of this town, ms UTC."""
        located = Located(cell="", grid="", mark=PlaceMark.UNKNOWN, also=())
        if place != Place():
            located = self._map.locate(place, town)
        if not located.grid:
            return Assigned(located.cell, "", located.mark, located.also, CENTRE, "")
        owner = self._chain.owner(located.grid, now)
        return Assigned(located.cell, located.grid, located.mark, located.also, owner.role, owner.person)


def place_of(alert: CameraAlert | PatrolAlert) -> Place:
    """The place that an alert brings itself."""
    geometry, given = (alert.geometry, alert.given_geometry) if isinstance(alert, PatrolAlert) else ("", "")
    if alert.lon is None and alert.given_x is None:
        return Place()
    return Place(
        lon=alert.lon,
        lat=alert.lat,
        datum=alert.datum,
        given_x=alert.given_x,
        given_y=alert.given_y,
        accuracy_m=alert.accuracy_m,
        geometry=geometry,
        given_geometry=given,
    )


def elsewhere(found: str | None, town: str) -> bool:
    """Whether a place lies in another town than the one it was sent to."""
    return bool(found) and found not in (town, UNKNOWN_TOWN)
