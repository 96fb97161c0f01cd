"""A town of two cells, each its own duty grid, and a town east of it: as small as a map and a roster can be."""

import json
from dataclasses import replace

from hub.core.registry import Area, Device, Grid, Person, Registry, Role, Vendor
from hub.core.rules import Rule, Rules
from tests.hub.core.one_town import PM10_OVER, STATION, TOWN

EAST = "330100002"
SMOKE = replace(PM10_OVER, kind="camera.smoke", class_code="06020", factor="", limit=0, quiet_s=60, urgency="urgent")
BUILDING = replace(PM10_OVER, kind="patrol.illegal_building", class_code="06001", factor="", limit=0)
VILLAGE = f"{TOWN}001"


def square(west: float, south: float, side: float = 0.01) -> str:
    """A square of so many degrees, GeoJSON."""
    east, north = west + side, south + side
    ring = [[west, south], [east, south], [east, north], [west, north], [west, south]]
    return json.dumps({"type": "Polygon", "coordinates": [ring]}, separators=(",", ":"))


def registry(*people: Person, version: int = 1, rules: tuple[Rule, ...] = (SMOKE, BUILDING, PM10_OVER)) -> Registry:
    """A town of two cells side by side, each its own duty grid, and a town east of it."""
    cells = (
        Area(id=f"{VILLAGE}001", name="", parent=VILLAGE, grid="G1", geometry=square(113.90, 34.70)),
        Area(id=f"{VILLAGE}002", name="", parent=VILLAGE, grid="G2", geometry=square(113.91, 34.70)),
    )
    both = '{"type":"Polygon","coordinates":[[[113.9,34.7],[113.92,34.7],[113.92,34.71],[113.9,34.71],[113.9,34.7]]]}'
    return Registry(
        version=version,
        towns=(
            Area(id=TOWN, name="town", parent="", grid="", geometry=both),
            Area(id=EAST, name="east", parent="", grid="", geometry=square(113.92, 34.70)),
        ),
        villages=(Area(id=VILLAGE, name="village", parent=TOWN, grid="", geometry=both),),
        grids=(
            Grid(id="G1", name="west", kind="base", village=VILLAGE),
            Grid(id="G2", name="east", kind="base", village=VILLAGE),
        ),
        cells=cells,
        people=people,
        devices=(Device(id=STATION, mn="1", vendor="maker", feed="air", town=TOWN, lon=113.905, lat=34.705),),
        vendors=(
            Vendor(id="maker", name="maker", feeds=frozenset({"camera"})),
            Vendor(id="newcomer", name="newcomer", feeds=frozenset({"camera"}), trial=True),
        ),
        rules=Rules(rules, {}),
    )


def duty(person: str, role: Role, area: str) -> Person:
    return Person(id=person, name=person, role=role, area=area)


WANG = duty("wang", Role.WORKER, "G1")
LI = duty("li", Role.WORKER, "G2")
HEAD = duty("zhao", Role.HEAD, "G1")
