"""What a journal is to those who read it, and the ring of one replica: its own newest items.

1. A place is opaque to everybody else, and safe in a URL. It stays while its item is kept.
2. A ring's place bears the word of its run, so one of another ring is known as such, and one of the shared journal too.
3. A chunk is bounded in items and bytes, whatever is asked for.
"""

from __future__ import annotations

import re
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

ROOM = 64 * 1024 * 1024
"""Bytes of items that are kept, in a ring or in the shared journal."""
PAGE, PAGE_BYTES = 1000, 512 * 1024
"""Items of a chunk at most, and bytes after which it ends; one batch may come on top of the bytes."""

RING_PLACE = re.compile(r"ring-([0-9a-zA-Z_]{1,64})-([0-9]{1,15})", re.ASCII)
SHARED_PLACE = re.compile(r"([0-9]{1,15}-[0-9]{1,15})\.([0-9]{1,5})", re.ASCII)


class BadPlace(ValueError):
    """What was given as a place is none."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """Some items that follow each other."""

    items: tuple[tuple[str, bytes], ...]
    """Place and item."""
    more: bool
    """There are further ones in this direction."""
    gap: bool
    """The place asked for is not kept (any more): something may be missing between it and these items."""


class Pages(Protocol):
    """A journal to be read. Raises BadPlace, and StoreError when it is shared and does not answer."""

    async def older(self, than: str | None, most: int) -> Chunk:
        """At most `most` items before that place, newest first; None: from the newest. None before one not kept."""
        ...

    async def newer(self, than: str | None) -> Chunk:
        """Items after that place, oldest first; from the oldest when it is None, or not kept.

        A gap is told with the first items after it: while there are none, nothing is missing yet.
        """
        ...

    async def end(self) -> str:
        """The place of the newest item, or one before the first."""
        ...


class Ring:
    """The newest items of this replica, as Pages."""

    def __init__(self, keep: int, age: float, unix: Callable[[], float], word: str) -> None:
        """`keep` items and `age` seconds; `word` is this run's own."""
        self._keep, self._age, self._unix, self._word = keep, age, unix, word
        self._items: deque[tuple[float, bytes]] = deque()
        self._bytes = 0
        self.next = 1
        """The number of the next item."""

    def __len__(self) -> int:
        self._trim(self._unix())
        return len(self._items)

    def append(self, item: bytes) -> tuple[float, bytes]:
        """The item with its time."""
        now = self._unix()
        timed = now, item
        items = self._items
        items.append(timed)
        self._bytes += len(item)
        self.next += 1
        if len(items) > self._keep or self._bytes > ROOM or items[0][0] < now - self._age:
            self._trim(now)
        return timed

    async def older(self, than: str | None, most: int) -> Chunk:
        """See Pages."""
        first = self.next - len(self)
        number = self.next if than is None else self._number(than)
        if number is None or number < first:
            return Chunk((), False, gap=number != 0)
        stop = max(first, number - min(max(most, 0), PAGE))
        items = self._chunk(range(number - 1, stop - 1, -1))
        return Chunk(items, number - len(items) > first, gap=False)

    async def newer(self, than: str | None) -> Chunk:
        """See Pages."""
        first = self.next - len(self)
        number = first - 1 if than is None else self._number(than)
        gap = number is None or number + 1 < first
        start = first if number is None else max(first, number + 1)
        items = self._chunk(range(start, min(self.next, start + PAGE)))
        return Chunk(items, start + len(items) < self.next, gap and bool(items))

    async def end(self) -> str:
        """See Pages."""
        return self._place(self.next - 1)

    def _chunk(self, numbers: range) -> tuple[tuple[str, bytes], ...]:
        first, size, found = self.next - len(self._items), 0, []
        for number in numbers:
            if size >= PAGE_BYTES:
                break
            item = self._items[number - first][1]
            size += len(item)
            found.append((self._place(number), item))
        return tuple(found)

    def _place(self, number: int) -> str:
        return f"ring-{self._word}-{number}"

    def _number(self, place: str) -> int | None:
        """None when it is a place elsewhere."""
        if SHARED_PLACE.fullmatch(place):
            return None
        found = RING_PLACE.fullmatch(place)
        if found is None:
            raise BadPlace("not a place in the journal")
        if found[1] != self._word:
            return None
        if int(found[2]) >= self.next:
            raise BadPlace("a place that the journal has not reached")
        return int(found[2])

    def _trim(self, now: float) -> None:
        items = self._items
        while items and (len(items) > self._keep or self._bytes > ROOM or items[0][0] < now - self._age):
            self._bytes -= len(items.popleft()[1])
