"""A stream that nobody waits for, event by event: what comes is written at once, and an end is told to one alone."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, cast

import pytest

from proxy.edge.caller import Caller
from proxy.edge.relay import Pulse, relay_stream
from proxy.providers.openai import stream_reader
from proxy.terms import CHAT, Accepted, Cause, Diagnosis, Follower, Headers, Interrupted, Stream
from proxy.upstream.alarm import Bell

pytestmark = pytest.mark.interpreted  # callers of its own

_FINISH = b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
_DONE = b"data: [DONE]\n\n"
_BROKEN = Diagnosis(Cause.STREAM_BROKEN, "reset")


def _text(text: str) -> bytes:
    return b'data: {"choices":[{"index":0,"delta":{"content":"%b"}}]}\n\n' % text.encode()


@dataclass
class _Reply:
    """What comes is `give`n by the test."""

    status: int = 200
    headers: Headers = ()
    follower: Follower | None = None
    held: list[bytes | Diagnosis] = field(default_factory=list)

    def ready(self) -> bytes | Diagnosis | None:
        return self.held.pop(0) if self.held else None

    def whole(self) -> bytes | None:
        return None

    def follow(self, follower: Follower | None) -> bool:
        self.follower = follower
        while self.held and self.follower is not None:
            self.follower.news(self.held.pop(0))
        return True

    def followed(self) -> Follower:
        """By whom."""
        assert self.follower is not None
        return self.follower

    def give(self, *chunks: bytes | Diagnosis) -> None:
        """Something comes, at once or for whoever follows next."""
        for chunk in chunks:
            if self.follower is None:
                self.held.append(chunk)
            else:
                self.follower.news(chunk)

    async def chunk(self) -> bytes | Diagnosis:
        return self.held.pop(0) if self.held else b""

    def close(self) -> None:
        """Nothing is open."""


@dataclass
class _Caller:
    """Remembers what it was told; `slow`: it does not keep up until it is let."""

    told: list[bytes] = field(default_factory=list)
    slow: bool = False
    gone: bool = False
    ended: str = ""
    last: bytes = b""
    """What nothing may follow."""
    free: asyncio.Event = field(default_factory=asyncio.Event)

    async def write(self, data: bytes) -> None:
        self.push(data)

    def push(self, data: bytes, *, last: bool = False) -> bool:
        if self.gone:
            raise ConnectionResetError("the caller has left")
        if data:
            assert not self.last
            self.told.append(data)
        if last:
            self.last = data
        return not self.slow

    def push_chunk(self, chunk: bytes, holds: int) -> bool:
        assert chunk == b"%x\r\n%b\r\n" % (holds, chunk[-holds - 2 : -2])
        return self.push(chunk)

    async def room(self) -> None:
        if self.slow:
            await self.free.wait()

    async def finish(self, *, close: bool = False) -> None:
        self.ended = "closed" if close else "whole"

    def cut(self) -> None:
        self.ended = "cut"


class _Relay:
    """One answer on its way, whose first text has been told."""

    def __init__(self) -> None:
        self.reply, self.caller = _Reply(), _Caller()
        reader = stream_reader(CHAT)
        first = reader.feed(_text("Hello"))
        stream = Stream((*first,), reader, _diagnosed)
        self.pulse = Pulse(Bell(), _beat, 60, 60)
        caller = cast(Caller, self.caller)
        ended = relay_stream(Accepted(self.reply, stream=stream), stream, caller, self.pulse, lambda cut: b"cut")
        self.task = asyncio.ensure_future(ended)

    async def begun(self) -> None:
        """It follows its answer."""
        for _ in range(5):
            await asyncio.sleep(0)
        assert self.reply.followed()
        assert self.caller.told == [_text("Hello")]
        self.caller.told.clear()


def _diagnosed(error: Mapping[str, Any]) -> Diagnosis:
    return Diagnosis(Cause.SERVER, str(error["code"]))


async def _beat() -> None:
    raise AssertionError("nobody waits for a sign of life")


async def test_what_comes_is_written_before_anybody_wakes() -> None:
    """Plain events as they came, several together, one that is cut, and the end."""
    relay = _Relay()
    await relay.begun()
    relay.reply.give(_text("a"), _text("b") + _text("c"), _text("d")[:9])
    assert relay.caller.told == [_text("a"), _text("b") + _text("c")]
    relay.reply.give(_text("d")[9:] + _FINISH)
    assert not relay.caller.last
    relay.reply.give(_DONE)
    assert relay.caller.told[2:] == [_text("d") + _FINISH, _DONE]
    assert relay.caller.last == _DONE
    assert relay.reply.follower is None
    assert await relay.task is None
    assert relay.caller.ended == "whole"


def _chunk(event: bytes) -> bytes:
    return b"%x\r\n%b\r\n" % (len(event), event)


async def test_a_whole_chunk_goes_through_as_it_is() -> None:
    """Unless it is no plain event, or comes behind one that is cut: that is for whoever follows to read."""
    relay = _Relay()
    await relay.begun()
    through = relay.reply.followed().through
    assert through(_chunk(_text("a")))
    assert relay.caller.told == [_chunk(_text("a"))]
    for other in (_FINISH, b": ping\n\n", _DONE, _text("b") + _text("c"), b"data: {}\n\n"):
        assert not through(_chunk(other))
    relay.reply.give(_text("b")[:9])
    assert not through(_chunk(_text("b")))
    relay.reply.give(_text("b")[9:])
    assert through(_chunk(_text("c")))
    assert relay.caller.told[1:] == [_text("b"), _chunk(_text("c"))]
    relay.reply.give(_FINISH, _DONE)
    assert await relay.task is None


async def test_a_chunk_for_who_does_not_keep_up_is_the_last_one() -> None:
    """It is written, and what comes next stays with the answer."""
    relay = _Relay()
    await relay.begun()
    through = relay.reply.followed().through
    relay.caller.slow = True
    assert through(_chunk(_text("a")))
    assert relay.reply.follower is None
    relay.reply.give(_text("b"), _FINISH, _DONE)
    assert relay.caller.told == [_chunk(_text("a"))]
    relay.caller.slow = False
    assert await relay.task is None
    assert relay.caller.told[1:] == [_text("b"), _FINISH, _DONE]


async def test_a_chunk_for_who_has_left_is_noticed_as_well() -> None:
    """It counts as taken: nobody else could do anything with it."""
    relay = _Relay()
    await relay.begun()
    relay.caller.gone = True
    assert relay.reply.followed().through(_chunk(_text("a")))
    with pytest.raises(ConnectionResetError):
        await relay.task


@pytest.mark.parametrize("left", [(_text("b"), _FINISH, _DONE), (_FINISH + _DONE,)])
async def test_who_does_not_keep_up_is_given_nothing_more(left: tuple[bytes, ...]) -> None:
    """What comes meanwhile stays with the answer, and goes on from there."""
    relay = _Relay()
    await relay.begun()
    relay.caller.slow = True
    relay.reply.give(_text("a"), *left)
    assert relay.caller.told == [_text("a")]
    await asyncio.sleep(0)
    assert relay.pulse.writing
    relay.caller.slow = False
    relay.caller.free.set()
    assert await relay.task is None
    assert relay.caller.told == [_text("a"), *left]


@pytest.mark.parametrize(
    ("last", "cut"),
    [
        (_BROKEN, _BROKEN),
        (b"", Diagnosis(Cause.STREAM_BROKEN, "truncated")),
        (b"data: {\n\n", Diagnosis(Cause.STREAM_BROKEN, "garbage")),
        (b'data: {"error":{"code":"x"}}\n\n', Diagnosis(Cause.SERVER, "x")),
    ],
)
async def test_a_broken_answer_says_so(last: bytes | Diagnosis, cut: Diagnosis) -> None:
    """After what came of it, and nothing follows."""
    relay = _Relay()
    await relay.begun()
    relay.reply.give(_text("a"), last)
    assert await relay.task == Interrupted(cut)
    assert relay.caller.told == [_text("a"), b"cut"]
    assert relay.caller.ended == "closed"
    assert not relay.caller.last


async def test_an_end_that_comes_too_late_is_not_told() -> None:
    """The limit of time ran out in the same moment: what was told to be cut must not look whole."""
    relay = _Relay()
    await relay.begun()
    news = relay.reply.followed().news
    relay.task.cancel()
    news(_FINISH + _DONE)
    assert relay.caller.told == []
    with pytest.raises(asyncio.CancelledError):
        await relay.task
    assert relay.reply.follower is None


async def test_a_stop_that_comes_with_the_end_says_nothing_behind_it() -> None:
    """The answer was told whole, and is over a moment later."""
    relay = _Relay()
    await relay.begun()
    relay.reply.give(_FINISH, _DONE)
    relay.pulse.end()
    assert await relay.task is None
    assert relay.caller.told == [_FINISH, _DONE]
    assert relay.caller.ended == "whole"


async def test_an_end_is_not_the_last_while_a_sign_of_life_is_written() -> None:
    """That may still follow."""
    relay = _Relay()
    await relay.begun()
    relay.pulse._beating = comment = asyncio.ensure_future(asyncio.sleep(0.02))
    relay.reply.give(_FINISH, _DONE)
    assert not relay.caller.last
    assert await relay.task is None
    assert comment.done()
    assert relay.caller.ended == "whole"


async def test_a_caller_who_has_left_is_noticed_by_whoever_waits() -> None:
    """The upstream's connection, which brought the event, has nothing to do with it."""
    relay = _Relay()
    await relay.begun()
    relay.caller.gone = True
    relay.reply.give(_text("a"))
    with pytest.raises(ConnectionResetError):
        await relay.task
