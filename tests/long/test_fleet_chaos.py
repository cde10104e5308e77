"""Whatever befalls Redis, or the wire to it: callers get their answers, and the replicas agree again afterwards."""

from __future__ import annotations

import asyncio
import functools
import signal
import statistics
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from proxy.breaker import machine
from proxy.breaker.link import ASK_LIMIT
from proxy.breaker.redis_store import STEP
from proxy.demo import moods
from tests.integration.fleet import (
    THRESHOLD,
    Answer,
    Fleet,
    Seen,
    check_edges,
    check_waits,
    failed,
    running_fleet,
    soon,
)
from tests.integration.redis_server import RedisServer, running
from tests.integration.wire import Wire, wired

_RATE = 50.0
_COOLDOWN_MAX = 2.0
_WELL, _BOTH, _DEAD = 1.3, 2.0, 1.0
"""Seconds: trouble alone, trouble while the primary is dead too, a dead primary alone."""
_HOME = 10 * (_COOLDOWN_MAX + machine.LEASE + 1)
"""Seconds; ten times the promise, and most of it is one lease in which nobody is let through as a probe."""
_STRIKE = Callable[[RedisServer, Wire], None]


@dataclass(frozen=True, slots=True)
class Trouble:
    """What happens to Redis or to the wire, and how it ends."""

    name: str
    begins: _STRIKE
    ends: _STRIKE
    away: str | None = None
    """How replicas call it; None where Redis still does its work."""


def _password(redis: RedisServer, wire: Wire) -> None:
    redis.command("CONFIG", "SET", "requirepass", "changed")
    redis.password = "changed"
    redis.command("CLIENT", "KILL", "TYPE", "normal")
    redis.command("CLIENT", "KILL", "TYPE", "pubsub")


def _no_password(redis: RedisServer, wire: Wire) -> None:
    redis.command("CONFIG", "SET", "requirepass", "")
    redis.password = None


def _flush(redis: RedisServer, wire: Wire) -> None:
    redis.command("FLUSHALL")
    redis.command("SCRIPT", "FLUSH")


def _delays(seconds: float) -> _STRIKE:
    def strike(_: RedisServer, wire: Wire) -> None:
        wire.delay = seconds

    return strike


def _mended(_: RedisServer, wire: Wire) -> None:
    wire.mend()


_KILLED = Trouble("killed", lambda redis, _: redis.kill(), lambda redis, _: redis.restart(), "refused")
_FROZEN = Trouble("frozen", lambda redis, _: redis.pause(), lambda redis, _: redis.resume(), "timeout")
_TOO_SLOW = Trouble("too-slow", _delays(0.4), _mended, "timeout")
_TROUBLES = [
    _KILLED,
    _FROZEN,
    Trouble("flushed", _flush, _flush),
    Trouble("slow", _delays(0.05), _mended),
    _TOO_SLOW,
    Trouble("no-pushes", lambda _, wire: wire.cut_pushes(), _mended),
    Trouble("silent-pushes", lambda _, wire: wire.hold(pushes_only=True), _mended),
    Trouble("password", _password, _no_password, "auth"),
    Trouble(
        "full",
        lambda redis, _: redis.command("CONFIG", "SET", "maxmemory", "1"),
        lambda redis, _: redis.command("CONFIG", "SET", "maxmemory", "0"),
        "full",
    ),
    Trouble(
        "readonly",
        lambda redis, _: redis.command("REPLICAOF", "127.0.0.1", "1"),
        lambda redis, _: redis.command("REPLICAOF", "NO", "ONE"),
        "readonly",
    ),
]


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    """One that a test may break."""
    with running() as server:
        yield server


def _agreed(seen: list[Seen]) -> bool:
    """All of them share what they know, and know that the primary is dead."""
    shared = all(each.up and not each.local for each in seen) and len({each.version for each in seen}) == 1
    return shared and all(each.word in ("open", "half_open") for each in seen)


async def _in_time(fleet: Fleet, answers: list[Answer]) -> list[float]:
    """Nobody failed, and nobody waited for us. Milliseconds of our own in each request."""
    assert failed(answers) == []
    lines = await fleet.lines(answers)
    check_waits(lines)
    return [float(line["overhead_ms"]) for line in lines]


async def _brief(fleet: Fleet, trouble: Trouble, seconds: float) -> None:
    """The log has one line per edge of the store, a few of breakers, and nothing else but requests."""
    for replica in fleet.replicas:
        others = [line for line in replica.lines if line["event"] != "request"]
        assert {line["event"] for line in others} <= {"ready", "store", "breaker"}
        await check_edges(replica, *([] if trouble.away is None else [trouble.away]))
        # A probe is two lines, and there is at most one a second.
        assert len(others) <= 10 + 2 * seconds


@pytest.mark.parametrize("trouble", _TROUBLES, ids=lambda trouble: trouble.name)
async def test_trouble_with_redis(tmp_path: Path, redis: RedisServer, trouble: Trouble) -> None:
    """No caller fails or waits for it, not even when the primary dies at the same time; then all agree, and come home.

    When it is over one replica's failures spare the others as before.
    """
    began = time.monotonic()
    async with wired(redis.port) as wire, running_fleet(tmp_path, wire.url, "bot") as fleet:
        async with fleet.callers("bot", _RATE) as answers:
            await asyncio.sleep(0.5)
            trouble.begins(redis, wire)
            await asyncio.sleep(_WELL)
            assert {answer.tier for answer in answers} == {"primary"}

            fleet.first.mood, reached = moods.status(503), fleet.first.by_path.total()
            await asyncio.sleep(_BOTH)
            alone = any(answer.reason.endswith("state=local)") for answer in answers)
            reached = fleet.first.by_path.total() - reached
            # Each replica by itself at worst: the threshold, what was in flight, and a probe a second.
            assert THRESHOLD <= reached <= len(fleet.replicas) * (THRESHOLD + 3 + _BOTH)
            trouble.ends(redis, wire)
            await asyncio.sleep(_DEAD)
            await fleet.all_see("bot", _agreed)

            fleet.first.mood = moods.WELL
            await soon(lambda: [each.tier for each in answers[-6:]] == ["primary"] * 6, _HOME)
            await fleet.home("bot", _HOME)

            fleet.first.mood, reached = moods.status(503), fleet.first.by_path.total()
            await soon(lambda: [_denied(each.reason) for each in answers[-6:]] == [True] * 6, 10)
            reached = fleet.first.by_path.total() - reached
            await fleet.all_see("bot", _agreed)
        assert trouble.away is None or alone
        assert reached <= THRESHOLD + 5
        await _in_time(fleet, answers)
        await _brief(fleet, trouble, time.monotonic() - began)


@pytest.mark.parametrize(
    "trouble",
    [_FROZEN, Trouble("blackhole", lambda _, wire: wire.hold(), _mended, "timeout"), _TOO_SLOW, _KILLED],
    ids=lambda trouble: trouble.name,
)
async def test_redis_is_lost_while_a_tier_is_dead(tmp_path: Path, redis: RedisServer, trouble: Trouble) -> None:
    """Requests that ask to be probes meet it: each of them goes on in time, and each replica then probes by itself."""
    began = time.monotonic()
    async with wired(redis.port) as wire, running_fleet(tmp_path, wire.url, "bot") as fleet:
        fleet.first.mood = moods.status(503)
        async with fleet.callers("bot", _RATE) as answers:
            await soon(lambda: _denied(answers[-1].reason) if answers else False)
            await _nearly_rested(fleet)
            trouble.begins(redis, wire)
            await asyncio.sleep(3)
            trouble.ends(redis, wire)
            await fleet.all_see("bot", _agreed)
        assert len(answers) > 100
        # The fleet's threshold and what was in flight; then a probe a second, of each replica at worst.
        seconds = time.monotonic() - began
        assert THRESHOLD < fleet.first.by_path.total() <= THRESHOLD + 5 + len(fleet.replicas) * seconds
        overheads = await _in_time(fleet, answers)
        if trouble.away == "timeout":
            waited = [each for each in overheads if each > ASK_LIMIT * 1000 - 5]
            assert waited, "nobody asked while nobody answered"
            assert statistics.median(waited) < STEP * 1000 - 50, "they waited for the store's own limit"
        await _brief(fleet, trouble, seconds)


async def _nearly_rested(fleet: Fleet) -> None:
    """Until the primary will be asked again in 0.3 s: in another rest, if a machine that stood still slept over it."""
    while True:
        status = await fleet.status(fleet.replicas[0])
        for each in status["breakers"]:
            until = float(each["until"]) if each["state"] == "open" else 0.0
            if until - time.time() > 0.5:
                await asyncio.sleep(until - time.time() - 0.3)
                if until - time.time() > 0.2:
                    return
        await asyncio.sleep(0.05)


async def test_a_permanent_fault_outlives_redis(tmp_path: Path, redis: RedisServer) -> None:
    """Whether it is emptied or restarted empty, the tier stays disabled, and a newcomer is told so too."""
    async with wired(redis.port) as wire, running_fleet(tmp_path, wire.url, "bot", replicas=2) as fleet:
        fleet.first.mood = moods.status(401)
        await fleet.ask(fleet.replicas[0], "bot")
        await fleet.all_see("bot", _disabled, 5)
        fleet.first.mood = moods.WELL
        losses: tuple[Callable[[], None], ...] = (functools.partial(_flush, redis, wire), redis.restart)
        for lose in losses:
            async with fleet.callers("bot", _RATE) as answers:
                lose()
                # As long as a look for news takes.
                await asyncio.sleep(2)
                await fleet.all_see("bot", _disabled)
            newcomer = await fleet.add()
            answers.append(await fleet.ask(newcomer, "bot"))
            assert failed(answers) == []
            assert {answer.reason for answer in answers} == {"primary=disabled(invalid_api_key)"}
        assert fleet.first.by_path.total() == 1


def _disabled(seen: list[Seen]) -> bool:
    return all(each.word == "disabled" and each.up for each in seen)


def _denied(reason: str) -> bool:
    return reason.startswith(("primary=open(", "primary=half_open("))


async def test_a_probe_whose_replica_was_killed_is_made_by_another(tmp_path: Path, redis: RedisServer) -> None:
    """The place stays taken for the rest of the lease, and then one of the others asks and all come home."""
    async with running_fleet(tmp_path, redis.url, "bot") as fleet:
        fleet.first.mood = moods.status(503)
        owner, *others = fleet.replicas
        for _ in range(THRESHOLD):
            await fleet.ask(owner, "bot")
        fleet.first.mood = moods.hang()
        async with asyncio.TaskGroup() as tasks:

            async def cut_off() -> bool:
                return (await fleet.ask(owner, "bot")).status == 0

            tasks.create_task(soon(cut_off))
            await fleet.first.until(lambda: fleet.first.by_path.total() > THRESHOLD)
            held = time.monotonic()
            await fleet.all_see("bot", lambda seen: {each.word for each in seen} == {"half_open"})
            await fleet.end(owner, signal.SIGKILL)
        fleet.first.mood = moods.WELL
        async with fleet.callers("bot", _RATE) as answers:
            await fleet.first.until(lambda: fleet.first.by_path.total() > THRESHOLD + 1)
            waited = time.monotonic() - held
            await fleet.home("bot")
        # The place was given a moment before the request arrived.
        assert machine.LEASE - 1 < waited < machine.LEASE + 10
        assert failed(answers) == []
        lines = await fleet.lines(answers)
        assert [step["probe"] for line in lines for step in line["steps"] if "probe" in step] == ["half_open"]
        for replica in others:
            await check_edges(replica)


async def test_a_primary_that_came_home_without_redis_stays_home_with_it(tmp_path: Path, redis: RedisServer) -> None:
    """What each replica found out alone is not forgotten when Redis, which knows nothing newer, is back."""
    async with wired(redis.port) as wire, running_fleet(tmp_path, wire.url, "bot") as fleet:
        fleet.first.mood = moods.status(503)
        async with fleet.callers("bot", _RATE) as answers:
            await soon(lambda: _denied(answers[-1].reason) if answers else False)
            wire.hold()
            fleet.first.mood = moods.WELL
            await soon(lambda: [each.tier for each in answers[-50:]] == ["primary"] * 50)
            back = len(answers)
            wire.mend()
            await fleet.all_see("bot", lambda seen: all(each.up for each in seen))
            await asyncio.sleep(3)
        assert failed(answers) == []
        assert [answer.reason for answer in answers[back:] if answer.tier != "primary"] == []


async def test_a_wire_that_fails_now_and_then_keeps_no_tier_away(tmp_path: Path, redis: RedisServer) -> None:
    """More often than a lease is long, and yet some request asks, and a primary that is well comes home."""
    async with wired(redis.port) as wire, running_fleet(tmp_path, wire.url, "bot") as fleet:

        async def fail() -> None:
            while True:
                wire.hold()
                await asyncio.sleep(1.5)
                wire.mend()
                await asyncio.sleep(machine.LEASE / 2)

        fleet.first.mood = moods.status(503)
        async with fleet.callers("bot", _RATE) as answers:
            await soon(lambda: _denied(answers[-1].reason) if answers else False)
            failing = asyncio.create_task(fail())
            fleet.first.mood = moods.WELL
            try:
                # For longer than a failure lasts, so it is not only while each decides alone.
                await soon(lambda: {each.tier for each in answers[-200:]} == {"primary"}, 3 * machine.LEASE)
            finally:
                failing.cancel()
        assert failed(answers) == []
