"""Connections that are kept: used again and again, never after they have ended, and never by more than may be."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable

import pytest

from proxy.terms import Cause, Diagnosis, Progress
from proxy.upstream.client import Answer, Connecting, Connections, Door, RetryBudget
from tests.integration.asking import OK, ask, door, opened, rest
from tests.integration.scripted import SOON, Line, always, answered, scripted

_CLOSED = Diagnosis(Cause.NETWORK, "closed")
_RESET = Diagnosis(Cause.NETWORK, "reset")
_CHUNKED = b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"
_STREAM = _CHUNKED + b"5\r\nhello\r\n0\r\n\r\n"


@pytest.mark.parametrize("answer", [OK, _STREAM], ids=["length", "chunks"])
async def test_a_thousand_requests_need_as_many_connections_as_callers(answer: bytes) -> None:
    """32 callers at once open 32 connections at most, whatever they ask; all are kept in the end."""

    async def caller() -> None:
        for _ in range(32):
            got = await ask(to, upstream.url)
            assert (got.status, got.end) == (200, None)

    async with scripted(always(answer)) as upstream, door() as to:
        await asyncio.gather(*(caller() for _ in range(32)))
        assert len(upstream.lines) <= 32
        assert sum(len(line.requests) for line in upstream.lines) == 1024
        assert to.connections() == Connections(0, len(upstream.lines), 0)


async def test_the_connection_used_last_is_used_first() -> None:
    """One caller after the other uses one connection, however many there are."""
    async with scripted(always(OK)) as upstream, door() as to:
        await asyncio.gather(*(ask(to, upstream.url) for _ in range(5)))
        before = [len(line.requests) for line in upstream.lines]
        for _ in range(10):
            assert (await ask(to, upstream.url)).progress.reused
        used = [len(line.requests) - known for line, known in zip(upstream.lines, before, strict=True)]
        assert sorted(used) == [0] * (len(used) - 1) + [10]


async def test_an_answer_is_over_before_it_is_read() -> None:
    """An answer that has come whole gives its connection back, and is read from memory; closing it changes nothing."""
    async with scripted(always(OK)) as upstream, door() as to:
        answer, progress = await opened(to, upstream.url)
        assert isinstance(answer, Answer)
        assert to.connections() == Connections(0, 1, 0)
        assert (await ask(to, upstream.url)).progress.reused
        answer.close()
        assert await rest(answer) == (b"{}", None)
        assert (progress.reused, progress.sent, progress.connected is None) == (False, True, False)
        assert len(upstream.lines) == 1


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\n\r\n",
        b"HTTP/1.0 200 OK\r\nContent-Length: 2\r\n\r\n{}",
        b"HTTP/1.1 200 OK\r\n\r\n{}",
    ],
    ids=["close", "close-chunked", "http10", "until-close"],
)
async def test_what_an_upstream_ends_is_not_used_again(answer: bytes) -> None:
    """It said so, or it means so."""
    async with scripted(answered(answer)) as upstream, door() as to:
        for _ in range(3):
            got = await ask(to, upstream.url)
            assert (got.body, got.end, got.progress.reused, got.progress.retried) == (b"{}", None, False, False)
        assert len(upstream.lines) == 3
        assert to.connections() == Connections(0, 0, 0)


async def test_http_1_0_that_stays_is_used_again() -> None:
    """If it says so."""
    answer = b"HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 2\r\n\r\n{}"
    async with scripted(always(answer)) as upstream, door() as to:
        assert [(await ask(to, upstream.url)).progress.reused for _ in range(3)] == [False, True, True]


async def test_nothing_of_an_answer_stays_on_its_connection() -> None:
    """Neither its trailers nor its fields nor its coding are the next one's."""
    first = b"HTTP/1.1 200 OK\r\nX-First: 1\r\nTransfer-Encoding: chunked\r\n\r\n2\r\n{}\r\n0\r\nX-Late: 1\r\n\r\n"
    packed = b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 0\r\n\r\n"
    async with scripted(answered(first, packed, OK)) as upstream, door() as to:
        got = [await ask(to, upstream.url) for _ in range(3)]
        assert len(upstream.lines) == 1
    assert [[name for name, _ in each.headers] for each in got] == [
        ["X-First", "Transfer-Encoding"],
        ["Content-Encoding", "Content-Length"],
        ["Content-Length"],
    ]
    assert [each.body for each in got] == [b"{}", b"", b"{}"]


# -- one that ends under a request


@pytest.mark.parametrize("reset", [False, True], ids=["closed", "reset"])
async def test_a_stale_connection_costs_one_retry_on_a_fresh_one(reset: bool) -> None:
    """The caller never learns of it; progress does."""

    async def script(line: Line) -> None:
        await line.request()
        line.say(OK)
        await line.request()
        if reset:
            line.reset()

    async with scripted(script) as upstream, door() as to:
        assert (await ask(to, upstream.url)).status == 200
        got = await ask(to, upstream.url)
        assert (got.status, got.end) == (200, None)
        assert (got.progress.retried, got.progress.reused) == (True, False)
        assert [len(line.requests) for line in upstream.lines] == [2, 1]
        assert to.connections() == Connections(0, 0, 0)


@pytest.mark.parametrize(("reset", "diagnosis"), [(False, _CLOSED), (True, _RESET)], ids=["closed", "reset"])
async def test_a_fresh_connection_that_fails_is_a_failure(reset: bool, diagnosis: Diagnosis) -> None:
    """Nothing is sent twice on its account; nor a third time when a retry fails as well."""
    well = 1

    async def script(line: Line) -> None:
        if line.number <= well:
            await line.request()
            line.say(OK)
        await line.request()
        if reset:
            line.reset()

    async with scripted(script) as upstream, door() as to:
        assert (await ask(to, upstream.url)).status == 200
        got = await ask(to, upstream.url)
        assert (got.end, got.progress.retried) == (diagnosis, True)
        got = await ask(to, upstream.url)
        assert (got.end, got.progress.retried) == (diagnosis, False)
        assert [len(line.requests) for line in upstream.lines] == [2, 1, 1]


@pytest.mark.parametrize("said", [b"H", b"\r\n", b"HTTP/1.1 100 Continue\r\n\r\n", b"HTTP/1.1 200 OK\r\nContent-L"])
async def test_after_one_byte_of_answer_nothing_is_sent_again(said: bytes) -> None:
    """The request may have been served."""

    async def script(line: Line) -> None:
        await line.request()
        line.say(OK)
        await line.request()
        line.say(said)

    async with scripted(script) as upstream, door() as to:
        assert (await ask(to, upstream.url)).status == 200
        got = await ask(to, upstream.url)
        assert (got.end, got.progress.retried, got.progress.reused) == (_CLOSED, False, True)
        assert len(upstream.lines) == 1


async def test_retries_end_with_their_budget() -> None:
    """An upstream that ends every kept connection is asked once for a request when the budget is spent."""

    async def script(line: Line) -> None:
        await line.request()
        line.say(OK)
        await line.request()

    async with (
        scripted(script) as upstream,
        Door(Connecting(private=True), RetryBudget(lambda: 0.0)) as to,
    ):
        asked = [await ask(to, upstream.url) for _ in range(80)]
        retried = [got.progress.retried for got in asked]
        # Ten are saved up, and a fifth of what is sent comes in. Where no clock runs, nothing comes with time.
        assert 10 <= sum(retried) <= 10 + 80 // 5
        assert all(got.end is None for got in asked[:20])
        assert [got.end for got in asked].count(_CLOSED) >= 5
        assert sum(len(line.requests) for line in upstream.lines) == 80 + sum(retried)


# -- one that nobody uses


@pytest.mark.parametrize("said", [b"HTTP/1.1 408 Timeout\r\nContent-Length: 0\r\n\r\n", b"x", b"\r\n"])
async def test_bytes_on_an_idle_connection_end_it(said: bytes) -> None:
    """They would be read as the next answer."""

    async def script(line: Line) -> None:
        await line.request()
        line.say(OK)
        if line.number == 1:
            await speak.wait()
            line.say(said)
            await line.left()
            left.set()
        await line.request()

    speak, left = asyncio.Event(), asyncio.Event()
    async with scripted(script) as upstream, door() as to:
        assert (await ask(to, upstream.url)).status == 200
        assert to.connections().idle == 1
        speak.set()
        await left.wait()
        got = await ask(to, upstream.url)
        assert (got.status, got.progress.reused, got.progress.retried) == (200, False, False)


@pytest.mark.parametrize(
    "surplus",
    [b"x", b"{}{}", b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\nevil", b"\r\n\r\nHTTP/1.1 200 OK\r\n"],
    ids=["byte", "body", "answer", "breaks"],
)
@pytest.mark.parametrize("answer", [OK, _STREAM], ids=["length", "chunks"])
async def test_bytes_behind_an_answer_end_its_connection(answer: bytes, surplus: bytes) -> None:
    """The answer itself is whole; what came behind it is nobody's."""
    async with scripted(always(answer + surplus)) as upstream, door() as to:
        for _ in range(3):
            got = await ask(to, upstream.url)
            assert (got.status, got.end, got.progress.reused, got.progress.retried) == (200, None, False, False)
            assert got.body in (b"{}", b"hello")
        assert len(upstream.lines) == 3
        assert to.connections() == Connections(0, 0, 0)


async def test_a_kept_connection_that_is_closed_is_let_go() -> None:
    """At once: it is counted no more, the upstream sees our end of it, and it costs no retry."""

    async def script(line: Line) -> None:
        await line.request()
        line.say(OK)
        line.writer.write_eof()
        await line.left()
        left.set()

    async with scripted(script) as upstream, door() as to:
        for _ in range(3):
            left = asyncio.Event()
            got = await ask(to, upstream.url)
            assert (got.status, got.progress.reused, got.progress.retried) == (200, False, False)
            await left.wait()
            await asyncio.sleep(0)
            assert to.connections() == Connections(0, 0, 0)


async def test_a_connection_that_is_being_closed_is_not_used() -> None:
    """The end is known, though the loop has not come to it yet: no retry is spent on what can be known."""
    async with scripted(always(OK)) as upstream, door() as to:
        assert (await ask(to, upstream.url)).status == 200
        (connection,) = to._pool._all
        connection.drop()
        got = await ask(to, upstream.url)
        assert (got.status, got.progress.reused, got.progress.retried) == (200, False, False)


async def test_a_connection_is_not_kept_for_ever() -> None:
    """After `keep` seconds without use the upstream sees it end; before, it is used."""

    async def script(line: Line) -> None:
        await line.request()
        line.say(OK)
        await line.request()
        line.say(OK)
        left.append(await line.left())

    left: list[float] = []
    async with scripted(script) as upstream, Door(Connecting(private=True), RetryBudget(), keep=0.4) as to:
        assert [(await ask(to, upstream.url)).progress.reused for _ in range(2)] == [False, True]
        used = asyncio.get_running_loop().time()
        await upstream.seen(lambda: bool(left))
        assert 0.4 <= left[0] - used < 2.0
        assert to.connections() == Connections(0, 0, 0)


# -- no more than may be


async def test_who_comes_too_many_waits_in_turn() -> None:
    """Never more at once than `max_connections`; the others wait, say so, and are served in the order they came."""

    async def script(line: Line) -> None:
        while True:
            await line.request()
            served.append(line.requests[-1].partition(b"\r\n\r\n")[2].decode())
            at_once.append(to.connections().in_use)
            await go.acquire()
            line.say(OK)

    served: list[str] = []
    at_once: list[int] = []
    go = asyncio.Semaphore(0)
    async with scripted(script) as upstream, door(max_connections=2) as to:
        waits = [Progress(time.monotonic()) for _ in range(8)]
        tasks = []
        for number, progress in enumerate(waits):
            tasks.append(asyncio.create_task(to.post(upstream.url, (), str(number).encode(), progress, SOON)))
            await asyncio.sleep(0)
        await upstream.seen(lambda: len(upstream.lines) == 2)
        assert to.connections() == Connections(2, 0, 6)
        assert [each.queued for each in waits] == [False] * 2 + [True] * 6
        for _ in waits:
            go.release()
        answers = await asyncio.gather(*tasks)
        assert all(isinstance(each, Answer) and each.status == 200 for each in answers)
        assert sorted(served[:2]) == ["0", "1"]
        assert served[2:] == [str(number) for number in range(2, 8)]
        assert max(at_once) == 2
        assert not any(each.queued for each in waits)
        assert len(upstream.lines) == 2
        assert to.connections() == Connections(0, 2, 0)


@pytest.mark.parametrize("called", [False, True], ids=["waiting", "called"])
async def test_who_stops_waiting_takes_no_place_along(called: bool) -> None:
    """Cancelled while it waits, or just as it was called and has not noticed: the place is there for the next."""

    async def script(line: Line) -> None:
        while True:
            await line.request()
            await go.wait()
            line.say(OK)

    go = asyncio.Event()
    async with scripted(script) as upstream, door(max_connections=1) as to:
        first, second, third = (asyncio.create_task(ask(to, upstream.url)) for _ in range(3))
        await upstream.seen(lambda: bool(upstream.lines))
        assert to.connections() == Connections(1, 0, 2)
        if called:
            first.cancel()
            await asyncio.sleep(0)
            assert to.connections() == Connections(1, 0, 1)
            assert not second.done()
        second.cancel()
        await asyncio.sleep(0)
        assert to.connections().waiting == (0 if called else 1)
        go.set()
        assert (await third).status == 200
        await asyncio.wait({first, second})
        assert (first.cancelled(), second.cancelled()) == (called, True)
        assert to.connections() == Connections(0, 1, 0)


@pytest.mark.interpreted
@pytest.mark.parametrize(("when", "left"), [("open", Connections(0, 0, 0)), ("end", Connections(0, 1, 0))])
async def test_who_is_cancelled_as_the_answer_comes_leaves_its_place_once(
    monkeypatch: pytest.MonkeyPatch, when: str, left: Connections
) -> None:
    """The answer is there, and the one who asked has not noticed: nobody will read it."""

    async def script(line: Line) -> None:
        while True:
            await line.request()
            line.say(OK[:-2] if when == "open" and line.number == 1 else OK)

    seen: Callable[..., None] = getattr(Answer, when)

    def came(self: Answer, *what: object) -> None:
        seen(self, *what)
        asking.cancel()

    async with scripted(script) as upstream, door(max_connections=1) as to:
        with monkeypatch.context() as patched:
            patched.setattr(Answer, when, came)
            asking = asyncio.create_task(opened(to, upstream.url))
            await asyncio.wait({asking})
        assert asking.cancelled()
        assert to.connections() == left
        got = await asyncio.gather(*(ask(to, upstream.url) for _ in range(3)))
        assert [each.status for each in got] == [200] * 3
        assert to.connections() == Connections(0, 1, 0)


async def test_a_retry_keeps_its_place() -> None:
    """One that waits does not pass a request by whose kept connection was stale."""

    async def script(line: Line) -> None:
        await line.request()
        line.say(OK)
        await line.request()

    async with scripted(script) as upstream, door(max_connections=1) as to:
        assert (await ask(to, upstream.url)).status == 200
        got = await asyncio.gather(ask(to, upstream.url, b"1"), ask(to, upstream.url, b"2"))
        assert [(each.status, each.progress.retried) for each in got] == [(200, True), (200, False)]
        assert [line.requests[-1][-1:] for line in upstream.lines] == [b"1", b"1", b"2"]


async def test_a_look_takes_nothing_from_the_requests() -> None:
    """It is a GET on a connection of its own, where all others are in use, and leaves none behind."""

    async def script(line: Line) -> None:
        await line.request()
        await go.wait()
        line.say(OK)
        await line.request()

    go = asyncio.Event()
    async with scripted(script) as upstream, door(max_connections=1) as to:
        task = asyncio.create_task(ask(to, upstream.url))
        await upstream.seen(lambda: bool(upstream.lines))
        looking = asyncio.create_task(to.look(upstream.url, (("X-A", "b"),), SOON))
        await upstream.seen(lambda: len(upstream.lines) == 2)
        assert to.connections() == Connections(2, 0, 0)
        go.set()
        answer = await looking
        assert isinstance(answer, Answer)
        assert await rest(answer) == (b"{}", None)
        assert (await task).status == 200
        assert to.connections() == Connections(0, 1, 0)
        assert upstream.lines[1].requests == [
            b"GET /v1/chat/completions HTTP/1.1\r\nHost: 127.0.0.1:%d\r\nX-A: b\r\n\r\n" % upstream.port
        ]


# -- the end


async def test_a_closed_door_leaves_nothing_open() -> None:
    """Connections in use end at once, and no answer looks whole by that; who waits or comes later: our own doing."""

    async def script(line: Line) -> None:
        await line.request()
        line.say(_CHUNKED + b"5\r\nhello\r\n")
        await line.left()
        left.append(line.number)

    left: list[int] = []
    ending = Diagnosis(Cause.LOCAL, "draining")
    async with scripted(script) as upstream, door(max_connections=2) as to:
        streams = [(await opened(to, upstream.url))[0] for _ in range(2)]
        waiting = asyncio.create_task(ask(to, upstream.url))
        await asyncio.sleep(0)
        assert to.connections() == Connections(2, 0, 1)
        assert to.shared() is to
        await to.close()
        assert to.connections() == Connections(2, 0, 1)
        await to.close()
        assert (await waiting).end == ending
        for each in streams:
            assert isinstance(each, Answer)
            assert await rest(each) == (b"hello", Diagnosis(Cause.STREAM_BROKEN, "truncated"))
        assert (await ask(to, upstream.url)).end == ending
        assert to.connections() == Connections(0, 0, 0)
        await upstream.seen(lambda: len(left) == 2)


async def test_a_closed_door_keeps_nothing() -> None:
    """Idle connections end with it."""

    async def script(line: Line) -> None:
        await line.request()
        line.say(OK)
        await line.left()
        left.append(line.number)

    left: list[int] = []
    async with scripted(script) as upstream:
        async with door() as to:
            assert (await ask(to, upstream.url)).status == 200
            assert to.connections() == Connections(0, 1, 0)
        assert to.connections() == Connections(0, 0, 0)
        await upstream.seen(lambda: left == [1])
