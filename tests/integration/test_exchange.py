"""What a token endpoint's refusal means, over a real socket: for good, or for now."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import pytest
from aiohttp import web

from proxy.providers.tokens import Token
from proxy.upstream.client import Connecting
from proxy.upstream.oauth.exchange import Denied, Grant, door, exchange


@contextlib.asynccontextmanager
async def _endpoint(status: int, body: dict[str, Any]) -> AsyncIterator[tuple[Grant, list[dict[str, Any]]]]:
    """It says this to everybody; how it is asked, and what it was asked."""
    asked: list[dict[str, Any]] = []

    async def token(request: web.Request) -> web.Response:
        asked.append(dict(await request.post()))
        return web.json_response(body, status=status)

    app = web.Application()
    app.router.add_post("/token", token)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}/token"
        yield Grant(url, "c", Connecting(private=True)), asked
    finally:
        await runner.cleanup()


@pytest.mark.parametrize(
    ("status", "body", "denied"),
    [
        (400, {"error": "invalid_grant"}, Denied("oauth_invalid_grant", final=True)),
        # OpenAI's: openai/codex#6028, 9router#1821
        (
            401,
            {"error": {"message": "m", "type": "invalid_request_error", "param": None, "code": "refresh_token_reused"}},
            Denied("oauth_invalid_grant", final=True),
        ),
        (
            401,
            {"error": {"message": "m", "type": "invalid_request_error", "code": "token_expired"}},
            Denied("oauth_invalid_grant", final=True),
        ),
        (401, {"error": {"code": "of_tomorrow"}}, Denied("http_401", final=False)),
        (401, {"error": {"code": ["refresh_token_reused"]}}, Denied("http_401", final=False)),
        (500, {"error": {"code": "refresh_token_reused"}}, Denied("http_500", final=False)),
        (503, {}, Denied("http_503", final=False)),
    ],
)
async def test_what_a_refusal_means(status: int, body: dict[str, Any], denied: Denied) -> None:
    """An error of OAuth's own list, or OpenAI's words for one, is final; anything else may pass."""

    async with _endpoint(status, body) as (grant, asked):
        through = door(grant.connecting)
        assert await exchange(through, grant, Token("a", "r"), 1e9) == denied
        await through.close()
    assert asked == [{"grant_type": "refresh_token", "refresh_token": "r", "client_id": "c"}]


async def test_what_a_token_is_for_is_said() -> None:
    """Scope, audience and resource (RFC 8707), to who wants them."""
    answer = {"access_token": "new", "token_type": "Bearer", "expires_in": 60, "refresh_token": "r2"}
    async with _endpoint(200, answer) as (grant, asked):
        wanted = replace(grant, scope="s", audience="a", resource="https://api.example.com/v1")
        through = door(grant.connecting)
        token = await exchange(through, wanted, Token("a", "r", version=1), 1e9)
        await through.close()
    assert token == Token("new", "r2", 1e9 + 60, 1e9, 2)
    (said,) = asked
    assert (said["scope"], said["audience"], said["resource"]) == ("s", "a", "https://api.example.com/v1")
