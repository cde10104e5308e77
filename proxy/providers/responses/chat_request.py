"""A chat completions request as a Responses request, field by field.

1. Every field is in one of the tables here, or read by name below; one that is in none is refused, since nobody knows
   what it would have changed.
2. A field that asks for nothing (null, or what holds anyway) is as good as not there.
3. Nothing is to be kept, which has to be said there; and a function is strict only where a chat says so.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from proxy.providers.carried import CannotCarry, Dropped, Sieve
from proxy.providers.responses import chat_items
from proxy.providers.responses.request import SAME as SAME

READ = (
    "max_completion_tokens",
    "max_tokens",
    "messages",
    "parallel_tool_calls",
    "reasoning_effort",
    "response_format",
    "stream",
    "stream_options",
    "tool_choice",
    "tools",
    "verbosity",
)
REFUSED: Mapping[str, str] = {
    "audio": "The answer is text.",
    "function_call": "Functions without tools are not spoken there: use `tool_choice`.",
    "functions": "Functions without tools are not spoken there: use `tools`.",
    "logit_bias": "Tokens cannot be weighed there.",
    "logprobs": "Probabilities are not carried.",
    "modalities": "The answer is text.",
    "moderation": "The moderation is the chat's own.",
    "n": "There is one answer.",
    "stop": "An answer cannot be stopped by its words there.",
    "top_logprobs": "Probabilities are not carried.",
    "web_search_options": "The search is the chat's own.",
}
DROPPED = ("frequency_penalty", "prediction", "presence_penalty", "prompt_cache_options", "seed", "store")
OWN = frozenset({*READ, *REFUSED, *DROPPED}) - {
    "moderation",
    "parallel_tool_calls",
    "prompt_cache_options",
    "store",
    "stream",
    "tool_choice",
    "tools",
    "top_logprobs",
}
"""Fields that a Responses request does not have, or has for something else."""
_MOST = ("max_completion_tokens", "max_tokens")
_ASKS_NOTHING: Mapping[str, tuple[object, ...]] = {
    "frequency_penalty": (0,),
    "function_call": ("none", "auto"),
    "functions": ([],),
    "logit_bias": ({},),
    "logprobs": (False,),
    "metadata": ({},),
    "modalities": (["text"],),
    "n": (1,),
    "presence_penalty": (0,),
    "stop": ([],),
    "store": (False,),
    "top_logprobs": (0,),
}
_SIEVE = Sieve(READ, SAME, DROPPED, REFUSED, _ASKS_NOTHING)


def translate(document: Mapping[str, Any]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The Responses request, and what it leaves out. Raises CannotCarry."""
    asked = {key: value for key, value in document.items() if value is not None}
    dropped = Dropped()
    made: dict[str, Any] = _SIEVE.sift(asked, dropped)
    made |= {"input": chat_items.translate(asked.get("messages"), dropped), "store": False}
    if asked.get("stream") is True:
        made["stream"] = True
    for name in _MOST:
        if name in asked:
            made.setdefault("max_output_tokens", asked[name])
    if "reasoning_effort" in asked:
        made["reasoning"] = {"effort": asked["reasoning_effort"]}
    if text := _text(asked):
        made["text"] = text
    return made | _tools(asked), dropped.names


def _text(asked: Mapping[str, Any]) -> dict[str, Any]:
    text: dict[str, Any] = {"verbosity": asked["verbosity"]} if "verbosity" in asked else {}
    match asked.get("response_format"):
        case None | {"type": "text"}:
            pass
        case {"type": "json_object"}:
            text["format"] = {"type": "json_object"}
        case {"type": "json_schema", "json_schema": {"name": str(name), "schema": dict(schema)} as form}:
            kept = {key: form[key] for key in ("description", "strict") if form.get(key) is not None}
            text["format"] = {"type": "json_schema", "name": name, "schema": schema, **kept}
        case _:
            raise CannotCarry("response_format", "An answer is text, JSON, or by a JSON Schema that has a name.")
    return text


def _tools(asked: Mapping[str, Any]) -> dict[str, Any]:
    tools = asked.get("tools") or []
    if not isinstance(tools, list):
        raise CannotCarry("tools", "`tools` has to be a list.")
    made: dict[str, Any] = {"tools": [_tool(each) for each in tools]} if tools else {}
    if "tool_choice" in asked:
        made["tool_choice"] = _choice(asked["tool_choice"])
    if "parallel_tool_calls" in asked:
        made["parallel_tool_calls"] = asked["parallel_tool_calls"]
    return made


def _tool(tool: object) -> dict[str, Any]:
    match tool:
        case {"type": "function", "function": {"name": str(name)} as function}:
            made = {"type": "function", "name": name, "parameters": function.get("parameters") or _NO_PARAMETERS}
            said = function.get("description")
            strict = function.get("strict") is True
            return made | {"strict": strict} | ({"description": said} if isinstance(said, str) else {})
        case _:
            raise CannotCarry("tools", "Functions alone are carried, each with a name.")


_NO_PARAMETERS: Mapping[str, object] = {"type": "object", "properties": {}}


def _choice(choice: object) -> object:
    match choice:
        case "none" | "auto" | "required":
            return choice
        case {"type": "function", "function": {"name": str(name)}}:
            return {"type": "function", "name": name}
        case {"type": "allowed_tools", "allowed_tools": {"mode": mode, "tools": list(tools)}}:
            return {"type": "allowed_tools", "mode": mode, "tools": [_choice(each) for each in tools]}
        case _:
            raise CannotCarry("tool_choice", "The choice is left, or it is some function, one by name, or one of some.")


def called(name: str, asked: Mapping[str, Any]) -> str:
    """What the caller calls a field of the Responses request that was made of `asked`."""
    if name == "max_output_tokens":
        return next((each for each in _MOST if asked.get(each) is not None), name)
    return name
