"""OpenAI's stream as a ChatGPT account tells it: with events of its own between, and an end that repeats nothing."""

from __future__ import annotations

from typing import Any

import orjson

from proxy.demo import responses
from proxy.demo.answers import Speaker
from proxy.providers import sse

LIMITS = b'event: codex.rate_limits\ndata: {"type":"codex.rate_limits","plan_type":"plus","rate_limits":{}}\n\n'
NAMELESS = b"event: codex.rate_limits\n\n"
ALIVE = b'data: {"type":"keepalive","sequence_number":3}\n\n'
BUFFERED = b'data: {"type":"response.metadata","response_id":"resp_1","metadata":{"type":"safety_buffering"}}\n\n'
OWN = (LIMITS, NAMELESS, ALIVE, BUFFERED)


def plain(**asked: Any) -> list[bytes]:
    """The events of OpenAI's own stream."""
    document = {"model": "m", "input": "Where?", "store": False, **asked, "stream": True}
    data = b"".join(piece.data for piece in responses.respond(document, Speaker("chatgpt")).pieces)
    return sse.Splitter().feed(data)


def account(events: list[bytes]) -> list[bytes]:
    """The same, as an account tells it."""
    *others, last = events
    name, data = sse.parse(last)
    document = orjson.loads(data or b"")
    document["response"]["output"] = []
    return [others[0], *OWN, *others[1:], b"event: " + name.encode() + b"\ndata: " + orjson.dumps(document) + b"\n\n"]
