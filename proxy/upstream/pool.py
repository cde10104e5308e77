"""A source's connections: how many are in use, which are kept for the next request, who waits.

1. No more than `limit` are in use at once; whoever comes then waits in turn, and nobody passes by. A place goes from
   hand to hand, and one who stops waiting passes it on.
2. The connection that was used last is used first, so that those of a busy hour are let go after it. One that stood
   idle for `keep` seconds, or that is closing, serves nobody.
3. Who asks without a place of the requests (`aside`) takes none from them, and keeps no connection.
4. Counts may be read from another thread.
"""

from __future__ import annotations

import asyncio
import time
from collections import deque
from typing import Final

from proxy.terms import Progress
from proxy.upstream.request import Origin
from proxy.upstream.wire import Connection

_monotonic: Final = time.monotonic
KEEP = 60.0
"""Seconds."""


class Pool:
    """The connections of one source (a wire.Owner)."""

    def __init__(self, limit: int, keep: float = KEEP) -> None:
        self._limit, self._keep_for = limit, keep
        self._used = self._aside = 0
        self._idle: dict[Origin, list[Connection]] = {}
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._all: set[Connection] = set()
        self._sweeper: asyncio.TimerHandle | None = None
        self._emptied: asyncio.Future[None] | None = None
        self.closed = False

    def counts(self) -> tuple[int, int, int]:
        """In use, idle, waited for."""
        return self._used + self._aside, sum(map(len, list(self._idle.values()))), len(self._waiting)

    # -- places

    def take(self, origin: Origin, now: float, *, placed: bool = False) -> Connection | None:
        """What is kept for a request to there, with a place unless it is `placed`; None where either is missing."""
        if placed or self._used < self._limit:
            kept = self._idle.get(origin)
            while kept:
                connection = kept.pop()
                if now - connection.idle_since < self._keep_for and not connection.is_closing():
                    if not placed:
                        self._used += 1
                    return connection
                connection.drop()
        return None

    async def enter(self, progress: Progress) -> None:
        """Have a place for one request, when there is one."""
        if self._used < self._limit:
            self._used += 1
            return
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        progress.queued = True
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled():
                self.leave()
            elif turn in self._waiting:
                self._waiting.remove(turn)
            raise
        progress.queued = False

    def step_aside(self) -> None:
        """Have a place that no request could have had."""
        self._aside += 1

    def leave(self, *, aside: bool = False) -> None:
        """The place is free. Once for each."""
        if aside:
            self._aside -= 1
            return
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self._used -= 1

    # -- connections

    def shelf(self, origin: Origin) -> list[Connection]:
        """Where those are kept that serve requests to there, the one that was used last at the end."""
        return self._idle.setdefault(origin, [])

    def adopt(self, connection: Connection) -> None:
        """One was made. Counted from here on: of one whose making is cancelled uvloop never tells the end."""
        if self.closed:
            connection.drop()
        elif not connection.is_closing():
            self._all.add(connection)

    def done(self, connection: Connection, again: bool) -> None:
        if again and connection.shelf is not None and not self.closed:
            connection.idle_since = _monotonic()
            connection.shelf.append(connection)
            if self._sweeper is None:
                self._sweeper = asyncio.get_running_loop().call_later(self._keep_for / 4, self._sweep)
        else:
            connection.drop()
        self.leave(aside=connection.aside)

    def gone(self, connection: Connection) -> None:
        """It has ended."""
        self._all.discard(connection)
        if connection.shelf and connection in connection.shelf:
            connection.shelf.remove(connection)
        if self._emptied is not None and not self._all and not self._emptied.done():
            self._emptied.set_result(None)

    def _sweep(self) -> None:
        """Let go of what was not needed for long. One timer for all, and none when nothing is kept."""
        self._sweeper = None
        now = time.monotonic()
        for kept in self._idle.values():
            while kept and now - kept[0].idle_since >= self._keep_for:
                kept.pop(0).drop()
        if any(self._idle.values()):
            self._sweeper = asyncio.get_running_loop().call_later(self._keep_for / 4, self._sweep)

    async def close(self) -> None:
        """Drop every connection, in use or not. Who waits comes to a place by that, and finds the pool closed."""
        self.closed = True
        if self._sweeper is not None:
            self._sweeper.cancel()
        for connection in list(self._all):
            connection.drop()
        if self._all:
            self._emptied = asyncio.get_running_loop().create_future()
            await self._emptied
