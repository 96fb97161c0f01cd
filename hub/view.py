"""What arrives, a line a record, for a person at a terminal."""

import shutil
import sys
import threading
import time
import unicodedata
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone

from hub.core.errors import Rejected
from hub.core.events import AirAlert, DeadLetter, Reading
from hub.kafka_log import tail
from hub.lang import Text, harmless, say
from hub.wire import Record, Wire

TOPICS = ("readings", "alerts.air", "dead-letters")
SUMMARY_EVERY_S = 10.0
BEIJING = timezone(timedelta(hours=8))
# The factors a town looks at first (HJ 212-2017, table B.2), in the order of the columns.
SHOWN = {
    "a34002": "PM10",
    "a34004": "PM2.5",
    "a34001": "TSP",
    "a21026": "SO2",
    "a21004": "NO2",
    "a05024": "O3",
    "a21005": "CO",
}
SIGNALS = {
    "begins": Text("begins", "开始"),
    "goes_on": Text("goes on", "持续"),
    "ends": Text("ends", "结束"),
    "moment": Text("moment", "瞬时"),
}
# A device's name has this much room; a longer one pushes its line to the right.
DEVICE_COLUMNS = 19
NO_LIMIT = 1_000_000
# Where a number, rounded to so many decimals, still has three digits.
DECIMALS_BELOW = ((2, 9.995), (1, 99.95))
YELLOW, RED, PLAIN = "\033[33m", "\033[31m", "\033[0m"


def show(bootstrap: str, stop: threading.Event, *, records: bool, watch: Callable[[], None]) -> None:
    """Prints what arrives from now on until `stop`; `watch` is called between, and may raise to end it.

    records: a line a record; else, and every ten seconds in any case, a line that counts them.
    """
    wire = Wire.load()
    counts: Counter[str] = Counter()
    since = time.monotonic()
    for batch in tail(bootstrap, TOPICS, stop):
        watch()
        for arrived in batch:
            counts[arrived.topic] += 1
            if records:
                try:
                    _show(wire.decode(arrived.value))
                except Rejected as rejected:
                    # Somebody else's record on our topic: worth a line, not an end.
                    print(harmless(f"{arrived.topic}: {rejected}"), flush=True)
        now = time.monotonic()
        if now - since >= SUMMARY_EVERY_S:
            _summary(counts, now - since)
            counts.clear()
            since = now


def line(record: Record, columns: int) -> str:
    """One record in at most so many columns of a terminal; values that find no room are counted at the end (`+5`)."""
    return harmless(_line(record, columns))


def _line(record: Record, columns: int) -> str:
    match record:
        case Reading():
            return _reading(record, columns)
        case AirAlert():
            values = "  ".join(f"{SHOWN.get(v.factor, v.factor)} {_number(v.value)}" for v in record.values)
            signal = SIGNALS.get(record.signal, record.signal)
            return _cut(f"{_head(record)} {Text('ALERT', '预警')} {signal}  {values}", columns)
        case DeadLetter():
            told = "  ".join(filter(None, (record.reason, record.device, record.detail)))
            return _cut(f"{_clock(record.accepted_at)} {Text('dead letter', '死信')}  {told}", columns)
        case _:
            return _cut(type(record).__name__, columns)


def _reading(record: Reading, columns: int) -> str:
    values = {value.factor: value for value in record.values if value.statistic in ("Rtd", "Avg")}
    text, unseen = f"{_head(record)} {record.message_code}", len(values)
    for code, name in SHOWN.items():
        if value := values.get(code):
            mark = "" if value.mark in ("", "N") else f"({value.mark})"
            unit = "" if value.unit or value.value is None else "?"
            longer = f"{text}  {name} {_number(value.value):>4}{unit}{mark}"
            if len(f"{longer}  {_more(unseen - 1)}".rstrip()) > columns:
                break
            text, unseen = longer, unseen - 1
    return _cut(f"{text}  {_more(unseen)}".rstrip(), columns)


def _more(unseen: int) -> str:
    return f"+{unseen}" if unseen else ""


def _head(record: Reading | AirAlert) -> str:
    padding = " " * (DEVICE_COLUMNS - _columns(record.device))
    return f"{_clock(record.accepted_at)} {record.town} {record.device}{padding}"


def _summary(counts: Counter[str], seconds: float) -> None:
    readings, alerts, letters = (counts[topic] for topic in TOPICS)
    say(
        f"-- {readings} readings, {alerts} alert{_s(alerts)}, {letters} dead letter{_s(letters)} in {seconds:.0f} s",
        f"-- 最近 {seconds:.0f} 秒：读数 {readings} 条，预警 {alerts} 条，死信 {letters} 条",
    )


def _s(count: int) -> str:
    return "" if count == 1 else "s"


def _clock(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).astimezone(BEIJING).strftime("%H:%M:%S")


def _number(value: float | None) -> str:
    """Three digits that count, at most four characters up to 9999: enough to see, and the columns stand."""
    if value is None:
        return "-"
    decimals = next((places for places, below in DECIMALS_BELOW if abs(value) < below), 0)
    return f"{value:.{decimals}f}"


def _columns(text: str) -> int:
    """How wide a terminal shows it: Chinese characters take two columns."""
    return sum(2 if unicodedata.east_asian_width(character) in "WF" else 1 for character in text)


def _cut(text: str, columns: int) -> str:
    if _columns(text) <= columns:
        return text
    while _columns(text) >= columns:
        text = text[:-1]
    return f"{text}…"


def _show(record: Record) -> None:
    terminal = sys.stdout.isatty()
    colour = {AirAlert: RED, DeadLetter: YELLOW}.get(type(record), "") if terminal else ""
    text = line(record, shutil.get_terminal_size().columns if terminal else NO_LIMIT)
    print(f"{colour}{text}{PLAIN}" if colour else text, flush=True)
