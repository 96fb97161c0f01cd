"""`gridhub explain ID`: the story of an alert, a reading, a ticket or a dead letter, as the topics tell it.

An alert leads to its decisions and these to its ticket, a ticket to its steps and to the alerts behind them. One line for each, in the order
of time.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, timezone

from hub.core.errors import Rejected
from hub.core.events import AirAlert, DeadLetter, Decision, HandedOver, Reading, TicketEvent
from hub.lang import Text, harmless, progress
from hub.partition import INPUTS, Arrived
from hub.settings import Settings
from hub.transactions import Whole
from hub.wire import Wire

CLIENT = "gridhub-explain"
TOLD_BY = ("decisions", "ticket-events")
BEIJING = timezone(timedelta(hours=8))


@dataclass(frozen=True, slots=True)
class Chapter:
    """One thing that happened: when (ms UTC), where it lies (topic/partition/offset), and what it was in a sentence for people."""

    at: int
    place: str
    text: str

    def __str__(self) -> str:
        moment = datetime.fromtimestamp(self.at / 1000, UTC).astimezone(BEIJING)
        return harmless(f"{moment:%Y-%m-%d %H:%M:%S}.{self.at % 1000:03d}  {self.text}  [{self.place}]")


def explain(settings: Settings, name: str) -> list[Chapter]:
    """All that the topics still have of `name`, in the order of time; nothing where nobody knows it. Raises Unavailable."""
    wire = Wire.load()
    with progress("Reading decisions and steps", "正在读取决定和工单步骤"):
        told = list(_decoded(Whole(settings, TOLD_BY, CLIENT).all(), wire))
    names = {name}
    # Alert -> ticket -> the ticket's other alerts; an id of neither leads nowhere.
    for _ in range(2):
        for _, record in told:
            if isinstance(record, Decision) and names & {record.id, record.ticket_id}:
                names |= {record.id, record.ticket_id} - {""}
            elif isinstance(record, TicketEvent) and names & {record.ticket_id, record.alert, record.id}:
                names |= {record.ticket_id, record.alert}
    with progress("Reading what stations said", "正在读取站点上报"):
        said = list(_decoded(Whole(settings, (*INPUTS, "dead-letters"), CLIENT).all(), wire))
    chapters = [chapter for arrived, record in (*said, *told) if (chapter := _chapter(arrived, record, names))]
    return sorted(chapters, key=lambda chapter: chapter.at)


Told = Reading | AirAlert | DeadLetter | Decision | TicketEvent


def _decoded(records: Iterable[Arrived], wire: Wire) -> Iterator[tuple[Arrived, Told]]:
    for arrived in records:
        try:
            record = wire.decode(arrived.value or b"")
            if isinstance(record, HandedOver):
                record = wire.decode(record.value)
        except Rejected:
            continue  # told by its dead letter
        if isinstance(record, Told):
            yield arrived, record


def _chapter(arrived: Arrived, record: Told, names: set[str]) -> Chapter | None:
    match record:
        case Reading() if record.id in names:
            values = ", ".join(
                f"{one.factor} {one.statistic} {one.value} {one.unit} {one.mark}" for one in record.values
            )
            en, zh = f"{record.device} reads {values}", f"{record.device} 读数 {values}"
            return Chapter(record.accepted_at, arrived.place, str(Text(en, zh)))
        case AirAlert() if record.id in names:
            en, zh = f"{record.device} alarms: {record.signal}", f"{record.device} 报警：{record.signal}"
            return Chapter(record.accepted_at, arrived.place, str(Text(en, zh)))
        case DeadLetter() if record.id in names or record.device in names:
            en = f"kept in the dead letters: {record.reason} {record.detail}"
            return Chapter(
                record.accepted_at, arrived.place, str(Text(en, f"存入死信：{record.reason} {record.detail}"))
            )
        case Decision() if record.id in names:
            why = "; ".join(record.reasons)
            about = f"{record.outcome} ({why})" if why else record.outcome
            led = f" -> {record.ticket_id}" if record.ticket_id else ""
            en, zh = f"decision {record.seq}: {about}{led}", f"决定 {record.seq}：{about}{led}"
            return Chapter(record.now, arrived.place, str(Text(en, zh)))
        case TicketEvent() if record.ticket_id in names:
            en = f"ticket {record.ticket_id} v{record.version}: {record.step}"
            return Chapter(
                record.at,
                arrived.place,
                str(Text(en, f"工单 {record.ticket_id} 第 {record.version} 版：{record.step}")),
            )
    return None
