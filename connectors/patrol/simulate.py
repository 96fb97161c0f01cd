"""Patrols that push real bytes: satellite spots, drones, inspectors with a phone; with their troubles: `python -m connectors.patrol.simulate`."""

import argparse
import json
import sys
from collections.abc import Callable, Iterator, Mapping
from datetime import UTC, datetime, timedelta, timezone
from random import Random
from typing import Any

from connectors.patrol.translate import FEED
from hub.core import datum as datums
from hub.core.registry import Registry, Site
from hub.lang import Text
from hub.simulation import Message, Sender, main

PORT = 8101
DEMO_KEY = "demo-{vendor}-key"
BEIJING = timezone(timedelta(hours=8))
PATH = "/in/patrol"
METRE = 1 / 111_000
SIZES_M = (12, 40)
KINDS = ("新增违建", "加层（加盖）", "彩钢房", "围墙/圈地", "占用耕地", "未批先建")
STATUSES = ("PENDING", "INSPECTING", "CONFIRMED", "EXCLUDED", "ARCHIVED")
AGAIN_SHARE = 0.3


class Spots:
    """What there is to find: places around the town's known sites, the same for the same seed."""

    def __init__(self, registry: Registry, chance: Random, sender: int) -> None:
        """`sender`: which of a vendor's senders it is, the first part of every number."""
        self._sender = sender
        self._sites = registry.sites or (Site(id="", name="", kind="unit", town="", lon=113.92, lat=34.69),)
        self._chance = chance
        self._number = 0

    def new(self) -> tuple[str, float, float]:
        """A number, and a place, WGS 84."""
        self._number += 1
        site = self._chance.choice(self._sites)
        move = [self._chance.uniform(-250, 250) * METRE for _ in range(2)]
        return f"{self._sender}{self._number:04}", site.lon + move[0], site.lat + move[1]


def _square(lon: float, lat: float, side_m: float) -> list[list[float]]:
    half = side_m * METRE / 2
    corners = [(-half, -half), (half, -half), (half, half), (-half, half), (-half, -half)]
    return [[round(lon + x, 7), round(lat + y, 7)] for x, y in corners]


def _spot(number: str, lon: float, lat: float, chance: Random, now: datetime) -> dict[str, Any]:
    """A change that a satellite saw, CGCS2000."""
    side = chance.uniform(*SIZES_M)
    name = f"410122-{now:%Y%m}-{number}"
    return {
        "type": "Feature",
        "id": name,
        "geometry": {"type": "Polygon", "coordinates": [_square(lon, lat, side)]},
        "properties": {
            "JCBH": name,
            "TBLX": "20",
            "TZ": chance.choice(KINDS),
            "QSX": f"{now - timedelta(days=60):%Y%m%d}",
            "HSX": f"{now - timedelta(days=2):%Y%m%d}",
            "MJ": round(side * side, 1),
            "XZQDM": "410122",
            "confidence": round(chance.uniform(0.6, 0.99), 2),
            "source": "satellite",
            # Nobody here needs them: they are not taken over.
            "当事人": "张某",
            "联系电话": "13800138000",
        },
    }


def _collection(*features: Mapping[str, Any]) -> dict[str, Any]:
    crs = {"type": "name", "properties": {"name": "urn:ogc:def:crs:EPSG::4490"}}
    return {"type": "FeatureCollection", "crs": crs, "features": list(features)}


def _flat(
    number: str, lon: float, lat: float, chance: Random, now: datetime, device: str, status: str
) -> dict[str, Any]:
    """What an inspector's or a drone's program sends: flat, GCJ-02, numbers as text, a list inside a text."""
    x, y = datums.to_gcj02(lon, lat)
    return {
        "code": f"WJ{now:%Y%m%d}{number}",
        "issueType": chance.choice(KINDS),
        "longitude": f"{x:.6f}",
        "latitude": f"{y:.6f}",
        "coordType": "gcj02",
        "address": "郑庵镇",
        "deviceSn": device,
        "source": "无人机" if device else "人工",
        "stage": chance.choice(("在建", "建成")),
        "status": status,
        "imagesJson": '["https://img.example/1.jpg"]',
        "foundAt": f"{now:%Y-%m-%dT%H:%M:%S}",
    }


def _message(content: Any, key: str, expect: str = "alert", trouble: str = "", sendings: int = 1) -> Message:
    body = content if isinstance(content, bytes) else json.dumps(content, ensure_ascii=False).encode()
    return Message(
        path=PATH,
        body=body,
        content_type="application/json",
        expect=expect,
        trouble=trouble,
        sendings=sendings,
        key=key,
    )


def _troubles(flat: dict[str, Any], spot: dict[str, Any], key: str) -> list[Message]:
    swapped = {**flat, "longitude": flat["latitude"], "latitude": flat["longitude"]}
    open_ring = {**spot, "geometry": {"type": "Polygon", "coordinates": [spot["geometry"]["coordinates"][0][:-1]]}}
    bow_tie = {
        **spot,
        "geometry": {
            "type": "Polygon",
            "coordinates": [[spot["geometry"]["coordinates"][0][i] for i in (0, 2, 1, 3, 0)]],
        },
    }
    line = {
        **spot,
        "geometry": {"type": "Polygon", "coordinates": [[spot["geometry"]["coordinates"][0][i] for i in (0, 1, 0)]]},
    }
    far = {**flat, "longitude": "121.47", "latitude": "31.23"}
    return [
        _message(swapped, key, trouble="axes swapped"),
        _message(_collection(open_ring), key, trouble="ring not closed"),
        _message(_collection(bow_tie), key, trouble="ring crosses itself"),
        _message(_collection(line), key, "dead-letter", "no area"),
        _message(far, key, "dead-letter", "far away"),
        _message({**flat, "coordType": "EPSG:4610"}, key, "dead-letter", "datum of long ago"),
        _message({**flat, "foundAt": "1970-01-01 08:00:00"}, key, trouble="year 1970"),
        _message(json.dumps(flat, ensure_ascii=False).encode("gb18030"), key, trouble="gbk"),
        _message(json.dumps(flat).encode()[:-9], key, "problem", "cut"),
        _message(flat, key, trouble="sent again", sendings=2),
    ]


def messages(
    device: str, key: str, spots: Spots, chance: Random, interval_s: float, troubles: float, now: Callable[[], datetime]
) -> Iterator[tuple[float, Message]]:
    """What one sender pushes: satellite batches where `device` is empty, else what it finds, and now and then more about it."""
    told: list[tuple[str, float, float]] = []
    first = True
    while True:
        wait_s = chance.uniform(0, interval_s) if first else interval_s * chance.uniform(0.5, 1.5)
        first = False
        again = told and chance.random() < AGAIN_SHARE
        number, lon, lat = chance.choice(told) if again else spots.new()
        if not again:
            told.append((number, lon, lat))
        status = chance.choice(STATUSES) if again else STATUSES[0]
        flat = _flat(number, lon, lat, chance, now(), device, status)
        spot = _spot(number, lon, lat, chance, now())
        if chance.random() < troubles:
            yield wait_s, chance.choice(_troubles(flat, spot, key))
        elif device:
            yield wait_s, _message(flat, key)
        else:
            more = [_spot(*spots.new(), chance, now()) for _ in range(chance.randrange(2))]
            yield wait_s, _message(_collection(spot, *more), key)


def senders(registry: Registry, options: argparse.Namespace) -> list[Sender]:
    """The registered patrol devices of each vendor, and a satellite service beside them."""
    devices = [device for device in registry.devices if device.feed == FEED][: options.devices]

    def now() -> datetime:
        return datetime.now(UTC).astimezone(BEIJING)

    made = []
    services = [("", vendor) for vendor in dict.fromkeys(device.vendor for device in devices)]
    for sender, (name, vendor) in enumerate([(device.mn, device.vendor) for device in devices] + services):
        chance = Random(f"{options.seed}/{name}")
        key = options.key or DEMO_KEY.format(vendor=vendor)
        spots = Spots(registry, chance, sender)
        own = messages(name, key, spots, chance, options.interval, options.troubles, now)
        made.append(Sender(name or f"{vendor}-satellite", own))
    return made


if __name__ == "__main__":
    about = Text("Simulated patrols of buildings that push over HTTP.", "模拟违建巡查平台，通过 HTTP 推送。")
    sys.exit(main(FEED, PORT, about, senders, sys.argv[1:]))
