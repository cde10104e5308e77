"""Operators' edits of a whole fleet through flushes, under callers, and through the end of everything at once."""

from __future__ import annotations

import asyncio
import contextlib
import signal

from tests.e2e.caller import chain
from tests.e2e.conftest import first, second, this_tree
from tests.e2e.intent import Intent, until
from tests.e2e.shared_intent import SOON, Start, agree, fleet, known, redis
from tests.e2e.test_reload import lines, load
from tests.integration.redis_server import RedisServer

__all__ = ["first", "fleet", "redis", "second", "this_tree"]


async def test_a_flushed_redis_is_filled_again_and_nothing_is_undone(fleet: Start, redis: RedisServer) -> None:
    """Under callers, with a null in force; edits go on with the numbers that come next."""
    async with fleet("a", "b", "c", assistants={"bot": chain("first/big"), "other": chain("second/o")}) as replicas:
        one, two, three = replicas
        await one.bind("second/kept")
        await two.until_revision(await one.revision())
        assert (await two.rebind(assistant="other", primary=None)).status == 200
        revision = await two.revision()
        await agree(replicas, revision)
        for _ in range(2):
            redis.command("FLUSHALL")
            await until(lambda: known(redis), SOON)
            await agree(replicas, revision)
            assert await three.served() == "second/kept"
            assert (await three.refused("other")).document()["error"]["code"] == "assistant_unbound"
        tag = (await three.call("GET", "/api/assistants/bot")).tag
        assert (await three.bind("first/next", tag)).status == 200
        await agree(replicas, await three.revision())
        assert [each["number"] for each in await one.revisions()] == [4, 3, 2, 1]
        assert not [line for each in replicas for line in each.replica.lines if line["event"] == "revisions_dropped"]


async def test_all_of_it_may_stop_and_an_explicit_null_stays(fleet: Start, redis: RedisServer) -> None:
    """Every replica killed, Redis empty, the file another: the newest copy counts, though a replica with an older one
    is the first to start."""
    async with fleet("a", "b") as (one, two):
        await one.bind("second/older")
        await two.until_revision(await one.revision())
        await two.replica.stop(signal.SIGKILL)
        assert (await one.rebind(primary=None, fallbacks=None)).status == 200
        newest = (await one.revisions())[0]["number"]
        await one.replica.stop(signal.SIGKILL)
    redis.restart()
    async with fleet("b", assistants={"bot": chain("first/helpful")}) as (two,):
        assert await two.served() == "second/older"
        async with fleet("a", assistants={"bot": chain("first/helpful")}) as (one,):
            for replica in (one, two):
                await until(lambda replica=replica: _primary_is_null(replica), SOON)  # type: ignore[misc]
                assert (await replica.refused()).document()["error"]["code"] == "assistant_unbound"
                assert [each["number"] for each in await replica.revisions()][-newest:] == list(range(newest, 0, -1))


async def _primary_is_null(intent: Intent) -> bool:
    return (await intent.shown())["primary"] is None


async def test_edits_and_files_change_under_callers_of_the_whole_fleet(fleet: Start, redis: RedisServer) -> None:
    """At any replica, with a flush among them: no request fails, and each is served as the revision of its record says,
    whichever replica it came to."""
    bots = {"bot": chain("first/v0"), "slow": chain("second/v0")}
    async with fleet("a", "b", "c", assistants=bots) as replicas:
        primaries = {(await replicas[0].revision()): "first/v0"}
        async with contextlib.AsyncExitStack() as stack:
            loads = [await stack.enter_async_context(load(replica, 8)) for replica in replicas]
            for number in range(1, 7):
                editor = replicas[number % 3]
                tier = f"{('first', 'second')[number % 2]}/v{number}"
                if number == 4:
                    redis.command("FLUSHALL")
                assert (await editor.bind(tier)).status == 200
                revision = await editor.revision()
                primaries[revision] = tier
                for replica in replicas:
                    await replica.until_revision(revision, 10)
            await asyncio.sleep(0.2)
        for replica, answers in zip(replicas, loads, strict=True):
            assert {(status, whole) for status, whole, _ in answers} == {(200, True)}
            ids = {request_id for _, _, request_id in answers}
            await replica.replica.until(lambda replica=replica, ids=ids: len(lines(replica, ids)) == len(ids))  # type: ignore[misc]
            found = [line for line in lines(replica, ids) if line["assistant"] == "bot"]
            assert {f"{line['source']}/{line['model']}" == primaries[line["revision"]] for line in found} == {True}
            assert len({line["revision"] for line in found}) >= 5
