"""The mishaps that a store model can be told to have; what it promises otherwise is in test_store_contract.py."""

from __future__ import annotations

import asyncio

import pytest

from proxy.breaker.store import Push, Store, Stored, StoreError
from tests.integration.store_model import LIMIT, SILENCE, StoreModel


@pytest.fixture
def model() -> StoreModel:
    """Its clock stands still."""
    return StoreModel(lambda: 1000.0)


async def _put(store: Store, version: int) -> bool:
    new = Stored(version, (await store.sync("writer")).lineage, b"row")
    swapped = await store.swap("t", version - 1, new, not_before=0, not_after=9e9, lasting=False)
    return swapped.applied


async def test_a_failover_loses_the_latest_writes_and_keeps_the_lineage(model: StoreModel) -> None:
    """Versions fall."""
    store = model.handle("r")
    await _put(store, 1)
    lagging, lineage = model.snapshot(), model.lineage()
    await _put(store, 2)
    model.rollback(lagging)
    seen = await store.sync("r")
    assert (seen.lineage, seen.versions) == (lineage, {"t": 1})
    assert await _put(store, 2)
    assert lagging.rows["t"][0].version == 1, "the same can be rolled back to again"


@pytest.mark.parametrize(("word", "reads"), [("full", True), ("readonly", True), ("auth", False), ("refused", False)])
async def test_a_refusal_is_of_writes_or_of_everything(model: StoreModel, word: str, reads: bool) -> None:
    """As a full Redis still reads."""
    store = model.handle("r")
    await _put(store, 1)
    model.refuse = word
    for asked in (store.sync("r"), _put(store, 2)):
        with pytest.raises(StoreError, match=f"^{word}$"):
            await asked
    if reads:
        assert set((await store.read(["t"]))[1]) == {"t"}
    else:
        with pytest.raises(StoreError, match=f"^{word}$"):
            await store.read(["t"])
    model.refuse = None
    assert await _put(store, 2)
    assert model.operations["r"] == (5 if reads else 4)


async def test_the_clock_can_be_set(model: StoreModel) -> None:
    """Rows are forgotten by it."""
    store = model.handle("r")
    await _put(store, 1)
    model.step_clock(-3600)
    assert (await store.sync("r")).now == 1000 - 3600
    model.step_clock(3600 + 24 * 3600)
    assert (await store.sync("r")).versions == {}


async def test_a_slow_way_back_loses_the_answer_and_not_the_deed(model: StoreModel) -> None:
    """Whoever waits gives up after LIMIT."""
    store = model.handle("r")
    await _put(store, 1)
    model.delay = lambda operation: (0.0, LIMIT * 2 if operation == "swap" else 0.0)
    with pytest.raises(StoreError, match=r"^timeout$"):
        await _put(store, 2)
    assert (await store.sync("r")).versions == {"t": 2}


async def test_pushes_are_lost_doubled_and_cut(model: StoreModel) -> None:
    """As the test says, and who listens learns of a cut only."""
    store, heard, ready = model.handle("r"), list[Push](), asyncio.Event()
    listening = asyncio.ensure_future(store.listen(ready.set, heard.append))
    await ready.wait()
    plan = {1: (), 2: (0.0, 0.0), 3: (0.05,), 4: (0.0,)}
    model.deliver = lambda push: plan[push.stored.version]
    for version in plan:
        await _put(store, version)
    await asyncio.sleep(0.1)
    assert [push.stored.version for push in heard] == [2, 2, 4, 3]
    model.cut_pubsub()
    with pytest.raises(StoreError, match=r"^refused$"):
        await listening
    assert await _put(store, 5)


async def test_who_listens_to_a_frozen_store_notices(model: StoreModel) -> None:
    """After a while, unless it thaws before."""
    store, ready = model.handle("r"), asyncio.Event()
    listening = asyncio.ensure_future(store.listen(ready.set, lambda push: None))
    await ready.wait()
    model.freeze()
    model.thaw()
    model.freeze()
    with pytest.raises(StoreError, match=r"^timeout$"):
        await asyncio.wait_for(listening, SILENCE * 4)
