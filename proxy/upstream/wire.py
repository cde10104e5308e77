"""One connection to an upstream: a request's bytes go out, an answer's bytes come in. Only here is the parser known.

1. One exchange at a time. What arrives outside of one, or behind the end of its answer, ends the connection: it would
   be taken for the next answer.
2. Memory is bounded: nothing is read while HIGH bytes of an answer wait for their reader, and a large request is handed
   on piece by piece as the upstream takes it. An answer that comes before its request is through is read all the same.
3. Whether the connection may serve again is read while the answer's end is parsed: the parser does not know it later.
4. An answer that is given up drops its connection at once. Nothing is written to one that is closing.
5. What comes as one whole chunk, where one may begin, may be passed on as it came, frame and all. The parser does not
   see it, and is where it was.
6. What is no body (heads, chunk extensions, trailers) is bounded by HEADER_BUDGET.
"""

from __future__ import annotations

import asyncio
import errno
from collections.abc import Callable
from typing import Final, Protocol, cast

import httptools

from proxy.providers.hops import Names
from proxy.terms import Cause, Diagnosis, Headers
from proxy.upstream import codings
from proxy.upstream.answer import TRUNCATED, Answer

HIGH: Final = 128 * 1024
HEADER_BUDGET: Final = 64 * 1024
_AT_ONCE: Final = 64 * 1024
"""Bytes of a request's body that are written with its head, and at a time if there are more."""
_OURS = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL})
_EVENT_AND_CHUNK: Final = b"\n\n\r\n"
"""How the bytes of a stream end, nearly always: with an event, and the chunk that it is."""
BAD_HTTP = Diagnosis(Cause.SERVER, "bad_http")
CLOSED = Diagnosis(Cause.NETWORK, "closed")
_RESET = Diagnosis(Cause.NETWORK, "reset")
_BROKEN = Diagnosis(Cause.STREAM_BROKEN, "reset")


def local(error: BaseException | None) -> Diagnosis | None:
    """What an error means if it is our own machine's; None if it is not."""
    return Diagnosis(Cause.LOCAL, "no_resources") if getattr(error, "errno", None) in _OURS else None


class Owner(Protocol):
    """Who keeps count of the connections there are."""

    def done(self, connection: Connection, again: bool) -> None:
        """An answer that it gave has ended; it may serve `again`, if it is to."""
        ...

    def gone(self, connection: Connection) -> None: ...


class Connection(asyncio.Protocol):
    """One connection, used for one exchange after the other. The parser calls what begins with `on_`."""

    __slots__ = (
        "_answer",
        "_between",
        "_body",
        "_complete",
        "_due",
        "_full",
        "_lasting",
        "_names",
        "_owner",
        "_parser",
        "_paused",
        "_rest",
        "_transport",
        "_values",
        "aside",
        "bodiless",
        "fault",
        "idle_since",
        "is_closing",
        "loop",
        "on_body",
        "on_message_begin",
        "shelf",
    )

    def __init__(self, owner: Owner, shelf: list[Connection] | None, aside: bool) -> None:
        self._owner = owner
        self.shelf = shelf
        """Where its owner keeps it for the next request; None: it serves one only."""
        self.aside = aside
        """It has no place of the requests (pool.py, 3)."""
        self.idle_since = 0.0
        self.loop = asyncio.get_running_loop()
        self._body: list[bytes] = []
        """What the parser has found of a body in the bytes that it is being fed."""
        self._due: list[None] = []
        """One for a message that may begin: another's beginning finds none, and that ends the parsing."""
        # Nothing else is to be done with it, so no method of ours is called for it.
        self.on_body = self._body.append
        self.on_message_begin = self._due.pop
        # Servers of models are not the strictest writers of HTTP; what these let through is unambiguous.
        self._parser: httptools.HttpResponseParser | None = httptools.HttpResponseParser(self)
        self._parser.set_dangerous_leniencies(
            lenient_headers=True, lenient_optional_cr_before_lf=True, lenient_spaces_after_chunk_size=True
        )
        self._transport: asyncio.Transport
        self.is_closing: Callable[[], bool]
        """The transport's own. False: it stands, as far as is known."""
        self._answer: Answer | None = None
        self._names: list[bytes] = []
        self._values: list[bytes] = []
        self._rest: memoryview | None = None
        """Of the request's body: what is not written yet."""
        self._full = False
        """The transport asked for no more."""
        self._paused = False
        self._complete = self._lasting = False
        self._between = False
        """What comes next begins with a chunk's head."""
        self.bodiless = 0
        """Bytes read in this exchange since there was a body's."""
        self.fault: Diagnosis | None = None
        """Why it ended, if it did so by itself."""

    # -- one exchange

    def ask(self, head: bytes, body: bytes) -> Answer:
        """Send a request; this connection stands. It tells its owner when the answer has ended, if that had begun:
        without a head the one who asks knows as soon, and may have another one serve.
        """
        answer = self._answer = Answer(self)
        self._complete = self._between = False
        self.bodiless = 0
        self._due.append(None)
        if len(body) <= _AT_ONCE:
            self._transport.write(head + body)
        else:
            self._transport.write(head)
            self._rest = memoryview(body)
            self._write_on()
        return answer

    def _write_on(self) -> None:
        while self._rest is not None and not self._full and not self.is_closing():
            piece, rest = self._rest[:_AT_ONCE], self._rest[_AT_ONCE:]
            self._rest = rest if len(rest) else None
            self._transport.write(piece)

    def read_on(self) -> None:
        """The answer's reader has taken what there was."""
        if self._paused and not self.is_closing():
            self._paused = False
            self._transport.resume_reading()

    def give_up(self) -> None:
        """Nobody reads what still comes of the answer: the upstream learns so now."""
        self._fail(TRUNCATED)

    def drop(self) -> None:
        """End the connection, at once. Any number of calls."""
        self._rest = None
        if not self.is_closing():
            self._transport.abort()

    def _fail(self, end: bytes | Diagnosis, data: bytes = b"") -> None:
        answer, self._answer = self._answer, None
        self.drop()
        if answer is not None:
            answer.end(data, end)
            if answer.status:
                self._owner.done(self, False)

    def _finish(self, answer: Answer, data: bytes) -> None:
        self._answer = None
        answer.end(data, b"")
        # What the upstream has not read of a request it would read as the beginning of the next.
        through = self._rest is None and not self._transport.get_write_buffer_size()
        self._owner.done(self, through and self._lasting and not self._paused and not self.is_closing())

    # -- the transport's side

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's own class does not derive from it
        self.is_closing = transport.is_closing

    def data_received(self, data: bytes) -> None:
        answer, parser, body = self._answer, self._parser, self._body
        if answer is None or parser is None:
            self.drop()
            return
        if self._between and (follower := answer.follower) is not None and follower.through(data):
            # One chunk, whole: before and behind it the parser is at the same place.
            return
        self.bodiless += len(data)
        self._between = broken = False
        try:
            parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._lasting = False
            broken = not self._complete
        if body:
            self.bodiless = 0
            piece = body[0] if len(body) == 1 else b"".join(body)
            body.clear()
            # What ends a chunk is no body. Behind it nothing else was read: that would not end in these bytes.
            self._between = data.endswith(_EVENT_AND_CHUNK) and piece.endswith(b"\n\n")
        else:
            piece = b""
            broken = broken or (self.bodiless > HEADER_BUDGET and not self._complete)
        if self._complete:
            self._finish(answer, piece)
        elif broken:
            self._fail(TRUNCATED if answer.status else BAD_HTTP, piece)
        elif answer.follower is None:
            answer.add(piece)
            if answer.held > HIGH and not self._paused and not self.is_closing():
                self._paused = True
                self._transport.pause_reading()
        elif piece:
            answer.follower.news(piece)

    def pause_writing(self) -> None:
        self._full = True

    def resume_writing(self) -> None:
        self._full = False
        self._write_on()

    def eof_received(self) -> None:
        # Not left to the transport, which would first write what the upstream will never read.
        self._lost(None)
        self.drop()

    def connection_lost(self, error: Exception | None) -> None:
        self._lost(error)
        self._parser = None  # it holds this connection, which holds it
        self._owner.gone(self)

    def _lost(self, error: Exception | None) -> None:
        answer = self._answer
        ours = local(error)
        if answer is None or not answer.status:
            self.fault = self.fault or ours or (CLOSED if error is None else _RESET)
            self._fail(self.fault)
        elif _framed(answer.headers):
            self._fail(ours or TRUNCATED)
        else:
            # The end of the connection is the end of the answer; not where it broke.
            self._fail(b"" if error is None else ours or _BROKEN)

    # -- the parser's side

    def on_header(self, name: bytes, value: bytes) -> None:
        self._names.append(name)
        self._values.append(value)

    def on_headers_complete(self) -> None:
        answer, parser = self._answer, self._parser
        assert answer is not None  # noqa: S101  # nothing is parsed outside of an exchange
        assert parser is not None  # noqa: S101
        raw, told = b"\n".join(self._names), b"\n".join(self._values)
        self._names.clear()
        self._values.clear()
        if self.bodiless > HEADER_BUDGET and len(raw) + len(told) > HEADER_BUDGET:
            raise ValueError("more header fields than anybody needs")
        names, coded = _NAMES[raw]
        # All values at once. Bytes that are no UTF-8 are replaced, since they are sent on as text.
        text = told.decode("utf-8", "replace")
        values = text.split("\n")
        # Leniency lets some of these through.
        if (text and len(values) != len(names)) or "\r" in text or "\0" in text:
            raise ValueError("a header field holds a line break or a NUL")
        if "\t" in text or " \n" in text or text.endswith(" "):
            values = [value.strip(" \t") for value in values]
        status = parser.get_status_code()
        if status >= 200 or status == 101:
            undo = codings.undo([values[at] for at in coded]) if coded else None
            answer.open(status, tuple(zip(names, values)), undo)  # noqa: B905  # as many

    def on_message_complete(self) -> None:
        answer, parser = self._answer, self._parser
        assert answer is not None  # noqa: S101
        assert parser is not None  # noqa: S101
        if self._names:  # of trailers
            self._names.clear()
            self._values.clear()
        if answer.status:
            self._complete, self._lasting = True, parser.should_keep_alive()
        else:  # it was a 1xx, and the answer follows
            self._due.append(None)


def _read(raw: bytes) -> tuple[tuple[str, ...], tuple[int, ...]]:
    """The names of a head's fields, and where those stand among them that name a content coding."""
    names = tuple(raw.decode("latin-1").split("\n")) if raw else ()
    return names, tuple(at for at, name in enumerate(names) if name.lower() == codings.FIELD)


# A source's heads have the same fields nearly every time: their names are read together.
_NAMES: Final[Names[bytes, tuple[tuple[str, ...], tuple[int, ...]]]] = Names(_read)


def _framed(headers: Headers) -> bool:
    """Does an answer say itself where it ends?"""
    for name, value in headers:
        low = name.lower()
        if low == "content-length" or (low == "transfer-encoding" and value.lower().endswith("chunked")):
            return True
    return False
