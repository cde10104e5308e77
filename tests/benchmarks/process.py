"""Processes that the benchmark starts, and surely ends.

1. Whatever was started ends when its `with` block does, by its process id: asked first, killed after 5 s.
2. With two cores or more, candidates run on one, the load and its upstream on another.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import resource
import signal
import socket
import subprocess
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.benchmarks import load, measure

_READY_LIMIT = 60.0
"""Seconds; ten thousand assistants take a while on a machine that others use too."""
_CORES = sorted(os.sched_getaffinity(0))
PINNED = len(_CORES) > 1
_LOAD, _TESTED = _CORES[:1], _CORES[-1:]
"""Where either may run."""


class NotStarted(Exception):
    """A process ended, or did not get ready, before it was put to work."""


def settle_here() -> None:
    """Keep this process, and what it starts for the load, on the load's core, with as many files as it may have."""
    resource.setrlimit(resource.RLIMIT_NOFILE, (files(), files()))
    os.sched_setaffinity(0, _LOAD)


def files() -> int:
    """How many a process may have open."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)[1]


@contextlib.contextmanager
def anywhere() -> Iterator[None]:
    """Nobody keeps to a core, for as long as the block."""
    held = [*_LOAD], [*_TESTED]
    for cores in (_LOAD, _TESTED):
        cores[:] = _CORES
    settle_here()
    try:
        yield
    finally:
        _LOAD[:], _TESTED[:] = held
        settle_here()


def free_ports(count: int) -> list[int]:
    """Ports on loopback that nobody listens at now."""
    with contextlib.ExitStack() as stack:
        held = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in held:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in held]


def free_neighbours(count: int) -> int:
    """The first of so many ports in a row that nobody listens at now."""
    while True:
        (first,) = free_ports(1)
        with contextlib.suppress(OSError), contextlib.ExitStack() as held:
            for port in range(first, first + count):
                held.enter_context(socket.socket()).bind(("127.0.0.1", port))
            return first


@contextlib.contextmanager
def running(arguments: Sequence[str], stderr: Path, *, under_test: bool) -> Iterator[subprocess.Popen[bytes]]:
    """Run a process for as long as the block; its stderr goes to a file."""
    process = _start(arguments, stderr, under_test=under_test)
    try:
        yield process
    finally:
        _end(process)


def _start(arguments: Sequence[str], stderr: Path, *, under_test: bool) -> subprocess.Popen[bytes]:
    # A child inherits the core from its first instruction on; setting it afterwards would race with nginx's worker.
    os.sched_setaffinity(0, _TESTED if under_test else _LOAD)
    try:
        with stderr.open("wb") as sink:
            # In a session of its own, Ctrl-C reaches the benchmark alone, which then ends its processes in order.
            return subprocess.Popen(
                arguments, stdin=subprocess.DEVNULL, stdout=sink, stderr=sink, start_new_session=True
            )
    finally:
        settle_here()


def _end(process: subprocess.Popen[bytes]) -> None:
    if process.poll() is not None:
        return
    family = measure.tree(process.pid)
    process.terminate()
    try:
        process.wait(5)
    except subprocess.TimeoutExpired:
        for pid in family:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        process.wait()


async def ready(process: subprocess.Popen[bytes], port: int, path: str, stderr: Path) -> float:
    """Seconds until a GET of `path` gives 200. Raises NotStarted with the end of what the process said."""
    began = time.perf_counter()
    while time.perf_counter() - began < _READY_LIMIT:
        if process.poll() is not None:
            break
        with contextlib.suppress(OSError, load.WrongAnswer):
            connection = await load.connect(port)
            try:
                status, _ = await asyncio.wait_for(connection.ask(load.get(path)), 2)
            finally:
                connection.close()
            if status == 200:
                return time.perf_counter() - began
        await asyncio.sleep(0.002)
    raise NotStarted(why(process, stderr))


def why(process: subprocess.Popen[bytes], stderr: Path) -> str:
    said = stderr.read_text(errors="replace").strip().splitlines()[-5:]
    return "\n  ".join([f"{process.args!r} did not get ready; it said:", *said])
