"""What a visitor can do to the simulated upstreams."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest

from proxy.demo.controls import WORDS, Controls
from proxy.demo.simulator import Simulator
from tests.unit.demo.raw import connect


@pytest.fixture
async def url(north: Simulator) -> AsyncIterator[str]:
    """Where the controls of `north` listen."""
    controls = Controls([north])
    yield await controls.start()
    await controls.stop()


async def _visit(url: str, method: str, path: str) -> tuple[int, str]:
    async with connect(url) as raw:
        raw.send(f"{method} {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
        status, _, body = await raw.answer()
        return status, body.decode()


async def test_every_word_changes_the_mood(north: Simulator, url: str) -> None:
    """Each word of the table is taken, and then shown as the simulator's state."""
    for word in WORDS:
        assert (await _visit(url, "POST", f"/north/{word}"))[0] == 200
        assert f"  north      {word}\n" in (await _visit(url, "GET", "/"))[1]


async def test_refuse_stops_and_any_other_word_starts(north: Simulator, url: str) -> None:
    """A refused upstream is down until it gets another word."""
    await _visit(url, "POST", "/north/refuse")
    assert not north.running
    await _visit(url, "POST", "/north/well")
    assert north.running


@pytest.mark.parametrize("path", ["/north/explode", "/east/503", "/north", "/north/503/now", "/"])
async def test_an_unknown_word_changes_nothing(north: Simulator, url: str, path: str) -> None:
    """404 with every word there is."""
    before = north.mood
    status, text = await _visit(url, "POST", path)
    assert (status, north.mood) == (404, before)
    assert all(f"\n  {word} " in text for word in WORDS)


async def test_looking_changes_nothing(north: Simulator, url: str) -> None:
    """A GET of a word is refused, and says how."""
    before = north.mood
    status, text = await _visit(url, "GET", "/north/503")
    assert (status, north.mood) == (405, before)
    assert "POST" in text
