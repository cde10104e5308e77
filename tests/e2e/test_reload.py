"""Reading the file again, under load and otherwise: each request is of one revision and none is harmed; what has faults
is refused whole; what did not change stays as it was, warm connections and breakers included."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest

from proxy.demo import moods
from proxy.demo.simulator import Simulator
from tests.e2e.caller import ask, chain, source, written
from tests.e2e.intent import TOKEN, Intent, intending, settings, until

_CALLERS = 24
_Answers = list[tuple[int, bool, str]]
"""Status, whether it is whole, and the request's id."""


@pytest.fixture
async def third() -> AsyncIterator[Simulator]:
    """An upstream that takes seconds for a stream."""
    async with Simulator("third") as simulator:
        simulator.mood = moods.pause(0.06)
        yield simulator


async def _one(session: aiohttp.ClientSession, url: str, assistant: str, *, stream: bool) -> tuple[int, bool, str]:
    body = {"model": "any", "messages": [{"role": "user", "content": "word " * 20}], "stream": stream}
    async with session.post(f"{url}/v1/chat/completions", json=body, headers={"X-Assistant-Id": assistant}) as answer:
        read = await answer.read()  # raises where HTTP did not end as it should
        if stream:
            whole = read.endswith(b"data: [DONE]\n\n") and b"event: error" not in read
        else:
            whole = "choices" in orjson.loads(read)
        return answer.status, whole, answer.headers["x-request-id"]


@contextlib.asynccontextmanager
async def load(intent: Intent, count: int = _CALLERS) -> AsyncIterator[_Answers]:
    """Callers who ask again as soon as they are answered: JSON and streams of `bot`, and long streams of `slow`."""
    answers: _Answers = []
    over = asyncio.Event()

    async def caller(session: aiohttp.ClientSession, place: int) -> None:
        assistant = "slow" if place % 6 == 0 else "bot"
        while not over.is_set():
            answers.append(
                await _one(session, intent.replica.api, assistant, stream=assistant == "slow" or place % 2 == 0)
            )

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:
        callers = [asyncio.ensure_future(caller(session, place)) for place in range(count)]
        try:
            yield answers
        finally:
            over.set()
            async with asyncio.timeout(60):
                await asyncio.gather(*callers)


def _version(first: Simulator, second: Simulator, third: Simulator, number: int) -> dict[str, Any]:
    """A file of which each number binds everything elsewhere."""
    primary, fallback = ("first", "second") if number % 2 else ("second", "first")
    bots = {
        "bot": chain(f"{primary}/v{number}", f"{fallback}/other"),
        "slow": chain(f"third/v{number}", f"{fallback}/other"),
    }
    return settings(first, second, third, assistants=bots)


class _ConfigMap:
    """A folder whose file is a link into one that is swapped, as Kubernetes does it."""

    def __init__(self, folder: Path) -> None:
        self._folder, self._count = folder, itertools.count(1)
        self.swap("version: 1\n")
        (folder / "homeport.yaml").symlink_to("..data/homeport.yaml")

    def swap(self, text: str) -> None:
        name = f"..version-{next(self._count)}"
        (self._folder / name).mkdir()
        (self._folder / name / "homeport.yaml").write_text(text)
        (self._folder / "..tmp").symlink_to(name)
        (self._folder / "..tmp").replace(self._folder / "..data")

    def replace(self, text: str) -> None:
        """The file itself, atomically."""
        fresh = self._folder / "..data" / "fresh"
        fresh.write_text(text)
        fresh.replace(self._folder / "..data" / "homeport.yaml")


async def test_under_load_every_way_to_reload_harms_no_request(
    tmp_path: Path, first: Simulator, second: Simulator, third: Simulator
) -> None:
    """SIGHUP, the API, an edit of the file, another in its place, a swapped link, and operators' edits between them:
    every answer is whole, and of one revision, which its record names, from its start to its end."""
    folder = _ConfigMap(tmp_path)
    admin = {"listen": "127.0.0.1:0", "token": TOKEN}
    texts = (written(**(_version(first, second, third, number) | {"admin": admin})) for number in itertools.count(2))

    async def intime(intent: Intent, change: Callable[[], object]) -> None:
        """Each is in force within two seconds, or what a busy machine makes of them."""
        revision = await intent.revision()
        change()
        await until(lambda: _other(intent, revision), 10)

    async with intending(tmp_path, _version(first, second, third, 1)) as intent:
        bindings = {await intent.revision(): await _bound(intent)}
        async with load(intent) as answers:
            await until(lambda: _many(answers, _CALLERS))

            def hang_up() -> None:
                intent.file.write_text(next(texts))
                intent.replica.process.send_signal(signal.SIGHUP)

            for change in (
                hang_up,
                lambda: intent.file.write_text(next(texts)),
                lambda: folder.replace(next(texts)),
                lambda: folder.swap(next(texts)),
            ):
                await intime(intent, change)
                bindings[await intent.revision()] = await _bound(intent)
            for _ in range(3):
                intent.file.write_text(next(texts))
                assert (await intent.reload()).status == 200
                bindings[await intent.revision()] = await _bound(intent)
                assert (await intent.bind("second/edited")).status == 200
                bindings[await intent.revision()] = await _bound(intent)
                assert (await intent.restore(1)).status == 200
                bindings[await intent.revision()] = await _bound(intent)
            count = len(answers)
            await until(lambda: _many(answers, count + _CALLERS))
        assert {(status, whole) for status, whole, _ in answers} == {(200, True)}
        ids = {request_id for _, _, request_id in answers}
        await intent.replica.until(lambda: len(lines(intent, ids)) == len(answers))
        told = lines(intent, ids)
        for line in told:
            assert (line["outcome"], line["tier"]) == ("success", "primary"), line
            assert f"{line['source']}/{line['model']}" == bindings[line["revision"]][line["assistant"]], line
        served = Counter(line["revision"] for line in told)
        assert set(served) <= set(bindings)
        assert len(served) > 5
        # Some of the long ones began by one revision and ended when another was in force.
        assert any(line["duration_ms"] > 1000 for line in told)
        assert intent.replica.process.returncode is None
    assert not [line for line in intent.replica.lines if line["event"] in ("stderr", "library", "internal_error")]


async def _other(intent: Intent, revision: str) -> bool:
    return await intent.revision() != revision


async def _many(answers: _Answers, count: int) -> bool:
    return len(answers) >= count


async def _bound(intent: Intent) -> dict[str, str]:
    """Each assistant's primary."""
    told = await intent.call("GET", "/api/assistants")
    return {each["id"]: "{source}/{model}".format(**each["primary"]) for each in told.document["assistants"]}


def lines(intent: Intent, ids: set[str]) -> list[dict[str, Any]]:
    """The log lines of these requests so far."""
    return [line for line in intent.replica.requests() if line["request_id"] in ids]


async def test_a_stream_ends_by_what_it_began_with(
    tmp_path: Path, first: Simulator, second: Simulator, third: Simulator
) -> None:
    """Though its assistant and its source are gone from the file; and then the source's connections are closed."""
    config = _version(first, second, third, 1)
    async with intending(tmp_path, config) as intent, aiohttp.ClientSession() as session:
        revision = await intent.revision()
        stream = asyncio.ensure_future(_one(session, intent.replica.api, "slow", stream=True))
        await third.until(lambda: len(third.requests) == 1)
        intent.write(**settings(first, second))
        assert (await intent.reload()).document["result"] == "ok"
        assert third.open == 1
        assert (await ask(intent.replica, "slow")).status == 404
        status, whole, request_id = await stream
        assert (status, whole) == (200, True)
        line = await intent.replica.line("request", request_id=request_id)
        assert (line["revision"], line["source"]) == (revision, "third")
        async with asyncio.timeout(10):
            await third.until(lambda: third.open == 0)


# -- faults


async def test_a_file_with_faults_is_refused_whole_and_all_of_them_are_told(
    tmp_path: Path, first: Simulator, second: Simulator
) -> None:
    """In the answer, status, log and metrics; what was in force still is, and a mended file counts."""
    config = settings(first, second)
    async with intending(tmp_path, config) as intent:
        bad = config | {"breaker": {"cooldwn": "9s"}, "assistants": {"bot": chain("first/new", "nowhere/x")}}
        intent.write(**bad)
        lines = intent.file.read_text().splitlines()
        places = [
            f"{intent.file}:{place}:" for place, line in enumerate(lines, 1) if "cooldwn" in line or "nowhere" in line
        ]
        told = await intent.reload()
        assert (told.status, told.document["result"]) == (422, "invalid")
        faults = told.document["faults"]
        assert len(faults) == 2
        assert all(fault.startswith(place) for fault, place in zip(sorted(faults), sorted(places), strict=True))
        assert {"`nowhere` does not stand under `sources`" in fault for fault in faults} == {True, False}
        assert (await intent.running.status())["configuration"]["faults"] == faults
        assert (await intent.replica.line("reload_refused"))["faults"] == faults
        assert await intent.served() == "first/big"
        assert (await intent.revisions())[0]["number"] == 1
        metrics = await intent.replica.metrics()
        assert metrics["homeport_config_last_reload_success"] == 0
        assert metrics['homeport_config_reloads_total{result="invalid"}'] >= 1
        assert (await intent.bind("second/edited")).status == 200
        assert await intent.served() == "second/edited"
        intent.write(**config)
        assert (await intent.reload()).document == {
            "result": "unchanged",
            "revision": await intent.revision(),
            "faults": [],
        }
        assert (await intent.running.status())["configuration"]["faults"] == []
        assert (await intent.replica.metrics())["homeport_config_last_reload_success"] == 1
        assert await intent.served() == "second/edited"


async def test_what_is_no_configuration_changes_nothing(tmp_path: Path, first: Simulator, second: Simulator) -> None:
    """Empty, half written, of another version, no text, or gone: by a signal, and seen in the metrics."""
    async with intending(tmp_path, settings(first, second)) as intent:
        for count, text in enumerate((b"", b"version: 1\nsources: {", b"version: 2\n", b"\xff\xfe", None), 1):
            if text is None:
                intent.file.unlink()
            else:
                intent.file.write_bytes(text)
            intent.replica.process.send_signal(signal.SIGHUP)
            await until(lambda count=count: _invalid(intent, count))  # type: ignore[misc]
            (fault, *_) = (await intent.running.status())["configuration"]["faults"]
            assert fault.startswith(str(intent.file))
            assert await intent.served() == "first/big"
            assert (await intent.replica.metrics())["homeport_config_last_reload_success"] == 0


async def _invalid(intent: Intent, count: int) -> bool:
    return (await intent.replica.metrics())['homeport_config_reloads_total{result="invalid"}'] >= count


async def test_a_file_that_an_edit_does_not_go_with_is_refused(
    tmp_path: Path, first: Simulator, second: Simulator
) -> None:
    """The edit is neither dropped nor bent; its fault says where it is."""
    config = settings(first, second)
    async with intending(tmp_path, config) as intent:
        await intent.bind("second/edited")
        intent.write(
            **settings(first, second, assistants={"bot": chain("first/a")}) | {"sources": {"first": source(first)}}
        )
        told = await intent.reload()
        assert (told.status, told.document["result"]) == (422, "invalid")
        (fault,) = told.document["faults"]
        assert fault.startswith("edits: assistants.bot.primary.source: `second` does not stand under `sources`")
        assert await intent.served() == "second/edited"


# -- what a reload takes up, and what it leaves


async def test_a_rotated_secret_takes_effect_at_a_signal(tmp_path: Path, first: Simulator, second: Simulator) -> None:
    """`${file:…}` is read again; the next request carries it, and neither of them is in the log or the status."""
    key = tmp_path / "key"
    key.write_text("key-BEFORE-1d0f\n")
    config = settings(first, second)
    config["sources"] = {"first": source(first, api_key="${file:key}"), "second": source(second)}
    async with intending(tmp_path, config) as intent:
        await intent.served()
        assert first.requests[-1].header("authorization") == "Bearer key-BEFORE-1d0f"
        revision = await intent.revision()
        key.write_text("key-AFTER-77ab\n")
        intent.replica.process.send_signal(signal.SIGHUP)
        await intent.replica.line("reload", result="ok")
        await intent.served()
        assert first.requests[-1].header("authorization") == "Bearer key-AFTER-77ab"
        assert first.connections == 1
        # No name of a configuration gives its secrets away, not even that they are others.
        assert await intent.revision() == revision
        said = orjson.dumps([await intent.running.status(), await intent.revisions()]).decode()
        said += (tmp_path / "homeport-state" / "revisions.json").read_text() + await intent.running.told()
    assert "key-BEFORE" not in said
    assert "key-AFTER" not in said


async def test_a_change_that_needs_a_restart_is_told_and_the_rest_is_taken_up(
    tmp_path: Path, first: Simulator, second: Simulator
) -> None:
    """The listeners stay where they are, and the token is the one that it started with."""
    config = settings(first, second)
    async with intending(tmp_path, config) as intent:
        more = {"listen": "127.0.0.1:1", "decisions": {"keep": 5}, "state_dir": "elsewhere"}
        admin = {"listen": "127.0.0.1:2", "token": "another-token-of-a-test"}
        intent.write(**config | more | {"admin": admin, "assistants": {"bot": chain("second/new")}})
        assert (await intent.reload()).document["result"] == "ok"
        line = await intent.replica.line("restart_needed")
        assert line["fields"] == ["listen", "admin.listen", "admin.token", "state_dir", "decisions"]
        assert await intent.served() == "second/new"
        assert (await intent.bind("first/edited")).status == 200
    assert not (tmp_path / "elsewhere").exists()
    assert "another-token" not in str(intent.replica.lines)


async def test_connections_to_unchanged_sources_stay_warm(tmp_path: Path, first: Simulator, second: Simulator) -> None:
    """Through reloads and edits one connection serves on; those of a source that goes elsewhere are closed."""
    config = settings(first, second)
    async with intending(tmp_path, config) as intent:
        for number in range(6):
            if number % 2:
                assert (await intent.bind(f"first/m{number}")).status == 200
            else:
                intent.write(**config | {"limits": {"in_flight": 100 + number}})
                assert (await intent.reload()).document["result"] == "ok"
            await intent.served()
        assert (first.connections, len(first.requests)) == (1, 6)
        moved = {"first": source(first, base_url=second.base_url), "second": source(second)}
        intent.write(**config | {"sources": moved})
        await intent.reload()
        await intent.served()
        async with asyncio.timeout(10):
            await first.until(lambda: first.open == 0)
        assert (len(first.requests), len(second.requests)) == (6, 1)


async def test_breakers_keep_what_they_know_and_new_thresholds_apply_at_once(
    tmp_path: Path, first: Simulator, second: Simulator
) -> None:
    """Failures are counted on through a reload, against the new threshold; what is open stays open through the next."""
    config = settings(first, second)

    def threshold(failures: int, **more: object) -> dict[str, object]:
        breaker = {"failure_threshold": failures, "cooldown": "1h", "cooldown_max": "1h"}
        return config | {"sources": {"first": source(first, breaker=breaker), "second": source(second)}} | more

    async with intending(tmp_path, threshold(10)) as intent:
        first.mood = moods.status(500)
        for _ in range(3):
            assert await intent.served() == "second/small"
        assert await _word(intent) == ("closed", 3, 10)
        intent.write(**threshold(4))
        await intent.reload()
        assert await _word(intent) == ("closed", 3, 4)
        assert await intent.served() == "second/small"
        assert await _word(intent) == ("open", 0, 4)
        intent.write(**threshold(4, limits={"in_flight": 100}))
        await intent.reload()
        assert await _word(intent) == ("open", 0, 4)
        first.mood = moods.WELL
        asked = len(first.requests)
        assert await intent.served() == "second/small"
        assert len(first.requests) == asked
        # Another model is another target, with a health of its own; back at the former it is what it was.
        await intent.bind("first/fresh")
        assert await intent.served() == "first/fresh"
        await intent.bind("first/big")
        assert (await _word(intent))[0] == "open"


async def _word(intent: Intent) -> tuple[str, int, int]:
    """Of the primary's breaker: its state, its failures and its threshold."""
    (tier, *_) = (await intent.shown())["tiers"]
    breaker = tier["breakers"]["chat_completions"]
    return breaker["state"], breaker["failures"], tier["failure_threshold"]


async def test_what_was_not_changed_is_not_taken_up(tmp_path: Path, first: Simulator, second: Simulator) -> None:
    """However often it is asked for: no revision, and no other answer; a comment is no change."""
    async with intending(tmp_path, settings(first, second)) as intent:
        intent.file.write_text(intent.file.read_text() + "# why\n")
        for _ in range(3):
            told = await intent.reload()
            assert told.document == {"result": "unchanged", "revision": await intent.revision(), "faults": []}
        assert len(await intent.revisions()) == 1


async def test_an_assistant_that_goes_and_comes_keeps_its_edits(
    tmp_path: Path, first: Simulator, second: Simulator
) -> None:
    """They rest while the file does not have it."""
    config = settings(first, second)
    async with intending(tmp_path, config) as intent:
        await intent.bind("second/edited")
        intent.write(**config | {"assistants": {"new": chain("first/x")}})
        await intent.reload()
        assert (await ask(intent.replica, "bot")).status == 404
        assert (await intent.call("GET", "/api/assistants/bot")).status == 404
        assert (await intent.bind("first/y")).status == 404
        assert await intent.served("new") == "first/x"
        intent.write(**config)
        await intent.reload()
        assert await intent.served() == "second/edited"
        assert [each["number"] for each in await intent.revisions()] == [4, 3, 2, 1]


async def test_operators_may_look_and_change_while_the_file_comes_and_goes(
    tmp_path: Path, first: Simulator, second: Simulator
) -> None:
    """Assistants and sources that are gone in the same moment: every answer is one that the documents name."""
    config = settings(first, second)
    one = config | {"sources": {"first": source(first)}, "assistants": {"bot": chain("first/a")}}
    async with intending(tmp_path, config) as intent:
        over = asyncio.Event()
        seen: Counter[int] = Counter()

        async def operate(call: Callable[[], Awaitable[Any]]) -> None:
            while not over.is_set():
                seen[(await call()).status] += 1

        calls: tuple[Callable[[], Awaitable[Any]], ...] = (
            lambda: intent.call("GET", "/api/assistants"),
            lambda: intent.call("GET", "/api/assistants/new"),
            lambda: intent.bind("first/edited", assistant="new"),
            lambda: intent.settle("primary", "file", "new"),
            lambda: intent.call("GET", "/api/status"),
        )
        operators = [asyncio.ensure_future(operate(call)) for call in calls]
        for number in range(24):
            if number % 2:
                intent.write(**one)
            else:
                intent.write(**config | {"assistants": {"bot": chain("first/b"), "new": chain("second/x")}})
            assert (await intent.reload()).status == 200
        over.set()
        await asyncio.gather(*operators)
    assert set(seen) <= {200, 404}, seen
    assert os.listdir(tmp_path / "homeport-state") == ["revisions.json"]


async def test_a_stop_after_a_reload_leaves_nothing_open(
    tmp_path: Path, first: Simulator, second: Simulator, third: Simulator
) -> None:
    """Neither while a stream of the former configuration goes on, nor just after it."""
    config = _version(first, second, third, 1)
    async with intending(tmp_path, config) as intent, aiohttp.ClientSession() as session:
        assert await intent.served() == "first/v1"
        stream = asyncio.ensure_future(_one(session, intent.replica.api, "slow", stream=True))
        await third.until(lambda: len(third.requests) == 1)
        for number in range(3):
            intent.write(**settings(first, second, limits={"in_flight": 100 + number}))
            assert (await intent.reload()).document["result"] == "ok"
        assert await intent.replica.stop() == 0
        assert (await stream)[:2] == (200, True)
    wrong = [line for line in intent.replica.lines if line["event"] in ("stderr", "library", "internal_error")]
    assert wrong == []
