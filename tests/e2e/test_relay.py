"""How answers are carried: byte for byte, as they arrive, no faster than the caller reads, and by connections kept."""

from __future__ import annotations

import asyncio
import re
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from urllib.parse import urlsplit

import orjson
import pytest

from proxy.demo import moods, wire
from proxy.demo.answers import event
from proxy.demo.moods import Mood, Then
from proxy.demo.simulator import Simulator
from proxy.demo.wire import Answer, Piece, Received, chunk
from tests.e2e.conftest import Bot, Start
from tests.e2e.replica import Replica
from tests.e2e.test_wire import ASKED, MIB, STREAMED, ask, post, read
from tests.unit.demo.raw import connect, texts

_SOON = 10.0
"""Seconds; ten times what a caller's leaving may take to be noticed upstream."""

# -- the answer's bytes


def _json(body: bytes) -> Mood:
    return Mood(instead=Answer(200, (("Content-Type", "application/json"),), (Piece(body),)))


def _stream(*pieces: bytes) -> Mood:
    fields = (("Content-Type", "text/event-stream"),)
    return Mood(instead=Answer(200, fields, tuple(map(Piece, pieces)), stream=True))


def delta(text: str) -> bytes:
    return b'{"choices":[{"index":0,"delta":{"content":"%b"}}]}' % text.encode()


_STREAMS = (
    b": a comment\r\n\r\n"
    b"data:" + delta("no space") + b"\r\n\r\n"
    b"id: 7\r\nretry: 1000\r\nevent: message\r\ndata: " + delta("CRLF") + b"\r\n\r\n"
    b"data: [DONE]\r\n\r\n",
    b'\xef\xbb\xbfdata: {"choices":[],"prompt_filter_results":[ ]}\n\n'
    b"event: ping\ndata: \n\n:\n\n\n"
    b"data: {\ndata: " + delta("two lines")[1:] + b"\n\n"
    b"unknown: field\ndata:   " + delta("\u00e9 \\u00e9 \\/") + b"  \n\n: late comment\n\n"
    b'data: {"choices":[{"index":0,"delta":{},"finish_reason":"stop"}]}\n\n'
    b'data: {"choices":[],"usage":{"prompt_tokens":1.50,"completion_tokens":3}}\n\n'
    b"data: [DONE]\n\n",
    b"data: " + delta("CR") + b"\r\rdata: [DONE]\r\r",
    b"data: " + delta("no blank line at the end") + b"\n\ndata: [DONE]",
    b"data: " + delta("half a pair \\ud83d") + b"\n\ndata: " + delta("\\ude00") + b"\n\ndata: [DONE]\n\n",
)
"""Events as some servers write them."""


@pytest.mark.parametrize("sent", _STREAMS, ids=["crlf", "odd", "cr", "open end", "surrogates"])
async def test_a_stream_keeps_its_bytes(bot: Bot, first: Simulator, sent: bytes) -> None:
    """Line ends, comments, odd events and spacing reach the caller as they were sent, in one chunk or in crumbs."""
    replica = await bot()
    for pieces in ((sent,), tuple(sent[place : place + 3] for place in range(0, len(sent), 3))):
        first.mood = _stream(*pieces)
        answer = await ask(replica, post(STREAMED))
        assert answer.status == 200
        assert answer.body == sent


_DOCUMENTS = (
    b'{ "choices" : [ ] ,\r\n\t"model":"big", "big":123456789012345678901234567890, "e":"\\u00e9\xc3\xa9" }\n',
    b'{"model":"a","model":"b","choices":[]}',
    b'{"choices":[],"large":1e400}',
    b'{"choices":[{"message":{"content":"half a pair \\ud83d"}}]}',
)


@pytest.mark.parametrize("sent", _DOCUMENTS, ids=["spacing", "twice", "infinite", "surrogate"])
async def test_a_document_keeps_its_bytes(bot: Bot, first: Simulator, sent: bytes) -> None:
    """A JSON answer comes as it was written, whatever a parser would make of it."""
    replica = await bot()
    first.mood = _json(sent)
    answer = await ask(replica, post())
    assert (answer.status, answer.body) == (200, sent)
    assert answer.all("content-length") == [str(len(sent))]


async def test_a_compressed_answer_is_readable(bot: Bot, first: Simulator) -> None:
    """An upstream that compresses unasked is undone: the caller gets the plain bytes, and no word of a coding."""
    replica = await bot()
    sent = b"data: " + delta("plain") + b"\n\ndata: [DONE]\n\n"
    for request, mood, body in ((post(), _json(_DOCUMENTS[1]), _DOCUMENTS[1]), (post(STREAMED), _stream(sent), sent)):
        first.mood = replace(mood, gzip=True)
        answer = await ask(replica, request)
        assert answer.body == body
        assert answer.all("content-encoding") == []
    first.mood = replace(moods.large(2), gzip=True)
    answer = await ask(replica, post())
    assert len(orjson.loads(answer.body)["choices"][0]["message"]["content"]) > MIB


# -- as it arrives


async def test_events_leave_as_they_arrive(bot: Bot, first: Simulator) -> None:
    """What the upstream has said reaches the caller while the upstream still holds the rest."""
    replica = await bot()
    first.mood = moods.hang_mid_stream(2)
    async with connect(replica.api) as raw:
        raw.send(post(STREAMED))
        status, headers = await raw.head()
        assert (status, headers["x-homeport-tier"]) == (200, "primary")
        got = b""
        while len(texts(got)) < 2:
            got += await raw.until(b"\n\n")
        assert first.open == 1
        assert first.aborted == 0
    await first.until(lambda: first.aborted == 1)


async def test_a_large_document_leaves_before_it_is_whole(bot: Bot, first: Simulator) -> None:
    """Past 1 MiB a JSON answer goes out as it comes; when it is cut then, the caller sees that it is not whole."""
    replica = await bot()
    first.mood = replace(moods.large(4), at=0, then=Then.HANG)
    async with connect(replica.api) as raw:
        raw.send(post())
        status, headers = await raw.head()
        assert status == 200
        await raw.exactly(MIB)
        assert first.aborted == 0
    await first.until(lambda: first.aborted == 1)
    first.mood = replace(first.mood, then=Then.CLOSE)
    async with connect(replica.api) as raw:
        raw.send(post())
        status, headers = await raw.head()
        got, _ = await raw.rest()
        assert (status, MIB < len(got) < int(headers["content-length"])) == (200, True)
    assert (await replica.line("request", outcome="stream_broken"))["steps"][0]["heard"] == "bad"


# -- no faster than the caller reads


@asynccontextmanager
async def upstream(answer: Callable[[Received, asyncio.StreamWriter], Awaitable[None]]) -> AsyncIterator[str]:
    """A server whose answers are written by hand; its base URL."""
    serving: dict[asyncio.StreamWriter, asyncio.Task[None]] = {}

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):
            while (received := await wire.read(reader, lambda: None, 1)) is not None:
                await answer(received, writer)
        writer.close()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        serving[writer] = asyncio.create_task(serve(reader, writer))

    server = await asyncio.start_server(accept, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}/v1"
    finally:
        server.close()
        for writer, task in serving.items():
            writer.transport.abort()
            task.cancel()
        await asyncio.gather(*serving.values(), return_exceptions=True)


class _Flood:
    """An answer without end; notes when nobody takes it any more."""

    def __init__(self, kind: str, opening: bytes, piece: Callable[[int], bytes]) -> None:
        fields = (("Content-Type", kind), ("Transfer-Encoding", "chunked"))
        self._opening = wire.head(200, fields) + (chunk(opening) if opening else b"")
        self._piece = piece
        self.offered = 0
        """Bytes that were taken, by the network at least."""
        self.stuck = asyncio.Event()
        """A second has passed without anything being taken."""
        self.gone = asyncio.Event()
        """The connection was closed by the other side."""

    async def answer(self, _: Received, writer: asyncio.StreamWriter) -> None:
        writer.write(self._opening)
        number = 0
        try:
            while self.offered < 512 * MIB:
                data = self._piece(number)
                writer.write(chunk(data))
                await self._taken(writer)
                self.offered += len(data)
                number += 1
        except ConnectionError:
            self.gone.set()
            raise

    async def _taken(self, writer: asyncio.StreamWriter) -> None:
        draining = asyncio.ensure_future(writer.drain())
        done, _ = await asyncio.wait({draining}, timeout=1)
        if not done:
            self.stuck.set()
        await draining


def _events() -> _Flood:
    return _Flood("text/event-stream", b"", lambda number: event(delta(f"{number:08d}{'x' * 16384}")))


def _document() -> _Flood:
    return _Flood("application/json", b'{"choices":["', lambda number: f'{number:08d}{"x" * 16384}","'.encode())


class _Sluggard:
    """A caller who sends a request, and reads only when told."""

    def __init__(self, replica: Replica) -> None:
        where = urlsplit(replica.api)
        self._address = where.hostname, where.port
        self._socket = socket.socket()
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 16384)
        self._socket.setblocking(False)
        self._loop = asyncio.get_running_loop()

    async def ask(self, request: bytes) -> None:
        await self._loop.sock_connect(self._socket, self._address)
        await self._loop.sock_sendall(self._socket, request)

    async def read(self, size: int) -> bytes:
        """That many bytes, or all there are until the end."""
        got = bytearray()
        async with asyncio.timeout(60):
            while len(got) < size and (data := await self._loop.sock_recv(self._socket, 65536)):
                got += data
        return bytes(got)

    def close(self) -> None:
        self._socket.close()


def _memory(replica: Replica, word: str) -> int:
    """MiB of the process: VmRSS now, VmHWM at most so far."""
    status = Path(f"/proc/{replica.process.pid}/status").read_text()
    found = re.search(rf"{word}:\s+(\d+) kB", status)
    assert found is not None
    return int(found[1]) // 1024


def one_source(base_url: str, timeouts: str = "{}") -> str:
    binding = f"primary: {{source: first, model: big}}, timeouts: {timeouts}"
    source = f"{{kind: openai-compatible, base_url: {base_url}}}"
    return f"sources:\n  first: {source}\nassistants:\n  bot: {{{binding}}}\n"


@pytest.mark.parametrize(("flood", "request_body"), [(_events, STREAMED), (_document, ASKED)], ids=["stream", "JSON"])
async def test_a_slow_reader_slows_the_upstream(start: Start, flood: Callable[[], _Flood], request_body: bytes) -> None:
    """While a caller does not read, nothing more is read from the upstream, and memory stays as it is; when the caller
    goes on, so does the answer, with nothing lost."""
    flooding = flood()
    async with upstream(flooding.answer) as base_url:
        replica = await start(one_source(base_url))
        before = _memory(replica, "VmRSS")
        caller = _Sluggard(replica)
        await caller.ask(post(request_body))
        async with asyncio.timeout(60):
            await flooding.stuck.wait()
        assert flooding.offered < 64 * MIB
        assert _memory(replica, "VmHWM") - before < 64
        paused_at = flooding.offered
        got = await caller.read(paused_at + 8 * MIB)
        assert flooding.offered > paused_at
        content = re.sub(rb"\r\n[0-9a-f]+\r\n", b"", got)
        numbers = [int(each) for each in re.findall(rb'"(\d{8})x', content)]
        assert numbers == list(range(len(numbers)))
        assert len(numbers) > 256
        assert _memory(replica, "VmHWM") - before < 64
        caller.close()
        async with asyncio.timeout(_SOON):
            await flooding.gone.wait()


async def test_a_caller_who_never_reads_is_let_go(start: Start) -> None:
    """Past `idle` a caller who takes nothing is cut off and the upstream's answer dropped; no breaker hears of it."""
    flooding = _events()
    async with upstream(flooding.answer) as base_url:
        replica = await start(one_source(base_url, "{idle: 500ms}"))
        caller = _Sluggard(replica)
        await caller.ask(post(STREAMED))
        async with asyncio.timeout(60):
            await flooding.gone.wait()
        line = await replica.line("request", outcome="cancelled")
        assert line["steps"][0]["detail"] == "caller_stalled"
        caller.close()


# -- callers who leave

_LEAVING = (
    ("JSON, no head yet", ASKED, moods.hang(), b""),
    ("JSON, no body yet", ASKED, moods.hang_after_headers(), b""),
    ("stream, no head yet", STREAMED, moods.hang(), b""),
    ("stream, no event yet", STREAMED, moods.hang_after_headers(), b""),
    ("stream, no content yet", STREAMED, moods.hang_mid_stream(0), b""),
    ("stream, mid-way", STREAMED, moods.hang_mid_stream(3), b"\n\n"),
    ("large JSON, mid-way", ASKED, replace(moods.large(4), at=0, then=Then.HANG), b"word word"),
)
"""What is asked, how the upstream treats it, and what the caller waits for before it leaves."""


async def test_a_caller_who_leaves_stops_the_upstream(bot: Bot, first: Simulator, second: Simulator) -> None:
    """At any point of an answer the upstream's call ends at once, nobody else is asked, and no breaker counts it."""
    replica = await bot(extra="breaker: {failure_threshold: 1}\n")
    for count, (what, body, mood, mark) in enumerate(_LEAVING, 1):
        first.mood = mood
        async with connect(replica.api) as raw:
            raw.send(post(body))
            if mark:
                await raw.until(mark)
            else:
                await first.until(lambda count=count: len(first.requests) == count)  # type: ignore[misc]
            raw.leave()
            async with asyncio.timeout(_SOON):
                await first.until(lambda count=count: first.aborted == count)  # type: ignore[misc]
        line = await replica.line("request", code=499) if not mark else await replica.line("request", code=200)
        # What has begun well was good news already; that it was not read to its end is none.
        assert (line["outcome"], line["steps"][0]["heard"]) == ("cancelled", "good" if mark else "neutral"), what
        replica.lines.clear()
    first.mood = moods.WELL
    assert (await ask(replica, post())).all("x-homeport-tier") == ["primary"]
    assert not second.requests


# -- connections to upstreams


@pytest.mark.parametrize("end", [Then.CLOSE, Then.RESET])
async def test_a_stale_connection_costs_one_retry(bot: Bot, first: Simulator, second: Simulator, end: Then) -> None:
    """A kept connection that dies under a request is replaced once: one answer, and the breaker hears good."""
    replica = await bot(extra="breaker: {failure_threshold: 1}\n")
    first.mood = replace(moods.stale(), then=end)
    for body in (ASKED, ASKED, STREAMED):
        answer = await ask(replica, post(body))
        assert (answer.status, answer.all("x-homeport-tier")) == (200, ["primary"])
        assert answer.all("x-homeport-attempts") == ["1"]
        line = await replica.line("request", request_id=answer.all("x-request-id")[0])
        assert line["steps"][0]["heard"] == "good"
    retried = [line["steps"][0].get("retried", False) for line in replica.requests()]
    # The connection that served a retry is not kept, so the third request opens one of its own.
    assert retried == [False, True, False]
    assert len(first.requests) == 4
    assert not second.requests


async def test_a_retry_is_not_repeated(bot: Bot, first: Simulator, second: Simulator) -> None:
    """When the fresh connection fails as well, the tier has failed; a first failure on a fresh one gets no retry."""
    replica = await bot()
    assert (await ask(replica, post())).status == 200
    first.mood = moods.close()
    for sent, retried in ((2, True), (1, False)):
        before = len(first.requests)
        answer = await ask(replica, post())
        assert answer.all("x-homeport-tier") == ["fallback-1"]
        assert len(first.requests) - before == sent
        line = await replica.line("request", request_id=answer.all("x-request-id")[0])
        assert (line["steps"][0].get("retried", False), line["steps"][0]["heard"]) == (retried, "bad")
    assert len(second.requests) == 2


async def test_an_answer_that_has_begun_is_not_asked_for_again(bot: Bot, first: Simulator) -> None:
    """A kept connection that dies after a byte of its answer is a failure: the request may have been served."""
    replica = await bot()
    assert (await ask(replica, post())).status == 200
    for begun in (b"H", b"HTTP/1.1 200 OK\r\nContent-Type: app"):
        before = len(first.requests)
        first.mood = Mood(instead=begun)
        answer = await ask(replica, post())
        assert answer.all("x-homeport-tier") == ["fallback-1"]
        assert len(first.requests) - before == 1
        first.mood = moods.WELL
        assert (await ask(replica, post())).all("x-homeport-tier") == ["primary"]


async def test_connections_are_used_again(bot: Bot, first: Simulator) -> None:
    """200 requests by 8 callers at once, JSON and streams, need no more than about 8 connections."""
    replica = await bot()

    async def caller() -> None:
        async with connect(replica.api) as raw:
            for number in range(25):
                raw.send(post(STREAMED if number % 2 else ASKED))
                assert (await read(raw)).status == 200

    await asyncio.gather(*(caller() for _ in range(8)))
    assert len(first.requests) == 200
    assert first.connections <= 10


# -- upstreams that few clients are ready for


async def test_unusual_http_is_understood(bot: Bot, first: Simulator) -> None:
    """Early hints, an HTTP/1.0 server, a large header and a slow one: the caller gets a usual answer."""
    replica = await bot()
    for mood in (moods.early_hints(), moods.http10(), moods.large_header(60 * 1024), moods.slow_headers(0.0001)):
        first.mood = mood
        for body in (ASKED, STREAMED):
            answer = await ask(replica, post(body))
            assert (answer.status, answer.all("x-homeport-tier")) == (200, ["primary"]), mood.name
            assert b"served by" in answer.body or texts(answer.body)
            assert len(answer.all("x-padding")) == (mood.name == "large-header")


async def test_a_header_beyond_all_bounds_is_a_fault(bot: Bot, first: Simulator) -> None:
    """An upstream whose header outgrows 64 KiB has failed, and the next tier serves."""
    replica = await bot()
    first.mood = moods.large_header(80 * 1024)
    answer = await ask(replica, post())
    assert (answer.status, answer.all("x-homeport-tier")) == (200, ["fallback-1"])


_POISON = b'HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 23\r\n\r\n{"choices":["poison!"]}'


@pytest.mark.parametrize("surplus", [b" and some more", _POISON], ids=["text", "another answer"])
async def test_surplus_bytes_are_nobodys_answer(bot: Bot, first: Simulator, surplus: bytes) -> None:
    """What follows an answer on its connection is dropped with it: the next request gets its own answer. (The answer
    itself may be refused as bad HTTP, when it arrived together with its surplus.)"""
    replica = await bot()
    for body in (ASKED, STREAMED):
        for mood in (moods.wrong_length(surplus), moods.WELL):
            first.mood = mood
            answer = await ask(replica, post(body))
            assert (answer.status, b"poison" in answer.body) == (200, False)
            assert mood is not moods.WELL or answer.all("x-homeport-tier") == ["primary"]
            assert b"and some more" not in answer.body
            assert answer.body.rstrip().endswith((b"}", b"[DONE]"))
    assert first.connections >= 3


@pytest.mark.parametrize("surplus", [b"\r\n", b" and some more", _POISON], ids=["line", "text", "another answer"])
async def test_bytes_on_an_idle_connection_are_nobodys_answer(start: Start, surplus: bytes) -> None:
    """What an upstream says unasked, while its connection lies idle, does not become the next request's answer."""
    asked = 0
    idle: list[asyncio.StreamWriter] = []

    async def answer(_: Received, writer: asyncio.StreamWriter) -> None:
        nonlocal asked
        asked += 1
        body = b'{"choices":["answer %d"]}' % asked
        writer.write(wire.head(200, (("Content-Type", "application/json"), ("Content-Length", str(len(body))))) + body)
        idle.append(writer)

    async with upstream(answer) as base_url:
        replica = await start(one_source(base_url))
        for number in (1, 2, 3):
            got = await ask(replica, post())
            assert got.body == b'{"choices":["answer %d"]}' % number
            # The answer has been read, so its connection is idle now.
            idle[-1].write(surplus)
            with suppress(ConnectionError):
                await idle[-1].drain()
            # A whole request goes by on the operators' side, so that the surplus has been seen.
            await replica.metrics()
