"""The command `gridhub`: the only place where parts are put together.

Results go to stdout, everything else to stderr. Exit codes: 0 done, 1 finding, 2 usage or misconfigured, 3 unavailable, 4 a time
limit passed, 70 defect; 141 who read them is gone.
"""

import argparse
import json
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import asdict
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, TextIO

from hub import __version__
from hub.command import DONE, FINDING, choose_language, exit_code
from hub.core.errors import Misconfigured
from hub.lang import Text, harmless, progress, say
from hub.settings import HostPort, Settings, load

if TYPE_CHECKING:
    from hub.core.registry import Registry
    from hub.dead_letters import Done, Entry
    from hub.registry import Difference
    from hub.tap import Condition
    from hub.vendors import NewKey

MOST_LINES = 40
Run = Callable[[argparse.Namespace, Settings], int]


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one command and returns its exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    choose_language(words)
    # Not as the parsers' defaults: those of a subcommand would undo what stands before it.
    options = _parser().parse_args(words, argparse.Namespace(config=None, json=False))
    run: Run = options.run
    return exit_code("gridhub", lambda: run(options, load(options.config)))


def _parser() -> argparse.ArgumentParser:
    common = argparse.ArgumentParser(add_help=False)
    common.add_argument("--config", type=Path, metavar="FILE", default=argparse.SUPPRESS, help=str(_CONFIG))
    common.add_argument("--lang", choices=("zh", "en"), default=argparse.SUPPRESS, help=str(_LANG))
    common.add_argument("--json", action="store_true", default=argparse.SUPPRESS, help=str(_JSON))
    parser = argparse.ArgumentParser(
        prog="gridhub",
        parents=[common],
        description=str(_ABOUT),
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog=str(_CODES),
    )
    parser.add_argument("--version", action="version", version=f"gridhub {__version__}", help=str(_VERSION))
    commands = parser.add_subparsers(required=True, metavar="COMMAND")

    def command(name: str, help_text: Text, run: Run | None = None) -> argparse.ArgumentParser:
        made = commands.add_parser(name, parents=[common], **_described(name, help_text))
        if run:
            made.set_defaults(run=run)
        return made

    def under(parent: argparse.ArgumentParser, *subcommands: tuple[str, Text, Run]) -> list[argparse.ArgumentParser]:
        group = parent.add_subparsers(required=True, metavar="COMMAND")
        made = []
        for name, help_text, run in subcommands:
            words = f"{parent.prog.partition(' ')[2]} {name}"
            child = group.add_parser(name, parents=[common], **_described(words, help_text))
            child.set_defaults(run=run)
            made.append(child)
        return made

    up = command(
        "up",
        Text("the whole hub on one machine, with simulated devices", "在一台机器上运行整个系统（含模拟设备）"),
        _up,
    )
    up.add_argument("--data", type=Path, metavar="DIR", help=str(_DATA))
    up.add_argument("--until-tickets", type=_some, metavar="N", help=str(_UNTIL))
    up.add_argument("--within", type=float, metavar="S", default=180.0, help=str(_WITHIN))
    up.add_argument("--seed", type=int, metavar="N", default=1, help=str(_SEED))
    up.add_argument("--no-view", action="store_true", help=str(_NO_VIEW))

    top = command(
        "top",
        Text("what runs here, and which tickets there are", "实时查看运行状态和工单"),
        _top,
    )
    top.add_argument("--data", type=Path, metavar="DIR", help=str(_TOP_DATA))

    kafka = command("kafka", Text("the embedded broker by itself", "仅运行内置的 Kafka"), _kafka)
    kafka.add_argument("--data", type=Path, metavar="DIR", help=str(_DATA))
    kafka.add_argument("--nodes", type=int, choices=(1, 3), default=1, help=str(_NODES))
    kafka.add_argument("--port", type=int, default=9092, help=str(_PORT))
    kafka.add_argument("--advertise", metavar="H:P,H:P,H:P", help=str(_ADVERTISE))

    router = command(
        "router",
        Text("turns readings and alerts into tickets, exactly once", "把读数和预警变成工单，恰好一次"),
        _router,
    )
    router.add_argument("--slot", type=_slot, metavar="N", default=0, help=str(_SLOT))

    page = command(
        "page", Text("map and list of open tickets, live in a browser", "浏览器中的工单地图和列表，实时更新"), _page
    )
    page.add_argument("--listen", type=_address, metavar="H:P", help=str(_LISTEN))

    explain = command(
        "explain", Text("the story of an alert, a reading or a ticket", "预警、读数或工单的来龙去脉"), _explain
    )
    explain.add_argument("id", metavar="ID", help=str(_ID))

    _tap_command(command)
    _dead_letter_commands(
        under(
            command("dead-letters", Text("messages that could not be read", "无法读取的报文（死信）")),
            ("list", Text("which there are, and how they stand", "列出死信及其处理状态"), _letters_list),
            ("show", Text("everything about one, and its bytes", "显示一条死信的全部信息和原始数据"), _letters_show),
            (
                "replay",
                Text(
                    "gives them to their feed once more: 1 where one still cannot be read",
                    "重新处理死信：仍无法读取则返回 1",
                ),
                _letters_replay,
            ),
            ("drop", Text("puts them aside; nothing is deleted", "放弃处理（不会删除）"), _letters_drop),
        )
    )

    _memory_commands(command, under)
    topics = command("topics", Text("the topics of the hub", "检查和创建 Kafka 主题（topic）"))
    under(
        topics,
        (
            "create",
            Text("makes the topics that are missing and checks all", "创建缺少的主题并检查全部主题"),
            _topics_create,
        ),
        (
            "check",
            Text("compares the cluster's topics with schemas/topics.toml", "对照 schemas/topics.toml 检查主题"),
            _topics_check,
        ),
    )
    _registry_commands(command, under)
    _vendor_commands(
        under(
            command("vendor", Text("vendors and the keys they push with", "厂商及其推送数据所用的密钥")),
            ("add", Text("adds a vendor, and prints its key, once", "新增厂商，并显示其密钥（仅此一次）"), _vendor_add),
            ("list", Text("vendors, their feeds and keys", "列出厂商、数据源和密钥"), _vendor_list),
            (
                "rotate",
                Text(
                    "makes a new key and prints it, once; those before it end after a while",
                    "生成新密钥并显示（仅此一次）；旧密钥过一段时间后失效",
                ),
                _vendor_rotate,
            ),
            ("revoke", Text("ends a vendor's keys now", "立即停用厂商的密钥"), _vendor_revoke),
            (
                "try",
                Text(
                    "says what the hub would make of a recording, without keeping it",
                    "说明系统会如何处理一份录制数据，不保存任何内容",
                ),
                _vendor_try,
            ),
        )
    )
    schemas = command("schemas", Text("the record schemas", "记录的模式（schema）：检查与查询服务"))
    checking, _ = under(
        schemas,
        ("check", Text("docs, defaults, examples, compatibility", "检查说明、默认值、示例和兼容性"), _schemas_check),
        (
            "serve",
            Text("answers a schema registry's read routes", "提供兼容 Schema Registry 的只读接口"),
            _schemas_serve,
        ),
    )
    checking.add_argument("--against", type=Path, metavar="DIR", help=str(_AGAINST))
    return parser


def _described(words: str, help_text: Text) -> dict[str, Any]:
    """What a command's help says of it; `words` are its name, with that of the command above it."""
    examples = "\n".join(f"  gridhub {words} {rest}".rstrip() for rest in _EXAMPLES.get(words, ()))
    return {
        "help": str(help_text),
        "description": str(help_text),
        "formatter_class": argparse.RawDescriptionHelpFormatter,
        "epilog": f"{_SUCH_AS}\n{examples}" if examples else None,
    }


def _tap_command(command: "Callable[..., argparse.ArgumentParser]") -> None:
    tap = command("tap", Text("what lies on a topic and what arrives there", "查看主题中的记录"), _tap)
    tap.add_argument("topic", metavar="TOPIC", help=str(_TOPIC))
    tap.add_argument("--from", dest="start", type=_from_where, metavar="WHERE", default=0, help=str(_FROM_WHERE))
    tap.add_argument("--where", action="append", type=_condition, metavar="FIELD=VALUE", default=[], help=str(_WHERE))
    tap.add_argument("--limit", type=_some, metavar="N", default=0, help=str(_LIMIT))
    tap.add_argument("--follow", action=argparse.BooleanOptionalAction, default=True, help=str(_FOLLOW))
    tap.add_argument("--raw-key", action="store_true", help=str(_RAW_KEY))
    tap.add_argument("--unmasked", action="store_true", help=str(_UNMASKED))


def _dead_letter_commands(parsers: Sequence[argparse.ArgumentParser]) -> None:
    listing, showing, replaying, dropping = parsers
    for parser in (listing, replaying, dropping):
        parser.add_argument("--feed", default="", help=str(_LETTER_FEED))
        parser.add_argument("--reason", default="", help=str(_LETTER_REASON))
        parser.add_argument("--since", type=_since, metavar="WHEN", default=0, help=str(_SINCE))
    showing.add_argument("id", metavar="ID", help=str(_LETTER_ID))
    showing.add_argument("--raw", type=Path, metavar="FILE", help=str(_RAW))
    for parser in (replaying, dropping):
        parser.add_argument("ids", nargs="*", metavar="ID", help=str(_LETTER_ID))
        parser.add_argument("--all", action="store_true", help=str(_ALL))
        parser.add_argument("--yes", action="store_true", help=str(_YES))
    replaying.add_argument("--with", dest="mended", type=Path, metavar="FILE", help=str(_MENDED))


def _memory_commands(
    command: "Callable[..., argparse.ArgumentParser]", under: "Callable[..., list[argparse.ArgumentParser]]"
) -> None:
    _, ending = under(
        command("quarantine", Text("towns whose memory cannot be read", "内存状态无法读取的乡镇（已隔离）")),
        (
            "list",
            Text("which there are, and why: 1 where there is one", "列出被隔离的乡镇及原因：有则返回 1"),
            _quarantine_list,
        ),
        (
            "end",
            Text(
                "mends a town's memory; routers see it at their next start",
                "修复乡镇的内存状态；路由进程下次启动时生效",
            ),
            _quarantine_end,
        ),
    )
    ending.add_argument("town", metavar="TOWN", help=str(_QUARANTINED))
    ways = ending.add_mutually_exclusive_group(required=True)
    ways.add_argument("--from", dest="start", type=Path, metavar="DIR", help=str(_MEND_FROM))
    ways.add_argument("--forget", action="store_true", help=str(_FORGET))
    replay = command(
        "replay",
        Text(
            "does all decisions again and compares: 1 where anything differs", "重新作出全部决定并比较：有差异则返回 1"
        ),
        _replay,
    )
    replay.add_argument("--from", dest="start", type=Path, metavar="DIR", help=str(_FROM))
    replay.add_argument("--until", type=int, metavar="N", help=str(_UNTIL_JOURNAL))
    replay.add_argument("--export", type=Path, metavar="DIR", help=str(_EXPORT))


def _registry_commands(
    command: "Callable[..., argparse.ArgumentParser]", under: "Callable[..., list[argparse.ArgumentParser]]"
) -> None:
    registry = command(
        "registry", Text("map, roster, devices, vendors and rules", "登记表：地图、人员、设备、厂商和规则")
    )
    importing, differing, exporting = under(
        registry,
        (
            "import",
            Text("makes the files of a folder the version in force", "把文件夹中的文件导入为新版本并生效"),
            _registry_import,
        ),
        (
            "diff",
            Text("what an import would change: 1 where it would", "导入会改变什么：有变化则返回 1"),
            _registry_diff,
        ),
        ("export", Text("writes a version as files", "把一个版本导出为文件"), _registry_export),
    )
    for one in (importing, differing):
        one.add_argument("folder", type=Path, nargs="?", metavar="DIR", help=str(_REGISTRY_DIR))
    importing.add_argument("--note", default="", metavar="TEXT", help=str(_NOTE))
    exporting.add_argument("folder", type=Path, metavar="DIR", help=str(_EXPORT_DIR))
    exporting.add_argument("--version", type=_some, metavar="N", dest="number", help=str(_NUMBER))

    checking_files = command(
        "check",
        Text("finds what is wrong with a registry's files, without Kafka", "检查登记表文件，无需 Kafka"),
        _check,
    )
    checking_files.add_argument("folder", type=Path, nargs="?", metavar="DIR", help=str(_REGISTRY_DIR))


def _vendor_commands(parsers: Sequence[argparse.ArgumentParser]) -> None:
    adding, _, rotating, revoking, trying = parsers
    for parser in parsers:
        parser.add_argument("--dir", type=Path, metavar="DIR", help=str(_REGISTRY_DIR))
    trying.add_argument("file", type=Path, metavar="FILE", help=str(_RECORDING))
    trying.add_argument("--vendor", dest="id", metavar="ID", required=True, help=str(_VENDOR_ID))
    trying.add_argument("--feed", metavar="FEED", required=True, help=str(_TRIED_FEED))
    trying.add_argument("--at", type=_since, metavar="WHEN", help=str(_AT))
    for parser in (adding, rotating, revoking):
        parser.add_argument("id", metavar="ID", help=str(_VENDOR_ID))
    adding.add_argument("--name", metavar="NAME", required=True, help=str(_VENDOR_NAME))
    adding.add_argument("--feed", action="append", required=True, help=str(_VENDOR_FEED))
    adding.add_argument("--datum", metavar="DATUM", help=str(_VENDOR_DATUM))
    adding.add_argument("--zone", metavar="ZONE", help=str(_VENDOR_ZONE))
    adding.add_argument("--per-s", type=_above_0, metavar="N", help=str(_VENDOR_PER_S))
    adding.add_argument("--trial", action="store_true", default=None, help=str(_VENDOR_TRIAL))
    adding.add_argument("--gcj02-inverse", action="store_true", default=None, help=str(_VENDOR_INVERSE))
    rotating.add_argument("--overlap", type=_from_0, metavar="H", default=72.0, help=str(_OVERLAP))
    revoking.add_argument("--key", metavar="KEY_ID", help=str(_ONE_KEY))


def _up(options: argparse.Namespace, settings: Settings) -> int:
    from hub.up import Wish, up

    settings = settings.model_copy(update={"data": _made(options.data or settings.data)})
    wish = Wish(
        seed=options.seed,
        view=not options.no_view,
        as_json=options.json,
        until_tickets=options.until_tickets,
        within_s=options.within,
    )
    return up(settings, wish)


def _top(options: argparse.Namespace, settings: Settings) -> int:
    from hub.top import top

    return top(settings.model_copy(update={"data": options.data or settings.data}), as_json=options.json)


def _kafka(options: argparse.Namespace, settings: Settings) -> int:
    from hub import embedded_kafka

    return embedded_kafka.run(_made(options.data or settings.data), options.port, options.nodes, options.advertise)


def _router(options: argparse.Namespace, settings: Settings) -> int:
    from hub import router

    return router.run(settings, options.slot)


def _page(options: argparse.Namespace, settings: Settings) -> int:
    from hub.page import process

    return process.run(settings, options.listen)


def _replay(options: argparse.Namespace, settings: Settings) -> int:
    from hub.replay import replay

    result = replay(settings, start=options.start, until=options.until, export=options.export)
    if not options.json:
        say(
            f"{result.journal} journal records replayed, {result.records} records compared",
            f"已重放 {result.journal} 条日志，比较 {result.records} 条记录",
        )
        return _findings(result.findings, as_json=False)
    print(json.dumps(asdict(result), ensure_ascii=False))
    return FINDING if result.findings else DONE


def _quarantine_list(options: argparse.Namespace, settings: Settings) -> int:
    from hub.quarantine import held

    with progress("Reading the changelog", "正在读取状态日志"):
        found = held(settings)
    if options.json:
        told = [{"town": one.town, "partition": one.partition, "why": one.why} for one in found]
        print(json.dumps(told, ensure_ascii=False))
    for one in found if not options.json else ():
        print(one)
    return FINDING if found else DONE


def _quarantine_end(options: argparse.Namespace, settings: Settings) -> int:
    from hub.quarantine import mend

    with progress("Reading and writing the changelog", "正在读取并写入状态日志"):
        written = mend(settings, options.town, options.start)
    if options.json:
        print(json.dumps({"town": options.town, "written": written}))
    else:
        print(
            Text(
                f"{written} entries written: restart the router of {options.town}, then replay its dead letters",
                f"已写入 {written} 条：请重启负责 {options.town} 的路由进程，然后重放其死信",
            )
        )
    return DONE


def _explain(options: argparse.Namespace, settings: Settings) -> int:
    from hub.explain import explain

    story = explain(settings, options.id)
    if options.json:
        print(json.dumps([asdict(chapter) for chapter in story], ensure_ascii=False))
    for chapter in story if not options.json else ():
        print(chapter)
    if not story:
        say(f"nothing is known of {options.id}", f"没有关于 {options.id} 的记录")
    return DONE if story else FINDING


def _tap(options: argparse.Namespace, settings: Settings) -> int:
    import threading

    from hub.running import on_stop
    from hub.tap import Wish, tap

    stop = threading.Event()
    on_stop(stop.set)
    wish = Wish(
        topic=options.topic,
        last=options.start,
        where=options.where,
        limit=options.limit,
        follow=options.follow,
        raw_key=options.raw_key,
        masked=not options.unmasked,
        as_json=options.json,
    )
    return tap(settings, wish, stop)


def _letters_list(options: argparse.Namespace, settings: Settings) -> int:
    from hub.dead_letters import OPEN

    found = _letters(options, settings)
    if options.json:
        print(json.dumps([asdict(one) for one in found], ensure_ascii=False))
        return DONE
    for one in found:
        print(one)
    still = sum(one.state == OPEN for one in found)
    say(f"{len(found)} dead letters, {still} of them open", f"共 {len(found)} 条死信，其中 {still} 条待处理")
    return DONE


def _letters_show(options: argparse.Namespace, settings: Settings) -> int:
    from hub import dead_letters

    options.ids = [options.id]
    [entry] = _letters(options, settings)
    [letter] = dead_letters.letters(settings, [entry])
    if options.raw:
        dead_letters.written_to(options.raw, letter.raw)
    if options.json:
        print(json.dumps({**asdict(entry), "size": len(letter.raw), "raw": letter.raw.hex()}, ensure_ascii=False))
    for line in () if options.json else dead_letters.told(entry, letter):
        print(line)
    return DONE


def _letters_replay(options: argparse.Namespace, settings: Settings) -> int:
    from hub import dead_letters

    mended = {}
    if options.mended:
        if len(options.ids) != 1:
            raise Misconfigured(str(Text("--with FILE is for one letter", "--with FILE 只能用于一条死信")))
        mended[options.ids[0]] = dead_letters.read_from(options.mended)
    asked = Text("Replay {} dead letters?", "重放 {} 条死信？")
    return _made_of(options, settings, asked, lambda some, tell: dead_letters.replay(settings, some, tell, mended))


def _letters_drop(options: argparse.Namespace, settings: Settings) -> int:
    from hub import dead_letters

    asked = Text("Drop {} dead letters?", "放弃 {} 条死信？")
    return _made_of(options, settings, asked, lambda some, tell: dead_letters.drop(settings, some, tell))


def _made_of(
    options: argparse.Namespace,
    settings: Settings,
    asked: Text,
    work: "Callable[[list[Entry], Callable[[Done], None]], None]",
) -> int:
    """Does it to the letters that are named, else to all open ones that fit, once more asked."""
    from hub.dead_letters import OPEN

    if bool(options.ids) == options.all:
        raise Misconfigured(str(Text("name letters by ID, or give --all", "请给出死信编号，或使用 --all")))
    chosen = [one for one in _letters(options, settings) if options.ids or one.state == OPEN]
    if options.all and chosen and not options.yes and not _agreed(str(asked).format(len(chosen))):
        return FINDING
    done: list[Done] = []

    def tell(one: "Done") -> None:
        done.append(one)
        if not options.json:
            print(one, flush=True)

    work(chosen, tell)
    if options.json:
        print(json.dumps([asdict(one) for one in done], ensure_ascii=False))
    return FINDING if any(one.state == OPEN for one in done) else DONE


def _letters(options: argparse.Namespace, settings: Settings) -> "list[Entry]":
    """Those that are named, each of which must be there, else those that fit."""
    from hub.dead_letters import Which, entries

    ids = tuple(getattr(options, "ids", ()))
    which = Which(ids=ids) if ids else Which((), options.feed, options.reason, options.since)
    with progress("Reading the dead letters", "正在读取死信"):
        found = entries(settings, which)
    missing = set(ids) - {one.id for one in found}
    if missing:
        names = ", ".join(sorted(missing))
        raise Misconfigured(str(Text(f"there is no dead letter {names}", f"没有死信 {names}")))
    return found


def _agreed(question: str) -> bool:
    if not sys.stdin.isatty():
        raise Misconfigured(str(Text("nobody can be asked here: give --yes", "此处无法询问：请使用 --yes")))
    print(f"{question} [y/N] ", end="", file=sys.stderr, flush=True)
    return sys.stdin.readline().strip().lower() in {"y", "yes", "是"}


def _registry_dir(options: argparse.Namespace, settings: Settings) -> Path:
    given: Path | None = options.dir
    return given or settings.registry_dir


def _vendor_add(options: argparse.Namespace, settings: Settings) -> int:
    from hub import vendors

    about = {
        "name": options.name,
        "feeds": sorted(set(options.feed)),
        "datum": options.datum,
        "zone": options.zone,
        "trial": options.trial,
        "gcj02_inverse": options.gcj02_inverse,
        "per_s": options.per_s,
    }
    given = {name: value for name, value in about.items() if value is not None}
    return _new_key(options, vendors.add(_registry_dir(options, settings), options.id, given, datetime.now(UTC)))


def _vendor_rotate(options: argparse.Namespace, settings: Settings) -> int:
    from hub import vendors

    overlap = timedelta(hours=options.overlap)
    return _new_key(options, vendors.rotate(_registry_dir(options, settings), options.id, overlap, datetime.now(UTC)))


def _new_key(options: argparse.Namespace, new: "NewKey") -> int:
    print(json.dumps(asdict(new), ensure_ascii=False) if options.json else new.key)
    say(
        f"This is key {new.key_id} of {new.vendor}. It is not shown again.",
        f"这是 {new.vendor} 的密钥 {new.key_id}，以后不再显示。",
    )
    return _imported_later()


def _vendor_revoke(options: argparse.Namespace, settings: Settings) -> int:
    from hub import vendors

    ended = vendors.revoke(_registry_dir(options, settings), options.id, options.key, datetime.now(UTC))
    if options.json:
        print(json.dumps({"ended": ended}, ensure_ascii=False))
    else:
        for key in ended:
            print(key)
    if not ended:
        say(f"{options.id} has no key that counts", f"{options.id} 没有仍有效的密钥")
    return _imported_later()


def _vendor_list(options: argparse.Namespace, settings: Settings) -> int:
    from hub import vendors

    rows = vendors.listed(_registry_dir(options, settings), datetime.now(UTC))
    if options.json:
        print(json.dumps([asdict(row) for row in rows], ensure_ascii=False))
    for row in rows if not options.json else ():
        print("\n".join(vendors.shown(row)))
    return _imported_later()


def _vendor_try(options: argparse.Namespace, settings: Settings) -> int:
    from hub.registry_check import load as load_registry
    from hub.tried import tried

    registry = load_registry(_registry_dir(options, settings))
    try:
        raw = options.file.read_bytes()
    except OSError as error:
        raise Misconfigured(
            str(Text(f"{options.file}: {error.strerror}", f"{options.file}：{error.strerror}"))
        ) from None
    found = tried(settings, registry, raw, options.id, options.feed, options.at)
    if options.json:
        print(json.dumps([asdict(one) for one in found], ensure_ascii=False))
    for one in found if not options.json else ():
        print("\n".join(harmless(line) for line in one.lines))
    if not found:
        size = len(raw)
        say(
            f"{options.file}: no message of {options.feed} in these {size} bytes",
            f"{options.file}：这 {size} 字节中没有 {options.feed} 的报文",
        )
    return DONE if found and all(one.fate != "dead-lettered" for one in found) else FINDING


def _imported_later() -> int:
    say(
        "What stands in the file counts once `gridhub registry import` has taken it.",
        "文件内容在执行 gridhub registry import 之后生效。",
    )
    return DONE


def _above_0(text: str) -> float:
    if _from_0(text) == 0:
        raise argparse.ArgumentTypeError(str(Text(f"{text!r} is not above 0", f"{text!r} 不大于 0")))
    return float(text)


def _from_0(text: str) -> float:
    if not re.fullmatch(r"[0-9]{1,6}(\.[0-9]{1,6})?", text):
        raise argparse.ArgumentTypeError(
            str(Text(f"{text!r} is not a number from 0, such as 2.5", f"{text!r} 不是从 0 开始的数，例如 2.5"))
        )
    return float(text)


def _from_where(text: str) -> int | None:
    from hub.tap import last_of

    try:
        return last_of(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            str(Text(f"{text!r} is not earliest, latest or a number", f"{text!r} 不是 earliest、latest 或数字"))
        ) from None


def _condition(text: str) -> "Condition":
    from hub.tap import Condition

    try:
        return Condition.parse(text)
    except ValueError:
        raise argparse.ArgumentTypeError(
            str(Text(f"{text!r} is not FIELD=VALUE, ^= or *=", f"{text!r} 不是 字段=值（或 ^=、*=）"))
        ) from None


def _since(text: str) -> int:
    from hub.dead_letters import since

    try:
        return since(text, datetime.now(UTC))
    except (ValueError, OverflowError):
        raise argparse.ArgumentTypeError(
            str(Text(f"{text!r} is not 2h, 3d or 2026-03-02T09:30", f"{text!r} 不是 2h、3d 或 2026-03-02T09:30"))
        ) from None


def _address(text: str) -> HostPort:
    try:
        return HostPort.model_validate(HostPort.parse(text))
    except ValueError:
        raise argparse.ArgumentTypeError(
            str(Text(f"{text!r} is not HOST:PORT", f"{text!r} 不是 HOST:PORT（主机:端口）"))
        ) from None


def _slot(text: str) -> int:
    if not text.isascii() or not text.isdecimal():
        raise argparse.ArgumentTypeError(str(Text(f"{text!r} is not a number from 0", f"{text!r} 不是从 0 开始的整数")))
    return int(text)


def _some(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or not int(text):
        raise argparse.ArgumentTypeError(str(Text(f"{text!r} is not a number from 1", f"{text!r} 不是从 1 开始的整数")))
    return int(text)


def _made(data: Path) -> Path:
    try:
        data.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise Misconfigured(
            str(Text(f"the folder {data} cannot be made: {error.strerror}", f"无法创建文件夹 {data}：{error.strerror}"))
        ) from None
    return data


def _topics_create(options: argparse.Namespace, settings: Settings) -> int:
    from hub import topics

    with _waiting(settings):
        made = topics.create(settings.kafka)
    if options.json:
        print(json.dumps({"created": made}))
    else:
        for name in made:
            print(name)
    return DONE


def _topics_check(options: argparse.Namespace, settings: Settings) -> int:
    from hub import topics

    with _waiting(settings):
        findings = topics.check(settings.kafka)
    return _findings(findings, as_json=options.json)


def _waiting(settings: Settings) -> AbstractContextManager[None]:
    bootstrap = settings.kafka.bootstrap
    return progress(f"Waiting for Kafka at {bootstrap}", f"正在等待 {bootstrap} 上的 Kafka")


def _registry_import(options: argparse.Namespace, settings: Settings) -> int:
    from hub.registry import current, differences, write

    new = _registry_of(options.folder or settings.registry_dir, as_json=options.json)
    with _waiting(settings):
        newest, number = current(settings)
    found = differences(newest, new)
    if found:
        _told_differences(found, as_json=False, stream=sys.stderr)
        with progress("Writing the version", "正在写入新版本"):
            number = write(settings, new, number, options.note).version
    version = number if found else newest.version if newest else 0
    if options.json:
        print(json.dumps({"version": version, "differences": [asdict(one) for one in found]}, ensure_ascii=False))
    elif found:
        print(Text(f"version {version} is in force", f"第 {version} 版已生效"))
    else:
        print(Text(f"nothing differs from version {version}", f"与第 {version} 版没有差别"))
    return DONE


def _registry_diff(options: argparse.Namespace, settings: Settings) -> int:
    from hub.registry import current, differences

    new = _registry_of(options.folder or settings.registry_dir, as_json=options.json)
    with _waiting(settings):
        newest, _ = current(settings)
    found = differences(newest, new)
    _told_differences(found, as_json=options.json, stream=sys.stdout)
    return FINDING if found else DONE


def _registry_export(options: argparse.Namespace, settings: Settings) -> int:
    from hub.registry import Versions
    from hub.registry_export import export

    with _waiting(settings):
        versions = Versions(settings, "gridhub-registry").all()
    registry = versions.get(options.number or max(versions, default=0))
    if registry is None:
        numbers = ", ".join(map(str, sorted(versions))) or "-"
        raise Misconfigured(str(Text(f"no such version; there are {numbers}", f"没有该版本；现有版本：{numbers}")))
    try:
        names = export(registry, options.folder)
    except OSError as error:
        raise Misconfigured(
            str(
                Text(
                    f"{options.folder} cannot be written: {error.strerror}",
                    f"无法写入 {options.folder}：{error.strerror}",
                )
            )
        ) from None
    if options.json:
        print(json.dumps({"version": registry.version, "files": names}))
    else:
        for name in names:
            print(options.folder / name)
    return DONE


def _check(options: argparse.Namespace, settings: Settings) -> int:
    from hub.registry_check import check

    folder = options.folder or settings.registry_dir
    _, findings = check(folder)
    if options.json:
        told = [{"level": one.level, "file": one.file, "line": one.line, "said": str(one.said)} for one in findings]
        print(json.dumps({"findings": told}, ensure_ascii=False))
    else:
        for one in findings:
            print(f"{one.mark} {folder / str(one)}")
    return FINDING if findings.errors else DONE


def _registry_of(folder: Path, *, as_json: bool) -> "Registry":
    from hub.registry_check import check, load

    if not as_json:
        for one in check(folder)[1]:
            if one.level == "warning":
                say(f"{one.mark} {folder / str(one)}", f"{one.mark} {folder / str(one)}")
    return load(folder)


def _told_differences(found: "Sequence[Difference]", *, as_json: bool, stream: TextIO) -> None:
    if as_json:
        print(json.dumps({"differences": [asdict(one) for one in found]}, ensure_ascii=False), file=stream)
        return
    for one in found[:MOST_LINES]:
        print(one, file=stream)
    if len(found) > MOST_LINES:
        more = len(found) - MOST_LINES
        print(Text(f"... and {more} more", f"……以及另外 {more} 项"), file=stream)


def _schemas_check(options: argparse.Namespace, _settings: Settings) -> int:
    from hub import schema_check

    return _findings(schema_check.check(options.against), as_json=options.json)


def _schemas_serve(_options: argparse.Namespace, settings: Settings) -> int:
    from hub import schema_routes

    return schema_routes.serve(settings, settings.schemas.listen)


def _findings(findings: Sequence[str], *, as_json: bool) -> int:
    if as_json:
        print(json.dumps({"findings": list(findings)}, ensure_ascii=False))
    else:
        for finding in findings:
            print(finding)
    return FINDING if findings else DONE


_CODES = Text(
    "exit codes: 0 done, 1 finding, 2 usage or misconfigured, 3 unavailable, 4 a time limit passed,\n"
    "70 defect, 75 start me again (of a router)",
    "退出码：0 完成；1 有发现；2 用法或配置有误；3 不可用；4 超过时限；70 程序缺陷；75 请重新启动（路由器）",
)
_SUCH_AS = Text("such as:", "示例：")
# By the words of the command, what may follow them.
_EXAMPLES: Mapping[str, Sequence[str]] = {
    "up": ("", "--no-view --until-tickets 3"),
    "kafka": ("--data kafka-data",),
    "router": ("--slot 0",),
    "page": ("--listen 127.0.0.1:8080",),
    "check": ("my-town",),
    "registry import": ("my-town --note 'new workers of March'",),
    "registry diff": ("my-town",),
    "registry export": ("copy", "before --version 3"),
    "vendor add": ("tianwei --name 天维 --feed camera", "xunjian --name 巡建 --feed patrol --datum GCJ02 --trial"),
    "vendor rotate": ("tianwei --overlap 24",),
    "vendor revoke": ("tianwei --key k1",),
    "vendor try": (
        "recording.bin --vendor qinghe --feed air",
        "push.multipart --vendor tianwei --feed camera --at 2026-03-02T09:30",
    ),
    "explain": ("410122106-1f0c5a2b9d3e4f60",),
    "tap": ("tickets --from 20", "decisions --from earliest --no-follow --where outcome=opened"),
    "dead-letters list": ("--feed air --reason crc --since 2h",),
    "dead-letters show": ("ID --raw message.bin",),
    "dead-letters replay": ("ID --with mended.bin", "--all --reason unknown_device --since 3d"),
    "dead-letters drop": ("ID",),
    "quarantine end": ("410122106 --from state",),
    "replay": ("", "--until 5000 --export state"),
    "schemas check": ("--against earlier/schemas",),
}
_ABOUT = Text(
    "An event-driven integration hub for grid governance: what stations, patrols, cameras\nand people report becomes Avro on Kafka.",
    "面向网格化管理的事件驱动集成中枢：把站点、巡查、摄像头和群众上报的信息变成 Kafka 上的 Avro 记录。",
)
_CONFIG = Text(
    "settings (TOML); else $GRIDHUB_CONFIG, ./hub.toml, the shipped default",
    "配置文件（TOML）；默认依次为 $GRIDHUB_CONFIG、./hub.toml、自带默认值",
)
_VERSION = Text("show the version and exit", "显示版本号并退出")
_LANG = Text("language of what is said; else LANG", "界面语言；默认取自 LANG")
_JSON = Text("results as JSON", "以 JSON 输出结果")
_DATA = Text("folder for the data; a later start continues on it", "数据文件夹；再次启动时继续使用其中的数据")
_TOP_DATA = Text("folder in which the processes say where they serve", "各进程登记服务端口的数据文件夹")
_UNTIL = Text("end with a summary after N tickets", "开出 N 张工单后输出汇总并结束")
_WITHIN = Text(
    "give up waiting for N tickets after so many seconds (exit code 4)", "等待 N 张工单超过该秒数则放弃（退出码 4）"
)
_SEED = Text("random seed of the simulated devices", "模拟设备的随机种子")
_NO_VIEW = Text("only a line every ten seconds", "每十秒只输出一行汇总")
_NODES = Text("brokers, on this port and those above", "节点数，使用此端口及其后的端口")
_SLOT = Text(
    "which router it is, from 0; each slot runs once, and keeps its number from start to start",
    "路由器编号，从 0 开始；每个编号只运行一个，重启后编号不变",
)
_LISTEN = Text("where to serve, else [page] listen", "监听地址，默认取 [page] listen")
_ID = Text("the alert's, reading's, ticket's or dead letter's id", "预警、读数、工单或死信的编号")
_TOPIC = Text("its name, such as tickets", "主题名，例如 tickets")
_FROM_WHERE = Text(
    "earliest, latest, or N for the last N records; else latest", "earliest、latest，或 N（最近 N 条）；默认 latest"
)
_WHERE = Text(
    "only records with this field; FIELD^=VALUE begins with it, FIELD*=VALUE contains it; FIELD may be dotted, or key",
    "只看该字段等于此值的记录；FIELD^=VALUE 为开头，FIELD*=VALUE 为包含；字段可用点号分级，也可为 key",
)
_LIMIT = Text("end after N records", "显示 N 条后结束")
_FOLLOW = Text(
    "wait for what comes; --no-follow ends with what is there", "等待新记录；--no-follow 显示完现有记录即结束"
)
_RAW_KEY = Text("keys as hexadecimal digits", "以十六进制显示键")
_UNMASKED = Text("personal data and hashes in full", "完整显示个人信息和哈希值")
_LETTER_ID = Text("the dead letter's id", "死信编号")
_LETTER_FEED = Text("only of this feed", "只看该数据源")
_LETTER_REASON = Text("only for this reason", "只看该原因")
_SINCE = Text(
    "only those accepted since: 90m, 2h, 3d or 2026-03-02T09:30", "只看此后接收的：90m、2h、3d 或 2026-03-02T09:30"
)
_RAW = Text("write its bytes to this file", "把原始数据写入该文件")
_ALL = Text(
    "all open ones that --feed, --reason and --since leave", "所有待处理且符合 --feed、--reason、--since 的死信"
)
_YES = Text("without asking", "不再询问")
_MENDED = Text("these bytes instead of its own", "用该文件的内容代替原始数据")
_FROM = Text("begin with the state that --export wrote", "从 --export 写出的状态开始")
_UNTIL_JOURNAL = Text("stop after this journal number, in each partition", "每个分区重放到该日志编号为止")
_EXPORT = Text("write the state that is reached into this folder", "把到达的状态写入该文件夹")
_QUARANTINED = Text("the town's code, as gridhub quarantine list tells it", "乡镇代码（见 gridhub quarantine list）")
_MEND_FROM = Text(
    "its memory as gridhub replay --export DIR has written it since",
    "用此后由 gridhub replay --export DIR 导出的状态恢复",
)
_FORGET = Text(
    "forget what cannot be read, where no replay reaches back so far", "放弃无法读取的部分（无法重放时使用）"
)
_REGISTRY_DIR = Text("folder with the files; else [registry] dir", "文件所在文件夹；默认取 [registry] dir")
_NOTE = Text("why, for whoever looks at the versions later", "变更说明，供以后查看")
_EXPORT_DIR = Text("where to write the files", "导出到该文件夹")
_NUMBER = Text("which version; else the newest", "版本号；默认最新")
_RECORDING = Text(
    "the bytes as they were sent, of one connection or one request body", "原始字节：一次连接或一个请求体的内容"
)
_AT = Text(
    "as if it came then, 2h or 3d ago or at 2026-03-02T09:30; else now",
    "按当时接收处理：2h、3d 之前或 2026-03-02T09:30；默认现在",
)
_TRIED_FEED = Text("which connector reads it: air, patrol, camera", "由哪个接入程序读取：air、patrol、camera")
_VENDOR_ID = Text("the vendor's id, as devices.csv names it", "厂商编号，与 devices.csv 中一致")
_VENDOR_NAME = Text("what people call it", "厂商名称")
_VENDOR_FEED = Text("what its keys are good for; may be given more than once", "密钥可用于的数据源；可多次给出")
_VENDOR_DATUM = Text("which datum its places come in; else WGS84", "其坐标所用的坐标系；默认 WGS84")
_VENDOR_ZONE = Text(
    "time zone of its times without offset; else Asia/Shanghai", "其不带时区的时间所属的时区；默认 Asia/Shanghai"
)
_VENDOR_PER_S = Text("messages a second it may send for long; else 50", "每秒可持续发送的消息数；默认 50")
_VENDOR_TRIAL = Text("its messages open no tickets", "其消息不开工单（试运行）")
_VENDOR_INVERSE = Text(
    "its places in GCJ-02 may be converted back, as its customer has decided", "经客户决定，可将其 GCJ-02 坐标反算"
)
_OVERLAP = Text("hours for which the keys before still count; else 72", "旧密钥继续有效的小时数；默认 72")
_ONE_KEY = Text("only the key of this id", "只停用该编号的密钥")
_PORT = Text("port on 127.0.0.1; 0 means any free one", "127.0.0.1 上的端口；0 表示任意空闲端口")
_ADVERTISE = Text("the addresses clients are told, one for each node", "对客户端公布的地址，每个节点一个")
_AGAINST = Text("an earlier version of the schemas folder", "较早版本的 schemas 文件夹")


if __name__ == "__main__":
    sys.exit(main())
