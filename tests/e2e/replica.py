"""The installed command as a process, and what a client and an operator see of it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import re
import signal
from collections.abc import AsyncIterator, Callable, Mapping
from pathlib import Path
from typing import Any

import aiohttp
import orjson
from openai import AsyncOpenAI

from tests.e2e import warm
from tests.e2e.warm import HOMEPORT

__all__ = ["HOMEPORT", "WITHOUT_LANE", "Replica", "serve"]

_START = 20.0
"""Seconds; ten times what it needs."""
WITHOUT_LANE = "HOMEPORT_TESTS_WITHOUT_LANE"
"""Set where all that is tested of the lane shall hold without it."""


class Replica:
    """`homeport serve` with one configuration."""

    def __init__(self, process: warm.Process) -> None:
        self.process = process
        self.lines: list[dict[str, Any]] = []
        """Its log so far."""
        self.api = self.admin = ""
        self._clients: list[AsyncOpenAI] = []
        self._news = asyncio.Condition()
        self._reading = asyncio.create_task(self._read())

    async def _read(self) -> None:
        assert self.process.stderr is not None
        async for raw in self.process.stderr:
            try:
                line = orjson.loads(raw)
            except orjson.JSONDecodeError:
                line = {"event": "stderr", "text": raw.decode(errors="replace").rstrip()}
            async with self._news:
                self.lines.append(line)
                self._news.notify_all()
        async with self._news:
            self.lines.append({"event": "ended"})
            self._news.notify_all()

    async def line(self, event: str, *, seconds: float = _START, **facts: object) -> dict[str, Any]:
        """The first log line of this event with these facts, once it is there."""

        def found() -> dict[str, Any] | None:
            for line in self.lines:
                if line.get("event") == event and all(line.get(key) == value for key, value in facts.items()):
                    return line
            return None

        async with asyncio.timeout(seconds), self._news:
            await self._news.wait_for(lambda: found() is not None or self.lines[-1:] == [{"event": "ended"}])
        line = found()
        assert line is not None, f"no {event} {facts} among {self.lines}"
        return line

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until the log says so; it comes a moment after what it tells of."""
        async with asyncio.timeout(_START), self._news:
            await self._news.wait_for(condition)

    def requests(self) -> list[dict[str, Any]]:
        """The log lines of requests so far."""
        return [line for line in self.lines if line.get("event") == "request"]

    async def metrics(self) -> dict[str, float]:
        """Every sample of the operators' listener, by its name and labels as exposed."""
        async with aiohttp.ClientSession() as session, session.get(f"{self.admin}/metrics") as response:
            text = await response.text()
        samples = re.findall(r"^(homeport_[^ ]+(?:\{[^}]*\})?) (\S+)$", text, re.MULTILINE)
        return {name: float(value) for name, value in samples}

    def client(self, assistant: str | None = None, **options: Any) -> AsyncOpenAI:
        """The official SDK, as its users would point it here. No retries unless asked for."""
        headers = {"X-Assistant-Id": assistant} if assistant else {}
        options = {"api_key": "unused", "max_retries": 0, "default_headers": headers, **options}
        client = AsyncOpenAI(base_url=f"{self.api}/v1", **options)
        self._clients.append(client)
        return client

    def send(self, number: signal.Signals) -> None:
        """Signal it, unless it has ended."""
        if self.process.returncode is None:
            # Not the process's own method: that looks first whether it has ended, and then its exit code is gone.
            with contextlib.suppress(ProcessLookupError):
                os.kill(self.process.pid, number)

    async def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        """Signal it and wait; its exit code."""
        self.send(number)
        code = await self.process.wait()
        await self._reading
        return code

    async def close(self) -> None:
        """End it, whatever state it is in, and the clients made here."""
        for client in self._clients:
            await client.close()
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()
        await self._reading


@contextlib.asynccontextmanager
async def serve(directory: Path, config: str, env: Mapping[str, str] | None = None) -> AsyncIterator[Replica]:
    """A running replica; `config` is YAML without `listen` and `admin`, which are any free ports."""
    file = directory / "homeport.yaml"
    head = "version: 1\nlisten: 127.0.0.1:0\nadmin: {listen: 127.0.0.1:0}\n"
    if os.environ.get(WITHOUT_LANE):
        head += "lane: off\n"
    file.write_text(head + config)
    process = await warm.start("serve", "-c", file, env={**os.environ, **(env or {})})
    replica = Replica(process)
    try:
        ready = await replica.line("ready")
        replica.api, replica.admin = ready["listen"], ready["admin"]
        yield replica
    finally:
        await replica.close()
