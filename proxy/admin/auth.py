"""Who may use the operators' API: whoever holds the token.

1. Without a token in the configuration a run makes one of its own; config sees to it that the listener is then
   loopback's.
2. The token is compared in constant time, and is in no answer, log line or exception.
"""

from __future__ import annotations

import hmac

from aiohttp import web

from proxy.admin.calls import Handler, refused


def guarded(token: str, handler: Handler) -> Handler:
    """`handler`, for requests that carry `Authorization: Bearer <token>`; others get 401."""
    expected = token.encode()

    async def check(request: web.Request) -> web.StreamResponse:
        scheme, _, given = request.headers.get("Authorization", "").partition(" ")
        if scheme.lower() == "bearer" and hmac.compare_digest(given.strip().encode("utf-8", "replace"), expected):
            return await handler(request)
        return refused(
            401,
            "unauthorized",
            "This needs the operators' token: send `Authorization: Bearer <admin.token>`. Without one in the "
            "configuration it was printed when Homeport started.",
            {"WWW-Authenticate": "Bearer"},
        )

    return check
