"""`homeport serve --workers N` as whoever looks after it sees it: its processes, and which of them takes a request."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import time
from collections.abc import AsyncIterator, Iterable, Iterator
from pathlib import Path

import aiohttp

from tests.e2e.replica import HOMEPORT, Replica

_LIMIT = 30.0
"""Seconds for anything that is to happen."""


class Crew(Replica):
    """A supervisor and its workers: `lines` is what all of them have said, `api` the address that they share."""

    @property
    def pids(self) -> dict[int, int]:
        """The workers' processes, by their numbers."""
        found = {}
        for thread in Path(f"/proc/{self.process.pid}/task").iterdir():
            for pid in (thread / "children").read_text().split():
                # Until it is a command of its own it is still the supervisor's.
                if (words := Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0"))[-3:-2] == [b"--as-worker"]:
                    found[int(words[-2])] = int(pid)
        return found

    def ready(self, number: int) -> list[dict[str, str]]:
        """What a worker has said each time that it began to serve."""
        return [
            line
            for line in self.lines
            if line["event"] == "ready" and line["replica"].rpartition("-")[2] == str(number)
        ]

    async def again(self, number: int, times: int = 2) -> None:
        """Wait until that worker has begun so often."""
        await self.until(lambda: len(self.ready(number)) == times)

    @contextlib.contextmanager
    def only(self, number: int) -> Iterator[None]:
        """Who connects meanwhile gets that worker: the others are held."""
        others = [pid for each, pid in self.pids.items() if each != number]
        for pid in others:
            os.kill(pid, signal.SIGSTOP)
        try:
            deadline = time.monotonic() + _LIMIT
            while any(_state(pid) != "T" for pid in others):
                assert time.monotonic() < deadline
            yield
        finally:
            for pid in others:
                os.kill(pid, signal.SIGCONT)

    async def told(self, number: int, path: str, **headers: str) -> str:
        """What a worker's own listener for operators answers."""
        url = f"{self.ready(number)[-1]['admin']}{path}"
        async with aiohttp.ClientSession() as session, session.get(url, headers=headers) as answer:
            assert answer.status == 200
            return await answer.text()


@contextlib.asynccontextmanager
async def crew(folder: Path, config: str) -> AsyncIterator[Crew]:
    """Two workers, ready. With the end of the block none is left."""
    file = folder / "homeport.yaml"
    file.write_text(f"version: 1\nlisten: 127.0.0.1:0\nadmin: {{listen: 127.0.0.1:0}}\n{config}")
    process = await asyncio.create_subprocess_exec(
        HOMEPORT,
        "serve",
        "--workers",
        "2",
        "-c",
        file,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        limit=1024 * 1024,
    )
    started = Crew(process)
    pids: list[int] = []
    try:
        await started.line("workers", seconds=_LIMIT, count=2)
        # A line is written a moment after what it tells of, and by whom is chance.
        for number in (1, 2):
            await started.again(number, 1)
        pids += started.pids.values()
        ready = started.ready(1)[0]
        started.api, started.admin = ready["listen"], ready["admin"]
        yield started
    finally:
        if process.returncode is None:
            pids += started.pids.values()
            process.kill()
        await gone(pids)
        await started.close()


async def gone(pids: Iterable[int]) -> None:
    """Wait for the end of processes that are nobody's here."""
    async with asyncio.timeout(_LIMIT):
        while any(map(_runs, pids)):  # noqa: ASYNC110  # other processes
            await asyncio.sleep(0.02)


def _runs(pid: int) -> bool:
    try:
        return _state(pid) != "Z"
    except OSError:
        return False


def _state(pid: int) -> str:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(") ")[2][0]
