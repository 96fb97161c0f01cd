"""What the page says, in both languages; each text stands here once, by its name."""

from collections.abc import Mapping
from enum import StrEnum

from hub.lang import Text


class Lamp(StrEnum):
    """What a ticket wants of whoever looks, the most pressing first. Never shown by colour alone: each has a shape and a word."""

    OVERDUE = "overdue"  # its deadline has passed
    URGENT = "urgent"  # it is open, and its rule says urgent
    SOON = "soon"  # four fifths of its time are used
    NORMAL = "normal"
    CLEARED = "cleared"


class Health(StrEnum):
    """How a device is, as far as it was heard."""

    SILENT = "silent"  # longer not heard than its feed allows
    FAULT = "fault"  # heard last with something that could not be read
    NEVER = "never"
    HEARD = "heard"
    ON_CALL = "on_call"  # a feed that speaks only when there is something


LAMPS: Mapping[str, Text] = {
    Lamp.OVERDUE: Text("Overdue", "超期"),
    Lamp.URGENT: Text("Urgent", "紧急"),
    Lamp.SOON: Text("Due soon", "将到期"),
    Lamp.NORMAL: Text("Normal", "一般"),
    Lamp.CLEARED: Text("Cleared", "已解除"),
}
HEALTH: Mapping[str, Text] = {
    Health.SILENT: Text("Silent", "失联"),
    Health.FAULT: Text("Unreadable", "报文异常"),
    Health.NEVER: Text("Never heard", "从未上报"),
    Health.HEARD: Text("Heard", "在线"),
    Health.ON_CALL: Text("On call", "按需上报"),
}
FEEDS: Mapping[str, Text] = {
    "air": Text("Air station", "空气站点"),
    "camera": Text("Camera", "摄像头"),
    "patrol": Text("Patrol", "巡查设备"),
}
KINDS: Mapping[str, Text] = {
    "air.pm10.over_limit": Text("PM10 above its limit", "PM10 超标"),
    "air.pm25.over_limit": Text("PM2.5 above its limit", "PM2.5 超标"),
    "air.device_alarm": Text("Alarm of a station", "站点报警"),
    "camera.smoke": Text("Smoke", "烟雾"),
    "camera.fire": Text("Fire", "火点"),
    "camera.temperature": Text("Heat", "温度异常"),
    "camera.temperature_note": Text("Warmth", "温度预警"),
    "camera.dust": Text("Dust", "扬尘"),
    "camera.bare_soil": Text("Bare soil", "裸土未覆盖"),
    "camera.muck_truck": Text("Muck truck", "渣土车"),
    "camera.helmet": Text("No safety helmet", "未戴安全帽"),
    "camera.vest": Text("No safety vest", "未穿反光衣"),
    "camera.intrusion": Text("Intrusion", "越界入侵"),
    "camera.motion": Text("Movement", "移动侦测"),
    "camera.vehicle": Text("Vehicle", "车辆"),
    "camera.trouble": Text("Trouble of a camera", "摄像头故障"),
    "camera.io": Text("Wired alarm", "开关量报警"),
    "patrol.illegal_building": Text("Illegal building", "疑似违建"),
}
STATES: Mapping[str, Text] = {"open": Text("Open", "未解除"), "cleared": Text("Cleared", "已解除")}
SORTS: Mapping[str, Text] = {
    "lamp": Text("Most pressing first", "按紧急程度"),
    "newest": Text("Newest first", "最新优先"),
    "oldest": Text("Oldest first", "最早优先"),
    "updated": Text("Last updated first", "最近更新优先"),
    "alerts": Text("Most alerts first", "按预警次数"),
}

SAID: Mapping[str, Text] = {
    "product": Text("Grid hub", "网格事件中枢"),
    "tickets": Text("Tickets", "工单"),
    "devices": Text("Devices", "设备"),
    "towns": Text("Towns", "乡镇"),
    "town": Text("Town", "乡镇"),
    "choose_town": Text("Choose a town", "选择乡镇"),
    "go": Text("Go", "前往"),
    "skip": Text("Skip to the list", "跳到工单列表"),
    "other_language": Text("中文", "English"),
    "reload": Text("Reload", "刷新"),
    "live": Text("Live", "实时"),
    "disconnected": Text("Disconnected since", "连接中断，始于"),
    "kafka_away": Text("Kafka is away; all this is as of", "后台 Kafka 无响应，数据截至"),
    "semicolon": Text("; ", "；"),
    "comma": Text(", ", "，"),
    "kafka_waiting": Text("Waiting for Kafka; nothing is known yet.", "正在等待 Kafka，尚无数据。"),
    "reading": Text("Reading what is there", "正在读取已有记录"),
    "open_tickets": Text("open tickets", "未解除工单"),
    "urgent_tickets": Text("urgent or overdue", "紧急或超期"),
    "opened_today": Text("opened today", "今日新开"),
    "cleared_today": Text("cleared within 24\u00a0h", "24 小时内解除"),
    "devices_heard": Text("devices heard", "设备在线"),
    "devices_silent": Text("devices silent", "设备失联"),
    "map": Text("Map", "地图"),
    "map_of": Text("Map of open tickets", "未解除工单地图"),
    "no_map": Text("There is no map of this town yet.", "尚无该乡镇的地图。"),
    "not_on_map": Text("without a place", "张工单位置未知，不在地图上"),
    "zoom_in": Text("Zoom in", "放大"),
    "zoom_out": Text("Zoom out", "缩小"),
    "whole": Text("Whole town", "全镇"),
    "layers": Text("Layers", "图层"),
    "layer_devices": Text("Devices", "设备"),
    "layer_sites": Text("Places", "单位企业"),
    "layer_cells": Text("Grid cells", "单元网格"),
    "site_enterprise": Text("Enterprise", "企业"),
    "site_unit": Text("Unit", "驻镇单位"),
    "filters": Text("Filters", "筛选"),
    "search": Text("Search", "搜索"),
    "search_hint": Text("Number, place, person, device", "编号、地点、人员、设备"),
    "kind": Text("Kind", "类别"),
    "state": Text("State", "状态"),
    "owner": Text("Owner", "责任人"),
    "village": Text("Village", "村（社区）"),
    "sort": Text("Order", "排序"),
    "all": Text("All", "全部"),
    "apply": Text("Apply", "应用"),
    "reset": Text("Reset", "清除筛选"),
    "nothing": Text("No ticket is as you asked.", "没有符合条件的工单。"),
    "nothing_open": Text("Nothing is open.", "当前没有未解除的工单。"),
    "previous": Text("Previous", "上一页"),
    "next": Text("Next", "下一页"),
    "page_of": Text("Page", "页"),
    "alerts_n": Text("alerts", "次预警"),
    "open_for": Text("open for", "已持续"),
    "back": Text("All tickets", "返回列表"),
    "number": Text("Number", "编号"),
    "class": Text("Class", "分类"),
    "opened": Text("Opened", "开立"),
    "updated": Text("Last step", "最近更新"),
    "cleared": Text("Cleared", "解除"),
    "due": Text("Due", "期限"),
    "whose": Text("Whose", "谁负责"),
    "why": Text("Why", "为什么"),
    "where": Text("Where", "在哪里"),
    "history": Text("History", "经过"),
    "evidence": Text("Pictures", "现场图片"),
    "device": Text("Device", "来源设备"),
    "chain": Text("Chain of duty", "责任链"),
    "responsible": Text("responsible now", "当前负责"),
    "nobody": Text("nobody on duty", "空缺"),
    "centre_takes": Text("takes what nobody else does", "无人负责时由中心派遣"),
    "rule": Text("Rule", "规则"),
    "not_known_why": Text(
        "Its opening lies farther back than this page has read. gridhub explain tells it:",
        "开立时间早于本页读取的范围，可用 gridhub explain 查看：",
    ),
    "alerts_behind": Text("What was reported", "上报内容"),
    "rule_limit": Text("opens when a mean is above", "均值超过即开单："),
    "rule_alarm": Text("opens on an alert of a device", "收到设备预警即开单"),
    "rule_clear": Text("clean means end it", "个正常均值后解除"),
    "rule_quiet": Text("min of silence end it", "分钟无新预警后解除"),
    "mean_of": Text("min mean", "分钟均值"),
    "cell": Text("Grid cell", "单元网格"),
    "grid": Text("Duty grid", "责任网格"),
    "grid_special": Text("special", "专属"),
    "place": Text("Place", "位置"),
    "place_of_cell": Text("shown at the middle of its cell", "图上显示在所属单元网格中心"),
    "converted": Text("came in", "原始坐标系"),
    "vendor": Text("Vendor", "厂商"),
    "case": Text("Vendor's case", "厂商案件号"),
    "last_heard": Text("Last heard", "最近上报"),
    "feed": Text("Kind", "类型"),
    "health": Text("Health", "状态"),
    "name": Text("Name", "名称"),
    "no_device": Text("No device: a person or a patrol reported it.", "无固定设备：由人员或巡查上报。"),
    "not_registered": Text("not registered", "未登记"),
    "gone": Text("There is no such ticket here", "没有这张工单"),
    "gone_more": Text(
        "It may have been cleared more than a day ago; gridhub explain tells its story.",
        "可能已解除超过一天，可用 gridhub explain 查看经过。",
    ),
    "no_town": Text("There is no such town here", "没有这个乡镇"),
    "not_found": Text("There is nothing here", "页面不存在"),
    "defect": Text("This page could not be made. The log tells why.", "页面生成失败，原因见日志。"),
    "registry_none": Text(
        "There is no registry yet: gridhub registry import makes one.", "尚无登记表：请运行 gridhub registry import。"
    ),
    "unknown_town": Text("Place not in any town", "不在任何乡镇"),
    "legend": Text("Legend", "图例"),
}
