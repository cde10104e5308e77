"""What a second worker on the same host adds: `homeport serve --workers 2` beside one process, both on one Redis.

1. A keep-alive connection stays with the worker that took it, so how these are shared divides the load. What the pair
   can serve is bounded by the worker that got most: its CPU over the requests of both is compared with one process's.
2. Nothing is kept on a core of its own here: workers, load and upstream share all that there are. The requests a second
   that come of it say how much the machine does, not what workers could.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from collections import defaultdict
from pathlib import Path

from tests.benchmarks import load, measure, process, rounds, settings, upstream
from tests.benchmarks.report import Measure
from tests.benchmarks.rounds import Plan, Samples
from tests.benchmarks.settings import Serving
from tests.integration import redis_server

_CALLERS = 128
ONE, TWO = "1 worker", "2 workers"

MEASURES = (
    Measure(
        "busiest",
        f"busiest worker's CPU µs per request, c={_CALLERS}",
        ONE,
        round(1 / 1.8, 3),
        shown=(ONE, TWO),
        owes=TWO,
    ),
    Measure("cpu_request", "CPU µs per request, all workers together", ONE, shown=(ONE, TWO), owes=""),
    Measure("rate", "requests a second, cores shared with the load", ONE, shown=(ONE, TWO), owes=""),
)


class Workers:
    """One whole section; everything that it starts ends with `stack`."""

    def __init__(self, plan: Plan, folder: Path, stack: contextlib.ExitStack) -> None:
        self._plan, self._folder, self._stack = plan, folder, stack
        self._redis = stack.enter_context(redis_server.running())
        self.samples: Samples = defaultdict(lambda: defaultdict(list))

    async def go(self) -> None:
        """All measures. Raises NotStarted and WrongAnswer."""
        with process.anywhere():
            port = await settings.upstream(self._folder, self._stack)
            serving = [
                (
                    name,
                    await settings.serve(
                        self._folder,
                        self._stack,
                        port,
                        1,
                        workers=count,
                        store=f"{self._redis.url}/?namespace=workers-{count}",
                    ),
                )
                for count, name in ((1, ONE), (2, TWO))
            ]
            for _, each in serving:
                await self._ask(each, self._plan.requests // 4)
            for number in range(2 * self._plan.rounds):
                sys.stderr.write(f"workers: round {number + 1} of {2 * self._plan.rounds}\n")
                for name, each in serving[:: -1 if number % 2 else 1]:
                    await self._round(name, each)

    async def _round(self, name: str, serving: Serving) -> None:
        before, began = measure.cpus(serving.pid), time.perf_counter()
        await self._ask(serving, self._plan.requests)
        took = time.perf_counter() - began
        await asyncio.sleep(rounds.SETTLE)
        spent = [after - before.get(pid, 0.0) for pid, after in measure.cpus(serving.pid).items()]
        self.samples["busiest"][name].append(max(spent) / self._plan.requests * 1e6)
        self.samples["cpu_request"][name].append(sum(spent) / self._plan.requests * 1e6)
        self.samples["rate"][name].append(self._plan.requests / took)

    async def _ask(self, serving: Serving, requests: int) -> None:
        # On connections of their own each time, so that they are shared anew.
        asked = [load.chat(assistant=settings.assistant(0))]
        await load.run(serving.listen, asked, upstream.ANSWER, callers=_CALLERS, requests=requests)
