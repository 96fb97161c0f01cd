"""The page in a real browser, with 60 devices and 300 open tickets: a clerk's tasks, live, on a desk and in a hand."""

import asyncio
import re
import shutil
import struct
from base64 import b64decode
from collections.abc import Awaitable, Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web
from playwright.async_api import Browser, async_playwright
from playwright.async_api import Page as Tab

from hub.core.events import State, Ticket
from hub.evidence import Evidence
from hub.page.model import Model
from hub.page.server import Kafka, Page
from tests.hub.page.crowd import NOW, PICTURE, TOWN, everything, opening, own_devices, registry

pytestmark = pytest.mark.needs_chromium

DESK = {"width": 1440, "height": 900}
HAND = {"width": 360, "height": 740}
LIVE_MS = 2000
PICTURES = Path(__file__).parents[3] / ".gridhub/pictures"
DOT = b64decode("iVBORw0KGgoAAAANSUhEUgAAAAEAAAABCAYAAAAfFcSJAAAADUlEQVR42mNk+M9QDwADhgGAWjR9awAAAABJRU5ErkJggg==")


class Desk:
    """A page that serves, and a tab that shows it. What the tab asks for and complains of is remembered."""

    def __init__(self, model: Model, page: Page, address: str, tab: Tab) -> None:
        self.model, self.page, self.address, self.tab = model, page, address, tab
        self.asked: list[str] = []
        self.complaints: list[str] = []
        tab.on("request", lambda request: self.asked.append(request.url))
        tab.on("console", lambda said: self.complaints.append(said.text) if said.type in ("error", "warning") else None)
        tab.on("pageerror", lambda error: self.complaints.append(str(error)))

    def take(self, *records: object) -> None:
        self.model.take(records, NOW)
        self.page.changed()

    async def open(self, path: str = f"/?town={TOWN}") -> None:
        await self.tab.goto(self.address + path)
        await self.tab.wait_for_load_state("load")


Test = Callable[[Desk], Awaitable[None]]


def browse(test: Test, evidence: Path, **context: Any) -> None:
    asyncio.run(_browse(test, evidence, context))


async def _browse(test: Test, evidence: Path, context: dict[str, Any]) -> None:
    model = Model(registry())
    model.take(everything(model.registry), NOW)
    defects: list[BaseException] = []
    store = Evidence(evidence)
    store.path(PICTURE).parent.mkdir()
    store.path(PICTURE).write_bytes(DOT)
    page = Page(model, Kafka(trouble="", read_at=NOW), store, now=lambda: NOW, defect=defects.append)
    runner = web.AppRunner(page.application(), access_log=None, shutdown_timeout=1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    address = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        async with async_playwright() as playwright:
            browser = await _browser(playwright)
            tab = await browser.new_page(**({"viewport": DESK, "locale": "zh-CN"} | context))
            desk = Desk(model, page, address, tab)
            await test(desk)
            assert desk.complaints == []
            assert [url for url in desk.asked if not url.startswith(address)] == []
            await browser.close()
    finally:
        page.end()
        await runner.cleanup()
    assert defects == []


async def _browser(playwright: Any) -> Browser:
    # Its own sandbox needs rights that a container's user may not have; it opens nothing but this page.
    browser: Browser = await playwright.chromium.launch(
        executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
    )
    return browser


async def until(look: Callable[[], Awaitable[object]]) -> None:
    """Looks until it is so. Playwright's own way evaluates text, which the page's policy forbids."""
    async with asyncio.timeout(5):
        while not await look():  # noqa: ASYNC110 - a browser sets no event of ours
            await asyncio.sleep(0.02)


def new_ticket(number: int = 901) -> Ticket:
    ticket = next(record for record in opening(registry(), number) if isinstance(record, Ticket))
    return replace(ticket, urgency="urgent", opened_at=NOW, updated_at=NOW, grid=ticket.grid)


def test_the_whole_town_is_on_the_map_and_in_the_list(tmp_path: Path) -> None:
    async def test(desk: Desk) -> None:
        await desk.open()
        placed = sum(one.lon is not None for one in desk.model.open())
        assert await desk.tab.locator("#marks > .mark").count() == placed
        devices = sum(one.lon is not None for one in desk.model.registry.devices if one.town == TOWN)
        assert await desk.tab.locator("#part-seen > .device").count() == devices
        assert await desk.tab.locator(".rows .row").count() == 50
        assert await desk.tab.locator(".names text").count() == 10
        assert (await desk.tab.title()).startswith("(300) ")

    browse(test, tmp_path)


def test_a_new_ticket_appears_within_two_seconds_and_a_cleared_one_goes(tmp_path: Path) -> None:
    async def test(desk: Desk) -> None:
        await desk.open()
        ticket = new_ticket()
        desk.take(ticket)
        mark = desk.tab.locator(f"[id='m-{ticket.id}']")
        await mark.wait_for(state="attached", timeout=LIVE_MS)
        await desk.tab.locator(f".rows li:first-child [data-id='{ticket.id}']").wait_for(timeout=LIVE_MS)
        assert (await desk.tab.title()).startswith("(301) ")
        desk.take(replace(ticket, version=9, state=State.CLEARED, cleared_at=NOW))
        await mark.wait_for(state="detached", timeout=LIVE_MS)

    browse(test, tmp_path)


@pytest.mark.parametrize("lang", ["zh-CN", "en-US"])
def test_find_it_why_and_whose_take_one_click(tmp_path: Path, lang: str) -> None:
    """A clerk has a number on the telephone: types it, clicks, and reads."""

    async def test(desk: Desk) -> None:
        await desk.open()
        ticket = next(one for one in desk.model.open() if one.kind == "camera.smoke" and one.owner)
        await desk.tab.fill("input[type=search]", ticket.id)
        await desk.tab.locator(f".rows li:only-child [data-id='{ticket.id}']").click(timeout=LIVE_MS)
        await desk.tab.wait_for_url(re.compile(f"/ticket/{ticket.id}"))
        why = await desk.tab.locator(".why").inner_text()
        whose = await desk.tab.locator(".whose").inner_text()
        person = next(one.name for one in desk.model.registry.people if one.id == ticket.owner)
        assert person in whose
        assert ("开始" if lang == "zh-CN" else "begins") in why
        assert await desk.tab.locator(".small-map").count() == 1

    browse(test, tmp_path, locale=lang)


def test_a_click_on_a_mark_opens_its_ticket_and_the_way_back_is_the_same_list(tmp_path: Path) -> None:
    async def test(desk: Desk) -> None:
        await desk.open(f"/?town={TOWN}&lamp=urgent&sort=oldest")
        mark = desk.tab.locator("#marks > .mark a").last
        link = await mark.get_attribute("href")
        await mark.click()
        await desk.tab.wait_for_url(f"{desk.address}{link}")
        await desk.tab.locator(".back a").click()
        await desk.tab.wait_for_url(re.compile("lamp=urgent&sort=oldest"))

    browse(test, tmp_path)


def test_the_map_is_moved_by_wheel_buttons_and_keys_and_marks_keep_their_size(tmp_path: Path) -> None:
    async def test(desk: Desk) -> None:
        await desk.open()
        shown = "document.getElementById('map').getAttribute('viewBox').split(' ').map(Number)"
        size = "document.querySelector('#marks .hit').getBoundingClientRect().width"
        before, wide = await desk.tab.evaluate(size), (await desk.tab.evaluate(shown))[2]
        await desk.tab.click("[data-zoom=in]")
        assert (await desk.tab.evaluate(shown))[2] == pytest.approx(wide / 1.6)
        assert await desk.tab.evaluate(size) == pytest.approx(before, rel=0.01)
        await desk.tab.focus("#map")
        left = (await desk.tab.evaluate(shown))[0]
        await desk.tab.keyboard.press("ArrowRight")
        assert (await desk.tab.evaluate(shown))[0] > left
        await desk.tab.keyboard.press("0")
        assert (await desk.tab.evaluate(shown))[2] == wide
        await desk.tab.mouse.move(500, 500)
        await desk.tab.mouse.wheel(0, -300)
        await until(lambda: desk.tab.evaluate(f"{shown}[2] < {wide}"))

    browse(test, tmp_path)


def test_filters_are_unfolded_and_folded_by_the_same_key(tmp_path: Path) -> None:
    async def test(desk: Desk) -> None:
        await desk.open()
        here = "document.activeElement.tagName"
        fields, button = desk.tab.locator(".fields"), desk.tab.locator(".more > summary")
        await button.focus()
        await desk.tab.keyboard.press("Enter")
        await fields.wait_for(state="visible", timeout=LIVE_MS)
        assert await desk.tab.evaluate(here) == "SUMMARY"
        await desk.tab.keyboard.press("Enter")
        await fields.wait_for(state="hidden", timeout=LIVE_MS)

    browse(test, tmp_path)


def test_names_of_villages_lie_above_the_marks_and_do_not_catch_their_clicks(tmp_path: Path) -> None:
    async def test(desk: Desk) -> None:
        await desk.open()
        over = "[...document.querySelectorAll('#map > g')].pop().getAttribute('class')"
        assert await desk.tab.evaluate(over) == "names"
        caught = "getComputedStyle(document.querySelector('.names text')).pointerEvents"
        assert await desk.tab.evaluate(caught) == "none"

    browse(test, tmp_path)


def test_in_a_hand_nothing_is_wider_than_the_screen_and_targets_are_large(tmp_path: Path) -> None:
    async def test(desk: Desk) -> None:
        ticket = next(desk.model.open())
        for path in (f"/?town={TOWN}", f"/ticket/{ticket.id}", f"/devices?town={TOWN}", "/towns"):
            await desk.open(path)
            assert await desk.tab.evaluate("document.documentElement.scrollWidth") <= HAND["width"], path
            small = await desk.tab.evaluate(
                "[...document.querySelectorAll('.bar a, .button, .row, .chip, select, input[type=search], .tool')]"
                ".filter(one => one.offsetParent && one.getBoundingClientRect().height < 43.5)"
                ".map(one => one.outerHTML.slice(0, 90))"
            )
            assert small == [], path

    browse(test, tmp_path, viewport=HAND, is_mobile=True, has_touch=True)


def test_text_twice_as_large_still_fits(tmp_path: Path) -> None:
    async def test(desk: Desk) -> None:
        for path in (f"/?town={TOWN}", f"/ticket/{next(desk.model.open()).id}"):
            await desk.open(path)
            await desk.tab.evaluate("document.documentElement.style.fontSize = '200%'")
            assert await desk.tab.evaluate("document.documentElement.scrollWidth") <= DESK["width"], path

    browse(test, tmp_path)


CONTRAST = """
() => {
  const light = c => { const [r, g, b] = c.map(v => { v /= 255; return v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4 });
    return .2126 * r + .7152 * g + .0722 * b };
  const parse = c => (c.match(/[\\d.]+/g) || []).map(Number);
  const found = [];
  for (const one of document.querySelectorAll('body *')) {
    if (one.closest('svg') || !one.offsetParent || one.closest('[aria-disabled]')) continue;
    if (![...one.childNodes].some(n => n.nodeType === 3 && n.textContent.trim())) continue;
    let under = one, ground;
    while (under) { ground = parse(getComputedStyle(under).backgroundColor); if (ground.length === 3 || ground[3] > 0) break; under = under.parentElement }
    const a = light(parse(getComputedStyle(one).color).slice(0, 3)), b = light(ground.slice(0, 3));
    const ratio = (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
    if (ratio < 4.5) found.push(ratio.toFixed(2) + ' ' + one.outerHTML.slice(0, 80));
  }
  return found;
}
"""


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_stands_out_from_its_ground(tmp_path: Path, scheme: str) -> None:
    async def test(desk: Desk) -> None:
        for path in (f"/?town={TOWN}", f"/ticket/{next(desk.model.open()).id}", f"/devices?town={TOWN}", "/towns"):
            await desk.open(path)
            assert await desk.tab.evaluate(CONTRAST) == [], path

    browse(test, tmp_path, color_scheme=scheme)


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize(("where", "screen"), [("desk", DESK), ("hand", HAND)])
def test_pictures_to_look_at(tmp_path: Path, where: str, screen: dict[str, int], scheme: str) -> None:
    """No assertion says whether a page is clear: these lie in .gridhub/pictures, for a person to look at after a change."""

    async def test(desk: Desk) -> None:
        assert (len(own_devices(desk.model.registry)), len(list(desk.model.open()))) == (60, 300)
        ticket = next(one for one in desk.model.open() if one.kind == "camera.smoke" and one.owner)
        for name, path in (
            ("town", f"/?town={TOWN}"),
            ("ticket", f"/ticket/{ticket.id}"),
            ("devices", f"/devices?town={TOWN}"),
        ):
            await desk.open(path)
            picture = await desk.tab.screenshot(path=PICTURES / f"{name}-{where}-{scheme}.png")
            assert struct.unpack(">II", picture[16:24]) == tuple(screen.values())
        ground = await desk.tab.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (sum(map(int, re.findall(r"[0-9]+", ground)[:3])) < 3 * 128) is (scheme == "dark"), ground

    browse(test, tmp_path, viewport=screen, color_scheme=scheme)


def test_it_works_without_a_script(tmp_path: Path) -> None:
    async def test(desk: Desk) -> None:
        await desk.open()
        assert await desk.tab.locator("#marks > .mark").count() > 200
        await desk.tab.fill("input[type=search]", "烟雾")
        await desk.tab.locator("#filter > button").click()
        await desk.tab.wait_for_url(re.compile("q=%E7%83%9F"))
        await desk.tab.locator(".row").first.click()
        assert await desk.tab.locator(".whose").count() == 1

    browse(test, tmp_path, java_script_enabled=False)


def test_a_break_is_shown_and_mended_by_itself(tmp_path: Path) -> None:
    async def test(desk: Desk) -> None:
        async def streams() -> int:
            return len(desk.page._streams)

        await desk.open()
        await until(streams)
        desk.page.end()
        await desk.tab.locator("#cut:not([hidden])").wait_for(timeout=LIVE_MS)
        ticket = new_ticket()
        desk.take(ticket)
        desk.page._ending = False
        await desk.tab.locator(f"[data-id='{ticket.id}']").wait_for(timeout=10_000)
        await desk.tab.locator("#cut").wait_for(state="hidden", timeout=LIVE_MS)
        # What a browser says of a stream that was refused.
        desk.complaints.clear()

    browse(test, tmp_path)
