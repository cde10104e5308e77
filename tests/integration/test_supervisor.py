"""The supervisor with workers that are small scripts: what it makes of their ends, and how long it waits."""

from __future__ import annotations

import asyncio
import contextlib
import io
import os
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import orjson
import pytest

from proxy.record.log import Log
from proxy.workers import supervisor
from proxy.workers.seat import Seat
from proxy.workers.supervisor import Fleet, pause
from proxy.workers.tally import shared

_SOON = 20.0
_SERVE = "say('+'); hear('d'); exit(0)"


def _command(script: str) -> Sequence[str]:
    """`script` as a worker: `number` is its own, `folder` the test's; it may `say` and `hear` words."""
    prelude = """
import os, signal, sys, time
from pathlib import Path
number, folder, exit = int(sys.argv[1]), Path.cwd(), os._exit
seat = b""
while not seat.endswith(b"\\n"): seat += os.read(0, 1)
def say(word): os.write(0, word.encode())
def hear(word):
    while (heard := os.read(0, 1).decode()) != word:
        if not heard: exit(9)
def times():
    with (folder / f"starts-{number}").open("a") as file: file.write("x")
    return len((folder / f"starts-{number}").read_text())
"""
    return sys.executable, "-S", "-c", prelude + script


class _Watched:
    """A fleet and what its log says."""

    def __init__(self, script: str, count: int = 2) -> None:
        self._stream = io.BytesIO()
        self._log = Log(self._stream, human=False, unix=time.time)
        self._stack = contextlib.ExitStack()
        tally = self._stack.enter_context(shared(count))
        seats = [Seat(number, f"r-{number}", "secret", number == 1, (), (), tally) for number in range(1, count + 1)]
        self.fleet = Fleet(seats, _command(script), self._log)
        self.ended = asyncio.ensure_future(self.fleet.serve())

    def said(self, event: str) -> list[dict[str, object]]:
        lines = map(orjson.loads, self._stream.getvalue().splitlines())
        return [line for line in lines if line["event"] == event]

    async def until(self, event: str, count: int = 1) -> None:
        async with asyncio.timeout(_SOON):
            while len(self.said(event)) < count:  # noqa: ASYNC110  # a thread writes it
                await asyncio.sleep(0.01)

    async def code(self) -> int:
        try:
            async with asyncio.timeout(_SOON):
                return await self.ended
        finally:
            self._log.close()
            self._stack.close()


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


async def test_a_first_worker_that_cannot_start_is_the_only_one(tmp_path: Path) -> None:
    """Its exit code is the supervisor's, and nobody else is started."""
    watched = _Watched("times(); exit(2)")
    assert await watched.code() == 2
    assert os.listdir(tmp_path) == ["starts-1"]


async def test_what_one_of_them_cannot_do_at_the_start_ends_them_all() -> None:
    """Who serves already is drained."""
    watched = _Watched(f"if number == 2: exit(3)\n{_SERVE}")
    assert await watched.code() == 3
    assert watched.said("workers") == []


async def test_who_cannot_start_later_is_tried_again_until_nobody_serves(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With longer and longer pauses, as long as another serves."""
    monkeypatch.setattr(supervisor, "_PAUSE", 0.05)
    script = """
if times() > 1: exit(4)
say('+')
while not (folder / f"end-{number}").exists(): time.sleep(0.01)
os.kill(os.getpid(), signal.SIGKILL)
"""
    watched = _Watched(script)
    await watched.until("workers")
    (tmp_path / "end-2").touch()
    await watched.until("worker_ended", 4)
    (tmp_path / "end-1").touch()
    assert await watched.code() == 4
    told = [(line["why"], line.get("again_in_s")) for line in watched.said("worker_ended") if line["replica"] == "r-2"]
    assert told[:4] == [("SIGKILL", 0.0), ("exit code 4", 0.05), ("exit code 4", 0.1), ("exit code 4", 0.2)]


async def test_a_worker_that_is_killed_while_it_starts_is_started_again() -> None:
    """That is no fault of the configuration."""
    watched = _Watched(f"if times() == 1: os.kill(os.getpid(), signal.SIGKILL)\n{_SERVE}")
    await watched.until("workers")
    watched.fleet.stop()
    assert await watched.code() == 0
    assert [line["why"] for line in watched.said("worker_ended")] == ["SIGKILL"] * 2


async def test_who_takes_a_seat_is_who_had_it(tmp_path: Path) -> None:
    """Number, name, token and addresses are the same; only the token is told once."""
    kept = '(folder / f"seats-{number}").open("ab").write(seat)'
    watched = _Watched(
        f"{kept}\nsay('+')\nif number == 1 and times() == 1: time.sleep(0.2); exit(0)\nhear('d'); exit(0)"
    )
    await watched.until("worker_ended")
    async with asyncio.timeout(_SOON):
        while len(seats := (tmp_path / "seats-1").read_bytes().splitlines()) < 2:  # noqa: ASYNC110  # other processes
            await asyncio.sleep(0.01)
    watched.fleet.stop()
    assert await watched.code() == 0
    first, second, other = map(orjson.loads, (*seats, (tmp_path / "seats-2").read_bytes()))
    assert (first["announce"], second, other["announce"]) == (True, {**first, "announce": False}, False)


async def test_a_stop_reaches_who_is_only_starting(tmp_path: Path) -> None:
    """The word waits for it, and nobody is started after."""
    watched = _Watched("times(); time.sleep(0.2); hear('d'); exit(0)")
    async with asyncio.timeout(_SOON):
        while not (tmp_path / "starts-1").exists():  # noqa: ASYNC110  # another process
            await asyncio.sleep(0.01)
    watched.fleet.stop()
    assert await watched.code() == 0
    assert os.listdir(tmp_path) == ["starts-1"]


async def test_a_stop_finds_who_is_being_started_at_whatever_moment() -> None:
    """Also between the start of the process and the first word to it."""
    for turns in range(12):
        watched = _Watched("hear('d'); exit(0)")
        for _ in range(turns):
            await asyncio.sleep(0)
        watched.fleet.stop()
        assert await watched.code() == 0


async def test_who_does_not_end_is_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Not by the first stop, whose drain may take its time; a while after the second, and the exit code says so."""
    monkeypatch.setattr(supervisor, "_LAST", 0.2)
    watched = _Watched("say('+'); hear('d'); time.sleep(60)", count=1)
    await watched.until("workers")
    watched.fleet.stop()
    await asyncio.sleep(0.4)
    assert not watched.ended.done()
    watched.fleet.stop()
    assert await watched.code() == 1
    assert [line["why"] for line in watched.said("worker_ended")] == ["SIGKILL"]


async def test_a_stop_also_ends_the_wait_for_a_replacement(monkeypatch: pytest.MonkeyPatch) -> None:
    """However long the pause would be."""
    monkeypatch.setattr(supervisor, "_PAUSE", 30.0)
    watched = _Watched(f"if number == 2 and times() > 1: exit(1)\nsay('+')\nif number == 2: exit(0)\n{_SERVE}")
    await watched.until("worker_ended", 2)
    watched.fleet.stop()
    assert await watched.code() == 0


def test_pauses_grow_to_a_bound() -> None:
    """None for a first death, half a minute for whoever always dies."""
    assert [pause(early) for early in (0, 1, 2, 3, 4, 8, 9, 10**6)] == [0.0, 0.0, 0.5, 1.0, 2.0, 30.0, 30.0, 30.0]
