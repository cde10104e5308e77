"""An upstream of raw sockets: a test says what it does on each connection, byte by byte.

1. What goes wrong in a test's own script is raised where the upstream ends, so that no test passes by a script's fault.
2. How a connection ended is waited for, never guessed.
"""

from __future__ import annotations

import asyncio
import contextlib
import re
import socket
import ssl
import struct
from collections.abc import AsyncIterator, Awaitable, Callable

SOON = 5.0
"""Seconds for anything that is to happen."""
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)


class Line:
    """One connection, as the upstream has it."""

    def __init__(self, number: int, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.number = number
        """Counted from 1."""
        self.reader, self.writer = reader, writer
        self.requests: list[bytes] = []
        """Heads and bodies, as they came."""

    async def head(self) -> bytes:
        """The head of the next request. Raises IncompleteReadError if none comes."""
        return await self.reader.readuntil(b"\r\n\r\n")

    async def request(self) -> bytes:
        """The next request, whole."""
        head = await self.head()
        length = _LENGTH.search(head)
        self.requests.append(head + await self.reader.readexactly(int(length[1]) if length else 0))
        return self.requests[-1]

    def say(self, data: bytes) -> None:
        self.writer.write(data)

    async def left(self) -> float:
        """When the other side ended it, on the loop's clock; what it still says is dropped."""
        async with asyncio.timeout(SOON):
            with contextlib.suppress(OSError):
                while await self.reader.read(65536):
                    pass
        return asyncio.get_running_loop().time()

    def reset(self) -> None:
        """End it with an error for the other side."""
        sock = self.writer.get_extra_info("socket")
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.writer.transport.abort()


Script = Callable[[Line], Awaitable[None]]
"""What the upstream does on a connection. When it returns the connection is closed."""


class Upstream:
    """A listener on loopback."""

    def __init__(self, script: Script) -> None:
        self.script = script
        self.lines: list[Line] = []
        self.port = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._news = asyncio.Condition()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1/chat/completions"

    async def seen(self, condition: Callable[[], bool]) -> None:
        """Wait until it holds; looked at whenever a connection comes or goes."""
        async with asyncio.timeout(SOON), self._news:
            await self._news.wait_for(condition)

    async def start(self, trust: ssl.SSLContext | None, window: int | None) -> None:
        sock = socket.socket()
        if window is not None:
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, window)
            sock.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, window)
        sock.bind(("127.0.0.1", 0))
        self._server = await asyncio.start_server(self._accept, sock=sock, ssl=trust, limit=2**16)
        self.port = sock.getsockname()[1]

    async def close(self) -> None:
        self._server.close()
        for task in self._tasks:
            task.cancel()
        ended = await asyncio.gather(*self._tasks, return_exceptions=True)
        for line in self.lines:
            line.writer.transport.abort()
        await self._server.wait_closed()
        wrong = [each for each in ended if isinstance(each, Exception)]
        if wrong:
            raise wrong[0]

    async def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        async with self._news:
            self.lines.append(Line(len(self.lines) + 1, reader, writer))
            self._news.notify_all()
        self._tasks.add(asyncio.create_task(self._play(self.lines[-1])))

    async def _play(self, line: Line) -> None:
        try:
            # The other side may leave at any moment; a test that minds asks how the connection ended.
            with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
                await self.script(line)
        finally:
            line.writer.close()
            async with self._news:
                self._news.notify_all()


@contextlib.asynccontextmanager
async def scripted(
    script: Script, trust: ssl.SSLContext | None = None, window: int | None = None
) -> AsyncIterator[Upstream]:
    """An upstream that does this, ended with the block. `window`: bytes of the sockets' buffers."""
    upstream = Upstream(script)
    await upstream.start(trust, window)
    try:
        yield upstream
    finally:
        await upstream.close()


def answered(*answers: bytes) -> Script:
    """On each connection: to each request the next of these answers, then the close."""

    async def script(line: Line) -> None:
        for each in answers:
            await line.request()
            line.say(each)
            await line.writer.drain()

    return script


def always(answer: bytes) -> Script:
    """The same answer to every request, on as many connections as come."""

    async def script(line: Line) -> None:
        while True:
            await line.request()
            line.say(answer)
            await line.writer.drain()

    return script
