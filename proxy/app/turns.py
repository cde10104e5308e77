"""A socket that several workers listen at: each takes connections in its turn, so all have about as many.

A new connection wakes all of them, and whoever comes first may take it. That is chance, and no fair one: who has just
taken one is awake. Callers keep their connections, so what chance did would last.

1. Whoever has more than another, by more than a little, leaves what has come to the others for a moment.
2. It takes it then all the same, and twice as many each time that this was in vain: who is busy, hangs or is gone keeps
   nobody waiting for long, however many come.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable

from aiohttp import web

from proxy.app.server import Server
from proxy.workers.tally import Tally

_MOMENT = 0.01
"""Seconds. Shorter, and who is busy with what it has would look like one that hangs."""
_AHEAD, _PART = 1, 16
"""How many connections more than another a worker may have: one, and one more for so many that the other has. Many come
at once, and then nobody should have to wait for each."""
_FRESH = 0.25
"""Seconds after which others see that callers have gone, though nobody came."""
_EXHAUSTED = 1.0
"""Seconds until it tries again where the system has no more to give: descriptors, mostly."""


class Turns(web.BaseSite):
    """One such socket, as one worker has it."""

    def __init__(self, runner: web.ServerRunner, server: Server, inherited: socket.socket, tally: Tally) -> None:
        """`server` has all connections that this worker has, of whichever socket."""
        super().__init__(runner)
        self._serving, self._listening, self._tally = server, inherited, tally
        self._loop = asyncio.get_running_loop()
        self._later: asyncio.TimerHandle | None = None
        self._telling: asyncio.TimerHandle | None = None
        self._unwanted = 1
        """How many it takes at once, if others leave them again."""
        self._tasks: set[asyncio.Task[None]] = set()
        self._begun = 0
        """Connections taken that are no protocol's yet."""

    @property
    def name(self) -> str:
        """What aiohttp calls it."""
        host, port = self._listening.getsockname()[:2]
        return f"http://{host}:{port}"

    async def start(self) -> None:
        """Listen. Raises OSError."""
        await super().start()
        self._listening.setblocking(False)
        self._listening.listen(self._backlog)
        self._watch()
        self._keep_telling()

    async def stop(self) -> None:
        """Give the address up."""
        self._loop.remove_reader(self._listening)
        for timer in (self._later, self._telling):
            if timer is not None:
                timer.cancel()
        self._tally.leave()
        self._listening.close()
        await super().stop()

    def _watch(self) -> None:
        self._later = None
        self._loop.add_reader(self._listening, self._came)

    def _pause(self, seconds: float, then: Callable[[], None]) -> None:
        self._loop.remove_reader(self._listening)
        self._later = self._loop.call_later(seconds, then)

    def _came(self) -> None:
        """A connection waits. One at a time: the next wakes everybody again."""
        if self._mine():
            self._unwanted = 1
            self._take()
        else:
            self._pause(_MOMENT, self._left)

    def _left(self) -> None:
        """What the others had a moment for is whoever's comes first."""
        self._watch()
        if self._mine():
            self._take()
            return
        for _ in range(self._unwanted):
            if not self._take():
                return
        self._unwanted *= 2

    def _keep_telling(self) -> None:
        self._tell()
        self._telling = self._loop.call_later(_FRESH, self._keep_telling)

    def _tell(self) -> int:
        have = self._serving.held() + self._begun
        self._tally.note(have)
        return have

    def _mine(self) -> bool:
        have = self._tell()
        fewest = self._tally.fewest()
        return have < fewest + _AHEAD + fewest // _PART

    def _take(self) -> bool:
        """Whether there was one."""
        try:
            taken, _ = self._listening.accept()
        except (BlockingIOError, InterruptedError, ConnectionAbortedError):
            return False  # somebody else was first, or its caller has gone
        except OSError as error:
            self._loop.call_exception_handler({"message": "no connection can be taken", "exception": error})
            self._pause(_EXHAUSTED, self._watch)
            return False
        task = self._loop.create_task(self._begin(taken))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        self._begun += 1
        self._tell()
        return True

    async def _begin(self, taken: socket.socket) -> None:
        with contextlib.suppress(OSError), contextlib.ExitStack() as unless:  # its caller has gone
            unless.callback(taken.close)
            taken.setblocking(False)
            await self._loop.connect_accepted_socket(self._protocol, taken)
            unless.pop_all()

    def _protocol(self) -> asyncio.Protocol:
        self._begun -= 1
        made: asyncio.Protocol = self._serving()
        return made
