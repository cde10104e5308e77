"""Replicas behind a real HAProxy, with the committed configuration, and callers that check every byte they get.

1. HAProxy's configuration is deploy/haproxy.cfg but for addresses: what is tested is what is delivered.
2. A replica that is started again takes its place's port, as a new process at the same address does.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import re
import shutil
import signal
import time
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import aiohttp
import pytest

from proxy.demo.moods import Mood
from proxy.demo.simulator import Simulator
from tests.benchmarks.process import free_ports
from tests.deploy.promql import ROOT
from tests.e2e.caller import chain, source, written
from tests.e2e.replica import HOMEPORT, Replica
from tests.integration.redis_server import RedisServer
from tests.unit.demo.raw import texts

NOTICE = 3.0
"""limits.notice, as compose.yaml has it, in seconds."""
WORDS = 40
_PAUSE = 0.2
LASTS = WORDS * _PAUSE
"""Seconds that a stream takes, about."""
_TEXT = "word " * WORDS
_PATIENCE = 60.0


@dataclass(frozen=True, slots=True)
class Answer:
    """What one caller got of one request."""

    stream: bool
    replica: str
    """The start of its request id, which is its replica's own; empty where no head came from one."""
    status: int
    whole: bool
    began: float
    ended: float
    error: str = ""

    @property
    def good(self) -> bool:
        """Served, to its end."""
        return self.status == 200 and self.whole


@dataclass(slots=True)
class Place:
    """An address, and the replica that has it."""

    port: int
    folder: Path
    started: list[float] = field(default_factory=list)
    """Seconds that each start took, until ready."""
    identity: str = ""
    """What its replica's request ids begin with."""
    _replica: Replica | None = None

    @property
    def replica(self) -> Replica:
        """The one that runs."""
        assert self._replica is not None
        return self._replica

    async def start(self) -> str:
        """A new process; what its request ids begin with."""
        began = time.monotonic()
        process = await asyncio.create_subprocess_exec(
            HOMEPORT,
            "serve",
            "-c",
            self.folder / "homeport.yaml",
            "--listen",
            f"127.0.0.1:{self.port}",
            stderr=asyncio.subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": str(ROOT)},
            limit=1024 * 1024,
        )
        self._replica = Replica(process)
        ready = await self._replica.line("ready")
        self._replica.api, self._replica.admin = ready["listen"], ready["admin"]
        self.started.append(time.monotonic() - began)
        url = f"{self._replica.api}/v1/nothing"
        async with aiohttp.ClientSession() as session, session.post(url) as response:
            self.identity = identity(response.headers["x-request-id"])
        return self.identity

    async def stop(self, number: signal.Signals) -> tuple[int, float]:
        """Exit code, and how many seconds it took."""
        began = time.monotonic()
        code = await self.replica.stop(number)
        return code, time.monotonic() - began

    async def close(self) -> None:
        """End whatever runs."""
        if self._replica is not None:
            await self._replica.close()


def identity(request_id: str) -> str:
    """The part of a request's id that its replica made up at its start."""
    found = re.fullmatch(r"req_([0-9a-f]{10})[0-9a-f]+", request_id)
    assert found, request_id
    return found[1]


class Balanced:
    """Three places behind one address."""

    def __init__(self, url: str, places: list[Place], session: aiohttp.ClientSession) -> None:
        self.url, self.places, self._session = url, places, session
        self.answers: list[Answer] = []
        """Of requests that have ended."""

    async def ask(self, *, stream: bool) -> None:
        """One request, read to its end."""
        began = time.monotonic()
        replica, status = "", 0
        body = {"model": "any", "messages": [{"role": "user", "content": "Hello"}], "stream": stream}
        try:
            async with self._session.post(f"{self.url}/v1/chat/completions", json=body) as response:
                status = response.status
                if "x-request-id" in response.headers:
                    replica = identity(response.headers["x-request-id"])
                said = await response.read()
            whole = (b"[DONE]" in said and "".join(texts(said)) == _TEXT) if stream else b'"choices"' in said
            error = "" if whole else said[-300:].decode(errors="replace")
        except (aiohttp.ClientError, TimeoutError, OSError) as broken:
            whole, error = False, repr(broken)
        self.answers.append(Answer(stream, replica, status, whole, began, time.monotonic(), error))

    @contextlib.asynccontextmanager
    async def callers(self, rate: float, streams: float) -> AsyncIterator[None]:
        """So many JSON requests and streams a second; all of them have ended at the end."""
        under_way: set[asyncio.Task[None]] = set()

        async def keep(pace: float, *, stream: bool) -> None:
            began = time.monotonic()
            for turn in itertools.count(1):
                task = asyncio.create_task(self.ask(stream=stream))
                under_way.add(task)
                task.add_done_callback(under_way.discard)
                await asyncio.sleep(max(0.0, began + turn / pace - time.monotonic()))

        pacing = [asyncio.create_task(keep(rate, stream=False)), asyncio.create_task(keep(streams, stream=True))]
        try:
            yield
        finally:
            for each in pacing:
                each.cancel()
            await asyncio.gather(*pacing, *under_way, return_exceptions=True)

    def by_replica(self) -> Counter[str]:
        """How many each served, so far."""
        return Counter(answer.replica for answer in self.answers if answer.good)

    async def served_by(self, replica: str) -> None:
        """Until the balancer sends requests there."""
        before, began = self.by_replica()[replica], time.monotonic()
        while self.by_replica()[replica] < before + 3:
            assert time.monotonic() - began < _PATIENCE, self.by_replica()
            await asyncio.sleep(0.05)


def _configured(folder: Path, port: int, places: list[Place]) -> Path:
    """The committed configuration, at other addresses."""
    text = (ROOT / "deploy" / "haproxy.cfg").read_text()
    (template,) = re.findall(r"^ *server-template .*$", text, re.MULTILINE)
    servers = "".join(f"    server homeport-{place.port} 127.0.0.1:{place.port}\n" for place in places)
    text = text.replace(template + "\n", servers).replace("bind :8080", f"bind 127.0.0.1:{port}")
    file = folder / "haproxy.cfg"
    file.write_text(text)
    return file


@contextlib.asynccontextmanager
async def balanced(folder: Path, redis: RedisServer) -> AsyncIterator[Balanced]:
    """Three replicas that share a store, behind HAProxy, all ready."""
    if shutil.which("haproxy") is None:
        pytest.fail("haproxy is not on PATH; these tests need a real one: apt-get install haproxy")
    port, *ports = free_ports(4)
    async with contextlib.AsyncExitStack() as stack:
        first = await stack.enter_async_context(Simulator("first"))
        first.mood = Mood("slow-stream", text=_TEXT, pause=_PAUSE)
        places = []
        for each in ports:
            place = Place(each, folder / str(each))
            place.folder.mkdir()
            config = written(
                version=1,
                admin={"listen": "127.0.0.1:0", "token": "made-up"},
                store=redis.url,
                limits={"notice": f"{NOTICE:g}s"},
                identity={"default": "bot"},
                sources={"first": source(first)},
                assistants={"bot": chain("first/bot")},
            )
            (place.folder / "homeport.yaml").write_text(config)
            stack.push_async_callback(place.close)
            await place.start()
            places.append(place)
        process = await asyncio.create_subprocess_exec(
            "haproxy", "-f", _configured(folder, port, places), stderr=asyncio.subprocess.DEVNULL
        )

        async def end() -> None:
            if process.returncode is None:
                process.terminate()
            await process.wait()

        stack.push_async_callback(end)
        session = aiohttp.ClientSession(
            timeout=aiohttp.ClientTimeout(total=_PATIENCE), connector=aiohttp.TCPConnector(limit=0)
        )
        stack.push_async_callback(session.close)
        made = Balanced(f"http://127.0.0.1:{port}", places, session)
        began = time.monotonic()
        while not (made.answers and made.answers[-1].good):
            assert time.monotonic() - began < _PATIENCE, made.answers[-1:]
            await made.ask(stream=False)
        made.answers.clear()
        yield made
