"""A caller's end of one exchange, whatever server its connection belongs to: what it asks, and what it is told.

1. It is opened once, written in order, and then finished or cut.
2. Whoever writes is let go on when the caller keeps up; one who has left is a ConnectionError.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

from multidict import CIMultiDict, CIMultiDictProxy

from proxy.terms import Headers


class Unreadable(Exception):
    """The body does not come as its head has said."""


class Caller(ABC):
    """One request and its answer."""

    __slots__ = ("_clock", "body_out", "first_byte", "headers", "method", "opened", "path", "query", "status")

    def __init__(
        self,
        method: str,
        path: str,
        query: str,
        headers: CIMultiDict[str] | CIMultiDictProxy[str],
        clock: Callable[[], float],
    ) -> None:
        """`query` is as it was sent."""
        self.method, self.path, self.query, self.headers, self._clock = method, path, query, headers, clock
        self.opened = False
        self.status = 0
        """What was sent; 0 until then."""
        self.body_out = 0
        self.first_byte: float | None = None

    # -- what it asks

    @property
    @abstractmethod
    def length(self) -> int:
        """Bytes of the body, as far as its head says."""

    @property
    @abstractmethod
    def unread(self) -> bool:
        """Something of the body was not read: it would be taken for the next request."""

    @abstractmethod
    async def more(self, idle: float) -> bytes:
        """The next bytes of the body, b"" at its end. Raises TimeoutError after `idle` seconds, and Unreadable."""

    # -- what it is told

    @abstractmethod
    async def send(self, status: int, headers: Headers, body: bytes, *, close: bool = False) -> None:
        """A whole answer at once; `close` ends the connection as well."""

    @abstractmethod
    async def open(self, status: int, headers: Headers) -> None:
        """Begin an answer of unknown length. Its head leaves with the first bytes that are written."""

    @abstractmethod
    async def write(self, data: bytes) -> None:
        """Bytes for the caller; returns when it keeps up."""

    @abstractmethod
    def push(self, data: bytes) -> bool | None:
        """Write without waiting: True if the caller keeps up, else `room` is to be waited for. None: use `write`."""

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
