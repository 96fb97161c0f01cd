"""The story of any id: each outcome there can be, told from the records that a router wrote."""

from collections.abc import Collection, Iterator
from dataclasses import replace
from unittest import mock

import pytest

from hub import lang
from hub.core.errors import Reason
from hub.core.events import Alert, DeadLetter, Decision, LetterMark, Outcome, TimeMark
from hub.core.in_force import InForce
from hub.core.registry import Registry
from hub.explain import LETTER_MARKS, OUTCOMES, ROLES, STEPS, Chapter, explain
from hub.partition import CARRIES, Arrived, Partition, Surroundings
from hub.reasons import MARKS, REFUSALS, SIGNALS, TIMES
from hub.settings import Settings
from hub.wire import Wire, headers
from tests.hub.core.one_town import MINUTE, PM10, SECOND, alarm, at, camera, patrol
from tests.hub.core.one_town import TOWN as HOME
from tests.hub.core.small_map import BUILDING, EAST, HEAD, LI, SMOKE, WANG, registry

WIRE = Wire.load()
STRANGER = "330100009"
NOW = at("10:00")
RULES = (SMOKE, BUILDING, replace(SMOKE, kind="air.device_alarm", class_code="08004", quiet_s=0))


class Topics:
    """What lies on the topics of two partitions, as routers wrote it."""

    def __init__(self) -> None:
        self.force = InForce(registry(WANG, LI, HEAD, rules=RULES))
        self.partitions = [Partition(0), Partition(1)]
        self.records: list[Arrived] = []
        self._now = NOW

    def sent(self, alert: Alert, partition: int = 0, raw: bytes = b"") -> None:
        """An alert comes and is decided; what goes to another partition is decided there."""
        [topic] = [name for name, carried in CARRIES.items() if isinstance(alert, carried)]
        value = raw or WIRE.encode(alert)
        self._arrives(topic, partition, alert.town.encode(), value, () if raw else tuple(headers(alert)))

    def _arrives(
        self, topic: str, partition: int, key: bytes, value: bytes | None, also: tuple[tuple[str, bytes], ...]
    ) -> None:
        self._now += SECOND
        one = self._lies(Arrived(topic, partition, len(self.records), self._now, key, value, also))
        homes = {HOME: 0, EAST: 1, STRANGER: 1, "000000000": 0}
        step = self.partitions[partition].apply(
            [one], self._now, Surroundings(self.force, WIRE, homes.__getitem__, 0, 1)
        )
        self.partitions[partition].adopt(step)
        for out in step.outgoing:
            if out.topic == "handed-over":
                self._arrives(out.topic, out.partition, out.key, out.value, out.headers)
            else:
                self._lies(
                    Arrived(out.topic, out.partition, len(self.records), out.at, out.key, out.value, out.headers)
                )

    def _lies(self, one: Arrived) -> Arrived:
        self.records.append(one)
        return one

    def explained(self, name: str) -> list[Chapter]:
        """What the command says."""
        records, force = self.records, self.force

        class There:
            def __init__(self, _settings: Settings, names: Collection[str], _client: str) -> None:
                self._names = names

            def all(self) -> Iterator[Arrived]:
                return (one for one in records if one.topic in self._names)

        class Adopted:
            def __init__(self, *_: object) -> None: ...

            def all(self) -> dict[int, Registry]:
                return {1: force.registry}

        with mock.patch("hub.explain.Whole", There), mock.patch("hub.explain.Versions", Adopted):
            return explain(Settings(), name)


def story() -> Topics:
    """Everything that can become of an alert."""
    topics = Topics()
    smoke = {"lon": 113.905, "lat": 34.705}
    topics.sent(camera("c1", "begins", NOW, **smoke))  # type: ignore[arg-type]
    topics.sent(camera("c2", "goes_on", NOW, **smoke))  # type: ignore[arg-type]
    topics.sent(camera("c2", "goes_on", NOW, **smoke))  # type: ignore[arg-type]
    topics.sent(camera("c3", "ends", NOW, **smoke))  # type: ignore[arg-type]
    topics.sent(camera("c4", "ends", NOW))
    topics.sent(camera("c5", "begins", NOW, kind="camera.motion"))
    topics.sent(camera("c6", "begins", NOW, vendor="newcomer"))
    topics.sent(camera("c7", "begins", NOW, occurred_at=NOW - 200 * MINUTE, retransmitted=True))
    topics.sent(patrol("p1", NOW, spot_no="S1", lon=113.925, lat=34.705))
    topics.sent(alarm("a1", "begins", occurred_at=NOW, accepted_at=NOW, town=STRANGER), partition=0)
    topics.sent(alarm("a2", "begins", occurred_at=NOW, accepted_at=NOW, factors=(PM10,)), raw=b"no avro")
    return topics


def test_every_outcome_there_can_be_is_told(capsys: pytest.CaptureFixture[str]) -> None:
    topics = story()
    decisions = [WIRE.decode(one.value or b"") for one in topics.records if one.topic == "decisions"]
    came = {one.outcome: one.id for one in decisions if isinstance(one, Decision)}
    assert set(came) == set(Outcome)
    for outcome, name in came.items():
        chapters = topics.explained(name)
        said = [str(one) for one in chapters]
        assert any(OUTCOMES[outcome].en in one for one in said), (outcome, said)
        print(f"--- {outcome}", *said, sep="\n")
    assert "wang" in capsys.readouterr().out


def test_an_alert_for_a_town_in_quarantine_is_told_by_its_own_id() -> None:
    topics = Topics()
    topics.partitions[0].quarantine({HOME})
    topics.sent(camera("c1", "begins", NOW))
    said = [one.text for one in topics.explained("c1")]
    assert any("its town is in quarantine" in one for one in said), said
    assert any("(quarantined" in one and "gridhub quarantine" in one for one in said), said


def test_an_alert_from_too_far_away_is_told_by_its_own_id() -> None:
    topics = story()
    topics.sent(patrol("p9", NOW, spot_no="S9", lon=121.47, lat=31.23))
    said = [one.text for one in topics.explained("p9")]
    assert any("reports" in one for one in said)
    assert any(OUTCOMES[Outcome.INVALID].en in one for one in said), said
    assert any("outside_area" in one and "dead letters" in one for one in said), said


def test_a_ticket_tells_what_where_whose_and_each_step() -> None:
    topics = story()
    [opened] = [one for one in topics.explained("c1") if "decision 1 of" in one.text]
    ticket = opened.text.partition(" -> ")[2].partition(",")[0]
    said = [one.text for one in topics.explained(ticket)]
    assert said == [one.text for one in topics.explained("c1")], "from either end it is one story"
    told = "\n".join(said)
    assert [one for one in said if "as it stands" in one] == said[-1:], "once, and last"
    for words in (
        "ZA-CAM-1 reports camera.smoke (smokeDetection): begins",
        f"ticket {ticket} v1: opened; it is with grid worker wang",
        f"ticket {ticket} v3: cleared",
        "06020 焚烧垃圾、树叶, urgent; 330100001001001 G1 west (inside); 2 alerts",
        "under registry 1, rules ",
    ):
        assert words in told, words


def test_it_is_told_in_chinese(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lang, "_chosen", "zh")
    told = "\n".join(one.text for one in story().explained("c1"))
    assert "ZA-CAM-1 上报 camera.smoke (smokeDetection)：开始" in told
    assert "现由网格员wang负责" in told
    assert "opened，开立工单（开始；类型 smokeDetection）" in told
    assert "现状：已解除，" in told
    assert "（格内）" in told


def test_a_dead_letter_tells_what_people_made_of_it() -> None:
    topics = story()
    [letter] = [
        one for record in topics.records if record.topic == "dead-letters" if (one := WIRE.decode(record.value or b""))
    ]
    assert isinstance(letter, DeadLetter)
    mark = replace(letter, raw=b"", mark=LetterMark.REPLAYED, detail="became a2")
    topics._lies(Arrived("dead-letters", 0, 999, NOW + MINUTE, b"router", WIRE.encode(mark)))
    *_, kept, made_of = topics.explained(letter.id)
    assert made_of.text == "the dead letter was replayed: became a2"
    assert made_of.at > kept.at


def test_what_nobody_knows_has_no_story() -> None:
    assert story().explained("nobody") == []


def test_every_word_of_a_list_has_its_sentence() -> None:
    for table in (OUTCOMES, SIGNALS, STEPS, MARKS, LETTER_MARKS, ROLES, REFUSALS, TIMES):
        assert all(text.en and text.zh for text in table.values())
    assert set(OUTCOMES) == set(Outcome)
    assert set(TIMES) == set(TimeMark)
    # Those three are never dead-lettered.
    assert set(REFUSALS) == set(Reason) - {Reason.UNAVAILABLE, Reason.BUSY, Reason.FULL}
