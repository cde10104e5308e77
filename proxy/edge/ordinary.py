"""A caller whose connection is aiohttp's: of any method and version, with a body of any length and framing."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from aiohttp import HttpVersion11, hdrs, web

from proxy.edge.caller import Caller, Head, Unreadable
from proxy.providers.lines import Fields, pairs


class Ordinary(Caller):
    """One request that aiohttp has read, and its answer."""

    def __init__(self, request: web.BaseRequest, clock: Callable[[], float]) -> None:
        head = Head(request.method, request.path, request.rel_url.raw_query_string, request.headers)
        super().__init__(head, request.content_length or 0, clock)
        self._request, self._task = request, asyncio.current_task()
        self._asked = False
        self._response: web.StreamResponse | None = None

    @property
    def response(self) -> web.StreamResponse:
        """What was opened."""
        if self._response is None:
            raise RuntimeError("no answer was opened")
        return self._response

    @property
    def task(self) -> asyncio.Task[Any] | None:
        return self._task

    @property
    def unread(self) -> bool:
        return not self._request.content.is_eof()

    async def more(self, idle: float) -> bytes:
        content = self._request.content
        if not self._asked:
            self._asked = True
            await self._ask()
        try:
            while not content.at_eof():
                # Most bodies came with their heads: there is nothing to wait for, so no timer to make.
                if part := content.read_nowait():
                    return part
                async with asyncio.timeout(idle):
                    if part := await content.readany():
                        return part
        except web.RequestPayloadError as error:
            raise Unreadable from error
        return b""

    async def _ask(self) -> None:
        """Ask for the body of a caller who waits to be asked; HTTP/1.0 knows no interim answers."""
        request = self._request
        if request.headers.get(hdrs.EXPECT, "").lower() == "100-continue" and request.version >= HttpVersion11:
            await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            request.writer.output_size = 0

    async def send(self, status: int, fields: Fields, body: bytes, *, close: bool = False) -> None:
        response = web.Response(status=status, body=body, headers=pairs(fields))
        await self._open(response, close)
        self._count(len(body))
        await response.write_eof()

    async def open(self, status: int, fields: Fields) -> None:
        headers = pairs(fields)
        if self._request.version < HttpVersion11:
            # HTTP/1.0 has no chunks: there the end of the connection is the end of the answer.
            await self._open(web.StreamResponse(status=status, headers=headers), close=True)
            return
        # Not a StreamResponse, which sends its head by itself.
        response = web.Response(status=status, headers=headers)
        if hdrs.CONTENT_LENGTH not in response.headers:
            response.enable_chunked_encoding()
        await self._open(response, close=False)

    async def _open(self, response: web.StreamResponse, close: bool) -> None:
        if close:
            response.force_close()
        self._response, self.status, self.opened = response, response.status, True
        await response.prepare(self._request)

    async def write(self, data: bytes) -> None:
        self._count(len(data))
        await self.response.write(data)

    def push(self, data: bytes, *, last: bool = False) -> bool | None:
        return None

    def push_chunk(self, chunk: bytes, holds: int) -> bool:
        raise NotImplementedError

    async def room(self) -> None:
        """Whoever has written has waited for it."""

    async def finish(self, *, close: bool = False) -> None:
        if close:
            self.response.force_close()
        await self.response.write_eof()
        transport = self._request.transport
        if close and transport is not None and not transport.is_closing() and transport.can_write_eof():
            # Not when the exchange is over: its caller has seen the last chunk, and may send its next request here.
            transport.write_eof()

    def cut(self) -> None:
        self.response.force_close()
        if self._request.transport is not None:
            self._request.transport.abort()
