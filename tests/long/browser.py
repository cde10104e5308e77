"""An operator at the page: a real browser before a real replica, over a real Redis and upstreams that break.

1. A window hears of everything that goes wrong in it: a script's error, a line on the console, a breach of the policy.
   A test that ends with any is failed; refusals that a test brings about are named by it.
2. What the page shows is waited for, by what a person would see.
"""

from __future__ import annotations

import contextlib
import re
import shutil
from collections.abc import AsyncIterator, Iterable
from dataclasses import dataclass, field, replace
from importlib import resources
from pathlib import Path
from typing import Any

import pytest
from playwright.async_api import Browser, Locator, Page, async_playwright, expect

from proxy.demo import moods
from proxy.demo.moods import WELL
from proxy.demo.simulator import Simulator
from tests.e2e.caller import ask, chain
from tests.e2e.intent import TOKEN, Intent, intending, settings
from tests.integration.redis_server import RedisServer, running

DOWN = moods.status(503)
_REFUSED = re.compile(r"Failed to load resource: the server responded with a status of (\d+)")
_VIOLATIONS = """
addEventListener("securitypolicyviolation", (met) => {
  console.error(`policy: ${met.violatedDirective} ${met.blockedURI}`);
});
"""
_AXE = resources.files("axe_playwright_python").joinpath("axe.min.js")


@dataclass
class Window:
    """One window of a browser, open at the page of one replica."""

    page: Page
    base: str
    expected: set[int] = field(default_factory=set)
    """Statuses of refusals that the test brings about."""
    gone: bool = False
    """The replica may be away."""
    wrong: list[str] = field(default_factory=list)

    def listen(self) -> None:
        """Hear what goes wrong from now on."""
        self.page.on("pageerror", lambda error: self.wrong.append(f"script: {error}"))
        self.page.on("console", lambda line: self._heard(line.type, line.text))

    def _heard(self, kind: str, text: str) -> None:
        refused = _REFUSED.match(text)
        if kind not in ("error", "warning") or (refused and int(refused.group(1)) in self.expected):
            return
        if not (self.gone and "net::ERR_" in text):
            self.wrong.append(f"{kind}: {text}")

    async def sign_in(self, token: str = TOKEN, name: str = "") -> None:
        """From the page that asks for it."""
        await self.page.get_by_label("Operators’ token").fill(token)
        await self.page.get_by_label("Your name").fill(name)
        await self.page.keyboard.press("Enter")

    async def open(self, place: str = "") -> None:
        """A view, by its address, signed in."""
        await self.page.goto(f"{self.base}/#/{place}")
        await expect(self.page.locator("h1").first).to_be_visible()
        if await self.page.get_by_label("Operators’ token").count():
            await self.sign_in()
        await expect(self.page.locator("#content h1")).to_be_visible()
        await expect(self.page.locator(".link.is-live")).to_be_visible()

    def stop(self, tier: str, assistant: str = "bot") -> Locator:
        """A stop of an assistant's route, on the overview."""
        row = self.page.locator("li.assistant", has=self.page.get_by_role("link", name=assistant, exact=True))
        return row.locator("li.stop").filter(has_text=f"{tier}:")

    def tier(self, name: str) -> Locator:
        """A tier's card, on its assistant's page."""
        return self.page.get_by_role("listitem", name=name, exact=True)

    def button(self, name: str) -> Locator:
        return self.page.get_by_role("button", name=name, exact=True)

    async def confirm(self, word: str, *said: str) -> None:
        """The question says this; answer it with the button of that word."""
        dialog = self.page.get_by_role("dialog")
        for each in said:
            await expect(dialog).to_contain_text(each)
        await dialog.get_by_role("button", name=word, exact=True).click()
        await expect(dialog).to_have_count(0)

    async def tab_to(self, name: str) -> None:
        """Press Tab until this has the focus: what no key reaches is not there for many."""
        for _ in range(80):
            await self.page.keyboard.press("Tab")
            focused: str = await self.page.evaluate(
                "() => document.activeElement.ariaLabel ?? document.activeElement.textContent.trim()"
            )
            if focused == name:
                return
        raise AssertionError(f"Tab never comes to {name!r}")

    async def overflow(self) -> int:
        """Pixels that the page is wider than its window."""
        found: int = await self.page.evaluate(
            "() => document.documentElement.scrollWidth - document.documentElement.clientWidth"
        )
        return found

    async def barriers(self) -> list[str]:
        """What axe finds that is serious or critical."""
        await self.page.evaluate(_AXE.read_text())
        found: Any = await self.page.evaluate("() => axe.run(document, {resultTypes: ['violations']})")
        return [
            f"{each['id']} ({each['impact']}): {[node['html'][:160] for node in each['nodes'][:4]]}"
            for each in found["violations"]
            if each["impact"] in ("serious", "critical")
        ]


@dataclass(frozen=True)
class Seat:
    """A replica with its operator, and windows on its page."""

    intent: Intent
    upstreams: tuple[Simulator, Simulator, Simulator]
    redis: RedisServer
    browser: Browser
    stack: contextlib.AsyncExitStack
    config: dict[str, object]

    async def another(self, folder: Path) -> Seat:
        """The same at another replica of the fleet."""
        intent = await self.stack.enter_async_context(intending(folder, self.config))
        return replace(self, intent=intent)

    async def window(self, *, wide: int = 1280, high: int = 900, **options: Any) -> Window:
        """Another browser's, signed in nowhere; `options` are playwright's of a context."""
        context = await self.browser.new_context(viewport={"width": wide, "height": high}, **options)
        self.stack.push_async_callback(context.close)
        await context.add_init_script(_VIOLATIONS)
        window = Window(await context.new_page(), self.intent.replica.admin)
        window.listen()
        self.stack.push_async_callback(_all_well, window)
        return window

    async def ask(self, assistant: str = "bot", times: int = 1) -> str:
        """Send requests; the id of the last."""
        for _ in range(times - 1):
            await ask(self.intent.replica, assistant)
        return (await ask(self.intent.replica, assistant)).request_id

    async def trip(self, upstream: int = 0, assistant: str = "bot") -> str:
        """Three failures of one upstream."""
        self.upstreams[upstream].mood = DOWN
        found = await self.ask(assistant, 3)
        self.upstreams[upstream].mood = WELL
        return found


async def _all_well(window: Window) -> None:
    assert window.wrong == []


@contextlib.asynccontextmanager
async def seated(folder: Path, assistants: dict[str, object] | None = None, **more: object) -> AsyncIterator[Seat]:
    """The assistant `bot` over three upstreams, and `other`; or these. `more` is configuration."""
    chromium = shutil.which("chromium")
    if chromium is None:
        pytest.fail("chromium is not on PATH; these tests need a real browser: apt-get install chromium")
    async with contextlib.AsyncExitStack() as stack:
        redis = stack.enter_context(running())
        names: Iterable[str] = ("first", "second", "third")
        first, second, third = [await stack.enter_async_context(Simulator(each, thinks=0.0)) for each in names]
        made = assistants or {"bot": chain("first/big", "second/small", "third/tiny"), "other": chain("second/small")}
        config = settings(first, second, third, store=redis.url, assistants=made, **more)
        intent = await stack.enter_async_context(intending(folder, config))
        playwright = await stack.enter_async_context(async_playwright())
        browser = await playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        stack.push_async_callback(browser.close)
        yield Seat(intent, (first, second, third), redis, browser, stack, config)
