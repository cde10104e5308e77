"""What a well upstream says on POST /v1/responses: one JSON document, or the same as a stream of typed events.

1. Each event carries the next `sequence_number`, and the last one repeats the whole answer, as OpenAI's does.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from typing import Any

import orjson

from proxy.demo.answers import Document, Speaker, event, forced_tool, made_up, streamed, thinking, tokens, whole
from proxy.demo.wire import Answer, Piece

_ECHOED: Document = {
    "instructions": None,
    "max_output_tokens": None,
    "metadata": {},
    "parallel_tool_calls": True,
    "previous_response_id": None,
    "reasoning": {"effort": None, "summary": None},
    "store": True,
    "temperature": 1.0,
    "text": {"format": {"type": "text"}},
    "tool_choice": "auto",
    "tools": [],
    "top_p": 1.0,
    "truncation": "disabled",
}
"""Request fields that an answer repeats, and their defaults."""


def respond(document: Document, speaker: Speaker) -> Answer:
    """POST /v1/responses."""
    told = _Told(document, speaker)
    if document.get("stream"):
        return streamed(list(told.events()))
    return whole(200, orjson.dumps(told.response(told.end)), wait=speaker.silence(document))


class _Told:
    """One answer, from which the document and the events are both made."""

    def __init__(self, document: Document, speaker: Speaker) -> None:
        self._document, self._speaker = document, speaker
        self._words, reason = speaker.pieces(document)
        self._called = forced_tool(document)
        self._id, self._at = made_up("resp_"), int(time.time())
        self._items = list(self._make_items())
        self._sequence = -1
        self.end = "incomplete" if reason == "length" and not self._called else "completed"

    def _make_items(self) -> Iterator[dict[str, Any]]:
        if thinking(self._document):
            yield {"id": made_up("rs_"), "type": "reasoning", "summary": []}
        if self._called:
            name, arguments = self._called
            call = {"id": made_up("fc_"), "type": "function_call", "call_id": made_up("call_"), "name": name}
            yield call | {"status": "completed", "arguments": arguments}
        else:
            yield _message(made_up("msg_"), "completed", [_text("".join(self._words))])

    def response(self, status: str) -> Document:
        """The response object; its output is there once it is over."""
        over = status != "in_progress"
        echoed = {key: self._document.get(key, default) for key, default in _ECHOED.items()}
        return {
            "id": self._id,
            "object": "response",
            "created_at": self._at,
            "status": status,
            "error": None,
            "incomplete_details": {"reason": "max_output_tokens"} if status == "incomplete" else None,
            "model": self._document["model"],
            "output": self._items if over else [],
            "usage": self._usage() if over else None,
            **echoed,
        }

    def _usage(self) -> Document:
        asked, said = tokens(self._document["input"]), len(self._words)
        return {
            "input_tokens": asked,
            "input_tokens_details": {"cached_tokens": 0, "cache_write_tokens": 0},
            "output_tokens": said,
            "output_tokens_details": {"reasoning_tokens": 0},
            "total_tokens": asked + said,
        }

    def _event(self, kind: str, wait: float = 0.0, **fields: object) -> Piece:
        self._sequence += 1
        data = orjson.dumps({"type": f"response.{kind}", **fields, "sequence_number": self._sequence})
        return Piece(event(data, f"response.{kind}"), kind.endswith(".delta"), wait)

    def events(self) -> Iterator[Piece]:
        """The stream; once only."""
        for kind in ("created", "in_progress"):
            yield self._event(kind, response=self.response("in_progress"))
        for index, item in enumerate(self._items):
            match item["type"]:
                case "reasoning":
                    yield self._event("output_item.added", output_index=index, item=item)
                    yield self._event("output_item.done", self._speaker.thinks, output_index=index, item=item)
                case "function_call":
                    yield from self._call_events(index, item)
                case _:
                    yield from self._message_events(index, item)
        yield self._event(self.end, response=self.response(self.end))

    def _message_events(self, index: int, item: Document) -> Iterator[Piece]:
        place = {"item_id": item["id"], "output_index": index, "content_index": 0}
        text = item["content"][0]
        yield self._event("output_item.added", output_index=index, item=_message(item["id"], "in_progress", []))
        yield self._event("content_part.added", **place, part=_text(""))
        for word in self._words:
            yield self._event("output_text.delta", self._speaker.pause, **place, delta=word, logprobs=[])
        yield self._event("output_text.done", **place, text=text["text"], logprobs=[])
        yield self._event("content_part.done", **place, part=text)
        yield self._event("output_item.done", output_index=index, item=item)

    def _call_events(self, index: int, item: Document) -> Iterator[Piece]:
        place = {"item_id": item["id"], "output_index": index}
        begun = {**item, "status": "in_progress", "arguments": ""}
        yield self._event("output_item.added", output_index=index, item=begun)
        for part in re.findall(r".{1,8}", item["arguments"], re.DOTALL):
            yield self._event("function_call_arguments.delta", self._speaker.pause, **place, delta=part)
        done = {"name": item["name"], "arguments": item["arguments"]}
        yield self._event("function_call_arguments.done", **place, **done)
        yield self._event("output_item.done", output_index=index, item=item)


def _message(name: str, status: str, content: list[Document]) -> dict[str, Any]:
    return {"id": name, "type": "message", "status": status, "role": "assistant", "content": content}


def _text(text: str) -> Document:
    return {"type": "output_text", "text": text, "annotations": [], "logprobs": []}
