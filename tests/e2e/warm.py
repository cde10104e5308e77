"""Start the command as a process that has imported already: most of what a start costs is imports.

1. A host imports what `homeport serve` imports, once, and does nothing else: no thread, no event loop, no setting read.
   Each start is a fork of it, which takes over arguments, environment, folder and output, and runs the command's `main`
   to the end of the interpreter. So a test's replicas differ from others in when they imported, and in nothing they do.
2. The process is its tester's own child, as any other: it is signalled, waited for and looked at by its own pid.
3. Who sets what Python reads at its start (`PYTHON…`) or wants workers, which are started with their supervisor's own
   command line, gets a process from the beginning: `start` sees to that. So does every test of the command itself.
4. Where the kernel has no handles of processes (it is Linux that has them) all starts are from the beginning.
"""

from __future__ import annotations

import asyncio
import atexit
import contextlib
import ctypes
import functools
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import NoReturn

import orjson

import proxy

HOMEPORT = Path(sys.executable).with_name("homeport")
LINE = 1024 * 1024
"""Bytes of a line that is read of a replica."""
_ROOT = Path(proxy.__file__).parents[1]
_SUBREAPER = 36
"""prctl's PR_SET_CHILD_SUBREAPER: orphans below become this process's children."""


class _Output(asyncio.StreamReaderProtocol):
    """One of its outputs."""

    def __init__(self) -> None:
        self.reader, self.over = asyncio.StreamReader(LINE), asyncio.Event()
        super().__init__(self.reader)

    def connection_lost(self, exc: Exception | None) -> None:
        super().connection_lost(exc)
        self.over.set()


class Warm:
    """A process that was forked for us; as much of asyncio's Process as tests use."""

    def __init__(self, pid: int, stdout: _Output | None, stderr: _Output) -> None:
        self.pid, self._outputs = pid, [each for each in (stdout, stderr) if each is not None]
        self.stdout = None if stdout is None else stdout.reader
        self.stderr: asyncio.StreamReader | None = stderr.reader
        self.returncode: int | None = None
        self._ended = asyncio.Event()
        self._handle = os.pidfd_open(pid)
        self._loop = asyncio.get_running_loop()
        self._loop.add_reader(self._handle, self._end)

    def _end(self) -> None:
        self._loop.remove_reader(self._handle)
        os.close(self._handle)
        _, status = os.waitpid(self.pid, 0)
        self.returncode = os.waitstatus_to_exitcode(status)
        self._ended.set()

    async def wait(self) -> int:
        """Its exit code, once it has ended and all that it has said is here."""
        await self._ended.wait()
        for each in self._outputs:
            await each.over.wait()
        assert self.returncode is not None
        return self.returncode

    def send_signal(self, number: int) -> None:
        """Unless it has ended."""
        if self.returncode is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        """SIGTERM."""
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        """SIGKILL."""
        self.send_signal(signal.SIGKILL)


Process = asyncio.subprocess.Process | Warm


async def start(*arguments: object, env: Mapping[str, str], stdout: bool = False) -> Process:
    """`homeport` with these arguments; what it says on stderr, and on stdout if that is asked for, is to be read."""
    words = [str(each) for each in arguments]
    if not _possible() or "--workers" in words or not _as_here(env):
        return await asyncio.create_subprocess_exec(
            HOMEPORT,
            *words,
            stdout=asyncio.subprocess.PIPE if stdout else None,
            stderr=asyncio.subprocess.PIPE,
            env=dict(env),
            limit=LINE,
        )
    errors, error_end = os.pipe()
    out, out_end = os.pipe() if stdout else (-1, os.dup(1))
    try:
        document = {"words": words, "env": dict(env), "cwd": str(Path.cwd())}
        pid = _forked(_host(), orjson.dumps(document), out_end, error_end)
    finally:
        os.close(error_end)
        os.close(out_end)
    return Warm(pid, await _output(out) if stdout else None, await _output(errors))


async def _output(descriptor: int) -> _Output:
    _, protocol = await asyncio.get_running_loop().connect_read_pipe(_Output, os.fdopen(descriptor, "rb", 0))
    return protocol


def _as_here(env: Mapping[str, str]) -> bool:
    """Says it nothing to Python that the host was not told? The host imports this tree, which is as tests want it."""
    paths = (None, str(_ROOT), os.environ.get("PYTHONPATH"))
    names = {each for each in {*env, *os.environ} if each.startswith("PYTHON")} - {"PYTHONPATH"}
    return env.get("PYTHONPATH") in paths and all(env.get(each) == os.environ.get(each) for each in names)


@functools.cache
def _possible() -> bool:
    """Has the kernel what this needs, and does it let us?"""
    if sys.platform != "linux":
        return False
    try:
        os.close(os.pidfd_open(os.getpid()))
    except OSError:
        return False
    return True


def _forked(host: socket.socket, document: bytes, *output: int) -> int:
    """The pid of a new process, which is ours."""
    libc = ctypes.CDLL(None, use_errno=True)
    # Only for as long as that takes: what else is orphaned is nobody's, and tests wait until it is gone.
    libc.prctl(_SUBREAPER, 1, 0, 0, 0)
    try:
        socket.send_fds(host, [len(document).to_bytes(4, "big")], output)
        host.sendall(document)
        said = host.recv(4)
    finally:
        libc.prctl(_SUBREAPER, 0, 0, 0, 0)
    assert len(said) == 4, "the host of warm starts has ended"
    return int.from_bytes(said, "big")


@functools.cache
def _host() -> socket.socket:
    """Where to ask for a process. The host ends with this one, whose end of the connection closes with it."""
    ours, theirs = socket.socketpair()
    with theirs:
        host = subprocess.Popen(
            [sys.executable, "-m", "tests.e2e.warm", str(theirs.fileno())],
            pass_fds=[theirs.fileno()],
            cwd=_ROOT,
        )

    def end() -> None:
        with contextlib.suppress(OSError):
            ours.close()
        host.wait()

    atexit.register(end)
    return ours


# -- in the host


def _serve(asked: socket.socket) -> dict[str, object] | None:
    """Fork for each who asks. Returns in each fork what is asked of it; None in the host, at its end."""
    while True:
        size, descriptors = _received(asked)
        if not size:
            return None
        raw = b""
        while len(raw) < size:
            raw += asked.recv(size - len(raw))
        told, tell = os.pipe()
        between = os.fork()
        if between:
            # The fork's fork loses its parent here, and is the child of who asked before that is told of it.
            os.waitpid(between, 0)
            asked.sendall(os.read(told, 4))
            for each in (told, tell, *descriptors):
                os.close(each)
            continue
        child = os.fork()
        if child:
            os.write(tell, child.to_bytes(4, "big"))
            os._exit(0)
        for to, descriptor in enumerate(descriptors, 1):
            os.dup2(descriptor, to)
        asked.detach()
        os.closerange(3, 65536)
        document: dict[str, object] = orjson.loads(raw)
        return document


def _received(asked: socket.socket) -> tuple[int, list[int]]:
    head, descriptors, _, _ = socket.recv_fds(asked, 4, 2)
    return int.from_bytes(head, "big"), descriptors


def _main() -> NoReturn:
    import uvloop  # noqa: F401  # what serving.py imports on its way

    from proxy import app, cli  # noqa: F401

    document = _serve(socket.socket(fileno=int(sys.argv[1])))
    if document is None:
        os._exit(0)
    words, env, cwd = document["words"], document["env"], document["cwd"]
    assert isinstance(words, list)
    assert isinstance(env, dict)
    os.environ.clear()
    os.environ.update(env)
    os.chdir(str(cwd))
    sys.argv = [str(HOMEPORT), *words]
    sys.exit(cli.main())


if __name__ == "__main__":
    _main()
