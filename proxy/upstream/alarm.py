"""A limit of time that moves often, as one does that counts from the latest byte.

1. It ends what it is around by a TimeoutError, never early, at most a few milliseconds late; a cancellation from
   elsewhere stays one.
2. To move it later costs no timer: the one that is set rings early, and is set again.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from types import TracebackType
from typing import Self


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
            self._set(at - self._clock())

    def _set(self, left: float) -> None:
        if self._handle is not None:
            self._handle.cancel()
        self._rings = self._at
        self._handle = self._loop.call_later(max(0.0, left), self._ring)

    def _ring(self) -> None:
        left = self._at - self._clock()
        # The loop counts in milliseconds, so its timers may be early by one.
        if left > 0:
            self._set(max(left, 0.001))
        else:
            self._timeout.reschedule(self._loop.time())
