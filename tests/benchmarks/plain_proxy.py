"""The yardstick: a reverse proxy in aiohttp as anyone would write it, with no logic. Arguments: PORT UPSTREAM."""

from __future__ import annotations

import sys
from collections.abc import AsyncIterator

import uvloop
from aiohttp import ClientSession, DummyCookieJar, TCPConnector, web

UPSTREAM = sys.argv[2]
SESSION = web.AppKey("session", ClientSession)
NOT_UP = {"host", "connection", "content-length", "transfer-encoding"}
NOT_DOWN = {"connection", "transfer-encoding"}


async def forward(request: web.Request) -> web.StreamResponse:
    headers = [(name, value) for name, value in request.headers.items() if name.lower() not in NOT_UP]
    body = await request.read()
    session = request.app[SESSION]
    async with session.request(request.method, UPSTREAM + request.path_qs, headers=headers, data=body) as answer:
        response = web.StreamResponse(status=answer.status)
        response.headers.extend((name, value) for name, value in answer.headers.items() if name.lower() not in NOT_DOWN)
        await response.prepare(request)
        async for piece in answer.content.iter_any():
            await response.write(piece)
        await response.write_eof()
        return response


async def session(app: web.Application) -> AsyncIterator[None]:
    async with ClientSession(
        connector=TCPConnector(limit=0), cookie_jar=DummyCookieJar(), auto_decompress=False
    ) as app[SESSION]:
        yield


if __name__ == "__main__":
    proxy = web.Application()
    proxy.cleanup_ctx.append(session)
    proxy.router.add_route("*", "/{path:.*}", forward)
    web.run_app(
        proxy, host="127.0.0.1", port=int(sys.argv[1]), access_log=None, print=None, loop=uvloop.new_event_loop()
    )
