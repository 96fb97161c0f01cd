"""A process is killed at every point of `hub/points.py`, by itself; it is started again, more is sent, and what is promised is found to be so.

The checkers of the large fault runs judge, on all that lies there since the processes of a class began: later lives have to do with what every
earlier death has left. A point without a case fails, and so does one that is not reached.
"""

import json
import os
import re
import shutil
import signal
import sqlite3
import subprocess
import sys
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field, replace
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from hub.points import POINTS, VARIABLE
from tests.brokers import Broker, emptied, until
from tests.brokers import register as import_registry
from tests.faults import checker, evidence_checker, personal_checker, push_checker
from tests.faults.checker import Contract, Finding, Log, Run, Stored, Topics, register
from tests.faults.duties import Duties
from tests.faults.processes import (
    READY_WITHIN_S,
    ROOT,
    Connector,
    Follower,
    Router,
    Routers,
    Served,
    all_read,
    now_ms,
    simulated,
    spoken,
)
from tests.faults.ticket_checker import HANDED_OVER, INPUTS, WRITTEN, Judgement, RouterRun, Rule

pytestmark = [pytest.mark.kafka, pytest.mark.slow, pytest.mark.timeout(90)]

LATER: Mapping[str, tuple[int, ...]] = {
    "router.sent": (9,),
    "router.committed": (2,),
    "router.adopted": (2,),
    "router.version.adopted": (2,),
    "rebuild.reading": (20,),
    "import.piece": (40,),
    "outbox.accepted": (20,),
    "spool.written": (2,),
    "spool.handed_on": (5,),
    "spool.acknowledged": (5,),
}
"""Where another time is another matter than the first."""
OF_A_VERSION = {"router.version.seen", "router.version.adopted"}
DURING_AN_OUTAGE = {"outbox.fallen_back", "outbox.spooled", "spool.writing", "spool.written"}
AFTER_AN_OUTAGE = {"spool.handed_on", "spool.acknowledged"}
AT_OPENING = {"spool.opened"}
OF_A_DAMAGED_FILE = {"spool.rescuing", "spool.rescued", "spool.moving"}
STATIONS, MESSAGES = 8, 40
WATCHING: dict[str, Any] = {"period": 5, "wait": 15, "realtime": 5, "clear_after": 2}
RULES: list[dict[str, Any]] = [
    {"kind": "air.pm10.over_limit", "class": "08004", "factor": "a34002", "limit": 150, **WATCHING},
    {"kind": "air.pm25.over_limit", "class": "08004", "factor": "a34004", "limit": 75, **WATCHING},
    {"kind": "air.device_alarm", "class": "08004"},
]
PUSHED = ("alerts.camera", HANDED_OVER)
SESSION_TIMEOUT_MS = 6_000
UNDER_WAY_MS, CATCHING_UP_MS = 2_000, 5_000
DEAD_WITHIN_S, SENT_WITHIN_S, READ_WITHIN_S = 20.0, 30.0, 30.0


TRIED: set[str] = set()
"""The families that have cases."""


def cases(*families: str) -> pytest.MarkDecorator:
    """Every point of these families, at its first time and at those that make a difference."""
    TRIED.update(families)
    chosen = [
        (point, time) for point in POINTS if point.partition(".")[0] in families for time in (1, *LATER.get(point, ()))
    ]
    return pytest.mark.parametrize(("point", "number"), chosen, ids=[f"{point}:{number}" for point, number in chosen])


def dies_at(served: Served, point: str) -> None:
    """Waits until it is dead by its own SIGKILL, at this point."""
    until(lambda: served.process.poll() is not None, DEAD_WITHIN_S)
    assert served.process.returncode == -signal.SIGKILL, served.log.read_text(encoding="utf-8")[-2000:]
    said = [line["point"] for line in served.told() if line["event"] == "killed at a point"]
    assert said[-1:] == [point]


@contextmanager
def frozen(broker: Broker) -> Iterator[None]:
    """The broker takes nothing meanwhile, and answers nothing."""
    pid = broker.java_pid
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def personal(records: Iterable[Stored], *served: Served) -> list[Finding]:
    """Personal data in what was written, and in what those say who have written it."""
    known = personal_checker.names(ROOT / "deploy/town")
    return personal_checker.findings(Contract(ROOT / "schemas"), records, spoken(served), known)


@dataclass
class Town:
    """Stations, their connector and a router, and all that has become of them. `sound`: nothing wrong was found yet."""

    data: Path
    broker: Broker
    connector: Connector
    router: Router
    follower: Follower
    sound: bool = True
    logs: list[Path] = field(default_factory=list)
    outages: list[tuple[int, int]] = field(default_factory=list)
    registries: int = 1

    @classmethod
    def set(cls, data: Path, broker: Broker, running: ExitStack) -> "Town":
        """Starts all but the stations; `running` ends them."""
        emptied(broker.bootstrap)
        connector = Connector(data, broker.bootstrap)
        router = Router(0, data, broker.bootstrap, SESSION_TIMEOUT_MS, json.dumps(RULES))
        for served in (connector, router):
            served.begin()
            running.callback(lambda served=served: served.kill())  # type: ignore[misc]
        follower = Follower(broker.bootstrap, WRITTEN)
        running.callback(follower.close)
        until(lambda: connector.is_ready() and router.is_ready(), READY_WITHIN_S)
        town = cls(data, broker, connector, router, follower)
        with town.stations():
            pass  # so that there is something to remember
        town.judged()
        return town

    @contextmanager
    def stations(self, messages: int = MESSAGES) -> Iterator[None]:
        """Stations that send so many messages; at its end all are answered."""
        log = self.data / f"stations-{len(self.logs)}.jsonl"
        self.logs.append(log)
        manners = {"devices": STATIONS, "interval": 0, "repeat": 0.2, "troubles": 0.05, "timeout": 2, "period": 5}
        with simulated(self.connector.address, log, seed=len(self.logs), messages=messages, **manners) as process:
            until(log.exists, READY_WITHIN_S)
            yield
            assert process.wait(SENT_WITHIN_S) == 0

    def spooled(self) -> bool:
        """Whether its connector has anything in the spool."""
        found = re.search(r'^gridhub_spool_messages{feed="air"} (\S+)$', self.connector.get("/metrics"), re.MULTILINE)
        return found is not None and float(found[1]) > 0

    @contextmanager
    def broken(self) -> Iterator[None]:
        """Something is, meanwhile."""
        begun = now_ms()
        yield
        self.outages.append((begun - UNDER_WAY_MS, now_ms() + CATCHING_UP_MS))

    def judged(self) -> Judgement:
        """All that is wrong by now fails the test."""
        balance = self.connector.balance()
        routers = Routers([self.router])
        routers.wait_for(lambda: routers.are_ready() and all_read(self.broker.bootstrap, INPUTS), READ_WITHIN_S)
        now = now_ms()
        with self.router.frozen():  # else time goes on, and with it what is written, between one look and the next
            written = Topics.read(self.broker.bootstrap, within_s=READ_WITHIN_S, topics=WRITTEN)
            again = self.follower.seen(written, READ_WITHIN_S)
        run = Run(
            log=Log.read(*self.logs),
            topics=Topics.read(self.broker.bootstrap, within_s=READ_WITHIN_S),
            register=register((ROOT / "deploy/town/devices.csv").read_text(encoding="utf-8")),
            contract=Contract(ROOT / "schemas"),
            minute_period_s=600,
            balance=balance,
            outages=tuple(self.outages),
        )
        judgement = Judgement(
            RouterRun(
                run=run,
                written=written,
                again=again,
                rules=tuple(map(Rule.of, RULES)),
                until=now,
                slots=1,
                registries=self.registries,
                duties=Duties.read(ROOT / "deploy/town"),
            )
        )
        found = checker.findings(run) + judgement.found
        found += personal((*run.topics.records, *written.records), self.connector, self.router)
        for finding in found[:30]:
            print(*finding)
        assert Counter(finding.wrong for finding in found) == {}
        assert not [
            line for served in (self.connector, self.router) for line in served.told() if line["event"] == "defect"
        ]
        return judgement


@pytest.fixture(scope="class")
def towns(broker: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[], Town]]:
    """The town of the class; another one where it is not sound."""
    there: list[Town] = []
    with ExitStack() as running:

        def town() -> Town:
            if not there or not there[-1].sound:
                running.close()
                there.append(Town.set(tmp_path_factory.mktemp("town"), broker, running))
            return there[-1]

        yield town


@pytest.fixture
def town(towns: Callable[[], Town]) -> Town:
    """Where the case takes place. It is sound again only once it was judged."""
    one = towns()
    one.sound = False
    return one


def damaged(path: Path) -> None:
    """Its index is where the table is: nobody can count what it holds, and all of it can be read. What was changed last is in the log beside it."""
    ends = ("", "-wal")
    spool = sqlite3.connect(path, isolation_level=None)
    try:
        spool.execute("PRAGMA writable_schema = ON")
        spool.execute(
            "UPDATE sqlite_master SET rootpage = (SELECT rootpage FROM sqlite_master WHERE name = 'entries') WHERE name = 'lanes'"
        )
        # Whoever closes it would bring the log into the file.
        kept = {end: path.with_name(path.name + end).read_bytes() for end in ends}
    finally:
        spool.close()
    for end, content in kept.items():
        path.with_name(path.name + end).write_bytes(content)


class TestTown:
    """Stations, their connector, the router."""

    @cases("outbox", "spool")
    def test_the_connector_is_killed(self, town: Town, point: str, number: int) -> None:
        connector, at = town.connector, {VARIABLE: f"{point}:{number}"}
        opening = point in AT_OPENING or point in OF_A_DAMAGED_FILE
        spooled = opening or point in DURING_AN_OUTAGE or point in AFTER_AN_OUTAGE
        with town.broken(), ExitStack() as outage:
            assert connector.stop() == 0
            connector.start(**({} if opening else at))
            if spooled:
                outage.enter_context(frozen(town.broker))
            with town.stations():
                if opening or point in AFTER_AN_OUTAGE:
                    until(town.spooled, DEAD_WITHIN_S)
                    if opening:
                        connector.kill()
                    outage.close()
                if point in OF_A_DAMAGED_FILE:
                    damaged(town.data / "spool/air.db")
                if opening:
                    connector.begin(**at)
                dies_at(connector, point)
                outage.close()
                connector.start()
        with town.stations():
            pass
        town.judged()
        town.sound = True

    @cases("router", "rebuild")
    def test_the_router_is_killed(self, town: Town, point: str, number: int) -> None:
        router = town.router
        assert router.stop() == 0
        router.begin(**{VARIABLE: f"{point}:{number}"})
        if not point.startswith("rebuild"):
            until(router.is_ready, READY_WITHIN_S)
        if point in OF_A_VERSION:
            import_registry(town.broker.bootstrap)
            town.registries += 1
        with town.stations():
            dies_at(router, point)
            router.start()
        with town.stations():
            pass
        town.judged()
        town.sound = True


@dataclass
class Cameras:
    """Cameras' connector and a router, what was pushed, and what is kept of their pictures, in a folder for each case."""

    data: Path
    broker: Broker
    connector: Connector
    router: Router
    follower: Follower
    logs: list[Path] = field(default_factory=list)

    @contextmanager
    def pushing(self, messages: int = MESSAGES) -> Iterator[None]:
        """Cameras that push so many messages; at its end all are answered."""
        log = self.data / f"cameras-{len(self.logs)}.jsonl"
        self.logs.append(log)
        options = {"seed": len(self.logs), "messages": messages, "interval": 0}
        with simulated(self.connector.address, log, "camera", **options) as process:
            until(log.exists, READY_WITHIN_S)
            yield
            assert process.wait(SENT_WITHIN_S) == 0

    def judged(self, since: int, store: Path) -> None:
        """All that is wrong fails the test. What alerts name since then is in the store, and is what it was."""
        balance = self.connector.balance()
        until(lambda: all_read(self.broker.bootstrap, PUSHED), READ_WITHIN_S)
        with self.router.frozen():  # as above
            topics = Topics.read(self.broker.bootstrap, within_s=READ_WITHIN_S, topics=push_checker.RECORD_OF_TOPIC)
            again = self.follower.seen(topics, READ_WITHIN_S)
        told = tuple(
            # Each run counts a camera's messages from 1.
            replace(push, n=push.n + run * MESSAGES)
            for run, log in enumerate(self.logs)
            for push in push_checker.pushes(log)
        )
        feed = push_checker.Feed("camera", told, {}, balance)
        duties = Duties.read(ROOT / "deploy/town")
        run = push_checker.PushRun((feed,), topics, Contract(ROOT / "schemas"), again=again, duties=duties)
        judgement = push_checker.Judgement(run)
        found = judgement.found + personal(topics.records, self.connector, self.router)
        for finding in found[:30]:
            print(*finding)
        assert Counter(finding.wrong for finding in found) == {}
        alerts = [each for each in judgement.records[feed.topic] if each.fields["accepted_at"] >= since]
        named = {one["sha256"] for alert in alerts for one in alert.fields["evidence"]}
        held = evidence_checker.store(store)
        assert named
        assert held.keys() == set(map(evidence_checker.path_of, named)), "what is named, and no drafts"
        assert list(evidence_checker.findings(((each.place, each.fields) for each in alerts), held)) == []


@pytest.fixture(scope="class")
def cameras(broker: Broker, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cameras]:
    emptied(broker.bootstrap)
    data = tmp_path_factory.mktemp("cameras")
    router = Router(0, data, broker.bootstrap, SESSION_TIMEOUT_MS)
    router.start()
    follower = Follower(broker.bootstrap, push_checker.RECORD_OF_TOPIC)
    yield Cameras(data, broker, Connector(data, broker.bootstrap, "camera"), router, follower)
    follower.close()
    assert router.stop() == 0


class TestCameras:
    """Cameras and their connector, which keeps each picture before it hands its alert on."""

    @cases("evidence")
    def test_the_connector_is_killed(self, cameras: Cameras, tmp_path: Path, point: str, number: int) -> None:
        connector, begun = cameras.connector, now_ms()
        folder = {"GRIDHUB__EVIDENCE__DIR": str(tmp_path / "evidence")}
        with ExitStack() as running:
            running.callback(connector.kill)
            connector.start(**folder, **{VARIABLE: f"{point}:{number}"})
            with cameras.pushing():
                dies_at(connector, point)
                connector.start(**folder)
            with cameras.pushing():
                pass
            cameras.judged(begun, tmp_path / "evidence")
            assert connector.stop() == 0


@dataclass
class Version:
    """What lies on the topic of a registry's version: who has claimed its number, its pieces, and what was told of them at its end."""

    claims: list[str] = field(default_factory=list)
    pieces: dict[tuple[str, str], list[str]] = field(default_factory=lambda: defaultdict(list))
    told: list[dict[str, Any]] = field(default_factory=list)

    @property
    def counts(self) -> bool:
        """Whether it is there as a whole, once."""
        assert all(len(bodies) == 1 for bodies in self.pieces.values()), "a piece of a number is one thing"
        digest = sha256()
        for (kind, name), (body,) in sorted(self.pieces.items()):
            digest.update(f"{kind}\n{name}\n{body}\n".encode())
        whole = {"count": len(self.pieces), "sha256": digest.hexdigest()}
        assert all(one | whole == one for one in self.told), "nothing is told of what is not there"
        return len(self.claims) == len(self.told) == 1

    @property
    def vendors_may(self) -> set[int]:
        """How often they push in a second: what the cases change."""
        return {json.loads(bodies[0])["per_s"] for (kind, _), bodies in self.pieces.items() if kind == "vendor"}


def versions(bootstrap: str) -> dict[int, Version]:
    """All that lies on the topic, by number."""
    contract, found = Contract(ROOT / "schemas"), defaultdict[int, Version](Version)
    for stored in Topics.read(bootstrap, within_s=READ_WITHIN_S, topics=["registry"]).records:
        _, fields = contract.decode(stored.value or b"")
        version = found[fields["version"]]
        match fields["kind"]:
            case "claim":
                version.claims.append(fields["id"])
            case "version":
                version.told.append(json.loads(fields["body"]))
            case kind:
                version.pieces[kind, fields["id"]].append(fields["body"])
    return found


@pytest.fixture(scope="class")
def topic(broker: Broker) -> Broker:
    emptied(broker.bootstrap)
    return broker


class TestImport:
    """The command that makes a registry the version in force."""

    @cases("import")
    def test_the_import_is_killed(self, topic: Broker, tmp_path: Path, point: str, number: int) -> None:
        before = versions(topic.bootstrap)
        newest = max(one for one, version in before.items() if version.counts)
        may = max(before[newest].vendors_may) + 1
        folder = tmp_path / "registry"
        shutil.copytree(ROOT / "deploy/town", folder)
        vendors = (folder / "vendors.toml").read_text(encoding="utf-8")
        vendors = re.sub(r"per_s = \d+\n", "", vendors).replace("[[vendors]]\n", f"[[vendors]]\nper_s = {may}\n")
        (folder / "vendors.toml").write_text(vendors, encoding="utf-8")

        def imported(**more: str) -> subprocess.CompletedProcess[str]:
            return subprocess.run(
                [sys.executable, "-m", "hub", "registry", "import", str(folder)],
                cwd=ROOT,
                env=os.environ | {"GRIDHUB__KAFKA__BOOTSTRAP": topic.bootstrap} | more,
                capture_output=True,
                text=True,
                timeout=READY_WITHIN_S,
                check=False,
            )

        killed = imported(**{VARIABLE: f"{point}:{number}"})
        assert killed.returncode == -signal.SIGKILL, killed.stderr
        assert json.loads(killed.stderr.splitlines()[-1])["point"] == point
        broken_off = versions(topic.bootstrap)
        counted = {one for one, version in broken_off.items() if version.counts}
        assert max(counted) == (max(broken_off) if point == "import.version" else newest)
        again = imported()
        assert again.returncode == 0, again.stderr
        after = versions(topic.bootstrap)
        assert max(after) == max(broken_off) + (point != "import.version")
        assert after[max(after)].counts
        assert after[max(after)].vendors_may == {may}
        assert str(max(after)) in again.stdout
        assert {one for one, version in after.items() if version.counts} == counted | {max(after)}


def test_every_point_has_a_case() -> None:
    assert {point.partition(".")[0] for point in POINTS} == TRIED
