"""`gridhub up`: the whole hub on one machine, each part a process of its own, for a first look and for a laptop.

Order: broker, topics, registry, schema routes, router, connectors, page, simulated devices, view; the end goes the other way round. Children are told to
end with this process, so that no orphan stays behind even when it is killed. Rules that watch means of an hour watch means of ten seconds
here, unless the configuration has rules of its own: nobody waits an hour for a first ticket.
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
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from hub import topics
from hub.command import DONE, PASSED, UNAVAILABLE, UNKNOWN_OUTCOME, USAGE
from hub.core.errors import Misconfigured, Unavailable
from hub.core.registry import Registry
from hub.core.rules import Rules
from hub.kafka_log import Tail
from hub.lang import Text, chosen, progress, say
from hub.registry import current, differences, write
from hub.registry_check import load
from hub.rulebook import own_rules
from hub.running import on_stop, run_file
from hub.settings import HostPort, KafkaSettings, Settings
from hub.top import TOPICS, Manner, Sources, manner, show
from hub.view import Picture, line

START_LIMIT_S = 120.0
STOP_LIMIT_S = 12.0
LAST_WORDS_BYTES = 4096
ASKED_TWICE = frozenset({128 + signal.SIGINT, 128 + signal.SIGTERM})
# The feeds, and which of a connector's ports its senders push to.
FEEDS = {"air": "hj212", "patrol": "http", "camera": "http"}
SECONDS_BETWEEN_MESSAGES = {"air": 5, "patrol": 20, "camera": 5}
DEMO_PERIOD_S, DEMO_WAIT_S = 10, 3
HOUR_S = 3600
# A router that says it must be started again is, so often in a row; once it has worked for a while, the row is over.
AGAIN_AFTER = frozenset({UNAVAILABLE, UNKNOWN_OUTCOME})
AGAIN_AT_MOST, AGAIN_AFTER_S, STEADY_S = 3, 1.0, 60.0


@dataclass(slots=True)
class Child:
    """A part that runs: its name (also of its log and its run file), its process, what starts it
    again, and where in the log this run begins.
    """

    name: str
    process: subprocess.Popen[bytes]
    log: Path
    command: Sequence[str]
    environment: Mapping[str, str]
    again_after: Collection[int]
    began: float
    log_begins: int
    again_at: float | None = None
    again: int = 0


class Stopped(Exception):
    """A person or a time limit ended the start before it was complete."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Wish:
    """What a person wants of a run. `until_tickets` None: until a signal, or `q`; else at most `within_s` seconds."""

    seed: int = 1
    view: bool = True
    as_json: bool = False
    until_tickets: int | None = None
    within_s: float = 180.0


def up(settings: Settings, wish: Wish) -> int:
    """Starts everything, shows what happens until it is enough, ends everything in order, sums up. Returns the exit code.

    Raises Misconfigured (kafka.bootstrap names a cluster that is not ours to start, or a part found itself misconfigured), Unavailable
    (a part did not start or ended by itself), with the last line the part said, and what the topics raise.
    """
    began = time.monotonic()
    port = _own_port(settings.kafka)
    stop, late = threading.Event(), threading.Event()
    on_stop(stop.set)
    last: Picture | None = None
    with contextlib.ExitStack() as running:
        if wish.until_tickets is not None:
            running.enter_context(_limit(wish.within_s, late, stop))
        try:
            sources, children = _start(running, settings, settings.data.resolve(), port, wish.seed, stop)
            say("Everything runs; Ctrl-C ends it.", "全部就绪；按 Ctrl-C 结束。")
            if settings.rules is None:
                say(
                    f"Demo: an hour of the rules lasts {DEMO_PERIOD_S} s.",
                    f"演示：规则中的一小时缩短为 {DEMO_PERIOD_S} 秒。",
                )

            def enough() -> bool:
                for line in _check(children):
                    sources.note(str(line))
                return wish.until_tickets is not None and sources.opened() >= wish.until_tickets

            how = manner() if wish.view and not wish.as_json else Manner.SUMMARIES
            show(sources, stop, how, enough)
            say("Ending ...", "正在结束……")
            last = _end_senders(sources, children[-len(FEEDS) :], how)
        except Stopped:
            say("Ending ...", "正在结束……")
    say(f"Ended; the data stays in {settings.data}.", f"已结束；数据保留在 {settings.data}。")
    if last:
        _sum_up(last, time.monotonic() - began, as_json=wish.as_json)
    if late.is_set() and (last is None or last.opened_now < (wish.until_tickets or 0)):
        opened, wanted, within = last.opened_now if last else 0, wish.until_tickets, wish.within_s
        say(
            f"gridhub: {opened} of {wanted} tickets were opened within {within:g} s (--within)",
            f"gridhub：{within:g} 秒内（--within）只开出 {opened} 张工单，未达到 {wanted} 张",
        )
        return PASSED
    return DONE


def _end_senders(sources: Sources, senders: Sequence[Child], how: Manner) -> Picture:
    """The senders first, so that what they sent has its answer; what was shown and what is summed up are the same."""
    for child in senders:
        _end(child)
    sources.look()
    last, rest = sources.last()
    for happening in rest if how is Manner.LINES else ():
        print(line(happening), flush=True)  # before what is said on the other stream
    return last


@contextlib.contextmanager
def _limit(seconds: float, late: threading.Event, stop: threading.Event) -> Iterator[None]:
    def passed() -> None:
        late.set()
        stop.set()

    timer = threading.Timer(seconds, passed)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _sum_up(picture: Picture, seconds: float, *, as_json: bool) -> None:
    numbers = {
        "opened": picture.opened_now,
        "cleared": picture.cleared_now,
        "open": picture.open_count,
        "received": picture.received,
        "answered": picture.answered,
        "dead_letters": picture.dead_letters,
        "seconds": round(seconds, 1),
    }
    if as_json:
        print(json.dumps(numbers))
        return
    letters = "letter" if picture.dead_letters == 1 else "letters"
    said = Text(
        "Tickets: {opened} opened, {cleared} cleared, {open} still open. Messages: {received} received, {answered} answered,"
        f" {{dead_letters}} dead {letters}. {{seconds:.0f}} s.",
        "工单：新开 {opened}，解除 {cleared}，未解除 {open}。报文：收到 {received}，应答 {answered}，死信 {dead_letters}。"
        "用时 {seconds:.0f} 秒。",
    )
    print(str(said).format(**numbers))


def _start(
    running: contextlib.ExitStack, settings: Settings, data: Path, port: int, seed: int, stop: threading.Event
) -> tuple[Sources, list[Child]]:
    manner = ["--lang", chosen(), "--config", settings.source]
    gridhub = [sys.executable, "-m", "hub", *manner]
    environment = {"GRIDHUB__DATA": str(data)}

    kafka = _begin(running, data, "kafka", [*gridhub, "kafka", "--data", str(data), "--port", str(port)], environment)
    bootstrap = f"127.0.0.1:{_ports(data, kafka, stop)['kafka']}"
    environment["GRIDHUB__KAFKA__BOOTSTRAP"] = bootstrap

    with progress("Making the topics", "正在创建主题"):
        kafka_settings = settings.kafka.model_copy(update={"bootstrap": bootstrap})
        topics.create(kafka_settings)
    # Before the router: every ticket that it opens is one of this run.
    tail = Tail(bootstrap, TOPICS)
    schemas = _begin(running, data, "schemas", [*gridhub, "schemas", "serve"], environment)
    registry = _registered(settings.model_copy(update={"kafka": kafka_settings}))
    rules = own_rules(settings) or registry.rules.all
    router = _begin(
        running,
        data,
        "router-0",
        [*gridhub, "router", "--slot", "0"],
        environment,
        again_after=AGAIN_AFTER,
    )
    feeds = [
        _begin(running, data, feed, [sys.executable, "-m", "connectors", feed, *manner], environment) for feed in FEEDS
    ]
    page = _begin(running, data, "page", [*gridhub, "page"], environment)
    for part in (schemas, router, *feeds):
        _ports(data, part, stop)
    address = f"http://{settings.page.listen.host}:{_ports(data, page, stop)['http']}/"
    say(f"The map and the tickets: {address}", f"地图与工单：{address}")
    simulated = []
    for child, (feed, served) in zip(feeds, FEEDS.items(), strict=True):
        options: dict[str, object] = {"--seed": seed, "--registry": settings.registry_dir.resolve(), "--lang": chosen()}
        options |= {
            "--to": f"127.0.0.1:{_ports(data, child, stop)[served]}",
            "--interval": SECONDS_BETWEEN_MESSAGES[feed],
        }
        periods = [rule.period_s for rule in rules if rule.factor]
        if feed == "air" and periods:
            options["--period"] = max(periods)
        words = [str(word) for option in options.items() for word in option]
        command = [sys.executable, "-m", f"connectors.{feed}.simulate", *words]
        simulated.append(_begin(running, data, f"simulated-{feed}", command, environment))
    demo = Text(f"demo: 1 h = {DEMO_PERIOD_S} s", f"演示：1 小时 = {DEMO_PERIOD_S} 秒")
    title = str(demo) if settings.rules is None else ""
    sources = Sources(settings, bootstrap, data=data, title=title, tail=tail)
    return running.enter_context(sources), [kafka, schemas, router, *feeds, page, *simulated]


def _registered(settings: Settings) -> Registry:
    """The registry of the settings' folder, with the demo's hours, on its topic: as a new version where it differs from the newest."""
    registry = load(settings.registry_dir)
    registry = replace(registry, rules=demo_rules(registry.rules))
    newest, number = current(settings)
    if newest is not None and not differences(newest, registry):
        return newest
    with progress(f"Importing {settings.registry_dir}", f"正在导入 {settings.registry_dir}"):
        return write(settings, registry, number, "gridhub up")


def demo_rules(rules: Rules) -> Rules:
    """The same rules, with means over ten seconds where they are over an hour."""
    short = {
        "period_s": DEMO_PERIOD_S,
        "wait_s": float(DEMO_WAIT_S),
        "realtime_s": float(SECONDS_BETWEEN_MESSAGES["air"]),
    }
    return replace(
        rules,
        all=tuple(replace(rule, **short) if rule.factor and rule.period_s == HOUR_S else rule for rule in rules.all),  # type: ignore[arg-type]
    )


def _own_port(kafka: KafkaSettings) -> int:
    match kafka.brokers:
        case [HostPort(host="127.0.0.1" | "localhost", port=port)]:
            return port
    raise Misconfigured(
        str(
            Text(
                f"kafka.bootstrap = {kafka.bootstrap}: gridhub up runs a broker of its own and takes one address,"
                " 127.0.0.1:PORT; beside a cluster of yours start the connectors by themselves",
                f"kafka.bootstrap = {kafka.bootstrap}：gridhub up 运行自己的 Kafka，只接受一个地址 127.0.0.1:PORT；"
                "已有 Kafka 集群时请单独启动各接入程序",
            )
        )
    )


def _begin(
    running: contextlib.ExitStack,
    data: Path,
    name: str,
    command: Sequence[str],
    environment: Mapping[str, str],
    *,
    again_after: Collection[int] = (),
) -> Child:
    log = data / "log" / f"{name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    log_begins = log.stat().st_size if log.exists() else 0
    process = _process(command, environment, log)
    child = Child(name, process, log, command, environment, again_after, time.monotonic(), log_begins)
    running.callback(_end, child)
    return child


def _process(command: Sequence[str], environment: Mapping[str, str], log: Path) -> subprocess.Popen[bytes]:
    # Not to the terminal: a part that speaks later would spoil the screen.
    with log.open("ab") as file:
        return subprocess.Popen(  # noqa: S603 - this Python with words of ours
            command,
            env=os.environ | environment | {"GRIDHUB_END_WITH_PARENT": str(os.getpid())},
            stdin=subprocess.DEVNULL,
            stdout=file,
            stderr=file,
            # Ctrl-C reaches this process only, which ends the others in order.
            start_new_session=True,
        )


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
    if child.name == "kafka":
        # Fetching Kafka takes as long as the line makes it. `gridhub kafka` has a limit for each step and tells how far it is.
        return _served(data, child, stop, math.inf, lambda: _relay(child))
    with progress(f"Starting {child.name}", f"正在启动 {child.name}"):
        return _served(data, child, stop, time.monotonic() + START_LIMIT_S, lambda: None)


def _relay(child: Child) -> None:
    """Says what the child has said since the last time, which then are no longer its last words."""
    with child.log.open("rb") as file:
        file.seek(child.log_begins)
        for line in file:
            if line.endswith(b"\n"):
                text = line.decode(errors="replace").rstrip()
                say(text, text)
                child.log_begins += len(line)


def _served(
    data: Path, child: Child, stop: threading.Event, deadline: float, each: Callable[[], None]
) -> dict[str, int]:
    ports: dict[str, int] = {}
    while not ports and time.monotonic() < deadline:
        if stop.is_set():
            raise Stopped
        _check([child])
        ports = _said_ports(data, child)
        stop.wait(0.05)
        each()
    if ports:
        return ports
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


def _check(children: Sequence[Child]) -> list[Text]:
    """Raises Unavailable or Misconfigured when a part has ended; one that may be started again is, and what is said of that is returned."""
    told = []
    for child in children:
        code = child.process.poll()
        if code is None:
            continue
        now = time.monotonic()
        if child.again_at is None:
            if now - child.began > STEADY_S:
                child.again = 0
            if code not in child.again_after or child.again >= AGAIN_AT_MOST:
                failure = Misconfigured if code == USAGE else Unavailable
                raise failure(str(_ended(child, code)))
            child.again += 1
            child.again_at = now + AGAIN_AFTER_S
            why = _ended(child, code)
            told.append(Text(f"{why.en}; it is started again", f"{why.zh}；正在重新启动"))
        elif now >= child.again_at:
            child.process, child.began, child.again_at = (
                _process(child.command, child.environment, child.log),
                now,
                None,
            )
    return told


def _ended(child: Child, code: int) -> Text:
    if code < 0 or code in ASKED_TWICE:
        # What it said last was before, and about something else.
        name = signal.Signals(-code if code < 0 else code - 128).name
        return Text(f"{child.name} was killed by {name}", f"{child.name} 被 {name} 信号终止")
    with child.log.open("rb") as file:
        file.seek(max(child.log_begins, child.log.stat().st_size - LAST_WORDS_BYTES))
        lines = file.read().decode(errors="replace").splitlines()
    said = f": {lines[-1]}" if lines else ""
    return Text(f"{child.name} ended with code {code}{said}", f"{child.name} 已退出，代码 {code}{said}")
