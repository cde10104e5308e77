"""What decisions have in common: most are like one before in all but ids, moments, lengths, sizes and tokens.

1. What is alike counts in the same series, and stands the same way in the log: that is found once.
2. Whose request it was tells the series apart, but nothing else of a line: a line looks alike for all assistants, of
   which there may be thousands.
3. The other facts are never in a kind. Whether they are there is, where something is told of them or not.
4. What is met for the first time is only counted: how a line of it looks is kept when it is met again.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from proxy.breaker.state import CLOSED, View
from proxy.record.lines import Line
from proxy.record.metrics import Counts
from proxy.routing.decision import Attempted, Decision, Skipped

_MOST, _LOOKS = 20_000, 1000
"""Kinds that are kept, at a kilobyte each, and looks of lines, at a few. Those of a former configuration make room with
all others.
"""

Alike = tuple[object, ...]


@dataclass(slots=True, eq=False)
class Look:
    """How lines of decisions look that are alike but for whose they are. The log's thread's alone."""

    logged: bool = False
    line: Line | None = None


@dataclass(slots=True, eq=False)
class Kind:
    """What is known of decisions that are alike."""

    counts: Counts
    look: Look


class Kinds:
    """Those that were met."""

    def __init__(self, counts: Callable[[Decision], Counts]) -> None:
        """`counts` finds what a decision is counted in."""
        self._counts = counts
        self._kinds: dict[Alike, Kind] = {}
        self._looks: dict[Alike, Look] = {}

    def __len__(self) -> int:
        return max(len(self._kinds), len(self._looks))

    def of(self, decision: Decision) -> Kind:
        """Its kind."""
        key = alike(decision)
        return self._kinds.get(key) or self._met(key, decision)

    def _met(self, key: Alike, decision: Decision) -> Kind:
        look = self._looks.get(key[2:])
        if look is None:
            if len(self._looks) >= _LOOKS:
                self._looks.clear()
            look = self._looks[key[2:]] = Look()
        if len(self._kinds) >= _MOST:
            self._kinds.clear()
        kind = self._kinds[key] = Kind(self._counts(decision), look)
        return kind


def alike(decision: Decision) -> Alike:
    """The same for all that are of one kind. The first two facts say whose it was."""
    served, steps, usage = decision.served, decision.steps, decision.usage
    return (
        decision.assistant,
        decision.client,
        decision.assistant is None,
        decision.client is None,
        decision.caller_request_id is None,
        decision.served_model is None,
        decision.first_byte is None,
        decision.body_in > 0,
        usage is None,
        decision.replica,
        decision.revision,
        decision.identified_by,
        decision.endpoint,
        decision.stream,
        decision.outcome,
        decision.code,
        decision.refusal,
        None if served is None else True if steps and steps[-1] is served else _served(decision, served),
        *[_attempt(step) if isinstance(step, Attempted) else _skip(step) for step in steps],
    )


def _served(decision: Decision, served: Attempted) -> object:
    for place, step in enumerate(decision.steps):
        if step is served:
            return "step", place
    return _attempt(served)


def _attempt(step: Attempted) -> Alike:
    return (
        step.connected is None,
        step.first_byte is None,
        step.first_token is None,
        step.upstream_id is None,
        step.retry_after is None,
        step.tier,
        step.source,
        step.model,
        step.outcome,
        step.detail,
        step.heard,
        step.billed,
        step.probe,
        step.status,
        step.reused,
        step.retried,
        step.dropped,
        None if step.breaker is CLOSED else _view(step.breaker),
    )


def _skip(step: Skipped) -> Alike:
    seen = step.breaker
    return (
        step.tier,
        step.source,
        step.model,
        step.reason,
        step.missing,
        step.uncarried,
        None if seen is None else _view(seen),
    )


def _view(seen: View) -> Alike:
    # By what it says: whoever asks a shared store gets a new one each time.
    return (
        seen is CLOSED,
        seen.since is None,
        seen.until is None,
        seen.word,
        seen.reason,
        seen.tripped_by,
        seen.failures,
        seen.fault,
        seen.local,
    )
