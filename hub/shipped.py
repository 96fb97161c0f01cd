"""Finds the files that travel with the program: `schemas/` and the defaults of `deploy/`."""

from pathlib import Path

_IN_WHEEL = Path(__file__).parent / "shipped_files"
_IN_CHECKOUT = Path(__file__).parent.parent


def shipped(name: str) -> Path:
    """The path of `name` (such as `schemas` or `deploy/town`), in an installed wheel as in a checkout."""
    return (_IN_WHEEL if _IN_WHEEL.is_dir() else _IN_CHECKOUT) / name


def installed(path: Path) -> bool:
    """Whether `path` lies in an installed program, where the next version replaces it."""
    return path.resolve().is_relative_to(_IN_WHEEL.resolve())
