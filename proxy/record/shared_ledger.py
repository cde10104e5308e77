"""The book of revisions that a fleet shares over Redis: read, and replaced by whoever knew the newest.

1. A book replaces another only if its writer has seen that very one, which its mark tells and its number does not: a
   store that was flushed may be filled from two sides. Of two who write at once one loses, and reads.
2. What lies there and is no book is never obeyed, and never overwritten by a reader.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from proxy.beside import beside
from proxy.breaker.redis_door import RedisDoor
from proxy.breaker.redis_scripts import Script
from proxy.config.ledger import Ledger, decoded, encoded


class SharedLedger:
    """The book under one namespace."""

    def __init__(self, door: RedisDoor, namespace: str) -> None:
        self._door, self._keys = door, (f"{{{namespace}}}:config:book",)

    async def mark(self) -> str:
        """Of the book that is kept; empty for none. Raises StoreError."""
        return await self._door.run("book_mark", _MARK, self._keys, (), _mark)

    async def read(self) -> Ledger:
        """The book; an empty one for none. Raises StoreError, also when somebody else's data lies there."""
        return await self._door.run("book_read", _READ, self._keys, (), _book)

    async def replace(self, seen: Ledger, book: Ledger) -> bool:
        """Keep `book` in place of `seen`; False if another one is kept by now. Raises StoreError."""
        return await self._write("book_replace", seen, book)

    async def fill(self, seen: Ledger, book: Ledger) -> bool:
        """As `replace`, where the store has lost what came after `seen`. Raises StoreError."""
        return await self._write("book_fill", seen, book)

    async def close(self) -> None:
        """Drop every connection."""
        await self._door.close()

    async def _write(self, operation: str, seen: Ledger, book: Ledger) -> bool:
        args = (seen.mark, book.mark, await beside(encoded, book))
        return await self._door.run(operation, _WRITE, self._keys, args, lambda reply: int(reply[0]) == 1)


def _mark(reply: Sequence[Any]) -> str:
    return reply[0].decode() if reply[0] else ""


def _book(reply: Sequence[Any]) -> Ledger:
    mark, text = reply
    if mark is None:
        return Ledger()
    book = decoded(text or b"")
    if book.mark != mark.decode():
        raise ValueError("a mark of another book")
    return book


_MARK = Script.of("return {redis.call('HMGET', KEYS[1], 'mark')[1]}")
_READ = Script.of("return redis.call('HMGET', KEYS[1], 'mark', 'book')")
_WRITE = Script.of(
    """
local mark = redis.call('HMGET', KEYS[1], 'mark')[1] or ''
-- The new one is there already when this was sent again because the first reply was lost.
if mark ~= ARGV[1] and mark ~= ARGV[2] then return {0} end
redis.call('HSET', KEYS[1], 'mark', ARGV[2], 'book', ARGV[3])
return {1}
"""
)
"""KEYS book. ARGV the mark that has to be there, empty for none; the new mark, the book. → 1 if it is kept."""
