"""What happens, live: decisions, breakers and the store of all replicas, in order, resumable, and at nobody's cost."""

from __future__ import annotations

import asyncio
import contextlib
import signal
import socket
import time
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from proxy.demo import moods
from proxy.demo.simulator import Simulator
from tests.e2e.caller import CHAT, chain
from tests.e2e.inquiry import PATIENCE, TOKEN, Event, Listener, Operator, operators
from tests.e2e.operated import config
from tests.integration.redis_server import RedisServer, running

_BREAKER = {
    "event", "at", "replica", "source", "model", "endpoint", "assistants", "before", "after", "cause", "reason",
    "until", "tripped_by",
}  # fmt: skip
_READERS = 32
_UNKNOWN = "ring-another_run-1"


@pytest.fixture
def redis() -> RedisServer:  # type: ignore[misc]
    """A Redis that a test may break."""
    with running() as server:
        yield server


async def _tripped(at: Operator, first: Simulator) -> list[str]:
    """Three failures of bot's primary; the ids of their requests."""
    first.queue.extend([moods.status(503)] * 3)
    return [await at.get(CHAT, "bot") for _ in range(3)]


def _after(events: list[Event], last: str) -> list[Event]:
    """Those that came after the one of this id."""
    return events[[each.id for each in events].index(last) + 1 :]


async def test_one_replica_tells_what_happens_and_goes_on_where_a_reader_left(
    tmp_path: Path, first: Simulator, second: Simulator
) -> None:
    """Decisions as their records, a breaker's move before the decision that made it; who comes back misses nothing and
    hears nothing twice; an id that is not known here is a gap."""
    async with operators(tmp_path, config(first, second, breaker={"cooldown": "5m"})) as (at,):
        early = await at.get()
        async with at.listening() as listener:
            tripped = await _tripped(at, first)
            await listener.heard(*tripped)
            assert listener.requests() == tripped
            assert early not in listener.requests()
            assert listener.of("gap") == []
            (moved,) = listener.of("breaker")
            assert set(moved.data) == _BREAKER
            assert (moved.data["before"], moved.data["after"], moved.data["cause"]) == ("closed", "open", "failures")
            assert (moved.data["source"], moved.data["model"]) == ("first", "big")
            assert moved.data["assistants"] == ["bot"]
            assert (moved.data["tripped_by"], moved.data["reason"]) == (tripped, "server_is_overloaded")
            assert moved.data["until"] == pytest.approx(moved.data["at"] + 300, abs=5)
            assert listener.events.index(moved) == len(listener.events) - 2
            for event in listener.of("decision"):
                record = await at.record(event.data["request_id"])
                assert event.data == {name: value for name, value in record.items() if name != "also"}
            assert len({each.id for each in listener.events}) == len(listener.events)
        heard, last = listener.events, listener.events[0].id

        missed = [await at.get() for _ in range(3)]
        for known in ({"last": last}, {"after": last}):
            async with at.listening(**known) as again:
                await again.heard(*missed)
                assert again.events[: len(heard) - 1] == heard[1:]
                assert again.requests()[-3:] == missed
                assert again.of("gap") == []
        for unknown in (_UNKNOWN, "1-1.0", "nonsense"):
            async with at.listening(last=unknown) as lost:
                await lost.until(lambda: bool(lost.of("gap")))
                late = await at.get()
                await lost.heard(late)
                assert lost.events[0].kind == "gap"
                assert len(lost.of("gap")) == 1
        await at.replica.stop()
        # That readers come and go is nothing to tell of.
        assert {line["event"] for line in at.replica.lines} == {
            "ready",
            "request",
            "breaker",
            "draining",
            "stopped",
            "ended",
        }


async def test_every_replica_tells_of_all_and_any_goes_on_for_another(
    tmp_path: Path, redis: RedisServer, first: Simulator, second: Simulator
) -> None:
    """Each event once at each replica, those of one replica in their order, under ids that every replica knows; where
    something may be missing, as when the journal goes and comes, there is a gap."""
    settings = config(first, second, breaker={"cooldown": "5m"})
    async with operators(tmp_path, settings, 3, redis) as everyone, contextlib.AsyncExitStack() as stack:
        listeners = [await stack.enter_async_context(each.listening()) for each in everyone]
        tripped = await _tripped(everyone[1], first)
        sent: list[list[str]] = [[], list(tripped), []]
        for _ in range(5):
            for each, own in zip(everyone, sent, strict=True):
                own.append(await each.get())
        everything = [request_id for own in sent for request_id in own]
        for listener in listeners:
            await listener.heard(*everything)
            assert len(listener.requests()) == len(everything)
            for own in sent:
                assert [each for each in listener.requests() if each in own] == own
            (moved,) = listener.of("breaker")
            assert (moved.data["after"], moved.data["tripped_by"]) == ("open", tripped)
            assert listener.of("gap") == []
        ids = [[each.id for each in listener.events] for listener in listeners]
        assert ids[0] == ids[1] == ids[2]

        last = listeners[0].of("decision")[2].id
        late = await everyone[0].get()
        async with everyone[2].listening(last=last) as other:
            await other.heard(late)
            await listeners[0].heard(late)
            assert other.events == _after(listeners[0].events, last)
        await _goes_and_comes(everyone, listeners, redis)
        with_gap = listeners[0].events[-1].id
        redis.command("FLUSHALL")
        async with everyone[1].listening(last=with_gap) as lost:
            late = await everyone[1].get()
            await lost.heard(late)
            assert lost.events[0].kind == "gap"


async def _goes_and_comes(everyone: list[Operator], listeners: list[Listener], redis: RedisServer) -> None:
    last, alone = listeners[0].events[-1].id, []
    redis.pause()
    for each, listener in zip(everyone, listeners, strict=True):
        await listener.until(lambda listener=listener: bool(listener.of("gap")))  # type: ignore[misc]
        assert "away" in listener.of("gap")[0].data["why"]
        alone.append(await each.get())
        await listener.heard(alone[-1])
        assert listener.of("gap")[0].id == ""
    for each in everyone:
        await each.of.until(up=False)
    redis.resume()
    for listener in listeners:
        await listener.until(lambda listener=listener: len(listener.of("gap")) >= 2)  # type: ignore[misc]
        assert "back" in listener.of("gap")[-1].data["why"]
    for each in everyone:
        await each.of.until(up=True)
    late = [await each.get() for each in everyone]
    for listener in listeners:
        await listener.heard(*late)
    for each in everyone:
        await each.journal(lambda told: not told["pending"])
    replicas = {(await each.of.status())["replica"] for each in everyone}
    async with everyone[1].listening(last=last) as again:
        # What each has seen meanwhile is told afterwards.
        await again.heard(*alone, *late)
        edges = [(each.data["replica"], each.data["up"], each.data["why"]) for each in again.of("store")]
        assert {(each, False, "timeout") for each in replicas} | {(each, True, None) for each in replicas} <= set(edges)


async def test_readers_are_bounded_shown_that_it_lives_and_let_go_by_a_drain(
    tmp_path: Path, first: Simulator, second: Simulator
) -> None:
    """The one too many is refused until another leaves; silence has a comment in it; and however many follow, a replica
    that is stopped ends at once, with their streams."""
    async with operators(tmp_path, config(first, second)) as (at,), contextlib.AsyncExitStack() as stack:
        readers = [await stack.enter_async_context(at.listening()) for _ in range(_READERS)]
        code, told = await at.call("/api/events")
        assert (code, told["error"]["code"]) == (503, "overloaded")
        assert (await at.search())["complete"] is True
        await readers.pop().leave()
        # Sooner than it would be noticed by saying something.
        async with asyncio.timeout(5):
            while True:
                with contextlib.suppress(AssertionError):
                    readers.append(await stack.enter_async_context(at.listening()))
                    break
                await asyncio.sleep(0.05)
        began = time.monotonic()
        for reader in readers:
            await reader.until(lambda reader=reader: "alive" in reader.comments)  # type: ignore[misc]
            assert reader.events == []
        assert time.monotonic() - began < 20
        request_id = await at.get()
        for reader in readers:
            await reader.heard(request_id)
        at.replica.process.send_signal(signal.SIGTERM)
        began = time.monotonic()
        assert await at.replica.stop() == 0
        assert time.monotonic() - began < 8
        for reader in readers:
            await reader.until(lambda reader=reader: reader.ended)  # type: ignore[misc]
        assert [line for line in at.replica.lines if line["event"] in ("stderr", "library", "internal_error")] == []


async def test_a_reader_that_takes_nothing_in_holds_up_nobody(
    tmp_path: Path, first: Simulator, second: Simulator
) -> None:
    """While one does not read, others hear all at once and requests are as fast as ever; when it reads again it hears
    what is still kept, and of a gap before that."""
    names = [f"first/{number}" for number in range(8)]
    settings = config(first, second, decisions={"keep": 250}) | {
        "assistants": {"long": chain(*names)},
        "limits": {"max_fallbacks": 7},
    }
    async with operators(tmp_path, settings) as (at,), at.listening() as quick, contextlib.AsyncExitStack() as stack:
        # Records with a long story, so that no buffer on the way holds them all.
        for name in names:
            await at.isolate(*name.split("/"))
        where = urlsplit(at.replica.admin)
        deaf = stack.enter_context(socket.socket())
        deaf.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
        deaf.setblocking(False)
        loop = asyncio.get_running_loop()
        await loop.sock_connect(deaf, (where.hostname, where.port))
        asked = f"GET /api/events HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKEN}\r\n\r\n"
        await loop.sock_sendall(deaf, asked.encode())
        head = await loop.sock_recv(deaf, 64)
        assert head.startswith(b"HTTP/1.1 200")
        ids: list[str] = []
        slowest = 0.0
        for number in range(1500):
            began = time.monotonic()
            ids.append(await at.get(CHAT, "long"))
            slowest = max(slowest, time.monotonic() - began)
            if number % 100 == 99:
                # It hears all of it, however fast this machine is.
                await quick.heard(ids[-1])
        # What the one who does not read holds up is held up until it reads: for ever. This says so before a limit does.
        assert slowest < PATIENCE / 3
        assert quick.of("gap") == []
        assert quick.requests() == ids
        got = bytearray()
        async with asyncio.timeout(PATIENCE):
            while ids[-1].encode() not in got:
                got += await loop.sock_recv(deaf, 1024 * 1024)
        heard = [each for each in ids if each.encode() in got]
        assert len(heard) < len(ids)
        assert b"event: gap" in got
        assert got.index(b"event: gap") > got.index(ids[0].encode())
        assert heard[-250:] == ids[-250:]
