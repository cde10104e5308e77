"""The commands that run until they are told to stop: `serve`, by itself, as a supervisor or as its worker; and `demo`.

1. What a server needs takes most of a second to import: nobody else imports it.
2. A supervisor starts workers with its own command line, so that both read the same configuration in the same way.
"""

from __future__ import annotations

import asyncio
import gc
import os
import sys
import time
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from proxy.config import load, schema, watch
from proxy.record.log import Log, to_stderr
from proxy.workers import shares, supervisor
from proxy.workers.seat import Line, NoSupervisor


@dataclass(frozen=True, slots=True)
class Told:
    """What the command line says of serving."""

    file: Path | None
    """None: the environment alone says what to serve."""
    listen: str | None
    admin: str | None
    """Addresses in place of the file's."""
    workers: int
    worker: int | None
    """Which of them this process is."""

    def read(self) -> schema.Config | tuple[load.Fault, ...]:
        """The configuration as this process serves it, read anew."""
        loaded = load.from_environment(os.environ) if self.file is None else load.read(self.file, os.environ)
        if not isinstance(loaded, tuple):
            loaded = load.override(loaded, listen=self.listen, admin=self.admin)
        if isinstance(loaded, tuple):
            return loaded
        return shares.faults(loaded, self.workers) or shares.own(loaded, self.worker or 1)


def serve(told: Told, say: Callable[[str], None]) -> int | tuple[load.Fault, ...]:
    """Serve until a signal; the exit code, or what the configuration has at fault."""
    try:
        line = None if told.worker is None else Line(0)
    except NoSupervisor:
        return (load.Fault("--as-worker", 0, 0, "", "no supervisor has started this", "say --workers"),)
    watched = None if told.file is None else (told.file, watch.mark(told.file))
    gc.disable()  # until the replica has started: what is made until then stays
    config = told.read()
    if isinstance(config, tuple):
        return config
    if line is None and told.workers > 1:
        gc.enable()
        return supervisor.run(config, told.workers, (sys.executable, *sys.orig_argv[1:], "--as-worker"))
    from proxy import app

    log = to_stderr(time.time, None if line is None else line.seat.name)
    return _run(log, app.serve(config, log, say, told.read, watched, line))


def demo(*, once: bool) -> int:
    """The tour; the exit code."""
    from proxy import app

    log = to_stderr(time.time)
    # The tour tells its own story; the log begins with what the visitor sends.
    log.mute()
    return _run(log, app.demo(log, once=once))


def _run(log: Log, work: Coroutine[Any, Any, bool | None]) -> int:
    import uvloop

    from proxy import app

    try:
        with asyncio.Runner(loop_factory=uvloop.new_event_loop) as runner:
            return 1 if runner.run(work) is False else 0
    except app.CannotStart as error:
        log.close()
        sys.stderr.write(f"homeport: {error}\n")
        return 1
    finally:
        log.close()
