"""With the lane and without it a caller reads the same, whatever it asks in whatever order, and however it cuts that.

What is no HTTP is not among it: that has aiohttp forget what came before, which the lane has answered by then.
"""

from __future__ import annotations

import asyncio
import hashlib
import random
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import Any

import orjson
import pytest
from aiohttp import web

from proxy.app.listening import HTTP
from proxy.app.server import Server
from proxy.edge.caller import Caller, Unreadable
from proxy.edge.ordinary import Ordinary

_JSON = ["content-type: application/json"]


async def _answer(caller: Caller) -> None:
    """What came, said back: whole, in chunks or as the last answer, as the query wants it."""
    parts = []
    try:
        while part := await caller.more(5):
            parts.append(part)
    except Unreadable:
        await caller.send(400, _JSON, b'"unreadable"', close=True)
        return
    headers = [pair for pair in caller.head.headers.items() if pair[0].lower().startswith("x-")]
    body = b"".join(parts)
    told = orjson.dumps(
        [caller.head.method, caller.head.path, caller.head.query, headers, len(body), hashlib.sha256(body).hexdigest()]
    )
    match caller.head.query:
        case "chunks":
            await caller.open(200, _JSON)
            for at in range(0, len(told), 17):
                await caller.write(told[at : at + 17])
            await caller.finish()
        case "last":
            await caller.send(429, _JSON, told, close=True)
        case _:
            await caller.send(200, _JSON, told)


async def _handle(request: web.BaseRequest) -> web.StreamResponse:
    caller = Ordinary(request, lambda: 0.0)
    await _answer(caller)
    return caller.response


def _malformed(_: web.BaseRequest, too_large: bool) -> web.Response:
    raise AssertionError(too_large)


def _in_lane(caller: Caller) -> Coroutine[Any, Any, None]:
    return _answer(caller)


@asynccontextmanager
async def _listening(*, lane: bool) -> AsyncIterator[int]:
    server = Server(_handle, _malformed, _in_lane if lane else None, **HTTP)
    runner = web.ServerRunner(server, shutdown_timeout=1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        yield runner.addresses[0][1]
    finally:
        await runner.cleanup()


def _request(chance: random.Random) -> bytes:
    """Mostly what SDKs send; sometimes something else."""
    body = chance.randbytes(chance.choice((0, 1, 40, 4000, 70_000, 140_000)))
    fields = [b"Host: x", b"X-Name: %d" % chance.randrange(100)]
    method, target, version = b"POST", b"/v1/chat/completions", b"1.1"
    target += chance.choice((b"", b"", b"?chunks", b"?a=b", b"?a=%20b"))
    match chance.randrange(12):
        case 0:
            method, target, body = b"GET", b"/v1/models", b""
        case 1:
            target = b"/v1/other"
        case 2:
            half = len(body) // 2
            chunks = [each for each in (body[:half], body[half:]) if each]
            fields.append(b"Transfer-Encoding: chunked")
            sent = b"".join(b"%x\r\n%b\r\n" % (len(each), each) for each in chunks) + b"0\r\n\r\n"
            return b"%b %b HTTP/1.1\r\n%b\r\n\r\n%b" % (method, target, b"\r\n".join(fields), sent)
        case 3:
            fields.append(b"Connection: keep-alive")
        case 4:
            fields.append(b"X-Long: " + b"y" * chance.choice((100, 20_000)))
        case _:
            pass
    fields.append(b"Content-Length: %d" % len(body))
    return b"%b %b HTTP/%b\r\n%b\r\n\r\n%b" % (method, target, version, b"\r\n".join(fields), body)


_LAST = (
    b"POST /v1/chat/completions?last HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}",
    b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}",
    b"POST /v1/chat/completions HTTP/1.0\r\nHost: x\r\nContent-Length: 2\r\n\r\n{}",
)
"""Each ends the connection."""


async def _heard(port: int, sent: bytes, cuts: list[int]) -> list[tuple[bytes, set[bytes], bytes]]:
    """Status line, header names and body of each answer."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    heard = []

    async def send() -> None:
        for start, end in zip([0, *cuts], [*cuts, len(sent)], strict=True):
            writer.write(sent[start:end])
            await writer.drain()
            await asyncio.sleep(0.001)

    sending = asyncio.ensure_future(send())
    try:
        async with asyncio.timeout(20):
            while head := (await _upto(reader, b"\r\n\r\n")):
                first, *lines = head[:-4].split(b"\r\n")
                fields = {line.partition(b": ")[0].lower(): line.partition(b": ")[2] for line in lines}
                if fields.get(b"transfer-encoding") == b"chunked":
                    body = b""
                    while size := int(await reader.readline(), 16):
                        body += (await reader.readexactly(size + 2))[:-2]
                    await reader.readexactly(2)
                elif b"content-length" in fields:
                    body = await reader.readexactly(int(fields[b"content-length"]))
                else:
                    body = await reader.read()
                heard.append((first, fields.keys() - {b"server", b"date"}, body))
    finally:
        sending.cancel()
        writer.close()
        await asyncio.gather(sending, writer.wait_closed(), return_exceptions=True)
    return heard


async def _upto(reader: asyncio.StreamReader, end: bytes) -> bytes:
    try:
        return await reader.readuntil(end)
    except (asyncio.IncompleteReadError, ConnectionError):
        return b""


@pytest.mark.parametrize("seed", range(25))
async def test_a_caller_cannot_tell(seed: int) -> None:
    """By anything but what a server says of itself, and the date."""
    chance = random.Random(seed)
    requests = [*(_request(chance) for _ in range(chance.randrange(1, 7))), chance.choice(_LAST)]
    sent = b"".join(requests)
    cuts = sorted(chance.sample(range(1, len(sent)), min(len(sent) - 1, chance.randrange(12))))
    async with _listening(lane=True) as with_it, _listening(lane=False) as without:
        one = await _heard(with_it, sent, cuts)
        other = await _heard(without, sent, cuts)
    assert one == other
    assert len(one) == len(requests)
