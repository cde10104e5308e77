"""Operators' edits: made upon what they have seen or not at all, numbered, kept whatever comes, and gone back to."""

from __future__ import annotations

import asyncio
import json
import os
import re
import resource
import signal
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from proxy.demo.simulator import Simulator
from tests.e2e.caller import ask, chain, written
from tests.e2e.intent import Intent, bound, intending, settings
from tests.e2e.operated import homeport

_NULLS: dict[str, Any] = {"primary": None, "fallbacks": None, "chains": None, "timeouts": None, "breaker": None}
_EMPTY: dict[str, Any] = {"primary": None, "fallbacks": [], "chains": {}, "timeouts": {}, "breaker": None}


@pytest.fixture
async def intent(tmp_path: Path, first: Simulator, second: Simulator) -> AsyncIterator[Intent]:
    """The operator of a replica that serves `bot` and `other`."""
    bots = {"bot": chain("first/big", "second/small"), "other": chain("second/other")}
    async with intending(tmp_path, settings(first, second, assistants=bots)) as made:
        yield made


# -- a change


async def test_an_edit_is_in_force_for_the_next_request_and_tells_who_made_it(intent: Intent) -> None:
    """Its revision names who, when, from where and what; records and status name it; other assistants go on."""
    before = await intent.shown()
    assert (before["revision"], before["edited"], before["differs"]) == (0, [], [])
    assert await intent.served() == "first/big"
    headers = {"X-Operator": "ann\u200b", "If-Match": '"0"'}
    told = await intent.call("PUT", "/api/assistants/bot", {"primary": bound("second/new")}, **headers)
    assert (told.status, told.tag, told.document["primary"]) == (200, '"2"', bound("second/new"))
    assert await intent.served() == "second/new"
    assert await intent.served("other") == "second/other"
    newest, oldest = await intent.revisions()
    assert (newest["number"], newest["by"], newest["origin"]) == (2, "ann from 127.0.0.1", "api")
    change = {"assistant": "bot", "field": "primary", "before": bound("first/big"), "after": bound("second/new")}
    assert newest["changes"] == [change]
    assert (oldest["number"], oldest["by"], oldest["origin"], oldest["changes"]) == (1, "file", "file", [])
    assert oldest["at"] < newest["at"]
    shown = await intent.shown()
    assert (shown["edited"], shown["origin"]["primary"], shown["origin"]["timeouts"]) == (
        ["primary"],
        "operator",
        "default",
    )
    assert shown["fallbacks"] == before["fallbacks"]
    assert shown["resolved"]["model"] == "new"
    line = await intent.replica.line("config", by="ann from 127.0.0.1")
    assert (line["revision"], line["changes"]) == (await intent.revision(), 1)


async def test_a_kept_record_names_the_revision_that_served_it(intent: Intent) -> None:
    """By the API too, though another one has come since."""
    seen = await ask(intent.replica, "bot")
    revision = await intent.revision()
    await intent.bind("second/new")
    assert await intent.revision() != revision
    told = await intent.call("GET", f"/api/decisions/{seen.request_id}")
    assert (told.document["revision"], told.document["model"]) == (revision, "big")


_STALE = ('"7"', '"1"', '"0"', "2x", '""', "", '"2", "3"', None)


async def test_a_change_upon_what_is_outdated_changes_nothing(intent: Intent) -> None:
    """Nor one that does not say what it is upon."""
    assert (await intent.bind("second/new")).tag == '"2"'
    for stale in _STALE:
        told = await intent.call("PUT", "/api/assistants/bot", {"primary": None}, seen=stale)
        assert (told.status, told.code) == (412, "revision_outdated"), stale
    assert (await intent.shown())["primary"] == bound("second/new")
    assert len(await intent.revisions()) == 2
    assert (await intent.rebind('W/"2"', primary=None)).tag == '"3"'


async def test_of_many_changes_upon_one_revision_one_is_made(intent: Intent) -> None:
    """At once, and what is in force is the winner's; a change of another assistant outdates nothing."""
    changes = [intent.bind(f"second/m{number}", '"0"') for number in range(10)]
    *told, other = await asyncio.gather(*changes, intent.bind("first/x", '"0"', "other"))
    assert sorted(each.status for each in told) == [200] + [412] * 9
    assert other.status == 200
    (winner,) = [f"second/m{number}" for number, each in enumerate(told) if each.status == 200]
    assert await intent.served() == winner
    assert [each["number"] for each in await intent.revisions()] == [3, 2, 1]


async def test_what_check_refuses_is_refused_in_the_same_words(intent: Intent, tmp_path: Path) -> None:
    """All of it, and nothing is changed."""
    wrong: dict[str, Any] = {"primary": bound("nowhere/x"), "timeouts": {"total": "5s", "hold": "6s", "idle": "soon"}}
    told = await intent.rebind(**wrong)
    assert (told.status, told.code) == (422, "configuration_invalid")
    for fields in (wrong, {"primary": bound("nowhere/x")}, {"timeouts": {"total": "5s", "hold": "6s"}}):
        refused = await intent.rebind(**fields)
        assert refused.status == 422
        file = tmp_path / "checked.yaml"
        config = dict(json.loads(json.dumps({"assistants": {"bot": fields}})))
        file.write_text(
            written(version=1, sources={"first": {"kind": "openai"}, "second": {"kind": "openai"}}, **config)
        )
        said = (await homeport("check", file)).err.splitlines()
        words = {line.partition(": ")[2] for line in said}
        assert words & set(refused.message.splitlines()), (words, refused.message)
    assert len(await intent.revisions()) == 1
    assert await intent.served() == "first/big"


_NO_CHANGES: tuple[tuple[str, str, object, tuple[int, str]], ...] = (
    ("PUT", "/api/assistants/bot", {}, (400, "invalid_request")),
    ("PUT", "/api/assistants/bot", {"primray": None}, (400, "invalid_request")),
    ("PUT", "/api/assistants/bot", [1], (400, "invalid_request")),
    ("PUT", "/api/assistants/bot", b"{", (400, "invalid_request")),
    ("PUT", "/api/assistants/bot", b'{"primary": "\xff"}', (400, "invalid_request")),
    ("PUT", "/api/assistants/bot", b"[" * 70_000, (413, "request_too_large")),
    ("PUT", "/api/assistants/bot", b"[" * 20_000, (400, "invalid_request")),
    ("PUT", "/api/assistants/bot", b'{"fallbacks":' + b"[" * 900 + b"]" * 900 + b"}", (400, "invalid_request")),
    ("PUT", "/api/assistants/nobody", {"primary": None}, (404, "assistant_not_found")),
    ("GET", "/api/assistants/nobody", None, (404, "assistant_not_found")),
    (
        "POST",
        "/api/assistants/nobody/differences",
        {"field": "primary", "choose": "keep"},
        (404, "assistant_not_found"),
    ),
    ("POST", "/api/assistants/bot/differences", {"field": "primary", "choose": "keep"}, (404, "not_found")),
    ("POST", "/api/assistants/bot/differences", {"field": "primary", "choose": "both"}, (400, "invalid_request")),
    ("POST", "/api/revisions/7/restore", None, (404, "not_found")),
    ("POST", "/api/revisions/0/restore", None, (404, "not_found")),
    ("POST", "/api/revisions/x/restore", None, (404, "not_found")),
    ("POST", "/api/revisions/-1/restore", None, (404, "not_found")),
    ("POST", "/api/revisions/99999999999999999999/restore", None, (404, "not_found")),
)


async def test_what_is_no_change_is_refused(intent: Intent) -> None:
    """With a word each, and nothing is changed."""
    for method, path, body, expected in _NO_CHANGES:
        told = await intent.call(method, path, body, seen="*" if method == "PUT" else None)
        assert (told.status, told.code) == expected, (method, path, body)
    assert len(await intent.revisions()) == 1


async def test_nothing_is_shown_or_changed_without_the_token(intent: Intent) -> None:
    """Whoever asks."""
    calls = [("GET", "/api/assistants"), ("GET", "/api/assistants/bot"), ("PUT", "/api/assistants/bot")]
    calls += [("GET", "/api/revisions"), ("POST", "/api/revisions/1/restore"), ("POST", "/api/reload")]
    for method, path in [*calls, ("POST", "/api/assistants/bot/differences")]:
        told = await intent.call(method, path, Authorization="Bearer no")
        assert (told.status, told.code) == (401, "unauthorized")


async def test_with_edits_off_the_file_alone_changes_anything(
    tmp_path: Path, first: Simulator, second: Simulator
) -> None:
    """What was edited before stays in force; a reload can switch them on again, and off."""
    config = settings(first, second)
    async with intending(tmp_path, config) as intent:
        await intent.bind("second/edited")
        intent.write(**config, edits="off")
        assert (await intent.reload()).document["result"] == "ok"
        tag = (await intent.call("GET", "/api/assistants/bot")).tag
        for told in (
            await intent.bind("first/x", tag),
            await intent.restore(1),
            await intent.settle("primary", "file"),
        ):
            assert (told.status, told.code) == (403, "edits_off")
        assert await intent.served() == "second/edited"
        assert (await intent.running.status())["configuration"]["edits"] == "off"
        intent.write(**config)
        await intent.reload()
        assert (await intent.bind("first/x", tag)).status == 200


# -- null


async def test_an_explicit_null_stays_null_for_ever(tmp_path: Path, first: Simulator, second: Simulator) -> None:
    """Through restarts, a kill, reloads and other files: nobody rebinds what an operator has emptied."""
    config = settings(first, second)
    async with intending(tmp_path, config) as intent:
        told = await intent.rebind(**_NULLS)
        assert {name: told.document[name] for name in _EMPTY} == _EMPTY
        assert (await intent.refused()).document()["error"]["code"] == "assistant_unbound"
        intent.write(**config, breaker={"cooldown": "9s"})
        assert (await intent.reload()).document["result"] == "ok"
        intent.write(**config | {"assistants": {"bot": chain("second/helpful", "first/kind")}})
        assert (await intent.reload()).document["result"] == "ok"
        await _is_null(intent)
        await intent.replica.stop(signal.SIGKILL)
    for assistants in ({"bot": chain("second/helpful", "first/kind")}, {}, {"bot": chain("first/big")}):
        async with intending(tmp_path, config | {"assistants": assistants}) as intent:
            if assistants:
                await _is_null(intent)


async def _is_null(intent: Intent) -> None:
    shown = await intent.shown()
    assert {name: shown[name] for name in _EMPTY} == _EMPTY
    assert {shown["origin"][name] for name in _EMPTY} == {"operator"}
    assert (await intent.refused()).document()["error"]["code"] == "assistant_unbound"


# -- edit and file


async def test_where_edit_and_file_differ_the_operator_chooses(
    tmp_path: Path, first: Simulator, second: Simulator
) -> None:
    """The edit holds and both are shown; kept, it is settled until the file says something else; dropped, the file is
    in force."""
    config = settings(first, second)
    async with intending(tmp_path, config) as intent:
        await intent.bind("second/edit")
        difference = {"field": "primary", "file": bound("first/big"), "edit": bound("second/edit"), "settled": False}
        assert (await intent.shown())["differs"] == [difference]
        assert await _open(intent) == (1, 1.0)
        kept = await intent.settle("primary", "keep")
        assert kept.document["differs"] == [difference | {"settled": True}]
        assert await _open(intent) == (0, 0.0)
        assert await intent.served() == "second/edit"
        assert (await intent.revisions())[0]["changes"] == []
    async with intending(tmp_path, config) as intent:
        assert await _open(intent) == (0, 0.0)
        intent.write(**config | {"assistants": {"bot": chain("first/other", "second/small")}})
        await intent.reload()
        assert await _open(intent) == (1, 1.0)
        assert await intent.served() == "second/edit"
        dropped = await intent.settle("primary", "file")
        assert (dropped.document["differs"], dropped.document["edited"]) == ([], [])
        assert await intent.served() == "first/other"
        assert (await intent.settle("primary", "file")).status == 404


async def _open(intent: Intent) -> tuple[int, float]:
    """Differences that nobody has settled, in status and metrics."""
    status, metrics = await intent.running.status(), await intent.replica.metrics()
    return status["configuration"]["differences"], metrics["homeport_config_differences"]


# -- going back


async def test_a_restore_is_a_revision_and_gives_what_was_in_force(intent: Intent) -> None:
    """Edits and file changes alike; once more it changes nothing, and it can be undone as well."""
    await intent.bind("second/m2")
    await intent.rebind(fallbacks=None, primary=bound("second/m3"))
    told = await intent.restore(2, '"3"')
    assert (told.status, told.tag, told.document["revisions"][0]["note"]) == (200, '"4"', "restored 2")
    assert await intent.served() == "second/m2"
    assert (await intent.shown())["fallbacks"] == [bound("second/small")]
    assert (await intent.restore(2)).document["revisions"][0]["changes"] == []
    assert await intent.served() == "second/m2"
    await intent.restore(3)
    assert await intent.served() == "second/m3"
    await intent.restore(1)
    assert (await intent.shown())["edited"] == []
    assert await intent.served() == "first/big"
    outdated = await intent.restore(3, '"2"')
    assert (outdated.status, outdated.code) == (412, "revision_outdated")
    assert await intent.served() == "first/big"


async def test_a_file_that_changed_while_the_replica_was_down_can_be_gone_back_from(
    tmp_path: Path, first: Simulator, second: Simulator
) -> None:
    """Its revision tells what it changed."""
    config = settings(first, second)
    async with intending(tmp_path, config):
        pass
    async with intending(tmp_path, config | {"assistants": {"bot": chain("second/since")}}) as intent:
        newest, _ = await intent.revisions()
        assert [change["field"] for change in newest["changes"]] == ["primary", "fallbacks"]
        assert (await intent.restore(1)).status == 200
        assert await intent.served() == "first/big"


async def test_a_restore_that_does_not_go_with_the_file_is_refused(
    tmp_path: Path, first: Simulator, second: Simulator
) -> None:
    """A source that is gone does not come back by it."""
    config = settings(first, second)
    async with intending(tmp_path, config) as intent:
        intent.write(
            **config
            | {
                "sources": {"first": {"kind": "openai-compatible", "base_url": first.base_url}},
                "assistants": {"bot": chain("first/only")},
            }
        )
        assert (await intent.reload()).document["result"] == "ok"
        told = await intent.restore(1)
        assert (told.status, told.code) == (422, "configuration_invalid")
        assert "`second` does not stand under `sources`" in told.message
        assert await intent.served() == "first/only"


# -- on disk


async def test_edits_survive_a_kill(tmp_path: Path, first: Simulator, second: Simulator) -> None:
    """Without another word: the same is in force, under the same revision."""
    config = settings(first, second)
    async with intending(tmp_path, config) as intent:
        await intent.bind("second/kept")
        revision, tag = await intent.revision(), (await intent.call("GET", "/api/assistants/bot")).tag
        await intent.replica.stop(signal.SIGKILL)
    async with intending(tmp_path, config) as intent:
        assert await intent.served() == "second/kept"
        assert await intent.revision() == revision
        assert (await intent.rebind(tag, fallbacks=[])).status == 200
    book = json.loads((tmp_path / "homeport-state" / "revisions.json").read_text())
    assert [each["number"] for each in book["revisions"]] == [1, 2, 3]


async def test_a_full_disk_refuses_the_change_and_serving_goes_on(
    tmp_path: Path, first: Simulator, second: Simulator
) -> None:
    """What was in force is, on the disk too; a file that is read meanwhile counts; with room, changes go on, and that
    file has a revision of its own."""
    config = settings(first, second)
    book = tmp_path / "homeport-state" / "revisions.json"
    async with intending(tmp_path, config) as intent:
        await intent.bind("second/kept")
        before, pid = book.read_bytes(), intent.replica.process.pid
        limits = resource.prlimit(pid, resource.RLIMIT_FSIZE, (200, resource.RLIM_INFINITY))
        for told in (await intent.bind("first/lost"), await intent.restore(1)):
            assert (told.status, told.code) == (507, "not_kept")
            assert "make room there" in told.message
        assert await intent.served() == "second/kept"
        intent.write(**config | {"assistants": {"bot": chain("first/big"), "new": chain("second/new")}})
        assert (await intent.reload()).document["result"] == "ok"
        assert await intent.served("new") == "second/new"
        assert book.read_bytes() == before
        assert os.listdir(book.parent) == ["revisions.json"]
        resource.prlimit(pid, resource.RLIMIT_FSIZE, limits)
        assert (await intent.bind("second/room")).status == 200
        assert await intent.served() == "second/room"
        assert [each["origin"] for each in await intent.revisions()] == ["api", "file", "api", "file"]


@pytest.mark.parametrize("book", [b"{ not json", b"", b'{"revisions": [{"number": 1}]}'])
async def test_a_book_that_cannot_be_read_ends_the_start_and_is_left_alone(tmp_path: Path, book: bytes) -> None:
    """Exit 1, one line with the place and the remedy."""
    file, path = tmp_path / "homeport.yaml", tmp_path / "homeport-state" / "revisions.json"
    path.parent.mkdir()
    path.write_bytes(book)
    file.write_text(written(version=1, listen="127.0.0.1:0", admin={"listen": "127.0.0.1:0"}))
    ran = await homeport("serve", "-c", file)
    assert ran.code == 1
    assert ran.err.splitlines()[-1] == (
        f"homeport: state_dir: {path} is no book of revisions; mend it, or move it away to begin a new one"
    )
    assert "Traceback" not in ran.err
    assert path.read_bytes() == book


async def test_edits_that_do_not_go_with_the_file_end_the_start(
    tmp_path: Path, first: Simulator, second: Simulator
) -> None:
    """With what is at fault: an operator's edit is neither dropped nor half in force. With the file mended it is."""
    config = settings(first, second)
    async with intending(tmp_path, config) as intent:
        await intent.bind("second/edit")
    without = config | {"sources": {"first": {"kind": "openai-compatible", "base_url": first.base_url}}}
    without |= {"assistants": {"bot": chain("first/only")}}
    (tmp_path / "homeport.yaml").write_text(written(**without, admin={"listen": "127.0.0.1:0"}))
    ran = await homeport("serve", "-c", tmp_path / "homeport.yaml")
    assert ran.code == 1
    assert "homeport: what operators have set does not go with the file:" in ran.err
    assert re.search(r"^edits: assistants\.bot\.primary\.source: `second` does not stand under", ran.err, re.MULTILINE)
    async with intending(tmp_path, config) as intent:
        assert await intent.served() == "second/edit"


async def test_without_a_state_dir_edits_last_as_long_as_the_process(
    tmp_path: Path, first: Simulator, second: Simulator
) -> None:
    """And nothing is written anywhere."""
    config = settings(first, second, state_dir=None)
    async with intending(tmp_path, config) as intent:
        assert (await intent.bind("second/edit")).status == 200
        assert await intent.served() == "second/edit"
    async with intending(tmp_path, config) as intent:
        assert await intent.served() == "first/big"
    assert os.listdir(tmp_path) == ["homeport.yaml"]


async def test_what_the_page_changes_is_told_apart(intent: Intent) -> None:
    """A browser says that it is one, or the page does where no browser would: where nothing is encrypted."""
    marks: list[dict[str, str]] = [{"Sec-Fetch-Mode": "cors"}, {"x-homeport-csrf": "1"}, {}]
    for place, mark in enumerate(marks):
        edit = {"primary": bound(f"first/{place}")}
        assert (await intent.call("PUT", "/api/assistants/bot", edit, seen="*", **mark)).status == 200
    assert [each["origin"] for each in (await intent.revisions())[:3]] == ["api", "page", "page"]


async def test_all_assistants_are_listed(intent: Intent) -> None:
    """As each is shown by itself."""
    told = await intent.call("GET", "/api/assistants")
    listed = told.document["assistants"]
    assert [each["id"] for each in listed] == ["bot", "other"]
    assert listed[0] == await intent.shown()
    assert told.document["revision"] == await intent.revision()
