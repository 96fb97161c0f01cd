"""What operators see: metrics by their published names, logs that machines read, and the truth about being ready."""

import io
import json
import logging
import math
import urllib.error
import urllib.request
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Literal

import pytest
import structlog
from prometheus_client.parser import text_string_to_metric_families

from hub import __version__
from hub.core.errors import Misconfigured, Reason
from hub.outbox import Fate
from hub.telemetry import (
    FATES,
    LIBRARY_LINES,
    LINES,
    LINES_WITHIN_S,
    FeedRecorder,
    HttpServer,
    RouterRecorder,
    log_to,
    serve_wsgi,
    telemetry_app,
)
from tests.planted import IDENTITY_CARD, MOBILE, PLATE, planted_in


@pytest.fixture
def log() -> Iterator[io.StringIO]:
    stream = io.StringIO()
    before = logging.root.handlers[:], logging.root.level
    log_to(stream)
    yield stream
    structlog.reset_defaults()
    logging.root.handlers[:], level = before
    logging.root.setLevel(level)


@contextmanager
def serving(
    recorder: FeedRecorder | RouterRecorder,
    ready: Callable[[], list[str]] = list,
    notes: Callable[[], list[str]] = list,
) -> Iterator[HttpServer]:
    server, thread = serve_wsgi(telemetry_app(recorder.registry, ready, notes), "127.0.0.1", 0)
    yield server
    server.stop()
    thread.join(5)
    assert not thread.is_alive()


def get(server: HttpServer, path: str, method: str = "GET") -> tuple[int, str]:
    request = urllib.request.Request(f"http://127.0.0.1:{server.server_port}{path}", method=method)
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:  # noqa: S310 - it is HTTP
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        with error:
            return error.code, error.read().decode()


def lines(log: io.StringIO) -> list[dict[str, object]]:
    return [json.loads(line) for line in log.getvalue().splitlines()]


def test_the_fates_of_the_metric_are_the_fates_there_are() -> None:
    assert set(FATES) == {fate.value for fate in Fate}


@pytest.mark.usefixtures("log")
def test_every_series_is_there_before_its_first_event() -> None:
    with serving(FeedRecorder("air", answers=("9014",))) as server:
        status, text = get(server, "/metrics")
    values = {
        (sample.name, *sorted(sample.labels.items())): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    feed = ("feed", "air")
    assert status == 200
    assert values["gridhub_messages_received_total", feed] == 0
    assert all(values["gridhub_messages_total", ("fate", fate), feed] == 0 for fate in FATES)
    assert all(values["gridhub_messages_refused_total", feed, ("reason", reason)] == 0 for reason in Reason)
    assert all(values["gridhub_dead_letters_total", feed, ("reason", reason)] == 0 for reason in Reason)
    assert values["gridhub_answers_total", ("answer", "9014"), feed] == 0
    assert math.isnan(values["gridhub_clock_ahead_seconds", feed]), "not known yet"
    assert values["gridhub_build_info", ("version", __version__)] == 1


@pytest.mark.usefixtures("log")
def test_happenings_are_counted_where_they_belong() -> None:
    recorder = FeedRecorder("air")
    for _ in range(5):
        recorder.received()
    recorder.published()
    recorder.empty()
    recorder.dead_lettered(Reason.CRC, "ZA-1")
    recorder.refused(Reason.UNAVAILABLE, "ZA-1")
    recorder.answered("9014")
    recorder.connected("192.0.2.1:5")
    recorder.connected("192.0.2.1:6")
    recorder.disconnected("192.0.2.1:5", "closed")
    recorder.turned_away("192.0.2.1:7", "too many connections")
    recorder.noise(7)
    recorder.oversize()
    recorder.clock_ahead(-3_600.5)

    def value(name: str, **labels: str) -> float | None:
        return recorder.registry.get_sample_value(name, {"feed": "air", **labels})

    assert value("gridhub_messages_received_total") == 5
    for fate in ("published", "empty", "dead-lettered", "refused"):
        assert value("gridhub_messages_total", fate=fate) == 1
    assert value("gridhub_dead_letters_total", reason="crc") == 1
    assert value("gridhub_messages_refused_total", reason="unavailable") == 1
    assert value("gridhub_answers_total", answer="9014") == 1
    assert value("gridhub_connections") == 1
    assert value("gridhub_connections_refused_total") == 1
    assert value("gridhub_noise_bytes_total") == 7
    assert value("gridhub_oversize_messages_total") == 1
    assert value("gridhub_clock_ahead_seconds") == -3_600.5


@pytest.mark.usefixtures("log")
def test_no_label_names_a_device_or_a_peer() -> None:
    recorder = FeedRecorder("air")
    recorder.dead_lettered(Reason.CRC, "ZA-SECRET-1")
    recorder.refused(Reason.BUSY, "ZA-SECRET-1")
    recorder.disconnected("192.0.2.77:5", "closed")
    with serving(recorder) as server:
        _, text = get(server, "/metrics")
    assert "ZA-SECRET-1" not in text
    assert "192.0.2.77" not in text


def test_logs_are_json_lines_with_the_event_first(log: io.StringIO) -> None:
    FeedRecorder("air").dead_lettered(Reason.CRC, "ZA-1")
    logging.getLogger("kafka.net").warning("node %d is away", 1)
    logging.getLogger("kafka.net").info("nothing to see")
    ours, theirs = lines(log)
    assert next(iter(ours)) == "event"
    assert ours | {"timestamp": ""} == {
        "event": "dead letter",
        "feed": "air",
        "reason": "crc",
        "device": "ZA-1",
        "level": "warning",
        "timestamp": "",
    }
    assert next(iter(theirs)) == "event"
    assert (theirs["event"], theirs["level"], theirs["logger"]) == ("node 1 is away", "warning", "kafka.net")


def test_a_message_that_went_well_writes_no_line(log: io.StringIO) -> None:
    recorder = FeedRecorder("air")
    recorder.received()
    recorder.published()
    recorder.answered("9014")
    assert log.getvalue() == ""


def test_ten_thousand_faults_are_a_few_lines_and_all_are_counted(
    log: io.StringIO, monkeypatch: pytest.MonkeyPatch
) -> None:
    now = 1000.0
    monkeypatch.setattr("hub.telemetry.time.monotonic", lambda: now)
    recorder = FeedRecorder("air")
    for _ in range(10_000):
        recorder.dead_lettered(Reason.CRC, "")
        recorder.turned_away("192.0.2.1:5", "too many connections")
        recorder.defect(ZeroDivisionError())
        logging.getLogger("kafka.net").warning("no broker at %s", "192.0.2.9")
    told = Counter(str(line["event"]) for line in lines(log))
    assert told.pop("no broker at 192.0.2.9") == LIBRARY_LINES
    assert told == {"dead letter": LINES, "connection refused": LINES, "defect": LINES}
    now += LINES_WITHIN_S
    recorder.dead_lettered(Reason.CRC, "")
    logging.getLogger("kafka.net").warning("no broker at %s", "192.0.2.9")
    letter, library = lines(log)[-2:]
    assert letter["withheld"] == 10_000 - LINES
    assert library["event"] == f"no broker at 192.0.2.9 ({10_000 - LIBRARY_LINES} lines withheld)"
    assert recorder.registry.get_sample_value("gridhub_dead_letters_total", {"feed": "air", "reason": "crc"}) == 10_001


def test_a_defect_is_told_with_its_place_but_without_the_words_of_the_error(log: io.StringIO) -> None:
    words = "\u5f20\u4e09 13800000000"
    try:
        int(words)
    except ValueError as error:
        FeedRecorder("air").defect(error)
    (line,) = lines(log)
    assert line["error"] == "ValueError"
    assert "test_telemetry.py" in str(line["trace"])
    assert words not in log.getvalue()


def test_text_for_people_is_no_json() -> None:
    stream = io.StringIO()
    log_to(stream, "text")
    FeedRecorder("air").serving({"hj212": 9212})
    structlog.reset_defaults()
    assert "serving" in stream.getvalue()
    assert "hj212=9212" in stream.getvalue()
    assert not stream.getvalue().startswith("{")


@pytest.mark.usefixtures("log")
def test_ready_tells_the_truth_and_why_not() -> None:
    reasons: list[str] = ["waiting for Kafka"]
    with serving(FeedRecorder("air"), lambda: reasons) as server:
        status, body = get(server, "/ready")
        assert (status, json.loads(body)) == (503, {"ready": False, "reasons": ["waiting for Kafka"]})
        reasons.clear()
        status, body = get(server, "/ready")
        assert (status, json.loads(body)) == (200, {"ready": True, "reasons": []})
        assert get(server, "/live")[0] == 200
        assert get(server, "/else")[0] == 404
        assert get(server, "/metrics", "POST")[0] == 405


def test_what_a_person_must_look_at_is_told_beside_being_ready(log: io.StringIO) -> None:
    recorder, notes = RouterRecorder(0, ("readings",)), ["town 410122106 is in quarantine"]
    recorder.quarantined(3, "410122106", "schema: the 5-byte header is missing")
    recorder.in_quarantine(3, 1)
    with serving(recorder, notes=lambda: notes) as server:
        assert get(server, "/ready") == (
            200,
            json.dumps({"ready": True, "reasons": [], "notes": notes}),
        )
        sample = 'gridhub_towns_quarantined{partition="3"}'
        assert f"{sample} 1.0" in get(server, "/metrics")[1]
        recorder.given_away([3, 4])
        assert sample not in get(server, "/metrics")[1]
    [line] = lines(log)
    assert (line["event"], line["level"], line["town"], line["partition"]) == (
        "town quarantined",
        "error",
        "410122106",
        3,
    )


@pytest.mark.usefixtures("log")
def test_a_taken_port_is_one_clear_sentence() -> None:
    recorder = FeedRecorder("air")
    with serving(recorder) as server, pytest.raises(Misconfigured, match=str(server.server_port)):
        serve_wsgi(telemetry_app(recorder.registry, list), "127.0.0.1", server.server_port)


@pytest.mark.usefixtures("log")
def test_a_reader_that_says_nothing_holds_up_nobody() -> None:
    import socket

    with (
        serving(FeedRecorder("air")) as server,
        socket.create_connection(("127.0.0.1", server.server_port), timeout=5),
    ):
        assert get(server, "/live")[0] == 200


def test_a_terminal_takes_no_commands_from_a_device() -> None:
    stream = io.StringIO()
    try:
        log_to(stream, "text")
        FeedRecorder("air").dead_lettered(Reason.UNKNOWN_DEVICE, "\x1b[2J\nZA-1\x9b")
        logging.getLogger("library").warning("\x1b[2J")
    finally:
        log_to()
    assert "\ufffd[2J\ufffdZA-1\ufffd" in stream.getvalue()
    assert "\x1b" not in stream.getvalue()


@pytest.mark.parametrize("form", ["json", "text"])
@pytest.mark.usefixtures("log")
def test_an_error_in_a_log_tells_its_place_and_not_its_words(form: Literal["json", "text"]) -> None:
    stream = io.StringIO()
    log_to(stream, form=form)
    recorder = FeedRecorder("air")
    with serving(recorder) as server:
        try:
            int(MOBILE + PLATE)
        except ValueError as error:
            server.handle_error()
            logging.getLogger("a library").exception("it failed")
            logging.getLogger("a library").warning("it failed", exc_info=error)
            recorder.defect(error)
    assert stream.getvalue().count("in test_an_error_in_a_log") == 4
    assert stream.getvalue().count("ValueError") >= 4
    assert not planted_in(stream.getvalue())


@pytest.mark.parametrize("device", [MOBILE, f"SIM {MOBILE}", IDENTITY_CARD, PLATE])
def test_a_device_that_calls_itself_after_a_person_is_not_named(log: io.StringIO, device: str) -> None:
    recorder = FeedRecorder("air")
    recorder.dead_lettered(Reason.UNKNOWN_DEVICE, device)
    recorder.spooled(Reason.UNKNOWN_DEVICE, device)
    recorder.misregistered(device, f"{device} is no unit")
    assert log.getvalue().count("***") == 4
    assert not planted_in(log.getvalue())
