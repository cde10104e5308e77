"""What a supervisor and its workers say to each other, over a socket that is the worker's stdin.

1. It begins with the worker's seat: who it is, and what it inherits. None of it stands on a command line.
2. Then each byte is a word: DRAIN, END and RELOAD go down, READY comes up. A word waits until it is listened for, so
   none is lost on a worker that is still starting.
3. The end of the line is the end of whoever was at its other end, however that came about.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import Callable
from dataclasses import asdict, dataclass, field

import orjson

DRAIN, END, RELOAD, READY = "d", "e", "r", "+"
"""Stop when what is in flight is done; stop waiting for that; read the configuration again; both listeners are open."""


@dataclass(frozen=True, slots=True)
class Seat:
    """What is a worker's for as long as its supervisor runs, whichever process fills it."""

    number: int
    """From 1."""
    name: str
    """The replica's."""
    token: str = field(repr=False)
    """The operators', where the configuration has none: made up once for all workers."""
    announce: bool
    """Nobody has told of that token yet."""
    listen: tuple[int, ...]
    """Descriptors of sockets, bound by the supervisor: those of the API, which all workers share."""
    admin: tuple[int, ...]
    """This worker's operators' listener."""
    tally: int
    """What says how many connections each has."""

    def written(self) -> bytes:
        """One line."""
        return orjson.dumps(asdict(self)) + b"\n"


class NoSupervisor(Exception):
    """Nobody has said what to be."""


class Line:
    """A worker's end."""

    def __init__(self, descriptor: int) -> None:
        """Take the descriptor over, and wait for the seat. Raises NoSupervisor."""
        try:
            self._socket = socket.socket(fileno=descriptor)
        except OSError as error:
            raise NoSupervisor from error
        try:
            # Unbuffered, so that no word is read with the line.
            with self._socket.makefile("rb", buffering=0) as first:
                said = orjson.loads(first.readline())
            self.seat = Seat(**{**said, "listen": tuple(said["listen"]), "admin": tuple(said["admin"])})
        except (OSError, orjson.JSONDecodeError, TypeError, KeyError) as error:
            self.close()
            raise NoSupervisor from error
        self._socket.setblocking(False)

    async def ready(self) -> None:
        """Tell that this worker serves."""
        with contextlib.suppress(OSError):  # whoever is gone is noticed by `follow`
            await asyncio.get_running_loop().sock_sendall(self._socket, READY.encode())

    async def follow(self, hear: Callable[[str], None]) -> None:
        """`hear` each word, until the supervisor is gone."""
        await words(self._socket, hear)

    def close(self) -> None:
        """There is no more to say."""
        self._socket.close()


async def words(end: socket.socket, hear: Callable[[str], None]) -> None:
    """`hear` each word that comes, until whoever says them is gone. The socket is one that does not block."""
    with contextlib.suppress(OSError):
        while said := await asyncio.get_running_loop().sock_recv(end, 64):
            for word in said.decode("ascii", "replace"):
                hear(word)
