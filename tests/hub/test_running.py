"""What a running process owes to those around it."""

import subprocess
import sys
from pathlib import Path

import pytest

from hub.core.errors import Misconfigured
from hub.running import announced

ALLOW = """
import resource
from hub.core.errors import Misconfigured
from hub.running import allow_open_files
try:
    allow_open_files(300)
except Misconfigured as error:
    print(error)
print(resource.getrlimit(resource.RLIMIT_NOFILE)[0])
"""


@pytest.mark.parametrize(
    ("limits", "soft"), [("ulimit -Hn 300; ulimit -Sn 100", 300), ("ulimit -n 200", 200), ("ulimit -n 400", 400)]
)
def test_open_files_are_allowed_or_the_limit_is_named(limits: str, soft: int) -> None:
    ran = subprocess.run(
        ["sh", "-c", f'{limits}; exec "$@"', "sh", sys.executable, "-c", ALLOW],
        capture_output=True,
        text=True,
        check=True,
    )
    *told, now = ran.stdout.splitlines()
    assert int(now) == soft
    assert bool(told) == (soft < 300), told
    assert all("this process may have 200" in sentence for sentence in told)


def test_a_run_file_that_cannot_be_written_is_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "run").write_text("no folder", encoding="utf-8")
    with (
        pytest.raises(Misconfigured, match=r"^data: .*/run/air\.json cannot be written: File exists$"),
        announced(tmp_path, "air", {}),
    ):
        pass
