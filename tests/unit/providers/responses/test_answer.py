"""A chat completion as a Response, and an error of the one as an error of the other."""

from __future__ import annotations

from typing import Any

import orjson
import pytest
from openai.types.chat import ChatCompletion
from openai.types.responses import Response

from proxy.providers.anthropic.messages import Messages
from proxy.providers.passthrough import PassThrough
from proxy.providers.responses.by_chat import ByChat
from proxy.terms import Cause, Diagnosis, Usage
from tests.unit.providers.anthropic.transcripts import FOLDER
from tests.unit.providers.responses.asked import NOW, WEATHER, question, response

_USAGE = {
    "prompt_tokens": 20,
    "completion_tokens": 9,
    "total_tokens": 29,
    "prompt_tokens_details": {"cached_tokens": 8, "cache_write_tokens": 2},
    "completion_tokens_details": {"reasoning_tokens": 4},
}
_CALL = {"id": "call_1", "type": "function", "function": {"name": "weather", "arguments": '{"city":"Riga"}'}}


def _completion(finish: str = "stop", **message: Any) -> dict[str, Any]:
    said = {"role": "assistant", "content": "Riga.", "refusal": None, **message}
    choice = {"index": 0, "message": said, "finish_reason": finish, "logprobs": None}
    whole = {"id": "chatcmpl-Ab1", "object": "chat.completion", "created": 1_790_000_000, "model": "m"}
    document = {**whole, "choices": [choice], "usage": _USAGE}
    ChatCompletion.model_validate(document)
    return document


def _told(completion: dict[str, Any], **asked: Any) -> Response:
    told = ByChat(PassThrough()).answer(question(**asked), orjson.dumps(completion), completion, NOW)
    assert told is not None
    return response(orjson.loads(told.body))


def test_a_text() -> None:
    """The whole of it."""
    answer = _told(_completion())
    assert answer.model_dump(exclude_unset=True) == {
        "id": "resp_Ab1",
        "object": "response",
        "created_at": 1_790_000_000,
        "status": "completed",
        "model": "m",
        "error": None,
        "incomplete_details": None,
        "instructions": None,
        "max_output_tokens": None,
        "metadata": {},
        "parallel_tool_calls": True,
        "previous_response_id": None,
        "temperature": 1.0,
        "top_p": 1.0,
        "truncation": "disabled",
        "background": False,
        "store": False,
        "reasoning": {"effort": None, "summary": None},
        "text": {"format": {"type": "text"}},
        "tool_choice": "auto",
        "tools": [],
        "output": [
            {
                "id": "msg_Ab100",
                "type": "message",
                "status": "completed",
                "role": "assistant",
                "content": [{"type": "output_text", "text": "Riga.", "annotations": [], "logprobs": []}],
            }
        ],
        "usage": {
            "input_tokens": 20,
            "input_tokens_details": {"cached_tokens": 8, "cache_write_tokens": 2},
            "output_tokens": 9,
            "output_tokens_details": {"reasoning_tokens": 4},
            "total_tokens": 29,
        },
    }
    assert answer.output_text == "Riga."


def test_routing_hears_of_usage_and_model_as_ever() -> None:
    """They are the chat's."""
    completion = _completion()
    told = ByChat(PassThrough()).answer(question(), orjson.dumps(completion), completion, NOW)
    assert told is not None
    assert (told.usage, told.model) == (Usage(20, 9, 8, 4), "m")


def test_what_was_asked_is_repeated() -> None:
    """Callers compare it with what they asked."""
    form = {"type": "json_schema", "name": "n", "schema": {"type": "object"}, "strict": True}
    asked: dict[str, Any] = {
        "instructions": "Be brief.",
        "max_output_tokens": 9,
        "metadata": {"a": "b"},
        "parallel_tool_calls": False,
        "reasoning": {"effort": "low", "summary": "auto"},
        "temperature": 0.2,
        "text": {"format": form},
        "tool_choice": {"type": "function", "name": "weather"},
        "tools": [{**WEATHER, "description": "Looks out."}],
        "top_p": 0.5,
        "user": "u",
    }
    told = _told(_completion(), **asked, store=True).model_dump(by_alias=True, exclude_unset=True)
    assert {key: told[key] for key in asked} == asked
    assert told["store"] is False


def test_calls() -> None:
    """They come after the words, each an item; a call keeps its id, so that its result finds it."""
    completion = _completion("tool_calls", tool_calls=[_CALL, {**_CALL, "id": "call_2"}])
    text, *calls = _told(completion).output
    assert text.type == "message"
    assert [(call.type, call.id, getattr(call, "call_id", "")) for call in calls] == [
        ("function_call", "fc_Ab101", "call_1"),
        ("function_call", "fc_Ab102", "call_2"),
    ]
    (alone,) = _told(_completion("tool_calls", content=None, tool_calls=[_CALL])).output
    assert alone.type == "function_call"
    assert (alone.name, alone.arguments, alone.status) == ("weather", '{"city":"Riga"}', "completed")


@pytest.mark.parametrize("field", ["reasoning_content", "reasoning"])
def test_thoughts(field: str) -> None:
    """What a vendor lets its model think aloud is a summary."""
    thought, text = _told(_completion(**{field: "Hm."})).output
    assert thought.type == "reasoning"
    assert [part.text for part in thought.summary] == ["Hm."]
    assert (thought.id, text.id) == ("rs_Ab100", "msg_Ab101")


@pytest.mark.parametrize(("finish", "reason"), [("length", "max_output_tokens"), ("content_filter", "content_filter")])
def test_an_answer_that_is_not_whole(finish: str, reason: str) -> None:
    """It says so, and why."""
    answer = _told(_completion(finish))
    assert (answer.status, answer.incomplete_details and answer.incomplete_details.reason) == ("incomplete", reason)
    (item,) = answer.output
    assert item.type == "message"
    assert item.status == "incomplete"


def test_a_refusal() -> None:
    """A part of its own."""
    (item,) = _told(_completion(content=None, refusal="No.")).output
    assert item.type == "message"
    assert [part.to_dict() for part in item.content] == [{"type": "refusal", "refusal": "No."}]


def test_an_empty_answer_has_a_message() -> None:
    """Callers look for one."""
    for content in ("", None):
        answer = _told(_completion(content=content))
        assert [item.type for item in answer.output] == ["message"]
        assert answer.output_text == ""


def test_what_a_source_leaves_out_is_made_up_or_left_out() -> None:
    """Names have to be there, counts are not invented."""
    completion = _completion("tool_calls", content=None, tool_calls=[{**_CALL, "id": ""}])
    bare = {"choices": completion["choices"]}
    answer = _told(bare)
    assert answer.usage is None
    assert answer.created_at == int(NOW)
    assert answer.id == f"resp_{int(NOW * 1e6):x}"
    (call,) = answer.output
    assert call.type == "function_call"
    assert call.call_id.startswith("call_")


def test_content_in_parts() -> None:
    """Some vendors answer so."""
    parts = [{"type": "thinking", "thinking": []}, {"type": "text", "text": "Ri"}, {"type": "text", "text": "ga"}]
    completion = _completion()
    completion["choices"][0]["message"]["content"] = parts
    assert _told(completion).output_text == "Riga"


@pytest.mark.parametrize("wrong", [{"choices": []}, {"choices": None}, {"choices": [5]}, {"choices": [{"index": 0}]}])
def test_what_is_no_completion(wrong: dict[str, Any]) -> None:
    """The next tier is asked."""
    document = _completion() | wrong
    assert ByChat(PassThrough()).answer(question(), orjson.dumps(document), document, NOW) is None


def test_names_can_be_sent_back_to_openai() -> None:
    """Letters and figures, no longer than it takes."""
    completion = _completion() | {"id": "gen:" + "é/x-" * 40}
    (item,) = _told(completion).output
    assert item.id is not None
    assert item.id.removeprefix("msg_").isascii()
    assert item.id.removeprefix("msg_").isalnum()
    assert 40 < len(item.id) <= 64


def test_a_message_of_claudes() -> None:
    """There and back by two translations."""
    message = orjson.loads((FOLDER / "message.json").read_bytes())
    told = ByChat(Messages()).answer(question(), b"", message, NOW)
    assert told is not None
    answer = response(orjson.loads(told.body))
    assert answer.model == message["model"]
    assert answer.usage is not None
    assert told.usage is not None
    assert answer.usage.input_tokens == told.usage.input
    assert {item.type for item in answer.output} >= {"message"}
    broken = message | {"type": "odd"}
    assert ByChat(Messages()).answer(question(), b"", broken, NOW) is None


def test_an_error_keeps_its_bytes_and_a_page_becomes_one() -> None:
    """What is said to a caller of an answer made anew is JSON."""
    diagnosis, by_chat = Diagnosis(Cause.CLIENT_FAULT, "x"), ByChat(PassThrough())
    said = b'{"error": {"message": "m", "type": "t", "param": null, "code": null}}'
    assert by_chat.refusal(said, diagnosis) == said
    page = orjson.loads(by_chat.refusal(b"<html>", diagnosis))
    assert page["error"].keys() == {"message", "type", "param", "code"}
    assert orjson.loads(ByChat(Messages()).refusal(b'{"type":"error","error":{"type":"x","message":"m"}}', diagnosis))
