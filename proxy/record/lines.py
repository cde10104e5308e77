"""A decision as a line of the log: its record, without what is not there.

1. A line says what the record says: `told` makes it of that, for whatever decision.
2. Of decisions that are alike a Line keeps what they have in common as text, and only the rest is put in.
3. Line and Stamps are the log's thread's alone: one line is written at a time.
"""

from __future__ import annotations

from datetime import UTC, datetime
from itertools import groupby
from typing import Any

import orjson

from proxy.record.document import document, milliseconds, writable
from proxy.routing.decision import Attempted, Decision, reason

_OF_DECISION = frozenset(
    {"request_id", "caller_request_id", "at", "served_model", "reason", "duration_ms", "first_byte_ms", "overhead_ms"}
    | {"client", "assistant", "body_in", "body_out", "usage", "steps"}
)
"""What differs between decisions whose lines look alike."""
_OF_STEP = frozenset(
    {"at_ms", "started_ms", "connected_ms", "first_byte_ms", "first_token_ms", "ended_ms"}
    | {"upstream_request_id", "retry_after_s"}
)
_OF_BREAKER = frozenset({"since", "until"})
_SILENT: dict[str, Any] = {"since": None, "until": None}
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


def written(decision: Decision, stamp: Stamps) -> str:
    """With its end."""
    return _ended(told(decision, stamp))


def told(decision: Decision, stamp: Stamps) -> dict[str, Any]:
    """The record, without what is not there."""
    facts = document(decision)
    steps = [_there(step) for step in facts.pop("steps")]
    return _there(facts) | {"at": stamp(decision.at), "event": "request", "steps": steps}


class Line:
    """Makes the same of any decision that looks like `first` (see kinds.py): what they have in common is in it."""

    __slots__ = ("_breakers", "_explained", "_facts", "_stamp", "_steps", "_usage")

    def __init__(self, first: Decision, stamp: Stamps) -> None:
        facts = told(first, stamp)
        self._stamp, self._explained = stamp, "reason" in facts
        self._steps: list[dict[str, Any]] = []
        self._breakers: list[dict[str, Any]] = []
        for step in facts["steps"]:
            seen = step.get("breaker", _SILENT)
            dated = seen["since"] is not None or seen["until"] is not None
            one = _once(step, _OF_STEP | {"breaker"} if dated else _OF_STEP)
            self._breakers.append(_once(seen, _OF_BREAKER) if dated else {})
            self._steps.append(one | {"breaker": self._breakers[-1]} if dated else one)
        self._facts = _once(facts, _OF_DECISION) | {"steps": self._steps}
        self._usage: dict[str, Any] = facts.get("usage", {})

    def of(self, decision: Decision) -> str:
        """With its end."""
        facts, started, spent = self._facts, decision.started, decision.duration - decision.waited
        facts["request_id"] = decision.request_id
        facts["at"] = self._stamp(decision.at)
        facts["duration_ms"] = milliseconds(decision.duration)
        facts["overhead_ms"] = milliseconds(spent) if spent > 0.0 else 0.0
        facts["body_in"], facts["body_out"] = decision.body_in, decision.body_out
        if decision.client is not None:
            facts["client"] = decision.client
        if decision.assistant is not None:
            facts["assistant"] = decision.assistant
        if decision.caller_request_id is not None:
            facts["caller_request_id"] = decision.caller_request_id
        if decision.served_model is not None:
            facts["served_model"] = decision.served_model
        if decision.first_byte is not None:
            facts["first_byte_ms"] = milliseconds(decision.first_byte)
        if decision.usage is not None:
            usage, tokens = self._usage, decision.usage
            usage["input"], usage["output"] = tokens.input, tokens.output
            usage["cache_read"], usage["reasoning"] = tokens.cache_read, tokens.reasoning
        if self._explained:
            facts["reason"] = reason(decision.steps)
        for step, one, breaker in zip(decision.steps, self._steps, self._breakers, strict=True):
            if isinstance(step, Attempted):
                _attempt(one, step, started)
            else:
                one["at_ms"] = milliseconds(step.at - started)
            if breaker and (seen := step.breaker) is not None:
                breaker["since"] = None if seen.since is None else decision.unix(seen.since)
                breaker["until"] = None if seen.until is None else decision.unix(seen.until)
        return _ended(facts)


def _attempt(one: dict[str, Any], step: Attempted, started: float) -> None:
    one["started_ms"] = milliseconds(step.started - started)
    one["ended_ms"] = milliseconds(step.ended - started)
    if step.connected is not None:
        one["connected_ms"] = milliseconds(step.connected - started)
    if step.first_byte is not None:
        one["first_byte_ms"] = milliseconds(step.first_byte - started)
    if step.first_token is not None:
        one["first_token_ms"] = milliseconds(step.first_token - started)
    if step.upstream_id is not None:
        one["upstream_request_id"] = step.upstream_id
    if step.retry_after is not None:
        one["retry_after_s"] = step.retry_after


def _there(facts: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in facts.items() if value is not None}


def _once(facts: dict[str, Any], varying: frozenset[str]) -> dict[str, Any]:
    """The same as JSON: what does not vary is one fact under the name of the first, where it follows each other."""
    found: dict[str, Any] = {}
    for varies, names in groupby(facts, varying.__contains__):
        some = {name: facts[name] for name in names}
        first = next(iter(some))
        found |= some if varies else {first: orjson.Fragment(_json(some)[len(first) + len('{"":') : -1])}
    return found


def _ended(facts: dict[str, Any]) -> str:
    return _json(facts, orjson.OPT_APPEND_NEWLINE).decode()


def _json(facts: dict[str, Any], option: int = 0) -> bytes:
    try:
        return orjson.dumps(facts, option=option)
    except TypeError:
        return orjson.dumps(writable(facts), option=option)
