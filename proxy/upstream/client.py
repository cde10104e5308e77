"""The door to one source: a request goes out, an open answer or a diagnosis comes back.

1. Nothing of how it is done crosses the door: neither exceptions nor connections.
2. A kept connection that the upstream closed before a single byte of answer costs one retry on a fresh connection,
   never two, and only while the retry budget lasts. Nothing else is ever sent twice to the same tier.
3. Redirects are never followed, and nothing is remembered of an answer.
4. Our own trouble (file descriptors, our resolver, our pool being full) is LOCAL: it says nothing of the upstream.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Self

from proxy.terms import Cause, Diagnosis, Headers, Progress
from proxy.upstream.answer import Answer
from proxy.upstream.dial import Dialer
from proxy.upstream.names import Lookup, ask_system
from proxy.upstream.pool import KEEP, Place, Pool
from proxy.upstream.request import END, Opening, Target, opening
from proxy.upstream.wire import BAD_HTTP, Connection

__all__ = ["Answer", "Connecting", "Connections", "Door", "RetryBudget"]


@dataclass(frozen=True, slots=True)
class Connecting:
    """How a source's connections are made."""

    max_connections: int = 100
    proxy: str | None = None
    ca_file: str | None = None
    private: bool = False
    """The address may be a private one, or this machine's."""


@dataclass(frozen=True, slots=True)
class Connections:
    """How many a source has now."""

    in_use: int
    idle: int
    """Kept for the next request."""
    waiting: int
    """Requests for which none is free."""


class RetryBudget:
    """At most 20 % of requests plus three a second are retried; a burst of up to ten is saved up."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._saved, self._at = clock, 10.0, clock()

    def earn(self) -> None:
        """A request went out."""
        now = self._clock()
        saved = self._saved + 0.2 + 3.0 * (now - self._at)
        self._saved, self._at = saved if saved < 10.0 else 10.0, now

    def spend(self) -> bool:
        """True if a retry may be made now."""
        if self._saved < 1.0:
            return False
        self._saved -= 1.0
        return True


@dataclass(frozen=True, slots=True)
class _Stale:
    """The kept connection was closed under us before one byte of answer."""

    diagnosis: Diagnosis


class Door:
    """One source's connections."""

    def __init__(
        self, connecting: Connecting, budget: RetryBudget, lookup: Lookup = ask_system, keep: float = KEEP
    ) -> None:
        """`lookup` resolves names. `keep`: seconds for which an idle connection is kept."""
        self._budget, self._owners = budget, 1
        self._pool = Pool(connecting.max_connections, keep)
        self._dialer = Dialer(
            proxy=connecting.proxy, ca_file=connecting.ca_file, private=connecting.private, lookup=lookup
        )

    def connections(self) -> Connections:
        """Those of now. May be asked from another thread."""
        return Connections(*self._pool.counts())

    async def post(
        self, url: str, headers: Headers, body: bytes, progress: Progress, connect: float
    ) -> Answer | Diagnosis:
        """Send one POST. `connect` bounds TCP and TLS, in seconds; other limits are the caller's, who may cancel."""
        return await self.send(opening("POST", url, headers, self._dialer.proxy), body, progress, connect)

    async def send(self, begun: Opening | None, body: bytes, progress: Progress, connect: float) -> Answer | Diagnosis:
        """Send one POST that begins so: by the same forward proxy, if any."""
        progress.reused = False
        if begun is None:
            return BAD_HTTP
        target, start = begun
        self._budget.earn()
        head = b"%bContent-Length: %d\r\n\r\n" % (start, len(body))
        pool = self._pool
        place = pool.enter(target.origin) or await pool.wait(target.origin, progress)
        try:
            kept = pool.take(target.origin)
            answer = await self._send(target, head, body, place, kept, progress, connect)
            if isinstance(answer, _Stale) and self._budget.spend():
                # What a retry is served by is not kept: the upstream is just ending its connections.
                progress.retried, place.keeps = True, False
                answer = await self._send(target, head, body, place, None, progress, connect)
        except BaseException:
            place.leave()
            raise
        return answer if isinstance(answer, Answer) else _told(answer, place)

    async def look(self, url: str, headers: Headers, connect: float) -> Answer | Diagnosis:
        """Send one GET on a connection of its own, as if nobody had asked: no pool and no budget is touched."""
        begun = opening("GET", url, headers, self._dialer.proxy)
        if begun is None:
            return BAD_HTTP
        target, start = begun
        place = self._pool.aside(target.origin)
        try:
            answer = await self._send(target, start + END, b"", place, None, Progress(time.monotonic()), connect)
        except BaseException:
            place.leave()
            raise
        return answer if isinstance(answer, Answer) else _told(answer, place)

    async def _send(
        self,
        target: Target,
        head: bytes,
        body: bytes,
        place: Place,
        kept: Connection | None,
        progress: Progress,
        connect: float,
    ) -> Answer | Diagnosis | _Stale:
        progress.reused = kept is not None
        connection = kept
        if connection is None:
            made = await self._fresh(target, connect)
            if isinstance(made, Diagnosis):
                return made
            connection = made
        progress.sent, progress.connected = True, time.monotonic()
        answer = connection.ask(head, body, place)
        try:
            diagnosis = await answer.opened
        except BaseException:
            answer.close()
            raise
        if diagnosis is not None:
            return _Stale(diagnosis) if kept is not None and not connection.heard else diagnosis
        progress.status, progress.first_byte = answer.status, time.monotonic()
        return answer

    async def _fresh(self, target: Target, connect: float) -> Connection | Diagnosis:
        if self._pool.closed:
            return _ENDING
        made = await self._dialer.dial(target, connect, lambda: Connection(self._pool))
        if isinstance(made, Diagnosis):
            return made
        self._pool.adopt(made)
        return _ENDING if self._pool.closed else made

    def shared(self) -> Self:
        """The same door for one more owner: it closes with the last of them."""
        self._owners += 1
        return self

    async def close(self) -> None:
        """Drop every connection, unless somebody else still owns the door."""
        self._owners -= 1
        if self._owners <= 0:
            await self._pool.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


_ENDING = Diagnosis(Cause.LOCAL, "draining")
"""Somebody asks while the door is being closed."""


def _told(answer: Diagnosis | _Stale, place: Place) -> Diagnosis:
    """What the one who asked is told without an answer; the place is free again."""
    place.leave()
    return answer.diagnosis if isinstance(answer, _Stale) else answer
