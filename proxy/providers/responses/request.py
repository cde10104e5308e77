"""A Responses request as a chat completions request, field by field.

1. Every field is in one of the tables here, or read by name below; one that is in none is refused, since nobody knows
   what it would have changed.
2. A field that asks for nothing (null, or what holds anyway) is as good as not there.
3. What is kept at a source never comes here: the edge refuses it before any tier is asked.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from proxy.providers.carried import CannotCarry, Dropped, Sieve
from proxy.providers.responses import items

SAME = (
    "metadata",
    "model",
    "prompt_cache_key",
    "prompt_cache_retention",
    "safety_identifier",
    "service_tier",
    "temperature",
    "top_p",
    "user",
)
"""Carried under the same name, either way."""
READ = (
    "input",
    "instructions",
    "max_output_tokens",
    "parallel_tool_calls",
    "reasoning",
    "stream",
    "text",
    "tool_choice",
    "tools",
)
REFUSED: Mapping[str, str] = {
    "background": "Nothing is kept there that could be asked for later.",
    "conversation": "Nothing is kept there between requests.",
    "moderation": "The moderation is OpenAI's own.",
    "previous_response_id": "Nothing is kept there between requests.",
    "prompt": "Nothing is kept there between requests.",
    "top_logprobs": "Probabilities are not carried.",
}
DROPPED = (
    "access_programs",
    "background_options",
    "context_management",
    "image",
    "include",
    "max_tool_calls",
    "prompt_cache_options",
    "store",
    "stream_options",
    "truncation",
)
OWN = frozenset({*READ, *REFUSED, *DROPPED}) - {
    "moderation",
    "parallel_tool_calls",
    "prompt_cache_options",
    "store",
    "stream",
    "stream_options",
    "tool_choice",
    "tools",
    "top_logprobs",
}
"""Fields that a chat completions request does not have."""
_ASKS_NOTHING: Mapping[str, tuple[object, ...]] = {
    "background": (False,),
    "top_logprobs": (0,),
    "include": ([],),
    "metadata": ({},),
    "store": (False,),
    "stream_options": ({}, {"include_obfuscation": False}),
    "truncation": ("disabled",),
}
_LOGPROBS = "message.output_text.logprobs"
_LATER = ("allowed_callers", "defer_loading", "output_schema")
"""Of a function: what only tools of the source's own make use of."""
_SIEVE = Sieve(READ, SAME, DROPPED, REFUSED, _ASKS_NOTHING)


def translate(document: Mapping[str, Any]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The chat request, and what it leaves out. Raises CannotCarry."""
    asked = {key: value for key, value in document.items() if value is not None}
    dropped = Dropped()
    _no_logprobs(asked.get("include"))
    chat: dict[str, Any] = _SIEVE.sift(asked, dropped)
    chat["messages"] = items.translate(asked.get("instructions"), asked.get("input"), dropped)
    if asked.get("stream") is True:
        # Without it a stream has no usage, and every Response has one.
        chat |= {"stream": True, "stream_options": {"include_usage": True}}
    if "max_output_tokens" in asked:
        chat["max_completion_tokens"] = asked["max_output_tokens"]
    chat |= _tools(asked, dropped) | _text(asked.get("text")) | _reasoning(asked.get("reasoning"), dropped)
    return chat, dropped.names


def _no_logprobs(include: object) -> None:
    if isinstance(include, list) and _LOGPROBS in include:
        raise CannotCarry("include", f"`include` asks for what is not carried: {REFUSED['top_logprobs']}")


def _tools(asked: Mapping[str, Any], dropped: Dropped) -> dict[str, Any]:
    tools, choice = asked.get("tools") or [], asked.get("tool_choice")
    if not isinstance(tools, list):
        raise CannotCarry("tools", "`tools` has to be a list.")
    if isinstance(choice, Mapping) and choice.get("type") == "allowed_tools":
        tools, choice = _allowed(tools, choice)
    if not tools:
        # A chat may not speak of tools that it does not have.
        return {} if choice in (None, "auto", "none") else {"tool_choice": _choice(choice)}
    chat: dict[str, Any] = {"tools": [_tool(each, dropped) for each in tools]}
    if choice is not None:
        chat["tool_choice"] = _choice(choice)
    if "parallel_tool_calls" in asked:
        chat["parallel_tool_calls"] = asked["parallel_tool_calls"]
    return chat


def _tool(tool: object, dropped: Dropped) -> dict[str, Any]:
    name = tool.get("name") if isinstance(tool, Mapping) else None
    if not isinstance(tool, Mapping) or tool.get("type") != "function" or not isinstance(name, str):
        raise CannotCarry("tools", "A chat is offered functions alone: other tools are OpenAI's own.")
    for field in _LATER:
        if tool.get(field):
            dropped.note(f"tools.{field}")
    kept = {key: tool[key] for key in ("description", "parameters", "strict") if tool.get(key) is not None}
    return {"type": "function", "function": {"name": name, **kept}}


def _allowed(tools: list[Any], choice: Mapping[str, Any]) -> tuple[list[Any], object]:
    """Only those that may be called are offered, which comes to the same and is known to every server."""
    wanted = choice.get("tools")
    if not isinstance(wanted, list) or not all(isinstance(each, Mapping) for each in wanted):
        raise CannotCarry("tool_choice", "The `tools` of `allowed_tools` have to be a list of objects.")
    names = [each.get("name") for each in wanted]
    allowed = [each for each in tools if isinstance(each, Mapping) and each.get("name") in names]
    return allowed, choice.get("mode") if allowed else "none"


def _choice(choice: object) -> object:
    match choice:
        case "none" | "auto" | "required":
            return choice
        case {"type": "function", "name": str(name)}:
            return {"type": "function", "function": {"name": name}}
        case _:
            raise CannotCarry("tool_choice", "A chat is left the choice, told to use some function, or one by name.")


def _text(text: object) -> dict[str, Any]:
    """What the answer has to look like, and how long it is to be."""
    if text is None:
        return {}
    if not isinstance(text, Mapping):
        raise CannotCarry("text", "`text` has to be an object.")
    chat: dict[str, Any] = {} if text.get("verbosity") is None else {"verbosity": text["verbosity"]}
    match text.get("format"):
        case None | {"type": "text"}:
            pass
        case {"type": "json_object"}:
            chat["response_format"] = {"type": "json_object"}
        case {"type": "json_schema", "name": str(name), "schema": dict(schema)} as form:
            kept = {key: form[key] for key in ("description", "strict") if form.get(key) is not None}
            chat["response_format"] = {"type": "json_schema", "json_schema": {"name": name, "schema": schema, **kept}}
        case _:
            raise CannotCarry("text.format", "A chat answers in text, in JSON, or by a JSON Schema that has a name.")
    return chat


def _reasoning(reasoning: object, dropped: Dropped) -> dict[str, Any]:
    if reasoning is None:
        return {}
    if not isinstance(reasoning, Mapping):
        raise CannotCarry("reasoning", "`reasoning` has to be an object.")
    for field, usual in (("summary", None), ("generate_summary", None), ("context", "auto"), ("mode", "standard")):
        if reasoning.get(field) not in (None, usual):
            dropped.note(f"reasoning.{field}")
    effort = reasoning.get("effort")
    return {} if effort is None else {"reasoning_effort": effort}


_CALLED: Mapping[str, str] = {
    "max_completion_tokens": "max_output_tokens",
    "max_tokens": "max_output_tokens",
    "reasoning_effort": "reasoning.effort",
    "response_format": "text.format",
    "verbosity": "text.verbosity",
}


def called(name: str) -> str:
    """What the caller calls a field of the chat request that was made of the caller's."""
    if name.split(".")[0] == "messages":
        return "input" + name.removeprefix("messages")
    return _CALLED.get(name, name)
