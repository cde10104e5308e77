"""What decisions have in common: most are like one before in all but ids, moments, lengths, sizes and tokens.

1. What is alike stands the same way in the log, and counts in the same series but for whose it was: that is found once.
   A line looks alike for all assistants, of which there may be thousands.
2. The other facts are never compared. Whether they are there is, where something is told of them or not.
3. What is met for the first time is only counted: how a line of it looks is kept when it is met again.
4. A decision is compared with those that were met, fact by fact: to make a key of fifty facts and hash it costs more.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from proxy.breaker.state import View
from proxy.record.counts import Counts
from proxy.record.lines import Look
from proxy.routing.decision import Attempted, Decision, Skipped

_MOST, _LOOKS = 20_000, 1000
"""Kinds that are kept, at a kilobyte each, and looks of lines, at a few. Those of a former configuration make room
with all others.
"""
_COMPARED: Final = 16
"""Looks that a decision is compared with at most: the newest of those that went the same way."""

Way = tuple[str, str, bool, str, str, str, str]


class _Met:
    """What is known of those that are alike."""

    def __init__(self, first: Decision) -> None:
        self.first, self.look = first, Look()
        self.counts: dict[str | None, Counts] = {}
        """By assistant."""


class Kinds:
    """Those that were met."""

    def __init__(self, counts: Callable[[Decision, Look], Counts]) -> None:
        """`counts` finds what a decision is counted in, and all that are like it and look so."""
        self._counts = counts
        self._met: dict[Way, list[_Met]] = {}
        self._kinds, self._looks = 0, 0

    def __len__(self) -> int:
        return max(self._kinds, self._looks)

    def of(self, decision: Decision) -> Counts:
        """What it is counted in, and looks like."""
        way = _way(decision)
        known = self._met.get(way)
        if known is not None:
            for met in known:
                if alike(decision, met.first):
                    counts = met.counts.get(decision.assistant)
                    return self._new(met, decision) if counts is None else counts
        return self._new(self._look(way, decision), decision)

    def _new(self, met: _Met, decision: Decision) -> Counts:
        if self._kinds >= _MOST:
            for known in self._met.values():
                for each in known:
                    each.counts.clear()
            self._kinds = 0
        self._kinds += 1
        counts = met.counts[decision.assistant] = self._counts(decision, met.look)
        return counts

    def _look(self, way: Way, decision: Decision) -> _Met:
        if self._looks >= _LOOKS:
            self._met.clear()
            self._kinds = self._looks = 0
        known = self._met.setdefault(way, [])
        if len(known) == _COMPARED:
            self._kinds -= len(known.pop().counts)
            self._looks -= 1
        self._looks += 1
        met = _Met(decision)
        known.insert(0, met)
        return met


def _way(decision: Decision) -> Way:
    """What tells most of them apart."""
    outcome, endpoint, stream, steps = decision.outcome, decision.endpoint, decision.stream, decision.steps
    if not steps:
        return outcome, endpoint, stream, "", "", "", ""
    first, last = steps[0], steps[-1]
    return outcome, endpoint, stream, first.source, first.model, last.source, last.model


def alike(one: Decision, other: Decision) -> bool:
    """Whether they are, whosever they are."""
    steps, others = one.steps, other.steps
    if not (
        one.outcome == other.outcome
        and one.endpoint == other.endpoint
        and one.stream == other.stream
        and one.code == other.code
        and one.revision == other.revision
        and one.replica == other.replica
        and one.identified_by == other.identified_by
        and one.refusal == other.refusal
        and (one.assistant is None) == (other.assistant is None)
        and (one.client is None) == (other.client is None)
        and (one.caller_request_id is None) == (other.caller_request_id is None)
        and (one.served_model is None) == (other.served_model is None)
        and (one.first_byte is None) == (other.first_byte is None)
        and (one.usage is None) == (other.usage is None)
        and (one.body_in > 0) == (other.body_in > 0)
        and len(steps) == len(others)
    ):
        return False
    found = False
    for place in range(len(steps)):
        step, like = steps[place], others[place]
        if (step is one.served) != (like is other.served):
            return False
        found = found or step is one.served
        if isinstance(step, Attempted):
            if not (isinstance(like, Attempted) and _attempts(step, like)):
                return False
        elif isinstance(like, Attempted) or not _skips(step, like):
            return False
    if one.served is None or other.served is None:
        return one.served is other.served
    return found or _attempts(one.served, other.served)


def _attempts(one: Attempted, other: Attempted) -> bool:
    return (
        one.source == other.source
        and one.model == other.model
        and one.tier == other.tier
        and one.outcome == other.outcome
        and one.detail == other.detail
        and one.heard == other.heard
        and one.billed == other.billed
        and one.probe == other.probe
        and one.status == other.status
        and one.reused == other.reused
        and one.retried == other.retried
        and (one.connected is None) == (other.connected is None)
        and (one.first_byte is None) == (other.first_byte is None)
        and (one.first_token is None) == (other.first_token is None)
        and (one.upstream_id is None) == (other.upstream_id is None)
        and (one.retry_after is None) == (other.retry_after is None)
        and one.dropped == other.dropped
        and (one.breaker is other.breaker or _views(one.breaker, other.breaker))
    )


def _skips(one: Skipped, other: Skipped) -> bool:
    seen, like = one.breaker, other.breaker
    return (
        one.source == other.source
        and one.model == other.model
        and one.tier == other.tier
        and one.reason == other.reason
        and one.missing == other.missing
        and one.uncarried == other.uncarried
        and (seen is like or (seen is not None and like is not None and _views(seen, like)))
    )


def _views(one: View, other: View) -> bool:
    # By what they say: whoever asks a shared store gets a new one each time.
    return (
        one.word == other.word
        and one.reason == other.reason
        and one.tripped_by == other.tripped_by
        and one.failures == other.failures
        and one.fault == other.fault
        and one.local == other.local
        and (one.since is None) == (other.since is None)
        and (one.until is None) == (other.until is None)
    )
