"""The /v1 routes: who is calling, what is asked, the walk, the answer, the decision. One request's journey, in order.

1. Nothing is sent upstream before the whole request was read and understood; what is wrong with it is said at once.
2. Whatever happens, the exchange ends in exactly one decision, and every answer of an upstream is closed.
3. Bodies in memory are bounded by `limits`, in number and in bytes.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import Counter
from collections.abc import Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Final

import orjson
from aiohttp import web
from multidict import CIMultiDict

from proxy.edge import asked, refusals
from proxy.edge.asked import Known
from proxy.edge.caller import Caller, Unreadable
from proxy.edge.exchange import Exchange, Serving
from proxy.edge.identity import Client
from proxy.edge.journey import travel
from proxy.edge.ordinary import Ordinary
from proxy.edge.refusals import Refusal
from proxy.providers import openai
from proxy.providers.lines import pairs
from proxy.record.lately import prefix
from proxy.routing.decision import Decision
from proxy.routing.walk import Deadline
from proxy.terms import EMBEDDINGS, RESPONSES, Endpoint, Question
from proxy.upstream.alarm import Bell

_BODY_IDLE = 30.0
"""Seconds without a byte of a request's body."""
_JSON: Final = "content-type: application/json"
_NONE: Final[frozenset[str]] = frozenset()

Answering = Coroutine[Any, Any, Refusal | None]
"""An answer that is under way; what comes of it may be a refusal."""


@dataclass(frozen=True, slots=True)
class Sinks:
    """Where facts go."""

    ended: Callable[[Decision], None]
    failed: Callable[[str, BaseException], None]
    """A fault of our own, by request id."""


class Edge:
    """The caller's side of one replica."""

    def __init__(
        self,
        serving: Serving,
        sinks: Sinks,
        new_id: Callable[[], str],
        unix: Callable[[], float],
    ) -> None:
        self.serving = serving
        """What new requests go by. Whoever changes the configuration sets it."""
        self._sinks, self._new_id, self._wall = sinks, new_id, unix
        self._bell = Bell()
        """Of streams' pulses."""
        self._buffered = 0
        self._exchanges: set[Exchange] = set()
        self._idle = asyncio.Event()
        """Set when nothing is in flight any more, for whoever waits for that."""
        self.leaving = False
        """Not ready any more, and still serving: whoever balances the load is to notice first."""
        self.draining = False

    @property
    def in_flight(self) -> int:
        """Requests being served."""
        return len(self._exchanges)

    async def idle(self) -> None:
        """Returns when nothing is in flight."""
        while self._exchanges:
            self._idle.clear()
            await self._idle.wait()

    def asking(self) -> Counter[str]:
        """Requests whose chain is being walked, by assistant. Any thread may ask."""
        return Counter(
            exchange.assistant
            for exchange in list(self._exchanges)
            if exchange.asking and exchange.assistant is not None
        )

    def trying(self) -> Counter[tuple[str, str]]:
        """Requests that an upstream has now, by assistant and metrics' name of the tier. Any thread may ask."""
        counts: Counter[tuple[str, str]] = Counter()
        for exchange in list(self._exchanges):
            tier = exchange.trail.trying
            if tier is not None and exchange.assistant is not None and exchange.endpoint is not None:
                counts[exchange.assistant, prefix(exchange.endpoint.name) + tier] += 1
        return counts

    def uses(self, serving: Serving) -> bool:
        """Some request in flight still goes by it."""
        return any(exchange.serving is serving for exchange in self._exchanges)

    async def serve(self, request: web.BaseRequest) -> web.StreamResponse:
        """Answer one request of any path and method."""
        if request.path == "/healthz":
            return web.Response(text="ok\n")
        if request.path == "/readyz":
            return web.Response(status=503 if self.leaving else 200, text="draining\n" if self.leaving else "ready\n")
        caller = Ordinary(request, self.serving.ports.clock)
        await self.answer(caller)
        return caller.response

    async def answer(self, caller: Caller) -> None:
        """Answer one request of the API."""
        exchange = Exchange(caller, self._new_id(), self._wall(), self.serving)
        self._exchanges.add(exchange)
        try:
            end = self._answer(exchange)
            refusal = end if isinstance(end, Refusal) else await end
            if refusal is not None:
                exchange.outcome = "rejected"
                await exchange.refuse(refusal)
        except ConnectionError:
            exchange.outcome = "cancelled"
        except asyncio.CancelledError:
            if not exchange.ending:
                raise
            await self._stopped(exchange)
        except Exception as error:  # noqa: BLE001  # whatever the bug, the caller gets a typed answer and we learn of it
            self._sinks.failed(exchange.trail.request_id, error)
            await self._broken(exchange)
        finally:
            self._exchanges.discard(exchange)
            if not self._exchanges:
                self._idle.set()
            self._buffered -= exchange.body_in
            self._ended(exchange)

    def _ended(self, exchange: Exchange) -> None:
        try:
            self._sinks.ended(exchange.close())
        except Exception as error:  # noqa: BLE001  # a fault in telling the story takes no caller's answer away
            self._sinks.failed(exchange.trail.request_id, error)

    def cut(self) -> None:
        """End everything that is in flight, each with a word to its caller."""
        for exchange in list(self._exchanges):
            exchange.end()

    async def _stopped(self, exchange: Exchange) -> None:
        task = exchange.caller.task
        assert task is not None  # noqa: S101  # it is this one
        task.uncancel()
        if exchange.served is not None and exchange.caller.opened:
            exchange.caller.cut()
        else:
            exchange.outcome = "rejected"
            await exchange.refuse(refusals.draining())

    def malformed(self, request: web.BaseRequest, too_large: bool) -> web.Response:
        """The answer to what is no HTTP. It is counted and told like every other, without a word of what was sent."""
        caller = Ordinary(request, self.serving.ports.clock)
        exchange = Exchange(caller, self._new_id(), self._wall(), self.serving)
        refusal = exchange.refusal = refusals.malformed(too_large)
        exchange.outcome, caller.status = "rejected", refusal.status
        headers = CIMultiDict(pairs([_JSON, *exchange.fields()]))
        self._ended(exchange)
        return web.Response(status=refusal.status, body=refusal.body(), headers=headers)

    async def _broken(self, exchange: Exchange) -> None:
        if exchange.caller.opened:
            exchange.caller.cut()
        else:
            exchange.outcome = "rejected"
            await exchange.refuse(refusals.internal_error())

    # -- before the walk

    def _answer(self, exchange: Exchange) -> Refusal | Answering:
        caller, serving = exchange.caller, exchange.serving
        known = exchange.known = serving.known(caller.head)
        if self.draining:
            return refusals.draining()
        if len(self._exchanges) > serving.bounds.in_flight:
            return refusals.too_busy("in_flight", serving.bounds.in_flight)
        exchange.client, exchange.endpoint = known.client.id, known.endpoint
        if known.refusal is not None:
            return known.refusal
        endpoint = known.endpoint
        if endpoint is None:
            return self._models(exchange, known.client)
        if caller.length > serving.bounds.body:
            return refusals.body_too_large(serving.bounds.body)
        body = caller.whole()
        if body is None:
            return self._read(exchange, known, endpoint)
        return self._hold(exchange, len(body)) or self._asked(exchange, known, endpoint, body)

    def _asked(self, exchange: Exchange, known: Known, endpoint: Endpoint, body: bytes) -> Refusal | Answering:
        document = asked.document(body)
        if isinstance(document, Refusal):
            return document
        model = document.get("model")
        exchange.asked_model = model = model if isinstance(model, str) else None
        way = known.way
        if way is None:
            identity, bindings = exchange.serving.identity, exchange.serving.bindings
            way = asked.way_beside(known, endpoint, exchange.caller.named, model, identity, bindings)
        if isinstance(way, Refusal):
            return way
        exchange.assistant, exchange.identified_by = way.named.assistant, way.named.by
        chain = way.chain
        if isinstance(chain, Refusal):
            return chain
        if endpoint is RESPONSES and (field := openai.stored_state(document)):
            return refusals.state_elsewhere(field)
        exchange.stream = stream = document.get("stream") is True and endpoint is not EMBEDDINGS
        exchange.asking = True
        needs = openai.needs(document) if chain.declares else _NONE
        return travel(
            exchange,
            [Question(endpoint, body, document, known.headers, known.query, stream, model, needs)],
            chain,
            Deadline(exchange.started + way.total, way.total, way.overrun, way.times),
            self._bell,
        )

    async def _read(self, exchange: Exchange, known: Known, endpoint: Endpoint) -> Refusal | None:
        parts: list[bytes] = []
        try:
            while part := await exchange.caller.more(_BODY_IDLE):
                parts.append(part)
                if (full := self._hold(exchange, len(part))) is not None:
                    return full
        except TimeoutError:
            return refusals.body_timeout(_BODY_IDLE)
        except Unreadable:
            return refusals.body_unreadable()
        end = self._asked(exchange, known, endpoint, b"".join(parts))
        parts.clear()
        return end if isinstance(end, Refusal) else await end

    def _hold(self, exchange: Exchange, size: int) -> Refusal | None:
        """So much more of a body was read."""
        bounds = exchange.serving.bounds
        exchange.body_in += size
        self._buffered += size
        if exchange.body_in > bounds.body:
            return refusals.body_too_large(bounds.body)
        if self._buffered > bounds.buffered:
            return refusals.too_busy("buffered", bounds.buffered)
        return None

    async def _models(self, exchange: Exchange, client: Client) -> Refusal | None:
        assistants = exchange.serving.identity.assistants
        cards = {name: _card(name) for name in assistants if client.may_use(name)}
        wanted = exchange.caller.head.path.removeprefix(asked.MODELS).strip("/")
        if wanted and wanted not in cards:
            return refusals.assistant_not_found(wanted)
        body = cards[wanted] if wanted else {"object": "list", "data": list(cards.values())}
        exchange.outcome = "success"
        await exchange.caller.send(200, [_JSON, *exchange.fields()], orjson.dumps(body))
        return None


def numbered(run: str) -> Callable[[], str]:
    """Makes request ids; `run` is borne by one process alone."""
    # Digits alone, and as many: letters would cost as much as the rest of it.
    begins, count = f"req_{run}", itertools.count(100_001)
    return lambda: f"{begins}{next(count)}"


def _card(assistant: str) -> dict[str, Any]:
    return {"id": assistant, "object": "model", "created": 0, "owned_by": "homeport"}
