"""The simulated stations against a platform of the test's own: it knows of HJ 212 only what stands in this file."""

import asyncio
import contextlib
import json
import re
import signal
import sys
from collections import Counter, defaultdict
from collections.abc import Awaitable, Callable
from datetime import datetime, timedelta
from decimal import Decimal
from itertools import combinations, groupby, pairwise
from pathlib import Path
from typing import Any, TypeVar

import pytest
from kafka.partitioner.default import murmur2

from connectors.air.simulate.__main__ import Tally, main, simulate
from connectors.air.simulate.line import Manners
from connectors.air.simulate.log import Log
from connectors.air.simulate.station import Station, generation_of
from connectors.air.simulate.troubles import TROUBLES
from connectors.air.simulate.upload import BEIJING, Upload
from connectors.air.simulate.weather import EPISODE_EVERY_S, LIMITS, Episodes, WholePeriods, as_sent
from hub.core.registry import Device, SentUnit
from hub.registry_check import load
from hub.settings import HostPort
from hub.shipped import shipped

ZHENGAN = "410122106"
HEADER = re.compile(rb"QN=([^;]*);ST=[^;]*;CN=[^;]*;PW=[^;]*;MN=([^;]*);Flag=(\d+);")
Result = TypeVar("Result")
MORNING = datetime(2026, 3, 2, 7, 55, tzinfo=BEIJING)


def register() -> list[Device]:
    return list(load(shipped("deploy/town")).by_mn("air").values())


def crc(segment: bytes) -> int:
    """CRC16 as HJ 212-2017 annex A describes it."""
    value = 0xFFFF
    for byte in segment:
        value = (value >> 8) ^ byte
        for _ in range(8):
            value = (value >> 1) ^ 0xA001 if value & 1 else value >> 1
    return value


class Platform:
    """Answers 9014 to whatever carries a QN and asks for it, unless `ignores` (times heard, number of the connection) says no."""

    def __init__(self, ignores: Callable[[int, int], bool] = lambda *_: False) -> None:
        self.heard: Counter[tuple[bytes, bytes]] = Counter()
        self.connections: list[bytes] = []
        self.on_bytes: Callable[[bytes], None] = lambda _: None
        self._ignores = ignores

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(ConnectionError):  # a station that ends at once leaves answers unread
            await self._talk(reader, writer)
        writer.close()

    async def _talk(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number = len(self.connections)
        self.connections.append(b"")
        rest = b""
        while chunk := await reader.read(65536):
            self.connections[number] += chunk
            self.on_bytes(chunk)
            rest += chunk
            while found := HEADER.search(rest):
                rest = rest[found.end() :]
                qn, mn, flag = found.groups()
                self.heard[mn, qn] += 1
                if int(flag) & 1 and not self._ignores(self.heard[mn, qn], number):
                    segment = b"QN=%b;ST=91;CN=9014;PW=123456;MN=%b;Flag=4;CP=&&&&" % (qn, mn)
                    writer.write(b"##%04d%b%04X\r\n" % (len(segment), segment, crc(segment)))
                    await writer.drain()


def run(
    platform: Platform,
    log: Path,
    *,
    devices: int = 3,
    messages: int = 30,
    seed: int = 7,
    troubles: float = 0.0,
    period_s: int | None = None,
    clock: Callable[[], datetime] | None = None,
    **manners: float,
) -> tuple[Tally, list[dict[str, Any]]]:
    """A whole simulation against the platform: the tally and the lines of the log."""

    async def against(port: int) -> Tally:
        with log.open("w", encoding="utf-8") as file:
            return await simulate(
                register()[:devices],
                HostPort(host="127.0.0.1", port=port),
                seed=seed,
                troubles=troubles,
                messages=messages,
                manners=Manners(interval_s=0, **manners),  # type: ignore[arg-type]
                log=Log(file),
                period_s=period_s,
                **({"clock": clock} if clock else {}),
            )

    return asyncio.run(served(platform, against)), lines_of(log)


async def served(platform: Platform, work: Callable[[int], Awaitable[Result]]) -> Result:
    async with asyncio.timeout(60), await asyncio.start_server(platform, "127.0.0.1", 0) as server:
        return await work(server.sockets[0].getsockname()[1])


def lines_of(log: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in log.read_text(encoding="utf-8").splitlines()]


def sent(lines: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [line for line in lines if line["what"] == "sent"]


def attempts(lines: list[dict[str, Any]]) -> dict[tuple[str, int], list[dict[str, Any]]]:
    """The sent lines of each message."""
    of: dict[tuple[str, int], list[dict[str, Any]]] = defaultdict(list)
    for line in sent(lines):
        of[line["device"], line["n"]].append(line)
    return of


def station(device: Device, *, seed: int = 7, troubles: float = 0.0) -> Station:
    return Station(device, seed, troubles, Episodes.among(seed, register()), lambda: MORNING)


def spoken(device: Device, count: int, *, seed: int = 7, troubles: float = 0.0) -> list[Upload]:
    one = station(device, seed=seed, troubles=troubles)
    return [upload for _ in range(count) for upload in one.next()]


# The register of the demo town


def test_the_demo_town_has_forty_stations_in_twenty_four_towns_on_all_partitions() -> None:
    devices = register()
    towns = Counter(device.town for device in devices)
    assert len(devices) == 40
    assert len(towns) == 24
    assert towns.most_common(1)[0] == (ZHENGAN, 7)
    assert {(murmur2(town.encode()) & 0x7FFFFFFF) % 12 for town in towns} == set(range(12))


def test_the_demo_town_has_every_generation_unit_and_a_wrong_scale() -> None:
    devices = register()
    assert {generation_of(device).version for device in devices} == {0, 1, 2}
    assert {unit.unit for device in devices for unit in device.units.values()} >= {"ug/m3", "mg/m3", "ng/m3", "hPa"}
    assert {unit.scale for device in devices for unit in device.units.values()} == {Decimal(1), Decimal(10)}
    assert all(device.lon is not None and 113.5 < device.lon < 114.5 for device in devices)
    assert all(device.lat is not None and 34.4 < device.lat < 35.0 for device in devices)


# What stations say


def test_the_same_seed_says_the_same_and_another_does_not() -> None:
    for device in register()[:8]:
        first = [upload.raw for upload in spoken(device, 60, troubles=0.3)]
        assert [upload.raw for upload in spoken(device, 60, troubles=0.3)] == first
        assert [upload.raw for upload in spoken(device, 60, seed=8, troubles=0.3)] != first


def test_a_message_without_trouble_is_a_frame_of_the_standard() -> None:
    for device in register():
        for upload in spoken(device, 60):
            length, segment, tail = int(upload.raw[2:6]), upload.raw[6:-6], upload.raw[-6:]
            assert upload.raw.startswith(b"##")
            assert length == len(segment) <= 1024
            assert tail == b"%04X\r\n" % crc(segment)
            assert upload.wants_answer


def test_every_kind_of_message_is_sent_by_the_generation_that_has_it() -> None:
    kinds: dict[int, set[str]] = defaultdict(set)
    for device in register():
        for upload in spoken(device, 80):
            kinds[generation_of(device).version].add(upload.header["CN"])
            assert int(upload.header["Flag"]) >> 2 == generation_of(device).version
            assert "RF" not in upload.header or generation_of(device).version == 2
    usual = {"2011", "2051", "2061", "2031", "9015", "1013"}
    assert kinds == {0: usual | {"2072"}, 1: usual | {"9021"}, 2: usual}


def test_qns_rise_and_parts_of_a_split_message_follow_each_other() -> None:
    for device in register():
        uploads = spoken(device, 80)
        qns = [upload.header["QN"] for upload in uploads]
        assert qns == sorted(set(qns))
        for first, second in pairwise(uploads):
            if first.header.get("PNO") == "1":
                assert second.header.get("PNO") == "2"
                assert int(second.header["QN"]) == int(first.header["QN"]) + 1
                assert second.data_time == first.data_time
                assert not set(first.values) & set(second.values)


def test_numbers_count_messages_and_keep_to_the_limit() -> None:
    one = station(register()[0], troubles=1.0)
    taken = [upload for _ in range(50) for upload in one.next(1)]
    assert [upload.n for upload in taken] == list(range(1, 51))


def test_every_trouble_occurs_and_says_what_should_become_of_it() -> None:
    seen: dict[str, set[tuple[str, bool]]] = defaultdict(set)
    for device in register():
        for upload in spoken(device, 60, troubles=1.0):
            seen[upload.trouble].add((upload.expect, upload.wants_answer))
    assert set(seen) - {""} == set(TROUBLES)
    unanswered_faults = {"swapped_crc", "modbus_crc", "broken_off", "empty_mn"} | {
        name for name in TROUBLES if name.startswith("length_")
    }
    for name, outcomes in seen.items():
        if name in unanswered_faults:
            assert outcomes == {("dead-letter", False)}, name
        elif name in {"foreign_mn", "unfinished_body", "encrypted"}:
            assert outcomes == {("dead-letter", True)}, name
        elif name in {"ping", "modbus_frame", "hexadecimal_text"}:
            assert outcomes == {("nothing", False)}, name
        elif name in {"no_qn", "no_flag"}:
            assert outcomes == {("reading", False)}, name
        elif name == "unknown_factors":
            assert outcomes == {("empty", True)}
        elif name:
            assert outcomes == {("reading", True)}, name


def test_a_wrong_crc_is_never_the_right_one() -> None:
    for device in register():
        for upload in spoken(device, 60, troubles=1.0):
            if upload.trouble in {"swapped_crc", "modbus_crc"}:
                assert int(upload.raw[-6:-2], 16) != crc(upload.raw[6:-6])


def test_values_in_the_log_stand_on_the_wire() -> None:
    for device in register():
        for upload in spoken(device, 40, troubles=0.5):
            for name, text in upload.values.items():
                assert f"-{name.partition('-')[2]}={text}" in upload.body or name == "AlarmType"


def test_a_level_is_sent_in_the_unit_and_scale_of_the_register() -> None:
    assert as_sent("a34004", 75.0, SentUnit("ug/m3", Decimal(1))) == "75.0"
    assert as_sent("a34004", 75.0, SentUnit("mg/m3", Decimal(1))) == "0.0750"
    assert as_sent("a34004", 75.0, SentUnit("ng/m3", Decimal(1))) == "75000"
    assert as_sent("a34004", 75.0, SentUnit("ug/m3", Decimal(10))) == "7.5"
    assert as_sent("a01006", 101.3, SentUnit("hPa", Decimal(1))) == "1013.0"


@pytest.mark.parametrize("seed", range(20))
def test_the_first_episode_strikes_the_town_with_the_most_stations_within_minutes(seed: int) -> None:
    episodes = Episodes.among(seed, register())
    particles = [episodes.gain(ZHENGAN, "a34002", second) for second in range(int(EPISODE_EVERY_S))]
    assert max(particles) > 1.8
    assert particles[0] == particles[-1] == 1.0
    assert all(episodes.gain("410222101", "a34002", second) == 1.0 for second in range(int(EPISODE_EVERY_S)))


# Episodes in whole periods of a rule

START = MORNING.replace(second=3)


def whole_periods(seed: int, period_s: int = 10) -> WholePeriods:
    return WholePeriods.among(seed, register(), period_s, START)


def levels(weather: WholePeriods, town: str, code: str, period: int) -> list[float]:
    """What is measured in each second of the period, counted from the first whole one."""
    begins = datetime.fromtimestamp((weather.first + period) * weather.period_s, BEIJING)
    seconds = (begins + timedelta(seconds=second) for second in range(weather.period_s))
    return [weather.level(town, code, 60.0, at, (at - START).total_seconds()) for at in seconds]


@pytest.mark.parametrize("seed", range(8))
def test_the_mean_of_a_period_is_clearly_over_clearly_clean_or_the_limit_itself(seed: int) -> None:
    weather = whole_periods(seed)
    kinds: Counter[str] = Counter()
    for town in weather.towns:
        for code, limit in LIMITS.items():
            for period in range(40):
                measured = levels(weather, town, code, period)
                means = [sum(some) / 8 for some in combinations(measured, 8)]
                if set(measured) == {limit}:
                    kinds["limit"] += 1
                elif min(means) > 1.3 * limit:
                    kinds["over"] += min(measured) < limit
                else:
                    assert max(means) < 0.8 * limit
                    kinds["clean"] += max(measured) > limit
    assert kinds.total() == 24 * 2 * 40
    assert kinds["over"] > 150
    assert kinds["limit"] > 10


@pytest.mark.parametrize("seed", range(8))
def test_an_episode_lasts_two_to_four_periods_and_three_clean_ones_follow(seed: int) -> None:
    weather = whole_periods(seed)
    for town in weather.towns:
        over = [sum(levels(weather, town, "a34002", period)) / 10 > LIMITS["a34002"] for period in range(72)]
        runs = [(is_over, len(list(group))) for is_over, group in groupby(over)]
        assert runs[0][0] == (town == ZHENGAN)
        assert all(2 <= lasts <= 4 if is_over else lasts >= 3 for is_over, lasts in runs[:-1])
        assert sum(is_over for is_over, _ in runs) == 6


def test_the_first_town_is_over_from_the_start_for_two_whole_periods() -> None:
    weather = whole_periods(1)
    assert weather.first * 10 == START.timestamp() + 7
    for code, limit in LIMITS.items():
        now = [weather.level(ZHENGAN, code, 60.0, START + timedelta(seconds=after), after) for after in range(47)]
        assert sum(now[:27]) / 27 > 1.3 * limit
        assert sum(now[27:]) / 20 < 0.8 * limit
        assert weather.level(ZHENGAN, code, 60.0, START - timedelta(hours=1), -3600) == 60.0


def test_a_factor_without_a_limit_has_its_usual_level() -> None:
    assert whole_periods(1).level(ZHENGAN, "a21026", 11.0, START, 0) == 11.0


def test_stations_say_what_the_weather_of_the_period_is() -> None:
    """Also in their own units: at the limit the text is exactly that."""
    now = [START]
    weather = whole_periods(4)
    texts: dict[str, set[str]] = defaultdict(set)
    for device in register():
        one = Station(device, 4, 0.0, weather, lambda: now[0])
        for second in range(300):
            now[0] = START + timedelta(seconds=second)
            for upload in one.next():
                if upload.header["CN"] == "2011" and "RF" not in upload.header and "a34002-Rtd" in upload.values:
                    level = weather.level(device.town, "a34002", 60.0, now[0], second)
                    text = upload.values["a34002-Rtd"]
                    sent = device.units["a34002"]
                    size = {"mg/m3": 1000, "ug/m3": 1}[sent.unit]
                    assert float(text) * size * float(sent.scale) == pytest.approx(level, abs=2)
                    if level == LIMITS["a34002"]:
                        texts[sent.unit].add(text)
    assert texts["ug/m3"] == {"150.0"}
    assert "0.1500" in texts["mg/m3"]


# How they send it


def test_a_run_ends_by_itself_when_all_is_answered(tmp_path: Path) -> None:
    tally, lines = run(Platform(), tmp_path / "log", messages=31)
    assert tally.sent == tally.answered == 31
    assert tally.connected == tally.waiting == 0
    assert Counter(line["what"] for line in lines) == {"sent": 31, "answered": 31, "connected": 3, "closed": 3}


def test_two_runs_of_a_seed_send_the_same_bytes(tmp_path: Path) -> None:
    def bytes_of_a_run(name: str) -> dict[tuple[str, int], str]:
        _, lines = run(Platform(), tmp_path / name, messages=60, troubles=0.3, clock=lambda: MORNING)
        return {key: one[0]["raw"] for key, one in attempts(lines).items()}

    assert bytes_of_a_run("first") == bytes_of_a_run("second")


def test_what_is_not_answered_is_sent_again_with_the_same_bytes(tmp_path: Path) -> None:
    _, lines = run(Platform(lambda heard, _: heard < 3), tmp_path / "log", messages=6, timeout_s=0.2)
    for one in attempts(lines).values():
        assert [line["attempt"] for line in one] == [1, 2, 3]
        assert len({line["raw"] for line in one}) == 1
    assert len([line for line in lines if line["what"] == "answered"]) == 6


def test_after_the_last_resend_the_station_reconnects_and_goes_on_with_the_same_message(tmp_path: Path) -> None:
    platform = Platform(lambda _, connection: connection == 0)
    _, lines = run(platform, tmp_path / "log", devices=1, messages=2, timeout_s=0.2, resends=1)
    first, second = attempts(lines).values()
    assert [line["attempt"] for line in first] == [1, 2, 3]
    assert [line["attempt"] for line in second] == [1]
    assert platform.connections[1].startswith(bytes.fromhex(first[0]["raw"]))
    assert [line["what"] for line in lines if line["what"] != "sent"] == [
        "connected", "closed", "connected", "answered", "answered", "closed",
    ]  # fmt: skip


def test_an_answered_message_may_be_repeated_with_the_same_bytes(tmp_path: Path) -> None:
    tally, lines = run(Platform(), tmp_path / "log", messages=12, repeat=1.0)
    assert tally.sent == tally.answered == 24
    for key, one in attempts(lines).items():
        assert len({line["raw"] for line in one}) == 1
        story = [(line["what"], line["attempt"]) for line in lines if (line["device"], line.get("n")) == key]
        assert story == [("sent", 1), ("answered", 1), ("sent", 2), ("answered", 2)]


@pytest.mark.parametrize("share", [0.1, 0.3, 0.7])
def test_the_share_that_is_repeated_is_one_of_all_messages(tmp_path: Path, share: float) -> None:
    _, lines = run(Platform(), tmp_path / "log", devices=40, messages=1000, troubles=0.5, repeat=share)
    assert len({key for key, one in attempts(lines).items() if one[0]["qn"] is None}) > 20
    assert sum(len(one) == 2 for one in attempts(lines).values()) / 1000 == pytest.approx(share, abs=0.01)


def test_a_line_is_written_before_its_bytes_leave(tmp_path: Path) -> None:
    log = tmp_path / "log"
    platform = Platform()
    early: list[bytes] = []

    def check(chunk: bytes) -> None:
        logged = b"".join(bytes.fromhex(line["raw"]) for line in sent(lines_of(log)))
        if chunk not in logged:
            early.append(chunk)

    platform.on_bytes = check
    run(platform, log, devices=1, messages=20)
    assert early == []
    assert platform.connections[0] == b"".join(bytes.fromhex(line["raw"]) for line in sent(lines_of(log)))


def test_what_cannot_be_answered_is_sent_once(tmp_path: Path) -> None:
    _, lines = run(Platform(), tmp_path / "log", devices=40, messages=1200, troubles=1.0, repeat=1.0)
    answered = {(line["device"], line["n"]) for line in lines if line["what"] == "answered"}
    assert {line["trouble"] for line in sent(lines)} - {""} == set(TROUBLES)
    assert len(attempts(lines)) == 1200
    for key, one in attempts(lines).items():
        assert len(one) == (2 if key in answered else 1)
        if one[0]["expect"] == "nothing" or one[0]["qn"] is None:
            assert key not in answered


def test_a_platform_that_comes_late_is_waited_for(tmp_path: Path) -> None:
    async def late() -> Tally:
        idle = await asyncio.start_server(Platform(), "127.0.0.1", 0)
        port = idle.sockets[0].getsockname()[1]
        idle.close()
        await idle.wait_closed()
        with (tmp_path / "log").open("w", encoding="utf-8") as file:
            sending = asyncio.create_task(
                simulate(
                    register()[:2],
                    HostPort(host="127.0.0.1", port=port),
                    seed=1,
                    troubles=0,
                    messages=4,
                    manners=Manners(interval_s=0),
                    log=Log(file),
                )
            )
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(asyncio.shield(sending), 0.1)
            async with asyncio.timeout(30), await asyncio.start_server(Platform(), "127.0.0.1", port):
                return await sending

    assert asyncio.run(late()).answered == 4


def test_a_platform_that_closes_at_once_is_left_longer_and_longer_alone(tmp_path: Path) -> None:
    opened: list[float] = []
    enough = asyncio.Event()

    async def close(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        opened.append(asyncio.get_running_loop().time())
        writer.close()
        if len(opened) == 4:
            enough.set()

    async def against(log: Log) -> None:
        async with asyncio.timeout(30), await asyncio.start_server(close, "127.0.0.1", 0) as server:
            to = HostPort(host="127.0.0.1", port=server.sockets[0].getsockname()[1])
            sending = asyncio.create_task(
                simulate(register()[:1], to, seed=1, troubles=0, messages=1, manners=Manners(interval_s=0), log=log)
            )
            await enough.wait()
            sending.cancel()
            await asyncio.wait({sending})

    with (tmp_path / "log").open("w", encoding="utf-8") as file:
        asyncio.run(against(Log(file)))
    gaps = [later - earlier for earlier, later in pairwise(opened)]
    assert all(gap >= pause for gap, pause in zip(gaps, (0.19, 0.39, 0.79), strict=True))


def test_episodes_in_whole_periods_are_sent_with_the_same_bytes_by_two_runs(tmp_path: Path) -> None:
    def bytes_of_a_run(name: str, **more: int) -> dict[tuple[str, int], str]:
        _, lines = run(Platform(), tmp_path / name, messages=60, clock=lambda: MORNING, **more)
        return {key: one[0]["raw"] for key, one in attempts(lines).items()}

    first = bytes_of_a_run("first", period_s=10)
    assert bytes_of_a_run("second", period_s=10) == first
    assert bytes_of_a_run("third") != first


# The command


async def command(port: int, log: Path, *more: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(
        sys.executable, "-m", "connectors.air.simulate", "--to", f"127.0.0.1:{port}", "--log", str(log),
        "--devices", "4", "--seed", "3", "--interval", "0", *more, stderr=asyncio.subprocess.PIPE,
    )  # fmt: skip


def test_the_command_ends_after_its_messages(tmp_path: Path) -> None:
    async def work(port: int) -> int | None:
        process = await command(port, tmp_path / "log", "--messages", "40", "--troubles", "0")
        await process.communicate()
        return process.returncode

    assert asyncio.run(served(Platform(), work)) == 0
    assert Counter(line["what"] for line in lines_of(tmp_path / "log"))["answered"] == 40


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("silent", [False, True])
def test_the_command_ends_in_order_at_a_signal(tmp_path: Path, number: signal.Signals, silent: bool) -> None:
    log = tmp_path / "log"
    heard = asyncio.Event()
    platform = Platform(lambda *_: silent)
    platform.on_bytes = lambda _: heard.set()

    async def work(port: int) -> tuple[int | None, bytes]:
        process = await command(port, log)
        await heard.wait()
        process.send_signal(number)
        _, said = await process.communicate()
        return process.returncode, said

    assert asyncio.run(served(platform, work)) == (0, b"")
    assert log.read_bytes().endswith(b"}\n")
    whats = Counter(line["what"] for line in lines_of(log))
    assert whats["connected"] == whats["closed"] > 0
    assert sum(platform.heard.values()) <= whats["sent"]


@pytest.mark.parametrize("devices", ["0", "41"])
def test_more_stations_than_registered_are_refused(devices: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--devices", devices, "--lang", "en"]) == 2
    assert "1 to 40" in capsys.readouterr().err


def test_another_register_may_be_named(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    missing = tmp_path / "devices.csv"
    assert main(["--registry", str(missing), "--lang", "en"]) == 2
    assert str(missing) in capsys.readouterr().err


def test_a_log_that_cannot_be_written_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    log = tmp_path / "missing" / "log"
    assert main(["--log", str(log), "--lang", "en"]) == 2
    assert capsys.readouterr().err == f"connectors.air.simulate: --log {log}: No such file or directory\n"


def test_the_register_is_that_of_the_settings(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    settings = tmp_path / "hub.toml"
    settings.write_text(f"[registry]\ndir = '{tmp_path}'\n", encoding="utf-8")
    assert main(["--config", str(settings)]) == 2
    assert f"{tmp_path}/devices.csv: cannot be read" in capsys.readouterr().err


def test_the_language_counts_before_the_options_are_read(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main(["--lang=zh", "--to", "nowhere"])
    assert "用法：" in capsys.readouterr().err


def test_a_defect_has_its_own_exit_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("connectors.air.simulate.__main__.Tally", None)
    assert main(["--messages", "0", "--log", str(tmp_path / "log"), "--interval", "0"]) == 70
    assert "AttributeError" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("option", "value"), [("--repeat", "1.5"), ("--troubles", "-0.1"), ("--to", "nowhere"), ("--period", "0")]
)
def test_a_wrong_value_is_refused(option: str, value: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        main([option, value, "--lang", "en"])
    assert f"value: '{value}'" in capsys.readouterr().err
