"""What every command shares: its language, chosen before anything is said, and its last frame, which gives the exit code."""

import argparse
import os
import select
import signal
import sys
import traceback
from collections.abc import Callable, Sequence

from hub.core.errors import HubError, Misconfigured, Unavailable, UnknownOutcome, places
from hub.lang import choose, chosen, say

# 128 + n: ended for the reason that signal n stands for.
DONE, FINDING, USAGE, UNAVAILABLE, PASSED, DEFECT, UNKNOWN_OUTCOME = 0, 1, 2, 3, 4, 70, 75

_CODES: dict[type[HubError], int] = {Misconfigured: USAGE, Unavailable: UNAVAILABLE, UnknownOutcome: UNKNOWN_OUTCOME}

# What argparse says to a user of our commands. The names in it are argparse's own.
_ARGPARSE = {
    "usage: ": "用法：",
    "positional arguments": "位置参数",
    "options": "选项",
    "show this help message and exit": "显示此帮助并退出",
    "%(prog)s: error: %(message)s\n": "%(prog)s：错误：%(message)s\n",
    "argument %(argument_name)s: %(message)s": "参数 %(argument_name)s：%(message)s",
    "the following arguments are required: %s": "缺少参数：%s",
    "unrecognized arguments: %s": "无法识别的参数：%s",
    "expected one argument": "需要一个值",
    "ignored explicit argument %r": "不接受值 %r",
    "invalid %(type)s value: %(value)r": "%(value)r 不是有效的值（%(type)s）",
    "invalid choice: %(value)r (choose from %(choices)s)": "不能是 %(value)r（可选：%(choices)s）",
    "ambiguous option: %(option)s could match %(matches)s": "选项 %(option)s 不明确，可能是 %(matches)s",
}


def choose_language(words: Sequence[str]) -> None:
    """Fixes the language by the `--lang` of a command line that is not parsed yet, and has argparse speak it."""
    early = argparse.ArgumentParser(add_help=False)
    early.add_argument("--lang", nargs="?")
    choose(early.parse_known_args(words)[0].lang)
    # By this name argparse asks gettext for what it says. A catalog for gettext itself would be a compiled file, found by the
    # environment's language and not by --lang.
    vars(argparse)["_"] = lambda text: _ARGPARSE.get(text, text) if chosen() == "zh" else text


def exit_code(program: str, work: Callable[[], int]) -> int:
    """Does the work of a program and returns its exit code; a failure that has a name is one sentence."""
    try:
        code = work()
        if sys.stdout:  # None where the program was started with a closed one
            sys.stdout.flush()
    except tuple(_CODES) as error:
        say(f"{program}: {error}", f"{program}：{error}")
        return next(code for kind, code in _CODES.items() if isinstance(error, kind))
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    except Exception as error:  # noqa: BLE001 - the defect is named, and the process ends
        if isinstance(error, BrokenPipeError) and _nobody_reads():
            # As a shell tells of any program before `| head`: not all was said, and nobody wanted more.
            return 128 + signal.SIGPIPE
        _tell(error)
        return DEFECT
    return code


def _tell(error: BaseException) -> None:
    """A defect; in all its words only to a person's own terminal, since what is not one is a log."""
    if sys.stderr and sys.stderr.isatty():
        traceback.print_exception(error)
    else:
        print(places(error), file=sys.stderr, flush=True)


def _nobody_reads() -> bool:
    """Whether the reader of stdout or stderr is gone. What is left to say there goes nowhere, so that the exit does not fail on it."""
    outputs = select.poll()
    for stream in filter(None, (sys.stdout, sys.stderr)):
        outputs.register(stream.fileno(), 0)  # 0: nothing but the errors, which are always reported
    broken = [descriptor for descriptor, _ in outputs.poll(0)]
    for descriptor in broken:
        os.dup2(os.open(os.devnull, os.O_WRONLY), descriptor)
    return bool(broken)
