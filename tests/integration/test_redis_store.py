"""What may befall a Redis, and what the store makes of it: a word, in time, and it works again afterwards."""

from __future__ import annotations

import asyncio
import shlex
import subprocess
import time
import traceback
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from proxy.breaker import redis_scripts
from proxy.breaker.redis_scripts import ACL, RIGHTS, Keys
from proxy.breaker.redis_store import LIMIT, QUIET, STEP, WORDS, RedisStore
from proxy.breaker.store import Push, Stored, StoreError, Swapped
from tests.integration.redis_server import RedisServer, running

_KEYS = Keys.of("homeport")
_TARGET = "openai|https://api.example|gpt|chat|3f"
_SLACK = 2.0
"""Seconds that a shared machine may add."""
_Open = Callable[..., RedisStore]


@pytest.fixture
async def opened() -> AsyncIterator[_Open]:
    """Stores that are closed at the end."""
    stores: list[RedisStore] = []

    def store(url: str, **more: Any) -> RedisStore:
        stores.append(RedisStore(url, **more))
        return stores[-1]

    yield store
    for each in stores:
        await each.close()


@pytest.fixture
def store(opened: _Open, own_redis: RedisServer) -> RedisStore:
    """Over a Redis that a test may break."""
    return opened(own_redis.url)


async def _put(store: RedisStore, expected: int, row: bytes = b"row", *, lasting: bool = False) -> Swapped:
    """Propose the next version, now."""
    return await _swap(store, expected, Stored(expected + 1, (await store.sync("writer")).lineage, row), lasting)


async def _swap(store: RedisStore, expected: int, new: Stored, lasting: bool = False) -> Swapped:
    return await store.swap(_TARGET, expected, new, not_before=0, not_after=9e9, lasting=lasting)


def _asked(store: RedisStore, lineage: str = "any", expected: int = 0) -> dict[str, Callable[[], Awaitable[object]]]:
    """All that can be asked."""
    new = Stored(expected + 1, lineage, b"row")
    return {
        "swap": lambda: _swap(store, expected, new),
        "read": lambda: store.read([_TARGET]),
        "sync": lambda: store.sync("r"),
        "listen": lambda: store.listen(lambda: None, lambda push: None),
    }


async def _says(word: str, *operations: Callable[[], Awaitable[object]]) -> None:
    """Each of the operations ends with this word, in time."""
    for operation in operations:
        began = time.monotonic()
        with pytest.raises(StoreError, match=f"^{word}$"):
            await operation()
        assert time.monotonic() - began < LIMIT + _SLACK


async def _until(true: Callable[[], object]) -> None:
    async with asyncio.timeout(10):
        while not true():  # noqa: ASYNC110  # it is another process that this waits for
            await asyncio.sleep(0.01)


def _connections(server: RedisServer) -> int:
    """Without the one that asks."""
    return len(server.command("CLIENT", "LIST").splitlines()) - 1


class Listener:
    """Whoever listens, and what it heard."""

    def __init__(self, store: RedisStore) -> None:
        self.readies = 0
        self.heard: list[Push] = []
        self._store = store

    async def __aenter__(self) -> Listener:
        await self.again()
        return self

    async def again(self) -> None:
        """Listen until it is ready."""
        readies = self.readies
        self.task = asyncio.ensure_future(self._store.listen(self._ready, self.heard.append))
        await _until(lambda: self.readies > readies or self.task.done())

    async def hears(self, count: int) -> None:
        """Until it has heard so many."""
        await _until(lambda: len(self.heard) >= count)

    def _ready(self) -> None:
        self.readies += 1

    async def __aexit__(self, *_: object) -> None:
        self.task.cancel()
        await asyncio.gather(self.task, return_exceptions=True)


# -- one round trip


async def test_one_command_and_one_connection(own_redis: RedisServer, store: RedisStore) -> None:
    """Each operation is one script, whatever it does."""
    await _put(store, 0)
    await store.read([_TARGET])
    lineage = (await store.sync("r")).lineage
    for name in ("swap", "read", "sync"):
        own_redis.command("CONFIG", "RESETSTAT")
        await _asked(store, lineage, 1)[name]()
        stats = own_redis.command("INFO", "commandstats")
        # What a script calls is counted too; what a client sends and a script cannot is not there.
        assert stats["cmdstat_evalsha"]["calls"] == 1
        assert not {"cmdstat_eval", "cmdstat_multi", "cmdstat_ping", "cmdstat_client", "cmdstat_script"} & set(stats)
    assert _connections(own_redis) == 1


async def test_scripts_that_redis_forgot_are_sent_again(own_redis: RedisServer, store: RedisStore) -> None:
    """At any time, and unnoticed."""
    for version in range(3):
        own_redis.command("SCRIPT", "FLUSH")
        assert (await _put(store, version)).applied
        own_redis.command("SCRIPT", "FLUSH")
        assert (await store.read([_TARGET]))[1][_TARGET].version == version + 1


async def test_an_older_protocol_and_a_unix_socket_and_another_database(own_redis: RedisServer, opened: _Open) -> None:
    """Each as the URL says, pushes and signs of life included."""
    urls = (f"{own_redis.url}?protocol=2", f"unix://{own_redis.socket}?db=2", f"{own_redis.url}/3")
    stores = [opened(url) for url in urls]
    for store in stores:
        async with Listener(store) as listener:
            assert (await _put(store, 0)).applied, "each has a database of its own"
            await asyncio.sleep(QUIET + STEP)
            await _put(store, 1, b"second")
            await listener.hears(2)
            assert [push.stored.version for push in listener.heard] == [1, 2]


async def test_each_operation_is_timed(own_redis: RedisServer, opened: _Open) -> None:
    """With its name, and the word if it failed."""
    timed: list[tuple[str, float, str | None]] = []
    store = opened(own_redis.url, timed=lambda *what: timed.append(what))
    async with Listener(store):
        await _put(store, 0)
        await store.read([])
    own_redis.kill()
    await _says("refused", *_asked(store).values())
    told = [(name, word) for name, _, word in timed]
    good = [(name, None) for name in ("subscribe", "sync", "swap", "read")]
    assert told == good + [(name, "refused") for name in ("swap", "read", "sync", "subscribe")]
    assert all(0 < seconds < LIMIT + _SLACK for _, seconds, _ in timed)


# -- lost data and lost connections


async def test_flushed_data_is_another_lineage(own_redis: RedisServer, store: RedisStore) -> None:
    """And the store works on."""
    before = (await _put(store, 0)).lineage
    own_redis.command("FLUSHALL")
    after = await store.sync("r")
    assert after.lineage != before
    assert after.versions == {}
    assert (await _put(store, 0)).applied


async def test_a_restart_between_two_operations_is_not_noticed(own_redis: RedisServer, store: RedisStore) -> None:
    """The pooled connection is stale; one repeat mends it."""
    lineage = (await store.sync("r")).lineage
    for name in ("swap", "read", "sync"):
        own_redis.restart()
        await _asked(store)[name]()
    assert (await store.sync("r")).lineage != lineage


async def test_a_dead_redis_is_refused_at_once(own_redis: RedisServer, store: RedisStore) -> None:
    """And it works when it is back."""
    await store.sync("r")
    own_redis.kill()
    await _says("refused", *_asked(store).values())
    own_redis.restart()
    assert (await _put(store, 0)).applied


async def test_an_evicted_row_leaves_the_index_when_it_is_looked_for(own_redis: RedisServer, store: RedisStore) -> None:
    """Nobody reads it again and again."""
    await _put(store, 0)
    own_redis.command("DEL", _KEYS.row(_TARGET))
    assert (await store.sync("r")).versions == {_TARGET: 1}
    assert (await store.read([_TARGET]))[1] == {}
    assert (await store.sync("r")).versions == {}


class Severing:
    """A way to Redis that breaks instead of carrying the next reply, when it is told to."""

    def __init__(self, port: int) -> None:
        self._there = port
        self.next = False

    async def __aenter__(self) -> Severing:
        self._server = await asyncio.start_server(self._carry, "127.0.0.1", 0)
        self.port: int = self._server.sockets[0].getsockname()[1]
        return self

    async def __aexit__(self, *_: object) -> None:
        self._server.close()
        await self._server.wait_closed()

    async def _carry(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from_redis, to_redis = await asyncio.open_connection("127.0.0.1", self._there)
        back = asyncio.ensure_future(self._pump(from_redis, writer, severs=True))
        await self._pump(reader, to_redis)
        await back

    async def _pump(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, *, severs: bool = False) -> None:
        while data := await source.read(65536):
            if severs and self.next:
                self.next = False
                break
            sink.write(data)
        sink.close()


async def test_a_swap_whose_reply_was_lost_is_known_to_be_applied(own_redis: RedisServer, opened: _Open) -> None:
    """It is sent again when the connection broke, and applied once; the same made anew is another one."""
    async with Severing(own_redis.port) as way:
        store = opened(f"redis://127.0.0.1:{way.port}")
        new = Stored(1, (await store.sync("r")).lineage, b"mine")
        way.next = True
        swapped = await _swap(store, 0, new)
        assert not way.next
        assert (swapped.applied, swapped.stored) == (True, new)
        assert own_redis.command("INFO", "commandstats")["cmdstat_publish"]["calls"] == 1
        again = await _swap(store, 0, new)
        assert (again.applied, again.stored) == (False, new)
        await store.close()


# -- Redis that does not answer


async def test_a_frozen_redis_costs_no_more_than_the_limit(own_redis: RedisServer, store: RedisStore) -> None:
    """Twenty at once neither; no connection is left behind, and it works when it goes on."""
    await asyncio.gather(*(store.sync("r") for _ in range(20)))
    own_redis.pause()
    began = time.monotonic()
    crowd = [_asked(store)[name]() for name in ("swap", "read", "sync") * 7]
    ends = await asyncio.gather(*crowd, return_exceptions=True)
    took = time.monotonic() - began
    await _says("timeout", *_asked(store).values())
    own_redis.resume()
    assert {repr(end) for end in ends} == {"StoreError('timeout')"}
    assert took < LIMIT + _SLACK
    await _until(lambda: _connections(own_redis) == 0)
    assert (await _put(store, 0)).applied
    await asyncio.gather(*(store.sync("r") for _ in range(20)))
    assert _connections(own_redis) <= 4


async def test_whoever_gives_up_leaves_the_store_usable(own_redis: RedisServer, store: RedisStore) -> None:
    """Cancelled at any moment, hundreds of times: the four connections are there for the next."""
    for each in range(60):
        asked = [asyncio.ensure_future(store.sync("r")) for _ in range(8)]
        await asyncio.sleep(0.0001 * each)
        for task in asked:
            task.cancel()
        await asyncio.gather(*asked, return_exceptions=True)
    await asyncio.gather(*(store.sync("r") for _ in range(8)))
    assert _connections(own_redis) == 4


async def test_whoever_is_cancelled_ends_at_whatever_moment_that_is(own_redis: RedisServer, store: RedisStore) -> None:
    """Also in the turn of the loop in which the client's own limit on a write is done, and swallows it."""

    async def forever(asked: Callable[[], Awaitable[object]]) -> None:
        while True:
            await asked()

    for name, asked in _asked(store, (await store.sync("r")).lineage).items():
        for turns in range(40):
            running = asyncio.create_task(forever(asked))
            for _ in range(turns):
                await asyncio.sleep(0)
            running.cancel()
            await asyncio.wait({running}, timeout=LIMIT + _SLACK)
            assert running.cancelled(), f"{name}, cancelled after {turns} turns, goes on"


async def test_a_closed_store_keeps_nobody_waiting(own_redis: RedisServer, store: RedisStore) -> None:
    """What is under way ends, and what comes after is refused."""
    async with Listener(store) as listener:
        await store.sync("r")
        own_redis.pause()
        asked = [asyncio.ensure_future(store.sync("r")) for _ in range(6)]
        await asyncio.sleep(0.01)
        await store.close()
        own_redis.resume()
        for task in (*asked, listener.task):
            with pytest.raises(StoreError):
                await task
    await _says("refused", *_asked(store).values())
    await _until(lambda: _connections(own_redis) == 0)


# -- Redis that refuses


async def test_a_password_that_changes_is_auth(own_redis: RedisServer, opened: _Open) -> None:
    """For who has none and for who has another; with the right one it works."""
    without, wrong = opened(own_redis.url), opened(own_redis.url.replace("//", "//:s3cret@"))
    await without.sync("r")
    own_redis.command("CONFIG", "SET", "requirepass", "right")
    own_redis.password = "right"
    own_redis.command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "no")
    for store in (without, wrong):
        await _says("auth", *_asked(store).values())
    assert (await _put(opened(own_redis.url.replace("//", "//:right@")), 0)).applied


async def test_a_full_redis_is_full_and_keeps_what_it_has(own_redis: RedisServer, store: RedisStore) -> None:
    """A sync notices, so nobody believes that it can be told anything; reading goes on."""
    first = await _put(store, 0)
    own_redis.command("CONFIG", "SET", "maxmemory-policy", "noeviction", "maxmemory", "1mb")
    asked = _asked(store, first.lineage, 1)
    await _says("full", asked["swap"], asked["sync"])
    assert (await store.read([_TARGET]))[1] == {_TARGET: first.stored}
    own_redis.command("CONFIG", "SET", "maxmemory", "0")
    assert (await _put(store, 1)).applied


async def test_a_demoted_redis_is_readonly(own_redis: RedisServer, store: RedisStore) -> None:
    """Its primary need not be alive for that."""
    first = await _put(store, 0)
    own_redis.command("REPLICAOF", "127.0.0.1", "1")
    asked = _asked(store, first.lineage, 1)
    await _says("readonly", asked["swap"], asked["sync"])
    own_redis.command("REPLICAOF", "NO", "ONE")
    assert (await _put(store, 1)).applied


async def test_a_redis_that_loads_its_data_is_loading(own_redis: RedisServer, store: RedisStore) -> None:
    """Until it has."""
    first = await _put(store, 0, lasting=True)
    own_redis.command("CONFIG", "SET", "rdbcompression", "no")
    for each in range(200):
        own_redis.command("SET", f"other{each}", "x" * 2000)
    own_redis.command("SAVE")
    own_redis.restart("--key-load-delay", "5000", "--loading-process-events-interval-bytes", "1024")
    asked = _asked(store)
    await _says("loading", asked["swap"], asked["read"], asked["sync"])
    await _until(lambda: not own_redis.command("INFO", "persistence")["loading"])
    assert (await store.read([_TARGET]))[1] == {_TARGET: first.stored}


async def test_a_redis_with_no_connection_to_spare_is_refused(own_redis: RedisServer, store: RedisStore) -> None:
    """As one that is not there."""
    own_redis.command("CONFIG", "SET", "maxclients", "1")
    busy = await asyncio.open_connection("127.0.0.1", own_redis.port)
    await _says("refused", *_asked(store).values())
    busy[1].close()


async def test_what_is_no_redis_is_protocol(opened: _Open) -> None:
    """It answers, in another language."""

    async def answer(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(100)
        writer.write(b"HTTP/1.1 400 Bad Request\r\n\r\n")
        writer.close()

    async with await asyncio.start_server(answer, "127.0.0.1", 0) as server:
        store = opened(f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}")
        await _says("protocol", *_asked(store).values())


# -- who may


async def _everything(store: RedisStore, server: RedisServer) -> None:
    """All that the store ever does."""
    server.command("FLUSHALL")
    server.command("SCRIPT", "FLUSH")
    async with Listener(store) as listener:
        if listener.task.done():
            await listener.task
        await _put(store, 0)
        await _put(store, 1, lasting=True)
        server.command("DEL", _KEYS.row(_TARGET))
        await store.read([_TARGET])
        await store.sync("r")
        await asyncio.wait({listener.task}, timeout=QUIET + STEP)
        if listener.task.done():
            await listener.task
        assert len(listener.heard) == 2


async def test_the_documented_rights_suffice_and_each_is_needed(own_redis: RedisServer, opened: _Open) -> None:
    """A user who may do this and nothing else; without any one of the rights, something is `auth`."""

    def user(name: str, *rights: str) -> RedisStore:
        own_redis.command("ACL", "SETUSER", name, "on", ">s3cret", *rights)
        return opened(own_redis.url.replace("//", f"//{name}:s3cret@"))

    await _everything(user("homeport", *ACL.split()), own_redis)
    assert own_redis.command("ACL", "LOG") == []
    for right in RIGHTS.split():
        with pytest.raises(StoreError, match=r"^auth$"):
            await _everything(user("less", "reset", *(each for each in ACL.split() if each != right)), own_redis)


# -- who listens


async def test_who_listens_notices_a_broken_connection_and_may_listen_again(
    own_redis: RedisServer, store: RedisStore
) -> None:
    """Killed, or dead with the server; `ready` is said again each time."""
    async with Listener(store) as listener:
        for end in (lambda: own_redis.command("CLIENT", "KILL", "TYPE", "pubsub"), own_redis.restart):
            end()
            with pytest.raises(StoreError, match=r"^refused$"):
                await asyncio.wait_for(listener.task, 5)
            await listener.again()
        await _put(store, 0)
        await listener.hears(1)
        assert listener.readies == 3


async def test_who_listens_notices_a_silent_server(own_redis: RedisServer, store: RedisStore) -> None:
    """Even though the connection stands."""
    async with Listener(store) as listener:
        own_redis.pause()
        with pytest.raises(StoreError, match=r"^timeout$"):
            await asyncio.wait_for(listener.task, QUIET + STEP + _SLACK)
        own_redis.resume()
        await listener.again()
        assert listener.readies == 2


async def test_what_others_write_in_place_of_rows_is_no_row(own_redis: RedisServer, store: RedisStore) -> None:
    """It is passed over, and overwritten when it is its turn."""
    async with Listener(store) as listener:
        lineage = (await _put(store, 0)).lineage
        own_redis.command("HSET", _KEYS.row(_TARGET), "row", b"\xff\x00")
        assert (await store.read([_TARGET]))[1][_TARGET].row == b"\xff\x00"
        for field, value in (("version", "x"), ("version", "9" * 40), ("lineage", "\x00"), ("version", "-1")):
            own_redis.command("HSET", _KEYS.row(_TARGET), field, value)
            assert (await store.read([_TARGET]))[1] == {}
            assert (await _put(store, 0)).applied
        for entry in (b"\xff", b"1", b"1 ", b"1 x", b"9" * 40 + b" 0"):
            own_redis.command("HSET", _KEYS.index, b"\xfe", entry)
            assert (await store.sync("r")).versions == {_TARGET: 1}
        own_redis.command("HSET", _KEYS.index, b"\xfe", b"1 0")
        assert (await store.sync("r")).versions[_TARGET] == 1
        own_redis.command("SET", _KEYS.lineage, b"\xff \n")
        assert (await store.sync("r")).lineage not in (lineage, "")
        for message in (b"", b"\xff\n", b"1 2 3 4 5\n", b"1 2 3 -1 a\nbc", b"x" * 100_000):
            own_redis.command("PUBLISH", _KEYS.pushes, message)
        await _put(store, 1)
        await listener.hears(6)
        assert listener.heard[-1].stored.version == 2
        own_redis.command("SET", _KEYS.row(_TARGET), "no hash")
        await _says("error", lambda: store.read([_TARGET]))


@given(st.binary() | st.from_regex(rb"\A\d+ \d+ \d+ -?\d+ [a-z]*\n.*\Z"))
def test_a_push_is_read_or_passed_over(message: bytes) -> None:
    """Whatever bytes come on the channel."""
    push = redis_scripts.push(message)
    assert push is None or push.stored.row in message


# -- URLs and secrets


def _certificate(folder: Path) -> None:
    subprocess.run(
        shlex.split(
            "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout key -out certificate"
            " -days 2 -subj /CN=homeport -addext subjectAltName=IP:127.0.0.1"
        ),
        cwd=folder,
        check=True,
        capture_output=True,
    )


async def test_tls_with_an_authority_of_one_s_own(tmp_path: Path, opened: _Open) -> None:
    """Trusted when the URL says so, and `tls` otherwise."""
    _certificate(tmp_path)
    files = ("--tls-cert-file", tmp_path / "certificate", "--tls-key-file", tmp_path / "key")
    with running("--tls-auth-clients", "no", *map(str, files), tls=True) as server:
        trusting = opened(f"{server.url}?ssl_ca_certs={tmp_path}/certificate")
        async with Listener(trusting) as listener:
            assert (await _put(trusting, 0)).applied
            await listener.hears(1)
        await _says("tls", *_asked(opened(server.url)).values())


@pytest.mark.parametrize(
    "url",
    [
        "http://:s3cret@localhost",
        "redis://:s3cret/1@localhost",
        "redis://:s3cret@localhost:port",
        "redis://:s3cret@localhost?socket_timeout=60",
        "redis://:half?s3cret@localhost",
        "redis://:s3cret@localhost?connection_class=x",
        "redis://:s3cret@localhost?protocol=4",
        "redis://:s3cret@localhost?protocol=x",
        "redis://:s3cret@localhost?ssl_ca_certs=x",
        "rediss://:s3cret@localhost?ssl_password=s3cret&ssl_nonsense=s3cret",
    ],
)
def test_a_url_that_cannot_be_used_is_said_at_once_without_its_secrets(url: str) -> None:
    """Nothing is left to be found out by a request."""
    with pytest.raises(ValueError, match="the store's URL") as error:
        RedisStore(url)
    assert "s3cret" not in "".join(traceback.format_exception(error.value))


async def test_secrets_are_in_no_text(own_redis: RedisServer, opened: _Open) -> None:
    """Neither in what is raised nor in what is shown."""
    store = opened(own_redis.url.replace("//", "//someone:s3cret@"))
    assert repr(store) == f"RedisStore(127.0.0.1:{own_redis.port})"
    for operation in _asked(store).values():
        with pytest.raises(StoreError, match=r"^auth$") as error:
            await operation()
        shown = "".join(traceback.format_exception(error.value))
        assert "s3cret" not in shown
        assert "someone" not in shown
        assert error.value.word in WORDS
