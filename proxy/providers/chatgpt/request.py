"""A Responses request as a ChatGPT account may ask it: field by field, item by item.

1. Every field is in one of the tables here, or read by name below; one that is in none is refused, since nobody knows
   what it would have changed.
2. It is always a stream, and nothing is ever kept: both have to be said there.
3. Instructions have to be there, if only as an empty text; and no turn may be the system's.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from proxy.providers.carried import CannotCarry, Dropped, Sieve

Item = dict[str, Any]

SAME = ("model", "parallel_tool_calls", "prompt_cache_key", "reasoning", "text", "tool_choice")
"""Carried as they are."""
READ = ("include", "input", "instructions", "service_tier", "stream", "tools")
REFUSED: Mapping[str, str] = {
    "background": "Nothing is kept there that could be asked for later.",
    "conversation": "Nothing is kept there between requests.",
    "moderation": "It is asked of OpenAI's platform alone.",
    "previous_response_id": "Nothing is kept there between requests.",
    "prompt": "Nothing is kept there between requests.",
    "top_logprobs": "Probabilities are not told there.",
}
DROPPED = (
    "access_programs",
    "background_options",
    "context_management",
    "image",
    "max_output_tokens",
    "max_tool_calls",
    "metadata",
    "prompt_cache_options",
    "prompt_cache_retention",
    "safety_identifier",
    "store",
    "stream_options",
    "temperature",
    "top_p",
    "truncation",
    "user",
)
TOOLS = ("function", "custom", "namespace", "web_search")
_ASKS_NOTHING: Mapping[str, tuple[object, ...]] = {
    "background": (False,),
    "metadata": ({},),
    "store": (False,),
    "stream_options": ({}, {"include_obfuscation": False}),
    "temperature": (1,),
    "top_logprobs": (0,),
    "top_p": (1,),
    "truncation": ("disabled",),
}
_NAMELESS = ("function_call", "function_call_output", "custom_tool_call", "custom_tool_call_output")
_USUAL_TIERS = ("auto", "default")
_FASTER = "priority"
_LOGPROBS = "message.output_text.logprobs"
_SIEVE = Sieve(READ, SAME, DROPPED, REFUSED, _ASKS_NOTHING)


def translate(document: Mapping[str, Any], model: str) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The request, and what it leaves out. Raises CannotCarry."""
    asked = {key: value for key, value in document.items() if value is not None}
    dropped = Dropped()
    made = _SIEVE.sift(asked, dropped) | {"model": model, "store": False, "stream": True}
    made["instructions"], made["input"] = _instructed(asked.get("instructions"), _items(asked.get("input"), dropped))
    return made | _include(asked.get("include")) | _tools(asked.get("tools")) | _tier(asked, dropped), dropped.names


def _include(include: object) -> dict[str, Any]:
    if not isinstance(include, list | None):
        raise CannotCarry("include", "`include` has to be a list.")
    if include and _LOGPROBS in include:
        raise CannotCarry("include", f"`include` asks for what is not carried: {REFUSED['top_logprobs']}")
    return {"include": include} if include else {}


def _tools(tools: object) -> dict[str, Any]:
    if not tools:
        return {}
    if not isinstance(tools, list):
        raise CannotCarry("tools", "`tools` has to be a list.")
    for each in tools:
        if not isinstance(each, Mapping) or each.get("type") not in TOOLS:
            raise CannotCarry(
                "tools", "An account is offered functions, tools of one's own, and the search of the web."
            )
    return {"tools": tools}


def _tier(asked: Mapping[str, Any], dropped: Dropped) -> dict[str, Any]:
    """There is the usual one, which must not be named, and a faster one."""
    tier = asked.get("service_tier")
    if tier == _FASTER:
        return {"service_tier": tier}
    if tier is not None and tier not in _USUAL_TIERS:
        dropped.note("service_tier")
    return {}


def _items(given: object, dropped: Dropped) -> Iterator[Item]:
    if isinstance(given, str):
        yield {"type": "message", "role": "user", "content": _parts(given, "user")}
        return
    if not isinstance(given, list):
        raise CannotCarry("input", "`input` has to be text or a list of items.")
    for item in given:
        if not isinstance(item, Mapping):
            raise CannotCarry("input", "An entry of `input` is no object.")
        if item.get("type") == "reasoning":
            # It would be looked up by its name, and nothing is kept there.
            dropped.note("input.reasoning")
            continue
        # So would these, which do as well without one.
        nameless = "role" in item or item.get("type") in _NAMELESS
        kept = {key: value for key, value in item.items() if key != "id" or not nameless}
        yield _message(kept) if "role" in item else kept


def _message(item: Item) -> Item:
    role = "developer" if item["role"] == "system" else item["role"]
    content = _parts(item.get("content"), role)
    return {**item, "type": "message", "role": role, "content": content}


def _parts(content: object, role: object) -> object:
    if not isinstance(content, str):
        return content
    return [{"type": "output_text" if role == "assistant" else "input_text", "text": content}]


def _instructed(instructions: object, items: Iterator[Item]) -> tuple[str, list[Item]]:
    """The instructions, and what is left of the items: what stands before all else serves where there are none."""
    found = list(items)
    if instructions is not None:
        if not isinstance(instructions, str):
            raise CannotCarry("instructions", "`instructions` has to be text.")
        return instructions, found
    said: list[str] = []
    for item in found:
        words = _words(item.get("content")) if item.get("role") == "developer" else None
        if words is None:
            break
        said.append(words)
    if len(said) == len(found):
        # Nothing else is asked, and a question has to be left.
        return "", found
    return "\n\n".join(said), found[len(said) :]


def _words(content: object) -> str | None:
    """The text of parts; None where there is anything but text."""
    if not isinstance(content, list):
        return None
    texts = [
        part.get("text") for part in content if isinstance(part, Mapping) and part.get("type") in ("input_text", "text")
    ]
    words = [text for text in texts if isinstance(text, str)]
    return "".join(words) if len(words) == len(content) else None
