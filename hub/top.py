"""`gridhub top`: what runs here and which tickets there are, once a second on a screen, as lines in a pipe, or once as JSON.

Feeds and routers are asked for their metrics, found by the run files of the data folder; tickets are read from their topics, committed
records only, in no group. Each has a thread of its own, so that a key, a resize or Ctrl-C never waits for the other side.
"""

import contextlib
import http.client
import json
import logging
import os
import re
import select
import shutil
import sys
import termios
import threading
import time
import tty
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from enum import StrEnum
from pathlib import Path
from typing import Self, TypeVar

from rich.console import Console
from rich.live import Live

from hub.command import DONE, UNAVAILABLE
from hub.core.errors import HubError, Rejected
from hub.core.events import DeadLetter, Decision, Outcome, State, Ticket, TicketEvent
from hub.core.registry import Registry
from hub.kafka_log import Arrived, Tail
from hub.lang import Text
from hub.registry import Versions
from hub.running import on_stop
from hub.settings import KafkaSettings, Settings
from hub.view import Feed, Happening, Matter, Picture, Router, Screen, line, summary
from hub.wire import Wire

TICKETS, TICKET_EVENTS, DECISIONS, DEAD_LETTERS = "tickets", "ticket-events", "decisions", "dead-letters"
# How many of the last records of each partition come first: all tickets, and of what happened as much as a screen can want.
TOPICS: Mapping[str, int | None] = {TICKETS: None, TICKET_EVENTS: 20, DECISIONS: 500, DEAD_LETTERS: 10}
EVERYWHERE = ("", "0.0.0.0", "::")  # noqa: S104 - where others listen; this process asks
LOOPBACK = "127.0.0.1"
DRAW_S, KEY_S, LOOK_S, ASK_S, RETRY_S = 1.0, 0.2, 1.0, 2.0, 2.0
KAFKA_ASK_S = 5.0
RATE_OVER = 10
SUMMARY_S = 10.0
ONCE_WITHIN_S = 30.0
# Tickets, decisions and events come on three topics, in no order between them; so long one waits for the others.
JOIN_S = 3.0
NOTE = "note"
SHOWN, REMEMBERED = 200, 20_000
TO_TICKET = "gridhub_acceptance_to_ticket_seconds"
STEPS = frozenset({Outcome.OPENED, Outcome.UPDATED, Outcome.CLEARED})
Key = TypeVar("Key")
SAMPLE = re.compile(r"(\w+)(?:\{(.*)\})? (\S+)")
LABEL = re.compile(r'(\w+)="((?:[^"\\]|\\.)*)"')


class Manner(StrEnum):
    """How it is shown: on a whole screen, a line a happening, or only a summary every ten seconds."""

    SCREEN = "screen"
    LINES = "lines"
    SUMMARIES = "summaries"


def top(settings: Settings, *, as_json: bool) -> int:
    """Shows what runs until `q`, SIGINT or SIGTERM; with `as_json` once. Returns the exit code: 3 where JSON had to do without Kafka."""
    stop = threading.Event()
    on_stop(stop.set)
    with Sources(settings, settings.kafka.bootstrap) as sources:
        if as_json:
            return _once(sources, stop)
        show(sources, stop, manner(), lambda: False)
    return DONE


def manner() -> Manner:
    """A screen, where there is one."""
    usable = sys.stdout.isatty() and os.environ.get("TERM", "dumb") not in ("", "dumb", "unknown")
    return Manner.SCREEN if usable else Manner.LINES


def show(sources: "Sources", stop: threading.Event, how: Manner, done: Callable[[], bool]) -> None:
    """Shows until `stop`, or `done()`, which is asked a few times a second and may raise; on a screen also until `q`."""
    if how is Manner.SCREEN:
        _on_a_screen(sources, stop, done)
    else:
        _in_lines(sources, stop, done, all_of_them=how is Manner.LINES)


def _on_a_screen(sources: "Sources", stop: threading.Event, done: Callable[[], bool]) -> None:
    # Nobody else may write there: warnings of the Kafka client least of all. What matters of them is on the screen.
    logging.getLogger("kafka").addHandler(logging.NullHandler())
    console = Console(highlight=False, emoji=False, markup=False)
    with (
        _keys() as key,
        Live(console=console, screen=True, auto_refresh=False, redirect_stdout=False, redirect_stderr=False) as live,
    ):
        drawn, size = 0.0, shutil.get_terminal_size()
        while not stop.is_set() and not done():
            if time.monotonic() - drawn >= DRAW_S or shutil.get_terminal_size() != size:
                drawn, size = time.monotonic(), shutil.get_terminal_size()
                live.update(Screen(sources.picture()), refresh=True)
            if key(KEY_S) in ("q", "Q"):
                return


@contextlib.contextmanager
def _keys() -> Iterator[Callable[[float], str]]:
    """A function that waits so many seconds for a key; `""` is none. The terminal is afterwards as it was."""
    if not sys.stdin.isatty():
        yield lambda wait_s: time.sleep(wait_s) or ""  # type: ignore[func-returns-value]
        return
    place = sys.stdin.fileno()
    before = termios.tcgetattr(place)

    def key(wait_s: float) -> str:
        ready, _, _ = select.select([place], [], [], wait_s)
        return os.read(place, 32).decode(errors="replace")[:1] if ready else ""

    try:
        tty.setcbreak(place)
        yield key
    finally:
        termios.tcsetattr(place, termios.TCSADRAIN, before)


def _in_lines(sources: "Sources", stop: threading.Event, done: Callable[[], bool], *, all_of_them: bool) -> None:
    before = sources.picture()
    ended = False
    while not ended:
        ended = stop.wait(KEY_S) or done()
        happened = sources.since_last()
        for one in happened:
            if one.what == NOTE:
                print(line(one), file=sys.stderr, flush=True)
            elif all_of_them:
                print(line(one), flush=True)
        now = sources.picture()
        if now.at - before.at >= SUMMARY_S * 1000:
            print(summary(before, now), file=sys.stderr, flush=True)
            before = now


def _once(sources: "Sources", stop: threading.Event) -> int:
    """One picture with rates, so after two looks."""
    deadline = time.monotonic() + ONCE_WITHIN_S
    while not stop.is_set() and time.monotonic() < deadline and not sources.complete():
        if sources.failed():
            break
        stop.wait(0.1)
    picture = sources.picture()
    print(json.dumps(asdict(picture), ensure_ascii=False))
    return UNAVAILABLE if picture.kafka else DONE


# ---- where it comes from


class Sources:
    """Everything that is shown, gathered on threads of its own from `__enter__` on, until `__exit__`."""

    def __init__(
        self, settings: Settings, bootstrap: str, *, data: Path | None = None, title: str = "", tail: Tail | None = None
    ) -> None:
        """`tail`: the topics, opened already: what came since then counts as new; else they are opened when Kafka answers."""
        listen = settings.telemetry.listen
        self._bootstrap = bootstrap
        self._data = data or settings.data
        self._title = title
        self._processes = Processes(
            self._data, LOOPBACK if listen is None or listen.host in EVERYWHERE else listen.host
        )
        self._names = Names()
        self._log = TicketLog(Wire.load(), self._names)
        self._registry = Versions(settings.model_copy(update={"kafka": _at(settings, bootstrap)}), "gridhub-top")
        self._tail = tail
        self._lock = threading.Lock()
        self._stop = threading.Event()
        self._kafka = "" if tail else str(Text("connecting", "正在连接"))
        self._failed = self._complete = False
        self._looks = 0
        self._threads = [
            threading.Thread(target=self._work, args=(work,), name=name, daemon=True)
            for name, work in (
                ("top metrics", self._look),
                ("top topics", self._follow),
                ("top names", self._learn_names),
            )
        ]
        self._defect: Exception | None = None

    def __enter__(self) -> Self:
        """Begins."""
        for thread in self._threads:
            thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        """Ends; both are daemons, so that a Kafka that does not answer holds up nobody."""
        self._stop.set()
        for thread in self._threads:
            thread.join(ASK_S)

    def picture(self) -> Picture:
        """What is known now. Raises what ended one of the threads: that is a defect."""
        if self._defect:
            raise self._defect
        with self._lock:
            known = self._log.picture()
        return self._whole(known)

    def last(self) -> tuple[Picture, list[Happening]]:
        """The picture, and what happened since the last call of `since_last`: no more and no less than the picture has."""
        if self._defect:
            raise self._defect
        with self._lock:
            known, unseen = self._log.picture(), self._log.since_last()
        return self._whole(known), unseen

    def _whole(self, known: Picture) -> Picture:
        feeds, routers = self._processes.seen
        return replace(
            known,
            at=int(time.time() * 1000),
            title=self._title,
            kafka=self._kafka,
            data=str(self._data),
            feeds=feeds,
            routers=routers,
        )

    def look(self) -> None:
        """Asks the processes now."""
        self._processes.look()

    def since_last(self) -> list[Happening]:
        """What happened since the last call; nothing from before the beginning."""
        with self._lock:
            return self._log.since_last()

    def opened(self) -> int:
        """Tickets opened since the beginning."""
        with self._lock:
            return self._log.opened

    def note(self, text: str) -> None:
        """Something the program itself has to say."""
        with self._lock:
            self._log.happened(Happening(at=int(time.time() * 1000), what=NOTE, detail=text), new=True)

    def complete(self) -> bool:
        """Whether the topics are read to where they ended and rates are known."""
        return self._complete and self._looks > 1

    def failed(self) -> bool:
        """Whether Kafka did not answer, or lacks a topic, at the last try, and the processes have been asked."""
        return self._failed and self._looks > 1

    def _work(self, work: Callable[[], None]) -> None:
        try:
            work()
        except Exception as error:  # noqa: BLE001 - it is raised where somebody sees it
            self._defect = error

    def _look(self) -> None:
        while not self._stop.is_set():
            self._processes.look()
            self._looks += 1
            self._stop.wait(LOOK_S)

    def _learn_names(self) -> None:
        """Names are a help to readers: without a registry, or Kafka, ids stand in."""
        while not self._stop.is_set():
            with contextlib.suppress(HubError):
                if (registry := self._registry.newest()) is not None:
                    self._names.learn(registry)
            self._stop.wait(RETRY_S)
        self._registry.close()

    def _follow(self) -> None:
        while not self._stop.is_set():
            try:
                self._tail = self._tail or Tail(self._bootstrap, TOPICS)
                self._failed = False
                self._read(self._tail)
            except HubError as error:
                self._kafka, self._failed = str(error), True
                self._stop.wait(RETRY_S)
        if self._tail:
            self._tail.close()

    def _read(self, tail: Tail) -> None:
        asked = time.monotonic()
        while not self._stop.is_set():
            batch = tail.read(0.2)
            with self._lock:
                for arrived in batch:
                    self._log.take(arrived)
                self._log.join(time.monotonic())
            if batch:
                asked = time.monotonic()
            elif time.monotonic() - asked > KAFKA_ASK_S:
                tail.ask()
                asked = time.monotonic()
            self._complete = self._complete or tail.complete()
            self._kafka = "" if self._complete else str(Text("reading what is there", "正在读取已有记录"))


def _at(settings: Settings, bootstrap: str) -> KafkaSettings:
    return settings.kafka.model_copy(update={"bootstrap": bootstrap})


class Names:
    """What people and grids are called, by the newest registry."""

    def __init__(self) -> None:
        self._people: Mapping[str, str] = {}
        self._grids: Mapping[str, str] = {}

    def learn(self, registry: Registry) -> None:
        """From now on by this one."""
        self._people = {person.id: person.name for person in registry.people}
        self._grids = {grid.id: grid.name for grid in registry.grids}

    def whose(self, ticket: Ticket) -> str:
        """The owner's name; nothing for the queue of the grid centre."""
        return self._people.get(ticket.owner, ticket.owner) if ticket.owner else ""

    def where(self, ticket: Ticket) -> str:
        """The name of the duty grid."""
        return self._grids.get(ticket.grid, ticket.grid)


class TicketLog:
    """What the topics say of tickets, and what happened last; records of different topics come in any order."""

    def __init__(self, wire: Wire, names: Names | None = None) -> None:
        self._names = names or Names()
        self.opened = self.cleared = 0
        """Steps since the reading began that were told of."""
        self._wire = wire
        self._open: dict[str, Ticket] = {}
        self._ended: dict[str, None] = {}
        self._last_cleared: deque[Ticket] = deque(maxlen=SHOWN)
        self._opening: dict[str, str] = {}
        self._reasons: dict[tuple[str, int], str] = {}
        self._waiting: deque[tuple[float, TicketEvent, bool]] = deque()
        self._happenings: deque[Happening] = deque(maxlen=SHOWN)
        self._unseen: deque[Happening] = deque(maxlen=REMEMBERED)

    def take(self, arrived: Arrived) -> None:
        """Applies a record. One of somebody else's on our topic is a happening, not an end."""
        try:
            record = self._wire.decode(arrived.value)
        except Rejected as rejected:
            detail = f"{arrived.topic}: {rejected}"
            self.happened(Happening(at=int(time.time() * 1000), what="invalid", detail=detail), new=arrived.new)
            return
        match record:
            case Ticket():
                self._ticket(record)
            case TicketEvent():
                self._waiting.append((time.monotonic(), record, arrived.new))
            case Decision():
                self._decision(record, new=arrived.new)
            case DeadLetter(mark=""):
                detail = "  ".join(filter(None, (record.feed, record.reason, record.device, record.detail)))
                letter = Happening(at=record.accepted_at, what="dead letter", detail=detail)
                self.happened(letter, new=arrived.new)

    def join(self, now: float) -> None:
        """Tells of the steps whose ticket and decision have come, and of those that have waited long enough for them."""
        for _ in range(len(self._waiting)):
            since, event, new = self._waiting.popleft()
            ticket = self._open.get(event.ticket_id) or self._cleared_one(event.ticket_id)
            place = (event.town, event.decision_seq)
            # What a new registry moves has its reason itself.
            explained = bool(event.reason) or place in self._reasons
            known = ticket is not None and ticket.version >= event.version and explained
            if known or now - since > JOIN_S:
                self.opened += new and event.step == Outcome.OPENED
                self.cleared += new and event.step == Outcome.CLEARED
                self.happened(self._step(event, ticket, event.reason or self._reasons.pop(place, "")), new=new)
            else:
                self._waiting.append((since, event, new))

    def happened(self, happening: Happening, *, new: bool) -> None:
        """Something to tell."""
        self._happenings.append(happening)
        if new:
            self._unseen.append(happening)

    def since_last(self) -> list[Happening]:
        """What is new since the last call."""
        happened = list(self._unseen)
        self._unseen.clear()
        return happened

    def picture(self) -> Picture:
        """Tickets and happenings as they are known."""
        newest = sorted(self._open.values(), key=lambda ticket: ticket.opened_at, reverse=True)[:SHOWN]
        cleared = sorted(self._last_cleared, key=lambda ticket: ticket.cleared_at or 0, reverse=True)
        return Picture(
            at=0,
            open_count=len(self._open),
            cleared_count=len(self._ended),
            opened_now=self.opened,
            cleared_now=self.cleared,
            open=tuple(map(self._matter, newest)),
            cleared=tuple(map(self._matter, cleared)),
            happenings=tuple(sorted(self._happenings, key=lambda one: one.at)),
        )

    def _ticket(self, ticket: Ticket) -> None:
        if ticket.state == State.OPEN:
            self._open[ticket.id] = ticket
            return
        self._open.pop(ticket.id, None)
        if ticket.id not in self._ended:
            self._ended[ticket.id] = None
            # At the start they come in the order of partitions, not of time: the last ones are found among all.
            if len(self._last_cleared) < SHOWN or (ticket.cleared_at or 0) > (self._last_cleared[0].cleared_at or 0):
                every = sorted([*self._last_cleared, ticket], key=lambda one: one.cleared_at or 0)
                self._last_cleared.clear()
                self._last_cleared.extend(every)

    def _decision(self, decision: Decision, *, new: bool) -> None:
        why = next(iter(decision.reasons), "")
        if decision.outcome in STEPS:
            _remember(self._reasons, (decision.town, decision.seq), why)
            if decision.outcome == Outcome.OPENED:
                _remember(self._opening, decision.ticket_id, why)
        elif decision.outcome != Outcome.REPEATED:  # stations send again all the time
            other = Happening(
                at=decision.now,
                what=decision.outcome,
                town=decision.town,
                device=decision.id,
                kind=decision.rule,
                detail=why,
            )
            self.happened(other, new=new)

    def _step(self, event: TicketEvent, ticket: Ticket | None, why: str) -> Happening:
        ended = ticket is not None and event.step == Outcome.CLEARED
        return Happening(
            at=event.at,
            what=event.step,
            town=event.town,
            device=(ticket.device or ticket.case_no or ticket.vendor) if ticket else event.ticket_id,
            kind=ticket.kind if ticket else "",
            detail=why,
            open_s=(event.at - ticket.opened_at) / 1000 if ticket and ended else None,
        )

    def _cleared_one(self, ticket_id: str) -> Ticket | None:
        if ticket_id not in self._ended:
            return None
        return next((ticket for ticket in reversed(self._last_cleared) if ticket.id == ticket_id), None)

    def _matter(self, ticket: Ticket) -> Matter:
        return Matter(
            id=ticket.id,
            town=ticket.town,
            device=ticket.device or ticket.case_no or ticket.vendor,
            kind=ticket.kind,
            reason=self._opening.get(ticket.id, ""),
            opened_at=ticket.opened_at,
            cleared_at=ticket.cleared_at,
            whose=self._names.whose(ticket),
            where=self._names.where(ticket),
        )


def _remember(known: dict[Key, str], key: Key, value: str) -> None:
    known[key] = value
    if len(known) > REMEMBERED:
        del known[next(iter(known))]


# ---- the processes


Samples = Mapping[str, Sequence[tuple[Mapping[str, str], float]]]


class Processes:
    """The feeds and routers of a data folder, asked at their metrics ports."""

    def __init__(self, data: Path, host: str) -> None:
        self._folder = data / "run"
        self._host = host
        self._history: dict[tuple[str, str], deque[tuple[float, float]]] = {}
        self.seen: tuple[tuple[Feed, ...], tuple[Router, ...]] = ((), ())
        """What the last look found."""
        self._lock = threading.Lock()

    def look(self) -> None:
        """Asks each of them, 2 s at most for one that does not answer."""
        with self._lock:
            self.seen = self._look()

    def _look(self) -> tuple[tuple[Feed, ...], tuple[Router, ...]]:
        feeds: list[Feed] = []
        routers: list[Router] = []
        for path in sorted(self._folder.glob("*.json")):
            with contextlib.suppress(OSError, ValueError, KeyError, TypeError):  # it ends just now, or is not ours
                said = json.loads(path.read_text(encoding="utf-8"))
                if port := said["ports"].get("metrics"):
                    self._process(path.stem, said["pid"], port, feeds, routers)
        return tuple(feeds), tuple(routers)

    def _process(self, name: str, pid: int, port: int, feeds: list[Feed], routers: list[Router]) -> None:
        is_router, slot = name.startswith("router-"), name.removeprefix("router-")
        try:
            samples = parsed(_ask(self._host, port, "/metrics"))
            answer = json.loads(_ask(self._host, port, "/ready"))
            trouble = (*answer["reasons"], *answer.get("notes", ()))
        except (OSError, http.client.HTTPException, ValueError, KeyError):
            why = _silent(pid)
            if is_router:
                routers.append(Router(slot=slot, trouble=(why,)))
            else:
                feeds.append(Feed(name=name, trouble=(why,)))
            return
        if is_router:
            router = router_of(slot, samples)
            per_s = self._per_s(name, "transactions", router.transactions)
            routers.append(replace(router, trouble=trouble, per_s=per_s))
            return
        for feed in feeds_of(samples):
            per_s = self._per_s(feed.name, "received", feed.received)
            answered_per_s = self._per_s(feed.name, "answered", feed.answered)
            feeds.append(replace(feed, trouble=trouble, per_s=per_s, answered_per_s=answered_per_s))

    def _per_s(self, name: str, what: str, count: float) -> float | None:
        """Over the last looks; None before the second, also after a restart."""
        history = self._history.setdefault((name, what), deque(maxlen=RATE_OVER))
        if history and count < history[-1][1]:
            history.clear()
        history.append((time.monotonic(), count))
        (began, first), (ended, last) = history[0], history[-1]
        return (last - first) / (ended - began) if ended > began else None


def _ask(host: str, port: int, path: str) -> str:
    # Directly: a proxy of the environment is not for this machine.
    connection = http.client.HTTPConnection(host, port, timeout=ASK_S / 2)
    try:
        connection.request("GET", path)
        return connection.getresponse().read().decode()
    finally:
        connection.close()


def _silent(pid: int) -> str:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return str(Text(f"gone: process {pid} ended without a word", f"进程 {pid} 已不存在"))
    except PermissionError:
        pass
    return str(Text("does not answer", "无响应"))


def parsed(text: str) -> Samples:
    """A page of metrics in Prometheus' text format: the samples by name."""
    found: dict[str, list[tuple[Mapping[str, str], float]]] = {}
    for one in text.splitlines():
        if sample := SAMPLE.fullmatch(one):
            name, labels, value = sample.groups()
            found.setdefault(name, []).append((dict(LABEL.findall(labels or "")), float(value)))
    return found


def feeds_of(samples: Samples) -> Iterator[Feed]:
    """The feeds that a page tells of."""
    for labels, received in samples.get("gridhub_messages_received_total", ()):
        own = {"feed": labels["feed"]}
        yield Feed(
            name=labels["feed"],
            received=int(received),
            fates=_by(samples, "gridhub_messages_total", "fate", own),
            answered=sum(_by(samples, "gridhub_answers_total", "answer", own).values()),
            refused=_by(samples, "gridhub_messages_refused_total", "reason", own),
            dead_letters=_by(samples, "gridhub_dead_letters_total", "reason", own),
            connections=int(_sum(samples, "gridhub_connections", own)),
            spooled=int(_sum(samples, "gridhub_spool_messages", own)),
        )


def router_of(slot: str, samples: Samples) -> Router:
    """What a router's page tells."""
    lags = samples.get("gridhub_lag_records", ())
    ages = samples.get("gridhub_last_record_age_seconds", ())
    return Router(
        slot=slot,
        partitions=tuple(sorted({int(labels["partition"]) for labels, _ in lags})),
        lag=int(sum(value for _, value in lags)),
        behind_s=max((value for _, value in ages), default=0.0),
        transactions=int(_sum(samples, "gridhub_transactions_total", {"result": "committed"})),
        aborts=_by(samples, "gridhub_transaction_aborts_total", "reason", {}),
        p50_s=quantile(samples, 0.5),
        p99_s=quantile(samples, 0.99),
        rebuild_s=_sum(samples, "gridhub_rebuild_seconds", {}),
    )


def quantile(samples: Samples, share: float) -> float | None:
    """Of the histogram of acceptance to ticket, as Prometheus' histogram_quantile has it; None while it is empty."""
    buckets = sorted((float(labels["le"]), count) for labels, count in samples.get(f"{TO_TICKET}_bucket", ()))
    if not buckets or not buckets[-1][1]:
        return None
    rank = share * buckets[-1][1]
    below, counted = 0.0, 0.0
    for limit, count in buckets:
        if count >= rank:
            return below if limit == float("inf") else below + (limit - below) * (rank - counted) / (count - counted)
        below, counted = limit, count
    return None


def _by(samples: Samples, name: str, label: str, where: Mapping[str, str]) -> dict[str, int]:
    return {labels[label]: int(value) for labels, value in samples.get(name, ()) if where.items() <= labels.items()}


def _sum(samples: Samples, name: str, where: Mapping[str, str]) -> float:
    return sum(value for labels, value in samples.get(name, ()) if where.items() <= labels.items())
