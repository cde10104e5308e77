"""What a test asks of a door, and what it got."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

from proxy.terms import Diagnosis, Progress
from proxy.upstream.client import Answer, Connecting, Door, RetryBudget
from tests.integration.scripted import SOON

HEADERS = (("Content-Type", "application/json"), ("Accept-Encoding", "identity"))
BODY = b'{"model":"m","messages":[{"role":"user","content":"hello"}]}'
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}"


@dataclass(frozen=True, slots=True)
class Got:
    """An exchange, from its first byte to its last."""

    status: int
    headers: tuple[tuple[str, str], ...]
    body: bytes
    end: Diagnosis | None
    """Why it broke; None if it was whole."""
    progress: Progress


@contextlib.asynccontextmanager
async def door(**connecting: Any) -> AsyncIterator[Door]:
    """A door to a source on this machine, closed with the block."""
    async with Door(Connecting(private=True, **connecting), RetryBudget()) as made:
        yield made


async def opened(
    to: Door, url: str, body: bytes = BODY, *, headers: tuple[tuple[str, str], ...] = HEADERS, connect: float = SOON
) -> tuple[Answer | Diagnosis, Progress]:
    """Ask once; the answer is open."""
    progress = Progress(time.monotonic())
    async with asyncio.timeout(SOON):
        return await to.post(url, headers, body, progress, connect), progress


async def rest(answer: Answer) -> tuple[bytes, Diagnosis | None]:
    """Its body, and why it broke."""
    body = bytearray()
    async with asyncio.timeout(SOON):
        while chunk := await answer.chunk():
            if isinstance(chunk, Diagnosis):
                return bytes(body), chunk
            body += chunk
    return bytes(body), None


async def ask(to: Door, url: str, body: bytes = BODY, **more: Any) -> Got:
    """Ask once and read to the end."""
    answer, progress = await opened(to, url, body, **more)
    if isinstance(answer, Diagnosis):
        return Got(0, (), b"", answer, progress)
    received, end = await rest(answer)
    answer.close()
    return Got(answer.status, answer.headers, received, end, progress)
