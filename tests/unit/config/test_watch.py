"""Noticing that a file is another one, whatever way it became so; and not before it is whole."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from proxy.config.watch import LOOK, Watched, mark
from tests.property import virtual

_Steps = Callable[[Callable[[float], Awaitable[int]]], Awaitable[None]]


def _watch(file: Path, steps: _Steps, watched: Watched | None = None) -> None:
    """Take the steps while the file is watched; `after(looks)` waits, and is how often a change was told since."""

    async def work() -> None:
        told = 0

        def tell() -> None:
            nonlocal told
            told += 1

        async def after(looks: float) -> int:
            before = told
            await asyncio.sleep(looks * LOOK)
            return told - before

        watching = asyncio.ensure_future((watched or Watched(file, mark(file))).changed(tell))
        await after(1.5)
        await steps(after)
        watching.cancel()

    virtual.run(work())


def _in_place(file: Path) -> None:
    with file.open("a") as opened:
        opened.write("more\n")


def _same_size(file: Path) -> None:
    text = file.read_text()
    os.utime(file, ns=(0, 0))
    file.write_text(text.swapcase())


def _replaced(file: Path) -> None:
    fresh = file.with_suffix(".new")
    fresh.write_text("other\n")
    fresh.replace(file)


def _away_and_back(file: Path) -> None:
    file.unlink()
    file.write_text("again\n")


@pytest.mark.parametrize("change", [_in_place, _same_size, _replaced, _away_and_back])
def test_each_way_to_change_a_file_is_told_once(tmp_path: Path, change: Callable[[Path], None]) -> None:
    """Within two looks, and again for the next."""
    file = tmp_path / "homeport.yaml"
    file.write_text("first\n")

    async def steps(after: Callable[[float], Awaitable[int]]) -> None:
        assert await after(5) == 0
        for _ in range(3):
            change(file)
            assert await after(2) == 1
            assert await after(5) == 0

    _watch(file, steps)


def test_a_swapped_config_map_is_told(tmp_path: Path) -> None:
    """Kubernetes: the file is a link into `..data`, a link that is replaced by another."""

    def version(name: str) -> None:
        (tmp_path / name).mkdir()
        (tmp_path / name / "homeport.yaml").write_text("the same size\n")
        (tmp_path / "..data_tmp").symlink_to(name)
        (tmp_path / "..data_tmp").replace(tmp_path / "..data")

    version("..1")
    file = tmp_path / "homeport.yaml"
    file.symlink_to("..data/homeport.yaml")

    async def steps(after: Callable[[float], Awaitable[int]]) -> None:
        for name in ("..2", "..3"):
            version(name)
            assert await after(2) == 1

    _watch(file, steps)


def test_a_file_that_is_being_written_is_told_when_it_rests(tmp_path: Path) -> None:
    """As long as it grows, nothing is."""
    file = tmp_path / "homeport.yaml"
    file.write_text("first\n")

    async def steps(after: Callable[[float], Awaitable[int]]) -> None:
        for _ in range(6):
            _in_place(file)
            assert await after(1) == 0
        assert await after(2) == 1

    _watch(file, steps)


def test_a_file_that_is_gone_is_told_when_it_is_there_again(tmp_path: Path) -> None:
    """Gone is not a change that could be read; also when it was not there from the start."""
    file = tmp_path / "homeport.yaml"

    async def steps(after: Callable[[float], Awaitable[int]]) -> None:
        assert await after(4) == 0
        file.write_text("there\n")
        assert await after(2) == 1
        file.unlink()
        assert await after(4) == 0
        file.write_text("again\n")
        assert await after(2) == 1

    _watch(file, steps)


def test_what_somebody_else_had_read_is_no_news(tmp_path: Path) -> None:
    """A signal, or an operator; what is written after that is told, also if it was being written then."""
    file = tmp_path / "homeport.yaml"
    file.write_text("first\n")
    watched = Watched(file, mark(file))

    async def steps(after: Callable[[float], Awaitable[int]]) -> None:
        _in_place(file)
        watched.read()
        assert await after(5) == 0
        _in_place(file)
        assert await after(2) == 1
        _in_place(file)
        watched.read()
        _in_place(file)
        assert await after(2) == 1
        file.unlink()
        watched.read()
        assert await after(4) == 0
        _replaced(file)
        assert await after(2) == 1

    _watch(file, steps, watched)
