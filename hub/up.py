"""`gridhub up`: the whole hub on one machine, each part a process of its own, for a first look and for a laptop.

Order: broker, topics, schema routes, connector, simulated stations, view; the end goes the other way round. Children are told to end
with this process, so that no orphan stays behind even when it is killed.
"""

import contextlib
import json
import math
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from hub import topics, view
from hub.command import USAGE
from hub.core.errors import Misconfigured, Unavailable
from hub.lang import Text, chosen, progress, say
from hub.running import on_stop, run_file
from hub.settings import HostPort, KafkaSettings, Settings

START_LIMIT_S = 120.0
STOP_LIMIT_S = 12.0
LAST_WORDS_BYTES = 4096
SECONDS_BETWEEN_MESSAGES = 5


@dataclass(frozen=True, slots=True)
class Child:
    """A part that runs: its name (also of its log and its run file), its process, and where in the log this run begins."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path
    log_begins: int


class Stopped(Exception):
    """A person ended the start before it was complete."""


def up(settings: Settings, *, seed: int, records: bool) -> int:
    """Starts everything, shows what arrives until SIGINT or SIGTERM, ends everything in order. Returns the exit code.

    Raises Misconfigured (kafka.bootstrap names a cluster that is not ours to start, or a part found itself misconfigured), Unavailable
    (a part did not start or ended by itself), with the last line the part said, and what the topics raise.
    """
    port = _own_port(settings.kafka)
    stop = threading.Event()
    on_stop(stop.set)
    data = settings.data.resolve()
    with contextlib.ExitStack() as running:
        try:
            bootstrap, children = _start(running, settings, data, port, seed, stop)
            say("Everything runs; Ctrl-C ends it.", "全部就绪；按 Ctrl-C 结束。")
            view.show(bootstrap, stop, records=records, watch=lambda: _check(children))
        except Stopped:
            pass
        say("Ending ...", "正在结束……")
    say(f"Ended; the data stays in {settings.data}.", f"已结束；数据保留在 {settings.data}。")
    return 0


def _start(
    running: contextlib.ExitStack, settings: Settings, data: Path, port: int, seed: int, stop: threading.Event
) -> tuple[str, list[Child]]:
    manner = ["--lang", chosen(), "--config", settings.source]
    gridhub = [sys.executable, "-m", "hub", *manner]
    environment = {"GRIDHUB__DATA": str(data)}

    kafka = _begin(running, data, "kafka", [*gridhub, "kafka", "--data", str(data), "--port", str(port)], environment)
    bootstrap = f"127.0.0.1:{_ports(data, kafka, stop)['kafka']}"
    environment["GRIDHUB__KAFKA__BOOTSTRAP"] = bootstrap

    with progress("Making the topics", "正在创建主题"):
        topics.create(settings.kafka.model_copy(update={"bootstrap": bootstrap}))
    schemas = _begin(running, data, "schemas", [*gridhub, "schemas", "serve"], environment)
    _ports(data, schemas, stop)
    air = _begin(running, data, "air", [sys.executable, "-m", "connectors", "air", *manner], environment)
    hj212 = _ports(data, air, stop)["hj212"]
    stations = [sys.executable, "-m", "connectors.air.simulate", "--to", f"127.0.0.1:{hj212}"]
    options = [
        "--lang",
        chosen(),
        "--seed",
        str(seed),
        "--interval",
        str(SECONDS_BETWEEN_MESSAGES),
        "--registry",
        str(settings.devices_csv),
    ]
    simulated = _begin(running, data, "stations", [*stations, *options], environment)
    return bootstrap, [kafka, schemas, air, simulated]


def _own_port(kafka: KafkaSettings) -> int:
    match kafka.brokers:
        case [HostPort(host="127.0.0.1" | "localhost", port=port)]:
            return port
    raise Misconfigured(
        str(
            Text(
                f"kafka.bootstrap = {kafka.bootstrap}: gridhub up runs a broker of its own and takes one address,"
                " 127.0.0.1:PORT; beside a cluster of yours start python -m connectors air by itself",
                f"kafka.bootstrap = {kafka.bootstrap}：gridhub up 运行自己的 Kafka，只接受一个地址 127.0.0.1:PORT；"
                "已有 Kafka 集群时请单独启动 python -m connectors air",
            )
        )
    )


def _begin(
    running: contextlib.ExitStack, data: Path, name: str, command: list[str], environment: Mapping[str, str]
) -> Child:
    log = data / "log" / f"{name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    # The broker speaks to the person itself: fetching Kafka the first time takes long.
    with log.open("ab") as file:
        begins = file.tell()
        process = subprocess.Popen(
            command,
            env=os.environ | environment | {"GRIDHUB_END_WITH_PARENT": str(os.getpid())},
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=None if name == "kafka" else file,
            # Ctrl-C reaches this process only, which ends the others in order.
            start_new_session=True,
        )
    child = Child(name, process, log, begins)
    running.callback(_end, child)
    return child


def _end(child: Child) -> None:
    child.process.send_signal(signal.SIGTERM)
    with progress(f"Waiting for {child.name} to end", f"正在等待 {child.name} 结束"):
        try:
            child.process.wait(STOP_LIMIT_S)
        except subprocess.TimeoutExpired:
            # Nothing acknowledged is lost by this: that is what every part promises of kill -9.
            child.process.kill()
            child.process.wait()
    data = child.log.parent.parent
    if _said_ports(data, child):
        run_file(data, child.name).unlink(missing_ok=True)


def _ports(data: Path, child: Child, stop: threading.Event) -> dict[str, int]:
    """Waits until the child says where it serves."""
    # Fetching Kafka takes as long as the line makes it. `gridhub kafka` has a limit for each step and then ends with a sentence.
    deadline = math.inf if child.name == "kafka" else time.monotonic() + START_LIMIT_S
    with (
        progress(f"Starting {child.name}", f"正在启动 {child.name}")
        if child.name != "kafka"
        else contextlib.nullcontext()
    ):
        while time.monotonic() < deadline:
            if stop.is_set():
                raise Stopped
            _check([child])
            if ports := _said_ports(data, child):
                return ports
            stop.wait(0.05)
    raise Unavailable(
        str(
            Text(
                f"{child.name} does not serve after {START_LIMIT_S:.0f} s: see {child.log}",
                f"{child.name} 在 {START_LIMIT_S:.0f} 秒内未就绪：见 {child.log}",
            )
        )
    )


def _said_ports(data: Path, child: Child) -> dict[str, int]:
    """What the child's run file says; nothing where there is none, or one that is another process' or was cut off with the power."""
    try:
        said = json.loads(run_file(data, child.name).read_text(encoding="utf-8"))
    except (FileNotFoundError, ValueError):
        return {}
    ports: dict[str, int] = said["ports"] if said["pid"] == child.process.pid else {}
    return ports


def _check(children: list[Child]) -> None:
    for child in children:
        code = child.process.poll()
        if code is not None:
            failure = Misconfigured if code == USAGE else Unavailable
            raise failure(str(_ended(child, code)))


def _ended(child: Child, code: int) -> Text:
    if code < 0:
        # What it said last was before, and about something else.
        name = signal.Signals(-code).name
        return Text(f"{child.name} was killed by {name}", f"{child.name} 被 {name} 信号终止")
    with child.log.open("rb") as file:
        file.seek(max(child.log_begins, child.log.stat().st_size - LAST_WORDS_BYTES))
        lines = file.read().decode(errors="replace").splitlines()
    said = f": {lines[-1]}" if lines else ""
    return Text(f"{child.name} ended with code {code}{said}", f"{child.name} 已退出，代码 {code}{said}")
