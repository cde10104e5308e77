"""The composition root: builds everything once from a configuration, starts and stops it in order. Knows every room.

1. Start: breakers and upstreams, then the listeners; an address that is not to be had ends it with a clear error.
2. Drain: readiness drops first, new requests are refused `limits.notice` later; nothing in flight is cut within
   `limits.drain`.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import gc
import hashlib
import itertools
import random
import secrets
import signal
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

from aiohttp import web

import proxy
from proxy.admin.breakers import Hand
from proxy.admin.operators import Operators
from proxy.admin.status import Sources
from proxy.breaker.keeper import Keeper
from proxy.breaker.link import Link
from proxy.breaker.state import Moved
from proxy.config import load, schema
from proxy.config.addresses import Address
from proxy.demo import tour
from proxy.edge.identity import Identity
from proxy.edge.openai import Bounds, Edge, Sinks
from proxy.edge.server import Server
from proxy.providers.faults import override_row
from proxy.record import lag
from proxy.record.log import Log
from proxy.record.metrics import Metrics
from proxy.routing.bindings import bind
from proxy.routing.decision import Decision
from proxy.routing.walk import Ports
from proxy.upstream.attempt import Source, Upstreams
from proxy.upstream.client import Connecting

_HTTP: dict[str, Any] = {"access_log": None, "max_line_size": 64 * 1024, "max_field_size": 64 * 1024}
"""Both listeners' settings: bytes of one header, and no log but our own."""


class CannotStart(Exception):
    """What the configuration asks for is not to be had here: an address, a store."""


class Replica:
    """One running process of Homeport."""

    def __init__(self, config: schema.Config, log: Log) -> None:
        self._config, self._log = config, log
        self._runners: list[web.BaseRunner] = []
        self._upstreams = Upstreams({name: _source(each) for name, each in config.sources.items()})
        bindings = bind(config, _identify)
        boot, count = secrets.token_hex(5), itertools.count(1)
        self._link = self._shared(config, boot)
        keeper = Keeper(time.monotonic, lambda: secrets.token_hex(8), random.random, self._moved, self._link)
        for guard in bindings.guards():
            keeper.watch(guard)
        ports = Ports(keeper, self._upstreams.send, time.monotonic)
        serving: Counter[str] = Counter()
        began = time.time() - time.monotonic()
        status = self._link.status if self._link is not None else None
        self._metrics = Metrics(
            bindings, keeper.look, lambda at: began + at, serving, status, self._upstreams.connections
        )
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
        self._token = config.admin.token.get_secret_value() if config.admin.token else secrets.token_urlsafe(24)
        self._facts = Sources(
            version=proxy.__version__,
            replica=boot,
            began=time.time(),
            bindings=bindings,
            look=keeper.look,
            link=lambda: self._link.status() if self._link is not None else None,
            delays=lambda: list(self._metrics.delays),
            in_flight=lambda: self.edge.in_flight,
            draining=lambda: self.edge.leaving,
            now=time.time,
            to_unix=lambda at: began + at,
        )
        self._hand = Hand(bindings, keeper.operate, time.monotonic)
        self._linking: asyncio.Task[None] | None = None
        self._watching: asyncio.Task[None] | None = None

    def _shared(self, config: schema.Config, replica: str) -> Link | None:
        shared = config.shared_store
        if shared is None:
            return None
        # Who shares nothing need not load the client, which takes a moment.
        from proxy.breaker.redis_store import RedisStore

        try:
            store = RedisStore(shared.url, shared.namespace, time.monotonic, self._timed)
        except ValueError as error:
            raise CannotStart(f"store: {error}") from error
        return Link(store, replica, time.monotonic, random.random, self)

    def _timed(self, operation: str, seconds: float, error: str | None) -> None:
        self._metrics.store_operation(operation, seconds, error)

    # -- what the link tells (a linked.Facts)

    def moved(self, target: str, move: Moved) -> None:
        """This replica changed a target's word for everybody."""
        self._moved(target, move)

    def link(self, *, up: bool, why: str) -> None:
        """The store came or went."""
        self._log.event("store", up=up, **({"why": why} if why else {}))

    def propagated(self, seconds: float) -> None:
        """A push took so long."""
        self._metrics.propagated(seconds)

    # --

    def _moved(self, target: str, move: Moved) -> None:
        self._metrics.moved(target, move)
        self._log.moved(target, move)

    def _ended(self, decision: Decision) -> None:
        self._metrics.ended(decision)
        self._log.decision(decision)

    @property
    def made_up_token(self) -> str | None:
        """The operators' token, where the configuration has none."""
        return None if self._config.admin.token else self._token

    async def start(self) -> None:
        """Bind both listeners; `data_address` and `admin_address` are then their URLs."""
        if self._link is not None:
            # So that the first request already knows what the fleet knows; a store that is away costs half a second.
            await self._link.sync()
            self._linking = asyncio.get_running_loop().create_task(self._link.run())
        self._watching = asyncio.get_running_loop().create_task(lag.watch(time.monotonic, self._metrics.lagged))
        operators = Operators(self._metrics.exposition, self._facts, self._hand, self._token)
        server = Server(self.edge.serve, self.edge.malformed, handler_cancellation=True, **_HTTP)
        self.data_address = await self._listen(web.ServerRunner(server, shutdown_timeout=1.0), self._config.listen)
        application = web.Application(client_max_size=64 * 1024)
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
            raise CannotStart(
                f"cannot listen on {address.host}:{address.port}: {error.strerror}; "
                "choose another address with --listen or --admin"
            ) from error
        host, port = runner.addresses[0][:2]
        return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"

    async def drain(self, stop: asyncio.Event) -> None:
        """Stop being ready; after `limits.notice` refuse new requests, and wait for those in flight, at most
        `limits.drain` seconds. `stop` ends either wait.
        """
        self.edge.leaving = True
        self._log.event("draining", in_flight=self.edge.in_flight, limit_s=self._config.limits.drain)
        if self._config.limits.notice is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(self._config.limits.notice):
                    await stop.wait()
        self.edge.draining = True
        waiting = {asyncio.ensure_future(event.wait()) for event in (self.edge.idle, stop)}
        _, late = await asyncio.wait(waiting, timeout=self._config.limits.drain, return_when=asyncio.FIRST_COMPLETED)
        for each in late:
            each.cancel()
        if self.edge.in_flight:
            self._log.event("cut", in_flight=self.edge.in_flight)
            self.edge.cut()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(1.0):
                    await self.edge.idle.wait()

    async def close(self) -> None:
        """Stop listening and drop every connection."""
        for runner in self._runners:
            await runner.cleanup()
        await self._upstreams.close()
        if self._watching is not None:
            self._watching.cancel()
            await asyncio.gather(self._watching, return_exceptions=True)
        if self._link is not None and self._linking is not None:
            self._linking.cancel()
            await asyncio.gather(self._linking, return_exceptions=True)
            await self._link.close()
        self._log.event("stopped")


async def serve(config: schema.Config, log: Log, announce: Callable[[str], None]) -> None:
    """Run one replica until SIGTERM or SIGINT, then drain it. A second signal ends the drain.

    `announce` says what only who started it may read: a token that was made up.
    """
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
        if replica.made_up_token is not None:
            announce(f"operators' token for this run (admin.token sets one): {replica.made_up_token}")
        await term.wait()
        await replica.drain(again)
    finally:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(10):
                await replica.close()


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


@functools.cache
def _identify(secret: str) -> str:
    """A name for a credential that all replicas give it and that does not give it away.

    Slow on purpose (some 10 ms), so that who reads the store cannot try short keys by the million.
    """
    return hashlib.scrypt(secret.encode(), salt=b"homeport credential", n=2**12, r=8, p=1, dklen=8).hex()


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
