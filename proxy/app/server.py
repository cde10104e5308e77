"""Both listeners' HTTP: aiohttp's own server, whose answers to what is no HTTP have the shape of all others.

1. A request whose bounds are not certain gets one answer and the end of its connection.
2. What was sent is repeated neither to the caller nor in the log.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any

from aiohttp import web
from aiohttp.http_exceptions import LineTooLong
from aiohttp.web_protocol import RequestHandler

Malformed = Callable[[web.BaseRequest, bool], web.Response]
"""The answer to a request that could not be read; the flag says that its head was too large."""


class Server(web.Server):
    """Hands every request to `handler`, of any path and method."""

    def __init__(
        self, handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]], malformed: Malformed, **settings: Any
    ) -> None:
        """`settings` are aiohttp's."""

        async def serve(request: web.BaseRequest) -> web.StreamResponse:
            response = await handler(request)
            if request.content.exception() is not None:
                # The rest of a body that cannot be read is not waited for.
                request.content.feed_eof()
            return response

        super().__init__(serve, **settings)
        self._malformed, self._settings = malformed, settings

    def __call__(self) -> RequestHandler:
        settings = {key: value for key, value in self._settings.items() if key != "handler_cancellation"}
        return _Connection(self, self._malformed, loop=asyncio.get_running_loop(), **settings)


class _Connection(RequestHandler):
    def __init__(self, server: Server, malformed: Malformed, **settings: Any) -> None:
        super().__init__(server, **settings)
        self._answer = malformed

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """Called by aiohttp for what it cannot parse; faults of a handler are the handler's own to answer."""
        if request.writer.output_size > 0:
            raise ConnectionError("an answer was begun already")
        response = self._answer(request, isinstance(exc, LineTooLong))
        response.force_close()
        return response
