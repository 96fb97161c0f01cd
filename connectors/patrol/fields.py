"""What patrols call things: tables of names, codes and words. Names are compared without case, blanks and underscores."""

import re
from collections.abc import Mapping

from hub.core.events import Signal

NAMES: Mapping[str, tuple[str, ...]] = {
    "spot_no": ("spot_no", "JCBH", "TBBH", "code", "图斑编号", "监测编号", "编号"),
    "event_no": ("event_id", "eventNo", "uuid"),
    "found_at": ("discovered_at", "foundAt", "findTime", "发现时间", "createTime"),
    "origin": ("source", "dataSource", "数据来源"),
    "building_type": ("type", "TBLX", "issueType", "changeType", "违建类型", "图斑类型"),
    "feature_text": ("TZ", "图斑特征"),
    "stage": ("stage", "建设阶段"),
    "area_m2": ("area_m2", "MJ", "JCMJ", "TBMJ", "area", "占地面积", "面积"),
    "area_mu": ("area_mu", "面积(亩)", "面积（亩）"),
    "floors": ("floors", "层数"),
    "structure": ("structure", "结构"),
    "address": ("address", "地址", "位置"),
    "description": ("description", "BZ", "备注", "remark"),
    "image_before": ("image_before", "QSX", "前时相"),
    "image_after": ("image_after", "HSX", "后时相"),
    "confidence": ("confidence", "置信度"),
    "farmland": ("farmland", "SFYN"),
    "redline": ("redline", "SFHX"),
    "vendor_status": ("vendor_status", "status", "状态"),
    "photos": ("photos", "images", "imagesJson", "pictures", "照片"),
    "device": ("deviceSn", "sn", "droneSn"),
    "lon": ("longitude", "lon", "lng", "经度"),
    "lat": ("latitude", "lat", "纬度"),
    "datum": ("coordType", "coordinateSystem", "坐标系", "srs"),
    "accuracy_m": ("accuracy_m", "accuracy"),
}
"""The field, and every name by which it is known (a table of a real database of satellite changes, patrol apps, detectors). Whatever is not here is not
taken over: names and telephone numbers of those concerned (当事人) least of all.
"""


def plain(name: str) -> str:
    """A name as it is compared."""
    return "".join(name.lower().replace("_", "").split())


FIELD_OF = {plain(name): field for field, names in NAMES.items() for name in names}

ORIGINS: Mapping[str, tuple[str, ...]] = {
    "satellite": ("satellite", "卫星", "遥感", "卫片", "图斑"),
    "drone": ("drone", "uav", "无人机"),
    "camera": ("camera", "ai", "视频", "高点", "铁塔"),
    "hotline": ("hotline", "12345", "热线", "举报"),
    "manual": ("manual", "巡查", "人工", "app", "网格员"),
}
STAGES: Mapping[str, tuple[str, ...]] = {
    "under_construction": ("在建", "未建成", "under_construction", "building", "施工"),
    "built": ("建成", "built", "已建", "finished"),
}
# The first word that occurs counts.
CLASSES: Mapping[str, tuple[str, ...]] = {
    "farmland": ("占用耕地", "基本农田", "耕地"),
    "added_storey": ("加层", "加盖"),
    "roof": ("顶楼", "楼顶"),
    "outward": ("外扩", "扩建"),
    "enclosure": ("圈占", "圈地"),
    "without_permit": ("未批先建", "无证"),
    "beyond_permit": ("少批多建", "超批"),
    "overdue": ("临时建筑超期", "超期"),
    "steel_sheet": ("彩钢",),
    "wall": ("围墙",),
    "standing": ("存量",),
    "new": ("新增", "new_construction", "新建"),
}
# Codes of TBLX that mean something built; other codes are changes of the ground.
CODES: Mapping[str, str] = {"20": "new", "gf": "new"}
OTHER = "other"

SIGNALS: Mapping[Signal, tuple[str, ...]] = {
    Signal.ENDS: (
        *("excluded", "archived", "rectified", "closed", "排除", "已拆除", "销号", "归档", "已整改", "不属实"),
        *("结案", "销案", "已关闭"),
    ),
    Signal.BEGINS: ("pending", "reported", "new", "待核查", "上报", "疑似"),
    Signal.GOES_ON: ("inspecting", "confirmed", "rectifying", "核查", "认定", "整改中", "处置中", "复核"),
}
# Before or behind a word: it is not so, or not yet. A ticket that is closed wrongly is seen by nobody; one that stays open, by its owner.
_NOT_BEFORE = re.compile(r"(?:未|不|不予|无法|待|拟|准备|申请|部分|not|yet|un|non|pending|tobe|partly|partially)$")
_NOT_BEHIND = re.compile(r"[\W_]*(?:未|不|待|中|审|申请|失败|驳回|pending|review|rejected|failed)")
SHORT = 3
YES, NO = frozenset({"1", "true", "y", "yes", "是"}), frozenset({"0", "false", "n", "no", "否"})
M2_PER_MU = 666.667


def word_of(table: Mapping[str, tuple[str, ...]], text: str) -> str:
    """The first entry of which a word occurs in the text, and is not denied there; empty for none."""
    return next((key for key, words in table.items() if any(_denied(text, word) is False for word in words)), "")


def signal_of(status: str) -> Signal:
    """What a vendor's status says of its case; a message without one begins it. An end that is denied, or still to come, is none."""
    ends = [_denied(status, word) for word in SIGNALS[Signal.ENDS]]
    if False in ends:
        return Signal.ENDS
    if True in ends:
        return Signal.GOES_ON
    return next(
        (signal for signal, words in SIGNALS.items() if any(_denied(status, word) is not None for word in words)),
        Signal.BEGINS,
    )


def _denied(text: str, word: str) -> bool | None:
    """Whether every place where the text has the word denies it; None where it has it nowhere. A short Latin word (AI, APP) must be one by itself."""
    said = text.lower()
    pattern = re.escape(word)
    if word.isascii() and len(word) <= SHORT:
        pattern = f"(?<![a-z]){pattern}(?![a-z])"
    found = [
        bool(_NOT_BEFORE.search(re.sub(r"[\W_]", "", said[: place.start()])) or _NOT_BEHIND.match(said[place.end() :]))
        for place in re.finditer(pattern, said)
    ]
    return all(found) if found else None
