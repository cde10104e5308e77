"""Replicas over one Redis act as one: what one has met spares the others, and health costs Redis nothing."""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import aiohttp
import pytest
import pytest_asyncio

from proxy.demo import moods
from tests.e2e.replica import Replica
from tests.integration.fleet import THRESHOLD, Answer, Fleet, check_edges, check_waits, failed, running_fleet, soon
from tests.integration.redis_server import RedisServer, running
from tests.integration.wire import wired

pytestmark = pytest.mark.asyncio(loop_scope="module")

_PUSHED = 0.5
"""Seconds in which a push is seen: ten times the promise."""
_POLLED = 13.0
"""Seconds in which a change is seen without pushes: ten times the promise."""
_RESTS_LONG = {"cooldown": "2m"}
"""Longer than any test."""
_RESTS = {"cooldown": "3s", "cooldown_max": "6s"}


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def everyone(tmp_path_factory: pytest.TempPathFactory, shared_redis: RedisServer) -> AsyncIterator[Fleet]:
    """Three replicas whose tiers rest for minutes; each test has an assistant of its own."""
    store = f"{shared_redis.url}?namespace=fleet"
    names = ("told", "busy", "healthy", "joined", "apart")
    async with running_fleet(tmp_path_factory.mktemp("fleet"), store, *names, breaker=_RESTS_LONG) as fleet:
        yield fleet


@pytest.fixture
def fleet(everyone: Fleet) -> Fleet:
    """The same, with its upstreams well."""
    everyone.first.mood = moods.WELL
    return everyone


async def _trip(fleet: Fleet, assistant: str) -> None:
    """By requests to the first replica alone, one after the other."""
    fleet.first.mood = moods.status(503)
    answers = [await fleet.ask(fleet.replicas[0], assistant) for _ in range(THRESHOLD)]
    assert [(answer.status, answer.tier) for answer in answers] == [(200, "fallback-1")] * THRESHOLD
    assert len(fleet.reached(assistant)) == THRESHOLD


def _spared(answer: Answer, *, local: bool = False) -> bool:
    """The primary was skipped, and it is said why and by whose judgement."""
    reason = answer.reason
    known = reason.startswith("primary=open(server_is_overloaded,retry_in=")
    return (answer.status, answer.tier) == (200, "fallback-1") and known and reason.endswith(",state=local)") is local


async def _spares(fleet: Fleet, replica: Replica, assistant: str, seconds: float) -> None:
    """The replica knows of the trip within so many seconds; no request is spent to find out."""

    async def known() -> bool:
        return (await fleet.seen(replica, assistant)).word == "open"

    await soon(known, seconds)
    assert _spared(await fleet.ask(replica, assistant))


async def test_what_one_replica_has_met_spares_the_others(fleet: Fleet) -> None:
    """Three failures on one of them, and no request of the others is sent there; the log names those three."""
    await _trip(fleet, "told")
    for replica in fleet.replicas[1:]:
        await _spares(fleet, replica, "told", _PUSHED)
    assert len(fleet.reached("told")) == THRESHOLD

    def tripping() -> list[str]:
        return [line["request_id"] for line in fleet.replicas[0].requests() if line["assistant"] == "told"]

    await fleet.replicas[0].until(lambda: len(tripping()) >= THRESHOLD)
    tripped_by = tripping()
    for replica in fleet.replicas[1:]:
        line = await replica.line("request", assistant="told")
        assert line["steps"][0]["breaker"]["tripped_by"] == tripped_by[:THRESHOLD]
        delays = (await fleet.status(replica))["store"]["propagation_seconds"]
        assert delays["count"] > 0
        assert delays["p99"] < _PUSHED


async def test_a_tier_that_dies_under_load_costs_the_fleet_a_few_requests(fleet: Fleet) -> None:
    """All replicas together send it the threshold and what was in flight, while hundreds are served elsewhere."""
    fleet.first.mood = moods.status(503)
    answers: list[Answer] = []

    async def caller(place: int) -> None:
        for _ in range(30):
            answers.append(await fleet.ask(fleet.replicas[place % 3], "busy"))
            await asyncio.sleep(0.02)

    await asyncio.gather(*map(caller, range(6)))
    assert len(answers) == 180
    assert {(answer.status, answer.tier) for answer in answers} == {(200, "fallback-1")}
    # Each caller has one in flight when the third failure is heard, and one more while that is made known.
    assert THRESHOLD <= len(fleet.reached("busy")) <= THRESHOLD + 2 * 6


async def test_healthy_traffic_costs_redis_nothing(fleet: Fleet, shared_redis: RedisServer) -> None:
    """Whatever the load, each replica looks for news once a second and writes records in batches; nothing else."""

    def calls() -> Counter[str]:
        stats = shared_redis.command("INFO", "commandstats")
        return Counter({name.removeprefix("cmdstat_"): each["calls"] for name, each in stats.items()})

    async def operations() -> Counter[str]:
        count: Counter[str] = Counter()
        for replica in fleet.replicas:
            for name, value in (await replica.metrics()).items():
                if name.startswith("homeport_redis_operation_seconds_count"):
                    count[name.split('"')[1]] += int(value)
        return count

    before, operations_before, began = calls(), await operations(), time.monotonic()
    async with fleet.callers("healthy") as answers:
        await asyncio.sleep(3)
    spent, told = calls() - before, await operations() - operations_before
    replica_seconds = (time.monotonic() - began) * len(fleet.replicas)

    assert len(answers) > 50
    assert {(answer.status, answer.tier) for answer in answers} == {(200, "primary")}
    assert set(told) == {"sync", "record", "book_mark"}
    assert "publish" not in spent
    assert told["record"] <= 2 * replica_seconds + 2 * len(fleet.replicas)
    # 1 s ± 20 % between two looks, and what was under way at either end.
    looks = spent["evalsha"] + spent["eval"] - told["record"] - told["book_mark"]
    assert 0 < looks <= replica_seconds / 0.8 + 2 * len(fleet.replicas)
    assert told["book_mark"] <= replica_seconds + 2 * len(fleet.replicas)
    assert spent["ping"] <= replica_seconds + 2 * len(fleet.replicas)
    check_waits(await fleet.lines(answers))


async def test_a_newcomer_knows_what_the_fleet_knows(fleet: Fleet) -> None:
    """A replica that starts while a tier is open sends it nothing, from its first request on."""
    await _trip(fleet, "joined")
    newcomer = await fleet.add()
    try:
        assert _spared(await fleet.ask(newcomer, "joined"))
        assert len(fleet.reached("joined")) == THRESHOLD
    finally:
        await fleet.end(newcomer)


async def test_fleets_with_other_namespaces_are_apart(fleet: Fleet, shared_redis: RedisServer) -> None:
    """Another fleet in the same Redis finds out for itself, and what it finds is no news to this one."""
    await _trip(fleet, "apart")
    other = await fleet.add(f"{shared_redis.url}?namespace=another")
    try:
        assert (await fleet.status(other))["store"]["replicas"] == 1
        fleet.first.mood = moods.WELL
        assert (await fleet.ask(other, "apart")).tier == "primary"
        assert _spared(await fleet.ask(fleet.replicas[1], "apart"))
        fleet.first.mood = moods.status(503)
        assert [(await fleet.ask(other, "healthy")).tier for _ in range(THRESHOLD)] == ["fallback-1"] * THRESHOLD
        assert (await fleet.seen(other, "healthy")).word == "open"
    finally:
        await fleet.end(other)
    # As long as a look for news takes.
    await asyncio.sleep(1.3)
    assert [(await fleet.seen(replica, "healthy")).word for replica in fleet.replicas] == ["closed"] * 3


async def test_one_request_of_the_whole_fleet_asks_whether_a_tier_is_back(
    tmp_path: Path, shared_redis: RedisServer
) -> None:
    """Of thirty callers at three replicas one is sent there when the rest is over, and then all come home."""
    store = f"{shared_redis.url}?namespace=probed"
    async with running_fleet(tmp_path, store, "bot", breaker=_RESTS) as fleet:
        await _trip(fleet, "bot")
        for replica in fleet.replicas[1:]:
            await _spares(fleet, replica, "bot", _PUSHED)
        fleet.first.mood = moods.delay(1.0)
        answers: list[Answer] = []
        while len(fleet.reached("bot")) == THRESHOLD:
            crowd = [fleet.ask(replica, "bot") for replica in fleet.replicas for _ in range(10)]
            answers = await asyncio.gather(*crowd)
            assert failed(answers) == []
        assert len(fleet.reached("bot")) == THRESHOLD + 1
        assert Counter(answer.tier for answer in answers) == {"primary": 1, "fallback-1": 29}
        (line,) = [line for line in await fleet.lines(answers) if line["tier"] == "primary"]
        assert line["steps"][0]["probe"] == "half_open"
        fleet.first.mood = moods.WELL
        await fleet.home("bot", _POLLED)


async def test_an_invalid_key_is_known_to_all_and_outlives_them(tmp_path: Path, shared_redis: RedisServer) -> None:
    """One request finds out; the others are spared, and so are those of replicas that start when all have ended."""
    store = f"{shared_redis.url}?namespace=disabled"
    async with running_fleet(tmp_path, store, "bot", "twin", replicas=2, breaker=_RESTS) as fleet:
        fleet.first.mood = moods.status(401)
        assert (await fleet.ask(fleet.replicas[0], "bot")).tier == "fallback-1"
        await fleet.all_see("bot", lambda seen: {each.word for each in seen} == {"disabled"}, _PUSHED)
        fleet.first.mood = moods.WELL
        for replica in list(fleet.replicas):
            await fleet.end(replica)
        for _ in range(2):
            await fleet.add()
        for replica in fleet.replicas:
            for assistant in ("bot", "twin"):
                answer = await fleet.ask(replica, assistant)
                assert (answer.status, answer.tier) == (200, "fallback-1")
                assert answer.reason == "primary=disabled(invalid_api_key)"
        assert len(fleet.first.requests) == 1


async def test_replicas_start_and_serve_without_redis_and_link_when_it_comes(
    tmp_path: Path, own_redis: RedisServer
) -> None:
    """Alone they decide alone and say so; what one has met is then told to the others."""
    own_redis.kill()
    began = time.monotonic()
    async with running_fleet(tmp_path, own_redis.url, "bot", replicas=2, breaker=_RESTS_LONG) as fleet:
        assert time.monotonic() - began < 10
        first, other = fleet.replicas
        await _trip(fleet, "bot")
        answer = await fleet.ask(first, "bot")
        assert _spared(answer, local=True)
        (line,) = await fleet.lines([answer])
        assert line["steps"][0]["breaker"]["local"] is True
        assert (await fleet.seen(first, "bot")).local
        assert (await fleet.status(first))["store"]["decides"] == "each replica alone"
        assert (await first.metrics())["homeport_redis_up"] == 0
        assert (await fleet.seen(other, "bot")).word == "closed"

        own_redis.restart()
        await fleet.all_see("bot", lambda seen: all(each.up and each.word == "open" for each in seen), _POLLED)
        await _spares(fleet, other, "bot", _POLLED)
        assert len(fleet.reached("bot")) == THRESHOLD
        for replica in fleet.replicas:
            await check_edges(replica, "refused")


@pytest.mark.parametrize("silent", [True, False], ids=["silent", "cut"])
async def test_without_pushes_news_comes_by_looking(tmp_path: Path, own_redis: RedisServer, silent: bool) -> None:
    """The others know of a trip about a second later, and the store does not count as away."""
    async with (
        wired(own_redis.port) as wire,
        running_fleet(tmp_path, wire.url, "bot", replicas=2, breaker=_RESTS_LONG) as fleet,
    ):
        if silent:
            wire.hold(pushes_only=True)
        else:
            wire.cut_pushes()
        await _trip(fleet, "bot")
        await _spares(fleet, fleet.replicas[1], "bot", _POLLED)
        assert len(fleet.reached("bot")) == THRESHOLD
        for replica in fleet.replicas:
            await check_edges(replica)


async def test_redis_password_is_told_to_nobody(tmp_path: Path) -> None:
    """Right or refused, it is neither in the log nor in metrics nor in the status."""
    password = "a+secret=for-redis"
    with running() as redis:
        redis.command("CONFIG", "SET", "requirepass", password)
        redis.password = password
        url = f"redis://:a%2Bsecret%3Dfor-redis@127.0.0.1:{redis.port}"
        async with running_fleet(tmp_path, url, "bot", replicas=1) as fleet, aiohttp.ClientSession() as session:
            (replica,) = fleet.replicas
            assert (await fleet.status(replica))["store"]["up"]
            redis.command("CONFIG", "SET", "requirepass", "another")
            redis.password = "another"
            redis.command("CLIENT", "KILL", "TYPE", "normal")
            assert (await replica.line("store", up=False))["why"] == "auth"
            assert (await fleet.ask(replica, "bot")).tier == "primary"
            async with session.get(f"{replica.admin}/metrics") as response:
                metrics = await response.text()
            assert 'homeport_redis_errors_total{error="auth"' in metrics
            status = await fleet.status(replica)
            assert status["store"]["why"] == "auth"
            told = f"{metrics}{status}{replica.lines}"
            for secret in (password, "a%2Bsecret", "another"):
                assert secret not in told
