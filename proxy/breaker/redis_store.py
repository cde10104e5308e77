"""The shared store over Redis: each operation is one script, and the door sees to it that none can hang.

1. A swap bears a word of its own, so it is not applied twice, and is known when the first try was applied and only its
   reply lost.
2. A push is bytes from anybody: what SWAP has not written is passed over.
"""

from __future__ import annotations

import itertools
import secrets
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any

from proxy.breaker import redis_scripts as scripts
from proxy.breaker.redis_door import LIMIT, QUIET, STEP, WORDS, RedisDoor
from proxy.breaker.redis_scripts import REPLICA_TTL, ROW_TTL, Keys
from proxy.breaker.store import Push, Snapshot, Stored, Swapped

__all__ = ["LIMIT", "QUIET", "STEP", "WORDS", "RedisStore"]  # the limits and words of the door are the store's

_CONNECTIONS = 4


class RedisStore:
    """A store.Store. Nothing is connected until it is used."""

    def __init__(
        self,
        url: str,
        namespace: str = "homeport",
        clock: Callable[[], float] = time.monotonic,
        timed: Callable[[str, float, str | None], None] = lambda operation, seconds, error: None,
    ) -> None:
        """`timed` is told of each swap, read, sync and subscribe: its name, its seconds, and the error's word.

        Raises ValueError when the URL (redis, rediss or unix) cannot be used; the text does not repeat it.
        """
        self._door = RedisDoor(url, clock, timed, _CONNECTIONS)
        self._keys = Keys.of(namespace)
        mine = secrets.token_hex(8)
        self._unused: Iterator[str] = (f"{mine}{count:x}" for count in itertools.count())

    def __repr__(self) -> str:
        return f"RedisStore({self._door.where})"

    async def swap(
        self, target: str, expected: int, new: Stored, *, not_before: float, not_after: float, lasting: bool
    ) -> Swapped:
        """See Store."""
        keys = (self._keys.lineage, self._keys.index, self._keys.row(target))
        window = (expected, not_before, not_after, 0 if lasting else ROW_TTL)
        row = (target, new.version, new.lineage, new.row, next(self._unused))
        args = (_lineage(), *window, self._keys.pushes, *row)
        return await self._door.run("swap", scripts.SWAP, keys, args, _swapped)

    async def read(self, targets: Collection[str]) -> tuple[float, Mapping[str, Stored]]:
        """See Store."""
        asked = tuple(targets)
        keys = (self._keys.lineage, self._keys.index, *map(self._keys.row, asked))
        args = (_lineage(), *asked)
        return await self._door.run("read", scripts.READ, keys, args, lambda reply: _read(asked, reply))

    async def sync(self, replica: str) -> Snapshot:
        """See Store."""
        keys = (self._keys.lineage, self._keys.index, self._keys.replicas)
        return await self._door.run("sync", scripts.SYNC, keys, (_lineage(), replica, REPLICA_TTL), _snapshot)

    async def listen(self, ready: Callable[[], None], heard: Callable[[Push], None]) -> None:
        """See Store. Ends with StoreError when the connection does, and within QUIET + STEP when it is dead."""

        def told(message: bytes) -> None:
            push = scripts.push(message)
            if push is not None:
                heard(push)

        await self._door.listen("subscribe", self._keys.pushes, ready, told)

    async def close(self) -> None:
        """See Store. What is under way ends with StoreError, and so does what comes after."""
        await self._door.close()


def _lineage() -> str:
    """A word for data that begins with this script."""
    return secrets.token_hex(8)


def _swapped(reply: list[Any]) -> Swapped:
    seconds, microseconds, lineage, applied, *row = reply
    stored = scripts.stored(*row) if len(row) == 3 else None
    return Swapped(applied == 1, stored, scripts.clock(seconds, microseconds), lineage.decode("ascii"))


def _read(asked: Sequence[str], reply: list[Any]) -> tuple[float, Mapping[str, Stored]]:
    seconds, microseconds, rows = reply
    found = {target: scripts.stored(*row) for target, row in zip(asked, rows, strict=True) if row}
    return scripts.clock(seconds, microseconds), found


def _snapshot(reply: list[Any]) -> Snapshot:
    seconds, microseconds, lineage, replicas, index = reply
    targets, versions = (name.decode(errors="replace") for name in index[::2]), map(int, index[1::2])
    now = scripts.clock(seconds, microseconds)
    return Snapshot(now, lineage.decode("ascii"), dict(zip(targets, versions, strict=True)), int(replicas))
