"""What a loss of power leaves."""

import os
from pathlib import Path


def settle_names(folder: Path) -> None:
    """Returns when what the folder's entries are called now is on the disk: a file's own fsync does not promise its name. Blocks; raises OSError."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
