"""The load: requests in turn, every answer compared."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from proxy.config import load as configuration
from proxy.config.schema import Config
from tests.benchmarks import load, settings, upstream
from tests.benchmarks.upstream import Counts, Upstream


class _Noting(Upstream):
    """Keeps the requests that it answers."""

    def __init__(self, asked: list[bytes]) -> None:
        super().__init__(Counts())
        self._asked = asked

    def serve(self, request: bytes) -> None:
        self._asked.append(request)
        super().serve(request)


@pytest.fixture
async def noting() -> AsyncIterator[tuple[int, list[bytes]]]:
    """A port, and what came there."""
    asked: list[bytes] = []
    server = await asyncio.get_running_loop().create_server(lambda: _Noting(asked), "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1], asked
    server.close()


async def test_requests_are_asked_in_turn(noting: tuple[int, list[bytes]]) -> None:
    """By whichever caller is free; as many as were wanted."""
    port, asked = noting
    requests = [load.chat(assistant=settings.assistant(number)) for number in range(3)]
    taken = await load.run(port, requests, upstream.ANSWER, callers=2, requests=7)
    assert len(taken) == 7
    assert sorted(asked) == sorted([*requests, *requests, requests[0]])


async def test_a_wrong_answer_ends_the_load(noting: tuple[int, list[bytes]]) -> None:
    """A figure for it would be worth nothing."""
    port, _ = noting
    with pytest.raises(load.WrongAnswer):
        await load.run(port, [load.chat()], upstream.ANSWER + b" ", callers=1, requests=1)


async def test_a_primary_that_fails_is_counted(noting: tuple[int, list[bytes]]) -> None:
    """It answers 503 below its own path, and streams and documents elsewhere."""
    port, _ = noting
    connection = await load.connect(port)
    status, _ = await connection.ask(load.chat().replace(b"POST /v1/", b"POST /failing/v1/"))
    assert status == 503
    _, told = await connection.ask(load.get("/connections"))
    assert json.loads(told) == {"accepted": 1, "dead": 0, "failed": 1}
    status, body = await connection.ask(load.chat(3))
    assert (status, body) == (200, b"".join(upstream.events(3)))
    connection.close()


async def test_a_stream_can_be_ordered_by_its_tokens(noting: tuple[int, list[bytes]]) -> None:
    """By whoever drops metadata, writes JSON with spaces, or calls that limit by its newer name."""
    port, _ = noting
    connection = await load.connect(port)
    for name in (b"max_tokens", b"max_completion_tokens"):
        body = b'{"stream": true, "%b": 5000}' % name
        asked = b"POST /v1/chat/completions HTTP/1.1\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
        assert await connection.ask(asked) == (200, b"".join(upstream.events(5)))
        status, whole = await connection.ask(asked.replace(b"true", b"null"))
        assert (status, whole) == (200, upstream.ANSWER)
    connection.close()


def test_an_answer_that_was_written_anew_has_the_same_text() -> None:
    """Whatever stands around it; a stream that lacks an event or its end has not."""
    said = json.loads(upstream.ANSWER)
    anew = json.dumps({"model": "other", "choices": said["choices"], "cost": 0.0}).encode()
    assert load.text(anew) == load.text(upstream.ANSWER) == said["choices"][0]["message"]["content"].encode()
    events = upstream.events(5)
    whole = load.text(b"".join(events))
    assert whole == b" word word word[DONE]"
    first = b'data: {"choices": [{"index": 0, "delta": {"role": "assistant", "content": null}}]}\n\n'
    assert load.text(b"".join([first, b'data: {"choices": []}\n\n', *events])) == whole
    for cut in (events[1:], events[:-1]):
        assert load.text(b"".join(cut)) != whole


@pytest.mark.parametrize("count", [1, 200])
def test_the_configuration_has_as_many_assistants_as_were_asked_for(count: int) -> None:
    """Over 32 targets, and with whatever a section adds."""
    made = configuration.parse(settings.config(8080, 8081, 9000, count, limits={"in_flight": 5}), "bench", {}, Path())
    assert isinstance(made, Config), made
    assert (len(made.assistants), made.limits.in_flight) == (count, 5)
    bindings = [each for one in made.assistants.values() for each in (one.primary, *one.fallbacks)]
    assert len({(each.source, each.model) for each in bindings if each}) == min(4 * count, 32)
