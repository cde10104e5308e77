"""The ways to an upstream: names, addresses, TLS and forward proxies, and what each of them is called when it fails."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import resource
import shlex
import socket
import ssl
import subprocess
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from proxy.terms import Cause, Diagnosis
from proxy.upstream.client import Connecting, Connections, Door, RetryBudget
from proxy.upstream.names import AddressInfo, Lookup
from tests.integration.asking import OK, Got, ask, door
from tests.integration.scripted import Line, always, answered, scripted

_DNS = Diagnosis(Cause.NETWORK, "dns_error")
_CONNECT = Diagnosis(Cause.NETWORK, "connect_error")
_TLS = Diagnosis(Cause.NETWORK, "tls_error")
_PROXY = Diagnosis(Cause.NETWORK, "proxy_error")
_LATE = Diagnosis(Cause.TIMEOUT_CONNECT, "connect")


def _leads_to(*addresses: str) -> tuple[Lookup, list[str]]:
    asked: list[str] = []

    async def lookup(host: str, port: int) -> list[AddressInfo]:
        asked.append(host)
        await asyncio.sleep(0)
        return [(socket.AF_INET, socket.SOCK_STREAM, 0, "", (each, port)) for each in addresses]

    return lookup, asked


@contextlib.asynccontextmanager
async def _by(lookup: Lookup, proxy: str | None = None, ca_file: str | None = None) -> AsyncIterator[Door]:
    async with Door(Connecting(private=True, proxy=proxy, ca_file=ca_file), RetryBudget(), lookup) as made:
        yield made


def _failed(got: Got, diagnosis: Diagnosis, to: Door) -> None:
    assert got.end == diagnosis
    assert (got.progress.sent, got.progress.connected, got.progress.retried) == (False, None, False)
    assert to.connections() == Connections(0, 0, 0)


@contextlib.contextmanager
def _deaf() -> Iterator[int]:
    """A port where connections are made and nothing is ever said: its queue is the system's."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        sock.listen(8)
        yield sock.getsockname()[1]


@contextlib.contextmanager
def _closed_port() -> Iterator[int]:
    """A port that nobody can listen at."""
    with socket.socket() as sock:
        sock.bind(("127.0.0.1", 0))
        yield sock.getsockname()[1]


# -- names and addresses


@pytest.mark.parametrize(
    ("number", "diagnosis"),
    [
        (socket.EAI_NONAME, _DNS),
        (socket.EAI_AGAIN, Diagnosis(Cause.LOCAL, "dns_error")),
        (errno.EMFILE, Diagnosis(Cause.LOCAL, "no_resources")),
    ],
)
async def test_a_name_that_leads_nowhere(number: int, diagnosis: Diagnosis) -> None:
    """The upstream's fault, unless our own resolver or machine could not say."""

    async def lookup(host: str, port: int) -> list[AddressInfo]:
        raise socket.gaierror(number, "no") if number < 0 else OSError(number, "no")

    async with _by(lookup) as to:
        _failed(await ask(to, "http://llm.example.com/v1"), diagnosis, to)


async def test_the_system_is_asked_for_names() -> None:
    """By itself: localhost is there, and a name that cannot exist is not."""
    async with scripted(always(OK)) as upstream, door() as to:
        assert (await ask(to, f"http://localhost:{upstream.port}/")).status == 200
        assert (await ask(to, f"http://{'a' * 70}.example.com:{upstream.port}/")).end == _DNS


async def test_a_name_is_looked_up_once_for_all_who_wait() -> None:
    """One of them leaving does not end it for the others."""
    lookup, asked = _leads_to("127.0.0.1")
    async with scripted(always(OK)) as upstream, _by(lookup) as to:
        tasks = [asyncio.create_task(ask(to, f"http://llm.example.com:{upstream.port}/")) for _ in range(10)]
        await asyncio.sleep(0)
        tasks[0].cancel()
        got = await asyncio.gather(*tasks, return_exceptions=True)
        assert isinstance(got[0], asyncio.CancelledError)
        assert all(isinstance(each, Got) and each.status == 200 for each in got[1:])
        assert asked == ["llm.example.com"]


async def test_refused() -> None:
    """Nobody listens: no address of many is left out before that is said."""
    with _closed_port() as port:
        lookup, _ = _leads_to("127.0.0.1", "127.0.0.2", "127.0.0.3")
        async with _by(lookup) as to:
            _failed(await ask(to, f"http://llm.example.com:{port}/"), _CONNECT, to)
            _failed(await ask(to, f"http://127.0.0.1:{port}/"), _CONNECT, to)


async def test_the_next_address_is_tried() -> None:
    """Where the first refuses."""
    async with scripted(always(OK)) as upstream:
        lookup, _ = _leads_to("127.0.0.2", "127.0.0.1")
        async with _by(lookup) as to:
            assert (await ask(to, f"http://llm.example.com:{upstream.port}/")).status == 200


async def test_our_own_lack_of_descriptors_is_our_own() -> None:
    """No socket to be had says nothing of the upstream."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    async with scripted(always(OK)) as upstream, door() as to:
        taken = []
        resource.setrlimit(resource.RLIMIT_NOFILE, (256, hard))
        try:
            with contextlib.suppress(OSError):
                while True:
                    taken.append(socket.socket())
            got = await ask(to, upstream.url)
        finally:
            for each in taken:
                each.close()
            resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
        _failed(got, Diagnosis(Cause.LOCAL, "no_resources"), to)
        assert (await ask(to, upstream.url)).status == 200


async def test_a_connection_notices_a_dead_peer() -> None:
    """TCP's own keepalive is on, with a first look after half a minute, and small writes go out at once."""
    async with scripted(always(OK)) as upstream, door() as to:
        await ask(to, upstream.url)
        (connection,) = to._pool._all
        sock = connection._transport.get_extra_info("socket")
        assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE)
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE) == 30
        assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


# -- TLS


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """For 127.0.0.1 and llm.example.com, with its key beside it."""
    folder = tmp_path_factory.mktemp("tls")
    subprocess.run(
        shlex.split(
            "openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -keyout key -out certificate"
            " -days 2 -subj /CN=homeport -addext subjectAltName=IP:127.0.0.1,DNS:llm.example.com"
        ),
        cwd=folder,
        check=True,
        capture_output=True,
    )
    return folder / "certificate"


@pytest.fixture
def served(certificate: Path) -> ssl.SSLContext:
    """What the upstream shows."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, certificate.with_name("key"))
    return context


async def test_tls_with_an_authority_of_one_s_own(certificate: Path, served: ssl.SSLContext) -> None:
    """Trusted with `ca_file`; kept, streamed and written to like any other connection."""
    body = bytes(range(256)) * 8192
    sent = b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n%b" % (len(body), body)
    async with scripted(always(sent), served) as upstream, door(ca_file=str(certificate)) as to:
        url = upstream.url.replace("http:", "https:")
        for reused in (False, True, True):
            got = await ask(to, url, body)
            assert (got.status, got.body == body, got.end, got.progress.reused) == (200, True, None, reused)
        assert upstream.lines[0].requests[0].endswith(body)


async def test_tls_that_cannot_be_trusted(certificate: Path, served: ssl.SSLContext) -> None:
    """An unknown authority, or another's name: nothing is sent. A dot at the name's end is no part of it."""
    async with scripted(always(OK), served) as upstream:
        https = upstream.url.replace("http:", "https:")
        async with door() as to:
            _failed(await ask(to, https), _TLS, to)
        lookup, _ = _leads_to("127.0.0.1")
        async with _by(lookup, ca_file=str(certificate)) as to:
            _failed(await ask(to, f"https://other.example.com:{upstream.port}/"), _TLS, to)
            assert (await ask(to, f"https://llm.example.com:{upstream.port}/")).status == 200
            assert (await ask(to, f"https://llm.example.com.:{upstream.port}/")).status == 200
        # To the upstream the failed handshakes are no connections.
        assert [len(line.requests) for line in upstream.lines] == [1, 1]


async def test_what_speaks_no_tls() -> None:
    """An http server at an https URL."""

    async def script(line: Line) -> None:
        await line.reader.read(1)
        line.say(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")
        await line.left()

    async with scripted(script) as upstream, door() as to:
        _failed(await ask(to, upstream.url.replace("http:", "https:")), _TLS, to)


async def test_connect_bounds_tls_too() -> None:
    """A peer that accepts and is silent costs the limit, and no more."""
    with _deaf() as port:
        async with door() as to:
            began = asyncio.get_running_loop().time()
            _failed(await ask(to, f"https://127.0.0.1:{port}/", connect=0.2), _LATE, to)
            # The loop's clock counts in milliseconds, from the beginning of its turn.
            assert 0.15 < asyncio.get_running_loop().time() - began < 2.0


# -- forward proxies


class _Forward:
    """A forward proxy that leads every CONNECT to one upstream, and answers other requests itself."""

    def __init__(self, to: int, answer: bytes = b"HTTP/1.1 200 Connection established\r\nX-By: us\r\n\r\n") -> None:
        self._to, self._answer = to, answer
        self.heads: list[bytes] = []

    async def __call__(self, line: Line) -> None:
        while True:
            head = await line.request()
            self.heads.append(head)
            if not head.startswith(b"CONNECT "):
                line.say(OK)
                continue
            line.say(self._answer)
            reader, writer = await asyncio.open_connection("127.0.0.1", self._to)
            try:
                pumps = (_pump(line.reader, writer), _pump(reader, line.writer))
                await asyncio.gather(*pumps)
            finally:
                writer.close()


async def _pump(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()


_CREDENTIALS = "us%40er:pa%3Ass"
_BASIC = b"\r\nProxy-Authorization: Basic dXNAZXI6cGE6c3M=\r\n"


async def test_an_http_upstream_is_asked_for_by_its_whole_url() -> None:
    """With the proxy's credentials in every request, also on a kept connection."""
    forward = _Forward(0)
    async with scripted(forward) as proxy, door(proxy=f"http://{_CREDENTIALS}@127.0.0.1:{proxy.port}") as to:
        for reused in (False, True):
            got = await ask(to, "http://llm.example.com/v1/chat/completions?a=b")
            assert (got.status, got.progress.reused) == (200, reused)
        assert len(proxy.lines) == 1
    for head in forward.heads:
        assert head.startswith(b"POST http://llm.example.com/v1/chat/completions?a=b HTTP/1.1\r\n")
        assert b"\r\nHost: llm.example.com\r\n" in head
        assert _BASIC in head


@pytest.mark.parametrize("tls", [False, True], ids=["http", "https"])
async def test_an_https_upstream_is_reached_through_a_tunnel(
    certificate: Path, served: ssl.SSLContext, tls: bool
) -> None:
    """The proxy sees its name and nothing else, and only the proxy sees its credentials; the tunnel is kept."""
    body = bytes(range(256)) * 4096
    async with scripted(always(OK), served) as upstream:
        forward = _Forward(upstream.port)
        async with scripted(forward, served if tls else None) as proxy:
            by = f"http{'s' if tls else ''}://{_CREDENTIALS}@127.0.0.1:{proxy.port}"
            async with door(proxy=by, ca_file=str(certificate)) as to:
                for reused in (False, True):
                    got = await ask(to, "https://llm.example.com/v1", body)
                    assert (got.status, got.body, got.end, got.progress.reused) == (200, b"{}", None, reused)
        (head,) = forward.heads
        assert head.startswith(b"CONNECT llm.example.com:443 HTTP/1.1\r\nHost: llm.example.com:443\r\n")
        assert _BASIC in head
        (line,) = upstream.lines
        assert line.requests[0].startswith(b"POST /v1 HTTP/1.1\r\nHost: llm.example.com\r\n")
        assert not any(b"roxy-Auth" in each for each in line.requests)


@pytest.mark.parametrize(
    "answer",
    [
        b"HTTP/1.1 407 Proxy Authentication Required\r\nContent-Length: 0\r\n\r\n",
        b"HTTP/1.1 502 Bad Gateway\r\n\r\n",
        b"HTTP/1.1 200 OK\r\n\r\nand more",
        b"not HTTP\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nX-Large: " + b"a" * 70_000,
        b"",
    ],
    ids=["407", "502", "surplus", "garbage", "large", "closes"],
)
async def test_a_proxy_that_leads_nowhere(answer: bytes) -> None:
    """Whatever it says but a bare 2xx, the upstream was not reached."""
    async with scripted(answered(answer)) as proxy, door(proxy=f"http://127.0.0.1:{proxy.port}") as to:
        _failed(await ask(to, "https://llm.example.com/v1"), _PROXY, to)


async def test_a_proxy_that_is_not_there() -> None:
    """Refused is the proxy's fault, a name without an address the name's, and silence is bounded."""
    with _closed_port() as port:
        for scheme in ("http", "https"):
            async with door(proxy=f"http://127.0.0.1:{port}") as to:
                _failed(await ask(to, f"{scheme}://llm.example.com/v1"), _PROXY, to)
    async with door(proxy=f"http://{'a' * 70}.example.com") as to:
        _failed(await ask(to, "https://llm.example.com/v1"), _DNS, to)
    with _deaf() as port:
        async with door(proxy=f"http://127.0.0.1:{port}") as to:
            _failed(await ask(to, "https://llm.example.com/v1", connect=0.2), _LATE, to)


async def test_what_is_behind_a_tunnel_is_trusted_like_any_other(certificate: Path, served: ssl.SSLContext) -> None:
    """Its certificate is read by us."""
    async with scripted(always(OK), served) as upstream, scripted(_Forward(upstream.port)) as proxy:
        async with door(proxy=f"http://127.0.0.1:{proxy.port}") as to:
            _failed(await ask(to, "https://llm.example.com/v1"), _TLS, to)
        async with door(proxy=f"http://127.0.0.1:{proxy.port}", ca_file=str(certificate)) as to:
            _failed(await ask(to, "https://other.example.com/v1"), _TLS, to)
        assert all(not line.requests for line in upstream.lines)
