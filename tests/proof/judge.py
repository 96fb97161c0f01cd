"""One run under a seed, from its beginning to what the checkers say of it."""

import gc
import json
import shutil
import time
import traceback
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import ExitStack, suppress
from dataclasses import asdict, dataclass, field
from datetime import datetime
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any
from urllib.error import HTTPError

from tests.faults import checker, offsets_checker, personal_checker, poison_checker, push_checker
from tests.faults.checker import (
    Aside,
    Contract,
    Finding,
    Log,
    Run,
    Stored,
    Topics,
    Wrong,
    partition_of,
    place_of,
    register,
)
from tests.faults.duties import Duties
from tests.faults.evidence_checker import store
from tests.faults.offsets_checker import JOURNAL, OFFSETS
from tests.faults.poison_checker import Poison
from tests.faults.processes import ROOT, UNKNOWN_COMMIT, Router, Served, all_read, now_ms, spoken
from tests.faults.push_checker import Feed, PushRun, pushes
from tests.faults.pushing import ACCUSED, log_of, senders_of
from tests.faults.ticket_checker import DECISIONS, HANDED_OVER, INPUTS, NOTICED_MS, WRITTEN, Judgement, RouterRun, Rule
from tests.proof.befall import REFUSED, Befalling, Fallen, refused
from tests.proof.plan import STATIONS, Family, Kind, plan
from tests.proof.stage import PERIOD_S, RULES, UNAVAILABLE, WAIT_S, WHOLE_WITHIN_S, Stage

# What is sent this long before a fault may be under way, and Kafka may be away this long after all serve again.
UNDER_WAY_MS, CATCHING_UP_MS = 2_000, 10_000
CONTRACT = Contract(ROOT / "schemas")
PEOPLE = personal_checker.names(ROOT / "deploy/town") | {ACCUSED}
SENT_WITHIN_S, READ_WITHIN_S = 150.0, 60.0
STUCK, ENDED, DEFECT = "stuck", "ended", "defect"
"""Beside what the checkers find: the run did not come to an end by itself; a process did not end in order when it was asked to, or has told of a defect."""
NOT_READY = "not ready at all"
"""Where a run is that has not got as far as its first message."""
SILENT = "client silent"
"""Told by a router that ends because Kafka's client brings it nothing any more. No promise is broken by that: it is counted, and what all have said is kept."""
NEVER_TOLD = frozenset({"defect", "town quarantined", "entries of no town passed over", REFUSED})
"""What no fault makes a process say, but of what was put in: nothing that it wrote is damaged, and nobody else writes."""
IN_ORDER = frozenset({0, UNKNOWN_COMMIT, UNAVAILABLE})
"""Who is asked to end while Kafka does not answer can only say that it is to be started again; who finds its slot taken says that."""


@dataclass(frozen=True, slots=True)
class Result:
    """What a run came to. `faults`: kind, answers waited for, transactions open, how long it took (ms). `findings`: what is wrong, where, how."""

    seed: int
    plan: str
    faults: tuple[tuple[str, int, int, int], ...]
    messages: int
    records: int
    decisions: int
    late: int
    ended: tuple[int, ...]
    seconds: float
    findings: tuple[tuple[str, str, str], ...]
    silent: int = 0
    """How many lives of routers ended because nothing came of a client."""

    @property
    def counts(self) -> bool:
        """Whether a fault met an answer that was waited for, or an open transaction."""
        return any(answers or transactions for _, answers, transactions, _ in self.faults)

    @property
    def has_begun(self) -> bool:
        """Whether all were ready, so that there was something to break."""
        return all(where != NOT_READY for _, where, _ in self.findings)

    @classmethod
    def of(cls, told: Mapping[str, Any]) -> "Result":
        """From what `as_json` wrote."""
        lists = {"faults": tuple(map(tuple, told["faults"])), "findings": tuple(map(tuple, told["findings"]))}
        return cls(**{**told, **lists, "ended": tuple(told["ended"])})

    def as_json(self) -> str:
        return json.dumps(asdict(self), ensure_ascii=False)


def proved(seed: int, kept: Path | None = None) -> Result:
    """Carries a run out. What is wrong is in its findings, also that it did not come to an end: nobody helps it.

    `kept`: a folder for what all have said, and what each broker has, in a run of which something is wrong.
    """
    began, planned = time.monotonic(), plan(seed)
    fallen: list[Fallen] = []
    ended: list[int] = []
    silent = 0
    seen, poison = _Seen(), Poison()
    with TemporaryDirectory(prefix="gridhub-proof-") as folder, ExitStack() as running:
        data = Path(folder)
        stage: Stage | None = None
        try:
            stage = Stage.set(planned, data, running)
            befalling = Befalling(stage)
            fallen, ended = befalling.fallen, stage.routers.ended
            try:
                befalling.run()
            finally:
                poison = befalling.poison
            if planned.feeds == STATIONS:
                _stations(stage, fallen, poison, seen)
            else:
                _pushers(stage, poison, seen)
        except Exception as error:  # noqa: BLE001 - whatever has broken it off stands in its result
            at = (each for each in traceback.extract_tb(error.__traceback__) if "proof" in each.filename)
            way = " ".join(f"{each.name}:{each.lineno}" for each in at)
            seen.found.append(
                (
                    STUCK,
                    _where(stage) if stage else NOT_READY,
                    f"{way}: {type(error).__name__}: {str(error)[-3000:]}",
                )
            )
        finally:
            if stage:
                seen.found += _of_processes(stage, poison)
                silent = sum(line["event"] == SILENT for served in _born(stage) for line in served.told())
            if kept and (seen.found or silent):
                _keep(data, kept / f"seed-{seed}")
    gc.collect()  # what Kafka's client has dropped
    return Result(
        seed=seed,
        plan=str(planned),
        # What was never mended lasted to the end.
        faults=tuple(
            (str(one.fault.kind), one.answers, one.transactions, (one.over or now_ms()) - one.at) for one in fallen
        ),
        messages=seen.messages,
        records=seen.records,
        decisions=seen.decisions,
        late=seen.late,
        ended=tuple(ended),
        seconds=round(time.monotonic() - began, 1),
        findings=tuple(seen.found),
        silent=silent,
    )


Told = tuple[str, str, str]
"""What is wrong, where, and how."""


@dataclass
class _Seen:
    found: list[Told] = field(default_factory=list)
    messages: int = 0
    records: int = 0
    decisions: int = 0
    late: int = 0

    def judged(self, findings: Iterable[Finding], is_chance: Callable[[Finding], bool] = lambda _: False) -> None:
        for one in findings:
            if is_chance(one):
                self.late += 1
            else:
                self.found.append((str(one.wrong), one.where, one.detail))


def _settle(stage: Stage, inputs: Iterable[str]) -> dict[str, checker.Balance]:
    """All is sent, nothing is in a spool, and the routers have read all; what each connector has counted."""
    stage.wait_for(stage.are_sent, SENT_WITHIN_S)
    balances = {feed: connector.balance() for feed, connector in stage.connectors.items()}
    stage.wait_for(lambda: all_read(stage.cluster.bootstrap, inputs), READ_WITHIN_S)
    return balances


def _at_rest(stage: Stage, seen: _Seen, poison: Poison) -> Aside:
    """Time decides, too: for nothing to change any more the routers end, in order. Before, what all say is searched for what is a person's.

    What was put in is judged, and what the other checkers are to leave out for it is returned.
    """
    stage.wait_for(stage.are_ready, WHOLE_WITHIN_S)
    texts = spoken((*stage.all_served(), *stage.more))
    stage.end(*stage.routers.routers)
    last = stage.ended[-stage.plan.slots :]
    seen.found += [(ENDED, name, f"it did with {code}, and Kafka answered") for name, code in last if code]
    everything = _read(stage, personal_checker.TOPICS)
    written = [one for one in everything.records if place_of(one) not in poison.inputs]
    seen.judged(personal_checker.findings(CONTRACT, written, texts, PEOPLE))
    journal = (record for record in everything.records if record.topic == JOURNAL)
    seen.judged(offsets_checker.findings(CONTRACT, _read(stage, [OFFSETS]).records, journal))
    judged = poison_checker.Judgement(poison, everything, CONTRACT)
    seen.judged(judged.found)
    return judged.aside


def _read(stage: Stage, topics: Iterable[str]) -> Topics:
    return Topics.read(stage.cluster.bootstrap, within_s=READ_WITHIN_S, topics=topics)


def _stations(stage: Stage, fallen: Sequence[Fallen], poison: Poison, seen: _Seen) -> None:
    balance = _settle(stage, INPUTS)["air"]
    log = Log.read(log_of(stage.data, "air"))
    last = max(message.attempts[-1].at for message in log.messages)
    decided = last + (PERIOD_S + WAIT_S) * 1000 + NOTICED_MS + 1_000
    stage.wait_for(lambda: now_ms() > decided and all_read(stage.cluster.bootstrap, INPUTS), READ_WITHIN_S)
    until = now_ms()
    aside = _at_rest(stage, seen, poison)
    topics, written = _read(stage, checker.RECORD_OF_TOPIC), _read(stage, WRITTEN)
    run = Run(
        log=log,
        topics=topics,
        register=register((ROOT / "deploy/town/devices.csv").read_text(encoding="utf-8")),
        contract=CONTRACT,
        minute_period_s=600,
        balance=balance,
        outages=tuple((one.at - UNDER_WAY_MS, one.over + CATCHING_UP_MS) for one in fallen if _delays(one)),
        aside=aside,
    )
    judgement = Judgement(
        RouterRun(
            run=run,
            written=written,
            again=stage.follower.seen(written, READ_WITHIN_S),
            rules=tuple(map(Rule.of, RULES)),
            until=until,
            slots=stage.plan.slots + 1,
            one_clock=not any(one.fault.family is Family.CLOCK for one in fallen),
            duties=Duties.read(stage.data / "registry"),
        )
    )
    seen.judged(checker.findings(run))
    seen.judged(judgement.found, _chance(fallen, (*topics.records, *written.records), poison))
    seen.messages, seen.records = len(log.messages), len(topics.records)
    seen.decisions = sum(record.topic == DECISIONS for record in written.records)


def _delays(fallen: Fallen) -> bool:
    """Whether it keeps messages from the inputs."""
    return (
        fallen.fault.family not in {Family.ROUTER, Family.CLOCK, Family.POISON}
        and fallen.fault.kind is not Kind.CONNECTOR_CLOCK_JUMPS
    )


def _chance(fallen: Iterable[Fallen], records: Iterable[Stored], poison: Poison) -> Callable[[Finding], bool]:
    """What a fault may do to a reading around its time: it comes after its period, or after time has passed for its town. The journal says so, and no
    promise is broken. What was kept aside for a town is sent again when it is mended.
    """
    at = {record.place: record for record in records}
    again = [(one.town.encode(), one.replaying, one.until + CATCHING_UP_MS) for one in poison.sick]
    around = {
        Wrong.TOO_SLOW: [(one.at, one.over + CATCHING_UP_MS) for one in fallen if _delays(one)],
        Wrong.OVERTAKEN: [
            (one.at - UNDER_WAY_MS, one.over + CATCHING_UP_MS)
            for one in fallen
            if one.fault.family is not Family.POISON
        ],
    }

    def is_chance(finding: Finding) -> bool:
        if finding.wrong not in around:
            return False
        record = at[finding.where]
        return any(begin <= record.timestamp <= end for begin, end in around[finding.wrong]) or any(
            record.key == town and begin <= record.timestamp <= end for town, begin, end in again
        )

    return is_chance


def _pushers(stage: Stage, poison: Poison, seen: _Seen) -> None:
    balances = _settle(stage, [*(f"alerts.{feed}" for feed in stage.plan.feeds), HANDED_OVER])
    aside = _at_rest(stage, seen, poison)
    topics = _read(stage, push_checker.RECORD_OF_TOPIC)
    feeds = tuple(
        Feed(feed, pushes(log_of(stage.data, feed)), senders_of(feed), balances[feed]) for feed in stage.plan.feeds
    )
    run = PushRun(
        feeds,
        topics,
        CONTRACT,
        again=stage.follower.seen(topics, READ_WITHIN_S),
        evidence=store(stage.data / "evidence"),
        duties=Duties.read(stage.data / "registry"),
        aside=aside,
    )
    assert not run.unjudged
    judged = push_checker.Judgement(run)
    seen.judged(judged.found)
    seen.messages, seen.records = sum(len(feed.pushes) for feed in feeds), len(topics.records)
    seen.decisions = len(judged.records[DECISIONS])


def _of_processes(stage: Stage, poison: Poison) -> list[Told]:
    """A defect that one has told of, an end that was not in order, and a version of the registry that cannot be taken and of which one has not told."""
    found = [(ENDED, name, f"asked to end, it did with {code}") for name, code in stage.ended if code not in IN_ORDER]
    for served in _born(stage):
        told = served.told()
        defects = (line for line in told if line["event"] in NEVER_TOLD and not _is_of(poison, line))
        found += [(DEFECT, served.name, json.dumps(line, ensure_ascii=False)[:3000]) for line in defects]
        if poison.versions and served not in stage.more and max(poison.versions) not in refused(told):
            found.append((DEFECT, served.name, f"has not told of version {max(poison.versions)} of the registry"))
    return found


def _born(stage: Stage) -> list[Served]:
    """All who have said something."""
    return [served for served in (*stage.all_served(), *stage.more) if served.log.exists()]


def _is_of(poison: Poison, line: Mapping[str, object]) -> bool:
    """Whether a process tells of what was put in, while it is there."""
    at = int(datetime.fromisoformat(str(line.get("timestamp", "1970-01-01T00:00:00Z"))).timestamp() * 1000)
    match line["event"]:
        case "registry version refused":
            return line["version"] in poison.versions
        case "town quarantined":
            return any(
                one.town == line["town"] and (not poison.one_clock or one.since <= at <= one.replaying)
                for one in poison.sick
            )
        case "entries of no town passed over":
            return any(partition_of(one.town.encode()) == line["partition"] for one in poison.sick)
    return False


def _where(stage: Stage) -> str:
    """Who is not ready, and what waits."""
    unready = [
        f"{served.name} ({_reasons(served)})"
        for served in stage.all_served()
        if served.process.poll() is not None or not served.is_ready()
    ]
    waiting = {feed: senders.pending() for feed, senders in stage.senders.items()}
    lags = [lag for router in stage.routers.routers for lag in _lags(router)]
    return (
        f"not ready: {', '.join(unready) or 'none'}; answers waited for: {waiting}; whole: {stage.cluster.is_whole()};"
        f" not read: {', '.join(lags) or 'nothing'}"
    )


def _reasons(served: Served) -> str:
    """Why it is not ready, by its own word."""
    if served.process.poll() is not None:
        return "has ended"
    try:
        return " ".join(served.get("/ready").split())
    except HTTPError as error:
        with error:
            return " ".join(error.read().decode().split())
    except OSError as error:
        return str(error)


def _lags(router: Router) -> list[str]:
    try:
        told = router.get("/metrics").splitlines()
    except (OSError, AssertionError):
        return []  # that it is not ready is said already
    return [f"{router.name} {line}" for line in told if line.startswith("gridhub_lag_records{") and line[-4:] != " 0.0"]


def _keep(data: Path, folder: Path) -> None:
    folder.mkdir(parents=True, exist_ok=True)
    kafka = [path for name in ("server.log", "java.log") for path in data.glob(f"kafka/**/{name}")]
    for path in (*data.glob("*.log"), *data.glob("*.jsonl"), *data.glob("more-*/*.log"), *kafka):
        shutil.copy(path, folder / f"{path.parent.name}-{path.name}")
    # What each node has: where a transaction was decided in two ways, no client can tell.
    for path in (
        each for name in ("*.log", "leader-epoch-checkpoint") for each in data.glob(f"kafka/**/log/*-*/{name}")
    ):
        node, partition = path.parents[2].name, path.parent.name
        (folder / node / partition).mkdir(parents=True, exist_ok=True)
        with suppress(FileNotFoundError):  # cleaned away since
            shutil.copy(path, folder / node / partition)
