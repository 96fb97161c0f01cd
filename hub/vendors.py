"""`gridhub vendor`: adds vendors and changes their keys in `vendors.toml`, a file that clerks edit too: comments and order stay.

A key is 32 bytes of chance. It is told once, on stdout, and the file keeps its SHA-256. What is changed here counts once the folder is imported.
All times are UTC and whole seconds, RFC 3339 where they are text.
"""

import hashlib
import os
import re
import secrets
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import tomlkit
from tomlkit.exceptions import TOMLKitError
from tomlkit.items import AoT, Table

from hub.core.errors import Misconfigured
from hub.lang import Text, harmless
from hub.registry_files import Wrong, vendor_of
from hub.settings import is_connector
from hub.shipped import installed

FILE = "vendors.toml"
KEY_BYTES = 32
KEY_PREFIX = "gh_"

_HEAD = """\
# Who answers for devices, and the keys they push with. `gridhub vendor add|rotate|revoke` writes this file, and a clerk may.
# A key stands here as its SHA-256; the key itself is told once, when it is made. `gridhub registry import` makes changes count.
"""


@dataclass(frozen=True, slots=True)
class NewKey:
    """A key as it is told, once. `begins`: when it counts from."""

    vendor: str
    key_id: str
    key: str
    begins: str


@dataclass(frozen=True, slots=True)
class KeyRow:
    """A key as it is listed: `sha256` are the first 8 digits, `begins` and `ends` empty where open, `state` valid, later or ended."""

    id: str
    sha256: str
    begins: str
    ends: str
    state: str


@dataclass(frozen=True, slots=True)
class VendorRow:
    """A vendor as it is listed."""

    id: str
    name: str
    feeds: tuple[str, ...]
    trial: bool
    keys: tuple[KeyRow, ...]


def add(folder: Path, vendor: str, about: Mapping[str, Any], now: datetime) -> NewKey:
    """Adds a vendor, at the file's end, with its first key. `about`: the other keys of its table, `name` and `feeds` at least.

    Raises Misconfigured where the id is none, or taken.
    """
    path = _editable(folder)
    text = _text(path) if path.exists() else _HEAD
    if not re.fullmatch(r"[a-z0-9][a-z0-9_-]{0,63}", vendor):
        raise _wrong(
            f"{vendor!r} is no id of a vendor: lower-case letters, digits, - and _, up to 64",
            f"{vendor!r} 不能作厂商编号：只能用小写字母、数字、- 和 _，最多 64 个",
        )
    if any(table.get("id") == vendor for table in _tables(path, _parsed(path, text))):
        raise _wrong(
            f"{path}: there is a vendor {vendor}; `gridhub vendor rotate {vendor}` makes it a new key",
            f"{path}：已有厂商 {vendor}；用 gridhub vendor rotate {vendor} 换新密钥",
        )
    table = tomlkit.table()
    table.add("id", vendor)
    for name, value in about.items():
        table.add(name, value)
    table.add(tomlkit.nl())
    new = _new_key(table, now)
    document = tomlkit.document()
    document.add("vendors", tomlkit.aot())
    document["vendors"].append(table)
    text = f"{text.rstrip()}\n\n{tomlkit.dumps(document)}".lstrip()
    _tables(path, _parsed(path, text))
    try:
        vendor_of(tomlkit.parse(tomlkit.dumps(table)).unwrap())
    except Wrong as wrong:
        raise _wrong(wrong.en, wrong.zh) from None
    for feed in map(str, about["feeds"]):
        if not is_connector(feed):
            raise _wrong(f"{vendor}: no connector is called {feed}", f"{vendor}：没有名为 {feed} 的接入程序")
    _write(path, text)
    return new


def rotate(folder: Path, vendor: str, overlap: timedelta, now: datetime) -> NewKey:
    """Gives a vendor a new key; those that count now end `overlap` later, or when they would have. Raises Misconfigured."""
    path, document, table = _vendor(folder, vendor)
    for key in _keys(path, table):
        _end(path, key, now + overlap, now)
    new = _new_key(table, now)
    _write(path, tomlkit.dumps(document))
    return new


def revoke(folder: Path, vendor: str, key_id: str | None, now: datetime) -> list[str]:
    """Ends a vendor's keys now, or the one of that id; gives the ids of those that had not ended. Raises Misconfigured."""
    path, document, table = _vendor(folder, vendor)
    keys = [key for key in _keys(path, table) if key_id in {None, key.get("id")}]
    if key_id is not None and not keys:
        raise _wrong(f"{path}: {vendor} has no key {key_id}", f"{path}：{vendor} 没有密钥 {key_id}")
    ended = [str(key.get("id", "")) for key in keys if _end(path, key, now, now)]
    _write(path, tomlkit.dumps(document))
    return ended


def _start_of(sha256: str) -> str:
    """Nothing of what is none: it may be the key itself."""
    return sha256[:8] if re.fullmatch(r"[0-9A-Fa-f]{64}", sha256) else "?"


def listed(folder: Path, now: datetime) -> list[VendorRow]:
    """All vendors, in the file's order. Raises Misconfigured."""
    path = folder / FILE
    rows = []
    for table in _tables(path, _parsed(path, _text(path))):
        keys = []
        for key in _keys(path, table):
            begins, ends = _time(path, key, "from"), _time(path, key, "to")
            state = "ended" if ends and ends <= now else "later" if begins and begins > now else "valid"
            keys.append(
                KeyRow(
                    str(key.get("id", "")), _start_of(str(key.get("sha256", ""))), _shown(begins), _shown(ends), state
                )
            )
        feeds = table.get("feeds", [])
        rows.append(
            VendorRow(
                str(table.get("id", "")),
                str(table.get("name", "")),
                tuple(map(str, feeds if isinstance(feeds, list) else [feeds])),
                bool(table.get("trial", False)),
                tuple(keys),
            )
        )
    return rows


def shown(row: VendorRow) -> list[str]:
    """A vendor as lines for a person, its keys indented."""
    trial = str(Text("  trial", "  试运行")) if row.trial else ""
    lines = [harmless(f"{row.id}  {row.name}  {','.join(row.feeds)}{trial}")]
    for key in row.keys:
        state = Text(key.state, {"valid": "有效", "later": "尚未生效", "ended": "已失效"}[key.state])
        lines.append(harmless(f"  {key.id}  {key.sha256}…  {state}  {key.begins or '…'} – {key.ends or '…'}"))
    return lines


def _new_key(table: Table, now: datetime) -> NewKey:
    key = KEY_PREFIX + secrets.token_urlsafe(KEY_BYTES)
    if "keys" not in table:
        table.add("keys", tomlkit.aot())
    keys = table["keys"]
    assert isinstance(keys, AoT)
    numbers = [int(str(one.get("id", ""))[1:]) for one in keys if re.fullmatch(r"k[0-9]{1,9}", str(one.get("id", "")))]
    begins = now.astimezone(UTC).replace(microsecond=0)
    made = tomlkit.table()
    made.add("id", f"k{max(numbers, default=0) + 1}")
    made.add("sha256", hashlib.sha256(key.encode()).hexdigest())
    made.add("from", begins)
    made.add(tomlkit.nl())
    if keys and not keys[-1].as_string().endswith("\n\n"):
        keys[-1].add(tomlkit.nl())
    keys.append(made)
    return NewKey(str(table["id"]), str(made["id"]), key, _shown(begins))


def _end(path: Path, key: Table, at: datetime, now: datetime) -> bool:
    """Ends a key at `at` unless it ends before; False where it had ended by now."""
    ends = _time(path, key, "to")
    if ends and ends <= now:
        return False
    if ends is None or at < ends:
        begins = _time(path, key, "from")
        # One that would have counted later never does.
        key["to"] = (max(at, begins) if begins else at).astimezone(UTC).replace(microsecond=0)
    return True


def _vendor(folder: Path, vendor: str) -> tuple[Path, tomlkit.TOMLDocument, Table]:
    path = _editable(folder)
    document = _parsed(path, _text(path))
    for table in _tables(path, document):
        if table.get("id") == vendor:
            return path, document, table
    raise _wrong(
        f"{path}: there is no vendor {vendor}; `gridhub vendor list` shows all",
        f"{path}：没有厂商 {vendor}；用 gridhub vendor list 查看全部",
    )


def _editable(folder: Path) -> Path:
    if installed(folder):
        raise _wrong(
            f"{folder} belongs to the installed program and would be lost with its next version: copy it, and name the copy in [registry] dir or with --dir",
            f"{folder} 属于已安装的程序，升级时会丢失：请先复制一份，并在 [registry] dir 或 --dir 中指定该副本",
        )
    return folder / FILE


def _text(path: Path) -> str:
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise _wrong(
            f"{path} does not exist; `gridhub vendor add` makes it", f"{path} 不存在；gridhub vendor add 会创建它"
        ) from None
    except (OSError, UnicodeDecodeError) as error:
        why = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise _wrong(f"{path} cannot be read: {why}", f"无法读取 {path}：{why}") from None


def _parsed(path: Path, text: str) -> tomlkit.TOMLDocument:
    try:
        return tomlkit.parse(text)
    except TOMLKitError as error:
        raise _wrong(f"{path} is not TOML: {error}", f"{path} 不是 TOML：{error}") from None


def _tables(path: Path, document: tomlkit.TOMLDocument) -> list[Table]:
    return _array(path, document, "vendors")


def _keys(path: Path, table: Table) -> list[Table]:
    return _array(path, table, "vendors.keys")


def _array(path: Path, holder: tomlkit.TOMLDocument | Table, name: str) -> list[Table]:
    found = holder.get(name.rpartition(".")[2], [])
    if not isinstance(found, AoT) and found != []:
        raise _wrong(f"{path}: write {name} as [[{name}]]", f"{path}：{name} 须写成 [[{name}]]")
    return list(found)


def _time(path: Path, key: Table, name: str) -> datetime | None:
    value = key.get(name)
    if value is None or (isinstance(value, datetime) and value.tzinfo):
        return value
    at = f"{path}: key {key.get('id')}: {name}"
    raise _wrong(f"{at}: write it like 2026-06-01T00:00:00+08:00", f"{at}：须写成 2026-06-01T00:00:00+08:00 的形式")


def _shown(at: datetime | None) -> str:
    return at.astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%SZ") if at else ""


def _write(path: Path, text: str) -> None:
    """Whole or not at all."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        mode = path.stat().st_mode & 0o777 if path.exists() else 0o644
        handle, draft = tempfile.mkstemp(dir=path.parent, prefix=f".{FILE}.")
        try:
            with os.fdopen(handle, "w", encoding="utf-8") as file:
                file.write(f"{text.rstrip()}\n")
                file.flush()
                os.fsync(file.fileno())
            Path(draft).chmod(mode)
            Path(draft).replace(path)
        except BaseException:
            # The file is as it was, and whoever wanted it changed is told why.
            Path(draft).unlink(missing_ok=True)
            raise
    except OSError as error:
        raise _wrong(f"{path} cannot be written: {error.strerror}", f"无法写入 {path}：{error.strerror}") from None


def _wrong(en: str, zh: str) -> Misconfigured:
    return Misconfigured(str(Text(en, zh)))
