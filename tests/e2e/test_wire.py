"""What goes over the wire to the upstream and back: bodies, queries, header fields, framing, and HTTP that is none."""

from __future__ import annotations

import asyncio
import gzip
from contextlib import AsyncExitStack
from dataclasses import dataclass, replace
from urllib.parse import urlsplit

import orjson

from proxy.demo import moods
from proxy.demo.simulator import Simulator
from proxy.terms import Headers
from tests.e2e.conftest import Bot, Start
from tests.e2e.replica import Replica
from tests.unit.demo.raw import Raw, connect, unchunk

CHAT = "/v1/chat/completions"
BOT = "X-Assistant-Id: bot\r\n"
ASKED = b'{"model":"big","messages":[{"role":"user","content":"Where?"}]}'
STREAMED = ASKED[:-1] + b',"stream":true}'
MIB = 1024 * 1024
ALWAYS = {"x-request-id", *(f"x-homeport-{each}" for each in ("assistant", "tier", "source", "model", "attempts"))}
"""Header fields of every answer."""


@dataclass(frozen=True, slots=True)
class Answered:
    """One answer, with its fields in the order in which they came."""

    status: int
    fields: Headers
    body: bytes

    def all(self, name: str) -> list[str]:
        """The values of a field, by its lower-case name."""
        return [value for each, value in self.fields if each.lower() == name]

    @property
    def code(self) -> object:
        """The code of a typed error; its four keys are all there."""
        error = orjson.loads(self.body)["error"]
        assert error.keys() >= {"message", "type", "param", "code"}
        return error["code"]


def post(body: bytes = ASKED, fields: str = BOT, path: str = CHAT, *, version: str = "1.1") -> bytes:
    """A request, as it goes over the wire."""
    head = f"POST {path} HTTP/{version}\r\nHost: x\r\n{fields}Content-Length: {len(body)}\r\n\r\n"
    return head.encode() + body


async def read(raw: Raw, *, bodiless: bool = False) -> Answered:
    """The next answer on a connection that goes on after it. `bodiless`: HEAD was asked."""
    first, *lines = (await raw.until(b"\r\n\r\n")).decode("latin-1").removesuffix("\r\n\r\n").split("\r\n")
    fields = [line.split(": ", 1) for line in lines]
    named = {name.lower(): value for name, value in fields}
    if bodiless:
        body = b""
    elif named.get("transfer-encoding") == "chunked":
        body, whole = unchunk(await raw.until(b"\r\n0\r\n\r\n"))
        assert whole
    else:
        body = await raw.exactly(int(named["content-length"]))
    return Answered(int(first.split(" ")[1]), tuple((name, value) for name, value in fields), body)


async def ask(replica: Replica, request: bytes) -> Answered:
    """One request on a connection of its own."""
    async with connect(replica.api) as raw:
        raw.send(request)
        return await read(raw, bodiless=request.startswith(b"HEAD"))


# -- the request's bytes

_ODD = (
    b'{ "messages" : [ {"role":"user","content":"h\\u00e9 \xc3\xa9 \\/ \\ud83d\\ude00"} ] ,\n\t"model"  :  "x"}',
    b'{"model":"x","model" : "y","messages":[],"a":1,"a":2}',
    b'{"mod\\u0065l":"x","messages":[{"role":"user","content":"\\"model\\":\\"x\\""}]}',
    b'{"tools":[{"model":"x"}],"metadata":{"model":"x","deep":[{"model":null}]},"model":"x","z":{},"y":[]}',
    b'{"zeta":1,"alpha":2,"model":null,"messages":[],"mid":3}',
    b'{"model":"x","seed":123456789012345678901234567890,"t":-0.0,"p":1E+2,"q":0.1000,"r":1e400,"s":-1e-999}',
    b'\r\n{"messages":[],"model":"x"}\n ',
    b'{"model":"x","messages":[{"role":"user","content":"cut in half \\ud83d"}]}',
)
"""As callers send them; what is to reach the upstream differs in the values of top-level models alone."""
_RENDERED = (
    _ODD[0].replace(b'"x"', b'"big"'),
    _ODD[1].replace(b'"x"', b'"big"').replace(b'"y"', b'"big"'),
    _ODD[2].replace(b':"x",', b':"big",', 1),
    _ODD[3].replace(b'"model":"x","z"', b'"model":"big","z"'),
    _ODD[4].replace(b"null", b'"big"'),
    _ODD[5].replace(b'"x"', b'"big"'),
    _ODD[6].replace(b'"x"', b'"big"'),
    _ODD[7].replace(b'"x"', b'"big"'),
)


async def test_a_request_keeps_its_bytes_apart_from_its_model(bot: Bot, first: Simulator) -> None:
    """Spacing, escapes, key order, duplicate keys, nested models and numbers beyond any range arrive as they were."""
    replica = await bot()
    for sent, rendered in zip(_ODD, _RENDERED, strict=True):
        await ask(replica, post(sent))
        assert first.requests[-1].body == rendered
    await ask(replica, post(b'{"messages":[]}'))
    assert first.requests[-1].body == b'{"model":"big","messages":[]}'


async def test_a_model_that_is_passed_through_changes_nothing(start: Start, first: Simulator) -> None:
    """A binding to "*" sends every byte as it came, whatever the model is."""
    replica = await start(_one(first, model='"*"'))
    for sent in _ODD:
        await ask(replica, post(sent))
        assert first.requests[-1].body == sent


_PARAMS = "params: {drop: [logit_bias, absent], set: {temperature: 0}, cap: {max_tokens: 100, top_p: 0.5}}"


async def test_declared_params_are_dropped_set_and_capped(start: Start, first: Simulator) -> None:
    """Only top-level fields are changed: dropped, set whatever was sent, and numbers above their bound lowered."""
    replica = await start(_one(first, more=_PARAMS))
    kept = b'"messages":[{"role":"user","content":"a","logit_bias":1,"max_tokens":500}],"top_p":0.25'
    sent = b'{"model":"x",%b,"logit_bias":{"1":2},"temperature":1,"max_tokens":500}' % kept
    await ask(replica, post(sent))
    expected = orjson.loads(b"{%b}" % kept) | {"model": "big", "temperature": 0, "max_tokens": 100}
    assert orjson.loads(first.requests[-1].body) == expected


async def test_declared_params_leave_every_other_byte(start: Start, first: Simulator) -> None:
    """What `params` does not name keeps its spelling: a number too large for a float stays that number."""
    replica = await start(_one(first, more=_PARAMS))
    kept = b'"seed" : 123456789012345678901234567890, "messages":[{"role":"user","content":"\\u00e9"}]'
    await ask(replica, post(b'{"model":"x", %b, "max_tokens":500}' % kept))
    assert kept in first.requests[-1].body


def _one(simulator: Simulator, *, model: str = "big", source: str = "", more: str = "", extra: str = "") -> str:
    """A chain of one tier."""
    binding = f"{{source: first, model: {model}{', ' * bool(more)}{more}}}"
    return (
        f"sources:\n  first: {{kind: openai-compatible, base_url: {simulator.base_url}{', ' * bool(source)}{source}}}\n"
        f"assistants:\n  bot:\n    primary: {binding}\n{extra}"
    )


# -- query and header fields


async def test_the_query_goes_up_without_keys(bot: Bot, first: Simulator) -> None:
    """A query is passed on as it was spelled; what may be a credential in it is left out."""
    replica = await bot()
    query = "?api-version=1&key=s1&a%20b=%2f+x&API_KEY=s2&%6bey=s3&api-key=s4&access_token=s5&flag&keys=kept"
    answer = await ask(replica, post(path=CHAT + query))
    assert answer.status == 200
    assert first.requests[-1].query == "api-version=1&a%20b=%2f+x&flag&keys=kept"
    await ask(replica, post(path=f"{CHAT}?key=s6"))
    assert first.requests[-1].query == ""


_UP = (
    "Accept: application/json",
    "Accept-Language: fi",
    "Content-Type: application/json; charset=utf-8",
    "User-Agent: bot/1",
    "OpenAI-Beta: assistants=v2",
    "anthropic-version: 2023-06-01",
    "X-Stainless-Lang: python",
    "Idempotency-Key: once",
    "traceparent: 00-1-2-01",
    "tracestate: a=b",
    "X-Forwarded-By-Config: yes",
)
_NOT_UP = (
    "Authorization: Bearer callers-secret",
    "api-key: callers-secret",
    "x-api-key: callers-secret",
    "Proxy-Authorization: Basic callers-secret",
    "Cookie: session=callers-secret",
    "X-Forwarded-For: 10.1.2.3",
    "X-Forwarded-Host: callers-secret",
    "Forwarded: for=10.1.2.3",
    "X-Real-IP: 10.1.2.3",
    "Via: 1.1 callers-secret",
    "OpenAI-Organization: callers-secret",
    "OpenAI-Project: callers-secret",
    "x-request-id: callers-secret",
    "x-homeport-tier: callers-secret",
    "Keep-Alive: timeout=1",
    "TE: trailers",
    "X-Unknown: callers-secret",
    "Origin: http://localhost",
)
_ALWAYS_UP = {"host", "content-length", "accept-encoding", "authorization", "x-team"}


async def test_only_named_header_fields_go_up(start: Start, first: Simulator) -> None:
    """The allowed fields and the source's own reach the upstream, and nothing else does; fixed ones win."""
    forward = "forward_headers: [X-By-Config, X-Team], "
    fixed = "api_key: sources-key, headers: {X-Team: ours, Accept-Language: en}"
    replica = await start(_one(first, source=forward + fixed))
    allowed = [line.replace("X-Forwarded-By-Config", "X-By-Config") for line in _UP]
    lines = "".join(f"{line}\r\n" for line in (*allowed, *_NOT_UP, "X-Team: theirs", "Accept-Encoding: gzip, br"))
    assert (await ask(replica, post(fields=BOT + lines))).status == 200
    received = first.requests[-1]
    for line in allowed:
        name, value = line.split(": ", 1)
        assert received.header(name) == ("en" if name == "Accept-Language" else value)
    names = {name.lower() for name, _ in received.headers}
    assert names == {line.partition(":")[0].lower() for line in allowed} | _ALWAYS_UP
    assert [value for name, value in received.headers if name.lower() == "authorization"] == ["Bearer sources-key"]
    assert [value for name, value in received.headers if name.lower() == "x-team"] == ["ours"]
    assert received.header("accept-encoding") == "identity"
    assert received.header("host") == urlsplit(first.base_url).netloc
    assert not any("callers-secret" in value or "10.1.2.3" in value for _, value in received.headers)


_DOWN = (
    ("X-Twice", "one"),
    ("X-Twice", "two"),
    ("Retry-After", "7"),
    ("Server", "upstream/1"),
    ("Date", "Thu, 01 Jan 1970 00:00:00 GMT"),
    ("Location", "/somewhere"),
    ("Cache-Control", "no-store"),
)
_NOT_DOWN = (
    ("Set-Cookie", "session=upstreams"),
    ("Keep-Alive", "timeout=5"),
    ("Proxy-Authenticate", "Basic"),
    ("Connection", "keep-alive, X-Private"),
    ("X-Private", "named by Connection"),
    ("Trailer", "X-Late"),
    ("x-homeport-tier", "spoofed"),
    ("X-Homeport-Upstream-Request-Id", "spoofed"),
    ("x-homeport-made-up", "spoofed"),
)


async def test_header_fields_come_down(bot: Bot, first: Simulator) -> None:
    """JSON, a stream and an error alike: every field of the upstream's but those of its connection and its cookies."""
    replica = await bot()
    fields = (*_DOWN, *_NOT_DOWN)
    for request, mood in (
        (post(), replace(moods.WELL, headers=fields)),
        (post(STREAMED), replace(moods.WELL, headers=fields)),
        (post(), replace(moods.status(400), headers=fields)),
    ):
        first.mood = mood
        answer = await ask(replica, request)
        for name in {name.lower() for name, _ in _DOWN} - {"cache-control"}:
            assert answer.all(name) == [value for each, value in _DOWN if each.lower() == name], name
        assert "no-store" in answer.all("cache-control")
        assert answer.all("openai-version") == ["2020-10-01"]
        for name in ("set-cookie", "keep-alive", "proxy-authenticate", "x-private", "trailer", "x-homeport-made-up"):
            assert answer.all(name) == [], name
        assert not any("spoofed" in value for _, value in answer.fields)
        assert {name.lower() for name, _ in answer.fields} >= ALWAYS
        assert all(len(answer.all(name)) == 1 for name in ALWAYS)


async def test_the_request_id_is_ours(bot: Bot, first: Simulator) -> None:
    """The caller's and the upstream's ids are not given out as ours; the upstream's has a field of its own."""
    replica = await bot()
    seen = set()
    for mood, body in ((moods.WELL, ASKED), (moods.WELL, STREAMED), (moods.status(400), ASKED)):
        first.mood = mood
        answer = await ask(replica, post(body, fields=f"{BOT}x-request-id: callers-own\r\n"))
        (request_id,) = answer.all("x-request-id")
        line = await replica.line("request", request_id=request_id)
        upstream_id = line["steps"][0]["upstream_request_id"]
        assert answer.all("x-homeport-upstream-request-id") == [upstream_id]
        assert first.requests[-1].header("x-request-id") is None
        seen |= {request_id, upstream_id}
    assert len(seen) == 6
    assert "callers-own" not in seen


# -- framing of requests


async def test_expect_100_continue(bot: Bot, first: Simulator) -> None:
    """A caller who asks first is told to go on; one with too large a body gets its 413 and no invitation to send it."""
    replica = await bot(extra="limits: {body: 1MiB}\n")
    async with connect(replica.api) as raw:
        head, body = post(fields=f"{BOT}Expect: 100-continue\r\n").split(b"\r\n\r\n")
        raw.send(head + b"\r\n\r\n")
        assert await raw.until(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        assert not first.requests
        raw.send(body)
        assert (await read(raw)).status == 200
    async with connect(replica.api) as raw:
        raw.send(
            f"POST {CHAT} HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: {2 * MIB}\r\n\r\n".encode()
        )
        refused = await read(raw)
        assert (refused.status, refused.code, refused.all("connection")) == (413, "request_too_large", ["close"])
    async with connect(replica.api) as raw:
        raw.send(post(fields=f"{BOT}Expect: 100-continue\r\n", version="1.0"))
        assert (await read(raw)).status == 200


async def test_callers_of_http_1_0(bot: Bot) -> None:
    """They get no chunks: a stream ends with its connection, and a JSON answer keeps it only where it was asked to."""
    replica = await bot()
    async with connect(replica.api) as raw:
        raw.send(post(STREAMED, version="1.0"))
        answer, end = await raw.rest()
        head, _, body = answer.partition(b"\r\n\r\n")
        assert b"transfer-encoding" not in head.lower()
        assert (body.startswith(b"data: {"), body.endswith(b"data: [DONE]\n\n"), end) == (True, True, "closed")
    async with connect(replica.api) as raw:
        raw.send(post(version="1.0"))
        assert (await read(raw)).status == 200
        assert await raw.rest() == (b"", "closed")
    async with connect(replica.api) as raw:
        for _ in range(2):
            raw.send(post(version="1.0", fields=f"{BOT}Connection: keep-alive\r\n"))
            kept = await read(raw)
            assert (kept.status, kept.all("connection")) == (200, ["keep-alive"])
        raw.send(post(STREAMED, version="1.0", fields=f"{BOT}Connection: keep-alive\r\n"))
        answer, end = await raw.rest()
        assert (b"chunked" in answer, answer.endswith(b"data: [DONE]\n\n"), end) == (False, True, "closed")


async def test_chunked_and_compressed_requests(bot: Bot, first: Simulator) -> None:
    """A body in chunks or in gzip reaches the upstream as the bytes that were meant, with a length and no coding."""
    replica = await bot(extra="limits: {body: 1MiB}\n")
    head = f"POST {CHAT} HTTP/1.1\r\nHost: x\r\n{BOT}".encode()
    chunks = b"".join(b"%x\r\n%b\r\n" % (1, ASKED[place : place + 1]) for place in range(len(ASKED)))
    pressed = gzip.compress(ASKED)
    for request in (
        head + b"Transfer-Encoding: chunked\r\n\r\n" + chunks + b"0\r\n\r\n",
        head + b"Transfer-Encoding: chunked\r\n\r\n40;name=value\r\n" + ASKED + b" \r\n0\r\nX-Trailer: 1\r\n\r\n",
        post(pressed, fields=f"{BOT}Content-Encoding: gzip\r\n"),
    ):
        assert (await ask(replica, request)).status == 200
        received = first.requests[-1]
        assert received.body.rstrip() == ASKED
        assert received.header("content-length") == str(len(received.body))
        assert (received.header("content-encoding"), received.header("transfer-encoding")) == (None, None)
    spoiled = await ask(replica, post(b"no gzip" + pressed, fields=f"{BOT}Content-Encoding: gzip\r\n"))
    assert (spoiled.status, spoiled.code) == (400, "malformed_request")
    bomb = await ask(replica, post(gzip.compress(bytes(64 * MIB)), fields=f"{BOT}Content-Encoding: gzip\r\n"))
    assert (bomb.status, bomb.code) == (413, "request_too_large")
    assert len(first.requests) == 3


# -- limits


def _filled(size: int) -> bytes:
    """A chat request of so many bytes."""
    return ASKED[:-1] + b',"user":"' + b"x" * (size - len(ASKED) - 10) + b'"}'


async def test_a_body_up_to_the_limit_passes(bot: Bot, first: Simulator) -> None:
    """32 MiB arrive whole; a byte more is refused by its announced length, and in chunks as soon as it is known."""
    replica = await bot()
    large = _filled(32 * MIB)
    assert len(large) == 32 * MIB
    assert (await ask(replica, post(large))).status == 200
    assert first.requests[-1].body == large
    refused = await ask(replica, post(_filled(33 * MIB)))
    assert (refused.status, refused.code, refused.all("x-should-retry")) == (413, "request_too_large", ["false"])
    assert b"limits.body" in refused.body
    async with connect(replica.api) as raw:
        raw.send(f"POST {CHAT} HTTP/1.1\r\nHost: x\r\n{BOT}Transfer-Encoding: chunked\r\n\r\n".encode())
        raw.send(b"%x\r\n%b" % (64 * MIB, large + b" "))
        assert (await read(raw)).status == 413
    assert len(first.requests) == 1


async def test_a_full_replica_refuses_more(bot: Bot, first: Simulator) -> None:
    """Requests in flight and their bytes are bounded; whoever comes on top is told which limit it is, and is served
    once there is room again."""
    replica = await bot(extra="limits: {body: 1MiB, buffered: 1536KiB, in_flight: 2}\n")
    first.mood = moods.hang()
    async with AsyncExitStack() as stack:
        waiting = await stack.enter_async_context(connect(replica.api))
        waiting.send(post(_filled(MIB)))
        await first.until(lambda: len(first.requests) == 1)
        refused = await ask(replica, post(_filled(MIB)))
        assert (refused.status, refused.code, refused.all("retry-after")) == (503, "overloaded", ["1"])
        assert b"limits.buffered" in refused.body
        another = await stack.enter_async_context(connect(replica.api))
        another.send(post())
        await first.until(lambda: len(first.requests) == 2)
        refused = await ask(replica, post())
        assert (refused.status, refused.code, refused.all("x-should-retry")) == (503, "overloaded", ["true"])
        assert b"limits.in_flight" in refused.body
        assert {name.lower() for name, _ in refused.fields} >= ALWAYS
    await first.until(lambda: first.aborted == 2)
    for _ in range(2):
        await replica.line("request", outcome="cancelled")
    first.mood = moods.WELL
    assert (await ask(replica, post(_filled(MIB)))).status == 200


# -- connections of callers


async def test_pipelined_requests_are_answered_in_order(bot: Bot, first: Simulator) -> None:
    """Two requests sent at once get two answers, the first one first, even when it takes longer."""
    replica = await bot()
    first.queue.append(moods.delay(0.1))
    async with connect(replica.api) as raw:
        raw.send(post(ASKED.replace(b"Where?", b"Question one")) + post(ASKED.replace(b"Where?", b"Question two")))
        answers = [await read(raw) for _ in range(2)]
    assert [b"Question one" in answer.body for answer in answers] == [True, False]
    assert [b"Question two" in answer.body for answer in answers] == [False, True]


async def test_a_caller_who_closes_its_sending_half(bot: Bot, first: Simulator) -> None:
    """It counts as one who has left: the connection is closed without an answer, the upstream's call is aborted, and
    nobody else notices. (HTTP allows such a caller to wait for its answer; a proxy that let it would go on paying for
    answers to callers that are gone, since the two look the same.)"""
    replica = await bot()
    first.mood = moods.hang()
    where = urlsplit(replica.api)
    reader, writer = await asyncio.open_connection(where.hostname, where.port)
    writer.write(post())
    await first.until(lambda: len(first.requests) == 1)
    writer.write_eof()
    assert await reader.read() == b""
    writer.close()
    await first.until(lambda: first.aborted == 1)
    line = await replica.line("request", outcome="cancelled")
    assert line["steps"][0]["heard"] == "neutral"
    first.mood = moods.WELL
    assert (await ask(replica, post())).status == 200
    assert not [line for line in replica.lines if line["event"] == "stderr"]


# -- requests that are none

_MALFORMED = (
    b"what is this\r\n\r\n",
    b"\x16\x03\x01\x02\x00\x01\x00\r\n\r\n",
    b"GET / HTTP/9.9\r\nHost: x\r\n\r\n",
    f"POST {CHAT} HTTP/1.1\r\nHost: x\r\nX-Bad: a\x01b\r\n\r\n".encode(),
    f"POST {CHAT} HTTP/1.1\r\nHost: x\r\nNo colon here\r\n\r\n".encode(),
    f"POST {CHAT} HTTP/1.1\r\nHost: x\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\n{{}}".encode(),
    f"POST {CHAT} HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".encode(),
    f"POST {CHAT} HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n{{}}".encode(),
    f"POST {CHAT} HTTP/1.1\r\nHost: x\r\n{BOT}Transfer-Encoding: chunked\r\n\r\nzz\r\n{{}}\r\n0\r\n\r\n".encode(),
)


async def test_malformed_http_is_refused_and_ends_its_connection(bot: Bot, first: Simulator) -> None:
    """A request whose bounds are not certain gets a 400 and no second chance: nothing after it is taken for another."""
    replica = await bot()
    for request in _MALFORMED:
        async with connect(replica.api) as raw:
            raw.send(request + post())
            answer, _ = await raw.rest()
            assert answer.split(b" ", 2)[1] == b"400", request
            assert answer.count(b"HTTP/1.") == 1, request
    assert not first.requests
    assert (await ask(replica, post())).status == 200


async def test_malformed_http_is_refused_in_the_usual_shape(bot: Bot) -> None:
    """Its 400 is typed and carries a request id, as every answer does."""
    replica = await bot()
    for request in _MALFORMED:
        answer = await ask(replica, request)
        assert answer.code == "malformed_request"
        assert {name.lower() for name, _ in answer.fields} >= ALWAYS


async def test_a_head_that_is_too_large_is_refused(bot: Bot) -> None:
    """431 in the usual shape, and the end of the connection."""
    answer = await ask(await bot(), f"POST {CHAT} HTTP/1.1\r\nHost: x\r\nX-Large: {'x' * 70_000}\r\n\r\n".encode())
    assert (answer.status, answer.code) == (431, "request_headers_too_large")
    assert {name.lower() for name, _ in answer.fields} >= ALWAYS


async def test_malformed_http_leaves_no_secret_in_the_log(bot: Bot) -> None:
    """What could not be read is not repeated in the log, which stays one of JSON lines."""
    replica = await bot()
    secret = f"POST {CHAT} HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer callers-secret\x01\r\n\r\n"
    await ask(replica, secret.encode())
    spoiled = post(b"no gzip", fields=f"{BOT}Content-Encoding: gzip\r\n")
    assert (await ask(replica, spoiled)).status == 400
    assert (await ask(replica, post())).status == 200
    await replica.line("request", outcome="success")
    assert "callers-secret" not in str(replica.lines)
    assert not [line for line in replica.lines if line["event"] == "stderr"]


async def test_a_body_that_is_no_json_object_is_refused(bot: Bot, first: Simulator) -> None:
    """400 `invalid_json` in the usual shape, and the connection serves the next request."""
    replica = await bot()
    bodies = (
        b"",
        b"{",
        b"no",
        b"[1]",
        b'"text"',
        b"null",
        b'{"model":"\xff"}',
        b"\xff\xfe{}",
        b'{"a":NaN}',
        b'{"a":01}',
        ASKED + b"}",
        b'{"a":' * 2000 + b"1" + b"}" * 2000,
    )
    async with connect(replica.api) as raw:
        for body in bodies:
            raw.send(post(body))
            answer = await read(raw)
            assert (answer.status, answer.code) == (400, "invalid_json"), body
            assert {name.lower() for name, _ in answer.fields} >= ALWAYS
        assert not first.requests
        raw.send(post())
        assert (await read(raw)).status == 200


_NO_PATHS = (
    "/",
    "/v1",
    "/v1/",
    "/chat/completions",
    "/v1//chat/completions",
    "//v1/chat/completions",
    "/v1/chat/completions/",
    "/v1/chat/completions/abc",
    "/V1/chat/completions",
    "/v1/chat/../chat/completions",
    "/v1/files",
    "/v1/embeddings/",
    "/metrics",
    "/api/status",
    "/%2e%2e/etc/passwd",
    "/v1/%C3%A9",
)


async def test_other_paths_and_methods_are_refused(bot: Bot, first: Simulator) -> None:
    """404 `endpoint_not_enabled` for every other path and method, 405 with `allow` for other methods; none goes up."""
    replica = await bot()
    for path in _NO_PATHS:
        for method in ("GET", "POST", "DELETE", "OPTIONS", "HEAD"):
            answer = await ask(replica, post(path=path).replace(b"POST", method.encode(), 1))
            assert answer.status == 404, (method, path)
            assert {name.lower() for name, _ in answer.fields} >= ALWAYS
            assert method == "HEAD" or answer.code == "endpoint_not_enabled"
    for method, path, allowed in (
        *((method, CHAT, "POST") for method in ("GET", "PUT", "PATCH", "DELETE", "OPTIONS", "HEAD", "TRACE")),
        ("POST", "/v1/models", "GET"),
        ("GET", "/v1/responses", "POST"),
    ):
        answer = await ask(replica, post(path=path).replace(b"POST", method.encode(), 1))
        assert (answer.status, answer.all("allow")) == (405, [allowed]), (method, path)
        assert {name.lower() for name, _ in answer.fields} >= ALWAYS
        assert method == "HEAD" or answer.code == "method_not_allowed"
    assert not first.requests
