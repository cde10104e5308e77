"""What befalls the audited fleet while callers are at work: in a fixed order, each at a share of the run.

1. Nothing that Redis has acknowledged is lost by a kill: it keeps a log of what it does. What is lost when it is
   emptied was moved aside in the same step, so that the audit can still read it.
2. A replica is killed only while Redis has been well for a while, so that it has kept to itself no more than it must.
"""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping

from tests.integration.redis_server import RedisServer
from tests.long.audited_fleet import Fleet, Member
from tests.long.callers import Callers, Plan
from tests.long.evidence import View
from tests.long.scripted_upstream import Upstream

_RATE, _AT_ONCE = 45.0, 150
_SPREAD = 3.0
"""Seconds after a trouble with the store in which replicas may not rely on it yet."""
_MOVE_ASIDE = """
for _, key in ipairs(redis.call('KEYS', '*decisions*')) do
  redis.call('COPY', key, key, 'DB', 1, 'REPLACE')
end
redis.call('FLUSHDB')
"""
ASIDE = 1
"""The database that keeps the journal of before Redis was emptied."""


class Run:
    """Callers at work on a fleet, and what they have seen so far."""

    def __init__(self, fleet: Fleet, callers: Callers, upstreams: Mapping[str, Upstream]) -> None:
        self.fleet, self._callers, self.upstreams = fleet, callers, upstreams
        self.views: list[View] = []
        self.troubles: list[tuple[float, float]] = []
        """When replicas could not rely on the store."""
        self.done: dict[str, float] = {}
        """When each misfortune was over, in Unix seconds."""
        self._asked = 0
        self._count = 1

    async def drive(self, given: Iterator[Plan], count: int) -> None:
        """Ask all of it, to the replicas in turn, and wait for every answer."""
        self._count = count
        room = asyncio.Semaphore(_AT_ONCE)

        async def one(plan: Plan, member: Member) -> None:
            async with room:
                self.views.append(await self._callers.ask(member.replica.api, member.name, plan))

        async with asyncio.TaskGroup() as tasks:
            for plan in given:
                members = self.fleet.members
                tasks.create_task(one(plan, members[self._asked % len(members)]))
                self._asked += 1
                await asyncio.sleep(1 / _RATE)

    async def until(self, share: float) -> None:
        """Wait until so much of the run was asked."""
        while self._asked < share * self._count:  # noqa: ASYNC110  # so seldom that nobody need tell
            await asyncio.sleep(0.05)

    @contextlib.asynccontextmanager
    async def trouble(self) -> AsyncIterator[None]:
        """Replicas cannot rely on the store meanwhile, and a little longer."""
        began = time.time()
        try:
            yield
        finally:
            self.troubles.append((began, time.time() + _SPREAD))


EMPTIED = "Redis emptied"


async def befall(run: Run, redis: RedisServer) -> None:
    """All of them, one after the other."""
    north, south = run.upstreams["north"], run.upstreams["south"]
    order: list[tuple[float, str, Callable[[], Awaitable[None]]]] = [
        (0.06, "Redis killed", lambda: _killed(run, redis)),
        (0.16, "a source away", lambda: _away(north)),
        (0.24, "Redis frozen", lambda: _frozen(run, redis)),
        (0.36, "a replica killed", lambda: _replaced(run)),
        (0.48, EMPTIED, lambda: _emptied(run, redis)),
        (0.58, "Redis frozen and a source away", lambda: _both(_frozen(run, redis), _away(south))),
        (0.72, "Redis killed and a source away", lambda: _both(_killed(run, redis), _away(north))),
        (0.86, "Redis frozen again", lambda: _frozen(run, redis)),
    ]
    for share, name, strike in order:
        await run.until(share)
        await strike()
        run.done[name] = time.time()


async def _both(one: Awaitable[None], other: Awaitable[None]) -> None:
    await asyncio.gather(one, other)


async def _killed(run: Run, redis: RedisServer) -> None:
    async with run.trouble():
        await asyncio.to_thread(redis.kill)
        await asyncio.sleep(3)
        await asyncio.to_thread(redis.restart)


async def _frozen(run: Run, redis: RedisServer) -> None:
    async with run.trouble():
        redis.pause()
        try:
            await asyncio.sleep(3)
        finally:
            redis.resume()


async def _emptied(run: Run, redis: RedisServer) -> None:
    async with run.trouble():
        await asyncio.to_thread(redis.command, "EVAL", _MOVE_ASIDE, "0")
        await asyncio.to_thread(redis.command, "SCRIPT", "FLUSH")


async def _away(upstream: Upstream) -> None:
    upstream.stop()
    await asyncio.sleep(3)
    await upstream.start()


async def _replaced(run: Run) -> None:
    await run.fleet.kill(run.fleet.members[1])
    await asyncio.sleep(1)
    await run.fleet.add()
