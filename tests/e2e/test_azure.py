"""Deployments of Azure OpenAI as tiers: by path or by name, with its own key, its errors, and its empty chunks."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import openai
import orjson
import pytest
import pytest_asyncio

from proxy.demo import azure, moods
from proxy.demo.answers import Fault, event
from proxy.demo.moods import Mood
from proxy.demo.simulator import Simulator
from tests.e2e.caller import Stage, ask, chain, source, staged, written
from tests.unit.demo.raw import texts

pytestmark = pytest.mark.asyncio(loop_scope="module")

KEY = "the-resources-key"
ASK: dict[str, Any] = {"model": "any", "messages": [{"role": "user", "content": "Where?"}]}
_VERSION = "2024-10-21"


def _config(first: Simulator, second: Simulator, _: Simulator) -> str:
    resource = first.base_url.removesuffix("/v1")
    by_path = source(first, kind="azure-openai", base_url=resource, api_key=KEY, api_version=_VERSION)
    by_name = source(first, kind="azure-openai", base_url=f"{resource}/openai/v1", api_key=KEY)
    names = ("path", "throttled", "filtered", "gone", "falls")
    assistants: dict[str, object] = {name: chain(f"deployed/d {name}", f"second/o-{name}") for name in names}
    assistants["name"] = chain("named/d-name")
    assistants["own"] = chain("deployed/*")
    sources = {"deployed": by_path, "named": by_name, "second": source(second)}
    return written(sources=sources, assistants=assistants)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def everyone(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    """One replica for all tests; `first` is a resource of Azure's."""
    async with staged(tmp_path_factory.mktemp("azure"), _config) as stage:
        yield stage


@pytest.fixture
def stage(everyone: Stage) -> Stage:
    """The same, with every upstream well again."""
    everyone.calm()
    everyone.first.requests.clear()
    return everyone


@pytest.mark.parametrize(
    ("assistant", "path", "query", "model"),
    [
        ("path", "/openai/deployments/d%20path/chat/completions", f"api-version={_VERSION}", "d path"),
        ("name", "/openai/v1/chat/completions", "", "d-name"),
        ("own", "/openai/deployments/any/chat/completions", f"api-version={_VERSION}", "any"),
    ],
)
async def test_a_deployment_answers(stage: Stage, assistant: str, path: str, query: str, model: str) -> None:
    """Where the request goes, what it carries, and that the answer is the upstream's, byte for byte."""
    raw = await stage.replica.client(assistant, api_key="the-callers").chat.completions.with_raw_response.create(**ASK)
    received = stage.first.requests[-1]
    assert (received.path, received.query) == (path, query)
    headers = {name.lower(): value for name, value in received.headers}
    assert headers["api-key"] == KEY
    assert "authorization" not in headers
    assert orjson.loads(received.body)["model"] == model
    assert raw.parse().choices[0].message.content == f"This is {model}, served by first. You asked: Where?"
    assert raw.headers["x-homeport-upstream-request-id"] == raw.headers["apim-request-id"]


async def test_the_version_is_the_sources_to_say(stage: Stage) -> None:
    """A caller that takes us for Azure says one too, which gives way; the rest of its query comes along."""
    await ask(stage.replica, "path", "/v1/chat/completions?api-version=2023-05-15&trace=1&api-key=x")
    assert stage.first.requests[-1].query == f"api-version={_VERSION}&trace=1"


async def test_a_chunk_about_the_prompt_is_a_sign_of_life(stage: Stage) -> None:
    """It has no choice, no name and no content: it commits nothing, and the model that answered is still told."""
    stage.first.mood = moods.truncate()
    seen = await ask(stage.replica, "falls", stream=True)
    assert seen.headers["x-homeport-tier"] == "fallback-1"
    stage.calm()
    seen = await ask(stage.replica, "path", stream=True)
    assert "".join(texts(seen.body)) == "This is d path, served by first. You asked: Where?"
    assert b"prompt_filter_results" in seen.body
    line = await stage.replica.line("request", request_id=seen.request_id)
    assert line["tier"] == "primary"
    assert line.get("served_model", "d path") == "d path"


async def test_a_late_word_of_the_filter_does_not_open_the_answer_again(stage: Stage) -> None:
    """A chunk that comes after the finish, with a choice that has none, leaves the answer whole."""
    late = {"id": "", "object": "", "created": 0, "model": "", "choices": [{"index": 0, "content_filter_offsets": {}}]}
    stage.first.mood = Mood("late", at=99, insert=event(orjson.dumps(late)))
    seen = await ask(stage.replica, "path", stream=True)
    assert seen.body.endswith(b"data: [DONE]\n\n")


async def test_throttling(stage: Stage) -> None:
    """429, whatever its code says: the tier rests for as long as Azure asks, in milliseconds."""
    fault = Fault("Requests to the ChatCompletions_Create Operation have exceeded token rate limit.", "", "429")
    stage.first.mood = moods.status(429, fault, headers=(("retry-after-ms", "20000"), ("retry-after", "99")))
    raw = await stage.replica.client("throttled").chat.completions.with_raw_response.create(**ASK)
    assert raw.headers["x-homeport-reason"].startswith("primary=rate_limited(azure_throttled,")
    again = await stage.replica.client("throttled").chat.completions.with_raw_response.create(**ASK)
    assert "primary=parked(azure_throttled" in again.headers["x-homeport-reason"]


async def test_the_filter_in_front_of_the_model(stage: Stage) -> None:
    """Its 400 is the caller's to read, as Azure wrote it: no other tier is asked."""
    stage.first.mood = Mood("filtered", instead=azure.content_filtered())
    with pytest.raises(openai.BadRequestError) as caught:
        await stage.replica.client("filtered").chat.completions.create(**ASK)
    assert caught.value.code == "content_filter"
    assert isinstance(caught.value.body, dict)
    assert caught.value.body["innererror"]["code"] == "ResponsibleAIPolicyViolation"


async def test_a_deployment_that_is_not_there(stage: Stage) -> None:
    """It may be a minute old, so it takes two such answers to be sure; the fallback serves."""
    stage.first.mood = moods.model_missing()
    raw = await stage.replica.client("gone").chat.completions.with_raw_response.create(**ASK)
    assert raw.headers["x-homeport-reason"].startswith("primary=config(deploymentnotfound,")
