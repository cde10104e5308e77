"""What the caller reads when the fault is its own request's, or when nobody serves: an upstream's words, or ours."""

from __future__ import annotations

from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta

import orjson
import pytest
import pytest_asyncio

from proxy.demo import moods
from proxy.demo.answers import Fault
from proxy.demo.moods import WELL, Mood
from proxy.demo.simulator import Simulator
from tests.e2e.caller import CHAT, Seen, Stage, ask, chain, source, staged, written

pytestmark = pytest.mark.asyncio(loop_scope="module")

REQUEST_FAULTS = {
    400: moods.status(400),
    413: moods.status(413, Fault("Request entity too large.")),
    415: moods.status(415, Fault("Unsupported content type.")),
    422: moods.status(422, Fault("Unprocessable.", param="messages")),
    418: moods.status(418),
}
FORMS = pytest.mark.parametrize("stream", [False, True], ids=["json", "stream"])


def _config(first: Simulator, second: Simulator, third: Simulator) -> str:
    assistants: dict[str, object] = {
        f"fault-{code}-{form}": chain(f"first/big-{code}-{form}", "second/small")
        for code in REQUEST_FAULTS
        for form in ("json", "stream")
    }
    assistants |= {f"two-{each}": chain(f"first/two-{each}", f"second/two-{each}") for each in range(8)}
    assistants |= {f"one-{each}": chain(f"first/one-{each}") for each in range(10)}
    assistants |= {
        f"three-{each}": chain(*(f"{tier.name}/three-{each}" for tier in (first, second, third))) for each in range(2)
    }
    assistants["policy"] = chain("first/policy", "second/policy")
    assistants["windows"] = {
        "primary": {"source": "first", "model": "window", "context": 8192},
        "fallbacks": [
            {"source": "second", "model": "window", "context": 8192},
            {"source": "third", "model": "window", "context": 128000},
        ],
    }
    assistants["no-window"] = chain("first/window", "second/window-unknown")
    sources = {each.name: source(each) for each in (first, second, third)}
    return written(sources=sources, assistants=assistants)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def everyone(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    """One replica with an assistant, and models, for each test."""
    async with staged(tmp_path_factory.mktemp("refused"), _config) as stage:
        yield stage


@pytest.fixture
def stage(everyone: Stage) -> Stage:
    """The same, with every upstream well again."""
    everyone.calm()
    return everyone


def _body(mood: Mood) -> bytes:
    """What an upstream in this mood answers."""
    assert mood.instead is not None
    assert not isinstance(mood.instead, bytes)
    return b"".join(piece.data for piece in mood.instead.pieces)


def _refused(seen: Seen) -> list[str]:
    """The lines on the tiers, of an answer that says that all failed."""
    error = seen.document()["error"]
    assert list(error) == ["message", "type", "param", "code"]
    assert (error["type"], error["code"], error["param"]) == ("all_tiers_failed", "all_tiers_failed", None)
    assert seen.headers["x-homeport-tier"] == seen.headers["x-homeport-source"] == "none"
    assert seen.headers["content-type"].startswith("application/json")
    return str(error["message"]).splitlines()[1:]


# -- the request's own faults


@FORMS
@pytest.mark.parametrize("code", REQUEST_FAULTS)
async def test_a_fault_of_the_request_comes_back_as_it_was_said(stage: Stage, code: int, stream: bool) -> None:
    """No fallback is asked, the bytes are the upstream's, and however often it happens the breaker does not count."""
    assistant = f"fault-{code}-{'stream' if stream else 'json'}"
    stage.first.mood = REQUEST_FAULTS[code]
    before = stage.second.by_path[CHAT]
    for _ in range(4):
        seen = await ask(stage.replica, assistant, stream=stream)
        assert (seen.status, seen.body, seen.whole) == (code, _body(stage.first.mood), True)
        assert seen.headers["content-type"] == "application/json"
        assert seen.headers["x-homeport-attempts"] == "1"
        assert seen.headers["x-homeport-reason"].startswith(f"primary=client_fault(http_{code},")
        assert seen.request_id.startswith("req_")
        assert seen.headers["x-ratelimit-limit-requests"] == "10000"
        story = await stage.story(seen)
        assert (story["outcome"], story["code"]) == ("client_error", code)
        assert [step["heard"] for step in story["steps"]] == ["neutral"]
    assert stage.second.by_path[CHAT] == before
    stage.calm()
    assert (await ask(stage.replica, assistant, stream=stream)).headers["x-homeport-tier"] == "primary"


async def test_the_upstreams_id_of_a_refusal_is_passed_on(stage: Stage) -> None:
    """Whoever reports an upstream's error to its vendor needs the vendor's own id of it."""
    stage.first.mood = moods.status(400)
    seen = await ask(stage.replica, "policy")
    story = await stage.story(seen)
    assert seen.headers["x-homeport-upstream-request-id"] == story["steps"][0]["upstream_request_id"]
    assert seen.request_id != story["steps"][0]["upstream_request_id"]


@FORMS
async def test_a_refusal_for_its_content_is_not_taken_elsewhere(stage: Stage, stream: bool) -> None:
    """What one vendor will not answer is not shopped around."""
    stage.first.mood = moods.status(400, Fault("No.", code="content_policy_violation"))
    before = stage.second.by_path[CHAT]
    seen = await ask(stage.replica, "policy", stream=stream)
    assert (seen.status, seen.body) == (400, _body(stage.first.mood))
    assert stage.second.by_path[CHAT] == before


@FORMS
async def test_a_fallbacks_objection_is_no_answer_while_another_serves(stage: Stage, stream: bool) -> None:
    """A fallback may not know what the primary knows: its 400 is `unsupported`, neutral, and the next one is asked."""
    stage.first.queue.append(moods.status(500))
    stage.second.mood = moods.status(400)
    seen = await ask(stage.replica, "three-0", stream=stream)
    assert (seen.status, seen.headers["x-homeport-tier"]) == (200, "fallback-2")
    assert seen.text() == "This is three-0, served by third. You asked: Where?"
    steps = (await stage.story(seen))["steps"]
    assert [(step["outcome"], step["heard"]) for step in steps] == [
        ("transient", "bad"),
        ("unsupported", "neutral"),
        ("served", "good"),
    ]


@FORMS
async def test_the_first_objection_is_returned_if_nobody_serves(stage: Stage, stream: bool) -> None:
    """Of a 400 and a 422 from fallbacks the caller reads the first, byte for byte."""
    stage.first.queue.append(moods.status(500))
    stage.second.mood, stage.third.mood = moods.status(400), REQUEST_FAULTS[422]
    seen = await ask(stage.replica, "three-1", stream=stream)
    assert (seen.status, seen.body) == (400, _body(stage.second.mood))
    assert seen.headers["x-homeport-attempts"] == "3"


@FORMS
async def test_too_long_a_request_goes_only_to_a_larger_window(stage: Stage, stream: bool) -> None:
    """A tier of the same declared size is not asked, and the breaker hears nothing of the request's length."""
    stage.first.mood = moods.context_length()
    before = stage.second.by_path[CHAT]
    seen = await ask(stage.replica, "windows", stream=stream)
    assert (seen.status, seen.headers["x-homeport-tier"]) == (200, "fallback-2")
    assert seen.headers["x-homeport-attempts"] == "2"
    first, second, _ = (await stage.story(seen))["steps"]
    assert (first["outcome"], first["heard"], second["reason"]) == ("context_length", "neutral", "too_small_context")
    assert stage.second.by_path[CHAT] == before
    seen = await ask(stage.replica, "no-window", stream=stream)
    assert (seen.status, seen.body) == (400, _body(stage.first.mood))
    assert stage.second.by_path[CHAT] == before


# -- all tiers failed


@FORMS
async def test_when_all_tiers_fail_each_gets_a_line(stage: Stage, stream: bool) -> None:
    """503 in OpenAI's shape, saying of every tier what it met; a retry is invited for when one can be tried."""
    stage.first.mood, stage.second.mood = moods.status(500), moods.close()
    seen = await ask(stage.replica, "two-0", stream=stream)
    assert seen.status == 503
    primary, fallback = _refused(seen)
    assert primary.startswith("primary (first/two-0): tried, transient (http_500")
    assert fallback.startswith("fallback-1 (second/two-0): tried, network (closed")
    assert 1 <= int(seen.headers["retry-after"]) <= 60
    assert "x-homeport-retry-at" not in seen.headers
    assert seen.headers.get("x-should-retry") != "false"
    assert "primary=transient(" in seen.headers["x-homeport-reason"]
    assert "fallback-1=network(" in seen.headers["x-homeport-reason"]
    assert b"had an error while processing" not in seen.body
    story = await stage.story(seen)
    assert (story["outcome"], story["code"], story["refusal"]) == ("exhausted", 503, "all_tiers_failed")


async def test_an_open_chain_says_when_it_opens(stage: Stage) -> None:
    """Once every breaker has tripped the tiers are named as not tried, and `retry-after` is the soonest probe."""
    stage.first.mood = stage.second.mood = moods.status(500)
    for _ in range(3):
        await ask(stage.replica, "two-1")
    before = stage.first.by_path[CHAT], stage.second.by_path[CHAT]
    seen = await ask(stage.replica, "two-1")
    assert seen.status == 503
    assert [line.partition(",")[0] for line in _refused(seen)] == [
        "primary (first/two-1): not tried",
        "fallback-1 (second/two-1): not tried",
    ]
    assert 10 <= int(seen.headers["retry-after"]) <= 15
    assert seen.headers["x-homeport-attempts"] == "0"
    steps = (await stage.story(seen))["steps"]
    assert [len(step["breaker"]["tripped_by"]) for step in steps] == [3, 3]
    assert (stage.first.by_path[CHAT], stage.second.by_path[CHAT]) == before


async def test_rate_limited_everywhere_is_a_429(stage: Stage) -> None:
    """With waits within a minute the soonest is told; a later request, which is sent nowhere, is told the same."""
    stage.first.mood, stage.second.mood = moods.status(429, retry_after=30), moods.status(429, retry_after=20)
    for attempts in ("2", "0"):
        seen = await ask(stage.replica, "two-2")
        assert (seen.status, seen.headers["x-homeport-attempts"]) == (429, attempts)
        assert len(_refused(seen)) == 2
        assert 20 <= int(seen.headers["retry-after"]) <= 23
        assert "x-homeport-retry-at" not in seen.headers


async def test_a_long_wait_is_told_but_not_invited(stage: Stage) -> None:
    """Beyond a minute an SDK would sleep for long: `x-should-retry: false`, and the moment in a header of its own."""
    stage.first.mood, stage.second.mood = moods.status(429, retry_after=600), moods.status(429, retry_after=300)
    seen = await ask(stage.replica, "two-3")
    assert (seen.status, seen.headers["x-should-retry"]) == (429, "false")
    assert "retry-after" not in seen.headers
    at = datetime.strptime(seen.headers["x-homeport-retry-at"], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
    wait = at - datetime.now(UTC)
    assert timedelta(seconds=280) < wait < timedelta(seconds=331)


async def test_what_only_an_operator_can_mend_invites_nobody(stage: Stage) -> None:
    """Two invalid keys: no retry, and no moment that would be a guess; also when the tiers are not asked again."""
    stage.first.mood = stage.second.mood = moods.status(401)
    for attempts in ("2", "0"):
        seen = await ask(stage.replica, "two-4")
        assert (seen.status, seen.headers["x-should-retry"]) == (503, "false")
        assert seen.headers["x-homeport-attempts"] == attempts
        assert not {"retry-after", "x-homeport-retry-at"} & seen.headers.keys()
        assert all("invalid_api_key" in line for line in _refused(seen))


async def test_one_rate_limit_among_other_faults_is_no_429(stage: Stage) -> None:
    """429 would say that slowing down helps."""
    stage.first.mood, stage.second.mood = moods.status(429, retry_after=1), moods.status(500)
    assert (await ask(stage.replica, "two-5")).status == 503


# -- a chain of one


@FORMS
@pytest.mark.parametrize(
    ("place", "mood"),
    [
        (0, moods.status(429, retry_after=7, headers=(("retry-after-ms", "7000"),))),
        (1, moods.status(503, headers=(("x-should-retry", "true"),))),
        (2, moods.status(401)),
        (3, moods.insufficient_quota()),
    ],
)
async def test_a_chain_of_one_speaks_with_its_upstreams_voice(
    stage: Stage, place: int, mood: Mood, stream: bool
) -> None:
    """Status, body and rate headers are passed on as they came: nothing of ours would say it better."""
    stage.first.mood = mood
    seen = await ask(stage.replica, f"one-{2 * place + stream}", stream=stream)
    assert not isinstance(mood.instead, bytes)
    assert mood.instead is not None
    assert (seen.status, seen.body) == (mood.instead.status, _body(mood))
    for name, value in mood.instead.headers:
        assert seen.headers[name.lower()] == value
    assert seen.headers["x-ratelimit-remaining-tokens"] == "1999900"
    assert seen.headers["openai-version"] == "2020-10-01"
    assert seen.headers["x-homeport-attempts"] == "1"
    story = await stage.story(seen)
    assert story["outcome"] == "exhausted"


@FORMS
async def test_a_chain_of_one_that_says_nothing_is_spoken_for(stage: Stage, stream: bool) -> None:
    """Without an answer to pass on, the refusal is ours, with its one line."""
    stage.first.mood = moods.close()
    seen = await ask(stage.replica, "one-8", stream=stream)
    assert (seen.status, len(_refused(seen))) == (503, 1)


async def test_an_error_inside_a_200_has_its_own_status(stage: Stage) -> None:
    """A chain of one passes it on with the status that the error gives itself, not with 200."""
    stage.first.mood = moods.error_in_200(529)
    seen = await ask(stage.replica, "one-9")
    assert seen.status == 529
    assert orjson.loads(seen.body)["error"]["code"] == 529


async def test_nothing_is_kept_of_a_refused_request(stage: Stage) -> None:
    """After a request's fault the next answer is its own: nothing of the first one lingers on a reused connection."""
    stage.first.queue.extend([moods.status(400), WELL])
    assert (await ask(stage.replica, "policy")).status == 400
    assert (await ask(stage.replica, "policy")).text() == "This is policy, served by first. You asked: Where?"
