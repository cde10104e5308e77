"""Noticing that the configuration's file is another one: edited in place, replaced, or swapped by a link above it.

1. It is looked at, not subscribed to: that works for every file system and for a Kubernetes ConfigMap, whose files are
   links into a folder that is swapped.
2. Told once it has stayed the same for a moment, so that a file that is being written is read when it is whole.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Callable
from pathlib import Path

LOOK = 0.5
"""Seconds."""

Mark = tuple[int, int, int] | None
"""What tells one content of a file from another; None where there is no file."""


def mark(file: Path) -> Mark:
    """What the file is now. Taken before it is read, so that a change while it is read is noticed."""
    try:
        found = os.stat(file)
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns


async def changed(file: Path, told: Mark, tell: Callable[[], None]) -> None:
    """Call `tell` after every change since `told`, until cancelled."""
    before = told
    while True:
        await asyncio.sleep(LOOK)
        now = mark(file)
        if now == before and now != told and now is not None:
            told = now
            tell()
        before = now
