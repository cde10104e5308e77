"""The run: in every round each candidate serves each load in turn, so that a busy machine is busy for all of them.

1. CPU is read a moment after the last answer, so work that a candidate puts off (logs, journal) counts too.
2. A warm-up goes before every measured load: pools are filled, code is warm, a dead tier's breaker is open.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import statistics
import sys
from collections import defaultdict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.benchmarks import load, measure, process, upstream
from tests.benchmarks.candidates import Candidate, Load, Place

CALLERS = 32
STREAMS = 50
EVENTS = 64
SETTLE = 0.15
Samples = defaultdict[str, defaultdict[str, list[float]]]
"""Measure → candidate → one figure a round. The names of measures are those of report.py."""


@dataclass(frozen=True, slots=True)
class Plan:
    """How much."""

    rounds: int = 3
    requests: int = 10_000
    """JSON requests that a candidate serves in a round; the other loads are sized after it."""
    endless: int = 1_000_000
    """Requests that one process serves, to see what becomes of it."""


QUICK = Plan(rounds=2, requests=3000, endless=100_000)
"""To see that it works, not to quote."""


@dataclass(frozen=True, slots=True)
class _Runner:
    """A candidate at work."""

    candidate: Candidate
    port: int
    pid: int | None


class Run:
    """One whole run; everything that it starts ends with `stack`."""

    def __init__(
        self,
        plan: Plan,
        folder: Path,
        stack: contextlib.ExitStack,
        candidates: Sequence[Candidate],
        store: str = "memory",
    ) -> None:
        """`store` is for the candidates that share one."""
        self._plan, self._folder, self._stack = plan, folder, stack
        self._candidates, self._store = candidates, store
        self._upstream, self._dead = process.free_ports(2)
        self._counter: load.Connection
        self._folders = 0
        self.samples: Samples = defaultdict(lambda: defaultdict(list))

    async def go(self) -> None:
        """Start everything, warm it, run the rounds. Raises NotStarted and WrongAnswer."""
        await self._start_upstream()
        runners = [await self._start(candidate) for candidate in self._candidates]
        for runner in runners:
            await self._warm(runner)
        for number in range(self._plan.rounds):
            sys.stderr.write(f"round {number + 1} of {self._plan.rounds}\n")
            # Who goes first changes, so that no candidate always follows the same one.
            for kind in Load:
                for at in range(len(runners)):
                    runner = runners[(at + number) % len(runners)]
                    if kind in runner.candidate.loads:
                        await self._serve(kind, runner)

    async def _warm(self, runner: _Runner) -> None:
        if runner.candidate.claude:
            return  # it serves streams alone, and they warm it before each measure
        before = await self._counts()
        await self._json(runner, self._plan.requests // 4)
        # Without this, a candidate that never asks its primary would look like one whose breaker is open.
        if runner.candidate.dead_primary and (await self._counts())["dead"] == before["dead"]:
            raise load.WrongAnswer(
                f"{runner.candidate.name}: its primary was never tried, so no breaker can have opened"
            )

    async def _serve(self, kind: Load, runner: _Runner) -> None:
        try:
            match kind:
                case Load.JSON:
                    await self._measure_json(runner)
                case Load.STREAMS:
                    await self._measure_streams(runner, 0, self._plan.requests // 500)
                    await self._measure_streams(runner, 5, self._plan.requests // 1500)
                case Load.LATENCY:
                    await self._measure_latency(runner)
                case Load.START:
                    await self._measure_start(runner)
        except load.WrongAnswer as error:
            raise load.WrongAnswer(f"{runner.candidate.name}, {kind}: {error}") from error

    async def _start_upstream(self) -> None:
        stderr = self._folder / "upstream.log"
        arguments = [sys.executable, "-m", "tests.benchmarks.upstream", str(self._upstream), str(self._dead), "0"]
        started = self._stack.enter_context(process.running(arguments, stderr, under_test=False))
        await process.ready(started, self._upstream, "/connections", stderr)
        self._counter = await load.connect(self._upstream)

    async def _start(self, candidate: Candidate) -> _Runner:
        if candidate.command is None:
            return _Runner(candidate, self._upstream, None)
        port, pid, _ = await self._launch(candidate, self._stack)
        return _Runner(candidate, port, pid)

    async def _launch(self, candidate: Candidate, stack: contextlib.ExitStack) -> tuple[int, int, float]:
        """Port, process id, seconds to ready."""
        assert candidate.command is not None
        self._folders += 1
        folder = self._folder / str(self._folders)
        folder.mkdir()
        port, admin = process.free_ports(2)
        command = candidate.command(Place(folder, port, admin, self._upstream, self._dead, self._store))
        stderr = folder / "stderr.log"
        started = stack.enter_context(process.running(command.arguments, stderr, under_test=True))
        took = await process.ready(started, command.port, command.path, stderr)
        return port, started.pid, took

    async def _json(self, runner: _Runner, requests: int, callers: int = CALLERS) -> list[float]:
        read, expected = _compared(runner.candidate, upstream.ANSWER)
        asked = load.chat(fields=self._fields(runner))
        return await load.run(runner.port, [asked], expected, callers=callers, requests=requests, read=read)

    def _fields(self, runner: _Runner) -> str:
        return runner.candidate.fields(self._upstream, self._dead)

    async def _counts(self) -> dict[str, int]:
        """Connections that the mock upstream accepted so far. Asked on a connection that stays open: it adds none."""
        if not self._counter.open:
            raise load.WrongAnswer("the mock upstream has gone")
        _, body = await self._counter.ask(load.get("/connections"))
        counts: dict[str, int] = json.loads(body)
        return counts

    async def _measure_json(self, runner: _Runner) -> None:
        assert runner.pid is not None
        await self._json(runner, self._plan.requests // 10)
        before = await self._counts()
        await asyncio.sleep(SETTLE)
        began = measure.cpu(runner.pid)
        await self._json(runner, self._plan.requests)
        await asyncio.sleep(SETTLE)
        spent = measure.cpu(runner.pid) - began
        after = await self._counts()
        self._add("cpu_request", runner, spent / self._plan.requests * 1e6)
        if runner.candidate.dead_primary:
            self._add("dead_calls", runner, after["dead"] - before["dead"])
            self._add("dead_share", runner, (after["dead"] - before["dead"]) / self._plan.requests)
        if runner.candidate.hop and after["failed"] - before["failed"] != self._plan.requests:
            raise load.WrongAnswer(f"{after['failed'] - before['failed']} requests met a failing primary: not all")

    async def _measure_streams(self, runner: _Runner, every_ms: int, each: int) -> None:
        assert runner.pid is not None
        count = STREAMS * max(1, each)
        candidate = runner.candidate
        sent = upstream.translated(EVENTS) if candidate.claude else upstream.events(EVENTS)
        read, expected = _compared(candidate, b"".join(sent))
        warm, request = (load.chat(EVENTS, each, fields=self._fields(runner)) for each in (0, every_ms))
        await load.run(runner.port, [warm], expected, callers=STREAMS, requests=STREAMS, read=read)
        await asyncio.sleep(SETTLE)
        began = measure.cpu(runner.pid)
        await load.run(runner.port, [request], expected, callers=STREAMS, requests=count, read=read)
        await asyncio.sleep(SETTLE)
        self._add(f"cpu_event_{every_ms}", runner, (measure.cpu(runner.pid) - began) / (count * EVENTS) * 1e6)

    async def _measure_latency(self, runner: _Runner) -> None:
        requests = max(200, self._plan.requests // 5)
        await self._json(runner, requests // 10, callers=1)
        taken = await self._json(runner, requests, callers=1)
        self._add("p50", runner, statistics.median(taken) * 1e6)

    async def _measure_start(self, runner: _Runner) -> None:
        with contextlib.ExitStack() as stack:
            port, pid, took = await self._launch(runner.candidate, stack)
            await asyncio.sleep(SETTLE)
            self._add("start", runner, took)
            self._add("rss", runner, measure.rss(pid))
            before = await self._counts()
            await self._json(_Runner(runner.candidate, port, pid), self._plan.requests // 4)
            after = await self._counts()
            self._add("connects", runner, after["accepted"] - before["accepted"])

    def _add(self, name: str, runner: _Runner, value: float) -> None:
        self.samples[name][runner.candidate.name].append(value)


def _compared(candidate: Candidate, sent: bytes) -> tuple[Callable[[bytes], bytes], bytes]:
    """What is looked at in its answers, and how that has to be."""
    if candidate.retold:
        return load.text, load.text(sent)
    return load.undated if candidate.claude else bytes, sent
