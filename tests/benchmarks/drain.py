"""What callers notice when a replica is stopped under load: nothing, where somebody asks `/readyz` for them.

1. Two replicas; the benchmark is their load balancer: it asks both whether they are ready, and each caller sends to one
   that was.
2. A request is lost when it was sent and its whole answer did not come, whatever came instead.
3. The one that is stopped has to be serving JSON and streams at that moment, or the run ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import subprocess
import sys
import time
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from tests.benchmarks import load, process, settings, upstream
from tests.benchmarks.report import Measure
from tests.benchmarks.rounds import Plan, Samples
from tests.benchmarks.settings import Serving

_CALLERS = 16
_EVENTS, _EVERY_MS = 64, 5
_LOOK = 0.05
"""Seconds between two looks at who is ready."""
_NOTICE = 0.5
"""Seconds for which a replica that is stopped serves on."""
_BEFORE, _AFTER = 0.7, 0.5
"""Seconds of load on both sides of the stop."""
_LIMIT = 20.0

MEASURES = (
    Measure(
        "lost",
        "requests lost while a replica is stopped",
        must=0,
        absolute=True,
        worst=True,
        shown=("lost", "answered", "in flight at the stop"),
        owes="lost",
    ),
    Measure("ended", f"s until it has ended, {_NOTICE:g} s of notice", shown=("stopped",), owes=""),
)


@dataclass(slots=True)
class _Side:
    """One replica, as its balancer knows it."""

    serving: Serving
    ready: bool = True
    flying: int = 0


@dataclass(slots=True)
class _Told:
    """Of one round."""

    lost: list[str] = field(default_factory=list)
    answered: int = 0


class Drain:
    """One whole section; everything that it starts ends with `stack`."""

    def __init__(self, plan: Plan, folder: Path, stack: contextlib.ExitStack) -> None:
        self._plan, self._folder, self._stack = plan, folder, stack
        self.samples: Samples = defaultdict(lambda: defaultdict(list))

    async def go(self) -> None:
        """All measures. Raises NotStarted and WrongAnswer."""
        port = await settings.upstream(self._folder, self._stack)
        for number in range(2 * self._plan.rounds):
            sys.stderr.write(f"drain: round {number + 1} of {2 * self._plan.rounds}\n")
            with contextlib.ExitStack() as stack:
                limits = {"notice": f"{_NOTICE}s"}
                sides = [_Side(await settings.serve(self._folder, stack, port, 1, limits=limits)) for _ in range(2)]
                await self._round(sides)

    async def _round(self, sides: list[_Side]) -> None:
        told, over = _Told(), asyncio.Event()
        looking = asyncio.create_task(_look(sides))
        callers = [asyncio.create_task(_caller(sides, number, told, over)) for number in range(_CALLERS)]
        try:
            await asyncio.sleep(_BEFORE)
            flying, stopped = sides[0].flying, sides[0].serving.process
            if not flying:
                raise load.WrongAnswer("the replica that was to be stopped served nobody")
            stopped.terminate()
            took = await _ended(stopped)
            await asyncio.sleep(_AFTER)
            over.set()
            async with asyncio.timeout(_LIMIT):
                await asyncio.gather(*callers)
        finally:
            for task in (looking, *callers):
                task.cancel()
            await asyncio.gather(looking, *callers, return_exceptions=True)
        for shown, value in (("lost", len(told.lost)), ("answered", told.answered), ("in flight at the stop", flying)):
            self.samples["lost"][shown].append(value)
        self.samples["ended"]["stopped"].append(took)
        for each in told.lost[:3]:
            sys.stderr.write(f"drain: lost: {each}\n")


async def _ended(stopped: subprocess.Popen[bytes]) -> float:
    """Seconds that it took."""
    began = time.perf_counter()
    try:
        code = await asyncio.to_thread(stopped.wait, _LIMIT)
    except subprocess.TimeoutExpired:
        raise process.NotStarted(f"a replica that was told to stop had not ended after {_LIMIT:.0f} s") from None
    if code:
        raise process.NotStarted(f"a replica that was told to stop ended with {code}")
    return time.perf_counter() - began


async def _look(sides: list[_Side]) -> None:
    """As a balancer does: who does not say that it is ready gets nothing new."""
    while True:
        for side in sides:
            side.ready = await _ready(side.serving.admin)
        await asyncio.sleep(_LOOK)


async def _ready(port: int) -> bool:
    try:
        await settings.ask(port, load.get("/readyz"))
    except (OSError, load.WrongAnswer):
        return False
    return True


async def _caller(sides: list[_Side], number: int, told: _Told, over: asyncio.Event) -> None:
    """Half of them want streams. Each keeps a connection to either side."""
    events = _EVENTS * (number % 2)
    request = load.chat(events, _EVERY_MS, assistant=settings.assistant(0))
    expected = b"".join(upstream.events(events)) if events else upstream.ANSWER
    kept: dict[int, load.Connection] = {}
    try:
        for turn in itertools.count(number // 2):
            if over.is_set():
                return
            ready = [each for each in sides if each.ready] or sides
            side = ready[turn % len(ready)]
            side.flying += 1
            if what := await _lost(side.serving.listen, kept, request, expected):
                told.lost.append(what)
            else:
                told.answered += 1
            side.flying -= 1
    finally:
        for connection in kept.values():
            connection.close()


async def _lost(port: int, kept: dict[int, load.Connection], request: bytes, expected: bytes) -> str:
    """What came instead of the answer; empty where that came."""
    try:
        connection = kept.get(port)
        if connection is None or not connection.open:
            connection = kept[port] = await load.connect(port)
        status, body = await asyncio.wait_for(connection.ask(request), _LIMIT)
    except (OSError, TimeoutError, load.WrongAnswer) as error:
        return repr(error)
    return "" if (status, body) == (200, expected) else f"status {status}: {body[:200]!r}"
