"""A stream of the Responses API, as its own reader gives it, told on as chunks of a chat completion.

1. What is content, what an error and what the end is that reader's to say; here it only changes its words. A Response
   that failed is an error: a chat has no other word for it.
2. What a source tells only when an item is done, without a delta before, is told then. An item is known by its place in
   the output; by its name where the source numbers none, as llama.cpp's server does.
3. The stream is whole once `[DONE]` was told, and that is told only of a Response that came to its end.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from proxy.providers import lenient, sse
from proxy.providers.lenient import dumps
from proxy.providers.openai import ResponsesReader
from proxy.providers.responses import chat_answer
from proxy.terms import Shape, Sign, StreamEvent, StreamReader, Usage

_DONE = b"data: [DONE]\n\n"
_DELTAS: Mapping[str, str] = {
    "response.output_text.delta": "content",
    "response.refusal.delta": "refusal",
    "response.reasoning_summary_text.delta": "reasoning_content",
    "response.reasoning_text.delta": "reasoning_content",
}


class ResponsesRetold:
    """One streamed answer."""

    plain: Shape | None = None

    def __init__(self, responses: StreamReader, model: str, now_unix: float, *, with_usage: bool) -> None:
        """`responses` reads what comes; `model` was asked for; `with_usage`: the caller wants it told at the end."""
        self._responses, self._asked, self._now, self._with_usage = responses, model, now_unix, with_usage
        self.usage: Usage | None = None
        self.model: str | None = None
        self._head: dict[str, Any] = {}
        self._calls: dict[object, int] = {}
        """Which call an item is, by its place or name."""
        self._told: set[object] = set()
        """Items of which something was told, likewise."""
        self._thought = False
        self._ended = False

    @property
    def whole(self) -> bool:
        return self._ended

    def feed(self, data: bytes) -> list[StreamEvent]:
        return self._retold(self._responses.feed(data))

    def finish(self) -> list[StreamEvent]:
        return self._retold(self._responses.finish())

    def _retold(self, events: list[StreamEvent]) -> list[StreamEvent]:
        retold = [self._event(event) for event in events if not self._ended]
        self.usage, self.model = self._responses.usage, self._responses.model
        return retold

    def _event(self, event: StreamEvent) -> StreamEvent:
        if event.sign in (Sign.ERROR, Sign.FAILED, Sign.GARBAGE):
            return StreamEvent(b"", Sign.ERROR if event.error is not None else Sign.GARBAGE, event.error)
        name, data = sse.parse(event.raw)
        if not data or data.isspace():
            # A comment, which every reader skips.
            return StreamEvent(event.raw if data is None else b"", event.sign)
        if data.startswith(b"[DONE]"):
            return StreamEvent(b"", Sign.DONE)
        document = lenient.loads(data)
        kind = ResponsesReader.kind(name, document)
        if event.sign is Sign.DONE:
            return self._end(document.get("response"))
        begun = self._begin(document.get("response"))
        read = _READ.get(kind)
        if kind in _DELTAS:
            said = self._words(_DELTAS[kind], _place(document), document.get("delta"))
        else:
            said = read(self, document) if read is not None else b""
        return StreamEvent(begun + said, Sign.CONTENT if said else Sign.LIFE)

    def _begin(self, response: object) -> bytes:
        if self._head:
            return b""
        found = response if isinstance(response, Mapping) else {}
        head = chat_answer.begun(found, self._now)
        # Some servers name it only at the end, and every chunk has to have it.
        model = head["model"] or self._asked
        self._head = {"id": head["id"], "object": "chat.completion.chunk", **head, "model": model}
        return self._chunk({"role": "assistant", "content": "", "refusal": None})

    def _chunk(self, delta: Mapping[str, Any], finish: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
        null = {"usage": None} if self._with_usage else {}
        return b"data: " + dumps({**self._head, "choices": [choice], **null}) + b"\n\n"

    def _words(self, field: str, place: object, said: object) -> bytes:
        if not isinstance(said, str) or not said:
            return b""
        self._told.add(place)
        self._thought = self._thought or field == "reasoning_content"
        return self._chunk({field: said})

    def _part(self, document: Mapping[str, Any]) -> bytes:
        """Another part of a summary begins."""
        return self._chunk({"reasoning_content": chat_answer.BETWEEN_THOUGHTS}) if self._thought else b""

    def _added(self, document: Mapping[str, Any]) -> bytes:
        item, place = document.get("item"), _place(document)
        if (
            not isinstance(item, Mapping)
            or item.get("type") != "function_call"
            or place is None
            or place in self._calls
        ):
            return b""
        self._calls[place] = index = len(self._calls)
        call = chat_answer.call(item)
        if call["function"]["arguments"]:
            self._told.add(place)
        return self._chunk({"tool_calls": [{"index": index, **call}]})

    def _arguments(self, document: Mapping[str, Any]) -> bytes:
        return self._argued(_place(document), document.get("delta"))

    def _argued(self, place: object, said: object) -> bytes:
        if place not in self._calls or not isinstance(said, str) or not said:
            return b""
        self._told.add(place)
        return self._chunk({"tool_calls": [{"index": self._calls[place], "function": {"arguments": said}}]})

    def _done(self, document: Mapping[str, Any]) -> bytes:
        item, place = document.get("item"), _place(document)
        if not isinstance(item, Mapping) or place is None or place in self._told:
            return b""
        if item.get("type") == "function_call":
            return self._added(document) or self._argued(place, item.get("arguments"))
        if None in self._told and isinstance(place, str):
            # Its deltas may have been those that did not say whose they are.
            return b""
        said = self._words("content", place, chat_answer.spoken(item, "output_text", "text"))
        said += self._words("refusal", place, chat_answer.spoken(item, "refusal", "refusal"))
        thoughts = chat_answer.BETWEEN_THOUGHTS.join(chat_answer.thought(item))
        between = self._part(document) if thoughts else b""
        return said + between + self._words("reasoning_content", place, thoughts)

    def _end(self, response: object) -> StreamEvent:
        begun = self._begin(response)
        found = response if isinstance(response, Mapping) else {}
        self._ended = True
        told = begun + self._chunk({}, chat_answer.finish(found, calls=bool(self._calls)))
        used = chat_answer.usage(found.get("usage"))
        if self._with_usage and used:
            told += b"data: " + dumps({**self._head, "choices": [], "usage": used}) + b"\n\n"
        return StreamEvent(told + _DONE, Sign.DONE)


def _place(document: Mapping[str, Any]) -> int | str | None:
    """Which item an event is about."""
    index, item = document.get("output_index"), document.get("item")
    if isinstance(index, int):
        return index
    name = item.get("id") or item.get("call_id") if isinstance(item, Mapping) else document.get("item_id")
    return name if isinstance(name, str) else None


_READ: Mapping[str, Callable[[ResponsesRetold, Mapping[str, Any]], bytes]] = {
    "response.function_call_arguments.delta": ResponsesRetold._arguments,
    "response.output_item.added": ResponsesRetold._added,
    "response.output_item.done": ResponsesRetold._done,
    "response.reasoning_summary_part.added": ResponsesRetold._part,
}
