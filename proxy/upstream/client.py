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
from typing import Final, Self

from proxy.terms import Cause, Diagnosis, Headers, Progress
from proxy.upstream.answer import Answer
from proxy.upstream.dial import Dialer
from proxy.upstream.names import Lookup, ask_system
from proxy.upstream.pool import KEEP, Pool
from proxy.upstream.request import END, Opening, Target, opening
from proxy.upstream.wire import BAD_HTTP, CLOSED, Connection

_monotonic: Final = time.monotonic

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
    """At most 20 % of requests plus three a second are retried; a burst of up to ten, or as said, is saved up."""

    def __init__(self, clock: Callable[[], float] = time.monotonic, burst: float = 10.0) -> None:
        self._clock, self._burst, self._saved, self._at = clock, burst, burst, clock()
        self.sent = 0
        """Requests since a retry was asked for: counted up by who sends them."""

    def spend(self) -> bool:
        """True if a retry may be made now."""
        now = self._clock()
        # What comes in is worth the same whenever it is added: it is never more than the burst in all.
        saved = min(self._burst, self._saved + 0.2 * self.sent + 3.0 * (now - self._at))
        granted = saved >= 1.0
        self._saved, self._at, self.sent = saved - granted, now, 0
        return granted


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

    async def look(self, url: str, headers: Headers, connect: float) -> Answer | Diagnosis:
        """Send one GET on a connection of its own, as if nobody had asked: no pool and no budget is touched."""
        begun = opening("GET", url, headers, self._dialer.proxy)
        return await self.send(begun, None, Progress(time.monotonic()), connect)

    async def send(
        self, begun: Opening | None, body: bytes | None, progress: Progress, connect: float
    ) -> Answer | Diagnosis:
        """Send one POST that begins so: by the same forward proxy, if any. Without a body it is a look's GET."""
        if begun is None:
            progress.reused = False
            return BAD_HTTP
        target, start = begun
        made: Connection | Diagnosis | None
        at = _monotonic()
        if body is None:
            made, aside, head, body = None, True, start + END, b""
        else:
            aside = False
            head = b"%bContent-Length: %d\r\n\r\n" % (start, len(body))
            self._budget.sent += 1
            made = self._pool.take(target.origin, at)
        progress.reused = made is not None
        if made is None:
            made = await self._enter(target, progress, connect, aside)
            at = _monotonic()
        while not isinstance(made, Diagnosis):
            progress.sent, progress.connected = True, at
            answer = made.ask(head, body)
            try:
                while not answer.status and answer.ended is None:
                    await answer.news()
            except BaseException:
                answer.close()
                if not answer.status:
                    self._pool.leave(aside=aside)
                raise
            if answer.status:
                progress.status, progress.first_byte = answer.status, _monotonic()
                return answer
            if not progress.reused or made.bodiless or not self._budget.spend():
                self._pool.leave(aside=aside)
                assert isinstance(answer.ended, Diagnosis)  # noqa: S101  # there is no clean end without a head
                return answer.ended
            # What a retry is served by is not kept: the upstream is just ending its connections.
            progress.retried, progress.reused = True, False
            made = await self._fresh(target, connect, None, aside=False)
            at = _monotonic()
        return made

    async def _enter(self, target: Target, progress: Progress, connect: float, aside: bool) -> Connection | Diagnosis:
        """A connection in a place of its own, where none was there at once."""
        pool = self._pool
        if aside:
            pool.step_aside()
            return await self._fresh(target, connect, None, aside=True)
        await pool.enter(progress)
        kept = pool.take(target.origin, _monotonic(), placed=True)
        if kept is not None:
            progress.reused = True
            return kept
        return await self._fresh(target, connect, pool.shelf(target.origin), aside=False)

    async def _fresh(
        self, target: Target, connect: float, shelf: list[Connection] | None, *, aside: bool
    ) -> Connection | Diagnosis:
        """One that is made for a place that is taken; the place is left again where none stands."""
        pool = self._pool
        made: Connection | Diagnosis = _ENDING
        try:
            if not pool.closed:
                made = await self._dialer.dial(target, connect, lambda: Connection(pool, shelf, aside))
            if isinstance(made, Connection):
                pool.adopt(made)
                if made.is_closing():
                    made = _ENDING if pool.closed else made.fault or CLOSED
        except BaseException:
            pool.leave(aside=aside)
            raise
        if isinstance(made, Diagnosis):
            pool.leave(aside=aside)
        return made

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
