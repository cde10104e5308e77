"""A simulated upstream on a real socket: OpenAI's API, Azure's and Anthropic's, and misbehaving as its mood says.

1. Every request that arrives whole is kept in `requests` before anything is answered, and is never sent on.
2. `mood` may be changed at any time; it is looked at once per request, when that has arrived whole.
3. A stopped simulator keeps its address: connections to it are refused, and it starts there again.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import struct
from collections import Counter, deque
from collections.abc import Callable
from dataclasses import replace
from typing import Self, cast

from proxy.demo import answers, azure, chat, messages, script, wire
from proxy.demo.answers import Speaker
from proxy.demo.moods import WELL, Mood, Then
from proxy.demo.responses import respond
from proxy.demo.wire import Answer, Received
from proxy.terms import Headers

_KEPT = 1000
"""Requests that are remembered."""

_LINGER_NOT = struct.pack("ii", 1, 0)

_SPOKEN = {
    "/v1/chat/completions": chat.chat,
    "/v1/completions": chat.completion,
    "/v1/responses": respond,
    "/v1/embeddings": answers.embeddings,
}


class Simulator:
    """One upstream, on a port of its own of 127.0.0.1."""

    def __init__(self, name: str, *, models: tuple[str, ...] = (), thinks: float = 0.5) -> None:
        """`models` is what it serves, everything if empty; `thinks` is Speaker.thinks."""
        self.name, self._speaker = name, Speaker(name, models, thinks=thinks)
        self.mood: Mood = WELL
        """What every request meets."""
        self.queue: deque[Mood] = deque()
        """What the next requests meet first, one each."""
        self.requests: deque[Received] = deque(maxlen=_KEPT)
        """The latest, oldest first."""
        self.by_path: Counter[str] = Counter()
        """Requests so far."""
        self.connections = 0
        """Accepted so far."""
        self.aborted = 0
        """How often a client went away before its answer's end."""
        self._lines: set[_Line] = set()
        self._port = 0
        self._server: asyncio.Server | None = None
        self._reserved: socket.socket | None = None
        self._news = asyncio.Event()

    @property
    def open(self) -> int:
        """Connections that are open now."""
        return len(self._lines)

    @property
    def running(self) -> bool:
        """Whether it accepts connections."""
        return self._server is not None

    async def start(self) -> str:
        """Accept connections; the base URL, the same every time. Does nothing if it does already."""
        if self._server is None:
            listening = self._reserved or _bound(0)
            self._reserved, self._port = None, listening.getsockname()[1]
            loop = asyncio.get_running_loop()
            self._server = await loop.create_server(lambda: _Line(self), sock=listening)
        return self.base_url

    @property
    def base_url(self) -> str:
        """What clients are pointed at; known once it was started."""
        return f"http://127.0.0.1:{self._port}/v1"

    async def stop(self) -> None:
        """Refuse connections from now on and abort the open ones."""
        if self._server is None:
            return
        server, self._server = self._server, None
        server.close()
        lines = list(self._lines)
        for line in lines:
            line.hang_up()
        await asyncio.gather(*(line.ended for line in lines))
        await server.wait_closed()
        # Bound, though nobody listens: no other socket is given this port, as a client's own end of a connection least
        # of all, which would then talk to itself.
        self._reserved = _bound(self._port)

    async def close(self) -> None:
        """Stop, and give the address back: what ends a simulator that `start` began. Any number of calls."""
        await self.stop()
        if self._reserved is not None:
            self._reserved.close()
            self._reserved = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def until(self, condition: Callable[[], bool], seconds: float = 60.0) -> None:
        """Wait until `condition` holds; it is asked again whenever a count or `requests` has changed.

        Raises TimeoutError when that takes longer than anything here does.
        """
        async with asyncio.timeout(seconds):
            while not condition():
                await self._news.wait()

    def _changed(self) -> None:
        self._news.set()
        self._news = asyncio.Event()

    def arrived(self, line: _Line) -> int:
        """A connection was accepted; its number."""
        self.connections += 1
        self._lines.add(line)
        self._changed()
        return self.connections

    def departed(self, line: _Line, *, unanswered: bool) -> None:
        """A connection is gone; `unanswered`: the client left before its answer's end."""
        self._lines.discard(line)
        self.aborted += unanswered
        self._changed()

    def receive(self, received: Received, *, reused: bool) -> tuple[Answer | bytes, Mood]:
        """A request arrived: what to say, and how."""
        mood = self.queue.popleft() if self.queue else self.mood
        self.requests.append(received)
        self.by_path[received.path] += 1
        self._changed()
        if mood.reused_only and not reused:
            mood = WELL
        said = mood.instead if mood.instead is not None else self._answer(received, mood)
        if isinstance(said, Answer) and ("Content-Type", "text/html") not in said.headers:
            said = messages.retold(said) if messages.asked(received) else said
            said = replace(said, headers=(*said.headers, *_usual_headers(received)))
        return said, mood

    def _answer(self, received: Received, mood: Mood) -> Answer:
        if not azure.asked(received):
            return self._speak(received, mood)
        inner = azure.inner(received)
        return inner if isinstance(inner, Answer) else azure.outer(self._speak(inner, mood))

    def _speak(self, received: Received, mood: Mood) -> Answer:
        speaker = replace(self._speaker, text=mood.text, pause=mood.pause)
        if mood.thinks is not None:
            speaker = replace(speaker, thinks=mood.thinks)
        if received.method == "GET" and received.path == "/v1/models":
            return messages.model_list(speaker) if messages.asked(received) else answers.model_list(speaker)
        if received.method == "POST" and received.path == messages.PATH:
            return messages.answer(received, speaker, no_model=mood.no_model)
        speak = _SPOKEN.get(received.path)
        if speak is None or received.method != "POST":
            text = f"Invalid URL ({received.method} {received.path})"
            return answers.refusal(404, answers.Fault(text))
        document = answers.read_document(received)
        if isinstance(document, Answer):
            return document
        if mood.no_model or (speaker.models and document["model"] not in speaker.models):
            return answers.no_such_model(document["model"])
        try:
            return speak(document, speaker)
        except (AttributeError, LookupError, TypeError, ValueError):
            return answers.refusal(400, answers.Fault("Invalid type for a field of the request.", code="invalid_type"))


def _usual_headers(received: Received) -> Headers:
    if azure.asked(received):
        return azure.usual_headers()
    return messages.usual_headers() if messages.asked(received) else answers.usual_headers()


class _Line(asyncio.Protocol):
    """One connection: requests are read and answered one after the other."""

    def __init__(self, simulator: Simulator) -> None:
        loop = asyncio.get_running_loop()
        self._simulator = simulator
        self._reader = asyncio.StreamReader(limit=wire.HEAD_LIMIT, loop=loop)
        self._writable = asyncio.Event()
        self._writable.set()
        self._answering = self._ours = False
        self.ended: asyncio.Future[None] = loop.create_future()

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._reader.set_transport(transport)
        self._number = self._simulator.arrived(self)
        self._task = asyncio.get_running_loop().create_task(self._serve())
        if not self._simulator.running:
            # Accepted just before the stop.
            self.hang_up()

    def data_received(self, data: bytes) -> None:
        self._reader.feed_data(data)

    def eof_received(self) -> bool:
        self._reader.feed_eof()
        if self._answering:
            # A client that has stopped sending has stopped waiting; without this, unsent bytes would keep it alive.
            self._transport.abort()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        unanswered, self._answering = self._answering and not self._ours, False
        self._task.cancel()
        self._reader.feed_eof()
        self.ended.set_result(None)
        self._simulator.departed(self, unanswered=unanswered)

    def pause_writing(self) -> None:
        self._writable.clear()

    def resume_writing(self) -> None:
        self._writable.set()

    def hang_up(self, *, reset: bool = False) -> None:
        """End the connection from our side, whatever is under way."""
        self._ours = True
        if reset:
            self._transport.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _LINGER_NOT)
        self._transport.abort()

    async def _serve(self) -> None:
        try:
            count, kept = 0, True
            while kept and (received := await wire.read(self._reader, self._go_on, self._number)) is not None:
                count += 1
                self._answering = True
                kept = await self._answer(received, reused=count > 1)
                self._answering = False
        except wire.Unreadable as error:
            await self._send(answers.refusal(400, answers.Fault(f"Unreadable request: {error}")), WELL, "", keep=False)
        finally:
            self._ours = True
            self._transport.close()

    def _go_on(self) -> None:
        self._transport.write(b"HTTP/1.1 100 Continue\r\n\r\n")

    async def _answer(self, received: Received, *, reused: bool) -> bool:
        """Answer one request; True when the connection can take another."""
        said, mood = self._simulator.receive(received, reused=reused)
        if isinstance(said, bytes):
            await asyncio.sleep(mood.delay)
            await self._write(said, 0.0)
            return False
        keep = not mood.until_close and (received.header("connection") or "").lower() != "close"
        await self._send(said, mood, received.path, keep=keep)
        match mood.then:
            case Then.HANG:
                await asyncio.get_running_loop().create_future()
            case Then.RESET:
                self.hang_up(reset=True)
            case _:
                pass
        return keep and mood.then in (Then.GO_ON, Then.END)

    async def _send(self, answer: Answer, mood: Mood, path: str, *, keep: bool) -> None:
        steps = list(script.perform(answer, mood, path, keep=keep))
        for place, step in enumerate(steps):
            if step.wait:
                await asyncio.sleep(step.wait)
            elif place and answer.stream:
                await asyncio.sleep(0)
            await self._write(step.data, step.drip)

    async def _write(self, data: bytes, drip: float) -> None:
        parts = (data[place : place + 1] for place in range(len(data))) if drip else (data,)
        for part in parts:
            self._transport.write(part)
            await self._writable.wait()
            if drip:
                await asyncio.sleep(drip)


def _bound(port: int) -> socket.socket:
    """A socket with an address, not listening yet."""
    # With the protocol named, asyncio turns Nagle's algorithm off, which would hold small events back for 40 ms.
    made = socket.socket(socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP)
    with contextlib.ExitStack() as stack:
        stack.callback(made.close)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind(("127.0.0.1", port))
        made.setblocking(False)
        stack.pop_all()
    return made
