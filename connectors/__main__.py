"""`python -m connectors NAME`: starts the connector of that folder. There is no list of them to keep."""

import argparse
import sys
from collections.abc import Sequence
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from hub.command import DONE, choose_language, exit_code
from hub.lang import Text
from hub.settings import load

_CONFIG = Text(
    "settings (TOML); else $GRIDHUB_CONFIG, ./hub.toml, the shipped default",
    "配置文件（TOML）；默认依次为 $GRIDHUB_CONFIG、./hub.toml、自带默认值",
)
_LANG = Text("language of what is said; else LANG", "界面语言；默认取自 LANG")


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs one connector until it is told to stop; exit codes as `gridhub`."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    choose_language(words)
    parser = argparse.ArgumentParser(
        prog="python -m connectors",
        description=str(Text("Runs one connector until it is told to stop.", "运行一个接入程序，直到收到停止信号。")),
    )
    parser.add_argument("name", help=str(Text("the connector's folder, such as air", "接入程序的文件夹名，例如 air")))
    parser.add_argument("--config", type=Path, metavar="FILE", help=str(_CONFIG))
    parser.add_argument("--lang", choices=("zh", "en"), help=str(_LANG))
    options = parser.parse_args(words)
    if not options.name.isidentifier() or find_spec(f"connectors.{options.name}") is None:
        parser.error(str(Text(f"there is no connector {options.name!r}", f"没有名为 {options.name!r} 的接入程序")))

    def work() -> int:
        import_module(f"connectors.{options.name}.serve").main(load(options.config))
        return DONE

    return exit_code(f"connectors {options.name}", work)


if __name__ == "__main__":
    sys.exit(main())
