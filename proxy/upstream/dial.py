"""A new connection to an upstream: its name, its address, perhaps a forward proxy, TLS.

1. An address is judged when it is connected to, after its name was resolved, whoever resolved it: what a source may not
   have gets no socket. With a forward proxy it is the proxy's address that is connected to, and judged.
2. One limit of time bounds everything that follows the resolution of the name.
3. What goes wrong is a Diagnosis, told apart by where it went wrong.
"""

from __future__ import annotations

import asyncio
import errno
import functools
import socket
import ssl
from collections.abc import Callable
from typing import TypeVar

from aiohappyeyeballs import start_connection

from proxy.providers.networks import Network, network
from proxy.terms import Cause, Diagnosis
from proxy.upstream.names import AddressInfo, Lookup, Names
from proxy.upstream.request import Origin, Target, forward_proxy
from proxy.upstream.tunnel import ProxyFailed, Tunnel
from proxy.upstream.wire import Connection, local

_NEXT_ADDRESS = 0.25
"""Seconds until the next address of a name is tried beside one that has not answered."""
_P = TypeVar("_P", bound=asyncio.Protocol)


class Dialer:
    """Makes the connections of one source."""

    def __init__(self, *, proxy: str | None, ca_file: str | None, private: bool, lookup: Lookup) -> None:
        """`private`: the address may be a private one. `lookup` resolves names."""
        self.proxy = None if proxy is None else forward_proxy(proxy)
        self._private = private
        self._names = Names(lookup)
        self._trust = _system_trust() if ca_file is None else ssl.create_default_context(cafile=ca_file)

    async def dial(self, target: Target, limit: float, make: Callable[[], Connection]) -> Connection | Diagnosis:
        """A connection over which `target` can be asked, within `limit` seconds."""
        peer = target.origin if self.proxy is None else self.proxy.origin
        try:
            addresses = await self._names.addresses(*peer[1:])
        except (OSError, UnicodeError) as error:
            return local(error) or _unresolved(error)
        timer = asyncio.timeout(limit)
        try:
            async with timer:
                return await self._connect(peer, addresses, target, make)
        except (OSError, RuntimeError) as error:  # uvloop has a RuntimeError for some of the system's
            return Diagnosis(Cause.TIMEOUT_CONNECT, "connect") if timer.expired() else _unconnected(error)

    async def _connect(
        self, peer: Origin, addresses: list[AddressInfo], target: Target, make: Callable[[], Connection]
    ) -> Connection:
        if self.proxy is None:
            _, connection = await self._open(peer, addresses, make)
            return connection
        try:
            if not target.origin[0]:
                _, connection = await self._open(peer, addresses, make)
                return connection
            transport, tunnel = await self._open(peer, addresses, Tunnel)
            await tunnel.lead_to(target, self.proxy.authorization)
        except (_AddressRefused, ssl.SSLError):
            raise
        except OSError as error:
            if local(error):
                raise
            raise ProxyFailed from error
        return await self._through(transport, tunnel, target, make)

    async def _open(
        self, peer: Origin, addresses: list[AddressInfo], make: Callable[[], _P]
    ) -> tuple[asyncio.Transport, _P]:
        """TCP, and TLS where the peer has it."""
        sock = await start_connection(
            addresses, happy_eyeballs_delay=_NEXT_ADDRESS, interleave=1, socket_factory=self._socket
        )
        tls, host, _ = peer
        trust, name = (self._trust, _certified(host)) if tls else (None, None)
        return await asyncio.get_running_loop().create_connection(make, sock=sock, ssl=trust, server_hostname=name)

    async def _through(
        self, transport: asyncio.Transport, tunnel: Tunnel, target: Target, make: Callable[[], Connection]
    ) -> Connection:
        """TLS with the upstream itself, at the tunnel's other end."""
        try:
            inner = await asyncio.get_running_loop().start_tls(
                transport, tunnel, self._trust, server_hostname=_certified(target.origin[1])
            )
        except BaseException:
            transport.abort()
            raise
        if inner is None or inner.is_closing() or tunnel.spoke:
            transport.abort()
            raise ConnectionResetError(errno.ECONNRESET, "closed behind the tunnel")
        connection = make()
        inner.set_protocol(connection)
        connection.connection_made(inner)
        return connection

    def _socket(self, address: AddressInfo) -> socket.socket:
        """One for an address that the source may have. Asked once for a connection, however long that lasts."""
        lies = network(address[4][0])
        if lies is Network.PUBLIC or (lies is Network.PRIVATE and self._private):
            return _keepalive_socket(address)
        raise _AddressRefused(errno.EACCES, "an address that this source may not have")


class _AddressRefused(OSError):
    """No socket was made. The same words each time, so that it is handed on as it is when several were met."""


def _certified(host: str) -> str:
    """A host as certificates have it."""
    return host.rstrip(".")


def _keepalive_socket(address: AddressInfo) -> socket.socket:
    """A socket that notices a dead peer within a minute, however long the answer may rightly take."""
    family, kind, proto, *_ = address
    made = socket.socket(family=family, type=kind, proto=proto)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for option, seconds in (("TCP_KEEPIDLE", 30), ("TCP_KEEPINTVL", 10), ("TCP_KEEPCNT", 3)):
        if hasattr(socket, option):
            made.setsockopt(socket.IPPROTO_TCP, getattr(socket, option), seconds)
    return made


def _unresolved(error: Exception) -> Diagnosis:
    ours = getattr(error, "errno", None) == socket.EAI_AGAIN
    return Diagnosis(Cause.LOCAL if ours else Cause.NETWORK, "dns_error")


def _unconnected(error: Exception) -> Diagnosis:
    match error:
        case _AddressRefused():
            return Diagnosis(Cause.ADDRESS_REFUSED, "address_refused")
        case ssl.SSLError():
            return Diagnosis(Cause.NETWORK, "tls_error")
        case ProxyFailed():
            return Diagnosis(Cause.NETWORK, "proxy_error")
        case _:
            return local(error) or Diagnosis(Cause.NETWORK, "connect_error")


@functools.cache
def _system_trust() -> ssl.SSLContext:
    """Read once: it takes a while, and many sources trust the same authorities."""
    return ssl.create_default_context()
