"""The operators' API keeps to its own description, in what it gives and in what it refuses, down to what is no HTTP."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import aiohttp
import orjson
import pytest

from proxy.admin.api.calls import STATUS
from proxy.demo import moods
from proxy.demo.simulator import Simulator
from tests.e2e.caller import ask, chain
from tests.e2e.described import Described
from tests.e2e.operated import Operated, config, operated
from tests.integration.redis_server import RedisServer, running
from tests.unit.demo.raw import connect

_TOKEN = "tok-OPERATORS-9b3e-c0de"
_CANARY = "CANARY-5d1f"
_RETRIED = "req-of-a-caller"


@pytest.fixture
def redis() -> Iterator[RedisServer]:
    """A Redis of this test's own."""
    with running() as server:
        yield server


@pytest.fixture
async def operator(tmp_path: Path, first: Simulator, second: Simulator) -> AsyncIterator[Operated]:
    """A replica with a token, that shares nothing."""
    settings = config(first, second, state_dir=str(tmp_path / "state"))
    async with operated(tmp_path, settings, token=_TOKEN) as made:
        yield made


class _Caller:
    """An operator whose every answer is checked against the description."""

    def __init__(self, operator: Operated, session: aiohttp.ClientSession, described: Described) -> None:
        self._operator, self._session, self.described = operator, session, described

    async def call(
        self, method: str, path: str, json: object = None, *, names: str = "", token: str = _TOKEN, **headers: str
    ) -> tuple[int, dict[str, str], Any]:
        """Status, headers and document. `names` stands in the path's braces, with a query after it."""
        fields = {"Authorization": f"Bearer {token}"} if token else {}
        fields |= {name.replace("_", "-"): value for name, value in headers.items()}
        segment, _, query = names.partition("?")
        at = "/".join(segment if "{" in part else part for part in path.split("/"))
        url = self._operator.replica.admin + at + ("?" + query if query else "")
        async with self._session.request(method, url, json=json, headers=fields) as answer:
            body = await answer.read()
            told = {name.lower(): value for name, value in answer.headers.items()}
            self.described.check(method, path, answer.status, told, body)
            document = orjson.loads(body) if told["content-type"] == "application/json" else body
            return answer.status, told, document

    async def refused(self, code: str, method: str, path: str, json: object = None, **more: Any) -> None:
        """The call is refused with this code."""
        status, _, document = await self.call(method, path, json, **more)
        assert (status, document["error"]["code"]) == (STATUS[code], code)


async def _caller(operator: Operated, session: aiohttp.ClientSession) -> _Caller:
    headers = {"Authorization": f"Bearer {_TOKEN}"}
    async with session.get(f"{operator.replica.admin}/api/openapi.json", headers=headers) as answer:
        assert (answer.status, answer.content_type) == (200, "application/json")
        return _Caller(operator, session, Described(await answer.json()))


async def _all(operator: Operated, caller: _Caller, first: Simulator, second: Simulator) -> None:
    """Every call, with something to tell in each."""
    one, bot = "/api/assistants/{assistant}", "bot"
    first.queue += [moods.status(503)] * 3
    for _ in range(4):
        assert (await ask(operator.replica, "bot", fields=f"x-request-id: {_RETRIED}\r\n")).status == 200
    assert (await ask(operator.replica, "nobody")).status == 404
    second.queue += [moods.status(500)]
    for path in ("/metrics", "/healthz", "/readyz", "/api/openapi.json", "/api/catalog"):
        assert (await caller.call("GET", path))[0] == 200
    assert (await caller.call("GET", "/api/status"))[2]["breakers"]
    await _records(caller)
    told = (await caller.call("POST", f"{one}/explain", {"assume": {"primary": "open"}}, names=bot))[2]
    assert (told["tier"], told["would"]) == ("fallback-1", "serve")
    bad = {"edit": {"primary": {"source": "nowhere", "model": "m"}}}
    await caller.refused("configuration_invalid", "POST", f"{one}/explain", bad, names=bot)
    binding = {"source": "first", "model": "big", "assistant": "bot", "reach": True}
    assert (await caller.call("POST", "/api/bindings/test", binding))[2]["reached"]
    hand = {"source": "first", "model": "big", "action": "isolate", "for": "1m"}
    assert (await caller.call("POST", "/api/breakers", hand))[0] == 200
    await caller.refused("binding_not_found", "POST", "/api/breakers", hand | {"model": "none"})
    await _changed(caller, one, bot)
    assert (await caller.call("POST", "/api/reload"))[2]["result"] == "unchanged"
    sign_in, headers, _ = await caller.call("POST", "/api/session", {"token": _TOKEN}, token="")
    cookie = headers["set-cookie"].partition(";")[0]
    await caller.refused("csrf", "POST", "/api/breakers", hand, token="", Cookie=cookie)
    assert (await caller.call("GET", "/api/session", token="", Cookie=cookie))[2] == {"signed_in": True}
    out = await caller.call("DELETE", "/api/session", token="", Cookie=cookie, x_homeport_csrf="1")
    assert (sign_in, out[0]) == (200, 200)
    await caller.refused("origin_forbidden", "POST", "/api/session", {"token": "x"}, token="", Origin="http://else")
    for path in ("/api/status", "/api/decisions/{id}"):
        await caller.refused("unauthorized", "GET", path, names="x", token="wrong")


async def _records(caller: _Caller) -> None:
    found = (await caller.call("GET", "/api/decisions", names="?limit=2"))[2]
    assert len(found["decisions"]) == 2
    more = (await caller.call("GET", "/api/decisions", names=f"?limit=500&cursor={found['next']}"))[2]
    assert len(more["decisions"]) == 3
    again = (await caller.call("GET", "/api/decisions/{id}", names=_RETRIED))[2]
    assert len(again["also"]) == 3
    await caller.refused("decision_not_found", "GET", "/api/decisions/{id}", names="none")
    await caller.refused("invalid_request", "GET", "/api/decisions", names="?limit=0")


async def _changed(caller: _Caller, one: str, bot: str) -> None:
    assert (await caller.call("GET", "/api/assistants"))[2]["next"] is None
    _, headers, before = await caller.call("GET", one, names=bot)
    edit = {
        "fallbacks": [{"source": "second", "model": "s", "params": {"cap": {"max_tokens": 9}}, "supports": ["tools"]}],
        "chains": {"embeddings": {"primary": {"source": "second", "model": "embed"}}},
        "timeouts": {"idle": "1m"},
        "breaker": {"scope": "assistant", "cooldown": "20s"},
    }  # fmt: skip
    after = (await caller.call("PUT", one, edit, names=bot, If_Match=headers["etag"]))[2]
    assert after["revision"] > before["revision"]
    assert {each["field"] for each in after["differs"]} == set(edit)
    await caller.refused("revision_outdated", "PUT", one, edit, names=bot, If_Match='"0"')
    await caller.refused("configuration_invalid", "PUT", one, {"primary": {"source": "x"}}, names=bot, If_Match="*")
    await caller.refused("assistant_not_found", "PUT", one, edit, names="nobody", If_Match="*")
    await caller.refused("invalid_request", "PUT", one, {}, names=bot, If_Match="*")
    for choose in ("keep", "file"):
        kept = (await caller.call("POST", f"{one}/differences", {"field": "timeouts", "choose": choose}, names=bot))[2]
        assert ("timeouts" in {each["field"] for each in kept["differs"]}) is (choose == "keep")
    await caller.refused("not_found", "POST", f"{one}/differences", {"field": "x", "choose": "keep"}, names=bot)
    newest = (await caller.call("GET", "/api/revisions", names="?limit=1"))[2]
    assert newest["next"] == newest["number"]
    restored = (await caller.call("POST", "/api/revisions/{number}/restore", names="1"))[2]
    assert restored["number"] == newest["number"] + 1
    await caller.refused("not_found", "POST", "/api/revisions/{number}/restore", names="99")


async def test_every_answer_is_as_described(operator: Operated, first: Simulator, second: Simulator) -> None:
    """Every call gives what its description says, member by member; and so with each refusal that is met on the way."""
    async with aiohttp.ClientSession() as session:
        caller = await _caller(operator, session)
        await _all(operator, caller, first, second)
        given = {(method, path) for method, path, status, _ in caller.described.met if status == 200}
        assert caller.described.calls() - given == {("GET", "/api/events")}


async def test_every_answer_is_as_described_with_a_shared_store(
    tmp_path: Path, redis: RedisServer, first: Simulator, second: Simulator
) -> None:
    """Likewise where a Redis is shared; and while it is away, what needs it is refused as described."""
    settings = config(first, second, store=f"redis://127.0.0.1:{redis.port}/0", state_dir=str(tmp_path / "state"))
    async with operated(tmp_path, settings, token=_TOKEN) as operator, aiohttp.ClientSession() as session:
        await operator.until(up=True)
        caller = await _caller(operator, session)
        await _all(operator, caller, first, second)
        redis.pause()
        await operator.until(up=False)
        hand = {"source": "first", "model": "big", "action": "reset"}
        one = "/api/assistants/{assistant}"
        await caller.refused("store_away", "POST", "/api/breakers", hand)
        await caller.refused("store_away", "PUT", one, {"primary": None}, names="bot", If_Match="*")
        assert (await caller.call("GET", "/api/decisions"))[2]["complete"] is False
        for path in ("/api/status", "/api/assistants", "/api/revisions", "/api/catalog"):
            assert (await caller.call("GET", path))[0] == 200
        redis.resume()


async def test_lists_are_read_page_by_page(tmp_path: Path, first: Simulator, second: Simulator) -> None:
    """Each entry once and in order, whatever the size of a page; a place that was never given is refused."""
    names = [f"bot-{number}" for number in range(7)]
    settings = config(first, second, assistants={name: chain("first/big", "second/small") for name in names})
    settings["state_dir"] = str(tmp_path / "state")
    async with operated(tmp_path, settings, token=_TOKEN) as operator, aiohttp.ClientSession() as session:
        caller = await _caller(operator, session)
        for limit in (1, 3, 7, 200):
            found, after = [], ""
            while True:
                page = (await caller.call("GET", "/api/assistants", names=f"?limit={limit}{after}"))[2]
                found += [each["id"] for each in page["assistants"]]
                if page["next"] is None:
                    break
                after = f"&after={page['next']}"
            assert found == names
        await caller.refused("invalid_request", "GET", "/api/assistants", names="?after=nobody")
        for name in names[:4]:
            edit = {"timeouts": {"idle": "1m"}}
            await caller.call("PUT", "/api/assistants/{assistant}", edit, names=name, If_Match="*")
        numbers, before = [], ""
        while True:
            page = (await caller.call("GET", "/api/revisions", names=f"?limit=2{before}"))[2]
            numbers += [each["number"] for each in page["revisions"]]
            if page["next"] is None:
                break
            before = f"&before={page['next']}"
        assert numbers == [5, 4, 3, 2, 1]


async def test_an_answer_stays_bounded(operator: Operated) -> None:
    """However large edits are and however many, revisions come in pages of about a MiB."""
    large = [{"source": "second", "model": "m", "params": {"set": {"user": "x" * 50_000}}}]
    async with aiohttp.ClientSession() as session:
        caller = await _caller(operator, session)
        for number in range(30):
            large[0]["model"] = f"m-{number}"
            edit = {"fallbacks": large}
            assert (await caller.call("PUT", "/api/assistants/{assistant}", edit, names="bot", If_Match="*"))[0] == 200
        numbers, query = [], ""
        while True:
            page = (await caller.call("GET", "/api/revisions", names=query))[2]
            assert len(orjson.dumps(page)) < 1_500_000
            numbers += [each["number"] for each in page["revisions"]]
            if page["next"] is None:
                break
            query = f"?before={page['next']}"
        assert numbers == list(range(31, 0, -1))


# -- what is no call


def _head(line: str, *fields: str) -> bytes:
    return "\r\n".join([line, "Host: x", *fields, "", ""]).encode("latin-1")


_AUTH = f"Authorization: Bearer {_TOKEN}"
_COOKIE = "homeport-session=\xff"
_POST = "POST /api/breakers HTTP/1.1"
_DEEP = b'{"fallbacks": [{"source": "second", "model": "m", "params": {"set": {"x": %b1%b}}}]}' % (
    b"[" * 198,
    b"]" * 198,
)
_BOMB = gzip.compress(b"[" * 50_000_000)
_WRONG: dict[str, tuple[int, str, bytes]] = {
    "an unknown path": (404, "not_found", _head(f"GET /api/{_CANARY} HTTP/1.1")),
    "a path beside": (404, "not_found", _head(f"GET /api/status/{_CANARY} HTTP/1.1")),
    "no name": (404, "not_found", _head("GET /api/assistants/ HTTP/1.1", _AUTH)),
    "a path that is no UTF-8": (404, "not_found", _head(f"GET /{_CANARY}%ff%fe HTTP/1.1")),
    "an asterisk": (404, "not_found", _head("OPTIONS * HTTP/1.1")),
    "another method": (405, "method_not_allowed", _head(f"PATCH /api/status?{_CANARY} HTTP/1.1")),
    "a method of caches": (405, "method_not_allowed", _head("PURGE /api/status HTTP/1.1")),
    "HEAD of a call that has no GET": (405, "method_not_allowed", _head("HEAD /api/reload HTTP/1.1")),
    "a head that is too large": (431, "request_headers_too_large", _head("GET / HTTP/1.1", "X: " + _CANARY * 9000)),
    "a path that is too long": (431, "request_headers_too_large", _head(f"GET /{_CANARY * 9000} HTTP/1.1")),
    "no HTTP": (400, "malformed_request", f"{_CANARY}\r\n\r\n".encode()),
    "a space before the colon": (400, "malformed_request", _head("GET / HTTP/1.1", f"Authorization : {_CANARY}")),
    "two lengths": (
        400,
        "malformed_request",
        _head(_POST, _AUTH, "Content-Length: 1", "Content-Length: 2") + _CANARY.encode(),
    ),
    "chunks that are none": (
        400,
        "malformed_request",
        _head(_POST, _AUTH, "Transfer-Encoding: chunked") + f"{_CANARY}\r\n".encode(),
    ),
    "a coding that is none": (
        400,
        "malformed_request",
        _head(_POST, _AUTH, "Content-Encoding: gzip", f"Content-Length: {len(_CANARY)}") + _CANARY.encode(),
    ),
    "a body that is too large": (413, "request_too_large", _head(_POST, _AUTH, "Content-Length: 99999999")),
    "a body that grows": (
        413,
        "request_too_large",
        _head(_POST, _AUTH, f"Content-Length: {len(_BOMB)}", "Content-Encoding: gzip") + _BOMB,
    ),
    "no UTF-8": (400, "invalid_request", _head(_POST, _AUTH, "Content-Length: 4") + b'"\xff\xfe"'),
    "a depth that could be read": (
        400,
        "invalid_request",
        _head("PUT /api/assistants/bot HTTP/1.1", _AUTH, "If-Match: *", f"Content-Length: {len(_DEEP)}") + _DEEP,
    ),
    "a depth": (400, "invalid_request", _head(_POST, _AUTH, "Content-Length: 9000") + b"[" * 9000),
    "another scheme": (401, "unauthorized", _head("GET /api/status HTTP/1.1", f"Authorization: Basic {_CANARY}")),
    "a token that is none": (401, "unauthorized", _head("GET /api/status HTTP/1.1", "Authorization: Bearer  ")),
    "no token": (401, "unauthorized", _head(f"GET /api/decisions/{_CANARY} HTTP/1.1")),
    "a token that is no UTF-8": (401, "unauthorized", _head("GET /api/status HTTP/1.1", "Authorization: Bearer \xff")),
    "a cookie that is none": (401, "unauthorized", _head("GET /api/status HTTP/1.1", f"Cookie: {_COOKIE}{_CANARY}")),
    "an expectation": (401, "unauthorized", _head("GET /api/status HTTP/1.1", f"Expect: {_CANARY}")),
}  # fmt: skip


async def test_what_is_no_call_is_refused_in_the_same_shape(operator: Operated) -> None:
    """A typed error, whatever came; nothing of it is repeated or logged, and the listener names no software."""
    for what, (status, code, sent) in _WRONG.items():
        async with connect(operator.replica.admin) as line:
            line.send(sent)
            got, headers = await line.head()
            body = b"" if sent.startswith(b"HEAD") else await line.exactly(int(headers["content-length"]))
        assert (got, headers["content-type"], headers["server"]) == (status, "application/json", "homeport"), what
        assert (headers.get("allow") is not None) is (status == 405), what
        assert headers.get("connection") == "close" or status != 413, what
        if body:
            error = orjson.loads(body)["error"]
            assert (error["code"], error["type"], error["param"]) == (code, code, None), what
            assert _CANARY.encode() not in body, what
    told = await operator.told()
    assert _CANARY not in told
    assert _TOKEN not in told
    events = {line["event"] for line in operator.replica.lines}
    assert events == {"ready", "draining", "stopped", "ended"}, operator.replica.lines


async def test_the_next_request_is_not_taken_from_a_body(operator: Operated) -> None:
    """A body that nobody reads ends its connection: what it holds is never answered as a request."""
    inner = _head("GET /healthz HTTP/1.1")
    sent = _head("GET /api/none HTTP/1.1", f"Content-Length: {len(inner) + 1}") + inner
    async with connect(operator.replica.admin) as line:
        line.send(sent)
        assert (await line.head())[0] == 404
        line.send(b"x" + inner)
        rest, _ = await line.rest()
    assert b"HTTP/1.1 200" not in rest


async def test_a_get_has_its_head(operator: Operated) -> None:
    """HEAD is answered as GET without its body, save for the stream that has no end."""
    headers = {"Authorization": f"Bearer {_TOKEN}"}
    async with aiohttp.ClientSession(headers=headers) as session:
        for path, status in (("/healthz", 200), ("/api/status", 200), ("/api/events", 405), ("/api/none", 404)):
            async with session.head(operator.replica.admin + path) as answer:
                assert (answer.status, await answer.read()) == (status, b"")


async def test_events_are_as_described(operator: Operated, first: Simulator) -> None:
    """Each kind of event is a document of its own shape, under an id to go on from."""
    shapes = {"decision": "DecisionRecord", "breaker": "BreakerEvent", "config": "ConfigEvent"}
    headers = {"Authorization": f"Bearer {_TOKEN}"}
    async with aiohttp.ClientSession(headers=headers) as session, asyncio.timeout(20):
        caller = await _caller(operator, session)
        async with session.get(f"{operator.replica.admin}/api/events") as answer:
            assert await answer.content.readline() == b": following\n"
            first.queue += [moods.status(503)] * 3
            for _ in range(3):
                await ask(operator.replica, "bot")
            await caller.call("PUT", "/api/assistants/{assistant}", {"primary": None}, names="bot", If_Match="*")
            kinds: set[str] = set()
            while kinds != set(shapes):
                fields: dict[str, str] = {}
                while (line := (await answer.content.readline()).decode().rstrip()) or not fields:
                    name, _, value = line.partition(": ")
                    fields[name] = value
                if "event" in fields:
                    assert fields["id"].startswith("ring-")
                    shape = {"$ref": f"#/components/schemas/{shapes[fields['event']]}"}
                    caller.described.validator(shape).validate(orjson.loads(fields["data"]))
                    kinds.add(fields["event"])


async def _first_of(session: aiohttp.ClientSession, url: str) -> list[bytes]:
    """The first lines for a reader who was nowhere, once there is room for it."""
    async with asyncio.timeout(20):
        while True:
            async with session.get(url, headers={"Last-Event-ID": "none"}) as answer:
                if answer.status == 200:
                    return [await answer.content.readline() for _ in range(4)]
            await asyncio.sleep(0.1)


async def test_readers_of_events_come_and_go(operator: Operated, first: Simulator) -> None:
    """A place to read from that is none is a gap; readers that have left make room for others within seconds."""
    headers = {"Authorization": f"Bearer {_TOKEN}"}
    url = f"{operator.replica.admin}/api/events"
    async with aiohttp.ClientSession(headers=headers) as session:
        described = (await _caller(operator, session)).described
        gap = described.validator({"$ref": "#/components/schemas/Gap"})
        for place in ("x", "ring-x-1", "0-0.0", "\x80", "9" * 5000):
            for more in ({"headers": {"Last-Event-ID": place}}, {"params": {"after": place[:200]}}):
                async with session.get(url, **more) as answer:  # type: ignore[arg-type]  # one or the other
                    assert (answer.status, answer.content_type) == (200, "text/event-stream")
                    assert answer.headers["server"] == "homeport"
                    assert await answer.content.readline() == b": following\n"
        async with asyncio.timeout(20):
            while True:
                readers = [await session.get(url) for _ in range(32)]
                full = [each.status for each in readers] == [200] * 32
                async with session.get(url) as another:
                    assert another.status == 503 or not full
                for each in readers:
                    each.close()
                if full:
                    break
                await asyncio.sleep(0.2)
        said = await _first_of(session, url)
        assert said[2] == b"event: gap\n"
        gap.validate(orjson.loads(said[3].removeprefix(b"data: ")))
