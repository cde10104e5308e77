"""The journal: finished decisions and events, kept for a while in a ring of this replica's and in one the fleet shares.

1. An item is one JSON text, and nobody here looks inside. A line break in it, which JSON has between tokens only,
   becomes a space, so that items can be joined by lines.
2. `put` and `extend` are on the way of requests: they append, never wait, make no task. What cannot be kept is dropped
   and counted.
3. A batch is offered under one number until it is known what became of it, so a lost reply makes no double. It is part
   of what is pending, and is never dropped in favour of what came later.
4. What else is pending is the newest of the ring, and nowhere else: as objects of their own thousands of items would
   make every request slower (see pages.py).
5. The shared journal gets at most TURNS commands in any second from one replica, whatever the load and whoever reads.
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
        self._from, self._before = self._ring.next, self._ring.total
        """The first item that waits for a batch, and how many bytes there were before it. Whether so many may wait is
        looked at when somebody asks (`_settle`): not whenever one comes.
        """
        self._batch: _Batch | None = None
        self._number = 0
        self._dropped: Counter[str] = Counter()
        self._early, self._flushing = asyncio.Event(), asyncio.Lock()
        self._hurried = False
        """`_early` is set."""
        self._turns: deque[float] = deque(maxlen=TURNS)
        self._asked = float("-inf")
        self._why = ""

    def put(self, item: bytes, *, soon: bool = False) -> None:
        """Record it. `soon`: others should see it at once."""
        self.extend([item], soon=soon)

    def extend(self, items: Sequence[bytes], *, soon: bool = False) -> None:
        """Record these."""
        if not self._keep:
            return
        told: list[bytes] = []
        for item in items:
            if len(item) > LARGEST:
                self._dropped["too_large"] += 1
            # Asked for as a number: with a text `in` first tries whether that is one, which costs more than the search.
            elif _LINE_END in item:
                told.append(item.replace(b"\n", b" "))
            else:
                told.append(item)
        ring = self._ring
        ring.extend(told)
        if self._shared is not None and not self._hurried and (soon or ring.total - self._before >= BATCH):
            self._settle()
            if soon or ring.total - self._before >= BATCH:
                self._hurry()

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
            self._hurried = False
            # While it is away it is asked even though nothing is pending: status shall not go on saying so.
            if self._pending or self._why:
                await self._flush()
            self._settle()
            if self._ring.total - self._before >= BATCH and not self._why:
                self._hurry()

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
                self._is("timeout")
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
        self._settle()
        self._drop_batch()
        self._most = 0
        self._settle()
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
                    self._settle()
                    self._batch = None
            except StoreError as error:
                self._is(error.word)
            else:
                self._is("")

    def _next_batch(self) -> None:
        self._settle()
        oldest = self._wall() - self._age
        if self._batch is not None and self._batch.at < oldest:
            # Were it there, it would be gone by now.
            self._drop_batch()
        if self._batch is not None:
            return
        items = self._ring.since(self._from, max(1, self._most // 2), BATCH)
        if items:
            self._number += 1
            self._begin_at(self._from + len(items))
            self._batch = _Batch(self._number, tuple(items), self._ring.when(self._from - 1))

    @property
    def _offered(self) -> int:
        return 0 if self._batch is None else len(self._batch.items)

    @property
    def _pending(self) -> int:
        if self._shared is None:
            return 0
        self._settle()
        return self._ring.next - self._from + self._offered

    def _hurry(self) -> None:
        self._hurried = True
        self._early.set()

    def _settle(self) -> None:
        """Drop what is more than may wait, and what is too old to: before anybody is told of it, and before anything
        changes how much may wait, or why it has to.
        """
        ring = self._ring
        may_wait = min(len(ring), max(0, self._most - self._offered))
        first = max(self._from, ring.next - may_wait)
        while ring.total - ring.before(first) > PENDING_BYTES:
            first += 1
        if first > self._from:
            self._dropped[self._reason()] += first - self._from
            self._begin_at(first)

    def _begin_at(self, number: int) -> None:
        self._from, self._before = number, self._ring.before(number)

    def _is(self, why: str) -> None:
        self._settle()
        self._why = why

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
