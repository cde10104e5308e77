"""A ring holds what a plain list would, whatever is put, however time goes, at every edge of its blocks."""

from __future__ import annotations

import asyncio
from itertools import accumulate

from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.record import pages
from proxy.record.pages import Ring

_steps = st.lists(st.one_of(st.lists(st.binary(max_size=9), max_size=12), st.integers(1, 20)), max_size=20)
"""Items, or seconds that pass."""


@settings(max_examples=300, deadline=None)
@given(_steps, st.integers(1, 12), st.integers(1, 40), st.integers(1, 5), st.integers(0, 9))
def test_it_holds_the_newest(steps: list[list[bytes] | int], keep: int, age: int, block: int, few: int) -> None:
    """With blocks of any length, so that every one of them is begun, filled, and emptied by count and by age."""
    usual, pages._BLOCK = pages._BLOCK, block
    try:
        now, held, number = 0.0, list[tuple[float, int, bytes]](), 0
        ring = Ring(keep, age, lambda: now, "a1")
        for step in steps:
            if isinstance(step, list):
                ring.extend(step)
                held += [(now, number + at, item) for at, item in enumerate(step, 1)]
                number += len(step)
            else:
                now += step
            held = [each for each in held[-keep:] if each[0] >= now - age]
            assert len(ring) == len(held)
            read = asyncio.run(ring.newer(None)).items
            assert read == tuple((f"ring-a1-{at}", item) for _, at, item in held)
            assert asyncio.run(ring.older(None, keep)).items == read[::-1]
            for at in range(len(held) + 1):
                rest = [item for _, _, item in held[at:]]
                assert ring.total - ring.before(ring.first + at) == sum(map(len, rest))
                sizes = accumulate(len(item) + 1 for item in rest)
                fit = [item for item, size in zip(rest, sizes, strict=True) if size <= 4 * few]
                assert ring.since(ring.first + at, few, 4 * few) == fit[:few]
            assert [ring.when(number) for _, number, _ in held] == [when for when, _, _ in held]
    finally:
        pages._BLOCK = usual
