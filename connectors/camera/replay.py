"""A dead letter of this feed, taken once more: `gridhub dead-letters replay`."""

import asyncio
from collections.abc import Sequence

from connectors.camera.serve import CameraSource
from connectors.camera.settings import CameraSettings
from connectors.camera.translate import FEED
from hub.core.events import DeadLetter
from hub.core.registry import Registry
from hub.evidence import Evidence
from hub.http_in import push_again
from hub.outbox import Fate, Outbox
from hub.settings import Settings, section


async def replay(
    letter: DeadLetter, settings: Settings, registry: Registry, outbox: Outbox
) -> Sequence[asyncio.Future[Fate] | Fate]:
    """What the same push would become now; its headers are gone, so its layout is found out from the body."""
    evidence = Evidence(settings.evidence_dir)
    source = CameraSource(section(settings, FEED, CameraSettings), evidence, lambda: registry)
    return (await source.take(push_again(letter, registry), outbox)).fates
