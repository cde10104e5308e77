"""Questions for a tier that has chat completions alone, what is made of them, and what comes back, held to the SDK."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

import orjson
from openai.types.chat.completion_create_params import (
    CompletionCreateParamsNonStreaming,
    CompletionCreateParamsStreaming,
)
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from proxy.providers import sse
from proxy.providers.dialect import Call, Dialect, Uncarried
from proxy.providers.passthrough import PassThrough
from proxy.providers.responses.by_chat import ByChat
from proxy.terms import RESPONSES, Binding, Params, Question, StreamEvent, StreamReader
from tests.unit.providers.anthropic.asked import fits

NOW = 1_790_000_000.5
WEATHER: dict[str, Any] = {
    "type": "function",
    "name": "weather",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    "strict": True,
}
BINDING = Binding("s", "openai-compatible", "served")
_EVENT: TypeAdapter[ResponseStreamEvent] = TypeAdapter(ResponseStreamEvent)


def question(**document: Any) -> Question:
    """A Responses request of these fields; without input it has one."""
    whole = {"model": "any", "input": "Where?", **document}
    model = whole["model"] if isinstance(whole["model"], str) else None
    return Question(RESPONSES, orjson.dumps(whole), whole, (), "", whole.get("stream") is True, model)


def put(params: Params | None = None, chat: Dialect | None = None, **document: Any) -> Call | Uncarried:
    """What a tier makes of it."""
    binding = replace(BINDING, params=params or Params())
    return ByChat(chat or PassThrough()).call(question(**document), binding)


def sent(params: Params | None = None, **document: Any) -> dict[str, Any]:
    """The request that goes up, which is one of those that OpenAI's own SDK can send."""
    call = put(params, **document)
    assert isinstance(call, Call), call
    assert call.path == "/chat/completions"
    body: dict[str, Any] = orjson.loads(call.body)
    assert body.pop("model") == "served"
    hint = CompletionCreateParamsStreaming if "stream" in body else CompletionCreateParamsNonStreaming
    assert fits({**body, "model": "served"}, hint), body
    return body


def dropped(**document: Any) -> tuple[str, ...]:
    """What it leaves out."""
    call = put(**document)
    assert isinstance(call, Call), call
    return call.dropped


def refused(**document: Any) -> str:
    """The field for which it is refused."""
    call = put(**document)
    assert isinstance(call, Uncarried), call
    return call.detail


def reader(chat: Dialect | None = None, **document: Any) -> StreamReader:
    """A fresh one."""
    return ByChat(chat or PassThrough()).reader(question(stream=True, **document), BINDING, str, NOW)


def response(document: Mapping[str, Any]) -> Response:
    """A Response as OpenAI's SDK knows it, and `store`, which OpenAI sends beside that."""
    read = Response.model_validate(document, strict=True)
    assert read.model_extra == {"store": False}
    return read


def events(told: Sequence[StreamEvent]) -> list[ResponseStreamEvent]:
    """The events that the caller gets; each is exactly one that OpenAI's SDK knows."""
    found = []
    for raw in sse.Splitter().feed(b"".join(event.raw for event in told)):
        name, data = sse.parse(raw)
        if data is not None:
            event = _EVENT.validate_python(orjson.loads(data), strict=True)
            # The SDK of before 3 insists on the name of a function whose arguments are done, and later ones do without.
            assert event.type == name
            assert not set(event.model_extra or ()) - {"name"}
            found.append(event)
    return found


def sound(found: Sequence[ResponseStreamEvent]) -> Response:
    """Hold a whole stream to what the API promises of the order of its events; the answer that it ends with."""
    assert [event.sequence_number for event in found] == list(range(len(found)))
    assert [event.type for event in found[:2]] == ["response.created", "response.in_progress"]
    begun: dict[int, str] = {}
    done: dict[int, Any] = {}
    said: dict[tuple[Any, ...], str] = defaultdict(str)
    for event in found[2:-1]:
        place, part = getattr(event, "output_index", -1), getattr(event, "content_index", None)
        part = getattr(event, "summary_index", part)
        match event.type:
            case "response.output_item.added":
                assert event.output_index == len(begun)
                begun[place] = event.item.id or ""
            case "response.output_item.done":
                assert place not in done
                assert event.item.id == begun[place]
                done[place] = event.item
            case "response.output_text.done" | "response.reasoning_summary_text.done":
                assert said.pop((place, part, event.type[:-5])) == event.text
            case "response.refusal.done":
                assert said.pop((place, part, event.type[:-5])) == event.refusal
            case "response.function_call_arguments.done":
                assert said.pop((place, part, event.type[:-5]), "") == event.arguments
            case "response.content_part.added" | "response.reasoning_summary_part.added":
                kind = {"output_text": "output_text", "refusal": "refusal", "summary_text": "reasoning_summary_text"}
                said[place, part, f"response.{kind[event.part.type]}"] = ""
            case "response.content_part.done" | "response.reasoning_summary_part.done":
                pass
            case _:
                assert event.type.endswith(".delta"), event.type
                assert place not in done
                assert getattr(event, "item_id", None) == begun[place]
                said[place, part, event.type[:-6]] += getattr(event, "delta", "")
    assert not said
    last = found[-1]
    assert last.type in ("response.completed", "response.incomplete")
    whole: Response = getattr(last, "response")  # noqa: B009  # only the last kinds of event have one
    assert whole.output == [done[place] for place in sorted(begun)]
    assert f"response.{whole.status}" == last.type
    return whole
