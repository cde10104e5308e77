"""A caller who waits: signs of life while it is not known who will answer, and an end before its patience ends."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from dataclasses import replace

import openai
import orjson
import pytest
import pytest_asyncio

from proxy.demo import moods
from proxy.demo.simulator import Simulator
from tests.e2e.caller import CHAT, Stage, ask, chain, source, staged, written
from tests.unit.demo.raw import events

pytestmark = pytest.mark.asyncio(loop_scope="module")

HELD = {"hold": "100ms", "idle": "20s"}
WAITING = "homeport: waiting for the upstream"
FORMS = pytest.mark.parametrize("stream", [False, True], ids=["json", "stream"])


def _config(first: Simulator, second: Simulator, _: Simulator) -> str:
    assistants = {
        "held": chain("first/held", "second/small", timeouts=HELD),
        "held-briefly": chain("first/brief", "second/small", timeouts={**HELD, "first_byte": "1500ms"}),
        "held-refused": chain("first/refused", "second/refused", timeouts=HELD),
        "held-fault": chain("first/held", "second/small", timeouts=HELD),
        "held-limited": chain("first/limited", "second/limited", timeouts=HELD),
        "thinking": chain("first/thinking-1", "second/small", timeouts={"first_byte": "400ms"}),
        "patient": chain("first/patient", "second/patient"),
        "patient-one": chain("first/patient-one"),
        "bounded": chain("first/bounded", "second/small", timeouts={"total": "3s"}),
    }
    return written(sources={"first": source(first), "second": source(second)}, assistants=assistants)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def everyone(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    """One replica whose assistants differ in their limits of time; a thinking model is silent for a second."""
    async with staged(tmp_path_factory.mktemp("held"), _config, thinks=1.2) as stage:
        yield stage


@pytest.fixture
def stage(everyone: Stage) -> Stage:
    """The same, with every upstream well again."""
    everyone.calm()
    return everyone


# -- held streams


@pytest.mark.parametrize("path", [CHAT, "/v1/responses"])
async def test_a_held_stream_shows_signs_of_life_and_then_who_answers(stage: Stage, path: str) -> None:
    """Past `hold`: 200, comments, headers that say `pending`; a comment names the tier before anything it says."""
    stage.first.mood = moods.delay(0.6)
    seen = await ask(stage.replica, "held", path, stream=True)
    assert (seen.status, seen.whole) == (200, True)
    assert seen.headers["content-type"] == "text/event-stream"
    for name in ("tier", "source", "model"):
        assert seen.headers[f"x-homeport-{name}"] == "pending"
    assert seen.headers["x-homeport-assistant"] == "held"
    assert seen.body.startswith(f": {WAITING}\n\n".encode())
    *waiting, naming = seen.comments()
    assert set(waiting) == {WAITING}
    assert naming.startswith("homeport: tier=primary source=first model=held attempts=1")
    before, _, after = seen.body.partition(naming.encode())
    assert b"data:" not in before
    assert b"served " in after
    assert (await stage.story(seen))["outcome"] == "success"


async def test_a_held_stream_may_still_fall_through(stage: Stage) -> None:
    """A primary that fails after the heartbeat began leaves no trace but in the comment that names the fallback."""
    stage.first.mood = moods.hang()
    seen = await ask(stage.replica, "held-briefly", stream=True)
    assert (seen.status, seen.headers["x-homeport-tier"], seen.whole) == (200, "pending", True)
    assert seen.text() == "This is small, served by second. You asked: Where?"
    assert events(seen.body)[-1] == b"[DONE]"
    naming = seen.comments()[-1]
    assert naming.startswith("homeport: tier=fallback-1 source=second model=small attempts=2")
    assert "primary=timeout(first_byte," in naming
    story = await stage.story(seen)
    assert (story["outcome"], story["steps"][0]["heard"]) == ("fallback_success", "bad")


async def test_a_held_stream_is_refused_in_band(stage: Stage) -> None:
    """One error event with the status that it would have had, and how to retry; the SDK raises it."""
    slow = replace(moods.status(500), delay=0.4)
    stage.first.mood = stage.second.mood = slow
    seen = await ask(stage.replica, "held-refused", close=False, stream=True)
    assert (seen.status, seen.whole, seen.ended) == (200, True, "closed")
    error = seen.error()
    assert (error["type"], error["status"], error["request_id"]) == ("all_tiers_failed", 503, seen.request_id)
    assert int(error["retry_after"]) >= 1
    assert len(events(seen.body)) == 1
    story = await stage.story(seen)
    assert (story["outcome"], story["refusal"]) == ("exhausted", "all_tiers_failed")
    stream = await stage.replica.client("held-refused").chat.completions.create(
        model="any", messages=[{"role": "user", "content": "Where?"}], stream=True
    )
    with pytest.raises(openai.APIError) as raised:
        await anext(aiter(stream))
    assert raised.value.code == "all_tiers_failed"
    assert isinstance(raised.value.body, dict)
    assert raised.value.body["status"] == 503


async def test_a_held_refusal_that_invites_no_retry_says_so(stage: Stage) -> None:
    """`x-should-retry: false` and the moment of return have no header to stand in, so they stand in the event."""
    stage.first.mood = stage.second.mood = replace(moods.status(429, retry_after=600), delay=0.4)
    error = (await ask(stage.replica, "held-limited", stream=True)).error()
    assert (error["status"], error["x_should_retry"]) == (429, "false")
    assert "x_homeport_retry_at" in error


async def test_a_held_request_at_fault_is_told_in_band(stage: Stage) -> None:
    """What would have been the upstream's 400, byte for byte, is its error object in an event."""
    stage.first.mood = replace(moods.status(400), delay=0.4)
    seen = await ask(stage.replica, "held-fault", "/v1/responses", stream=True)
    (only,) = events(seen.body)
    said = orjson.loads(only)
    assert (said["type"], said["code"], said["error"]["status"]) == ("error", "invalid_value", 400)
    assert said["message"].startswith("Invalid value for 'temperature'")
    assert said["error"]["request_id"] == seen.request_id


async def test_the_heartbeat_goes_on_while_an_upstream_is_silent(stage: Stage) -> None:
    """Also after the commit; the comments stand between events and change none of them."""
    stage.first.mood = replace(moods.pause(1.3), text="One two")
    seen = await ask(stage.replica, "held", stream=True)
    assert seen.text() == "One two"
    assert events(seen.body)[-1] == b"[DONE]"
    _, _, after = seen.body.partition(b"One ")
    assert WAITING.encode() in after.partition(b"two")[0]


async def test_a_quick_stream_is_not_held(stage: Stage) -> None:
    """Headers name the tier, and there is no comment."""
    seen = await ask(stage.replica, "held", stream=True)
    assert (seen.headers["x-homeport-tier"], seen.comments()) == ("primary", [])


# -- limits of time


@FORMS
async def test_a_model_that_thinks_is_not_a_dead_one(stage: Stage, stream: bool) -> None:
    """Silent for three times `first_byte`: headers are a stream's sign of life, and JSON has nothing to show before."""
    seen = await ask(stage.replica, "thinking", stream=stream)
    assert (seen.status, seen.headers["x-homeport-tier"]) == (200, "primary")
    assert seen.text() == "This is thinking-1, served by first. You asked: Where?"
    step = (await stage.story(seen))["steps"][0]
    assert step["ended_ms"] - step["started_ms"] >= 1200


async def test_the_walk_ends_before_the_callers_patience(stage: Stage) -> None:
    """The caller, the SDK too, reads why, rather than running into its own timeout; no breaker hears of its hurry."""
    stage.first.mood = stage.second.mood = moods.hang()

    async def hurry(name: str, stream: bool) -> None:
        began = time.monotonic()
        seen = await ask(stage.replica, "patient", fields=f"{name}: 3\r\n", stream=stream)
        assert time.monotonic() - began < 3.0
        assert (seen.status, seen.document()["error"]["code"]) == (503, "all_tiers_failed")
        assert "primary=timeout(patience," in seen.headers["x-homeport-reason"]
        steps = (await stage.story(seen))["steps"]
        assert {step.get("heard", "neutral") for step in steps} == {"neutral"}

    async def hurry_the_sdk() -> None:
        client = stage.replica.client("patient", timeout=3.0)
        with pytest.raises(openai.InternalServerError) as raised:
            await client.chat.completions.create(model="any", messages=[{"role": "user", "content": "Where?"}])
        assert raised.value.code == "all_tiers_failed"

    names = ("x-stainless-read-timeout", "X-Stainless-Timeout")
    await asyncio.gather(hurry_the_sdk(), *(hurry(name, stream) for name in names for stream in (False, True)))


@FORMS
async def test_patience_bounds_no_stream_that_has_begun(stage: Stage, stream: bool) -> None:
    """A committed stream may run on; a JSON answer is bounded as a whole."""
    stage.first.mood = replace(moods.pause(0.4), text="One two three four five", delay=0.0 if stream else 2.0)
    seen = await ask(stage.replica, "patient-one", fields="x-stainless-read-timeout: 1\r\n", stream=stream)
    if stream:
        assert seen.text() == "One two three four five"
        assert (await stage.story(seen))["duration_ms"] > 1000
    else:
        assert seen.status == 503


async def test_a_silent_primary_leaves_time_for_the_fallback(stage: Stage) -> None:
    """Of `total`, or of the caller's patience, a tenth is kept for the tier after it, and that is enough to serve."""
    stage.first.mood = moods.hang()
    limits = (("bounded", ""), ("held", "x-stainless-read-timeout: 3\r\n"))
    asked = [
        ask(stage.replica, name, fields=fields, stream=stream) for name, fields in limits for stream in (False, True)
    ]
    for seen in await asyncio.gather(*asked):
        assert (seen.status, seen.text()) == (200, "This is small, served by second. You asked: Where?")
