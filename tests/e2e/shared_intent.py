"""Replicas that share a Redis, and what their operators wait for."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from pathlib import Path

import pytest

from proxy.demo.simulator import Simulator
from tests.e2e.intent import Intent, intending, settings
from tests.integration.redis_server import RedisServer, running

SOON = 4.0
"""Seconds for what has to be within two: a shared machine may add some."""
Start = Callable[..., contextlib.AbstractAsyncContextManager[list[Intent]]]


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    """One that a test may break."""
    with running() as server:
        yield server


@pytest.fixture
def fleet(tmp_path: Path, first: Simulator, second: Simulator, redis: RedisServer) -> Start:
    """`fleet("a", "b")`: replicas of these names that share a Redis, each with a folder of its own; `more` is
    configuration."""

    @contextlib.asynccontextmanager
    async def start(*names: str, **more: object) -> AsyncIterator[list[Intent]]:
        async with contextlib.AsyncExitStack() as stack:

            async def one(name: str) -> Intent:
                folder = tmp_path / name
                folder.mkdir(exist_ok=True)
                config = settings(first, second, store=redis.url, **more)
                return await stack.enter_async_context(intending(folder, config))

            yield list(await asyncio.gather(*map(one, names)))

    return start


async def agree(replicas: Sequence[Intent], revision: str, seconds: float = SOON) -> None:
    """All serve it, and say so: in status, in records, and in who answers."""
    for replica in replicas:
        await replica.until_revision(revision, seconds)
    assert len({await replica.served() for replica in replicas}) == 1


async def known(redis: RedisServer) -> bool:
    """It has a book."""
    return bool(redis.command("EXISTS", "{homeport}:config:book"))
