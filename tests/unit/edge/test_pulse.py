"""What keeps an eye on a stream knows when there is nothing left to see."""

from __future__ import annotations

import asyncio

from proxy.edge.relay import Pulse


async def _beat() -> None:
    raise AssertionError("nobody waits for a sign of life")


async def test_a_stop_lets_an_answer_end_that_is_just_ending() -> None:
    """Its last bytes are on their way: who stops the replica has others to tell, and no fault to meet here."""
    pulse = Pulse(_beat, 60, 60)
    async with asyncio.timeout(None) as timer:
        pulse.watch(timer)
        await asyncio.sleep(0)
    pulse.over()
    assert pulse.watching
    pulse.end()
    pulse.stop()
