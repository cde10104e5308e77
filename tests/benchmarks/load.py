"""The load: callers on keep-alive connections, each asking again as soon as it has its answer.

1. Every answer is compared with what the upstream sent, byte for byte: a figure for a wrong answer is worth nothing.
2. The load has a bound in time; running into it is an error, not a slow result.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Callable, Iterator, Sequence
from typing import cast

LIMIT = 90.0
"""Seconds that one load may take."""
ASSISTANT = "bench"
_LENGTH = re.compile(rb"\r\ncontent-length: *(\d+)", re.IGNORECASE)
_CLOSE = re.compile(rb"\r\nconnection: *close", re.IGNORECASE)
_CREATED = re.compile(rb'"created":[0-9]{10}')
CREATED = b'"created":1767225600'
_SDK = (
    "Accept: application/json\r\nContent-Type: application/json\r\nUser-Agent: OpenAI/Python 2.0.0\r\n"
    "Authorization: Bearer none\r\nAccept-Encoding: gzip, deflate\r\nX-Stainless-Lang: python\r\n"
    "X-Stainless-Retry-Count: 0\r\nX-Stainless-Read-Timeout: 600\r\n"
)


class WrongAnswer(Exception):
    """A candidate did not serve what the upstream sent, or not in time."""


def get(path: str) -> bytes:
    """A request without a body."""
    return f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\n\r\n".encode()


def chat(events: int = 0, every_ms: int = 0, assistant: str = ASSISTANT, fields: str = "") -> bytes:
    """A chat request of 4 KB as an SDK sends it; with `events` it orders a stream of the mock upstream. `fields` are
    more lines of its head.
    """
    turn = "What would you say a proxy should do when its upstream is silent? "
    roles = ["system", *["user", "assistant"] * 3, "user"]
    body: dict[str, object] = {
        "model": "bench",
        "messages": [{"role": role, "content": turn * 7} for role in roles],
        "temperature": 0.2,
    }
    if events:
        body |= {"stream": True, "metadata": {"events": str(events), "every_ms": str(every_ms)}}
        # What a translation leaves of the order.
        body["max_tokens"] = events * 1000 + every_ms
    sent = json.dumps(body, separators=(",", ":")).encode()
    head = "POST /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1\r\n"
    return f"{head}{_SDK}{fields}X-Assistant-Id: {assistant}\r\nContent-Length: {len(sent)}\r\n\r\n".encode() + sent


class Connection(asyncio.Protocol):
    """One caller's connection: `ask` one question at a time."""

    def __init__(self) -> None:
        self._received = bytearray()
        self._body = 0
        """Where the body starts; 0 until the head is whole."""
        self._end: int | None = None
        """Where the answer ends; None when its chunks tell."""
        self._waiter: asyncio.Future[None] | None = None
        self._transport: asyncio.Transport
        self.open = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's own class does not derive from it
        self.open = True

    async def ask(self, request: bytes) -> tuple[int, bytes]:
        """Status and body."""
        self._received.clear()
        self._body, self._end = 0, None
        self._waiter = asyncio.get_running_loop().create_future()
        self._transport.write(request)
        await self._waiter
        head, body = bytes(self._received[: self._body]), bytes(self._received[self._body :])
        if _CLOSE.search(head):
            self.close()
        return int(head[9:12]), body if self._end is not None else _joined(body)

    def close(self) -> None:
        self.open = False
        self._transport.close()

    def data_received(self, data: bytes) -> None:
        self._received += data
        if not self._body and not self._read_head():
            return
        whole = self._received.endswith(b"\r\n0\r\n\r\n") if self._end is None else len(self._received) >= self._end
        if whole and self._waiter and not self._waiter.done():
            self._waiter.set_result(None)

    def _read_head(self) -> bool:
        end = self._received.find(b"\r\n\r\n")
        if end < 0:
            return False
        self._body = end + 4
        length = _LENGTH.search(self._received, 0, end + 2)
        self._end = self._body + int(length[1]) if length else None
        return True

    def connection_lost(self, error: Exception | None) -> None:
        self.open = False
        if self._waiter and not self._waiter.done():
            self._waiter.set_exception(WrongAnswer(f"the connection ended after {len(self._received)} bytes"))


def _joined(chunks: bytes) -> bytes:
    """The body that chunked framing carries."""
    body, at = bytearray(), 0
    while size := int(chunks[at : (line := chunks.index(b"\r\n", at))].split(b";")[0], 16):
        body += chunks[line + 2 : line + 2 + size]
        at = line + size + 4
    return bytes(body)


async def connect(port: int) -> Connection:
    _, connection = await asyncio.get_running_loop().create_connection(Connection, "127.0.0.1", port)
    return connection


async def run(
    port: int,
    asked: Sequence[bytes],
    expected: bytes,
    *,
    callers: int,
    requests: int,
    read: Callable[[bytes], bytes] = bytes,
) -> list[float]:
    """Send so many `requests` from `callers` connections, those of `asked` in turn; how many seconds each took.

    Raises WrongAnswer.

    `read`: what of an answer is compared; all of it unless said otherwise.
    """
    tickets = iter(range(requests))
    taken: list[float] = []
    tasks = [asyncio.create_task(_caller(port, asked, expected, tickets, taken, read)) for _ in range(callers)]
    try:
        async with asyncio.timeout(LIMIT):
            await asyncio.gather(*tasks)
    except TimeoutError:
        raise WrongAnswer(f"{len(taken)} of {requests} requests were answered in {LIMIT:.0f} s") from None
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
    return taken


async def _caller(
    port: int,
    asked: Sequence[bytes],
    expected: bytes,
    tickets: Iterator[int],
    taken: list[float],
    read: Callable[[bytes], bytes],
) -> None:
    connection = await connect(port)
    try:
        for number in tickets:
            if not connection.open:
                connection = await connect(port)
            began = time.perf_counter()
            status, body = await connection.ask(asked[number % len(asked)])
            taken.append(time.perf_counter() - began)
            if status != 200 or read(body) != expected:
                raise WrongAnswer(f"status {status} with {_size(body)} instead of {_size(expected)}: {body[:300]!r}")
    finally:
        connection.close()


def undated(body: bytes) -> bytes:
    """An answer but for when it says that it was made."""
    return _CREATED.sub(CREATED, body)


def text(body: bytes) -> bytes:
    """What the model has said in an answer, for those who write the rest anew; and whether a stream has its end."""
    if not body.startswith(b"data: "):
        said = json.loads(body)["choices"][0]["message"]["content"]
        return str(said).encode()
    *lines, last = [line.removeprefix(b"data: ") for line in body.splitlines() if line.startswith(b"data: ")]
    deltas = [choice["delta"] for line in lines for choice in json.loads(line)["choices"]]
    return "".join(delta.get("content") or "" for delta in deltas).encode() + last


def _size(body: bytes) -> str:
    return f"{len(body)} bytes ({body.count(b'data: ')} events)"
