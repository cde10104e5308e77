"""An answer and a mood, made into the bytes and silences that go out. Holds no I/O.

1. A head announces the body as it should have been; only a mood that ends HTTP properly announces what is sent.
2. What is owed after the last step (silence, a close, a reset) is the simulator's to do: here are only bytes.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass, replace

from proxy.demo.answers import Fault
from proxy.demo.moods import Mood, Then
from proxy.demo.wire import Answer, Piece, chunk, head
from proxy.terms import Headers


@dataclass(frozen=True, slots=True)
class Step:
    """Bytes to send, and the seconds to wait before them."""

    data: bytes
    wait: float = 0.0
    drip: float = 0.0
    """Seconds between single bytes; 0 sends them at once."""


def perform(answer: Answer, mood: Mood, path: str, *, keep: bool) -> Iterator[Step]:
    """What goes out, up to where `mood` stops it. `keep`: the connection is to serve another request."""
    if mood.at == "request":
        return
    pieces, sent = _cut(answer, mood, path)
    if mood.gzip:
        pieces = _compressed(pieces)
    fields = (*answer.headers, *mood.headers, *_framing(answer, mood, pieces, keep))
    opening = mood.interim + head(answer.status, fields, version="1.0" if mood.until_close else "1.1")
    yield Step(opening, answer.wait + mood.delay, mood.drip_head)
    bodies = [replace(piece, data=_coded(piece.data, answer, mood)) for piece in pieces[:sent]]
    if mood.then in (Then.GO_ON, Then.END):
        # With the last event, so that a client which leaves after that one has had the whole answer.
        *bodies, last = bodies or [Piece(b"")]
        bodies.append(replace(last, data=last.data + _coded(b"", answer, mood) + mood.surplus))
    if not answer.stream:
        bodies = [Piece(b"".join(piece.data for piece in bodies))]
    yield from (Step(piece.data, piece.wait, mood.drip_body) for piece in bodies)


def _coded(data: bytes, answer: Answer, mood: Mood) -> bytes:
    return chunk(data) if answer.stream and not mood.until_close else data


def _framing(answer: Answer, mood: Mood, pieces: list[Piece], keep: bool) -> Headers:
    fields: Headers = (("Content-Encoding", "gzip"),) if mood.gzip else ()
    if not keep:
        fields += (("Connection", "close"),)
    if mood.until_close:
        return fields
    if answer.stream:
        return (*fields, ("Transfer-Encoding", "chunked"))
    return (*fields, ("Content-Length", str(sum(len(piece.data) for piece in pieces))))


def _cut(answer: Answer, mood: Mood, path: str) -> tuple[list[Piece], int]:
    """The body that the head announces, and how many of its pieces are sent."""
    pieces = list(answer.pieces)
    if mood.at is None:
        return pieces, len(pieces)
    place = 0 if mood.at in ("headers", "request") else _place(answer, int(mood.at))
    if mood.insert is not None and answer.stream:
        said = mood.insert.event(path, place) if isinstance(mood.insert, Fault) else mood.insert
        pieces.insert(place, Piece(said))
        place += 1
    if mood.then is Then.END:
        del pieces[place:]
    return pieces, len(pieces) if mood.then is Then.GO_ON else place


def _place(answer: Answer, after: int) -> int:
    contents = [place for place, piece in enumerate(answer.pieces) if piece.content]
    if not answer.stream:
        return 1
    if after < len(contents):
        return contents[after]
    return contents[-1] + 1 if contents else len(answer.pieces)


def _compressed(pieces: list[Piece]) -> list[Piece]:
    press = zlib.compressobj(wbits=31)
    flushes = [zlib.Z_SYNC_FLUSH] * (len(pieces) - 1) + [zlib.Z_FINISH]
    return [
        Piece(press.compress(piece.data) + press.flush(flush), piece.content, piece.wait)
        for piece, flush in zip(pieces, flushes, strict=True)
    ]
