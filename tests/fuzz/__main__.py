"""`python -m tests.fuzz TARGET --seconds N`: lets libFuzzer look for an input that a target does not survive, by what of the program's code is reached.

What it finds it leaves in `tests/fuzz/found/TARGET/`, from where `test_fuzz.py` takes it for good; what it has learned stays in `.gridhub/fuzz/TARGET/`
and is where the next run begins. Exits with something else than 0 when it has found one.
"""

import argparse
import hashlib
import sys
from pathlib import Path

import atheris

ROOT = Path(__file__).parents[2]
FOUND = ROOT / "tests/fuzz/found"
# A target that takes longer for one input, or more memory, has a defect as well.
SLOW_S, MEMORY_MIB = 5, 2048
MOST_BYTES = 16_384

with atheris.instrument_imports(include=["hub", "connectors"]):
    from tests.fuzz.seeds import SEEDS
    from tests.fuzz.targets import TARGETS


def main() -> None:
    """Does not return: libFuzzer ends the process."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("target", choices=sorted(TARGETS))
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0, help="0: another one each time")
    wish = parser.parse_args()
    corpus, found = ROOT / ".gridhub/fuzz" / wish.target, FOUND / wish.target
    for folder in (corpus, found):
        folder.mkdir(parents=True, exist_ok=True)
    for seed in SEEDS[wish.target]():
        (corpus / hashlib.sha1(seed, usedforsecurity=False).hexdigest()).write_bytes(seed)
    options = {
        "max_total_time": wish.seconds,
        "seed": wish.seed,
        "timeout": SLOW_S,
        "rss_limit_mb": MEMORY_MIB,
        "max_len": MOST_BYTES,
        "artifact_prefix": f"{found}/",
        "print_final_stats": 1,
    }

    def survives(data: bytes) -> None:
        TARGETS[wish.target](data)

    atheris.Setup([sys.argv[0], *(f"-{name}={value}" for name, value in options.items()), str(corpus)], survives)
    atheris.Fuzz()


main()
