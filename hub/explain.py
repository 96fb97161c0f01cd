"""`gridhub explain ID`: the story of an alert, a reading, a ticket or a dead letter, as the topics tell it.

An alert leads to its decisions and these to its ticket, a ticket to its steps and to the alerts behind them. One line for each, in the order
of time.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from hub import classes
from hub.core.errors import Rejected
from hub.core.events import (
    Alert,
    CameraAlert,
    DeadLetter,
    Decision,
    HandedOver,
    LetterMark,
    Outcome,
    PatrolAlert,
    Reading,
    Ticket,
    TicketEvent,
)
from hub.core.registry import CENTRE, Registry, Role
from hub.lang import Text, harmless, progress
from hub.partition import INPUTS, Arrived
from hub.reasons import BEIJING, MARKS, REFUSALS, SIGNALS, reason
from hub.registry import Versions
from hub.settings import Settings
from hub.transactions import Whole
from hub.wire import Wire

CLIENT = "gridhub-explain"
TOLD_BY = ("decisions", "ticket-events", "tickets")

OUTCOMES: Mapping[str, Text] = {
    Outcome.OPENED: Text("opens a ticket", "开立工单"),
    Outcome.UPDATED: Text("speaks for a ticket that is open already", "归入已有的未结工单"),
    Outcome.CLEARED: Text("ends what its ticket is about", "事由消除，工单解除"),
    Outcome.NO_RULE: Text("no rule is for this kind: nothing follows", "没有对应的规则，不产生工单"),
    Outcome.REPEATED: Text("was decided before: the same message sent again", "此前已作出决定：同一报文重复发送"),
    Outcome.LATE: Text("is about a time too long ago to open anything", "事发时间过早，不再开立工单"),
    Outcome.EXPIRED: Text("ends something of which nothing is open", "所结束的事项没有未结工单"),
    Outcome.FORWARDED: Text("lay on a wrong partition and was copied to its own", "位于错误的分区，已转到正确分区"),
    Outcome.HANDED_OVER: Text("its place lies in another town, which decides it", "位置在另一乡镇，已移交该乡镇处理"),
    Outcome.TRIAL: Text(
        "its vendor is on trial: no ticket, it would have become", "厂商处于试用期：不产生工单，本应为"
    ),
    Outcome.INVALID: Text("cannot be read and is kept in the dead letters", "无法读取，已存入死信"),
}
STEPS: Mapping[str, Text] = {
    "opened": Text("opened", "开立"),
    "updated": Text("updated", "更新"),
    "cleared": Text("cleared", "解除"),
    "reassigned": Text("given to another owner", "改派"),
}
STATES: Mapping[str, str] = {"open": "未解除", "cleared": "已解除"}
LETTER_MARKS: Mapping[str, Text] = {
    LetterMark.REPLAYED: Text("replayed", "已重放"),
    LetterMark.DROPPED: Text("dropped", "已放弃"),
}
ROLES: Mapping[str, Text] = {
    Role.WORKER: Text("grid worker", "网格员"),
    Role.HEAD: Text("grid head", "网格长"),
    Role.SECOND_HEAD: Text("second-level head", "二级网格长"),
    CENTRE: Text("the grid centre's queue", "网格中心待派"),
}


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
    with progress("Reading the registry", "正在读取登记表"):
        registry = max(Versions(settings, CLIENT).all().values(), key=lambda one: one.version, default=Registry())
    with progress("Reading decisions and steps", "正在读取决定和工单步骤"):
        told = list(_decoded(Whole(settings, TOLD_BY, CLIENT).all(), wire))
    names = {name}
    # Alert -> ticket -> the ticket's other alerts; an id of neither leads nowhere.
    for _ in range(2):
        for _, record in told:
            if isinstance(record, Decision) and names & {record.id, record.ticket_id}:
                names |= {record.id, record.ticket_id}
            elif isinstance(record, TicketEvent) and names & {record.ticket_id, record.alert, record.id}:
                names |= {record.ticket_id, record.alert}
            names.discard("")
    with progress("Reading what devices said", "正在读取设备上报"):
        said = list(_decoded(Whole(settings, (*INPUTS, "dead-letters"), CLIENT).all(), wire))
    # The decision that an alert cannot be used, and its dead letter, are known by where it lies.
    names |= {arrived.place for arrived, record in said if record.id in names}
    teller = _Teller(registry, names)
    chapters = [chapter for arrived, record in (*said, *_latest(told)) if (chapter := teller.chapter(arrived, record))]
    return sorted(chapters, key=lambda chapter: chapter.at)


Told = Reading | Alert | DeadLetter | Decision | TicketEvent | Ticket


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


def _latest(told: Sequence[tuple[Arrived, Told]]) -> list[tuple[Arrived, Told]]:
    """Without what a later record of the same ticket replaces, and each ticket behind the steps that led to it."""
    newest: dict[str, tuple[Arrived, Ticket]] = {}
    steps = []
    for arrived, record in told:
        if not isinstance(record, Ticket):
            steps.append((arrived, record))
        elif record.id not in newest or record.version > newest[record.id][1].version:
            newest[record.id] = arrived, record
    return [*steps, *newest.values()]


class _Teller:
    """Says of each record what it was, if it belongs to one of the names."""

    def __init__(self, registry: Registry, names: set[str]) -> None:
        self._names = names
        self._people = {person.id: person.name for person in registry.people}
        self._grids = {grid.id: grid.name for grid in registry.grids}

    def chapter(self, arrived: Arrived, record: Told) -> Chapter | None:
        """None for what belongs to none of the names."""
        own = record.ticket_id if isinstance(record, TicketEvent) else record.id
        if own not in self._names and not (isinstance(record, DeadLetter) and record.device in self._names):
            return None
        match record:
            case Reading():
                at, said = record.accepted_at, _reads(record)
            case DeadLetter(mark=""):
                at, said = record.accepted_at, _kept(record)
            case DeadLetter():
                at, said = arrived.at, _made_of(record)
            case Decision():
                at, said = record.now, _decides(record)
            case TicketEvent():
                at, said = record.at, self._steps(record)
            case Ticket():
                at, said = record.updated_at, self._stands(record)
            case _:
                at, said = record.accepted_at, _alerts(record)
        return Chapter(at, arrived.place, str(said))

    def _owner(self, role: str, person: str) -> Text:
        called = ROLES.get(role, Text(role, role))
        name = self._people.get(person, person)
        return Text(f"{called.en} {name}".rstrip(), f"{called.zh}{name}")

    def _steps(self, step: TicketEvent) -> Text:
        called = STEPS.get(step.step, Text(step.step, step.step))
        owner = self._owner(step.owner_role, step.owner)
        why = reason(step.reason)
        en, zh = (f" ({why.en})", f"（{why.zh}）") if step.reason else ("", "")
        return Text(
            f"ticket {step.ticket_id} v{step.version}: {called.en}{en}; it is with {owner.en}",
            f"工单 {step.ticket_id} 第 {step.version} 版：{called.zh}{zh}；现由{owner.zh}负责",
        )

    def _stands(self, ticket: Ticket) -> Text:
        mark = MARKS.get(ticket.place_mark, Text(ticket.place_mark, ticket.place_mark))
        title = classes.title(ticket.class_standard, ticket.class_code)
        cell = f"{ticket.cell} " if ticket.cell else ""
        grid = f"{ticket.grid} {self._grids.get(ticket.grid, '')}".strip()
        where = f"{cell}{grid}".strip()
        urgent = Text(", urgent", "，紧急") if ticket.urgency == "urgent" else Text("", "")
        return Text(
            f"ticket {ticket.id} as it stands: {ticket.state}, {ticket.class_code} {title}{urgent.en}; "
            f"{f'{where} ({mark.en})' if where else mark.en}; {ticket.alerts} alerts",
            f"工单 {ticket.id} 现状：{STATES.get(ticket.state, ticket.state)}，{ticket.class_code} {title}{urgent.zh}；"
            f"{f'{where}（{mark.zh}）' if where else mark.zh}；{ticket.alerts} 次预警",
        )


def _reads(reading: Reading) -> Text:
    values = ", ".join(f"{one.factor} {one.statistic} {one.value} {one.unit} {one.mark}" for one in reading.values)
    return Text(f"{reading.device} reads {values}", f"{reading.device} 读数 {values}")


def _kept(letter: DeadLetter) -> Text:
    said = REFUSALS.get(letter.reason, Text("", ""))
    why = f"{letter.reason} {letter.detail}".rstrip()
    return Text(f"kept in the dead letters: {said.en} ({why})", f"存入死信：{said.zh}（{why}）")


def _made_of(mark: DeadLetter) -> Text:
    called = LETTER_MARKS.get(mark.mark, Text(mark.mark, mark.mark))
    what = f": {mark.detail}" if mark.detail else ""
    return Text(f"the dead letter was {called.en}{what}", f"死信{called.zh}{what}")


def _alerts(alert: Alert) -> Text:
    signal = SIGNALS.get(alert.signal, Text(alert.signal, alert.signal))
    match alert:
        case CameraAlert():
            what = f"{alert.kind} ({alert.message_type})"
        case PatrolAlert():
            what = f"{alert.kind} {alert.spot_no or alert.event_no}".rstrip()
        case _:
            what = alert.kind
    who = alert.device or alert.vendor
    return Text(f"{who} reports {what}: {signal.en}", f"{who} 上报 {what}：{signal.zh}")


def _decides(decision: Decision) -> Text:
    said = OUTCOMES.get(decision.outcome, Text(decision.outcome, decision.outcome))
    reasons = [reason(one) for one in decision.reasons]
    en, zh = "; ".join(one.en for one in reasons), "；".join(one.zh for one in reasons)
    about_en, about_zh = (f" ({en})", f"（{zh}）") if reasons else ("", "")
    led = f" -> {decision.ticket_id}" if decision.ticket_id else ""
    under = ", ".join(f"{one.name} {one.version}" for one in decision.versions)
    return Text(
        f"decision {decision.seq} of {decision.town}: {decision.outcome}, {said.en}{about_en}{led}, under {under}",
        f"{decision.town} 第 {decision.seq} 号决定：{decision.outcome}，{said.zh}{about_zh}{led}，依据 {under}",
    )
