"""How letters stand, which are meant, and what a replay makes of them; on a broker: tests/together/test_dead_letters.py."""

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from unittest import mock

import pytest

from connectors.air.hj212 import frame
from hub.core.errors import Misconfigured, Reason, Rejected, Unavailable
from hub.core.events import DeadLetter, HandedOver, LetterMark, Reading
from hub.core.registry import Device, Registry
from hub.dead_letters import OPEN, Done, Entry, Which, drop, replay, since, standing, told, way_of, with_bytes
from hub.evidence import Evidence
from hub.kafka_log import Arrived
from hub.outbox import Fate, Outbox
from hub.settings import Settings
from hub.wire import Wire
from tests.doubles import FakeLog
from tests.hub.core.one_town import TOWN as PLACED
from tests.hub.core.one_town import camera
from tests.hub.core.small_map import EAST
from tests.hub.core.small_map import registry as small_map

WIRE = Wire.load()
AT = 1_772_415_000_000
RAW = frame(
    b"QN=20260302093000123;ST=22;CN=2011;PW=1;MN=MN-1;Flag=5;CP=&&DataTime=20260302093000;a34004-Rtd=35.0,a34004-Flag=N&&"
)
STATION = Device(id="za-air-1", mn="MN-1", vendor="acme", feed="air", town="410122105")


def letter(name: str = "air/1/a", **other: object) -> DeadLetter:
    plain = DeadLetter(
        id=name,
        feed="air",
        vendor="",
        device="MN-1",
        reason="unknown_device",
        detail="MN MN-1",
        raw=RAW,
        evidence_sha256=None,
        accepted_at=AT,
        answered=True,
    )
    return replace(plain, **other)  # type: ignore[arg-type]


def mark(name: str, what: LetterMark, came_of_it: str = "") -> DeadLetter:
    return letter(name, raw=b"", detail=came_of_it, mark=what)


def lying(*records: DeadLetter) -> list[tuple[Arrived, DeadLetter]]:
    return [
        (Arrived("dead-letters", b"", new=False, offset=number, at=AT + number), one)
        for number, one in enumerate(records)
    ]


# ---- how they stand


def test_the_last_record_of_an_id_says_how_it_stands() -> None:
    found = standing(
        lying(
            letter("a"),
            letter("b"),
            mark("a", LetterMark.DROPPED),
            letter("c"),
            mark("b", LetterMark.REPLAYED, "became b1"),
            letter("a"),
        )
    )
    assert [(one.id, one.state, one.times, one.told, one.offset) for one in found] == [
        ("b", "replayed", 1, "became b1", 1),
        ("c", OPEN, 1, "", 3),
        ("a", OPEN, 2, "", 5),
    ], "a letter that came again after it was dropped is open again"
    assert found[0].marked_at == AT + 4
    assert found[0].detail == "MN MN-1", "why it could not be read is not what came of it"


def test_a_mark_whose_letter_is_gone_tells_nothing() -> None:
    assert standing(lying(mark("a", LetterMark.DROPPED))) == []


@pytest.mark.parametrize(
    ("which", "meant"),
    [
        (Which(), "abc"),
        (Which(feed="air"), "ab"),
        (Which(reason="crc"), "bc"),
        (Which(feed="air", reason="crc"), "b"),
        (Which(since=AT), "ac"),
        (Which(ids=("a", "c")), "ac"),
        (Which(ids=("z",)), ""),
    ],
)
def test_which_are_meant(which: Which, meant: str) -> None:
    found = standing(
        lying(letter("a"), letter("b", reason="crc", accepted_at=AT - 1), letter("c", reason="crc", feed="camera"))
    )
    assert "".join(one.id for one in found if which.fits(one)) == meant


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("90m", "2026-03-02T00:30:00+00:00"),
        ("2h", "2026-03-02T00:00:00+00:00"),
        ("3d", "2026-02-27T02:00:00+00:00"),
        ("2026-03-02", "2026-03-01T16:00:00+00:00"),
        ("2026-03-02T09:30", "2026-03-02T01:30:00+00:00"),
        ("2026-03-02T09:30Z", "2026-03-02T09:30:00+00:00"),
    ],
)
def test_since_when(text: str, moment: str) -> None:
    now = datetime(2026, 3, 2, 2, tzinfo=UTC)
    assert since(text, now) == datetime.fromisoformat(moment).timestamp() * 1000


def test_what_is_no_moment() -> None:
    with pytest.raises(ValueError, match="yesterday"):
        since("yesterday", datetime.now(UTC))


def test_a_line_tells_what_a_clerk_needs() -> None:
    [entry] = standing(lying(letter(device="MN\x1b-1")))
    said = str(entry)
    assert said.startswith("2026-03-02 09:30:00  air  unknown_device  MN\N{REPLACEMENT CHARACTER}-1  MN MN-1  ")
    assert said.endswith(" bytes  open  air/1/a")


def test_bytes_are_shown_as_text_or_as_digits() -> None:
    def shown(raw: bytes) -> list[str]:
        [entry] = standing(lying(letter(raw=raw)))
        return told(entry, letter(raw=raw))[12:]

    assert shown("郑庵镇\r\nb".encode()) == ["郑庵镇", "b"]
    assert shown("郑庵镇".encode("gb18030")) == ["郑庵镇"]
    assert shown(b"\x00\x01" * 9) == ["000000  " + "00 01 " * 7 + "00 01", "000010  00 01"]
    assert shown(b"x" * 5000)[-1] == "... 904 more bytes: --raw FILE"


def test_bytes_too_many_for_a_letter_come_from_the_evidence_store(tmp_path: Path) -> None:
    sha256 = Evidence(tmp_path / "evidence").keep(RAW)
    assert with_bytes(Settings(data=tmp_path), letter(raw=b"", evidence_sha256=sha256)).raw == RAW


def test_bytes_that_are_nowhere_any_more_are_said_to_be() -> None:
    with pytest.raises(Misconfigured, match="air/1/a: its bytes are not to be had any more"):
        with_bytes(Settings(), letter(raw=b"", evidence_sha256="ab" * 32))


# ---- what is made of them


class Kafka(FakeLog):
    """Stands for the topics and the publisher to them."""

    def __init__(self, *records: DeadLetter) -> None:
        super().__init__(keeps=True)
        self.lying = lying(*records)

    def close(self, _timeout_s: float) -> None: ...

    def came(self) -> list[tuple[str, str, object]]:
        """What was written: topic, key, record."""
        return [(one.topic, one.key, WIRE.decode(one.value)) for one in self.sent]


@pytest.fixture
def registry() -> Registry:
    return Registry(version=1, devices=(STATION,))


def made_of(
    kafka: Kafka,
    registry: Registry | None,
    work: Callable[[Settings, Sequence[Entry], Callable[[Done], object]], None],
) -> list[Done]:
    """What the command tells."""
    done: list[Done] = []

    def all_of_them(_settings: Settings) -> Iterator[tuple[Arrived, DeadLetter]]:
        return iter(kafka.lying)

    with (
        mock.patch("hub.dead_letters.Publisher", return_value=kafka),
        mock.patch("hub.dead_letters._all", all_of_them),
        mock.patch("hub.dead_letters.Versions") as versions,
    ):
        versions.return_value.newest.return_value = registry
        work(Settings(), standing(kafka.lying), done.append)
    return done


def test_a_letter_of_a_device_that_is_known_by_now_becomes_its_record(registry: Registry) -> None:
    kafka = Kafka(letter())
    [done] = made_of(kafka, registry, replay)
    (topic, key, record), (where, feed, marked) = kafka.came()
    assert (topic, key, where, feed) == ("readings", "410122105", "dead-letters", "air")
    assert isinstance(record, Reading)
    assert (record.device, record.accepted_at) == ("za-air-1", AT), "when it was accepted stays"
    assert isinstance(marked, DeadLetter)
    assert (marked.id, marked.mark, marked.raw, marked.detail) == ("air/1/a", "replayed", b"", f"became {record.id}")
    assert done == Done("air/1/a", "replayed", f"became {record.id}")


def test_what_still_cannot_be_read_stays_as_it_is() -> None:
    kafka = Kafka(letter(), letter("air/2/b", reason="crc", raw=RAW.replace(b"35.0", b"36.0")))
    assert made_of(kafka, Registry(version=1), replay) == [
        Done("air/1/a", OPEN, "unknown_device: MN MN-1"),
        Done("air/2/b", OPEN, "crc: the frame says 4B00, its segment gives 1B00"),
    ]
    assert kafka.came() == []


def test_mended_bytes_stand_for_its_own(registry: Registry) -> None:
    kafka = Kafka(letter(reason="crc", raw=RAW.replace(b"35.0", b"36.0")))
    [done] = made_of(kafka, registry, lambda settings, some, tell: replay(settings, some, tell, {"air/1/a": RAW}))
    assert done.state == "replayed"


def test_a_heartbeat_is_replayed_into_nothing(registry: Registry) -> None:
    kafka = Kafka(letter(raw=frame(b"QN=1;ST=22;CN=9015;PW=1;MN=MN-1;Flag=5;CP=&&&&")))
    assert made_of(kafka, registry, replay) == [Done("air/1/a", "replayed", "nothing in it to keep")]


def test_without_kafka_nothing_is_marked(registry: Registry) -> None:
    kafka = Kafka(letter())
    kafka.raises = Unavailable("no broker answers")
    with pytest.raises(Unavailable):
        made_of(kafka, registry, replay)
    with pytest.raises(Unavailable):
        made_of(kafka, registry, drop)


def test_without_a_registry_nothing_is_replayed() -> None:
    with pytest.raises(Misconfigured, match="registry import"):
        made_of(Kafka(letter()), None, replay)


def test_a_dropped_letter_is_marked_and_not_read() -> None:
    kafka = Kafka(letter(raw=b"", evidence_sha256="ab" * 32))
    assert made_of(kafka, None, drop) == [Done("air/1/a", "dropped", "")]
    [(topic, _, marked)] = kafka.came()
    assert topic == "dead-letters"
    assert isinstance(marked, DeadLetter)
    assert (marked.mark, marked.device, marked.evidence_sha256) == ("dropped", "MN-1", None)


def test_what_becomes_a_dead_letter_again_is_not_done(registry: Registry) -> None:
    """The record fits neither its schema nor anything else; the outbox keeps it as it keeps any other."""

    def way(again: DeadLetter, _settings: Settings, _registry: Registry, outbox: Outbox) -> list[asyncio.Future[Fate]]:
        return [outbox.publish("alerts.camera", replace(camera("c1", "begins", 0), device="\ud800"), again.raw)]

    kafka = Kafka(letter())
    with mock.patch("hub.dead_letters.way_of", return_value=way):
        [done] = made_of(kafka, registry, replay)
    assert (done.state, done.told.partition(":")[0]) == (OPEN, "schema")
    assert kafka.came() == []


# ---- the router's own


def of_the_router(raw: bytes, place: str = "alerts.camera/3/17") -> DeadLetter:
    return letter(place, feed="router", vendor="", device="", reason="poison", detail=place, raw=raw)


def test_a_record_that_the_router_could_not_take_goes_to_its_topic_again(registry: Registry) -> None:
    alert = camera("c1", "begins", 0)
    kafka = Kafka(of_the_router(WIRE.encode(alert)))
    [done] = made_of(kafka, registry, replay)
    assert kafka.came()[0] == ("alerts.camera", alert.town, alert)
    assert done == Done("alerts.camera/3/17", "replayed", "became c1")


def test_what_was_handed_over_goes_back_to_where_it_came_from(registry: Registry) -> None:
    alert = camera("c1", "begins", 0)
    envelope = HandedOver(topic="alerts.camera", partition=1, offset=2, key=b"x", value=WIRE.encode(alert), headers=())
    kafka = Kafka(of_the_router(WIRE.encode(envelope), "handed-over/3/17"))
    made_of(kafka, registry, replay)
    assert kafka.came()[0] == ("alerts.camera", alert.town, alert)


def test_what_another_town_was_to_decide_goes_to_that_town() -> None:
    """The first has remembered its id, and would say that it is repeated: nobody would decide it."""
    alert = camera("c1", "begins", 0, lon=113.925, lat=34.705, town=PLACED)
    envelope = HandedOver(topic="alerts.camera", partition=1, offset=2, key=b"x", value=WIRE.encode(alert), headers=())
    kafka = Kafka(of_the_router(WIRE.encode(envelope), "handed-over/3/17"))
    made_of(kafka, small_map(), replay)
    assert kafka.came()[0] == ("alerts.camera", EAST, replace(alert, town=EAST))


@pytest.mark.parametrize(
    ("raw", "why"),
    [
        (b"no avro", "schema: the 5-byte header is missing"),
        (WIRE.encode(letter()), "schema: DeadLetter does not belong on alerts.camera"),
    ],
)
def test_a_record_that_still_cannot_be_read_is_not_sent_again(registry: Registry, raw: bytes, why: str) -> None:
    kafka = Kafka(of_the_router(raw))
    assert made_of(kafka, registry, replay) == [Done("alerts.camera/3/17", OPEN, why)]
    assert kafka.came() == []


@pytest.mark.parametrize("feed", ["water", "no name", "../air", ""])
def test_a_feed_that_nobody_knows_is_named(feed: str) -> None:
    with pytest.raises(Misconfigured, match="cannot be replayed"):
        way_of(feed)


def test_every_connector_can_replay() -> None:
    folders = [path.parent.name for path in (Path(__file__).parents[2] / "connectors").glob("*/serve.py")]
    assert "air" in folders
    assert all(callable(way_of(feed)) for feed in folders)


def test_a_rejection_of_the_way_itself_is_told(registry: Registry) -> None:
    def way(*_: object) -> list[asyncio.Future[Fate]]:
        raise Rejected(Reason.SYNTAX, "no boundary")

    with mock.patch("hub.dead_letters.way_of", return_value=way):
        assert made_of(Kafka(letter()), registry, replay) == [Done("air/1/a", OPEN, "syntax: no boundary")]
