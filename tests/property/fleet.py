"""A fleet of replicas in virtual time: the real keeper and link over a store model, on a network of middling health."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Collection, Coroutine, Mapping
from dataclasses import dataclass, field
from typing import TypeVar

from proxy.breaker import machine
from proxy.breaker.keeper import Keeper
from proxy.breaker.link import ASK_LIMIT, Link
from proxy.breaker.permit import Guard, Permit, Verdict
from proxy.breaker.state import Hears, Moved, Policy, View
from proxy.breaker.store import Push, Snapshot, Store, Stored, StoreError, Swapped
from tests.integration.store_model import StoreModel

POLICY = Policy(failure_threshold=3, cooldown=5.0, cooldown_max=20.0)
_T = TypeVar("_T")


class Wire:
    """One replica's way to the store (a store.Store): a stopped process hears nothing, and some replies get lost."""

    def __init__(self, world: World, store: Store) -> None:
        self._world, self._store = world, store
        self.paused = asyncio.Event()
        self.paused.set()
        self.deaf = False
        """The push link is dead, and does not say so."""
        self.cut = False
        """The process is dead: whatever its timers would still send arrives nowhere."""

    async def _call(self, asked: Coroutine[None, None, _T]) -> _T:
        self._world.commands += 1
        if self.cut:
            asked.close()
            raise StoreError("refused")
        reply = await asked
        await self.paused.wait()
        if self._world.chance.random() < self._world.lossy:
            raise StoreError("timeout")
        return reply

    async def swap(
        self, target: str, expected: int, new: Stored, *, not_before: float, not_after: float, lasting: bool
    ) -> Swapped:
        swapping = self._store.swap(target, expected, new, not_before=not_before, not_after=not_after, lasting=lasting)
        return await self._call(swapping)

    async def read(self, targets: Collection[str]) -> tuple[float, Mapping[str, Stored]]:
        return await self._call(self._store.read(targets))

    async def sync(self, replica: str) -> Snapshot:
        return await self._call(self._store.sync(replica))

    async def listen(self, ready: Callable[[], None], heard: Callable[[Push], None]) -> None:
        loop = asyncio.get_running_loop()

        def arrived(push: Push) -> None:
            if self.deaf or self.cut:
                return
            if self.paused.is_set():
                heard(push)
            else:
                # It lies in the stopped process's socket.
                loop.call_later(0.1, arrived, push)

        await self._store.listen(ready, arrived)

    async def close(self) -> None:
        await self._store.close()


@dataclass
class Probe:
    """A place that the shared view gave, as long as its owner holds it."""

    replica: str
    began: float
    over: float | None = None


class Facts:
    """What links notice."""

    def __init__(self, world: World) -> None:
        self._world = world

    def moved(self, target: str, move: Moved) -> None:
        self._world.moves.append((self._world.now, target, move))

    def link(self, *, up: bool, why: str) -> None:
        self._world.edges += 1

    def propagated(self, seconds: float) -> None:
        self._world.propagation.append(seconds)


class Replica:
    """One process."""

    def __init__(self, world: World, name: str) -> None:
        self.world, self.name = world, name
        self.wire = Wire(world, world.model.handle(name))
        clock = asyncio.get_running_loop().time
        # Every process's clock begins somewhere else.
        skew = world.chance.uniform(-500.0, 500.0)
        self.clock: Callable[[], float] = lambda: clock() + skew
        self.link = Link(self.wire, name, self.clock, world.chance.random, Facts(world))
        self.keeper = Keeper(self.clock, world.token, world.chance.random, lambda *_: None, self.link)
        self.keeper.watch(world.guard)
        self.running = asyncio.ensure_future(self.link.run())
        self.serving = asyncio.ensure_future(self._serve())
        self.stopped = False

    async def _serve(self) -> None:
        while True:
            await asyncio.sleep(self.world.chance.expovariate(self.world.rate))
            await self.wire.paused.wait()
            self.world.spawn(self.request())

    async def request(self) -> str:
        """One request of a chain of one tier: what became of it."""
        world = self.world
        asked = world.now
        request_id = world.token()
        admitted = self.keeper.calm(world.guard, request_id) or await self.keeper.admit(world.guard, request_id)
        if isinstance(admitted, View):
            left = ASK_LIMIT - (world.now - asked)
            admitted = await self.keeper.admit(world.guard, world.token(), early=True, patience=left)
        # A process that was paused meanwhile has waited for that.
        if self.wire.paused.is_set() and not self.stopped:
            world.waits.append(world.now - asked)
        await self.wire.paused.wait()
        if isinstance(admitted, View):
            return "denied"
        return await self._attempt(admitted)

    async def _attempt(self, permit: Permit) -> str:
        world = self.world
        probe = self._probing(permit)
        if not world.alive:
            world.reached += 1
        verdict = Verdict(Hears.NEUTRAL, "caller_left")
        try:
            await asyncio.sleep(world.chance.expovariate(1 / world.latency))
            await self.wire.paused.wait()
            if world.chance.random() > 0.05:
                verdict = Verdict(Hears.GOOD) if world.alive else Verdict(world.dies_of, "http_500", fault="config")
        finally:
            if probe is not None:
                probe.over = world.now
            if not self.stopped:
                self.keeper.settle(permit, verdict)
        return verdict.hears

    def _probing(self, permit: Permit) -> Probe | None:
        world = self.world
        if not permit.shared or permit.kind not in ("half_open", "early"):
            return None
        others = [each for each in world.probes if each.over is None and world.now - each.began < machine.LEASE]
        world.probed += 1
        if others:
            world.doubled += 1
        for each in others:
            # Counted once, however many come after it.
            each.over = world.now
        world.probes = [each for each in world.probes if each.over is None]
        world.probes.append(probe := Probe(self.name, world.now))
        return probe

    async def stop(self) -> None:
        """Killed: nothing is said to anybody."""
        self.stopped = self.wire.cut = True
        self.running.cancel()
        self.serving.cancel()
        await asyncio.gather(self.running, self.serving, return_exceptions=True)


@dataclass
class World:
    """The store, the upstream, the replicas, and what went wrong so far."""

    chance: random.Random
    rate: float = 5.0
    """Requests a second at each replica."""
    latency: float = 0.3
    lossy: float = 0.0
    guard: Guard = field(default_factory=lambda: Guard("tier", None, POLICY))
    alive: bool = True
    dies_of: Hears = Hears.BAD
    slow: float = 0.001
    """Seconds that a message takes, on average."""
    commands: int = 0
    reached: int = 0
    """Requests that went to a dead tier."""
    probed: int = 0
    doubled: int = 0
    """Probes that began while another's lease was live."""
    edges: int = 0

    def __post_init__(self) -> None:
        self.loop = asyncio.get_running_loop()
        self.model = StoreModel(lambda: self.loop.time() + 1e6)
        self.model.delay = lambda _: (self.delay(), self.delay())
        self.model.deliver = self._deliver
        self.replicas: list[Replica] = []
        self.probes: list[Probe] = []
        self.waits: list[float] = []
        self.moves: list[tuple[float, str, Moved]] = []
        self.propagation: list[float] = []
        self._tokens = 0
        self._tasks: set[asyncio.Task[str]] = set()

    @property
    def now(self) -> float:
        return self.loop.time()

    def token(self) -> str:
        self._tokens += 1
        return f"t{self._tokens}"

    def delay(self) -> float:
        return self.chance.expovariate(1 / self.slow)

    def _deliver(self, _: Push) -> list[float]:
        """Now and then a push is lost, doubled, or much later than those after it."""
        chance = self.chance
        times = 0 if chance.random() < self.lossy else 2 if chance.random() < 0.05 else 1
        return [self.delay() * chance.choice([1, 1, 1, 20]) for _ in range(times)]

    def spawn(self, work: Awaitable[str]) -> None:
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def add(self) -> Replica:
        """Start a replica."""
        replica = Replica(self, f"r{len(self.replicas)}-{self.token()}")
        self.replicas.append(replica)
        return replica

    async def kill(self, replica: Replica) -> None:
        self.replicas.remove(replica)
        await replica.stop()

    async def end(self) -> None:
        """Stop everything."""
        self.model.thaw()
        for replica in list(self.replicas):
            replica.wire.paused.set()
            await self.kill(replica)
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
