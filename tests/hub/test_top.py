"""What is gathered for the screen: from metrics, from the ticket topics in any order, from processes that come and go."""

import gc
import itertools
import json
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from hub import top
from hub.core.errors import Reason
from hub.core.events import Decision, Outcome, State, Ticket, TicketEvent
from hub.core.watch import Applied
from hub.kafka_log import Arrived
from hub.running import announced
from hub.settings import Settings, TelemetrySettings
from hub.telemetry import FeedRecorder, RouterRecorder, serve_wsgi, telemetry_app
from hub.top import Processes, TicketLog, feeds_of, parsed, quantile, router_of
from hub.view import Happening
from hub.wire import Record, Wire

AT = 1_784_246_596_000
WIRE = Wire.load()
MEAN, CLEAN = "mean 182.4, limit 150 ug/m3", "mean 88.5, limit 150 ug/m3"

TICKET = Ticket(
    id="410122106-1",
    version=1,
    town="410122106",
    state=State.OPEN,
    class_code="08004",
    class_standard="GB/T 47678.5-2026",
    kind="air.pm10.over_limit",
    device="zhengan-air-1",
    cell="",
    owner_role="centre",
    owner="",
    opened_at=AT,
    updated_at=AT,
    cleared_at=None,
    due_at=None,
    alerts=1,
    rule="air.pm10.over_limit",
    decision_seq=1,
)
ENDED = replace(
    TICKET, version=2, state=State.CLEARED, updated_at=AT + 40_000, cleared_at=AT + 40_000, alerts=2, decision_seq=2
)


def step(ticket: Ticket, outcome: Outcome) -> TicketEvent:
    return TicketEvent(
        id=f"{ticket.id}/{ticket.version}",
        ticket_id=ticket.id,
        town=ticket.town,
        version=ticket.version,
        step=outcome,
        state=ticket.state,
        at=ticket.updated_at,
        alert="a",
        decision_seq=ticket.decision_seq,
    )


def decision(ticket: Ticket, outcome: Outcome, why: str) -> Decision:
    return Decision(
        id=f"{ticket.device}/a/{ticket.decision_seq}",
        town=ticket.town,
        seq=ticket.decision_seq,
        origin="watch",
        topic="readings",
        partition=0,
        offset=0,
        now=ticket.updated_at,
        outcome=outcome,
        reasons=(why, "more"),
        ticket_id=ticket.id,
        rule=ticket.kind,
        versions=(),
    )


OPENING = (TICKET, step(TICKET, Outcome.OPENED), decision(TICKET, Outcome.OPENED, MEAN))
CLEARING = (ENDED, step(ENDED, Outcome.CLEARED), decision(ENDED, Outcome.CLEARED, CLEAN))


def arrived(record: Record, *, new: bool = True) -> Arrived:
    return Arrived("any", WIRE.encode(record), new)


def told(records: tuple[Record, ...], *, new: bool = True) -> TicketLog:
    log = TicketLog(WIRE)
    for number, record in enumerate(records):
        log.take(arrived(record, new=new))
        log.join(number / 1000)
    return log


# ---- tickets


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_the_three_records_of_a_step_may_come_in_any_order(order: tuple[int, int, int]) -> None:
    log = told(tuple(OPENING[place] for place in order))
    assert log.since_last() == [
        Happening(
            at=AT, what="opened", town="410122106", device="zhengan-air-1", kind="air.pm10.over_limit", detail=MEAN
        )
    ]
    assert log.since_last() == []
    assert log.opened == 1


def test_a_ticket_is_open_and_then_cleared_with_the_reason_of_its_opening() -> None:
    log = told(OPENING)
    (open_now,) = log.picture().open
    assert (open_now.device, open_now.reason, open_now.cleared_at) == ("zhengan-air-1", MEAN, None)
    for record in CLEARING:
        log.take(arrived(record))
    log.join(0)
    picture = log.picture()
    assert (picture.open_count, picture.cleared_count, picture.opened_now, picture.cleared_now) == (0, 1, 1, 1)
    assert [(one.reason, one.cleared_at) for one in picture.cleared] == [(MEAN, AT + 40_000)]
    assert (picture.happenings[-1].detail, picture.happenings[-1].open_s) == (CLEAN, 40.0)


def test_what_was_there_before_counts_for_what_stands_not_for_what_happened() -> None:
    log = told((*OPENING, *CLEARING), new=False)
    picture = log.picture()
    assert (picture.cleared_count, picture.opened_now, picture.cleared_now) == (1, 0, 0)
    assert len(picture.happenings) == 2
    assert log.since_last() == []


def test_a_step_whose_decision_is_long_gone_is_told_without_it() -> None:
    log = told((TICKET, step(TICKET, Outcome.OPENED)))
    assert log.since_last() == []
    log.join(float("inf"))
    assert [one.detail for one in log.since_last()] == [""]


def test_alerts_that_lead_to_no_ticket_are_told_but_repeats_are_not() -> None:
    expired = replace(decision(TICKET, Outcome.EXPIRED, "nothing_open"), ticket_id="")
    log = told((expired, replace(expired, outcome=Outcome.REPEATED)))
    assert [(one.what, one.detail) for one in log.since_last()] == [("expired", "nothing_open")]


def test_a_record_of_somebody_else_is_told_and_ends_nothing() -> None:
    log = TicketLog(WIRE)
    log.take(Arrived("tickets", b"{}", True))
    assert [one.what for one in log.since_last()] == ["invalid"]


def test_the_last_cleared_are_the_last_in_time_whichever_partition_came_first() -> None:
    log = TicketLog(WIRE)
    for number in [*range(300, 600), *range(300)]:
        log.take(arrived(replace(ENDED, id=f"410122106-{number}", cleared_at=AT + number), new=False))
    picture = log.picture()
    assert picture.cleared_count == 600
    assert [one.cleared_at for one in picture.cleared][:2] == [AT + 599, AT + 598]


# ---- metrics


def test_a_feed_is_read_from_the_metrics_it_serves() -> None:
    recorder = FeedRecorder("air", answers=("9014", "9013"))
    for _ in range(3):
        recorder.received()
    recorder.published()
    recorder.empty()
    recorder.dead_lettered(Reason.CRC, "d")
    recorder.answered("9014")
    recorder.answered("9013")
    recorder.connected("p")
    (feed,) = feeds_of(parsed(page(recorder)))
    assert (feed.name, feed.received, feed.answered, feed.connections) == ("air", 3, 2, 1)
    assert {name: count for name, count in feed.fates.items() if count} == {
        "published": 1,
        "empty": 1,
        "dead-lettered": 1,
    }
    assert feed.dead_letters["crc"] == 1


def test_a_router_is_read_from_the_metrics_it_serves() -> None:
    recorder = RouterRecorder(0, ("readings", "alerts.air"))
    recorder.rebuilt([1, 4], 10, 0.5)
    for topic, partition in itertools.product(("readings", "alerts.air"), (1, 4)):
        recorder.lag(topic, partition, partition, 2.5 if partition == 4 else 0)
    recorder.committed()
    recorder.applied(Applied.APPLIED)
    for waited in [0.06] * 98 + [2.0, 400.0]:
        recorder.decided(decision(TICKET, Outcome.OPENED, MEAN), waited)
    router = router_of("0", parsed(page(recorder)))
    assert (router.partitions, router.lag, router.behind_s) == ((1, 4), 10, 2.5)
    assert (router.transactions, router.rebuild_s, sum(router.aborts.values())) == (1, 0.5, 0)
    assert router.p50_s == pytest.approx(0.0755, abs=0.001)
    assert router.p99_s == pytest.approx(2.5)


def test_a_quantile_of_nothing_is_none_and_one_beyond_all_limits_is_the_last() -> None:
    name = "gridhub_acceptance_to_ticket_seconds_bucket"
    assert quantile({}, 0.5) is None
    assert quantile(parsed(f'{name}{{le="1.0"}} 0.0\n{name}{{le="+Inf"}} 0.0'), 0.5) is None
    assert quantile(parsed(f'{name}{{le="1.0"}} 0.0\n{name}{{le="+Inf"}} 5.0'), 0.5) == 1.0


def page(recorder: FeedRecorder | RouterRecorder) -> str:
    from prometheus_client import generate_latest

    return generate_latest(recorder.registry).decode()


# ---- processes


def test_processes_are_found_by_their_run_files_and_asked(tmp_path: Path) -> None:
    recorder = FeedRecorder("air")
    server, _ = serve_wsgi(telemetry_app(recorder.registry, lambda: ["Kafka: away"]), "127.0.0.1", 0)
    ended = subprocess.Popen([sys.executable, "-c", ""])
    ended.wait()
    processes = Processes(tmp_path, "127.0.0.1")
    try:
        with announced(tmp_path, "air", {"hj212": 1, "metrics": server.server_port}):
            (tmp_path / "run" / "router-7.json").write_text(json.dumps({"pid": ended.pid, "ports": {"metrics": 9}}))
            (tmp_path / "run" / "kafka.json").write_text(json.dumps({"pid": os.getpid(), "ports": {"kafka": 9}}))
            (tmp_path / "run" / "half.json").write_text("{")
            processes.look()
            (feed,), (router,) = processes.seen
            assert (feed.trouble, feed.received, feed.per_s) == (("Kafka: away",), 0, None)
            assert router.slot == "7"
            assert router.trouble == (f"gone: process {ended.pid} ended without a word",)
            recorder.received()
            processes.look()
            (feed,), _ = processes.seen
            assert feed.received == 1
            assert feed.per_s
            assert feed.per_s > 0
    finally:
        server.stop()
    processes.look()
    assert processes.seen[0] == ()


def test_json_without_a_hub_is_complete_and_says_that_kafka_is_away(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(top, "LOOK_S", 0.05)
    monkeypatch.setattr("hub.kafka_log.ASK_WITHIN_MS", 200)
    settings = Settings.model_validate({"data": tmp_path, "kafka": {"bootstrap": "127.0.0.1:9"}})
    assert top.top(settings, as_json=True) == 3
    said = json.loads(capsys.readouterr().out)
    assert said["kafka"].startswith("no broker answers at 127.0.0.1:9")
    assert (said["feeds"], said["routers"], said["open_count"]) == ([], [], 0)
    gc.collect()  # here, where the warning about those sockets is expected, and not in another test


def test_a_metrics_address_of_ones_own_is_asked_there() -> None:
    settings = Settings(telemetry=TelemetrySettings.model_validate({"listen": "10.0.0.5:9401"}))
    assert top.Sources(settings, "127.0.0.1:9")._processes._host == "10.0.0.5"
    assert top.Sources(Settings(), "127.0.0.1:9")._processes._host == "127.0.0.1"
