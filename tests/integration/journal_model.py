"""What the shared journal promises, in memory, for tests in virtual time; and what may befall it.

It is held to the same promises as the one on Redis by test_redis_journal.py.
"""

from __future__ import annotations

from collections.abc import Sequence

from proxy.breaker.store import StoreError
from proxy.record.pages import RING_PLACE, SHARED_PLACE, BadPlace, Chunk


class JournalModel:
    """A journal.Shared that keeps everything. Journals in one process share it as replicas share a Redis."""

    def __init__(self) -> None:
        self.items: list[bytes] = []
        self.away: str | None = None
        """The word with which it refuses."""
        self.loses_replies = False
        """It does what it is told, and nobody hears of it."""
        self._last: dict[str, int] = {}

    async def add(self, replica: str, number: int, items: Sequence[bytes]) -> None:
        self._refuse()
        if self._last.get(replica, 0) < number:
            self._last[replica] = number
            self.items.extend(items)
        if self.loses_replies:
            raise StoreError("timeout")

    async def older(self, than: str | None, most: int) -> Chunk:
        self._refuse()
        stop = len(self.items) if than is None else self._number(than)
        if stop is None:
            return Chunk((), False, gap=True)
        start = max(0, stop - most)
        return Chunk(
            tuple((_place(each), self.items[each]) for each in range(stop - 1, start - 1, -1)), start > 0, False
        )

    async def newer(self, than: str | None) -> Chunk:
        self._refuse()
        number = -1 if than is None else self._number(than)
        start = 0 if number is None else number + 1
        found = tuple((_place(each), self.items[each]) for each in range(start, len(self.items)))
        return Chunk(found, False, number is None and bool(found))

    async def end(self) -> str:
        self._refuse()
        return _place(len(self.items) - 1)

    async def close(self) -> None:
        self.away = "refused"

    def _refuse(self) -> None:
        if self.away is not None:
            raise StoreError(self.away)

    def _number(self, place: str) -> int | None:
        if RING_PLACE.fullmatch(place):
            return None
        if not SHARED_PLACE.fullmatch(place):
            raise BadPlace("not a place in the journal")
        number = int(place.partition("-")[2].partition(".")[0]) - 1
        return number if number < len(self.items) else None


def _place(number: int) -> str:
    return f"{'1' if number >= 0 else '0'}-{number + 1}.0"
