"""The book that a fleet shares, on a real Redis: one writer wins, what is no book is left alone, trouble is a word."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from functools import partial

import pytest

from proxy.breaker.redis_door import LIMIT
from proxy.breaker.redis_scripts import ACL, BOOK_RIGHTS
from proxy.breaker.store import StoreError
from proxy.config.ledger import Ledger, encoded
from proxy.record.shared_ledger import SharedLedger
from tests.integration.conftest import OpenBook
from tests.integration.redis_server import RedisServer
from tests.integration.test_redis_store import Severing
from tests.unit.config.books import bound, primaries

_KEY = "{homeport}:config:book"
_SLACK = 2.0
"""Seconds that a shared machine may add."""


async def _says(word: str, *operations: Callable[[], Awaitable[object]]) -> None:
    """Each ends with this word, in time."""
    for operation in operations:
        began = time.monotonic()
        with pytest.raises(StoreError, match=f"^{word}$"):
            await operation()
        assert time.monotonic() - began < LIMIT + _SLACK


def _all(shared: SharedLedger) -> tuple[Callable[[], Awaitable[object]], ...]:
    """All that can be asked."""
    book, more = primaries(1), primaries(2)
    return shared.mark, shared.read, lambda: shared.replace(book, more), lambda: shared.fill(Ledger(), book)


# -- the book


async def test_what_is_kept_is_read_by_everybody(
    own_redis: RedisServer, shared: SharedLedger, opened: OpenBook
) -> None:
    """Before the first there is an empty book without a mark; another namespace has its own; it never goes."""
    assert (await shared.mark(), await shared.read()) == ("", Ledger())
    assert await shared.replace(Ledger(), primaries(3))
    for each in (shared, opened(own_redis.url)):
        assert (await each.mark(), await each.read()) == (primaries(3).mark, primaries(3))
    assert await opened(own_redis.url, "other").read() == Ledger()
    assert own_redis.command("KEYS", "*") == [_KEY.encode()]
    assert own_redis.command("TTL", _KEY) == -1


async def test_only_who_has_seen_the_book_replaces_it(shared: SharedLedger) -> None:
    """That very one: neither an older, nor another of the same number, nor none."""
    one, two = primaries(1), primaries(2)
    other = primaries(1, start=7)
    assert other.number == one.number
    assert await shared.replace(Ledger(), one)
    for seen in (Ledger(), other, two):
        assert not await shared.replace(seen, primaries(5))
        assert not await shared.fill(seen, primaries(5))
    assert await shared.read() == one
    assert await shared.replace(one, two)
    assert await shared.read() == two
    assert await shared.fill(two, primaries(3))


async def test_of_many_who_write_at_once_one_wins(
    shared: SharedLedger, opened: OpenBook, own_redis: RedisServer
) -> None:
    """Every time, over as many connections."""
    replicas = [opened(own_redis.url) for _ in range(8)]
    book = Ledger()
    for turn in range(10):
        fresh = [primaries(turn + 1, start=100 * each) for each in range(len(replicas))]
        won = await asyncio.gather(*(each.replace(book, made) for each, made in zip(replicas, fresh, strict=True)))
        assert sum(won) == 1
        book = fresh[won.index(True)]
        assert await shared.read() == book


async def test_a_write_whose_reply_was_lost_is_known_to_be_made(own_redis: RedisServer, opened: OpenBook) -> None:
    """It is sent again, and is not taken for somebody else's."""
    async with Severing(own_redis.port) as way:
        shared = opened(f"redis://127.0.0.1:{way.port}")
        assert await shared.read() == Ledger()
        way.next = True
        assert await shared.replace(Ledger(), primaries(1))
        assert not way.next
        assert await shared.read() == primaries(1)


async def test_a_large_book_is_kept(shared: SharedLedger) -> None:
    """As of a thousand assistants, in one piece."""
    book = primaries(1)
    many = {f"bot-{number}": {"primary": bound("one", "m" * 500)} for number in range(1000)}
    large = Ledger(book.revisions, many, {}, many)
    assert len(encoded(large)) > 1_000_000
    assert await shared.replace(Ledger(), large)
    assert await shared.read() == large


# -- what else may lie there


@pytest.mark.parametrize(
    ("command", "word"),
    [
        (("SET", _KEY, "mine"), "error"),
        (("LPUSH", _KEY, "mine"), "error"),
        (("HSET", _KEY, "mark", primaries(1).mark, "book", "mine"), "protocol"),
        (("HSET", _KEY, "mark", "9.mine", "book", encoded(primaries(1))), "protocol"),
        (("HSET", _KEY, "mark", primaries(1).mark), "protocol"),
        (("HSET", _KEY, "mark", b"\xff", "book", encoded(primaries(1))), "protocol"),
    ],
    ids=["text", "list", "no book", "another mark", "no text", "no mark"],
)
async def test_somebody_elses_data_is_left_as_it_is(
    own_redis: RedisServer, shared: SharedLedger, command: tuple[str | bytes, ...], word: str
) -> None:
    """It is never obeyed and never overwritten; once it is gone, all is well."""
    own_redis.command(*command)
    before = own_redis.command("DUMP", _KEY)
    await _says(word, shared.read)
    for seen in (Ledger(), primaries(3)):
        # Where it looks like a book of somebody's, it is another than was seen.
        if word == "protocol":
            assert not await shared.replace(seen, primaries(4))
            assert not await shared.fill(seen, primaries(4))
        else:
            await _says(word, partial(shared.replace, seen, primaries(4)), partial(shared.fill, seen, primaries(4)))
    assert own_redis.command("DUMP", _KEY) == before
    own_redis.command("DEL", _KEY)
    assert await shared.replace(Ledger(), primaries(1))


# -- trouble, and rights


async def test_each_trouble_is_a_word_and_over_when_it_is_over(own_redis: RedisServer, shared: SharedLedger) -> None:
    """In time: frozen, full, read-only, gone."""
    assert await shared.replace(Ledger(), primaries(1))
    own_redis.pause()
    await _says("timeout", shared.mark, shared.read)
    own_redis.resume()
    own_redis.command("CONFIG", "SET", "maxmemory", "1")
    await _says("full", lambda: shared.replace(primaries(1), primaries(2)))
    assert await shared.read() == primaries(1)
    own_redis.command("CONFIG", "SET", "maxmemory", "0")
    own_redis.command("REPLICAOF", "127.0.0.1", "1")
    await _says("readonly", lambda: shared.replace(primaries(1), primaries(2)))
    own_redis.command("REPLICAOF", "NO", "ONE")
    assert await shared.replace(primaries(1), primaries(2))
    own_redis.kill()
    await _says("refused", *_all(shared))
    own_redis.restart()
    assert await shared.read() == Ledger()


async def _everything(shared: SharedLedger, server: RedisServer) -> None:
    """All that is ever done with the book."""
    server.command("FLUSHALL")
    server.command("SCRIPT", "FLUSH")
    assert await shared.replace(Ledger(), primaries(1))
    assert await shared.mark() == primaries(1).mark
    assert await shared.read() == primaries(1)
    assert await shared.fill(primaries(1), primaries(2))


async def test_the_documented_rights_suffice_and_each_is_needed(own_redis: RedisServer, opened: OpenBook) -> None:
    """A user who may do what the document says; without any one of the rights, something is `auth`."""

    def user(name: str, *rights: str) -> SharedLedger:
        own_redis.command("ACL", "SETUSER", name, "on", ">s3cret", *rights)
        return opened(own_redis.url.replace("//", f"//{name}:s3cret@"))

    await _everything(user("homeport", *ACL.split()), own_redis)
    assert own_redis.command("ACL", "LOG") == []
    for right in BOOK_RIGHTS.split():
        with pytest.raises(StoreError, match=r"^auth$"):
            await _everything(user("less", "reset", *(each for each in ACL.split() if each != right)), own_redis)
