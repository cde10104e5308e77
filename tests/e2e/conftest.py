"""Two simulated upstreams and a way to put the installed command before them."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from pathlib import Path

import pytest

import proxy
from proxy.demo.simulator import Simulator
from tests.e2e.replica import Replica, serve

Start = Callable[..., Awaitable[Replica]]
"""`start(yaml, env)`: a running replica, ended with the test."""

BOT = """
assistants:
  bot:
    primary: {{source: first, model: big}}
    fallbacks: [{{source: second, model: small}}]
    timeouts: {timeouts}
"""


@pytest.fixture(autouse=True)
def this_tree(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command runs the code that is under test, whatever it would import by itself."""
    monkeypatch.setenv("PYTHONPATH", str(Path(proxy.__file__).parents[1]))


@pytest.fixture
async def start(tmp_path: Path) -> AsyncIterator[Start]:
    """Start the command with a configuration."""
    async with contextlib.AsyncExitStack() as stack:

        async def go(config: str, env: Mapping[str, str] | None = None) -> Replica:
            return await stack.enter_async_context(serve(tmp_path, config, env))

        yield go


@pytest.fixture
async def first() -> AsyncIterator[Simulator]:
    """The upstream that is bot's primary."""
    simulator = Simulator("first")
    await simulator.start()
    yield simulator
    await simulator.close()


@pytest.fixture
async def second() -> AsyncIterator[Simulator]:
    """The upstream that is bot's fallback."""
    simulator = Simulator("second")
    await simulator.start()
    yield simulator
    await simulator.close()


Bot = Callable[..., Awaitable[Replica]]
"""`bot(timeouts, extra)`: a replica with the assistant `bot` over both upstreams."""


@pytest.fixture
async def bot(start: Start, first: Simulator, second: Simulator) -> Bot:
    """Start the command with the two-tier chain of `bot`; short limits of time are given as YAML."""

    async def go(timeouts: str = "{}", extra: str = "") -> Replica:
        sources = "".join(
            f"  {each.name}: {{kind: openai-compatible, base_url: {each.base_url}}}\n" for each in (first, second)
        )
        return await start(f"sources:\n{sources}{BOT.format(timeouts=timeouts)}{extra}")

    return go
