"""A real Redis for tests: a process of their own on a free port, with nothing kept on disk."""

from __future__ import annotations

import contextlib
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from redis import Redis
from redis.backoff import NoBackoff
from redis.exceptions import RedisError
from redis.retry import Retry

_PATIENCE = 10.0
"""Seconds for a start."""


class RedisServer:
    """Started at once. `options` are redis-server's own, such as `"--maxmemory", "2mb"`."""

    def __init__(self, *options: str, tls: bool = False) -> None:
        if shutil.which("redis-server") is None:
            pytest.fail("redis-server is not on PATH; these tests need a real one: apt-get install redis-server")
        self.folder = Path(tempfile.mkdtemp(prefix="homeport-redis-"))
        self.socket = self.folder / "s"
        self.password: str | None = None
        """That `command` needs by now."""
        self._options, self._tls = options, tls
        for _ in range(5):
            # Somebody else may take the port in between.
            self.port = _free_port()
            if self._start():
                return
        pytest.fail(f"redis-server did not start: {self.said()}")

    @property
    def url(self) -> str:
        """Without a password."""
        return f"{'rediss' if self._tls else 'redis'}://127.0.0.1:{self.port}"

    def said(self) -> str:
        """Its log."""
        return (self.folder / "log").read_text()

    def command(self, *words: str | bytes | float) -> Any:
        """What the server answers. Asked through its Unix socket, as the user that may do everything."""
        once = Retry(NoBackoff(), 0)
        client: Any = Redis(unix_socket_path=str(self.socket), password=self.password, socket_timeout=5.0, retry=once)
        with contextlib.closing(client):
            return client.execute_command(*words)

    def pause(self) -> None:
        """Freeze: connections stand, and nothing is answered."""
        self._process.send_signal(signal.SIGSTOP)

    def resume(self) -> None:
        """Go on, with whatever was sent meanwhile."""
        self._process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        """As a crash does."""
        self._process.kill()
        self._process.wait()

    def restart(self, *options: str) -> None:
        """Kill it, and start another on the same port, with these options too. It is empty unless SAVE was called."""
        self.kill()
        self._options += options
        deadline = time.monotonic() + _PATIENCE
        while not self._start():
            assert time.monotonic() < deadline, self.said()

    def stop(self) -> None:
        """For good."""
        self.kill()
        shutil.rmtree(self.folder)

    def _start(self) -> bool:
        port = ("--port", "0", "--tls-port") if self._tls else ("--port",)
        listen = ("--bind", "127.0.0.1", "--unixsocket", str(self.socket), *port, str(self.port))
        keep = ("--save", "", "--appendonly", "no", "--dir", str(self.folder), "--logfile", "log")
        self._process = subprocess.Popen(["redis-server", *listen, *keep, *self._options])
        started = False
        try:
            deadline = time.monotonic() + _PATIENCE
            while not started and self._process.poll() is None and time.monotonic() < deadline:
                time.sleep(0.01)
                with contextlib.suppress(RedisError):
                    started = self.command("INFO", "server")["process_id"] == self._process.pid
        finally:
            if not started:
                self.kill()
        return started


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


@contextlib.contextmanager
def running(*options: str, tls: bool = False) -> Iterator[RedisServer]:
    """Stopped at the end."""
    server = RedisServer(*options, tls=tls)
    try:
        yield server
    finally:
        server.stop()
