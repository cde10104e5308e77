"""Both listeners' HTTP: aiohttp's own server, whose answers to what is no HTTP have the shape of all others; before it,
for the API, the lane.

1. A request whose bounds are not certain gets one answer and the end of its connection.
2. What was sent is repeated neither to the caller nor in the log.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from aiohttp import web
from aiohttp.http_exceptions import LineTooLong
from aiohttp.web_protocol import RequestHandler

from proxy.edge.caller import Caller
from proxy.edge.lane import Lanes

Malformed = Callable[[web.BaseRequest, bool], web.Response]
"""The answer to a request that could not be read; the flag says that its head was too large."""


class Server(web.Server):
    """Hands every request to `handler`, of any path and method."""

    def __init__(
        self,
        handler: Callable[[web.BaseRequest], Awaitable[web.StreamResponse]],
        malformed: Malformed,
        lane: Callable[[Caller], Coroutine[Any, Any, None]] | None = None,
        *,
        apart: str = "",
        **settings: Any,
    ) -> None:
        """`lane` serves what need not be aiohttp's, `apart` is for it; `settings` are aiohttp's."""

        async def serve(request: web.BaseRequest) -> web.StreamResponse:
            response = await handler(request)
            if request.content.exception() is not None:
                # The rest of a body that cannot be read is not waited for.
                request.content.feed_eof()
            return response

        super().__init__(serve, **settings)
        self._malformed, self._settings = malformed, settings
        self._lanes = None if lane is None else Lanes(lane, self._ordinary, apart=apart)

    def __call__(self) -> Any:
        """The protocol of a new connection."""
        return self._ordinary() if self._lanes is None else self._lanes()

    def held(self) -> int:
        """How many connections it has now."""
        return len(self.connections) + (0 if self._lanes is None else len(self._lanes))

    async def shutdown(self, timeout: float | None = None) -> None:
        """Close every connection; what is being answered has so many seconds."""
        if self._lanes is not None:
            await self._lanes.shut(timeout or 0.0)
        await super().shutdown(timeout)

    def _ordinary(self) -> RequestHandler:
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
