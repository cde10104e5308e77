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


class Watched:
    """A file, and what it was when it was last read."""

    def __init__(self, file: Path, read: Mark) -> None:
        self._file, self._read = file, read

    def read(self) -> None:
        """It is read now, whoever wishes it: what it is at this moment is no news later. Any thread may say so."""
        self._read = mark(self._file)

    async def changed(self, tell: Callable[[], None]) -> None:
        """Call `tell` after every change since it was read, until cancelled."""
        before = self._read
        while True:
            await asyncio.sleep(LOOK)
            now = mark(self._file)
            if now == before and now != self._read and now is not None:
                self._read = now
                tell()
            before = now
