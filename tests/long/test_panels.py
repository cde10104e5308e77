"""Each panel and each alert says what is wrong when it is, and nothing when something else is: on a real Prometheus."""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from proxy.demo import moods
from tests.deploy.boards import targets
from tests.integration.prometheus_server import Result
from tests.integration.redis_server import running
from tests.integration.watched import Baseline, Watched, alerts, labelled, watched
from tests.long.panel_faults import FAULTS, Fault

_PATIENCE = 60.0
_WINDOW = 5.0
"""Seconds until what happened before is out of every rate."""
_LOOKS = 3
_STAYS = frozenset(
    {
        "assistant/Last failed/A",
        "assistant/Last served/A",
        "assistant/Left of the upstream's windows/A",
        "sources/Connections/A",
        "platform/Revisions/A",
        "platform/File last read/A",
    }
)
"""What remains of a fault when it is over: that there has been one, what an upstream said then, connections kept for a
minute, and a number."""
_BY_ITSELF = frozenset({"sources/Time to connect, p95/A"})
"""Connections come and go."""
_BUSY = frozenset(
    {
        "HomeportEventLoopLate",
        "HomeportPushesLost",
        "platform/Event loop late, p99/A",
        "platform/Event loop late, p99 by replica/A",
        "platform/Overhead, p99/A",
        "platform/Overhead/B",
        "platform/Time of operations, p99/A",
        "platform/Operations that failed/A",
        "platform/Time without it/A",
        "platform/Time of a scrape/A",
    }
)
"""What rightly tells of a machine that has more to do than this test."""
_TRUE = frozenset({"assistant/The chain/A"})
"""What no fault changes; tests/integration compares it with the truth."""
_ELSEWHERE = frozenset({"HomeportStateDivergence", "HomeportNoMetrics", "HomeportVersionsMixed"})
"""Alerts of the tests below; two versions at a time are not to be had, so promtool alone tests the last."""
_NOISY = frozenset({"platform/Time of a scrape/A"})
"""A scrape that fails is over at once."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def fleet(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Watched]:
    """One for all faults."""
    with running() as redis:
        async with watched(tmp_path_factory.mktemp("watched"), redis) as made:
            yield made


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def well(fleet: Watched) -> Baseline:
    """What everything says while nothing is wrong."""
    return await fleet.baseline()


def test_every_panel_and_alert_has_a_fault_that_changes_it() -> None:
    """None is left out: each is shown by a fault here, or compared with the truth elsewhere."""
    shown = {name for fault in FAULTS for name in fault.shows}
    everything = {target.name for target in targets()} | set(alerts())
    assert shown | _TRUE | _ELSEWHERE | _NOISY == everything
    assert {name for fault in FAULTS for name in fault.may} <= everything


def _by_itself() -> frozenset[str]:
    busy = os.getloadavg()[0] > 1.5 * (os.cpu_count() or 1)
    return _BY_ITSELF | _BUSY if busy else _BY_ITSELF


@pytest.mark.asyncio(loop_scope="module")
@pytest.mark.parametrize("fault", FAULTS, ids=lambda fault: fault.name.replace(" ", "-"))
async def test_what_a_fault_changes(fleet: Watched, well: Baseline, fault: Fault) -> None:
    """All that should show it does, and says the truth; nothing else changes; afterwards all is as before."""
    async with fault.strikes(fleet):
        began = time.monotonic()
        missing = set(fault.shows)
        while missing or time.monotonic() - began < _WINDOW:
            look = await fleet.look()
            missing -= {name for name in missing if fault.shows[name](look[name])}
            told = {name: look[name] for name in missing}
            assert time.monotonic() - began < _PATIENCE, f"not shown: {told}"
            await asyncio.sleep(0.3)
        expected = set(fault.shows) | fault.may | _by_itself()
        lasting = {name: how for name, how in well.changes(await fleet.look()).items() if name not in expected}
        began, looks = time.monotonic(), 1
        # One slow operation stands in a figure for as long as the figure looks back.
        while looks < _LOOKS or (lasting and time.monotonic() - began < _WINDOW):
            await asyncio.sleep(0.5)
            changes, looks = well.changes(await fleet.look()), looks + 1
            lasting = {name: how for name, how in lasting.items() if name in changes}
        assert {name: how for name, how in lasting.items() if name not in _by_itself()} == {}
    if fault.lasts:
        return
    over = time.monotonic()
    while left := {
        name: how for name, how in well.changes(await fleet.look()).items() if name not in _STAYS | _by_itself()
    }:
        assert time.monotonic() - over < _PATIENCE, left
        await asyncio.sleep(0.3)
    # What stays is known from here on, so that the next fault is not blamed for it.
    look = await fleet.look()
    well.add({name: look.get(name, {}) if name in _STAYS else {} for name in _STAYS})


async def test_that_replicas_disagree_and_that_none_is_left_is_told(tmp_path: Path) -> None:
    """Replicas that by mistake share nothing are found out when a tier is dead for one of them; dead ones too."""
    with running() as redis:
        async with watched(tmp_path, redis, namespaces=("one", "other")) as fleet:
            seen = await fleet.look()
            assert not seen["HomeportStateDivergence"]
            assert not seen["HomeportNoMetrics"]
            fleet.replicas = fleet.replicas[:1]
            fleet.first.mood = moods.status(503)
            divided = await _soon(fleet, "HomeportStateDivergence")
            assert labelled(divided, assistant="bot", tier="primary", alertstate="firing") == 1
            fleet.callers = False
            for replica in list(fleet.fleet.replicas):
                await fleet.fleet.end(replica)
            await _soon(fleet, "HomeportNoMetrics")


async def _soon(fleet: Watched, alert: str) -> Result:
    began = time.monotonic()
    seen = (await fleet.look())[alert]
    while not seen:
        assert time.monotonic() - began < _PATIENCE, alert
        await asyncio.sleep(0.2)
        seen = (await fleet.look())[alert]
    return seen
