"""One question to a token endpoint (RFC 6749, sections 4.4 and 6): a token comes back, or why there is none.

1. It is sent once, on a connection that is tried once: a refresh token may be good for a single use.
2. It ends within LIMIT. Nothing of the answer but the token and a word of a closed list leaves here.
3. Only an error of OAuth's own list, said with a 4xx, is final. Whatever else goes wrong may pass.
"""

from __future__ import annotations

import asyncio
import base64
import time
from dataclasses import dataclass, field
from urllib.parse import quote_plus, urlencode

import orjson

from proxy.providers import tokens
from proxy.providers.tokens import Token
from proxy.terms import Diagnosis, Headers, Progress
from proxy.upstream.answer import read
from proxy.upstream.client import Connecting, Door, RetryBudget

LIMIT = 8.0
"""Seconds for the whole exchange."""
_MOST = 64 * 1024
"""Bytes of an answer; no token is longer."""
_FINAL = frozenset(
    {
        "invalid_grant",
        "invalid_client",
        "unauthorized_client",
        "invalid_scope",
        "invalid_request",
        "unsupported_grant_type",
        "invalid_target",
        "interaction_required",
        "login_required",
        "consent_required",
    }
)
"""Errors that do not pass by themselves: RFC 6749, RFC 8707, OpenID Connect."""
_SPENT = frozenset({"refresh_token_expired", "refresh_token_reused", "refresh_token_invalidated", "token_expired"})
"""OpenAI's words for `invalid_grant`, as the `code` of an error object."""


@dataclass(frozen=True, slots=True)
class Grant:
    """How tokens are asked for."""

    token_url: str
    client_id: str
    connecting: Connecting
    client_secret: str | None = field(default=None, repr=False)
    """Sent as HTTP Basic; without it the client is a public one."""
    kind: str = "refresh_token"
    """Or client_credentials."""
    scope: str | None = None
    audience: str | None = None
    resource: str | None = None
    json: bool = False
    """Ask in JSON, not as a form."""

    @property
    def rotates(self) -> bool:
        """What is sent may be good for one use."""
        return self.kind == "refresh_token"


@dataclass(frozen=True, slots=True)
class Denied:
    """No token came."""

    why: str
    """A token as in terms.Diagnosis.detail."""
    final: bool
    """It does not pass by itself."""


def door(connecting: Connecting) -> Door:
    """To a token endpoint. Without a retry: what was sent may have been spent."""
    return Door(connecting, RetryBudget(burst=0.0))


async def exchange(door: Door, grant: Grant, former: Token | None, now_unix: float) -> Token | Denied:
    """The successor of `former`. Cancelled, or out of time, nobody knows whether the refresh token was spent."""
    try:
        async with asyncio.timeout(LIMIT):
            answer = await door.post(
                grant.token_url, _headers(grant), _body(grant, former), Progress(time.monotonic()), LIMIT
            )
            if isinstance(answer, Diagnosis):
                return Denied(answer.detail, final=False)
            try:
                body = await read(answer, _MOST)
            finally:
                answer.close()
    except TimeoutError:
        return Denied("timeout", final=False)
    if isinstance(body, Diagnosis):
        return Denied(body.detail, final=False)
    if answer.status != 200:
        return _denied(answer.status, body)
    try:
        return tokens.from_answer(body, former, now_unix)
    except ValueError:
        return Denied("not_a_token", final=False)


def _headers(grant: Grant) -> Headers:
    kind = "application/json" if grant.json else "application/x-www-form-urlencoded"
    headers = (("Content-Type", kind), ("Accept", "application/json"), ("Accept-Encoding", "identity"))
    if grant.client_secret is None:
        return headers
    pair = f"{quote_plus(grant.client_id)}:{quote_plus(grant.client_secret)}"
    return (*headers, ("Authorization", f"Basic {base64.b64encode(pair.encode()).decode()}"))


def _body(grant: Grant, former: Token | None) -> bytes:
    fields = {
        "grant_type": grant.kind,
        "refresh_token": former.refresh if former is not None and grant.rotates else None,
        "client_id": grant.client_id if grant.client_secret is None else None,
        "scope": grant.scope,
        "audience": grant.audience,
        "resource": grant.resource,
    }
    said = {name: value for name, value in fields.items() if value is not None}
    return orjson.dumps(said) if grant.json else urlencode(said).encode()


def _denied(status: int, body: bytes) -> Denied:
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError:
        document = None
    error = document.get("error") if isinstance(document, dict) else None
    if isinstance(error, dict) and isinstance(code := error.get("code"), str) and code in _SPENT:
        error = "invalid_grant"
    if 400 <= status < 500 and isinstance(error, str) and error in _FINAL:
        return Denied(f"oauth_{error}", final=True)
    return Denied(f"http_{status}", final=False)
