"""The journal on a real Redis: the whole fleet's, in order, bounded, and never in the breakers' way."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import time
import traceback
from collections.abc import AsyncIterator, Callable

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from proxy.breaker.redis_door import LIMIT
from proxy.breaker.redis_scripts import ACL, JOURNAL_RIGHTS
from proxy.breaker.redis_store import RedisStore
from proxy.breaker.store import Stored, StoreError
from proxy.record import journal as journals
from proxy.record.journal import BadPlace, Chunk, Journal, Pages, Shared
from proxy.record.redis_journal import RedisJournal
from tests.integration.journal_model import JournalModel
from tests.integration.redis_server import RedisServer
from tests.integration.test_redis_store import Severing

_STREAM = "{homeport}:decisions"
_DAY = 86_400.0
_SLACK = 2.0
"""Seconds that a shared machine may add."""
_Open = Callable[..., RedisJournal]


@pytest.fixture
async def opened() -> AsyncIterator[_Open]:
    """Shared journals that are closed at the end."""
    made: list[RedisJournal] = []

    def journal(url: str, keep: int = 10_000, age: float = _DAY) -> RedisJournal:
        made.append(RedisJournal(url, "homeport", keep, age))
        return made[-1]

    yield journal
    for each in made:
        await each.close()


@pytest.fixture
def shared(opened: _Open, own_redis: RedisServer) -> RedisJournal:
    """Over a Redis that a test may break."""
    return opened(own_redis.url)


def _items(chunk: Chunk) -> list[bytes]:
    return [item for _, item in chunk.items]


async def _forward(pages: Pages, place: str | None = None) -> list[bytes]:
    found: list[bytes] = []
    while True:
        chunk = await pages.newer(place)
        found += _items(chunk)
        if not chunk.more:
            return found
        place = chunk.items[-1][0]


async def _backward(pages: Pages, most: int) -> list[bytes]:
    found: list[bytes] = []
    place: str | None = None
    while True:
        chunk = await pages.older(place, most)
        assert not chunk.gap
        assert len(chunk.items) <= most
        found += _items(chunk)
        if not chunk.more:
            return found
        place = chunk.items[-1][0]


async def _put(journal: Journal, *items: bytes) -> Pages:
    for item in items:
        journal.put(item)
    pages, why = await journal.reading()
    assert why is None
    return pages


async def _reads_shared(journal: Journal) -> Pages:
    """As soon as it is used again."""
    async with asyncio.timeout(10):
        while True:
            pages, why = await journal.reading()
            if why is None and not journal.status().pending:
                return pages
            await asyncio.sleep(0.1)


def _calls(server: RedisServer, *names: str) -> int:
    stats = server.command("INFO", "commandstats")
    return sum(stats.get(f"cmdstat_{name}", {"calls": 0})["calls"] for name in names)


# -- what a shared journal promises, of Redis and of the model


@pytest.fixture(params=["redis", "model"])
def either(request: pytest.FixtureRequest, opened: _Open) -> Shared:
    """A shared journal that is empty."""
    if request.param == "model":
        return JournalModel()
    server: RedisServer = request.getfixturevalue("shared_redis")
    server.command("DEL", *server.command("KEYS", _STREAM + "*"), "none")
    return opened(server.url)


async def test_batches_are_read_either_way(either: Shared) -> None:
    """Each item once, in the order of the batches, from any place on, also within a batch if there is such a place."""
    await either.add("a", 1, [b"1", b"2", b"3"])
    await either.add("b", 1, [b"4"])
    await either.add("a", 2, [b"5", b"6"])
    chunk = await either.newer(None)
    assert _items(chunk) == [b"1", b"2", b"3", b"4", b"5", b"6"]
    assert await either.end() == chunk.items[-1][0]
    for index, (place, _) in enumerate(chunk.items):
        assert await either.newer(place) == Chunk(chunk.items[index + 1 :], False, False)
        before = chunk.items[:index][::-1]
        assert await either.older(place, 10) == Chunk(before, False, False)
        assert await either.older(place, 1) == Chunk(before[:1], index > 1, False)
    assert await either.older(None, 10) == Chunk(chunk.items[::-1], False, False)
    for most in range(1, 7):
        assert await _backward(either, most) == [b"6", b"5", b"4", b"3", b"2", b"1"]


async def test_a_batch_is_added_once(either: Shared) -> None:
    """However often it is offered, and also when it arrives after the next."""
    for number in (1, 1, 2, 1, 2):
        await either.add("a", number, [b"%d" % number])
    await either.add("b", 1, [b"other"])
    assert _items(await either.newer(None)) == [b"1", b"2", b"other"]


async def test_an_empty_journal_has_a_place_too(either: Shared) -> None:
    """Nothing that comes after it is missed."""
    place = await either.end()
    for each in (await either.newer(place), await either.newer(None), await either.older(None, 5)):
        assert each == Chunk((), False, False)
    await either.add("a", 1, [b"first"])
    chunk = await either.newer(place)
    assert (_items(chunk), chunk.gap) == ([b"first"], False)


async def test_unknown_places_are_gaps_and_what_is_none_is_said(either: Shared) -> None:
    """From a ring, or from data that is gone."""
    assert await either.newer("ring-a1-7") == Chunk((), False, False)
    await either.add("a", 1, [b"1", b"2"])
    for place in ("ring-a1-7", "1500000000000-900.3", "999999999999999-900.0"):
        chunk = await either.newer(place)
        assert (_items(chunk), chunk.gap) == ([b"1", b"2"], True)
        assert await either.older(place, 5) == Chunk((), False, True)
    for place in ("", "x", "1-1", "1-1.x", "ring-", "1-1.1\n", "9" * 30 + "-1.0"):
        for asked in (either.newer(place), either.older(place, 1)):
            with pytest.raises(BadPlace):
                await asked


# -- the fleet's


async def test_one_journal_for_the_fleet(own_redis: RedisServer, opened: _Open) -> None:
    """What one replica puts another reads, beside its own; a tail at one sees what others put."""
    one, two = (Journal(1000, _DAY, time.time, opened(own_redis.url)) for _ in range(2))
    await _put(one, b"one 1", b"one 2")
    pages = await _put(two, b"two 1")
    assert await _forward(pages) == [b"one 1", b"one 2", b"two 1"]
    place = await pages.end()
    await _put(one, b"one 3")
    chunk = await pages.newer(place)
    assert (_items(chunk), chunk.gap) == ([b"one 3"], False)
    assert (one.status().kind, one.status().up, one.status().pending) == ("redis", True, 0)
    await one.close()
    await two.close()


async def test_paging_over_many_batches_while_others_append(own_redis: RedisServer, opened: _Open) -> None:
    """Newest first, without loss or repeat of what was there; and a tail sees all that comes meanwhile."""
    reader, writer = opened(own_redis.url, 100_000), opened(own_redis.url, 100_000)
    sizes = [1, 2, 300, 1, 7, 64]
    count = itertools.count()
    numbers = itertools.count(1)

    async def add() -> None:
        number = next(numbers)
        await writer.add("a", number, [b"%d" % next(count) for _ in range(sizes[number % len(sizes)])])

    for _ in range(120):
        await add()
    there = next(count)
    place = await reader.end()
    found: list[bytes] = []
    older: str | None = None
    more = True
    while more:
        chunk = await reader.older(older, 33)
        found += _items(chunk)
        older, more = chunk.items[-1][0], chunk.more
        await add()
        assert not chunk.gap
    assert found == [b"%d" % each for each in range(there - 1, -1, -1)]
    assert await _forward(reader, place) == [b"%d" % each for each in range(there + 1, next(count))]


async def test_a_chunk_is_bounded(shared: RedisJournal) -> None:
    """In bytes, but for one batch, and in items."""
    for number in range(1, 9):
        await shared.add("a", number, [bytes(1000).replace(b"\0", b"x")] * 240)
    for chunk in (await shared.newer(None), await shared.older(None, 10_000)):
        assert chunk.more
        assert sum(map(len, _items(chunk))) <= journals.BATCH + 512 * 1024
        assert len(chunk.items) <= 1000
    assert len(await _forward(shared)) == len(await _backward(shared, 1000)) == 8 * 240
    await shared.add("b", 1, [b"x"] * 5000)
    assert len((await shared.older(None, 10_000)).items) == 1000
    assert len(await _backward(shared, 1000)) == 8 * 240 + 5000


async def test_trimmed_by_count(own_redis: RedisServer, opened: _Open) -> None:
    """As many as are to be kept, and less than a batch more; what is gone is a gap to whoever was there."""
    shared = opened(own_redis.url, 50)
    await shared.add("a", 1, [b"1"])
    place = await shared.end()
    for number in range(2, 41):
        await shared.add("a", number, [b"%d.%d" % (number, each) for each in range(7)])
    kept = await _forward(shared)
    assert 50 <= len(kept) < 57
    assert kept[-1] == b"40.6"
    assert len(await _backward(shared, 20)) == len(kept)
    chunk = await shared.newer(place)
    assert (_items(chunk), chunk.gap) == (kept, True)
    assert await shared.older(place, 5) == Chunk((), False, True)
    assert (await shared.newer("0-0.0")).gap, "an end of when it was empty is no longer known either"


async def test_many_small_batches_give_way_to_large_ones(own_redis: RedisServer, opened: _Open) -> None:
    """A few at each command, until no more are kept than should be."""
    shared = opened(own_redis.url, 300)
    for number in range(1, 301):
        await shared.add("a", number, [b"x"])
    for number in range(301, 308):
        await shared.add("a", number, [b"y"] * 100)
    kept = await _forward(shared)
    assert (kept.count(b"x"), kept.count(b"y")) == (0, 300)


async def test_trimmed_by_age(own_redis: RedisServer, opened: _Open) -> None:
    """Not shown when it is over, gone with the next batch, and all gone when none comes."""
    shared = opened(own_redis.url, age=1.0)
    await shared.add("a", 1, [b"old"])
    place = await shared.end()
    await asyncio.sleep(0.6)
    await shared.add("a", 2, [b"newer"])
    await asyncio.sleep(0.6)
    assert await _forward(shared) == [b"newer"]
    assert await _backward(shared, 10) == [b"newer"]
    assert (await shared.newer(place)).gap is False, "what follows is all there"
    await shared.add("a", 3, [b"newest"])
    assert own_redis.command("XLEN", _STREAM) == 2
    async with asyncio.timeout(10):
        while own_redis.command("KEYS", _STREAM + "*"):  # noqa: ASYNC110  # it is another process that this waits for
            await asyncio.sleep(0.05)
    assert await _forward(shared) == []


async def test_trimmed_by_bytes(own_redis: RedisServer, shared: RedisJournal) -> None:
    """However many items may be kept."""
    item = b"x" * 60_000
    for number in range(1, 301):
        await shared.add("a", number, [item] * 4)
    kept = own_redis.command("XLEN", _STREAM) * 4 * len(item)
    assert 0.9 * journals.BATCH < kept <= 64 * 1024 * 1024
    assert own_redis.command("MEMORY", "USAGE", _STREAM) < 80 * 1024 * 1024


# -- Redis in trouble


@contextlib.asynccontextmanager
async def _running(journal: Journal) -> AsyncIterator[Journal]:
    task = asyncio.ensure_future(journal.run())
    try:
        yield journal
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await journal.close()


@pytest.mark.parametrize("trouble", ["killed", "frozen", "read-only", "full"])
async def test_redis_away_and_back(own_redis: RedisServer, shared: RedisJournal, trouble: str) -> None:
    """Nothing waits, the own ring is read and it is said why; when it is back it gets what it missed, once."""
    away, back, words = {
        "killed": (own_redis.kill, own_redis.restart, {"refused"}),
        "frozen": (own_redis.pause, own_redis.resume, {"timeout"}),
        "read-only": (
            lambda: own_redis.command("REPLICAOF", "127.0.0.1", "1"),
            lambda: own_redis.command("REPLICAOF", "NO", "ONE"),
            {"readonly"},
        ),
        "full": (
            lambda: own_redis.command("CONFIG", "SET", "maxmemory", "900kb"),
            lambda: own_redis.command("CONFIG", "SET", "maxmemory", "0"),
            {"memory"},
        ),
    }[trouble]
    async with _running(Journal(1000, _DAY, time.time, shared)) as journal:
        await _put(journal, b"before")
        away()
        for each in range(10):
            journal.put(b"meanwhile %d" % each)
        began = time.monotonic()
        pages, why = await journal.reading()
        assert time.monotonic() - began < journals.READY + _SLACK
        assert why in words
        assert len(await _forward(pages)) == 11, "all that this replica has put"
        assert (journal.status().up, journal.status().why, journal.status().pending) == (False, why, 10)
        await asyncio.sleep(1.2)
        back()
        after = await _reads_shared(journal)
        there = await _forward(after)
        assert there[-10:] == [b"meanwhile %d" % each for each in range(10)]
        assert len(there) == len(set(there))
        assert (journal.status().up, journal.status().dropped) == (True, {})


async def test_a_flushed_redis_begins_anew(own_redis: RedisServer, shared: RedisJournal) -> None:
    """Totals from nothing; whoever was there before is told of a gap."""
    async with _running(Journal(1000, _DAY, time.time, shared)) as journal:
        pages = await _put(journal, b"1", b"2", b"3")
        place = await pages.end()
        own_redis.command("FLUSHALL")
        assert await pages.newer(place) == Chunk((), False, False)
        await _put(journal, b"4")
        chunk = await pages.newer(place)
        assert (_items(chunk), chunk.gap) == ([b"4"], True)
        assert (await pages.end()).endswith("-1.0")


@pytest.mark.parametrize(
    "theirs",
    [("SET", _STREAM, "mine"), ("XADD", _STREAM, "1-1", "field", "mine"), ("LPUSH", _STREAM, "mine")],
)
async def test_somebody_else_s_data_is_left_alone(
    own_redis: RedisServer, shared: RedisJournal, theirs: tuple[str, ...]
) -> None:
    """It is neither changed nor trimmed, also where memory is short; and the journal comes when it has gone."""
    own_redis.command(*theirs)
    before = own_redis.command("DUMP", _STREAM)
    async with _running(Journal(1000, _DAY, time.time, shared)) as journal:
        journal.put(b"ours")
        pages, why = await journal.reading()
        assert (why, await _forward(pages)) == ("error", [b"ours"])
        own_redis.command("CONFIG", "SET", "maxmemory", "900kb")
        await asyncio.sleep(1)
        assert own_redis.command("DUMP", _STREAM) == before
        own_redis.command("CONFIG", "SET", "maxmemory", "0")
        own_redis.command("DEL", _STREAM)
        assert await _forward(await _reads_shared(journal)) == [b"ours"]


async def test_strangers_between_ours_are_passed_over(own_redis: RedisServer, shared: RedisJournal) -> None:
    """Whatever they are made of."""
    await shared.add("a", 1, [b"1"])
    ms = int((await shared.end()).partition("-")[0])
    for fields in (("x", "y"), ("n", "2", "bytes", "9", "items", "one"), ("n", "x", "bytes", "x", "items", "x")):
        own_redis.command("XADD", _STREAM, f"{ms}-*", *fields)
    own_redis.command("XADD", _STREAM, f"{ms + 1}-9", "n", "1", "bytes", "99", "items", "2")
    await shared.add("a", 2, [b"3"])
    assert await _forward(shared) == [b"1", b"2", b"3"]
    assert await _backward(shared, 1) == [b"3", b"2", b"1"]
    place = await shared.end()
    ms = int(place.partition("-")[0])
    own_redis.command("XADD", _STREAM, f"{ms + 2}-1", "x", "y" * 600_000)
    theirs = await shared.end()
    own_redis.command("XADD", _STREAM, f"{ms + 3}-20", "n", "2", "bytes", "101", "items", "4\n5")
    for each in (place, theirs):
        assert _items(await shared.newer(each)) == [b"4", b"5"]
    assert _items(await shared.older(theirs, 9)) == [b"3", b"2", b"1"]


async def test_breakers_can_write_while_the_journal_is_hammered(own_redis: RedisServer) -> None:
    """A small Redis, several replicas with more than it can hold: no swap is refused, and the journal gives way."""
    own_redis.command("CONFIG", "SET", "maxmemory-policy", "noeviction", "maxmemory", "8mb")
    store = RedisStore(own_redis.url)
    made = [Journal(10_000, _DAY, time.time, RedisJournal(own_redis.url, "homeport", 10_000, _DAY)) for _ in range(3)]
    item = b"x" * 20_000
    async with contextlib.AsyncExitStack() as stack:
        for journal in made:
            await stack.enter_async_context(_running(journal))
        ends = time.monotonic() + 6
        version, slowest, refused = 0, 0.0, 0
        while time.monotonic() < ends:
            for journal in made:
                for _ in range(20):
                    journal.put(item)
            began = time.monotonic()
            lineage = (await store.sync("r")).lineage
            new = Stored(version + 1, lineage, b"row" * 30)
            swapped = await store.swap("target", version, new, not_before=0, not_after=9e9, lasting=False)
            assert swapped.applied
            slowest = max(slowest, time.monotonic() - began)
            version += 1
            refused += any(journal.status().why == "memory" for journal in made)
            await asyncio.sleep(0.02)
        assert version > 50
        assert slowest < LIMIT + _SLACK
        assert refused, "the memory was never short: this proved nothing"
        assert own_redis.command("INFO", "memory")["used_memory"] < 8 * 1024 * 1024
        assert sum(sum(journal.status().dropped.values()) for journal in made) > 0
    assert "errorstat_OOM" not in own_redis.command("INFO", "errorstats")
    await store.close()


async def test_a_redis_full_of_other_things_gets_its_memory_back(own_redis: RedisServer, shared: RedisJournal) -> None:
    """The journal gives half of itself each time, in the end all, so that others can write again."""
    for number in range(1, 21):
        await shared.add("a", number, [b"x" * 60_000] * 4)
    used = own_redis.command("INFO", "memory")["used_memory"]
    own_redis.command("CONFIG", "SET", "maxmemory-policy", "noeviction", "maxmemory", used - 100_000)
    lengths = []
    for _ in range(6):
        with contextlib.suppress(StoreError):
            await shared.add("a", 21, [b"y" * 60_000] * 4)
        lengths.append(own_redis.command("XLEN", _STREAM))
    assert lengths[0] == 10, "half of it, though a full Redis takes no writes"
    own_redis.command("SET", "another's", "fits again")
    own_redis.command("CONFIG", "SET", "maxmemory", "500kb")
    for _ in range(6):
        with pytest.raises(StoreError, match=r"^memory$"):
            await shared.add("a", 22, [b"z"])
    assert own_redis.command("EXISTS", _STREAM) == 0


async def test_a_lost_reply_makes_no_double(own_redis: RedisServer, opened: _Open) -> None:
    """Neither when the connection broke, nor when a frozen Redis does it after all."""
    async with Severing(own_redis.port) as way:
        shared = opened(f"redis://127.0.0.1:{way.port}")
        journal = Journal(1000, _DAY, time.time, shared)
        await _put(journal, b"0")
        way.next = True
        await _put(journal, b"1")
        assert not way.next
        journal.put(b"2")
        own_redis.pause()
        for _ in range(3):
            assert (await journal.reading())[1] == "timeout"
            await asyncio.sleep(journals.EVERY)
        journal.put(b"3")
        own_redis.resume()
        assert await _forward(await _reads_shared(journal)) == [b"0", b"1", b"2", b"3"]
        await journal.close()


async def test_commands_stay_few_under_load(own_redis: RedisServer, shared: RedisJournal) -> None:
    """2,000 items a second with transitions among them, and readers: five commands a second at most, none dropped."""
    async with _running(Journal(10_000, _DAY, time.time, shared)) as journal:
        await _put(journal, b"warm")
        own_redis.command("CONFIG", "RESETSTAT")
        began, count = time.monotonic(), 0
        while (passed := time.monotonic() - began) < 4:
            while count < passed * 2000:
                journal.put(b'{"request_id":"req_%08d"}' % count + b" " * 200, soon=count % 100 == 0)
                count += 1
            await asyncio.sleep(0.005)
        seconds = time.monotonic() - began
        written = _calls(own_redis, "xadd")
        assert written <= _calls(own_redis, "evalsha", "eval") <= 5 * (seconds + 1)
        assert written > 4
        pages = await _reads_shared(journal)
        assert journal.status().dropped == {}
        assert len(await _forward(pages)) == count + 1


async def test_readers_leave_a_connection_for_writing(own_redis: RedisServer, shared: RedisJournal) -> None:
    """However many read at once, and none waits longer than Redis may take."""
    await shared.add("a", 1, [b"x" * 60_000] * 4)
    reads = [asyncio.ensure_future(shared.newer(None)) for _ in range(10)]
    await shared.add("a", 2, [b"y"])
    await asyncio.gather(*reads)
    own_redis.pause()
    began = time.monotonic()
    ends = await asyncio.gather(*(shared.older(None, 5) for _ in range(20)), return_exceptions=True)
    took = time.monotonic() - began
    own_redis.resume()
    assert {repr(end) for end in ends} == {"StoreError('timeout')"}
    assert took < 2 * LIMIT + _SLACK
    assert len(own_redis.command("CLIENT", "LIST").splitlines()) - 1 <= 2
    assert _items(await shared.older(None, 1)) == [b"y"]


# -- who may


async def _everything(shared: RedisJournal, server: RedisServer) -> None:
    """All that the journal ever does."""
    server.command("FLUSHALL")
    server.command("SCRIPT", "FLUSH")
    await shared.add("a", 1, [b"1"])
    await shared.add("a", 2, [b"2"])
    place = await shared.end()
    await shared.newer(place)
    await shared.older(place, 1)
    server.command("CONFIG", "SET", "maxmemory", "500kb")
    try:
        for number in (3, 3):
            with pytest.raises(StoreError) as error:
                await shared.add("a", number, [b"3"])
            if error.value.word != "memory":
                raise error.value
    finally:
        server.command("CONFIG", "SET", "maxmemory", "0")


async def test_the_documented_rights_suffice_and_each_is_needed(own_redis: RedisServer, opened: _Open) -> None:
    """A user who may do what the document says; without any one of the rights, something is `auth`."""

    def user(name: str, *rights: str) -> RedisJournal:
        own_redis.command("ACL", "SETUSER", name, "on", ">s3cret", *rights)
        return opened(own_redis.url.replace("//", f"//{name}:s3cret@"))

    await _everything(user("homeport", *ACL.split()), own_redis)
    assert own_redis.command("ACL", "LOG") == []
    for right in JOURNAL_RIGHTS.split():
        with pytest.raises(StoreError, match=r"^auth$"):
            await _everything(user("less", "reset", *(each for each in ACL.split() if each != right)), own_redis)


async def test_secrets_are_in_no_text(own_redis: RedisServer, opened: _Open) -> None:
    """Neither in what is raised nor in what is shown."""
    shared = opened(own_redis.url.replace("//", "//someone:s3cret@"))
    assert repr(shared) == f"RedisJournal(127.0.0.1:{own_redis.port})"
    with pytest.raises(StoreError, match=r"^auth$") as error:
        await shared.end()
    shown = "".join(traceback.format_exception(error.value))
    assert "s3cret" not in shown
    assert "someone" not in shown


# -- any order


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(st.integers(0, 1), st.integers(1, 5), st.integers(1, 3)), max_size=12), st.integers(1, 7))
async def test_any_order_of_batches_is_read_as_it_was_added(
    shared_redis: RedisServer, batches: list[tuple[int, int, int]], most: int
) -> None:
    """From two replicas, each batch offered up to three times: the same items forward, backward, and from any place."""
    shared_redis.command("DEL", *shared_redis.command("KEYS", _STREAM + "*"), "none")
    replicas = [RedisJournal(shared_redis.url, "homeport", 1000, _DAY) for _ in range(2)]
    added: list[bytes] = []
    for number, (replica, size, offers) in enumerate(batches, 1):
        items = [b"%d.%d" % (number, each) for each in range(size)]
        for _ in range(offers):
            await replicas[replica].add(f"r{replica}", number, items)
        added += items
    whole = await replicas[0].newer(None)
    assert _items(whole) == added
    assert await _backward(replicas[1], most) == added[::-1]
    for index, (place, _) in enumerate(whole.items):
        assert _items(await replicas[1].newer(place)) == added[index + 1 :]
    for each in replicas:
        await each.close()
