"""A fleet with one account and a store: a refresh token that is good for one use is spent once, whatever dies."""

from __future__ import annotations

import asyncio
import signal
import time
from functools import partial
from pathlib import Path

from proxy.upstream.oauth.vault import LOCK, SETTLE
from tests.e2e.caller import ask
from tests.e2e.conftest import this_tree
from tests.e2e.replica import Replica
from tests.integration.accounts_fleet import config, fleet, lines, load, served, server
from tests.integration.fleet import soon
from tests.integration.oauth_server import OAuthServer
from tests.integration.redis_server import RedisServer

__all__ = ["server", "this_tree"]


async def test_three_replicas_spend_a_rotating_token_once_a_period(
    tmp_path: Path, server: OAuthServer, own_redis: RedisServer
) -> None:
    """From one and the same first token, under load: every request is served, and one of them refreshes at a time."""
    text = config(server, own_redis.url, refresh_token=server.log_in().refresh)
    async with fleet(tmp_path, text) as replicas:
        began = time.monotonic()
        seen = await load(replicas, 1.5, lambda: server.refreshes >= 3)
        assert {status for status, _ in seen} == {200}, seen
        assert server.reused == 0
        assert server.asked == server.refreshes == len(lines(replicas, "refreshed"))
        assert 3 <= server.refreshes <= (time.monotonic() - began) / (5 * 0.75) + 2
        assert len(lines(replicas, "taken")) >= server.refreshes
        late = await load(replicas, 0.5)
        assert {status for status, _ in late} == {200}
    async with fleet(_new(tmp_path), text, 1) as (fresh,):
        # The reference still names the first token, which was spent long ago: the store knows better.
        assert await served(fresh)
        assert server.reused == 0


def _new(folder: Path) -> Path:
    again = folder / "again"
    again.mkdir()
    return again


async def test_a_replica_that_dies_in_a_refresh_loses_nothing(
    tmp_path: Path, server: OAuthServer, own_redis: RedisServer
) -> None:
    """Killed before the endpoint has acted: its lock ends, and another refreshes with the same token."""
    server.gate = asyncio.Event()
    text = config(server, own_redis.url, refresh_token=server.log_in().refresh)
    async with fleet(tmp_path, text) as replicas:
        await soon(lambda: server.asked == 1)
        (key,) = own_redis.command("KEYS", "*oauth*:lock")
        owner = own_redis.command("GET", key)
        # Which of them asks is not told; the one that does has a connection to the token endpoint.
        asking = next(each for each in replicas if _connected(each, server))
        await asking.stop(signal.SIGKILL)
        replicas.remove(asking)
        server.gate.set()
        assert own_redis.command("GET", key) == owner
        await soon(lambda: bool(lines(replicas, "refreshed")), LOCK + 15)
        for replica in replicas:
            await soon(partial(served, replica))
        seen = await load(replicas, 1)
        assert {status for status, _ in seen} == {200}
        assert (server.reused, server.refreshes) == (0, 1)


def _connected(replica: Replica, server: OAuthServer) -> bool:
    """Has it a connection to the server?"""
    port = f":{int(server.base_url.split(':')[2].split('/')[0]):04X}"
    own = {
        link.name
        for each in Path(f"/proc/{replica.process.pid}/fd").iterdir()
        for link in [Path(each.readlink())]
        if link.name.startswith("socket:")
    }
    rows = [row.split() for row in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return any(row[2].endswith(port) and row[3] == "01" and f"socket:[{row[9]}]" in own for row in rows)


async def test_after_a_flush_nobody_spends_an_older_token(
    tmp_path: Path, server: OAuthServer, own_redis: RedisServer
) -> None:
    """Again and again, under load; not once more within the moment in which all replicas look at an emptied store."""
    text = config(server, own_redis.url, refresh_token=server.log_in().refresh)
    async with fleet(tmp_path, text) as replicas:
        await soon(lambda: server.refreshes >= 1)
        asking = asyncio.create_task(load(replicas, 2 * SETTLE * 4.25))
        for _ in range(4):
            await asyncio.sleep(2 * SETTLE)
            own_redis.command("FLUSHALL")
        seen = await asking
        assert {status for status, _ in seen} == {200}, seen
        assert server.reused == 0
        assert server.refreshes >= 3


async def test_while_the_store_is_away_a_reference_is_not_spent(
    tmp_path: Path, server: OAuthServer, own_redis: RedisServer
) -> None:
    """The access token serves to its end; then attempts fail as the network's fault; the store's return mends it."""
    text = config(server, own_redis.url, refresh_token=server.log_in().refresh)
    async with fleet(tmp_path, text) as replicas:
        await soon(lambda: server.refreshes >= 1)
        seen = await load(replicas, 1)
        assert {status for status, _ in seen} == {200}
        own_redis.pause()
        await soon(lambda: any(each["why"] == "store_away" for each in lines(replicas, "failed")), 30)
        spent = server.refreshes
        await asyncio.sleep(server.lives)
        answer = await ask(replicas[0], "bot")
        assert (answer.status, server.refreshes) == (503, spent)
        assert "oauth_unreachable" in answer.headers["x-homeport-reason"]
        own_redis.resume()
        for replica in replicas:
            await soon(partial(served, replica))
        assert server.reused == 0
