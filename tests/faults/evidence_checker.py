"""What the evidence store must hold, told from the records that name its contents.

A witness from outside: it reads the folder itself, where a content whose SHA-256 is `abcdef...` lies as `ab/cdef...`, and what is being written
in `drafts`.
"""

import re
from collections.abc import Iterable, Iterator, Mapping
from hashlib import sha256
from pathlib import Path
from typing import NamedTuple

from tests.faults.checker import Fields, Finding, Wrong

LARGE_BYTES = 512 * 1024
"""What is longer does not stand in a dead letter: that names it by its hash."""


class Content(NamedTuple):
    """What a file holds: the SHA-256 of its bytes, and how many they are."""

    sha256: str
    size: int


Store = Mapping[str, Content]
"""By path in the folder."""


def store(folder: Path) -> Store:
    """All files of the folder, which nobody may write to meanwhile; none where there is no folder."""
    found = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            content = path.read_bytes()
            found[path.relative_to(folder).as_posix()] = Content(sha256(content).hexdigest(), len(content))
    return found


def path_of(name: str) -> str:
    """Where the content with this SHA-256 lies."""
    return f"{name[:2]}/{name[2:]}"


def findings(records: Iterable[tuple[str, Fields]], held: Store) -> Iterator[Finding]:
    """What is wrong with the contents that records name, and with what lies there. `records`: where each lies, and what it says."""
    for place, fields in records:
        for one in fields.get("evidence", ()):
            if one["sha256"]:  # else it says that it is not kept
                yield from _named(place, one["sha256"], one["bytes"], held)
        if "evidence_sha256" in fields:
            yield from _letter(place, fields, held)
    for path, content in sorted(held.items()):
        yield from _lies(path, content)


def _named(place: str, name: str, size: int | None, held: Store) -> Iterator[Finding]:
    content = held.get(path_of(name))
    if content is None:
        yield Finding(Wrong.EVIDENCE_MISSING, place, f"{name} is not in the store")
    elif content.sha256 != name:
        yield Finding(Wrong.EVIDENCE_ALTERED, place, f"what lies at {name} has the SHA-256 {content.sha256}")
    elif size is not None and content.size != size:
        yield Finding(Wrong.EVIDENCE_ALTERED, place, f"{name} has {content.size} bytes, not {size}")


def _letter(place: str, fields: Fields, held: Store) -> Iterator[Finding]:
    """A dead letter holds its bytes, or names them."""
    name, raw = fields["evidence_sha256"], fields["raw"]
    if name is not None:
        yield from _named(place, name, None, held)
    if len(raw) > (0 if name is not None else LARGE_BYTES):
        yield Finding(Wrong.FIELD, place, f"raw holds {len(raw)} bytes, evidence_sha256 is {name!r}")


def _lies(path: str, content: Content) -> Iterator[Finding]:
    """A file under a final name is whole, whether a record names it or not."""
    if path.startswith("drafts/"):
        return
    if not re.fullmatch(r"[0-9a-f]{2}/[0-9a-f]{62}", path):
        yield Finding(Wrong.UNEXPECTED, path, "is no name of a content")
    elif path_of(content.sha256) != path:
        yield Finding(Wrong.EVIDENCE_TORN, path, f"{content.size} bytes with the SHA-256 {content.sha256}")
