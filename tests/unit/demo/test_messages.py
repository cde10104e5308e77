"""Anthropic's own SDK takes a simulated upstream for the real one."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace
from typing import Any

import anthropic
import pytest
from anthropic import AsyncAnthropic
from anthropic.types import TextBlock, ThinkingBlock, ToolUseBlock

from proxy.demo import moods
from proxy.demo.moods import WELL
from proxy.demo.simulator import Simulator

ASK: dict[str, Any] = {"model": "m-1", "max_tokens": 100, "messages": [{"role": "user", "content": "Where is it?"}]}
SAID = "This is m-1, served by north. You asked: Where is it?"
TOOL: dict[str, Any] = {
    "name": "find_parcel",
    "input_schema": {"type": "object", "properties": {"number": {"type": "integer"}, "carrier": {"type": "string"}}},
}


@pytest.fixture
async def client(north: Simulator) -> AsyncIterator[AsyncAnthropic]:
    """The SDK, pointed at `north`; it validates what it parses and never tries twice."""
    base = (await north.start()).removesuffix("/v1")
    async with AsyncAnthropic(base_url=base, api_key="unused", max_retries=0, _strict_response_validation=True) as made:
        yield made


async def test_a_message(client: AsyncAnthropic) -> None:
    """It names who answered and repeats the question, with usage, a stop reason and a request id."""
    answer = await client.messages.create(**ASK)
    (block,) = answer.content
    assert isinstance(block, TextBlock)
    assert block.text == SAID
    assert (answer.stop_reason, answer.model) == ("end_turn", "m-1")
    assert answer.usage.output_tokens > 5
    assert answer._request_id is not None


async def test_a_stream(client: AsyncAnthropic) -> None:
    """The SDK's own accumulation ends in the message that JSON would have given."""
    async with client.messages.stream(**ASK) as stream:
        said = [text async for text in stream.text_stream]
        message = await stream.get_final_message()
    assert "".join(said) == SAID
    assert len(said) > 5
    assert message.stop_reason == "end_turn"
    assert message.usage.output_tokens > 5


async def test_a_forced_tool(client: AsyncAnthropic) -> None:
    """It is called, with arguments that fit its schema; streamed or not."""
    for choice in ({"type": "any"}, {"type": "tool", "name": "find_parcel"}):
        forced = {**ASK, "tools": [TOOL], "tool_choice": choice}
        answer = await client.messages.create(**forced)
        async with client.messages.stream(**forced) as stream:
            streamed = await stream.get_final_message()
        for message in (answer, streamed):
            (block,) = message.content
            assert isinstance(block, ToolUseBlock)
            assert (block.name, block.input) == ("find_parcel", {"number": 1, "carrier": "a word"})
            assert message.stop_reason == "tool_use"


async def test_a_model_that_thinks(client: AsyncAnthropic) -> None:
    """It is silent, thinks aloud, and then answers."""
    answer = await client.messages.create(**{**ASK, "model": "thinking-1"})
    async with client.messages.stream(**{**ASK, "model": "thinking-1"}) as stream:
        streamed = await stream.get_final_message()
    for message in (answer, streamed):
        thought, text = message.content
        assert isinstance(thought, ThinkingBlock)
        assert thought.thinking == "Let me think about this."
        assert isinstance(text, TextBlock)
        assert message.usage.output_tokens_details is not None
        assert message.usage.output_tokens_details.thinking_tokens == 4


async def test_a_limit(client: AsyncAnthropic) -> None:
    """A short one cuts the answer, and says so."""
    answer = await client.messages.create(**{**ASK, "max_tokens": 2})
    assert answer.stop_reason == "max_tokens"


async def test_models(client: AsyncAnthropic, north: Simulator) -> None:
    """Those that it serves; another is not found."""
    async with Simulator("south", models=("a", "b")) as south:
        there = client.with_options(base_url=south.base_url.removesuffix("/v1"))
        assert [model.id async for model in there.models.list()] == ["a", "b"]
        with pytest.raises(anthropic.NotFoundError, match="model: m-1"):
            await there.messages.create(**ASK)


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, anthropic.BadRequestError),
        (401, anthropic.AuthenticationError),
        (429, anthropic.RateLimitError),
        (500, anthropic.InternalServerError),
        (529, anthropic.InternalServerError),
    ],
)
async def test_errors(
    client: AsyncAnthropic, north: Simulator, status: int, error: type[anthropic.APIStatusError]
) -> None:
    """Whatever mood they come from, they have this API's form."""
    north.mood = moods.status(status, retry_after=3)
    with pytest.raises(error) as met:
        await client.messages.create(**ASK)
    assert met.value.response.headers["retry-after"] == "3"
    body = met.value.body
    assert isinstance(body, dict)
    assert body["type"] == "error"
    assert body["error"].keys() == {"type", "message"}


async def test_an_error_in_the_stream(client: AsyncAnthropic, north: Simulator) -> None:
    """As an event of its own kind."""
    north.mood = moods.error_event(2)
    with pytest.raises(anthropic.APIStatusError, match="had an error"):
        async with client.messages.stream(**ASK) as stream:
            await stream.get_final_message()


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"extra_body": {"seed": 1}}, "seed: Extra inputs are not permitted"),
        ({"messages": []}, "at least one message"),
        ({"messages": [{"role": "user", "content": " "}]}, "non-whitespace"),
        (
            {"messages": [{"role": "user", "content": [{"type": "tool_result", "tool_use_id": "x"}]}]},
            "unexpected `tool_use_id`",
        ),
        (
            {
                "messages": [
                    *ASK["messages"],
                    {"role": "assistant", "content": [{"type": "tool_use", "id": "x", "name": "f", "input": {}}]},
                    *ASK["messages"],
                ]
            },
            "without `tool_result`",
        ),
    ],
)
async def test_it_objects_as_the_real_one_does(client: AsyncAnthropic, wrong: dict[str, Any], message: str) -> None:
    """Where a translation could go wrong it is strict."""
    with pytest.raises(anthropic.BadRequestError, match=message):
        await client.messages.create(**{**ASK, **wrong})


async def test_what_it_says_can_be_chosen(client: AsyncAnthropic, north: Simulator) -> None:
    """Moods hold for this API too."""
    north.mood = replace(WELL, text="Something else.")
    (block,) = (await client.messages.create(**ASK)).content
    assert isinstance(block, TextBlock)
    assert block.text == "Something else."
