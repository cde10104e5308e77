"""A real Prometheus scrapes a real fleet: every query of every dashboard and rule is taken, and says the truth."""

from __future__ import annotations

import platform
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

import proxy
from proxy.demo import moods
from tests.deploy.boards import load
from tests.e2e.replica import Replica
from tests.integration.fleet import soon
from tests.integration.redis_server import RedisServer
from tests.integration.watched import PACE, Watched, labelled, matching, watched

pytestmark = pytest.mark.asyncio(loop_scope="module")

_NEVER_WELL = {
    "assistant/Last failed/A",
    "assistant/Attempts that did not serve/A",
    "assistant/Tiers not tried/A",
    "assistant/Answers that broke off or fell silent/A",
    "assistant/Answers that broke off or fell silent/B",
    "assistant/Moves to the next tier/A",
    "overview/Moves to the next tier, by reason/A",
    "overview/Tiers that are not closed/A",
    "overview/Requests that nobody served, by reason/A",
    "platform/Operations that failed/A",
    "platform/Propagation/A",
    "platform/Propagation/B",
    "platform/File last read/A",
    "sources/Breaker transitions/A",
    "sources/Probes/A",
    "sources/Asked again at/A",
    "sources/Waiting for an operator/A",
    "sources/Attempts that did not serve/A",
    "sources/Answers without usage/A",
    "sources/Time to connect, p95/A",
}
"""What has nothing to say while nothing is wrong and nothing new is connected to."""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def fleet(tmp_path_factory: pytest.TempPathFactory, shared_redis: RedisServer) -> AsyncIterator[Watched]:
    """Three replicas with callers."""
    async with watched(tmp_path_factory.mktemp("watched"), shared_redis) as made:
        yield made


async def test_every_query_has_an_answer(fleet: Watched) -> None:
    """While all is well each panel has data, but for those that tell of trouble, and no alert fires or is due."""
    look = await fleet.look()
    assert {name for name, result in look.items() if "/" in name and not result} <= _NEVER_WELL
    assert {name for name, result in look.items() if "/" not in name and result} == set()


async def test_every_rule_is_evaluated(fleet: Watched) -> None:
    """Prometheus has run each rule without an error, and the recorded figures are those of the callers."""
    for rule in await fleet.prometheus.rules():
        assert rule["health"] == "ok", rule
    rates = await fleet.prometheus.query("assistant:homeport_requests:rate5m")
    for assistant in ("bot", "calm"):
        assert labelled(rates, assistant=assistant) == pytest.approx(2 * PACE, rel=0.3)


async def test_every_variable_has_its_values(fleet: Watched) -> None:
    """What a reader can choose on a dashboard: the assistants, the sources, the replicas."""
    wanted = {"assistant": {"bot", "calm"}, "source": {"first", "second"}}
    wanted["instance"] = {replica.admin.removeprefix("http://") for replica in fleet.replicas}
    for board in load().values():
        for each in board["templating"]["list"][1:]:
            if each["type"] == "textbox":
                continue
            series, label = each["query"].removeprefix("label_values(").removesuffix(")").split(", ")
            assert set(await fleet.prometheus.values(label, series)) == wanted[each["name"]]


async def test_figures_are_the_truth(fleet: Watched) -> None:
    """Rates are the callers'; bindings are the configuration's; CPU, memory and files are the processes'."""
    look = await fleet.look()
    assert labelled(look["overview/Requests/A"]) == pytest.approx(4 * PACE, rel=0.3)
    assert labelled(look["overview/Requests by assistant/A"], assistant="calm") == pytest.approx(2 * PACE, rel=0.3)
    assert labelled(look["overview/Replicas/A"]) == len(fleet.replicas)
    chain = {("primary", "first", "bot"), ("fallback-1", "second", "small")}
    labels = [dict(series) for series in look["assistant/The chain/A"]]
    assert {(each["tier"], each["source"], each["model"]) for each in labels} == chain
    served = labelled(look["assistant/Last served/A"], tier="primary")
    assert served is not None
    assert served / 1000 == pytest.approx(time.time(), abs=5)
    ends = labelled(look["sources/Access token ends/A"], credential="first")
    assert ends is not None
    assert ends / 1000 == pytest.approx(fleet.login.ends, abs=0.1)
    for replica in fleet.replicas:
        name = replica.admin.removeprefix("http://")
        memory, files = _memory(replica), _open_files(replica)
        assert labelled(look["platform/Memory/A"], instance=name) == pytest.approx(memory, rel=0.2)
        share = labelled(look["platform/File descriptors/A"], instance=name)
        assert share == pytest.approx(files / _most_files(replica), rel=0.3)
        busy = labelled(look["platform/CPU/A"], instance=name)
        assert busy is not None
        assert 0.001 < busy < 1.1
        version = {"version": proxy.__version__, "python": platform.python_version()}
        assert labelled(look["platform/Versions/A"], instance=name, **version) == 1
        series = labelled(look["platform/Series/A"], instance=name)
        assert series is not None
        assert series >= len(await replica.metrics())


async def test_a_tripped_tier_shows_in_the_very_queries_of_the_panels(fleet: Watched) -> None:
    """The primary dies: its state, the fallback's share, the reason and the alerts say so; it comes home: all clear."""
    fleet.first.mood = moods.status(503)
    try:
        await soon(lambda: _told(fleet), 30)
        look = await fleet.look()
        assert labelled(look["assistant/Tier states/A"], tier="primary") in (2, 3)
        assert labelled(look["assistant/Tier states/A"], tier="fallback-1") == 1
        assert labelled(look["sources/Target states/A"], source="first", model="bot") in (2, 3)
        assert labelled(look["sources/Target states/A"], source="second", model="calm") == 1
        assert matching(look["assistant/Moves to the next tier/A"], from_tier="primary", reason="open")
        assert "HomeportAssistantExhausted" not in _firing(look)
    finally:
        fleet.first.mood = moods.WELL

    async def home() -> bool:
        look = await fleet.look()
        return not _firing(look) and labelled(look["assistant/Tier states/A"], tier="primary") == 1

    await soon(home, 30)


async def _told(fleet: Watched) -> bool:
    look = await fleet.look()
    shares = look["overview/Served by fallbacks, by assistant/A"]
    due = {"HomeportTierOpen", "HomeportPrimaryNotServing"} <= _firing(look)
    return due and labelled(shares, assistant="bot") == 1 and labelled(shares, assistant="calm") == 0


def _firing(look: dict[str, dict[frozenset[tuple[str, str]], float]]) -> set[str]:
    return {name for name, result in look.items() if "/" not in name and result}


def _memory(replica: Replica) -> int:
    pages = int(Path(f"/proc/{replica.process.pid}/statm").read_text().split()[1])
    return pages * 4096


def _open_files(replica: Replica) -> int:
    return len(list(Path(f"/proc/{replica.process.pid}/fd").iterdir()))


def _most_files(replica: Replica) -> int:
    for line in Path(f"/proc/{replica.process.pid}/limits").read_text().splitlines():
        if line.startswith("Max open files"):
            return int(line.split()[3])
    raise AssertionError
