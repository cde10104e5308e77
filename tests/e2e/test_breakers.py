"""An operator's hand on a breaker: reset, isolate, release, by API and by shell, on one replica and on all."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import aiohttp
import pytest

from proxy.demo import moods
from proxy.demo.simulator import Simulator
from tests.e2e.caller import Seen, ask
from tests.e2e.operated import Operated, config, homeport, operated
from tests.integration.redis_server import RedisServer, running

_TOKEN = "tok-OPERATORS-3f1a"
_BIG = {"source": "first", "model": "big"}


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    """A Redis of this test's own."""
    with running() as server:
        yield server


async def _act(operator: Operated, order: object, *, token: str = _TOKEN) -> tuple[int, Any]:
    """Status and document of `POST /api/breakers`."""
    headers = {"Authorization": f"Bearer {token}"}
    async with (
        aiohttp.ClientSession(headers=headers) as session,
        session.post(f"{operator.replica.admin}/api/breakers", json=order) as answer,
    ):
        return answer.status, await answer.json()


async def _tier(operator: Operated) -> str:
    """Which tier serves bot now."""
    seen: Seen = await ask(operator.replica, "bot")
    assert seen.status == 200
    return seen.headers["x-homeport-tier"]


async def test_a_mended_key_counts_after_a_reset(tmp_path: Path, first: Simulator, second: Simulator) -> None:
    """An invalid key disables the binding for good; once it is mended a reset brings it home, and nothing else does."""
    async with operated(tmp_path, config(first, second), token=_TOKEN) as operator:
        first.queue.append(moods.status(401))
        assert [await _tier(operator) for _ in range(3)] == ["fallback-1"] * 3
        assert len(first.requests) == 1
        code, told = await _act(operator, {**_BIG, "action": "reset"})
        assert (code, told["action"]) == (200, "reset")
        assert await _tier(operator) == "primary"
        assert (await operator.status())["breakers"] == []


async def test_an_outage_is_rehearsed(tmp_path: Path, first: Simulator, second: Simulator) -> None:
    """An isolated binding gets no request and says so; it ends by itself, or when it is released."""
    async with operated(tmp_path, config(first, second), token=_TOKEN) as operator:
        assert (await _act(operator, {**_BIG, "action": "isolate"}))[0] == 200
        seen = await ask(operator.replica, "bot")
        assert seen.headers["x-homeport-reason"] == "primary=isolated(operator)"
        assert {each["state"] for each in (await operator.status())["breakers"]} == {"isolated"}
        assert (await _act(operator, {**_BIG, "action": "release"}))[0] == 200
        assert await _tier(operator) == "primary"
        assert (await _act(operator, {**_BIG, "action": "isolate", "for": "500ms"}))[0] == 200
        assert await _tier(operator) == "fallback-1"
        async with asyncio.timeout(20):
            while await _tier(operator) != "primary":  # noqa: ASYNC110  # another process
                await asyncio.sleep(0.05)


async def test_the_shell_does_the_same(tmp_path: Path, first: Simulator, second: Simulator) -> None:
    """`homeport isolate`, `release` and `reset`, with what went wrong in one line."""
    async with operated(tmp_path, config(first, second), token=_TOKEN) as operator:
        env, at = {"HOMEPORT_ADMIN_TOKEN": _TOKEN}, ("--admin", operator.replica.admin)
        ran = await homeport("isolate", "first", "big", "--for", "1h", *at, env=env)
        assert (ran.code, ran.out, ran.err) == (0, "isolate: 3 breakers of first/big\n", "")
        assert await _tier(operator) == "fallback-1"
        assert (await homeport("release", "first", "big", *at, env=env)).code == 0
        assert await _tier(operator) == "primary"
        assert (await homeport("reset", "first", "big", "--assistant", "bot", *at, env=env)).code == 0
        nobody = await homeport("reset", "first", "small", *at, env=env)
        assert (nobody.code, nobody.out) == (1, "")
        assert "No tier is bound to first/small" in nobody.err
        refused = await homeport("reset", "first", "big", *at, env={"HOMEPORT_ADMIN_TOKEN": "no"})
        assert refused.code == 1
        assert "HOMEPORT_ADMIN_TOKEN" in refused.err


async def test_what_cannot_be_done_changes_nothing(tmp_path: Path, first: Simulator, second: Simulator) -> None:
    """Each refusal is typed, says what to send instead, and leaves the breakers as they are."""
    async with operated(tmp_path, config(first, second), token=_TOKEN) as operator:
        assert (await _act(operator, {**_BIG, "action": "isolate"}, token="wrong"))[0] == 401
        orders: tuple[object, ...] = (
            [],
            "reset",
            {**_BIG},
            {**_BIG, "action": "close"},
            {**_BIG, "action": "reset", "for": "1m"},
            {**_BIG, "action": "isolate", "for": "soon"},
            {**_BIG, "action": "isolate", "for": -1},
            {**_BIG, "action": "isolate", "for": "1000h"},
            {"source": "first", "action": "isolate"},
            {**_BIG, "action": "isolate", "fro": "1m"},
            {**_BIG, "action": "isolate", "assistant": 5},
        )
        for order in orders:
            code, told = await _act(operator, order)
            assert (code, told["error"]["code"]) == (400, "invalid_request"), order
        for order in (
            {**_BIG, "model": "x", "action": "isolate"},
            {**_BIG, "action": "isolate", "assistant": "nobody"},
        ):
            code, told = await _act(operator, order)
            assert (code, told["error"]["code"]) == (404, "binding_not_found")
        code, told = await _act(operator, {**_BIG, "action": "x" * 100_000})
        assert (code, told["error"]["code"]) == (413, "request_too_large")
        assert await _tier(operator) == "primary"


async def test_all_replicas_obey(tmp_path: Path, redis: RedisServer, first: Simulator, second: Simulator) -> None:
    """With a shared store one call counts everywhere within 1.3 s; while it is away nothing is done."""
    settings = config(first, second) | {"store": f"redis://127.0.0.1:{redis.port}/0"}
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    async with (
        operated(tmp_path / "a", settings, token=_TOKEN) as one,
        operated(tmp_path / "b", settings, token=_TOKEN) as other,
    ):
        for operator in (one, other):
            await operator.until(up=True)
        assert (await _act(one, {**_BIG, "action": "isolate"}))[0] == 200
        await asyncio.sleep(1.3)
        assert [await _tier(each) for each in (one, other)] == ["fallback-1"] * 2
        assert (await _act(other, {**_BIG, "action": "release"}))[0] == 200
        await asyncio.sleep(1.3)
        assert [await _tier(each) for each in (one, other)] == ["primary"] * 2
        redis.pause()
        await one.until(up=False)
        code, told = await _act(one, {**_BIG, "action": "isolate"})
        assert (code, told["error"]["code"]) == (503, "store_away")
        assert await _tier(one) == "primary"
        redis.resume()
