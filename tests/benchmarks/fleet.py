"""What sharing breakers costs and gives, measured on a Redis of the benchmark's own: the run's second section.

1. What processes do to each other is measured between processes: eight of member.py, or eight of `homeport serve`.
2. In every round each measure takes its turn; Redis holds nothing that one measure leaves to the next.
3. Redis answers again when the block that froze it ends, however it ends.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

from proxy.breaker.state import Policy
from tests.benchmarks import candidates, load, members, process, rounds, upstream
from tests.benchmarks.candidates import ALONE, SHARED, UNRECORDED, Place
from tests.benchmarks.fleet_measures import CALLERS, FEW, REPLICAS, SHAPES
from tests.benchmarks.rounds import Plan, Samples
from tests.integration import redis_server

_PAUSE = 0.06
"""Seconds that a trip stands; who has not seen it by then counts as if it took so long, which is over the bound."""
_COOLDOWN = 0.5
_HOLD = 0.02
"""Seconds until the dead tier drops a request."""
_STAGGER = 0.1
"""Seconds over which callers begin: of those that come all at once, all are in flight when the breaker opens."""
_WINDOW = 5.0
"""Seconds over which commands are counted."""


class Fleet:
    """One whole section; everything that it starts ends with `stack`."""

    def __init__(self, plan: Plan, folder: Path, stack: contextlib.ExitStack) -> None:
        self._plan, self._folder, self._stack = plan, folder, stack
        self._redis = stack.enter_context(redis_server.running())
        self.samples: Samples = defaultdict(lambda: defaultdict(list))

    async def go(self) -> None:
        """All measures. Raises NotStarted and WrongAnswer."""
        await self._cpu()
        await self._served()
        with contextlib.ExitStack() as stack:
            fleet = await members.start(self._redis, REPLICAS, self._folder, stack)
            for number in range(self._plan.rounds):
                sys.stderr.write(f"breakers: round {number + 1} of {self._plan.rounds}\n")
                await self._trips(fleet, 2)
                await self._trips(fleet, REPLICAS)
                await self._probes(fleet)
                await self._admits(fleet, "Redis well", contextlib.nullcontext)
                await self._admits(fleet, "Redis frozen", self._frozen)

    def _add(self, measure: str, shown: str, value: float) -> None:
        self.samples[measure][shown].append(value)

    async def _cpu(self) -> None:
        # Short rounds, since both sides shall meet the same machine, and several starts: two processes of one program
        # differ by some per cent for as long as they run.
        plan = Plan(5, max(1000, self._plan.requests // 10))
        for number in range(2 * self._plan.rounds):
            folder = self._folder / f"cpu-{number}"
            folder.mkdir()
            with contextlib.ExitStack() as stack:
                sides = [ALONE, SHARED, UNRECORDED]
                sides = sides[number % 3 :] + sides[: number % 3]
                run = rounds.Run(plan, folder, stack, sides, self._store("cpu"))
                await run.go()
            for name, values in run.samples["cpu_request"].items():
                self.samples["cpu_request"][name] += values
                self.samples["cpu_recording"][name] += values

    # -- eight of `homeport serve`

    async def _served(self) -> None:
        incidents = max(2, self._plan.requests // 1000)
        with contextlib.ExitStack() as stack:
            port, dead, *ports = process.free_ports(2 + 2 * REPLICAS)
            log = self._folder / "fleet-upstream.log"
            arguments = [sys.executable, "-m", "tests.benchmarks.upstream", str(port), str(dead), str(_HOLD)]
            started = stack.enter_context(process.running(arguments, log, under_test=False))
            await process.ready(started, port, "/connections", log)
            counter = await load.connect(port)
            stack.callback(counter.close)
            serving = []
            for number in range(REPLICAS):
                folder = self._folder / f"replica-{number}"
                folder.mkdir()
                place = Place(folder, ports[2 * number], ports[2 * number + 1], port, dead, self._store("served"))
                command = candidates.replica(place, incidents)
                log = folder / "stderr.log"
                # Each stands for a machine of its own, so they are spread over the cores.
                homeport = process.running(command.arguments, log, under_test=bool(number % 2))
                serving.append((stack.enter_context(homeport), command, log, place.port))
            for running, command, log, _ in serving:
                await process.ready(running, command.port, command.path, log)
            listening = [place for *_, place in serving]
            await self._commands(listening)
            for number in range(incidents):
                await self._incident(listening, number, counter)

    def _store(self, namespace: str) -> str:
        return f"{self._redis.url}/?namespace={namespace}"

    async def _commands(self, ports: list[int]) -> None:
        await _load(ports, 100)
        for _ in range(self._plan.rounds):
            for shown in ("idle", "under load"):
                before, began = self._sent(), time.monotonic()
                if shown == "idle":
                    await asyncio.sleep(_WINDOW)
                while time.monotonic() - began < _WINDOW:
                    await _load(ports, 500)
                sent = self._sent() - before
                if not sent:
                    raise load.WrongAnswer("the replicas sent Redis nothing: they share no store")
                self._add("commands", shown, sent / (time.monotonic() - began) / REPLICAS)

    def _sent(self) -> int:
        """Commands so far that replicas sent; all that they do with keys is done by scripts."""
        told = self._redis.command("INFO", "commandstats")
        return sum(told.get(f"cmdstat_{name}", {}).get("calls", 0) for name in ("eval", "evalsha", "ping", "subscribe"))

    async def _incident(self, ports: list[int], number: int, counter: load.Connection) -> None:
        """All callers meet a tier that has died."""
        _, body = await counter.ask(load.get("/dead"))
        before = len(json.loads(body))
        request = load.chat(assistant=candidates.chain(number))
        until = time.monotonic() + 0.5
        await asyncio.gather(*(_caller(port, request, until) for port in ports for _ in range(FEW)))
        _, body = await counter.ask(load.get("/dead"))
        lives = json.loads(body)[before:]
        threshold = Policy().failure_threshold
        if len(lives) < threshold:
            raise load.WrongAnswer(f"{len(lives)} requests reached the dead tier: too few to open its breaker")
        # The failure that opens the breaker. The fleet has learnt of it within the bound of I2.
        third = sorted(dropped for _, dropped in lives)[threshold - 1]
        self._add("reached", "in all", len(lives))
        self._add("reached", "in flight at the trip", sum(begun <= third < dropped for begun, dropped in lives))
        self._add("late", "at any time", sum(begun > third for begun, _ in lives))
        self._add("late", "over 50 ms after", sum(begun > third + 0.05 for begun, _ in lives))

    # -- eight of member.py

    async def _trips(self, fleet: members.Members, size: int) -> None:
        trips = max(20, self._plan.requests // 150)
        common = {"cooldown": 60.0}
        first = {"do": "trip", "trips": trips, "pause": _PAUSE, **common}
        async with fleet.ordered([first, *[{"do": "watch", **common}] * (size - 1)]) as chosen:
            tripped = (await fleet.result(chosen[0]))["tripped"]
            watched = [each["opened"] for each in await fleet.stopped(chosen[1:])]
        never = _PAUSE * 1e9
        taken = sorted(opened.get(epoch, at + never) - at for epoch, at in tripped.items() for opened in watched)
        for shown, value in _shape([each / 1e6 for each in taken]).items():
            self._add(f"seen_{size}", shown, value)

    async def _probes(self, fleet: members.Members) -> None:
        order = {"do": "dead", "cooldown": _COOLDOWN, "callers": CALLERS, "rest": 0.05}
        async with fleet.ordered([order] * REPLICAS) as chosen:
            await asyncio.sleep(_COOLDOWN * max(5, self._plan.requests // 600))
            results = await fleet.stopped(chosen)
        attempts = sorted((began, ended, kind) for each in results for kind, began, ended in each["attempts"])
        counts, free = [0], float("-inf")
        for began, ended, kind in attempts:
            if kind != "closed":
                # Where no cooldown lies between them, it is one more in the same.
                if began >= free:
                    counts.append(0)
                counts[-1] += 1
                free = max(free, ended + 0.9 * _COOLDOWN * 1e9)
        self._add("probes", "most", max(counts))
        self._add("probes", "cooldowns watched", len(counts) - 1)

    async def _admits(
        self, fleet: members.Members, shown: str, meanwhile: Callable[[], AbstractContextManager[None]]
    ) -> None:
        taken: list[float] = []
        for _ in range(max(2, self._plan.requests // 3000)):
            order = {"do": "ask", "cooldown": 0.4, "targets": 10, "callers": CALLERS, "rest": 0.01}
            async with fleet.ordered([order] * 2) as chosen:
                # The cooldowns end soon after Redis froze.
                await asyncio.sleep(random.uniform(0.2, 0.35))
                with meanwhile():
                    began = time.monotonic_ns()
                    await asyncio.sleep(1.5)
                    ended = time.monotonic_ns()
                results = await fleet.stopped(chosen)
            taken += [took / 1e6 for each in results for at, took in each["asked"] if began <= at < ended]
        for name, value in _shape(sorted(taken)).items():
            self._add("admit", f"{shown}, {name}", value)

    @contextlib.contextmanager
    def _frozen(self) -> Iterator[None]:
        self._redis.pause()
        try:
            yield
        finally:
            self._redis.resume()


def _shape(ordered: list[float]) -> dict[str, float]:
    if not ordered:
        raise load.WrongAnswer("a member of the fleet measured nothing")
    return dict(zip(SHAPES, (ordered[len(ordered) // 2], ordered[len(ordered) * 99 // 100], ordered[-1]), strict=True))


async def _load(ports: list[int], requests: int) -> None:
    asked = (load.run(port, [load.chat()], upstream.ANSWER, callers=FEW, requests=requests) for port in ports)
    await asyncio.gather(*asked)


async def _caller(port: int, request: bytes, until: float) -> None:
    """Ask now and then; whatever tier serves, the answer is the upstream's."""
    connection = await load.connect(port)
    try:
        await asyncio.sleep(random.random() * _STAGGER)
        while time.monotonic() < until:
            status, body = await asyncio.wait_for(connection.ask(request), load.LIMIT)
            if status != 200 or body != upstream.ANSWER:
                raise load.WrongAnswer(f"status {status} from a chain with a healthy fallback: {body[:300]!r}")
            await asyncio.sleep(random.uniform(0.5, 1.5) * _HOLD)
    finally:
        connection.close()
