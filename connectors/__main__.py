"""`python -m connectors NAME`: starts the connector of that folder. There is no list of them to keep."""

import argparse
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from hub import lang
from hub.core.errors import Misconfigured, Unavailable
from hub.lang import Text, say
from hub.settings import load

_CONFIG = Text(
    "settings (TOML); else $GRIDHUB_CONFIG, ./hub.toml, the shipped default",
    "配置文件（TOML）；默认依次为 $GRIDHUB_CONFIG、./hub.toml、自带默认值",
)
_LANG = Text("language of what is said; else LANG", "界面语言；默认取自 LANG")


def main() -> int:
    """Runs one connector until it is told to stop; exit codes as `gridhub`."""
    words = sys.argv[1:]
    lang.choose(words[words.index("--lang") + 1] if "--lang" in words[:-1] else None)
    parser = argparse.ArgumentParser(
        prog="python -m connectors",
        description=str(Text("Runs one connector until it is told to stop.", "运行一个接入程序，直到收到停止信号。")),
    )
    parser.add_argument("name", help=str(Text("the connector's folder, such as air", "接入程序的文件夹名，例如 air")))
    parser.add_argument("--config", type=Path, metavar="FILE", help=str(_CONFIG))
    parser.add_argument("--lang", choices=("zh", "en"), help=str(_LANG))
    options = parser.parse_args()
    if not options.name.isidentifier() or find_spec(f"connectors.{options.name}") is None:
        parser.error(str(Text(f"there is no connector {options.name!r}", f"没有名为 {options.name!r} 的接入程序")))
    try:
        import_module(f"connectors.{options.name}.serve").main(load(options.config))
    except Misconfigured as error:
        say(f"connectors {options.name}: {error}", f"connectors {options.name}：{error}")
        return 2
    except Unavailable as error:
        say(f"connectors {options.name}: {error}", f"connectors {options.name}：{error}")
        return 3
    return 0


if __name__ == "__main__":
    sys.exit(main())
