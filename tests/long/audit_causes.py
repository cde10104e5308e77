"""The audit of skips: whoever kept a tier from being tried did so for a cause that is on record.

1. An id under `tripped_by` is a request whose own record shows a failure that was heard of the same target, before.
2. A target is a source, a model and an endpoint; the assistant too where its breakers are its own. An invalid key is a
   fact about all targets of its source.
3. What an operator reset is not held against a tier again for what was met before.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from tests.long import layout
from tests.long.evidence import Act, Evidence
from tests.long.findings import Findings
from tests.long.records import Record, Step

SLACK = 0.05
_SPREAD = 2.0
"""Seconds in which an operator's act, or the end of a trouble, is known to all replicas."""
_TRIPS: Mapping[str, frozenset[str]] = {
    "open": frozenset({"bad", "disable_twice"}),
    "half_open": frozenset({"bad", "disable_twice"}),
    "parked": frozenset({"rate_limit", "quota"}),
    "disabled": frozenset({"disable", "disable_twice"}),
}
"""What a breaker must have heard to come to this."""
_OF_THE_KEY = frozenset({"invalid_api_key", "account_deactivated"})


def compare(evidence: Evidence, findings: Findings) -> None:
    """Every skip and every probe of every record."""
    causes = _Causes(evidence, findings)
    for record in evidence.records:
        for step in record.steps:
            if step.breaker is not None and step.breaker.state in _TRIPS and step.skipped not in _UNFIT:
                causes.tripped(record, step)
            elif step.skipped == "isolated":
                causes.isolated(record, step)
            if step.skipped in _TRIPS:
                same = step.breaker is not None and step.breaker.state == step.skipped
                findings.check("cause", same, record.marker or "", f"{step.tier} was {step.skipped}: {step.breaker}")
        if record.refusal == "all_tiers_failed" and record.code != 200:
            causes.limited(record)


_UNFIT = frozenset({"unbound", "unsupported", "too_small_context", "deadline"})
"""Skips that lie in the request: what the breaker said then is told, and is no cause."""


@dataclass(frozen=True, slots=True)
class _Target:
    source: str
    model: str
    endpoint: str
    owner: str | None

    @classmethod
    def of(cls, record: Record, step: Step) -> _Target:
        owner = record.assistant if layout.BY_NAME[record.assistant or ""].own else None
        return cls(step.source, step.model, record.endpoint, owner)


class _Causes:
    def __init__(self, evidence: Evidence, findings: Findings) -> None:
        self._evidence, self._findings = evidence, findings
        self._by_id = {record.request_id: record for record in evidence.records}
        self._killed = {killed.replica for killed in evidence.killed}

    def tripped(self, record: Record, step: Step) -> None:
        """Every request that is named did what it is named for, and something is named."""
        seen = step.breaker
        assert seen is not None
        where = f"{record.marker} {step.tier}"
        self._findings.check("cause", bool(seen.tripped_by), where, f"{seen.state} and nobody has tripped it: {seen}")
        found = [(request_id, self._cause(record, step, request_id)) for request_id in seen.tripped_by]
        known = [(request_id, cause) for request_id, cause in found if cause is not None]
        for request_id, cause in known:
            text = f"{request_id} had ended at {cause.ended:.3f}; {seen.state} since {seen.since} ({step.source})"
            limit = record.ended if step.at is None else step.at
            if seen.state in ("open", "disabled") and seen.since is not None:
                # A park that is made longer is one park, and keeps its beginning.
                limit = min(limit, seen.since)
            self._findings.check("tripped_by", cause.ended <= limit + SLACK, where, text)
            act = self._reset_before(record, step)
            if act is not None:
                older = f"{request_id} began at {cause.started:.3f}, before the reset of {act.sent:.3f}"
                self._findings.check("reset", cause.started >= act.sent - SLACK, where, older)
        if found and len(known) == len(found):
            told = {cause.detail for _, cause in known}
            self._findings.check("cause", seen.reason in told, where, f"{seen.state} for {seen.reason}, but met {told}")

    def _cause(self, record: Record, step: Step, request_id: str) -> Step | None:
        """The attempt of that request that was heard of this target."""
        assert step.breaker is not None
        where = f"{record.marker} {step.tier}"
        other = self._by_id.get(request_id)
        if other is None:
            # Its record may be gone with its replica; the id names that.
            gone = any(request_id.startswith(f"req_{replica}") for replica in self._killed)
            self._findings.figures["tripped_by_the_lost"] += gone
            self._findings.check("tripped_by", gone, where, f"{request_id} is not on record")
            return None
        heard, target = _TRIPS[step.breaker.state], _Target.of(record, step)
        of_key = step.breaker.reason in _OF_THE_KEY and step.source in layout.KEYED
        same = [
            each
            for each in other.attempts
            if each.heard in heard and (each.source == step.source if of_key else _Target.of(other, each) == target)
        ]
        text = f"{request_id} met nothing at {step.source}/{step.model} for which it would be {step.breaker.state}"
        self._findings.check("tripped_by", bool(same), where, text)
        return same[0] if same else None

    def _reset_before(self, record: Record, step: Step) -> Act | None:
        """The last reset that every replica knew of when the request came."""
        latest: Act | None = None
        for act in self._evidence.acts:
            if (act.action, act.source, act.model, act.status) != ("reset", step.source, step.model, 200):
                continue
            known = self._calm_since(act.done)
            if known is not None and known <= record.at and (latest is None or act.sent > latest.sent):
                latest = act
        return latest

    def _calm_since(self, moment: float) -> float | None:
        """When what was told the store at `moment` was known to all: it spreads while the store is well."""
        for began, ended in sorted(self._evidence.troubles):
            if began < moment + _SPREAD and moment < ended:
                moment = ended
        return moment + _SPREAD

    def isolated(self, record: Record, step: Step) -> None:
        """An operator did so, and not longer ago than for how long."""
        moment = record.ended if step.at is None else step.at
        hands = [
            act
            for act in self._evidence.acts
            if (act.action, act.source, act.model) == ("isolate", step.source, step.model)
            and act.sent - SLACK <= moment
            and record.at <= act.done + act.seconds + _SPREAD
        ]
        text = f"{step.tier} was isolated at {moment:.3f}, and no operator did it"
        self._findings.check("cause", bool(hands), record.marker or "", text)

    def limited(self, record: Record) -> None:
        """429 says that every tier was rate-limited, 503 that not all were."""
        limited = True
        for step in record.steps:
            if step.skipped is None:
                limited &= step.outcome == "rate_limited"
            elif step.skipped == "parked" and step.breaker is not None:
                others = [self._by_id.get(request_id) for request_id in step.breaker.tripped_by]
                attempts = [each for other in others if other for each in other.attempts]
                causes = {each.outcome for each in attempts if (each.source, each.model) == (step.source, step.model)}
                if not causes:
                    return
                limited &= causes == {"rate_limited"}
            else:
                limited = False
        text = f"{record.code}, and the tiers were {[step.word for step in record.steps]}"
        self._findings.check("outcome", record.code == (429 if limited else 503), record.marker or "", text)
