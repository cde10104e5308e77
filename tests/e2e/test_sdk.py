"""The official OpenAI SDK pointed at Homeport: every call it is used for works as it does at OpenAI's own API."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from dataclasses import replace
from typing import Any

import openai
import pytest
import pytest_asyncio
from openai import AsyncOpenAI, OpenAI
from openai.types.chat import ChatCompletionChunk
from pydantic import BaseModel

from proxy.demo import moods
from proxy.demo.moods import WELL
from proxy.demo.simulator import Simulator
from tests.e2e.caller import Stage, chain, source, staged, written

pytestmark = pytest.mark.asyncio(loop_scope="module")

HOME = "This is big, served by first. You asked: Where?"
AWAY = "This is small, served by second. You asked: Where?"
ASK: dict[str, Any] = {"model": "any", "messages": [{"role": "user", "content": "Where?"}]}
WEATHER: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}},
    },
}


class City(BaseModel):
    """An answer of a given shape."""

    name: str
    inhabitants: int


RIGA = City(name="Riga", inhabitants=605_000)


def _config(first: Simulator, second: Simulator, _: Simulator) -> str:
    embeddings = {"embeddings": chain("first/embed", "second/embed")}
    assistants = {"bot": chain("first/big", "second/small", chains=embeddings), "other": chain("second/small")}
    return written(sources={"first": source(first), "second": source(second)}, assistants=assistants)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def everyone(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    """One replica for all tests."""
    async with staged(tmp_path_factory.mktemp("sdk"), _config) as stage:
        yield stage


@pytest.fixture
def stage(everyone: Stage) -> Stage:
    """The same, with every upstream well again."""
    everyone.calm()
    return everyone


@pytest.fixture
def sdk(stage: Stage) -> AsyncOpenAI:
    """The SDK, speaking for `bot`."""
    return stage.replica.client("bot")


def text_of(chunks: Iterable[ChatCompletionChunk], index: int = 0) -> str:
    """What one choice of a stream says."""
    choices = [choice for chunk in chunks for choice in chunk.choices if choice.index == index]
    return "".join(choice.delta.content or "" for choice in choices)


async def test_chat(sdk: AsyncOpenAI) -> None:
    """A JSON answer, its usage, and the request id where the SDK looks for it."""
    answer = await sdk.chat.completions.create(**ASK)
    assert answer.choices[0].message.content == HOME
    assert answer.choices[0].finish_reason == "stop"
    assert answer.model == "big"
    assert answer.usage is not None
    assert answer.usage.completion_tokens > 0
    assert answer._request_id is not None
    assert answer._request_id.startswith("req_")


async def test_chat_streamed(sdk: AsyncOpenAI) -> None:
    """Chunks in order up to the finish; usage only when it was asked for, and then in a last chunk without choices."""
    with_usage: dict[str, Any] = {"stream_options": {"include_usage": True}}
    for options in ({}, with_usage):
        chunks = [chunk async for chunk in await sdk.chat.completions.create(**ASK, **options, stream=True)]
        assert text_of(chunks) == HOME
        spoken = [chunk for chunk in chunks if chunk.choices]
        assert spoken[-1].choices[0].finish_reason == "stop"
        assert len(spoken) > 3
        if options:
            assert chunks[-1].choices == []
            assert chunks[-1].usage is not None
            assert chunks[-1].usage.total_tokens > 0
        else:
            assert all(chunk.usage is None for chunk in chunks)


async def test_the_blocking_client_and_a_choice_of_calls(stage: Stage) -> None:
    """The same SDK without asyncio, in a thread: JSON, a stream, and the model list."""

    def use() -> None:
        with OpenAI(base_url=f"{stage.replica.api}/v1", api_key="x", default_headers={"X-Assistant-Id": "bot"}) as sdk:
            assert sdk.chat.completions.create(**ASK).choices[0].message.content == HOME
            with sdk.chat.completions.create(**ASK, stream=True) as stream:
                assert text_of(stream) == HOME
            assert [model.id for model in sdk.models.list()] == ["bot", "other"]
            with pytest.raises(openai.NotFoundError):
                sdk.models.retrieve("nobody")

    await asyncio.to_thread(use)


async def test_who_answered_stands_in_the_headers(stage: Stage, sdk: AsyncOpenAI) -> None:
    """with_raw_response shows them for JSON and streams, at home and away, beside the upstream's own."""
    for mood, tier in ((WELL, "primary"), (moods.status(503), "fallback-1")):
        stage.first.queue.extend([mood, mood])
        for stream in (False, True):
            raw = await sdk.chat.completions.with_raw_response.create(**ASK, stream=stream)
            assert raw.headers["x-homeport-assistant"] == "bot"
            assert raw.headers["x-homeport-tier"] == tier
            assert ("x-homeport-reason" in raw.headers) is (tier != "primary")
            assert raw.headers["x-ratelimit-limit-requests"] == "10000"
            assert raw.request_id == raw.headers["x-request-id"] != raw.headers["x-homeport-upstream-request-id"]
            parsed = raw.parse()
            if isinstance(parsed, openai.AsyncStream):
                await parsed.close()


async def test_several_choices(sdk: AsyncOpenAI) -> None:
    """Each is told whole, also where they come interleaved."""
    answer = await sdk.chat.completions.create(**ASK, n=3)
    said = [choice.message.content for choice in answer.choices]
    chunks = [chunk async for chunk in await sdk.chat.completions.create(**ASK, n=3, stream=True)]
    assert said == [text_of(chunks, index) for index in range(3)]
    assert len(set(said)) == 3
    finished = [choice.index for chunk in chunks for choice in chunk.choices if choice.finish_reason]
    assert sorted(finished) == [0, 1, 2]


async def test_a_stream_of_nothing_but_a_tool_call(sdk: AsyncOpenAI) -> None:
    """No text at all: the call is content, its arguments arrive whole, and JSON says the same."""
    forced: dict[str, Any] = {"tools": [WEATHER], "tool_choice": {"type": "function", "function": {"name": "weather"}}}
    answer = await sdk.chat.completions.create(**ASK, **forced)
    (call,) = answer.choices[0].message.tool_calls or []
    assert call.type == "function"
    chunks = [chunk async for chunk in await sdk.chat.completions.create(**ASK, **forced, stream=True)]
    assert text_of(chunks) == ""
    calls = [call for chunk in chunks for call in chunk.choices[0].delta.tool_calls or []]
    parts = [call.function for call in calls if call.function]
    assert parts[0].name == call.function.name == "weather"
    assert "".join(part.arguments or "" for part in parts) == call.function.arguments
    assert chunks[-1].choices[0].finish_reason == answer.choices[0].finish_reason == "tool_calls"


async def test_structured_outputs(stage: Stage, sdk: AsyncOpenAI) -> None:
    """The SDK's `parse` sends a schema up and gets an object back, for chat and for Responses."""
    stage.first.mood = replace(WELL, text=RIGA.model_dump_json())
    answer = await sdk.chat.completions.parse(**ASK, response_format=City)
    assert answer.choices[0].message.parsed == RIGA
    assert b"json_schema" in stage.first.requests[-1].body
    response = await sdk.responses.parse(model="any", input="Where?", text_format=City)
    assert response.output_parsed == RIGA


async def test_the_stream_helper(stage: Stage, sdk: AsyncOpenAI) -> None:
    """The SDK's own accumulation of a stream ends in the object that JSON would have given."""
    stage.first.mood = replace(WELL, text=RIGA.model_dump_json())
    async with sdk.chat.completions.stream(**ASK, response_format=City) as stream:
        kinds = [event.type async for event in stream]
        answer = await stream.get_final_completion()
    assert answer.choices[0].message.parsed == RIGA
    assert kinds[-1] == "content.done"
    assert "content.delta" in kinds


async def test_completions(sdk: AsyncOpenAI) -> None:
    """The older API, as JSON and as a stream."""
    answer = await sdk.completions.create(model="any", prompt="Where?")
    assert answer.choices[0].text == HOME
    pieces = [piece async for piece in await sdk.completions.create(model="any", prompt="Where?", stream=True)]
    assert "".join(piece.choices[0].text for piece in pieces) == HOME
    assert pieces[-1].choices[0].finish_reason == "stop"


async def test_responses(sdk: AsyncOpenAI) -> None:
    """The newer API, as JSON, as a stream of typed events in their order, and by the SDK's helper."""
    answer = await sdk.responses.create(model="any", input="Where?")
    assert (answer.output_text, answer.status) == (HOME, "completed")
    events = [event async for event in await sdk.responses.create(model="any", input="Where?", stream=True)]
    assert "".join(event.delta for event in events if event.type == "response.output_text.delta") == HOME
    assert [event.sequence_number for event in events] == list(range(len(events)))
    assert events[-1].type == "response.completed"
    assert events[-1].response.output_text == HOME
    async with sdk.responses.stream(model="any", input="Where?") as stream:
        assert (await stream.get_final_response()).output_text == HOME


async def test_a_response_that_is_cut_short_by_its_limit(sdk: AsyncOpenAI) -> None:
    """`incomplete` is an end like any other: whole, and told as the upstream told it."""
    events = [
        event
        async for event in await sdk.responses.create(model="any", input="Where?", max_output_tokens=2, stream=True)
    ]
    assert events[-1].type == "response.incomplete"
    chunks = [chunk async for chunk in await sdk.chat.completions.create(**ASK, max_tokens=2, stream=True)]
    assert (text_of(chunks), chunks[-1].choices[0].finish_reason) == ("This is ", "length")


async def test_embeddings(stage: Stage, sdk: AsyncOpenAI) -> None:
    """base64 is what the SDK asks for unless told otherwise; vectors are the same either way, and at the fallback."""
    ours = await sdk.embeddings.create(model="any", input=["one", "two"])
    assert b'"base64"' in stage.first.requests[-1].body
    floats = await sdk.embeddings.create(model="any", input=["one", "two"], encoding_format="float")
    stage.first.queue.append(moods.status(503))
    away = await sdk.embeddings.create(model="any", input=["one", "two"])
    assert stage.second.by_path["/v1/embeddings"] == 1
    for given in (floats, away):
        for one, other in zip(ours.data, given.data, strict=True):
            assert one.embedding == pytest.approx(other.embedding, abs=1e-6)
    assert [len(each.embedding) for each in ours.data] == [1536, 1536]


async def test_models(sdk: AsyncOpenAI) -> None:
    """The assistants, so that a client that only knows model names can pick one."""
    listed = [model async for model in sdk.models.list()]
    assert [(model.id, model.object) for model in listed] == [("bot", "model"), ("other", "model")]
    assert (await sdk.models.retrieve("bot")).id == "bot"


async def test_an_assistant_is_chosen_by_model_name(stage: Stage) -> None:
    """With no header of ours: what the model list offers is what `model` takes."""
    unnamed = stage.replica.client()
    for name, said in (("bot", HOME), ("other", AWAY)):
        answer = await unnamed.chat.completions.create(**{**ASK, "model": name})
        assert answer.choices[0].message.content == said


async def test_a_stream_that_fails_in_time_is_seen_as_one_clean_stream(stage: Stage, sdk: AsyncOpenAI) -> None:
    """Whatever the primary said before its first content, the SDK reads the fallback's stream from its beginning."""
    for mood in (moods.truncate(), moods.error_event(0), moods.garbage_event(0), moods.status(503)):
        stage.calm()
        stage.first.queue.append(mood)
        stage.first.queue.append(WELL)
        chunks = [chunk async for chunk in await sdk.chat.completions.create(**ASK, stream=True)]
        assert text_of(chunks) == AWAY
        assert len({chunk.id for chunk in chunks}) == 1
        # A success between the faults, for the breaker's sake.
        assert (await sdk.chat.completions.create(**ASK)).choices[0].message.content == HOME


async def test_the_sdk_speaks_of_itself_to_the_upstream_but_not_its_key(stage: Stage) -> None:
    """The upstream sees which SDK asks, and neither the caller's key, organization nor identity."""
    sdk = stage.replica.client("bot", api_key="the-callers-key", organization="org-mine", project="proj-mine")
    await sdk.chat.completions.create(**ASK)
    sent = {name.lower(): value for name, value in stage.first.requests[-1].headers}
    assert sent["x-stainless-lang"] == "python"
    assert not {"authorization", "openai-organization", "openai-project", "x-assistant-id"} & sent.keys()
    assert "the-callers-key" not in str(sent)
