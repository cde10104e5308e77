"""An upstream's open answer: what has arrived of it, until somebody reads it.

1. What arrived before an answer broke is read first; the diagnosis comes where the bytes end, and stays.
2. One reader at a time.
"""

from __future__ import annotations

import asyncio
import zlib
from typing import Protocol

from proxy.terms import Cause, Diagnosis, Follower, Headers, Reply
from proxy.upstream import codings

TRUNCATED = Diagnosis(Cause.STREAM_BROKEN, "truncated")


class Feeder(Protocol):
    """The connection that an answer comes over."""

    loop: asyncio.AbstractEventLoop

    def read_on(self) -> None:
        """The reader has taken what there was."""
        ...

    def give_up(self) -> None:
        """Nobody reads what still comes."""
        ...


class Answer:
    """An upstream's answer (a terms.Reply once it is open), filled by its connection."""

    __slots__ = (
        "_connection",
        "_pieces",
        "_undo",
        "_waiter",
        "ended",
        "follower",
        "headers",
        "held",
        "status",
    )

    def __init__(self, connection: Feeder) -> None:
        self.status = 0
        """0 until the head is there."""
        self.headers: Headers = ()
        self.ended: bytes | Diagnosis | None = None
        """What its reader gets behind the last byte: b"" where this was all, else why not. None: more may come."""
        self.held = 0
        """Bytes of the body that nobody has read."""
        self.follower: Follower | None = None
        """Who gets what comes, at once; None: it is held until somebody reads it."""
        self._connection = connection
        self._pieces: list[bytes] = []
        self._undo: codings.Undo | None = None
        self._waiter: asyncio.Future[None] | None = None

    # -- its connection's side

    def open(self, status: int, headers: Headers, undo: codings.Undo | None) -> None:
        """The head is there; `undo` undoes the body's coding, if it has one."""
        self.status, self.headers, self._undo = status, headers, undo

    def add(self, data: bytes) -> None:
        """Bytes of the body, of which there is no follower; none if it was the head that came."""
        if data:
            self._pieces.append(data)
            self.held += len(data)
        self._wake()

    def end(self, data: bytes, end: bytes | Diagnosis) -> None:
        """The last bytes of the body, if any came; behind them that was all (b""), or the diagnosis says why not."""
        if data:
            if self.follower is None:
                self._pieces.append(data)
                self.held += len(data)
            else:
                self.follower.news(data)
        self.ended = end
        if self.follower is None:
            self._wake()
        else:
            self.follower.news(end)

    def _wake(self) -> None:
        """Once for all that came together."""
        waiter = self._waiter
        if waiter is not None:
            self._waiter = None
            if not waiter.done():
                waiter.set_result(None)

    # -- its reader's side

    def news(self) -> asyncio.Future[None]:
        """Done when something came that is not there now."""
        # Asking for the running loop costs a system call in some versions of Python.
        self._waiter = self._connection.loop.create_future()
        return self._waiter

    def whole(self) -> bytes | None:
        if self.ended != b"" or self._undo is not None:
            return None
        pieces, self._pieces, self.held = self._pieces, [], 0
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def ready(self) -> bytes | Diagnosis | None:
        if self._pieces or self._undo is not None:
            data = self._take() if self._undo is None else self._undone(self._undo)
            if data:
                return data
        return self.ended

    def follow(self, follower: Follower | None) -> bool:
        if self._undo is not None:
            # A little of it can be much, which its reader would have to be able to wait with.
            return False
        self.follower = follower
        if follower is not None:
            if self._pieces:
                follower.news(self._take())
            if self.ended is not None and self.follower is follower:
                follower.news(self.ended)
        return True

    async def chunk(self) -> bytes | Diagnosis:
        while (data := self.ready()) is None:
            await self.news()
        return data

    def _take(self) -> bytes:
        data = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
        self._pieces.clear()
        self.held = 0
        if self.ended is None:
            self._connection.read_on()
        return data

    def _undone(self, undo: codings.Undo) -> bytes | Diagnosis:
        """The next bytes, b"" if none are there yet."""
        try:
            while not (data := undo.read()) and self._pieces:
                undo.feed(self._take())
        except zlib.error:
            self.close()
            return TRUNCATED
        if not data and self.ended == b"" and not undo.whole:
            return TRUNCATED
        return data

    def close(self) -> None:
        if self.ended is None:
            self._connection.give_up()


class Retyped:
    """An answer of which something else is made than it says: with another content type."""

    def __init__(self, reply: Reply, content_type: str) -> None:
        self._reply, self.status = reply, reply.status
        self.headers = retyped(reply.headers, content_type)

    async def chunk(self) -> bytes | Diagnosis:
        return await self._reply.chunk()

    def ready(self) -> bytes | Diagnosis | None:
        return self._reply.ready()

    def whole(self) -> bytes | None:
        return self._reply.whole()

    def follow(self, follower: Follower | None) -> bool:
        return self._reply.follow(follower)

    def close(self) -> None:
        self._reply.close()


def retyped(headers: Headers, content_type: str) -> Headers:
    """With this content type, and no other."""
    return (*(pair for pair in headers if pair[0].lower() != "content-type"), ("Content-Type", content_type))


async def read(answer: Reply, most: int) -> bytes | Diagnosis:
    """A small answer's body; more than `most` bytes of one that is longer."""
    body = bytearray()
    while len(body) <= most:
        chunk = await answer.chunk()
        if isinstance(chunk, Diagnosis):
            return chunk
        if not chunk:
            break
        body += chunk
    return bytes(body)
