"""An operator of a replica: starts it with what it says on stdout kept, asks its API, and runs the command."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp

from proxy.demo.simulator import Simulator
from tests.e2e import warm
from tests.e2e.caller import chain, source, written
from tests.e2e.replica import HOMEPORT, Replica

_LIMIT = 60.0
"""Seconds for a command that ends by itself; it needs less than one."""


@dataclass(frozen=True, slots=True)
class Ran:
    """A command that has ended."""

    code: int
    out: str
    err: str


def bare() -> dict[str, str]:
    """This environment without any key of its own."""
    return {name: value for name, value in os.environ.items() if not name.startswith("OPENAI_")}


async def homeport(
    *arguments: object,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    command: Sequence[object] = (HOMEPORT,),
) -> Ran:
    """The command to its end."""
    process = await asyncio.create_subprocess_exec(
        *map(str, (*command, *arguments)),
        cwd=cwd,
        env={**bare(), **(env or {})},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(_LIMIT):
            out, err = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode is not None
    return Ran(process.returncode, out.decode(), err.decode())


class Operated:
    """A replica, and what it has said to who started it."""

    def __init__(self, replica: Replica, output: asyncio.StreamReader) -> None:
        self.replica, self._output = replica, output
        self.token = ""

    async def said(self) -> str:
        """The next line on stdout; empty at its end."""
        async with asyncio.timeout(_LIMIT):
            return (await self._output.readline()).decode()

    async def told(self) -> str:
        """End it; all that it has said since, on stdout and in its log."""
        await self.replica.stop()
        return (await self._output.read()).decode() + "".join(map(str, self.replica.lines))

    async def ask(self, *, method: str = "GET", **headers: str) -> tuple[int, dict[str, str], Any]:
        """Status, headers and document of `/api/status` for these request headers."""
        url = f"{self.replica.admin}/api/status"
        async with aiohttp.ClientSession() as session, session.request(method, url, headers=headers) as answer:
            document = await answer.json() if answer.content_type == "application/json" else None
            return answer.status, {name.lower(): value for name, value in answer.headers.items()}, document

    async def status(self) -> Any:
        """The document, as whoever has the token gets it."""
        code, headers, document = await self.ask(Authorization=f"Bearer {self.token}")
        assert (code, headers["content-type"]) == (200, "application/json")
        return document

    async def until(self, **store: object) -> Any:
        """The document, once its store is like this."""
        async with asyncio.timeout(20):
            while not store.items() <= (document := await self.status())["store"].items():  # noqa: ASYNC110  # another process
                await asyncio.sleep(0.05)
        return document

    async def scrape(self) -> str:
        """Its metrics as they are exposed."""
        async with aiohttp.ClientSession() as session, session.get(f"{self.replica.admin}/metrics") as answer:
            return await answer.text()


def config(first: Simulator, second: Simulator, **more: object) -> dict[str, object]:
    """The two-tier chain of `bot`, and more."""
    return {
        "version": 1,
        "listen": "127.0.0.1:0",
        "admin": {"listen": "127.0.0.1:0"},
        "sources": {each.name: source(each) for each in (first, second)},
        "assistants": {"bot": chain("first/big", "second/small")},
    } | more


@contextlib.asynccontextmanager
async def operated(
    directory: Path, settings: dict[str, object], *, token: str = "", env: Mapping[str, str] | None = None
) -> AsyncIterator[Operated]:
    """A running replica. `token` becomes the configuration's; without one it makes one up, which is read here."""
    if token:
        settings = settings | {"admin": {"listen": "127.0.0.1:0", "token": token}}
    file = directory / "homeport.yaml"
    file.write_text(written(**settings))
    process = await warm.start("serve", "-c", file, env={**os.environ, **(env or {})}, stdout=True)
    replica = Replica(process)
    try:
        ready = await replica.line("ready")
        replica.api, replica.admin = ready["listen"], ready["admin"]
        assert process.stdout is not None
        operator = Operated(replica, process.stdout)
        operator.token = token or (await operator.said()).rstrip().rpartition(" ")[2]
        yield operator
    finally:
        await replica.close()
