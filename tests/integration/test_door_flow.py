"""How much is held, and how soon a side learns that the other has gone: memory and time, over real sockets."""

from __future__ import annotations

import asyncio
import gzip
import socket
from collections.abc import Callable
from types import SimpleNamespace
from typing import cast

import pytest

from proxy.terms import Cause, Diagnosis, Follower
from proxy.upstream import codings, wire
from proxy.upstream.client import Answer, Connections
from tests.integration.asking import OK, ask, door, opened, rest
from tests.integration.pace import paced
from tests.integration.scripted import SOON, Line, answered, scripted

_MIB = 1024 * 1024
_CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
_READ = 256 * 1024
"""Bytes that a loop reads at once, at most."""


class _Hose:
    """Sends a chunked answer without end, as fast as it is taken, and knows how much was."""

    def __init__(self) -> None:
        self.taken = 0
        self.left: float | None = None

    async def __call__(self, line: Line) -> None:
        await line.request()
        line.say(_CHUNKED)
        chunk = b"%x\r\n%b\r\n" % (65536, bytes(65536))
        try:
            while True:
                line.say(chunk)
                await line.writer.drain()
                self.taken += 65536
        except ConnectionError:
            self.left = asyncio.get_running_loop().time()

    async def stuck(self) -> int:
        """What has been taken once nothing more is."""
        async with asyncio.timeout(SOON):
            known = -1
            while known != self.taken:
                known = self.taken
                await asyncio.sleep(0.1)
        return known


async def test_an_answer_that_nobody_reads_is_not_read_from_the_upstream() -> None:
    """What is held of it is bounded; once it is read on, it goes on."""
    hose = _Hose()
    async with scripted(hose, window=65536) as upstream, door() as to:
        answer, _ = await opened(to, upstream.url)
        assert isinstance(answer, Answer)
        (connection,) = to._pool._all
        # Left to itself the kernel widens it the faster we read, up to 32 MiB; what is asked here is what we hold.
        connection._transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        got = 0
        for _ in range(3):
            assert await hose.stuck() - got < 2 * _MIB  # half a MiB of it ours, the rest in the sockets of both sides
            assert answer.held <= wire.HIGH + _READ
            enough = 2 * hose.taken
            while got < enough:
                chunk = await answer.chunk()
                assert isinstance(chunk, bytes)
                assert len(chunk) <= wire.HIGH + _READ
                got += len(chunk)
        answer.close()


async def test_a_small_answer_that_grows_is_undone_in_pieces() -> None:
    """64 MiB of nothing in 64 KiB of gzip never lie in memory at once."""
    packed = gzip.compress(bytes(64 * _MIB))
    assert len(packed) < 100_000
    sent = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n%b" % (len(packed), packed)
    async with scripted(answered(sent)) as upstream, door() as to:
        answer, _ = await opened(to, upstream.url)
        assert isinstance(answer, Answer)
        got = 0
        while chunk := await answer.chunk():
            assert isinstance(chunk, bytes)
            assert len(chunk) <= codings.PIECE
            got += len(chunk)
        assert got == 64 * _MIB


async def test_a_large_request_is_written_as_it_is_taken() -> None:
    """32 MiB to an upstream that does not read: no more than a little waits in the transport; read, all arrives."""

    async def script(line: Line) -> None:
        heads.append(await line.head())
        begun.set()
        await go.wait()
        received.append(await line.reader.readexactly(len(body)))
        line.say(OK)
        await line.request()
        line.say(OK)

    heads: list[bytes] = []
    received: list[bytes] = []
    begun, go = asyncio.Event(), asyncio.Event()
    body = bytes(range(256)) * (32 * 4096)
    async with scripted(script, window=65536) as upstream, door() as to:
        asking = asyncio.create_task(ask(to, upstream.url, body))
        await begun.wait()
        await asyncio.sleep(0.1)  # time enough to write too much
        (connection,) = to._pool._all
        assert connection._rest is not None
        assert len(connection._rest) > 24 * _MIB
        assert connection._transport.get_write_buffer_size() < _MIB
        go.set()
        assert (await asking).body == b"{}"
        assert received == [body]
        assert b"\r\nContent-Length: %d\r\n" % len(body) in heads[0]
        assert (await ask(to, upstream.url)).progress.reused


@pytest.mark.parametrize("ends", [True, False], ids=["closes", "stays"])
async def test_an_answer_that_comes_before_its_request_is_through_is_read(ends: bool) -> None:
    """A 413 while we still write: it is the answer, and the connection serves nothing else."""
    refusal = b"HTTP/1.1 413 Too Large\r\nContent-Length: 9\r\n\r\ntoo large"

    async def script(line: Line) -> None:
        await line.head()
        line.say(refusal)
        if not ends:
            await line.reader.readexactly(1000)
            await left.wait()

    left = asyncio.Event()
    async with scripted(script, window=65536) as upstream, door() as to:
        got = await ask(to, upstream.url, bytes(16 * _MIB))
        assert (got.status, got.body, got.end) == (413, b"too large", None)
        assert to.connections() == Connections(0, 0, 0)
        left.set()
        assert not (await ask(to, upstream.url, b"")).progress.reused


async def test_an_upstream_that_ends_is_not_written_to_any_more() -> None:
    """It will say nothing, and reads nothing: the request has failed, whatever is left of it."""

    async def script(line: Line) -> None:
        await line.head()
        line.writer.write_eof()
        await over.wait()

    over = asyncio.Event()
    async with scripted(script, window=65536) as upstream, door() as to:
        got = await ask(to, upstream.url, bytes(16 * _MIB))
        over.set()
        assert got.end == Diagnosis(Cause.NETWORK, "closed")
        assert to.connections() == Connections(0, 0, 0)


@pytest.mark.parametrize("stream", [True, False], ids=["stream", "json"])
async def test_an_answer_that_is_given_up_ends_at_the_upstream_at_once(stream: bool) -> None:
    """Closed before its end, whether bytes come or not: the connection is dropped, and its place is free."""

    async def script(line: Line) -> None:
        await line.request()
        line.say(_CHUNKED + b"5\r\nhello\r\n" if stream else b"HTTP/1.1 200 OK\r\nContent-Length: 10\r\n\r\nhello")
        left.append(await line.left())

    left: list[float] = []
    async with scripted(script) as upstream, door(max_connections=1) as to:
        answer, _ = await opened(to, upstream.url)
        assert isinstance(answer, Answer)
        assert await answer.chunk() == b"hello"
        async with paced() as pace:
            given_up = asyncio.get_running_loop().time()
            answer.close()
            answer.close()
            assert to.connections().in_use == 0
            await upstream.seen(lambda: bool(left))
            assert left[0] - given_up - pace.lost() < 0.2  # ten times what it should take
        assert await answer.chunk() == Diagnosis(Cause.STREAM_BROKEN, "truncated")


@pytest.mark.parametrize("read", [False, True], ids=["unread", "read"])
async def test_an_answer_in_full_flow_is_given_up_at_once(read: bool) -> None:
    """Also where reading had been paused."""
    hose = _Hose()
    async with scripted(hose, window=65536) as upstream, door() as to:
        answer, _ = await opened(to, upstream.url)
        assert isinstance(answer, Answer)
        await (answer.chunk() if read else hose.stuck())
        async with paced() as pace:
            given_up = asyncio.get_running_loop().time()
            answer.close()
            await upstream.seen(lambda: hose.left is not None)
            assert hose.left is not None
            assert hose.left - given_up - pace.lost() < 0.2


@pytest.mark.parametrize("body", [b"small", bytes(16 * _MIB)], ids=["small", "large"])
async def test_who_leaves_before_the_answer_takes_the_request_along(body: bytes) -> None:
    """Cancelled while the upstream thinks, or while it is still being written to: it sees the end at once."""

    async def script(line: Line) -> None:
        await line.head()
        begun.set()
        left.append(await line.left())

    begun = asyncio.Event()
    left: list[float] = []
    async with scripted(script) as upstream, door(max_connections=1) as to:
        asking = asyncio.create_task(ask(to, upstream.url, body))
        await begun.wait()
        async with paced() as pace:
            cancelled = asyncio.get_running_loop().time()
            asking.cancel()
            await asyncio.wait({asking})
            assert asking.cancelled()
            assert to.connections() == Connections(0, 0, 0)
            await upstream.seen(lambda: bool(left))
            assert left[0] - cancelled - pace.lost() < 0.2


async def test_who_reads_slowly_gets_all_of_it() -> None:
    """Pausing and going on loses and doubles nothing; the connection is kept."""
    pieces = [bytes([number % 251]) * 40_000 for number in range(100)]
    sent = _CHUNKED + b"".join(b"%x\r\n%b\r\n" % (len(piece), piece) for piece in pieces) + b"0\r\n\r\n"
    async with scripted(answered(sent, OK), window=65536) as upstream, door() as to:
        answer, _ = await opened(to, upstream.url)
        assert isinstance(answer, Answer)
        got = bytearray()
        while chunk := await answer.chunk():
            assert isinstance(chunk, bytes)
            got += chunk
            await asyncio.sleep(0.005)
        assert got == b"".join(pieces)
        assert (await ask(to, upstream.url)).progress.reused


async def test_what_came_before_the_break_is_read_first() -> None:
    """An answer that broke while nobody read it gives its bytes, and then says that it broke."""

    async def script(line: Line) -> None:
        await line.request()
        line.say(_CHUNKED + b"5\r\nhello\r\n")
        line.writer.write_eof()
        await line.left()
        left.set()

    left = asyncio.Event()
    async with scripted(script) as upstream, door() as to:
        answer, _ = await opened(to, upstream.url)
        assert isinstance(answer, Answer)
        await left.wait()
        assert to.connections() == Connections(0, 0, 0)
        assert await rest(answer) == (b"hello", Diagnosis(Cause.STREAM_BROKEN, "truncated"))


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(SOON):
        while not condition():  # noqa: ASYNC110  # of what is looked at nobody tells
            await asyncio.sleep(0.001)


def _follower(
    news: Callable[[bytes | Diagnosis], None], through: Callable[[bytes], bool] = lambda chunk: False
) -> Follower:
    return cast(Follower, SimpleNamespace(news=news, through=through))


@pytest.mark.interpreted
@pytest.mark.parametrize(
    ("last", "end"),
    [(b"1\r\n!\r\n0\r\n\r\n", b""), (b"1\r\n!\r\nno chunk", Diagnosis(Cause.STREAM_BROKEN, "truncated"))],
)
async def test_a_follower_is_given_what_came_and_what_comes(last: bytes, end: bytes | Diagnosis) -> None:
    """What lay there, then what comes, when it comes, and how it ended; after it has left all is held for the next."""

    async def script(line: Line) -> None:
        await line.request()
        for piece in (_CHUNKED + b"5\r\nhello\r\n", b"3\r\n my\r\n4\r\n own\r\n", b"6\r\n world\r\n", last):
            line.say(piece)
            await more.wait()
            more.clear()

    def news(chunk: bytes | Diagnosis) -> None:
        got.append(chunk)
        if chunk in leaves:
            answer.follow(None)

    more, got, leaves = asyncio.Event(), list[bytes | Diagnosis](), {b" my own"}
    follower = _follower(news)
    async with scripted(script) as upstream, door() as to:
        opened_one, _ = await opened(to, upstream.url)
        assert isinstance(opened_one, Answer)
        answer = opened_one
        await _until(lambda: answer.held > 0)
        assert answer.follow(follower)
        assert got == [b"hello"]
        more.set()
        await _until(lambda: got == [b"hello", b" my own"])
        more.set()
        await _until(lambda: answer.held == len(b" world"))
        assert got == [b"hello", b" my own"]
        assert answer.follow(follower)
        assert got[2:] == [b" world"]
        more.set()
        await _until(lambda: got[3:] == [b"!", end])
        assert answer.follow(follower)
        assert got[4:] == [end, end]
        more.set()


async def test_what_is_there_whole_is_read_at_once() -> None:
    """All that is left, once its end is known; until then, and where it broke or is coded, nothing is taken."""

    async def script(line: Line) -> None:
        for begin, end in answers:
            await line.request()
            line.say(begin)
            if begin is not packed:
                await more.wait()
                more.clear()
            line.say(end)

    head, more = b"HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", asyncio.Event()
    coded = gzip.compress(b"hello")
    packed = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n%b" % (len(coded), coded)
    answers = [(head + b"hel", b"lo"), (packed, b""), (_CHUNKED + b"5\r\nhello\r\n", b"no chunk")]
    async with scripted(script) as upstream, door() as to:
        answer, _ = await opened(to, upstream.url)
        assert isinstance(answer, Answer)
        assert answer.whole() is None
        assert answer.ready() == b"hel"
        first = answer
        more.set()
        await _until(lambda: first.ended is not None)
        assert (answer.whole(), answer.ready(), answer.held) == (b"lo", b"", 0)

        answer, _ = await opened(to, upstream.url)
        assert isinstance(answer, Answer)
        assert answer.whole() is None
        assert await rest(answer) == (b"hello", None)

        answer, _ = await opened(to, upstream.url)
        assert isinstance(answer, Answer)
        broken = answer
        more.set()
        await _until(lambda: broken.ended is not None)
        assert answer.whole() is None
        assert await rest(answer) == (b"hello", Diagnosis(Cause.STREAM_BROKEN, "truncated"))
        assert len(upstream.lines) == 1


@pytest.mark.interpreted
async def test_what_may_be_a_whole_chunk_is_offered_as_it_is() -> None:
    """Only where one may begin: behind an event that was the last of its chunk, and nothing of the next one."""
    a, chunk = b"data: a\n\n", b"9\r\ndata: a\n\n\r\n"
    pieces = [
        chunk,  # the first one: nobody knows yet where it begins
        chunk,
        chunk + b"9\r\n",  # not wanted, and the next one has begun
        chunk[3:],
        chunk + b"9",
        chunk[1:],
        b"b\r\ndata: a\n\n\r\n",  # looks like the end of a chunk, and is what it holds
        b"\r\n" + chunk,
        chunk,
        b"0\r\n\r\n",
    ]
    offered, wanted = [1, 2, 4, 6, 8, 9], {1, 8}

    async def script(line: Line) -> None:
        await line.request()
        line.say(_CHUNKED)
        for piece in pieces:
            await more.wait()
            more.clear()
            line.say(piece)

    def through(data: bytes) -> bool:
        asked.append((at, data))
        if at in wanted:
            got.append(data)
        return at in wanted

    more, got, asked = asyncio.Event(), list[bytes | Diagnosis](), list[tuple[int, bytes]]()
    async with scripted(script) as upstream, door() as to:
        answer, _ = await opened(to, upstream.url)
        assert isinstance(answer, Answer)
        assert answer.follow(_follower(got.append, through))
        for at in range(len(pieces)):  # `through` tells by it what it is asked
            more.set()
            await _until(lambda: len(got) > at)  # noqa: B023  # called at once
    assert got[-1] == b""
    assert asked == [(at, pieces[at]) for at in offered]
    assert b"".join(each for each in got if isinstance(each, bytes)).count(a) == 9


@pytest.mark.interpreted
async def test_what_is_undone_is_not_followed() -> None:
    """A little of it may grow beyond what its reader can take at once."""
    packed = gzip.compress(b"hello")
    sent = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: %d\r\n\r\n%b" % (len(packed), packed)
    async with scripted(answered(sent)) as upstream, door() as to:
        answer, _ = await opened(to, upstream.url)
        assert isinstance(answer, Answer)
        assert not answer.follow(_follower(lambda chunk: pytest.fail("it was followed")))
        assert await rest(answer) == (b"hello", None)
