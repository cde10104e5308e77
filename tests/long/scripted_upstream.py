"""Upstreams that play the fault script, and keep their own log of what they really did to which request.

1. Which row is played is the script's to say, from its seed and the request's marker; nothing asks the proxy.
2. A call is in the log once its request was read whole, and before a byte of it is answered.
3. Every answer names its source, its model and the marker, in its text and in a header, so that a caller knows whose
   words it reads.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import socket
import struct
import time
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace
from random import Random
from typing import Any

import orjson

from proxy.demo import chat, script, wire
from proxy.demo.answers import Speaker, no_such_model
from proxy.demo.moods import Mood, Then
from proxy.demo.responses import respond
from proxy.demo.wire import Answer, Received
from tests.long import layout
from tests.long.faults_script import HURRIED, IMPATIENT, LEFT_EARLY, LEFT_MIDWAY, ROWS, STALLED, WELL
from tests.long.script_rows import JSON, STREAM, Row

SAID = "x-said"
_BLOCK = 250
"""Requests that meet the same weather."""
_KINDS = {"e": LEFT_EARLY, "m": LEFT_MIDWAY, "s": STALLED, "p": IMPATIENT}
"""By the first letter of a marker: what is played to callers of that kind."""
_SPEAK = {"/v1/chat/completions": chat.chat, "/v1/completions": chat.completion, "/v1/responses": respond}
_RESET = struct.pack("ii", 1, 0)


@dataclass(slots=True)
class Call:
    """One request that reached an upstream. Times are Unix seconds."""

    marker: str
    source: str
    model: str
    nth: int
    """Of this marker at this source and model, from 1."""
    row: str
    path: str
    stream: bool
    begun: float
    reused: bool
    """Its connection had served before."""
    upstream_id: str | None = None
    status: int | None = None
    """Of the head that was sent."""
    usage: tuple[int, int] | None = None
    """Tokens in and out, where they were told."""
    ended: float | None = None
    whole: bool = False
    """A whole answer, as asked for, was sent to its end."""


@dataclass(slots=True)
class Outage:
    """When a source accepted no connection. Unix seconds."""

    source: str
    began: float
    ended: float | None = None


class Script:
    """Chooses rows: now and then one for each request, now and then the same for a while, so that breakers trip."""

    def __init__(self, seed: int) -> None:
        self._seed = seed
        self._given: dict[tuple[str, str, str], Row] = {}
        self.played: Counter[tuple[str, str, str]] = Counter()
        """By row, form and place."""

    def choose(self, marker: str, source: str, model: str, form: str, *, reused: bool) -> Row:
        """The row for this request."""
        key = marker, source, model
        before = self._given.get(key)
        if before is not None:
            # The same request once more, on a fresh connection.
            row = WELL if before.name == "stale" else before
        else:
            row = self._fresh(marker, source, model, form)
        self._given[key] = row
        if row.name == "stale" and not reused:
            row = WELL
        place = "primary" if layout.PLACES[source, model] == "primary" else "fallback"
        self.played[row.name, form, place] += 1
        return row

    def _fresh(self, marker: str, source: str, model: str, form: str) -> Row:
        if (special := _KINDS.get(marker[0])) is not None:
            return special
        chance = Random(f"{self._seed} {marker} {source} {model}")
        if model.startswith("calm"):
            return WELL
        if model.startswith("hurried"):
            return HURRIED if chance.random() < 0.5 else WELL
        block = int(marker[2:]) // _BLOCK
        sort = Random(f"{self._seed} {source} {model} {block}").random()
        rows = [row for row in ROWS if row.only in (None, form)]
        if sort < 0.35:
            return WELL
        if sort < 0.7:
            return self._seldom(rows, form, source, model, chance) if chance.random() < 0.5 else WELL
        storms = [row for row in rows if not (row.large or row.well)]
        storm = Random(f"{self._seed} {source} {model} {block} {form}").choice(storms)
        return storm if chance.random() < 0.9 else WELL

    def _seldom(self, rows: list[Row], form: str, source: str, model: str, chance: Random) -> Row:
        place = "primary" if layout.PLACES[source, model] == "primary" else "fallback"

        def times(row: Row) -> int:
            return self.played[row.name, form, place]

        fewest = min(map(times, rows))
        return chance.choice([row for row in rows if times(row) == fewest])


class Upstream:
    """One source: a server on a port of its own."""

    def __init__(self, name: str, script: Script, calls: list[Call], outages: list[Outage]) -> None:
        self.name, self._script = name, script
        self.calls, self.outages = calls, outages
        self._outage: Outage | None = None
        self._reserved: socket.socket | None = None
        self._ids = itertools.count(1)
        self._server: asyncio.Server | None = None
        self._port = 0
        self._tasks: set[asyncio.Task[None]] = set()
        self._idle: set[asyncio.StreamWriter] = set()
        self._nth: Counter[tuple[str, str]] = Counter()

    @property
    def base_url(self) -> str:
        return f"http://127.0.0.1:{self._port}/v1"

    async def start(self) -> None:
        """Accept connections, on the same port every time."""
        reserved, self._reserved = self._reserved or _bound(0), None
        self._port = reserved.getsockname()[1]
        self._server = await asyncio.start_server(self._accept, sock=reserved, limit=wire.HEAD_LIMIT)
        if self._outage is not None:
            self._outage.ended, self._outage = time.time(), None

    def stop(self) -> None:
        """Refuse connections from now on. What is being answered is answered."""
        assert self._server is not None
        self._outage = Outage(self.name, time.time())
        self.outages.append(self._outage)
        self._server.close()
        self._server = None
        # Nobody else is given the port, a client's own end of a connection least of all.
        self._reserved = _bound(self._port)
        for writer in list(self._idle):
            writer.transport.abort()

    async def close(self) -> None:
        """End all of it."""
        if self._server is not None:
            self._server.close()
        if self._reserved is not None:
            self._reserved.close()
        for task in list(self._tasks):
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    def _accept(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.ensure_future(self._serve(reader, writer))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        reused = False
        try:
            while True:
                self._idle.add(writer)
                received = await wire.read(reader, lambda: None, 1)
                self._idle.discard(writer)
                if received is None or not await self._answer(received, reader, writer, reused=reused):
                    return
                reused = True
                if self._server is None:
                    return
        except (ConnectionError, wire.Unreadable):
            # A client that leaves resets its connection.
            return
        finally:
            self._idle.discard(writer)
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def _answer(
        self, received: Received, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, reused: bool
    ) -> bool:
        """Answer one request as the script says; True when the connection can take another."""
        document: dict[str, Any] = orjson.loads(received.body)
        marker, model, stream = document["user"], document["model"], bool(document.get("stream"))
        row = self._script.choose(marker, self.name, model, STREAM if stream else JSON, reused=reused)
        self._nth[marker, model] += 1
        call = Call(
            marker=marker,
            source=self.name,
            model=model,
            nth=self._nth[marker, model],
            row=row.name,
            path=received.path,
            stream=stream,
            begun=time.time(),
            reused=reused,
        )
        self.calls.append(call)
        try:
            mood = row.play(model)
            keep = await self._perform(call, mood, self._said(call, mood, document), received, writer)
            if mood.then is Then.HANG:
                # Until the client leaves; it has nothing more to send.
                await reader.read(1)
            elif mood.then is Then.RESET:
                writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
                writer.transport.abort()
            call.whole = row.well
            return keep
        finally:
            call.ended = time.time()

    def _said(self, call: Call, mood: Mood, document: dict[str, Any]) -> Answer | bytes:
        if isinstance(mood.instead, bytes):
            return mood.instead
        name = f"{call.source}/{call.model}/{call.marker}"
        text = f"said:{name}; {mood.text or 'one two three four'}"
        said = mood.instead
        if said is None and mood.no_model:
            said = no_such_model(call.model)
        if said is None:
            said = _SPEAK[call.path](document, Speaker(self.name, text=text))
            call.usage = _usage(said)
        call.upstream_id = f"up-{self.name}-{next(self._ids)}"
        return replace(said, headers=(*said.headers, ("x-request-id", call.upstream_id), (SAID, name)))

    async def _perform(
        self, call: Call, mood: Mood, said: Answer | bytes, received: Received, writer: asyncio.StreamWriter
    ) -> bool:
        if isinstance(said, bytes):
            writer.write(said)
            return False
        keep = not mood.until_close and (received.header("connection") or "").lower() != "close"
        for place, step in enumerate(script.perform(said, mood, received.path, keep=keep)):
            if step.wait:
                await asyncio.sleep(step.wait)
            if place == 0:
                call.status = said.status
            writer.write(step.data)
            await writer.drain()
        return keep and mood.then in (Then.GO_ON, Then.END)


def _bound(port: int) -> socket.socket:
    """A socket with an address, not listening yet."""
    made = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.bind(("127.0.0.1", port))
    made.setblocking(False)
    return made


def _usage(said: Answer) -> tuple[int, int] | None:
    if said.stream:
        return None
    usage = orjson.loads(b"".join(piece.data for piece in said.pieces))["usage"]
    into, out = (
        ("prompt_tokens", "completion_tokens") if "prompt_tokens" in usage else ("input_tokens", "output_tokens")
    )
    return usage[into], usage[out]


class Backlog:
    """A port whose connections are never accepted, and whose backlog is full: who connects waits."""

    def __init__(self) -> None:
        self._listening = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        self._waiting: list[socket.socket] = []

    @property
    def port(self) -> int:
        port: int = self._listening.getsockname()[1]
        return port

    def start(self) -> None:
        """Fill it."""
        self._listening.bind(("127.0.0.1", 0))
        self._listening.listen(0)
        for _ in range(4):
            each = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
            each.setblocking(False)
            self._waiting.append(each)
            with contextlib.suppress(BlockingIOError):
                each.connect(("127.0.0.1", self.port))

    def close(self) -> None:
        for each in (*self._waiting, self._listening):
            each.close()


async def _no_tls(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """What a server without TLS says to who begins with it."""
    with contextlib.suppress(OSError):
        await reader.read(64)
        writer.write(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\nContent-Length: 0\r\n\r\n")
        writer.close()
        await writer.wait_closed()


@contextlib.asynccontextmanager
async def upstreams(script: Script) -> AsyncIterator[tuple[dict[str, Upstream], dict[str, str]]]:
    """Every source of the layout: those that answer, and the base URLs of all."""
    calls: list[Call] = []
    outages: list[Outage] = []
    reached = {name: Upstream(name, script, calls, outages) for name in layout.REACHED}
    async with contextlib.AsyncExitStack() as stack:
        for upstream in reached.values():
            stack.push_async_callback(upstream.close)
            await upstream.start()
        urls = {name: upstream.base_url for name, upstream in reached.items()}
        # Bound, and nobody listens.
        shut = stack.enter_context(_bound(0))
        urls["shut"] = f"http://127.0.0.1:{shut.getsockname()[1]}/v1"
        plain = await stack.enter_async_context(await asyncio.start_server(_no_tls, "127.0.0.1", 0))
        urls["plain"] = f"https://127.0.0.1:{plain.sockets[0].getsockname()[1]}/v1"
        backlog = Backlog()
        stack.callback(backlog.close)
        backlog.start()
        urls["full"] = f"http://127.0.0.1:{backlog.port}/v1"
        yield reached, urls
