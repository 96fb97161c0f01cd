"""A dead letter of this feed, taken once more: `gridhub dead-letters replay`."""

import asyncio
from collections.abc import Sequence

from connectors.patrol.serve import PatrolSource
from connectors.patrol.settings import PatrolSettings
from connectors.patrol.translate import FEED
from hub.core.events import DeadLetter
from hub.core.registry import Registry
from hub.evidence import Evidence
from hub.http_in import push_again
from hub.outbox import Fate, Outbox
from hub.settings import Settings, section


async def replay(
    letter: DeadLetter, settings: Settings, registry: Registry, outbox: Outbox
) -> Sequence[asyncio.Future[Fate] | Fate]:
    """What the same push would become now; its headers are gone."""
    evidence = Evidence(settings.evidence_dir)
    source = PatrolSource(section(settings, FEED, PatrolSettings), evidence, lambda: registry)
    return (await source.take(push_again(letter, registry), outbox)).fates
