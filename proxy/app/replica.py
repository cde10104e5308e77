"""One running process of Homeport: everything it is made of, and what is swapped when its configuration changes.

1. Start: what is in force, breakers and upstreams, then the listeners; an address that is not to be had ends it with a
   clear error.
2. A configuration is swapped in one step, between two requests; what requests in flight go by lives until they end.
3. Drain: readiness drops first, new requests are refused `limits.notice` later; nothing in flight is cut within
   `limits.drain`.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import random
import secrets
import time
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import orjson

import proxy
from proxy.admin.access.auth import Gate
from proxy.admin.access.sessions import Sessions
from proxy.admin.assistants import Assistants
from proxy.admin.breakers import Hand
from proxy.admin.decisions import Decisions
from proxy.admin.dry_run import DryRun
from proxy.admin.events import Events
from proxy.admin.operators import Operators
from proxy.admin.page.serving import Page
from proxy.admin.status import Sources
from proxy.admin.table import Calls, table
from proxy.admin.trial.binding_test import BindingTest
from proxy.app import building
from proxy.app.configured import Configured, Load
from proxy.app.listening import HTTP, CannotStart, Listener
from proxy.app.server import Server
from proxy.beside import beside, let_go
from proxy.breaker.keeper import Keeper
from proxy.breaker.link import Link
from proxy.breaker.state import Moved
from proxy.config import schema
from proxy.config.addresses import Address
from proxy.config.edits import unsettled
from proxy.config.state_dir import KeepError, StateDir
from proxy.edge import asked
from proxy.edge.exchange import Serving
from proxy.edge.identity import Identity
from proxy.edge.openai import Edge, Sinks, numbered
from proxy.record import happenings, lag
from proxy.record.ended import Ended
from proxy.record.journal import Journal
from proxy.record.lately import Lately
from proxy.record.live_metrics import Configuration, Now
from proxy.record.log import Log
from proxy.record.metrics import Metrics
from proxy.record.telling import Telling
from proxy.routing.bindings import Bindings, bind
from proxy.routing.walk import Ports
from proxy.upstream.listing import Listings
from proxy.upstream.oauth.account import Account, World
from proxy.upstream.oauth.accounts import Accounts
from proxy.upstream.upstreams import Upstreams
from proxy.workers.seat import Seat
from proxy.workers.tally import Tally

_RETIRE = 0.5
"""Seconds between looks whether a request still goes by a former configuration."""


class Replica:
    """One running process of Homeport. Its link, its configuration and its accounts tell it of themselves."""

    def __init__(self, config: schema.Config, log: Log, load: Load | None, seat: Seat | None = None) -> None:
        """`load` reads the configuration again; None where there is nothing to read. `seat` is a worker's."""
        # A name outlives a worker that is replaced, and no request of the next one may have an id of the last one's.
        self._log, run = log, secrets.token_hex(5)
        self._name, self._seat = run if seat is None else seat.name, seat
        self._began, self._to_unix = time.time(), _unix_of_monotonic(time.time() - time.monotonic())
        self._listeners: list[Listener] = []
        self._beside: set[asyncio.Task[None]] = set()
        """Tasks for as long as it runs."""
        self.started = asyncio.Event()
        self.data_address = self.admin_address = ""
        made_up = secrets.token_urlsafe(24) if seat is None else seat.token
        self._token = config.admin.token.get_secret_value() if config.admin.token else made_up
        told = config.admin.token is not None or (seat is not None and not seat.announce)
        self.made_up_token = None if told else made_up
        """The operators' token, where the configuration has none and nobody was told."""
        self._link, self._journal, book, self._tokens = self._shared(config)
        self._accounts = Accounts(
            World(time.time, time.monotonic, random.random, lambda: secrets.token_hex(8), self._tokens, self)
        )
        state_dir = None if config.state_dir is None else StateDir(Path(config.state_dir))
        self.configured = Configured(config, load, state_dir, book, time.time)
        self._keeper = Keeper(time.monotonic, lambda: secrets.token_hex(8), random.random, self._moved, self._link)
        self._upstreams = Upstreams(building.sources(config, self._accounts))
        self._retiring: list[Upstreams] = []
        """Those of former configurations, by which requests in flight still go."""
        bindings = bind(config, self.configured.revision, building.identify)
        self._bound, self._targets = config, dict(bindings.targets)
        serving = self._serving(config, bindings)
        self._ended = Ended(lambda ended: self._telling(ended))
        self.edge = Edge(serving, Sinks(self._ended.add, log.failed), numbered(run), time.time)
        self._metrics = Metrics(
            Now(
                bindings=self._bindings,
                look=self._keeper.look,
                to_unix=self._to_unix,
                serving=self.edge.asking,
                trying=self.edge.trying,
                connections=lambda: self._upstreams.connections(),
                remaining=lambda: self._upstreams.remaining,
                expiries=self._accounts.expiries,
                lately=Lately(),
                journal=self._journal.status,
                configuration=self._configuration,
                link=None if self._link is None else self._link.status,
            )
        )
        self._telling = Telling(self._metrics, log, self._journal if config.decisions.keep > 0 else None)

    def _bindings(self) -> Bindings:
        return self.edge.serving.bindings

    async def _drafted(self, assistant: str, fields: Mapping[str, Any]) -> Bindings:
        draft = self.configured.draft(assistant, fields)
        return await beside(bind, draft, self.configured.revision, building.identify)

    def _configuration(self) -> Configuration:
        known = self.configured
        open_ = sum(1 for _ in unsettled(known.file, known.book.edits, known.book.settled))
        return Configuration(known.revision, known.file.fingerprint, open_)

    def _shared(self, config: schema.Config) -> tuple[Link | None, Journal, Any, Any]:
        shared, keep, age = config.shared_store, config.decisions.keep, config.decisions.age
        if shared is None:
            return None, Journal(keep, age, time.time, None), None, None
        # Who shares nothing need not load the client, which takes a moment.
        from proxy.breaker.redis_door import RedisDoor
        from proxy.breaker.redis_store import RedisStore
        from proxy.record.redis_journal import RedisJournal
        from proxy.record.shared_ledger import SharedLedger
        from proxy.record.shared_tokens import SharedTokens

        url, namespace = shared.url, shared.namespace
        try:
            store = RedisStore(url, namespace, time.monotonic, self._timed)
            journal = RedisJournal(url, namespace, keep, age, time.monotonic, self._timed)
            book = SharedLedger(RedisDoor(url, time.monotonic, self._timed, 1), namespace)
            tokens = SharedTokens(RedisDoor(url, time.monotonic, self._timed, 1), namespace)
        except ValueError as error:
            raise CannotStart(f"store: {error}") from error
        link = Link(store, self._name, time.monotonic, random.random, self)
        return link, Journal(keep, age, time.time, journal), book, tokens

    def _serving(self, config: schema.Config, bindings: Bindings) -> Serving:
        for guard in bindings.guards:
            self._keeper.watch(guard)
        ports = Ports(self._keeper, self._upstreams.send, time.monotonic)
        return Serving(self._name, Identity(config), bindings, ports, building.bounds(config))

    # -- what the configuration tells (a configured.Told)

    async def serve(self, config: schema.Config, revision: str) -> None:
        """Serve another configuration from now on; what is in flight ends by the one that it began with."""
        former, upstreams = self.edge.serving, self._upstreams
        bindings = replace(former.bindings, revision=revision)
        if config is not self._bound:
            bindings = await beside(bind, config, revision, building.identify)
        self._upstreams = Upstreams(building.sources(config, self._accounts), upstreams)
        self._metrics.accounts(self._accounts.by_source)
        await self._accounts.settle()
        self._targets |= bindings.targets
        self._metrics.follow(bindings)
        before, self._bound = self._bound, config
        self.edge.serving = self._serving(config, bindings)
        self._spawn(self._retire(former, upstreams, before))

    async def _retire(self, former: Serving, upstreams: Upstreams, config: schema.Config) -> None:
        self._retiring.append(upstreams)
        while self.edge.uses(former):  # noqa: ASYNC110  # what it waits for costs requests nothing this way
            await asyncio.sleep(_RETIRE)
        self._retiring.remove(upstreams)
        await upstreams.close()
        pieces = [*former.bindings.routes.values()], [*config.assistants.values()]
        del former, config
        await beside(let_go, *pieces)

    def event(self, what: str, **facts: Any) -> None:
        """Something about the configuration."""
        self._log.event(what, **facts)
        if what == "config":
            self._happened({"event": what, **facts})

    def reloaded(self, result: str) -> None:
        """The file was read again."""
        self._metrics.reloaded(result, time.time())
        self._log.event("reload", result=result)

    # -- what the link tells (a linked.Facts)

    def moved(self, target: str, move: Moved) -> None:
        """This replica changed a target's word for everybody."""
        self._moved(target, move)

    def link(self, *, up: bool, why: str) -> None:
        """The store came or went."""
        self._log.event("store", up=up, **({"why": why} if why else {}))
        self._happened(happenings.store(up=up, why=why))

    def propagated(self, seconds: float) -> None:
        """A push took so long."""
        self._metrics.propagated(seconds)

    # -- what accounts tell (an account.Told)

    def refreshed(self, account: Account, result: str, why: str) -> None:
        """An access token was got, or not."""
        for name in account.names:
            self._metrics.refreshed(name, result)
        facts = {"why": why} if why else {}
        expires = None if account.expires is None else round(account.expires)
        self._log.event("credential", sources=account.names, result=result, expires_at=expires, **facts)

    def replaced(self) -> None:
        """A token file holds another login's tokens."""
        self._spawn(self._reload())

    async def _reload(self) -> None:
        await self.configured.reload()

    # --

    def _timed(self, operation: str, seconds: float, error: str | None) -> None:
        self._metrics.store_operation(operation, seconds, error)

    # --

    def _moved(self, target: str, move: Moved) -> None:
        self._ended.settle()
        self._metrics.moved(target, move)
        self._log.moved(target, move)
        self._happened(happenings.breaker(self._targets[target], move, self._to_unix))

    def _happened(self, what: dict[str, Any]) -> None:
        self._ended.settle()
        self._journal.put(orjson.dumps({**what, "at": time.time(), "replica": self._name}), soon=True)

    def _spawn(self, work: Coroutine[Any, Any, None]) -> None:
        task = asyncio.get_running_loop().create_task(work)
        self._beside.add(task)
        task.add_done_callback(self._beside.discard)

    async def start(self) -> None:
        """Bind both listeners; `data_address` and `admin_address` are then their URLs. Raises CannotStart."""
        try:
            faults = await self.configured.start()
        except KeepError as error:
            raise CannotStart(f"state_dir: {error}") from error
        if faults:
            raise CannotStart("\n".join(["what operators have set does not go with the file:", *map(str, faults)]))
        if self._link is not None:
            # So that the first request already knows what the fleet knows; a store that is away costs half a second.
            await self._link.sync()
            self._spawn(self._link.run())
        self._spawn(self._journal.run())
        self._spawn(lag.watch(time.monotonic, self._metrics.lagged))
        await self.configured.take_in(self)
        self._spawn(self.configured.follow())
        await self._open(self.configured.file)
        # What start-up made lives as long as the process: the collector need not look at it again.
        gc.collect()
        gc.freeze()
        # Nor need it look often: what a request makes is gone with it, without a cycle that waits to be found.
        gc.set_threshold(10_000, 20, 20)
        gc.enable()
        where = {"listen": self.data_address, "admin": self.admin_address}
        self._log.event("ready", **where, revision=self.configured.revision, compiled=proxy.compiled())
        self.started.set()

    async def _open(self, config: schema.Config) -> None:
        seat = self._seat
        lane = self.edge.answer if self.configured.file.lane == "on" else None
        # Where a reload brings another header, a name is no longer apart: that costs time, and nothing else.
        apart = asked.apart(config.identity.header)
        edge = Server(self.edge.serve, self.edge.malformed, lane, apart=apart, handler_cancellation=True, **HTTP)
        tally = Tally(seat.tally, seat.number) if seat else None
        self.data_address = await self._listen(edge, config.listen, seat.listen if seat else (), tally)
        gate = Gate(self._token, Sessions(time.monotonic, lambda: secrets.token_urlsafe(32)), time.monotonic)
        operators = Operators(
            table(self._calls(), gate), gate, Page(), proxy.__version__, self._ended.settle, self._log.failed
        )
        server = Server(operators.serve, operators.malformed, **HTTP)
        self.admin_address = await self._listen(server, config.admin.listen, seat.admin if seat else ())

    async def _listen(
        self, server: Server, address: Address, inherited: Sequence[int], tally: Tally | None = None
    ) -> str:
        self._listeners.append(Listener(server))
        return await self._listeners[-1].open(address, inherited, tally)

    def _calls(self) -> Calls:
        keeper, bindings = self._keeper, self._bindings
        facts = Sources(
            version=proxy.__version__,
            replica=self._name,
            began=self._began,
            bindings=bindings,
            configured=self.configured,
            look=keeper.look,
            link=lambda: self._link.status() if self._link is not None else None,
            delays=lambda: list(self._metrics.delays),
            in_flight=lambda: self.edge.in_flight,
            draining=lambda: self.edge.leaving,
            journal=self._journal.status,
            now=time.time,
            to_unix=self._to_unix,
        )
        listings = Listings(lambda source: self._upstreams.at(source))
        return Calls(
            facts,
            Hand(bindings, keeper.operate, time.monotonic),
            DryRun(bindings, self._drafted, keeper, time.monotonic, self._to_unix),
            Decisions(self._journal),
            Events(self._journal),
            Assistants(self.configured, bindings, keeper.look, self._metrics.lately, time.time, self._to_unix),
            BindingTest(
                lambda: self.configured.current,
                bindings,
                keeper.look,
                listings.ask,
                self._to_unix,
                lambda source: self._accounts.expiries().get(source),
            ),
            self._metrics.exposed,
        )

    async def leave(self) -> None:
        """Give both addresses up, for who serves there next; whoever is connected is served on."""
        for listener in self._listeners:
            await listener.leave()

    async def drain(self, stop: asyncio.Event) -> None:
        """Stop being ready; after `limits.notice` refuse new requests, and wait for those in flight, at most
        `limits.drain` seconds. `stop` ends either wait.
        """
        limits = self.configured.current.limits
        self.edge.leaving = True
        self._log.event("draining", in_flight=self.edge.in_flight, limit_s=limits.drain)
        if limits.notice is not None:
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(limits.notice):
                    await stop.wait()
        self.edge.draining = True
        waiting = {asyncio.ensure_future(each) for each in (self.edge.idle(), stop.wait())}
        _, late = await asyncio.wait(waiting, timeout=limits.drain, return_when=asyncio.FIRST_COMPLETED)
        for each in late:
            each.cancel()
        if self.edge.in_flight:
            self._log.event("cut", in_flight=self.edge.in_flight)
            self.edge.cut()
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(1.0):
                    await self.edge.idle()

    async def close(self) -> None:
        """Stop listening and drop every connection."""
        for listener in self._listeners:
            await listener.close()
        for task in (beside := list(self._beside)):
            task.cancel()
        await asyncio.gather(*beside, return_exceptions=True)
        for upstreams in (*self._retiring, self._upstreams):
            await upstreams.close()
        await self._accounts.close()
        if self._tokens is not None:
            await self._tokens.close()
        self._ended.settle()
        await self._journal.close()
        await self.configured.close()
        if self._link is not None:
            await self._link.close()
        self._log.event("stopped")


def _unix_of_monotonic(apart: float) -> Callable[[float], float]:
    return lambda at: at + apart
