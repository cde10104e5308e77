"""A wire between the replicas and Redis that can be slow, dead, or dead for pushes alone.

1. Bytes are held back or a connection is closed; nothing is ever changed.
2. A connection on which SUBSCRIBE was sent is one for pushes.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

_CHUNK = 64 * 1024


class Wire:
    """Listens on `port` and connects to the port it was made for."""

    def __init__(self, to: int) -> None:
        self._to = to
        self.port = 0
        self.delay = 0.0
        """Seconds that each chunk takes, either way."""
        self._passes = asyncio.Event()
        self._passes.set()
        self._pushes = asyncio.Event()
        self._pushes.set()
        self._refuses_pushes = False
        self._lines: set[asyncio.Task[None]] = set()
        self._listening: set[asyncio.Task[None]] = set()

    @property
    def url(self) -> str:
        """What replicas are given."""
        return f"redis://127.0.0.1:{self.port}"

    def hold(self, *, pushes_only: bool = False) -> None:
        """Nothing passes from now on, and connections stand."""
        (self._pushes if pushes_only else self._passes).clear()

    def cut_pushes(self) -> None:
        """Close every connection for pushes, now and later."""
        self._refuses_pushes = True
        for line in self._listening:
            line.cancel()

    def mend(self) -> None:
        """All is well; what was held back is on its way."""
        self.delay, self._refuses_pushes = 0.0, False
        self._passes.set()
        self._pushes.set()

    async def start(self) -> None:
        self._server = await asyncio.start_server(self._accept, "127.0.0.1", 0)
        self.port = self._server.sockets[0].getsockname()[1]

    async def close(self) -> None:
        self._server.close()
        for line in self._lines:
            line.cancel()
        await asyncio.gather(*self._lines, return_exceptions=True)
        await self._server.wait_closed()

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = asyncio.ensure_future(self._serve(reader, writer))
        self._lines.add(line)
        line.add_done_callback(self._lines.discard)
        line.add_done_callback(self._listening.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        line = asyncio.current_task()
        assert line is not None
        writers = [writer]
        pumps: list[asyncio.Task[None]] = []
        try:
            with contextlib.suppress(OSError):
                from_redis, to_redis = await asyncio.open_connection("127.0.0.1", self._to)
                writers.append(to_redis)
                pumps.append(asyncio.create_task(self._pump(reader, to_redis, line, asked=True)))
                pumps.append(asyncio.create_task(self._pump(from_redis, writer, line, asked=False)))
                await asyncio.wait(pumps, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for pump in pumps:
                pump.cancel()
            for each in writers:
                each.transport.abort()
            await asyncio.gather(*pumps, return_exceptions=True)

    async def _pump(
        self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, line: asyncio.Task[None], *, asked: bool
    ) -> None:
        while data := await reader.read(_CHUNK):
            if asked and b"SUBSCRIBE" in data:
                self._listening.add(line)
            if line in self._listening:
                if self._refuses_pushes:
                    return
                if not asked:
                    await self._pushes.wait()
            if self.delay:
                await asyncio.sleep(self.delay)
            await self._passes.wait()
            writer.write(data)
            await writer.drain()


@contextlib.asynccontextmanager
async def wired(to: int) -> AsyncIterator[Wire]:
    """A wire to this port, closed at the end."""
    wire = Wire(to)
    await wire.start()
    try:
        yield wire
    finally:
        await wire.close()
