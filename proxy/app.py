"""The composition root: builds everything once from a configuration, starts and stops it in order. Knows every room.

1. Start: breakers and upstreams, then the listeners; an address that is not to be had ends it with a clear error.
2. Drain: readiness drops and new requests are refused first; nothing in flight is cut within `limits.drain`.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import hashlib
import hmac
import itertools
import random
import secrets
import signal
import time
from collections import Counter
from pathlib import Path
from typing import Any

from aiohttp import web

from proxy.admin.operators import Operators
from proxy.breaker.keeper import Keeper
from proxy.breaker.state import Moved
from proxy.config import load, schema
from proxy.config.addresses import Address
from proxy.demo import tour
from proxy.edge.identity import Identity
from proxy.edge.openai import Bounds, Edge, Sinks
from proxy.edge.server import Server
from proxy.providers.faults import override_row
from proxy.record.log import Log
from proxy.record.metrics import Metrics
from proxy.routing.bindings import bind
from proxy.routing.decision import Decision
from proxy.routing.walk import Ports
from proxy.upstream.attempt import Source, Upstreams
from proxy.upstream.client import Connecting

_HTTP: dict[str, Any] = {"access_log": None, "max_line_size": 64 * 1024, "max_field_size": 64 * 1024}
"""Both listeners' settings: bytes of one header, and no log but our own."""


class CannotListen(Exception):
    """A configured address is not to be had."""


class Replica:
    """One running process of Homeport."""

    def __init__(self, config: schema.Config, log: Log) -> None:
        self._config, self._log = config, log
        self._runners: list[web.BaseRunner] = []
        self._upstreams = Upstreams({name: _source(each) for name, each in config.sources.items()})
        # One key per process: the memory store dies with it, so no target's name has to mean the same afterwards.
        key = secrets.token_bytes(32)
        bindings = bind(config, lambda secret: hmac.digest(key, secret.encode(), hashlib.sha256).hex()[:16])
        keeper = Keeper(time.monotonic, lambda: secrets.token_hex(8), random.random, self._moved)
        ports = Ports(keeper, self._upstreams.send, time.monotonic)
        serving: Counter[str] = Counter()
        began = time.time() - time.monotonic()
        self._metrics = Metrics(bindings, keeper.look, lambda at: began + at, serving)
        boot, count = secrets.token_hex(5), itertools.count(1)
        self.edge = Edge(
            Identity(config),
            bindings,
            ports,
            Bounds(config.limits.body, config.limits.in_flight, config.limits.buffered),
            Sinks(self._ended, log.failed),
            serving,
            lambda: f"req_{boot}{next(count):06x}",
            time.time,
        )
        self.data_address = self.admin_address = ""

    def _moved(self, target: str, move: Moved) -> None:
        self._metrics.moved(target, move)
        self._log.moved(target, move)

    def _ended(self, decision: Decision) -> None:
        self._metrics.ended(decision)
        self._log.decision(decision)

    async def start(self) -> None:
        """Bind both listeners; `data_address` and `admin_address` are then their URLs."""
        operators = Operators(self._metrics.exposition, lambda: self.edge.draining)
        server = Server(self.edge.serve, self.edge.malformed, handler_cancellation=True, **_HTTP)
        self.data_address = await self._listen(web.ServerRunner(server, shutdown_timeout=1.0), self._config.listen)
        application = web.Application()
        application.add_routes(operators.routes())
        runner = web.AppRunner(application, shutdown_timeout=1.0, **_HTTP)
        self.admin_address = await self._listen(runner, self._config.admin.listen)
        # What start-up made lives as long as the process: the collector need not look at it again.
        gc.collect()
        gc.freeze()
        self._log.event("ready", listen=self.data_address, admin=self.admin_address)

    async def _listen(self, runner: web.BaseRunner, address: Address) -> str:
        await runner.setup()
        self._runners.append(runner)
        site = web.TCPSite(runner, address.host, address.port)
        try:
            await site.start()
        except OSError as error:
            raise CannotListen(f"cannot listen on {address.host}:{address.port}: {error.strerror}") from error
        host, port = runner.addresses[0][:2]
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    async def drain(self, stop: asyncio.Event) -> None:
        """Refuse new requests and wait for those in flight, at most `limits.drain` seconds or until `stop`."""
        self.edge.draining = True
        self._log.event("draining", in_flight=self.edge.in_flight, limit_s=self._config.limits.drain)
        waiting = {asyncio.ensure_future(event.wait()) for event in (self.edge.idle, stop)}
        _, late = await asyncio.wait(waiting, timeout=self._config.limits.drain, return_when=asyncio.FIRST_COMPLETED)
        for each in late:
            each.cancel()
        if self.edge.in_flight:
            self._log.event("cut", in_flight=self.edge.in_flight)
            self.edge.cut()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self.edge.idle.wait(), 1.0)

    async def close(self) -> None:
        """Stop listening and drop every connection."""
        for runner in self._runners:
            await runner.cleanup()
        await self._upstreams.close()
        self._log.event("stopped")


async def serve(config: schema.Config, log: Log) -> None:
    """Run one replica until SIGTERM or SIGINT, then drain it. A second signal ends the drain."""
    replica = Replica(config, log)
    term, again = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, lambda: (again if term.is_set() else term).set())
    loop.add_signal_handler(
        signal.SIGHUP, lambda: log.event("reload_ignored", why="this version reads its configuration at start only")
    )
    try:
        await replica.start()
        await term.wait()
        await replica.drain(again)
    finally:
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(replica.close(), 10)


async def demo(log: Log, *, once: bool) -> bool:
    """Give the guided tour; True when everything went as it says. Unless `once`, stay up until interrupted."""
    replicas: list[Replica] = []

    async def start(text: str) -> tuple[str, str]:
        config = load.parse(text, "demo", {}, Path())
        if isinstance(config, tuple):
            raise ValueError("\n".join(map(str, config)))
        replicas.append(Replica(config, log))
        await replicas[-1].start()
        return replicas[-1].data_address, replicas[-1].admin_address

    try:
        return await tour.guide(start, log.unmute, once=once)
    finally:
        for replica in replicas:
            await replica.close()


def _source(source: schema.Source) -> Source:
    secret = source.api_key
    credential = (("Authorization", f"Bearer {secret.get_secret_value()}"),) if secret else ()
    fixed = tuple((name, value.get_secret_value()) for name, value in source.headers.items())
    return Source(
        base_url=source.base_url,
        headers=(*credential, *fixed),
        forward_headers=frozenset(name.lower() for name in source.forward_headers),
        connecting=Connecting(source.max_connections, source.proxy, source.ca_file),
        overrides=tuple(
            override_row(fault.status, fault.code, fault.type, fault.phrase, fault.cause) for fault in source.faults
        ),
    )
