"""`python -m tests.load recovery|overload|soak`: what the hub promises under load, measured on real processes; see README.md.

Prints a report as Markdown, with `--json FILE` the same for programs; progress goes to stderr. Exits with 1 where a claim does not hold.
"""

import argparse
import sys
from pathlib import Path

from hub.command import DONE, FINDING, choose_language, exit_code
from hub.lang import Text
from tests.load import overload, recovery, soak

COMMANDS = {
    "overload": (overload, Text("One vendor sends ten times too much.", "一个厂商发送十倍于承受能力的数据。")),
    "recovery": (recovery, Text("From a router's death to the next ticket.", "路由器故障后到下一张工单的时间。")),
    "soak": (soak, Text("A long time at a steady rate.", "长时间稳定运行。")),
}


def main(words: list[str]) -> int:
    """The command; returns its exit code."""
    choose_language(words)
    parser = argparse.ArgumentParser(prog="python -m tests.load")
    commands = parser.add_subparsers(dest="command", required=True)
    for name, (module, about) in COMMANDS.items():
        own = commands.add_parser(name, description=str(about), help=str(about))
        own.add_argument("--json", type=Path, help=str(Text("the report for programs", "供程序读取的报告文件")))
        own.add_argument("--lang", choices=("zh", "en"), help=str(Text("language of messages", "提示语言")))
        module.add_options(own)
    options = parser.parse_args(words)
    return exit_code("tests.load", lambda: _measured(options))


def _measured(options: argparse.Namespace) -> int:
    report = COMMANDS[options.command][0].measure(options)
    print(report.markdown())
    if options.json:
        options.json.write_text(report.json(), encoding="utf-8")
    return DONE if report.holds else FINDING


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
