"""A Responses request as a chat request: field by field, item by item; what cannot be carried is said."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import orjson
import pytest
from openai.types.responses.response_create_params import ResponseCreateParamsBase

from proxy.providers.anthropic.messages import Messages
from proxy.providers.dialect import Call, Uncarried
from proxy.providers.passthrough import PassThrough
from proxy.providers.responses import request
from proxy.providers.responses.by_chat import ByChat
from proxy.terms import CHAT, EMBEDDINGS, RESPONSES, Params
from tests.unit.providers.responses.asked import WEATHER, dropped, put, refused, sent

_FUNCTION = {"name": "weather", "parameters": WEATHER["parameters"], "strict": True}
_TOOL = {"type": "function", "function": _FUNCTION}


def _messages(*items: Any, **more: Any) -> Any:
    return sent(input=list(items), **more)["messages"]


def _call(name: str = "a") -> dict[str, Any]:
    return {"type": "function_call", "id": f"fc_{name}", "call_id": f"call_{name}", "name": "f", "arguments": "{}"}


def _called(*names: str) -> list[dict[str, Any]]:
    function = {"name": "f", "arguments": "{}"}
    return [{"id": f"call_{name}", "type": "function", "function": function} for name in names]


def _result(name: str = "a", output: object = "ok") -> dict[str, Any]:
    return {"type": "function_call_output", "call_id": f"call_{name}", "output": output}


def test_every_field_of_the_api_is_read_or_ruled_on() -> None:
    """So that one which comes with a newer SDK is decided on, and not by accident."""
    known = {*request.SAME, *request.READ, *request.REFUSED, *request.DROPPED}
    assert set(ResponseCreateParamsBase.__annotations__) | {"stream"} == known
    assert len(known) == sum(map(len, (request.SAME, request.READ, request.REFUSED, request.DROPPED)))


def test_the_documented_fields_are_the_ones_that_are_known() -> None:
    """docs/responses.md tells what becomes of every field, and of no other."""
    text = (Path(__file__).parents[4] / "docs" / "responses.md").read_text()
    rows = re.search(r"<!-- fields -->\n(.*?)<!-- end -->", text, re.DOTALL)
    assert rows is not None
    told = {line.split("|")[1].strip(): line.split("|")[2].strip() for line in rows[1].splitlines()[2:]}
    names = {name: what for row, what in told.items() for name in re.findall(r"`([a-z_]+)`", row)}
    assert set(names) == {*request.SAME, *request.READ, *request.REFUSED, *request.DROPPED}
    assert {name for name, what in names.items() if what.startswith("refused")} == set(request.REFUSED)
    assert {name for name, what in names.items() if what.startswith("dropped")} == set(request.DROPPED)


def test_the_smallest_request() -> None:
    """Text is what the user says."""
    assert sent() == {"messages": [{"role": "user", "content": "Where?"}]}
    assert sent(instructions="Be brief.")["messages"][0] == {"role": "system", "content": "Be brief."}


def test_a_stream_is_asked_for_its_usage() -> None:
    """Every Response tells it, and a chat's stream only when asked."""
    body = sent(stream=True, stream_options={"include_obfuscation": False})
    assert (body["stream"], body["stream_options"]) == (True, {"include_usage": True})


@pytest.mark.parametrize(
    ("asked", "expected"),
    [
        ({"max_output_tokens": 9}, {"max_completion_tokens": 9}),
        ({"temperature": 0.2, "top_p": 0.5}, {"temperature": 0.2, "top_p": 0.5}),
        ({"metadata": {"a": "b"}, "user": "u"}, {"metadata": {"a": "b"}, "user": "u"}),
        ({"safety_identifier": "s", "prompt_cache_key": "k"}, {"safety_identifier": "s", "prompt_cache_key": "k"}),
        ({"service_tier": "flex"}, {"service_tier": "flex"}),
        ({"reasoning": {"effort": "low"}}, {"reasoning_effort": "low"}),
        ({"text": {"verbosity": "low"}}, {"verbosity": "low"}),
        ({"text": {"format": {"type": "text"}}}, {}),
        ({"text": {"format": {"type": "json_object"}}}, {"response_format": {"type": "json_object"}}),
        (
            {"text": {"format": {"type": "json_schema", "name": "n", "schema": {"type": "object"}, "strict": True}}},
            {
                "response_format": {
                    "type": "json_schema",
                    "json_schema": {"name": "n", "schema": {"type": "object"}, "strict": True},
                }
            },
        ),
        ({"tools": [WEATHER]}, {"tools": [_TOOL]}),
        (
            {"tools": [WEATHER], "tool_choice": "required", "parallel_tool_calls": False},
            {"tools": [_TOOL], "tool_choice": "required", "parallel_tool_calls": False},
        ),
        (
            {"tools": [WEATHER], "tool_choice": {"type": "function", "name": "weather"}},
            {"tools": [_TOOL], "tool_choice": {"type": "function", "function": {"name": "weather"}}},
        ),
        # A chat may not speak of tools without having some.
        ({"tools": [], "tool_choice": "auto", "parallel_tool_calls": True}, {}),
    ],
)
def test_what_is_carried(asked: dict[str, Any], expected: dict[str, Any]) -> None:
    """Under its own name or the chat's."""
    assert sent(**asked) == {"messages": [{"role": "user", "content": "Where?"}], **expected}
    assert dropped(**asked) == ()


def test_tools_that_may_be_called_are_those_that_are_offered() -> None:
    """`allowed_tools` is the choice among fewer."""
    other = {**WEATHER, "name": "other"}
    choice = {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "weather"}]}
    body = sent(tools=[other, WEATHER], tool_choice=choice)
    assert (body["tools"], body["tool_choice"]) == ([_TOOL], "required")
    assert "tools" not in sent(tools=[other], tool_choice=choice)


def test_turns() -> None:
    """Roles, parts, and texts as plain strings, which every server takes."""
    url = "data:image/png;base64,AAAA"
    assert _messages(
        {"role": "developer", "content": "Be brief."},
        {"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Hi"}]},
        {
            "role": "assistant",
            "content": [
                {"type": "output_text", "text": "Hel", "annotations": []},
                {"type": "output_text", "text": "lo"},
            ],
        },
        {"role": "assistant", "content": [{"type": "refusal", "refusal": "No."}]},
        {
            "role": "user",
            "content": [
                {"type": "input_text", "text": "See"},
                {"type": "input_image", "image_url": url, "detail": "low"},
                {"type": "input_file", "file_data": "data:application/pdf;base64,AA", "filename": "a.pdf"},
            ],
        },
    ) == [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hi"},
        {"role": "assistant", "content": "Hello"},
        {"role": "assistant", "content": None, "refusal": "No."},
        {
            "role": "user",
            "content": [
                {"type": "text", "text": "See"},
                {"type": "image_url", "image_url": {"url": url, "detail": "low"}},
                {"type": "file", "file": {"file_data": "data:application/pdf;base64,AA", "filename": "a.pdf"}},
            ],
        },
    ]


def test_calls_and_their_results() -> None:
    """What was called at once is one message, with what was said beside it; results follow."""
    said = {"role": "assistant", "content": [{"type": "output_text", "text": "Let me see."}]}
    assert _messages(
        said, _call("a"), {"type": "reasoning", "summary": []}, _call("b"), _result("a"), _result("b")
    ) == [
        {"role": "assistant", "content": "Let me see.", "tool_calls": _called("a", "b")},
        {"role": "tool", "tool_call_id": "call_a", "content": "ok"},
        {"role": "tool", "tool_call_id": "call_b", "content": "ok"},
    ]
    assert _messages(_call("a"), _result("a"), _call("b"), _result("b", [{"type": "input_text", "text": "x"}])) == [
        {"role": "assistant", "content": None, "tool_calls": _called("a")},
        {"role": "tool", "tool_call_id": "call_a", "content": "ok"},
        {"role": "assistant", "content": None, "tool_calls": _called("b")},
        {"role": "tool", "tool_call_id": "call_b", "content": "x"},
    ]


def test_what_was_said_after_a_call_stands_before_its_result() -> None:
    """A chat's results follow their calls at once."""
    assert _messages(_call("a"), {"role": "assistant", "content": "Wait."}, _result("a")) == [
        {"role": "assistant", "content": "Wait.", "tool_calls": _called("a")},
        {"role": "tool", "tool_call_id": "call_a", "content": "ok"},
    ]


@pytest.mark.parametrize(
    ("asked", "names"),
    [
        ({"store": True}, ("store",)),
        ({"store": False, "truncation": "disabled", "include": [], "background": False, "metadata": {}}, ()),
        ({"truncation": "auto"}, ("truncation",)),
        ({"include": ["reasoning.encrypted_content"]}, ("include",)),
        ({"reasoning": {"effort": "low", "summary": "auto", "mode": "pro"}}, ("reasoning.summary", "reasoning.mode")),
        ({"reasoning": {"context": "auto", "mode": "standard"}}, ()),
        ({"max_tool_calls": 3}, ("max_tool_calls",)),
        ({"input": [{"role": "user", "content": "x"}, {"type": "reasoning", "summary": []}]}, ("input.reasoning",)),
        ({"input": [{"role": "assistant", "content": "x", "phase": "commentary"}]}, ("input.phase",)),
        ({"tools": [{**WEATHER, "defer_loading": True}]}, ("tools.defer_loading",)),
    ],
)
def test_what_only_tunes_is_dropped_and_named(asked: dict[str, Any], names: tuple[str, ...]) -> None:
    """And what asks for nothing is not spoken of."""
    assert dropped(**asked) == names


_USER = {"role": "user"}


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"background": True}, "background"),
        ({"include": ["message.output_text.logprobs"]}, "include"),
        ({"top_logprobs": 2}, "top_logprobs"),
        ({"moderation": {"model": "m"}}, "moderation"),
        ({"of_tomorrow": 1}, "unknown_field"),
        ({"tools": [{"type": "web_search"}]}, "tools"),
        ({"tools": [{"type": "custom", "name": "x"}]}, "tools"),
        ({"tools": [WEATHER], "tool_choice": {"type": "file_search"}}, "tool_choice"),
        ({"text": {"format": {"type": "grammar"}}}, "text.format"),
        ({"input": None}, "input"),
        ({"input": [5]}, "input"),
        ({"input": [{"type": "web_search_call", "id": "ws"}]}, "input.type"),
        ({"input": [{"type": "item_reference", "id": "x"}]}, "input.type"),
        ({"input": [{"role": "tool", "content": "x"}]}, "input.role"),
        ({"input": [{**_USER, "content": [{"type": "input_image", "file_id": "f"}]}]}, "input.image_url"),
        ({"input": [{**_USER, "content": [{"type": "input_file", "file_url": "https://h/f"}]}]}, "input.file_data"),
        ({"input": [{**_USER, "content": [{"type": "input_audio"}]}]}, "input.content"),
        ({"input": [_result(output=[{"type": "input_image", "image_url": "https://h/i"}])]}, "input.output"),
        ({"input": [{"type": "function_call", "name": "f", "arguments": "{}"}]}, "input.call_id"),
        ({"instructions": ["x"]}, "instructions"),
    ],
)
def test_what_would_change_the_answer_is_refused(asked: dict[str, Any], field: str) -> None:
    """By the field's name, before anything is sent."""
    assert refused(**asked) == field


def test_an_unknown_field_is_named_to_the_caller_alone() -> None:
    """Labels and headers have the word for it."""
    call = put(of_tomorrow=1)
    assert isinstance(call, Uncarried)
    assert (call.detail, call.param) == ("unknown_field", "of_tomorrow")


def test_params_hold_in_the_words_of_either_api() -> None:
    """What is dropped is dropped before it could be refused; what is set or capped, where its field is."""
    assert sent(Params(drop=("top_logprobs",)), top_logprobs=2) == sent()
    assert sent(Params(cap={"max_output_tokens": 5}), max_output_tokens=9)["max_completion_tokens"] == 5
    assert sent(Params(cap={"max_completion_tokens": 5}), max_output_tokens=9)["max_completion_tokens"] == 5
    assert sent(Params(set={"reasoning": {"effort": "low"}}))["reasoning_effort"] == "low"
    assert sent(Params(set={"reasoning_effort": "low"}))["reasoning_effort"] == "low"
    assert "stream_options" not in sent(Params(drop=("stream_options",)), stream=True)


def test_what_claude_cannot_be_asked_is_told_in_the_callers_words() -> None:
    """The second translation speaks of a chat, of which the caller knows nothing."""
    form = {"format": {"type": "json_object"}}
    call = put(chat=Messages(), text=form)
    assert isinstance(call, Uncarried)
    assert (call.detail, call.param) == ("text.format", "text.format")
    call = put(chat=Messages(), input=[{"role": "user", "content": [{"type": "input_image", "image_url": "ftp://x"}]}])
    assert isinstance(call, Uncarried)
    assert call.detail == "input.image_url"
    call = put(
        chat=Messages(), metadata={"a": "b"}, store=True, reasoning={"effort": "xhigh"}, text={"verbosity": "low"}
    )
    assert isinstance(call, Call)
    assert call.dropped == ("store", "metadata", "text.verbosity")
    assert call.path == "/messages"
    assert orjson.loads(call.body)["messages"] == [{"role": "user", "content": [{"type": "text", "text": "Where?"}]}]


def test_other_endpoints_are_the_inner_dialects_own() -> None:
    """Only Responses are translated."""
    passes, claude = ByChat(PassThrough()), ByChat(Messages())
    assert [passes.rewrites(each) for each in (RESPONSES, CHAT, EMBEDDINGS)] == [True, False, False]
    assert [claude.serves(each) for each in (RESPONSES, CHAT, EMBEDDINGS)] == [True, True, False]
    assert [passes.path(each, "m") for each in (RESPONSES, EMBEDDINGS)] == ["/chat/completions", "/embeddings"]
