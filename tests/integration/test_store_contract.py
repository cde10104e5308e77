"""What a store promises, asked of Redis and of the model that stands for it in virtual time."""

from __future__ import annotations

import asyncio
import itertools
import time
import uuid
from collections.abc import AsyncIterator, Mapping
from typing import Protocol

import pytest

from proxy.breaker.redis_scripts import Keys
from proxy.breaker.redis_store import RedisStore
from proxy.breaker.store import Push, Store, Stored, StoreError, Swapped
from tests.integration.redis_server import RedisServer
from tests.integration.store_model import StoreModel

DAY = 24 * 3600.0
_TARGET = "openai|https://api.example|gpt é|chat|3f"


class Bench(Protocol):
    """A store under test, and what only its owner can do."""

    def replica(self) -> Store:
        """One more that shares it."""
        ...

    def flush(self) -> None:
        """Lose everything."""
        ...

    def forgets_in(self, target: str) -> float | None:
        """Seconds until a row goes; None for never."""
        ...

    def forget(self, target: str) -> None:
        """Make as if the row's time were over."""
        ...

    def age(self, seconds: float) -> None:
        """Make as if so much time had passed."""
        ...

    def freeze(self) -> None:
        """Answer nothing."""
        ...

    def thaw(self) -> None:
        """Go on, with what was sent meanwhile."""
        ...


class OnRedis:
    """Real, in a namespace of its own."""

    def __init__(self, server: RedisServer) -> None:
        self._server, self._namespace = server, uuid.uuid4().hex
        self._keys = Keys.of(self._namespace)
        self.stores: list[RedisStore] = []

    def replica(self) -> Store:
        self.stores.append(store := RedisStore(self._server.url, self._namespace))
        return store

    def flush(self) -> None:
        for key in self._server.command("KEYS", f"{{{self._namespace}}}:*"):
            self._server.command("DEL", key)

    def forgets_in(self, target: str) -> float | None:
        left: int = self._server.command("PTTL", self._keys.row(target))
        assert left != -2, "there is no row"
        return None if left == -1 else left / 1000

    def forget(self, target: str) -> None:
        # Both ends that a write has set, a day on.
        version = self._server.command("HGET", self._keys.index, target).split()[0]
        self._server.command("HSET", self._keys.index, target, version + b" 1")
        self._server.command("DEL", self._keys.row(target))

    def age(self, seconds: float) -> None:
        keys, command = self._keys, self._server.command
        for replica in command("ZRANGE", keys.replicas, 0, -1):
            command("ZINCRBY", keys.replicas, -seconds, replica)
        for row in command("KEYS", keys.rows + "*"):
            command("PEXPIRE", row, command("PTTL", row) - round(seconds * 1000))

    def freeze(self) -> None:
        self._server.pause()

    def thaw(self) -> None:
        self._server.resume()


class OnModel:
    """In memory."""

    def __init__(self) -> None:
        self._skipped = 0.0
        self._model = StoreModel(lambda: time.monotonic() + 5000.0 + self._skipped)
        self._names = itertools.count()

    def replica(self) -> Store:
        return self._model.handle(f"r{next(self._names)}")

    def flush(self) -> None:
        self._model.flush()

    def forgets_in(self, target: str) -> float | None:
        ends = self._model.data.rows[target][1]
        return None if ends is None else ends - self._model.now()

    def forget(self, target: str) -> None:
        stored, _ = self._model.data.rows[target]
        self._model.data.rows[target] = stored, self._model.now()

    def age(self, seconds: float) -> None:
        self._skipped += seconds

    def freeze(self) -> None:
        self._model.freeze()

    def thaw(self) -> None:
        self._model.thaw()


@pytest.fixture(params=["redis", "model"])
async def bench(request: pytest.FixtureRequest) -> AsyncIterator[Bench]:
    """Each store in turn."""
    if request.param == "model":
        yield OnModel()
        return
    on_redis = OnRedis(request.getfixturevalue("shared_redis"))
    yield on_redis
    on_redis.thaw()
    for store in on_redis.stores:
        await store.close()


async def _put(store: Store, expected: int, row: bytes, *, lasting: bool = False, target: str = _TARGET) -> Swapped:
    """Propose the next version, now."""
    seen = await store.sync("writer")
    new = Stored(expected + 1, seen.lineage, row)
    bounds = {"not_before": seen.now - 1, "not_after": seen.now + 5}
    return await store.swap(target, expected, new, **bounds, lasting=lasting)


async def test_a_first_row_is_put_in_place_of_version_0(bench: Bench) -> None:
    """Expected 0 means that there is no row."""
    store = bench.replica()
    swapped = await _put(store, 0, b"first")
    lineage = (await store.sync("r")).lineage
    assert swapped.applied
    assert swapped.stored == Stored(1, lineage, b"first")
    assert swapped.lineage == lineage
    assert (await store.read([_TARGET]))[1] == {_TARGET: Stored(1, lineage, b"first")}


async def test_another_version_than_the_expected_one_is_not_replaced(bench: Bench) -> None:
    """The loser gets the row as it is, and changes nothing."""
    store = bench.replica()
    await _put(store, 0, b"first")
    second = await _put(store, 1, b"second")
    for expected in (0, 1, 3):
        lost = await _put(store, expected, b"mine")
        assert not lost.applied
        assert lost.stored == second.stored
    assert (await store.read([_TARGET]))[1] == {_TARGET: second.stored}


async def test_a_row_that_is_expected_and_missing_is_not_made(bench: Bench) -> None:
    """Whoever saw a row that is gone is told so."""
    lost = await _put(bench.replica(), 7, b"mine")
    assert not lost.applied
    assert lost.stored is None


async def test_versions_are_the_proposer_s_and_may_leap(bench: Bench) -> None:
    """A row that was lost is put back above the version that others may have seen."""
    store = bench.replica()
    seen = await store.sync("r")
    new = Stored(41, seen.lineage, b"again")
    swapped = await store.swap(_TARGET, 0, new, not_before=seen.now - 1, not_after=seen.now + 5, lasting=False)
    assert swapped.applied
    assert (await store.sync("r")).versions == {_TARGET: 41}


@pytest.mark.parametrize(("not_before", "not_after"), [(-10.0, -5.0), (5.0, 10.0)], ids=["late", "early"])
async def test_a_proposal_outside_its_window_is_not_applied(bench: Bench, not_before: float, not_after: float) -> None:
    """Nor does it leave anything behind."""
    store = bench.replica()
    seen = await store.sync("r")
    new = Stored(1, seen.lineage, b"mine")
    window = {"not_before": seen.now + not_before, "not_after": seen.now + not_after}
    swapped = await store.swap(_TARGET, 0, new, **window, lasting=False)
    assert not swapped.applied
    assert swapped.stored is None
    assert (await store.sync("r")).versions == {}


async def test_a_proposal_of_another_lineage_is_not_applied(bench: Bench) -> None:
    """It was made from data that is no more."""
    store = bench.replica()
    seen = await store.sync("r")
    bench.flush()
    new = Stored(1, seen.lineage, b"mine")
    swapped = await store.swap(_TARGET, 0, new, not_before=seen.now - 1, not_after=seen.now + 5, lasting=False)
    assert not swapped.applied
    assert swapped.lineage not in ("", seen.lineage)
    assert (await store.sync("r")).lineage == swapped.lineage


async def test_all_replicas_see_one_lineage_until_the_data_is_lost(bench: Bench) -> None:
    """Whoever comes first begins it; a flush begins another."""
    stores = [bench.replica() for _ in range(3)]
    seen = {snapshot.lineage for snapshot in await asyncio.gather(*(store.sync("r") for store in stores))}
    assert len(seen) == 1
    assert "" not in seen
    bench.flush()
    assert (await stores[0].sync("r")).lineage not in seen


async def test_exactly_one_of_several_proposals_wins(bench: Bench) -> None:
    """At once, from several replicas, and even when they propose the same."""
    stores = [bench.replica() for _ in range(4)]
    seen = await stores[0].sync("r")
    window = {"not_before": seen.now - 1, "not_after": seen.now + 5}
    for rows in ([b"a", b"b", b"c", b"d"] * 3, [b"same"] * 12):
        version = (await stores[0].sync("r")).versions.get(_TARGET, 0)
        made = [Stored(version + 1, seen.lineage, row) for row in rows]
        several = zip(itertools.cycle(stores), made, strict=False)
        swaps = [store.swap(_TARGET, version, new, **window, lasting=False) for store, new in several]
        results = await asyncio.gather(*swaps)
        assert [each.applied for each in results].count(True) == 1
        winner = next(new for new, each in zip(made, results, strict=True) if each.applied)
        assert {each.stored for each in results} == {winner}


async def test_a_row_is_forgotten_after_a_day_unless_it_is_lasting(bench: Bench) -> None:
    """The day begins anew at each write, and a latch that ends gives the row a day again."""
    store = bench.replica()
    await _put(store, 0, b"a")
    bench.age(3600)
    left = bench.forgets_in(_TARGET)
    assert left is not None
    assert left < DAY - 3599
    for version, lasting in ((1, False), (2, True), (3, False)):
        await _put(store, version, b"b", lasting=lasting)
        left = bench.forgets_in(_TARGET)
        assert (left is None) is lasting
        assert left is None or DAY - 1 < left <= DAY


async def test_a_row_that_is_forgotten_leaves_the_index(bench: Bench) -> None:
    """A missing row is version 0, and others stay."""
    store = bench.replica()
    await _put(store, 0, b"a")
    await _put(store, 0, b"b", target="other", lasting=True)
    bench.forget(_TARGET)
    assert (await store.sync("r")).versions == {"other": 1}
    assert set((await store.read([_TARGET, "other"]))[1]) == {"other"}
    assert (await _put(store, 0, b"c")).applied


async def test_reading_gives_what_there_is(bench: Bench) -> None:
    """Of what is asked for, whatever characters it has."""
    store = bench.replica()
    await _put(store, 0, b"a", target="a")
    await _put(store, 0, b"\x00\xff\n ", target="b\n \x00|é")
    await _put(store, 0, b"", target="")
    _, rows = await store.read(["b\n \x00|é", "none", ""])
    assert {target: row.row for target, row in rows.items()} == {"b\n \x00|é": b"\x00\xff\n ", "": b""}
    assert (await store.read([]))[1] == {}


async def test_one_clock_for_everything(bench: Bench) -> None:
    """It passes, and all replies tell the same."""
    one, other = bench.replica(), bench.replica()
    heard: list[Push] = []
    listening = await _listen(other, heard)
    first = (await one.sync("r")).now
    swapped = await _put(one, 0, b"a")
    second = (await other.read([]))[0]
    await _until(heard, 1)
    assert first <= heard[0].now == swapped.now <= second <= first + 2
    await _end(listening)


async def test_replicas_count_while_they_show_themselves(bench: Bench) -> None:
    """For five seconds, each once."""
    store = bench.replica()
    assert (await store.sync("one")).replicas == 1
    assert (await store.sync("two")).replicas == 2
    assert (await store.sync("one")).replicas == 2
    bench.age(3)
    assert (await store.sync("one")).replicas == 2
    bench.age(3)
    assert (await store.sync("one")).replicas == 1


async def test_a_push_carries_the_whole_row_to_everybody_who_listens(bench: Bench) -> None:
    """The writer too; what was not applied is not pushed."""
    one, other = bench.replica(), bench.replica()
    heard: list[Push] = []
    heard_too: list[Push] = []
    listening = [await _listen(one, heard), await _listen(other, heard_too)]
    first = await _put(one, 0, b"\x00\n a")
    await _put(other, 0, b"lost")
    second = await _put(other, 1, b"b", target=_TARGET)
    for each in (heard, heard_too):
        await _until(each, 2)
        assert [(push.target, push.stored) for push in each] == [(_TARGET, first.stored), (_TARGET, second.stored)]
    await _end(*listening)


async def test_ready_is_said_before_anything_can_be_missed(bench: Bench) -> None:
    """What is written once `ready` was called is heard."""
    store = bench.replica()
    for version in range(5):
        heard: list[Push] = []
        listening = await _listen(store, heard)
        await _put(bench.replica(), version, b"a")
        await _until(heard, 1)
        await _end(listening)


@pytest.mark.parametrize(("not_after", "applied"), [(0.05, False), (60.0, True)], ids=["late", "in time"])
async def test_what_was_sent_to_a_frozen_store_is_executed_later(bench: Bench, not_after: float, applied: bool) -> None:
    """Nobody waits for it any more, so only its window keeps it from taking a place that nobody will use."""
    store = bench.replica()
    seen = await store.sync("r")
    new = Stored(1, seen.lineage, b"mine")
    bench.freeze()
    with pytest.raises(StoreError, match=r"^timeout$"):
        await store.swap(_TARGET, 0, new, not_before=seen.now - 1, not_after=seen.now + not_after, lasting=False)
    bench.thaw()
    rows = await _read_in_time(store, applied=applied)
    assert rows == ({_TARGET: new} if applied else {})
    assert (await _put(store, 1 if applied else 0, b"next")).applied


async def _read_in_time(store: Store, *, applied: bool) -> Mapping[str, Stored]:
    """The rows, once the store has had the time for what it had to do before."""
    async with asyncio.timeout(5):
        while True:
            rows = (await store.read([_TARGET]))[1]
            if rows or not applied:
                return rows


async def test_a_store_is_idle_when_it_is_closed(bench: Bench) -> None:
    """Closing is fine whether or not anything was asked."""
    store = bench.replica()
    await store.close()
    used = bench.replica()
    await used.sync("r")
    await used.close()


async def _listen(store: Store, heard: list[Push]) -> asyncio.Task[None]:
    ready = asyncio.Event()
    task = asyncio.ensure_future(store.listen(ready.set, heard.append))
    await asyncio.wait_for(ready.wait(), 5)
    return task


async def _until(heard: list[Push], count: int) -> None:
    async with asyncio.timeout(5):
        while len(heard) < count:  # noqa: ASYNC110  # pushes come to a plain list
            await asyncio.sleep(0.005)
    assert len(heard) == count


async def _end(*listening: asyncio.Task[None]) -> None:
    for task in listening:
        task.cancel()
    assert [type(each) for each in await asyncio.gather(*listening, return_exceptions=True)] == [
        asyncio.CancelledError
    ] * len(listening)
