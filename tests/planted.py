"""Secrets and personal data that tests plant. They may stand in no log, metric, health page, error answer or error output; the end of each run looks for
them in all logs (tests/conftest.py).
"""

import re
import tomllib
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

LOGS = ("*.log", "said")
"""What the output of a process that a test starts is called."""
SEGMENT = re.compile(r"\d{20}\.log")
"""What Kafka calls the records of a partition: these are for those who may read them."""

VENDORS = Path(__file__).parents[1] / "deploy/town/vendors.toml"
VENDOR_KEY = "gh_planted-vendor-key-4Jm2Qw8Zt6"
STRANGE_KEY = "gh_planted-strange-key-9Xc5Vb1Nk3"
BEARER = "planted-bearer-token-7Hs3Ld"
SASL_PASSWORD = "planted-sasl-password-5Rf8"  # noqa: S105 - the value that is looked for
TLS_KEY = "planted-tls-key-MIIEvQIBADANBgkq"
STATION_PASSWORD = "pw8Planted6"  # noqa: S105 - as above
MOBILE = "13987650142"
IDENTITY_CARD = "41012219790229351X"
PLATE = "豫A7Q3K9"
PERSON = "欧阳植入"
PLANTED = (
    *(VENDOR_KEY, STRANGE_KEY, BEARER, SASL_PASSWORD, TLS_KEY, STATION_PASSWORD),
    *(MOBILE, IDENTITY_CARD, PLATE, PERSON),
)
# What other tests and the simulated senders send.
SENT_ELSEWHERE = (
    *("a-key-of-the-test", "a-key-of-the-past", "a-key-of-another"),
    *("13800000000", "13800138000", "13971310878", "豫A12345", "张三"),
    *(f"demo-{vendor['id']}-key" for vendor in tomllib.loads(VENDORS.read_text(encoding="utf-8"))["vendors"]),
)
ALL_OF_A_PERSON = f"{PERSON} {MOBILE} {IDENTITY_CARD} {PLATE}"


@contextmanager
def searched(prefix: str) -> Iterator[Path]:
    """A temporary folder, outside of that which the end of the test run looks through; its logs are searched before it goes."""
    with TemporaryDirectory(prefix=prefix) as name:
        folder = Path(name)
        yield folder
        assert not (found := leaks(folder)), found


def planted_in(text: str, values: Iterable[str] = PLANTED) -> list[str]:
    """Which of them the text holds, also where JSON or Python has escaped it."""
    return [
        value
        for value in values
        if value in text or value.encode("unicode_escape").decode() in text or repr(value.encode())[2:-1] in text
    ]


def leaks(folder: Path) -> list[str]:
    """Each value that a log in the folder holds, as `log: value`."""
    return [
        f"{path.relative_to(folder)}: {value}"
        for name in LOGS
        for path in sorted(folder.rglob(name))
        if path.is_file() and not SEGMENT.fullmatch(path.name)
        for value in planted_in(path.read_text(encoding="utf-8", errors="replace"), PLANTED + SENT_ELSEWHERE)
    ]
