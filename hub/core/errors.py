"""The few kinds of failure, sorted by what the caller does about them.

HubError
├── Rejected       these bytes will never be right: keep them with their reason, go on
├── Unavailable    the other side is away: the same work again, later (Full, SpoolFull: too much waits for it)
├── UnknownOutcome whether it happened only the other side knows: end, and begin anew
└── Misconfigured  a person must act: name the key, stop before serving

Anything else is a defect and ends the process: a crash with a name beats a record quietly made up.
"""

import traceback
from enum import StrEnum


class Reason(StrEnum):
    """Why a message lies in the dead letters or was refused: a closed list, since each becomes a metric label."""

    LENGTH = "length"
    CRC = "crc"
    SYNTAX = "syntax"
    TIMEOUT = "timeout"
    ENCRYPTED = "encrypted"
    UNKNOWN_DEVICE = "unknown_device"
    NOT_YOURS = "not_yours"
    TOO_LARGE = "too_large"
    SCHEMA = "schema"
    POISON = "poison"
    QUARANTINED = "quarantined"
    OUTSIDE_AREA = "outside_area"
    DATUM = "datum"
    BAD_TIME = "bad_time"
    # Refused only, never dead-lettered: neither Kafka nor the disk has it in time; too much waits in memory; the spool is full.
    UNAVAILABLE = "unavailable"
    BUSY = "busy"
    FULL = "full"


class AbortReason(StrEnum):
    """Why a transaction has not happened and is tried again; each becomes a metric label."""

    UNAVAILABLE = "unavailable"  # the broker does not answer, or not in time
    REBALANCED = "rebalanced"  # the partitions belong to another member by now
    REFUSED = "refused"  # the broker does not take one of the records
    OTHER = "other"


class HubError(Exception):
    """Every failure the hub names itself."""


class Rejected(HubError):
    """These bytes will never be right: the caller keeps them with `reason` and goes on."""

    def __init__(self, reason: Reason, detail: str = "") -> None:
        super().__init__(f"{reason}: {detail}" if detail else reason.value)
        self.reason = reason
        self.detail = detail


class Unavailable(HubError):
    """The other side is away: the same work may succeed later."""


class Full(Unavailable):
    """Too much waits in memory already, for Kafka or for the disk."""


class SpoolFull(Unavailable):
    """The spool has as much as it may have."""


class UnknownOutcome(HubError):
    """Whether it happened only the other side knows: the process ends, and the next one asks before it begins."""


class Misconfigured(HubError):
    """A person must act: the message names the key or file and what to do."""


def places(error: BaseException) -> str:
    """The trace of a defect and of what led to it, without the errors' own words: they may quote a message, a setting, and so a person or a secret."""
    before = error.__cause__ or (None if error.__suppress_context__ else error.__context__)
    led = f"{places(before)}\nand then\n" if before else ""
    return f"{led}{''.join(traceback.format_tb(error.__traceback__))}{type(error).__name__}"
