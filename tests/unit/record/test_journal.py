"""The journal by itself: what the ring keeps, what may wait, what is dropped, and which places lead where."""

from __future__ import annotations

import asyncio
import time

import pytest

from proxy.breaker.store import StoreError
from proxy.record import journal as journals
from proxy.record.journal import BadPlace, Chunk, Journal, Pages
from proxy.record.pages import PAGE, PAGE_BYTES, ROOM, Ring
from tests.integration.journal_model import JournalModel
from tests.property import virtual

_DAY = 86_400.0


class Clock:
    """Stands until it is moved."""

    def __init__(self) -> None:
        self.now = 1_700_000_000.0

    def __call__(self) -> float:
        return self.now


def _items(chunk: Chunk) -> list[bytes]:
    return [item for _, item in chunk.items]


async def _all(pages: Pages) -> list[bytes]:
    """From the oldest."""
    found: list[bytes] = []
    place: str | None = None
    while True:
        chunk = await pages.newer(place)
        found += _items(chunk)
        if not chunk.more:
            return found
        place = chunk.items[-1][0]


def _ring(keep: int = 10, age: float = _DAY, clock: Clock | None = None, count: int = 0) -> Ring:
    ring = Ring(keep, age, clock or Clock(), "a1")
    for each in range(count):
        ring.extend([b"%d" % each])
    return ring


# -- the ring


async def test_the_ring_keeps_the_newest() -> None:
    """So many items and no more, in order either way."""
    ring = _ring(keep=3, count=5)
    assert _items(await ring.newer(None)) == [b"2", b"3", b"4"]
    assert _items(await ring.older(None, 10)) == [b"4", b"3", b"2"]
    assert len(ring) == 3


async def test_the_ring_forgets_what_is_too_old() -> None:
    """While it grows, and when it is read after a long silence."""
    clock = Clock()
    ring = _ring(age=60, clock=clock, count=2)
    clock.now += 61
    ring.extend([b"new"])
    assert _items(await ring.newer(None)) == [b"new"]
    clock.now += 61
    assert len(ring) == 0
    assert await ring.newer(None) == Chunk((), False, False)
    assert await ring.older(None, 9) == Chunk((), False, False)


async def test_the_ring_is_bounded_in_bytes() -> None:
    """However many items it may keep."""
    ring = Ring(1_000_000, _DAY, Clock(), "a1")
    item = bytes(64 * 1024)
    for _ in range(ROOM // len(item) + 10):
        ring.extend([item])
    assert len(ring) == ROOM // len(item)


async def test_pages_of_the_ring_meet_without_loss_or_repeat() -> None:
    """While others are added, and `more` is true until the oldest."""
    ring = _ring(keep=100, count=25)
    found: list[bytes] = []
    place, more, pages = None, True, 0
    while more:
        chunk = await ring.older(place, 10)
        found += _items(chunk)
        place, more, pages = chunk.items[-1][0], chunk.more, pages + 1
        ring.extend([b"later"])
        assert not chunk.gap
    assert found == [b"%d" % each for each in range(24, -1, -1)]
    assert pages == 3


async def test_a_chunk_is_bounded_in_items_and_in_bytes() -> None:
    """Whatever is asked for."""
    ring = _ring(keep=5000, count=3000)
    assert len((await ring.older(None, 10**9)).items) == PAGE
    assert (await ring.older(None, 0)) == Chunk((), True, False)
    chunk = await ring.newer(None)
    assert (len(chunk.items), chunk.more) == (PAGE, True)
    big = _ring(keep=100)
    for _ in range(20):
        big.extend([bytes(64 * 1024)])
    for chunk in (await big.newer(None), await big.older(None, 20)):
        assert (len(chunk.items), chunk.more) == (PAGE_BYTES // (64 * 1024), True)


async def test_a_tail_sees_each_item_once() -> None:
    """From where it began, with no gap though old ones go meanwhile; one that was too slow is told."""
    ring = _ring(keep=4, count=4)
    place = slow = await ring.end()
    seen = []
    for each in range(12):
        ring.extend([b"new %d" % each])
        chunk = await ring.newer(place)
        seen += _items(chunk)
        place = chunk.items[-1][0]
        assert not chunk.gap
    assert seen == [b"new %d" % each for each in range(12)]
    assert await ring.newer(place) == Chunk((), False, False)
    late = await ring.newer(slow)
    assert (late.gap, _items(late)) == (True, seen[-4:])
    assert await ring.older(slow, 5) == Chunk((), False, True)


async def test_a_tail_that_began_at_an_empty_ring_misses_nothing() -> None:
    """Its place is before the first."""
    ring = _ring()
    place = await ring.end()
    assert await ring.newer(place) == Chunk((), False, False)
    assert await ring.older(place, 5) == Chunk((), False, False)
    ring.extend([b"first"])
    chunk = await ring.newer(place)
    assert (_items(chunk), chunk.gap) == ([b"first"], False)


async def test_places_of_another_ring_or_of_the_shared_journal_are_gaps() -> None:
    """What is kept here is told from the oldest, and there is nothing before."""
    ring = _ring(count=3)
    for place in ("ring-b2-1", "1700000000000-12.3"):
        chunk = await ring.newer(place)
        assert (_items(chunk), chunk.gap) == ([b"0", b"1", b"2"], True)
        assert await ring.older(place, 5) == Chunk((), False, True)


@pytest.mark.parametrize(
    "place", ["", "x", "ring-a1-", "ring-a1-x", "ring-a1-4", "1-2", "1-2.x", "ring-a1-1\n", "1-٢.3"]
)
async def test_what_is_no_place_is_said(place: str) -> None:
    """As a ValueError, and one that was not reached yet too."""
    ring = _ring(count=3)
    for asked in (ring.newer(place), ring.older(place, 1)):
        with pytest.raises(BadPlace):
            await asked


# -- what is put


async def test_recording_can_be_off() -> None:
    """Nothing is kept, sent or dropped."""
    shared = JournalModel()
    journal = Journal(0, _DAY, Clock(), shared)
    journal.put(b"x", soon=True)
    pages, why = await journal.reading()
    assert (_items(await pages.newer(None)), why) == ([], None)
    status = journal.status()
    assert (status.held, status.pending, status.dropped, status.up) == (0, 0, {}, True)
    await journal.close()
    assert shared.items == []


async def test_in_memory_the_ring_is_all_there_is() -> None:
    """It is up, and nothing is pending."""
    journal = Journal(10, _DAY, Clock(), None, "a1")
    journal.put(b"one")
    journal.put(b'{"a":\n1}')
    pages, why = await journal.reading()
    assert why is None
    assert _items(await pages.newer(None)) == [b"one", b'{"a": 1}']
    status = journal.status()
    assert (status.kind, status.held, status.pending, status.up, status.why) == ("memory", 2, 0, True, "")
    await journal.close()


async def test_an_item_that_is_too_large_is_counted() -> None:
    """And kept nowhere."""
    journal = Journal(10, _DAY, Clock(), None)
    journal.put(bytes(journals.LARGEST + 1))
    journal.put(bytes(journals.LARGEST))
    assert (journal.status().held, journal.status().dropped) == (1, {"too_large": 1})


async def test_several_are_put_at_once() -> None:
    """In their order; what cannot be kept is counted, and the others are kept."""
    journal = Journal(10, _DAY, Clock(), None, "a1")
    journal.extend([b"1", bytes(journals.LARGEST + 1), b"2\n"])
    journal.extend([])
    pages, _ = await journal.reading()
    assert _items(await pages.newer(None)) == [b"1", b"2 "]
    assert journal.status().dropped == {"too_large": 1}


@pytest.mark.parametrize(("word", "reason"), [("refused", "store"), ("memory", "memory"), (None, "overflow")])
def test_what_may_wait_is_bounded_and_the_rest_counted(word: str | None, reason: str) -> None:
    """In items, by why it has to wait; all of it stays in the ring, and the newest arrive."""

    async def work() -> None:
        shared = JournalModel()
        shared.away = word
        journal = Journal(100, _DAY, Clock(), shared)
        await journal.reading()
        for each in range(150):
            journal.put(b"%d" % each)
        status = journal.status()
        assert (status.pending, status.held, status.dropped) == (100, 100, {reason: 50})
        assert (status.up, status.why) == (word is None, word or "")
        shared.away = None
        await asyncio.sleep(1)
        _, why = await journal.reading()
        assert why is None
        assert shared.items == [b"%d" % each for each in range(50, 150)]
        assert journal.status().pending == 0

    virtual.run(work())


def test_what_may_wait_is_bounded_in_bytes() -> None:
    """As many large items as fit."""

    async def work() -> None:
        journal = Journal(100_000, _DAY, Clock(), JournalModel())
        for _ in range(300):
            journal.put(bytes(journals.LARGEST))
        status = journal.status()
        fit = journals.PENDING_BYTES // journals.LARGEST
        assert (status.pending, status.dropped) == (fit, {"overflow": 300 - fit})

    virtual.run(work())


def test_pending_items_that_grow_too_old_are_not_brought_as_new_ones() -> None:
    """They are counted."""

    async def work() -> None:
        shared, clock = JournalModel(), Clock()
        journal = Journal(100, 60.0, clock, shared)
        shared.away = "refused"
        journal.put(b"offered")
        await journal.reading()
        journal.put(b"waiting")
        clock.now += 61
        shared.away = None
        journal.put(b"new")
        await asyncio.sleep(1)
        await journal.reading()
        assert shared.items == [b"new"]
        assert journal.status().dropped == {"store": 2}

    virtual.run(work())


# -- when it is brought


def test_batches_go_every_half_second_and_transitions_at_once() -> None:
    """An early one not before a quarter of a second has passed since the last."""

    async def work() -> None:
        loop = asyncio.get_running_loop()
        shared = JournalModel()
        journal = Journal(100, _DAY, Clock(), shared)
        running = loop.create_task(journal.run())
        await asyncio.sleep(0)
        began = loop.time()
        journal.put(b"one")
        await asyncio.sleep(journals.EVERY - 0.01)
        assert shared.items == []
        await asyncio.sleep(0.02)
        assert shared.items == [b"one"]
        await asyncio.sleep(1)
        for each in range(3):
            journal.put(b"soon %d" % each, soon=True)
            await asyncio.sleep(0.01)
        assert shared.items == [b"one", b"soon 0"]
        await asyncio.sleep(journals.APART)
        assert shared.items[-1] == b"soon 2"
        assert loop.time() - began < 2
        running.cancel()

    virtual.run(work())


def test_a_batch_that_is_full_goes_early_but_what_may_not_wait_hurries_nobody() -> None:
    """Of the same bytes, where ten items are kept or all of them."""

    async def work(keep: int, early: int, later: int) -> None:
        shared = JournalModel()
        journal = Journal(keep, _DAY, Clock(), shared)
        running = asyncio.get_running_loop().create_task(journal.run())
        await asyncio.sleep(0)
        for _ in range(60):
            journal.put(bytes(5000))
        await asyncio.sleep(journals.EVERY - 0.01)
        assert len(shared.items) == early
        await asyncio.sleep(0.02)
        assert len(shared.items) == later
        running.cancel()

    virtual.run(work(10, 0, 5))
    virtual.run(work(100, 50, 60))


class Counting(JournalModel):
    """Knows when it was written to."""

    def __init__(self) -> None:
        super().__init__()
        self.times: list[float] = []

    async def add(self, *batch: object) -> None:
        self.times.append(asyncio.get_running_loop().time())
        await super().add(*batch)  # type: ignore[arg-type]  # passed on as it came


@pytest.mark.parametrize("away", [None, "refused"])
def test_no_load_makes_more_than_so_many_commands(away: str | None) -> None:
    """In any second, however much is put, hurried and read, and whether Redis is there or not."""

    async def work() -> None:
        loop = asyncio.get_running_loop()
        shared = Counting()
        shared.away = away
        journal = Journal(10_000, _DAY, Clock(), shared)
        running = loop.create_task(journal.run())
        for each in range(2000):
            journal.put(bytes(2000), soon=each % 3 == 0)
            if each % 5 == 0:
                began = loop.time()
                await journal.reading()
                assert loop.time() - began <= journals.READY
            await asyncio.sleep(0.005)
        await journal.close()
        running.cancel()
        for first, sixth in zip(shared.times, shared.times[journals.TURNS :], strict=False):
            assert sixth - first >= 1.0 - 1e-6
        assert len(shared.times) > 10

    virtual.run(work())


def test_a_reader_sees_what_was_just_put() -> None:
    """Its own replica's, without the task even."""

    async def work() -> None:
        shared = JournalModel()
        journal = Journal(100, _DAY, Clock(), shared)
        for each in range(4):
            journal.put(b"%d" % each)
            pages, why = await journal.reading()
            assert (pages, why) == (shared, None)
            assert _items(await pages.older(None, 1)) == [b"%d" % each]

    virtual.run(work())


class Stuck(JournalModel):
    """Never answers."""

    async def end(self) -> str:
        await asyncio.sleep(1e6)
        raise StoreError("timeout")

    async def add(self, *batch: object) -> None:
        await self.end()


@pytest.mark.parametrize("items", [0, 1])
def test_a_reader_waits_no_longer_than_it_should(items: int) -> None:
    """Then the ring is read, and the next reader does not wait at all; closing is bounded too."""

    async def work() -> None:
        loop = asyncio.get_running_loop()
        journal = Journal(100, _DAY, Clock(), Stuck())
        for _ in range(items):
            journal.put(b"mine")
        for most in (journals.READY, 0):
            began = loop.time()
            pages, why = await journal.reading()
            assert why == "timeout"
            assert _items(await pages.newer(None)) == [b"mine"] * items
            assert loop.time() - began <= most + 1e-6
        began = loop.time()
        await journal.close()
        assert loop.time() - began <= journals.LAST + 1e-6
        assert journal.status().dropped == ({"store": 1} if items else {})

    virtual.run(work())


def test_it_is_known_to_be_back_though_nothing_is_put() -> None:
    """Status does not go on saying that it is away."""

    async def work() -> None:
        shared = JournalModel()
        journal = Journal(100, _DAY, Clock(), shared)
        running = asyncio.get_running_loop().create_task(journal.run())
        shared.away = "loading"
        assert (await journal.reading())[1] == "loading"
        assert journal.status().why == "loading"
        shared.away = None
        await asyncio.sleep(1.1)
        assert journal.status().up
        running.cancel()

    virtual.run(work())


def test_closing_brings_what_is_left() -> None:
    """Within its time; what is put later is counted."""

    async def work() -> None:
        shared = JournalModel()
        journal = Journal(100, _DAY, Clock(), shared)
        journal.put(b"last")
        await journal.close()
        assert shared.items == [b"last"]
        journal.put(b"too late")
        status = journal.status()
        assert (status.pending, status.dropped) == (0, {"overflow": 1})

    virtual.run(work())


def test_what_put_costs(capsys: pytest.CaptureFixture[str]) -> None:
    """Shown, and no more than a request could bear: it is on the way of each."""
    journal = Journal(10_000, _DAY, time.time, JournalModel())
    item = bytes(700)
    count = 100_000
    began = time.perf_counter()
    for _ in range(count):
        journal.put(item)
    took = (time.perf_counter() - began) / count
    with capsys.disabled():
        print(f"\nput: {took * 1e6:.2f} µs")  # noqa: T201  # it is shown, not judged
    assert journal.status().held == 10_000
