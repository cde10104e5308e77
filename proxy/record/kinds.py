"""What decisions have in common: most are like one before in all but ids, moments, lengths, sizes and tokens.

1. What is alike counts in the same series, and stands the same way in the log: that is found once.
2. The other facts are never in a kind. Whether they are there is, where something is told of them or not.
3. A kind that is met for the first time is only counted: how a line of it looks is kept when it is met again.
"""

from __future__ import annotations

from dataclasses import dataclass

from proxy.breaker.state import CLOSED, View
from proxy.record.lines import Line
from proxy.record.metrics import Counts
from proxy.routing.decision import Attempted, Decision, Skipped

_MOST = 2000
"""Kinds that are kept, at a few kilobytes each. Those of a former configuration make room with all others."""

Alike = tuple[object, ...]


@dataclass(slots=True, eq=False)
class Kind:
    """What is known of decisions that are alike."""

    counts: Counts
    logged: bool = False
    """The log's thread's alone, and so is its line."""
    line: Line | None = None


class Kinds(dict[Alike, Kind]):
    """Those that were met. `alike` says which a decision is of."""

    def add(self, key: Alike, kind: Kind) -> None:
        """One that is new."""
        if len(self) >= _MOST:
            self.clear()
        self[key] = kind


def alike(decision: Decision) -> Alike:
    """The same for all that are of one kind."""
    served, steps, usage = decision.served, decision.steps, decision.usage
    return (
        decision.caller_request_id is None,
        decision.served_model is None,
        decision.first_byte is None,
        decision.body_in > 0,
        usage is None,
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
