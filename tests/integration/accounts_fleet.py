"""Replicas that share one account, and callers that keep asking them. Each replica has a folder of its own."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.caller import ask, chain, written
from tests.e2e.replica import Replica, serve
from tests.integration.fleet import soon
from tests.integration.oauth_server import PUBLIC, OAuthServer, oauth_server


@pytest.fixture
async def server() -> AsyncIterator[OAuthServer]:
    """Access tokens live for some seconds, and end with their successor."""
    async with oauth_server(lives=5) as each:
        yield each


def config(server: OAuthServer, store: str, **oauth: object) -> str:
    """One replica's."""
    account = {"token_url": server.token_url, "client_id": PUBLIC, **oauth}
    source = {"kind": "openai-compatible", "base_url": server.base_url, "oauth": account}
    bot = chain("account/big", timeouts={"connect": "8s"})
    breaker = {"failure_threshold": 50, "minimum_calls": 100000}
    return written(sources={"account": source}, assistants={"bot": bot}, store=store, breaker=breaker)


@contextlib.asynccontextmanager
async def fleet(folder: Path, text: str, count: int = 3) -> AsyncIterator[list[Replica]]:
    """Replicas of one configuration, each in a folder of its own."""
    async with contextlib.AsyncExitStack() as stack:

        async def one(number: int) -> Replica:
            own = folder / f"replica-{number}"
            own.mkdir()
            return await stack.enter_async_context(serve(own, text))

        yield await asyncio.gather(*map(one, range(count)))


async def load(
    replicas: list[Replica], seconds: float, once: Callable[[], bool] = lambda: True
) -> list[tuple[int, str]]:
    """Ask each of them all the time, until it has been so for `seconds`: statuses and reasons."""
    ended = asyncio.Event()
    seen: list[tuple[int, str]] = []

    async def keep_asking(replica: Replica) -> None:
        while not ended.is_set():
            answer = await ask(replica, "bot")
            seen.append((answer.status, answer.headers.get("x-homeport-reason", "")))
            await asyncio.sleep(0.04)

    async with asyncio.TaskGroup() as asking:
        for each in replicas:
            asking.create_task(keep_asking(each))
        await soon(once, 30)
        await asyncio.sleep(seconds)
        ended.set()
    return seen


def lines(replicas: list[Replica], result: str) -> list[dict[str, Any]]:
    """What they say of refreshes with this result."""
    return [
        each
        for replica in replicas
        for each in replica.lines
        if (each["event"], each.get("result")) == ("credential", result)
    ]


async def served(replica: Replica) -> bool:
    """Does it serve again?"""
    return (await ask(replica, "bot")).status == 200
