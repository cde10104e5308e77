"""One replica of a fleet without HTTP: store, link and keeper, joined as app.py joins them. Run with SOCKET and URL.

1. It does what it is told over SOCKET, in lines of JSON: an order, `ready`, `go`, `stop`, the result. Each order is
   done by a new store, link and keeper, so that none inherits what another left.
2. Stamps are CLOCK_MONOTONIC in ns, which all processes of one machine share.
3. Attempts are simulated: a pause, then a failure. Everything between them is the code that `homeport serve` runs.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import secrets
import signal
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterable
from typing import Any

import uvloop

from proxy.breaker.keeper import Keeper
from proxy.breaker.link import Link
from proxy.breaker.permit import Guard, Permit, Verdict
from proxy.breaker.redis_store import RedisStore
from proxy.breaker.state import Act, Event, Hears, Moved, Operate, Policy, State, Word

_BAD = Verdict(Hears.BAD, "benchmark")
_LIMIT = 5.0
"""Seconds for anything that a healthy store does at once."""
Order = dict[str, Any]


class _Facts:
    """Nobody is told."""

    def moved(self, target: str, move: Moved) -> None: ...

    def link(self, *, up: bool, why: str) -> None: ...

    def propagated(self, seconds: float) -> None: ...


class _Watching:
    """Hears what the link tells the keeper, and notes when an open target first shows here."""

    def __init__(self, link: Link, policy: Policy) -> None:
        self.opened: dict[int, int] = {}
        """Epoch → stamp."""
        self._policy, self._news = policy, asyncio.Event()
        self.keeper = Keeper(
            time.monotonic, lambda: secrets.token_hex(8), random.random, lambda target, move: None, link
        )
        link.serve(self)

    def changed(self, target: str, before: State, after: State) -> None:
        self.keeper.changed(target, before, after)
        if self.keeper.look(Guard(target, None, self._policy)).word is Word.OPEN:
            self.opened.setdefault(after.epoch, time.monotonic_ns())
        self._changed()

    def flipped(self) -> None:
        self.keeper.flipped()
        self._changed()

    def unheard(self) -> Iterable[tuple[str, list[Event]]]:
        return self.keeper.unheard()

    def _changed(self) -> None:
        self._news.set()
        self._news = asyncio.Event()

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until `condition`, which is asked again whenever a view or the link has changed."""
        async with asyncio.timeout(_LIMIT):
            while not condition():
                await self._news.wait()


class _Replica:
    """What one order is done with."""

    def __init__(self, url: str, order: Order) -> None:
        self.policy = Policy(cooldown=order["cooldown"], cooldown_max=order["cooldown"])
        self.link = Link(
            RedisStore(url, order["namespace"]), secrets.token_hex(5), time.monotonic, random.random, _Facts()
        )
        self.watching = _Watching(self.link, self.policy)
        self.keeper = self.watching.keeper
        self.guards = [Guard(f"target {number}", None, self.policy) for number in range(order["targets"])]
        for guard in self.guards:
            self.keeper.watch(guard)

    @contextlib.asynccontextmanager
    async def linked(self) -> AsyncIterator[None]:
        """Connected, and current."""
        running = asyncio.create_task(self.link.run())
        try:
            await self.watching.until(lambda: self.link.up)
            yield
        finally:
            running.cancel()
            await asyncio.gather(running, return_exceptions=True)
            await self.link.close()

    async def trip(self, guard: Guard) -> int:
        """As many failures as it takes; when the last of them was met."""
        at = 0
        for number in range(self.policy.failure_threshold):
            permit = await self.keeper.admit(guard, f"req_{number}")
            if not isinstance(permit, Permit):
                raise RuntimeError(f"{guard.target} is {permit.word} before it was tripped")
            at = time.monotonic_ns()
            self.keeper.settle(permit, _BAD)
        return at

    def word(self, guard: Guard) -> Word:
        """What the fleet's view of it is here."""
        return self.link.view(guard.target).circuit.word


async def _trips(replica: _Replica, order: Order) -> Order:
    """Trip one target again and again, an operator's reset between: epoch → when the last failure was met."""
    guard, tripped = replica.guards[0], {}
    for _ in range(order["trips"]):
        at = await replica.trip(guard)
        await replica.watching.until(lambda: replica.word(guard) is Word.OPEN)
        tripped[replica.link.view(guard.target).epoch] = at
        await asyncio.sleep(order["pause"])
        if not await replica.keeper.operate(guard.target, replica.policy, Operate(Act.RESET)):
            raise RuntimeError("the store did not take a reset")
        await replica.watching.until(lambda: replica.word(guard) is Word.CLOSED)
        # Never in step with anything that has a rhythm of its own, such as polls.
        await asyncio.sleep(random.uniform(0.01, 0.03))
    return {"tripped": tripped}


async def _watch(replica: _Replica, stop: asyncio.Event) -> Order:
    await stop.wait()
    return {"opened": replica.watching.opened}


async def _dead(replica: _Replica, order: Order, stop: asyncio.Event) -> Order:
    """Callers whose first tier never serves: every attempt's kind, start and end."""
    attempts: list[tuple[str, int, int]] = []
    guard = replica.guards[0]

    async def call() -> None:
        await asyncio.sleep(random.random() * order["rest"])
        while not stop.is_set():
            permit = await replica.keeper.admit(guard, "req_bench")
            if isinstance(permit, Permit):
                began = time.monotonic_ns()
                await asyncio.sleep(random.uniform(0.01, 0.03))
                replica.keeper.settle(permit, _BAD)
                attempts.append((permit.kind, began, time.monotonic_ns()))
            # As long as the fallback takes, and the caller until the next question.
            await asyncio.sleep(random.uniform(0.5, 1.5) * order["rest"])

    await asyncio.gather(*(call() for _ in range(order["callers"])))
    return {"attempts": attempts}


async def _ask(replica: _Replica, order: Order, stop: asyncio.Event) -> Order:
    """Callers of many targets that have all just tripped: when each asked, and how many ns its answer took."""
    asked: list[tuple[int, int]] = []
    for guard in replica.guards:
        if replica.word(guard) is Word.CLOSED:
            with contextlib.suppress(RuntimeError):
                # Another replica was faster.
                await replica.trip(guard)

    async def call() -> None:
        while not stop.is_set():
            began = time.monotonic_ns()
            permit = await replica.keeper.admit(random.choice(replica.guards), "req_bench")
            asked.append((began, time.monotonic_ns() - began))
            if isinstance(permit, Permit):
                await asyncio.sleep(random.uniform(0.005, 0.015))
                replica.keeper.settle(permit, _BAD)
            await asyncio.sleep(random.uniform(0.5, 1.5) * order["rest"])

    await asyncio.gather(*(call() for _ in range(order["callers"])))
    return {"asked": asked}


async def _do(url: str, order: Order, told: asyncio.StreamReader, tell: Callable[[Order], None]) -> Order:
    replica = _Replica(url, order)
    async with replica.linked():
        tell({"ready": True})
        await told.readline()
        if order["do"] == "trip":
            return await _trips(replica, order)
        stop = asyncio.Event()
        stopping = asyncio.create_task(told.readline())
        stopping.add_done_callback(lambda _: stop.set())
        match order["do"]:
            case "watch":
                return await _watch(replica, stop)
            case "dead":
                return await _dead(replica, order, stop)
            case "ask":
                return await _ask(replica, order, stop)
            case other:
                raise ValueError(other)


def _say() -> None:
    for task in asyncio.all_tasks():
        task.print_stack()
    sys.stderr.flush()


async def _serve(path: str, url: str) -> None:
    told, writer = await asyncio.open_unix_connection(path)
    # Who waits too long for this process asks what it waits for.
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, _say)

    def tell(said: Order) -> None:
        writer.write(json.dumps(said).encode() + b"\n")

    while line := await told.readline():
        tell(await _do(url, json.loads(line), told, tell))
    writer.close()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(sys.argv[1], sys.argv[2]))
