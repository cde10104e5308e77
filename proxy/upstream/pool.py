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
from collections.abc import Callable

from proxy.terms import Progress
from proxy.upstream.request import Origin
from proxy.upstream.wire import Connection

KEEP = 60.0
"""Seconds."""


class Place:
    """One of the connections in use (a wire.Place)."""

    __slots__ = ("_held", "_limited", "_pool", "keeps", "origin")

    def __init__(self, pool: Pool, origin: Origin, limited: bool) -> None:
        self._pool = pool
        self._limited = limited
        self._held = True
        self.origin = origin
        self.keeps = limited
        """What served here is kept for the next request."""

    def leave(self, connection: Connection | None = None) -> None:
        if connection is not None:
            if self.keeps and self._held:
                self._pool._keep(self.origin, connection)
            else:
                connection.drop()
        if self._held:
            self._held = False
            self._pool._left(self._limited)


class Pool:
    """The connections of one source (a wire.Owner)."""

    def __init__(self, limit: int, keep: float = KEEP, clock: Callable[[], float] = time.monotonic) -> None:
        self._limit, self._keep_for, self._clock = limit, keep, clock
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

    def enter(self, origin: Origin) -> Place | None:
        """A place for one request, if there is one."""
        if self._used >= self._limit:
            return None
        self._used += 1
        return Place(self, origin, True)

    def aside(self, origin: Origin) -> Place:
        """A place that no request could have had."""
        self._aside += 1
        return Place(self, origin, False)

    async def wait(self, origin: Origin, progress: Progress) -> Place:
        """A place for one request, when there is one."""
        turn: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.append(turn)
        progress.queued = True
        try:
            await turn
        except asyncio.CancelledError:
            if not turn.cancelled():
                self._left(True)
            elif turn in self._waiting:
                self._waiting.remove(turn)
            raise
        progress.queued = False
        return Place(self, origin, True)

    def _left(self, limited: bool) -> None:
        if not limited:
            self._aside -= 1
            return
        while self._waiting:
            turn = self._waiting.popleft()
            if not turn.done():
                turn.set_result(None)
                return
        self._used -= 1

    # -- connections

    def take(self, origin: Origin) -> Connection | None:
        """One that is kept for a request to there."""
        if kept := self._idle.get(origin):
            oldest = self._clock() - self._keep_for
            while kept:
                connection = kept.pop()
                if connection.idle_since > oldest and connection.usable:
                    return connection
                connection.drop()
        return None

    def _keep(self, origin: Origin, connection: Connection) -> None:
        if self.closed:
            connection.drop()
            return
        connection.idle_since = self._clock()
        self._idle.setdefault(origin, []).append(connection)
        if self._sweeper is None:
            self._sweeper = asyncio.get_running_loop().call_later(self._keep_for / 4, self._sweep)

    def _sweep(self) -> None:
        """Let go of what was not needed for long. One timer for all, and none when nothing is kept."""
        self._sweeper = None
        now = self._clock()
        for origin, kept in list(self._idle.items()):
            while kept and now - kept[0].idle_since >= self._keep_for:
                kept.pop(0).drop()
            if not kept:
                del self._idle[origin]
        if self._idle:
            self._sweeper = asyncio.get_running_loop().call_later(self._keep_for / 4, self._sweep)

    def adopt(self, connection: Connection) -> None:
        """One was made. Counted from here on: of one whose making is cancelled uvloop never tells the end."""
        if self.closed:
            connection.drop()
        elif connection.usable:
            self._all.add(connection)

    def gone(self, connection: Connection) -> None:
        """It has ended."""
        self._all.discard(connection)
        for kept in self._idle.values():
            if connection in kept:
                kept.remove(connection)
        if self._emptied is not None and not self._all and not self._emptied.done():
            self._emptied.set_result(None)

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
