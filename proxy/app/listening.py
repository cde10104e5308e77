"""A listener: bound to its address here, or on sockets that a supervisor has bound and this process inherits, its own
or everybody's."""

from __future__ import annotations

import socket
from collections.abc import Sequence
from typing import Any

from aiohttp import web

from proxy.app.server import Server
from proxy.app.turns import Turns
from proxy.config.addresses import Address, cannot_listen
from proxy.workers.tally import Tally

HTTP: dict[str, Any] = {"access_log": None, "max_line_size": 64 * 1024, "max_field_size": 64 * 1024}
"""Both listeners' settings: bytes of one header, and no log but our own."""


class CannotStart(Exception):
    """What the configuration asks for is not to be had here: an address, a store, a folder."""


class Listener:
    """One server and where it listens."""

    def __init__(self, server: Server) -> None:
        self._server = server
        self._runner = web.ServerRunner(server, shutdown_timeout=1.0)

    async def open(self, address: Address, inherited: Sequence[int], tally: Tally | None = None) -> str:
        """Take requests; the URL. `inherited` are descriptors that stand for the address, in common with the other
        workers of `tally`. Raises CannotStart.
        """
        await self._runner.setup()
        sockets = [socket.socket(fileno=each) for each in inherited]
        sites = [self._site(each, tally) for each in sockets]
        try:
            for site in sites or [web.TCPSite(self._runner, address.host, address.port)]:
                await site.start()
        except OSError as error:
            raise CannotStart(cannot_listen(address, error)) from error
        host, port = (sockets[0].getsockname() if sockets else self._runner.addresses[0])[:2]
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    def _site(self, inherited: socket.socket, tally: Tally | None) -> web.BaseSite:
        if tally is None:
            return web.SockSite(self._runner, inherited)
        return Turns(self._runner, self._server, inherited, tally)

    async def leave(self) -> None:
        """Give the address up; connections that stand are served on."""
        for site in self._runner.sites:
            await site.stop()

    async def close(self) -> None:
        """Give the address up, and drop every connection."""
        await self._runner.cleanup()
