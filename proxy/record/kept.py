"""A decision as the bytes that a journal keeps: its facts in their order, without their names.

1. Every request pays for this: without names and repetitions it costs a third, and takes less than half the room.
2. Another replica makes the same Decision of them (recalled.py). A fact is only ever added behind the others and with a
   default, so that two versions read each other.
"""

from __future__ import annotations

from typing import Any, Final

import orjson

from proxy.breaker.state import CLOSED, View
from proxy.record.document import writable
from proxy.routing.decision import Attempted, Decision, Skipped

_dumps: Final = orjson.dumps
BEGINS = b"[["
"""What a decision's line begins with, and nothing else that is kept."""
OF_CLOSED: Final = 0
"""Stands for the view of a breaker of which nothing is to be said."""


def kept(decision: Decision) -> bytes:
    """The facts as one line of JSON."""
    usage = decision.usage
    # In the order of their names in recalled.py; written out, since whatever goes by names costs twice as much.
    facts = (
        [_of_attempt(step) if isinstance(step, Attempted) else _of_skip(step) for step in decision.steps],
        _of_served(decision),
        None if usage is None else (usage.input, usage.output, usage.cache_read, usage.reasoning),
        decision.request_id,
        decision.caller_request_id,
        decision.at,
        decision.started,
        decision.replica,
        decision.revision,
        decision.client,
        decision.assistant,
        decision.identified_by,
        decision.endpoint,
        decision.stream,
        decision.served_model,
        decision.outcome,
        decision.code,
        decision.refusal,
        decision.duration,
        decision.first_byte,
        decision.waited,
        decision.body_in,
        decision.body_out,
    )
    try:
        return _dumps(facts)
    except TypeError:
        return orjson.dumps(writable(facts))


def _of_served(decision: Decision) -> Any:
    """Which of the steps it is."""
    served, steps = decision.served, decision.steps
    if served is None:
        return None
    if steps and steps[-1] is served:
        return len(steps) - 1
    for place, step in enumerate(steps):
        if step is served:
            return place
    return _of_attempt(served)


def _of_attempt(step: Attempted) -> tuple[Any, ...]:
    return (
        True,
        OF_CLOSED if step.breaker is CLOSED else _of_view(step.breaker),
        step.tier,
        step.source,
        step.model,
        step.outcome,
        step.detail,
        step.heard,
        step.started,
        step.ended,
        step.billed,
        step.probe,
        step.status,
        step.connected,
        step.first_byte,
        step.first_token,
        step.reused,
        step.retried,
        step.upstream_id,
        step.retry_after,
        step.dropped,
    )


def _of_skip(step: Skipped) -> tuple[Any, ...]:
    seen = step.breaker
    return (
        False,
        OF_CLOSED if seen is CLOSED else None if seen is None else _of_view(seen),
        step.tier,
        step.source,
        step.model,
        step.reason,
        step.at,
        step.missing,
        step.uncarried,
    )


def _of_view(seen: View) -> tuple[Any, ...]:
    return (
        seen.word,
        seen.reason,
        seen.since,
        seen.until,
        seen.tripped_by,
        seen.failures,
        seen.fault,
        seen.local,
    )
