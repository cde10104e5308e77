"""A Message as a chat completion, and an error of the one API as one of the other."""

from __future__ import annotations

from typing import Any, get_args

import orjson
import pytest
from anthropic.types import Message
from anthropic.types.stop_reason import StopReason
from openai.types.chat import ChatCompletion

from proxy.providers.anthropic.answer import FINISH
from proxy.providers.anthropic.messages import Messages
from proxy.terms import Cause, Diagnosis, Usage
from tests.unit.providers.anthropic.asked import question
from tests.unit.providers.anthropic.transcripts import CREATED, FOLDER

_MESSAGE: dict[str, Any] = orjson.loads((FOLDER / "message.json").read_bytes())


def _told(**changes: Any) -> ChatCompletion:
    message = _MESSAGE | changes
    Message.model_validate(message)
    told = Messages().answer(question(), b"", message, CREATED + 0.5)
    assert told is not None
    assert told.model == message["model"]
    return ChatCompletion.model_validate(orjson.loads(told.body), strict=True)


def test_a_message() -> None:
    """Texts joined, thoughts beside them, calls in their order, and the cost in OpenAI's way of counting."""
    completion = _told()
    assert (completion.id, completion.created, completion.model) == ("msg_01Jq", CREATED, "claude-opus-4-6")
    (choice,) = completion.choices
    assert choice.finish_reason == "tool_calls"
    assert choice.message.content == "Let me look."
    assert choice.message.model_extra == {"reasoning_content": "Two calls."}
    calls = choice.message.tool_calls or []
    assert [(call.id, call.type) for call in calls] == [("toolu_01A", "function"), ("toolu_01B", "function")]
    given = [call.function for call in calls if call.type == "function"]
    assert [(each.name, orjson.loads(each.arguments)) for each in given] == [
        ("weather", {"city": "Rīga", "days": 2}),
        ("now", {}),
    ]
    told = Messages().answer(question(), b"", _MESSAGE, CREATED)
    assert told is not None
    assert told.usage == Usage(2160, 61, 2048, 20)
    usage = completion.usage
    assert usage is not None
    assert (usage.prompt_tokens, usage.completion_tokens, usage.total_tokens) == (2160, 61, 2221)


def test_calls_alone_have_no_content() -> None:
    """As at OpenAI: null, and not an empty text; an answer of nothing is an empty text."""
    assert _told(content=_MESSAGE["content"][4:]).choices[0].message.content is None
    assert _told(content=[], stop_reason="end_turn").choices[0].message.content == ""


def test_a_refusal() -> None:
    """Why, where OpenAI tells it."""
    details = {"type": "refusal", "category": "cyber", "explanation": "No."}
    choice = _told(content=[], stop_reason="refusal", stop_details=details).choices[0]
    assert (choice.finish_reason, choice.message.refusal) == ("content_filter", "No.")


def test_every_stop_reason_has_a_finish_reason() -> None:
    """All that Anthropic's SDK knows, and one of tomorrow."""
    assert set(FINISH) == set(get_args(StopReason))
    for reason, finish in FINISH.items():
        assert _told(stop_reason=reason).choices[0].finish_reason == finish
    told = Messages().answer(question(), b"", _MESSAGE | {"stop_reason": "of_tomorrow"}, CREATED)
    assert told is not None
    assert b'"finish_reason":"stop"' in told.body


@pytest.mark.parametrize(
    "wrong", [{"type": "completion"}, {"content": "x"}, {"stop_reason": None}, {"content": None, "type": None}]
)
def test_what_is_no_message_is_no_answer(wrong: dict[str, Any]) -> None:
    """A document of another kind, or one that has not come to its end."""
    assert Messages().answer(question(), b"", _MESSAGE | wrong, CREATED) is None


def test_an_answer_without_usage_says_none() -> None:
    """What was not counted is not made up."""
    message = {key: value for key, value in _MESSAGE.items() if key != "usage"}
    told = Messages().answer(question(), b"", message, CREATED)
    assert told is not None
    assert told.usage is None
    assert ChatCompletion.model_validate(orjson.loads(told.body), strict=True).usage is None


@pytest.mark.parametrize(
    ("cause", "code"),
    [
        (Cause.CONTEXT_LENGTH, "context_length_exceeded"),
        (Cause.QUOTA, "insufficient_quota"),
        (Cause.RATE_LIMITED, "rate_limit_exceeded"),
        (Cause.MODEL_MISSING, "model_not_found"),
        (Cause.CLIENT_FAULT, None),
    ],
)
def test_an_error_is_told_in_openais_form(cause: Cause, code: str | None) -> None:
    """Its message and its type are the upstream's; its code is what callers of OpenAI's look at."""
    said = {"type": "error", "error": {"type": "invalid_request_error", "message": "No."}, "request_id": "req_1"}
    told = orjson.loads(Messages().refusal(orjson.dumps(said), Diagnosis(cause, "x")))
    assert told == {"error": {"message": "No.", "type": "invalid_request_error", "param": None, "code": code}}


@pytest.mark.parametrize("body", [b"", b"<html>502</html>", b"[]", b'{"type":"error"}'])
def test_an_error_without_words_is_an_error_all_the_same(body: bytes) -> None:
    """A gateway's page is not passed on as if it were an answer."""
    told = orjson.loads(Messages().refusal(body, Diagnosis(Cause.SERVER, "html")))
    assert told["error"].keys() == {"message", "type", "param", "code"}
    assert told["error"]["message"]
