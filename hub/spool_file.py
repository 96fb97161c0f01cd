"""The file of a spool: SQLite in WAL mode with synchronous=FULL, so that what a commit has confirmed is there after a kill at any moment and after
power loss, as far as the disk keeps what fsync has confirmed (https://sqlite.org/wal.html, https://sqlite.org/pragma.html#pragma_synchronous).
"""

import contextlib
import json
import os
import sqlite3
import time
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from hub.core.errors import Misconfigured, Unavailable
from hub.disk import settle_names
from hub.lang import Text
from hub.points import reached

FORMAT = 1
ENTRY_COST_BYTES = 256
"""What an entry takes on the disk beside its bytes."""
PAGES_AT_A_TIME = 2500
LOCK_WITHIN_S = 5.0
DAMAGED, RESCUED = ".damaged-", ".rescued-"

COLUMNS = "seq, lane, topic, key, headers, value, raw, answered, sum"
INSERT = f"INSERT INTO entries ({COLUMNS}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)"  # noqa: S608 - all of it is ours


@dataclass(frozen=True, slots=True)
class Outgoing:
    """A record as Kafka is to get it. `lane`: whose order it keeps. `raw`: the message it was made of, for a dead letter if Kafka finds it too
    large; `answered`: whether its sender is told yes.
    """

    lane: str
    topic: str
    key: str
    headers: tuple[tuple[str, bytes], ...]
    value: bytes
    raw: bytes
    answered: bool

    @property
    def cost(self) -> int:
        """Bytes on the disk, about."""
        return ENTRY_COST_BYTES + len(self.value) + len(self.raw)


@dataclass(frozen=True, slots=True)
class Entry:
    """A record in the spool, with its number: what came later has a higher one."""

    seq: int
    record: Outgoing

    @property
    def sum(self) -> int:
        """CRC-32 of all of it: SQLite guards its log with checksums, but not its pages."""
        told = (
            self.seq,
            self.record.lane,
            self.record.topic,
            self.record.key,
            self.record.headers,
            self.record.answered,
        )
        return zlib.crc32(self.record.raw, zlib.crc32(self.record.value, zlib.crc32(repr(told).encode())))


@dataclass(frozen=True, slots=True)
class Standing:
    """What a lane has in the store: its first and last number, how many, and what they take in bytes."""

    lane: str
    first: int
    last: int
    count: int
    cost: int


class Store:
    """The file. Every method blocks on the disk; one thread at a time may call them."""

    def __init__(self, path: Path) -> None:
        """Opens it, made where it is missing, for this process alone. One that is no longer readable is set aside as `<name>.damaged-<time>`.

        Raises Misconfigured: another process has it, a newer program wrote it, or the disk does not let us.
        """
        self._path = path
        self.damaged: Path | None = None
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self.damaged = self._succeeded()
            try:
                self._connection, self.found = self._open()
            except sqlite3.OperationalError:
                raise  # locked, full, not ours to write: nothing of it is damaged
            except sqlite3.DatabaseError:
                self._rescue()
                self.damaged = self._succeeded()
                self._connection, self.found = self._open()
        except sqlite3.Error as error:
            raise Misconfigured(str(_unusable(path, str(error)))) from None
        except OSError as error:
            raise Misconfigured(str(_unusable(path, error.strerror or str(error)))) from None

    def change(self, added: Iterable[Entry], removed: Iterable[int], aside: Mapping[int, str]) -> None:
        """Adds and removes; when it returns, all of it is on the disk. `aside`: which, and why. Raises Unavailable: then nothing has changed."""
        with self._transaction() as connection:
            # Something is written in any case, also where nothing is there of what is removed: whether the disk takes it is what is asked, too.
            connection.execute(f"PRAGMA user_version = {FORMAT}")
            connection.executemany(INSERT, map(_row, added))
            connection.executemany("DELETE FROM entries WHERE seq = ?", ((seq,) for seq in removed))
            connection.executemany(
                "UPDATE entries SET aside = ? WHERE seq = ?", ((why, seq) for seq, why in aside.items())
            )
            reached("spool.writing")
        reached("spool.written")

    def read(self, lane: str, after: int, most: int) -> tuple[list[Entry], list[int]]:
        """The next entries of a lane, and the numbers of those among them that are not what was written. Raises Unavailable."""
        query = f"SELECT {COLUMNS} FROM entries WHERE lane = ? AND seq > ? AND aside = '' ORDER BY seq LIMIT ?"  # noqa: S608 - names of columns, ours
        try:
            rows = self._connection.execute(query, (lane, after, most)).fetchall()
        except sqlite3.Error as error:
            raise Unavailable(f"the spool: {error}") from None
        entries = [_entry(row) for row in rows]
        damaged = [row[0] for row, entry in zip(rows, entries, strict=True) if entry is None]
        return [entry for entry in entries if entry is not None], damaged

    def shrink(self) -> bool:
        """Gives some of the disk back that entries took which are gone, within some 20 ms; False when that was all. Raises Unavailable."""
        try:
            self._connection.executescript(f"PRAGMA incremental_vacuum({PAGES_AT_A_TIME})")
            (left,) = self._connection.execute("PRAGMA freelist_count").fetchone()
            if not left:
                self._connection.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()
        except sqlite3.Error as error:
            raise Unavailable(f"the spool: {error}") from None
        return bool(left)

    def close(self) -> None:
        """Lets another process have it."""
        self._connection.close()

    def _open(self) -> tuple[sqlite3.Connection, list[Standing]]:
        connection = _connected(self._path, "WAL")
        try:
            self._known(connection)
            connection.execute("BEGIN IMMEDIATE")
            _make(connection)
            # What had been set aside is tried once more.
            connection.execute("UPDATE entries SET aside = '' WHERE aside != ''")
            connection.execute(f"PRAGMA user_version = {FORMAT}")
            found = _standing(connection)
            connection.execute("COMMIT")
        except BaseException:
            # The file is as it was; another process may have it, and whoever asked is told why.
            connection.close()
            raise
        return connection, found

    def _known(self, connection: sqlite3.Connection) -> None:
        (version,) = connection.execute("PRAGMA user_version").fetchone()
        if version > FORMAT:
            raise Misconfigured(
                str(
                    Text(
                        f"spool: a newer version of gridhub has written {self._path}",
                        f"spool：{self._path} 由更新版本的 gridhub 写入",
                    )
                )
            )

    def _rescue(self) -> None:
        """Makes a successor of what can still be read of a damaged file, which is left as it is: killed meanwhile, the next start does so anew."""
        draft = self._beside(".rescuing")
        for end in ("", "-journal"):
            draft.with_name(draft.name + end).unlink(missing_ok=True)
        # Not in WAL mode: a commit brings all of it into this one file.
        connection, damaged = _connected(draft, "DELETE"), sqlite3.connect(self._path, isolation_level=None)
        try:
            connection.execute("BEGIN IMMEDIATE")
            _make(connection)
            connection.executemany(INSERT.replace("INSERT", "INSERT OR IGNORE", 1), map(_row, _readable(damaged)))
            reached("spool.rescuing")
            connection.execute("COMMIT")
        finally:
            damaged.close()
            connection.close()
        reached("spool.rescued")
        draft.replace(self._beside(f"{RESCUED}{time.time_ns() // 1_000_000}"))
        settle_names(self._path.parent)

    def _succeeded(self) -> Path | None:
        """Gives a successor, if there is one, the place of the damaged file; how that is called then. The next start goes on with it after a kill."""
        rescued = next(self._path.parent.glob(f"{self._path.name}{RESCUED}*"), None)
        if rescued is None:
            return None
        damaged = self._beside(DAMAGED + rescued.name.rpartition("-")[2])
        for end in ("-wal", "-shm", ""):
            with contextlib.suppress(FileNotFoundError):
                self._beside(end).replace(damaged.with_name(damaged.name + end))
                reached("spool.moving")
        # In this order, whatever the disk would make of it: the log of the damaged file must not come to lie beside its successor.
        settle_names(self._path.parent)
        rescued.replace(self._path)
        settle_names(self._path.parent)
        return damaged

    def _beside(self, end: str) -> Path:
        return self._path.with_name(self._path.name + end)

    @contextlib.contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        try:
            self._connection.execute("BEGIN IMMEDIATE")
            yield self._connection
            self._connection.execute("COMMIT")
        except sqlite3.Error as error:
            # As after a full disk: SQLite has rolled back by itself, or does it now.
            with contextlib.suppress(sqlite3.Error):
                self._connection.execute("ROLLBACK")
            raise Unavailable(f"the spool: {error}") from None


def _connected(path: Path, journal: str) -> sqlite3.Connection:
    # What people report stands in it: it is nobody else's to read. SQLite gives the files beside it the same mode.
    os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
    connection = sqlite3.connect(path, timeout=LOCK_WITHIN_S, isolation_level=None, check_same_thread=False)
    try:
        for pragma in ("locking_mode = EXCLUSIVE", "auto_vacuum = INCREMENTAL", f"journal_mode = {journal}"):
            connection.execute(f"PRAGMA {pragma}").fetchall()
        connection.execute("PRAGMA synchronous = FULL")
    except BaseException:
        # As above.
        connection.close()
        raise
    return connection


def _make(connection: sqlite3.Connection) -> None:
    connection.execute(
        "CREATE TABLE IF NOT EXISTS entries (seq INTEGER PRIMARY KEY, lane TEXT NOT NULL, topic TEXT NOT NULL, key TEXT NOT NULL,"
        " headers TEXT NOT NULL, value BLOB NOT NULL, raw BLOB NOT NULL, answered INTEGER NOT NULL, sum INTEGER NOT NULL,"
        " aside TEXT NOT NULL DEFAULT '')"
    )
    connection.execute("CREATE INDEX IF NOT EXISTS lanes ON entries (lane, seq)")


def _standing(connection: sqlite3.Connection) -> list[Standing]:
    cost = f"sum(length(value) + length(raw) + {ENTRY_COST_BYTES})"
    found = connection.execute(
        f"SELECT lane, min(seq), max(seq), count(*), {cost} FROM entries GROUP BY lane ORDER BY min(seq)"  # noqa: S608 - as above
    )
    return [Standing(*row) for row in found]


def _readable(connection: sqlite3.Connection) -> Iterator[Entry]:
    """What is as it was written: from both ends, up to where the file cannot be read."""
    for order in ("", " DESC"):
        with contextlib.suppress(sqlite3.Error):
            connection.execute("PRAGMA locking_mode = EXCLUSIVE")
            for row in connection.execute(f"SELECT {COLUMNS} FROM entries ORDER BY seq{order}"):  # noqa: S608 - ASC or DESC, ours
                if (entry := _entry(row)) is not None:
                    yield entry


def _row(entry: Entry) -> tuple[object, ...]:
    of = entry.record
    return (entry.seq, of.lane, of.topic, of.key, _plain(of.headers), of.value, of.raw, of.answered, entry.sum)


def _entry(row: Sequence[Any]) -> Entry | None:
    """None where it is not what was written."""
    seq, lane, topic, key, headers, value, raw, answered, told = row
    try:
        record = Outgoing(lane, topic, key, _headers(headers), bytes(value), bytes(raw), bool(answered))
        entry = Entry(seq, record)
    except (TypeError, ValueError, AttributeError):
        return None
    return entry if entry.sum == told else None


def _plain(headers: Iterable[tuple[str, bytes]]) -> str:
    return json.dumps([[name, content.decode("latin-1")] for name, content in headers])


def _headers(plain: str) -> tuple[tuple[str, bytes], ...]:
    return tuple((name, content.encode("latin-1")) for name, content in json.loads(plain))


def _unusable(path: Path, why: str) -> Text:
    if "locked" in why:
        return Text(f"spool: another process uses {path}", f"spool：另一个进程正在使用 {path}")
    return Text(f"spool: {path} cannot be used: {why}", f"spool：无法使用 {path}：{why}")
