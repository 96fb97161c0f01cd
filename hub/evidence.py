"""Pictures, kept by their SHA-256: what an alert names is there before the alert is, and is what it was.

A file appears whole or not at all, after its bytes are on the disk; the same content is kept once. Several processes may share a store.
"""

import hashlib
import os
import tempfile
from pathlib import Path

from hub.core.errors import Reason, Rejected, Unavailable

MOST_BYTES = 10 * 1024 * 1024
JPEG, PNG, UNKNOWN = "image/jpeg", "image/png", "application/octet-stream"
_BEGINNINGS = ((b"\xff\xd8\xff", JPEG), (b"\x89PNG\r\n\x1a\n", PNG))


class Evidence:
    """A store in a folder: `ab/cdef...` for a content whose SHA-256 is `abcdef...`."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

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
            if path.exists() and path.stat().st_size == len(content):
                return name
            if not path.parent.is_dir():
                path.parent.mkdir(parents=True, exist_ok=True)
                for above in (self._folder, self._folder.parent):
                    _on_the_disk(above)
            handle, draft = tempfile.mkstemp(dir=path.parent, prefix=".", suffix=".part")
            try:
                with os.fdopen(handle, "wb") as file:
                    file.write(content)
                    file.flush()
                    os.fsync(file.fileno())
                Path(draft).replace(path)
            except BaseException:
                Path(draft).unlink(missing_ok=True)
                raise
            _on_the_disk(path.parent)
        except OSError as error:
            raise Unavailable(f"the evidence store: {error.strerror}") from None
        return name


def _on_the_disk(folder: Path) -> None:
    """Its names, too."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def media_type(content: bytes) -> str:
    """What it is, by its first bytes; whatever a sender calls it."""
    return next((kind for beginning, kind in _BEGINNINGS if content.startswith(beginning)), UNKNOWN)
