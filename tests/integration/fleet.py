"""A fleet: real replicas over a real Redis, upstreams that misbehave, and callers that keep asking.

1. Every assistant has a primary of its own, `first/<assistant>`, and one healthy fallback, `second/small`.
2. A caller's request names its replica in its body, so an upstream can tell whose it is.
3. The replicas run the code of this tree, whatever the installed command would import.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import signal
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import aiohttp
import orjson

import proxy
from proxy.demo.simulator import Simulator
from tests.e2e import warm
from tests.e2e.caller import chain, source, written
from tests.e2e.replica import Replica

THRESHOLD = 3
"""Failures that trip, by default."""
OVERHEAD = 200.0
"""Milliseconds of our own in any request: much more than it may wait for the store, less than the store's own limit."""
_PATIENCE = 60.0
_TOO_SLOW = "timeout"
_TOKEN = "the-operators-token-of-a-test"
_ROOT = Path(proxy.__file__).parents[1]


@dataclass(frozen=True, slots=True)
class Answer:
    """What one caller got."""

    replica: Replica
    status: int
    """0 when the connection broke."""
    tier: str
    reason: str
    request_id: str


@dataclass(frozen=True, slots=True)
class Seen:
    """What a replica says of a primary and of the store."""

    word: str
    local: bool
    up: bool
    version: float


class Fleet:
    """Replicas that share one store, or several."""

    def __init__(
        self, folder: Path, store: str, assistants: Sequence[str], first: Simulator, second: Simulator, **more: object
    ) -> None:
        """`store` is the URL that replicas are given unless they are given another; `more` is configuration."""
        self.first, self.second = first, second
        self.replicas: list[Replica] = []
        """Those that callers and `all_see` ask."""
        self._folder, self._store, self._more = folder, store, more
        self._sources = {"first": source(first, api_key="a-key-of-a-test"), "second": source(second)}
        self._assistants = {name: chain(f"first/{name}", "second/small") for name in assistants}
        self._count = itertools.count()
        self._stack = contextlib.AsyncExitStack()
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_PATIENCE))

    async def add(self, store: str | None = None) -> Replica:
        """One more replica."""
        folder = self._folder / f"replica-{next(self._count)}"
        folder.mkdir()
        config = {
            "version": 1,
            "listen": "127.0.0.1:0",
            "admin": {"listen": "127.0.0.1:0", "token": _TOKEN},
            "store": store or self._store,
            "breaker": {"cooldown": "1s", "cooldown_max": "2s"},
            "sources": self._sources,
            "assistants": self._assistants,
        }
        file = folder / "homeport.yaml"
        file.write_text(written(**(config | self._more)))
        process = await warm.start("serve", "-c", file, env={**os.environ, "PYTHONPATH": str(_ROOT)})
        replica = Replica(process)
        self._stack.push_async_callback(replica.close)
        ready = await replica.line("ready")
        replica.api, replica.admin = ready["listen"], ready["admin"]
        self.replicas.append(replica)
        return replica

    async def close(self) -> None:
        """End all of it."""
        await self._session.close()
        await self._stack.aclose()

    async def end(self, replica: Replica, number: signal.Signals = signal.SIGTERM) -> None:
        """One less."""
        self.replicas.remove(replica)
        await replica.stop(number)

    def name(self, replica: Replica) -> str:
        """As its callers' requests say it."""
        return f"of-{replica.process.pid}"

    async def ask(self, replica: Replica, assistant: str) -> Answer:
        """One request; never raises for what becomes of it."""
        body = {
            "model": "any",
            "messages": [{"role": "user", "content": "Hello"}],
            "max_tokens": 2,
            "user": self.name(replica),
        }
        try:
            async with self._session.post(
                f"{replica.api}/v1/chat/completions", json=body, headers={"X-Assistant-Id": assistant}
            ) as response:
                await response.read()
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            return Answer(replica, 0, "", repr(error), "")
        said = response.headers
        return Answer(
            replica,
            response.status,
            said.get("x-homeport-tier", ""),
            said.get("x-homeport-reason", ""),
            said.get("x-request-id", ""),
        )

    def reached(self, assistant: str) -> list[bytes]:
        """The requests that its primary got."""
        return [each.body for each in self.first.requests if orjson.loads(each.body)["model"] == assistant]

    # -- what operators see

    async def status(self, replica: Replica) -> dict[str, Any]:
        """`GET /api/status`."""
        headers = {"Authorization": f"Bearer {_TOKEN}"}
        async with self._session.get(f"{replica.admin}/api/status", headers=headers) as response:
            document: dict[str, Any] = await response.json()
        return document

    async def seen(self, replica: Replica, assistant: str) -> Seen:
        """Its metrics, and from the status whether it decides alone."""
        samples, status = await replica.metrics(), await self.status(replica)
        label = f'homeport_breaker_state{{assistant="{assistant}",state="'
        (word,) = (
            name.removeprefix(label).split('"')[0]
            for name, value in samples.items()
            if name.startswith(label) and 'tier="primary"' in name and value
        )
        mine = [each for each in status["breakers"] if (each["assistant"], each["tier"]) == (assistant, "primary")]
        return Seen(
            word, any(each["local"] for each in mine), bool(status["store"]["up"]), samples["homeport_state_version"]
        )

    async def all_see(
        self, assistant: str, condition: Callable[[list[Seen]], bool], seconds: float = _PATIENCE
    ) -> list[Seen]:
        """Wait until what all replicas say is so."""
        deadline = time.monotonic() + seconds
        while True:
            seen = [await self.seen(replica, assistant) for replica in self.replicas]
            if condition(seen):
                return seen
            assert time.monotonic() < deadline, f"not within {seconds} s: {seen}"
            await asyncio.sleep(0.1)

    async def home(self, assistant: str, seconds: float = _PATIENCE) -> None:
        """Ask until the primary is in use everywhere."""

        async def served() -> bool:
            return {(await self.ask(replica, assistant)).tier for replica in self.replicas} == {"primary"}

        await soon(served, seconds)
        seen = [await self.seen(replica, assistant) for replica in self.replicas]
        assert {each.word for each in seen} == {"closed"}, seen

    async def lines(self, answers: Sequence[Answer]) -> list[dict[str, Any]]:
        """The log lines of these requests."""
        wanted = {answer.request_id for answer in answers}
        async with asyncio.timeout(_PATIENCE):
            while True:
                found = [line for each in self.replicas for line in each.requests() if line.get("request_id") in wanted]
                if len(found) == len(wanted):
                    return found
                await asyncio.sleep(0.05)

    # -- callers

    @contextlib.asynccontextmanager
    async def callers(self, assistant: str, rate: float = 50.0) -> AsyncIterator[list[Answer]]:
        """So many requests a second, to the replicas in turn; the answers so far, all of them at the end."""
        answers: list[Answer] = []
        under_way: set[asyncio.Task[None]] = set()

        async def one(replica: Replica) -> None:
            answers.append(await self.ask(replica, assistant))

        async def go_on() -> None:
            for turn in itertools.count():
                task = asyncio.create_task(one(self.replicas[turn % len(self.replicas)]))
                under_way.add(task)
                task.add_done_callback(under_way.discard)
                await asyncio.sleep(1 / rate)

        pacing = asyncio.create_task(go_on())
        try:
            yield answers
        finally:
            pacing.cancel()
            await asyncio.gather(pacing, *under_way, return_exceptions=True)


@contextlib.asynccontextmanager
async def running_fleet(
    folder: Path, store: str, *assistants: str, replicas: int = 3, **more: object
) -> AsyncIterator[Fleet]:
    """Ended, with its upstreams, in the end."""
    async with Simulator("first") as first, Simulator("second") as second:
        fleet = Fleet(folder, store, assistants, first, second, **more)
        try:
            await asyncio.gather(*(fleet.add() for _ in range(replicas)))
            yield fleet
        finally:
            await fleet.close()


def check_waits(lines: Sequence[dict[str, Any]]) -> None:
    """By their log lines nobody waited for us; a machine may hold up one in a hundred, for less than a second."""
    stalled = [line for line in lines if line["overhead_ms"] >= OVERHEAD]
    told = [orjson.dumps(line).decode() for line in stalled]
    assert len(stalled) <= len(lines) // 100, told
    assert all(line["overhead_ms"] < 5 * OVERHEAD for line in stalled), told


def failed(answers: Sequence[Answer]) -> list[Answer]:
    """Those that no caller should get."""
    return [answer for answer in answers if answer.status != 200]


async def check_edges(replica: Replica, *whys: str) -> None:
    """The log has one line for each time that the store went or came, and it went for these reasons.

    On a machine that is busy with other things it may also have been too slow, or have been so already.
    """

    def edges() -> list[dict[str, Any]]:
        return [line for line in replica.lines if line["event"] == "store"]

    await replica.until(lambda: bool(edges()) and edges()[-1]["up"])
    lines = edges()
    ups = [line["up"] for line in lines]
    assert all(one is not other for one, other in pairwise(ups)), lines
    told = [line["why"] for line in lines if not line["up"]]
    for why in whys:
        assert why in told or _TOO_SLOW in told, lines
        told.remove(why if why in told else _TOO_SLOW)
    assert told in ([], [_TOO_SLOW], [_TOO_SLOW] * 2), lines


async def soon(condition: Callable[[], bool | Awaitable[bool]], seconds: float = _PATIENCE) -> float:
    """Wait for it; how long it took."""
    began = time.monotonic()
    while True:
        true = condition()
        if true if isinstance(true, bool) else await true:
            return time.monotonic() - began
        assert time.monotonic() - began < seconds, f"not within {seconds} s"
        await asyncio.sleep(0.05)
