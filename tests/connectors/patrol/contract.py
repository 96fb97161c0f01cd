"""GeoJSON and flat JSON over HTTP for the contract of connectors."""

import json
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from connectors.patrol.serve import PatrolSource
from connectors.patrol.settings import PatrolSettings
from hub.connector import Source
from hub.core.registry import Device, Vendor
from hub.evidence import Evidence
from hub.settings import HostPort
from tests.connectors.contract import http
from tests.connectors.contract.cases import Case, Contract
from tests.connectors.patrol.test_features import FLAT, RING, SHIPPED, SPOT, TOWN, VENDOR, body, collection

KEY, OLD_KEY, OTHER_KEY = "a-key-of-the-test", "a-key-of-the-past", "a-key-of-another"
JSON = "application/json"
TOPIC = "alerts.patrol"
MOST = 256 * 1024
DRONE = Device(id="uav-1", mn="UAV-1", vendor=VENDOR.id, feed="patrol", town=TOWN)
OTHERS = replace(DRONE, id="uav-2", mn="UAV-2", vendor="someone")
OURS = replace(VENDOR, per_s=10_000, keys=(http.key(KEY), http.key(OLD_KEY, ends=1)))
ELSEWHERE = Vendor(id="elsewhere", name="E", feeds=frozenset({"camera"}), keys=(http.key(OTHER_KEY),))
REGISTRY = replace(SHIPPED, version=1, devices=(DRONE, OTHERS), vendors=(OURS, ELSEWHERE))
NOWHERE = {**SPOT, "geometry": {"type": "Polygon", "coordinates": [[[1, 2]]]}}
# A spiral of ever more corners within the town: a good polygon, but for its size.
LONG = [[113.92 + at * 1e-9, 34.69 + (at % 2) * 1e-7] for at in range(8_000)]


def source(folder: Path, hasty: bool) -> Source:
    """On any free port, with an evidence store in the folder."""
    times = {"header_timeout_s": 0.3, "body_timeout_s": 0.3} if hasty else {}
    settings = PatrolSettings.model_validate(
        {"listen": HostPort(host="127.0.0.1", port=0), "max_body": MOST, "max_pending_bytes": 8 * MOST, **times}
    )
    return PatrolSource(settings, Evidence(folder))


def pushed(content: Any, content_type: str = JSON, key: str = KEY, headers: Mapping[str, str] | None = None) -> bytes:
    return http.request(
        "/in/patrol", body(content), content_type, {"Authorization": f"Bearer {key}", **(headers or {})}
    )


def nothing(name: str, content: Any, reason: str) -> Case:
    """Of a body of which nothing can be read the sender is told."""
    return Case(name=name, sent=pushed(content), letters=(reason,), answers=("400",))


def broken(name: str, content: Any, reason: str) -> Case:
    """A feature that cannot be used is kept, and its sender need not send it again."""
    return Case(name=name, sent=pushed(content), letters=(reason,), answers=("200",))


def unauthorized(name: str, key: str) -> Case:
    """What has no valid key is no message."""
    return Case(name=name, sent=pushed(FLAT, key=key), unheard=True, answers=("401",))


CONTRACT = Contract(
    feed="patrol",
    source=source,
    port="http",
    registry=REGISTRY,
    registry_later=replace(REGISTRY, version=2, devices=(DRONE, replace(OTHERS, vendor=VENDOR.id))),
    answers=http.statuses,
    accept=(
        Case(name="a spot of a satellite", sent=pushed(collection(SPOT)), records=(TOPIC,), answers=("200",)),
        Case(name="flat JSON of an app", sent=pushed(FLAT), records=(TOPIC,), answers=("200",)),
        Case(
            name="with blanks and a mark of byte order",
            sent=pushed(b"\xef\xbb\xbf" + json.dumps({**FLAT, "code": "WJ2"}, indent=2).encode()),
            records=(TOPIC,),
            answers=("200",),
        ),
    ),
    empty=None,
    refuse=(
        nothing("no JSON", b'{"features": [', "syntax"),
        nothing("a number that JSON does not have", b'{"longitude": NaN}', "syntax"),
        nothing("no feature in it", collection(), "syntax"),
        nothing("neither UTF-8 nor GB 18030", b'{"a": "\xff\xff"}', "syntax"),
        nothing("too deep", b"[" * 50 + b"]" * 50, "too_large"),
        nothing("too many features", [{}] * 1001, "too_large"),
        broken("no object", b" 3 ", "syntax"),
        broken("half a character", b'{"code": "\\ud800", "longitude": 113.92, "latitude": 34.69}', "schema"),
        broken("a polygon of one point", json.dumps(NOWHERE, indent=1).encode(), "syntax"),
        broken("a datum that nobody knows", {**FLAT, "coordType": "xian80"}, "datum"),
        broken("a place far away", {**FLAT, "longitude": 121.47, "latitude": 31.23}, "outside_area"),
        Case(
            name="a broken feature between good ones",
            sent=pushed(
                json.dumps(collection(SPOT, NOWHERE, FLAT), ensure_ascii=False, separators=(",", ":")).encode()
            ),
            records=(TOPIC, TOPIC),
            letters=("syntax",),
            answers=("200",),
        ),
        Case(name="a media type that is none of ours", sent=pushed("x", "image/png"), refused=1, answers=("415",)),
        Case(
            name="a body that breaks off",
            sent=pushed(b"{", headers={"Content-Length": "100"}),
            refused=1,
        ),
    ),
    wrong_key=(
        unauthorized("a key that nobody has", "wrong"),
        unauthorized("no key", ""),
        unauthorized("a key for another feed", OTHER_KEY),
        unauthorized("a key that has ended", OLD_KEY),
    ),
    several=Case(name="two features", sent=pushed(collection(SPOT, FLAT)), records=(TOPIC, TOPIC), answers=("200",)),
    stranger=broken("a drone of another vendor", {**FLAT, "code": "WJ3", "deviceSn": "UAV-2"}, "not_yours"),
    too_large=Case(name="a body above max_body", sent=pushed(b"x" * (MOST + 1)), refused=1, answers=("413",)),
    slow=Case(name="half a body, and silence", sent=pushed(FLAT)[:-40], refused=1, answers=("408",)),
    hostile=(
        *http.HOSTILE,
        ("deep JSON", pushed(b"[" * 200_000)),
        ("deep objects", pushed(b'{"a":' * 40_000)),
        ("a number as long as a body", pushed(b'{"longitude": ' + b"9" * 200_000 + b"}")),
        ("a name as long as a body", pushed({"a" * 200_000: 1})),
        ("the same name again and again", pushed(b"{" + b'"code":1,' * 20_000 + b'"code":1}')),
        ("a line of many corners", pushed({"type": "LineString", "coordinates": LONG})),
        (
            "a ring that crosses itself everywhere",
            pushed({"type": "Polygon", "coordinates": [[*LONG[:2_000], LONG[0]]]}),
        ),
        ("coordinates of everything", pushed({"type": "Polygon", "coordinates": {"a": [None, True, "x", [], {}]}})),
        ("numbers without end", pushed(b'{"longitude": 1e999, "latitude": -1e999}')),
        ("chunks that lie", pushed(b"", headers={"Transfer-Encoding": "chunked"}) + b"ffffffff\r\nx"),
        ("rings within rings", pushed({"type": "Polygon", "coordinates": [RING] * 1_000})),
    ),
    away=("503",),
)
