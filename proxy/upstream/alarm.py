"""A limit of time that moves often, as one does that counts from the latest byte.

1. It ends what it is around by a TimeoutError, never early, at most a few milliseconds late; a cancellation from
   elsewhere stays one.
2. To move it costs no timer, unless it comes near: the one that is set rings early, and is set again.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self

_AHEAD = 5.0
"""Seconds: no timer is set for later, so that it need not be set anew when a far limit comes nearer."""


class Alarm:
    """An `asyncio.timeout` that is moved cheaply. It must be moved once before anything waits."""

    __slots__ = ("_at", "_clock", "_handle", "_loop", "_rings", "_timeout")

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` is the one that `move` speaks of."""
        self._clock, self._loop = clock, asyncio.get_running_loop()
        self._timeout = asyncio.timeout(None)
        self._at = self._rings = float("inf")
        self._handle: asyncio.TimerHandle | None = None

    async def __aenter__(self) -> Self:
        await self._timeout.__aenter__()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._handle is not None:
            self._handle.cancel()
        await self._timeout.__aexit__(kind, error, trace)

    def move(self, at: float) -> None:
        """Let it go off at `at`, which may have passed."""
        self._at = at
        if at < self._rings:
            if self._handle is not None:
                self._handle.cancel()
            self._set(self._clock())

    def _set(self, now: float) -> None:
        self._rings = min(self._at, now + _AHEAD)
        # The loop counts in milliseconds, so its timers may be early by one.
        self._handle = self._loop.call_later(max(0.001, self._rings - now), self._ring)

    def _ring(self) -> None:
        now = self._clock()
        if now < self._at:
            self._set(now)
        else:
            self._timeout.reschedule(self._loop.time())
