"""A forward proxy asked to lead on to an upstream that speaks TLS (CONNECT).

1. Only a 2xx opens the tunnel. Its head is read to the last byte and no further: what follows is the upstream's TLS.
2. Bytes that come before anybody asked are nobody's, and end it.
"""

from __future__ import annotations

import asyncio
import re
from typing import cast

from proxy.upstream.request import Target, head
from proxy.upstream.wire import HEADER_BUDGET

_OPENED = re.compile(rb"HTTP/1\.[01] 2\d\d[ \r]")
_END = b"\r\n\r\n"


class ProxyFailed(OSError):
    """The proxy is not to be reached, or leads nowhere."""


class Tunnel(asyncio.Protocol):
    """The connection to the proxy, until what lies behind it takes over."""

    def __init__(self) -> None:
        self._transport: asyncio.Transport
        self._received = b""
        self._opened: asyncio.Future[None] | None = None
        self.spoke = False
        """Bytes came behind the tunnel before it was handed on."""

    async def lead_to(self, target: Target, authorization: str | None) -> None:
        """Ask for the tunnel. Raises ProxyFailed."""
        _, host, port = target.origin
        where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        fields = () if authorization is None else (("Proxy-Authorization", authorization),)
        self._opened = asyncio.get_running_loop().create_future()
        try:
            if self._transport.is_closing():
                raise ProxyFailed
            self._transport.write(head("CONNECT", where, where, fields))
            await self._opened
        except BaseException:
            self._transport.abort()
            raise
        self._opened = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        if self._opened is None or self._opened.done():
            self.spoke = True
            return
        self._received += data
        end = self._received.find(_END)
        if end < 0:
            if len(self._received) > HEADER_BUDGET:
                self._opened.set_exception(ProxyFailed())
        elif _OPENED.match(self._received) and end + len(_END) == len(self._received):
            self._opened.set_result(None)
        else:
            self._opened.set_exception(ProxyFailed())

    def connection_lost(self, error: Exception | None) -> None:
        if self._opened is not None and not self._opened.done():
            self._opened.set_exception(ProxyFailed())
