"""The journal: finished decisions and events, kept for a while in a ring of this replica's and in one the fleet shares.

1. An item is one JSON text, and nobody here looks inside. A line break in it, which JSON has between tokens only,
   becomes a space, so that items can be joined by lines.
2. `put` is on the way of requests: it appends, never waits, makes no task. What it cannot keep is dropped and counted.
3. A batch is offered under one number until it is known what became of it, so a lost reply makes no double. It is part
   of what is pending, and is never dropped in favour of what came later.
4. The shared journal gets at most TURNS commands in any second from one replica, whatever the load and whoever reads.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
from collections import Counter, deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, Protocol

from proxy.breaker.store import StoreError
from proxy.record.pages import BadPlace, Chunk, Pages, Ring

__all__ = ["BadPlace", "Chunk", "Journal", "JournalStatus", "Pages", "Shared"]

LARGEST: Final = 64 * 1024
"""Bytes of an item."""
BATCH: Final = 250 * 1024
"""Bytes of the items that one command takes; with what surrounds them it stays below 256 KiB."""
PENDING, PENDING_BYTES = 10_000, 16 * 1024 * 1024
"""Items and bytes that may wait for the shared journal."""
EVERY, APART, TURNS = 0.5, 0.25, 5
"""Seconds between flushes, seconds between early ones, and commands in any second."""
READY, LAST = 0.3, 0.5
"""Seconds that a reader waits for what is pending, and that the last flush takes at most."""
DROPS = ("too_large", "overflow", "memory", "store")
"""Why an item is dropped."""
_LINE_END: Final = ord("\n")
_REPLY = 0.05
"""Seconds that are left for Redis when a reader has waited for its turn."""


class Shared(Pages, Protocol):
    """What the replicas share. All of it raises StoreError, and nothing else of its own, when it cannot."""

    async def add(self, replica: str, number: int, items: Sequence[bytes]) -> None:
        """Put a batch at the end, once, however often it is offered; numbers of a replica grow.

        StoreError `memory`: it was not added, since the server's memory is needed for better things.
        """
        ...

    async def close(self) -> None:
        """Drop every connection."""
        ...


@dataclass(frozen=True, slots=True)
class JournalStatus:
    """What operators are told of the journal."""

    kind: str
    """memory or redis."""
    keep: int
    age: float
    held: int
    """Items in this replica's own ring."""
    pending: int
    """Items that are not known to be in the shared journal yet."""
    dropped: dict[str, int]
    """too_large: kept nowhere. Kept in the own ring alone: overflow (came too fast), memory, store (it was away)."""
    up: bool
    why: str
    """Why the shared journal is not used; empty while it is."""


@dataclass(frozen=True, slots=True)
class _Batch:
    number: int
    items: tuple[bytes, ...]
    at: float
    """When its newest item was put."""


class Journal:
    """Of one replica. `run` is a task of its own; all else may be called without it."""

    def __init__(
        self, keep: int, age: float, unix: Callable[[], float], shared: Shared | None, word: str | None = None
    ) -> None:
        """Keeps `keep` items (0: nothing is recorded) for `age` seconds, by the clock `unix`.

        `word` (letters and digits) is borne by this run alone; one is made up when none is given.
        """
        self._keep, self._age, self._wall, self._shared = keep, age, unix, shared
        self._word = word or secrets.token_hex(5)
        self._ring = Ring(keep, age, unix, self._word)
        self._most = min(keep, PENDING)
        self._queue: deque[tuple[float, bytes]] = deque()
        self._bytes = 0
        """Of the queue."""
        self._batch: _Batch | None = None
        self._number = 0
        self._dropped: Counter[str] = Counter()
        self._early, self._flushing = asyncio.Event(), asyncio.Lock()
        self._turns: deque[float] = deque(maxlen=TURNS)
        self._asked = float("-inf")
        self._why = ""

    def put(self, item: bytes, *, soon: bool = False) -> None:
        """Record it. `soon`: others should see it at once."""
        if not self._keep:
            return
        if len(item) > LARGEST:
            self._dropped["too_large"] += 1
            return
        # Asked for as a number: with a text `in` first tries whether that is one, which costs more than the search.
        if _LINE_END in item:
            item = item.replace(b"\n", b" ")
        at = self._ring.append(item)
        if self._shared is None:
            return
        self._queue.append((at, item))
        self._bytes += len(item)
        while self._queue and (self._pending > self._most or self._bytes > PENDING_BYTES):
            self._drop()
        if (soon or self._bytes >= BATCH) and not self._early.is_set():
            self._early.set()

    async def run(self) -> None:
        """Bring what is pending to the shared journal, until cancelled."""
        if self._shared is None or not self._keep:
            await asyncio.get_running_loop().create_future()
        while True:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(EVERY):
                    await self._early.wait()
            await asyncio.sleep(self._turn_in(APART))
            self._early.clear()
            # While it is away it is asked even though nothing is pending: status shall not go on saying so.
            if self._pending or self._why:
                await self._flush()
            if self._bytes >= BATCH and not self._why:
                self._early.set()

    def status(self) -> JournalStatus:
        """How it is now."""
        kind = "memory" if self._shared is None else "redis"
        facts = (kind, self._keep, self._age, len(self._ring), self._pending)
        return JournalStatus(*facts, dict(self._dropped), not self._why, self._why)

    async def reading(self) -> tuple[Pages, str | None]:
        """What to read now, within READY: the shared journal, or the own ring and the word why not the shared one.

        What this replica has put until now is in it. Only while the turns are used up may the newest half second of it
        not have arrived yet.
        """
        if self._shared is None or not self._keep:
            return self._ring, None
        if not self._why or self._now() - self._asked >= EVERY:
            try:
                async with asyncio.timeout(READY):
                    await self._catch_up(self._now() + READY - _REPLY)
            except TimeoutError:
                self._why = "timeout"
        return (self._ring, self._why) if self._why else (self._shared, None)

    async def close(self) -> None:
        """Bring what can be brought within LAST, and let go of the shared journal."""
        if self._shared is None:
            return
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(LAST):
                while self._pending:
                    await asyncio.sleep(self._turn_in(0))
                    await self._flush()
                    if self._why:
                        break
        self._most = 0
        self._drop_batch()
        while self._queue:
            self._drop()
        with contextlib.suppress(StoreError):
            await self._shared.close()

    async def _catch_up(self, until: float) -> None:
        upto, asked = self._ring.next, False
        # It is asked in any case: who gets the shared journal can count on one that has just answered.
        while not asked or (not self._why and self._ring.next - self._pending < upto):
            wait = self._turn_in(0) if self._pending else 0.0
            if self._now() + wait > until:
                return
            await asyncio.sleep(wait)
            await self._flush()
            asked = True

    async def _flush(self) -> None:
        """One command, if it may be sent now."""
        shared = self._shared
        if shared is None:
            return
        async with self._flushing:
            self._next_batch()
            if self._batch is not None and self._turn_in(0) > 0:
                # Somebody else took the turn that was waited for.
                return
            self._asked = self._now()
            try:
                if self._batch is None:
                    await shared.end()
                else:
                    self._turns.append(self._asked)
                    await shared.add(self._word, self._batch.number, self._batch.items)
                    self._batch = None
            except StoreError as error:
                self._why = error.word
            else:
                self._why = ""

    def _next_batch(self) -> None:
        oldest = self._wall() - self._age
        if self._batch is not None and self._batch.at < oldest:
            # Were it there, it would be gone by now.
            self._drop_batch()
        if self._batch is not None:
            return
        while self._queue and self._queue[0][0] < oldest:
            self._drop()
        items: list[bytes] = []
        size, at, most = 0, 0.0, max(1, self._most // 2)
        while self._queue and len(items) < most and size + len(self._queue[0][1]) < BATCH:
            at, item = self._queue.popleft()
            items.append(item)
            size += len(item) + 1
            self._bytes -= len(item)
        if items:
            self._number += 1
            self._batch = _Batch(self._number, tuple(items), at)

    @property
    def _pending(self) -> int:
        return len(self._queue) + (0 if self._batch is None else len(self._batch.items))

    def _drop(self) -> None:
        self._bytes -= len(self._queue.popleft()[1])
        self._dropped[self._reason()] += 1

    def _drop_batch(self) -> None:
        if self._batch is not None:
            self._dropped[self._reason()] += len(self._batch.items)
            self._batch = None

    def _reason(self) -> str:
        if not self._why:
            return "overflow"
        return "memory" if self._why in ("memory", "full") else "store"

    def _turn_in(self, apart: float) -> float:
        """Seconds until a command may be sent, `apart` from the one before."""
        turns = self._turns
        soonest = turns[-1] + apart if turns else 0.0
        if len(turns) == TURNS:
            soonest = max(soonest, turns[0] + 1.0)
        return max(0.0, soonest - self._now())

    @staticmethod
    def _now() -> float:
        # The time of the timers: turns and sleeps are of one clock.
        return asyncio.get_running_loop().time()
