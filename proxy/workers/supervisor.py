"""Workers are started, looked after and stopped: each a process of its own that serves as a replica does.

1. Every address is bound here, once, and inherited: a worker that dies takes no waiting connection with it, and whoever
   takes its seat finds the same addresses.
2. The first worker starts alone, so that what keeps all of them from starting is told once. While they start, or while
   nobody serves, a worker that cannot start ends them all, with its exit code; at any other time it is tried again.
3. A worker that dies is replaced at once; one that dies early again and again, after longer and longer pauses.
4. A first SIGTERM or SIGINT drains them all, a second one ends the drains; who has not ended then is killed.
5. Workers have sessions of their own: a terminal's Ctrl-C reaches the supervisor alone, which passes it on once.
"""

from __future__ import annotations

import asyncio
import contextlib
import secrets
import signal
import socket
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace

from proxy.config.addresses import Address, cannot_listen
from proxy.config.schema import Config
from proxy.record.log import Log, to_stderr
from proxy.workers import shares
from proxy.workers.seat import DRAIN, END, READY, RELOAD, Seat, words
from proxy.workers.tally import Tally, shared

_STEADY = 10.0
"""Seconds that a worker has to live for its death not to be an early one."""
_PAUSE, _LONGEST = 0.5, 30.0
"""Seconds of the first pause, and of any."""
_LAST = 15.0
"""Seconds from the end of the drains to the kill; a replica's own limit for its end is 10."""
_ORDERLY = (0, -signal.SIGTERM, -signal.SIGINT)
"""How a worker ends that was told to. The signals are for one that had not yet learnt to obey them."""


class _CannotListen(Exception):
    """An address is not to be had here."""


def run(config: Config, count: int, command: Sequence[str]) -> int:
    """Serve with `count` workers, which `command` starts, until told to stop; the exit code."""
    log = to_stderr(time.time)
    try:
        return asyncio.run(_supervise(config, count, command, log))
    except _CannotListen as error:
        log.close()
        sys.stderr.write(f"homeport: {error}\n")
        return 1
    finally:
        log.close()


def pause(early: int) -> float:
    """Seconds to wait before a worker is replaced, after so many early deaths in a row."""
    return 0.0 if early < 2 else min(_LONGEST, _PAUSE * 2.0 ** min(early - 2, 20))


async def _supervise(config: Config, count: int, command: Sequence[str], log: Log) -> int:
    bound: list[asyncio.Server] = []
    try:
        listen = await _bind(config.listen, bound)
        admins = [await _bind(shares.operators(config, number), bound) for number in range(1, count + 1)]
        name, token = secrets.token_hex(5), secrets.token_urlsafe(24)
        with shared(count) as tally:
            seats = [
                Seat(number, f"{name}-{number}", token, number == 1, listen, admin, tally)
                for number, admin in enumerate(admins, start=1)
            ]
            fleet = Fleet(seats, command, log)
            with _signals(fleet):
                return await fleet.serve()
    finally:
        for server in bound:
            server.close()


async def _bind(address: Address, bound: list[asyncio.Server]) -> tuple[int, ...]:
    """Descriptors of sockets that are bound and do not listen yet: who calls too early is refused and need not wait."""
    loop = asyncio.get_running_loop()
    try:
        server = await loop.create_server(asyncio.Protocol, address.host, address.port, start_serving=False)
    except OSError as error:
        raise _CannotListen(cannot_listen(address, error)) from error
    bound.append(server)
    return tuple(each.fileno() for each in server.sockets)


@contextlib.contextmanager
def _signals(fleet: Fleet) -> Iterator[None]:
    loop = asyncio.get_running_loop()
    # Not the loop's own way, as for a replica: one signal more while it closes would make an orderly end a crash.
    acts = {signal.SIGTERM: fleet.stop, signal.SIGINT: fleet.stop, signal.SIGHUP: fleet.reload}

    def act(number: int, _: object) -> None:
        loop.call_soon_threadsafe(acts[signal.Signals(number)])

    for number in acts:
        signal.signal(number, act)
    try:
        yield
    finally:
        for number in acts:
            signal.signal(number, signal.SIG_IGN)


class _Worker:
    """A seat, and the process that has it now."""

    def __init__(self, seat: Seat) -> None:
        self.seat = seat
        self.tally = Tally(seat.tally, seat.number)
        self.process: asyncio.subprocess.Process | None = None
        self.line: socket.socket | None = None
        self.serves = False
        self.has_served = False
        self.early = 0
        """Early deaths in a row."""

    def tell(self, words: bytes) -> None:
        """Say it, if anybody is there to hear it."""
        if self.line is not None:
            with contextlib.suppress(OSError):
                self.line.send(words)


class Fleet:
    """All workers, from the first start to the last end."""

    def __init__(self, seats: Sequence[Seat], command: Sequence[str], log: Log) -> None:
        self._workers = [_Worker(seat) for seat in seats]
        self._command, self._log = command, log
        self._serving, self._leaving = asyncio.Event(), asyncio.Event()
        """Somebody serves, or has; no worker is replaced any more."""
        self._last_words = ""
        """What also who has just started is told."""
        self._code = 0

    async def serve(self) -> int:
        """Until all have ended: the exit code."""
        first, *others = self._workers
        async with asyncio.TaskGroup() as group:
            keeping = group.create_task(self._keep(first))
            begun = group.create_task(self._serving.wait())
            await asyncio.wait({keeping, begun}, return_when=asyncio.FIRST_COMPLETED)
            begun.cancel()
            for worker in others:
                group.create_task(self._keep(worker))
        return self._code

    def stop(self) -> None:
        """Drain, or end the drains if that was asked before."""
        if not self._leaving.is_set():
            self._leave()
            return
        self._last_words = DRAIN + END
        self._tell(END)
        asyncio.get_running_loop().call_later(_LAST, self._kill)

    def reload(self) -> None:
        """Every worker reads the configuration again."""
        self._tell(RELOAD)

    def _leave(self) -> None:
        self._leaving.set()
        self._last_words = DRAIN
        self._tell(DRAIN)

    def _tell(self, word: str) -> None:
        for worker in self._workers:
            worker.tell(word.encode())

    def _kill(self) -> None:
        for worker in self._workers:
            if worker.process is not None and worker.process.returncode is None:
                with contextlib.suppress(ProcessLookupError):
                    worker.process.kill()

    async def _keep(self, worker: _Worker) -> None:
        """Have the seat taken, again and again, until they leave."""
        clock = asyncio.get_running_loop().time
        while not self._leaving.is_set():
            began = clock()
            code = await self._run(worker)
            served, worker.serves = worker.serves, False
            if self._leaving.is_set():
                if code not in _ORDERLY:
                    self._ended(worker, code)
                    self._code = self._code or 1
                return
            if not served and code > 0 and self._needed():
                self._code = code
                self._leave()
                return
            worker.early = worker.early + 1 if clock() - began < _STEADY else 0
            self._ended(worker, code, again_in_s=pause(worker.early))
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(pause(worker.early)):
                    await self._leaving.wait()

    def _needed(self) -> bool:
        """Without one that starts, the fleet is not what was asked for."""
        return not all(each.has_served for each in self._workers) or not any(each.serves for each in self._workers)

    async def _run(self, worker: _Worker) -> int:
        """One process, from its start to its end: the exit code, or less than 0 for the signal that ended it."""
        ours, theirs = socket.socketpair()
        seat = worker.seat
        with ours:
            ours.setblocking(False)
            with theirs:
                try:
                    worker.process = await asyncio.create_subprocess_exec(
                        *self._command,
                        str(seat.number),
                        stdin=theirs.fileno(),
                        pass_fds=(*seat.listen, *seat.admin, seat.tally),
                        start_new_session=True,
                    )
                except OSError as error:
                    self._log.event("worker_not_started", replica=seat.name, why=error.strerror)
                    return 1
            worker.line = ours
            worker.tell(seat.written() + self._last_words.encode())
            await words(ours, lambda word: self._heard(worker, word))
            code = await worker.process.wait()
            worker.tally.leave()
            worker.line = None
        return code

    def _heard(self, worker: _Worker, word: str) -> None:
        if word != READY:
            return
        worker.serves = True
        self._serving.set()
        if not worker.has_served:
            worker.has_served, worker.seat = True, replace(worker.seat, announce=False)
            if all(each.has_served for each in self._workers):
                self._log.event("workers", count=len(self._workers))

    def _ended(self, worker: _Worker, code: int, **facts: float) -> None:
        why = f"exit code {code}" if code >= 0 else _name(-code)
        self._log.event("worker_ended", replica=worker.seat.name, why=why, **facts)


def _name(number: int) -> str:
    try:
        return signal.Signals(number).name
    except ValueError:
        return f"signal {number}"
