"""What the hub would make of a recording, said without keeping anything."""

import json
from pathlib import Path

import pytest

from connectors.air.hj212 import frame
from hub.__main__ import main
from tests.connectors.camera.layouts import JPEG, PICTURE, TEXT, multipart, xml
from tests.connectors.patrol.test_features import FLAT, SPOT, collection

MN = "0100031C05318848BA78BA04"  # zhengan-air-1


@pytest.fixture
def tries(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> object:
    monkeypatch.setenv("GRIDHUB__DATA", str(tmp_path / "data"))

    def one(raw: bytes, vendor: str, feed: str, *more: str) -> tuple[int, str]:
        path = tmp_path / "recording"
        path.write_bytes(raw)
        code = main(["vendor", "try", str(path), "--vendor", vendor, "--feed", feed, *more])
        assert not (tmp_path / "data").exists(), "nothing is kept"
        return code, capsys.readouterr().out

    return one


def test_a_camera_that_sees_smoke_would_be_an_urgent_ticket_of_a_person(tries: object) -> None:
    body = multipart((TEXT, xml("smokeDetection", mac="00:00:5e:00:53:05").encode()), (PICTURE, JPEG))
    code, said = tries(body, "tianwei", "camera")  # type: ignore[operator]
    assert code == 0
    assert "zhengan-cam-9 reports camera.smoke: begins" in said
    assert "ticket: 06020 焚烧垃圾、树叶, urgent; 410122106" in said


def test_of_several_each_is_told_and_what_cannot_be_used_says_why(tries: object) -> None:
    far = {**FLAT, "longitude": 121.47, "latitude": 31.23}
    code, said = tries(json.dumps(collection(SPOT, far), ensure_ascii=False).encode(), "xunjian", "patrol")  # type: ignore[operator]
    assert code == 1
    assert "reports patrol.illegal_building: begins" in said
    assert "ticket: 06001 私搭乱建, normal" in said
    assert "would be kept in the dead letters: outside_area" in said


def test_a_stations_frames_are_readings(tries: object) -> None:
    good = frame(
        f"QN=20260601100000000;ST=22;CN=2011;PW=1;MN={MN};Flag=5;CP=&&DataTime=20260601100000;a34002-Rtd=88,a34002-Flag=N&&".encode()
    )
    beat = frame(f"QN=20260601100001000;ST=22;CN=9015;PW=1;MN={MN};Flag=5;CP=&&&&".encode())
    code, said = tries(good + beat, "qinghe", "air")  # type: ignore[operator]
    assert code == 0
    assert "zhengan-air-1 reads: CN 2011" in said
    assert "a34002 Rtd 88.0 ug/m3 N" in said
    assert "a heartbeat" in said


def test_in_chinese_and_as_json(tries: object) -> None:
    body = xml("fireDetection", mac="00:00:5e:00:53:05").encode()
    _, said = tries(body, "tianwei", "camera", "--lang", "zh")  # type: ignore[operator]
    assert "zhengan-cam-9 上报 camera.fire：开始" in said
    assert "工单：06020 焚烧垃圾、树叶，紧急" in said
    _, said = tries(body, "tianwei", "camera", "--json")  # type: ignore[operator]
    assert [one["fate"] for one in json.loads(said)] == ["published"]


def test_the_head_of_an_http_request_may_stand_before_the_body(tries: object) -> None:
    body = multipart((TEXT, xml("smokeDetection", mac="00:00:5e:00:53:05").encode()), (PICTURE, JPEG))
    head = f"POST /in/isapi/KEY HTTP/1.1\r\nHost: hub\r\nContent-Length: {len(body)}\r\n\r\n".encode()
    then = ("--at", "2026-06-02T09:30")
    _, said = tries(head + body, "tianwei", "camera", *then)  # type: ignore[operator]
    assert said == tries(body, "tianwei", "camera", *then)[1]  # type: ignore[operator]
    assert "reports camera.smoke" in said


def test_an_old_recording_may_be_taken_as_if_it_came_then(tries: object) -> None:
    raw = frame(
        f"QN=20260601100000000;ST=22;CN=2072;PW=1;MN={MN};Flag=5;CP=&&AlarmTime=20260601095900;a34002-Ala=300;AlarmType=1&&".encode()
    )
    _, said = tries(raw, "qinghe", "air")  # type: ignore[operator]
    assert "late: is about a time too long ago" in said
    assert "--at" in said
    _, said = tries(raw, "qinghe", "air", "--at", "2026-06-01T10:00")  # type: ignore[operator]
    assert "time 2026-06-01 09:59:00 (as the device says)" in said
    assert "ticket: 08004" in said


@pytest.mark.parametrize("raw", [b"", b"GET / HTTP/1.1\r\n\r\n"])
def test_where_there_is_no_message_it_says_so(
    tries: object, capsys: pytest.CaptureFixture[str], raw: bytes, tmp_path: Path
) -> None:
    del tries
    (tmp_path / "recording").write_bytes(raw)
    code = main(["vendor", "try", str(tmp_path / "recording"), "--vendor", "qinghe", "--feed", "air"])
    told = capsys.readouterr()
    assert (code, told.out) == (1, "")
    assert told.err.endswith(f"recording: no message of air in these {len(raw)} bytes\n")


def test_why_something_cannot_be_used_is_told_in_words_and_by_what_to_register(tries: object) -> None:
    body = xml("fireDetection", mac="00:00:5e:00:53:99").encode()
    code, said = tries(body, "tianwei", "camera", "--lang", "zh")  # type: ignore[operator]
    assert code == 1
    assert "无法使用，将存入死信：unknown_device，设备未在 devices.csv 中登记" in said
    assert "calls itself 00:00:5e:00:53:99" in said


def test_a_vendor_that_is_not_there_is_told_so(tries: object) -> None:
    code, said = tries(b"{", "nobody", "camera")  # type: ignore[operator]
    assert (code, said) == (2, "")


def test_a_text_that_no_record_takes_is_told_as_the_dead_letter_that_it_would_be(tries: object) -> None:
    raw = json.dumps({**FLAT, "description": "half a character: \ud800"}).encode()
    code, said = tries(raw, "xunjian", "patrol")  # type: ignore[operator]
    assert code == 1
    assert "cannot be used and would be kept in the dead letters: schema" in said
