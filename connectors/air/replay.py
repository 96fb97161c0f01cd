"""A dead letter of this feed, taken once more: `gridhub dead-letters replay`."""

import asyncio
from collections.abc import Sequence

from connectors.air.hj212 import Framer
from connectors.air.serve import FEED, Connection, Registered
from connectors.air.settings import AirSettings
from hub.core.events import DeadLetter
from hub.core.registry import Registry
from hub.outbox import Fate, Outbox
from hub.settings import Settings, section
from hub.telemetry import FeedTelemetry


def replay(
    letter: DeadLetter, settings: Settings, registry: Registry, outbox: Outbox
) -> Sequence[asyncio.Future[Fate] | Fate]:
    """What a connection would make of its bytes, and of nothing before or after them; nobody is answered."""
    air = section(settings, FEED, AirSettings)
    telemetry = FeedTelemetry()
    connection = Connection(air, Registered(lambda: registry, telemetry), outbox, telemetry)
    framer = Framer()
    arrived = [*framer.feed(letter.raw), *framer.close()]
    return [connection.keep(one, letter.accepted_at).fate for one in arrived]
