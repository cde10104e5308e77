"""What a worker is told by whoever started it, and that it is told."""

from __future__ import annotations

import asyncio
import os
import socket

import pytest

from proxy.workers.seat import DRAIN, END, READY, RELOAD, Line, NoSupervisor, Seat, words

_SEAT = Seat(2, "r-2", "tok-SECRET", False, (3, 4), (5,), 6)


def test_a_seat_shows_no_token() -> None:
    """It may be logged."""
    assert "SECRET" not in repr(_SEAT)


async def test_a_word_waits_until_it_is_listened_for() -> None:
    """What follows the seat at once is heard in its order; the end of the supervisor ends the listening."""
    ours, theirs = socket.socketpair()
    ours.sendall(_SEAT.written() + (RELOAD + DRAIN).encode())
    line = Line(theirs.detach())
    assert line.seat == _SEAT
    heard: list[str] = []
    following = asyncio.ensure_future(line.follow(heard.append))
    await line.ready()
    ours.setblocking(False)
    told: list[str] = []
    telling = asyncio.ensure_future(words(ours, told.append))
    async with asyncio.timeout(5):
        while not (told and heard):  # noqa: ASYNC110  # the loop has to turn
            await asyncio.sleep(0)
        ours.send(END.encode())
        while len(heard) < 3:  # noqa: ASYNC110  # likewise
            await asyncio.sleep(0)
        ours.shutdown(socket.SHUT_RDWR)
        await asyncio.gather(following, telling)
    ours.close()
    assert (heard, told) == ([RELOAD, DRAIN, END], [READY])
    await line.ready()  # nobody is there to be told, which is no fault of its own
    line.close()


@pytest.mark.parametrize("said", [b"", b"no seat\n", b"1\n", b"{}\n", b'{"listen": [], "admin": []}\n'])
def test_what_is_no_seat_is_refused(said: bytes) -> None:
    """Whoever is at the other end."""
    ours, theirs = socket.socketpair()
    ours.sendall(said)
    ours.close()
    with pytest.raises(NoSupervisor):
        Line(theirs.detach())


def test_what_is_no_line_is_refused() -> None:
    """A terminal, a file, a pipe."""
    ends = os.pipe()
    with pytest.raises(NoSupervisor):
        Line(ends[0])
    for end in ends:
        os.close(end)
