"""An operator's hand, rehearsals and tests of bindings, and the stories of requests, on the page."""

from __future__ import annotations

import re
from pathlib import Path

from playwright.async_api import expect

from proxy.demo import moods
from tests.e2e.caller import chain
from tests.e2e.conftest import this_tree
from tests.long.browser import DOWN, seated

__all__ = ["this_tree"]


async def test_an_outage_is_rehearsed(tmp_path: Path) -> None:
    """The question says who is touched and who would serve them; it is what then happens; release ends it."""
    async with seated(tmp_path) as seat:
        window = await seat.window()
        await window.open("assistants/bot")
        await window.button("Isolate fallback-1").click()
        dialog = window.page.get_by_role("dialog")
        await expect(dialog).to_contain_text("bot and other pass it by")
        await expect(dialog).to_contain_text("bot would be served by primary")
        await expect(dialog).to_contain_text("Nobody would serve other.")
        await window.page.keyboard.press("Escape")
        await expect(dialog).to_have_count(0)
        await window.button("Isolate primary").click()
        await window.page.get_by_label("For how long").select_option("30 minutes")
        await window.confirm("Isolate", "bot would be served by fallback-1 (second / small)")
        primary = window.tier("primary")
        await expect(primary).to_contain_text(re.compile(r"released in (30|29) min"), timeout=3000)
        assert await seat.intent.served() == "second/small"
        await window.open("sources")
        await expect(window.page.locator(".source").first).to_contain_text("isolated")
        await window.button("Release big").click()
        await window.confirm("Release", "Requests of bot are sent to first / big again")
        await expect(window.page.locator(".source").first).not_to_contain_text("isolated")
        assert await seat.intent.served() == "first/big"


async def test_a_breaker_is_reset(tmp_path: Path) -> None:
    """What disabled it is shown with the request that met it, whose story is a click away."""
    async with seated(tmp_path) as seat:
        seat.upstreams[0].mood = moods.status(401)
        met = await seat.ask()
        seat.upstreams[0].mood = moods.WELL
        window = await seat.window()
        await window.open("assistants/bot")
        primary = window.tier("primary")
        await expect(primary).to_contain_text("until it is mended and reset")
        await primary.get_by_role("link", name=f"…{met[-6:]}").first.click()
        await expect(window.page.locator(".one h2")).to_have_text(met)
        await window.page.go_back()
        await window.button("Reset primary").click()
        await window.confirm("Reset", "Its breaker closes and forgets what it met")
        await expect(primary).to_contain_text("serves now", timeout=3000)
        assert await seat.intent.served() == "first/big"


async def test_a_binding_is_tested_and_no_model_is_asked(tmp_path: Path) -> None:
    """From a tier, from a draft and from a source: the listing is asked when one says so, a model never."""
    async with seated(tmp_path) as seat:
        window = await seat.window()
        await window.open("assistants/bot")
        await window.button("Test the binding of primary").click()
        findings = window.page.locator(".findings")
        await expect(findings).to_contain_text("It would do. No model was asked.")
        assert [sum(each.by_path.values()) for each in seat.upstreams] == [0, 0, 0]
        await window.button("Ask its listing too").click()
        await expect(findings).to_contain_text("No model was asked; the source’s listing was.")
        await window.button("Edit the chain").click()
        await window.page.get_by_label("Model of fallback-1", exact=True).fill("untried")
        await window.button("Test the binding of fallback-1").click()
        await expect(window.page.locator(".slot .findings")).to_contain_text("As fallback-1 of bot it would pass")
        await window.open("sources")
        await window.button("Test tiny").click()
        await expect(window.page.locator(".source .findings")).to_contain_text("It would do.")
        asked = [dict(each.by_path) for each in seat.upstreams]
        assert asked == [{"/v1/models": 1}, {}, {}]
        assert (await seat.intent.call("GET", "/api/decisions")).document["decisions"] == []


async def test_what_if(tmp_path: Path) -> None:
    """Each assumption changes what is foretold, and nothing else."""
    async with seated(tmp_path) as seat:
        window = await seat.window()
        await window.open("assistants/bot")
        verdict = window.page.locator(".verdict")
        await expect(verdict).to_contain_text("primary serves: first / big")
        await window.page.get_by_text("What if…").click()
        await window.page.get_by_label("Assume of primary").select_option("failing")
        await expect(verdict).to_contain_text("fallback-1 serves: second / small")
        await window.page.get_by_label("Assume of fallback-1").select_option("disabled")
        await window.page.get_by_label("Assume of fallback-2").select_option("isolated")
        await expect(verdict).to_contain_text("Nobody serves: the caller gets all_tiers_failed")
        await window.page.get_by_label("Assume of the shared store").select_option("away")
        await window.page.get_by_label("Assume of primary").select_option("as it is")
        await expect(verdict).to_contain_text("primary serves")
        await window.page.get_by_label("the request asks for").select_option("embeddings")
        await expect(verdict).to_contain_text("endpoint_not_enabled")
        assert [sum(each.by_path.values()) for each in seat.upstreams] == [0, 0, 0]
        assert await seat.intent.served() == "first/big"


async def test_a_request_tells_its_story(tmp_path: Path) -> None:
    """In sentences, with its attempts on a line of time; by an address that another window can be given."""
    async with seated(tmp_path) as seat:
        window = await seat.window()
        await window.open("decisions")
        seat.upstreams[0].queue.append(DOWN)
        met = await seat.ask()
        row = window.page.locator("li.decision").first
        await expect(row).to_contain_text("served by a fallback", timeout=2000)
        await row.click()
        story = window.page.locator(".one")
        await expect(story).to_contain_text("primary (first/big) was tried")
        await expect(story).to_contain_text("The caller got HTTP 200 from fallback-1")
        bars = story.locator(".waterfall li")
        await expect(bars).to_have_count(2)
        await expect(bars.first).to_contain_text("transient (")
        widths = await bars.locator(".track i").evaluate_all(
            "all => all.map(each => each.getBoundingClientRect().width)"
        )
        assert all(each > 0 for each in widths)
        other = await seat.window(wide=700)
        await other.page.goto(window.page.url)
        await other.sign_in()
        await expect(other.page.locator(".one h2")).to_have_text(met)
        await other.page.get_by_label("Close this story").click()
        await expect(other.page.locator(".one")).to_have_count(0)


async def test_decisions_are_narrowed_by_an_address(tmp_path: Path) -> None:
    """Each filter stands in it; what comes in later is held to it too, and a list that is held does not move."""
    assistants: dict[str, object] = {"bot": chain("first/big", "second/small"), "other": chain("second/small")}
    async with seated(tmp_path, assistants) as seat:
        window = await seat.window()
        await seat.ask("other", 2)
        await window.open("decisions?assistant=bot")
        rows = window.page.locator("li.decision")
        await expect(window.page.locator("#content")).to_contain_text("No recorded request is like that")
        await seat.ask("other")
        await seat.ask("bot")
        await expect(rows).to_have_count(1)
        await expect(rows.first).to_contain_text("bot")
        await window.page.get_by_label("Assistant", exact=True).fill("")
        await window.page.keyboard.press("Enter")
        await expect(rows).to_have_count(4)
        seat.upstreams[0].queue.append(DOWN)
        await seat.ask("bot")
        await window.page.get_by_label("Ended").select_option("served by a fallback")
        await expect(window.page).to_have_url(re.compile("outcome=fallback_success"))
        await expect(rows).to_have_count(1)
        await window.page.get_by_role("link", name="Show all").click()
        await window.page.get_by_label("Met").fill("http_503")
        await window.page.keyboard.press("Enter")
        await expect(rows).to_have_count(0)
        await window.page.get_by_label("Met").fill("transient")
        await window.page.keyboard.press("Enter")
        await expect(rows).to_have_count(1)
        await window.page.get_by_role("link", name="Show all").click()
        await expect(rows).to_have_count(5)
        await window.button("Hold the list").click()
        await seat.ask("other", 2)
        await expect(window.button("2 new requests")).to_be_visible()
        await expect(rows).to_have_count(5)
        await window.button("2 new requests").click()
        await expect(rows).to_have_count(7)
