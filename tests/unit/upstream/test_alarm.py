"""A limit that moves: never early, not lost, and not a timer for each move."""

from __future__ import annotations

import asyncio
import time
from typing import Any

import pytest

from proxy.upstream.alarm import Alarm


async def _wait(*moves: float, later: float | None = None) -> None:
    """Wait under an alarm that was moved to so many seconds from now, one after the other; `later` while it waits."""
    began = time.monotonic()
    async with Alarm() as alarm:
        for seconds in moves:
            alarm.move(began + seconds)
        if later is not None:
            asyncio.get_running_loop().call_later(min(moves) / 2, lambda: alarm.move(began + later))
        await asyncio.Event().wait()


async def _lasted(*moves: float, later: float | None = None) -> float:
    """Seconds until it went off."""
    began = time.monotonic()
    with pytest.raises(TimeoutError):
        await _wait(*moves, later=later)
    return time.monotonic() - began


async def test_goes_off_when_due() -> None:
    assert 0.02 <= await _lasted(0.02) < 5
    assert await _lasted(-1) < 5


async def test_moved_later_it_is_not_early() -> None:
    assert 0.05 <= await _lasted(0.01, 0.03, 0.05) < 5


async def test_moved_earlier_it_is_not_late() -> None:
    assert 0.01 <= await _lasted(60, 90, 0.01) < 5
    assert 0.03 <= await _lasted(60, 0.01, 0.03) < 5


async def test_moved_while_it_waits() -> None:
    """Bytes come; the silence after the last of them is what ends it."""
    assert 0.06 <= await _lasted(0.02, later=0.06) < 5


async def test_what_ends_in_time_is_left_alone() -> None:
    async with Alarm() as alarm:
        alarm.move(time.monotonic() + 0.01)
    await asyncio.sleep(0.03)  # it would have gone off by now


async def test_a_cancellation_from_elsewhere_stays_one() -> None:
    task = asyncio.create_task(_wait(60))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_moving_sets_no_timer(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nor does a limit that comes nearer, as long as it is not near."""
    loop = asyncio.get_running_loop()
    set_: list[Any] = []
    really = loop.call_later

    def counting(*arguments: Any) -> asyncio.TimerHandle:
        set_.append(arguments)
        return really(*arguments)

    monkeypatch.setattr(loop, "call_later", counting)
    async with Alarm() as alarm:
        for seconds in (600, 60, *range(30, 130)):
            alarm.move(time.monotonic() + seconds)
    assert len(set_) == 1
