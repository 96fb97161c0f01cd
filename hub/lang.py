"""User-facing sentences in English and Simplified Chinese, each pair written where it is said."""

import os
import re
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import NamedTuple

# What a terminal would take for a command.
_CONTROL = re.compile(r"[\x00-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")

_chosen = "en"


class Text(NamedTuple):
    """One sentence in both languages; `str()` gives the chosen one."""

    en: str
    zh: str

    def __str__(self) -> str:
        return self.zh if _chosen == "zh" else self.en


def choose(language: str | None = None) -> None:
    """Fixes the language of this process: the one given, else LC_ALL or LANG, else English."""
    global _chosen  # noqa: PLW0603 - one process speaks one language
    named = language or os.environ.get("LC_ALL") or os.environ.get("LANG") or "en"
    _chosen = "zh" if named.lower().startswith("zh") else "en"


def chosen() -> str:
    """`zh` or `en`."""
    return _chosen


def say(en: str, zh: str) -> None:
    """One line for a person, on stderr: stdout is for results."""
    print(Text(en, zh), file=sys.stderr, flush=True)


def harmless(text: str) -> str:
    """`text` from outside (a device's name, a mark), as it may be shown on a terminal: control characters become U+FFFD."""
    return _CONTROL.sub("\N{REPLACEMENT CHARACTER}", text)


@contextmanager
def progress(en: str, zh: str, *, every_s: float = 2.0) -> Iterator[None]:
    """Says what is being waited for once the wait has lasted `every_s` seconds, and again, with its age, after each more."""
    done = threading.Event()
    started = time.monotonic()

    def remind() -> None:
        while not done.wait(every_s):
            age = round(time.monotonic() - started)
            say(f"{en} ... {age} s", f"{zh} …… {age} 秒")

    reminder = threading.Thread(target=remind, name="progress", daemon=True)
    reminder.start()
    try:
        yield
    finally:
        done.set()
        reminder.join()
