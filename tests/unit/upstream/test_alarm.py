"""A limit that moves: never early, not lost, and not a timer for each move."""

from __future__ import annotations

import asyncio
import contextlib
import time
from typing import Any

import pytest

from proxy.upstream.alarm import Alarm, Bell


async def _wait(*moves: float, later: float | None = None) -> None:
    """Wait under an alarm that was moved to so many seconds from now, one after the other; `later` while it waits."""
    began = time.monotonic()
    alarm = Alarm(Bell())
    with alarm:
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
    alarm = Alarm(Bell())
    with alarm:
        alarm.move(time.monotonic() + 0.01)
    await asyncio.sleep(0.03)  # it would have gone off by now


async def test_a_cancellation_from_elsewhere_stays_one() -> None:
    task = asyncio.create_task(_wait(60))
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_one_bell_rings_for_many() -> None:
    """Each at its own time, whatever the others do, in whatever order they were set."""
    bell, rang = Bell(), list[int]()

    async def wait(number: int) -> None:
        alarm = Alarm(bell)
        began = time.monotonic()
        due = began + (number * 7 % 10) / 100
        with contextlib.suppress(TimeoutError), alarm:
            alarm.move(due)
            if number % 3 == 0:
                return
            await asyncio.Event().wait()
        assert time.monotonic() >= due
        rang.append(number * 7 % 10)

    await asyncio.gather(*(wait(number) for number in range(10)))
    assert rang == sorted(rang)
    assert len(rang) == 6


async def test_an_alarm_that_rings_early_is_looked_at_again(monkeypatch: pytest.MonkeyPatch) -> None:
    """A far one, which has no time of its own: it goes off when it is due, and not before."""
    monkeypatch.setattr("proxy.upstream.alarm.FAR", 0.3)
    monkeypatch.setattr("proxy.upstream.alarm._NEAR", 0.1)
    assert 0.7 <= await _lasted(0.7) < 5
    assert 0.6 <= await _lasted(30, 0.9, later=0.6) < 5


async def test_two_ends_at_once_are_a_cancellation() -> None:
    """Who is cancelled while it times out has to hear of the former."""
    bell = Bell()

    async def wait() -> None:
        alarm = Alarm(bell)
        with alarm:
            alarm.move(time.monotonic() - 1)
            await asyncio.Event().wait()

    task = asyncio.create_task(wait())
    await asyncio.sleep(0)
    while not task.cancelling():  # noqa: ASYNC110  # it is the bell that cancels
        await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task


async def test_alarms_set_no_timers(monkeypatch: pytest.MonkeyPatch) -> None:
    """However many there are and however they move, as long as they are not near."""
    loop = asyncio.get_running_loop()
    set_: list[Any] = []
    really = loop.call_later

    def counting(*arguments: Any) -> asyncio.TimerHandle:
        set_.append(arguments)
        return really(*arguments)

    monkeypatch.setattr(loop, "call_later", counting)
    bell = Bell(lambda: 1000.0)
    for _ in range(50):
        alarm = Alarm(bell)
        with alarm:
            for seconds in (600, 60, *range(30, 130)):
                alarm.move(1000.0 + seconds)
    assert len(set_) == 1
    bell.close()
