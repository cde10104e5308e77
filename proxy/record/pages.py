"""What a journal is to those who read it, and the ring of one replica: its own newest items.

1. A place is opaque to everybody else, and safe in a URL. It stays while its item is kept.
2. A ring's place bears the word of its run, so one of another ring is known as such, and one of the shared journal too.
3. A chunk is bounded in items and bytes, whatever is asked for.
"""

from __future__ import annotations

import re
from array import array
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

ROOM: Final = 64 * 1024 * 1024
"""Bytes of items that are kept, in a ring or in the shared journal."""
PAGE, PAGE_BYTES = 1000, 512 * 1024
"""Items of a chunk at most, and bytes after which it ends; one batch may come on top of the bytes."""

_BLOCK = 128
"""Items that lie together in a ring."""

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


class _Block:
    """Items that follow each other, one behind the other in one piece of memory.

    Until it is full that is as many pieces as it took: memory that grows is copied to another place again and again,
    and none of those is in a cache.
    """

    __slots__ = ("_pieces", "before", "count", "ends", "size", "times")

    def __init__(self, before: int) -> None:
        """`before` it there were so many bytes."""
        self.before, self.count, self.size = before, 0, 0
        self._pieces: list[bytes] = []
        self.times, self.ends = array("d"), array("Q")

    def take(self, items: Sequence[bytes], now: float) -> None:
        ends, end = list[int](), self.size
        for item in items:
            end += len(item)
            ends.append(end)
        self._pieces.append(b"".join(items))
        self.ends.fromlist(ends)
        self.times.fromlist([now] * len(ends))
        self.count += len(ends)
        self.size = end
        if self.count == _BLOCK:
            self.data()

    def data(self) -> bytes:
        if len(self._pieces) > 1:
            self._pieces = [b"".join(self._pieces)]
        return self._pieces[0]

    def start(self, at: int) -> int:
        return self.ends[at - 1] if at else 0

    def item(self, at: int) -> bytes:
        return self.data()[self.start(at) : self.ends[at]]


class Ring:
    """The newest items of this replica, as Pages.

    They lie in blocks. As objects of their own they would be as many as all others of the process, and every small
    object that a request makes would get the place that the oldest of them has just left: memory that is in no cache.
    """

    def __init__(self, keep: int, age: float, unix: Callable[[], float], word: str) -> None:
        """`keep` items and `age` seconds; `word` is this run's own."""
        self._keep, self._age, self._wall, self._word = keep, age, unix, word
        self._blocks: deque[_Block] = deque()
        self._left = 0
        """How many of the first block are gone."""
        self.first, self.next = 1, 1
        """The numbers of the oldest item and of the next one."""
        self.total = 0
        """Bytes of all items that there ever were."""

    def __len__(self) -> int:
        self._trim(self._wall())
        return self.next - self.first

    def extend(self, items: Sequence[bytes]) -> None:
        """Keep these."""
        now, blocks, size, put = self._wall(), self._blocks, _BLOCK, 0
        while put < len(items):
            if not blocks or blocks[-1].count == size:
                blocks.append(_Block(self.total))
            block = blocks[-1]
            some = items[put : put + size - block.count]
            block.take(some, now)
            put += len(some)
            self.next += len(some)
            self.total = block.before + block.size
        self._trim(now)

    def before(self, number: int) -> int:
        """How many bytes there ever were before that item, which is kept, or the next one."""
        if number == self.next:
            return self.total
        block, at = self._at(number)
        return block.before + block.start(at)

    def since(self, number: int, most: int, room: int) -> list[bytes]:
        """Items from that one on: at most `most`, of fewer bytes than `room` with one more for the end of each."""
        found: list[bytes] = []
        while number + len(found) < self.next:
            block, at = self._at(number + len(found))
            data, start = block.data(), block.start(at)
            for end in block.ends[at:]:
                room -= end - start + 1
                if room < 0 or len(found) == most:
                    return found
                found.append(data[start:end])
                start = end
        return found

    def when(self, number: int) -> float:
        """The time at which that item, which is kept, was put."""
        block, at = self._at(number)
        return block.times[at]

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
        size, found = 0, []
        for number in numbers:
            if size >= PAGE_BYTES:
                break
            block, at = self._at(number)
            item = block.item(at)
            size += len(item)
            found.append((self._place(number), item))
        return tuple(found)

    def _at(self, number: int) -> tuple[_Block, int]:
        place, at = divmod(number - self.first + self._left, _BLOCK)
        return self._blocks[place], at

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
        self._forget(self.next - self.first - self._keep)
        while self.first < self.next and (
            self.total - self.before(self.first) > ROOM or self._blocks[0].times[self._left] < now - self._age
        ):
            self._forget(1)

    def _forget(self, count: int) -> None:
        """So many of the oldest."""
        while count > 0:
            some = min(count, self._blocks[0].count - self._left)
            count -= some
            self.first += some
            self._left += some
            if self._left == self._blocks[0].count:
                self._blocks.popleft()
                self._left = 0
