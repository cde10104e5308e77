"""What operators are told of a shared store: up, away and back, by status, log and metrics, and never its password."""

from __future__ import annotations

import asyncio
import re
import socket
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from proxy.demo import moods
from proxy.demo.simulator import Simulator
from tests.e2e.caller import ask, source, written
from tests.e2e.operated import Operated, config, homeport, operated
from tests.integration.redis_server import RedisServer, running

_TOKEN = "tok-OPERATORS-51c7"
_PASSWORD = "pw-REDISPASSWORD-0d4e"
_STORE = {
    "kind",
    "shared",
    "up",
    "since",
    "why",
    "decides",
    "last_sync_at",
    "staleness_seconds",
    "replicas",
    "targets",
    "propagation_seconds",
}

_FAMILIES = {
    "homeport_redis_up": "gauge",
    "homeport_redis_degraded_seconds_total": "counter",
    "homeport_redis_operation_seconds": "histogram",
    "homeport_redis_errors_total": "counter",
    "homeport_state_propagation_seconds": "histogram",
    "homeport_state_last_sync_timestamp_seconds": "gauge",
    "homeport_state_version": "gauge",
}
"""What only a replica with a shared store exports; test_metrics.py has the rest."""


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    """One that asks for a password."""
    with running() as server:
        server.command("CONFIG", "SET", "requirepass", _PASSWORD)
        server.password = _PASSWORD
        yield server


def _url(server: RedisServer, password: str = _PASSWORD) -> str:
    return f"redis://:{password}@127.0.0.1:{server.port}/0?namespace=ours"


async def _opened(operator: Operated, *, local: bool) -> dict[str, Any]:
    """The primary's breaker, once it is open, by this replica's own word or by the shared one."""
    async with asyncio.timeout(20):
        while True:
            found: dict[str, Any]
            for found in (await operator.status())["breakers"]:
                if (found["tier"], found["state"], found["local"]) == ("primary", "open", local):
                    return found
            await asyncio.sleep(0.05)


async def _shell(operator: Operated) -> list[str]:
    """`homeport status`, line by line."""
    ran = await homeport("status", "--admin", operator.replica.admin, env={"HOMEPORT_ADMIN_TOKEN": _TOKEN})
    assert (ran.code, ran.err) == (0, "")
    return ran.out.splitlines()


def _silent(text: str) -> None:
    """Neither the store's URL nor a password nor the token."""
    for secret in (_PASSWORD, _TOKEN, "redis://"):
        assert secret not in text, secret


async def test_a_store_that_is_up_goes_away_and_comes_back(
    tmp_path: Path, redis: RedisServer, first: Simulator, second: Simulator
) -> None:
    """Status says since when, why, how stale, and who decides; a trip of one replica is known to the other."""
    first.mood = moods.status(503)
    settings = config(first, second, store="${STORE}", breaker={"cooldown": "5m"})
    env = {"STORE": _url(redis)}
    (tmp_path / "b").mkdir()
    began = time.time()
    async with (
        operated(tmp_path, settings, token=_TOKEN, env=env) as one,
        operated(tmp_path / "b", settings, token=_TOKEN, env=env) as other,
    ):
        store = (await one.until(replicas=2))["store"]
        assert set(store) == _STORE
        assert (store["kind"], store["shared"], store["up"], store["why"]) == ("redis", True, True, None)
        assert store["decides"] == "together"
        assert began < store["since"] <= store["last_sync_at"] <= time.time()
        assert 0 <= store["staleness_seconds"] < 20
        # Three endpoints use the chain of `bot`, and neither source has a key.
        assert store["targets"] == 6
        assert store["propagation_seconds"] == {"p50": None, "p99": None, "count": 0}

        requests = [(await ask(one.replica, "bot")).request_id for _ in range(3)]
        here, there = await _opened(one, local=False), await _opened(other, local=False)
        for each in (here, there):
            assert (each["reason"], each["tripped_by"]) == ("server_is_overloaded", requests)
            assert began + 300 < each["until"] < time.time() + 301
        heard = (await other.status())["store"]["propagation_seconds"]
        assert heard["count"] >= 1
        assert 0 <= heard["p50"] <= heard["p99"] < 10
        families = re.findall(r"^# TYPE (homeport_(?:redis|state)_\w+) (\w+)$", await other.scrape(), re.MULTILINE)
        assert dict(families) == _FAMILIES
        up = await _shell(other)
        assert re.match(
            r"store: redis, up for [^,]+, 2 replicas; last sync [^;]+ ago; changes known here after ", up[1]
        )
        assert not up[-1].endswith("sees it")
        assert "state=local" not in (await ask(other.replica, "bot")).headers["x-homeport-reason"]

        redis.pause()
        away = (await one.until(up=False, why="timeout"))["store"]
        assert set(away) == _STORE
        assert (away["decides"], away["kind"], away["shared"]) == ("each replica alone", "redis", True)
        assert store["since"] < away["since"] <= time.time()
        stale = [(await one.status())["store"] for _ in range(2)]
        assert stale[0]["last_sync_at"] == stale[1]["last_sync_at"]
        assert stale[0]["staleness_seconds"] < stale[1]["staleness_seconds"]
        alone = await _opened(one, local=True)
        assert (alone["reason"], alone["tripped_by"]) == ("server_is_overloaded", requests)
        answer = await ask(one.replica, "bot")
        assert answer.status == 200
        assert re.fullmatch(
            r"primary=open\(server_is_overloaded,retry_in=\d+s,state=local\)", answer.headers["x-homeport-reason"]
        )
        shown = await _shell(one)
        assert re.match(
            r"store: redis, AWAY for .+ \(timeout\): each replica decides alone; last sync .+ ago$", shown[1]
        )
        assert shown[-1].endswith(", as this replica alone sees it")
        scraped = await one.scrape()
        assert "homeport_redis_up 0.0" in scraped
        assert 'homeport_redis_errors_total{error="timeout",op="sync"}' in scraped
        await one.replica.line("store", up=False, why="timeout")

        redis.resume()
        back = (await one.until(up=True, replicas=2))["store"]
        assert back["since"] > away["since"]
        assert (await _opened(one, local=False))["until"] == pytest.approx(here["until"], abs=1.0)
        assert "homeport_redis_up 1.0" in await one.scrape()
        await one.replica.until(lambda: one.replica.lines[-1]["event"] == "store" and one.replica.lines[-1]["up"])
        edges = [line["up"] for line in one.replica.lines if line["event"] == "store"]
        assert edges == [True, False, True]

        _silent("".join([*up, *shown, await one.scrape(), str(await one.status()), await one.told()]))
        _silent(await other.told())


async def test_a_store_that_is_not_to_be_had_stops_nobody(
    tmp_path: Path, redis: RedisServer, first: Simulator, second: Simulator
) -> None:
    """Nobody there, or a wrong password: the replica starts, serves and says why; the password stays unsaid."""
    with socket.socket() as closed:
        closed.bind(("127.0.0.1", 0))
        nobody = f"redis://:{_PASSWORD}@127.0.0.1:{closed.getsockname()[1]}"
        for why, url in (("refused", nobody), ("auth", _url(redis, f"{_PASSWORD}-wrong"))):
            settings = config(first, second, store=url)
            async with operated(tmp_path, settings, token=_TOKEN) as operator:
                told = await operator.status()
                store = told["store"]
                assert (store["up"], store["why"], store["decides"]) == (False, why, "each replica alone")
                assert (store["last_sync_at"], store["staleness_seconds"], store["replicas"]) == (None, None, 0)
                answer = await ask(operator.replica, "bot")
                assert (answer.status, answer.headers["x-homeport-tier"]) == (200, "primary")
                shown = await _shell(operator)
                assert shown[1].endswith(f"({why}): each replica decides alone; last sync never")
                await operator.replica.line("store", up=False, why=why)
                scraped = await operator.scrape()
                assert "homeport_state_last_sync_timestamp_seconds 0.0" in scraped
                _silent("".join([*shown, scraped, str(told), await operator.told()]))


async def test_a_url_that_cannot_be_used_is_refused_at_start(tmp_path: Path, first: Simulator) -> None:
    """One line that names `store` and repeats nothing of the URL: exit 2 from the schema, 1 from the client."""
    at = f"{_PASSWORD}@127.0.0.1:1"
    urls = {
        f"http://:{at}": 2,
        f"redis+sentinel://:{at}": 2,
        f"redis://:{at}?namespace=two words": 2,
        f"redis://:half?{at}": 1,
        f"redis://:{at}?socket_timeout=60": 1,
        f"redis://:{_PASSWORD}/{at}": 1,
        f"redis://:{_PASSWORD}@127.0.0.1:port": 1,
        f"redis://:{at}?ssl_ca_certs=x": 1,
        f"rediss://:{at}?ssl_nonsense={_PASSWORD}": 1,
    }
    runs = []
    for place, url in enumerate(urls):
        file = tmp_path / f"{place}.yaml"
        listeners = {"listen": "127.0.0.1:0", "admin": {"listen": "127.0.0.1:0", "token": _TOKEN}}
        file.write_text(written(version=1, **listeners, store="${STORE}", sources={"first": source(first)}))
        runs.append(homeport("serve", "-c", file, env={"STORE": url}))
    for (url, code), ran in zip(urls.items(), await asyncio.gather(*runs), strict=True):
        assert (ran.code, ran.out) == (code, ""), (url, ran)
        assert len(ran.err.splitlines()) == 1, (url, ran.err)
        assert "store" in ran.err
        assert _PASSWORD not in ran.err
        assert "Traceback" not in ran.err
