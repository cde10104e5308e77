"""What a request would meet now is what the next one meets; asking sends nothing and leaves everything as it was."""

from __future__ import annotations

import asyncio
import re
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from proxy.demo import moods
from proxy.demo.moods import Mood
from proxy.demo.simulator import Simulator
from tests.e2e.caller import CHAT, ask, chain, source
from tests.e2e.inquiry import PATIENCE, Operator, Record, operators
from tests.e2e.operated import config
from tests.integration.redis_server import RedisServer, running

pytestmark = pytest.mark.asyncio(loop_scope="module")

_ANSWER = {
    "assistant", "revision", "endpoint", "stream", "needs", "assume", "would", "refusal", "tier", "source", "model",
    "probe", "reason", "steps", "spare", "story",
}  # fmt: skip
_OWN = re.compile(
    r"^(?:# \w+ )?(?:process_|homeport_(?:event_loop_lag_|decisions_pending|redis_|state_(?:last_sync|propagation)_))"
)
"""Metrics that move by themselves: the process, and what it has to do with Redis."""
_DOWN = moods.status(503)
_COMPLETIONS, _RESPONSES = "/v1/completions", "/v1/responses"
_ENDPOINTS = {_COMPLETIONS: "completions", _RESPONSES: "responses"}
_FORESEEN = ("tier", "source", "model", "verdict", "reason", "missing", "uncarried", "probe", "outcome", "dropped")
_ASK: dict[str, Any] = {"messages": [{"role": "user", "content": "Where?"}], "input": None}
_TOOLS = [{"type": "function", "function": {"name": "f", "parameters": {"type": "object"}}}]


def _assistants() -> dict[str, object]:
    names = ("closed", "opened", "rests", "key", "held", "both", "none", "due", "probed", "supposed")
    made: dict[str, object] = {name: chain(f"first/{name}", f"second/{name}") for name in names}
    made["cleared"] = {"primary": None, "fallbacks": [{"source": "second", "model": "cleared"}]}
    made["empty"] = {"primary": None}
    plain = {"source": "first", "model": "plain", "supports": []}
    made["plain"] = {"primary": plain, "fallbacks": [{"source": "second", "model": "plain", "supports": ["tools"]}]}
    made["claude"] = chain("claude/c", "second/c")
    made["alone"] = chain("claude/alone")
    for name in ("due", "probed"):
        made[name] = chain(f"first/{name}", f"second/{name}", breaker={"cooldown": "1s", "scope": "assistant"})
    return made


class Stage:
    """A replica whose future is asked for, with its upstreams and its Redis if it has one."""

    def __init__(self, at: Operator, first: Simulator, second: Simulator, redis: RedisServer | None) -> None:
        self.at, self.first, self.second, self._redis = at, first, second, redis

    async def ask(self, assistant: str, *, path: str = CHAT, **more: Any) -> Record:
        """The record of a request, which agrees with the headers that the caller got."""
        seen = await ask(self.at.replica, assistant, path, **more)
        (record,) = await self.at.known(seen.request_id)
        assert seen.headers.get("x-homeport-reason") in (None, record["reason"])
        assert seen.headers["x-homeport-tier"] == (record["tier"] or "none") or seen.status >= 400
        return record

    async def trip(self, assistant: str, *, fallback: bool = False) -> None:
        """Three failures of the primary, or of both tiers."""
        for _ in range(3):
            self.first.queue.append(_DOWN)
            if fallback:
                self.second.queue.append(_DOWN)
            await self.ask(assistant)

    async def foretold(self, assistant: str, **what: object) -> dict[str, Any]:
        """What is said of now; all else is as it was before."""
        before = await self._everything()
        told = await self.at.foretold(assistant, **what)
        again = await self.at.foretold(assistant, **what)
        assert await self._everything() == before
        assert set(told) == _ANSWER
        assert (told["tier"], told["probe"]) == (again["tier"], again["probe"])
        return told

    async def comes_true(self, assistant: str, **more: Any) -> Record:
        """The next request meets what was said of its needs, or of its whole body, tier by tier; its record."""
        endpoint = _ENDPOINTS.get(more.get("path", CHAT), "chat_completions")
        if "messages" in more or "input" in more:
            body = {name: value for name, value in more.items() if name != "path"}
            told = await self.foretold(assistant, request=body, endpoint=endpoint)
        else:
            needs = ["tools"] if "tools" in more else []
            told = await self.foretold(assistant, needs=needs, stream=bool(more.get("stream")), endpoint=endpoint)
        record = await self.ask(assistant, **more)
        assert told["would"] == ("serve" if record["tier"] else "refuse")
        for field in ("tier", "source", "model", "refusal", "revision", "stream", "endpoint"):
            assert told[field] == record[field], field
        assert _timeless(told["reason"]) == _timeless(record["reason"])
        assert len(told["steps"]) == len(record["steps"])
        for foreseen, step in zip(told["steps"], record["steps"], strict=True):
            for field in _FORESEEN:
                assert foreseen.get(field) == step.get(field), (field, foreseen, step)
            seen, then = foreseen["breaker"], step["breaker"]
            assert (seen is None) is (then is None)
            if seen is not None and step["verdict"] == "skipped":
                for field in ("since", "until"):
                    assert seen[field] == pytest.approx(then[field], abs=0.01)
                assert {**seen, "since": 0, "until": 0} == {**then, "since": 0, "until": 0}
        return record

    async def _everything(self) -> tuple[object, ...]:
        lines = (await self.at.of.scrape()).splitlines()
        metrics = [line for line in lines if not _OWN.match(line)]
        asked = [sum(each.by_path.values()) for each in (self.first, self.second)]
        status = await self.at.of.status()
        kept = {name: status["journal"][name] for name in ("held", "dropped")}
        return metrics, asked, status["breakers"], kept, await self._lies()

    async def _lies(self) -> dict[bytes, bytes]:
        """All keys of Redis, but for the one by which replicas show that they live."""
        if self._redis is None:
            return {}
        await self.at.journal(lambda told: not told["pending"])
        keys = [key for key in self._redis.command("KEYS", "*") if not key.endswith(b":replicas")]
        assert keys
        return {key: self._redis.command("DUMP", key) for key in sorted(keys)}


async def _would(at: Operator, assistant: str, tier: str) -> None:
    """Wait until this tier would serve, by the store's clock too: a replica knows that no better than a reply takes."""
    async with asyncio.timeout(PATIENCE):
        while (await at.foretold(assistant))["tier"] != tier:  # noqa: ASYNC110  # another process
            await asyncio.sleep(0.05)
    await asyncio.sleep(0.3)


def _timeless(reason: str | None) -> str | None:
    """Seconds pass between the saying and the request."""
    return None if reason is None else re.sub(r"retry_in=\d+s", "retry_in=…", reason)


@pytest_asyncio.fixture(scope="module", loop_scope="module", params=["memory", "shared"])
async def everyone(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    """One stage for all tests of a kind; each has an assistant of its own."""
    folder = tmp_path_factory.mktemp("explain")
    with running() as server:
        redis = server if request.param == "shared" else None
        async with Simulator("first") as first, Simulator("second") as second:
            claude = {"kind": "anthropic", "base_url": first.base_url, "api_key": "k"}
            sources = {"first": source(first), "second": source(second), "claude": claude}
            settings = config(first, second, sources=sources, breaker={"cooldown": "5m"})
            settings |= {"assistants": _assistants()}
            async with operators(folder, settings, 1, redis) as (at,):
                yield Stage(at, first, second, redis)


@pytest.fixture
def stage(everyone: Stage) -> Stage:
    """The same, with its upstreams well."""
    for each in (everyone.first, everyone.second):
        each.mood = moods.WELL
        each.queue.clear()
    return everyone


async def test_all_is_well(stage: Stage) -> None:
    """The primary would serve, and does; the others are spare."""
    told = await stage.foretold("closed")
    assert (told["would"], told["tier"], told["reason"], told["probe"]) == ("serve", "primary", None, None)
    (spare,) = told["spare"]
    assert set(spare) == {"tier", "source", "model", "admits", "breaker"}
    assert (spare["tier"], spare["admits"], spare["breaker"]["state"]) == ("fallback-1", True, "closed")
    assert told["story"] == ["primary (first/closed) would be tried, and if it answers, it serves."]
    for stream in (False, True):
        assert (await stage.comes_true("closed", stream=stream))["tier"] == "primary"


async def test_a_tier_that_is_open_parked_disabled_or_isolated(stage: Stage) -> None:
    """Each is skipped for the same reason, by the same requests, until the same moment."""
    await stage.trip("opened")
    record = await stage.comes_true("opened")
    assert record["reason"].startswith("primary=open(server_is_overloaded,retry_in=")
    assert len(record["steps"][0]["breaker"]["tripped_by"]) == 3
    for assistant, mood, word in (
        ("rests", moods.status(429, retry_after=90), "parked"),
        ("key", moods.model_missing(), "disabled"),
    ):
        stage.first.queue.append(mood)
        await stage.ask(assistant)
        record = await stage.comes_true(assistant)
        assert record["reason"].startswith(f"primary={word}(")
        assert record["tier"] == "fallback-1"
    await stage.at.isolate("first", "held")
    assert (await stage.comes_true("held"))["reason"] == "primary=isolated(operator)"


async def test_nobody_would_serve(stage: Stage) -> None:
    """It says so, with the code that the caller then gets, and each tier's reason."""
    for name in ("first", "second"):
        await stage.at.isolate(name, "none")
    record = await stage.comes_true("none")
    assert (record["code"], record["refusal"]) == (503, "all_tiers_failed")
    assert record["reason"] == "primary=isolated(operator) fallback-1=isolated(operator)"
    told = await stage.foretold("none")
    assert told["story"][-1] == "Nobody would serve it: the caller would get all_tiers_failed."


async def test_a_probe_ahead_of_its_time(stage: Stage) -> None:
    """Where every tier is open one would be asked early, and is: the same one."""
    await stage.trip("both", fallback=True)
    # Not within a second of the trip: then it is refused, and so it is said.
    await _would(stage.at, "both", "primary")
    record = await stage.comes_true("both")
    served = record["steps"][-1]
    assert (record["code"], served["verdict"], served["probe"]) == (200, "served", "early")


async def test_a_probe_that_is_due(stage: Stage) -> None:
    """Once a rest is over the next request asks whether the tier is back, and all after it are served there."""
    await stage.trip("due")
    await _would(stage.at, "due", "primary")
    record = await stage.comes_true("due")
    assert (record["tier"], record["steps"][0]["probe"]) == ("primary", "half_open")
    assert (await stage.comes_true("due"))["steps"][0]["probe"] is None


async def test_a_probe_under_way(stage: Stage) -> None:
    """While one request asks, others would be spared, and are."""
    await stage.trip("probed")
    stage.first.mood = moods.hang()
    await _would(stage.at, "probed", "primary")
    known = sum(stage.first.by_path.values())
    probe = asyncio.create_task(ask(stage.at.replica, "probed"))
    try:
        arrived = asyncio.create_task(stage.first.until(lambda: sum(stage.first.by_path.values()) > known))
        await asyncio.wait({arrived, probe}, return_when=asyncio.FIRST_COMPLETED)
        assert arrived.done(), "the request was answered without asking the tier"
        assert (await stage.comes_true("probed"))["reason"].startswith("primary=half_open(")
    finally:
        probe.cancel()
        await asyncio.gather(probe, return_exceptions=True)
    await stage.at.replica.line("request", assistant="probed", outcome="cancelled")


async def test_what_is_not_bound_or_not_declared(stage: Stage) -> None:
    """A cleared primary, an assistant without any tier, a need that a binding does not declare, a chain that is not."""
    assert (await stage.comes_true("cleared"))["reason"] == "primary=unbound"
    assert (await stage.comes_true("empty"))["refusal"] == "assistant_unbound"
    assert (await stage.comes_true("plain", tools=_TOOLS))["reason"] == "primary=unsupported(tools)"
    assert (await stage.comes_true("plain"))["tier"] == "primary"
    completion = await stage.comes_true("claude", path=_COMPLETIONS, prompt="Where?")
    assert (completion["tier"], completion["reason"]) == ("fallback-1", "primary=unsupported(completions)")
    told = await stage.foretold("closed", endpoint="embeddings")
    record = await stage.ask("closed", path="/v1/embeddings")
    assert (told["would"], told["refusal"]) == ("refuse", record["refusal"])


async def test_what_a_body_has_that_a_tier_cannot_be_told(stage: Stage) -> None:
    """Each tier it cannot be put to, what the others are not told, and the refusal where it can be put to none."""
    carried = await stage.comes_true("claude", **_ASK, seed=7, user="me", stream=True)
    assert (carried["tier"], carried["steps"][0]["dropped"]) == ("primary", ["seed"])
    assert carried["story"][1].endswith("; not told to it: seed.")
    objected = await stage.comes_true("claude", **_ASK, logprobs=True)
    assert (objected["tier"], objected["reason"]) == ("fallback-1", "primary=unsupported(logprobs)")
    assert (objected["steps"][0]["uncarried"], objected["steps"][1]["dropped"]) == ("logprobs", [])
    assert "the request's logprobs cannot be put to its kind of source" in objected["story"][1]
    refused = await stage.comes_true("alone", **_ASK, logprobs=True)
    assert (refused["code"], refused["refusal"], refused["outcome"]) == (400, "unsupported", "client_error")
    assert refused["story"][-1].startswith("No tier can be asked it: the caller got HTTP 400 unsupported after ")
    found = await stage.at.search(reason="logprobs", assistant="alone")
    assert [each["request_id"] for each in found["decisions"]] == [refused["request_id"]]
    unknown = await stage.comes_true("alone", path=_RESPONSES, input="Where?", messages=None, mood_of_mine="sunny")
    assert unknown["reason"] == "primary=unsupported(unknown_field)"
    assert "mood_of_mine" not in str(unknown)
    stored = {"input": "a", "previous_response_id": "resp_1"}
    kept = await stage.foretold("claude", endpoint="responses", request=stored)
    record = await stage.ask("claude", path=_RESPONSES, **stored)
    assert (kept["would"], kept["refusal"]) == ("refuse", record["refusal"])


async def test_what_if(stage: Stage) -> None:
    """An assumption stands in for what is, of a tier or of a binding, and of nothing else; nothing becomes of it."""
    spared = "primary=open(assumed,retry_in=300s)"
    cases: list[tuple[dict[str, str], tuple[str | None, str | None, str | None]]] = [
        ({"primary": "open"}, ("fallback-1", spared, None)),
        ({"first/supposed": "open"}, ("fallback-1", spared, None)),
        ({"primary": "parked for 60s"}, ("fallback-1", "primary=parked(assumed,retry_in=60s)", None)),
        ({"primary": "open for 10m"}, ("fallback-1", "primary=open(assumed,retry_in=600s)", None)),
        ({"primary": "isolated"}, ("fallback-1", "primary=isolated(assumed)", None)),
        ({"primary": "disabled"}, ("fallback-1", "primary=disabled(assumed)", None)),
        ({"primary": "half_open"}, ("fallback-1", "primary=half_open(assumed,retry_in=15s)", None)),
        ({"primary": "failing"}, ("fallback-1", "primary=transient(assumed,0ms)", None)),
        ({"fallback-1": "open"}, ("primary", None, None)),
        ({"primary": "isolated", "fallback-1": "disabled"}, (None, None, None)),
        ({"primary": "failing", "second/supposed": "failing"}, (None, None, None)),
    ]
    for assume, (tier, reason, probe) in cases:
        told = await stage.foretold("supposed", assume=assume)
        assert (told["tier"], told["assume"]) == (tier, assume)
        if tier is not None:
            assert (told["reason"], told["probe"]) == (reason, probe), assume
        else:
            assert (told["would"], told["refusal"]) == ("refuse", "all_tiers_failed")
    assert (await stage.foretold("supposed"))["tier"] == "primary"
    assert (await stage.foretold("opened", assume={"primary": "closed"}))["tier"] == "primary"
    assert (await stage.ask("supposed"))["tier"] == "primary"


async def test_what_cannot_be_asked(stage: Stage) -> None:
    """Each is refused, typed, with what would do."""
    orders: list[tuple[object, int, str, str]] = [
        ([], 400, "invalid_request", "object"),
        ({"assume": {"primary": "gone"}}, 400, "invalid_request", "half_open"),
        ({"assume": {"primary": "open for ever"}}, 400, "invalid_request", "60s"),
        ({"assume": {"primary": "open for -1s"}}, 400, "invalid_request", "60s"),
        ({"assume": {"primary": "open for 1000h"}}, 400, "invalid_request", "60s"),
        ({"assume": {"fallback-7": "open"}}, 400, "invalid_request", "second/closed"),
        ({"assume": {"redis": "open"}}, 400, "invalid_request", "away"),
        ({"assume": "open"}, 400, "invalid_request", "assume"),
        ({"endpoint": "images"}, 400, "invalid_request", "chat_completions"),
        ({"needs": ["luck"]}, 400, "invalid_request", "needs"),
        ({"stream": "perhaps"}, 400, "invalid_request", "stream"),
        ({"asume": {}}, 400, "invalid_request", "assume"),
        ({"endpoint": "x" * 70_000}, 413, "request_too_large", ""),
    ]
    for order, status, code, word in orders:
        got, told = await stage.at.call("/api/assistants/closed/explain", order)
        assert (got, told["error"]["code"]) == (status, code), order
        assert word in told["error"]["message"], told
    for nobody in ("nobody", "%00", "x" * 3000):
        got, told = await stage.at.call(f"/api/assistants/{nobody}/explain", {})
        assert (got, told["error"]["code"]) == (404, "assistant_not_found")


async def test_an_edit_is_played_and_not_made(stage: Stage) -> None:
    """What would be if it were made: who would serve, or what `homeport check` says; nothing is kept of either."""
    await stage.at.isolate("first", "closed")
    draft = {"primary": {"source": "second", "model": "draft"}, "fallbacks": [{"source": "first", "model": "closed"}]}
    told = await stage.foretold("closed", edit=draft)
    assert (told["would"], told["tier"], told["model"]) == ("serve", "primary", "draft")
    told = await stage.foretold("closed", edit=draft, assume={"second/draft": "disabled"})
    assert (told["would"], told["reason"].split("(")[0]) == ("refuse", "primary=disabled")
    told = await stage.foretold("closed", edit={"primary": None, "fallbacks": None})
    assert (told["would"], told["refusal"]) == ("refuse", "assistant_unbound")
    faulty: list[tuple[dict[str, object], str]] = [
        ({"primary": {"source": "nowhere", "model": "m"}}, "assistants.closed.primary.source: `nowhere`"),
        ({"fallbacks": [{"source": "first", "model": "closed"}]}, "assistants.closed.fallbacks.0: the same tier"),
        ({"breaker": {"cooldown": "5s"}}, "assistants.closed.breaker: "),
    ]
    for edit, said in faulty:
        status, answer = await stage.at.call("/api/assistants/closed/explain", {"edit": edit})
        assert (status, answer["error"]["code"]) == (422, "configuration_invalid")
        assert answer["error"]["message"].startswith(said)
    status, answer = await stage.at.call("/api/assistants/closed/explain", {"edit": {"primry": None}})
    assert (status, answer["error"]["code"]) == (400, "invalid_request")
    await stage.at.isolate("first", "closed", "release")
    assert (await stage.ask("closed"))["tier"] == "primary"


async def test_with_redis_away_and_without(tmp_path: Path) -> None:
    """Away or assumed to be: this replica's own word, and marked as such; what it says is what comes."""
    with running() as redis:
        async with (
            Simulator("first") as first,
            Simulator("second") as second,
            operators(tmp_path, config(first, second, breaker={"cooldown": "5m"}), 2, redis) as (at, other),
        ):
            first.mood = Mood("down", instead=_DOWN.instead)
            for _ in range(3):
                await other.get(CHAT, "bot")
            await _would(at, "bot", "fallback-1")
            assert (await at.foretold("bot"))["steps"][0]["breaker"]["local"] is False
            supposed = await at.foretold("bot", assume={"redis": "away"})
            redis.kill()
            for each in (at, other):
                await each.of.until(up=False)
                told = await each.foretold("bot")
                if each is at:
                    assert _timeless(supposed["reason"]) == _timeless(told["reason"])
                seen = await ask(each.replica, "bot")
                assert _timeless(seen.headers["x-homeport-reason"]) == _timeless(told["reason"])
                assert "state=local" in told["reason"]
                assert seen.headers["x-homeport-tier"] == told["tier"] == "fallback-1"
