"""A record for every request, however it ended: whole, told alike everywhere, and with nobody's words or keys in it."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import signal
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any, Literal

import aiohttp
import orjson
import pytest

from proxy.demo import moods
from proxy.demo.answers import Fault, whole
from proxy.demo.moods import Mood, Then
from proxy.demo.simulator import Simulator
from tests.e2e.caller import CHAT, chain, source
from tests.e2e.inquiry import PATIENCE, TOKEN, Operator, Record, operators
from tests.e2e.operated import config
from tests.integration.redis_server import RedisServer, running
from tests.unit.demo.raw import Raw, connect

_API_KEY, _CLIENT_KEY = "sk-UPSTREAMKEY-91fe", "ck-CLIENTKEY-5d02"
_PASSWORD, _COOKIE = "pw-REDISPASSWORD-77aa", "cookie-PRIVATE-e1e1"
_PROMPT, _ANSWER, _FAULT = "prompt-PRIVATETEXT-0c4d", "answer-PRIVATETEXT-b3b3", "fault-PRIVATETEXT-6e2f"
_WORDS = f"{_ANSWER} is what it says."
_SECRETS = (_API_KEY, _CLIENT_KEY, _PASSWORD, _COOKIE, _PROMPT, _ANSWER, _FAULT, TOKEN)
_DIGEST = hashlib.sha256(_CLIENT_KEY.encode()).hexdigest()

_RECORD = {
    "request_id", "caller_request_id", "at", "replica", "revision", "client", "assistant", "identified_by", "endpoint",
    "stream", "outcome", "code", "refusal", "tier", "source", "model", "served_model", "reason", "duration_ms",
    "first_byte_ms", "overhead_ms", "body_in", "body_out", "usage", "steps", "story",
}  # fmt: skip
_STEP = {"tier", "source", "model", "verdict", "breaker"}
_SKIPPED = _STEP | {"reason", "missing", "uncarried", "at_ms"}
_TRIED = _STEP | {
    "outcome", "detail", "heard", "status", "started_ms", "connected_ms", "first_byte_ms", "first_token_ms", "ended_ms",
    "reused", "retried", "billed", "probe", "upstream_request_id", "retry_after_s", "dropped",
}  # fmt: skip
_BREAKER = {"state", "reason", "since", "until", "tripped_by", "failures", "local"}
_NAMED = ("served", "fell", "spared", "fault", "dead", "waits", "left", "cut", "held")
_OVERLOADED = moods.status(503, Fault(_FAULT, "server_error", "server_is_overloaded"))


@pytest.fixture(params=["memory", "shared"])
def redis(request: pytest.FixtureRequest) -> Any:
    """None, or a Redis of this test's own that asks for a password and packs nothing."""
    if request.param == "memory":
        yield None
        return
    with running("--rdbcompression", "no", "--stream-node-max-bytes", "0") as server:
        server.command("CONFIG", "SET", "requirepass", _PASSWORD)
        server.password = _PASSWORD
        yield server


def _settings(first: Simulator, second: Simulator) -> dict[str, object]:
    assistants: dict[str, object] = {name: chain(f"first/{name}", f"second/{name}") for name in _NAMED}
    assistants["cut"] = chain("first/cut", "second/cut", timeouts={"hold": "5s"})
    assistants["held"] = chain("first/held", "second/held", timeouts={"hold": "100ms", "first_byte": "400ms"})
    assistants["alone"] = chain("first/alone")
    assistants["empty"] = {"primary": None}
    return config(first, second) | {
        "clients": [{"id": "web", "key_sha256": _DIGEST}],
        "sources": {"first": source(first, api_key=_API_KEY), "second": source(second)},
        "assistants": assistants,
        "limits": {"body": "64KiB", "drain": "1s"},
    }


class Caller:
    """Asks one replica in every way, and keeps the id of each request and the code that came."""

    def __init__(self, operator: Operator) -> None:
        self._at = operator
        self.ids: list[str] = []
        self.before = 0

    @contextlib.asynccontextmanager
    async def begun(
        self, assistant: str, path: str = CHAT, *, key: str = _CLIENT_KEY, method: str = "POST", **more: object
    ) -> AsyncIterator[Raw]:
        """A request on its way, on a connection of its own that is left in the end."""
        body = orjson.dumps({"model": "m", "messages": [{"role": "user", "content": _PROMPT}], "user": _PROMPT} | more)
        fields = {
            "Host": "x",
            "X-Assistant-Id": assistant,
            "Authorization": f"Bearer {key}",
            "Cookie": f"session={_COOKIE}",
            "X-Request-Id": f"theirs-{assistant}",
            "Connection": "close",
            "Content-Length": str(len(body)),
        }
        head = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
        async with connect(self._at.replica.api) as raw:
            raw.send(f"{method} {path}?api_key={_CLIENT_KEY} HTTP/1.1\r\n{head}\r\n".encode() + body)
            yield raw

    async def head(self, raw: Raw) -> tuple[int, str]:
        """The code that came, and the request's id, which is kept."""
        status, headers = await raw.head()
        self.ids.append(headers["x-request-id"])
        return status, self.ids[-1]

    async def ask(self, assistant: str, path: str = CHAT, **more: Any) -> tuple[int, str]:
        """One request to its end."""
        async with self.begun(assistant, path, **more) as raw:
            said = await self.head(raw)
            await raw.rest()
        return said

    async def send(self, data: bytes) -> tuple[int, str]:
        """Bytes, whatever they are."""
        async with connect(self._at.replica.api) as raw:
            raw.send(data)
            return await self.head(raw)


async def _every_way(caller: Caller, at: Operator, first: Simulator, second: Simulator) -> dict[str, Record]:
    """One request for each way to end; what its record must say, by its id."""
    said: dict[str, Record] = {}
    first.mood = second.mood = Mood(text=_WORDS)

    def ends(came: tuple[int, str], outcome: str, refusal: str | None = None, **more: object) -> None:
        code, request_id = came
        said[request_id] = {"outcome": outcome, "code": code, "refusal": refusal, **more}

    known = {"assistant": "served", "identified_by": "header", "client": "web", "caller_request_id": "theirs-served"}
    ends(await caller.ask("served"), "success", tier="primary", source="first", model="served", reason=None, **known)
    ends(await caller.ask("served", stream=True), "success", tier="primary", stream=True, endpoint="chat_completions")
    for _ in range(3):
        first.queue.append(_OVERLOADED)
        ends(await caller.ask("spared"), "fallback_success", tier="fallback-1", served_model="spared")
    ends(await caller.ask("spared"), "fallback_success", tier="fallback-1")
    first.queue.append(moods.status(400, Fault(_FAULT, code="invalid_value")))
    ends(await caller.ask("fault"), "client_error", tier=None)
    for _ in range(2):
        first.queue.append(_OVERLOADED)
        second.queue.append(moods.status(500))
        ends(await caller.ask("dead", stream=True), "exhausted", "all_tiers_failed", tier=None, stream=True)
    first.queue.append(_OVERLOADED)
    ends(await caller.ask("alone"), "exhausted", None, tier=None)
    first.queue.append(replace(moods.cut_stream(2, then=Then.RESET), text=_WORDS))
    ends(await caller.ask("cut", stream=True), "stream_broken", tier="primary")
    first.queue.append(moods.hang())
    second.queue.append(_OVERLOADED)
    ends(await caller.ask("held", stream=True), "exhausted", "all_tiers_failed", tier=None)
    first.queue.append(replace(moods.hang_mid_stream(2), text=_WORDS))
    async with caller.begun("left", stream=True) as raw:
        ends(await caller.head(raw), "cancelled", tier="primary")
        await raw.until(_ANSWER.encode())
    ends(await caller.ask("empty"), "rejected", "assistant_unbound")
    ends(await caller.ask("nobody"), "rejected", "assistant_not_found", assistant=None)
    ends(await caller.ask("served", key="wrong"), "rejected", "invalid_api_key", client=None)
    ends(await caller.ask("served", "/v1/files"), "rejected", "endpoint_not_enabled", endpoint="other")
    ends(await caller.ask("served", "/v1/embeddings"), "rejected", "endpoint_not_enabled", endpoint="embeddings")
    ends(await caller.ask("served", method="PUT"), "rejected", "method_not_allowed")
    ends(await caller.ask("served", padding="x" * 70_000), "rejected", "request_too_large")
    ends(await caller.ask("served", "/v1/responses", previous_response_id="r"), "rejected", "stateful_request")
    ends(await caller.ask("served", "/v1/models", method="GET"), "success", endpoint="other", tier=None)
    ends(await caller.send(f"{_PROMPT}\r\n\r\n".encode()), "rejected", "malformed_request")
    large = f"GET /v1/models HTTP/1.1\r\nHost: x\r\nX-Large: {_PROMPT}{'x' * 70_000}\r\n\r\n"
    ends(await caller.send(large.encode()), "rejected", "request_headers_too_large")
    return said


def _check(told: Record) -> None:
    """Every field of docs/api.md is there, and each step has the form of its verdict."""
    assert set(told) - {"also"} == _RECORD
    for step in told["steps"]:
        assert set(step) == (_SKIPPED if step["verdict"] == "skipped" else _TRIED)
        assert step["verdict"] in ("skipped", "attempted", "served")
        assert set(step["breaker"]) == _BREAKER
    assert len(told["story"]) == 2 + len(told["steps"])
    if told["reason"] is not None:
        assert told["reason"].startswith("primary=")


async def _left(at: Operator, known: set[str], first: Simulator, begun: Caller) -> str:
    """A caller leaves before it was answered; the id by which it is found all the same."""
    first.queue.append(moods.hang())
    async with begun.begun("waits"):
        await first.until(lambda: len(first.queue) == 0)
    await first.until(lambda: first.aborted > 1)
    async with asyncio.timeout(PATIENCE):
        while not (found := (await at.search(outcome="cancelled", assistant="waits"))["decisions"]):  # noqa: ASYNC110
            await asyncio.sleep(0.05)
    (record,) = found
    assert record["request_id"] not in known
    assert (record["code"], record["tier"], record["steps"][0]["outcome"]) == (499, None, "cancelled")
    return str(record["request_id"])


def _silent(text: str) -> None:
    for secret in (*_SECRETS, _DIGEST):
        assert secret not in text, secret


async def test_however_a_request_ends_there_is_a_record_of_it(
    tmp_path: Path, redis: RedisServer | None, first: Simulator, second: Simulator
) -> None:
    """Served, fallen back, refused, cut, left, no HTTP at all: one record each, at every replica, told like log and
    metrics tell it, down to those that a drain cuts; no word of a caller or an upstream and no key is in them."""
    count = 1 if redis is None else 2
    async with operators(tmp_path, _settings(first, second), count, redis) as everyone:
        at, other = everyone[0], everyone[-1]
        async with other.listening() as listener:
            caller = Caller(at)
            said = await _every_way(caller, at, first, second)
            said[await _left(at, set(said), first, caller)] = {"outcome": "cancelled", "refusal": None}
            for request_id, facts in said.items():
                (record,) = await other.known(request_id)
                _check(record)
                assert {name: record[name] for name in facts} == facts
            page = await other.search(limit=500)
            assert sorted(each["request_id"] for each in page["decisions"]) == sorted(said)
            assert (page["complete"], page["next"]) == (True, None)
            await listener.heard(*said)
            assert sorted(listener.requests()) == sorted(said)

            spared = (await other.search(assistant="spared"))["decisions"]
            step = spared[0]["steps"][0]
            assert (step["verdict"], step["reason"], step["breaker"]["state"]) == ("skipped", "open", "open")
            assert step["breaker"]["tripped_by"] == [each["request_id"] for each in reversed(spared[1:])]
            assert f"tripped by {step['breaker']['tripped_by'][0]}" in spared[0]["story"][1]
            tried = spared[1]["steps"]
            assert [each["verdict"] for each in tried] == ["attempted", "served"]
            assert (tried[0]["status"], tried[0]["detail"], tried[0]["heard"]) == (503, "server_is_overloaded", "bad")
            assert (
                0 <= tried[0]["started_ms"] <= tried[0]["ended_ms"] <= tried[1]["ended_ms"] <= spared[1]["duration_ms"]
            )
            (served,) = (await other.search(assistant="served", outcome="success", limit=2))["decisions"][1:]
            assert served["usage"]["input"] > 0
            assert served["steps"][0]["upstream_request_id"]
            _silent(orjson.dumps([page, [each.data for each in listener.events]]).decode())

        await at.replica.until(lambda: len(at.replica.requests()) == len(said))
        for line in at.replica.requests():
            facts = said[line["request_id"]]
            assert (line["outcome"], line.get("refusal")) == (facts["outcome"], facts["refusal"])
        samples = await at.replica.metrics()
        counted = sum(value for name, value in samples.items() if name.startswith("homeport_requests_total{"))
        assert counted == len(said)

        await _drained(at, other, caller, first)
        if redis is not None:
            await _kept_in(redis, list(said))


async def _drained(at: Operator, other: Operator, caller: Caller, first: Simulator) -> None:
    """What a drain refuses and what its limit cuts has a record too, that outlives the replica where it is shared."""
    first.queue.append(replace(moods.hang_mid_stream(2), text=_WORDS))
    shared = at is not other
    async with caller.begun("served", stream=True) as raw:
        cut = await caller.head(raw)
        at.replica.process.send_signal(signal.SIGTERM)
        await at.replica.line("draining")
        refused = await caller.ask("served")
        assert refused[0] == 503
        (record,) = await other.known(refused[1])
        assert (record["outcome"], record["refusal"], record["steps"]) == ("rejected", "draining", [])
        _check(record)
        await raw.rest()
    assert await at.replica.stop() == 0
    if shared:
        (record,) = await other.known(cut[1])
        assert (record["outcome"], record["code"], record["tier"]) == ("stream_broken", 200, "primary")
        _check(record)


async def _kept_in(redis: RedisServer, request_ids: list[str]) -> None:
    """Everything that is kept in Redis, as it lies there."""
    lies = b"".join(redis.command("DUMP", key) or b"" for key in redis.command("KEYS", "*"))
    for request_id in request_ids:
        assert request_id.encode() in lies
    for secret in (*_SECRETS, _DIGEST):
        assert secret.encode() not in lies, secret


async def test_whatever_the_other_side_says_is_recorded_and_harms_nobody(
    tmp_path: Path, first: Simulator, second: Simulator
) -> None:
    """Ids that are no text, half a letter in a model's name, counts that no counter can take: the caller is served, the
    record is there, and the log goes on."""
    odd = b'{"model":"big\\ud800","choices":[{"index":0,"message":{"role":"assistant","content":"x"}}],"usage":%s}'
    counts = (b'{"prompt_tokens":-5}', b'{"prompt_tokens":1%s}' % (b"0" * 400), b'{"prompt_tokens":3}')
    async with operators(tmp_path, config(first, second)) as (at,):
        ids = []
        for usage in counts:
            first.queue.append(Mood("odd", instead=whole(200, odd % usage)))
            async with connect(at.replica.api) as raw:
                raw.ask(fields="X-Assistant-Id: bot\r\nConnection: close\r\n")
                status, headers = await raw.head()
                assert (status, headers["x-homeport-tier"]) == (200, "primary")
                ids.append(headers["x-request-id"])
        async with connect(at.replica.api) as raw:
            raw.send(b"GET /v1/models HTTP/1.1\r\nHost: x\r\nX-Request-Id: caf\xe9\r\nConnection: close\r\n\r\n")
            status, headers = await raw.head()
            assert status == 200
            ids.append(headers["x-request-id"])
        records = await at.known(*ids)
        assert [each["served_model"] for each in records] == ["big?"] * 3 + [None]
        assert records[2]["usage"]["input"] == 3
        assert records[3]["caller_request_id"] == "caf?"
        await at.replica.until(lambda: {line["request_id"] for line in at.replica.requests()} == set(ids))
        assert {line["event"] for line in at.replica.lines} <= {"ready", "request"}


@pytest.mark.parametrize("kind", ["keep", "age", "none"])
async def test_records_are_kept_as_many_and_as_long_as_is_configured(
    tmp_path: Path, first: Simulator, second: Simulator, kind: Literal["keep", "age", "none"]
) -> None:
    """The newest `keep` of them, for `age`; with `keep: 0` there are none, and requests are served all the same."""
    bounds = {"keep": {"keep": 5}, "age": {"age": "1s"}, "none": {"keep": 0}}[kind]
    async with operators(tmp_path, config(first, second, decisions=bounds)) as (at,):
        ids = [await at.get() for _ in range(12)]
        served = [await at.get(CHAT, "bot") for _ in range(2)]
        ids += served
        page = await at.search()
        status = (await at.of.status())["journal"]
        found = [each["request_id"] for each in page["decisions"]]
        assert (page["complete"], page["why"], page["next"]) == (True, None, None)
        match kind:
            case "keep":
                assert found == ids[:-6:-1]
                assert (status["keep"], status["held"]) == (5, 5)
                assert (await at.call(f"/api/decisions/{ids[0]}"))[0] == 404
            case "age":
                assert found == ids[::-1]
                assert status["age_seconds"] == 1.0
                await at.journal(lambda told: told["held"] == 0)
                assert (await at.search())["decisions"] == []
                assert (await at.call(f"/api/decisions/{ids[-1]}"))[0] == 404
            case "none":
                assert found == []
                assert (status["keep"], status["held"], status["dropped"]) == (0, 0, {})
                code, told = await at.call(f"/api/decisions/{ids[-1]}")
                assert (code, told["error"]["code"]) == (404, "decision_not_found")
                assert "decisions.keep" in told["error"]["message"]
                async with at.listening() as listener:
                    assert listener.events == []
        assert status["pending"] == 0


async def test_records_are_for_operators_alone(tmp_path: Path, first: Simulator, second: Simulator) -> None:
    """Without the token every call is 401, and the callers' listener has none of them."""
    async with operators(tmp_path, config(first, second)) as (at,), aiohttp.ClientSession() as session:
        request_id = await at.get()
        for path in ("decisions", f"decisions/{request_id}", "events", "assistants/bot/explain"):
            for base, code in ((at.replica.admin, 401), (at.replica.api, 404)):
                method = "POST" if path.endswith("explain") else "GET"
                async with session.request(method, f"{base}/api/{path}") as answer:
                    assert answer.status == code, path
                    assert '"story"' not in await answer.text()
