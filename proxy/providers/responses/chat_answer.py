"""A Response, whole, as a chat completion.

1. Texts are put together, as the SDK's `output_text` does; thoughts are the summaries, a blank line between two.
2. What belongs to neither text, thought nor a call of the caller's functions is left out.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from proxy.providers import openai

BETWEEN_THOUGHTS = "\n\n"
_INCOMPLETE = {"max_output_tokens": "length", "content_filter": "content_filter"}
_EXACT = 2**53


def completion(response: Mapping[str, Any], now_unix: float) -> dict[str, Any] | None:
    """The chat completion; None when the Response is none, or did not come to its end."""
    items = response.get("output")
    if not isinstance(items, list) or response.get("status") not in ("completed", "incomplete"):
        return None
    output = [item for item in items if isinstance(item, Mapping)]
    message = _message(output)
    used = usage(response.get("usage"))
    reason = finish(response, calls="tool_calls" in message)
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": reason}
    head = {**begun(response, now_unix), "object": "chat.completion"}
    return {**head, "choices": [choice], **({"usage": used} if used else {})}


def begun(response: Mapping[str, Any], now_unix: float) -> dict[str, Any]:
    """What stays the same in all that is told of one answer."""
    said, made, model = response.get("id"), response.get("created_at"), response.get("model")
    name = said.removeprefix("resp_") if isinstance(said, str) else ""
    exact = isinstance(made, int | float) and not isinstance(made, bool) and 0 <= made < _EXACT
    return {
        "id": f"chatcmpl-{name or format(int(now_unix * 1e6), 'x')}",
        "created": int(made) if exact and made is not None else int(now_unix),
        "model": model if isinstance(model, str) else "",
    }


def finish(response: Mapping[str, Any], *, calls: bool) -> str:
    """Why the answer ended. `calls`: some function is called."""
    if response.get("status") == "incomplete":
        details = response.get("incomplete_details")
        reason = details.get("reason") if isinstance(details, Mapping) else None
        return _INCOMPLETE.get(reason, "stop") if isinstance(reason, str) else "stop"
    return "tool_calls" if calls else "stop"


def usage(counts: object) -> dict[str, Any] | None:
    """A usage object in the chat's words; None if there is none."""
    read = openai.read_usage(counts)
    if read is None:
        return None
    return {
        "prompt_tokens": read.input,
        "completion_tokens": read.output,
        "total_tokens": read.input + read.output,
        "prompt_tokens_details": {"cached_tokens": read.cache_read, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": read.reasoning, "audio_tokens": 0},
    }


def _message(output: list[Mapping[str, Any]]) -> dict[str, Any]:
    said = "".join(spoken(item, "output_text", "text") for item in output)
    refused = "".join(spoken(item, "refusal", "refusal") for item in output)
    thoughts = BETWEEN_THOUGHTS.join(text for item in output for text in thought(item))
    calls = [call(item) for item in output if item.get("type") == "function_call"]
    message: dict[str, Any] = {
        "role": "assistant",
        "content": None if (calls or refused) and not said else said,
        "refusal": refused or None,
    }
    if thoughts:
        message["reasoning_content"] = thoughts
    return message | ({"tool_calls": calls} if calls else {})


def spoken(item: Mapping[str, Any], kind: str, field: str) -> str:
    """What a message says in its parts of one kind; nothing of another item."""
    if item.get("type") != "message":
        return ""
    return "".join(part[field] for part in _parts(item.get("content"), field) if part.get("type") == kind)


def thought(item: Mapping[str, Any]) -> list[str]:
    """What an item tells of thoughts: its summaries, or else the thoughts themselves."""
    if item.get("type") != "reasoning":
        return []
    return [part["text"] for part in _parts(item.get("summary"), "text") or _parts(item.get("content"), "text")]


def call(item: Mapping[str, Any]) -> dict[str, Any]:
    """A call of a function."""
    function = {"name": str(item.get("name") or ""), "arguments": str(item.get("arguments") or "")}
    return {"id": str(item.get("call_id") or item.get("id") or ""), "type": "function", "function": function}


def _parts(parts: object, field: str) -> list[Mapping[str, Any]]:
    found: Iterator[Any] = iter(parts if isinstance(parts, list) else ())
    return [part for part in found if isinstance(part, Mapping) and isinstance(part.get(field), str)]
