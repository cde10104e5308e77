"""A chat completions request as a request of the Messages API, field by field.

1. Every field is in one of the tables here, or read by name below; one that is in none is refused, since nobody knows
   what it would have changed.
2. A field that asks for nothing (null, or what holds anyway) is as good as not there.
3. A tier's `params` hold before anything else: they change the request as it came, in OpenAI's words and in those of
   NATIVE. What an operator sets there is sent, whatever is known of the model.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from proxy.providers import openai
from proxy.providers.anthropic import turns
from proxy.providers.anthropic.models import EFFORTS, Takes, takes
from proxy.providers.carried import CannotCarry, Dropped, Sieve
from proxy.terms import Binding, Params

DEFAULT_MAX_TOKENS = 32_000
"""Where nobody says one: this API insists on it, and every current model goes so far."""

REFUSED: Mapping[str, str] = {
    "n": "Claude gives one answer.",
    "logprobs": "Claude tells no probabilities.",
    "top_logprobs": "Claude tells no probabilities.",
    "logit_bias": "Tokens are each model's own, and Claude's cannot be weighed.",
    "modalities": "Claude answers in text.",
    "audio": "Claude answers in text.",
    "functions": "Functions without tools are not spoken here: use `tools`.",
    "function_call": "Functions without tools are not spoken here: use `tool_choice`.",
    "web_search_options": "The search is OpenAI's own.",
    "moderation": "The moderation is OpenAI's own.",
}
DROPPED = (
    "frequency_penalty",
    "metadata",
    "prediction",
    "presence_penalty",
    "prompt_cache_key",
    "prompt_cache_options",
    "prompt_cache_retention",
    "seed",
    "service_tier",
    "store",
    "verbosity",
)
NATIVE = ("thinking", "inference_geo", "speed", "cache_control", "top_k")
"""Fields of the Messages API that OpenAI's has no word for: they come along as they are."""
READ = (
    "model",
    "messages",
    "stream",
    "stream_options",
    "max_completion_tokens",
    "max_tokens",
    "temperature",
    "top_p",
    "stop",
    "tools",
    "tool_choice",
    "parallel_tool_calls",
    "response_format",
    "reasoning_effort",
    "user",
    "safety_identifier",
)
_ASKS_NOTHING: Mapping[str, tuple[object, ...]] = {
    "n": (1,),
    "logprobs": (False,),
    "top_logprobs": (0,),
    "logit_bias": ({},),
    "modalities": (["text"],),
    "functions": ([],),
    "function_call": ("none", "auto"),
    "frequency_penalty": (0,),
    "presence_penalty": (0,),
    "metadata": ({},),
    "service_tier": ("auto", "default"),
    "store": (False,),
    "verbosity": ("medium",),
}
_SAMPLING = ("temperature", "top_p", "top_k")
_THINKS_NOT = {"type": "disabled"}
_USER_ID = 256
"""Characters that this API takes of a user's id."""
_SIEVE = Sieve((*READ, *NATIVE), (), DROPPED, REFUSED, _ASKS_NOTHING)


def translate(document: Mapping[str, Any], model: str, binding: Binding) -> tuple[dict[str, Any], tuple[str, ...]]:
    """The request, and what it leaves out. Raises CannotCarry."""
    asked = {key: value for key, value in openai.amended(document, binding.params).items() if value is not None}
    dropped = Dropped()
    _SIEVE.sift(asked, dropped)
    system, messages = turns.translate(asked.get("messages"), dropped)
    request: dict[str, Any] = {"model": model, "max_tokens": _max_tokens(asked, binding.params), "messages": messages}
    if system:
        request["system"] = system
    if asked.get("stream") is True:
        request["stream"] = True
    request |= {key: asked[key] for key in NATIVE if key in asked and key not in _SAMPLING}
    request |= _sampling(asked, binding.params, takes(model), dropped)
    request |= _tools(asked)
    if stops := _stops(asked.get("stop")):
        request["stop_sequences"] = stops
    _form(asked, request)
    _effort(asked, request, takes(model), dropped)
    if user := _user(asked, dropped):
        request["metadata"] = {"user_id": user}
    return request, dropped.names


def _max_tokens(asked: Mapping[str, Any], params: Params) -> int:
    names = ("max_completion_tokens", "max_tokens")
    # What the operator set holds, under whichever of the two names; and so does a cap.
    ours = [params.set[name] for name in names if name in params.set]
    theirs = [asked[name] for name in names if name in asked]
    found = (ours or theirs or [DEFAULT_MAX_TOKENS])[0]
    if not isinstance(found, int) or isinstance(found, bool):
        raise CannotCarry("max_tokens", "`max_tokens` has to be a whole number.")
    caps = [] if ours else [int(params.cap[name]) for name in names if name in params.cap]
    return min(found, *caps) if caps else found


def _sampling(asked: Mapping[str, Any], params: Params, model: Takes, dropped: Dropped) -> dict[str, Any]:
    """Temperature or top_p, for the models that have them: one of the two, and a temperature up to 1."""
    given = {}
    for name in _SAMPLING:
        value = asked.get(name)
        if value is not None and (not isinstance(value, int | float) or isinstance(value, bool)):
            raise CannotCarry(name, f"`{name}` has to be a number.")
        # 1 is what holds anyway, but not for top_k.
        if value is not None and (value != 1 or name == "top_k" or name in params.set):
            given[name] = value
    # While it thinks, a model has no sampling either.
    sampled = model.sampling and asked.get("thinking", _THINKS_NOT) == _THINKS_NOT
    for name, left_out in (
        ("temperature", not sampled or given.get("temperature", 0) > 1),
        ("top_p", not sampled or 0 <= given.get("temperature", -1) <= 1),
        ("top_k", not sampled),
    ):
        if name in given and left_out and name not in params.set:
            dropped.note(name)
            del given[name]
    return given


def _tools(asked: Mapping[str, Any]) -> dict[str, Any]:
    tools = asked.get("tools")
    if not tools:
        return {}
    if not isinstance(tools, list):
        raise CannotCarry("tools", "`tools` has to be a list.")
    found: dict[str, Any] = {"tools": [_tool(each) for each in tools]}
    choice = _choice(asked.get("tool_choice"))
    if asked.get("parallel_tool_calls") is False and choice.get("type") != "none":
        choice = {"type": "auto", **choice, "disable_parallel_tool_use": True}
    return found | ({"tool_choice": choice} if choice else {})


def _tool(tool: object) -> dict[str, Any]:
    function = tool.get("function") if isinstance(tool, Mapping) else None
    if not isinstance(tool, Mapping) or tool.get("type") != "function" or not isinstance(function, Mapping):
        raise CannotCarry("tools", "Claude is offered functions alone: other tools are OpenAI's own.")
    schema = function.get("parameters") or {}
    if not isinstance(schema, Mapping):
        raise CannotCarry("tools", "The `parameters` of a function are no JSON Schema.")
    made = {"name": function.get("name"), "input_schema": {"type": "object", **schema}}
    if isinstance(said := function.get("description"), str):
        made["description"] = said
    if function.get("strict") is True:
        made["strict"] = True
    if isinstance(mark := tool.get("cache_control"), Mapping):
        made["cache_control"] = mark
    return made


def _choice(choice: object) -> dict[str, Any]:
    match choice:
        case None:
            return {}
        case "none" | "auto":
            return {"type": choice}
        case "required":
            return {"type": "any"}
        case {"type": "function", "function": {"name": str(name)}}:
            return {"type": "tool", "name": name}
        case _:
            raise CannotCarry("tool_choice", "Claude can be left the choice, told to use some tool, or one by name.")


def _stops(stop: object) -> list[str]:
    stops = [stop] if isinstance(stop, str) else stop
    if stops is None:
        return []
    if not isinstance(stops, list) or not all(isinstance(each, str) and each.strip() for each in stops):
        raise CannotCarry("stop", "Claude does not stop at white space alone.")
    return stops


def _form(asked: Mapping[str, Any], request: dict[str, Any]) -> None:
    """What the answer has to look like."""
    match asked.get("response_format"):
        case None | {"type": "text"}:
            pass
        case {"type": "json_schema", "json_schema": {"schema": dict(schema)}}:
            request["output_config"] = {"format": {"type": "json_schema", "schema": schema}}
        case _:
            raise CannotCarry(
                "response_format", "Claude answers in text or by a JSON Schema, not in JSON of any shape."
            )


def _effort(asked: Mapping[str, Any], request: dict[str, Any], model: Takes, dropped: Dropped) -> None:
    """How hard to think. OpenAI's least but none is the least here."""
    effort = asked.get("reasoning_effort")
    if effort is None:
        return
    if effort not in ("none", "minimal", *EFFORTS):
        raise CannotCarry("reasoning_effort", "This is no effort that Claude knows.")
    effort = "low" if effort == "minimal" else effort
    if effort == "none" and model.no_thought:
        request.setdefault("thinking", _THINKS_NOT)
    elif effort in model.efforts:
        request["output_config"] = {**request.get("output_config", {}), "effort": effort}
    else:
        dropped.note("reasoning_effort")


def _user(asked: Mapping[str, Any], dropped: Dropped) -> str | None:
    for name in ("safety_identifier", "user"):
        value = asked.get(name)
        if isinstance(value, str) and 0 < len(value) <= _USER_ID:
            return value
        if value:
            dropped.note(name)
    return None
