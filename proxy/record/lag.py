"""How late the event loop is: a timer that ought to ring, and by how much it rings late.

1. What it costs is one wake-up per look; it looks often enough that a loop held for a tenth of a second is met.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable

_EVERY = 0.1
"""Seconds between looks."""


async def watch(clock: Callable[[], float], note: Callable[[float], None]) -> None:
    """Look until cancelled; `note` hears of each look how late it was, in seconds."""
    while True:
        due = clock() + _EVERY
        await asyncio.sleep(_EVERY)
        note(max(0.0, clock() - due))
