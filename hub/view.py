"""What arrives, a line a record, for a person at a terminal."""

import sys
import threading
import time
from collections import Counter
from collections.abc import Callable
from datetime import UTC, datetime, timedelta, timezone

from hub.core.errors import Rejected
from hub.core.events import AirAlert, DeadLetter, Reading
from hub.kafka_log import tail
from hub.lang import Text, say
from hub.wire import Wire

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
YELLOW, RED, DIM, PLAIN = "\033[33m", "\033[31m", "\033[2m", "\033[0m"


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
                    _print(wire.decode(arrived.value))
                except Rejected as rejected:
                    # Somebody else's record on our topic: worth a line, not an end.
                    print(_paint(f"{arrived.topic}: {rejected}", RED), flush=True)
        now = time.monotonic()
        if now - since >= SUMMARY_EVERY_S:
            _summary(counts, now - since)
            counts.clear()
            since = now


def _print(record: object) -> None:
    match record:
        case Reading():
            values = {value.factor: value for value in record.values if value.statistic in ("Rtd", "Avg")}
            shown = [
                f"{name} {_number(values[code].value)}{f'({values[code].mark})' if values[code].mark not in ('', 'N') else ''}"
                for code, name in SHOWN.items()
                if code in values
            ]
            others = len(values) - len(shown)
            tail_text = f"  +{others}" if others else ""
            print(
                f"{_clock(record.accepted_at)}  {record.town} {record.device:<10} {record.message_code}  {'  '.join(shown)}{tail_text}",
                flush=True,
            )
        case AirAlert():
            values_text = "  ".join(f"{SHOWN.get(v.factor, v.factor)} {_number(v.value)}" for v in record.values)
            line = f"{_clock(record.accepted_at)}  {record.town} {record.device:<10} {Text('ALARM', '报警')} {record.signal}  {values_text}"
            print(_paint(line, RED), flush=True)
        case DeadLetter():
            line = f"{_clock(record.accepted_at)}  {Text('dead letter', '死信')} {record.reason}  {record.device or record.detail}"
            print(_paint(line, YELLOW), flush=True)


def _summary(counts: Counter[str], seconds: float) -> None:
    readings, alerts, letters = (counts[topic] for topic in TOPICS)
    say(
        f"-- {readings} readings, {alerts} alerts, {letters} dead letters in {seconds:.0f} s",
        f"-- {seconds:.0f} 秒内：读数 {readings}，预警 {alerts}，死信 {letters}",
    )


def _clock(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).astimezone(BEIJING).strftime("%H:%M:%S")


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:g}"


def _paint(text: str, colour: str) -> str:
    return f"{colour}{text}{PLAIN}" if sys.stdout.isatty() else text
