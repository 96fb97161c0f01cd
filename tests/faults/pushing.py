"""Those who push over HTTP, as a fault run sees them: their log, their registry, what they say while they send."""

import csv
import shutil
from dataclasses import dataclass, field
from pathlib import Path

from tests.faults.processes import ROOT, Tail

ACCUSED = "张某"
"""Whom the simulated satellites name with each spot, and a telephone number."""


@dataclass
class Heard:
    """What the senders of a feed say while they send."""

    tail: Tail
    waiting: set[tuple[str, int]] = field(default_factory=set)
    answered: int = 0
    again: int = 0
    without_kafka: int = 0

    def look(self) -> "Heard":
        """By now."""
        for line in self.tail.more():
            name = line["device"], line["n"]
            if line["what"] == "sent":
                self.waiting.add(name)
                self.again += line["attempt"] > 1
            else:
                self.waiting.discard(name)
                self.answered += line["status"] in (200, 400)
                self.without_kafka += line["status"] == 503 or line["fate"] == "spooled"
        return self


def log_of(data: Path, feed: str) -> Path:
    """Where the senders of a feed say what they sent and heard."""
    return data / f"{feed}-sent.jsonl"


def registry(data: Path, per_s: int) -> Path:
    """The shipped one, but for how fast its vendors may push."""
    folder = data / "registry"
    shutil.copytree(ROOT / "deploy/town", folder)
    vendors = folder / "vendors.toml"
    text = vendors.read_text(encoding="utf-8").replace("per_s = 50\n", "")
    vendors.write_text(text.replace("[[vendors]]\n", f"[[vendors]]\nper_s = {per_s}\n"), encoding="utf-8")
    return folder


def senders_of(feed: str) -> dict[str, str]:
    """Who pushes for which device: a camera goes by its own name, a drone by its number."""
    with (ROOT / "deploy/town/devices.csv").open(encoding="utf-8", newline="") as file:
        return {row["device"]: row["mn"] for row in csv.DictReader(file) if row["feed"] == feed == "patrol"}
