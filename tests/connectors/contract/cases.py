"""What a connector's folder says of itself for the contract: the bytes of each case, and what must come of them.

`tests/connectors/<name>/contract.py` holds one `CONTRACT`. Every field without a default must be there: a folder that leaves a case out fails
the suite. All bytes are what a sender puts on its connection, whatever the protocol.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from hub.connector import Source
from hub.core.registry import Registry


@dataclass(frozen=True, kw_only=True)
class Case:
    """Bytes of a sender, and what becomes of them.

    answers: what the sender hears, in order. records: the topics of the records that come of it, in order; letters: the reasons of its dead
    letters, in order. empty: how many messages hold nothing to keep. refused: how many are not taken. unheard: whether it is none of the balance's
    messages, only told to operators (a request without a key).
    """

    name: str
    sent: bytes
    answers: tuple[str, ...] = ()
    records: tuple[str, ...] = ()
    letters: tuple[str, ...] = ()
    empty: int = 0
    refused: int = 0
    unheard: bool = False

    @property
    def received(self) -> int:
        """How many messages it is."""
        return len(self.records) + len(self.letters) + self.empty + self.refused


@dataclass(frozen=True, kw_only=True)
class Contract:
    """The cases of one feed.

    source: the connector's real source on a free port of 127.0.0.1, with a folder of its own; `hasty`: with times of 0.3 s instead of its usual ones.
    port: which of its ports senders use. registry: in force. answers: what a sender reads, as words (`9014`, `200`).

    accept: good messages, each one record, each with another id. empty: nothing to keep, or None where the feed has no such message.
    refuse: each kind of bad input; together with the other cases they must show every `Reason` that the folder's code names. wrong_key: of nobody
    whom the registry knows. stranger: a message of a device that is not registered, or not so, and `registry_later` with which it is good.
    several: one sending that is answered once and becomes more than one record, or None where the feed has no such message. too_large, slow (kept
    open, sent to a hasty source), hostile: bytes that mean harm, whatever comes of them. away: what a sender of accept[0] hears when Kafka is away and the spool is full
    and nothing else keeps the message. dispensable: so many bytes at the end of a message are not waited for.
    """

    feed: str
    source: Callable[[Path, bool], Source]
    port: str
    registry: Registry
    registry_later: Registry
    answers: Callable[[bytes], list[str]]
    accept: Sequence[Case]
    empty: Case | None
    refuse: Sequence[Case]
    wrong_key: Sequence[Case]
    several: Case | None
    stranger: Case
    too_large: Case
    slow: Case
    hostile: Sequence[tuple[str, bytes]]
    away: tuple[str, ...]
    dispensable: int = 0

    @property
    def cases(self) -> list[Case]:
        """All that have an outcome to be compared, `slow` aside, which needs a hasty source."""
        some = [*self.accept, *self.refuse, *self.wrong_key, self.stranger, self.too_large]
        return [*some, self.empty] if self.empty else some
