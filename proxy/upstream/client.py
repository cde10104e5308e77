"""The door to one source: a request goes out, an open answer or a diagnosis comes back. Only here is the client known.

1. The client's exceptions are mapped here, once; nothing of it crosses the door.
2. A pooled connection that the upstream closed before a single byte of answer costs one retry on a fresh connection,
   never two, and only while the retry budget lasts. Nothing else is ever sent twice to the same tier.
3. Our own trouble (file descriptors, our resolver, our pool being full) is LOCAL: it says nothing of the upstream.
"""

from __future__ import annotations

import asyncio
import errno
import io
import socket
import ssl
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Self

import aiohttp
from multidict import CIMultiDict
from yarl import URL

from proxy.terms import Cause, Diagnosis, Headers, Progress

_OURS = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM, errno.EADDRNOTAVAIL})
_LARGE_BODY = 1024 * 1024
_HEADER_BUDGET = 64 * 1024


@dataclass(frozen=True, slots=True)
class Connecting:
    """How a source's connections are made."""

    max_connections: int = 100
    proxy: str | None = None
    ca_file: str | None = None


@dataclass(frozen=True, slots=True)
class Connections:
    """How many a source has now."""

    in_use: int
    idle: int
    """Kept for the next request."""
    waiting: int
    """Requests for which none is free."""


class RetryBudget:
    """At most 20 % of requests plus three a second are retried; a burst of up to ten is saved up."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock, self._saved, self._at = clock, 10.0, clock()

    def earn(self) -> None:
        """A request went out."""
        now = self._clock()
        self._saved = min(10.0, self._saved + 0.2 + 3.0 * (now - self._at))
        self._at = now

    def spend(self) -> bool:
        """True if a retry may be made now."""
        if self._saved < 1.0:
            return False
        self._saved -= 1.0
        return True


class Answer:
    """An upstream's open answer (a terms.Reply)."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response
        # Bytes that are no UTF-8 arrive as lone surrogates, which no server can send on.
        self.headers: Headers = tuple((name, _sendable(value)) for name, value in response.headers.items())

    @property
    def status(self) -> int:
        return self._response.status

    async def chunk(self) -> bytes | Diagnosis:
        try:
            return await self._response.content.readany()
        except (aiohttp.ClientError, OSError) as error:
            return _diagnose_answer(error)

    def close(self) -> None:
        # After the answer's end the connection is back in its pool and this does nothing; before, it is dropped.
        self._response.close()


class Door:
    """One source's connections."""

    def __init__(self, connecting: Connecting, budget: RetryBudget) -> None:
        self._connecting = connecting
        self._budget = budget
        self._connectors: list[_Connector] = []
        trust = ssl.create_default_context(cafile=connecting.ca_file)
        self._pooled = self._session(trust, force_close=False)
        self._fresh = self._session(trust, force_close=True)

    def connections(self) -> Connections:
        """Those of now. May be asked from another thread."""
        counts = [each.counts() for each in self._connectors]
        return Connections(*(sum(column) for column in zip(*counts, strict=True)))

    def _session(self, trust: ssl.SSLContext, *, force_close: bool) -> aiohttp.ClientSession:
        options: dict[str, Any] = {} if force_close else {"keepalive_timeout": 60}
        connector = _Connector(
            limit=self._connecting.max_connections,
            ssl=trust,
            force_close=force_close,
            socket_factory=_keepalive_socket,
            **options,
        )
        self._connectors.append(connector)
        return aiohttp.ClientSession(
            connector=connector,
            cookie_jar=aiohttp.DummyCookieJar(),
            timeout=aiohttp.ClientTimeout(total=None),
            trace_configs=[_milestones()],
            skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
            max_line_size=_HEADER_BUDGET,
            max_field_size=_HEADER_BUDGET,
        )

    async def post(
        self, url: str, headers: Headers, body: bytes, progress: Progress, connect: float
    ) -> Answer | Diagnosis:
        """Send one POST. `connect` bounds TCP and TLS, in seconds; other limits are the caller's, who may cancel."""
        self._budget.earn()
        answer = await self._post(self._pooled, url, headers, body, progress, connect)
        if isinstance(answer, _Stale):
            if self._budget.spend():
                progress.retried = True
                answer = await self._post(self._fresh, url, headers, body, progress, connect)
            if isinstance(answer, _Stale):
                return answer.diagnosis
        return answer

    async def _post(
        self,
        session: aiohttp.ClientSession,
        url: str,
        headers: Headers,
        body: bytes,
        progress: Progress,
        connect: float,
    ) -> Answer | Diagnosis | _Stale:
        progress.reused = False
        try:
            response = await session.post(
                URL(url, encoded=True),
                data=io.BytesIO(body) if len(body) > _LARGE_BODY else body,
                headers=CIMultiDict(headers),
                allow_redirects=False,
                proxy=self._connecting.proxy,
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=connect),
                trace_request_ctx=progress,
            )
        except (aiohttp.ClientError, OSError, ValueError) as error:
            diagnosis = _diagnose_request(error)
            untouched = isinstance(error, aiohttp.ServerDisconnectedError | aiohttp.ClientOSError) and not _answered(
                error
            )
            return _Stale(diagnosis) if progress.reused and untouched else diagnosis
        progress.status = response.status
        progress.first_byte = time.monotonic()
        return Answer(response)

    async def close(self) -> None:
        """Drop every connection."""
        await self._pooled.close()
        await self._fresh.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()


@dataclass(frozen=True, slots=True)
class _Stale:
    """The pooled connection was closed under us before one byte of answer."""

    diagnosis: Diagnosis


def _answered(error: Exception) -> bool:
    # The parser hands on the head it had begun to read, if it had begun.
    return isinstance(error, aiohttp.ServerDisconnectedError) and not isinstance(error.message, str)


class _Connector(aiohttp.TCPConnector):
    """Drops a pooled connection on which the upstream spoke unasked: its words would be taken for the next answer."""

    async def _get(self, key: Any, traces: list[Any]) -> Any:
        while (connection := await super()._get(key, traces)) is not None:
            if connection.protocol is not None and not connection.protocol.should_close:
                break
            connection.close()
        return connection

    def counts(self) -> tuple[int, int, int]:
        """In use, idle, waited for. The lists are copied in one step each, since another thread may ask."""
        idle, waiting = list(self._conns.values()), list(self._waiters.values())
        return len(self._acquired), sum(map(len, idle)), sum(map(len, waiting))


def _milestones() -> aiohttp.TraceConfig:
    trace = aiohttp.TraceConfig(
        trace_config_ctx_factory=lambda trace_request_ctx: trace_request_ctx  # type: ignore[arg-type]
    )

    async def reused(_session: object, progress: Progress, _params: object) -> None:
        progress.reused = progress.sent = True
        progress.connected = time.monotonic()

    async def created(_session: object, progress: Progress, _params: object) -> None:
        # A pooled connection may have been looked at before, and found wanting.
        progress.sent, progress.reused = True, False
        progress.connected = time.monotonic()

    async def queued(_session: object, progress: Progress, _params: object) -> None:
        progress.queued = True

    async def dequeued(_session: object, progress: Progress, _params: object) -> None:
        progress.queued = False

    trace.on_connection_reuseconn.append(reused)  # type: ignore[arg-type]  # aiohttp types the context as SimpleNamespace
    trace.on_connection_create_end.append(created)  # type: ignore[arg-type]
    trace.on_connection_queued_start.append(queued)  # type: ignore[arg-type]
    trace.on_connection_queued_end.append(dequeued)  # type: ignore[arg-type]
    return trace


def _keepalive_socket(addr_info: tuple[Any, ...]) -> socket.socket:
    """A socket that notices a dead peer within a minute, however long the answer may rightly take."""
    family, kind, proto, *_ = addr_info
    made = socket.socket(family=family, type=kind, proto=proto)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, seconds in (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3)):
        if hasattr(socket, option):
            made.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), seconds)
    return made


def _sendable(value: str) -> str:
    return value if value.isascii() else value.encode("utf-8", "surrogateescape").decode("utf-8", "replace")


def _diagnose_request(error: Exception) -> Diagnosis:
    """What kept an answer's head from coming."""
    os_error = getattr(error, "os_error", error)
    if getattr(os_error, "errno", None) in _OURS:
        return Diagnosis(Cause.LOCAL, "no_resources")
    match error:
        case aiohttp.ClientConnectorDNSError():
            ours = getattr(os_error, "errno", None) == socket.EAI_AGAIN
            return Diagnosis(Cause.LOCAL if ours else Cause.NETWORK, "dns_error")
        case aiohttp.ClientSSLError() | ssl.SSLError():
            return Diagnosis(Cause.NETWORK, "tls_error")
        case aiohttp.ClientProxyConnectionError() | aiohttp.ClientHttpProxyError():
            return Diagnosis(Cause.NETWORK, "proxy_error")
        case aiohttp.ClientConnectorError():
            return Diagnosis(Cause.NETWORK, "connect_error")
        case asyncio.TimeoutError():
            return Diagnosis(Cause.TIMEOUT_CONNECT, "connect")
        case aiohttp.ServerDisconnectedError():
            return Diagnosis(Cause.NETWORK, "closed")
        case aiohttp.ClientOSError() | aiohttp.ClientConnectionError() | OSError():
            return Diagnosis(Cause.NETWORK, "reset")
        case _:
            return Diagnosis(Cause.SERVER, "bad_http")


def _diagnose_answer(error: Exception) -> Diagnosis:
    """What broke an answer that had begun."""
    if getattr(error, "errno", None) in _OURS:
        return Diagnosis(Cause.LOCAL, "no_resources")
    truncated = isinstance(error, aiohttp.ClientPayloadError)
    return Diagnosis(Cause.STREAM_BROKEN, "truncated" if truncated else "reset")
