"""Accounts' tokens on a real Redis: the newest stays, one has the lock, and what is no token is never obeyed."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable

import pytest

from proxy.breaker.redis_door import RedisDoor
from proxy.breaker.redis_scripts import ACL, TOKEN_RIGHTS
from proxy.providers.tokens import Token
from proxy.record.shared_tokens import SharedTokens
from proxy.upstream.client import Connecting
from proxy.upstream.oauth.account import Account, Settings, World
from proxy.upstream.oauth.exchange import Denied, Grant
from proxy.upstream.oauth.vault import LOCK, SETTLE, Found, Renewed, Vault
from tests.integration.oauth_server import PUBLIC, oauth_server
from tests.integration.redis_server import RedisServer

_KEY = "{homeport}:oauth:login"
Open = Callable[[str], SharedTokens]


@pytest.fixture
async def opened() -> AsyncIterator[Open]:
    """`opened(url)`: one replica's; ends with the test."""
    made: list[SharedTokens] = []

    def go(url: str) -> SharedTokens:
        made.append(SharedTokens(RedisDoor(url, time.monotonic, lambda *_: None, 1), "homeport"))
        return made[-1]

    yield go
    for each in made:
        await each.close()


@pytest.fixture
def shared(opened: Open, own_redis: RedisServer) -> SharedTokens:
    """One replica's."""
    return opened(own_redis.url)


def token(version: int) -> Token:
    """The one of this version."""
    return Token(f"access-{version}", f"refresh-{version}", 2e9, 1e9, version)


async def test_the_newest_stays_and_is_told_to_who_knows_less(shared: SharedTokens) -> None:
    """Kept over an older one only; of two of one version the first stays, and the second is told of it."""
    assert await shared.keep("login", token(2), "a") is Found.SAME
    assert await shared.look("login", token(1)) == token(2)
    assert await shared.look("login", token(2)) is Found.SAME
    assert await shared.keep("login", token(1), "a") == token(2)
    other = Token("another", "one", None, 1e9, 2)
    assert await shared.keep("login", other, "b") == token(2)
    assert await shared.keep("login", token(2), "a") is Found.SAME, "sent again, since the reply was lost"
    assert await shared.look("login", token(3)) is Found.BEHIND
    assert await shared.look("login", token(2)) == token(3)
    assert await shared.look("another", None) is Found.BEHIND


async def test_one_has_the_lock_until_it_gives_it_back_or_is_gone(shared: SharedTokens, own_redis: RedisServer) -> None:
    """Nobody else gets it or gives it back; it ends by itself; who knows too little gets a token in its place."""
    assert await shared.keep("login", token(1), "before") is Found.SAME
    assert await shared.take("login", token(1), "a", settled=False) is Found.HELD
    assert await shared.take("login", token(1), "a", settled=False) is Found.HELD, "sent again"
    assert await shared.take("login", token(1), "b", settled=True) is Found.BUSY
    assert 0 < own_redis.command("PTTL", f"{_KEY}:lock") <= LOCK * 1000
    await shared.release("login", "b")
    assert await shared.take("login", token(1), "b", settled=True) is Found.BUSY
    assert await shared.keep("login", token(2), "a") is Found.SAME
    assert await shared.take("login", token(1), "b", settled=True) == token(2)
    assert await shared.take("login", token(2), "b", settled=True) is Found.HELD
    await shared.release("login", "b")
    assert await shared.take("login", token(2), "c", settled=True) is Found.HELD


async def test_an_empty_store_gives_no_lock_before_others_could_speak(shared: SharedTokens) -> None:
    """Neither to who has a token nor to who has only the first reference."""
    assert await shared.take("login", None, "a", settled=False) is Found.BEHIND
    assert await shared.take("login", token(5), "b", settled=False) is Found.BEHIND
    assert await shared.take("login", None, "a", settled=True) == token(5)


@pytest.mark.parametrize("again", [False, True], ids=["once", "twice"])
async def test_a_moment_is_everybodys_and_an_emptied_store_has_another(
    shared: SharedTokens, own_redis: RedisServer, again: bool
) -> None:
    """Who knows no more than the one that has put its token back waits with it, however long it has waited already."""
    assert await shared.take("login", token(1), "a", settled=False) is Found.BEHIND
    assert await shared.take("login", token(1), "b", settled=True) is Found.BUSY
    if again:
        own_redis.command("FLUSHALL")
        assert await shared.take("login", token(1), "a", settled=True) is Found.BEHIND
    assert 0 < own_redis.command("PTTL", f"{_KEY}:lock") <= SETTLE * 1000
    assert await shared.look("login", token(2)) is Found.BEHIND
    assert await shared.take("login", token(1), "b", settled=True) == token(2)


@pytest.mark.parametrize("again", [False, True], ids=["once", "twice"])
async def test_who_lags_behind_does_not_spend_an_older_token_after_a_flush(
    opened: Open, own_redis: RedisServer, again: bool
) -> None:
    """It gives the others a moment, and takes what one of them puts back; also where that was lost within it."""
    words = iter("abcdefgh")
    ahead, behind = (
        Vault("login", "login", None, opened(own_redis.url), time.monotonic, lambda: next(words)) for _ in range(2)
    )
    spent: list[int] = []

    async def ask() -> Token:
        spent.append(1)
        return token(2)

    renewing = asyncio.create_task(behind.renew(token(1), ask, rotates=True))
    while not own_redis.command("EXISTS", _KEY):  # noqa: ASYNC110  # what it waits for is in another process
        await asyncio.sleep(0.01)
    assert await ahead.newest(token(2)) == token(2)
    if again:
        own_redis.command("FLUSHALL")
        while not own_redis.command("EXISTS", _KEY):  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        assert await ahead.newest(token(2)) == token(2)
    assert await renewing == Renewed(token(2), taken=True)
    assert spent == []


async def test_who_was_refused_takes_what_a_slow_one_has_kept(opened: Open, own_redis: RedisServer) -> None:
    """Its lock had ended while it waited for the answer, which came after all."""
    slow, shared = opened(own_redis.url), opened(own_redis.url)
    await shared.keep("login", token(1), "before")
    vault = Vault("login", "login", None, shared, time.monotonic, lambda: "quick")

    async def ask() -> Denied:
        assert await slow.keep("login", token(2), "slow") is Found.SAME
        return Denied("oauth_invalid_grant", final=True)

    assert await vault.renew(token(1), ask, rotates=True) == Renewed(token(2), taken=True)
    assert await shared.take("login", token(2), "next", settled=True) is Found.HELD


class _Nobody:
    """Is told, and does not mind."""

    def refreshed(self, account: Account, result: str, why: str) -> None: ...

    def replaced(self) -> None: ...


async def test_what_came_before_its_refresh_ran_is_not_spent(opened: Open, own_redis: RedisServer) -> None:
    """A refresh that a 401 has begun is one of the token that got the 401, also if the next one is here first."""
    async with oauth_server() as server:
        grant = Grant(server.token_url, PUBLIC, Connecting(private=True))
        settings = Settings(grant, "login", "login", refresh=server.log_in().refresh)
        one, other = (
            Account(
                settings,
                World(time.time, time.monotonic, lambda: 0.5, word.upper, opened(own_redis.url), _Nobody()),
            )
            for word in ("one", "other")
        )
        first = await one.bearer(10)
        await other.look()
        assert (await other.bearer(10), server.refreshes) == (first, 1)
        second = await other.renewed(str(first), 10)
        newest = await opened(own_redis.url).look("login", one._token)
        assert isinstance(newest, Token)
        begun = one._start()
        one._adopt(newest)
        assert begun is not None
        await begun
        assert await one.bearer(10) == second
        for each in (one, other):
            await each.close()
        assert (server.asked, server.refreshes, server.reused) == (2, 2, 0)


@pytest.mark.parametrize("junk", ["string", "no token", "a long version"])
async def test_what_is_no_token_is_never_obeyed(shared: SharedTokens, own_redis: RedisServer, junk: str) -> None:
    """It counts as away, or as nothing."""
    if junk == "string":
        own_redis.command("SET", _KEY, "mine")
        assert await shared.look("login", token(1)) is Found.AWAY
        assert own_redis.command("GET", _KEY) == b"mine"
    elif junk == "no token":
        own_redis.command("HSET", _KEY, "version", "9", "token", "{}")
        assert await shared.take("login", token(1), "a", settled=True) is Found.AWAY
    else:
        own_redis.command("HSET", _KEY, "version", "9" * 20, "token", "{}")
        assert await shared.look("login", token(1)) is Found.BEHIND
        assert await shared.look("login", None) == token(1)


async def _everything(shared: SharedTokens, redis: RedisServer) -> bool:
    """All that is asked of it; False if any of it was refused."""
    redis.command("FLUSHALL")
    redis.command("SCRIPT", "FLUSH")
    found = [
        await shared.keep("login", token(1), "before"),
        await shared.take("login", token(1), "a", settled=True),
        await shared.keep("login", token(2), "a"),
        await shared.look("login", token(3)),
    ]
    return Found.AWAY not in found


async def test_the_documented_rights_suffice_and_each_is_needed(own_redis: RedisServer, opened: Open) -> None:
    """A user who may do what the document says; without any one of the rights, the store is away for accounts."""

    def user(name: str, *rights: str) -> SharedTokens:
        own_redis.command("ACL", "SETUSER", name, "on", ">s3cret", *rights)
        return opened(own_redis.url.replace("//", f"//{name}:s3cret@"))

    assert await _everything(user("homeport", *ACL.split()), own_redis)
    assert own_redis.command("ACL", "LOG") == []
    for number, right in enumerate(TOKEN_RIGHTS.split()):
        less = user(f"less-{number}", "reset", "on", ">s3cret", *(each for each in ACL.split() if each != right))
        assert not await _everything(less, own_redis), right
