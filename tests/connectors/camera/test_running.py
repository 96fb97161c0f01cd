"""What the messages of one alarm become at the router: one ticket, cleared when it is over."""

from dataclasses import replace

import pytest

from connectors.camera.isapi import read
from connectors.camera.translate import Alive, translate
from hub.core.events import Decision, Ticket
from hub.core.in_force import InForce
from hub.core.registry import Registry
from hub.core.rules import Rule, Rules
from hub.core.town import Input, Town, decide
from tests.connectors.camera.layouts import FIRE_REGION, xml
from tests.connectors.camera.test_translate import ACCEPTED, CAMERAS, VENDOR
from tests.hub.core.one_town import DEVICE_ALARM

FIRE = replace(DEVICE_ALARM, kind="camera.fire", quiet_s=60)
BARE_SOIL = replace(FIRE, kind="camera.bare_soil", class_code="08999")
TWO_POINTS = FIRE_REGION.replace("</DetectionRegionList>", FIRE_REGION.partition("<DetectionRegionList>")[2])
SOIL, FLAMES = "<ruleName>裸土</ruleName>", "<ruleName>明火</ruleName>"


def outcomes(*messages: str, rules: tuple[Rule, ...] = (FIRE, BARE_SOIL)) -> tuple[list[str], list[Ticket]]:
    """Of messages that come a second apart: their decisions, and each ticket as it is last."""
    force = InForce(Registry(devices=(), rules=Rules(rules, {})))
    town, said, tickets = Town("410122106", {}), list[str](), dict[str, Ticket]()
    for second, message in enumerate(messages):
        now = ACCEPTED + 1000 * second
        [event] = read(message.encode(), "application/xml").events
        alert = translate(event, VENDOR, CAMERAS, now)
        assert not isinstance(alert, Alive)
        record = Input(record=replace(alert, lon=None, lat=None), topic="alerts.camera", partition=0, offset=second)
        town, outputs = decide(town, record, now, force)
        said += [one.outcome for one in outputs if isinstance(one, Decision)]
        tickets |= {one.id: one for one in outputs if isinstance(one, Ticket)}
    return said, [*tickets.values()]


def at(second: int) -> str:
    return f"2026-06-02T03:10:{11 + second}+08:00"


@pytest.mark.parametrize(
    ("begun", "over"),
    [
        (("fireDetection", "active"), ("fireDetection", "inactive")),
        (("fireSmartFireDetect", "active"), ("FirePointAlarmRecovery", "active")),
    ],
)
def test_what_begins_goes_on_and_is_over_is_one_ticket(begun: tuple[str, str], over: tuple[str, str]) -> None:
    said, tickets = outcomes(*(xml(*begun, time=at(second)) for second in range(3)), xml(*over, time=at(3)))
    assert said == ["opened", "updated", "updated", "cleared"]
    assert [ticket.state for ticket in tickets] == ["cleared"]


def test_a_fire_of_more_and_fewer_points_is_one_fire() -> None:
    points = ("", FIRE_REGION, TWO_POINTS, FIRE_REGION.replace("<regionID>1", "<regionID>2"))
    messages = [xml(more=more, time=at(second)) for second, more in enumerate(points)]
    said, tickets = outcomes(*messages, xml(state="inactive", time=at(4)))
    assert said == ["opened", "updated", "updated", "updated", "cleared"]
    assert len(tickets) == 1


def test_two_rules_of_an_ai_platform_in_one_second_are_two_tickets() -> None:
    said, tickets = outcomes(*(xml("AIOP_Video", more=more) for more in (SOIL, FLAMES, SOIL)))
    assert said == ["opened", "opened", "repeated"]
    assert {ticket.class_code for ticket in tickets} == {"06020", "08999"}
