"""`python -m connectors NAME`: starts the connector of that folder. There is no list of them to keep."""

import argparse
import sys
from importlib import import_module
from importlib.util import find_spec
from pathlib import Path

from hub import lang
from hub.core.errors import Misconfigured, Unavailable
from hub.lang import say
from hub.settings import load


def main() -> int:
    """Runs one connector until it is told to stop; exit codes as `gridhub`."""
    parser = argparse.ArgumentParser(prog="python -m connectors")
    parser.add_argument("name", help="the folder of the connector, such as air")
    parser.add_argument("--config", type=Path, metavar="FILE")
    parser.add_argument("--lang", choices=("zh", "en"))
    options = parser.parse_args()
    lang.choose(options.lang)
    if not options.name.isidentifier() or find_spec(f"connectors.{options.name}") is None:
        parser.error(f"there is no connector {options.name!r}")
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
