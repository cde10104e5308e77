"""What a request makes is gone with it: nothing waits for the garbage collector, which looks rarely."""

from __future__ import annotations

import gc
import io
import time
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest

from proxy.app.replica import Replica
from proxy.config import load
from proxy.config.schema import Config
from proxy.demo import moods
from proxy.demo.moods import Mood
from proxy.demo.simulator import Simulator
from proxy.edge.exchange import Exchange
from proxy.record.log import Log


@pytest.fixture
def uncollected() -> Iterator[None]:
    """The collector stands still."""
    usual = gc.get_threshold()
    gc.collect()
    gc.disable()
    yield
    gc.enable()
    gc.set_threshold(*usual)
    gc.unfreeze()


@pytest.mark.usefixtures("uncollected")
@pytest.mark.parametrize("mood", [None, moods.status(503), moods.cut_stream()], ids=["served", "refused", "cut"])
@pytest.mark.parametrize("stream", [False, True])
async def test_an_exchange_that_has_ended_is_gone(first: Simulator, mood: Mood | None, stream: bool) -> None:
    first.mood = mood or first.mood
    text = (
        "version: 1\nlisten: 127.0.0.1:0\nadmin: {listen: 127.0.0.1:0}\nidentity: {default: bot}\n"
        f"sources: {{first: {{kind: openai-compatible, base_url: {first.base_url}}}}}\n"
        "assistants: {bot: {primary: {source: first, model: big}}}\n"
    )
    config = load.parse(text, "test", {}, Path())
    assert isinstance(config, Config), config
    log = Log(io.BytesIO(), human=False, unix=time.time)
    replica = Replica(config, log, None)
    try:
        await replica.start()
        async with aiohttp.ClientSession() as session:
            url, body = f"{replica.data_address}/v1/chat/completions", {"stream": stream, "messages": []}
            for _ in range(3):
                async with session.post(url, json=body) as response:
                    await response.read()
        await replica.edge.idle()
    finally:
        await replica.close()
        log.close()
    assert not [each for each in gc.get_objects() if isinstance(each, Exchange)]
