"""Streams of the Messages API as they come over the wire: readable transcripts, each checked with Anthropic's SDK."""

from __future__ import annotations

from pathlib import Path

import orjson
from anthropic.types import RawMessageStreamEvent
from openai.types.chat import ChatCompletionChunk
from pydantic import TypeAdapter

from proxy.providers import sse
from proxy.providers.anthropic.stream import MessagesReader
from proxy.terms import StreamEvent

FOLDER = Path(__file__).parents[1] / "fixtures" / "anthropic"
NAMES = sorted(path.stem for path in FOLDER.glob("*.sse"))
CREATED = 1_790_000_000
_EVENT: TypeAdapter[RawMessageStreamEvent] = TypeAdapter(RawMessageStreamEvent)


def transcript(name: str) -> bytes:
    """One of NAMES; each of its events but ping and error is one that the SDK knows."""
    data = (FOLDER / f"{name}.sse").read_bytes()
    for raw in sse.Splitter().feed(data):
        kind, said = sse.parse(raw)
        assert said is not None
        if kind not in ("ping", "error"):
            assert _EVENT.validate_python(orjson.loads(said)).type == kind
    return data


def reader(*, with_usage: bool = False) -> MessagesReader:
    """A fresh one."""
    return MessagesReader(str, CREATED + 0.5, with_usage=with_usage)


def chunks(events: list[StreamEvent]) -> list[ChatCompletionChunk]:
    """The chunks that the caller gets; each is exactly one that OpenAI's SDK knows."""
    found = []
    for raw in sse.Splitter().feed(b"".join(event.raw for event in events)):
        _, data = sse.parse(raw)
        if data is not None and data != b"[DONE]":
            found.append(ChatCompletionChunk.model_validate(orjson.loads(data), strict=True))
    return found
