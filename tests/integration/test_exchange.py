"""What a token endpoint's refusal means, over a real socket: for good, or for now."""

from __future__ import annotations

from typing import Any

import pytest
from aiohttp import web

from proxy.providers.tokens import Token
from proxy.upstream.client import Connecting
from proxy.upstream.oauth.exchange import Denied, Grant, door, exchange


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

    async def token(_: web.Request) -> web.Response:
        return web.json_response(body, status=status)

    app = web.Application()
    app.router.add_post("/token", token)
    runner = web.AppRunner(app, access_log=None)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        connecting = Connecting(private=True)
        through = door(connecting)
        grant = Grant(f"http://127.0.0.1:{runner.addresses[0][1]}/token", "c", connecting)
        assert await exchange(through, grant, Token("a", "r"), 1e9) == denied
        await through.close()
    finally:
        await runner.cleanup()
