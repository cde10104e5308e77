"""The walk and what comes of it: the served answer relayed, or what is left to say.

1. Whatever happens, an upstream's answer is closed and the attempt that it came from concluded.
2. Once a stream was opened, whoever gives it or refuses it speaks in-band.
"""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Final

from proxy.edge import refusals
from proxy.edge.exchange import Exchange, headers_down
from proxy.edge.relay import Pulse, relay_body, relay_stream
from proxy.providers.faults import error_object
from proxy.providers.lines import Fields
from proxy.providers.sse import comment
from proxy.routing.bindings import Chain
from proxy.routing.verdict import REQUEST_FAULTS
from proxy.routing.walk import Deadline, Refused, Served, conclude, walk
from proxy.terms import Abandoned, Accepted, Cause, Diagnosis, Interrupted, Question
from proxy.upstream.alarm import Bell

_SENT_AT_ONCE: Final = 64 * 1024
"""Bytes: a socket takes these without waiting for the caller."""
_ABANDONED: Final = Abandoned()


async def travel(exchange: Exchange, asked: list[Question], chain: Chain, deadline: Deadline, bell: Bell) -> None:
    """Walk the chain and answer the caller. `asked`: one question, which is taken out of it. `bell` is for a stream.

    The question is most of what a stream would keep in memory, and nobody asks again.
    """
    pulse = None
    if asked[0].stream:
        pulse = exchange.pulse = Pulse(bell, partial(_beat, exchange), deadline.times.hold, deadline.times.idle)
    try:
        end = await walk(asked.pop(), chain, deadline, exchange.trail, exchange.ports)
        if pulse is not None and not pulse.quiet:
            await pulse.settled()
        if isinstance(end, Served):
            await _deliver(exchange, end, pulse, deadline)
        else:
            await _refused(exchange, end, chain)
    finally:
        if pulse is not None:
            pulse.stop()
            exchange.waited_for_caller = pulse.waited_for_caller
            # They know each other: what holds itself is freed late, by the collector.
            exchange.pulse = None


async def _deliver(exchange: Exchange, served: Served, pulse: Pulse | None, deadline: Deadline) -> None:
    accepted, caller = served.accepted, exchange.caller
    exchange.served = served.attempted
    broke: Interrupted | Abandoned | None = _ABANDONED
    began = 0.0 if accepted.complete else exchange.ports.clock()
    reply = accepted.reply
    try:
        fields = headers_down.lines(reply.headers)
        if pulse is not None and accepted.stream is not None:
            await _open_stream(exchange, reply.status, fields)
            broke = await relay_stream(accepted, accepted.stream, caller, pulse, partial(_complaint, exchange))
        elif accepted.complete and len(accepted.body) <= _SENT_AT_ONCE:
            await caller.send(reply.status, fields + exchange.fields(), accepted.body)
            broke = None
        else:
            await caller.open(reply.status, [*_length(accepted), *fields, *exchange.fields()])
            until = asyncio.get_running_loop().time() + deadline.until - exchange.ports.clock()
            broke = await relay_body(accepted, caller, deadline.times.idle, until)
    finally:
        reply.close()
        if broke is not None:
            exchange.outcome = "stream_broken" if isinstance(broke, Interrupted) else "cancelled"
        else:
            exchange.outcome = "success" if served.attempted.tier == "primary" else "fallback_success"
        exchange.served = conclude(served, broke, exchange.trail, exchange.ports)
        told = accepted if accepted.stream is None else accepted.stream.reader
        exchange.usage, exchange.served_model = told.usage, told.model and told.model[:128]
        if not accepted.complete:
            exchange.trail.waited += exchange.ports.clock() - began


async def _refused(exchange: Exchange, refused: Refused, chain: Chain) -> None:
    answer = refused.verbatim
    if answer is not None:
        exchange.quoted = refused.by
        its_own = answer.diagnosis.cause in REQUEST_FAULTS or answer.diagnosis.cause is Cause.UNSUPPORTED
        exchange.outcome = "client_error" if its_own else "exhausted"
        said = error_object(answer.body) or {}
        error = {"message": f"The upstream answered HTTP {answer.status}.", "type": "upstream_error", **said}
        await exchange.send_error(answer.status, headers_down(answer.headers), answer.body, error)
        return
    if refused.uncarried is not None:
        exchange.outcome = "client_error"
        await exchange.refuse(refusals.unsupported(refused.uncarried))
        return
    exchange.outcome = "exhausted"
    now, look = exchange.ports.clock(), exchange.ports.breakers.look
    assert exchange.endpoint is not None  # noqa: S101  # its chain was walked
    name = exchange.endpoint.name
    views = {tier.name: look(tier.guards[name]) for tier in chain.tiers}
    soonest = refusals.soonest(exchange.trail.steps, views, now)
    unix = exchange.at + now - exchange.started
    await exchange.refuse(refusals.all_tiers_failed(exchange.trail.steps, now, unix, soonest))


async def _open_stream(exchange: Exchange, status: int, fields: Fields) -> None:
    if exchange.caller.opened:
        exchange.pending = False
        told = " ".join(field.removeprefix("x-homeport-").replace(": ", "=", 1) for field in exchange.fields()[2:])
        await exchange.caller.write(comment(f"homeport: {told}"))
    else:
        await exchange.caller.open(status, fields + exchange.fields())


async def _beat(exchange: Exchange) -> None:
    """A sign of life for a caller who waits; the first one opens the answer, before it is known who will give it."""
    try:
        if not exchange.caller.opened:
            exchange.pending = True
            fields = ["content-type: text/event-stream", "cache-control: no-cache", *exchange.fields()]
            await exchange.caller.open(200, fields)
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


def _length(accepted: Accepted) -> Fields:
    """The answer's Content-Length: what was read, or what the upstream counted if the bytes to come are those."""
    if accepted.complete:
        return [f"content-length: {len(accepted.body)}"]
    headers = accepted.reply.headers
    names = {name.lower() for name, _ in headers}
    if "content-encoding" in names:
        return []
    return [f"{name}: {value}" for name, value in headers if name.lower() == "content-length"]
