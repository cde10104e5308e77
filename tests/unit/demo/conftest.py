"""A simulator for each test, stopped after it."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from proxy.demo.simulator import Simulator


@pytest.fixture
async def north() -> AsyncIterator[Simulator]:
    """A running simulator that serves every model."""
    async with Simulator("north", thinks=0.05) as simulator:
        yield simulator
