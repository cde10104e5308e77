"""What a ChatGPT account is asked, field by field and item by item; what cannot be carried is said."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import orjson
import pytest
from openai.types.responses.response_create_params import ResponseCreateParamsBase, ResponseCreateParamsStreaming

from proxy.providers.chatgpt import request
from proxy.providers.chatgpt.backend import Backend
from proxy.providers.dialect import Call, Uncarried
from proxy.providers.kinds import dialect
from proxy.terms import CHAT, COMPLETIONS, EMBEDDINGS, RESPONSES, Binding, Params, Question
from tests.unit.providers.anthropic.asked import fits
from tests.unit.providers.responses.asked import WEATHER

_SAID = [{"type": "message", "role": "user", "content": [{"type": "input_text", "text": "Where?"}]}]
_BARE = {"model": "served", "instructions": "", "input": _SAID, "store": False, "stream": True}


def _put(params: Params | None = None, **document: Any) -> Call | Uncarried:
    whole = {"model": "any", "input": "Where?", **document}
    question = Question(RESPONSES, orjson.dumps(whole), whole, (), "?a=b", False, "any")
    return Backend().call(question, Binding("s", "chatgpt-account", "served", params or Params()))


def _sent(params: Params | None = None, **document: Any) -> dict[str, Any]:
    call = _put(params, **document)
    assert isinstance(call, Call), call
    assert call.path == "/responses"
    body: dict[str, Any] = orjson.loads(call.body)
    assert fits(body, ResponseCreateParamsStreaming), body
    return body


def _dropped(**document: Any) -> tuple[str, ...]:
    call = _put(**document)
    assert isinstance(call, Call), call
    return call.dropped


def _message(role: str, text: str, kind: str = "input_text") -> dict[str, Any]:
    return {"type": "message", "role": role, "content": [{"type": kind, "text": text}]}


def test_every_field_of_the_api_is_read_or_ruled_on() -> None:
    """So that one which comes with a newer SDK is decided on; and docs/chatgpt.md tells what becomes of each."""
    known = [*request.SAME, *request.READ, *request.REFUSED, *request.DROPPED]
    assert len(set(known)) == len(known)
    assert set(ResponseCreateParamsBase.__annotations__) | {"stream"} == set(known)
    text = (Path(__file__).parents[4] / "docs" / "chatgpt.md").read_text()
    rows = re.search(r"<!-- fields -->\n(.*?)<!-- end -->", text, re.DOTALL)
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
        ({"stream": False, "store": False, "background": False, "truncation": "disabled", "temperature": 1}, {}),
        ({"instructions": "Be brief."}, {"instructions": "Be brief."}),
        ({"instructions": ""}, {}),
        ({"reasoning": {"effort": "low", "summary": "auto"}}, {"reasoning": {"effort": "low", "summary": "auto"}}),
        ({"text": {"verbosity": "low"}}, {"text": {"verbosity": "low"}}),
        ({"prompt_cache_key": "k"}, {"prompt_cache_key": "k"}),
        ({"parallel_tool_calls": False}, {"parallel_tool_calls": False}),
        ({"tools": [WEATHER], "tool_choice": "required"}, {"tools": [WEATHER], "tool_choice": "required"}),
        ({"tools": [{"type": "web_search"}]}, {"tools": [{"type": "web_search"}]}),
        ({"tools": []}, {}),
        ({"include": ["reasoning.encrypted_content"]}, {"include": ["reasoning.encrypted_content"]}),
        ({"include": []}, {}),
        ({"service_tier": "priority"}, {"service_tier": "priority"}),
        ({"service_tier": "auto"}, {}),
    ],
)
def test_what_is_carried(asked: dict[str, Any], expected: dict[str, Any]) -> None:
    """As it is; always a stream, never kept, with instructions, and the input as a list."""
    assert _sent(**asked) == {**_BARE, **expected}
    assert _dropped(**asked) == ()


def test_items() -> None:
    """Each has a type, texts are parts, nobody is `system`, and what is looked up by its name has none."""
    called = {"type": "function_call", "id": "fc_1", "call_id": "call_1", "name": "f", "arguments": "{}"}
    result = {"type": "function_call_output", "call_id": "call_1", "output": "Rain."}
    found = {"type": "web_search_call", "id": "ws_1", "status": "completed", "action": {"type": "search", "query": "q"}}
    image = {"type": "input_image", "image_url": "https://h/i", "detail": "auto"}
    said = {"type": "message", "id": "msg_1", "role": "assistant", "status": "completed"}
    part = {"type": "output_text", "text": "Well.", "annotations": []}
    items = [
        {"role": "user", "content": [image]},
        {"type": "message", "role": "system", "content": "Now be long."},
        {**said, "content": [part]},
        {"role": "assistant", "content": "Hm."},
        called,
        result,
        found,
    ]
    call = _put(instructions="Be brief.", input=items)
    assert isinstance(call, Call)
    assert orjson.loads(call.body)["input"] == [
        {"type": "message", "role": "user", "content": [image]},
        _message("developer", "Now be long."),
        {"type": "message", "role": "assistant", "status": "completed", "content": [part]},
        _message("assistant", "Hm.", "output_text"),
        {key: value for key, value in called.items() if key != "id"},
        result,
        found,
    ]


@pytest.mark.parametrize(
    ("items", "instructions", "left"),
    [
        (
            [_message("system", "One."), _message("developer", "Two."), _message("user", "Hi")],
            "One.\n\nTwo.",
            [_message("user", "Hi")],
        ),
        (
            [_message("user", "Hi"), _message("system", "One.")],
            "",
            [_message("user", "Hi"), _message("developer", "One.")],
        ),
        ([_message("system", "One.")], "", [_message("developer", "One.")]),
        (
            [{"role": "system", "content": [{"type": "input_image", "image_url": "x"}]}, _message("user", "Hi")],
            "",
            [
                {
                    "type": "message",
                    "role": "developer",
                    "content": [{"type": "input_image", "image_url": "x"}],
                },
                _message("user", "Hi"),
            ],
        ),
    ],
    ids=["first", "later", "alone", "an image"],
)
def test_instructions_are_what_the_system_says_first(items: list[Any], instructions: str, left: list[Any]) -> None:
    """Where the caller gives none: words before all else; whatever else it says is said by the developer."""
    call = _put(input=items)
    assert isinstance(call, Call)
    body = orjson.loads(call.body)
    assert (body["instructions"], body["input"]) == (instructions, left)
    call = _put(input=items, instructions="Mine.")
    assert isinstance(call, Call)
    assert orjson.loads(call.body)["instructions"] == "Mine."
    assert len(orjson.loads(call.body)["input"]) == len(items)


@pytest.mark.parametrize(
    ("asked", "names"),
    [
        ({"store": True}, ("store",)),
        ({"max_output_tokens": 9, "temperature": 0.2, "top_p": 0.5}, ("max_output_tokens", "temperature", "top_p")),
        ({"metadata": {"a": "b"}, "user": "u"}, ("metadata", "user")),
        ({"service_tier": "flex"}, ("service_tier",)),
        ({"truncation": "auto"}, ("truncation",)),
        ({"input": [{"role": "user", "content": "x"}, {"type": "reasoning", "summary": []}]}, ("input.reasoning",)),
    ],
)
def test_what_only_tunes_is_dropped_and_named(asked: dict[str, Any], names: tuple[str, ...]) -> None:
    """In the order in which it is met; and it is not sent."""
    assert _dropped(**asked) == names
    assert not {*names} & {*_sent(**asked)} - {"store"}
    assert _sent(**asked)["store"] is False


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ({"background": True}, "background"),
        ({"previous_response_id": "resp_1"}, "previous_response_id"),
        ({"top_logprobs": 2}, "top_logprobs"),
        ({"include": ["message.output_text.logprobs"]}, "include"),
        ({"tools": [{"type": "file_search", "vector_store_ids": ["v"]}]}, "tools"),
        ({"tools": [{"type": "image_generation"}]}, "tools"),
        ({"tools": "x"}, "tools"),
        ({"tools": ["x"]}, "tools"),
        ({"input": None}, "input"),
        ({"input": 7}, "input"),
        ({"input": ["x"]}, "input"),
        ({"instructions": ["x"]}, "instructions"),
        ({"of_tomorrow": 1}, "unknown_field"),
    ],
)
def test_what_would_change_the_answer_is_refused(asked: dict[str, Any], field: str) -> None:
    """By the field's name, before anything is sent."""
    call = _put(**asked)
    assert isinstance(call, Uncarried), call
    assert call.detail == field


def test_a_tiers_params_come_first() -> None:
    """What they drop is not refused, and what they set is sent."""
    params = Params(drop=("top_logprobs",), set={"instructions": "Be kind.", "reasoning": {"effort": "low"}})
    body = _sent(params, top_logprobs=2)
    assert (body["instructions"], body["reasoning"]) == ("Be kind.", {"effort": "low"})


def test_what_it_serves() -> None:
    """Responses, and chats by way of them; nothing else, and no model is made up."""
    spoken = dialect("chatgpt-account", None, "both")
    assert [each for each in (CHAT, RESPONSES, COMPLETIONS, EMBEDDINGS) if spoken.serves(each)] == [CHAT, RESPONSES]
    for endpoint in (COMPLETIONS, EMBEDDINGS, CHAT):
        call = Backend().call(Question(endpoint, b"{}", {}, (), "", False, "m"), Binding("s", "k", "m"))
        assert isinstance(call, Uncarried)
        assert call.detail == "endpoint"
    call = Backend().call(Question(RESPONSES, b"{}", {}, (), "", False, None), Binding("s", "k", "*"))
    assert isinstance(call, Uncarried)
    assert call.detail == "model"


def test_a_chat_is_asked_by_responses_in_the_callers_words() -> None:
    """The system's words as instructions; what is dropped and refused is named as a chat names it."""
    document: dict[str, Any] = {
        "model": "any",
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Where?"}],
        "max_tokens": 9,
        "temperature": 0.2,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    binding = Binding("s", "chatgpt-account", "served")
    call = dialect("chatgpt-account", None, "both").call(
        Question(CHAT, orjson.dumps(document), document, (), "", True, "any"), binding
    )
    assert isinstance(call, Call)
    assert orjson.loads(call.body) == {**_BARE, "instructions": "Be brief."}
    assert set(call.dropped) == {"max_tokens", "temperature"}
    document = {**document, "max_completion_tokens": 8}
    call = dialect("chatgpt-account", None, "both").call(
        Question(CHAT, orjson.dumps(document), document, (), "", True, "any"), binding
    )
    assert isinstance(call, Call)
    assert set(call.dropped) == {"max_completion_tokens", "temperature"}
