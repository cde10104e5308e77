"""A binding is tested by API and by shell, over real sockets: no model is asked, nothing changes, no key is told."""

from __future__ import annotations

import base64
import re
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp
import orjson
import pytest

from proxy.demo import moods
from proxy.demo.answers import Fault, whole
from proxy.demo.moods import Mood
from proxy.demo.simulator import Simulator
from tests.e2e.caller import ask, chain, source
from tests.e2e.operated import Operated, config, homeport, operated

_TOKEN = "tok-OPERATORS-77d0"
_KEY = "sk-SOURCEKEY-4c1b9e77"
_BIG = {"source": "first", "model": "big"}
_PASSING = ("process_", "homeport_event_loop_lag", "homeport_redis")
"""Metrics that change by themselves."""


async def _call(operator: Operated, path: str, order: object = None, token: str = _TOKEN) -> tuple[int, Any]:
    headers = {"Authorization": f"Bearer {token}"}
    method = "GET" if order is None else "POST"
    async with (
        aiohttp.ClientSession(headers=headers) as session,
        session.request(method, operator.replica.admin + path, json=order) as answer,
    ):
        return answer.status, await answer.json()


async def _test(operator: Operated, **order: object) -> dict[str, Any]:
    status, told = await _call(operator, "/api/bindings/test", {**_BIG, **order})
    assert status == 200, told
    assert isinstance(told, dict)
    return told


def _keyed(first: Simulator, second: Simulator, **more: object) -> dict[str, object]:
    """The two-tier chain of `bot`, of which the first source has a key, and a header that holds one."""
    settings = config(first, second)
    keyed = source(first, api_key=_KEY, headers={"X-Team": f"{_KEY}-team"}, **more)
    return settings | {"sources": {"first": keyed, "second": source(second)}}


def _disguises(key: str) -> list[str]:
    """The key as it could slip out."""
    pieces = [key[place : place + 12] for place in range(len(key) - 11)]
    return [key, base64.b64encode(key.encode()).decode().rstrip("="), quote(key, safe=""), *pieces]


async def _metrics(operator: Operated) -> list[str]:
    return [line for line in (await operator.scrape()).splitlines() if not line.removeprefix("# HELP ").startswith(_PASSING)]  # fmt: skip  # noqa: E501


async def test_without_reach_no_socket_is_opened(tmp_path: Path, first: Simulator, second: Simulator) -> None:
    """Whatever is asked, and also the catalog: neither source sees so much as a connection."""
    async with operated(tmp_path, _keyed(first, second), token=_TOKEN) as operator:
        told = await _test(operator)
        assert told["ok"]
        assert told["resolves"]["url"] == f"{first.base_url}/chat/completions"
        assert told["resolves"]["headers"] == ["Authorization", "X-Team"]
        for order in (
            {"assistant": "bot"},
            {"assistant": "bot", "tier": "fallback-1"},
            {"model": "new"},
            {"source": "nowhere"},
            {"reach": False},
        ):
            assert not _told(await _test(operator, **order))
        status, catalog = await _call(operator, "/api/catalog")
        assert status == 200
        assert [(each["name"], each["credential"], each["enabled"]) for each in catalog["sources"]] == [
            ("first", "set", True), ("second", "none", True),
        ]  # fmt: skip
        assert catalog["sources"][0]["models"][0]["used_by"] == [{"assistant": "bot", "tier": "primary"}]
        assert not _told(catalog)
        assert (first.connections, second.connections) == (0, 0)


def _told(document: object) -> list[str]:
    """The disguises of the key that a document holds."""
    text = orjson.dumps(document).decode()
    return [each for each in _disguises(_KEY) if each in text]


async def test_with_reach_the_listing_alone_is_asked(tmp_path: Path, first: Simulator, second: Simulator) -> None:
    """One GET with the source's own credential, and nothing that a model would answer; nothing here hears of it."""
    async with operated(tmp_path, _keyed(first, second), token=_TOKEN) as operator:
        assert (await ask(operator.replica, "bot")).status == 200
        await operator.replica.until(lambda: len(operator.replica.requests()) == 1)
        first.requests.clear()
        first.by_path.clear()
        before, breakers = await _metrics(operator), (await operator.status())["breakers"]
        listing = b'{"object":"list","data":[{"id":"big"},{"id":"other"}]}'
        first.queue.append(Mood("listing", instead=whole(200, listing)))
        told = await _test(operator, reach=True)
        assert told["reached"] == {"status": 200, "detail": None, "listed": True, "models": 2}
        for mood in (moods.status(401), moods.status(429), moods.status(500), moods.reset(), moods.garbage()):
            first.queue.append(mood)
            assert (await _test(operator, reach=True))["reached"]["status"] in (401, 429, 500, None)
        assert dict(first.by_path) == {"/v1/models": 6}
        assert {each.method for each in first.requests} == {"GET"}
        assert {each.header("authorization") for each in first.requests} == {f"Bearer {_KEY}"}
        assert {each.header("x-team") for each in first.requests} == {f"{_KEY}-team"}
        assert {each.body for each in first.requests} == {b""}
        assert second.connections == 0
        assert await _metrics(operator) == before
        assert (await operator.status())["breakers"] == breakers == []
        # The breaker has not heard of five failures: the next request goes where the first one went.
        assert (await ask(operator.replica, "bot")).headers["x-homeport-tier"] == "primary"
        await operator.replica.until(lambda: len(operator.replica.requests()) == 2)
        assert not _told(list(operator.replica.lines))


_ECHO = f"Incorrect API key provided: {_KEY}"
_ECHOES = {
    "an error's every field": moods.status(401, Fault(_ECHO, type=_KEY, code=_KEY, param=_KEY)),
    "an error nobody knows": moods.status(418, Fault(_ECHO, type=_KEY, code=_KEY)),
    "a page": Mood(
        "page", instead=whole(403, f"<html>{_ECHO}</html>".encode(), headers=(("Content-Type", "text/html"),))
    ),
    "a name in the listing": Mood("names", instead=whole(200, orjson.dumps({"data": [{"id": _KEY}, {"id": "big"}]}))),
    "a redirect": moods.redirect(f"/v1/models?key={_KEY}"),
    "headers": Mood("headers", instead=whole(500, b"{}", headers=(("X-Request-Id", _KEY), ("Retry-After", _KEY)))),
    "no HTTP": moods.garbage(f"HTTP/1.1 {_KEY}\r\n\r\n".encode()),
}


@pytest.mark.parametrize("name", _ECHOES)
async def test_a_source_that_echoes_the_key(tmp_path: Path, first: Simulator, second: Simulator, name: str) -> None:
    """Wherever a source puts the key, neither the answer nor the log has it, nor a piece of it."""
    async with operated(tmp_path, _keyed(first, second), token=_TOKEN) as operator:
        first.mood = _ECHOES[name]
        # A name that resembles what is listed: a guess at what was meant would repeat it.
        told = await _test(operator, model=f"{_KEY[:8]}X", reach=True)
        assert [each for each in _told(told) if each not in f"{_KEY[:8]}X"] == []
        assert not _told(await _test(operator, reach=True))
        assert first.by_path["/v1/models"] == 2
        assert first.by_path.total() == 2, "a redirect is not followed"
        assert not _told(await operator.told())


async def test_a_disabled_tier_and_what_a_reset_would_do(tmp_path: Path, first: Simulator, second: Simulator) -> None:
    """It says whether what disabled the tier is mended, and mends nothing itself: that is the operator's reset."""
    async with operated(tmp_path, _keyed(first, second), token=_TOKEN) as operator:
        first.queue.append(moods.status(401))
        assert (await ask(operator.replica, "bot")).headers["x-homeport-tier"] == "fallback-1"
        told = await _test(operator)
        assert (told["ok"], told["reset_worthwhile"]) == (False, None)
        first.mood = moods.status(401)
        assert (await _test(operator, reach=True))["reset_worthwhile"] is False
        first.mood = moods.WELL
        told = await _test(operator, reach=True)
        assert told["reset_worthwhile"] is True
        assert {each["state"] for each in told["breakers"]} == {"disabled"}
        assert (await ask(operator.replica, "bot")).headers["x-homeport-tier"] == "fallback-1", "still disabled"
        order = {**_BIG, "action": "reset"}
        assert (await _call(operator, "/api/breakers", order))[0] == 200
        assert (await ask(operator.replica, "bot")).headers["x-homeport-tier"] == "primary"
        assert (await _test(operator, reach=True))["reset_worthwhile"] is None


async def test_reach_is_bounded(tmp_path: Path, first: Simulator, second: Simulator) -> None:
    """A source that is silent, drips, or never ends its listing costs 5 s and 1 MiB at most."""
    endless = b'{"data":[' + b'{"id":"x"},' * 200_000
    async with operated(tmp_path, _keyed(first, second), token=_TOKEN) as operator:
        for mood, detail in ((moods.hang(), "total"), (moods.drip(0.5), "total")):
            first.mood, began = mood, time.monotonic()
            told = await _test(operator, reach=True)
            assert told["reached"]["detail"] == detail
            assert 4.0 < time.monotonic() - began < 9.0
        first.mood = Mood("endless", instead=whole(200, endless + b"{}]}"))
        told = await _test(operator, reach=True)
        assert told["reached"] == {"status": 200, "detail": None, "listed": None, "models": None}
        await first.stop()
        told = await _test(operator, reach=True)
        assert told["reached"]["detail"] == "connect_error"
        await first.start()


async def test_the_sources_own_forward_proxy_is_used(tmp_path: Path, first: Simulator, second: Simulator) -> None:
    """What requests would go through, the listing goes through."""
    through = f"http://127.0.0.1:{second.base_url.rpartition(':')[2].partition('/')[0]}"
    async with operated(tmp_path, _keyed(first, second, proxy=through), token=_TOKEN) as operator:
        told = await _test(operator, reach=True)
        assert told["resolves"]["proxy"]
        assert first.connections == 0
        (received,) = second.requests
        assert received.path.endswith("/v1/models")
        assert received.header("authorization") == f"Bearer {_KEY}"


async def test_the_shell_does_the_same(tmp_path: Path, first: Simulator, second: Simulator) -> None:
    """`homeport test-binding`: a line for each finding, exit 0 where none is an error, 1 where one is."""
    settings = _keyed(first, second)
    settings["assistants"] = {"bot": chain("first/big", "second/small")}
    async with operated(tmp_path, settings, token=_TOKEN) as operator:
        env, at = {"HOMEPORT_ADMIN_TOKEN": _TOKEN}, ("--admin", operator.replica.admin)
        good = await homeport("test-binding", "first", "big", "--assistant", "bot", *at, env=env)
        assert (good.code, good.err) == (0, "")
        assert "ok      source: `first` is configured" in good.out
        assert "It is primary of bot." in good.out
        bad = await homeport("test-binding", "frist", "big", *at, env=env)
        assert (bad.code, bad.err) == (1, "")
        assert "→ did you mean `first`?" in bad.out
        again = await homeport(
            "test-binding", "first", "big", "--assistant", "bot", "--tier", "fallback-2", "--json", *at, env=env
        )
        assert again.code == 1
        assert "the same tier as primary" in str(orjson.loads(again.out)["findings"])
        reached = await homeport("test-binding", "second", "small", "--reach", *at, env=env)
        assert reached.code == 0
        assert dict(second.by_path) == {"/v1/models": 1}
        nobody = await homeport("test-binding", "first", "big", "--assistant", "nobody", *at, env=env)
        assert (nobody.code, nobody.out) == (1, "")
        assert "No assistant is called 'nobody'" in nobody.err
        assert first.connections == 0


async def test_calls_that_are_none(tmp_path: Path, first: Simulator, second: Simulator) -> None:
    """Without the token nothing is told; what is wrong with a call is said by field, and reaches nobody."""
    async with operated(tmp_path, _keyed(first, second), token=_TOKEN) as operator:
        assert (await _call(operator, "/api/bindings/test", _BIG, token="no"))[0] == 401
        assert (await _call(operator, "/api/catalog", token="no"))[0] == 401
        orders: tuple[object, ...] = (
            {},
            {"model": "big"},
            {**_BIG, "reach": "perhaps"},
            {**_BIG, "send": True},
            [1],
        )
        for order in orders:
            status, told = await _call(operator, "/api/bindings/test", order)
            assert (status, told["error"]["code"]) == (400, "invalid_request"), order
        status, _ = await _call(operator, "/api/bindings/test", {**_BIG, "model": "x" * 300})
        assert status == 400
        assert re.search("assistant_not_found", str(await _call(operator, "/api/bindings/test", {**_BIG, "assistant": "x"})))  # fmt: skip  # noqa: E501
        assert (first.connections, second.connections) == (0, 0)


@pytest.mark.parametrize(
    ("kind", "url", "headers", "asked", "models"),
    [
        (
            {"kind": "anthropic"},
            "/v1/messages",
            ["anthropic-version", "x-api-key"],
            ("/v1/models", "limit=1000"),
            2,
        ),
        (
            {"kind": "azure-openai", "api_version": "2024-10-21"},
            "/openai/deployments/big/chat/completions?api-version=2024-10-21",
            ["api-key"],
            ("/openai/models", "api-version=2024-10-21"),
            None,
        ),
        ({"kind": "azure-openai"}, "/openai/v1/chat/completions", ["api-key"], ("/openai/v1/models", ""), None),
    ],
)
async def test_each_kind_has_its_own_address_key_and_listing(
    tmp_path: Path,
    second: Simulator,
    kind: dict[str, object],
    url: str,
    headers: list[str],
    asked: tuple[str, str],
    models: int | None,
) -> None:
    """Where a request would go and what it would carry; what an Azure resource lists is not what a binding names."""
    async with Simulator("first", models=("big", "other")) as first:
        resource = first.base_url.removesuffix("/v1")
        base = first.base_url if kind["kind"] == "anthropic" else resource
        sources = {"first": source(first, **{**kind, "base_url": base, "api_key": _KEY}), "second": source(second)}
        async with operated(tmp_path, config(first, second) | {"sources": sources}, token=_TOKEN) as operator:
            told = await _test(operator, reach=True)
            assert told["ok"], told
            assert told["resolves"]["url"] == resource + url
            assert told["resolves"]["headers"] == headers
            assert told["reached"] == {"status": 200, "detail": None, "listed": models and True, "models": models}
            assert not _told(told)
            (received,) = first.requests
            assert (received.method, received.path, received.query) == ("GET", *asked)
            assert received.header(headers[-1]) == _KEY
