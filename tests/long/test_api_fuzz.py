"""Many calls made up from the operators' API's own description, and long runs of edits."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

import proxy
from proxy.demo.simulator import Simulator
from tests.e2e.fuzzed import Storm, weather
from tests.integration.redis_server import running


@pytest.fixture(autouse=True)
def this_tree(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command runs the code that is under test."""
    monkeypatch.setenv("PYTHONPATH", str(Path(proxy.__file__).parents[1]))


@pytest.fixture
async def first() -> AsyncIterator[Simulator]:
    """An upstream."""
    async with Simulator("first") as simulator:
        yield simulator


@pytest.fixture
async def second() -> AsyncIterator[Simulator]:
    """Another one."""
    async with Simulator("second") as simulator:
        yield simulator


async def test_a_long_storm_of_calls(tmp_path: Path, first: Simulator, second: Simulator) -> None:
    """Described answers alone; what was refused changed nothing, what was not is kept."""
    described = await weather(tmp_path, Storm(seed=11, examples=60, moves=300), first, second)
    for status, code in (
        (200, ""),
        (400, "invalid_request"),
        (412, "revision_outdated"),
        (422, "configuration_invalid"),
    ):
        assert described.met["PUT", "/api/assistants/{assistant}", status, code] > 10


async def test_a_long_storm_of_calls_where_a_store_is_shared(
    tmp_path: Path, first: Simulator, second: Simulator
) -> None:
    """Likewise with the fleet's book in a Redis."""
    with running() as redis:
        storm = Storm(seed=12, examples=20, moves=100)
        await weather(tmp_path, storm, first, second, store=f"redis://127.0.0.1:{redis.port}/0")
