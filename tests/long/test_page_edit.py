"""An operator changes a chain on the page: what is saved is what was shown, upon what was seen; and the way back."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

from playwright.async_api import expect

from tests.e2e.caller import chain, source
from tests.e2e.conftest import this_tree
from tests.e2e.intent import bound
from tests.long.browser import Seat, Window, seated

__all__ = ["this_tree"]


async def _editing(seat: Seat, assistant: str = "bot") -> Window:
    window = await seat.window()
    await window.open(f"assistants/{assistant}")
    await window.button("Edit the chain").click()
    await expect(window.page.get_by_label("Model of primary", exact=True)).to_be_visible()
    return window


async def _save(window: Window, *said: str) -> None:
    await window.button("Save…").click()
    await window.confirm("Save", *said)
    await expect(window.button("Edit the chain")).to_be_visible()


async def _chain(seat: Seat, assistant: str = "bot") -> list[str | None]:
    """What is in force, by the API."""
    shown: Any = await seat.intent.shown(assistant)
    return [each and f"{each['source']}/{each['model']}" for each in (shown["primary"], *shown["fallbacks"])]


async def test_the_primary_is_bound_anew(tmp_path: Path) -> None:
    """The check speaks while one types; the question shows the difference; callers, the book and the page know it."""
    async with seated(tmp_path) as seat:
        window = await _editing(seat)
        page, model = window.page, window.page.get_by_label("Model of primary", exact=True)
        await expect(window.button("Save…")).to_be_disabled()
        window.expected = {422}
        await page.get_by_label("Source of primary").select_option("second")
        await model.fill("small")
        # The fallback is that pair already.
        await expect(page.locator(".slot .fault")).to_contain_text("the same tier as primary")
        await model.fill("newer")
        await expect(page.locator(".slot .fault")).to_have_count(0)
        await expect(page.locator(".what-if .verdict")).to_contain_text("primary serves: second / newer")
        assert await _chain(seat) == ["first/big", "second/small", "third/tiny"]
        await _save(window, "first / big", "second / newer", "primary (second/newer) would be tried")
        await expect(window.tier("primary")).to_contain_text("newer at second")
        assert await seat.intent.served() == "second/newer"
        revision = (await seat.intent.revisions())[0]
        assert (revision["origin"], [each["field"] for each in revision["changes"]]) == ("page", ["primary"])
        # What is said of where it comes from: the file says something else by now.
        await expect(page.locator(".differs")).to_contain_text("primary was edited")
        await window.button("Take the file’s…").click()
        await window.confirm("Take the file’s", "The edit is dropped", "first / big")
        await expect(page.locator(".differs")).to_have_count(0)
        assert await seat.intent.served() == "first/big"


async def _default(seat: Seat, model: str) -> None:
    """The file gives the third source this default."""
    sources: Any = seat.config["sources"]
    third = source(seat.upstreams[2], default_model=model)
    seat.intent.write(**(seat.config | {"sources": sources | {"third": third}}))
    assert (await seat.intent.reload()).document["result"] == "ok"


async def test_a_model_that_is_left_empty_is_the_sources_default(tmp_path: Path) -> None:
    """It is said which one that is before it is saved and wherever the tier is shown; saved is that none is named."""
    async with seated(tmp_path) as seat:
        await _default(seat, "usual")
        window = await _editing(seat)
        page, model = window.page, window.page.get_by_label("Model of primary", exact=True)
        await model.fill("")
        await expect(page.locator(".closing")).to_contain_text("A tier has no model yet.")
        await expect(window.button("Test the binding of primary")).to_be_disabled()
        await page.get_by_label("Source of primary").select_option("third")
        await expect(model).to_have_attribute("placeholder", "usual (the source’s default)")
        await expect(page.locator(".what-if .verdict")).to_contain_text("primary serves: third / usual")
        await window.button("Test the binding of primary").click()
        await expect(page.locator(".findings")).to_contain_text("it is the source's default, usual")
        await _save(window, "first / big", "third / its default model")
        assert (await seat.intent.shown())["primary"] == {"source": "third", "model": None}
        await expect(window.tier("primary")).to_contain_text("usual at third, its default model")
        await expect(page.locator(".head .sum")).to_contain_text("home port third / usual (its default model)")
        assert await seat.intent.served() == "third/usual"
        await _default(seat, "newer")
        await expect(window.tier("primary")).to_contain_text("newer at third, its default model")
        assert await seat.intent.served() == "third/newer"
        await window.button("Edit the chain").click()
        await expect(model).to_have_value("")
        # The sources are asked for beside the chain, and may come after it.
        await expect(model).to_have_attribute("placeholder", "newer (the source’s default)")
        await window.button("Move primary down").click()
        await expect(page.get_by_role("status").filter(has_text="newer is now fallback-1")).to_have_count(1)
        await window.open("sources")
        await expect(page.get_by_role("listitem", name="third")).to_contain_text("default model newer")


async def test_the_primary_is_cleared_and_stays_so(tmp_path: Path) -> None:
    """It is asked about in words; the page shows an empty home port, and the way to bind one."""
    async with seated(tmp_path) as seat:
        window = await _editing(seat)
        await window.button("Clear primary").click()
        await _save(window, "The home port is cleared", "fallbacks serve every request")
        await expect(window.page.locator(".lead .stop").first).to_contain_text("cleared by an operator")
        assert (await seat.intent.shown())["primary"] is None
        assert await seat.intent.served() == "second/small"
        await window.open()
        await expect(window.stop("primary")).to_contain_text("cleared")
        await expect(window.stop("fallback-1")).to_contain_text("serves now")
        window = await _editing(seat, "other")
        await window.button("Clear primary").click()
        await _save(window, "nobody serves a request")
        assert await seat.intent.refused("other")
        await window.button("Edit the chain").click()
        await window.button("Bind a home port").click()
        await window.page.get_by_label("Source of primary").select_option("third")
        await window.page.get_by_label("Model of primary", exact=True).fill("tiny")
        await _save(window)
        assert await seat.intent.served("other") == "third/tiny"


async def test_tiers_are_added_removed_and_moved_from_the_keyboard(tmp_path: Path) -> None:
    """From the overview on with no mouse; the focus goes with what is moved, and what happened is said."""
    async with seated(tmp_path) as seat:
        window = await seat.window()
        await window.open()
        page = window.page
        await window.tab_to("bot")
        await page.keyboard.press("Enter")
        await expect(page.get_by_role("main", name="bot")).to_be_focused()
        await window.tab_to("Edit the chain")
        await page.keyboard.press("Enter")
        await window.tab_to("Move fallback-2: arrow keys")
        await page.keyboard.press("ArrowUp")
        await expect(page.get_by_role("status").filter(has_text="tiny is now fallback-1")).to_have_count(1)
        await expect(window.button("Move fallback-1: arrow keys")).to_be_focused()
        await page.keyboard.press("Home")
        await expect(window.button("Move primary: arrow keys")).to_be_focused()
        await window.tab_to("Remove fallback-2")
        await page.keyboard.press("Enter")
        await window.tab_to("Add a fallback")
        await page.keyboard.press("Enter")
        await window.tab_to("Model of fallback-2")
        await page.keyboard.type("spare")
        await window.tab_to("Save…")
        await page.keyboard.press("Enter")
        dialog = page.get_by_role("dialog")
        await expect(dialog).to_contain_text("third / tiny")
        await window.tab_to("Save")
        await page.keyboard.press("Enter")
        await expect(dialog).to_have_count(0)
        assert await _chain(seat) == ["third/tiny", "first/big", "first/spare"]


async def test_tiers_are_dragged_and_no_more_are_added_than_may_be(tmp_path: Path) -> None:
    """The last is dragged to the top and so becomes the home port; the limit is the configuration's."""
    async with seated(tmp_path, limits={"max_fallbacks": 2}) as seat:
        window = await _editing(seat)
        await expect(window.button("Add a fallback")).to_be_disabled()
        await expect(window.page.locator(".editor")).to_contain_text("2 fallbacks are the limit")
        await window.button("Move fallback-2: arrow keys").drag_to(window.button("Move primary: arrow keys"))
        await expect(window.page.get_by_label("Model of primary", exact=True)).to_have_value("tiny")
        await window.button("Move primary down").click()
        await _save(window)
        assert (await _chain(seat))[1] == "third/tiny"


_MOVES = """async () => {
  const {move, remove, add} = await import("./assets/js/draft.js");
  const bad = [];
  for (const names of [["a"], [null, "b"], ["a", "b", "c"], [null, "b", "c", "d"]]) {
    const slots = names.map((model, key) => ({key, binding: model && {source: "s", model}}));
    const of = (all) => all.map((each) => each.binding?.model ?? null);
    for (let from = 0; from < names.length; from++) for (let to = -1; to <= names.length; to++) {
      const moved = of(move(slots, from, to));
      const kept = moved.filter(Boolean).sort().join() === names.filter(Boolean).sort().join();
      if (!kept || moved.slice(1).includes(null) || moved.length === 0) bad.push([names, from, to, moved]);
    }
    for (let place = 1; place < names.length; place++) {
      if (of(remove(slots, place)).length !== names.length - 1) bad.push([names, place]);
    }
    if (of(remove(slots, 0))[0] !== null || of(remove(slots, 0)).length !== names.length) bad.push([names]);
    if (of(add(slots, {source: "s", model: "z"})).at(-1) !== "z") bad.push([names, "add"]);
  }
  return bad;
}"""


async def test_however_tiers_are_moved_none_is_lost(tmp_path: Path) -> None:
    """Of every chain, cleared or not, every move keeps all tiers; only the home port may be empty."""
    async with seated(tmp_path) as seat:
        window = await _editing(seat)
        assert await window.page.evaluate(_MOVES) == []


async def test_breakers_of_its_own(tmp_path: Path) -> None:
    """Whose health it is, is chosen and not changed by the way; a bad value is refused in the check's words."""
    async with seated(tmp_path) as seat:
        window = await _editing(seat)
        page = window.page
        await page.get_by_label("Breakers of its own").check()
        window.expected = {422}
        await page.get_by_label("Failures in a run").fill("99")
        await expect(page.locator("fieldset .fault")).to_contain_text("1 to 50")
        await page.get_by_label("Failures in a run").fill("2")
        await page.get_by_label("Rests for").fill("1m")
        await expect(page.locator("fieldset .fault")).to_have_count(0)
        await _save(window, "scope: assistant", "failure_threshold: 2", "cooldown: 1m")
        await expect(window.tier("primary")).to_contain_text("2 failures, rests 60 s")
        await expect(window.tier("fallback-1")).to_contain_text("this assistant’s alone")
        assert (await seat.intent.shown())["breaker"] == {
            "failure_threshold": 2,
            "cooldown": 60.0,
            "scope": "assistant",
        }
        # What was typed is not changed by being looked at again.
        await window.button("Edit the chain").click()
        await expect(window.button("Save…")).to_be_disabled()
        await window.button("Cancel").click()
        await expect(window.button("Edit the chain")).to_be_visible()


async def test_somebody_else_was_first(tmp_path: Path) -> None:
    """412: nothing is lost and nothing undone; both versions are shown, and the operator says which goes on."""
    async with seated(tmp_path) as seat:
        window = await _editing(seat)
        page = window.page
        await page.get_by_label("Model of primary", exact=True).fill("mine")
        window.expected = {412}
        assert (await seat.intent.rebind(fallbacks=[bound("third/theirs")])).status == 200
        await window.button("Save…").click()
        dialog = page.get_by_role("dialog")
        await dialog.get_by_role("button", name="Save").click()
        conflict = page.locator(".conflict")
        await expect(conflict).to_contain_text("Nothing of yours was saved")
        await expect(conflict.locator(".versions").filter(has_text="fallbacks: theirs")).to_contain_text(
            "third / theirs"
        )
        await expect(conflict.locator(".versions").filter(has_text="primary: yours")).to_contain_text("first / mine")
        assert await _chain(seat) == ["first/big", "third/theirs"]
        await window.button("Go on with mine, upon theirs").click()
        await _save(window, "first / mine")
        assert await _chain(seat) == ["first/mine", "third/theirs"]
        # Once more, and this time theirs is taken.
        await window.button("Edit the chain").click()
        await page.get_by_label("Model of primary", exact=True).fill("again")
        assert (await seat.intent.bind("second/other")).status == 200
        await expect(page.locator(".editor > .banner")).to_contain_text("It was changed meanwhile")
        await window.button("Compare").click()
        await window.button("Drop mine, begin from theirs").click()
        await expect(page.get_by_label("Model of primary", exact=True)).to_have_value("other")
        await expect(window.button("Save…")).to_be_disabled()


async def test_what_somebody_else_changed_is_not_undone_by_what_one_left_alone(tmp_path: Path) -> None:
    """An edit of one field upon another's of the same says what it undoes; what it does not touch stays theirs."""
    async with seated(tmp_path) as seat:
        window = await _editing(seat)
        await window.button("Remove fallback-2").click()
        assert (await seat.intent.rebind(fallbacks=[bound("third/theirs")], primary=bound("second/home"))).status == 200
        await window.button("Compare").click()
        await window.button("Go on with mine, upon theirs").click()
        await _save(window, "third / theirs", "added: second / small")
        assert await _chain(seat) == ["second/home", "second/small"]


async def test_an_edit_is_given_up_only_by_saying_so(tmp_path: Path) -> None:
    """It outlives a look elsewhere on the page."""
    async with seated(tmp_path) as seat:
        window = await _editing(seat)
        await window.page.get_by_label("Model of primary", exact=True).fill("draft")
        await window.page.get_by_role("link", name="Sources").click()
        await expect(window.page.get_by_role("main", name="Sources")).to_be_visible()
        await window.page.go_back()
        await expect(window.page.get_by_label("Model of primary", exact=True)).to_have_value("draft")
        await window.button("Cancel").click()
        await window.confirm("Cancel", "given up", "first / draft")
        await window.button("Cancel").click()
        await window.confirm("Give it up")
        await window.button("Edit the chain").click()
        await expect(window.page.get_by_label("Model of primary", exact=True)).to_have_value("big")


async def test_going_back(tmp_path: Path) -> None:
    """The book tells who, and the question what will change, which is what then does. An outdated one is refused."""
    async with seated(tmp_path) as seat:
        for model in ("one", "two", "three"):
            assert (await seat.intent.bind(f"first/{model}")).status == 200
        window = await seat.window()
        await window.open("revisions")
        newest = window.page.get_by_role("listitem", name=re.compile(r"^4$"))
        await expect(newest).to_contain_text("in force")
        await expect(newest).to_contain_text("removed: first / two")
        await window.button("Go back to revision 2").click()
        await window.confirm("Go back", "2 later revisions are undone", "first / three", "first / one")
        await expect(window.page.get_by_role("listitem", name=re.compile(r"^5$"))).to_contain_text("restored 2")
        assert await seat.intent.served() == "first/one"
        await window.button("Go back to revision 1").click()
        dialog = window.page.get_by_role("dialog")
        await expect(dialog).to_contain_text("first / big")
        assert (await seat.intent.bind("first/late")).status == 200
        window.expected = {412}
        await dialog.get_by_role("button", name="Go back").click()
        await expect(dialog.get_by_role("alert")).to_contain_text("It has changed since")
        assert await seat.intent.served() == "first/late"


async def test_edits_off(tmp_path: Path) -> None:
    """Then the page changes nothing of the configuration, and says who may."""
    async with seated(tmp_path, {"bot": chain("first/big")}, edits="off") as seat:
        window = await seat.window()
        await window.open("assistants/bot?edit=1")
        await expect(window.page.locator("#content")).to_contain_text("the file alone changes it")
        await expect(window.button("Edit the chain")).to_have_count(0)
        await expect(window.page.locator(".editor")).to_have_count(0)
        await window.open("revisions")
        await expect(window.page.get_by_role("button", name=re.compile("Go back"))).to_have_count(0)
