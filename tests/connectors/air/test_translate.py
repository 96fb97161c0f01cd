"""From messages to records: factors, units, marks, times, ids."""

from dataclasses import replace
from datetime import datetime, timedelta, timezone
from decimal import Decimal
from types import MappingProxyType

import pytest

from connectors.air.hj212 import Framer, Message, frame
from connectors.air.translate import PartTimes, translate
from hub.core.events import AirAlert, Reading, Value
from hub.core.registry import Device, SentUnit

BEIJING = timezone(timedelta(hours=8))
MINUTE_S = 600


def ms(written: str) -> int:
    """Beijing time as ms UTC."""
    return round(datetime.strptime(written, "%Y%m%d%H%M%S").replace(tzinfo=BEIJING).timestamp() * 1000)


NOW = ms("20260301100530")


def device(**units: str) -> Device:
    sent = {}
    for code, written in units.items():
        unit, _, scale = written.partition("*")
        sent[code] = SentUnit(unit, Decimal(scale or 1))
    return Device(
        id="zz-1",
        mn="A1",
        vendor="acme",
        feed="air",
        town="410122106",
        lon=113.9,
        lat=34.7,
        units=MappingProxyType(sent),
    )


PLAIN = device(a34004="ug/m3", a34002="mg/m3", a01006="hPa", a01002="%", LA="dB")


def message(cp: str, *, cn: str = "2011", qn: str = "20260301100500000", header: str = "") -> Message:
    given = f"QN={qn};" if qn else ""
    (one,) = Framer().feed(frame(f"{given}ST=22;CN={cn};PW=1;MN=A1;{header}CP=&&{cp}&&".encode()))
    assert isinstance(one, Message)
    return one


def reading(cp: str, *, of: Device = PLAIN, at: int = NOW, parts: PartTimes | None = None, **header: str) -> Reading:
    record = translate(message(cp, **header), of, at, parts or PartTimes(), MINUTE_S)
    assert isinstance(record, Reading)
    return record


def value(cp: str, of: Device = PLAIN) -> Value:
    (one,) = reading(cp, of=of).values
    return one


def test_a_reading_says_who_where_when_and_what() -> None:
    record = reading("DataTime=20260301100500;a34004-Rtd=35.2,a34004-Flag=N")
    assert record == Reading(
        id="zz-1/2011/20260301100500000",
        town="410122106",
        device="zz-1",
        vendor="acme",
        kind="air.reading",
        occurred_at=ms("20260301100500"),
        accepted_at=NOW,
        event_at=ms("20260301100500"),
        time_mark="device",
        lon=113.9,
        lat=34.7,
        datum="WGS84",
        message_code="2011",
        period_s=0,
        backfilled=False,
        incomplete=False,
        values=(Value(factor="a34004", statistic="Rtd", value=35.2, unit="ug/m3", mark="N"),),
    )


def test_a_device_without_a_place_has_no_datum() -> None:
    nowhere = Device(id="zz-2", mn="A1", vendor="acme", feed="air", town="410122106")
    assert reading("a34004-Rtd=1", of=nowhere).datum == ""


@pytest.mark.parametrize(("cn", "period_s"), [("2011", 0), ("2051", MINUTE_S), ("2061", 3600), ("2031", 86400)])
def test_data_messages_and_their_periods(cn: str, period_s: int) -> None:
    record = reading("DataTime=20260301090000;a34004-Avg=35", cn=cn)
    assert (record.message_code, record.period_s) == (cn, period_s)


@pytest.mark.parametrize("cn", ["9015", "1013", "9021", "2021", "2041", "2081", "3020", "9014", ""])
def test_other_messages_leave_nothing(cn: str) -> None:
    heard = message("DataTime=20260301100500;a34004-Rtd=35.2", cn=cn or "0")
    assert translate(heard, PLAIN, NOW, PartTimes(), MINUTE_S) is None


@pytest.mark.parametrize("cp", ["", "DataTime=20260301100500", "x9-Rtd=1;SB1-RS=1", "PolId=a34004", "-Rtd=1", "Flag=N"])
def test_data_without_a_known_factor_leaves_nothing(cp: str) -> None:
    assert translate(message(cp), PLAIN, NOW, PartTimes(), MINUTE_S) is None


@pytest.mark.parametrize(
    ("cp", "number", "unit", "mark"),
    [
        ("a34004-Rtd=35.2", 35.2, "ug/m3", ""),
        ("PM25-Rtd=35.2", 35.2, "ug/m3", ""),
        ("A34004-Rtd= +35.20 ", 35.2, "ug/m3", ""),
        ("a34002-Rtd=0.075", 75.0, "ug/m3", ""),
        ("a01006-Rtd=1013.2", 101.32, "kPa", ""),
        ("a21026-Rtd=12", 12.0, "", ""),
        ("a34004-Rtd=-99", None, "ug/m3", "missing"),
        ("a34004-Rtd=9999.0", None, "ug/m3", "missing"),
        ("a34004-Rtd=65535", None, "ug/m3", "missing"),
        ("a34004-Rtd=", None, "ug/m3", "missing"),
        ("a34004-Rtd", None, "ug/m3", "missing"),
        ("a34004-Cou=9999", 9999.0, "ug/m3", ""),
        ("a34004-Rtd=---", None, "ug/m3", "unreadable"),
        ("a34004-Rtd=NaN", None, "ug/m3", "unreadable"),
        ("a34004-Rtd=1e400", None, "ug/m3", "unreadable"),
        ("a34004-Rtd=1e9999999999", None, "ug/m3", "unreadable"),
        ("a34004-Rtd=" + "1" * 300, None, "ug/m3", "unreadable"),
        ("a34004-Rtd=١٢", None, "ug/m3", "unreadable"),
        ("a34004-Rtd=-1", -1.0, "ug/m3", "range"),
        ("a34004-Rtd=3001", 3001.0, "ug/m3", "range"),
        ("a01002-Rtd=100.5", 100.5, "%", "range"),
        ("a21026-Rtd=-1", -1.0, "", ""),
        ("a34004-Rtd=3001,a34004-Flag=N", 3001.0, "ug/m3", "range"),
        ("a34004-Rtd=3001,a34004-Flag=T", 3001.0, "ug/m3", "T"),
        ("a34004-Rtd=-99,a34004-Flag=D", None, "ug/m3", "D"),
        ("A34004-Rtd=35,a34004-Flag=D", 35.0, "ug/m3", "D"),
        ("a34004-Flag=M,a34004-Rtd=35", 35.0, "ug/m3", "M"),
        ("a34004-Rtd=35,a34004-Flag=", 35.0, "ug/m3", ""),
        ("a34004-Rtd=35,a34004-EFlag=A01,a34004-SampleTime=20260301100500", 35.0, "ug/m3", ""),
    ],
)
def test_a_value_its_unit_and_its_mark(cp: str, number: float | None, unit: str, mark: str) -> None:
    one = value(cp)
    assert (one.value, one.unit, one.mark) == (number, unit, mark)


def test_the_register_may_scale() -> None:
    assert value("a34004-Rtd=3.52", device(a34004="ug/m3*10")).value == 35.2
    assert value("PM25-Rtd=0.0352", device(a34004="mg/m3")).value == 35.2
    huge = value("a34004-Rtd=12", device(a34004="ug/m3*1e999999"))
    assert (huge.value, huge.mark) == (None, "unreadable")


def test_unknown_factors_beside_known_ones_stand_as_sent() -> None:
    values = reading("x9-Rtd=1.5;a34004-Min=1,a34004-Max=2;LA-Rtd-Rtd=50;PM10=3;e-Rtd=?").values
    assert [(one.factor, one.statistic, one.value, one.unit, one.mark) for one in values] == [
        ("x9", "Rtd", 1.5, "", ""),
        ("a34004", "Min", 1.0, "ug/m3", ""),
        ("a34004", "Max", 2.0, "ug/m3", ""),
        ("LA", "Rtd-Rtd", 50.0, "dB", ""),
        ("a34002", "", 3000.0, "ug/m3", ""),
        ("e", "Rtd", None, "", "unreadable"),
    ]


def test_a_factor_that_occurs_again_has_its_own_mark() -> None:
    values = reading("a34004-Min=1,a34004-Max=9,a34004-Flag=N;a34004-Rtd=2,a34004-Flag=D;a34004-Cou=3").values
    assert [(one.statistic, one.mark) for one in values] == [("Min", "N"), ("Max", "N"), ("Rtd", "D"), ("Cou", "")]


def test_a_mark_without_a_value_is_kept() -> None:
    assert value("a34004-Flag=B") == Value(factor="a34004", statistic="", value=None, unit="", mark="B")
    assert value("PM25-Flag=N;a34004-Rtd=1;PM25-Flag=N").mark == "N"


@pytest.mark.parametrize(
    ("written", "occurred_at", "time_mark"),
    [
        ("20260301100500", ms("20260301100500"), "device"),
        ("20260301100500250", ms("20260301100500") + 250, "device"),
        ("20260301080529", ms("20260301080529"), "too_old"),
        ("20260301100731", ms("20260301100731"), "too_new"),
        ("19700101080000", 0, "too_old"),
        ("20260230100500", None, "missing"),
        ("00000101000000", None, "missing"),
        ("00010101000000", None, "missing"),
        ("99991231235959", ms("99991231235959"), "too_new"),
        ("20260301250000", None, "missing"),
        ("20260301100560", None, "missing"),
        ("2026-03-01 10:05", None, "missing"),
        ("202603011005", None, "missing"),
        ("", None, "missing"),
    ],
)
def test_when_it_happened(written: str, occurred_at: int | None, time_mark: str) -> None:
    record = reading(f"DataTime={written};a34004-Rtd=1")
    assert (record.occurred_at, record.time_mark) == (occurred_at, time_mark)
    assert record.event_at == (occurred_at if time_mark == "device" else NOW)


def test_of_a_period_the_end_must_be_plausible() -> None:
    assert reading("DataTime=20260301080000;a34004-Avg=1", cn="2061").time_mark == "device"
    assert reading("DataTime=20260301080000;a34004-Rtd=1").time_mark == "too_old"


@pytest.mark.parametrize(
    ("header", "qn", "expected"),
    [
        ("", "20260301100500000", "zz-1/2011/20260301100500000"),
        ("Flag=7;PNUM=2;PNO=02;", "20260301100500000", "zz-1/2011/20260301100500000/2"),
        ("", "", "zz-1/2011/20260301100500/c1666f9e5c619959"),
    ],
)
def test_an_id_is_the_senders_own(header: str, qn: str, expected: str) -> None:
    cp = "DataTime=20260301100500;a34004-Rtd=1"
    records = [reading(cp, header=header, qn=qn, at=at) for at in (NOW, NOW + 90_000)]
    assert {record.id for record in records} == {expected}


def test_without_qn_and_with_an_implausible_time_the_minute_of_acceptance_counts() -> None:
    cps = ("a34004-Rtd=1", "DataTime=19700101000000;a34004-Rtd=1", "DataTime=x;a34004-Rtd=1")
    for cp in cps:
        first, same, later = (reading(cp, qn="", at=at).id for at in (NOW, NOW + 29_000, NOW + 31_000))
        assert first.startswith("zz-1/2011/202603011005/")
        assert first == same != later
    assert len({reading(cp, qn="").id for cp in cps}) == len(cps)


def test_without_qn_the_time_of_a_period_counts_by_its_end() -> None:
    assert "/20260301080000/" in reading("DataTime=20260301080000;a34004-Avg=1", cn="2061", qn="").id


def test_data_sent_later_is_told() -> None:
    assert reading("a34004-Rtd=1", header="RF=1;").backfilled


def test_a_device_may_have_minutes_of_its_own() -> None:
    one_minute = replace(PLAIN, minute_period_s=60)
    sent = message("DataTime=20260301100400;a34004-Avg=35", cn="2051")
    for station, period_s, time_mark in ((PLAIN, MINUTE_S, "too_new"), (one_minute, 60, "device")):
        record = translate(sent, station, NOW, PartTimes(), MINUTE_S)
        assert isinstance(record, Reading)
        assert (record.period_s, record.time_mark) == (period_s, time_mark)


def test_a_part_without_a_time_takes_that_of_the_part_before_for_a_minute() -> None:
    parts, head = PartTimes(), "Flag=7;PNUM=3;PNO=1;"
    timed, bare = "DataTime=20260301100500;a34004-Rtd=1", "a34004-Rtd=1"
    assert reading(timed, header=head, parts=parts).occurred_at == ms("20260301100500")
    assert reading(bare, header=head, parts=parts, at=NOW + 60_000).occurred_at == ms("20260301100500")
    unreadable = reading("DataTime=0;a34004-Rtd=1", header=head, parts=parts)
    assert (unreadable.occurred_at, unreadable.incomplete) == (None, False)
    for late in (
        reading(bare, header=head, parts=parts, at=NOW + 60_001),
        reading(bare, header="Flag=7;PNUM=2;PNO=2;", parts=parts),
        reading(bare, header=head, cn="2051", parts=parts),
        reading(bare, header="Flag=7;", parts=parts),
        reading(bare, header=head, parts=PartTimes()),
    ):
        assert late.occurred_at is None
        assert late.incomplete
    for whole in ("", "Flag=5;", "Flag=7;PNUM=1;PNO=1;"):
        assert not reading(bare, header=whole, parts=parts).incomplete


def test_an_id_does_not_depend_on_the_connection() -> None:
    parts, head = PartTimes(), "Flag=7;PNUM=3;PNO=1;"
    reading("DataTime=20260301100500;a34004-Rtd=1", header=head, parts=parts)
    remembered = reading("a34004-Rtd=1", header=head, qn="", parts=parts)
    assert remembered.id == reading("a34004-Rtd=1", header=head, qn="").id


def test_the_memory_of_parts_is_bounded() -> None:
    parts = PartTimes()
    for number in range(2 * PartTimes.MOST):
        reading("DataTime=20260301100500;a34004-Rtd=1", header=f"PNUM={number + 2};PNO=1;", parts=parts)
    assert len(parts._times) == PartTimes.MOST


def alert(cp: str, **header: str) -> AirAlert:
    record = translate(message(cp, cn="2072", **header), PLAIN, NOW, PartTimes(), MINUTE_S)
    assert isinstance(record, AirAlert)
    return record


def test_a_devices_own_alarm() -> None:
    record = alert("AlarmTime=20260301100500;02-Ala=1.1,AlarmType=1;a34002-Ala=0.2,AlarmType=1")
    assert (record.kind, record.message_code, record.signal) == ("air.device_alarm", "2072", "begins")
    assert (record.id, record.town) == ("zz-1/2072/20260301100500000", "410122106")
    assert (record.occurred_at, record.time_mark) == (ms("20260301100500"), "device")
    assert [(one.factor, one.value, one.unit, one.alarm_type) for one in record.values] == [
        ("a21026", 1.1, "", "1"),
        ("a34002", 200.0, "ug/m3", "1"),
    ]


@pytest.mark.parametrize(
    ("cp", "signal", "types"),
    [
        ("101-Ala=1,AlarmType=0", "ends", ["0"]),
        ("101-Ala=1,AlarmType=2", "moment", ["2"]),
        ("101-Ala=1,AlarmType", "moment", [""]),
        ("101-Ala=1", "moment", [""]),
        ("101-Ala=1,AlarmType=1;102-Ala=1,AlarmType=0", "moment", ["1", "0"]),
        ("101-Ala=1,102-Ala=2,AlarmType=1", "begins", ["1", "1"]),
        ("AlarmType=1;101-Ala=1", "begins", ["1"]),
        ("AlarmTime=20260301100500", "moment", []),
    ],
)
def test_what_an_alarm_says_of_its_episode(cp: str, signal: str, types: list[str]) -> None:
    record = alert(cp)
    assert record.signal == signal
    assert [one.alarm_type for one in record.values] == types


def test_an_alarm_without_qn_is_known_by_its_time() -> None:
    assert alert("AlarmTime=20260301100500;101-Ala=1", qn="").id.startswith("zz-1/2072/20260301100500/")
    assert alert("DataTime=20260301100500;101-Ala=1").occurred_at == ms("20260301100500")


def test_an_empty_alarm_leaves_nothing() -> None:
    assert translate(message("", cn="2072"), PLAIN, NOW, PartTimes(), MINUTE_S) is None
