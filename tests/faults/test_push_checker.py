"""The checker of pushes finds nothing wrong with a sound run, and everything that is done to one.

The run is made up by hand: a camera, a drone and a satellite service, as a connector without a spool takes them, and as one with a spool does.
Times are milliseconds.
"""

import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field, replace
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.faults import push_checker
from tests.faults.checker import Aside, Balance, Contract, Finding, Stored, Topics, Wrong, partition_of, place_of
from tests.faults.duties import Duties
from tests.faults.encoding import SCHEMAS, Fields, encoder
from tests.faults.evidence_checker import LARGE_BYTES, Content, path_of, store
from tests.faults.push_checker import SLACK_MS, Feed, PushRun
from tests.faults.ticket_checker import Written

BEGIN = 1_772_424_000_000  # 2026-03-02 12:00:00 in Beijing
HOME, OTHER = "410122106", "410122108"
SATELLITE, DRONE = "xunjian-satellite", "XJ-UAV-0001"
ENCODERS = {
    "alerts.camera": encoder("camera_alert"),
    "alerts.patrol": encoder("patrol_alert"),
    "dead-letters": encoder("dead_letter", 2),
    "handed-over": encoder("handed_over"),
    "decisions": encoder("decision"),
    "ticket-events": encoder("ticket_event", 2),
    "tickets": encoder("ticket", 2),
}
CONTRACT = Contract(SCHEMAS)


def square(lon: float, lat: float) -> tuple[tuple[tuple[float, float], ...], ...]:
    """A polygon of a degree."""
    return (((lon, lat), (lon + 1, lat), (lon + 1, lat + 1), (lon, lat + 1)),)


WORKED, HEADED, FORSAKEN = (f"{HOME}00{number}" for number in (1, 2, 3))
DUTIES = Duties(
    cells=(
        (f"{WORKED}001", f"{WORKED}G01", (square(113, 34),)),
        (f"{HEADED}001", f"{HEADED}G01", (square(114, 34),)),
        (f"{FORSAKEN}001", f"{FORSAKEN}G01", (square(115, 34),)),
    ),
    village={f"{one}G01": one for one in (WORKED, HEADED, FORSAKEN)},
    roster=(
        ("worker", f"{WORKED}G01", "w01", "", ""),
        ("worker", f"{HEADED}G01", "w02", "", "2026-03-01"),
        ("head", f"{WORKED}G01", "h00", "", ""),
        ("head", f"{HEADED}G01", "h01", "", ""),
    ),
)
"""A grid with a worker, one whose worker has left the day before and which has a head, and one that has nobody."""


def whose(device: str) -> Fields:
    """Place and owner of a device's tickets; of what is seen without a device, no place is known."""
    match device:
        case "cam":
            place, village, owner = {"lon": 113.5, "lat": 34.5, "place_mark": "inside"}, WORKED, ("worker", "w01")
        case "uav-1":
            place, village, owner = {"lon": 114.5, "lat": 34.5, "place_mark": "inside"}, HEADED, ("head", "h01")
        case _:
            return {"place_mark": "unknown", "owner_role": "centre"} | dict.fromkeys(("cell", "grid", "owner"), "")
    return {
        **place,
        "cell": f"{village}001",
        "grid": f"{village}G01",
        **dict(zip(("owner_role", "owner"), owner, strict=True)),
    }


@dataclass
class Story:
    """Writes what senders, connectors and router would have. `spool`: whether the connectors have one."""

    spool: bool
    now: int = BEGIN
    lines: dict[str, list[Fields]] = field(default_factory=lambda: {"camera": [], "patrol": []})
    records: dict[tuple[str, int], list[Stored]] = field(default_factory=dict)
    fates: dict[str, Counter[str]] = field(default_factory=lambda: {"camera": Counter(), "patrol": Counter()})
    decided: set[tuple[str, str]] = field(default_factory=set)
    held: dict[str, Content] = field(default_factory=dict)
    seqs: Counter[str] = field(default_factory=Counter)
    open: dict[tuple[str, str], Fields] = field(default_factory=dict)

    def line(self, feed: str, what: str, sender: str, n: int, **more: object) -> None:
        self.lines[feed].append({"what": what, "at": self.now, "device": sender, "n": n, "sending": 0, **more})

    def sent(
        self, feed: str, sender: str, n: int, attempt: int = 1, *, sending: int = 0, expect: str = "alert"
    ) -> None:
        self.now += 3 * SLACK_MS
        self.line(feed, "sent", sender, n, sending=sending, attempt=attempt, expect=expect)
        self.now += 5

    def heard(
        self, feed: str, sender: str, n: int, *parts: tuple[str, str], status: int = 200, sending: int = 0
    ) -> None:
        """With the fate of each message, which the connector counts here."""
        self.now += 5
        name, fate = parts[0]
        self.fates[feed].update(fate or "refused" for _, fate in parts)
        messages = [{"id": one, "fate": what} for one, what in parts] if len(parts) > 1 else []
        self.line(feed, "answered", sender, n, sending=sending, status=status, id=name, fate=fate, messages=messages)

    def append(self, topic: str, partition: int, fields: Fields, key: str = "") -> Stored:
        self.now += 5
        lane = self.records.setdefault((topic, partition), [])
        stored = Stored(topic, partition, len(lane), self.now, key.encode(), (), ENCODERS[topic](fields))
        lane.append(stored)
        return stored

    def alert(
        self, feed: str, name: str, outcome: str, *, device: str = "", accepted_at: int = 0, town: str = HOME
    ) -> Stored:
        """It is accepted now, if nothing else is said; the router decides it at once, as `outcome` says or as a repetition."""
        fields: Fields = {"id": name, "town": HOME, "device": device, "accepted_at": accepted_at or self.now}
        if feed == "camera":
            # A picture that is kept, and one that is not.
            picture = self.keeps(f"picture of {name}".encode())
            fields["evidence"] = [picture, picture | {"sha256": "", "bytes": 0}]
        stored = self.append(f"alerts.{feed}", partition_of(HOME.encode()), fields)
        self.decides(stored, name, HOME, outcome if town == HOME else "handed-over", device)
        if town != HOME:
            about = {"topic": stored.topic, "partition": stored.partition, "offset": stored.offset, "key": b""}
            envelope = self.append(
                "handed-over", partition_of(town.encode()), about | {"value": stored.value, "headers": []}
            )
            self.decides(envelope, name, town, outcome, device)
        return stored

    def decides(self, stored: Stored, name: str, town: str, outcome: str, device: str) -> None:
        """And takes a step of the ticket that is open for this device."""
        outcome = "repeated" if (name, town) in self.decided else outcome
        self.decided.add((name, town))
        self.seqs[town] += 1
        takes_a_step = outcome in {"opened", "updated", "cleared"}
        ticket = self.stepped(name, town, outcome, device) if takes_a_step else {"id": ""}
        fields = {
            "id": name,
            "town": town,
            "origin": "record",
            "topic": stored.topic,
            "partition": stored.partition,
            "offset": stored.offset,
            "outcome": outcome,
            "ticket_id": ticket["id"],
            "seq": self.seqs[town],
            "now": self.now,
        }
        partition = partition_of(town.encode())
        self.append("decisions", partition, fields)
        if takes_a_step:
            same = {
                each: ticket[each]
                for each in ("town", "version", "state", "decision_seq", "cell", "owner_role", "owner")
            }
            step = {
                "id": f"{ticket['id']}/{ticket['version']}",
                "ticket_id": ticket["id"],
                "step": outcome,
                "alert": name,
            }
            self.append("ticket-events", partition, step | same | {"at": ticket["updated_at"]})
            self.append("tickets", partition, ticket, ticket["id"])

    def stepped(self, alert: str, town: str, outcome: str, device: str) -> Fields:
        """A ticket after a step."""
        if outcome == "opened":
            name = f"{town}-{sha256(alert.encode()).hexdigest()[:16]}"
            self.open[town, device] = {
                "id": name,
                "version": 0,
                "town": town,
                "alerts": 0,
                "opened_at": self.now,
                **whose(device),
            }
        ticket = self.open[town, device]
        is_over = outcome == "cleared"
        ticket |= {
            "version": ticket["version"] + 1,
            "alerts": ticket["alerts"] + (not is_over),
            "state": "cleared" if is_over else "open",
            "updated_at": self.now,
            "cleared_at": self.now if is_over else None,
            "decision_seq": self.seqs[town],
        }
        return ticket

    def keeps(self, content: bytes) -> Fields:
        """It is put into the store: what a record says of it."""
        name = sha256(content).hexdigest()
        self.held[path_of(name)] = Content(name, len(content))
        return {"sha256": name, "media_type": "image/jpeg", "bytes": len(content), "name": "picture"}

    def letter(self, feed: str, name: str, raw: bytes = b"<cut") -> None:
        """What is long is put into the store."""
        fields: Fields = {"id": name, "feed": feed, "raw": raw, "accepted_at": self.now}
        if len(raw) > LARGE_BYTES:
            fields |= {"raw": b"", "evidence_sha256": self.keeps(raw)["sha256"]}
        self.append("dead-letters", 0, fields)

    def run(self) -> PushRun:
        topics = Topics(tuple(one for place in sorted(self.records) for one in self.records[place]))
        senders = {"camera": {}, "patrol": {"uav-1": DRONE}}
        feeds = tuple(
            Feed(
                name,
                push_checker.told(self.lines[name]),
                senders[name],
                Balance(BEGIN, self.fates[name].total(), dict(self.fates[name])),
            )
            for name in senders
        )
        return PushRun(feeds, topics, CONTRACT, again=topics, evidence=self.held, duties=DUTIES)


def story(*, spool: bool) -> Story:
    s = Story(spool)
    camera(s)
    patrol(s)
    return s


def camera(s: Story) -> None:
    """One camera: all that can become of what it sends."""

    def one(n: int, name: str, outcome: str, *, sending: int = 0) -> None:
        s.sent("camera", "cam", n, sending=sending)
        s.alert("camera", name, outcome, device="cam")
        s.heard("camera", "cam", n, (name, "published"), sending=sending)

    s.sent("camera", "cam", 1, expect="empty")
    s.heard("camera", "cam", 1, ("", "empty"))
    one(2, "cam/A", "opened")
    # Refused, because Kafka was too slow, and there all the same.
    s.sent("camera", "cam", 3)
    s.alert("camera", "cam/B", "updated", device="cam")
    s.heard("camera", "cam", 3, ("", ""), status=503)
    s.sent("camera", "cam", 3, 2)
    s.alert("camera", "cam/B", "", device="cam")
    s.heard("camera", "cam", 3, ("cam/B", "published"))
    # Another message of the same second has the same id.
    one(4, "cam/B", "")
    # It is a camera that says everything twice.
    one(5, "cam/C", "cleared")
    one(5, "cam/C", "", sending=1)
    s.sent("camera", "cam", 6, expect="dead-letter")
    s.letter("camera", "camera/1")
    s.heard("camera", "cam", 6, ("camera/1", "dead-lettered"))
    # The connector is killed when it has kept a message whose id holds the minute.
    s.sent("camera", "cam", 7)
    s.alert("camera", "cam/minute 1", "opened", device="cam")
    s.fates["camera"]["published"] += 1
    s.now += 60_000
    s.sent("camera", "cam", 7, 2)
    s.alert("camera", "cam/minute 2", "updated", device="cam")
    s.heard("camera", "cam", 7, ("cam/minute 2", "published"))
    away(s)
    one(10, "cam/F", "expired")


def away(s: Story) -> None:
    """Kafka is away while two messages come."""
    if not s.spool:
        for n, name in ((8, "cam/D"), (9, "cam/E")):
            s.sent("camera", "cam", n)
            s.heard("camera", "cam", n, ("", ""), status=503)
            s.now += 5_000
            s.sent("camera", "cam", n, 2)
            s.alert("camera", name, "updated", device="cam")
            s.heard("camera", "cam", n, (name, "published"))
        return
    moments = []
    for n, name in ((8, "cam/D"), (9, "cam/E")):
        s.sent("camera", "cam", n)
        moments.append(s.now)
        s.heard("camera", "cam", n, (name, "spooled"))
    s.now += 20_000
    # The first one reaches its topic by the way on which it was too late, and out of the spool.
    s.alert("camera", "cam/D", "updated", device="cam", accepted_at=moments[0])
    s.alert("camera", "cam/E", "updated", device="cam", accepted_at=moments[1])
    s.alert("camera", "cam/D", "", device="cam", accepted_at=moments[0])


def patrol(s: Story) -> None:
    """A satellite's spots, of which one lies in another town, and a drone."""
    s.sent("patrol", SATELLITE, 1)
    s.alert("patrol", "spot/1", "opened")
    s.alert("patrol", "spot/2", "opened", town=OTHER)
    s.heard("patrol", SATELLITE, 1, ("spot/1", "published"), ("spot/2", "published"))
    s.sent("patrol", DRONE, 1)
    s.alert("patrol", "WJ/1", "opened", device="uav-1")
    s.heard("patrol", DRONE, 1, ("WJ/1", "published"))
    s.sent("patrol", DRONE, 2, expect="problem")
    s.letter("patrol", "patrol/1")
    s.heard("patrol", DRONE, 2, ("patrol/1", "dead-lettered"), status=400)
    s.sent("patrol", SATELLITE, 2)
    s.alert("patrol", "spot/3", "opened")
    s.letter("patrol", "patrol/2", b"x" * (LARGE_BYTES + 1))
    s.heard("patrol", SATELLITE, 2, ("spot/3", "published"), ("patrol/2", "dead-lettered"))
    s.sent("patrol", DRONE, 3)
    s.alert("patrol", "WJ/1/EXCLUDED", "cleared", device="uav-1")
    s.heard("patrol", DRONE, 3, ("WJ/1/EXCLUDED", "published"))


WORLDS = pytest.mark.parametrize("spool", [False, True], ids=["refuses", "spools"])
ALERTS = ("alerts.camera", "alerts.patrol")


def wrongs(found: Iterable[Finding]) -> set[Wrong]:
    return {finding.wrong for finding in found}


def holding(run: PushRun, records: Iterable[Stored]) -> list[Finding]:
    """The findings when both readers see these."""
    topics = Topics(tuple(sorted(records, key=lambda one: (one.topic, one.partition, one.offset))))
    return push_checker.findings(replace(run, topics=topics, again=topics))


def fields_of(record: Stored) -> Fields:
    return CONTRACT.decode(record.value or b"")[1]


def changed(record: Stored, **to: Any) -> Stored:
    return replace(record, value=ENCODERS[record.topic](fields_of(record) | to))


def each_of(run: PushRun, *topics: str) -> Iterator[tuple[Stored, Fields, list[Stored]]]:
    """Each record of these topics, what it says, and all others of the run."""
    for record in run.topics.records:
        if record.topic in topics:
            yield record, fields_of(record), [each for each in run.topics.records if each is not record]


def without_balances(run: PushRun) -> PushRun:
    """As if the connectors had counted nothing: then only the senders know."""
    none = Balance(BEGIN * 2, 0, {})
    return replace(run, feeds=tuple(replace(feed, balance=none) for feed in run.feeds))


def tampered(spool: bool, change: Callable[[Fields], Iterable[Fields]]) -> list[Finding]:
    """The findings when the senders say something else."""
    s = story(spool=spool)
    s.lines = {feed: [line for one in lines for line in change(one)] for feed, lines in s.lines.items()}
    return push_checker.findings(s.run())


# ---- a sound run


@WORLDS
def test_nothing_is_found_in_a_sound_run(*, spool: bool) -> None:
    run = story(spool=spool).run()
    assert push_checker.findings(run) == []
    assert {record.topic for record in run.topics.records} == set(push_checker.RECORD_OF_TOPIC)
    assert run.unjudged == set()


@pytest.mark.parametrize("name", ["again", "evidence", "duties"])
def test_a_run_that_lacks_something_to_judge_by_says_so(name: str) -> None:
    lacking: dict[str, Any] = {name: None}
    run = replace(story(spool=True).run(), **lacking)
    assert push_checker.findings(run) == []
    assert run.unjudged == {name}


def test_what_was_under_way_at_a_moment_is_pending() -> None:
    push = next(one for one in story(spool=False).run().feeds[0].pushes if one.n == 3)
    first, second = push.sent
    moments = (first - 1, first, push.heard[0].at - 1, push.heard[0].at, second, push.heard[1].at)
    assert [push.pending(at) for at in moments] == [False, True, True, False, True, False]


def test_a_log_is_read_as_it_was_written(tmp_path: Path) -> None:
    s = story(spool=False)
    log = tmp_path / "log"
    log.write_text("".join(json.dumps(line) + "\n" for line in s.lines["patrol"]), encoding="utf-8")
    assert push_checker.pushes(log) == push_checker.told(s.lines["patrol"])
    with pytest.raises(ValueError, match="no happening"):
        push_checker.told([{"what": "slept", "device": "cam", "n": 1}])


# ---- messages


@WORLDS
def test_a_record_that_is_missing_is_found(*, spool: bool) -> None:
    """By the senders alone where they had heard a yes for it; and by the connector's sums, where nothing that was refused may take its place."""
    run = story(spool=spool).run()
    for _, fields, others in each_of(run, *ALERTS, "dead-letters"):
        lost = {one.where for one in holding(without_balances(run), others) if one.wrong is Wrong.LOST}
        # Of these there are more records than its sender has heard of.
        if fields["id"] not in {"cam/minute 1", "cam/B", *(["cam/D"] if spool else [])}:
            assert fields["id"] in lost
        if fields["id"].split("/")[0] != "cam" and fields.get("feed") != "camera":
            assert "connector patrol" in {one.where for one in holding(run, others) if one.wrong is Wrong.BALANCE}


@WORLDS
def test_a_yes_more_than_there_are_records_is_found(*, spool: bool) -> None:
    """Refused once and kept, published twice: three records. None of them may be missing twice."""
    run = without_balances(story(spool=spool).run())
    b = [record for record, fields, _ in each_of(run, "alerts.camera") if fields["id"] == "cam/B"]
    assert len(b) == 3
    left = [each for each in run.topics.records if each not in b[:2]]
    found = [one for one in holding(run, left) if one.wrong is Wrong.LOST]
    assert [(one.where, one.detail) for one in found] == [
        ("cam/B", "cam message 3 of camera heard 2 times published, and there are 1 records")
    ]


@WORLDS
def test_a_record_where_its_fate_does_not_say_is_found(*, spool: bool) -> None:
    """`published` lies on the feed's topic and `dead-lettered` in the dead letters, not the other way round."""
    for fate, other in (("published", "dead-lettered"), ("dead-lettered", "published")):

        def lie(line: Fields, fate: str = fate, other: str = other) -> list[Fields]:
            messages = [
                one | {"fate": other if one["fate"] == fate else one["fate"]} for one in line.get("messages", ())
            ]
            return [line | ({"fate": other} if line.get("fate") == fate else {}) | {"messages": messages}]

        assert Wrong.LOST in wrongs(tampered(spool, lie))


@WORLDS
def test_a_second_message_of_a_push_that_is_missing_is_found(*, spool: bool) -> None:
    run = without_balances(story(spool=spool).run())
    left = [each for each in run.topics.records if fields_of(each).get("id") != "spot/2"]
    assert ("spot/2", Wrong.LOST) in {(one.where, one.wrong) for one in holding(run, left)}


@WORLDS
def test_another_moment_of_acceptance_is_found(*, spool: bool) -> None:
    """Before the message was first sent, or after its yes: as when a connector puts the moment at which the spool is emptied."""
    run = without_balances(story(spool=spool).run())
    altered = 0
    for record, fields, others in each_of(run, *ALERTS, "dead-letters"):
        told_of = [push for feed in run.feeds for push in feed.pushes if told_to(push, fields["id"])]
        if not told_of:
            continue
        first, last = min(push.sent[0] for push in told_of), max(push.yes[-1].at for push in told_of)
        for at, said in (
            (first - SLACK_MS - 1, "before it was first sent"),
            (last + SLACK_MS + 1, "after it had heard"),
        ):
            other = replace(changed(record, accepted_at=at), timestamp=max(at, record.timestamp))
            found = [one for one in holding(run, [*others, other]) if one.wrong is Wrong.TIME]
            assert any(said in one.detail and fields["id"] in one.detail for one in found), (fields, found)
            altered += 1
        for at in (first, last):
            # Within the bounds nobody can tell: but for an order that no longer comes out.
            other = replace(changed(record, accepted_at=at), timestamp=max(at, record.timestamp))
            assert not any("was first sent" in one.detail for one in holding(run, [*others, other]))
    assert altered > 30


@WORLDS
@pytest.mark.parametrize("ahead_s", [3_600, -3_600, 86_400, -86_400])
def test_a_time_by_a_connectors_wrong_clock_is_found(ahead_s: int, *, spool: bool) -> None:
    """Of one record: all others around it have the right time."""
    run = without_balances(story(spool=spool).run())
    altered = 0
    for record, fields, others in each_of(run, *ALERTS, "dead-letters"):
        other = changed(record, accepted_at=fields["accepted_at"] + ahead_s * 1000)
        found = [one.wrong for one in holding(run, [*others, other]) if record.place in one.where]
        assert set(found) & {Wrong.TIME, Wrong.MADE_UP}, (fields, found)
        altered += 1
    assert altered > 15


def told_to(push: push_checker.Push, name: str) -> bool:
    return any(name == one for answer in push.yes for one, _ in answer.parts)


@WORLDS
def test_a_record_appended_before_it_was_accepted_is_found(*, spool: bool) -> None:
    run = story(spool=spool).run()
    for record, fields, others in each_of(run, *ALERTS, "dead-letters"):
        early = replace(record, timestamp=fields["accepted_at"] - 1)
        found = holding(run, [*others, early])
        assert any(one.wrong is Wrong.TIME and "before it was accepted" in one.detail for one in found)


@WORLDS
def test_a_record_appended_after_its_sender_was_told_that_it_is_there_is_found(*, spool: bool) -> None:
    """What was told to lie in the spool may come later."""
    run = story(spool=spool).run()
    for name, is_wrong in {"cam/A": True, "spot/2": True, "patrol/1": True, "cam/E": not spool}.items():
        for record, fields, others in each_of(run, *ALERTS, "dead-letters"):
            if fields["id"] == name:
                found = holding(run, [*others, replace(record, timestamp=record.timestamp + 60_000)])
                assert (Wrong.TIME in wrongs(found)) == is_wrong, name


@WORLDS
def test_a_record_that_nobody_sent_is_found(*, spool: bool) -> None:
    """Under another id: unless a sending of this very sender came to nothing around that moment."""
    run = story(spool=spool).run()
    checked = 0
    for record, fields, others in each_of(run, *ALERTS, "dead-letters"):
        around = [push for feed in run.feeds for push in feed.pushes if len(push.sent) > len(push.yes)]
        if any(push.accepts(fields["accepted_at"]) for push in around):
            continue
        found = holding(run, [*others, changed(record, id="cam/X")])
        assert (record.place, Wrong.MADE_UP) in {(one.where, one.wrong) for one in found}
        checked += 1
    assert checked > 5


@WORLDS
def test_a_record_of_another_device_is_found(*, spool: bool) -> None:
    run = story(spool=spool).run()
    for record, fields, others in each_of(run, *ALERTS):
        found = wrongs(holding(run, [*others, changed(record, device="cam-2")]))
        assert found & ({Wrong.MADE_UP} if "minute 1" in fields["id"] else {Wrong.FIELD})


@WORLDS
def test_more_acceptances_than_sendings_are_found(*, spool: bool) -> None:
    """A record that lies there again with the same moment is one that came twice, and one with another moment is one too many."""
    run = without_balances(story(spool=spool).run())
    for record, fields, others in each_of(run, *ALERTS):
        if fields["id"] not in {"cam/A", "cam/E", "WJ/1", "spot/2"}:
            continue
        again = replace(record, offset=1001)
        assert Wrong.TOO_MANY not in wrongs(holding(run, [*others, record, again]))
        twice = [changed(again, accepted_at=fields["accepted_at"] + more) for more in (1, 2)]
        twice = [replace(one, offset=1001 + i, timestamp=record.timestamp + 9) for i, one in enumerate(twice)]
        assert Wrong.TOO_MANY in wrongs(holding(run, [*others, record, *twice]))


@WORLDS
def test_an_alert_past_another_of_its_sender_is_found(*, spool: bool) -> None:
    """On its topic; both what the record says of its acceptance and what the sender says of its messages tell."""
    run = story(spool=spool).run()
    firsts = [
        record
        for record, fields, others in each_of(run, "alerts.camera")
        if not any(
            fields_of(each).get("id") == fields["id"] and each.offset < record.offset
            for each in others
            if each.topic == record.topic
        )
    ]
    assert len(firsts) > 5
    for one, other in pairwise(firsts):
        if fields_of(one)["id"] in {"cam/B", "cam/D"}:
            continue  # their next record takes their place
        rest = [each for each in run.topics.records if each not in (one, other)]
        swapped = [replace(one, offset=other.offset), replace(other, offset=one.offset)]
        found = [each.detail for each in holding(run, [*rest, *swapped]) if each.wrong is Wrong.ORDER]
        assert any("ms before" in detail for detail in found), fields_of(one)
        if "minute 1" not in {fields_of(one)["id"][4:], fields_of(other)["id"][4:]}:
            assert any("is message" in detail for detail in found), fields_of(one)


@WORLDS
def test_a_sending_that_never_hears_a_yes_is_found(*, spool: bool) -> None:
    def silent(line: Fields) -> list[Fields]:
        return [] if (line["device"], line["n"], line["what"]) == ("cam", 10, "answered") else [line]

    assert Wrong.UNANSWERED in wrongs(tampered(spool, silent))

    def once(line: Fields) -> list[Fields]:
        return [] if (line["n"], line["what"], line["sending"]) == (5, "answered", 1) else [line]

    assert Wrong.UNANSWERED in wrongs(tampered(spool, once))


@WORLDS
def test_a_yes_for_what_is_not_kept_is_found(*, spool: bool) -> None:
    """`refused` is no fate of a yes, and a proper message is not turned away for good."""

    def refused(line: Fields) -> list[Fields]:
        return [line | {"fate": "refused"} if line.get("id") == "cam/A" else line]

    assert Wrong.ANSWER in wrongs(tampered(spool, refused))

    def away_with_it(line: Fields) -> list[Fields]:
        return [line | {"status": 413} if line.get("id") == "cam/A" else line]

    assert Wrong.ANSWER in wrongs(tampered(spool, away_with_it))


# ---- the balance of messages


@WORLDS
def test_sums_of_a_connector_that_do_not_come_out_are_found(*, spool: bool) -> None:
    run = story(spool=spool).run()
    altered = 0
    for feed in run.feeds:
        for fate, count in feed.balance.fates.items():
            for more in (1, -1):
                fates = {**feed.balance.fates, fate: count + more}
                balances = [replace(feed.balance, fates=fates)]
                if (
                    feed.name == "patrol"
                ):  # where nothing was refused, of which nobody else knows how much of it is there all the same
                    balances.append(Balance(BEGIN, sum(fates.values()), fates))
                for balance in balances:
                    others = [each for each in run.feeds if each is not feed]
                    found = push_checker.findings(replace(run, feeds=(*others, replace(feed, balance=balance))))
                    assert wrongs(found) == {Wrong.BALANCE}, (feed.name, balance)
                    assert any(f"connector {feed.name}" == one.where for one in found)
                    altered += 1
    assert altered >= 16


def test_what_an_earlier_life_counted_is_not_held_against_the_last_one() -> None:
    run = story(spool=True).run()
    feeds = [replace(feed, balance=Balance(BEGIN * 2, 0, {})) for feed in run.feeds]
    assert push_checker.findings(replace(run, feeds=tuple(feeds))) == []


# ---- the balance of records


@WORLDS
def test_a_record_without_a_decision_is_found(*, spool: bool) -> None:
    run = story(spool=spool).run()
    for _, fields, others in each_of(run, "decisions"):
        place = f"{fields['topic']}/{fields['partition']}/{fields['offset']}"
        found = {(one.where, one.wrong): one.detail for one in holding(run, others)}
        assert fields["id"] in found[place, Wrong.UNDECIDED]


@WORLDS
def test_a_record_decided_twice_is_found(*, spool: bool) -> None:
    run = story(spool=spool).run()
    for record, fields, others in each_of(run, "decisions"):
        place = f"{fields['topic']}/{fields['partition']}/{fields['offset']}"
        for outcome in (fields["outcome"], "repeated"):
            again = changed(replace(record, offset=1001), outcome=outcome)
            found = {(one.where, one.wrong): one.detail for one in holding(run, [*others, record, again])}
            assert again.place in found[place, Wrong.DECIDED_TWICE]


@WORLDS
def test_a_decision_of_no_record_or_of_another_alert_is_found(*, spool: bool) -> None:
    run = story(spool=spool).run()
    for record, fields, others in each_of(run, "decisions"):
        astray = changed(replace(record, offset=1001), offset=fields["offset"] + 500)
        found = {(one.where, one.wrong) for one in holding(run, [*others, record, astray])}
        assert (astray.place, Wrong.UNEXPECTED) in found
        found = {(one.where, one.wrong) for one in holding(run, [*others, changed(record, id="cam/X")])}
        assert (record.place, Wrong.FIELD) in found


@WORLDS
def test_more_or_less_than_one_record_of_an_alert_that_counts_is_found(*, spool: bool) -> None:
    """One outcome other than repeated, forwarded or handed-over, and only one."""
    run = story(spool=spool).run()
    for record, fields, others in each_of(run, "decisions"):
        counts = fields["outcome"] not in {"repeated", "handed-over"}
        for outcome in ("repeated", "forwarded", "handed-over") if counts else ("updated", "no_rule", "invalid"):
            found = {
                one.where: one
                for one in holding(run, [*others, changed(record, outcome=outcome)])
                if one.wrong is Wrong.BALANCE
            }
            assert found[fields["id"]].detail.startswith("0 of" if counts else "2 of")


@WORLDS
def test_an_alert_that_opens_two_tickets_is_found(*, spool: bool) -> None:
    run = story(spool=spool).run()
    for record, fields, others in each_of(run, "ticket-events"):
        if fields["step"] != "opened":
            continue
        second = changed(replace(record, offset=1001), id="x/1", ticket_id="x")
        found = [one for one in holding(run, [*others, record, second]) if one.wrong is Wrong.OPENED_TWICE]
        assert [one.where for one in found] == [fields["alert"]]
        assert second.place in found[0].detail


@WORLDS
def test_a_decision_past_another_of_its_sender_is_found(*, spool: bool) -> None:
    """Each of a town's decisions that count, and the next one of the same sender."""
    run = story(spool=spool).run()
    lanes: dict[tuple[str, str], list[Stored]] = {}
    for record, fields, _ in each_of(run, "decisions"):
        if fields["outcome"] not in {"repeated", "handed-over"} and fields["topic"] in ALERTS:
            # Ids begin with what is the camera's, the drone's or the satellite's.
            lanes.setdefault((fields["topic"], fields["id"].partition("/")[0]), []).append(record)
    moved = 0
    for lane in lanes.values():
        for one, other in pairwise(lane):
            rest = [each for each in run.topics.records if each not in (one, other)]
            swapped = [replace(one, offset=other.offset), replace(other, offset=one.offset)]
            found = [each for each in holding(run, [*rest, *swapped]) if each.wrong is Wrong.ORDER]
            assert any("decided after it" in each.detail for each in found), fields_of(one)
            moved += 1
    assert moved > 8


@WORLDS
def test_a_repetition_of_what_was_not_decided_is_found(*, spool: bool) -> None:
    """As when the second record counts, and the first one is called repeated."""
    run = story(spool=spool).run()
    lane = [(record, fields) for record, fields, _ in each_of(run, "decisions") if fields["id"] == "cam/B"]
    (first, first_says), (second, second_says), *_ = lane
    rest = [each for each in run.topics.records if each not in (first, second)]
    swapped = [changed(first, outcome=second_says["outcome"]), changed(second, outcome=first_says["outcome"])]
    found = [one for one in holding(run, [*rest, *swapped]) if one.wrong is Wrong.ORDER]
    assert [one.where for one in found] == [first.place]
    assert "cam/B is said to be repeated" in found[0].detail


@WORLDS
def test_decisions_of_a_town_that_are_not_numbered_in_their_order_are_found(*, spool: bool) -> None:
    run = story(spool=spool).run()
    for record, fields, others in each_of(run, "decisions"):
        for seq in (fields["seq"] + 1, fields["seq"] - 1):
            assert (record.place, Wrong.SEQ) in {
                (one.where, one.wrong) for one in holding(run, [*others, changed(record, seq=seq)])
            }
        for to in ({"outcome": "forwarded"}, {"outcome": "invalid", "town": "000000000"}):
            untouched = changed(replace(record, offset=1001), **to, seq=0)
            assert Wrong.SEQ not in wrongs(holding(run, [*others, record, untouched]))
            assert Wrong.SEQ in wrongs(holding(run, [*others, record, changed(untouched, seq=1)]))


# ---- tickets

TICKET_TOPICS = ("ticket-events", "tickets")


def told_of_a_ticket(run: PushRun, ticket: str, **to: Any) -> list[Finding]:
    """The findings when all that is said of a ticket, on both topics, says something else."""
    altered = []
    for record in run.topics.records:
        fields = fields_of(record) if record.topic in TICKET_TOPICS else {}
        is_it = ticket == fields.get("ticket_id", fields.get("id"))
        altered.append(changed(record, **{name: to[name] for name in to if name in fields}) if is_it else record)
    return holding(run, altered)


def tickets_of(run: PushRun) -> dict[str, Fields]:
    """The last state of each."""
    return {fields["id"]: fields for _, fields, _ in each_of(run, "tickets")}


@WORLDS
def test_a_step_or_a_state_that_is_missing_is_found(*, spool: bool) -> None:
    """The first, the last, and one between; a ticket that is on one of the two topics only."""
    run = story(spool=spool).run()
    for record, fields, others in each_of(run, *TICKET_TOPICS):
        found = holding(run, others)
        assert Wrong.NO_STEP in wrongs(found)
        name = "ticket_id" if record.topic == "ticket-events" else "id"
        rest = [fields_of(each) for each in others if each.topic == record.topic]
        is_last = all(each["version"] < fields["version"] for each in rest if each[name] == fields[name])
        assert (Wrong.LATEST in wrongs(found)) == is_last


@WORLDS
def test_a_step_or_a_state_that_is_there_twice_is_found(*, spool: bool) -> None:
    run = story(spool=spool).run()
    for record, _, others in each_of(run, *TICKET_TOPICS):
        assert wrongs(holding(run, [*others, record, replace(record, offset=1001)])) >= {Wrong.DOUBLE, Wrong.ORDER}


@WORLDS
def test_a_version_past_another_of_its_ticket_is_found(*, spool: bool) -> None:
    run = story(spool=spool).run()
    moved = 0
    for record, fields, others in each_of(run, *TICKET_TOPICS):
        name = "ticket_id" if record.topic == "ticket-events" else "id"
        for other in [each for each in others if each.topic == record.topic and each.offset > record.offset]:
            if fields_of(other)[name] == fields[name]:
                found = holding(run, [*others, replace(record, offset=other.offset + 1000)])
                assert Wrong.ORDER in wrongs(found)
                moved += 1
    assert moved > 10


@WORLDS
def test_a_ticket_whose_versions_have_a_gap_is_found(*, spool: bool) -> None:
    """On both topics alike: each version is one more from the second on, and none says so but the numbers."""
    run = story(spool=spool).run()
    second = next(fields for _, fields, _ in each_of(run, "tickets") if fields["version"] == 2)
    shifted = []
    for record in run.topics.records:
        fields = fields_of(record) if record.topic in TICKET_TOPICS else {}
        ticket, version = fields.get("ticket_id", fields.get("id")), fields.get("version", 0)
        is_later = ticket == second["id"] and version >= 2
        shifted.append(changed(record, version=version + 1) if is_later else record)
    assert wrongs(holding(run, shifted)) == {Wrong.NO_STEP, Wrong.UNEXPECTED}


@WORLDS
def test_a_ticket_that_says_something_else_than_its_steps_is_found(*, spool: bool) -> None:
    """Each field that follows from the steps, in each version; of the last one it is what readers end up with."""
    run = story(spool=spool).run()
    for record, fields, others in each_of(run, "tickets"):
        end = max(
            fields_of(each)["version"]
            for each in run.topics.records
            if each.topic == "tickets" and fields_of(each)["id"] == fields["id"]
        )
        others_than_the_first = () if fields["version"] == 1 else ("kind", "class_code", "lon", "device")
        told = ("state", "updated_at", "decision_seq", "cell", "opened_at", "cleared_at", "alerts", "town")
        for name in (*told, *others_than_the_first):
            value = f"{fields[name]}x" if isinstance(fields[name], str) else (fields[name] or 0) + 1
            found = holding(run, [*others, changed(record, **{name: value})])
            assert (record.place, Wrong.FIELD) in {(one.where, one.wrong) for one in found}, name
            is_told_by_the_step = name in {"state", "updated_at", "decision_seq", "cell"}
            assert (Wrong.LATEST in wrongs(found)) == (is_told_by_the_step and fields["version"] == end)


@WORLDS
def test_a_step_that_is_not_the_one_decided_is_found(*, spool: bool) -> None:
    run = story(spool=spool).run()
    for record, fields, others in each_of(run, "ticket-events"):
        for to in ({"alert": "cam/X"}, {"at": fields["at"] + 1}, {"step": "updated"}, {"step": "opened"}):
            if to.get("step") != fields["step"]:
                assert Wrong.FIELD in wrongs(holding(run, [*others, changed(record, **to)])), to
        assert Wrong.UNEXPECTED in wrongs(holding(run, [*others, changed(record, decision_seq=77)]))


@WORLDS
def test_a_state_that_no_step_leads_to_is_found(*, spool: bool) -> None:
    """Both topics say so alike."""
    run = story(spool=spool).run()
    for ticket in tickets_of(run):
        assert wrongs(told_of_a_ticket(run, ticket, state="closed")) == {Wrong.FIELD}


@WORLDS
def test_a_decision_whose_step_is_missing_on_both_topics_is_found(*, spool: bool) -> None:
    """As by a transaction of which a part is missing: the numbers of the ticket's versions close up where the step was the last."""
    run = story(spool=spool).run()
    for record, fields, _ in each_of(run, "decisions"):
        if fields["outcome"] not in {"opened", "updated", "cleared"}:
            continue
        left = [
            each
            for each in run.topics.records
            if each.topic not in TICKET_TOPICS
            or (fields_of(each)["town"], fields_of(each)["decision_seq"]) != (fields["town"], fields["seq"])
        ]
        assert (record.place, Wrong.NO_STEP) in {(one.where, one.wrong) for one in holding(run, left)}


def test_a_step_of_a_ticket_that_is_cleared_is_found() -> None:
    """Opened again, or moved to another owner by a new registry, when nothing is left to do."""
    run = story(spool=True).run()
    cleared = next(fields for _, fields, _ in each_of(run, "ticket-events") if fields["step"] == "cleared")
    state = next(
        fields
        for _, fields, _ in each_of(run, "tickets")
        if (fields["id"], fields["state"]) == (cleared["ticket_id"], "cleared")
    )
    version = cleared["version"] + 1
    partition = partition_of(HOME.encode())
    more = cleared | {
        "id": f"{state['id']}/{version}",
        "version": version,
        "step": "reassigned",
        "alert": "",
        "state": "open",
    }
    for step in ("reassigned", "updated"):
        records = [
            Stored("ticket-events", partition, 1001, BEGIN, b"", (), ENCODERS["ticket-events"](more | {"step": step})),
            Stored(
                "tickets",
                partition,
                1001,
                BEGIN,
                state["id"].encode(),
                (),
                ENCODERS["tickets"](state | {"version": version, "state": "open", "cleared_at": None}),
            ),
        ]
        found = holding(run, [*run.topics.records, *records])
        assert (records[0].place, Wrong.UNEXPECTED) in {(one.where, one.wrong) for one in found}


@WORLDS
def test_a_ticket_that_is_nobodys_is_found(*, spool: bool) -> None:
    """Of a step, of a state, and of both alike: no role, a role that there is not, and no person where the role is a person's."""
    run = story(spool=spool).run()
    for record, fields, others in each_of(run, *TICKET_TOPICS):
        for to in ({"owner_role": ""}, {"owner_role": "nobody"}, {"owner_role": "worker", "owner": ""}):
            found = {(one.where, one.wrong) for one in holding(run, [*others, changed(record, **fields | to)])}
            assert (record.place, Wrong.OWNERLESS) in found
    for ticket in tickets_of(run):
        assert Wrong.OWNERLESS in wrongs(told_of_a_ticket(replace(run, duties=None), ticket, owner_role="", owner=""))


@WORLDS
def test_a_ticket_of_another_owner_than_map_and_roster_say_is_found(*, spool: bool) -> None:
    """A head instead of the worker, who has left or who has not; another grid; the centre, though there is someone; another cell."""
    run = story(spool=spool).run()
    others: tuple[Fields, ...] = (
        {"owner_role": "worker", "owner": "w02"},
        {"owner_role": "head", "owner": "h00"},
        {"owner_role": "second_head", "owner": "s01"},
        {"grid": f"{FORSAKEN}G01"},
        {"cell": f"{FORSAKEN}001", "grid": f"{FORSAKEN}G01", "owner_role": "centre", "owner": ""},
    )
    for ticket, fields in tickets_of(run).items():
        for to in others:
            # Where a point does not tell the cell, the ticket's word on it is taken.
            is_wrong = "cell" not in to or fields["place_mark"] == "inside"
            assert wrongs(told_of_a_ticket(run, ticket, **to)) == ({Wrong.OWNER} if is_wrong else set()), to
        if fields["owner"]:
            assert wrongs(told_of_a_ticket(run, ticket, owner_role="centre", owner="")) == {Wrong.OWNER}


def test_a_ticket_that_a_new_registry_gives_to_another_is_judged_by_the_day_of_that() -> None:
    """The drone's worker has left; a step that gives its ticket to the head is right on the day after, and wrong before."""
    run = story(spool=True).run()
    step = next(fields for _, fields, _ in each_of(run, "ticket-events") if fields["owner"] == "h01")
    first = next(fields for _, fields, _ in each_of(run, "tickets") if fields["id"] == step["ticket_id"])
    by_then, day = {"owner_role": "worker", "owner": "w02"}, 86_400_000
    early, now = BEGIN - 2 * day, BEGIN
    partition, key = partition_of(HOME.encode()), first["id"].encode()

    def found(opened_at: int, moved_at: int) -> set[Wrong]:
        events = [step | by_then | {"at": opened_at}, step | {"at": moved_at, "version": 2, "step": "reassigned"}]
        states = [first | by_then | {"opened_at": opened_at}, first | {"opened_at": opened_at, "version": 2}]

        def written(topic: str, all_fields: list[Fields]) -> list[Written]:
            return [Written(Stored(topic, partition, at, now, key, (), b""), one) for at, one in enumerate(all_fields)]

        return wrongs(push_checker._owners(written("ticket-events", events), written("tickets", states), DUTIES))

    assert found(early, now) == set()
    assert found(now, now) == found(early, early) == {Wrong.OWNER}


# ---- what lies there


@WORLDS
def test_a_hole_among_offsets_and_a_time_that_goes_back_are_found(*, spool: bool) -> None:
    """On the topics that connectors write, whatever lies there."""
    run = story(spool=spool).run()
    for record, _, others in each_of(run, *ALERTS, "dead-letters"):
        lane = [each for each in others if (each.topic, each.partition) == (record.topic, record.partition)]
        if any(each.offset > record.offset for each in lane):
            assert Wrong.GAP in wrongs(holding(run, others))
        if any(each.offset < record.offset for each in lane):
            assert Wrong.BACKWARDS in wrongs(holding(run, [*others, replace(record, timestamp=BEGIN)]))


@WORLDS
def test_what_is_no_record_or_one_of_another_topic_is_found(*, spool: bool) -> None:
    run = story(spool=spool).run()
    for record, _, others in each_of(run, *push_checker.RECORD_OF_TOPIC):
        for value in (None, b"", (record.value or b"")[:-1]):
            assert Wrong.UNREADABLE in wrongs(holding(run, [*others, replace(record, value=value)]))
        topic = "decisions" if record.topic != "decisions" else "dead-letters"
        moved = replace(record, topic=topic, offset=1001)
        assert (moved.place, Wrong.TOPIC) in {(one.where, one.wrong) for one in holding(run, [*others, moved])}


@WORLDS
def test_a_dead_letter_of_the_router_is_found(*, spool: bool) -> None:
    run = story(spool=spool).run()
    value = ENCODERS["dead-letters"]({"id": "x", "feed": "router", "raw": b"", "detail": "poison"})
    end = max((one for one in run.topics.records if one.topic == "dead-letters"), key=lambda one: one.offset)
    letter = Stored("dead-letters", 0, end.offset + 1, end.timestamp, b"", (), value)
    found = holding(run, [*run.topics.records, letter])
    assert [(one.where, one.wrong) for one in found] == [(letter.place, Wrong.UNEXPECTED)]
    assert "poison" in found[0].detail


def with_poison(*, spool: bool, town: str = HOME) -> PushRun:
    """On each input lies what nobody sent, with its letter and its decision; two alerts of a camera are kept aside, another comes, and they come again.

    `town`: which decides the camera's.
    """
    s = story(spool=spool)
    invalid: dict[Stored, str] = {}
    again: list[Stored] = []
    letters: list[Stored] = []

    def keeps_aside(stored: Stored, reason: str) -> None:
        invalid[stored] = reason
        letters.append(s.append("dead-letters", 0, {"id": stored.place, "feed": "router", "raw": b""}))
        about = {"topic": stored.topic, "partition": stored.partition, "offset": stored.offset}
        undecided = {"id": stored.place, "town": "000000000", "origin": "record", "outcome": "invalid", "now": s.now}
        s.append("decisions", partition_of(b"000000000"), undecided | about)

    def alert(name: str, accepted_at: int) -> Stored:
        fields = {"id": name, "town": HOME, "device": "cam", "accepted_at": accepted_at}
        return s.append("alerts.camera", partition_of(HOME.encode()), fields)

    for topic in (*ALERTS, "handed-over"):
        lane = s.records.setdefault((topic, 11), [])
        lane.append(Stored(topic, 11, len(lane), s.now, None, (), b"\xff"))
        keeps_aside(lane[-1], "schema")
    poison = frozenset(map(place_of, invalid))
    moments = []
    for n, name in ((20, "cam/X"), (21, "cam/Y")):
        s.sent("camera", "cam", n)
        moments.append(s.now)
        keeps_aside(alert(name, s.now), "quarantined")
        s.heard("camera", "cam", n, (name, "published"))
    s.sent("camera", "cam", 22)
    s.alert("camera", "cam/Z", "expired", device="cam", town=town)
    s.heard("camera", "cam", 22, ("cam/Z", "published"))
    for name, moment in zip(("cam/X", "cam/Y"), moments, strict=True):
        again.append(s.alert("camera", name, "expired", device="cam", accepted_at=moment, town=town))
    aside = Aside(
        invalid={place_of(stored): why for stored, why in invalid.items()},
        poison=poison,
        letters=frozenset(map(place_of, letters)),
        again=frozenset(map(place_of, again)),
    )
    return replace(s.run(), aside=aside)


@pytest.mark.parametrize("town", [HOME, OTHER])
@WORLDS
def test_nothing_is_found_where_what_is_kept_aside_is_judged_elsewhere(*, spool: bool, town: str) -> None:
    """Also where it is handed over when it comes again, behind what was handed over meanwhile."""
    assert push_checker.findings(with_poison(spool=spool, town=town)) == []


@WORLDS
def test_what_is_kept_aside_without_a_cause_is_found(*, spool: bool) -> None:
    """The exemption is of these places, and of nothing else of them."""
    run = with_poison(spool=spool)
    aside = run.aside
    for place in aside.invalid:
        fewer = {one: why for one, why in aside.invalid.items() if one != place}
        changed_aside = replace(aside, invalid=fewer, poison=aside.poison - {place})
        assert push_checker.findings(replace(run, aside=changed_aside))
    for place in aside.letters:
        assert Wrong.UNEXPECTED in wrongs(
            push_checker.findings(replace(run, aside=replace(aside, letters=aside.letters - {place})))
        )
    first, second = sorted(aside.again)
    without_either = replace(run, aside=replace(aside, again=frozenset()))
    assert Wrong.ORDER in wrongs(push_checker.findings(without_either)), "they come behind what was sent later"
    for record, fields, others in each_of(run, "decisions"):
        if fields["outcome"] == "invalid":
            assert Wrong.UNDECIDED in wrongs(holding(run, others))
        if (fields["topic"], fields["partition"], fields["offset"]) in (first, second):
            assert Wrong.UNDECIDED in wrongs(holding(run, others))
            assert Wrong.BALANCE in wrongs(holding(run, [*others, changed(record, outcome="repeated")]))


@WORLDS
def test_what_comes_again_in_another_order_is_found(*, spool: bool) -> None:
    run = with_poison(spool=spool)
    first, second = sorted(run.aside.again)
    by_place = {place_of(one): one for one in run.topics.records}
    others = [one for one in run.topics.records if place_of(one) not in run.aside.again]
    swapped = [replace(by_place[first], offset=second[2]), replace(by_place[second], offset=first[2])]
    assert Wrong.ORDER in wrongs(holding(run, [*others, *swapped]))


@WORLDS
def test_an_envelope_of_something_else_is_found(*, spool: bool) -> None:
    run = story(spool=spool).run()
    for record, _, others in each_of(run, "handed-over"):
        for other in (changed(record, offset=77), changed(record, value=b"x")):
            assert (record.place, Wrong.UNEXPECTED) in {
                (one.where, one.wrong) for one in holding(run, [*others, other])
            }


@WORLDS
def test_a_record_that_only_one_reader_was_shown_is_found(*, spool: bool) -> None:
    """As of a transaction that came to nothing; or both were shown something there, and not the same."""
    run = story(spool=spool).run()
    for record, _, others in each_of(run, *push_checker.RECORD_OF_TOPIC):
        less, altered = Topics(tuple(others)), Topics((*others, replace(record, timestamp=record.timestamp + 1)))
        for seen in (less, altered):
            found = [one for one in push_checker.findings(replace(run, again=seen)) if one.wrong is Wrong.VIEW]
            assert [one.where for one in found] == [record.place]
        found = push_checker.findings(replace(run, topics=less))
        assert (record.place, Wrong.VIEW) in {(one.where, one.wrong) for one in found}


# ---- the evidence store


def in_store(run: PushRun, **held: Content | None) -> list[Finding]:
    """The findings when these files hold something else, or are not there; `held` by the SHA-256 in their names."""
    to = {**(run.evidence or {}), **{path_of(name): content for name, content in held.items()}}
    files = {path: content for path, content in to.items() if content}
    return push_checker.findings(replace(run, evidence=files))


def naming(run: PushRun, name: str) -> set[str]:
    """Where the records lie that name this content."""
    places = set()
    for record, fields, _ in each_of(run, "alerts.camera", "dead-letters"):
        named = {one["sha256"] for one in fields.get("evidence", ())} | {fields.get("evidence_sha256")}
        places |= {record.place} if name in named else set()
    return places


def names(run: PushRun) -> list[str]:
    """The SHA-256 of all that is kept."""
    return [content.sha256 for content in (run.evidence or {}).values()]


@WORLDS
def test_evidence_that_is_missing_is_found(*, spool: bool) -> None:
    """Of each record that names it, and of nothing else."""
    run = story(spool=spool).run()
    assert len(names(run)) > 8
    for name in names(run):
        found = {(one.where, one.wrong) for one in in_store(run, **{name: None})}
        assert found == {(place, Wrong.EVIDENCE_MISSING) for place in naming(run, name)} != set()


@WORLDS
def test_evidence_that_was_altered_is_found(*, spool: bool) -> None:
    """Other bytes of the same length, and the record's word on the length."""
    run = story(spool=spool).run()
    for name in names(run):
        size = (run.evidence or {})[path_of(name)].size
        found = {(one.where, one.wrong) for one in in_store(run, **{name: Content("0" * 64, size)})}
        altered = {(place, Wrong.EVIDENCE_ALTERED) for place in naming(run, name)}
        assert found == altered | {(path_of(name), Wrong.EVIDENCE_TORN)}
    for record, fields, others in each_of(run, "alerts.camera"):
        kept, not_kept = fields["evidence"]
        for told in (kept["bytes"] + 1, 0):
            other = changed(record, evidence=[kept | {"bytes": told}, not_kept])
            assert (record.place, Wrong.EVIDENCE_ALTERED) in {
                (one.where, one.wrong) for one in holding(run, [*others, other])
            }


@WORLDS
def test_a_file_that_was_not_written_to_its_end_is_found(*, spool: bool) -> None:
    """Under its final name, also where no record names it; what lies among the drafts is no content yet."""
    run = story(spool=spool).run()
    path, torn = f"ab/{'c' * 62}", Content("0" * 64, 17)
    for where, wrong in ((path, Wrong.EVIDENCE_TORN), ("ab/notes", Wrong.UNEXPECTED), ("drafts/tmp1", None)):
        found = push_checker.findings(replace(run, evidence={**(run.evidence or {}), where: torn}))
        assert [(one.where, one.wrong) for one in found] == ([(where, wrong)] if wrong else [])


def test_a_dead_letter_that_holds_what_it_names_or_is_too_long_is_found() -> None:
    run = story(spool=True).run()
    for record, fields, others in each_of(run, "dead-letters"):
        raw = b"x" if fields["evidence_sha256"] else b"x" * (LARGE_BYTES + 1)
        found = {(one.where, one.wrong) for one in holding(run, [*others, changed(record, raw=raw)])}
        assert found == {(record.place, Wrong.FIELD)}


def test_a_store_is_read_as_it_lies_there(tmp_path: Path) -> None:
    """Each file by its path, its bytes by their hash: one that is broken off is not what its name says."""
    assert store(tmp_path / "nothing") == {}
    content = b"a picture"
    name = sha256(content).hexdigest()
    file = tmp_path / name[:2] / name[2:]
    file.parent.mkdir()
    (tmp_path / "drafts").mkdir()
    (tmp_path / "drafts/tmp1").write_bytes(b"a pi")
    for written in (content, content[:4]):
        file.write_bytes(written)
        held = store(tmp_path)
        assert held.keys() == {path_of(name), "drafts/tmp1"}
        assert held[path_of(name)] == (sha256(written).hexdigest(), len(written))
