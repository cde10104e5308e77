"""A fleet with one account: a refresh token that is good for one use is spent once, whoever dies, goes or forgets."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import time
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path
from typing import Any

import orjson
import pytest

import proxy
from proxy.upstream.oauth.vault import LOCK
from tests.e2e.caller import ask, chain, written
from tests.e2e.replica import Replica, serve
from tests.integration.fleet import soon
from tests.integration.oauth_server import PUBLIC, OAuthServer, oauth_server
from tests.integration.redis_server import RedisServer


@pytest.fixture(autouse=True)
def this_tree(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command runs the code that is under test, whatever it would import by itself."""
    monkeypatch.setenv("PYTHONPATH", str(Path(proxy.__file__).parents[1]))


@pytest.fixture
async def server() -> AsyncIterator[OAuthServer]:
    """Access tokens live for some seconds, and end with their successor."""
    async with oauth_server(lives=5) as each:
        yield each


def config(server: OAuthServer, store: str, **oauth: object) -> str:
    """One replica's."""
    account = {"token_url": server.token_url, "client_id": PUBLIC, **oauth}
    source = {"kind": "openai-compatible", "base_url": server.base_url, "oauth": account}
    bot = chain("account/big", timeouts={"connect": "8s"})
    breaker = {"failure_threshold": 50, "minimum_calls": 100000}
    return written(sources={"account": source}, assistants={"bot": bot}, store=store, breaker=breaker)


@contextlib.asynccontextmanager
async def fleet(folder: Path, text: str, count: int = 3) -> AsyncIterator[list[Replica]]:
    """Replicas of one configuration, each in a folder of its own."""
    async with contextlib.AsyncExitStack() as stack:

        async def one(number: int) -> Replica:
            own = folder / f"replica-{number}"
            own.mkdir()
            return await stack.enter_async_context(serve(own, text))

        yield await asyncio.gather(*map(one, range(count)))


async def load(replicas: list[Replica], seconds: float) -> list[tuple[int, str]]:
    """Ask each of them all the time: statuses and reasons."""
    until = time.monotonic() + seconds
    seen: list[tuple[int, str]] = []

    async def keep_asking(replica: Replica) -> None:
        while time.monotonic() < until:
            answer = await ask(replica, "bot")
            seen.append((answer.status, answer.headers.get("x-homeport-reason", "")))
            await asyncio.sleep(0.02)

    await asyncio.gather(*map(keep_asking, replicas))
    return seen


def lines(replicas: list[Replica], result: str) -> list[dict[str, Any]]:
    """What they say of refreshes with this result."""
    return [
        each
        for replica in replicas
        for each in replica.lines
        if (each["event"], each.get("result")) == ("credential", result)
    ]


async def served(replica: Replica) -> bool:
    """Does it serve again?"""
    return (await ask(replica, "bot")).status == 200


async def test_three_replicas_spend_a_rotating_token_once_a_period(
    tmp_path: Path, server: OAuthServer, own_redis: RedisServer
) -> None:
    """From one and the same first token, under load: every request is served, and one of them refreshes at a time."""
    text = config(server, own_redis.url, refresh_token=server.log_in().refresh)
    async with fleet(tmp_path, text) as replicas:
        seen = await load(replicas, 14)
        assert {status for status, _ in seen} == {200}, seen
        assert server.reused == 0
        assert server.asked == server.refreshes == len(lines(replicas, "refreshed"))
        assert 3 <= server.refreshes <= 14 / (5 * 0.75) + 2
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
    """Again and again, under load."""
    text = config(server, own_redis.url, refresh_token=server.log_in().refresh)
    async with fleet(tmp_path, text) as replicas:
        await soon(lambda: server.refreshes >= 1)
        asking = asyncio.create_task(load(replicas, 12))
        for _ in range(8):
            await asyncio.sleep(1.3)
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
        seen = await load(replicas, 14)
        assert {status for status, _ in seen} == {200}, seen
        assert server.reused == 0
        assert server.asked == server.refreshes
        assert server.refreshes >= 2
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
