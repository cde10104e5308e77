"""Who may use the operators' API: whoever holds the token, or has signed in with it from a browser.

1. Without a token in the configuration a run makes one of its own; config sees to it that the listener is then
   loopback's.
2. The token is kept as its digest, compared in constant time, and is in no answer, log line or exception.
3. The right token works at once, whatever others try; a wrong one is told so late. An unknown session is no try: it
   cannot be guessed.
4. A cookie alone changes nothing: that takes a header that no other site's page can send, and no foreign origin.
"""

from __future__ import annotations

import asyncio
import hashlib
import hmac
from collections.abc import Callable
from urllib.parse import urlsplit

from aiohttp import web
from pydantic import SecretStr

from proxy.admin.access.sessions import LONGEST, Sessions
from proxy.admin.access.tries import SLOWEST, Tries
from proxy.admin.api.answering import answer
from proxy.admin.api.calls import Asked, Refused

COOKIE = "homeport-session"
CSRF = "x-homeport-csrf"
_SAFE = ("GET", "HEAD", "OPTIONS")


class SignIn(Asked):
    """What a browser signs in with."""

    token: SecretStr


class Gate:
    """The door of the operators' API."""

    def __init__(self, token: str, sessions: Sessions, clock: Callable[[], float]) -> None:
        """`clock` gives seconds that only grow."""
        self._digest, self._sessions, self._clock = _digest(token), sessions, clock
        self._tries = Tries()

    async def admit(self, request: web.BaseRequest) -> None:
        """Raises Refused for who may not: 401, or 403 where only the request's form is at fault."""
        scheme, _, given = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() == "bearer" and given.strip():
            if not self._right(given.strip()):
                raise await self._wrong(request)
        elif scheme or not self._sessions.known(request.cookies.get(COOKIE, "")):
            raise _unauthorized()
        elif request.method not in _SAFE and (request.headers.get(CSRF) != "1" or not _same_origin(request)):
            text = f"Signed in by a cookie, a change also needs the header `{CSRF}: 1`, from a page of this listener."
            raise Refused("csrf", text)

    async def sign_in(self, request: web.BaseRequest, asked: SignIn) -> web.StreamResponse:
        """`POST /api/session`: a session for the token."""
        if not _same_origin(request):
            raise Refused("origin_forbidden", "Sign in from a page of this listener.")
        if not self._right(asked.token.get_secret_value()):
            raise await self._wrong(request)
        response = answer({"max_age_seconds": LONGEST})
        response.set_cookie(
            COOKIE,
            self._sessions.open(),
            max_age=int(LONGEST),
            path="/",
            httponly=True,
            samesite="Strict",
            secure=_encrypted(request),
        )
        return response

    async def signed_in(self, request: web.BaseRequest) -> web.StreamResponse:
        """`GET /api/session`: does this cookie stand for the token? So that a page need not try."""
        return answer({"signed_in": self._sessions.known(request.cookies.get(COOKIE, ""))})

    async def sign_out(self, request: web.BaseRequest) -> web.StreamResponse:
        """`DELETE /api/session`: end the cookie's session."""
        self._sessions.close(request.cookies.get(COOKIE, ""))
        response = answer({})
        response.del_cookie(COOKIE, path="/", httponly=True, samesite="Strict", secure=_encrypted(request))
        return response

    def _right(self, given: str) -> bool:
        return hmac.compare_digest(_digest(given), self._digest)

    async def _wrong(self, request: web.BaseRequest) -> Refused:
        """What a wrong token gets, after the wait that it costs."""
        remote = request.remote or ""
        wait = self._tries.begin(remote, self._clock())
        if wait is None:
            text = "Too many wrong tokens at a time. The right one works at any time."
            return Refused("too_many_tries", text, {"Retry-After": f"{SLOWEST:.0f}"})
        try:
            await asyncio.sleep(wait)
        finally:
            self._tries.end(remote)
        return _unauthorized()


def _unauthorized() -> Refused:
    return Refused(
        "unauthorized",
        "This needs the operators' token: send `Authorization: Bearer <admin.token>`. Without one in the "
        "configuration it was printed when Homeport started.",
        {"WWW-Authenticate": "Bearer"},
    )


def _digest(token: str) -> bytes:
    # Bytes that are no UTF-8 come as lone surrogates, which must not be taken for something else.
    return hashlib.sha256(token.encode("utf-8", "surrogateescape")).digest()


def _same_origin(request: web.BaseRequest) -> bool:
    """No page of another site sent it. What a terminating proxy makes of the scheme is not known here."""
    origin = request.headers.get("Origin")
    if origin is None:
        return True
    try:
        return urlsplit(origin).netloc.lower() == request.headers.get("Host", "").lower() != ""
    except ValueError:
        return False


def _encrypted(request: web.BaseRequest) -> bool:
    """The browser speaks https, to this listener or to what stands before it."""
    return (
        request.secure
        or request.headers.get("Origin", "").lower().startswith("https://")
        or request.headers.get("X-Forwarded-Proto", "").lower() == "https"
    )
