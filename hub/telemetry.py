"""Everything worth telling an operator: happenings, each a method that logs and counts.

The only module that imports structlog and prometheus_client. `FeedTelemetry` does nothing, `FeedRecorder` writes and counts, tests use
one that remembers. Device ids and peers go to the log, never into a label; payloads go to neither. A message that went well is counted,
not logged.
"""

import contextlib
import json
import logging
import math
import socketserver
import sys
import threading
import time
from collections.abc import Callable, Collection, Iterable, Mapping, MutableMapping
from socket import AF_INET6
from typing import Any, Literal, TextIO, cast
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer
from wsgiref.types import StartResponse, WSGIApplication, WSGIEnvironment

import structlog
from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest

from hub import __version__
from hub.core.errors import AbortReason, Misconfigured, Reason, places
from hub.core.events import Decision, Outcome
from hub.core.personal import without_numbers
from hub.core.registry import Registry
from hub.core.watch import Applied
from hub.lang import Text, harmless

FATES = ("published", "dead-lettered", "spooled", "empty", "refused")
NO_MESSAGE = ("400", "401", "404", "405", "408")
HTTP_TIMEOUT_S = 5.0
LINES = 20
LIBRARY_LINES = 3
LINES_WITHIN_S = 60.0
TELEMETRY_PATHS = frozenset({"/metrics", "/live", "/ready"})


class Telemetry:
    """What happens in any process; this base class does nothing."""

    def starting(self) -> None:
        """The settings are read; nothing is served yet."""

    def serving(self, ports: Mapping[str, int]) -> None:
        """From now on `/ready` may say yes."""

    def kafka_away(self, why: str) -> None:
        """Kafka does not answer, or not in time; told once when it begins."""

    def kafka_back(self) -> None:
        """Kafka answers again."""

    def stopping(self) -> None:
        """Nothing new is taken."""

    def stopped(self, balance: Mapping[str, int], *, drained: bool) -> None:
        """The orderly end; `drained` is False when work was given up."""

    def defect(self, error: BaseException) -> None:
        """A mistake of the program, with its trace."""

    def registry_refused(self, version: int) -> None:
        """A version of the registry cannot be read here: the one before it stays in force. Told once."""


class FeedTelemetry(Telemetry):
    """What happens in a connector; this class does nothing."""

    def received(self) -> None:
        """A message came in, whatever becomes of it."""

    def published(self) -> None:
        """First fate: its record is on Kafka."""

    def registered(self, registry: Registry) -> None:
        """From now on this version of the registry counts."""

    def misregistered(self, device: str, why: str) -> None:
        """A row of the registry is not what this feed can use; the device is heard all the same."""

    def dead_lettered(self, reason: Reason, device: str) -> None:
        """First fate: it lies in the dead letters."""

    def spooled(self, letter: Reason | None, device: str) -> None:
        """First fate: it is on the local disk, until Kafka takes it. `letter`: why it will lie in the dead letters, None for a record."""

    def empty(self) -> None:
        """First fate: nothing in it to keep."""

    def refused(self, reason: Reason, device: str) -> None:
        """First fate: not kept, so its sender was not told yes."""

    def clock_ahead(self, ahead_s: float) -> None:
        """So far this machine's clock is ahead of the broker's now."""

    def clock_off(self, ahead_s: float) -> None:
        """They differ by more than a minute: of the two the one that has not jumped counts."""

    def clock_right(self, ahead_s: float) -> None:
        """They agree again."""

    def spooling(self, messages: int) -> None:
        """The spool is no longer empty, or was not at the start: it has so many."""

    def spool_holds(self, messages: int, size: int) -> None:
        """What the spool has now, and the bytes that takes."""

    def unspooled(self) -> None:
        """One of the spool's is on Kafka."""

    def spool_drained(self) -> None:
        """Kafka has all that the spool had."""

    def spool_full(self, messages: int) -> None:
        """What comes now is refused."""

    def spool_fails(self, why: str) -> None:
        """The disk does not take, or not give, what the spool has."""

    def spool_damaged(self, path: str, rescued: int) -> None:
        """The spool could not be read and was set aside as this file, for people; so many messages of it could be taken over."""

    def spool_set_aside(self, number: int, why: str) -> None:
        """One of the spool's can be published by no means: it stays there, and is tried again at the next start."""

    def answered(self, answer: str) -> None:
        """An answer went out to the sender (`9014`, `200`)."""

    def connected(self, peer: str) -> None:
        """A sender's connection was taken."""

    def disconnected(self, peer: str, why: str) -> None:
        """A connection that was taken has ended."""

    def turned_away(self, peer: str, why: str) -> None:
        """A connection was not taken (too many of them)."""

    def noise(self, size: int) -> None:
        """So many bytes belonged to no message."""

    def oversize(self) -> None:
        """A message was longer than its standard allows, and was read all the same."""

    def http_refused(self, status: int, peer: str, why: str) -> None:
        """A request over HTTP was no message: without a valid key, to no address, or not HTTP at all. `why` names vendor and key id at most."""


class RouterTelemetry(Telemetry):
    """What happens in a router; this class does nothing."""

    def assigned(self, partitions: Collection[int], generation: int) -> None:
        """The group gave these partitions to this router."""

    def rebuilt(self, partitions: Collection[int], entries: int, seconds: float) -> None:
        """What was remembered of them is there again; work begins."""

    def adopted(self, partition: int, versions: Mapping[str, str]) -> None:
        """The towns of a partition are under this version of the registry and its rules from now on."""

    def registry_away(self, why: str) -> None:
        """Whether there is a newer version cannot be seen; told once until it can."""

    def committed(self) -> None:
        """A transaction is in Kafka; what follows tells what was in it."""

    def decided(self, decision: Decision, waited_s: float | None) -> None:
        """What became of an alert; how long ago its sender was answered, where a record led to it."""

    def applied(self, result: str) -> None:
        """What became of a reading."""

    def forwarded(self, topic: str) -> None:
        """A record lay on a wrong partition of this topic."""

    def dead_lettered(self, reason: Reason, partition: int) -> None:
        """A record of this partition cannot be read, or not be decided."""

    def aborted(self, reason: AbortReason, why: str) -> None:
        """A transaction has not happened and is tried again."""

    def silent(self, why: str) -> None:
        """The client is alive and brings nothing: the process ends."""

    def quarantined(self, partition: int, town: str, why: str) -> None:
        """What is remembered of a town cannot be read, or the program fails on it: nothing is decided for it."""

    def in_quarantine(self, partition: int, towns: int) -> None:
        """So many towns of a partition are in quarantine now."""

    def passed_over(self, partition: int, entries: int) -> None:
        """So many entries of the changelog are of no town of this partition, and were not taken."""

    def lag(self, topic: str, partition: int, records: int, age_s: float) -> None:
        """How many records wait, and how long the next one has; 0 when none does."""

    def given_away(self, partitions: Collection[int]) -> None:
        """They are no longer this router's."""

    def clock_off(self, ahead_s: float) -> None:
        """The machine's clock and the broker's differ too much: no ticks."""

    def clock_right(self, ahead_s: float) -> None:
        """They agree again."""


class PageTelemetry(Telemetry):
    """What happens in the page; this class does nothing."""

    def registered(self, registry: Registry) -> None:
        """From now on this version of the registry counts."""


class Ration:
    """So many lines within so many seconds: what senders or a library bring about by the thousand must not fill a disk."""

    def __init__(self, lines: int = LINES, within_s: float = LINES_WITHIN_S) -> None:
        self._lines = lines
        self._within_s = within_s
        self._begun = -within_s
        self._given = self._withheld = 0

    def take(self) -> Mapping[str, int] | None:
        """None: not this line. Else what goes with it: `{"withheld": N}` after N lines were not given."""
        now = time.monotonic()
        if now - self._begun >= self._within_s:
            self._begun, self._given = now, 0
        if self._given >= self._lines:
            self._withheld += 1
            return None
        self._given += 1
        withheld, self._withheld = self._withheld, 0
        return {"withheld": withheld} if withheld else {}


class FeedRecorder(FeedTelemetry):
    """Writes and counts what happens in the connector of `feed`.

    `answers`: which answers this feed gives, so that their rates begin at 0. Each object has its own `registry`.
    """

    def __init__(self, feed: str, *, answers: Iterable[str] = ()) -> None:
        self.registry = CollectorRegistry()
        self._log: structlog.typing.FilteringBoundLogger = structlog.get_logger(feed=feed)
        ProcessCollector(registry=self.registry)
        build_info(self.registry)

        def counter(name: str, documentation: str, *labels: str) -> Counter:
            return Counter(name, documentation, ("feed", *labels), registry=self.registry)

        received = counter("gridhub_messages_received_total", "Messages that came in.")
        fates = counter("gridhub_messages_total", "Messages by their one first fate.", "fate")
        refused = counter(
            "gridhub_messages_refused_total", "Messages not kept, whose sender was not told yes.", "reason"
        )
        letters = counter("gridhub_dead_letters_total", "Messages kept whole because they cannot be read.", "reason")
        answers_given = counter("gridhub_answers_total", "Answers that went out to senders.", "answer")
        turned_away = counter("gridhub_connections_refused_total", "Connections not taken.")
        noise = counter("gridhub_noise_bytes_total", "Bytes that belonged to no message.")
        oversize = counter(
            "gridhub_oversize_messages_total", "Messages longer than their standard allows, read all the same."
        )
        http_refused = counter("gridhub_http_refused_total", "Requests over HTTP that were no messages.", "status")
        drained = counter("gridhub_spool_drained_total", "Messages that went from the spool to Kafka.")

        def gauge(name: str, documentation: str) -> Gauge:
            return Gauge(name, documentation, ("feed",), registry=self.registry).labels(feed)

        # Children are made ahead: a series that appears with its first event hides that event from rate().
        self._received = received.labels(feed)
        self._fates = {fate: fates.labels(feed, fate) for fate in FATES}
        self._refused = {reason: refused.labels(feed, reason.value) for reason in Reason}
        self._letters = {reason: letters.labels(feed, reason.value) for reason in Reason}
        self._answers = {answer: answers_given.labels(feed, answer) for answer in answers}
        self._feed = feed
        self._answers_given = answers_given
        self._turned_away = turned_away.labels(feed)
        self._noise = noise.labels(feed)
        self._oversize = oversize.labels(feed)
        self._connections = gauge("gridhub_connections", "Connections open now.")
        self._spool_messages = gauge("gridhub_spool_messages", "Messages in the spool, which Kafka has not taken yet.")
        self._spool_bytes = gauge("gridhub_spool_bytes", "Bytes that the spool takes on the disk.")
        self._clock_ahead = gauge(
            "gridhub_clock_ahead_seconds",
            "How far this machine's clock is ahead of the broker's; NaN until it is known.",
        )
        self._clock_ahead.set(math.nan)
        self._drained = drained.labels(feed)
        self._http_refused = {
            status: http_refused.labels(feed, status) for status in NO_MESSAGE if status in self._answers
        }
        self._http_requests_refused = http_refused
        self._letter_lines, self._turned_away_lines, self._defect_lines = Ration(), Ration(), Ration()
        self._http_refused_lines, self._spool_lines, self._disk_lines = Ration(), Ration(), Ration()

    def starting(self) -> None:
        self._log.info("starting", version=__version__)

    def serving(self, ports: Mapping[str, int]) -> None:
        self._log.info("serving", **ports)

    def kafka_away(self, why: str) -> None:
        self._log.warning("kafka away", why=why)

    def kafka_back(self) -> None:
        self._log.info("kafka back")

    def registry_refused(self, version: int) -> None:
        self._log.error("registry version refused", version=version)

    def stopping(self) -> None:
        self._log.info("stopping")

    def stopped(self, balance: Mapping[str, int], *, drained: bool) -> None:
        self._log.info("stopped", drained=drained, **balance)

    def defect(self, error: BaseException) -> None:
        if (also := self._defect_lines.take()) is not None:
            _tell_defect(self._log, error, also)

    def received(self) -> None:
        self._received.inc()

    def published(self) -> None:
        self._fates["published"].inc()

    def registered(self, registry: Registry) -> None:
        self._log.info("registry adopted", version=registry.version, devices=len(registry.devices))

    def misregistered(self, device: str, why: str) -> None:
        self._log.warning("registered wrongly", device=without_numbers(device), why=without_numbers(why))

    def dead_lettered(self, reason: Reason, device: str) -> None:
        self._fates["dead-lettered"].inc()
        self._letter(reason, device)

    def spooled(self, letter: Reason | None, device: str) -> None:
        self._fates["spooled"].inc()
        if letter:
            self._letter(letter, device)

    def empty(self) -> None:
        self._fates["empty"].inc()

    def refused(self, reason: Reason, device: str) -> None:
        self._fates["refused"].inc()
        self._refused[reason].inc()
        # Not a warning: while Kafka is away, which is told once, every message would bring one.
        self._log.debug("refused", reason=reason.value, device=without_numbers(device))

    def clock_ahead(self, ahead_s: float) -> None:
        self._clock_ahead.set(ahead_s)

    def clock_off(self, ahead_s: float) -> None:
        self._log.error("clock off", ahead_s=round(ahead_s, 3))

    def clock_right(self, ahead_s: float) -> None:
        self._log.info("clock right", ahead_s=round(ahead_s, 3))

    def spooling(self, messages: int) -> None:
        if (also := self._spool_lines.take()) is not None:
            self._log.warning("spooling", messages=messages, **also)

    def spool_holds(self, messages: int, size: int) -> None:
        self._spool_messages.set(messages)
        self._spool_bytes.set(size)

    def unspooled(self) -> None:
        self._drained.inc()

    def spool_drained(self) -> None:
        if (also := self._spool_lines.take()) is not None:
            self._log.info("spool drained", **also)

    def spool_full(self, messages: int) -> None:
        if (also := self._disk_lines.take()) is not None:
            self._log.error("spool full", messages=messages, **also)

    def spool_fails(self, why: str) -> None:
        if (also := self._disk_lines.take()) is not None:
            self._log.error("spool cannot be used", why=why, **also)

    def spool_damaged(self, path: str, rescued: int) -> None:
        self._log.error("spool damaged", set_aside=path, rescued=rescued)

    def spool_set_aside(self, number: int, why: str) -> None:
        if (also := self._disk_lines.take()) is not None:
            self._log.error("spooled message set aside", number=number, why=why, **also)

    def answered(self, answer: str) -> None:
        if answer not in self._answers:
            self._answers[answer] = self._answers_given.labels(self._feed, answer)
        self._answers[answer].inc()

    def connected(self, peer: str) -> None:
        self._connections.inc()
        self._log.debug("connected", peer=peer)

    def disconnected(self, peer: str, why: str) -> None:
        self._connections.dec()
        self._log.debug("disconnected", peer=peer, why=why)

    def turned_away(self, peer: str, why: str) -> None:
        self._turned_away.inc()
        if (also := self._turned_away_lines.take()) is not None:
            self._log.warning("connection refused", peer=peer, why=why, **also)

    def noise(self, size: int) -> None:
        self._noise.inc(size)

    def oversize(self) -> None:
        self._oversize.inc()

    def _letter(self, reason: Reason, device: str) -> None:
        self._letters[reason].inc()
        if (also := self._letter_lines.take()) is not None:
            # One that nobody has registered calls itself what it likes.
            self._log.warning("dead letter", reason=reason.value, device=without_numbers(device), **also)

    def http_refused(self, status: int, peer: str, why: str) -> None:
        label = str(status)
        if label not in self._http_refused:
            self._http_refused[label] = self._http_requests_refused.labels(self._feed, label)
        self._http_refused[label].inc()
        if (also := self._http_refused_lines.take()) is not None:
            self._log.warning("request refused", status=status, peer=peer, why=why, **also)


class RouterRecorder(RouterTelemetry):
    """Writes and counts what happens in the router of one slot."""

    def __init__(self, slot: int, topics: Collection[str]) -> None:
        """`topics`: the inputs, so that their rates begin at 0."""
        self.registry = CollectorRegistry()
        self._topics = topics
        self._log: structlog.typing.FilteringBoundLogger = structlog.get_logger(router=slot)
        ProcessCollector(registry=self.registry)
        build_info(self.registry)

        def counter(name: str, documentation: str, label: str, values: Iterable[str]) -> dict[str, Counter]:
            made = Counter(name, documentation, (label,), registry=self.registry)
            return {value: made.labels(value) for value in values}

        results = (*Applied, Outcome.INVALID)
        self._decisions = counter("gridhub_decisions_total", "Alerts by what became of them.", "outcome", Outcome)
        self._applied = counter("gridhub_readings_applied_total", "Readings by what became of them.", "result", results)
        self._forwarded = counter(
            "gridhub_records_forwarded_total", "Records that lay on a wrong partition.", "topic", topics
        )
        self._transactions = counter("gridhub_transactions_total", "Transactions.", "result", ("committed", "aborted"))
        self._aborts = counter(
            "gridhub_transaction_aborts_total", "Transactions that were tried again.", "reason", AbortReason
        )
        letters = Counter(
            "gridhub_dead_letters_total",
            "Messages kept whole because they cannot be read.",
            ("feed", "reason"),
            registry=self.registry,
        )
        self._letters = {reason: letters.labels("router", reason.value) for reason in Reason}
        self._to_ticket = Histogram(
            "gridhub_acceptance_to_ticket_seconds",
            "From the answer to the sender to the committed ticket, of alerts that opened or updated one.",
            buckets=(0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 300),
            registry=self.registry,
        )
        self._rebuild = Gauge("gridhub_rebuild_seconds", "How long the last rebuild took.", registry=self.registry)
        place = ("topic", "partition")
        self._lag = Gauge("gridhub_lag_records", "Records that wait.", place, registry=self.registry)
        self._age = Gauge(
            "gridhub_last_record_age_seconds",
            "How long the partition has waited while it has records; 0 when it has none.",
            place,
            registry=self.registry,
        )
        self._quarantine = Gauge(
            "gridhub_towns_quarantined",
            "Towns of which nothing is decided: their memory cannot be read, or the program fails on it.",
            ("partition",),
            registry=self.registry,
        )
        self._letter_lines, self._abort_lines = Ration(), Ration()

    def starting(self) -> None:
        self._log.info("starting", version=__version__)

    def serving(self, ports: Mapping[str, int]) -> None:
        self._log.info("serving", **ports)

    def kafka_away(self, why: str) -> None:
        self._log.warning("kafka away", why=why)

    def kafka_back(self) -> None:
        self._log.info("kafka back")

    def registry_refused(self, version: int) -> None:
        self._log.error("registry version refused", version=version)

    def stopping(self) -> None:
        self._log.info("stopping")

    def stopped(self, balance: Mapping[str, int], *, drained: bool) -> None:
        self._log.info("stopped", drained=drained, **balance)

    def defect(self, error: BaseException) -> None:
        _tell_defect(self._log, error, {})

    def assigned(self, partitions: Collection[int], generation: int) -> None:
        self._log.info("assigned", partitions=sorted(partitions), generation=generation)

    def rebuilt(self, partitions: Collection[int], entries: int, seconds: float) -> None:
        self._rebuild.set(seconds)
        self._log.info("rebuilt", partitions=sorted(partitions), entries=entries, seconds=round(seconds, 3))

    def adopted(self, partition: int, versions: Mapping[str, str]) -> None:
        self._log.info("registry adopted", partition=partition, **versions)

    def registry_away(self, why: str) -> None:
        self._log.warning("registry away", why=why)

    def committed(self) -> None:
        self._transactions["committed"].inc()

    def decided(self, decision: Decision, waited_s: float | None) -> None:
        self._decisions[decision.outcome].inc()
        if decision.outcome in (Outcome.OPENED, Outcome.CLEARED):
            self._log.info(f"ticket {decision.outcome}", ticket=decision.ticket_id, alert=decision.id, seq=decision.seq)
        if waited_s is not None and decision.outcome in (Outcome.OPENED, Outcome.UPDATED):
            self._to_ticket.observe(max(0.0, waited_s))

    def applied(self, result: str) -> None:
        self._applied[result].inc()

    def forwarded(self, topic: str) -> None:
        self._forwarded[topic].inc()

    def dead_lettered(self, reason: Reason, partition: int) -> None:
        self._letters[reason].inc()
        if (also := self._letter_lines.take()) is not None:
            self._log.warning("dead letter", reason=reason.value, partition=partition, **also)

    def aborted(self, reason: AbortReason, why: str) -> None:
        self._transactions["aborted"].inc()
        self._aborts[reason].inc()
        if (also := self._abort_lines.take()) is not None:
            self._log.warning("transaction aborted", reason=reason.value, why=why, **also)

    def silent(self, why: str) -> None:
        self._log.error("client silent", why=why)

    def quarantined(self, partition: int, town: str, why: str) -> None:
        self._log.error("town quarantined", partition=partition, town=town, why=without_numbers(why))

    def in_quarantine(self, partition: int, towns: int) -> None:
        self._quarantine.labels(partition).set(towns)

    def passed_over(self, partition: int, entries: int) -> None:
        self._log.warning("entries of no town passed over", partition=partition, entries=entries)

    def lag(self, topic: str, partition: int, records: int, age_s: float) -> None:
        self._lag.labels(topic, partition).set(records)
        self._age.labels(topic, partition).set(age_s)

    def given_away(self, partitions: Collection[int]) -> None:
        for partition in partitions:
            with contextlib.suppress(KeyError):
                self._quarantine.remove(str(partition))
        for topic in self._topics:
            for partition in partitions:
                # A series that nobody owns would stand still for ever.
                for gauge in (self._lag, self._age):
                    with contextlib.suppress(KeyError):
                        gauge.remove(topic, str(partition))

    def clock_off(self, ahead_s: float) -> None:
        self._log.error("clock off", ahead_s=round(ahead_s, 3))

    def clock_right(self, ahead_s: float) -> None:
        self._log.info("clock right", ahead_s=round(ahead_s, 3))


class PageRecorder(PageTelemetry):
    """Writes what happens in the page. `registry` holds what every process measures of itself."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._log: structlog.typing.FilteringBoundLogger = structlog.get_logger(process="page")
        ProcessCollector(registry=self.registry)
        build_info(self.registry)
        self._defect_lines = Ration()

    def starting(self) -> None:
        self._log.info("starting", version=__version__)

    def serving(self, ports: Mapping[str, int]) -> None:
        self._log.info("serving", **ports)

    def kafka_away(self, why: str) -> None:
        self._log.warning("kafka away", why=why)

    def kafka_back(self) -> None:
        self._log.info("kafka back")

    def registry_refused(self, version: int) -> None:
        self._log.error("registry version refused", version=version)

    def stopping(self) -> None:
        self._log.info("stopping")

    def stopped(self, balance: Mapping[str, int], *, drained: bool) -> None:
        self._log.info("stopped", drained=drained, **balance)

    def defect(self, error: BaseException) -> None:
        if (also := self._defect_lines.take()) is not None:
            _tell_defect(self._log, error, also)

    def registered(self, registry: Registry) -> None:
        self._log.info("registry adopted", version=registry.version, devices=len(registry.devices))


def _tell_defect(log: "structlog.typing.FilteringBoundLogger", error: BaseException, also: Mapping[str, int]) -> None:
    log.error("defect", error=type(error).__name__, trace=places(error), **also)


def build_info(registry: CollectorRegistry) -> None:
    """`gridhub_build_info{version}` = 1."""
    Gauge("gridhub_build_info", "The version that runs.", ("version",), registry=registry).labels(__version__).set(1)


class _Unfailing:
    """A stream of which the disk may be full: a line is lost then, and never the message that it tells of."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        with contextlib.suppress(OSError):
            self._stream.write(text)
        return len(text)

    def flush(self) -> None:
        with contextlib.suppress(OSError):
            self._stream.flush()


def log_to(stream: TextIO | None = None, form: Literal["json", "text", ""] = "") -> None:
    """Sends all logs of this process to `stream`, else stderr: JSON lines with `event` first, or text (`""`: text on a terminal).

    The warnings of the Kafka client go the same way, a few a minute: while a broker is away it has several each second.
    """
    stream = stream or sys.stderr
    unfailing = cast("TextIO", _Unfailing(stream))
    text = form == "text" or (form == "" and stream.isatty())
    common: list[structlog.typing.Processor] = [
        structlog.stdlib.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        _places_only,
    ]
    ending: list[structlog.typing.Processor] = (
        [_harmless, structlog.dev.ConsoleRenderer(colors=stream.isatty())]
        if text
        else [_event_first, structlog.processors.JSONRenderer(ensure_ascii=False)]
    )
    structlog.configure(
        processors=[*common, *ending],
        wrapper_class=structlog.make_filtering_bound_logger(logging.INFO),
        logger_factory=structlog.PrintLoggerFactory(unfailing),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(unfailing)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=[*common, structlog.stdlib.add_logger_name],
            processors=[structlog.stdlib.ProcessorFormatter.remove_processors_meta, *ending],
        )
    )
    handler.addFilter(_Rationed())
    # INFO of the client tells every rebalance, DEBUG prints payloads.
    logging.basicConfig(handlers=[handler], level=logging.WARNING, force=True)
    if threading.excepthook is threading.__excepthook__:
        threading.excepthook = _thread_ended


def _thread_ended(ended: threading.ExceptHookArgs) -> None:
    if ended.exc_value:
        _tell_defect(structlog.get_logger(), ended.exc_value, {})


class _Rationed(logging.Filter):
    """A few lines a minute for each logger of a library."""

    def __init__(self) -> None:
        super().__init__()
        self._rations: dict[str, Ration] = {}

    def filter(self, record: logging.LogRecord) -> bool:
        also = self._rations.setdefault(record.name, Ration(LIBRARY_LINES)).take()
        if also:
            record.msg, record.args = f"{record.getMessage()} ({also['withheld']} lines withheld)", None
        return also is not None


def _harmless(_logger: object, _method: str, event: MutableMapping[str, Any]) -> Mapping[str, Any]:
    """A device's name comes from outside. A trace is the program's own, and has lines."""
    return {key: harmless(said) if isinstance(said, str) and key != "trace" else said for key, said in event.items()}


def _places_only(_logger: object, _method: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """An error that a library hands over is told as a defect of ours is."""
    found = event.pop("exc_info", None)
    error = found[1] if isinstance(found, tuple) else sys.exception() if found is True else found
    if isinstance(error, BaseException):
        event["error"], event["trace"] = type(error).__name__, places(error)
    return event


def _event_first(_logger: object, _method: str, event: MutableMapping[str, Any]) -> Mapping[str, Any]:
    return {"event": event.pop("event"), **event}


def telemetry_app(
    registry: CollectorRegistry, ready: Callable[[], list[str]], notes: Callable[[], list[str]] = list
) -> WSGIApplication:
    """`GET /metrics`, `/live` (200 while the process answers), `/ready` (200, or 503 with the reasons `ready()` gives; with either, what `notes()`
    says).
    """

    def app(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        status, kind = "200 OK", "application/json"
        match environ["REQUEST_METHOD"], environ["PATH_INFO"]:
            case "GET", "/metrics":
                kind, body = CONTENT_TYPE_PLAIN_0_0_4, generate_latest(registry)
            case "GET", "/live":
                body = b'{"live": true}'
            case "GET", "/ready":
                reasons = ready()
                said = {"ready": not reasons, "reasons": reasons, **({"notes": noted} if (noted := notes()) else {})}
                body = json.dumps(said, ensure_ascii=False).encode()
                status = "503 Service Unavailable" if reasons else status
            case "GET", _:
                status, body = "404 Not Found", b"{}"
            case _:
                status, body = "405 Method Not Allowed", b"{}"
        start_response(status, [("Content-Type", kind), ("Content-Length", str(len(body)))])
        return [body]

    return app


def with_telemetry(app: WSGIApplication) -> WSGIApplication:
    """`app`, and beside it what every process answers, for one that is ready while it answers at all."""
    registry = CollectorRegistry()
    ProcessCollector(registry=registry)
    build_info(registry)
    own = telemetry_app(registry, list)

    def both(environ: WSGIEnvironment, start_response: StartResponse) -> Iterable[bytes]:
        return (own if environ["PATH_INFO"] in TELEMETRY_PATHS else app)(environ, start_response)

    return both


class HttpServer(socketserver.ThreadingMixIn, WSGIServer):
    """A small threaded server for machines to read; `stop()` ends it."""

    daemon_threads = True

    def server_bind(self) -> None:
        # The library would ask DNS for the host's name here, which can take many seconds where there is none.
        socketserver.TCPServer.server_bind(self)
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])
        self.setup_environ()

    def handle_error(self, *_where: object) -> None:
        """A reader that went away before its answer is no happening; anything else is a defect."""
        error = sys.exception()
        if error and not isinstance(error, OSError):
            _tell_defect(structlog.get_logger(), error, {})

    def stop(self) -> None:
        """Takes no more requests and frees the port."""
        self.shutdown()
        self.server_close()


class _HttpServer6(HttpServer):
    address_family = AF_INET6


class _Quiet(WSGIRequestHandler):
    timeout = HTTP_TIMEOUT_S

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
        """One line per scrape would drown the rest."""


def serve_wsgi(app: WSGIApplication, host: str, port: int) -> tuple[HttpServer, threading.Thread]:
    """Serves `app` on its own thread; `server.server_port` is the port, also when 0 was asked for.

    Raises Misconfigured when the address cannot be had.
    """
    kind = _HttpServer6 if ":" in host else HttpServer
    try:
        server = kind((host, port), _Quiet)
    except OSError as error:
        raise Misconfigured(
            str(Text(f"{host}:{port} cannot be used: {error.strerror}", f"无法使用 {host}:{port}：{error.strerror}"))
        ) from None
    server.set_app(app)
    thread = threading.Thread(target=server.serve_forever, name=f"http {server.server_port}", daemon=True)
    thread.start()
    return server, thread
