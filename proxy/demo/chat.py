"""What a well upstream says on POST /v1/chat/completions and /v1/completions, as one JSON document or as a stream.

1. Several choices are streamed in turn, a piece of each, and each has its own finish reason.
2. A model called `thinking…` is silent first, then reasons aloud, then answers; a forced tool is all that is answered.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import orjson

from proxy.demo.answers import Document, Speaker, event, forced_tool, made_up, streamed, thinking, tokens, whole
from proxy.demo.wire import Answer, Piece


def chat(document: Document, speaker: Speaker) -> Answer:
    """POST /v1/chat/completions."""
    called = forced_tool(document)
    choices = [_Choice(i, called, *_said(document, speaker, i)) for i in range(document.get("n") or 1)]
    shared = {"id": made_up("chatcmpl-"), "created": int(time.time()), "model": document["model"]}
    shared |= {"service_tier": "default", "system_fingerprint": f"fp_{speaker.name}"}
    if document.get("stream"):
        return streamed(list(_chat_events(document, speaker, choices, shared | {"object": "chat.completion.chunk"})))
    usage = _usage(document, choices)
    body = shared | {
        "object": "chat.completion",
        "choices": [each.message(document) for each in choices],
        "usage": usage,
    }
    return whole(200, orjson.dumps(body), wait=speaker.silence(document))


def _said(document: Document, speaker: Speaker, index: int) -> tuple[list[str], str]:
    n = document.get("n") or 1
    return speaker.pieces(document, f"Answer {index + 1} of {n}. " if n > 1 else "")


_THOUGHTS = ("Let me ", "think ", "about ", "this. ")


@dataclass(frozen=True, slots=True)
class _Choice:
    """One of the answers to a chat request."""

    index: int
    called: tuple[str, str] | None
    words: list[str]
    reason: str

    @property
    def finish(self) -> str:
        return "tool_calls" if self.called else self.reason

    def message(self, document: Document) -> Document:
        message: dict[str, Any] = {
            "role": "assistant",
            "content": "".join(self.words),
            "refusal": None,
            "annotations": [],
        }
        if self.called:
            name, arguments = self.called
            call = {"id": made_up("call_"), "type": "function", "function": {"name": name, "arguments": arguments}}
            message |= {"content": None, "tool_calls": [call]}
        if thinking(document):
            message["reasoning_content"] = "".join(_THOUGHTS)
        return {"index": self.index, "message": message, "logprobs": None, "finish_reason": self.finish}

    def deltas(self) -> Iterator[Document]:
        if not self.called:
            yield from ({"content": word} for word in self.words)
            return
        name, arguments = self.called
        opening = {"id": made_up("call_"), "type": "function", "function": {"name": name, "arguments": ""}}
        yield {"tool_calls": [{"index": 0, **opening}]}
        for part in re.findall(r".{1,8}", arguments, re.DOTALL):
            yield {"tool_calls": [{"index": 0, "function": {"arguments": part}}]}


def _chat_events(document: Document, speaker: Speaker, choices: list[_Choice], shared: Document) -> Iterator[Piece]:
    with_usage = bool((document.get("stream_options") or {}).get("include_usage"))
    null = {"usage": None} if with_usage else {}

    def piece(index: int, delta: Document, finish: str | None = None, wait: float = 0.0) -> Piece:
        choice = {"index": index, "delta": delta, "logprobs": None, "finish_reason": finish}
        data = orjson.dumps({**shared, "choices": [choice], **null})
        return Piece(event(data), bool(delta) and "role" not in delta, wait)

    for each in choices:
        content = None if each.called else ""
        yield piece(each.index, {"role": "assistant", "content": content, "refusal": None})
    if thinking(document):
        for place, thought in enumerate(_THOUGHTS):
            wait = speaker.pause if place else speaker.thinks
            yield from (piece(each.index, {"reasoning_content": thought}, None, wait) for each in choices)
    for index, delta in _in_turn(choices):
        yield piece(index, delta, None, speaker.pause)
    yield from (piece(each.index, {}, each.finish) for each in choices)
    if with_usage:
        yield Piece(event(orjson.dumps({**shared, "choices": [], "usage": _usage(document, choices)})))
    yield Piece(event(b"[DONE]"))


def _in_turn(choices: list[_Choice]) -> Iterator[tuple[int, Document]]:
    """One delta of each choice, then the next of each: as several answers are streamed at once."""
    waiting = [(each.index, each.deltas()) for each in choices]
    while waiting:
        spoke = [(index, next(deltas, None), deltas) for index, deltas in waiting]
        yield from ((index, delta) for index, delta, _ in spoke if delta is not None)
        waiting = [(index, deltas) for index, delta, deltas in spoke if delta is not None]


def completion(document: Document, speaker: Speaker) -> Answer:
    """POST /v1/completions."""
    choices = [_Choice(i, None, *_said(document, speaker, i)) for i in range(document.get("n") or 1)]
    shared = {
        "id": made_up("cmpl-"),
        "object": "text_completion",
        "created": int(time.time()),
        "model": document["model"],
    }
    if document.get("stream"):
        return streamed(list(_completion_events(document, speaker, choices, shared)))
    said = [_text_choice(each.index, "".join(each.words), each.finish) for each in choices]
    return whole(200, orjson.dumps({**shared, "choices": said, "usage": _usage(document, choices)}))


def _text_choice(index: int, text: str, finish: str | None = None) -> Document:
    return {"index": index, "text": text, "logprobs": None, "finish_reason": finish}


def _completion_events(
    document: Document, speaker: Speaker, choices: list[_Choice], shared: Document
) -> Iterator[Piece]:
    # This API has no role to announce: an empty text takes that place.
    yield Piece(event(orjson.dumps({**shared, "choices": [_text_choice(0, "")]})))
    for index, delta in _in_turn(choices):
        yield Piece(
            event(orjson.dumps({**shared, "choices": [_text_choice(index, delta["content"])]})), True, speaker.pause
        )
    for each in choices:
        yield Piece(event(orjson.dumps({**shared, "choices": [_text_choice(each.index, "", each.finish)]})))
    if (document.get("stream_options") or {}).get("include_usage"):
        yield Piece(event(orjson.dumps({**shared, "choices": [], "usage": _usage(document, choices)})))
    yield Piece(event(b"[DONE]"))


def _usage(document: Document, choices: list[_Choice]) -> Document:
    asked = tokens(document.get("messages") or document.get("prompt"))
    said = sum(1 for each in choices for _ in each.deltas())
    thought = len(_THOUGHTS) * len(choices) if thinking(document) else 0
    return {
        "prompt_tokens": asked,
        "completion_tokens": said + thought,
        "total_tokens": asked + said + thought,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": thought, "audio_tokens": 0},
    }
