"""What the official SDK raises, and whether it tries again: typed errors with a code and a request id, everywhere."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import AsyncIterator
from typing import Any, TypeVar

import openai
import pytest
import pytest_asyncio
from openai import AsyncAzureOpenAI
from openai.types.chat import ChatCompletionChunk
from openai.types.responses import ResponseStreamEvent

from proxy.demo import moods
from proxy.demo.moods import Mood, Then
from proxy.demo.simulator import Simulator
from tests.e2e.caller import CHAT, Stage, chain, source, staged, written
from tests.e2e.conftest import Start

pytestmark = pytest.mark.asyncio(loop_scope="module")

ASK: dict[str, Any] = {"model": "any", "messages": [{"role": "user", "content": "Where?"}]}
KEY = "the-key-of-web"
Part = TypeVar("Part")


def _config(first: Simulator, second: Simulator, _: Simulator) -> str:
    names = ("bot", "limited", "disabled", "waiting", "cut", "held")
    assistants: dict[str, object] = {name: chain(f"first/{name}", f"second/{name}") for name in names}
    assistants |= {"alone": chain("first/alone"), "empty": {"primary": None}}
    return written(sources={"first": source(first), "second": source(second)}, assistants=assistants)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def everyone(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    """One replica for all tests; each has an assistant and models of its own."""
    async with staged(tmp_path_factory.mktemp("sdk_errors"), _config) as stage:
        yield stage


@pytest.fixture
def stage(everyone: Stage) -> Stage:
    """The same, with every upstream well again."""
    everyone.calm()
    return everyone


async def raised(stage: Stage, assistant: str | None, **options: Any) -> openai.APIStatusError:
    """The error that a chat request ends in."""
    with pytest.raises(openai.APIStatusError) as caught:
        await stage.replica.client(assistant, **options).chat.completions.create(**ASK)
    error = caught.value
    assert error.request_id is not None
    assert error.request_id.startswith("req_")
    await stage.replica.line("request", request_id=error.request_id, code=error.status_code)
    return error


async def read(stream: AsyncIterator[Part], into: list[Part]) -> None:
    """Read to the end, and keep what came before it if there is none."""
    async for part in stream:
        into.append(part)  # noqa: PERF401  # a comprehension would lose what came before an error


async def requests_of(stage: Stage, assistant: str) -> int:
    """How many requests this assistant has made; waits for the log to have them all."""
    models = await stage.replica.client(assistant).models.with_raw_response.list()
    await stage.replica.line("request", request_id=models.headers["x-request-id"])
    return sum(line.get("assistant") == assistant for line in stage.replica.requests())


async def test_each_refusal_is_the_error_class_that_it_should_be(stage: Stage) -> None:
    """Status makes the class, `code` says which of its reasons it was, and `type` is there as well."""
    for assistant, mood, kind, code in (
        ("bot", moods.status(400), openai.BadRequestError, "invalid_value"),
        ("alone", moods.status(403), openai.PermissionDeniedError, "unsupported_country_region_territory"),
        (None, None, openai.BadRequestError, "assistant_required"),
        ("nobody", None, openai.NotFoundError, "assistant_not_found"),
        ("empty", None, openai.InternalServerError, "assistant_unbound"),
    ):
        stage.calm()
        if mood is not None:
            stage.first.mood = mood
        error = await raised(stage, assistant)
        assert type(error) is kind
        assert error.code == code
        assert error.type
    with pytest.raises(openai.NotFoundError) as caught:
        await stage.replica.client("bot").embeddings.create(model="any", input="one")
    assert caught.value.code == "endpoint_not_enabled"
    with pytest.raises(openai.NotFoundError) as caught:
        await stage.replica.client("bot").moderations.create(input="one")
    assert caught.value.code == "endpoint_not_enabled"


async def test_rate_limited_everywhere_is_a_rate_limit_error(stage: Stage) -> None:
    """What retrying clients know how to handle."""
    stage.first.mood = stage.second.mood = moods.status(429, retry_after=300)
    error = await raised(stage, "limited")
    assert type(error) is openai.RateLimitError
    assert (error.code, error.type) == ("all_tiers_failed", "all_tiers_failed")


async def test_a_refusal_that_no_retry_helps_is_tried_once(stage: Stage) -> None:
    """`x-should-retry: false` stops the SDK's own two retries: one request comes, and one attempt goes to each tier."""
    stage.first.mood = stage.second.mood = moods.status(401)
    before = stage.first.by_path[CHAT]
    error = await raised(stage, "disabled", max_retries=2)
    assert type(error) is openai.InternalServerError
    assert error.response.headers["x-should-retry"] == "false"
    assert await requests_of(stage, "disabled") == 1
    assert stage.first.by_path[CHAT] == before + 1


async def test_a_retry_after_is_waited_for_and_helps(stage: Stage) -> None:
    """Both tiers fail once; the SDK comes back when it was told to, and is served at home."""
    stage.first.queue.append(moods.status(503))
    stage.second.queue.append(moods.status(503))
    raw = await stage.replica.client("waiting", max_retries=2).chat.completions.with_raw_response.create(**ASK)
    assert (raw.headers["x-homeport-tier"], raw.retries_taken) == ("primary", 1)
    assert await requests_of(stage, "waiting") == 2
    assert stage.first.requests[-1].header("x-stainless-retry-count") == "1"


@pytest.mark.parametrize(
    "mood",
    [
        moods.cut_stream(3),
        moods.cut_stream(3, then=Then.CLOSE),
        moods.cut_stream(3, then=Then.RESET),
        moods.garbage_event(3),
        moods.error_event(3),
    ],
    ids=["ends", "closes", "resets", "garbage", "error"],
)
async def test_a_cut_stream_is_raised_and_never_taken_for_whole(stage: Stage, mood: Mood) -> None:
    """After the text so far: APIError with our code, and in its body the request id that the headers named."""
    client = stage.replica.client("cut")
    stage.first.mood = mood
    stream = await client.chat.completions.create(**ASK, stream=True)
    chunks: list[ChatCompletionChunk] = []
    with pytest.raises(openai.APIError) as caught:
        await read(stream, chunks)
    assert [chunk.choices[0].delta.content for chunk in chunks] == ["", "This ", "is ", "cut, "]
    error = caught.value
    assert not isinstance(error, openai.APIConnectionError)
    assert error.code == "stream_broken"
    assert isinstance(error.body, dict)
    assert error.body["request_id"] == stream.response.headers["x-request-id"]
    # Successes between the cuts, for the breaker's sake.
    stage.calm()
    for _ in range(2):
        await client.chat.completions.create(**ASK)


async def test_a_cut_response_is_raised_too(stage: Stage) -> None:
    """The Responses API has error events of a kind of its own: the SDK raises ours, with the same code."""
    stage.first.mood = moods.cut_stream(3)
    stream = await stage.replica.client("cut").responses.create(model="any", input="Where?", stream=True)
    events: list[ResponseStreamEvent] = []
    with pytest.raises(openai.APIError) as caught:
        await read(stream, events)
    kinds = {event.type for event in events}
    assert caught.value.code == "stream_broken"
    assert "response.output_text.delta" in kinds
    assert "response.completed" not in kinds


async def test_the_blocking_client_raises_the_same(stage: Stage) -> None:
    """Without asyncio, in a thread: the same classes, codes and ids."""
    stage.first.mood = moods.status(400)

    def use() -> None:
        named = {"X-Assistant-Id": "bot"}
        with openai.OpenAI(base_url=f"{stage.replica.api}/v1", api_key="x", default_headers=named) as sdk:
            with pytest.raises(openai.BadRequestError) as caught:
                sdk.chat.completions.create(**ASK)
            assert caught.value.code == "invalid_value"
            assert caught.value.request_id == caught.value.response.headers["x-request-id"]

    await asyncio.to_thread(use)


@pytest.mark.asyncio(loop_scope="function")
async def test_keys_are_taken_as_either_vendors_sdk_sends_them(start: Start, first: Simulator) -> None:
    """`Authorization` from OpenAI's client, `api-key` from Azure's; another key is an AuthenticationError."""
    clients = [{"id": "web", "key_sha256": hashlib.sha256(KEY.encode()).hexdigest(), "assistants": ["bot"]}]
    config = written(sources={"first": source(first)}, assistants={"bot": chain("first/big")}, clients=clients)
    replica = await start(config)
    answer = await replica.client(api_key=KEY).chat.completions.create(**ASK)
    assert answer.choices[0].message.content == "This is big, served by first. You asked: Where?"

    async with AsyncAzureOpenAI(base_url=f"{replica.api}/v1", api_key=KEY, api_version="2024-10-21") as azure:
        assert [model.id async for model in azure.models.list()] == ["bot"]
        response = await azure.responses.create(model="any", input="Where?")
        assert response.output_text == "This is big, served by first. You asked: Where?"
    assert first.requests[-1].query == "api-version=2024-10-21"
    assert KEY not in str(first.requests[-1].headers)

    for wrong in ("another-key", KEY.upper()):
        with pytest.raises(openai.AuthenticationError) as caught:
            await replica.client(api_key=wrong).chat.completions.create(**ASK)
        assert caught.value.code == "invalid_api_key"
        assert caught.value.request_id is not None
        assert wrong not in str(caught.value)
