"""A tier that failed is left alone, and comes home by itself; unless only an operator can mend it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio

from proxy.demo import moods
from proxy.demo.simulator import Simulator
from tests.e2e.caller import Stage, ask, chain, source, staged, written

pytestmark = pytest.mark.asyncio(loop_scope="module")


def _config(first: Simulator, second: Simulator, _: Simulator) -> str:
    assistants = {
        name: chain(f"first/{name}", "second/small")
        for name in ("tripped", "cut", "relapsed", "judged", "parked", "long-parked")
    }
    assistants["twin"] = chain("first/tripped", "second/small")
    assistants["apart"] = chain("first/tripped", "second/small", breaker={"scope": "assistant"})
    assistants["banned"] = chain("keyed/big", "second/small")
    assistants["same-key"] = chain("keyed/other", "second/small")
    assistants["missing"] = chain("first/missing", "second/small")
    sources = {"first": source(first), "keyed": source(first, api_key="not-the-key"), "second": source(second)}
    return written(sources=sources, assistants=assistants, breaker={"cooldown": "1s"})


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def everyone(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    """One replica whose breakers rest for a second; each test has an assistant and models of its own."""
    async with staged(tmp_path_factory.mktemp("return"), _config) as stage:
        yield stage


@pytest.fixture
def stage(everyone: Stage) -> Stage:
    """The same, with every upstream well again."""
    everyone.calm()
    return everyone


def asked(simulator: Simulator, model: str) -> int:
    """How many of its requests were for this model."""
    return sum(b'"model":"%b"' % model.encode() in request.body for request in simulator.requests)


async def tiers(stage: Stage, assistant: str, times: int = 1) -> list[str]:
    """Who served so many requests, one after the other."""
    return [(await ask(stage.replica, assistant)).headers["x-homeport-tier"] for _ in range(times)]


async def due(stage: Stage, source: str, model: str) -> None:
    """Wait until the metric says that the tier may be tried."""
    until = (await stage.replica.metrics())[
        f'homeport_breaker_open_until_timestamp_seconds{{model="{model}",source="{source}"}}'
    ]
    await asyncio.sleep(max(0.0, until - time.time()) + 0.05)


async def test_a_dead_tier_costs_three_requests_and_comes_home_by_one(stage: Stage) -> None:
    """Nothing reaches it while it rests; of twenty requests after that one asks it, and then all are at home."""
    stage.first.mood = moods.status(500)
    assert await tiers(stage, "tripped", 9) == ["fallback-1"] * 9
    assert asked(stage.first, "tripped") == 3
    seen = await ask(stage.replica, "tripped")
    assert seen.headers["x-homeport-reason"].startswith("primary=open(http_500,retry_in=")
    (step, _) = (await stage.story(seen))["steps"]
    failed = [line["request_id"] for line in stage.replica.requests() if line["assistant"] == "tripped"][:3]
    assert step["breaker"]["tripped_by"] == failed

    # Health is the source's: whoever shares it is spared as well, and who has a breaker of its own is not.
    assert await tiers(stage, "twin", 2) == ["fallback-1"] * 2
    assert asked(stage.first, "tripped") == 3
    stage.calm()
    assert await tiers(stage, "apart") == ["primary"]
    assert asked(stage.first, "tripped") == 4

    await due(stage, "first", "tripped")
    # The probe takes long enough for all twenty to come while it is under way.
    stage.first.mood = moods.delay(1.0)
    served = await asyncio.gather(*(tiers(stage, "tripped") for _ in range(20)))
    assert sorted(served) == [["fallback-1"]] * 19 + [["primary"]]
    assert asked(stage.first, "tripped") == 5
    stage.calm()
    assert await tiers(stage, "tripped", 3) == ["primary"] * 3
    metrics = await stage.replica.metrics()
    assert metrics['homeport_probes_total{kind="half_open",model="tripped",result="good",source="first"}'] == 1
    assert metrics['homeport_breaker_state{assistant="tripped",state="closed",tier="primary"}'] == 1


async def test_streams_that_are_cut_trip_it_too(stage: Stage) -> None:
    """Each one had begun well; that its text broke off is what counts."""
    stage.first.mood = moods.cut_stream(2)
    for _ in range(3):
        assert (await ask(stage.replica, "cut", stream=True)).headers["x-homeport-tier"] == "primary"
    assert await tiers(stage, "cut") == ["fallback-1"]
    assert asked(stage.first, "cut") == 3


async def test_a_failed_probe_is_one_request_and_a_longer_rest(stage: Stage) -> None:
    """The caller of the probe is served by the fallback, and the tier rests for twice as long."""
    stage.first.mood = moods.status(503)
    await tiers(stage, "relapsed", 3)
    await due(stage, "first", "relapsed")
    assert await tiers(stage, "relapsed", 4) == ["fallback-1"] * 4
    assert asked(stage.first, "relapsed") == 4
    rest = await stage.replica.metrics()
    until = rest['homeport_breaker_open_until_timestamp_seconds{model="relapsed",source="first"}']
    assert 1.0 < until - time.time() <= 2.0


async def test_a_probe_that_judges_nothing_frees_its_place(stage: Stage) -> None:
    """A probe whose request is at fault itself says nothing of the tier: the next request may ask at once."""
    stage.first.mood = moods.status(500)
    await tiers(stage, "judged", 3)
    await due(stage, "first", "judged")
    stage.first.mood = moods.status(400)
    assert (await ask(stage.replica, "judged")).status == 400
    stage.calm()
    assert await tiers(stage, "judged", 2) == ["primary"] * 2


async def test_an_invalid_key_does_not_heal_with_time(stage: Stage) -> None:
    """One 401 is enough, for all that is asked with this key, and no cooldown brings it back."""
    stage.first.mood = moods.status(401)
    assert await tiers(stage, "banned") == ["fallback-1"]
    stage.calm()
    # At once, and after longer than any rest that this configuration knows of for a first failure.
    for wait in (0.0, 1.2):
        await asyncio.sleep(wait)
        for assistant in ("banned", "same-key"):
            seen = await ask(stage.replica, assistant)
            assert seen.headers["x-homeport-tier"] == "fallback-1"
            assert seen.headers["x-homeport-reason"] == "primary=disabled(invalid_api_key)"
    assert (asked(stage.first, "big"), asked(stage.first, "other")) == (1, 0)


async def test_a_missing_model_does_not_heal_with_time(stage: Stage) -> None:
    """Where the operator bound what does not exist, one answer is enough; the source's other models are served."""
    stage.first.mood = moods.model_missing()
    assert await tiers(stage, "missing") == ["fallback-1"]
    stage.calm()
    await asyncio.sleep(1.2)
    seen = await ask(stage.replica, "missing")
    assert seen.headers["x-homeport-reason"] == "primary=disabled(model_not_found)"
    assert asked(stage.first, "missing") == 1
    metrics = await stage.replica.metrics()
    assert metrics['homeport_breaker_state{assistant="missing",state="disabled",tier="primary"}'] == 1
    assert metrics['homeport_breaker_state{assistant="relapsed",state="disabled",tier="primary"}'] == 0


async def test_a_rate_limited_tier_waits_as_long_as_it_was_asked_to(stage: Stage) -> None:
    """A second 429 parks it; it is not asked before its time, and then it serves again."""
    stage.first.mood = moods.status(429, retry_after=1)
    before = time.time()
    assert await tiers(stage, "parked", 2) == ["fallback-1"] * 2
    stage.calm()
    seen = await ask(stage.replica, "parked")
    assert seen.headers["x-homeport-reason"].startswith("primary=parked(http_429,retry_in=")
    assert asked(stage.first, "parked") == 2
    await due(stage, "first", "parked")
    assert time.time() - before >= 1.0
    assert await tiers(stage, "parked", 2) == ["primary"] * 2


async def test_a_long_wait_parks_at_once(stage: Stage) -> None:
    """Who is told to wait for half a minute does not ask a second time to be sure."""
    stage.first.mood = moods.status(429, retry_after=30)
    assert await tiers(stage, "long-parked", 4) == ["fallback-1"] * 4
    assert asked(stage.first, "long-parked") == 1
    await asyncio.sleep(1.2)
    assert await tiers(stage, "long-parked") == ["fallback-1"]
    assert asked(stage.first, "long-parked") == 1
