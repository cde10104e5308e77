"""What a scrape does to the requests beside it, with as many series as are promised: a section of the run.

1. The same paced load is sent with and without scrapes, in turn, so that both meet the same machine.
2. There are ten scrapes in a round, thirty times as many as usual, so what a scrape does it does in every round: the
   least disturbed round of either side is the one that tells, on a machine that others use too.
3. Before it every assistant has been asked for a document and for a stream, so that every series there can be is there.
"""

from __future__ import annotations

import asyncio
import contextlib
import sys
import time
from collections import defaultdict
from pathlib import Path

from tests.benchmarks import lag, load, settings, upstream
from tests.benchmarks.report import Measure
from tests.benchmarks.rounds import Plan, Samples
from tests.benchmarks.settings import TIERS, assistant

ASSISTANTS = 200
CALLERS = 8
_PAUSE = 0.02
"""Seconds between a caller's requests."""
LASTS = 5.0
"""Seconds that one side of a round lasts."""
SHOWN = ("control, p99", "control, max", "scraped, p99", "scraped, max")
LATE = ("control, p99", "scraped, p99", "added to p99")

MEASURES = (
    Measure(
        "series",
        f"series, {ASSISTANTS} × {TIERS}",
        must=10_000,
        absolute=True,
        shown=("at boot", "all in use"),
        owes="at boot",
    ),
    Measure("exposed", "ms of a scrape, all in use", shown=("all in use",), owes=""),
    Measure("latency", f"ms of a request, {CALLERS} callers", shown=SHOWN, owes=""),
    Measure("delay", "ms that scrapes add to the slowest request", must=10, absolute=True, shown=("max",), owes="max"),
    lag.measure("scrape", "scrapes", LATE),
)


def count(exposition: bytes) -> int:
    """Samples of Homeport's own."""
    return sum(line.startswith(b"homeport_") for line in exposition.splitlines())


class Scrape:
    """One whole section; everything that it starts ends with `stack`."""

    def __init__(self, plan: Plan, folder: Path, stack: contextlib.ExitStack) -> None:
        self._plan, self._folder, self._stack = plan, folder, stack
        self.samples: Samples = defaultdict(lambda: defaultdict(list))

    async def go(self) -> None:
        """All measures. Raises NotStarted and WrongAnswer."""
        port = await settings.upstream(self._folder, self._stack)
        serving = await settings.serve(self._folder, self._stack, port, ASSISTANTS)
        listen = serving.listen
        scraper = await load.connect(serving.admin)
        self._stack.callback(scraper.close)
        _, text = await scraper.ask(load.get("/metrics"))
        self.samples["series"]["at boot"].append(count(text))
        await self._use_all(listen)
        _, text = await scraper.ask(load.get("/metrics"))
        self.samples["series"]["all in use"].append(count(text))
        late = lag.Looks(), lag.Looks()
        for number in range(2 * self._plan.rounds):
            sys.stderr.write(f"scrape: round {number + 1} of {2 * self._plan.rounds}\n")
            control = await lag.during(serving.admin, late[0], self._side(listen, None))
            scraped = await lag.during(serving.admin, late[1], self._side(listen, scraper))
            for name, taken in (("control", control), ("scraped", scraped)):
                taken.sort()
                self.samples["latency"][f"{name}, p99"].append(taken[int(len(taken) * 0.99)] * 1000)
                self.samples["latency"][f"{name}, max"].append(taken[-1] * 1000)
        lag.tell(self.samples, "scrape", late, LATE)
        figures = self.samples["latency"]
        self.samples["delay"]["max"].append(min(figures["scraped, max"]) - min(figures["control, max"]))

    async def _use_all(self, port: int) -> None:
        caller = await load.connect(port)
        self._stack.callback(caller.close)
        for number in range(ASSISTANTS):
            for events in (0, 3):
                status, _ = await caller.ask(load.chat(events, assistant=assistant(number)))
                if status != 200:
                    raise load.WrongAnswer(f"status {status} of {assistant(number)}")

    async def _side(self, port: int, scraper: load.Connection | None) -> list[float]:
        until = time.perf_counter() + LASTS
        scraping = asyncio.create_task(self._scrape(scraper)) if scraper else None
        taken: list[float] = []
        try:
            await asyncio.gather(*(caller(port, each, until, taken) for each in range(CALLERS)))
        finally:
            if scraping:
                scraping.cancel()
                await asyncio.gather(scraping, return_exceptions=True)
        return taken

    async def _scrape(self, scraper: load.Connection) -> None:
        while True:
            await asyncio.sleep(lag.ODD)
            asked = time.perf_counter()
            # Whole, even when the side ends meanwhile: the connection is used again.
            await asyncio.shield(scraper.ask(load.get("/metrics")))
            self.samples["exposed"]["all in use"].append((time.perf_counter() - asked) * 1000)


async def caller(port: int, number: int, until: float, taken: list[float]) -> None:
    """One that asks every assistant in turn, with a pause, and notes how many seconds each answer took."""
    connection = await load.connect(port)
    try:
        await asyncio.sleep(_PAUSE * number / CALLERS)
        while time.perf_counter() < until:
            request = load.chat(assistant=assistant((len(taken) + number) % ASSISTANTS))
            asked = time.perf_counter()
            status, body = await connection.ask(request)
            taken.append(time.perf_counter() - asked)
            if status != 200 or body != upstream.ANSWER:
                raise load.WrongAnswer(f"status {status} with {len(body)} bytes: {body[:300]!r}")
            await asyncio.sleep(_PAUSE)
    finally:
        connection.close()
