"""Real servers for the integration tests."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable, Iterator, Mapping

import pytest
import uvloop

from proxy.breaker.redis_door import RedisDoor
from proxy.record.shared_ledger import SharedLedger
from tests.integration.redis_server import RedisServer, running


@pytest.fixture(scope="session")
def shared_redis() -> Iterator[RedisServer]:
    """One for all tests that leave it as it is and keep to a namespace of their own."""
    with running() as server:
        yield server


@pytest.fixture
def own_redis() -> Iterator[RedisServer]:
    """One that a test may break."""
    with running() as server:
        yield server


OpenBook = Callable[..., SharedLedger]
"""`opened(url, namespace)`: the book of revisions on a Redis."""


@pytest.fixture
async def opened() -> AsyncIterator[OpenBook]:
    """Ends with the test."""
    made: list[SharedLedger] = []

    def go(url: str, namespace: str = "homeport") -> SharedLedger:
        door = RedisDoor(url, time.monotonic, lambda *_: None, 1)
        made.append(SharedLedger(door, namespace))
        return made[-1]

    yield go
    for each in made:
        await each.close()


@pytest.fixture
def shared(opened: OpenBook, own_redis: RedisServer) -> SharedLedger:
    """The book on a Redis that a test may break."""
    return opened(own_redis.url)


_LOOPS = {"asyncio": asyncio.new_event_loop, "uvloop": uvloop.new_event_loop}


def pytest_asyncio_loop_factories(item: pytest.Item) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """What speaks to sockets itself holds on both loops: theirs differ in small print."""
    return _LOOPS if item.path.name.startswith(("test_door", "test_lane")) else {"asyncio": asyncio.new_event_loop}
