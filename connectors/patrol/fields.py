"""What patrols call things: tables of names, codes and words. Names are compared without case, blanks and underscores."""

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
    "manual": ("manual", "巡查", "人工", "app", "网格员"),
    "hotline": ("hotline", "12345", "热线", "举报"),
}
STAGES: Mapping[str, tuple[str, ...]] = {
    "under_construction": ("在建", "under_construction", "building", "施工"),
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
    Signal.ENDS: ("excluded", "archived", "rectified", "closed", "排除", "已拆除", "销号", "归档", "已整改", "不属实"),
    Signal.GOES_ON: ("inspecting", "confirmed", "rectifying", "核查", "认定", "整改中", "处置中", "复核"),
    Signal.BEGINS: ("pending", "reported", "new", "待核查", "上报", "疑似"),
}
YES, NO = frozenset({"1", "true", "y", "yes", "是"}), frozenset({"0", "false", "n", "no", "否"})
M2_PER_MU = 666.667


def word_of(table: Mapping[str, tuple[str, ...]], text: str) -> str:
    """The entry of which a word occurs in the text; empty for none."""
    said = text.lower()
    return next((key for key, words in table.items() if any(word in said for word in words)), "")


def signal_of(status: str) -> Signal:
    """What a vendor's status says of its case; a message without one begins it."""
    said = status.lower()
    return next((signal for signal, words in SIGNALS.items() if any(word in said for word in words)), Signal.BEGINS)
