"""All stations at once, and the command `python -m connectors.air.simulate`."""

import argparse
import asyncio
import contextlib
import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from random import Random

from connectors.air.simulate.line import Line, Manners, Platform
from connectors.air.simulate.log import Log
from connectors.air.simulate.station import Clock, Station
from connectors.air.simulate.upload import BEIJING
from connectors.air.simulate.weather import Episodes, Weather, WholePeriods
from hub.command import DONE, choose_language, exit_code
from hub.core.errors import Misconfigured
from hub.core.registry import Device
from hub.lang import Text, say
from hub.registry_check import load
from hub.running import on_stop
from hub.settings import HostPort
from hub.settings import load as load_settings

PROGRESS_S = 10.0


def beijing_now() -> datetime:
    return datetime.now(BEIJING)


@dataclass(frozen=True, slots=True)
class Tally:
    """Where all stations together stand."""

    connected: int
    sent: int
    answered: int
    waiting: int

    @classmethod
    def of(cls, lines: Sequence[Line]) -> "Tally":
        """The sums."""
        return cls(
            sum(line.connected for line in lines),
            sum(line.sent for line in lines),
            sum(line.answered for line in lines),
            sum(len(line.waiting) for line in lines),
        )


async def simulate(
    devices: Sequence[Device],
    to: HostPort,
    *,
    seed: int,
    troubles: float,
    messages: int | None,
    manners: Manners,
    log: Log,
    period_s: int | None = None,
    clock: Clock = beijing_now,
) -> Tally:
    """Runs every station until `messages` are done between them; without a number, until cancelled.

    With `period_s`, episodes are whole periods of a rule; else they come and go by the minute.
    """
    platform = Platform(to)
    weather: Weather = (
        Episodes.among(seed, devices) if period_s is None else WholePeriods.among(seed, devices, period_s, clock())
    )
    lines = [Line(Station(device, seed, troubles, weather, clock), platform, manners, log) for device in devices]
    progress = asyncio.create_task(_tell(lines))
    try:
        async with asyncio.TaskGroup() as running:
            for i, (device, line) in enumerate(zip(devices, lines, strict=True)):
                own = None if messages is None else (messages + i) // len(devices)  # all of them add up to `messages`
                running.create_task(line.run(own, Random(f"{seed}/{device.id}/line")))
    finally:
        progress.cancel()
    return Tally.of(lines)


async def _tell(lines: Sequence[Line]) -> None:
    while True:
        await asyncio.sleep(PROGRESS_S)
        now = Tally.of(lines)
        say(
            f"stations: {now.connected} of {len(lines)} connected, {now.sent} sent, {now.answered} answered, "
            f"{now.waiting} waiting",
            f"站点：{len(lines)} 个中 {now.connected} 个已连接，已发送 {now.sent} 条，已应答 {now.answered} 条，"
            f"等待应答 {now.waiting} 条",
        )


# argparse says these two names when it refuses a value.


def address(text: str) -> HostPort:
    return HostPort.model_validate(HostPort.parse(text))


def seconds(text: str) -> int:
    """A whole number of them, from 1."""
    number = int(text)
    if number < 1:
        raise ValueError(text)
    return number


def share(text: str) -> float:
    """0 to 1."""
    number = float(text)
    if not 0 <= number <= 1:
        raise ValueError(text)
    return number


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m connectors.air.simulate",
        description=str(Text("Simulated stations that speak HJ 212.", "模拟站点，按 HJ 212 协议发送数据。")),
    )

    def add(name: str, kind: Callable[[str], object], default: object, en: str, zh: str) -> None:
        parser.add_argument(name, type=kind, default=default, help=str(Text(en, zh)))

    add("--to", address, "127.0.0.1:9212", "HOST:PORT to send to", "目标地址 HOST:PORT")
    add("--devices", int, None, "how many of the register's stations (all)", "使用登记表中的站点数量（默认全部）")
    add("--config", Path, None, "settings (TOML), for the register", "配置文件（TOML），用于确定登记表")
    add("--registry", Path, None, "the folder of a registry (that of the settings)", "登记表文件夹（默认取自配置）")
    add("--seed", int, 1, "the same seed, the same content", "相同的种子产生相同的内容")
    add("--log", Path, os.devnull, "JSON lines of what was sent and answered", "收发记录（JSON 行）")
    add("--messages", int, None, "end after so many in all", "总共发送多少条后结束")
    add("--interval", float, 5.0, "seconds between a station's messages", "站点两条报文的间隔秒数")
    add(
        "--period",
        seconds,
        None,
        "episodes that a rule with a mean over so many seconds sees, in whole periods (such of minutes, as the weather brings them)",
        "让平均周期为该秒数的规则能看到的超标过程，按整周期出现（默认为数分钟的自然过程）",
    )
    add("--troubles", share, 0.05, "share of faulty messages, 0 to 1", "异常报文比例，0 到 1")
    add("--timeout", float, 10.0, "seconds to wait for an answer", "等待应答的秒数")
    add("--resends", int, 3, "resends before reconnecting", "重连前的重发次数")
    add("--repeat", share, 0.0, "share of messages sent again though answered", "已应答仍重复发送的报文比例")
    parser.add_argument("--lang", choices=("zh", "en"), help=str(Text("language of messages", "提示语言")))
    return parser


def _stations(registry: Path, wanted: int | None) -> list[Device]:
    """The first so many of the register, or all. Raises Misconfigured where it cannot be read or has fewer."""
    devices = list(load(registry).by_mn("air").values())
    if wanted is not None and not 0 < wanted <= len(devices):
        en = f"--devices: 1 to {len(devices)} stations are registered"
        raise Misconfigured(str(Text(en, f"--devices：登记表中有 1 到 {len(devices)} 个站点")))
    return devices[:wanted]


async def _run(options: argparse.Namespace, devices: Sequence[Device], log: Log) -> None:
    manners = Manners(
        interval_s=options.interval, timeout_s=options.timeout, resends=options.resends, repeat=options.repeat
    )
    work = asyncio.create_task(
        simulate(
            devices,
            options.to,
            seed=options.seed,
            troubles=options.troubles,
            messages=options.messages,
            manners=manners,
            log=log,
            period_s=options.period,
        )
    )
    loop = asyncio.get_running_loop()

    def stop() -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended already
            loop.call_soon_threadsafe(work.cancel)

    on_stop(stop)
    try:
        tally = await work
    except asyncio.CancelledError:
        return  # a signal: every station has hung up
    say(f"{tally.sent} sent, {tally.answered} answered", f"已发送 {tally.sent} 条，已应答 {tally.answered} 条")


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; returns its exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    choose_language(words)
    options = _parser().parse_args(words)
    return exit_code("connectors.air.simulate", lambda: _simulate(options))


def _simulate(options: argparse.Namespace) -> int:
    devices = _stations(options.registry or load_settings(options.config).registry_dir, options.devices)
    try:
        file = options.log.open("w", encoding="utf-8")
    except OSError as error:
        raise Misconfigured(
            str(Text(f"--log {options.log}: {error.strerror}", f"--log {options.log}：{error.strerror}"))
        ) from None
    with file:
        asyncio.run(_run(options, devices, Log(file)))
    return DONE


if __name__ == "__main__":
    sys.exit(main())
