"""A ring holds what a plain list would, whatever is put, however time goes, at every edge of its blocks."""

from __future__ import annotations

import asyncio

from hypothesis import given, settings
from hypothesis import strategies as st

from proxy.record import pages
from proxy.record.pages import Ring

_steps = st.lists(st.one_of(st.binary(max_size=9), st.integers(1, 20)), max_size=40)
"""An item, or seconds that pass."""


@settings(max_examples=300, deadline=None)
@given(_steps, st.integers(1, 12), st.integers(1, 40), st.integers(1, 5))
def test_it_holds_the_newest(steps: list[bytes | int], keep: int, age: int, block: int) -> None:
    """With blocks of any length, so that every one of them is begun, filled, and emptied by count and by age."""
    usual, pages._BLOCK = pages._BLOCK, block
    try:
        now, held, number = 0.0, list[tuple[float, int, bytes]](), 0
        ring = Ring(keep, age, lambda: now, "a1")
        for step in steps:
            if isinstance(step, bytes):
                number += 1
                assert ring.append(step) == now
                held.append((now, number, step))
            else:
                now += step
            held = [each for each in held[-keep:] if each[0] >= now - age]
            assert len(ring) == len(held)
            read = asyncio.run(ring.newer(None)).items
            assert read == tuple((f"ring-a1-{at}", item) for _, at, item in held)
            assert asyncio.run(ring.older(None, keep)).items == read[::-1]
            assert ring._bytes == sum(len(item) for _, _, item in held)
    finally:
        pages._BLOCK = usual
