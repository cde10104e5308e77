"""A simulated upstream for compose.yaml: `python upstream.py HOST:PORT`, until a signal ends it.

1. The simulator itself listens on loopback alone; this is a door to it, which copies bytes.
"""

from __future__ import annotations

import asyncio
import contextlib
import signal
import sys
from urllib.parse import urlsplit

from proxy.demo.simulator import Simulator

_CHUNK = 64 * 1024


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(OSError):
        while data := await reader.read(_CHUNK):
            writer.write(data)
            await writer.drain()
    writer.close()


async def serve(address: str) -> None:
    """Serve on it until SIGTERM or SIGINT."""
    host, _, port = address.rpartition(":")
    stop, loop = asyncio.Event(), asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    async with Simulator("upstream") as simulator:
        behind = urlsplit(simulator.base_url).port

        async def join(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
            from_behind, to_behind = await asyncio.open_connection("127.0.0.1", behind)
            await asyncio.gather(_copy(reader, to_behind), _copy(from_behind, writer))

        server = await asyncio.start_server(join, host, int(port))
        await stop.wait()
        server.close()


if __name__ == "__main__":
    asyncio.run(serve(sys.argv[1]))
