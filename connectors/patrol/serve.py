"""Takes what patrol platforms push: each feature is a message of its own, and a broken one costs the others nothing.

A body of which nothing can be read is kept whole and its sender told so (400): it is a program that people can mend.
"""

import asyncio
from collections.abc import Callable, Mapping
from dataclasses import replace

from connectors.patrol.features import Feature, read
from connectors.patrol.settings import PatrolSettings
from connectors.patrol.translate import FEED, Town, translate
from hub.connector import Fate, Outbox, run
from hub.core.errors import Reason, Rejected, Unavailable
from hub.core.registry import Registry
from hub.evidence import Evidence
from hub.http_in import ANSWERS, LARGE_BYTES, HttpSource, Problem, Push, Route, Taken, dead_letter
from hub.lang import Text
from hub.settings import HostPort, Settings, section
from hub.telemetry import FeedTelemetry

TOPIC = "alerts.patrol"
TYPES = frozenset(
    {"", "application/json", "application/geo+json", "application/vnd.geo+json", "text/json", "text/plain"}
)
_UNREADABLE = Text("The body cannot be read", "请求体无法读取")


class PatrolSource:
    """The source of the feed `patrol` (see hub.connector.Source)."""

    def __init__(self, settings: PatrolSettings, evidence: Evidence) -> None:
        self._evidence = evidence
        self._http = HttpSource(FEED, settings, [Route("/in/patrol", TYPES)], self._take, keep_large=self._keep_large)
        self._of: Registry | None = None
        self._town: Town

    async def start(
        self, outbox: Outbox, telemetry: FeedTelemetry, registry: Callable[[], Registry]
    ) -> Mapping[str, int]:
        """Listens; raises Misconfigured when the address cannot be had."""
        self._registry = registry
        return await self._http.start(outbox, telemetry, registry)

    async def stop(self) -> None:
        """Takes no new request, answers those under way."""
        await self._http.stop()

    def _known(self) -> Town:
        registry = self._registry()
        if registry is not self._of:
            self._town, self._of = Town(registry), registry
        return self._town

    async def _take(self, push: Push, outbox: Outbox) -> Taken:
        try:
            features = read(push.body)
        except Rejected as rejected:
            kept = await self._kept(push, outbox, rejected.reason, rejected.detail)
            said = Text(f"{rejected}; it is kept as {kept.id}.", f"{rejected}；已存为 {kept.id}。")
            return Taken(kept.id, kept.fates, Problem(rejected.reason, _UNREADABLE, said))
        first, fates = "", list[asyncio.Future[Fate] | Fate]()
        for index, feature in enumerate(features):
            taken = await self._hand_over(push, feature, index, outbox)
            first, fates = first or taken.id, [*fates, *taken.fates]
        return Taken(first, fates)

    async def _hand_over(self, push: Push, feature: Feature, index: int, outbox: Outbox) -> Taken:
        town = self._known()
        try:
            alert = translate(feature, push.vendor, town, push.accepted_at, key=push.idempotency_key, index=index)
        except Rejected as rejected:
            # The feature alone is what people mend; of a body that is one it is the whole.
            own = replace(push, body=feature.raw)
            return await self._kept(own, outbox, rejected.reason, f"feature {index + 1}: {rejected.detail}")
        if device := town.by_id.get(alert.device):
            outbox.alive(device, "data")
        return Taken(alert.id, [outbox.publish(TOPIC, alert, feature.raw)])

    async def _kept(self, push: Push, outbox: Outbox, reason: Reason, detail: str) -> Taken:
        """Kept whole, in the dead letters or, where it is long, in the evidence store."""
        stored = None
        if len(push.body) > LARGE_BYTES:
            stored = await asyncio.to_thread(self._keep_large, push.body)
            if stored is None:
                return Taken("", [outbox.refused(Reason.UNAVAILABLE)])
        letter = dead_letter(FEED, push, reason, detail, evidence=stored)
        return Taken(letter.id, [outbox.dead_letter(letter)])

    def _keep_large(self, body: bytes) -> str | None:
        try:
            return self._evidence.keep(body, most=len(body))
        except Unavailable:
            return None


def main(settings: Settings) -> None:
    """The connector as a process."""
    patrol = section(settings, FEED, PatrolSettings)
    run(
        FEED,
        settings,
        PatrolSource(patrol, Evidence(settings.evidence_dir)),
        topics=[TOPIC],
        budget_s=patrol.budget_s,
        metrics=HostPort(host="127.0.0.1", port=9402),
        answers=ANSWERS,
    )
