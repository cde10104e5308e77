"""An upstream's open answer: what has arrived of it, until somebody reads it.

1. What arrived before an answer broke is read first; the diagnosis comes where the bytes end, and stays.
2. One reader at a time.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Callable
from typing import Protocol

from proxy.terms import Cause, Diagnosis, Headers, Reply
from proxy.upstream import codings

TRUNCATED = Diagnosis(Cause.STREAM_BROKEN, "truncated")


class Feeder(Protocol):
    """The connection that an answer comes over."""

    def read_on(self, answer: Answer) -> None:
        """Its reader has taken what there was."""
        ...

    def give_up(self, answer: Answer) -> None:
        """Nobody reads it any more."""
        ...


class Answer:
    """An upstream's open answer (a terms.Reply), filled by its connection."""

    __slots__ = (
        "_connection",
        "_end",
        "_ended",
        "_news",
        "_pieces",
        "_undo",
        "follower",
        "headers",
        "held",
        "opened",
        "status",
    )

    def __init__(self, connection: Feeder, loop: asyncio.AbstractEventLoop) -> None:
        self.status = 0
        """0 until the head is there."""
        self.headers: Headers = ()
        self.opened: asyncio.Future[Diagnosis | None] = loop.create_future()
        """Done when the head is there (None), or when it will not come."""
        self.held = 0
        """Bytes of the body that nobody has read."""
        self._connection = connection
        self._pieces: list[bytes] = []
        self._undo: codings.Undo | None = None
        self._ended = False
        self._end: Diagnosis | None = None
        self._news: asyncio.Future[None] | None = None
        self.follower: Callable[[bytes | Diagnosis], None] | None = None
        """Who gets what comes, at once; None: it is held until somebody reads it."""

    def open(self, status: int, headers: Headers, undo: codings.Undo | None) -> None:
        """The head is there; `undo` undoes the body's coding, if it has one."""
        self.status, self.headers, self._undo = status, headers, undo
        if not self.opened.done():
            self.opened.set_result(None)

    def add(self, data: bytes) -> None:
        """Bytes of the body, of which there is no follower."""
        self._pieces.append(data)
        self.held += len(data)
        self._tell()

    def end(self, diagnosis: Diagnosis | None) -> None:
        """Nothing more comes: this was all, or the diagnosis says why not."""
        self._ended, self._end = True, diagnosis
        if not self.opened.done():
            self.opened.set_result(diagnosis)
        if self.follower is not None:
            self.follower(b"" if diagnosis is None else diagnosis)
        else:
            self._tell()

    def _tell(self) -> None:
        """Wake who waits for bytes."""
        if self._news is not None and not self._news.done():
            self._news.set_result(None)

    def ready(self) -> bytes | Diagnosis | None:
        if self._pieces or self._undo is not None:
            data = self._take() if self._undo is None else self._undone(self._undo)
            if data:
                return data
        if self._ended:
            return b"" if self._end is None else self._end
        return None

    def follow(self, news: Callable[[bytes | Diagnosis], None] | None) -> bool:
        if self._undo is not None:
            # A little of it can be much, which its reader would have to be able to wait with.
            return False
        self.follower = news
        if news is not None:
            if self._pieces:
                news(self._take())
            if self._ended and self.follower is news:
                news(b"" if self._end is None else self._end)
        return True

    async def chunk(self) -> bytes | Diagnosis:
        while (data := self.ready()) is None:
            # Per event: asking for the running loop costs a system call in some versions of Python.
            self._news = self.opened.get_loop().create_future()
            try:
                await self._news
            finally:
                self._news = None
        return data

    def _take(self) -> bytes:
        data = self._pieces[0] if len(self._pieces) == 1 else b"".join(self._pieces)
        self._pieces.clear()
        self.held = 0
        self._connection.read_on(self)
        return data

    def _undone(self, undo: codings.Undo) -> bytes | Diagnosis:
        """The next bytes, b"" if none are there yet."""
        try:
            while not (data := undo.read()) and self._pieces:
                undo.feed(self._take())
        except zlib.error:
            self.close()
            return TRUNCATED
        if not data and self._ended and self._end is None and not undo.whole:
            return TRUNCATED
        return data

    def close(self) -> None:
        self._connection.give_up(self)


class Retyped:
    """An answer of which something else is made than it says: with another content type."""

    def __init__(self, reply: Reply, content_type: str) -> None:
        self._reply, self.status = reply, reply.status
        self.headers = retyped(reply.headers, content_type)

    async def chunk(self) -> bytes | Diagnosis:
        return await self._reply.chunk()

    def ready(self) -> bytes | Diagnosis | None:
        return self._reply.ready()

    def follow(self, news: Callable[[bytes | Diagnosis], None] | None) -> bool:
        return self._reply.follow(news)

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
