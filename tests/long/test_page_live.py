"""The page shows what is, as soon as it is so; and says it when it cannot know."""

from __future__ import annotations

import asyncio
import re
import signal
import time
from pathlib import Path

import pytest
from playwright.async_api import expect

from proxy.demo.moods import WELL
from tests.e2e.caller import chain
from tests.e2e.conftest import this_tree
from tests.e2e.intent import TOKEN
from tests.long.browser import DOWN, seated

__all__ = ["this_tree"]


async def test_signing_in_and_out(tmp_path: Path) -> None:
    """A wrong token is told so; the right one opens the page where it was meant to open; signed out, it is shut."""
    async with seated(tmp_path) as seat:
        window = await seat.window()
        page = window.page
        await page.goto(f"{window.base}/#/sources")
        window.expected = {401}
        await window.sign_in("wrong")
        await expect(page.get_by_role("alert")).to_have_text("That is not the operators’ token.")
        window.expected = set()
        await window.sign_in(name="Ada")
        await expect(page.get_by_role("main", name="Sources")).to_be_focused()
        await expect(page).to_have_title("Sources · Homeport")
        assert TOKEN not in str(await page.evaluate("() => JSON.stringify([{...localStorage}, {...sessionStorage}])"))
        assert TOKEN not in page.url
        await page.reload()
        await expect(page.get_by_role("heading", name="Sources", level=1)).to_be_visible()
        await window.button("Sign out").click()
        await expect(page.get_by_label("Operators’ token")).to_be_focused()
        await page.reload()
        await expect(page.get_by_label("Operators’ token")).to_be_visible()


async def test_a_session_that_ends_asks_for_the_token_again(tmp_path: Path) -> None:
    """As when the replica was started anew: the page says so instead of showing what is no longer true."""
    async with seated(tmp_path) as seat:
        window = await seat.window()
        await window.open()
        await window.page.context.clear_cookies()
        window.expected = {401}
        await expect(window.page.get_by_label("Operators’ token")).to_be_visible(timeout=20_000)
        await window.open()
        await expect(window.stop("primary")).to_contain_text("serves now")


async def test_a_tier_that_trips_is_seen_within_a_second(tmp_path: Path) -> None:
    """By word and by shape, with the countdown to its probe; then the way home, without a reload."""
    async with seated(tmp_path, breaker={"cooldown": "4s"}) as seat:
        window = await seat.window()
        await window.open()
        primary, second = window.stop("primary"), window.stop("fallback-1")
        await expect(primary).to_contain_text("serves now")
        seat.upstreams[0].mood = DOWN
        await seat.ask(times=3)
        tripped = time.monotonic()
        await expect(primary).to_contain_text("open", timeout=1000)
        await expect(second).to_contain_text("serves now", timeout=1000)
        assert time.monotonic() - tripped < 1
        await expect(primary.locator(".mark path")).to_have_count(1)
        await expect(primary).to_contain_text(re.compile(r"asked again in [1-4] s"))
        await expect(window.page.get_by_role("status")).to_contain_text("first/big is now open")
        await expect(window.page.locator(".lately").first).to_contain_text("100 % fallback")
        seat.upstreams[0].mood = WELL
        await expect(primary).to_contain_text("with the next request", timeout=8000)
        await seat.ask()
        await expect(primary).to_contain_text("serves now", timeout=1000)


async def test_a_replica_that_does_not_answer(tmp_path: Path) -> None:
    """What was known stays, under a word that says how old it is; when it answers again all is as it is then."""
    async with seated(tmp_path) as seat:
        window = await seat.window()
        await window.open()
        window.gone = True
        process = seat.intent.replica.process
        process.send_signal(signal.SIGSTOP)
        try:
            # A silent replica is told from a quiet one by the calls that it does not answer.
            await expect(window.page.locator(".banner")).to_contain_text("does not answer", timeout=45_000)
            await expect(window.stop("primary")).to_be_visible()
        finally:
            process.send_signal(signal.SIGCONT)
        await expect(window.page.locator(".link.is-live")).to_be_visible(timeout=30_000)
        await expect(window.page.locator(".banner")).to_have_count(0)
        await seat.trip()
        await expect(window.stop("primary")).to_contain_text("open", timeout=3000)
        process.kill()
        await expect(window.page.locator(".banner")).to_contain_text("does not answer", timeout=20_000)


async def test_a_store_that_is_away_is_said(tmp_path: Path) -> None:
    """With what it means; what needs it is refused in the API's words, and it goes when the store is back."""
    async with seated(tmp_path) as seat:
        window = await seat.window()
        await window.open("assistants/bot")
        window.expected = {503}
        seat.redis.kill()
        banner = window.page.locator(".banner.bad")
        await expect(banner).to_contain_text("The shared store is away", timeout=15_000)
        await window.button("Isolate primary").click()
        dialog = window.page.get_by_role("dialog")
        await dialog.get_by_role("button", name="Isolate").click()
        await expect(dialog.get_by_role("alert")).to_contain_text("The shared store did not take it")
        await window.page.keyboard.press("Escape")
        await expect(dialog).to_have_count(0)
        seat.redis.restart()
        await expect(banner).to_have_count(0, timeout=30_000)


async def test_what_another_replica_does_is_seen(tmp_path: Path, tmp_path_factory: pytest.TempPathFactory) -> None:
    """A tier that trips there is open here; an edit made here is in force there, and on its page."""
    elsewhere = tmp_path_factory.mktemp("elsewhere")
    async with seated(tmp_path) as seat:
        other = await seat.another(elsewhere)
        window, theirs = await seat.window(), await other.window()
        await window.open()
        await theirs.open()
        await expect(window.page.locator(".fleet")).to_contain_text("replicas2", timeout=20_000)
        await other.trip()
        await expect(window.stop("primary")).to_contain_text("open", timeout=1000)
        await expect(window.page.locator(".lately").first).to_contain_text("fallback", timeout=2000)
        assert (await seat.intent.bind("third/elsewhere")).status == 200
        for each in (window, theirs):
            await expect(each.stop("primary")).to_contain_text("elsewhere", timeout=4000)


async def test_names_are_text(tmp_path: Path) -> None:
    """A model may be called anything, and so may what an upstream says that it served: none of it becomes markup."""
    hostile = "<img src=x onerror=alert(1)>\"'`$(alert(2))&lt;b&gt;"
    binding = {"source": "first", "model": hostile}
    async with seated(tmp_path, {"bot": {"primary": binding, "fallbacks": [{**binding, "source": "second"}]}}) as seat:
        window = await seat.window()
        window.page.on("dialog", lambda dialog: window.wrong.append(f"dialog: {dialog.message}"))
        met = await seat.trip()
        for place in ("", "assistants/bot", "assistants/bot?edit=1", "decisions", f"decisions/{met}", "sources"):
            await window.open(place)
            content = window.page.locator("#content")
            if "edit" in place:
                await expect(window.page.get_by_label("Model of primary", exact=True)).to_have_value(hostile)
            else:
                await expect(content).to_contain_text(hostile)
            await expect(content.locator("img, b:text-is('b')")).to_have_count(0)


async def test_nothing_is_configured_yet(tmp_path: Path) -> None:
    """Each view says what there is to do; an assistant that comes into the file comes onto the page."""
    async with seated(tmp_path, {"gone": chain("first/big")}) as seat:
        window = await seat.window()
        await window.open("assistants/gone")
        # What the page asks of an assistant that has just gone, and what the next places ask for, is not there.
        window.expected = {404}
        seat.intent.write(version=1, listen="127.0.0.1:0", store=seat.redis.url)
        assert (await seat.intent.reload()).document["result"] == "ok"
        await expect(window.page.locator("#content h1")).to_have_text("No assistant is called gone")
        for place, said in (
            ("", "No assistant yet"),
            ("decisions?assistant=gone", "No recorded request is like that"),
            ("decisions", "No request is recorded yet"),
            ("sources", "no source yet"),
            ("assistants/%E0%A4%A", "No assistant is called"),
            ("decisions/req_none", "No record bears the id"),
            ("nowhere/at/all", "No assistant yet"),
        ):
            await window.open(place)
            await expect(window.page.locator("#content")).to_contain_text(said)


async def test_a_page_that_nobody_sees_catches_up(tmp_path: Path) -> None:
    """A stream that ends is taken up where it broke off: what happened meanwhile is on the page."""
    async with seated(tmp_path) as seat:
        window = await seat.window()
        await window.open("decisions")
        before = await seat.ask()
        row = window.page.locator("li.decision a")
        await expect(row.first).to_have_attribute("href", re.compile(before))
        await window.page.context.set_offline(True)
        window.gone = True
        ids = [await seat.ask() for _ in range(3)]
        await asyncio.sleep(1)
        await window.page.context.set_offline(False)
        for place, each in enumerate(reversed(ids)):
            await expect(row.nth(place)).to_have_attribute("href", re.compile(each), timeout=15_000)
