"""A client that sees every byte: requests written by hand, answers read as they lie on the wire."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from urllib.parse import urlsplit

import orjson

LIMIT = 30.0
"""Seconds for anything that is to happen, on a busy machine too."""


class Raw:
    """One connection to a simulator."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader, self._writer = reader, writer

    def send(self, data: bytes) -> None:
        self._writer.write(data)

    def ask(self, path: str = "/v1/chat/completions", *, fields: str = "", **more: object) -> None:
        """A chat request, or another, with `more` in its body and `fields` (header lines) in its head."""
        body = orjson.dumps({"model": "m-1", "messages": [{"role": "user", "content": "Where?"}], "input": "a"} | more)
        self.send(f"POST {path} HTTP/1.1\r\nHost: x\r\n{fields}Content-Length: {len(body)}\r\n\r\n".encode() + body)

    async def rest(self) -> tuple[bytes, str]:
        """All that comes until the connection ends, and how it ends: closed or reset."""
        got = bytearray()
        async with asyncio.timeout(LIMIT):
            try:
                while data := await self._reader.read(65536):
                    got += data
            except ConnectionResetError:
                return bytes(got), "reset"
        return bytes(got), "closed"

    async def until(self, mark: bytes) -> bytes:
        """All that comes up to `mark`."""
        async with asyncio.timeout(LIMIT):
            return await self._reader.readuntil(mark)

    async def exactly(self, size: int) -> bytes:
        async with asyncio.timeout(LIMIT):
            return await self._reader.readexactly(size)

    async def head(self) -> tuple[int, dict[str, str]]:
        """An answer's status, and its header fields by lower-case name."""
        first, *lines = (await self.until(b"\r\n\r\n")).decode().removesuffix("\r\n\r\n").split("\r\n")
        fields = (line.split(": ", 1) for line in lines)
        return int(first.split(" ")[1]), {name.lower(): value for name, value in fields}

    async def answer(self) -> tuple[int, dict[str, str], bytes]:
        """One answer of known length."""
        status, headers = await self.head()
        return status, headers, await self.exactly(int(headers["content-length"]))

    async def silent(self, seconds: float) -> bool:
        """Whether nothing comes for so long, not even an end."""
        try:
            async with asyncio.timeout(seconds):
                await self._reader.read(1)
        except TimeoutError:
            return True
        return False

    def leave(self) -> None:
        self._writer.close()


@asynccontextmanager
async def connect(base: str) -> AsyncIterator[Raw]:
    """A connection to the server of `base`, closed at the end."""
    where = urlsplit(base)
    reader, writer = await asyncio.open_connection(where.hostname, where.port, limit=64 * 1024 * 1024)
    try:
        yield Raw(reader, writer)
    finally:
        writer.transport.abort()
        # Let the transport close its socket before the loop ends.
        await asyncio.sleep(0)


def unchunk(data: bytes) -> tuple[bytes, bool]:
    """A chunked body's content, and whether its final chunk came."""
    content = bytearray()
    while data:
        size, _, data = data.partition(b"\r\n")
        count = int(size, 16)
        if not count:
            return bytes(content), True
        content += data[:count]
        data = data[count + 2 :]
    return bytes(content), False


def events(body: bytes) -> list[bytes]:
    """The data of a stream's events."""
    return [line.removeprefix(b"data: ") for line in body.split(b"\n") if line.startswith(b"data: ")]


def texts(body: bytes) -> list[str]:
    """The pieces of content in a chat stream, whatever else is in it."""
    pieces = []
    for data in events(body):
        if data.startswith(b'{"id"'):
            choices = orjson.loads(data)["choices"]
            pieces += [each["delta"]["content"] for each in choices if each["delta"].get("content")]
    return pieces
