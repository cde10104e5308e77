"""The addresses of a name, looked up once for all who want them at that moment.

1. A lookup goes on when the one who asked first stops waiting: others wait for it too.
2. What was found is used for FRESH seconds, beginning at another of the addresses each time; a failure is not kept.
"""

from __future__ import annotations

import asyncio
import ipaddress
import socket
import time
from collections.abc import Awaitable, Callable

AddressInfo = tuple[int, int, int, str, tuple[str, int] | tuple[str, int, int, int]]
"""Family, type, protocol, canonical name and address, as getaddrinfo gives them."""
Lookup = Callable[[str, int], Awaitable[list[AddressInfo]]]
"""Host and port → addresses. Raises OSError."""
FRESH = 10.0
"""Seconds; little, since names are moved by whoever owns them."""


async def ask_system(host: str, port: int) -> list[AddressInfo]:
    """What this machine's resolver says."""
    found = await asyncio.get_running_loop().getaddrinfo(
        host, port, type=socket.SOCK_STREAM, flags=socket.AI_ADDRCONFIG
    )
    return [(family, kind, proto, name, address) for family, kind, proto, name, address in found]  # type: ignore[misc]


class Names:
    """The names of one source."""

    def __init__(self, lookup: Lookup = ask_system, clock: Callable[[], float] = time.monotonic) -> None:
        self._lookup, self._clock = lookup, clock
        self._found: dict[tuple[str, int], tuple[float, list[AddressInfo]]] = {}
        self._asking: dict[tuple[str, int], asyncio.Task[list[AddressInfo]]] = {}

    async def addresses(self, host: str, port: int) -> list[AddressInfo]:
        """At least one. An address is its own. Raises OSError."""
        if literal := _literal(host, port):
            return [literal]
        key = (host, port)
        at, found = self._found.get(key, (0.0, []))
        if not found or self._clock() - at >= FRESH:
            task = self._asking.get(key)
            if task is None:
                task = self._asking[key] = asyncio.create_task(self._ask(key))
            found = await asyncio.shield(task)
        found.append(found.pop(0))
        return list(found)

    async def _ask(self, key: tuple[str, int]) -> list[AddressInfo]:
        try:
            found = await self._lookup(*key)
            if not found:
                raise socket.gaierror(socket.EAI_NONAME, "no address")
            self._found[key] = (self._clock(), found)
            return found
        finally:
            del self._asking[key]


def _literal(host: str, port: int) -> AddressInfo | None:
    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return None
    if address.version == 4:
        return socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (host, port)
    return socket.AF_INET6, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (host, port, 0, 0)
