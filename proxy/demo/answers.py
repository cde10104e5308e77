"""What a simulated upstream says when it is well: OpenAI's answers, in shapes that OpenAI's own SDK accepts.

1. Every answer names the model and the upstream that gave it, so that a reader sees who answered.
2. The same question gets the same words and the same vectors; only ids and times differ.
3. The first event of a stream carries no content, and content comes in many small pieces, as from a model.
"""

from __future__ import annotations

import base64
import hashlib
import math
import re
import secrets
import struct
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import orjson

from proxy.demo.wire import Answer, Piece, Received
from proxy.terms import Headers

Document = Mapping[str, Any]

DIMENSIONS = 1536
"""Of a vector, unless the request asks for fewer."""


@dataclass(frozen=True, slots=True)
class Speaker:
    """Who answers, and in what manner."""

    name: str
    models: tuple[str, ...] = ()
    """What it serves; empty: whatever is asked for."""
    text: str | None = None
    """Said instead of its usual words."""
    pause: float = 0.0
    """Seconds before each piece of content."""
    thinks: float = 0.5
    """Seconds that a model called `thinking…` is silent before it says anything."""

    def pieces(self, document: Document, extra: str = "") -> tuple[list[str], str]:
        """The words of an answer, each with the blank after it, and the finish reason."""
        text = (
            self.text or f"This is {document['model']}, served by {self.name}. {extra}You asked: {_question(document)}"
        )
        words = [text] if len(text) > 100_000 else re.findall(r"\S+\s*", text)
        limit = document.get("max_completion_tokens") or document.get("max_tokens") or document.get("max_output_tokens")
        cut = isinstance(limit, int) and len(words) > limit
        return (words[:limit], "length") if cut else (words, "stop")

    def silence(self, document: Document) -> float:
        """Seconds that the model thinks; 0 for one that does not."""
        return self.thinks if thinking(document) else 0.0


@dataclass(frozen=True, slots=True)
class Fault:
    """An error, as OpenAI's API says it."""

    message: str
    type: str = "invalid_request_error"
    code: str | int | None = None
    param: str | None = None

    def body(self) -> bytes:
        """As an answer's body, and as the data of a chat stream's error event."""
        error = {"message": self.message, "type": self.type, "param": self.param, "code": self.code}
        return orjson.dumps({"error": error})

    def event(self, path: str, sequence: int) -> bytes:
        """As an event inside a stream from `path`."""
        if path.endswith("/messages"):
            said = {"type": "api_error" if self.type == "server_error" else self.type, "message": self.message}
            return event(orjson.dumps({"type": "error", "error": said}), "error")
        if not path.endswith("/responses"):
            return event(self.body())
        typed = {"type": "error", "code": self.code, "message": self.message, "param": self.param}
        return event(orjson.dumps(typed | {"sequence_number": sequence}), "error")


def event(data: bytes, name: str = "") -> bytes:
    """One server-sent event."""
    return (b"event: " + name.encode() + b"\n" if name else b"") + b"data: " + data + b"\n\n"


def made_up(prefix: str) -> str:
    """A new id: `chatcmpl-…`, `resp_…`."""
    return prefix + secrets.token_hex(12)


def thinking(document: Document) -> bool:
    """The model that was asked for is one that reasons first."""
    return str(document["model"]).startswith("thinking")


def whole(
    status: int, body: bytes, *, kind: str = "application/json", headers: Headers = (), wait: float = 0
) -> Answer:
    """An answer that is not a stream; in two halves, so that it can be broken off between them."""
    half = len(body) // 2
    return Answer(
        status, (("Content-Type", kind), *headers), (Piece(body[:half]), Piece(body[half:], content=True)), wait=wait
    )


def refusal(status: int, fault: Fault, headers: Headers = ()) -> Answer:
    """An error answer."""
    return whole(status, fault.body(), headers=headers)


def streamed(pieces: Sequence[Piece]) -> Answer:
    """An answer that is a stream of events."""
    fields = (("Content-Type", "text/event-stream; charset=utf-8"), ("Cache-Control", "no-cache"))
    return Answer(200, fields, tuple(pieces), stream=True)


def usual_headers() -> Headers:
    """What OpenAI's API adds to every answer; the request id is a new one."""
    limits = {"limit-requests": "10000", "limit-tokens": "2000000", "remaining-requests": "9999"}
    limits |= {"remaining-tokens": "1999900", "reset-requests": "6ms", "reset-tokens": "3ms"}
    rates = tuple((f"x-ratelimit-{name}", value) for name, value in limits.items())
    return (("x-request-id", made_up("req_")), ("openai-version", "2020-10-01"), ("openai-processing-ms", "7"), *rates)


def no_such_model(model: object) -> Answer:
    """OpenAI's answer for a model that it does not know."""
    text = f"The model `{model}` does not exist or you do not have access to it."
    return refusal(404, Fault(text, code="model_not_found"))


def model_list(speaker: Speaker) -> Answer:
    """GET /v1/models."""
    data = [
        {"id": name, "object": "model", "created": 1_700_000_000, "owned_by": speaker.name} for name in speaker.models
    ]
    return whole(200, orjson.dumps({"object": "list", "data": data}))


def read_document(received: Received) -> Document | Answer:
    """The request's JSON object, with a model and something to answer; or the refusal it deserves."""
    try:
        document = orjson.loads(received.body)
    except orjson.JSONDecodeError:
        return refusal(400, Fault("We could not parse the JSON body of your request."))
    if not isinstance(document, dict) or not isinstance(document.get("model"), str):
        return refusal(400, Fault("you must provide a model parameter"))
    needed = {"chat/completions": "messages", "completions": "prompt"}.get(received.path.removeprefix("/v1/"), "input")
    if not document.get(needed):
        text = f"Missing required parameter: '{needed}'."
        return refusal(400, Fault(text, code="missing_required_parameter", param=needed))
    return document


def embeddings(document: Document, speaker: Speaker) -> Answer:
    """POST /v1/embeddings. Equal inputs have equal vectors, of length 1, whichever model is asked."""
    given = document["input"]
    inputs = given if isinstance(given, list) and not isinstance(given[0], int) else [given]
    size = document.get("dimensions") or DIMENSIONS
    vectors: list[Any] = [_vector(each, size) for each in inputs]
    if document.get("encoding_format") == "base64":
        vectors = [base64.b64encode(struct.pack(f"<{size}f", *each)).decode() for each in vectors]
    data = [{"object": "embedding", "index": place, "embedding": each} for place, each in enumerate(vectors)]
    count = tokens(given)
    usage = {"prompt_tokens": count, "total_tokens": count}
    return whole(200, orjson.dumps({"object": "list", "data": data, "model": document["model"], "usage": usage}))


def _vector(given: object, size: int) -> list[float]:
    raw = struct.unpack(f"<{size}h", hashlib.shake_256(orjson.dumps(given)).digest(2 * size))
    length = math.hypot(*raw) or 1.0
    return [value / length for value in raw]


def tokens(asked: object) -> int:
    """About as many as a tokenizer would count."""
    return max(1, len(orjson.dumps(asked)) // 4)


def _question(document: Document) -> str:
    """The last thing that was asked, for the answer to repeat."""
    asked = document.get("messages") or document.get("input") or document.get("prompt")
    while isinstance(asked, list | dict):
        asked = (asked[-1] if asked else "") if isinstance(asked, list) else asked.get("content") or asked.get("text")
    return str(asked)[:200]


def forced_tool(document: Document) -> tuple[str, str] | None:
    """The function that the request insists on, and arguments for it, as JSON; None when it leaves a choice."""
    choice = document.get("tool_choice")
    offered = [tool.get("function") or tool for tool in document.get("tools") or ()]
    if isinstance(choice, dict):
        wanted = (choice.get("function") or choice).get("name")
        offered = [function for function in offered if function.get("name") == wanted]
    elif choice != "required":
        return None
    if not offered:
        return None
    properties = (offered[0].get("parameters") or {}).get("properties") or {}
    filled = {name: _sample(shape) for name, shape in properties.items()}
    return offered[0]["name"], orjson.dumps(filled).decode()


def _sample(shape: Document) -> object:
    if shape.get("enum"):
        return shape["enum"][0]
    return {"integer": 1, "number": 1.5, "boolean": True, "array": [], "object": {}}.get(
        shape.get("type", ""), "a word"
    )
