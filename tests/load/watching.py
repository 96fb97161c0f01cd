"""What is seen of a run from outside: how much each process takes, and when each alert was decided."""

import threading
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

import psutil

from hub.wire import Record, Wire
from tests.faults.processes import committed_reader, partitions_of

POLL_MS = 200


@dataclass(frozen=True, slots=True)
class Sample:
    """One process at one moment. at: s since 1970; cpu_s: since it began."""

    at: float
    name: str
    rss: int
    threads: int
    handles: int
    cpu_s: float


class _OnItsOwn:
    """Does something on a thread of its own from `with` on, until the end of that."""

    def __init__(self, name: str) -> None:
        self._enough = threading.Event()
        self._thread = threading.Thread(target=self._work, name=name, daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *_error: object) -> None:
        self._enough.set()
        self._thread.join(10)

    def _work(self) -> None:
        """Until `_enough` is set."""
        raise NotImplementedError


class Watcher(_OnItsOwn):
    """Looks at processes again and again."""

    def __init__(self, processes: Callable[[], Iterable[tuple[str, int]]], every_s: float = 1.0) -> None:
        self._processes = processes
        self._every_s = every_s
        self.samples: list[Sample] = []
        self._busy: list[tuple[float, float]] = []
        super().__init__("watcher")

    def of(self, name: str, since: float = 0.0, before: float = float("inf")) -> list[Sample]:
        """Of one process, in a time."""
        return [one for one in [*self.samples] if one.name == name and since <= one.at < before]

    def busy(self, since: float, before: float) -> float:
        """How many cores of the machine were busy in a time, with whatever."""
        some = [one for one in [*self._busy] if since <= one[0] < before]
        return round((some[-1][1] - some[0][1]) / max(some[-1][0] - some[0][0], 1), 2) if some else 0.0

    def names(self) -> list[str]:
        """Who was seen."""
        return list(dict.fromkeys(one.name for one in [*self.samples]))

    def _work(self) -> None:
        while not self._enough.wait(self._every_s):
            cores = psutil.cpu_times()
            self._busy.append((time.time(), cores.user + cores.nice + cores.system))
            try:
                some = [*self._processes()]
            except (psutil.Error, ValueError):
                continue  # the broker is being started again: the next look sees it
            for name, pid in some:
                try:
                    process = psutil.Process(pid)
                    with process.oneshot():
                        cpu = process.cpu_times()
                        rss, threads = process.memory_info().rss, process.num_threads()
                        sample = Sample(time.time(), name, rss, threads, process.num_fds(), cpu.user + cpu.system)
                except psutil.Error:
                    continue  # killed: its next life is seen
                self.samples.append(sample)


class Follower(_OnItsOwn):
    """Reads committed records of a topic from now on, and remembers when each came. `partitions`: all where none are given. keeps: the records, too."""

    def __init__(self, bootstrap: str, topic: str, partitions: Sequence[int] = (), *, keeps: bool = False) -> None:
        self._consumer = committed_reader(bootstrap, fetch_max_wait_ms=50)
        places = [
            one for one in partitions_of(self._consumer, [topic]) if one.partition in (partitions or {one.partition})
        ]
        self._consumer.assign(places)
        self._consumer.seek_to_end(*places)
        for place in places:
            self._consumer.position(place)  # only now it stands there
        self._failed: BaseException | None = None
        self._keeps = keeps
        self._values: list[tuple[float, bytes]] = []
        self._when: dict[str, float] = {}
        super().__init__("follower")

    def __exit__(self, *error: object) -> None:
        super().__exit__(*error)
        self._consumer.close(autocommit=False)

    @property
    def when(self) -> Mapping[str, float]:
        """When the first record of each id (`ce_id`) was read, s since 1970."""
        self._check()
        return self._when

    def records(self, wire: Wire) -> list[tuple[float, Record]]:
        """All that was kept, and when it was read (s since 1970)."""
        self._check()
        return [(at, wire.decode(value)) for at, value in [*self._values]]

    def _check(self) -> None:
        if self._failed:
            raise AssertionError("the follower ended") from self._failed

    def _work(self) -> None:
        try:
            while not self._enough.is_set():
                for batch in self._consumer.poll(timeout_ms=POLL_MS).values():
                    now = time.time()
                    for record in batch:
                        self._when.setdefault(dict(record.headers)["ce_id"].decode(), now)
                        if self._keeps:
                            self._values.append((now, record.value))
        except BaseException as error:  # noqa: BLE001 - said by whoever asks what was seen
            self._failed = error
