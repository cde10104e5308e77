"""Bindings without a model, from the file to the upstream: what is sent and shown, what an edit keeps, what a reload
changes, and what is refused."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import orjson
import pytest

from proxy.demo.simulator import Simulator
from tests.e2e.caller import Seen, ask, source, written
from tests.e2e.intent import Intent, bound, intending, settings
from tests.e2e.operated import homeport

_UNNAMED = {"source": "first", "model": None}


def _file(first: Simulator, second: Simulator, default: str | None) -> dict[str, object]:
    """`bot`, whose primary names no model, and `named`, which names one at the same source."""
    sources = {
        "first": source(first) | ({} if default is None else {"default_model": default}),
        "second": source(second),
    }
    bots = {
        "bot": {"primary": {"source": "first"}, "fallbacks": [bound("second/small")]},
        "named": {"primary": bound("first/named")},
    }
    return settings(first, second, sources=sources, assistants=bots)


@pytest.fixture
async def intent(tmp_path: Path, first: Simulator, second: Simulator) -> AsyncIterator[Intent]:
    """The operator of a replica whose first source has a default model."""
    async with intending(tmp_path, _file(first, second, "usual")) as made:
        yield made


def _sent(upstream: Simulator) -> str:
    """The model of the last request that came there."""
    return str(orjson.loads(upstream.requests[-1].body)["model"])


async def _asked(intent: Intent, assistant: str = "bot") -> Seen:
    seen = await ask(intent.replica, assistant, model="any", messages=[{"role": "user", "content": "hi"}])
    assert seen.status == 200
    return seen


def _resolved(shown: Any) -> tuple[str, str, str]:
    told = shown["resolved"]
    return told["source"], told["model"], told["model_from"]


async def test_a_request_goes_by_the_sources_default_and_everything_says_so(intent: Intent, first: Simulator) -> None:
    """Upstream, headers, log, record and metrics name the model; the API tells that it is the source's."""
    seen = await _asked(intent)
    assert _sent(first) == "usual"
    assert (seen.headers["x-homeport-source"], seen.headers["x-homeport-model"]) == ("first", "usual")
    line = await intent.replica.line("request", request_id=seen.request_id)
    record = (await intent.call("GET", f"/api/decisions/{seen.request_id}")).document
    assert line["model"] == record["model"] == record["steps"][0]["model"] == "usual"
    metrics = await intent.replica.metrics()
    assert metrics['homeport_upstream_duration_seconds_count{model="usual",source="first"}'] == 1
    shown = await intent.shown()
    assert _resolved(shown) == ("first", "usual", "source")
    tiers = [(each["model"], each["model_from"]) for each in shown["tiers"]]
    assert tiers == [("usual", "source"), ("small", "binding")]
    assert (shown["primary"], shown["fallbacks"]) == ({"source": "first"}, [bound("second/small")])
    assert _resolved(await intent.shown("named")) == ("first", "named", "binding")
    catalog = (await intent.call("GET", "/api/catalog")).document["sources"]
    assert [each["default_model"] for each in catalog] == ["usual", None]
    tested = (await intent.call("POST", "/api/bindings/test", {"source": "first", "assistant": "bot"})).document
    assert (tested["ok"], tested["resolves"]["model"], tested["resolves"]["tier"]) == (True, "usual", "primary")
    told = (await intent.call("POST", "/api/assistants/bot/explain", {"assume": {"first/usual": "open"}})).document
    assert (told["tier"], told["steps"][0]["model"]) == ("fallback-1", "usual")


async def test_another_default_holds_from_the_next_request_on(
    intent: Intent, first: Simulator, second: Simulator
) -> None:
    """With what an operator has set left as it was set; the health of the former model is not the new one's."""
    hand = {"source": "first", "model": "usual", "action": "isolate"}
    assert (await intent.call("POST", "/api/breakers", hand)).status == 200
    assert await intent.served() == "second/small"
    intent.write(**_file(first, second, "newer"))
    assert (await intent.reload()).document["result"] == "ok"
    assert (await _asked(intent)).headers["x-homeport-model"] == _sent(first) == "newer"
    assert _resolved(await intent.shown()) == ("first", "newer", "source")
    assert (await _asked(intent, "named")).headers["x-homeport-model"] == "named"


async def test_an_edit_keeps_its_null(intent: Intent, first: Simulator, second: Simulator) -> None:
    """Through other defaults, other edits and a way back; what it means is told beside it."""
    foreseen = await intent.call("POST", "/api/assistants/named/explain", {"edit": {"primary": _UNNAMED}})
    assert (foreseen.document["source"], foreseen.document["model"]) == ("first", "usual")
    told = await intent.rebind(assistant="named", primary=_UNNAMED)
    assert (told.status, told.document["primary"]) == (200, _UNNAMED)
    assert _resolved(told.document) == ("first", "usual", "source")
    assert await intent.served("named") == "first/usual"
    intent.write(**_file(first, second, "newer"))
    assert (await intent.reload()).status == 200
    shown = await intent.shown("named")
    assert (shown["primary"], shown["origin"]["primary"]) == (_UNNAMED, "operator")
    assert _resolved(shown) == ("first", "newer", "source")
    number = (await intent.revisions())[0]["number"]
    assert (await intent.rebind(assistant="named", primary=bound("second/other"))).status == 200
    assert (await intent.restore(number)).status == 200
    assert (await intent.shown("named"))["primary"] == _UNNAMED
    assert await intent.served("named") == "first/newer"


async def test_without_any_default_it_is_refused_everywhere(
    intent: Intent, first: Simulator, second: Simulator, tmp_path: Path
) -> None:
    """The check, an edit, and a file that takes the default away from under a binding; what was in force goes on."""
    fault = "no model is named, and `second` has no `default_model`; name one here, or as sources.second.default_model"
    refused = await intent.rebind(primary={"source": "second", "model": None})
    assert (refused.status, refused.code) == (422, "configuration_invalid")
    assert refused.message == f"assistants.bot.primary.model: {fault}"
    tested = (await intent.call("POST", "/api/bindings/test", {"source": "second"})).document
    assert (tested["ok"], tested["resolves"]) == (False, None)
    bare = _file(first, second, None)
    file = tmp_path / "checked.yaml"
    file.write_text(written(**bare))
    checked = await homeport("check", file)
    assert checked.code == 2
    assert fault.replace("second", "first") in checked.err
    intent.write(**bare)
    told = await intent.reload()
    assert (told.status, told.document["result"]) == (422, "invalid")
    assert fault.replace("second", "first") in str(told.document["faults"])
    assert await intent.served() == "first/usual"


async def test_an_edit_keeps_its_default_from_being_taken_away(
    intent: Intent, first: Simulator, second: Simulator
) -> None:
    """A file that is good by itself, and not under an operator's edit, is refused whole."""
    assert (await intent.rebind(assistant="named", primary=_UNNAMED)).status == 200
    gone = _file(first, second, None)
    gone["assistants"] = {name: {"primary": bound("second/small")} for name in ("bot", "named")}
    intent.write(**gone)
    told = await intent.reload()
    assert (told.status, told.document["result"]) == (422, "invalid")
    assert "edits: assistants.named.primary.model: no model is named" in str(told.document["faults"])
    assert await intent.served("named") == "first/usual"


async def test_the_shell_tests_a_default_too(intent: Intent) -> None:
    """A source alone is enough where it has one."""
    reached = ("--admin", intent.replica.admin)
    env = {"HOMEPORT_ADMIN_TOKEN": intent.running.token}
    ran = await homeport("test-binding", "first", *reached, env=env)
    assert (ran.code, "it is the source's default, `usual`" in ran.out) == (0, True), ran
    ran = await homeport("test-binding", "second", *reached, env=env)
    assert (ran.code, "No model is named" in ran.out) == (1, True), ran
