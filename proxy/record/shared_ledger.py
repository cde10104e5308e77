"""The book of revisions that a fleet shares over Redis: read, and replaced by whoever knew the newest.

1. A book replaces another only if its writer has seen that one; of two who write at once one loses, and reads.
2. A store that has lost the book, or holds an older one, is filled by whoever knows a newer.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from proxy.breaker.redis_door import RedisDoor
from proxy.breaker.redis_scripts import Script
from proxy.breaker.store import StoreError
from proxy.config.ledger import Ledger, decoded, encoded


class SharedLedger:
    """The book under one namespace."""

    def __init__(self, door: RedisDoor, namespace: str) -> None:
        self._door, self._keys = door, (f"{{{namespace}}}:config:book",)

    async def number(self) -> int:
        """Of the book that is kept; 0 for none. Raises StoreError."""
        return await self._door.run("book_number", _NUMBER, self._keys, (), lambda reply: int(reply[0]))

    async def read(self) -> Ledger:
        """The book; an empty one for none. Raises StoreError, also when somebody else's data lies there."""
        return await self._door.run("book_read", _READ, self._keys, (), _book)

    async def replace(self, expected: int, book: Ledger) -> bool:
        """Keep `book` if number `expected` is kept now; False if another one is. Raises StoreError."""
        return await self._write("book_replace", expected, book)

    async def fill(self, book: Ledger) -> bool:
        """Keep `book` if it is newer than what is kept. Raises StoreError."""
        return await self._write("book_fill", -1, book)

    async def close(self) -> None:
        """Drop every connection."""
        await self._door.close()

    async def _write(self, operation: str, expected: int, book: Ledger) -> bool:
        args = (expected, book.number, encoded(book))
        return await self._door.run(operation, _WRITE, self._keys, args, lambda reply: int(reply[0]) == 1)


def _book(reply: Sequence[Any]) -> Ledger:
    try:
        return decoded(reply[0]) if reply else Ledger()
    except ValueError:
        raise StoreError("protocol") from None


_FOUND = """
local found = redis.call('HGET', KEYS[1], 'number')
local number = found and tonumber(found) or 0
"""
_NUMBER = Script.of(_FOUND + "return {number}")
_READ = Script.of("local book = redis.call('HGET', KEYS[1], 'book') if book then return {book} end return {}")
_WRITE = Script.of(
    _FOUND
    + """
local expected, new = tonumber(ARGV[1]), tonumber(ARGV[2])
if expected == -1 then
  if number >= new then return {0} end
elseif number ~= expected then
  -- Sent again because the first reply was lost: the very book is there already.
  if number == new and redis.call('HGET', KEYS[1], 'book') == ARGV[3] then return {1} end
  return {0}
end
redis.call('HSET', KEYS[1], 'number', ARGV[2], 'book', ARGV[3])
return {1}
"""
)
"""KEYS book. ARGV the number that has to be there (-1: any older one), the new number, the book. → 1 if it is kept."""
