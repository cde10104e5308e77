"""OpenAI's own SDK takes a simulated upstream for the real one."""

from __future__ import annotations

import asyncio
import base64
import math
import struct
import time
from collections import defaultdict
from collections.abc import AsyncIterator

import openai
import orjson
import pytest
from openai import AsyncOpenAI, OpenAI
from openai.types.chat import (
    ChatCompletionChunk,
    ChatCompletionMessageFunctionToolCall,
    ChatCompletionMessageParam,
    ChatCompletionToolParam,
)
from openai.types.responses import ResponseOutputMessage

from proxy.demo.moods import Mood
from proxy.demo.simulator import Simulator
from tests.unit.demo.raw import connect

ASKED: list[ChatCompletionMessageParam] = [{"role": "user", "content": "Where is my parcel?"}]
TOOL: ChatCompletionToolParam = {
    "type": "function",
    "function": {
        "name": "find_parcel",
        "parameters": {"type": "object", "properties": {"number": {"type": "integer"}, "carrier": {"type": "string"}}},
    },
}
_LONG = 0.6
"""Seconds of silence that are still seen by a reader who was late, on a busy machine, for what came before it."""


@pytest.fixture
async def client(north: Simulator) -> AsyncIterator[AsyncOpenAI]:
    """The SDK, pointed at `north`; it validates what it parses and never tries twice."""
    async with AsyncOpenAI(
        base_url=await north.start(), api_key="unused", max_retries=0, _strict_response_validation=True
    ) as made:
        yield made


@pytest.fixture
async def trusting(north: Simulator) -> AsyncIterator[AsyncOpenAI]:
    """The SDK as it comes. Its types have no room for the API's own null finish reasons in streamed completions, nor
    for the base64 that it asks for, so validating those would refuse the real API as well.
    """
    async with AsyncOpenAI(base_url=await north.start(), api_key="unused", max_retries=0) as made:
        yield made


async def test_chat(client: AsyncOpenAI) -> None:
    """A chat answer names who answered and repeats the question, with usage and a finish reason."""
    answer = await client.chat.completions.create(model="m-1", messages=ASKED)
    text = answer.choices[0].message.content or ""
    assert text == "This is m-1, served by north. You asked: Where is my parcel?"
    assert (answer.model, answer.choices[0].finish_reason) == ("m-1", "stop")
    assert answer.usage is not None
    assert answer.usage.total_tokens == answer.usage.prompt_tokens + answer.usage.completion_tokens
    assert (answer._request_id or "").startswith("req_")


async def test_the_sync_client_is_served_as_well(north: Simulator) -> None:
    """The same over the SDK's blocking client."""
    base = await north.start()

    def ask() -> str:
        with OpenAI(base_url=base, api_key="unused", max_retries=0, _strict_response_validation=True) as client:
            stream = client.chat.completions.create(model="m-1", messages=ASKED, stream=True)
            return "".join(chunk.choices[0].delta.content or "" for chunk in stream)

    assert (await asyncio.to_thread(ask)).startswith("This is m-1, served by north.")


async def test_ids_are_unique(client: AsyncOpenAI) -> None:
    """Two answers to one question have the same words and different ids."""
    one, two = [await client.chat.completions.create(model="m-1", messages=ASKED) for _ in range(2)]
    assert one.choices[0].message.content == two.choices[0].message.content
    assert len({one.id, two.id, one._request_id, two._request_id}) == 4


async def test_chat_stream(client: AsyncOpenAI) -> None:
    """A role alone, the words in pieces, one finish reason, and usage in a chunk of its own when asked for."""
    stream = await client.chat.completions.create(
        model="m-1", messages=ASKED, stream=True, stream_options={"include_usage": True}
    )
    chunks = [chunk async for chunk in stream]
    first, *middle, last, usage = chunks
    assert (first.choices[0].delta.role, first.choices[0].delta.content) == ("assistant", "")
    assert "".join(chunk.choices[0].delta.content or "" for chunk in middle).startswith("This is m-1")
    assert len(middle) > 5
    assert [chunk.choices[0].finish_reason for chunk in middle] == [None] * len(middle)
    assert (last.choices[0].finish_reason, usage.choices) == ("stop", [])
    assert usage.usage is not None
    assert usage.usage.completion_tokens == len(middle)
    assert all(chunk.usage is None for chunk in chunks[:-1])
    assert len({chunk.id for chunk in chunks}) == 1


async def test_no_usage_unless_asked_for(client: AsyncOpenAI) -> None:
    """Without stream_options the last chunk is the finish."""
    stream = await client.chat.completions.create(model="m-1", messages=ASKED, stream=True)
    chunks = [chunk async for chunk in stream]
    assert chunks[-1].choices[0].finish_reason == "stop"


async def test_several_choices_are_interleaved(client: AsyncOpenAI) -> None:
    """n=3 streams three answers in turn, and each ends by itself."""
    stream = await client.chat.completions.create(model="m-1", messages=ASKED, stream=True, n=3)
    texts: dict[int, str] = defaultdict(str)
    order, finished = [], []
    async for chunk in stream:
        choice = chunk.choices[0]
        texts[choice.index] += choice.delta.content or ""
        order += [choice.index] if choice.delta.content else []
        finished += [choice.index] if choice.finish_reason else []
    assert [f"Answer {i + 1} of 3." in texts[i] for i in range(3)] == [True] * 3
    assert (order[:6], finished) == ([0, 1, 2, 0, 1, 2], [0, 1, 2])
    whole = await client.chat.completions.create(model="m-1", messages=ASKED, n=3)
    assert [each.message.content for each in whole.choices] == [texts[i] for i in range(3)]


async def test_a_short_limit_cuts_the_answer(client: AsyncOpenAI) -> None:
    """max_tokens ends an answer with the finish reason `length`."""
    answer = await client.chat.completions.create(model="m-1", messages=ASKED, max_tokens=3)
    assert (answer.choices[0].message.content, answer.choices[0].finish_reason) == ("This is m-1, ", "length")


@pytest.mark.parametrize("by_name", [False, True])
async def test_a_forced_tool_is_the_whole_answer(client: AsyncOpenAI, by_name: bool) -> None:
    """`required`, or a function by its name: no text, and arguments that fit its parameters."""
    choice: openai.types.chat.ChatCompletionToolChoiceOptionParam = "required"
    if by_name:
        choice = {"type": "function", "function": {"name": "find_parcel"}}
    answer = await client.chat.completions.create(model="m-1", messages=ASKED, tools=[TOOL], tool_choice=choice)
    (call,) = answer.choices[0].message.tool_calls or []
    assert isinstance(call, ChatCompletionMessageFunctionToolCall)
    assert (call.function.name, answer.choices[0].message.content) == ("find_parcel", None)
    assert orjson.loads(call.function.arguments) == {"number": 1, "carrier": "a word"}
    assert answer.choices[0].finish_reason == "tool_calls"


async def test_a_forced_tool_is_streamed_in_parts(client: AsyncOpenAI) -> None:
    """A role alone, the call's id and name, its arguments in pieces, and `tool_calls`."""
    stream = await client.chat.completions.create(
        model="m-1", messages=ASKED, tools=[TOOL], tool_choice="required", stream=True
    )
    first, opening, *pieces, last = [chunk.choices[0] async for chunk in stream]
    assert (first.delta.role, first.delta.content, first.delta.tool_calls) == ("assistant", None, None)
    assert [_argument(chunk) for chunk in (opening, first)] == ["", None]
    parts = [_argument(chunk) or "" for chunk in pieces]
    assert len(parts) > 2
    assert orjson.loads("".join(parts)) == {"number": 1, "carrier": "a word"}
    assert last.finish_reason == "tool_calls"


def _argument(choice: openai.types.chat.chat_completion_chunk.Choice) -> str | None:
    calls = choice.delta.tool_calls
    return calls[0].function.arguments if calls and calls[0].function else None


async def test_tools_that_are_merely_offered_are_left_alone(client: AsyncOpenAI) -> None:
    """Without being told to call one, the model answers in words."""
    answer = await client.chat.completions.create(model="m-1", messages=ASKED, tools=[TOOL], tool_choice="auto")
    assert answer.choices[0].message.content
    assert answer.choices[0].message.tool_calls is None


async def test_a_reasoning_model_is_silent_then_thinks_aloud(north: Simulator, client: AsyncOpenAI) -> None:
    """Role at once, silence as long as it thinks, reasoning, and only then text."""
    north.mood = Mood(thinks=_LONG)
    stream = await client.chat.completions.create(model="thinking-1", messages=ASKED, stream=True)
    seen: list[tuple[float, str]] = [(time.monotonic(), _kind(chunk)) async for chunk in stream]
    kinds = [kind for _, kind in seen]
    assert kinds[0] == "role"
    assert sorted(set(kinds), key=kinds.index) == ["role", "reasoning", "text", "finish"]
    assert seen[1][0] - seen[0][0] > 0.03


def _kind(chunk: ChatCompletionChunk) -> str:
    delta = chunk.choices[0].delta
    if delta.role:
        return "role"
    if (delta.model_extra or {}).get("reasoning_content"):
        return "reasoning"
    return "text" if delta.content else "finish"


async def test_a_reasoning_model_without_a_stream(client: AsyncOpenAI) -> None:
    """The reasoning stands beside the text, and is billed."""
    answer = await client.chat.completions.create(model="thinking-1", messages=ASKED)
    assert (answer.choices[0].message.model_extra or {})["reasoning_content"] == "Let me think about this. "
    assert answer.usage is not None
    assert answer.usage.completion_tokens_details is not None
    assert answer.usage.completion_tokens_details.reasoning_tokens == 4


async def test_completions(client: AsyncOpenAI, trusting: AsyncOpenAI) -> None:
    """The old API, whole and streamed, says the same words."""
    whole = await client.completions.create(model="m-1", prompt="Once", n=2)
    stream = await trusting.completions.create(model="m-1", prompt="Once", n=2, stream=True)
    texts: dict[int, str] = defaultdict(str)
    finished = []
    async for chunk in stream:
        texts[chunk.choices[0].index] += chunk.choices[0].text
        finished += [chunk.choices[0].index] if chunk.choices[0].finish_reason else []
    assert [each.text for each in whole.choices] == [texts[0], texts[1]]
    assert texts[0] == "This is m-1, served by north. Answer 1 of 2. You asked: Once"
    assert finished == [0, 1]


async def test_completions_stream_usage(trusting: AsyncOpenAI) -> None:
    """Usage comes in a chunk of its own here, too."""
    stream = await trusting.completions.create(
        model="m-1", prompt="Once", stream=True, stream_options={"include_usage": True}
    )
    *_, last = [chunk async for chunk in stream]
    assert last.choices == []
    assert last.usage is not None


async def test_responses(client: AsyncOpenAI) -> None:
    """A response is completed, repeats what was set, and bills tokens."""
    answer = await client.responses.create(model="m-1", input="Where?", instructions="Be brief.", store=False)
    assert answer.output_text == "This is m-1, served by north. You asked: Where?"
    assert (answer.status, answer.instructions, (answer.model_extra or {})["store"]) == (
        "completed",
        "Be brief.",
        False,
    )
    assert answer.usage is not None
    assert answer.usage.total_tokens == answer.usage.input_tokens + answer.usage.output_tokens


async def test_responses_stream(client: AsyncOpenAI) -> None:
    """Every event in its place and numbered, and the last one repeats the whole answer."""
    stream = await client.responses.create(model="m-1", input=[{"role": "user", "content": "Where?"}], stream=True)
    events = [event async for event in stream]
    assert [event.sequence_number for event in events] == list(range(len(events)))
    kinds = [event.type.removeprefix("response.") for event in events]
    assert list(dict.fromkeys(kinds)) == [
        *("created", "in_progress", "output_item.added", "content_part.added", "output_text.delta"),
        *("output_text.done", "content_part.done", "output_item.done", "completed"),
    ]
    said = "".join(event.delta for event in events if event.type == "response.output_text.delta")
    last = events[-1]
    assert last.type == "response.completed"
    assert last.response.output_text == said == "This is m-1, served by north. You asked: Where?"
    assert isinstance(last.response.output[0], ResponseOutputMessage)


async def test_responses_end_incomplete_at_their_limit(client: AsyncOpenAI) -> None:
    """A short limit gives `incomplete`, with its reason, also as a stream's last event."""
    answer = await client.responses.create(model="m-1", input="Where?", max_output_tokens=2)
    assert answer.incomplete_details is not None
    assert (answer.status, answer.incomplete_details.reason) == ("incomplete", "max_output_tokens")
    stream = await client.responses.create(model="m-1", input="Where?", max_output_tokens=2, stream=True)
    *_, last = [event async for event in stream]
    assert last.type == "response.incomplete"


async def test_responses_call_a_forced_tool(client: AsyncOpenAI) -> None:
    """A function call is the only output, and its arguments come in pieces."""
    stream = await client.responses.create(
        model="m-1",
        input="Where?",
        stream=True,
        tool_choice="required",
        tools=[
            {
                "type": "function",
                "name": "find",
                "strict": False,
                "parameters": {"properties": {"n": {"type": "integer"}}},
            }
        ],
    )
    events = [event async for event in stream]
    parts = [event.delta for event in events if event.type == "response.function_call_arguments.delta"]
    last = events[-1]
    assert last.type == "response.completed"
    (call,) = last.response.output
    assert call.type == "function_call"
    assert (call.name, call.arguments) == ("find", "".join(parts))
    assert orjson.loads(call.arguments) == {"n": 1}


async def test_responses_of_a_reasoning_model(north: Simulator, client: AsyncOpenAI) -> None:
    """A reasoning item comes first, with silence in it."""
    north.mood = Mood(thinks=_LONG)
    stream = await client.responses.create(model="thinking-1", input="Where?", stream=True)
    seen = [(time.monotonic(), event) async for event in stream]
    kinds = [event.type for _, event in seen]
    done = kinds.index("response.output_item.done")
    assert seen[done][0] - seen[done - 1][0] > 0.03
    last = seen[-1][1]
    assert last.type == "response.completed"
    assert [item.type for item in last.response.output] == ["reasoning", "message"]


async def test_embeddings(client: AsyncOpenAI, trusting: AsyncOpenAI) -> None:
    """Unit vectors, equal for equal inputs, in the order of the inputs; base64 as the SDK asks for by itself."""
    answer = await trusting.embeddings.create(model="m-1", input=["one", "two", "one"])
    one, two, again = [each.embedding for each in answer.data]
    assert (one == again, one == two, len(one)) == (True, False, 1536)
    assert math.isclose(math.hypot(*one), 1.0, rel_tol=1e-5)
    floats = await client.embeddings.create(model="m-1", input="one", encoding_format="float")
    assert [round(value, 5) for value in floats.data[0].embedding] == [round(value, 5) for value in one]


async def test_embeddings_in_base64_are_little_endian_floats(north: Simulator) -> None:
    """What the SDK decodes, seen raw; `dimensions` gives the length; a list of tokens is one input."""
    async with connect(await north.start()) as raw:
        raw.ask("/v1/embeddings", input=[1, 2, 3], encoding_format="base64", dimensions=8)
        _, _, body = await raw.answer()
    (only,) = orjson.loads(body)["data"]
    vector = struct.unpack("<8f", base64.b64decode(only["embedding"]))
    assert math.isclose(math.hypot(*vector), 1.0, rel_tol=1e-5)


async def test_models_and_an_unknown_one() -> None:
    """A simulator that was given models lists them, serves them, and knows no other."""
    south = Simulator("south", models=("south-large", "south-small"))
    async with AsyncOpenAI(base_url=await south.start(), api_key="unused", max_retries=0) as client:
        assert [model.id async for model in client.models.list()] == ["south-large", "south-small"]
        assert (await client.chat.completions.create(model="south-small", messages=ASKED)).model == "south-small"
        with pytest.raises(openai.NotFoundError) as caught:
            await client.chat.completions.create(model="north-large", messages=ASKED)
    assert caught.value.code == "model_not_found"
    assert "`north-large`" in caught.value.message
    await south.close()


@pytest.mark.parametrize(
    ("path", "body", "status", "param"),
    [
        ("/chat/completions", b"{", 400, None),
        ("/chat/completions", b"[]", 400, None),
        ("/chat/completions", b'{"messages": [{}]}', 400, None),
        ("/chat/completions", b'{"model": "m-1"}', 400, "messages"),
        ("/chat/completions", b'{"model": "m-1", "messages": [{}], "tools": 5, "tool_choice": "required"}', 400, None),
        ("/completions", b'{"model": "m-1"}', 400, "prompt"),
        ("/responses", b'{"model": "m-1"}', 400, "input"),
        ("/embeddings", b'{"model": "m-1", "input": []}', 400, "input"),
        ("/elsewhere", b"{}", 404, None),
    ],
)
async def test_requests_at_fault(north: Simulator, path: str, body: bytes, status: int, param: str | None) -> None:
    """What OpenAI would refuse is refused as OpenAI does."""
    async with connect(await north.start()) as raw:
        raw.send(f"POST /v1{path} HTTP/1.1\r\nHost: x\r\nContent-Length: {len(body)}\r\n\r\n".encode() + body)
        code, _, answer = await raw.answer()
    error = orjson.loads(answer)["error"]
    assert (code, error["type"], error["param"]) == (status, "invalid_request_error", param)
