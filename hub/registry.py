"""The registry on its topic: whole versions of map, roster, devices, vendors and rules, written once and adopted whole.

A version is a claim on its number, its pieces and, after them, one record of kind `version` with their count and hash. It counts once that record
is there and both are right: an import that was cut off leaves pieces that nobody adopts, and the next import takes the next number. Of two that
claim one number, the first on the topic has it, so that a number never means two registries. Keys are `<version>|<kind>|<id>`, so no version
replaces another; old ones stay for the tickets and journals that name them.
"""

import json
import os
import secrets
import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from decimal import Decimal
from hashlib import sha256
from pathlib import Path
from typing import Any

from hub.core.errors import Full, HubError, Misconfigured, Rejected, Unavailable
from hub.core.events import RegistryEntry
from hub.core.registry import Area, Device, Grid, Person, Registry, Role, SentUnit, Site, Vendor, VendorKey
from hub.core.rules import Rule, Rules
from hub.kafka_log import Publisher, Tail
from hub.lang import Text
from hub.points import reached
from hub.registry_files import key_of
from hub.settings import Settings
from hub.wire import Wire

TOPIC = "registry"
VERSION, CLAIM = "version", "claim"
KINDS: Mapping[str, str] = {
    "town": "towns",
    "village": "villages",
    "grid": "grids",
    "cell": "cells",
    "site": "sites",
    "person": "people",
    "device": "devices",
    "vendor": "vendors",
}
"""The kinds of pieces and where a registry has them; rules come beside them."""
LOOK_EVERY_S = 1.0
IMPORT_WITHIN_S = 120.0
ACKNOWLEDGED_WITHIN_S = 30.0
STOP_WITHIN_S = 1.0

Piece = tuple[str, str, str]  # kind, id, body
UNREADABLE = (LookupError, TypeError, ValueError, AttributeError, ArithmeticError, RecursionError)
"""What comes of pieces that are no registry: damaged, or of a newer program."""


# ---- a registry as pieces


def pieces(registry: Registry) -> list[Piece]:
    """All of it, in one order: equal registries give equal pieces."""
    found = [
        (kind, key_of(kind, one), _text(_plain(one)))
        for kind, attribute in KINDS.items()
        for one in getattr(registry, attribute)
    ]
    found += [("rule", rule.kind, _text(asdict(rule))) for rule in registry.rules.all]
    return sorted(found)


def digest(some: Iterable[Piece]) -> str:
    """SHA-256 of pieces in their order, hexadecimal."""
    whole = sha256()
    for kind, name, body in some:
        whole.update(f"{kind}\n{name}\n{body}\n".encode())
    return whole.hexdigest()


def from_pieces(version: int, some: Sequence[Piece]) -> Registry:
    """The registry that `pieces` took apart. Raises UNREADABLE for what is none."""
    found: dict[str, list[Any]] = {kind: [] for kind in (*KINDS, "rule")}
    for kind, _, body in sorted(some):
        found[kind].append(_MAKE[kind](json.loads(body)))
    limits = {device.id: device.limits for device in found["device"] if device.limits}
    parts = {attribute: tuple(found[kind]) for kind, attribute in KINDS.items()}
    return Registry(version=version, sha256=digest(sorted(some)), rules=Rules(tuple(found["rule"]), limits), **parts)


def _whole(version: int, some: Sequence[Piece], count: int, sha256: str) -> Registry | None:
    """The registry of these pieces if they are what was told of them. Raises UNREADABLE."""
    return from_pieces(version, some) if count == len(some) and sha256 == digest(some) else None


def _plain(one: Any) -> dict[str, Any]:
    plain = asdict(one)
    if isinstance(one, Device):
        plain["units"] = {code: [sent.unit, str(sent.scale)] for code, sent in one.units.items()}
        plain["limits"] = dict(one.limits)
    if isinstance(one, Vendor):
        plain["feeds"] = sorted(one.feeds)
    return plain


def _text(plain: Mapping[str, Any]) -> str:
    return json.dumps(plain, ensure_ascii=False, sort_keys=True, separators=(",", ":"), allow_nan=False)


def _device(plain: dict[str, Any]) -> Device:
    units = {code: SentUnit(unit, Decimal(scale)) for code, (unit, scale) in plain["units"].items()}
    return Device(**{**plain, "units": units})


def _vendor(plain: dict[str, Any]) -> Vendor:
    keys = tuple(VendorKey(**key) for key in plain["keys"])
    return Vendor(**{**plain, "feeds": frozenset(plain["feeds"]), "keys": keys})


def _person(plain: dict[str, Any]) -> Person:
    return Person(**{**plain, "role": Role(plain["role"])})


_MAKE: Mapping[str, Callable[[dict[str, Any]], Any]] = {
    **{kind: (lambda plain: Area(**plain)) for kind in ("town", "village", "cell")},
    "grid": lambda plain: Grid(**plain),
    "site": lambda plain: Site(**plain),
    "person": _person,
    "device": _device,
    "vendor": _vendor,
    "rule": lambda plain: Rule(**plain),
}


# ---- reading


class Versions:
    """The versions on the topic, read as they come."""

    def __init__(self, settings: Settings, client_id: str) -> None:
        """Connects when it is first asked. `client_id`: who reads, for the broker's log."""
        self._settings = settings
        self._client_id = client_id
        self._wire = Wire.load()
        self._tail: Tail | None = None
        self._open: dict[int, dict[tuple[str, str], str]] = {}
        self._whole: dict[int, Registry] = {}
        self._keeps_all = False
        self._claims: dict[int, str] = {}
        self._highest = 0
        self._refused = 0

    def newest(self) -> Registry | None:
        """The newest whole version, None where there is none yet. The first call reads the topic to its end, later ones what has come.

        Raises Unavailable, and may be called again; Misconfigured: the topic is missing.
        """
        self._read()
        return self._whole[max(self._whole)] if self._whole else None

    def all(self) -> dict[int, Registry]:
        """Every whole version by its number; then it is closed. Raises as `newest`."""
        self.close()
        self._keeps_all = True
        try:
            self._read()
        finally:
            self.close()
        return dict(self._whole)

    @property
    def refused(self) -> int:
        """The last version that came to its end and cannot be taken, if it is newer than the one in force; else 0."""
        return self._refused if self._refused > max(self._whole, default=0) else 0

    @property
    def next_number(self) -> int:
        """The number after all that are there, whole or not."""
        return self._highest + 1

    def owner(self, number: int) -> str:
        """Who was the first to claim a number; empty where nobody has."""
        return self._claims.get(number, "")

    def close(self) -> None:
        """Ends reading; the next question connects again."""
        if self._tail is not None:
            self._tail.close()
            self._tail = None

    def _read(self) -> None:
        try:
            if self._tail is None:
                # From the beginning, since what came meanwhile is not known.
                self._tail = Tail(self._settings.kafka.bootstrap, {TOPIC: None})
                while not self._tail.complete():
                    self._take(self._tail, LOOK_EVERY_S)
            else:
                self._take(self._tail, 0.0)
        except Unavailable:
            self.close()
            raise

    def _take(self, tail: Tail, wait_s: float) -> None:
        for arrived in tail.read(wait_s):
            try:
                entry = self._wire.decode(arrived.value)
            except Rejected:
                continue  # of a newer program, or not ours: its version will not be whole, and so not count
            if not isinstance(entry, RegistryEntry):
                continue
            self._highest = max(self._highest, entry.version)
            if entry.kind == CLAIM:
                self._claims.setdefault(entry.version, entry.id)
            elif entry.kind == VERSION:
                self._complete(entry)
            else:
                self._open.setdefault(entry.version, {})[entry.kind, entry.id] = entry.body

    def _complete(self, entry: RegistryEntry) -> None:
        some = sorted((kind, name, body) for (kind, name), body in self._open.pop(entry.version, {}).items())
        older = not self._keeps_all and entry.version < max(self._whole, default=0)
        if older or entry.version in self._whole:
            return
        try:
            told = json.loads(entry.body)
            whole = _whole(entry.version, some, told["count"], told["sha256"])
        except UNREADABLE:
            whole = None  # of a newer program; the last one that this program can read stays in force
        if whole is None:
            self._refused = max(self._refused, entry.version)
        else:
            # Of old ones, only their numbers matter to who follows: a process that runs for years must not hold them all.
            self._whole = {**(self._whole if self._keeps_all else {}), entry.version: whole}


class Follower:
    """The newest registry, kept up to date on a thread of its own; begins with the last good copy in the data folder when Kafka is away."""

    def __init__(
        self,
        settings: Settings,
        client_id: str,
        changed: Callable[[Registry], None] | None = None,
        refused: Callable[[int], None] | None = None,
    ) -> None:
        """`changed`: called on the thread with each version that is adopted, the first one too; `refused`: with the number of each that cannot be."""
        self._versions = Versions(settings, client_id)
        self._copy = settings.data / "registry" / "last.json"
        self._changed = changed
        self._refused = refused
        self._stop = threading.Event()
        self._there = threading.Event()
        self._registry: Registry | None = None
        self._thread = threading.Thread(target=self._follow, name="registry", daemon=True)
        self.trouble: str = ""

    def start(self) -> None:
        """Begins to look."""
        self._thread.start()

    def wait(self, seconds: float) -> bool:
        """Whether there is a registry, waiting that long for the first."""
        return self._there.wait(seconds)

    @property
    def registry(self) -> Registry:
        """The newest one. Raises Unavailable as long as there is none."""
        if self._registry is None:
            raise Unavailable(str(Text("there is no registry yet", "尚无登记表")))
        return self._registry

    def stop(self) -> None:
        """Ends looking, within a second: a question that Kafka does not answer is left to end with the process."""
        self._stop.set()
        if self._thread.is_alive():
            self._thread.join(STOP_WITHIN_S)
        if not self._thread.is_alive():
            self._versions.close()

    def _follow(self) -> None:
        told = 0
        while not self._stop.is_set():
            try:
                newest = self._versions.newest()
                self.trouble = ""
            except HubError as error:
                # Kafka is away, or the topic is: with what was there last, feeds go on.
                self.trouble, newest = str(error), None
                if self._registry is None and (kept := read_copy(self._copy)) is not None:
                    self._adopt(kept)
            if self._refused and (number := self._versions.refused) > told:
                told = number
                self._refused(number)
            if newest is not None and (self._registry is None or newest.version != self._registry.version):
                self._adopt(newest)
                try:
                    write_copy(self._copy, newest)
                except OSError as error:
                    self.trouble = f"{self._copy}: {error.strerror}"
            self._stop.wait(LOOK_EVERY_S)

    def _adopt(self, registry: Registry) -> None:
        self._registry = registry
        self._there.set()
        if self._changed:
            self._changed(registry)


def write_copy(path: Path, registry: Registry) -> None:
    """Keeps a version on disk, whole or not at all: several processes of one machine may keep the same. Raises OSError."""
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_name(f"{path.name}.{os.getpid()}")
    with draft.open("w", encoding="utf-8") as file:
        json.dump({"version": registry.version, "sha256": registry.sha256, "pieces": pieces(registry)}, file)
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)


def read_copy(path: Path) -> Registry | None:
    """The version that was kept last; None where there is none, or it is damaged."""
    try:
        kept = json.loads(path.read_text(encoding="utf-8"))
        some = [(kind, name, body) for kind, name, body in kept["pieces"]]
        return _whole(int(kept["version"]), sorted(some), len(some), kept["sha256"])
    except (OSError, *UNREADABLE):
        return None


# ---- what differs


@dataclass(frozen=True, slots=True)
class Difference:
    """One piece that one registry has and the other has not, or not so: added, removed or changed (then which fields)."""

    kind: str
    id: str
    how: str
    fields: tuple[str, ...] = ()

    def __str__(self) -> str:
        how = {"added": Text("+", "新增"), "removed": Text("-", "删除"), "changed": Text("~", "修改")}[self.how]
        fields = f" ({', '.join(self.fields)})" if self.fields else ""
        return f"{how} {self.kind} {self.id}{fields}"


def differences(old: Registry | None, new: Registry) -> list[Difference]:
    """What a change from one to the other adds, removes and changes."""
    before = {(kind, name): body for kind, name, body in pieces(old)} if old else {}
    after = {(kind, name): body for kind, name, body in pieces(new)}
    found = []
    for kind, name in sorted(before.keys() | after.keys()):
        one, other = before.get((kind, name)), after.get((kind, name))
        if one is None:
            found.append(Difference(kind, name, "added"))
        elif other is None:
            found.append(Difference(kind, name, "removed"))
        elif one != other:
            was, is_now = json.loads(one), json.loads(other)
            fields = tuple(sorted(key for key in was.keys() | is_now.keys() if was.get(key) != is_now.get(key)))
            found.append(Difference(kind, name, "changed", fields))
    return found


# ---- writing


def write(settings: Settings, registry: Registry, number: int, note: str = "") -> Registry:
    """Writes it as version `number`, or as the next that no other import has claimed, its pieces first; returns it as it is read.

    Raises Unavailable: then the version does not count.
    """
    publisher = Publisher(settings.kafka.bootstrap, [TOPIC], client_id="gridhub-registry")
    wire = Wire.load()
    some = pieces(registry)
    body = {"count": len(some), "sha256": digest(some), "imported_at": time.time_ns() // 1_000_000, "note": note}
    try:
        number = _claimed(settings, publisher, wire, number)
        reached("import.claimed")
        _publish(
            publisher, wire, [RegistryEntry(version=number, kind=kind, id=name, body=text) for kind, name, text in some]
        )
        reached("import.pieces")
        _publish(publisher, wire, [RegistryEntry(version=number, kind=VERSION, id="", body=_text(body))])
        reached("import.version")
    finally:
        publisher.close(0.0)
    return replace(registry, version=number, sha256=digest(some))


def _claimed(settings: Settings, publisher: Publisher, wire: Wire, number: int) -> int:
    """A number that is this import's alone: the order of the topic decides between two. Raises as `write`."""
    mine = secrets.token_hex(8)
    versions = Versions(settings, "gridhub-registry")
    while True:
        _publish(publisher, wire, [RegistryEntry(version=number, kind=CLAIM, id=mine, body="")])
        versions.all()
        if versions.owner(number) == mine:
            return number
        number = versions.next_number


def _publish(publisher: Publisher, wire: Wire, entries: Sequence[RegistryEntry]) -> None:
    """All of them, acknowledged. Raises Unavailable, Misconfigured (a piece too large for a record)."""
    left = len(entries)
    failed: list[Exception] = []
    changed = threading.Condition()

    def done(error: Exception | None) -> None:
        nonlocal left
        with changed:
            left -= 1
            if error:
                failed.append(error)
            changed.notify_all()

    until = time.monotonic() + IMPORT_WITHIN_S
    for entry in entries:
        key = f"{entry.version}|{entry.kind}|{entry.id}"
        while True:
            try:
                publisher.publish(TOPIC, key, wire.encode(entry), (), done)
                break
            except Full:
                with changed:
                    if not changed.wait(ACKNOWLEDGED_WITHIN_S):
                        raise Unavailable("Kafka acknowledges nothing") from None
            except Rejected as rejected:
                raise Misconfigured(f"{entry.kind} {entry.id}: {rejected}") from None
        if entry.kind not in (CLAIM, VERSION):
            reached("import.piece")
    with changed:
        changed.wait_for(lambda: left == 0 or failed, until - time.monotonic())
    if failed or left:
        raise Unavailable(
            f"the import did not come to its end: {failed[0] if failed else 'Kafka acknowledges nothing'}"
        )


def current(settings: Settings) -> tuple[Registry | None, int]:
    """The newest version, and the number that the next one takes. Raises Unavailable, Misconfigured."""
    versions = Versions(settings, "gridhub-registry")
    try:
        return versions.newest(), versions.next_number
    finally:
        versions.close()
