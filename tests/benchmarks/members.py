"""The fleet's side of member.py: starts the processes, gives them orders together and takes their results.

1. A member that ends or says nothing in time ends the run, with how it ended, or what its tasks wait for.
2. Members are spread over the cores: each stands for a machine of its own, so none may wait for all others.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import signal
import subprocess
import sys
from collections.abc import AsyncIterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from proxy.breaker.redis_scripts import Keys
from tests.benchmarks import process
from tests.integration.redis_server import RedisServer

_LIMIT = 60.0
"""Seconds for any one answer."""
_LINE = 2**25
"""Bytes that a result may have."""
Lines = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@dataclass(slots=True)
class Members:
    """Processes that wait for orders."""

    redis: RedisServer
    folder: Path
    """Of their logs."""
    processes: list[subprocess.Popen[bytes]]
    lines: list[Lines]
    _orders: int = field(default=0)

    @contextlib.asynccontextmanager
    async def ordered(self, orders: Sequence[dict[str, Any]]) -> AsyncIterator[list[Lines]]:
        """One order for each of the first members, under way as the block begins."""
        self._orders += 1
        namespace = f"bench-{self._orders}"
        chosen = self.lines[: len(orders)]
        for (_, writer), order in zip(chosen, orders, strict=True):
            _tell(writer, {"namespace": namespace, "targets": 1, **order})
        for reader, _ in chosen:
            await self._told(reader)
        await self._listening(Keys.of(namespace).pushes, len(chosen))
        for _, writer in chosen:
            _tell(writer, {"go": True})
        yield chosen

    async def _listening(self, channel: str, count: int) -> None:
        async with asyncio.timeout(_LIMIT):
            while self.redis.command("PUBSUB", "NUMSUB", channel)[1] < count:  # noqa: ASYNC110  # it tells when asked
                await asyncio.sleep(0.02)
        # The sync that follows a subscription.
        await asyncio.sleep(0.2)

    async def stopped(self, chosen: Sequence[Lines]) -> list[dict[str, Any]]:
        """Their results, once they were told to stop."""
        for _, writer in chosen:
            _tell(writer, {"stop": True})
        return [await self.result(each) for each in chosen]

    async def result(self, one: Lines) -> dict[str, Any]:
        """Of a member that has been told to stop, or ends its order by itself."""
        return await self._told(one[0])

    async def _told(self, reader: asyncio.StreamReader) -> dict[str, Any]:
        try:
            async with asyncio.timeout(_LIMIT):
                line = await reader.readline()
        except TimeoutError:
            line = b""
        if not line:
            raise process.NotStarted(await self._why())
        answer: dict[str, Any] = json.loads(line)
        return answer

    async def _why(self) -> str:
        """What became of the processes: how they ended, or what the tasks of those that live wait for."""
        living = [each for each in self.processes if each.poll() is None]
        for each in living:
            each.send_signal(signal.SIGUSR1)
        await asyncio.sleep(1)
        ended = ", ".join("not" if each in living else str(each.returncode) for each in self.processes)
        told = [f"a member gave no answer in {_LIMIT:.0f} s, or ended; how they ended: {ended}"]
        for log in sorted(self.folder.glob("member-*.log")):
            told += [f"{log.stem}: {text}" for text in log.read_text(errors="replace").splitlines()]
        return "\n  ".join(told)


def _tell(writer: asyncio.StreamWriter, said: dict[str, Any]) -> None:
    writer.write(json.dumps(said).encode() + b"\n")


async def start(redis: RedisServer, count: int, folder: Path, stack: contextlib.ExitStack) -> Members:
    """`count` processes, which end with `stack`."""
    arrived: asyncio.Queue[Lines] = asyncio.Queue()
    path = folder / "members"
    server = await asyncio.start_unix_server(lambda *lines: arrived.put_nowait(lines), path, limit=_LINE)
    stack.callback(server.close)
    started = []
    for number in range(count):
        arguments = [sys.executable, "-X", "faulthandler", "-m", "tests.benchmarks.member", str(path), redis.url]
        log = folder / f"member-{number}.log"
        started.append((stack.enter_context(process.running(arguments, log, under_test=bool(number % 2))), log))
    lines = []
    for each, log in started:
        try:
            lines.append(await asyncio.wait_for(arrived.get(), _LIMIT))
        except TimeoutError:
            raise process.NotStarted(process.why(each, log)) from None
    for _, writer in lines:
        stack.callback(writer.close)
    return Members(redis, folder, [each for each, _ in started], lines)
