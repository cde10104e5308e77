"""Whatever the primary does before its answer is committed, the caller gets the fallback's, whole, and is told why."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator
from dataclasses import dataclass, replace

import pytest
import pytest_asyncio

from proxy.demo import moods
from proxy.demo.answers import Fault, event
from proxy.demo.moods import WELL, Mood
from proxy.demo.simulator import Simulator
from tests.e2e.caller import CHAT, Stage, ask, chain, source, staged, written
from tests.unit.demo.raw import events

pytestmark = pytest.mark.asyncio(loop_scope="module")

REFUSE = Mood("refuse")
"""Nobody listens: the simulator is stopped."""
FIRST_BYTE, FIRST_TOKEN = {"first_byte": "1s"}, {"first_token": "1s"}
ATTEMPT, IDLE = {"attempt": "1s"}, {"idle": "1s"}
"""Of a fallback that is well, too: it has to answer within them on a busy machine."""


@dataclass(frozen=True, slots=True)
class Case:
    """A fault, and what is to be said of it."""

    name: str
    mood: Mood
    outcome: str
    """As metrics and log lines call it."""
    detail: str
    heard: str
    timeouts: dict[str, str] | None = None


def either(name: str, mood: Mood, outcome: str, detail: str, heard: str) -> list[Case]:
    """The same fault, met by a JSON request and by a stream."""
    return [Case(f"{name}-{form}", mood, outcome, detail, heard) for form in ("json", "stream")]


NO_SCOPE = Fault("You have insufficient permissions for this operation.", "invalid_request_error", "missing_scope")
TOO_LARGE = Fault("Request too large for gpt-big on tokens per min (TPM): Limit 1000, Requested 2000.", "tokens")
CASES = [
    *either("refuse", REFUSE, "network", "connect_error", "bad"),
    *either("reset", moods.reset(), "network", "reset", "bad"),
    *either("close", moods.close(), "network", "closed", "bad"),
    *either("garbage-http", moods.garbage(), "transient", "bad_http", "bad"),
    Case("hang-stream", moods.hang(), "timeout_first_byte", "first_byte", "bad", FIRST_BYTE),
    Case("hang-json", moods.hang(), "timeout_total", "attempt", "bad", ATTEMPT),
    Case("hang-after-headers-stream", moods.hang_after_headers(), "slow", "first_token", "neutral", FIRST_TOKEN),
    Case("hang-after-headers-json", moods.hang_after_headers(), "timeout_total", "attempt", "bad", ATTEMPT),
    Case("role-only-stream", moods.hang_mid_stream(0), "slow", "first_token", "neutral", FIRST_TOKEN),
    Case("half-json", moods.hang_mid_stream(0), "timeout_idle", "idle", "bad", IDLE),
    *either("truncated", moods.truncate(), "stream_broken", "truncated", "bad"),
    *either("not-json", moods.not_json(), "transient", "not_json", "bad"),
    *either("empty", moods.empty(), "transient", "empty", "bad"),
    *either("html-200", moods.html(200), "transient", "html", "bad"),
    *either("html-502", moods.html(502), "transient", "http_502", "bad"),
    *either("error-in-200", moods.error_in_200(502), "transient", "http_502", "bad"),
    *either("limit-in-200", moods.error_in_200(429), "rate_limited", "http_429", "rate_limit"),
    *either("429", moods.status(429), "rate_limited", "http_429", "rate_limit"),
    *either("429-short", moods.status(429, retry_after=1), "rate_limited", "http_429", "rate_limit"),
    *either("429-long", moods.status(429, retry_after=90), "rate_limited", "http_429", "rate_limit"),
    *either("429-too-large", moods.status(429, TOO_LARGE), "rate_limited", "request_over_limit", "neutral"),
    *either("quota", moods.insufficient_quota(), "quota", "insufficient_quota", "quota"),
    *either("401", moods.status(401), "auth", "invalid_api_key", "disable"),
    *either("401-scope", moods.status(401, NO_SCOPE), "auth", "http_401", "disable_twice"),
    *either("403", moods.status(403), "auth", "http_403", "disable_twice"),
    *either("404-model", moods.model_missing(), "config", "model_not_found", "disable"),
    *either("404-bare", moods.html(404), "config", "http_404", "disable_twice"),
    *either("408", moods.status(408), "transient", "http_408", "bad"),
    *either("500", moods.status(500), "transient", "http_500", "bad"),
    *either("503", moods.status(503), "transient", "server_is_overloaded", "bad"),
    *either("529", moods.status(529), "transient", "http_529", "bad"),
    *either("redirect", moods.redirect(CHAT), "config", "http_307", "bad"),
    Case("garbage-event-stream", moods.garbage_event(0), "stream_broken", "garbage", "bad"),
    Case("error-event-stream", moods.error_event(0), "transient", "http_500", "bad"),
    Case("nothing-but-done-stream", moods.empty_stream(), "stream_broken", "no_content", "bad"),
    Case("nothing-stream", moods.empty_stream(done=False), "stream_broken", "no_content", "bad"),
]

QUIRKS = {
    # Limits of time are other tests' matter: here each of hundreds of bytes may be late.
    "drip": (replace(moods.drip(0.0005), text="Yes."), {"idle": "20s"}),
    "slow-headers": (moods.slow_headers(0.0005), {}),
    "stale": (moods.stale(), {}),
    "gzip": (moods.compressed(), {}),
    "large-header": (moods.large_header(20_000), {}),
    "early-hints": (moods.early_hints(), {}),
    "http10": (moods.http10(), {}),
}


def _config(first: Simulator, second: Simulator, _: Simulator) -> str:
    assistants = {
        case.name: chain(f"first/big-{case.name}", "second/small", timeouts=case.timeouts or {}) for case in CASES
    }
    for name, (_mood, timeouts) in QUIRKS.items():
        assistants[name] = chain(f"first/big-{name}", "second/small", timeouts=timeouts)
    assistants["surplus"] = chain("first/big-surplus", "second/small")
    return written(sources={"first": source(first), "second": source(second)}, assistants=assistants)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def everyone(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    """One replica for all cases; each has an assistant of its name."""
    async with staged(tmp_path_factory.mktemp("faults"), _config) as stage:
        yield stage


@pytest.fixture
def stage(everyone: Stage) -> Stage:
    """The same, with every upstream well again."""
    everyone.calm()
    return everyone


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
async def test_a_fault_before_the_commit_falls_through(stage: Stage, case: Case) -> None:
    """The fallback's answer comes whole; header, log line and metric name the same fault, and the breaker heard it."""
    stage.first.mood = case.mood
    if case.mood is REFUSE:
        await stage.first.stop()
    try:
        seen = await ask(stage.replica, case.name, stream=not case.name.endswith("json"))
    finally:
        await stage.first.start()

    assert (seen.status, seen.whole) == (200, True)
    assert seen.text() == "This is small, served by second. You asked: Where?"
    if not case.name.endswith("json"):
        assert events(seen.body)[-1] == b"[DONE]"
    assert seen.headers["x-homeport-tier"] == "fallback-1"
    assert (seen.headers["x-homeport-source"], seen.headers["x-homeport-model"]) == ("second", "small")
    assert seen.headers["x-homeport-attempts"] == "2"
    word = "timeout" if case.timeouts else case.outcome
    reason = rf"primary={word}\({re.escape(case.detail)},\d+(\.\d)?m?s\)"
    assert re.fullmatch(reason, seen.headers["x-homeport-reason"]), seen.headers["x-homeport-reason"]

    story = await stage.story(seen)
    primary, fallback = story["steps"]
    assert (primary["outcome"], primary["detail"], primary["heard"]) == (case.outcome, case.detail, case.heard)
    assert (fallback["outcome"], fallback["heard"]) == ("served", "good")
    assert (story["outcome"], story["code"], story["tier"]) == ("fallback_success", 200, "fallback-1")
    metrics = await stage.replica.metrics()
    counted = {
        name: value
        for name, value in metrics.items()
        if name.startswith("homeport_attempts_total") and f'assistant="{case.name}"' in name and "primary" in name
    }
    assert counted == {
        f'homeport_attempts_total{{assistant="{case.name}",outcome="{case.outcome}",tier="primary"}}': 1.0
    }


async def test_a_redirect_is_not_followed(stage: Stage) -> None:
    """A request, and the credential in it, goes nowhere that the operator did not write."""
    stage.first.mood = moods.redirect("/v1/elsewhere")
    seen = await ask(stage.replica, "redirect-json")
    assert seen.headers["x-homeport-tier"] == "fallback-1"
    assert stage.first.by_path["/v1/elsewhere"] == 0


@pytest.mark.parametrize("stream", [False, True], ids=["json", "stream"])
@pytest.mark.parametrize("name", QUIRKS)
async def test_an_odd_answer_is_still_an_answer(stage: Stage, name: str, stream: bool) -> None:
    """An upstream that is well but peculiar serves at home, and on a connection that served before."""
    for mood in (WELL, QUIRKS[name][0]):
        stage.first.mood = mood
        seen = await ask(stage.replica, name, stream=stream)
        assert (seen.status, seen.whole, seen.headers["x-homeport-tier"]) == (200, True, "primary")
        assert seen.text() == (mood.text or f"This is big-{name}, served by first. You asked: Where?")
        assert "x-homeport-reason" not in seen.headers


@pytest.mark.parametrize("stream", [False, True], ids=["json", "stream"])
async def test_bytes_beyond_the_announced_length_reach_nobody(stage: Stage, stream: bool) -> None:
    """Whoever serves, the answer is whole and nothing follows it; no later request reads the surplus as its answer."""
    home = False
    for mood in (moods.wrong_length(), moods.wrong_length(), WELL):
        stage.first.mood = mood
        seen = await ask(stage.replica, "surplus", stream=stream)
        assert (seen.status, seen.whole) == (200, True)
        home = seen.headers["x-homeport-tier"] == "primary"
        name = "big-surplus, served by first" if home else "small, served by second"
        assert seen.text() == f"This is {name}. You asked: Where?"
        assert b"and some more" not in seen.body
    assert home


async def test_a_fault_is_told_in_the_dialect_of_its_endpoint(stage: Stage) -> None:
    """A Responses stream that breaks before its content falls through as well: the caller sees one clean stream."""
    for mood in (moods.truncate(), moods.error_event(0), moods.garbage_event(0)):
        stage.calm()
        stage.first.queue.append(mood)
        seen = await ask(stage.replica, "reset-stream", "/v1/responses", stream=True)
        assert (seen.status, seen.headers["x-homeport-tier"]) == (200, "fallback-1")
        assert seen.body.count(b"event: response.created\n") == seen.body.count(b"event: response.completed\n") == 1
        assert b"served by first" not in seen.body
        assert event(b"[DONE]") not in seen.body
