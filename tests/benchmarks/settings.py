"""A Homeport of many assistants, and how a section starts it and its upstream.

1. Sources are shared by all assistants, and so are targets: there are 32 of them however many assistants there are.
2. What a section asks for beside that is written as a configuration has it.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.benchmarks import load, process

TIERS, SOURCES = 4, 8
TOKEN = "made-up-for-the-benchmark"


def assistant(number: int) -> str:
    """Its name, as long as any other's."""
    return f"assistant-{number:05}"


def config(listen: int, admin: int, port: int, assistants: int, **more: Any) -> str:
    """`assistants` of them, over a few sources that they share; JSON is YAML."""
    source = {"kind": "openai-compatible", "base_url": f"http://127.0.0.1:{port}/v1", "max_connections": 10_000}
    chains = {}
    for number in range(assistants):
        primary, *rest = (
            {"source": f"s{(number + tier) % SOURCES}", "model": f"model-{tier}"} for tier in range(TIERS)
        )
        chains[assistant(number)] = {"primary": primary, "fallbacks": rest}
    return json.dumps(
        {
            "version": 1,
            "listen": f"127.0.0.1:{listen}",
            "admin": {"listen": f"127.0.0.1:{admin}", "token": TOKEN},
            "sources": {f"s{number}": source for number in range(SOURCES)},
            "assistants": chains,
            **more,
        }
    )


@dataclass(frozen=True, slots=True)
class Serving:
    """A Homeport at work."""

    process: subprocess.Popen[bytes]
    listen: int
    admin: int
    file: Path
    took: float
    """Seconds to ready."""

    @property
    def pid(self) -> int:
        return self.process.pid


async def upstream(folder: Path, stack: contextlib.ExitStack, module: str = "upstream", *words: str) -> int:
    """The port of a mock upstream, which ends with `stack`."""
    port, dead = process.free_ports(2)
    log = folder / f"{module}-{port}.log"
    arguments = [sys.executable, "-m", f"tests.benchmarks.{module}", str(port), *(words or (str(dead), "0"))]
    started = stack.enter_context(process.running(arguments, log, under_test=False))
    await process.ready(started, port, "/connections", log)
    return port


async def serve(
    folder: Path, stack: contextlib.ExitStack, port: int, assistants: int, *, workers: int = 1, **more: Any
) -> Serving:
    """A Homeport before that upstream, which ends with `stack`."""
    (listen,), admin = process.free_ports(1), process.free_neighbours(workers)
    place = folder / f"homeport-{listen}"
    place.mkdir()
    file, log = place / "homeport.yaml", place / "log"
    file.write_text(config(listen, admin, port, assistants, **more))
    command = [sys.executable, "-m", "proxy", "serve", "-c", str(file)]
    if workers > 1:
        command += ["--workers", str(workers)]
    started = stack.enter_context(process.running(command, log, under_test=True))
    # Workers have operators' ports in a row, and start one after the other.
    took = await process.ready(started, admin + workers - 1, "/readyz", log)
    return Serving(started, listen, admin, file, took)


async def ask(port: int, request: bytes) -> bytes:
    """The body of one answer. Raises WrongAnswer where it is no 200."""
    connection = await load.connect(port)
    try:
        status, body = await connection.ask(request)
    finally:
        connection.close()
    if status != 200:
        raise load.WrongAnswer(f"status {status}: {body[:300]!r}")
    return body


async def reload(serving: Serving) -> float:
    """Seconds that it takes to put a changed file into force: one tier's model is another."""
    text = serving.file.read_text()
    was, now = ("model-3", "model-9")[:: -1 if "model-9" in text else 1]
    replaced = serving.file.with_suffix(".new")
    replaced.write_text(text.replace(f'"{was}"', f'"{now}"', 1))
    os.replace(replaced, serving.file)
    head = f"POST /api/reload HTTP/1.1\r\nHost: 127.0.0.1\r\nAuthorization: Bearer {TOKEN}\r\nContent-Length: 0\r\n\r\n"
    began = time.perf_counter()
    told = json.loads(await ask(serving.admin, head.encode()))
    if told["result"] != "ok":
        raise load.WrongAnswer(f"a reload was {told['result']}: {told['faults']}")
    return time.perf_counter() - began
