"""A real OAuth server, Authlib's, and an API that takes only its tokens. Refresh tokens rotate; a spent one is refused.

1. What is Authlib's decides: clients, grants, answers and errors. Here it is only given HTTP, a memory and moods.
2. A request whose caller goes away while it is held is not executed.
"""

from __future__ import annotations

import asyncio
import base64
import contextlib
import secrets
import time
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import orjson
from aiohttp import web
from authlib.oauth2.rfc6749 import AuthorizationServer, ClientMixin, OAuth2Request, TokenMixin
from authlib.oauth2.rfc6749.grants import ClientCredentialsGrant, RefreshTokenGrant
from authlib.oauth2.rfc6749.requests import BasicOAuth2Payload
from authlib.oauth2.rfc6750 import BearerTokenGenerator

PUBLIC, CONFIDENTIAL, SECRET = "public-client", "confidential-client", "client-secret-made-up"


@dataclass
class _Client(ClientMixin):
    id: str
    secret: str | None

    def get_client_id(self) -> str:
        return self.id

    def get_allowed_scope(self, scope: Any) -> Any:
        return scope or ""

    def check_client_secret(self, client_secret: str) -> bool:
        return client_secret == self.secret

    def check_endpoint_auth_method(self, method: str, endpoint: str) -> bool:
        return method == ("none" if self.secret is None else "client_secret_basic")

    def check_grant_type(self, grant_type: str) -> bool:
        return grant_type == "refresh_token" or self.secret is not None


@dataclass
class Issued(TokenMixin):
    """One pair of tokens."""

    client: str
    access: str
    refresh: str | None
    until: float
    scope: str = ""
    spent: bool = False
    revoked: bool = False

    def check_client(self, client: Any) -> bool:
        return bool(client.get_client_id() == self.client)

    def get_scope(self) -> str:
        return self.scope

    @property
    def good(self) -> bool:
        return not self.revoked and time.time() < self.until


class _Request(OAuth2Request):
    def __init__(self, headers: Mapping[str, str], fields: dict[str, str]) -> None:
        super().__init__("POST", "https://login.test/token", headers=dict(headers))
        self.fields, self.payload = fields, BasicOAuth2Payload(fields)

    @property
    def args(self) -> dict[str, str | None]:
        return {}

    @property
    def form(self) -> dict[str, str]:
        return self.fields


@dataclass
class _Answered:
    status: int
    body: bytes
    headers: list[tuple[str, str]]


class _Server(AuthorizationServer):
    def __init__(self, host: OAuthServer) -> None:
        super().__init__()
        self.host = host
        self.clients = {PUBLIC: _Client(PUBLIC, None), CONFIDENTIAL: _Client(CONFIDENTIAL, SECRET)}
        generator = BearerTokenGenerator(
            lambda **_: f"at-{secrets.token_hex(16)}", lambda **_: f"rt-{secrets.token_hex(16)}", lambda *_: host.lives
        )
        self.register_token_generator("default", generator)
        self.register_grant(_Refresh)
        self.register_grant(ClientCredentialsGrant)

    def query_client(self, client_id: str) -> Any:
        return self.clients.get(client_id)

    def save_token(self, token: dict[str, Any], request: Any) -> None:
        self.host.issue(request.client.id, token["access_token"], token.get("refresh_token"))

    def create_oauth2_request(self, request: Any) -> Any:
        return request

    def handle_response(self, status: int, body: Any, headers: Any) -> _Answered:
        return _Answered(status, orjson.dumps(body), list(headers))

    def send_signal(self, name: str, *args: object, **kwargs: object) -> None:
        """Nobody listens."""


class _Refresh(RefreshTokenGrant):
    INCLUDE_NEW_REFRESH_TOKEN = True
    TOKEN_ENDPOINT_AUTH_METHODS = ["none", "client_secret_basic"]  # noqa: RUF012  # as Authlib has it

    def authenticate_refresh_token(self, refresh_token: str) -> Any:
        host: OAuthServer = self.server.host
        known = next((each for each in host.issued if each.refresh == refresh_token), None)
        if known is not None and known.spent:
            host.reused += 1
        return None if known is None or known.spent or known.revoked else known

    def authenticate_user(self, refresh_token: Any) -> Any:
        return "somebody"

    def revoke_old_credential(self, refresh_token: Any) -> None:
        refresh_token.spent = True
        if self.server.host.strict:
            refresh_token.revoked = True


@dataclass
class OAuthServer:
    """`token_url` gives tokens, `base_url` serves chat completions to who has one."""

    lives: int = 3600
    """Seconds of an access token."""
    strict: bool = True
    """An access token ends when its successor is there."""
    down: bool = False
    gate: asyncio.Event | None = None
    """Requests for tokens wait for it before they are executed."""
    issued: list[Issued] = field(default_factory=list)
    asked: int = 0
    """Requests for tokens that have come."""
    reused: int = 0
    """Refresh tokens that were sent after they were spent: must stay 0."""
    sent: list[tuple[str, Mapping[str, str]]] = field(default_factory=list)
    """What the API was sent: token, headers."""
    answer: bytes = b""
    token_url: str = ""
    base_url: str = ""

    def log_in(self, client: str = PUBLIC, lives: float | None = None) -> Issued:
        """As an operator does: a first pair of tokens."""
        pair = self.issue(client, f"at-{secrets.token_hex(16)}", f"rt-{secrets.token_hex(16)}")
        pair.until = time.time() + (self.lives if lives is None else lives)
        return pair

    def issue(self, client: str, access: str, refresh: str | None) -> Issued:
        """A new pair."""
        self.issued.append(Issued(client, access, refresh, time.time() + self.lives))
        return self.issued[-1]

    def revoke(self) -> None:
        """Every access token, at once; refresh tokens stay good."""
        for each in self.issued:
            each.until = 0.0

    def end_session(self) -> None:
        """Nothing that was ever issued is good any more."""
        for each in self.issued:
            each.revoked = True

    @property
    def refreshes(self) -> int:
        """How often a refresh token was spent."""
        return sum(each.spent for each in self.issued)

    # -- HTTP

    async def token(self, request: web.Request) -> web.Response:
        raw = await request.read()
        self.asked += 1
        if self.gate is not None:
            await self.gate.wait()
        if self.down:
            return web.Response(status=503)
        if request.content_type == "application/json":
            fields = orjson.loads(raw)
        else:
            fields = {name: str(value) for name, value in (await request.post()).items()}
        answered: Any = _Server(self).create_token_response(_Request(request.headers, fields))
        headers = {name: value for name, value in answered.headers if name != "Content-Type"}
        return web.Response(
            status=answered.status, body=answered.body, headers=headers, content_type="application/json"
        )

    async def chat(self, request: web.Request) -> web.Response:
        bearer = request.headers.get("Authorization", "").removeprefix("Bearer ")
        self.sent.append((bearer, request.headers))
        if not any(each.access == bearer and each.good for each in self.issued):
            error = {"message": f"The token {bearer} is not good.", "type": "authentication_error", "code": None}
            return web.json_response({"type": "error", "error": error}, status=401)
        if request.method == "GET":
            return web.json_response({"object": "list", "data": [{"id": "big", "object": "model"}]})
        return web.Response(body=self.answer or _ANSWER, content_type="application/json")


_ANSWER = orjson.dumps(
    {
        "id": "c",
        "object": "chat.completion",
        "created": 1,
        "model": "big",
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "Hello."}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 1, "completion_tokens": 1, "total_tokens": 2},
    }
)


@contextlib.asynccontextmanager
async def oauth_server(**options: Any) -> AsyncIterator[OAuthServer]:
    """Listening on a free port; ended with the test."""
    server = OAuthServer(**options)
    app = web.Application()
    app.router.add_post("/token", server.token)
    for path in ("/v1/chat/completions", "/v1/messages", "/v1/models"):
        app.router.add_route("*", path, server.chat)
    runner = web.AppRunner(app, access_log=None, handler_cancellation=True)
    await runner.setup()
    try:
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        url = f"http://127.0.0.1:{runner.addresses[0][1]}"
        server.token_url, server.base_url = f"{url}/token", f"{url}/v1"
        yield server
    finally:
        if server.gate is not None:
            server.gate.set()
        await runner.cleanup()


def basic(client: str, secret: str) -> str:
    """The header of a confidential client."""
    return f"Basic {base64.b64encode(f'{client}:{secret}'.encode()).decode()}"
