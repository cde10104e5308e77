"""Many streams at once: what an idle one keeps in memory, and how late events come when a thousand are busy.

1. Each candidate is started afresh for each count of streams, and is weighed when it has some and when it has all: a
   stream's price is what the others add, over their number.
2. An event's way is timed from the upstream's hand to the caller's; the same without a proxy is the control run, of the
   same round.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
from collections import defaultdict
from collections.abc import AsyncIterator
from pathlib import Path

from tests.benchmarks import candidates, load, measure, process, settings
from tests.benchmarks.candidates import DIRECT, HOMEPORT, NGINX, Place
from tests.benchmarks.listeners import Listeners
from tests.benchmarks.report import Measure
from tests.benchmarks.rounds import Plan, Samples

_IDLE = (1000, 5000)
_IDLE_MS = 1000
"""Between two events of an idle stream."""
_BUSY, _BUSY_MS = 1000, 50
_WARM = 100
"""Streams that are open when memory is weighed for the first time."""
_REST = 3.0
"""Seconds until it is weighed again."""
_SETTLE = 1.0
_LASTS = 5.0
"""Seconds for which events are timed."""
_CONNECTIONS = 16_384
"""More than there are."""

MEASURES = (
    *(
        Measure(f"idle_{count}", f"KiB of a stream, {count:,} open, an event a second", NGINX.name, 1.2)
        for count in _IDLE
    ),
    Measure(
        "late_p50",
        f"ms of an event's way, {_BUSY:,} × {1000 // _BUSY_MS}/s, p50",
        shown=(DIRECT.name, NGINX.name, HOMEPORT.name),
    ),
    Measure("late_p99", "the same, p99", shown=(DIRECT.name, NGINX.name, HOMEPORT.name)),
    Measure("added_p99", "ms added to the control's p99", must=5, absolute=True, shown=(NGINX.name, HOMEPORT.name)),
    Measure(
        "cpu_busy", f"CPU µs per event, {_BUSY:,} × {1000 // _BUSY_MS}/s", NGINX.name, shown=(NGINX.name, HOMEPORT.name)
    ),
)


class Streams:
    """One whole section; everything that it starts ends with `stack`."""

    def __init__(self, plan: Plan, folder: Path, stack: contextlib.ExitStack) -> None:
        self._plan, self._folder, self._stack = plan, folder, stack
        self._proxies = [HOMEPORT.name, *([NGINX.name] if candidates.find("nginx") else [])]
        self._folders = 0
        self.samples: Samples = defaultdict(lambda: defaultdict(list))

    async def go(self) -> None:
        """All measures. Raises NotStarted and WrongAnswer."""
        idle = await settings.upstream(self._folder, self._stack, "flow", str(_IDLE_MS))
        for count in _IDLE:
            # Two for each in a proxy, and some to spare.
            if process.files() < 2 * count + 1000:
                sys.stderr.write(f"streams: no {count:,} idle ones: a process may open {process.files()} files here\n")
                continue
            sys.stderr.write(f"streams: {count:,} idle\n")
            for name in self._proxies:
                await self._idle(name, idle, count)
        busy = await settings.upstream(self._folder, self._stack, "flow", str(_BUSY_MS))
        started = {name: await self._start(name, busy, self._stack) for name in self._proxies}
        for number in range(self._plan.rounds):
            sys.stderr.write(f"streams: round {number + 1} of {self._plan.rounds}\n")
            control = await self._busy(DIRECT.name, busy, busy, None)
            for name, (port, pid) in sorted(started.items(), reverse=bool(number % 2)):
                self.samples["added_p99"][name].append(await self._busy(name, port, busy, pid) - control)

    async def _start(self, name: str, upstream: int, stack: contextlib.ExitStack) -> tuple[int, int]:
        """Where it listens, and its process."""
        if name == HOMEPORT.name:
            serving = await settings.serve(self._folder, stack, upstream, 1, limits={"in_flight": _CONNECTIONS})
            return serving.listen, serving.pid
        self._folders += 1
        folder = self._folder / f"nginx-{self._folders}"
        folder.mkdir()
        (port,) = process.free_ports(1)
        command = candidates.nginx(Place(folder, port, 0, upstream, 0), connections=_CONNECTIONS)
        log = folder / "stderr.log"
        started = stack.enter_context(process.running(command.arguments, log, under_test=True))
        await process.ready(started, port, command.path, log)
        return port, started.pid

    async def _idle(self, name: str, upstream: int, count: int) -> None:
        with contextlib.ExitStack() as stack:
            port, pid = await self._start(name, upstream, stack)
            listeners = Listeners(port)
            await listeners.open(_WARM)
            before = measure.rss(pid)
            await listeners.open(count)
            async with _flowing(upstream):
                await listeners.listen(_REST)
            self.samples[f"idle_{count}"][name].append((measure.rss(pid) - before) * 1024 / count)
            await listeners.close()

    async def _busy(self, name: str, port: int, upstream: int, pid: int | None) -> float:
        """p99, in ms."""
        listeners = Listeners(port)
        await listeners.open(_BUSY)
        async with _flowing(upstream):
            await asyncio.sleep(_SETTLE)
            began, before = measure.cpu(pid) if pid else 0.0, listeners.heard.events
            delays = await listeners.listen(_LASTS)
            spent, events = (measure.cpu(pid) if pid else 0.0) - began, listeners.heard.events - before
        await listeners.close()
        if pid:
            self.samples["cpu_busy"][name].append(spent / events * 1e6)
        p50, p99 = (delays[int(len(delays) * share)] / 1e6 for share in (0.5, 0.99))
        self.samples["late_p50"][name].append(p50)
        self.samples["late_p99"][name].append(p99)
        return p99


@contextlib.asynccontextmanager
async def _flowing(upstream: int) -> AsyncIterator[None]:
    """Events come, for as long as the block."""
    await settings.ask(upstream, load.get("/flow"))
    try:
        yield
    finally:
        await settings.ask(upstream, load.get("/rest"))
