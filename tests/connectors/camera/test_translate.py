"""From a camera's event to an alert: whose, what, when, where; and the id by which it is known again."""

import re
from dataclasses import replace

import pytest

from connectors.camera import kinds
from connectors.camera.isapi import Event, read
from connectors.camera.translate import Alive, Cameras, translate
from hub.core.errors import Reason, Rejected
from hub.core.events import CameraAlert
from hub.core.registry import Device, Registry, Vendor
from tests.connectors.camera.layouts import GPS, MAC, xml

ACCEPTED = 1_780_341_012_000  # 2026-06-02T03:10:12+08:00
VENDOR = Vendor(id="tianwei", name="天卫", feeds=frozenset({"camera"}))
CAMERA = Device(id="cam-1", mn=MAC, vendor="tianwei", feed="camera", town="410122106", lon=113.9, lat=34.7)
REGISTRY = Registry(
    devices=(
        CAMERA,
        replace(CAMERA, id="nvr-33", mn="AA:BB:CC:DD:EE:FF/33", bearing_deg=90.0, distance_m=1000.0, accuracy_m=150.0),
        replace(CAMERA, id="nvr", mn="aa:bb:cc:dd:ee:ff", lon=None, lat=None),
        replace(CAMERA, id="other", mn="00:00:00:00:00:01", vendor="someone"),
        replace(CAMERA, id="serial", mn="DS-2CD0123"),
    )
)
CAMERAS = Cameras(REGISTRY)


def event(**said: object) -> Event:
    [one] = read(xml(**said).encode(), "application/xml").events  # type: ignore[arg-type]
    return one


def alert(of: Event, accepted_at: int = ACCEPTED, **more: object) -> CameraAlert:
    one = translate(of, VENDOR, CAMERAS, accepted_at, **more)  # type: ignore[arg-type]
    assert isinstance(one, CameraAlert)
    return one


def test_a_fire_is_an_alert_of_its_camera() -> None:
    one = alert(event())
    assert (one.device, one.town, one.vendor, one.kind, one.signal) == (
        "cam-1",
        "410122106",
        "tianwei",
        "camera.fire",
        "begins",
    )
    assert (one.occurred_at, one.event_at, one.time_mark) == (ACCEPTED - 1000, ACCEPTED - 1000, "device")
    assert (one.lon, one.lat, one.datum, one.channel, one.message_type) == (113.9, 34.7, "WGS84", "2", "fireDetection")


@pytest.mark.parametrize(
    ("said", "device"),
    [
        ({}, "cam-1"),
        ({"mac": "AA-BB-CC-DD-EE-FF", "channel": "33"}, "nvr-33"),
        ({"mac": "AA-BB-CC-DD-EE-FF", "channel": "34"}, "nvr"),
        ({"without": ("macAddress",), "more": "<deviceID>ds-2cd0123</deviceID>"}, "serial"),
    ],
)
def test_the_camera_of_a_channel_goes_before_its_recorder(said: dict[str, object], device: str) -> None:
    assert alert(event(**said)).device == device


def test_a_far_looking_camera_tells_where_it_looks() -> None:
    one = alert(event(mac="aa:bb:cc:dd:ee:ff", channel="33"))
    assert one.lon == pytest.approx(113.9 + 1000 / 91_500, abs=2e-4)
    assert one.lat == pytest.approx(34.7, abs=1e-4)
    assert one.accuracy_m == 150.0
    nowhere = alert(event(mac="aa:bb:cc:dd:ee:ff", channel="1"))
    assert (nowhere.lon, nowhere.lat, nowhere.datum) == (None, None, "")


@pytest.mark.parametrize(
    ("mac", "reason"), [("00:00:00:00:00:01", Reason.NOT_YOURS), ("00:00:00:00:00:09", Reason.UNKNOWN_DEVICE)]
)
def test_a_device_of_another_vendor_or_of_nobody_is_refused(mac: str, reason: Reason) -> None:
    with pytest.raises(Rejected) as refused:
        alert(event(mac=mac))
    assert refused.value.reason is reason
    # What to write into devices.csv; of another vendor's device the registry's name is enough.
    assert (mac in refused.value.detail) == (reason is Reason.UNKNOWN_DEVICE)


@pytest.mark.parametrize(
    ("time", "occurred", "mark"),
    [
        ("2026-06-02T03:10:11", ACCEPTED - 1000, "device"),
        ("2026-06-02T01:00:00+08:00", ACCEPTED - 7_812_000, "too_old"),
        ("2026-06-02T03:13:00+08:00", ACCEPTED + 168_000, "too_new"),
        ("2026-06-03T03:11:00+08:00", None, "missing"),
        ("1970-01-01T08:00:00+08:00", None, "missing"),
        ("2009-12-31T23:59:59Z", None, "missing"),
        ("soon", None, "missing"),
    ],
)
def test_a_time_that_cannot_be_is_none_and_its_text_is_kept(time: str, occurred: int | None, mark: str) -> None:
    one = alert(event(time=time))
    assert (one.occurred_at, one.time_mark, one.raw_time) == (occurred, mark, time)
    assert one.event_at == (ACCEPTED - 1000 if mark == "device" else ACCEPTED)


@pytest.mark.parametrize(
    ("event_type", "state", "kind", "signal"),
    [
        ("FIREDETECTION", "active", "camera.fire", "begins"),
        ("smokeDetection", "inactive", "camera.smoke", "ends"),
        ("TMA", "active", "camera.temperature", "begins"),
        ("linedetection", "active", "camera.intrusion", "begins"),
        ("videoloss", "active", "camera.trouble", "begins"),
        ("fireEscapeDetection", "active", "camera.other", "begins"),
        ("somethingNew", "active", "camera.other", "begins"),
    ],
)
def test_types_are_kinds_by_a_table(event_type: str, state: str, kind: str, signal: str) -> None:
    one = alert(event(event_type=event_type, state=state))
    assert (one.kind, one.signal, one.message_type) == (kind, signal, event_type)


@pytest.mark.parametrize(
    ("recovery", "begun", "kind"),
    [
        ("FirePointAlarmRecovery", "fireSmartFireDetect", "camera.fire"),
        ("smokealarmrecovery", "smokeAlarm", "camera.smoke"),
    ],
)
def test_a_recovery_ends_what_a_router_knows_by_another_type(recovery: str, begun: str, kind: str) -> None:
    first, last = alert(event(event_type=begun)), alert(event(event_type=recovery))
    assert (first.signal, last.signal) == ("begins", "ends")
    assert first.id != last.id
    known_by = {(one.device, one.channel, one.kind, one.message_type, one.region) for one in (first, last)}
    assert known_by == {("cam-1", "2", kind, begun, "")}


@pytest.mark.parametrize(
    ("rule", "kind"),
    [
        ("秸秆焚烧烟雾识别", "camera.smoke"),
        ("明火检测", "camera.fire"),
        ("裸土未覆盖", "camera.bare_soil"),
        ("渣土车", "camera.muck_truck"),
        ("反光衣", "camera.vest"),
        ("吸烟检测", "camera.other"),
        ("油烟直排", "camera.other"),
        ("灭火器缺失", "camera.other"),
        ("吸烟及明火", "camera.fire"),
        ("人员聚集", "camera.other"),
    ],
)
def test_an_ai_platforms_rule_says_what_it_is_about(rule: str, kind: str) -> None:
    assert alert(event(event_type="AIOP_Video", more=f"<ruleName>{rule}</ruleName>")).kind == kind


def test_a_rules_name_goes_before_that_of_its_model() -> None:
    more = "<MPName>烟火识别模型</MPName><a><b><ruleName>裸土</ruleName></b></a>"
    one = alert(event(event_type="AIOP_Video", more=more))
    assert (one.kind, one.description, one.region) == ("camera.bare_soil", "裸土", "裸土")
    assert alert(event(event_type="AIOP_Video", more="<MPName>烟火识别模型</MPName>")).kind == "camera.smoke"


def test_what_the_device_says_of_its_place_counts_where_the_register_knows_none() -> None:
    unplaced = alert(event(mac="aa:bb:cc:dd:ee:ff", channel="1", more=GPS))
    assert (unplaced.lon, unplaced.lat, unplaced.datum) == (113.9208333, 34.7, "WGS84")
    registered = alert(event(more=GPS))
    assert (registered.lon, registered.lat) == (113.9, 34.7)


def test_of_number_plates_nothing_is_described() -> None:
    one = alert(event(event_type="ANPR", more="<eventDescription>豫A12345</eventDescription>"))
    assert (one.kind, one.description) == ("camera.vehicle", "")


def test_words_of_the_settings_go_before_the_tables() -> None:
    of = event(event_type="AIOP_Video", more="<ruleName>烟花</ruleName>")
    assert alert(of).kind == "camera.smoke"
    assert alert(of, words=(("烟花", "camera.firework"),)).kind == "camera.firework"


@pytest.mark.parametrize(
    "event_type", ["videoloss", "VideoLoss", "PeopleCounting", "faceCapture", "faceSnapMatch", "AccessControllerEvent"]
)
@pytest.mark.parametrize("mac", [MAC, "00:00:00:00:00:09"])
def test_a_heartbeat_and_what_counts_people_is_only_a_life_sign(event_type: str, mac: str) -> None:
    one = translate(event(event_type=event_type, state="inactive", mac=mac), VENDOR, CAMERAS, ACCEPTED)
    assert one == Alive(CAMERA if mac == MAC else None)


def test_something_that_goes_on_is_no_new_alarm() -> None:
    more = "<DurationList><Duration><relationEvent>fireDetection</relationEvent></Duration></DurationList>"
    one = alert(event(event_type="duration", more=more))
    assert (one.kind, one.signal, one.message_type) == ("camera.fire", "goes_on", "fireDetection")


def test_the_same_message_has_the_same_id_and_another_has_another() -> None:
    same = {alert(event(), accepted_at).id for accepted_at in (ACCEPTED, ACCEPTED + 50_000)}
    assert same == {"cam-1/2/firedetection//2026-06-01T19:10:11.000Z/active"}
    assert same == {alert(event(time=text)).id for text in ("2026-06-02T03:10:11", "2026-06-01T19:10:11.000Z")}
    others = [
        event(channel="3"),
        event(event_type="smokeDetection"),
        event(state="inactive"),
        event(time="2026-06-02T03:10:12+08:00"),
        event(more="<UUID>5a1b7c2d-0000</UUID>"),
        event(time="1970-01-01T00:00:00Z"),
    ]
    assert len({alert(one).id for one in others} | same) == 7
    assert len({alert(event(event_type="AIOP_Video", more=f"<ruleName>{one}</ruleName>")).id for one in "ab"}) == 2
    timeless = {alert(event(time=""), ACCEPTED + more).id for more in (0, 20_000, 120_000)}
    assert len(timeless) == 2, "without a time the minute of acceptance tells them apart"


def test_a_clock_that_was_never_set_makes_no_two_alarms_one() -> None:
    """It begins anew with each power-up; what is sent again from a memory is old as well, and says so."""
    stuck = [alert(event(time="2015-01-01T00:00:11+08:00"), ACCEPTED + later).id for later in (0, 3_600_000)]
    assert stuck[0] != stuck[1]
    kept = "<isDataRetransmission>true</isDataRetransmission>"
    again = [alert(event(time="2026-05-20T00:00:11+08:00", more=kept), ACCEPTED + later).id for later in (0, 3_600_000)]
    assert again[0] == again[1]
    live = alert(event(time="2026-06-02T03:10:11+08:00"))
    assert alert(event(more=kept), ACCEPTED + 5 * 3_600_000).id == live.id


@pytest.mark.parametrize("uuid", ["x" * 900_000, "a/b c\n12345678", "编号编号编号编号编号"])
def test_whatever_a_sender_calls_its_message_its_id_is_short_and_plain(uuid: str) -> None:
    one = alert(event(more=f"<UUID>{uuid}</UUID>"))
    assert re.fullmatch(r"cam-1/[0-9a-f]{16}/active", one.id)
    assert one.id == alert(event(more=f"<UUID>{uuid}</UUID>"), ACCEPTED + 90_000).id


def test_every_kind_that_rules_know_has_a_type_or_a_word() -> None:
    told = {kind.kind for kind in kinds._BY_TYPE.values()} | {kind for _, kind in kinds.TEXTS}
    assert {
        "camera.fire",
        "camera.smoke",
        "camera.dust",
        "camera.bare_soil",
        "camera.muck_truck",
        "camera.trouble",
    } <= told
