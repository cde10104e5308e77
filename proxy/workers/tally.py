"""How many connections each worker has, in memory that all of them share.

1. Each writes its own number, the supervisor that of who has died, and all read all. A number that is out of date is
   never waited for: it is a hint to whom the next connection belongs, not a lock.
2. It is a file without a name, handed down open, so it is gone with the last of them.
"""

from __future__ import annotations

import contextlib
import mmap
import tempfile
from collections.abc import Iterator

_NOBODY = -1
"""Of a seat that nobody has, or whose worker takes no connections."""
_WIDE = 4
"""Bytes of a number: written at once, so never seen half."""


@contextlib.contextmanager
def shared(workers: int) -> Iterator[int]:
    """A descriptor to hand down."""
    with tempfile.TemporaryFile() as file:
        file.truncate(workers * _WIDE)
        for number in range(1, workers + 1):
            Tally(file.fileno(), number).leave()
        yield file.fileno()


class Tally:
    """It, with the number of one worker to write."""

    def __init__(self, descriptor: int, number: int) -> None:
        """The descriptor may be closed then. `number` is from 1."""
        self._numbers = memoryview(mmap.mmap(descriptor, 0)).cast("i")
        self._own = number - 1

    def note(self, count: int) -> None:
        """This worker has so many."""
        self._numbers[self._own] = count

    def leave(self) -> None:
        """It takes none any more."""
        self.note(_NOBODY)

    def fewest(self) -> int:
        """What the worker has that has the fewest; 0 where nobody takes any."""
        return min((count for count in self._numbers if count != _NOBODY), default=0)
