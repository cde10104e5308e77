"""Workers that listen at one socket, all in one loop: who takes which connection, and that somebody takes each."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import os
import socket
from collections.abc import AsyncIterator, Iterator
from typing import Any
from unittest.mock import Mock

import pytest
from aiohttp import web

from proxy.app import turns
from proxy.app.listening import Listener
from proxy.app.server import Server
from proxy.app.turns import Turns
from proxy.config.addresses import Address
from proxy.workers.tally import Tally, shared

_SOON = 10.0
_THERE = Address("127.0.0.1", 0)


class _Callers:
    """Those who connect, and whom they got."""

    def __init__(self, port: int, workers: list[Server]) -> None:
        self._port, self._workers = port, workers
        self._all: list[asyncio.StreamWriter] = []

    @property
    def held(self) -> list[int]:
        """How many connections each worker has."""
        return [each.held() for each in self._workers]

    async def come(self, count: int) -> None:
        """At once; each has a worker then."""
        called = [asyncio.open_connection("127.0.0.1", self._port) for _ in range(count)]
        self._all += [writer for _, writer in await asyncio.gather(*called)]
        await self._until(len(self._all))

    async def leave(self) -> None:
        for each in self._all:
            each.close()
        self._all.clear()
        await self._until(0)

    async def _until(self, count: int) -> None:
        async with asyncio.timeout(_SOON):
            while sum(self.held) != count:  # noqa: ASYNC110  # the loop has to turn
                await asyncio.sleep(0.001)


@pytest.fixture
def bound() -> Iterator[socket.socket]:
    """What a supervisor has bound."""
    with socket.socket() as there:
        there.bind(("127.0.0.1", 0))
        yield there


@pytest.fixture
def tally() -> Iterator[int]:
    """That of two workers."""
    with shared(2) as descriptor:
        yield descriptor


def _server(*, lane: bool) -> Server:
    return Server(Mock(), Mock(), Mock() if lane else None)


@contextlib.asynccontextmanager
async def _workers(bound: socket.socket, tally: int, *numbers: int, lane: bool = True) -> AsyncIterator[_Callers]:
    """Those workers, at work."""
    async with contextlib.AsyncExitStack() as stack:
        servers = []
        for number in numbers:
            servers.append(_server(lane=lane))
            listener = Listener(servers[-1])
            stack.push_async_callback(listener.close)
            url = await listener.open(_THERE, [os.dup(bound.fileno())], Tally(tally, number))
            assert url == f"http://127.0.0.1:{bound.getsockname()[1]}"
        callers = _Callers(bound.getsockname()[1], servers)
        stack.push_async_callback(callers.leave)
        yield callers


@pytest.mark.parametrize("lane", [True, False])
async def test_each_has_as_many_as_another(bound: socket.socket, tally: int, lane: bool) -> None:
    """However they come, and whoever serves them; the more they are, the less exactly."""
    async with _workers(bound, tally, 1, 2, lane=lane) as callers:
        for count in range(1, 9):
            await callers.come(1)
            assert max(callers.held) <= (count + 1) // 2 + 1
        await callers.come(120)
        assert max(callers.held) <= 64 + 4


async def test_who_has_left_counts_no_more(bound: socket.socket, tally: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """A worker whose callers went is known to be free, though nobody came to it since."""
    monkeypatch.setattr(turns, "_FRESH", 0.02)
    Tally(tally, 2).note(0)
    async with _workers(bound, tally, 1) as callers:
        await callers.come(20)
        other = Tally(tally, 2)
        other.note(50)
        assert other.fewest() == 20
        await callers.leave()
        async with asyncio.timeout(_SOON):
            while other.fewest():  # noqa: ASYNC110  # a timer of the worker's
                await asyncio.sleep(0.01)
    assert other.fewest() == 50, "who has closed takes none"


async def test_nobody_waits_for_a_worker_that_hangs(
    bound: socket.socket, tally: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It seems to be free and takes nothing: the others take all, and soon without a pause for each."""
    moments = Mock(side_effect=turns.Turns._left, autospec=True)
    monkeypatch.setattr(turns.Turns, "_left", lambda self: moments(self))
    Tally(tally, 2).note(0)
    async with _workers(bound, tally, 1) as callers:
        await callers.come(100)
        assert callers.held == [100]
    assert 1 <= moments.call_count < 20


async def test_nobody_waits_for_a_worker_that_is_gone(
    bound: socket.socket, tally: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its supervisor has said so."""
    monkeypatch.setattr(turns, "_MOMENT", 3600.0)
    dead = Tally(tally, 2)
    dead.note(0)
    dead.leave()
    async with _workers(bound, tally, 1) as callers:
        await callers.come(20)


async def test_without_descriptors_it_tries_again(
    bound: socket.socket, tally: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """After a pause, in which it is not busy with failing; and it is told."""
    monkeypatch.setattr(turns, "_EXHAUSTED", 0.05)
    told: list[dict[str, Any]] = []
    loop = asyncio.get_running_loop()
    loop.set_exception_handler(lambda _, context: told.append(context))

    class Exhausted(socket.socket):
        def accept(self) -> tuple[socket.socket, Any]:
            if len(told) < 2:
                raise OSError(errno.EMFILE, "Too many open files")
            return super().accept()

    server = _server(lane=True)
    runner = web.ServerRunner(server)
    await runner.setup()
    await Turns(runner, server, Exhausted(fileno=os.dup(bound.fileno())), Tally(tally, 1)).start()
    callers = _Callers(bound.getsockname()[1], [server])
    began = loop.time()
    await callers.come(1)
    assert loop.time() - began >= 0.1
    assert [context["exception"].errno for context in told] == [errno.EMFILE] * 2
    await callers.leave()
    await runner.cleanup()
