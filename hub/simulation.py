"""What simulated senders over HTTP share: the command line, the pushing itself, and the sender's side of the story.

A feed gives devices that say what they push next (`Sender`); this pushes it over real sockets, again where there is no answer, and writes a log that
a test can hold against what the hub kept.
"""

import argparse
import asyncio
import contextlib
import json
import os
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TextIO

import aiohttp

from hub.command import DONE, choose_language, exit_code
from hub.core.errors import Misconfigured
from hub.core.registry import Registry
from hub.lang import Text, say
from hub.registry_check import load
from hub.running import on_stop
from hub.settings import load as load_settings

PROGRESS_S = 10.0
ANSWER_WITHIN_S = 10.0
AGAIN_AFTER_S = (0.5, 5.0)


@dataclass(frozen=True, slots=True, kw_only=True)
class Message:
    """One push. `expect`: what should become of it: alert, dead-letter, empty or refused; `trouble`: what was done to it; `sendings`: how often it is
    sent though it was answered.
    """

    path: str
    body: bytes = field(repr=False)
    content_type: str
    expect: str
    trouble: str = ""
    sendings: int = 1
    key: str = field(default="", repr=False)


@dataclass(slots=True)
class Sender:
    """One device: its name, and its messages, each with the seconds to wait before it."""

    name: str
    messages: Iterator[tuple[float, Message]]


class Log:
    """One JSON object per line: {what: sent | answered, at: ms since 1970, device, n, attempt, ...}. `sent` stands there before the bytes leave."""

    def __init__(self, file: TextIO) -> None:
        self._file = file

    def write(self, what: str, device: str, **more: object) -> None:
        """A line reaches the operating system at once, and whole."""
        line = {"what": what, "at": time.time_ns() // 1_000_000, "device": device} | more
        self._file.write(json.dumps(line, ensure_ascii=False) + "\n")
        self._file.flush()


Senders = Callable[[Registry, argparse.Namespace], Sequence[Sender]]


def main(feed: str, port: int, about: Text, senders: Senders, words: Sequence[str]) -> int:
    """The command `python -m connectors.<feed>.simulate`; returns its exit code."""
    choose_language(list(words))
    options = _parser(feed, port, about).parse_args(words)
    return exit_code(f"connectors.{feed}.simulate", lambda: _simulate(options, senders))


def _parser(feed: str, port: int, about: Text) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=f"python -m connectors.{feed}.simulate", description=str(about))

    def add(name: str, kind: Callable[[str], object], default: object, en: str, zh: str) -> None:
        parser.add_argument(name, type=kind, default=default, help=str(Text(en, zh)))

    add("--to", str, f"127.0.0.1:{port}", "HOST:PORT to send to", "目标地址 HOST:PORT")
    add("--devices", int, None, "how many of the registered devices (all)", "使用登记的设备数量（默认全部）")
    add("--config", Path, None, "settings (TOML), for the registry", "配置文件（TOML），用于确定登记表")
    add("--registry", Path, None, "the folder of a registry (that of the settings)", "登记表文件夹（默认取自配置）")
    add("--key", str, None, "the vendor's key (that of the demo)", "厂商密钥（默认为演示密钥）")
    add("--seed", int, 1, "the same seed, the same content", "相同的种子产生相同的内容")
    add("--log", Path, os.devnull, "JSON lines of what was sent and answered", "收发记录（JSON 行）")
    add("--messages", int, None, "end after so many in all", "总共发送多少条后结束")
    add("--interval", float, 5.0, "seconds between a device's messages", "设备两条消息的间隔秒数")
    add("--troubles", float, 0.05, "share of faulty messages, 0 to 1", "异常消息比例，0 到 1")
    parser.add_argument("--lang", choices=("zh", "en"), help=str(Text("language of messages", "提示语言")))
    return parser


def _simulate(options: argparse.Namespace, senders: Senders) -> int:
    registry = load(options.registry or load_settings(options.config).registry_dir)
    devices = senders(registry, options)
    if not devices:
        raise Misconfigured(str(Text("no device of this feed is registered", "没有登记该数据源的设备")))
    try:
        file = options.log.open("w", encoding="utf-8")
    except OSError as error:
        raise Misconfigured(
            str(Text(f"--log {options.log}: {error.strerror}", f"--log {options.log}：{error.strerror}"))
        ) from None
    with file:
        asyncio.run(_until_done(devices, options, Log(file)))
    return DONE


async def _until_done(devices: Sequence[Sender], options: argparse.Namespace, log: Log) -> None:
    pushing = _Pushing(options.to, log)
    work = asyncio.create_task(pushing.run(devices, options.messages))
    loop = asyncio.get_running_loop()

    def stop() -> None:
        with contextlib.suppress(RuntimeError):  # the loop has ended already
            loop.call_soon_threadsafe(work.cancel)

    on_stop(stop)
    with contextlib.suppress(asyncio.CancelledError):  # a signal
        await work
        pushing.tell()


class _Pushing:
    def __init__(self, to: str, log: Log) -> None:
        self._to = to
        self._log = log
        self._sent = self._answered = 0

    def tell(self) -> None:
        """How far it is."""
        say(f"{self._sent} sent, {self._answered} answered", f"已发送 {self._sent} 条，已应答 {self._answered} 条")

    async def run(self, devices: Sequence[Sender], messages: int | None) -> None:
        """Every device until its share of `messages` is done."""
        progress = asyncio.create_task(self._progress())
        timeout = aiohttp.ClientTimeout(total=ANSWER_WITHIN_S)
        try:
            async with aiohttp.ClientSession(timeout=timeout) as session, asyncio.TaskGroup() as running:
                for i, device in enumerate(devices):
                    own = None if messages is None else (messages + i) // len(devices)
                    running.create_task(self._device(session, device, own))
        finally:
            progress.cancel()

    async def _progress(self) -> None:
        while True:
            await asyncio.sleep(PROGRESS_S)
            self.tell()

    async def _device(self, session: aiohttp.ClientSession, device: Sender, messages: int | None) -> None:
        for n, (wait_s, message) in enumerate(device.messages, 1):
            if messages is not None and n > messages:
                return
            await asyncio.sleep(wait_s)
            for sending in range(message.sendings):
                await self._push(session, device.name, n, sending, message)

    async def _push(self, session: aiohttp.ClientSession, device: str, n: int, sending: int, message: Message) -> None:
        """Until it is answered, as those do that send again; the log tells every attempt."""
        wait_s = AGAIN_AFTER_S[0]
        headers = {"Content-Type": message.content_type}
        if message.key:
            headers["Authorization"] = f"Bearer {message.key}"
        for attempt in range(1, 1000):
            self._log.write(
                "sent",
                device,
                n=n,
                sending=sending,
                attempt=attempt,
                expect=message.expect,
                trouble=message.trouble,
                size=len(message.body),
            )
            self._sent += 1
            try:
                url = f"http://{self._to}{message.path}"
                async with session.post(url, data=message.body, headers=headers) as answer:
                    told = await answer.json(content_type=None)
                    status = answer.status
            except (aiohttp.ClientError, TimeoutError, ValueError, OSError):
                status, told = 0, None
            if status:
                known = told if isinstance(told, dict) else {}
                self._log.write(
                    "answered",
                    device,
                    n=n,
                    sending=sending,
                    attempt=attempt,
                    status=status,
                    fate=known.get("fate", ""),
                    id=known.get("id", ""),
                    messages=known.get("messages", []),
                )
            if status and status not in (429, 503):
                self._answered += 1
                return
            await asyncio.sleep(wait_s)
            wait_s = min(2 * wait_s, AGAIN_AFTER_S[1])
