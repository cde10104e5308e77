"""The /v1 routes: who is calling, what is asked, the walk, the answer, the decision. One request's journey, in order.

1. Nothing is sent upstream before the whole request was read and understood; what is wrong with it is said at once.
2. Whatever happens, the exchange ends in exactly one decision, and every answer of an upstream is closed.
3. Bodies in memory are bounded by `limits`, in number and in bytes.
"""

from __future__ import annotations

import asyncio
import math
from collections import Counter
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import unquote_plus

import orjson
from aiohttp import hdrs, web

from proxy.edge import refusals
from proxy.edge.exchange import Exchange, headers_down
from proxy.edge.identity import Client, Identity
from proxy.edge.refusals import Refusal
from proxy.edge.relay import Pulse, relay_body, relay_stream
from proxy.providers import openai
from proxy.providers.faults import error_object
from proxy.providers.sse import comment
from proxy.routing.bindings import Bindings, Chain, Route
from proxy.routing.decision import Decision
from proxy.routing.verdict import REQUEST_FAULTS
from proxy.routing.walk import Deadline, Ports, Refused, Served, conclude, walk
from proxy.terms import (
    CHAT,
    COMPLETIONS,
    ENDPOINTS,
    RESPONSES,
    Abandoned,
    Cause,
    Diagnosis,
    Endpoint,
    Interrupted,
    Question,
)

_BODY_IDLE = 30.0
"""Seconds without a byte of a request's body."""
_PATHS = {"/v1" + endpoint.path: endpoint for endpoint in ENDPOINTS}
_STREAMED = (CHAT, COMPLETIONS, RESPONSES)
_MODELS = "/v1/models"
_PATIENCE = ("x-stainless-read-timeout", "x-stainless-timeout")
"""What the official SDKs say that they will wait, in seconds."""
_SENT_AT_ONCE = 64 * 1024
"""Bytes: a socket takes these without waiting for the caller."""
_SECRET_QUERY = frozenset({"key", "api_key", "api-key", "access_token"})
_JSON = (("content-type", "application/json"),)


@dataclass(frozen=True, slots=True)
class Bounds:
    """What one replica takes on at once."""

    body: int
    """Bytes of one request."""
    in_flight: int
    buffered: int
    """Bytes of all requests' bodies."""


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
        identity: Identity,
        bindings: Bindings,
        ports: Ports,
        bounds: Bounds,
        sinks: Sinks,
        serving: Counter[str],
        new_id: Callable[[], str],
        unix: Callable[[], float],
    ) -> None:
        """`serving` counts what is in flight, by assistant."""
        self._identity, self._bindings, self._ports = identity, bindings, ports
        self._bounds, self._sinks, self._new_id, self._unix = bounds, sinks, new_id, unix
        self._serving = serving
        self._buffered = 0
        self.in_flight = 0
        self.idle = asyncio.Event()
        """Set while nothing is in flight."""
        self.idle.set()
        self.draining = False

    def routes(self) -> list[web.RouteDef]:
        """One route for every path: what is not served is refused here, in the shape that SDKs read."""
        return [web.route("*", "/{path:.*}", self.serve, expect_handler=self._expect)]

    async def _expect(self, request: web.Request) -> None:
        # A body that will be refused for its size is better never sent.
        if (request.content_length or 0) <= self._bounds.body:
            await request.writer.write(b"HTTP/1.1 100 Continue\r\n\r\n")
            request.writer.output_size = 0

    async def serve(self, request: web.Request) -> web.StreamResponse:
        """Answer one request of any path and method."""
        if request.path == "/healthz":
            return web.Response(text="ok\n")
        if request.path == "/readyz":
            return web.Response(status=503 if self.draining else 200, text="draining\n" if self.draining else "ready\n")
        exchange = Exchange(request, self._new_id(), self._ports, self._unix())
        self.in_flight += 1
        self.idle.clear()
        try:
            refusal = await self._answer(exchange)
            if refusal is not None:
                exchange.outcome = "rejected"
                await exchange.refuse(refusal)
        except ConnectionError:
            exchange.outcome = "cancelled"
        except Exception as error:  # noqa: BLE001  # whatever the bug, the caller gets a typed answer and we learn of it
            self._sinks.failed(exchange.trail.request_id, error)
            await self._broken(exchange)
        finally:
            self.in_flight -= 1
            if not self.in_flight:
                self.idle.set()
            if exchange.asking:
                self._serving[exchange.asking] -= 1
            self._buffered -= exchange.body_in
            self._sinks.ended(exchange.close())
        return exchange.caller.response

    async def _broken(self, exchange: Exchange) -> None:
        if exchange.caller.opened:
            exchange.caller.cut()
        else:
            exchange.outcome = "rejected"
            await exchange.refuse(refusals.internal_error())

    # -- before the walk

    async def _answer(self, exchange: Exchange) -> Refusal | None:
        request = exchange.request
        if self.draining:
            return refusals.draining()
        if self.in_flight > self._bounds.in_flight:
            return refusals.too_busy("in_flight", self._bounds.in_flight)
        client = self._identity.client(request.headers)
        if isinstance(client, Refusal):
            return client
        exchange.client = client.id
        path = request.path
        if path == _MODELS or path.startswith(_MODELS + "/"):
            return await self._models(exchange, client)
        endpoint = _PATHS.get(path)
        if endpoint is None:
            return refusals.path_unknown(path)
        exchange.endpoint = endpoint
        if request.method != hdrs.METH_POST:
            return refusals.method_not_allowed(request.method, "POST")
        body = await self._read(exchange)
        if isinstance(body, Refusal):
            return body
        document = _parse(body)
        if isinstance(document, Refusal):
            return document
        return await self._route(exchange, client, endpoint, body, document)

    async def _route(
        self, exchange: Exchange, client: Client, endpoint: Endpoint, body: bytes, document: Mapping[str, Any]
    ) -> Refusal | None:
        request = exchange.request
        model = document.get("model")
        exchange.asked_model = model = model if isinstance(model, str) else None
        assistant = self._identity.assistant(request.headers, client, model)
        if isinstance(assistant, Refusal):
            return assistant
        exchange.assistant = assistant
        route = self._bindings.routes[assistant]
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
            headers=tuple(request.headers.items()),
            query=_query(request.rel_url.raw_query_string),
            stream=exchange.stream,
            model=model,
            needs=openai.needs(document) if chain.declares else frozenset(),
        )
        exchange.asking = assistant
        self._serving[assistant] += 1
        await self._journey(exchange, question, chain, route)
        return None

    async def _read(self, exchange: Exchange) -> bytes | Refusal:
        request, bounds = exchange.request, self._bounds
        if (request.content_length or 0) > bounds.body:
            return refusals.body_too_large(bounds.body)
        parts: list[bytes] = []
        try:
            while not request.content.at_eof():
                async with asyncio.timeout(_BODY_IDLE):
                    part = await request.content.readany()
                parts.append(part)
                exchange.body_in += len(part)
                self._buffered += len(part)
                if exchange.body_in > bounds.body:
                    return refusals.body_too_large(bounds.body)
                if self._buffered > bounds.buffered:
                    return refusals.too_busy("buffered", bounds.buffered)
        except TimeoutError:
            return refusals.body_timeout(_BODY_IDLE)
        except web.RequestPayloadError:
            return refusals.body_invalid("could not be decoded")
        return b"".join(parts)

    async def _models(self, exchange: Exchange, client: Client) -> Refusal | None:
        request = exchange.request
        if request.method not in (hdrs.METH_GET, hdrs.METH_HEAD):
            return refusals.method_not_allowed(request.method, "GET")
        cards = {name: _card(name) for name in self._identity.assistants if client.may_use(name)}
        wanted = request.path.removeprefix(_MODELS).strip("/")
        if wanted and wanted not in cards:
            return refusals.assistant_not_found(wanted)
        body = cards[wanted] if wanted else {"object": "list", "data": list(cards.values())}
        exchange.outcome = "success"
        await exchange.caller.send(200, (*_JSON, *exchange.headers()), orjson.dumps(body))
        return None

    # -- the walk and after

    async def _journey(self, exchange: Exchange, question: Question, chain: Chain, route: Route) -> None:
        deadline = _deadline(exchange, route)
        pulse = Pulse(lambda: _beat(exchange), route.timeouts.hold, route.timeouts.idle) if question.stream else None
        try:
            end = await walk(question, chain, deadline, exchange.trail, self._ports)
            if isinstance(end, Served):
                await self._deliver(exchange, end, pulse, deadline)
            else:
                if pulse is not None:
                    await pulse.settled()
                await self._refused(exchange, end, question, chain)
        finally:
            if pulse is not None:
                pulse.stop()
                exchange.waited_for_caller = pulse.waited_for_caller

    async def _deliver(self, exchange: Exchange, served: Served, pulse: Pulse | None, deadline: Deadline) -> None:
        accepted = served.accepted
        exchange.served = served.attempted
        broke: Interrupted | Abandoned | None = Abandoned()
        began = self._ports.clock()
        try:
            if pulse is not None and accepted.stream is not None:
                await pulse.settled()
                await _open_stream(exchange, accepted.reply.status, headers_down(accepted.reply.headers))
                broke = await relay_stream(
                    accepted, accepted.stream, exchange.caller, pulse, lambda cut: _complaint(exchange, cut)
                )
            elif accepted.complete and len(accepted.body) <= _SENT_AT_ONCE:
                headers = (*headers_down(accepted.reply.headers), *exchange.headers())
                await exchange.caller.send(accepted.reply.status, headers, accepted.body)
                broke = None
            else:
                headers = (*_length(accepted.reply.headers), *headers_down(accepted.reply.headers), *exchange.headers())
                await exchange.caller.open(accepted.reply.status, headers)
                until = asyncio.get_running_loop().time() + deadline.until - self._ports.clock()
                broke = await relay_body(accepted, exchange.caller, deadline.idle, until)
        finally:
            accepted.reply.close()
            exchange.served = conclude(served, broke, exchange.trail, self._ports)
            exchange.outcome = _outcome(broke, served)
            exchange.usage = accepted.stream.reader.usage if accepted.stream else accepted.usage
            if not accepted.complete:
                exchange.trail.waited += self._ports.clock() - began

    async def _refused(self, exchange: Exchange, refused: Refused, question: Question, chain: Chain) -> None:
        answer = refused.verbatim
        if answer is not None:
            exchange.outcome = "client_error" if answer.diagnosis.cause in REQUEST_FAULTS else "exhausted"
            said = error_object(answer.body) or {}
            error = {"message": f"The upstream answered HTTP {answer.status}.", "type": "upstream_error", **said}
            await exchange.send_error(answer.status, headers_down(answer.headers), answer.body, error)
            return
        exchange.outcome = "exhausted"
        now = self._ports.clock()
        views = {tier.name: self._ports.breakers.look(tier.guards[question.endpoint.name]) for tier in chain.tiers}
        soonest = refusals.soonest(exchange.trail.steps, views, now)
        await exchange.refuse(refusals.all_tiers_failed(exchange.trail.steps, now, self._unix(), soonest))


async def _open_stream(exchange: Exchange, status: int, headers: Any) -> None:
    if exchange.caller.opened:
        told = " ".join(f"{name.removeprefix('x-homeport-')}={value}" for name, value in exchange.headers()[2:])
        exchange.pending = False
        await exchange.caller.write(comment(f"homeport: {told}"))
    else:
        await exchange.caller.open(status, (*headers, *exchange.headers()))


async def _beat(exchange: Exchange) -> None:
    """A sign of life for a caller who waits; the first one opens the answer, before it is known who will give it."""
    try:
        if not exchange.caller.opened:
            exchange.pending = True
            await exchange.caller.open(
                200, (("content-type", "text/event-stream"), ("cache-control", "no-cache"), *exchange.headers())
            )
        await exchange.caller.write(comment("homeport: waiting for the upstream"))
    except ConnectionError:
        pass  # The caller has left, and its own request is being cancelled.


def _complaint(exchange: Exchange, cut: Diagnosis) -> bytes:
    served = exchange.served
    assert served is not None and exchange.endpoint is not None  # noqa: PT018, S101  # only what is served can break
    error = {
        "message": f"The answer from {served.tier} ({served.source}/{served.model}) broke off ({cut.detail}): "
        f"it is not whole. Request id: {exchange.trail.request_id}",
        "type": "stream_broken",
        "param": None,
        "code": "stream_broken",
        "request_id": exchange.trail.request_id,
    }
    return refusals.error_event(exchange.endpoint, error)


def _outcome(broke: Interrupted | Abandoned | None, served: Served) -> str:
    match broke:
        case None:
            return "success" if served.attempted.tier == "primary" else "fallback_success"
        case Interrupted():
            return "stream_broken"
        case Abandoned():
            return "cancelled"


def _deadline(exchange: Exchange, route: Route) -> Deadline:
    times = route.timeouts
    total, overrun = times.total, Diagnosis(Cause.TIMEOUT_TOTAL, "total")
    patience = _patience(exchange.request.headers)
    # A little before the caller gives up: an answer that says why is worth more than its own timeout.
    if patience is not None and (patience := patience - min(1.0, patience / 20)) < total:
        total, overrun = patience, Diagnosis(Cause.PATIENCE, "patience")
    return Deadline(
        until=exchange.started + total,
        total=total,
        overrun=overrun,
        connect=times.connect,
        first_byte=times.first_byte,
        first_token=times.first_token,
        idle=times.idle,
        attempt=times.attempt,
    )


def _patience(headers: Mapping[str, str]) -> float | None:
    given = []
    for name in _PATIENCE:
        try:
            given.append(float(headers.get(name, "")))
        except ValueError:
            continue
    return min((value for value in given if math.isfinite(value) and value > 0), default=None)


def _parse(body: bytes) -> dict[str, Any] | Refusal:
    try:
        document = orjson.loads(body)
    except orjson.JSONDecodeError as error:
        return refusals.body_invalid(
            f"is not JSON (at line {error.lineno}, column {error.colno})" if body else "is empty"
        )
    return document if isinstance(document, dict) else refusals.body_invalid("is JSON, but no object")


def _query(raw: str) -> str:
    kept = [
        pair for pair in raw.split("&") if pair and unquote_plus(pair.partition("=")[0]).lower() not in _SECRET_QUERY
    ]
    return "?" + "&".join(kept) if kept else ""


def _length(headers: Any) -> Any:
    """The upstream's Content-Length, if the bytes to come are the bytes it counted."""
    names = {name.lower() for name, _ in headers}
    return () if "content-encoding" in names else tuple(pair for pair in headers if pair[0].lower() == "content-length")


def _card(assistant: str) -> dict[str, Any]:
    return {"id": assistant, "object": "model", "created": 0, "owned_by": "homeport"}
