"""Whose work it is: from a duty grid to the person who answers for it. Pure."""

from dataclasses import dataclass

from hub.core.registry import CENTRE, Person, Registry, Role


@dataclass(frozen=True, slots=True)
class Owner:
    """A role and the person who has it; `person` is empty for the grid centre, whose queue has no single owner."""

    role: str
    person: str


class Chain:
    """The chain of duty of one version: the grid's worker, else its head, else the second head of its village, else the centre. Never nobody."""

    def __init__(self, registry: Registry) -> None:
        self._village = {grid.id: grid.village for grid in registry.grids}
        duties: dict[tuple[Role, str], list[Person]] = {}
        for person in sorted(registry.people, key=lambda one: (one.id, one.begins or 0)):
            duties.setdefault((person.role, person.area), []).append(person)
        self._duties = duties

    def owner(self, grid: str, now: int) -> Owner:
        """Who answers for this duty grid at `now`, ms UTC; of several the smallest id."""
        chain = ((Role.WORKER, grid), (Role.HEAD, grid), (Role.SECOND_HEAD, self._village.get(grid, "")))
        for role, area in chain:
            for person in self._duties.get((role, area), ()):
                if (person.begins is None or person.begins <= now) and (person.ends is None or now < person.ends):
                    return Owner(role, person.id)
        return Owner(CENTRE, "")
