"""Records that no connector, router or import writes, as a defect or a stranger might put them in."""

import random
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from kafka import KafkaProducer

from tests.faults.checker import PARTITIONS, Place, partition_of
from tests.faults.encoding import encoder
from tests.faults.ticket_checker import HANDED_OVER, INPUTS

ROUTER_STATE = "router-state"
WRITTEN_WITHIN_S = 30
TOWN, NO_TOWN, OTHER_TOWN = "410122106", "nowhere", "410222101"
"""A town; what is none, by its form (GB/T 10114); and another town, of another partition or not."""
CARRIED = {
    "readings": "reading",
    "alerts.air": "air_alert",
    "alerts.camera": "camera_alert",
    "alerts.patrol": "patrol_alert",
}
NOT_UTF_8 = b"\xff\xfe\x80"


class Name(str):
    """Of a header, in bytes that are no UTF-8: the client would refuse them. The broker puts U+FFFD in their place where it compresses records itself."""

    __slots__ = ()

    def encode(self, *_: str, **__: str) -> bytes:
        """Whatever is asked for."""
        return NOT_UTF_8


HEADERS = [("ce_id", NOT_UTF_8), ("traceparent", b""), ("ce_id", b"twice"), (Name(), b"")]


@dataclass(frozen=True, slots=True)
class Record:
    """What is put in."""

    topic: str
    partition: int
    key: bytes | None
    value: bytes | None
    headers: Sequence[tuple[str, bytes]] = ()


def inputs(feeds: Iterable[str], chance: random.Random) -> list[Record]:
    """On each input that the routers read for these feeds one record of each kind that none of them can read, in an order by chance."""
    records = [record for topic in topics_of(feeds) for record in _on(topic, chance)]
    chance.shuffle(records)
    return records


def topics_of(feeds: Iterable[str]) -> tuple[str, ...]:
    """The inputs that have to do with these feeds."""
    fed = {topic for feed in feeds for topic in (INPUTS if feed == "air" else (f"alerts.{feed}", HANDED_OVER))}
    return tuple(sorted(fed))


def _on(topic: str, chance: random.Random) -> Iterator[Record]:
    """Each where a town's records lie, or anywhere."""
    anywhere, home, key = chance.randrange(PARTITIONS), partition_of(TOWN.encode()), TOWN.encode()
    yield Record(topic, home, key, chance.randbytes(chance.randint(1, 200)), HEADERS)
    yield Record(topic, home, key, None)
    yield Record(topic, anywhere, None, b"")
    yield Record(topic, anywhere, NOT_UTF_8, encoder("ticket_event", 2)({"town": TOWN}))
    if topic == HANDED_OVER:
        inside = {"topic": "alerts.camera", "value": encoder("camera_alert")({"id": "x", "town": TOWN})}
        whole = encoder("handed_over")(inside)
        yield Record(topic, home, NO_TOWN.encode(), whole)
        yield Record(topic, home, key, encoder("handed_over")({**inside, "value": chance.randbytes(40)}))
        yield Record(topic, home, key, encoder("handed_over")({**inside, "topic": "journal"}))
    else:
        encode = encoder(CARRIED[topic])
        whole = encode({"id": "x", "town": TOWN})
        yield Record(topic, anywhere, NO_TOWN.encode(), encode({"id": "x", "town": NO_TOWN}))
        yield Record(topic, home, OTHER_TOWN.encode(), whole)
    yield Record(topic, home, key, whole[:-1])
    yield Record(topic, home, key, whole + b"\0")


def versions(number: int) -> list[Record]:
    """Pieces of a version of the registry that is never whole, what is no piece, and pieces of the version in force, which is closed."""

    def piece(version: int, kind: str, name: str, body: str) -> Record:
        entry = {"version": version, "kind": kind, "id": name, "body": body}
        return Record("registry", 0, f"{version}|{kind}|{name}".encode(), encoder("registry_entry")(entry))

    return [
        Record("registry", 0, f"{number}|device|x".encode(), NOT_UTF_8),
        Record("registry", 0, NOT_UTF_8, encoder("ticket_event", 2)({"town": TOWN})),
        piece(number, "device", "d", "{}"),
        piece(number, "town", TOWN, "["),
        piece(1, "device", "stray", "{}"),
        piece(1, "version", "", '{"count":1,"sha256":"x"}'),
        piece(number, "version", "", '{"count":2,"sha256":"x"}'),
    ]


def memory(remembered: Iterable[bytes], town: str, chance: random.Random) -> list[Record]:
    """Entries of a town in the place of what is `remembered` of it, one more that nobody has written, and one of no town. `remembered`: keys."""
    own = sorted(key for key in remembered if key.startswith(f"{town}|".encode()))
    spoilt = {own[0], chance.choice(own), f"{town}|town|".encode(), f"{town}|seen|nobody".encode()}
    number = partition_of(town.encode())
    strange = encoder("router_state")({"town": town, "kind": "town", "id": "", "body": '{"now":"x"}'})
    values = [chance.randbytes(40), strange, encoder("ticket_event", 2)({"town": town}), b""]
    records = [Record(ROUTER_STATE, number, key, value) for key, value in zip(sorted(spoilt), values, strict=False)]
    return [*records, Record(ROUTER_STATE, number, b"a stranger", b"\xff")]


def put(bootstrap: str, records: Sequence[Record]) -> dict[Place, bytes | None]:
    """Values by the place where Kafka has put them. Raises KafkaError where it has not taken one."""
    producer = KafkaProducer(bootstrap_servers=bootstrap)
    try:
        sent = [
            producer.send(one.topic, one.value, one.key, list(one.headers), partition=one.partition) for one in records
        ]
        there = [one.get(WRITTEN_WITHIN_S) for one in sent]
    finally:
        producer.close()
    return {(one.topic, one.partition, one.offset): record.value for one, record in zip(there, records, strict=True)}
