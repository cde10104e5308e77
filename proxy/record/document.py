"""A decision as the document that log lines, the operators' API and the shell show.

1. The document's shape is part of the API: docs/api.md lists its fields, all of them always there.
2. Whatever callers and upstreams call things, it can be written: what JSON cannot say becomes a question mark, or the
   nearest number that it can.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from proxy.breaker.state import View
from proxy.routing.decision import Attempted, Decision, Step, reason

Unix = Callable[[float], float]


def writable(what: Any) -> Any:
    """The same, of what JSON can say: a header's stray bytes, halves of surrogate pairs and numbers beyond 64 bits are
    replaced.
    """
    match what:
        case str():
            return what.encode(errors="replace").decode()
        case dict():
            return {name: writable(each) for name, each in what.items()}
        case list() | tuple():
            return [writable(each) for each in what]
        case int() if not isinstance(what, bool):
            return min(max(what, -(2**63)), 2**63 - 1)
        case _:
            return what


def document(decision: Decision) -> dict[str, Any]:
    """The record. Times are Unix seconds where they end in `at`, `since` or `until`, else milliseconds."""
    served, usage = decision.served, decision.usage
    return {
        "request_id": decision.request_id,
        "caller_request_id": decision.caller_request_id,
        "at": decision.at,
        "replica": decision.replica,
        "revision": decision.revision,
        "client": decision.client,
        "assistant": decision.assistant,
        "identified_by": decision.identified_by,
        "endpoint": decision.endpoint,
        "stream": decision.stream,
        "outcome": decision.outcome,
        "code": decision.code,
        "refusal": decision.refusal,
        "tier": served.tier if served else None,
        "source": served.source if served else None,
        "model": served.model if served else None,
        "served_model": decision.served_model,
        "reason": reason(decision.steps) or None,
        "duration_ms": milliseconds(decision.duration),
        "first_byte_ms": None if decision.first_byte is None else milliseconds(decision.first_byte),
        "overhead_ms": milliseconds(max(0.0, decision.duration - decision.waited)),
        "body_in": decision.body_in,
        "body_out": decision.body_out,
        "usage": None
        if usage is None
        else {
            "input": usage.input,
            "output": usage.output,
            "cache_read": usage.cache_read,
            "reasoning": usage.reasoning,
        },
        "steps": [step_document(step, decision.started, decision.unix) for step in decision.steps],
    }


def step_document(step: Step, started: float, unix: Unix) -> dict[str, Any]:
    """One step of a record. `started` is the request's arrival; `unix` turns moments of its clock into Unix time."""
    where = {"tier": step.tier, "source": step.source, "model": step.model}
    if not isinstance(step, Attempted):
        return where | {
            "verdict": "skipped",
            "reason": step.reason,
            "missing": list(step.missing),
            "uncarried": step.uncarried or None,
            "at_ms": milliseconds(step.at - started),
            "breaker": None if step.breaker is None else breaker_document(step.breaker, unix),
        }

    return where | {
        "verdict": "served" if step.outcome == "served" else "attempted",
        "outcome": step.outcome,
        "detail": step.detail,
        "heard": step.heard,
        "status": step.status,
        "started_ms": milliseconds(step.started - started),
        "connected_ms": None if step.connected is None else milliseconds(step.connected - started),
        "first_byte_ms": None if step.first_byte is None else milliseconds(step.first_byte - started),
        "first_token_ms": None if step.first_token is None else milliseconds(step.first_token - started),
        "ended_ms": milliseconds(step.ended - started),
        "reused": step.reused,
        "retried": step.retried,
        "billed": step.billed,
        "probe": step.probe,
        "upstream_request_id": step.upstream_id,
        "retry_after_s": step.retry_after,
        "dropped": list(step.dropped),
        "breaker": breaker_document(step.breaker, unix),
    }


def breaker_document(seen: View, unix: Unix) -> dict[str, Any]:
    """What a breaker said."""
    return {
        "state": seen.word.value,
        "reason": seen.reason or None,
        "since": None if seen.since is None else unix(seen.since),
        "until": None if seen.until is None else unix(seen.until),
        "tripped_by": list(seen.tripped_by),
        "failures": seen.failures,
        "local": seen.local,
    }


def milliseconds(seconds: float) -> float:
    """To the microsecond. A whole number of those, divided, is the nearest to what people write; `round` costs more."""
    return (seconds * 1e6 + 0.5) // 1 / 1e3
