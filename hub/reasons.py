"""The reasons of a decision in words: what the router writes for machines and people alike, said in the reader's language."""

import re
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta, timezone

from hub.core.errors import Reason
from hub.core.events import Signal, TimeMark
from hub.core.grid import PlaceMark
from hub.lang import Text, harmless

BEIJING = timezone(timedelta(hours=8))

SIGNALS: Mapping[str, Text] = {
    Signal.BEGINS: Text("begins", "开始"),
    Signal.GOES_ON: Text("goes on", "持续"),
    Signal.ENDS: Text("ends", "结束"),
    Signal.MOMENT: Text("moment", "瞬时"),
}
CODES: Mapping[str, Text] = {
    "nothing_open": Text("nothing is open", "没有未解除的工单"),
    "too_old": Text("its time is too old", "时间过早"),
    "the station's own mean": Text("the station's own mean", "站点自报均值"),
    "quarantined": Text("its town is in quarantine", "所属乡镇已隔离"),
    "same place": Text("the same place as a case that is known", "与已知案件位置相同"),
}
URGENCY: Mapping[str, str] = {"urgent": "紧急", "normal": "一般"}
REFUSALS: Mapping[str, Text] = {
    Reason.LENGTH: Text("its length is not what it says", "实际长度与所述长度不符"),
    Reason.CRC: Text("its check sum is wrong", "校验码错误"),
    Reason.SYNTAX: Text("it does not have the form that is read here", "格式无法识别"),
    Reason.TIMEOUT: Text("it did not come to an end", "报文不完整"),
    Reason.ENCRYPTED: Text("it is encrypted", "报文已加密"),
    Reason.UNKNOWN_DEVICE: Text("its device is not in devices.csv", "设备未在 devices.csv 中登记"),
    Reason.NOT_YOURS: Text("its device belongs to another vendor", "设备属于其他厂商"),
    Reason.TOO_LARGE: Text("it is too large", "报文过大"),
    Reason.SCHEMA: Text("what it holds does not fit into a record", "内容不符合记录格式"),
    Reason.POISON: Text("the hub failed on it: a defect of the hub", "系统处理时出错（系统缺陷）"),
    Reason.QUARANTINED: Text(
        "what the hub remembers of its town cannot be read: replay it once gridhub quarantine has ended that",
        "所属乡镇的内存状态无法读取（已隔离）：用 gridhub quarantine 解除隔离后重放",
    ),
    Reason.OUTSIDE_AREA: Text("its place is far from every town of the map", "位置远离地图上的所有乡镇"),
    Reason.DATUM: Text("its datum is not known, or contradicts itself", "坐标系未知或自相矛盾"),
    Reason.BAD_TIME: Text("its time is none", "时间无效"),
}
"""Why something lies in the dead letters, in words."""
TIMES: Mapping[str, Text] = {
    TimeMark.DEVICE: Text("as the device says", "取设备时间"),
    TimeMark.TOO_OLD: Text(
        "the device's lies more than 2 h back: that of acceptance counts", "设备时间早于接收 2 小时以上，以接收时间为准"
    ),
    TimeMark.TOO_NEW: Text("the device's lies ahead: that of acceptance counts", "设备时间超前，以接收时间为准"),
    TimeMark.MISSING: Text("the device says none: that of acceptance counts", "报文中没有时间，以接收时间为准"),
}
MARKS: Mapping[str, Text] = {
    PlaceMark.INSIDE: Text("inside", "格内"),
    PlaceMark.BORDER: Text("on a border: the smaller number", "位于边界，取较小编号"),
    PlaceMark.OVERLAP: Text("by the largest share of its area", "按最大重叠面积"),
    PlaceMark.NEAREST: Text("nearest, within 50 m", "50 米内最近"),
    PlaceMark.UNCERTAIN: Text("uncertain: it may lie in a neighbouring grid", "不确定，可能在相邻网格"),
    PlaceMark.NONE: Text("in no cell", "不在任何单元网格"),
    PlaceMark.UNKNOWN: Text("place not known", "位置未知"),
}


def reason(text: str) -> Text:
    """One reason for a reader; one of a form that this program does not know as it is."""
    if text in CODES:
        return CODES[text]
    for pattern, say in _FORMS:
        if found := pattern.fullmatch(text):
            return say(*map(harmless, found.groups()))
    plain = harmless(text)
    return Text(plain, plain)


def _mean(mean: str, limit: str, unit: str) -> Text:
    mean = _rounded(mean, limit)
    return Text(f"mean {mean}, limit {limit} {unit}", f"均值 {mean}，限值 {limit} {unit}")


def _rounded(mean: str, limit: str) -> str:
    """To one decimal, unless it would seem to lie at the limit."""
    try:
        short = f"{float(mean):.1f}"
        return mean if float(short) == float(limit) else short
    except ValueError:
        return mean


def _samples(count: str, name: str, minutes: str) -> Text:
    kind = {"minute": "分钟", "realtime": "实时"}.get(name, name)
    return Text(
        f"mean of {count} {name} values that cover {minutes} min", f"由 {count} 个{kind}值求得，覆盖 {minutes} 分钟"
    )


def _period(start: str, seconds: str) -> Text:
    try:
        begins = datetime.strptime(start, "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).astimezone(BEIJING)
        ends = begins + timedelta(seconds=int(seconds))
    except (ValueError, OverflowError):
        return Text(f"period {start}/PT{seconds}S", f"时段 {start}/PT{seconds}S")
    span = f"{begins:%Y-%m-%d %H:%M}–{ends:%H:%M}"
    return Text(f"period {span}", f"时段 {span}")


def _signal(name: str) -> Text:
    return SIGNALS.get(name, Text(f"signal {name}", f"信号 {name}"))


def _case(name: str) -> Text:
    return Text(f"case {name}", f"案件 {name}")


def _place(mark: str) -> Text:
    said = MARKS.get(mark, Text(mark, mark))
    return Text(f"place: {said.en}", f"位置：{said.zh}")


def _also(grid: str) -> Text:
    return Text(f"may also lie in the grid {grid}", f"也可能位于网格 {grid}")


def _area(drawn: str, stated: str) -> Text:
    return Text(
        f"its outline has {drawn} m2, the vendor states {stated} m2",
        f"按边界计算为 {drawn} 平方米，厂商填报 {stated} 平方米",
    )


_FORMS: tuple[tuple[re.Pattern[str], Callable[..., Text]], ...] = (
    (re.compile(r"mean (\S+), limit (\S+) (\S+)"), _mean),
    (re.compile(r"mean of (\d+) (\w+) values that cover (\S+) min"), _samples),
    (re.compile(r"period (\w+)/PT(\d+)S"), _period),
    (re.compile(r"signal (\w+)"), _signal),
    (re.compile(r"case (.+)"), _case),
    (re.compile(r"place (\w+)"), _place),
    (re.compile(r"also (.+)"), _also),
    (re.compile(r"area (\S+) m2, stated (\S+) m2"), _area),
    (re.compile(r"town (.+)"), lambda code: Text(f"town {code}", f"乡镇 {code}")),
    (
        re.compile(r"class (\w+), (\w+)"),
        lambda code, how: Text(f"class {code}, {how}", f"类别 {code}，{URGENCY.get(how, how)}"),
    ),
    (re.compile(r"type (.+)"), lambda name: Text(f"type {name}", f"类型 {name}")),
    (re.compile(r"status (.+)"), lambda status: Text(f"the vendor's status {status}", f"厂商状态 {status}")),
)
