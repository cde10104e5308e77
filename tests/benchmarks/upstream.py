"""The mock upstream: a chat API that costs next to nothing, and a dead one. Run with PORT, DEAD and HOLD.

1. PORT answers JSON of 4 KB, or a stream as the request's `metadata` orders it, or its `max_tokens` where nobody has
   left it its metadata; every event is a write of its own. At /v1/messages it is a stream of Anthropic's, of as many
   events, ordered by `max_tokens`. Below /failing every request is answered 503.
2. The port DEAD accepts each connection and drops it HOLD seconds later (0: at once), so that calls to a dead tier can
   be counted, and timed, from the far side.
3. `GET /connections` at PORT tells how many connections each has accepted, `GET /dead` when DEAD accepted and dropped
   each that it held, in seconds.
"""

from __future__ import annotations

import asyncio
import json
import re
import sys
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import cast

import uvloop

_HEAD = b"HTTP/1.1 200 OK\r\nDate: Thu, 01 Jan 2026 00:00:00 GMT\r\nX-Request-Id: req_bench\r\nContent-Type: "
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_ORDER_BY_TOKENS = re.compile(rb'"max_(?:completion_)?tokens": ?(\d+)(\d{3})[,}]')
_STREAM = re.compile(rb'"stream": ?true')
_ORDER = re.compile(rb'"metadata": ?\{"events": ?"(\d+)", ?"every_ms": ?"(\d+)"\}')


def _answer() -> bytes:
    message = {"role": "assistant", "content": "All work and no play makes a dull benchmark. " * 84, "refusal": None}
    usage = {"prompt_tokens": 900, "completion_tokens": 840, "total_tokens": 1740}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
    answer = {"id": "chatcmpl-bench", "object": "chat.completion", "created": 1767225600, "model": "mock"}
    return json.dumps({**answer, "choices": [choice], "usage": usage}, separators=(",", ":")).encode()


ANSWER = _answer()


def events(count: int) -> list[bytes]:
    """A whole chat stream in `count` events: text, then the finish reason, then the end marker. At least 3."""
    return [_event({"content": " word"}, None)] * (count - 2) + [_event({}, "stop"), b"data: [DONE]\n\n"]


def _event(delta: dict[str, str | None], finish: str | None) -> bytes:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
    chunk = {"id": "chatcmpl-bench", "object": "chat.completion.chunk", "created": 1767225600, "model": "mock"}
    return b"data: " + json.dumps({**chunk, "choices": [choice]}, separators=(",", ":")).encode() + b"\n\n"


_DELTA = {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": " word"}}


def claudes(count: int) -> list[bytes]:
    """A whole stream of the Messages API in `count` events, all but six of them text. At least 7."""
    opening = {"id": "chatcmpl-bench", "type": "message", "role": "assistant", "model": "mock", "content": []}
    ends = {"stop_reason": "end_turn", "stop_sequence": None}
    documents: list[dict[str, object]] = [
        {"type": "message_start", "message": {**opening, "usage": {"input_tokens": 900, "output_tokens": 1}}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "ping"},
        *[_DELTA] * (count - 6),
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": ends, "usage": {"output_tokens": count}},
        {"type": "message_stop"},
    ]
    return [
        f"event: {each['type']}\ndata: {json.dumps(each, separators=(',', ':'))}\n\n".encode() for each in documents
    ]


def translated(count: int) -> list[bytes]:
    """What a caller of OpenAI's API gets of that."""
    opening = _event({"role": "assistant", "content": "", "refusal": None}, None)
    return [opening, b": ping\n\n", *events(count - 4)]


@dataclass(slots=True)
class Counts:
    """Connections accepted since the start."""

    accepted: int = 0
    dead: int = 0
    failed: int = 0
    """Requests."""
    lives: list[tuple[float, float]] = field(default_factory=list)
    """When each dead connection that was held was accepted and dropped."""


class Upstream(asyncio.Protocol):
    """One connection; its caller asks the next question only when it has the whole answer."""

    def __init__(self, counts: Counts) -> None:
        self._counts = counts
        self._received = bytearray()
        self.transport: asyncio.Transport

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)  # uvloop's own class does not derive from it
        self._counts.accepted += 1

    def data_received(self, data: bytes) -> None:
        self._received += data
        end = self._received.find(b"\r\n\r\n")
        if end < 0:
            return
        length = _LENGTH.search(self._received, 0, end)
        if len(self._received) >= end + 4 + (int(length[1]) if length else 0):
            request = bytes(self._received)
            self._received.clear()
            self.serve(request)

    def serve(self, request: bytes) -> None:
        """Answer one request."""
        if request.startswith(b"GET /connections "):
            counts = self._counts
            self._tell({"accepted": counts.accepted, "dead": counts.dead, "failed": counts.failed})
        elif request.startswith(b"GET /dead "):
            self._tell(self._counts.lives)
        elif request.startswith(b"POST /failing/"):
            self._counts.failed += 1
            self.transport.write(_FAILURE)
        elif request.startswith(b"POST /v1/messages ") and (order := _ORDER_BY_TOKENS.search(request)):
            self._stream(claudes(int(order[1])), int(order[2]) / 1000)
        elif order := _ORDER.search(request) or (_STREAM.search(request) and _ORDER_BY_TOKENS.search(request)):
            self._stream(events(int(order[1])), int(order[2]) / 1000)
        else:
            self.transport.write(_WHOLE)

    def _tell(self, document: object) -> None:
        told = json.dumps(document).encode()
        self.transport.write(b"%bapplication/json\r\nContent-Length: %d\r\n\r\n%b" % (_HEAD, len(told), told))

    def _stream(self, said: list[bytes], every: float) -> None:
        # The header asks nginx not to buffer a stream; it is how a real upstream behind nginx would say it.
        head = _HEAD + b"text/event-stream\r\nX-Accel-Buffering: no\r\nTransfer-Encoding: chunked\r\n\r\n"
        pieces = [b"%x\r\n%b\r\n" % (len(event), event) for event in said]
        pieces[0] = head + pieces[0]
        pieces[-1] += b"0\r\n\r\n"
        self._next(iter(pieces), every, asyncio.get_running_loop().time())

    def _next(self, pieces: Iterator[bytes], every: float, due: float) -> None:
        piece = next(pieces, None)
        if piece is None or self.transport.is_closing():
            return
        self.transport.write(piece)
        loop = asyncio.get_running_loop()
        # Writes of one loop turn leave together, so even without a pause the next event waits for the next turn.
        if every:
            loop.call_at(due + every, self._next, pieces, every, due + every)
        else:
            loop.call_soon(self._next, pieces, every, due)


_WHOLE = b"%bapplication/json\r\nContent-Length: %d\r\n\r\n%b" % (_HEAD, len(ANSWER), ANSWER)

_SORRY = b'{"error":{"message":"Not now.","type":"server_error","code":null}}'
_FAILURE = (
    b"HTTP/1.1 503 Service Unavailable\r\nDate: Thu, 01 Jan 2026 00:00:00 GMT\r\nContent-Type: application/json\r\n"
    b"Content-Length: %d\r\n\r\n%b" % (len(_SORRY), _SORRY)
)


class Dead(asyncio.Protocol):
    """A connection that nobody serves."""

    def __init__(self, counts: Counts, hold: float) -> None:
        self._counts, self._hold = counts, hold

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._counts.dead += 1
        if self._hold:
            loop = asyncio.get_running_loop()
            loop.call_later(self._hold, self._drop, transport, loop.time())
        else:
            cast(asyncio.Transport, transport).abort()

    def _drop(self, transport: asyncio.BaseTransport, accepted: float) -> None:
        cast(asyncio.Transport, transport).abort()
        self._counts.lives.append((accepted, asyncio.get_running_loop().time()))


async def _serve(port: int, dead: int, hold: float) -> None:
    counts = Counts()
    loop = asyncio.get_running_loop()
    await loop.create_server(lambda: Dead(counts, hold), "127.0.0.1", dead)
    server = await loop.create_server(lambda: Upstream(counts), "127.0.0.1", port)
    await server.serve_forever()


if __name__ == "__main__":
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_serve(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])))
