"""Replicas that share a Redis and operators' edits: in force everywhere in two seconds, one of two wins, and neither an
outage nor a kill undoes what an operator has set."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

from proxy.breaker.redis_scripts import RIGHTS
from proxy.demo.simulator import Simulator
from tests.e2e.intent import Intent, bound, intending, settings, until
from tests.e2e.shared_intent import SOON, Start, agree, fleet, known, redis
from tests.integration.redis_server import RedisServer

__all__ = ["fleet", "redis"]


async def test_a_change_is_in_force_on_all_replicas_within_two_seconds(fleet: Start, tmp_path: Path) -> None:
    """Whoever it is made at: an edit, a null, a restore; records everywhere name the same revision, and each disk has
    the same copy."""
    async with fleet("a", "b", "c") as replicas:
        one, two, three = replicas
        assert len({await replica.revision() for replica in replicas}) == 1
        for made_at, tier in ((one, "second/m1"), (three, "first/m2"), (two, "second/m3")):
            assert (await made_at.bind(tier)).status == 200
            await agree(replicas, await made_at.revision())
            assert await one.served() == tier
        assert (await two.restore(2)).status == 200
        await agree(replicas, await two.revision())
        assert await three.served() == "second/m1"
        await three.rebind(primary=None, fallbacks=None)
        revision = await three.revision()
        for replica in replicas:
            await replica.until_revision(revision, SOON)
            assert (await replica.refused()).document()["error"]["code"] == "assistant_unbound"
        copies = {(tmp_path / name / "homeport-state" / "revisions.json").read_bytes() for name in "abc"}
        assert len(copies) == 1
        listed = [await replica.revisions() for replica in replicas]
        assert listed[0] == listed[1] == listed[2]
        assert [each["number"] for each in listed[0]] == [6, 5, 4, 3, 2, 1]


async def test_two_who_edit_at_once_have_one_winner(fleet: Start) -> None:
    """At two replicas, upon one revision: 200 and 412, every time, and everywhere the winner's is in force."""
    async with fleet("a", "b") as replicas:
        for turn in range(8):
            tags = {(await each.call("GET", "/api/assistants/bot")).tag for each in replicas}
            assert len(tags) == 1
            (tag,) = tags
            told = await asyncio.gather(
                *(each.bind(f"second/m{turn}-{place}", tag) for place, each in enumerate(replicas))
            )
            assert sorted(each.status for each in told) == [200, 412]
            winner = next(place for place, each in enumerate(told) if each.status == 200)
            await agree(replicas, await replicas[winner].revision())
            assert await replicas[1 - winner].served() == f"second/m{turn}-{winner}"
        assert (await replicas[0].revisions())[0]["number"] == 9


async def test_while_redis_is_away_nothing_is_changed_and_all_is_served(fleet: Start, redis: RedisServer) -> None:
    """503, the same in force as before; a restart without Redis has all edits from its disk; when Redis is back, empty,
    it has them too, and a newcomer as well."""
    async with fleet("a", "b") as replicas:
        one, _ = replicas
        await one.bind("second/kept")
        await one.rebind(fallbacks=None)
        revision = await one.revision()
        await agree(replicas, revision)
        redis.kill()
        for told in (await one.bind("first/lost"), await one.restore(1), await one.settle("primary", "keep")):
            assert (told.status, told.code) == (503, "store_away")
        await agree(replicas, revision)
        assert (await one.shown())["fallbacks"] == []
    async with fleet("a", "b") as replicas:
        one, _ = replicas
        await agree(replicas, revision)
        assert await one.served() == "second/kept"
        assert (await one.shown())["fallbacks"] == []
        assert (await one.bind("first/lost")).status == 503
        redis.restart()
        await until(lambda: known(redis), 10)
        await agree(replicas, revision)
        async with fleet("newcomer") as newcomers:
            await agree([*replicas, *newcomers], revision)
            assert (await newcomers[0].bind("first/again")).status == 200
            await agree([*replicas, *newcomers], await newcomers[0].revision())


async def test_what_was_told_to_be_made_outlives_the_replica_that_made_it(fleet: Start) -> None:
    """Killed with its answer, before anybody else has looked."""
    async with fleet("a", "b", "c") as replicas:
        one, *others = replicas
        told = await one.bind("second/made")
        await one.replica.stop(signal.SIGKILL)
        assert told.status == 200
        for other in others:
            await until(lambda other=other: _primary(other, "second/made"), SOON)  # type: ignore[misc]
            assert await other.served() == "second/made"


async def _primary(intent: Intent, tier: str) -> bool:
    return bool((await intent.shown())["primary"] == bound(tier))


async def test_a_replica_without_the_right_to_the_book_serves_on(
    tmp_path: Path, first: Simulator, second: Simulator, redis: RedisServer
) -> None:
    """Its breakers stay shared; changes are refused, and why is told."""
    redis.command("ACL", "SETUSER", "breaker", "on", ">s3cret", *RIGHTS.split())
    url = redis.url.replace("//", "//breaker:s3cret@")
    async with intending(tmp_path, settings(first, second, store=url)) as intent:
        told = await intent.bind("second/x")
        assert (told.status, told.code) == (503, "store_away")
        assert "auth" in told.message
        assert await intent.served() == "first/big"
        assert (await intent.running.until(up=True))["store"]["up"] is True
    assert "s3cret" not in str(intent.replica.lines) + told.message
