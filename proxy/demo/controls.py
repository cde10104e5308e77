"""A visitor's hands on the simulated upstreams: `POST /north/503` breaks one, `POST /north/well` mends it.

1. The words are a closed table; what is not in it changes nothing and is answered with the table.
2. Only POST changes anything.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Iterable, Mapping

from proxy.demo import moods, wire
from proxy.demo.answers import whole
from proxy.demo.moods import Mood
from proxy.demo.simulator import Simulator
from proxy.demo.wire import Answer, Received

_PATIENCE = 30.0
"""Seconds for a visitor's request to arrive."""

REFUSE = "refuse"

WORDS: Mapping[str, tuple[Mood | None, str]] = {
    "well": (moods.WELL, "serves"),
    REFUSE: (None, "is down: connections are refused"),
    "503": (moods.status(503), "503, overloaded"),
    "500": (moods.status(500), "500, server error"),
    "429": (moods.status(429, retry_after=10), "429, rate limited for 10 s"),
    "quota": (moods.insufficient_quota(), "429, the account has no quota left"),
    "401": (moods.status(401), "401, the API key is wrong"),
    "404": (moods.model_missing(), "404, no such model"),
    "400": (moods.status(400), "400, the request is at fault"),
    "hang": (moods.hang(), "accepts requests and never answers"),
    "stall": (moods.hang_mid_stream(after=3), "streams three words, then silence"),
    "cut": (moods.cut_stream(after=3), "streams three words, then ends; half a JSON answer"),
    "reset": (moods.reset(), "resets the connection"),
    "slow": (moods.pause(0.3), "streams slowly, a word in 0.3 s"),
    "html": (moods.html(502), "502 with a web page"),
    "error-200": (moods.error_in_200(), "200 with an error in its body"),
    "garbage": (moods.garbage(), "says something that is not HTTP"),
}
"""Word → the mood it sets (None: stop the simulator), and what that means for a reader."""


class Controls:
    """One small listener for any number of simulators."""

    def __init__(self, simulators: Iterable[Simulator]) -> None:
        self._simulators = {each.name: each for each in simulators}
        self._server: asyncio.Server | None = None

    async def start(self) -> str:
        """Listen on a free port of 127.0.0.1; the URL."""
        self._server = await asyncio.start_server(self._visit, "127.0.0.1", 0)
        return f"http://127.0.0.1:{self._server.sockets[0].getsockname()[1]}"

    async def stop(self) -> None:
        """Listen no more."""
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()
            self._server = None

    async def _visit(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        # One request a connection: visitors are few, and nothing has to be kept for them.
        with contextlib.suppress(ConnectionError, TimeoutError, wire.Unreadable):
            async with asyncio.timeout(_PATIENCE):
                received = await wire.read(reader, lambda: writer.write(b"HTTP/1.1 100 Continue\r\n\r\n"), 1)
                if received is not None:
                    answer = await self._answer(received)
                    body = b"".join(piece.data for piece in answer.pieces)
                    framing = (("Content-Length", str(len(body))), ("Connection", "close"))
                    writer.write(wire.head(answer.status, (*answer.headers, *framing)) + body)
                    await writer.drain()
        writer.close()

    async def _answer(self, received: Received) -> Answer:
        if received.path == "/" and received.method == "GET":
            return _text(200, self._overview())
        name, _, word = received.path.removeprefix("/").partition("/")
        simulator = self._simulators.get(name)
        if simulator is None or word not in WORDS:
            return _text(404, f"There is no {received.path}.\n\n{self._overview()}")
        if received.method != "POST":
            return _text(405, f"Use POST: curl -X POST …{received.path}\n")
        await self.set(simulator, word)
        return _text(200, f"{name}: {word}: {WORDS[word][1]}\n")

    async def set(self, simulator: Simulator, word: str) -> None:
        """Put a simulator into the mood of that name, one of WORDS."""
        mood, _ = WORDS[word]
        if mood is None:
            await simulator.stop()
        else:
            simulator.mood = mood
            await simulator.start()

    def _overview(self) -> str:
        now = [f"  {name:<10} {self._state(each)}" for name, each in self._simulators.items()]
        words = [f"  {word:<10} {meaning}" for word, (_, meaning) in WORDS.items()]
        return "\n".join(("Simulated upstreams:", *now, "", "POST /NAME/WORD, where WORD is one of:", *words, ""))

    def _state(self, simulator: Simulator) -> str:
        now = simulator.mood if simulator.running else None
        return next((word for word, (mood, _) in WORDS.items() if mood == now), simulator.mood.name)


def _text(status: int, text: str) -> Answer:
    return whole(status, text.encode(), kind="text/plain; charset=utf-8")
