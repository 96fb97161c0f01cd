"""`python -m tests.proof`: runs under seeds, in which everything that can happen to the hub does."""

import argparse
import logging
import sys
from pathlib import Path

from tests.proof.judge import proved


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.proof", description=__doc__)
    parser.add_argument("seeds", help="a seed, or the first and the last: 1-150")
    parser.add_argument(
        "--keep", type=Path, metavar="DIR", help="keep what all have said in runs of which something is wrong"
    )
    options = parser.parse_args()
    logging.getLogger("kafka").setLevel(logging.CRITICAL)
    first, _, last = options.seeds.partition("-")
    wrong = 0
    for seed in range(int(first), int(last or first) + 1):
        result = proved(seed, options.keep)
        print(result.as_json(), flush=True)
        wrong += bool(result.findings)
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
