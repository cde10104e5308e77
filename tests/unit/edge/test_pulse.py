"""What keeps an eye on a stream: a sign of life, an end where a side is idle, and none where all was told."""

from __future__ import annotations

import asyncio
import time

import pytest

from proxy.edge.relay import Pulse
from proxy.upstream.alarm import Bell


async def _beat() -> None:
    raise AssertionError("nobody waits for a sign of life")


async def test_a_stop_lets_an_answer_end_that_is_just_ending() -> None:
    """Its last bytes are on their way: who stops the replica has others to tell, and no fault to meet here."""
    pulse = Pulse(Bell(), _beat, 60, 60)
    with pulse:
        await asyncio.sleep(0)
        pulse.over()
        pulse.end()
        await asyncio.sleep(0)
    assert pulse.watching
    pulse.end()
    pulse.stop()


async def test_a_stream_that_moves_is_let_be_and_an_idle_one_is_ended() -> None:
    """Whoever forwards an event only says so; the limit counts from the latest one, and is not early."""
    moved = 0.0

    async def answer() -> None:
        nonlocal moved
        with pulse:
            for _ in range(8):
                await asyncio.sleep(0.05)
                pulse.moved, moved = True, time.monotonic()
            await asyncio.sleep(5)

    pulse = Pulse(Bell(), _beat, 60, 0.2)
    with pytest.raises(TimeoutError):
        await answer()
    assert 0.2 <= time.monotonic() - moved < 2
    assert not pulse.writing
    pulse.stop()


async def test_a_caller_who_waits_gets_a_sign_of_life_before_and_after_the_commit() -> None:
    """After `hold` seconds in which nothing has come, and not while it is being written to."""
    beaten, came = list[float](), asyncio.Event()

    async def beat() -> None:
        beaten.append(time.monotonic())
        came.set()

    async with asyncio.timeout(10):
        began = time.monotonic()
        pulse = Pulse(Bell(), beat, 0.1, 60)
        await came.wait()
        came.clear()
        assert 0.1 <= beaten[0] - began < 1
        with pulse:
            pulse.writing = True
            await asyncio.sleep(1.2)
            assert len(beaten) == 1
            pulse.writing = False
            await came.wait()
        await pulse.settled()
        assert pulse.quiet
        pulse.stop()
        await asyncio.sleep(1.2)
    assert len(beaten) == 2


@pytest.mark.parametrize("told", [False, True])
async def test_a_stop_ends_what_is_not_told_or_what_nobody_takes(told: bool) -> None:
    """A committed answer that goes on, and one that was told to its end to a caller who does not read it."""

    async def answer() -> None:
        with pulse:
            if told:
                pulse.over()
                pulse.end()
                await asyncio.sleep(0.02)
                pulse.writing = True
            pulse.end()
            await asyncio.sleep(5)

    pulse = Pulse(Bell(), _beat, 60, 60)
    with pytest.raises(TimeoutError):
        await answer()
    assert pulse.ended
    pulse.stop()
