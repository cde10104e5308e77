"""A shared store in memory with the contract of the real one: its clock, network and mishaps are the test's to choose.

1. What the contract tests ask of Redis they ask of this: a property test over it says something about the real store.
2. What is sent to a frozen store is executed when it thaws, whether or not anybody still waits, as Redis does.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Collection, Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field
from typing import Any, TypeVar

from proxy.breaker.store import Push, Snapshot, Store, Stored, StoreError, Swapped

ROW_TTL, REPLICA_TTL = 24 * 3600.0, 5.0
LIMIT = 0.25
"""Seconds that a caller waits."""
SILENCE = 1.25
"""Seconds after which who listens notices that nobody is there."""
_WRITES_REFUSED = ("full", "readonly")
_T = TypeVar("_T")


@dataclass
class Data:
    """What a store holds. Times are its own."""

    lineage: str = ""
    rows: dict[str, tuple[Stored, float | None]] = field(default_factory=dict)
    """With when each is forgotten."""
    shown: dict[str, float] = field(default_factory=dict)
    """When each replica was last heard of."""


class StoreModel:
    """The server. Each replica has a handle."""

    def __init__(self, clock: Callable[[], float]) -> None:
        """`clock` gives the server's time in seconds, until it is stepped."""
        self.data = Data()
        self.refuse: str | None = None
        """A StoreError's word for everything that is asked: `full` and `readonly` refuse writes alone."""
        self.delay: Callable[[str], tuple[float, float]] | None = None
        """For each operation, by name: seconds on the way there and on the way back. None: neither."""
        self.deliver: Callable[[Push], Sequence[float]] = lambda push: (0.0,)
        """For each push to each listener: after how many seconds it arrives. () loses it, two double it."""
        self.operations: Counter[str] = Counter()
        """That have been executed, by replica."""
        self._clock, self._step, self._born = clock, 0.0, 0
        self._thawed: asyncio.Event | None = None
        self._listeners: set[_Listener] = set()
        self._under_way: set[asyncio.Task[Any]] = set()

    def handle(self, replica: str = "") -> Store:
        """One replica's connection."""
        return Handle(self, replica)

    def now(self) -> float:
        """The server's clock."""
        return self._clock() + self._step

    def step_clock(self, seconds: float) -> None:
        """Somebody sets the server's clock."""
        self._step += seconds

    def freeze(self) -> None:
        """Nothing is answered until `thaw`; who listens notices after a while."""
        if self._thawed is None:
            self._thawed = asyncio.Event()
            asyncio.get_running_loop().call_later(SILENCE, self._silent, self._thawed)

    def thaw(self) -> None:
        """What was sent meanwhile is executed now."""
        if self._thawed is not None:
            self._thawed.set()
            self._thawed = None

    def flush(self) -> None:
        """All data is lost."""
        self.data = Data()

    def snapshot(self) -> Data:
        """What a replica of the server has got so far, for `rollback`."""
        return deepcopy(self.data)

    def rollback(self, data: Data) -> None:
        """Fail over to a server that has not got the latest writes."""
        self.data = deepcopy(data)

    def cut_pubsub(self, word: str = "refused") -> None:
        """Break the connection of everybody who listens."""
        for listener in list(self._listeners):
            listener.cut(word)

    def _silent(self, thawed: asyncio.Event) -> None:
        if not thawed.is_set():
            self.cut_pubsub("timeout")

    # -- what handles send

    async def ask(self, replica: str, operation: str, work: Callable[[], _T]) -> _T:
        """Execute `work` on the server."""
        if self.delay is None and self._thawed is None:
            await asyncio.sleep(0)
            return self._execute(replica, operation, work)
        served = asyncio.ensure_future(self._served(replica, operation, work))
        self._under_way.add(served)
        served.add_done_callback(self._under_way.discard)
        # Nobody may be there any more to take what comes of it.
        served.add_done_callback(lambda late: late.cancelled() or late.exception())
        done, _ = await asyncio.wait({served}, timeout=LIMIT)
        if not done:
            raise StoreError("timeout")
        return served.result()

    async def _served(self, replica: str, operation: str, work: Callable[[], _T]) -> _T:
        there, back = self.delay(operation) if self.delay is not None else (0.0, 0.0)
        await asyncio.sleep(there)
        while self._thawed is not None:
            await self._thawed.wait()
        result = self._execute(replica, operation, work)
        await asyncio.sleep(back)
        return result

    def _execute(self, replica: str, operation: str, work: Callable[[], _T]) -> _T:
        if self.refuse is not None and (operation in ("swap", "sync") or self.refuse not in _WRITES_REFUSED):
            raise StoreError(self.refuse)
        self.operations[replica] += 1
        return work()

    def swap(self, target: str, expected: int, new: Stored, within: tuple[float, float], *, lasting: bool) -> Swapped:
        """As SWAP does."""
        now, lineage = self.now(), self.lineage()
        current = self.row(target)
        version = current.version if current is not None else 0
        if lineage != new.lineage or version != expected or not within[0] <= now <= within[1]:
            return Swapped(False, current, now, lineage)
        self.data.rows[target] = new, None if lasting else now + ROW_TTL
        for listener in list(self._listeners):
            push = Push(target, new, now)
            for seconds in self.deliver(push):
                listener.send(push, seconds)
        return Swapped(True, new, now, lineage)

    def row(self, target: str) -> Stored | None:
        """Unless it is forgotten."""
        stored, ends = self.data.rows.get(target, (None, None))
        if ends is not None and self.now() >= ends:
            del self.data.rows[target]
            return None
        return stored

    def lineage(self) -> str:
        """A new one if the data is."""
        if not self.data.lineage:
            self._born += 1
            self.data.lineage = f"lineage{self._born}"
        return self.data.lineage

    def sync(self, replica: str) -> Snapshot:
        """As SYNC does."""
        now = self.now()
        shown = {name: at for name, at in self.data.shown.items() if now - REPLICA_TTL < at <= now}
        self.data.shown = shown | {replica: now}
        versions = {target: row.version for target in list(self.data.rows) if (row := self.row(target)) is not None}
        return Snapshot(now, self.lineage(), versions, len(self.data.shown))

    async def listen(self, replica: str, ready: Callable[[], None], heard: Callable[[Push], None]) -> None:
        """As a connection that subscribes."""
        await self.ask(replica, "subscribe", lambda: None)
        listener = _Listener(heard)
        self._listeners.add(listener)
        try:
            ready()
            raise StoreError(await listener.over)
        finally:
            self._listeners.discard(listener)


class Handle:
    """A replica's Store."""

    def __init__(self, model: StoreModel, replica: str) -> None:
        self._model, self._replica = model, replica

    async def swap(
        self, target: str, expected: int, new: Stored, *, not_before: float, not_after: float, lasting: bool
    ) -> Swapped:
        """See Store."""
        model, within = self._model, (not_before, not_after)
        return await model.ask(
            self._replica, "swap", lambda: model.swap(target, expected, new, within, lasting=lasting)
        )

    async def read(self, targets: Collection[str]) -> tuple[float, Mapping[str, Stored]]:
        """See Store."""
        model = self._model

        def rows() -> tuple[float, Mapping[str, Stored]]:
            return model.now(), {target: row for target in targets if (row := model.row(target)) is not None}

        return await model.ask(self._replica, "read", rows)

    async def sync(self, replica: str) -> Snapshot:
        """See Store."""
        return await self._model.ask(self._replica, "sync", lambda: self._model.sync(replica))

    async def listen(self, ready: Callable[[], None], heard: Callable[[Push], None]) -> None:
        """See Store."""
        await self._model.listen(self._replica, ready, heard)

    async def close(self) -> None:
        """See Store."""


class _Listener:
    """One subscription."""

    def __init__(self, heard: Callable[[Push], None]) -> None:
        self._heard = heard
        self.over: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    def send(self, push: Push, seconds: float) -> None:
        asyncio.get_running_loop().call_later(seconds, self._arrive, push)

    def cut(self, word: str) -> None:
        if not self.over.done():
            self.over.set_result(word)

    def _arrive(self, push: Push) -> None:
        if not self.over.done():
            self._heard(push)
