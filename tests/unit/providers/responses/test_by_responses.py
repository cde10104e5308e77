"""Chat completions where there are Responses alone: the request, the answer, the stream."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import orjson
import pytest
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.chat.completion_create_params import CompletionCreateParamsBase
from openai.types.responses.response_create_params import (
    ResponseCreateParamsNonStreaming,
    ResponseCreateParamsStreaming,
)

from proxy.demo import responses
from proxy.demo.answers import Speaker
from proxy.providers.dialect import Call, Uncarried
from proxy.providers.passthrough import PassThrough
from proxy.providers.responses import chat_request as request
from proxy.providers.responses.by_responses import ByResponses
from proxy.terms import CHAT, COMPLETIONS, Binding, Params, Question, Sign, StreamEvent, StreamReader
from tests.unit.providers.anthropic.asked import fits
from tests.unit.providers.anthropic.transcripts import chunks
from tests.unit.providers.responses.asked import NOW, WEATHER

_BINDING = Binding("s", "openai", "served")
_FUNCTION = {"name": "weather", "parameters": WEATHER["parameters"], "strict": True}
_TOOL = {"type": "function", "function": _FUNCTION}
_CALL = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}


def _question(**document: Any) -> Question:
    whole = {"model": "any", "messages": [{"role": "user", "content": "Where?"}], **document}
    return Question(CHAT, orjson.dumps(whole), whole, (), "", whole.get("stream") is True, "any")


def _put(**document: Any) -> Call | Uncarried:
    return ByResponses(PassThrough()).call(_question(**document), _BINDING)


def _sent(**document: Any) -> dict[str, Any]:
    call = _put(**document)
    assert isinstance(call, Call), call
    assert call.path == "/responses"
    body: dict[str, Any] = orjson.loads(call.body)
    assert fits(body, ResponseCreateParamsStreaming if "stream" in body else ResponseCreateParamsNonStreaming), body
    assert body.pop("model") == "served"
    return body


def test_every_field_of_the_api_is_read_or_ruled_on() -> None:
    """So that one which comes with a newer SDK is decided on; and docs/responses.md tells what becomes of each."""
    known = [*request.SAME, *request.READ, *request.REFUSED, *request.DROPPED]
    assert len(set(known)) == len(known)
    assert set(CompletionCreateParamsBase.__annotations__) | {"stream"} == set(known)
    text = (Path(__file__).parents[4] / "docs" / "responses.md").read_text()
    rows = re.search(r"<!-- chat fields -->\n(.*?)<!-- end -->", text, re.DOTALL)
    assert rows is not None
    told = {line.split("|")[1].strip(): line.split("|")[2].strip() for line in rows[1].splitlines()[2:]}
    names = {name: what for row, what in told.items() for name in re.findall(r"`([a-z_]+)`", row)}
    assert set(names) == set(known)
    assert {name for name, what in names.items() if what.startswith("refused")} == set(request.REFUSED)
    assert {name for name, what in names.items() if what.startswith("dropped")} == set(request.DROPPED)


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({}, {}),
        ({"n": 1, "logprobs": False, "stop": [], "store": False, "seed": None}, {}),
        ({"max_completion_tokens": 9, "max_tokens": 8}, {"max_output_tokens": 9}),
        ({"max_tokens": 8}, {"max_output_tokens": 8}),
        (
            {"temperature": 0.2, "user": "u", "metadata": {"a": "b"}},
            {"temperature": 0.2, "user": "u", "metadata": {"a": "b"}},
        ),
        (
            {"reasoning_effort": "low", "verbosity": "low"},
            {"reasoning": {"effort": "low"}, "text": {"verbosity": "low"}},
        ),
        ({"response_format": {"type": "json_object"}}, {"text": {"format": {"type": "json_object"}}}),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {}, "strict": True}}},
            {"text": {"format": {"type": "json_schema", "name": "n", "schema": {}, "strict": True}}},
        ),
        ({"tools": [_TOOL]}, {"tools": [WEATHER]}),
        (
            {"tools": [{"type": "function", "function": {"name": "f", "description": "d"}}], "tool_choice": "required"},
            {
                "tools": [
                    {
                        "type": "function",
                        "name": "f",
                        "parameters": {"type": "object", "properties": {}},
                        "strict": False,
                        "description": "d",
                    }
                ],
                "tool_choice": "required",
            },
        ),
        (
            {"tools": [_TOOL], "tool_choice": {"type": "function", "function": {"name": "weather"}}},
            {"tools": [WEATHER], "tool_choice": {"type": "function", "name": "weather"}},
        ),
        (
            {
                "tools": [_TOOL],
                "tool_choice": {
                    "type": "allowed_tools",
                    "allowed_tools": {"mode": "auto", "tools": [{"type": "function", "function": {"name": "weather"}}]},
                },
            },
            {
                "tools": [WEATHER],
                "tool_choice": {
                    "type": "allowed_tools",
                    "mode": "auto",
                    "tools": [{"type": "function", "name": "weather"}],
                },
            },
        ),
        ({"stream": True, "stream_options": {"include_usage": True}}, {"stream": True}),
    ],
)
def test_what_is_carried(asked: dict[str, Any], expected: dict[str, Any]) -> None:
    """Under its own name or the other API's; and nothing is kept."""
    assert _sent(**asked) == {"input": [{"role": "user", "content": "Where?"}], "store": False, **expected}


def test_messages() -> None:
    """Each is an item, its calls behind it."""
    messages: list[dict[str, Any]] = [
        {"role": "system", "content": "Be brief."},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "See"},
                {"type": "image_url", "image_url": {"url": "https://h/i"}},
                {"type": "file", "file": {"file_data": "data:x", "filename": "a.pdf"}},
            ],
        },
        {"role": "assistant", "content": "Well.", "tool_calls": [_CALL]},
        {"role": "tool", "tool_call_id": "call_1", "content": [{"type": "text", "text": "Rain."}]},
        {"role": "assistant", "content": None, "refusal": "No."},
    ]
    assert _sent(messages=messages)["input"] == [
        {"role": "system", "content": "Be brief."},
        {
            "role": "user",
            "content": [
                {"type": "input_text", "text": "See"},
                {"type": "input_image", "image_url": "https://h/i", "detail": "auto"},
                {"type": "input_file", "file_data": "data:x", "filename": "a.pdf"},
            ],
        },
        {"role": "assistant", "content": "Well."},
        {"type": "function_call", "call_id": "call_1", "name": "f", "arguments": "{}"},
        {"type": "function_call_output", "call_id": "call_1", "output": "Rain."},
        {"role": "assistant", "content": "No."},
    ]


def test_what_only_tunes_is_dropped_and_named() -> None:
    """Thoughts and names too."""
    said = {"role": "assistant", "content": "x", "reasoning_content": "Hm."}
    call = _put(seed=7, store=True, messages=[{"role": "user", "name": "me", "content": "x"}, said])
    assert isinstance(call, Call)
    assert call.dropped == ("seed", "store", "messages.name", "messages.reasoning_content")


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ({"n": 2}, "n"),
        ({"stop": "x"}, "stop"),
        ({"logprobs": True}, "logprobs"),
        ({"functions": [{"name": "f"}]}, "functions"),
        ({"of_tomorrow": 1}, "unknown_field"),
        ({"tools": [{"type": "custom", "custom": {"name": "x"}}]}, "tools"),
        ({"tool_choice": {"type": "custom"}}, "tool_choice"),
        ({"response_format": {"type": "json_schema"}}, "response_format"),
        ({"messages": "x"}, "messages"),
        ({"messages": [{"role": "function", "content": "x"}]}, "messages.role"),
        ({"messages": [{"role": "user", "content": [{"type": "input_audio"}]}]}, "messages.content"),
        ({"messages": [{"role": "user", "content": [{"type": "file", "file": {"file_id": "f"}}]}]}, "messages.file"),
        ({"messages": [{"role": "assistant", "tool_calls": [{"id": "x"}]}]}, "messages.tool_calls"),
        ({"messages": [{"role": "tool", "content": "x"}]}, "messages.tool_calls"),
        ({"messages": [{"role": "assistant", "audio": {"id": "x"}}]}, "messages.audio"),
    ],
)
def test_what_would_change_the_answer_is_refused(asked: dict[str, Any], field: str) -> None:
    """By the field's name, before anything is sent."""
    call = _put(**asked)
    assert isinstance(call, Uncarried), call
    assert call.detail == field


def test_other_endpoints() -> None:
    """There are these two alone; and `params` hold in the words of either."""
    dialect = ByResponses(PassThrough())
    other = Question(COMPLETIONS, b"{}", {}, (), "", False, "m")
    call = dialect.call(other, _BINDING)
    assert isinstance(call, Uncarried)
    assert call.detail == "endpoint"
    params = Params(drop=("stop",), set={"reasoning": {"effort": "low"}}, cap={"max_tokens": 5})
    call = dialect.call(_question(stop="x", max_tokens=9), Binding("s", "openai", "served", params))
    assert isinstance(call, Call)
    body = orjson.loads(call.body)
    assert (body["max_output_tokens"], body["reasoning"]) == (5, {"effort": "low"})


def _simulated(**asked: Any) -> bytes:
    document = {"model": "m", "input": "Where?", **asked}
    return b"".join(piece.data for piece in responses.respond(document, Speaker("s")).pieces)


def _told(document: dict[str, Any]) -> ChatCompletion:
    told = ByResponses(PassThrough()).answer(_question(), orjson.dumps(document), document, NOW)
    assert told is not None
    return ChatCompletion.model_validate(orjson.loads(told.body), strict=True)


def _response(*output: dict[str, Any], **more: Any) -> dict[str, Any]:
    return {"id": "resp_1", "created_at": 1.5, "model": "m", "status": "completed", "output": list(output), **more}


def _said(**part: Any) -> dict[str, Any]:
    return {"type": "message", "content": [{"type": "output_text", "text": "Riga."} | part]}


def test_a_response_is_a_completion() -> None:
    """Text, thoughts, calls, refusals; why it ended; what it cost."""
    answer = _told(orjson.loads(_simulated()))
    assert answer.choices[0].message.content == "This is m, served by s. You asked: Where?"
    assert (answer.choices[0].finish_reason, answer.object) == ("stop", "chat.completion")
    assert answer.usage is not None
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    assert answer.id.startswith("chatcmpl-")
    thought = {"type": "reasoning", "summary": [{"type": "summary_text", "text": each} for each in ("One.", "Two.")]}
    call = {"type": "function_call", "call_id": "call_1", "name": "f", "arguments": "{}"}
    said = _told(_response(thought, call)).choices[0]
    assert (said.finish_reason, said.message.content) == ("tool_calls", None)
    assert said.message.to_dict()["tool_calls"] == [_CALL]
    assert said.message.model_extra == {"reasoning_content": "One.\n\nTwo."}
    no = _told(_response(_said(type="refusal", refusal="No."))).choices[0].message
    assert (no.content, no.refusal) == (None, "No.")


@pytest.mark.parametrize(("reason", "finish"), [("max_output_tokens", "length"), ("content_filter", "content_filter")])
def test_an_answer_that_is_not_whole(reason: str, finish: str) -> None:
    """It says why."""
    document = _response(_said(), status="incomplete", incomplete_details={"reason": reason})
    assert _told(document).choices[0].finish_reason == finish


@pytest.mark.parametrize("wrong", [{"status": "in_progress"}, {"status": "failed"}, {"output": None}, {"status": None}])
def test_what_is_no_answer(wrong: dict[str, Any]) -> None:
    """The next tier is asked."""
    document = _response(_said()) | wrong
    assert ByResponses(PassThrough()).answer(_question(), orjson.dumps(document), document, NOW) is None


def _reader(*, with_usage: bool = False) -> StreamReader:
    asked = _question(stream=True, stream_options={"include_usage": with_usage})
    return ByResponses(PassThrough()).reader(asked, _BINDING, str, NOW)


def _read(data: bytes, *, with_usage: bool = False) -> tuple[list[StreamEvent], StreamReader]:
    read = _reader(with_usage=with_usage)
    return [*read.feed(data), *read.finish()], read


def _text(found: list[ChatCompletionChunk], field: str = "content") -> str:
    return "".join(choice.delta.to_dict().get(field) or "" for chunk in found for choice in chunk.choices)  # type: ignore[misc]


_ASKED: dict[str, dict[str, Any]] = {
    "text": {},
    "thoughts": {"model": "thinking-m"},
    "tools": {"tools": [WEATHER], "tool_choice": "required"},
    "length": {"max_output_tokens": 2},
}


@pytest.mark.parametrize("name", _ASKED)
@pytest.mark.parametrize("with_usage", [False, True])
def test_a_stream(name: str, *, with_usage: bool) -> None:
    """A role, the words, why it ended, the usage where it was asked for, `[DONE]`; cut anywhere, the same."""
    data = _simulated(**_ASKED[name], stream=True)
    told, read = _read(data, with_usage=with_usage)
    found = chunks(told)
    assert len({(chunk.id, chunk.created, chunk.model) for chunk in found}) == 1
    assert found[0].choices[0].delta.role == "assistant"
    assert told[-1].raw.endswith(b"data: [DONE]\n\n")
    assert (told[-1].sign, read.whole) == (Sign.DONE, True)
    assert bool(found[-1].usage) is with_usage
    assert all(("usage" in chunk.model_fields_set) is with_usage for chunk in found)
    last = found[-2 if with_usage else -1].choices[0]
    assert last.finish_reason == {"tools": "tool_calls", "length": "length"}.get(name, "stop")
    assert read.usage is not None
    if name == "tools":
        calls = [call for chunk in found for choice in chunk.choices for call in choice.delta.tool_calls or []]
        assert {call.index for call in calls} == {0}
        assert calls[0].id
        assert "".join(call.function.arguments or "" for call in calls if call.function) == '{"city":"a word"}'
    else:
        assert _text(found).startswith("This is ")
    for cut in range(len(data) + 1):
        again = _reader(with_usage=with_usage)
        assert [*again.feed(data[:cut]), *again.feed(data[cut:]), *again.finish()] == told


def _event(kind: str, **fields: Any) -> bytes:
    return b"data: " + orjson.dumps({"type": f"response.{kind}", **fields}) + b"\n\n"


_CREATED = _event("created", response={"id": "resp_1", "created_at": 1, "model": "m"})
_COMPLETED = _event("completed", response={"status": "completed", "output": []})


def test_what_is_told_only_when_it_is_done() -> None:
    """Some servers send no deltas; those that do are not told twice."""
    call = {"type": "function_call", "call_id": "c", "name": "f", "arguments": "{}"}
    told, _ = _read(
        b"".join(
            [
                _CREATED,
                _event("output_item.done", output_index=0, item={"type": "reasoning", "summary": [{"text": "Hm."}]}),
                _event("output_text.delta", output_index=1, delta="Riga."),
                _event("output_item.done", output_index=1, item=_said()),
                _event("output_item.done", output_index=2, item=_said(text=" Yes.")),
                _event("output_item.done", output_index=3, item=call),
                _event("output_item.added", output_index=4, item={**call, "arguments": ""}),
                _event("output_item.done", output_index=4, item=call),
                _COMPLETED,
            ]
        )
    )
    found = chunks(told)
    assert (_text(found), _text(found, "reasoning_content")) == ("Riga. Yes.", "Hm.")
    calls = [call for chunk in found for choice in chunk.choices for call in choice.delta.tool_calls or []]
    assert [(call.index, call.function and call.function.arguments) for call in calls] == [
        (0, "{}"),
        (1, ""),
        (1, "{}"),
    ]
    assert found[-1].choices[0].finish_reason == "tool_calls"


def test_items_without_a_place() -> None:
    """llama.cpp's server numbers nothing, and ends its thoughts after the text: an item is then known by its name."""
    text, call = {**_said(text="Riga."), "id": "msg_1"}, {"type": "function_call", "call_id": "c", "name": "f"}
    told, _ = _read(
        b"".join(
            [
                _CREATED,
                _event("output_item.added", item={"type": "reasoning", "id": "rs_1"}),
                _event("reasoning_text.delta", item_id="rs_1", delta="Hm."),
                _event("output_item.added", item={**text, "content": []}),
                _event("output_text.delta", item_id="msg_1", delta="Riga."),
                _event("output_item.done", item={"type": "reasoning", "id": "rs_1", "content": [{"text": "Hm."}]}),
                _event("output_item.done", item=text),
                _event("output_item.added", item={**call, "id": "fc_1", "arguments": ""}),
                _event("function_call_arguments.delta", item_id="fc_1", delta="{}"),
                _event("output_item.done", item={**call, "id": "fc_1", "arguments": "{}"}),
                _event("output_item.done", item={**call, "arguments": "[]"}),
                _COMPLETED,
            ]
        )
    )
    found = chunks(told)
    assert (_text(found), _text(found, "reasoning_content")) == ("Riga.", "Hm.")
    calls = [call for chunk in found for choice in chunk.choices for call in choice.delta.tool_calls or []]
    assert [(call.index, call.function and call.function.arguments) for call in calls] == [
        (0, ""),
        (0, "{}"),
        (1, "[]"),
    ]
    assert found[-1].choices[0].finish_reason == "tool_calls"


def test_words_that_belong_to_no_item_are_not_told_twice() -> None:
    """When the item that is done has a name, and its deltas had none."""
    done = _event("output_item.done", item={**_said(text="Riga."), "id": "msg_1"})
    told, _ = _read(_CREATED + _event("output_text.delta", delta="Riga.") + done + _COMPLETED)
    assert _text(chunks(told)) == "Riga."


def test_every_chunk_has_a_model() -> None:
    """The one that answers, or the one that was asked where that is named only at the end."""
    for created, model in ((_CREATED, "m"), (_event("created", response={"id": "resp_1"}), "served")):
        told, _ = _read(created + _event("output_text.delta", output_index=0, delta="Riga.") + _COMPLETED)
        assert {chunk.model for chunk in chunks(told)} == {model}


def test_thoughts_in_parts() -> None:
    """A blank line between two, as in JSON."""
    part = _event("reasoning_summary_part.added", output_index=0)
    delta = [_event("reasoning_summary_text.delta", output_index=0, delta=each) for each in ("One.", "Two.")]
    told, _ = _read(b"".join([_CREATED, part, delta[0], part, delta[1], _COMPLETED]))
    assert _text(chunks(told), "reasoning_content") == "One.\n\nTwo."


def test_a_response_that_failed_is_an_error() -> None:
    """It carries its error for the table of faults, and a chat has no other end for it."""
    failed = _event("failed", response={"status": "failed", "error": {"code": "server_error", "message": "m"}})
    told, read = _read(_CREATED + _event("output_text.delta", output_index=0, delta="x") + failed)
    assert (told[-1].sign, told[-1].raw, read.whole) == (Sign.ERROR, b"", False)
    assert told[-1].error == {"code": "server_error", "message": "m"}
    told, _ = _read(_CREATED + b"data: {\n\n")
    assert told[-1].sign is Sign.GARBAGE


def test_the_end_is_the_apis_own() -> None:
    """Another marker, or none, makes nothing whole."""
    for end in (b"", b"data: [DONE]\n\n"):
        told, read = _read(_CREATED + _event("output_text.delta", output_index=0, delta="x") + end)
        assert not read.whole
        assert b"[DONE]" not in b"".join(event.raw for event in told)


def test_signs() -> None:
    """What was signs of life is, and what was content."""
    told, read = _read(_CREATED + b": ping\n\n" + _event("output_text.delta", output_index=0, delta="x") + _COMPLETED)
    assert [event.sign for event in told] == [Sign.LIFE, Sign.LIFE, Sign.CONTENT, Sign.DONE]
    assert (read.model, read.usage) == ("m", None)
    assert _read(_CREATED)[1].usage is None


def test_who_asks_for_the_usage() -> None:
    """The caller, or the tier's own `params`, as at any source; and what they say of it is not sent."""
    options = {"stream_options": {"include_usage": True}}
    binding = Binding("s", "openai", "served", Params(set=options))
    read = ByResponses(PassThrough()).reader(_question(stream=True), binding, str, NOW)
    assert chunks([*read.feed(_simulated(stream=True)), *read.finish()])[-1].usage is not None
    call = ByResponses(PassThrough()).call(_question(stream=True), binding)
    assert isinstance(call, Call)
    assert b"stream_options" not in call.body
