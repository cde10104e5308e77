"""A decision as the bytes that a journal keeps: its facts in their order, without their names.

1. Every request pays for this: without names and repetitions it costs a third, and takes less than half the room.
2. Another replica makes the same Decision of them. A fact is only ever added behind the others and with a default, so
   that two versions read each other: what one does not know it passes over, and what is not there has its default.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from typing import Any

import orjson
from pydantic import TypeAdapter

from proxy.breaker.state import CLOSED, View
from proxy.record.document import writable
from proxy.routing.decision import Attempted, Decision, Skipped
from proxy.terms import Usage

BEGINS = b"[["
"""What a decision's line begins with, and nothing else that is kept."""
_FACTS: TypeAdapter[Decision] = TypeAdapter(Decision)
_OF_CLOSED = 0
"""Stands for the view of a breaker of which nothing is to be said."""


def _names(kind: type[Any], *apart: str) -> tuple[str, ...]:
    return tuple(field.name for field in fields(kind) if field.name not in apart)


_PLAIN = _names(Decision, "steps", "served", "usage")
_ATTEMPTED, _SKIPPED = _names(Attempted, "breaker"), _names(Skipped, "breaker")
_VIEW, _USAGE = _names(View), _names(Usage)


def kept(decision: Decision) -> bytes:
    """The facts as one line of JSON."""
    usage = decision.usage
    # In the order of the names above; written out, since anything that goes by names costs twice as much.
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
        return orjson.dumps(facts)
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
        _OF_CLOSED if step.breaker is CLOSED else _of_view(step.breaker),
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
        _OF_CLOSED if seen is CLOSED else None if seen is None else _of_view(seen),
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


def read(line: bytes) -> Decision:
    """What `kept` has made. Raises ValueError for anything else."""
    try:
        steps, served, usage, *plain = orjson.loads(line)
        told = [_step(each) for each in steps]
        facts = dict(zip(_PLAIN, plain, strict=False)) | {
            "steps": told,
            "served": None if served is None else told[served] if isinstance(served, int) else _step(served),
            "usage": None if usage is None else dict(zip(_USAGE, usage, strict=False)),
        }
    except (TypeError, LookupError) as error:
        raise ValueError("this is no decision") from error
    return _FACTS.validate_python(facts)


def _step(row: Sequence[Any]) -> dict[str, Any]:
    tried, view, *plain = row
    seen: Any = None if view is None else CLOSED if view == _OF_CLOSED else dict(zip(_VIEW, view, strict=False))
    return dict(zip(_ATTEMPTED if tried else _SKIPPED, plain, strict=False)) | {"breaker": seen}
