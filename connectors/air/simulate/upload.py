"""One message of a station: what it is made of, the bytes that are sent, what should become of it."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta, timezone

from connectors.air.hj212 import frame

BEIJING = timezone(timedelta(hours=8))
# Bits of Flag (HJ 212-2017 clause 6.3): an answer is wanted; PNUM and PNO are there.
ANSWER, PARTS = 1, 2


def stamp(at: datetime) -> str:
    """YYYYMMDDhhmmss."""
    return f"{at:%Y%m%d%H%M%S}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Upload:
    """A message, and what should become of it: `reading`, `alert`, `dead-letter`, `empty` or `nothing`.

    `n` numbers the messages of a device from 1. `values` are the texts sent, under the factor's HJ 212-2017 code and statistic
    (`a34004-Rtd`; the factor's mark is `a34004-Flag`).
    """

    header: Mapping[str, str] = field(default_factory=dict)
    body: str = ""
    expect: str
    n: int = 0
    trouble: str = ""
    data_time: str | None = None
    values: Mapping[str, str] = field(default_factory=dict)
    encoding: str = "utf-8"
    spoilt: bytes | None = None  # the bytes sent, where they are not the segment's proper frame
    answerable: bool = True
    pieces: tuple[int, ...] = ()  # where the bytes are cut into several writes

    def with_header(self, **fields: str | None) -> "Upload":
        """Other values for header fields, new ones at the end; None takes a field away."""
        header = {**self.header, **fields}
        return replace(self, header={name: value for name, value in header.items() if value is not None})

    def as_part(self, **numbers: str) -> "Upload":
        """Says in Flag that PNUM and PNO are there; `numbers` are those that really are."""
        return self.with_header(Flag=str(int(self.header["Flag"]) | PARTS), **numbers)

    @property
    def segment(self) -> bytes:
        head = "".join(f"{name}={value};" for name, value in self.header.items())
        return f"{head}CP=&&{self.body}&&".encode(self.encoding)

    @property
    def raw(self) -> bytes:
        """The bytes sent."""
        return frame(self.segment) if self.spoilt is None else self.spoilt

    @property
    def wants_answer(self) -> bool:
        """Flag asks for it, there is a QN to answer to, and the bytes can be read so far."""
        asked = int(self.header.get("Flag", "0")) & ANSWER
        return self.answerable and "QN" in self.header and asked != 0
