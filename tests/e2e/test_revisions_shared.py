"""Replicas that share a Redis and operators' edits: in force everywhere in two seconds, one of two wins, and neither a
flush, nor an outage, nor a restart of everything undoes what an operator has set."""

from __future__ import annotations

import asyncio
import contextlib
import signal
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from proxy.breaker.redis_scripts import RIGHTS
from proxy.demo.simulator import Simulator
from tests.e2e.caller import chain
from tests.e2e.intent import Intent, bound, intending, settings, until
from tests.e2e.test_reload import lines, load
from tests.integration.redis_server import RedisServer, running

_KEY = "{homeport}:config:book"
_SOON = 4.0
"""Seconds for what has to be within two: a shared machine may add some."""
_Start = Callable[..., contextlib.AbstractAsyncContextManager[list[Intent]]]


@pytest.fixture
def redis() -> Any:
    """One that a test may break."""
    with running() as server:
        yield server


@pytest.fixture
def fleet(tmp_path: Path, first: Simulator, second: Simulator, redis: RedisServer) -> _Start:
    """`fleet("a", "b")`: replicas of these names, each with a folder of its own; `more` is configuration."""

    @contextlib.asynccontextmanager
    async def start(*names: str, **more: object) -> AsyncIterator[list[Intent]]:
        async with contextlib.AsyncExitStack() as stack:

            async def one(name: str) -> Intent:
                folder = tmp_path / name
                folder.mkdir(exist_ok=True)
                config = settings(first, second, store=redis.url, **more)
                return await stack.enter_async_context(intending(folder, config))

            yield [await one(name) for name in names]

    return start


async def _agree(replicas: Sequence[Intent], revision: str, seconds: float = _SOON) -> None:
    """All serve it, and say so: in status, in records, and in who answers."""
    for replica in replicas:
        await replica.until_revision(revision, seconds)
    assert len({await replica.served() for replica in replicas}) == 1


async def test_a_change_is_in_force_on_all_replicas_within_two_seconds(fleet: _Start, tmp_path: Path) -> None:
    """Whoever it is made at: an edit, a null, a restore; records everywhere name the same revision, and each disk has
    the same copy."""
    async with fleet("a", "b", "c") as replicas:
        one, two, three = replicas
        assert len({await replica.revision() for replica in replicas}) == 1
        for made_at, tier in ((one, "second/m1"), (three, "first/m2"), (two, "second/m3")):
            assert (await made_at.bind(tier)).status == 200
            await _agree(replicas, await made_at.revision())
            assert await one.served() == tier
        assert (await two.restore(2)).status == 200
        await _agree(replicas, await two.revision())
        assert await three.served() == "second/m1"
        await three.rebind(primary=None, fallbacks=None)
        revision = await three.revision()
        for replica in replicas:
            await replica.until_revision(revision, _SOON)
            assert (await replica.refused()).document()["error"]["code"] == "assistant_unbound"
        copies = {(tmp_path / name / "homeport-state" / "revisions.json").read_bytes() for name in "abc"}
        assert len(copies) == 1
        listed = [await replica.revisions() for replica in replicas]
        assert listed[0] == listed[1] == listed[2]
        assert [each["number"] for each in listed[0]] == [6, 5, 4, 3, 2, 1]


async def test_two_who_edit_at_once_have_one_winner(fleet: _Start) -> None:
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
            await _agree(replicas, await replicas[winner].revision())
            assert await replicas[1 - winner].served() == f"second/m{turn}-{winner}"
        assert (await replicas[0].revisions())[0]["number"] == 9


async def test_a_flushed_redis_is_filled_again_and_nothing_is_undone(fleet: _Start, redis: RedisServer) -> None:
    """Under callers, with a null in force; edits go on with the numbers that come next."""
    async with fleet("a", "b", "c", assistants={"bot": chain("first/big"), "other": chain("second/o")}) as replicas:
        one, two, three = replicas
        await one.bind("second/kept")
        await two.until_revision(await one.revision())
        assert (await two.rebind(assistant="other", primary=None)).status == 200
        revision = await two.revision()
        await _agree(replicas, revision)
        for _ in range(2):
            redis.command("FLUSHALL")
            await until(lambda: _known(redis), _SOON)
            await _agree(replicas, revision)
            assert await three.served() == "second/kept"
            assert (await three.refused("other")).document()["error"]["code"] == "assistant_unbound"
        tag = (await three.call("GET", "/api/assistants/bot")).tag
        assert (await three.bind("first/next", tag)).status == 200
        await _agree(replicas, await three.revision())
        assert [each["number"] for each in await one.revisions()] == [4, 3, 2, 1]
        assert not [line for each in replicas for line in each.replica.lines if line["event"] == "revisions_dropped"]


async def _known(redis: RedisServer) -> bool:
    return bool(redis.command("EXISTS", _KEY))


async def test_while_redis_is_away_nothing_is_changed_and_all_is_served(fleet: _Start, redis: RedisServer) -> None:
    """503, the same in force as before; a restart without Redis has all edits from its disk; when Redis is back, empty,
    it has them too, and a newcomer as well."""
    async with fleet("a", "b") as replicas:
        one, _ = replicas
        await one.bind("second/kept")
        await one.rebind(fallbacks=None)
        revision = await one.revision()
        await _agree(replicas, revision)
        redis.kill()
        for told in (await one.bind("first/lost"), await one.restore(1), await one.settle("primary", "keep")):
            assert (told.status, told.code) == (503, "store_away")
        await _agree(replicas, revision)
        assert (await one.shown())["fallbacks"] == []
    async with fleet("a", "b") as replicas:
        one, _ = replicas
        await _agree(replicas, revision)
        assert await one.served() == "second/kept"
        assert (await one.shown())["fallbacks"] == []
        assert (await one.bind("first/lost")).status == 503
        redis.restart()
        await until(lambda: _known(redis), 10)
        await _agree(replicas, revision)
        async with fleet("newcomer") as newcomers:
            await _agree([*replicas, *newcomers], revision)
            assert (await newcomers[0].bind("first/again")).status == 200
            await _agree([*replicas, *newcomers], await newcomers[0].revision())


async def test_what_was_told_to_be_made_outlives_the_replica_that_made_it(fleet: _Start) -> None:
    """Killed with its answer, before anybody else has looked."""
    async with fleet("a", "b", "c") as replicas:
        one, *others = replicas
        told = await one.bind("second/made")
        await one.replica.stop(signal.SIGKILL)
        assert told.status == 200
        for other in others:
            await until(lambda other=other: _primary(other, "second/made"), _SOON)  # type: ignore[misc]
            assert await other.served() == "second/made"


async def _primary(intent: Intent, tier: str) -> bool:
    return bool((await intent.shown())["primary"] == bound(tier))


async def test_all_of_it_may_stop_and_an_explicit_null_stays(fleet: _Start, redis: RedisServer) -> None:
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
                await until(lambda replica=replica: _primary_is_null(replica), _SOON)  # type: ignore[misc]
                assert (await replica.refused()).document()["error"]["code"] == "assistant_unbound"
                assert [each["number"] for each in await replica.revisions()][-newest:] == list(range(newest, 0, -1))


async def _primary_is_null(intent: Intent) -> bool:
    return (await intent.shown())["primary"] is None


async def test_edits_and_files_change_under_callers_of_the_whole_fleet(fleet: _Start, redis: RedisServer) -> None:
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
