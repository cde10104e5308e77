"""The shape of a Response: the object itself, its items, and what of the request it repeats.

1. Whatever a caller sent and whatever a source said, what is made here is a Response as OpenAI's SDKs know it.
2. Names are made from the source's own for its answer, so that a JSON answer and a stream give the same ones. They
   begin as OpenAI's do and are short enough to be sent back there.
3. Nothing is kept, and `store` says so.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from typing import Any

from proxy.providers import openai

Item = dict[str, Any]

_NOT_OF_NAMES = re.compile(r"[^A-Za-z0-9]")
_NAME = 40
_EXACT = 2**53
_EFFORTS = ("none", "minimal", "low", "medium", "high", "xhigh", "max")
_SUMMARIES = ("auto", "concise", "detailed")
INCOMPLETE: Mapping[str, str] = {"length": "max_output_tokens", "content_filter": "content_filter"}
"""Finish reasons of a chat that leave an answer unfinished, and what that is called here."""


class Names:
    """The ids within one Response."""

    def __init__(self, answer: object, now_unix: float) -> None:
        """`answer` is what the source calls its answer; one without a name is called by the time."""
        bare = answer.removeprefix("chatcmpl-").removeprefix("msg_") if isinstance(answer, str) else ""
        self._stem = _NOT_OF_NAMES.sub("", bare)[-_NAME:] or f"{int(now_unix * 1e6):x}"

    @property
    def response(self) -> str:
        """Of the whole."""
        return f"resp_{self._stem}"

    def item(self, prefix: str, place: int) -> str:
        """Of the item at `place` in the output: `msg`, `rs`, `fc`."""
        return f"{prefix}_{self._stem}{place:02d}"

    def call(self, given: object, place: int) -> str:
        """What a call's result has to name: as the source said it, if it did."""
        return given if isinstance(given, str) and given else f"call_{self._stem}{place:02d}"


def message(name: str, content: list[Item], status: str = "completed") -> Item:
    """What is said."""
    return {"id": name, "type": "message", "status": status, "role": "assistant", "content": content}


def text(said: str) -> Item:
    """A part of a message."""
    return {"type": "output_text", "text": said, "annotations": [], "logprobs": []}


def refusal(said: str) -> Item:
    """A part of a message."""
    return {"type": "refusal", "refusal": said}


def thought(name: str, said: str | None) -> Item:
    """What was thought; None before anything was."""
    return {"id": name, "type": "reasoning", "summary": [] if said is None else [summary(said)]}


def summary(said: str) -> Item:
    """A part of a thought."""
    return {"type": "summary_text", "text": said}


def call(name: str, call_id: str, function: str, arguments: str, status: str = "completed") -> Item:
    """A call of one of the caller's functions."""
    named = {"id": name, "type": "function_call", "status": status, "call_id": call_id, "name": function}
    return named | {"arguments": arguments}


def usage(counts: object) -> Item | None:
    """A chat's usage object in the words of this API; None if there is none."""
    read = openai.read_usage(counts)
    if read is None or not isinstance(counts, Mapping):
        return None
    details = counts.get("prompt_tokens_details")
    written = details.get("cache_write_tokens") if isinstance(details, Mapping) else None
    return {
        "input_tokens": read.input,
        "input_tokens_details": {
            "cached_tokens": read.cache_read,
            "cache_write_tokens": written if type(written) is int and 0 <= written < _EXACT else 0,
        },
        "output_tokens": read.output,
        "output_tokens_details": {"reasoning_tokens": read.reasoning},
        "total_tokens": read.input + read.output,
    }


def response(head: Item, finish: str | None, output: list[Item], used: Item | None) -> Item:
    """The whole object. `head` is of `begun`; `finish` the chat's finish reason, None while it is in progress."""
    cut = INCOMPLETE.get(finish or "")
    status = "in_progress" if finish is None else "incomplete" if cut else "completed"
    reason = {"reason": cut} if cut else None
    return {**head, "status": status, "incomplete_details": reason, "output": output, "usage": used}


def begun(asked: Mapping[str, Any], names: Names, created: object, model: str) -> Item:
    """What stays the same from a Response's beginning to its end. `asked` is the caller's request."""
    given = {name: asked[name] for name, fits in _ECHOED.items() if fits(asked.get(name))}
    return {
        "id": names.response,
        "object": "response",
        "created_at": created,
        "model": model,
        "error": None,
        "instructions": None,
        "max_output_tokens": None,
        "metadata": {},
        "parallel_tool_calls": True,
        "previous_response_id": None,
        "temperature": 1.0,
        "top_p": 1.0,
        "truncation": "disabled",
        "background": False,
        "store": False,
        **given,
        "reasoning": _reasoning(asked.get("reasoning")),
        "text": _text(asked.get("text")),
        "tool_choice": _choice(asked.get("tool_choice")),
        "tools": _tools(asked.get("tools")),
    }


def created_at(said: object, now_unix: float) -> int:
    """When the answer was made, in seconds: as its source says, or else now."""
    return said if type(said) is int and 0 <= said < _EXACT else int(now_unix)


def _is_text(value: object) -> bool:
    return isinstance(value, str)


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < _EXACT


def _is_whole(value: object) -> bool:
    return type(value) is int and abs(value) < _EXACT


def _are_labels(value: object) -> bool:
    return isinstance(value, dict) and all(isinstance(each, str) for each in value.values())


_ECHOED: Mapping[str, Callable[[object], bool]] = {
    "instructions": _is_text,
    "max_output_tokens": _is_whole,
    "metadata": _are_labels,
    "parallel_tool_calls": lambda value: isinstance(value, bool),
    "prompt_cache_key": _is_text,
    "safety_identifier": _is_text,
    "temperature": _is_number,
    "top_p": _is_number,
    "user": _is_text,
}
"""Fields that are repeated as they came, and what they have to be for that."""


def _reasoning(asked: object) -> Item:
    found = asked if isinstance(asked, Mapping) else {}
    effort, wanted = found.get("effort"), found.get("summary")
    return {"effort": effort if effort in _EFFORTS else None, "summary": wanted if wanted in _SUMMARIES else None}


def _text(asked: object) -> Item:
    match asked:
        case {"format": {"type": "json_object"}}:
            return {"format": {"type": "json_object"}}
        case {"format": {"type": "json_schema", "name": str(name), "schema": dict(schema)} as form}:
            made: Item = {"type": "json_schema", "name": name, "schema": schema, "strict": form.get("strict") is True}
            if isinstance(said := form.get("description"), str):
                made["description"] = said
            return {"format": made}
        case _:
            return {"format": {"type": "text"}}


def _choice(asked: object) -> object:
    match asked:
        case "none" | "auto" | "required":
            return asked
        case {"type": "function", "name": str(name)}:
            return {"type": "function", "name": name}
        case {"type": "allowed_tools", "mode": ("auto" | "required") as mode, "tools": list(tools)}:
            return {"type": "allowed_tools", "mode": mode, "tools": [each for each in tools if isinstance(each, dict)]}
        case _:
            return "auto"


def _tools(asked: object) -> list[Item]:
    functions = [each for each in asked if isinstance(each, Mapping)] if isinstance(asked, list) else []
    return [
        {
            "type": "function",
            "name": each["name"],
            "description": each["description"] if isinstance(each.get("description"), str) else None,
            "parameters": each["parameters"] if isinstance(each.get("parameters"), dict) else None,
            "strict": each["strict"] if isinstance(each.get("strict"), bool) else None,
        }
        for each in functions
        if each.get("type") == "function" and isinstance(each.get("name"), str)
    ]
