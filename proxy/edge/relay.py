"""A committed answer on its way to the caller: never faster than the caller reads, and never made to look whole.

1. Only whole events are forwarded, so a comment or an error event of ours can always be put between two of them. One
   that came as a chunk of its own goes on as that chunk: it is framed as we would frame it.
2. While a write waits for the caller nothing more is read from the upstream: memory per answer is bounded.
3. A cut stream ends with an error event and no terminal one, and then the connection ends; a cut JSON answer ends with
   the connection at once. The stream's last chunk is still sent: some clients (aiohttp's is one) throw away what they
   have not read yet when it is missing, and would never see the error event.
4. An upstream's error event after the commit is replaced by ours, which carries the request id; `response.failed` is
   itself an end of the protocol and stays.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Final

from proxy.edge.caller import Caller
from proxy.terms import (
    Abandoned,
    Accepted,
    Cause,
    Diagnosis,
    Follower,
    Interrupted,
    Reply,
    Shape,
    Sign,
    Stream,
    StreamEvent,
)
from proxy.upstream.alarm import Alarm, Bell

_monotonic: Final = time.monotonic
_LAST_BYTE_WAIT: Final = 0.25
"""Seconds for the upstream to end its answer after the terminal event, so that its connection can be used again."""


class Pulse(Alarm):
    """Keeps an eye on a streamed exchange: a sign of life for a caller who waits, an end when either side stalls.

    It looks from time to time, so that an event costs no timer of its own, and no look at a clock. Once the answer is
    committed it is the alarm around that.
    """

    def __init__(self, bell: Bell, beat: Callable[[], Coroutine[Any, Any, None]], hold: float, idle: float) -> None:
        now = _monotonic()
        self._bell, self._beat, self._hold, self._idle = bell, beat, hold, idle
        self._every = max(hold, 1.0)
        self._tick = min(max(min(hold, idle) / 4, 0.02), 5.0)
        self.since = now
        """Since when nothing has come or gone."""
        self.moved = False
        """Something has since the latest look: whoever forwards an event says so."""
        self._beaten = now - self._every
        self._beating: asyncio.Task[None] | None = None
        self.watching = False
        """The answer is committed."""
        self._told = False
        self.ended = False
        """The replica stops: the limits of time have nothing to do with it."""
        self.writing = False
        """The caller is being waited for, rather than the upstream."""
        self.waited_for_caller = 0.0
        self._rings = bell.put(self, now + self._tick)

    def __enter__(self) -> None:
        """The answer is committed: from here on it is ended when a side is idle for too long."""
        super().__enter__()
        self.watching, self.since = True, _monotonic()

    def end(self) -> None:
        """Let the committed answer end now, unless that is what it does already."""
        self.ended = True
        if self.writing or not self._told:
            self.go_off()

    @property
    def quiet(self) -> bool:
        """No comment is being written."""
        return self._beating is None or self._beating.done()

    def over(self) -> None:
        """The answer was told to its end: there is nothing to say any more."""
        self._told = True

    async def write(self, caller: Caller, data: bytes) -> None:
        """Write, on the caller's account."""
        self.writing, self.since = True, _monotonic()
        await caller.write(data)
        self._kept_up()

    def _kept_up(self) -> None:
        self.writing, began, self.since = False, self.since, _monotonic()
        self.waited_for_caller += self.since - began

    async def room(self, caller: Caller) -> None:
        """Wait until it keeps up, on its account."""
        self.writing, self.since = True, _monotonic()
        await caller.room()
        self._kept_up()

    def ring(self, now: float) -> None:
        if self.moved:
            self.moved, self.since = False, now
        silent = self.since + self._idle
        if now >= silent and self._task is not None:
            self.go_off()
            return
        beat = max(self.since + self._hold, self._beaten + self._every)
        if now >= beat and not self.writing and not self._told:
            self._beaten = now
            self._beating = asyncio.get_running_loop().create_task(self._beat())
        at = now + self._tick
        # Not early, as an alarm that is further away may be.
        for due in (silent, beat):
            if now < due < at:
                at = due
        self._rings = self._bell.put(self, at)

    async def settled(self) -> None:
        """Wait for a comment that is being written."""
        if self._beating is not None and not self._beating.done():
            await asyncio.wait({self._beating}, timeout=self._idle)

    def stop(self) -> None:
        """No more comments. Any number of calls."""
        self._bell.take(self, self._rings)
        if self._beating is not None:
            self._beating.cancel()


async def relay_stream(
    accepted: Accepted, stream: Stream, caller: Caller, pulse: Pulse, complain: Callable[[Diagnosis], bytes]
) -> Interrupted | Abandoned | None:
    """Forward a stream to its end; None when it was whole. `complain` makes the error event for a cut."""
    told = False
    cut: Diagnosis | None
    try:
        with pulse:
            cut, told = await _forward(accepted, stream, caller, pulse)
    except TimeoutError:
        if pulse.writing:
            caller.cut()
            return Abandoned("caller_stalled")
        cut = Diagnosis(Cause.LOCAL, "draining") if pulse.ended else Diagnosis(Cause.TIMEOUT_IDLE, "idle")
    if not pulse.quiet:
        await pulse.settled()
    if cut is None:
        await caller.finish()
        await _rest(accepted)
        return None
    if not told:
        await caller.write(complain(cut))
    await caller.finish(close=True)
    return Interrupted(cut)


_TRUNCATED: Final = Diagnosis(Cause.STREAM_BROKEN, "truncated")


_End = tuple[Diagnosis | None, bool]
"""Why an answer is not whole (None if it is), and whether the caller has been told so by the upstream itself."""


async def _forward(accepted: Accepted, stream: Stream, caller: Caller, pulse: Pulse) -> _End:
    data, end = _told(stream, stream.events, ended=accepted.complete)
    kept_up = caller.push(data)
    if kept_up is None:
        if data:
            await pulse.write(caller, data)
    else:
        if not kept_up:
            await pulse.room(caller)
        if end is None:
            end = await _Pushed(accepted.reply, stream, caller, pulse).told()
    while end is None:
        data, end = _read(stream, stream.reader.plain, await accepted.reply.chunk())
        pulse.moved = True
        if data:
            await pulse.write(caller, data)
    return end


class _Pushed(Follower):
    """The same for a caller who can be written to without waiting: an event goes on as it comes, and wakes nobody."""

    __slots__ = ("_caller", "_done", "_end", "_plain", "_pulse", "_reply", "_stream")

    def __init__(self, reply: Reply, stream: Stream, caller: Caller, pulse: Pulse) -> None:
        self._reply, self._stream, self._caller, self._pulse = reply, stream, caller, pulse
        self._plain = stream.reader.plain
        """The shape of what comes next."""
        self._end: _End | None = None
        self._done: asyncio.Future[Exception | None] | None = None
        """Whoever waits is to wake; it has to know of trouble."""

    async def told(self) -> _End | None:
        """Returns at the end; None if the answer can only be waited for."""
        loop = asyncio.get_running_loop()
        try:
            while self._end is None:
                done = self._done = loop.create_future()
                if not self._reply.follow(self):
                    break
                if (trouble := await done) is not None:
                    raise trouble
                await self._pulse.room(self._caller)
        finally:
            self._reply.follow(None)
        return self._end

    def through(self, chunk: bytes) -> bool:
        # Per event, so it is short.
        plain = self._plain
        if plain is None:
            return False
        try:
            told, holds = plain.chunk(chunk)
            if not holds:
                return False
            self._pulse.moved = True
            if not self._caller.push_chunk(told, holds):
                self._stop(None)
        except Exception as error:  # noqa: BLE001  # it is whoever waits that has to know
            self._stop(error)
        return True

    def news(self, chunk: bytes | Diagnosis) -> None:
        try:
            self._pulse.moved = True
            if self._done is None or self._done.done():
                # Whoever waits was called away just now: an end that comes then must not be told.
                self._stop(None)
                return
            pulse = self._pulse
            data, end = _read(self._stream, self._plain, chunk)
            self._plain = self._stream.reader.plain
            if end is None:
                if not self._caller.push(data):
                    self._stop(None)
                return
            self._end = end
            pulse.over()
            # Where no comment can follow it the last event leaves with the answer's end.
            self._caller.push(data, last=end[0] is None and pulse.quiet)
            self._stop(None)
        except Exception as error:  # noqa: BLE001  # as above
            self._stop(error)

    def _stop(self, trouble: Exception | None) -> None:
        self._reply.follow(None)
        if self._done is not None and not self._done.done():
            self._done.set_result(trouble)


def _read(stream: Stream, plain: Shape | None, chunk: bytes | Diagnosis) -> tuple[bytes, _End | None]:
    """What of it is for the caller; and the end, if it is there. `plain` is the reader's."""
    if isinstance(chunk, Diagnosis):
        return b"", (chunk, False)
    reader = stream.reader
    if not chunk:
        return _told(stream, reader.finish(), ended=True)
    if plain is None:
        return _told(stream, reader.feed(chunk), ended=False)
    said, seen = plain.glance(chunk)
    if seen == len(chunk):
        return said, None
    data, end = _told(stream, reader.feed(chunk[seen:]), ended=False)
    return said + data, end


def _told(stream: Stream, events: Sequence[StreamEvent], *, ended: bool) -> tuple[bytes, _End | None]:
    """What of these events is for the caller, and the end, if they are it; `ended`: nothing comes after them."""
    reader, said, end, proper = stream.reader, list[bytes](), None, False
    for event in events:
        if event.sign not in _GOING_ON:
            end, proper = event, (event.sign is _DONE and reader.whole) or event.sign is _FAILED
            if proper:
                said.append(event.raw)
            break
        said.append(event.raw)
    data = said[0] if len(said) == 1 else b"".join(said)
    if end is not None:
        return data, (_meaning(end, stream), proper)
    return data, ((None if reader.whole else _TRUNCATED), False) if ended else None


# To ask the class for one of its members takes ten times as long.
_CONTENT: Final = Sign.CONTENT
_LIFE: Final = Sign.LIFE
_DONE: Final = Sign.DONE
_FAILED: Final = Sign.FAILED
_GOING_ON: Final = (_CONTENT, _LIFE)


def _meaning(end: StreamEvent, stream: Stream) -> Diagnosis | None:
    if end.sign is _DONE:
        return None if stream.reader.whole else _TRUNCATED
    match end.sign:
        case Sign.ERROR | Sign.FAILED:
            return stream.diagnose(end.error or {})
        case _:
            return Diagnosis(Cause.STREAM_BROKEN, "garbage")


async def relay_body(accepted: Accepted, caller: Caller, idle: float, until: float) -> Interrupted | Abandoned | None:
    """Forward a large JSON answer. `idle` in seconds; `until` on the loop's clock."""
    loop = asyncio.get_running_loop()
    writing = True
    try:
        async with asyncio.timeout(idle) as timer:
            data: bytes | Diagnosis = accepted.body
            while data and isinstance(data, bytes):
                writing = True
                await caller.write(data)
                writing = False
                timer.reschedule(min(loop.time() + idle, until))
                data = b"" if accepted.complete else await accepted.reply.chunk()
    except TimeoutError:
        caller.cut()
        if writing:
            return Abandoned("caller_stalled")
        late = loop.time() >= until
        return Interrupted(Diagnosis(Cause.TIMEOUT_TOTAL, "total") if late else Diagnosis(Cause.TIMEOUT_IDLE, "idle"))
    if isinstance(data, Diagnosis):
        caller.cut()
        return Interrupted(data)
    await caller.finish()
    return None


async def _rest(accepted: Accepted) -> None:
    """Read to the upstream's end of answer: only then can the connection serve another request."""
    if accepted.complete:
        return
    reply = accepted.reply
    # Most often it came with the last event.
    chunk = reply.ready()
    while chunk and isinstance(chunk, bytes):
        chunk = reply.ready()
    if chunk is not None:
        return
    try:
        async with asyncio.timeout(_LAST_BYTE_WAIT):
            while (chunk := await reply.chunk()) and isinstance(chunk, bytes):
                pass
    except TimeoutError:
        pass
