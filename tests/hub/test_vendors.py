"""Vendors and their keys: what a clerk's file looks like afterwards, and that a key is told once."""

import hashlib
import json
import tomllib
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest

from hub import shipped, vendors
from hub.__main__ import main
from hub.core.errors import Misconfigured
from tests.planted import VENDOR_KEY

NOW = datetime(2026, 6, 1, 8, 0, 0, 123456, tzinfo=UTC)
FIRST = "2026-06-01T08:00:00Z"

# As a clerk may write it: with comments, Chinese, an offset, other order, a field of somebody else's.
CLERKS = """\
# 厂商
[[vendors]]
name = "天威"   # 蓝天卫士
id = "tianwei"
feeds = ["camera"]
[[vendors.keys]]
id = "k7"
sha256 = "aa"
to = 2026-06-02T00:00:00+08:00 # 合同到期

[[vendors]]
id = "old"
feeds = ["patrol"]
note = 'kept'
"""


ABOUT = {"name": "新", "feeds": ["camera"]}


def folder(tmp_path: Path, text: str) -> Path:
    (tmp_path / "vendors.toml").write_text(text, encoding="utf-8")
    return tmp_path


def written(folder: Path) -> list[dict[str, Any]]:
    return list(tomllib.loads((folder / "vendors.toml").read_text(encoding="utf-8"))["vendors"])


def text(folder: Path) -> str:
    return (folder / "vendors.toml").read_text(encoding="utf-8")


def test_a_vendor_is_added_to_a_folder_that_has_none(tmp_path: Path) -> None:
    new = vendors.add(tmp_path / "new", "tianwei", {"name": "天威", "feeds": ["camera"], "per_s": 20.0}, NOW)
    assert (new.vendor, new.key_id, new.begins) == ("tianwei", "k1", FIRST)
    assert len(new.key) == 46
    assert new.key.startswith("gh_")
    assert written(tmp_path / "new") == [
        {
            "id": "tianwei",
            "name": "天威",
            "feeds": ["camera"],
            "per_s": 20.0,
            "keys": [
                {
                    "id": "k1",
                    "sha256": hashlib.sha256(new.key.encode()).hexdigest(),
                    "from": NOW.replace(microsecond=0),
                }
            ],
        }
    ]
    assert new.key not in text(tmp_path / "new")
    assert text(tmp_path / "new").startswith("# Who answers for devices")
    assert vendors.add(tmp_path / "new", "b", ABOUT, NOW).key != new.key


def test_adding_leaves_what_a_clerk_wrote(tmp_path: Path) -> None:
    place = folder(tmp_path, CLERKS)
    (place / "vendors.toml").chmod(0o640)
    vendors.add(place, "xunjian", {"name": "巡检", "feeds": ["patrol"], "trial": True}, NOW)
    assert text(place).startswith(CLERKS)
    assert [table["id"] for table in written(place)] == ["tianwei", "old", "xunjian"]
    assert (place / "vendors.toml").stat().st_mode & 0o777 == 0o640
    assert [path.name for path in place.iterdir()] == ["vendors.toml"]


def test_rotation_lets_the_old_keys_end_later(tmp_path: Path) -> None:
    place = folder(tmp_path, CLERKS)
    second = vendors.rotate(place, "tianwei", timedelta(hours=72), NOW)
    assert second.key_id == "k8"
    third = vendors.rotate(place, "tianwei", timedelta(hours=1), NOW)
    keys = written(place)[0]["keys"]
    assert [key["id"] for key in keys] == ["k7", "k8", "k9"]
    # A key ends where it would have, if that is before the overlap's end.
    assert keys[0]["to"] == datetime.fromisoformat("2026-06-01T09:00:00+00:00")
    assert keys[1]["to"] == keys[0]["to"]
    assert "to" not in keys[2]
    assert keys[2]["sha256"] == hashlib.sha256(third.key.encode()).hexdigest()
    assert written(place)[1] == {"id": "old", "feeds": ["patrol"], "note": "kept"}
    for kept in ("# 厂商", "# 蓝天卫士", "# 合同到期"):
        assert kept in text(place)
    assert vendors.rotate(place, "old", timedelta(), NOW).key_id == "k1"


def test_an_earlier_end_is_not_put_off(tmp_path: Path) -> None:
    place = folder(tmp_path, CLERKS)
    vendors.rotate(place, "tianwei", timedelta(hours=72), NOW)
    assert written(place)[0]["keys"][0]["to"] == datetime.fromisoformat("2026-06-02T00:00:00+08:00")


def test_revoking_ends_at_once_all_or_one(tmp_path: Path) -> None:
    place = folder(tmp_path, CLERKS)
    vendors.rotate(place, "tianwei", timedelta(hours=1), NOW)
    later = NOW + timedelta(minutes=1)
    assert vendors.revoke(place, "tianwei", "k8", later) == ["k8"]
    assert [row.state for row in vendors.listed(place, later)[0].keys] == ["valid", "ended"]
    assert vendors.revoke(place, "tianwei", None, later) == ["k7"]
    assert [row.state for row in vendors.listed(place, later)[0].keys] == ["ended", "ended"]
    assert vendors.revoke(place, "tianwei", None, later) == []


def test_a_key_that_would_have_counted_later_never_does(tmp_path: Path) -> None:
    place = folder(tmp_path, CLERKS.replace("to = 2026-06-02T00:00:00+08:00", "from = 2026-07-01T00:00:00+08:00"))
    assert [row.state for row in vendors.listed(place, NOW)[0].keys] == ["later"]
    vendors.revoke(place, "tianwei", None, NOW)
    (key,) = written(place)[0]["keys"]
    assert key["to"] == key["from"]


def test_a_key_that_stands_where_its_hash_should_is_not_listed(tmp_path: Path) -> None:
    text = f'[[vendors]]\nid = "a"\n[[vendors.keys]]\nid = "k1"\nsha256 = "{VENDOR_KEY}"\n'
    (tmp_path / "vendors.toml").write_text(text, encoding="utf-8")
    assert [key.sha256 for key in vendors.listed(tmp_path, NOW)[0].keys] == ["?"]


def test_the_list_shows_no_whole_hash(tmp_path: Path) -> None:
    place = folder(tmp_path, CLERKS)
    new = vendors.rotate(place, "tianwei", timedelta(hours=1), NOW)
    rows = vendors.listed(place, NOW)
    said = "\n".join(line for row in rows for line in vendors.shown(row))
    assert said == (
        f"tianwei  天威  camera\n  k7  ?…  valid  … – 2026-06-01T09:00:00Z\n  k8  {hashlib.sha256(new.key.encode()).hexdigest()[:8]}…"
        f"  valid  {FIRST} – …\nold    patrol"
    )


@pytest.mark.parametrize(
    ("before", "act", "said"),
    [
        (CLERKS, lambda place: vendors.add(place, "old", {}, NOW), "there is a vendor old"),
        (CLERKS, lambda place: vendors.add(place, "Ä b", {}, NOW), "'Ä b' is no id of a vendor"),
        (CLERKS, lambda place: vendors.rotate(place, "x", timedelta(), NOW), "there is no vendor x"),
        (CLERKS, lambda place: vendors.revoke(place, "tianwei", "k1", NOW), "tianwei has no key k1"),
        (
            CLERKS,
            lambda place: vendors.add(place, "a", ABOUT | {"feeds": ["camra"]}, NOW),
            "no connector is called camra",
        ),
        (CLERKS, lambda place: vendors.add(place, "a", ABOUT | {"datum": "XIAN80"}, NOW), "datum is none of WGS84"),
        (CLERKS, lambda place: vendors.add(place, "a", ABOUT | {"zone": "Mars"}, NOW), "'Mars' is not a time zone"),
        (CLERKS, lambda place: vendors.add(place, "a", ABOUT | {"name": " "}, NOW), "a: name is empty"),
        (None, lambda place: vendors.listed(place, NOW), "does not exist"),
        ("[[vendors]\n", lambda place: vendors.listed(place, NOW), "is not TOML"),
        ("[[vendors]]\nid = 1\nid = 2\n", lambda place: vendors.add(place, "a", {}, NOW), "is not TOML"),
        ("vendors = 3\n", lambda place: vendors.add(place, "a", {}, NOW), r"write vendors as \[\[vendors\]\]"),
        ("vendors = [{id = 'a'}]\n", lambda place: vendors.listed(place, NOW), r"write vendors as \[\[vendors\]\]"),
        ("[vendors]\nid = 'a'\n", lambda place: vendors.listed(place, NOW), r"write vendors as \[\[vendors\]\]"),
        (
            CLERKS.replace("to = 2026-06-02T00:00:00+08:00", "to = 2026-06-02"),
            lambda place: vendors.listed(place, NOW),
            "key k7: to",
        ),
        (CLERKS.replace("+08:00", ""), lambda place: vendors.rotate(place, "tianwei", timedelta(), NOW), "key k7: to"),
    ],
)
def test_what_cannot_be_done_is_told_and_changes_nothing(
    tmp_path: Path, before: str | None, act: Callable[[Path], object], said: str
) -> None:
    place = folder(tmp_path, before) if before else tmp_path
    with pytest.raises(Misconfigured, match=said):
        act(place)
    assert [path.read_text(encoding="utf-8") for path in place.iterdir()] == ([before] if before else [])


def test_a_file_from_a_windows_editor(tmp_path: Path) -> None:
    (tmp_path / "vendors.toml").write_bytes(b"\xef\xbb\xbf" + CLERKS.replace("\n", "\r\n").encode())
    vendors.rotate(tmp_path, "tianwei", timedelta(), NOW)
    vendors.add(tmp_path, "new", ABOUT, NOW)
    assert [table["id"] for table in written(tmp_path)] == ["tianwei", "old", "new"]
    (tmp_path / "vendors.toml").write_bytes(CLERKS.encode("gbk"))
    with pytest.raises(Misconfigured, match="not UTF-8"):
        vendors.listed(tmp_path, NOW)


def test_the_folder_of_an_installed_program_is_not_edited(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shipped, "_IN_WHEEL", tmp_path)
    place = tmp_path / "deploy/town"
    place.mkdir(parents=True)
    folder(place, CLERKS)
    for act in (
        lambda: vendors.add(place, "a", {}, NOW),
        lambda: vendors.rotate(place, "old", timedelta(), NOW),
        lambda: vendors.revoke(place, "old", None, NOW),
    ):
        with pytest.raises(Misconfigured, match="belongs to the installed program"):
            act()
    assert text(place) == CLERKS
    assert len(vendors.listed(place, NOW)) == 2


def test_the_command_prints_a_key_once_on_stdout(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def gridhub(*words: str) -> tuple[int, str, str]:
        code = main(["vendor", *words, "--dir", str(tmp_path)])
        out, err = capsys.readouterr()
        return code, out, err

    code, out, err = gridhub("add", "tianwei", "--name", "天威", "--feed", "camera", "--feed", "patrol", "--trial")
    assert code == 0
    key = out.strip()
    assert hashlib.sha256(key.encode()).hexdigest() == written(tmp_path)[0]["keys"][0]["sha256"]
    assert "not shown again" in err
    assert "gridhub registry import" in err
    assert key not in err
    (made,) = written(tmp_path)
    assert (made["feeds"], made["trial"]) == (["camera", "patrol"], True)
    assert not {"datum", "zone", "per_s", "gcj02_inverse"} & made.keys()

    code, out, err = gridhub("rotate", "tianwei", "--overlap", "0.5", "--json")
    assert code == 0
    told = json.loads(out)
    assert (told["vendor"], told["key_id"]) == ("tianwei", "k2")
    assert told["key"] not in err

    code, out, _ = gridhub("list", "--json")
    assert code == 0
    assert [row["state"] for row in json.loads(out)[0]["keys"]] == ["valid", "valid"]
    code, out, _ = gridhub("list")
    assert code == 0
    assert out.startswith("tianwei  天威  camera,patrol  trial\n  k1  ")

    code, out, _ = gridhub("revoke", "tianwei", "--key", "k1")
    assert (code, out) == (0, "k1\n")
    code, out, _ = gridhub("revoke", "tianwei", "--json")
    assert (code, json.loads(out)) == (0, {"ended": ["k2"]})
    code, out, err = gridhub("revoke", "tianwei")
    assert (code, out) == (0, "")
    assert "tianwei has no key that counts" in err
    code, out, err = gridhub("revoke", "nobody")
    assert (code, out) == (2, "")
    assert "there is no vendor nobody" in err


@pytest.mark.parametrize(
    "words",
    [
        ["add", "a", "--name", "A"],
        ["add", "a", "--feed", "camera"],
        ["add", "a", "--name", "A", "--feed", "air", "--per-s", "0"],
        ["rotate", "a", "--overlap", "-1"],
        ["rotate", "a", "--overlap", "nan"],
        ["rotate"],
    ],
)
def test_what_is_no_command(words: list[str], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["vendor", *words, "--dir", str(tmp_path)])
    assert ended.value.code == 2
    assert "gridhub vendor" in capsys.readouterr().err
