"""Takes what cameras push: pictures first, then the record, then the answer. A camera sends once: what is answered is kept, or kept whole.

Whatever is wrong with a message is the hub's to keep and people's to mend: the camera is answered 200 for a dead letter too, since it would not
send again, and some firmware stops pushing to an address that refuses.
"""

import asyncio
from collections.abc import Callable, Sequence

from connectors.camera.isapi import Picture, Pushed, read
from connectors.camera.settings import CameraSettings
from connectors.camera.translate import FEED, Alive, Cameras, translate
from hub.connector import run
from hub.core.errors import Reason, Rejected, Unavailable
from hub.core.events import Evidence as Kept
from hub.core.registry import Registry
from hub.evidence import Evidence, media_type
from hub.http_in import ANSWERS, Push, PushSource, Route, Taken
from hub.outbox import Fate, Outbox
from hub.settings import HostPort, Settings, section

TOPIC = "alerts.camera"
TYPES = frozenset(
    {
        *("", "application/xml", "text/xml", "application/json", "text/json", "text/plain"),
        *("multipart/form-data", "multipart/mixed", "multipart/related", "application/octet-stream"),
    }
)


class CameraSource(PushSource):
    """The source of the feed `camera`."""

    def __init__(
        self, settings: CameraSettings, evidence: Evidence, registry: Callable[[], Registry] = Registry
    ) -> None:
        super().__init__(FEED, settings, [Route("/in/isapi/{token}", TYPES)], evidence, registry)
        self._texts = tuple((text.word, text.kind) for text in settings.texts)
        self._of: Registry | None = None
        self._cameras: Cameras

    def _known(self) -> Cameras:
        registry = self.registry()
        if registry is not self._of:
            self._cameras, self._of = Cameras(registry), registry
        return self._cameras

    async def take(self, push: Push, outbox: Outbox) -> Taken:
        """Hands what is in a push to the outbox, its pictures kept before."""
        try:
            pushed = read(push.body, push.content_type)
        except Rejected as rejected:
            return await self.keep_whole(push, outbox, rejected)
        try:
            kept = await asyncio.to_thread(self._keep, pushed.pictures)
        except Unavailable:
            # Without its pictures it is not kept: the disk must be seen to.
            return Taken("", [outbox.refused(Reason.UNAVAILABLE)])
        return await self._hand_over(push, pushed, kept, outbox)

    async def _hand_over(self, push: Push, pushed: Pushed, kept: tuple[Kept, ...], outbox: Outbox) -> Taken:
        first, fates = "", list[asyncio.Future[Fate] | Fate]()
        for event in pushed.events:
            try:
                one = translate(event, push.vendor, self._known(), push.accepted_at, kept, self._texts)
            except Rejected as rejected:
                taken = await self.keep_whole(push, outbox, rejected)
                first, fates = first or taken.id, [*fates, *taken.fates]
                continue
            if isinstance(one, Alive):
                if one.device:
                    outbox.alive(one.device, "heartbeat")
                fates.append(outbox.empty())
                continue
            if device := self._known().of(one.device):
                outbox.alive(device, "data")
            fates.append(outbox.publish(TOPIC, one, push.body))
            first = first or one.id
        return Taken(first, fates)

    def _keep(self, pictures: Sequence[Picture]) -> tuple[Kept, ...]:
        """All of them, on the disk. One that is too large is named and not kept. Raises Unavailable."""
        kept = []
        for picture in pictures:
            try:
                name = self.evidence.keep(picture.content)
            except Rejected:
                name = ""
            size = len(picture.content)
            kept.append(Kept(sha256=name, media_type=media_type(picture.content), bytes=size, name=picture.name[:200]))
        return tuple(kept)


def main(settings: Settings) -> None:
    """The connector as a process."""
    camera = section(settings, FEED, CameraSettings)
    run(
        FEED,
        settings,
        CameraSource(camera, Evidence(settings.evidence_dir)),
        topics=[TOPIC],
        budget_s=camera.budget_s,
        metrics=HostPort(host="127.0.0.1", port=9403),
        answers=ANSWERS,
    )
