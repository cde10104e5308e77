"""What grows with the number of assistants: CPU of a request, start and reload; and what does not.

1. The assistants of both sides are asked in turn, so that none is served from what the last request left in a cache.
2. A start is timed to `/readyz`; a reload to the answer of `POST /api/reload`, which comes when the file is in force.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import sys
from collections import defaultdict
from pathlib import Path

from tests.benchmarks import load, measure, rounds, settings, upstream
from tests.benchmarks.report import Measure
from tests.benchmarks.rounds import Plan, Samples
from tests.benchmarks.settings import Serving, assistant

_COUNTS = (1, 1000, 10_000)
_NAMES = _ONE, _THOUSAND, _MANY = "1 assistant", "1,000 assistants", "10,000 assistants"
_TURNS = 4
"""In a round, of each side: short ones, since all shall meet the same machine."""
_LOOKS = 1.5
"""Seconds until a changed file has been noticed."""

MEASURES = (
    Measure("cpu_request", "CPU µs per request by assistants", _ONE, 1.1, shown=_NAMES, owes=_MANY),
    Measure("start", "s from start to ready", must=1.0, absolute=True, shown=_NAMES, owes=_THOUSAND),
    Measure("reload", "s of a reload", must=1.0, absolute=True, shown=_NAMES, owes=_THOUSAND),
    Measure("rss", "idle MiB resident", shown=_NAMES, owes=""),
)


class Growth:
    """One whole section; everything that it starts ends with `stack`."""

    def __init__(self, plan: Plan, folder: Path, stack: contextlib.ExitStack) -> None:
        self._plan, self._folder, self._stack = plan, folder, stack
        self.samples: Samples = defaultdict(lambda: defaultdict(list))

    async def go(self) -> None:
        """All measures. Raises NotStarted and WrongAnswer."""
        port = await settings.upstream(self._folder, self._stack)
        for name, count in zip(_NAMES[:-1], _COUNTS, strict=False):
            for _ in range(self._plan.rounds - 1):
                with contextlib.ExitStack() as stack:
                    await self._start(name, port, count, stack)
        serving = [
            (name, count, await self._start(name, port, count, self._stack))
            for name, count in zip(_NAMES, _COUNTS, strict=True)
        ]
        for _, count, each in serving:
            # Once everybody, so that nobody's first request, which makes series, is among the measured ones.
            await self._ask(each, count, max(count, self._plan.requests // 4))
        for number in range(self._plan.rounds * _TURNS):
            if number % _TURNS == 0:
                sys.stderr.write(f"growth: round {number // _TURNS + 1} of {self._plan.rounds}\n")
            # Who goes first changes, as everywhere.
            for at in range(len(serving)):
                await self._cpu(*serving[(at + number) % len(serving)])
        for name, _, each in serving * self._plan.rounds:
            took = await settings.reload(each)
            self.samples["reload"][name].append(took)
            # Who watches the file reads it once more.
            await asyncio.sleep(_LOOKS + 2 * took)

    async def _start(self, name: str, port: int, count: int, stack: contextlib.ExitStack) -> Serving:
        sys.stderr.write(f"growth: a start with {name}\n")
        serving = await settings.serve(self._folder, stack, port, count)
        self.samples["start"][name].append(serving.took)
        self.samples["rss"][name].append(measure.rss(serving.pid))
        return serving

    async def _cpu(self, name: str, count: int, serving: Serving) -> None:
        requests = self._plan.requests // _TURNS
        began = measure.cpu(serving.pid)
        await self._ask(serving, count, requests)
        await asyncio.sleep(rounds.SETTLE)
        spent = measure.cpu(serving.pid) - began
        self.samples["cpu_request"][name].append(spent / requests * 1e6)

    async def _ask(self, serving: Serving, count: int, requests: int) -> None:
        # From anywhere on, or with few requests most would never be asked.
        first = random.randrange(count)
        asked = [load.chat(assistant=assistant((first + at) % count)) for at in range(count)]
        await load.run(serving.listen, asked, upstream.ANSWER, callers=rounds.CALLERS, requests=requests)
