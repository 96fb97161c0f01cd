"""The page over real sockets: what it answers, in which language, live, and nothing of what a sender wrote as markup."""

import asyncio
import json
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from aiohttp import web

from hub.core.errors import Misconfigured
from hub.core.events import CameraAlert, State, Ticket
from hub.evidence import Evidence
from hub.page.drawing import Tiles
from hub.page.model import Model
from hub.page.process import tiles_of
from hub.page.server import Kafka, Page
from hub.settings import PageSettings
from tests.hub.page.crowd import NOW, TOWN, camera_alert, everything, opening, own_devices, registry, step

PNG = b"\x89PNG\r\n\x1a\n" + bytes(60)
EVIL = '<script>alert("x")</script>'


@dataclass
class Served:
    """A page that serves, and a browser's part."""

    model: Model
    kafka: Kafka
    page: Page
    evidence: Evidence
    session: aiohttp.ClientSession
    defects: list[BaseException]

    async def get(self, path: str, **headers: str) -> tuple[aiohttp.ClientResponse, str]:
        async with self.session.get(path, headers=headers, allow_redirects=False) as answer:
            return answer, await answer.text(errors="replace")


@asynccontextmanager
async def served(tmp_path: Path, tickets: int = 300, tiles: Tiles | None = None) -> AsyncIterator[Served]:
    known = registry()
    model, kafka, evidence = Model(known), Kafka(trouble="", read_at=NOW), Evidence(tmp_path)
    model.take(everything(known, tickets), NOW)
    defects: list[BaseException] = []
    page = Page(model, kafka, evidence, tiles, now=lambda: NOW, defect=defects.append)
    runner = web.AppRunner(page.application(), access_log=None, shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    address, jar = f"http://127.0.0.1:{runner.addresses[0][1]}", aiohttp.CookieJar(unsafe=True)
    try:
        async with aiohttp.ClientSession(address, cookie_jar=jar) as session:
            yield Served(model, kafka, page, evidence, session, defects)
    finally:
        page.end()
        await runner.cleanup()


def run(test: Callable[[Served], Awaitable[None]], tmp_path: Path, **how: Any) -> None:
    async def whole() -> None:
        async with served(tmp_path, **how) as one:
            await test(one)
            assert one.defects == []

    asyncio.run(whole())


@pytest.mark.parametrize("lang", ["zh", "en"])
def test_every_page_is_there_in_both_languages_with_all_its_links(tmp_path: Path, lang: str) -> None:
    async def test(one: Served) -> None:
        ticket = next(one.model.open())
        paths = [f"/?town={TOWN}", "/towns", f"/devices?town={TOWN}", f"/ticket/{ticket.id}", f"/?town={TOWN}&page=6"]
        for path in paths:
            answer, text = await one.get(path, **{"Accept-Language": f"{lang}-CN,fr;q=0.5"})
            assert (answer.status, answer.content_type) == (200, "text/html"), path
            assert f'<html lang="{"zh-CN" if lang == "zh" else "en"}">' in text
            policy = answer.headers["Content-Security-Policy"]
            assert policy.startswith("default-src 'self'; img-src 'self';")
            assert (answer.headers["X-Content-Type-Options"], answer.headers["Cache-Control"]) == (
                "nosniff",
                "no-store",
            )
            assert "style=" not in text
            assert "http://" not in text
            assert "https://" not in text
            for link in {part.split('"')[0] for part in text.split('href="')[1:]} | {"/static/page.js"}:
                if not link.startswith(("/ticket/", "#", "/?")):
                    there, _ = await one.get(link.replace("&amp;", "&"))
                    assert there.status in (200, 303), link
                    one.session.cookie_jar.clear()

    run(test, tmp_path, tickets=260)


def test_the_language_is_the_one_chosen_then_the_browsers_then_chinese(tmp_path: Path) -> None:
    async def test(one: Served) -> None:
        for header, query, expected in (
            ("", "", "zh-CN"),
            ("fr", "", "zh-CN"),
            ("de,en;q=0.9,zh;q=0.2", "", "en"),
            ("en;q=x,zh;q=0.1", "", "zh-CN"),
            ("zh", "&lang=en", "en"),
            ("zh", "", "en"),  # it was chosen a moment ago
        ):
            _, text = await one.get(f"/?town={TOWN}{query}", **{"Accept-Language": header})
            assert f'<html lang="{expected}">' in text, header

    run(test, tmp_path, tickets=1)


def test_without_a_town_the_reader_is_led_to_one(tmp_path: Path) -> None:
    async def test(one: Served) -> None:
        answer, _ = await one.get("/?q=a")
        assert (answer.status, answer.headers["Location"]) == (303, f"/?town={TOWN}&q=a")
        one.model.adopt(replace(one.model.registry, villages=()))
        answer, _ = await one.get("/")
        assert (answer.status, answer.headers["Location"]) == (303, "/towns")

    run(test, tmp_path, tickets=1)


@pytest.mark.parametrize(
    "path",
    [
        "/ticket/none",
        f"/ticket/{'x' * 300}",
        "/?town=1",
        "/devices?town=1",
        "/none",
        "/static/../page.py",
        "/static/none",
    ],
)
def test_what_is_not_there_is_said_so(tmp_path: Path, path: str) -> None:
    async def test(one: Served) -> None:
        answer, text = await one.get(path)
        assert (answer.status, answer.content_type) == (404, "text/html")
        assert "<h1>" in text

    run(test, tmp_path, tickets=1)


def test_other_methods_are_refused(tmp_path: Path) -> None:
    async def test(one: Served) -> None:
        async with one.session.post("/") as answer:
            assert answer.status == 405

    run(test, tmp_path, tickets=1)


def test_names_with_markup_in_them_are_text(tmp_path: Path) -> None:
    async def test(one: Served) -> None:
        known = one.model.registry
        bad = replace(
            known,
            devices=tuple(replace(device, name=EVIL) for device in known.devices),
            villages=tuple(replace(area, name=EVIL) for area in known.villages),
            people=tuple(replace(person, name=EVIL) for person in known.people),
            sites=tuple(replace(site, name=EVIL) for site in known.sites),
            towns=tuple(replace(area, name=EVIL) for area in known.towns),
        )
        one.model.adopt(bad)
        ticket = next(ticket for ticket in one.model.open() if ticket.kind == "camera.smoke")
        one.model.take([replace(ticket, version=99, kind=EVIL, case_no=EVIL, vendor=EVIL, class_code=EVIL)], NOW)
        for path in (
            f"/?town={TOWN}",
            f"/?town={TOWN}&q={EVIL}&kind={EVIL}",
            "/towns",
            f"/devices?town={TOWN}",
            f"/ticket/{ticket.id}",
        ):
            _, text = await one.get(path)
            assert "<script>alert" not in text, path
            assert "&lt;script&gt;" in text, path

    run(test, tmp_path, tickets=30)


async def message(stream: aiohttp.StreamReader) -> dict[str, Any]:
    """The next message of a stream."""
    async with asyncio.timeout(10):
        while True:
            line = (await stream.readline()).decode()
            if line.startswith("data: "):
                told: dict[str, Any] = json.loads(line.removeprefix("data: "))
                return told


def test_a_stream_brings_what_changes_and_only_that(tmp_path: Path) -> None:
    async def test(one: Served) -> None:
        async with one.session.get(f"/stream/town?town={TOWN}&seen={one.model.revision}") as answer:
            assert answer.content_type == "text/event-stream"
            await answer.content.readline()
            new = [record for record in opening(one.model.registry, 900) if not isinstance(record, CameraAlert)]
            ticket = next(record for record in new if isinstance(record, Ticket))
            one.model.take([ticket], NOW)
            one.page.changed()
            told = await message(answer.content)
            assert list(told["marks"]) == [f"m-{ticket.id}"]
            assert set(told["parts"]) == {"part-summary", "part-list"}
            assert told["open"] == 31
            cleared = replace(ticket, version=99, state=State.CLEARED, cleared_at=NOW, updated_at=NOW)
            one.model.take([cleared, step(cleared, "cleared")], NOW)  # type: ignore[arg-type]
            one.page.changed()
            told = await message(answer.content)
            assert told["marks"] == {f"m-{ticket.id}": ""}
            one.kafka.trouble = "away"
            one.page.changed()
            told = await message(answer.content)
            assert list(told["parts"]) == ["part-status"]
            assert "2026-03-02 12:00" in told["parts"]["part-status"]

    run(test, tmp_path, tickets=30)


def test_what_concerns_another_town_costs_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    rendered: list[str] = []
    render = Page._message_of

    def counted(page: Page, *told: Any) -> Any:
        rendered.append("")
        return render(page, *told)

    monkeypatch.setattr(Page, "_message_of", counted)

    async def test(one: Served) -> None:
        async with one.session.get(f"/stream/town?town={TOWN}&seen=") as answer:
            await message(answer.content)
            ticket = next(one.model.open())
            for number in range(5):
                one.model.take([replace(ticket, id=f"x{number}", town="410122105")], NOW)
                one.page.changed()
                await asyncio.sleep(0)
            one.model.take([replace(ticket, version=99, opened_at=0)], NOW)
            one.page.changed()
            await message(answer.content)
            assert len(rendered) == 2

    run(test, tmp_path, tickets=1)


def test_a_stream_that_begins_behind_begins_with_the_whole(tmp_path: Path) -> None:
    async def test(one: Served) -> None:
        ticket = next(one.model.open())
        for path, part in (
            (f"/stream/town?town={TOWN}", "part-list"),
            ("/stream/towns", "part-towns"),
            (f"/stream/devices?town={TOWN}", "part-devices"),
            (f"/stream/ticket/{ticket.id}", "part-ticket"),
        ):
            async with one.session.get(f"{path}{'&' if '?' in path else '?'}seen=") as answer:
                told = await message(answer.content)
                assert told["whole"]
                assert part in told["parts"]

    run(test, tmp_path, tickets=30)


def test_streams_are_bounded_and_end_with_the_page(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hub.page.server.MOST_STREAMS", 1)

    async def test(one: Served) -> None:
        async with one.session.get(f"/stream/town?town={TOWN}&seen=") as answer:
            await message(answer.content)
            refused, _ = await one.get(f"/stream/town?town={TOWN}")
            assert (refused.status, refused.headers["Retry-After"]) == (503, "30")
            one.page.end()
            async with asyncio.timeout(5):
                assert await answer.content.read() == b"\n"

    run(test, tmp_path, tickets=1)


def test_pictures_are_given_out_when_a_shown_alert_names_them(tmp_path: Path) -> None:
    async def test(one: Served) -> None:
        sha256, script = one.evidence.keep(PNG), one.evidence.keep(b"<html><script>")
        await absent(one, sha256)
        known = one.model.registry
        camera = next(device for device in own_devices(known) if device.feed == "camera")
        ticket = next(ticket for ticket in one.model.open() if ticket.kind == "camera.smoke")
        for number, name in enumerate((sha256, script), 50):
            alert = f"{camera.id}/{number}"
            one.model.take(
                [step(replace(ticket, version=number), "updated", alert), camera_alert(alert, camera, NOW, name)],  # type: ignore[arg-type]
                NOW,
            )
        async with one.session.get(f"/evidence/{sha256}") as answer:
            assert (answer.status, answer.content_type, await answer.read()) == (200, "image/png", PNG)
            assert "sandbox" in answer.headers["Content-Security-Policy"]
            assert answer.headers["X-Content-Type-Options"] == "nosniff"
        await absent(one, script)
        await absent(one, "ab" * 32)
        await absent(one, "..%2f..%2fetc")

    async def absent(one: Served, name: str) -> None:
        answer, _ = await one.get(f"/evidence/{name}")
        assert answer.status == 404

    run(test, tmp_path, tickets=30)


def test_a_tile_server_is_the_only_other_host_that_pictures_may_come_from(tmp_path: Path) -> None:
    tiles = tiles_of(PageSettings(tiles="https://tiles.example:8443/a/{z}/{x}/{y}.png", tiles_datum="GCJ02"))

    async def test(one: Served) -> None:
        answer, text = await one.get(f"/?town={TOWN}")
        assert "img-src 'self' https://tiles.example:8443;" in answer.headers["Content-Security-Policy"]
        assert '<image href="https://tiles.example:8443/a/' in text

    run(test, tmp_path, tickets=1, tiles=tiles)


@pytest.mark.parametrize(
    "address",
    [
        "tiles.example/{z}/{x}/{y}",
        "https://tiles.example/{z}/{x}",
        "https://a;b/{z}{x}{y}",
        "https://a/{z}{x}{y}{q}",
        "ftp://a/{z}{x}{y}",
    ],
)
def test_an_address_that_is_none_of_tiles_is_refused(address: str) -> None:
    with pytest.raises(Misconfigured, match=r"page\.tiles"):
        tiles_of(PageSettings(tiles=address))
    assert tiles_of(PageSettings()) is None


def test_a_mistake_of_ours_is_a_page_and_is_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    async def whole() -> None:
        async with served(tmp_path, 1) as one:
            monkeypatch.setattr(Model, "story", lambda *_: 1 / 0)
            ticket = next(one.model.open())
            answer, text = await one.get(f"/ticket/{ticket.id}")
            assert (answer.status, "日志" in text) == (500, True)
            assert [type(error) for error in one.defects] == [ZeroDivisionError]

    asyncio.run(whole())
