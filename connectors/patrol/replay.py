"""A dead letter of this feed, taken once more: `gridhub dead-letters replay`."""

import asyncio
from collections.abc import Sequence

from connectors.patrol.serve import PatrolSource
from connectors.patrol.settings import PatrolSettings
from connectors.patrol.translate import FEED
from hub.connector import Fate, Outbox
from hub.core.errors import Reason, Rejected
from hub.core.events import DeadLetter
from hub.core.registry import Registry
from hub.evidence import Evidence
from hub.http_in import Push
from hub.settings import Settings, section


async def replay(
    letter: DeadLetter, settings: Settings, registry: Registry, outbox: Outbox
) -> Sequence[asyncio.Future[Fate] | Fate]:
    """What a push of its bytes would become now, under the vendor that sent it. Raises Rejected where that vendor is no longer there."""
    vendor = next((one for one in registry.vendors if one.id == letter.vendor), None)
    if vendor is None:
        raise Rejected(Reason.UNKNOWN_DEVICE, f"the vendor {letter.vendor} is not in the registry")
    source = PatrolSource(section(settings, FEED, PatrolSettings), Evidence(settings.evidence_dir))
    source.registry = lambda: registry
    push = Push(
        vendor=vendor,
        body=letter.raw,
        content_type="",
        headers={},
        idempotency_key="",
        accepted_at=letter.accepted_at,
    )
    taken = await source.take(push, outbox)
    return taken.fates
