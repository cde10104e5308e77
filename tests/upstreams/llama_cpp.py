"""llama.cpp's server, a real one that nobody here wrote, as a process of its own before the tiny model.

1. It is the server in xllamacpp's wheel, which needs no compiler; here it is only told a model, and to be frugal.
2. A process of its own, so that it can be stopped and killed like any server. It ends when its standard input does.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import signal
import sys
from collections.abc import AsyncIterator
from dataclasses import dataclass
from pathlib import Path

KEY = "key-of-the-real-server"
_START = 20.0
"""Seconds; a hundred times what it needs."""


@dataclass(frozen=True, slots=True)
class Server:
    """It listens; it speaks chat completions, Responses, Anthropic's Messages and embeddings."""

    address: str
    process: asyncio.subprocess.Process

    @property
    def base_url(self) -> str:
        """For a source."""
        return f"{self.address}/v1"

    def hold(self) -> None:
        """Connections are still taken, by the system, and nothing is answered."""
        self.process.send_signal(signal.SIGSTOP)

    async def kill(self) -> None:
        """As when the system is out of memory."""
        if self.process.returncode is None:
            self.process.kill()
        await self.process.wait()


@contextlib.asynccontextmanager
async def serve(model: Path, *, context: int) -> AsyncIterator[Server]:
    """A running server whose requests may have so many tokens each."""
    with model.with_suffix(".log").open("ab") as log:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            Path(__file__),
            model,
            str(context),
            stdin=asyncio.subprocess.PIPE,
            stdout=asyncio.subprocess.PIPE,
            stderr=log,
        )
    server = Server("", process)
    try:
        assert process.stdout is not None
        async with asyncio.timeout(_START):
            line = await process.stdout.readline()
        assert line.startswith(b"http://"), f"it did not start: {line!r}"
        yield Server(line.decode().strip(), process)
    finally:
        await server.kill()


def _main(model: str, context: str) -> None:
    """Serve until standard input ends."""
    llama = importlib.import_module("xllamacpp")  # no types come with it
    params = llama.CommonParams()
    params.model.path = model
    params.model_alias = {"tiny"}
    params.hostnames, params.port, params.n_threads_http = ["127.0.0.1"], 0, 4
    params.api_keys = [KEY]
    params.n_ctx, params.n_parallel = int(context), 1
    params.cpuparams.n_threads = params.cpuparams_batch.n_threads = 1
    params.sampling.temp = 0.0
    params.embedding, params.pooling_type = True, llama.llama_pooling_type.LLAMA_POOLING_TYPE_MEAN
    params.warmup = params.fit_params = False
    server = llama.Server(params)
    sys.stdout.write(f"{server.listening_address}\n")
    sys.stdout.flush()
    sys.stdin.read()


if __name__ == "__main__":
    _main(*sys.argv[1:])
