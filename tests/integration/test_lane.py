"""The lane by itself, on real sockets: what it answers, what it hands over, and that nothing is lost on the way."""

from __future__ import annotations

import asyncio
import contextlib
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

import pytest

from proxy.edge import lane
from proxy.edge.caller import Caller
from proxy.edge.heads import FIELDS, HEAD
from proxy.edge.lane import LARGEST, Lanes

_JSON = ["content-type: application/json"]


@dataclass
class _Server(asyncio.Protocol):
    """Takes over what is not for the lane, and remembers it."""

    got: list[bytes]
    transport: asyncio.Transport = field(init=False)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]

    def data_received(self, data: bytes) -> None:
        self.got.append(data)
        self.transport.write(b"the server's")


@dataclass
class _Listener:
    """A listener whose requests `answer` serves."""

    port: int = 0
    asked: list[tuple[str, str, dict[str, str], bytes]] = field(default_factory=list)
    handed: list[bytes] = field(default_factory=list)
    left: int = 0
    answer: Callable[[Caller], Awaitable[None]] | None = None
    lanes: Lanes = field(init=False)
    now: float = 0.0
    writers: list[asyncio.StreamWriter] = field(default_factory=list)
    servers: list[_Server] = field(default_factory=list)

    def server(self) -> _Server:
        """One that takes over a connection."""
        self.servers.append(_Server(self.handed))
        return self.servers[-1]

    async def serve(self, caller: Caller) -> None:
        body = await caller.more(1)
        assert await caller.more(1) == b""
        self.asked.append((caller.head.path, caller.head.query, dict(caller.head.headers), body))
        try:
            if self.answer is not None:
                await self.answer(caller)
            else:
                await caller.send(200, _JSON, b"{%d}" % len(self.asked))
        except asyncio.CancelledError:
            self.left += 1
            raise

    async def connect(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """A connection that ends with the test. What the kernel keeps of it is as much on any machine."""
        sock = socket.socket()
        sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 256 * 1024)
        sock.setblocking(False)
        await asyncio.get_running_loop().sock_connect(sock, ("127.0.0.1", self.port))
        reader, writer = await asyncio.open_connection(sock=sock)
        self.writers.append(writer)
        return reader, writer

    async def close(self) -> None:
        """Both ends of every connection."""
        await self.lanes.shut(0)
        for each in self.servers:
            each.transport.close()
        for writer in self.writers:
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    async def told(self, data: bytes, upto: bytes) -> bytes:
        """What one connection hears of these bytes."""
        reader, writer = await self.connect()
        writer.write(data)
        async with asyncio.timeout(5):
            return await reader.readuntil(upto)


@pytest.fixture
async def listener() -> AsyncIterator[_Listener]:
    """One, on a free port."""
    each = _Listener()
    each.lanes = Lanes(each.serve, each.server, lambda: each.now)
    server = await asyncio.get_running_loop().create_server(each.lanes, "127.0.0.1", 0)
    each.port = server.sockets[0].getsockname()[1]
    try:
        yield each
    finally:
        server.close()
        await each.close()


def post(
    body: bytes = b"abc", *fields: bytes, target: bytes = b"/v1/chat/completions", version: bytes = b"1.1"
) -> bytes:
    """A request; without `fields` it has its length."""
    fields = fields or (b"Content-Length: %d" % len(body),)
    head = b"".join(each + b"\r\n" for each in (b"Host: x", *fields))
    return b"POST %b HTTP/%b\r\n%b\r\n%b" % (target, version, head, body)


async def _until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(5):
        while not condition():  # noqa: ASYNC110  # of what is looked at nobody tells
            await asyncio.sleep(0.005)


async def test_a_request_is_read_and_answered(listener: _Listener) -> None:
    """Its path, query, fields and body as they were sent; an answer with all that it needs."""
    fields = (b"Content-Length: 3", b"X-Assistant-Id:  bot ")
    heard = await listener.told(post(b"abc", *fields, target=b"/v1/embeddings?api-version=2026-01"), b"{1}")
    head, _, body = heard.partition(b"\r\n\r\n")
    first, *lines = head.split(b"\r\n")
    assert (first, body) == (b"HTTP/1.1 200 OK", b"{1}")
    assert {line.partition(b":")[0].lower() for line in lines} == {b"content-type", b"content-length", b"date"}
    assert listener.asked == [
        (
            "/v1/embeddings",
            "api-version=2026-01",
            {"Host": "x", "X-Assistant-Id": "bot"},
            b"abc",
        )
    ]
    assert not listener.handed


@pytest.mark.parametrize("cut", [1, 2])
async def test_a_body_that_comes_later_is_waited_for(listener: _Listener, cut: int) -> None:
    """SDKs write heads and bodies apart."""
    reader, writer = await listener.connect()
    whole = post(b"abc")
    writer.write(whole[:-3])
    for at in range(3, 0, -cut):
        await asyncio.sleep(0.02)
        writer.write(whole[len(whole) - at : len(whole) - max(0, at - cut)])
    async with asyncio.timeout(5):
        assert (await reader.readuntil(b"{1}")).startswith(b"HTTP/1.1 200 OK")
    assert listener.asked[0][3] == b"abc"


async def test_requests_sent_at_once_are_answered_in_turn(listener: _Listener) -> None:
    """Also when the pieces do not end where they do."""
    reader, writer = await listener.connect()
    three = b"".join(post(each) for each in (b"a", b"bb", b"ccc"))
    writer.write(three[:-1])
    await _until(lambda: len(listener.asked) == 2)
    writer.write(three[-1:])
    async with asyncio.timeout(5):
        heard = await reader.readuntil(b"{3}")
    assert [heard.find(each) for each in (b"{1}", b"{2}", b"{3}")] == sorted(
        heard.find(each) for each in (b"{1}", b"{2}", b"{3}")
    )
    assert [each[3] for each in listener.asked] == [b"a", b"bb", b"ccc"]


_OTHERS = {
    "another method": b"GET /v1/models HTTP/1.1\r\nHost: x\r\n\r\n",
    "another path": post(target=b"/v1/audio/speech"),
    "a longer path": post(target=b"/v1/chat/completions/"),
    "an escaped path": post(target=b"/v1/chat%2Fcompletions"),
    "a whole URL": post(target=b"http://x/v1/chat/completions"),
    "a query to decode": post(target=b"/v1/chat/completions?a=%20"),
    "a fragment": post(target=b"/v1/chat/completions#a"),
    "an older version": post(version=b"1.0"),
    "no length": post(b"abc", b"X: y"),
    "two lengths": post(b"abc", b"Content-Length: 3", b"Content-Length: 4"),
    "a length with a sign": post(b"abc", b"Content-Length: +3"),
    "a length with a blank behind it": post(b"abc", b"Content-Length: 3 "),
    "a length beyond all bounds": post(b"abc", b"Content-Length: " + b"9" * 5000),
    "a length of many zeros": post(b"abc", b"Content-Length: " + b"0" * 5000 + b"3"),
    "chunks": post(b"3\r\nabc\r\n0\r\n\r\n", b"Transfer-Encoding: chunked"),
    "chunks and a length": post(b"3\r\nabc\r\n0\r\n\r\n", b"Transfer-Encoding: chunked", b"Content-Length: 13"),
    "a coding": post(b"abc", b"Content-Length: 3", b"Content-Encoding: gzip"),
    "an expectation": post(b"", b"Content-Length: 3", b"Expect: 100-continue"),
    "an upgrade": post(b"abc", b"Content-Length: 3", b"Upgrade: h2c", b"Connection: Upgrade"),
    "a wish to end": post(b"abc", b"Content-Length: 3", b"Connection: close"),
    "a field of the connection's": post(b"abc", b"Content-Length: 3", b"Connection: keep-alive, X-Private"),
    "a folded field": post(b"abc", b"Content-Length: 3", b"X: y\r\n z"),
    "a space before the colon": post(b"abc", b"Content-Length : 3"),
    "a field without a name": post(b"abc", b"Content-Length: 3", b": y"),
    "a bare line feed": post(b"abc", b"Content-Length: 3", b"X: y\n Z: z"),
    "a NUL": post(b"abc", b"Content-Length: 3", b"X: a\0b"),
    "many fields": post(b"abc", b"Content-Length: 3", *(b"X-%d: y" % each for each in range(FIELDS))),
    "a long head": post(b"abc", b"Content-Length: 3", b"X: " + b"y" * HEAD),
    "a long body": post(b"a" * LARGEST),
    "half a head": post()[:30],
    "no HTTP": b"\x16\x03\x01 hello\r\n\r\n",
    "an empty line first": b"\r\n" + post(),
}


@pytest.mark.parametrize("sent", _OTHERS.values(), ids=_OTHERS.keys())
async def test_everything_else_is_the_servers(listener: _Listener, sent: bytes) -> None:
    """Byte for byte, the connection with it, and for good."""
    reader, writer = await listener.connect()
    writer.write(sent)
    async with asyncio.timeout(5):
        await reader.readuntil(b"the server's")
    await _until(lambda: b"".join(listener.handed) == sent)
    writer.write(post())
    await _until(lambda: b"".join(listener.handed) == sent + post())
    assert not listener.asked


async def test_what_comes_behind_a_request_may_be_the_servers(listener: _Listener) -> None:
    """It gets what was not answered, and nothing of what was."""
    other = _OTHERS["another method"]
    heard = await listener.told(post(b"abc") + other, b"the server's")
    assert b"{1}" in heard
    assert listener.handed == [other]


async def test_a_slow_body_is_the_servers(listener: _Listener, monkeypatch: pytest.MonkeyPatch) -> None:
    """It knows how long to wait."""
    monkeypatch.setattr(lane, "PATIENCE", 0.05)
    assert await listener.told(post()[:-1], b"the server's") == b"the server's"
    assert listener.handed == [post()[:-1]]


async def test_an_answer_in_pieces(listener: _Listener) -> None:
    """Chunks where its length is not known, and as it is where it is; the connection serves on."""

    async def chunks(caller: Caller) -> None:
        await caller.open(200, [*(["Content-Length: 4"] if len(listener.asked) == 2 else []), *_JSON])
        for each in (b"ab", b"", b"cd"):
            await caller.write(each)
        await caller.finish()

    listener.answer = chunks
    reader, writer = await listener.connect()
    writer.write(post())
    async with asyncio.timeout(5):
        head, _, body = (await reader.readuntil(b"0\r\n\r\n")).partition(b"\r\n\r\n")
        assert b"\r\nTransfer-Encoding: chunked\r\n" in head
        assert body == b"2\r\nab\r\n2\r\ncd\r\n0\r\n\r\n"
        writer.write(post())
        head, _, body = (await reader.readuntil(b"abcd")).partition(b"\r\n\r\n")
    assert b"chunked" not in head
    assert body == b"abcd"


async def test_a_last_piece_leaves_with_the_end(listener: _Listener) -> None:
    """Nothing is written behind it, and the connection serves on."""

    async def pieces(caller: Caller) -> None:
        await caller.open(200, _JSON)
        assert caller.push(b"ab")
        assert caller.push(b"cd", last=True)
        await asyncio.sleep(0.01)
        await caller.finish()
        assert caller.body_out == 4

    listener.answer = pieces
    reader, writer = await listener.connect()
    async with asyncio.timeout(5):
        for _ in range(2):
            writer.write(post())
            _, _, body = (await reader.readuntil(b"0\r\n\r\n")).partition(b"\r\n\r\n")
            assert body == b"2\r\nab\r\n2\r\ncd\r\n0\r\n\r\n"


async def test_a_last_answer_ends_the_connection(listener: _Listener) -> None:
    """Told in its head, where it is known by then."""

    async def last(caller: Caller) -> None:
        await caller.send(503, _JSON, b"{}", close=True)

    listener.answer = last
    reader, writer = await listener.connect()
    writer.write(post() + post())
    async with asyncio.timeout(5):
        heard = await reader.read()
    assert heard.startswith(b"HTTP/1.1 503 Service Unavailable\r\n")
    assert b"\r\nConnection: close\r\n" in heard
    assert len(listener.asked) == 1


@pytest.mark.parametrize("field", ["a\r\nb", "a\nb", "a\rb", "a\0b"])
async def test_no_field_can_end_its_line_early(listener: _Listener, field: str) -> None:
    """Nothing of such an answer leaves."""
    refused: list[str] = []

    async def bad(caller: Caller) -> None:
        try:
            await caller.send(200, [f"x-field: {field}"], b"{}")
        except ValueError as error:
            refused.append(str(error))
            await caller.send(500, _JSON, b"refused")

    listener.answer = bad
    assert (await listener.told(post(), b"refused")).startswith(b"HTTP/1.1 500 ")
    assert refused


async def test_a_caller_that_leaves_cancels(listener: _Listener) -> None:
    """At once, also while it is waited for."""
    listener.answer = lambda _: asyncio.sleep(60)
    writers = [(await listener.connect())[1] for _ in range(2)]
    for writer in writers:
        writer.write(post())
    await _until(lambda: len(listener.asked) == 2)
    writers[0].close()
    await _until(lambda: listener.left == 1)
    writers[1].transport.abort()
    await _until(lambda: listener.left == 2)


async def test_who_writes_waits_for_the_caller(listener: _Listener) -> None:
    """And one of two who wait may be cancelled without harm to the other."""
    written = {"a": 0, "b": 0}
    writers: dict[str, asyncio.Task[None]] = {}

    async def flood(caller: Caller) -> None:
        await caller.open(200, _JSON)

        async def write(name: str) -> None:
            while written[name] < 64:
                await caller.write(b"x" * 1024 * 1024)
                written[name] += 1

        writers.update({name: asyncio.create_task(write(name)) for name in written})
        await asyncio.wait(writers.values())
        await caller.finish()

    listener.answer = flood
    reader, writer = await listener.connect()
    writer.write(post())
    await _until(lambda: len(writers) == 2)
    held = -1
    while held != sum(written.values()):
        held = sum(written.values())
        await asyncio.sleep(0.2)
    assert held < 32
    writers["a"].cancel()
    await _until(lambda: writers["a"].done())
    async with asyncio.timeout(20):
        while not (await reader.read(1 << 20)).endswith(b"0\r\n\r\n"):
            pass
    assert written["b"] == 64


async def test_idle_connections_are_let_go(listener: _Listener, monkeypatch: pytest.MonkeyPatch) -> None:
    """Those without a request for long; not one that waits for its answer."""
    monkeypatch.setattr(lane, "_SWEEP", 0.02)
    go = asyncio.Event()

    async def wait(caller: Caller) -> None:
        await go.wait()
        await caller.send(200, _JSON, b"{1}")

    listener.answer = wait
    idle, _ = await listener.connect()
    busy, writer = await listener.connect()
    writer.write(post())
    await _until(lambda: len(listener.asked) == 1)
    listener.now += lane.IDLE + 1
    async with asyncio.timeout(5):
        assert await idle.read() == b""
        go.set()
        await busy.readuntil(b"{1}")


async def test_an_end_lets_answers_end(listener: _Listener) -> None:
    """Idle connections go at once, others with their answer or when it is too late."""
    go = asyncio.Event()

    async def wait(caller: Caller) -> None:
        await go.wait()
        await caller.send(200, _JSON, b"{1}")

    listener.answer = wait
    idle, _ = await listener.connect()
    busy, writer = await listener.connect()
    writer.write(post())
    await _until(lambda: len(listener.asked) == 1)
    asyncio.get_running_loop().call_later(0.1, go.set)
    async with asyncio.timeout(5):
        await listener.lanes.shut(3)
        heard = await busy.read()
        assert await idle.read() == b""
    assert b"\r\nConnection: close\r\n" in heard
    assert heard.endswith(b"{1}")
    assert listener.left == 0
    listener.answer = lambda _: asyncio.sleep(60)
    _, late = await listener.connect()
    late.write(post())
    await _until(lambda: len(listener.asked) == 2)
    async with asyncio.timeout(5):
        await listener.lanes.shut(0.05)
    await _until(lambda: listener.left == 1)
