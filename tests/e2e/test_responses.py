"""One of OpenAI's two APIs where there is only the other: the official SDK at tiers of chats alone, at Claude, and the
other way round.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import openai
import orjson
import pytest
import pytest_asyncio
from openai import AsyncOpenAI, OpenAI
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import BaseModel

from proxy.demo import moods
from proxy.demo.answers import Fault
from proxy.demo.moods import WELL, Mood, Then
from proxy.demo.simulator import Simulator
from tests.e2e.caller import Stage, ask, chain, source, staged, written
from tests.unit.providers.responses.asked import WEATHER, sound

pytestmark = pytest.mark.asyncio(loop_scope="module")

PATH = "/v1/responses"
ASK: dict[str, Any] = {"model": "any", "input": "Where?"}
FORCED: dict[str, Any] = {"tools": [WEATHER], "tool_choice": "required"}
TIERS = ("chat", "claude")
# Each with models of its own, whose breakers no other test meets.
HOME = ("home", "tools", "sdk", "thinks", "errors", "early", "late", "unfit")
AWAY = ("away", "blocking", "record")


class City(BaseModel):
    """An answer of a given shape."""

    name: str


def _config(first: Simulator, second: Simulator, third: Simulator) -> str:
    sources = {
        "first": source(first),
        "chat": source(second, api="chat"),
        "claude": source(third, kind="anthropic", api_key="k"),
        "responses": source(second, api="responses"),
    }
    assistants: dict[str, object] = {}
    for tier in TIERS:
        assistants |= {f"{name}-{tier}": chain(f"{tier}/{name}", f"first/{name}-{tier}") for name in HOME}
        assistants |= {f"{name}-{tier}": chain(f"first/{name}-{tier}", f"{tier}/{name}") for name in AWAY}
        assistants[f"thinks-{tier}"] = chain(f"{tier}/thinking-model")
        assistants[f"alone-{tier}"] = chain(f"{tier}/alone")
    assistants["chats"] = chain("responses/chats", "first/chats")
    assistants["chats-away"] = chain("first/chats-away", "responses/chats-away")
    return written(sources=sources, assistants=assistants)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def everyone(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    """One replica for all tests; `first` has the Responses API, `second` has chats alone, `third` is Claude."""
    async with staged(tmp_path_factory.mktemp("responses"), _config, thinks=0.05) as stage:
        yield stage


@pytest.fixture
def stage(everyone: Stage) -> Stage:
    """The same, with every upstream well again."""
    everyone.calm()
    for each in (everyone.second, everyone.third):
        each.requests.clear()
    return everyone


def upstream(stage: Stage, tier: str) -> Simulator:
    """Whom a tier asks."""
    return stage.second if tier == "chat" else stage.third


def said(model: str, by: str) -> str:
    """What a simulated model answers."""
    return f"This is {model}, served by {by}. You asked: Where?"


async def streamed(sdk: AsyncOpenAI, **options: Any) -> list[ResponseStreamEvent]:
    """Every event of a streamed answer."""
    return [event async for event in await sdk.responses.create(**{**ASK, **options}, stream=True)]


@pytest.mark.parametrize("tier", TIERS)
async def test_the_callers_sdk_does_not_notice(stage: Stage, tier: str) -> None:
    """JSON and a stream, with everything that callers look at; upstream it is a chat."""
    sdk, name = stage.replica.client(f"home-{tier}"), upstream(stage, tier).name
    answer = await sdk.responses.create(**ASK, instructions="Be brief.", max_output_tokens=50)
    assert answer.output_text == said("home", name)
    assert (answer.status, answer.model, answer.object) == ("completed", "home", "response")
    assert (answer.instructions, answer.max_output_tokens) == ("Be brief.", 50)
    assert answer.usage is not None
    assert answer.usage.total_tokens == answer.usage.input_tokens + answer.usage.output_tokens > 0
    whole = sound(await streamed(sdk))
    assert whole.output_text == said("home", name)
    assert whole.usage is not None
    assert whole.usage.output_tokens == answer.usage.output_tokens
    paths = {received.path for received in upstream(stage, tier).requests}
    assert paths == {"/v1/chat/completions" if tier == "chat" else "/v1/messages"}


async def test_what_a_chat_is_sent(stage: Stage) -> None:
    """The caller's words in the chat's fields, and nothing else."""
    await stage.replica.client("home-chat").responses.create(
        **ASK, instructions="Be brief.", reasoning={"effort": "low"}, max_output_tokens=50
    )
    assert orjson.loads(stage.second.requests[-1].body) == {
        "model": "home",
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Where?"}],
        "reasoning_effort": "low",
        "max_completion_tokens": 50,
    }


async def test_chats_at_such_a_source_pass_through(stage: Stage) -> None:
    """Byte for byte, as ever."""
    seen = await ask(stage.replica, "home-chat", stream=True, input=None)
    assert seen.text() == said("home", "second")
    assert b"system_fingerprint" in seen.body


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("tier", TIERS)
async def test_a_responses_tier_fails_and_another_serves(stage: Stage, tier: str, stream: bool) -> None:
    """Same headers, same record as for any fallback."""
    stage.first.mood = moods.status(503)
    sdk = stage.replica.client(f"away-{tier}")
    raw = await sdk.responses.with_raw_response.create(**ASK, stream=stream)
    assert (raw.headers["x-homeport-tier"], raw.headers["x-homeport-source"]) == ("fallback-1", tier)
    assert raw.headers["x-homeport-reason"].startswith("primary=transient(")
    assert raw.headers["content-type"].startswith("text/event-stream" if stream else "application/json")
    assert "x-homeport-dropped" not in raw.headers
    parsed = raw.parse()
    answer = sound([event async for event in parsed]) if isinstance(parsed, openai.AsyncStream) else parsed
    assert answer.output_text == said("away", upstream(stage, tier).name)
    line = await stage.replica.line("request", request_id=raw.headers["x-request-id"])
    assert (line["outcome"], line["endpoint"]) == ("fallback_success", "responses")


@pytest.mark.parametrize("tier", TIERS)
async def test_the_record_knows_what_it_cost(stage: Stage, tier: str) -> None:
    """Usage of the chat's, told in the words of either API."""
    stage.first.mood = moods.status(500)
    raw = await stage.replica.client(f"record-{tier}").responses.with_raw_response.create(**ASK)
    usage = raw.parse().usage
    assert usage is not None
    line = await stage.replica.line("request", request_id=raw.headers["x-request-id"])
    told = {key: value for key, value in line.items() if "token" in key or key == "usage"}
    assert str(usage.input_tokens) in str(told)
    assert str(usage.output_tokens) in str(told)


@pytest.mark.parametrize("tier", TIERS)
async def test_tools_there_and_back(stage: Stage, tier: str) -> None:
    """A call, its result told in the caller's next request, and the answer to that; then by the other kind of tier."""
    sdk = stage.replica.client(f"tools-{tier}")
    answer = await sdk.responses.create(**ASK, **FORCED)
    (call,) = answer.output
    assert call.type == "function_call"
    assert (call.name, orjson.loads(call.arguments)) == ("weather", {"city": "a word"})
    whole = sound(await streamed(sdk, **FORCED))
    assert [item.type for item in whole.output] == ["function_call"]
    offered: list[Any] = [WEATHER]
    turns: list[Any] = [
        {"role": "user", "content": "Where?"},
        *[item.to_dict() for item in answer.output],
        {"type": "function_call_output", "call_id": call.call_id, "output": "Rain."},
    ]
    last = await sdk.responses.create(model="any", input=turns, tools=offered)
    assert last.output_text == f"This is tools, served by {upstream(stage, tier).name}. You asked: Rain."
    turns += [item.to_dict() for item in last.output]
    turns.append({"role": "user", "content": "Where?"})
    upstream(stage, tier).mood = moods.status(503)
    home = await sdk.responses.create(model="any", input=turns)
    assert home.output_text == said(f"tools-{tier}", "first")
    upstream(stage, tier).mood = WELL
    turns += [item.to_dict() for item in home.output]
    turns.append({"role": "user", "content": "Where?"})
    assert (await sdk.responses.create(model="any", input=turns)).output_text.endswith("You asked: Where?")


@pytest.mark.parametrize("tier", TIERS)
async def test_the_sdks_helpers(stage: Stage, tier: str) -> None:
    """`parse` sends a schema and gets an object; `stream` accumulates the answer that JSON would have given."""
    upstream(stage, tier).mood = replace(WELL, text='{"name":"Riga"}')
    sdk = stage.replica.client(f"sdk-{tier}")
    answer = await sdk.responses.parse(**ASK, text_format=City)
    assert answer.output_parsed == City(name="Riga")
    async with sdk.responses.stream(**ASK, text_format=City) as stream:
        kinds = [event.type async for event in stream]
        final = await stream.get_final_response()
    assert "response.output_text.delta" in kinds
    assert final.output_parsed == City(name="Riga")
    upstream(stage, tier).mood = WELL
    async with sdk.responses.stream(**ASK, **FORCED) as stream:
        pieces = [event async for event in stream if event.type == "response.function_call_arguments.delta"]
        calls = (await stream.get_final_response()).output
    assert pieces[-1].snapshot == '{"city":"a word"}'
    assert [item.type for item in calls] == ["function_call"]


@pytest.mark.parametrize("tier", TIERS)
async def test_thoughts(stage: Stage, tier: str) -> None:
    """A model that thinks aloud does so in a summary, before it answers."""
    sdk = stage.replica.client(f"thinks-{tier}")
    answers: list[Response] = [await sdk.responses.create(**ASK), sound(await streamed(sdk))]
    for answer in answers:
        thought, text = answer.output
        assert thought.type == "reasoning"
        assert [part.text.strip() for part in thought.summary] == ["Let me think about this."]
        assert text.type == "message"


@pytest.mark.parametrize("tier", TIERS)
async def test_an_answer_that_is_not_whole(stage: Stage, tier: str) -> None:
    """It says why."""
    sdk = stage.replica.client(f"home-{tier}")
    answers: list[Response] = [
        await sdk.responses.create(**ASK, max_output_tokens=2),
        sound(await streamed(sdk, max_output_tokens=2)),
    ]
    for answer in answers:
        assert answer.status == "incomplete"
        assert answer.incomplete_details is not None
        assert answer.incomplete_details.reason == "max_output_tokens"
        assert answer.output_text == "This is "


@pytest.mark.parametrize("tier", TIERS)
async def test_the_blocking_client(stage: Stage, tier: str) -> None:
    """The same SDK without asyncio."""
    stage.first.mood = moods.status(503)
    expected = said("blocking", upstream(stage, tier).name)

    def use() -> None:
        header = {"X-Assistant-Id": f"blocking-{tier}"}
        with OpenAI(base_url=f"{stage.replica.api}/v1", api_key="x", default_headers=header) as sdk:
            assert sdk.responses.create(**ASK).output_text == expected
            with sdk.responses.create(**ASK, stream=True) as stream:
                assert sound(list(stream)).output_text == expected

    await asyncio.to_thread(use)


async def test_what_only_tunes_is_dropped_and_named(stage: Stage) -> None:
    """In the caller's own words, also where Claude is the second translation."""
    options: dict[str, Any] = {"store": True, "text": {"verbosity": "low"}, "reasoning": {"summary": "auto"}}
    chat = await stage.replica.client("home-chat").responses.with_raw_response.create(**ASK, **options)
    assert chat.headers["x-homeport-dropped"] == "store, reasoning.summary"
    claude = await stage.replica.client("home-claude").responses.with_raw_response.create(**ASK, **options)
    assert claude.headers["x-homeport-dropped"] == "store, reasoning.summary, text.verbosity"


@pytest.mark.parametrize("tier", TIERS)
async def test_what_cannot_be_asked_goes_to_the_next_tier(stage: Stage, tier: str) -> None:
    """Nothing is sent; where nobody else is, the caller reads the field."""
    options: dict[str, Any] = {"tools": [{"type": "web_search"}]}
    raw = await stage.replica.client(f"unfit-{tier}").responses.with_raw_response.create(**ASK, **options)
    assert raw.headers["x-homeport-tier"] == "fallback-1"
    assert raw.headers["x-homeport-reason"] == "primary=unsupported(tools)"
    assert not upstream(stage, tier).requests
    with pytest.raises(openai.BadRequestError) as caught:
        await stage.replica.client(f"alone-{tier}").responses.create(**ASK, **options)
    assert (caught.value.code, caught.value.param) == ("unsupported", "tools")


@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.parametrize("stream", [False, True])
async def test_a_fault_of_the_request_comes_back(stage: Stage, tier: str, stream: bool) -> None:
    """In OpenAI's form, with the upstream's words; and a gateway's page as an error that can be read."""
    upstream(stage, tier).queue.append(moods.status(400, Fault("prompt is too long: 9 tokens > 5 maximum")))
    with pytest.raises(openai.BadRequestError) as caught:
        await stage.replica.client(f"errors-{tier}").responses.create(**ASK, stream=stream)
    assert "prompt is too long" in caught.value.message
    upstream(stage, tier).queue.append(moods.html(502))
    seen = await ask(stage.replica, f"alone-{tier}", PATH, **ASK, messages=None)
    assert (seen.status, seen.headers["content-type"]) == (502, "application/json")
    assert seen.document()["error"].keys() >= {"message", "type", "param", "code"}


@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.parametrize(
    ("mood", "detail"),
    [
        (moods.truncate(), "truncated"),
        (moods.garbage_event(0), "garbage"),
        (moods.empty_stream(done=False), "no_content"),
    ],
)
async def test_a_stream_that_fails_in_time_is_seen_as_one_clean_stream(
    stage: Stage, tier: str, mood: Mood, detail: str
) -> None:
    """Whatever was said before the first content, the caller reads the fallback's stream from its beginning."""
    upstream(stage, tier).queue.extend([mood, WELL])
    sdk = stage.replica.client(f"early-{tier}")
    raw = await sdk.responses.with_raw_response.create(**ASK, stream=True)
    assert f"({detail}," in raw.headers["x-homeport-reason"]
    found = [event async for event in raw.parse()]
    assert [event.sequence_number for event in found] == list(range(len(found)))
    assert found[-1].type == "response.completed"
    assert found[-1].response.output_text == said(f"early-{tier}", "first")
    # A success between the faults, for the breaker's sake.
    await sdk.responses.create(**ASK)


@pytest.mark.parametrize("tier", TIERS)
@pytest.mark.parametrize(
    ("mood", "detail"),
    [
        (moods.cut_stream(3), "truncated"),
        (moods.cut_stream(3, then=Then.RESET), "truncated"),
        (moods.garbage_event(3), "garbage"),
        (moods.error_event(3, Fault("Overloaded", "overloaded_error")), "overloaded_error"),
    ],
)
async def test_a_stream_that_breaks_later_says_so(stage: Stage, tier: str, mood: Mood, detail: str) -> None:
    """What came is kept, an error event ends it in place of a last one, and the SDK raises."""
    upstream(stage, tier).queue.extend([mood, WELL])
    seen = await ask(stage.replica, f"late-{tier}", PATH, **ASK, messages=None, stream=True)
    error = seen.error()
    assert (error["code"], error["request_id"]) == ("stream_broken", seen.request_id)
    assert f"({detail})" in error["message"]
    assert b"output_text.delta" in seen.body
    assert not [end for end in (b"completed", b"incomplete", b"output_item.done") if b"response." + end in seen.body]
    sdk = stage.replica.client(f"late-{tier}")
    await sdk.responses.create(**ASK)
    upstream(stage, tier).queue.append(mood)
    with pytest.raises(openai.APIError):
        await streamed(sdk)
    await sdk.responses.create(**ASK)


# -- the other way round

CHATS: dict[str, Any] = {"model": "any", "messages": [{"role": "user", "content": "Where?"}]}
TOOL: dict[str, Any] = {
    "type": "function",
    "function": {"name": "weather", "parameters": WEATHER["parameters"], "strict": True},
}


async def test_chats_where_there_are_responses_alone(stage: Stage) -> None:
    """JSON, a stream, the SDK's helper, tools there and back."""
    sdk = stage.replica.client("chats")
    answer = await sdk.chat.completions.create(**CHATS)
    assert answer.choices[0].message.content == said("chats", "second")
    assert (answer.choices[0].finish_reason, answer.object, answer.model) == ("stop", "chat.completion", "chats")
    async with sdk.chat.completions.stream(**CHATS, stream_options={"include_usage": True}) as stream:
        async for _ in stream:
            pass
        final = await stream.get_final_completion()
    assert final.choices[0].message.content == said("chats", "second")
    assert final.usage == answer.usage
    offered: list[Any] = [TOOL]
    called = await sdk.chat.completions.create(**CHATS, tools=offered, tool_choice="required")
    (call,) = called.choices[0].message.tool_calls or []
    turns: list[Any] = [
        *CHATS["messages"],
        called.choices[0].message.model_dump(exclude_none=True),
        {"role": "tool", "tool_call_id": call.id, "content": "Rain."},
    ]
    last = await sdk.chat.completions.create(**{**CHATS, "messages": turns}, tools=offered)
    assert last.choices[0].finish_reason == "stop"
    assert {received.path for received in stage.second.requests} == {PATH}
    body = orjson.loads(stage.second.requests[-1].body)
    assert (body["store"], body["input"][-1]) == (
        False,
        {"type": "function_call_output", "call_id": call.id, "output": "Rain."},
    )


@pytest.mark.parametrize("stream", [False, True])
async def test_a_chats_tier_fails_and_one_of_responses_serves(stage: Stage, stream: bool) -> None:
    """The caller does not notice, except by the headers."""
    stage.first.mood = moods.status(503)
    raw = await stage.replica.client("chats-away").chat.completions.with_raw_response.create(
        **CHATS, stream=stream, seed=7
    )
    assert (raw.headers["x-homeport-tier"], raw.headers["x-homeport-dropped"]) == ("fallback-1", "seed")
    parsed = raw.parse()
    if isinstance(parsed, openai.AsyncStream):
        words = [choice.delta.content or "" async for chunk in parsed for choice in chunk.choices]
    else:
        words = [parsed.choices[0].message.content or ""]
    assert "".join(words) == said("chats-away", "second")


@pytest.mark.parametrize(
    ("mood", "detail"),
    [(moods.cut_stream(3), "truncated"), (moods.error_event(3, Fault("m", "x", "server_error")), "")],
)
async def test_a_chat_that_breaks_later_says_so(stage: Stage, mood: Mood, detail: str) -> None:
    """And one that cannot be asked goes to the next tier."""
    stage.second.queue.append(mood)
    seen = await ask(stage.replica, "chats", stream=True, input=None)
    error = seen.error()
    assert (error["code"], detail in error["message"]) == ("stream_broken", True)
    raw = await stage.replica.client("chats").chat.completions.with_raw_response.create(**CHATS, stop="x")
    assert raw.headers["x-homeport-reason"] == "primary=unsupported(stop)"
    await stage.replica.client("chats").chat.completions.create(**CHATS)
