"""What a stream keeps in memory while it flows: nothing of what was asked."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import time
import weakref
from typing import Any

from proxy.config.schema import Timeouts
from proxy.terms import CHAT, Accepted, Binding, Cause, Diagnosis, Question
from proxy.upstream.client import Connecting
from proxy.upstream.source import Source
from proxy.upstream.upstreams import Upstreams
from tests.integration.scripted import SOON, Line, scripted

_HEAD = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\r\n"
_CHUNK = b'data: {"id":"c","object":"chat.completion.chunk","choices":[{"index":0,"delta":{"content":"word"}}]}\n\n'


class _Document(dict[str, Any]):
    """One that can be watched."""


async def test_a_committed_stream_keeps_nothing_of_its_question() -> None:
    async def script(line: Line) -> None:
        await line.request()
        line.say(_HEAD + _CHUNK)
        await line.left()

    async def ask(to: Upstreams) -> tuple[Accepted, weakref.ref[_Document]]:
        document = _Document(model="m", stream=True)
        question = Question(CHAT, b'{"model":"m","stream":true}', document, (), "", True, "m")
        binding, now, overrun = Binding("one", "openai", "m"), time.monotonic(), Diagnosis(Cause.TIMEOUT_TOTAL, "total")
        _, answering = to.send(question, binding, Timeouts().resolve(), now, now + SOON, overrun, None)
        outcome = await answering
        assert isinstance(outcome, Accepted)
        return outcome, weakref.ref(document)

    async with scripted(script) as upstream, contextlib.AsyncExitStack() as stack:
        source = Source(f"http://127.0.0.1:{upstream.port}/v1", (), frozenset(), Connecting(private=True))
        to = Upstreams({"one": source})
        stack.push_async_callback(to.close)
        accepted, document = await ask(to)
        stack.callback(accepted.reply.close)
        await asyncio.sleep(0)
        gc.collect()
        assert accepted.stream is not None
        assert document() is None
        assert accepted.stream.diagnose({"message": "overloaded", "type": "server_error"}).cause is Cause.SERVER
