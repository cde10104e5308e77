"""One process that serves a million requests: what it keeps of them, and whether it gets slower.

1. Its records are full after the first hundredth, so whatever grows afterwards is nothing that it means to keep.
2. What it does in the second tenth is compared with what it does in the last.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections import defaultdict
from pathlib import Path

from tests.benchmarks import load, measure, rounds, settings, upstream
from tests.benchmarks.report import Measure
from tests.benchmarks.rounds import Plan, Samples

_TENTHS = 10
_PART = 10_000
EARLY, LATE, GROWTH = "after a tenth", "after all", "growth"
SECOND, LAST = "second tenth", "last tenth"

MEASURES = (
    Measure(
        "resident",
        "MiB resident, one process all along",
        must=4,
        absolute=True,
        shown=(EARLY, LATE, GROWTH),
        owes=GROWTH,
    ),
    Measure("cpu_age", "CPU µs per request, the same process", SECOND, 1.1, shown=(SECOND, LAST), owes=LAST),
    Measure("served", "requests that it served", shown=("all",), owes=""),
)


class Endless:
    """One whole section; everything that it starts ends with `stack`."""

    def __init__(self, plan: Plan, folder: Path, stack: contextlib.ExitStack) -> None:
        self._plan, self._folder, self._stack = plan, folder, stack
        self.samples: Samples = defaultdict(lambda: defaultdict(list))

    async def go(self) -> None:
        """All measures. Raises NotStarted and WrongAnswer."""
        tenth = self._plan.endless // _TENTHS
        port = await settings.upstream(self._folder, self._stack)
        serving = await settings.serve(
            self._folder, self._stack, port, 1, decisions={"keep": self._plan.endless // 100}
        )
        resident, spent = [], []
        for number in range(_TENTHS):
            sys.stderr.write(f"endless: tenth {number + 1} of {_TENTHS}\n")
            began = measure.cpu(serving.pid)
            await self._ask(serving.listen, tenth)
            await asyncio.sleep(rounds.SETTLE)
            spent.append((measure.cpu(serving.pid) - began) / tenth * 1e6)
            resident.append(measure.rss(serving.pid))
        figures = {EARLY: resident[0], LATE: resident[-1], GROWTH: resident[-1] - resident[0]}
        for shown, value in figures.items():
            self.samples["resident"][shown].append(value)
        self.samples["cpu_age"][SECOND].append(spent[1])
        self.samples["cpu_age"][LAST].append(spent[-1])
        self.samples["served"]["all"].append(tenth * _TENTHS)

    async def _ask(self, port: int, requests: int) -> None:
        # In parts: a load has a bound in time.
        asked = [load.chat(assistant=settings.assistant(0))]
        for at in range(0, requests, _PART):
            await load.run(port, asked, upstream.ANSWER, callers=rounds.CALLERS, requests=min(_PART, requests - at))
