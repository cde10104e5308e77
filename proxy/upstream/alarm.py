"""Limits of time that move often, as one does that counts from the latest byte: many alarms, and one timer for all.

1. An alarm ends what it is around by a TimeoutError, never early, at most a few milliseconds late; a cancellation from
   elsewhere stays one.
2. To set, move or stop one costs no timer. It rings early instead, and is looked at again: a far one after FAR seconds.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable
from heapq import heappop, heappush
from types import TracebackType
from typing import Final

FAR: Final = 4.0
"""Seconds: an alarm rings no later than this, so that it need not be set anew when a far limit comes nearer."""
_NEAR: Final = 1.0
_FAR_STEP: Final = 1 / 4
_NEAR_STEP: Final = 1 / 250
"""From one ring to the next, for alarms further away than _NEAR seconds and for others."""
_NEVER: Final = float("inf")
_current_task: Final = asyncio.current_task


class Bell:
    """Rings the alarms of one event loop."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        """`clock` is the one that alarms are set by."""
        self._clock = clock
        self._due: dict[float, set[Alarm]] = {}
        self._order: list[float] = []
        """The times that stand in `_due`; the earliest is the first."""
        self._handle: asyncio.TimerHandle | None = None
        self.loop: asyncio.AbstractEventLoop | None = None
        """The one that it is used in, once it was. In some versions of Python it is a system call to ask for it."""

    def put(self, alarm: Alarm, at: float) -> float:
        """Have it ring at `at`, or some time before it if that is far; when."""
        now = self._clock()
        if at > now + _NEAR:
            far = now + FAR
            rings = (far if at > far else at) // _FAR_STEP * _FAR_STEP
        else:
            # The loop counts in milliseconds, so its timers may be early by one.
            rings = (max(at, now) // _NEAR_STEP + 1) * _NEAR_STEP
        waiting = self._due.get(rings)
        if waiting is not None:
            waiting.add(alarm)
            return rings
        self._due[rings] = {alarm}
        heappush(self._order, rings)
        if self._order[0] == rings:
            self._wind(now)
        return rings

    def take(self, alarm: Alarm, rings: float) -> None:
        """It does not ring then any more."""
        waiting = self._due.get(rings)
        if waiting is not None:
            waiting.discard(alarm)

    def _wind(self, now: float) -> None:
        if self._handle is not None:
            self._handle.cancel()
        if self.loop is None:
            self.loop = asyncio.get_running_loop()
        self._handle = self.loop.call_later(max(0.001, self._order[0] - now), self._ring)

    def _ring(self) -> None:
        self._handle = None
        now = self._clock()
        while self._order and self._order[0] <= now:
            for alarm in self._due.pop(heappop(self._order)):
                alarm.ring(now)
        if self._order:
            self._wind(now)

    def close(self) -> None:
        """No more rings. Whoever still has an alarm is not ended by it."""
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None


class Alarm:
    """A limit around a block of one task. It must be moved once before anything waits."""

    _at = _NEVER
    _rings = _NEVER
    _task: asyncio.Task[object] | None = None
    _over = False

    def __init__(self, bell: Bell) -> None:
        self._bell = bell

    def __enter__(self) -> None:
        task = self._task = _current_task(self._bell.loop)
        assert task is not None  # noqa: S101  # only a task can be ended
        self._cancelling = task.cancelling()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        task, self._task = self._task, None
        self._bell.take(self, self._rings)
        # As asyncio.timeout does it: somebody else may have cancelled the task as well, and then that holds.
        if self._over and task is not None and task.uncancel() <= self._cancelling and kind is asyncio.CancelledError:
            raise TimeoutError from error

    def move(self, at: float) -> None:
        """Let it go off at `at`, which may have passed."""
        self._at = at
        if at < self._rings:
            if self._rings != _NEVER:
                self._bell.take(self, self._rings)
            self._rings = self._bell.put(self, at)

    def ring(self, now: float) -> None:
        """The bell's: it is `now`."""
        if now < self._at:
            self._rings = self._bell.put(self, self._at)
        else:
            self.go_off()

    def go_off(self) -> None:
        """End what it is around, if that has not ended."""
        if self._task is not None and not self._over:
            self._over = True
            self._task.cancel()
