"""From HJ 212 messages to readings and device alarms. Pure: the device's row, the moment of acceptance and the connection's memory of
split messages are arguments. No message makes it raise.
"""

import hashlib
import math
import re
from collections.abc import Iterable
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from decimal import Decimal

from connectors.air.factors import convert, factor_of
from connectors.air.hj212 import BODY, BODY_END, CRC_BYTES, Header, Message
from hub.core.events import AirAlert, AlarmValue, Reading, Signal, TimeMark, Value
from hub.core.registry import Device
from hub.core.times import place_in_time

READING_KIND = "air.reading"
ALARM_KIND = "air.device_alarm"
ALARM_EVENT = "2072"
REALTIME, MINUTES, HOUR, DAY = "2011", "2051", "2061", "2031"
HOUR_S = 3600
DAY_S = 24 * HOUR_S

# HJ 212 knows no zone: all its times are Beijing's (HJ 212-2017 clause 6.3.3).
BEIJING = timedelta(hours=8)
EPOCH = datetime(1970, 1, 1)  # noqa: DTZ001 - compared with times as the device writes them, without a zone

NORMAL = "N"
MISSING = "missing"
UNREADABLE = "unreadable"
RANGE = "range"
# What stations write where they have no value; compared with the number as sent. A sum (-Cou) may reach them honestly.
NO_VALUE = frozenset(map(Decimal, ("-99", "-999", "-9999", "9999", "99999", "65535")))
SUM = "Cou"

MARK = "Flag"
# Fields of a factor that are not measured values (HJ 212-2017 table 5).
NOT_MEASURED = frozenset({"EFlag", "SampleTime", "SN", "Info"})
ALARM = "Ala"
ALARM_TYPE = "AlarmType"
# Known from the example of HJ/T 212-2005 and from receivers of its time; whatever else a device sends says nothing of begin and end.
SIGNALS = {"1": Signal.BEGINS, "0": Signal.ENDS}

_NUMBER = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]{1,3})?")
_LONGEST_NUMBER = 64
_TIME = re.compile("[0-9]{14}(?:[0-9]{3})?")
_SPLIT = 0b10


class PartTimes:
    """The DataTime of split messages on one connection, for those of their parts that come without one.

    Parts carry different QN (HJ 212-2017 Annex C), so they are joined by MN, ST, CN and number of parts, for 60 s.
    """

    KEPT_MS = 60_000
    MOST = 256

    def __init__(self) -> None:
        self._times: dict[tuple[str | None, ...], tuple[int, int]] = {}

    def remember(self, header: Header, occurred_at: int, accepted_at: int) -> None:
        """The last DataTime of its kind counts."""
        key = _kind_of_part(header)
        self._times.pop(key, None)
        self._times[key] = occurred_at, accepted_at
        if len(self._times) > self.MOST:
            del self._times[next(iter(self._times))]

    def recall(self, header: Header, accepted_at: int) -> int | None:
        """The time of the part before, ms UTC; None if there was none or it is too long ago."""
        occurred_at, remembered_at = self._times.get(_kind_of_part(header), (None, 0))
        return occurred_at if accepted_at - remembered_at <= self.KEPT_MS else None


def _kind_of_part(header: Header) -> tuple[str | None, ...]:
    return header.mn, header.st, header.cn, None if header.pnum is None else str(header.pnum)


def translate(
    message: Message, device: Device, accepted_at: int, parts: PartTimes, minute_period_s: int
) -> Reading | AirAlert | None:
    """The record of one message; None where there is nothing in it to keep (heartbeats, commands, no known factor).

    `accepted_at`: ms UTC. `device.units`: by codes of the table. `minute_period_s`: what one "minute" value covers where the device's row
    does not say; HJ 212 lets it be 1 to 30 minutes.
    """
    periods_s = {REALTIME: 0, MINUTES: device.minute_period_s or minute_period_s, HOUR: HOUR_S, DAY: DAY_S}
    cn = message.header.cn
    if cn == ALARM_EVENT:
        return _alert(message, device, accepted_at)
    if cn in periods_s:
        return _reading(message, device, accepted_at, parts, periods_s[cn])
    return None


def _reading(message: Message, device: Device, accepted_at: int, parts: PartTimes, period_s: int) -> Reading | None:
    header = message.header
    occurred_at, incomplete = _time_of_part(message, accepted_at, parts)
    values, known = _values(message.items, device)
    if not known:
        return None
    event_at, time_mark = place_in_time(occurred_at, accepted_at, period_s)
    return Reading(
        id=_identity(message, device, accepted_at, period_s, "DataTime"),
        town=device.town,
        device=device.id,
        vendor=device.vendor,
        kind=READING_KIND,
        occurred_at=occurred_at,
        accepted_at=accepted_at,
        event_at=event_at,
        time_mark=time_mark,
        lon=device.lon,
        lat=device.lat,
        datum=_datum(device),
        message_code=header.cn,
        period_s=period_s,
        backfilled=("RF", "1") in header.extra,
        incomplete=incomplete,
        values=values,
    )


def _alert(message: Message, device: Device, accepted_at: int) -> AirAlert | None:
    if not message.items:
        return None
    time_field = "AlarmTime" if _field(message, "AlarmTime") else "DataTime"
    occurred_at = _instant(_field(message, time_field))
    event_at, time_mark = place_in_time(occurred_at, accepted_at)
    values = _alarm_values(message.items, device)
    types = {(text or "").strip() for name, text in message.items if name.strip() == ALARM_TYPE}
    return AirAlert(
        id=_identity(message, device, accepted_at, 0, time_field),
        town=device.town,
        device=device.id,
        vendor=device.vendor,
        kind=ALARM_KIND,
        occurred_at=occurred_at,
        accepted_at=accepted_at,
        event_at=event_at,
        time_mark=time_mark,
        lon=device.lon,
        lat=device.lat,
        datum=_datum(device),
        message_code=message.header.cn,
        # Factors that say different things are no one beginning or end.
        signal=SIGNALS.get(types.pop(), Signal.MOMENT) if len(types) == 1 else Signal.MOMENT,
        values=values,
    )


def _datum(device: Device) -> str:
    return "" if device.lon is None or device.lat is None else "WGS84"


def _identity(message: Message, device: Device, accepted_at: int, period_s: int, time_field: str) -> str:
    """The sender's own identity of the message: the same for every sending of it, on whatever connection."""
    header = message.header
    if header.qn:
        part = "" if header.pno is None else f"/{header.pno}"
        return f"{device.id}/{header.cn}/{header.qn}{part}"
    when = _field(message, time_field)
    if place_in_time(_instant(when), accepted_at, period_s)[1] is not TimeMark.DEVICE:
        when = (datetime.fromtimestamp(accepted_at // 1000, UTC) + BEIJING).strftime("%Y%m%d%H%M")
    body = message.raw.partition(BODY.encode())[2][: -CRC_BYTES - len(BODY_END)]
    return f"{device.id}/{header.cn}/{when}/{hashlib.sha256(body).hexdigest()[:16]}"


def _time_of_part(message: Message, accepted_at: int, parts: PartTimes) -> tuple[int | None, bool]:
    """When it happened, ms UTC, and whether it is a part that nothing gives a time to."""
    header = message.header
    written = _field(message, "DataTime")
    occurred_at = _instant(written)
    is_split = header.pnum != 1 if header.pnum is not None else bool((header.flag or 0) & _SPLIT)
    if not is_split:
        return occurred_at, False
    if occurred_at is not None:
        parts.remember(header, occurred_at, accepted_at)
    elif not written:
        occurred_at = parts.recall(header, accepted_at)
        return occurred_at, occurred_at is None
    return occurred_at, False


def _field(message: Message, name: str) -> str:
    return next((text.strip() for key, text in message.items if text and key.strip() == name), "")


def _instant(text: str) -> int | None:
    """YYYYMMDDhhmmss[zzz], Beijing time, as ms UTC; None where it is no such time."""
    if not _TIME.fullmatch(text):
        return None
    try:
        second = datetime.strptime(text[:14], "%Y%m%d%H%M%S") - BEIJING  # noqa: DTZ007 - made UTC right here
    except (ValueError, OverflowError):
        return None  # the 30th of February, the year 0: the message keeps, its time does not
    return (second - EPOCH) // timedelta(milliseconds=1) + int(text[14:] or 0)


def _values(items: Iterable[tuple[str, str | None]], device: Device) -> tuple[tuple[Value, ...], bool]:
    """The measured values in the order sent, and whether the table knows one of their factors.

    A factor's mark stands after its values, sometimes before; a factor that occurs again has a mark of its own. A mark without any value
    ("no communication") is a value that is not there.
    """
    values: list[Value] = []
    unmarked: dict[str, list[int]] = {}
    ahead: dict[str, str] = {}
    for name, text in items:
        sent, dash, statistic = name.strip().partition("-")
        if not sent or statistic in NOT_MEASURED or not (dash or factor_of(sent)):
            continue
        code = _code(sent)
        if statistic == MARK:
            mark = (text or "").strip()
            if code not in unmarked:
                ahead[code] = mark
            for index in unmarked.pop(code, ()):
                values[index] = _marked(values[index], mark)
            continue
        value = _value(sent, statistic, text, device)
        if code in ahead:
            value = _marked(value, ahead[code])
        else:
            unmarked.setdefault(code, []).append(len(values))
        values.append(value)
    valued = {value.factor for value in values}
    values += [
        Value(factor=code, statistic="", value=None, unit="", mark=mark)
        for code, mark in ahead.items()
        if code not in valued
    ]
    return tuple(values), any(factor_of(value.factor) for value in values)


def _marked(value: Value, mark: str) -> Value:
    """The device's mark wins, unless it calls normal what is not."""
    return value if not mark or (mark == NORMAL and value.mark) else replace(value, mark=mark)


def _code(sent: str) -> str:
    factor = factor_of(sent)
    return factor.code if factor else sent


def _value(sent: str, statistic: str, text: str | None, device: Device) -> Value:
    code, number, unit, mark = _measured(sent, text, device, is_sum=statistic == SUM)
    return Value(factor=code, statistic=statistic, value=number, unit=unit, mark=mark)


def _measured(
    sent: str, text: str | None, device: Device, *, is_sum: bool = False
) -> tuple[str, float | None, str, str]:
    """Code, number, unit and the hub's own mark of one value. Units are never guessed: what the register does not name is ""."""
    factor = factor_of(sent)
    code = factor.code if factor else sent
    number = _decimal(text or "")
    named = device.units.get(factor.code) if factor else None
    converted = convert(number or Decimal(), named.unit, factor.unit, named.scale) if factor and named else None
    unit = factor.unit if factor and converted is not None else ""
    if number is None:
        return code, None, unit, UNREADABLE if text and text.strip() else MISSING
    if number in NO_VALUE and not is_sum:
        return code, None, unit, MISSING
    value = float(number if converted is None else converted)
    if not math.isfinite(value):
        return code, None, unit, UNREADABLE
    in_range = factor is None or converted is None or is_sum or factor.low <= converted <= factor.high
    return code, value, unit, "" if in_range else RANGE


def _decimal(text: str) -> Decimal | None:
    number = text.strip()
    return Decimal(number) if len(number) <= _LONGEST_NUMBER and _NUMBER.fullmatch(number) else None


def _alarm_values(items: Iterable[tuple[str, str | None]], device: Device) -> tuple[AlarmValue, ...]:
    """`101-Ala=1.1,AlarmType=1` (HJ/T 212-2005): a type belongs to the alarms since the type before; the last one also to what follows."""
    alarms: list[AlarmValue] = []
    typed = 0
    alarm_type = ""
    for name, text in items:
        sent, _, field = name.strip().partition("-")
        if field == ALARM:
            code, value, unit, _ = _measured(sent, text, device)
            alarms.append(AlarmValue(factor=code, value=value, unit=unit, alarm_type=""))
        elif name.strip() == ALARM_TYPE:
            alarm_type = (text or "").strip()
            alarms[typed:] = [replace(alarm, alarm_type=alarm_type) for alarm in alarms[typed:]]
            typed = len(alarms)
    alarms[typed:] = [replace(alarm, alarm_type=alarm_type) for alarm in alarms[typed:]]
    return tuple(alarms)
