"""A stream that breaks after its first content is never made to look whole, and never finished by another model."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Any

import orjson
import pytest
import pytest_asyncio

from proxy.demo import moods
from proxy.demo.answers import Fault
from proxy.demo.moods import Mood, Then
from proxy.demo.simulator import Simulator
from tests.e2e.caller import Stage, ask, chain, source, staged, written
from tests.unit.demo.raw import events

pytestmark = pytest.mark.asyncio(loop_scope="module")


@dataclass(frozen=True, slots=True)
class Case:
    """A way to break, and what is to be said of it."""

    name: str
    mood: Mood
    outcome: str
    """Of the attempt, as metrics and log lines call it."""
    detail: str
    timeouts: dict[str, str] | None = None


# By code, because an error event of Responses has no type.
ERROR = Fault("The server had an error.", "server_error", "server_error")
OVERLOADED = Fault("Overloaded.", "overloaded_error", "overloaded_error")
CASES = [
    Case("ends", moods.cut_stream(3), "stream_broken", "truncated"),
    Case("ends-before-finish", moods.cut_stream(99), "stream_broken", "truncated"),
    Case("closes", moods.cut_stream(3, then=Then.CLOSE), "stream_broken", "truncated"),
    Case("resets", moods.cut_stream(3, then=Then.RESET), "stream_broken", "truncated"),
    Case("garbage", moods.garbage_event(3), "stream_broken", "garbage"),
    Case("error", moods.error_event(3, ERROR), "transient", "http_500"),
    Case("overloaded", moods.error_event(3, OVERLOADED), "transient", "overloaded_error"),
    Case("hangs", moods.hang_mid_stream(3), "timeout_idle", "idle", {"idle": "400ms"}),
]
PATHS = {"chat": "/v1/chat/completions", "completions": "/v1/completions", "responses": "/v1/responses"}
MORE: dict[str, Any] = {"completions": {"prompt": "Where?"}}


def _config(first: Simulator, second: Simulator, _: Simulator) -> str:
    assistants = {
        f"{case.name}-{path}": chain(
            f"first/big-{case.name}", f"second/small-{case.name}", timeouts=case.timeouts or {}
        )
        for case in CASES
        for path in PATHS
    }
    assistants["json"] = chain("first/big-json", "second/small", timeouts={"idle": "400ms"})
    return written(sources={"first": source(first), "second": source(second)}, assistants=assistants)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def everyone(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Stage]:
    """One replica for all cases; each has an assistant of its name and path."""
    async with staged(tmp_path_factory.mktemp("cut"), _config) as stage:
        yield stage


@pytest.fixture
def stage(everyone: Stage) -> Stage:
    """The same, with every upstream well again."""
    everyone.calm()
    return everyone


@pytest.mark.parametrize("path", PATHS)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
async def test_a_cut_is_told_in_band_and_counted(stage: Stage, case: Case, path: str) -> None:
    """A typed error event is the last thing said, the connection ends, and after three cuts the tier is left alone."""
    stage.first.mood = case.mood
    assistant = f"{case.name}-{path}"
    elsewhere = stage.second.by_path[PATHS[path]]
    for _ in range(3):
        seen = await ask(stage.replica, assistant, PATHS[path], close=False, stream=True, **MORE.get(path, {}))
        assert (seen.status, seen.headers["x-homeport-tier"]) == (200, "primary")
        assert (seen.whole, seen.ended) == (True, "closed")
        error = seen.error()
        assert (error["type"], error["code"], error["request_id"]) == ("stream_broken",) * 2 + (seen.request_id,)
        assert seen.request_id in error["message"]
        assert "param" in error
        assert b"This " in seen.body
        assert b"second" not in seen.body
        assert b'"finish_reason":"stop"' not in seen.body
        story = await stage.story(seen)
        (step,) = story["steps"]
        assert (story["outcome"], story["code"]) == ("stream_broken", 200)
        assert (step["outcome"], step["detail"], step["heard"]) == (case.outcome, case.detail, "bad")
    assert stage.second.by_path[PATHS[path]] == elsewhere

    asked = stage.first.by_path[PATHS[path]]
    seen = await ask(stage.replica, assistant, PATHS[path], stream=True, **MORE.get(path, {}))
    assert seen.headers["x-homeport-tier"] == "fallback-1"
    assert seen.headers["x-homeport-reason"].startswith(f"primary=open({case.detail},retry_in=")
    assert stage.first.by_path[PATHS[path]] == asked


async def test_the_metrics_count_the_cuts(stage: Stage) -> None:
    """One attempt of each kind and one truncated answer per cut, and no attempt that served."""
    case, before = CASES[0], await stage.replica.metrics()
    stage.first.mood = case.mood
    # Of its own breaker, because the others have been tripped by now.
    seen = await ask(stage.replica, "json", stream=True)
    assert seen.error()["code"] == "stream_broken"
    await stage.story(seen)
    after = await stage.replica.metrics()
    grown = {name for name, value in after.items() if value - before.get(name, 0.0) == 1.0 and '"json"' in name}
    assert 'homeport_attempts_total{assistant="json",outcome="stream_broken",tier="primary"}' in grown
    assert 'homeport_stream_truncated_total{assistant="json",tier="primary"}' in grown
    assert not any("served" in name for name in grown)


async def test_an_error_event_is_read_by_the_clients_of_its_dialect(stage: Stage) -> None:
    """Chat's error stands under `error`; the error of Responses is also a typed event with a code of its own."""
    stage.first.mood = moods.cut_stream(2)
    seen = await ask(stage.replica, "json", "/v1/responses", stream=True)
    last = orjson.loads(events(seen.body)[-1])
    assert (last["type"], last["code"], last["error"]["request_id"]) == ("error", "stream_broken", seen.request_id)
    assert b"response.completed" not in seen.body
    seen = await ask(stage.replica, "json", stream=True)
    assert list(orjson.loads(events(seen.body)[-1])) == ["error"]


@pytest.mark.parametrize("mood", [moods.truncate(), moods.hang_mid_stream(1)], ids=lambda mood: mood.name)
async def test_a_large_json_answer_that_breaks_is_never_whole(stage: Stage, mood: Mood) -> None:
    """Over 1 MiB a JSON answer is committed before its end: a cut is the connection's, for there is no other word."""
    text = moods.large(4).text
    stage.first.mood = Mood(mood.name, at=mood.at, then=mood.then, text=text)
    seen = await ask(stage.replica, "json", "/v1/completions", prompt="Where?")
    assert (seen.status, seen.headers["x-homeport-tier"], seen.whole) == (200, "primary", False)
    assert b"second" not in seen.body
    story = await stage.story(seen)
    assert story["outcome"] == "stream_broken"
    assert story["steps"][0]["heard"] == "bad"
