"""What is done beside the event loop, and how the process is meanwhile and afterwards."""

from __future__ import annotations

import asyncio
import gc
import sys
import threading
import weakref
from collections.abc import Iterator

import pytest

from proxy.beside import beside, giving_way, let_go


class _Thing:
    """Something that the collector knows of."""


@pytest.fixture(autouse=True)
def usual_collector() -> Iterator[None]:
    """As other tests expect it."""
    yield
    gc.enable()


def _young(thing: object) -> bool:
    return any(each is thing for generation in (0, 1) for each in gc.get_objects(generation))


async def test_work_is_done_in_a_thread_that_takes_short_turns() -> None:
    """And everything is as it was afterwards, also after a failure."""
    usual = sys.getswitchinterval()

    def work(one: int, *, two: int) -> tuple[int, float, bool, int]:
        return one + two, sys.getswitchinterval(), gc.isenabled(), threading.get_ident()

    total, turns, collecting, thread = await beside(work, 1, two=2)
    assert (total, collecting) == (3, False)
    assert turns < usual / 10
    assert thread != threading.get_ident()
    assert (sys.getswitchinterval(), gc.isenabled()) == (usual, True)
    with pytest.raises(ZeroDivisionError):
        await beside(lambda: 1 / 0)
    assert (sys.getswitchinterval(), gc.isenabled()) == (usual, True)


async def test_who_ends_first_leaves_it_as_the_other_needs_it() -> None:
    """A scrape while a file is read."""
    usual, go = sys.getswitchinterval(), threading.Event()
    longer = asyncio.create_task(beside(go.wait, 10))
    await asyncio.sleep(0)
    with giving_way():
        short = sys.getswitchinterval()
    assert await beside(gc.isenabled) is False
    assert (sys.getswitchinterval(), gc.isenabled()) == (short, False)
    go.set()
    assert await longer
    assert (sys.getswitchinterval(), gc.isenabled()) == (usual, True)


async def test_what_was_made_is_old_at_once_and_still_collected() -> None:
    """The next small collection does not look at it; a whole one finds what became garbage."""
    made = await beside(_Thing)
    young = _young(_Thing()), _young(made)
    assert young == (True, False)
    gone = weakref.ref(made)
    made.itself = made  # type: ignore[attr-defined]
    del made
    async with asyncio.timeout(5):
        # The thread that made it may hold it for a moment more.
        while gone() is not None:
            await asyncio.sleep(0.01)
            gc.collect()


async def test_a_collector_that_was_off_stays_off() -> None:
    """Until a replica has started it is."""
    gc.disable()
    await beside(_Thing)
    assert not gc.isenabled()


def test_what_is_let_go_of_is_let_go_of_piece_by_piece() -> None:
    """The containers stay, empty."""
    alive: list[int] = []

    class Piece:
        def __del__(self) -> None:
            alive.append(len(held) + len(items))

    held, items = {each: Piece() for each in range(3)}, [Piece() for _ in range(2)]
    let_go(held, items)
    assert (held, items) == ({}, [])
    assert alive == [4, 3, 2, 1, 0]
