"""The /v1 routes: who is calling, what is asked, the walk, the answer, the decision. One request's journey, in order.

1. Nothing is sent upstream before the whole request was read and understood; what is wrong with it is said at once.
2. Whatever happens, the exchange ends in exactly one decision, and every answer of an upstream is closed.
3. Bodies in memory are bounded by `limits`, in number and in bytes.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

import orjson
from aiohttp import hdrs, web
from multidict import CIMultiDict

from proxy.edge import asked, refusals
from proxy.edge.caller import Caller, Unreadable
from proxy.edge.exchange import Exchange, Serving
from proxy.edge.identity import Client
from proxy.edge.journey import travel
from proxy.edge.ordinary import Ordinary
from proxy.edge.refusals import Refusal
from proxy.providers import openai
from proxy.record.lately import prefix
from proxy.routing.decision import Decision
from proxy.terms import CHAT, COMPLETIONS, ENDPOINTS, RESPONSES, Endpoint, Question

_BODY_IDLE = 30.0
"""Seconds without a byte of a request's body."""
_PATHS = {"/v1" + endpoint.path: endpoint for endpoint in ENDPOINTS}
_STREAMED = (CHAT, COMPLETIONS, RESPONSES)
_MODELS = "/v1/models"
_JSON = (("content-type", "application/json"),)


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
        asking: Counter[str],
        new_id: Callable[[], str],
        unix: Callable[[], float],
    ) -> None:
        """`asking` counts what is in flight, by assistant."""
        self.serving = serving
        """What new requests go by. Whoever changes the configuration sets it."""
        self._sinks, self._asking, self._new_id, self._unix = sinks, asking, new_id, unix
        self._buffered = 0
        self._exchanges: set[Exchange] = set()
        self.idle = asyncio.Event()
        """Set while nothing is in flight."""
        self.idle.set()
        self.leaving = False
        """Not ready any more, and still serving: whoever balances the load is to notice first."""
        self.draining = False

    @property
    def in_flight(self) -> int:
        """Requests being served."""
        return len(self._exchanges)

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
        exchange = Exchange(caller, self._new_id(), self._unix(), self.serving)
        self._exchanges.add(exchange)
        self.idle.clear()
        try:
            refusal = await self._answer(exchange)
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
                self.idle.set()
            if exchange.asking:
                self._asking[exchange.asking] -= 1
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
        assert exchange.task is not None  # noqa: S101  # it is this one
        exchange.task.uncancel()
        if exchange.served is not None and exchange.caller.opened:
            exchange.caller.cut()
        else:
            exchange.outcome = "rejected"
            await exchange.refuse(refusals.draining())

    def malformed(self, request: web.BaseRequest, too_large: bool) -> web.Response:
        """The answer to what is no HTTP. It is counted and told like every other, without a word of what was sent."""
        caller = Ordinary(request, self.serving.ports.clock)
        exchange = Exchange(caller, self._new_id(), self._unix(), self.serving)
        refusal = exchange.refusal = refusals.malformed(too_large)
        exchange.outcome, caller.status = "rejected", refusal.status
        headers = CIMultiDict((*_JSON, *exchange.headers()))
        self._ended(exchange)
        return web.Response(status=refusal.status, body=refusal.body(), headers=headers)

    async def _broken(self, exchange: Exchange) -> None:
        if exchange.caller.opened:
            exchange.caller.cut()
        else:
            exchange.outcome = "rejected"
            await exchange.refuse(refusals.internal_error())

    # -- before the walk

    async def _answer(self, exchange: Exchange) -> Refusal | None:
        caller, serving = exchange.caller, exchange.serving
        if self.draining:
            return refusals.draining()
        if self.in_flight > serving.bounds.in_flight:
            return refusals.too_busy("in_flight", serving.bounds.in_flight)
        client = serving.identity.client(caller.headers)
        if isinstance(client, Refusal):
            return client
        exchange.client = client.id
        path = caller.path
        if path == _MODELS or path.startswith(_MODELS + "/"):
            return await self._models(exchange, client)
        endpoint = _PATHS.get(path)
        if endpoint is None:
            return refusals.path_unknown(path)
        exchange.endpoint = endpoint
        if caller.method != hdrs.METH_POST:
            return refusals.method_not_allowed(caller.method, "POST")
        body = await self._read(exchange)
        if isinstance(body, Refusal):
            return body
        document = asked.document(body)
        if isinstance(document, Refusal):
            return document
        return await self._route(exchange, client, endpoint, body, document)

    async def _route(
        self, exchange: Exchange, client: Client, endpoint: Endpoint, body: bytes, document: Mapping[str, Any]
    ) -> Refusal | None:
        caller, identity = exchange.caller, exchange.serving.identity
        model = document.get("model")
        exchange.asked_model = model = model if isinstance(model, str) else None
        named = identity.assistant(caller.headers, client, model)
        if isinstance(named, Refusal):
            return named
        exchange.assistant, exchange.identified_by = named.assistant, named.by
        assistant = named.assistant
        route = exchange.serving.bindings.routes[assistant]
        chain = route.chain(endpoint)
        if chain is None:
            return refusals.chain_missing(assistant, endpoint.chain or "")
        if not chain.tiers:
            return refusals.assistant_unbound(assistant)
        if endpoint == RESPONSES and (field := openai.stored_state(document)):
            return refusals.state_elsewhere(field)
        exchange.stream = document.get("stream") is True and endpoint in _STREAMED
        question = Question(
            endpoint=endpoint,
            body=body,
            document=document,
            headers=tuple([pair for pair in caller.headers.items() if pair[0].lower() != identity.header]),
            query=asked.query(caller.query),
            stream=exchange.stream,
            model=model,
            needs=openai.needs(document) if chain.declares else frozenset(),
        )
        exchange.asking = assistant
        self._asking[assistant] += 1
        deadline = asked.deadline(caller.headers, exchange.started, route)
        await travel(exchange, question, chain, route, deadline)
        return None

    async def _read(self, exchange: Exchange) -> bytes | Refusal:
        caller, bounds = exchange.caller, exchange.serving.bounds
        if caller.length > bounds.body:
            return refusals.body_too_large(bounds.body)
        parts: list[bytes] = []
        try:
            while part := await caller.more(_BODY_IDLE):
                parts.append(part)
                exchange.body_in += len(part)
                self._buffered += len(part)
                if exchange.body_in > bounds.body:
                    return refusals.body_too_large(bounds.body)
                if self._buffered > bounds.buffered:
                    return refusals.too_busy("buffered", bounds.buffered)
        except TimeoutError:
            return refusals.body_timeout(_BODY_IDLE)
        except Unreadable:
            return refusals.body_unreadable()
        return b"".join(parts)

    async def _models(self, exchange: Exchange, client: Client) -> Refusal | None:
        caller = exchange.caller
        if caller.method not in (hdrs.METH_GET, hdrs.METH_HEAD):
            return refusals.method_not_allowed(caller.method, "GET")
        assistants = exchange.serving.identity.assistants
        cards = {name: _card(name) for name in assistants if client.may_use(name)}
        wanted = caller.path.removeprefix(_MODELS).strip("/")
        if wanted and wanted not in cards:
            return refusals.assistant_not_found(wanted)
        body = cards[wanted] if wanted else {"object": "list", "data": list(cards.values())}
        exchange.outcome = "success"
        await exchange.caller.send(200, (*_JSON, *exchange.headers()), orjson.dumps(body))
        return None


def _card(assistant: str) -> dict[str, Any]:
    return {"id": assistant, "object": "model", "created": 0, "owned_by": "homeport"}
