"""How a replica ends: what it still finishes, what it refuses, what its limit cuts, and which signals it obeys."""

from __future__ import annotations

import asyncio
import signal

import aiohttp
import orjson
import pytest

from proxy.demo import moods, wire
from proxy.demo.answers import event
from proxy.demo.simulator import Simulator
from proxy.demo.wire import Received, chunk
from tests.e2e.conftest import Bot, Start
from tests.e2e.replica import Replica
from tests.e2e.test_relay import delta, one_source, upstream
from tests.e2e.test_wire import ALWAYS, ASKED, STREAMED, ask, post, read
from tests.unit.demo.raw import Raw, connect, texts, unchunk

_SOON = 20.0
"""Seconds; ten times what an end without waiting takes."""


class _Held:
    """An upstream whose answers wait in their midst for `go`."""

    def __init__(self) -> None:
        self.go = asyncio.Event()
        self.begun = asyncio.Semaphore(0)

    async def answer(self, received: Received, writer: asyncio.StreamWriter) -> None:
        if orjson.loads(received.body).get("stream"):
            fields = (("Content-Type", "text/event-stream"), ("Transfer-Encoding", "chunked"))
            writer.write(wire.head(200, fields) + chunk(event(delta("first "))))
            self.begun.release()
            await self.go.wait()
            writer.write(chunk(event(delta("last"))) + chunk(event(b"[DONE]")) + chunk(b""))
        else:
            self.begun.release()
            await self.go.wait()
            body = b'{"choices":["whole"]}'
            fields = (("Content-Type", "application/json"), ("Content-Length", str(len(body))))
            writer.write(wire.head(200, fields) + body)


async def _ready(replica: Replica) -> list[int]:
    """What each listener says on /readyz."""
    async with aiohttp.ClientSession() as session:
        answers = [await session.get(f"{listener}/readyz") for listener in (replica.api, replica.admin)]
    return [answer.status for answer in answers]


async def _begun(raw: Raw) -> None:
    """Read a stream up to its first content."""
    await raw.until(delta("first "))
    await raw.until(b"\n\n")


async def test_a_drain_finishes_what_is_in_flight(start: Start) -> None:
    """From SIGTERM on the replica is not ready and refuses new requests, on new connections and kept ones; a stream and
    a JSON answer under way come whole, and then it ends with 0."""
    held = _Held()
    async with (
        upstream(held.answer) as base_url,
        connect((replica := await start(one_source(base_url))).api) as stream,
        connect(replica.api) as document,
        connect(replica.api) as idle,
    ):
        idle.send(post(b"no"))
        assert (await read(idle)).status == 400
        assert await _ready(replica) == [200, 200]
        stream.send(post(STREAMED))
        document.send(post(ASKED))
        for _ in range(2):
            await held.begun.acquire()
        await _begun(stream)
        replica.process.send_signal(signal.SIGTERM)
        assert (await replica.line("draining"))["in_flight"] == 2
        assert await _ready(replica) == [503, 503]
        async with connect(replica.api) as fresh:
            for raw in (fresh, idle):
                raw.send(post())
                refused = await read(raw)
                assert (refused.status, refused.code) == (503, "draining")
                assert refused.all("x-should-retry") == ["true"]
                # Another replica will serve, but not on this connection.
                assert refused.all("connection") == ["close"]
                assert {name.lower() for name, _ in refused.fields} >= ALWAYS
        held.go.set()
        rest, whole = unchunk((await stream.until(b"\r\n0\r\n\r\n")).removeprefix(b"\r\n"))
        assert (b"last" in rest, rest.endswith(b"data: [DONE]\n\n"), whole) == (True, True, True)
        finished = await read(document)
        assert (finished.status, finished.body) == (200, b'{"choices":["whole"]}')
        async with asyncio.timeout(_SOON):
            assert await replica.process.wait() == 0
    await replica.stop()
    outcomes = sorted(line["outcome"] for line in replica.requests())
    assert outcomes == ["rejected", "rejected", "rejected", "success", "success"]
    assert not [line for line in replica.lines if line["event"] == "cut"]


async def test_a_drain_ends_at_its_limit(bot: Bot, first: Simulator) -> None:
    """Past `limits.drain` what is left is ended with a word, and the replica ends with 0 all the same: a committed
    stream with the error event of any cut, and who still waits with the typed 503 that sends it to another replica."""
    replica = await bot(extra="limits: {drain: 1s}\n")
    async with connect(replica.api) as stream, connect(replica.api) as document:
        first.mood = moods.hang_mid_stream(2)
        stream.send(post(STREAMED))
        head = await stream.until(b"\r\n\r\n")
        await stream.until(b"This ")
        first.mood = moods.hang()
        document.send(post(ASKED))
        await first.until(lambda: len(first.requests) == 2)
        replica.process.send_signal(signal.SIGTERM)
        async with asyncio.timeout(_SOON):
            assert await replica.process.wait() == 0
        rest, _ = await stream.rest()
        assert (b" 200 OK" in head, b"[DONE]" in rest, b"event: error" in rest) == (True, False, True)
        assert b'"code":"stream_broken"' in rest
        assert b"(draining)" in rest
        refused = await read(document)
        assert (refused.status, refused.code, refused.all("x-should-retry")) == (503, "draining", ["true"])
    await first.until(lambda: first.aborted == 2)
    await replica.stop()
    assert sorted(line["outcome"] for line in replica.requests()) == ["rejected", "stream_broken"]
    assert {step["heard"] for line in replica.requests() for step in line["steps"]} == {"good", "neutral"}
    assert not [line for line in replica.lines if line["event"] == "stderr"]


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_a_second_signal_ends_at_once(bot: Bot, first: Simulator, number: signal.Signals) -> None:
    """SIGTERM and SIGINT drain alike, and a second one of either ends the drain; the exit code is 0."""
    replica = await bot(extra="limits: {drain: 5m}\n")
    first.mood = moods.hang_mid_stream(2)
    async with connect(replica.api) as raw:
        raw.send(post(STREAMED))
        await raw.until(b"This ")
        replica.process.send_signal(number)
        await replica.line("draining", in_flight=1)
        assert replica.process.returncode is None
        async with asyncio.timeout(_SOON):
            assert await replica.stop(signal.SIGTERM) == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_an_idle_replica_ends_at_once(bot: Bot, number: signal.Signals) -> None:
    """With nothing in flight there is nothing to wait for: connections that callers keep do not hold it up."""
    replica = await bot(extra="limits: {drain: 5m}\n")
    async with connect(replica.api) as raw:
        raw.send(post())
        assert (await read(raw)).status == 200
        async with asyncio.timeout(_SOON):
            assert await replica.stop(number) == 0
        assert await raw.rest() == (b"", "closed")
    assert [line["outcome"] for line in replica.requests()] == ["success"]


async def test_a_notice_is_given_before_anybody_is_refused(bot: Bot, first: Simulator) -> None:
    """For `limits.notice` a replica says that it is not ready and serves on; then it refuses what is new, and ends."""
    replica = await bot(extra="limits: {notice: 2s}\n")
    first.mood = moods.hang_mid_stream(2)
    async with connect(replica.api) as raw:
        raw.send(post(STREAMED))
        await raw.until(b"This ")
        first.mood = moods.WELL
        began = asyncio.get_running_loop().time()
        replica.process.send_signal(signal.SIGTERM)
        await replica.line("draining", in_flight=1)
        served = 0
        async with asyncio.timeout(_SOON):
            while (answer := await ask(replica, post())).status == 200:
                assert await _ready(replica) == [503, 503]
                served += 1
        assert (answer.status, answer.code) == (503, "draining")
        assert asyncio.get_running_loop().time() - began > 1.9
        assert served > 1
        assert replica.process.returncode is None
    assert await replica.stop() == 0


async def test_a_second_signal_ends_a_notice_too(bot: Bot) -> None:
    """Who does not want to wait need not."""
    replica = await bot(extra="limits: {notice: 5m}\n")
    replica.process.send_signal(signal.SIGTERM)
    await replica.line("draining")
    async with asyncio.timeout(_SOON):
        assert await replica.stop(signal.SIGTERM) == 0


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_signals_without_end_do_not_make_an_orderly_end_a_crash(bot: Bot, number: signal.Signals) -> None:
    """Whoever goes on asking while it is on its way out, to the last moment, changes nothing: the exit code is 0."""
    replica = await bot()
    replica.send(number)
    await replica.line("draining")
    async with asyncio.timeout(_SOON):
        while replica.process.returncode is None:
            replica.send(number)
            await asyncio.sleep(0)
        assert await replica.stop() == 0
    assert not [line for line in replica.lines if line["event"] == "stderr"]


async def test_sighup_does_not_end_it(bot: Bot, first: Simulator) -> None:
    """A SIGHUP, as a closing terminal or a reload sends it, leaves requests under way and new ones alone."""
    replica = await bot()
    first.mood = moods.pause(0.02)
    async with connect(replica.api) as raw:
        raw.send(post(STREAMED))
        await raw.until(b"This ")
        replica.process.send_signal(signal.SIGHUP)
        assert (await ask(replica, post())).status == 200
        rest = await raw.until(b"\r\n0\r\n\r\n")
        assert (len(texts(rest)) > 1, b"[DONE]" in rest) == (True, True)
    assert replica.process.returncode is None
    assert await _ready(replica) == [200, 200]
