"""What is done beside requests, and whether one of them waits for it: reloads, flushes of the journal, a lost Redis.

1. The same paced load is sent with and without, in turn, so that both meet the same machine; it asks 200 assistants.
2. Each side proves that what it is about was done, or not: a quiet round that was quiet by mistake ends the run.
3. Callers wait for what they ask; how late the event loop was is Homeport's own word, of the same moments (`lag.py`).
4. A flush happens five times a second wherever records are shared, so the side without is a second Homeport, on the
   same Redis, that keeps no records.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from collections import defaultdict
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path

from tests.benchmarks import lag, load, scrape, settings
from tests.benchmarks.report import Measure
from tests.benchmarks.rounds import Plan, Samples
from tests.benchmarks.scrape import ASSISTANTS, CALLERS
from tests.benchmarks.settings import Serving
from tests.integration import redis_server

_LASTS = 4.0
"""Seconds that one side of a round lasts."""
_REST = 1.5
"""Seconds until what a side has begun is over: who watches a file that changed reads it once more."""
KINDS = {
    "reload": f"reloads, {ASSISTANTS} assistants",
    "reconnect": "a Redis that hangs up",
    "journal": "the journal's flush",
}
SHOWN = ("without, p99", "with, p99", "added to p99", "added to max")

MEASURES = tuple(
    measure
    for key, title in KINDS.items()
    for measure in (
        Measure(key, f"ms of a request, {title}", must=10, absolute=True, shown=SHOWN, owes="added to p99"),
        lag.measure(key, title, SHOWN[:3]),
    )
)
Disturb = Callable[[], Awaitable[object]]


class Beside:
    """One whole section; everything that it starts ends with `stack`."""

    def __init__(self, plan: Plan, folder: Path, stack: contextlib.ExitStack) -> None:
        self._plan, self._folder, self._stack = plan, folder, stack
        self._redis = stack.enter_context(redis_server.running())
        self._late = {kind: (lag.Looks(), lag.Looks()) for kind in KINDS}
        self.samples: Samples = defaultdict(lambda: defaultdict(list))

    async def go(self) -> None:
        """All measures. Raises NotStarted and WrongAnswer."""
        port = await settings.upstream(self._folder, self._stack)
        store = f"{self._redis.url}/?namespace=beside"
        serving = await settings.serve(self._folder, self._stack, port, ASSISTANTS, store=store)
        silent = await settings.serve(
            self._folder, self._stack, port, ASSISTANTS, store=f"{store}-silent", decisions={"keep": 0}
        )
        await _side(serving, None, 1.0)
        before = self._flushes()
        await _side(silent, None, 1.0)
        # What is begun is flushed within a fifth of a second; those before it may still be on their way.
        if self._flushes() > before + 2:
            raise load.WrongAnswer("a Homeport that keeps no records sent some to Redis")
        for number in range(self._plan.rounds):
            sys.stderr.write(f"beside: round {number + 1} of {self._plan.rounds}\n")
            await self._both("reload", serving, serving, lambda: settings.reload(serving))
            await self._both("reconnect", serving, serving, self._hang_up)
            before = self._flushes()
            await self._both("journal", silent, serving, None)
            if self._flushes() < before + _LASTS:
                raise load.WrongAnswer("hardly a record was sent to Redis")
        for kind, late in self._late.items():
            lag.tell(self.samples, kind, late, SHOWN[:3])

    async def _both(self, kind: str, control: Serving, serving: Serving, disturb: Disturb | None) -> None:
        without, beside = self._late[kind]
        quiet = await lag.during(control.admin, without, _side(control, None, _LASTS))
        disturbed = await lag.during(serving.admin, beside, _side(serving, disturb, _LASTS))
        await asyncio.sleep(_REST)
        p99, most = _slow(quiet)
        p99_beside, most_beside = _slow(disturbed)
        for shown, value in zip(SHOWN, (p99, p99_beside, p99_beside - p99, most_beside - most), strict=True):
            self.samples[kind][shown].append(value)

    async def _hang_up(self) -> None:
        kill = partial(self._redis.command, "CLIENT", "KILL", "SKIPME", "yes", "TYPE")
        # Beside the callers, who shall wait for nothing here.
        ended = [await asyncio.to_thread(kill, kind) for kind in ("normal", "pubsub")]
        if not any(ended):
            raise load.WrongAnswer("nobody was connected to Redis")

    def _flushes(self) -> int:
        """Batches of records that were written so far, whoever wrote them."""
        told = self._redis.command("INFO", "commandstats")
        return int(told.get("cmdstat_xadd", {}).get("calls", 0))


def _slow(taken: list[float]) -> tuple[float, float]:
    """p99 and the slowest, in ms."""
    taken.sort()
    return taken[int(len(taken) * 0.99)] * 1000, taken[-1] * 1000


async def _side(serving: Serving, disturb: Disturb | None, lasts: float) -> list[float]:
    until = time.perf_counter() + lasts
    taken: list[float] = []
    callers = asyncio.gather(*(scrape.caller(serving.listen, each, until, taken) for each in range(CALLERS)))
    try:
        while disturb and time.perf_counter() + lag.ODD < until:
            await asyncio.sleep(lag.ODD)
            await disturb()
        await callers
    finally:
        callers.cancel()
        await asyncio.gather(callers, return_exceptions=True)
    return taken
