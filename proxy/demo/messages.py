"""What a well upstream says on POST /v1/messages, Anthropic's API: a Message, or the same as a stream of events.

1. It is as strict as the real one where a translation could go wrong: headers, unknown fields, turns, results of tools.
2. Errors have Anthropic's form here, whatever mood they come from.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any

import orjson

from proxy.demo.answers import (
    Document,
    Speaker,
    event,
    forced_tool,
    made_up,
    streamed,
    thinking,
    tokens,
    whole,
)
from proxy.demo.wire import Answer, Piece, Received
from proxy.terms import Headers

PATH = "/v1/messages"
_FIELDS = re.compile(
    r"model|messages|max_tokens|system|stream|temperature|top_p|top_k|stop_sequences|tools|tool_choice|thinking"
    r"|output_config|metadata|service_tier|cache_control|inference_geo|speed"
)
_TYPES = {
    400: "invalid_request_error",
    401: "authentication_error",
    402: "billing_error",
    403: "permission_error",
    404: "not_found_error",
    413: "request_too_large",
    429: "rate_limit_error",
    503: "overloaded_error",
    504: "timeout_error",
    529: "overloaded_error",
}
_THOUGHTS = ("Let me ", "think ", "about ", "this.")


def asked(received: Received) -> bool:
    """The caller speaks Anthropic's API."""
    models = received.path == "/v1/models" and received.header("anthropic-version") is not None
    return models or received.path == PATH


def error(status: int, message: str, headers: Headers = ()) -> Answer:
    """An error answer."""
    said = {"type": _TYPES.get(status, "api_error"), "message": message}
    return whole(status, orjson.dumps({"type": "error", "error": said, "request_id": made_up("req_")}), headers=headers)


def retold(answer: Answer) -> Answer:
    """An error answer of OpenAI's as Anthropic would give it; anything else as it is."""
    body = b"".join(piece.data for piece in answer.pieces)
    try:
        said = orjson.loads(body)["error"]["message"]
    except (orjson.JSONDecodeError, LookupError, TypeError):
        return answer
    kept = tuple(pair for pair in answer.headers if pair[0] != "Content-Type")
    return error(answer.status, str(said), kept) if answer.status >= 400 else answer


def usual_headers() -> Headers:
    """What Anthropic's API adds to every answer."""
    limits = {"limit": "4000", "remaining": "3999", "reset": "2030-01-01T00:00:00Z"}
    rates = tuple((f"anthropic-ratelimit-requests-{name}", value) for name, value in limits.items())
    return (("request-id", made_up("req_")), ("anthropic-organization-id", "simulated"), *rates)


def model_list(speaker: Speaker) -> Answer:
    """GET /v1/models."""
    data = [
        {
            "id": name,
            "type": "model",
            "display_name": name,
            "created_at": "2026-01-01T00:00:00Z",
            "lifecycle": "active",
        }
        for name in speaker.models
    ]
    first, last = (data[0]["id"], data[-1]["id"]) if data else (None, None)
    return whole(200, orjson.dumps({"data": data, "has_more": False, "first_id": first, "last_id": last}))


def answer(received: Received, speaker: Speaker, *, no_model: bool) -> Answer:
    """POST /v1/messages."""
    if received.header("x-api-key") is None and received.header("authorization") is None:
        return error(401, "x-api-key header is required")
    if received.header("anthropic-version") is None:
        return error(400, "anthropic-version: header is required")
    try:
        document = orjson.loads(received.body)
        wrong = _wrong(document)
    except (orjson.JSONDecodeError, AttributeError, LookupError, TypeError, ValueError):
        return error(400, "The request body is not valid JSON, or holds a field of another type.")
    if wrong is not None:
        return error(400, wrong)
    if no_model or (speaker.models and document["model"] not in speaker.models):
        return error(404, f"model: {document['model']}")
    said = _Said(document, speaker)
    if document.get("stream"):
        return streamed(list(said.events()))
    return whole(200, orjson.dumps(said.message()), wait=speaker.silence(document))


def _wrong(document: Document) -> str | None:
    """What the real API would object to; None for a good request."""
    for name in ("model", "messages", "max_tokens"):
        if name not in document:
            return f"{name}: Field required"
    unknown = next((name for name in document if not _FIELDS.fullmatch(name)), None)
    if unknown is not None:
        return f"{unknown}: Extra inputs are not permitted"
    turns = document["messages"]
    if not turns:
        return "messages: at least one message is required"
    called: set[str] = set()
    for place, turn in enumerate(turns):
        if turn["role"] not in ("user", "assistant"):
            return f"messages.{place}.role: Input should be 'user' or 'assistant'"
        blocks = turn["content"] if isinstance(turn["content"], list) else [{"type": "text", "text": turn["content"]}]
        if any(block["type"] == "text" and not block["text"].strip() for block in blocks):
            return f"messages.{place}: text content blocks must contain non-whitespace text"
        answered = {block["tool_use_id"] for block in blocks if block["type"] == "tool_result"}
        if answered - called:
            return f"messages.{place}: unexpected `tool_use_id` found in `tool_result` blocks"
        if called - answered:
            return f"messages.{place - 1}: `tool_use` ids were found without `tool_result` blocks immediately after"
        called = {block["id"] for block in blocks if block["type"] == "tool_use"}
    return None


class _Said:
    """One answer, from which the Message and the events are both made."""

    def __init__(self, document: Document, speaker: Speaker) -> None:
        self._document, self._speaker = document, speaker
        words, reason = speaker.pieces(document)
        self._called = _forced(document)
        self._words = [] if self._called else words
        self._reason = "tool_use" if self._called else "max_tokens" if reason == "length" else "end_turn"
        self._id = made_up("msg_")

    def message(self) -> Document:
        thoughts = "".join(_THOUGHTS) if thinking(self._document) else ""
        content: list[Document] = [{"type": "thinking", "thinking": thoughts, "signature": "c2ln"}] if thoughts else []
        if self._words:
            content.append({"type": "text", "text": "".join(self._words)})
        if self._called:
            content.append(self._call(orjson.loads(self._called[1])))
        return self._opening() | {"content": content, "stop_reason": self._reason, "usage": self._usage()}

    def _opening(self) -> dict[str, Any]:
        return {
            "id": self._id,
            "type": "message",
            "role": "assistant",
            "model": self._document["model"],
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
        }

    def _call(self, given: object) -> Document:
        assert self._called is not None  # noqa: S101  # asked only where something is called
        return {"type": "tool_use", "id": made_up("toolu_"), "name": self._called[0], "input": given}

    def _usage(self) -> dict[str, Any]:
        asked, thought = tokens(self._document["messages"]), len(_THOUGHTS) if thinking(self._document) else 0
        said = max(1, len(self._words) + bool(self._called)) + thought
        return {
            "input_tokens": asked,
            "cache_read_input_tokens": 2,
            "cache_creation_input_tokens": 1,
            "output_tokens": said,
            "output_tokens_details": {"thinking_tokens": thought},
        }

    def events(self) -> Iterator[Piece]:
        usage = self._usage()
        yield _piece("message_start", message=self._opening() | {"usage": usage | {"output_tokens": 1}})
        yield _piece("ping")
        for index, (opening, deltas) in enumerate(self._blocks()):
            yield _piece("content_block_start", index=index, content_block=opening)
            for delta, wait in deltas:
                yield _piece("content_block_delta", content=True, wait=wait, index=index, delta=delta)
            yield _piece("content_block_stop", index=index)
        delta = {"stop_reason": self._reason, "stop_sequence": None}
        yield _piece("message_delta", delta=delta, usage={"output_tokens": usage["output_tokens"]})
        yield _piece("message_stop")

    def _blocks(self) -> Iterator[tuple[Document, list[tuple[Document, float]]]]:
        """Each block as it begins, and its deltas with the silence before each."""
        pause = self._speaker.pause
        if thinking(self._document):
            waits = (self._speaker.thinks, *[pause] * (len(_THOUGHTS) - 1))
            thoughts: list[Document] = [{"type": "thinking_delta", "thinking": thought} for thought in _THOUGHTS]
            yield {"type": "thinking", "thinking": "", "signature": ""}, list(zip(thoughts, waits, strict=True))
        if self._words:
            yield {"type": "text", "text": ""}, [({"type": "text_delta", "text": word}, pause) for word in self._words]
        if self._called:
            parts = re.findall(r".{1,8}", self._called[1], re.DOTALL)
            yield self._call({}), [({"type": "input_json_delta", "partial_json": part}, pause) for part in parts]


def _piece(name: str, *, content: bool = False, wait: float = 0.0, **fields: object) -> Piece:
    return Piece(event(orjson.dumps({"type": name, **fields}), name), content, wait)


def _forced(document: Document) -> tuple[str, str] | None:
    """The tool that the request insists on, and arguments for it."""
    choice: Mapping[str, Any] = document.get("tool_choice") or {}
    wanted = {"any": "required", "tool": {"name": choice.get("name")}}.get(str(choice.get("type")), "auto")
    tools = [{"name": each["name"], "parameters": each["input_schema"]} for each in document.get("tools") or ()]
    return forced_tool({"tools": tools, "tool_choice": wanted})
