"""Replicas with one account and a file for its tokens: one of them spends each, and what comes of it is not lost."""

from __future__ import annotations

import asyncio
import signal
import time
from pathlib import Path

import orjson
import pytest

from tests.e2e.conftest import this_tree
from tests.e2e.replica import Replica
from tests.integration.accounts_fleet import config, fleet, load, served, server
from tests.integration.fleet import soon
from tests.integration.oauth_server import OAuthServer
from tests.integration.redis_server import RedisServer

__all__ = ["server", "this_tree"]


@pytest.mark.parametrize("store", ["memory", "away"])
async def test_replicas_of_one_machine_share_a_file(
    tmp_path: Path, server: OAuthServer, own_redis: RedisServer, store: str
) -> None:
    """Without a store, or while it is away, the file's lock says whose turn it is, and the file has the new token."""
    pair, file = server.log_in(lives=30), tmp_path / "token.json"
    document = {"access_token": pair.access, "refresh_token": pair.refresh, "expires_at": time.time() + 5}
    file.write_bytes(orjson.dumps(document))
    file.chmod(0o600)
    text = config(server, "memory" if store == "memory" else own_redis.url, token_file=str(file))
    async with fleet(tmp_path, text) as replicas:
        if store == "away":
            own_redis.kill()
        seen = await load(replicas, 1.5, lambda: server.refreshes >= 2)
        assert {status for status, _ in seen} == {200}, seen
        assert server.reused == 0
        assert server.asked == server.refreshes >= 2
    assert orjson.loads(file.read_bytes())["refresh_token"] == server.issued[-1].refresh


async def test_a_source_that_is_edited_in_a_refresh_keeps_what_comes_of_it(tmp_path: Path, server: OAuthServer) -> None:
    """The configuration changes while the endpoint thinks: the new token is not lost, and serves the new one."""
    server.lives, server.gate = 3600, asyncio.Event()
    text = config(server, "memory", refresh_token=server.log_in().refresh)
    async with fleet(tmp_path, text, 1) as (replica,):
        await soon(lambda: server.asked == 1)
        file = tmp_path / "replica-0" / "homeport.yaml"
        file.write_text(file.read_text().replace('"oauth":', '"headers":{"X-Team":"blue"},"oauth":'))
        await replica.line("reload", result="ok")
        server.gate.set()
        await replica.line("credential", result="refreshed")
        assert await served(replica)
        assert server.sent[-1][1]["X-Team"] == "blue"
        assert (server.asked, server.reused) == (1, 0)


async def _gone(replica: Replica) -> bool:
    """Does it listen no more?"""
    host, port = replica.api.removeprefix("http://").split(":")
    try:
        _, writer = await asyncio.open_connection(host, int(port))
    except ConnectionError:
        return True
    writer.close()
    return False


async def test_a_replica_that_is_stopped_in_a_refresh_keeps_what_comes_of_it(
    tmp_path: Path, server: OAuthServer
) -> None:
    """SIGTERM while the endpoint thinks: it waits for the answer, and the file has the new token."""
    server.lives, server.gate = 3600, asyncio.Event()
    file = tmp_path / "token.json"
    file.write_bytes(orjson.dumps({"refresh_token": server.log_in().refresh}))
    text = config(server, "memory", token_file=str(file))
    async with fleet(tmp_path, text, 1) as (replica,):
        await soon(lambda: server.asked == 1)
        replica.process.send_signal(signal.SIGTERM)
        await soon(lambda: _gone(replica))
        server.gate.set()
        assert await replica.stop() == 0
        assert orjson.loads(file.read_bytes())["access_token"] == server.issued[-1].access
        assert (server.asked, server.refreshes) == (1, 1)
