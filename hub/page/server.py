"""The page over HTTP: plain pages that work without a script, and streams of Server-Sent Events that keep an open one up to date.

A stream renders the same parts of the same templates as the page does, and sends those that are no longer as they were last sent. Everything
runs on one event loop, the model included.
"""

import asyncio
import hashlib
import json
import re
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from math import ceil
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import jinja2
from aiohttp import web

from hub.evidence import UNKNOWN, Evidence, media_type
from hub.page.drawing import Atlas, Tiles
from hub.page.model import Model
from hub.page.views import (
    PER_PAGE,
    Choice,
    Names,
    Query,
    View,
    Voice,
    clock,
    home,
    machine_clock,
    tiles_world,
)
from hub.page.words import FEEDS, HEALTH, LAMPS, SORTS, Health, Lamp

HERE = Path(__file__).parent
HASH = re.compile(r"[0-9a-f]{64}")
TICKET = re.compile(r"[\w.:-]{1,100}")
MOST_STREAMS = 500
AT_MOST_EVERY_S = 0.4
BEAT_S = 15.0
# Ages and lamps change by themselves.
AGAIN_S = 30.0
SMALL_MAP = 300.0
YEAR_S = 365 * 24 * 3600

Render = Callable[[web.Request], dict[str, Any]]
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


@dataclass
class Kafka:
    """How the reading of the topics goes: `waiting` (nothing is known yet), `reading`, `away`, or empty: it goes well. `read_at`: when that was last so, ms UTC."""

    trouble: str = "waiting"
    read_at: int = 0


class Page:
    """The page of one model. `application()` is what serves it; `changed()` tells it of news."""

    def __init__(
        self,
        model: Model,
        kafka: Kafka,
        evidence: Evidence,
        tiles: Tiles | None = None,
        *,
        now: Callable[[], int] = lambda: int(time.time() * 1000),
        defect: Callable[[BaseException], None] = lambda _error: None,
    ) -> None:
        """`evidence`: the store of pictures. `now`: ms UTC. `defect`: told of an exception of ours."""
        self._model = model
        self._kafka = kafka
        self._evidence = evidence
        self._now = now
        self._defect = defect
        self._atlas = Atlas(tiles)
        self._names = Names(model.registry)
        self._streams: set[asyncio.Event] = set()
        self._ending = False
        self._static = {path.name: path for path in sorted((HERE / "static").iterdir())}
        self._versions = {
            name: hashlib.sha256(path.read_bytes()).hexdigest()[:12] for name, path in self._static.items()
        }
        self._templates = jinja2.Environment(
            loader=jinja2.FileSystemLoader(HERE / "templates"),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )
        self._templates.globals.update(
            static=lambda name: f"/static/{name}?v={self._versions[name]}", clock=clock, machine_clock=machine_clock
        )
        pictures = f"'self' {_origin(tiles.address)}" if tiles else "'self'"
        self._policy = (
            f"default-src 'self'; img-src {pictures}; object-src 'none'; base-uri 'none'; form-action 'self';"
            " frame-ancestors 'none'"
        )

    def application(self) -> web.Application:
        """The routes."""
        application = web.Application(middlewares=[self._around])
        pages: Mapping[str, tuple[str, Render]] = {
            "/": ("town.html", self._town),
            "/towns": ("towns.html", self._towns),
            "/devices": ("devices.html", self._devices),
            "/ticket/{ticket}": ("ticket.html", self._ticket),
        }
        streams: Mapping[str, tuple[Render, tuple[str, ...]]] = {
            "/stream/town": (self._town, ("status", "summary", "list", "seen", "unplaced")),
            "/stream/towns": (self._towns, ("status", "towns")),
            "/stream/devices": (self._devices, ("status", "devices")),
            "/stream/ticket/{ticket}": (self._ticket, ("status", "ticket")),
        }
        for path, (template, render) in pages.items():
            application.router.add_get(path, partial(self._page, template, render))
        for path, (render, parts) in streams.items():
            application.router.add_get(path, partial(self._stream, render, parts), allow_head=False)
        application.router.add_get("/static/{name}", self._file)
        application.router.add_get("/evidence/{sha256}", self._picture)
        return application

    def changed(self) -> None:
        """Something is not as it was: open pages are told."""
        for stream in self._streams:
            stream.set()

    def end(self) -> None:
        """Streams end, and none begins."""
        self._ending = True
        self.changed()

    # ---- around every answer

    @web.middleware
    async def _around(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            response = await handler(request)
        except web.HTTPNotFound:
            response = self._message(request, HTTPStatus.NOT_FOUND, "not_found")
        except web.HTTPException as told:
            response = web.Response(
                status=told.status, text=told.reason, headers={"Allow": told.headers.get("Allow", "GET")}
            )
        except (ConnectionError, asyncio.CancelledError):
            raise
        except Exception as error:  # noqa: BLE001 - the reader gets a page, the operator the trace
            self._defect(error)
            response = self._message(request, HTTPStatus.INTERNAL_SERVER_ERROR, "defect")
        if not response.prepared:
            self._protect(response)
        return response

    def _protect(self, response: web.StreamResponse) -> None:
        headers = {
            "Content-Security-Policy": self._policy,
            "X-Content-Type-Options": "nosniff",
            "Referrer-Policy": "same-origin",
            "Cache-Control": "no-store",
        }
        for name, value in headers.items():
            response.headers.setdefault(name, value)

    def _message(self, request: web.Request, status: HTTPStatus, said: str, more: str = "") -> web.Response:
        context = self._context(request)
        voice = context["t"]
        context |= {"said": voice(said), "more": voice(more) if more else ""}
        return web.Response(
            status=status, text=self._templates.get_template("message.html").render(context), content_type="text/html"
        )

    # ---- pages

    async def _page(self, template: str, render: Render, request: web.Request) -> web.StreamResponse:
        try:
            context = render(request)
        except _Elsewhere as other:
            return web.Response(status=HTTPStatus.SEE_OTHER, headers={"Location": other.path})
        except _Nothing as nothing:
            return self._message(request, HTTPStatus.NOT_FOUND, nothing.said, nothing.more)
        response = web.Response(text=self._templates.get_template(template).render(context), content_type="text/html")
        if (chosen := request.query.get("lang")) in ("zh", "en"):
            response.set_cookie("lang", chosen, max_age=YEAR_S, samesite="Lax", httponly=True)
        response.headers["Vary"] = "Accept-Language, Cookie"
        response.enable_compression()
        return response

    def _view(self, request: web.Request) -> View:
        if self._names.registry is not self._model.registry:
            self._names = Names(self._model.registry)
        now = self._now()
        if self._kafka.trouble and self._kafka.read_at:
            now = self._kafka.read_at
        return View(
            model=self._model,
            names=self._names,
            voice=Voice(_language(request)),
            query=Query.parse(request.query),
            now=now,
        )

    def _context(self, request: web.Request) -> dict[str, Any]:
        view = self._view(request)
        asked = dict(request.query)
        other = urlencode(asked | {"lang": "en" if view.voice.lang == "zh" else "zh"})
        # A stream speaks of the page that it belongs to.
        path = request.path.removeprefix("/stream")
        return {
            "view": view,
            "t": view.voice,
            "lang": view.voice.lang,
            "other_language": f"{path if path != '/town' else '/'}?{other}",
            "revision": self._model.revision,
            "trouble": self._kafka.trouble,
            "town_name": view.town_name(view.query.town),
            "feeds": {name: view.voice.of(text) for name, text in FEEDS.items()},
            "tab": "",
        }

    def _town(self, request: web.Request) -> dict[str, Any]:
        context = self._context(request)
        view: View = context["view"]
        if not view.query.town:
            town = home(view)
            raise _Elsewhere(f"/?{view.query.text(town=town)}" if town else "/towns")
        towns = [(code, name) for code, name, _ in view.towns()]
        if view.query.town not in dict(towns):
            raise _Nothing("no_town")
        found = view.found()
        pages = max(1, ceil(len(found) / PER_PAGE))
        page = min(view.query.page, pages)
        drawing = self._atlas.of(view.names.registry, view.query.town)
        marks = view.marks(found, drawing) if drawing else []
        first = (page - 1) * PER_PAGE
        return context | {
            "tab": "tickets",
            "towns": towns,
            "figures": view.figures(),
            "rows": view.rows(found[first : first + PER_PAGE]),
            "first": first + 1,
            "page": page,
            "pages": pages,
            "drawing": drawing,
            "world": tiles_world(drawing) if drawing else "",
            "tiles_address": self._atlas.tiles.address if self._atlas.tiles else "",
            "marks": marks,
            "silent_word": view.voice.of(HEALTH[Health.SILENT]),
            "unplaced": len(found) - len(marks) if drawing else 0,
            "seen": view.seen(drawing),
            "sorts": [
                Choice(value, view.voice.of(text), None, value == (view.query.sort or "lamp"))
                for value, text in SORTS.items()
            ],
        }

    def _towns(self, request: web.Request) -> dict[str, Any]:
        return self._context(request) | {"tab": "towns"}

    def _devices(self, request: web.Request) -> dict[str, Any]:
        context = self._context(request)
        view: View = context["view"]
        if view.query.town not in {town for town, _, _ in view.towns()}:
            raise _Nothing("no_town")
        return context | {"tab": "devices", "seen": view.seen(None)}

    def _ticket(self, request: web.Request) -> dict[str, Any]:
        name = request.match_info["ticket"]
        ticket = self._model.ticket(name) if TICKET.fullmatch(name) else None
        if ticket is None:
            raise _Nothing("gone", "gone_more")
        context = self._context(request)
        view: View = context["view"]
        if view.query.town != ticket.town:
            view.query = Query(town=ticket.town)
        drawing = self._atlas.of(view.names.registry, ticket.town)
        one = view.detail(ticket, drawing)
        box = ""
        if drawing and one.spot:
            wide, high = SMALL_MAP, SMALL_MAP * 0.7
            left, top = one.spot.x - wide / 2, one.spot.y - high / 2
            box = f"{left:.1f} {top:.1f} {wide:g} {high:g}"
        return context | {
            "tab": "tickets",
            "town_name": view.town_name(ticket.town),
            "one": one,
            "drawing": drawing,
            "world": "",
            "tiles_address": "",
            "box": box,
            "halo": SMALL_MAP / 14,
            "scale": SMALL_MAP / 360,
            "urgent_word": view.voice.of(LAMPS[Lamp.URGENT]),
        }

    # ---- streams

    async def _stream(self, render: Render, parts: tuple[str, ...], request: web.Request) -> web.StreamResponse:
        if self._ending or len(self._streams) >= MOST_STREAMS:
            return web.Response(status=HTTPStatus.SERVICE_UNAVAILABLE, headers={"Retry-After": "30"})
        response = web.StreamResponse(headers={"Content-Type": "text/event-stream", "X-Accel-Buffering": "no"})
        self._protect(response)
        await response.prepare(request)
        await response.write(b"retry: 2000\n\n")
        news = asyncio.Event()
        self._streams.add(news)
        sent: dict[str, str] = {}
        try:
            drawn, concerns = time.monotonic(), self._state(request)
            message = self._message_of(request, render, parts, sent)
            # The page has just been rendered with all of it: only what came since is news.
            if message and request.query.get("seen") != str(self._model.revision):
                await _send(response, message | {"whole": True})
            while True:
                try:
                    async with asyncio.timeout(BEAT_S):
                        await news.wait()
                except TimeoutError:
                    await response.write(b": still here\n\n")
                    if time.monotonic() - drawn < AGAIN_S:
                        continue
                if self._ending:
                    break
                news.clear()
                if self._state(request) == concerns and time.monotonic() - drawn < AGAIN_S:
                    continue
                drawn, concerns = time.monotonic(), self._state(request)
                if message := self._message_of(request, render, parts, sent):
                    await _send(response, message)
                await asyncio.sleep(AT_MOST_EVERY_S)
        except ConnectionError:
            pass  # the reader has gone
        finally:
            self._streams.discard(news)
        return response

    def _state(self, request: web.Request) -> tuple[int, str]:
        """Differs where something has changed that the reader of a stream may see: what concerns other towns does not."""
        town = Query.parse(request.query).town
        return self._model.town_revision(town) if town else self._model.revision, self._kafka.trouble

    def _message_of(
        self, request: web.Request, render: Render, parts: tuple[str, ...], sent: dict[str, str]
    ) -> dict[str, Any]:
        """What is no longer as it was sent last: parts by name, marks by ticket (empty: gone); then it counts as sent."""
        try:
            context = render(request)
        except (_Nothing, _Elsewhere):
            return {"reload": True} if not sent.setdefault("reload", "") else {}
        now = {f"part-{name}": self._templates.get_template(f"parts/{name}.html").render(context) for name in parts}
        mark: Callable[..., str] = vars(self._templates.get_template("macros.html").make_module(context))["mark"]
        marks = {f"m-{one.id}": str(mark(one)) for one in context.get("marks", ())}
        gone = {name: "" for name in sent if name.startswith("m-") and name not in marks}
        new = {name: html for name, html in (now | marks).items() if sent.get(name) != html} | gone
        for name, html in new.items():
            if name in gone:
                del sent[name]
            else:
                sent[name] = html
        if not new:
            return {}
        message: dict[str, Any] = {"parts": {name: html for name, html in new.items() if name.startswith("part-")}}
        message["marks"] = {name: html for name, html in new.items() if name.startswith("m-")}
        if "figures" in context:
            message["open"] = context["figures"].open
        return message

    # ---- files

    async def _file(self, request: web.Request) -> web.StreamResponse:
        path = self._static.get(request.match_info["name"])
        if path is None:
            raise web.HTTPNotFound
        age = YEAR_S if request.query.get("v") == self._versions[path.name] else 0
        return web.FileResponse(path, headers={"Cache-Control": f"public, max-age={age}"})

    async def _picture(self, request: web.Request) -> web.StreamResponse:
        name = request.match_info["sha256"]
        if not HASH.fullmatch(name) or not self._model.shows_evidence(name):
            raise web.HTTPNotFound
        path = self._evidence.path(name)
        kind = await asyncio.to_thread(_picture_kind, path)
        if not kind:
            raise web.HTTPNotFound
        headers = {
            "Content-Type": kind,
            "Content-Security-Policy": "default-src 'none'; sandbox",
            "Cache-Control": "private, max-age=3600",
        }
        return web.FileResponse(path, headers=headers)


class _Elsewhere(Exception):
    """The page is at another address."""

    def __init__(self, path: str) -> None:
        super().__init__(path)
        self.path = path


class _Nothing(Exception):
    """There is no such thing."""

    def __init__(self, said: str, more: str = "") -> None:
        super().__init__(said)
        self.said, self.more = said, more


async def _send(response: web.StreamResponse, message: Mapping[str, Any]) -> None:
    await response.write(f"data: {json.dumps(message, ensure_ascii=False)}\n\n".encode())


def _language(request: web.Request) -> str:
    """What was asked for last, else what the browser prefers, else Chinese."""
    for chosen in (request.query.get("lang"), request.cookies.get("lang")):
        if chosen in ("zh", "en"):
            return str(chosen)
    ranked: list[tuple[float, int, str]] = []
    for place, one in enumerate(request.headers.get("Accept-Language", "").split(",")[:20]):
        name, _, weight = one.strip().partition(";q=")
        try:
            ranked.append((-float(weight or 1), place, name[:2].lower()))
        except ValueError:
            continue
    known = [name for _, _, name in sorted(ranked) if name in ("zh", "en")]
    return known[0] if known else "zh"


def _picture_kind(path: Path) -> str:
    """The media type of a picture by its content; empty where it is none, or not there."""
    try:
        with path.open("rb") as file:
            kind = media_type(file.read(16))
    except OSError:
        return ""
    return "" if kind == UNKNOWN else kind


def _origin(address: str) -> str:
    parts = urlsplit(address)
    return f"{parts.scheme}://{parts.netloc}"
