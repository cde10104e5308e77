"""Claude behind the official OpenAI SDK: a tier of kind `anthropic` serves, falls through and breaks like any other."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Iterable
from dataclasses import replace
from typing import Any

import openai
import orjson
import pytest
import pytest_asyncio
from anthropic.types import message_create_params
from openai import AsyncOpenAI, OpenAI
from openai.types.chat import ChatCompletionChunk
from pydantic import BaseModel

from proxy.demo import moods
from proxy.demo.answers import Fault
from proxy.demo.moods import WELL, Mood, Then
from proxy.demo.simulator import Simulator
from tests.e2e.caller import Stage, ask, chain, source, staged, written
from tests.unit.demo.raw import texts
from tests.unit.providers.anthropic.asked import fits

pytestmark = pytest.mark.asyncio(loop_scope="module")

KEY = "sk-ant-of-the-source"
ASK: dict[str, Any] = {"model": "any", "messages": [{"role": "user", "content": "Where?"}]}
WEATHER: dict[str, Any] = {
    "type": "function",
    "function": {
        "name": "weather",
        "parameters": {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}},
    },
}
FORCED: dict[str, Any] = {"tools": [WEATHER], "tool_choice": "required"}
OVERLOADED = Fault("Overloaded", "overloaded_error")
# Each with models of its own, whose breakers no other test meets.
FIRST_CLAUDE = ("home", "sdk", "unfit", "errors", "early", "late", "ends", "falls", "long", "hung")
FIRST_OPENAI = ("away", "tools", "blocking", "dropped", "record")


class City(BaseModel):
    """An answer of a given shape."""

    name: str


def _config(first: Simulator, second: Simulator, _: Simulator) -> str:
    claude = source(second, kind="anthropic", api_key=KEY)
    assistants: dict[str, object] = {name: chain(f"claude/c-{name}", f"first/o-{name}") for name in FIRST_CLAUDE}
    assistants |= {name: chain(f"first/o-{name}", f"claude/c-{name}") for name in FIRST_OPENAI}
    assistants["hung"] = chain("claude/c-hung", "first/o-hung", timeouts={"first_byte": "300ms"})
    assistants["alone"] = chain("claude/c-alone")
    assistants["thinks"] = chain("claude/thinking-claude")
    assistants["twice"] = chain("claude/c-twice", "claude/c-twice-too")
    return written(sources={"first": source(first), "claude": claude}, assistants=assistants)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def everyone(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    """One replica for all tests; `first` speaks OpenAI's API, `second` is Claude."""
    async with staged(tmp_path_factory.mktemp("anthropic"), _config, thinks=0.05) as stage:
        yield stage


@pytest.fixture
def stage(everyone: Stage) -> Stage:
    """The same, with every upstream well again."""
    everyone.calm()
    everyone.second.requests.clear()
    return everyone


def said(model: str, by: str = "second") -> str:
    """What a simulated model answers."""
    return f"This is {model}, served by {by}. You asked: Where?"


def text_of(chunks: Iterable[ChatCompletionChunk]) -> str:
    """What a stream says."""
    return "".join(choice.delta.content or "" for chunk in chunks for choice in chunk.choices)


async def streamed(sdk: AsyncOpenAI, **options: Any) -> list[ChatCompletionChunk]:
    """Every chunk of a streamed answer."""
    return [chunk async for chunk in await sdk.chat.completions.create(**{**ASK, **options}, stream=True)]


def sent(stage: Stage) -> dict[str, Any]:
    """What Claude was last asked; a request of Anthropic's own SDK could be the same."""
    received = stage.second.requests[-1]
    assert received.path == "/v1/messages"
    body: dict[str, Any] = orjson.loads(received.body)
    stream = body.get("stream") is True
    kind = (
        message_create_params.MessageCreateParamsStreaming if stream else message_create_params.MessageCreateParamsBase
    )
    assert fits(body, kind), body
    return body


async def test_the_callers_sdk_does_not_notice(stage: Stage) -> None:
    """JSON and a stream from Claude, with everything that callers of OpenAI's look at."""
    sdk = stage.replica.client("home")
    answer = await sdk.chat.completions.create(**ASK)
    assert answer.choices[0].message.content == said("c-home")
    assert (answer.choices[0].finish_reason, answer.model, answer.object) == ("stop", "c-home", "chat.completion")
    assert answer.usage is not None
    assert answer.usage.prompt_tokens == sum((answer.usage.total_tokens, -answer.usage.completion_tokens))
    assert answer.usage.prompt_tokens_details is not None
    assert answer.usage.prompt_tokens_details.cached_tokens == 2
    chunks = await streamed(sdk, stream_options={"include_usage": True})
    assert text_of(chunks) == said("c-home")
    assert len({(chunk.id, chunk.created, chunk.model) for chunk in chunks}) == 1
    assert chunks[-1].usage == answer.usage
    assert chunks[-2].choices[0].finish_reason == "stop"
    assert all(chunk.usage is None for chunk in await streamed(sdk))


async def test_what_claude_is_sent(stage: Stage) -> None:
    """Its own credential and version, a request of its API, and nothing that OpenAI alone would read."""
    sdk = stage.replica.client("home", api_key="the-callers-key", organization="org-mine")
    await sdk.chat.completions.create(**ASK, max_completion_tokens=50)
    assert sent(stage) == {
        "model": "c-home",
        "max_tokens": 50,
        "messages": [{"role": "user", "content": [{"type": "text", "text": "Where?"}]}],
    }
    headers = {name.lower(): value for name, value in stage.second.requests[-1].headers}
    assert (headers["x-api-key"], headers["anthropic-version"]) == (KEY, "2023-06-01")
    assert headers["content-type"] == "application/json"
    assert not [name for name in headers if name.startswith(("x-stainless-", "openai-", "authorization", "x-assist"))]
    assert "the-callers-key" not in str(headers)


@pytest.mark.parametrize("stream", [False, True])
async def test_the_primary_fails_and_claude_serves(stage: Stage, stream: bool) -> None:
    """Same headers, same record as for any fallback; the upstream's own id comes along."""
    stage.first.mood = moods.status(503)
    raw = await stage.replica.client("away").chat.completions.with_raw_response.create(**ASK, stream=stream)
    assert raw.headers["x-homeport-tier"] == "fallback-1"
    assert (raw.headers["x-homeport-source"], raw.headers["x-homeport-model"]) == ("claude", "c-away")
    assert raw.headers["x-homeport-attempts"] == "2"
    assert raw.headers["x-homeport-reason"].startswith("primary=transient(server_is_overloaded")
    assert raw.headers["x-homeport-upstream-request-id"].startswith("req_")
    assert raw.headers["content-type"].startswith("text/event-stream" if stream else "application/json")
    assert "x-homeport-dropped" not in raw.headers
    parsed = raw.parse()
    if isinstance(parsed, openai.AsyncStream):
        assert text_of([chunk async for chunk in parsed]) == said("c-away")
    else:
        assert parsed.choices[0].message.content == said("c-away")
    line = await stage.replica.line("request", request_id=raw.headers["x-request-id"])
    assert (line["outcome"], line["tier"]) == ("fallback_success", "fallback-1")


async def test_the_record_knows_what_it_cost(stage: Stage) -> None:
    """Usage and the model that answered stand in the log line, mapped."""
    stage.first.mood = moods.status(500)
    raw = await stage.replica.client("record").chat.completions.with_raw_response.create(**ASK)
    usage = raw.parse().usage
    assert usage is not None
    line = await stage.replica.line("request", request_id=raw.headers["x-request-id"])
    told = {key: value for key, value in line.items() if "token" in key or key == "usage"}
    assert str(usage.prompt_tokens) in str(told)
    assert str(usage.completion_tokens) in str(told)


async def test_claude_fails_and_openai_serves(stage: Stage) -> None:
    """The other way round: bytes of the fallback's, untouched."""
    stage.second.mood = moods.status(529)
    sdk = stage.replica.client("falls")
    raw = await sdk.chat.completions.with_raw_response.create(**ASK)
    assert raw.headers["x-homeport-reason"].startswith("primary=transient(overloaded_error")
    assert raw.parse().choices[0].message.content == said("o-falls", "first")
    assert text_of(await streamed(sdk)) == said("o-falls", "first")


async def test_tools_there_and_back(stage: Stage) -> None:
    """A call, its result told in the caller's next request, and the answer to that."""
    stage.first.mood = moods.status(503)
    sdk = stage.replica.client("tools")
    answer = await sdk.chat.completions.create(**ASK, **FORCED)
    (call,) = answer.choices[0].message.tool_calls or []
    assert call.type == "function"
    assert (call.function.name, orjson.loads(call.function.arguments)) == ("weather", {"city": "a word", "days": 1})
    assert answer.choices[0].finish_reason == "tool_calls"
    assert sent(stage)["tool_choice"] == {"type": "any"}
    chunks = await streamed(sdk, **FORCED)
    parts = [call for chunk in chunks for c in chunk.choices for call in c.delta.tool_calls or []]
    assert {part.index for part in parts} == {0}
    assert "".join(p.function.arguments or "" for p in parts if p.function) == call.function.arguments
    assert chunks[-1].choices[0].finish_reason == "tool_calls"
    turns: list[Any] = [
        *ASK["messages"],
        answer.choices[0].message.model_dump(exclude_none=True),
        {"role": "tool", "tool_call_id": call.id, "content": "Rain."},
    ]
    last = await sdk.chat.completions.create(**{**ASK, "messages": turns, "tools": [WEATHER]})
    assert last.choices[0].message.content == "This is c-tools, served by second. You asked: Rain."
    assert sent(stage)["messages"][-1]["content"][0]["type"] == "tool_result"


async def test_the_sdks_helpers(stage: Stage) -> None:
    """`parse` sends a schema and gets an object; `stream` accumulates the answer that JSON would have given."""
    stage.second.mood = replace(WELL, text='{"name":"Riga"}')
    sdk = stage.replica.client("sdk")
    answer = await sdk.chat.completions.parse(**ASK, response_format=City)
    assert answer.choices[0].message.parsed == City(name="Riga")
    assert sent(stage)["output_config"]["format"]["schema"]["properties"].keys() == {"name"}
    async with sdk.chat.completions.stream(**ASK, response_format=City) as stream:
        async for _ in stream:
            pass
        final = await stream.get_final_completion()
    assert final.choices[0].message.parsed == City(name="Riga")


async def test_thoughts(stage: Stage) -> None:
    """A model that thinks aloud does so in `reasoning_content`, which commits the stream like any content."""
    sdk = stage.replica.client("thinks")
    answer = await sdk.chat.completions.create(**ASK)
    assert answer.choices[0].message.model_extra == {"reasoning_content": "Let me think about this."}
    chunks = await streamed(sdk)
    thoughts = [(c.delta.model_extra or {}).get("reasoning_content", "") for k in chunks for c in k.choices]
    assert "".join(thoughts) == "Let me think about this."
    assert text_of(chunks) == said("thinking-claude")


async def test_the_blocking_client(stage: Stage) -> None:
    """The same SDK without asyncio."""
    stage.first.mood = moods.status(503)

    def use() -> None:
        header = {"X-Assistant-Id": "blocking"}
        with OpenAI(base_url=f"{stage.replica.api}/v1", api_key="x", default_headers=header) as sdk:
            assert sdk.chat.completions.create(**ASK).choices[0].message.content == said("c-blocking")
            with sdk.chat.completions.create(**ASK, stream=True) as stream:
                assert text_of(stream) == said("c-blocking")

    await asyncio.to_thread(use)


@pytest.mark.parametrize("stream", [False, True])
async def test_what_only_tunes_is_dropped_and_named(stage: Stage, stream: bool) -> None:
    """In a header, and only where it was: the primary that could be told says nothing."""
    sdk = stage.replica.client("dropped")
    tuned: dict[str, Any] = {**ASK, "seed": 7, "temperature": 0.3, "stream": stream}
    home = await sdk.chat.completions.with_raw_response.create(**tuned)
    assert "x-homeport-dropped" not in home.headers
    stage.first.mood = moods.status(503)
    away = await sdk.chat.completions.with_raw_response.create(**tuned)
    assert away.headers["x-homeport-dropped"] == "seed, temperature"
    for raw, dropped in ((home, [[]]), (away, [[], ["seed", "temperature"]])):
        line = await stage.replica.line("request", request_id=raw.headers["x-request-id"])
        assert [step["dropped"] for step in line["steps"]] == dropped
    for raw in (home, away):
        if isinstance(parsed := raw.parse(), openai.AsyncStream):
            await parsed.close()


async def test_what_cannot_be_asked_goes_to_the_next_tier(stage: Stage) -> None:
    """Nothing is sent, and no breaker hears of it; other endpoints likewise."""
    sdk = stage.replica.client("unfit")
    for options in ({"n": 2}, {"logprobs": True}, {"response_format": {"type": "json_object"}}) * 2:
        raw = await sdk.chat.completions.with_raw_response.create(**ASK, **options)
        (field,) = options
        assert raw.headers["x-homeport-tier"] == "fallback-1"
        assert raw.headers["x-homeport-reason"] == f"primary=unsupported({field})"
        assert raw.headers["x-homeport-attempts"] == "1"
    completion = await sdk.completions.with_raw_response.create(model="any", prompt="Where?")
    assert completion.headers["x-homeport-reason"].startswith("primary=unsupported(completions)")
    assert not stage.second.requests
    metrics = await stage.replica.metrics()
    assert all('source="claude",model="c-unfit"' not in name for name, n in metrics.items() if "failures" in name and n)
    of_it = {name: n for name, n in metrics.items() if 'assistant="unfit"' in name and 'tier="primary"' in name}
    assert not [name for name in of_it if name.startswith("homeport_attempts_total")]
    assert of_it['homeport_tier_skipped_total{assistant="unfit",reason="unsupported",tier="primary"}'] == 7


async def test_what_nobody_can_be_asked_is_the_callers_to_mend(stage: Stage) -> None:
    """A 400 in OpenAI's form that names the field; but where somebody could have been asked, a 503 worth a retry."""
    for assistant in ("alone", "twice"):
        with pytest.raises(openai.BadRequestError) as caught:
            await stage.replica.client(assistant).chat.completions.create(**ASK, logprobs=True)
        error = caught.value
        assert (error.code, error.param, error.type) == ("unsupported", "logprobs", "invalid_request_error")
        line = await stage.replica.line("request", request_id=error.request_id)
        assert (line["outcome"], line["refusal"]) == ("client_error", "unsupported")
        assert {(step["verdict"], step["uncarried"]) for step in line["steps"]} == {("skipped", "logprobs")}
        assert error.response.headers["x-homeport-attempts"] == "0"
        assert error.response.headers["x-homeport-tier"] == "none"
    assert not stage.second.requests
    # A name of the caller's own is for the caller alone.
    odd = await ask(stage.replica, "alone", input=None, mood_of_mine=1)
    assert (odd.status, odd.document()["error"]["param"]) == (400, "mood_of_mine")
    line = await stage.replica.line("request", request_id=odd.request_id)
    assert line["reason"] == "primary=unsupported(unknown_field)"
    assert "mood_of_mine" not in str(line)
    stage.first.mood = moods.status(503)
    with pytest.raises(openai.InternalServerError) as failed:
        await stage.replica.client("unfit").chat.completions.create(**ASK, logprobs=True)
    assert failed.value.status_code == 503
    assert "unsupported" in str(failed.value)


@pytest.mark.parametrize(
    ("mood", "error", "code"),
    [
        (
            moods.status(400, Fault("prompt is too long: 210431 tokens > 200000 maximum")),
            400,
            "context_length_exceeded",
        ),
        (moods.status(400, Fault("messages.0: bad")), 400, None),
        (moods.status(413, Fault("Request exceeds the maximum size")), 413, None),
    ],
)
async def test_a_fault_of_the_request_comes_back_in_openais_form(
    stage: Stage, mood: Mood, error: int, code: str | None
) -> None:
    """From the primary, with Anthropic's words."""
    stage.second.mood = mood
    for stream in (False, True):
        with pytest.raises(openai.APIStatusError) as caught:
            await stage.replica.client("errors").chat.completions.create(**ASK, stream=stream)
        assert (caught.value.status_code, caught.value.code) == (error, code)
        body = caught.value.body
        assert isinstance(body, dict)
        assert body.keys() == {"message", "type", "param", "code"}
        assert caught.value.response.headers["content-type"] == "application/json"


async def test_the_only_tiers_error_comes_back_in_openais_form(stage: Stage) -> None:
    """A chain of one passes status and headers on, whatever the fault; a gateway's page becomes an error object."""
    stage.second.mood = moods.status(429, retry_after=3)
    with pytest.raises(openai.RateLimitError) as caught:
        await stage.replica.client("alone").chat.completions.create(**ASK)
    assert (caught.value.code, caught.value.response.headers["retry-after"]) == ("rate_limit_exceeded", "3")
    stage.second.mood = moods.html(502)
    with pytest.raises(openai.InternalServerError) as page:
        await stage.replica.client("thinks").chat.completions.create(**ASK)
    assert page.value.type == "upstream_error"


@pytest.mark.parametrize(
    ("mood", "detail"),
    [
        (moods.error_event(0, OVERLOADED), "overloaded_error"),
        (moods.truncate(), "truncated"),
        (moods.garbage_event(0), "garbage"),
        (moods.empty_stream(done=False), "no_content"),
    ],
)
async def test_a_stream_that_fails_in_time_is_seen_as_one_clean_stream(stage: Stage, mood: Mood, detail: str) -> None:
    """Whatever Claude said before its first content, the caller reads the fallback's stream from its beginning."""
    stage.second.queue.extend([mood, WELL])
    sdk = stage.replica.client("early")
    raw = await sdk.chat.completions.with_raw_response.create(**ASK, stream=True)
    assert f"({detail}," in raw.headers["x-homeport-reason"]
    chunks = [chunk async for chunk in raw.parse()]
    assert text_of(chunks) == said("o-early", "first")
    assert len({chunk.id for chunk in chunks}) == 1
    # A success between the faults, for the breaker's sake.
    assert (await sdk.chat.completions.create(**ASK)).choices[0].message.content == said("c-early")


@pytest.mark.parametrize(
    ("mood", "detail"),
    [
        (moods.cut_stream(3), "truncated"),
        (moods.cut_stream(3, then=Then.RESET), "truncated"),
        (moods.garbage_event(3), "garbage"),
        (moods.error_event(3, OVERLOADED), "overloaded_error"),
    ],
)
async def test_a_stream_that_breaks_later_says_so(stage: Stage, mood: Mood, detail: str) -> None:
    """What came is kept, an error event ends it in place of `[DONE]`, and the SDK raises."""
    stage.second.queue.extend([mood, WELL])
    seen = await ask(stage.replica, "late", stream=True, input=None)
    assert "".join(texts(seen.body)) == "This is c-late, "
    error = seen.error()
    assert (error["code"], error["request_id"]) == ("stream_broken", seen.request_id)
    assert f"({detail})" in error["message"]
    assert b"overloaded_error" not in seen.body.partition(b"event: error")[0]
    line = await stage.replica.line("request", request_id=seen.request_id)
    assert line["outcome"] == "stream_broken"
    await stage.replica.client("late").chat.completions.create(**ASK)
    stage.second.queue.append(mood)
    with pytest.raises(openai.APIError):
        await streamed(stage.replica.client("late"))
    await stage.replica.client("late").chat.completions.create(**ASK)


async def test_a_stream_that_ends_without_its_own_last_word(stage: Stage) -> None:
    """A finish reason is not the end here: without message_stop it was cut, and is not made to look whole."""
    stage.second.mood = moods.cut_stream(99)
    seen = await ask(stage.replica, "ends", stream=True, input=None)
    assert b"[DONE]" not in seen.body
    assert seen.error()["code"] == "stream_broken"


async def test_silence_is_a_failure(stage: Stage) -> None:
    """A Claude that shows no sign of life in time is left for the next tier."""
    stage.second.mood = moods.hang()
    assert text_of(await streamed(stage.replica.client("hung"))) == said("o-hung", "first")


async def test_a_long_answer_has_its_own_length(stage: Stage) -> None:
    """Made anew, it is as long as it is, not as long as the upstream's; over a mebibyte too."""
    for mebibytes in (0.2, 2.0):
        stage.second.mood = moods.large(mebibytes)
        answer = await stage.replica.client("long").chat.completions.create(**ASK, max_tokens=10_000_000)
        assert answer.choices[0].message.content == stage.second.mood.text
