"""Calls made up from the operators' API's own description do a replica no harm; tests/long has more of them."""

from __future__ import annotations

from pathlib import Path

from proxy.demo.simulator import Simulator
from tests.e2e.fuzzed import Storm, weather
from tests.integration.redis_server import running


async def test_a_storm_of_calls(tmp_path: Path, first: Simulator, second: Simulator) -> None:
    """Whatever is called: described answers, nothing changed by what was refused, and everything kept that was not."""
    described = await weather(tmp_path, Storm(seed=1, examples=8, moves=40), first, second)
    called = {(method, path) for method, path, *_ in described.met}
    assert described.calls() - called == {("GET", "/api/events")}
    assert described.met["PUT", "/api/assistants/{assistant}", 200, ""] > 5


async def test_a_storm_of_calls_where_a_store_is_shared(tmp_path: Path, first: Simulator, second: Simulator) -> None:
    """Likewise with the fleet's book in a Redis."""
    with running() as redis:
        storm = Storm(seed=2, examples=2, moves=15)
        await weather(tmp_path, storm, first, second, store=f"redis://127.0.0.1:{redis.port}/0")
