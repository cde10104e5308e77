"""A real server that nobody here wrote, llama.cpp's, asked by each protocol that Homeport speaks; official SDKs call.

1. It speaks chat completions, Responses and Messages by itself, so what a tier tells is held to what the server tells
   those who ask it directly: the same words, calls and thoughts, the same count of tokens.
2. Its model says the rest of the row that the question's last character belongs to: `tests/upstreams/tiny_model.py`.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import aiohttp
import openai
import pytest
import pytest_asyncio
from anthropic import AsyncAnthropic
from openai import AsyncOpenAI
from openai.types.chat import ChatCompletion, ChatCompletionChunk
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import BaseModel

from tests.e2e.operated import Operated, operated
from tests.unit.providers.responses.asked import sound
from tests.upstreams import llama_cpp, tiny_model

pytestmark = pytest.mark.asyncio(loop_scope="module")

TIERS = ("plain", "chat", "responses", "claude")
"""By what the server is asked: as the caller asks, by chat completions, by Responses, by Messages."""
_SOURCES: dict[str, dict[str, object]] = {
    "plain": {"kind": "openai-compatible"},
    "chat": {"kind": "openai-compatible", "api": "chat"},
    "responses": {"kind": "openai-compatible", "api": "responses"},
    "claude": {"kind": "anthropic"},
}
SMALL, BIG, ENDLESS = 512, 4096, 32_768
"""Tokens that the servers have room for."""
TOKEN = "tok-operators"
PARAMETERS: dict[str, Any] = {
    "type": "object",
    "properties": {"city": {"type": "string"}},
    "required": ["city"],
    "additionalProperties": False,
}
TOOLS: list[Any] = [{"type": "function", "function": {"name": "weather", "parameters": PARAMETERS, "strict": True}}]
FUNCTIONS: list[Any] = [{"type": "function", "name": "weather", "parameters": PARAMETERS, "strict": True}]
SCHEMA = {
    "type": "object",
    "properties": {"name": {"type": "string"}},
    "required": ["name"],
    "additionalProperties": False,
}


class City(BaseModel):
    """An answer of a given shape."""

    name: str


@dataclass(frozen=True, slots=True)
class Real:
    """A replica before servers, and the way to one of them past it."""

    operator: Operated
    direct: AsyncOpenAI
    messages: AsyncAnthropic
    doomed: dict[str, llama_cpp.Server]
    """One to be killed for each tier."""
    clients: dict[str, AsyncOpenAI] = field(default_factory=dict)

    def client(self, assistant: str) -> AsyncOpenAI:
        """The caller, who stays the same: to make one takes longer than an answer."""
        if assistant not in self.clients:
            self.clients[assistant] = self.operator.replica.client(assistant)
        return self.clients[assistant]


def _settings(small: llama_cpp.Server, big: llama_cpp.Server, doomed: dict[str, llama_cpp.Server]) -> dict[str, object]:
    sources: dict[str, object] = {}
    assistants: dict[str, object] = {}
    rescue = {"source": "plain", "model": "tiny", "context": BIG}
    for tier, speaks in _SOURCES.items():
        keyed = {**speaks, "api_key": llama_cpp.KEY}
        sources[tier] = {**keyed, "base_url": big.base_url}
        sources[f"small-{tier}"] = {**keyed, "base_url": small.base_url}
        sources[f"doomed-{tier}"] = {**keyed, "base_url": doomed[tier].base_url}
        sources[f"stranger-{tier}"] = {**speaks, "base_url": small.base_url, "api_key": "wrong"}
        assistants[tier] = {"primary": {"source": tier, "model": "tiny"}}
        assistants[f"small-{tier}"] = {"primary": {"source": f"small-{tier}", "model": "tiny", "context": SMALL}}
        for each in ("small", "doomed", "stranger"):
            primary = {"source": f"{each}-{tier}", "model": "tiny", "context": SMALL}
            assistants[f"{each}-{tier}-rescued"] = {"primary": primary, "fallbacks": [rescue]}
    assistants["plain"] = {"primary": rescue, "chains": {"embeddings": {"primary": rescue}}}
    listen = "127.0.0.1:0"
    return {
        "version": 1,
        "listen": listen,
        "admin": {"listen": listen},
        "sources": sources,
        "assistants": assistants,
    }


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def real(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Real]:
    """All of it, once."""
    directory = tmp_path_factory.mktemp("real")
    model = tiny_model.write(directory / "tiny.gguf")
    async with contextlib.AsyncExitStack() as stack:

        async def start(context: int) -> llama_cpp.Server:
            return await stack.enter_async_context(llama_cpp.serve(model, context=context))

        small, big = await start(SMALL), await start(BIG)
        doomed = {tier: await start(ENDLESS) for tier in TIERS}
        operator = await stack.enter_async_context(operated(directory, _settings(small, big, doomed), token=TOKEN))
        direct = AsyncOpenAI(base_url=big.base_url, api_key=llama_cpp.KEY, max_retries=0)
        messages = AsyncAnthropic(base_url=big.address, api_key=llama_cpp.KEY, max_retries=0)
        yield Real(
            operator,
            await stack.enter_async_context(direct),
            await stack.enter_async_context(messages),
            doomed,
        )


def chat(question: str, **more: Any) -> dict[str, Any]:
    """A question in a chat."""
    return {"model": "tiny", "messages": [{"role": "user", "content": question}], **more}


def asked(question: str, **more: Any) -> dict[str, Any]:
    """A question to the Responses API."""
    return {"model": "tiny", "input": question, **more}


async def streamed(sdk: AsyncOpenAI, **options: Any) -> ChatCompletion:
    """A streamed chat, put together by the SDK."""
    async with sdk.chat.completions.stream(**options, stream_options={"include_usage": True}) as stream:
        async for _ in stream:
            pass
        return await stream.get_final_completion()


async def events(sdk: AsyncOpenAI, **options: Any) -> list[ResponseStreamEvent]:
    """Every event of a streamed Response."""
    return [event async for event in await sdk.responses.create(**options, stream=True)]


def told(answer: ChatCompletion) -> dict[str, Any]:
    """All of a chat that is the model's: words, thoughts, calls, the reason for the end, the count of tokens."""
    (choice,) = answer.choices
    assert answer.usage is not None
    calls = [call for call in choice.message.tool_calls or [] if call.type == "function"]
    return {
        "words": choice.message.content or "",
        "thoughts": getattr(choice.message, "reasoning_content", None),
        # A space more or less, which comes and goes with the server's own way through its JSON.
        "calls": [(call.function.name, call.function.arguments.replace(" ", "")) for call in calls],
        "end": choice.finish_reason,
        "tokens": (answer.usage.prompt_tokens, answer.usage.completion_tokens, answer.usage.total_tokens),
    }


def said(answer: Response) -> dict[str, Any]:
    """The same of a Response."""
    calls = [item for item in answer.output if item.type == "function_call"]
    thoughts = [
        part.text
        for item in answer.output
        if item.type == "reasoning"
        for part in (*item.summary, *(item.content or ()))
    ]
    assert answer.usage is not None
    return {
        "words": answer.output_text,
        "thoughts": "".join(thoughts) or None,
        "calls": [(call.name, call.arguments.replace(" ", "")) for call in calls],
        "end": answer.status,
        "tokens": (answer.usage.input_tokens, answer.usage.output_tokens, answer.usage.total_tokens),
    }


CHATS: dict[str, dict[str, Any]] = {
    "words": chat("Go on: a"),
    "system": {"model": "tiny", "messages": [{"role": "system", "content": "Be brief."}, *chat("0 or x")["messages"]]},
    "parts": {"model": "tiny", "messages": [{"role": "user", "content": [{"type": "text", "text": "And w"}]}]},
    "thoughts": chat("Think:"),
    "a call": chat("How is the weather?", tools=TOOLS, tool_choice="required"),
    "a call by choice": chat("How is the weather?", tools=TOOLS),
}
RESPONSES: dict[str, dict[str, Any]] = {
    "words": asked("Go on: a"),
    "instructions": asked("0 or x", instructions="Be brief."),
    "thoughts": asked("Think:"),
    "a call": asked("How is the weather?", tools=FUNCTIONS, tool_choice="required"),
    "a call by choice": asked("How is the weather?", tools=FUNCTIONS),
}


@pytest.mark.parametrize("question", CHATS)
@pytest.mark.parametrize("tier", TIERS)
async def test_a_chat_tells_what_the_server_tells(real: Real, tier: str, question: str) -> None:
    """Whole and streamed, by whichever protocol it was asked."""
    expected = told(await real.direct.chat.completions.create(**CHATS[question]))
    assert expected["words"] or expected["calls"]
    answer = await real.client(tier).chat.completions.create(**CHATS[question])
    assert told(answer) == expected
    assert (answer.object, answer.model) == ("chat.completion", "tiny")
    final = await streamed(real.client(tier), **CHATS[question])
    assert told(final) == expected
    assert final.model == "tiny"
    assert final.usage is not None
    # Nobody but these tests asks it, so it has kept all of a question but the last token from a moment ago.
    kept = final.usage.prompt_tokens_details
    assert kept is not None
    assert kept.cached_tokens == final.usage.prompt_tokens - 1


@pytest.mark.parametrize("question", RESPONSES)
@pytest.mark.parametrize("tier", TIERS)
async def test_a_response_tells_what_the_server_tells(real: Real, tier: str, question: str) -> None:
    """Whole and streamed. What is translated is strictly as the API has it, which not all of the server's own is."""
    expected = said(await real.direct.responses.create(**RESPONSES[question]))
    assert expected["words"] or expected["calls"]
    answer = await real.client(tier).responses.create(**RESPONSES[question])
    assert said(answer) == expected
    assert (answer.object, answer.model) == ("response", "tiny")
    found = await events(real.client(tier), **RESPONSES[question])
    last = found[-1]
    assert last.type == "response.completed"
    assert said(last.response) == expected
    if tier in ("chat", "claude"):
        assert sound(found) == last.response
    words = [event.delta for event in found if event.type == "response.output_text.delta"]
    assert "".join(words) == expected["words"]
    assert len(words) >= len(expected["words"]) > 0 or expected["calls"]


async def test_the_rows_of_the_model(real: Real) -> None:
    """That the two tests above compare something: what the server tells is what its model has to say."""
    answers = {name: told(await real.direct.chat.completions.create(**each)) for name, each in CHATS.items()}
    assert answers["words"]["words"] == "bcdefghijklmnopqrstuvwxyz"
    assert (answers["system"]["words"], answers["parts"]["words"]) == ("yz", "xyz")
    assert answers["thoughts"]["thoughts"] == "Let me see.\n"
    assert answers["a call"]["calls"] == [("weather", '{"city":"Genoa"}')] == answers["a call by choice"]["calls"]
    assert [answers[each]["end"] for each in ("words", "a call")] == ["stop", "tool_calls"]


@pytest.mark.parametrize("tier", TIERS)
async def test_a_tool_and_back(real: Real, tier: str) -> None:
    """The call as it was told goes up again with its result, and the model goes on from that."""
    sdk = real.client(tier)
    for stream in (False, True):
        first = await (streamed(sdk, **CHATS["a call"]) if stream else sdk.chat.completions.create(**CHATS["a call"]))
        message = first.choices[0].message
        (call,) = message.tool_calls or []
        result = {"role": "tool", "tool_call_id": call.id, "content": "Rain until w"}
        turns: list[Any] = [*CHATS["a call"]["messages"], message.model_dump(exclude_none=True), result]
        last = await sdk.chat.completions.create(model="tiny", messages=turns, tools=TOOLS)
        assert (last.choices[0].message.content, last.choices[0].finish_reason) == ("xyz", "stop")
    found = await events(sdk, **RESPONSES["a call"])
    assert found[-1].type == "response.completed"
    (item,) = found[-1].response.output
    assert item.type == "function_call"
    output = {"type": "function_call_output", "call_id": item.call_id, "output": "Rain until w"}
    items: list[Any] = [
        {"role": "user", "content": "How is the weather?"},
        item.model_dump(exclude_none=True, exclude={"status"}),
        output,
    ]
    answer = await sdk.responses.create(model="tiny", input=items, tools=FUNCTIONS)
    assert answer.output_text == "xyz"


@pytest.mark.parametrize("tier", TIERS)
async def test_the_sdks_own_helpers(real: Real, tier: str) -> None:
    """An answer of a given shape, which the server's grammar holds it to, read into a model by both APIs."""
    sdk = real.client(tier)
    parsed = await sdk.chat.completions.parse(**chat("Name one for $"), response_format=City)
    assert parsed.choices[0].message.parsed == City(name="Genoa")
    response = await sdk.responses.parse(**asked("Name one for $"), text_format=City)
    assert response.output_parsed == City(name="Genoa")


@pytest.mark.parametrize("tier", TIERS)
async def test_an_end_before_the_end(real: Real, tier: str) -> None:
    """At the caller's limit, and at the caller's words. The server itself calls a Response of such an end completed."""
    sdk = real.client(tier)
    short = await sdk.chat.completions.create(**chat("Go on: a", max_tokens=3))
    limited = await sdk.responses.create(**asked("Go on: a", max_output_tokens=3))
    assert (short.choices[0].message.content, limited.output_text) == ("bcd", "bcd")
    itself = await real.direct.responses.create(**asked("Go on: a", max_output_tokens=3))
    assert itself.status == "completed"
    assert short.choices[0].finish_reason == ("stop" if tier == "responses" else "length")
    assert limited.status == ("completed" if tier in ("plain", "responses") else "incomplete")
    if tier == "responses":
        with pytest.raises(openai.BadRequestError) as caught:
            await sdk.chat.completions.create(**chat("Go on: a", stop=["g"]))
        assert (caught.value.code, caught.value.param) == ("unsupported", "stop")
        return
    stopped = await sdk.chat.completions.create(**chat("Go on: a", stop=["g"]))
    assert (stopped.choices[0].message.content, stopped.choices[0].finish_reason) == ("bcdef", "stop")


async def test_messages_asked_directly(real: Real) -> None:
    """What Anthropic's own SDK is told: the tier of that kind told no more and no less."""
    message = await real.messages.messages.create(
        model="tiny", max_tokens=50, messages=[{"role": "user", "content": "Go on: a"}]
    )
    (block,) = message.content
    assert block.type == "text"
    answer = told(await real.client("claude").chat.completions.create(**CHATS["words"]))
    assert (block.text, message.stop_reason, answer["end"]) == (answer["words"], "end_turn", "stop")
    used = message.usage
    assert (used.input_tokens + (used.cache_read_input_tokens or 0), used.output_tokens) == answer["tokens"][:2]


@pytest.mark.parametrize("tier", ["plain", "chat"])
async def test_completions(real: Real, tier: str) -> None:
    """The oldest API, whole and streamed."""
    sdk = real.client(tier)
    answer = await sdk.completions.create(model="tiny", prompt="Go on: w")
    assert (answer.choices[0].text, answer.choices[0].finish_reason) == ("xyz", "stop")
    chunks = [chunk async for chunk in await sdk.completions.create(model="tiny", prompt="Go on: w", stream=True)]
    assert "".join(choice.text for chunk in chunks for choice in chunk.choices) == "xyz"


async def test_embeddings(real: Real) -> None:
    """As the server gives them, in both of their forms."""
    for encoding in ("float", "base64"):
        asked: dict[str, Any] = {"model": "tiny", "input": ["harbour", "a"], "encoding_format": encoding}
        expected = await real.direct.embeddings.create(**asked)
        found = await real.client("plain").embeddings.create(**asked)
        assert found == expected
        assert len(found.data) == 2


@pytest.mark.parametrize("tier", TIERS)
async def test_what_the_record_says(real: Real, tier: str) -> None:
    """The log line of a request counts the server's tokens, whichever protocol it was asked by."""
    raw = await real.client(tier).chat.completions.with_raw_response.create(**CHATS["words"])
    line = await real.operator.replica.line("request", request_id=raw.headers["x-request-id"])
    usage = told(raw.parse())["tokens"]
    assert (line["source"], line["served_model"]) == (tier, "tiny")
    assert (line["usage"]["input"], line["usage"]["output"]) == usage[:2]


# -- what goes wrong


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize("tier", TIERS)
async def test_a_question_too_long(real: Real, tier: str, stream: bool) -> None:
    """By the server's real words: the next tier has room for it, and where there is none the caller reads why."""
    long = "x" * (SMALL * 2)
    sdk = real.client(f"small-{tier}-rescued")
    for raw in (
        await sdk.chat.completions.with_raw_response.create(**chat(long), stream=stream),
        await sdk.responses.with_raw_response.create(**asked(long), stream=stream),
    ):
        assert raw.headers["x-homeport-tier"] == "fallback-1"
        assert raw.headers["x-homeport-reason"].startswith("primary=context_length(exceed_context_size_error,")
    alone = real.client(f"small-{tier}")
    with pytest.raises(openai.BadRequestError) as chatted:
        await alone.chat.completions.create(**chat(long), stream=stream)
    with pytest.raises(openai.BadRequestError) as responded:
        await alone.responses.create(**asked(long), stream=stream)
    for caught in (chatted.value, responded.value):
        assert f"exceeds the available context size ({SMALL} tokens)" in caught.message
        assert caught.type == "exceed_context_size_error"
    assert (await alone.chat.completions.create(**chat("x"))).choices[0].message.content == "yz"


@pytest.mark.parametrize("tier", TIERS)
async def test_a_wrong_request(real: Real, tier: str) -> None:
    """Is the caller's fault, whoever finds it out, and no reason to ask another tier."""
    with pytest.raises(openai.BadRequestError) as caught:
        await real.client(f"small-{tier}-rescued").chat.completions.create(**chat("x", temperature="hot"))
    assert "number" in caught.value.message
    assert (await real.client(f"small-{tier}").chat.completions.create(**chat("x"))).choices[0].finish_reason == "stop"


@pytest.mark.parametrize("tier", TIERS)
async def test_a_wrong_key(real: Real, tier: str) -> None:
    """The server refuses it, and the next tier serves."""
    raw = await real.client(f"stranger-{tier}-rescued").chat.completions.with_raw_response.create(**chat("x"))
    assert raw.headers["x-homeport-tier"] == "fallback-1"
    assert raw.headers["x-homeport-reason"].startswith("primary=auth(")
    assert raw.parse().choices[0].message.content == "yz"


@pytest.mark.parametrize("tier", TIERS)
async def test_its_listing(real: Real, tier: str) -> None:
    """A binding on trial finds the model in the server's own listing, and no other; a wrong key is seen there too."""
    url = f"{real.operator.replica.admin}/api/bindings/test"
    reached = {}
    async with aiohttp.ClientSession(headers={"Authorization": f"Bearer {TOKEN}"}) as session:
        for source, model in ((tier, "tiny"), (tier, "huge"), (f"stranger-{tier}", "tiny")):
            async with session.post(url, json={"source": source, "model": model, "reach": True}) as answer:
                reached[source, model] = (await answer.json())["reached"]
    listing = {"status": 200, "detail": None, "models": 1}
    assert reached[tier, "tiny"] == {**listing, "listed": True}
    assert reached[tier, "huge"] == {**listing, "listed": False}
    assert reached[f"stranger-{tier}", "tiny"]["status"] == 401


@pytest.mark.parametrize("tier", TIERS)
async def test_a_server_that_is_killed(real: Real, tier: str) -> None:
    """A stream that had begun is cut and says so; who waits for a first word, or comes later, is served elsewhere.

    Where one of OpenAI's APIs is served by the other protocol, it is that one which streams.
    """
    name, server = f"doomed-{tier}-rescued", real.doomed[tier]
    sdk = real.client(name)
    if tier in ("chat", "claude"):
        raw = await sdk.responses.with_raw_response.create(**asked("On and on: A"), stream=True)
    else:
        raw = await sdk.chat.completions.with_raw_response.create(**chat("On and on: A"), stream=True)
    stream, words = raw.parse(), ""
    assert isinstance(stream, openai.AsyncStream)
    async for event in stream:
        words += _words(event)
        if words:
            break
    server.hold()
    waiting = asyncio.ensure_future(sdk.chat.completions.with_raw_response.create(**chat("x"), stream=False))
    gauge = f'homeport_tier_in_flight{{assistant="{name}",tier="primary"}}'
    async with asyncio.timeout(10):
        while (await real.operator.replica.metrics())[gauge] < 2:  # noqa: ASYNC110  # another process
            await asyncio.sleep(0.02)
    await server.kill()
    with pytest.raises(openai.APIError) as caught:  # noqa: PT012  # it may tell more before it raises
        async for event in stream:
            words += _words(event)
    assert caught.value.code == "stream_broken"
    assert ("ABCDEFGHIJKLMNOPQRSTUVWXYZ" * (len(words) // 26 + 2))[1:].startswith(words)
    line = await real.operator.replica.line("request", request_id=raw.headers["x-request-id"])
    assert (line["outcome"], line["steps"][0]["heard"]) == ("stream_broken", "bad")
    late = await sdk.chat.completions.with_raw_response.create(**chat("x"), stream=False)
    for rescued in (await waiting, late):
        assert rescued.headers["x-homeport-tier"] == "fallback-1"
        assert rescued.headers["x-homeport-reason"].startswith("primary=network(")
        assert rescued.parse().choices[0].message.content == "yz"


def _words(event: object) -> str:
    """What a chunk or an event says; it is not the last one."""
    if isinstance(event, ChatCompletionChunk):
        assert [choice.finish_reason for choice in event.choices] == [None]
        return event.choices[0].delta.content or ""
    kind = getattr(event, "type", "")
    assert kind not in ("response.completed", "response.incomplete", "response.output_item.done")
    return str(getattr(event, "delta", "")) if kind == "response.output_text.delta" else ""
