"""A decision as a line of the log: its record, without what is not there.

1. A line says what the record says: `told` makes it of that, for whatever decision.
2. Of decisions that are alike a Line keeps what they have in common as text, and only the rest is put in.
3. Line, Stamps and Names are the log's thread's alone: one line is written at a time.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any, Final

import orjson

from proxy.record.document import document, milliseconds, writable
from proxy.routing.decision import Attempted, Decision, reason

_OF_DECISION = frozenset(
    {"request_id", "caller_request_id", "served_model", "reason", "duration_ms", "first_byte_ms", "overhead_ms"}
    | {"client", "assistant", "body_in", "body_out", "at"}
)
"""What differs between decisions whose lines look alike; and of what is in them:"""
_OF_USAGE = frozenset({"input", "output", "cache_read", "reasoning"})
_OF_STEP = frozenset(
    {"at_ms", "started_ms", "connected_ms", "first_byte_ms", "first_token_ms", "ended_ms"}
    | {"upstream_request_id", "retry_after_s"}
)
_OF_BREAKER = frozenset({"since", "until"})
_GAP = b"\0"
"""Where it is put in: no JSON has this."""
_OPEN = orjson.Fragment(_GAP)
_NAMES: Final = 20_000
_FAR: Final = 10**15
"""Beyond it numbers may be written otherwise."""
_WHOLE: Final = tuple([b"%d" % number for number in range(1000)])
_BEHIND: Final = tuple([str(number / 1000)[1:].encode() for number in range(1000)])
"""Thousandths, as JSON has them behind a whole number."""
_THOUSANDTHS: Final = tuple([b'.%03d+00:00"' % number for number in range(1000)])
_dumps: Final = orjson.dumps


class Stamps:
    """Moments as text, in milliseconds: the text of a second is kept for the others in it."""

    def __init__(self) -> None:
        self._second, self._text = -1, b""

    def __call__(self, at: float) -> str:
        """As datetime writes it."""
        return self.json(at)[1:-1].decode()

    def json(self, at: float) -> bytes:
        """The same as JSON."""
        second = int(at)
        # To the nearest microsecond, of which those that make no millisecond are left out: as datetime does.
        micros = int((at - second) * 1e6 + 0.5)
        if micros >= 1_000_000:
            second, micros = second + 1, 0
        if second != self._second:
            self._text = b'"' + datetime.fromtimestamp(second, UTC).isoformat()[: -len("+00:00")].encode()
            self._second = second
        return self._text + _THOUSANDTHS[micros // 1000]


class Names:
    """Names as JSON: those of assistants, clients and models, which come again and again."""

    def __init__(self) -> None:
        self._known: dict[str, bytes] = {}

    def __len__(self) -> int:
        return len(self._known)

    def __call__(self, name: str) -> bytes:
        known = self._known.get(name)
        if known is None:
            if len(self._known) >= _NAMES:
                self._known.clear()
            known = self._known[name] = _text(name)
        return known


def written(decision: Decision, stamp: Stamps) -> bytes:
    """With its end."""
    return _json(told(decision, stamp)) + b"\n"


def told(decision: Decision, stamp: Stamps) -> dict[str, Any]:
    """The record, without what is not there."""
    facts = document(decision)
    steps = [_there(step) for step in facts.pop("steps")]
    return _there(facts) | {"at": stamp(decision.at), "event": "request", "steps": steps}


@dataclass(slots=True, eq=False)
class Look:
    """How lines of decisions look that are alike. The log's thread's alone."""

    logged: bool = False
    line: Line | None = None


class Line:
    """Makes the same of any decision that looks like `first` (see kinds.py): what they have in common is in it."""

    __slots__ = ("_explained", "_name", "_parts", "_stamp")

    def __init__(self, first: Decision, stamp: Stamps, name: Names) -> None:
        facts = told(first, stamp)
        self._stamp, self._name, self._explained = stamp, name, "reason" in facts
        if "usage" in facts:
            facts["usage"] = _opened(facts["usage"], _OF_USAGE)
        for step in facts["steps"]:
            if "breaker" in step:
                step["breaker"] = _opened(step["breaker"], _OF_BREAKER)
        facts["steps"] = [_opened(step, _OF_STEP) for step in facts["steps"]]
        self._parts: list[bytes] = []
        """What stands between them, and behind each but the last a place for what is put in."""
        for part in (_json(_opened(facts, _OF_DECISION)) + b"\n").split(_GAP):
            self._parts += (part, b"")
        self._parts.pop()

    def of(self, decision: Decision) -> bytes:
        """With its end."""
        started, spent, name = decision.started, decision.duration - decision.waited, self._name
        # In the order of the record.
        put = [_text(decision.request_id)]
        if decision.caller_request_id is not None:
            put.append(_text(decision.caller_request_id))
        put.append(self._stamp.json(decision.at))
        if decision.client is not None:
            put.append(name(decision.client))
        if decision.assistant is not None:
            put.append(name(decision.assistant))
        if decision.served_model is not None:
            put.append(name(decision.served_model))
        if self._explained:
            put.append(_text(reason(decision.steps)))
        put.append(_millis(decision.duration))
        if decision.first_byte is not None:
            put.append(_millis(decision.first_byte))
        put.append(_millis(spent if spent > 0.0 else 0.0))
        put.append(_whole(decision.body_in))
        put.append(_whole(decision.body_out))
        usage = decision.usage
        if usage is not None:
            put += (_whole(usage.input), _whole(usage.output), _whole(usage.cache_read), _whole(usage.reasoning))
        for step in decision.steps:
            if isinstance(step, Attempted):
                _attempt(put, step, started)
            else:
                put.append(_millis(step.at - started))
            seen = step.breaker
            if seen is not None:
                if seen.since is not None:
                    put.append(_json(decision.unix(seen.since)))
                if seen.until is not None:
                    put.append(_json(decision.unix(seen.until)))
        self._parts[1::2] = put
        return b"".join(self._parts)


def _attempt(put: list[bytes], step: Attempted, started: float) -> None:
    put.append(_millis(step.started - started))
    if step.connected is not None:
        put.append(_millis(step.connected - started))
    if step.first_byte is not None:
        put.append(_millis(step.first_byte - started))
    if step.first_token is not None:
        put.append(_millis(step.first_token - started))
    put.append(_millis(step.ended - started))
    if step.upstream_id is not None:
        put.append(_text(step.upstream_id))
    if step.retry_after is not None:
        put.append(_json(step.retry_after))


def _there(facts: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in facts.items() if value is not None}


def _opened(facts: dict[str, Any], varying: frozenset[str]) -> dict[str, Any]:
    """With a gap for each that varies and is there."""
    return {name: _OPEN if name in varying and value is not None else value for name, value in facts.items()}


def _millis(seconds: float) -> bytes:
    """What `milliseconds` says, as JSON."""
    exact = seconds * 1e6 + 0.5
    if not 0.0 <= exact < 1e15:
        return _json(milliseconds(seconds))
    micros = int(exact)
    whole = micros // 1000
    return (_WHOLE[whole] if whole < 1000 else b"%d" % whole) + _BEHIND[micros % 1000]


def _whole(number: int) -> bytes:
    if number < 0 or number > _FAR:
        return _json(number)
    return _WHOLE[number] if number < 1000 else b"%d" % number


def _text(text: str) -> bytes:
    try:
        return _dumps(text)
    except TypeError:
        return _json(text)


def _json(what: Any) -> bytes:
    try:
        return orjson.dumps(what)
    except TypeError:
        return orjson.dumps(writable(what))
