"""How the hub looks to a person: a screen that fits its terminal, and lines for whoever reads a pipe. Nothing is fetched here.

Whatever came from outside (devices, towns, reasons) is shown without the characters that a terminal would take for commands.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime

from rich.cells import cell_len
from rich.console import Console, ConsoleOptions, RenderResult
from rich.text import Text as Styled

from hub.lang import Text, harmless
from hub.reasons import BEIJING, reason

GAP = 2
REASON_COLUMNS = 25
STEP_COLUMNS, KIND_COLUMNS = 7, 5
DEVICE_COLUMNS = 18
# The least rows of open tickets, cleared ones and events that are worth a heading.
LEAST_ROWS = 1
# From so many rows on there is a blank line between parts.
SPACIOUS_ROWS = 30

# The reason says the rest.
KINDS = {
    "air.pm10.over_limit": Text("PM10", "PM10"),
    "air.pm25.over_limit": Text("PM2.5", "PM2.5"),
    "air.device_alarm": Text("alarm", "报警"),
    "camera.fire": Text("fire", "火情"),
    "camera.smoke": Text("smoke", "烟雾"),
    "camera.dust": Text("dust", "扬尘"),
    "camera.bare_soil": Text("soil", "裸土"),
    "camera.muck_truck": Text("truck", "渣土车"),
    "camera.trouble": Text("broken", "设备故障"),
    "patrol.illegal_building": Text("bldg", "违建"),
}
STEPS = {
    "opened": Text("opened", "开单"),
    "updated": Text("updated", "更新"),
    "cleared": Text("cleared", "解除"),
    "reassigned": Text("moved", "改派"),
    "handed-over": Text("handed", "移交"),
    "trial": Text("trial", "试用"),
    "no_rule": Text("no rule", "无规则"),
    "late": Text("late", "迟到"),
    "expired": Text("expired", "过期"),
    "invalid": Text("invalid", "无效"),
    "forwarded": Text("forwarded", "转发"),
    "dead letter": Text("dead letter", "死信"),
    "note": Text("note", "提示"),
}
STYLES = {"opened": "bold red", "cleared": "green", "updated": "dim", "dead letter": "yellow", "note": "bold yellow"}


@dataclass(frozen=True, slots=True, kw_only=True)
class Feed:
    """A connector's counts since its start. `trouble`: why it is not ready. `per_s`: received lately; None where not known yet. `spooled`: what its
    spool has now.
    """

    name: str
    trouble: tuple[str, ...] = ()
    received: int = 0
    per_s: float | None = None
    fates: Mapping[str, int] = field(default_factory=dict)
    answered: int = 0
    answered_per_s: float | None = None
    refused: Mapping[str, int] = field(default_factory=dict)
    dead_letters: Mapping[str, int] = field(default_factory=dict)
    connections: int = 0
    spooled: int = 0


@dataclass(frozen=True, slots=True, kw_only=True)
class Router:
    """A router's counts since its start. `p50_s`, `p99_s`: from the answer to the sender to the ticket, None where there is none."""

    slot: str
    trouble: tuple[str, ...] = ()
    partitions: tuple[int, ...] = ()
    lag: int = 0
    behind_s: float = 0.0
    transactions: int = 0
    per_s: float | None = None
    aborts: Mapping[str, int] = field(default_factory=dict)
    p50_s: float | None = None
    p99_s: float | None = None
    rebuild_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Matter:
    """A ticket. `reason`: of its opening, empty where it is not known; `whose`, `where`: owner and grid by name."""

    id: str
    town: str
    device: str
    kind: str
    reason: str
    opened_at: int
    cleared_at: int | None
    whose: str = ""
    where: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Happening:
    """A step of a ticket, an alert that led to none, a dead letter, or a note of the program. `open_s`: how long it was open, when it ends."""

    at: int
    what: str
    town: str = ""
    device: str = ""
    kind: str = ""
    detail: str = ""
    open_s: float | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class Picture:
    """All that is known at `at`. Newest last in `happenings`, first in `open` and `cleared`, which hold the last ones of so many.

    `kafka`: why the topics are not read, or that they are being read, empty when they are. `title`: what else a person must know.
    """

    at: int
    title: str = ""
    kafka: str = ""
    data: str = ""
    feeds: tuple[Feed, ...] = ()
    routers: tuple[Router, ...] = ()
    open_count: int = 0
    cleared_count: int = 0
    opened_now: int = 0
    cleared_now: int = 0
    open: tuple[Matter, ...] = ()
    cleared: tuple[Matter, ...] = ()
    happenings: tuple[Happening, ...] = ()

    @property
    def received(self) -> int:
        """By all feeds."""
        return sum(feed.received for feed in self.feeds)

    @property
    def answered(self) -> int:
        """By all feeds."""
        return sum(feed.answered for feed in self.feeds)

    @property
    def dead_letters(self) -> int:
        """Of all feeds."""
        return sum(sum(feed.dead_letters.values()) for feed in self.feeds)


# ---- the screen


class Screen:
    """A picture that fills whatever terminal it is printed on, and not a row more."""

    def __init__(self, picture: Picture) -> None:
        self._picture = picture

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Called by rich."""
        lines = screen(self._picture, options.max_width, options.height or console.height)
        yield Styled("\n").join(lines)


def screen(picture: Picture, columns: int, rows: int) -> list[Styled]:
    """At most `rows` lines, none wider than `columns`."""
    parts = [_top(picture, columns), _feeds(picture, columns), _routers(picture, columns)]
    spacious = rows >= SPACIOUS_ROWS
    lines = [
        line for part in parts if part for line in ([Styled(), *part] if spacious and part is not parts[0] else part)
    ]
    lines += _tickets_and_events(picture, columns, rows - len(lines), spacious=spacious)
    return [_fit(line, columns) for line in lines[:rows]]


def _top(picture: Picture, columns: int) -> list[Styled]:
    line = Styled.assemble(("gridhub", "bold"), " ", _clock(picture.at))
    if picture.title:
        line.append(f"  {picture.title}", "cyan")
    way_out = str(Text("q: quit", "q 退出"))
    room = columns - line.cell_len - cell_len(way_out)
    if room > GAP:
        line.append(" " * room + way_out, "dim")
    lines = [line]
    if picture.kafka:
        lines.append(Styled(f"Kafka: {harmless(picture.kafka)}", "bold red"))
    if not picture.feeds and not picture.routers:
        said = Text(f"No process of the hub runs on {picture.data}.", f"{picture.data} 上没有运行中的进程。")
        lines.append(Styled(str(said), "yellow"))
    return lines


@dataclass(frozen=True, slots=True)
class Column:
    """One column: its heading, a cell for each row; `least`: so wide at least; `order`: the highest goes first where room is short.

    `cut`: the last one, which may be cut down to `least` before anything goes.
    """

    heading: str
    cells: Sequence[str | Styled]
    order: int = 0
    least: int = 0
    right: bool = False
    cut: bool = False


def table(columns: Sequence[Column], width: int) -> list[Styled]:
    """Heading and rows for `width` columns: what is least needed is left out. The last column may still be wider."""
    kept = list(columns)

    def wide(column: Column) -> int:
        cells = max([cell_len(column.heading), *(_styled(cell).cell_len for cell in column.cells)])
        return cells if column.cut else max(column.least, cells)

    def needed(column: Column) -> int:
        return min(column.least, wide(column)) if column.cut else wide(column)

    while len(kept) > 1 and sum(map(needed, kept)) + GAP * (len(kept) - 1) > width:
        droppable = [column for column in kept if column.order > 0]
        if not droppable:
            break
        kept.remove(max(droppable, key=lambda column: column.order))
    count = len(kept[0].cells)
    rows = [Styled(style="bold"), *(Styled() for _ in range(count))]
    for place, column in enumerate(kept):
        size = wide(column)
        for row, cell in zip(rows, (Styled(column.heading), *map(_styled, column.cells)), strict=True):
            padding = " " * (size - cell.cell_len)
            if place:
                row.append(" " * GAP)
            row.append(padding if column.right else "").append_text(cell)
            row.append("" if column.right or place == len(kept) - 1 else padding)
    return rows


def _feeds(picture: Picture, width: int) -> list[Styled]:
    feeds = picture.feeds
    if not feeds:
        return []

    def counts(name: str) -> list[str]:
        return [_count(feed.fates.get(name, 0)) for feed in feeds]

    # Only where there is something in it: it means that Kafka is away.
    waits = [_count(feed.spooled) for feed in feeds]
    spool = [Column(str(Text("spool", "缓存")), waits, right=True)] if any(feed.spooled for feed in feeds) else []
    lines = table(
        [
            Column(str(Text("FEED", "数据源")), [harmless(feed.name) for feed in feeds], least=6),
            Column(str(Text("state", "状态")), [_state(feed.trouble) for feed in feeds], least=5),
            Column(str(Text("received", "收到")), [_count(feed.received) for feed in feeds], right=True, least=7),
            Column(str(Text("per s", "每秒")), [_rate(feed.per_s) for feed in feeds], 3, right=True, least=5),
            Column(str(Text("published", "入库")), counts("published"), 5, right=True),
            Column(str(Text("empty", "空报文")), counts("empty"), 8, right=True),
            Column(str(Text("refused", "拒收")), counts("refused"), 4, right=True),
            *spool,
            Column(str(Text("dead", "死信")), counts("dead-lettered"), 2, right=True, least=4),
            Column(str(Text("answered", "应答")), [_count(feed.answered) for feed in feeds], 1, right=True, least=7),
            Column(str(Text("per s", "每秒")), [_rate(feed.answered_per_s) for feed in feeds], 7, right=True, least=5),
            Column(str(Text("conn.", "连接")), [_count(feed.connections) for feed in feeds], 2, right=True),
            Column(str(Text("why", "原因")), [_whys(feed) for feed in feeds], 6, least=8, cut=True),
        ],
        width,
    )
    return lines + [line for feed in feeds for line in _troubles(feed.name, feed.trouble)]


def _troubles(name: str, trouble: Sequence[str]) -> list[Styled]:
    return [Styled(f"  {harmless(f'{name}: {one}')}", "red") for one in trouble]


def _whys(feed: Feed) -> str:
    """What was refused or could not be read for which reason, the most frequent first."""
    every = [*feed.refused.items(), *feed.dead_letters.items()]
    return "  ".join(
        f"{harmless(reason)} {_count(count)}" for reason, count in sorted(every, key=lambda one: -one[1])[:4] if count
    )


def _routers(picture: Picture, width: int) -> list[Styled]:
    routers = picture.routers
    if not routers:
        return []
    lines = table(
        [
            Column(str(Text("ROUTER", "路由器")), [harmless(router.slot) for router in routers], least=6),
            Column(str(Text("state", "状态")), [_state(router.trouble) for router in routers], least=5),
            Column(str(Text("partitions", "分区")), [_numbers(router.partitions) for router in routers], 2, least=5),
            Column(str(Text("lag", "积压")), [_count(router.lag) for router in routers], right=True, least=4),
            Column(
                str(Text("behind", "落后")), [_lasted(router.behind_s) for router in routers], 5, right=True, least=5
            ),
            Column(str(Text("tx/s", "事务/秒")), [_rate(router.per_s) for router in routers], 1, right=True, least=5),
            Column(str(Text("aborts", "中止")), [_aborts(router.aborts) for router in routers], 2, right=True),
            Column(str(Text("p50", "p50")), [_seconds(router.p50_s) for router in routers], 4, right=True, least=6),
            Column(str(Text("p99", "p99")), [_seconds(router.p99_s) for router in routers], 3, right=True, least=6),
            Column(str(Text("rebuild", "重建")), [_seconds(router.rebuild_s) for router in routers], 6, right=True),
        ],
        width,
    )
    return lines + [line for router in routers for line in _troubles(f"router {router.slot}", router.trouble)]


def _aborts(aborts: Mapping[str, int]) -> str:
    reasons = ", ".join(f"{harmless(reason)} {_count(count)}" for reason, count in aborts.items() if count)
    return reasons or "0"


def _tickets_and_events(picture: Picture, width: int, rows: int, *, spacious: bool) -> list[Styled]:
    """Two headings, and the rest of the room shared: what one part does not fill, another has."""
    gap = [Styled()] if spacious else []
    room = rows - 2 - 2 * len(gap)
    if room < LEAST_ROWS:
        return _tickets(picture, [], width)[: max(rows, 0)]
    opened = min(len(picture.open), max(LEAST_ROWS, room * 2 // 5))
    cleared = min(len(picture.cleared), room // 5)
    # Every open ticket is updated once a period: that is no news.
    news = [one for one in picture.happenings if one.what != "updated"]
    events = min(len(news), room - opened - cleared)
    opened = min(len(picture.open), room - cleared - events)
    cleared = min(len(picture.cleared), room - opened - events)
    lines = gap + _tickets(picture, [*picture.open[:opened], *picture.cleared[:cleared]], width)
    if events:
        lines += [*gap, Styled(str(Text("EVENTS", "动态")), "bold")]
        lines += [_event(one, width) for one in news[-events:]]
    return lines


def _tickets(picture: Picture, matters: Sequence[Matter], width: int) -> list[Styled]:
    open_count, cleared_count = _count(picture.open_count), _count(picture.cleared_count)
    title = Text(
        f"TICKETS  {open_count} open, {cleared_count} cleared", f"工单  未解除 {open_count}，已解除 {cleared_count}"
    )
    if not matters:
        return [Styled(str(title), "bold")]
    named = [
        Column("", cells, order)
        for order, cells in (
            (2, [harmless(one.whose) for one in matters]),
            (4, [harmless(one.where) for one in matters]),
        )
        if any(cells)
    ]
    rows = table(
        [
            Column("", [_mark(matter) for matter in matters]),
            Column("", [_clock(matter.cleared_at or matter.opened_at) for matter in matters]),
            Column("", [harmless(matter.town) for matter in matters], 3),
            Column("", [harmless(matter.device) for matter in matters]),
            Column("", [_lasted(_open_s(matter, picture.at)) for matter in matters], least=5, right=True),
            Column("", [_kind(matter.kind) for matter in matters], 1),
            *named,
            Column("", [str(reason(matter.reason)) for matter in matters], 2, least=REASON_COLUMNS, cut=True),
        ],
        width,
    )
    return [Styled(str(title), "bold"), *rows[1:]]


def _mark(matter: Matter) -> Styled:
    if matter.cleared_at is None:
        return Styled(str(Text("open", "未解除")), "red")
    return Styled(str(Text("cleared", "已解除")), "green")


def _open_s(matter: Matter, now: int) -> float:
    return max(0, (now if matter.cleared_at is None else matter.cleared_at) - matter.opened_at) / 1000


def _event(happening: Happening, width: int) -> Styled:
    text = line(happening)
    if cell_len(text) > width and happening.town:
        text = line(happening, town=False)
    return Styled(text, STYLES.get(happening.what, ""))


def _fit(line: Styled, columns: int) -> Styled:
    line.truncate(columns, overflow="ellipsis")
    line.no_wrap = True
    return line


# ---- lines


def line(happening: Happening, *, town: bool = True) -> str:
    """One happening in one line."""
    step = str(STEPS.get(happening.what, harmless(happening.what)))
    words = [_clock(happening.at)]
    if happening.town and town:
        words.append(harmless(happening.town))
    if happening.device:
        words.append(_padded(harmless(happening.device), DEVICE_COLUMNS))
    words.append(_padded(step, STEP_COLUMNS) if happening.device or happening.town else step)
    kind = _padded(_kind(happening.kind), KIND_COLUMNS) if happening.kind else ""
    said = "  ".join(filter(None, (kind, str(reason(happening.detail)))))
    if happening.open_s is not None:
        lasted = _lasted(happening.open_s)
        said += str(Text(f"; was open for {lasted}", f"；历时 {lasted}"))
    return " ".join([*words, said]).rstrip()


def summary(before: Picture, now: Picture) -> str:
    """What happened between two pictures of one run, and what stands."""
    seconds = (now.at - before.at) / 1000
    received, answered = now.received - before.received, now.answered - before.answered
    letters = now.dead_letters - before.dead_letters
    opened, cleared = now.opened_now - before.opened_now, now.cleared_now - before.cleared_now
    trouble = [
        *([f"Kafka: {now.kafka}"] if now.kafka else ()),
        *(f"{feed.name}: {'; '.join(feed.trouble)}" for feed in now.feeds if feed.trouble),
        *(f"router {router.slot}: {'; '.join(router.trouble)}" for router in now.routers if router.trouble),
    ]
    text = Text(
        f"-- {seconds:.0f} s: {received} message{_s(received)}, {answered} answered, {letters} dead letter{_s(letters)};"
        f" tickets: {opened} opened, {cleared} cleared, {now.open_count} open",
        f"-- 最近 {seconds:.0f} 秒：收到 {received} 条，应答 {answered} 条，死信 {letters} 条；"
        f"工单：新开 {opened}，解除 {cleared}，未解除 {now.open_count}",
    )
    return "; ".join([str(text), *map(harmless, trouble)])


def _kind(kind: str) -> str:
    return str(KINDS.get(kind, harmless(kind)))


def _state(trouble: Sequence[str]) -> Styled:
    if trouble:
        return Styled(str(Text("not ready", "未就绪")), "bold red")
    return Styled(str(Text("ready", "就绪")), "green")


def _styled(cell: str | Styled) -> Styled:
    return cell if isinstance(cell, Styled) else Styled(cell)


def _padded(text: str, columns: int) -> str:
    return text + " " * (columns - cell_len(text))


def _s(count: int) -> str:
    return "" if count == 1 else "s"


def _clock(at_ms: int) -> str:
    return datetime.fromtimestamp(at_ms / 1000, UTC).astimezone(BEIJING).strftime("%H:%M:%S")


def _count(number: int) -> str:
    return f"{number:,}"


def _rate(number: float | None) -> str:
    return "-" if number is None else f"{number:.1f}"


def _seconds(number: float | None) -> str:
    if number is None:
        return "-"
    return f"{number * 1000:.0f} ms" if number < 1 else f"{number:.1f} s"


def _lasted(seconds: float) -> str:
    whole = int(seconds)
    parts: Sequence[tuple[int, Callable[[], str]]] = (
        (60, lambda: f"{whole} s"),
        (3600, lambda: f"{whole // 60} min"),
        (86_400, lambda: f"{whole // 3600} h {whole % 3600 // 60} min"),
    )
    return next((text() for below, text in parts if whole < below), f"{whole // 86_400} d")


def _numbers(numbers: Sequence[int]) -> str:
    """`0-3, 7 (5)`: runs, and how many they are."""
    runs: list[list[int]] = []
    for number in sorted(numbers):
        if runs and number == runs[-1][1] + 1:
            runs[-1][1] = number
        else:
            runs.append([number, number])
    text = ", ".join(str(a) if a == b else f"{a}-{b}" for a, b in runs)
    return f"{text} ({len(numbers)})" if text else "-"
