"""An upstream of streams without an end, all with the same pause between events. Run with PORT and EVERY_MS.

1. Streams are spread evenly over the pause, and one timer serves all: as many are due at any moment as at any other.
2. Every event says which of its stream it is, and when it was handed to the network, in CLOCK_MONOTONIC ns, which all
   processes of one machine share. So how late this upstream is itself is in no figure.
3. A stream has its first event at once, the others between `GET /flow` and `GET /rest`, so that who opens streams meets
   a quiet machine. `GET /connections` is answered as the other mock upstream does.
"""

from __future__ import annotations

import asyncio
import itertools
import sys
import time

import uvloop

from tests.benchmarks.upstream import Counts, Upstream

_TICK = 0.001
"""Seconds between two looks at who is due."""
_HEAD = (
    b"HTTP/1.1 200 OK\r\nDate: Thu, 01 Jan 2026 00:00:00 GMT\r\nContent-Type: text/event-stream\r\n"
    b"X-Accel-Buffering: no\r\nTransfer-Encoding: chunked\r\n\r\n"
)
_EVENT = (
    b'data: {"id":"chatcmpl-bench","object":"chat.completion.chunk","created":1767225600,"model":"mock","choices":'
    b'[{"index":0,"delta":{"content":" at %07d.%017d"},"logprobs":null,"finish_reason":null}]}\n\n'
)
MARK = b'" at '
"""What stands before the number and the stamp of an event; `PLACE` bytes of them follow."""
PLACE = 25


def chunk(number: int, stamp: int) -> bytes:
    """One event as a chunk of its stream."""
    event = _EVENT % (number, stamp)
    return b"%x\r\n%b\r\n" % (len(event), event)


def read(said: bytes | bytearray) -> list[tuple[int, int]]:
    """Number and stamp of every event in there, however it is framed; the last may not be cut within its stamp."""
    found, at = [], 0
    while (at := said.find(MARK, at)) >= 0:
        at += len(MARK)
        number, _, stamp = said[at : at + PLACE].partition(b".")
        found.append((int(number), int(stamp)))
    return found


class Flow:
    """All streams, each in a slot of the pause."""

    def __init__(self, every: float) -> None:
        self.slots: list[list[_Stream]] = [[] for _ in range(max(1, round(every / _TICK)))]
        self._next = itertools.count()
        self.flowing = False

    def begin(self, stream: _Stream) -> None:
        """An event in its slot from now on, while all flow."""
        self.slots[next(self._next) * 7919 % len(self.slots)].append(stream)

    async def run(self) -> None:
        """Serve whoever is due, for ever."""
        loop = asyncio.get_running_loop()
        began = loop.time()
        for tick in itertools.count(1):
            await asyncio.sleep(max(0.0, began + tick * _TICK - loop.time()))
            if self.flowing:
                slot = self.slots[tick % len(self.slots)]
                slot[:] = [each for each in slot if each.send()]


class _Stream(Upstream):
    """One connection, and one stream on it."""

    def __init__(self, flow: Flow, counts: Counts) -> None:
        super().__init__(counts)
        self._flow = flow
        self._number = 0

    def serve(self, request: bytes) -> None:
        if request.startswith(b"GET "):
            if request.startswith((b"GET /flow ", b"GET /rest ")):
                self._flow.flowing = request.startswith(b"GET /flow ")
            super().serve(request)
        else:
            # A proxy may wait for content before it says that a stream has begun.
            self.transport.write(_HEAD)
            self.send()
            self._flow.begin(self)

    def send(self) -> bool:
        """The next event; False when nobody is there any more."""
        if self.transport.is_closing():
            return False
        self.transport.write(chunk(self._number, time.monotonic_ns()))
        self._number += 1
        return True


async def _serve(port: int, every: float) -> None:
    flow, counts = Flow(every), Counts()
    await asyncio.get_running_loop().create_server(lambda: _Stream(flow, counts), "127.0.0.1", port, backlog=1000)
    await flow.run()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(int(sys.argv[1]), int(sys.argv[2]) / 1000))
