"""The load of many streams: connections that ask for one, and note when each event came.

1. Every event of a stream has to come, once and in its order; anything else ends the run.
2. Nothing is parsed but the events' numbers and stamps: at 20,000 events a second the load must not be what is late.
"""

from __future__ import annotations

import asyncio
import time
from typing import cast

from tests.benchmarks import flow, load, settings

_AT_ONCE = 50
"""Streams that are opened together."""
_LIMIT = 60.0
"""Seconds for all of them to begin."""


class Heard:
    """What came of all streams together."""

    def __init__(self) -> None:
        self.events = 0
        self.wrong = ""
        """The first thing that was not as it should be."""
        self.delays: list[int] | None = None
        """ns from the upstream's hand to here, while somebody wants them."""


class _Listener(asyncio.Protocol):
    """One stream."""

    def __init__(self, heard: Heard) -> None:
        self._heard = heard
        self._rest = b""
        self._number = 0
        self.begun = asyncio.get_running_loop().create_future()
        self.closing = False
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's own class does not derive from it
        self.transport.write(load.chat(3, assistant=settings.assistant(0)))

    def data_received(self, data: bytes) -> None:
        now = time.monotonic_ns()
        if not self.begun.done():
            if not (self._rest + data).startswith(b"HTTP/1.1 200"):
                self._wrong(f"a stream began with {data[:300]!r}")
            self.begun.set_result(None)
        said = self._rest + data
        end = said.rfind(b"\n\n")
        self._rest = said[end:] if end >= 0 else said
        for number, stamp in flow.read(said[: max(end, 0)]):
            if number != self._number:
                self._wrong(f"event {number} of a stream came where {self._number} was due")
            self._number = number + 1
            self._heard.events += 1
            if self._heard.delays is not None:
                self._heard.delays.append(now - stamp)

    def connection_lost(self, error: Exception | None) -> None:
        if not self.closing:
            self._wrong(f"a stream ended after {self._number} events: {self._rest[-300:]!r}")
        if not self.begun.done():
            self.begun.set_result(None)

    def _wrong(self, what: str) -> None:
        self._heard.wrong = self._heard.wrong or what


class Listeners:
    """Streams that are open at one candidate."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._open: list[_Listener] = []
        self.heard = Heard()

    async def open(self, count: int) -> None:
        """So many more; returns when all have begun. Raises WrongAnswer."""
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(_LIMIT):
                for at in range(0, count, _AT_ONCE):
                    makers = (
                        loop.create_connection(lambda: _Listener(self.heard), "127.0.0.1", self._port)
                        for _ in range(min(_AT_ONCE, count - at))
                    )
                    made = [listener for _, listener in await asyncio.gather(*makers)]
                    self._open += made
                    await asyncio.gather(*(each.begun for each in made))
                    self.check()
        except TimeoutError:
            raise load.WrongAnswer(f"{len(self._open)} of {count} streams had begun after {_LIMIT:.0f} s") from None

    async def listen(self, seconds: float) -> list[int]:
        """How late every event was, in ns, in order of size. Raises WrongAnswer."""
        self.heard.delays = []
        await asyncio.sleep(seconds)
        delays, self.heard.delays = sorted(self.heard.delays), None
        self.check()
        if not delays:
            raise load.WrongAnswer("no event came")
        return delays

    def check(self) -> None:
        """Raises WrongAnswer where anything was not as it should be."""
        if self.heard.wrong:
            raise load.WrongAnswer(self.heard.wrong)

    async def close(self) -> None:
        """All of them, and wait a moment for the other side to notice."""
        for each in self._open:
            each.closing = True
            each.transport.abort()
        self._open.clear()
        await asyncio.sleep(0.5)
