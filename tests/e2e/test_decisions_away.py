"""The shared journal away, frozen or emptied: no request is harmed, and what can be known is said with what cannot."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest

from proxy.demo.simulator import Simulator
from tests.e2e.caller import CHAT
from tests.e2e.inquiry import Operator, operators
from tests.e2e.operated import config
from tests.integration.fleet import check_waits
from tests.integration.redis_server import RedisServer, running


@pytest.fixture
def redis() -> RedisServer:  # type: ignore[misc]
    """A Redis that a test may break."""
    with running() as server:
        yield server


async def _served(at: Operator, count: int) -> list[str]:
    """So many requests, none of which notices anything; their ids."""
    ids = []
    for _ in range(count):
        began = time.monotonic()
        ids.append(await at.get(CHAT, "bot"))
        assert time.monotonic() - began < 5
    await at.replica.until(lambda: set(ids) <= {line["request_id"] for line in at.replica.requests()})
    for line in at.replica.requests():
        assert (line["code"], line["tier"]) == (200, "primary")
    check_waits(at.replica.requests())
    return ids


async def _found(at: Operator) -> list[str]:
    """The ids that a search finds here, once it reads the shared journal."""
    page = await at.search(limit=500)
    assert (page["complete"], page["why"], page["next"]) == (True, None, None)
    return [each["request_id"] for each in page["decisions"]]


@pytest.mark.parametrize("fate", ["killed", "frozen"])
async def test_while_the_journal_is_away_each_replica_tells_its_own(
    tmp_path: Path, redis: RedisServer, first: Simulator, second: Simulator, fate: str
) -> None:
    """Requests are served as ever; a search says that it is not complete and why, and finds the replica's own; when the
    journal is back, whoever is asked finds what was recorded meanwhile, each once."""
    async with operators(tmp_path, config(first, second), 2, redis) as (one, other):
        early = await _served(one, 3)
        await other.known(*early)
        if fate == "killed":
            redis.kill()
        else:
            redis.pause()
        mine, others = await asyncio.gather(_served(one, 8), _served(other, 5))
        for at, own, foreign in ((one, early + mine, others), (other, others, mine)):
            began = time.monotonic()
            page = await at.search(limit=500)
            assert time.monotonic() - began < 5
            assert page["complete"] is False
            assert page["why"] in (("refused", "timeout") if fate == "killed" else ("timeout",))
            assert [each["request_id"] for each in page["decisions"]] == own[::-1]
            assert (await at.record(own[-1]))["request_id"] == own[-1]
            code, told = await at.call(f"/api/decisions/{foreign[0]}")
            assert (code, told["error"]["code"]) == (404, "decision_not_found")
            assert "away" in told["error"]["message"]
            status = (await at.of.status())["journal"]
            assert (status["kind"], status["up"]) == ("redis", False)
            assert status["why"] == page["why"] or status["why"] in ("refused", "timeout")
            assert status["pending"] >= len(own) - len(early)
            assert status["dropped"] == {}
        if fate == "killed":
            redis.restart()
        else:
            redis.resume()
        for at in (one, other):
            status = await at.journal(lambda told: told["up"] and not told["pending"])
            assert (status["why"], status["dropped"]) == (None, {})
        kept = mine + others + ([] if fate == "killed" else early)
        for at in (one, other):
            assert sorted(await _found(at)) == sorted(kept)
            for request_id in (mine[0], others[-1]):
                assert (await at.record(request_id))["request_id"] == request_id


async def test_a_journal_that_was_emptied_goes_on(
    tmp_path: Path, redis: RedisServer, first: Simulator, second: Simulator
) -> None:
    """What somebody flushed is gone for all alike; requests notice nothing, and what comes after is kept."""
    async with operators(tmp_path, config(first, second), 2, redis) as (one, other):
        early = await _served(one, 3)
        await other.known(*early)
        redis.command("FLUSHALL")
        late = await _served(one, 3) + await _served(other, 2)
        for at in (one, other):
            await at.known(*late)
            assert sorted(await _found(at)) == sorted(late)
            assert (await at.call(f"/api/decisions/{early[0]}"))[0] == 404
            assert (await at.of.status())["journal"]["dropped"] == {}


async def test_what_could_not_wait_for_the_journal_is_counted(
    tmp_path: Path, redis: RedisServer, first: Simulator, second: Simulator
) -> None:
    """No more than `keep` wait; the others are dropped, by reason, and not one is unaccounted for."""
    async with operators(tmp_path, config(first, second, decisions={"keep": 20}), 1, redis) as (at,):
        redis.kill()
        # Its going is an event, which is kept like a record: so the journal notices too.
        await at.journal(lambda told: not told["up"])
        ids = await _served(at, 50)
        status = (await at.of.status())["journal"]
        assert (status["keep"], status["held"], status["pending"]) == (20, 20, 20)
        stored = sum(line["event"] == "store" for line in at.replica.lines)
        assert sum(status["dropped"].values()) == 50 + stored - 1 - 20
        assert set(status["dropped"]) == {"store"}
        page = await at.search(limit=500)
        assert [each["request_id"] for each in page["decisions"]] == ids[:-21:-1]
        redis.restart()
        await at.journal(lambda told: told["up"] and not told["pending"])
        assert set(await _found(at)) <= set(ids[-20:])
        assert len(await _found(at)) >= 18
