"""The floor: two protocols on uvloop and httptools, the way of an answer, nothing else. Arguments: PORT UPSTREAM.

What a proxy in this language costs at least, so what Homeport costs beyond it is Homeport's. It is no proxy to use:

1. No backpressure: what a slow reader does not take is kept, without a bound. No limit of time, or of a head or a body.
2. One request at a time on a connection; bodies have a Content-Length; a caller's headers do not reach the upstream.
3. An upstream that breaks off ends the caller's connection, and whoever leaves early ends the upstream's. Nothing is
   asked again.
"""

from __future__ import annotations

import asyncio
import sys
from typing import cast

import httptools
import uvloop

UPSTREAM = int(sys.argv[2])
FREE: list[Upstream] = []
"""Connections that nobody uses; whoever was used last is first."""
NOT_DOWN = {b"connection", b"keep-alive"}


class Upstream(asyncio.Protocol):
    """One connection to the upstream, kept; it writes the answer to whoever asked, as it comes."""

    def __init__(self) -> None:
        self.transport: asyncio.Transport
        self._caller: asyncio.Transport | None = None
        self._parser = httptools.HttpResponseParser(self)
        self._head: list[bytes] = []
        self._out: list[bytes] = []
        self._chunked = self._done = self._again = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's own class does not derive from it

    def ask(self, caller: asyncio.Transport, request: bytes) -> None:
        self._caller, self._chunked, self._done = caller, True, False
        self._head.clear()
        self.transport.write(request)

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)
        if self._caller is None:
            return
        self._caller.write(b"".join(self._out))
        self._out.clear()
        if self._done:
            self._caller = None
            if self._again:
                FREE.append(self)
            else:
                self.transport.close()

    def on_header(self, name: bytes, value: bytes) -> None:
        low = name.lower()
        if low == b"content-length":
            self._chunked = False
        if low not in NOT_DOWN:
            self._head.append(b"%b: %b\r\n" % (name, value))

    def on_headers_complete(self) -> None:
        self._out += [b"HTTP/1.1 %d -\r\n" % self._parser.get_status_code(), *self._head, b"\r\n"]

    def on_body(self, body: bytes) -> None:
        self._out.append(b"%x\r\n%b\r\n" % (len(body), body) if self._chunked else body)

    def on_message_complete(self) -> None:
        self._done, self._again = True, self._parser.should_keep_alive()  # not told any more after this call
        if self._chunked:
            self._out.append(b"0\r\n\r\n")

    def left(self, caller: asyncio.Transport) -> None:
        """A caller has gone; what it waits for is not read to its end."""
        if self._caller is caller:
            self.transport.close()

    def connection_lost(self, error: Exception | None) -> None:
        if self in FREE:
            FREE.remove(self)
        if self._caller is not None:
            self._caller.close()


class Caller(asyncio.Protocol):
    """One caller's connection."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport
        self._received = bytearray()
        self._length = 0
        self._path = b""
        self._asks: Upstream | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        self._received += data
        end = self._received.find(b"\r\n\r\n") + 4
        if end < 4:
            return
        self._length, self._path = 0, b""
        parser = httptools.HttpRequestParser(self)
        parser.feed_data(bytes(self._received[:end]))
        if len(self._received) < end + self._length:
            return
        body = bytes(self._received[end:])
        self._received.clear()
        head = b"%b %b HTTP/1.1\r\nHost: mock\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n"
        request = head % (parser.get_method(), self._path, len(body)) + body
        if FREE:
            self._asks = FREE.pop()
            self._asks.ask(self._transport, request)
        else:
            asyncio.get_running_loop().create_task(self._connect(request))

    def on_url(self, path: bytes) -> None:
        self._path += path

    def on_header(self, name: bytes, value: bytes) -> None:
        if name.lower() == b"content-length":
            self._length = int(value)

    async def _connect(self, request: bytes) -> None:
        try:
            _, self._asks = await asyncio.get_running_loop().create_connection(Upstream, "127.0.0.1", UPSTREAM)
        except OSError:
            self._transport.close()
            return
        self._asks.ask(self._transport, request)
        if self._transport.is_closing():
            self._asks.left(self._transport)

    def connection_lost(self, error: Exception | None) -> None:
        if self._asks is not None:
            self._asks.left(self._transport)


async def _serve(port: int) -> None:
    server = await asyncio.get_running_loop().create_server(Caller, "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(int(sys.argv[1])))
