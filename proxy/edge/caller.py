"""A caller's end of one exchange, whatever server its connection belongs to: what it asks, and what it is told.

1. It is opened once, written in order, and then finished or cut.
2. Whoever writes is let go on when the caller keeps up; one who has left is a ConnectionError.
"""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from multidict import CIMultiDict, CIMultiDictProxy

from proxy.providers.lines import Fields


class Unreadable(Exception):
    """The body does not come as its head has said."""


@dataclass(frozen=True, slots=True, eq=False)
class Head:
    """What a request's head says, but for the length of its body."""

    method: str
    path: str
    query: str = field(repr=False)
    """As it was sent; it may hold a key, as headers do."""
    headers: CIMultiDict[str] | CIMultiDictProxy[str] = field(repr=False)
    kept: bool = False
    """The next request of the kind has this very object, so it pays to remember what follows from it."""
    apart: str = ""
    """The name, in lower case, of a field that is left out of `headers`: its value is the caller's `named`."""


class Caller(ABC):
    """One request and its answer."""

    __slots__ = ("_clock", "body_out", "first_byte", "head", "length", "named", "opened", "status")

    def __init__(self, head: Head, length: int, clock: Callable[[], float]) -> None:
        self.head, self._clock = head, clock
        self.named = ""
        """What the field says that its head keeps apart."""
        self.length = length
        """Bytes of the body, as far as its head says."""
        self.opened = False
        self.status = 0
        """What was sent; 0 until then."""
        self.body_out = 0
        self.first_byte: float | None = None

    @property
    @abstractmethod
    def task(self) -> asyncio.Task[Any] | None:
        """The one that serves it."""

    # -- what it asks

    @property
    @abstractmethod
    def unread(self) -> bool:
        """Something of the body was not read: it would be taken for the next request."""

    def whole(self) -> bytes | None:
        """The body, given away, where it has come already; else None, and it is to be read with `more`."""
        return None

    @abstractmethod
    async def more(self, idle: float) -> bytes:
        """The next bytes of the body, b"" at its end. Raises TimeoutError after `idle` seconds, and Unreadable."""

    # -- what it is told

    @abstractmethod
    async def send(self, status: int, fields: Fields, body: bytes, *, close: bool = False) -> None:
        """A whole answer at once; `close` ends the connection as well."""

    @abstractmethod
    async def open(self, status: int, fields: Fields) -> None:
        """Begin an answer: its head leaves with the first bytes that are written. Its Content-Length, if that is known,
        comes first.
        """

    @abstractmethod
    async def write(self, data: bytes) -> None:
        """Bytes for the caller; returns when it keeps up."""

    @abstractmethod
    def push(self, data: bytes, *, last: bool = False) -> bool | None:
        """Write without waiting, if there is something: True if the caller keeps up, else `room` is to be waited for.
        None: use `write`. `last`: nothing is written after it, so the answer may end with it; it is to be finished.
        """

    @abstractmethod
    def push_chunk(self, chunk: bytes, holds: int) -> bool:
        """The same for one chunk of HTTP, frame and all, that holds so many bytes. Only after a `push`."""

    @abstractmethod
    async def room(self) -> None:
        """Wait until the caller keeps up."""

    @abstractmethod
    async def finish(self, *, close: bool = False) -> None:
        """The answer's end; `close` ends the connection as well."""

    @abstractmethod
    def cut(self) -> None:
        """Drop the connection, so that what was sent cannot pass for a whole answer."""

    def _count(self, size: int) -> None:
        if self.first_byte is None:
            self.first_byte = self._clock()
        self.body_out += size
