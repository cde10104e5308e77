"""The translation of Responses to chats and back: whatever is asked or answered, it is told soundly, or refused."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import orjson
from hypothesis import example, given
from hypothesis import strategies as st
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.chat.completion_create_params import CompletionCreateParamsBase, CompletionCreateParamsNonStreaming
from openai.types.responses.response_create_params import ResponseCreateParamsBase

from proxy.demo import chat
from proxy.demo.answers import Speaker
from proxy.providers.dialect import Call
from proxy.providers.passthrough import PassThrough
from proxy.providers.responses.by_chat import ByChat
from proxy.providers.responses.by_responses import ByResponses
from proxy.terms import CHAT, Params, Question, Sign
from tests.unit.providers.anthropic.asked import fits
from tests.unit.providers.anthropic.transcripts import chunks
from tests.unit.providers.responses.asked import BINDING, NOW, events, put, question, reader, response, sound

_TEXT = st.text(max_size=8)
_JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.floats(0, 2) | _TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXT, inner, max_size=3),
    max_leaves=5,
)
_IDS = st.sampled_from(["call_1", "call:2", "é"])
_PART = st.one_of(
    st.fixed_dictionaries({"type": st.just("input_text"), "text": _TEXT}),
    st.fixed_dictionaries({"type": st.just("input_image"), "image_url": st.just("https://h/i.png")}),
)
_GOOD = st.one_of(
    st.fixed_dictionaries({"role": st.sampled_from(["system", "developer", "user", "assistant"]), "content": _TEXT}),
    st.fixed_dictionaries({"role": st.just("user"), "content": st.lists(_PART, min_size=1, max_size=3)}),
    st.fixed_dictionaries({"type": st.just("reasoning"), "summary": st.just([])}),
    st.fixed_dictionaries(
        {"type": st.just("function_call"), "call_id": _IDS, "name": st.just("f"), "arguments": st.just("{}")}
    ),
    st.fixed_dictionaries({"type": st.just("function_call_output"), "call_id": _IDS, "output": _TEXT}),
)
_FIELDS = [*ResponseCreateParamsBase.__annotations__, "odd"]
_SHAPES: dict[str, st.SearchStrategy[Any]] = {
    "tools": st.lists(
        st.fixed_dictionaries(
            {"type": st.sampled_from(["function", "odd"])},
            optional={"name": _JSON, "parameters": _JSON, "strict": _JSON, "description": _JSON},
        )
        | _JSON,
        max_size=2,
    ),
    "tool_choice": st.fixed_dictionaries(
        {"type": st.sampled_from(["function", "allowed_tools", "odd"])},
        optional={"name": _JSON, "mode": st.sampled_from(["auto", "required", "odd"]), "tools": _JSON},
    ),
    "text": st.fixed_dictionaries(
        {},
        optional={
            "format": st.fixed_dictionaries(
                {"type": st.sampled_from(["text", "json_object", "json_schema", "odd"])},
                optional={"name": _JSON, "schema": _JSON, "strict": _JSON, "description": _JSON},
            )
        },
    ),
    "reasoning": st.fixed_dictionaries({}, optional={"effort": _JSON, "summary": _JSON}),
}
_ANYTHING = st.fixed_dictionaries(
    {}, optional={name: _SHAPES[name] | _JSON if name in _SHAPES else _JSON for name in _FIELDS}
)


@given(st.lists(_GOOD | _JSON, max_size=4) | _JSON, _ANYTHING, st.dictionaries(st.sampled_from(_FIELDS), _JSON))
def test_any_request_is_carried_or_refused(given_: Any, fields: dict[str, Any], more: dict[str, Any]) -> None:
    """Nothing that a caller sends, and nothing that an operator sets, makes the translation stumble."""
    put(**{**fields, "input": given_})
    put(Params(set=more), **{**fields, "input": given_})


@given(st.lists(_GOOD, min_size=1, max_size=6))
def test_items_are_what_a_chat_takes(items: list[dict[str, Any]]) -> None:
    """A request of the SDK's; every call and every result once, in their order, and all that the user said."""
    call = put(input=items)
    assert isinstance(call, Call)
    body = orjson.loads(call.body)
    assert fits(body, CompletionCreateParamsNonStreaming)
    messages = body["messages"]
    calls = [each["id"] for message in messages for each in message.get("tool_calls", ())]
    assert calls == [item["call_id"] for item in items if item.get("type") == "function_call"]
    results = [(message["tool_call_id"], message["content"]) for message in messages if message["role"] == "tool"]
    outputs = [item for item in items if item.get("type") == "function_call_output"]
    assert results == [(item["call_id"], item["output"]) for item in outputs]
    said = "".join(message["content"] or "" for message in messages if message["role"] == "assistant")
    assert said == "".join(item["content"] for item in items if item.get("role") == "assistant")
    assert all(not message.get("tool_calls") or message["role"] == "assistant" for message in messages)


_CHOICE = st.fixed_dictionaries(
    {},
    optional={
        "finish_reason": st.sampled_from(["stop", "length", "content_filter", "tool_calls"]) | _JSON,
        "message": st.fixed_dictionaries(
            {}, optional=dict.fromkeys(["content", "refusal", "reasoning_content", "tool_calls"], _JSON)
        )
        | _JSON,
    },
)
_CALLS = st.lists(
    st.fixed_dictionaries(
        {"function": st.fixed_dictionaries({}, optional={"name": _TEXT | _JSON, "arguments": _TEXT | _JSON})},
        optional={"index": st.integers(0, 2) | _JSON, "id": st.sampled_from(["a", "b"]) | _JSON},
    ),
    max_size=2,
)


@given(
    _ANYTHING,
    st.fixed_dictionaries(
        {"choices": st.lists(_CHOICE, max_size=2)}, optional=dict.fromkeys(["id", "created", "model", "usage"], _JSON)
    ),
)
def test_whatever_a_chat_answers_the_caller_gets_a_response(asked: dict[str, Any], completion: dict[str, Any]) -> None:
    """Whatever was asked as well: a document of any shape is a Response, or no answer."""
    told = ByChat(PassThrough()).answer(question(**asked), orjson.dumps(completion), completion, NOW)
    if told is not None:
        response(orjson.loads(told.body))


_DELTA = st.fixed_dictionaries(
    {},
    optional={
        "content": _TEXT,
        "refusal": _TEXT,
        "reasoning_content": _TEXT,
        "reasoning": _JSON,
        "tool_calls": _CALLS | _JSON,
        "role": _JSON,
    },
)
_CHUNK = st.fixed_dictionaries(
    {
        "choices": st.lists(
            st.fixed_dictionaries(
                {"delta": _DELTA | _JSON},
                optional={"finish_reason": st.none() | st.sampled_from(["stop", "length", "tool_calls"])},
            ),
            max_size=1,
        )
    },
    optional={"id": _TEXT, "model": _TEXT, "created": _JSON, "usage": _JSON},
)


_NAMELESS = [{"choices": [{"delta": {"tool_calls": [{"function": {}}]}}]}, {"choices": [{"delta": {"content": "0"}}]}]
"""A call that has no name yet, and then words."""


@given(_ANYTHING, st.lists(_CHUNK | _JSON, max_size=10), st.booleans())
@example({}, _NAMELESS, True)
def test_whatever_a_chat_streams_the_caller_gets_events(asked: dict[str, Any], chunks: list[Any], done: bool) -> None:
    """Chunks of any shape and order: the SDK's events, in an order that holds, or garbage that ends the stream."""
    read = reader(**{key: value for key, value in asked.items() if key != "stream"})
    told = []
    for chunk in chunks:
        told += read.feed(b"data: " + orjson.dumps(chunk) + b"\n\n")
    told += read.feed(b"data: [DONE]\n\n") if done else []
    told += read.finish()
    found = events(told)
    if read.whole:
        sound(found)
    assert read.whole is any(event.sign is Sign.DONE and event.raw for event in told)


@given(
    st.sampled_from(["m", "thinking-m"]),
    _TEXT,
    st.booleans(),
    st.none() | st.integers(1, 3),
    st.lists(st.integers(0, 3000), max_size=12).map(sorted),
)
def test_any_stream_of_the_simulators_wherever_it_is_cut(
    model: str, text: str, tool: bool, limit: int | None, cuts: list[int]
) -> None:
    """One answer, told in JSON, in one piece and in many: the same items."""
    document: dict[str, Any] = {"model": model, "messages": [{"role": "user", "content": "x"}]}
    if tool:
        document |= {"tools": [{"type": "function", "function": {"name": "f"}}], "tool_choice": "required"}
    if limit:
        document["max_completion_tokens"] = limit
    speaker = Speaker("s", text=text or None)
    data = b"".join(piece.data for piece in chat.chat({**document, "stream": True}, speaker).pieces)
    edges = [0, *(min(cut, len(data)) for cut in cuts), len(data)]
    read, whole = reader(), reader()
    told = [event for start, end in pairwise(edges) for event in read.feed(data[start:end])] + read.finish()
    assert told == whole.feed(data) + whole.finish()
    streamed = sound(events(told))
    body = b"".join(piece.data for piece in chat.chat(document, speaker).pieces)
    answer = ByChat(PassThrough()).answer(question(), body, orjson.loads(body), NOW)
    assert answer is not None
    at_once = response(orjson.loads(answer.body))
    assert at_once.output_text == streamed.output_text
    assert [item.type for item in at_once.output] == [item.type for item in streamed.output]
    assert at_once.status == streamed.status


def _chat(**document: Any) -> Question:
    return Question(CHAT, b"", document, (), "", True, "m")


def _sum(found: list[ChatCompletionChunk]) -> tuple[Any, ...]:
    """What a chat's stream says, however it was cut into chunks."""
    choices = [choice for chunk in found for choice in chunk.choices]
    calls: dict[int, list[str]] = {}
    for call in (call for choice in choices for call in choice.delta.tool_calls or []):
        said = calls.setdefault(call.index, ["", "", ""])
        said[0] += call.id or ""
        said[1] += (call.function and call.function.name) or ""
        said[2] += (call.function and call.function.arguments) or ""
    return (
        "".join(choice.delta.content or "" for choice in choices),
        "".join((choice.delta.model_extra or {}).get("reasoning_content", "") for choice in choices),
        calls,
        [choice.finish_reason for choice in choices if choice.finish_reason],
        [chunk.usage for chunk in found if chunk.usage],
    )


@given(st.sampled_from(["m", "thinking-m"]), _TEXT, st.booleans(), st.none() | st.integers(1, 3))
def test_a_chats_stream_there_and_back(model: str, text: str, tool: bool, limit: int | None) -> None:
    """Told on as Responses and told on again as a chat, it says what it said: usage, ids of calls and all."""
    document: dict[str, Any] = {"model": model, "messages": [{"role": "user", "content": "x"}], "stream": True}
    document["stream_options"] = {"include_usage": True}
    if tool:
        document |= {"tools": [{"type": "function", "function": {"name": "f"}}], "tool_choice": "required"}
    if limit:
        document["max_completion_tokens"] = limit
    data = b"".join(piece.data for piece in chat.chat(document, Speaker("s", text=text or None)).pieces)
    there = reader()
    between = b"".join(event.raw for event in there.feed(data) + there.finish())
    back = ByResponses(PassThrough()).reader(_chat(stream_options={"include_usage": True}), BINDING, str, NOW)
    told = back.feed(between) + back.finish()
    assert back.whole
    plain = PassThrough().reader(_chat(), BINDING, str, NOW)
    assert _sum(chunks(told)) == _sum(chunks(plain.feed(data)))


_CHAT_FIELDS = [*CompletionCreateParamsBase.__annotations__, "odd"]


@given(st.dictionaries(st.sampled_from(_CHAT_FIELDS), _JSON, max_size=6), st.lists(_JSON, max_size=3) | _JSON)
def test_any_chat_is_carried_or_refused(fields: dict[str, Any], messages: Any) -> None:
    """Nothing that a caller sends makes the translation stumble."""
    ByResponses(PassThrough()).call(_chat(**{**fields, "messages": messages}), BINDING)


_ITEM = st.fixed_dictionaries(
    {"type": st.sampled_from(["message", "function_call", "reasoning", "odd"])},
    optional={
        "content": st.lists(st.fixed_dictionaries({"type": st.sampled_from(["output_text", "refusal"])}, optional={
            "text": _JSON, "refusal": _JSON}) | _JSON, max_size=2) | _JSON,
        "summary": st.lists(st.fixed_dictionaries({"text": _JSON}), max_size=2) | _JSON,
        "call_id": _JSON, "name": _JSON, "arguments": _JSON, "id": _JSON,
    },
)  # fmt: skip
_RESPONSE = st.fixed_dictionaries(
    {"status": st.sampled_from(["completed", "incomplete"]), "output": st.lists(_ITEM | _JSON, max_size=3)},
    optional=dict.fromkeys(["id", "created_at", "model", "usage", "incomplete_details"], _JSON),
)


@given(_RESPONSE)
def test_whatever_a_source_answers_the_caller_gets_a_completion(document: dict[str, Any]) -> None:
    """A Response of any shape is one of OpenAI's completions, or no answer."""
    told = ByResponses(PassThrough()).answer(_chat(), orjson.dumps(document), document, NOW)
    if told is not None:
        ChatCompletion.model_validate(orjson.loads(told.body), strict=True)


_KINDS = [
    "created", "in_progress", "output_item.added", "output_item.done", "output_text.delta", "refusal.delta",
    "reasoning_summary_part.added", "reasoning_summary_text.delta", "function_call_arguments.delta", "completed",
    "incomplete", "failed", "odd",
]  # fmt: skip
_TOLD = st.fixed_dictionaries(
    {"type": st.sampled_from(_KINDS).map("response.".__add__)},
    optional={
        "output_index": st.integers(0, 2) | _JSON,
        "item": _ITEM | _JSON,
        "delta": _TEXT | _JSON,
        "response": _RESPONSE | _JSON,
    },
)


@given(st.lists(_TOLD | _JSON, max_size=10), st.booleans())
def test_whatever_a_source_streams_the_caller_gets_chunks(documents: list[Any], with_usage: bool) -> None:
    """Events of any shape and order: each is one of OpenAI's chunks, nothing, or garbage that ends the stream."""
    read = ByResponses(PassThrough()).reader(_chat(stream_options={"include_usage": with_usage}), BINDING, str, NOW)
    told = [event for each in documents for event in read.feed(b"data: " + orjson.dumps(each) + b"\n\n")]
    chunks(told + read.finish())
    assert read.whole is any(event.sign is Sign.DONE and event.raw for event in told)
