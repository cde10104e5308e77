"""The simulated upstreams' HTTP/1.1: requests read from a socket, and what answers are made of.

1. Small on purpose: faults need the socket's single bytes, which a web framework keeps to itself.
2. A request is read whole before anything is said, so that closing its connection is a close and not a reset.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import dataclass
from http import HTTPStatus

from proxy.terms import Headers

HEAD_LIMIT = 1024 * 1024
"""Bytes of a request's head. Generous: what a proxy lets through is for the proxy's tests to judge."""


@dataclass(frozen=True, slots=True)
class Received:
    """One request, as it arrived."""

    method: str
    path: str
    """Without the query."""
    headers: Headers
    body: bytes
    query: str = ""
    connection: int = 1
    """Which connection brought it, counted from 1 over the simulator's life."""

    def header(self, name: str) -> str | None:
        """The first field of this name, compared without case."""
        return next((value for each, value in self.headers if each.lower() == name.lower()), None)


@dataclass(frozen=True, slots=True)
class Piece:
    """Part of an answer's body that is sent at once: an event of a stream, or half of a JSON document."""

    data: bytes
    content: bool = False
    """Something a caller could show or act on."""
    wait: float = 0.0
    """Seconds of silence before it."""


@dataclass(frozen=True, slots=True)
class Answer:
    """What an upstream says to one request."""

    status: int
    headers: Headers
    pieces: tuple[Piece, ...]
    stream: bool = False
    """Its pieces are events, and its length is not known when it begins."""
    wait: float = 0.0
    """Seconds of silence before its head."""


class Unreadable(Exception):
    """The bytes are no HTTP/1.1 request."""


async def read(reader: asyncio.StreamReader, go_on: Callable[[], None], connection: int) -> Received | None:
    """The next request, or None when the client has closed. `go_on` tells a waiting client to send the body.

    Raises Unreadable.
    """
    try:
        head = await reader.readuntil(b"\r\n\r\n")
        method, target, version, headers = _head(head)
        fields = {name.lower(): value for name, value in headers}
        if fields.get("expect", "").lower() == "100-continue":
            go_on()
        if "chunked" in fields.get("transfer-encoding", "").lower():
            body = await _chunked(reader)
        else:
            body = await reader.readexactly(int(fields.get("content-length", "0")))
    except asyncio.IncompleteReadError:
        return None
    except (asyncio.LimitOverrunError, ValueError) as error:
        raise Unreadable(str(error)) from error
    if version == "HTTP/1.0" and "connection" not in fields:
        headers += (("Connection", "close"),)
    path, _, query = target.partition("?")
    return Received(method, path, headers, body, query, connection)


def _head(head: bytes) -> tuple[str, str, str, Headers]:
    first, *lines = head.decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")
    method, target, version = first.split(" ")
    if not version.startswith("HTTP/1."):
        raise ValueError("not HTTP/1")
    fields = [line.partition(":") for line in lines]
    return method, target, version, tuple((name, value.strip()) for name, _, value in fields)


async def _chunked(reader: asyncio.StreamReader) -> bytes:
    body = bytearray()
    while size := int((await reader.readuntil(b"\r\n")).partition(b";")[0], 16):
        body += (await reader.readexactly(size + 2))[:-2]
    while await reader.readuntil(b"\r\n") != b"\r\n":
        pass
    return bytes(body)


def head(status: int, headers: Headers, *, version: str = "1.1") -> bytes:
    """An answer's status line and header fields, up to the blank line."""
    try:
        phrase = HTTPStatus(status).phrase
    except ValueError:
        phrase = "Unknown"
    lines = [f"HTTP/{version} {status} {phrase}", *(f"{name}: {value}" for name, value in headers)]
    return "".join(f"{line}\r\n" for line in lines).encode("latin-1") + b"\r\n"


def chunk(data: bytes) -> bytes:
    """`data` in the chunked transfer coding; of no bytes, the chunk that ends the body."""
    return b"%x\r\n%b\r\n" % (len(data), data)
