"""Pictures by their hash: whole or not at all, once, and as they were."""

import hashlib
import os
from pathlib import Path

import pytest

from hub.core.errors import Rejected, Unavailable
from hub.evidence import DRAFTS, MOST_BYTES, Evidence, media_type


def test_a_content_lies_under_its_hash_once(tmp_path: Path) -> None:
    store = Evidence(tmp_path)
    name = store.keep(b"picture")
    assert name == hashlib.sha256(b"picture").hexdigest()
    assert store.path(name).read_bytes() == b"picture"
    before = store.path(name).stat().st_mtime_ns
    assert store.keep(b"picture") == name
    assert store.path(name).stat().st_mtime_ns == before
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == [store.path(name)]


def test_the_names_on_the_way_to_a_content_are_on_the_disk_as_well(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    flushed, real = [], os.fsync

    def flush(handle: int) -> None:
        flushed.append(Path(f"/proc/self/fd/{handle}").readlink())
        real(handle)

    monkeypatch.setattr(os, "fsync", flush)
    store = Evidence(tmp_path / "evidence")
    last = store.path(store.keep(b"picture")).parent
    assert {tmp_path, tmp_path / "evidence", last} < set(flushed)
    assert flushed[-1] == last, "the content before its name"


def test_what_somebody_else_has_put_there_is_on_the_disk_before_it_is_said_to_be(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Who did so may have been killed between the content and the disk's word for its name."""
    name = Evidence(tmp_path / "evidence").keep(b"picture")
    flushed = []
    monkeypatch.setattr(os, "fsync", lambda handle: flushed.append(Path(f"/proc/self/fd/{handle}").readlink()))
    store = Evidence(tmp_path / "evidence")
    assert store.keep(b"picture") == name
    assert {tmp_path, tmp_path / "evidence", store.path(name).parent} <= set(flushed)


def test_the_next_process_removes_what_a_killed_one_has_begun_and_leaves_what_others_are_writing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    store, other, fsync = Evidence(tmp_path), Evidence(tmp_path), os.fsync
    drafts = tmp_path / DRAFTS
    drafts.mkdir()
    (drafts / "abandoned").write_bytes(b"pict")

    def meanwhile(handle: int) -> None:
        if Path(f"/proc/self/fd/{handle}").readlink().parent == drafts:
            assert not (drafts / "abandoned").exists()
            monkeypatch.setattr(os, "fsync", fsync)
            other.keep(b"another")  # its first: it looks for what was abandoned
        fsync(handle)

    monkeypatch.setattr(os, "fsync", meanwhile)
    assert store.path(store.keep(b"picture")).read_bytes() == b"picture"
    assert os.fsync is fsync, "the other was there meanwhile"
    assert len([path for path in tmp_path.rglob("*") if path.is_file()]) == 2


def test_what_was_cut_off_before_is_written_again(tmp_path: Path) -> None:
    store = Evidence(tmp_path)
    name = store.keep(b"picture")
    store.path(name).write_bytes(b"pic")
    store.keep(b"picture")
    assert store.path(name).read_bytes() == b"picture"


def test_too_large_a_picture_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Rejected):
        Evidence(tmp_path).keep(bytes(MOST_BYTES + 1))
    assert not list(tmp_path.iterdir())


def test_a_disk_that_fails_is_said_and_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(_handle: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(Unavailable, match="No space left"):
        Evidence(tmp_path).keep(b"picture")
    assert not [path for path in tmp_path.rglob("*") if path.is_file()]


@pytest.mark.parametrize(
    ("content", "kind"),
    [
        (b"\xff\xd8\xff\xe0", "image/jpeg"),
        (b"\x89PNG\r\n\x1a\n", "image/png"),
        (b"<svg onload=alert(1)>", "application/octet-stream"),
        (b"", "application/octet-stream"),
    ],
)
def test_a_type_is_what_the_content_says(content: bytes, kind: str) -> None:
    assert media_type(content) == kind
