"""How long the machine has kept this event loop from running: what is asserted of time is less that.

Both ends of what is measured are on this loop. What waits for a timer waits while the loop ticks, and is not excused.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

_STEP = 0.01
"""Seconds between ticks."""


class Pace:
    """Ticks since it began."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._began, self._ticks = self._loop.time(), 0

    async def tick(self) -> None:
        """Until cancelled."""
        while True:
            await asyncio.sleep(_STEP)
            self._ticks += 1

    def lost(self) -> float:
        """Seconds so far in which ticks were due and did not come."""
        return max(0.0, self._loop.time() - self._began - (self._ticks + 1) * _STEP)


@contextlib.asynccontextmanager
async def paced() -> AsyncIterator[Pace]:
    """Measured within."""
    pace = Pace()
    ticking = asyncio.create_task(pace.tick())
    try:
        yield pace
    finally:
        ticking.cancel()
        await asyncio.gather(ticking, return_exceptions=True)
