"""The page for everybody: light and dark, on a phone, without motion, by a screen reader, with very much to show."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import expect

from tests.e2e.caller import chain
from tests.e2e.conftest import this_tree
from tests.e2e.intent import bound
from tests.long.browser import DOWN, Seat, Window, seated

__all__ = ["this_tree"]

_LONG = "accounts/a-provider-with-a-long-name/models/" + "a-model-whose-name-does-not-end-" * 5
_SHIFTS = """
() => {
  window.shifted = [];
  new PerformanceObserver((list) => {
    for (const each of list.getEntries()) {
      if (!each.hadRecentInput) window.shifted.push([each.value, each.sources.map((s) => s.node?.className)]);
    }
  }).observe({type: "layout-shift"});
}
"""


@pytest.fixture
async def eventful(tmp_path: Path) -> AsyncIterator[Seat]:
    """A seat with something in every view: open, parked, disabled, isolated, cleared, edited, long."""
    assistants: dict[str, object] = {
        "bot": {"primary": bound("first/big"), "fallbacks": [bound("second/small"), bound(f"third/{_LONG}")]},
        "own": chain("third/tiny", "second/own", breaker={"scope": "assistant", "failure_threshold": 2}),
        "cleared": {"primary": None, "fallbacks": [bound("second/small")]},
        "with-embeddings": {**chain("second/small"), "chains": {"embeddings": chain("third/vectors")}},
        "bound-to-nothing": {"primary": None},
    }
    async with seated(tmp_path, assistants, breaker={"cooldown": "5m"}) as seat:
        await seat.ask("with-embeddings", 3)
        await seat.trip()
        await seat.ask("bot", 2)
        seat.upstreams[2].queue.append(DOWN)
        await seat.ask("own")
        seat.upstreams[1].mood = DOWN
        await seat.ask("cleared")
        hand = {"source": "second", "model": "own", "action": "isolate", "for": "20m"}
        assert (await seat.intent.call("POST", "/api/breakers", hand)).status == 200
        fallbacks = [bound(f"third/{_LONG}"), bound("second/small")]
        assert (await seat.intent.rebind(fallbacks=fallbacks)).status == 200
        yield seat


async def _views(seat: Seat, window: Window) -> AsyncIterator[str]:
    """Each view, with all that can be opened in it open."""
    page = window.page
    told = await seat.intent.call("GET", "/api/decisions?assistant=bot")
    request = told.document["decisions"][0]["request_id"]
    await page.goto(window.base)
    await expect(page.get_by_label("Operators’ token")).to_be_visible()
    yield "sign-in"
    for view in ("", "assistants/bot", "assistants/own", "assistants/cleared", "assistants/with-embeddings"):
        await window.open(view)
        await expect(page.locator(".mark").first).to_be_visible()
        yield view or "overview"
    await window.open("assistants/bot")
    await window.button("Test the binding of primary").click()
    await page.get_by_text("What if…").click()
    await expect(page.locator(".findings")).to_contain_text("No model was asked")
    yield "findings"
    await window.button("Isolate primary").click()
    await expect(page.get_by_role("dialog")).to_contain_text("would be served")
    yield "question"
    await page.keyboard.press("Escape")
    await window.open("assistants/bot?edit=1")
    shut = page.locator("details:not([open]) > summary")
    while await shut.count():
        await shut.first.click()
    await page.get_by_label("Breakers of its own").check()
    await window.button("Remove fallback-1").click()
    await expect(page.locator(".closing")).to_contain_text("Changed:")
    yield "editor"
    for view in ("decisions", f"decisions/{request}", "revisions", "sources"):
        await window.open(view)
        await expect(page.locator(".sheet").first).to_be_visible()
        if "/" in view:
            await expect(page.locator(".waterfall")).to_be_visible()
        yield view.partition("/req")[0] if "/" not in view else "story"


@pytest.mark.parametrize("scheme", ["light", "dark"])
async def test_nothing_bars_anybody(eventful: Seat, scheme: str) -> None:
    """Axe finds nothing serious or critical in any view, by day and by night."""
    window = await eventful.window(color_scheme=scheme, reduced_motion="reduce")
    found = {view: barriers async for view in _views(eventful, window) if (barriers := await window.barriers())}
    assert found == {}


async def test_every_view_fits_a_phone(eventful: Seat) -> None:
    """360 pixels are enough: nothing is to be scrolled sideways, whatever a model is called."""
    window = await eventful.window(wide=360, high=740, has_touch=True, is_mobile=True)
    found = {view: wider async for view in _views(eventful, window) if (wider := await window.overflow()) > 0}
    assert found == {}


async def test_nothing_moves_without_being_asked(eventful: Seat) -> None:
    """Where less motion is asked for nothing is animated; and what comes in live shifts nothing on the overview."""
    window = await eventful.window(reduced_motion="reduce")
    await window.open()
    await window.page.evaluate(_SHIFTS)
    await expect(window.stop("primary")).to_contain_text("open")
    for upstream in eventful.upstreams:
        upstream.queue.clear()
    await eventful.ask("bot", 5)
    reset = {"source": "first", "model": "big", "action": "reset"}
    assert (await eventful.intent.call("POST", "/api/breakers", reset)).status == 200
    await expect(window.stop("primary")).to_contain_text("serves now")
    shifted: list[list[Any]] = await window.page.evaluate("() => window.shifted")
    assert sum(each[0] for each in shifted) < 0.01, shifted
    moving: int = await window.page.evaluate("() => document.getAnimations().length")
    assert moving == 0


async def test_colour_is_never_alone(eventful: Seat) -> None:
    """Each state has a shape of its own, and its word beside it."""
    window = await eventful.window()
    await window.open()
    shapes: dict[str, str] = await window.page.evaluate(
        "() => Object.fromEntries([...document.querySelectorAll('.stop')].map((each) =>"
        "[each.querySelector('.how').innerText.split('\\n')[0].trim(), each.querySelector('.mark').innerHTML]))"
    )
    told = {word: shape for word, shape in shapes.items() if word in ("closed", "open", "isolated")}
    assert set(told) == {"closed", "open", "isolated"}
    assert len(set(told.values())) == 3


async def test_two_hundred_assistants(tmp_path: Path) -> None:
    """All are there at once, the view is drawn soon, and a filter that stands in the address finds one."""
    names = [f"team-{number:03d}" for number in range(200)]
    assistants: dict[str, object] = {name: chain(f"first/{name}", "second/small", "third/tiny") for name in names}
    async with seated(tmp_path, assistants) as seat:
        window = await seat.window()
        await window.open()
        await expect(window.page.locator(".head .sum")).to_contain_text("200 assistants")
        assert await window.page.locator("li.assistant").count() < 100
        await seat.trip(assistant="team-180")
        await expect(window.page.locator(".head .sum")).to_contain_text("1 with a tier amiss", timeout=2000)
        await window.page.get_by_label("amiss only").check()
        await expect(window.page.locator("li.assistant")).to_have_count(1)
        await expect(window.stop("primary", "team-180")).to_contain_text("open")
        await window.page.get_by_label("amiss only").uncheck()
        await window.page.get_by_label("Filter by name").fill("team-19")
        await expect(window.page.locator("li.assistant")).to_have_count(10)
        await expect(window.page).to_have_url(re.compile("q=team-19"))
        await window.page.reload()
        await expect(window.page.locator("li.assistant")).to_have_count(10)
        await window.open()
        for _ in range(3):
            await window.page.get_by_role("button", name=re.compile("Show more")).click()
        await expect(window.page.locator("li.assistant")).to_have_count(200)
        # What is shared by all trips for all.
        await window.open("sources")
        await expect(window.page.locator(".source").nth(1)).to_contain_text("and 192 more")


async def test_thousands_of_decisions(tmp_path: Path) -> None:
    """The list is bounded, says so, and goes on from where it ends."""
    async with seated(tmp_path) as seat:
        window = await seat.window()
        await seat.ask(times=1500)
        await window.open("decisions")
        rows = window.page.locator("li.decision")
        await expect(rows).to_have_count(100)
        for count in range(200, 700, 100):
            await window.button("Look further back").click()
            await expect(rows).to_have_count(count)
        await expect(window.page.locator("#content")).to_contain_text("600 are shown")
        await seat.ask()
        await expect(window.page.locator(".arrived")).to_be_visible()
        await window.page.get_by_role("link", name="Go on from the oldest of them").click()
        await expect(window.page.locator(".chip")).to_contain_text("before")
        await expect(rows).to_have_count(100)
