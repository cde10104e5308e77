"""What a Message says, in the words of a chat completion: why it ended, what it cost, and the whole of it.

1. Input tokens are what was read anew, what came from the cache and what went into it, together: OpenAI counts so.
2. Thoughts are `reasoning_content`, as other vendors have it; what belongs to neither text, thought nor a call of the
   caller's tools is left out.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from proxy.providers.dialect import Told
from proxy.providers.lenient import dumps
from proxy.terms import Usage

FINISH: Mapping[str, str] = {
    "end_turn": "stop",
    "max_tokens": "length",
    "stop_sequence": "stop",
    "tool_use": "tool_calls",
    "pause_turn": "stop",
    "refusal": "content_filter",
    "model_context_window_exceeded": "length",
}


def finish(reason: str) -> str:
    """The finish reason for a stop reason; one that came later than this table is a stop like any other."""
    return FINISH.get(reason, "stop")


def usage(counts: Mapping[str, Any]) -> tuple[dict[str, Any], Usage]:
    """A usage object as OpenAI writes it, and as routing knows it."""
    read, written = _count(counts, "cache_read_input_tokens"), _count(counts, "cache_creation_input_tokens")
    asked, said = _count(counts, "input_tokens") + read + written, _count(counts, "output_tokens")
    details = counts.get("output_tokens_details")
    thought = _count(details, "thinking_tokens") if isinstance(details, Mapping) else 0
    document = {
        "prompt_tokens": asked,
        "completion_tokens": said,
        "total_tokens": asked + said,
        "prompt_tokens_details": {"cached_tokens": read, "cache_write_tokens": written, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": thought, "audio_tokens": 0},
    }
    return document, Usage(asked, said, read, thought)


def _count(counts: Mapping[str, Any], name: str) -> int:
    value = counts.get(name)
    return value if type(value) is int and 0 <= value < 2**53 else 0


def told(message: Mapping[str, Any], now_unix: float) -> Told | None:
    """A whole Message as a chat completion; None when it is none, or has not come to its end."""
    content, reason = message.get("content"), message.get("stop_reason")
    if message.get("type") != "message" or not isinstance(content, list) or not isinstance(reason, str):
        return None
    blocks = [block for block in content if isinstance(block, Mapping)]
    counts = message.get("usage")
    cost, counted = usage(counts) if isinstance(counts, Mapping) else (None, None)
    model = message.get("model")
    completion = {
        "id": str(message.get("id") or ""),
        "object": "chat.completion",
        "created": int(now_unix),
        "model": model if isinstance(model, str) else "",
        "choices": [
            {
                "index": 0,
                "message": _said(blocks, refused(message.get("stop_details"))),
                "logprobs": None,
                "finish_reason": finish(reason),
            }
        ],
        **({"usage": cost} if cost else {}),
    }
    return Told(dumps(completion), counted, model if isinstance(model, str) else None)


def refused(details: object) -> str | None:
    """Why the model would not answer, in its own words."""
    said = details.get("explanation") if isinstance(details, Mapping) else None
    return said if isinstance(said, str) else None


def _said(blocks: list[Mapping[str, Any]], refusal: str | None) -> dict[str, Any]:
    calls = [
        {
            "id": str(block.get("id") or ""),
            "type": "function",
            "function": {"name": str(block.get("name") or ""), "arguments": dumps(block.get("input") or {}).decode()},
        }
        for block in blocks
        if block.get("type") == "tool_use"
    ]
    text = _joined(blocks, "text", "text")
    message = {"role": "assistant", "content": None if calls and not text else text, "refusal": refusal}
    if thoughts := _joined(blocks, "thinking", "thinking"):
        message["reasoning_content"] = thoughts
    return message | ({"tool_calls": calls} if calls else {})


def _joined(blocks: list[Mapping[str, Any]], kind: str, field: str) -> str:
    return "".join(block[field] for block in blocks if block.get("type") == kind and isinstance(block.get(field), str))
