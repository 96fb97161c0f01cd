"""Pictures, kept by their SHA-256: what an alert names is there before the alert is, and is what it was.

A file appears whole or not at all, after its bytes are on the disk; the same content is kept once. Several processes may share a store.
"""

import contextlib
import fcntl
import hashlib
import os
import tempfile
import threading
from pathlib import Path

from hub.core.errors import Reason, Rejected, Unavailable
from hub.disk import settle_names
from hub.points import reached

DRAFTS = "drafts"
MOST_BYTES = 10 * 1024 * 1024
JPEG, PNG, UNKNOWN = "image/jpeg", "image/png", "application/octet-stream"
_BEGINNINGS = ((b"\xff\xd8\xff", JPEG), (b"\x89PNG\r\n\x1a\n", PNG))


class Evidence:
    """A store in a folder: `ab/cdef...` for a content whose SHA-256 is `abcdef...`; what is being written lies in `drafts`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._drafts = folder / DRAFTS
        self._preparing = threading.Lock()
        self._named: set[Path] = set()
        """Folders whose own names are on the disk."""

    def path(self, sha256: str) -> Path:
        """Where a content of this hash lies, if it is there."""
        return self._folder / sha256[:2] / sha256[2:]

    def keep(self, content: bytes, most: int = MOST_BYTES) -> str:
        """Keeps a content and returns its SHA-256, once it is on the disk. Blocks. Raises Rejected (too_large) or Unavailable (the disk)."""
        if len(content) > most:
            raise Rejected(Reason.TOO_LARGE, f"{len(content)} bytes are above {most}")
        name = hashlib.sha256(content).hexdigest()
        path = self.path(name)
        try:
            with self._preparing:
                self._prepare(path.parent)
            if not (path.exists() and path.stat().st_size == len(content)):
                self._write(content, path)
                reached("evidence.renamed")
            # Also where it was there: whoever has put it there may not have come to this.
            settle_names(path.parent)
        except OSError as error:
            raise Unavailable(f"the evidence store: {error.strerror}") from None
        reached("evidence.kept")
        return name

    def _prepare(self, folder: Path) -> None:
        if not self._named:
            self._drafts.mkdir(parents=True, exist_ok=True)
            _remove_abandoned(self._drafts)
        if folder not in self._named:
            folder.mkdir(exist_ok=True)
            for above in (self._folder, self._folder.parent):
                settle_names(above)
            self._named.add(folder)

    def _write(self, content: bytes, path: Path) -> None:
        handle, draft = tempfile.mkstemp(dir=self._drafts)
        try:
            with os.fdopen(handle, "wb") as file:
                fcntl.flock(handle, fcntl.LOCK_EX)
                file.write(content)
                file.flush()
                reached("evidence.written")
                os.fsync(handle)
                reached("evidence.flushed")
                Path(draft).replace(path)
        except BaseException:
            # Nobody was told that it is kept, and whoever gave it is told why it is not.
            Path(draft).unlink(missing_ok=True)
            raise


def _remove_abandoned(drafts: Path) -> None:
    """Removes what killed processes have begun. Whoever still writes a draft has it locked."""
    for draft in drafts.iterdir():
        with contextlib.suppress(FileNotFoundError, BlockingIOError), draft.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            draft.unlink()


def media_type(content: bytes) -> str:
    """What it is, by its first bytes; whatever a sender calls it."""
    return next((kind for beginning, kind in _BEGINNINGS if content.startswith(beginning)), UNKNOWN)
