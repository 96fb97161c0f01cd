"""Takes what patrol platforms push: each feature is a message of its own, and a broken one costs the others nothing.

A body of which nothing can be read is kept whole and its sender told so (400): it is a program that people can mend.
"""

import asyncio
from collections.abc import Callable
from dataclasses import replace

from connectors.patrol.features import Feature, read
from connectors.patrol.settings import PatrolSettings
from connectors.patrol.translate import FEED, Town, translate
from hub.connector import run
from hub.core.errors import Rejected
from hub.core.registry import Registry
from hub.evidence import Evidence
from hub.http_in import ANSWERS, Problem, Push, PushSource, Route, Taken
from hub.lang import Text
from hub.outbox import Fate, Outbox
from hub.settings import HostPort, Settings, section

TOPIC = "alerts.patrol"
TYPES = frozenset(
    {"", "application/json", "application/geo+json", "application/vnd.geo+json", "text/json", "text/plain"}
)
_UNREADABLE = Text("The body cannot be read", "请求体无法读取")


class PatrolSource(PushSource):
    """The source of the feed `patrol`."""

    def __init__(
        self, settings: PatrolSettings, evidence: Evidence, registry: Callable[[], Registry] = Registry
    ) -> None:
        super().__init__(FEED, settings, [Route("/in/patrol", TYPES)], evidence, registry)
        self._of: Registry | None = None
        self._town: Town

    def _known(self) -> Town:
        registry = self.registry()
        if registry is not self._of:
            self._town, self._of = Town(registry), registry
        return self._town

    async def take(self, push: Push, outbox: Outbox) -> Taken:
        """What becomes of one push: its messages handed to the outbox."""
        try:
            features = read(push.body)
        except Rejected as rejected:
            kept = await self.keep_whole(push, outbox, rejected)
            said = Text(f"{rejected}; it is kept as {kept.id}.", f"{rejected}；已存为 {kept.id}。")
            return Taken(kept.id, kept.fates, Problem(rejected.reason, _UNREADABLE, said))
        fates, parts = list[asyncio.Future[Fate] | Fate](), list[tuple[str, str]]()
        if len(features) == 1:
            # What is kept of it is what came, to the byte.
            features = [replace(features[0], raw=push.body)]
        for index, feature in enumerate(features):
            taken = await self._hand_over(push, feature, index, outbox)
            fates += taken.fates
            parts += taken.parts
            # A thousand features may take seconds: others are heard in between.
            await asyncio.sleep(0)
        return Taken(parts[0][0], fates, parts=parts)

    async def _hand_over(self, push: Push, feature: Feature, index: int, outbox: Outbox) -> Taken:
        town = self._known()
        try:
            alert = translate(feature, push.vendor, town, push.accepted_at, key=push.idempotency_key, index=index)
        except Rejected as rejected:
            # The feature alone is what people mend.
            own = replace(push, body=feature.raw)
            kept = await self.keep_whole(
                own, outbox, Rejected(rejected.reason, f"feature {index + 1}: {rejected.detail}")
            )
            return replace(kept, parts=[(kept.id, rejected.reason.value)])
        if device := town.by_id.get(alert.device):
            outbox.alive(device, "data")
        return Taken(alert.id, [outbox.publish(TOPIC, alert, feature.raw)], parts=[(alert.id, "")])


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
