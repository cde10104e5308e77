"""The translation to Anthropic's API and back: whatever is asked or answered, it is told soundly, or refused."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import orjson
from anthropic.types.message_create_params import MessageCreateParamsBase
from hypothesis import given
from hypothesis import strategies as st
from openai.types.chat import ChatCompletion
from openai.types.chat.completion_create_params import CompletionCreateParamsBase

from proxy.providers.anthropic import request
from proxy.providers.anthropic.messages import Messages
from proxy.providers.dialect import Call
from proxy.terms import CHAT, Binding, Params, Question, Sign
from tests.unit.providers.anthropic.asked import fits, question
from tests.unit.providers.anthropic.transcripts import NAMES, chunks, reader, transcript

_TEXT = st.text(max_size=8)
_JSON: st.SearchStrategy[Any] = st.recursive(
    st.none() | st.booleans() | st.integers(-5, 5) | st.floats(0, 2) | _TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_TEXT, inner, max_size=3),
    max_leaves=5,
)
_IDS = st.sampled_from(["call_1", "call:2", "é"])
_PART = st.one_of(
    st.fixed_dictionaries({"type": st.just("text"), "text": _TEXT}),
    st.fixed_dictionaries(
        {"type": st.just("image_url"), "image_url": st.fixed_dictionaries({"url": st.just("https://h/i.png")})}
    ),
)
_CALL = st.fixed_dictionaries(
    {
        "id": _IDS,
        "type": st.just("function"),
        "function": st.fixed_dictionaries(
            {"name": st.just("f"), "arguments": st.dictionaries(_TEXT, _JSON).map(lambda d: orjson.dumps(d).decode())}
        ),
    }
)
_GOOD = st.one_of(
    st.fixed_dictionaries({"role": st.sampled_from(["system", "developer", "user"]), "content": _TEXT}),
    st.fixed_dictionaries({"role": st.just("user"), "content": st.lists(_PART, max_size=3)}),
    st.fixed_dictionaries(
        {"role": st.just("assistant"), "content": _TEXT | st.none()},
        optional={"tool_calls": st.lists(_CALL, max_size=2)},
    ),
    st.fixed_dictionaries({"role": st.just("tool"), "tool_call_id": _IDS, "content": _TEXT}),
)
_FIELDS = [*CompletionCreateParamsBase.__annotations__, "odd"]
_ANYTHING = st.dictionaries(st.sampled_from(_FIELDS), _JSON, max_size=5)


def _call(document: dict[str, Any], params: Params | None = None) -> Call | None:
    question = Question(CHAT, b"", document, (), "", False, "m")
    said = Messages().call(question, Binding("c", "anthropic", "claude-sonnet-4-6", params or Params()))
    return said if isinstance(said, Call) else None


@given(st.lists(_GOOD | _JSON, max_size=4) | _JSON, _ANYTHING, st.dictionaries(st.sampled_from(_FIELDS), _JSON))
def test_any_request_is_carried_or_refused(messages: Any, fields: dict[str, Any], more: dict[str, Any]) -> None:
    """Nothing that a caller sends, and nothing that an operator sets, makes the translation stumble."""
    _call({**fields, "messages": messages})
    _call({**fields, "messages": messages}, Params(set=more))


@given(st.lists(_GOOD, max_size=6))
def test_turns_are_what_this_api_takes(messages: list[dict[str, Any]]) -> None:
    """Two roles in turn, nothing blank, results first; and every word of the caller's, in its order."""
    call = _call({"messages": messages})
    if call is None:
        return
    body = orjson.loads(call.body)
    assert fits(body, MessageCreateParamsBase)
    turns = body["messages"]
    assert all(one["role"] != other["role"] for one, other in pairwise(turns))
    assert not turns or turns[-1]["role"] == "user"
    for turn in turns:
        kinds = [block["type"] == "tool_result" for block in turn["content"]]
        assert kinds == sorted(kinds, reverse=True)
        assert all(block["text"].strip() for block in turn["content"] if block["type"] == "text")
    said = [block for turn in turns for block in turn["content"]] + body.get("system", [])
    for message in messages:
        if message["role"] == "user" and isinstance(message["content"], str) and message["content"].strip():
            assert {"type": "text", "text": message["content"]} in said


@given(st.sampled_from(NAMES), st.lists(st.integers(0, 3000), max_size=12).map(sorted), st.booleans())
def test_cuts_change_nothing(name: str, cuts: list[int], with_usage: bool) -> None:
    """Cut anywhere and anyhow, a stream gives the same events."""
    data = transcript(name)
    edges = [0, *(min(cut, len(data)) for cut in cuts), len(data)]
    pieces = reader(with_usage=with_usage)
    events = [event for start, end in pairwise(edges) for event in pieces.feed(data[start:end])] + pieces.finish()
    whole = reader(with_usage=with_usage)
    assert events == whole.feed(data) + whole.finish()
    assert (pieces.whole, pieces.usage, pieces.model) == (whole.whole, whole.usage, whole.model)


_EVENTS = st.fixed_dictionaries(
    {
        "type": st.sampled_from(
            ["message_start", "content_block_start", "content_block_delta", "content_block_stop", "message_delta",
             "message_stop", "ping", "error", "odd"]
        )
    },
    optional={
        "index": st.integers(0, 2) | _JSON,
        "message": st.fixed_dictionaries({}, optional={"id": _JSON, "model": _JSON, "usage": _JSON}) | _JSON,
        "content_block": st.fixed_dictionaries(
            {"type": st.sampled_from(["text", "tool_use", "thinking", "odd"])},
            optional={"id": _JSON, "name": _JSON, "input": _JSON, "text": _JSON},
        )
        | _JSON,
        "delta": st.fixed_dictionaries(
            {"type": st.sampled_from(["text_delta", "input_json_delta", "thinking_delta", "odd"])},
            optional={"text": _JSON, "partial_json": _JSON, "thinking": _JSON, "stop_reason": _JSON},
        )
        | _JSON,
        "usage": _JSON,
        "error": _JSON,
    },
)  # fmt: skip


@given(st.lists(_EVENTS | _JSON, max_size=12), st.booleans())
def test_whatever_claude_streams_the_caller_gets_chunks(documents: list[Any], with_usage: bool) -> None:
    """Events of any shape and order: each is one of OpenAI's chunks, nothing, or garbage that ends the stream."""
    read = reader(with_usage=with_usage)
    events = []
    for document in documents:
        events += read.feed(b"data: " + orjson.dumps(document) + b"\n\n")
    chunks(events)
    if read.whole:
        assert any(event.sign is Sign.DONE for event in events)


@given(
    st.fixed_dictionaries({}, optional=dict.fromkeys(["id", "type", "model", "content", "stop_reason", "usage"], _JSON))
)
def test_whatever_claude_answers_the_caller_gets_a_completion(changes: dict[str, Any]) -> None:
    """A document of any shape is one of OpenAI's completions, or no answer."""
    message = {"id": "m", "type": "message", "model": "c", "content": [], "stop_reason": "end_turn", **changes}
    told = Messages().answer(question(), b"", message, 0.0)
    if told is not None:
        ChatCompletion.model_validate(orjson.loads(told.body), strict=True)


@given(st.dictionaries(st.sampled_from(["temperature", "top_p", "top_k"]), st.floats(0, 2), min_size=1))
def test_a_model_is_never_told_two_ways_to_sample(given_: dict[str, float]) -> None:
    """And no temperature above 1; what is left out is named."""
    call = _call({"messages": [{"role": "user", "content": "x"}], **given_})
    assert call is not None
    body = orjson.loads(call.body)
    assert not {"temperature", "top_p"} <= body.keys()
    assert body.get("temperature", 0) <= 1
    for name, value in given_.items():
        assert name in body or name in call.dropped or (value == 1 and name != "top_k")
    assert body["max_tokens"] == request.DEFAULT_MAX_TOKENS
