"""What a simulator counts, keeps and reads, and how it stops and starts."""

from __future__ import annotations

import asyncio
from urllib.parse import urlsplit

import orjson
import pytest
import uvloop

from proxy.demo import moods
from proxy.demo.simulator import Simulator
from tests.unit.demo.raw import LIMIT, Raw, connect


async def test_requests_are_kept_as_they_came(north: Simulator) -> None:
    """Method, path, query, headers and body, and which connection brought them."""
    async with connect(await north.start()) as raw:
        raw.send(b"POST /v1/responses?a=1 HTTP/1.1\r\nHost: x\r\nX-Two: 1\r\nx-two: 2\r\nContent-Length: 2\r\n\r\n{}")
        await raw.answer()
    (kept,) = north.requests
    assert (kept.method, kept.path, kept.query, kept.body, kept.connection) == (
        "POST",
        "/v1/responses",
        "a=1",
        b"{}",
        1,
    )
    assert [value for name, value in kept.headers if name.lower() == "x-two"] == ["1", "2"]
    assert (kept.header("HOST"), kept.header("absent")) == ("x", None)


async def test_a_chunked_request_is_read(north: Simulator) -> None:
    """Chunks, their extensions and a trailer make one body."""
    async with connect(await north.start()) as raw:
        raw.send(b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
        raw.send(b'5;a=b\r\n{"mod\r\n4\r\nel":\r\n3\r\n"m"\r\n1\r\n}\r\n0\r\nX-Trailer: 1\r\n\r\n')
        status, _, body = await raw.answer()
        raw.ask()
        assert (status, (await raw.answer())[0]) == (400, 200)
    assert north.requests[0].body == b'{"model":"m"}'
    assert orjson.loads(body)["error"]["param"] == "messages"


async def test_a_waiting_client_is_told_to_go_on(north: Simulator) -> None:
    """`Expect: 100-continue` is answered before the body was sent."""
    async with connect(await north.start()) as raw:
        raw.send(b"POST /v1/x HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n")
        assert await raw.head() == (100, {})
        assert not north.requests
        raw.send(b"{}")
        assert (await raw.answer())[0] == 404


@pytest.mark.parametrize("request_bytes", [b"\x16\x03\x01\r\n\r\n", b"POST / HTTP/1.1\r\nContent-Length: x\r\n\r\n"])
async def test_an_unreadable_request_is_refused(north: Simulator, request_bytes: bytes) -> None:
    """400, and the end of the connection; it counts as no request."""
    async with connect(await north.start()) as raw:
        raw.send(request_bytes)
        got, end = await raw.rest()
    assert (got[:13], end, len(north.requests)) == (b"HTTP/1.1 400 ", "closed", 0)


async def test_connections_are_kept_and_counted(north: Simulator) -> None:
    """Two requests over one connection are one connection; `open` follows what is open."""
    async with connect(await north.start()) as raw:
        for _ in range(2):
            raw.ask()
            await raw.answer()
        assert (north.connections, north.open, north.by_path) == (1, 1, {"/v1/chat/completions": 2})
    await asyncio.wait_for(north.until(lambda: north.open == 0), LIMIT)
    async with connect(await north.start()) as raw:
        raw.ask("/v1/embeddings")
        await raw.answer()
    assert [each.connection for each in north.requests] == [1, 1, 2]
    assert (north.connections, north.by_path["/v1/embeddings"], north.aborted) == (2, 1, 0)


@pytest.mark.parametrize("mood", [moods.hang(), moods.hang_mid_stream(1), moods.pause(30), moods.drip(30)])
async def test_a_client_that_leaves_is_noticed(north: Simulator, mood: moods.Mood) -> None:
    """Leaving before the answer's end counts once, whatever the simulator was waiting for."""
    north.mood = mood
    async with connect(await north.start()) as raw:
        raw.ask(stream=True)
        await asyncio.wait_for(north.until(lambda: len(north.requests) == 1), LIMIT)
        raw.leave()
        await asyncio.wait_for(north.until(lambda: north.open == 0), LIMIT)
    assert north.aborted == 1


async def test_a_client_that_reads_nothing_is_noticed(north: Simulator) -> None:
    """Leaving counts also while the simulator waits to be read."""
    north.mood = moods.large(32)
    async with connect(await north.start()) as raw:
        raw.ask()
        await raw.head()
        raw.leave()
        await asyncio.wait_for(north.until(lambda: north.open == 0), LIMIT)
    assert north.aborted == 1


async def test_leaving_after_the_end_is_no_abort(north: Simulator) -> None:
    """Neither a served client's leaving nor a close of the simulator's own counts."""
    north.queue.extend((moods.WELL, moods.close()))
    async with connect(await north.start()) as raw:
        raw.ask(stream=True)
        await raw.until(b"0\r\n\r\n")
        raw.ask()
        await raw.rest()
    await asyncio.wait_for(north.until(lambda: north.open == 0), LIMIT)
    assert north.aborted == 0


async def test_only_the_latest_requests_are_kept(north: Simulator) -> None:
    """Memory is bounded; the counts go on."""
    async with connect(await north.start()) as raw:
        for _ in range(1001):
            raw.send(b"GET /v1/models HTTP/1.1\r\nHost: x\r\n\r\n")
            await raw.answer()
    assert (len(north.requests), north.by_path["/v1/models"]) == (1000, 1001)


async def _stops_and_starts() -> None:
    north = Simulator("north")
    base = await north.start()
    north.mood = moods.hang()
    async with connect(base) as raw:
        raw.ask()
        await asyncio.wait_for(north.until(lambda: len(north.requests) == 1), LIMIT)
        await north.stop()
        assert (await raw.rest())[0] == b""
    assert (north.running, north.open, north.aborted) == (False, 0, 0)
    where = urlsplit(base)
    with pytest.raises(ConnectionRefusedError):
        await asyncio.open_connection(where.hostname, where.port)
    north.mood = moods.WELL
    assert await north.start() == base == await north.start()
    async with connect(base) as raw:
        raw.ask()
        assert (await raw.answer())[0] == 200
    await north.close()
    await north.close()


async def test_a_stopped_simulator_refuses_and_comes_back() -> None:
    """Open connections end, new ones are refused, and the address stays the same."""
    await _stops_and_starts()


def test_it_runs_on_uvloop_too() -> None:
    """The product's own event loop gives the same."""
    with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
        runner.run(_stops_and_starts())
        runner.run(_resets())


async def _resets() -> None:
    north = Simulator("north")
    north.mood = moods.reset()
    async with connect(await north.start()) as raw:
        raw.ask()
        assert await raw.rest() == (b"", "reset")
    await north.close()


async def test_several_simulators_live_side_by_side(north: Simulator) -> None:
    """Each has its own address, and says its own name."""
    south = Simulator("south")
    first, second = await north.start(), await south.start()
    assert first != second
    async with connect(first) as one, connect(second) as two:
        assert ["north" in await _said(one), "south" in await _said(two)] == [True, True]
    await south.close()


async def _said(raw: Raw) -> str:
    raw.ask()
    _, _, body = await raw.answer()
    text: str = orjson.loads(body)["choices"][0]["message"]["content"]
    return text
