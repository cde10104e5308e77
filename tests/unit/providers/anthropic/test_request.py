"""A chat completions request as a Messages request: field by field, turn by turn; what cannot be carried is said."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from openai.types.chat.completion_create_params import CompletionCreateParamsBase

from proxy.providers.anthropic import request
from proxy.providers.anthropic.messages import Messages
from proxy.providers.dialect import Uncarried
from proxy.terms import COMPLETIONS, EMBEDDINGS, RESPONSES, Binding, Endpoint, Params
from tests.unit.providers.anthropic.asked import USER, dropped, put, question, refused, sent

_WEATHER: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "weather",
        "description": "Of a city.",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}}},
    },
}
_CALL: dict[str, Any] = {
    "id": "call_1",
    "type": "function",
    "function": {"name": "weather", "arguments": '{"city":"Riga"}'},
}


def _text(text: str) -> dict[str, Any]:
    return {"type": "text", "text": text}


def _turns(*messages: dict[str, Any]) -> list[dict[str, Any]]:
    turns: list[dict[str, Any]] = sent(messages=list(messages))["messages"]
    return turns


def test_the_least_that_can_be_asked() -> None:
    """The binding's model, the turn, and the limit that this API insists on."""
    assert sent() == {
        "model": "claude-sonnet-4-6",
        "max_tokens": request.DEFAULT_MAX_TOKENS,
        "messages": [{"role": "user", "content": [_text("Where?")]}],
    }


def test_the_callers_own_model_is_passed_through() -> None:
    """`*` takes what the caller names; where it names none, nobody can be asked."""
    assert sent(tier="*", model="claude-x")["model"] == "claude-x"
    unnamed = Messages().call(replace(question(), model=None), Binding("claude", "anthropic", "*"))
    assert isinstance(unnamed, Uncarried)
    assert unnamed.detail == "model"


@pytest.mark.parametrize("endpoint", [COMPLETIONS, RESPONSES, EMBEDDINGS])
def test_other_endpoints_have_no_counterpart(endpoint: Endpoint) -> None:
    """They are refused before anything is sent, so that the next tier is asked."""
    said = Messages().call(question(endpoint), Binding("claude", "anthropic", "claude"))
    assert isinstance(said, Uncarried)
    assert (said.detail, endpoint.name in said.why) == ("endpoint", True)


# -- turns


def test_instructions_stand_apart() -> None:
    """System and developer turns, wherever they stand, become `system` in their order."""
    body = sent(
        messages=[
            {"role": "system", "content": "Be brief."},
            USER,
            {"role": "developer", "content": [_text("In Latvian."), _text("Always.")]},
        ]
    )
    assert body["system"] == [_text("Be brief."), _text("In Latvian."), _text("Always.")]
    assert body["messages"] == [{"role": "user", "content": [_text("Where?")]}]


def test_instructions_alone_are_the_question() -> None:
    """This API has to be asked something by somebody."""
    body = sent(messages=[{"role": "system", "content": "Tell a joke."}])
    assert "system" not in body
    assert body["messages"] == [{"role": "user", "content": [_text("Tell a joke.")]}]


def test_turns_of_one_role_become_one() -> None:
    """Their texts stay apart, and in order."""
    turns = _turns(
        USER, USER, {"role": "assistant", "content": "There."}, {"role": "assistant", "content": "Or here."}, USER
    )
    assert turns == [
        {"role": "user", "content": [_text("Where?"), _text("Where?")]},
        {"role": "assistant", "content": [_text("There."), _text("Or here.")]},
        {"role": "user", "content": [_text("Where?")]},
    ]


def test_calls_and_their_results() -> None:
    """Results that follow each other, and what the user says next, are one turn; the results come first in it."""
    other = {**_CALL, "id": "call_2", "function": {"name": "weather", "arguments": ""}}
    turns = _turns(
        USER,
        {"role": "assistant", "content": None, "tool_calls": [_CALL, other]},
        {"role": "tool", "tool_call_id": "call_1", "content": "Rain."},
        {"role": "tool", "tool_call_id": "call_2", "content": [_text("Sun.")]},
        USER,
    )
    assert turns[1:] == [
        {
            "role": "assistant",
            "content": [
                {"type": "tool_use", "id": "call_1", "name": "weather", "input": {"city": "Riga"}},
                {"type": "tool_use", "id": "call_2", "name": "weather", "input": {}},
            ],
        },
        {
            "role": "user",
            "content": [
                {"type": "tool_result", "tool_use_id": "call_1", "content": [_text("Rain.")]},
                {"type": "tool_result", "tool_use_id": "call_2", "content": [_text("Sun.")]},
                _text("Where?"),
            ],
        },
    ]


def test_ids_are_made_of_letters_that_are_taken() -> None:
    """Other vendors' ids hold dots and colons; call and result still find each other, and no two ids become one."""
    ids = ["functions.weather:0", "functions_weather:0"]
    calls = [{**_CALL, "id": each} for each in ids]
    results = [{"role": "tool", "tool_call_id": each, "content": "x"} for each in ids]
    turns = _turns(USER, {"role": "assistant", "tool_calls": calls}, *results)
    made = [block["id"] for block in turns[1]["content"]]
    assert made == [block["tool_use_id"] for block in turns[2]["content"]]
    assert made == ["functions_2e_weather_3a_0", "functions_weather_3a_0"]


def test_an_assistants_earlier_words() -> None:
    """A refusal is text; thoughts cannot go back, since they would have to be signed."""
    turns = [USER, {"role": "assistant", "content": "a", "refusal": "no", "reasoning_content": "hm"}, USER]
    assert sent(messages=turns)["messages"][1]["content"] == [_text("a"), _text("no")]
    assert dropped(messages=turns) == ("messages.reasoning_content",)


def test_blank_text_is_left_out() -> None:
    """This API refuses it, and it says nothing."""
    assert _turns(USER, {"role": "assistant", "content": " "}, {"role": "user", "content": "\n"}, USER) == [
        {"role": "user", "content": [_text("Where?"), _text("Where?")]}
    ]


def test_images() -> None:
    """By URL or as base64; how closely to look is not something that this API can be told."""
    parts = [
        {"type": "image_url", "image_url": {"url": "https://x.example.com/a.png", "detail": "low"}},
        {"type": "image_url", "image_url": {"url": "data:image/PNG;name=x;base64,AAAA", "detail": "auto"}},
        {"type": "text", "text": "What is it?", "cache_control": {"type": "ephemeral"}},
    ]
    turn = {"role": "user", "content": parts}
    assert _turns(turn)[0]["content"] == [
        {"type": "image", "source": {"type": "url", "url": "https://x.example.com/a.png"}},
        {"type": "image", "source": {"type": "base64", "media_type": "image/png", "data": "AAAA"}},
        {**_text("What is it?"), "cache_control": {"type": "ephemeral"}},
    ]
    assert dropped(messages=[turn]) == ("messages.image_url.detail",)


def test_an_image_by_its_wrong_name() -> None:
    """Many callers say `jpg`; this API does not know that word."""
    part = {"type": "image_url", "image_url": {"url": "data:image/jpg;base64,AAAA"}}
    (block,) = _turns({"role": "user", "content": [part]})[0]["content"]
    assert block["source"]["media_type"] == "image/jpeg"


def test_documents() -> None:
    """A PDF that is sent along, with its name as the title; as a data URL, or bare."""
    files = [{"file_data": "data:application/pdf;base64,JVBERi0x", "filename": "a.pdf"}, {"file_data": "JVBERi0x"}]
    source = {"type": "base64", "media_type": "application/pdf", "data": "JVBERi0x"}
    assert _turns({"role": "user", "content": [{"type": "file", "file": each} for each in files]})[0]["content"] == [
        {"type": "document", "source": source, "title": "a.pdf"},
        {"type": "document", "source": source},
    ]


@pytest.mark.parametrize(
    ("message", "field"),
    [
        ({"role": "user", "content": [{"type": "input_audio", "input_audio": {}}]}, "messages.content"),
        ({"role": "user", "content": [{"type": "image_url", "image_url": {"url": "ftp://x"}}]}, "messages.image_url"),
        (
            {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:image/svg+xml;base64,A"}}]},
            "messages.image_url",
        ),
        ({"role": "user", "content": [{"type": "image_url"}]}, "messages.image_url"),
        ({"role": "user", "content": [{"type": "file", "file": {"file_id": "file-1"}}]}, "messages.file"),
        (
            {"role": "user", "content": [{"type": "file", "file": {"file_data": "data:text/csv;base64,A"}}]},
            "messages.file",
        ),
        ({"role": "user", "content": [{"type": "text"}]}, "messages.content"),
        ({"role": "user", "content": ["x"]}, "messages.content"),
        ({"role": "user", "content": 5}, "messages.content"),
        ({"role": "system", "content": [{"type": "image_url"}]}, "messages.content"),
        ({"role": "function", "name": "f", "content": "x"}, "messages.role"),
        ({"role": "assistant", "function_call": {"name": "f", "arguments": "{}"}}, "messages.function_call"),
        ({"role": "assistant", "audio": {"id": "a"}}, "messages.audio"),
        ({"role": "assistant", "tool_calls": [{"type": "custom", "custom": {}}]}, "messages.tool_calls"),
        ({"role": "assistant", "tool_calls": [{**_CALL, "id": ""}]}, "messages.tool_calls"),
        ({"role": "assistant", "tool_calls": [{**_CALL, "function": {"arguments": "{"}}]}, "messages.tool_calls"),
        ({"role": "assistant", "tool_calls": [{**_CALL, "function": {"arguments": "[]"}}]}, "messages.tool_calls"),
        ({"role": "assistant", "tool_calls": {"a": 1}}, "messages.tool_calls"),
        ({"role": "assistant", "content": "I would say"}, "messages"),
        ({"role": "tool", "content": "x"}, "messages.tool_calls"),
    ],
)
def test_a_message_that_cannot_be_told_is_refused(message: dict[str, Any], field: str) -> None:
    """Sounds, files kept elsewhere, calls that are none, and a last word of the assistant's: by name."""
    after = [] if message.get("content") == "I would say" else [USER]
    assert refused(messages=[USER, message, *after]) == field


def test_a_result_after_other_words_is_refused() -> None:
    """This API wants it right behind the call; moving it would tell another story."""
    call = {"role": "assistant", "tool_calls": [_CALL]}
    late = {"role": "tool", "tool_call_id": "call_1", "content": "x"}
    assert refused(messages=[USER, call, USER, late]) == "messages"


@pytest.mark.parametrize("messages", [None, "hello", [5], {"role": "user"}])
def test_messages_that_are_none(messages: object) -> None:
    """What is no list of messages is nobody's question."""
    assert refused(messages=messages) == "messages"


# -- tools


def test_tools() -> None:
    """Name, description and schema; a schema says that it is an object; `strict` where it was asked for."""
    bare = {"type": "function", "function": {"name": "now"}}
    strict = {"type": "function", "function": {"name": "s", "strict": True, "parameters": {"properties": {}}}}
    assert sent(tools=[_WEATHER, bare, strict])["tools"] == [
        {
            "name": "weather",
            "description": "Of a city.",
            "input_schema": {"type": "object", "properties": {"city": {"type": "string"}}},
        },
        {"name": "now", "input_schema": {"type": "object"}},
        {"name": "s", "strict": True, "input_schema": {"type": "object", "properties": {}}},
    ]


@pytest.mark.parametrize(
    ("choice", "parallel", "made"),
    [
        (None, None, None),
        ("auto", None, {"type": "auto"}),
        ("none", False, {"type": "none"}),
        ("required", True, {"type": "any"}),
        ({"type": "function", "function": {"name": "weather"}}, None, {"type": "tool", "name": "weather"}),
        (None, False, {"type": "auto", "disable_parallel_tool_use": True}),
        ("required", False, {"type": "any", "disable_parallel_tool_use": True}),
    ],
)
def test_the_choice_of_tools(choice: object, parallel: bool | None, made: dict[str, Any] | None) -> None:
    """Four ways to be told, and whether several may be called at once."""
    assert sent(tools=[_WEATHER], tool_choice=choice, parallel_tool_calls=parallel).get("tool_choice") == made


def test_without_tools_there_is_no_choice() -> None:
    """What SDKs send along by habit asks for nothing then."""
    assert sent(tools=[], tool_choice="auto", parallel_tool_calls=True) == sent()


# -- what else is read


@pytest.mark.parametrize(
    ("params", "fields", "limit"),
    [
        ({}, {"max_tokens": 5}, 5),
        ({}, {"max_tokens": 5, "max_completion_tokens": 7}, 7),
        ({"set": {"max_tokens": 9}}, {"max_completion_tokens": 7}, 9),
        ({"set": {"max_completion_tokens": 9}}, {}, 9),
        ({"cap": {"max_tokens": 6}}, {"max_completion_tokens": 7}, 6),
        ({"cap": {"max_tokens": 6}}, {}, 6),
        ({"drop": ("max_completion_tokens",)}, {"max_completion_tokens": 7, "max_tokens": 5}, 5),
    ],
)
def test_the_limit_of_tokens(params: dict[str, Any], fields: dict[str, Any], limit: int) -> None:
    """The newer name first; what the operator set or capped holds, whichever name either of them used."""
    assert sent(Params(**params), **fields)["max_tokens"] == limit


def test_params_hold_before_all_else() -> None:
    """A tier can leave out what it could not be told, and say what this API alone has a word for."""
    body = sent(Params(drop=("n",), set={"thinking": {"type": "adaptive"}}), n=2, cache_control={"type": "ephemeral"})
    assert (body["thinking"], body["cache_control"]) == ({"type": "adaptive"}, {"type": "ephemeral"})


@pytest.mark.parametrize(
    ("given", "made", "left_out"),
    [
        ({"temperature": 0.3}, {"temperature": 0.3}, ()),
        ({"temperature": 0}, {"temperature": 0}, ()),
        ({"temperature": 1, "top_p": 1.0}, {}, ()),
        ({"temperature": 1.0, "top_p": 0.9}, {"top_p": 0.9}, ()),
        ({"temperature": 1.7}, {}, ("temperature",)),
        ({"temperature": 0.3, "top_p": 0.9}, {"temperature": 0.3}, ("top_p",)),
        ({"top_p": 0.9, "top_k": 5}, {"top_p": 0.9, "top_k": 5}, ()),
        ({"top_k": 1}, {"top_k": 1}, ()),
        ({"temperature": 1.7, "top_p": 0.9}, {"top_p": 0.9}, ("temperature",)),
    ],
)
def test_sampling(given: dict[str, Any], made: dict[str, Any], left_out: tuple[str, ...]) -> None:
    """One of the two, and no temperature above 1, which is what holds without one."""
    body = sent(**given)
    assert {key: body[key] for key in ("temperature", "top_p", "top_k") if key in body} == made
    assert dropped(**given) == left_out


def test_stops() -> None:
    """One or several; none is none."""
    assert sent(stop="END")["stop_sequences"] == ["END"]
    assert sent(stop=["A", "B"])["stop_sequences"] == ["A", "B"]
    assert sent(stop=None) == sent(stop=[]) == sent()


def test_the_form_of_the_answer() -> None:
    """A JSON Schema is one here too."""
    schema = {"type": "object", "properties": {"a": {"type": "string"}}, "additionalProperties": False}
    asked = {"type": "json_schema", "json_schema": {"name": "a", "strict": True, "schema": schema}}
    assert sent(response_format=asked)["output_config"] == {"format": {"type": "json_schema", "schema": schema}}
    assert sent(response_format={"type": "text"}) == sent()


@pytest.mark.parametrize("model", ["claude-opus-4-7", "claude-sonnet-5-5", "claude-fable-5", "gateway-made-this-up"])
def test_newer_models_have_no_sampling(model: str) -> None:
    """They refuse it, so it is left out and named, unless the operator says otherwise."""
    assert dropped(tier=model, temperature=0.3, top_p=0.9, top_k=5) == ("temperature", "top_p", "top_k")
    assert dropped(tier=model, temperature=1, top_p=1) == ()
    assert sent(Params(set={"temperature": 0.3}), tier=model, temperature=1, top_p=0.9)["temperature"] == 0.3


@pytest.mark.parametrize(
    "model",
    [
        "claude-3-5-haiku-20241022",
        "claude-opus-4-20250514",
        "claude-opus-4-1-20250805",
        "claude-haiku-4-5",
        "claude-opus-4-6",
        "anthropic/claude-sonnet-4-6",
    ],
)
def test_older_models_have_sampling(model: str) -> None:
    """As long as they do not think: then they have none either."""
    assert sent(tier=model, temperature=0.3)["temperature"] == 0.3
    thinking = Params(set={"thinking": {"type": "enabled", "budget_tokens": 1024}})
    assert dropped(thinking, tier=model, temperature=0.3) == ("temperature",)


@pytest.mark.parametrize(
    ("effort", "made"),
    [
        ("minimal", {"output_config": {"effort": "low"}}),
        ("low", {"output_config": {"effort": "low"}}),
        ("xhigh", {"output_config": {"effort": "xhigh"}}),
        ("max", {"output_config": {"effort": "max"}}),
        ("none", {"thinking": {"type": "disabled"}}),
    ],
)
def test_effort(effort: str, made: dict[str, Any]) -> None:
    """How hard to think is a word in both APIs; not to think at all is said elsewhere in this one."""
    assert sent(tier="claude-opus-5-5", reasoning_effort=effort) == sent(tier="claude-opus-5-5") | made


@pytest.mark.parametrize(
    ("model", "effort"),
    [
        ("claude-haiku-4-5", "low"),
        ("claude-sonnet-4-5-20250929", "high"),
        ("claude-opus-4-5", "max"),
        ("claude-sonnet-4-6", "xhigh"),
        ("claude-fable-5", "none"),
    ],
)
def test_an_effort_that_a_model_has_not_is_dropped(model: str, effort: str) -> None:
    """It only tunes, and would be refused."""
    assert dropped(tier=model, reasoning_effort=effort) == ("reasoning_effort",)
    assert sent(tier=model, reasoning_effort=effort) == sent(tier=model)


def test_form_and_effort_together() -> None:
    """Both are told in one place."""
    schema = {"type": "object"}
    asked = {"type": "json_schema", "json_schema": {"name": "a", "schema": schema}}
    body = sent(response_format=asked, reasoning_effort="high")
    assert body["output_config"] == {"format": {"type": "json_schema", "schema": schema}, "effort": "high"}


def test_the_user() -> None:
    """Who is behind the caller, by either name; an id that is too long for this API is left out."""
    assert sent(user="u")["metadata"] == {"user_id": "u"}
    assert sent(user="u", safety_identifier="s")["metadata"] == {"user_id": "s"}
    assert dropped(user="u" * 257) == ("user",)


def test_a_stream_is_asked_for() -> None:
    """Its options are for us to keep."""
    assert sent(stream=True, stream_options={"include_usage": True}) == sent() | {"stream": True}


# -- what is not


_TUNES: dict[str, Any] = {
    "frequency_penalty": 0.5,
    "metadata": {"a": "b"},
    "prediction": {"type": "content", "content": "x"},
    "presence_penalty": 0.5,
    "prompt_cache_key": "k",
    "prompt_cache_options": {"mode": "implicit"},
    "prompt_cache_retention": "24h",
    "seed": 0,
    "service_tier": "flex",
    "store": True,
    "verbosity": "low",
}
_CHANGES: dict[str, Any] = {
    "n": 2,
    "logprobs": True,
    "top_logprobs": 3,
    "logit_bias": {"50256": -100},
    "modalities": ["text", "audio"],
    "audio": {"voice": "alloy", "format": "mp3"},
    "functions": [{"name": "f"}],
    "function_call": {"name": "f"},
    "web_search_options": {},
    "moderation": {"model": "m"},
}


def test_what_only_tunes_is_dropped_and_named() -> None:
    """Every field of the table, each by itself and all together, in the caller's order."""
    assert set(_TUNES) == set(request.DROPPED)
    assert all(dropped(**each) == (*each,) for each in ({name: value} for name, value in _TUNES.items()))
    assert dropped(**_TUNES) == tuple(_TUNES)
    assert sent(**_TUNES) == sent()


@pytest.mark.parametrize("field", request.REFUSED)
def test_what_changes_the_answer_is_refused(field: str) -> None:
    """Every field of the table: nothing is sent, and the caller reads which field it is and why."""
    document = {field: _CHANGES[field]}
    call = put(None, **document)
    assert isinstance(call, Uncarried)
    assert (call.detail, call.param) == (field, field)
    assert request.REFUSED[field] in call.why


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("tools", [{"type": "custom", "custom": {"name": "x"}}]),
        ("tools", [5]),
        ("tools", {"a": 1}),
        ("tools", [{"type": "function", "function": {"name": "f", "parameters": "x"}}]),
        ("tool_choice", {"type": "allowed_tools", "allowed_tools": {}}),
        ("tool_choice", "sometimes"),
        ("response_format", {"type": "json_object"}),
        ("response_format", {"type": "json_schema", "json_schema": {"name": "a"}}),
        ("reasoning_effort", "extreme"),
        ("reasoning_effort", 5),
        ("stop", ["\n"]),
        ("stop", 5),
        ("max_tokens", "5"),
        ("max_tokens", True),
        ("temperature", "hot"),
        ("top_p", [1]),
    ],
)
def test_values_that_have_no_counterpart_are_refused(field: str, value: object) -> None:
    """A field that is known, with a value that is not."""
    tools = {} if field == "tools" else {"tools": [_WEATHER]}
    assert refused(**{**tools, field: value}) == field


def test_an_unknown_field_is_refused() -> None:
    """Nobody knows what it would have changed; the caller reads its name, headers and records a word of ours."""
    document: dict[str, Any] = {"chat_template_kwargs" * 20: {}}
    call = put(None, **document)
    assert isinstance(call, Uncarried)
    assert call.detail == "unknown_field"
    assert call.param == ("chat_template_kwargs" * 20)[:128]
    assert "params.drop" in call.why


@pytest.mark.parametrize(
    "nothing",
    [
        {"n": 1},
        {"logprobs": False, "top_logprobs": 0},
        {"logit_bias": {}},
        {"modalities": ["text"]},
        {"functions": [], "function_call": "none"},
        {"frequency_penalty": 0, "presence_penalty": 0.0},
        {"service_tier": "auto", "store": False, "verbosity": "medium", "metadata": {}},
        {"seed": None, "user": None, "stop": None, "audio": None, "whatever": None},
    ],
)
def test_what_asks_for_nothing_is_as_good_as_not_there(nothing: dict[str, Any]) -> None:
    """Defaults that SDKs and frameworks write out."""
    assert sent(**nothing) == sent()
    assert dropped(**nothing) == ()


def test_every_field_of_openais_sdk_is_known() -> None:
    """Each is read, dropped or refused, and none in two ways."""
    known = [*request.READ, *request.DROPPED, *request.REFUSED]
    assert len(set(known)) == len(known)
    assert set(CompletionCreateParamsBase.__annotations__) <= set(known)
    assert not set(request.NATIVE) & set(CompletionCreateParamsBase.__annotations__)


def test_the_documented_fields_are_the_ones_that_are_known() -> None:
    """docs/anthropic.md tells what becomes of every field, and of no other."""
    text = (Path(__file__).parents[4] / "docs" / "anthropic.md").read_text()
    rows = re.search(r"<!-- fields -->\n(.*?)<!-- end -->", text, re.DOTALL)
    assert rows is not None
    told = {line.split("|")[1].strip(): line.split("|")[2].strip() for line in rows[1].splitlines()[2:]}
    names = {name: what for row, what in told.items() for name in re.findall(r"`([a-z_]+)`", row)}
    assert set(names) == {*request.READ, *request.DROPPED, *request.REFUSED, *request.NATIVE}
    assert {name for name, what in names.items() if what == "refused"} == set(request.REFUSED)
    assert {name for name, what in names.items() if what == "dropped"} == set(request.DROPPED)
    assert str(request.DEFAULT_MAX_TOKENS) in names["max_tokens"]
