"""Takes what cameras push: pictures first, then the record, then the answer. A camera sends once: what is answered is kept, or kept whole.

Whatever is wrong with a message is the hub's to keep and people's to mend: the camera is answered 200 for a dead letter too, since it would not
send again, and some firmware stops pushing to an address that refuses.
"""

import asyncio
from collections.abc import Callable, Sequence
from dataclasses import replace

from connectors.camera.isapi import Event, Picture, read
from connectors.camera.kinds import shows_plates
from connectors.camera.settings import CameraSettings
from connectors.camera.translate import FEED, Alive, Cameras, translate
from hub.connector import run
from hub.core.errors import Reason, Rejected, Unavailable
from hub.core.events import CameraAlert
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
        *("multipart/form-data", "multipart/mixed", "multipart/related", "multipart/x-mixed-replace"),
        # What programs call a body by default.
        *("application/octet-stream", "application/x-www-form-urlencoded", "text/html"),
    }
)


class CameraSource(PushSource):
    """The source of the feed `camera`."""

    def __init__(
        self, settings: CameraSettings, evidence: Evidence, registry: Callable[[], Registry] = Registry
    ) -> None:
        super().__init__(FEED, settings, [Route("/in/isapi/{token}", TYPES)], evidence, registry)
        self._words = tuple((text.word, text.kind) for text in settings.texts)
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
        cameras, made, wrong = self._known(), list[tuple[Event, CameraAlert | Alive]](), pushed.broken
        for event in pushed.events:
            try:
                made.append((event, translate(event, push.vendor, cameras, push.accepted_at, self._words)))
            except Rejected as rejected:
                wrong = wrong or rejected
        try:
            kept, above = await self._kept(pushed.pictures if any(_shown(one) for _, one in made) else ())
        except Unavailable:
            # Without its pictures it is not kept: the disk must be seen to.
            return Taken("", [outbox.refused(Reason.UNAVAILABLE)])
        wrong = wrong or above
        parts, fates = list[tuple[str, str]](), list[asyncio.Future[Fate] | Fate]()
        for event, one in made:
            device = one.device if isinstance(one, Alive) else cameras.of(one.device)
            if device:
                outbox.alive(device, "heartbeat" if isinstance(one, Alive) else "data")
            if isinstance(one, Alive):
                parts.append(("", ""))
                fates.append(outbox.empty())
            else:
                alert = replace(one, evidence=kept if _shown(one) else ())
                parts.append((alert.id, ""))
                # Its pictures are kept already: a spool has other use of its room.
                fates.append(outbox.publish(TOPIC, alert, event.raw))
        if wrong:
            # Once, whatever is wrong with how much of it: what is kept is the whole push.
            letter = await self.keep_whole(push, outbox, wrong)
            parts.append((letter.id, wrong.reason.value))
            fates += letter.fates
        first = next((name for name, _ in parts if name), "")
        return Taken(first, fates, parts=parts if len(parts) > 1 else ())

    async def _kept(self, pictures: Sequence[Picture]) -> tuple[tuple[Kept, ...], Rejected | None]:
        return await asyncio.to_thread(self._keep, pictures) if pictures else ((), None)

    def _keep(self, pictures: Sequence[Picture]) -> tuple[tuple[Kept, ...], Rejected | None]:
        """All of them, on the disk, but for those that are too large: these are what is wrong. Raises Unavailable."""
        kept, above = [], None
        for picture in pictures:
            try:
                name = self.evidence.keep(picture.content)
            except Rejected as rejected:
                above = rejected
                continue
            size = len(picture.content)
            kept.append(Kept(sha256=name, media_type=media_type(picture.content), bytes=size, name=picture.name[:200]))
        return tuple(kept), above


def _shown(one: CameraAlert | Alive) -> bool:
    """Whether the pictures that came with it are kept: none of persons, none of number plates."""
    return isinstance(one, CameraAlert) and not shows_plates(one.kind)


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
