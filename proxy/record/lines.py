"""A decision as a line of the log: its record, without what is not there.

1. A line says what the record says: `told` makes it of that, for whatever decision.
2. Most requests are served at once, and are like one before in all but ids, times and sizes. The facts of such a one
   are kept as they were told, and only those are put in; all else that a line says is what it is found by.
3. This is the log's thread's alone: one line is written at a time.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import orjson

from proxy.breaker.state import CLOSED
from proxy.record.document import breaker_document, document, milliseconds, writable
from proxy.routing.decision import Attempted, Decision

_MOST = 1000
"""Kinds of lines that are kept, at a few kilobytes each. Those of a former configuration make room with all others."""
_CLOSED = orjson.Fragment(orjson.dumps(breaker_document(CLOSED, float)))
_THOUSANDTHS = tuple(f".{number:03d}+00:00" for number in range(1000))


class Stamps:
    """Moments as text, in milliseconds: the text of a second is kept for the others in it."""

    def __init__(self) -> None:
        self._second, self._text = -1, ""

    def __call__(self, at: float) -> str:
        second = int(at)
        # To the nearest microsecond, of which those that make no millisecond are left out: as datetime writes it.
        micros = int((at - second) * 1e6 + 0.5)
        if micros >= 1_000_000:
            second, micros = second + 1, 0
        if second != self._second:
            self._text = datetime.fromtimestamp(second, UTC).isoformat()[: -len("+00:00")]
            self._second = second
        return self._text + _THOUSANDTHS[micros // 1000]


@dataclass(slots=True)
class _Last:
    """The facts of the last line of its kind; its parts are the same objects as in it."""

    facts: dict[str, Any]
    step: dict[str, Any]
    usage: dict[str, Any]


class Lines:
    """Makes lines of decisions."""

    def __init__(self, stamp: Stamps) -> None:
        self._stamp = stamp
        self._last: dict[tuple[object, ...], _Last] = {}

    def of(self, decision: Decision) -> str:
        """With its end."""
        step, steps = decision.served, decision.steps
        if step is None or len(steps) != 1 or steps[0] is not step or step.breaker is not CLOSED:
            facts = self.told(decision)
        else:
            facts = self._like_another(decision, step)
        try:
            return orjson.dumps(facts, option=orjson.OPT_APPEND_NEWLINE).decode()
        except TypeError:
            return orjson.dumps(writable(facts), option=orjson.OPT_APPEND_NEWLINE).decode()

    def told(self, decision: Decision) -> dict[str, Any]:
        """The record, without what is not there."""
        facts = document(decision)
        steps = [{key: value for key, value in step.items() if value is not None} for step in facts.pop("steps")]
        told = {key: value for key, value in facts.items() if value is not None}
        return told | {"at": self._stamp(decision.at), "event": "request", "steps": steps}

    def _like_another(self, decision: Decision, step: Attempted) -> dict[str, Any]:
        called, first_byte, model = decision.caller_request_id, decision.first_byte, decision.served_model
        usage, upstream_id = decision.usage, step.upstream_id
        connected, began, first_token = step.connected, step.first_byte, step.first_token
        alike = (
            # Those that are put in: whether they are there.
            called is None,
            first_byte is None,
            model is None,
            usage is None,
            upstream_id is None,
            connected is None,
            began is None,
            first_token is None,
            # The others: what they are.
            decision.replica,
            decision.revision,
            decision.client,
            decision.assistant,
            decision.identified_by,
            decision.endpoint,
            decision.stream,
            decision.outcome,
            decision.code,
            decision.refusal,
            step.tier,
            step.source,
            step.model,
            step.outcome,
            step.detail,
            step.heard,
            step.status,
            step.reused,
            step.retried,
            step.billed,
            step.probe,
            step.retry_after,
            step.dropped,
        )
        last = self._last.get(alike)
        # What did not just serve says in `reason` how long it took.
        if last is None or step.outcome != "served":
            return self._first(alike, decision)
        facts, arrived, spent = last.facts, decision.started, decision.duration - decision.waited
        facts["request_id"] = decision.request_id
        facts["at"] = self._stamp(decision.at)
        facts["duration_ms"] = milliseconds(decision.duration)
        facts["overhead_ms"] = milliseconds(spent) if spent > 0.0 else 0.0
        facts["body_in"], facts["body_out"] = decision.body_in, decision.body_out
        if called is not None:
            facts["caller_request_id"] = called
        if model is not None:
            facts["served_model"] = model
        if first_byte is not None:
            facts["first_byte_ms"] = milliseconds(first_byte)
        if usage is not None:
            told = last.usage
            told["input"], told["output"] = usage.input, usage.output
            told["cache_read"], told["reasoning"] = usage.cache_read, usage.reasoning
        one = last.step
        one["started_ms"] = milliseconds(step.started - arrived)
        one["ended_ms"] = milliseconds(step.ended - arrived)
        if connected is not None:
            one["connected_ms"] = milliseconds(connected - arrived)
        if began is not None:
            one["first_byte_ms"] = milliseconds(began - arrived)
        if first_token is not None:
            one["first_token_ms"] = milliseconds(first_token - arrived)
        if upstream_id is not None:
            one["upstream_request_id"] = upstream_id
        return facts

    def _first(self, alike: tuple[object, ...], decision: Decision) -> dict[str, Any]:
        if len(self._last) >= _MOST:
            self._last.clear()
        facts = self.told(decision)
        facts["steps"][0]["breaker"] = _CLOSED
        self._last[alike] = _Last(facts, facts["steps"][0], facts.get("usage", {}))
        return facts
