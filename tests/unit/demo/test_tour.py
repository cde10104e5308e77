"""What the tour needs before it can be given: a configuration that holds, and a visitor who reads rightly."""

from __future__ import annotations

from pathlib import Path

import aiohttp
import pytest

from proxy.config import load, schema
from proxy.demo import moods
from proxy.demo.simulator import Simulator
from proxy.demo.tour import configuration
from proxy.demo.visitor import Visitor, read_stream


def test_the_configuration_is_valid() -> None:
    """Homeport accepts it, with a chain of three tiers for each of two assistants."""
    bases = {name: f"http://127.0.0.1:{port}/v1" for port, name in enumerate(("north", "south", "local"), 9001)}
    config = load.parse(configuration(0, 0, bases, "a-token"), "demo", {}, Path())
    assert isinstance(config, schema.Config)
    assert {name: len(each.fallbacks) for name, each in config.assistants.items()} == {
        "support-bot": 2,
        "research-bot": 2,
    }


async def test_a_visitor_reads_answers(north: Simulator, capsys: pytest.CaptureFixture[str]) -> None:
    """Words, errors and ends are told apart; where no tier is named, none is claimed."""
    api = (await north.start()).removesuffix("/v1")
    north.queue.extend((moods.WELL, moods.status(503), moods.WELL, moods.cut_stream(after=3)))
    async with aiohttp.ClientSession() as session:
        visitor = Visitor(api, api, session)
        whole, refused = [await visitor.ask("support-bot") for _ in range(2)]
        stream, cut = [await visitor.ask("support-bot", stream=True) for _ in range(2)]
    assert (whole.text[:11], whole.error, whole.tier) == ("This is any", None, "-")
    assert (refused.status, (refused.error or {})["code"]) == (503, "server_is_overloaded")
    assert (stream.text, stream.done) == (whole.text, True)
    assert (cut.text, cut.error, cut.done) == ("This is any, ", None, False)
    assert len(capsys.readouterr().out.splitlines()) == 4
    assert north.requests[0].header("x-assistant-id") == "support-bot"


def test_an_error_event_is_read() -> None:
    """Comments are skipped, and an error in the stream is found."""
    said = b': heartbeat\n\ndata: {"choices":[{"delta":{"content":"Hi"}}]}\n\n'
    error = b'event: error\ndata: {"error":{"code":"x"}}\n\n'
    assert read_stream(said + error) == ("Hi", {"code": "x"}, False)
