"""What must have become of records that no connector, router or import has written, and of what was sent to a town whose memory they spoilt.

A witness from outside, for the other ones: it takes from a run where each such record lies, and finds for each of them its one dead letter and its one
decision. What the others are to leave out, it names place by place (`Aside`): they judge the rest as if nothing had been put in.

A town in quarantine has its letters, too, and each of them comes back once, when its quarantine is over: unchanged, in the order of the letters. That it comes
back behind what was sent later is the price of it.
"""

from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from tests.faults.checker import (
    DEAD_LETTERS,
    READINGS,
    Aside,
    Contract,
    Fields,
    Finding,
    Place,
    Stored,
    Topics,
    Unreadable,
    Wrong,
    expected_headers,
    place_of,
)

ROUTER = "router"
HANDED_OVER, DECISIONS, JOURNAL = "handed-over", "decisions", "journal"
UNREADABLE, QUARANTINED = "schema", "quarantined"
NO_TOWN = "000000000"
REPLAYED = "replayed"


@dataclass(frozen=True, slots=True)
class Sick:
    """A town of which entries of its memory were spoilt, in ms UTC: when; when what it was sent meanwhile began to be replayed, its quarantine being over;
    when that was done.
    """

    town: str
    since: int
    replaying: int
    until: int


@dataclass(frozen=True, slots=True)
class Poison:
    """All that was put in. `inputs`: by the place that Kafka gave it, the value. `versions`: numbers in the registry that no import has brought whole.
    `one_clock`: whether the routers' wall clocks were right all the time.
    """

    inputs: Mapping[Place, bytes | None] = field(default_factory=dict)
    sick: tuple[Sick, ...] = ()
    versions: frozenset[int] = frozenset()
    one_clock: bool = True


@dataclass(frozen=True, slots=True)
class _Read:
    """A record that could be read."""

    stored: Stored
    fields: Fields


def findings(poison: Poison, topics: Topics, contract: Contract) -> list[Finding]:
    """All that is wrong with what became of it."""
    return Judgement(poison, topics, contract).found


class Judgement:
    """The findings, and what the other checkers are to leave out. `topics`: inputs, dead letters, decisions and journal."""

    def __init__(self, poison: Poison, topics: Topics, contract: Contract) -> None:
        self.found: list[Finding] = []
        self._poison = poison
        self._contract = contract
        self._stored = {place_of(each): each for each in topics.records}
        self._sick = {each.town: each for each in poison.sick}
        letters, marks = self._letters()
        invalid = dict.fromkeys(poison.inputs, UNREADABLE)
        self._put_in(letters)
        quarantined = self._quarantined({place: each for place, each in letters.items() if place not in invalid})
        invalid |= dict.fromkeys(quarantined, QUARANTINED)
        again = self._again(quarantined, marks)
        self._decided(invalid)
        self._journal()
        self.aside = Aside(
            invalid=invalid,
            poison=frozenset(poison.inputs),
            letters=frozenset(
                place_of(each.stored) for some in (letters, marks) for records in some.values() for each in records
            ),
            again=frozenset(again),
        )

    def _wrong(self, wrong: Wrong, where: str, detail: str) -> None:
        self.found.append(Finding(wrong, where, detail))

    def _read(self, topic: str) -> Iterator[_Read]:
        """What of a topic can be read; what cannot, the other checkers find."""
        for stored in self._stored.values():
            if stored.topic == topic and (fields := self._fields(stored)) is not None:
                yield _Read(stored, fields)

    def _fields(self, stored: Stored) -> Fields | None:
        try:
            return self._contract.decode(stored.value or b"")[1]
        except Unreadable:
            return None

    # ---- dead letters

    def _letters(self) -> tuple[dict[Place, list[_Read]], dict[Place, list[_Read]]]:
        """The router's letters and their marks, by the place that they are of, in their order."""
        letters: dict[Place, list[_Read]] = defaultdict(list)
        marks: dict[Place, list[_Read]] = defaultdict(list)
        for each in self._read(DEAD_LETTERS):
            if each.fields["feed"] == ROUTER:
                (marks if each.fields.get("mark") else letters)[_place(each.fields["id"])].append(each)
        return letters, marks

    def _put_in(self, letters: Mapping[Place, list[_Read]]) -> None:
        """Each record that was put on an input is kept once, whole."""
        for place, value in self._poison.inputs.items():
            stored = self._stored.get(place)
            if stored is None or stored.value != value:
                self._wrong(Wrong.LOST, _told(place), "what was put there does not lie there")
                continue
            self._kept_once(stored, letters.get(place, []), UNREADABLE)

    def _kept_once(self, stored: Stored, letters: list[_Read], reason: str) -> None:
        if len(letters) != 1:
            wrong = Wrong.DOUBLE if letters else Wrong.LOST
            self._wrong(wrong, stored.place, f"{len(letters)} dead letters of what cannot be decided")
        for each in letters:
            fields = each.fields
            if fields["reason"] != reason:
                self._wrong(Wrong.REASON, each.stored.place, f"{fields['reason']} for {stored.place}, not {reason}")
            expected = {
                "vendor": "",
                "device": "",
                "raw": stored.value or b"",
                "evidence_sha256": None,
                "accepted_at": stored.timestamp,
                "answered": True,
            }
            self._compare(each, expected)
            if not fields["detail"].startswith(f"{stored.place}: "):
                self._wrong(Wrong.FIELD, each.stored.place, f"detail is {fields['detail']!r}, of {stored.place}")
            if (each.stored.key, each.stored.partition) != (ROUTER.encode(), 0):
                self._wrong(Wrong.KEY, each.stored.place, f"{each.stored.key!r} on {each.stored.partition}")
            headers = sorted((name, text.encode()) for name, text in expected_headers("DeadLetter", fields).items())
            if sorted(each.stored.headers) != headers:
                self._wrong(Wrong.HEADER, each.stored.place, f"{sorted(set(each.stored.headers) ^ set(headers))}")

    def _compare(self, each: _Read, expected: Mapping[str, Any]) -> None:
        for name, value in expected.items():
            if repr(each.fields[name]) != repr(value):
                self._wrong(Wrong.FIELD, each.stored.place, f"{name} is {each.fields[name]!r}, not {value!r}")

    def _quarantined(self, letters: Mapping[Place, list[_Read]]) -> list[Place]:
        """The records that were kept because their town was in quarantine, in the order of their letters. All other letters are without a cause."""
        kept: list[Place] = []
        for place, records in letters.items():
            stored = self._stored.get(place)
            town = (stored.key or b"").decode(errors="replace") if stored else ""
            sick, first = self._sick.get(town), records[0]
            if stored is None or sick is None or first.fields["reason"] != QUARANTINED:
                detail = f"a dead letter of the router: {first.fields['reason']} for {first.fields['detail']}"
                self._wrong(Wrong.UNEXPECTED, first.stored.place, detail)
                continue
            self._kept_once(stored, records, QUARANTINED)
            if not sick.since <= first.stored.timestamp <= sick.replaying:
                self._wrong(Wrong.TIME, first.stored.place, f"{town} was sound when {stored.place} was kept")
            kept.append(place)
        return kept

    def _again(self, quarantined: list[Place], marks: Mapping[Place, list[_Read]]) -> list[Place]:
        """Each quarantined record comes to its topic once more, and its letter is marked so. Returns where they came to."""
        for place in quarantined:
            told = [each.fields["mark"] for each in marks.get(place, [])]
            if told != [REPLAYED]:
                self._wrong(Wrong.LOST, _told(place), f"its letter is marked {told or 'never'}, not replayed")
        for place in (place for place in marks if place not in quarantined):
            self._wrong(
                Wrong.UNEXPECTED, marks[place][0].stored.place, f"a mark of no letter of a town: {_told(place)}"
            )
        came: list[Place] = []
        latest: dict[tuple[str, int], int] = {}
        candidates = self._candidates(set(quarantined))
        for place in quarantined:
            if (found := self._found(place, candidates, set(came))) is None:
                self._wrong(Wrong.LOST, _told(place), "kept while its town was in quarantine, and never replayed")
                continue
            topic, partition, offset = place_of(found)
            if offset < latest.get((topic, partition), -1):
                self._wrong(Wrong.ORDER, found.place, f"replayed out of the order of the letters: {_told(place)}")
            latest[topic, partition] = offset
            came.append(place_of(found))
        return came

    def _candidates(self, quarantined: set[Place]) -> dict[tuple[str, bytes | None], list[Stored]]:
        """What came while letters were replayed, by topic and key."""
        found: dict[tuple[str, bytes | None], list[Stored]] = defaultdict(list)
        for place, stored in self._stored.items():
            sick = self._sick.get((stored.key or b"").decode(errors="replace"))
            if sick and place not in quarantined and sick.replaying <= stored.timestamp <= sick.until:
                found[stored.topic, stored.key].append(stored)
        return found

    def _found(
        self, place: Place, candidates: Mapping[tuple[str, bytes | None], list[Stored]], taken: set[Place]
    ) -> Stored | None:
        """The record that was made of a letter: the same one; out of an envelope, under the town that it was handed over to."""
        stored = self._stored[place]
        wanted, topic, headers = self._fields(stored), stored.topic, stored.headers
        if topic == HANDED_OVER and wanted is not None:
            topic, key = wanted["topic"], (stored.key or b"").decode()
            headers = tuple((each["name"], each["value"]) for each in wanted["headers"])
            inside = self._contract.decode(wanted["value"])[1]
            wanted = inside | {"town": key}
        for each in candidates.get((topic, stored.key), []):
            if place_of(each) not in taken and self._fields(each) == wanted and sorted(each.headers) == sorted(headers):
                return each
        return None

    # ---- what the router says of it

    def _decided(self, invalid: Mapping[Place, str]) -> None:
        """Of an alert, and of what was handed over, one decision says that it cannot be decided, and why; it touches no town."""
        by_place: dict[Place, list[_Read]] = defaultdict(list)
        for each in self._read(DECISIONS):
            fields = each.fields
            if fields["origin"] == "record":
                by_place[fields["topic"], fields["partition"], fields["offset"]].append(each)
        for place, reason in invalid.items():
            stored = self._stored.get(place)
            due = place[0] != READINGS
            if stored is None:
                continue  # said already
            if len(by_place[place]) != due:
                wrong = Wrong.DECIDED_TWICE if len(by_place[place]) > due else Wrong.UNDECIDED
                self._wrong(wrong, stored.place, f"{len(by_place[place])} decisions of what cannot be decided")
            for each in by_place[place]:
                expected = {
                    "id": stored.place,
                    "town": NO_TOWN,
                    "seq": 0,
                    "now": stored.timestamp,
                    "outcome": "invalid",
                    "reasons": [reason],
                    "ticket_id": "",
                    "rule": "",
                }
                self._compare(each, expected)

    def _journal(self) -> None:
        """Nobody is in quarantine but the sick, from when they were spoilt until they were mended; and one registry is in force all the time."""
        last: dict[int, _Read] = {}
        registries: set[str] = set()
        for each in self._read(JOURNAL):
            fields, last[each.stored.partition] = each.fields, each
            registries |= {one["version"] for one in fields["versions"] if one["name"] == "registry"}
            for town in fields.get("quarantined", ()):
                sick = self._sick.get(town)
                is_its_time = sick and (not self._poison.one_clock or sick.since <= fields["at"] <= sick.replaying)
                if not is_its_time:
                    self._wrong(Wrong.UNEXPECTED, each.stored.place, f"{town} is in quarantine, and is sound")
        for each in last.values():
            for town in each.fields.get("quarantined", ()):
                self._wrong(Wrong.OVERDUE, each.stored.place, f"{town} is still in quarantine")
        if self._poison.versions and len(registries) != 1:
            self._wrong(Wrong.FIELD, JOURNAL, f"registries {sorted(registries)} were in force, not one")


def _place(text: str) -> Place:
    """The place that a letter is of, by its id."""
    topic, partition, offset = text.rsplit("/", 2)
    return topic, int(partition), int(offset)


def _told(place: Place) -> str:
    return "/".join(map(str, place))
