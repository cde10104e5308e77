"""The lane: a caller's connection while all it sends is what SDKs send, a small POST, read and answered without a
server.

A server makes a request object, a stream, a response and a writer of every request, which costs as much as all that
Homeport does with it. Here a request is its head and its body, and an answer is its bytes.

1. What is not plainly such a request is handed to the server, the connection with it and for good, before anything of
   it was answered. So the lane refuses nothing by itself, and whatever it cannot tell for certain is not its own.
2. One request at a time. What comes behind it waits unread, and a caller that leaves cancels what it asked for.
3. A caller that does not read is not written to: who writes waits until it does.
4. A connection without a request for IDLE seconds is closed.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any, Final, cast

from proxy.edge import heads
from proxy.edge.caller import Caller
from proxy.edge.heads import Heads, Like
from proxy.providers.chunks import framed
from proxy.providers.lines import Fields

LARGEST: Final = 128 * 1024
"""Bytes of a request."""
PATIENCE = 1.0
"""Seconds for the rest of a request; whoever sends slowly has the server, which has limits for that."""
IDLE = 3600.0
"""Seconds. Long: whoever balances the load must be the first to let go of a connection, or it meets a closed one."""
_SWEEP = 60.0
_BODILESS: Final = (204, 304)
_LAST_CHUNK: Final = b"0\r\n\r\n"


class Lanes:
    """The connections of one listener that are in the lane."""

    def __init__(
        self,
        answer: Callable[[Caller], Coroutine[Any, Any, None]],
        server: Callable[[], asyncio.Protocol],
        clock: Callable[[], float] = time.monotonic,
        *,
        apart: str = "",
    ) -> None:
        """`answer` serves a request; `server` makes the protocol that takes what is not for the lane. `apart`: see
        Heads.
        """
        self.answer, self.server, self.clock = answer, server, clock
        self.heads = Heads(apart)
        self._all: set[Lane] = set()
        self._sweeper: asyncio.TimerHandle | None = None

    def __call__(self) -> asyncio.Protocol:
        """The protocol of a new connection."""
        return Lane(self)

    def __len__(self) -> int:
        """How many they are."""
        return len(self._all)

    def came(self, lane: Lane) -> None:
        """It has a connection."""
        self._all.add(lane)
        if self._sweeper is None:
            self._sweeper = asyncio.get_running_loop().call_later(_SWEEP, self._sweep)

    def went(self, lane: Lane) -> None:
        """It has none any more."""
        self._all.discard(lane)

    def _sweep(self) -> None:
        """One timer for all."""
        self._sweeper = None
        before = self.clock() - IDLE
        for lane in [each for each in self._all if each.idle and each.since < before]:
            lane.close()
        if self._all:
            self._sweeper = asyncio.get_running_loop().call_later(_SWEEP, self._sweep)

    async def shut(self, limit: float) -> None:
        """Close what is idle; what is not has `limit` seconds, and is cancelled then."""
        if self._sweeper is not None:
            self._sweeper.cancel()
        for lane in list(self._all):
            lane.last = True
            if lane.idle:
                lane.close()
        if tasks := [lane.task for lane in self._all if lane.busy and lane.task is not None]:
            _, late = await asyncio.wait(tasks, timeout=limit)
            for task in late:
                task.cancel()
        for lane in list(self._all):
            lane.close()


class Lane(asyncio.Protocol):
    """One connection."""

    __slots__ = (
        "_caller",
        "_have",
        "_lanes",
        "_later",
        "_like",
        "_loop",
        "_need",
        "_parts",
        "_patience",
        "_wake",
        "busy",
        "full",
        "handed",
        "last",
        "since",
        "task",
        "transport",
    )

    def __init__(self, lanes: Lanes) -> None:
        self._lanes = lanes
        # Per request, and in some versions of Python a system call.
        self._loop = asyncio.get_running_loop()
        self.transport: asyncio.Transport
        self.task: asyncio.Task[None] | None = None
        """Serves one request after the other: a task for each would cost half as much as all else here."""
        self.busy = False
        """A request is in, and not answered yet."""
        self.handed = False
        """The connection is the server's."""
        self._caller: _InLane | None = None
        """Whose request it is, until it is served."""
        self._wake: asyncio.Future[None] | None = None
        """The task waits for the next request."""
        self.since = lanes.clock()
        """When it became idle."""
        self.last = False
        """The connection ends with the answer that is being given."""
        self._like: Like | None = None
        """What the last head was like."""
        self._parts: list[bytes] = []
        """Of a request that is not whole yet."""
        self._have = self._need = 0
        self._patience: asyncio.TimerHandle | None = None
        self._later = b""
        """What came behind the request that is being answered."""
        self.full: asyncio.Future[None] | None = None
        """Of a caller who does not keep up: done when it has read enough."""

    @property
    def idle(self) -> bool:
        """Nothing is asked or answered here."""
        return not self.busy and not self._parts

    # -- the transport's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's own class does not derive from it
        self._lanes.came(self)

    def data_received(self, data: bytes) -> None:
        if self.busy:
            self._later += data
            self.transport.pause_reading()
            return
        if self._parts:
            self._parts.append(data)
            self._have += len(data)
            if self._have < self._need:
                return
            data = self._whole()
        like = self._like
        if like is None or not like.fits(data):
            like = self._like = self._lanes.heads.like(data)
        if like is None or like.end > LARGEST:
            self._hand_over(data)
            return
        start, end = like.start, like.end
        if len(data) < end:
            self._parts, self._have, self._need = [data], len(data), end
            self._patience = self._loop.call_later(PATIENCE, self._late)
            return
        if len(data) > end:
            self._later = data[end:]
            self.transport.pause_reading()
        self.busy, self._caller = True, _InLane(self, like, data[start:end], self._lanes.clock)
        if self._wake is not None:
            self._wake.set_result(None)
        elif self.task is None:
            self.task = self._loop.create_task(self._serve())

    def eof_received(self) -> bool | None:
        # Half a connection is a caller that has gone: nobody tells a SHUT_WR from the end of a process.
        if not self.busy and self._parts:
            self._hand_over(self._whole())
        return None

    def pause_writing(self) -> None:
        if self.full is None:
            self.full = self._loop.create_future()

    def resume_writing(self) -> None:
        full, self.full = self.full, None
        if full is not None and not full.done():
            full.set_result(None)

    def connection_lost(self, error: Exception | None) -> None:
        self._lanes.went(self)
        self._whole()
        self.resume_writing()
        if self.task is not None:
            self.task.cancel()

    # -- requests

    def _whole(self) -> bytes:
        """What has come, as one piece."""
        data, self._parts = b"".join(self._parts), []
        if self._patience is not None:
            self._patience.cancel()
            self._patience = None
        return data

    def _late(self) -> None:
        self._hand_over(self._whole())

    def _taken(self) -> _InLane | None:
        """Whose request is next."""
        caller, self._caller = self._caller, None
        return caller

    async def _serve(self) -> None:
        """Answer what comes, until the connection ends or is the server's."""
        try:
            while (caller := self._taken()) is not None:
                await self._lanes.answer(caller)
                # Its body need not stay while the next one is waited for.
                caller = None
                self.busy = False
                if self.last or self.transport.is_closing():
                    break
                self.since = self._lanes.clock()
                if later := self._later:
                    self._later = b""
                    self.transport.resume_reading()
                    self.data_received(later)
                if self.handed:
                    break
                if self._caller is None:
                    self._wake = self._loop.create_future()
                    await self._wake
                    self._wake = None
        except Exception as error:  # noqa: BLE001  # nobody waits for this task
            self._loop.call_exception_handler({"message": "a request was not answered", "exception": error})
        finally:
            self.busy, self.task, self._wake = False, None, None
            if not self.handed:
                self.close()

    def _hand_over(self, data: bytes) -> None:
        """The server's from here on."""
        self._lanes.went(self)
        self.handed = True
        if self._wake is not None:
            self._wake.cancel()
        protocol, transport = self._lanes.server(), self.transport
        transport.set_protocol(protocol)
        protocol.connection_made(transport)
        protocol.data_received(data)

    # -- answers

    async def write(self, data: bytes) -> None:
        """Returns when the caller keeps up."""
        if self.transport.is_closing():
            raise ConnectionResetError("the caller has left")
        self.transport.write(data)
        await self.room()

    async def room(self) -> None:
        """Returns when the caller keeps up."""
        if self.full is not None:
            # Two may wait: the one that is cancelled must not cancel what the other waits for.
            await asyncio.shield(self.full)

    def close(self) -> None:
        """End the connection, after what was written."""
        if not self.transport.is_closing():
            self.transport.close()


class _InLane(Caller):
    """One request of the lane."""

    __slots__ = ("_body", "_chunked", "_head", "_lane")

    def __init__(self, lane: Lane, like: Like, body: bytes, clock: Callable[[], float]) -> None:
        # The base's as well, without a call: one of these is made for every request.
        self.head, self.named, self.length, self._clock = like.head, like.named, len(body), clock
        self.opened = self._chunked = False
        self.status = self.body_out = 0
        self.first_byte: float | None = None
        self._lane, self._body = lane, body
        self._head = b""
        """Of the answer, until it is written."""

    @property
    def task(self) -> asyncio.Task[None] | None:
        return self._lane.task

    @property
    def unread(self) -> bool:
        return False

    def whole(self) -> bytes:
        body, self._body = self._body, b""
        return body

    async def more(self, idle: float) -> bytes:
        return self.whole()

    async def send(self, status: int, fields: Fields, body: bytes, *, close: bool = False) -> None:
        lane = self._lane
        if status in _BODILESS:
            body = b""
        size = len(body)
        lane.transport.write(self._open(status, fields, size, close) + body)
        self.first_byte = self._clock()
        self.body_out = size
        if lane.full is not None:
            await lane.room()

    async def open(self, status: int, fields: Fields) -> None:
        self._chunked = not fields or fields[0][:15].lower() != "content-length:"
        self._head = self._open(status, fields, None, close=False)

    def _open(self, status: int, fields: Fields, length: int | None, close: bool) -> bytes:
        lane = self._lane
        if lane.transport.is_closing():
            raise ConnectionResetError("the caller has left")
        head = heads.answer(status, fields, length, self._chunked, close or lane.last)
        if close:
            lane.last = True
        self.opened, self.status = True, status
        return head

    async def write(self, data: bytes) -> None:
        if not self.push(data):
            await self._lane.room()

    def push(self, data: bytes, *, last: bool = False) -> bool:
        # Per event of a stream: what others do in calls of each other is done here in one.
        lane, size = self._lane, len(data)
        if not size:
            return lane.full is None
        transport = lane.transport
        if transport.is_closing():
            raise ConnectionResetError("the caller has left")
        if self.first_byte is None:
            self.first_byte = self._clock()
        self.body_out += size
        if self._chunked:
            data = framed(data)
            if last:
                data, self._chunked = data + _LAST_CHUNK, False
        if self._head:
            data, self._head = self._head + data, b""
        transport.write(data)
        return lane.full is None

    def push_chunk(self, chunk: bytes, holds: int) -> bool:
        # Per event. Something was written before, so no head waits. What closes ignores it, and ends this task.
        lane = self._lane
        self.body_out += holds
        lane.transport.write(chunk)
        return lane.full is None

    async def room(self) -> None:
        await self._lane.room()

    async def finish(self, *, close: bool = False) -> None:
        head, self._head = self._head, b""
        lane = self._lane
        if rest := head + (_LAST_CHUNK if self._chunked else b""):
            await lane.write(rest)
        lane.last = lane.last or close
        if lane.last and not lane.transport.is_closing():
            # Not when the exchange is over: its caller has seen the last chunk, and may send its next request here.
            lane.transport.write_eof()

    def cut(self) -> None:
        self._lane.last = True
        self._lane.transport.abort()
